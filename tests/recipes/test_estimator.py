from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier

from miaudit.errors import PlanError
from miaudit.recipes import Encoded, EstimatorRecipe, Network, as_recipe, estimator_from_function, named_estimator

X = np.random.default_rng(0).normal(size=(80, 5))
Y = np.arange(80) % 4


def halve(X):
    return X / 2


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(5),
        make_pipeline(StandardScaler(), PCA(3), MLPClassifier((8,), max_iter=20, random_state=3)),
        BaggingClassifier(DecisionTreeClassifier(random_state=1), 3),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_model_belongs_to_its_seed_and_the_estimator_is_never_touched(estimator):
    before = repr(estimator.get_params())
    recipe = EstimatorRecipe(estimator)
    one, same, other = (recipe.fit(X, Y, classes=4, seed=seed).predict_proba(X) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert repr(estimator.get_params()) == before
    assert not hasattr(estimator, "classes_")


def test_a_class_without_records_keeps_its_column():
    values = EstimatorRecipe(RandomForestClassifier(5)).fit(X[Y != 1], Y[Y != 1], classes=4, seed=0).predict_proba(X)
    assert values.shape == (80, 4)
    assert (values[:, 1] == 0).all()


def test_models_are_trained_with_the_users_own_labels():
    names = ("a", "b", "c", "d")
    model = EstimatorRecipe(LogisticRegression(), names).fit(X, Y, classes=4, seed=0)
    assert list(model.estimator.classes_) == list(names)
    assert model.predict_proba(X).shape == (80, 4)


BOOSTERS = ["xgboost.XGBClassifier", "lightgbm.LGBMClassifier"]


def booster(path: str):
    options = {"n_estimators": 8, "max_depth": 3, "subsample": 0.7, "n_jobs": -1}
    options |= {"subsample_freq": 1, "min_child_samples": 2, "verbose": -1} if path.startswith("lightgbm") else {}
    pytest.importorskip(path.split(".")[0])
    return named_estimator(path, options)


@pytest.mark.parametrize("path", BOOSTERS)
def test_boosted_trees_belong_to_their_seed_and_are_never_touched(path):
    estimator = booster(path)
    before = repr(estimator.get_params())
    for given in (estimator, make_pipeline(StandardScaler(), estimator)):
        recipe = as_recipe(given)
        models = [recipe.fit(X, Y, classes=4, seed=seed) for seed in (1, 1, 2)]
        one, same, other = (model.predict_proba(X) for model in models)
        assert one.shape == (80, 4)
        np.testing.assert_allclose(one.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)
        inner = models[0].estimator.steps[-1][1] if given is not estimator else models[0].estimator
        assert inner.n_jobs == 1
        assert recipe.describe()["libraries"][path.split(".")[0]]
    assert repr(estimator.get_params()) == before
    assert not hasattr(estimator, "n_features_in_")


@pytest.mark.parametrize("path", BOOSTERS)
def test_boosted_trees_may_lack_a_class_and_be_given_names(path):
    for names in (None, ("a", "b", "c", "d")):
        for lacking in (1, 3):
            seen = lacking != Y
            model = EstimatorRecipe(booster(path), names).fit(X[seen], Y[seen], classes=4, seed=0)
            values = model.predict_proba(X)
            assert (values[:, lacking] == 0).all()
            assert (values.argmax(1) == Y)[seen].mean() > 0.6  # columns in the order of the classes


def test_descriptions_tell_recipes_apart_and_equal_ones_are_equal():
    described = [
        EstimatorRecipe(estimator).describe()
        for estimator in (
            LogisticRegression(),
            LogisticRegression(C=2.0),
            LogisticRegression(C=2),
            make_pipeline(StandardScaler(), LogisticRegression()),
            make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
            make_pipeline(FunctionTransformer(halve), LogisticRegression()),
            RandomForestClassifier(),
            RandomForestClassifier(class_weight={0: 2.0}),
        )
    ]
    assert len({repr(d) for d in described}) == len(described)
    assert EstimatorRecipe(LogisticRegression()).describe() == described[0]
    assert EstimatorRecipe(RandomForestClassifier(random_state=7)).describe() == described[6]


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (3, "does not say how"),
        (RandomForestClassifier, "is the class RandomForestClassifier, not one of its objects"),
        (Network, "is the class Network, not one of its objects"),
    ],
)
def test_what_cannot_train_shadows_is_refused(thing, said):
    with pytest.raises(PlanError, match=said):
        as_recipe(thing)


