"""Which attack leads the result: one that was named before any figure was known, so that its plain interval holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from miaudit.result import AttackResult, highest, named_beforehand

_STRONGEST = "the strongest documented attack for such answers and shadow models, named before any figure was known"
_FIRST = (
    "the first attack in order, as the strongest documented one for such answers and shadow models was not run or has no "
    "figures"
)


class Headline(NamedTuple):
    """Name of the attack that leads, why it does, and name of the one of the highest AUC; None where no attack has an AUC."""

    attack: str | None
    reason: str | None
    highest: str | None


def headline_of(results: Sequence[AttackResult]) -> Headline:
    """Choose by what was known before any score: the flag ``strongest``, or else the order of the attacks."""
    lead, top = named_beforehand(results), highest(results)
    if lead is None or top is None:
        return Headline(None, None, None)
    return Headline(lead.name, _STRONGEST if lead.strongest else _FIRST, top.name)
