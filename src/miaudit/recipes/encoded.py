"""A recipe behind an encoder: columns become numbers first, as learned from each model's own training records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.recipes.estimator import describe_parameter
from miaudit.recipes.recipe import Model, Recipe


@dataclass(frozen=True)
class Encoded:
    """Fit a transformer on a model's training records, then train the recipe on what it makes of them.

    Parameters
    ----------
    recipe
        How to train on encoded records.
    encoder
        An unfitted scikit-learn transformer; cloned for every model.
    """

    recipe: Recipe
    encoder: Any

    @property
    def name(self) -> str:
        """The recipe's own name."""
        return self.recipe.name

    def describe(self) -> dict[str, Any]:
        """Return the recipe's description and the encoder's."""
        return {"recipe": "encoded", "encoder": describe_parameter(self.encoder), "of": self.recipe.describe()}

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> EncodedModel:
        """Train one model on records X and classes y."""
        from sklearn.base import clone

        encoder = clone(self.encoder)
        return EncodedModel(encoder, self.recipe.fit(encoder.fit_transform(X), y, classes=classes, seed=seed))


@dataclass(frozen=True)
class EncodedModel:
    """A trained model behind its fitted encoder."""

    encoder: Any
    model: Model

    def predict_proba(self, X: Any) -> NDArray[np.floating[Any]]:
        """Return (n, classes) probabilities."""
        return self.model.predict_proba(self.encoder.transform(X))
