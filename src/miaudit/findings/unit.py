"""The unit of privacy: who is counted, and which scores a statistic of independent draws may read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit import stats
from miaudit.errors import DataError, PlanError, counted, misfits
from miaudit.evidence import Bools, Ints
from miaudit.seeds import child_seed

UnitName = Literal["person", "record"]
Scores = NDArray[np.float64]

_QUESTION: dict[UnitName, str] = {
    "record": "Question: was this record{known} among the records the target was trained on?",
    "person": "Question: are the records of this person{known} among those the target was trained on, all of them or none?",
}
_KNOWN = {
    ("record", "class"): ", whose true class is known,",
    ("person", "class"): ", whose true classes are known,",
    ("record", "value"): ", whose true value is known,",
    ("person", "value"): ", whose true values are known,",
}
DEPENDENT = "records of one person are no independent draws, so that no exact bound holds for their rates"
_UNEQUAL = 0.8  # share of the records that figures per person rest on, below which a reader is told


def question(unit: UnitName, *, answer_kind: Literal["class", "value"] | None = "class") -> str:
    """Return what an audit asks, as a sentence; ``known``: what is known of a record beside itself."""
    return _QUESTION[unit].replace("{known}", "" if answer_kind is None else _KNOWN[unit, answer_kind])


class Sides(NamedTuple):
    """Scores of members and of non-members, and whose they are."""

    inside: Scores
    outside: Scores
    in_people: Ints | None = None
    out_people: Ints | None = None

    def interval(self, confidence: float) -> stats.Interval:
        """Return the area under their ROC curve, its interval as wide as people make it."""
        return stats.auc_interval(
            self.inside, self.outside, in_people=self.in_people, out_people=self.out_people, confidence=confidence
        )


@dataclass(frozen=True, eq=False)
class Unit:
    """What is counted, split, shuffled and bounded: people, or records.

    Parameters
    ----------
    name
        What verdict and controls read. ``"person"`` needs ``people``, none of them on both sides.
    people
        (n,) the person of each audited record; None where they are not known.
    counted
        (n,) bool: which records count. Copies of a record, or of a person, on their own side do not.
    both_sides
        How many people have records on both sides; then there are no figures per person.
    warnings
        What a reader must know of all this.
    """

    name: UnitName
    people: Ints | None
    counted: Bools
    both_sides: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def dependent(self) -> bool:
        """Whether some person has several records."""
        return self.people is not None and len(np.unique(self.people)) < len(self.people)

    def records(self, score: Scores, member: Bools) -> Sides:
        """Return the scores of the records that count."""
        inside, outside = member & self.counted, ~member & self.counted
        if self.people is None:
            return Sides(score[inside], score[outside])
        return Sides(score[inside], score[outside], self.people[inside], self.people[outside])

    def persons(self, score: Scores, member: Bools, *, seed: int) -> Sides | None:
        """Return one score a person; None where people are not known, or somebody is on both sides."""
        if self.people is None or self.both_sides:
            return None
        inside, outside = member & self.counted, ~member & self.counted
        each = stats.person_scores(
            *(score[inside], score[outside], self.people[inside], self.people[outside]),
            seed=child_seed(seed, "records of a person"),
        )
        return Sides(each.inside, each.outside)

    def independent(self, score: Scores, member: Bools, *, seed: int) -> Sides | None:
        """Return the scores of independent draws, for statistics that need them; None where records of people are counted."""
        if self.name == "person":
            return self.persons(score, member, seed=seed)
        return None if self.dependent else Sides(*self.records(score, member)[:2])

    def judged(self, score: Scores, member: Bools, *, seed: int) -> Sides:
        """Return the scores whose area the verdict reads."""
        return self.independent(score, member, seed=seed) or self.records(score, member)

    def size(self, member: Bools) -> tuple[int, int]:
        """Return how many members and non-members are counted: people where they are known, else records."""
        sides = (member & self.counted, ~member & self.counted)
        if self.people is None:
            return int(sides[0].sum()), int(sides[1].sum())
        return len(np.unique(self.people[sides[0]])), len(np.unique(self.people[sides[1]]))

    def people_a_side(self, member: Bools) -> dict[str, int] | None:
        """Return how many people count on each side, where they are known."""
        return None if self.people is None else dict(zip(("members", "nonmembers"), self.size(member), strict=True))


class Accuracies(NamedTuple):
    """A target's accuracies on members and on non-members, with exact intervals where one holds."""

    train_accuracy: stats.Rate
    test_accuracy: stats.Rate


