"""Area under the ROC curve, with an interval that holds for few records and near 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from miaudit.errors import DataError
from miaudit.stats.people import Ints, numbered
from miaudit.stats.rates import checked_confidence
from miaudit.stats.roc import Scores, sides
from miaudit.stats.root import root


class Interval(NamedTuple):
    """A figure and the ends of its interval."""

    value: float
    low: float
    high: float


class Spread(NamedTuple):
    """How much wider an interval of the area is than that of independent, evenly spread records.

    ``inflation``: factor on their variance. ``freedom``: degrees of freedom of that factor, infinite for records that are
    spread no more unevenly. ``units``: the independent units of the smaller side.
    """

    inflation: float
    freedom: float
    units: int


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
    return float(_below(np.sort(inside), np.sort(outside)).sum()) / (2 * len(inside) * len(outside))


def auc_interval(
    in_scores: ArrayLike,
    out_scores: ArrayLike,
    *,
    in_people: ArrayLike | None = None,
    out_people: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Area under the ROC curve with its interval.

    A score interval in the manner of Wilson: all areas t with (auc - t)^2 <= z^2 s V(t), where V is the variance of
    Newcombe (2006, method 5; Hanley and McNeil 1982), equal at t = 1/2 to the Mann-Whitney null variance. So
    "the interval excludes 1/2" is the rank-sum test, and no leak is found in noise more often than the level says (less
    often with ties). Our deviation: s = max(1, V_DeLong / V) widens it where the scores are spread more unevenly than
    that model (a few memorised records); then z is a quantile of Student's t, as few records tell little of V_DeLong.
    At auc 0 or 1 the far end is exact and free of assumptions: perfect separation by chance has probability at most
    t^min(n_in, n_out).

    Where records belong to people, V_DeLong deletes one person at a time instead of one record (see
    :func:`auc_spread`), z is always a quantile of Student's t, and the exact ends count people.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members, higher = member.
    in_people, out_people
        The person of each of these records; None: each record is independent of the others. Somebody may be on both sides.
    confidence
        Level of the interval.

    Returns
    -------
    Interval
        ``(value, low, high)``.

    Raises
    ------
    DataError
        If a side is empty or holds NaN or infinity, or people are missing.
    PlanError
        If the confidence is not between 0 and 1.
    """
    inside, outside = sides(in_scores, out_scores)
    spread = auc_spread(inside, outside, in_people=in_people, out_people=out_people)
    return auc_score_interval(auc(inside, outside), len(inside), len(outside), confidence=confidence, spread=spread)


def auc_spread(
    in_scores: ArrayLike,
    out_scores: ArrayLike,
    *,
    in_people: ArrayLike | None = None,
    out_people: ArrayLike | None = None,
) -> Spread:
    """Return how much wider the interval of the area is than that of independent, evenly spread records.

    The variance is DeLong's (1988), of the placements: the share of non-members each member beats, and so on. With
    people the placements of a person are summed and the variance is that of deleting one person at a time, which is not
    too small for few people of unequal size (Bell and McCaffrey 2002); with h_j the share of person j of a side's
    records, a side has 1 / sum h_j^2 - 1 degrees of freedom, and both together have Satterthwaite's. For people of one
    record each it is DeLong's own.

    Parameters
    ----------
    in_scores, out_scores, in_people, out_people
        As in :func:`auc_interval`.

    Returns
    -------
    Spread
        A factor of at least 1, its degrees of freedom, and how many independent units the smaller side has.
    """
    inside, outside = sides(in_scores, out_scores)
    n_in, n_out = len(inside), len(outside)
    people = people_of_sides(in_people, out_people, n_in, n_out)
    wins, losses = placements(inside, outside)
    value = float(wins.mean())
    units, variance, freedom = area_variance([wins, losses], people)
    known = np.inf if people is None else freedom  # V is of ranks, not estimated
    if not 0.0 < value < 1.0:
        return Spread(1.0, known, units)
    if units == 1:  # nothing tells how units differ
        return Spread(1.0 if people is None else np.inf, known, units)
    inflation = max(1.0, variance / newcombe_variance(value, n_in, n_out))
    return Spread(inflation, freedom if inflation > 1.0 else known, units)


def placements(in_scores: ArrayLike, out_scores: ArrayLike) -> tuple[Scores, Scores]:
    """Return (n_in,) shares of the non-members that each member beats, and (n_out,) of the members that beat each non-member.

    Ties count half. Either mean is the area.
    """
    inside, outside = sides(in_scores, out_scores)
    ordered = [np.argsort(inside), np.argsort(outside)]
    rising = inside[ordered[0]], outside[ordered[1]]
    below = np.empty(len(inside)), np.empty(len(outside))
    for side in (0, 1):
        below[side][ordered[side]] = _below(rising[side], rising[1 - side])
    return below[0] / (2 * len(outside)), 1.0 - below[1] / (2 * len(inside))


