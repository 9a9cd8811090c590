"""Checks that a recipe or a target keeps its promises, for authors of recipes and targets."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.recipes import GroupRecipe, Recipe
from miaudit.targets import Target


def check_recipe(recipe: Recipe, X: Any = None, y: NDArray[np.int64] | None = None, *, tolerance: float = 1e-5) -> None:
    """Train a recipe's models on a few records, and see that they come out as `Recipe` promises.

    Parameters
    ----------
    recipe
        A configured recipe.
    X, y
        Records it can be trained on and their classes 0, 1 and 2, easily told apart; default: 60 records of 8 numbers.
    tolerance
        How far answers of models trained together may be from those of models trained alone.

    Raises
    ------
    AssertionError
        If answers are not probabilities; if equal seeds differ; if the records, the description or a global random
        generator is changed; if the description is not plain JSON; if a class that was never seen has no column; if the
        model does no better than guessing on what it was trained on; or if models trained together come out otherwise.
    """
    name = recipe.name
    require(isinstance(name, str) and bool(name), f"a recipe's name must be a text, got {name!r}")
    X, y = _easy() if X is None or y is None else (X, y)
    X_before, y_before = copy.deepcopy(X), y.copy()
    description = json.dumps(recipe.describe(), sort_keys=True, allow_nan=False)
    generators = (random.getstate(), _state())
    answers = np.asarray(recipe.fit(X, y, classes=3, seed=7).predict_proba(X))
    require((random.getstate(), _state()) == generators, f"{name} draws from a global random generator, or seeds it")
    _probabilities(answers, len(y), 3, name)
    require(
        bool((answers.argmax(axis=1) == y).mean() > 0.5), f"{name} does not learn records that are easily told apart"
    )
    require(_same(X, X_before) and np.array_equal(y, y_before), f"{name} changes the records it is trained on")
    again = np.asarray(recipe.fit(X, y, classes=3, seed=7).predict_proba(X))
    require(np.array_equal(answers, again), f"{name} trains another model from the same seed")
    two = np.flatnonzero(y < 2)
    unseen = np.asarray(recipe.fit(X[two], y[two], classes=3, seed=7).predict_proba(X[:1]))
    _probabilities(unseen, 1, 3, f"{name}, of a class it never saw and one record,")
    after = json.dumps(recipe.describe(), sort_keys=True, allow_nan=False)
    require(
        description == after,
        f"{name} describes itself otherwise after training, so that its rows would not be found again",
    )
    if isinstance(recipe, GroupRecipe):
        everyone, most = np.arange(len(y)), np.arange(len(y))[: -len(y) // 4]
        for indices in ([everyone, everyone], [most, most[::-1].copy()]):
            models = recipe.fit_many(X, y, indices=indices, classes=3, seeds=[7, 8])
            for index, model, seed in zip(indices, models, (7, 8), strict=True):
                alone = np.asarray(recipe.fit(X[index], y[index], classes=3, seed=seed).predict_proba(X))
                off = np.abs(np.asarray(model.predict_proba(X)) - alone).max()
                require(off <= tolerance, f"{name} trains another model in a group than alone: {off} off in one answer")


def check_target(target: Target, X: Any) -> None:
    """Ask a target about a few records, and see that it answers as `Target` promises.

    Parameters
    ----------
    target
        A target that is not randomised.
    X
        At least two records it can be asked about.

    Raises
    ------
    AssertionError
        If answers are not of the kind it tells; if it answers the same records otherwise when asked again, or one by one;
        if it miscounts its queries; or if the records are changed.
    """
    before, n = copy.deepcopy(X), X.shape[0]
    count = target.queries
    outputs = target.answer(X)
    values = outputs.values
    require(
        target.queries - count == n, f"the target was asked about {n:,} records and counts {target.queries - count}"
    )
    require(outputs.kind == target.kind, f"the target answers {outputs.kind} and says it answers {target.kind}")
    if outputs.kind == "labels":
        require(
            values.shape == (n,)
            and values.dtype == np.int64
            and bool((values >= 0).all() and (values < target.classes).all()),
            f"labels must be ({n},) class numbers below {target.classes}, got {values.shape} {values.dtype}",
        )
    elif outputs.kind == "probabilities" and target.decimals is None:
        _probabilities(values, n, target.classes, "the target")
    else:
        require(
            values.shape == (n, target.classes) and bool(np.isfinite(values).all()),
            f"answers must be ({n}, {target.classes}) finite numbers, got {values.shape}",
        )
    again = target.answer(X).values
    require(np.array_equal(values, again), "the target answers the same records otherwise when asked again")
    alone = target.answer(X[:1]).values
    require(
        bool(np.allclose(values[:1], alone, atol=1e-5)), "the target answers a record otherwise alone than among others"
    )
    require(_same(X, before), "the target changes the records it is asked about")


def _easy() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(np.random.SeedSequence(5))
    y = np.arange(60) % 3
    return (4 * np.eye(3, 8)[y] + rng.normal(size=(60, 8))).astype(np.float32), y


def _probabilities(answers: NDArray[Any], n: int, classes: int, name: str) -> None:
    require(answers.shape == (n, classes), f"{name} answers with shape {answers.shape}; expected ({n}, {classes})")
    require(
        bool(
            np.isfinite(answers).all() and (answers >= -1e-6).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-3)
        ),
        f"{name} does not answer with probabilities that sum to one",
    )


def _state() -> str:
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  it is the global generator that is watched
    return repr((kind, np.asarray(keys).tolist(), rest))


def _same(X: Any, Y: Any) -> bool:
    if hasattr(X, "toarray"):
        return bool((X != Y).nnz == 0)
    return bool(X.equals(Y)) if hasattr(X, "equals") else bool(np.array_equal(X, Y))


def require(holds: bool, sentence: str) -> None:
    """Raise an AssertionError with a sentence unless something holds."""
    if not holds:
        raise AssertionError(sentence)
