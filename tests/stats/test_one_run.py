from __future__ import annotations

from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from miaudit.errors import DataError, PlanError
from miaudit.stats import (
    epsilon_from_mu,
    epsilon_one_run,
    epsilon_one_run_fdp,
    mu_one_run_fdp,
    one_run_guesses,
)


@pytest.mark.parametrize(
    ("m", "r", "v", "delta", "epsilon"),
    [
        (1000, 1000, 600, 0, 0.2975),
        (1000, 100, 100, 0, 3.4930),
        (1000, 100, 100, 1e-5, 3.4654),
        (1000, 100, 95, 1e-5, 2.1652),
        (5000, 200, 198, 1e-5, 3.3769),
    ],
)
def test_vectors(m: int, r: int, v: int, delta: float, epsilon: float) -> None:
    assert epsilon_one_run(m, r, v, delta, 0.95) == pytest.approx(epsilon, abs=5.1e-5)


@pytest.mark.parametrize(
    ("m", "guesses", "correct", "mu", "epsilon", "digits"),
    [
        (1000, 1000, 600, 0.1638, 0.5835, 4),
        (1000, 100, 100, 1.2255, 5.549, 3),
        (1000, 100, 95, 0.7868, 3.3233, 4),
        (5000, 200, 198, 1.0796, 4.7842, 4),
    ],
)
def test_vectors_fdp(m: int, guesses: int, correct: int, mu: float, epsilon: float, digits: int) -> None:
    assert mu_one_run_fdp(m, guesses, correct, 0.95) == pytest.approx(mu, abs=5.1e-5)
    assert epsilon_one_run_fdp(m, guesses, correct, 1e-5, 0.95) == pytest.approx(epsilon, abs=0.51 * 10**-digits)


def naive_p(m: int, r: int, v: int, delta: float, epsilon: float) -> float:
    """The p-value, term by term."""
    q = 1 / (1 + exp(-epsilon))
    beta = binom.sf(v - 1, r, q)
    tails = binom.sf(np.arange(v - 2, -2, -1), r, q) - beta  # P[v > Bin >= v - i] for i = 1..v
    alpha = max(tail / i for i, tail in enumerate(tails, start=1))
    return min(1.0, beta + 2 * m * delta * alpha)


def naive_rejects(mu: float, m: int, cap: int, c: int, tau: float) -> bool:
    """The recursion without a shortcut."""
    r, h = tau * c / m, tau * (cap - c) / m
    for i in range(c - 1, -1, -1):
        new = max(h, norm.cdf(norm.ppf(min(r, 1.0)) - mu))
        r, h = r + i / (cap - i) * (new - h), new
    return r + h > cap / m


GUESSES = st.integers(1, 120).flatmap(lambda r: st.tuples(st.just(r), st.integers(1, r)))


@given(counts=GUESSES, more=st.integers(0, 500), exponent=st.floats(-9, -2), confidence=st.floats(0.6, 0.999))
@settings(max_examples=60, deadline=None)
def test_the_bound_is_where_the_p_value_crosses_the_level(
    counts: tuple[int, int], more: int, exponent: float, confidence: float
) -> None:
    (r, v), delta = counts, 10**exponent
    m, level = r + more, 1 - confidence
    bound = epsilon_one_run(m, r, v, delta, confidence)
    if bound > 1e-6:
        assert naive_p(m, r, v, delta, bound) == pytest.approx(level, rel=1e-5)
        assert naive_p(m, r, v, delta, bound - 1e-6) < level
    assert naive_p(m, r, v, delta, bound + 1e-6) > level


@pytest.mark.parametrize(("m", "r", "v", "delta"), [(1000, 100, 95, 1e-5), (300, 40, 36, 1e-3), (50, 50, 45, 1e-4)])
def test_a_search_over_a_fine_grid_finds_the_same(m: int, r: int, v: int, delta: float) -> None:
    grid = np.arange(0, 5, 0.02)
    p = np.array([naive_p(m, r, v, delta, epsilon) for epsilon in grid])
    rejected = p <= 0.05
    assert grid[rejected].max() == pytest.approx(epsilon_one_run(m, r, v, delta), abs=0.0201)
    assert (np.diff(rejected.astype(int)) <= 0).all()  # one crossing, so that bracketing it is right


