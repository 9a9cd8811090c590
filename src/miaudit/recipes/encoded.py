"""A recipe behind an encoder: columns become numbers first, as learned from each model's own training records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import stack_records, take_records
from miaudit.recipes.estimator import describe_parameter
from miaudit.recipes.fingerprint import Fingerprint, fingerprint, joined
from miaudit.recipes.packing import packed_object, unpacked_object
from miaudit.recipes.recipe import Continuing, GroupRecipe, Learner, Model, Storable, choice_of, opened, passes_of
from miaudit.recipes.wrapped import Wrapped

if TYPE_CHECKING:
    from miaudit.recipes.opened import Opened


@dataclass(frozen=True)
class Encoded(Wrapped):
    """Fit a transformer on a model's training records, then train the recipe on what it makes of them.

    Parameters
    ----------
    recipe
        How to train on encoded records.
    encoder
        An unfitted scikit-learn transformer; cloned for every model.
    """

    encoder: Any

    def describe(self) -> dict[str, Any]:
        """Return the recipe's description and the encoder's."""
        return {"recipe": "encoded", "encoder": describe_parameter(self.encoder), "of": self.recipe.describe()}

    def fingerprint(self) -> Fingerprint:
        """Return what decides the encoder and the recipe behind it."""
        return joined(fingerprint(self.encoder, cloned=True), super().fingerprint())

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Any:
        """Train one model on records X and classes y."""
        encoder = self._fresh()
        return _behind(encoder, self.recipe.fit(encoder.fit_transform(X), y, classes=classes, seed=seed))

    @property
    def passes(self) -> int | None:
        """Passes of the recipe behind the encoder."""
        return passes_of(self.recipe)

    def further(self, model: Any, X: Any, y: NDArray[np.int64], *, classes: int, seed: int, passes: int) -> Any:
        """Train the model behind the encoder further; the encoder stays as the first records fitted it."""
        assert isinstance(self.recipe, Continuing)
        encoder = self._fresh().fit(X) if model is None else model.encoder
        inner = None if model is None else model.model
        records = encoder.transform(X)
        return _behind(encoder, self.recipe.further(inner, records, y, classes=classes, seed=seed, passes=passes))

    def arrays_of(self, model: Any) -> dict[str, NDArray[Any]] | None:
        """Return the encoder and the model behind it; None where either is more than arrays."""
        encoder = packed_object(model.encoder)
        inner = self.recipe.arrays_of(model.model) if isinstance(self.recipe, Storable) else None
        if encoder is None or inner is None:
            return None
        shape = np.asarray(getattr(model.model, "shape", ()), np.int64)
        return {"encoder": encoder, "shape": shape, **{f"of {name}": each for name, each in inner.items()}}

    def of_arrays(self, arrays: Mapping[str, NDArray[Any]], *, classes: int, shape: tuple[int, ...]) -> Any:
        """Return the model behind its encoder."""
        assert isinstance(self.recipe, Storable)
        encoder = unpacked_object(arrays["encoder"])
        inner = {name.removeprefix("of "): each for name, each in arrays.items() if name.startswith("of ")}
        shape = tuple(arrays["shape"].tolist())
        return _behind(encoder, self.recipe.of_arrays(inner, classes=classes, shape=shape))

    def _fresh(self) -> Any:
        from sklearn.base import clone

        return clone(self.encoder)

    def group_width(self, shape: tuple[int, ...], classes: int) -> int:
        """Return the recipe's own width, at most 8, as every model brings records of its own; 1 without groups."""
        return min(self.recipe.group_width(shape, classes), 8) if isinstance(self.recipe, GroupRecipe) else 1

    def fit_many(
        self, X: Any, y: NDArray[np.int64], *, indices: Sequence[NDArray[np.int64]], classes: int, seeds: Sequence[int]
    ) -> list[Any]:
        """Train one model for each entry of ``indices``, together where their encoders make as many columns."""
        encoders = [self._fresh() for _ in indices]
        encoded = [
            encoder.fit_transform(take_records(X, index)) for encoder, index in zip(encoders, indices, strict=True)
        ]
        models: list[Any] = [None] * len(encoders)
        for width in dict.fromkeys(each.shape[1:] for each in encoded):
            group = [i for i, each in enumerate(encoded) if each.shape[1:] == width]
            if isinstance(self.recipe, GroupRecipe):
                ends = np.cumsum([len(indices[i]) for i in group])
                inner = self.recipe.fit_many(
                    stack_records([encoded[i] for i in group]),
                    np.concatenate([y[indices[i]] for i in group]),
                    indices=np.split(np.arange(ends[-1]), ends[:-1]),
                    classes=classes,
                    seeds=[seeds[i] for i in group],
                )
            else:
                inner = [self.recipe.fit(encoded[i], y[indices[i]], classes=classes, seed=seeds[i]) for i in group]
            for i, model in zip(group, inner, strict=True):
                models[i] = _behind(encoders[i], model)
        return [model for model in models if model is not None]


@dataclass(frozen=True)
class EncodedModel:
    """A trained model behind its fitted encoder."""

    encoder: Any
    model: Model

    @property
    def choice(self) -> str | None:
        """What the training of the model behind the encoder chose."""
        return choice_of(self.model)

    def opened(self) -> Opened:
        """Return a copy whose weights can be changed further, behind the same encoder.

        Raises
        ------
        PlanError
            If the model behind the encoder has no weights that descend.
        """
        inner = opened(self.model)
        return replace(
            inner,
            rows=lambda X: inner.rows(self.encoder.transform(X)),
            closed=lambda: replace(self, model=inner.closed()),
        )

    def learners_for(self, X: Any, y: NDArray[np.int64]) -> list[Learner]:
        """Return the model behind the encoder, which stays as it is."""
        return [Learner(self.model, self.encoder.transform(X), y)]

    def predict_proba(self, X: Any) -> NDArray[np.floating[Any]]:
        """Return (n, classes) probabilities."""
        return self.model.predict_proba(self.encoder.transform(X))


@dataclass(frozen=True)
class EncodedLabels:
    """A trained model of a regression, or one that answers labels, behind its fitted encoder."""

    encoder: Any
    model: Any

    def predict(self, X: Any) -> NDArray[Any]:
        """Return (n,) numbers, or labels."""
        answers: NDArray[Any] = self.model.predict(self.encoder.transform(X))
        return answers


def _behind(encoder: Any, model: Any) -> EncodedModel | EncodedLabels:
    return (EncodedModel if hasattr(model, "predict_proba") else EncodedLabels)(encoder, model)
