"""How many records show that an attack is no better than guessing, within a margin: what stands beside "inconclusive".

An attack is shown to stay below a margin where the upper end of its one-sided interval lies below it. Where all of several
attacks must, each test keeps the whole error (intersection-union; Berger 1982), and all of them hold together only with
the product of their powers. The sizes here are for exchangeable scores, and as if attacks were independent: attacks on the
same records go together, and then fewer do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from miaudit.errors import PlanError
from miaudit.stats.auc import newcombe_variance
from miaudit.stats.rates import checked_confidence
from miaudit.stats.roc import cuts

_MOST = 10_000_000


def auc_size(margin: float, *, tests: int = 1, confidence: float = 0.95, power: float = 0.8) -> int | None:
    """Return the records a side with which the AUCs of all attacks lie below a margin, where scores are exchangeable.

    Solves margin - 1/2 = z_confidence sd(margin) + z_power sd(1/2) with the variance of Newcombe (2006, method 5), as
    :func:`~miaudit.stats.auc_interval` has it.

    Parameters
    ----------
    margin
        An area above 1/2.
    tests
        Attacks that must all lie below it.
    confidence
        One minus the error of the one-sided end.
    power
        Probability that all of them do.

    Returns
    -------
    int or None
        About so many members, and as many non-members; None where ten million are too few.

    Raises
    ------
    PlanError
        If an argument is out of range.
    """
    if not 0.5 < margin <= 1.0:
        raise PlanError(f"margin must lie above 0.5 and be at most 1, got {margin}")
    level, each = _levels(tests, confidence, power)

    def enough(n: int) -> bool:
        width = ndtri(level) * newcombe_variance(min(margin, 1 - 1e-9), n, n) ** 0.5
        return bool(width + ndtri(each) * newcombe_variance(0.5, n, n) ** 0.5 < margin - 0.5)

    return _smallest(enough)


@lru_cache(maxsize=64)
def tpr_size(fpr: float, margin: float, *, tests: int = 1, confidence: float = 0.95, power: float = 0.8) -> int | None:
    """Return the records a side with which the TPRs at a rate of all attacks lie below a margin, where scores are exchangeable.

    The upper end is that of :func:`~miaudit.stats.tpr_at_fpr`. Members above a rank of the non-members are beta-binomial.

    Parameters
    ----------
    fpr, margin
        The false-positive rate, and a TPR above it.
    tests, confidence, power
        As of :func:`auc_size`.

    Raises
    ------
    PlanError
        If an argument is out of range.
    """
    if not 0.0 < fpr < margin <= 1.0:
        raise PlanError(f"margin must lie above the rate and be at most 1, got {margin} at a rate of {fpr}")
    level, each = _levels(tests, confidence, power)
    from scipy.stats import (
        betabinom,
        binom,
    )  # not at the top: it takes half a second, and workers that train do without

    def enough(n: int) -> bool:
        rank, below = cuts(n, fpr, 2 * level - 1)[1]
        if rank > n:
            return False
        most = (
            int(binom.ppf(below, n, margin)) - 1
        )  # members above the rank from whose exact upper end the margin is out of reach
        return most >= 0 and bool(betabinom.cdf(most, n, rank, n - rank + 1) >= each)

    return _smallest(enough)


def guesses_size(share: float, *, confidence: float = 0.95, power: float = 0.8) -> int | None:
    """Return the guesses with which the upper end of the share of right ones lies below a margin, where each is a coin flip.

    Parameters
    ----------
    share
        The margin, a share above 1/2.
    confidence, power
        As of :func:`auc_size`.

    Raises
    ------
    PlanError
        If an argument is out of range.
    """
    if not 0.5 < share <= 1.0:
        raise PlanError(f"share must lie above 0.5 and be at most 1, got {share}")
    level, each = _levels(1, confidence, power)
    from scipy.stats import binom  # as above

    def enough(n: int) -> bool:
        most = int(binom.ppf(1 - level, n, share)) - 1
        return most >= 0 and bool(binom.cdf(most, n, 0.5) >= each)

    return _smallest(enough)


def _levels(tests: int, confidence: float, power: float) -> tuple[float, float]:
    """Return the level of each one-sided end, and the power of each test."""
    if tests < 1:
        raise PlanError(f"tests must be at least 1, got {tests}")
    if not 0.5 <= power < 1.0 or checked_confidence(confidence) < 0.5:
        raise PlanError(f"power must lie in [0.5, 1) and confidence be at least 0.5, got {power} and {confidence}")
    return float(confidence), float(np.power(power, 1 / tests))


def _smallest(enough: Callable[[int], bool]) -> int | None:
    """Return the smallest size that is enough, of those between powers of two; None beyond ten million."""
    size = 2
    while not enough(size):
        size *= 2
        if size > _MOST:
            return None
    low, high = size // 2, size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
