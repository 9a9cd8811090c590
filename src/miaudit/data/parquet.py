"""Parquet files as columns of numbers or texts, without pandas."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.mapped import BLOCK, HELD, Columns
from miaudit.data.room import require_room, within_memory
from miaudit.errors import DataError
from miaudit.libraries import require

_INDEX = re.compile(r"__index_level_[0-9]+__")  # what pandas calls the levels of an index without a name


@dataclass(frozen=True)
class Unread:
    """A column of a type that is no feature; ``reason`` is what to say where it is asked for."""

    reason: str


def read_parquet(path: Path) -> tuple[dict[str, NDArray[Any] | Unread], tuple[str, ...]]:
    """Return the columns of a Parquet file and the names of those that were the index of a pandas frame.

    Missing numbers are NaN and missing texts None. Columns of types other than numbers, booleans and texts are `Unread`.

    Raises
    ------
    DataError
        If the file is missing, empty, not of its kind, or larger than memory.
    """
    pa = require("pyarrow", extra="parquet", what=f"the Parquet file {path}", error=DataError)
    pq = require("pyarrow.parquet", extra="parquet", what=f"the Parquet file {path}", error=DataError)
    try:
        with within_memory(path), path.open("rb") as raw:
            file = pq.ParquetFile(raw)
            schema, rows = file.schema_arrow, file.metadata.num_rows
            # each text once: one repeated a million times must not be laid out a million times
            texts = [field.name for field in schema if _is_text(field.type, pa)]
            file = pq.ParquetFile(raw, read_dictionary=texts)
            if rows == 0:
                raise DataError(f"{path} has no records")
            names = list(schema.names)
            if repeated := sorted({name for name in names if names.count(name) > 1}):
                raise DataError(f"{path}: column names appear more than once: {repeated[:5]}; rename them")
            columns = _read(file, path, names, rows, pa)
            return columns, tuple(name for name in names if name in _index_columns(schema))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; give one Parquet file, its parts written into one") from None
    except pa.ArrowMemoryError as error:
        raise DataError(f"{path} does not fit into memory: {error}; take fewer records or columns") from error
    except DataError:
        raise
    except Exception as error:  # of a library, on a file of anybody
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def _read(file: Any, path: Path, names: list[str], rows: int, pa: Any) -> dict[str, NDArray[Any] | Unread]:
    """Return the columns of an open file; those of numbers lie in a temporary file where all would take much memory."""
    size = 8 * rows * len(names)
    on_disk = Columns(len(names), rows) if size > HELD else None
    if on_disk is None:
        require_room(size, f"{path}: {rows:,} records of {len(names)} columns")
    parts: dict[str, list[Any]] = {name: [] for name in names}
    start, step = 0, max(1, min(1 << 16, 2 * BLOCK // (8 * len(names))))
    for batch in file.iter_batches(batch_size=step):
        require_room(batch.nbytes, f"{path}: {batch.num_rows} of its records")
        for i, (name, cells) in enumerate(zip(names, batch.columns, strict=True)):
            values = _values(path, name, cells, pa)
            if on_disk is None or isinstance(values, Unread) or values.dtype.kind not in "biuf":
                parts[name].append(values)
            else:
                on_disk.write(i, start, values)
        start += batch.num_rows
    if on_disk is None:
        return {name: _joined(path, name, each) for name, each in parts.items()}
    return {
        name: _joined(path, name, each) if each else on_disk.column(i) for i, (name, each) in enumerate(parts.items())
    }


def _index_columns(schema: Any) -> set[str]:
    metadata = (schema.metadata or {}).get(b"pandas")
    try:
        stated = json.loads(metadata)["index_columns"] if metadata else []
    except (ValueError, TypeError, KeyError, RecursionError):
        stated = []
    stated = stated if isinstance(stated, list) else []
    return {name for name in stated if isinstance(name, str)} | {
        name for name in schema.names if _INDEX.fullmatch(name)
    }


def _is_text(kind: Any, pa: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view")


def _values(path: Path, name: str, values: Any, pa: Any) -> NDArray[Any] | Unread:
    types = pa.types
    if types.is_dictionary(values.type) and _is_text(values.type.value_type, pa):
        distinct = np.array([*values.dictionary.to_pylist(), None], dtype=object)
        codes = values.indices.fill_null(len(distinct) - 1).to_numpy(zero_copy_only=False)
        return np.asarray(distinct[codes])
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if types.is_null(kind):
        return np.full(len(values), np.nan)
    if types.is_decimal(kind):
        values = values.cast(pa.float64())
    elif _is_text(kind, pa):
        return np.array([*values.to_pylist(), None], dtype=object)[:-1]
    elif types.is_boolean(kind) and values.null_count:
        values = values.cast(pa.uint8())
    elif not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        return Unread(
            f"{path}: column {name!r} has type {kind}; numbers, booleans and texts are read: convert it, or state "
            f"drop = [{name!r}]"
        )
    if types.is_integer(values.type) and values.null_count:
        whole = values.drop_null().to_numpy()
        if len(whole) and max(abs(int(whole.min())), abs(int(whole.max()))) > 2**53:
            raise DataError(f"{path}: column {name!r} has missing values beside whole numbers beyond 2**53; drop it")
        values = values.cast(pa.float64())
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _joined(path: Path, name: str, parts: list[Any]) -> NDArray[Any] | Unread:
    unread = [part for part in parts if isinstance(part, Unread)]
    return unread[0] if unread else np.concatenate(parts)
