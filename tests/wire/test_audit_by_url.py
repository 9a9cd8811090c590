"""Whole audits by URL: the same figures as in process, a kill in the middle, and a budget that is too small."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from scripted import Script, serving
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import miaudit
from miaudit.cli import main
from miaudit.plan import HTTPPlan
from miaudit.targets import connect

X, Y = load_digits(return_X_y=True)
ORDER = np.random.default_rng(5).permutation(len(X))
PARTS = {"members": ORDER[:300], "nonmembers": ORDER[300:600], "population": ORDER[600:]}
MODEL = RandomForestClassifier(20, random_state=0).fit(X[PARTS["members"]], Y[PARTS["members"]])
SIDES = {name: (X[rows], Y[rows]) for name, rows in PARTS.items()}
QUICK = {"recipe": RandomForestClassifier(20), "shadows": 3, "jobs": 0, **SIDES}


def figures(result):
    document = json.loads(result.to_json())
    for of_the_way in ("provenance", "threat_model"):
        document.pop(of_the_way)
    for key in ("description", "source", "queries", "contact"):
        document["target"].pop(key)
    return document


def test_an_audit_by_url_has_the_figures_of_the_audit_in_process():
    script = Script(MODEL.predict_proba)
    with serving(script) as url:
        target = connect(url, format="v2", model="m", concurrency=3)
        by_url = miaudit.audit(target, **QUICK)
        target.close()
    assert figures(by_url) == figures(miaudit.audit(MODEL, **QUICK))
    assert by_url.target.source == "given url"
    assert by_url.target.queries == 900 + 11 == sum(script.answered.values())
    assert by_url.target.contact["deterministic"]
    assert by_url.provenance["target"]["records_sent"] == 911


def test_a_target_of_labels_only_is_audited_by_url():
    with serving(Script(MODEL.predict)) as url:
        target = connect(url, format="instances", model="m")
        result = miaudit.audit(target, **QUICK)
        target.close()
    assert (result.target.outputs, result.target.capability) == ("labels", "labels")
    assert result.target.train_accuracy == pytest.approx(MODEL.score(*SIDES["members"]))


def test_a_randomised_target_is_said_to_be_one():
    random = np.random.default_rng(0)

    def noisy(records):
        values = MODEL.predict_proba(records) + random.uniform(0, 0.05, size=(len(records), 10))
        return values / values.sum(axis=1, keepdims=True)

    with serving(Script(noisy)) as url:
        target = connect(url, format="mlflow")
        result = miaudit.audit(target, **QUICK)
        target.close()
    assert any("The target is randomised" in warning for warning in result.warnings)


PLAN = """
seed = 3
[data]
members = "members.npz"
nonmembers = "nonmembers.npz"
population = "population.npz"
[target]
url = "{url}"
[target.http]
format = "instances"
model = "m"
batch = 10
concurrency = 2
{options}
[recipe]
estimator = "sklearn.ensemble.RandomForestClassifier"
params = {{ n_estimators = 5 }}
[shadows]
count = 2
"""


def written(folder, url, options=""):
    for name, (records, labels) in SIDES.items():
        np.savez(folder / f"{name}.npz", X=records, y=labels)
    plan = folder / "plan.toml"
    plan.write_text(PLAN.format(url=url, options=options))
    return ["run", str(plan), "--out", str(folder / "out"), "--jobs", "0"]


def run(command, **env):
    return CliRunner(env=env).invoke(main, command)


def test_a_run_killed_in_the_middle_asks_no_answered_record_again(tmp_path):
    script = Script(MODEL.predict_proba, delay=0.03)
    with serving(script) as url:
        command = written(tmp_path, url)
        process = subprocess.Popen(
            [sys.executable, "-m", "miaudit", *command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while len(first := set(script.answered)) < 5:
            time.sleep(0.005)
        while sum(script.answered.values()) < 200:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.1)  # what was on its way arrives nowhere
        before = sum(script.seen.values())
        assert before < 700
        script.delay = 0.0
        done = run(command)
        assert done.exit_code == 0, done.stderr
        again = {record for record, count in script.answered.items() if count > 1}
        probes = again & {tuple(row) for row in X[PARTS["population"]]}
        probes = {record for record in probes if record in first}
        twice = again - probes
        assert len(twice) <= 2 * 10  # two connections, with ten records on their way
        assert all(script.answered[record] == 2 for record in twice)
        assert max(script.answered[record] for record in probes) == 3  # as a batch, again, and alone: once and for all
        result = json.loads((tmp_path / "out" / "result.json").read_text())
        assert result["provenance"]["target"]["spent_over_all_runs"] == sum(script.seen.values()) == 911 + len(twice)
        asked = script.requests
        assert run(command).exit_code == 0
        assert script.requests == asked


def test_a_run_stopped_between_requests_asks_nothing_twice(tmp_path):
    script = Script(MODEL.predict_proba)
    with serving(script) as url:
        command = written(tmp_path, url, "budget = 300\n")
        stopped = run(command)
        assert stopped.exit_code == 4
        assert "the budget covers only 289" in stopped.stderr
        assert "611 are missing" in stopped.stderr
        assert "a budget of at least 911" in stopped.stderr
        assert sum(script.seen.values()) == 300
        plan = tmp_path / "plan.toml"
        plan.write_text(plan.read_text().replace("budget = 300", "budget = 911"))
        assert run(command).exit_code == 0
        assert sum(script.seen.values()) == 911
        assert sum(count > 1 for count in script.seen.values()) == 5


def test_the_secret_of_a_plan_is_in_nothing_that_a_run_writes_or_prints(tmp_path):
    secret = "hunter2-hunter2"
    script = Script(MODEL.predict_proba)
    (tmp_path / "signing.py").write_text(
        'import os\n\n\ndef sign(method, url, headers, body):\n    return {"X-Signature": os.environ["SIGNING"]}\n'
    )
    options = 'headers = { Authorization = "Bearer env:API" }\nsign = "signing.py:sign"\n'
    with serving(script) as url:
        command = written(tmp_path, url, options)
        done = run(command, API=secret, SIGNING=f"{secret}-2")
        assert done.exit_code == 0, done.stderr
        script.statuses = [(403, {})]
        plan = tmp_path / "plan.toml"
        plan.write_text(plan.read_text().replace('model = "m"', 'model = "n"'))
        refused = run(command, API=secret, SIGNING=f"{secret}-2")
        assert refused.exit_code == 4
        unset = run(command)
        assert unset.exit_code == 2
        assert "target: headers.Authorization takes its value from the environment variable API" in unset.stderr
    assert script.headers["Authorization"] == f"Bearer {secret}"
    assert script.headers["X-Signature"] == f"{secret}-2"
    written_files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"result.json", "report.html", "queries.jsonl", "answers.sqlite"} <= {path.name for path in written_files}
    assert not [path for path in written_files if secret.encode() in path.read_bytes()]
    assert all(secret not in each.output for each in (done, refused, unset))


def test_a_plan_has_the_options_of_connect():
    import inspect

    own = set(inspect.signature(connect).parameters) - {"url", "classes", "folder", "description"}
    assert own == set(HTTPPlan.model_fields)
    defaults = {name: p.default for name, p in inspect.signature(connect).parameters.items() if name in own}
    plan = HTTPPlan()
    for name, value in defaults.items():
        if name not in ("format", "headers", "slow_down"):
            assert getattr(plan, name) == value, name


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"url": "http://h"}, "http.format is missing"),
        ({"http": {"format": "v2"}}, "http belongs to url"),
        ({"url": "http://h", "file": "m.skops", "http": {"format": "v2"}}, "one way: file or url"),
        (
            {"url": "http://h", "http": {"format": "v2", "modle": "m"}},
            "target.http.modle: unknown key; did you mean 'model'",
        ),
        (
            {"url": "http://h", "http": {"format": "v2", "budget": 0}},
            "target.http.budget: .*greater than or equal to 1",
        ),
    ],
)
def test_a_plan_with_a_url_is_checked(target, said):
    sides = {"members": "a.npz", "nonmembers": "b.npz", "population": "c.npz"}
    with pytest.raises(miaudit.errors.PlanError, match=said):
        miaudit.plan.Plan.of(
            {"data": sides, "target": target, "recipe": {"estimator": "sklearn.dummy.DummyClassifier"}}
        )
