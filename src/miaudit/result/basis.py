"""What intervals at any level can be computed from: sizes, the spread of an area, and a ROC curve in counts."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from miaudit.documents import Count, Document

Positive = Annotated[int, Field(ge=1)]


class AreaSpread(Document):
    """How much wider the interval of an area is than that of independent, evenly spread records (`miaudit.stats.auc_spread`).

    ``inflation`` is the factor on the variance, null where one unit tells nothing of it; ``freedom`` its degrees of freedom,
    null where records are independent and spread evenly; ``units`` the independent units of the smaller side.
    """

    inflation: Annotated[float, Field(ge=1)] | None
    freedom: Annotated[float, Field(gt=0)] | None
    units: Positive


class RankCounts(Document):
    """Members by rank of the non-members, a ROC curve in counts (`miaudit.stats.rank_counts`).

    ``allowed`` members are above the loosest threshold with at most ``ranks`` non-members, ``above`` score higher than the
    non-member of that rank, from the highest, with ties broken by lot. Some ranks are left out.
    """

    ranks: list[Count]
    allowed: list[Count]
    above: list[Count]

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        if not len(self.ranks) == len(self.allowed) == len(self.above) or self.ranks[:1] != [0]:
            raise ValueError("a curve has one allowed and one above for each of its ranks, from rank 0 on")
        if any(a >= b for a, b in pairwise(self.ranks)):
            raise ValueError("ranks rise")
        if any(a > b for counts in (self.allowed, self.above) for a, b in pairwise(counts)):
            raise ValueError("members above falling thresholds do not become fewer")
        return self


class Basis(Document):
    """What the figures of an attack rest on, in counts: whoever reads the result has every interval at a level of their own.

    ``members`` and ``nonmembers`` were scored, in the attack's unit; ``spread`` gives the intervals of their AUC.
    ``curve`` gives the bounds of their TPR; null where scores are no independent draws, as exact bounds need.
    """

    members: Positive
    nonmembers: Positive
    spread: AreaSpread
    curve: RankCounts | None

    @model_validator(mode="after")
    def _counts_all(self) -> Self:
        curve = self.curve
        if curve is not None and (curve.ranks[-1], curve.allowed[-1]) != (self.nonmembers, self.members):
            raise ValueError("a curve ends at the numbers of non-members and members")
        return self
