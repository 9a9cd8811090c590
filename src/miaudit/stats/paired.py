"""Several models under one attack, on the same records: what it finds on one of them beyond what it finds on the others.

Records that are hard on one side are hard for every model, so what an attack finds on two models goes together. Intervals and
tests here are of the difference, for which the records are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincinv, gammaln, ndtri, stdtr, stdtrit

from miaudit.errors import DataError
from miaudit.stats.auc import Interval, area_variance, people_of_sides, placements, satterthwaite
from miaudit.stats.rates import checked_confidence
from miaudit.stats.roc import Scores

_WEIGHT = 4.0  # models that the spread over records counts for, beside the spread over models
_FREEDOM = 14.0  # least degrees of freedom


@dataclass(frozen=True)
class AreaDifference:
    """An area less another one, with its standard deviation and the degrees of freedom of its Student's t."""

    value: float
    deviation: float
    freedom: float

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the difference with its interval."""
        half = _quantile(self.freedom, confidence) * self.deviation
        return Interval(self.value, max(-1.0, self.value - half), min(1.0, self.value + half))


@dataclass(frozen=True)
class Excess(AreaDifference):
    """Area of one model less the mean area of ``models`` others, and that mean, each with its standard deviation.

    ``null_deviation`` is that of the mean where the sides are alike: then no model differs from another in how hard a side is.
    """

    mean: float
    mean_deviation: float
    mean_freedom: float
    null_deviation: float
    models: int

    def mean_interval(self, confidence: float = 0.95) -> Interval:
        """Return the others' mean area with its interval, which holds for other records and other such models.

        Two models do not say how much they differ: with fewer than three the interval is too narrow.
        """
        half = _quantile(self.mean_freedom, confidence) * self.mean_deviation
        return Interval(self.mean, max(0.0, self.mean - half), min(1.0, self.mean + half))

    def tells_sides(self, confidence: float = 0.95) -> bool:
        """Whether the others' mean area differs from 1/2 by more than chance allows where the sides are alike."""
        return abs(self.mean - 0.5) > _quantile(self.freedom, confidence) * self.null_deviation


def _quantile(freedom: float, confidence: float) -> float:
    return float(stdtrit(freedom, (1 + checked_confidence(confidence)) / 2))


def auc_excess(
    in_scores: ArrayLike,
    out_scores: ArrayLike,
    in_others: ArrayLike,
    out_others: ArrayLike,
    *,
    in_people: ArrayLike | None = None,
    out_people: ArrayLike | None = None,
) -> Excess:
    """Return how far the area of one model's scores lies above the mean area of M others', on the same records.

    Where the model is one more draw of what the others are, the difference has mean 0 whatever the records, and the variance
    s^2 (1 + 1/M), s^2 that of the others' areas. Few models tell little of s^2. What moves records one by one, it shares
    with DeLong's (1988) variance for paired areas: that of each record's placement under the model less its mean placement
    under the others; with people, of theirs, deleting one at a time. What moves a whole side, such as how accurate a model
    is where one side is harder, s^2 alone sees. So the larger is taken of DeLong's and of s^2 (1 + 1/M) shrunken towards it
    as if four more models had had it, with quantiles of Student's t with 2 (M - 1) degrees of freedom, at least 14. The
    weight and the freedom are ours, by simulation (docs/statistics.md).

    The mean of the others moves with the records, by DeLong's variance, and with the models, by s^2 / M: its variance is the
    sum, with Satterthwaite's degrees of freedom.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores under the model, higher = member.
    in_others, out_others
        (M, n_in) and (M, n_out) scores of the same records under the others.
    in_people, out_people
        As of :func:`miaudit.stats.auc_interval`.

    Raises
    ------
    DataError
        If a side is empty or not finite, there is no other model, or shapes differ.
    """
    own = placements(in_scores, out_scores)
    sizes = (len(own[0]), len(own[1]))
    ins, outs = (np.atleast_2d(np.asarray(each, np.float64)) for each in (in_others, out_others))
    if (ins.shape[1], outs.shape[1]) != sizes or len(ins) != len(outs) or not len(ins):
        raise DataError(
            f"in_others and out_others must be scores of the same {sizes[0]:,} members and {sizes[1]:,} non-members "
            f"under the same models, at least one; got shapes {ins.shape} and {outs.shape}"
        )
    people = people_of_sides(in_people, out_people, *sizes)
    theirs = [placements(a, b) for a, b in zip(ins, outs, strict=True)]
    mean = [np.mean([each[side] for each in theirs], axis=0) for side in (0, 1)]  # (n_in,), (n_out,)
    areas = np.array([each[0].mean() for each in theirs])
    count = len(areas)
    between = float(areas.var(ddof=1)) if count > 1 else 0.0
    _, variance, freedom = area_variance([a - b for a, b in zip(own, mean, strict=True)], people)
    _, of_mean, mean_freedom = area_variance(mean, people)
    shrunken = (_WEIGHT * variance + (count - 1) * between * (1 + 1 / count)) / (_WEIGHT + count - 1)
    of_models = between / count
    parts = of_models**2 / max(1, count - 1) + (of_mean**2 / mean_freedom if np.isfinite(mean_freedom) else 0.0)
    return Excess(
        value=float(own[0].mean() - areas.mean()),
        deviation=max(variance, shrunken) ** 0.5,
        freedom=max(1.0, min(freedom, mean_freedom, freedom_of(count, *sizes))),
        mean=float(areas.mean()),
        mean_deviation=(of_mean + of_models) ** 0.5,
        mean_freedom=max(1.0, (of_mean + of_models) ** 2 / parts) if parts > 0 and np.isfinite(parts) else np.inf,
        null_deviation=max(of_mean, of_models) ** 0.5,
        models=count,
    )


