"""Deletion audits of small worlds: controls that must come out as they are known to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from deletions import RECIPE, sides, small
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from miaudit.cli import main
from miaudit.errors import PlanError, SplitError, TimeLimitError
from miaudit.report.share import shared
from miaudit.result import Result
from miaudit.shadows.training import AFTER
from miaudit.store import Store
from miaudit.unlearning import audit, forecast


def test_where_nothing_was_deleted_traces_remain_and_afterwards_is_as_before() -> None:
    result = small("none")
    deletion = result.deletion
    assert deletion is not None
    assert (deletion.kind, result.verdict_kind) == ("traces remain", "leak")
    assert deletion.before is not None
    assert deletion.pair is not None
    assert deletion.after.attacks == deletion.before.attacks  # bit for bit
    assert deletion.pair.auc.value == 0.5  # two equal versions say nothing
    assert "Traces remain" in result.verdict
    assert "Whoever kept the earlier model" in result.verdict


def test_retraining_leaves_no_trace_but_the_pair_gives_the_deletion_away() -> None:
    result = small("retrain", oracles=19)
    deletion = result.deletion
    assert deletion is not None
    assert (deletion.kind, result.verdict_kind) == ("no trace found", "none detected")
    assert deletion.before is not None
    assert deletion.before.kind == "leak"
    assert deletion.pair is not None
    assert deletion.pair.kind == "leak"
    assert "can tell who was deleted" in deletion.earlier_model
    assert deletion.after.power is not None  # the smallest effect it could have seen
    assert deletion.likeness is not None
    assert deletion.likeness.p_value is not None
    assert deletion.likeness.p_value > 0.05
    assert "deleted." not in result.verdict.lower()  # no verdict says so


def test_a_deletion_that_treats_records_worse_is_over_forgotten() -> None:
    result = small(_turned)
    assert result.deletion is not None
    assert result.deletion.kind == "over-forgotten"


def _turned(model: Any, X: Any, y: Any, forget: Any, seed: int) -> Any:
    wrong = np.where(forget, 1 - y, y)
    return DecisionTreeClassifier(random_state=seed).fit(X, wrong)


def test_where_there_was_no_leak_there_is_nothing_to_see() -> None:
    calm = DecisionTreeClassifier(max_depth=1)
    options = {"shadows": 8, "oracles": 0, "jobs": 0, "bystanders": 4}
    result = audit(calm, trained_here=True, forget=np.arange(40), procedure="none", seed=3, **sides(3, 300), **options)
    assert result.deletion is not None
    assert (result.deletion.kind, result.verdict_kind) == ("nothing to see here", "inconclusive")


def test_models_given_before_and_after_are_audited_alike() -> None:
    world = sides(1)
    X, y = world["members"]
    before = DecisionTreeClassifier(random_state=5).fit(X, y)
    after = DecisionTreeClassifier(random_state=6).fit(X[50:], y[50:])
    options = {"shadows": 8, "oracles": 0, "jobs": 0, "bystanders": 4}
    forget = np.arange(len(X)) < 50
    result = audit(after, before=before, recipe=RECIPE, forget=forget, seed=1, **world, **options)
    deletion = result.deletion
    assert deletion is not None
    assert deletion.kind == "no trace found"
    assert deletion.before is not None
    assert deletion.before.kind == "leak"
    alone = audit(after, recipe=RECIPE, forget=forget, seed=1, **world, **options).deletion
    assert alone is not None
    assert alone.before is None
    assert "not measured" in alone.earlier_model


@pytest.mark.parametrize("classes", [["ant", "bee", "cat"], [1, 2, 3]], ids=["texts", "numbers"])
def test_a_model_at_hand_that_lacks_the_removed_class_is_audited(classes: list[Any]) -> None:
    rng = np.random.default_rng(3)
    names = np.array(classes)
    labels = [rng.integers(0, 3, n) for n in (90, 90, 200)]
    world = {
        side: (rng.normal(size=(len(y), 3)) + y[:, None], names[y])
        for side, y in zip(("members", "nonmembers", "population"), labels, strict=True)
    }
    X, y = world["members"]
    stays = y != names[1]
    before, after = (DecisionTreeClassifier(random_state=5).fit(X[of], y[of]) for of in (slice(None), stays))

    def padded(records: Any) -> Any:
        answers = after.predict_proba(records)
        return np.stack([answers[:, 0], np.zeros(len(answers)), answers[:, 1]], axis=1)

    options = {"shadows": 3, "oracles": 0, "jobs": 0, "bystanders": 0, "attacks": ["threshold"], "seed": 1}
    common = {"before": before, "recipe": RECIPE, "remove": str(classes[1]), **world, **options}
    result, stated = audit(after, **common), audit(padded, **common, columns=classes)
    assert result.deletion is not None
    assert stated.deletion is not None
    assert result.deletion.model_dump() == stated.deletion.model_dump()
    assert result.target.classes == 3


def test_rows_after_retraining_equal_training_on_what_stays(tmp_path: Path) -> None:
    small("retrain", out=tmp_path)
    store = Store(tmp_path)
    rows = [store.get(path.stem) for path in (tmp_path / "rows").rglob("*.safetensors")]
    histories = [row for row in rows if row is not None and AFTER in row.arrays]
    assert len(histories) == 1 + 8 + 4  # the target, shadows and bystanders
    assert any((row.arrays[AFTER] != row.arrays["outputs"]).any() for row in histories)


def test_a_run_that_was_cut_short_goes_on_to_the_same_document(tmp_path: Path) -> None:
    with pytest.raises(TimeLimitError):
        small("retrain", out=tmp_path / "cut", time_limit=1e-9)
    whole, again = small("retrain", out=tmp_path / "whole"), small("retrain", out=tmp_path / "cut")
    third = small("retrain", out=tmp_path / "cut")
    assert third.provenance.shadow_cost is not None
    assert third.provenance.shadow_cost.trained_now == 0
    documents = [_without_provenance(each) for each in (whole, again, third)]
    assert documents[0] == documents[1] == documents[2]
    assert Result.load(tmp_path / "cut").deletion == whole.deletion
    assert (tmp_path / "cut" / "report.html").exists()


def _without_provenance(result: Result) -> dict[str, Any]:
    document = json.loads(result.to_json())
    document.pop("provenance")
    return document


@pytest.mark.parametrize(
    ("forget", "text"),
    [
        ([200], "not among the 120 members"),
        ([], "empty"),
        (list(range(120)), "all 120 training records"),
        ([3, 3], "twice"),
        ([0.5], "whole numbers"),
    ],
)
def test_records_that_cannot_be_deleted_are_refused_before_training(forget: list[Any], text: str) -> None:
    with pytest.raises((PlanError, SplitError), match=text) as refusal:
        audit(RECIPE, trained_here=True, forget=forget, **sides(), oracles=0, jobs=0)
    assert "unlearning." not in str(refusal.value)


def _of_other_classes(model: Any, X: Any, y: Any, forget: Any, seed: int) -> Any:
    return DecisionTreeClassifier(random_state=seed).fit(X, y % 2 + 7)


def _of_nothing(model: Any, X: Any, y: Any, forget: Any, seed: int) -> Any:
    return None


def _failing(model: Any, X: Any, y: Any, forget: Any, seed: int) -> Any:
    raise RuntimeError("no such thing")


@pytest.mark.parametrize(
    ("procedure", "text"),
    [
        (_of_other_classes, "class"),
        (_of_nothing, "returned nothing"),
        (_failing, "RuntimeError: no such thing"),
        ("scrub", "no weights that descend"),
        ("mask", "removes the output of a class"),
        ("recipe", "does not say how its models forget"),
        ("retrian", "did you mean 'retrain'"),
        ({"name": "fine-tune", "epoch": 3}, "did you mean 'epochs'"),
        ({"name": "fine-tune", "epochs": 0}, "from 1"),
    ],
)
def test_procedures_that_do_not_fit_are_refused_before_training(procedure: Any, text: str) -> None:
    with pytest.raises(PlanError, match=text) as refusal:
        small(procedure)
    assert "unlearning." not in str(refusal.value)


def _plan(tmp_path: Path, unlearning: str, further: str = "") -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(
        'seed = 4\n[data]\nname = "digits"\n[split]\nmembers = 150\nnonmembers = 150\n'
        '[recipe]\nestimator = "sklearn.tree.DecisionTreeClassifier"\n[shadows]\ncount = 6\nbystanders = 3\n'
        f"{further}[unlearning]\noracles = 0\n{unlearning}\n"
    )
    return path


def test_a_plan_is_carried_out_by_its_command(tmp_path: Path) -> None:
    plan = _plan(tmp_path, "forget = 50")
    run = CliRunner().invoke(main, ["unlearn", str(plan), "--out", str(tmp_path / "out"), "--jobs", "0", "--json"])
    assert run.exit_code == 0, run.stderr
    document = json.loads(run.stdout)
    assert document["deletion"]["deleted"] == 50
    assert document["deletion"]["procedure"] == "retrain"
    assert (tmp_path / "out" / "report.html").exists()


def test_people_by_number_are_deleted_beside_a_population_of_which_nothing_says_whose_it_is() -> None:
    world = sides()
    groups = [np.arange(len(world[side][1])) // 2 + i * 10**6 for i, side in enumerate(("members", "nonmembers"))]
    options: dict[str, Any] = {"shadows": 2, "bystanders": 0, "oracles": 0, "attacks": ["threshold"], "jobs": 0}
    model = DecisionTreeClassifier().fit(*world["members"])
    result = audit(model, forget=[0, 1], groups=[*groups, None], **world, **options)
    assert (result.split.unit, result.deletion.deleted) == ("person", 1)


def test_a_part_of_one_persons_records_is_compared_with_whole_people(tmp_path: Path) -> None:
    """Everybody else has more records than go: the fewest that one has are taken, and what stays of the person is named."""
    world = sides()
    for side, (X, y) in world.items():
        people = [f"{side} {i // 4}" for i in range(len(y))]
        frame = pd.DataFrame(X).add_prefix("x").assign(y=y, who=people)
        frame.to_csv(tmp_path / f"{side}.csv", index=False)
    (tmp_path / "forget.txt").write_text("4\n5\n")
    plan = {
        "data": {name: str(tmp_path / f"{name}.csv") for name in world} | {"label": "y", "group": "who"},
        "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
        "shadows": {"count": 4, "bystanders": 0},
        "unlearning": {"forget": str(tmp_path / "forget.txt"), "oracles": 0},
    }
    foreseen = forecast(plan, jobs=0)
    assert (foreseen.members, foreseen.unit) == (1, "person")
    result = audit(plan, jobs=0)
    assert (result.deletion.kind, result.deletion.deleted) == ("inconclusive", 1)
    assert any("2 records of theirs stay in the training data" in warning for warning in result.warnings)
    with pytest.raises(
        PlanError, match="forget: is 3, and people are deleted with all records: .* are 4; give so many"
    ):
        audit(plan | {"unlearning": {"forget": 3}}, jobs=0)


@pytest.mark.parametrize(
    ("unlearning", "text"),
    [
        ("", "says no deletion"),
        ("forget = 0", "must be from 1"),
        ("forget = 5000", "fewer than the 150 training records"),
        ('remove = "eleven"', "no class of the data"),
        ('forget = 5\nremove = "3"', "give one of them"),
        ("forget = 5\nprocedur = 3", "unknown key"),
        ('forget = 5\nfunction = "own.py:forget"', "--allow-code"),
        ('forget = "numbers.txt"', "not in the training data"),
        ('forget = "none.txt"', "holds no record numbers"),
    ],
)
def test_plans_that_cannot_be_carried_out_are_refused(tmp_path: Path, unlearning: str, text: str) -> None:
    (tmp_path / "none.txt").touch()
    (tmp_path / "numbers.txt").write_text("".join(f"{number}\n" for number in range(1000)))
    plan = _plan(tmp_path, unlearning)
    run = CliRunner().invoke(main, ["unlearn", str(plan), "--out", str(tmp_path / "out"), "--jobs", "0"])
    assert run.exit_code == 2, run.output
    assert text in " ".join(run.stderr.split())


def test_a_plan_of_a_deletion_is_no_plan_of_memberships(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["run", str(_plan(tmp_path, "forget = 5")), "--out", str(tmp_path / "out")])
    assert run.exit_code == 2
    assert "miaudit unlearn" in run.stderr


def test_a_function_of_ones_own_runs_with_consent(tmp_path: Path) -> None:
    (tmp_path / "deleting.py").write_text(
        "from sklearn.base import clone\n\n\ndef forget(model, X, y, forget, seed):\n"
        "    return clone(model).fit(X[~forget], y[~forget])\n"
    )
    plan = _plan(tmp_path, 'forget = 50\nfunction = "deleting.py:forget"')
    out = tmp_path / "out"
    run = CliRunner().invoke(main, ["unlearn", str(plan), "--out", str(out), "--jobs", "0", "--allow-code"])
    assert run.exit_code == 0, run.stderr
    deletion = Result.load(out).deletion
    assert deletion is not None
    assert deletion.procedure == "function"


def test_a_class_that_nothing_was_done_about_is_neither_over_forgotten_nor_gone() -> None:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order].astype(np.float32) / 16, y[order]
    own_sides = {name: (X[i : i + 600], y[i : i + 600]) for name, i in (("members", 0), ("nonmembers", 600))}
    population = (X[1200:], y[1200:])
    options = {"shadows": 8, "oracles": 19, "jobs": 0, "bystanders": 0, "attacks": ["lira", "threshold", "calibration"]}
    forest = RandomForestClassifier(10)
    result = audit(
        forest, trained_here=True, remove="3", procedure="none", seed=1, population=population, **own_sides, **options
    )
    deletion = result.deletion
    assert deletion is not None
    assert deletion.after is not None
    below = [attack.name for attack in deletion.after.attacks if attack.below_chance]
    assert below  # members are answered with less of every other class
    assert deletion.kind != "over-forgotten"
    assert deletion.still_in is None
    assert "unlike 19 retrained ones" in " ".join(deletion.sentences)


def test_what_is_shared_of_a_deletion_audit_holds_no_small_class_and_no_scores() -> None:
    result = small("none")
    assert result.deletion is not None
    assert any(attack.scores is not None for attack in result.deletion.before.attacks)  # type: ignore[union-attr]
    document = json.loads(shared(result, least=10_000).to_json())

    def values(node: Any, key: str) -> list[Any]:
        parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        here = [node[key]] if isinstance(node, dict) and key in node else []
        return here + [value for part in parts for value in values(part, key)]

    assert not any(values(document, "scores"))
    assert not any(values(document, "per_class"))
    assert all(float(f"{each:.1e}") == each for each in values(document, "threshold") if isinstance(each, float))


def test_a_sentence_names_the_attack_that_makes_the_claim() -> None:
    result = small("retrain", oracles=0)
    for question in (result.deletion.before, result.deletion.pair):  # type: ignore[union-attr]
        assert question is not None
        assert question.kind == "leak"
        (spoken,) = [attack for attack in question.attacks if attack.name == question.attack]
        assert spoken.above_chance or spoken.exposed


def test_a_model_that_lacks_the_class_it_was_to_forget_brings_no_advice_to_correct_labels(tmp_path: Path) -> None:
    X, y = load_digits(n_class=4, return_X_y=True)
    for side, rows in (("members", slice(150)), ("nonmembers", slice(150, 300)), ("population", slice(300, None))):
        np.savez(tmp_path / f"{side}.npz", X=X[rows], y=y[rows])
    rest = np.flatnonzero(y[:150] != 3)
    joblib.dump(DecisionTreeClassifier(random_state=0).fit(X[rest], y[rest]), tmp_path / "after.joblib")
    plan = tmp_path / "plan.toml"
    plan.write_text(
        '[data]\nmembers = "members.npz"\nnonmembers = "nonmembers.npz"\npopulation = "population.npz"\nlabel = "y"\n'
        '[target]\nfile = "after.joblib"\n[recipe]\nestimator = "sklearn.tree.DecisionTreeClassifier"\n'
        '[shadows]\ncount = 2\n[unlearning]\nremove = "3"\noracles = 0\n'
    )
    result = audit(plan, allow_pickle=True, jobs=0)
    assert result.warnings
    assert not any("does not know the class" in warning for warning in result.warnings)
