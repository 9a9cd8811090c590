"""kill -9 in any phase: the next run goes on to the same document."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from deletions import sides, small

from miaudit.recipes import Network, states
from miaudit.result import Result
from miaudit.unlearning import audit

PROGRAM = """
import miaudit.recipes.states as states
from deletions import small
states.LEAST_SECONDS = 0.0
small({procedure!r}, out={out!r}, oracles=3)
"""

STATES = """
import os
import signal
import miaudit.recipes.states as states
from miaudit.store import Store
from test_killed import sliced

states.LEAST_SECONDS = 0.0
put, count = Store.put, 0

def put_and_die(store, key, arrays, facts):
    global count
    put(store, key, arrays, facts)
    count += store.folder.name == "states"
    if count == {state}:
        os.kill(os.getpid(), signal.SIGKILL)

Store.put = put_and_die
sliced({out!r})
"""
SHARDS, SLICES = 2, 4


def sliced(out: Any) -> Result:
    """Audit a deletion from a network that is trained in shards and slices."""
    network = Network(hidden=(8,), activation="relu", epochs=8, learning_rate=0.01, batch=20)
    options: dict[str, Any] = {"shadows": 4, "oracles": 2, "receipts": 1, "bystanders": 2, "jobs": 0, "seed": 1}
    procedure = {"name": "sisa", "shards": SHARDS, "slices": SLICES}
    return audit(network, trained_here=True, forget=range(50), procedure=procedure, out=out, **sides(), **options)


def program(text: str) -> subprocess.Popen[bytes]:
    """Start a program that finds the modules of these tests."""
    here = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)])}
    return subprocess.Popen([sys.executable, "-c", text], env=environment)


def document(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    content.pop("provenance")
    return content


@pytest.mark.slow
@pytest.mark.parametrize("procedure", ["retrain", {"name": "sisa", "shards": 3}], ids=str)
@pytest.mark.parametrize("rows", [0, 1, 5, 12])
def test_a_killed_audit_goes_on_to_the_same_document(tmp_path: Path, rows: int, procedure: Any) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    small(procedure, out=whole, oracles=3)
    child = program(PROGRAM.format(out=str(out), procedure=procedure))
    while child.poll() is None and len([*out.rglob("*.safetensors")]) < rows:  # rows of models, and states of shards
        time.sleep(0.005)
    if not rows:
        time.sleep(0.5)
    child.send_signal(signal.SIGKILL)
    child.wait()
    small(procedure, out=out, oracles=3)
    assert document(out) == document(whole)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the document of the audit of the sliced network that nobody killed."""
    out = tmp_path_factory.mktemp("whole")
    sliced(out)
    return document(out)


@pytest.mark.slow
@pytest.mark.parametrize("state", [1, SLICES - 1, SLICES + 2, 2 * SLICES * SHARDS - 2, 5 * SLICES * SHARDS + 2])
def test_a_network_killed_between_its_slices_goes_on_from_the_last_state(
    tmp_path: Path, state: int, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "killed"
    assert program(STATES.format(out=str(out), state=state)).wait() == -signal.SIGKILL
    files = {path: path.stat().st_mtime_ns for path in (out / "states" / "rows").iterdir()}
    assert len(files) == state
    monkeypatch.setattr(states, "LEAST_SECONDS", 0.0)  # a state that were trained again would be written again
    sliced(out)
    assert document(out) == whole
    assert {path: path.stat().st_mtime_ns for path in files} == files  # read, and not trained again
