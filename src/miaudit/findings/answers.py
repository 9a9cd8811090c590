"""How target and shadow models answered each audited record: why an attack ranks a record where it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.evidence import Evidence, Signal
from miaudit.signals import Confidence


@dataclass(frozen=True)
class Right:
    """Whether the predicted class is the true one, as 1 or 0."""

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> NDArray[np.float64]:
        """Return (r,) numbers of (r,) predicted classes, or of (r, classes) answers."""
        return np.asarray((answers if answers.ndim == 1 else answers.argmax(axis=1)) == labels, np.float64)


def answer_of(evidence: Evidence) -> Signal:
    """Return the number that stands for an answer: the signal itself, the true class's probability, or whether it is right."""
    if evidence.measure is not None:
        return evidence.measure
    return Right() if evidence.target.ndim == 1 else Confidence()


def answer_columns(evidences: Sequence[Evidence]) -> dict[str, NDArray[np.float64]]:
    """Return (n,) columns for the table of records.

    ``answer`` is the target's (`answer_of`), ``answer_without`` the mean of the shadow models that were not trained on the
    record, and ``answer_with`` of those that were; NaN where there is none. The last two are there where the shadow models
    answered the audited records.

    Parameters
    ----------
    evidences
        What attacks of one audit read.
    """
    if not evidences:
        return {}
    answered = next((each for each in evidences if each.asked is None and len(each.models)), None)
    whole = evidences[0] if answered is None else answered
    signal = answer_of(whole)
    if answered is None:
        return {"answer": np.asarray(signal(whole.target, whole.audited_labels), np.float64)}
    target, rows = whole.signal(signal)
    columns = {"answer": np.asarray(target, np.float64)}
    for name, side in (("answer_without", ~whole.inside), ("answer_with", whole.inside)):
        count = side.sum(axis=0)
        if count.any():
            total = np.einsum("mn,mn->n", np.asarray(rows, np.float64), side.astype(np.float64))
            columns[name] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return columns