@given(counts=GUESSES, more=st.integers(0, 500), mu=st.floats(0, 3), tau=st.floats(0.001, 0.4))
@settings(max_examples=100, deadline=None)
def test_the_fdp_bound_is_where_the_recursion_starts_to_reject(
    counts: tuple[int, int], more: int, mu: float, tau: float
) -> None:
    cap, c = counts
    bound = mu_one_run_fdp(cap + more, cap, c, 1 - tau)
    if abs(mu - bound) > 1e-6:
        assert naive_rejects(mu, cap + more, cap, c, tau) == (mu < bound)


@given(counts=GUESSES, more=st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_more_right_guesses_never_lower_a_bound(counts: tuple[int, int], more: int) -> None:
    (r, v), delta = counts, 1e-5
    assert epsilon_one_run(r, r, v, delta) >= epsilon_one_run(r, r, v - 1, delta)
    assert epsilon_one_run(r + more, r, v, delta) <= epsilon_one_run(r, r, v, delta) + 1e-9
    assert epsilon_one_run(r, r, v, delta) <= epsilon_one_run(r, r, v, 0.0)
    assert epsilon_one_run(r, r, v, delta, 0.99) <= epsilon_one_run(r, r, v, delta, 0.9)
    assert mu_one_run_fdp(r, r, v) >= mu_one_run_fdp(r, r, v - 1)
    assert mu_one_run_fdp(r, r, v, 0.99) <= mu_one_run_fdp(r, r, v, 0.9)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-3])
def test_randomised_response_is_exceeded_at_most_as_often_as_the_level_says(epsilon: float, delta: float) -> None:
    """Exact: right guesses of canaries told with probability delta, else answered at random, are binomial."""
    m = 80
    q = delta + (1 - delta) / (1 + exp(-epsilon))
    exceeds = [epsilon_one_run(m, m, v, delta) > epsilon + 1e-9 for v in range(m + 1)]
    assert binom.pmf(np.arange(m + 1), m, q)[exceeds].sum() <= 0.05


def test_the_bound_comes_close_with_many_canaries() -> None:
    """With 2000 canaries, 0.8 of the truth in nearly every trial."""
    right = np.random.default_rng(2).binomial(2000, 1 / (1 + exp(-1)), 100)
    bounds = [epsilon_one_run(2000, 2000, int(v), 0.0) for v in right]
    assert np.quantile(bounds, 0.05) >= 0.8


@pytest.mark.parametrize(("mu", "k", "share"), [(0.5, 100, 0.45), (1.0, 50, 0.5), (2.0, 100, 0.5), (1.0, 500, 0.3)])
def test_gaussian_mechanisms_are_bounded_from_below(mu: float, k: int, share: float) -> None:
    """1000 canaries, each score a Gaussian mechanism of its own: below mu at the level.

    The median bound is half of mu where the guesses are few and good, a third of it where nobody abstains.
    """
    rng, m, bounds = np.random.default_rng(round(10 * mu) + k), 1000, []
    for _ in range(150):
        n_in = rng.binomial(m, 0.5)
        found = one_run_guesses(rng.normal(mu, 1, n_in), rng.normal(size=m - n_in), k_in=k, k_out=k)
        bounds.append((mu_one_run_fdp(*found), epsilon_one_run(*found, 1e-5)))
    mus, epsilons = np.array(bounds).T
    assert (mus > mu).mean() <= 0.05
    assert (epsilons > epsilon_from_mu(mu, 1e-5)).mean() <= 0.05
    assert np.median(mus) >= share * mu
    assert np.median([epsilon_from_mu(one, 1e-5) for one in mus]) > np.median(epsilons)  # it knows more, and says more


