from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta, binom, norm

from miaudit.errors import DataError, PlanError
from miaudit.stats import (
    clopper_pearson,
    epsilon_ceiling,
    epsilon_credible,
    epsilon_from_mu,
    epsilon_from_rates,
    mu_from_rates,
)

COUNT = st.integers(0, 400)


@pytest.mark.parametrize(
    ("tp", "fn", "fp", "tn", "epsilon", "mu", "epsilon_gaussian"),
    [
        (84, 916, 1, 999, 2.497, 1.0447, 4.605),
        (500, 4500, 5, 4995, 3.673, 1.4997, 7.050),
        (100, 9900, 0, 10000, 3.093, 0.9728, 4.240),
    ],
)
def test_vectors(tp: int, fn: int, fp: int, tn: int, epsilon: float, mu: float, epsilon_gaussian: float) -> None:
    assert epsilon_from_rates(tp, fn, fp, tn, 1e-5, 0.95) == pytest.approx(epsilon, abs=5.1e-4)
    got = mu_from_rates(tp, fn, fp, tn, 0.95)
    assert got == pytest.approx(mu, abs=5.1e-5)
    assert epsilon_from_mu(got, 1e-5) == pytest.approx(epsilon_gaussian, abs=5.1e-4)
    # the attack that names non-members is bounded by the same figures, turned round
    assert epsilon_from_rates(tn, fp, fn, tp, 1e-5) == pytest.approx(epsilon_from_rates(tp, fn, fp, tn, 1e-5))


@pytest.mark.parametrize(("n", "epsilon"), [(100, 3.28), (500, 4.91), (1000, 5.60), (5000, 7.21), (25_000, 8.82)])
def test_ceilings(n: int, epsilon: float) -> None:
    assert epsilon_ceiling(n, n, 1e-5) == pytest.approx(epsilon, abs=0.0051)


@given(tp=COUNT, fn=COUNT, fp=COUNT, tn=COUNT, delta=st.floats(0, 0.5), confidence=st.floats(0.5, 0.999))
def test_epsilon_is_the_smallest_that_allows_the_rates(
    tp: int, fn: int, fp: int, tn: int, delta: float, confidence: float
) -> None:
    """A search over epsilon for the first region that holds the point (FPR_high, FNR_high)."""
    if tp + fn == 0 or fp + tn == 0:
        return
    fpr, fnr = clopper_pearson(fp, fp + tn, confidence)[1], clopper_pearson(fn, tp + fn, confidence)[1]

    def allowed(epsilon: float) -> bool:
        return fpr + exp(epsilon) * fnr >= 1 - delta and fnr + exp(epsilon) * fpr >= 1 - delta

    low, high = 0.0, 50.0
    assert allowed(high)
    while not allowed(low) and high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if allowed(middle) else (middle, high)
    assert epsilon_from_rates(tp, fn, fp, tn, delta, confidence) == pytest.approx(low, abs=1e-6)


@given(tp=COUNT, fn=COUNT, fp=COUNT, tn=COUNT, delta=st.floats(0, 0.5))
def test_more_errors_never_raise_a_bound(tp: int, fn: int, fp: int, tn: int, delta: float) -> None:
    n_in, n_out = tp + fn + 1, fp + tn + 1
    better = epsilon_from_rates(tp + 1, fn, fp, tn + 1, delta)
    assert better >= epsilon_from_rates(tp, fn + 1, fp, tn + 1, delta)
    assert epsilon_ceiling(n_in, n_out, delta) >= better
    assert epsilon_from_rates(tp + 1, fn, fp, tn + 1, delta, 0.8) >= better
    assert epsilon_from_rates(tp + 1, fn, fp, tn + 1, delta / 2) >= better
    assert mu_from_rates(tp + 1, fn, fp, tn + 1) >= mu_from_rates(tp + 1, fn, fp + 1, tn)


def exceeds(n: int, tpr: float, fpr: float, bound, truth: float) -> float:
    """Exact probability that a bound exceeds the truth, with n members and n non-members: a finite sum."""
    counts = np.arange(n + 1)
    weight = np.outer(binom.pmf(counts, n, tpr), binom.pmf(counts, n, fpr))
    tps, fps = np.nonzero(weight > 1e-9)
    wrong = [bound(tp, n - tp, fp, n - fp) > truth for tp, fp in zip(tps, fps, strict=True)]
    return float(weight[tps, fps][wrong].sum()) + 1e-9 * weight.size


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 2.0])
def test_randomised_response_is_exceeded_at_most_as_often_as_the_level_says(epsilon: float) -> None:
    q = exp(epsilon) / (1 + exp(epsilon))
    assert exceeds(40, q, 1 - q, lambda *c: epsilon_from_rates(*c, 0.0), epsilon + 1e-9) <= 0.05
    # and with delta: with probability 0.1 the bit is told, and cannot be mistaken
    told = 0.1 + 0.9 * q
    assert exceeds(40, told, 0.9 * (1 - q), lambda *c: epsilon_from_rates(*c, 0.1), epsilon + 1e-9) <= 0.05


