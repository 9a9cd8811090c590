"""Is this the model that was trained on the planted data? Asked of the ordinary records, before any canary is scored.

The coins of a folder serve one model, so they are not spent on one that plainly is another. What ordinary records say
does not depend on the coins, and so it may be looked at as often as wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.canaries.planting import Planted
from miaudit.data.dataset import Dataset
from miaudit.data.hashes import row_hashes
from miaudit.data.records import stack_records
from miaudit.data.schema import encoder
from miaudit.errors import DataError, counted
from miaudit.seeds import child_seed, generator

LEAST_RECORDS = 10
"""From fewer ordinary records nothing is concluded."""

SIMPLE_RECORDS = 2000
"""The simple model is trained and asked on so many ordinary records at most."""

_ERRORS = 3.0  # standard errors below the least that are still put down to chance


@dataclass(frozen=True)
class OrdinaryCheck:
    """How a model does on the ordinary records of its training data, against what a simple model does on unseen ones.

    Accuracies are means over the classes, so that a frequent class does not decide. ``chance`` is that of one answer to
    all, ``simple`` that of ridge regression on ordinary records it was not trained on (None where it cannot be trained), and
    ``least`` lies half-way between the two, less three standard errors.
    """

    records: int
    accuracy: float | None
    chance: float | None
    simple: float | None
    least: float | None

    @property
    def plainly_wrong(self) -> bool:
        """Whether the model knows less than half of what a simple model knows without having seen the records."""
        return self.accuracy is not None and self.least is not None and self.accuracy < self.least

    @property
    def warnings(self) -> list[str]:
        """What a reader must know of a model that was audited all the same."""
        if self.accuracy is None or self.chance is None or self.least is None:
            return [
                f"Only {counted(self.records, 'ordinary record is', 'ordinary records are')} no canaries, so whether "
                "the model was trained on this data could not be checked."
            ]
        if self.plainly_wrong:
            return [
                f"The model's accuracy on the {counted(self.records, 'ordinary training record')} is "
                f"{self.accuracy:.3f}, where "
                f"at least {self.least:.3f} is expected of a model that was trained on them: if it was not, the bound says "
                "nothing."
            ]
        if self.accuracy <= self.chance:
            return [
                f"The model's accuracy on the {counted(self.records, 'ordinary training record')} is "
                f"{self.accuracy:.3f}, no better than "
                f"one answer to all ({self.chance:.3f}): if it was not trained on this data, the bound says nothing."
            ]
        return []


def check_ordinary(planted: Planted, predicted: NDArray[np.int64]) -> OrdinaryCheck:
    """Compare a model's answers to the training data with what a simple model makes of its ordinary records.

    Parameters
    ----------
    planted
        What was planted.
    predicted
        (n,) classes the model predicts for ``planted.training``.
    """
    index = ordinary_records(planted)
    records = planted.training.take(index)
    if len(index) < LEAST_RECORDS:
        return OrdinaryCheck(len(index), None, None, None, None)
    labels, counts = np.unique(records.y, return_counts=True)
    chance = 1 / len(labels)
    simple = _simple_accuracy(records, child_seed(planted.seed, "simple model"))
    between = chance if simple is None else chance + max(simple - chance, 0) / 2
    error = np.sqrt(between * (1 - between) * (1 / counts).sum()) / len(labels)
    return OrdinaryCheck(
        records=len(index),
        accuracy=_mean_accuracy(records.y, predicted[index]),
        chance=chance,
        simple=simple,
        least=float(max(between - _ERRORS * error, 0.0)),
    )


def refuse_wrong_model(check: OrdinaryCheck) -> None:
    """Refuse a model that plainly was not trained on the planted data.

    Raises
    ------
    DataError
        If it is one.
    """
    if not check.plainly_wrong:
        return
    reference = f"one answer to all has {check.chance:.3f}"
    if check.simple is not None:
        reference += f", ridge regression on ordinary records it was not trained on {check.simple:.3f}"
    raise DataError(
        f"this model does not seem to be trained on the planted data: its accuracy on the {check.records:,} ordinary training "
        f"records (mean over the classes) is {check.accuracy:.3f}; {reference}, and at least {check.least:.3f} is expected. "
        "No canary was scored, so the audit of this folder is still to be had: give the model that was trained on all of the "
        "training file, its classes and columns in the file's order. If this is that model, audit it with --accept-weak "
        "(accept_weak=True)"
    )


def ordinary_records(planted: Planted) -> NDArray[np.int64]:
    """Return the positions in the training data of records that equal no canary, included or not."""
    n = len(planted.training)
    hashes = row_hashes(stack_records([planted.training.X, planted.canaries.X]))
    return np.flatnonzero(~np.isin(hashes[:n], hashes[n:]))


def _simple_accuracy(records: Dataset, seed: int) -> float | None:
    """Return the accuracy of ridge regression, trained on one half of some records, on the other half; both ways round."""
    from sklearn.linear_model import RidgeClassifier

    order = generator(seed, "halves").permutation(len(records))[:SIMPLE_RECORDS]
    sample = records.take(order)
    try:
        numbers = _numbers(sample)
        halves = np.arange(len(order)) % 2 == 0
        predicted = np.empty(len(order), np.int64)
        for half in (halves, ~halves):
            predicted[~half] = RidgeClassifier().fit(numbers[half], sample.y[half]).predict(numbers[~half])
    except (DataError, ValueError, TypeError, MemoryError):  # records that are no numbers, or one class in a half
        return None
    return _mean_accuracy(sample.y, predicted)


def _numbers(records: Dataset) -> Any:
    transformer = encoder(records.schema)
    return records.schema.encode(records.X) if transformer is None else transformer.fit_transform(records.X)


def _mean_accuracy(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    correct = labels == predicted
    return float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))
