"""The grid: rows, what they are compared with, what is recommended, and that a finished audit is enough."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from mitigated_plan import PLAN

from miaudit import audit
from miaudit.cli import main
from miaudit.errors import PlanError, PoolError, StoreError
from miaudit.mitigations import (
    Bagging,
    Grid,
    Knob,
    LabelOnly,
    Noise,
    Rounding,
    TopK,
    grid,
    suggest,
)
from miaudit.mitigations.canaries import canary_case
from miaudit.mitigations.choice import chosen
from miaudit.mitigations.document import Difference, Exposed, Interval, MitigationRow
from miaudit.mitigations.output import USUAL_OUTPUT
from miaudit.mitigations.recommendation import recommended
from miaudit.report.decision import plain_markdown
from miaudit.report.mitigations import figure, markdown, text
from miaudit.result import Result
from miaudit.result.cleaning import clean


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    audit(PLAN, out=folder, jobs=0)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    plan = {**PLAN, "attacks": ["shokri", "rmia"], "mitigations": {"top-k": {"k": 1}, "label-only": {}, "limit": 0.7}}
    things = [TopK(1), LabelOnly(), Knob("max_depth", 2), (Knob("max_depth", 2), Rounding(1))]
    folder = tmp_path_factory.mktemp("grid")
    return folder, grid(plan, things, out=folder, jobs=0)


def test_rows_are_what_was_asked_for(made):
    folder, of = made
    assert [row.mitigation for row in of.rows] == [
        *("none", "top-k k=1", "label-only", "max_depth=2", "max_depth=2, rounding decimals=1")
    ]
    assert [row.side for row in of.rows] == ["none", "output", "output", "training", "both"]
    assert of.limit == 0.7
    assert Grid.model_validate_json((folder / "mitigations.json").read_text()) == of
    bare, top, labels, shallow, _ = of.rows
    assert bare.accuracy_change.value == 0
    assert top.test_accuracy == bare.test_accuracy
    assert labels.calibration_error.value is None
    assert "labels" in labels.calibration_error.reason
    assert shallow.test_accuracy.value < bare.test_accuracy.value
    assert shallow.accuracy_change.high < 0
    assert shallow.seconds is not None


def test_attackers_stand_side_by_side(made):
    _, of = made
    assert {each.attacker for each in of.rows[0].attacks} == {"adaptive"}
    for row in of.rows[1:]:
        assert {each.attacker for each in row.attacks} == {"adaptive", "naive"}
        for each in row.attacks:
            if each.status == "ran":
                assert {point.fpr for point in each.tpr_at_fpr} == {0.01, 0.001}
                assert each.named is not None
    assert of.row("label-only").figures("rmia") is None
    assert of.row("label-only").figures("rmia", "naive") is not None


def test_the_accuracy_of_decisions_follows_from_precision_and_recall(made):
    """Accuracy = (1 + R - R (1 - P) / P) / 2 on sides of one size, as Table III of the paper has it."""
    _, of = made
    seen = 0
    for row in of.rows:
        for each in row.attacks:
            if each.pooled is not None and each.pooled.precision:
                p, r = each.pooled.precision, each.pooled.recall
                assert each.pooled.accuracy == pytest.approx((1 + r - r * (1 - p) / p) / 2)
                seen += 1
    assert seen > 10


def test_changes_say_what_their_interval_shows(made):
    _, of = made
    for row in of.rows[1:]:
        for each in row.attacks:
            if each.change is not None:
                low, high = each.change.low, each.change.high
                assert each.effect == ("higher" if low > 0 else "lower" if high < 0 else "inconclusive")
    assert of.row("max_depth=2").figures("rmia").effect == "lower"


def test_a_bound_holds_for_the_loudest_attacker(made):
    _, of = made
    for row in of.rows:
        areas = [each.auc.value for each in row.attacks if each.auc is not None]
        assert row.bound > max(max(area, 1 - area) for area in areas)


def test_renderings(made):
    _, of = made
    shown, table, drawn = text(of), markdown(of), str(figure(of))
    for row in of.rows:
        assert row.mitigation in shown
        assert f"| {plain_markdown(row.mitigation)} | naive |" in table or row.side == "none"
    assert drawn.count("<circle") == len(of.rows)
    assert of.recommendation.text in shown
    assert markdown(of.model_copy(update={"title": "<b> *"})).startswith("# &lt;b&gt; \\*\n")
    assert "Canaries were not run" in of.recommendation.text or of.recommendation.kind in ("inconclusive", "none")


def test_attacks_that_did_not_run_are_named():
    of = grid({**PLAN, "shadows": {"count": 0}}, [TopK(1)], attacks=["shokri", "attack-p"], naive=False, jobs=0)
    assert "shokri did not run: there are no shadow models" in text(of)
    assert "accuracy are those of attack-p" in text(of)
    alone = of.model_copy(update={"attacks": ["shokri"]})
    assert "accuracy are those of" not in text(alone)


def test_a_finished_audit_is_enough(finished, made):
    of = suggest(finished, [TopK(1), LabelOnly(), Noise(1.0)], attacks=["shokri", "rmia"], jobs=0)
    assert [row.side for row in of.rows] == ["none", "output", "output", "output"]
    assert of.provenance["verdict"] == Result.load(finished).verdict_kind
    for mitigation in ("none", "top-k k=1", "label-only"):
        assert of.row(mitigation).attacks == made[1].row(mitigation).attacks  # the same audit by another way
    with pytest.raises(PlanError, match="trains nothing"):
        suggest(finished, [Bagging()], jobs=0)


def test_what_is_gone_is_not_trained_again(tmp_path):
    audit(PLAN, out=tmp_path, jobs=0)
    row = next((tmp_path / "rows").rglob("*.safetensors"))
    row.unlink()
    with pytest.raises(StoreError, match="trained anew"):
        suggest(tmp_path, [TopK(1)], jobs=0)
    clean(tmp_path)
    with pytest.raises(StoreError, match="as miaudit clean removes them, and nothing is trained"):
        suggest(tmp_path, [TopK(1)], jobs=0)
    assert not (tmp_path / "rows").exists()


def test_an_audit_of_objects_has_no_plan(tmp_path):
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(0)
    sides = [(rng.normal(size=(60, 3)), rng.integers(0, 2, 60)) for _ in range(3)]
    model = DecisionTreeClassifier().fit(*sides[0])
    audit(model, members=sides[0], nonmembers=sides[1], population=sides[2], shadows=2, out=tmp_path, jobs=0)
    with pytest.raises(StoreError, match="Python objects"):
        suggest(tmp_path)


def test_canaries_stand_beside_the_average():
    of = grid({**PLAN, "attacks": ["shokri"]}, [Knob("max_depth", 2)], canaries=40, naive=False, jobs=0)
    bare, shallow = of.rows
    assert (bare.canaries.count, bare.canaries.attack) == (40, "lira")
    assert bare.canaries.auc.value > 0.9  # a forest without limits learns wrong labels by heart
    assert shallow.canaries.auc.value < bare.canaries.auc.value
    assert "canaries" in of.recommendation.text or of.recommendation.kind in ("inconclusive", "none")


def test_a_canary_has_a_wrong_label_and_all_else_is_fixed(forest_case):
    case = canary_case(forest_case, 30)
    audited = np.concatenate([case.split.members, case.split.nonmembers])
    assert (case.dataset.y[audited] != forest_case.dataset.y[audited]).all()
    assert np.isin(audited, forest_case.split.nonmembers).all()
    assert set(case.split.training) == {*forest_case.split.training, *case.split.members}


def row_with(label, bound, accuracy, *, side="output", standing=None, exposed=(0.4, 0.6), cost=(0.0, 0.0, 0.0)):
    value, low, high = cost
    return MitigationRow(
        mitigation=label,
        side=side,
        parts=[],
        train_accuracy=Interval(value=1.0, low=None, high=None),
        test_accuracy=Interval(value=accuracy, low=None, high=None),
        accuracy_change=Difference(value=value, low=low, high=high),
        calibration_error=Interval(value=0.1, low=0.0, high=0.2),
        seconds=1.0,
        attacks=[],
        bound=bound,
        standing=standing or ("below" if bound < 0.6 else "inconclusive"),
        exposed=Exposed(
            column="class", group="3", members=9, auc=Interval(value=sum(exposed) / 2, low=exposed[0], high=exposed[1])
        ),
    )


def test_the_cheapest_that_is_enough_is_recommended(finished):
    whole = Result.load(finished)
    bare = row_with("none", 0.9, 0.8, side="none", standing="above")
    cheap = row_with("cheap", 0.59, 0.79, cost=(-0.01, -0.02, 0.0))
    near = row_with("near", 0.55, 0.785, cost=(-0.015, -0.03, 0.0))
    dear = row_with("dear", 0.52, 0.6, cost=(-0.2, -0.25, -0.15))
    of = recommended([bare, dear, cheap, near], 0.6, whole, canaries=False)
    assert (of.kind, of.mitigation, of.equals) == ("take", "cheap", ["near"])
    assert "Canaries were not run" in of.text
    assert "1.0 points" in of.text
    assert "No attack was run that asks for labels alone" in of.text
    trained = recommended([bare, cheap.model_copy(update={"side": "training"})], 0.6, whole, canaries=False)
    assert "labels alone" not in trained.text
    hidden = row_with("cheap", 0.59, 0.79, exposed=(0.65, 0.9))
    assert recommended([bare, hidden], 0.6, whole, canaries=False).kind == "none"  # a slice stays exposed
    unsure = row_with("unsure", 0.65, 0.8)
    assert recommended([bare, unsure], 0.6, whole, canaries=False).kind == "inconclusive"
    above = row_with("above", 0.8, 0.8, standing="above")
    assert recommended([bare, above], 0.6, whole, canaries=False).kind == "none"
    fine = replace_standing(bare)
    assert recommended([fine, dear], 0.6, whole, canaries=False).kind == "enough"
    confounded = whole.model_copy(
        update={"finding": whole.finding.model_copy(update={"kind": "confounded"}), "verdict_kind": "confounded"}
    )
    assert recommended([bare, cheap], 0.6, confounded, canaries=False).kind == "confounded"


def replace_standing(row):
    return row.model_copy(update={"bound": 0.55, "standing": "below"})


def test_a_plan_names_mitigations_and_strengths():
    choice = chosen(
        {
            "top-k": {"k": [1, 3]},
            "label-only": {},
            "knobs": {"max_depth": [2, 4]},
            "together": [{"bagging": {"models": [2, 3]}, "rounding": {"decimals": 1}}],
            "limit": 0.65,
            "canaries": 50,
        }
    )
    assert choice.mitigations == (
        *(TopK(1), TopK(3), LabelOnly(), Knob("max_depth", 2), Knob("max_depth", 4)),
        *((Bagging(2), Rounding(1)), (Bagging(3), Rounding(1))),
    )
    assert (choice.limit, choice.canaries) == (0.65, 50)
    assert len(USUAL_OUTPUT) == 12


def test_lists_of_a_knob_are_values_like_others():
    choice = chosen({"knobs": {"hidden": [[8], [16, 8]], "max_depth": [np.int64(3)]}})
    assert choice.mitigations == (Knob("hidden", (8,)), Knob("hidden", (16, 8)), Knob("max_depth", 3))
    assert len(set(choice.mitigations)) == 3
    assert [str(part.value) for part in choice.mitigations] == ["(8,)", "(16, 8)", "3"]
    with pytest.raises(PlanError, match=r"mitigations.knobs.class_weight: must be a number.*got \{'cat': 2\}"):
        chosen({"knobs": {"class_weight": [{"cat": 2}]}})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"topk": {}}, "did you mean 'top-k'"),
        ({"top-k": {"n": 1}}, "unknown option"),
        ({"top-k": {"k": "1"}}, "k: "),
        ({"top-k": 1}, "table of options"),
        ({"rounding": {"decimals": -1}}, "whole number from 0"),
        ({"together": {"top-k": {}}}, "list of tables"),
        ({"canaries": -1}, "canaries"),
        ({"together": [{}]}, "at least one mitigation"),
        ({"top-k": {"k": []}}, "names no strength"),
        ({"knobs": {"max_depth": []}}, "names no strength"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(table, message):
    with pytest.raises(PlanError, match=message):
        chosen(table)


def test_what_cannot_be_measured_is_refused_before_anything_is_trained():
    with pytest.raises(PlanError, match="limit"):
        grid(PLAN, [TopK(1)], limit=0.4)
    with pytest.raises(PlanError, match="apply"):
        grid(PLAN, ["top-k"])
    with pytest.raises(PlanError, match=r"mitigations.knobs.max_dept: .* no such parameter; did you mean 'max_depth'"):
        grid(PLAN, [(Knob("max_dept", 2),)])
    with pytest.raises(PoolError, match=r"^with max_depth=-1: the target could not be trained"):
        grid(PLAN, [Knob("max_depth", -1)], attacks=["threshold"], jobs=0)
    with pytest.raises(PlanError, match="takes no"):
        grid(PLAN, [TopK(1)], retrain=1)
    regression = {
        **PLAN,
        "recipe": {"task": "regression", "estimator": "sklearn.linear_model.Ridge"},
        "attacks": ["threshold"],
    }
    with pytest.raises(PlanError, match="regression"):
        grid(regression, [TopK(1)])


def test_the_command(finished, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'seed = 5\n[data]\nname = "digits"\n[split]\nmembers = 60\nnonmembers = 60\n[shadows]\ncount = 2\n[recipe]\n'
        'estimator = "sklearn.naive_bayes.GaussianNB"\n[mitigations]\ntemperature = { t = 5.0 }\n'
    )
    run = CliRunner().invoke(main, ["mitigate", str(plan), "--out", str(tmp_path / "out"), "--jobs", "0", "--json"])
    assert run.exit_code == 0, run.stderr
    assert [row["mitigation"] for row in json.loads(run.stdout)["rows"]] == ["none", "temperature t=5"]
    assert {"mitigations.json", "mitigations.md", "mitigations.svg"} <= {
        each.name for each in (tmp_path / "out").iterdir()
    }
    wrong = CliRunner().invoke(main, ["mitigate"])
    assert wrong.exit_code == 2
    assert "PLAN" in wrong.stderr
