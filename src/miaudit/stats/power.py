"""The smallest leak that so many records could have shown: what stands beside every "not detected".

A leak is a shift here: members' scores are N(d, 1), non-members' N(0, 1), up to any rising change of scale. Another
shape of the same area, such as a few memorised records, may be harder to see by the AUC and easier by the TPR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri, owens_t, stdtrit

from miaudit.errors import DataError, PlanError, counted
from miaudit.stats.epsilon import checked_count
from miaudit.stats.paired import freedom_of, widening
from miaudit.stats.rates import checked_confidence
from miaudit.stats.roc import cuts
from miaudit.stats.root import root


@dataclass(frozen=True)
class Detectable:
    """Smallest true value that is reported as a leak with probability ``power``; None, with a reason, if none is."""

    value: float | None
    n_in: int
    n_out: int
    confidence: float
    power: float
    reason: str | None = None


def detectable_auc(
    n_in: int, n_out: int, *, confidence: float = 0.95, power: float = 0.8, others: int = 0
) -> Detectable:
    """Smallest true AUC whose interval (:func:`~miaudit.stats.auc_interval`) lies above 1/2 with this power.

    Solves auc - 1/2 = z_confidence sd(1/2) + z_power sd(auc), with the exact variance of the Mann-Whitney area under a
    shift (Hanley and McNeil 1982, the probability that one record beats two by Owen's T) and normal quantiles. Where the area
    must exceed that of M other models (:func:`~miaudit.stats.auc_excess`), sd is larger and z_confidence is Student's. What
    all models have in common of the records lowers sd, so that the power then is higher.

    Parameters
    ----------
    n_in, n_out
        Members and non-members, at least one each. From about 15 a side the power is met within five points.
    confidence
        Level of the interval; corrected for the number of attacks where the audit corrects it.
    power
        Probability of a report, in [0.5, 1).
    others
        Models whose mean area the interval is compared with in place of 1/2; 0: none.

    Returns
    -------
    Detectable
        A value in (0.5, 1), or None where even a shift without limit would go unseen.

    Raises
    ------
    DataError
        If a side is empty.
    PlanError
        If the confidence or the power is out of range.
    """
    n_in, n_out, confidence, power = checked_sizes(n_in, n_out, confidence, power)
    quantile = stdtrit(freedom_of(others, n_in, n_out), (1 + confidence) / 2) if others else ndtri((1 + confidence) / 2)
    null_part = float(quantile) * (widening(others) if others else 1.0) * _shift_sd(0.0, n_in, n_out)
    separated = ((1 - confidence) / 2) ** (1 / min(n_in, n_out))  # low end at an area of 1
    if null_part >= 0.5 or separated <= 0.5:
        reason = f"with {counted(n_in, 'member')} and {counted(n_out, 'non-member')} not even an AUC of 1 can be told from 0.5"
        return Detectable(None, n_in, n_out, confidence, power, reason)
    z, wider = float(ndtri(power)), (1 + 1 / others) ** 0.5 if others else 1.0

    def lack(h: float) -> float:
        return null_part + z * wider * _shift_sd(h, n_in, n_out) - (float(ndtr(h)) - 0.5)

    return Detectable(float(ndtr(root(lack, 0.0, 8.0))), n_in, n_out, confidence, power)


def detectable_tpr(n_in: int, n_out: int, fpr: float, *, confidence: float = 0.95, power: float = 0.8) -> Detectable:
    """Smallest true TPR at this FPR whose interval (:func:`~miaudit.stats.tpr_at_fpr`) lies above the FPR with this power.

    That interval counts the members above a rank of the non-members' scores. The true FPR at a rank follows a Beta law, the
    members above it a binomial one; the power is the mean over the first of the tail of the second, exact for a shift up
    to quadrature.

    Parameters
    ----------
    n_in, n_out
        Members and non-members, at least one each.
    fpr
        The false-positive rate, a fraction in (0, 1).
    confidence, power
        As in :func:`detectable_auc`.

    Returns
    -------
    Detectable
        A TPR above ``fpr``, or None where so few records cannot show any at this rate.

    Raises
    ------
    DataError
        If a side is empty.
    PlanError
        If the rate, the confidence or the power is out of range.
    """
    n_in, n_out, confidence, power = checked_sizes(n_in, n_out, confidence, power)
    if not 0.0 < fpr < 1.0:
        raise PlanError(f"fpr must lie between 0 and 1, both excluded, got {fpr}; write 0.1 % as 0.001")
    from scipy.stats import binom  # not at the top: it takes half a second, and workers that train do without

    rank, most = cuts(n_out, fpr, confidence)[0]  # non-members above the threshold of the interval's low end
    if rank < 0:
        reason = f"{counted(n_out, 'non-member')} cannot bound an FPR by {fpr:g}"
        return Detectable(None, n_in, n_out, confidence, power, reason)
    least = int(binom.isf(most, n_in, fpr)) + 1  # members found from which their exact low end is above fpr
    if least > n_in:
        reason = f"{counted(n_in, 'member')} cannot show a TPR above {fpr:g}, not even if all are found"
        return Detectable(None, n_in, n_out, confidence, power, reason)
    middles = (np.arange(400) + 0.5) / 400
    reached = ndtri(betaincinv(rank + 1, n_out - rank, middles))  # (400,) equally likely true FPRs, as normal deviates

    def lack(mu: float) -> float:
        return power - float(np.mean(binom.sf(least - 1, n_in, ndtr(reached + mu))))

    mu = root(lack, 0.0, 80.0)
    return Detectable(float(ndtr(ndtri(fpr) + mu)), n_in, n_out, confidence, power)


def _shift_sd(h: float, n_in: int, n_out: int) -> float:
    """Return the standard deviation of the area when it truly is Phi(h) by a shift of h sqrt(2)."""
    area = float(ndtr(h))
    both = area - 2 * float(owens_t(h, 1 / np.sqrt(3)))  # one record beats two others, whose scores it is correlated by
    variance = area * (1 - area) + (n_in + n_out - 2) * (both - area * area)
    return float(np.sqrt(max(variance, 0.0) / (n_in * n_out)))


def checked_sizes(n_in: int, n_out: int, confidence: float, power: float) -> tuple[int, int, float, float]:
    """Return the arguments of a question of power, or raise."""
    n_in, n_out = checked_count("n_in", n_in), checked_count("n_out", n_out)
    if min(n_in, n_out) < 1:
        raise DataError(f"power needs records on both sides, got n_in={n_in} and n_out={n_out}")
    if not 0.5 <= power < 1.0:
        raise PlanError(f"power must lie in [0.5, 1), got {power}; 0.8 is usual")
    return n_in, n_out, checked_confidence(confidence), float(power)
