"""What a recipe is: how to train one model of the target's kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import PlanError, with_article
from miaudit.recipes.ability import Ability
from miaudit.recipes.objective import Objective

if TYPE_CHECKING:
    from miaudit.recipes.opened import Opened


@runtime_checkable
class Model(Protocol, metaclass=Ability):
    """A trained classifier."""

    def predict_proba(self, X: Any) -> NDArray[np.floating[Any]]:
        """Return (n, classes) probabilities; rows sum to one."""
        ...


@runtime_checkable
class Choosing(Protocol, metaclass=Ability):
    """A trained model whose training chose among learners or settings by its own records, so that two may differ."""

    @property
    def choice(self) -> str | None:
        """What was chosen, in a few words; None where nothing was."""
        ...


def choice_of(model: object) -> str | None:
    """Return what a model's training chose among learners or settings; None where it chose nothing, or does not say."""
    choice = model.choice if isinstance(model, Choosing) else None
    return choice if isinstance(choice, str) else None  # a model of others may call something else by this name


@runtime_checkable
class Recipe(Protocol, metaclass=Ability):
    """How to train one model; never changed by training, and deterministic given the seed."""

    @property
    def name(self) -> str:
        """What to call it in a report."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return every effective parameter as JSON-able values; the keys of rows are made of it."""
        ...

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Model:
        """Train one model on records X and classes y in 0..classes-1."""
        ...


@runtime_checkable
class GroupRecipe(Recipe, Protocol):
    """A recipe that trains several models faster together than one after another; each comes out as it would alone."""

    def group_width(self, shape: tuple[int, ...], classes: int) -> int:
        """Return how many models of records of this shape to train together."""
        ...

    def fit_many(
        self, X: Any, y: NDArray[np.int64], *, indices: Sequence[NDArray[np.int64]], classes: int, seeds: Sequence[int]
    ) -> Sequence[Model]:
        """Train one model for each entry of ``indices``, the positions of its training records in X."""
        ...


@runtime_checkable
class Portioned(GroupRecipe, Protocol):
    """A recipe whose groups could take so long that fewer models are trained between one look at the clock and the next."""

    def portion(self, shape: tuple[int, ...], classes: int, *, records: int) -> int | None:
        """Return how many models on so many training records are one group at most; None: as many as its width."""
        ...


@runtime_checkable
class Foreseeing(Recipe, Protocol):
    """A recipe that trains and answers in one step, so that it must know what will be asked."""

    def fit_for(self, X: Any, y: NDArray[np.int64], asked: Any, *, classes: int, seed: int) -> Any:
        """Train one model, and return what answers the records ``asked``, as a target does."""
        ...


@runtime_checkable
class Placeable(Recipe, Protocol):
    """A recipe whose models can be trained on a GPU, or in another type of numbers."""

    @property
    def device(self) -> str:
        """Where its models are trained: "cpu", "cuda" or "cuda:1". Any recipe may say so; one process feeds a GPU."""
        ...

    def placed(self, device: str, dtype: str | None) -> Recipe:
        """Return the recipe on "cpu" or "cuda", with products in "float32" or "bfloat16"; None: in its own type."""
        ...


@runtime_checkable
class Shortenable(Recipe, Protocol):
    """A recipe whose cost can be told from a small part of it, such as one epoch."""

    def shortened(self) -> tuple[Recipe, int]:
        """Return a recipe that does a part of the training, and how many times as long the whole takes."""
        ...


@runtime_checkable
class Wrapping(Recipe, Protocol):
    """A recipe around another one, such as an encoder or a defence; what the inner one is able to do, it is."""

    @property
    def inner(self) -> Recipe:
        """The recipe within."""
        ...

    def around(self, recipe: Recipe) -> Recipe:
        """Return the same around another recipe."""
        ...


