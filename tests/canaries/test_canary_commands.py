from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import skops.io
from click.testing import CliRunner, Result
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier

from miaudit.canaries import Canaries, audit_canaries, load_planted, run
from miaudit.cli import main
from miaudit.errors import PlanError, StoreError, TimeLimitError

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


def test_planting_says_what_can_be_shown_how_records_were_read_and_what_the_model_is_asked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{x:.3f},0{code},{'red' if x > 0 else 'blue'},{y}" for x, code, y in zip(
        rng.normal(size=60), rng.integers(10, 20, 60), rng.choice(["no", "yes"], 60), strict=True)]  # fmt: skip
    (tmp_path / "mine.csv").write_text("\n".join(["size,code,colour,y", *rows]), encoding="utf-8")
    plant = ("plant", tmp_path / "mine.csv", "--label", "y", "--count", 20, "--seed", 1, "--confidence", 0.999)
    done = cli(*plant, "--out", tmp_path / "matrix")
    assert done.exit_code == 0, done.output
    assert "all right would show an epsilon of 0.000" in done.stdout
    assert "--frame" in done.stdout
    assert "warning: Column 'code' was read as numbers" in done.stderr
    assert "--frame" not in cli(*plant, "--out", tmp_path / "frame", "--frame").stdout
    planted, _ = load_planted(tmp_path / "frame")
    summary = audit_canaries(planted, lambda X: np.full((len(X), 2), 0.5), accept_weak=True).summary()
    assert "99.9 % confidence" in summary


def test_every_kind_of_model_file_is_read_as_a_run_reads_it(tmp_path: Path) -> None:
    import joblib
    import torch
    from safetensors.torch import save_file
    from skl2onnx import to_onnx

    X, y = load_digits(return_X_y=True)
    np.savez(tmp_path / "mine.npz", X=X, y=np.array([f"digit {label}" for label in y]))
    (tmp_path / "net_of_canaries.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Linear(64, 10)\n"
    )
    net = torch.nn.Linear(64, 10)
    out = tmp_path / "planted"
    made = ("plant", tmp_path / "mine.npz", "--count", 100, "--seed", 3, "--out", out)
    assert cli(*made).exit_code == 0
    training = np.load(out / "training.npz")
    model = ExtraTreesClassifier(5, random_state=0).fit(training["X"], training["y"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (tmp_path / "m.onnx").write_bytes(to_onnx(model, training["X"][:1].astype(np.float32)).SerializeToString())
    joblib.dump(model, tmp_path / "m.joblib")
    save_file(net.state_dict(), tmp_path / "m.safetensors")
    torch.save(net.state_dict(), tmp_path / "m.pt")
    module = ("--module", f"{tmp_path / 'net_of_canaries.py'}:make", "--accept-weak")  # the network is not trained
    queries = []
    for name, options in (
        ("m.onnx", ()),
        ("m.joblib", ("--allow-pickle",)),
        ("m.safetensors", module),
        ("m.pt", module),
    ):
        (out / "audit.json").unlink(missing_ok=True)
        done = cli("audit", out, "--model", tmp_path / name, *options, "--json")
        assert done.exit_code == 0, done.output
        queries.append(json.loads(done.output)["queries"])
    assert len(set(queries)) == 1
    refused = cli("audit", out, "--model", tmp_path / "m.safetensors")
    assert refused.exit_code == 2
    assert "by module = " in refused.output


def test_what_a_model_answers_can_be_said_where_it_is_not_clear(tmp_path: Path) -> None:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    X, y = load_digits(return_X_y=True)
    np.savez(tmp_path / "mine.npz", X=X, y=y)
    out = tmp_path / "planted"
    assert cli("plant", tmp_path / "mine.npz", "--count", 100, "--seed", 3, "--out", out).exit_code == 0
    training = np.load(out / "training.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(max_iter=20).fit(training["X"], training["y"])
        content = to_onnx(model, training["X"][:1].astype(np.float32), options={"zipmap": False, "raw_scores": True})
    (tmp_path / "m.onnx").write_bytes(content.SerializeToString())  # its output "probabilities" holds logits
    refused = cli("audit", out, "--model", tmp_path / "m.onnx")
    assert refused.exit_code == 4, refused.output
    assert "is not clear: its output is named 'probabilities'" in refused.output
    assert not (out / "audit.json").exists()  # no coin is spent
    done = cli("audit", out, "--model", tmp_path / "m.onnx", "--outputs", "logits", "--json")
    assert done.exit_code == 0, done.output


def test_run_a_plan(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(PLAN)
    options = (tmp_path / "p.toml", "--count", 400, "--seed", 1)
    done = cli("run", *options, "--out", tmp_path / "a", "--jobs", 0, "--references", 2, "--json")
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


def test_a_run_trains_alike_in_any_number_of_processes_and_goes_on_after_its_time(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(PLAN)
    options = (tmp_path / "p.toml", "--count", 100, "--seed", 1, "--references", 1)
    late = cli("run", *options, "--out", tmp_path / "a", "--time-limit", 1e-6)
    assert late.exit_code == TimeLimitError.exit_code, late.output
    assert not (tmp_path / "a" / "audit.json").exists()
    done = cli("run", *options, "--out", tmp_path / "a", "--jobs", 1, "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    assert done.stdout == cli("run", *options, "--out", tmp_path / "b", "--jobs", 0, "--json").stdout
    assert len(list((tmp_path / "a" / "rows").rglob("*.safetensors"))) == 2
    other = cli("run", *options[:3], "--seed", 2, "--out", tmp_path / "a")
    assert other.exit_code == 2
    assert "folder of their own" in other.output


def test_the_same_run_from_python(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(PLAN)
    by_plan = run(tmp_path / "p.toml", Canaries(100), seed=1, jobs=0, out=tmp_path / "a")
    command = cli("run", tmp_path / "p.toml", "--count", 100, "--seed", 1, "--out", tmp_path / "b", "--json")
    assert json.loads(command.stdout) == json.loads(by_plan.to_json())
    records = load_digits(return_X_y=True)
    by_recipe = run(ExtraTreesClassifier(10), Canaries(100), records=records, seed=1, jobs=0, out=tmp_path / "c")
    assert by_recipe.ordinary.records == 1697
    with pytest.raises(StoreError, match="already"):
        run(ExtraTreesClassifier(10), Canaries(100), records=records, seed=1, jobs=0, out=tmp_path / "c")
    with pytest.raises(PlanError, match="records"):
        run(ExtraTreesClassifier(10), Canaries(100), out=tmp_path / "d")
    with pytest.raises(PlanError, match="allow_code: belong to a plan"):
        run(ExtraTreesClassifier(10), Canaries(100), records=records, out=tmp_path / "d", allow_code=True)
    with pytest.raises(PlanError, match="says itself"):
        run(tmp_path / "p.toml", Canaries(100), records=records, out=tmp_path / "d")


def test_a_run_that_cannot_have_its_workers_plants_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(PLAN)
    done = cli("run", tmp_path / "p.toml", "--count", 100, "--out", tmp_path / "a", "--device", "cuda")
    assert done.exit_code == 2, done.output
    assert "trains on the processor" in done.output
    assert not (tmp_path / "a" / "sealed.json").exists()


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
