"""Processes or threads for estimators: the same models on two workers of either kind, one thread of arithmetic each.

    python bench/estimators.py

Milliseconds a model, the median of the rounds, each thing in turn. The processes are there already and hold the records, as
the engine's do. Needs the dev extra.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
import warnings
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before any library loads

import numpy as np
from lightgbm import LGBMClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier

from miaudit.recipes import as_recipe

RNG = np.random.default_rng(0)
X, Y = (RNG.random((3000, 100)) < 0.3).astype(np.float32), RNG.integers(0, 10, 3000)
ESTIMATORS: dict[str, tuple[Any, int]] = {  # and how many models in a round
    "forest": (RandomForestClassifier(50), 6),
    "tree": (DecisionTreeClassifier(), 24),
    "logistic": (LogisticRegression(max_iter=100), 8),
    "mlp": (MLPClassifier((64,), max_iter=8), 4),
    "xgboost": (XGBClassifier(n_estimators=20, max_depth=4), 6),
    "lightgbm": (LGBMClassifier(n_estimators=20, num_leaves=15, verbose=-1), 6),
}


def train(name: str, seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        as_recipe(ESTIMATORS[name][0]).fit(X[:1500], Y[:1500], classes=10, seed=seed).predict_proba(X)


def milliseconds(name: str, workers: Executor | None) -> float:
    models = ESTIMATORS[name][1]
    began = time.perf_counter()
    if workers is None:
        for seed in range(models):
            train(name, seed)
    else:
        list(workers.map(train, [name] * models, range(models)))
    return 1000 * (time.perf_counter() - began) / models


def main() -> None:
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(2, mp_context=context) as processes,
        ThreadPoolExecutor(2) as threads,
        threadpool_limits(1),
    ):
        kinds = {"one after another": None, "threads": threads, "processes": processes}
        for workers in kinds.values():
            milliseconds("tree", workers)
        for name in ESTIMATORS:
            times: dict[str, list[float]] = {kind: [] for kind in kinds}
            for _ in range(3):
                for kind, workers in kinds.items():
                    times[kind].append(milliseconds(name, workers))
            print(name, {kind: round(statistics.median(each)) for kind, each in times.items()}, flush=True)


if __name__ == "__main__":
    main()
