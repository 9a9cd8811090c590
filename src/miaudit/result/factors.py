"""What leaks go with: how the target answers members and non-members, and which classes leak more than others."""

from __future__ import annotations

from typing import Literal

from miaudit.documents import Count, Document, Fraction, Signed
from miaudit.result.figures import Bounded


class MeanOfSide(Bounded):
    """A mean over the records of one side with its normal interval, a share with its exact one.

    There is none where records are no independent draws.
    """

    value: float
    low: float | None
    high: float | None


class SideFactor(Document):
    """A mean of the target's answers to members and to non-members.

    ``confidence`` is the probability of the true class, ``entropy`` that of the answer as a share of the largest there is, and
    ``right`` the share of right answers.
    """

    factor: Literal["confidence", "entropy", "right"]
    members: MeanOfSide
    nonmembers: MeanOfSide


class ClassFactors(Document):
    """One class: its share of the members, the target's gap in it, and the mean entropy of the answers to its non-members.

    ``auc`` is that of the attack that leads, on its records; null where one side is empty.
    """

    class_: str
    share: Fraction
    gap: Signed | None
    entropy: Fraction | None
    auc: Fraction | None


class Association(Bounded):
    """Spearman's rank correlation over ``classes`` classes of a factor and the AUC; Fisher's approximate interval."""

    factor: Literal["share", "gap", "entropy"]
    classes: Count
    value: Signed | None
    low: Signed | None
    high: Signed | None
    reason: str | None = None


class Factors(Document):
    """What leaks go with, on this target; what goes with a leak need not cause it.

    ``classes`` holds the largest ones; ``associations`` are over all that have an AUC and the factor.
    """

    sides: list[SideFactor]
    classes: list[ClassFactors]
    associations: list[Association]
