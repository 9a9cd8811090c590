"""Deletion procedures: configured values that make a trained model forget some of its training records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import take_records
from miaudit.errors import PlanError, nearest, not_real, not_whole, refuse, section, with_article
from miaudit.recipes import (
    SISA,
    ClassSISA,
    Forgetting,
    Learner,
    Model,
    Recipe,
    Sharded,
    fingerprint,
)
from miaudit.recipes.options import checked_options

Bools = NDArray[np.bool_]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model with all that it was trained on: (n, ...) records, (n,) classes, the recipe, and how many classes."""

    model: Model
    X: Any
    y: Labels
    recipe: Recipe
    classes: int


class Procedure(ABC):
    """A configured deletion procedure; concrete ones are frozen dataclasses.

    ``paper`` is its source; ``exact`` whether the model is distributed as one that was never trained on the records.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    exact: ClassVar[bool] = False

    @abstractmethod
    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return the model once it was made to forget the records that ``forget`` (n,) marks.

        Raises
        ------
        PlanError
            If the procedure does not fit such a model.
        """

    def problem(self, recipe: Recipe) -> str | None:
        """Return why models of a recipe cannot be treated so, as far as the recipe tells; None where they may be."""
        return None

    @classmethod
    def of_options(cls, table: Mapping[str, Any]) -> Procedure:
        """Return the procedure with the options of a table; PlanError with every one that cannot be."""
        return cls(**checked_options(cls, table, [each.name for each in fields(cls)]))  # type: ignore[arg-type]

    def trains(self, recipe: Recipe) -> Recipe:
        """Return how models are trained that forget so: as the recipe says, unless the procedure is a way of training."""
        return recipe

    def is_exact(self, recipe: Recipe) -> bool:
        """Return whether a model of a recipe is distributed afterwards as one that was never trained on the records."""
        return self.exact

    @property
    def by_the_same_seed(self) -> bool:
        """Whether training on what stays, by the seed of the model before, is to give the model afterwards bit for bit."""
        return False

    @property
    def options(self) -> dict[str, Any]:
        """The options as plain values, for the record of an audit and for names of rows."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.repr}  # type: ignore[arg-type]
        return {
            key: value if value is None or isinstance(value, str | bool | int | float) else repr(value)
            for key, value in values.items()
        }

    def history(self) -> dict[str, Any]:
        """Return what decides what it does, beside the model."""
        return {"procedure": self.name, "version": 1, **self.options}


@dataclass(frozen=True)
class Retrain(Procedure):
    """Train anew on the records that stay, from a seed of its own: exact, and the measure of all others."""

    name: ClassVar[str] = "retrain"
    title: ClassVar[str] = "Retraining on the records that stay"
    paper: ClassVar[str] = "Cao and Yang 2015"
    exact: ClassVar[bool] = True

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return a model trained on the rest."""
        rest = np.flatnonzero(~forget)
        return of.recipe.fit(take_records(of.X, rest), of.y[rest], classes=of.classes, seed=seed)


@dataclass(frozen=True)
class Nothing(Procedure):
    """Leave the model as it is: the positive control, which an audit must find wherever there was a leak."""

    name: ClassVar[str] = "none"
    title: ClassVar[str] = "No deletion at all"
    paper: ClassVar[str] = "control"

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return the model itself."""
        return of.model


@dataclass(frozen=True)
class _OfWeights(Procedure):
    """A procedure that changes the weights of a torch network by descent."""

    epochs: int = 5
    learning_rate: float = 0.01
    batch: int = 100

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise PlanError(problems)

    def problems(self) -> list[tuple[str, str]]:
        """Return path and sentence of each option that cannot be."""
        problems = not_whole(("epochs", self.epochs), ("batch", self.batch))
        problems += not_real(("learning_rate", self.learning_rate), above=0)
        for each, (low, high) in self.ranges.items():
            problems += not_real((each, getattr(self, each)), least=low, most=high)
        return problems

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    @property
    def _steps(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "rate": self.learning_rate, "batch": self.batch}


@dataclass(frozen=True)
class FineTune(_OfWeights):
    """Descend further on the records that stay (SGD with momentum 0.9; estimators with ``partial_fit`` by that).

    Defaults: as many epochs as in the starting kit of the 2023 challenge.
    """

    name: ClassVar[str] = "fine-tune"
    title: ClassVar[str] = "Fine-tuning on the records that stay"
    paper: ClassVar[str] = "Golatkar et al. 2020"

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return the model trained further on the rest."""
        own = getattr(of.model, "estimator", None)
        if own is not None and hasattr(own, "partial_fit"):
            return self._estimator(of, forget, seed)
        from miaudit.unlearning.descent import Descent, fine_tuned

        return fine_tuned(Descent(of.model, of.X, of.y, forget, seed), **self._steps)

    def _estimator(self, of: Trained, forget: Bools, seed: int) -> Model:
        import copy

        from miaudit.seeds import generator

        model: Any = copy.deepcopy(of.model)
        rest = np.flatnonzero(~forget)
        names = getattr(model, "names", None)
        for epoch in range(self.epochs):
            order = generator(seed, "rest", epoch).permutation(rest)
            labels = of.y[order] if names is None else np.asarray(names)[of.y[order]]
            model.estimator.partial_fit(take_records(of.X, order), labels)
        return model  # type: ignore[no-any-return]


