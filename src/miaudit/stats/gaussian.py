"""Gaussian differential privacy: from mu to (epsilon, delta) and back, and the ROC curve that either one allows.

A mechanism is mu-GDP if telling one data set from its neighbour is at least as hard as telling N(0, 1) from N(mu, 1)
(Dong, Roth and Su 2022). Many steps of DP-SGD come close to it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfcx, log_ndtr, ndtr, ndtri

from miaudit.errors import PlanError
from miaudit.stats.root import root

Floats = NDArray[np.float64]


def delta_from_mu(mu: float, epsilon: float) -> float:
    """Smallest delta for which mu-GDP implies (epsilon, delta)-DP.

    Dong, Roth and Su (2022), corollary 2.13: delta = Phi(-eps/mu + mu/2) - e^eps Phi(-eps/mu - mu/2). Computed through
    the scaled complementary error function, in which e^eps cancels: no overflow, and no loss of digits in the tail.

    Parameters
    ----------
    mu
        Parameter of the Gaussian curve, finite, at least 0.
    epsilon
        At least 0.

    Returns
    -------
    float
        In [0, 1); 0.0 at mu = 0, and where it is smaller than the smallest number.

    Raises
    ------
    PlanError
        If mu or epsilon is negative, infinite or NaN.
    """
    mu, epsilon = _at_least_zero("mu", mu), _at_least_zero("epsilon", epsilon)
    return float(np.exp(_log_delta(mu, epsilon)))


def epsilon_from_mu(mu: float, delta: float) -> float:
    """Smallest epsilon for which mu-GDP implies (epsilon, delta)-DP: the inverse of :func:`delta_from_mu` in epsilon.

    Parameters
    ----------
    mu
        Parameter of the Gaussian curve, finite, at least 0.
    delta
        In (0, 1): at delta = 0 a Gaussian curve has no finite epsilon.

    Returns
    -------
    float
        At least 0; found by bracketing, to about 12 digits.

    Raises
    ------
    PlanError
        If mu or delta is out of range.
    """
    mu, delta = _at_least_zero("mu", mu), checked_delta(delta, positive=True)
    log_delta = float(np.log(delta))
    if _log_delta(mu, 0.0) <= log_delta:
        return 0.0
    above = mu * (mu / 2 - float(ndtri(delta)))  # the first term of delta alone is as small as delta here
    return root(lambda epsilon: _log_delta(mu, epsilon) - log_delta, 0.0, above * (1 + 1e-9), xtol=1e-13)


def mu_from_epsilon(epsilon: float, delta: float) -> float:
    """Largest mu for which mu-GDP implies (epsilon, delta)-DP: the inverse of :func:`delta_from_mu` in mu.

    Parameters
    ----------
    epsilon
        Finite, at least 0.
    delta
        In [0, 1).

    Returns
    -------
    float
        At least 0; 0.0 at delta = 0, as no Gaussian curve but the trivial one is (epsilon, 0)-DP.

    Raises
    ------
    PlanError
        If epsilon or delta is out of range.
    """
    epsilon, delta = _at_least_zero("epsilon", epsilon), checked_delta(delta)
    if delta == 0.0:
        return 0.0
    low = 2 * float(ndtri((1 + delta) / 2))  # the answer at epsilon = 0: delta = 2 Phi(mu / 2) - 1
    if epsilon == 0.0:
        return low
    log_delta, high = float(np.log(delta)), max(2 * low, 1.0)
    while _log_delta(high, epsilon) < log_delta:
        high *= 2
    return root(lambda mu: _log_delta(mu, epsilon) - log_delta, low / 2, high, xtol=1e-13)


def tpr_ceiling_gdp(fpr: ArrayLike, mu: float) -> Floats:
    """Largest TPR any attack can have at these FPRs against a mu-GDP mechanism: Phi(Phi^-1(fpr) + mu).

    Parameters
    ----------
    fpr
        False-positive rates, fractions in [0, 1], any shape.
    mu
        Parameter of the Gaussian curve, finite, at least 0.

    Returns
    -------
    array
        Of fpr's shape.

    Raises
    ------
    PlanError
        If an FPR or mu is out of range.
    """
    return np.asarray(ndtr(ndtri(_fractions(fpr)) + _at_least_zero("mu", mu)), dtype=np.float64)


def tpr_ceiling_dp(fpr: ArrayLike, epsilon: float, delta: float) -> Floats:
    """Largest TPR any attack can have at these FPRs against an (epsilon, delta)-DP mechanism.

    Kairouz, Oh and Viswanath (2015): min(e^eps fpr + delta, 1 - e^-eps (1 - delta - fpr)), at most 1.

    Parameters
    ----------
    fpr
        False-positive rates, fractions in [0, 1], any shape.
    epsilon
        Finite, at least 0.
    delta
        In [0, 1).

    Returns
    -------
    array
        Of fpr's shape.

    Raises
    ------
    PlanError
        If an FPR, epsilon or delta is out of range.
    """
    rates, delta = _fractions(fpr), checked_delta(delta)
    epsilon = min(_at_least_zero("epsilon", epsilon), 700.0)  # e^700 is past every rate that is no zero
    steep = np.exp(epsilon) * rates + delta
    return np.asarray(np.minimum(np.minimum(steep, 1 - np.exp(-epsilon) * (1 - delta - rates)), 1.0))


def checked_delta(delta: float, *, positive: bool = False) -> float:
    """Return delta, or raise PlanError if it is not in [0, 1), or not in (0, 1) where it must be positive."""
    if not 0.0 <= delta < 1.0:
        raise PlanError(f"delta must lie in [0, 1), got {delta}; usual is less than one over the number of records")
    if positive and delta == 0.0:
        raise PlanError(
            "delta must be positive here: a Gaussian curve has no finite epsilon at delta = 0; 1e-5 is usual"
        )
    return float(delta)


def _log_delta(mu: float, epsilon: float) -> float:
    """Return log delta; with x = eps/mu -+ mu/2 both terms share the factor exp(-x-^2 / 2) / 2."""
    if mu == 0.0:
        return -np.inf
    near, far = (epsilon / mu - mu / 2) / np.sqrt(2), (epsilon / mu + mu / 2) / np.sqrt(2)
    if near < 0:  # erfcx would overflow; there is nothing to lose here, as the first term is at least 1/2
        return float(np.log(ndtr(-near * np.sqrt(2)) - 0.5 * np.exp(-near * near) * erfcx(far)))
    gap = float(erfcx(near) - erfcx(far))
    # for a tiny mu the gap drowns in rounding: the first term alone is then too large, never too small
    return float(np.log(gap / 2) - near * near) if gap > 0 else float(log_ndtr(-near * np.sqrt(2)))


def _at_least_zero(name: str, value: float) -> float:
    if not 0.0 <= value < np.inf:
        raise PlanError(f"{name} must be finite and at least 0, got {value}")
    return float(value)


def _fractions(fpr: ArrayLike) -> Floats:
    rates = np.asarray(fpr, dtype=np.float64)
    if not bool(((rates >= 0) & (rates <= 1)).all()):
        raise PlanError(f"fpr must hold fractions in [0, 1], got {fpr!r}; write 0.1 % as 0.001")
    return rates
