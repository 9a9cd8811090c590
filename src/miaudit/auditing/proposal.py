"""A plan proposed from what people have: a saved model, and the files of its training and its test records."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from miaudit.attacks.choice import chosen_attacks
from miaudit.auditing.from_model import fitted_on, model_classes
from miaudit.auditing.saved import saved_estimator
from miaudit.data.cells import is_missing, is_number
from miaudit.data.npz import open_npz
from miaudit.data.on_disk import TextsOnDisk
from miaudit.data.tables import Cells, Table, read_table, suffix_of
from miaudit.errors import DataError, counted
from miaudit.plan.permissions import Permissions
from miaudit.plan.sections import is_address
from miaudit.recipes import is_regressor
from miaudit.recipes.parameters import refuse_dictionaries
from miaudit.targets.registry import model_file

QUICK = ("threshold", "gap", "attack-p", "attack-p per-class", "quantile")
"""The attacks that need no shadow models, for a first look; the latter three need records outside the audit."""
QUICK_HOLDOUT = 0.3
_MARK = "# Hash of the lines above, as proposed: "
_LABELS = ("label", "labels", "target", "y", "class", "outcome")
"""What a label column is called where nothing else tells which it is."""


def proposal(
    model: str | os.PathLike[str],
    members: str | os.PathLike[str],
    nonmembers: str | os.PathLike[str],
    population: str | os.PathLike[str] | None = None,
    *,
    label: str | None = None,
    holdout: float | None = None,
    shadows: int | None = None,
    attacks: Sequence[str | Mapping[str, Any]] | None = None,
    permissions: Permissions | None = None,
) -> dict[str, Any]:
    """Return the content of a plan that audits a saved scikit-learn model, with what its file and the records' tell.

    Shadow models are clones of the model. Records are frames where it was fitted on named columns, and columns that it was not
    fitted on are dropped; where the files have them in another order, ``data.order`` states the model's. The label is the one
    column that is left, or the one that is called so.

    Parameters
    ----------
    model
        A skops, joblib or pickle file, or the address of such a model in MLflow.
    members, nonmembers, population
        Files of one kind: ``.csv``, ``.csv.gz``, ``.parquet`` or ``.npz``.
    label
        Column, or array of an ``.npz``, with the class or the number to predict.
    holdout, shadows, attacks
        As ``split.holdout``, ``shadows.count`` and ``attacks`` of a plan.
    permissions
        Consent to read the model.

    Raises
    ------
    PlanError, DataError
        If an attack is not known, the model takes dictionaries, or says not how it was trained, or the files do not fit it
        or one another.
    """
    file = model_file(os.fspath(model))
    path = file.path
    files = {"members": Path(members), "nonmembers": Path(nonmembers)}
    files |= {} if population is None else {"population": Path(population)}
    estimator = saved_estimator(path, permissions or Permissions())
    refuse_dictionaries(estimator)
    data: dict[str, Any] = {side: str(file.absolute()) for side, file in files.items()}
    if {suffix_of(file) for file in files.values()} == {".npz"}:
        data["label"] = _array(list(files.values()), label)
    else:
        data |= _columns(estimator, list(files.values()), label)
    recipe: dict[str, Any] = {"clone": True}
    if is_regressor(estimator):
        recipe["task"] = "regression"
    elif _are_names(estimator):
        data["labels"] = "names"
    address = file.address  # of the version that an alias names now
    title = f"Audit of {address if is_address(address) else path.name}"
    content: dict[str, Any] = {"title": title, "data": data}
    if attacks:
        chosen_attacks(attacks)
        content["attacks"] = list(attacks)
    content |= {} if holdout is None else {"split": {"holdout": holdout}}
    content |= {"target": {"file": address if is_address(address) else str(path.absolute())}, "recipe": recipe}
    return content | ({} if shadows is None else {"shadows": {"count": shadows}})


def short_name(model: str | os.PathLike[str]) -> str:
    """Return what the folder of a model's audit is called: its file without the ending, or its name in MLflow."""
    address = os.fspath(model)
    return re.sub(r"[^\w.-]+", "-", address.partition(":/")[2]) if is_address(address) else Path(model).stem


