"""Receipts: exact deletions hold bit for bit, and every known way of breaking them fails, every time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deletions import RECIPE, sides, small

from miaudit.errors import PlanError
from miaudit.recipes import SISA, ClassSISA, EstimatorRecipe, Network
from miaudit.recipes.class_sisa import ClassSISAModel
from miaudit.recipes.states import Digests
from miaudit.unlearning import audit, receipt

CLASSES = 4
RNG = np.random.default_rng(0)
Y = RNG.integers(0, CLASSES, 160)
X = RNG.normal(size=(160, 5)) + 2 * np.eye(CLASSES, 5)[Y]
NETWORK = Network(hidden=(8,), epochs=4, batch=20)
SHARDS = SISA(NETWORK, shards=3, slices=3)
CLASS_SHARDS = ClassSISA(NETWORK)


@dataclass(frozen=True)
class SharedScaler:
    """Standardise by all records, and keep that when some are deleted."""

    inner: Any
    name = "a scaler of all records"

    def describe(self) -> dict[str, Any]:
        return {"recipe": self.name, "of": self.inner.describe()}

    def history(self) -> dict[str, Any]:
        return {"forget": self.name}

    def fit(self, X: Any, y: Any, *, classes: int, seed: int) -> Any:
        mean, scale = X.mean(axis=0), X.std(axis=0)
        return Scaled(self.inner.fit((X - mean) / scale, y, classes=classes, seed=seed), mean, scale)

    def forget(self, model: Any, X: Any, y: Any, *, forget: Any, classes: int, seed: int) -> Any:
        records = (X - model.mean) / model.scale
        return replace(
            model, model=self.inner.forget(model.model, records, y, forget=forget, classes=classes, seed=seed)
        )


@dataclass(frozen=True)
class Scaled:
    model: Any
    mean: Any
    scale: Any

    def predict_proba(self, X: Any) -> Any:
        return self.model.predict_proba((X - self.mean) / self.scale)


@dataclass(frozen=True)
class PositionWindows(SISA):
    """Cut the shards and slices by a record's position among those that are there, as windows of positions do."""

    def _places(self, digests: Digests) -> tuple[Any, Any]:
        position = np.arange(len(digests))
        return position * self.shards // len(digests), position % self.slices

    def forget(self, model: Any, X: Any, y: Any, *, forget: Any, classes: int, seed: int) -> Any:
        places = [each[~forget] for each in self._places(np.zeros(len(y), "S16"))]
        fixed = _Fixed(self.recipe, shards=self.shards, slices=self.slices, fixed=tuple(map(tuple, places)))
        return fixed.fit(X[~forget], y[~forget], classes=classes, seed=model.seed)


@dataclass(frozen=True)
class _Fixed(SISA):
    fixed: tuple[Any, Any] = ((), ())

    def _places(self, digests: Digests) -> tuple[Any, Any]:
        return np.array(self.fixed[0]), np.array(self.fixed[1])


@dataclass(frozen=True)
class WarmStart(SISA):
    """Train what stays further, from the models that saw the record."""

    def forget(self, model: Any, X: Any, y: Any, *, forget: Any, classes: int, seed: int) -> Any:
        rest: Any = X[~forget], y[~forget]
        steps = self.steps(*rest, classes=classes, seed=model.seed)
        models = tuple(
            NETWORK.further(
                old, rest[0][chain[-1].index], rest[1][chain[-1].index], classes=classes, seed=seed, passes=4
            )
            if chain[-1].name not in model.states
            else old
            for old, chain in zip(model.models, steps.chains.values(), strict=True)
        )
        return replace(model, models=models, states={})


@dataclass(frozen=True)
class KeptReplay(ClassSISA):
    """Replay from the buffer that was drawn before the deletion, the deleted record in it."""

    def forget(self, model: Any, X: Any, y: Any, *, forget: Any, classes: int, seed: int) -> ClassSISAModel:
        whole = self.steps(X, y, classes=classes, seed=model.seed)
        newest = {step.name: label for step, label in _newest(whole, y)}
        replayed = {int(r) for s in whole.each if s.name in newest for r in s.index[y[s.index] != newest[s.name]]}
        stays = ~forget | np.isin(np.arange(len(y)), sorted(replayed))
        return super().forget(model, X, y, forget=~stays, classes=classes, seed=seed)  # type: ignore[no-any-return]


def _newest(steps: Any, y: Any) -> Iterator[tuple[Any, int]]:
    for chain in steps.chains.values():
        before: set[int] = set()
        for step in chain:
            yield step, next(iter({*y[step.index].tolist()} - before))
            before |= {*y[step.index].tolist()}


