"""How the work is done, as plan, call and command line may say it: device, type, processes, time, and what it costs."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import miaudit
from miaudit.auditing import Engine
from miaudit.cli import main
from miaudit.cli.options import ENGINE
from miaudit.data import from_arrays
from miaudit.errors import PlanError, TimeLimitError
from miaudit.recipes import Network
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.pool import ShadowPool
from miaudit.store import Store

pytest.importorskip("torch")

PLAN: dict[str, Any] = {
    "data": {"name": "digits"},
    "split": {"members": 100},
    "recipe": {"network": {"hidden": [8], "epochs": 6}},
    "shadows": {"count": 10},
    "attacks": [{"name": "shokri", "epochs": 2}],
}
TOML = """
attacks = [{ name = "shokri", epochs = 2 }]
[data]
name = "digits"
[split]
members = 100
[recipe.network]
hidden = [8]
epochs = 6
[shadows]
count = 10
"""


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def rows(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "rows").glob("*.safetensors")}


@pytest.mark.slow
def test_the_type_makes_other_models_and_the_device_a_processor_has_makes_the_same(tmp_path: Path) -> None:
    miaudit.audit(PLAN, out=tmp_path, jobs=0)
    first = rows(tmp_path)
    miaudit.audit(PLAN, out=tmp_path, jobs=0, device="cpu", dtype="float32")
    miaudit.audit({**PLAN, "engine": {"device": "cpu"}}, out=tmp_path, jobs=0)
    assert rows(tmp_path) == first
    miaudit.audit(PLAN, out=tmp_path, jobs=0, dtype="bfloat16")
    assert len(rows(tmp_path) - first) == len(first) == 11
    provenance = document(tmp_path)["provenance"]
    assert provenance["recipe"]["of"]["dtype"] == "bfloat16"
    assert provenance["device"] == "cpu"
    bfloat16 = {**PLAN, "recipe": {"network": {"hidden": [8], "epochs": 6, "dtype": "bfloat16"}}}
    miaudit.audit(bfloat16, out=tmp_path, jobs=0)
    assert document(tmp_path)["provenance"]["shadow_cost"]["trained_now"] == 0


@pytest.mark.slow
def test_the_command_line_takes_device_and_type_and_tells_what_a_run_takes_and_took(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(TOML)
    arguments = ["run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]
    options = ["--device", "cpu", "--dtype", "bfloat16", "--jobs", "1"]
    ran = CliRunner().invoke(main, [*arguments, *options])
    assert ran.exit_code == 0, ran.stderr
    clock, room = r"\d+:\d\d", r"[\d,]+ MiB of memory, [\d,]+ MiB on disk"
    foreseen = f"about {clock} for 11 models and {clock} for the attacks, {clock} in all; {room}"
    assert re.search(foreseen, ran.stderr), ran.stderr
    assert re.search(f"11 of 11 .{clock}, {room}; expected {clock}, {room}", ran.stderr), ran.stderr
    cost = document(tmp_path / "out")["provenance"]["shadow_cost"]
    for what in ("estimated", "actual"):
        assert cost[what]["models"] == 11
        assert cost[what]["seconds"] > 0
        assert cost[what]["peak_bytes"] > 100e6  # torch alone takes so much
    assert 0 < cost["estimated"]["disk_bytes"] <= cost["actual"]["disk_bytes"] < 1.3 * cost["estimated"]["disk_bytes"]
    refused = CliRunner().invoke(main, [*arguments, "--dtype", "float16"])
    assert refused.exit_code == 2


def test_the_estimate_is_there_before_the_first_model(tmp_path: Path) -> None:
    seen: list[Any] = []
    long = {**PLAN, "recipe": {"network": {"hidden": [8], "epochs": 40}}, "shadows": {"count": 24}, "attacks": ["gap"]}
    miaudit.audit(long, out=tmp_path, jobs=1, tell=lambda text, progress: seen.append(progress))
    told = [progress for progress in seen if progress is not None and progress.of == "models"]
    first = next(progress for progress in told if progress.estimate is not None)
    assert first.estimate.models == 25
    assert told[-1].actual.models == 25
    whole = told[-1].actual.seconds
    assert 0 < first.estimate.seconds < 20 * whole  # loading torch is not in it, and the machine may be busy


def test_what_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="device: got 'gpu'; allowed: cpu, cuda, cuda:1"):
        miaudit.audit(PLAN, device="gpu")
    with pytest.raises(PlanError, match="engine.device"):
        miaudit.Plan.of({**PLAN, "engine": {"device": "gpu"}})
    with pytest.raises(PlanError, match="engine.time_limit"):
        miaudit.Plan.of({**PLAN, "engine": {"time_limit": 0}})
    forest = {**PLAN, "recipe": {"estimator": "sklearn.ensemble.RandomForestClassifier"}}
    with pytest.raises(PlanError, match="dtype: .*RandomForestClassifier .*leave it out"):
        miaudit.audit(forest, dtype="bfloat16")
    with pytest.raises(TimeLimitError, match="0 of 11 models in the store; 11 are missing"):
        miaudit.audit({**PLAN, "engine": {"time_limit": 1e-3, "jobs": 0}}, out=tmp_path)


def test_the_command_line_has_every_option_of_the_engine() -> None:
    assert {*ENGINE} == {field.name for field in fields(Engine)}


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "asked"), [(2, 1_000), (500, 20_000)])
def test_the_estimate_of_memory_counts_records_and_answers(classes: int, asked: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(30_000) % classes
    dataset = from_arrays(rng.integers(0, 2, (30_000, 1_000), np.uint8), labels)
    recipe = Network(hidden=(8,), epochs=5)
    draws = draw_disjoint(np.arange(30_000), shadows=4, train=1_000, test=asked, seed=0)
    pool, seen = ShadowPool(dataset, recipe, draws, Store(tmp_path), 0), list[Any]()
    pool.run(workers=2, minimum=4, tell=seen.append)
    first = next(each for each in seen if each.estimate is not None)
    assert 0.8 < first.estimate.peak_bytes / seen[-1].actual.peak_bytes < 1.25
