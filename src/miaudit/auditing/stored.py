"""Stored outputs: what a target and its shadow models answered, in one ``.npz``, for audits without the model.

docs/outputs.md is the layout. Everything is checked here, so that what comes out of this room is evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.layout import ARRAYS, SLICE, WAY, check_names_of
from miaudit.auditing.stored_signals import OF_SIGNALS, signal_evidence
from miaudit.auditing.stored_values import (
    class_names_of,
    column_of,
    contents_of,
    numbers_of,
    people_of,
    slice_of,
    truths_of,
    whole_of,
)
from miaudit.data.arrays import shown
from miaudit.data.npz import Arrays, open_npz
from miaudit.data.room import require_room, within_memory
from miaudit.errors import DataError, counted, refuse_masked, with_article
from miaudit.evidence import Bools, Evidence, Ints, Population, Variants
from miaudit.evidence.answers import (
    Capability,
    Decision,
    Kind,
    Type,
    are_whole,
    capability_of,
    checked_type,
    decide,
    read,
    shown_decimals,
    softmax,
)
from miaudit.targets.seen import answered_classes, reduce_alike

DIMENSIONS = {
    "population_target": 2,
    "variants_target": 3,
    "shadows": 3,
    "population_shadows": 3,
    "bystanders": 3,
    "variants_shadows": 4,
}
SHADOWS = ("shadows", "population_shadows", "variants_shadows", "bystanders")

SAY = (
    'kind="..." in the file: probabilities sum to 1; for answers on the top classes only, zeros elsewhere, add kind="topk"; '
    'for logits add kind="logits"'
)
_ROWS, _NUMBERS = 100_000, 1 << 24  # at most of which the type of the shadows' answers is told, evenly over all
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
    classes: tuple[str, ...]  # none where the answers are signals
    kind: Kind | None
    capability: Capability
    type: Type | Literal["signal"] = "probabilities"
    reason: str = ""
    decimals: int | None = None  # most seen in the target's probabilities; None: more than six
    shadow_accuracies: tuple[tuple[float, ...], tuple[float, ...]] = (
        (),
        (),
    )  # of each, on its training records, on others
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
    if not isinstance(path, str | PathLike):
        raise DataError(
            f"outputs must be the path of an .npz file, got {with_article(type(path).__name__)}; "
            "miaudit.auditing.stored.stored_outputs takes a dict of arrays"
        )
    file = Path(path)
    try:
        arrays, digest = read_arrays(file)
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
    for key, values in arrays.items():
        refuse_masked(values, f"{key} is")
    arrays = {key: np.asarray(values) for key, values in arrays.items()}
    check_names_of(arrays)
    if OF_SIGNALS in arrays:
        return _of_signals(arrays, name, sha256)
    labels, member = _truth(arrays)
    n = len(member)
    declared = _declared(arrays)
    facts = _of_target(arrays, labels, declared)
    width = facts.width
    names = class_names_of(arrays, width)
    answers = {key: _of_shadows(arrays, key, facts, declared) for key in SHADOWS if key in arrays}
    inside = truths_of(arrays["inside"], "inside") if "inside" in arrays else np.empty((0, n), bool)
    answers.setdefault("shadows", np.empty((0, n, width), np.float32))
    for key in ("population_target", "variants_target"):
        if key in arrays:
            answers[key], decimals = _further(arrays, key, facts)
            facts = replace(facts, seen=decimals)
    records = whole_of(arrays["asked"], "asked") if "asked" in arrays else None
    variants = _variants(answers) if records is None else None
    beside: dict[str, Any] = {"features": numbers_of(arrays, "features"), "population": _population(arrays, answers)}
    beside["bystanders"] = answers.get("bystanders")
    people = people_of(arrays, n, len(labels))
    beside["trace"] = _trace(arrays, n)
    shadows = answers["shadows"]
    own = Evidence(facts.values, shadows, inside, labels, asked=records, variants=variants, people=people, **beside)
    accuracies = _shadow_accuracies(own)
    _reduce(answers, facts)
    rest, direct = _direct(own)
    return StoredOutputs(
        own=rest,
        direct=direct,
        member=member,
        classes=names,
        kind=facts.decision.kind,
        capability=facts.capability,
        type=facts.decision.type,
        reason=facts.decision.reason,
        decimals=facts.decimals,
        shadow_accuracies=accuracies,
        ids=column_of(arrays, "ids", n),
        contents=None if own.features is None else contents_of(own.features, labels[:n]),
        slices={key[len(SLICE) :]: slice_of(arrays, key, n) for key in arrays if key.startswith(SLICE)},
        warnings=tuple(_odd(facts.values, shadows, answers.get("bystanders"))),
        name=name,
        sha256=sha256,
    )


def _truth(arrays: _Arrays) -> tuple[Ints, Bools]:
    """Return the classes of all records, and who of the audited ones is a member."""
    labels, member = whole_of(arrays["labels"], "labels"), truths_of(arrays["member"], "member")
    for key, values in (("labels", labels), ("member", member)):
        if values.ndim != 1:
            raise DataError(f"{key} must be {ARRAYS[key]}; its shape is {values.shape}")
    n = len(member)
    if arrays["target"].ndim == 0 or len(arrays["target"]) != n or len(labels) < n:
        raise DataError(
            "target, labels and member must tell of the same records; their shapes are "
            f"{arrays['target'].shape}, {labels.shape} and {member.shape}"
        )
    _check_sides(member)
    return labels, member


def _of_signals(arrays: _Arrays, name: str, sha256: str) -> StoredOutputs:
    """Make evidence of arrays that hold one number per answer, which says nothing of classes."""
    member = truths_of(arrays["member"], "member")
    if member.ndim != 1:
        raise DataError(f"member must be {ARRAYS['member']}; its shape is {member.shape}")
    _check_sides(member)
    inside = truths_of(arrays["inside"], "inside") if "inside" in arrays else None
    own_records = whole_of(arrays["asked"], "asked") if "asked" in arrays else None
    records = len(member) if own_records is None else max(len(member), int(own_records.max(initial=0)) + 1)
    beside = {key: numbers_of(arrays, key) for key in ("features", "population_features")}
    people = people_of(arrays, len(member), records)
    for key in ("signal_target", "signal_shadows", "population_target", "population_shadows", "bystanders"):
        if key in arrays:
            _check_finite(arrays[key], key)
    evidence = signal_evidence(arrays, len(member), inside=inside, records=own_records, people=people, **beside)
    own, direct = _direct(evidence)
    measure = evidence.measure
    assert measure is not None
    bystanders = None if evidence.bystanders is None else np.asarray(evidence.bystanders)
    return StoredOutputs(
        own=own,
        direct=direct,
        member=member,
        classes=(),
        kind=None,
        capability="log-likelihood" if measure.log_likelihood else "signal",
        type="signal",
        reason=measure.name,
        ids=column_of(arrays, "ids", len(member)),
        contents=None if own.features is None else contents_of(own.features, own.audited_labels),
        slices={key[len(SLICE) :]: slice_of(arrays, key, len(member)) for key in arrays if key.startswith(SLICE)},
        warnings=tuple(_odd(own.target, own.shadows, bystanders)),
        name=name,
        sha256=sha256,
    )


def _check_sides(member: Bools) -> None:
    """Refuse records of one side only."""
    n = len(member)
    if not n:
        raise DataError("member is empty; give answers on members and on non-members")
    if member.all() or not member.any():
        raise DataError(
            f"{'the 1 record is' if n == 1 else f'all {n:,} records are'} "
            f"{'members' if member.all() else 'non-members'}; an attack is measured on both, so "
            "give answers on records of either side"
        )


def read_arrays(path: Path, *, beside: Collection[str] = ()) -> tuple[_Arrays, str]:
    """Return the arrays of a file and its hash.

    ``beside`` are names that the layout does not have, and that say what ``inside`` would.

    Raises
    ------
    DataError
        If it cannot be read without pickle, lacks an array, or has one that is not known.
    """
    try:
        with path.open("rb") as raw:
            digest = hashlib.file_digest(raw, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    with open_npz(path, way=WAY) as file:
        try:
            own = [name for name in file.headers if name not in beside]
            check_names_of(own if len(own) == len(file.headers) else [*own, "inside"])
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        _sizes(file)
        return {key: file[key] for key in file.headers}, digest


def _sizes(file: Arrays) -> None:
    """Refuse what memory does not hold: the arrays, or the probabilities that labels stand for."""
    headers = file.headers
    file.require_room(list(headers))
    if OF_SIGNALS in headers:
        return
    target, classes = headers["target"].shape, headers.get("classes")
    if len(target) == 1 and classes is not None and classes.shape:
        n, width = target[0], classes.shape[0]
        require_room(
            4 * n * width, f"labels of {n:,} records in {width:,} classes, as vectors of {width:,} numbers each"
        )


def _declared(arrays: _Arrays) -> Type | None:
    if "kind" not in arrays:
        return None
    if arrays["kind"].size != 1:
        raise DataError(f"kind must be one word; got {arrays['kind'].tolist()!r}")
    word = arrays["kind"].ravel()[0]
    try:
        return checked_type(word.decode() if isinstance(word, bytes) else str(word))
    except (DataError, UnicodeDecodeError) as error:
        raise DataError(str(error).replace("outputs must", "kind must")) from None


@dataclass(frozen=True, eq=False)
class _OfTarget:
    """The target's answers as evidence holds them, and what they were taken for."""

    values: NDArray[Any]  # (n, classes) float32, or (n,) labels
    decision: Decision
    width: int
    seen: int  # most decimals

    @property
    def decimals(self) -> int | None:
        return shown_decimals(self.seen) if self.decision.kind != "logits" else None

    @property
    def capability(self) -> Capability:
        return capability_of(self.decision.kind, self.decimals)


