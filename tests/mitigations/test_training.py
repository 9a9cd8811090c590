"""Mitigations of the training: what they do to a recipe, which recipes can have them, and what names their rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from miaudit.errors import PlanError
from miaudit.mitigations import (
    L2,
    Bagging,
    Distillation,
    Dropout,
    EarlyStopping,
    Knob,
    LabelSmoothing,
    Mixup,
    RelaxLoss,
    SplitDistillation,
)
from miaudit.mitigations.choice import usual
from miaudit.mitigations.defended import Averaged, Split, one_hot
from miaudit.mitigations.objectives import Relax
from miaudit.recipes import Encoded, EstimatorRecipe, Network, as_recipe
from miaudit.shadows.pool import recipe_name
from miaudit.threads import one_thread

rng = np.random.default_rng(7)
Y = rng.integers(0, 3, 90)
X = (np.eye(3)[Y] @ rng.normal(size=(3, 6)) + rng.normal(size=(90, 6))).astype(np.float32)
NET = Network(hidden=(8,), epochs=12, batch=10, learning_rate=0.01)

TORCH = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


def answers(recipe, seed=3):
    return recipe.fit(X, Y, classes=3, seed=seed).predict_proba(X)


@pytest.mark.parametrize(
    "mitigation",
    [
        *(LabelSmoothing(0.3), Mixup(0.5), RelaxLoss(0.4), Distillation(2.0), SplitDistillation(4, 2), Bagging(3)),
        *(L2(0.01), Dropout(0.4)),
    ],
    ids=lambda mitigation: mitigation.name,
)
def test_a_mitigated_recipe_is_a_recipe_and_deterministic(mitigation):
    recipe = as_recipe(mitigation.of(NET))
    one = answers(recipe)
    assert one.shape == (90, 3)
    assert np.allclose(one.sum(axis=1), 1)
    assert (one == answers(recipe)).all()
    assert np.abs(one - answers(NET)).max() > 1e-4
    assert recipe_name(recipe).parts != recipe_name(NET).parts
    assert not recipe_name(recipe).unknown


def test_early_stopping_trains_for_fewer_passes_where_that_serves_held_out_records():
    noise = np.random.default_rng(1).integers(0, 3, 90)
    net = Network(hidden=(32,), epochs=64, batch=10, learning_rate=0.01)
    stopped, whole = (each.fit(X, noise, classes=3, seed=2) for each in (EarlyStopping().of(net), net))
    assert stopped.recipe.epochs < 64
    sure = [model.predict_proba(X)[np.arange(90), noise].mean() for model in (stopped, whole)]
    assert sure[0] < sure[1] - 0.2


def test_smoothing_and_relaxing_leave_answers_less_sure():
    plain, smooth, relaxed = (
        answers(recipe).max(axis=1).mean()
        for recipe in (
            Network(hidden=(16,), epochs=60, batch=10, learning_rate=0.01),
            LabelSmoothing(0.4).of(Network(hidden=(16,), epochs=60, batch=10, learning_rate=0.01)),
            RelaxLoss(0.6).of(Network(hidden=(16,), epochs=60, batch=10, learning_rate=0.01)),
        )
    )
    assert smooth < plain - 0.05
    assert relaxed < plain - 0.05


def test_cross_entropy_of_one_hot_targets_is_the_plain_training():
    """Autograd on shares of the classes and the derivative written by hand come to the same network."""
    soft = NET.fit_soft(X, one_hot(Y, 3), classes=3, seed=3).predict_proba(X)
    assert np.allclose(soft, answers(NET), atol=2e-3)


def test_relaxloss_is_what_the_paper_writes():
    logits = TORCH.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    targets = TORCH.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    p = TORCH.softmax(logits, 1)
    ce = -p[:, 0].log()
    level = float(ce.mean()) + 0.5
    assert Relax(level).loss(logits, targets, 0) == pytest.approx(0.5, abs=1e-6)
    soft = TORCH.stack([p[1, 0], (1 - p[1, 0]) / 2, (1 - p[1, 0]) / 2])
    flat = -(soft * p[1].log()).sum()
    assert Relax(level).loss(logits, targets, 1) == pytest.approx(float((0 - ce[0] + flat - ce[1]) / 2), abs=1e-6)
    assert Relax(0.1).loss(logits, targets, 1) == pytest.approx(float(ce.mean()), abs=1e-6)


def test_split_distillation_answers_records_by_models_that_did_not_see_them():
    """With a nearest neighbour that remembers its records, only models without the record can err on it."""
    memory = EstimatorRecipe(KNeighborsClassifier(1))
    noise = np.random.default_rng(0).integers(0, 3, 90)
    model = Split(memory, models=6, without=2).fit(X, noise, classes=3, seed=1)
    learned = model.predict_proba(X).argmax(axis=1)
    assert (memory.fit(X, noise, classes=3, seed=1).predict_proba(X).argmax(axis=1) == noise).all()
    assert (learned == noise).mean() < 0.6  # chance is 1/3


def test_bagging_averages_models_of_shares():
    forest = EstimatorRecipe(RandomForestClassifier(3))
    model = Averaged(forest, models=4, share=0.5).fit(X, Y, classes=3, seed=2)
    assert len(model.models) == 4
    assert np.allclose(model.predict_proba(X), np.mean([each.predict_proba(X) for each in model.models], axis=0))


def test_own_knobs_are_turned_where_an_estimator_has_them():
    forest = EstimatorRecipe(RandomForestClassifier())
    assert Knob("max_depth", 3).of(forest).estimator.max_depth == 3
    assert forest.estimator.max_depth is None
    pipeline = EstimatorRecipe(make_pipeline(StandardScaler(), LogisticRegression()))
    assert Knob("C", 0.1).of(pipeline).estimator[-1].C == 0.1
    assert L2(0.5).of(EstimatorRecipe(MLPClassifier())).estimator.alpha == 0.5
    assert L2(0.5).of(EstimatorRecipe(HistGradientBoostingClassifier())).estimator.l2_regularization == 0.5
    stopped = EarlyStopping(0.2).of(EstimatorRecipe(MLPClassifier())).estimator
    assert (stopped.early_stopping, stopped.validation_fraction) == (True, 0.2)
    assert Dropout(0.5).of(NET).dropout == 0.5


def test_behind_an_encoder_the_recipe_within_is_meant():
    recipe = L2(0.01).of(Encoded(NET, StandardScaler()))
    assert isinstance(recipe, Encoded)
    assert recipe.inner.l2 == 0.01


@pytest.mark.parametrize(
    ("mitigation", "recipe"),
    [
        (Mixup(), EstimatorRecipe(RandomForestClassifier())),
        (L2(), EstimatorRecipe(RandomForestClassifier())),
        (EarlyStopping(), EstimatorRecipe(RandomForestClassifier())),
        (LabelSmoothing(), EstimatorRecipe(KNeighborsClassifier())),
        (Dropout(), EstimatorRecipe(MLPClassifier())),
        (Knob("depth", 3), EstimatorRecipe(RandomForestClassifier())),
        (Knob("width", 3), NET),
    ],
)
def test_what_a_recipe_cannot_have_is_refused(mitigation, recipe):
    with pytest.raises(PlanError):
        mitigation.of(recipe)


def test_the_usual_ones_fit_the_recipe():
    for recipe in (NET, EstimatorRecipe(RandomForestClassifier()), EstimatorRecipe(LogisticRegression())):
        for mitigation in usual(recipe):
            assert hasattr(mitigation, "apply") or mitigation.of(recipe) is not None
    names = {getattr(each, "parameter", each.name) for each in usual(EstimatorRecipe(RandomForestClassifier()))}
    assert {"max_depth", "min_samples_leaf", "label-smoothing", "bagging"} <= names
    assert "mixup" not in names
