"""Where the records of a setting come from: a named data set, the user's purchases, or simulated ones."""

from __future__ import annotations

import io
import os
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit.data.named import FOLDER_VARIABLE, NAMED, load_named
from miaudit.errors import DataError
from miaudit.files import write_atomically
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
        If files of a named data set are missing.
    """
    if setting.data != "purchase":
        return Records({"name": setting.data, "options": dict(setting.options)})
    bits = _own_purchases(data)
    if bits is not None:
        path, simulated = folder / "purchases.npz", False
    else:
        records = purchases or (CLUSTERED if scale == "quick" else RECORDS)
        path, simulated = folder / f"simulated_purchases_{records}_{seed}.npz", True
    if not path.exists():
        bits = Purchases().draw(records, seed=seed) if bits is None else bits
        _write(path, bits, seed=0 if not simulated else seed)
    return Records({"path": str(path), "label": f"of_{setting.classes}"}, simulated)


def _own_purchases(data: str | PathLike[str] | None) -> NDArray[np.uint8] | None:
    """Return the bits of the user's purchases; None where there are none, or no folder to look in."""
    try:
        own = load_named("purchase100", data)
    except DataError:
        return None
    return np.asarray(own.X, np.uint8)


def missing(setting: Setting, data: str | PathLike[str] | None) -> str | None:
    """Return what is not at hand of a setting's data, or None; purchases can always be simulated."""
    if setting.data == "purchase":
        return None
    info, folder = NAMED[setting.data], data or os.environ.get(FOLDER_VARIABLE)
    wanted = f"{', '.join(info.files)} in the folder that {FOLDER_VARIABLE} names; source: {info.source}"
    if not folder:
        return wanted
    there = [any((Path(folder) / name).is_file() for name in (file, file.removesuffix(".gz"))) for file in info.files]
    return None if all(there) else wanted


def _write(path: Path, bits: NDArray[np.uint8], *, seed: int) -> None:
    """Write records and their classes, by every number of clusters, as one file that plans can read."""
    buffer = io.BytesIO()
    labels = {f"of_{k}": clustered(bits, k, seed=seed).astype(np.uint8) for k in CLASSES}
    np.savez(buffer, X_packed=np.packbits(bits, axis=1), n_features=np.int64(bits.shape[1]), **labels)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
