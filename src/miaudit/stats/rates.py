"""Rates out of counts, with exact intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from miaudit.errors import DataError, PlanError


@dataclass(frozen=True)
class Rate:
    """``count`` out of ``total`` with its exact interval; the figures are None, with a reason, where total is 0."""

    count: int
    total: int
    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Decisions:
    """What in/out decisions were worth: the four counts, and the rates of Shokri et al. (2017), section VI-A.

    ``precision``: of those called members, how many are. ``recall``: of the members, how many were called so.
    ``accuracy``: of all, how many were called rightly. Its interval takes members and non-members as one binomial
    sample, which is never too narrow: fixing the two sides' sizes can only lower the variance.
    """

    tp: int
    fn: int
    fp: int
    tn: int
    precision: Rate
    recall: Rate
    accuracy: Rate
    confidence: float | None

    @property
    def n(self) -> int:
        """Number of records decided."""
        return self.tp + self.fn + self.fp + self.tn

    @property
    def members(self) -> int:
        """Number of members among them."""
        return self.tp + self.fn


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a binomial proportion (Clopper and Pearson 1934).

    Parameters
    ----------
    k, n
        Successes and trials, 0 <= k <= n, n >= 1.
    confidence
        Level of the interval; each side may err with probability (1 - confidence) / 2.

    Returns
    -------
    (low, high)
        low is exactly 0 at k = 0, high exactly 1 at k = n.

    Raises
    ------
    DataError
        If the counts are impossible.
    PlanError
        If the confidence is not between 0 and 1.
    """
    if n < 1 or not 0 <= k <= n:
        raise DataError(f"a proportion needs 0 <= k <= n and n >= 1, got k={k}, n={n}")
    alpha = 1.0 - checked_confidence(confidence)
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, alpha / 2))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1.0 - alpha / 2))
    return low, high


def decisions(decision: ArrayLike, member: ArrayLike, *, confidence: float | None = 0.95) -> Decisions:
    """Count in/out decisions against the truth.

    Parameters
    ----------
    decision, member
        (n,) bool: was the record called a member; is it one. One side may be empty (a class without members): the rate
        it leaves undefined is None with a reason.
    confidence
        Level of the exact intervals; None: no intervals, as for records that are no independent draws.

    Returns
    -------
    Decisions
        Counts, precision, recall and accuracy.

    Raises
    ------
    DataError
        If the two arrays are not bool, of one length, and not empty.
    """
    called, truth = np.asarray(decision), np.asarray(member)
    if called.dtype != bool or truth.dtype != bool or called.shape != truth.shape or called.ndim != 1:
        raise DataError(
            "decision and member must be two bool arrays of one length, "
            f"got {called.dtype} {called.shape} and {truth.dtype} {truth.shape}"
        )
    if not len(called):
        raise DataError("no records to judge: decision and member are empty")
    if confidence is not None:
        checked_confidence(confidence)
    tp, fn = int((called & truth).sum()), int((~called & truth).sum())
    fp, tn = int((called & ~truth).sum()), int((~called & ~truth).sum())
    return Decisions(
        tp=tp,
        fn=fn,
        fp=fp,
        tn=tn,
        precision=rate(tp, tp + fp, confidence, "no record was called a member"),
        recall=rate(tp, tp + fn, confidence, "there are no members here"),
        accuracy=rate(tp + tn, len(called), confidence),
        confidence=confidence,
    )


def checked_confidence(confidence: float) -> float:
    """Return the confidence, or raise PlanError if it is not strictly between 0 and 1."""
    if not 0.0 < confidence < 1.0:
        raise PlanError(f"confidence must lie between 0 and 1, both excluded, got {confidence}; 0.95 is usual")
    return confidence


def rate(count: int, total: int, confidence: float | None = 0.95, reason: str = "there is nothing to count") -> Rate:
    """Return a rate with its exact interval; without one where the confidence is None, as for dependent draws.

    ``reason`` is why the rate is undefined where ``total`` is 0.
    """
    if total == 0:
        return Rate(count, total, None, None, None, reason)
    low, high = (None, None) if confidence is None else clopper_pearson(count, total, confidence)
    return Rate(count, total, count / total, low, high)
