"""What is claimed beyond other models is seen as often as the power says, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom, hypergeom, norm
from scipy.stats import t as student

from miaudit import stats
from miaudit.errors import DataError
from miaudit.stats import auc_excess, detectable_auc, detectable_share, levels, more_above, precedence, ranks_of
from miaudit.stats.paired import more_above_p

TRIALS = 150


@pytest.mark.parametrize(("n", "models"), [(100, 8), pytest.param(300, 20, marks=pytest.mark.slow)])
def test_an_area_beyond_other_models_at_the_edge_is_reported_in_four_fifths(n: int, models: int) -> None:
    level = 1 - 2 * levels(11).above
    value = detectable_auc(n, n, confidence=level, others=models).value
    assert value is not None
    assert value > detectable_auc(n, n, confidence=level).value
    rng, shift = np.random.default_rng(n), np.sqrt(2) * ndtri(value)
    reports = 0
    for _ in range(TRIALS):
        ins, outs = rng.normal(size=(2, models + 1, n))
        reports += auc_excess(ins[0] + shift, outs[0], ins[1:], outs[1:]).interval(level).low > 0
    assert 0.68 < reports / TRIALS < 0.92


@pytest.mark.parametrize(("n", "models"), [(200, 8), (200, 20), pytest.param(1000, 8, marks=pytest.mark.slow)])
def test_a_few_exposed_beyond_other_models_at_the_edge_are_reported_in_four_fifths(n: int, models: int) -> None:
    level = levels(11).few
    share = detectable_share(n, n, confidence=1 - level, others=models).value
    assert share is not None
    assert share > detectable_share(n, n, confidence=1 - level).value
    rng = np.random.default_rng(n)
    reports = 0
    for _ in range(TRIALS):
        ins, outs = rng.normal(size=(2, models + 1, n))
        ins[0] += 100 * (rng.random(n) < share)
        reports += claimed(ins, outs, attacks=11)
    assert 0.66 < reports / TRIALS < 0.92


def claimed(ins: np.ndarray, outs: np.ndarray, *, attacks: int) -> bool:
    """Whether one of several attacks claims a few exposed members by the first model's scores, beside the others."""
    test, level = precedence(ins[0], outs[0]), levels(attacks).few
    if test.p_value > level:
        return False
    value = more_above(ins[0], outs[0], ins[1:], outs[1:], test.rank)
    return value <= level * ranks_of(outs.shape[1])[test.rank]


@pytest.mark.parametrize(
    ("shift", "outliers", "moving", "common"),
    [
        (0.2, 0.0, 0.0, 0.3),  # where few others show it
        (0.4, 0.0, 0.0, 0.3),
        (0.4, 0.0, 0.0, 0.95),
        (0.0, 0.03, 0.0, 0.3),
        (0.2, 0.0, 0.1, 0.3),  # harder under some models than under others
    ],
)
def test_sides_of_unlike_difficulty_are_no_exposed_members(
    shift: float, outliers: float, moving: float, common: float
) -> None:
    rng, n, models, trials, false = np.random.default_rng(11), 150, 8, 400, 0
    for _ in range(trials):
        rows = common**0.5 * rng.normal(size=2 * n) + (1 - common) ** 0.5 * rng.normal(size=(models + 1, 2 * n))
        sides = shift + 6 * (rng.random(n) < outliers) + moving * rng.normal(size=(models + 1, 1))
        false += claimed(rows[:, :n] + sides, rows[:, n:], attacks=1)
    assert false <= binom.isf(1e-3, trials, 0.02 if not moving else 0.05)


@pytest.mark.parametrize(
    ("count", "others", "rank", "models"),
    [(17, 60, 0, 8), (3, 1, 0, 2), (150, 800, 10, 8), (1, 5, 1, 3), (140, 2000, 99, 20)],
)
def test_the_p_value_is_fishers_with_half_of_what_was_seen(count: int, others: int, rank: int, models: int) -> None:
    depth = count + rank
    law = hypergeom((models + 1) * depth, count + others, depth)
    exact = law.sf(count - 1) - law.pmf(count) / 2
    assert more_above_p(count, others, rank, models) == pytest.approx(exact, rel=1e-7)
    assert more_above_p(count, others, rank, models, 2.0) == pytest.approx(
        student.cdf(norm.ppf(exact) / 2**0.5, 4 * (models - 1)), rel=1e-7
    )


