"""Sharded training: exact deletions bit for bit, states by content, and what a deletion costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.errors import PlanError
from miaudit.recipes import (
    SISA,
    ClassSISA,
    CommandRecipe,
    Encoded,
    EstimatorRecipe,
    ModuleRecipe,
    Network,
    Storable,
    TrainingRecipe,
    expected_share,
    fingerprint,
    staged,
)
from miaudit.recipes.sisa import step_passes
from miaudit.recipes.states import digests_of, places
from miaudit.store import Store

CLASSES = 4
RNG = np.random.default_rng(0)
Y = RNG.integers(0, CLASSES, 200)
X = RNG.normal(size=(200, 5)) + 2 * np.eye(CLASSES, 5)[Y]
NETWORK = Network(hidden=(8,), epochs=6, batch=20)
TREE = EstimatorRecipe(DecisionTreeClassifier())


def module() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 4))


def drawing(X: Any, y: Any, seed: int) -> Any:
    """Train by numpy's global generator, which a shard must not share with another."""
    return DecisionTreeClassifier(max_features=1, random_state=np.random.randint(2**31)).fit(X, y)  # noqa: NPY002


MODULE = ModuleRecipe(module, epochs=6, batch=20, standardize=True)
RECIPES: dict[str, Any] = {
    "slices": SISA(NETWORK, shards=3, slices=4),
    "shards": SISA(TREE, shards=4),
    "votes": SISA(TREE, shards=4, aggregate="vote"),
    "module": SISA(MODULE, shards=2, slices=2),
    "encoded": SISA(Encoded(NETWORK, StandardScaler()), shards=2, slices=3),
    "function": SISA(TrainingRecipe(drawing), shards=3),
    "classes": ClassSISA(NETWORK),
    "classes, no gate": ClassSISA(NETWORK, shards=3, gate="none"),
    "classes of trees": ClassSISA(TREE, slices=False),
}


def fitted(recipe: Any, part: Any = slice(None), seed: int = 3) -> Any:
    return recipe.fit(X[part], Y[part], classes=CLASSES, seed=seed)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("forget", [np.arange(200) == 7, np.arange(200) < 30, Y == 2], ids=["one", "many", "class"])
def test_a_deletion_is_training_on_what_stays_bit_for_bit(recipe: Any, forget: Any) -> None:
    model = fitted(recipe)
    after = recipe.forget(model, X, Y, forget=forget, classes=CLASSES, seed=99)
    again = fitted(recipe, ~forget)
    assert (after.predict_proba(X) == again.predict_proba(X)).all()
    assert after.states.keys() == again.states.keys()
    answers = model.predict_proba(X)
    assert answers.sum(axis=1) == pytest.approx(1)
    order = RNG.permutation(200)
    shuffled = recipe.fit(X[order], Y[order], classes=CLASSES, seed=3)
    assert (shuffled.predict_proba(X) == answers).all()


def test_just_the_steps_that_held_a_record_are_trained_again() -> None:
    recipe = RECIPES["slices"]
    model = fitted(recipe)
    steps = recipe.steps(X, Y, classes=CLASSES, seed=3)
    for record in range(20):
        forget = np.arange(200) == record
        after = recipe.forget(model, X, Y, forget=forget, classes=CLASSES, seed=0)
        held = {step.name for step in steps.each if record in step.index}
        assert model.states.keys() - after.states.keys() == held
        assert all(after.states[name] is model.states[name] for name in after.states.keys() & model.states.keys())
        # naive count: every pass over every remaining record of the steps that held it
        naive = sum((len(step.index) - 1) * (step.passes or 0) for step in steps.each if step.name in held)
        assert (after.work.spent, model.work.spent) == (naive, model.work.whole)


