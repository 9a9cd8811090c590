"""Several models under one attack, on the same records: what it finds on one of them beyond what it finds on the others.

Records that are hard on one side are hard for every model, so what an attack finds on two models goes together. Intervals and
tests here are of the difference, for which the records are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, gammaincinv, gammaln, stdtrit

from miaudit.errors import DataError
from miaudit.stats.auc import Interval, area_variance, people_of_sides, placements
from miaudit.stats.rates import checked_confidence

_WEIGHT = 4.0  # models that the spread over records counts for, beside the spread over models
_FREEDOM = 14.0  # least degrees of freedom


@dataclass(frozen=True)
class Excess:
    """Area of one model less the mean area of ``models`` others, and that mean, each with its standard deviation."""

    value: float
    deviation: float
    mean: float
    mean_deviation: float
    freedom: float
    models: int

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the difference with its interval."""
        half = self._quantile(confidence) * self.deviation
        return Interval(self.value, max(-1.0, self.value - half), min(1.0, self.value + half))

    def mean_interval(self, confidence: float = 0.95) -> Interval:
        """Return the others' mean area with its interval."""
        half = self._quantile(confidence) * self.mean_deviation
        return Interval(self.mean, max(0.0, self.mean - half), min(1.0, self.mean + half))

    def _quantile(self, confidence: float) -> float:
        return float(stdtrit(self.freedom, (1 + checked_confidence(confidence)) / 2))


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
            f"in_others and out_others must be scores of the same {sizes[0]} members and {sizes[1]} non-members under the same "
            f"models, at least one; got shapes {ins.shape} and {outs.shape}"
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
    return Excess(
        value=float(own[0].mean() - areas.mean()),
        deviation=max(variance, shrunken) ** 0.5,
        mean=float(areas.mean()),
        mean_deviation=max(of_mean, between / count) ** 0.5,
        freedom=max(1.0, min(freedom, mean_freedom, freedom_of(count, *sizes))),
        models=count,
    )


def widening(models: int) -> float:
    """Return how much larger the standard deviation of :func:`auc_excess` is than that of the area alone, on average.

    Where nothing of the records is common to all models: sqrt(1 + 1/M), and what taking the larger of two variances adds.
    """
    middles = (np.arange(200) + 0.5) / 200
    spread = 2 * gammaincinv((models - 1) / 2, middles) if models > 1 else np.zeros(1)  # chi-squared
    larger = np.maximum(1.0, (_WEIGHT + spread) / (_WEIGHT + models - 1))
    return float(np.mean(larger**0.5) * (1 + 1 / models) ** 0.5)


def freedom_of(models: int, n_in: int, n_out: int) -> float:
    """Return the degrees of freedom of an area beside that of so many other models, on independent records."""
    return max(1.0, min(n_in + n_out - 2, max(_FREEDOM, 2.0 * (models - 1))))


def more_above(
    in_scores: ArrayLike, out_scores: ArrayLike, in_others: ArrayLike, out_others: ArrayLike, rank: int
) -> float:
    """Return a p-value of "no more members lie above this rank of the non-members than under the other models".

    Let members exceed a threshold r times as often as non-members do, for thresholds as high as this. Where r is one for all
    models, the members above the (k + 1)-th highest non-member are nearly negative binomial with shape k + 1, and given all
    models' total N the count of one of M + 1 is BetaBinomial(N, k + 1, M (k + 1)), whatever r is: the two-sample form of
    :func:`miaudit.stats.precedence`. That the models share their records makes the test conservative.

    Parameters
    ----------
    in_scores, out_scores, in_others, out_others
        As of :func:`auc_excess`; independent draws.
    rank
        k, the non-members that may lie above the threshold.
    """
    ins, outs = (np.atleast_2d(np.asarray(each, np.float64)) for each in (in_others, out_others))
    count = _above(np.asarray(in_scores, np.float64), np.asarray(out_scores, np.float64), rank)
    total = count + sum(_above(a, b, rank) for a, b in zip(ins, outs, strict=True))
    return more_above_tail(count, total - count, rank, len(ins))


def more_above_tail(count: int, others: int, rank: int, models: int) -> float:
    """Return the p-value of :func:`more_above` for ``count`` members above, and ``others`` under all other models together.

    The upper tail of BetaBinomial(count + others, k + 1, M (k + 1)) from ``count`` on, summed from its far end.
    """
    total = count + others
    rest = np.arange(max(0, others - 100 - 40 * int(others**0.5)), others + 1)  # 40 standard deviations, at least
    ways = gammaln(total + 1) - gammaln(rest + 1) - gammaln(total - rest + 1)
    own, theirs = rank + 1, models * (rank + 1)
    return min(1.0, float(np.exp(ways + betaln(total - rest + own, rest + theirs) - betaln(own, theirs)).sum()))


def _above(inside: np.ndarray, outside: np.ndarray, rank: int) -> int:
    return int(np.count_nonzero(inside > np.sort(outside)[::-1][rank]))
