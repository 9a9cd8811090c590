"""Store: a content-addressed folder of output rows.

The durable unit is one model's output row: it is in the store or it is not. A row is one safetensors file, written to
a temporary name, synced and renamed, with a checksum inside; what cannot be read back is not there. The name of a row
is the hash of everything that decides its content, so a changed input can never be served a stale row.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
"""Of the rows that are read at once, each of which is held twice while it is checked; one is read, however large."""
_UNREADABLE = frozenset({None, errno.EIO, errno.EISDIR})
"""Errors that condemn a row: the disk has lost it, or it is no file."""
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
        if not path.exists():
            write_atomically(path, json.dumps({"schema_version": SCHEMA_VERSION}).encode() + b"\n")
            return
        try:
            version = read_json(path)["schema_version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
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

    def has(self, key: str) -> bool:
        """Whether a row of this name lies here; whether it is whole, only `get` tells."""
        return self.path(key).exists()

    def keys(self) -> set[str]:
        """Return the keys of all rows that lie here; whether they are whole, only `get` tells.

        One listing serves for all of them, where `has` may ask a server for each. By NFS a listing is that of now, where
        the answer for a single name may be half a minute old.
        """
        return {entry.name.removesuffix(_SUFFIX) for entry in self._listing()}

    def size(self, keys: Iterable[str]) -> int:
        """Return the bytes of those rows that lie here."""
        names, size = {self.path(key).name for key in keys}, 0
        for entry in self._listing():
            if entry.name in names:
                with suppress(FileNotFoundError):  # set aside meanwhile, by another program
                    size += entry.stat().st_size
        return size

    def _listing(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder / "rows") as entries:
                return [entry for entry in entries if entry.name.endswith(_SUFFIX)]
        except FileNotFoundError:
            return []

    def facts(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the facts of those rows that are there whole, by key.

        Each is read as `get` does, and damaged ones are set aside; several are read at once, and no arrays are kept.
        """

        def read(key: str) -> dict[str, Any] | None:
            row = self.get(key)
            return None if row is None else row.facts

        there = self.keys()
        wanted = [key for key in dict.fromkeys(keys) if key in there]
        size = 1
        with suppress(OSError, IndexError):  # rows of one store have about one size
            size = max(self.path(wanted[0]).stat().st_size, 1)
        at_once = max(1, min(READERS, _MOST_BYTES // size))
        with ThreadPoolExecutor(at_once, thread_name_prefix="miaudit reads rows") as readers:
            rows = zip(wanted, readers.map(read, wanted), strict=True)
            return {key: facts for key, facts in rows if facts is not None}

    def get(self, key: str) -> Row | None:
        """Return the row, or None if it is missing or damaged.

        A damaged row (cut short, or failing its checksum) is noted in the journal and set aside, so that the next
        writer makes it again.

        Raises
        ------
        StoreError
            If it cannot be read for now, which says nothing of what it holds: its server is away, or it may not be opened.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = self.path(key)
        try:
            content = path.read_bytes()  # not mapped: others are read meanwhile, and one that is cut is no signal
            arrays = load(content)
            metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            facts = json.loads(metadata["facts"])
            if metadata["key"] != key or metadata["sha256"] != _checksum(key, arrays, facts):
                raise ValueError("its checksum does not match its content")
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, OSError) and error.errno not in _UNREADABLE:
                raise StoreError(
                    f"cannot read {path}: {error.strerror or error}. The row is left as it is: see to the folder, and run again"
                ) from error
            self.damaged.append(key)
            self.note("damaged row set aside", key=key, why=str(error))
            with suppress(FileNotFoundError):  # set aside by another program already
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
        if not self.path(key).parent.is_dir():
            self.note("the folder of the rows was gone, and is made again")
        write_atomically(self.path(key), content)

    def note(self, event: str, **details: Any) -> None:
        """Add one line to the journal."""
        line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **details})
        path = self.folder / "journal.jsonl"
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise StoreError(f"{path} is a link or no file, and the journal is a file of its own; remove it")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with explained(self.folder), os.fdopen(os.open(path, flags, PRIVATE), "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def part(self, key: str, name: str, start: int, end: int) -> NDArray[Any]:
        """Return rows ``start`` to ``end`` of one array of a row that `get` found whole before; the rest is not read.

        Raises
        ------
        StoreError
            If the row is gone.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(key), framework="numpy") as file:
                return np.asarray(file.get_slice(name)[start:end])
        except (OSError, SafetensorError) as error:
            raise StoreError(f"the row {key} is gone from {self.folder} ({error}); run the audit again") from error

    @property
    def states(self) -> Path:
        """Where states of trainings lie that are cut into steps: a store of its own, made when the first is written."""
        return self.folder / "states"

    def sweep(self) -> None:
        """Remove temporary files of writers that died more than an hour ago, also those of states."""
        folders = (self.folder, self.states)
        rows = [path for folder in folders for path in (folder / "rows").glob("*.tmp")]
        beside = [path for folder in folders for path in folder.glob("*.tmp") if TEMPORARY.search(path.name)]
        for path in (*rows, *beside):
            try:
                if time.time() - path.stat().st_mtime > 3600:
                    path.unlink()
            except FileNotFoundError:
                pass


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
