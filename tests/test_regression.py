"""Regressions are audited by the errors of their predictions, end to end; what only classifiers do is refused beforehand."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.stats import binom
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

import miaudit
from miaudit.auditing import case_of_model
from miaudit.auditing.conclusion import conclude
from miaudit.auditing.gathering import gather
from miaudit.auditing.provenance import Clock
from miaudit.auditing.regression import mean_errors, other_unit
from miaudit.auditing.scope import unlike_errors
from miaudit.auditing.stored import stored_outputs
from miaudit.auditing.workers import Workers
from miaudit.canaries.running import sides_of_plan
from miaudit.cli import main
from miaudit.data import Dataset
from miaudit.data.arrays import from_arrays
from miaudit.data.disjoint import leave_out_copies
from miaudit.data.labels import measurements
from miaudit.data.split import given_split
from miaudit.errors import DataError, MiauditError, PlanError, TargetError
from miaudit.findings import Unit
from miaudit.plan import Plan
from miaudit.recipes import Encoded, RegressorRecipe, is_regressor
from miaudit.report import render
from miaudit.signals import Residual
from miaudit.store import Store
from miaudit.targets.regression import RegressionTarget

N = 120


def records(n: int = 5 * N, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    return X, 2 * X[:, 0] + np.sin(3 * X[:, 1]) + rng.normal(size=n)


def sides(X: Any, y: Any) -> dict[str, Any]:
    cuts = {"members": slice(0, N), "nonmembers": slice(N, 2 * N), "population": slice(2 * N, None)}
    return {name: (X[cut], y[cut]) for name, cut in cuts.items()}


@pytest.mark.parametrize("design", ["disjoint", pytest.param("overlapping", marks=pytest.mark.slow)])
def test_a_forest_that_memorises_leaks_by_its_errors(design: Any, tmp_path: Path) -> None:
    X, y = records()
    model = RandomForestRegressor(8, random_state=0).fit(X[:N], y[:N])
    attacks = None if design == "overlapping" else ["attack-p", "calibration", "attack-r", "rmia", "lira offline"]
    options: dict[str, Any] = {"shadows": 6, "design": design, "attacks": attacks, "jobs": 0, "out": tmp_path}
    result = miaudit.audit(model, **sides(X, y), **options)
    assert result.verdict_kind == "leak"
    target, shadows = result.target, result.shadows
    assert (target.outputs, target.capability, target.classes, target.train_accuracy) == (
        "value",
        "log-likelihood",
        None,
        None,
    )
    assert target.train_error == pytest.approx(np.abs(model.predict(X[:N]) - y[:N]).mean())
    assert target.test_error == pytest.approx(np.abs(model.predict(X[N : 2 * N]) - y[N : 2 * N]).mean())
    assert shadows.train_error is not None
    assert shadows.test_error is not None
    assert shadows.train_error < shadows.test_error
    assert "true value is known" in result.threat_model[0]
    assert "a real number, of which the negative absolute error is read" in result.threat_model[1]
    ran = {attack.name for attack in result.attacks if attack.status == "ran"}
    assert {"threshold", "attack-p", "calibration", "attack-r", "rmia", "lira offline"} <= ran
    assert ("lira" in ran) == ("ratio" in ran) == (design == "overlapping")
    skipped = {"gap", "shokri", "salem", "label-only"} if attacks is None else {"gap"}
    assert {a.name for a in result.attacks if a.status == "skipped"} >= skipped
    bystander, blind = result.controls.bystander, result.controls.blind
    assert bystander is not None
    assert bystander.auc is not None
    assert "5 features" in blind.method  # the value is one of them
    assert result.groups == []
    assert "class" not in (tmp_path / "records.csv").read_text().splitlines()[0].split(",")
    json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)
    page = render(result)
    assert "Mean absolute error on training records" in page
    assert "a real number" in page
    if design == "overlapping":
        return
    again = miaudit.audit(model, **sides(X, y), **options)
    cost = again.provenance.shadow_cost
    assert cost is not None
    assert cost.trained_now == 0
    assert [a.auc for a in again.attacks] == [a.auc for a in result.attacks]


@pytest.mark.parametrize("design", ["disjoint", pytest.param("overlapping", marks=pytest.mark.slow)])
def test_stored_signals_of_a_regression_give_what_its_audit_gives(design: Any, tmp_path: Path) -> None:
    X, y = records(seed=1)
    model = RandomForestRegressor(6, random_state=0).fit(X[:N], y[:N])
    attacks = ["lira", "lira offline", "calibration", "attack-p", "rmia", "ratio", "quantile"]
    parts = sides(X, y).values()
    case = case_of_model(model, *parts, shadows=6, seed=4, attacks=attacks, design=design)
    workers = Workers(0, None, None)
    measured = gather(case, Store(tmp_path), workers, clock=Clock(), tell=lambda text, progress: None)
    own, direct = measured.evidence
    population = own.population
    assert direct is not None
    assert population is not None
    assert own.measure is not None
    (target, rows), inside = direct.signal(own.measure), direct.inside
    arrays: dict[str, Any] = {"signal_target": target, "member": measured.member, "log_likelihood": np.array(True)}
    if design == "disjoint":
        rows, inside = np.hstack([rows, own.signal(own.measure)[1]]), np.hstack([inside, own.inside])
        arrays["asked"] = np.hstack([np.tile(np.arange(2 * N), (6, 1)), np.asarray(own.asked)])
    else:
        arrays["bystanders"] = np.stack([answers[:, 0] for answers in direct.bystanders])  # type: ignore[union-attr]
    arrays |= {"signal_shadows": rows, "inside": inside, "population_target": population.target[:, 0]}
    arrays |= {"features": own.features, "population_features": population.features}
    if population.shadows is not None:
        arrays["population_shadows"] = np.stack([answers[:, 0] for answers in population.shadows])
    audited, scored = conclude(measured), miaudit.score(stored_outputs(arrays), seed=4, attacks=attacks)
    assert [(a.name, a.status, a.auc, a.bystander) for a in audited.attacks] == [
        (a.name, a.status, a.auc, a.bystander) for a in scored.attacks
    ]
    assert audited.headline == scored.headline == ("lira" if design == "overlapping" else "rmia")


def test_a_line_through_many_records_leaks_nothing() -> None:
    X, y = records(seed=3)
    options: dict[str, Any] = {"attacks": ["lira offline", "rmia"], "jobs": 0}
    line = LinearRegression().fit(X[:N], y[:N])
    result = miaudit.audit(line, **sides(X, y), shadows=6, residual="squared", **options)
    assert result.verdict_kind == "none detected"
    assert not any("do not seem to be trained alike" in warning for warning in result.warnings)
    recipe = make_pipeline(StandardScaler(), LinearRegression())
    function = miaudit.audit(lambda X: X[:, 0], **sides(X, y), recipe=recipe, shadows=8, **options)
    assert function.verdict_kind == "none detected"
    assert any("do not seem to be trained alike" in warning for warning in function.warnings)


@pytest.mark.parametrize("people", [None, 4])
def test_errors_of_models_that_were_trained_alike_are_unlike_by_chance_only(people: int | None) -> None:
    rng, n, trials = np.random.default_rng(0), 160, 300
    member = np.arange(2 * n) < n
    owners = None if people is None else np.arange(2 * n) // people
    unit = Unit("record", owners, np.ones(2 * n, bool))
    counts = np.zeros(3, int)
    for _ in range(trials):
        shape = (7, 2 * n) if people is None else (7, 2 * n // people)
        of_each = np.abs(rng.laplace(size=shape)) * np.exp(
            0.1 * rng.normal(size=(7, 1))
        )  # six shadow models and the target
        errors = of_each if people is None else np.repeat(of_each, people, axis=1)
        shadows = tuple(errors[1:, member].mean(axis=1)), tuple(errors[1:, ~member].mean(axis=1))
        for i, factor in enumerate((1.0, 3.0)):  # alike, and not
            warnings = unlike_errors(mean_errors(factor * errors[0], member, unit), shadows, train=n)
            counts[i] += any("trained alike" in warning for warning in warnings)
            counts[2] += any("errs more" in warning for warning in warnings) and factor == 1.0
    assert counts[0] <= binom.isf(1e-3, trials, 2 * 0.05 / 3)
    assert counts[2] <= binom.isf(1e-3, trials, 0.05 / 3)
    assert counts[1] > 0.8 * trials


@pytest.mark.parametrize("of", [lambda y: 1000 * y, np.log, lambda y: (y - y.mean()) / y.std()])
def test_labels_in_another_unit_than_predictions_are_told(of: Any) -> None:
    X, y = records(2 * N)
    y = np.exp(y / 3) + 3
    options: dict[str, Any] = {"shadows": 0, "attacks": ["threshold"]}
    for label, told in ((of(y), True), (y, False)):
        model = DecisionTreeRegressor(max_depth=5, random_state=0).fit(X[:N], label[:N])
        result = miaudit.audit(model, members=(X[:N], y[:N]), nonmembers=(X[N:], y[N:]), **options)
        assert any("in the unit of the predictions" in warning for warning in result.warnings) == told


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("skew", [0.1, 1, 3])
def test_models_that_learn_nothing_have_labels_in_their_unit(skew: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(40, 10)), np.exp(skew * rng.normal(size=40))
    for model in (LinearRegression(), DummyRegressor(), DummyRegressor(strategy="median")):
        assert not other_unit(model.fit(X, y).predict(X), y)


@pytest.mark.parametrize("unit", ["D", "ns"])
def test_dates_are_numbers_of_their_unit(unit: str) -> None:
    days = np.array(["1970-01-02", "1970-01-04", "NaT"], f"M8[{unit}]")
    of_a_day = int(np.timedelta64(1, "D") / np.timedelta64(1, unit))
    assert measurements(days[:2]).tolist() == [of_a_day, 3 * of_a_day]
    with pytest.raises(DataError, match="1 label is missing"):
        measurements(days)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    X, y = records()
    frame = pd.DataFrame(X, columns=list("abcd")).assign(town=np.array(["x", "y"])[(X[:, 2] > 0).astype(int)], y=y)
    frame.to_csv(tmp_path / "records.csv", index=False)
    np.save(tmp_path / "members.npy", np.arange(N))
    np.save(tmp_path / "nonmembers.npy", np.arange(N, 2 * N))
    return tmp_path / "records.csv"


def plan(table: Path, **changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "data": {"path": str(table), "label": "y"},
        "split": {"members": N, "nonmembers": N},
        "recipe": {"task": "regression", "estimator": "sklearn.tree.DecisionTreeRegressor"},
        "shadows": {"count": 5},
    }
    for section, keys in changes.items():
        document[section] = keys if not isinstance(keys, dict) else document.get(section, {}) | keys
    if "target" in changes:
        document["split"] = {side: str(table.parent / f"{side}.npy") for side in ("members", "nonmembers")}
    return document


def test_a_plan_trains_the_target_or_reads_it_from_a_file(table: Path, tmp_path: Path) -> None:
    trained = miaudit.audit(plan(table, attacks=["rmia"]), jobs=0, out=tmp_path / "out")
    assert trained.verdict_kind == "leak"
    assert trained.target.source == "trained here"
    assert trained.target.train_error == 0.0
    frame = pd.read_csv(table)
    numbers = frame.assign(town=(frame.town == "y").astype(float)).drop(columns="y").to_numpy()
    model = DecisionTreeRegressor(random_state=0).fit(numbers, frame.y)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    given = plan(table, target={"file": str(tmp_path / "model.pkl")}, recipe={"encode": False}, attacks=["rmia"])
    with pytest.raises(PlanError, match="--allow-pickle"):
        miaudit.audit(given, jobs=0)
    result = miaudit.audit(given, jobs=0, allow_pickle=True)
    assert result.target.source == "given file"
    assert result.target.test_error < 1e-12  # it was trained on all records
    assert result.verdict_kind != "leak"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"recipe": {"estimator": None, "standin": "amazon-like"}}, "recipe.standin: trains classifiers"),
    ({"recipe": {"estimator": None, "network": {"hidden": [8]}}}, "recipe.network: trains classifiers"),
    ({"recipe": {"estimator": None, "service": {"train": "http://localhost:1"}}}, "recipe.service: trains classifiers"),
    ({"recipe": {"estimator": "sklearn.linear_model.LogisticRegression"}}, "LogisticRegression is no regressor"),
    ({"recipe": {"residual": "cubic"}}, "residual"),
    ({"recipe": {"task": "classification", "residual": "log"}}, "residual belongs to task"),
    ({"recipe": {"task": "ranking"}}, "task"),
    (
        {"target": {"url": "http://localhost:1", "http": {"format": "instances"}}},
        "target.url: endpoints are asked for classes",
    ),
    (
        {"target": {"file": "model.pkl", "outputs": "logits"}},
        "target.outputs: belongs to targets that answer about classes",
    ),
    ({"shadows": {"data": "synthetic:marginals"}}, "shadows.data: records are made"),
    ({"data": {"labels": "names"}}, "data.labels: says what labels of classes are"),
    ({"attacks": ["label-only"]}, "label-only cannot attack a regression"),
    ({"attacks": ["lira", "shokri"]}, "shokri cannot attack a regression"),
    (
        {"attacks": ["rmia"], "recipe": {"residual": "log"}},
        "rmia cannot attack a regression: it averages probabilities",
    ),
    ({"data": {"label": "town"}}, "a regression predicts numbers, and the label"),
    ({"data": {"path": None, "label": None, "name": "digits"}}, "the labels of 'digits' are classes"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_only_classifiers_do_is_refused_before_anything_is_trained(
    change: dict[str, Any], message: str, table: Path, tmp_path: Path
) -> None:
    document = plan(table, **change)
    for section in ("recipe", "data"):
        document[section] = {key: value for key, value in document[section].items() if value is not None}
    with pytest.raises(MiauditError, match=message):
        miaudit.audit(document, jobs=0, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_canaries_are_planted_in_data_of_classes(table: Path) -> None:
    with pytest.raises(PlanError, match=r"recipe\.task: is a regression; canaries are planted in data of classes"):
        sides_of_plan(Plan.of(plan(table)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": "logits"}, "outputs: says of classes|outputs: .*has none"),
        ({"columns": ["a", "b"]}, "columns: .*has none"),
        ({"attacks": "gap"}, "gap cannot attack a regression"),
        ({"task": "sorting"}, "task: must be one of classification, regression"),
        ({"residual": "cubic"}, "residual: must be one of absolute, squared, log"),
        ({"recipe": LogisticRegression()}, "LogisticRegression is no regressor"),
    ],
    ids=str,
)
def test_a_call_that_asks_for_what_only_classifiers_do_is_refused(options: dict[str, Any], message: str) -> None:
    X, y = records()
    with pytest.raises(PlanError, match=message):
        miaudit.audit(LinearRegression().fit(X, y), **sides(X, y), jobs=0, **options)


def test_residuals_are_what_they_say() -> None:
    predictions, truth = np.array([[1.0], [2.0], [5.0]]), np.array([1.0, 4.0, 4.0])
    np.testing.assert_allclose(Residual("absolute", 2.0)(predictions, truth), [0, -1, -0.5])
    np.testing.assert_allclose(Residual("squared", 2.0)(predictions, truth), [0, -0.5, -0.125])
    np.testing.assert_allclose(Residual("log", 2.0)(predictions, truth), -np.log([0.002, 2.002, 1.002]))
    assert len({Residual(), Residual("absolute", 1.0), Residual("log")}) == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda X: np.full(len(X), np.nan), "with NaN or infinity"),
        (lambda X: np.zeros(len(X) + 1), "was asked about 3 records and answered 4"),
        (lambda X: np.zeros((len(X), 2)), "with shape"),
        (lambda X: np.array(["a"] * len(X)), "answered values of type"),
        (lambda X: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_answers_that_are_no_numbers_are_refused(answer: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        RegressionTarget(answer).answer(np.zeros((3, 2)))


def test_one_column_is_one_number_a_record_and_other_widths_are_refused() -> None:
    target = RegressionTarget(lambda X: X[:, :1])
    np.testing.assert_array_equal(target.answer(np.arange(6.0).reshape(3, 2)).values, [[0], [2], [4]])
    assert target.queries == 3
    with pytest.raises(DataError, match="trained on 4 features"):
        RegressionTarget(LinearRegression().fit(*records())).answer(np.zeros((3, 2)))
    for wrong in (LinearRegression, 3):
        with pytest.raises(PlanError, match="an object with predict, a torch module, or a function"):
            RegressionTarget(wrong)


def test_labels_of_a_regression_are_numbers_of_which_equal_ones_are_one() -> None:
    X = np.arange(8.0).reshape(4, 2)
    dataset = from_arrays(X, [1.5, 2, 1.5, -3], labels="values")
    np.testing.assert_array_equal(dataset.truth, [1.5, 2, 1.5, -3])
    assert dataset.width == 1
    np.testing.assert_array_equal(dataset.take([3, 0]).truth, [-3, 1.5])
    assert dataset.hash != from_arrays(X, [1.5, 2, 1.5, -4], labels="values").hash
    with pytest.raises(DataError, match="no finite|NaN"):
        from_arrays(X, [1.5, np.nan, 2, 3], labels="values")
    with pytest.raises(DataError, match="is none"):
        from_arrays(X, ["a", "1", "2", "3"], labels="values")
    with pytest.raises(DataError, match="nothing to predict"):
        from_arrays(X, [2, 2, 2, 2], labels="values")
    with pytest.raises(DataError, match="no classes"):
        from_arrays(X, [1, 2, 3, 4], labels="values", classes=["a"])


def test_copies_of_audited_records_leave_the_population_of_a_regression() -> None:
    X, y = records(200)
    X[150:160], y[150:160] = X[:10], y[:10]
    dataset: Dataset = from_arrays(X, y, labels="values")
    split = given_split(dataset, np.arange(50), np.arange(50, 100), np.arange(100, 200))
    kept = leave_out_copies(dataset, split, need=0, seed=0)
    assert not np.isin(np.arange(150, 160), kept.population).any()


def test_recipes_train_clones_by_their_seeds() -> None:
    X, y = records()
    recipe = RegressorRecipe(RandomForestRegressor(3))
    one, two = (recipe.fit(X, y, classes=1, seed=seed).predict(X) for seed in (1, 1))
    np.testing.assert_array_equal(one, two)
    assert (recipe.fit(X, y, classes=1, seed=2).predict(X) != one).any()
    encoded = Encoded(recipe, StandardScaler())
    assert encoded.fit(X, y, classes=1, seed=1).predict(X).shape == y.shape
    assert is_regressor(make_pipeline(StandardScaler(), LinearRegression()))
    assert not is_regressor(LogisticRegression())
    assert not is_regressor(LinearRegression)
    json.dumps(recipe.describe())


def test_the_command_prints_errors_in_the_place_of_accuracies(table: Path, tmp_path: Path) -> None:
    text = (
        'attacks = ["rmia"]\n'
        f'[data]\npath = "{table}"\nlabel = "y"\n[split]\nmembers = {N}\nnonmembers = {N}\n[recipe]\ntask = "regression"\n'
        'estimator = "sklearn.linear_model.LinearRegression"\n[shadows]\ncount = 3\n'
    )
    (tmp_path / "plan.toml").write_text(text)
    done = CliRunner().invoke(
        main, ["run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--jobs", "0", "--full"]
    )
    assert done.exit_code == 0, done.output
    assert "mean absolute error" in done.output
    assert "accuracy not known" not in done.output


def test_torch_modules_are_asked_in_eval_mode_and_weights_alone_are_no_model() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.Dropout(0.5)).train()
    X = np.arange(6.0).reshape(3, 2)
    weights = module[0].weight.detach().numpy()
    for model in (module, lambda records: module[0](torch.tensor(records, dtype=torch.float32))):
        np.testing.assert_allclose(RegressionTarget(model).answer(X).values, X @ weights.T, rtol=1e-6)
    assert module.training
    with pytest.raises(PlanError, match="the target is an OrderedDict, and no trained model: .*state_dict"):
        miaudit.audit(module.state_dict(), members=(X, X[:, 0]), nonmembers=(X, X[:, 0]))
