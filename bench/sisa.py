"""What a deletion from sharded training costs: record-epochs counted, beside the closed formula, and seconds.

    python bench/sisa.py             # counts, times, writes bench/results/sisa.json
    python bench/sisa.py --tables    # puts the tables into docs/unlearning.md

Counting trains nothing: the steps of a model are named before and after a request, and those with new names are what a
deletion trains. Expected beforehand: every mean within 15 % of the formula.
"""

from __future__ import annotations

import json
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from miaudit.recipes import SISA, ClassSISA, Network, expected_share
from miaudit.recipes.sisa import Sharded
from miaudit.recipes.states import Steps, digests_of
from miaudit.threads import one_thread, usable_cores

ROOT = Path(__file__).parent.parent
FILE = ROOT / "bench" / "results" / "sisa.json"
PAGE = ROOT / "docs" / "unlearning.md"
SEED = 1
RECORDS, REQUESTS = 10_000, 200
SHARDS, SLICES, BATCHES = 20, (1, 20), (1, 8, 39)
NETWORK = Network(hidden=(16,), activation="relu", epochs=21, batch=25)
Table = dict[str, Any]


def records(n: int, classes: int = 10) -> tuple[Any, Any]:
    """Return random records of equally large classes."""
    rng = np.random.default_rng(SEED)
    y = rng.permutation(np.arange(n) % classes)
    return (rng.normal(size=(n, 16)) + 2 * np.eye(classes, 16)[y]).astype(np.float32), y


def names(steps: Steps) -> set[str]:
    """Return the names of the states."""
    return {step.name for step in steps.each}


def counted(recipe: Sharded, X: Any, y: Any, requests: list[Any]) -> Table:
    """Return the mean share of a retraining that the deletion of each request takes, with a 95 % interval."""
    course, digests = recipe.course(X, 10), digests_of(X, y, seed=SEED)

    def steps(part: Any) -> Steps:
        if isinstance(recipe, SISA):  # by the digests alone
            return recipe.steps_of(course, digests[part], seed=SEED)
        return recipe.steps(X[part], y[part], classes=10, seed=SEED)

    everyone = np.arange(len(y))
    before = names(steps(everyone))
    spent, whole = [], []
    for gone in requests:
        work = steps(np.delete(everyone, gone)).work(before)
        spent.append(work.spent)
        whole.append(work.whole)
    shares = np.asarray(spent) / np.asarray(whole)
    half = 1.96 * shares.std(ddof=1) / np.sqrt(len(shares)) if len(shares) > 1 else 0.0
    share = float(shares.mean())
    return {
        "requests": len(requests),
        "record_epochs": float(np.mean(spent)),
        "retraining": float(np.mean(whole)),
        "share": [share, share - half, share + half],
        "speed_up": 1 / share if share else None,
    }


def counts() -> list[Table]:
    """Return the counted speed-ups of SISA beside the formula's."""
    X, y = records(RECORDS)
    rows = []
    for slices in SLICES:
        recipe = SISA(NETWORK, shards=SHARDS, slices=slices)
        for size in BATCHES:
            rng = np.random.default_rng([SEED, slices, size])
            requests = [rng.choice(RECORDS, size, replace=False) for _ in range(REQUESTS)]
            row = counted(recipe, X, y, requests)
            formula = 1 / expected_share(size, shards=SHARDS, slices=slices)
            rows.append({"shards": SHARDS, "slices": slices, "batch": size, **row, "formula": formula,
                         "met": abs(row["speed_up"] / formula - 1) <= 0.15})  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def classes() -> list[Table]:
    """Return the counted cost of the removal of a class, the mean over ten of them."""
    X, y = records(RECORDS)
    removals = [np.flatnonzero(y == label) for label in range(10)]
    rows = []
    for shards in (2, 5, 10):
        alone = counted(ClassSISA(NETWORK, shards=shards, gate="none"), X, y, removals)
        gated = counted(ClassSISA(NETWORK, shards=shards), X, y, removals)
        rows.append({"shards": shards, "specialists": alone["share"], "with_gate": gated["share"]})
        print(rows[-1], file=sys.stderr, flush=True)
    plain = counted(SISA(NETWORK, shards=SHARDS, slices=20), X, y, removals)
    return [*rows, {"shards": SHARDS, "plain": plain["share"]}]


