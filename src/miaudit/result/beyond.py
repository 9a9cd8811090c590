"""Whose claims bystanders, models that were trained on neither side, leave standing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from miaudit.result.attack import AttackResult


class Beyond(NamedTuple):
    """Attacks that find more on the target than on bystanders: by AUC, by a few exposed members; or less, upside down."""

    above: list[AttackResult]
    few: list[AttackResult]
    below: list[AttackResult]


def beyond_bystanders(ran: Sequence[AttackResult]) -> Beyond:
    """Return whose claims bystanders leave standing.

    An attack that could not be run on bystanders keeps its claim where no other attack tells the sides apart on them. Where
    one does, and the target is not like them, the sides may differ more on the target without a leak: a claim then
    stands only where its AUC lies beyond all that any attack may find on bystanders.
    """
    figures = [r.bystander for r in ran if r.bystander is not None and r.checked]
    shifted = any(each.tells_sides for each in figures)
    ends = [
        0.0 if end is None else end for f in figures for end in (f.auc.low, f.auc.high)
    ]  # no end: no limit is known
    most = max((abs(end - 0.5) for end in ends), default=0.0)

    def stands(result: AttackResult, claim: bool | None, name: str) -> bool:
        if not result.checked:
            return bool(claim) and not shifted
        beyond = bool(claim is not False and getattr(result.bystander, name))
        return beyond and (
            not shifted or bool(result.bystander and result.bystander.alike) or _exceeds(result, name, most)
        )

    return Beyond(
        [r for r in ran if stands(r, r.above_chance if not r.checked else None, "above")],
        [r for r in ran if stands(r, bool(r.above_chance_at_low_fpr), "few")],
        [r for r in ran if stands(r, bool(r.below_chance), "below")],
    )


def _exceeds(result: AttackResult, name: str, most: float) -> bool:
    """Whether the AUC lies further from 1/2 than ``most``, by its corrected interval."""
    area = result.auc_corrected
    if area is None or area.low is None or area.high is None:
        return False
    return {"above": area.low > 0.5 + most, "below": area.high < 0.5 - most}.get(name, False)
