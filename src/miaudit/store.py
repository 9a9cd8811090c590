"""Store: a content-addressed folder of output rows.

The durable unit is one model's output row: it is in the store or it is not. A row is one safetensors file, written to
a temporary name, synced and renamed, with a checksum inside; what cannot be read back is not there. The name of a row
is the hash of everything that decides its content, so a changed input can never be served a stale row.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import StoreError
from miaudit.files import PRIVATE, TEMPORARY, explained, private_folder, read_json, write_atomically

SCHEMA_VERSION = 1
READERS = 8
"""Rows that are read at once; on a folder that hosts share, reading one is mostly waiting for its server."""
_MOST_BYTES = 64 * 2**20
"""Of the files of rows that are read at once; each is held twice while it is checked. One is read, however large."""
_LOST = ". The row is left as it is; where the disk has lost it for good, remove the file, and the next run makes the row again"
_SUFFIX = ".safetensors"


def content_key(parts: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of a JSON-able mapping; key order does not matter."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Row:
    """What one model answered, and what is known of how it was made."""

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


class Rows(Protocol):
    """Where rows go."""

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Keep a row whole, or not at all."""
        ...


class Store:
    """Rows and a journal in one folder.

    Parameters
    ----------
    folder
        Created if missing. ``folder/rows`` holds the rows, ``folder/journal.jsonl`` one line per event.

    Attributes
    ----------
    damaged
        Keys of the rows that were found damaged and set aside.

    Raises
    ------
    StoreError
        If the folder cannot be made or written, or a newer miaudit wrote it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.damaged: list[str] = []
        with explained(self.folder):
            private_folder(self.folder / "rows")
        self._check_version()

    def _check_version(self) -> None:
        path = self.folder / "store.json"
        try:
            with _reading(path):
                version = read_json(path)["schema_version"]
        except FileNotFoundError:
            write_atomically(path, json.dumps({"schema_version": SCHEMA_VERSION}).encode() + b"\n")
            return
        except (IsADirectoryError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path} cannot be read ({error}); choose another output folder, or remove this one"
            ) from error
        if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
            raise StoreError(
                f"{path} says schema version {version!r}, this miaudit reads up to {SCHEMA_VERSION}; "
                "upgrade miaudit, or choose another output folder"
            )

    def path(self, key: str) -> Path:
        """Return where the row of this key lies, or would."""
        return self.folder / "rows" / f"{key}{_SUFFIX}"

    def keys(self) -> set[str]:
        """Return the keys of all rows that lie here; whether they are whole, only `get` tells.

        One listing serves for all of them, where a question for each name may be a request to a server for each. By NFS, in
        one trial with one Linux client and the default mount options, a row that another host had just written was in the
        listing at once, where the answer for its name was wrong for half a minute. Other clients, mount options and file
        systems may keep listings for a while, too.

        Raises
        ------
        StoreError
            If the folder cannot be listed for now.
        """
        return {entry.name.removesuffix(_SUFFIX) for entry in self._listing()}

    def size(self, keys: Iterable[str]) -> int:
        """Return the bytes of those rows that lie here, as far as they can be told: what cannot be asked for is left out."""
        names, size = {self.path(key).name for key in keys}, 0
        with suppress(StoreError):
            for entry in self._listing():
                if entry.name in names:
                    with suppress(OSError):
                        size += entry.stat().st_size
        return size

    def _listing(self) -> list[os.DirEntry[str]]:
        folder = self.folder / "rows"
        try:
            with _reading(folder), os.scandir(folder) as entries:
                return [entry for entry in entries if entry.name.endswith(_SUFFIX)]
        except FileNotFoundError:
            return []

    def facts(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the facts of those rows that are there whole, by key.

        Each is read as `get` does, and damaged ones are set aside; several are read at once, and no arrays are kept.

        Raises
        ------
        StoreError
            If the folder or a row cannot be read for now.
        """
        room = _Room(_MOST_BYTES)

        def read(key: str) -> dict[str, Any] | None:
            with ExitStack() as place:
                # no name holds the row, so that it is let go before its place is given to others
                return getattr(self._read(key, lambda size: place.enter_context(room.place(size))), "facts", None)

        names = self.keys()
        wanted = [key for key in dict.fromkeys(keys) if key in names]
        with ThreadPoolExecutor(READERS, thread_name_prefix="miaudit reads rows") as readers:
            try:
                rows = readers.map(read, wanted)
            except RuntimeError as error:  # of starting a thread; those of reading come below
                readers.shutdown(wait=False, cancel_futures=True)
                raise StoreError(
                    f"cannot read the rows in {self.folder}: {error}. End other programs, or raise the limit of threads "
                    "(ulimit -u), and run again"
                ) from error
            return {key: facts for key, facts in zip(wanted, rows, strict=True) if facts is not None}

    def get(self, key: str) -> Row | None:
        """Return the row, or None if it is missing or damaged.

        A damaged row (cut short, or failing its checksum) is noted in the journal and set aside, so that the next
        writer makes it again.

        Raises
        ------
        StoreError
            If it cannot be read for now, which says nothing of what it holds: its server is away, or it may not be opened.
            Where a disk has lost it for good the error is the same, so that only its owner can tell.
        """
        return self._read(key, lambda _: None)

    def _read(self, key: str, hold: Callable[[int], object]) -> Row | None:
        """As `get`; ``hold`` is called with the size of the file, and may wait, before it is read into memory."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = self.path(key)
        try:
            with _reading(path, _LOST), path.open("rb") as file:
                hold(os.fstat(file.fileno()).st_size)
                content = file.read()  # not mapped: others are read meanwhile, and one that is cut is no signal
            arrays = load(content)
            metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            facts = json.loads(metadata["facts"])
            if metadata["key"] != key or metadata["sha256"] != _checksum(key, arrays, facts):
                raise ValueError("its checksum does not match its content")
        except FileNotFoundError:
            return None
        except (IsADirectoryError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            self.damaged.append(key)
            self.note("damaged row set aside", key=key, why=str(error))
            with explained(self.folder), suppress(FileNotFoundError):  # set aside by another program already
                path.replace(path.with_suffix(".damaged"))
            return None
        return Row(arrays, facts)

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Write a row so that it is there whole, or not at all.

        Raises
        ------
        StoreError
            If the disk is full or the folder cannot be written; rows already there stay.
        """
        self.put_packed(key, packed(key, arrays, facts))

    def put_packed(self, key: str, content: bytes) -> None:
        """Write a row that was `packed` elsewhere; as `put`."""
        with explained(self.folder):
            exists = self.path(key).parent.is_dir()
        if not exists:
            self.note("the folder of the rows was gone, and is made again")
        write_atomically(self.path(key), content)

    def note(self, event: str, **details: Any) -> None:
        """Add one line to the journal."""
        line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **details})
        path = self.folder / "journal.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with explained(self.folder):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise StoreError(f"{path} is a link or no file, and the journal is a file of its own; remove it")
            with os.fdopen(os.open(path, flags, PRIVATE), "a", encoding="utf-8") as file:
                file.write(line + "\n")

    def part(self, key: str, name: str, start: int, end: int) -> NDArray[Any]:
        """Return rows ``start`` to ``end`` of one array of a row that `get` found whole before; the rest is not read.

        The file is mapped: where another program cuts it short while it is read, or its disk or server fails just then, the
        system ends this program by a signal.

        Raises
        ------
        StoreError
            If the row is missing, was damaged since, or cannot be read for now.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(key), framework="numpy") as file:
                return np.asarray(file.get_slice(name)[start:end])
        except (OSError, SafetensorError) as error:  # of safe_open have no number; `get` tells what it is
            row = self.get(key)
            if row is None or name not in row.arrays:
                raise StoreError(
                    f"the row {key} is gone from {self.folder}, or was damaged since it was written ({error}); "
                    "run the audit again"
                ) from error
            return row.arrays[name][start:end]

    @property
    def states(self) -> Path:
        """Where states of trainings lie that are cut into steps: a store of its own, made when the first is written."""
        return self.folder / "states"

    def sweep(self) -> None:
        """Remove temporary files of writers that died more than an hour ago, also those of states."""
        for folder in (self.folder, self.states):
            with suppress(OSError):  # what cannot be swept now is swept by a later run
                beside = [path for path in folder.glob("*.tmp") if TEMPORARY.search(path.name)]
                for path in (*(folder / "rows").glob("*.tmp"), *beside):
                    with suppress(OSError):
                        if time.time() - path.stat().st_mtime > 3600:
                            path.unlink()


class _Room:
    """Bytes that threads hold at once; one that holds more than all of them holds them alone."""

    def __init__(self, size: int) -> None:
        self._size, self._free, self._change = size, size, threading.Condition()

    @contextmanager
    def place(self, size: int) -> Iterator[None]:
        """Wait until so many bytes are free, and take them for the block."""
        size = min(size, self._size)
        with self._change:
            self._change.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._change:
                self._free += size
                self._change.notify_all()


@contextmanager
def _reading(path: Path, otherwise: str = "") -> Iterator[None]:
    """Turn what keeps this program from reading into a StoreError that says what to do.

    That a file is missing, or a folder has its place, is what the caller knows how to read.
    """
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        raise
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror or error}. See to its folder, and to its server where there is one, and run "
            f"again{otherwise}"
        ) from error


def packed(key: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> bytes:
    """Return a row as the content of its file, safetensors with a checksum inside."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {
        "key": key,
        "facts": json.dumps(dict(facts), sort_keys=True),
        "sha256": _checksum(key, arrays, dict(facts)),
    }
    return save(arrays, metadata=metadata)


def _checksum(key: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(key.encode())
    for name in sorted(arrays):
        digest.update(f"{name}:{arrays[name].dtype.str}:{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)  # not copied
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()
