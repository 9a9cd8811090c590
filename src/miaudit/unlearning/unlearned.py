"""A recipe whose trained models forget by a procedure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import take_records
from miaudit.errors import PlanError
from miaudit.recipes import Forgetting, GroupRecipe, Model, Openable, learners_of
from miaudit.recipes.wrapped import Wrapped, fit_each
from miaudit.seeds import child_seed
from miaudit.unlearning.procedures import Bools, Labels, OfRecipe, Procedure, Trained


@dataclass(frozen=True)
class Unlearned(Wrapped):
    """A recipe whose models forget by a procedure: it trains as the recipe within does.

    Parameters
    ----------
    recipe, procedure
        How to train, and how to forget.
    """

    procedure: Procedure

    def describe(self) -> dict[str, Any]:
        """Return the recipe's description: models that forget nothing are those of the recipe."""
        return self.recipe.describe()

    def history(self) -> dict[str, Any]:
        """Return what decides how models forget."""
        own = (
            self.recipe.history()
            if isinstance(self.recipe, Forgetting) and isinstance(self.procedure, OfRecipe)
            else {}
        )
        return {**self.procedure.history(), **({"of": own} if own else {})}

    def fit(self, X: Any, y: Labels, *, classes: int, seed: int) -> Model:
        """Train as the recipe does."""
        return self.recipe.fit(X, y, classes=classes, seed=seed)

    def group_width(self, shape: tuple[int, ...], classes: int) -> int:
        """Return the recipe's own width; 1 where it trains one model at a time."""
        return self.recipe.group_width(shape, classes) if isinstance(self.recipe, GroupRecipe) else 1

    def fit_many(
        self, X: Any, y: Labels, *, indices: Sequence[NDArray[np.int64]], classes: int, seeds: Sequence[int]
    ) -> Sequence[Model]:
        """Train as the recipe does, one after another where it trains one model at a time."""
        if isinstance(self.recipe, GroupRecipe) and not type(self.recipe).__module__.startswith("miaudit."):
            X, y = take_records(X, np.arange(len(y))), y.copy()  # others may change what they are given
        return fit_each(self.recipe, X, y, indices, classes=classes, seeds=seeds)

    def relearn(self, model: Model, X: Any, y: Labels, *, seed: int) -> int:
        """Return how many updates copies of all that would learn these records take to learn them again.

        Raises
        ------
        PlanError
            With the reason, if one of them has no weights that descend, or is gone.
        """
        learners = learners_of(model, X, y)
        if still := next((each.model for each in learners if not isinstance(each.model, Openable)), None):
            raise PlanError(f"{type(still).__name__} has no weights that descent could change")
        from miaudit.unlearning.relearning import relearning_steps

        seeds = [seed] if len(learners) == 1 else [child_seed(seed, "learner", i) for i in range(len(learners))]
        return sum(relearning_steps(*each, seed=own) for each, own in zip(learners, seeds, strict=True))

    def forget(self, model: Model, X: Any, y: Labels, *, forget: Bools, classes: int, seed: int) -> Model:
        """Return the model after the deletion by the procedure."""
        return self.procedure.after(Trained(model, X, y, self.recipe, classes), forget, seed=seed)
