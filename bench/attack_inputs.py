"""Which form of the inputs the 2017 attack's networks learn best from.

    MIAUDIT_DATA=... python bench/attack_inputs.py train [TASK ...] --worlds FOLDER [--seeds 11 12]
    python bench/attack_inputs.py compare [WORLD ...] --worlds FOLDER [--shadows 1 2] [--out FILE] [--null]

docs/decisions/0020-the-scale-of-the-2017-attacks-inputs.md has the commands of its figures.

``train`` makes worlds: a target and a few shadow models of each task and seed, whose rows are kept; ``--shadow-models``
trains more of them. ``compare`` runs the attack on each world (such as "cifar-14"; all without any), three times by other
seeds, as it is and with every fixed share of the largest spread that inputs are at least divided by. It prints the area of
each, and by how much the attack as it is lies above it, with the standard error of that difference: DeLong's on the same
records, and the spread of the attack's seeds. ``--shadows`` learns from the first so many shadow models of each world. With
``--null`` the attack as it is is run five times on shuffled memberships of every shadow model: areas must then lie at 0.5.
The file keeps what it holds of other worlds, numbers of shadow models and shares.
Simulated purchases are those of `miaudit.paper.purchases`; "hospital" is diabetes130 and a hidden layer of 200.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from miaudit.attacks import Shokri, net
from miaudit.auditing import case_of_plan
from miaudit.auditing.gathering import gather
from miaudit.auditing.provenance import Clock
from miaudit.auditing.workers import Workers
from miaudit.evidence import Evidence
from miaudit.stats import auc
from miaudit.store import Store

RESULTS = Path(__file__).with_name("results") / "attack_inputs.json"
SEEDS = 3
SHARES: dict[str, float | None] = {"as it is": None, "own spread": 0.0, "0.1": 0.1, "0.3": 0.3, "the largest": 1.0}

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


def train(task: str, seed: int, folder: Path, shadow_models: int | None) -> None:
    path = folder / f"{task}-{seed}.npz"
    if path.exists():
        return
    data, members, recipe, shadows = TASKS[task]
    shadows = shadow_models or shadows
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


def evidence_of(path: Path, shadows: int | None) -> tuple[Evidence, NDArray[np.bool_]]:
    with np.load(path) as held:
        target, labels, member = held["target"], held["labels"], held["member"]
        models, inside, asked = (held[name][:shadows] for name in ("models", "inside", "asked"))
    return Evidence(target, models, inside, labels, asked=asked), member


@contextmanager
def fixed(share: float | None) -> Iterator[None]:
    """Divide inputs by no less than this share of the largest spread: 0 for their own alone, None for the attack's choice."""
    chosen, divisors = Shokri._share, net._divisors
    if share is not None:
        Shokri._share = lambda *_: share
    if share == 0.0:
        net._divisors = lambda spread, _: np.where(spread > 1e-4, np.maximum(spread, 1e-4), 1.0)
    try:
        yield
    finally:
        Shokri._share, net._divisors = chosen, divisors


class Areas:
    """Of the attack with one form of inputs: an area for each seed, and the mean place of each record among the other side."""

    def __init__(self, evidence: Evidence, member: NDArray[np.bool_], share: float | None) -> None:
        began, places = time.process_time(), []
        self.areas, self.accuracy = np.empty(SEEDS), np.empty(SEEDS)
        for seed in range(SEEDS):
            with fixed(share):
                scores = Shokri().run(evidence, seed=seed)
            self.areas[seed] = auc(scores.score[member], scores.score[~member])
            self.accuracy[seed] = (scores.decision == member).mean()
            places.append(_places(scores.score, member))
        self.seconds = (time.process_time() - began) / SEEDS
        self.places = np.mean(places, axis=0)

    def above(self, other: Areas, member: NDArray[np.bool_]) -> tuple[float, float]:
        """Return by how much this area lies above another, and the standard error."""
        places, areas = self.places - other.places, self.areas - other.areas
        variance = areas.var(ddof=1) / SEEDS + sum(places[side].var(ddof=1) / side.sum() for side in (member, ~member))
        return float(areas.mean()), float(variance**0.5)


def _places(score: NDArray[np.float64], member: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n,) shares of the other side that each record is told from."""
    places, among = np.empty(len(score)), rankdata(score)
    for side in (member, ~member):
        below = (among[side] - rankdata(score[side])) / (~side).sum()
        places[side] = below if side is member else 1.0 - below
    return places


def compare(path: Path, shares: dict[str, float | None], shadows: int | None) -> list[dict[str, Any]]:
    evidence, member = evidence_of(path, shadows)
    by_share = {name: Areas(evidence, member, share) for name, share in shares.items()}
    rows = []
    for name, areas in by_share.items():
        row = {
            "world": path.stem,
            "shadows": len(evidence.models),
            "share": name,
            "auc": round(float(areas.areas.mean()), 5),
            "auc_sd_over_seeds": round(float(areas.areas.std(ddof=1)), 5),
            "accuracy": round(float(areas.accuracy.mean()), 5),
            "seconds": round(areas.seconds, 1),
        }
        if name != "as it is" and "as it is" in by_share:
            above = by_share["as it is"].above(areas, member)
            row |= {"as_it_is_above": round(above[0], 5), "standard_error": round(above[1], 5)}
        rows.append(row)
    return rows


def null(path: Path) -> dict[str, Any]:
    evidence, member = evidence_of(path, None)
    rng, areas = np.random.default_rng(0), []
    for _ in range(5):
        inside = np.stack([rng.permutation(each) for each in evidence.inside])
        shuffled = Evidence(evidence.target, evidence.models, inside, evidence.labels, asked=evidence.asked)
        score = Shokri().run(shuffled, seed=0).score
        areas.append(round(auc(score[member], score[~member]), 4))
    return {"world": path.stem, "null": areas}


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a row is about: no two rows of the file are about the same."""
    return row["world"], row.get("shadows"), row.get("share")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "compare"))
    parser.add_argument("names", nargs="*", help="tasks to train, or worlds to compare; all without any")
    parser.add_argument("--worlds", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15, 16])
    parser.add_argument("--shadow-models", type=int)
    parser.add_argument("--shadows", type=int, nargs="+")
    parser.add_argument("--shares", nargs="+", choices=[*SHARES], default=[*SHARES])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--null", action="store_true")
    asked = parser.parse_args()
    asked.worlds.mkdir(parents=True, exist_ok=True)
    if asked.what == "train":
        for seed in asked.seeds:
            for task in asked.names or TASKS:
                train(task, seed, asked.worlds, asked.shadow_models)
        return
    rows: list[dict[str, Any]] = []
    for path in sorted(asked.worlds.glob("*.npz")):
        if asked.names and path.stem not in asked.names:
            continue
        if asked.null:
            rows.append(null(path))
        else:
            for shadows in asked.shadows or [None]:
                rows += compare(path, {name: SHARES[name] for name in asked.shares}, shadows)
        print(*(json.dumps(row) for row in rows if row["world"] == path.stem), sep="\n", flush=True)
    before = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else []
    document = {identity(row): row for row in (*before, *rows)}
    asked.out.write_text(json.dumps([*document.values()], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