def area_variance(placements: Sequence[Scores], people: tuple[Ints, Ints] | None) -> tuple[int, float, float]:
    """Return the independent units of the smaller side, and the variance of an area by its placements, with its freedom.

    The variance is DeLong's (1988), with people that of deleting each; infinite where one unit tells nothing of it. Its degrees
    of freedom are Satterthwaite's: a small side beside a large one gives most of the variance and tells little of it.
    """
    if people is not None:
        return _by_person(placements, people)
    sizes = [len(each) for each in placements]
    if min(sizes) == 1:
        return 1, np.inf, np.inf
    variances = [float(each.var(ddof=1)) / len(each) for each in placements]
    return min(sizes), sum(variances), satterthwaite(variances, [size - 1 for size in sizes])


def satterthwaite(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Return the degrees of freedom of a sum of variances that are estimated apart (Satterthwaite 1946)."""
    weighed = sum(v * v / f for v, f in zip(variances, freedoms, strict=True))
    return sum(variances) ** 2 / weighed if weighed else min(freedoms)


def auc_score_interval(
    value: float,
    n_in: int,
    n_out: int,
    *,
    confidence: float = 0.95,
    spread: Spread | None = None,
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
    spread
        What :func:`auc_spread` found; None: independent, evenly spread records.

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
    spread = spread or Spread(1.0, np.inf, min(n_in, n_out))
    alpha = 1.0 - checked_confidence(confidence)
    if not np.isfinite(spread.inflation):
        return Interval(float(value), 0.0, 1.0)
    z = ndtri(1.0 - alpha / 2) if np.isinf(spread.freedom) else stdtrit(max(spread.freedom, 1.0), 1.0 - alpha / 2)
    z2 = float(z) ** 2 * spread.inflation
    exact = (alpha / 2) ** (1.0 / spread.units)

    def excess(t: float) -> float:
        return (value - t) ** 2 - z2 * newcombe_variance(t, n_in, n_out)

    low = 0.0 if value == 0.0 else exact if value == 1.0 else root(excess, 0.0, value)
    high = 1.0 if value == 1.0 else 1.0 - exact if value == 0.0 else root(excess, value, 1.0)
    return Interval(float(value), low, high)


def people_of_sides(
    in_people: ArrayLike | None, out_people: ArrayLike | None, n_in: int, n_out: int
) -> tuple[Ints, Ints] | None:
    """Return the numbers of people on both sides, one numbering for both; None where each has one record."""
    if in_people is None and out_people is None:
        return None
    if in_people is None or out_people is None:
        raise DataError("people are known of one side only; give in_people and out_people, or neither")
    both = np.asarray(in_people), np.asarray(out_people)
    if both[0].shape != (n_in,) or both[1].shape != (n_out,):
        raise DataError(
            f"in_people and out_people must name one person per score, {n_in} and {n_out}; got shapes {both[0].shape} "
            f"and {both[1].shape}"
        )
    number = numbered(np.concatenate([each.astype(object) for each in both]))
    return None if int(number.max()) + 1 == n_in + n_out else (number[:n_in], number[n_in:])


def _by_person(placements: Sequence[Scores], people: tuple[Ints, Ints]) -> tuple[int, float, float]:
    """Return the people of the smaller side, and the variance of the area by deleting each, with its degrees of freedom."""
    total = int(max(each.max() for each in people)) + 1
    shifts, variances, freedoms, units = [], [], [], []
    for placement, person in zip(placements, people, strict=True):
        counts = np.bincount(person, minlength=total)
        number = int((counts > 0).sum())
        units.append(number)
        if number == 1:
            return 1, np.inf, 1.0
        share = counts / len(person)
        shift = np.bincount(person, placement - placement.mean(), minlength=total) / len(person) / (1 - share)
        shifts.append(shift * ((number - 1) / number) ** 0.5)  # of the area, where the person is left out
        variances.append(float((shifts[-1] ** 2).sum()))
        freedoms.append(1 / float((share**2).sum()) - 1)
    variance = sum(variances) + 2 * float((shifts[0] * shifts[1]).sum())  # people on both sides move both
    return min(units), variance, satterthwaite(variances, freedoms)


def newcombe_variance(t: float, n_in: int, n_out: int) -> float:
    """Variance of the area when it truly is t (Newcombe 2006, method 5)."""
    spread = ((n_in + n_out) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))
    return t * (1 - t) * (1 + spread) / (n_in * n_out)


def _below(scores: Scores, others: Scores) -> Scores:
    """Twice the number of sorted ``others`` below each score, ties counting one: (n,) exact whole numbers.

    Scores are sorted, too: questions in rising order walk through memory once.
    """
    left, right = np.searchsorted(others, scores, side="left"), np.searchsorted(others, scores, side="right")
    return (left + right).astype(np.float64)
