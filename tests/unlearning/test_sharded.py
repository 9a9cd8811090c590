"""Deletion audits of sharded training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from click.testing import CliRunner
from deletions import RECIPE, sides, small
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.cli import main
from miaudit.data import from_arrays
from miaudit.errors import PlanError
from miaudit.recipes import SISA, EstimatorRecipe, Network, TrainingRecipe, staged, states
from miaudit.result import Result
from miaudit.shadows.training import TWICE, Job, calibrated, train_and_ask
from miaudit.store import Store
from miaudit.unlearning import audit


def test_a_deletion_from_shards_leaves_no_trace_where_there_was_one() -> None:
    deletion = small({"name": "sisa", "shards": 2}, seed=1).deletion
    assert deletion is not None
    assert (deletion.kind, deletion.exact) == ("no trace found", True)
    assert deletion.before is not None
    assert deletion.before.kind == "leak"


def test_the_recipe_in_shards_and_the_procedure_are_one_and_share_their_rows(tmp_path: Path) -> None:
    options: dict[str, Any] = {"shadows": 4, "oracles": 0, "jobs": 0, "bystanders": 0, "out": tmp_path}
    first = small({"name": "sisa", "shards": 3}, **options)
    recipe = SISA(EstimatorRecipe(RECIPE), shards=3)
    forget = list(range(50))
    again = audit(recipe, trained_here=True, forget=forget, procedure="recipe", **sides(0), **options)
    assert again.provenance.shadow_cost is not None
    assert again.provenance.shadow_cost.trained_now == 0
    assert first.deletion is not None
    assert again.deletion is not None
    assert again.deletion.after == first.deletion.after


def unreadable(X: Any, y: Any, seed: int, part: Iterator[int] = (i for i in ())) -> Any:
    """Train a tree, beside a generator whose state nobody can read."""
    return DecisionTreeClassifier(random_state=seed).fit(X, y)


def readable(X: Any, y: Any, seed: int) -> Any:
    """Train a tree."""
    return DecisionTreeClassifier(random_state=seed).fit(X, y)


@pytest.mark.parametrize(("function", "again"), [(unreadable, True), (readable, False)])
def test_shards_whose_states_cannot_be_named_are_all_trained_again_and_it_says_so(function: Any, again: bool) -> None:
    recipe = SISA(TrainingRecipe(function), shards=8)
    options: dict[str, Any] = {"shadows": 2, "oracles": 0, "jobs": 0, "bystanders": 0, "kept": 0, "attacks": ["lira"]}
    result = audit(recipe, trained_here=True, forget=range(3), procedure="recipe", **sides(0), **options)
    assert result.deletion is not None
    work = result.deletion.cost.work
    assert work is not None
    assert (work.share == 1) == again
    warned = [text for text in result.warnings if "every deletion trained all of them again" in text]
    assert len(warned) == again
    assert result.deletion.exact


@dataclass(frozen=True)
class Whim:
    """A recipe of models that come out otherwise each time, and can be stored."""

    name: str = "whim"

    def describe(self) -> dict[str, Any]:
        return {"recipe": self.name}

    def fit(self, X: Any, y: Any, *, classes: int, seed: int) -> Any:
        return Constant(uuid4().int % 1000 / 1000, classes)

    def arrays_of(self, model: Any) -> dict[str, Any]:
        return {"share": np.array([model.share])}

    def of_arrays(self, arrays: Any, *, classes: int, shape: tuple[int, ...]) -> Any:
        return Constant(float(arrays["share"][0]), classes)


@dataclass(frozen=True)
class Constant:
    share: float
    classes: int

    def predict_proba(self, X: Any) -> Any:
        return np.tile([self.share, 1 - self.share], (len(X), 1))


def test_a_training_that_is_tried_or_repeated_reads_and_writes_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "LEAST_SECONDS", 0.0)
    X, y = sides(0)["members"]
    dataset = from_arrays(X, y)
    job, store = Job("k" * 64, "shadow 0", np.arange(60), np.arange(120), 3, twice=True), Store(tmp_path)
    network = SISA(Network(hidden=(4,), epochs=8), shards=2, slices=2)
    assert calibrated([job], dataset, staged(network, store.states))
    assert not store.states.exists()
    train_and_ask([job], dataset, staged(SISA(Whim(), shards=2), store.states), store)
    row = store.get(job.key)
    assert row is not None
    assert row.facts[TWICE] > 0
    assert len([*store.states.rglob("*.safetensors")]) == 2


def _plan(tmp_path: Path, recipe: str, further: str) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(
        'seed = 4\nattacks = ["lira"]\n[data]\nname = "digits"\n[split]\nmembers = 200\nnonmembers = 300\n'
        f'[recipe]\nestimator = "sklearn.tree.DecisionTreeClassifier"\n{recipe}\n[shadows]\ncount = 6\n{further}\n'
    )
    return path


def test_a_plan_audits_the_memberships_of_a_model_in_shards(tmp_path: Path) -> None:
    plan = _plan(tmp_path, "[recipe.sisa]\nshards = 4", "")
    result = miaudit.audit(plan, out=tmp_path / "out", jobs=0)
    assert result.shadows.recipe == "SISA, 4 shards, DecisionTreeClassifier"
    assert result.target.train_accuracy is not None


@pytest.mark.slow
def test_a_class_is_removed_from_shards_of_classes(tmp_path: Path) -> None:
    plan = _plan(
        tmp_path,
        "[recipe.class_sisa]\nshards = 3\nslices = false",
        '[unlearning]\nremove = "3"\nprocedure = "recipe"\noracles = 19\n',
    )
    run = CliRunner().invoke(main, ["unlearn", str(plan), "--out", str(tmp_path / "out"), "--jobs", "0", "--json"])
    assert run.exit_code == 0, run.stderr
    document = json.loads(run.stdout)["deletion"]
    assert document["exact"]
    assert document["likeness"]["compared"] == "inputs of the class"
    assert document["likeness"]["p_value"] > 0.05
    assert Result.load(tmp_path / "out").deletion is not None


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        ("[recipe.sisa]\nshard = 4", "did you mean 'shards'"),
        ("[recipe.sisa]\nslices = 4", "recipe.sisa.slices: needs models that are trained further"),
        ("[recipe.sisa]\n[recipe.class_sisa]", "give one of them"),
        ("[recipe.class_sisa]", "recipe.class_sisa.slices: needs models that are trained further"),
        ("[recipe.sisa]\nshards = 'few'", "recipe.sisa.shards"),
    ],
)
def test_shards_that_cannot_be_are_refused(tmp_path: Path, recipe: str, text: str) -> None:
    run = CliRunner().invoke(main, ["run", str(_plan(tmp_path, recipe, "")), "--out", str(tmp_path / "out")])
    assert run.exit_code == 2, run.output
    assert text in " ".join(run.stderr.split())


@pytest.mark.parametrize(
    ("procedure", "text"),
    [
        ({"name": "sisa", "slices": 3}, "trained further from a state"),
        ({"name": "sisa", "shard": 3}, "did you mean 'shards'"),
        ({"name": "sisa", "shards": 0}, "whole number from 1"),
        ("class-sisa", "trained further from a state"),
    ],
)
def test_procedures_in_shards_that_cannot_be_are_refused(procedure: Any, text: str) -> None:
    with pytest.raises(PlanError, match=text):
        small(procedure)