def auc_difference(
    in_scores: ArrayLike,
    out_scores: ArrayLike,
    in_before: ArrayLike,
    out_before: ArrayLike,
) -> AreaDifference:
    """Return how far the area of one model's scores lies above that of another's, on the same independent records.

    The variance is DeLong's (1988) for paired areas, with Satterthwaite's degrees of freedom, but no more than sides have that
    are spread alike: the variance of a few records may come out small by chance, and then says little. Unlike
    :func:`auc_excess` it is of these two models: another training of either may differ by more.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores under the one model, higher = member.
    in_before, out_before
        Scores of the same records, in the same order, under the other.

    Raises
    ------
    DataError
        If a side is empty or not finite, or sizes differ.
    """
    own, before = placements(in_scores, out_scores), placements(in_before, out_before)
    sizes = [tuple(map(len, each)) for each in (own, before)]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"both models must have scored the same records, got {sizes[0]} and {sizes[1]} on the two sides"
        )
    differences = [_not_of_one_value(a - b) for a, b in zip(own, before, strict=True)]
    _, variance, freedom = area_variance(differences, None)
    freedom = max(1.0, min(freedom, _freedom_alike(*sizes[0])))
    return AreaDifference(float(own[0].mean() - before[0].mean()), float(variance) ** 0.5, freedom)


def _not_of_one_value(differences: Scores) -> Scores:
    """Return differences of a side; where all are one value but 0, with a 0 more, as one value has no spread to tell by."""
    return np.append(differences, 0.0) if differences[0] and np.ptp(differences) == 0 else differences


def unpaired_difference(area: Interval, before: Interval) -> Interval:
    """Return the difference of two areas of independent records, from the interval of each at the level that is asked for.

    The ends are those of Zou and Donner (2008, "Construction of confidence limits about effect measures", MOVER): the
    distances of the areas from their own ends, squared and added.
    """
    value = area.value - before.value
    low = value - np.hypot(area.value - area.low, before.high - before.value)
    high = value + np.hypot(area.high - area.value, before.value - before.low)
    return Interval(value, max(-1.0, float(low)), min(1.0, float(high)))


def widening(models: int) -> float:
    """Return how much larger the standard deviation of :func:`auc_excess` is than that of the area alone, on average.

    Where nothing of the records is common to all models: sqrt(1 + 1/M), and what taking the larger of two variances adds.
    """
    middles = (np.arange(200) + 0.5) / 200
    spread = 2 * gammaincinv((models - 1) / 2, middles) if models > 1 else np.zeros(1)  # chi-squared
    larger = np.maximum(1.0, (_WEIGHT + spread) / (_WEIGHT + models - 1))
    return float(np.mean(larger**0.5) * (1 + 1 / models) ** 0.5)


def freedom_of(models: int, n_in: int, n_out: int) -> float:
    """Return the degrees of freedom of an area beside that of so many other models, on independent records.

    Those of the records are what Satterthwaite's come to where both sides are spread alike.
    """
    return max(1.0, min(_freedom_alike(n_in, n_out), max(_FREEDOM, 2.0 * (models - 1))))