def plan_text(content: Mapping[str, Any], folder: Path, command: str) -> str:
    """Return a proposed plan as TOML that lies in a folder, with paths relative to it, and the command that runs it."""
    lines = [f"# Proposed by miaudit; every key is in docs/plans.md. To run it: {_line(command)}"]
    lines += [f"{key} = {_toml(value)}" for key, value in content.items() if not isinstance(value, Mapping)]
    for section, keys in content.items():
        if isinstance(keys, Mapping):
            lines += ["", f"[{section}]"]
            paths = {"members", "nonmembers", "population"} if section == "data" else {"file"}
            for key, value in keys.items():
                is_path = key in paths and not is_address(value)
                of = re.sub(r"^(?=[~$])", "./", os.path.relpath(value, folder.absolute())) if is_path else value
                lines.append(f"{key} = {_toml(of)}")
    text = "\n".join(lines) + "\n\n"
    return f"{text}{_MARK}{_digest(text)}\n"


def is_as_proposed(text: str) -> bool:
    """Whether nobody has changed the text of a plan since `plan_text` made it."""
    above, mark, digest = text.rpartition(_MARK)
    return bool(mark) and digest.strip() == _digest(above)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _toml(value: Any) -> str:
    """Return a text, number, truth or list of texts as TOML, whose texts are JSON's but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _are_names(estimator: Any) -> bool:
    """Whether a plan reads the model's classes as names alone: numbers, or texts of such, other than 0, 1, 2, ..., or None."""
    classes = model_classes(estimator) or ()
    if any(isinstance(each, str) and is_missing(each) for each in classes):
        return True
    return [*map(str, classes)] != [*map(str, range(len(classes)))] and all(is_number(str(each)) for each in classes)


def _array(files: Sequence[Path], label: str | None) -> str:
    arrays_of = {}
    for file in files:
        with open_npz(file) as arrays:
            arrays_of[file] = [name for name in arrays.headers if name not in ("X", "X_packed", "n_features")]
    return _label(arrays_of, list(arrays_of[files[0]]), label, "array")


def _columns(estimator: Any, files: Sequence[Path], label: str | None) -> dict[str, Any]:
    """Return the keys of ``[data]`` that say how tables are read for a model."""
    suffixes = [suffix_of(file) for file in files]
    if ".npy" in suffixes:
        file = files[suffixes.index(".npy")]
        raise DataError(f"{file} holds one array, and records need their labels: save both in an .npz, as X and y")
    if ".npz" in suffixes:
        raise DataError(
            f"files of one kind are needed, got {', '.join(sorted(set(suffixes)))}; convert them to one kind"
        )
    tables = {file: read_table(file) for file in files}
    fitted = fitted_on(estimator)
    first = tables[files[0]]
    names = [name for name in first.columns if name not in first.index]
    candidates = names if fitted is None else [name for name in names if name not in fitted]
    if label is None and not any(name.lower() in _LABELS for name in candidates):
        of_classes = [name for name in candidates if _holds_classes(estimator, tables.values(), name)]
        label = of_classes[0] if len(of_classes) == 1 else None
    label = _label({file: list(table.columns) for file, table in tables.items()}, candidates, label, "column", fitted)
    features = [name for name in names if name != label]
    if fitted is None and (text := _text_column(estimator, first, features)) is not None:
        return {"label": label, "text": text}
    if fitted is None:
        _refuse_unfit(estimator, files[0], first, features)
        return {"label": label}
    lacking = [name for name in fitted if name not in features]
    if lacking:
        own = [name for name in features if name not in fitted]
        raise DataError(
            f"{files[0]} lacks columns that the model was fitted on: {lacking[:10]}; it has {own[:10] or 'none'} that the "
            "model was not fitted on. Name its columns as the model's"
        )
    ordered = [name for name in features if name in fitted]
    order = {} if ordered == fitted else {"order": fitted}
    further = [name for name in first.columns if name != label and name not in fitted and name not in first.index]
    return {"label": label, "frame": True} | order | ({"drop": further} if further else {})


