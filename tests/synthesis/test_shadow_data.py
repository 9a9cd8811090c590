"""Plans whose shadow models are trained on synthetic records, and `miaudit synthesize`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scripted import Script, serving

from miaudit.auditing import audit, case_of_plan
from miaudit.auditing.asking import quiet
from miaudit.auditing.shadow_data import STATE, synthesize, trained_target
from miaudit.auditing.synthetic import on_synthetic
from miaudit.auditing.verification import verify
from miaudit.cli import main
from miaudit.data import load
from miaudit.errors import BudgetError, PlanError, PoolError, TargetError, TimeLimitError
from miaudit.plan import Plan
from miaudit.recipes import EstimatorRecipe
from miaudit.result import Result
from miaudit.targets import as_target, connect

PLAN = """
title = "A test"
seed = 3
[data]
path = "records.npz"
[split]
members = 120
nonmembers = 120
[recipe]
estimator = "sklearn.naive_bayes.BernoulliNB"
[shadows]
count = 3
data = "synthetic:DATA"
[synthesis]
records = 300
conf_min = 0.5
rej_max = 3
k_max = 16
[engine]
jobs = 0
"""


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    planted = rng.random((3, 40)) < 0.5
    X = np.where(rng.random((600, 40)) < 0.6, rng.random((600, 40)) < 0.5, planted[y]).astype(np.uint8)
    np.savez(tmp_path / "records.npz", X=X, y=y)
    return tmp_path


def write(folder, method, text=PLAN):
    (folder / "plan.toml").write_text(text.replace("DATA", method))
    return folder / "plan.toml"


def call(folder, *arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "method", ["model-based", *(pytest.param(each, marks=pytest.mark.slow) for each in ("marginals", "noisy"))]
)
def test_an_audit_whose_shadows_see_synthetic_records_only(folder, method):
    plan = write(folder, method)
    outcome = call(folder, "run", plan, "--out", folder / "out")
    assert outcome.exit_code == 0, outcome.output
    result = Result.load(folder / "out")
    made = json.loads((folder / "out" / "synthesis.json").read_text())
    assert result.shadows.data == f"synthetic:{method}"
    assert result.synthesis.model_dump(mode="json", by_alias=True) == made
    assert made["method"] == method
    assert result.split.population == made["records"] == 300
    assert (result.split.members, result.split.nonmembers) == (120, 120)
    assert result.target.queries == 240 + made["queries"]["total"]
    assert (made["queries"]["total"] > 300) == (method == "model-based")
    assert {"model-based": "format of a record alone", "marginals": "marginal of each", "noisy": "10 %"}[method] in (
        result.threat_model[3]
    )
    assert len(result.records) == 240
    # what is in the folder is used again: same document, nothing asked or drawn anew
    before = (folder / "out" / "synthesis.npz").stat().st_mtime_ns
    assert call(folder, "run", plan, "--out", folder / "out").exit_code == 0
    assert (folder / "out" / "synthesis.npz").stat().st_mtime_ns == before
    again = Result.load(folder / "out")
    assert again.model_dump(exclude={"provenance"}) == result.model_dump(exclude={"provenance"})


def test_what_is_made_is_a_file_that_plans_read(folder):
    outcome = call(folder, "synthesize", write(folder, "model-based"), "--out", folder / "out", "--json")
    assert outcome.exit_code == 0, outcome.output
    figures = json.loads(outcome.stdout)
    assert figures == json.loads((folder / "out" / "synthesis.json").read_text())
    made = load(folder / "out" / "synthesis.npz")
    assert len(made) == figures["records"] == 300
    assert np.bincount(made.y).tolist() == [100, 100, 100]
    assert made.X.dtype == np.uint8
    records = load(folder / "records.npz")
    np.savez(folder / "others.npz", X=1 - records.X, y=records.y)
    plan = Plan.of({
        "data": {"members": str(folder / "records.npz"), "nonmembers": str(folder / "others.npz"),
                 "population": str(folder / "out" / "synthesis.npz")},
        "recipe": {"estimator": "sklearn.naive_bayes.BernoulliNB"},
    })  # fmt: skip
    assert len(case_of_plan(plan).split.population) == 300


def test_synthesize_by_another_method_than_the_plan_names(folder):
    plan = write(folder, "noisy", PLAN.replace("synthetic:DATA", "real"))
    refused = call(folder, "synthesize", plan, "--out", folder / "out")
    assert refused.exit_code == 2
    assert 'shadows.data is "real"' in refused.stderr
    outcome = call(folder, "synthesize", plan, "--out", folder / "out", "--method", "marginals")
    assert outcome.exit_code == 0, outcome.output
    assert "marginals: 300 of 300 records" in outcome.stdout


def test_synthesize_takes_the_options_of_a_run(folder):
    network = 'network = { kind = "mlp", hidden = [4], epochs = 1 }'
    text = PLAN.replace('estimator = "sklearn.naive_bayes.BernoulliNB"', network)
    text = text.replace("records = 300", "records = 12").replace("conf_min = 0.5", "conf_min = 0.34")  # hardly trained
    plan = write(folder, "model-based", text)
    options = ("--jobs", 0, "--device", "cpu", "--time-limit", 60)
    keys = set()
    for dtype in ("float32", "bfloat16"):
        outcome = call(folder, "synthesize", plan, "--out", folder / dtype, *options, "--dtype", dtype, "--json")
        assert outcome.exit_code == 0, outcome.output
        keys.add(json.loads(outcome.stdout)["key"])
    assert len(keys) == 2  # another model answered
    late = call(folder, "synthesize", plan, "--out", folder / "late", "--time-limit", 1e-6)
    assert late.exit_code == TimeLimitError.exit_code
    plan = write(folder, "model-based", text.replace("jobs = 0", 'kind = "dask"\ntime_limit = 0.000001'))
    late = call(folder, "synthesize", plan, "--out", folder / "late by the plan")
    assert late.exit_code == TimeLimitError.exit_code, late.output
    plan = write(folder, "model-based")
    assert "no torch network" in call(folder, "synthesize", plan, "--device", "cuda", "--out", folder / "no").output


def small(folder, **synthesis):
    content = tomllib.loads(PLAN.replace("DATA", "model-based"))
    content["data"]["path"] = str(folder / "records.npz")
    content["synthesis"] |= synthesis
    return case_of_plan(Plan.of(content))


class Limited:
    """A target with a budget, as a service with one."""

    def __init__(self, target, budget):
        self.target, self.left = target, budget

    def __call__(self, X):
        if len(X) > self.left:
            raise ValueError("budget spent")
        self.left -= len(X)
        return self.target.query(X).values


def attempt(case, folder):
    try:
        return synthesize(case, folder), None
    except TargetError as error:
        return None, error


def test_a_targets_budget_keeps_what_was_made_and_the_next_call_goes_on(folder):
    case = small(folder)
    whole = synthesize(case, folder / "whole")
    model, asked, made = trained_target(case, quiet)[0], 0, None
    for _ in range(50):
        made, error = attempt(replace(case, target=as_target(Limited(model, 700), classes=3)), folder / "parts")
        if made is not None:
            break
        assert "the same command goes on" in str(error)
        assert error.exit_code == 4
        part = json.loads((folder / "parts" / "synthesis.json").read_text())
        assert part["queries"]["total"] > asked
        assert "budget spent" in part["stopped"]
        asked = part["queries"]["total"]
        assert len(np.load(folder / "parts" / "synthesis.npz")["y"]) == part["records"]
        assert (folder / "parts" / STATE).exists()
    assert asked > 0
    assert made.sha256 == whole.sha256
    assert made.figures.queries == whole.figures.queries
    assert not (folder / "parts" / STATE).exists()


def test_a_live_endpoints_budget_stops_the_climbs_and_no_record_is_paid_twice(folder):
    weights = np.random.default_rng(1).integers(-2, 3, (40, 3)).astype(float)

    def model(X):  # whole numbers: the same to the last bit in any batch
        scores = (np.asarray(X, dtype=float) @ weights) ** 2 + 1
        return scores / scores.sum(axis=1, keepdims=True)

    case = small(folder)
    whole = synthesize(replace(case, target=as_target(model, classes=3)), folder / "whole")
    script = Script(model)
    with serving(script) as url:

        def endpoint(budget):
            options = {"format": "instances", "model": "m", "classes": 3, "description": "model"}
            return connect(url, **options, budget=budget, folder=folder / "ledger")

        limited = endpoint(500)
        stopped, error = attempt(replace(case, target=limited), folder / "parts")
        assert stopped is None
        assert isinstance(error, BudgetError)
        assert error.exit_code == 4
        assert sum(script.answered.values()) == 500
        assert (folder / "parts" / "synthesis.npz").exists()
        limited.close()
        free = endpoint(None)
        made = synthesize(replace(case, target=free), folder / "parts")
        free.close()
    assert made.sha256 == whole.sha256
    assert made.figures.queries == whole.figures.queries
    assert sum(count > 1 for count in script.answered.values()) <= 10  # the records of first contact, in each run


def test_a_service_that_is_to_label_records_is_asked_once_and_its_answers_are_kept(folder):
    script = Script(lambda X: np.eye(3)[np.asarray(X, dtype=int).sum(axis=1) % 3])
    for i, name in enumerate(("members", "nonmembers")):
        np.save(folder / f"{name}.npy", np.arange(120) + 120 * i)
    plan = tomllib.loads(PLAN.replace("DATA", "marginals"))
    plan["data"]["path"] = str(folder / "records.npz")
    plan["split"] = {name: str(folder / f"{name}.npy") for name in ("members", "nonmembers")}
    plan["synthesis"] = {"records": 60, "labels": "target"}
    with serving(script) as url:
        plan["target"] = {"url": url, "http": {"format": "instances", "model": "m"}}
        first = synthesize(plan, folder / "out")
        asked = sum(script.answered.values())
        (folder / "out" / "synthesis.json").unlink()
        again = synthesize(plan, folder / "out")
    assert (folder / "out" / "target").is_dir()
    assert again.sha256 == first.sha256
    assert asked >= 60
    assert sum(script.answered.values()) - asked <= 10  # the records of first contact


def test_a_kill_loses_half_a_minute_at_most_and_the_next_run_ends_alike(folder):
    case = small(folder)
    whole = synthesize(case, folder / "whole")
    plan = write(folder, "model-based")
    slow = (
        "import sys, time\n"
        "import miaudit.auditing.shadow_data as made\n"
        "from miaudit.cli import main\n"
        "from miaudit.synthesis import climbing\n"
        "made.SECONDS_BETWEEN_STATES = 0\n"
        "climbing.Climbs.run.__kwdefaults__['seconds_between'] = 0\n"
        "first = made.write_atomically\n"
        "def stop(path, content):\n"
        "    first(path, content)\n"
        "    open(sys.argv[-1] + '.kept', 'w').close()\n"  # not to stdout, which is that of the product
        "    time.sleep(60)\n"
        "made.write_atomically = stop\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", slow, "synthesize", str(plan), "--out", str(folder / "out")]
    with subprocess.Popen(command) as process:
        while not (folder / "out.kept").exists() and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    assert (folder / "out.kept").exists()
    assert (folder / "out" / STATE).exists()
    assert not (folder / "out" / "synthesis.npz").exists()
    assert call(folder, "synthesize", plan, "--out", folder / "out").exit_code == 0
    figures = json.loads((folder / "out" / "synthesis.json").read_text())
    assert figures["sha256"] == whole.sha256
    assert figures["queries"] == whole.figures.queries.model_dump(mode="json")
    assert not (folder / "out" / STATE).exists()


def test_max_queries_is_an_end_and_a_larger_one_goes_on(folder):
    first = synthesize(small(folder, max_queries=900), folder / "out")
    assert first.figures.queries.total == 900
    assert first.figures.stopped == "synthesis.max_queries = 900 were spent"
    assert 0 < first.figures.records < 300
    case = on_synthetic(small(folder, max_queries=900), folder / "out")
    assert len(case.split.population) == first.figures.records
    assert any("Synthesis was stopped" in text for text in case.warnings)
    assert synthesize(small(folder), folder / "out").sha256 == synthesize(small(folder), folder / "new").sha256


def test_an_audit_is_not_verified_by_making_its_records_once_more(folder):
    write(folder, "model-based")
    plan, out = Plan.load(folder / "plan.toml"), folder / "out"
    audit(plan, out=out)
    assert verify(out).problems == []
    for name, change in (("stopped", {"stopped": "TargetError: gone"}), ("of other options", {"key": "0" * 64})):
        figures = json.loads((out / "synthesis.json").read_text())
        (out / "synthesis.json").write_text(json.dumps(figures | change))
        remarks = verify(out).remarks
        assert any("does not hold the records of this audit" in remark for remark in remarks), name
        (out / "synthesis.json").write_text(json.dumps(figures))
    (out / "synthesis.json").unlink()
    assert any("are not in" in remark for remark in verify(out).remarks)


def test_a_time_limit_keeps_what_was_made(folder):
    with pytest.raises(TimeLimitError, match="the same command goes on"):
        synthesize(
            small(folder, conf_min=0.999, give_up=100_000, iter_max=10_000, width=1), folder / "out", time_limit=1e-9
        )
    assert (folder / "out" / STATE).exists()


def test_a_target_that_tells_nothing_makes_no_record_and_says_so(folder):
    case = small(folder, conf_min=0.99999, give_up=2, iter_max=20)
    with pytest.raises(PoolError, match="no record could be made in any class"):
        on_synthetic(case, folder / "out")
    figures = json.loads((folder / "out" / "synthesis.json").read_text())
    assert figures["classes_failed"] == ["0", "1", "2"]
    assert figures["queries"]["failed"] == figures["queries"]["total"] == 3 * 2 * 20


def test_climbing_a_target_of_labels_alone_is_refused_with_what_else_there_is(folder):
    labels = as_target(lambda X: np.arange(len(X)) % 3, classes=3)
    with pytest.raises(PlanError, match="answers labels alone; use"):
        synthesize(replace(small(folder), target=labels), folder / "out")


def test_a_rounded_target_and_one_of_the_top_class_are_climbed(folder):
    model = trained_target(small(folder), quiet)[0]

    def rounded(X):
        return model.query(X).probabilities.round(1)

    def top(X):
        answers = np.array(model.query(X).probabilities)
        return np.where(answers == answers.max(axis=1, keepdims=True), answers, 0)

    for ask, kind in ((rounded, "probabilities"), (top, "topk")):
        target = as_target(ask, classes=3)
        made = synthesize(replace(small(folder, records=30), target=target), folder / kind)
        assert target.kind == kind
        assert made.figures.records == 30
        confidence = target.query(made.dataset().X).values[np.arange(30), made.y]
        assert (confidence > 0.5).all()


def test_changed_options_or_data_never_find_old_records(folder):
    a = synthesize(small(folder), folder / "out")
    b = synthesize(small(folder, conf_min=0.6), folder / "out")
    assert a.figures.key != b.figures.key
    assert a.sha256 != b.sha256
    np.savez(folder / "records.npz", X=1 - np.load(folder / "records.npz")["X"], y=np.arange(600) % 3)
    assert synthesize(small(folder, conf_min=0.6), folder / "out").sha256 != b.sha256
    assert synthesize(small(folder, width=5), folder / "x").sha256 == synthesize(small(folder), folder / "y").sha256


def test_without_a_population_only_what_needs_none_is_a_plan(folder):
    data = {"members": "a.npz", "nonmembers": "b.npz"}
    recipe = {"estimator": "sklearn.naive_bayes.BernoulliNB"}
    for method in ("synthetic:noisy", "synthetic:marginals"):
        with pytest.raises(PlanError, match="data.population is missing"):
            Plan.of({"data": data, "recipe": recipe, "shadows": {"data": method}})
    Plan.of({"data": data, "recipe": recipe, "shadows": {"data": "synthetic:model-based"}})
    records = np.load(folder / "records.npz")
    X, y = records["X"], records["y"]
    np.savez(folder / "a.npz", X=X[:120], y=y[:120])
    np.savez(folder / "b.npz", X=X[120:240], y=y[120:240])
    plan = PLAN.replace('path = "records.npz"', 'members = "a.npz"\nnonmembers = "b.npz"')
    plan = plan.replace("[split]\nmembers = 120\nnonmembers = 120\n", "")
    outcome = call(folder, "run", write(folder, "model-based", plan), "--out", folder / "out")
    assert outcome.exit_code == 0, outcome.output
    assert Result.load(folder / "out").split.population == 300


def test_bad_values_are_listed_with_their_paths():
    content = tomllib.loads(PLAN.replace("DATA", "magic"))
    content["synthesis"] |= {"k_max": 0, "rate": 2, "accept": "=", "confmin": 1}
    with pytest.raises(PlanError) as caught:
        Plan.of(content)
    for part in (
        "shadows.data: must be 'real'",
        "synthesis.k_max: must be ",
        "synthesis.rate: must be at most 1; got 2",
        "synthesis.accept: must be '>='",
        "synthesis.confmin: unknown key; did you mean 'conf_min'?",
    ):
        assert part in str(caught.value)
    content = tomllib.loads(PLAN.replace("DATA", "model-based"))
    content["synthesis"]["k_min"] = 20
    with pytest.raises(PlanError, match="synthesis: k_min is 20, more than k_max = 16"):
        Plan.of(content)


def test_frames_with_categories_grouped_records_and_slices_are_joined(tmp_path):
    pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    lines = ["person,sex,age,rate,y"]
    for i in range(300):
        y = i % 2
        lines.append(
            f"p{i // 2},{'fm'[rng.integers(2)]},{int(rng.integers(20, 80)) + 15 * y},{rng.normal(y * 2):.3f},{'ab'[y]}"
        )
    (tmp_path / "table.csv").write_text("\n".join(lines))
    content = {
        "data": {
            "path": str(tmp_path / "table.csv"),
            "label": "y",
            "group": "person",
            "frame": True,
            "slices": ["sex"],
        },
        "split": {"members": 60},
        "recipe": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "shadows": {"count": 2, "data": "synthetic:model-based", "design": "overlapping"},
        "synthesis": {"conf_min": 0.5},
        "engine": {"jobs": 0},
    }
    result = audit(content, out=tmp_path / "out")
    assert result.split.population == result.synthesis.records == 180
    assert result.split.grouped_by == "person"
    X = np.load(tmp_path / "out" / "synthesis.npz")["X"]
    assert set(X[:, 0]) == {0, 1}
    assert (X[:, 1] == np.floor(X[:, 1])).all()


def test_a_target_that_synthesis_asked_is_trained_once_and_its_row_is_its_own(folder, monkeypatch):
    fits, fit = [], EstimatorRecipe.fit

    def counted(self, X, y, **options):
        fits.append(len(y))
        return fit(self, X, y, **options)

    monkeypatch.setattr(EstimatorRecipe, "fit", counted)
    plan = write(folder, "model-based")
    first = audit(plan, out=folder / "out")
    assert fits.count(120) == 1 + 4  # the target; three shadows, the first of them twice
    assert first.provenance.shadow_cost.found == []
    assert first.provenance.shadow_cost.trained_now == 4
    again = audit(plan, out=folder / "out")
    assert fits.count(120) == 5
    assert again.provenance.shadow_cost.found == ["target", "shadow 0", "shadow 1", "shadow 2"]
    assert [each.auc for each in again.attacks] == [each.auc for each in first.attacks]
