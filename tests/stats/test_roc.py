from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from miaudit.errors import DataError, PlanError
from miaudit.stats import (
    auc,
    auc_interval,
    auc_score_interval,
    auc_spread,
    clopper_pearson,
    roc,
    tnr_at_fnr,
    tpr_at_fpr,
)
from miaudit.stats.roc import cuts

SCORES = st.lists(st.integers(-4, 4).map(float) | st.floats(-5, 5), min_size=1, max_size=25)


def naive_auc(a: list[float], b: list[float]) -> float:
    return sum((x > y) + (x == y) / 2 for x in a for y in b) / (len(a) * len(b))


@given(a=SCORES, b=SCORES)
def test_auc_is_the_share_of_ordered_pairs(a: list[float], b: list[float]) -> None:
    assert auc(a, b) == pytest.approx(naive_auc(a, b), abs=1e-12)
    assert auc(a, b) + auc(b, a) == pytest.approx(1)


@given(a=SCORES, b=SCORES)
def test_roc_is_every_threshold_tried(a: list[float], b: list[float]) -> None:
    curve = roc(a, b)
    thresholds = [np.inf, *sorted({*a, *b}, reverse=True)]
    assert curve.thresholds.tolist() == thresholds
    assert curve.tp.tolist() == [sum(x >= t for x in a) for t in thresholds]
    assert curve.fp.tolist() == [sum(x >= t for x in b) for t in thresholds]
    assert (curve.n_in, curve.n_out) == (len(a), len(b))
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auc(a, b))


@given(a=SCORES, b=SCORES, fpr=st.floats(0, 1))
def test_tpr_at_fpr_is_the_best_threshold_allowed(a: list[float], b: list[float], fpr: float) -> None:
    got = tpr_at_fpr(a, b, fpr)
    allowed = [t for t in (np.inf, *a, *b) if sum(y >= t for y in b) / len(b) <= fpr]
    assert got.tpr == max(sum(x >= t for x in a) / len(a) for t in allowed)
    assert 0 <= got.low <= got.tpr <= got.high <= 1
    assert (got.reason is None) == got.resolvable
    assert got.tp == sum(x >= got.threshold for x in a)
    assert got.fp == sum(y >= got.threshold for y in b)


def test_ties_move_together_whatever_the_order() -> None:
    scores, member = np.array([1.0, 1.0, 1.0, 1.0]), np.array([True, True, False, False])
    assert roc(scores[member], scores[~member]).tpr.tolist() == [0.0, 1.0]
    assert tpr_at_fpr(scores[member], scores[~member], 0.4).tpr == 0.0


@pytest.mark.parametrize(
    ("n", "fpr", "resolvable", "says"),
    [
        (1000, 0.01, True, None),
        (999, 0.01, False, "9.99 false positives"),
        (10000, 0.001, True, None),
        (500, 0.001, False, "TPR at 0 false positives"),
        (500, 0.0, False, "TPR at 0 false positives"),
    ],
)
def test_says_what_so_few_records_cannot_tell(n: int, fpr: float, resolvable: bool, says: str | None) -> None:
    got = tpr_at_fpr(np.arange(n), np.arange(n), fpr)
    assert got.resolvable is resolvable
    assert (got.reason is None) if says is None else (says in str(got.reason))


@pytest.mark.parametrize(("fpr", "n", "d"), [(0.1, 60, 0.0), (0.02, 500, 0.0), (0.02, 500, 1.5), (0.001, 300, 1.0)])
def test_tpr_interval_covers_the_true_curve(fpr: float, n: int, d: float) -> None:
    """Misses at most 5 %, and finds a leak in noise (low end above the FPR) at most as often."""
    generator = np.random.default_rng(0)
    truth, trials = norm.sf(norm.isf(fpr) - d), 400
    misses = leaks = 0
    for _ in range(trials):
        got = tpr_at_fpr(generator.normal(d, 1, n), generator.normal(0, 1, n), fpr)
        misses += not got.low <= truth <= got.high
        leaks += got.low > fpr
    limit = binom.ppf(0.999, trials, 0.05)
    assert misses <= limit
    assert d > 0 or leaks <= limit


def test_tpr_interval_covers_with_ties() -> None:
    """Scores in five steps: the true curve is a staircase."""
    generator = np.random.default_rng(1)
    p_in, p_out, fpr = np.array([0.1, 0.2, 0.2, 0.2, 0.3]), np.array([0.3, 0.2, 0.2, 0.2, 0.1]), 0.15
    truth, misses, trials = 0.3, 0, 400  # the top step alone is allowed: FPR 0.1, TPR 0.3
    for _ in range(trials):
        got = tpr_at_fpr(generator.choice(5, 200, p=p_in), generator.choice(5, 200, p=p_out), fpr)
        misses += not got.low <= truth <= got.high
    assert misses <= binom.ppf(0.999, trials, 0.05)


