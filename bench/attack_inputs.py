"""Which form of the inputs the 2017 attack's networks learn best from.

    MIAUDIT_DATA=... python bench/attack_inputs.py train --worlds FOLDER [TASK ...] [--seeds 11 12]
    python bench/attack_inputs.py compare --worlds FOLDER [--out FILE] [--null]

``train`` makes worlds: a target and a few shadow models of each task and seed, whose rows are kept. ``compare`` runs the
attack on each world with every rule for what inputs are divided by, and prints area, accuracy and precision of each. With
``--null`` it is also run five times on shuffled memberships of every shadow model: areas must then lie at 0.5. Simulated
purchases are those of `miaudit.paper.purchases`; "hospital" is diabetes130 and a hidden layer of 200.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks import Shokri, net
from miaudit.auditing import case_of_plan
from miaudit.auditing.gathering import gather
from miaudit.auditing.provenance import Clock
from miaudit.auditing.workers import Workers
from miaudit.evidence import Evidence
from miaudit.stats import auc
from miaudit.store import Store

RESULTS = Path(__file__).with_name("results") / "attack_inputs.json"
Rule = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def own(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(spread > 1e-4, np.maximum(spread, 1e-4), 1.0)


def floor(share: float) -> Rule:
    """Own spread, but at least a share of the largest."""
    return lambda spread: np.maximum(np.maximum(spread, share * spread.max()), 1e-12)


def between(power: float) -> Rule:
    """Between its own spread (power 1) and the largest (power 0), geometrically."""
    return lambda spread: np.maximum(spread, 1e-12) ** power * max(spread.max(), 1e-12) ** (1 - power)


RULES: dict[str, Rule] = {
    "own spread": own,
    "at least 0.03 of the largest": floor(0.03),
    "at least 0.1 of the largest": floor(0.1),
    "at least 0.3 of the largest": floor(0.3),
    "the largest spread": floor(1.0),
    "between, 0.5": between(0.5),
}

PURCHASE = {"network": {"preset": "purchase", "epochs": 40}}
TASKS: dict[str, tuple[dict[str, Any], int, dict[str, Any], int]] = {
    # data, members, recipe, shadows
    **{f"purchases-{k}": ({"classes": k}, 5_000, PURCHASE, 5) for k in (2, 10, 20, 50, 100)},
    "location": ({"name": "location30"}, 1_200, {"network": {"preset": "purchase", "epochs": 70}}, 12),
    "cifar": ({"name": "cifar10"}, 2_500, {"network": {"preset": "cifar", "epochs": 20}}, 2),
    "hospital": (
        {"name": "diabetes130"},
        5_000,
        {"network": {"preset": "texas-1000", "hidden": [200], "epochs": 60}},
        4,
    ),
}


def train(task: str, seed: int, folder: Path) -> None:
    path = folder / f"{task}-{seed}.npz"
    if path.exists():
        return
    data, members, recipe, shadows = TASKS[task]
    began = time.perf_counter()
    with TemporaryDirectory() as held:
        if "classes" in data:
            from miaudit.paper.purchases import Purchases, clustered

            bits = Purchases().draw(40_000, seed=seed)
            np.savez(Path(held) / "records.npz", X=bits, y=clustered(bits, data["classes"], seed=seed))
            data = {"path": str(Path(held) / "records.npz")}
        plan = {
            "seed": seed,
            "data": data,
            "split": {"members": members, "outside": 0},
            "recipe": recipe,
            "shadows": {"count": shadows},
            "attacks": ["shokri"],
        }
        case = case_of_plan(plan)
        measured = gather(case, Store(held), Workers(2, None, None), clock=Clock(), tell=lambda *_: None)
        e = measured.evidence.own
        rows = np.stack([np.asarray(e.models[i]) for i in range(len(e.models))])
        np.savez(
            path, target=e.target, models=rows, inside=e.inside, labels=e.labels, asked=e.asked, member=measured.member
        )
    print(f"{path.name}: {time.perf_counter() - began:.0f} s", flush=True)


def evidence_of(path: Path) -> tuple[Evidence, NDArray[np.bool_]]:
    with np.load(path) as held:
        arrays = {name: held[name] for name in held.files}
    member = arrays.pop("member")
    return Evidence(
        arrays["target"], arrays["models"], arrays["inside"], arrays["labels"], asked=arrays["asked"]
    ), member


def compare(path: Path, rules: dict[str, Rule], seed: int, *, null: bool) -> list[dict[str, Any]]:
    evidence, member = evidence_of(path)
    rng = np.random.default_rng(seed)
    rows = []
    for name, rule in rules.items():
        net._divisors = rule
        began = time.process_time()
        scores = Shokri().run(evidence, seed=seed)
        row = {
            "world": path.stem,
            "rule": name,
            "auc": auc(scores.score[member], scores.score[~member]),
            "accuracy": float((scores.decision == member).mean()),
            "precision": float(member[scores.decision].mean()) if scores.decision.any() else None,
            "recall": float(scores.decision[member].mean()),
            "seconds": round(time.process_time() - began, 1),
        }
        if null:
            areas = []
            for _ in range(5):
                inside = np.stack([rng.permutation(each) for each in evidence.inside])
                shuffled = Evidence(evidence.target, evidence.models, inside, evidence.labels, asked=evidence.asked)
                score = Shokri().run(shuffled, seed=seed).score
                areas.append(auc(score[member], score[~member]))
            row["null"] = areas
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "compare"))
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []], default=[])
    parser.add_argument("--worlds", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--rules", nargs="+", choices=[*RULES], default=[*RULES])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--null", action="store_true")
    asked = parser.parse_args()
    asked.worlds.mkdir(parents=True, exist_ok=True)
    if asked.what == "train":
        for seed in asked.seeds:
            for task in asked.tasks or TASKS:
                train(task, seed, asked.worlds)
        return
    rows = []
    for path in sorted(asked.worlds.glob("*.npz")):
        for row in compare(path, {name: RULES[name] for name in asked.rules}, 0, null=asked.null):
            rows.append(row)
            print(
                row["world"],
                row["rule"],
                f"AUC {row['auc']:.4f} accuracy {row['accuracy']:.4f}",
                row["seconds"],
                flush=True,
            )
    asked.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
