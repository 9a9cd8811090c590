"""Experiments X6, X7, X12 and X13 of docs/unlearning.md: deletion audits of sharded training, sound and broken.

    python bench/unlearning_shards.py X6     # writes bench/results/unlearning/X6.json
    python bench/unlearning_shards.py        # all of them
    python bench/unlearning.py --tables      # puts the tables into docs/unlearning.md

Expectations are stated in the code, before any figure.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from unlearning import FOLDER, KEPT, MLP, SEED, SIZES, SOUND, Table, drawn, met, of_class_shards, row, write

from miaudit.recipes import SISA, ClassSISA
from miaudit.unlearning import audit

DELETED = 60
OPTIONS: dict[str, Any] = {"shadows": 10, "oracles": 0, "jobs": 0, "bystanders": 3, "kept": 0, "trained_here": True}


def audited(name: str, recipe: Any, procedure: Any, sides: dict[str, Any], deleted: int = DELETED) -> Table:
    """Return what a table says of one audit, with the receipt and the accuracy before."""
    with tempfile.TemporaryDirectory() as folder:
        result = audit(
            recipe, forget=np.arange(deleted), procedure=procedure, seed=SEED, out=folder, **sides, **OPTIONS
        )
    deletion = result.deletion
    assert deletion is not None
    figures = row(result, name)
    print(
        name,
        deletion.kind,
        figures["before"]["auc"],
        figures["after"]["auc"],
        figures["receipt"],
        file=sys.stderr,
        flush=True,
    )
    return figures


CELLS: tuple[tuple[int, int, str], ...] = (
    (5, 1, "mean"),
    (5, 4, "mean"),
    (5, 1, "vote"),
    (10, 1, "mean"),
    (10, 4, "mean"),
    (20, 1, "mean"),
    (20, 4, "mean"),
    (20, 1, "vote"),
)
"""Shards, slices and aggregate of each cell of X6 and X13."""


def x6() -> Table:
    """Shards and slices: what they cost in accuracy, and hide."""
    return cells(
        drawn("location30", SIZES),
        f"Location-30, a network of 32 units, 400 records, {DELETED} deleted: of 30 classes a shard has 80, 40 or 20 records; "
        "10 shadow models",
    )


def x13() -> Table:
    """X6 on images, of which a shard has some of each class."""
    deleted = (
        300  # 60, as in X6, were too few to see what there is to forget of a mean of shards: 7 of 8 cells saw nothing
    )
    return cells(
        drawn("mnist", {"members": 1000, "nonmembers": 400, "population": 1200}),
        f"X6 on MNIST, a network of 32 units, 1,000 records, {deleted} deleted: of 10 classes a shard has 200, 100 or 50 "
        "records; 10 shadow models",
        deleted,
    )


def cells(sides: dict[str, Any], title: str, deleted: int = DELETED) -> Table:
    """Return the table of plain retraining and of all cells."""
    rows = [audited("plain, retrained", MLP, "retrain", sides, deleted)]
    for shards, slices, aggregate in CELLS:
        recipe = SISA(MLP, shards=shards, slices=slices, aggregate=aggregate)  # type: ignore[arg-type]
        rows.append(audited(f"S = {shards}, R = {slices}, {aggregate}", recipe, "recipe", sides, deleted))
    by = {each["name"]: each for each in rows}
    order = ["plain, retrained", *(f"S = {shards}, R = 1, mean" for shards in (5, 10, 20))]
    right = [by[name]["cost"]["before"]["never"] for name in order]
    before = [by[name]["before"]["auc"][0] for name in order]
    pair = {name: each["pair"]["auc"][0] for name, each in by.items()}
    sharded = rows[1:]
    return {
        "title": title,
        "rows": rows,
        "expectations": [
            met("every receipt holds", all(each["receipt"]["identical"] == each["receipt"]["models"] for each in sharded)),
            met("before the deletion, accuracy on records never trained on falls with the shards (none, 5, 10, 20)",
                falling(right)),
            met("what there is to forget falls with the shards", falling(before)),
            met("afterwards nothing is found", all(each["after"]["kind"] != "leak" for each in rows)),
            met("both models give away less than with plain retraining",
                all(pair[each["name"]] < pair[order[0]] for each in sharded)),
            met("the work is within 15 % of the formula, or within 0.05 of a retraining",
                all(_near(each["cost"]["work"]) for each in sharded)),
        ],
    }  # fmt: skip


def falling(figures: list[float]) -> bool:
    """Return whether each figure is below the one before it."""
    return all(one > next_one for one, next_one in pairwise(figures))


def _near(work: dict[str, Any]) -> bool:
    return bool(abs(work["share"] - work["expected"]) <= max(0.05, 0.15 * work["expected"]))


@dataclass(frozen=True)
class SharedScaler:
    """Standardise by all records, and keep that when some are deleted."""

    inner: Any
    name: str = "a scaler of all records"

    def around(self, recipe: Any) -> SharedScaler:
        """Return the same around another recipe."""
        return replace(self, inner=recipe)

    def describe(self) -> dict[str, Any]:
        """Return what it is around."""
        return {"recipe": self.name, "of": self.inner.describe()}

    def history(self) -> dict[str, Any]:
        """Return how it forgets."""
        return {"forget": self.name, **self.inner.history()}

    def fit(self, X: Any, y: Any, *, classes: int, seed: int) -> Scaled:
        """Train on records that are standardised by all of them."""
        mean, scale = X.mean(axis=0), X.std(axis=0) + 1e-6
        return Scaled(self.inner.fit((X - mean) / scale, y, classes=classes, seed=seed), mean, scale)

    def forget(self, model: Scaled, X: Any, y: Any, *, forget: Any, classes: int, seed: int) -> Scaled:
        """Delete from the shards alone."""
        records = (X - model.mean) / model.scale
        after = self.inner.forget(model.model, records, y, forget=forget, classes=classes, seed=seed)
        return replace(model, model=after)


@dataclass(frozen=True)
class Scaled:
    """A model behind the scaler."""

    model: Any
    mean: Any
    scale: Any

    def predict_proba(self, X: Any) -> Any:
        """Return (n, classes) probabilities."""
        return self.model.predict_proba((X - self.mean) / self.scale)


@dataclass(frozen=True)
class WarmStart(SISA):
    """Train what stays further, from the models that saw the records."""

    def forget(self, model: Any, X: Any, y: Any, *, forget: Any, classes: int, seed: int) -> Any:
        """Go on where the shards are."""
        rest = np.flatnonzero(~forget)
        steps = self.steps(X[rest], y[rest], classes=classes, seed=model.seed)
        inner: Any = self.recipe
        models = []
        for old, chain in zip(model.models, steps.chains.values(), strict=True):
            part = rest[chain[-1].index]
            again = chain[-1].name not in model.states
            models.append(inner.further(old, X[part], y[part], classes=classes, seed=seed, passes=5) if again else old)
        return replace(model, models=tuple(models), states={})


def x7() -> Table:
    """Broken shards."""
    sides = drawn("location30", SIZES)
    recipes: dict[str, Any] = {
        "SISA, 3 shards": SISA(MLP, shards=3),
        "shared scaler": SharedScaler(SISA(replace(MLP, standardize=False), shards=3)),
        "warm start": WarmStart(MLP, shards=3),
        "class-SISA, gate retrained": ClassSISA(MLP, shards=3, slices=False),
        "class-SISA, gate kept": ClassSISA(MLP, shards=3, slices=False, gate="kept"),
    }
    rows = [audited(name, recipe, "recipe", sides) for name, recipe in recipes.items()]
    by = {each["name"]: each for each in rows}
    broken = ("shared scaler", "warm start", "class-SISA, gate kept")
    sound = ("SISA, 3 shards", "class-SISA, gate retrained")
    return {
        "title": f"X6 with shards that are broken; {DELETED} deleted, 10 shadow models",
        "rows": rows,
        "expectations": [
            met("sound ones: all receipts hold", all(by[name]["receipt"]["identical"] == 4 for name in sound)),
            met("broken ones: no receipt holds", all(by[name]["receipt"]["identical"] == 0 for name in broken)),
            met("sound ones: nothing is found afterwards", all(by[name]["after"]["kind"] != "leak" for name in sound)),
            met("the warm start is seen afterwards", by["warm start"]["after"]["kind"] == "leak"),
            met("the shared scaler and the gate that is kept are not",
                all(by[name]["after"]["kind"] != "leak" for name in (broken[0], broken[2]))),
        ],
    }  # fmt: skip


def x12() -> Table:
    """A class removed, plainly and from shards of classes."""
    sides = drawn("digits", {"members": 400, "nonmembers": 500, "population": 600})
    network = replace(MLP, epochs=20)
    entries: list[tuple[str, Any, str]] = [
        ("nothing", network, "none"),
        ("mask", network, "mask"),
        ("retrain", network, "retrain"),
        (KEPT, ClassSISA(network, shards=2, gate="kept"), "recipe"),
        (SOUND, ClassSISA(network, shards=2), "recipe"),
    ]
    options = OPTIONS | {"shadows": 6, "oracles": 20, "bystanders": 0}
    rows = []
    for name, recipe, procedure in entries:
        result = audit(recipe, remove="3", procedure=procedure, seed=SEED, **sides, **options)
        rows.append(row(result, name))
        print(name, rows[-1]["kind"], rows[-1]["likeness"], rows[-1]["cost"]["relearning"], file=sys.stderr, flush=True)
    by = {each["name"]: each for each in rows}
    p = {name: each["likeness"]["p_value"] for name, each in by.items()}
    right = {name: each["cost"]["after"]["never"] for name, each in by.items()}
    return {
        "title": "Digits, a network of 32 units, 400 records, the class 3 removed; 6 shadow models, 20 retrained",
        "rows": rows,
        "expectations": [
            met("all but nothing never answer the class", all(right[name] == 0 for name in by if name != "nothing")),
            met("masking differs from models that never saw the class (p at most 0.05)", p["mask"] <= 0.05),
            met("retraining does not", p["retrain"] > 0.05),
            *of_class_shards(by),
        ],
    }  # fmt: skip


def run(name: str) -> None:
    """Run an experiment and write its file."""
    began, cpu = time.perf_counter(), time.process_time()
    write(name, {"X6": x6, "X7": x7, "X12": x12, "X13": x13}[name](), began, cpu)
    path = FOLDER / f"{name}.json"
    document = json.loads(path.read_text()) | {"command": f"python bench/unlearning_shards.py {name}"}
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    for each in sys.argv[1:] or ("X6", "X7", "X12", "X13"):
        run(each)
