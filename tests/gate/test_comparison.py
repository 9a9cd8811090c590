"""Two audits side by side: paired where the records are the same, refused where they cannot be compared."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scored_worlds import arrays_of, checked, scored

from miaudit import stats
from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.cli import main
from miaudit.errors import DataError
from miaudit.gate import Policy, compare
from miaudit.report.diff import text
from miaudit.result import Result
from miaudit.result.table import Records
from miaudit.testing import worlds

NAMED = 'name = "own"\n[auc]\nmargin = 0.99\n[evidence]\ncontrols = []\n'


@pytest.fixture(scope="module")
def versions() -> tuple[Result, Result]:
    """Two models audited on the same named records; the second gives its members' answers away."""
    world = worlds.exchangeable(4, n=600, overlapping=True)
    arrays = arrays_of(world) | {"ids": np.array([f"r{i}" for i in range(600)])}
    before = score(stored_outputs(arrays), title="before")
    answers = np.array(arrays["target"])
    rows, labels = np.flatnonzero(world.member), arrays["labels"]
    answers[rows, labels[rows]] += 4.0
    answers /= answers.sum(axis=1, keepdims=True)
    after = score(stored_outputs(arrays | {"target": answers}), title="after")
    return before, after


def of(comparison, attack, figure="auc"):
    return next(each for each in comparison.figures if (each.attack, each.figure) == (attack, figure))


def test_the_same_records_are_compared_in_pairs(versions):
    before, after = versions
    comparison = compare(before, after)
    assert comparison.unpaired is None
    change = of(comparison, "threshold")
    assert (change.paired, change.moved) == (True, "rose")
    member = np.array(before.records.columns["member"], bool)
    scores = [np.array(each.records.columns["threshold"], float) for each in (after, before)]
    oracle = stats.auc_difference(*(each[side] for each in scores for side in (member, ~member))).interval()
    assert (change.difference, change.low, change.high) == pytest.approx(oracle)
    assert of(comparison, "threshold", "tpr at 0.1").moved == "rose"
    assert not of(comparison, "threshold", "tpr at 0.1").paired
    assert {each.what for each in comparison.changes} >= {"verdict"}
    assert "rose and fell: by more than chance explains, all figures taken together" in text(comparison)


def test_a_result_of_before_is_compared_by_the_scores_of_its_records(versions):
    """It holds no basis of its intervals; AUCs have pairs, and rates are said to have no figure."""
    before, after = versions
    older = before.model_copy(update={"attacks": [each.model_copy(update={"basis": None}) for each in before.attacks]})
    comparison, now = compare(older, after), compare(before, after)
    assert of(comparison, "threshold") == of(now, "threshold")
    assert "no figure  tpr at 0.1 of 'threshold': a result does not hold what its interval needs" in text(comparison)


def test_an_area_of_records_some_of_which_have_no_score_is_marked_as_unpaired(versions):
    before, after = versions
    column = np.array(after.records.columns["rmia"], float)
    column[0] = np.nan
    records = Records({**after.records.columns, "rmia": column})
    lines = text(compare(before, after.model_copy(update={"records": records}))).splitlines()
    marked = [line for line in lines if "auc of" in line and line.endswith(", unpaired)")]
    assert len(marked) == 1
    assert "'rmia'" in marked[0]


def test_the_other_way_round_it_falls_and_with_itself_nothing_moves(versions):
    before, after = versions
    assert of(compare(after, before), "threshold").moved == "fell"
    same = compare(before, before)
    assert same.changes == []
    assert {(each.moved, each.difference) for each in same.figures} == {(None, 0.0)}


def test_numbered_rows_are_not_taken_for_the_same_records():
    results = [scored("noise", 400, seed) for seed in (5, 6)]
    comparison = compare(*results)
    assert comparison.unpaired == "other records are members"
    again = compare(results[0], results[0])
    assert again.unpaired == "nothing says that records of one name are the same in both"
    change = of(comparison, "rmia")
    assert not change.paired
    low, high = change.low, change.high
    areas = [each.attack("rmia").auc for each in results]
    assert low < areas[1].value - areas[0].value < high
    assert high - low == pytest.approx(np.hypot(*(each.high - each.low for each in areas)), rel=0.02)


def test_a_table_that_does_not_give_the_figures_is_not_used(versions):
    before, after = versions
    document = json.loads(after.to_json())
    attack = next(each for each in document["attacks"] if each["name"] == "threshold")
    attack["auc"]["value"] -= 0.001
    other = Result.model_validate(document).model_copy(update={"records": after.records})
    assert not of(compare(before, other), "threshold").paired


