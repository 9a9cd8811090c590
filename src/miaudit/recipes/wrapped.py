"""What recipes around another one share: encoders, defences, procedures that forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import take_records
from miaudit.recipes.fingerprint import Fingerprint, fingerprint_of_recipe
from miaudit.recipes.recipe import GroupRecipe, Model, Portioned, Recipe


@dataclass(frozen=True)
class Wrapped:
    """A recipe around ``recipe``; further fields say what it adds."""

    recipe: Recipe

    @property
    def name(self) -> str:
        """The recipe's own name."""
        return self.recipe.name

    @property
    def inner(self) -> Recipe:
        """The recipe within."""
        return self.recipe

    def around(self, recipe: Recipe) -> Self:
        """Return the same around another recipe."""
        return replace(self, recipe=recipe)

    def portion(self, shape: tuple[int, ...], classes: int, *, records: int) -> int | None:
        """Return how many models are one group of the recipe within at most; None where it does not say."""
        return self.recipe.portion(shape, classes, records=records) if isinstance(self.recipe, Portioned) else None

    def fingerprint(self) -> Fingerprint:
        """Return what decides the recipe within."""
        return fingerprint_of_recipe(self.recipe)


def fit_each(
    recipe: Recipe,
    X: Any,
    y: NDArray[np.int64],
    indices: Sequence[NDArray[np.int64]],
    *,
    classes: int,
    seeds: Sequence[int],
) -> Sequence[Model]:
    """Train one model for each entry of ``indices``, in one group where the recipe can."""
    if isinstance(recipe, GroupRecipe):
        return recipe.fit_many(X, y, indices=indices, classes=classes, seeds=seeds)
    return [
        recipe.fit(take_records(X, index), y[index], classes=classes, seed=seed)
        for index, seed in zip(indices, seeds, strict=True)
    ]
