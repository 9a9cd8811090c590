"""Whole audits with every attack: both designs of the shadows, targets that answer little, and what is skipped."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import miaudit
from miaudit.attacks import USUAL, LiRA
from miaudit.errors import PlanError, SplitError
from miaudit.plan import Plan

X, Y = load_digits(return_X_y=True)
ORDER = np.random.default_rng(5).permutation(len(X))
MEMBERS, NONMEMBERS, POPULATION = ORDER[:300], ORDER[300:600], ORDER[600:]


def quick(model, **options):
    sides = {"members": MEMBERS, "nonmembers": NONMEMBERS, "population": POPULATION}
    pairs = {name: (X[index], Y[index]) for name, index in sides.items()}
    return miaudit.audit(model, **{**pairs, "shadows": 4, "jobs": 0, **options})


@pytest.fixture(scope="module")
def forest():
    return RandomForestClassifier(20, random_state=3).fit(X[MEMBERS], Y[MEMBERS])


@pytest.fixture(scope="module")
def both(forest):
    return {design: quick(forest, shadows=12, design=design) for design in ("disjoint", "overlapping")}


def test_every_attack_is_in_the_result_under_a_name_of_its_own(both):
    for result in both.values():
        names = [attack.name for attack in result.attacks]
        assert len(set(names)) == len(names)
        assert {name.split()[0] for name in names} == {attack.name for attack in USUAL}
        assert names[:3] == ["shokri", "threshold", "gap"]
        assert all(attack.reason for attack in result.attacks if attack.status == "skipped")
        assert [attack.name for attack in result.attacks if attack.strongest and attack.status == "ran"]
        assert all(null.at_chance for null in (result.controls.null, *result.controls.nulls))


def test_online_attacks_need_shadows_trained_on_audited_records(both):
    online = {"lira", "lira per-example", "rmia online", "calibration online"}
    skipped = {attack.name: attack.reason for attack in both["disjoint"].attacks if attack.status == "skipped"}
    assert online <= set(skipped)
    assert all('design = "overlapping"' in skipped[name] for name in online)
    assert all(both["overlapping"].attack(name).status == "ran" for name in online)
    assert both["disjoint"].attack("ratio").strongest
    assert both["overlapping"].attack("ratio").strongest
    assert any("online LiRA" in left for left in both["disjoint"].not_tested)
    assert not any("LiRA" in left for left in both["overlapping"].not_tested)
    assert both["overlapping"].shadows.design == "overlapping"


def test_shadows_trained_on_half_of_the_audited_records_find_more(both):
    best = {design: max(a.auc.value for a in result.attacks if a.auc) for design, result in both.items()}
    assert best["overlapping"] > best["disjoint"] + 0.02
    assert both["overlapping"].attack("lira").auc.value > 0.85  # a forest says 0 and 1: no normal fits their logits


def test_the_shadows_sizes_are_those_of_the_target_in_either_design(both):
    for result in both.values():
        assert (result.split.shadow_train, result.split.shadow_test) == (300, 300)
        assert (result.split.outside, result.split.outside_apart) == (300, True)
        assert result.target.queries == 916
        assert result.shadows.train_accuracy == 1.0


@pytest.mark.slow
def test_an_audit_cut_short_and_one_at_once_end_alike(forest, tmp_path):
    def figures(result):
        document = json.loads(result.to_json())
        return {key: value for key, value in document.items() if key != "provenance"}

    options = {"design": "overlapping", "attacks": ["lira offline", "rmia"], "seed": 3}
    quick(forest, out=tmp_path, shadows=2, **options)
    again = quick(forest, out=tmp_path, shadows=4, jobs=2, **options)
    assert again.provenance.shadow_cost.from_store == 10  # with bystanders
    assert figures(again) == figures(quick(forest, shadows=4, **options))


@pytest.mark.slow
def test_the_target_is_asked_about_as_many_records_outside_as_the_user_allows(forest):
    none = quick(forest, outside=0, attacks=["attack-p"])
    assert (none.target.queries, none.split.outside) == (616, 0)
    assert "outside the audit" in none.attack("attack-p").reason
    few = quick(forest, outside=150, attacks=["attack-p", "quantile", {"name": "rmia", "form": "rmia"}])
    assert (few.target.queries, few.split.outside) == (766, 150)
    assert {attack.name: attack.status for attack in few.attacks} == {
        **dict.fromkeys(("attack-p", "quantile", "rmia rmia", "threshold", "gap"), "ran")
    }


def test_a_population_with_no_room_still_lends_records_to_ask_about(forest):
    small = POPULATION[:600]  # a shadow's two sets take all of it
    result = quick(forest, population=(X[small], Y[small]), attacks=["attack-p", {"name": "rmia", "form": "rmia"}])
    assert (result.split.outside, result.split.outside_apart) == (300, False)
    assert result.attack("attack-p").status == "ran"
    assert "answered by the target and the shadows" in result.attack("rmia rmia").reason


def test_the_overlapping_design_gets_by_with_hardly_any_population(forest):
    hardly_any = (X[POPULATION[:5]], Y[POPULATION[:5]])
    result = quick(forest, population=hardly_any, design="overlapping", outside=0, attacks=["lira"])
    assert result.split.shadow_train == 300
    assert result.attack("lira").auc.value > 0.7


class Labels:
    """A model that says a class and nothing else."""

    def __init__(self, model):
        self.model, self.classes_ = model, model.classes_

    def predict(self, records):
        return self.model.predict(records)


def test_a_target_that_answers_labels_only_is_attacked_by_what_can_be(forest):
    result = quick(Labels(forest), recipe=RandomForestClassifier(20))
    assert result.target.outputs == "labels"
    assert result.target.train_accuracy == forest.score(X[MEMBERS], Y[MEMBERS])
    assert result.target.queries == 616  # labels of other records serve no attack
    ran = {attack.name for attack in result.attacks if attack.status == "ran"}
    assert {"shokri", "threshold", "gap"} <= ran
    assert result.attack("gap").strongest
    assert result.attack("lira offline").reason == "the target answers labels only"
    assert any("the predicted class alone" in line for line in result.threat_model)
    assert any("were reduced to labels" in note for note in result.attack("shokri").notes)


def test_a_target_that_rounds_is_met_with_rounded_shadows(forest):
    def rounded(records):
        return np.round(forest.predict_proba(records), 1)

    result = quick(rounded, recipe=RandomForestClassifier(20), attacks=["rmia"])
    assert result.target.decimals == 1
    assert any("answers of few decimals tie" in note for note in result.attack("rmia").notes)
    assert not any("answers of few decimals tie" in note for note in result.attack("gap").notes)


def test_a_chosen_list_runs_beside_the_baseline_and_the_floor(forest):
    chosen = quick(
        forest, attacks=["lira offline", {"name": "rmia", "temperature": 1}, LiRA("offline", signal="hinge")]
    )
    assert [attack.name for attack in chosen.attacks] == [
        *("lira offline", "rmia temperature=1.0", "lira offline hinge", "threshold", "gap")
    ]
    assert chosen.controls.baseline == "threshold"
    assert {null.attack for null in (chosen.controls.null, *chosen.controls.nulls)} == {
        *("lira offline", "rmia temperature=1.0", "lira offline hinge")
    }
    assert chosen.provenance.plan["attacks"][1]["temperature"] == 1.0


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"attacks": ["lyra"]}, PlanError, "attacks.0: unknown attack 'lyra'; did you mean 'lira'"),
        (
            {"attacks": [{"name": "lira", "varience": "nig"}]},
            PlanError,
            "attacks.0.varience: unknown key; did you mean",
        ),
        ({"attacks": [{"name": "lira", "variance": "big"}]}, PlanError, "attacks.0.variance: must be 'nig'"),
        (
            {"attacks": [{"name": "quantile", "trees": "many"}]},
            PlanError,
            "attacks.0.trees: must be a whole number; got",
        ),
        (
            {"attacks": [{"name": "quantile", "alpha": 2.0}]},
            PlanError,
            "attacks.0.alpha: must be a finite number above 0 and below 0.5",
        ),
        ({"attacks": [{"variance": "nig"}]}, PlanError, "must be a name, or a table with a name and options"),
        ({"attacks": ["rmia", {"name": "rmia"}]}, PlanError, "attacks.1: rmia is in the list twice"),
        ({"attacks": ["lyra", "rnia"]}, PlanError, "2 problems"),
        ({"design": "half"}, PlanError, "design: must be 'disjoint' or 'overlapping'; got 'half'"),
        ({"outside": -1}, PlanError, "outside: must be at least 0; got -1"),
    ],
)
def test_what_is_wrong_is_said(forest, changes, error, said):
    with pytest.raises(error, match=said) as caught:
        quick(forest, **changes)
    assert caught.value.exit_code == 2


def test_a_plan_says_the_same():
    plan = {
        "data": {"name": "digits"},
        "split": {"members": 200, "outside": 50},
        "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
        "shadows": {"count": 4, "design": "overlapping"},
        "attacks": ["lira", {"name": "rmia", "mode": "online", "temperature": 1.0}],
    }
    result = miaudit.audit(plan, jobs=0)
    assert [attack.name for attack in result.attacks] == ["lira", "rmia online temperature=1.0", "threshold", "gap"]
    assert (result.split.outside, result.shadows.design) == (50, "overlapping")
    with pytest.raises(PlanError, match=r"shadows\.design"):
        Plan.of({**plan, "shadows": {"design": "offline"}})
    with pytest.raises(PlanError, match=r"split\.outside"):
        Plan.of({**plan, "split": {"members": 200, "outside": -1}})
    with pytest.raises(PlanError, match="makes them up: leave outside out"):
        Plan.of({**plan, "shadows": {"data": "synthetic:marginals"}})
    too_large = {**plan, "shadows": {**plan["shadows"], "train": 1500, "test": 1500}}
    with pytest.raises(SplitError, match="hold the 400 audited ones and 2,600 of the population"):
        miaudit.audit(too_large, jobs=0)
