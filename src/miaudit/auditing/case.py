"""Case: what one audit is of, as typed values, whatever it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks import Attack
from miaudit.data import Dataset, Split, leave_out_copies
from miaudit.errors import PlanError, counted, noun
from miaudit.findings import UnitName
from miaudit.plan import EnginePlan, FiguresPlan, ShadowPlan, SplitPlan, SynthesisPlan, section_of
from miaudit.recipes import Model, Recipe, innermost
from miaudit.recipes.parameters import frozen_parts
from miaudit.result import SynthesisResult
from miaudit.seeds import child_seed
from miaudit.shadows.design import largest_group
from miaudit.signals import ResidualForm
from miaudit.targets import Target
from miaudit.targets.outputs import Source


class TrainedTarget(NamedTuple):
    """A target of ours that is trained already: the model, the seconds it took, and the form of its records."""

    model: Model
    seconds: float
    form: str


@dataclass(frozen=True, eq=False)
class Case:
    """What to audit: data, split, recipe and target, and the sections of a plan that say how.

    `case_of_plan` and `case_of_model` make one, `miaudit.audit` takes it.
    """

    title: str
    seed: int  # root of all random draws
    dataset: Dataset
    split: Split
    recipe: Recipe
    target: Target | None  # None: the recipe is to train it on the members
    document: Mapping[str, Any]  # what was asked for, as the provenance of the result says it
    shadows: ShadowPlan = field(default_factory=lambda: section_of(ShadowPlan, {}))
    sides: SplitPlan = field(default_factory=lambda: section_of(SplitPlan, {}))  # a plan's [split]
    residual: ResidualForm = "absolute"  # of a regression: what attacks read off its errors
    figures: FiguresPlan = field(default_factory=lambda: section_of(FiguresPlan, {}))
    synthesis: SynthesisPlan = field(default_factory=lambda: section_of(SynthesisPlan, {}))
    engine: EnginePlan = field(default_factory=lambda: section_of(EnginePlan, {}))
    attacks: tuple[Attack, ...] | None = None  # None: all that can be run
    unit: UnitName | None = None  # what is counted; None: people where they are known
    slices: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)  # (n_records,) each
    hashes: Mapping[str, str] = field(default_factory=dict)  # of files that it was made from
    notes: tuple[str, ...] = ()  # what a reader must know of the data
    synthetic: SynthesisResult | None = None  # figures of the synthetic records that are the population
    trained: TrainedTarget | None = None  # the target, where making these records took it

    def __post_init__(self) -> None:
        """Refuse shadow models that would have learned from the target's members.

        Raises
        ------
        PlanError
            If the recipe keeps a predictor that was trained before.
        """
        predictors, _ = self._frozen
        if predictors and self.shadows.count:
            raise PlanError(
                f"the recipe {self.recipe.name} keeps a {predictors[0]} as it was trained before (FrozenEstimator): shadow "
                "models would know its training records, and hide that the target does. Give as recipe an estimator that "
                "trains all of its parts, or your own training function train(X, y, seed) -> model; or ask for no shadow models"
            )

    @property
    def _frozen(self) -> tuple[list[str], list[str]]:
        return frozen_parts(getattr(innermost(self.recipe), "estimator", None))

    @property
    def source(self) -> Source:
        """Where the target comes from."""
        return "trained here" if self.target is None else self.target.source

    @property
    def sizes(self) -> Sizes:
        """How many records each shadow is trained and tested on."""
        groups = self.dataset.groups
        if groups is None or self.split.group_name is None or self.shadows.design == "overlapping":
            return shadow_sizes(self.split, self.shadows)
        return shadow_sizes(self.split, self.shadows, lost=largest_group(groups[self.split.population]) - 1)

    @property
    def minimum(self) -> int:
        """How few shadow models are enough."""
        count = self.shadows.count
        return self.shadows.minimum or min(count, max(1, (count + 1) // 2))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know of the data and of how much there is."""
        _, parts = self._frozen
        frozen = (
            f"Each shadow model keeps {', '.join(parts)} as fitted before (FrozenEstimator): if that was on members, shadow "
            "models know something of them, and the leak may be understated."
        )
        return (*self.sizes.warnings, *self.notes, *([frozen] if parts and self.shadows.count else []))


