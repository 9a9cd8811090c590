"""Audits without a population: which records serve in its place, what is said of it, and that nothing comes of nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.auditing import case_of_model, case_of_plan
from miaudit.auditing.asking import target_job
from miaudit.auditing.drawing import bystanders_of, draws_of
from miaudit.errors import PlanError, SplitError
from miaudit.plan import Plan


def records(n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    return X, np.where(np.arange(n) < 4, np.arange(n) % 2, X[:, 0] + rng.normal(size=n) > 0).astype(int)


def case(m, n, **options):
    members, nonmembers = records(m, 1), records(n, 2)
    return case_of_model(GaussianNB().fit(*members), members, nonmembers, None, shadows=4, **options)


@pytest.mark.parametrize(
    ("m", "n", "audited", "rest", "source"),
    [(60, 60, (60, 60), 0, None), (90, 30, (30, 30), 60, "members"), (30, 90, (30, 30), 60, "nonmembers")],
)
def test_as_many_of_each_side_are_audited_as_the_smaller_has(m, n, audited, rest, source):
    of = case(m, n)
    assert (len(of.split.members), len(of.split.nonmembers)) == audited
    assert (len(of.split.population), of.split.population_from) == (rest, source)
    assert of.shadows.design == "overlapping"
    assert np.array_equal(np.sort(of.split.training), np.arange(m))
    draws, outside = draws_of(of)
    assert draws.train.shape == (4, m)  # as many as the target's
    assert len(outside) == (0 if source != "nonmembers" else 30) or rest < 100
    if source == "members":
        assert not len(outside)  # of members the target's answers say nothing of others
        assert all(np.isin(of.split.population, train).all() for train in draws.train)
    assert any("No population was given" in note for note in of.notes)


@settings(max_examples=40, deadline=None)
@given(st.integers(30, 60), st.integers(30, 60), st.integers(1, 4), st.integers(0, 9), st.booleans())
@example(42, 41, 3, 9, True)  # a group of the population is cut between the sets
@example(38, 36, 2, 6, True)  # copies of audited records leave the population
def test_every_audited_record_is_on_one_side_of_every_shadow_model(m, n, size, twins, people):
    members, nonmembers = records(m, 1), records(n, 2)
    members[0][:twins] = members[0][-1]  # the same record many times
    names = [np.arange(m) // size, 1000 + np.arange(n) // size, None] if people else None
    model = GaussianNB().fit(*members)
    of = case_of_model(model, members, nonmembers, None, shadows=3, groups=names)
    draws, _ = draws_of(of)
    for train, test in zip(draws.train, draws.test, strict=True):
        assert len(np.unique(train)) == len(train)
        assert (np.isin(draws.audited, train) ^ np.isin(draws.audited, test)).all()
    assert draws.train.shape[1] <= m
    if of.split.population_from is not None:
        assert (of.split.population < m).all() == (of.split.population_from == "members")


def test_a_share_of_the_nonmembers_is_set_apart():
    of = case(40, 100, holdout=0.6)
    assert (len(of.split.nonmembers), len(of.split.population)) == (40, 60)
    assert of.shadows.design == "disjoint"
    with pytest.raises(SplitError, match="sets 0 of 40 non-members apart"):
        case(40, 40, holdout=0.001)
    sides = [records(40, seed) for seed in range(3)]
    with pytest.raises(PlanError, match="where there is no population"):
        case_of_model(GaussianNB().fit(*sides[0]), *sides, holdout=0.5)


def test_what_needs_a_population_is_refused_with_the_ways_there_are():
    with pytest.raises(PlanError, match="disjoint.* three ways.*overlapping.*holdout.*synthetic"):
        case(40, 40, design="disjoint")
    with pytest.raises(PlanError, match="those that are left are members"):
        case(60, 40, outside=5)
    assert case(60, 40, outside=0).sides.outside == 0


def test_copies_leave_the_audit_before_the_rest_is_taken():
    members, nonmembers = records(90, 1), records(40, 2)
    nonmembers[0][:3] = members[0][:3]
    of = case_of_model(GaussianNB().fit(*members), members, nonmembers, None, shadows=4)
    assert len(of.split.nonmembers) == 37
    assert of.split.copies.left_out["nonmembers"] == 3
    assert not np.isin(of.split.population, [0, 1, 2]).any()


def test_the_rest_is_taken_between_records_that_stand_several_times():
    members, nonmembers = (tuple(np.repeat(each, 10, axis=0) for each in records(15, seed)) for seed in (1, 2))
    of = case_of_model(GaussianNB().fit(*members), members, nonmembers, None, shadows=4)
    audited, rest = (set(map(bytes, of.dataset.X[side])) for side in (of.split.nonmembers, of.split.population))
    assert (len(of.split.nonmembers), len(of.split.population)) == (120, 30)
    assert not audited & rest


def test_a_target_of_ours_is_trained_on_all_members_and_bystanders_on_the_rest(tmp_path):
    for name, side in (("a", records(90, 1)), ("b", records(30, 2))):
        np.savez(tmp_path / f"{name}.npz", X=side[0], y=side[1])
    content = {
        "data": {"members": str(tmp_path / "a.npz"), "nonmembers": str(tmp_path / "b.npz")},
        "recipe": {"estimator": "sklearn.naive_bayes.GaussianNB"},
    }
    of = case_of_plan(Plan.of(content))
    assert np.array_equal(np.sort(target_job(of, draws_of(of)[1], None).train), np.arange(90))
    apart, reason = bystanders_of(of)
    assert reason is None
    assert set(apart.ravel()) == set(of.split.population)
    assert of.document["shadows"]["design"] == "overlapping"


def test_the_result_says_what_was_taken_and_which_check_was_not_possible():
    members, nonmembers = records(80, 1), records(80, 2)
    model = DecisionTreeClassifier(random_state=0).fit(*members)
    result = miaudit.audit(model, members=members, nonmembers=nonmembers, shadows=8, attacks=["lira"], jobs=0)
    assert result.verdict_kind == "leak"
    assert "no population was given" in result.verdict
    assert "no population was given" in result.controls.bystander.reason
    assert (result.split.population, result.split.population_from) == (0, None)
    assert any("on nothing else" in line for line in result.threat_model)
    further = miaudit.audit(model, members=members, nonmembers=records(40, 2), shadows=4, attacks=["lira"], jobs=0)
    assert further.split.population_from == "members"
    assert any("40 further members" in line for line in further.threat_model)
    assert any("What this costs in power" in each for each in further.warnings)


@pytest.mark.slow
@pytest.mark.parametrize(("m", "n", "known"), [(100, 100, False), (300, 80, True), (100, 300, False)])
def test_a_target_that_saw_no_audited_record_is_hardly_ever_said_to_leak(m, n, known):
    """``known``: it was trained on the members that are left, which every shadow model knows, too."""
    leaks = 0
    for seed in range(40):
        members, nonmembers = records(m, 3 * seed), records(n, 3 * seed + 1)
        model = GaussianNB().fit(*records(m, 3 * seed + 2))
        if known:
            of = case_of_model(model, members, nonmembers, None, seed=seed)
            rest = of.split.population
            model = GaussianNB().fit(of.dataset.X[rest], of.dataset.y[rest])
        sides = {"members": members, "nonmembers": nonmembers}
        leaks += miaudit.audit(model, **sides, shadows=16, seed=seed, jobs=0).verdict_kind == "leak"
    assert leaks <= 6  # at 5 % more have a probability of 0.3 %