def times(n: int = 2000, repeats: int = 5) -> list[Table]:
    """Return mean seconds of a deletion and of a retraining in a small world."""
    X, y = records(n)
    rows = []
    with one_thread():
        for slices in SLICES:
            recipe = SISA(NETWORK, shards=SHARDS, slices=slices)
            model = recipe.fit(X, y, classes=10, seed=SEED)
            for size in BATCHES:
                rng, spent, whole, work = np.random.default_rng([SEED, slices, size]), [], [], []
                for _ in range(repeats):
                    gone = np.zeros(n, bool)
                    gone[rng.choice(n, size, replace=False)] = True
                    began = time.perf_counter()
                    after = recipe.forget(model, X, y, forget=gone, classes=10, seed=SEED)
                    spent.append(time.perf_counter() - began)
                    began = time.perf_counter()
                    again = recipe.fit(X[~gone], y[~gone], classes=10, seed=SEED)
                    whole.append(time.perf_counter() - began)
                    work.append(after.work.whole / max(after.work.spent, 1))
                    assert (after.predict_proba(X) == again.predict_proba(X)).all()
                rows.append({"slices": slices, "batch": size, "deletion": float(np.mean(spent)),
                             "retraining": float(np.mean(whole)), "speed_up": float(np.mean(whole) / np.mean(spent)),
                             "counted": float(np.mean(work)), "repeats": repeats, "records": n})  # fmt: skip
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def run() -> None:
    """Count and time all, and write the file."""
    began = time.process_time()
    document = {
        "command": "python bench/sisa.py",
        "seed": SEED,
        "machine": f"{platform.processor() or platform.machine()}, {usable_cores()} cores",
        "records": RECORDS,
        "counts": counts(),
        "classes": classes(),
        "times": times(),
    }
    document["cpu_seconds"] = time.process_time() - began
    FILE.write_text(json.dumps(document, indent=1) + "\n")


def tables() -> None:
    """Put the tables into the page."""
    of = json.loads(FILE.read_text())
    timed = {(each["slices"], each["batch"]): each for each in of["times"]}
    one, first = of["times"][0], of["counts"][0]
    heads = ("slices R", "records deleted at once K", "share of a retraining, counted", "speed-up, counted", "by the formula",
             "within 15 %", "seconds: deletion, retraining", "speed-up in seconds")  # fmt: skip
    lines = [
        f"S = {SHARDS} shards, {of['records']:,} records, {first['requests']} random requests a line, seed {of['seed']}; "
        f"seconds in a world of {one['records']:,} records, mean of {one['repeats']}, on a busy machine; every result equals "
        f"the retrained one bit for bit; {of['machine']}, {of['cpu_seconds']:.0f} CPU seconds. `{of['command']}`",
        "",
        f"| {' | '.join(heads)} |",
        f"|{' --- |' * len(heads)}",
    ]
    for row in of["counts"]:
        seconds = timed[row["slices"], row["batch"]]
        share, low, high = row["share"]
        cells = (
            row["slices"],
            row["batch"],
            f"{share:.4f} ({low:.4f} to {high:.4f})",
            f"{row['speed_up']:.2f}",
            f"{row['formula']:.2f}",
            "yes" if row["met"] else "**no**",
            f"{seconds['deletion']:.2f}, {seconds['retraining']:.2f}",
            f"{seconds['speed_up']:.1f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        "A class removed, ten classes of equal size, mean over the class, in shares of a retraining:",
        "",
        "| class-SISA, shards | specialists alone | with the gate |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {row['shards']} | {row['specialists'][0]:.2f} | {row['with_gate'][0]:.2f} |" for row in of["classes"][:-1]
    ]
    plain = of["classes"][-1]
    lines += ["", f"Plain SISA of {plain['shards']} shards and 20 slices gains nothing there: {plain['plain'][0]:.2f}."]
    text, page = "\n".join(lines), PAGE.read_text(encoding="utf-8")
    marked = re.compile(r"(<!-- sisa -->\n).*?(<!-- end -->)", re.DOTALL)
    PAGE.write_text(marked.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    tables() if sys.argv[1:] == ["--tables"] else run()