class Sizes(NamedTuple):
    """Records that each shadow is trained and tested on, and what to warn of."""

    train: int
    test: int
    warnings: tuple[str, ...] = ()


def shadow_sizes(split: Split, shadows: ShadowPlan, *, lost: int = 0) -> Sizes:
    """Return what shadow models are trained and tested on: what is asked for, or as much as the target, or what there is.

    ``lost`` is how many records of the population neither set may get, as people are on one side of a model each.
    """
    members, room = len(split.members), len(split.population)
    if not shadows.count:
        return Sizes(0, 0)
    supply = f"The population has {counted(room, 'record')}"
    if shadows.design == "overlapping":
        room += members + len(split.nonmembers)
        supply = f"Audited records and population are {room:,} records"
    if shadows.train is not None or shadows.test is not None:
        train = shadows.train or members
        return Sizes(train, shadows.test or train)
    room = max(room - lost, min(room, 2))
    if 2 * members <= room or room < 2:  # of less than two the draw says what is missing
        return Sizes(members, members)
    supply += f", of which sets of whole people are sure to hold {room:,}" if lost else ""
    warning = (
        f"{supply}, too few for shadows of {members:,} training and {members:,} test records like the target's: the shadows "
        f"are trained on {counted(room // 2, 'record')}, and may overfit more than the target."
    )
    return Sizes(room // 2, room // 2, (warning,))


def apart(dataset: Dataset, split: Split, shadows: ShadowPlan, *, seed: int) -> Split:
    """Return the split without copies across its sides; see `leave_out_copies`."""
    members, train, test = len(split.members), shadows.train, shadows.test
    need = members if train is None and test is None else (train or members) + (test or train or members)
    if shadows.design == "overlapping":
        need = 0 if train is None and test is None else need - members - len(split.nonmembers)
    need = need if shadows.data == "real" and shadows.count else 0
    return leave_out_copies(dataset, split, need=need, seed=child_seed(seed, "copies"))


def order_taken(target: Target | None, dataset: Dataset) -> list[str]:
    """Return the warning of a target that names no classes, where the data numbers its own by the alphabet."""
    if target is None or target.named or not dataset.alphabetical:
        return []
    return [
        "The target names no classes: the columns, or numbers of classes, that it answers were taken to be in the order of the "
        f"sorted labels, {', '.join(dataset.classes[:5])}{', ...' if len(dataset.classes) > 5 else ''}; give columns "
        "if they are in another."
    ]


def unknown_classes(target: Target | None, dataset: Dataset, split: Split) -> list[str]:
    """Return the warning of audited records whose class is none of the target's."""
    if target is None or target.own_classes is None:
        return []
    sides = (split.members, split.nonmembers)
    unknown = [side[~np.isin(dataset.y[side], target.own_classes)] for side in sides]
    if not sum(map(len, unknown)):
        return []
    classes = [dataset.classes[i] for i in np.unique(dataset.y[np.concatenate(unknown)])]
    some = all(len(few) < len(side) for few, side in zip(unknown, sides, strict=True))
    leave = ", or leave the records out" if some else ""
    records = " and ".join(
        counted(len(side), what) for side, what in zip(unknown, ("member", "non-member"), strict=True) if len(side)
    )
    return [
        f"The target does not know the {noun(len(classes), 'class', 'classes')} {', '.join(map(repr, classes[:5]))}"
        f"{', ...' if len(classes) > 5 else ''} of {records}: it cannot have been trained on such records. Correct these "
        f"labels{leave}."
    ]


def odd_classes(dataset: Dataset) -> list[str]:
    """Return the warning of data that have about as many classes as records."""
    classes, records = len(dataset.classes), len(dataset)
    if dataset.values is not None or 4 * classes <= records:
        return []
    return [
        f"{counted(records, 'record falls', 'records fall')} into {counted(classes, 'class', 'classes')}, "
        "fewer than four each: is the label column really the class?"
    ]
