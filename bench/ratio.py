"""The learned ratio beside the attacks it learns from, on four real tasks with targets that share no records.

    MIAUDIT_DATA=... python bench/ratio.py [--out FILE] [--store FOLDER] [--tasks NAME ...]

Per task three targets, each with audited records and a population of its own, 16 shadows that were trained on random halves of
the audited records (overlapping), and 16 that were trained on the population (apart). Figures are means of the targets: AUC
and TPR at 1 % FPR. The best other attack is chosen after the fact; z is the summed difference of the areas over its
standard error, by the paired DeLong variance over records.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from miaudit.attacks import RMIA, Attack, AttackR, Calibration, LiRA, Ratio, Shokri, attack_name
from miaudit.data import Dataset, from_arrays
from miaudit.data.named import load_named
from miaudit.evidence import Evidence, Population
from miaudit.recipes import Network, Recipe, as_recipe
from miaudit.seeds import child_seed, generator
from miaudit.shadows.design import Draws
from miaudit.shadows.pool import ShadowPool
from miaudit.stats import auc, tpr_at_fpr
from miaudit.store import Store
from miaudit.threads import one_thread

TARGETS, SHADOWS = 3, 16
RESULTS = Path(__file__).parent / "results" / "ratio.json"
OVERLAPPING: tuple[Attack, ...] = (
    Ratio(),
    Calibration("online"),
    AttackR(),
    RMIA(),
    RMIA(mode="online"),
    LiRA("offline"),
    LiRA(),
    LiRA(variance="pooled"),
)
APART: tuple[Attack, ...] = (Ratio(), Calibration(signal="phi"), AttackR(), RMIA(), LiRA("offline"))


@dataclass(frozen=True)
class Task:
    """Records, how to train on them, and how many a side and in the population of each target."""

    load: Callable[[], Dataset]
    recipe: Callable[[], Recipe]
    side: int
    population: int


def _location() -> Dataset:
    return Dataset.load("location30")


def _images() -> Dataset:
    data = Dataset.load("cifar10")
    small = np.asarray(data.X).reshape(len(data), 3, 16, 2, 16, 2).mean(axis=(3, 5))
    return from_arrays(np.rint(small).astype(np.uint8).reshape(len(data), -1), data.y)


def _table(name: str, **options: str) -> Dataset:
    data = load_named(name, options=options)
    encoded = data.schema.encode(data.X)
    numbers = np.asarray(encoded.toarray() if hasattr(encoded, "toarray") else encoded, np.float32)
    return from_arrays((numbers - numbers.mean(axis=0)) / np.maximum(numbers.std(axis=0), 1e-6), data.y)


def _forest() -> Recipe:
    from sklearn.ensemble import RandomForestClassifier

    return as_recipe(RandomForestClassifier(30))


TASKS = {
    "location30": Task(_location, lambda: Network(hidden=(128,), activation="tanh", epochs=70, batch=100), 400, 870),
    "adult": Task(lambda: _table("adult"), lambda: Network(hidden=(64,), epochs=60, batch=100), 1000, 2500),
    "hospital": Task(lambda: _table("diabetes130", stays="first"), _forest, 2000, 4500),
    "cifar10": Task(
        _images,
        lambda: Network(hidden=(128,), activation="relu", epochs=30, batch=100, learning_rate=0.001),
        2500,
        6000,
    ),
}


@dataclass(frozen=True, eq=False)
class Trained:
    """Answers of one target and its shadows to the audited records, then the population's."""

    answers: np.ndarray  # (1 + 2 SHADOWS, records, classes)
    inside: np.ndarray  # (1 + 2 SHADOWS, records)
    labels: np.ndarray  # (records,)
    features: np.ndarray  # (records, ...)
    audited: int

    def evidence(self, shadows: int, *, apart: bool) -> tuple[Evidence, np.ndarray]:
        """Return evidence of the first shadows of a kind, and who is a member."""
        first = 1 + SHADOWS * apart
        of, n = slice(first, first + shadows), self.audited
        target, own = self.answers[0, :n], None
        if apart:
            rest = np.arange(n, len(self.labels))[None].repeat(shadows, axis=0)
            own = Evidence(target, self.answers[of, n:], self.inside[of, n:], self.labels, asked=rest)
        population = Population(self.answers[0, n:], self.labels[n:], features=self.features[n:])
        evidence = Evidence(
            target,
            self.answers[of, :n],
            self.inside[of, :n],
            self.labels[:n],
            own=own,
            population=population,
            features=self.features[:n],
        )
        return evidence, self.inside[0, :n]


