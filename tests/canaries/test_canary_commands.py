from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import skops.io
from click.testing import CliRunner, Result
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier

from miaudit.cli import main

PLAN = """
[data]
name = "digits"
[split]
members = 700
nonmembers = 700
[recipe]
estimator = "sklearn.ensemble.ExtraTreesClassifier"
params = { n_estimators = 30 }
"""


def cli(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["canaries", *map(str, arguments)])


def test_plant_train_audit(tmp_path: Path) -> None:
    X, y = load_digits(return_X_y=True)
    np.savez(tmp_path / "mine.npz", X=X, y=y)
    out = tmp_path / "planted"
    done = cli("plant", tmp_path / "mine.npz", "--count", 500, "--seed", 3, "--out", out)
    assert done.exit_code == 0, done.output
    seal = re.search(r"seal: (\w{64})", done.output).group(1)
    training = np.load(out / "training.npz")
    model = ExtraTreesClassifier(30, random_state=0).fit(training["X"], training["y"])
    skops.io.dump(model, tmp_path / "model.skops")
    options = ("audit", out, "--model", tmp_path / "model.skops", "--trusted", "sklearn.tree._tree.Tree")
    done = cli(*options, "--seal", seal)
    assert done.exit_code == 0, done.output
    assert "epsilon is at least" in done.output
    found = json.loads(cli(*options, "--json").output)
    assert found["epsilon"] > 2
    assert found["canary_accuracy"]["included"] == 1
    done = cli(*options, "--seal", "f" * 64)
    assert done.exit_code == 2
    assert "not what was planted" in done.output
    assert cli("audit", out, "--model", tmp_path / "none.skops").exit_code == 2


def test_run_a_plan(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(PLAN)
    options = (tmp_path / "p.toml", "--count", 400, "--seed", 1)
    done = cli("run", *options, "--out", tmp_path / "a", "--references", 2, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["references"] == 2
    assert found["epsilon"] > 2
    done = cli("run", *options, "--out", tmp_path / "a")
    assert done.exit_code == 2
    assert "folder of their own" in done.output
    done = cli("plant", *options, "--out", tmp_path / "b")
    assert done.exit_code == 0, done.output
    assert len(np.load(tmp_path / "b" / "training.npz")["y"]) == 700 + found["included"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("plant", "none.npz"), "no such file|cannot be read"),
        (("run", "none.toml"), "cannot be read"),
        (("plant", "none.toml", "--count", 3), "count"),
        (("run", "none.toml", "--kind", "odd"), "mislabelled"),
    ],
)
def test_refusals(tmp_path: Path, arguments: tuple, match: str) -> None:
    done = cli(*arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert re.search(match, done.output)