@runtime_checkable
class Turnable(Recipe, Protocol):
    """A recipe with parameters that others may set, such as a mitigation that penalises large weights."""

    @property
    def knobs(self) -> Mapping[str, str]:
        """Names of its parameters by the words of the lab: ``l2``, ``dropout``, ``epochs``, ``early_stopping``."""
        ...

    def turned(self, **parameters: Any) -> Recipe:
        """Return the recipe with parameters of its own changed; PlanError for one that it lacks."""
        ...


@runtime_checkable
class Soft(Recipe, Protocol):
    """A recipe that can be trained on shares of the classes in place of one class a record."""

    def fit_soft(self, X: Any, targets: NDArray[np.floating[Any]], *, classes: int, seed: int) -> Model:
        """Train one model on records X and (n, classes) targets, whose rows sum to one."""
        ...


@runtime_checkable
class Descending(Soft, Protocol):
    """A recipe that descends on a loss of logits, in whose place another may stand."""

    def fit_by(
        self, X: Any, targets: NDArray[np.floating[Any]], *, classes: int, seed: int, objective: Objective
    ) -> Model:
        """Train one model on records X and (n, classes) targets by an objective."""
        ...


@runtime_checkable
class Modular(Recipe, Protocol):
    """A recipe of a torch module, which others can train in their own way."""

    epochs: int
    batch: int
    standardize: bool

    def module(self, shape: tuple[int, ...], classes: int, *, seed: int) -> Any:
        """Return the untrained module for records of this shape; it takes float32 batches of them and answers logits."""
        ...

    def of_module(self, module: Any, shape: tuple[int, ...], classes: int, statistics: Any) -> Model:
        """Return the model of a trained module, and of the statistics that its records were standardised with, or None."""
        ...


@runtime_checkable
class Loadable(Recipe, Protocol):
    """A recipe whose model can be made of a file of weights."""

    def loaded(self, path: Path, *, classes: int, shape: tuple[int, ...], allow_pickle: bool) -> Model:
        """Return the model for records of this shape with the weights of a safetensors or torch file."""
        ...


@runtime_checkable
class Forgetting(Recipe, Protocol):
    """A recipe whose trained models can be made to forget some of their training records."""

    def forget(
        self, model: Model, X: Any, y: NDArray[np.int64], *, forget: NDArray[np.bool_], classes: int, seed: int
    ) -> Model:
        """Return the model after the deletion of the records of X, its training set, that ``forget`` (n,) marks."""
        ...

    def history(self) -> dict[str, Any]:
        """Return what decides how it forgets, as JSON-able values; names of rows after a deletion are made of it."""
        ...


@runtime_checkable
class Continuing(Recipe, Protocol):
    """A recipe of passes over the records, whose models can be trained further from where a training ended."""

    @property
    def passes(self) -> int | None:
        """How many passes a whole training makes; None where its models cannot be trained further."""
        ...

    def further(
        self, model: Model | None, X: Any, y: NDArray[np.int64], *, classes: int, seed: int, passes: int
    ) -> Model:
        """Return a model after so many passes from the state of another, or from first weights of this seed.

        What was learned of the records beside weights, such as means, stays as the first training learned it.
        """
        ...


def passes_of(recipe: Recipe) -> int | None:
    """Return how many passes a recipe's training makes; None where its models cannot be trained further."""
    return recipe.passes if isinstance(recipe, Continuing) else None


@runtime_checkable
class Storable(Recipe, Protocol):
    """A recipe whose models can be stored as arrays."""

    def arrays_of(self, model: Any) -> dict[str, NDArray[Any]] | None:
        """Return all that a model is; None where it is more than arrays can hold."""
        ...

    def of_arrays(self, arrays: Mapping[str, NDArray[Any]], *, classes: int, shape: tuple[int, ...]) -> Model:
        """Return the model for records of this shape that `arrays_of` made arrays of, bit for bit."""
        ...


