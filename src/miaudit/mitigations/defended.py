"""Recipes around a recipe, by which mitigations of the training train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from miaudit.data.records import take_records
from miaudit.errors import DataError, counted
from miaudit.recipes import Model, Recipe, Soft, Wrapping
from miaudit.recipes.recipe import Descending, Turnable
from miaudit.recipes.wrapped import Wrapped, fit_each
from miaudit.seeds import child_seed, generator

_LEAST = 1e-12  # of a probability whose logarithm is taken


@dataclass(frozen=True)
class Defended(Wrapped):
    """A recipe around ``recipe``; its own fields say how."""

    @property
    def name(self) -> str:
        """The recipe's own name, behind what is done to it."""
        return f"{type(self).__name__.lower()} {self.recipe.name}"

    def describe(self) -> dict[str, Any]:
        """Return how it is trained, and the description of the recipe within."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "recipe"}
        values = {
            key: value if not hasattr(value, "__dataclass_fields__") else _named(value) for key, value in own.items()
        }
        return {"recipe": f"mitigation {type(self).__name__}", "version": 1, **values, "of": self.recipe.describe()}


@dataclass(frozen=True)
class Stopped(Defended):
    """Train for as many passes as serve held-out records best; see `miaudit.mitigations.EarlyStopping`."""

    holdout: float = 0.1

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Model:
        """Choose the passes, then train on all records."""
        recipe = self.recipe
        assert isinstance(recipe, Turnable)
        parameter = recipe.knobs["epochs"]
        most = _value(recipe, parameter)
        order = generator(seed, "held out").permutation(len(y))
        apart, rest = np.split(order, [max(1, round(self.holdout * len(y)))])
        passes, losses = [], []
        count = most
        while count >= 1 and len(rest):
            model = recipe.turned(**{parameter: count}).fit(take_records(X, rest), y[rest], classes=classes, seed=seed)
            sure = model.predict_proba(take_records(X, apart))[np.arange(len(apart)), y[apart]]
            passes.append(count)
            losses.append(float(-np.log(np.maximum(sure, 1e-6)).mean()))
            if len(losses) > 1 and losses[-1] > losses[-2]:
                break  # fewer passes serve no better
            count //= 2
        best = passes[int(np.argmin(losses))] if passes else most
        return recipe.turned(**{parameter: best}).fit(X, y, classes=classes, seed=seed)


@dataclass(frozen=True)
class Smoothed(Defended):
    """Train on smoothed labels."""

    share: float = 0.1

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Model:
        """Train on shares of the classes."""
        assert isinstance(self.recipe, Soft)
        return self.recipe.fit_soft(
            X, (1 - self.share) * one_hot(y, classes) + self.share / classes, classes=classes, seed=seed
        )


@dataclass(frozen=True)
class Descended(Defended):
    """Train by another objective."""

    objective: Any = None

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Model:
        """Train by the objective."""
        assert isinstance(self.recipe, Descending)
        return self.recipe.fit_by(X, one_hot(y, classes), classes=classes, seed=seed, objective=self.objective)

    @property
    def name(self) -> str:
        """Name of the objective and of the recipe."""
        return f"{type(self.objective).__name__.lower()} {self.recipe.name}"


@dataclass(frozen=True)
class Distilled(Defended):
    """Train on what a first model answers at a temperature."""

    t: float = 4.0

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Model:
        """Train the first model, then the second on its answers."""
        first = self.recipe.fit(X, y, classes=classes, seed=child_seed(seed, "teacher"))
        logits = np.log(np.maximum(np.asarray(first.predict_proba(X), np.float64), _LEAST)) / self.t
        return fit_targets(self.recipe, X, special.softmax(logits, axis=1), classes=classes, seed=seed)


@dataclass(frozen=True)
class Split(Defended):
    """Train on the answers of models that did not see the record; see `miaudit.mitigations.SplitDistillation`."""

    models: int = 10
    without: int = 4

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Model:
        """Train the models, then the last one on their answers."""
        n = len(y)
        draws = generator(seed, "split").random((n, self.models)).argsort(axis=1)
        out = draws < self.without  # (n, models): exactly so many of each row
        if not all((~column).any() for column in out.T):
            raise DataError(
                f"{counted(n, 'training record is', 'training records are')} too few to split among "
                f"{counted(self.models, 'model')}"
            )
        seeds = [child_seed(seed, "split", j) for j in range(self.models)]
        targets = np.zeros((n, classes))
        indices = [np.flatnonzero(~column) for column in out.T]
        for column, model in zip(
            out.T, fit_each(self.recipe, X, y, indices, classes=classes, seeds=seeds), strict=True
        ):
            if column.any():
                targets[column] += model.predict_proba(take_records(X, np.flatnonzero(column)))
        return fit_targets(self.recipe, X, targets / self.without, classes=classes, seed=seed)


@dataclass(frozen=True)
class Averaged(Defended):
    """Train several models of random shares of the records, and answer their mean."""

    models: int = 10
    share: float = 0.5

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> AveragedModel:
        """Train them."""
        size = max(1, round(self.share * len(y)))
        seeds = [child_seed(seed, "bag", j) for j in range(self.models)]
        indices = [np.sort(generator(each, "bag").permutation(len(y))[:size]) for each in seeds]
        return AveragedModel(tuple(fit_each(self.recipe, X, y, indices, classes=classes, seeds=seeds)))


@dataclass(frozen=True)
class AveragedModel:
    """The mean of several models."""

    models: tuple[Model, ...]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return (n, classes) probabilities."""
        return np.asarray(np.mean([model.predict_proba(X) for model in self.models], axis=0), np.float64)


def transparent(recipe: Recipe, change: Callable[[Recipe], Recipe]) -> Recipe:
    """Return a recipe with what is behind its encoders changed; other mitigations count as the recipe."""
    if isinstance(recipe, Wrapping) and not isinstance(recipe, Defended):
        return recipe.around(transparent(recipe.inner, change))
    return change(recipe)


def fit_targets(recipe: Recipe, X: Any, targets: NDArray[np.float64], *, classes: int, seed: int) -> Model:
    """Train a model on shares of the classes; on the likeliest class where the recipe takes no shares."""
    if isinstance(recipe, Soft) and takes_shares(recipe):
        return recipe.fit_soft(X, targets, classes=classes, seed=seed)
    return recipe.fit(X, targets.argmax(axis=1), classes=classes, seed=seed)


def takes_shares(recipe: Recipe) -> bool:
    """Whether a recipe can be trained on shares of the classes: not by a loss of its own, nor without weights of records."""
    own = getattr(recipe, "loss", None) is not None or getattr(recipe, "weighs", True) is False
    return isinstance(recipe, Soft) and not own


def one_hot(y: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return (n, classes): 1 at each record's class."""
    return np.eye(classes)[y]


def _named(value: Any) -> dict[str, Any]:
    return {"name": type(value).__name__, **asdict(value)}


def _value(recipe: Any, parameter: str) -> int:
    """Return a parameter of a recipe, or of its estimator."""
    if hasattr(recipe, parameter):
        return int(getattr(recipe, parameter))
    return int(recipe.estimator.get_params()[parameter])
