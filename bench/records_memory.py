"""Memory of an audit of records that lie in a file: the most that all its processes take together, beside that file.

    python bench/records_memory.py --out bench/results/records_memory.json
    python bench/records_memory.py --kinds npy parquet --gib 0.5

A file is written, and a plan of 2,000 members, 2,000 non-members, 4 shadow models, two workers and the rest as population is
run:

* ``npy``, ``parquet``: records of 3,072 numbers in float32, as large as images of 3 x 32 x 32, and naive Bayes;
* ``texts``: a Parquet column of texts of 400 words, TF-IDF and logistic regression;
* ``frame``: such texts beside three numbers, a category and a date, read as a frame, and a pipeline of the plan's own.

Every quarter of a second the
proportional set size (PSS) of the process and its children is read from ``/proc/PID/smaps``, without the pages of mapped
records, which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTH = 3072
WORDS = 400
RUNS = (("npy", 0.5), ("npy", 1.83), ("parquet", 0.5), ("frame", 1.75), ("texts", 1.75))  # kind, GiB in memory
PLAN = """
[data]
path = "{path}"
{data}
[split]
members = 2000
nonmembers = 2000
[recipe]
{recipe}
[shadows]
count = 4
[engine]
jobs = 2
"""
BAYES = 'estimator = "sklearn.naive_bayes.GaussianNB"\nencode = false'
RECIPES = {
    "npy": ('label = "y.npy"', BAYES),
    "parquet": ('label = "y"', BAYES),
    "texts": (
        'label = "y"\ntext = "text"',
        'estimator = "sklearn.linear_model.LogisticRegression"\n'
        'steps = [{class = "sklearn.feature_extraction.text.TfidfVectorizer"}]',
    ),
    "frame": ('label = "y"\nframe = true', 'train = "pipeline.py:train"'),
}
PIPELINE = """
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler


def train(X, y, seed):
    columns = make_column_transformer(
        (TfidfVectorizer(), "text"),
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["kind"]),
        (StandardScaler(), ["a", "b", "c"]),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=200)).fit(X, y)
"""


def write_numbers(folder: Path, n: int, kind: str) -> Path:
    """Write records of numbers and their classes, a block at a time; return the file."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n)
    blocks = (
        rng.random((min(4096, n - start), WIDTH), np.float32) + y[start : start + 4096, None] / 10
        for start in range(0, n, 4096)
    )
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = [f"x{i}" for i in range(WIDTH)]
        schema = pa.schema([*((name, pa.float32()) for name in names), ("y", pa.int64())])
        with pq.ParquetWriter(folder / "X.parquet", schema) as file:
            for start, block in zip(range(0, n, 4096), blocks, strict=True):
                file.write_table(pa.table([*block.T.copy(), y[start : start + 4096]], schema=schema))
        return folder / "X.parquet"
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n, WIDTH))
    for start, block in zip(range(0, n, 4096), blocks, strict=True):
        X[start : start + 4096] = block
    X.flush()
    np.save(folder / "y.npy", y)
    return folder / "X.npy"


def write_texts(folder: Path, gib: float, kind: str) -> tuple[Path, int]:
    """Write a table of so many bytes in Arrow form; return the file and how many records it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(20_000)], dtype=object)
    fields = [("text", pa.string()), ("y", pa.int64())]
    if kind == "frame":
        numbers = [(name, pa.float64()) for name in "abc"]
        fields += [*numbers, ("kind", pa.dictionary(pa.int8(), pa.string())), ("day", pa.timestamp("us"))]
    schema, size, n, block = pa.schema(fields), 0, 0, 8192
    with pq.ParquetWriter(folder / "X.parquet", schema) as file:
        while size < gib * 2**30:
            y = rng.integers(0, 2, block)
            which = rng.integers(0, 18_000, (block, WORDS)) + 2_000 * y[:, None]
            columns = [pa.array([" ".join(row) for row in words[which]]), pa.array(y)]
            if kind == "frame":
                columns += [pa.array(rng.normal(size=block) + y) for _ in "abc"]
                kinds = pa.array(rng.choice(["red", "green", "blue"], block)).dictionary_encode()
                columns += [kinds.cast(schema.field("kind").type)]
                columns += [pa.array(np.datetime64("2020-01-01", "us") + rng.integers(0, 10**15, block))]
            table = pa.table(columns, schema=schema)
            size, n = size + table.nbytes, n + block
            file.write_table(table)
    return folder / "X.parquet", n


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


def measure(gib: float, kind: str) -> dict[str, object]:
    """Run the audit of so large a file, and return what it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind in ("npy", "parquet"):
            n = round(gib * 2**30 / (4 * WIDTH))
            path = write_numbers(folder, n, kind)
        else:
            path, n = write_texts(folder, gib, kind)
            (folder / "pipeline.py").write_text(PIPELINE)
        data, recipe = RECIPES[kind]
        (folder / "plan.toml").write_text(PLAN.format(path=path, data=data, recipe=recipe))
        command = [
            sys.executable,
            "-m",
            "miaudit",
            "run",
            str(folder / "plan.toml"),
            "--out",
            str(folder / "out"),
            "-q",
            *(["--allow-code"] if kind == "frame" else []),
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
            "kind": kind,
            "records": n,
            "gib_in_memory": gib,
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
    parser.add_argument("--kinds", nargs="+", choices=list(RECIPES), help="default: the runs of docs/engine.md")
    parser.add_argument("--gib", type=float, nargs="+", default=[0.5], help="of every kind that is named")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runs = RUNS if options.kinds is None else itertools.product(options.kinds, options.gib)
    results = [measure(gib, kind) for kind, gib in runs]
    content = {"command": " ".join(["python", *sys.argv]), "cores": os.cpu_count(), "results": results}
    print(json.dumps(content, indent=1))
    if options.out:
        options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
