"""Tables from CSV and Parquet files, without pandas: columns of texts or numbers, and the matrix they become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.cells import (
    exceeds_floats,
    has_leading_zeros,
    is_dressed,
    is_infinite,
    is_missing,
    is_number,
    is_whole,
    merged,
    natural,
)
from miaudit.data.delimited import read_csv
from miaudit.data.mapped import BLOCK, HELD, NumbersOnDisk, is_mapped, written
from miaudit.data.on_disk import Batches, TextsOnDisk
from miaudit.data.parquet import Unread, read_parquet
from miaudit.data.position import position
from miaudit.data.schema import Column, Schema
from miaudit.errors import DataError, counted, noun

Cells = Any
"""One column: a list of texts (CSV), an (n,) array, of objects where they are texts (Parquet), `TextsOnDisk`, or `Unread`."""

_SUFFIXES = (".npy", ".npz", ".csv", ".csv.gz", ".parquet")
_FEW = 20  # different cells up to which numbers beside texts are taken for categories
_SHARED = 20  # records that share a value on average, up to which the values may be people
_MANY = 50  # categories above which a column of texts is told of


@dataclass(frozen=True, eq=False)
class Table:
    """Columns by name.

    Parameters
    ----------
    columns
        The cells of each column.
    index
        Columns that are the row index of a frame and no features.
    batches
        All columns of each file on disk, where they are large and a frame is to be made of them.
    """

    columns: dict[str, Cells]
    index: tuple[str, ...] = ()
    batches: tuple[Batches, ...] = ()

    def __len__(self) -> int:
        return next((len(cells) for cells in self.columns.values() if not isinstance(cells, Unread)), 0)

    def take(self, rows: Sequence[int]) -> Table:
        """Return the table of these records."""
        return Table(
            {
                name: [cells[i] for i in rows]
                if isinstance(cells, list)
                else cells
                if isinstance(cells, Unread)
                else cells[rows]
                for name, cells in self.columns.items()
            },
            self.index,
            self.batches,
        )


def read_table(path: Path, *, on_disk: bool | None = None, frame: bool = False) -> Table:
    """Return the columns of a CSV (lists of texts) or Parquet file (arrays, of objects where they are texts).

    Parameters
    ----------
    on_disk
        Whether those of a Parquet file are kept on disk; default: where they are large.
    frame
        Whether a frame is made of the table.

    Raises
    ------
    DataError
        If the file is missing, empty, ragged, not of its kind, or larger than memory.
    """
    if suffix_of(path) == ".parquet":
        content = read_parquet(path, on_disk=on_disk, frame=frame)
        return Table(content.columns, content.index, () if content.batches is None else (content.batches,))
    columns = read_csv(path)
    first = next(iter(columns))
    return Table(dict(columns), (first,) if first == "Unnamed: 0" and _is_row_number(columns[first]) else ())


def _is_row_number(cells: Sequence[str]) -> bool:
    """Whether the cells are what pandas' ``to_csv`` writes before the first column: whole numbers, each once."""
    return len(set(cells)) == len(cells) and all(map(is_whole, cells))


def index_notes(table: Table, features: Collection[str]) -> list[str]:
    """Return what to say of columns that count the records, whether they are left out or not."""
    notes = []
    if left_out := [name for name in table.index if name not in features]:
        notes.append(
            f"Columns {left_out} are the row index of a pandas frame and were left out of the features; to_csv(index=False) "
            "and to_parquet(index=False) do not write it."
        )
    for name in features:
        cells = table.columns[name]
        numbers = as_numbers(cells) if len(table) > _FEW and not isinstance(cells, Unread) else None
        if numbers is not None and numbers.dtype.kind in "iu" and (np.diff(numbers) == 1).all():
            notes.append(
                f"Column {name!r} counts the records from {numbers[0]} to {numbers[-1]} and is read as a feature; if it is "
                f"a row number, state drop = [{name!r}] in [data]."
            )
    return notes


