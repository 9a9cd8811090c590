"""SISA: sharded, isolated, sliced, aggregated training (Bourtoule et al. 2021, arXiv 1912.03817), around any recipe."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import form_of, take_records
from miaudit.errors import PlanError, counted, not_whole, with_article
from miaudit.recipes.options import checked_options
from miaudit.recipes.recipe import Learner, Model, Recipe, Work, passes_of
from miaudit.recipes.states import (
    Course,
    Digests,
    Step,
    Steps,
    digests_of,
    in_order,
    places,
    probabilities,
    refuse_unfit,
)
from miaudit.recipes.wrapped import Wrapped
from miaudit.seeds import child_seed

_OURS = {"recipe", "states"}
"""Fields that are no options of a plan."""
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sharded(Wrapped, ABC):
    """What recipes of isolated shards share: training, and deletion by training anew what held the records.

    A model keeps its states, and a deletion trains those whose names are not among them. Concrete ones are `SISA` and
    `ClassSISA`.
    """

    states: str | None = field(default=None, kw_only=True, repr=False, compare=False)

    title: ClassVar[str]
    paper: ClassVar[str]
    kind: ClassVar[str]

    @classmethod
    def of_options(cls, recipe: Recipe, options: Mapping[str, Any]) -> Self:
        """Return the recipe around another one with the options of a plan's table.

        Raises
        ------
        PlanError
            With every option that cannot be.
        """
        return cls(recipe, **cls.checked(options))

    @classmethod
    def checked(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a plan's table; PlanError with every one that cannot be."""
        return checked_options(cls, options, [name for name in cls.__dataclass_fields__ if name not in _OURS])

    def staged(self, folder: str | None) -> Self:
        """Return the recipe with its states in a folder, where they outlive the program; None: in none."""
        return replace(self, states=folder)

    @property
    def exact(self) -> bool:
        """Whether a deletion gives what training on the rest gives, bit for bit; a receipt shows it."""
        return True

    def expected(self, deleted: int) -> float | None:
        """Return the expected share of a retraining that the deletion of so many records in one batch takes, where known."""
        return None

    @property
    def options(self) -> dict[str, Any]:
        """Its own options as plain values."""
        return {name: getattr(self, name) for name in sorted(self.__dataclass_fields__.keys() - _OURS)}

    def describe(self) -> dict[str, Any]:
        """Return its options and the description of the recipe within."""
        return {"recipe": self.kind, "version": 1, **self.options, "of": self.recipe.describe()}

    def history(self) -> dict[str, Any]:
        """Return what decides how it forgets, beside its description."""
        return {"forget": self.kind, "version": 1}

    def fit(self, X: Any, y: Ints, *, classes: int, seed: int) -> Any:
        """Train every state.

        Raises
        ------
        PlanError
            If there are too few records or classes (`refuse_few`).
        """
        self.refuse_few(len(y), classes)
        return self._model(X, y, classes=classes, seed=seed, before=None)

    def forget(self, model: Any, X: Any, y: Ints, *, forget: Bools, classes: int, seed: int) -> Any:
        """Return the model without the records that ``forget`` (n,) marks, from the seed that it was trained with.

        All of it is trained anew where the recipe reaches what cannot be read, as compiled code, and states of another version
        could not be told from its own; ``work`` of the model says how much was.

        Raises
        ------
        PlanError
            If the model is not one that this recipe trained.
        """
        if not isinstance(getattr(model, "states", None), Mapping):
            raise PlanError(
                f"{with_article(type(model).__name__)} keeps no states of shards: models of {self.kind} forget that "
                "were trained by it"
            )
        rest = np.flatnonzero(~forget)
        return self._model(take_records(X, rest), y[rest], classes=classes, seed=model.seed, before=model)

    @abstractmethod
    def refuse_few(self, records: int, classes: int) -> None:
        """Refuse to be trained on fewer records or classes than there are shards to deal them out to."""

    @abstractmethod
    def steps(self, X: Any, y: Ints, *, classes: int, seed: int) -> Steps:
        """Return all steps of a model on these records; nothing is trained."""

    @abstractmethod
    def _model(self, X: Any, y: Ints, *, classes: int, seed: int, before: Any) -> Any:
        """Return the model on these records, of whose states those of ``before`` are not trained again."""

    def course(self, X: Any, classes: int) -> Course:
        """Return how the steps of a model on such records are named and trained."""
        form = f"{form_of(X)} {list(getattr(X, 'columns', ()))}"
        return Course(self.recipe, classes, tuple(X.shape[1:]), form, self.states)


