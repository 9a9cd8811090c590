"""The controls that every attack runs beside."""

from __future__ import annotations

from typing import Literal

from miaudit.documents import Count, Document, Fraction
from miaudit.result.figures import Excess, Interval


class NullControl(Document):
    """The same attack, every membership shuffled: it must come out at chance.

    Where the first shuffle does not, memberships are shuffled once more, independently: ``shuffles`` is then 2, ``first_auc``
    what the first one gave, and ``auc``, ``accuracy`` and ``at_chance`` are of the second. ``at_chance`` is false only where
    both failed, and null, with ``reason``, where so few are counted that no failure would show.
    """

    attack: str
    auc: Interval
    accuracy: Fraction | None
    at_chance: bool | None
    reason: str | None = None
    shuffles: Count = 1
    first_auc: Interval | None = None


class BlindControl(Document):
    """Whether members can be told from non-members by the raw records alone, without any model.

    ``confounded``: the interval excludes 1/2, above (the sides differ) or below (they are matched, or share near copies).
    ``features`` names the function of the user's whose features of the records were read in their place. ``classes``: nothing
    but the classes of the records was at hand, and these differ between the sides.
    """

    method: str
    auc: Interval
    confounded: bool | None
    reason: str | None = None
    features: str | None = None
    classes: bool = False

    @property
    def subject(self) -> Literal["records", "classes"]:
        """What of the data was read, in a word."""
        return "classes" if self.classes else "records"

    @property
    def read(self) -> str:
        """What was read, in the plural."""
        if self.classes:
            return "classes of the records"
        return "raw records" if self.features is None else f"features of the records by {self.features!r}"


class PatternControl(Document):
    """Whether what gives the class away in members' records is the same as in non-members', without any model.

    ``members`` and ``nonmembers`` are the shares of records, none of them learned from, whose class a linear learner of
    members' records tells right, ``by_nonmembers`` those of a learner of non-members' records. ``excess`` is the difference
    of the first two less that of the others, with its interval at ``confidence``: a gap between the sides that this
    learner shows without memorising any record. ``confounded``: the interval lies above 0; ``side`` then says whose
    records carry a pattern that depends on the class and that the others lack.
    """

    method: str
    members: Fraction | None = None
    nonmembers: Fraction | None = None
    by_nonmembers: tuple[Fraction, Fraction] | None = None
    excess: Excess
    confidence: Fraction
    side: Literal["members", "nonmembers", "both"] | None = None
    confounded: bool | None
    reason: str | None = None


class BystanderControl(Document):
    """The same attack on ``models`` that were trained on none of the audited records: ``auc`` is the mean of their areas.

    ``attack`` is the one that leads the result, or else the first that could be run on them; every attack's own figures
    are in ``attacks[].bystander``. ``tell_sides`` names the attacks that tell the sides apart on such models, ``unchecked``
    those that could not be run on them. ``auc`` is null, with ``reason``, where there are none.
    """

    auc: Fraction | None
    low: Fraction | None = None
    high: Fraction | None = None
    reason: str | None = None
    attack: str | None = None
    models: Count = 0
    tell_sides: list[str] = []
    unchecked: list[str] = []


class Controls(Document):
    """The controls every audit runs.

    ``null`` is that of the 2017 attack, or the first there is; one that is not at chance comes before it. ``nulls`` are those
    of the other attacks that learn from memberships of shadow rows. ``bystander`` and ``pattern`` are null in older results.
    """

    null: NullControl | None
    nulls: list[NullControl] = []
    baseline: str
    blind: BlindControl
    pattern: PatternControl | None = None
    bystander: BystanderControl | None = None
