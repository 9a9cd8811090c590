"""How grave a leak is, in words that the ends of intervals carry: what was shown at least, and may be at most.

The words stand for areas under the ROC curve, which read as pairs of a member and a non-member that an attack tells right: a
leak is *small* below 60 of 100 pairs, *considerable* below 75, and *grave* from there on. An attacker who can name a tenth of
the members, nine of ten rightly, makes it grave, and one of a hundred considerable, whatever the average is.
"""

from __future__ import annotations

from typing import NamedTuple

from miaudit.result import Interval, Result

WORDS = ("small", "considerable", "grave")
_AREAS = (0.6, 0.75)
_NAMED = (0.01, 0.1)


class Gravity(NamedTuple):
    """The word for what was shown at least, and for what may be at most; ``by_names``: the first rests on who can be named."""

    least: str
    most: str
    by_names: bool = False

    def __str__(self) -> str:
        if self.least == self.most:
            return self.least
        return f"at least {self.least}, at most {self.most}"


def gravity(result: Result) -> Gravity | None:
    """Return how grave the leak of the verdict is; None where the verdict claims no leak by an AUC.

    Where attacks tell the sides apart on models trained on neither side, what they find beyond that counts, alone.
    """
    area = leak_of(result)
    if area is None or area.low is None or area.high is None:
        return None
    least, most = (_step(end, _AREAS) for end in (area.low, area.high))
    share = _named_at_least(result)
    by_names = _step(share, _NAMED) > least if share is not None else False
    if by_names and share is not None:
        least = _step(share, _NAMED)
    return Gravity(WORDS[least], WORDS[max(least, most)], by_names)


def leak_of(result: Result) -> Interval | None:
    """Return the AUC that the verdict claims, less what models trained on neither side show where the sides differ."""
    finding = result.finding
    if finding is None or finding.kind != "leak" or finding.attack is None or finding.figure is None:
        return None
    figures = result.attack(finding.attack).bystander
    less = None if figures is None or not figures.tells_sides else figures.less
    if less is None or less.value is None or less.low is None or less.high is None:
        return finding.figure
    value, low, high = (min(max(0.5 + each, 0.0), 1.0) for each in (less.value, less.low, less.high))
    return Interval(value=value, low=low, high=high)


def at_most(area: float) -> str:
    """Return the word for a leak of at most such an AUC."""
    return WORDS[_step(area, _AREAS)]


def _step(value: float, limits: tuple[float, float]) -> int:
    return sum(value >= limit for limit in limits)


def _named_at_least(result: Result) -> float | None:
    """Return the share of the members that can at least be named; None where nothing holds for it."""
    list_ = result.accusations
    return None if list_ is None or list_.caution is not None else list_.share_low