@dataclass(frozen=True)
class Work:
    """Record-epochs: ``spent`` on what had to be trained for a model, of ``whole``, those of training all of it."""

    spent: int
    whole: int


def work_of(model: object) -> Work | None:
    """Return the record-epochs of a model whose recipe counts them; None of any other."""
    work = getattr(model, "work", None)
    return work if isinstance(work, Work) else None


@runtime_checkable
class Composed(Protocol, metaclass=Ability):
    """A trained model of parts, so that two can be compared by what they are, not by their answers alone."""

    @property
    def parts(self) -> tuple[Any, ...]:
        """All that its answers come from."""
        ...


@runtime_checkable
class Staged(Recipe, Protocol):
    """A recipe whose trainings pass through states, which a folder may hold, so that a training that is cut short goes on."""

    def staged(self, folder: str | None) -> Recipe:
        """Return the recipe with its states in a folder; None: in none."""
        ...


@runtime_checkable
class Relearning(Recipe, Protocol):
    """A recipe whose models can be tried for how fast they learn some records again."""

    def relearn(self, model: Model, X: Any, y: NDArray[np.int64], *, seed: int) -> int:
        """Return how many updates copies of the model's weights take to learn these records.

        Raises
        ------
        PlanError
            With the reason, if it has none that could be trained further.
        """
        ...


class Learner(NamedTuple):
    """A part of a trained model, and what it would be trained on: its records, and their classes as it learns them."""

    model: Model
    X: Any
    y: NDArray[np.int64]


@runtime_checkable
class Delegating(Model, Protocol):
    """A trained model that leaves learning to others, each by itself: shards, or what is behind an encoder or a mask."""

    def learners_for(self, X: Any, y: NDArray[np.int64]) -> Sequence[Learner]:
        """Return its parts, each with those of these records that it would be trained on.

        Raises
        ------
        PlanError
            If the part that would learn one of them is not there.
        """
        ...


def learners_of(model: Model, X: Any, y: NDArray[np.int64]) -> list[Learner]:
    """Return all that would learn these records: the model itself, or its parts, down to those that learn by themselves."""
    if not isinstance(model, Delegating):
        return [Learner(model, X, y)]
    return [each for part in model.learners_for(X, y) for each in learners_of(*part)]


@runtime_checkable
class Openable(Model, Protocol):
    """A trained model whose weights can be changed further by descent."""

    def opened(self) -> Opened:
        """Return a copy to change."""
        ...


def opened(model: Model) -> Opened:
    """Return a copy of a trained model whose weights can be changed.

    Raises
    ------
    PlanError
        If it has none that descend.
    """
    if not isinstance(model, Openable):
        raise PlanError(
            f"{with_article(type(model).__name__)} has no weights that descend on a loss: this takes a torch "
            "network (a Network or a ModuleRecipe); for others there are retrain, none, and a function of your own"
        )
    return model.opened()


T = TypeVar("T")


def on_device(recipe: T, device: str, dtype: str | None) -> T:
    """Return a recipe of code that is not ours on a device; its type of numbers is its own.

    Raises
    ------
    PlanError
        If a type of numbers is asked for.
    """
    if dtype is not None:
        name = getattr(recipe, "name", type(recipe).__name__)
        raise PlanError([("dtype", f"{name} has a type of numbers of its own; leave it out")])
    return replace(recipe, device=device)  # type: ignore[type-var]


def turned(recipe: T, parameters: Mapping[str, Any]) -> T:
    """Return a recipe, a dataclass, with fields of its own changed; PlanError for one that it lacks."""
    own = [each.name for each in fields(recipe)]  # type: ignore[arg-type]
    if unknown := sorted(set(parameters) - set(own)):
        name = getattr(recipe, "name", type(recipe).__name__)
        raise PlanError([(each, f"{name} has no such parameter; it has {', '.join(own)}") for each in unknown])
    return replace(recipe, **parameters)  # type: ignore[type-var]
