"""Stored outputs: what a target and its shadow models answered, in one ``.npz``, for audits without the model.

docs/outputs.md is the layout. Everything is checked here, so that what comes out of this room is evidence.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.answers import (
    Capability,
    Decision,
    Kind,
    Type,
    capability_of,
    checked_type,
    decide,
    read,
    shown_decimals,
    softmax,
)
from miaudit.data.arrays import shown
from miaudit.data.naming import as_names, check_names
from miaudit.data.npz import Arrays, open_npz
from miaudit.data.room import require_room, within_memory
from miaudit.errors import DataError
from miaudit.evidence import Bools, Evidence, Population, Variants
from miaudit.stats import numbered

ARRAYS = {
    "target": "(n, classes) answers of the target on the audited records, or (n,) predicted classes",
    "labels": "(n,) true classes; where `asked` names further records, theirs after those of the audited ones",
    "member": "(n,) was the record in the target's training set",
    "shadows": "(m, n, classes) answers of m shadow models on the audited records, or (m, r, classes) with `asked`",
    "inside": "(m, n) or (m, r): was the record of this row in this shadow's training set",
    "asked": "(m, r) which record each row of a shadow is about",
    "population_target": "(p, classes) answers of the target on records outside the audit",
    "population_labels": "(p,) their true classes",
    "population_shadows": "(m, p, classes) answers of the shadows on them",
    "population_features": "(p, d) the numbers they consist of",
    "variants_target": "(q, n, classes) answers of the target on q variants of each audited record",
    "variants_shadows": "(q, m, n, classes) answers of the shadows on the same variants",
    "features": "(n, d) the numbers the audited records consist of",
    "ids": "(n,) what to call the audited records",
    "group": "the person each record belongs to: (n,), or as long as labels",
    "classes": "(classes,) names of the classes",
    "kind": 'what the answers are, where their numbers leave a choice: "probabilities", "logits", "log-probabilities", '
    '"percent", "score" or "topk"',
}
"""Every array of the layout and what it holds; ``slice_NAME`` arrays, (n,) each, stand beside them."""

SLICE = "slice_"
SAY = (
    'kind="..." in the file: probabilities sum to 1; for answers on the top classes only, zeros elsewhere, add kind="topk"; '
    'for logits add kind="logits"'
)
_Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class StoredOutputs:
    """What a file of outputs holds, checked.

    ``own`` holds the shadows' rows that attacks learn from, ``direct`` their answers to the audited records, None where they
    did not all answer them; where nothing else was asked, both are the same.
    """

    own: Evidence
    direct: Evidence | None
    member: Bools  # (n,)
    classes: tuple[str, ...]
    kind: Kind
    capability: Capability
    type: Type = "probabilities"
    reason: str = ""
    decimals: int | None = None
    ids: NDArray[Any] | None = None  # (n,)
    contents: NDArray[np.int64] | None = None  # (n,) equal for equal features and classes
    slices: dict[str, NDArray[np.str_]] = field(default_factory=dict)  # (n,) each
    warnings: tuple[str, ...] = ()
    name: str = "outputs"
    sha256: str = ""

    def of(self, needs: frozenset[str]) -> Evidence:
        """Return the evidence for an attack with such needs."""
        return self.direct if "overlapping" in needs and self.direct is not None else self.own


def read_outputs(path: str | Path) -> StoredOutputs:
    """Read a file of stored outputs.

    Raises
    ------
    DataError
        If it cannot be read without pickle, lacks an array, has one that is not known, or does not fit.
    """
    file = Path(path)
    try:
        arrays, digest = _read(file)
        with within_memory(file):
            return stored_outputs(arrays, name=shown(file.stem), sha256=digest)
    except DataError as error:
        if str(error).startswith(str(file)):
            raise
        raise DataError(f"{file}: {error}") from error


def stored_outputs(arrays: _Arrays, *, name: str = "outputs", sha256: str = "") -> StoredOutputs:
    """Make evidence of arrays in the layout of docs/outputs.md.

    Raises
    ------
    DataError
        If an array is missing, unknown, of the wrong shape or not usable.
    """
    _names(arrays)
    labels, member = _whole(arrays["labels"], "labels"), _truths(arrays["member"], "member")
    n = len(member)
    if len(arrays["target"]) != n or len(labels) < n:
        raise DataError(
            f"target, labels and member must tell of the same records; they have {len(arrays['target'])}, {len(labels)} and {n}"
        )
    if member.all() or not member.any():
        raise DataError(
            f"all {n} records are {'members' if n and member.all() else 'non-members'}; an attack is measured on both, so "
            "give answers on records of either side"
        )
    declared = _declared(arrays)
    width = _classes(arrays, labels, declared)
    answers, decision, decimals = _answers(arrays, declared, width)
    kind = decision.kind
    shadows = answers.pop("shadows", np.empty((0, n, width), np.float32))
    inside = _truths(arrays["inside"], "inside") if "inside" in arrays else np.empty((0, n), bool)
    beside: dict[str, Any] = {"features": _numbers(arrays, "features"), "population": _population(arrays, answers)}
    asked = _whole(arrays["asked"], "asked") if "asked" in arrays else None
    variants = _variants(answers) if asked is None else None
    target = _whole(arrays["target"], "target") if kind == "labels" else answers["target"]
    if kind == "labels" and len(target) and not 0 <= target.min() <= target.max() < width:
        raise DataError(
            f"target holds labels from {target.min()} to {target.max()}; {width} classes are 0 to {width - 1}"
        )
    people = _people(arrays, n, len(labels))
    own = Evidence(target, shadows, inside, labels, asked=asked, variants=variants, people=people, **beside)
    rest, direct = _direct(own)
    return StoredOutputs(
        own=rest,
        direct=direct,
        member=member,
        classes=_class_names(arrays, width),
        kind=kind,
        capability=capability_of(kind, decimals),
        type=decision.type,
        reason=decision.reason,
        decimals=decimals,
        ids=_column(arrays, "ids", n),
        contents=None if own.features is None else _contents(own.features, labels[:n]),
        slices={key[len(SLICE) :]: _slice(arrays, key, n) for key in arrays if key.startswith(SLICE)},
        warnings=tuple(_odd(target, shadows)),
        name=name,
        sha256=sha256,
    )


def _read(path: Path) -> tuple[_Arrays, str]:
    try:
        with path.open("rb") as raw:
            digest = hashlib.file_digest(raw, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    with open_npz(path) as file:
        _names(file.headers)
        _sizes(file)
        return {key: file[key] for key in file.headers}, digest


def _sizes(file: Arrays) -> None:
    """Refuse what memory does not hold: the arrays, or the probabilities that labels stand for."""
    headers = file.headers
    file.require_room(list(headers))
    target, classes = headers["target"].shape, headers.get("classes")
    if len(target) == 1 and classes is not None and classes.shape:
        n, width = target[0], classes.shape[0]
        require_room(
            4 * n * width, f"labels of {n:,} records in {width:,} classes, as vectors of {width:,} numbers each"
        )


def _names(arrays: Collection[str]) -> None:
    for key in arrays:
        if key not in ARRAYS and not (key.startswith(SLICE) and len(key) > len(SLICE)):
            near = difflib.get_close_matches(key, ARRAYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(ARRAYS)} and {SLICE}NAME"
            raise DataError(f"unknown array {key!r}; {hint}")
    for key in ("target", "labels", "member"):
        if key not in arrays:
            raise DataError(f"there is no array {key!r}: {ARRAYS[key]}; the file has {', '.join(arrays) or 'none'}")
    together = [
        ("shadows", "inside"),
        ("asked", "shadows"),
        ("population_target", "population_labels"),
        ("population_shadows", "population_target"),
        ("population_features", "population_target"),
        ("variants_target", "variants_shadows"),
        ("variants_shadows", "variants_target"),
        ("inside", "shadows"),
        ("population_labels", "population_target"),
    ]
    for one, other in together:
        if one in arrays and other not in arrays:
            raise DataError(f"{one!r} needs {other!r} beside it: {ARRAYS[other]}")
    if "asked" in arrays and "variants_target" in arrays:
        raise DataError("variants need shadows that answered the audited records in order; leave out 'asked'")


def _declared(arrays: _Arrays) -> Type | None:
    """Return the type that the file states; of one value per record labels, unless it states a score."""
    declared = None
    if "kind" in arrays:
        try:
            declared = checked_type(str(arrays["kind"]))
        except DataError as error:
            raise DataError(str(error).replace("outputs", "kind", 1)) from None
    if arrays["target"].ndim == 1 and declared != "score":
        return "labels"
    return declared


def _classes(arrays: _Arrays, labels: NDArray[np.int64], declared: Type | None) -> int:
    """Return the number of classes: columns of the answers, or names, or the largest label."""
    if declared == "score":
        return 2
    if arrays["target"].ndim == 2:
        return int(arrays["target"].shape[1])
    if declared != "labels":
        raise DataError(f"target must be {ARRAYS['target']}; got shape {arrays['target'].shape}")
    if "shadows" in arrays and arrays["shadows"].ndim == 3:
        return int(arrays["shadows"].shape[2])
    if "classes" in arrays:
        return len(arrays["classes"])
    return int(max(labels.max(initial=0), _whole(arrays["target"], "target").max(initial=0))) + 1


def _answers(arrays: _Arrays, declared: Type | None, width: int) -> tuple[_Arrays, Decision, int | None]:
    """Return all answers as probabilities, whatever they are, what the target's are, and their decimals.

    Labels stay as they are. All answers of a file are of one type; each array is looked at, so that one that is of another
    is told.
    """
    keys = [key for key in arrays if key.split("_")[-1] in ("target", "shadows")]
    checked: _Arrays = {key: _numbers_of(arrays, key, declared, width) for key in keys}
    decisions: dict[str, Decision] = {}
    decimals, read_ = -1, _Arrays()
    for key in sorted(keys, key=lambda key: key != "target"):
        values = checked[key]
        if key == "target" and declared == "labels":
            decisions[key], read_[key] = Decision("labels", "one label per record"), values
            continue
        flat = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values
        if not len(flat):
            read_[key] = values
            continue
        try:
            stated = None if declared == "labels" or (values.ndim > 1 and declared == "score") else declared
            decisions[key] = decide(flat, classes=width, declared=stated, say=SAY)
            plain, most = read(flat, decisions[key], say=SAY)
        except DataError as error:
            raise DataError(f"{key}: {error}") from None
        decimals = most if key == "target" else decimals
        plain = softmax(plain) if decisions[key].kind == "logits" else plain
        read_[key] = plain.reshape(*values.shape[:-1], width) if values.ndim > 1 else plain
    own = decisions.get("target", Decision(declared or "probabilities", "nothing was answered"))
    _alike(own, decisions)
    return read_, own, shown_decimals(decimals) if own.kind == "probabilities" else None


def _alike(own: Decision, decisions: dict[str, Decision]) -> None:
    """Refuse a file in which the shadows answer something else than the target, as far as it is not labels or the top k."""
    for key, decision in decisions.items():
        same = {own.type, decision.type} <= {"probabilities", "topk", "score"} or own.type == decision.type
        if own.type != "labels" and not same:
            raise DataError(
                f"target holds {own.type} ({own.reason}), {key} holds {decision.type} ({decision.reason}); all answers of a "
                f"file are of one type. Say which by {SAY}"
            )


def _numbers_of(arrays: _Arrays, key: str, declared: Type | None, width: int) -> NDArray[Any]:
    values = arrays[key]
    if key == "target" and declared == "labels":
        return values
    if values.dtype.kind not in "fiub":
        raise DataError(f"{key} must be numbers, got dtype {values.dtype}; save plain arrays")
    values = values if values.dtype.kind == "f" else values.astype(np.float32)
    one = declared == "score" and values.ndim == {"target": 1, "population_target": 1}.get(key, 2)
    if not one and (values.ndim < 2 or values.shape[-1] != width):
        raise DataError(f"{key} must have {width} columns, one per class; its shape is {values.shape}")
    bad = np.isnan(values) | np.isposinf(values) | (np.isneginf(values) & (values.max(axis=-1, keepdims=True) > 0))
    if bad.any():
        raise DataError(
            f"{key} holds {int(bad.sum())} NaN or infinite answers of {values.size}; every answer must be a finite number"
        )
    return values


def _direct(evidence: Evidence) -> tuple[Evidence, Evidence | None]:
    """Part the shadows' rows into those to learn from and those that answer the audited records, in their order."""
    if evidence.asked is None:
        return evidence, evidence
    n, m = evidence.n, len(evidence.models)
    place = np.full((m, n), -1)
    model, row = np.nonzero(evidence.asked < n)
    place[model, evidence.asked[model, row]] = row
    if m == 0 or (place < 0).any():
        return evidence, None
    models = np.arange(m)[:, None]
    direct = evidence.replace(
        shadows=evidence.shadows[models, place],
        inside=evidence.inside[models, place],
        asked=None,
        labels=evidence.audited_labels,
        people=evidence.audited_people,
    )
    further = evidence.asked >= n
    widths = np.unique(further.sum(axis=1))
    if direct.inside.any() or len(widths) != 1 or not widths[0]:
        return evidence, direct
    # audited records that no shadow was trained on would teach what out looks like twice over
    keep = np.nonzero(further)[1].reshape(m, -1)
    own = evidence.replace(
        shadows=evidence.shadows[models, keep], inside=evidence.inside[models, keep], asked=evidence.asked[models, keep]
    )
    return own, direct.replace(own=own)