def test_two_records_a_side_show_no_rise_though_their_scores_have_no_spread():
    """All records tie in one audit, members lie above all in the other: all differences of placements are one value."""
    numbers = {"ids": np.array(list("abcd")), "member": np.array([True, True, False, False])}
    pair = [score(stored_outputs(numbers | {"signal_target": np.array(s)})) for s in ([0.0] * 4, [1.0, 1.0, 0.0, 0.0])]
    change = of(compare(*pair), "threshold")
    assert (change.difference, change.paired, change.moved) == (0.5, True, None)


def test_what_cannot_be_compared_is_refused(versions):
    before, after = versions
    for section, field, value in (("split", "unit", "person"), ("shadows", "design", "disjoint")):
        part = getattr(after, section)
        other = "overlapping" if getattr(part, field) == value else value
        changed = after.model_copy(update={section: part.model_copy(update={field: other})})
        with pytest.raises(DataError, match="cannot be compared"):
            compare(before, changed)
        with pytest.raises(DataError, match="cannot be compared"):
            Policy.of_text(NAMED, "own.toml").check(changed, baseline=before)
    attacks = [
        a.model_copy(update={"options": {**a.options, "more": 1}}) if a.name == "rmia" else a for a in after.attacks
    ]
    comparison = compare(before, after.model_copy(update={"attacks": attacks}))
    assert of(comparison, "rmia").reason == "it was run with other options"


def test_a_gate_fails_on_a_rise_and_not_without_one(versions):
    before, after = versions
    policy = Policy.of_text(NAMED, "own.toml")
    failed = policy.check(after, baseline=before)
    assert failed.outcome == "fail"
    rose = {check.about: check for check in failed.those("fail") if check.limit == "rise"}
    assert "on the same records" in rose["threshold"].sentence
    assert {check.limit for check in failed.those("fail")} == {"rise"}
    held = policy.check(before, baseline=after)
    assert {check.outcome for check in held.checks if check.limit == "rise"} == {"pass"}
    assert policy.check(before, baseline=before).outcome == "pass"


def test_nothing_passes_against_a_baseline_that_says_nothing(versions):
    before, _ = versions
    policy = Policy.of_text(NAMED, "own.toml")
    broken = before.controls.model_copy(update={"null": before.controls.null.model_copy(update={"at_chance": False})})
    for baseline in (
        before.model_copy(update={"attacks": []}),
        before.model_copy(update={"controls": broken}),
        before.model_copy(update={"attacks": [a.model_copy(update={"basis": None}) for a in before.attacks]}),
    ):
        assert policy.check(
            before.model_copy(update={"records": type(before.records)()}), baseline=baseline
        ).outcome == ("inconclusive")
    fewer = before.model_copy(update={"attacks": [a for a in before.attacks if a.name != "calibration"]})
    gone = policy.check(fewer, baseline=before)
    assert gone.outcome == "inconclusive"
    assert "it has figures in the earlier audit only" in gone.those("inconclusive")[0].sentence
    asked = Policy.of_text(NAMED + "[rise]\nmargin = 0.1\n", "own.toml")
    assert asked.check(before).outcome == "inconclusive"


def test_noise_against_noise_of_enough_records_passes(noise):
    """Unpaired: the margin of 0.1 holds for two audits of 1,200 a side."""
    decision = Policy.load("release").check(noise, baseline=checked(scored("noise", 2400, 2)))
    assert {check.outcome for check in decision.checks if check.limit == "rise"} == {"pass"}


def test_the_commands_compare_folders(versions, tmp_path):
    for name, result in zip(("old", "new"), versions, strict=True):
        result.save(tmp_path / name)
    run = CliRunner().invoke
    shown = run(main, ["diff", str(tmp_path / "old"), str(tmp_path / "new")])
    assert shown.exit_code == 0, shown.output
    assert "rose       auc of 'threshold'" in shown.stdout
    assert "AUCs by the same records" in shown.stdout
    document = json.loads(run(main, ["diff", str(tmp_path / "old"), str(tmp_path / "new"), "--json"]).stdout)
    assert document == json.loads(compare(*versions).model_dump_json())
    (tmp_path / "own.toml").write_text(NAMED)
    gated = ["gate", str(tmp_path / "new"), "--policy", str(tmp_path / "own.toml"), "--baseline", str(tmp_path / "old")]
    assert run(main, gated).exit_code == 1
    assert run(main, [*gated[:-1], str(tmp_path / "none")]).exit_code == 2
    assert run(main, ["diff", str(tmp_path / "old"), str(tmp_path / "none")]).exit_code == 2