def test_places_depend_on_the_record_alone_and_are_even() -> None:
    X = RNG.normal(size=(20_000, 2))
    y = np.zeros(20_000, np.int64)
    digests = digests_of(X, y, seed=1)
    shard, slice_ = places(digests, 10, start=0), places(digests, 20, start=4)
    some = RNG.permutation(20_000)[:500]
    assert (places(digests_of(X[some], y[some], seed=1), 10, start=0) == shard[some]).all()
    table = np.zeros((10, 20))
    np.add.at(table, (shard, slice_), 1)
    assert abs(((table - 100) ** 2 / 100).sum() - 199) < 5 * np.sqrt(2 * 199)  # chi-square of 199 degrees of freedom
    assert (places(digests_of(X, y, seed=2), 10, start=0) != shard).mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("deleted", "shards", "slices", "speed_up"),
    [(1, 5, 1, 5.0), (8, 5, 1, 1.20), (1, 10, 20, 14.6), (8, 20, 1, 2.97), (39, 20, 1, 1.16), (1, 20, 20, 29.3),
     (8, 20, 20, 4.18), (39, 20, 20, 1.41), (18, 20, 50, 2.24), (50, 50, 20, 2.08)],
)  # fmt: skip
def test_the_formula_gives_the_known_speed_ups(deleted: int, shards: int, slices: int, speed_up: float) -> None:
    assert 1 / expected_share(deleted, shards=shards, slices=slices) == pytest.approx(speed_up, rel=0.005)


@pytest.mark.parametrize(("passes", "slices"), [(10, 1), (10, 4), (100, 20), (5, 20), (1, 7), (3, 2)])
def test_passes_of_the_steps_are_as_much_work_and_the_last_has_one(passes: int, slices: int) -> None:
    each = step_passes(passes, slices)
    assert len(each) == slices
    assert each[-1] >= 1
    work = sum(count * (number + 1) / slices for number, count in enumerate(each))
    assert work == pytest.approx(passes, abs=1)


@pytest.mark.parametrize(
    "recipe",
    [NETWORK, MODULE, TREE, Encoded(NETWORK, StandardScaler()), EstimatorRecipe(SGDClassifier(loss="hinge"))],
    ids=lambda recipe: recipe.name,
)
def test_models_come_back_from_arrays_bit_for_bit(recipe: Any) -> None:
    assert isinstance(recipe, Storable)
    model = fitted(recipe)
    arrays = recipe.arrays_of(model)
    assert arrays is not None
    back: Any = recipe.of_arrays(arrays, classes=CLASSES, shape=(5,))
    ask = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    assert (getattr(back, ask)(X) == getattr(model, ask)(X)).all()
    assert fingerprint(back).sha256 == fingerprint(model).sha256  # so that a receipt finds the weights the same


@pytest.mark.parametrize("recipe", [replace(NETWORK, optimizer="sgd", batch=1000), ModuleRecipe(module, batch=1000)])
def test_training_further_is_training_longer(recipe: Any) -> None:
    """Without momentum, and with one batch, two passes are one pass and another."""
    one = recipe.further(None, X, Y, classes=CLASSES, seed=3, passes=1)
    kept = one.predict_proba(X)
    two = recipe.further(one, X, Y, classes=CLASSES, seed=4, passes=1)
    whole = recipe.further(None, X, Y, classes=CLASSES, seed=3, passes=2)
    assert two.predict_proba(X) == pytest.approx(whole.predict_proba(X), abs=1e-6)
    assert (one.predict_proba(X) == kept).all()


def test_training_further_standardises_as_before() -> None:
    one = NETWORK.further(None, X[:50], Y[:50], classes=CLASSES, seed=3, passes=1)
    two = NETWORK.further(one, X, Y, classes=CLASSES, seed=4, passes=1)
    assert two.mean is not None
    assert two.mean == pytest.approx(X[:50].mean(axis=0))