def _freedom_alike(n_in: int, n_out: int) -> float:
    return satterthwaite([1 / n_in, 1 / n_out], [n_in - 1, n_out - 1]) if min(n_in, n_out) > 1 else 1.0


def more_above(
    in_scores: ArrayLike, out_scores: ArrayLike, in_others: ArrayLike, out_others: ArrayLike, rank: int
) -> float:
    """Return a p-value of "no more members lie above this rank of the non-members than under the other models".

    Let a members lie above the (k + 1)-th highest non-member, so that a of the d = a + k highest records are members. Where the
    model is one more draw of what the M others are, any of the d highest of any of them is a member with one probability, and
    given all N members there, those of one model are Hypergeometric((M + 1) d, N, d): Fisher's (1935) exact test, whose mid-p
    (Lancaster 1961) is returned; 1 where another model has as many. Counted at one depth the others have a binomial spread;
    above the rank itself their numbers are nearly negative binomial, which at rank 0 spreads as widely as their mean.

    What moves all records of a side under one model spreads its count further. So the normal deviate of the p-value is
    divided by the root of the dispersion f: the others' variance at depth d' = max(d, n / 5) over the binomial one, at least
    1, whose excess is scaled by (d - 1) / (d' - 1) as that of correlated records is. It is read from Student's t with
    Satterthwaite's (M - 1) (f / (f - 1))^2 degrees of freedom. That the models share their records makes the test conservative.

    Parameters
    ----------
    in_scores, out_scores, in_others, out_others
        As of :func:`auc_excess`; independent draws. Ties count against the model, and among the others by shares.
    rank
        k, the non-members that may lie above the threshold.
    """
    own, of_out = np.asarray(in_scores, np.float64), np.asarray(out_scores, np.float64)
    both = np.hstack([np.atleast_2d(np.asarray(each, np.float64)) for each in (in_others, out_others)])
    count = int(np.count_nonzero(own > np.sort(of_out)[::-1][rank]))
    depth = count + rank
    if not count:
        return 1.0
    theirs = _among(both, len(own), depth)
    if theirs.max() >= count:
        return 1.0
    deep = max(depth, both.shape[1] // 5)
    spread = 1.0 + (_dispersion(_among(both, len(own), deep), deep) - 1.0) * (depth - 1) / max(1, deep - 1)
    return more_above_p(count, math.ceil(theirs.sum() - 1e-9), rank, len(both), spread)


def more_above_p(count: int, others: int, rank: int, models: int, spread: float = 1.0) -> float:
    """Return the p-value of :func:`more_above` for ``count`` members above, and ``others`` as high under all other models.

    Parameters
    ----------
    count
        Members above the rank, of ``depth = count + rank`` records.
    others
        Members among the ``depth`` highest records of each other model, all models together.
    rank, models
        k and M.
    spread
        f, the dispersion of such counts over that of a binomial one.
    """
    depth = count + rank
    total, x = count + others, np.arange(count, depth + 1)
    x = x[total - x >= 0]
    law = np.exp(_ways(depth, x) + _ways(models * depth, total - x) - _ways((models + 1) * depth, total))
    value = min(1.0, float(law.sum()) - float(law[0]) / 2)
    if spread <= 1.0:
        return value
    freedom = (models - 1) * (spread / (spread - 1)) ** 2
    return float(stdtr(freedom, ndtri(value) / spread**0.5))


def _ways(n: int, k: np.ndarray | int) -> Any:
    return gammaln(n + 1) - gammaln(np.add(k, 1)) - gammaln(np.subtract(n, k) + 1)


def _among(scores: np.ndarray, n_in: int, depth: int) -> np.ndarray:
    """(M,) members among the highest so many records under each model, of (M, n) scores, members first; ties by shares."""
    last = np.partition(scores, -depth, axis=1)[:, -depth, None]
    above, level = scores > last, scores == last
    members = above[:, :n_in].sum(axis=1)
    share = level[:, :n_in].sum(axis=1) / level.sum(axis=1)
    return np.asarray(members + (depth - above.sum(axis=1)) * share)


def _dispersion(counts: np.ndarray, depth: int) -> float:
    """Return the variance of members among the ``depth`` highest records over that of a binomial law, at least 1."""
    share = float(counts.mean()) / depth
    expected = depth * share * (1 - share)
    return max(1.0, float(counts.var(ddof=1)) / expected) if len(counts) > 1 and expected > 0 else 1.0
