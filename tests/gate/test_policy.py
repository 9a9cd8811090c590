"""The gate: what passes, what fails, and that nothing passes by absence of evidence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scored_worlds import arrays_of, checked, scored

from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.errors import PlanError, StoreError
from miaudit.gate import CanaryFigures, Policy, built_in
from miaudit.report.decision import text
from miaudit.result import Result
from miaudit.testing import worlds

NAMES = list(built_in())
SIMPLE = 'name = "own"\n[auc]\nmargin = 0.6\n'


def own(text: str = "") -> Policy:
    return Policy.of_text(SIMPLE + text, "own.toml")


def test_policies_have_the_names_by_which_they_are_loaded():
    assert NAMES == ["aisvs-11.2.5", "leak-only", "release"]
    assert [Policy.load(name).name for name in NAMES] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_noise_of_enough_records_passes_and_a_leak_fails(name, noise, leaky):
    passed, failed = Policy.load(name).check(noise), Policy.load(name).check(leaky)
    assert (passed.outcome, passed.exit_code, passed.needed) == ("pass", 0, None), passed.those("inconclusive")
    assert {check.outcome for check in passed.checks} == {"pass"}
    assert (failed.outcome, failed.exit_code) == ("fail", 1)
    areas = {check.about: check for check in failed.those("fail") if check.limit == "auc"}
    assert {"rmia", "threshold"} <= set(areas)
    assert areas["rmia"].low > areas["rmia"].beyond


@pytest.mark.parametrize("name", NAMES)
def test_few_records_tell_nothing_and_the_decision_says_how_many_would(name, few):
    decision = Policy.load(name).check(few)
    assert (decision.outcome, decision.exit_code) == ("inconclusive", 3)
    assert (decision.members, decision.nonmembers, decision.unit) == (50, 50, "record")
    assert decision.needed is not None
    assert 150 < decision.needed < 1500


def without(document: dict[str, Any], path: str, value: Any = None) -> dict[str, Any]:
    """Return a document in which one place holds something else; a number is an index, ``*`` all of a list."""
    changed = json.loads(json.dumps(document))
    places = [changed]
    *way, last = path.split(".")
    for key in way:
        places = [x for p in places for x in (p if key == "*" else [p[int(key)] if key.isdigit() else p[key]])]
    for place in (each for each in places if each is not None):
        place[last] = value
    if path.startswith("verdict_kind") and changed["finding"] is not None:
        changed["finding"] = None if value is None else changed["finding"] | {"kind": value}
    return changed


ATTACK = {"name": "new", "title": "t", "paper": "p", "status": "failed", "reason": "it broke"}
REMOVALS = [
    ("verdict_kind", None),
    *(("verdict_kind", kind) for kind in ("confounded", "broken", "inconclusive", "inverted")),
    ("controls.null", None),
    ("controls.null.at_chance", False),
    ("controls.nulls.0.at_chance", False),
    ("attacks.*.strongest", False),
    ("attacks.*.auc", {"value": None, "low": None, "high": None}),
    ("attacks.*.basis", None),
    ("attacks.0.basis", None),
    ("attacks.0.status", "failed"),
    ("attacks.*.status", "skipped"),
    ("attacks", []),
    ("headline", None),
]
FULL = [
    ("controls.blind.confounded", None),
    ("controls.blind.confounded", True),
    ("controls.bystander", None),
    ("controls.bystander", {"auc": None, "reason": "none"}),
    ("controls.bystander.tell_sides", ["rmia"]),
    ("attacks.*.basis.curve", None),
]


@pytest.mark.parametrize("name", NAMES)
def test_no_policy_passes_a_result_from_which_a_required_part_is_gone(name, noise):
    """Of each part that a pass rests on, whatever else the result holds."""
    policy, whole = Policy.load(name), json.loads(noise.to_json())
    asked = REMOVALS + (FULL if "records" in policy.evidence.controls else [])
    asked += [("groups", []), ("groups.*.groups.*.spread", None)] if policy.slices else []
    for path, value in asked:
        changed = without(whole, path, value)
        if path == "attacks":
            changed |= {"headline": None, "highest": None, "finding": None}
            changed["controls"]["bystander"] = None
        if (path, value) == ("headline", None):
            changed["attacks"] = [a for a in changed["attacks"] if not a["strongest"]]
            changed["controls"]["bystander"] = None
        decision = policy.check(Result.model_validate(changed))
        assert decision.outcome == "inconclusive", (path, value)
        assert decision.those("inconclusive"), path
    with_failed = without(whole, "attacks", [*whole["attacks"], ATTACK])
    assert policy.check(Result.model_validate(with_failed)).outcome == "inconclusive"


def test_what_the_schema_does_not_know_is_refused_before_any_gate(noise, tmp_path):
    noise.save(tmp_path)
    document = json.loads((tmp_path / "result.json").read_text())
    for change in ({"surprise": 1}, {"schema_version": 0}, {"schema_version": 99}):
        (tmp_path / "result.json").write_text(json.dumps(document | change))
        with pytest.raises(StoreError):
            Result.load(tmp_path)


def test_without_a_look_at_the_raw_records_only_the_policy_that_does_not_ask_for_it_passes():
    result = scored("noise", 2400)
    outcomes = {name: Policy.load(name).check(result).outcome for name in NAMES}
    assert outcomes == {"aisvs-11.2.5": "inconclusive", "release": "inconclusive", "leak-only": "pass"}
    assert (
        "The policy does not ask for the control on the raw records." in Policy.load("leak-only").check(result).remarks
    )


def test_a_leak_that_a_failed_control_explains_does_not_fail(leaky):
    policy = Policy.load("release")
    document = json.loads(leaky.to_json())
    for path, value in (("verdict_kind", "confounded"), ("controls.null.at_chance", False)):
        decision = policy.check(Result.model_validate(without(document, path, value)))
        assert (decision.outcome, decision.those("fail")) == ("inconclusive", [])
        assert any("a control failed" in check.sentence for check in decision.those("inconclusive"))


def test_a_leak_that_bystanders_explain_does_not_fail(leaky):
    document = json.loads(leaky.to_json())
    for attack in document["attacks"]:
        if attack["status"] == "ran":
            attack["bystander"] |= {"above": False, "few": False, "below": False}
    decision = own().check(Result.model_validate(document))
    assert (decision.outcome, decision.those("fail")) == ("inconclusive", [])
    assert any("models trained on neither side explain it" in check.sentence for check in decision.checks)
    small = without(json.loads(leaky.to_json()), "attacks.*.bystander.less", {"value": 0.05, "low": 0.01, "high": 0.09})
    small["attacks"] = [a for a in small["attacks"] if a["status"] == "ran"]
    assert not own().check(Result.model_validate(small)).those("fail")


def test_a_small_leak_passes_a_policy_that_bears_it_and_is_told(noise):
    document = without(json.loads(noise.to_json()), "verdict_kind", "leak")
    result = Result.model_validate(document)
    decision = Policy.load("release").check(result)
    assert decision.outcome == "pass"
    assert "A leak was found; the policy limits how large it may be." in decision.remarks
    assert Policy.load("aisvs-11.2.5").check(result).outcome == "fail"


def test_nothing_passes_beside_an_attack_that_is_the_wrong_way_round(noise):
    """Its AUC of 0.2 lies below every margin; turned round it is one of 0.8."""
    document = without(json.loads(noise.to_json()), "verdict_kind", "leak")
    attack = document["attacks"][0]
    attack |= {"auc": {"value": 0.2, "low": 0.18, "high": 0.22}, "below_chance": True}
    attack["bystander"]["below"] = True
    decision = Policy.load("release").check(Result.model_validate(document))
    assert decision.outcome == "inconclusive"
    assert [check.name for check in decision.those("inconclusive")] == [f"direction: {attack['name']}"]


def test_a_record_that_could_not_be_scored_counts_as_told(noise):
    document = without(json.loads(noise.to_json()), "attacks.5.missing", 600)
    decision = own().check(Result.model_validate(document))
    check = next(check for check in decision.checks if check.about == document["attacks"][5]["name"])
    assert check.outcome == "inconclusive"
    assert check.high > 0.6
    assert check.sentence.endswith("for the records that could not be scored: more shadow models score them")
    assert any("could not score 600 records" in remark for remark in decision.remarks)
    assert decision.needed is None  # no number of records would show it: as many of them would go without a score


def test_records_that_could_not_be_scored_may_be_in_any_slice(noise):
    lead = next(i for i, attack in enumerate(noise.attacks) if attack.name == noise.lead.name)
    document = without(json.loads(noise.to_json()), f"attacks.{lead}.missing", 100)
    policy = own("[slices]\nmargin = 0.7\nleast = 100\n[evidence]\ncontrols = []\n")
    before, after = (
        [check for check in policy.check(each).checks if check.limit == "slices"]
        for each in (noise, Result.model_validate(document))
    )
    assert [check.outcome for check in before] == ["pass"] * len(before)
    for old, new, group in zip(before, after, noise.groups[0].groups, strict=True):
        assert new.high == pytest.approx(old.high + 50 / min(group.members, group.nonmembers))
        assert (new.outcome, new.needed is None) == ("inconclusive", new.high - old.high >= 0.2)


def test_a_number_of_records_that_the_audit_has_is_not_asked_for(noise):
    lead = next(i for i, attack in enumerate(noise.attacks) if attack.name == noise.lead.name)
    area = {"value": 0.59, "low": 0.57, "high": 0.61}
    decision = own().check(Result.model_validate(without(json.loads(noise.to_json()), f"attacks.{lead}.auc", area)))
    assert decision.outcome == "inconclusive"
    assert decision.needed <= decision.members
    assert "this audit has as many, so that chance or a small leak is why" in text(decision)


def test_an_attack_may_be_required_by_name(noise):
    policy = own('[evidence]\nrequired = ["lira", "label-only"]\ncontrols = []\n')
    checks = {check.about: check for check in policy.check(noise).checks if check.limit == "required"}
    assert not any("no attack of that name" in check.sentence for check in checks.values())
    misspelt = own('[evidence]\nrequired = ["lyra"]\ncontrols = []\n').check(noise)
    assert "knows no attack of that name; did you mean 'lira'?" in misspelt.those("inconclusive")[0].sentence
    assert (checks["lira"].outcome, checks["label-only"].outcome) == ("pass", "inconclusive")
    assert "it runs only where it is named" in checks["label-only"].sentence


def test_records_of_people_have_an_area_and_no_rates():
    """Records counted one by one although people have several: no exact bound holds for their rates."""
    arrays = arrays_of(worlds.exchangeable(3, n=400, overlapping=True))
    order = np.argsort(arrays["member"], kind="stable")
    arrays["group"] = np.empty(400, int)
    arrays["group"][order] = np.arange(400) // 4
    text = "[[tpr]]\nfpr = 0.1\nmargin = 3\n[evidence]\ncontrols = []\n"
    by_record = own(text).check(score(stored_outputs(arrays), unit="record"))
    rates = [check for check in by_record.checks if check.limit == "tpr at 0.1"]
    assert {check.outcome for check in rates} == {"inconclusive"}
    assert "count people" in rates[0].sentence
    by_person = own(text).check(score(stored_outputs(arrays)))
    assert (by_person.unit, by_person.members, by_person.nonmembers) == ("person", 50, 50)
    assert all(check.value is not None for check in by_person.checks if check.limit == "tpr at 0.1")


def test_the_share_that_can_be_named_is_bounded_by_the_curve(noise):
    policy = own("[named]\nmargin = 0.05\n")
    results = noise, scored("grave", 1200)
    fine, grave = ([check for check in policy.check(r).checks if check.limit == "named"] for r in results)
    assert {check.outcome for check in fine} == {"pass"}
    assert all(check.low == 0 and check.high < 0.05 for check in fine)
    exposed = next(check for check in grave if check.about == "threshold")
    assert exposed.outcome == "fail"
    # N(3, 1) against N(0, 1): the TPR is 9 times the FPR at 0.961
    assert 0.2 < exposed.low <= 0.961 <= exposed.high


CANARIES = {"canaries": 1000, "guesses": 200, "delta": 1e-5, "warnings": []}


@pytest.mark.parametrize(
    ("correct", "guesses", "outcome"),
    [
        (180, 200, "fail"),
        (104, 200, "pass"),
        (130, 200, "inconclusive"),
        (6, 10, "inconclusive"),
        (0, 1, "inconclusive"),
        (0, 49, "inconclusive"),
    ],
)
def test_a_canary_audit_fails_by_its_lower_bound_and_passes_by_its_guesses(correct, guesses, outcome, noise):
    policy = own("[epsilon]\nmargin = 0.8\n[evidence]\ncontrols = []\n")
    figures = CanaryFigures(**CANARIES | {"correct": correct, "guesses": guesses})
    decision = policy.check(noise, canaries=figures)
    assert decision.outcome == outcome
    assert decision.checks[-1].limit == "epsilon"
    assert policy.check(noise).outcome == "inconclusive"
    assert policy.check(noise, canaries=figures.model_copy(update={"warnings": ["another model"]})).outcome != "pass"


def test_canaries_that_no_policy_asks_for_are_refused(noise):
    with pytest.raises(PlanError, match="limits no epsilon"):
        own().check(noise, canaries=CanaryFigures(**CANARIES | {"correct": 100}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\n', "limits neither auc nor tpr"),
        ('name = "x"\n[auc]\nmargin = 0.5\n', "auc.margin"),
        ('name = "x"\n[auc]\nmargin = 0.6\nlimit = 0.7\n', "above the margin"),
        ('name = "x"\n[auc]\nmargin = 0.6\nmaximum = 0.7\n', "auc.maximum"),
        ('name = "x"\n[[tpr]]\nfpr = 0.1\nmargin = 10\n', "no attack exceeds it"),
        ('name = "x"\n[[tpr]]\nfpr = 0.1\nmargin = 3\n[[tpr]]\nfpr = 0.1\nmargin = 4\n', "twice"),
        ('name = "x"\n[auc]\nmargin = 0.6\n[named]\nmargin = 0.05\nprecision = 0.55\n', "too near to guessing"),
        ("name = ", "is not TOML"),
        ("name = " + "[" * 100_000, "nested too deeply"),
        ("[auc]\nmargin = 0.6\n", "own.toml is no policy: name: missing"),
        ('name = "x"\nauc = "low"\n', "auc: must be a table of keys; allowed here: margin, limit; got 'low'"),
        ('name = "x"\n[auc]\nmargn = 0.6\n', "auc.margn: unknown key; did you mean 'margin'"),
        ('name = "x"\n[[tpr]]\nfpr = 0.1\nlimt = 3\n', "tpr.0.limt: unknown key; did you mean 'limit'"),
    ],
)
def test_a_text_that_is_no_policy_is_refused_with_its_place(text, message):
    with pytest.raises(PlanError, match=message):
        Policy.of_text(text, "own.toml")


def test_a_policy_with_a_byte_order_mark_is_read_as_a_plan_is(tmp_path):
    (tmp_path / "own.toml").write_text('\ufeffname = "x"\n[auc]\nmargin = 0.6\n', encoding="utf-8")
    assert Policy.load(str(tmp_path / "own.toml")) == Policy.of_text('name = "x"\n[auc]\nmargin = 0.6\n', "own.toml")


def test_a_name_that_is_no_policy_is_refused_with_the_nearest():
    with pytest.raises(PlanError, match="did you mean 'release'"):
        Policy.load("relaese")
    with pytest.raises(PlanError, match="cannot be read"):
        Policy.load("missing.toml")


def test_slices_too_small_to_pass_may_still_fail(leaky, noise):
    text = "[slices]\nmargin = 0.65\nleast = {}\n[evidence]\ncontrols = []\n"
    assert own(text.format(1000)).check(checked(noise)).outcome == "inconclusive"  # none is large enough
    failed = [check for check in own(text.format(1000)).check(leaky).those("fail") if check.limit == "slices"]
    assert failed
    assert failed[0].about.startswith("class = ")
