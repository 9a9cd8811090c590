"""DeletionCase: which records were deleted and how, and who stands beside them, made of an ordinary case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.attacks import RMIA, Attack, Calibration, LiRA
from miaudit.auditing.case import Case
from miaudit.data import read_index, same_records
from miaudit.data.records import select_records
from miaudit.errors import PlanError, SplitError, counted
from miaudit.plan import UnlearningPlan
from miaudit.recipes import Recipe, function_of_file
from miaudit.seeds import child_seed, generator
from miaudit.shadows.design import group_numbers, whole_groups
from miaudit.targets import Target
from miaudit.unlearning.procedures import Mask, OwnFunction, Procedure, chosen_procedure
from miaudit.unlearning.unlearned import Unlearned

Ints = NDArray[np.int64]

ATTACKS: tuple[Attack, ...] = (LiRA(), RMIA(mode="online"), Calibration())
"""What a deletion audit runs unless told: attacks that judge each record by itself, beside the floors."""
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class DeletionCase:
    """What a deletion audit is of.

    Parameters
    ----------
    case
        The ordinary case: its members are the deleted records, then those that stay and are audited; its non-members as many
        that were never trained on, then further ones to compare the latter with; its population what shadow models may use.
    training
        All that the target was trained on.
    procedure
        How records are deleted.
    deleted, never
        How many of the members were deleted, and how many of the non-members they are compared with.
    before
        The target before the deletion, where both are given.
    oracles
        Models that are trained without the deleted records.
    removed
        Number of the class that was removed; None: records were.
    document
        What was asked for.
    receipts
        Deletions that are checked bit for bit; None: as the procedure allows.
    """

    case: Case
    training: Ints
    procedure: Procedure
    deleted: int
    never: int
    before: Target | None
    oracles: int
    removed: int | None
    document: Mapping[str, Any]
    receipts: int | None = None

    @property
    def audited(self) -> Ints:
        """(n,) all audited records: members, then non-members."""
        return np.concatenate([self.case.split.members, self.case.split.nonmembers])

    @property
    def forget(self) -> Ints:
        """The deleted records."""
        return self.case.split.members[: self.deleted]

    @property
    def rest(self) -> Ints:
        """What the target was trained on and kept."""
        return self.training[~np.isin(self.training, self.forget)]

    @property
    def pair(self) -> tuple[Ints, Ints]:
        """Positions among the audited records of the deleted ones, and of those never trained on."""
        start = len(self.case.split.members)
        return np.arange(self.deleted), np.arange(start, start + self.never)

    @property
    def others(self) -> tuple[Ints, Ints]:
        """The same of records that stay, and of those never trained on that they are compared with."""
        members, nonmembers = len(self.case.split.members), len(self.case.split.nonmembers)
        return np.arange(self.deleted, members), np.arange(members + self.never, members + nonmembers)

    @property
    def recipe(self) -> Unlearned:
        """How models are trained and made to forget."""
        return Unlearned(self.case.recipe, self.procedure)


def deletion_case(
    case: Case,
    options: UnlearningPlan,
    *,
    forget: ArrayLike | None = None,
    procedure: Any = None,
    before: Target | None = None,
) -> DeletionCase:
    """Return the deletion audit of a case.

    Parameters
    ----------
    case
        Members are all that the target was trained on.
    options
        A plan's section ``[unlearning]``.
    forget
        Numbers of the deleted records in the case's data set, in place of what the section says.
    procedure
        In place of the section's: a procedure, a name, a table, or a function.
    before
        The model before the deletion.

    Raises
    ------
    PlanError, SplitError
        If the deleted records are none, all, or not among those trained on, or the procedure does not fit.
    """
    if case.dataset.values is not None:
        raise PlanError([("recipe.task", "is a regression; deletion audits are of models that answer classes")])
    if case.shadows.data != "real":
        raise PlanError(
            [("shadows.data", f"is {case.shadows.data!r}; a deletion audit trains shadow models on real records")]
        )
    way = _procedure(options) if procedure is None else chosen_procedure(procedure)
    _refuse_unfit(way, case.recipe, options)
    case = replace(case, recipe=way.trains(case.recipe))
    training, split = case.split.training, case.split
    removed = None if options.remove is None else _class(case, options.remove)
    gone = _forgotten(case, options, forget, removed)
    nonmembers, seed = split.untrained, child_seed(case.seed, "deletion")
    candidates, others = _compared(case, nonmembers, removed)
    never = _drawn(case, candidates, len(gone), seed, "never")
    spare = np.concatenate([candidates[~np.isin(candidates, never)], others])
    rest = training[~np.isin(training, gone)]
    theirs = _of_the_same(case, rest, gone)
    most = len(gone) if options.kept is None else options.kept
    usable = spare if removed is None else spare[case.dataset.y[spare] != removed]
    most = min(most, len(rest) - int(theirs.sum()), len(usable))
    stay, beside = _drawn(case, rest[~theirs], most, seed, "kept"), _drawn(case, usable, most, seed, "beside")
    audited = np.concatenate([gone, stay, never, beside])
    further = [split.population, spare, *([rest] if split.population_from == "members" else [])]
    new = replace(
        split,
        members=np.concatenate([gone, stay]),
        nonmembers=np.concatenate([never, beside]),
        population=_population(case, further, audited, removed),
        population_from=None,
    )
    notes = (*case.notes, *_copies(case, gone, rest), *_remains(int(theirs.sum())))
    return DeletionCase(
        case=replace(case, split=new, notes=notes),
        training=training,
        procedure=way,
        deleted=len(gone),
        never=len(never),
        before=before,
        oracles=options.oracles,
        removed=removed,
        document=_document(options, way),
        receipts=options.receipts,
    )


def _population(case: Case, further: Sequence[Ints], audited: Ints, removed: int | None) -> Ints:
    """Return the records that shadow models may be trained on beside the audited: none of a class that is removed."""
    pool = np.unique(np.concatenate(further))
    pool = pool[~np.isin(pool, audited)]
    return pool if removed is None else pool[case.dataset.y[pool] != removed]


def _document(options: UnlearningPlan, procedure: Procedure) -> dict[str, Any]:
    """Return what was asked for, as a plan may say it: a function stands in the place of a procedure."""
    document = options.model_dump()
    if options.function is not None:
        del document["procedure"]
        return document
    return {**document, "procedure": {"name": procedure.name, **procedure.options}}


def _compared(case: Case, nonmembers: Ints, removed: int | None) -> tuple[Ints, Ints]:
    """Return the non-members that deleted records can be compared with, all unless a class was removed, and the others."""
    if removed is None:
        return nonmembers, nonmembers[:0]
    of_class = case.dataset.y[nonmembers] == removed
    if not of_class.any():
        raise SplitError(
            f"no record of the class {case.dataset.classes[removed]!r} is among the "
            f"{counted(len(nonmembers), 'non-member')}, so the "
            "deleted ones can be compared with none: give non-members of it"
        )
    return nonmembers[of_class], nonmembers[~of_class]


def unlearned(recipe: Recipe, options: UnlearningPlan, procedure: Any = None) -> Unlearned:
    """Return a recipe whose models forget records by a procedure, or as a plan's section says.

    Raises
    ------
    PlanError
        If there is no such procedure, or it does not fit the recipe.
    """
    way = _procedure(options) if procedure is None else chosen_procedure(procedure)
    _refuse_unfit(way, recipe, options)
    return Unlearned(way.trains(recipe), way)


def _procedure(options: UnlearningPlan) -> Procedure:
    if options.function is not None:
        return OwnFunction(function_of_file(options.function), options.function)
    return chosen_procedure(options.procedure)


def _refuse_unfit(procedure: Procedure, recipe: Recipe, options: UnlearningPlan) -> None:
    if problem := procedure.problem(recipe):
        raise PlanError([("unlearning.procedure", problem)])
    if isinstance(procedure, Mask) and options.remove is None:
        raise PlanError(
            [("unlearning.procedure", "mask removes the output of a class: give unlearning.remove, not forget")]
        )
    if options.receipts and not procedure.by_the_same_seed:
        problem = (
            "compare a deletion with training on what stays by the same seed, which "
            f"{procedure.name!r} is not to give: leave it out, or delete by recipe, sisa or class-sisa"
        )
        raise PlanError([("unlearning.receipts", problem)])


def _class(case: Case, name: str) -> int:
    names = list(case.dataset.classes)
    if name not in names:
        raise PlanError([("unlearning.remove", f"{name!r} is no class of the data; there are {', '.join(names[:20])}")])
    return names.index(name)


def _forgotten(case: Case, options: UnlearningPlan, forget: ArrayLike | None, removed: int | None) -> Ints:
    """Return the deleted records, or refuse them."""
    training, y = case.split.training, case.dataset.y
    if removed is not None:
        gone = training[y[training] == removed]
        if not len(gone):
            raise SplitError(
                f"no record of the class {options.remove!r} is among the {counted(len(training), 'training record')}: "
                "there is nothing to remove"
            )
    elif forget is not None:
        gone = np.asarray(forget, np.int64)
    elif isinstance(options.forget, str):
        gone = read_index(options.forget, len(case.dataset))
    elif options.forget is None:
        raise PlanError(
            [
                (
                    "unlearning.forget",
                    "missing: how many members were deleted, a file of their record numbers, or remove, a class",
                )
            ]
        )
    else:
        members = case.split.members
        if not 0 < options.forget < len(training):
            raise PlanError(
                [("unlearning.forget", f"must be from 1 to {len(training) - 1}, fewer than the {len(training):,} training "
                  f"records; got {options.forget}")]
            )  # fmt: skip
        gone = _drawn(case, members, options.forget, child_seed(case.seed, "deletion"), "forget")
        if len(gone) > options.forget:
            problem = (
                f"is {options.forget}, and people are deleted with all records: the fewest that one has are {len(gone)}"
            )
            raise PlanError([("unlearning.forget", f"{problem}; give so many or more")])
    strange = gone[~np.isin(gone, training)]
    if len(strange):
        raise SplitError(
            f"{len(strange):,} of {counted(len(gone), 'record')} to forget are not in the training data, such as record "
            f"{', '.join(map(str, strange[:_SHOWN]))}: what was never trained on cannot be deleted"
        )
    if not len(gone):
        raise SplitError("the set of records to forget is empty: give at least one")
    if len(np.unique(gone)) == len(training):
        raise SplitError(
            f"all {len(training):,} training records are to be forgotten, so nothing stays to compare with: forget fewer"
        )
    return np.asarray(gone, np.int64)


def _drawn(case: Case, records: Ints, count: int, seed: int, *path: str) -> Ints:
    """Draw some of the records; whole groups where groups are kept together, and the smallest where none is so small."""
    groups = case.dataset.groups if case.split.group_name is not None else None
    rng, most = generator(seed, *path), min(count, len(records))
    of = None if groups is None else groups[records]
    if of is not None and most:
        most = max(most, int(np.bincount(group_numbers(of)).min()))
    return records[whole_groups(len(records), of, most, rng)]


def _of_the_same(case: Case, records: Ints, gone: Ints) -> NDArray[np.bool_]:
    """Return which of the records belong to somebody whose others are deleted."""
    people = case.dataset.people if case.split.group_name is not None else None
    return np.zeros(len(records), bool) if people is None else np.isin(people[records], people[gone])


def _remains(count: int) -> list[str]:
    """Say that records of those whose records were deleted stay."""
    if not count:
        return []
    stay = counted(count, "record of theirs stays", "records of theirs stay")
    return [
        f"Of people whose records were deleted, {stay} in the training data: what the model learned from them is still in it."
    ]


def _copies(case: Case, gone: Ints, rest: Ints) -> list[str]:
    """Say how many of the deleted records have a copy among those that stay."""
    both = np.concatenate([gone, rest])
    codes = same_records(select_records(case.dataset.X, both))
    count = int(np.isin(codes[: len(gone)], codes[len(gone) :]).sum())
    if not count:
        return []
    return [
        f"{count:,} of {len(gone):,} deleted records have the same values as a record that stays: what the model learned "
        "from the copy is still in it, and no deletion of the one record takes it out."
    ]
