"""Trained models from files. The format is told by the content, not by the name."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

from miaudit.errors import PlanError

_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_COMPRESSED_STARTS = (b"\x78\x9c", b"\x78\x01", b"\x78\xda", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x04\x22\x4d\x18")


def file_sha256(path: str | Path) -> str:
    """Return the sha256 (hex) of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_model(path: str | Path, *, allow_pickle: bool = False, trusted: tuple[str, ...] = ()) -> Any:
    """Return the scikit-learn model in a file.

    Parameters
    ----------
    path
        A skops file, or a pickle or joblib file.
    allow_pickle
        Consent to read a pickle or joblib file. Reading one runs code that its author put there.
    trusted
        For skops: types outside its own list that may be loaded.

    Raises
    ------
    PlanError
        If the file is missing, of an unknown format, needs consent, or cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise PlanError(f"the model file {path} cannot be read: {error.strerror or error}") from error
    if zipfile.is_zipfile(path):
        return _load_zip(path, trusted)
    if start.startswith(_PICKLE_STARTS) or start.startswith(_COMPRESSED_STARTS):
        if not allow_pickle:
            raise PlanError(
                f"{path} is a pickle (or joblib) file, and reading one runs whatever code its author put there. Save "
                "the model with skops instead (skops.io.dump), or, if you trust the file, consent with --allow-pickle"
            )
        return _load_pickle(path)
    if _is_safetensors(path):
        raise PlanError(f"{path} holds bare weights (safetensors): say how their network is built with recipe.network")
    raise PlanError(
        f"{path} is no model file this reads (skops; pickle and joblib with consent): it starts with {start!r}"
    )


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return 2 <= length < path.stat().st_size and file.read(1) == b"{"


def _load_zip(path: Path, trusted: tuple[str, ...]) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "schema.json" not in names:
        raise PlanError(f"{path} is a zip file but not a skops model (it holds {names[:3]}); save with skops.io.dump")
    try:
        import skops.io
    except ImportError:
        raise PlanError(f"{path} is a skops file; to read it: pip install 'miaudit[skops]'") from None
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted))
        if unknown:
            raise PlanError(
                f"{path} holds types outside skops' own list: {', '.join(unknown)}. If you trust them, list them as "
                "target.trusted in the plan"
            )
        return skops.io.load(path, trusted=list(trusted))
    except PlanError:
        raise
    except Exception as error:
        raise PlanError(f"{path} cannot be read as a skops model: {type(error).__name__}: {error}") from error


def _load_pickle(path: Path) -> Any:
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:
        raise PlanError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