def _population(arrays: _Arrays, answers: _Arrays) -> Population | None:
    if "population_target" not in arrays:
        return None
    if arrays["target"].ndim == 1:
        raise DataError("population_target serves no attack on a target that answers labels only; leave it out")
    return Population(
        answers["population_target"],
        _whole(arrays["population_labels"], "population_labels"),
        shadows=answers.get("population_shadows"),
        features=_numbers(arrays, "population_features"),
    )


def _variants(answers: _Arrays) -> Variants | None:
    if "variants_target" not in answers:
        return None
    return Variants(answers["variants_target"], answers["variants_shadows"])


def _odd(target: NDArray[Any], shadows: NDArray[Any]) -> list[str]:
    found = []
    if len(target) > 1 and (target == target[0]).all():
        found.append("The target gave all audited records the same answer: no attack can tell them apart by it.")
    if shadows.size and (shadows == shadows[:1, :1]).all():
        found.append("The shadow models gave all records the same answer: nothing can be learned from them.")
    return found


def _class_names(arrays: _Arrays, width: int) -> tuple[str, ...]:
    if "classes" not in arrays:
        return tuple(str(number) for number in range(width))
    names = tuple(str(name) for name in arrays["classes"].ravel().tolist())
    if len(names) != width or len(set(names)) != width:
        raise DataError(f"classes must be {width} different names, one per class; got {len(names)}")
    check_names(names, "classes")
    return names