def accuracies(correct: Bools, member: Bools, unit: Unit) -> Accuracies:
    """Return the share of right answers on both sides among what counts, ``correct`` and ``member`` both (n,)."""
    confidence = None if unit.dependent else 0.95
    sides = (member & unit.counted, ~member & unit.counted)
    return Accuracies(*(stats.rate(int(correct[of].sum()), int(of.sum()), confidence) for of in sides))


def unit_of(
    member: Bools,
    *,
    people: ArrayLike | None = None,
    contents: ArrayLike | None = None,
    name: UnitName | None = None,
) -> Unit:
    """Decide what is counted.

    Parameters
    ----------
    member
        (n,) who is a member.
    people
        (n,) the person of each record, where known.
    contents
        (n,) hash of each record and its class, where known: exact copies on their own side count once.
    name
        What the user asks for; default: people where they are known and nobody is on both sides, else records.

    Raises
    ------
    PlanError
        If people are to be counted and are not known, or some are on both sides.
    """
    if name is not None and (problems := misfits(("data.unit", name, UnitName))):
        raise PlanError(problems)
    if people is None and name == "person":
        text = 'is "person", and nothing says whose the records are; name data.group'
        raise PlanError([("data.unit", text)])
    of: Ints | None = None
    both, warnings = 0, []
    if people is not None:
        of = stats.numbered(people)
        if of.shape != member.shape:
            raise DataError(f"people must be named for each of {len(member):,} audited records, got {len(of):,}")
        both = stats.on_both_sides(of, member)
    shared = counted(both, "person has", "people have")
    if both and name == "person":
        raise PlanError(
            [
                (
                    "data.unit",
                    f'is "person", and {shared} records among members and non-members: they are neither. Keep all '
                    'records of a person on one side, or set data.unit = "record"',
                )
            ]
        )
    if both:
        warnings.append(
            f"{shared} records among members and among non-members, so people cannot be told apart and records "
            "are counted; intervals of the AUC allow for whose they are, other rates have none."
        )
    copy = np.zeros(len(member), bool) if contents is None or both else stats.copies(contents, of, member)
    if copy.any():
        warnings.append(_of_copies(copy, of, member))
    unit = Unit(name or ("record" if of is None or both else "person"), of, ~copy, both)
    warnings += _of_counts(unit, member)
    return Unit(unit.name, of, ~copy, both, tuple(warnings))


def _of_copies(copy: Bools, people: Ints | None, member: Bools) -> str:
    of_members, of_others = int((copy & member).sum()), int((copy & ~member).sum())
    whom = "members" if people is None else "people who are members"
    return (
        f"{counted(of_members, 'record')} of {whom} and {of_others:,} of non-members are exact copies of others on their side. "
        "They are no further "
        "draws, and are left out of all figures and controls; each stands in records.csv."
    )


def _of_counts(unit: Unit, member: Bools) -> list[str]:
    """Return a warning where one side has many more records a person than the other."""
    if unit.people is None or unit.both_sides:
        return []
    counts: list[Any] = [
        np.unique(unit.people[side & unit.counted], return_counts=True)[1] for side in (member, ~member)
    ]
    used = stats.equal_counts(*counts)
    if sum(int(each.sum()) for each in used) >= _UNEQUAL * sum(int(each.sum()) for each in counts):
        return []
    return [
        f"Members have {counts[0].mean():.1f} records each, non-members {counts[1].mean():.1f}. So that the number is no sign "
        "of membership, figures per person rest on as many records on both sides, drawn at random. What goes with the number "
        "may still differ between the sides."
    ]