def test_states_in_a_folder_outlive_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miaudit.recipes.states.LEAST_SECONDS", 0.0)
    recipe: Any = staged(RECIPES["slices"], tmp_path)
    answers = fitted(recipe).predict_proba(X)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").glob("*.safetensors")}
    assert len(times) == 3 * 4
    gone, torn = sorted(times)[0], sorted(times)[1]
    gone.unlink()
    torn.write_bytes(torn.read_bytes()[:-5])
    assert (fitted(recipe).predict_proba(X) == answers).all()
    changed = {path for path, at in times.items() if path.stat().st_mtime_ns != at}
    assert changed == {gone, torn}
    assert (fitted(RECIPES["slices"]).predict_proba(X) == answers).all()
    other = {path.stem for path in times} & {step.name for step in recipe.steps(X, Y, classes=CLASSES, seed=4).each}
    assert not other  # another seed takes none of them
    assert Store(tmp_path).get(gone.stem) is not None


def test_votes_are_shares_with_ties_by_the_lowest_class() -> None:
    model = fitted(RECIPES["votes"])
    answers = model.predict_proba(X) * len(model.models)
    assert (answers == answers.round()).all()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: SISA(NETWORK, shards=0), "whole number from 1"),
        (lambda: SISA(NETWORK, aggregate="median"), "mean"),
        (lambda: SISA(TREE, slices=2), "trained further from a state"),
        (lambda: ClassSISA(TREE), "trained further from a state"),
        (lambda: ClassSISA(NETWORK, gate="open"), "retrained"),
        (lambda: ClassSISA(NETWORK, replay=1.0), "below 1"),
        (lambda: ClassSISA(NETWORK, replay="0.5"), "replay: must be a share"),
        (lambda: ClassSISA(NETWORK, replay=None), "replay: must be a share"),
        (lambda: ClassSISA(NETWORK, replay=False), "replay: must be a share"),
        (lambda: ClassSISA(NETWORK, slices=4), "slices: must be true or false"),
        (lambda: SISA(NETWORK, shards=2.0), "shards: must be a whole number"),
        (lambda: SISA(NETWORK, slices="3"), "slices: must be a whole number"),
        (lambda: SISA(CommandRecipe("train {records} {seed} {answers}")), "in one step"),
        (lambda: SISA.of_options(NETWORK, {"shard": 3}), "did you mean 'shards'"),
        (lambda: SISA.of_options(NETWORK, {"states": "x", "shards": "many"}), "unknown option"),
    ],
)
def test_what_cannot_be_is_refused(build: Any, text: str) -> None:
    with pytest.raises(PlanError, match=text):
        build()


def test_a_model_of_another_recipe_cannot_forget() -> None:
    with pytest.raises(PlanError, match="keeps no states of shards"):
        RECIPES["shards"].forget(fitted(TREE), X, Y, forget=Y == 1, classes=CLASSES, seed=0)


def test_a_shard_that_cannot_be_trained_says_which() -> None:
    recipe = SISA(EstimatorRecipe(SGDClassifier(loss="log_loss")), shards=3)
    with pytest.raises(PlanError, match=r"shard \d of \d+ records? and 1 class .* fewer shards"):
        recipe.fit(X, np.zeros(200, np.int64), classes=CLASSES, seed=0)


def test_a_shard_without_a_record_is_left_out() -> None:
    recipe = SISA(TREE, shards=20)  # dealt by chance, so that some are left empty
    few = slice(0, 20)
    model = recipe.fit(X[few], Y[few], classes=CLASSES, seed=0)
    assert len(model.models) < 20
    assert model.predict_proba(X).shape == (200, CLASSES)


# -- classes


def test_a_removed_class_costs_one_shard_and_the_gate_and_is_never_answered() -> None:
    recipe = RECIPES["classes"]
    model = fitted(recipe)
    after = recipe.forget(model, X, Y, forget=Y == 2, classes=CLASSES, seed=0)
    assert (after.predict_proba(X)[:, 2] == 0).all()
    shard, _ = recipe.shard_of(CLASSES, 3)
    for one, other in zip(model.specialists, after.specialists, strict=True):
        assert (one.model is other.model) == (one.shard != shard[2])
    assert after.gate is not model.gate