@dataclass(frozen=True)
class SISA(Sharded):
    """Train one model on each of several random shards, in slices, and combine what they answer.

    A record's shard and slice follow from a keyed hash of the record alone, so that nobody else's deletion moves it, and
    copies of a record lie together; shards differ in size by chance. The models of the shards share nothing. Step i of a shard
    trains on its slices 1 to i together, from the state after step i - 1. A deletion trains the steps anew, from the earliest
    slice that held a record, with the seeds that they had.

    Two things differ from the released code. Batches are drawn from the records that there are, not from fixed windows of
    the first ones, so that a deletion leaves no short batches. And the name of a state holds the recipe and the seed, not the
    records alone.

    Parameters
    ----------
    recipe
        How each shard is trained. Encoders belong within it, so that none learns from several shards.
    shards
        How many.
    slices
        Steps of each shard. More than one need a recipe of passes, such as `miaudit.recipes.Network`; each has
        2 e / (slices + 1) passes for the e of the recipe, rounded, so that the whole is as many record-epochs.
    aggregate
        "mean" of the answers, or "vote": the share of the shards that find a class likeliest, ties by the lowest class.

    Raises
    ------
    PlanError
        If an option cannot be, or the recipe does not fit.
    """

    shards: int = 5
    slices: int = 1
    aggregate: Literal["mean", "vote"] = "mean"

    title: ClassVar[str] = "SISA: the shards that held the records trained anew"
    paper: ClassVar[str] = "Bourtoule et al. 2021"
    kind: ClassVar[str] = "sisa"

    def __post_init__(self) -> None:
        problems = not_whole(("shards", self.shards), ("slices", self.slices))
        if self.aggregate not in ("mean", "vote"):
            problems.append(("aggregate", f'must be "mean" or "vote", got {self.aggregate!r}'))
        if problems:
            raise PlanError(problems)
        refuse_unfit(self.recipe, sliced=self.slices > 1, option="slices")

    @property
    def name(self) -> str:
        """The shards, the slices and the recipe."""
        slices = "" if self.slices == 1 else f" of {self.slices} slices"
        return f"SISA, {counted(self.shards, 'shard')}{slices}, {self.recipe.name}"

    @property
    def labels_only(self) -> bool:
        """Whether its models answer labels alone: never, as votes are shares."""
        return False

    def expected(self, deleted: int) -> float:
        """Return the share of `expected_share`."""
        return expected_share(deleted, shards=self.shards, slices=self.slices)

    def refuse_few(self, records: int, classes: int) -> None:
        """Refuse to be trained on fewer records than there are slices of all shards.

        Raises
        ------
        PlanError
            With the numbers of both, and the most that there can be.
        """
        if self.shards > records:
            raise PlanError(
                f"sisa deals the training records out to {counted(self.shards, 'shard')}, and a model is trained on "
                f"{records:,}: choose at most {records:,} shards, or give more records"
            )
        most = records // self.shards
        if self.slices > most:
            raise PlanError(
                f"sisa cuts each of {counted(self.shards, 'shard')} into {counted(self.slices, 'slice')}, and a model is "
                f"trained on {records:,} records, which are about {most:,} a shard: choose at most "
                f"{counted(most, 'slice')}, fewer shards, or give more records"
            )

    def steps(self, X: Any, y: Ints, *, classes: int, seed: int) -> Steps:
        """Return all steps of a model on these records, by shard; nothing is trained."""
        return self.steps_of(self.course(X, classes), digests_of(X, y, seed=seed), seed=seed)

    def steps_of(self, course: Course, digests: Digests, *, seed: int) -> Steps:
        """Return all steps of a model on records of these digests."""
        shard, slice_ = self._places(digests)
        chains = {}
        for number in range(self.shards):
            index = in_order(np.flatnonzero(shard == number), digests)
            if len(index):
                chains[number] = self._chain(course, index, slice_, digests, child_seed(seed, "shard", number))
        return Steps(chains, course)

    def _places(self, digests: Digests) -> tuple[Ints, Ints]:
        """Return (n,) the shard and the slice of each record."""
        return places(digests, self.shards, start=0), places(digests, self.slices, start=4)

    def _chain(self, course: Course, index: Ints, slice_: Ints, digests: Digests, seed: int) -> list[Step]:
        if self.slices == 1:
            return [course.step(None, index, digests, seed=seed, passes=None)]
        chain = list[Step]()
        for number, passes in enumerate(step_passes(passes_of(self.recipe) or 1, self.slices)):
            part = index[slice_[index] <= number]
            if passes and len(part):
                own = child_seed(seed, "slice", number)
                chain.append(course.step(chain[-1] if chain else None, part, digests, seed=own, passes=passes))
        return chain

    def _model(self, X: Any, y: Ints, *, classes: int, seed: int, before: Any) -> SISAModel:
        steps = self.steps(X, y, classes=classes, seed=seed)
        there: Mapping[str, Model] = {} if before is None else before.states
        states = dict[str, Model]()
        for number, chain in steps.chains.items():
            states.update(steps.course.states(chain, X, y, there=there, what=f"shard {number}"))
        last = tuple(states[chain[-1].name] for chain in steps.chains.values())
        numbers = tuple(steps.chains)
        return SISAModel(last, classes, self.aggregate, states, seed, steps.work(set(there)), self.shards, numbers)


