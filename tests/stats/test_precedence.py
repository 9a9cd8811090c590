"""The test for a few fully exposed members, and what it can see."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from miaudit.errors import DataError, PlanError
from miaudit.stats import critical_count, detectable_exposed, detectable_share, levels, precedence, ranks_of


def null_law(n_in: int, n_out: int, rank: int) -> np.ndarray:
    """(n_in + 1,) chances of each number of members above the rank, by counting every order of the records."""
    counts = np.zeros(n_in + 1)
    for places in combinations(range(n_in + n_out), n_in):
        members = set(places)
        others = [i for i in range(n_in + n_out) if i not in members]
        counts[sum(i > others[n_out - 1 - rank] for i in members)] += 1
    return counts / counts.sum()


@pytest.mark.parametrize(("n_in", "n_out", "rank"), [(4, 5, 0), (5, 4, 1), (3, 6, 2), (6, 3, 2)])
def test_critical_counts_are_those_of_every_order(n_in: int, n_out: int, rank: int) -> None:
    tails = null_law(n_in, n_out, rank)[::-1].cumsum()[::-1]
    for alpha in (0.01, 0.05, 0.2, 0.5):
        surprising = np.flatnonzero(tails <= alpha + 1e-12)
        assert critical_count(n_in, n_out, rank, alpha=alpha + 1e-12) == (surprising[0] if len(surprising) else None)


@pytest.mark.parametrize(("n_in", "n_out"), [(200, 200), (50, 500), (500, 50), (20, 20)])
def test_chance_is_called_a_surprise_no_more_often_than_it_says(n_in: int, n_out: int) -> None:
    rng = np.random.default_rng(0)
    values = np.array([precedence(rng.random(n_in), rng.random(n_out)).p_value for _ in range(3000)])
    for alpha in (0.01, 0.05, 0.2):
        assert (values <= alpha).sum() <= binom.isf(1e-4, len(values), alpha)


def test_ties_make_it_conservative() -> None:
    rng = np.random.default_rng(1)
    values = [precedence(rng.integers(0, 4, 200), rng.integers(0, 4, 200)).p_value for _ in range(500)]
    assert np.mean(np.array(values) <= 0.05) <= 0.05
    assert precedence(np.zeros(50), np.zeros(50)).p_value == 1.0


@pytest.mark.parametrize(
    ("n", "share", "power"), [(200, 0.05, 1.0), (400, 0.05, 1.0), (2000, 0.01, 1.0), (200, 0.04, 0.25)]
)
def test_a_few_members_above_everybody_are_seen_by_one_of_eleven_attacks(n: int, share: float, power: float) -> None:
    rng, level = np.random.default_rng(2), levels(11).few
    reports = 0
    for _ in range(200):
        ins = rng.standard_normal(n)
        ins[rng.permutation(n)[: int(n * share)]] += 100
        reports += precedence(ins, rng.standard_normal(n)).p_value <= level
    assert reports / 200 >= power - 4 * np.sqrt(power * (1 - power) / 200) - 1e-9


@pytest.mark.parametrize(("n_in", "n_out"), [(300, 300), (1000, 200), (200, 1000)])
def test_the_smallest_share_is_seen_in_four_fifths_by_simulation(n_in: int, n_out: int) -> None:
    level = levels(11).few
    share = detectable_share(n_in, n_out, confidence=1 - level).value
    rng = np.random.default_rng(5)
    reports = 0
    for _ in range(500):
        ins = np.where(rng.random(n_in) < share, 2.0, rng.random(n_in))
        reports += precedence(ins, rng.random(n_out)).p_value <= level
    assert 0.74 <= reports / 500 <= 0.92  # all ranks together see somewhat more than the best of them


@pytest.mark.parametrize(("n_in", "n_out", "fpr"), [(1000, 1000, 0.01), (500, 2000, 0.001), (300, 300, 0.1)])
def test_what_it_sees_with_a_power_of_four_fifths_by_simulation(n_in: int, n_out: int, fpr: float) -> None:
    least = detectable_exposed(n_in, n_out, fpr, confidence=0.99)
    share = (least.value - fpr) / (1 - fpr)
    rank = int(fpr * n_out)
    critical = critical_count(n_in, n_out, rank, alpha=0.01)
    rng = np.random.default_rng(3)
    reports = 0
    for _ in range(1000):
        ins = np.where(rng.random(n_in) < share, 2.0, rng.random(n_in))
        reports += np.count_nonzero(ins > np.sort(rng.random(n_out))[-1 - rank]) >= critical
    assert reports / 1000 == pytest.approx(0.8, abs=0.05)


def test_a_thousand_records_a_side_show_four_percent_at_one_percent_over_eleven_attacks() -> None:
    level = 1 - levels(11).few * ranks_of(1000)[10]
    assert detectable_exposed(1000, 1000, 0.01, confidence=level).value < 0.04


@given(st.integers(1, 300))
def test_ranks_are_different_and_leave_somebody_below(n_out: int) -> None:
    ranks = ranks_of(n_out)
    assert list(ranks) == sorted(ranks)
    assert min(ranks) == 0
    assert max(ranks) < n_out
    assert sum(ranks.values()) == pytest.approx(1)


def test_refuses_what_it_cannot_answer() -> None:
    with pytest.raises(DataError):
        precedence([], [1.0])
    with pytest.raises(PlanError, match="rank"):
        critical_count(5, 5, 5, alpha=0.05)
    with pytest.raises(PlanError, match="fpr"):
        detectable_exposed(5, 5, 1.5)
    assert detectable_exposed(1, 1, 0.5).value is None
