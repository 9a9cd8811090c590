"""CSV files as columns of texts, exactly as written."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from miaudit.data.room import require_room, within_memory
from miaudit.errors import DataError, counted

_CELL = 64  # bytes of memory a cell takes beside its characters
_FIRST = 1 << 20  # bytes of text from which the size of a packed file is estimated
_CHECK = 1 << 14  # rows between two looks at the size
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_FORMATS = {  # by their first bytes
    b"PK\x03\x04": "a zip archive or a workbook",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PAR1": "a Parquet file",
    b"ARROW1": "a Feather file",
    b"\xd0\xcf\x11\xe0": "a workbook",
}


def read_csv(path: Path) -> dict[str, list[str]]:
    """Return the columns of a CSV file, gzipped where the name says so; one without a name is called as pandas does.

    Raises
    ------
    DataError
        If the file is missing, empty, ragged, not in UTF-8, or larger than memory.
    """
    try:
        with within_memory(path), path.open("rb") as raw:
            _refuse_bomb(path, raw)
            with io.TextIOWrapper(_unpacked(path, raw), encoding="utf-8-sig", newline="") as file:
                rows = list(_rows(path, file))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        hint = _other_form(path, error)
        raise DataError(f"{path} cannot be read as CSV in UTF-8: {error}{hint}") from error
    if not rows or not any(rows[0]):
        raise DataError(f"{path} is empty; a table starts with a line of column names")
    header = [name or f"Unnamed: {i}" for i, name in enumerate(rows.pop(0))]
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        raise DataError(f"{path}: column names appear more than once: {repeated[:5]}; rename them")
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(
                f"{path}: record {number} (counted from 0) has {counted(len(row), 'cell')}, "
                f"the header names {counted(len(header), 'column')}{_separator(header)}"
            )
    if not rows:
        raise DataError(f"{path} has a header and no records")
    if any(sign in header[0] and all(sign in row[0] for row in rows) for sign in _SEPARATORS if len(header) == 1):
        raise DataError(f"{path}: its only column is called {header[0][:80]!r}{_separator(header)}")
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def is_packed(path: Path) -> bool:
    """Return whether the name says that the file is gzipped."""
    return path.name.lower().endswith(".gz")


def _unpacked(path: Path, raw: IO[bytes]) -> Any:
    return gzip.GzipFile(fileobj=raw, mode="rb") if is_packed(path) else raw


def _rows(path: Path, file: IO[str]) -> Iterator[list[str]]:
    """Yield the rows that are not empty, as long as they fit into memory."""
    size = 0
    for number, row in enumerate(csv.reader(file, strict=True)):
        if not row:
            continue
        size += _CELL * len(row) + sum(map(len, row))
        if number % _CHECK == 0:  # half as much again will be needed for the matrix
            require_room(size // 2, f"{path}: the matrix of its first {number:,} records alone", copies=1)
        yield row


def _refuse_bomb(path: Path, raw: IO[bytes]) -> None:
    """Estimate what the whole file takes from its beginning, so that a packed one is not read until memory is full."""
    packed = os.fstat(raw.fileno()).st_size
    text = _unpacked(path, raw).read(_FIRST)
    length_read = raw.tell() if is_packed(path) else len(text)
    raw.seek(0)
    if len(text) < _FIRST or not length_read:
        return
    rows = text.count(b"\n") or text.count(b"\r") or 1
    cells = text.count(b",") + rows
    scale = packed / length_read
    if is_packed(path):
        length = int.from_bytes(_tail(raw), "little")  # the true length, if it is below 4 GiB
        estimate = len(text) * scale
        scale = scale if estimate > 1 << 31 or length < len(text) else length / len(text)
    size = int(1.5 * scale * (len(text) + _CELL * cells))  # with the matrix
    require_room(size, f"{path}: about {scale * rows:,.0f} records, unpacked and split into cells", copies=1)


def _tail(raw: IO[bytes]) -> bytes:
    raw.seek(-4, os.SEEK_END)
    tail = raw.read(4)
    raw.seek(0)
    return tail


def _separator(header: list[str]) -> str:
    """Return a hint where the one name in the header holds another separator."""
    if len(header) == 1:
        for sign, name in _SEPARATORS.items():
            if sign in header[0]:
                return f"; the columns seem to be parted by {name}: write the file with commas between them"
        if header[0].startswith("#"):
            return "; the first line seems to be a comment: leave it out"
    return ""


def _other_form(path: Path, error: Exception) -> str:
    """Return a hint on what the file is instead."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError:
        return ""
    if start[:2] == b"\x1f\x8b" and not is_packed(path):
        return "; it is gzipped: call it .csv.gz"
    if start[:2] != b"\x1f\x8b" and is_packed(path):
        return "; it is not gzipped: call it .csv"
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "; it is in UTF-16: save it in UTF-8"
    if kind := next((kind for magic, kind in _FORMATS.items() if start.startswith(magic)), None):
        return f"; it is {kind}: " + ("call it .parquet" if start[:4] == b"PAR1" else "unpack it, or export it as CSV")
    if "field limit" in str(error):
        return "; save so long texts as Parquet"
    return "; save it in UTF-8" if isinstance(error, UnicodeDecodeError) else ""
