"""Which attack leads the result: one that was named before any figure was known, so that its plain interval holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from miaudit.result import AttackResult, highest, named_beforehand

_STRONGEST = "the strongest documented attack for such answers and shadow models, named before any figure was known"
_FIRST = (
    "the first attack in order, as the strongest documented one for such answers and shadow models was not run or has no "
    "figures"
)


class Headline(NamedTuple):
    """The attack that leads, why it does, and the one of the highest AUC; None where no attack has an AUC."""

    attack: AttackResult | None
    reason: str | None
    highest: AttackResult | None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a result."""
        names = (None if each is None else each.name for each in (self.attack, self.highest))
        return dict(zip(("headline", "highest"), names, strict=True), headline_reason=self.reason)


def headline_of(results: Sequence[AttackResult]) -> Headline:
    """Choose by what was known before any score: the flag ``strongest``, or else the order of the attacks."""
    lead = named_beforehand(results)
    reason = None if lead is None else _STRONGEST if lead.strongest else _FIRST
    return Headline(lead, reason, highest(results))
