"""Signals: what a model said about each record, as one number; as functions, and as frozen values of the same names.

Every function takes ``probabilities`` (n, classes) and the true ``labels`` (n,), and returns (n,) float64. They are
quantities, not scores: loss and the entropies are *low* for members, the others *high*; attacks turn the sign.

A logarithm never sees less than ``FLOOR`` = 1e-30, so a probability of exactly 0 or 1 gives a finite number; ``phi``
and ``hinge`` therefore lie in about [-69, 69]. What a model rounded away before it answered cannot be brought back:
outputs in float32 or with few decimals saturate, and equal outputs give equal signals.

A value such as ``Loss(temperature=2.0)`` names what is to be computed: called with answers and labels it returns what the
function does. Equal values are equal keys, under which `miaudit.Evidence.signal` keeps the numbers of all models. A third
party's own signal is any frozen, hashable object that can be called so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError, misfits, not_real, refuse
from miaudit.evidence.answers import clipped
from miaudit.evidence.rows import blocks
from miaudit.evidence.signal import Signal

__all__ = [
    "FLOOR",
    "SIGNALS",
    "Confidence",
    "Entropy",
    "Floored",
    "Hinge",
    "Loss",
    "ModifiedEntropy",
    "OfLabels",
    "Phi",
    "Residual",
    "ResidualForm",
    "Rounded",
    "SignalName",
    "Upright",
    "best_other",
    "confidence",
    "entropy",
    "hinge",
    "label_vectors",
    "log_ratio",
    "loss",
    "modified_entropy",
    "others",
    "phi",
    "resolution",
]

FLOOR = 1e-30

Numbers = NDArray[np.float64]


def confidence(probabilities: ArrayLike, labels: ArrayLike) -> Numbers:
    """Probability given to the true class, p_y.

    Parameters
    ----------
    probabilities
        (n, classes) outputs in [0, 1]; rows need not sum to one (a model may show its top k only).
    labels
        (n,) true classes.

    Returns
    -------
    ndarray
        (n,) float64 in [0, 1].

    Raises
    ------
    DataError
        If the outputs are no probabilities, or a label has no column.
    """
    p, y = _checked(probabilities, labels)
    return p[np.arange(len(y)), y].astype(np.float64)


def loss(probabilities: ArrayLike, labels: ArrayLike, *, temperature: float = 1.0) -> Numbers:
    """Cross-entropy of the true class, -log p_y, in nats; p_y below ``FLOOR`` counts as ``FLOOR``.

    The statistic of Yeom et al. (2018). With a ``temperature`` T above 0 the outputs are softened first, as if the
    logits had been divided by T: p_k^(1/T), made to sum to one again (Zarifzadeh et al. 2024 use T = 2). Other
    parameters and errors as for :func:`confidence`.
    """
    if not 0 < temperature < np.inf:
        raise DataError(f"temperature must be a number above 0, got {temperature}")
    if temperature == 1.0:
        return -np.log(np.maximum(confidence(probabilities, labels), FLOOR))

    def rows(p: Numbers, y: NDArray[np.int64]) -> Numbers:
        own, others = _own_and_others(p, y)
        odds = ((others / np.maximum(own, FLOOR)[:, None]) ** (1.0 / temperature)).sum(axis=1)
        return np.asarray(np.minimum(np.log1p(odds), -np.log(FLOOR)))

    return _in_blocks(rows, probabilities, labels)


def phi(probabilities: ArrayLike, labels: ArrayLike, *, floor: float = FLOOR) -> Numbers:
    """Logit-scaled confidence, log p_y - log sum_{k != y} p_k.

    The signal of LiRA (Carlini et al. 2022, section VI-A) in its stable form: the other classes are summed, 1 - p_y is
    never formed. Neither logarithm sees less than ``floor``; see :func:`resolution`. Other parameters and errors as for
    :func:`confidence`.
    """
    return _in_blocks(_odds(np.sum, floor), probabilities, labels)


def hinge(probabilities: ArrayLike, labels: ArrayLike, *, floor: float = FLOOR) -> Numbers:
    """Margin of the true class over the best other one, log p_y - log max_{k != y} p_k.

    On probabilities this is the hinge of the logits, as the softmax's normaliser cancels. ``floor`` is added inside
    both logarithms; see :func:`resolution`. Other parameters and errors as for :func:`confidence`.
    """
    return _in_blocks(_odds(np.max, floor), probabilities, labels)


def _odds(total: Callable[..., Any], floor: float) -> Callable[[Numbers, NDArray[np.int64]], Numbers]:
    """Return the logarithm of the true class's probability over the sum, or the largest, of the others', as a function."""

    def rows(p: Numbers, y: NDArray[np.int64]) -> Numbers:
        own, others = _own_and_others(p, y)
        return log_ratio(own, total(others, axis=1), floor=floor)

    return rows


def others(probabilities: ArrayLike, labels: ArrayLike) -> Numbers:
    """Probability given to all other classes, sum_{k != y} p_k; parameters and errors as for :func:`confidence`."""
    return _in_blocks(lambda p, y: np.asarray(_own_and_others(p, y)[1].sum(axis=1)), probabilities, labels)


def best_other(probabilities: ArrayLike, labels: ArrayLike) -> Numbers:
    """Probability of the likeliest other class, max_{k != y} p_k; parameters and errors as for :func:`confidence`."""
    return _in_blocks(lambda p, y: np.asarray(_own_and_others(p, y)[1].max(axis=1)), probabilities, labels)


def log_ratio(one: Numbers, other: Numbers, *, floor: float = FLOOR) -> Numbers:
    """Logarithm of one probability over another, neither taken for less than ``floor``: `phi` and `hinge` from parts."""
    return np.asarray(np.log(np.maximum(one, floor)) - np.log(np.maximum(other, floor)))


def resolution(answers: Iterable[NDArray[Any]]) -> float:
    """Half of the smallest probability above 0 in (n, classes) answers, at least ``FLOOR``: a ``floor`` for logits.

    A forest of 20 trees says 0 or 0.05 and nothing between: its 0 stands for anything below. Taken for 1e-30 it would
    lie some 30 standard deviations from all other answers, and no normal fits the two. With this floor it lies next to
    them. Answers of a softmax, which reach down to the floor themselves, are left as they are.
    """
    least = min((float(a.min(where=a > 0, initial=1.0)) for a in answers), default=1.0)
    return max(least / 2, FLOOR)


def entropy(probabilities: ArrayLike, labels: ArrayLike) -> Numbers:
    """Entropy of the output, -sum_k p_k log p_k, in nats, with 0 log 0 = 0; the labels play no part.

    Parameters and errors as for :func:`confidence`.
    """

    def rows(p: Numbers, y: NDArray[np.int64]) -> Numbers:
        return -np.asarray((p * np.log(np.maximum(p, FLOOR))).sum(axis=1)) + 0.0  # no negative zero

    return _in_blocks(rows, probabilities, labels)


def modified_entropy(probabilities: ArrayLike, labels: ArrayLike) -> Numbers:
    """Entropy that knows the true class: -(1 - p_y) log p_y - sum_{k != y} p_k log(1 - p_k), in nats.

    Song and Mittal (2021): 0 when the true class is certain, large when a wrong one is. ``FLOOR`` bounds both
    logarithms. Parameters and errors as for :func:`confidence`.
    """

    def rows(p: Numbers, y: NDArray[np.int64]) -> Numbers:
        own, others = _own_and_others(p, y)
        wrong = others * np.log(np.maximum(1.0 - others, FLOOR))
        return np.asarray(-(1.0 - own) * np.log(np.maximum(own, FLOOR)) - wrong.sum(axis=1))

    return _in_blocks(rows, probabilities, labels)


def _own_and_others(p: Numbers, y: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """(n,) p_y, and (n, classes) probabilities with p_y set to 0."""
    index = np.arange(len(y))
    own = p[index, y]
    others = p.copy()
    others[index, y] = 0.0
    return own, others


def _in_blocks(
    function: Callable[[Numbers, NDArray[np.int64]], Numbers], probabilities: ArrayLike, labels: ArrayLike
) -> Numbers:
    p, y = _checked(probabilities, labels)
    out = np.empty(len(y))
    for block in blocks(*p.shape):
        out[block] = function(p[block].astype(np.float64), y[block])
    return out


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.ndim != 2 or p.shape[1] < 2:
        raise DataError(
            f"probabilities must have shape (n, classes) with at least two classes, got {p.shape}; "
            "a single-output model needs both columns, 1 - p and p"
        )
    if y.shape != (len(p),) or (y.size and not np.issubdtype(y.dtype, np.integer)):
        raise DataError(f"labels must be {len(p)} integer classes, got shape {y.shape} and dtype {y.dtype}")
    if not len(p):
        return p, y.astype(np.int64)
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise DataError(f"labels must lie in 0..{p.shape[1] - 1}, one per output column; got {y.min()}..{y.max()}")
    return clipped(p), y.astype(np.int64)


def label_vectors(answers: NDArray[Any], classes: int) -> NDArray[np.float32]:
    """Return (n, classes) vectors with a 1 at the predicted class, of (n,) labels or of (n, classes) answers.

    So an attack on a target that answers labels learns from what it will see (Shokri et al. 2017, section VIII,
    "restrict to the label").
    """
    predicted = answers if answers.ndim == 1 else answers.argmax(axis=1)
    vectors = np.zeros((len(predicted), classes), np.float32)
    vectors[np.arange(len(predicted)), predicted.astype(np.int64)] = 1
    return vectors


@dataclass(frozen=True)
class Confidence:
    """The value of :func:`confidence`."""

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> Numbers:
        """Return (r,) probabilities of the true class."""
        return confidence(answers, labels)


@dataclass(frozen=True)
class Loss:
    """The value of :func:`loss`, low for members."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        refuse(not_real(("temperature", self.temperature), above=0))

    low_for_members: ClassVar[bool] = True

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> Numbers:
        """Return (r,) losses in nats."""
        return loss(answers, labels, temperature=self.temperature)


