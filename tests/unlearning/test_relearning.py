"""How fast a removed class is learned again, and what cannot be removed or compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from deletions import RECIPE
from sklearn.tree import DecisionTreeClassifier

from miaudit.cli import main
from miaudit.errors import MiauditError, PlanError, SplitError
from miaudit.recipes import SISA, ClassSISA, EstimatorRecipe, Network, learners_of
from miaudit.threads import one_thread
from miaudit.unlearning import audit
from miaudit.unlearning.procedures import Mask, OfRecipe
from miaudit.unlearning.relearning import relearning_steps
from miaudit.unlearning.unlearned import Unlearned

RNG = np.random.default_rng(0)
NETWORK = Network(hidden=(8,), activation="relu", epochs=30, learning_rate=0.01, batch=20)
OPTIONS: dict[str, Any] = {
    "shadows": 2,
    "jobs": 0,
    "bystanders": 0,
    "kept": 0,
    "attacks": ["lira"],
    "trained_here": True,
}


def blobs(n: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    return rng.normal(size=(n, 4)) + 3 * np.eye(3, 4)[y], y


SIDES = {name: blobs(n, i) for i, (name, n) in enumerate({"members": 90, "nonmembers": 90, "population": 120}.items())}


def test_a_model_that_knows_a_class_needs_no_update_and_stays_as_it_is() -> None:
    X, y = SIDES["members"]
    model = NETWORK.fit(X, y, classes=3, seed=1)
    blank = NETWORK.fit(X[y != 2], y[y != 2], classes=3, seed=1)
    answers = blank.predict_proba(X)
    assert relearning_steps(model, X[y == 2], y[y == 2], seed=0) == 0
    steps = relearning_steps(blank, X[y == 2], y[y == 2], seed=0)
    assert 5 < steps < 500
    assert steps == relearning_steps(blank, X[y == 2], y[y == 2], seed=0)
    assert (blank.predict_proba(X) == answers).all()


def test_a_class_that_was_not_removed_is_learned_again_faster_than_by_models_that_never_saw_it() -> None:
    deletion = audit(NETWORK, remove="2", procedure="none", oracles=3, **SIDES, **OPTIONS).deletion
    assert deletion is not None
    of = deletion.cost.relearning
    assert of is not None
    assert (of.updates, of.before, of.models, of.p_value) == (0, 0, 3, 0.25)
    assert of.fewest is not None
    assert of.fewest > 0
    assert any(each.startswith("Learned again: the class takes 0 updates, 3 retrained") for each in deletion.sentences)


def test_a_model_that_still_answers_a_removed_class_is_never_said_to_be_without_a_trace() -> None:
    for procedure, kinds in (("none", {"traces remain"}), ("retrain", {"no trace found", "nothing to see here"})):
        result = audit(NETWORK, remove="2", procedure=procedure, oracles=3, **SIDES, **OPTIONS)
        assert result.deletion is not None
        assert result.deletion.kind in kinds
        assert (result.deletion.answered is not None) == (procedure == "none")
        assert ("still answers the removed class to" in result.verdict) == (procedure == "none")
        assert procedure != "none" or result.verdict_kind in ("leak", "inconclusive")  # no gate passes it


def test_a_mask_is_lifted_so_that_the_class_takes_what_it_takes_the_model_before() -> None:
    deletion = audit(NETWORK, remove="2", procedure="mask", oracles=3, **SIDES, **OPTIONS).deletion
    assert deletion is not None
    assert deletion.cost.after.never == 0
    of = deletion.cost.relearning
    assert of is not None
    assert (of.updates, of.before, of.models, of.p_value) == (0, 0, 3, 0.25)


def relearned(recipe: Any, *, procedure: Any = None, label: int = 2, seed: int = 1) -> tuple[int, int, int]:
    """Return the updates that a class takes the model before, afterwards, and one of the same seed that never saw it."""
    X, y = SIDES["members"]
    unlearned, gone = Unlearned(recipe, procedure or OfRecipe()), y == label
    with one_thread():
        before = unlearned.fit(X, y, classes=3, seed=seed)
        after = unlearned.forget(before, X, y, forget=gone, classes=3, seed=seed)
        blank = unlearned.fit(X[~gone], y[~gone], classes=3, seed=seed)
        first, then, never = (unlearned.relearn(model, X[gone], y[gone], seed=4) for model in (before, after, blank))
    return first, then, never


def test_shards_learn_a_class_again_each_by_its_own_records() -> None:
    X, y = SIDES["members"]
    gone = y == 2
    one, three = (SISA(NETWORK, shards=shards) for shards in (1, 3))
    with one_thread():
        alone = one.fit(X[~gone], y[~gone], classes=3, seed=1).models[0]
        updates = relearning_steps(alone, X[gone], y[gone], seed=4)
        learners = learners_of(three.fit(X[~gone], y[~gone], classes=3, seed=1), X[gone], y[gone])
    assert relearned(one) == (0, updates, updates)
    assert sum(len(each.X) for each in learners) == gone.sum()
    before, after, never = relearned(three)
    assert before < after == never
    masked = relearned(three, procedure=Mask())
    assert masked[0] == masked[1] == before


def test_a_gate_that_is_kept_learns_a_class_again_sooner_than_one_that_never_saw_it() -> None:
    shard, _ = ClassSISA(NETWORK).shard_of(3, 1)
    label = int(np.flatnonzero(np.bincount(shard)[shard] == 2)[0])  # another class stays in its shard
    before, kept, retrained = relearned(ClassSISA(NETWORK, gate="kept"), label=label)
    assert before < kept < retrained
    _, exact, never = relearned(ClassSISA(NETWORK), label=label)
    assert exact == never == retrained


def test_what_went_with_a_class_is_not_measured_and_it_says_why() -> None:
    with pytest.raises(PlanError, match="shard [0-2] went with what was deleted"):
        relearned(ClassSISA(NETWORK, shards=3))


@pytest.mark.parametrize("recipe", [RECIPE, SISA(EstimatorRecipe(RECIPE), shards=2)], ids=["tree", "shards of trees"])
def test_without_weights_it_says_why_it_is_not_measured(recipe: Any) -> None:
    deletion = audit(recipe, remove="2", procedure="mask", oracles=2, receipts=0, **SIDES, **OPTIONS).deletion
    assert deletion is not None
    assert deletion.cost.relearning is not None
    assert deletion.cost.relearning.reason == "EstimatorModel has no weights that descent could change"


def without(side: tuple[Any, Any], label: int) -> tuple[Any, Any]:
    X, y = side
    return X[y != label], y[y != label]


@pytest.mark.parametrize(
    ("side", "text"),
    [("members", "there is nothing to remove"), ("nonmembers", "give non-members of it")],
)
def test_a_class_without_a_record_on_a_side_is_refused(side: str, text: str) -> None:
    sides = {**SIDES, side: without(SIDES[side], 2)}
    with pytest.raises(SplitError, match=text):
        audit(RECIPE, remove="2", oracles=0, **sides, **OPTIONS)


@pytest.mark.parametrize(
    "before",
    [
        DecisionTreeClassifier().fit(blobs(60, 5)[0][:, :3], blobs(60, 5)[1]),
        DecisionTreeClassifier().fit(blobs(60, 5)[0], blobs(60, 5)[1] + 7),
    ],
    ids=["other columns", "other classes"],
)
def test_models_before_and_after_of_different_tasks_are_refused(before: Any) -> None:
    after = DecisionTreeClassifier().fit(*SIDES["members"])
    options = {**OPTIONS, "trained_here": False}
    with pytest.raises(MiauditError, match="before"):
        audit(after, before=before, recipe=RECIPE, forget=np.arange(20), oracles=0, **SIDES, **options)


def test_files_before_and_after_of_different_tasks_are_refused(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    X, y = blobs(200, 7)
    np.savez(tmp_path / "members.npz", X=X[:90], y=y[:90])
    np.savez(tmp_path / "nonmembers.npz", X=X[90:], y=y[90:])
    trees = "sklearn.tree._tree.Tree"
    skops.dump(DecisionTreeClassifier().fit(X[:90], y[:90]), tmp_path / "after.skops")
    skops.dump(DecisionTreeClassifier().fit(X[:90, :2], y[:90]), tmp_path / "before.skops")
    numbers = "".join(f"{number}\n" for number in range(20))
    (tmp_path / "gone.txt").write_text(numbers)
    (tmp_path / "plan.toml").write_text(
        '[data]\nmembers = "members.npz"\nnonmembers = "nonmembers.npz"\nlabel = "y"\n[target]\n'
        'file = "after.skops"\n[recipe]\nestimator = "sklearn.tree.DecisionTreeClassifier"\n[shadows]\ncount = 2\n'
        '[unlearning]\nforget = "gone.txt"\nbefore = "before.skops"\noracles = 0\n'
    )
    command = [
        "unlearn",
        str(tmp_path / "plan.toml"),
        "--out",
        str(tmp_path / "out"),
        "--jobs",
        "0",
        "--trusted",
        trees,
    ]
    run = CliRunner().invoke(main, command)
    assert run.exit_code in (2, 4), run.output
    assert "the model before the deletion: the target was trained on 2 features, the records have 4" in run.stderr
