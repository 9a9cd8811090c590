"""The stand-ins for the paper's two services."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from miaudit import audit
from miaudit.attacks import Threshold
from miaudit.auditing.case import Case
from miaudit.auditing.scope import unlike_choices
from miaudit.data import draw_split, from_arrays
from miaudit.errors import PlanError
from miaudit.plan import Plan, ShadowPlan
from miaudit.recipes import AmazonLike, Encoded, EstimatorRecipe, GoogleLike, choice_of, standin

RNG = np.random.default_rng(3)
BITS = RNG.integers(0, 2, (80, 12)).astype(np.float64)
CLASSES = (BITS[:, :3].sum(axis=1)).astype(np.int64) % 3


def by_hand(X, y, classes, passes, l2, seed):
    """The update written out for each record and class."""
    rng, rate = np.random.default_rng(seed), 2.0 / np.mean([row @ row for row in X])
    W, b = np.zeros((X.shape[1], classes)), np.zeros(classes)
    for _ in range(passes):
        order = rng.permutation(len(X))
        for start in range(0, len(X), 10):
            some = order[start : start + 10]
            dW, db = np.zeros_like(W), np.zeros_like(b)
            for i in some:
                p = softmax(X[i] @ W + b)
                for c in range(classes):
                    error = (p[c] - (y[i] == c)) / len(some)
                    dW[:, c] += error * X[i]
                    db[c] += error
            W, b = W - rate * (dW + l2 * W), b - rate * db
    return W, b


def test_amazon_like_is_softmax_regression_by_gradient_steps_and_binary_features_are_not_binned():
    model = AmazonLike(passes=4, l2=1e-2).fit(BITS, CLASSES, classes=3, seed=5)
    W, b = by_hand(BITS, CLASSES, 3, 4, 1e-2, 5)
    np.testing.assert_allclose(model.weights, W, atol=1e-12)
    np.testing.assert_allclose(np.log(model.predict_proba(BITS)), log_softmax(BITS @ W + b, axis=1), atol=1e-9)


def test_numeric_features_are_binned_by_quantiles():
    x = np.linspace(0, 1, 101)[:, None] ** 3
    y = ((x[:, 0] > 0.2) & (x[:, 0] < 0.6)).astype(np.int64)  # no straight line tells them
    model = AmazonLike(passes=50, bins=10).fit(x, y, classes=2, seed=0)
    assert (model.predict_proba(x).argmax(axis=1) == y).mean() > 0.85
    assert model.weights.shape == (10, 2)
    far = np.array([[-9.0], [0.0], [1.0], [9.0]])
    answers = model.predict_proba(far)
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[2], answers[3])


def test_more_passes_fit_closer_and_l2_keeps_weights_small():
    few, many = (AmazonLike(passes=n).fit(BITS, CLASSES, classes=3, seed=0) for n in (2, 100))
    right = np.arange(80), CLASSES
    assert many.predict_proba(BITS)[right].mean() > few.predict_proba(BITS)[right].mean()
    small = AmazonLike(passes=100, l2=0.1).fit(BITS, CLASSES, classes=3, seed=0)
    assert np.abs(small.weights).max() < np.abs(many.weights).max()


@pytest.mark.slow
def test_google_like_takes_the_learner_that_holds_out_best():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6))
    line = GoogleLike().fit(X, (X @ np.ones(6) > 0).astype(np.int64), classes=2, seed=0)
    corners = GoogleLike().fit(X, ((np.abs(X[:, :2]) > 0.6).sum(axis=1) == 1).astype(np.int64), classes=2, seed=0)
    names = type(line.estimator).__name__, type(corners.estimator).__name__
    assert names == ("LogisticRegression", "RandomForestClassifier")
    assert (choice_of(line), choice_of(corners)) == ("logistic regression", "random forest")
    assert choice_of(Encoded(GoogleLike(), StandardScaler()).fit(X, (X @ np.ones(6) > 0) * 1, classes=2, seed=0)) == (
        "logistic regression"
    )


def test_models_that_were_given_other_settings_than_the_target_are_counted():
    """A search of scikit-learn settles on other parameters for each model, as labels are noise."""
    y = np.random.default_rng(0).integers(0, 2, len(BITS))
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1, 2, 3, 4, 5, 6]}, cv=2)
    dataset = from_arrays(np.random.default_rng(1).normal(size=(160, 3)), np.concatenate([y, 1 - y]))
    case = Case(
        title="noise",
        seed=0,
        dataset=dataset,
        split=draw_split(dataset, members=40, nonmembers=40, seed=0),
        recipe=EstimatorRecipe(search),
        target=None,
        document={},
        shadows=ShadowPlan(count=4),
        attacks=(Threshold(),),
    )
    result = audit(case, jobs=0)
    warning = next(each for each in result.warnings if "chooses what it trains" in each)
    assert "the target got n_neighbors = " in warning
    assert "of 4 shadow models got something else" in warning


@pytest.mark.parametrize(
    ("target", "shadows", "said"),
    [
        (None, [None, None], None),
        ("a", ["a", "a", None], None),
        (None, ["a", "a"], None),
        (
            "a",
            ["a", "b", "b"],
            "the target got a, and 2 of 3 shadow models got something else (2 of them: b; 1 of them: a)",
        ),
        (None, ["a", "b"], "what the target got is not known"),
        ("a", list("bcdefg"), "; 2 further choices"),
    ],
)
def test_a_warning_counts_choices_unlike_the_target(target, shadows, said):
    warnings = unlike_choices(target, shadows)
    assert len(warnings) == (said is not None)
    assert said is None or said in warnings[0]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_google_like_trains_on_very_few_records(n):
    answers = GoogleLike().fit(BITS[:n], np.zeros(n, np.int64), classes=3, seed=0).predict_proba(BITS)
    np.testing.assert_array_equal(answers, np.tile([1.0, 0.0, 0.0], (80, 1)))


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("amazon-like", {"passes": 0, "l2": -1}, r"passes: must be .*, got 0\n.*l2: must be .*, got -1"),
        ("amazon-like", {"epochs": 3}, r"epochs: the amazon-like stand-in has no such knob; it has passes, l2"),
        ("google-like", {"passes": 3}, r"passes: the google-like stand-in has no such knob; it has none"),
        ("amazon-like", {"l2": "much"}, r"l2: must be a finite number from 0 and below 1, got .much."),
    ],
)
def test_knobs_that_are_not_there_are_told(name, params, said):
    with pytest.raises(PlanError, match=said):
        standin(name, params)


def test_a_plan_names_the_stand_in_in_its_result():
    plan = {
        "data": {"name": "digits"},
        "split": {"members": 200},
        "recipe": {"standin": "amazon-like", "params": {"passes": 3}},
        "shadows": {"count": 2},
        "attacks": ["threshold"],
    }
    result = audit(plan, jobs=0)
    assert result.target.description == result.shadows.recipe == "Amazon-like stand-in (3 passes, L2 1e-06)"
    with pytest.raises(PlanError, match=r"recipe\.params\.l2: must be .*, got -1"):
        audit({**plan, "recipe": {"standin": "amazon-like", "params": {"l2": -1}}}, jobs=0)
    with pytest.raises(PlanError, match="in one way: estimator, standin, function"):
        Plan.of({**plan, "recipe": {"standin": "google-like", "estimator": "a.B"}})
