"""Deletion procedures against what they must do, and naive oracles of those that change weights."""

from __future__ import annotations

import math
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from miaudit.errors import PlanError
from miaudit.recipes import Encoded, EstimatorRecipe, ModuleRecipe, Network
from miaudit.unlearning import PROCEDURES, chosen_procedure
from miaudit.unlearning.procedures import Trained
from miaudit.unlearning.unlearned import Unlearned

CLASSES = 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 5)).astype(np.float32)
Y = RNG.integers(0, CLASSES, 90)
FORGET = np.arange(90) < 20
NETWORK = Network(hidden=(16,), activation="relu", epochs=60, learning_rate=0.01, batch=30)


def module() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.ReLU(), torch.nn.Linear(16, CLASSES))


RECIPES = {
    "network": NETWORK,
    "module": ModuleRecipe(module, epochs=60, learning_rate=0.01, batch=30),
    "encoded": Encoded(NETWORK, StandardScaler()),
}


def trained(recipe: Any = NETWORK) -> Trained:
    return Trained(recipe.fit(X, Y, classes=CLASSES, seed=3), X, Y, recipe, CLASSES)


def right(model: Any, part: Any) -> float:
    """Return the mean probability of the true class."""
    return float(model.predict_proba(X)[np.arange(len(Y)), Y][part].mean())


def test_retraining_is_training_on_what_stays_and_nothing_is_nothing() -> None:
    of = trained()
    again = chosen_procedure("retrain").after(of, FORGET, seed=7)
    fresh = NETWORK.fit(X[~FORGET], Y[~FORGET], classes=CLASSES, seed=7)
    assert (again.predict_proba(X) == fresh.predict_proba(X)).all()
    assert chosen_procedure("none").after(of, FORGET, seed=7) is of.model


@pytest.mark.parametrize(
    "recipe",
    [NETWORK, *(pytest.param(RECIPES[name], id=name, marks=pytest.mark.slow) for name in ("module", "encoded"))],
)
@pytest.mark.parametrize("name", ["fine-tune", "neggrad+", "scrub", "random-labels", "salun", "ssd"])
def test_procedures_of_weights_leave_the_first_model_alone_and_are_reproducible(name: str, recipe: Any) -> None:
    of = trained(recipe)
    before = of.model.predict_proba(X)
    one, two = (chosen_procedure(name).after(of, FORGET, seed=5).predict_proba(X) for _ in range(2))
    assert (one == two).all()
    assert (of.model.predict_proba(X) == before).all()
    assert one.shape == (90, CLASSES)
    assert np.isfinite(one).all()


@pytest.mark.parametrize(
    ("procedure", "falls"),
    [
        ({"name": "neggrad+", "share": 0.5, "batch": 20, "learning_rate": 0.05}, True),
        ({"name": "random-labels", "epochs": 20, "batch": 20, "learning_rate": 0.05}, True),
        ({"name": "scrub", "epochs": 10, "away": 8, "learning_rate": 0.01}, True),
        ({"name": "fine-tune", "epochs": 3}, False),
    ],
)
def test_what_is_to_be_forgotten_is_answered_worse_by_procedures_that_act_on_it(procedure: Any, falls: bool) -> None:
    of = trained()
    after = chosen_procedure(procedure).after(of, FORGET, seed=5)
    fall = right(of.model, FORGET) - right(after, FORGET)
    assert (fall > 0.15) == falls
    assert right(after, ~FORGET) > right(of.model, ~FORGET) - 0.2


def test_fine_tuning_is_momentum_descent_on_what_stays() -> None:
    of = trained()
    after = chosen_procedure({"name": "fine-tune", "epochs": 1, "batch": 1000, "learning_rate": 0.1}).after(
        of, FORGET, seed=5
    )
    opened = of.model.opened()  # type: ignore[attr-defined]
    weights = list(opened.module.parameters())
    rest = torch.from_numpy(np.flatnonzero(~FORGET))
    loss = functional.cross_entropy(opened.module(opened.rows(X))[rest], torch.from_numpy(Y)[rest])
    gradients = torch.autograd.grad(loss, weights)
    for array, weight, gradient in zip(after.tensors, weights, gradients, strict=True):  # type: ignore[attr-defined]
        assert array == pytest.approx((weight - 0.1 * gradient).detach().numpy(), abs=1e-5)


def test_dampening_shrinks_just_the_weights_that_matter_more_for_what_goes() -> None:
    of = trained()
    after = chosen_procedure({"name": "ssd", "alpha": 2.0, "dampening": 0.5, "batch": 1000}).after(of, FORGET, seed=5)
    opened = of.model.opened()  # type: ignore[attr-defined]
    weights = list(opened.module.parameters())
    rows, y = opened.rows(X), torch.from_numpy(Y)
    squares = []
    for part in (torch.from_numpy(np.flatnonzero(FORGET)), torch.arange(90)):
        loss = functional.cross_entropy(opened.module(rows[part]), y[part])
        squares.append([each.square().numpy() for each in torch.autograd.grad(loss, weights)])
    for array, weight, going, everyone in zip(after.tensors, weights, *squares, strict=True):  # type: ignore[attr-defined]
        old = weight.detach().numpy()
        expected = np.where(going > 2 * everyone, old * np.minimum(1, 0.5 * everyone / np.maximum(going, 1e-30)), old)
        assert array == pytest.approx(expected, abs=1e-6)