def test_guesses_are_the_extremes() -> None:
    assert one_run_guesses([5.0, 4.0, 1.0], [3.0, 2.0, 0.0], k_in=2, k_out=2) == (6, 4, 3)
    assert one_run_guesses([5.0, 4.0, 1.0], [3.0, 2.0, 0.0], k_in=6) == (6, 6, 3)
    assert one_run_guesses([5.0], [3.0], k_in=0, k_out=0).guesses == 0


@given(
    scores=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=4, max_size=30),
    k_in=st.integers(0, 2),
    k_out=st.integers(0, 2),
    seed=st.integers(0, 5),
)
def test_guesses_by_counting(scores: list[tuple[int, bool]], k_in: int, k_out: int, seed: int) -> None:
    ins, outs = [s for s, inside in scores if inside], [s for s, inside in scores if not inside]
    if not ins or not outs:
        return
    found = one_run_guesses(ins, outs, k_in=k_in, k_out=k_out, seed=seed)
    rising = sorted(ins + outs)
    cut_low, cut_high = rising[k_out], rising[len(rising) - k_in - 1]
    sure = sum(s > cut_high for s in ins) + sum(s < cut_low for s in outs)
    assert found[:2] == (len(scores), k_in + k_out)
    assert sure <= found.correct <= k_in + k_out


def test_ties_do_not_tell_the_sides_apart() -> None:
    hits = [one_run_guesses(np.ones(100), np.ones(100), k_in=20, k_out=20, seed=seed).correct for seed in range(100)]
    assert np.mean(hits) == pytest.approx(20, abs=1.5)


def test_no_right_guess_and_no_evidence_give_no_bound() -> None:
    assert epsilon_one_run(10, 10, 0, 1e-5) == 0.0
    assert epsilon_one_run(100, 100, 50, 1e-5) == 0.0
    assert epsilon_one_run(1000, 1000, 600, 0.5) == 0.0
    assert mu_one_run_fdp(10, 10, 0) == 0.0
    assert epsilon_one_run_fdp(100, 100, 50, 1e-5) == 0.0


def test_many_canaries_are_fast() -> None:
    assert epsilon_one_run(10**6, 10**6, 510_000, 1e-9) == pytest.approx(0.0367, abs=1e-4)
    assert mu_one_run_fdp(10**6, 10**6, 510_000) > 0


@pytest.mark.parametrize("function", [epsilon_one_run, epsilon_one_run_fdp])
@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ((10, 11, 5), "10 canaries, 11 guesses and 5 right ones"),
        ((10, 5, 6), "no more right ones than guesses"),
        ((10, 0, 0), "at least one guess"),
        ((10, 5, -1), "right guesses must be a whole number of at least 0, got -1"),
        ((float("nan"), 5, 1), "canaries must be a whole number of at least 0, got nan"),
        ((10, 2.5, 1), "guesses must be a whole number"),
    ],
)
def test_refuses_impossible_counts(function, counts: tuple, says: str) -> None:
    with pytest.raises(DataError, match=says):
        function(*counts, 1e-5)


def test_refuses_settings_out_of_range() -> None:
    with pytest.raises(PlanError, match="delta must lie"):
        epsilon_one_run(10, 10, 5, -1.0)
    with pytest.raises(PlanError, match="confidence"):
        epsilon_one_run(10, 10, 5, 0.0, 0.0)
    with pytest.raises(PlanError, match="no finite epsilon at delta = 0"):
        epsilon_one_run_fdp(10, 10, 5, 0.0)
    with pytest.raises(DataError, match=r"8 \+ 3 guesses are more than the 10 canaries"):
        one_run_guesses(np.ones(5), np.ones(5), k_in=8, k_out=3)
    with pytest.raises(DataError, match="NaN"):
        one_run_guesses([float("nan")], [1.0], k_in=1)
