"""The share of one kind in a mixture: its interval covers, also where a rate is 0 or 1 or there are ten records."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from miaudit import stats
from miaudit.errors import DataError


def law(n: int, rate: float) -> np.ndarray:
    """Return how often each count of 0 to n comes out."""
    return np.asarray(binom.pmf(np.arange(n + 1), n, rate))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("second", [0.5, 0.9])
def test_the_interval_covers_by_a_finite_sum(second: float, share: float) -> None:
    """Ten records of the mixture, beside forty of each kind of whom as many are called so as is expected."""
    first, missed = 0.1, 0.0
    weights = law(10, (1 - share) * first + share * second)
    for count, weight in enumerate(weights):
        _, low, high = stats.mixture_share((count, 10), (4, 40), (round(40 * second), 40))
        missed += weight * (not low <= share <= high)
    assert missed <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("mixed", "kinds"), [(10, 10), (10, 200), (50, 50), (200, 200)])
def test_the_interval_covers_where_all_three_rates_are_drawn(mixed: int, kinds: int) -> None:
    rng, trials = np.random.default_rng(0), 1000
    for share, second in product((0.0, 0.05, 0.5, 0.9), (0.5, 0.9)):
        totals = np.array([mixed, kinds, kinds])
        rates = [(1 - share) * 0.1 + share * second, 0.1, second]
        counts = rng.binomial(totals, rates, (trials, 3))
        missed = 0
        for of in counts[counts[:, 2] > counts[:, 1]]:
            _, low, high = stats.mixture_share(*zip(of.tolist(), totals.tolist(), strict=True))
            missed += not low <= share <= high
        assert missed <= binom.ppf(0.999, trials, 0.05)


def test_many_records_give_the_share_of_the_delta_method() -> None:
    rates, total = np.array([0.35, 0.1, 0.6]), 20_000
    value, low, high = stats.mixture_share(*((round(rate * total), total) for rate in rates))
    slopes = np.array([1.0, value - 1, -value]) / 0.5
    half = 1.96 * np.sqrt((rates * (1 - rates) / total * slopes**2).sum())
    assert value == pytest.approx(0.5)
    assert (low, high) == pytest.approx((value - half, value + half), abs=5e-4)


def test_no_deleted_record_called_trained_leaves_a_share_open() -> None:
    value, low, high = stats.mixture_share((0, 10), (0, 50), (25, 50))
    assert (value, low) == (0.0, pytest.approx(0.0, abs=0.2))
    assert 0.5 < high < 0.8
    with pytest.raises(DataError, match=r"got 0\.5 and 0\.5"):
        stats.mixture_share((1, 2), (1, 2), (1, 2))


@pytest.mark.parametrize(("mixed", "first", "share"), [(100, 20, 1.0), (0, 60, -1.0)])
def test_a_mixture_that_lies_beyond_both_kinds_has_the_share_next_to_it(mixed: int, first: int, share: float) -> None:
    assert stats.mixture_share((mixed, 100), (first, 100), (80, 100)) == (share, share, share)