def _holds_classes(estimator: Any, tables: Iterable[Table], name: str) -> bool:
    """Whether a column of every table holds names of the model's classes and nothing else; numbers may be of anything."""
    classes = {str(each) for each in model_classes(estimator) or ()}
    if not classes or all(map(is_number, classes)):
        return False
    return all(name in table.columns and {str(cell) for cell in table.columns[name]} <= classes for table in tables)


def _label(
    names_of: Mapping[Path, Sequence[str]],
    candidates: Sequence[str],
    label: str | None,
    what: str,
    fitted: Sequence[str] | None = None,
) -> str:
    """Return the name of the labels: as stated, the only one there is, or the one that is called so.

    Raises
    ------
    DataError
        If several may be it, or a file lacks it.
    """
    if label is None:
        called = [name for name in candidates if name.lower() in _LABELS]
        only = candidates if fitted is not None or what == "array" else ()
        columns = called if len(called) == 1 else only
        if len(columns) != 1:
            why = "" if fitted is None else " that the model was not fitted on"
            held_names = ", ".join(map(repr, candidates[:20])) or "none"
            raise DataError(f"which {what} is the label? Name it with --label (label=); {what}s{why}: {held_names}")
        label = columns[0]
    if fitted is not None and label in fitted:
        raise DataError(f"the model was fitted on the column {label!r}, so it is a feature and no label; name another")
    lacking = [str(file) for file, names in names_of.items() if label not in names]
    if lacking:
        names = list(names_of[Path(lacking[0])])
        held_names = ", ".join(map(repr, names[:20])) + ("..." if len(names) > 20 else "")
        raise DataError(
            f"{lacking[0]} has no {what} {label!r} with the labels; every file needs it. It has {held_names}"
        )
    return label


def _text_column(estimator: Any, table: Table, features: Sequence[str]) -> str | None:
    """Return the column of texts that a model takes as records, told by asking it; None where it takes none.

    Raises
    ------
    DataError
        If there are several columns of texts.
    """
    if getattr(estimator, "n_features_in_", None) is not None:
        return None
    texts = [name for name in features if _is_text(table.columns[name])]
    if not texts:
        return None
    sample = np.array([str(cell) for cell in table.columns[texts[0]][:3]], dtype=object)
    try:
        answers = np.asarray(estimator.predict(sample))
    except Exception:  # it takes something else
        return None
    if len(answers) != len(sample):
        return None
    if len(texts) > 1:
        raise DataError(
            f"the model takes texts, and columns {texts[:5]} hold some: which is the record is not known. Write files with one "
            "of them, or a plan with data.text"
        )
    return texts[0]


def _refuse_unfit(estimator: Any, file: Path, table: Table, features: Sequence[str]) -> None:
    """Refuse columns that are no array such as the model was fitted on."""
    width = getattr(estimator, "n_features_in_", None)
    if width is not None and width != len(features):
        raise DataError(
            f"{file} has {counted(len(features), 'column')} beside the label, and the model was fitted on {width}: "
            "write files without those that it was not fitted on, or name them in data.drop of a plan"
        )
    texts = [name for name in features if _is_text(table.columns[name])]
    if texts:
        raise DataError(
            f"{file}: columns {texts[:5]} hold texts, and the model was fitted on an array without column names, so how they "
            "became numbers is not known; save a pipeline that was fitted on the frame, or write the numbers that it takes"
        )


def _is_text(cells: Cells) -> bool:
    if isinstance(cells, np.ndarray | TextsOnDisk):
        return bool(cells.dtype.kind == "O")
    return isinstance(cells, list) and not all(is_number(cell) or is_missing(cell) for cell in set(cells))
