"""Tables from CSV and Parquet files, without pandas: columns of texts or numbers, and the matrix they become."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.labels import is_number, natural
from miaudit.data.schema import Column, Schema
from miaudit.errors import DataError

Table = dict[str, Any]  # column name -> list of texts (CSV), or (n,) array (Parquet)

_SUFFIXES = (".npz", ".csv", ".csv.gz", ".parquet")


def read_table(path: Path) -> Table:
    """Return the columns of a CSV (lists of texts) or Parquet file (arrays, of objects where they are texts).

    Raises
    ------
    DataError
        If the file is missing, empty, ragged, or not of its kind.
    """
    return _read_parquet(path) if suffix_of(path) == ".parquet" else _read_csv(path)


def _read_csv(path: Path) -> Table:
    opener = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rt", newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    if not rows or not any(rows[0]):
        raise DataError(f"{path} is empty; a table starts with a line of column names")
    header = rows.pop(0)
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        raise DataError(f"{path}: column names appear more than once: {repeated[:5]}; rename them")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise DataError(f"{path}: record {number} has {len(row)} cells, the header names {len(header)} columns")
    if not rows:
        raise DataError(f"{path} has a header and no records")
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise DataError(f"{path}: reading Parquet needs pyarrow: pip install 'miaudit[parquet]'") from None
    try:
        with path.open("rb") as file:
            read = pq.read_table(file)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    if read.num_rows == 0:
        raise DataError(f"{path} has no records")
    table: Table = {}
    for column in read.column_names:
        values = read.column(column)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if values.null_count:
            first = values.is_null().index(True).as_py()
            raise DataError(
                f"{path}: column {column!r} has {values.null_count} missing values, first in record {first} (counted "
                "from 0); fill them in, or leave the column out of the file"
            )
        if pa.types.is_decimal(values.type):
            values = values.cast(pa.float64())
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            table[column] = np.array(values.to_pylist(), dtype=object)  # typed as texts: never read as numbers
        elif pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type):
            table[column] = values.to_numpy()
        else:
            raise DataError(f"{path}: column {column!r} has type {values.type}; numbers, booleans and texts are read")
    return table


def parse_column(
    name: str, cells: Any, *, categorical: bool = False, numeric: bool = False
) -> NDArray[Any] | list[str]:
    """Return a column's numbers, or its texts where it is categorical.

    Raises
    ------
    DataError
        If nothing is stated, and most cells are numbers but not all, or the texts look like ids and not categories.
    """
    if categorical:
        return [str(value) for value in (cells.tolist() if isinstance(cells, np.ndarray) else cells)]
    numbers = as_numbers(cells)
    if numbers is not None:
        return numbers
    texts: list[str] = list(cells)
    distinct = set(texts)
    others = {text for text in distinct if not is_number(text)}
    if others and (numeric or (len(distinct) > 20 and len(others) < len(distinct) / 2)):
        first = next(i for i, text in enumerate(texts) if text in others)
        count = sum(text in others for text in texts)
        wanted = "is stated to be numeric" if numeric else "holds numbers"
        raise DataError(
            f"column {name!r} {wanted}, but {count} cells are not numbers, first {texts[first]!r} in record {first} "
            f"(counted from 0); correct them, or state categorical = [{name!r}] or drop = [{name!r}]"
        )
    if len(distinct) > 1000 and len(distinct) > len(texts) / 2:
        raise DataError(
            f"column {name!r} has {len(distinct)} different texts in {len(texts)} records, such as {texts[0]!r}: that "
            f"is an id or free text; state drop = [{name!r}], or ids = {name!r}, or categorical = [{name!r}]"
        )
    return texts


def join_tables(tables: Sequence[Table], files: Sequence[Path]) -> Table:
    """Return one table with the records of all; ``files`` are for the message if their columns differ."""
    first = tables[0]
    for table, path in zip(tables[1:], files[1:], strict=True):
        if list(table) != list(first):
            raise DataError(f"{path} has other columns than {files[0]}: {sorted(set(table) ^ set(first))[:5]}")
    if len(tables) == 1:
        return first
    joined: Table = {}
    for column in first:
        parts = [table[column] for table in tables]
        if all(isinstance(part, np.ndarray) for part in parts):
            joined[column] = np.concatenate(parts)
        else:
            joined[column] = [str(value) for part in parts for value in part]
    return joined


def matrix(parsed: Mapping[str, NDArray[Any] | list[str]]) -> tuple[NDArray[np.float64], Schema]:
    """Return columns as an (n, columns) matrix, texts as numbers of their categories, and the schema naming them."""
    n = len(next(iter(parsed.values())))
    X = np.empty((n, len(parsed)))  # (n, columns)
    categories: dict[int, tuple[str, ...]] = {}
    for i, values in enumerate(parsed.values()):
        if isinstance(values, list):
            categories[i] = tuple(sorted(set(values), key=natural))
            code = {name: float(number) for number, name in enumerate(categories[i])}
            X[:, i] = np.fromiter(map(code.__getitem__, values), dtype=np.float64, count=n)
        else:
            X[:, i] = values
    inferred = Schema.infer(X, names=list(parsed)).columns
    columns = (
        Column(column.name, "categorical", categories[i]) if i in categories else column
        for i, column in enumerate(inferred)
    )
    return X, Schema(tuple(columns))


def to_frame(parsed: Mapping[str, NDArray[Any] | list[str]]) -> Any:
    """Return columns as a pandas frame."""
    try:
        import pandas as pd
    except ModuleNotFoundError:
        raise DataError("frame = true needs pandas: pip install 'miaudit[frames]'") from None
    return pd.DataFrame(dict(parsed))


def as_numbers(cells: Any) -> NDArray[Any] | None:
    """Return int64 or float64 numbers where all cells are, None where they are texts."""
    if isinstance(cells, np.ndarray):
        return cells if cells.dtype.kind in "biuf" else None
    for dtype in (np.int64, np.float64):
        try:
            return np.array(cells, dtype=dtype)
        except (ValueError, OverflowError):
            continue
    return None


def side_values(cells: Any) -> NDArray[Any]:
    """Return ids or groups: integers where all are, else texts as written."""
    numbers = as_numbers(cells)
    return numbers if numbers is not None and numbers.dtype.kind in "biu" else np.array(list(cells), dtype=object)


def suffix_of(path: Path) -> str:
    """Return the ending that says what kind of file it is."""
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise DataError(f"{path} has none of the known endings {', '.join(_SUFFIXES)}; convert it to one of them")