@dataclass(frozen=True)
class NegGradPlus(_OfWeights):
    """Descend on ``share`` of the loss on what stays less the rest of it on what goes, in batches beside one another."""

    share: float = 0.9

    name: ClassVar[str] = "neggrad+"
    title: ClassVar[str] = "NegGrad+: descent on what stays, ascent on what goes"
    paper: ClassVar[str] = "Kurmanji et al. 2023"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"share": (0.0, 1.0)}

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return the model after ascent on the records."""
        from miaudit.unlearning.descent import Descent, ascended

        return ascended(Descent(of.model, of.X, of.y, forget, seed), **self._steps, share=self.share)


@dataclass(frozen=True)
class Scrub(_OfWeights):
    """Away from the first model on what goes for ``away`` epochs, near it on what stays in all (Adam)."""

    learning_rate: float = 5e-4
    away: int = 2
    distance: float = 0.5
    truth: float = 0.99
    temperature: float = 1.0

    name: ClassVar[str] = "scrub"
    title: ClassVar[str] = "SCRUB: a student that leaves its teacher on what goes"
    paper: ClassVar[str] = "Kurmanji et al. 2023"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "distance": (0.0, 1e6),
        "truth": (0.0, 1e6),
        "temperature": (1e-3, 1e3),
    }

    def problems(self) -> list[tuple[str, str]]:
        """Return also that of the epochs away."""
        return [*super().problems(), *not_whole(("away", self.away), least=0)]

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return the student."""
        from miaudit.unlearning.descent import Descent, scrubbed

        return scrubbed(
            Descent(of.model, of.X, of.y, forget, seed),
            **self._steps,
            away=self.away,
            distance=self.distance,
            truth=self.truth,
            temperature=self.temperature,
        )


@dataclass(frozen=True)
class RandomLabels(_OfWeights):
    """Descend on what stays, and on what goes with wrong classes in place of its own."""

    epochs: int = 3

    name: ClassVar[str] = "random-labels"
    title: ClassVar[str] = "Random relabelling"
    paper: ClassVar[str] = "Graves et al. 2021"

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return the model after descent on wrong classes."""
        from miaudit.unlearning.descent import Descent, relabelled

        return relabelled(Descent(of.model, of.X, of.y, forget, seed), **self._steps, classes=of.classes)


@dataclass(frozen=True)
class SalUn(_OfWeights):
    """Random relabelling that changes only the weights with the largest gradients of the loss on what goes."""

    epochs: int = 10
    learning_rate: float = 0.013
    share: float = 0.5

    name: ClassVar[str] = "salun"
    title: ClassVar[str] = "SalUn: random relabelling of the salient weights"
    paper: ClassVar[str] = "Fan et al. 2024"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"share": (1e-3, 1.0)}

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return the model after descent on wrong classes by the salient weights."""
        from miaudit.unlearning.descent import Descent, relabelled

        descent = Descent(of.model, of.X, of.y, forget, seed)
        return relabelled(descent, **self._steps, classes=of.classes, salient=self.share)


