from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from miaudit.errors import DataError, PlanError
from miaudit.stats import auc, auc_interval, detectable_auc, detectable_tpr, tpr_at_fpr
from miaudit.stats.power import _shift_sd

TRIALS = 600


@pytest.mark.parametrize(
    ("n_in", "n_out", "confidence", "power"),
    [(15, 15, 0.95, 0.8), (30, 300, 0.95, 0.8), (100, 100, 0.99, 0.8), (400, 400, 0.95, 0.9)],
)
def test_an_auc_at_the_edge_is_reported_with_this_power(n_in: int, n_out: int, confidence: float, power: float) -> None:
    found = detectable_auc(n_in, n_out, confidence=confidence, power=power)
    assert found.value is not None
    rng, shift = np.random.default_rng(n_in), np.sqrt(2) * ndtri(found.value)
    reported = [
        auc_interval(rng.normal(shift, 1, n_in), rng.normal(size=n_out), confidence=confidence).low > 0.5
        for _ in range(TRIALS)
    ]
    assert np.mean(reported) == pytest.approx(power, abs=0.06)


@pytest.mark.parametrize(("n_in", "n_out", "fpr"), [(300, 300, 0.1), (20, 500, 0.01), (1000, 5000, 0.001)])
def test_a_tpr_at_the_edge_is_reported_with_this_power(n_in: int, n_out: int, fpr: float) -> None:
    found = detectable_tpr(n_in, n_out, fpr)
    assert found.value is not None
    rng, shift = np.random.default_rng(n_in), ndtri(found.value) - ndtri(fpr)
    reported = [tpr_at_fpr(rng.normal(shift, 1, n_in), rng.normal(size=n_out), fpr).low > fpr for _ in range(TRIALS)]
    assert np.mean(reported) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("d", [0.0, 0.4, 1.5])
def test_the_spread_of_an_area_is_that_of_its_definition(d: float) -> None:
    h, n_in, n_out = d / np.sqrt(2), 12, 30
    area = float(multivariate_normal.cdf([h], cov=[[1.0]]))
    both = float(multivariate_normal.cdf([h, h], cov=[[1.0, 0.5], [0.5, 1.0]]))
    variance = (area * (1 - area) + (n_in + n_out - 2) * (both - area**2)) / (n_in * n_out)
    assert _shift_sd(h, n_in, n_out) ** 2 == pytest.approx(variance, rel=1e-4)
    if d == 0:
        assert variance == pytest.approx((n_in + n_out + 1) / (12 * n_in * n_out), rel=1e-4)
    rng = np.random.default_rng(1)
    areas = [auc(rng.normal(d, 1, n_in), rng.normal(size=n_out)) for _ in range(1500)]
    assert np.std(areas) == pytest.approx(np.sqrt(variance), rel=0.06)


@given(n_in=st.integers(20, 3000), n_out=st.integers(20, 3000), fpr=st.floats(0.02, 0.5))
@settings(max_examples=40, deadline=None)
def test_more_records_and_less_power_show_less(n_in: int, n_out: int, fpr: float) -> None:
    area = detectable_auc(n_in, n_out).value
    assert area is not None
    assert 0.5 < detectable_auc(2 * n_in, 2 * n_out).value < area < detectable_auc(n_in, n_out, power=0.9).value < 1
    assert area < detectable_auc(n_in, n_out, confidence=0.99).value
    assert area == pytest.approx(detectable_auc(n_out, n_in).value)
    rate, surer = detectable_tpr(n_in, n_out, fpr).value, detectable_tpr(n_in, n_out, fpr, power=0.9).value
    if rate is not None and surer is not None:
        assert fpr < rate < surer <= 1


def test_says_so_where_nothing_could_be_shown() -> None:
    few = detectable_auc(3, 3)
    assert few.value is None
    assert few.reason == "with 3 members and 3 non-members not even an AUC of 1 can be told from 0.5"
    assert auc_interval(np.ones(3), np.zeros(3)).low <= 0.5
    rate = detectable_tpr(100, 500, 0.001)
    assert rate.value is None
    assert "500 non-members cannot bound an FPR by 0.001" in str(rate.reason)
    assert tpr_at_fpr(np.ones(100), np.zeros(500), 0.001).low == 0.0
    members = detectable_tpr(3, 500, 0.5)
    assert "3 members cannot show a TPR above 0.5" in str(members.reason)
    assert tpr_at_fpr(np.ones(3), np.zeros(500), 0.5).low <= 0.5


@pytest.mark.parametrize("n_out", [4450, 5000, 20_000])
def test_a_rate_is_out_of_reach_exactly_where_its_interval_is(n_out: int) -> None:
    shown = tpr_at_fpr(np.ones(50), np.zeros(n_out), 0.001).low > 0.001
    assert shown == (detectable_tpr(50, n_out, 0.001).value is not None)


def test_refuses_bad_input() -> None:
    with pytest.raises(DataError, match="n_in=0 and n_out=5"):
        detectable_auc(0, 5)
    with pytest.raises(DataError, match="n_out must be a whole number"):
        detectable_tpr(5, float("nan"), 0.1)
    with pytest.raises(PlanError, match=r"power must lie in \[0.5, 1\), got 0.2"):
        detectable_auc(5, 5, power=0.2)
    with pytest.raises(PlanError, match="confidence"):
        detectable_auc(5, 5, confidence=95)
    with pytest.raises(PlanError, match="fpr must lie between"):
        detectable_tpr(5, 5, 0.0)
