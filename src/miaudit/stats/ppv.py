"""What an accusation is worth where members are rarer than in the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from miaudit.errors import DataError, PlanError
from miaudit.stats.epsilon import checked_rates
from miaudit.stats.rates import checked_confidence, clopper_pearson

PRIORS = (0.01, 0.1, 0.5)


@dataclass(frozen=True)
class Ppv:
    """Probability that a record called a member is one, if a share ``prior`` of all records are members.

    ``value`` is None, with a reason, where nobody was called a member.
    """

    prior: float
    value: float | None
    low: float
    high: float
    reason: str | None = None


def ppv(
    tp: int,
    fn: int,
    fp: int,
    tn: int,
    *,
    rank: int | None = None,
    priors: Sequence[float] = PRIORS,
    confidence: float = 0.95,
) -> tuple[Ppv, ...]:
    """Positive predictive value of an attack's decisions under several priors.

    prior TPR / (prior TPR + (1 - prior) FPR). It rises in the TPR and falls in the FPR, so that exact bounds on both, each
    end at a quarter of the error, bound it.

    Parameters
    ----------
    tp, fn, fp, tn
        Counts at a threshold that was not chosen on them, or that is a rank of the non-members.
    rank
        Where the threshold lies strictly above the (rank + 1)-th largest of the non-members: the false positives it allows,
        at least ``fp``, which is less where scores are tied. The true FPR there is Beta(rank + 1, n_out - rank), or less
        where they are tied, so that its bound is that of ``rank`` false positives and its estimate (fp + 1) / (n_out + 1): an
        FPR of 0 is what nobody has seen, even where no non-member was accused.
    priors
        Shares of members among the records an attacker would try, each in (0, 1).
    confidence
        Level of each interval.

    Returns
    -------
    tuple of Ppv
        One for each prior, in their order.

    Raises
    ------
    DataError
        If the counts or the rank are impossible or a side is empty.
    PlanError
        If a prior or the confidence is out of range.
    """
    tp, fn, fp, tn = checked_rates(tp, fn, fp, tn)
    each = 1.0 - (1.0 - checked_confidence(confidence)) / 2
    tpr_low, tpr_high = clopper_pearson(tp, tp + fn, each)
    n_out, tpr = fp + tn, tp / (tp + fn)
    fpr_low, fpr_high = clopper_pearson(fp, n_out, each)
    fpr = fp / n_out
    if rank is not None:
        if not fp <= rank < n_out:
            raise DataError(
                f"rank must lie between fp and the number of non-members, {fp} <= rank < {n_out}, got {rank}"
            )
        fpr_high, fpr = clopper_pearson(rank, n_out, each)[1], (fp + 1) / (n_out + 1)
    values = []
    for prior in priors:
        if not 0.0 < prior < 1.0:
            raise PlanError(f"a prior must lie between 0 and 1, both excluded, got {prior}; write 1 % as 0.01")
        low, high = _share(prior, tpr_low, fpr_high), _share(prior, tpr_high, fpr_low)
        if tp + fp:
            values.append(Ppv(float(prior), _share(prior, tpr, fpr), low, high))
        else:
            values.append(Ppv(float(prior), None, low, high, "no record was called a member"))
    return tuple(values)


def _share(prior: float, tpr: float, fpr: float) -> float:
    return prior * tpr / (prior * tpr + (1 - prior) * fpr)
