from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from miaudit.auditing.proposal import plan_text
from miaudit.errors import PlanError
from miaudit.plan import Plan

GOOD = {
    "data": {"name": "digits"},
    "split": {"members": 100},
    "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
}


def problems(changes: dict) -> str:
    with pytest.raises(PlanError) as caught:
        Plan.of({**GOOD, **changes})
    return str(caught.value)


def test_a_small_plan_is_enough():
    plan = Plan.of(GOOD)
    assert plan.shadows.count == 20
    assert plan.split.duplicates == "report"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sed": 1}, "sed: unknown key; did you mean 'seed'?"),
        ({"shadow": {}}, "shadow: unknown key; did you mean 'shadows'?"),
        ({"shadows": {"counts": 3}}, "shadows.counts: unknown key; did you mean 'count'?"),
        ({"shadows": {"zzz": 3}}, "shadows.zzz: unknown key; allowed here: count, data, design, train, test, minimum"),
        (
            {"recipe": {"estimator": "x", "steps": [{"clas": "y"}]}},
            "recipe.steps.0.clas: unknown key; did you mean 'class'?",
        ),
        ({"shadows": {"count": -1}}, "shadows.count: must be at least 0; got -1"),
        ({"split": {}}, "split.members is missing"),
        ({"data": {}}, "data: say where the records come from in one way"),
        ({"data": {"name": "a", "path": "b"}}, "data: say where the records come from in one way"),
        ({"data": {"members": "a.npz"}}, "data: members and nonmembers go together"),
        ({"recipe": {}}, "recipe: say how models are trained in one way"),
        (
            {"recipe": {"function": "f.py:g", "params": {"a": 1}}},
            "recipe: params belong to estimator, standin or plugin",
        ),
        ({"target": {"file": "m.skops"}}, "target.file names a trained model"),
        ({"split": {"members": 1.5}}, "split.members"),
        ({"split": {"members": True}}, "split.members: must be a number; got true"),
        ({"shadows": {"count": True}}, "shadows.count: must be a number; got true"),
        ({"shadows": {"count": "2"}}, "shadows.count: must be a number, without quotes; got '2'"),
        ({"engine": {"time_limit": "1e3"}}, "engine.time_limit: must be a number, without quotes; got '1e3'"),
        ({"data": {"path": "a.csv", "frame": "no"}}, "data.frame: must be true or false, without quotes; got 'no'"),
        ({"data": {"path": "a.csv", "frame": 0}}, "data.frame: must be true or false; got 0"),
        ({"seed": False}, "seed: must be a number; got false"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(changes, said):
    assert said in problems(changes)


def test_every_problem_is_listed_at_once():
    text = problems({"sed": 1, "shadows": {"count": "many", "trian": 2}, "recipe": {}})
    assert text.startswith("4 problems in the plan")
    for path in ("sed:", "shadows.count:", "shadows.trian:", "recipe:"):
        assert path in text


def test_paths_are_relative_to_the_plan(tmp_path):
    (tmp_path / "plan.toml").write_text(
        '[data]\npath = "records.csv"\nlabel = "y"\n[split]\nmembers = "m.txt"\nnonmembers = "n.txt"\npopulation = "p.txt"\n'
        '[target]\nfile = "model.skops"\n[recipe]\nfunction = "own.py:build"\n'
    )
    plan = Plan.load(tmp_path / "plan.toml")
    assert plan.data.path == str(tmp_path / "records.csv")
    assert plan.split.population == str(tmp_path / "p.txt")
    assert plan.target.file == str(tmp_path / "model.skops")
    assert plan.recipe.function == str(tmp_path / "own.py:build")


@pytest.mark.parametrize("path", ["~/records.csv", "$DATA/records.csv", "https://example.org/records.csv"])
def test_what_would_have_to_be_filled_in_or_fetched_is_no_path(path):
    with pytest.raises(PlanError, match="data.path: .*is not taken as a path"):
        Plan.of({"data": {"path": path}, "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"}})


def test_files_whose_names_begin_so_and_drives_are_paths():
    proposed = tomllib.loads(plan_text({"data": {"members": "$a.csv", "nonmembers": "~a.csv"}}, Path(), ""))
    for path in (*proposed["data"].values(), "C://records.csv"):
        assert Plan.of(GOOD | {"data": {"path": path}}).data.path == path


def test_a_plan_that_is_missing_or_no_toml_is_said_to_be(tmp_path):
    with pytest.raises(PlanError, match="cannot be read"):
        Plan.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("# later\n")
    with pytest.raises(PlanError, match="is no plan: it holds no key"):
        Plan.load(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(PlanError, match="not valid TOML"):
        Plan.load(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text("a = 1", encoding="utf-16")
    with pytest.raises(PlanError, match="not in UTF-8, as TOML is"):
        Plan.load(tmp_path / "bad.toml")
    for content in (b"\x80\x04model", b"a,b\n1,2\n"):
        (tmp_path / "m.joblib").write_bytes(content)
        with pytest.raises(
            PlanError, match="m.joblib is no plan, which is a TOML file: .* miaudit audit MODEL TRAIN TEST"
        ):
            Plan.load(tmp_path / "m.joblib")


def test_the_schema_of_plans_is_published():
    schema = json.loads(Plan.schema_text())
    assert set(schema["properties"]) >= {"data", "split", "recipe", "shadows", "seed"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attack": {"hidden": 3}}, 'stand in the list of attacks now: attacks = [{ name = "shokri", hidden = 3 }]'),
        ({"shadows": {"count": 3, "minimum": 4}}, "minimum is 4, more than the 3 shadow models"),
        ({"data": {"name": "digits", "group": "g"}}, "group belong to files"),
        ({"data": {"path": "a.csv", "options": {"a": "b"}}}, "options belong to name"),
        ({"target": {"trusted": ["a"]}}, "target: trusted is consent, which no plan can give"),
        ({"target": {"module": "a.py:b"}}, "module belongs to file"),
    ],
)
def test_keys_that_would_do_nothing_are_refused(changes, said):
    assert said in problems(changes)


def test_a_plan_that_an_editor_began_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        '[data]\nname = "digits"\n[split]\nmembers = 9\n[recipe]\nestimator = "x.Y"\n', encoding="utf-8-sig"
    )
    assert Plan.load(path).split.members == 9


@pytest.mark.parametrize("value", [[1, 2], 0.5, {"a": 1}])
def test_what_is_neither_a_count_nor_a_file_is_refused_by_both_names(value):
    plan = {"data": {"name": "digits"}, "recipe": {"estimator": "sklearn.naive_bayes.GaussianNB"}}
    with pytest.raises(PlanError) as error:
        Plan.of(plan | {"split": {"members": value}, "unlearning": {"forget": value}})
    said = "must be how many records (a whole number), or a file of their record numbers (a text); got"
    assert str(error.value).count(said) == 2
