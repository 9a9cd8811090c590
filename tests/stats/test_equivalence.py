"""How many records show that a figure lies below a margin: against simulation, and the numbers of the literature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom

from miaudit import stats
from miaudit.errors import PlanError

TRIALS = 300


def test_sizes_are_those_that_are_known():
    assert [stats.auc_size(0.55, confidence=c) for c in (0.95, 0.975)] == pytest.approx([412, 523], abs=4)
    assert stats.auc_size(0.55, tests=11, confidence=0.975) == pytest.approx(1070, abs=5)


@pytest.mark.parametrize("tests", [1, 4])
def test_so_many_records_show_an_area_of_chance_to_be_below_the_margin(tests):
    n, rng = stats.auc_size(0.6, tests=tests), np.random.default_rng(tests)

    def below() -> bool:
        return stats.auc_interval(rng.normal(size=n), rng.normal(size=n), confidence=0.9).high < 0.6

    passed = np.mean([all(below() for _ in range(tests)) for _ in range(TRIALS)])
    assert passed == pytest.approx(0.8, abs=3 * (0.16 / TRIALS) ** 0.5)


def test_so_many_records_show_a_rate_of_chance_to_be_below_the_margin():
    n, rng = stats.tpr_size(0.1, 0.3), np.random.default_rng(0)
    counts = [stats.rank_counts(rng.normal(size=n), rng.normal(size=n)) for _ in range(TRIALS)]
    passed = np.mean([stats.tpr_ends(each, n, 0.1, high_error=0.05)[1] < 0.3 for each in counts])
    assert passed == pytest.approx(0.8, abs=3 * (0.16 / TRIALS) ** 0.5)


def test_so_many_guesses_show_coin_flips_to_be_below_the_margin():
    n = stats.guesses_size(0.7)
    powers = [
        sum(binom.pmf(k, size, 0.5) for k in range(size + 1) if stats.clopper_pearson(k, size, 0.9)[1] < 0.7)
        for size in (n - 1, n)
    ]
    assert powers[0] < 0.8 <= powers[1]


def test_more_tests_and_narrower_margins_need_more():
    assert stats.auc_size(0.55) < stats.auc_size(0.55, tests=11) < stats.auc_size(0.53, tests=11)
    assert stats.tpr_size(0.01, 0.05) < stats.tpr_size(0.01, 0.05, tests=11) < stats.tpr_size(0.01, 0.03, tests=11)
    assert stats.auc_size(0.500001) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.auc_size(0.5),
        lambda: stats.auc_size(0.6, tests=0),
        lambda: stats.auc_size(0.6, power=1.0),
        lambda: stats.tpr_size(0.1, 0.1),
        lambda: stats.guesses_size(0.5),
    ],
)
def test_impossible_questions_are_refused(call):
    with pytest.raises(PlanError):
        call()


def test_what_reaches_the_margin_is_seldom_shown_to_lie_below_it():
    """The error of a pass, for an area at the margin and for a rate at it: at most 5 %."""
    rng, n, shift = np.random.default_rng(3), 250, 2**0.5 * ndtri(0.6)
    rate = ndtri(0.3) - ndtri(0.1)  # a shift by which the TPR at an FPR of 10 % is 30 %
    passed = np.zeros(2)
    for _ in range(TRIALS):
        ins, outs = rng.normal(size=n), rng.normal(size=n)
        passed += (
            stats.auc_interval(ins + shift, outs, confidence=0.9).high < 0.6,
            stats.tpr_ends(stats.rank_counts(ins + rate, outs), n, 0.1, high_error=0.05)[1] < 0.3,
        )
    assert (passed <= binom.isf(1e-3, TRIALS, 0.05)).all()