@pytest.mark.parametrize(("n", "fpr"), [(200, 0.1), (1000, 0.01), (60, 0.1)])
def test_the_worst_curve_uses_up_what_an_end_may_err_by(n: int, fpr: float) -> None:
    """A curve that is r up to the rate and 1 beyond it: the low end lies above r as often as it may, to a few tenths."""
    rank, left = cuts(n, fpr, 0.95)[0]
    beyond = binom.cdf(rank, n, fpr)  # the threshold's true FPR exceeds the rate, and all members lie above it
    lows = [clopper_pearson(count, n, 1 - 2 * left)[0] for count in range(n + 1)]
    r = np.linspace(0.01, 0.9, 200)
    errors = beyond + (1 - beyond) * binom.sf(np.searchsorted(lows, r, side="right") - 1, n, r)
    assert 0.022 < errors.max() <= 0.025


def test_an_interval_of_the_tpr_alone_would_find_leaks_in_noise() -> None:
    """Why tpr_at_fpr also counts the threshold's own uncertainty."""
    generator = np.random.default_rng(0)
    plain = sum(
        clopper_pearson(tpr_at_fpr(generator.normal(size=500), generator.normal(size=500), 0.01).tp, 500)[0] > 0.01
        for _ in range(300)
    )
    assert plain > binom.ppf(0.999, 300, 0.05)


GAUSS, UNEVEN, FEW_STAND_OUT, HALF_STAND_OUT, BINARY = "gauss", "uneven", "few stand out", "half stand out", "binary"


def draw(world: str, generator: np.random.Generator, n: int, m: int, d: float) -> tuple[np.ndarray, np.ndarray, float]:
    a, b = generator.normal(d, 1, n), generator.normal(0, 1, m)
    if world == UNEVEN:
        return 3 * (a - d) + d, b, float(norm.cdf(d / np.sqrt(10)))
    if world == FEW_STAND_OUT:
        return np.where(generator.random(n) < 0.1, 100.0, a), b, 0.1 + 0.9 * float(norm.cdf(d / np.sqrt(2)))
    if world == HALF_STAND_OUT:
        return np.where(generator.random(n) < 0.5, 100.0, -100.0), b, 0.5
    if world == BINARY:
        return (generator.random(n) < 0.6).astype(float), (generator.random(m) < 0.4).astype(float), 0.6
    return a, b, float(norm.cdf(d / np.sqrt(2)))


@pytest.mark.parametrize(
    ("world", "n", "m", "d"),
    [
        (GAUSS, 5, 5, 0.0),
        (GAUSS, 10, 10, 2.5),
        (GAUSS, 30, 30, 1.0),
        (GAUSS, 10, 100, 0.0),
        (GAUSS, 300, 300, 0.0),
        (GAUSS, 300, 300, 2.5),
        (UNEVEN, 30, 30, 1.0),
        (UNEVEN, 300, 300, 0.0),
        (FEW_STAND_OUT, 300, 300, 0.0),
        (HALF_STAND_OUT, 100, 100, 0.0),
        (BINARY, 50, 50, 0.0),
    ],
)
def test_auc_interval_covers(world: str, n: int, m: int, d: float) -> None:
    generator, misses, trials = np.random.default_rng(0), 0, 400
    for _ in range(trials):
        a, b, truth = draw(world, generator, n, m, d)
        _, low, high = auc_interval(a, b)
        misses += not low <= truth <= high
    assert misses <= binom.ppf(0.999, trials, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "share"), [(10, 0.7), (10, 0.9), (20, 0.8)])
def test_an_end_of_the_area_holds_for_few_members_of_whom_most_stand_out(n: int, share: float) -> None:
    """It errs a little more often than it says (docs/statistics.md): at 1 %, in less than 2 %."""
    generator, misses, trials = np.random.default_rng(0), 0, 6000
    for _ in range(trials):
        a, b = generator.normal(size=n), generator.normal(size=500)
        a[generator.random(n) < share] += 50
        misses += auc_interval(a, b, confidence=0.98).high < 0.5 + share / 2
    assert misses <= binom.ppf(0.999, trials, 0.018)


def test_the_spread_of_uneven_records_is_as_uncertain_as_they_are_few() -> None:
    outs = np.arange(200.0)
    even, uneven = (auc_spread(ins, outs) for ins in (np.linspace(20, 180, 8), np.array([-1, -1, -1, 300, 300, 300])))
    assert (even.inflation, even.freedom) == (1.0, np.inf)
    assert uneven.inflation > 1
    assert 5 <= uneven.freedom < 6


def test_auc_interval_is_no_wider_than_it_must_be() -> None:
    generator = np.random.default_rng(2)
    widths = [np.diff(auc_interval(generator.normal(size=300), generator.normal(size=300))[1:])[0] for _ in range(20)]
    assert np.mean(widths) < 1.05 * 2 * 1.96 * np.sqrt(1 / (6 * 300))