@dataclass(frozen=True)
class SSD(Procedure):
    """Selective synaptic dampening: shrink weights that matter more for what goes than for all; nothing is trained.

    Importance is the mean squared gradient of batch means, as in the released code.
    """

    alpha: float = 10.0
    dampening: float = 1.0
    batch: int = 100

    name: ClassVar[str] = "ssd"
    title: ClassVar[str] = "SSD: selective synaptic dampening"
    paper: ClassVar[str] = "Foster et al. 2024"

    def __post_init__(self) -> None:
        refuse(
            not_whole(("batch", self.batch)), not_real(("alpha", self.alpha), ("dampening", self.dampening), above=0)
        )

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return the model with dampened weights."""
        from miaudit.unlearning.descent import Descent, dampened

        descent = Descent(of.model, of.X, of.y, forget, seed)
        return dampened(descent, alpha=self.alpha, dampening=self.dampening, batch=self.batch)


@dataclass(frozen=True)
class Mask(Procedure):
    """Answer 0 for the classes of which no record stays, and rescale the others: it removes an output, and learns nothing."""

    name: ClassVar[str] = "mask"
    title: ClassVar[str] = "Masking an output"
    paper: ClassVar[str] = "control"

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return the model behind the mask."""
        gone = np.setdiff1d(of.y[forget], of.y[~forget])
        return _Masked(of.model, tuple(gone.tolist()))


@dataclass(frozen=True)
class _Masked:
    model: Model
    gone: tuple[int, ...]

    def learners_for(self, X: Any, y: Labels) -> list[Learner]:
        """Return the model behind the mask, which whoever has it lifts: nothing was taken from what is behind."""
        return [Learner(self.model, X, y)]

    def predict_proba(self, X: Any) -> NDArray[np.floating[Any]]:
        """Return (n, classes) probabilities, 0 for the masked classes."""
        answers = np.array(self.model.predict_proba(X), np.float64)
        answers[:, list(self.gone)] = 0.0
        total = answers.sum(axis=1, keepdims=True)
        rest = np.ones(answers.shape[1])
        rest[list(self.gone)] = 0.0
        return np.asarray(np.where(total > 0, answers / np.maximum(total, 1e-300), rest / rest.sum()))


@dataclass(frozen=True)
class OfRecipe(Procedure):
    """What the recipe itself does to delete records, as sharded training does (`miaudit.recipes.Forgetting`)."""

    name: ClassVar[str] = "recipe"
    title: ClassVar[str] = "The recipe's own deletion"
    paper: ClassVar[str] = "as the recipe says"

    @property
    def by_the_same_seed(self) -> bool:
        """Whether a receipt can be had: always."""
        return True

    def problem(self, recipe: Recipe) -> str | None:
        """Return why models of a recipe cannot be treated so."""
        return None if isinstance(recipe, Forgetting) else f"{recipe.name} does not say how its models forget records"

    def is_exact(self, recipe: Recipe) -> bool:
        """Return what the recipe says of itself."""
        return bool(getattr(recipe, "exact", False))

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return what the recipe makes of the model."""
        if not isinstance(of.recipe, Forgetting):
            raise PlanError(str(self.problem(of.recipe)))
        return of.recipe.forget(of.model, of.X, of.y, forget=forget, classes=of.classes, seed=seed)


@dataclass(frozen=True)
class _BySharding(OfRecipe):
    """A recipe of shards around the recipe of an audit, with options as of its section in a plan."""

    given: tuple[tuple[str, Any], ...] = ()

    sharded: ClassVar[type[Sharded]]

    @classmethod
    def of_options(cls, table: Mapping[str, Any]) -> Procedure:
        """Return the procedure with options of the recipe of shards."""
        return cls(tuple(sorted(cls.sharded.checked(table).items())))

    @property
    def options(self) -> dict[str, Any]:
        """The options that are not as by default."""
        return dict(self.given)

    def trains(self, recipe: Recipe) -> Recipe:
        """Return the recipe of shards; one of this kind stays as it is, unless options are given."""
        kind = getattr(recipe, "kind", None)
        if kind == self.sharded.kind and not self.given:
            return recipe
        if kind in (SISA.kind, ClassSISA.kind):
            raise PlanError(
                [("unlearning.procedure", f"would train the shards of {recipe.name} in shards again: give the options in "
                  "the recipe, and procedure = \"recipe\"")]
            )  # fmt: skip
        return self.sharded.of_options(recipe, dict(self.given))

    def problem(self, recipe: Recipe) -> str | None:
        """Return why the recipe cannot be trained in shards."""
        try:
            return OfRecipe.problem(self, self.trains(recipe))
        except PlanError as error:
            return "; ".join(text for _, text in error.problems)

    def history(self) -> dict[str, Any]:
        """Return what the recipe's own deletion returns, whose rows are these."""
        return OfRecipe().history()


