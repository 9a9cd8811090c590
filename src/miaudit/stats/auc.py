"""Area under the ROC curve, with an interval that holds for few records and near 0 and 1."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import ndtri

from miaudit.errors import DataError
from miaudit.stats.rates import checked_confidence
from miaudit.stats.roc import Scores, sides


class Interval(NamedTuple):
    """A figure and the ends of its interval."""

    value: float
    low: float
    high: float


def auc(in_scores: ArrayLike, out_scores: ArrayLike) -> float:
    """Probability that a member scores higher than a non-member, ties counting half (Mann and Whitney 1947).

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members, higher = member.

    Returns
    -------
    float
        In [0, 1]; 0.5 is chance. Takes O(n log n).

    Raises
    ------
    DataError
        If a side is empty or holds NaN or infinity.
    """
    inside, outside = sides(in_scores, out_scores)
    return float(_below(inside, np.sort(outside)).sum()) / (2 * len(inside) * len(outside))


def auc_interval(in_scores: ArrayLike, out_scores: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Area under the ROC curve with its interval.

    A score interval in the manner of Wilson: all areas t with (auc - t)^2 <= z^2 s V(t), where V is the variance of
    Newcombe (2006, method 5; Hanley and McNeil 1982), equal at t = 1/2 to the Mann-Whitney null variance. So
    "the interval excludes 1/2" is the rank-sum test, and no leak is found in noise more often than the level says (less
    often with ties). Our deviation: s = max(1, V_DeLong / V) widens it where the scores are spread more unevenly than
    that model (a few memorised records). At auc 0 or 1 the far end is exact and free of assumptions: perfect
    separation by chance has probability at most t^min(n_in, n_out).

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members, higher = member.
    confidence
        Level of the interval.

    Returns
    -------
    Interval
        ``(value, low, high)``.

    Raises
    ------
    DataError
        If a side is empty or holds NaN or infinity.
    PlanError
        If the confidence is not between 0 and 1.
    """
    inside, outside = sides(in_scores, out_scores)
    n_in, n_out = len(inside), len(outside)
    won = _below(inside, np.sort(outside)) / (2 * n_out)  # (n_in,) share of the non-members each member beats
    lost = 1.0 - _below(outside, np.sort(inside)) / (2 * n_in)  # (n_out,) share of the members that beat each
    value = auc(inside, outside)
    inflation = 1.0
    if 0.0 < value < 1.0 and min(n_in, n_out) > 1:
        delong = float(won.var(ddof=1) / n_in + lost.var(ddof=1) / n_out)
        inflation = max(1.0, delong / _variance(value, n_in, n_out))
    return auc_score_interval(value, n_in, n_out, confidence=confidence, inflation=inflation)


def auc_score_interval(
    value: float, n_in: int, n_out: int, *, confidence: float = 0.95, inflation: float = 1.0
) -> Interval:
    """Interval of an area known only by its value and the number of records on each side.

    Parameters
    ----------
    value
        The area, in [0, 1].
    n_in, n_out
        Records on each side, at least one.
    confidence
        Level of the interval.
    inflation
        Factor on the variance, at least 1.

    Returns
    -------
    Interval
        ``(value, low, high)``; see :func:`auc_interval`.

    Raises
    ------
    DataError
        If the value or the sizes are impossible.
    """
    if not 0.0 <= value <= 1.0 or min(n_in, n_out) < 1:
        raise DataError(f"an area needs 0 <= value <= 1 and records on both sides, got {value}, {n_in} and {n_out}")
    alpha = 1.0 - checked_confidence(confidence)
    z2 = float(ndtri(1.0 - alpha / 2)) ** 2 * inflation
    exact = (alpha / 2) ** (1.0 / min(n_in, n_out))

    def excess(t: float) -> float:
        return (value - t) ** 2 - z2 * _variance(t, n_in, n_out)

    low = 0.0 if value == 0.0 else exact if value == 1.0 else float(brentq(excess, 0.0, value))
    high = 1.0 if value == 1.0 else 1.0 - exact if value == 0.0 else float(brentq(excess, value, 1.0))
    return Interval(float(value), low, high)


def _variance(t: float, n_in: int, n_out: int) -> float:
    """Variance of the area when it truly is t (Newcombe 2006, method 5)."""
    spread = ((n_in + n_out) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))
    return t * (1 - t) * (1 + spread) / (n_in * n_out)


def _below(scores: Scores, others: Scores) -> Scores:
    """Twice the number of sorted ``others`` below each score, ties counting one: (n,) exact whole numbers."""
    left, right = np.searchsorted(others, scores, side="left"), np.searchsorted(others, scores, side="right")
    return (left + right).astype(np.float64)
