"""Bounds on epsilon from a single training run, with canaries that were each included by a fair coin flip.

Of m canaries, known before training, each is put into the training data with probability 1/2, independently. An attack
that has not seen the coins scores them all, guesses "in" for the highest and "out" for the lowest, and abstains from the
rest. How often it guesses right bounds the privacy of the training. The numbers of guesses must be fixed in advance: the
best of several is no bound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, expit, logit, ndtr, ndtri

from miaudit.errors import DataError, counted
from miaudit.stats.epsilon import checked_count
from miaudit.stats.gaussian import checked_delta, epsilon_from_mu
from miaudit.stats.rates import checked_confidence
from miaudit.stats.roc import sides
from miaudit.stats.root import root


class Guesses(NamedTuple):
    """How an attack fared on ``m`` canaries: ``guesses`` made, ``correct`` among them."""

    m: int
    guesses: int
    correct: int


def one_run_guesses(
    in_scores: ArrayLike, out_scores: ArrayLike, *, k_in: int, k_out: int = 0, seed: int = 0
) -> Guesses:
    """Guess "in" for the ``k_in`` canaries of highest score and "out" for the ``k_out`` of lowest, and count hits.

    Parameters
    ----------
    in_scores, out_scores
        Scores of the canaries that were put into the training data and of those held out, higher = member.
    k_in, k_out
        Guesses of either kind, fixed before the scores were seen. For a leak that a few canaries show strongly, take
        few.
    seed
        Breaks ties at random, so that the order of the arrays, which tells the sides apart, cannot.

    Returns
    -------
    Guesses
        For :func:`epsilon_one_run` and :func:`epsilon_one_run_fdp`.

    Raises
    ------
    DataError
        If a side is empty or not finite, or there are more guesses than canaries.
    """
    inside, outside = sides(in_scores, out_scores)
    k_in, k_out = checked_count("k_in", k_in), checked_count("k_out", k_out)
    scores, truth = np.concatenate([inside, outside]), np.arange(len(inside) + len(outside)) < len(inside)
    m = len(scores)
    if k_in + k_out > m:
        raise DataError(
            f"{k_in} + {counted(k_out, 'guess', 'guesses')} are more than the {counted(m, 'canary', 'canaries')}; ask "
            f"for at most {m} in all"
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    rising = truth[np.lexsort((rng.permutation(m), scores))]  # (m,) lowest score first
    return Guesses(m, k_in + k_out, int((~rising[:k_out]).sum() + rising[m - k_in :].sum()))


def epsilon_one_run(m: int, r: int, v: int, delta: float, confidence: float = 0.95) -> float:
    """Lower bound on epsilon from one training run.

    Steinke, Nasr and Jagielski (2023): under (epsilon, delta)-DP the chance of v or more right guesses of r is
    at most beta + 2 m delta alpha, with q = 1 / (1 + e^-eps), beta = P[Bin(r, q) >= v] and
    alpha = max over i = 1..v of P[v > Bin(r, q) >= v - i] / i. The bound is the largest epsilon this rejects. At delta = 0
    that is the log-odds of the exact one-sided bound on q.

    Parameters
    ----------
    m
        Canaries whose inclusion was decided by a coin flip.
    r, v
        Guesses made, and right ones among them.
    delta
        In [0, 1).
    confidence
        Level of the bound.

    Returns
    -------
    float
        At least 0. A lower bound on the epsilon of the training, whatever the mechanism.

    Raises
    ------
    DataError
        If the counts are impossible.
    PlanError
        If delta or the confidence is out of range.
    """
    m, r, v = _checked_guesses(m, r, v)
    delta, level = checked_delta(delta), 1.0 - checked_confidence(confidence)
    if v == 0:
        return 0.0
    above = float(logit(betaincinv(v, r - v + 1, level)))  # the bound at delta = 0
    if above <= 0.0 or delta == 0.0:
        return max(0.0, above)

    def excess(epsilon: float) -> float:
        return _chance_of(v, r, float(expit(epsilon)), 2 * m * delta) - level

    return 0.0 if excess(0.0) > 0 else root(excess, 0.0, above + 1e-9, xtol=1e-12)


def epsilon_one_run_fdp(m: int, guesses: int, correct: int, delta: float, confidence: float = 0.95) -> float:
    """Lower bound on epsilon from one training run of a mechanism with a Gaussian trade-off curve.

    The bound on mu of :func:`mu_one_run_fdp`, made an epsilon at delta by :func:`~miaudit.stats.epsilon_from_mu`.

    Parameters
    ----------
    m, guesses, correct, confidence
        As in :func:`mu_one_run_fdp`.
    delta
        In (0, 1): at delta = 0 a Gaussian curve has no finite epsilon.

    Returns
    -------
    float
        At least 0. A bound for Gaussian-like mechanisms (DP-SGD of many steps), an estimate for others.

    Raises
    ------
    DataError
        If the counts are impossible.
    PlanError
        If delta or the confidence is out of range.
    """
    delta = checked_delta(delta, positive=True)
    return epsilon_from_mu(mu_one_run_fdp(m, guesses, correct, confidence), delta)


def mu_one_run_fdp(m: int, guesses: int, correct: int, confidence: float = 0.95) -> float:
    """Lower bound on mu of Gaussian DP from one training run.

    Mahloujifar, Melis and Chaudhuri (2024), for membership (two choices): for a curve with blow-up inverse
    F(x) = Phi(Phi^-1(x) - mu), walk down from the number of right guesses; the curve is rejected if the mass it needs
    exceeds guesses / m. The bound is the largest mu rejected.

    Parameters
    ----------
    m
        Canaries whose inclusion was decided by a coin flip.
    guesses, correct
        Guesses made, and right ones among them.
    confidence
        Level of the bound.

    Returns
    -------
    float
        At least 0; to within 1e-9, from below.

    Raises
    ------
    DataError
        If the counts are impossible.
    PlanError
        If the confidence is out of range.
    """
    m, guesses, correct = _checked_guesses(m, guesses, correct)
    level = 1.0 - checked_confidence(confidence)
    if not _gaussian_curve_rejected(0.0, m, guesses, correct, level):
        return 0.0
    low, high = 0.0, 1.0
    while _gaussian_curve_rejected(high, m, guesses, correct, level):
        low, high = high, 2 * high
    while high - low > 1e-9:
        middle = (low + high) / 2
        if _gaussian_curve_rejected(middle, m, guesses, correct, level):
            low = middle
        else:
            high = middle
    return low


def _chance_of(v: int, r: int, q: float, weight: float) -> float:
    """Return beta + weight * alpha, at least the chance of v or more right guesses of r."""
    from scipy.stats import binom  # not at the top: it takes half a second, and workers that train do without

    # alpha is the largest running mean of the mass at v-1, v-2, ...; the mass falls below its mean soon after its mode,
    # and so does the running mean: ten standard deviations below the mode there is nothing left to look at
    lowest = max(0, min(v - 1, int(r * q - 10 * np.sqrt(r * q * (1 - q)) - 10)))
    below = np.arange(v - 1, lowest - 1, -1)  # (v - lowest,)
    alpha = float((np.cumsum(binom.pmf(below, r, q)) / np.arange(1, len(below) + 1)).max())
    return float(binom.sf(v - 1, r, q)) + weight * alpha


def _gaussian_curve_rejected(mu: float, m: int, guesses: int, correct: int, level: float) -> bool:
    """Say whether the mass needed for ``correct`` right guesses exceeds what there is; it only grows on the way."""
    available = guesses / m
    right, wrong = level * correct / m, level * (guesses - correct) / m
    for i in range(correct - 1, -1, -1):
        if right + wrong > available:
            return True
        mass = float(ndtr(ndtri(right) - mu))
        if mass <= wrong:  # nothing changes from here on
            return False
        right += i / (guesses - i) * (mass - wrong)
        wrong = mass
    return right + wrong > available


def _checked_guesses(m: int, guesses: int, correct: int) -> tuple[int, int, int]:
    m = checked_count("the number of canaries", m)
    guesses = checked_count("the number of guesses", guesses)
    correct = checked_count("the number of right guesses", correct)
    if not 1 <= guesses <= m or correct > guesses:
        raise DataError(
            f"got {counted(m, 'canary', 'canaries')}, {counted(guesses, 'guess', 'guesses')} and "
            f"{counted(correct, 'right one')}; there must be at least one guess, "
            "no more guesses than canaries, and no more right ones than guesses"
        )
    return m, guesses, correct
