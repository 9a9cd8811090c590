"""What training in bfloat16 does to an audit: the same models twice, from the same seeds, and the same attack on both.

    python bench/bf16_audit.py --task location30 --models 24 --epochs 60 --out bench/results/bf16_audit.json

Every model is trained on a random half of the records, once in float32 and once in bfloat16; then each in turn is the target
and the others its shadows, and LiRA (online) says who was inside. What differs between the two types is the type alone, so
the differences are taken target by target. Their interval is Student's over targets; it is a little too narrow, because
targets are each other's shadows. Needs the torch extra, and real data in MIAUDIT_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr, t

from miaudit.attacks.lira import likelihood_ratio
from miaudit.data import Dataset, from_arrays, load_named
from miaudit.recipes import Network
from miaudit.shadows.engine import run_jobs
from miaudit.shadows.training import Job
from miaudit.signals import phi
from miaudit.stats import auc, tpr_at_fpr
from miaudit.store import Store

TASKS = {
    "location30": (None, Network.preset("purchase", epochs=100)),
    "mnist": (20_000, Network(hidden=(128,), epochs=30, batch=100, activation="relu", learning_rate=0.002)),
    "cifar10": (20_000, Network(hidden=(128,), epochs=25, batch=100, activation="relu", learning_rate=0.001)),
}


def records_of(name: str, records: int | None) -> Dataset:
    """Return the first so many records of a named data set, flat."""
    data = load_named(name)
    chosen = np.random.default_rng(0).permutation(len(data))[:records]
    X = np.asarray(data.X)[chosen]
    return from_arrays(X.reshape(len(X), -1), data.y[chosen])


def phis(data: Dataset, recipe: Network, inside: np.ndarray) -> tuple[np.ndarray, float, list[float]]:
    """Train a model for each row of ``inside``; return (models, n) signals, seconds, and accuracies on the others."""
    every = np.arange(len(data))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        jobs = [Job(f"{i:064x}", f"model {i}", np.flatnonzero(row), every, i) for i, row in enumerate(inside)]
        began = time.perf_counter()
        failures = run_jobs(jobs, data, recipe, store, workers=len(os.sched_getaffinity(0))).failures
        took = time.perf_counter() - began
        assert not failures, failures[0].traceback
        rows = [store.get(job.key) for job in jobs]
        signals = np.stack([phi(row.arrays["outputs"], data.y) for row in rows if row is not None])
        return signals, took, [row.facts["test_accuracy"] for row in rows if row is not None]


def scores_of(signals: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return (models, n) scores of LiRA with each model as the target in turn."""
    others = ~np.eye(len(signals), dtype=bool)
    return np.stack(
        [likelihood_ratio(signals[k], signals[others[k]], inside[others[k]])[0] for k in range(len(signals))]
    )


def mean_and_interval(values: Any) -> dict[str, float]:
    values = np.asarray(values)
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return {"mean": float(values.mean()), "low": float(values.mean() - half), "high": float(values.mean() + half)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Audit the same models in float32 and bfloat16.")
    parser.add_argument("--task", default="cifar10", choices=TASKS)
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--records", type=int)
    parser.add_argument("--seed", type=int, default=0, help="of who is inside")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    records, recipe = TASKS[arguments.task]
    data = records_of(arguments.task, arguments.records or records)
    recipe = replace(recipe, epochs=arguments.epochs or recipe.epochs)
    rng = np.random.default_rng(arguments.seed)
    half = np.arange(len(data)) < len(data) // 2
    inside = np.stack([rng.permutation(half) for _ in range(arguments.models)])

    figures: dict[str, dict[str, Any]] = {}
    scores = {}
    for dtype in ("float32", "bfloat16"):
        signals, took, accuracy = phis(data, replace(recipe, dtype=dtype), inside)
        scores[dtype] = scores_of(signals, inside)
        pairs = list(zip(scores[dtype], inside, strict=True))
        figures[dtype] = {
            "tpr_at_0.1%": [tpr_at_fpr(s[i], s[~i], 0.001).tpr for s, i in pairs],
            "tpr_at_1%": [tpr_at_fpr(s[i], s[~i], 0.01).tpr for s, i in pairs],
            "auc": [auc(s[i], s[~i]) for s, i in pairs],
            "test_accuracy": accuracy,
            "seconds": took,
        }
    found: dict[str, Any] = {
        "task": arguments.task, "records": len(data), "models": arguments.models, "recipe": recipe.describe(),
        "seconds": {dtype: round(each.pop("seconds"), 1) for dtype, each in figures.items()},
    }  # fmt: skip
    for name in figures["float32"]:
        one, other = (np.array(figures[dtype][name], dtype=float) for dtype in ("float32", "bfloat16"))
        found[name] = {
            "float32": mean_and_interval(one), "bfloat16": mean_and_interval(other),
            "bfloat16_minus_float32": mean_and_interval(other - one),
        }  # fmt: skip
        print(name, json.dumps({k: {a: round(b, 5) for a, b in v.items()} for k, v in found[name].items()}))
    both = zip(scores["float32"], scores["bfloat16"], strict=True)
    found["rank_correlation_of_scores"] = float(np.median([spearmanr(a, b).statistic for a, b in both]))
    print("rank correlation of a record's two scores", round(found["rank_correlation_of_scores"], 4), found["seconds"])
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
