from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miaudit.attacks import USUAL, LiRA, Ratio
from miaudit.errors import DataError, SplitError
from miaudit.evidence import Evidence
from miaudit.shadows.design import draw_disjoint, draw_outside, draw_overlapping, overlapping_sizes
from miaudit.stats import auc

POPULATION = np.arange(100, 200)


@given(st.integers(1, 6), st.integers(1, 50), st.integers(1, 50), st.integers(0, 9))
def test_every_shadow_draws_disjoint_sets_of_the_right_size_from_the_population(shadows, train, test, seed):
    draws = draw_disjoint(POPULATION, shadows=shadows, train=train, test=test, seed=seed)
    assert draws.train.shape == (shadows, train)
    assert draws.test.shape == (shadows, test)
    for one, two in zip(draws.train, draws.test, strict=True):
        both = np.concatenate([one, two])
        assert len(np.unique(both)) == train + test
        assert np.isin(both, POPULATION).all()


def test_a_draw_belongs_to_its_shadow_and_not_to_their_number():
    few = draw_disjoint(POPULATION, shadows=3, train=20, test=20, seed=1)
    many = draw_disjoint(POPULATION, shadows=8, train=20, test=20, seed=1)
    np.testing.assert_array_equal(few.train, many.train[:3])
    assert few.sha256 != many.sha256
    assert few.sha256 == draw_disjoint(POPULATION, shadows=3, train=20, test=20, seed=1).sha256
    assert few.sha256 != draw_disjoint(POPULATION, shadows=3, train=20, test=20, seed=2).sha256


def test_every_record_is_drawn_equally_often():
    draws = draw_disjoint(POPULATION, shadows=2000, train=30, test=30, seed=3)
    often = np.bincount(draws.train.ravel(), minlength=200)[100:] / 2000
    assert abs(often - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 2000)


@given(st.integers(0, 50), st.integers(2, 12))
def test_with_groups_nobody_is_on_both_sides(seed, people):
    groups = np.random.default_rng(seed).integers(0, people * 5, size=200)
    draws = draw_disjoint(POPULATION, shadows=4, train=25, test=25, seed=seed, groups=groups)
    for one, two in zip(draws.train, draws.test, strict=True):
        assert not np.intersect1d(groups[one], groups[two]).size
        assert len(np.unique(np.concatenate([one, two]))) == 50


def test_sizes_that_do_not_fit_are_told_with_what_would():
    with pytest.raises(SplitError, match="120 in all; the population has 100: at most 50 of each fit"):
        draw_disjoint(POPULATION, shadows=1, train=60, test=60, seed=0)


def test_groups_that_do_not_fit_are_told():
    with pytest.raises(SplitError, match="whole groups"):
        draw_disjoint(POPULATION, shadows=1, train=40, test=40, seed=0, groups=np.zeros(200, dtype=int))


AUDITED = np.arange(100)


@given(st.integers(1, 5), st.integers(2, 120), st.integers(1, 120), st.integers(0, 9))
def test_every_audited_record_is_on_one_side_of_every_overlapping_shadow(shadows, train, test, seed):
    test_size, need = overlapping_sizes(AUDITED, train=train, test=test)
    population = np.arange(200, 200 + need)  # just enough
    draws = draw_overlapping(AUDITED, population, shadows=shadows, train=train, test=test, seed=seed)
    assert draws.train.shape == (shadows, train)
    assert draws.test.shape == (shadows, test_size)
    for one, two in zip(draws.train, draws.test, strict=True):
        assert len(np.unique(np.concatenate([one, two]))) == train + test_size
        assert np.isin(one, AUDITED).sum() == min(50, train)
        assert np.isin(AUDITED, np.concatenate([one, two])).all()
    np.testing.assert_array_equal(draws.asked[:, :100], np.tile(AUDITED, (shadows, 1)))
    assert all(len(np.unique(row)) == len(row) for row in draws.asked)  # nothing is asked twice
    np.testing.assert_array_equal(draws.inside.sum(axis=1), train)
    few = draw_overlapping(AUDITED, population, shadows=1, train=train, test=test, seed=seed)
    np.testing.assert_array_equal(few.train, draws.train[:1])


@given(st.integers(0, 50), st.integers(5, 40))
def test_whole_groups_of_audited_records_stay_together(seed, people):
    groups = np.random.default_rng(seed).integers(0, people, size=500)
    groups[100:] += 1000  # the population holds other people
    draws = draw_overlapping(AUDITED, np.arange(100, 500), shadows=3, train=100, test=100, seed=seed, groups=groups)
    for one, two in zip(draws.train, draws.test, strict=True):
        assert not np.intersect1d(groups[one], groups[two]).size
        assert np.isin(AUDITED, np.concatenate([one, two])).all()


