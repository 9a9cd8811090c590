"""A ROC curve as counts by rank of the non-members: what bounds on the TPR at any rate and level are computed from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError, PlanError
from miaudit.stats.rates import clopper_pearson
from miaudit.stats.roc import cuts, roc

_DENSE = 50  # ranks up to which each is kept
_STEP = 0.02  # how far apart, as a share of the rank, they are from there on


class RankCounts(NamedTuple):
    """Members by rank of the non-members.

    ``allowed``: above the loosest threshold with at most so many non-members. ``above``: that score higher than the non-member
    of that rank, from the highest, where ties are broken by lot: their expected number, rounded up. They are one where scores
    are not tied.
    """

    ranks: NDArray[np.int64]  # (ranks,) rising, from 0 to all non-members
    allowed: NDArray[np.int64]  # (ranks,)
    above: NDArray[np.int64]  # (ranks,) 0 at rank 0


def rank_counts(in_scores: ArrayLike, out_scores: ArrayLike) -> RankCounts:
    """Count members at every rank of the non-members up to 50, and from there on at ranks 2 % apart.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members, higher = member.

    Raises
    ------
    DataError
        If a side is empty or holds NaN or infinity.
    """
    curve = roc(in_scores, out_scores)
    n_out = curve.n_out
    steps = int(np.log(max(n_out / _DENSE, 1.0)) / _STEP) + 2
    apart = np.geomspace(_DENSE, max(n_out, _DENSE), steps).astype(np.int64)
    ranks = np.unique(np.concatenate([np.arange(_DENSE), apart, [n_out]]))
    ranks = ranks[ranks <= n_out]
    allowed = curve.tp[np.searchsorted(curve.fp, ranks, side="right") - 1]
    # of a members and b non-members with one score, a * r / (b + 1) are expected above the r-th of the latter
    after = np.searchsorted(curve.fp, ranks, side="left")
    before = np.maximum(after - 1, 0)
    tied_in, tied_out = curve.tp[after] - curve.tp[before], curve.fp[after] - curve.fp[before]
    by_lot = -(-tied_in * (ranks - curve.fp[before]) // (tied_out + 1))
    return RankCounts(ranks, allowed, curve.tp[before] + by_lot)


class Nameable(NamedTuple):
    """A share of the members, and its interval."""

    value: float
    low: float
    high: float


def nameable(
    counts: RankCounts, n_in: int, precision: float, *, confidence: float = 0.95, least: float = 0.01, steps: int = 12
) -> Nameable:
    """Return which share of the members can be named with such a precision, where half of those tried are members.

    At even odds a share u can be named with precision p if at some threshold the TPR is at least u and the FPR at most u / g,
    g = p / (1 - p). Rates from ``least`` / g to 1 / g are looked at, every one with a part of the error (Bonferroni). The low
    end is the largest TPR that is shown to be above g times its rate, and the high end the share from which on all are shown to
    lie below, with the curve's rise between the rates.

    Parameters
    ----------
    counts
        Of :func:`rank_counts`.
    n_in
        Members.
    precision
        Share of those named who are members, above 1/2.
    confidence
        Level of the interval.
    least
        Smallest share whose upper end is looked for.
    steps
        Rates looked at, less one.

    Raises
    ------
    PlanError
        If the precision is out of range.
    """
    if not 0.5 < precision < 1.0:
        raise PlanError(f"precision must lie between 0.5 and 1, both excluded, got {precision}; write 90 % as 0.9")
    gain = precision / (1 - precision)
    rates = np.geomspace(least, 1.0, steps + 1) / gain
    error = (1 - confidence) / 2 / len(rates)
    ends = [tpr_ends(counts, n_in, float(rate), low_error=error, high_error=error) for rate in rates]
    n_out = int(counts.ranks[-1])
    tpr, fpr = counts.allowed / n_in, counts.ranks / n_out
    value = float(tpr[tpr >= gain * fpr * (1 - 1e-12)].max(initial=0.0))
    low = max((low for (low, _), rate in zip(ends, rates, strict=True) if low >= gain * rate), default=0.0)
    # where the curve at the next rate lies below g times this one, nothing between the two reaches g times its rate
    below = [high < gain * rate for (_, high), rate in zip(ends[1:], rates[:-1], strict=True)]
    first = next((i for i in range(len(below)) if all(below[i:])), len(below))
    high = min(float(gain * rates[first]), ends[first][1])  # u is at most the TPR at u / g
    return Nameable(value, min(low, value), max(high, value))


def tpr_ends(
    counts: RankCounts, n_in: int, fpr: float, *, low_error: float = 0.025, high_error: float = 0.025
) -> tuple[float, float]:
    """Return a lower and an upper bound on the TPR at a true FPR, each with an error of its own.

    They are the ends of :func:`~miaudit.stats.tpr_at_fpr`, but for two things. Where counts are known at some ranks only, the
    next known one is taken on the safe side. And the upper end is that of an attacker who may break ties by lot, and so reaches
    rates between thresholds.

    Parameters
    ----------
    counts
        Of :func:`rank_counts`.
    n_in
        Members.
    fpr
        The false-positive rate, a fraction in [0, 1].
    low_error, high_error
        Probability, at most, that the TPR lies below the lower, or above the upper end; below 1/2.

    Raises
    ------
    DataError
        If there are fewer members than are counted, or none.
    PlanError
        If the rate or an error is out of range.
    """
    if not 0.0 <= fpr <= 1.0:
        raise PlanError(f"fpr must be a fraction in [0, 1], got {fpr}; write 0.1 % as 0.001")
    if n_in < 1 or n_in < counts.allowed.max(initial=0):
        raise DataError(f"{counts.allowed.max(initial=0):,} members are counted, of {n_in}")
    n_out = int(counts.ranks[-1])
    strict, loose = cuts(n_out, fpr, 1 - 2 * low_error)[0], cuts(n_out, fpr, 1 - 2 * high_error)[1]
    low, high = 0.0, 1.0
    if strict.rank >= 0:
        count = counts.allowed[np.searchsorted(counts.ranks, strict.rank, side="right") - 1]
        low = clopper_pearson(int(count), n_in, 1 - 2 * strict.left)[0]
    if loose.rank <= n_out:
        count = counts.above[np.searchsorted(counts.ranks, loose.rank, side="left")]
        high = clopper_pearson(int(count), n_in, 1 - 2 * loose.left)[1]
    return low, high
