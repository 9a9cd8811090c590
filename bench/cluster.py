"""What a cluster costs: models per hour and bytes moved, measured over hosts in network namespaces, and extrapolated.

    python bench/cluster.py [--workers 1 2 4 8] [--models 64] [--out FILE]          (as root)

Every worker is a process on a host of its own (`tests/shadows/hosts.py`), so the bytes on its wire can be counted. Models
do no arithmetic: they wait for a stated time, so that more workers than cores measure the engine and not the cores, and
answer with what their records say. Folders of rows are hidden from all workers but where it says "shared": rows then come
back over the wire. The records are purchase-shaped: 40,000 x 600 bytes, 10,000 in and 10,000 out a model, 100 classes.

The model that the last lines extrapolate with, for W workers and M models that each take t seconds of a worker:

    seconds = start + max(M / W * (t + idle), M * serial)
    bytes   = W * parcel + M * (job + row)

``serial`` is what the program itself spends on a model (hand it out, take its row, write it), from three times as many
models that wait for nothing; ``idle`` what a worker waits between two models. Beyond W = (t + idle) / serial workers, more
gain nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "shadows"))

from hosts import Hosts, end

RUN = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import cluster
cluster.train(json.loads(sys.argv[2]))
"""


class Waiting:
    """A recipe whose models take a stated time and no arithmetic."""

    name = "waiting"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def describe(self) -> dict[str, Any]:
        return {"recipe": self.name, "seconds": self.seconds, "libraries": {"numpy": np.__version__}}

    def fit(self, X: Any, y: Any, *, classes: int, seed: int) -> Prior:
        time.sleep(self.seconds)
        return Prior(np.bincount(y, minlength=classes) / len(y))


class Prior:
    """Answers with how frequent the classes were."""

    def __init__(self, frequencies: Any) -> None:
        self.frequencies = frequencies

    def predict_proba(self, X: Any) -> Any:
        return np.tile(self.frequencies, (X.shape[0], 1))


def train(options: dict[str, Any]) -> None:
    """Train on the cluster as the audit does, and print the seconds; run on the host called home."""
    from miaudit.data import from_arrays
    from miaudit.shadows.design import draw_disjoint
    from miaudit.shadows.pool import ShadowPool
    from miaudit.store import Store

    rng = np.random.default_rng(0)
    n, size = options["records"], options["records"] // 4
    y = rng.integers(0, 100, n)
    y[:100] = np.arange(100)
    dataset = from_arrays((rng.random((n, 600)) < 0.23).astype(np.uint8), y)
    draws = draw_disjoint(np.arange(n), shadows=options["models"], train=size, test=size, seed=0)
    pool = ShadowPool(dataset, Waiting(options["seconds"]), draws, Store(options["folder"]), 0)
    jobs = pool.plan
    began = time.perf_counter()
    pool.run(workers=options["workers"], minimum=len(jobs), cluster=options["address"])
    print(json.dumps(time.perf_counter() - began))


def measured(workers: int, models: int, *, seconds: float, records: int, shared: bool) -> dict[str, float]:
    """Train so many models on so many hosts; return seconds, and bytes that workers and home received."""
    hosts = Hosts(workers)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            store, log = folder / "out", folder / "log"
            store.mkdir()
            address, _ = hosts.scheduler(0, log=log)
            for host in range(1, workers + 1):
                hosts.worker(host, address, folder=folder, hide=None if shared else store)
            wait(lambda: log.read_text().count("Register worker") == workers)
            before = [hosts.bytes_received(host) for host in range(workers + 1)]
            options = {"workers": workers, "models": models, "seconds": seconds, "records": records,
                       "folder": str(store), "address": address}  # fmt: skip
            said = folder / "said"
            program = hosts.start(
                0, sys.executable, "-c", RUN, str(Path(__file__).parent), json.dumps(options), log=said
            )
            program.wait(600)
            if program.returncode:
                raise RuntimeError(said.read_text())
            took = float(said.read_text().split()[-1])
            moved = [hosts.bytes_received(host) - b for host, b in enumerate(before)]
            end(program)
            return {"seconds": took, "to_workers": sum(moved[1:]), "from_workers": moved[0]}
    finally:
        hosts.close()


def wait(what: Any, *, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            raise RuntimeError("waited too long for the workers")
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a cluster costs.")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0, help="what a model waits")
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    size = {"records": arguments.records}
    found: dict[str, Any] = {
        "models": arguments.models,
        "seconds_of_a_model": arguments.seconds,
        **size,
        "measured": {},
    }
    M, t = arguments.models, arguments.seconds
    for workers in arguments.workers:
        each = measured(workers, M, seconds=t, shared=False, **size)
        found["measured"][str(workers)] = each
        print(workers, "workers:", json.dumps(each), flush=True)
    most = max(arguments.workers)
    serials = {}
    for shared in (False, True):
        few, many = (measured(most, models, seconds=0.0, shared=shared, **size) for models in (M, 3 * M))
        where = "shared" if shared else "sent back"
        serials[where] = (many["seconds"] - few["seconds"]) / (2 * M)
        found[f"waiting for nothing, rows {where}"] = {str(M): few, str(3 * M): many}
        print(f"waiting for nothing, rows {where}: {serials[where]:.4f} s a model", flush=True)

    W = np.array(arguments.workers, dtype=float)
    seconds = np.array([each["seconds"] for each in found["measured"].values()])
    received = np.array([each["to_workers"] for each in found["measured"].values()])
    serial = max(serials["sent back"], 1e-4)
    slope, start = np.polyfit(M / W, seconds, 1)  # seconds = start + (t + idle) * M / W
    if slope < t:  # no worker is quicker than its models
        slope, start = t, float(np.mean(seconds - t * M / W))
    parcel, jobs = np.polyfit(W, received, 1)
    sent = found["measured"][str(most)]["from_workers"]  # rows, and the records that workers gave each other
    row = (sent - (most - 1) * parcel) / M
    found["serial"] = serials
    model = {"start": start, "idle": slope - t, "serial": serial, "parcel": parcel, "job": jobs / M, "row": row}
    found["model"] = {name: float(value) for name, value in model.items()}
    found["worst_deviation"] = float(np.abs(np.maximum(start + slope * M / W, serial * M) / seconds - 1).max())
    for takes in (1.0, 10.0, 60.0):
        for many in (8, 64, 1024):
            models = 16 * many
            whole = start + max(16 * (takes + slope - t), models * serial)
            moved = many * parcel + models * (jobs / M + row)
            found.setdefault("extrapolated", []).append(
                {"workers": many, "seconds_of_a_model": takes, "models": models, "hours": whole / 3600,
                 "models_per_hour": 3600 * models / whole, "gigabytes_moved": moved / 1e9}
            )  # fmt: skip
    for line in found["extrapolated"]:
        print(json.dumps({name: round(value, 3) for name, value in line.items()}))
    print(json.dumps({name: round(value, 4) for name, value in found["model"].items()}), found["worst_deviation"])
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
