"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import lzma
import math
import os
import re
import shutil
import struct
import subprocess
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from miaudit.errors import PlanError, StoreError

UNREADABLE = (
    *(ArithmeticError, AttributeError, EOFError, KeyError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    *(lzma.LZMAError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What reading an archive of arrays raises where the file is damaged, encrypted, or no such archive."""
TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp$")
"""End of the name of a file that is being written, or that its writer left when it was killed."""
PRIVATE = 0o600
"""Mode of files that only their owner may read and write."""
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
"""Numbers of the errors of a process, and of a system, that can open no more files."""
_folders: set[str] = set()
_owner = ""


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or is no JSON: also for NaN, infinities and numbers beyond a float, and for values in one
        another without end.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    def number(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse(text[:40])

    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse, parse_float=number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_npz(path: Path) -> dict[str, Any]:
    """Return the arrays of an ``.npz`` file.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or holds pickled objects.
    """
    import numpy as np

    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError):
        raise
    except UNREADABLE as error:
        raise ValueError(f"it is no .npz file, or damaged ({error})") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write one file whole or not at all; see `write_files`."""
    write_files(path.parent, {path.name: content})


def write_files(folder: Path, files: Mapping[str, bytes | Iterable[bytes]]) -> None:
    """Write files into a folder, made if missing: all of them or, on an error, none.

    Every file is written and synced under a temporary name before the first one takes its place; then the folder is
    synced. Only their owner may read them: most hold answers about people, or say who is a member. The content of a file may
    come in parts, which are not held together.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written; earlier files stay as they were, no temporary file stays.
    """
    staged: dict[Path, Path] = {}
    with explained(folder):
        try:
            private_folder(folder)
            for name, content in files.items():
                temporary = folder / f"{name}.{uuid4().hex[:8]}.tmp"
                staged[temporary] = folder / name
                with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
                    file.writelines([content] if isinstance(content, bytes) else content)
                    file.flush()
                    os.fsync(file.fileno())
            for temporary, final in list(staged.items()):
                temporary.replace(final)
                del staged[temporary]  # looking for it again would ask a server once more
        finally:
            for temporary in staged:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, which nobody but their owner may enter; one that there is stays."""
    if not folder.is_dir():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def noted_seal(text: str | None) -> str | None:
    """Return a seal that somebody noted, as it is written; None where none was.

    Raises
    ------
    PlanError
        If it is none: 64 hexadecimal digits, as a run prints them.
    """
    if text is None or re.fullmatch("[0-9a-f]{64}", noted := text.strip().lower()):
        return None if text is None else noted
    raise PlanError(f"a seal is 64 hexadecimal digits, as the run printed it; got {text!r}")


def start_of(path: Path) -> str:
    """Return the size and the first bytes of a file that is of another kind than it should be."""
    with path.open("rb") as file:
        start = file.read(8)
    return f"it has {path.stat().st_size:,} bytes and starts with {start!r}" if start else "it is empty"


def sha256_of(path: Path) -> str:
    """Return the sha256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_temporary(prefix: str) -> tuple[int, str]:
    """Return the descriptor of a new temporary file, and the path by which other processes of the user open it.

    A file without a name needs nobody to remove it: it goes with this process, however that ends. Others open it through this
    process, where /proc says how and lets them; elsewhere it keeps its name. Both have mode 0600, and last until
    `close_temporary`.

    Parameters
    ----------
    prefix
        What its name begins with.
    """
    descriptor, name = tempfile.mkstemp(prefix=prefix)
    try:
        if not _others_can_read(os.getpid()):
            return descriptor, name
    except BaseException:
        close_temporary(descriptor, name)
        raise
    Path(name).unlink()
    return descriptor, f"/proc/{os.getpid()}/fd/{descriptor}"


def spare_descriptor(descriptor: int, path: str) -> int:
    """Close the descriptor of a temporary file that is opened by its name; return the one to close in the end."""
    if path.startswith("/proc/"):
        return descriptor
    os.close(descriptor)
    return -1


def close_temporary(descriptor: int, path: str) -> None:
    """Close a temporary file, and remove the name that it may have."""
    with suppress(OSError):
        os.close(descriptor)
    if not path.startswith("/proc/"):
        with suppress(OSError):
            Path(path).unlink()


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder, and remove it when the block ends, or a worker in it; what cannot be removed stays.

    Raises
    ------
    StoreError
        If none can be made.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=f"{prefix}{_owner}", ignore_cleanup_errors=True)
    except OSError as error:
        raise StoreError(no_temporary(error)) from error
    with folder as name:
        _folders.add(name)
        try:
            yield Path(name)
        finally:
            _folders.discard(name)


def own_temporary_folders(owner: str) -> None:
    """Have the names of the temporary folders of this process hold who it is, for `remove_temporary_folders_of`."""
    global _owner
    _owner = f"{owner}-"


def has_temporary_folders() -> bool:
    """Whether this process has temporary folders."""
    return bool(_folders)


def remove_temporary_folders() -> None:
    """Remove the temporary folders of this process, which is about to end in the middle of what it does."""
    for name in list(_folders):
        shutil.rmtree(name, ignore_errors=True)


def remove_temporary_folders_of(owner: str) -> None:
    """Remove the temporary folders of another process, which was killed."""
    with suppress(OSError):
        for path in Path(tempfile.gettempdir()).glob(f"miaudit-*-{owner}-*"):
            shutil.rmtree(path, ignore_errors=True)


def identity_of(path: str) -> str | None:
    """Return the name that a file had whose path is that of a descriptor, which may be another file's later; else None."""
    if not path.startswith("/proc/"):
        return None
    with suppress(OSError):
        return str(Path(path).readlink())
    return None


@cache
def _others_can_read(pid: int) -> bool:
    """Whether other processes can open the files of this one.

    One is asked, because what /proc shows to whom is decided in many places. It answers with the content: exit codes are lost
    where the program ignores SIGCHLD.
    """
    with tempfile.TemporaryFile(prefix="miaudit-question-") as file:
        file.write(b"readable")
        file.flush()
        command = ["cat", f"/proc/{pid}/fd/{file.fileno()}"]
        try:
            answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout
        except OSError as error:
            if error.errno in TOO_MANY_FILES:
                raise
            return False
    return answer == b"readable"


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn an operating system's refusal into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"no space left on the disk of {folder}: free some space and run again; an output folder (--out, in Python "
                "out=) keeps every finished row"
            ) from error
        raise StoreError(
            f"cannot write to {folder}: {error.strerror or error}; choose an output folder that you may write to"
        ) from error


def no_temporary(error: OSError, size: int | None = None) -> str:
    """Return the sentence for a temporary file that cannot be opened or written: where, why, and what to do.

    Parameters
    ----------
    size
        The bytes that it needs; None where they are few.
    """
    if error.errno == errno.EMFILE:
        limit = f"{os.sysconf('SC_OPEN_MAX')} files" if hasattr(os, "sysconf") else "so many files"
        return (
            f"a temporary file cannot be opened ({error.strerror}): this process may have {limit} open, and large records that "
            "are read from files take one or two for each array; raise that limit (ulimit -n) and run again"
        )
    if error.errno == errno.ENFILE:
        return (
            f"a temporary file cannot be opened ({error.strerror}): all processes of the system together have too many files "
            "open; end others, or have the limit of the system raised, and run again"
        )
    room = "" if size is None else f" with {size / 2**30:,.2f} GiB free"
    try:
        folder = tempfile.gettempdir()
    except OSError:
        return f"there is no temporary folder that can be written to; set TMPDIR to one{room}"
    return (
        f"a temporary file cannot be written into {folder} ({error.strerror or error}); free some space there or set TMPDIR "
        f"to another folder{room}"
    )
