"""What scikit-learn says of parameters only when it fits is said before a record is read."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import CategoricalNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

import miaudit
from miaudit.auditing import case_of_model, case_of_plan
from miaudit.cli import main
from miaudit.errors import PlanError
from miaudit.recipes import as_recipe
from miaudit.recipes.building import named_estimator
from miaudit.recipes.parameters import by_class_numbers
from miaudit.targets.stages import stages_of

WRONG = {
    "one value": (LogisticRegression(C=-1), "LogisticRegression cannot be trained: The 'C' parameter"),
    "a type": (RandomForestClassifier(max_depth="deep"), "'max_depth' parameter"),
    "behind steps": (make_pipeline(StandardScaler(), LogisticRegression(tol=-1.0)), "'tol' parameter"),
    "a step": (make_pipeline(PCA(n_components=-3), LogisticRegression()), "PCA cannot be trained: The 'n_components'"),
    "a step behind one that wants texts": (
        make_pipeline(TfidfVectorizer(), SelectKBest(k=-1), LogisticRegression()),
        "'k' parameter",
    ),
    "inside another": (CalibratedClassifierCV(SVC(C=0.0)), "SVC cannot be trained: The 'C' parameter"),
    "in a column": (
        make_pipeline(ColumnTransformer([("a", OneHotEncoder(drop="no"), ["x"])]), LogisticRegression()),
        "'drop' parameter",
    ),
    "two together": (LogisticRegression(solver="lbfgs", l1_ratio=1.0, penalty="l1"), "lbfgs"),
    "a network": (MLPClassifier(hidden_layer_sizes=(-1,)), "hidden_layer_sizes must be > 0"),
}


@pytest.mark.parametrize("way", WRONG)
def test_a_parameter_that_nothing_can_be_trained_with_is_refused(way):
    estimator, words = WRONG[way]
    with pytest.raises(PlanError, match=words):
        as_recipe(estimator)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        LogisticRegression(C=np.float64(2)),
        KNeighborsClassifier(80),  # more than the trial has records
        make_pipeline(PCA(n_components=50), LogisticRegression()),
        make_pipeline(TfidfVectorizer(), MultinomialNB()),
        make_pipeline(ColumnTransformer([("t", TfidfVectorizer(), "text")]), LogisticRegression()),
        CategoricalNB(min_categories=20),
        CalibratedClassifierCV(SVC(), cv=30),
        HistGradientBoostingClassifier(max_iter=500, categorical_features=[7]),  # a column that the trial lacks
        GaussianNB(priors=[0.2, 0.3, 0.5]),
        LogisticRegression(class_weight={"yes": 1, "no": 2}),
        LinearDiscriminantAnalysis(n_components=9),
        KNeighborsClassifier(metric="haversine"),
        LogisticRegression(solver="liblinear"),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_some_records_could_be_trained_with_is_not_refused(estimator):
    assert as_recipe(estimator).estimator is estimator


def test_a_large_network_costs_no_time():
    began = time.process_time()
    as_recipe(MLPClassifier(hidden_layer_sizes=(512, 512), max_iter=100_000))
    as_recipe(RandomForestClassifier(n_estimators=100_000))
    assert time.process_time() - began < 2


def test_nothing_of_the_estimator_is_changed():
    estimator = RandomForestClassifier(n_estimators=7)
    before = estimator.get_params()
    as_recipe(estimator)
    assert estimator.get_params() == before
    assert not hasattr(estimator, "classes_")


def test_the_plan_is_refused_before_its_data_is_read(tmp_path):
    with pytest.raises(PlanError, match="'C' parameter"):
        named_estimator("sklearn.linear_model.LogisticRegression", {"C": -1})
    plan = {
        "data": {"path": str(tmp_path / "absent.npz")},
        "split": {"members": 30},
        "recipe": {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"C": -1}},
    }
    with pytest.raises(PlanError, match=r"recipe: LogisticRegression cannot be trained: The 'C' parameter"):
        miaudit.audit(plan)
    rng = np.random.default_rng(0)
    sides = [(rng.normal(size=(40, 3)), np.arange(40) % 2) for _ in range(3)]
    sides = dict(zip(("members", "nonmembers", "population"), sides, strict=True))
    model = LogisticRegression().fit(*sides["members"])
    with pytest.raises(PlanError, match="LogisticRegression cannot be trained"):
        miaudit.audit(model, **sides, recipe=LogisticRegression(C=-1), shadows=1)


def test_the_command_ends_with_the_code_of_a_plan_error(tmp_path):
    from click.testing import CliRunner

    (tmp_path / "plan.toml").write_text(
        '[data]\nname = "digits"\n[split]\nmembers = 100\n[recipe]\nestimator = "sklearn.linear_model.LogisticRegression"\n'
        "params = { C = -1 }\n"
    )
    done = CliRunner().invoke(main, ["run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.npz"))


class Renamed(ClassifierMixin, BaseEstimator):
    """An estimator that keeps its parameter under another name."""

    def __init__(self, depth=5):
        self.d = depth

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)


class Anything(Renamed):
    """An estimator whose parameters have no names."""

    def __init__(self, *parameters):
        self.parameters = parameters


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (Renamed(), "no attribute 'depth'"),
        (Anything(), "no varargs"),
        (make_pipeline(Renamed()), "no attribute 'depth'"),
    ],
)
def test_an_estimator_that_does_not_tell_its_parameters_is_refused_with_what_to_do(estimator, name):
    with pytest.raises(PlanError, match=f"(?s){name}.*under its own name"):
        as_recipe(estimator)
    X, y = np.random.default_rng(0).normal(size=(90, 2)), np.arange(90) % 2
    sides = dict(zip(("members", "nonmembers", "population"), [(X[i::3], y[i::3]) for i in range(3)], strict=True))
    if not hasattr(estimator, "steps"):
        with pytest.raises(PlanError, match="get_params fails"):
            miaudit.audit(estimator.fit(X, y), **sides)


@pytest.mark.parametrize(
    ("estimator", "what"),
    [
        (RandomForestRegressor(), 'a regressor, and the labels are classes.*task = "regression"'),
        (make_pipeline(StandardScaler(), LinearRegression()), "a regressor"),
        (KMeans(2), "a clusterer, and the labels are classes"),
        (IsolationForest(), "a detector"),
        (GaussianMixture(2), "a density estimator"),
    ],
)
def test_what_is_no_classifier_is_refused_before_anything_is_trained(estimator, what):
    with pytest.raises(PlanError, match=what):
        as_recipe(estimator)
    X, y = np.random.default_rng(0).normal(size=(90, 2)), np.arange(90) % 2
    sides = dict(zip(("members", "nonmembers", "population"), [(X[i::3], y[i::3]) for i in range(3)], strict=True))
    with pytest.raises(PlanError, match=what):  # a classifier is audited as one, whatever its recipe is
        miaudit.audit(GaussianNB().fit(X, y), recipe=estimator, **sides)


def test_weights_of_classes_go_by_the_names_of_a_plan():
    weights = {"no": 1, "yes": 5}
    ours = by_class_numbers(make_pipeline(StandardScaler(), LogisticRegression(class_weight=weights)), ["no", "yes"])
    X = np.random.default_rng(0).normal(size=(90, 2))
    y = (X[:, 0] > 0).astype(int)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(class_weight=weights)).fit(X, np.array([*weights])[y])
    np.testing.assert_allclose(ours.fit(X, y).predict_proba(X), theirs.predict_proba(X))
    with pytest.raises(
        PlanError, match=r"class_weight names 'maybe', which is no class; the classes are \['no', 'yes'\]"
    ):
        by_class_numbers(LogisticRegression(class_weight={"maybe": 1}), ["no", "yes"])
    assert by_class_numbers(LogisticRegression(class_weight="balanced"), ["no", "yes"]).class_weight == "balanced"
    numbers = LogisticRegression(class_weight={0: 1, 1: 5})  # as code may have them
    assert by_class_numbers(numbers, ["no", "yes"]).class_weight == {0: 1, 1: 5}
    with pytest.raises(PlanError, match="class_weight names 2, which is no class"):
        by_class_numbers(LogisticRegression(class_weight={2: 1}), ["no", "yes"])


def test_a_plan_may_weight_its_classes(tmp_path):
    X = np.random.default_rng(0).normal(size=(120, 2))
    np.savez(tmp_path / "all.npz", X=X, y=np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)])
    recipe = {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"class_weight": {"no": 1, "yes": 5}}}
    plan = {"data": {"path": str(tmp_path / "all.npz")}, "split": {"members": 30}, "recipe": recipe}
    case = case_of_plan({**plan, "shadows": {"count": 2}})
    dataset = case.dataset
    model = case.recipe.fit(dataset.X, np.asarray(dataset.y), classes=2, seed=0)
    even = case_of_plan({**plan, "recipe": {**recipe, "params": {}}}).recipe.fit(
        dataset.X, dataset.y, classes=2, seed=0
    )
    assert model.predict_proba(dataset.X)[:, 1].mean() > even.predict_proba(dataset.X)[:, 1].mean() + 0.05


@pytest.mark.parametrize("first", [DictVectorizer(sparse=False), FeatureHasher(16)])
def test_a_pipeline_of_dictionaries_is_refused_with_the_step_to_put_in_front(first):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": np.arange(60) % 7, "c": np.array(["x", "y", "z"])[np.arange(60) % 3]})
    y = np.arange(60) % 3 % 2
    model = make_pipeline(first, LogisticRegression()).fit(frame.to_dict("records"), y)
    sides = {"members": (frame[:30], y[:30]), "nonmembers": (frame[30:], y[30:]), "population": (frame, y)}
    with pytest.raises(PlanError, match=f"begins with {type(first).__name__}, .*FunctionTransformer"):
        case_of_model(model, **sides, shadows=2)
    advised = Pipeline([("records", FunctionTransformer(lambda X: X.to_dict("records"))), *model.steps])
    case = case_of_model(advised, **sides, shadows=2)
    answers = case.target.answer(case.dataset.X).values
    np.testing.assert_array_equal(answers[:60], model.predict_proba(frame.to_dict("records")))
    assert case.recipe.fit(case.dataset.X, case.dataset.y, classes=2, seed=0)


@pytest.mark.parametrize(
    ("library", "name"), [("xgboost", "early_stopping_rounds"), ("lightgbm", "early_stopping_round")]
)
def test_boosting_that_stops_early_is_refused_with_the_rounds_that_it_kept(library, name):
    module = pytest.importorskip(library)
    kind = module.XGBClassifier if library == "xgboost" else module.LGBMClassifier
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    y = (X[:, 0] > 0).astype(int)
    model = kind(n_estimators=9, n_jobs=1, **{name: 2, "verbosity": 0 if library == "xgboost" else -1})
    with pytest.raises(PlanError, match=rf"{name} = 2\), .* trains as many rounds as the target kept"):
        as_recipe(make_pipeline(StandardScaler(), model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LightGBM's, of the name of eval_set
        model.fit(X[:60], y[:60], eval_set=[(X[60:], y[60:])])
    kept = model.best_iteration + 1 if library == "xgboost" else model.best_iteration_
    with pytest.raises(PlanError, match=rf"trains {kept} rounds, which the target kept"):
        as_recipe(model)
    for never in (0, -1) if library == "lightgbm" else ():
        assert as_recipe(kind(**{name: never}))
    if library == "xgboost":
        callback = module.callback.EarlyStopping(rounds=2)
        model = kind(n_estimators=9, n_jobs=1, callbacks=[callback])
        with pytest.raises(
            PlanError, match=r"rounds = 2\), .* as the target kept \(n_estimators\) and has callbacks = None"
        ):
            as_recipe(GridSearchCV(model, {"max_depth": [1, 2]}))
        model.fit(X[:60], y[:60], eval_set=[(X[60:], y[60:])], verbose=False)
        with pytest.raises(PlanError, match=rf"trains {model.best_iteration + 1} rounds, which the target kept"):
            as_recipe(model)
        np.testing.assert_array_equal(list(stages_of(model)(X))[-1], model.predict_proba(X))
    fixed = kind(n_estimators=kept, n_jobs=1, **{name: None, "verbosity": 0 if library == "xgboost" else -1})
    assert as_recipe(fixed).fit(X, y, classes=2, seed=0)
