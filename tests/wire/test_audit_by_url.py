"""Whole audits by URL: the same figures as in process, a kill in the middle, and a budget that is too small."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from endless import Endless
from scripted import Script, serving
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

import miaudit
from miaudit.cli import main
from miaudit.errors import BudgetError, PoolError
from miaudit.plan import HTTPPlan
from miaudit.targets import connect

X, Y = load_digits(return_X_y=True)
ORDER = np.random.default_rng(5).permutation(len(X))
PARTS = {"members": ORDER[:300], "nonmembers": ORDER[300:600], "population": ORDER[600:]}
MODEL = RandomForestClassifier(20, random_state=0).fit(X[PARTS["members"]], Y[PARTS["members"]])
SIDES = {name: (X[rows], Y[rows]) for name, rows in PARTS.items()}
QUICK = {"recipe": RandomForestClassifier(20), "shadows": 3, "jobs": 0, **SIDES}
FEW = {"attacks": ["shokri", "threshold"]}


def figures(result):
    document = json.loads(result.to_json())
    for of_the_way in ("provenance", "threat_model"):
        document.pop(of_the_way)
    for key in ("description", "source", "contact", "outputs_reason"):
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
    assert by_url.target.queries == 900 + 11 + 5 == sum(script.answered.values())
    assert by_url.target.contact.deterministic
    assert by_url.provenance.target["records_sent"] == 916


def test_a_target_of_labels_only_is_audited_by_url():
    with serving(Script(MODEL.predict)) as url:
        target = connect(url, format="instances", model="m")
        result = miaudit.audit(target, **QUICK, **FEW)
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
        result = miaudit.audit(target, **QUICK, **FEW)
        target.close()
    assert any("The target is randomised" in warning for warning in result.warnings)


PLAN = """
seed = 3
{attacks}
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
{options}
[recipe]
estimator = "sklearn.ensemble.RandomForestClassifier"
params = {{ n_estimators = 5 }}
[shadows]
count = 2
"""


def written(folder, url, options="", moved=0.0, attacks='attacks = ["attack-p"]'):
    for name, (records, labels) in SIDES.items():
        noise = np.random.default_rng(0).normal(size=records.shape)
        np.savez(folder / f"{name}.npz", X=records + moved * noise, y=labels)
    plan = folder / "plan.toml"
    plan.write_text(PLAN.format(url=url, options=options, attacks=attacks))
    return ["run", str(plan), "--out", str(folder / "out"), "--jobs", "0"]


def run(command, **env):
    return CliRunner(env=env).invoke(main, command)


def killed(command, soon, moment):
    """Run miaudit in a process of its own; soon, stop it again and again until the moment is right, and then kill it."""
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-m", "miaudit", *command], **quiet)
    while True:
        assert process.poll() is None
        time.sleep(0.007)
        if not soon():
            continue
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED)
        if moment():
            break
        process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGKILL)
    process.wait()


def logged(folder):
    """Return how many records the log says were sent, and how many of them of which it says nothing else."""
    lines = [json.loads(line) for path in folder.rglob("queries.jsonl") for line in path.read_text().splitlines()]
    ended = {line["request"] for line in lines if line["event"] != "send"}
    sent = [line for line in lines if line["event"] == "send"]
    return sum(line["records"] for line in sent), sum(line["records"] for line in sent if line["request"] not in ended)


@pytest.mark.parametrize("where", ["between requests", pytest.param("in requests", marks=pytest.mark.slow)])
def test_a_killed_run_asks_again_only_what_was_on_its_way(where, tmp_path):
    # most of the time there are two requests, or it waits for the next
    delay, options = (0.02, "concurrency = 2\n") if where == "in requests" else (0.005, "rate = 400\nconcurrency = 1\n")
    script = Script(MODEL.predict_proba, delay=delay)
    with serving(script) as url:
        command = written(tmp_path, url, options)

        def moment():
            sent, open_now = logged(tmp_path)
            return sent == sum(script.seen.values()) and open_now == lost

        lost = 20 if where == "in requests" else 0  # two connections, ten records each
        killed(command, lambda: sum(script.answered.values()) >= 200, moment)
        assert sum(script.seen.values()) < 800
        script.delay = 0.0
        plan = tmp_path / "plan.toml"
        plan.write_text(plan.read_text().replace("rate = 400\n", ""))
        done = run(command)
        assert done.exit_code == 0, done.stderr
        times = sorted(script.seen.values(), reverse=True)
        # first contact: as a batch, again, and one of them alone; then once more when it goes on, and at the end
        assert times == [5] + [4] * 4 + [2] * lost + [1] * (900 - lost)
        result = json.loads((tmp_path / "out" / "result.json").read_text())
        assert result["provenance"]["target"]["spent_over_all_runs"] == sum(script.seen.values()) == 921 + lost
        asked = script.requests
        assert run(command).exit_code == 0
        assert script.requests == asked + 1  # whether it is still the same model


def test_a_run_stopped_between_requests_asks_nothing_twice(tmp_path):
    script = Script(MODEL.predict_proba)
    with serving(script) as url:
        command = written(tmp_path, url, "budget = 300\n")
        stopped = run(command)
        assert stopped.exit_code == 4
        assert "the budget covers only 289" in stopped.stderr
        assert "611 are missing" in stopped.stderr
        assert "a budget of at least 921" in stopped.stderr
        assert sum(script.seen.values()) == 300
        plan = tmp_path / "plan.toml"
        plan.write_text(plan.read_text().replace("budget = 300", "budget = 921"))
        assert run(command).exit_code == 0
        assert sum(script.seen.values()) == 921
        assert sum(count > 1 for count in script.seen.values()) == 5


VOTES = 'attacks = [{ name = "label-only", queries = 6 }]'
WALKS = 'attacks = [{ name = "label-only", kind = "boundary", queries = 30 }]'


@pytest.mark.parametrize(("attacks", "further"), [(VOTES, 0), (WALKS, 600 * 30)], ids=["votes", "walks"])
def test_label_only_probes_are_told_beforehand_and_stay_in_the_budget(attacks, further, tmp_path):
    script = Script(MODEL.predict)
    with serving(script) as url:
        command = written(
            tmp_path, url, "budget = 1500\nprice = 2.0\n", moved=0.01, attacks=attacks
        )  # no column of zeros and ones
        plan = tmp_path / "plan.toml"
        plan.write_text(plan.read_text().replace("batch = 10\n", "batch = 100\n"))
        stopped = run(command)
        assert stopped.exit_code == 4
        told = " ".join(stopped.stderr.split())
        needs = 600 if further else 6 * 600
        count = f"{needs:,} to {needs + further:,}" if further else f"{needs:,}"
        assert f"asking the target: {count} queries to send (0 of {needs:,} answered before)" in told
        assert (
            f"cost {'up to ' if further else ''}{(needs + further) * 0.002:,.2f}, the budget covers only 1,489" in told
        )
        assert sum(script.seen.values()) == 1500
        enough = int(re.search(r"budget of at least ([\d,]+)", told)[1].replace(",", ""))
        assert enough == (1510 if further else 3621)  # of a walk the least is what was asked
        if further:
            enough = int(re.search(r"\(([\d,]+) is enough\)", told)[1].replace(",", ""))
        plan.write_text(plan.read_text().replace("budget = 1500", f"budget = {enough}"))
        done = run(command)
        assert done.exit_code == 0, done.stderr
        assert 1500 < sum(script.seen.values()) <= enough
        assert max(count for count in script.seen.values()) <= 5  # first contact
        assert sum(count > 1 for count in script.seen.values()) == 5


def test_synthesis_from_a_url_is_told_beforehand_and_stays_in_the_budget(tmp_path):
    def model(X):  # whole numbers: the same to the last bit in any batch
        scores = (np.asarray(X, dtype=float) @ np.random.default_rng(1).integers(-2, 3, (64, 10))) ** 2 + 1
        return scores / scores.sum(axis=1, keepdims=True)

    script = Script(model)
    with serving(script) as url:
        command = written(tmp_path, url, "budget = 800\nprice = 2.0\n")
        plan = tmp_path / "plan.toml"
        text = plan.read_text().replace("count = 2", 'count = 2\ndata = "synthetic:model-based"\ntrain = 20')
        plan.write_text(
            text.replace("batch = 10\n", "batch = 100\n")
            + "[synthesis]\nrecords = 40\nconf_min = 0.3\nwidth = 20\niter_max = 200\n"
        )
        stopped = run(command)
        assert stopped.exit_code == 4
        told = " ".join(stopped.stderr.split())
        most = (40 + 99 * 10) * 200
        assert f"about 6,240 queries if they take as many as in the paper, {most:,} at most, cost 12.48 and" in told
        assert "the budget has 800 left" in told
        assert "(at this rate all would take about " in told
        assert sum(script.seen.values()) == 800
        plan.write_text(plan.read_text().replace("budget = 800", "budget = 1000000"))
        done = run(command)
        assert done.exit_code == 0, done.stderr
        result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["provenance"]["target"]["spent_over_all_runs"] == sum(script.seen.values())
    assert result["synthesis"]["records"] == 40
    assert max(script.seen.values()) <= 6
    assert sum(count > 1 for count in script.seen.values()) == 10  # first contact, in each run with other records


def test_the_secret_of_a_plan_is_in_nothing_that_a_run_writes_or_prints(tmp_path):
    secret = "hunter2-hunter2"
    script = Script(MODEL.predict_proba)
    (tmp_path / "signing.py").write_text(
        'import os\n\n\ndef sign(method, url, headers, body):\n    return {"X-Signature": os.environ["SIGNING"]}\n'
    )
    options = 'headers = { Authorization = "Bearer env:API" }\nsign = "signing.py:sign"\n'
    with serving(script) as url:
        command = [*written(tmp_path, url, options), "--allow-code", "--env", "API"]
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
            "target.http.budget: must be at least 1",
        ),
    ],
)
def test_a_plan_with_a_url_is_checked(target, said):
    sides = {"members": "a.npz", "nonmembers": "b.npz", "population": "c.npz"}
    with pytest.raises(miaudit.errors.PlanError, match=said):
        miaudit.plan.Plan.of(
            {"data": sides, "target": target, "recipe": {"estimator": "sklearn.dummy.DummyClassifier"}}
        )


ALONGSIDE = {**QUICK, "jobs": 1, **FEW}


@pytest.mark.slow
def test_a_target_behind_a_url_is_asked_while_shadow_models_train():
    """The server waits for the first row: an audit that asked before it trained would wait for ever."""
    script = Script(MODEL.predict_proba)
    with serving(script) as url, tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows"

        def late(records):
            while script.requests > 3 and not any(rows.glob("*.safetensors")):  # not of first contact
                time.sleep(0.02)
            return MODEL.predict_proba(records)

        script.model = late
        target = connect(url, format="v2", model="m", concurrency=3, batch=100)
        by_url = miaudit.audit(target, **ALONGSIDE, time_limit=100, out=folder)
        target.close()
    assert figures(by_url) == figures(miaudit.audit(MODEL, **ALONGSIDE))


@pytest.mark.slow
def test_what_ends_the_asking_ends_the_training_and_the_other_way_round(tmp_path):
    script = Script(MODEL.predict_proba)
    with serving(script) as url:
        target = connect(url, format="v2", model="m", batch=100, budget=400)
        with pytest.raises(BudgetError, match="389 records were answered now"):
            miaudit.audit(target, **ALONGSIDE, out=tmp_path / "a")
        target.close()
        script.delay = 0.5
        target = connect(url, format="v2", model="m", batch=1)
        broken = KNeighborsClassifier(metric="precomputed")  # which wants as many columns as rows
        with pytest.raises(PoolError, match="2 of 3 shadow models could not be trained"):
            miaudit.audit(target, **{**ALONGSIDE, "recipe": broken}, out=tmp_path / "b")
        target.close()
    assert sum(script.answered.values()) < 389 + 11 + 200


@pytest.mark.slow
def test_an_asking_that_fails_ends_a_training_of_hours_within_seconds(tmp_path):
    """The server waits for the first model's training to begin: there is no news after it that the error could come with."""
    script, sign = Script(MODEL.predict_proba), tmp_path / "begun"

    def late(records):
        while script.requests > 3 and not sign.exists():  # not of first contact
            time.sleep(0.02)
        return MODEL.predict_proba(records)

    script.model = late
    with serving(script) as url:
        target = connect(url, format="v2", model="m", batch=100, budget=400)
        with pytest.raises(BudgetError, match="389 records were answered now"):
            miaudit.audit(target, **{**ALONGSIDE, "recipe": Endless(str(sign))}, time_limit=40, out=tmp_path)
        target.close()
    assert not list(tmp_path.glob("rows/*.safetensors"))
