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
from deletions import small

PROGRAM = """
import miaudit.recipes.states as states
from deletions import small
states.LEAST_SECONDS = 0.0
small({procedure!r}, out={out!r}, oracles=3)
"""


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
    here = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)])}
    child = subprocess.Popen([sys.executable, "-c", PROGRAM.format(out=str(out), procedure=procedure)], env=environment)
    while child.poll() is None and len([*out.rglob("*.safetensors")]) < rows:  # rows of models, and states of shards
        time.sleep(0.005)
    if not rows:
        time.sleep(0.5)
    child.send_signal(signal.SIGKILL)
    child.wait()
    small(procedure, out=out, oracles=3)
    assert document(out) == document(whole)
