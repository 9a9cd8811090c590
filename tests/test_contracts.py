"""Every recipe and every kind of target keeps its promises, and the checks find those that do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from miaudit.recipes import AmazonLike, Encoded, EstimatorRecipe, GoogleLike, ModuleRecipe, Network
from miaudit.targets import Target, as_target
from miaudit.testing import check_recipe, check_target

X = (4 * np.eye(3, 8)[np.arange(60) % 3] + np.random.default_rng(0).normal(size=(60, 8))).astype(np.float32)
Y = np.arange(60) % 3


def narrow() -> torch.nn.Module:
    return torch.nn.Linear(8, 3)


RECIPES = {
    "estimator": EstimatorRecipe(RandomForestClassifier(5)),
    "encoded": Encoded(EstimatorRecipe(LogisticRegression()), StandardScaler()),
    "network": Network(hidden=(8,), epochs=60),
    "amazon-like": AmazonLike(),
    "amazon-like, other knobs": AmazonLike(passes=3, l2=0.1, bins=4),
    "google-like": GoogleLike(),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_keep_their_promises(name):
    check_recipe(RECIPES[name])


@pytest.mark.parametrize("name", ["estimator", "amazon-like", "google-like"])
def test_recipes_take_sparse_records(name):
    check_recipe(RECIPES[name], sparse.csr_matrix(X), Y)


@dataclass(frozen=True)
class Spoilt:
    """A recipe with one promise broken."""

    how: str
    name: str = "spoilt"

    def describe(self) -> dict[str, Any]:
        return {"recipe": object()} if self.how == "description" else {"recipe": self.how}

    def fit(self, X, y, *, classes, seed):
        if self.how == "records":
            X[0] += 1
        if self.how == "global generator":
            np.random.seed(seed)  # noqa: NPY002
        columns = y.max() + 1 if self.how == "unseen class" else classes
        model = LogisticRegression().fit(X, y)
        noise = np.random.default_rng() if self.how == "seed" else None
        how = self.how

        class Model:
            def predict_proba(self, X):
                full = np.zeros((X.shape[0], columns))
                full[:, model.classes_] = model.predict_proba(X)
                if noise is not None:
                    full[:, 0] += 1e-9 * noise.random()
                return 2 * full if how == "sum" else full

        return Model()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("records", "changes the records"),
        ("global generator", "global random generator"),
        ("unseen class", "a class it never saw"),
        ("seed", "another model from the same seed"),
        ("sum", "does not answer with probabilities"),
    ],
)
def test_a_recipe_that_breaks_a_promise_is_found(how, said):
    state = np.random.get_state()  # noqa: NPY002
    try:
        with pytest.raises(AssertionError, match=said):
            check_recipe(Spoilt(how))
    finally:
        np.random.set_state(state)  # noqa: NPY002


def test_a_description_that_is_not_plain_is_found():
    with pytest.raises(TypeError, match="not JSON serializable"):
        check_recipe(Spoilt("description"))


def test_a_recipe_without_a_broken_promise_passes():
    check_recipe(Spoilt("nothing"))


def targets() -> dict[str, Target]:
    model = LogisticRegression().fit(X, Y)
    torch.manual_seed(0)
    return {
        "estimator": as_target(model, classes=3),
        "module": as_target(narrow(), classes=3),
        "labels": as_target(model.predict, classes=3),
        "rounded": as_target(lambda rows: np.round(model.predict_proba(rows), 1), classes=3),
        "logits": Target(model.decision_function, classes=3, kind="logits"),
    }


@pytest.mark.parametrize("name", sorted(targets()))
def test_targets_keep_their_promises(name):
    check_target(targets()[name], X)


def test_a_module_recipe_keeps_its_promises():
    check_recipe(ModuleRecipe(narrow, epochs=20))


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda rows: np.random.default_rng().dirichlet(np.ones(3), len(rows)), "otherwise when asked again"),
        (lambda rows: np.full((len(rows), 3), 1 / 3) + np.array([1, -1, 0]) / (3 * len(rows) + 9), "otherwise alone"),
    ],
)
def test_a_target_that_breaks_a_promise_is_found(ask, said):
    with pytest.raises(AssertionError, match=said):
        check_target(as_target(ask, classes=3), X)
