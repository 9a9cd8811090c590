"""Memory of an audit of records that lie in a file: the most that all its processes take together, beside that file.

    python bench/records_memory.py --gib 0.5 --out bench/results/records_memory.json

Records of 3,072 numbers in float32, as large as images of 3 x 32 x 32, are written to ``.npy`` (or, with ``--parquet``, a
table), and a plan of 2,000 members, 2,000 non-members and the rest as population is run. Every quarter of a second the
proportional set size (PSS) of the process and its children is read from ``/proc/PID/smaps``, without the pages of mapped
records, which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTH = 3072
PLAN = """
[data]
path = "{path}"
label = "{label}"
[split]
members = 2000
nonmembers = 2000
[recipe]
estimator = "sklearn.naive_bayes.GaussianNB"
encode = false
[shadows]
count = 4
[engine]
jobs = 2
"""


def write(folder: Path, n: int, parquet: bool) -> tuple[Path, str]:
    """Write records and classes, a block at a time; return the file and the name of the label."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n)
    blocks = (
        rng.random((min(4096, n - start), WIDTH), np.float32) + y[start : start + 4096, None] / 10
        for start in range(0, n, 4096)
    )
    if parquet:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = [f"x{i}" for i in range(WIDTH)]
        schema = pa.schema([*((name, pa.float32()) for name in names), ("y", pa.int64())])
        with pq.ParquetWriter(folder / "X.parquet", schema) as file:
            for start, block in zip(range(0, n, 4096), blocks, strict=True):
                file.write_table(pa.table([*block.T.copy(), y[start : start + 4096]], schema=schema))
        return folder / "X.parquet", "y"
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n, WIDTH))
    for start, block in zip(range(0, n, 4096), blocks, strict=True):
        X[start : start + 4096] = block
    X.flush()
    np.save(folder / "y.npy", y)
    return folder / "X.npy", "y.npy"


def processes(root: int) -> list[int]:
    """Return a process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    every, rest = [], [root]
    while rest:
        every.append(rest.pop())
        rest += children.get(every[-1], [])
    return every


def bytes_of(process: int, records: str) -> tuple[int, int]:
    """Return the proportional bytes of a process: without mapped records, and of those."""
    own = mapped = 0
    of_records = False
    try:
        with Path(f"/proc/{process}/smaps").open() as file:
            for line in file:
                first = line.split(maxsplit=1)[0]
                if not first.endswith(":"):
                    of_records = records in line or "miaudit-records-" in line
                elif first == "Pss:":
                    size = int(line.split()[1]) * 1024
                    own, mapped = (own, mapped + size) if of_records else (own + size, mapped)
    except OSError:
        pass
    return own, mapped


def measure(gib: float, parquet: bool) -> dict[str, object]:
    """Run the audit of so large a file, and return what it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n = round(gib * 2**30 / (4 * WIDTH))
        path, label = write(folder, n, parquet)
        (folder / "plan.toml").write_text(PLAN.format(path=path, label=label))
        command = [
            sys.executable,
            "-m",
            "miaudit",
            "run",
            str(folder / "plan.toml"),
            "--out",
            str(folder / "out"),
            "-q",
        ]
        began, peaks = time.perf_counter(), []
        with subprocess.Popen(command) as audit:
            while audit.poll() is None:
                sizes = [bytes_of(process, path.name) for process in processes(audit.pid)]
                peaks.append(
                    (sum(own for own, _ in sizes), sum(each for _, each in sizes), time.perf_counter() - began)
                )
                time.sleep(0.25)
        most = max(peaks)
        return {
            "file": path.suffix[1:],
            "records": n,
            "bytes_of_file": path.stat().st_size,
            "exit": audit.returncode,
            "peak_gib": round(most[0] / 2**30, 3),
            "mapped_records_then_gib": round(most[1] / 2**30, 3),
            "peak_at_s": round(most[2], 1),
            "seconds": round(time.perf_counter() - began, 1),
            "samples": len(peaks),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, nargs="+", default=[0.5])
    parser.add_argument("--parquet", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = [measure(gib, options.parquet) for gib in options.gib]
    content = {"command": " ".join(["python", *sys.argv]), "cores": os.cpu_count(), "results": results}
    print(json.dumps(content, indent=1))
    if options.out:
        options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