def test_a_gate_that_is_kept_is_the_old_one_and_the_deletion_is_not_exact() -> None:
    recipe = ClassSISA(NETWORK, gate="kept")
    assert not recipe.exact
    model = fitted(recipe)
    forget = Y == 2
    after = recipe.forget(model, X, Y, forget=forget, classes=CLASSES, seed=0)
    assert after.gate is model.gate
    assert (after.predict_proba(X) != fitted(recipe, ~forget).predict_proba(X)).any()
    whole = ClassSISA(NETWORK).forget(fitted(ClassSISA(NETWORK)), X, Y, forget=forget, classes=CLASSES, seed=0)
    assert whole.work.spent - after.work.spent == (~forget).sum() * NETWORK.epochs


def test_replay_is_balanced_up_to_its_share_and_buffer() -> None:
    y = np.repeat(np.arange(8), 100)
    X = RNG.normal(size=(800, 3))
    for replay, buffer, expected in ((0.8, 1000, 100), (0.5, 1000, 25), (0.8, 30, 30), (0.0, 1000, 0)):
        recipe = ClassSISA(NETWORK, shards=1, replay=replay, buffer=buffer, gate="none")
        chain = recipe.steps(X, y, classes=8, seed=5).chains[0]
        counts = np.unique(y[chain[4].index], return_counts=True)[1]  # the fifth class, with four before it
        assert sorted(counts.tolist()) == sorted([100] + [expected] * (4 if expected else 0))
        assert len(chain) == 8


def test_a_replayed_record_that_is_deleted_is_in_no_later_step() -> None:
    recipe = ClassSISA(NETWORK, shards=1, buffer=10)
    steps = recipe.steps(X, Y, classes=CLASSES, seed=5)
    record = next(int(r) for r in steps.chains[0][1].index if Y[r] != Y[steps.chains[0][1].index].max())
    rest = np.flatnonzero(np.arange(200) != record)
    after = recipe.steps(X[rest], Y[rest], classes=CLASSES, seed=5)
    assert not any(record in rest[step.index] for step in after.each)


def test_one_class_a_shard_and_the_removal_of_a_whole_shard() -> None:
    recipe = ClassSISA(NETWORK, shards=CLASSES)
    model = fitted(recipe)
    after = recipe.forget(model, X, Y, forget=Y == 1, classes=CLASSES, seed=0)
    assert len(after.specialists) == 3
    assert (after.predict_proba(X)[:, 1] == 0).all()
    assert after.work.spent == (Y != 1).sum() * NETWORK.epochs  # the gate alone


def test_more_shards_than_classes_are_refused_before_a_training() -> None:
    recipe = ClassSISA(NETWORK, shards=CLASSES + 1)
    with pytest.raises(
        PlanError, match=f"out to {CLASSES + 1} shards, and there are {CLASSES}: choose at most {CLASSES}"
    ):
        recipe.fit(X, Y, classes=CLASSES, seed=0)
    sides: Any = {"members": (X[:100], Y[:100]), "nonmembers": (X[100:], Y[100:])}
    model = DecisionTreeClassifier().fit(X[:100], Y[:100])
    with pytest.raises(PlanError, match="class-sisa deals the classes out"):
        miaudit.forecast(model, recipe=recipe, shadows=2, **sides)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shards": 201}, "out to 201 shards, and a model is trained on 200: choose at most 200 shards"),
        (
            {"shards": 50, "slices": 5},
            "50 shards into 5 slices, .* 200 records, .* about 4 a shard: choose at most 4 slices",
        ),
    ],
)
def test_more_shards_or_slices_than_records_are_refused_before_a_training(options: Any, text: str) -> None:
    recipe = SISA(NETWORK, **options)
    with pytest.raises(PlanError, match=text):
        recipe.fit(X, Y, classes=CLASSES, seed=0)
    sides: Any = {"members": (X[:100], Y[:100]), "nonmembers": (X[100:], Y[100:])}
    model = DecisionTreeClassifier().fit(X[:100], Y[:100])
    with pytest.raises(PlanError, match="a model is trained on .*, or give more records"):
        miaudit.forecast(model, recipe=recipe, shadows=2, **sides)
