from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from miaudit.errors import DataError, PlanError
from miaudit.stats import coverage, places, spearman


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=40))
def test_spearman_is_scipys_with_ties_too(pairs):
    first, second = map(np.array, zip(*pairs, strict=True))
    got = spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert got is None
    else:
        assert got == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
        assert spearman(first, -second) == pytest.approx(-got, abs=1e-12)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_places_count_who_scores_higher(scores):
    assert places(scores).tolist() == [1 + sum(other > one for other in scores) for one in scores]


@given(st.integers(1, 4), st.integers(1, 30), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_coverage_is_what_sets_say(k, n, share, seed):
    table = np.random.default_rng(seed).integers(0, 8, (k, n)).astype(float)
    got = coverage(table, share)
    size = max(1, round(share * n))
    firsts = [{i for i in range(n) if row[i] >= sorted(row, reverse=True)[size - 1]} for row in table]
    assert got.size == size
    assert set(np.flatnonzero(got.in_every)) == set.intersection(*firsts)
    assert set(np.flatnonzero(got.in_any)) == set.union(*firsts)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: spearman([1.0], [2.0]), DataError, "at least two"),
        (lambda: spearman([1.0, 2.0], [2.0]), DataError, "two scorings of the same records"),
        (lambda: spearman([1.0, np.nan], [2.0, 3.0]), DataError, "finite"),
        (lambda: places([]), DataError, "at least one"),
        (lambda: coverage(np.zeros(3), 0.1), DataError, "scorings, records"),
        (lambda: coverage(np.zeros((2, 3)), 1.0), PlanError, "between 0 and 1"),
    ],
)
def test_refuses(call, error, says):
    with pytest.raises(error, match=says):
        call()
