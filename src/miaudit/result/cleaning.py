"""What of an audit's folder is about single records, and its removal."""

from __future__ import annotations

import shutil
from pathlib import Path

from miaudit.errors import StoreError
from miaudit.result.seal import SEALED, Seal

_PERSONAL = (
    *("records.csv", "draws.safetensors", "rows", "target", "journal.jsonl", "store.json", "report.html", "share"),
    *("synthesis.npz", "synthesis.json", "synthesis-state.npz"),
    *("states", "before", "after"),  # of a deletion audit: trained parts of models, and answers of the models at hand
)


def personal_files(folder: Path) -> list[str]:
    """Return the names of the files and folders there that hold ids, memberships or answers of single records."""
    return [name for name in _PERSONAL if (folder / name).exists()]


def clean(folder: str | Path) -> list[str]:
    """Remove them, and note in ``seal.json`` which sealed files are gone; return their names.

    Raises
    ------
    StoreError
        If something cannot be removed.
    """
    folder = Path(folder)
    names = personal_files(folder)
    try:
        for name in names:
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror or error}") from error
    if (folder / SEALED).exists():
        sealed = Seal.load(folder)
        removals = [name for name in sealed.files if not (folder / name).exists()]
        sealed.model_copy(update={"removed": removals}).save(folder)
    return names
