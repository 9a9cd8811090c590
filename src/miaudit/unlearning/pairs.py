"""What somebody who kept the earlier model reads: by how much the confidence in each record fell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit import signals
from miaudit.evidence import Bools, Evidence, Ints

Rows = NDArray[np.floating[Any]]
FALL = "fall of the logit-scaled confidence in the true class by the deletion"
FALL_OF_LABELS = "whether the answered class was right before the deletion and is wrong after it"


def pair_evidence(
    target: tuple[NDArray[Any], NDArray[Any]],
    shadows: tuple[Iterable[Rows], Iterable[Rows]],
    inside: Bools,
    labels: Ints,
    *,
    bystanders: tuple[Iterable[Rows], Iterable[Rows]] | None = None,
    people: Ints | None = None,
) -> Evidence:
    """Return evidence of the difference of two versions of each model, before and after a deletion.

    The signal of a record is phi before less phi after (Chen et al. 2021 and Jagielski et al. 2022 read such differences);
    where the target answers labels alone, whether a right answer became a wrong one, -1 where a wrong one became right.

    Parameters
    ----------
    target
        (n, classes) answers of the target before and after, or (n,) labels.
    shadows
        (m, n, classes) answers of the shadow models before and after.
    inside
        (m, n) which records each shadow was trained on and made to forget.
    labels
        (n,) true classes.
    bystanders
        (b, n, classes) answers before and after of models that were trained on none of the records.
    people
        (n,) person of each record.
    """
    of_labels = target[0].ndim == 1

    def fall(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.float64]:
        return _confidence(before, labels, of_labels) - _confidence(after, labels, of_labels)

    def falls(pairs: tuple[Iterable[Rows], Iterable[Rows]]) -> NDArray[np.float64]:
        return np.stack([fall(before, after) for before, after in zip(*pairs, strict=True)])

    return Evidence.of_signals(
        fall(*target),
        falls(shadows),
        inside,
        name=FALL_OF_LABELS if of_labels else FALL,
        people=people,
        bystanders=None if bystanders is None else falls(bystanders),
    )


def _confidence(answers: NDArray[Any], labels: Ints, of_labels: bool) -> NDArray[np.float64]:
    if of_labels:
        predicted = answers if answers.ndim == 1 else answers.argmax(axis=1)
        return np.asarray(predicted == labels, np.float64)
    return np.asarray(signals.phi(answers, labels, floor=_FLOOR), np.float64)


_FLOOR = 1e-7
"""Least probability: a class that a model never saw has 0, and float32 answers resolve no less."""