def _of_target(arrays: _Arrays, labels: NDArray[np.int64], declared: Type | None) -> _OfTarget:
    """Decide what the target's answers are, and read them."""
    values = arrays["target"]
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (1, 2):
        raise DataError(f"target must be {ARRAYS['target']}; got shape {values.shape}")
    _check_finite(values, "target")
    width = int(values.shape[1]) if values.ndim == 2 else _width(arrays, labels, values)
    with _named("target"):
        decision = decide(values, classes=width, declared=declared, say=SAY, positive="1")
        if decision.type == "labels":
            return _OfTarget(_labels(values, width), decision, width, -1)
        outputs, decimals = read(values, decision, say=SAY)
    return _OfTarget(_as_held(outputs, decision), decision, width, decimals)


def _labels(values: NDArray[Any], width: int) -> NDArray[np.int64]:
    if values.dtype.kind == "f" and values.ndim == 1 and (values != np.round(values)).any():
        raise DataError(
            f"one number per record, such as {values[values != np.round(values)][0]:.4g}, does not say which of {width} "
            "classes it is of; give (n, classes) answers, or (n,) predicted classes"
        )
    predicted = whole_of(values, "target") if values.ndim == 1 else values.argmax(axis=1).astype(np.int64)
    if len(predicted) and not 0 <= predicted.min() <= predicted.max() < width:
        raise DataError(
            f"target holds labels from {predicted.min()} to {predicted.max()}; {width} classes are 0 to {width - 1}"
        )
    return predicted