@dataclass(frozen=True)
class BySISA(_BySharding):
    """Training in shards and slices, of which a deletion trains again those that held the records."""

    name: ClassVar[str] = "sisa"
    title: ClassVar[str] = SISA.title
    paper: ClassVar[str] = SISA.paper
    sharded: ClassVar[type[Sharded]] = SISA


@dataclass(frozen=True)
class ByClassSISA(_BySharding):
    """Training in shards of classes behind a gate."""

    name: ClassVar[str] = "class-sisa"
    title: ClassVar[str] = ClassSISA.title
    paper: ClassVar[str] = ClassSISA.paper
    sharded: ClassVar[type[Sharded]] = ClassSISA


@dataclass(frozen=True)
class OwnFunction(Procedure):
    """A function of your own: ``forget(model, X, y, forget, seed) -> model``.

    Parameters
    ----------
    function
        Takes the trained model (the estimator itself where the recipe trains one), its training records as it takes them, their
        classes as numbers, (n,) which are to be forgotten, and a seed; returns the model afterwards, and may change the one it
        was given.
    path
        Where it stands, for the record of an audit.
    """

    function: Any = field(repr=False)
    path: str = ""

    name: ClassVar[str] = "function"
    title: ClassVar[str] = "A function of your own"
    paper: ClassVar[str] = "your own"

    def after(self, of: Trained, forget: Bools, *, seed: int) -> Model:
        """Return what the function makes of a copy of the model."""
        import copy

        model: Any = copy.deepcopy(of.model)
        records = of.X
        around = list[
            tuple[Any, str]
        ]()  # what the function is not to see: encoders, and what puts columns in class order
        while part := next(
            (name for name in ("model", "estimator") if is_dataclass(model) and hasattr(model, name)), None
        ):
            if hasattr(model, "encoder"):
                records = model.encoder.transform(records)
            around.append((model, part))
            model = getattr(model, part)
        forgot = self.function(model, records, of.y.copy(), forget.copy(), seed)
        if forgot is None:
            raise PlanError(f"{self._called} returned nothing; it must return the model after the deletion")
        if not hasattr(forgot, "predict_proba"):
            raise PlanError(
                f"{self._called} returned {with_article(type(forgot).__name__)} without predict_proba; return a model"
            )
        for outer, part in reversed(around):
            forgot = replace(outer, **{part: forgot})
        return forgot  # type: ignore[no-any-return]

    @property
    def _called(self) -> str:
        return self.path or getattr(self.function, "__qualname__", "the function")

    def history(self) -> dict[str, Any]:
        """Return what decides what it does: the function's code and all that it reaches."""
        from uuid import uuid4

        decided = fingerprint(self.function)
        unseen = [uuid4().hex] if decided.unknown else []
        return {"procedure": self.name, "code": decided.sha256, "packages": decided.packages, "unknown": unseen}


PROCEDURES: dict[str, type[Procedure]] = {
    each.name: each
    for each in (
        Retrain,
        Nothing,
        FineTune,
        NegGradPlus,
        Scrub,
        RandomLabels,
        SalUn,
        SSD,
        Mask,
        OfRecipe,
        BySISA,
        ByClassSISA,
    )
}
"""Every procedure that a plan can name."""


def chosen_procedure(entry: str | Mapping[str, Any] | Procedure | Any) -> Procedure:
    """Return the procedure that a name, a table of a name and options, a procedure or a function asks for.

    Raises
    ------
    PlanError
        If there is none of that name, or an option does not fit.
    """
    if isinstance(entry, Procedure):
        return entry
    if callable(entry) and not isinstance(entry, type):
        return OwnFunction(entry)
    table = {"name": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, Mapping) else {}
    name = table.pop("name", entry)
    if not isinstance(name, str) or name not in PROCEDURES:
        hint = nearest(str(name), list(PROCEDURES)) or f"there are {', '.join(PROCEDURES)}"
        raise PlanError([("unlearning.procedure", f"{name!r} is no procedure; {hint}")])
    with section("unlearning.procedure"):
        return PROCEDURES[name].of_options(table)
