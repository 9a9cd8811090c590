"""What an audit of several attacks may claim of each: the one rule of verdicts, and of the benchmark that measures them."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from miaudit.errors import PlanError
from miaudit.stats.auc import auc, auc_score_interval, auc_spread
from miaudit.stats.precedence import Precedence, precedence
from miaudit.stats.rates import checked_confidence
from miaudit.stats.roc import sides

FEW, BELOW = 0.4, 0.1
"""Shares of an audit's error: for a few exposed members, and for AUCs below 1/2; the rest is for AUCs above."""


class Levels(NamedTuple):
    """One-sided levels of the three claims about one attack; over all attacks they add up to the audit's error."""

    above: float
    few: float
    below: float


class Corrected(NamedTuple):
    """An AUC with its interval at a level that holds for all attacks together."""

    value: float
    low: float
    high: float
    confidence: float


class Claims(NamedTuple):
    """What one attack claims of its scores, at levels that hold for all attacks together.

    ``above_chance`` and ``below_chance``: its AUC lies above, or below, 1/2. ``above_chance_at_low_fpr``: more members than
    chance allows lie above the highest non-members, by the test ``exposed``; both None where scores are no independent
    draws. ``auc_corrected`` is the AUC with its two-sided interval at twice the level of ``above_chance``.
    """

    above_chance: bool
    below_chance: bool
    above_chance_at_low_fpr: bool | None
    auc_corrected: Corrected
    exposed: Precedence | None

    @property
    def any(self) -> bool:
        """Whether anything is claimed."""
        return self.above_chance or self.below_chance or bool(self.above_chance_at_low_fpr)


def levels(attacks: int = 1, *, confidence: float = 0.95) -> Levels:
    """Share the error of an audit among the claims about each of its attacks (Bonferroni)."""
    if attacks < 1:
        raise PlanError(f"attacks must be at least 1, got {attacks}")
    error = (1 - checked_confidence(confidence)) / attacks
    return Levels((1 - FEW - BELOW) * error, FEW * error, BELOW * error)


def claims(
    in_scores: ArrayLike,
    out_scores: ArrayLike,
    in_people: ArrayLike | None = None,
    out_people: ArrayLike | None = None,
    *,
    attacks: int = 1,
    confidence: float = 0.95,
) -> Claims:
    """Say what one attack's scores claim.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members, higher = member.
    in_people, out_people
        The person of each record, where people have several: the AUC's interval then is as wide as they make it, and the
        test for a few is left out, as it needs independent draws.
    attacks
        How many attacks the audit runs. Exchangeable members and non-members give any claim by any of them in at most one
        audit of twenty.
    confidence
        One minus the error of the whole audit.

    Raises
    ------
    DataError
        If a side is empty or holds NaN.
    PlanError
        If the number of attacks or the confidence is out of range.
    """
    each = levels(attacks, confidence=confidence)
    people: dict[str, Any] = {} if in_people is None else {"in_people": in_people, "out_people": out_people}
    inside, outside = sides(in_scores, out_scores)
    spread, value = auc_spread(inside, outside, **people), auc(inside, outside)
    area, wider = (
        auc_score_interval(value, len(inside), len(outside), confidence=1 - 2 * level, spread=spread)
        for level in (each.above, each.below)
    )
    test = None if people else precedence(inside, outside, level=each.few)
    return Claims(
        above_chance=area.low > 0.5,
        below_chance=wider.high < 0.5,
        above_chance_at_low_fpr=None if test is None else test.p_value <= each.few,
        auc_corrected=Corrected(*area, 1 - 2 * each.above),
        exposed=test,
    )
