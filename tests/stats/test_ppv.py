from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

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


def test_at_a_rank_no_false_positive_is_no_rate_of_zero() -> None:
    (counted,) = ppv(20, 380, 0, 400, priors=[0.01])
    (ranked,) = ppv(20, 380, 0, 400, rank=0, priors=[0.01])
    assert counted.value == 1.0
    assert ranked.value == pytest.approx(0.0005 / (0.0005 + 0.99 / 401))
    assert (ranked.low, ranked.high) == (counted.low, counted.high)
    (tied,) = ppv(20, 380, 3, 397, rank=40, priors=[0.01])
    assert tied.value == pytest.approx(0.0005 / (0.0005 + 0.99 * 4 / 401))
    assert tied.low == ppv(20, 380, 40, 360, priors=[0.01])[0].low  # what the rank allows
    assert tied.high == ppv(20, 380, 3, 397, priors=[0.01])[0].high  # what was seen


@pytest.mark.parametrize("rank", [0, 4, 40])
@pytest.mark.parametrize("steps", [None, 6])
def test_at_a_rank_the_interval_covers_and_the_rate_is_right_in_the_mean(rank: int, steps: int | None) -> None:
    rng, n, d, prior, trials = np.random.default_rng(rank), 100, 1.0, 0.1, 2000
    missed, rates = 0, []
    for _ in range(trials):
        ins, outs = rng.normal(d, 1, n), rng.normal(size=n)
        if steps:
            ins, outs = np.floor(ins * steps / 4), np.floor(outs * steps / 4)
        cut = np.sort(outs)[::-1][rank]
        tp, fp = int((ins > cut).sum()), int((outs > cut).sum())
        edge = (cut + 1) * 4 / steps if steps else cut
        tpr, fpr = norm.sf(edge - d), norm.sf(edge)
        (one,) = ppv(tp, n - tp, fp, n - fp, rank=rank, priors=[prior])
        missed += not one.low <= prior * tpr / (prior * tpr + (1 - prior) * fpr) <= one.high
        rates.append(fpr)
    assert missed <= binom.ppf(0.999, trials, 0.05)
    if not steps:
        assert np.mean(rates) == pytest.approx((rank + 1) / (n + 1), rel=0.08)


def test_refuses_bad_input() -> None:
    with pytest.raises(
        DataError, match="rank must lie between fp and the number of non-members, 3 <= rank < 10, got 2"
    ):
        ppv(1, 9, 3, 7, rank=2)
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