def _width(arrays: _Arrays, labels: NDArray[np.int64], target: NDArray[Any]) -> int:
    """Return the number of classes where the target answers one value a record: by the shadows, names, or labels."""
    if "shadows" in arrays and arrays["shadows"].ndim == 3:
        return int(arrays["shadows"].shape[2])
    if "classes" in arrays:
        return int(arrays["classes"].size)
    largest = int(labels.max(initial=0))
    if are_whole(target):
        largest = max(largest, int(target.max(initial=0)))
    return largest + 1


def _as_held(values: NDArray[Any], decision: Decision) -> NDArray[np.float32]:
    """Return probabilities as evidence holds them, whatever a model answered: as an audit of the model does."""
    return (softmax(values) if decision.kind == "logits" else values).astype(np.float32)


def _further(arrays: _Arrays, key: str, facts: _OfTarget) -> tuple[NDArray[np.float32], int]:
    """Return the target's answers to other records, of the type of those to the audited ones, and the most decimals so far."""
    values = arrays[key]
    if facts.decision.kind == "labels":
        raise DataError(f"{key} serves no attack on a target that answers labels only; leave it out")
    flat = _rows(values, key, facts.width, one=arrays["target"].ndim == 1)
    with _named(key):
        outputs, decimals = read(flat, facts.decision, decimals=facts.seen, say=SAY)
    return _as_held(outputs, facts.decision).reshape(*_shape(values, key), facts.width), decimals