def test_counts_at_one_depth_are_those_of_sorted_records() -> None:
    rng, n_in, n_out, models, rank = np.random.default_rng(12), 60, 90, 5, 3
    ins, outs = rng.normal(size=(models + 1, n_in)), rng.normal(size=(models + 1, n_out))
    ins[0] += 1.2
    count = int((ins[0] > np.sort(outs[0])[-1 - rank]).sum())
    member = np.arange(n_in + n_out) < n_in
    orders = [member[np.argsort(-np.append(a, b))] for a, b in zip(ins[1:], outs[1:], strict=True)]
    seen, deep = ([int(order[:d].sum()) for order in orders] for d in (count + rank, 30))
    share = np.mean(deep) / 30
    assert count + rank < 30  # a fifth of all
    spread = max(1.0, float(np.var(deep, ddof=1)) / (30 * share * (1 - share)))
    value = more_above_p(count, sum(seen), rank, models, 1 + (spread - 1) * (count + rank - 1) / 29)
    assert max(seen) < count
    assert more_above(ins[0], outs[0], ins[1:], outs[1:], rank) == pytest.approx(value)
    assert more_above(ins[0], outs[0], np.vstack([ins[:1], ins[2:]]), np.vstack([outs[:1], outs[2:]]), rank) == 1.0
    assert more_above(ins[0] - 9, outs[0], ins[1:], outs[1:], rank) == 1.0


@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_of_a_difference_of_two_models_covers_it(paired):
    rng, covered = np.random.default_rng(5), 0
    shift = 2**0.5 * ndtri(0.7), 2**0.5 * ndtri(0.6)
    for _ in range(300):
        records = rng.normal(size=(2, 80)) if paired else rng.normal(size=(2, 2, 80))
        scores = [0.8 * (records if paired else records[i]) + 0.6 * rng.normal(size=(2, 80)) for i in (0, 1)]
        for i in (0, 1):
            scores[i][0] += shift[i]
        if paired:
            interval = stats.auc_difference(*scores[0], *scores[1]).interval(0.9)
        else:
            interval = stats.unpaired_difference(*(stats.auc_interval(*each, confidence=0.9) for each in scores))
        covered += interval.low <= 0.1 <= interval.high
    assert 0.9 - 3 * (0.09 / 300) ** 0.5 <= covered / 300 <= 0.96


def test_a_model_does_not_differ_from_itself():
    rng = np.random.default_rng(0)
    ins, outs = rng.normal(1, 1, 30), rng.normal(0, 1, 40)
    assert stats.auc_difference(ins, outs, ins, outs).interval() == (0.0, 0.0, 0.0)
    with pytest.raises(DataError, match="same records"):
        stats.auc_difference(ins, outs, ins, outs[1:])


@pytest.mark.parametrize(("n_in", "n_out"), [(5, 300), (200, 10)])
def test_a_small_side_beside_a_large_one_does_not_widen_what_is_claimed(n_in, n_out):
    rng, trials, level = np.random.default_rng(n_in), 600, 1 - 0.05 / 3
    moved = told = 0
    for _ in range(trials):
        records = rng.normal(size=n_in), rng.normal(size=n_out)
        ins, outs = (0.7 * (each + rng.normal(size=(21, len(each)))) for each in records)
        interval = stats.auc_difference(ins[0], outs[0], ins[1], outs[1]).interval(level)
        moved += not interval.low <= 0 <= interval.high
        told += auc_excess(ins[0], outs[0], ins[1:], outs[1:]).tells_sides(level)
    most = binom.ppf(0.999, trials, 1 - level) / trials
    assert moved / trials <= most
    assert told / trials <= most


@pytest.mark.slow
@pytest.mark.parametrize(("n_in", "n_out"), [(3, 300), (50, 5)])
def test_a_difference_keeps_a_level_of_one_in_a_thousand_beside_a_handful_of_records(n_in, n_out):
    rng, trials, moved = np.random.default_rng(n_in + n_out), 10_000, 0
    for _ in range(trials):
        ins, outs = rng.normal(size=(2, n_in)), rng.normal(size=(2, n_out))
        interval = stats.auc_difference(ins[0], outs[0], ins[1], outs[1]).interval(0.999)
        moved += not interval.low <= 0 <= interval.high
    assert moved <= binom.ppf(0.999, trials, 0.001)


@pytest.mark.parametrize(("records", "told"), [(2, False), (8, True)])
def test_records_that_all_move_alike_are_a_rise_where_they_are_not_too_few(records, told):
    same, apart = np.zeros(records), np.ones(records)
    interval = stats.auc_difference(apart, same, same, same).interval()
    assert interval.value == 0.5
    assert interval.high > interval.value
    assert (interval.low > 0) is told
