"""The check of a Gaussian curve: it holds its level, and what it lets pass another curve would not have passed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from miaudit.errors import DataError
from miaudit.stats import binormal

TRIALS, N = 20, 500


def trials(draw, n=N, count=TRIALS):
    return [binormal(*draw(np.random.default_rng(seed), n), seed=seed) for seed in range(count)]


@pytest.mark.parametrize(("shift", "scale"), [(0.0, np.exp), (1.0, np.exp), (2.5, np.asarray)])
def test_a_gaussian_shift_is_refuted_no_more_often_than_the_level_says(shift, scale):
    checks = trials(lambda rng, n: (scale(rng.normal(shift, 1, n)), scale(rng.normal(size=n))))
    assert sum(each.p <= 0.05 for each in checks) <= binom.ppf(0.999, TRIALS, 0.05)
    if shift:
        assert sum(each.holds for each in checks) > 0.7 * TRIALS
        assert np.median([each.mu for each in checks]) == pytest.approx(shift, abs=0.15)


OTHERS = {
    "unequal variances": lambda rng, n: (rng.normal(1, 1.5, n), rng.normal(size=n)),
    "Laplace": lambda rng, n: (rng.laplace(1.5, 1, n), rng.laplace(size=n)),
    "a few exposed": lambda rng, n: (rng.normal(size=n) + 9 * (rng.random(n) < 0.1), rng.normal(size=n)),
    "labels": lambda rng, n: ((rng.random(n) < 0.8).astype(float), (rng.random(n) < 0.2).astype(float)),
    "surely no members": lambda rng, n: (rng.normal(size=n), rng.normal(size=n) - 9 * (rng.random(n) < 0.1)),
    "turned round": lambda rng, n: (rng.normal(size=n), rng.normal(1, 1, n)),
    "heavy tails on one side": lambda rng, n: (rng.standard_t(2, n) + 1, rng.normal(size=n)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_curves_are_not_held_for_gaussian(kind):
    checks = trials(OTHERS[kind], count=8)
    assert sum(each.holds for each in checks) <= 1
    assert all(each.reason for each in checks if not each.holds)


@pytest.mark.parametrize("n", [2, 20, 60])
def test_a_check_that_could_not_fail_says_nothing(n):
    checks = trials(OTHERS["labels"], n=n, count=20)
    assert sum(each.holds for each in checks) <= 1
    checks = trials(lambda rng, n: (rng.normal(size=n), rng.normal(size=n)), n=n, count=20)
    assert not any(each.holds for each in checks)


def test_sides_that_do_not_overlap_show_no_curve():
    apart = binormal([5.0, 6.0, 7.0], [1.0, 2.0])
    assert (apart.holds, apart.mu, apart.p) == (False, None, None)
    assert apart.reason == "all members score above all non-members, so that nothing shows what the curve looks like"
    assert binormal([1.0], [2.0, 3.0]).reason.startswith("a side has one score only")
    assert binormal([1.0, 0.0], [2.0, 3.0]).reason.startswith("all non-members score above")
    with pytest.raises(DataError):
        binormal([], [1.0])


def test_the_seed_decides():
    rng = np.random.default_rng(0)
    scores = rng.normal(1, 1, 200), rng.normal(size=200)
    assert binormal(*scores, seed=3) == binormal(*scores, seed=3)