def test_saliency_changes_no_more_than_its_share_of_the_weights() -> None:
    of = trained()
    after = chosen_procedure({"name": "salun", "share": 0.25}).after(of, FORGET, seed=5)
    changed = [(a != b).mean() * a.size for a, b in zip(after.tensors, of.model.tensors, strict=True)]  # type: ignore[attr-defined]
    assert 0 < sum(changed) <= 0.26 * sum(each.size for each in of.model.tensors)  # type: ignore[attr-defined]


def test_a_mask_answers_zero_for_a_removed_class_and_rescales_the_rest() -> None:
    of = trained()
    answers = chosen_procedure("mask").after(of, Y == 1, seed=5).predict_proba(X)
    assert (answers[:, 1] == 0).all()
    assert answers.sum(axis=1) == pytest.approx(1)
    own = of.model.predict_proba(X)
    assert answers[:, 0] / answers[:, 2] == pytest.approx(own[:, 0] / own[:, 2], rel=1e-6)


def test_estimators_with_partial_fit_are_fine_tuned_by_it() -> None:
    recipe = EstimatorRecipe(SGDClassifier(loss="log_loss"))
    of = trained(recipe)
    after = chosen_procedure("fine-tune").after(of, FORGET, seed=5)
    assert (after.predict_proba(X) != of.model.predict_proba(X)).any()


def test_a_recipe_that_forgets_by_itself_is_a_procedure() -> None:
    """Sharded training hooks in here: by what a recipe can do, not by its class."""

    class Sharded:
        name = "sharded"

        def describe(self) -> dict[str, Any]:
            return {"recipe": "sharded"}

        def fit(self, X: Any, y: Any, *, classes: int, seed: int) -> Any:
            return NETWORK.fit(X, y, classes=classes, seed=seed)

        def forget(self, model: Any, X: Any, y: Any, *, forget: Any, classes: int, seed: int) -> Any:
            return self.fit(X[~forget], y[~forget], classes=classes, seed=1)

        def history(self) -> dict[str, Any]:
            return {"forget": "sharded", "version": 1}

    recipe = Unlearned(Sharded(), chosen_procedure("recipe"))
    model = recipe.fit(X, Y, classes=CLASSES, seed=3)
    after = recipe.forget(model, X, Y, forget=FORGET, classes=CLASSES, seed=9)
    expected = NETWORK.fit(X[~FORGET], Y[~FORGET], classes=CLASSES, seed=1).predict_proba(X)
    assert (after.predict_proba(X) == expected).all()
    assert recipe.history() == {"procedure": "recipe", "version": 1, "of": {"forget": "sharded", "version": 1}}
    assert recipe.describe() == {"recipe": "sharded"}


def test_the_history_tells_procedures_and_options_apart() -> None:
    entries: list[Any] = [*PROCEDURES, {"name": "fine-tune", "epochs": 9}, {"name": "sisa", "shards": 9}]
    functions = [lambda model, X, y, forget, seed: model, lambda model, X, y, forget, seed: replace(model)]
    chosen = [chosen_procedure(each) for each in (*entries, *functions)]
    recipes = [Unlearned(each.trains(NETWORK), each) for each in chosen]
    names = [str((each.describe(), each.history())) for each in recipes]
    assert len({*names}) == len(names)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "neggrad+", "share": 1.5},
        {"name": "ssd", "alpha": 0},
        {"name": "ssd", "batch": 1.5},
        {"name": "scrub", "away": -1},
        {"name": "scrub", "away": 1.5},
        {"name": "salun", "share": 0},
        {"name": "salun", "learning_rate": math.inf},
        3,
        {},
    ],
)
def test_options_that_cannot_be_are_refused(entry: Any) -> None:
    with pytest.raises(PlanError, match=r"unlearning\.procedure"):
        chosen_procedure(entry)


@pytest.mark.parametrize("value", ["2", None, [1], math.nan, math.inf, True, -1, -0.5], ids=str)
@pytest.mark.parametrize(
    "name", [name for name, kind in PROCEDURES.items() if {*signature(kind).parameters} - {"given"}]
)
def test_no_option_takes_what_is_no_number_of_its_range(name: str, value: Any) -> None:
    for option in signature(PROCEDURES[name]).parameters:
        with pytest.raises(PlanError, match=f"{option}: must be a (whole|finite) number"):
            PROCEDURES[name](**{option: value})
