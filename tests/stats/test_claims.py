"""What an audit claims of its attacks: the levels add up, noise is claimed seldom, and each kind of leak is seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from miaudit.errors import DataError, PlanError
from miaudit.stats import auc_interval, claims, levels, precedence


def noise(rng: np.random.Generator, n: int, attacks: int, values: int | None, correlation: float) -> np.ndarray:
    """(attacks, n) scores of exchangeable records, tied where so many values are wanted."""
    scores = correlation**0.5 * rng.normal(size=n) + (1 - correlation) ** 0.5 * rng.normal(size=(attacks, n))
    return scores if values is None else np.floor(values * scores.argsort(axis=1).argsort(axis=1) / n)


@pytest.mark.parametrize("attacks", [1, 5, 11])
def test_the_levels_of_all_claims_add_up_to_one_audit_of_twenty(attacks: int) -> None:
    each = levels(attacks)
    assert sum(each) * attacks == pytest.approx(0.05)
    assert each.above * attacks == pytest.approx(0.025)
    assert each.few * attacks == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("sides", "values", "attacks", "correlation"),
    [((20, 20), None, 11, 0.0), ((200, 20), 3, 5, 0.0), ((20, 200), 10, 11, 0.9), ((200, 200), None, 5, 0.9)],
)
def test_noise_is_claimed_in_at_most_one_audit_of_twenty(
    sides: tuple[int, int], values: int | None, attacks: int, correlation: float
) -> None:
    rng, trials, n_in = np.random.default_rng(0), 120, sides[0]
    false = 0
    for _ in range(trials):
        every = noise(rng, sum(sides), attacks, values, correlation)
        false += any(claims(each[:n_in], each[n_in:], attacks=attacks).any for each in every)
    assert false <= binom.ppf(0.999, trials, 0.05)


def test_each_kind_of_leak_makes_its_own_claim() -> None:
    rng = np.random.default_rng(1)
    outs, ins = rng.normal(size=500), rng.normal(size=500)
    shifted, few = (
        claims(ins + 0.5, outs, attacks=11),
        claims(np.where(np.arange(500) < 25, 9.0, ins), outs, attacks=11),
    )
    assert (shifted.above_chance, shifted.below_chance) == (True, False)
    assert (few.above_chance, few.above_chance_at_low_fpr) == (False, True)
    assert (few.exposed.rank, few.exposed.above >= 25) == (0, True)
    assert claims(ins - 0.5, outs, attacks=11).below_chance
    assert not claims(ins, outs, attacks=11).any


def test_the_figures_are_those_of_its_parts() -> None:
    rng = np.random.default_rng(2)
    ins, outs = rng.normal(0.3, 1, 80), rng.normal(size=90)
    each = claims(ins, outs, attacks=4)
    assert each.auc_corrected == (*auc_interval(ins, outs, confidence=1 - 0.05 / 4), 1 - 0.05 / 4)
    assert each.exposed == precedence(ins, outs, level=levels(4).few)
    assert each.above_chance == (each.auc_corrected.low > 0.5)
    assert each.below_chance == (auc_interval(ins, outs, confidence=1 - 0.01 / 4).high < 0.5)


def test_records_of_people_are_no_independent_draws_for_the_test_of_a_few() -> None:
    rng = np.random.default_rng(3)
    ins, outs = np.repeat(rng.normal(size=(2, 40)), 5, axis=1)
    people = np.repeat(np.arange(80), 5)
    each = claims(ins, outs, people[:200], people[200:])
    assert each.exposed is each.above_chance_at_low_fpr is None
    assert not each.any


def test_refuses_what_are_no_audits() -> None:
    with pytest.raises(PlanError, match="attacks must be at least 1"):
        levels(0)
    with pytest.raises(PlanError, match="confidence"):
        claims([1.0], [0.0], confidence=1.5)
    with pytest.raises(DataError):
        claims([], [0.0])
