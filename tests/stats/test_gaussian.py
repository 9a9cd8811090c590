from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from miaudit.errors import PlanError
from miaudit.stats import delta_from_mu, epsilon_from_mu, mu_from_epsilon, tpr_ceiling_dp, tpr_ceiling_gdp

MU, DELTA, EPSILON = st.floats(1e-3, 50), st.floats(-100, -0.5).map(lambda x: 10**x), st.floats(0, 500)


@pytest.mark.parametrize(("mu", "epsilon"), [(0.5, 1.993), (1, 4.377), (2, 9.997), (3, 16.68)])
def test_published_conversions(mu: float, epsilon: float) -> None:
    got = epsilon_from_mu(mu, 1e-5)
    assert got == pytest.approx(epsilon, abs=0.005 if mu == 3 else 0.0005)
    assert mu_from_epsilon(got, 1e-5) == pytest.approx(mu, rel=1e-9)


@given(mu=st.floats(0.05, 10), epsilon=st.floats(0, 100))
@settings(max_examples=60, deadline=None)
def test_delta_is_the_mass_by_which_one_gaussian_exceeds_the_other(mu: float, epsilon: float) -> None:
    """The definition, integral of (p - e^eps q)+ for p = N(mu, 1) and q = N(0, 1), over p where it begins: any tail."""
    start = epsilon / mu + mu / 2  # where p = e^eps q
    a = start - mu
    mass, _ = quad(lambda t: -np.expm1(-mu * t) * np.exp(-a * t - t * t / 2), 0, max(0.0, -a) + 12, points=[0.5])
    expected = norm.logpdf(a) + np.log(mass)
    got = delta_from_mu(mu, epsilon)
    assert 0 <= got <= 1
    if expected > -700:
        assert np.log(got) == pytest.approx(expected, abs=1e-6)
    else:
        assert got < 1e-300


@given(mu=st.floats(0.1, 5), epsilon=st.floats(0, 10))
def test_delta_is_the_textbook_form_where_that_one_can_be_trusted(mu: float, epsilon: float) -> None:
    first, second = norm.cdf(-epsilon / mu + mu / 2), np.exp(epsilon) * norm.cdf(-epsilon / mu - mu / 2)
    assert delta_from_mu(mu, epsilon) == pytest.approx(first - second, abs=1e-10 * first + 1e-300)


@given(mu=MU, delta=DELTA)
def test_epsilon_and_mu_are_inverse(mu: float, delta: float) -> None:
    epsilon = epsilon_from_mu(mu, delta)
    if epsilon > 0:
        assert delta_from_mu(mu, epsilon) == pytest.approx(delta, rel=1e-6)
        assert mu_from_epsilon(epsilon, delta) == pytest.approx(mu, rel=1e-6)
    else:
        assert delta_from_mu(mu, 0.0) <= delta * (1 + 1e-9)
        assert mu_from_epsilon(0.0, delta) >= mu * (1 - 1e-9)


@given(mu=MU, more=st.floats(1.01, 3), delta=DELTA)
def test_a_weaker_mechanism_has_a_larger_epsilon(mu: float, more: float, delta: float) -> None:
    assert epsilon_from_mu(mu * more, delta) >= epsilon_from_mu(mu, delta)
    assert epsilon_from_mu(mu, delta / 10) >= epsilon_from_mu(mu, delta)
    assert mu_from_epsilon(more, delta) <= mu_from_epsilon(more + 1, delta)


def test_the_ends() -> None:
    assert epsilon_from_mu(0.0, 1e-5) == 0.0
    assert delta_from_mu(0.0, 0.0) == 0.0
    assert mu_from_epsilon(3.0, 0.0) == 0.0
    assert epsilon_from_mu(1e4, 1e-5) == pytest.approx(1e8 / 2, rel=0.01)
    assert delta_from_mu(1.0, 1e6) == 0.0


@pytest.mark.parametrize("mu", [0.4, 1.0, 2.5])
def test_the_gaussian_curve_is_the_envelope_of_its_epsilons(mu: float) -> None:
    """Each (epsilon, delta) that mu-GDP implies lies above its curve, and together they touch it."""
    fpr = np.linspace(0.001, 0.999, 41)
    curve = tpr_ceiling_gdp(fpr, mu)
    implied = np.array(
        [tpr_ceiling_dp(fpr, epsilon, delta_from_mu(mu, epsilon)) for epsilon in np.linspace(0, 12, 1200)]
    )
    assert (implied >= curve - 1e-12).all()
    assert implied.min(axis=0) == pytest.approx(curve, abs=1e-4)


@given(fpr=st.floats(0, 1), epsilon=st.floats(0, 30), delta=st.floats(0, 0.99))
def test_the_dp_ceiling_keeps_both_conditions(fpr: float, epsilon: float, delta: float) -> None:
    tpr = float(tpr_ceiling_dp(fpr, epsilon, delta))
    assert fpr - 1e-12 <= tpr <= 1
    growth, fnr = np.exp(epsilon), 1 - tpr
    assert fnr + growth * fpr >= 1 - delta - 1e-9
    assert fpr + growth * fnr >= 1 - delta - 1e-9 * growth


def test_ceilings_at_the_corners() -> None:
    assert tpr_ceiling_gdp([0.0, 1.0], 2.0).tolist() == [0.0, 1.0]
    assert tpr_ceiling_dp([0.0, 1.0], 5.0, 0.1).tolist() == [0.1, 1.0]
    assert tpr_ceiling_dp([0.2, 0.7], 0.0, 0.0) == pytest.approx([0.2, 0.7])
    assert tpr_ceiling_dp([0.0, 1e-9], 1e9, 0.0).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: epsilon_from_mu(float("nan"), 1e-5), "mu must be finite and at least 0, got nan"),
        (lambda: epsilon_from_mu(-1, 1e-5), "mu must be finite"),
        (lambda: epsilon_from_mu(float("inf"), 1e-5), "mu must be finite"),
        (lambda: epsilon_from_mu(1, 0.0), "no finite epsilon at delta = 0"),
        (lambda: epsilon_from_mu(1, 1.0), r"delta must lie in \[0, 1\), got 1.0"),
        (lambda: mu_from_epsilon(1, float("nan")), "delta must lie"),
        (lambda: mu_from_epsilon(-0.1, 1e-5), "epsilon must be finite"),
        (lambda: delta_from_mu(1, float("inf")), "epsilon must be finite"),
        (lambda: tpr_ceiling_gdp([0.1, float("nan")], 1), "fpr must hold fractions"),
        (lambda: tpr_ceiling_dp(10, 1, 0), r"write 0\.1 % as 0\.001"),
    ],
)
def test_refuses_what_is_out_of_range(call: Callable[[], object], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        call()