def test_a_group_larger_than_half_of_the_audited_records_is_told():
    groups = np.repeat([0, 1], [100, 300])
    with pytest.raises(SplitError, match="no whole group"):
        draw_overlapping(AUDITED, np.arange(100, 400), shadows=1, train=100, test=100, seed=0, groups=groups)


def test_disjoint_shadows_answer_the_audited_records_and_those_set_aside():
    draws = replace(
        draw_disjoint(POPULATION, shadows=2, train=20, test=20, seed=1), audited=AUDITED, aside=np.arange(3)
    )
    assert draws.asked.shape == (2, 100 + 40 + 3)
    assert not draws.inside[:, :100].any()
    assert not draws.inside[:, -3:].any()
    np.testing.assert_array_equal(draws.asked[:, 100:120], draws.train)


@given(st.integers(0, 120), st.integers(0, 120), st.integers(0, 9))
def test_records_outside_are_set_apart_where_shadows_can_spare_them(most, need, seed):
    chosen, apart = draw_outside(np.arange(1000, 1300), most=most, need=need, seed=seed)
    assert len(np.unique(chosen)) == len(chosen) == most  # there is always room here
    assert apart == (most > 0)
    small, apart = draw_outside(POPULATION, most=most, need=need, seed=seed)
    assert (len(small), apart) == (min(most, 100), 0 < min(most, 100) <= 100 - need)
    small, apart = draw_outside(POPULATION, most=most, need=need, seed=seed, fewer=True)
    assert len(small) == (min(most, 100 - need) if apart else min(most, 100))
    assert apart == (0 < most <= 100 - need or (most >= 100 and need == 0))


@pytest.mark.slow
def test_attacks_find_nothing_where_nothing_is_but_an_exact_half_would_give_members_away():
    """The null, through the real draws: answers that do not depend on membership, at 8, 16 and 32 models.

    The mean area of 8 trials with 1,600 records lies within 4 standard deviations, 0.020, of 1/2 for every attack that
    reads who is inside. With every record inside exactly half of all models, the target among them, it does not.
    """
    attacks = [attack for attack in USUAL if "overlapping" in attack.needs]
    assert len(attacks) == 9
    assert attacks[-1] == Ratio()  # for few models, and the only one that learns
    n, trials = 1600, 8
    tolerance = 4 * np.sqrt((n + 1) / (3 * n * n)) / np.sqrt(trials)
    member = np.arange(n) < n // 2
    exact = []
    for models in (8, 16, 32):
        tried = attacks if models == 8 else attacks[:-1]
        areas = np.zeros((trials, len(tried)))
        for trial in range(trials):
            rng = np.random.default_rng([models, trial])
            draws = draw_overlapping(np.arange(n), np.arange(n, n + 9), shadows=models, train=800, test=800, seed=trial)
            logit = rng.normal(0.0, 1.0, n) + rng.normal(0.0, 1.0, (models + 1, n))  # records differ, models do not
            p = 1 / (1 + np.exp(-logit))
            said = np.stack([p, 1 - p], axis=2)
            labels = np.zeros(n, int)
            evidence = Evidence(said[0], said[1:], draws.inside[:, :n], labels)
            for i, attack in enumerate(tried):
                score = attack.score(evidence)
                areas[trial, i] = auc(score[member], score[~member])
            if models == 8:
                half = np.argsort(rng.random((models, n)), axis=0) < models // 2  # the first is the target
                score = LiRA(variance="per-example").score(Evidence(said[0], said[1:8], half[1:], labels))
                exact.append(auc(score[half[0]], score[~half[0]]))
        assert abs(areas.mean(axis=0) - 0.5).max() < tolerance
    assert np.mean(exact) < 0.5 - 2 * tolerance


@pytest.mark.parametrize("design", ["disjoint", "overlapping"])
def test_more_shadows_than_memory_holds_draws_of_are_refused_before_the_first_is_drawn(design):
    numbers, sizes = np.arange(2000), {"shadows": 10**9, "train": 500, "test": 500, "seed": 0}
    draw = draw_disjoint if design == "disjoint" else partial(draw_overlapping, numbers[:500])
    with pytest.raises(DataError, match="draws of 1,000,000,000 shadow models: .* of memory"):
        draw(numbers, **sizes)
