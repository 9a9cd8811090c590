"""A ROC curve in counts by rank, and bounds from it."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miaudit import stats
from miaudit.errors import DataError, PlanError

SCORES = st.lists(st.integers(0, 12), min_size=1, max_size=30).map(np.array)


@given(SCORES, SCORES)
def test_counts_are_what_counting_gives(ins, outs):
    counts = stats.rank_counts(ins, outs)
    falling = np.sort(outs)[::-1]
    thresholds = [np.inf, *np.unique(np.concatenate([ins, outs]))]
    assert counts.ranks.tolist() == list(range(len(outs) + 1))
    for rank, allowed, above in zip(*counts, strict=True):
        assert allowed == max((ins >= t).sum() for t in thresholds if (outs >= t).sum() <= rank)
        if rank:
            score = falling[rank - 1]
            lot = Fraction(int((ins == score).sum() * (rank - (outs > score).sum())), int((outs == score).sum() + 1))
            assert above == (ins > score).sum() + ceil(lot)
        else:
            assert above == 0


def test_the_ends_are_those_of_the_whole_curve_where_nothing_is_tied_and_all_ranks_are_kept():
    rng = np.random.default_rng(0)
    ins, outs = rng.normal(0.5, 1, 60), rng.normal(0, 1, 50)
    counts = stats.rank_counts(ins, outs)
    for fpr in (0.01, 0.1, 0.3):
        for error in (0.05, 0.001):
            whole = stats.tpr_at_fpr(ins, outs, fpr, confidence=1 - 2 * error)
            assert stats.tpr_ends(counts, 60, fpr, low_error=error, high_error=error) == (whole.low, whole.high)


def test_ranks_left_out_only_widen_and_by_little():
    rng = np.random.default_rng(1)
    ins, outs = rng.normal(1, 1, 5000), rng.normal(0, 1, 5000)
    counts = stats.rank_counts(ins, outs)
    assert len(counts.ranks) < 320
    for fpr in (0.001, 0.01, 0.1):
        whole = stats.tpr_at_fpr(ins, outs, fpr)
        low, high = stats.tpr_ends(counts, 5000, fpr)
        assert whole.low - 0.02 < low <= whole.low <= whole.high <= high < whole.high + 0.02


def test_an_attacker_who_breaks_ties_by_lot_seldom_exceeds_the_upper_end():
    """At an FPR of 10 % it accuses all of the highest value, 8 % of the non-members, and 1 of 11 of the next."""
    rng = np.random.default_rng(2)
    exceeded = 0
    for _ in range(400):
        ins, outs = rng.choice(4, 80, p=[0.2, 0.3, 0.3, 0.2]), rng.choice(4, 80, p=[0.4, 0.3, 0.22, 0.08])
        exceeded += stats.tpr_ends(stats.rank_counts(ins, outs), 80, 0.1, high_error=0.05)[1] < 0.2 + 0.3 / 11
    assert exceeded <= 32  # 5 % of 400, and three standard deviations


def test_what_cannot_be_is_refused():
    counts = stats.rank_counts([1.0, 2.0], [0.0, 1.5])
    with pytest.raises(PlanError, match="fpr must be a fraction"):
        stats.tpr_ends(counts, 2, 1.5)
    with pytest.raises(DataError, match="2 members are counted, of 1"):
        stats.tpr_ends(counts, 1, 0.1)


def test_members_tied_with_few_non_members_are_within_reach():
    """Of 1,000 members and 125 non-members who share the highest score, two of five may be accused at an FPR of 1 %."""
    ins, outs = np.repeat([1.0, 0.0], [1000, 4000]), np.repeat([1.0, 0.0], [125, 4875])
    assert stats.tpr_ends(stats.rank_counts(ins, outs), 5000, 0.01, high_error=0.05)[1] > 0.08
