"""The seal of an audit's folder: the hash of every file that its result rests on, and one hash of all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from miaudit.documents import Document, first_problem
from miaudit.errors import StoreError
from miaudit.files import read_json, sha256_of, write_atomically

SEALED = "seal.json"
EVIDENCE = ("result.json", "records.csv", "draws.safetensors", "synthesis.npz", "synthesis.json", "rows", "target")
"""What a result rests on: files of an audit's folder, and folders in it. The journal is a log, and pages are renderings."""


class Seal(Document):
    """The sha256 of each file by its path in the folder; ``removed`` are those that were cleaned away since."""

    schema_version: int = 1
    files: dict[str, str]
    removed: list[str] = []

    @property
    def value(self) -> str:
        """The seal itself: one hash of all of them, which changes with any."""
        return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()

    def changes(self, folder: str | Path) -> Iterator[str]:
        """Yield what of the sealed files is not there as it was sealed.

        Raises
        ------
        StoreError
            If a file cannot be read.
        """
        if "result.json" not in self.files:
            yield f"{SEALED} does not name result.json"
        for name, digest in self.files.items():
            path = Path(folder) / name
            if ".." in Path(name).parts or Path(name).is_absolute():
                yield f"{SEALED} names {name!r}, which is outside the folder"
            elif path.is_file():
                try:
                    same = sha256_of(path) == digest
                except OSError as error:
                    raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
                if not same:
                    yield f"{name} is not the file that was sealed"
            elif name not in self.removed:
                yield f"{name} is gone"

    def unnamed(self, folder: str | Path) -> list[str]:
        """Return the files of the kinds that a result rests on that are there and whose hashes are not in the seal."""
        return [name for name in evidence_files(Path(folder)) if name not in self.files]

    def save(self, folder: str | Path) -> None:
        """Write ``seal.json`` to an audit's folder.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        write_atomically(Path(folder) / SEALED, (self.model_dump_json(indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path) -> Seal:
        """Read ``seal.json`` of an audit's folder.

        Raises
        ------
        StoreError
            If there is none, or it is no seal.
        """
        path = Path(folder) / SEALED
        try:
            return cls.model_validate(read_json(path))
        except FileNotFoundError:
            raise StoreError(
                f"no {SEALED} in {folder}, which every run writes: it was removed, an older miaudit audited there, or this is "
                "the form to be shared, which has none"
            ) from None
        except ValidationError as error:
            raise StoreError(f"{path} is no seal: {first_problem(cls, error)}") from error
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read as JSON: {error}") from error


def seal(folder: str | Path) -> Seal:
    """Hash what the result in a folder rests on, write ``seal.json``, and return it.

    Raises
    ------
    StoreError
        If a file cannot be read, or the seal not be written.
    """
    folder = Path(folder)
    try:
        sums = Seal(files={name: sha256_of(folder / name) for name in evidence_files(folder)})
    except OSError as error:
        raise StoreError(f"{folder} cannot be sealed: {error}; run the audit again") from error
    sums.save(folder)
    return sums


def evidence_files(folder: Path) -> Iterator[str]:
    """Yield the paths, in the folder, of the files that are there and that a result rests on."""
    for name in EVIDENCE:
        path = folder / name
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (
            each.relative_to(folder).as_posix()
            for each in inside
            if each.is_file() and not each.name.endswith((".tmp", ".damaged", "-wal", "-shm")) and not _in_use(each)
        )


def _in_use(path: Path) -> bool:
    """Whether a program still writes to a data base, whose file changes when it ends."""
    return path.with_name(f"{path.name}-wal").exists()
