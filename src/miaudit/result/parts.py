"""The leak in parts of the records, and whether the risk of single records can be believed."""

from __future__ import annotations

from miaudit.documents import Count, Document, Fraction, Signed
from miaudit.result.basis import AreaSpread
from miaudit.result.figures import Bounded, Interval


class GroupFigures(Document):
    """What the headline attack finds in one group; null with a reason where a side is empty.

    ``spread`` is what gives the interval at other levels; null in older results.
    """

    group: str
    members: Count
    nonmembers: Count
    auc: Interval
    above_chance: bool | None
    spread: AreaSpread | None = None


class Grouping(Document):
    """The leak in every group of a column: the classes, or values of a column the plan names.

    Intervals are at ``confidence``, so corrected for the number of groups and of groupings that all of them hold
    together at the audit's level: the worst group stands out by chance in at most one audit of twenty. ``caution`` says why
    a group above chance is no leak by itself, where the sides differ without any.
    """

    column: str
    attack: str
    confidence: Fraction
    groups: list[GroupFigures]
    caution: str | None = None


class ShadowStability(Bounded):
    """How far an attack ranks the records alike with two disjoint halves of its shadows: mean, least and largest."""

    attack: str
    scorings: Count
    spearman: Signed | None
    low: Signed | None
    high: Signed | None
    reason: str | None = None


class Coverage(Document):
    """Who is among the top ``share`` of the scores: by every attack, and by any, and how many of those are members."""

    share: Fraction
    records: Count
    in_every: Count
    members_in_every: Count
    in_any: Count
    members_in_any: Count


class Stability(Document):
    """Whether the risk of single records can be believed: over shadow models, and over attacks.

    ``attack`` is the one whose ranks stand in records.csv; ``pairs`` are Spearman's rank correlations of two attacks.
    """

    attack: str
    shadows: list[ShadowStability]
    attacks: list[str]
    pairs: list[tuple[str, str, Signed | None]]
    coverage: list[Coverage]
    left_out: list[str] = []
