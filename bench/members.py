"""Attacks without shadows of the audited records: LiRA with a class proxy, and the loss trace of boosted trees.

    MIAUDIT_DATA=... python bench/members.py [--out FILE] [--tasks NAME ...]

Three targets a task that share no records, 400 records a side. *Proxy*: 8 and 16 shadows trained on 870 or 1,200 other
records, the recipes of bench/ratio.py. *Trace*: boosted trees on the ten largest classes, no shadows. Figures are means of the
targets: AUC and TPR at 1 % FPR. The networks of cifar10 train only where it is named: they take longer than all else.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ratio import TASKS
from threadpoolctl import threadpool_limits

from miaudit import signals
from miaudit.attacks import RMIA, Attack, LiRA, LossTrace, Ratio, Threshold, attack_name
from miaudit.evidence import Evidence
from miaudit.seeds import child_seed, generator
from miaudit.shadows.design import Draws
from miaudit.shadows.pool import ShadowPool
from miaudit.stats import auc, tpr_at_fpr
from miaudit.store import Store
from miaudit.threads import one_thread

RESULTS = Path(__file__).parent / "results" / "members.json"
TARGETS, SHADOWS, SIDE = 3, 16, 400
VARIANCES = ("nig", "per-example", "pooled")
APART: tuple[Attack, ...] = (
    *(LiRA("proxy", variance) for variance in VARIANCES),
    *(LiRA("offline", variance) for variance in VARIANCES),
    RMIA(),
    Ratio(),
    Threshold(),
)
TRACED: tuple[Attack, ...] = (LossTrace(), LossTrace("fall"), Threshold())


def apart(name: str, target: int, *, workers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return answers and memberships of a target and its shadows, which saw no audited record, and the classes."""
    task = TASKS[name]
    data, audited = task.load(), 2 * SIDE
    size = audited + min(task.population, 1200)
    order = generator(0, "pmia", name).permutation(len(data))[target * size : (target + 1) * size]
    inside = np.zeros((1 + SHADOWS, size), bool)
    for i, row in enumerate(inside):
        drawn = generator(0, name, target, i)
        row[audited + drawn.permutation(size - audited)[:SIDE] if i else drawn.permutation(audited)[:SIDE]] = True
    train_at, rest_at = (np.stack([np.flatnonzero(row == side) for row in inside]) for side in (True, False))
    with tempfile.TemporaryDirectory() as folder:
        draws = Draws(order[train_at], order[rest_at])
        pool = ShadowPool(data, task.recipe(), draws, Store(folder), child_seed(0, name, target))
        answers = pool.outputs(pool.run(workers=workers, minimum=len(inside)))
    back = np.argsort(np.concatenate([train_at, rest_at], axis=1), axis=1)
    return np.take_along_axis(answers, back[:, :, None], axis=1), inside, data.y[order]


def of_shadows(answers: np.ndarray, inside: np.ndarray, labels: np.ndarray, shadows: int) -> Evidence:
    """Return evidence of the first shadows, with their own records beside the audited ones."""
    n, of = 2 * SIDE, slice(1, 1 + shadows)
    rest = np.arange(n, len(labels))[None].repeat(shadows, axis=0)
    own = Evidence(answers[0, :n], answers[of, n:], inside[of, n:], labels, asked=rest)
    return Evidence(answers[0, :n], answers[of, :n], inside[of, :n], labels[:n], own=own)


def boosted() -> dict[str, Callable[[], Any]]:
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

    return {
        "gradient boosting, 100 rounds": lambda: GradientBoostingClassifier(random_state=0),
        "histogram boosting, 100": lambda: HistGradientBoostingClassifier(early_stopping=False, random_state=0),
        "histogram boosting, 400": lambda: HistGradientBoostingClassifier(
            max_iter=400, early_stopping=False, random_state=0
        ),
    }


def traced(name: str, model: Any, seed: int) -> tuple[Evidence, np.ndarray]:
    """Return evidence of boosted trees on the ten largest classes, with its trace, and who is a member."""
    data = TASKS[name].load()
    sizes = np.bincount(data.y)
    large = np.isin(data.y, np.flatnonzero(sizes >= np.sort(sizes)[::-1][:10].min()))
    X, y = np.asarray(data.X, np.float32)[large], np.unique(data.y[large], return_inverse=True)[1]
    order = generator(seed, name).permutation(len(y))[: 2 * SIDE]
    member = np.arange(2 * SIDE) < SIDE
    X, y = X[order], y[order]
    model.fit(X[member], y[member])
    width = int(y.max()) + 1
    stages = []
    for answer in model.staged_predict_proba(X):
        full = np.zeros((len(y), width))
        full[:, model.classes_] = answer
        stages.append(full)
    trace = np.stack([signals.loss(full, y) for full in stages], axis=1)
    return Evidence(stages[-1], np.empty((0, len(y), width)), np.empty((0, len(y)), bool), y, trace=trace), member


def measured(runs: list[tuple[Evidence, np.ndarray]], attacks: tuple[Attack, ...]) -> list[dict[str, Any]]:
    rows = []
    for attack in attacks:
        scores = [(attack.score(evidence), member) for evidence, member in runs]
        areas = [auc(score[member], score[~member]) for score, member in scores]
        rates = [tpr_at_fpr(score[member], score[~member], 0.01).tpr for score, member in scores]
        rows.append({"attack": attack_name(attack), "auc": float(np.mean(areas)), "tpr": float(np.mean(rates))})
    return rows


def cells_of(name: str, workers: int) -> list[dict[str, Any]]:
    trained = [apart(name, target, workers=workers) for target in range(TARGETS)]
    cells = []
    with one_thread():
        for shadows in (8, SHADOWS):
            runs = [(of_shadows(*each, shadows), each[1][0, : 2 * SIDE]) for each in trained]
            cells.append({"task": name, "of": f"{shadows} shadows apart", "attacks": measured(runs, APART)})
    if name == "cifar10":
        return cells
    with threadpool_limits(1):
        for kind, make in boosted().items():
            runs = [traced(name, make(), seed) for seed in range(TARGETS)]
            cells.append({"task": name, "of": kind, "attacks": measured(runs, TRACED)})
    return cells


def markdown(found: dict[str, Any]) -> str:
    rows = [
        f"| {cell['task']} | {cell['of']} | {row['attack']} | {row['auc']:.4f} | {100 * row['tpr']:.1f} % |"
        for cell in found["cells"]
        for row in cell["attacks"]
    ]
    return "\n".join(["| task | of | attack | AUC | TPR at 1 % FPR |", "|---|---|---|---|---|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go, as JSON")
    parser.add_argument(
        "--tasks", nargs="+", choices=list(TASKS), default=[name for name in TASKS if name != "cifar10"]
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    found = {"targets": TARGETS, "cells": [cell for name in given.tasks for cell in cells_of(name, given.workers)]}
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found))


if __name__ == "__main__":
    main()
