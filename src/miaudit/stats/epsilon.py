"""Epsilon out of an attack's error rates: lower bounds, the most that n records can show, a Bayesian interval.

A rate bounds epsilon only if its observations are independent trainings. From many records of one model the same figure
is an *empirical epsilon-equivalent* of this attack: see docs/statistics.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from miaudit.errors import DataError, PlanError, literal
from miaudit.stats.auc import Interval
from miaudit.stats.gaussian import checked_delta
from miaudit.stats.rates import checked_confidence, clopper_pearson

Floats = NDArray[np.float64]


def epsilon_from_rates(tp: int, fn: int, fp: int, tn: int, delta: float, confidence: float = 0.95) -> float:
    """Lower bound on epsilon from one operating point, fixed before these counts were seen.

    (epsilon, delta)-DP keeps FPR + e^eps FNR and FNR + e^eps FPR at 1 - delta or more (Kairouz, Oh and Viswanath 2015);
    with exact bounds on the two rates in their place (Jagielski, Ullman and Oprea 2020):
    max(log((TPR_low - delta) / FPR_high), log((TNR_low - delta) / FNR_high), 0). TNR_low = 1 - FPR_high and
    FNR_high = 1 - TPR_low, so that just two bounds can fail, each with probability (1 - confidence) / 2.

    Parameters
    ----------
    tp, fn
        Members called members, and those missed.
    fp, tn
        Non-members called members, and those that were not.
    delta
        In [0, 1).
    confidence
        Level of the bound.

    Returns
    -------
    float
        At least 0. Never infinite: see :func:`epsilon_ceiling`. A bound on the mechanism's epsilon if each count is of an
        independent training, an empirical epsilon-equivalent if they are records of one model.

    Raises
    ------
    DataError
        If the counts are impossible or a side is empty.
    PlanError
        If delta or the confidence is out of range.
    """
    delta = checked_delta(delta)
    tpr_low, fpr_high = rate_bounds(tp, fn, fp, tn, confidence)
    return max(0.0, float(log_ratio(np.float64(tpr_low), np.float64(fpr_high), delta)))


def mu_from_rates(tp: int, fn: int, fp: int, tn: int, confidence: float = 0.95) -> float:
    """Lower bound on mu of Gaussian DP from one operating point, fixed before these counts were seen.

    mu >= Phi^-1(1 - FPR_high) - Phi^-1(FNR_high) (Nasr et al. 2023), with the bounds of :func:`epsilon_from_rates`. It
    holds if the mechanism's trade-off curve is Gaussian, as that of DP-SGD with many steps nearly is; else it is an
    estimate. :func:`~miaudit.stats.epsilon_from_mu` makes an epsilon of it.

    Parameters
    ----------
    tp, fn, fp, tn, confidence
        As in :func:`epsilon_from_rates`.

    Returns
    -------
    float
        At least 0, finite.

    Raises
    ------
    DataError
        If the counts are impossible or a side is empty.
    PlanError
        If the confidence is out of range.
    """
    tpr_low, fpr_high = rate_bounds(tp, fn, fp, tn, confidence)
    return max(0.0, float(gaussian_shift(np.float64(tpr_low), np.float64(fpr_high))))


def epsilon_ceiling(n_in: int, n_out: int, delta: float, confidence: float = 0.95) -> float:
    """Largest bound :func:`epsilon_from_rates` can give with so many members and non-members: that of no error at all.

    Print it beside the bound: a bound at its ceiling says that the sample ended, not that the leak did.

    Parameters
    ----------
    n_in, n_out
        Members and non-members, at least one each.
    delta, confidence
        As in :func:`epsilon_from_rates`.

    Returns
    -------
    float
        At least 0.

    Raises
    ------
    DataError
        If a side is empty.
    PlanError
        If delta or the confidence is out of range.
    """
    return epsilon_from_rates(n_in, 0, 0, n_out, delta, confidence)


def epsilon_credible(
    tp: int,
    fn: int,
    fp: int,
    tn: int,
    delta: float,
    confidence: float = 0.95,
    *,
    draws: int = 200_000,
    seed: int = 0,
) -> Interval:
    """Bayesian interval of epsilon at one operating point.

    After Zanella-Béguelin et al. (2023): with Jeffreys' prior, FNR ~ Beta(fn + 1/2, tp + 1/2) and, independently,
    FPR ~ Beta(fp + 1/2, tn + 1/2); epsilon is the smallest one whose region holds (FPR, FNR). Our deviation: an attack
    worse than chance counts as epsilon 0 and is not turned round, as the direction of a score is part of the attack.

    Parameters
    ----------
    tp, fn, fp, tn, delta
        As in :func:`epsilon_from_rates`.
    confidence
        Posterior mass inside the interval, the same left out on each side.
    draws
        Pairs of rates drawn from the posterior, at least 1000.
    seed
        Of the draws.

    Returns
    -------
    Interval
        Posterior median and ends. Narrower than exact bounds, and no DP bound: it is right on average over the prior,
        not for every mechanism.

    Raises
    ------
    DataError
        If the counts are impossible or a side is empty.
    PlanError
        If delta, the confidence or the number of draws is out of range.
    """
    delta, tail = checked_delta(delta), (1.0 - checked_confidence(confidence)) / 2
    tp, fn, fp, tn = checked_rates(tp, fn, fp, tn)
    if draws < 1000:
        raise PlanError(f"draws must be at least 1000 to place the ends of an interval, got {draws}; 200000 is usual")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    fpr, fnr = rng.beta(fp + 0.5, tn + 0.5, draws), rng.beta(fn + 0.5, tp + 0.5, draws)  # (draws,) each
    smallest = np.finfo(np.float64).tiny  # a draw may round to 0
    with np.errstate(divide="ignore"):
        steep = np.log(np.maximum(1 - delta - fnr, 0)) - np.log(np.maximum(fpr, smallest))
        flat = np.log(np.maximum(1 - delta - fpr, 0)) - np.log(np.maximum(fnr, smallest))
    epsilon = np.maximum(np.maximum(steep, flat), 0.0)
    low, value, high = np.quantile(epsilon, [tail, 0.5, 1 - tail])
    return Interval(float(value), float(low), float(high))


def rate_bounds(tp: int, fn: int, fp: int, tn: int, confidence: float) -> tuple[float, float]:
    """Return (TPR_low, FPR_high), which both hold at this confidence."""
    tp, fn, fp, tn = checked_rates(tp, fn, fp, tn)
    return clopper_pearson(tp, tp + fn, confidence)[0], clopper_pearson(fp, fp + tn, confidence)[1]


def log_ratio(tpr_low: Floats | np.float64, fpr_high: Floats | np.float64, delta: float) -> Floats:
    """Return the bound on epsilon, not yet cut at 0; -inf where the rates allow none."""
    with np.errstate(divide="ignore"):
        steep = np.log(np.maximum(tpr_low - delta, 0)) - np.log(fpr_high)
        flat = np.log(np.maximum(1 - fpr_high - delta, 0)) - np.log(1 - tpr_low)
    return np.asarray(np.maximum(steep, flat))


def gaussian_shift(tpr_low: Floats | np.float64, fpr_high: Floats | np.float64) -> Floats:
    """Return the bound on mu, not yet cut at 0; -inf where the rates allow none."""
    return np.asarray(ndtri(tpr_low) - ndtri(fpr_high))


def checked_rates(tp: int, fn: int, fp: int, tn: int) -> tuple[int, int, int, int]:
    """Return the four counts as ints, or raise DataError if they are impossible or a side is empty."""
    counts = tuple(checked_count(name, k) for name, k in (("tp", tp), ("fn", fn), ("fp", fp), ("tn", tn)))
    if not counts[0] + counts[1] or not counts[2] + counts[3]:
        raise DataError(
            f"rates need members and non-members, got tp={tp}, fn={fn}, fp={fp}, tn={tn}; "
            "tp + fn and fp + tn must be at least 1"
        )
    return counts[0], counts[1], counts[2], counts[3]


def checked_count(name: str, value: float) -> int:
    """Return a whole number of at least 0, or raise DataError."""
    if isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value) and value >= 0:
        count = int(value)
        if count == value:
            return count
    raise DataError(f"{name} must be a whole number of at least 0, got {literal(value)}")
