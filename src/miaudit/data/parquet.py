"""Parquet files as columns of numbers or texts, without pandas.

Those of a large file lie on disk: numbers in a file that is mapped, and texts, or all columns of a frame, as Arrow batches,
which are read as they are needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.mapped import BLOCK, HELD, NumbersOnDisk
from miaudit.data.on_disk import Batches, TextsOnDisk, codes_of, is_text
from miaudit.data.room import require_room, within_memory
from miaudit.errors import DataError, counted
from miaudit.libraries import require

_INDEX = re.compile(r"__index_level_[0-9]+__")  # what pandas calls the levels of an index without a name


@dataclass(frozen=True)
class Unread:
    """A column of a type that is no feature; ``reason`` is what to say where it is asked for."""

    reason: str


@dataclass(frozen=True)
class Content:
    """What a Parquet file holds.

    Parameters
    ----------
    columns
        Numbers, NaN where they are missing; texts, None where they are; `Unread` for columns of any other type.
    index
        The names of those columns that were the index of a pandas frame.
    batches
        All columns on disk, where the file is large and a frame is to be made of it.
    """

    columns: dict[str, NDArray[Any] | TextsOnDisk | Unread]
    index: tuple[str, ...]
    batches: Batches | None = None


def are_large(paths: Sequence[Path]) -> bool:
    """Whether the columns of Parquet files, all together, are kept on disk; no where one cannot be read."""
    return sum(map(_size, paths)) > HELD


def _size(path: Path) -> int:
    """Return about how many bytes the columns of a file take; 0 where it cannot be read, which reading it will tell."""
    pq = require("pyarrow.parquet", extra="parquet", what=f"the Parquet file {path}", error=DataError)
    try:
        with path.open("rb") as raw:
            file = pq.ParquetFile(raw)
            texts = _places_of_texts(file.schema_arrow)
            beside = sum(max(0, size) for i, size in enumerate(_chunks(file, sum)) if i in texts)
            return 8 * int(file.metadata.num_rows) * len(file.schema_arrow) + int(beside)
    except Exception:  # of a library, on a file of anybody
        return 0


def _places_of_texts(schema: Any) -> set[int]:
    return {i for i, field in enumerate(schema) if is_text(field.type)}


def _chunks(file: Any, of: Callable[[Iterable[int]], int]) -> list[int]:
    """Return for each column the sum, or the largest, of its bytes in the row groups; nothing where columns are nested."""
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    width = len(file.schema_arrow)
    if any(group.num_columns != width for group in groups):
        return [of(group.total_byte_size for group in groups)] * width
    return [of(group.column(i).total_uncompressed_size for group in groups) for i in range(width)]


def read_parquet(path: Path, *, on_disk: bool | None = None, frame: bool = False) -> Content:
    """Return the columns of a Parquet file.

    Parameters
    ----------
    on_disk
        Whether to keep them on disk; default: where they are large.
    frame
        Whether a frame is made of them, for which all columns that lie on disk are kept as Arrow batches, too.

    Raises
    ------
    DataError
        If the file is missing, empty, not of its kind, or larger than memory, or there is no room for temporary files.
    """
    pa = require("pyarrow", extra="parquet", what=f"the Parquet file {path}", error=DataError)
    pq = require("pyarrow.parquet", extra="parquet", what=f"the Parquet file {path}", error=DataError)
    on_disk = are_large([path]) if on_disk is None else on_disk
    try:
        with within_memory(path), path.open("rb") as raw:
            file = pq.ParquetFile(raw)
            schema, rows = file.schema_arrow, file.metadata.num_rows
            if rows == 0:
                raise DataError(f"{path} has no records")
            names = list(schema.names)
            if repeated := sorted({name for name in names if names.count(name) > 1}):
                raise DataError(f"{path}: column names appear more than once: {repeated[:5]}; rename them")
            index = tuple(name for name in names if name in _index_columns(schema))
            texts, size = _places_of_texts(schema), _chunks(file, max)
            # Each text once: one repeated a million times must not be laid out a million times. A reader of codes keeps all
            # texts of a row group, and is not taken where these take much room, for then they are repeated little.
            coded = [names[i] for i in sorted(texts) if size[i] <= BLOCK]
            file = pq.ParquetFile(raw, read_dictionary=coded, buffer_size=1 << 20)
            sizes = dict(zip(names, [max(each, 8 * rows) for each in _chunks(file, sum)], strict=True))
            step = max(1, min(1 << 16, 2 * BLOCK // max(1, sum(sizes.values()) // rows)))
            if on_disk:
                columns, batches = _on_disk(file, path, sizes, rows, step, pa, frame)
                return Content(columns, index, batches if frame else None)
            return Content(_in_memory(file, path, names, rows, step, pa), index)
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


def _batches(file: Any, path: Path, step: int) -> Iterator[Any]:
    for batch in file.iter_batches(batch_size=step, use_threads=False):
        require_room(batch.nbytes, f"{path}: {batch.num_rows:,} of its records")
        yield batch


def _in_memory(
    file: Any, path: Path, names: list[str], rows: int, step: int, pa: Any
) -> dict[str, NDArray[Any] | TextsOnDisk | Unread]:
    require_room(8 * rows * len(names), f"{path}: {counted(rows, 'record')} of {counted(len(names), 'column')}")
    parts: dict[str, list[Any]] = {name: [] for name in names}
    for batch in _batches(file, path, step):
        for name, cells in zip(names, batch.columns, strict=True):
            parts[name].append(_values(path, name, cells, pa))
    return {name: _joined(each) for name, each in parts.items()}


def _on_disk(
    file: Any, path: Path, sizes: dict[str, int], rows: int, step: int, pa: Any, frame: bool
) -> tuple[dict[str, NDArray[Any] | TextsOnDisk | Unread], Batches | None]:
    """Return the columns of an open file, those of numbers mapped and those of texts on disk.

    The batches are those of all columns for a frame, of texts alone otherwise, and None where there are none of these.
    """
    schema = file.schema_arrow
    texts = [field.name for field in schema if _holds_texts(field.type, pa)]
    packed = list(schema.names) if frame else texts
    others = [name for name in schema.names if name not in set(texts)]
    numbers = NumbersOnDisk(len(others), rows) if others else None
    batches = Batches(schema, sum(sizes[name] for name in packed)) if packed else None
    columns: dict[str, NDArray[Any] | TextsOnDisk | Unread] = {}
    start = 0
    for batch in _batches(file, path, step):
        if batches is not None:
            batches.write(batch.select(packed))
        for i, name in enumerate(others):
            values = _values(path, name, batch.column(name), pa)
            if isinstance(values, Unread):
                columns[name] = values
            elif numbers is not None:
                numbers.write(i, start, values)
        start += batch.num_rows
    if batches is not None:
        batches.close()
        columns |= {name: TextsOnDisk.of(batches, name) for name in texts}
    if numbers is not None:
        columns |= {name: numbers.column(i) for i, name in enumerate(others) if name not in columns}
    return {name: columns[name] for name in schema.names}, batches


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


def _holds_texts(kind: Any, pa: Any) -> bool:
    return is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _values(path: Path, name: str, values: Any, pa: Any) -> NDArray[Any] | Unread:
    types = pa.types
    if types.is_dictionary(values.type) and is_text(values.type.value_type):
        distinct = np.array([*values.dictionary.to_pylist(), None], dtype=object)
        return np.asarray(distinct[codes_of(values)])  # the last is that of the missing ones
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if types.is_null(kind):
        return np.full(len(values), np.nan)
    if types.is_decimal(kind):
        values = values.cast(pa.float64())
    elif is_text(kind):
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


def _joined(parts: list[Any]) -> NDArray[Any] | Unread:
    unread = [part for part in parts if isinstance(part, Unread)]
    return unread[0] if unread else np.concatenate(parts)
