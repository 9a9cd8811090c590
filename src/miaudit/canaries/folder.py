"""Planted canaries in a folder: the training data, the canaries, and the sealed list of coins."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from miaudit.canaries.planting import Canaries, Planted, as_table, coins
from miaudit.data.dataset import Dataset
from miaudit.data.load import load_parts
from miaudit.data.records import column_names, densified, is_sparse
from miaudit.errors import DataError, PlanError, StoreError
from miaudit.files import noted_seal, read_json, write_files

SEALED = "sealed.json"
DELETE = "delete.txt"
"""Where the canaries are to be deleted again: their record numbers in the training file, counted from 0, one a line."""
_LABEL = "canary_label"
_VERSION = 1


def save_planted(planted: Planted, folder: str | Path) -> str:
    """Write ``training`` and ``canaries`` (``.npz``, or ``.csv`` for tables with categories) and ``sealed.json``.

    Where the canaries are to be deleted again, ``delete.txt`` lists what of the training file is.

    Returns
    -------
    str
        The seal: sha256 (hex) of the coins, the options and both files. Noted elsewhere, it proves later that nothing was
        changed.

    Raises
    ------
    StoreError
        If canaries were planted in the folder before, or it cannot be written.
    """
    folder = Path(folder)
    if (folder / SEALED).exists():
        raise StoreError(f"{folder} holds planted canaries already; plant the new ones into a folder of their own")
    files, seal = _sealed(planted)
    write_files(folder, files)
    return seal


def refuse_other_deletion(planted: Planted, delete: bool) -> None:
    """Refuse an audit of a deletion where none was planned when the canaries were planted, and the reverse.

    Raises
    ------
    PlanError
        If they differ.
    """
    if planted.options.delete and not delete:
        raise PlanError(
            [
                (
                    "delete",
                    f"these canaries were planted to be deleted again ({DELETE}): give the model after that, and --delete",
                )
            ]
        )
    if delete and not planted.options.delete:
        raise PlanError(
            [("delete", "these canaries were not planted to be deleted again: plant new ones with --delete")]
        )


def seal_of(planted: Planted) -> str:
    """Return the seal that saving it gives."""
    return _sealed(planted)[1]


def _sealed(planted: Planted) -> tuple[dict[str, bytes], str]:
    """Return every file of a folder by its name, and the seal."""
    sides = {"training": planted.training, "canaries": planted.canaries}
    table = not is_sparse(planted.training.X) and (
        column_names(planted.training.X) is not None
        or planted.training.X.dtype.kind == "O"
        or any(column.kind == "categorical" for column in planted.training.schema.columns)
    )
    suffix, form = (".csv", _csv) if table else (".npz", _npz)
    files = {f"{name}{suffix}": form(side) for name, side in sides.items()}
    columns = planted.training.schema.columns if table else ()
    texts = _texts(planted.training) if column_names(planted.training.X) is not None else []
    document: dict[str, Any] = {
        "version": _VERSION,
        "options": {key: of for key, of in asdict(planted.options).items() if (key, of) != ("delete", False)},
        "seed": planted.seed,
        "ordinary": planted.ordinary,
        "reading": {
            "label": _LABEL if table else "y",
            "frame": column_names(planted.training.X) is not None,
            **({"texts": texts} if texts else {}),
            "categorical": [column.name for column in columns if column.kind == "categorical"],
            "numeric": [column.name for column in columns if column.kind == "numeric"],
            "classes": list(planted.training.classes),
            "labels": "names",
        },
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "coins": "".join("1" if coin else "0" for coin in planted.inside),
    }
    seal = _seal(document)
    text = json.dumps(document | {"seal": seal}, indent=2) + "\n"
    if planted.options.delete:
        files[DELETE] = "".join(f"{number}\n" for number in planted.of_canaries).encode()
    return files | {SEALED: text.encode()}, seal


def load_planted(folder: str | Path, *, seal: str | None = None) -> tuple[Planted, str]:
    """Return what was planted in a folder, and its seal.

    Parameters
    ----------
    folder
        Written by :func:`save_planted`.
    seal
        What was noted when it was written; without it only the folder's own is checked.

    Raises
    ------
    StoreError
        If something is missing, or was altered since: files, options, or coins.
    PlanError
        If ``seal`` is none.
    """
    folder, seal = Path(folder), noted_seal(seal)
    path = folder / SEALED
    try:
        document = read_json(path)
        stated, version = document.pop("seal"), document["version"]
    except FileNotFoundError:
        raise StoreError(
            f"{folder} holds no planted canaries: there is no {SEALED}; run `miaudit canaries plant`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} cannot be read: {error}; plant canaries again, in a new folder, and train again"
        ) from None
    if version != _VERSION:
        raise StoreError(
            f"{path} has version {version!r}, this program reads {_VERSION}; use the program that planted it"
        )
    names = _checked(document, path)
    altered = [SEALED] if _seal(document) != stated or seal not in (None, stated) else []
    for name, digest in names.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise StoreError(
                f"{folder / name} cannot be read: {error.strerror or error}; it is needed as planted"
            ) from None
        if hashlib.sha256(content).hexdigest() != digest:
            altered.append(name)
    options, seed = Canaries(**document["options"]), document["seed"]
    inside = np.array([coin == "1" for coin in document["coins"]])
    if not altered and not np.array_equal(inside, coins(options.count, seed)):
        altered.append(SEALED)
    if altered:
        raise StoreError(
            f"{', '.join(altered)} in {folder} is not what was planted (its hash differs), so no bound can be had from "
            "these canaries: restore it, or plant again in a new folder and train again"
        )
    paths = [folder / name for name in sorted(names, reverse=True)]  # training before canaries
    both, (training, canaries) = load_parts(paths, **document["reading"])
    both = both.in_memory()
    return Planted(options, both.take(training), both.take(canaries), inside, document["ordinary"], seed), stated


_FORM = {"options": dict, "seed": int, "ordinary": int, "reading": dict, "files": dict, "coins": str}


def _checked(document: dict[str, Any], path: Path) -> dict[str, str]:
    """Return the names and hashes of the planted files, if the document has the form that `save_planted` gives it."""
    wrong = [key for key, kind in _FORM.items() if type(document.get(key)) is not kind]
    wrong += [name for name in ("options", "reading") if name not in wrong and _unlike(name, document[name])]
    wrong += [key for key in ("seed", "ordinary") if key not in wrong and document[key] < 0]
    if not {"options", "coins"} & set(wrong) and len(document["coins"]) != document["options"]["count"]:
        wrong.append("coins")
    pairs = [{f"training{suffix}", f"canaries{suffix}"} for suffix in (".npz", ".csv")]
    if "files" not in wrong and set(document["files"]) not in pairs:
        wrong.append("files")
    if wrong:
        raise StoreError(
            f"{path} is not as it was written at planting: {', '.join(wrong)}; restore it, or plant again in a new folder and "
            "train again"
        )
    names: dict[str, str] = document["files"]
    return names


def _unlike(name: str, content: dict[str, Any]) -> bool:
    """Whether a part of the document has other keys, or values of other types, than those it is written with."""
    if name == "options":
        kinds = get_type_hints(Canaries)
    else:
        kinds = {"label": str, "frame": bool, "categorical": list, "numeric": list, "classes": list, "labels": str}
        kinds |= {"texts": list} if "texts" in content else {}  # only where a frame holds texts
    try:
        for key, value in content.items():
            TypeAdapter(kinds[key]).validate_python(value, strict=True)
        if name == "options":
            Canaries(**content)
        return bool(set(kinds) - set(content) - {"delete"})  # which stands there only where it is asked for
    except (KeyError, ValidationError, DataError, PlanError):
        return True


def _seal(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _texts(dataset: Dataset) -> list[str]:
    """Return the columns of a frame that hold texts, which may look like numbers."""
    return [
        column.name
        for column in dataset.schema.columns
        if column.kind == "categorical" and all(isinstance(value, str) for value in column.values or ())
    ]


def _npz(dataset: Dataset) -> bytes:
    X = densified(dataset.X)
    classes = dataset.classes
    numbers = all(name.isdecimal() and str(int(name)) == name for name in classes)  # as the user's labels were
    names = np.array([int(name) for name in classes] if numbers else classes)[dataset.y]
    content = io.BytesIO()
    np.savez_compressed(content, X=X, y=names)
    return content.getvalue()


def _csv(dataset: Dataset) -> bytes:
    header, columns = as_table(dataset, _LABEL)
    content = io.StringIO(newline="")
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    return content.getvalue().encode()
