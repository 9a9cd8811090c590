"""What the audit claims of each attack, as its result holds it, and the smallest leak it would have claimed."""

from __future__ import annotations

from typing import Any

from miaudit import stats
from miaudit.findings.unit import Sides
from miaudit.result import CorrectedInterval, DetectableTpr, Exposed, Power

CONFIDENCE = 0.95
FPRS = (0.1, 0.01, 0.001)


def claimed(sides: Sides, *, attacks: int) -> dict[str, Any]:
    """Return the fields of an attack's result that say what it claims, of so many attacks (`miaudit.stats.claims`)."""
    claims = stats.claims(*sides, attacks=attacks, confidence=CONFIDENCE)
    area = claims.area
    return {
        "above_chance": claims.above,
        "below_chance": claims.below,
        "above_chance_at_low_fpr": claims.few,
        "auc_corrected": CorrectedInterval(
            value=area.value, low=area.low, high=area.high, confidence=1 - 2 * claims.levels.above
        ),
        "exposed": None if claims.exposed is None else _exposed(claims.exposed, claims.levels.few),
    }


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
        rates.append(stats.detectable_exposed(n_in, n_out, fpr, confidence=1 - level, others=bystanders))
    return Power(
        power=area.power,
        confidence=1 - 2 * each.above,
        auc=area.value,
        reason=area.reason,
        bystanders=bystanders,
        exposed=stats.detectable_share(n_in, n_out, confidence=1 - each.few, others=bystanders).value,
        tpr=[
            DetectableTpr(fpr=fpr, value=rate.value, reason=rate.reason) for fpr, rate in zip(FPRS, rates, strict=True)
        ],
    )


def _exposed(test: stats.Precedence, level: float) -> Exposed:
    alpha = level * stats.ranks_of(test.n_out)[test.rank]
    least = stats.critical_count(test.n_in, test.n_out, test.rank, alpha=alpha)
    return Exposed(
        above=test.above,
        rank=test.rank,
        n_in=test.n_in,
        n_out=test.n_out,
        p_value=test.p_value,
        level=level,
        most=test.n_in if least is None else least - 1,
    )