@dataclass(frozen=True)
class Phi:
    """The value of :func:`phi`."""

    floor: float = FLOOR

    def __post_init__(self) -> None:
        refuse(not_real(("floor", self.floor), above=0))

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> Numbers:
        """Return (r,) logit-scaled confidences."""
        return phi(answers, labels, floor=self.floor)


@dataclass(frozen=True)
class Hinge:
    """The value of :func:`hinge`."""

    floor: float = FLOOR

    def __post_init__(self) -> None:
        refuse(not_real(("floor", self.floor), above=0))

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> Numbers:
        """Return (r,) margins over the best other class."""
        return hinge(answers, labels, floor=self.floor)


@dataclass(frozen=True)
class Entropy:
    """The value of :func:`entropy`, low for members."""

    low_for_members: ClassVar[bool] = True

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> Numbers:
        """Return (r,) entropies in nats."""
        return entropy(answers, labels)


@dataclass(frozen=True)
class ModifiedEntropy:
    """The value of :func:`modified_entropy`, low for members."""

    low_for_members: ClassVar[bool] = True

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> Numbers:
        """Return (r,) entropies in nats."""
        return modified_entropy(answers, labels)


@dataclass(frozen=True)
class Residual:
    """What a regression's error on a record says: higher for smaller errors, of (r, 1) predictions and (r,) real labels.

    Parameters
    ----------
    form
        ``"absolute"``: -``|e|`` / b of the error e, the logarithm of a Laplace density relative to its maximum. ``"squared"``:
        -e^2 / (2 b^2), that of a Gaussian density. ``"log"``: -log(``|e|`` + b / 1000), which is no log-likelihood.
    scale
        b: the error of models on records they were not trained on, the mean absolute one, or the root of the mean squared one
        for ``"squared"``.
    """

    form: ResidualForm = "absolute"
    scale: float = 1.0

    def __post_init__(self) -> None:
        refuse(misfits(("form", self.form, ResidualForm)), not_real(("scale", self.scale), above=0))

    def __call__(self, answers: NDArray[Any], labels: NDArray[Any], /) -> Numbers:
        """Return (r,) numbers."""
        error = np.abs(np.asarray(answers, np.float64)[:, 0] - labels)
        if self.form == "log":
            return np.asarray(-np.log(error + _LEAST_ERROR * self.scale))
        scaled = error / self.scale
        return np.asarray(-(scaled**2) / 2 if self.form == "squared" else -scaled)


