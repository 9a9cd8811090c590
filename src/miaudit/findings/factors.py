"""What leaks go with: confidence and entropy on both sides, and the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from miaudit import signals, stats
from miaudit.evidence import Bools, Evidence
from miaudit.findings.claims import CONFIDENCE
from miaudit.findings.unit import Unit
from miaudit.result import Grouping
from miaudit.result.factors import Association, ClassFactors, Factors, MeanOfSide, SideFactor

MOST_CLASSES = 200
_Z = 1.959964  # of 95 %
_LEAST = 8  # classes from which on a rank correlation has an interval that says anything
_NAMES = ("share", "gap", "entropy")


def factors_of(
    evidence: Evidence, member: Bools, classes: Sequence[str], unit: Unit, grouping: Grouping | None
) -> Factors | None:
    """Return what the leak goes with; None where answers say nothing of classes.

    Parameters
    ----------
    evidence, member
        The target's answers, and (n,) who is a member.
    classes
        Their names.
    unit
        What is counted: intervals are of records that are independent draws.
    grouping
        The leak in every class.
    """
    if evidence.measure is not None or not classes:
        return None
    labels, countable = evidence.audited_labels, unit.counted
    right = np.asarray(evidence.predicted == labels, np.float64)
    numbers: dict[str, NDArray[np.float64]] = {"right": right}
    if evidence.target.ndim == 2:
        numbers["confidence"] = signals.confidence(evidence.target, labels)
        most = math.log(max(evidence.classes, 2))
        numbers["entropy"] = np.clip(signals.entropy(evidence.target, labels) / most, 0.0, 1.0)
    sides = (member & countable, ~member & countable)
    if not all(side.any() for side in sides):
        return None
    means = [
        SideFactor(
            factor=name,  # type: ignore[arg-type]
            members=_mean(name, values[sides[0]], unit),
            nonmembers=_mean(name, values[sides[1]], unit),
        )
        for name, values in numbers.items()
    ]
    rows = _by_class(labels, sides, right, numbers.get("entropy"), classes, grouping)
    return Factors(
        sides=means,
        classes=sorted(rows, key=lambda row: -row.share)[:MOST_CLASSES],
        associations=[_association(name, rows) for name in _NAMES],
    )


def _mean(name: str, values: NDArray[np.float64], unit: Unit) -> MeanOfSide:
    if name == "right":
        return MeanOfSide.of(stats.rate(int(values.sum()), len(values), None if unit.dependent else CONFIDENCE))
    mean = float(values.mean())
    if unit.dependent or len(values) < 2:
        return MeanOfSide(value=mean, low=None, high=None)
    half = _Z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return MeanOfSide(value=mean, low=max(mean - half, 0.0), high=min(mean + half, 1.0))


def _by_class(
    labels: NDArray[np.int64],
    sides: tuple[Bools, Bools],
    right: NDArray[np.float64],
    entropy: NDArray[np.float64] | None,
    classes: Sequence[str],
    grouping: Grouping | None,
) -> list[ClassFactors]:
    areas = {} if grouping is None else {each.group: each.auc.value for each in grouping.groups}
    k = len(classes)
    counts = [np.bincount(labels[side], minlength=k) for side in sides]
    rights = [np.bincount(labels[side], weights=right[side], minlength=k) for side in sides]
    spread = None if entropy is None else np.bincount(labels[sides[1]], weights=entropy[sides[1]], minlength=k)
    rows = []
    for label in np.flatnonzero(counts[0] + counts[1]).tolist():
        n_in, n_out = int(counts[0][label]), int(counts[1][label])
        both = n_in and n_out
        rows.append(
            ClassFactors(
                class_=classes[label],
                share=n_in / max(int(counts[0].sum()), 1),
                gap=float(rights[0][label] / n_in - rights[1][label] / n_out) if both else None,
                entropy=None if spread is None or not n_out else min(float(spread[label] / n_out), 1.0),
                auc=areas.get(classes[label]),
            )
        )
    return rows


def _association(name: str, rows: Sequence[ClassFactors]) -> Association:
    pairs = [(value, row.auc) for row in rows if (value := getattr(row, name)) is not None and row.auc is not None]
    fields = {"factor": name, "classes": len(pairs)}
    if len(pairs) < _LEAST:
        reason = f"fewer than {_LEAST} classes have both figures"
        return Association.model_validate({**fields, "value": None, "low": None, "high": None, "reason": reason})
    value = stats.spearman(*(np.array(column, np.float64) for column in zip(*pairs, strict=True)))
    if value is None:
        reason = "one of the two is the same in all classes"
        return Association.model_validate({**fields, "value": None, "low": None, "high": None, "reason": reason})
    half = _Z * 1.03 / math.sqrt(len(pairs) - 3)  # Fieller, Hartley and Pearson 1957
    middle = math.atanh(min(max(value, -0.999999), 0.999999))
    low, high = math.tanh(middle - half), math.tanh(middle + half)
    return Association.model_validate({**fields, "value": value, "low": min(low, value), "high": max(high, value)})