def test_estimators_are_made_from_import_paths():
    pipeline = named_estimator(
        "sklearn.neural_network.MLPClassifier",
        {"hidden_layer_sizes": [8, 4]},
        [("sklearn.preprocessing.StandardScaler", {"with_mean": False})],
    )
    assert pipeline.steps[0][1].with_mean is False
    assert pipeline.steps[1][1].hidden_layer_sizes == (8, 4)


@pytest.mark.parametrize(
    ("path", "params", "said"),
    [
        ("RandomForestClassifier", {}, "no import path"),
        ("sklearn.ensemble.RandomForest", {}, "cannot be imported"),
        ("no_such_package.Model", {}, "not on the list"),
        ("sklearn.ensemble.RandomForestClassifier", {"trees": 3}, "refuses its parameters"),
        ("pathlib.Path", {}, "not on the list"),
    ],
)
def test_bad_import_paths_are_explained(path, params, said):
    with pytest.raises(PlanError, match=said):
        named_estimator(path, params)


def test_an_estimator_from_a_function_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    (tmp_path / "my_recipe_for_tests.py").write_text(
        "from sklearn.tree import DecisionTreeClassifier\n"
        "def build():\n    return DecisionTreeClassifier(max_depth=2)\n"
        "def fails():\n    raise ValueError('no')\n"
    )
    assert estimator_from_function(f"{tmp_path}/my_recipe_for_tests.py:build").max_depth == 2
    with pytest.raises(PlanError, match="ValueError: no"):
        estimator_from_function(f"{tmp_path}/my_recipe_for_tests.py:fails")
    with pytest.raises(PlanError, match="no function 'other'"):
        estimator_from_function(f"{tmp_path}/my_recipe_for_tests.py:other")
    with pytest.raises(PlanError, match="no function of a file"):
        estimator_from_function(f"{tmp_path}/none.py:build")


def test_an_encoder_is_fitted_on_each_models_own_records():
    recipe = Encoded(EstimatorRecipe(LogisticRegression()), StandardScaler())
    model = recipe.fit(X[:40] + 5, Y[:40], classes=4, seed=0)
    np.testing.assert_allclose(model.encoder.mean_, (X[:40] + 5).mean(axis=0))
    assert not hasattr(recipe.encoder, "mean_")
    assert model.predict_proba(X).shape == (80, 4)
    assert recipe.describe() != EstimatorRecipe(LogisticRegression()).describe()


def test_encoded_models_are_trained_in_a_group_as_they_would_be_alone():
    pytest.importorskip("torch")
    from miaudit.recipes import Network

    words = np.array([["a", "b", "c", "d"][i % 4] for i in range(80)], dtype=object)[:, None]
    words[::9] = "rare"
    indices = [
        np.arange(40),
        np.arange(8),
        np.arange(20, 60),
        np.arange(1, 9),
    ]  # the second knows no "c" or "d" of its own
    indices[1] = np.flatnonzero(words[:, 0] == "a")[:8]
    for recipe in (Network(hidden=(6,), epochs=4, batch=10), EstimatorRecipe(DecisionTreeClassifier())):
        encoded = Encoded(recipe, OneHotEncoder(handle_unknown="ignore", sparse_output=False))
        assert encoded.group_width((1,), 4) == (8 if isinstance(recipe, Network) else 1)
        together = encoded.fit_many(words, Y, indices=indices, classes=4, seeds=range(4))
        for model, index, seed in zip(together, indices, range(4), strict=True):
            alone = encoded.fit(words[index], Y[index], classes=4, seed=seed)
            np.testing.assert_allclose(model.predict_proba(words), alone.predict_proba(words), atol=1e-6)


@pytest.mark.filterwarnings("ignore:y contains no unlabeled samples")
def test_names_of_classes_are_given_as_columns_of_frames_hold_them():
    base = SelfTrainingClassifier(DecisionTreeClassifier(random_state=0))  # takes texts as objects alone
    model = EstimatorRecipe(base, classes=("a", "b", "c", "d")).fit(X, Y, classes=4, seed=0)
    assert model.predict_proba(X).argmax(axis=1).tolist() == Y.tolist()
