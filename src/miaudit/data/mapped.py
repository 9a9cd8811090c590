"""Records that lie in a file and are mapped into memory: the rows that are needed are read, and no more.

An array is mapped if it is a ``numpy.memmap``, as of ``np.load(file, mmap_mode="r")``, or a part of one. Large takes of mapped
records are mapped, too: they are written to a temporary file, a block at a time.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import DataError
from miaudit.files import (
    TOO_MANY_FILES,
    close_temporary,
    identity_of,
    no_temporary,
    open_temporary,
    spare_descriptor,
)

BLOCK = 16 << 20
"""Bytes of records that are read at a time."""

HELD = 128 << 20
"""Takes of more bytes are written to a temporary file."""


def is_mapped(X: Any) -> bool:
    """Whether records are an array, of numbers, that lies in a file."""
    return isinstance(X, np.memmap) and _root(X) is not None


def rows_of_a_block(X: NDArray[Any]) -> int:
    """Return how many records are read at a time."""
    return max(1, BLOCK // max(1, X.nbytes // max(1, len(X))))


def take_mapped(X: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return the records at ``rows``: a copy in memory; large ones as a part of the file, or mapped from a temporary one."""
    if len(rows) * (X.nbytes // max(1, len(X))) <= HELD:
        return np.asarray(X[rows])
    if (np.diff(rows) == 1).all() and rows[0] >= 0 and rows[-1] < len(X):
        part = X[int(rows[0]) : int(rows[-1]) + 1]
        part.flags.writeable = False  # a model must not change the file
        return part
    step = rows_of_a_block(X)
    return written((X[rows[start : start + step]] for start in range(0, len(rows), step)), len(rows), X)


def stack_mapped(parts: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Return mapped records one after the other, in a temporary file."""
    parts = list(parts)
    blocks = (
        part[start : start + rows_of_a_block(part)]
        for part in parts
        for start in range(0, len(part), rows_of_a_block(part))
    )
    return written(blocks, sum(map(len, parts)), parts[0])


def written(blocks: Iterable[NDArray[Any]], n: int, like: NDArray[Any]) -> NDArray[Any]:
    """Return blocks of records as one array mapped from a temporary file, which goes when the array does, or the program.

    Raises
    ------
    DataError
        If the file cannot be written; nothing of it stays then, nor where making the blocks fails.
    """
    shape = (n, *like.shape[1:])
    descriptor, path = temporary_file(math.prod(shape) * like.itemsize)
    try:
        with os.fdopen(descriptor, "r+b", buffering=0, closefd=False) as file:
            for block in blocks:
                _write(file, block)
        with on_mapping():
            array: NDArray[Any] = np.memmap(path, dtype=like.dtype, mode="r", shape=shape)
    except BaseException:
        close_temporary(descriptor, path)
        raise
    weakref.finalize(_root(array), close_temporary, spare_descriptor(descriptor, path), path)
    return array


def temporary_file(size: int) -> tuple[int, str]:
    """Open a new temporary file of so many bytes, all of which the disk has given to it; see `open_temporary`.

    A file that takes room only as it is filled ends the program, without a word, where it is mapped and the disk is full.

    Raises
    ------
    DataError
        If there is no room for it; no file stays.
    """
    with on_temporary_disk(size):
        descriptor, path = open_temporary("miaudit-records-")
        try:
            with os.fdopen(descriptor, "wb", buffering=0, closefd=False) as file:
                _allocate(file, size)
                file.seek(0)
        except BaseException:
            close_temporary(descriptor, path)
            raise
    return descriptor, path


def _allocate(file: Any, size: int) -> None:
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):  # those of file systems without it
                raise
    zeros = np.zeros(min(size, BLOCK), np.uint8)
    for start in range(0, size, BLOCK):
        _write(file, zeros[: size - start])


def _write(file: Any, block: NDArray[Any]) -> None:
    """Write an array into a file without a buffer, which may take less than all of it at a time."""
    content = np.ascontiguousarray(block).reshape(-1).view(np.uint8)
    with on_temporary_disk(content.nbytes):
        while len(content):
            content = content[file.write(content) :]


@contextmanager
def on_temporary_disk(size: int) -> Iterator[None]:
    """Turn an operating system's refusal of a temporary file into a DataError that says what to do.

    Parameters
    ----------
    size
        The bytes that it needs.
    """
    try:
        yield
    except OSError as error:
        raise DataError(no_temporary(error, size)) from error


class NumbersOnDisk:
    """Columns of numbers in one temporary file, each in a row of its own; the file goes when they do.

    Parameters
    ----------
    count, n
        How many columns, and numbers in each.

    Raises
    ------
    DataError
        If the disk has no room for 8 bytes a number.
    """

    def __init__(self, count: int, n: int) -> None:
        descriptor, path = temporary_file(count * 8 * n)
        try:
            with on_mapping():
                self._bytes: Any = np.memmap(path, dtype=np.uint8, mode="r+", shape=(count, 8 * n))
        except BaseException:
            close_temporary(descriptor, path)
            raise
        weakref.finalize(_root(self._bytes), close_temporary, spare_descriptor(descriptor, path), path)
        self._n = n
        self._dtypes: list[np.dtype[Any] | None] = [None] * count

    def write(self, column: int, start: int, values: NDArray[Any]) -> None:
        """Write numbers from a place on; those before it change their type where these have one that holds more."""
        before = self._dtypes[column]
        dtype = values.dtype if before is None else np.result_type(before, values.dtype)
        if before is not None and dtype != before:
            self._of(column, dtype)[:start] = self._of(column, before)[:start].astype(dtype)
        self._dtypes[column] = dtype
        self._of(column, dtype)[start : start + len(values)] = values

    def column(self, column: int) -> NDArray[Any]:
        """Return a column."""
        dtype = self._dtypes[column]
        assert dtype is not None
        return self._of(column, dtype)

    def _of(self, column: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        part: NDArray[Any] = self._bytes[column, : self._n * dtype.itemsize].view(dtype)
        return part


@contextmanager
def on_mapping() -> Iterator[None]:
    """Turn an operating system's refusal to map a file into a DataError that says what to do."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in TOO_MANY_FILES:
            raise DataError(no_temporary(error)) from error
        raise DataError(
            f"records in a file cannot be mapped into memory ({error.strerror or error}); allow the process more address space "
            "(ulimit -v), or audit fewer records"
        ) from error


@contextmanager
def reopened(path: str, identity: str | None) -> Iterator[BinaryIO]:
    """Open the file that a path led to when it had this identity: a descriptor's number may be used again.

    Raises
    ------
    FileNotFoundError
        If the file is there no more.
    DataError
        If no more files can be opened.
    """
    gone = f"the temporary file {path} of records is gone, with the program or the array that it was of"
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if error.errno in TOO_MANY_FILES:
            raise DataError(no_temporary(error)) from error
        if identity is None:
            raise
        raise FileNotFoundError(gone) from error
    with os.fdopen(descriptor, "rb") as file:
        if identity is not None and identity_of(f"/proc/self/fd/{descriptor}") != identity:
            raise FileNotFoundError(gone)
        yield file


def _root(X: Any) -> Any:
    """Return the whole mapped array that an array is a part of; None where there is none."""
    whole, base = X, getattr(X, "base", None)
    while isinstance(base, np.memmap):
        whole, base = base, getattr(base, "base", None)
    return whole if isinstance(base, mmap.mmap) and whole.filename is not None else None


@dataclass(frozen=True)
class Place:
    """Where in a file records lie: what is sent to another process in their place."""

    path: str
    identity: str | None
    dtype: str
    offset: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, X: NDArray[Any]) -> Place | None:
        """Return the place of mapped records; None where they are not mapped, or not one after the other."""
        root = _root(X)
        if root is None or not X.flags.c_contiguous:
            return None
        offset = root.offset + X.ctypes.data - root.ctypes.data
        path = str(Path(root.filename).absolute())
        return cls(path, identity_of(path), X.dtype.str, int(offset), X.shape)

    def read(self) -> NDArray[Any]:
        """Return the records, mapped.

        Raises
        ------
        FileNotFoundError
            If the file is there no more.
        """
        with reopened(self.path, self.identity) as file, on_mapping():
            records = np.memmap(file, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape)
        records.filename = self.path
        return records
