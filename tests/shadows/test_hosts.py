"""An audit over three hosts in network namespaces, of which a worker and then the scheduler are killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

from cluster import wait_for
from hosts import Hosts, end

import miaudit

pytestmark = pytest.mark.hosts

PLAN = """
seed = 3
attacks = [{ name = "shokri", epochs = 2 }]
[data]
name = "digits"
[split]
members = 100
[recipe]
function = "patient.py:build"
[shadows]
count = 16
"""
PATIENT = """
import time
from pathlib import Path
from sklearn.ensemble import RandomForestClassifier

class Patient(RandomForestClassifier):
    def fit(self, X, y):
        with Path({ledger!r}).open("a") as file:
            file.write("fit\\n")
        time.sleep({seconds})
        return super().fit(X, y)

def build():
    return Patient(n_estimators=5)
"""


def document(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    content.pop("provenance")
    return content


@pytest.mark.timeout(280)
def test_three_hosts_lose_a_worker_and_then_the_scheduler_and_the_result_is_the_local_one(tmp_path: Path) -> None:
    ledger, out = tmp_path / "ledger", tmp_path / "out"
    (tmp_path / "patient.py").write_text(PATIENT.format(ledger=str(ledger), seconds=0.8))
    (tmp_path / "plan.toml").write_text(PLAN)
    out.mkdir()
    hosts = Hosts(3)
    try:

        def rows() -> int:
            return len(list((out / "rows").glob("*.safetensors"))) if (out / "rows").exists() else 0

        def fits() -> int:
            return len(ledger.read_text().split()) if ledger.exists() else 0

        def cluster() -> tuple[str, Any, list[Any]]:
            address, scheduler = hosts.scheduler(1, log=tmp_path / "scheduler.log")
            workers = [hosts.worker(host, address, folder=tmp_path) for host in (1, 2)]
            workers.append(hosts.worker(3, address, folder=tmp_path, hide=out))  # its rows go over the wire
            return address, scheduler, workers

        def audit(address: str) -> Any:
            command = [sys.executable, "-m", "miaudit", "run", str(tmp_path / "plan.toml"), "--out", str(out)]
            return hosts.start(0, *command, "--allow-code", "--address", address, log=tmp_path / "audit.log")

        address, scheduler, workers = cluster()
        wait_for(lambda: (tmp_path / "scheduler.log").read_text().count("Register worker") == 3)
        first = audit(address)
        wait_for(lambda: rows() >= 4)
        end(workers[1])  # on host 2, most likely in the middle of a model
        wait_for(lambda: rows() >= 8)
        end(scheduler)
        wait_for(lambda: first.poll() is not None)
        assert first.returncode == 4
        assert (
            "connection to the Dask scheduler at tcp://10.77.0.11:8786 was lost" in (tmp_path / "audit.log").read_text()
        )
        kept = rows()
        assert 8 <= kept < 17
        for worker in workers:
            end(worker)

        spent = fits()
        address, _, _ = cluster()
        second = audit(address)
        wait_for(lambda: second.poll() is not None, seconds=120)
        assert second.returncode == 0, (tmp_path / "audit.log").read_text()
        assert fits() - spent == 17 - kept  # what was in the folder was not trained again
        journal = (out / "journal.jsonl").read_text()
        assert journal.count("worker died") == 1
    finally:
        hosts.close()

    (tmp_path / "patient.py").write_text(PATIENT.format(ledger=str(ledger), seconds=0.8))
    miaudit.audit(tmp_path / "plan.toml", out=tmp_path / "local", jobs=2, allow_code=True)
    assert document(out) == document(tmp_path / "local")