@pytest.mark.parametrize(("mu", "threshold"), [(0.5, 0.25), (1.0, 1.5), (2.0, 1.0)])
def test_gaussian_mechanisms_are_exceeded_at_most_as_often_as_the_level_says(mu: float, threshold: float) -> None:
    tpr, fpr = norm.sf(threshold - mu), norm.sf(threshold)
    assert exceeds(40, tpr, fpr, mu_from_rates, mu) <= 0.05
    assert exceeds(40, tpr, fpr, lambda *c: epsilon_from_rates(*c, 0.01), epsilon_from_mu(mu, 0.01)) <= 0.05


def test_bounds_come_close_with_many_trainings() -> None:
    """With 5000 a side: 0.9 of epsilon and 0.85 of mu in nearly every trial."""
    rng, n, q = np.random.default_rng(5), 5000, exp(2) / (1 + exp(2))
    tp, fp = rng.binomial(n, q, 200), rng.binomial(n, 1 - q, 200)
    bounds = np.array([epsilon_from_rates(a, n - a, b, n - b, 0.0) for a, b in zip(tp, fp, strict=True)])
    assert np.quantile(bounds, 0.05) >= 0.9 * 2
    tp, fp = rng.binomial(n, norm.cdf(0.5), 200), rng.binomial(n, norm.cdf(-0.5), 200)
    mus = np.array([mu_from_rates(a, n - a, b, n - b) for a, b in zip(tp, fp, strict=True)])
    assert np.quantile(mus, 0.05) >= 0.85 * 1
    assert (mus > 1).mean() <= 0.05


@pytest.mark.parametrize(
    ("tp", "fn", "fp", "tn", "delta"), [(84, 916, 1, 999, 1e-5), (30, 20, 10, 40, 0.0), (9, 1, 0, 10, 0.1)]
)
def test_the_credible_interval_is_the_posterior(tp: int, fn: int, fp: int, tn: int, delta: float) -> None:
    """Against quadrature: P(epsilon <= e) = P(FNR + e^e FPR >= 1 - delta and FPR + e^e FNR >= 1 - delta)."""
    fpr, fnr = beta(fp + 0.5, tn + 0.5), beta(fn + 0.5, tp + 0.5)

    def below(epsilon: float) -> float:
        def inside(u: float) -> float:
            x = fpr.ppf(u)
            least = max(1 - delta - exp(epsilon) * x, exp(-epsilon) * (1 - delta - x))
            return float(fnr.sf(least))

        return quad(inside, 0, 1, limit=400, epsabs=1e-5)[0]

    value, low, high = epsilon_credible(tp, fn, fp, tn, delta)
    assert [below(low), below(value), below(high)] == pytest.approx([0.025, 0.5, 0.975], abs=0.003)


def test_the_credible_interval_is_seeded_and_shorter_than_exact_bounds() -> None:
    counts = (84, 916, 1, 999, 1e-5)
    assert epsilon_credible(*counts) == epsilon_credible(*counts)
    assert epsilon_credible(*counts) != epsilon_credible(*counts, seed=1)
    assert epsilon_credible(*counts).low > epsilon_from_rates(*counts)
    assert epsilon_credible(50, 50, 50, 50, 0.0).low == 0.0
    assert epsilon_credible(10, 90, 90, 10, 0.0)[1:] == (0.0, 0.0)  # worse than chance


def test_error_free_attacks_stop_at_what_the_sample_shows() -> None:
    assert epsilon_from_rates(20, 0, 0, 20, 0.0) == pytest.approx(log(0.025 ** (1 / 20) / (1 - 0.025 ** (1 / 20))))
    assert epsilon_from_rates(0, 20, 20, 0, 0.0) == 0.0
    assert mu_from_rates(0, 20, 20, 0) == 0.0
    assert epsilon_from_rates(1, 0, 0, 1, 0.99) == 0.0


@pytest.mark.parametrize("function", [epsilon_from_rates, mu_from_rates, epsilon_credible])
@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ((float("nan"), 1, 1, 1), "tp must be a whole number of at least 0, got nan"),
        ((1, -1, 1, 1), "fn must be a whole number of at least 0, got -1"),
        ((1, 1, 1.5, 1), "fp must be a whole number of at least 0, got 1.5"),
        ((1, 1, 1, "3"), "tn must be a whole number of at least 0, got '3'"),
        ((0, 0, 1, 1), "members and non-members, got tp=0, fn=0"),
        ((1, 1, 0, 0), "members and non-members"),
    ],
)
def test_refuses_impossible_counts(function, counts: tuple, says: str) -> None:
    with pytest.raises(DataError, match=says):
        function(*counts) if function is mu_from_rates else function(*counts, 1e-5)


def test_refuses_settings_out_of_range() -> None:
    with pytest.raises(PlanError, match="delta must lie"):
        epsilon_from_rates(1, 1, 1, 1, 1.5)
    with pytest.raises(PlanError, match="delta must lie"):
        epsilon_ceiling(5, 5, float("nan"))
    with pytest.raises(PlanError, match="confidence"):
        epsilon_from_rates(1, 1, 1, 1, 0.0, 95)
    with pytest.raises(PlanError, match="confidence"):
        epsilon_credible(1, 1, 1, 1, 0.0, 1.0)
    with pytest.raises(PlanError, match="draws must be at least 1000"):
        epsilon_credible(1, 1, 1, 1, 0.0, draws=10)
    with pytest.raises(DataError, match="members and non-members"):
        epsilon_ceiling(0, 5, 0.0)
