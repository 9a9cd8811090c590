"""What an audit will cost and can show, said beforehand, held to what it then took."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.attacks.shokri import pooled_rows
from miaudit.auditing import attack_seconds, beside, cost
from miaudit.auditing.attack_seconds import seconds_of_attacks
from miaudit.auditing.cost import curve_through, line_through, of_others
from miaudit.auditing.from_model import case_of_model
from miaudit.auditing.progress import _details
from miaudit.cli import main
from miaudit.errors import PlanError, PoolError
from miaudit.findings.claims import power
from miaudit.shadows.engine import Progress

rng = np.random.default_rng(0)
X = rng.normal(size=(600, 6)).round(3)
Y = (X[:, 0] + rng.normal(size=600) > 0).astype(int)
SIDES = {"members": (X[:150], Y[:150]), "nonmembers": (X[150:300], Y[150:300]), "population": (X[300:], Y[300:])}
TREE = DecisionTreeClassifier(random_state=0).fit(X[:150], Y[:150])


class Counted:
    """A model that counts its questions."""

    classes_ = TREE.classes_

    def __init__(self):
        self.asked = 0

    def predict_proba(self, records):
        self.asked += len(records)
        return TREE.predict_proba(records)


def test_the_target_is_not_asked_and_the_audit_asks_what_was_foreseen(tmp_path):
    model, options = (
        Counted(),
        {"recipe": DecisionTreeClassifier(), "shadows": 3, "jobs": 0, "seed": 3, "attacks": ["rmia"]},
    )
    foreseen = miaudit.forecast(model, **SIDES, **options)
    assert model.asked == 0
    assert (foreseen.models, foreseen.stored, foreseen.members, foreseen.nonmembers) == (3, 0, 150, 150)
    result = miaudit.audit(model, **SIDES, **options, out=tmp_path)
    assert model.asked == foreseen.queries.to_send == result.target.queries
    assert foreseen.attacks == sum(attack.status == "ran" for attack in result.attacks)
    written = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    written += result.report(tmp_path).stat().st_size
    assert written / 2 < foreseen.disk_bytes < 2 * written
    assert set(foreseen.seconds) == {"load", "shadows", "attacks"}
    assert "target was not asked" in foreseen.notes[0]


@pytest.mark.slow
def test_the_smallest_leak_is_that_of_the_verdict():
    foreseen = miaudit.forecast(TREE, **SIDES, shadows=4, jobs=0, attacks="rmia")
    assert foreseen.attacks == 3  # the threshold and the gap run beside it
    assert foreseen.power == power(150, 150, attacks=3, bystanders=4)


@pytest.mark.slow
def test_a_forecast_by_a_plan_keeps_the_model_it_trains_and_prints_or_gives_a_document(tmp_path):
    np.savez(tmp_path / "all.npz", X=X, y=Y)
    plan = '[data]\npath = "all.npz"\n[split]\nmembers = 100\n[recipe]\nestimator = "sklearn.tree.DecisionTreeClassifier"\n'
    (tmp_path / "plan.toml").write_text('attacks = ["rmia"]\n' + plan + "[shadows]\ncount = 4\n")
    arguments = ["run", str(tmp_path / "plan.toml"), "--dry-run", "--out", str(tmp_path / "out"), "--jobs", "0"]
    text = CliRunner().invoke(main, arguments)
    assert text.exit_code == 0, text.stderr
    for word in ("Audits", "Trains    5 models", "nobody: the target is trained here", "MiB on disk", "an AUC from 0."):
        assert word in text.stdout
    document = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert (document["models"], document["stored"], document["queries"]) == (4, 1, None)
    assert not (tmp_path / "out" / "result.json").exists()
    refused = CliRunner().invoke(main, [*arguments, "--gate", "release"])
    assert refused.exit_code == 2
    assert "--dry-run" in refused.stderr


@pytest.mark.slow
def test_seconds_follow_a_model_that_is_slow_to_answer():
    class Slow(DecisionTreeClassifier):
        def predict_proba(self, records, **options):
            time.sleep(0.05)
            return super().predict_proba(records, **options)

    began = time.perf_counter()
    foreseen = miaudit.forecast(TREE, **SIDES, recipe=Slow(random_state=0), shadows=30, jobs=0, attacks="gap")
    assert foreseen.seconds["shadows"] >= 30 * 0.05
    assert time.perf_counter() - began < 30 + foreseen.seconds["shadows"]  # one model is tried


def test_what_cannot_be_foreseen_is_refused():
    with pytest.raises(PoolError, match="shadow 0 could not be trained"):
        miaudit.forecast(TREE, **SIDES, recipe=KNeighborsClassifier(10**6), shadows=2, jobs=0)
    plan = {
        "data": {"name": "digits"},
        "split": {"members": 100},
        "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
        "shadows": {"data": "synthetic:model-based"},
    }
    with pytest.raises(PlanError, match="miaudit synthesize"):
        miaudit.forecast(plan, jobs=0)


def test_the_line_through_two_trials_never_falls():
    assert line_through([(100, 1.0), (500, 2.0)], 900) == 3.0
    assert line_through([(100, 3.0), (500, 2.0)], 900) == 2.0
    assert line_through([(80, 1.5)], 80) == 1.5


def test_a_busy_machine_is_told_of_with_what_an_idle_one_would_take():
    assert of_others(1.2, 100.0) == []
    [note] = of_others(4.0, 480.0)
    assert "4.0 times their processor time" in note
    assert "about 2:00" in note


@pytest.mark.parametrize("flat", [4_000, 10_000, 50_000])
@pytest.mark.parametrize("start", [0.5, 3.0])
def test_seconds_of_attacks_are_met_within_a_factor_of_2_where_they_flatten(start, flat):
    def seconds(n):
        return start + 0.01 * min(n, flat) + 0.002 * max(0, n - flat)

    points = [(n, seconds(n)) for n in (100, 600, 2400)]
    for n in (3_000, 5_000, 10_000):
        assert seconds(n) / 2 < curve_through(points, n) < 2 * seconds(n)
    assert curve_through(points, 2400) == seconds(2400)
    assert curve_through([(80, 1.5)], 80) == 1.5


def test_the_formula_says_more_of_more_attacks_records_and_shadow_models_and_of_a_slower_machine(monkeypatch):
    monkeypatch.setattr(attack_seconds, "_slowness", lambda: 1.0)

    def seconds(times=1, **options):
        sides = {name: (np.tile(x, (times, 1)), np.tile(y, times)) for name, (x, y) in SIDES.items()}
        sides = {name: (x + np.arange(len(x))[:, None], y) for name, (x, y) in sides.items()}  # no copies
        return seconds_of_attacks(case_of_model(TREE, *sides.values(), recipe=DecisionTreeClassifier(), **options))

    one, every = seconds(shadows=4, attacks=["rmia"]), seconds(shadows=4)
    assert one < every < seconds(3, shadows=4)
    assert seconds(shadows=0) < every < seconds(shadows=40)
    monkeypatch.setattr(attack_seconds, "_slowness", lambda: 3.0)
    assert seconds(shadows=4) == pytest.approx(3 * every)


def test_processes_share_the_seconds_of_attacks_and_not_those_beside(monkeypatch):
    monkeypatch.setattr(attack_seconds, "_slowness", lambda: 1.0)
    monkeypatch.setattr(attack_seconds, "most_threads", lambda: 1)
    monkeypatch.setattr(beside, "most_threads", lambda: 8)
    case = case_of_model(TREE, *SIDES.values(), recipe=DecisionTreeClassifier(), shadows=4, attacks=["shokri", "ratio"])
    alone, records = seconds_of_attacks(case), (0.3, 0.3)
    assert seconds_of_attacks(case, 2) == alone  # too few answers for processes
    monkeypatch.setattr(beside, "_LEAST", 1)
    rest = attack_seconds._BESIDE.of(*records)
    assert seconds_of_attacks(case, 2) - rest == pytest.approx((alone - rest) / 2)
    assert alone / 4 < seconds_of_attacks(case, 8) < seconds_of_attacks(case, 2)  # no run takes less than alone
    pilot = cost.Pilot(100, 4.0, 2.0, 1.5, 0, None)
    assert [cost._of_pilots([pilot], 100, count) for count in (1, 2, 3)] == [2.0, 1.25, 1.0]


def test_networks_of_many_classes_take_as_long_as_their_least_steps():
    of_training = attack_seconds._of_training
    assert of_training(100_000, 1_000) == of_training(640_000, 1_000) < of_training(800_000, 1_000)
    assert of_training(99_000, 1_000) < of_training(100_000, 1_000) / 5  # one network for all classes
    assert of_training(2 * pooled_rows(5_000), 5_000) == of_training(pooled_rows(5_000), 5_000)
    assert of_training(400_000, 100) == pytest.approx(12e6 * (0.33 + 0.33) / 1e6, rel=0.01)  # 30 passes


def test_the_time_left_of_attacks_follows_what_was_expected_of_them():
    attacks = Progress(28, 0, 7, 0, 0, 10.0, of="attacks", attacks=80.0)
    assert "1:00 left" in _details(attacks)  # three quarters of it
    assert "1:15 left" in _details(replace(attacks, seconds=100.0))  # it takes longer than was expected
    assert "0:30 left" in _details(replace(attacks, attacks=None))
    assert _details(replace(attacks, attacks=None, done=2)) == ""  # the first may take most of it
    models = Progress(10, 0, 5, 0, 0, 60.0, attacks=30.0)
    assert "1:00 left, 1:30 with the attacks" in _details(models)
    seen = []
    tell = cost.with_attacks(case_of_model(TREE, **SIDES), lambda _, progress: seen.append(progress), 1)
    tell("making records", Progress(8, 0, 2, 0, 0, 10.0, of="records"))
    assert "0.2/s, 0:30 left" in _details(seen[0])  # of records that are made, by their rate alone


@pytest.mark.slow
def test_the_formula_is_met_within_a_factor_of_2_and_a_second_of_the_processor(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    told = []
    result = miaudit.audit(
        TREE, **SIDES, recipe=DecisionTreeClassifier(), shadows=4, jobs=0, tell=lambda *step: told.append(step)
    )
    [seconds] = {progress.attacks for _, progress in told if progress is not None and progress.attacks is not None}
    assert seconds / 2 - 1 < result.provenance.seconds["attacks"] < 2 * seconds + 1


@pytest.mark.slow
def test_a_training_is_told_of_with_the_attacks_after_it(capsys):
    class Slow(DecisionTreeClassifier):
        def fit(self, X, y):
            time.sleep(0.02)
            return super().fit(X, y)

    told = []
    options = {"recipe": Slow(random_state=0), "shadows": 3, "jobs": 0, "attacks": ["rmia"]}
    result = miaudit.audit(TREE, **SIDES, **options, tell=lambda *step: told.append(step))
    estimates = [progress for _, progress in told if progress is not None and progress.estimate is not None]
    by_formula = {progress.attacks for _, progress in told if progress is not None and progress.attacks is not None}
    assert all(progress.attacks is not None for progress in estimates)
    assert len(by_formula) == 1  # also while attacks run
    assert any(progress.of == "attacks" and progress.attacks for _, progress in told if progress is not None)
    told.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "_LONG", 0.0)
        again = miaudit.audit(TREE, **SIDES, **options, tell=lambda *step: told.append(step))
        miaudit.audit(TREE, **SIDES, **options, progress=True)
    estimates = {progress.attacks for _, progress in told if progress is not None and progress.estimate is not None}
    [seconds] = estimates
    assert 0 < seconds < 60
    assert {seconds} != by_formula
    assert again.model_dump(exclude={"provenance"}) == result.model_dump(exclude={"provenance"})
    assert re.search(r"for 3 models and \d:\d\d for the attacks, \d:\d\d in all; ", capsys.readouterr().err)