def replayed_records() -> list[int]:
    """Return records that are replayed in a later step of their shard."""
    steps = CLASS_SHARDS.steps(X, Y, classes=CLASSES, seed=0)
    return [int(r) for step, label in _newest(steps, Y) for r in step.index[Y[step.index] != label]]


def gone(*records: int) -> Any:
    return np.isin(np.arange(len(Y)), records)


SETS = [gone(3), gone(70), gone(*range(10)), gone(*range(100, 130)), Y == 2]


@pytest.mark.parametrize("recipe", [SHARDS, CLASS_SHARDS, ClassSISA(NETWORK, gate="none")], ids=lambda each: each.name)
def test_exact_deletions_have_a_receipt(recipe: Any) -> None:
    for number, forget in enumerate(SETS):
        own = receipt(recipe, X, Y, forget=forget, classes=CLASSES, seed=number)
        assert (own.holds, own.models, own.identical, own.difference) == (True, 1, 1, 0)


BROKEN: dict[str, Any] = {
    "shared scaler": SharedScaler(SHARDS),
    "gate kept": ClassSISA(NETWORK, gate="kept"),
    "position windows": PositionWindows(NETWORK, shards=3, slices=3),
    "warm start": WarmStart(NETWORK, shards=3),
}


@pytest.mark.parametrize("recipe", BROKEN.values(), ids=BROKEN)
def test_broken_deletions_fail_theirs_every_time(recipe: Any) -> None:
    for number, forget in enumerate(SETS):
        own = receipt(recipe, X, Y, forget=forget, classes=CLASSES, seed=number)
        assert (own.holds, own.identical, own.weights) == (False, 0, recipe.name != SharedScaler.name)


def test_a_replay_buffer_that_keeps_the_record_fails_its_receipt_every_time() -> None:
    kept = KeptReplay(NETWORK)
    for record in replayed_records()[::19]:
        forget = gone(record)
        assert receipt(CLASS_SHARDS, X, Y, forget=forget, classes=CLASSES).holds
        assert not receipt(kept, X, Y, forget=forget, classes=CLASSES).holds


def test_a_receipt_needs_a_recipe_that_deletes_and_records_that_can_be() -> None:
    with pytest.raises(PlanError, match="does not say how"):
        receipt(NETWORK, X, Y, forget=gone(1), classes=CLASSES)
    for forget in (gone(), ~gone(), np.arange(3), gone(1)[:-1]):
        with pytest.raises(PlanError, match="must be bools"):
            receipt(SHARDS, X, Y, forget=forget, classes=CLASSES)


# -- in audits

TREES = EstimatorRecipe(RECIPE)
OPTIONS: dict[str, Any] = {"shadows": 4, "oracles": 0, "jobs": 0, "bystanders": 0, "kept": 0}


def test_an_audit_has_its_receipts_and_counts_the_work(tmp_path: Path) -> None:
    result = small({"name": "sisa", "shards": 12}, count=2, out=tmp_path, **OPTIONS)
    deletion = result.deletion
    assert deletion is not None
    assert deletion.receipt is not None
    assert (deletion.receipt.models, deletion.receipt.identical) == (4, 4)
    work = deletion.cost.work
    assert work is not None
    assert work.models == 5
    assert work.retraining == 118
    assert work.expected == pytest.approx(1 - (11 / 12) ** 2)
    assert work.share == pytest.approx(work.deletion / work.retraining)
    text = " ".join(deletion.sentences)
    assert "4 of 4 models, the audited one among them, are the same bit for bit, in answers and weights" in text
    assert f"the closed formula expects {100 * work.expected:.1f} %" in text
    again = small({"name": "sisa", "shards": 12}, count=2, out=tmp_path, **OPTIONS)
    assert again.deletion == deletion


def test_an_audit_says_that_a_receipt_is_refuted() -> None:
    recipe = ClassSISA(TREES, gate="kept", slices=False)
    forget = np.arange(50)
    result = audit(
        recipe, trained_here=True, forget=forget, procedure="recipe", receipts=2, seed=0, **sides(0), **OPTIONS
    )
    deletion = result.deletion
    assert deletion is not None
    assert deletion.receipt is not None
    assert (deletion.receipt.models, deletion.receipt.holds, deletion.exact) == (2, False, False)
    assert any(each.startswith("Receipt refuted") for each in deletion.sentences)


def test_other_procedures_have_no_receipt_and_none_can_be_asked_for() -> None:
    deletion = small("retrain", **OPTIONS).deletion
    assert deletion is not None
    assert (deletion.receipt, deletion.cost.work) == (None, None)
    with pytest.raises(PlanError, match="receipts"):
        small("retrain", receipts=3)
