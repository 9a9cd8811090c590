"""Deletion audits of sharded training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from deletions import RECIPE, sides, small

import miaudit
from miaudit.cli import main
from miaudit.errors import PlanError
from miaudit.recipes import SISA, EstimatorRecipe
from miaudit.result import Result
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