def _column(arrays: _Arrays, key: str, n: int) -> NDArray[Any] | None:
    if key not in arrays:
        return None
    values = _of_records(arrays, key, n)
    return as_names(values.astype(object) if values.dtype.kind in "SU" else values, key)


def _of_records(arrays: _Arrays, key: str, n: int) -> NDArray[Any]:
    if arrays[key].shape != (n,):
        raise DataError(
            f"{key} must be one value for each of the {n} audited records; its shape is {arrays[key].shape}"
        )
    return arrays[key]


def _people(arrays: _Arrays, *lengths: int) -> NDArray[np.int64] | None:
    """Return the number of each record's person."""
    if "group" not in arrays:
        return None
    names = arrays["group"]
    if names.ndim != 1 or len(names) not in lengths:
        raise DataError(
            f"group must name the person of each of the {lengths[0]} audited records, or of all {lengths[1]} of labels; its "
            f"shape is {names.shape}"
        )
    blank = [i for i, name in enumerate(names.tolist()) if name != name or not str(name).strip()]
    if blank:
        raise DataError(
            f"group names nobody for {len(blank)} records, the first is record {blank[0]}; give records of unknown people "
            "names of their own"
        )
    return numbered(names)


def _contents(features: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    from miaudit.data.copies import same_records

    return same_records(features.reshape(len(features), -1)) * (int(labels.max(initial=0)) + 1) + labels


def _slice(arrays: _Arrays, key: str, n: int) -> NDArray[np.str_]:
    from miaudit.data.slices import grouped

    check_names([key], "slices")
    return grouped(key[len(SLICE) :], _of_records(arrays, key, n))


def _numbers(arrays: _Arrays, key: str) -> NDArray[Any] | None:
    if key not in arrays:
        return None
    values = arrays[key]
    if values.dtype.kind not in "fiub" or values.ndim < 2 or not np.isfinite(values).all():
        raise DataError(
            f"{key} must be finite numbers, one row per record; got dtype {values.dtype}, shape {values.shape}"
        )
    return values


def _truths(values: NDArray[Any], key: str) -> Bools:
    if values.dtype == bool:
        return values
    if values.dtype.kind in "iuf" and np.isin(values, (0, 1)).all():
        return values.astype(bool)
    raise DataError(f"{key} must be true or false (0 or 1) everywhere; got dtype {values.dtype}")


def _whole(values: NDArray[Any], key: str) -> NDArray[np.int64]:
    if values.dtype.kind in "iub":
        return values.astype(np.int64)
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        return values.astype(np.int64)
    raise DataError(f"{key} must be whole numbers; got dtype {values.dtype}: give the numbers of the classes, from 0")
