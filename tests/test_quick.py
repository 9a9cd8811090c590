"""A look without shadow models: what it finds, what it cannot, and that plans and calls may ask for none."""

from __future__ import annotations

import json

import joblib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.datasets import make_classification
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.attacks import AttackP
from miaudit.attacks.population import share
from miaudit.auditing.verification import verify
from miaudit.cli import main
from miaudit.errors import PlanError
from miaudit.evidence import Evidence, Population
from miaudit.gate import Policy
from miaudit.result import Result


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    X, y = make_classification(900, 6, flip_y=0.2, random_state=0)
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(6)]).assign(label=y)
    frame[:300].to_csv(folder / "train.csv", index=False)
    frame[300:600].to_csv(folder / "test.csv", index=False)
    frame[600:].to_csv(folder / "more.csv", index=False)
    model = DecisionTreeClassifier(max_depth=8, random_state=0).fit(frame.iloc[:300, :6], y[:300])
    joblib.dump(model, folder / "model.joblib")
    return folder


def quick(files, *arguments, out):
    named = [str(files / name) for name in ("model.joblib", "train.csv", "test.csv")]
    return CliRunner().invoke(main, ["quick", *named, "--allow-pickle", "--out", str(out), *arguments])


def test_it_trains_nothing_and_says_what_it_cannot(files, tmp_path):
    done = quick(files, "--population", str(files / "more.csv"), "--gate", "release", out=tmp_path)
    assert "What shadow models add" in done.stdout
    assert "Out for sure" in done.stdout
    result = Result.load(tmp_path)
    assert {a.name for a in result.attacks if a.status == "ran"} == {
        *("threshold", "gap", "attack-p", "attack-p per-class", "quantile")
    }
    assert (result.shadows.trained, result.split.outside, result.provenance.shadow_cost.trained_now) == (0, 300, 0)
    assert result.verdict_kind == "leak"
    assert "could not be checked" in result.verdict
    assert any("No shadow models." in text for text in result.threat_model)
    assert done.exit_code in (1, 3), done.output
    assert Policy.load("release").check(result).outcome != "pass"
    assert verify(tmp_path).problems == []


def test_what_trains_nothing_needs_no_recipe():
    X, y = make_classification(300, 6, flip_y=0.2, random_state=0)
    answer = DecisionTreeClassifier(max_depth=4, random_state=0).fit(X[:100], y[:100]).predict_proba
    sides = {"members": (X[:100], y[:100]), "nonmembers": (X[100:200], y[100:200]), "population": (X[200:], y[200:])}
    target = lambda X: answer(X)  # noqa: E731 -- of which nothing says how it was trained
    result = miaudit.audit(target, **sides, shadows=0, attacks=["label-only"])
    assert (result.shadows.recipe, result.attack("label-only").status) == ("none", "ran")
    with pytest.raises(PlanError, match="a function that answers does not say how: give recipe="):
        miaudit.audit(target, **sides)


def test_without_a_population_some_of_the_test_records_serve(files, tmp_path):
    done = quick(files, "--json", out=tmp_path)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["split"]["nonmembers"], document["split"]["outside"]) == (210, 90)
    assert "What shadow models add" in done.stderr


def test_a_call_may_ask_for_no_shadow_models():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 4)), rng.integers(0, 2, 300)
    sides = {"members": (X[:150], y[:150]), "nonmembers": (X[150:], y[150:])}
    result = miaudit.audit(DecisionTreeClassifier(random_state=0).fit(*sides["members"]), **sides, shadows=0)
    assert (result.shadows.trained, result.split.population) == (0, 0)
    assert {a.name for a in result.attacks if a.status == "ran"} == {"threshold", "gap"}
    values = X @ [1.0, 2.0, 3.0, 4.0] + rng.normal(size=300)
    sides = {"members": (X[:150], values[:150]), "nonmembers": (X[150:], values[150:])}
    result = miaudit.audit(LinearRegression().fit(*sides["members"]), **sides, shadows=0)
    assert result.attack("threshold").status == "ran"
    assert result.shadows.train_error is None


def test_thresholds_by_class_are_those_of_the_class():
    rng = np.random.default_rng(1)
    target, others = rng.dirichlet(np.ones(3), 50), rng.dirichlet(np.ones(3), 200)
    labels, of_others = rng.integers(0, 3, 50), np.concatenate([np.zeros(100, int), np.ones(95, int), np.full(5, 2)])
    evidence = Evidence(
        target, np.empty((0, 50, 3)), np.empty((0, 50), bool), labels, population=Population(others, of_others)
    )
    scores = AttackP(per_class=True).score(evidence)
    losses = -np.log(others[np.arange(200), of_others])
    for i, label in enumerate(labels):
        loss = -np.log(target[i, label])
        among = losses[of_others == label] if label < 2 else losses  # of class 2 there are too few
        expected = 200 * np.mean(among > loss)
        assert scores[i] == pytest.approx(float(share(np.array(expected), 200, np.array(-np.log(loss)))), abs=1e-6)
