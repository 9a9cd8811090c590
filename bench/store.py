"""What a store of many rows costs: seconds to write, list, read and resume from it.

    python bench/store.py --out bench/results/store.json
    python bench/store.py --folder SHARED --name "NFS" --cold --out bench/results/store.json

Rows of 500 answers in 10 classes (20 kB) of models that answer with how frequent the classes were. *Write*: the rows, each
synced. *List*: whether each is there. *Read*: each whole, with its checksum. *Resume*: what a run does that finds all of them,
its plan included: `ShadowPool.run`. *Evidence*: the answers of every model. Each in a process of its own, so that nothing is
known from before; files may be in the cache of the system, without ``--cold``. Processor seconds are beside those of the wall,
and, where the folder is mounted by NFS, the requests that went to its server. ``bench/nfs.sh`` mounts one with a delay.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from miaudit.data import from_arrays
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.pool import ShadowPool
from miaudit.store import Store

RECORDS, SIDE, CLASSES = 2_000, 250, 10


class Prior:
    """A recipe whose models answer with how frequent the classes were, and the models."""

    name = "prior"

    def __init__(self, frequencies: Any = None) -> None:
        self.frequencies = frequencies

    def describe(self) -> dict[str, Any]:
        return {"recipe": self.name, "libraries": {"numpy": np.__version__}}

    def fit(self, X: Any, y: Any, *, classes: int, seed: int) -> Prior:
        return Prior(np.bincount(y, minlength=classes) / len(y))

    def predict_proba(self, X: Any) -> Any:
        return np.tile(self.frequencies, (X.shape[0], 1))


def pool_of(folder: Path, rows: int) -> ShadowPool:
    """Return the pool of so many models."""
    rng = np.random.default_rng(0)
    y = np.arange(RECORDS) % CLASSES
    dataset = from_arrays(rng.random((RECORDS, 5)), y)
    draws = draw_disjoint(np.arange(RECORDS), shadows=rows, train=SIDE, test=SIDE, seed=0)
    return ShadowPool(dataset, Prior(), draws, Store(folder), 0)


def requests(folder: Path) -> dict[str, int]:
    """Return how many requests of each kind the NFS mount of this folder has sent so far; none where it is no such mount."""
    counts: dict[str, dict[str, int]] = {"/": {}}
    of: dict[str, int] = {}
    statistics = Path("/proc/self/mountstats")  # of Linux
    for line in statistics.read_text().splitlines() if statistics.exists() else ():
        if mount := re.match(r"device .* mounted on (.*) with fstype (\S+)", line):
            of = counts.setdefault(mount[1], {})
        elif operation := re.match(r"\s+([A-Z_]+): (\d+) ", line):
            of[operation[1]] = int(operation[2])
    places = {str(path) for path in (folder.resolve(), *folder.resolve().parents)}
    return counts[max(places & counts.keys(), key=len)]


def act(what: str, folder: Path, rows: int) -> None:
    """Do one thing, and print its seconds."""
    pool = pool_of(folder, rows)
    jobs = pool.plan if what != "resume" else []
    before, wall, cpu = requests(folder), time.perf_counter(), time.process_time()
    if what == "write":
        answers = np.full((2 * SIDE, CLASSES), 1 / CLASSES, np.float32)
        for job in jobs:
            pool.store.put(job.key, {"outputs": answers}, {"name": job.name, "seconds": 0.0})
    elif what == "list":
        there = pool.store.keys()
        assert all(job.key in there for job in jobs)
    elif what == "read":
        assert all(pool.store.get(job.key) is not None for job in jobs)
    elif what == "resume":
        assert len(pool.run(workers=0, minimum=rows)) == rows
    else:
        for job in jobs:
            pool.store.part(job.key, "outputs", 0, 2 * SIDE)
    cost: dict[str, Any] = {"wall": round(time.perf_counter() - wall, 2), "cpu": round(time.process_time() - cpu, 2)}
    sent = {name: count - before[name] for name, count in requests(folder).items() if count > before[name]}
    print(json.dumps(cost | ({"requests": sent} if sent else {})))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument(
        "--folder", type=Path, help="where the store is made, such as a folder that is shared; default: a temporary one"
    )
    parser.add_argument("--name", default="local disk", help="of the folder's file system, in the results")
    parser.add_argument("--cold", action="store_true", help="empty the system's caches before each, which takes root")
    parser.add_argument("--act", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.act:
        act(options.act[0], Path(options.act[1]), options.rows)
        return
    result: dict[str, Any] = {
        "rows": options.rows,
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "cold": options.cold,
        "acts": {},
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for what in ("write", "list", "read", "resume", "evidence"):
            command = [sys.executable, __file__, "--rows", str(options.rows), "--act", what, folder]
            if options.cold:
                os.sync()
                Path("/proc/sys/vm/drop_caches").write_text("3")
            text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            result["acts"][what] = json.loads(text)
            print(what, result["acts"][what], flush=True)
        result["bytes"] = sum(path.stat().st_size for path in (Path(folder) / "rows").iterdir())
    if options.out:
        results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
        options.out.write_text(json.dumps(results | {options.name: result}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
