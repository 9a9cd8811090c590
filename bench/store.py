"""What a store of many rows costs: seconds to write, list, read and resume from it.

    python bench/store.py --out bench/results/store.json
    python bench/store.py --rows 1000 --folder SHARED

Rows of 500 answers in 10 classes (20 kB) of models that answer with how frequent the classes were. *Write*: the rows, each
synced. *List*: whether each is there. *Read*: each whole, with its checksum. *Resume*: what a run does that finds all of them,
its plan included: `ShadowPool.run`. *Evidence*: the answers of every model. Each in a process of its own, so that nothing is
known from before; files may be in the cache of the system. Processor seconds are beside those of the wall.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
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


def act(what: str, folder: Path, rows: int) -> None:
    """Do one thing, and print its seconds."""
    pool = pool_of(folder, rows)
    jobs = pool.plan if what != "resume" else []
    wall, cpu = time.perf_counter(), time.process_time()
    if what == "write":
        answers = np.full((2 * SIDE, CLASSES), 1 / CLASSES, np.float32)
        for job in jobs:
            pool.store.put(job.key, {"outputs": answers}, {"name": job.name, "seconds": 0.0})
    elif what == "list":
        assert all(pool.store.has(job.key) for job in jobs)
    elif what == "read":
        assert all(pool.store.get(job.key) is not None for job in jobs)
    elif what == "resume":
        assert len(pool.run(workers=0, minimum=rows)) == rows
    else:
        for job in jobs:
            pool.store.part(job.key, "outputs", 0, 2 * SIDE)
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument(
        "--folder", type=Path, help="where the store is made, such as a folder that is shared; default: a temporary one"
    )
    parser.add_argument("--act", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.act:
        act(options.act[0], Path(options.act[1]), options.rows)
        return
    result: dict[str, Any] = {
        "rows": options.rows,
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "seconds": {},
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for what in ("write", "list", "read", "resume", "evidence"):
            command = [sys.executable, __file__, "--rows", str(options.rows), "--act", what, folder]
            text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            result["seconds"][what] = {name: round(each, 2) for name, each in json.loads(text).items()}
            print(what, result["seconds"][what], flush=True)
        result["bytes"] = sum(path.stat().st_size for path in (Path(folder) / "rows").iterdir())
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
