"""Levels of the claims of an audit, and the smallest leak it would have claimed."""

from __future__ import annotations

from miaudit import stats
from miaudit.result import DetectableTpr, Power

CONFIDENCE = 0.95
FPRS = (0.1, 0.01, 0.001)


def power(n_in: int, n_out: int, *, attacks: int = 1, bystanders: int = 0) -> Power:
    """Return the smallest leak that so many members and non-members would have shown in an audit of so many attacks.

    Where an attack must find more on the target than on bystanders, their number counts.
    """
    each = stats.levels(attacks, confidence=CONFIDENCE)
    area = stats.detectable_auc(n_in, n_out, confidence=1 - 2 * each.above, others=bystanders)
    shares = stats.ranks_of(n_out)
    rates = []
    for fpr in FPRS:
        level = each.few * shares[min(int(fpr * n_out), n_out - 1)]
        rate = stats.detectable_exposed(n_in, n_out, fpr, confidence=1 - level, others=bystanders)
        rates.append(DetectableTpr.of(rate, fpr=fpr))
    return Power.of(
        area,
        auc=area.value,
        bystanders=bystanders,
        exposed=stats.detectable_share(n_in, n_out, confidence=1 - each.few, others=bystanders).value,
        tpr=rates,
    )
