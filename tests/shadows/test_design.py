from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miaudit.errors import SplitError
from miaudit.shadows.design import draw_disjoint

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
