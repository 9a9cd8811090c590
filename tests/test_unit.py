"""The unit of privacy: what is counted, from the choice of it to verdict, controls and stored outputs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from miaudit import stats
from miaudit.attacks import Gap, LiRA, Threshold, attack_name, blind_auc, shuffle_membership
from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.errors import DataError, PlanError
from miaudit.findings import Trial, Trials, accuracies, blind_control, examine, null_control, unit_of
from miaudit.result import Result
from miaudit.testing import worlds

ATTACKS = (Threshold(), Gap(), LiRA("offline"))


def found(world, *, name=None, people=True, seed=0):
    evidence = world.evidence
    unit = unit_of(world.member, people=evidence.audited_people if people else None, name=name)
    trials = [Trial(attack, evidence, attack_name(attack)) for attack in ATTACKS]
    blind = blind_control(evidence.features, evidence.audited_labels, world.member, seed=seed, unit=unit)
    classes = tuple(map(str, range(evidence.classes)))
    return examine(Trials(trials, world.member, unit, classes, seed=seed), evidence.audited_labels, blind=blind)


def quiet(seed: int, **options) -> worlds.World:
    return worlds.people(seed, shadows=4, overlapping=True, **{"n": 40, "records": 10, "correlation": 0.3, **options})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["person", "record"])
def test_people_of_one_population_are_seldom_called_a_leak_or_confounded(name):
    """Counted one by one, the records of 40 + 40 people would be in most trials."""
    trials = 8
    every = [found(quiet(seed, n=80, records=6), name=name, seed=seed) for seed in range(trials)]
    most = binom.ppf(0.999, trials, 0.05)
    assert sum(each.verdict.startswith(("Membership", "Confounded")) for each in every) <= most
    assert sum(bool(each.controls.blind.confounded) for each in every) <= most
    assert any(each.controls.blind.confounded is False for each in every)
    assert all(null.at_chance for each in every for null in [each.controls.null, *each.controls.nulls])
    bare = [found(quiet(seed, n=80), people=False, seed=seed).controls.blind.confounded for seed in range(4)]
    assert sum(bare) >= 3


def test_a_leak_of_people_is_found_where_records_hardly_show_it():
    each = found(quiet(1, n=200, correlation=0.0, shift=0.4))
    assert each.verdict.startswith("Membership leaks")
    assert "AUC per person" in each.verdict
    assert "100 people who are members and 100 who are not, with 2,000 records" in each.verdict
    threshold = each.attacks[0]
    assert (threshold.unit, threshold.person.n, threshold.person.members) == ("person", 200, 100)
    assert threshold.of_unit is threshold.person
    assert threshold.person.auc.value > threshold.auc.value + 0.05
    assert threshold.tpr_at_zero_fp.n_in == 100
    assert threshold.operating_point.tp + threshold.operating_point.fn == 100  # people, not records


def test_rates_of_records_have_no_interval_and_say_why():
    person, record = found(quiet(2)), found(quiet(2), name="record")
    for each in (person, record):
        attack = each.attacks[1]
        assert all(
            p.low is None and p.high is None and not p.resolvable and "per person" in p.reason
            for p in attack.tpr_at_fpr
        )
        assert attack.auc.low < attack.auc.value < attack.auc.high
        assert attack.person is not None
    assert person.attacks[0].epsilon is not None
    assert record.attacks[0].epsilon is None
    assert record.attacks[0].operating_point is None
    assert "no independent draws" in record.attacks[0].figures_reason
    assert record.attacks[0].of_unit is record.attacks[0]
    assert "400 records, of 20 people among members and 20 among non-members" in record.verdict
    decided = [a for a in found(quiet(2)).attacks if a.pooled is not None]
    assert decided
    assert all(a.pooled.accuracy_low is None and a.pooled.interval_reason for a in decided)


def test_power_counts_people():
    attack = next(a for a in found(quiet(3)).attacks if a.power is not None)
    assert attack.power.auc > 0.7  # 20 people a side, not 200 records


def test_people_are_dealt_whole_by_the_shuffle():
    world = quiet(0)
    of = world.evidence.audited_people
    evidence, truth = shuffle_membership(world.evidence, world.member, 1)
    for deal in (truth, *evidence.inside):
        assert all(len(set(deal[of == person].tolist())) == 1 for person in np.unique(of))
    apart = worlds.people(0, n=30, shadows=2)
    evidence, _ = shuffle_membership(apart.evidence, apart.member, 1)
    theirs = apart.evidence.shadow_people
    for deal, whose in zip(evidence.inside, theirs, strict=True):
        assert all(len(set(deal[whose == person].tolist())) == 1 for person in np.unique(whose))
    # where somebody is on both sides there is nothing to keep whole
    half = np.arange(len(of)) % 2 == 0
    _, truth = shuffle_membership(world.evidence, half, 1)
    assert truth.sum() == half.sum()


def test_the_shuffled_control_is_of_the_unit():
    world = quiet(4)
    unit = unit_of(world.member, people=world.evidence.audited_people)
    of_people = null_control(LiRA("offline"), world.evidence, world.member, seed=0, unit=unit).auc
    of_records = null_control(LiRA("offline"), world.evidence, world.member, seed=0).auc
    assert of_people.high - of_people.low > 1.5 * (of_records.high - of_records.low)


def test_the_blind_check_finds_sides_that_differ_person_by_person():
    rng, people = np.random.default_rng(0), np.repeat(np.arange(80), 5)
    member = people < 40
    x = rng.normal(size=(400, 4)) + 0.4 * member[:, None]
    got = blind_auc(x, np.zeros(400, int), member, people=people, unit="person", seed=0)
    records = blind_auc(x, np.zeros(400, int), member, people=people, unit="record", seed=0)
    assert got.low > 0.5
    assert got.value > records.value > 0.5
    assert "200 records of 40 members" in got.method
    few = blind_auc(x[:150], np.zeros(150, int), np.arange(150) < 75, people=people[:150], unit="person", seed=0)
    assert few.low is None
    assert "15 members and 15 non-members are too few" in few.reason


def test_copies_on_their_own_side_count_once():
    member = np.repeat([True, False], 40)
    contents = np.concatenate([np.repeat(np.arange(10), 4), 100 + np.arange(40)])
    unit = unit_of(member, contents=contents)
    assert unit.size(member) == (10, 40)
    assert "30 records of members and 0 of non-members are exact copies" in unit.warnings[0]
    assert unit.records(np.arange(80.0), member).inside.tolist() == list(range(0, 40, 4))


def test_what_is_counted_is_decided_once():
    member, people = np.repeat([True, False], 6), np.repeat(np.arange(6), 2)
    assert unit_of(member).name == "record"
    assert unit_of(member, people=people).name == "person"
    assert unit_of(member, people=people, name="record").name == "record"
    with pytest.raises(PlanError, match=r"data\.unit.*nothing says whose"):
        unit_of(member, name="person")
    with pytest.raises(PlanError, match="must be one of person, record; got 'patient'"):
        unit_of(member, name="patient")
    both = np.repeat(np.arange(3), 4)  # the second has two records on each side
    with pytest.raises(PlanError, match="1 person has records among members and non-members"):
        unit_of(member, people=both, name="person")
    unit = unit_of(member, people=both)
    assert unit.name == "record"
    assert unit.persons(np.arange(12.0), member, seed=0) is None
    assert "cannot be told apart" in unit.warnings[0]


def test_many_more_records_on_one_side_are_told():
    people = np.concatenate([np.repeat(np.arange(20), 10), 100 + np.arange(20)])
    unit = unit_of(people < 100, people=people)
    assert "Members have 10.0 records each, non-members 1.0" in unit.warnings[0]
    assert len(unit.persons(np.arange(220.0), people < 100, seed=0).inside) == 20


def arrays(world, **more):
    evidence = world.evidence
    return {
        "target": evidence.target,
        "labels": evidence.audited_labels,
        "member": world.member,
        "shadows": evidence.shadows,
        "inside": evidence.inside,
        "features": evidence.features,
        **more,
    }


def test_stored_outputs_name_people():
    world = quiet(5)
    names = np.array([f"patient {i}" for i in world.evidence.audited_people])
    result = score(stored_outputs(arrays(world, group=names)))
    assert (result.split.unit, result.split.people) == ("person", {"members": 20, "nonmembers": 20})
    assert "20 people who are members" in result.verdict
    assert {a.person.n for a in result.attacks if a.status == "ran"} == {40}
    again = score(stored_outputs(arrays(world, group=names)), unit="record", attacks=["threshold"])
    assert again.split.unit == "record"
    assert again.attacks[0].person is not None
    copies = worlds.people(0, n=80, records=4, correlation=1.0, shadows=4, overlapping=True)
    left = score(stored_outputs(arrays(copies)), attacks=["threshold"])
    assert left.split.copies_left_out == 240
    assert left.split.evaluated_per_side == 40
    assert left.split.people is None
    assert any("exact copies of others on their side" in warning for warning in left.warnings)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (np.array(["a", " "] * 200), "names nobody for 200 records, the first is record 1"),
        (np.array([1.0, np.nan] * 200), "names nobody"),
        (np.arange(399), "its shape is"),
    ],
)
def test_people_who_are_not_named_are_refused(names, message):
    with pytest.raises(DataError, match=message):
        stored_outputs(arrays(quiet(5), group=names))


@pytest.mark.slow
def test_the_command_counts_what_it_is_told(tmp_path):
    from click.testing import CliRunner

    from miaudit.cli import main

    world = quiet(6)
    np.savez(tmp_path / "outputs.npz", **arrays(world, group=world.evidence.audited_people))
    for option, unit in (((), "person"), (("--unit", "record"), "record")):
        ended = CliRunner().invoke(
            main, ["score", str(tmp_path / "outputs.npz"), "--out", str(tmp_path), "--json", *option]
        )
        assert ended.exit_code == 0, ended.output
        result = Result.load(tmp_path)
        assert result.split.unit == unit
        assert ("records of this person" in result.threat_model[0]) == (unit == "person")


def test_accuracies_of_the_target_stand_with_exact_intervals_where_records_are_independent():
    member = np.arange(60) < 40
    correct = np.ones(60, bool)
    correct[50:] = False
    train, test = accuracies(correct, member, unit_of(member))
    assert (train.value, train.low, train.high) == (1.0, *stats.clopper_pearson(40, 40))
    assert (test.low, test.high) == stats.clopper_pearson(10, 20)
    of_people = accuracies(correct, member, unit_of(member, people=np.arange(60) // 2))
    assert (of_people.train_accuracy.value, of_people.train_accuracy.low) == (1.0, None)
