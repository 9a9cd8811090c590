"""Where the records of a setting come from: a named data set, the user's purchases, or simulated ones."""

from __future__ import annotations

import io
import os
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit.data.named import FOLDER_VARIABLE, NAMED, PURCHASE_FILES, load_named
from miaudit.files import sha256_of, write_atomically
from miaudit.paper.purchases import CLASSES, CLUSTERED, RECORDS, Purchases, clustered
from miaudit.paper.settings import Scale, Setting


class Records(NamedTuple):
    """A plan's section ``[data]``, and whether the records are simulated."""

    section: dict[str, Any]
    simulated: bool = False


def records_of(
    setting: Setting,
    folder: Path,
    data: str | PathLike[str] | None,
    *,
    scale: Scale,
    seed: int,
    purchases: int | None = None,
) -> Records:
    """Return where the records of a setting are; purchases are clustered, and simulated where the user has none.

    Parameters
    ----------
    setting
        Whose records.
    folder
        Where purchases are written, once for each seed.
    data
        Folder of the named data sets; default: the environment's MIAUDIT_DATA.
    scale, seed
        In the quick scale 40,000 purchases are drawn in place of 197,324; the seed is that of the draw.
    purchases
        So many simulated purchases in place of the scale's: the first of more.

    Raises
    ------
    DataError
        If files of a named data set are missing or damaged.
    """
    if setting.data != "purchase":
        return Records({"name": setting.data, "options": dict(setting.options)})
    file = own_purchases(data)
    if file is not None:
        path, simulated = folder / f"purchases_{sha256_of(file)[:16]}.npz", False
    else:
        records = purchases or (CLUSTERED if scale == "quick" else RECORDS)
        path, simulated = folder / f"simulated_purchases_{records}_{seed}.npz", True
    if not path.exists():
        bits = Purchases().draw(records, seed=seed) if simulated else np.asarray(load_named("purchase100", data).X)
        _write(path, bits.astype(np.uint8), seed=seed if simulated else 0)
    return Records({"path": str(path), "label": f"of_{setting.classes}"}, simulated)


def own_purchases(data: str | PathLike[str] | None) -> Path | None:
    """Return the user's file of purchases; None where there is none, or no folder to look in."""
    folder = data or os.environ.get(FOLDER_VARIABLE)
    return (
        next((Path(folder) / name for name in PURCHASE_FILES if (Path(folder) / name).is_file()), None)
        if folder
        else None
    )


def missing(setting: Setting, data: str | PathLike[str] | None) -> str | None:
    """Return what is not at hand of a setting's data, or None; purchases can be simulated, and some data sets need no file."""
    if setting.data == "purchase" or not NAMED[setting.data].files:
        return None
    info, folder = NAMED[setting.data], data or os.environ.get(FOLDER_VARIABLE)
    need = f"{', '.join(info.files)} in the folder that {FOLDER_VARIABLE} names; source: {info.source}"
    if not folder:
        return need
    presence = [
        any((Path(folder) / name).is_file() for name in (file, file.removesuffix(".gz"))) for file in info.files
    ]
    return None if all(presence) else need


def _write(path: Path, bits: NDArray[np.uint8], *, seed: int) -> None:
    """Write records and their classes, by every number of clusters, as one file that plans can read."""
    buffer = io.BytesIO()
    labels = {f"of_{k}": clustered(bits, k, seed=seed).astype(np.uint8) for k in CLASSES}
    np.savez(buffer, X_packed=np.packbits(bits, axis=1), n_features=np.int64(bits.shape[1]), **labels)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
