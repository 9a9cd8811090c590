"""What people pass to an audit: every form is audited, or refused before anything is trained."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.auditing.scope import order_that_fits
from miaudit.errors import DataError, MiauditError, PlanError, TargetError

QUICK = {"shadows": 2, "jobs": 0, "attacks": "attack-p"}


def sides(seed=0, sizes=(40, 40, 120)):
    rng = np.random.default_rng(seed)
    made = []
    for n in sizes:
        y = rng.integers(0, 2, n)
        made.append((rng.normal(size=(n, 3)) + y[:, None], y))
    return dict(zip(("members", "nonmembers", "population"), made, strict=True))


def test_a_model_that_takes_missing_values_is_audited():
    data = sides()
    for X, _ in data.values():
        X[::7, 1] = np.nan
    model = HistGradientBoostingClassifier(max_iter=5).fit(*data["members"])
    result = miaudit.audit(model, **data, **QUICK)
    assert result.target.train_accuracy == pytest.approx(model.score(*data["members"]))
    assert result.data.missing == ["x1"]


def test_missing_values_are_refused_before_training_where_a_recipe_takes_none(tmp_path):
    X, y = np.array([[1.0], [np.nan], [3.0], [4.0]] * 30), [0, 1] * 60
    np.savez(tmp_path / "d.npz", X=X, y=y)
    plan = {
        "data": {"path": str(tmp_path / "d.npz")},
        "split": {"members": 30},
        "shadows": {"count": 2},
        "engine": {"jobs": 0},
    }
    with pytest.raises(
        PlanError, match=r"missing in columns \['x0'\], and the recipe's model takes none: put an imputer"
    ):
        miaudit.audit(plan | {"recipe": {"estimator": "sklearn.linear_model.LogisticRegression"}})
    imputed = {
        "estimator": "sklearn.linear_model.LogisticRegression",
        "steps": [{"class": "sklearn.impute.SimpleImputer"}],
    }
    assert miaudit.audit(plan | {"recipe": imputed, "attacks": ["attack-p"]}).shadows.trained == 2


def test_shadow_models_that_keep_what_the_target_learned_are_refused():
    FrozenEstimator = pytest.importorskip("sklearn.frozen").FrozenEstimator
    data = sides()
    trained = DecisionTreeClassifier(max_depth=3).fit(*data["members"])
    model = CalibratedClassifierCV(FrozenEstimator(trained)).fit(*data["nonmembers"])
    with pytest.raises(
        PlanError, match="CalibratedClassifierCV keeps a DecisionTreeClassifier as it was trained before"
    ):
        miaudit.audit(model, **data, **QUICK)
    assert miaudit.audit(model, **data, **QUICK | {"shadows": 0}).shadows.trained == 0
    scaled = make_pipeline(FrozenEstimator(StandardScaler().fit(data["members"][0])), trained).fit(*data["members"])
    result = miaudit.audit(scaled, **data, **QUICK)
    assert any("keeps StandardScaler as fitted before" in text for text in result.warnings)


def test_records_that_are_texts_are_audited():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 60, 8)) for _ in range(200)]
    y = rng.integers(0, 2, 200)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=100)).fit(texts[:40], y[:40])
    results = []
    for form in (list, pandas.Series):
        parts = [(form(texts[a:b]), y[a:b]) for a, b in ((0, 40), (40, 80), (80, 200))]
        data = dict(zip(("members", "nonmembers", "population"), parts, strict=True))
        results.append(miaudit.audit(model, **data, **QUICK))
    assert results[0].target.train_accuracy == model.score(texts[:40], y[:40])
    assert results[0].verdict == results[1].verdict


@pytest.mark.parametrize(
    "options",
    [
        {"seed": np.int64(3)},
        {"outside": np.int32(10)},
        {"shadows": np.uint8(2)},
        {"attacks": [{"name": "shokri", "hidden": np.int64(4)}]},
        {"attacks": [{"name": "rmia", "temperature": np.float32(2.0)}]},
        {"attacks": ("attack-p",)},
        {"seed": 2**70},
    ],
    ids=str,
)
def test_options_of_any_numeric_type_are_saved(tmp_path, options):
    data = sides()
    model = DecisionTreeClassifier(max_depth=3).fit(*data["members"])
    miaudit.audit(model, **data, **(QUICK | options), out=tmp_path)
    assert miaudit.Result.load(tmp_path).title


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1},
        {"seed": 2**200},
        {"seed": 1.5},
        {"seed": True},
        {"seed": "3"},
        {"shadows": 4.0},
        {"shadows": -1},
        {"outside": 2.5},
        {"title": "half \ud800"},
        {"title": 5},
        {"jobs": 1.5},
        {"jobs": -1},
        {"time_limit": "5"},
        {"time_limit": True},
        {"attacks": [{"name": "shokri", "estimator": "\ud800"}]},
        {"columns": ["a", "\ud800"]},
        {"columns": ["a"]},
        {"columns": 5},
        {"attacks": 5},
        {"slices": 5},
        {"slices": [None]},
        {"out": 5},
        {"address": 5},
    ],
    ids=ascii,
)
def test_options_that_cannot_be_saved_are_refused_before_training(options):
    data, trained = sides(), []

    class Model(DecisionTreeClassifier):
        def fit(self, X, y):
            trained.append(len(X))
            return super().fit(X, y)

    model = Model(max_depth=3).fit(*data["members"])
    with pytest.raises(MiauditError):
        miaudit.audit(model, **data, **(QUICK | options))
    assert trained == [40]


def test_names_of_classes_are_matched_by_name_or_stated():
    data = sides()
    names = np.array(["b_no", "a_yes"])
    model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(data["members"][0], names[data["members"][1]])
    accuracy = model.score(data["members"][0], names[data["members"][1]])
    with pytest.raises(DataError, match=r"the model's classes are called \['a_yes', 'b_no'\]"):
        miaudit.audit(model, **data, **QUICK)
    with pytest.raises(DataError, match="which number is which class is not known"):
        miaudit.audit(model.predict_proba, **data, **QUICK, recipe=model)
    named = {side: (X, names[y]) for side, (X, y) in data.items()}
    assert miaudit.audit(model, **named, **QUICK).target.train_accuracy == accuracy
    bound = miaudit.audit(model.predict_proba, **named, **QUICK, recipe=model)
    assert bound.target.train_accuracy == accuracy

    def swapped(X):
        return model.predict_proba(X)[:, ::-1]  # b_no, a_yes

    stated = miaudit.audit(swapped, **data, **QUICK, recipe=model, columns=["b_no", "a_yes"])
    assert stated.target.train_accuracy == accuracy
    silent = miaudit.audit(swapped, **named, **QUICK, recipe=model)
    assert any("names no classes" in warning for warning in silent.warnings)
    assert any("if they are of b_no, a_yes, an order" in warning for warning in silent.warnings)
    assert not any("trained alike" in warning for warning in silent.warnings)
    labels = miaudit.audit(lambda X: model.predict(X), **named, **QUICK, recipe=model)
    assert not any("names no classes" in warning for warning in labels.warnings)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_an_order_of_classes_that_fits_is_found_and_none_where_none_does(classes):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 200)
    columns = np.where(rng.random(200) < 0.7, labels, rng.integers(0, classes, 200))
    order = np.roll(np.arange(classes), 1)
    found, as_read, in_order = order_that_fits(np.argsort(order)[columns], labels, classes)
    np.testing.assert_array_equal(found, order)
    assert in_order > 0.6 > 0.4 > as_read
    assert order_that_fits(columns, labels, classes) is None
    for _ in range(200):
        assert order_that_fits(rng.integers(0, classes, 60), rng.integers(0, classes, 60), classes) is None
    assert (
        order_that_fits(np.zeros(60, int), np.ones(60, int), classes) is None
    )  # one class each: nothing tells an order


def test_a_model_that_misses_few_records_of_a_rare_class_is_in_no_other_order():
    """Turned round it would be right more often, and wrong about the average class."""
    rng = np.random.default_rng(0)
    labels = (rng.random(2000) < 0.1).astype(int)
    columns = (rng.random(2000) < np.where(labels == 1, 0.98, 0.72)).astype(int)
    assert (columns == labels).mean() < 0.4
    assert order_that_fits(columns, labels, 2) is None
    assert order_that_fits(1 - labels, labels, 2) is not None


def test_classes_of_several_outputs_are_refused():
    data = sides()

    class Model:
        classes_ = [np.array([0, 1]), np.array([0, 1, 2])]  # noqa: RUF012

        def predict_proba(self, X):
            return np.full((len(X), 2), 0.5)

    with pytest.raises(PlanError, match="a model with several outputs is audited one"):
        miaudit.audit(Model(), **data, **QUICK, recipe=LogisticRegression())
    Model.classes_ = [0, 1]
    assert miaudit.audit(Model(), **data, **QUICK, recipe=LogisticRegression()).target.classes == 2


def test_a_path_is_taken_for_a_saved_model_or_a_plan_and_said_so(tmp_path):
    with pytest.raises(MiauditError, match=r"the model file model\.joblib cannot be read"):
        miaudit.audit("model.joblib", **sides())
    with pytest.raises(PlanError, match="is read as a plan, which says itself what to audit"):
        miaudit.audit(tmp_path / "plan.toml", **sides())
    with pytest.raises(PlanError, match="give nonmembers too"):
        miaudit.audit(LogisticRegression(), members=sides()["members"], nonmembers=None)


def test_a_pipeline_of_a_frame_answers_as_it_did_for_its_owner(tmp_path):
    pandas, joblib = pytest.importorskip("pandas"), pytest.importorskip("joblib")
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(0)
    n = 600
    frame = pandas.DataFrame({"age": rng.integers(18, 90, n), "flag": rng.random(n) < 0.5})
    frame["gap"] = np.where(rng.random(n) < 0.5, "a", None)
    frame["y"] = np.where((frame.age > 50) ^ frame.flag ^ (frame.gap == "a"), "sick", "well")
    files = {"members": slice(0, 100), "nonmembers": slice(100, 200), "population": slice(200, n)}
    for name, rows in files.items():
        frame[rows].to_csv(tmp_path / f"{name}.csv", index=False)
    own = pandas.read_csv(tmp_path / "members.csv")
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["flag", "gap"]), remainder="passthrough"
    )
    model = make_pipeline(encoder, DecisionTreeClassifier(random_state=0)).fit(own.drop(columns="y"), own.y)
    joblib.dump(model, tmp_path / "m.joblib")
    (tmp_path / "recipe.py").write_text(
        "import joblib\nfrom sklearn.base import clone\n"
        f"def build(): return clone(joblib.load({str(tmp_path / 'm.joblib')!r}))\n"
    )
    plan = {
        "data": {name: str(tmp_path / f"{name}.csv") for name in files} | {"label": "y", "frame": True},
        "target": {"file": str(tmp_path / "m.joblib")},
        "recipe": {"function": f"{tmp_path / 'recipe.py'}:build"},
        "shadows": {"count": 2},
        "engine": {"jobs": 0},
        "attacks": ["attack-p"],
    }
    result = miaudit.audit(plan, allow_pickle=True, allow_code=True)
    assert result.target.train_accuracy == model.score(own.drop(columns="y"), own.y)
    assert result.data.reading == f"pandas {pandas.__version__} read_csv, default settings"


def test_a_function_that_answers_tables_is_refused():
    data = sides()
    model = LogisticRegression().fit(*data["members"])
    for answer in (
        lambda X: [dict(enumerate(row)) for row in model.predict_proba(X)],
        lambda X: [None, "a"] * (len(X) // 2),
    ):
        with pytest.raises(TargetError):
            miaudit.audit(answer, **data, **QUICK, recipe=model)


def test_the_public_names_are_listed():
    assert {"audit", "Plan", "Dataset", "Result", "Evidence", "MiauditError"} <= set(dir(miaudit))
    assert "importlib" not in dir(miaudit)


@pytest.mark.parametrize("kind", ["datetime64[s]", "datetime64[ns]", "timedelta64[ns]", "zone", "date"])
def test_a_column_of_times_that_a_pipeline_leaves_out_is_no_obstacle(kind):
    pandas = pytest.importorskip("pandas")
    from sklearn.compose import make_column_transformer

    data = sides()
    for name, (X, y) in data.items():
        frame = pandas.DataFrame(X, columns=list("abc"))
        when = pandas.Series(pandas.Timestamp("2020-01-01") + pandas.to_timedelta(np.arange(len(X)) * 7 % 50, "h"))
        frame["t"] = (
            when.dt.tz_localize("UTC")
            if kind == "zone"
            else when.dt.date
            if kind == "date"
            else (when - when.min()).astype(kind)
            if kind.startswith("timedelta")
            else when.astype(kind)
        )
        data[name] = (frame, y)
    model = make_pipeline(make_column_transformer(("drop", ["t"]), remainder="passthrough"), LogisticRegression())
    model.fit(*data["members"])
    result = miaudit.audit(model, **data, **QUICK)
    assert result.target.train_accuracy == model.score(*data["members"])
    assert kind == "date" or result.data.time == 1


def test_numpy_numbers_in_a_plan_are_saved(tmp_path):
    X, y = sides()["population"]
    np.savez(tmp_path / "d.npz", X=X, y=y)
    plan = {
        "seed": np.int64(4),
        "data": {"path": str(tmp_path / "d.npz")},
        "split": {"members": 30},
        "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": np.int64(2)}},
        "shadows": {"count": np.int64(2)},
        "engine": {"jobs": 0},
        "attacks": ["attack-p"],
    }
    miaudit.audit(plan, out=tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "result.json").read_text())["provenance"]["plan"]
    assert kept["recipe"]["params"] == {"max_depth": 2}


def test_a_text_pipeline_takes_one_column_of_texts_and_no_table():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    texts = np.array([" ".join(f"w{i}" for i in rng.integers(0, 60, 8)) for _ in range(200)], object)
    y = rng.integers(0, 2, 200)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=100)).fit(texts[:40], y[:40])

    def given(form):
        parts = [slice(0, 40), slice(40, 80), slice(80, 200)]
        return dict(zip(("members", "nonmembers", "population"), ((form(texts[p]), y[p]) for p in parts), strict=True))

    with pytest.raises(TargetError, match=r"reads the names of the columns as texts\. Give the column .*X\['text'\]"):
        miaudit.audit(model, **given(lambda of: pandas.DataFrame({"text": of, "other": of})), **QUICK)
    forms = (pandas.Series, lambda of: pandas.DataFrame({"text": of}), lambda of: of[:, None])
    verdicts = [miaudit.audit(model, **given(form), **QUICK).verdict for form in forms]
    assert verdicts[0] == verdicts[1] == verdicts[2]


def test_the_advice_on_texts_is_not_given_to_others():
    def model(X):
        return np.full((len(X) - 1, 2), 0.5)

    with pytest.raises(TargetError) as refusal:
        miaudit.audit(model, **sides(), recipe=DecisionTreeClassifier(), **QUICK)
    assert "texts" not in str(refusal.value)