def _of_shadows(arrays: _Arrays, key: str, facts: _OfTarget, declared: Type | None) -> NDArray[np.float32]:
    """Return shadows' answers as probabilities: of the declared kind, or else of the one that all of them say.

    A target may show less than its shadows do (its largest probabilities, a score, labels), so these kinds are the target's
    alone, but for largest probabilities that can be nothing else.
    """
    values, score = arrays[key], facts.decision.type == "score"
    rows = _rows(values, key, facts.width, one=score)
    outputs = np.empty((*_shape(values, key), facts.width), np.float32)
    if not len(rows):
        return outputs
    kind = None if declared in ("topk", "labels") or (score and rows.ndim == 2) else declared
    most = max(1, min(_ROWS, _NUMBERS // facts.width))
    with _named(key):
        sample = rows[:: -(-len(rows) // most)]
        try:
            decision = decide(sample, classes=facts.width, declared=kind, say=SAY, positive="1")
        except DataError:
            if declared != "topk":
                raise
            decision = decide(sample, classes=facts.width, declared=declared, say=SAY)
        flat = outputs.reshape(-1, facts.width)
        for start in range(0, len(rows), most):
            part = slice(start, start + most)
            flat[part] = _as_held(read(rows[part], decision, say=SAY)[0], decision)
    return outputs


def _shape(values: NDArray[Any], key: str) -> tuple[int, ...]:
    """Return how many answers there are, without the axis of the classes, which scores lack."""
    return values.shape[: DIMENSIONS[key] - 1]


def _rows(values: NDArray[Any], key: str, width: int, *, one: bool = False) -> NDArray[Any]:
    """Return (rows, classes) numbers, or (rows,) where a model answers one number a record."""
    if values.dtype.kind not in "fiub":
        raise DataError(f"{key} must be numbers, got dtype {values.dtype}; save plain arrays")
    scores = one and values.ndim == DIMENSIONS[key] - 1
    if not scores and (values.ndim != DIMENSIONS[key] or values.shape[-1] != width):
        alone = values.ndim == DIMENSIONS[key] - 1 and values.dtype.kind in "iu"
        raise DataError(
            f"{key} must have {counted(width, 'column')}, one per class: {ARRAYS[key]}; its shape is {values.shape}"
            + (f"; predicted classes go in as rows of 0 and one 1: np.eye({width})[{key}]" if alone else "")
        )
    _check_finite(values, key)
    return values.reshape(-1) if scores else values.reshape(-1, width)


def _check_finite(values: NDArray[Any], key: str) -> None:
    """Refuse NaN and infinity, save minus infinity among numbers below 0, where it is the logarithm of 0."""
    if values.dtype.kind != "f" or not values.size:
        return
    below = np.isneginf(values) & (values.max(axis=-1, keepdims=True) > 0)
    if bad := int((np.isnan(values) | np.isposinf(values) | below).sum()):
        raise DataError(
            f"{key} holds {bad} NaN or infinite answers of {values.size}; every answer must be a finite number"
        )


@contextmanager
def _named(key: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{key}: {error}") from None


def _shadow_accuracies(evidence: Evidence) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the accuracy of each shadow on the records that it was trained on, and on all others, where there are any."""
    others, train, test = evidence.population, [], []
    for i, (answers, labels, inside) in enumerate(
        zip(evidence.models, evidence.shadow_labels, evidence.inside, strict=True)
    ):
        right = answers.argmax(axis=1) == labels
        rest = right[~inside]
        if others is not None and others.shadows is not None:
            rest = np.concatenate([rest, others.shadows[i].argmax(axis=1) == others.labels])
        train += [float(right[inside].mean())] if inside.any() else []
        test += [float(rest.mean())] if len(rest) else []
    return tuple(train), tuple(test)


def _reduce(answers: _Arrays, facts: _OfTarget) -> None:
    """Reduce shadows' answers in place to what the target shows, as an audit of the model does."""
    top = answered_classes(facts.values) if facts.capability == "topk" else None
    for key in SHADOWS:
        if key in answers:
            for block in answers[key].reshape(-1, *answers[key].shape[-2:]):
                reduce_alike(block[None], top=top, decimals=facts.decimals)


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
    apart = not direct.inside.any() and (direct.bystanders is None or len(direct.bystanders) < m)
    if apart:  # shadows that were trained on no audited record are bystanders, and more than were given
        evidence, direct = evidence.replace(bystanders=direct.models), direct.replace(bystanders=None)
    if direct.inside.any() or len(widths) != 1 or not widths[0]:
        return evidence, direct
    # audited records that no shadow was trained on would teach what out looks like twice over
    keep = np.nonzero(further)[1].reshape(m, -1)
    rows = (models, keep)
    records = np.asarray(evidence.asked)[rows]
    own = evidence.replace(shadows=evidence.shadows[rows], inside=evidence.inside[rows], asked=records)
    return own, direct.replace(own=own)


def _population(arrays: _Arrays, answers: _Arrays) -> Population | None:
    if "population_target" not in arrays:
        return None
    return Population(
        answers["population_target"],
        whole_of(arrays["population_labels"], "population_labels"),
        shadows=answers.get("population_shadows"),
        features=numbers_of(arrays, "population_features"),
    )


def _trace(arrays: _Arrays, n: int) -> NDArray[Any] | None:
    if "trace" not in arrays:
        return None
    values = arrays["trace"]
    if values.ndim != 2 or len(values) != n:
        raise DataError(f"trace must be {ARRAYS['trace']}, of {counted(n, 'record')}; got shape {values.shape}")
    _check_finite(values, "trace")
    if (values < 0).any():
        raise DataError(f"trace must hold losses, -log of the probability of the class, from 0; got {values.min():.4g}")
    return values


def _variants(answers: _Arrays) -> Variants | None:
    if "variants_target" not in answers:
        return None
    return Variants(answers["variants_target"], answers["variants_shadows"])


def _odd(target: NDArray[Any], shadows: NDArray[Any], bystanders: NDArray[Any] | None) -> list[str]:
    warnings = []
    if len(target) > 1 and (target == target[0]).all():
        alike = "them apart by it" if target.shape[1:] == (1,) else "records of one class apart by it"
        warnings.append(f"The target gave all audited records the same answer: no attack can tell {alike}.")
    if shadows.size and (shadows == shadows[:1, :1]).all():
        warnings.append("The shadow models gave all records the same answer: nothing can be learned from them.")
    if bystanders is not None and bystanders.size and len(target) > 1 and (bystanders == bystanders[:, :1]).all():
        warnings.append("Each bystander gave all records the same answer: they do not show whether the sides differ.")
    return warnings
