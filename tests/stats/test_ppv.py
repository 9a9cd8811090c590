from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from miaudit.errors import DataError, PlanError
from miaudit.stats import ppv

COUNT = st.integers(0, 200)


def test_known_values() -> None:
    rare, tenth, half = ppv(50, 50, 1, 99)
    assert [one.prior for one in (rare, tenth, half)] == [0.01, 0.1, 0.5]
    assert rare.value == pytest.approx(0.005 / (0.005 + 0.0099))
    assert half.value == pytest.approx(50 / 51)
    assert tenth.value == pytest.approx(0.05 / (0.05 + 0.009))


def test_nobody_called_a_member_is_undefined_with_a_reason() -> None:
    (one,) = ppv(0, 100, 0, 100, priors=[0.5])
    assert one.value is None
    assert one.reason == "no record was called a member"
    assert (one.low, one.high) == (0.0, 1.0)


@given(tp=COUNT, fn=COUNT, fp=COUNT, tn=COUNT, prior=st.floats(0.001, 0.9))
def test_the_interval_holds_its_value_and_rises_with_the_prior(
    tp: int, fn: int, fp: int, tn: int, prior: float
) -> None:
    if not tp + fn or not fp + tn:
        return
    one, more = ppv(tp, fn, fp, tn, priors=[prior, prior + 0.05])
    assert 0 <= one.low <= one.high <= 1
    assert one.low <= more.low
    assert one.high <= more.high
    if one.value is not None:
        assert one.low <= one.value <= one.high
        assert one.reason is None
    wider = ppv(tp, fn, fp, tn, priors=[prior], confidence=0.99)[0]
    assert wider.low <= one.low <= one.high <= wider.high


@pytest.mark.parametrize(("tpr", "fpr", "prior"), [(0.3, 0.05, 0.1), (0.9, 0.5, 0.01), (0.1, 0.1, 0.5)])
def test_the_interval_covers(tpr: float, fpr: float, prior: float) -> None:
    """A finite sum over all counts."""
    n, truth, covered = 40, prior * tpr / (prior * tpr + (1 - prior) * fpr), 0.0
    weight = np.outer(binom.pmf(np.arange(n + 1), n, tpr), binom.pmf(np.arange(n + 1), n, fpr))
    for tp, fp in zip(*np.nonzero(weight > 1e-8), strict=True):
        (one,) = ppv(tp, n - tp, fp, n - fp, priors=[prior])
        covered += weight[tp, fp] * (one.low <= truth <= one.high)
    assert covered >= 0.95


def test_refuses_bad_input() -> None:
    with pytest.raises(PlanError, match="a prior must lie between 0 and 1, both excluded, got 1"):
        ppv(1, 1, 1, 1, priors=[1])
    with pytest.raises(PlanError, match="write 1 % as 0.01"):
        ppv(1, 1, 1, 1, priors=[float("nan")])
    with pytest.raises(PlanError, match="confidence"):
        ppv(1, 1, 1, 1, confidence=95)
    with pytest.raises(DataError, match="tp must be a whole number"):
        ppv(-1, 1, 1, 1)
    with pytest.raises(DataError, match="members and non-members"):
        ppv(1, 1, 0, 0)
