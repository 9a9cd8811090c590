"""One-sided ends of a result's figures at any level, from what the result holds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from miaudit import stats
from miaudit.result import AreaSpread, AttackResult, BystanderFigures


class Ends(NamedTuple):
    """A figure, its lower end with one error, and its upper end with another.

    ``unscored`` is how much of the upper end is there for records that could not be scored.
    """

    value: float
    low: float
    high: float
    unscored: float = 0.0

    def raised(self, unscored: float) -> Ends:
        """Return the ends where records that could not be scored may add so much to the figure."""
        return self._replace(high=min(1.0, self.high + unscored), unscored=unscored)


def unscored_area(missing: int, members: int, nonmembers: int) -> float:
    """Return what so many records may add to an area: they carry the median, and each may be told for sure."""
    return missing / min(members, nonmembers) / 2


class Errors(NamedTuple):
    """Error of the lower end, on which a failure rests, and of the upper end, on which a pass does."""

    low: float
    high: float


def area_ends(value: float, members: int, nonmembers: int, spread: AreaSpread, errors: Errors) -> Ends:
    """Return the ends of an area."""
    wide = stats.Spread(
        math.inf if spread.inflation is None else spread.inflation,
        math.inf if spread.freedom is None else spread.freedom,
        spread.units,
    )
    low, high = (
        stats.auc_score_interval(value, members, nonmembers, confidence=1 - 2 * error, spread=wide) for error in errors
    )
    return Ends(value, low.low, high.high)


def attack_area(attack: AttackResult, errors: Errors) -> Ends | None:
    """Return the ends of an attack's AUC in its unit; None where the result does not hold what they need.

    Records that could not be scored carry the median. In the upper end each counts as if it told its side for sure.
    """
    basis = attack.basis
    if attack.area is None or basis is None:
        return None
    ends = area_ends(attack.area, basis.members, basis.nonmembers, basis.spread, errors)
    return ends.raised(unscored_area(attack.missing, basis.members, basis.nonmembers))


def rate_ends(attack: AttackResult, fpr: float, errors: Errors) -> Ends | None:
    """Return the ends of the TPR at a rate below 1/2; None where there is no curve in counts.

    In the upper end records that could not be scored count as members above the threshold.
    """
    basis = attack.basis
    if basis is None or basis.curve is None:
        return None
    counts = stats.RankCounts(*map(np.array, (basis.curve.ranks, basis.curve.allowed, basis.curve.above)))
    value = counts.allowed[np.searchsorted(counts.ranks, fpr * basis.nonmembers + 1e-9, side="right") - 1]
    low, high = stats.tpr_ends(counts, basis.members, fpr, low_error=errors.low, high_error=errors.high)
    return Ends(int(value) / basis.members, low, high).raised(attack.missing / basis.members)


def excess_low(figures: BystanderFigures | None, error: float) -> float | None:
    """Return the lower end of what an attack finds beyond bystanders; None where the result does not hold it."""
    if figures is None or figures.less.value is None or figures.deviation is None or not figures.freedom:
        return None
    return stats.AreaDifference(figures.less.value, figures.deviation, figures.freedom).interval(1 - 2 * error).low