def train(name: str, target: int, store: Store, *, seed: int, workers: int) -> Trained:
    """Train a target and its shadows on records that no other target has."""
    task = TASKS[name]
    data, recipe = task.load(), task.recipe()
    audited, size = 2 * task.side, 2 * task.side + task.population
    order = generator(seed, "records", name).permutation(len(data))[target * size : (target + 1) * size]
    inside = np.zeros((1 + 2 * SHADOWS, size), bool)
    for i, row in enumerate(inside):
        drawn = generator(seed, name, target, i)
        apart = i > SHADOWS
        row[
            audited + drawn.permutation(task.population)[: task.side]
            if apart
            else drawn.permutation(audited)[: task.side]
        ] = True
    train_at, rest_at = (np.stack([np.flatnonzero(row == side) for row in inside]) for side in (True, False))
    pool = ShadowPool(data, recipe, Draws(order[train_at], order[rest_at]), store, child_seed(seed, name, target))
    answers = pool.outputs(pool.run(workers=workers, minimum=len(inside)))
    back = np.argsort(np.concatenate([train_at, rest_at], axis=1), axis=1)
    answers = np.take_along_axis(answers, back[:, :, None], axis=1)
    return Trained(answers, inside, data.y[order], np.asarray(data.X)[order], audited)


def measured(trained: list[Trained], shadows: int, *, apart: bool) -> list[dict[str, Any]]:
    """Return AUC and TPR at 1 % FPR of every attack, mean of the targets, and the ratio's difference from each."""
    scores: dict[str, list[np.ndarray]] = {}
    members = []
    for each in trained:
        evidence, member = each.evidence(shadows, apart=apart)
        members.append(member)
        for attack in APART if apart else OVERLAPPING:
            scores.setdefault(attack_name(attack), []).append(attack.score(evidence))
        if apart and evidence.own is not None:
            scores.setdefault("shokri", []).append(Shokri().score(evidence.own))
    rows = []
    for name, of in scores.items():
        areas = [auc(score[member], score[~member]) for score, member in zip(of, members, strict=True)]
        rates = [tpr_at_fpr(score[m], score[~m], 0.01).tpr for score, m in zip(of, members, strict=True)]
        less, variance = np.transpose(
            [paired(ratio, score, m) for ratio, score, m in zip(scores["ratio"], of, members, strict=True)]
        )
        z = None if name == "ratio" or not variance.sum() else float(less.sum() / np.sqrt(variance.sum()))
        rows.append({"attack": name, "auc": float(np.mean(areas)), "tpr": float(np.mean(rates)), "z_of_ratio": z})
    return sorted(rows, key=lambda row: -row["auc"])


def paired(one: np.ndarray, other: np.ndarray, member: np.ndarray) -> tuple[float, float]:
    """Return the difference of two areas on the same records, and its variance (DeLong, DeLong and Clarke-Pearson 1988)."""
    placements = []
    for score in (one, other):
        ins, outs = score[member], score[~member]
        beaten = (
            (np.searchsorted(np.sort(outs), ins) + np.searchsorted(np.sort(outs), ins, side="right")) / 2 / len(outs)
        )
        beating = 1 - (
            np.searchsorted(np.sort(ins), outs) + np.searchsorted(np.sort(ins), outs, side="right")
        ) / 2 / len(ins)
        placements.append((beaten, beating))
    (in_one, out_one), (in_other, out_other) = placements
    inside, outside = in_one - in_other, out_one - out_other
    return float(inside.mean()), float(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside))


def markdown(found: dict[str, Any]) -> str:
    """Return the ratio beside the best single attack of each task, design and number of shadows."""
    lines = [
        "| task | shadows | ratio, AUC | best other, AUC | z | ratio, TPR at 1 % FPR | best other, TPR |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in found["cells"]:
        ratio = next(row for row in cell["attacks"] if row["attack"] == "ratio")
        others = [row for row in cell["attacks"] if row["attack"] != "ratio"]
        best, found_most = max(others, key=lambda row: row["auc"]), max(others, key=lambda row: row["tpr"])
        z = "-" if best["z_of_ratio"] is None else f"{best['z_of_ratio']:.1f}"
        areas = f"{ratio['auc']:.4f} | {best['auc']:.4f} ({best['attack']}) | {z}"
        rates = f"{100 * ratio['tpr']:.1f} % | {100 * found_most['tpr']:.1f} % ({found_most['attack']})"
        lines.append(f"| {cell['task']} | {cell['shadows']} {cell['design']} | {areas} | {rates} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go, as JSON")
    parser.add_argument("--store", type=Path, help="folder that keeps the trained models' answers; default: none")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(given.store or Path(folder))
        for name in given.tasks:
            trained = [train(name, t, store, seed=given.seed, workers=given.workers) for t in range(TARGETS)]
            with one_thread():
                cells += cells_of(name, trained)
    found = {"seed": given.seed, "targets": TARGETS, "cells": cells}
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found))


def cells_of(name: str, trained: list[Trained]) -> list[dict[str, Any]]:
    return [
        {
            "task": name,
            "shadows": shadows,
            "design": "apart" if apart else "overlapping",
            "records": len(trained[0].labels[: trained[0].audited]),
            "attacks": measured(trained, shadows, apart=apart),
        }
        for apart in (False, True)
        for shadows in (4, 16)
    ]


if __name__ == "__main__":
    main()
