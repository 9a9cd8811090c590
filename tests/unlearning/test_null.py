"""Calibration: where the deletion is a retraining, a deletion audit reports traces in at most one run of twenty."""

from __future__ import annotations

from collections import Counter

import pytest
from deletions import small
from scipy.stats import binom

RUNS, POSITIVE = 200, 20


def kinds(procedure: str, runs: int) -> tuple[Counter[str], int]:
    """Return how often each verdict comes out in small worlds of their own, and how often the pair gives deletions away."""
    counts, pairs = Counter[str](), 0
    for seed in range(runs):
        deletion = small(procedure, seed=1000 + seed, kept=0).deletion
        assert deletion is not None
        assert deletion.pair is not None
        counts[deletion.kind] += 1
        pairs += deletion.pair.kind == "leak"
    return counts, pairs


@pytest.mark.slow
def test_retraining_is_said_to_leave_traces_in_at_most_one_run_of_twenty() -> None:
    counts, pairs = kinds("retrain", RUNS)
    alarms = counts["traces remain"] + counts["over-forgotten"]
    assert alarms <= binom.ppf(0.99, RUNS, 0.05), counts  # 18 of 200
    assert pairs > RUNS / 2


@pytest.mark.slow
def test_where_nothing_was_deleted_traces_are_found() -> None:
    """Wherever the leak was found before the deletion; in so small a world it is not in a quarter (docs/unlearning.md)."""
    counts, _ = kinds("none", POSITIVE)
    unseen = counts["nothing to see here"]
    assert unseen <= POSITIVE / 2, counts
    assert counts["traces remain"] >= 0.9 * (POSITIVE - unseen), counts
