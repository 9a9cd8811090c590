"""What is claimed beyond other models is seen as often as the power says, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import betabinom

from miaudit.stats import auc_excess, detectable_auc, detectable_share, levels, more_above, precedence, ranks_of
from miaudit.stats.paired import more_above_tail

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


@pytest.mark.parametrize(("n", "models"), [(200, 8), pytest.param(1000, 20, marks=pytest.mark.slow)])
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
        test = precedence(ins[0], outs[0])
        beyond = more_above(ins[0], outs[0], ins[1:], outs[1:], test.rank) <= level * ranks_of(n)[test.rank]
        reports += test.p_value <= level and beyond
    assert 0.66 < reports / TRIALS < 0.92


@pytest.mark.parametrize(
    ("count", "others", "rank", "models"),
    [(17, 8, 0, 8), (3, 1, 0, 2), (250, 900, 10, 8), (0, 5, 1, 3), (90, 1990, 99, 20)],
)
def test_the_tail_is_that_of_the_beta_binomial_law(count: int, others: int, rank: int, models: int) -> None:
    law = betabinom(count + others, rank + 1, models * (rank + 1))
    assert more_above_tail(count, others, rank, models) == pytest.approx(min(1.0, law.sf(count - 1)), rel=1e-8)
