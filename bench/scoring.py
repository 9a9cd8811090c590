"""How fast attacks are scored once the shadows are there, against the plain ways of doing it.

    python bench/scoring.py --out bench/results/scoring.json

One thread; CPU seconds, the median of the rounds, each thing in turn. Plain ways too slow for the whole are run on the
first rows and scaled, which is said; their ratio to ours is what counts. Memory is the peak of what numpy allocated
beyond the inputs. Data are normal noise: they measure speed and nothing else.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from miaudit.attacks.lira import likelihood_ratio
from miaudit.attacks.moments import sides
from miaudit.attacks.rmia import beaten, reference, tune_a
from miaudit.signals import phi

RECORDS, MODELS, POPULATION = 60_000, 256, 60_000
ROUNDS = 5


def cpu_seconds(act: Callable[[], object], *, rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        began = time.process_time()
        act()
        times.append(time.process_time() - began)
    return statistics.median(times)


def peak_megabytes(act: Callable[[], object]) -> float:
    tracemalloc.start()
    act()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def lira_by_record(target: np.ndarray, shadows: np.ndarray, inside: np.ndarray, rows: int) -> np.ndarray:
    """Online LiRA as commonly written: a loop over records, scipy's densities."""
    out = np.empty(rows)
    for i in range(rows):
        with_it, without = shadows[inside[:, i], i], shadows[~inside[:, i], i]
        out[i] = norm.logpdf(target[i], with_it.mean(), with_it.std() + 1e-30)
        out[i] -= norm.logpdf(target[i], without.mean(), without.std() + 1e-30)
    return out


def rmia_by_record(log_x: np.ndarray, log_z: np.ndarray, gamma: float, rows: int) -> np.ndarray:
    """One pass over the population per record."""
    x, z = np.exp(log_x), np.exp(log_z)
    return np.array([(x[i] / z > gamma).sum() for i in range(rows)])


def rmia_by_matrix(log_x: np.ndarray, log_z: np.ndarray, gamma: float, size: int) -> np.ndarray:
    """The matrix of all ratios."""
    return (np.exp(log_x[:size])[:, None] / np.exp(log_z[:size])[None, :] > gamma).sum(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    rng = np.random.default_rng(0)
    shadows = rng.standard_normal((MODELS, RECORDS), dtype=np.float32)
    inside = rng.random((MODELS, RECORDS), dtype=np.float32) < 0.5
    target = rng.standard_normal(RECORDS)
    log_p, log_t = -np.abs(shadows), -np.abs(target)
    log_x, log_z = rng.standard_normal(RECORDS), rng.standard_normal(POPULATION)

    said = rng.dirichlet(np.ones(10), RECORDS).astype(np.float32)
    labels = rng.integers(0, 10, RECORDS)

    ours: dict[str, Callable[[], object]] = {
        "phi of one model, 10 classes": lambda: phi(said, labels),
        "moments": lambda: sides(target, shadows, inside),
        "rmia, 60,000 x 60,000 counts": lambda: beaten(log_x, log_z, 2.0),
        "rmia, p(x) of the references": lambda: reference(log_t, log_p, inside),
        "rmia, tuning a": lambda: tune_a(log_p, inside),
    }
    for mode in ("online", "offline"):
        for variance in ("nig", "per-example", "pooled"):
            ours[f"lira {mode} {variance}"] = lambda m=mode, v=variance: likelihood_ratio(
                target, shadows, inside, mode=m, variance=v
            )
    table: dict[str, dict[str, float]] = {}
    for name, act in ours.items():
        table[name] = {"cpu_seconds": cpu_seconds(act), "peak_MB": peak_megabytes(act)}

    rows, size = 1500, 2000
    plain = {
        "lira by record": (
            lambda: lira_by_record(target, shadows, inside, rows),
            RECORDS / rows,
            "lira online per-example",
        ),
        "rmia by record": (
            lambda: rmia_by_record(log_x, log_z, 2.0, rows),
            RECORDS / rows,
            "rmia, 60,000 x 60,000 counts",
        ),
        "rmia by matrix": (
            lambda: rmia_by_matrix(log_x, log_z, 2.0, size),
            RECORDS * POPULATION / size**2,
            "rmia, 60,000 x 60,000 counts",
        ),
    }
    for name, (act, scale, beside) in plain.items():
        seconds = cpu_seconds(act, rounds=3) * scale
        table[f"{name} (scaled)"] = {"cpu_seconds": seconds, "ratio_to_ours": seconds / table[beside]["cpu_seconds"]}

    counts = beaten(log_x[:rows], log_z, 2.0)
    differ = int((counts != rmia_by_record(log_x, log_z, 2.0, rows)).sum())
    result = {
        "machine": f"{platform.processor() or platform.machine()}, numpy {np.__version__}, one thread",
        "records": RECORDS,
        "models": MODELS,
        "population": POPULATION,
        "inputs_MB": (shadows.nbytes + inside.nbytes) / 2**20,
        "counts_that_differ": differ,
        "table": table,
    }
    print(f"{RECORDS:,} records, {MODELS} models, {POPULATION:,} population records; {result['machine']}")
    for name, row in table.items():
        beside = f"{row['ratio_to_ours']:>10,.0f} x ours" if "ratio_to_ours" in row else f"{row['peak_MB']:>10.1f} MB"
        print(f"{name:<32} {row['cpu_seconds'] * 1000:>12,.1f} ms CPU {beside}")
    print(f"counts that differ from the loop's: {differ} of {rows}")
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