@pytest.mark.parametrize("n", [1, 2, 40])
def test_perfect_separation_has_an_exact_bound(n: int) -> None:
    value, low, high = auc_interval(np.ones(n), np.zeros(n + 3))
    assert (value, high) == (1.0, 1.0)
    assert low**n == pytest.approx(0.025)
    value, low, high = auc_interval(np.zeros(n), np.ones(n + 3))
    assert (value, low) == (0.0, 0.0)
    assert (1 - high) ** n == pytest.approx(0.025)


def test_all_equal_scores_are_chance() -> None:
    value, low, high = auc_interval(np.ones(20), np.ones(20))
    assert value == 0.5
    assert low < 0.5 < high


@given(a=SCORES, b=SCORES)
@settings(max_examples=50)
def test_auc_interval_holds_its_value_and_turns_with_the_sides(a: list[float], b: list[float]) -> None:
    value, low, high = auc_interval(a, b)
    assert 0 <= low <= value <= high <= 1
    assert auc_interval(b, a) == pytest.approx((1 - value, 1 - high, 1 - low), abs=1e-9)
    wider = auc_interval(a, b, confidence=0.99)
    assert wider.low <= low <= high <= wider.high


def test_large_arrays_are_fast() -> None:
    """A pair-by-pair area of this size would need 25 GB."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=50_000), generator.normal(size=500_000)
    assert auc_interval(a, b).value == pytest.approx(0.5, abs=0.01)
    assert tpr_at_fpr(a, b, 0.001).resolvable


@pytest.mark.parametrize("function", [roc, auc, auc_interval, lambda a, b: tpr_at_fpr(a, b, 0.1)])
@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ([], [1.0], "in_scores .* is empty"),
        ([1.0], [], "out_scores .* is empty"),
        ([1.0, float("nan")], [1.0], "1 NaN or infinite values of 2"),
        ([1.0], [float("inf")], "out_scores .* 1 NaN or infinite"),
        ([[1.0]], [1.0], "one number per record"),
        (["a"], [1.0], "one number per record"),
    ],
)
def test_refuses_what_are_no_scores(function, a: list, b: list, says: str) -> None:
    with pytest.raises(DataError, match=says):
        function(a, b)


def test_refuses_rates_out_of_range() -> None:
    with pytest.raises(PlanError, match=r"write 0\.1 % as 0\.001"):
        tpr_at_fpr([1.0], [0.0], 1.5)
    with pytest.raises(PlanError, match="confidence"):
        auc_interval([1.0], [0.0], confidence=95)
    with pytest.raises(DataError, match="0 <= value <= 1"):
        auc_score_interval(1.2, 3, 3)


@given(a=SCORES, b=SCORES, fnr=st.floats(0, 1))
def test_tnr_at_fnr_is_the_best_threshold_allowed(a: list[float], b: list[float], fnr: float) -> None:
    got = tnr_at_fnr(a, b, fnr)
    allowed = [t for t in (-np.inf, *a, *b) if sum(x <= t for x in a) / len(a) <= fnr]
    assert got.tnr == max(sum(y <= t for y in b) / len(b) for t in allowed)
    assert 0 <= got.low <= got.tnr <= got.high <= 1
    assert got.tn == sum(y <= got.threshold for y in b)
    assert got.fn == sum(x <= got.threshold for x in a)
    mirrored = tpr_at_fpr(-np.array(b), -np.array(a), fnr)
    assert (got.tnr, got.low, got.high, got.resolvable) == (
        mirrored.tpr,
        mirrored.low,
        mirrored.high,
        mirrored.resolvable,
    )


def test_tnr_at_fnr_speaks_of_the_side_that_is_missed() -> None:
    assert tnr_at_fnr(np.arange(999), np.arange(9), 0.01).reason == (
        "999 members allow 9.99 false negatives at a rate of 0.01; at least 10 false negatives are needed"
    )
    assert "500 members cannot show" in str(tnr_at_fnr(np.arange(500), np.arange(9), 0.001).reason)
    assert "this is the TNR at" in str(tnr_at_fnr(np.zeros(2000), np.arange(9), 0.01).reason)
    assert tnr_at_fnr(np.arange(1000) + 5, np.arange(9), 0.01).resolvable
    with pytest.raises(PlanError, match="fnr must be a fraction"):
        tnr_at_fnr([1.0], [0.0], 1.1)


def test_tnr_interval_covers_the_true_curve() -> None:
    generator, trials = np.random.default_rng(1), 400
    truth = norm.sf(norm.isf(0.02) - 1.5)
    misses = 0
    for _ in range(trials):
        got = tnr_at_fnr(generator.normal(1.5, 1, 500), generator.normal(0, 1, 300), 0.02)
        misses += not got.low <= truth <= got.high
    assert misses <= binom.ppf(0.999, trials, 0.05)


def test_a_reason_counts_its_nouns():
    rng = np.random.default_rng(0)
    assert tpr_at_fpr(rng.normal(size=9), rng.normal(size=10), 0.1).reason == (
        "10 non-members allow 1 false positive at a rate of 0.1; at least 10 false positives are needed"
    )
    assert tpr_at_fpr(rng.normal(size=9), rng.normal(size=1), 0.1).reason.startswith("1 non-member cannot show")
