"""What a plan may do without consent, and what it may not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

import miaudit
from miaudit.auditing import case_of_plan
from miaudit.cli import main
from miaudit.errors import PlanError
from miaudit.plan import HTTPPlan, Plan, ServicePlan
from miaudit.plan.permissions import Permissions
from miaudit.plan.sections import Names
from miaudit.recipes import ServiceRecipe, named_estimator
from miaudit.recipes.listed import estimator_class

TREE = "sklearn.tree.DecisionTreeClassifier"
SERVICE = {"train": "http://127.0.0.1:9/train"}
GOOD: dict[str, Any] = {
    "data": {"name": "digits"},
    "split": {"members": 100},
    "recipe": {"estimator": TREE},
    "shadows": {"count": 2},
}


def url(**http: Any) -> dict[str, Any]:
    http = {"format": "instances", **http}
    return {"target": {"url": "http://127.0.0.1:9", "http": http}, "split": {"members": "m", "nonmembers": "n"}}


def target(**keys: Any) -> dict[str, Any]:
    return {"target": {"file": "w.pt", **keys}, "split": {"members": "m", "nonmembers": "n"}}


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(of)}" for key, of in value.items()) + " }"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else f"{value!r}"


def boom(folder: Path) -> dict[str, Any]:
    """Return arguments with which subprocess.Popen leaves a trace."""
    return {"args": [sys.executable, "-c", f"open({str(folder / 'trace')!r}, 'w')"]}


CALLS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "estimator": lambda folder: {"recipe": {"estimator": "subprocess.Popen", "params": boom(folder)}},
    "step": lambda folder: {
        "recipe": {"estimator": TREE, "steps": [{"class": "subprocess.Popen", "params": boom(folder)}]}
    },
    "attack": lambda folder: {"attacks": [{"name": "shokri", "estimator": "subprocess.Popen", "params": boom(folder)}]},
    "function of a file": lambda folder: {"recipe": {"function": str(folder / "own.py:build")}},
    "training function": lambda folder: {"recipe": {"train": str(folder / "own.py:build")}},
    "prediction": lambda folder: {"recipe": {"train": "a.py:b", "predict": str(folder / "own.py:build")}},
    "command": lambda folder: {
        "recipe": {"command": f"touch {folder / 'trace'} {{records}} {{answers}}", "folder": str(folder)}
    },
    "module": lambda folder: target(module=str(folder / "own.py:build")),
    "signature": lambda folder: url(sign=str(folder / "own.py:build")),
    "scheduler": lambda folder: {"engine": {"kind": "dask", "address": "tcp://127.0.0.1:9"}},
}


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("command", ["run", "synthesize", "canaries plant", "canaries run", "python"])
def test_no_command_runs_code_that_a_plan_names(how, command, tmp_path):
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\n\n\ndef build():\n    return None\n")
    content = GOOD | CALLS[how](tmp_path)
    if command == "python":
        with pytest.raises(PlanError, match=r"--allow-code \(in Python, allow_code=True\)"):
            miaudit.audit(content, jobs=0)
    else:
        plan = tmp_path / "plan.toml"
        plan.write_text("".join(f"{key} = {toml(value)}\n" for key, value in content.items()))
        ended = CliRunner().invoke(main, [*command.split(), str(plan), "--out", str(tmp_path / "out")])
        assert ended.exit_code == 2
        assert "--allow-code" in ended.stderr
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "path",
    [
        "subprocess.Popen",
        "joblib.load",
        "numpy.testing.rundocs",
        "builtins.eval",
        "os.system",
        "os",
        "sklearn",
        ".",
        "",
        "sklearn..tree.DecisionTreeClassifier",
        "sklearn.os.system",
        "sklearn.base.warnings.catch_warnings",
        "sklearn.base.clone",
        "sklearn.utils.parallel.Parallel",
        "sklearn.utils.Bunch",
        "sklearn.datasets.load_files",
        "sklearn.datasets.fetch_openml",
        "sklearn.tests.test_common.DecisionTreeClassifier",
        "sklearn.externals.array_api_compat.numpy.ndarray",
        "sklearn.pipeline.make_pipeline",
        "sklearn.pipeline.Memory",
        "sklearn.tree",
        "sklearn.tree.__init__",
        "xgboost.Booster",
        "xgboost.dask.DaskXGBClassifier",
        "xgboost.spark.SparkXGBClassifier",
        "lightgbm.Booster",
        "lightgbm.Dataset",
        "lightgbm.dask.DaskLGBMClassifier",
        "lightgbm.DaskLGBMClassifier",
        "miaudit.recipes.function_of_file",
        "a b.C",
        "\uff53klearn.tree.DecisionTreeClassifier",
    ],
)
def test_only_estimators_of_listed_packages_are_named(path):
    with pytest.raises(PlanError):
        named_estimator(path, {})


def test_a_package_outside_the_list_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "package_with_a_trace.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\n\n\nclass Model: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PlanError, match="not on the list"):
        named_estimator("package_with_a_trace.Model", {})
    assert not (tmp_path / "trace").exists()
    assert "package_with_a_trace" not in sys.modules


def test_with_consent_a_class_is_still_looked_at_before_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "package_of_mine.py").write_text(
        "from sklearn.tree import DecisionTreeClassifier\n\n\nclass Mine(DecisionTreeClassifier): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert named_estimator("package_of_mine.Mine", {"max_depth": 2}, allow_code=True).max_depth == 2
    with pytest.raises(PlanError, match="no class of estimators"):
        named_estimator("subprocess.Popen", boom(tmp_path), allow_code=True)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("sklearn.pipeline.Pipeline", {"steps": [], "memory": "/tmp/pickles"}),
        ("sklearn.cluster.FeatureAgglomeration", {"memory": "/tmp/pickles"}),
        ("sklearn.feature_extraction.text.CountVectorizer", {"input": "filename"}),
        ("sklearn.feature_extraction.text.HashingVectorizer", {"input": "file"}),
        ("sklearn.model_selection.GridSearchCV", {"estimator": TREE, "param_grid": {}, "pre_dispatch": "exit()"}),
        ("lightgbm.LGBMClassifier", {"forcedsplits_filename": "/etc/passwd"}),
        ("lightgbm.LGBMClassifier", {"machines": "10.0.0.1:80", "num_machines": 2}),
        ("lightgbm.LGBMClassifier", {"input_model": "model.txt"}),
        ("xgboost.XGBClassifier", {"no_such_word": 1}),
    ],
)
def test_parameters_that_reach_outside_need_consent(path, params):
    pytest.importorskip(path.split(".")[0])
    with pytest.raises(PlanError, match="--allow-code"):
        named_estimator(path, params)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("sklearn.ensemble.BaggingClassifier", {"estimator": TREE}),
        ("sklearn.calibration.CalibratedClassifierCV", {"estimator": "os.system"}),
        ("sklearn.multiclass.OneVsRestClassifier", {"estimator": 3}),
        ("sklearn.ensemble.StackingClassifier", {"estimators": [], "final_estimator": TREE}),
        ("sklearn.ensemble.VotingClassifier", {"estimators": [["a", TREE]]}),
        ("sklearn.pipeline.Pipeline", {"steps": TREE}),
        ("sklearn.compose.ColumnTransformer", {"transformers": [["a", TREE, [0]]]}),
    ],
)
@pytest.mark.parametrize("allow_code", [False, True])
def test_an_estimator_inside_another_has_no_form_in_a_plan(path, params, allow_code):
    with pytest.raises(PlanError, match="takes estimators, which a plan cannot put inside another.*recipe.function"):
        named_estimator(path, params, allow_code=allow_code)


@pytest.mark.parametrize("failure", ["__init__", "get_params", "__sklearn_tags__", "predict_proba"])
def test_an_estimator_that_fails_while_it_is_made_is_a_plan_error(failure, tmp_path, monkeypatch):
    package = tmp_path / f"fails_in_{failure.strip('_')}.py"
    decorator = "    @property\n" if failure == "predict_proba" else ""
    package.write_text(
        "from sklearn.tree import DecisionTreeClassifier\nclass Mine(DecisionTreeClassifier):\n"
        f"{decorator}    def {failure}(self, *_, **__): raise RuntimeError('a fault of mine')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PlanError, match="RuntimeError: a fault of mine"):
        named_estimator(f"{package.stem}.Mine", {}, allow_code=True)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (TREE, {"max_depth": 3}),
        ("sklearn.compose.ColumnTransformer", {"transformers": [["a", "passthrough", [0]]], "remainder": "drop"}),
        ("sklearn.ensemble._forest.RandomForestClassifier", {"n_estimators": 3}),
        ("sklearn.feature_extraction.text.TfidfVectorizer", {"input": "content", "ngram_range": [1, 2]}),
        ("lightgbm.LGBMClassifier", {"verbose": -1, "num_leaves": 7, "feature_fraction": 0.5, "n_jobs": 1}),
        ("xgboost.XGBClassifier", {"n_estimators": 3, "eval_metric": "logloss", "eta": 0.3}),
    ],
)
def test_honest_estimators_need_no_consent(path, params):
    pytest.importorskip(path.split(".")[0])
    assert named_estimator(path, params).get_params()


def test_every_classifier_of_scikit_learn_may_be_named():
    from sklearn.utils import all_estimators

    for name, cls in all_estimators(type_filter="classifier"):
        module = ".".join(cls.__module__.split(".")[:2])
        assert estimator_class(f"{module}.{name}") is cls


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        (url(headers={"Authorization": "Bearer env:TOKEN"}), "target.http.headers.Authorization"),
        (url(proxy="env:TOKEN"), "target.http.proxy"),
        ({"recipe": {"service": {**SERVICE, "headers": {"X": "env:TOKEN"}}}}, "recipe.service.headers.X"),
        ({"recipe": {"service": {**SERVICE, "params": {"a": ["env:TOKEN"]}}}}, "recipe.service.params.a.0"),
        (url(body='{"a": ["$records", "\\u0065nv:TOKEN"]}'), "target.http.body.a.1"),
        ({"recipe": {"service": {**SERVICE, "body": '{"a": {"b": "\\u0065\\u006ev:TOKEN"}}'}}}, "service.body.a.b"),
        ({"recipe": {"service": {**SERVICE, "wire": {"format": "json", "body": "env:TOKEN"}}}}, "wire.body"),
    ],
)
def test_a_variable_goes_to_a_server_only_by_name(changes, path):
    plan = Plan.of(GOOD | changes)
    for env in ((), ("TOKE", "TOKEN2", "token")):
        with pytest.raises(PlanError, match=rf"{path}: sends the environment variable TOKEN .*--env TOKEN"):
            Permissions(allow_code=True, env=env).check(plan)
    Permissions(env="TOKEN").check(plan)
    Permissions(env=["A", "TOKEN"]).check(plan)


def test_everything_a_plan_asks_for_is_listed_at_once():
    plan = Plan.of(GOOD | url(sign="a.py:b", headers={"A": "env:ONE env:TWO"}) | {"recipe": {"function": "c.py:d"}})
    with pytest.raises(PlanError) as caught:
        case_of_plan(plan)
    for path in ("recipe.function", "target.http.sign", "--env ONE", "--env TWO"):
        assert path in str(caught.value)


def test_a_plan_gives_no_consent():
    for section, key in (("target", "trusted"), ("target", "allow_pickle"), ("engine", "allow_code")):
        with pytest.raises(PlanError, match=key):
            Plan.of(GOOD | {section: {key: ["os.system"]}})


def test_objects_need_no_consent():
    X, y = np.random.default_rng(0).normal(size=(90, 3)), np.arange(90) % 2
    sides = {name: (X[i::3], y[i::3]) for i, name in enumerate(("members", "nonmembers", "population"))}
    result = miaudit.audit(LogisticRegression().fit(*sides["members"]), **sides, shadows=2, jobs=0)
    assert result.shadows.trained == 2


# ---- paths ---------------------------------------------------------------------------------------------------------


def test_every_path_of_a_plan_is_relative_to_its_folder(tmp_path):
    (tmp_path / "plan.toml").write_text(
        'data = { members = "a", nonmembers = "b", population = "c" }\nsynthesis = { marginals = "d" }\n'
        'target = { url = "http://x", http = { format = "v2", ca = "e", certificate = "f", key = "g", sign = "h.py:s" } }\n'
        'recipe = { service = { train = "http://x", ca = "i", certificate = "j", key = "k" } }\n'
    )
    plan = Plan.load(tmp_path / "plan.toml")
    named = dict(plan.naming("file")) | dict(plan.naming("function"))
    assert sorted(Path(path).name for path in named.values()) == [*"abcdefg", "h.py:s", *"ijk"]
    assert {Path(path).parent for path in named.values()} == {tmp_path}
    assert Plan.of({**GOOD, "data": {"path": "x.npz"}}).data.path == "x.npz"


def test_no_key_that_names_a_file_is_a_mere_text():
    """Keys whose descriptions speak of a file, and those a service shares with an endpoint, are resolved."""
    shared = {name for name in HTTPPlan.model_fields if name in get_type_hints(ServiceRecipe)}
    files = {
        name
        for name, field in HTTPPlan.model_fields.items()
        if any(Names("file") in getattr(of, "__metadata__", ()) for of in getattr(field.annotation, "__args__", ()))
    }
    assert files == {"ca", "certificate", "key"}
    assert files & shared == set(ServicePlan.model_fields)