_LEAST_ERROR = 1e-3  # of the scale: errors below it are alike


@dataclass(frozen=True)
class Upright:
    """A signal with its sign turned where members are low (``low_for_members``): higher means more like a member."""

    signal: Signal

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> NDArray[Any]:
        """Return (r,) numbers, higher for members."""
        numbers = self.signal(answers, labels)
        return -numbers if getattr(self.signal, "low_for_members", False) else numbers


@dataclass(frozen=True)
class Rounded:
    """A signal in float32: half the memory, and numbers that differ by less are one."""

    signal: Signal

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> NDArray[np.float32]:
        """Return (r,) float32 numbers."""
        return self.signal(answers, labels).astype(np.float32)


@dataclass(frozen=True)
class Floored:
    """A log-likelihood, that of ``FLOOR`` at least, as :func:`loss` has it."""

    signal: Signal

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> NDArray[Any]:
        """Return (r,) numbers from log ``FLOOR`` on."""
        return np.asarray(np.maximum(self.signal(answers, labels), np.log(FLOOR)))


@dataclass(frozen=True)
class OfLabels:
    """A signal of the predicted class alone: what answers say that were reduced to labels, see :func:`label_vectors`."""

    signal: Signal
    classes: int

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> NDArray[Any]:
        """Return (r,) numbers of (r, classes) answers or (r,) labels."""
        return self.signal(label_vectors(answers, self.classes), labels)


ResidualForm = Literal["absolute", "squared", "log"]
SignalName = Literal["loss", "confidence", "phi", "hinge", "entropy", "modified_entropy"]
SIGNALS: dict[SignalName, Signal] = {
    "loss": Loss(),
    "confidence": Confidence(),
    "phi": Phi(),
    "hinge": Hinge(),
    "entropy": Entropy(),
    "modified_entropy": ModifiedEntropy(),
}
"""The signals that options name."""
