from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from miaudit.errors import DataError, PlanError
from miaudit.stats import accuse, benjamini_hochberg, conformal_p_values

SCORES = st.lists(st.integers(-4, 4).map(float) | st.floats(-5, 5), min_size=1, max_size=20)
Law = Callable[[np.random.Generator, int, int], tuple[NDArray[np.float64], NDArray[np.float64]]]


def naive_rejections(p: list[float], q: float) -> list[bool]:
    """The largest k of which the k-th smallest is at most q k / m; all at most that one are rejected."""
    m, last = len(p), -1.0
    for k, value in enumerate(sorted(p), 1):
        if value <= q * k / m + 1e-15:
            last = value
    return [value <= last for value in p]


@given(scores=SCORES, apart=SCORES)
def test_a_p_value_counts_those_apart_that_score_at_least_as_high(scores: list[float], apart: list[float]) -> None:
    expected = [(1 + sum(other >= score for other in apart)) / (1 + len(apart)) for score in scores]
    assert conformal_p_values(scores, apart).tolist() == pytest.approx(expected)


@given(p=st.lists(st.integers(1, 40).map(lambda k: k / 40), min_size=1, max_size=30), q=st.integers(1, 9))
def test_rejects_up_to_the_last_that_passes(p: list[float], q: int) -> None:
    assert benjamini_hochberg(p, q / 10).tolist() == naive_rejections(p, q / 10)


@given(a=SCORES, b=SCORES, seed=st.integers(0, 9))
def test_a_list_counts_who_is_on_it_and_names_nobody_set_apart(a: list[float], b: list[float], seed: int) -> None:
    found = accuse(a, b, 0.3, seed=seed)
    assert int(found.apart_out.sum()) == len(b) // 2
    assert not (found.named_out & found.apart_out).any()
    assert found.named == found.of_members + found.false <= len(a) + found.nonmembers
    if found.named:
        lowest = min(np.array(a)[found.named_in].min(initial=np.inf), np.array(b)[found.named_out].min(initial=np.inf))
        assert (np.array(a) >= lowest).tolist() == found.named_in.tolist(), "a list is all above a threshold"


def _alike(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return rng.normal(size=n_in), rng.normal(size=n_out)


def _shifted(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return rng.normal(2.0, 1, n_in), rng.normal(size=n_out)


def _few_exposed(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.where(np.arange(n_in) < n_in // 4, 9.0, rng.normal(size=n_in)), rng.normal(size=n_out)


def _tied(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return rng.normal(1.5, 1, n_in).round(), rng.normal(size=n_out).round()


def _heavy(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return rng.standard_t(1, n_in) + 6, rng.standard_t(1, n_out)


@pytest.mark.parametrize("law", [_alike, _shifted, _few_exposed, _tied, _heavy])
@pytest.mark.parametrize(("n_in", "n_out"), [(200, 200), (400, 40), (40, 400), (20, 20)])
def test_at_most_a_tenth_of_the_named_are_wrong_on_average(law: Law, n_in: int, n_out: int) -> None:
    """The mean share of non-members on a list is at most q, by three standard errors of 600 trials."""
    rng, shares = np.random.default_rng(0), []
    for trial in range(600):
        found = accuse(*law(rng, n_in, n_out), 0.1, seed=trial)
        shares.append(found.false / max(found.named, 1))
    bound = 0.1 * (n_out - n_out // 2) / (n_in + n_out - n_out // 2)
    assert np.mean(shares) <= bound + 3 * np.std(shares) / np.sqrt(len(shares))


def test_all_members_above_all_others_are_named() -> None:
    found = accuse(np.arange(100) + 100.0, np.arange(100.0), 0.1)
    assert found.of_members == 100
    assert found.false <= 11
    assert found.reason is None


def test_says_where_so_few_non_members_make_no_list() -> None:
    found = accuse(np.arange(20) + 100.0, np.arange(20.0), 0.1)
    assert found.named == 0
    assert found.reason is not None
    assert "10 non-members set apart" in found.reason
    assert accuse([1.0], [0.0]).reason is not None


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, float("nan")])
def test_refuses_rates_that_are_none(q: float) -> None:
    with pytest.raises(PlanError, match="q must lie between 0 and 1"):
        accuse([1.0, 2.0], [0.0, 1.0], q)


def test_refuses_p_values_that_are_none() -> None:
    with pytest.raises(DataError, match=r"numbers in \[0, 1\]"):
        benjamini_hochberg([0.1, float("nan")])
