from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from miaudit.errors import DataError, PlanError
from miaudit.stats import clopper_pearson, decisions


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [  # published to the digits given
        (84, 1000, 0.06755, None),
        (1, 1000, 0.000025, 0.005559),
        (500, 5000, 0.09182, None),
        (5, 5000, 0.00033, 0.002332),
        (100, 10000, 0.00814, None),
        (0, 10000, 0.0, 0.000369),
        (25, 25000, 0.00065, 0.00148),
    ],
)
def test_clopper_pearson_vectors(k: int, n: int, low: float, high: float | None) -> None:
    got = clopper_pearson(k, n)
    assert got[0] == pytest.approx(low, abs=6e-6)
    assert high is None or got[1] == pytest.approx(high, abs=6e-6)


@given(n=st.integers(1, 300), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_clopper_pearson_inverts_the_binomial_test(n: int, share: float, confidence: float) -> None:
    k, tail = round(share * n), (1 - confidence) / 2
    low, high = clopper_pearson(k, n, confidence)
    assert 0 <= low <= k / n <= high <= 1
    assert (low == 0) == (k == 0)
    assert (high == 1) == (k == n)
    if k:
        assert binom.sf(k - 1, n, low) == pytest.approx(tail, rel=1e-6)
    if k < n:
        assert binom.cdf(k, n, high) == pytest.approx(tail, rel=1e-6)
    flipped = clopper_pearson(n - k, n, confidence)
    assert (1 - flipped[1], 1 - flipped[0]) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("n", "p"), [(10, 0.5), (40, 0.03), (500, 0.9)])
def test_clopper_pearson_covers(n: int, p: float) -> None:
    """Coverage is a finite sum: no simulation needed."""
    covered = sum(binom.pmf(k, n, p) for k in range(n + 1) if clopper_pearson(k, n)[0] <= p <= clopper_pearson(k, n)[1])
    assert covered >= 0.95


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_impossible_counts(k: int, n: int) -> None:
    with pytest.raises(DataError, match="0 <= k <= n"):
        clopper_pearson(k, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, float("nan")])
def test_confidence_out_of_range(confidence: float) -> None:
    with pytest.raises(PlanError, match="confidence"):
        clopper_pearson(1, 2, confidence)


def test_decisions_counts_and_rates() -> None:
    got = decisions([True, True, True, False, False, True], np.array([1, 1, 0, 1, 0, 1], bool))
    assert (got.tp, got.fn, got.fp, got.tn, got.n, got.members) == (3, 1, 1, 1, 6, 4)
    assert (got.precision.value, got.recall.value, got.accuracy.value) == (3 / 4, 3 / 4, 4 / 6)
    assert (got.precision.low, got.precision.high) == clopper_pearson(3, 4)
    assert (got.accuracy.low, got.accuracy.high) == clopper_pearson(4, 6)
    assert got.precision.reason is None


def test_undefined_rates_have_a_reason_and_no_figure() -> None:
    nobody = decisions(np.zeros(4, bool), np.array([True, True, False, False]))
    assert (nobody.precision.value, nobody.precision.low, nobody.precision.high) == (None, None, None)
    assert nobody.precision.reason == "no record was called a member"
    assert nobody.recall.value == 0.0
    one_side = decisions(np.ones(3, bool), np.zeros(3, bool))
    assert (one_side.recall.value, one_side.recall.reason) == (None, "there are no members here")
    assert one_side.precision.value == 0.0


@pytest.mark.parametrize(
    ("decision", "member"),
    [([1, 0], [True, False]), ([True], [True, False]), ([[True]], [[True]]), ([], [])],
)
def test_refuses_other_arrays(decision: list, member: list) -> None:
    with pytest.raises(DataError):
        decisions(np.array(decision), np.array(member))
    with pytest.raises(DataError, match="empty"):
        decisions(np.array([], bool), np.array([], bool))