def by_file(cells: Any, sizes: Sequence[int]) -> list[Any]:
    """Return the cells of a column as those of each file; those that are not in memory as they are."""
    if not sizes or not isinstance(cells, list | np.ndarray):
        return [cells]
    ends = np.cumsum(sizes).tolist()
    return [cells[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def people_notes(columns: Mapping[str, Sequence[Cells]], way: str) -> list[str]:
    """Return the note of columns that are left out and may say whose the records are: most records share theirs with a few.

    Parameters
    ----------
    columns
        The cells of each, side by side.
    way
        How such a column is named, so that people are counted.
    """
    names = []
    for name, sides in columns.items():
        large = any(isinstance(cells, TextsOnDisk | Unread) for cells in sides)
        counts = Counter(() if large else ((i, str(cell)) for i, cells in enumerate(sides) for cell in cells))
        records, alone = counts.total(), sum(count == 1 for count in counts.values())
        if records and 2 * alone <= records <= min(_SHARED, len(counts)) * len(counts):
            names.append(name)
    if not names:
        return []
    return [
        f"Columns were left out in which most records share their value with a few others: {', '.join(sorted(names)[:10])}. "
        f"Where one says whose the records are, {way}, and people are counted: records of one person are no independent draws."
    ]


def check_unnamed(table: Table, names: Collection[str], features: Collection[str]) -> None:
    """Refuse features without a name that nothing is stated of.

    Raises
    ------
    DataError
        Naming the first.
    """
    for i, name in enumerate(table.columns):
        if name == f"Unnamed: {i}" and name in features and name not in names:
            raise DataError(
                f"column {i} (counted from 0) has no name in the header, with cells such as {_first(table.columns[name])!r}: "
                f"a row index, or a comma too many at the end of each line; state drop = [{name!r}], or what it is in numeric "
                "or categorical"
            )


def parse_column(
    name: str, cells: Cells, *, categorical: bool = False, numeric: bool = False, notes: list[str]
) -> NDArray[Any] | list[str | None] | Coded:
    """Return a column's numbers, NaN where they are missing, or its texts where it is categorical.

    What was read otherwise than its cells may suggest is added to ``notes``.

    Raises
    ------
    DataError
        If nothing is stated, and cells look like numbers that are not written plainly, or most cells are numbers and not
        all, or codes would become one number, or the texts look like ids and not categories.
    """
    if isinstance(cells, Unread):
        raise DataError(cells.reason)
    if isinstance(cells, TextsOnDisk):
        return _coded(name, cells, categorical=categorical, numeric=numeric, notes=notes)
    if isinstance(cells, np.ndarray):
        if cells.dtype.kind in "biuf" and not categorical:
            if cells.dtype.kind in "iu" and not numeric and (np.abs(cells.astype(np.float64)) >= 2.0**53).any():
                raise _too_large(name)
            if cells.dtype.kind == "f" and (missing := int(np.isnan(cells).sum())):
                notes.append(
                    f"Column {name!r}: {missing:,} of {counted(len(cells), 'value')} "
                    f"{noun(missing, 'is missing, and is', 'are missing, and are')} NaN."
                )
            return cells
        texts = [None if value is None or value != value else str(value) for value in cells.tolist()]
        if numeric:
            raise _not_numbers(name, texts, set(texts), "is stated to be numeric")
        return texts if categorical else _categories(name, texts, notes)
    texts = list(cells)
    if categorical:
        return texts
    distinct = set(cells)
    others = {text for text in distinct if not is_number(text) and not is_infinite(text)}
    plain = distinct - others
    wrong = {text for text in others if not is_missing(text)}
    if numeric or (plain and not wrong):
        if wrong:
            raise _not_numbers(name, texts, wrong, "is stated to be numeric")
        return _numbers(name, cells, plain, others, numeric, notes)
    dressed = {text for text in wrong if is_dressed(text)}
    rest = wrong - dressed
    if len(distinct) > _FEW and len(rest) < len(distinct) / 2 and (plain or dressed):
        holds = "holds numbers" if not dressed else "holds numbers in another notation than 1234.5"
        raise _not_numbers(name, texts, wrong, holds)
    if plain or (dressed and not rest):
        first = min(wrong, key=texts.index)
        notes.append(
            f"Column {name!r} holds numbers beside texts such as {first!r}, and was read as {len(distinct)} categories; "
            "write plain numbers and empty cells if they are quantities."
        )
        return texts
    return _categories(name, texts, notes)


def _numbers(
    name: str, cells: Sequence[str], plain: Collection[str], missing: Collection[str], stated: bool, notes: list[str]
) -> NDArray[Any]:
    if not stated and any(map(exceeds_floats, plain)):
        raise _too_large(name)
    padded = [text for text in plain if has_leading_zeros(text)]
    if padded and not stated:
        if both := merged(sorted(text for text in plain if is_whole(text))):
            raise DataError(
                f"column {name!r} writes {both[0]!r} and {both[1]!r}, which would become one number: state categorical = "
                f"[{name!r}] if they are codes, or numeric = [{name!r}] if they are numbers"
            )
        notes.append(
            f"Column {name!r} was read as numbers, though cells such as {min(padded)!r} begin with zeros as codes do; state "
            f"categorical = [{name!r}] if they are codes."
        )
    if missing:
        count = sum(text in missing for text in cells)
        notes.append(
            f"Column {name!r}: {count:,} of {counted(len(cells), 'cell')} "
            f"{noun(count, 'is missing, and is', 'are missing, and are')} NaN."
        )
        return np.array(["nan" if text in missing else text for text in cells], dtype=np.float64)
    numbers = as_numbers(cells)
    assert numbers is not None
    return numbers


def _categories(name: str, texts: list[Any], notes: list[str]) -> list[Any]:
    _check_categories(name, len(set(texts)), texts, notes)
    return texts


def _check_categories(name: str, distinct: int, texts: Cells, notes: list[str]) -> None:
    if distinct > 1000 and distinct > len(texts) / 2:
        raise _free_text(name, f"{distinct:,} different texts in {len(texts):,} records", texts)
    if distinct > _MANY and distinct > len(texts) / 4:
        notes.append(
            f"Column {name!r} was read as {distinct:,} categories in {len(texts):,} records, such as "
            f"{_first(texts)!r}: is it a category?"
        )


def _free_text(name: str, what: str, texts: Cells) -> DataError:
    return DataError(
        f"column {name!r} has {what}, such as {_first(texts)!r}: that is an id or free text; state drop = [{name!r}], or "
        f"ids = {name!r}, or categorical = [{name!r}], or with frame = true texts = [{name!r}]"
    )


@dataclass(frozen=True, eq=False)
class Coded:
    """A column of texts as (n,) numbers, mapped, of its different texts, None among them where some are missing."""

    codes: NDArray[np.int32]
    texts: list[str | None]


def _coded(name: str, cells: TextsOnDisk, *, categorical: bool, numeric: bool, notes: list[str]) -> Coded:
    """Return the codes of texts on disk; DataError where they are so many that they are no categories."""
    number: dict[str | None, int] = {}

    def codes() -> Iterator[NDArray[np.int32]]:
        size = 0
        for block in cells.blocks():
            size += sum(len(text or "") for text in set(block.tolist()).difference(number))
            yield np.array([number.setdefault(text, len(number)) for text in block.tolist()], np.int32)
            if size > HELD:
                raise _free_text(name, f"more than {len(number) - 1} different texts of {HELD >> 20} MiB", cells)

    mapped = written(codes(), len(cells), np.empty(0, np.int32))
    if numeric:
        texts = cells.tolist()
        raise _not_numbers(name, texts, set(texts), "is stated to be numeric")
    if not categorical:
        _check_categories(name, len(number), cells, notes)
    return Coded(mapped, list(number))


def _not_numbers(name: str, texts: Sequence[Any], wrong: Collection[Any], holds: str) -> DataError:
    first = next(i for i, text in enumerate(texts) if text in wrong)
    count = sum(text in wrong for text in texts)
    return DataError(
        f"column {name!r} {holds}, but {counted(count, 'cell is no number', 'cells are not numbers')}, "
        f"first {_short(texts[first])!r} in {position(first)}; "
        "write plain numbers such as 1234.5 and leave missing cells empty, or state categorical = "
        f"[{name!r}] or drop = [{name!r}]"
    )


def _too_large(name: str) -> DataError:
    return DataError(
        f"column {name!r} holds whole numbers beyond 2**53, which a matrix of floats does not tell apart; state drop = "
        f"[{name!r}] if they are ids, categorical = [{name!r}] if they are codes, or numeric = [{name!r}]"
    )


def _first(cells: Cells) -> Any:
    return "nothing" if isinstance(cells, Unread) else _short(cells[0])


def _short(text: Any) -> Any:
    return text if not isinstance(text, str) or len(text) <= 60 else text[:60] + "..."


def join_tables(tables: Sequence[Table], files: Sequence[Path]) -> Table:
    """Return one table with the records of all, by the names of columns; ``files`` are for the message where those differ."""
    first = tables[0]
    for table, path in zip(tables[1:], files[1:], strict=True):
        if differing := sorted(set(table.columns) ^ set(first.columns))[:5]:
            raise DataError(f"{path} has other columns than {files[0]}: {differing}")
    if len(tables) == 1:
        return first
    joined: dict[str, Cells] = {}
    mapped = any(map(is_mapped, first.columns.values()))
    on_disk = NumbersOnDisk(len(first.columns), sum(map(len, tables))) if mapped else None
    for i, column in enumerate(first.columns):
        parts = [table.columns[column] for table in tables]
        unread = [part for part in parts if isinstance(part, Unread)]
        if unread:
            joined[column] = unread[0]
        elif all(isinstance(part, TextsOnDisk) for part in parts):
            joined[column] = TextsOnDisk.joined(parts)
        elif all(isinstance(part, np.ndarray | TextsOnDisk) for part in parts):
            joined[column] = _concatenated(column, parts, files, on_disk, i)
        else:
            joined[column] = [text for part in parts for text in part]
    # the index of one file and a column of another have the same name: a column, as far as is known
    index = tuple(name for name in first.index if all(name in table.index for table in tables))
    return Table(joined, index, tuple(batches for table in tables for batches in table.batches))


def _concatenated(
    column: str, parts: Sequence[NDArray[Any]], files: Sequence[Path], on_disk: NumbersOnDisk | None, i: int
) -> NDArray[Any]:
    for part, path in zip(parts, files, strict=True):
        if (part.dtype.kind == "O") != (parts[0].dtype.kind == "O"):
            kinds = ["texts" if each.dtype.kind == "O" else "numbers" for each in (parts[0], part)]
            raise DataError(
                f"column {column!r} holds {kinds[0]} in {files[0]} and {kinds[1]} in {path}; write it alike in all files"
            )
    if on_disk is None or parts[0].dtype.kind == "O":
        return np.concatenate(parts)
    for part, end in zip(parts, np.cumsum([len(part) for part in parts]).tolist(), strict=True):
        on_disk.write(i, end - len(part), part)
    return on_disk.column(i)


def matrix(parsed: Mapping[str, NDArray[Any] | list[Any] | Coded]) -> tuple[NDArray[np.float64], Schema]:
    """Return columns as an (n, columns) matrix, texts as numbers of their categories, and the schema naming them."""
    categories: dict[int, tuple[str, ...]] = {}
    numbers: list[_Numbers] = []
    for i, values in enumerate(parsed.values()):
        if isinstance(values, np.ndarray):
            numbers.append(values.__getitem__)
            continue
        texts = values if isinstance(values, list) else values.texts
        categories[i] = tuple(sorted({text for text in texts if text is not None}, key=natural)) or ("",)
        code: dict[str | None, float] = {None: np.nan} | {
            category: float(number) for number, category in enumerate(categories[i])
        }
        numbers.append(partial(_numbers_of_texts, values, code))
    n = next(len(values.codes if isinstance(values, Coded) else values) for values in parsed.values())
    if 8 * n * len(parsed) > HELD:
        step = max(1, BLOCK // (8 * len(parsed)))
        parts = (slice(start, start + step) for start in range(0, n, step))
        blocks = (np.column_stack([of(part) for of in numbers]).astype(np.float64) for part in parts)
        X = written(blocks, n, np.empty((0, len(parsed))))
    else:
        X = np.empty((n, len(parsed)))  # (n, columns)
        for i, of in enumerate(numbers):
            X[:, i] = of(slice(None))
    inferred = Schema.infer(X, names=list(parsed)).columns
    columns = (
        Column(column.name, "categorical", categories[i], missing=column.missing) if i in categories else column
        for i, column in enumerate(inferred)
    )
    return X, Schema(tuple(columns))


_Numbers = Callable[[slice], NDArray[Any]]
"""Numbers of some of the records."""


def _numbers_of_texts(values: list[Any] | Coded, code: Mapping[str | None, float], rows: slice) -> NDArray[np.float64]:
    if isinstance(values, Coded):
        return np.array([code[text] for text in values.texts], np.float64)[values.codes[rows]]
    return np.array([code[text] for text in values[rows]], np.float64)


def as_numbers(cells: Cells) -> NDArray[Any] | None:
    """Return int64 or float64 numbers where all cells are, None where they are texts."""
    if isinstance(cells, np.ndarray | TextsOnDisk):
        return np.asarray(cells) if cells.dtype.kind in "biuf" else None
    distinct = set(cells)
    if all(map(is_whole, distinct)):
        try:
            return np.array([int(text) for text in cells], dtype=np.int64)
        except (OverflowError, ValueError):  # more than 64 bits, or more digits than int takes
            pass
    if all(is_number(text) or is_infinite(text) for text in distinct):
        return np.array([float(text) for text in cells], dtype=np.float64)
    return None


def side_values(cells: Cells) -> NDArray[Any]:
    """Return ids or groups: integers where all are written as integers are, else texts as written.

    Raises
    ------
    DataError
        If the column is of a type that is not read.
    """
    if isinstance(cells, Unread):
        raise DataError(cells.reason)
    if isinstance(cells, np.ndarray | TextsOnDisk):
        return np.asarray(cells)
    try:
        if all(text == str(int(text)) for text in set(cells)):  # 007 is not 7, and +7 is not either
            return np.array([int(text) for text in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    return np.array(list(cells), dtype=object)


def suffix_of(path: Path) -> str:
    """Return the ending that says what kind of file it is."""
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise DataError(f"{path} is a pipe or a device, which cannot be read again; write it to a file first")
            return suffix
    if not path.exists():
        raise DataError(f"{path}: there is no such file")
    raise DataError(f"{path} has none of the known endings {', '.join(_SUFFIXES)}; convert it to one of them")
