"""A deletion audit that nobody changed is verified, one that was changed is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from deletions import RECIPE, sides, small
from test_stored import answers

from miaudit.cli import main
from miaudit.result.cleaning import clean
from miaudit.unlearning.verification import verify

OPTIONS: dict[str, Any] = {"shadows": 2, "oracles": 1, "jobs": 0, "bystanders": 1, "kept": 0, "attacks": ["lira"]}


@pytest.mark.slow
def test_an_audit_by_a_plan_is_verified_from_its_rows(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def forget(model, X, y, forget, seed):\n    return model\n")
    for name, how in (("sisa", 'procedure = {name = "sisa", shards = 2}'), ("own", 'function = "own.py:forget"')):
        plan, out = tmp_path / "plan.toml", tmp_path / name
        plan.write_text(
            'seed = 4\nattacks = ["lira"]\n[data]\nname = "digits"\n[split]\nmembers = 100\nnonmembers = 100\n[recipe]\n'
            'estimator = "sklearn.tree.DecisionTreeClassifier"\n[shadows]\ncount = 2\nbystanders = 1\n[unlearning]\n'
            f"forget = 30\noracles = 1\nkept = 0\n{how}\n"
        )
        run = CliRunner().invoke(main, ["unlearn", str(plan), "--out", str(out), "--jobs", "0", "--allow-code"])
        assert run.exit_code == 0, run.output
        run = CliRunner().invoke(main, ["verify", str(out), "--json", "--allow-code"])
        assert run.exit_code == 0, run.output
        assert all("--seal" in remark for remark in json.loads(run.stdout)["remarks"][1:])
        assert "every figure with" in run.stdout


@pytest.fixture
def made(tmp_path: Path) -> Path:
    small({"name": "sisa", "shards": 2}, out=tmp_path, **OPTIONS)
    return tmp_path


def test_an_audit_in_python_is_verified_and_a_change_is_found(made: Path) -> None:
    call = {"trained_here": True, "forget": np.arange(50), "procedure": {"name": "sisa", "shards": 2}, "seed": 0}
    own = {key: value for key, value in OPTIONS.items() if key != "jobs"}
    whole = verify(made, RECIPE, **call, **sides(0), **own)
    assert whole.problems == []
    assert [remark.split(",")[0] for remark in whole.remarks[1:]] == ["Without the seal that the run printed (--seal)"]
    path = made / "result.json"
    document = json.loads(path.read_text())
    document["deletion"]["receipt"]["identical"] = 0
    document["verdict"] = document["verdict"].replace("50 deleted", "5,000 deleted")
    path.write_text(json.dumps(document))
    problems = " ".join(verify(made, RECIPE, **call, **sides(0), **own).problems)
    assert "the sentence of the verdict" in problems
    assert "identical" in problems


def test_stored_answers_are_verified(tmp_path: Path) -> None:
    file = tmp_path / "answers.npz"
    np.savez(file, **answers(trace=2.0))
    out = tmp_path / "out"
    assert CliRunner().invoke(main, ["score", str(file), "--out", str(out)]).exit_code == 0
    run = CliRunner().invoke(main, ["verify", str(out), "--outputs", str(file)])
    assert run.exit_code == 0, run.output
    assert "run again on the stored answers" in run.output


def test_what_is_cleaned_holds_no_part_of_a_model(made: Path) -> None:
    for name in ("states", "before", "after"):
        (made / name).mkdir()
        (made / name / "file").write_bytes(b"")
    assert {"states", "before", "after", "rows"} <= {*clean(made)}
    assert not (made / "states").exists()
