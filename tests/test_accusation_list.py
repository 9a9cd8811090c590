"""The list of accusations of a result: its counts, its column, and what is not judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from miaudit import stats
from miaudit.attacks import Scores, Threshold
from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.findings import Trial, Trials, examine, unit_of
from miaudit.findings.accusations import accusations_of
from miaudit.report.plain import who_is_named
from miaudit.result import BlindControl, Interval, Result
from miaudit.testing import worlds

UNCHECKED = BlindControl(method="none", auc=Interval(value=None, low=None, high=None), confounded=None, reason="none")
MEMBER = np.arange(400) % 2 == 0


def shifted(seed: int, d: float = 3.0) -> Scores:
    return Scores(np.random.default_rng(seed).normal(size=400) + d * MEMBER)


def test_the_column_holds_the_list_and_nobody_of_those_set_apart() -> None:
    document, accused = accusations_of("x", shifted(0), MEMBER, unit_of(MEMBER), seed=0)
    judged = np.array([each is not None for each in accused])
    called = np.array([each is True for each in accused])
    assert (document.members, document.nonmembers, document.set_apart) == (200, 100, 100)
    assert judged[MEMBER].all()
    assert judged[~MEMBER].sum() == 100
    assert document.named == called.sum() > 100
    assert document.of_members == called[MEMBER].sum()
    assert document.false == called[~MEMBER].sum()
    assert who_is_named(document).startswith("among 200 members and 100 non-members (records) 'x' names ")


def test_wrong_names_are_few_on_average_whatever_the_scores() -> None:
    shares = []
    for seed in range(200):
        document, _ = accusations_of("x", shifted(seed, 2.0), MEMBER, unit_of(MEMBER), seed=seed)
        assert document.named is not None
        assert document.false is not None
        shares.append(document.false / max(document.named, 1))
    assert np.mean(shares) <= 0.1 * 100 / 300 + 3 * np.std(shares) / 200**0.5


def test_nobody_is_named_where_nothing_leaks_and_the_sentence_says_so() -> None:
    none = [accusations_of("x", shifted(seed, 0.0), MEMBER, unit_of(MEMBER), seed=seed)[0] for seed in range(40)]
    assert sum(each.named == 0 for each in none) >= 36  # named at all in at most 1 of 30 on average
    quiet = next(each for each in none if each.named == 0)
    assert who_is_named(quiet) == (
        "'x' can name nobody among 200 members and 100 non-members (records) so that at most 10 % of the named are "
        "non-members on average"
    )


def test_records_without_a_score_and_copies_are_not_judged() -> None:
    missing, unit = np.arange(400) < 40, unit_of(MEMBER)
    unit = replace(unit, counted=np.arange(400) < 380)
    document, accused = accusations_of("x", replace(shifted(1), missing=missing), MEMBER, unit, seed=0)
    assert document.members == 170
    assert all(each is None for each in accused[:40])
    assert all(each is None for each in accused[380:])


def test_people_are_named_as_one_and_records_of_people_are_not_named() -> None:
    people = np.arange(400) // 4
    member = people % 2 == 0
    scores = Scores(np.random.default_rng(0).normal(size=400) + 3.0 * member)
    document, accused = accusations_of("x", scores, member, unit_of(member, people=people), seed=0)
    assert (document.unit, document.members, document.nonmembers) == ("person", 50, 25)
    for person in range(100):
        assert len(set(accused[people == person])) == 1
    assert document.named == sum(accused[4 * person] is True for person in range(100)) > 0
    refused, nobody = accusations_of("x", scores, member, unit_of(member, people=people, name="record"), seed=0)
    assert refused.named is None
    assert "no independent draws" in str(refused.reason)
    assert set(nobody) == {None}


def test_so_few_records_give_no_list_and_the_reason_stands_in_its_place() -> None:
    member = np.arange(20) % 2 == 0
    document, accused = accusations_of("x", Scores(member * 1.0), member, unit_of(member), seed=0)
    assert (document.named, document.of_members, document.false) == (None, None, None)
    assert "5 non-members set apart are too few" in str(document.reason)
    assert set(accused) == {None}
    assert "gives no list of names" in who_is_named(document)


def test_an_audit_lists_by_the_attack_that_leads_and_the_table_comes_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    world = worlds.memoriser(n=400, shadows=6, overlapping=True)
    evidence = world.evidence
    arrays = {"target": evidence.target, "labels": evidence.audited_labels, "member": world.member}
    arrays |= {"shadows": evidence.shadows, "inside": evidence.inside}
    result = score(stored_outputs(arrays), out=tmp_path)
    lead = result.lead
    assert lead is not None
    assert result.accusations is not None
    assert result.accusations.attack == lead.name
    again = Result.load(tmp_path)
    assert again.accusations == result.accusations
    column = [record["accused"] for record in again.records]
    assert column.count(True) == result.accusations.named
    assert column.count(None) == result.accusations.set_apart
    assert [p.fnr for p in lead.tnr_at_fnr] == [0.1, 0.01, 0.001]
    scores = np.array([record[lead.name] for record in again.records])
    point = stats.tnr_at_fnr(scores[world.member], scores[~world.member], 0.1)
    assert (lead.tnr_at_fnr[0].tnr, lead.tnr_at_fnr[0].low) == (point.tnr, point.low)


@pytest.mark.parametrize("name", ["record", "person"])
def test_the_rate_of_cleared_non_members_has_bounds_where_draws_are_independent(name) -> None:  # type: ignore[no-untyped-def]
    world = worlds.people(0, n=60, records=5)
    evidence = world.evidence
    unit = unit_of(world.member, people=evidence.audited_people, name=name)
    found = examine(
        Trials([Trial(Threshold(), evidence, "threshold")], world.member, unit, tuple("abcde")),
        evidence.audited_labels,
        blind=UNCHECKED,
    ).attacks[0]
    assert all(p.low is None and not p.resolvable and "per person" in str(p.reason) for p in found.tnr_at_fnr)
    assert found.person is not None
    assert all(p.low is not None for p in found.person.tnr_at_fnr)
