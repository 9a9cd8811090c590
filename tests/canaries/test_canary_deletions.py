"""Canaries that are deleted again: the bound on what a deletion leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.base import clone
from sklearn.tree import DecisionTreeClassifier

from miaudit.canaries import Canaries, load_planted, run, save_planted
from miaudit.canaries import plant as planted
from miaudit.cli import main
from miaudit.data import from_arrays
from miaudit.errors import PlanError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 4))
Y = (X[:, 0] > 0).astype(int)
WHAT = Canaries(count=200, delete=True)


def bound(procedure: Any, out: Path, what: Canaries = WHAT) -> Any:
    return run(
        DecisionTreeClassifier(),
        what,
        out=out,
        records=(X[:400], Y[:400]),
        sources=(X[400:], Y[400:]),
        procedure=procedure,
        seed=3,
        jobs=0,
    )


def test_a_deletion_that_does_nothing_leaves_all_and_retraining_nothing(tmp_path: Path) -> None:
    nothing, exact = bound("none", tmp_path / "none"), bound("retrain", tmp_path / "retrain")
    plain = bound(None, tmp_path / "plain", Canaries(count=200))
    assert nothing.epsilon == plain.epsilon > 1
    assert nothing.epsilon_unlearning == nothing.epsilon / 2
    assert exact.epsilon == 0
    assert plain.epsilon_unlearning is None
    assert "is refuted" in nothing.summary()
    assert "no trace of them is shown" in exact.summary()


def test_the_file_of_deletions_names_the_planted_canaries(tmp_path: Path) -> None:
    records, sources = from_arrays(X[:400], Y[:400]), from_arrays(X[400:], Y[400:])
    here = planted(records, WHAT, sources=sources, seed=1)
    seal = save_planted(here, tmp_path / "one")
    numbers = np.loadtxt(tmp_path / "one" / "delete.txt", dtype=int)
    assert len(numbers) == here.inside.sum()
    rows = {*map(tuple, here.canaries.X[here.inside])}
    assert {*map(tuple, here.training.X[numbers])} == rows
    again, same = load_planted(tmp_path / "one", seal=seal)
    assert same == seal
    assert again.options.delete
    save_planted(planted(records, Canaries(count=200), sources=sources, seed=1), tmp_path / "two")
    assert not (tmp_path / "two" / "delete.txt").exists()


def test_planted_trained_deleted_and_audited_by_commands(tmp_path: Path) -> None:
    np.savez(tmp_path / "records.npz", X=X, y=Y)
    out = tmp_path / "planted"
    plant = ["canaries", "plant", str(tmp_path / "records.npz"), "--count", "100", "--out", str(out), "--seed", "5"]
    made = CliRunner().invoke(main, [*plant, "--delete"])
    assert made.exit_code == 0, made.stderr
    assert "delete.txt" in made.stdout
    training, _ = load_planted(out)
    rest = np.setdiff1d(np.arange(len(training.training)), np.loadtxt(out / "delete.txt", dtype=int))
    model = clone(DecisionTreeClassifier(random_state=0)).fit(training.training.X[rest], training.training.y[rest])
    joblib.dump(model, tmp_path / "after.joblib")
    audit = ["canaries", "audit", str(out), "--model", str(tmp_path / "after.joblib"), "--allow-pickle"]
    refused = CliRunner().invoke(main, audit)
    assert refused.exit_code == 2
    assert "planted to be deleted" in refused.stderr
    audited = CliRunner().invoke(main, [*audit, "--delete"])
    assert audited.exit_code == 0, audited.stderr
    assert "after the deletion of all included canaries" in audited.stdout


def test_a_procedure_without_a_deletion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="delete=True"):
        bound("retrain", tmp_path, Canaries(count=100))