@dataclass(frozen=True, eq=False)
class SISAModel:
    """Trained shards, with all states by name, the seed, and the record-epochs that were trained for it.

    ``numbers`` are those of its models among the ``shards`` that records are dealt out to: one without a record has no model.
    """

    models: tuple[Model, ...]
    classes: int
    aggregate: str
    states: Mapping[str, Model]
    seed: int
    work: Work
    shards: int
    numbers: tuple[int, ...]

    @property
    def parts(self) -> tuple[Any, ...]:
        """The models of the shards."""
        return self.models

    def learners_for(self, X: Any, y: Ints) -> list[Learner]:
        """Return the models of the shards, each with those of the records that belong to its shard."""
        shard = places(digests_of(X, y, seed=self.seed), self.shards, start=0)
        return shares_of(dict(zip(self.numbers, self.models, strict=True)), shard, X, y)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return (n, classes) mean answers of the shards, or shares of their votes."""
        total: Any = 0.0
        for model in self.models:
            answers = probabilities(model, X, self.classes)
            total = total + (answers if self.aggregate == "mean" else np.eye(self.classes)[answers.argmax(axis=1)])
        return np.asarray(total / len(self.models), np.float64)


def shares_of(models: Mapping[int, Model], shard: Ints, X: Any, y: Ints) -> list[Learner]:
    """Return the model of each shard with the records that (n,) ``shard`` deals out to it.

    Raises
    ------
    PlanError
        If a shard with records has no model.
    """
    numbers = np.unique(shard).tolist()
    if gone := [number for number in numbers if number not in models]:
        raise PlanError(f"shard {gone[0]} went with what was deleted, so that there is nothing of it to train further")
    index = {number: np.flatnonzero(shard == number) for number in numbers}
    return [Learner(models[number], take_records(X, each), y[each]) for number, each in index.items()]


def step_passes(passes: int, slices: int) -> list[int]:
    """Return the passes of each step: 2 passes / (slices + 1) each, rounded so that the last has one at least.

    The sum over steps i of passes_i i / slices is about ``passes``: as many record-epochs as without slices.
    """
    total = max(1, round(2 * passes * slices / (slices + 1)))
    ends = [total * number // slices for number in range(slices + 1)]
    return [end - start for start, end in pairwise(ends)]


def expected_share(deleted: int, *, shards: int, slices: int) -> float:
    """Return the expected share of a whole training that the deletion of so many random records in one batch takes.

    ``sum_j (2 / (R + 1)) (j / R) (1 - (1 - j / (R S))^K)`` for K records, S shards and R slices, derived from the algorithm
    of Bourtoule et al. 2021: step j is trained again where one of the K lies in the first j slices of its shard. The deleted
    records' own share of the work is not taken off. Without slices it is 1 - (1 - 1 / S)^K.
    """
    R, S = slices, shards
    return math.fsum(2 * j / (R * (R + 1)) * (1 - (1 - j / (R * S)) ** deleted) for j in range(1, R + 1))
