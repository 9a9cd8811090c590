"""Arrays in ``.npz`` and ``.npy`` files, whose headers are read and compared with the file and with memory first."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from miaudit.data.room import COPIES, require_room, within_memory
from miaudit.errors import DataError
from miaudit.files import UNREADABLE, start_of

_SPARSE = {"data", "format", "shape"}  # what scipy.sparse.save_npz writes of any format


class Header(NamedTuple):
    """What a file says of one array before its numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


class Arrays:
    """The arrays of an open ``.npz``: their headers, and each array where it is asked for."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self.headers: dict[str, Header] = {}
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if not entry.filename.endswith(".npy"):
                raise DataError(f"{path} holds {entry.filename!a}, which is no array; save plain arrays with np.savez")
            if name in self.headers:
                raise DataError(f"{path} holds two arrays called {name!a}; save each once")
            with archive.open(entry) as file:
                self.headers[name] = _header(file, entry.file_size, f"{path}: array {name!a}")
        if set(self.headers) >= _SPARSE:
            raise DataError(
                f"{path} holds a sparse matrix of scipy's; save it dense by np.savez(file, X=matrix.toarray(), y=y), features "
                "of 0 and 1 packed (docs/plans.md), or hand the matrix to miaudit.audit in Python"
            )

    def require_room(self, names: Collection[str], *, copies: int = COPIES) -> None:
        """Refuse to read these arrays where memory does not hold them.

        Raises
        ------
        DataError
            With the shape of the largest.
        """
        largest = max(names, key=lambda name: self.headers[name].nbytes)
        header = self.headers[largest]
        what = f"{self._path}: array {largest!a} of shape {header.shape} and type {header.dtype}"
        beside = "" if len(names) == 1 else ", with those beside it"
        require_room(sum(self.headers[name].nbytes for name in names), what + beside, copies=copies)

    def __getitem__(self, name: str) -> NDArray[Any]:
        with self._archive.open(f"{name}.npy") as file:
            array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        return array


@contextmanager
def open_npz(path: Path, *, way: str = "save plain arrays with np.savez") -> Iterator[Arrays]:
    """Open an ``.npz`` file; ``way`` says what to do where it is none.

    Raises
    ------
    DataError
        If there is no such file, it is no ``.npz`` without pickled objects, or it does not fit into memory.
    """
    try:
        with path.open("rb") as raw, within_memory(path):
            if raw.read(6) == b"\x93NUMPY":
                raise DataError(f"{path} holds one array, not an .npz of named ones; save them with np.savez")
            raw.seek(0)
            with zipfile.ZipFile(raw) as archive:
                yield Arrays(path, archive)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is no .npz file, or a damaged one: {start_of(path)}; {way}") from error
    except UNREADABLE as error:
        raise DataError(
            f"{path} cannot be read as .npz without pickled objects: {error}; save plain arrays with np.savez"
        ) from error


def read_npy(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """Return the array of an ``.npy`` file, mapped into memory where that is asked for.

    Raises
    ------
    DataError
        If its header claims more than the file or memory hold.
    OSError, ValueError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file, within_memory(path):
            if file.read(4) == b"PK\x03\x04":
                raise ValueError(
                    f"{path.name} is an .npz or another zip archive: call it .npz, or save one array with np.save"
                )
            file.seek(0)
            header = _header(file, path.stat().st_size, str(path))
            array: NDArray[Any]
            if mapped:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            else:
                require_room(header.nbytes, str(path))
                file.seek(0)
                array = npy.read_array(file, allow_pickle=False)
    except (OSError, ValueError):
        raise
    except UNREADABLE as error:
        raise ValueError(f"it is no .npy file, or damaged ({error})") from error
    return array


def _header(file: IO[bytes], size: int, what: str) -> Header:
    """Return the header of an array, refusing one that claims other than the ``size`` bytes of the file."""
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(file)
    elif version in ((2, 0), (3, 0)):
        shape, _, dtype = npy.read_array_header_2_0(file)
    else:
        raise ValueError(f"the .npy version {version} is not known")
    header = Header(tuple(shape), dtype)
    if dtype.hasobject:
        raise DataError(
            f"{what} holds Python objects, and cannot be read without pickled objects: save it with a plain type, texts by "
            "array.astype(str)"
        )
    rest = size - file.tell()
    if header.nbytes != rest:
        raise DataError(
            f"{what} claims shape {header.shape} and type {header.dtype}, {header.nbytes:,} bytes, and {rest:,} are "
            "there: the file is cut off or was changed; save it again"
        )
    return header
