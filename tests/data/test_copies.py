"""Records that a model sees as the same are found in every form, and never on two sides of an audit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from miaudit.data import from_arrays, given_split, leave_out_copies, same_records, stack_records
from miaudit.errors import SplitError

SIZES = (200, 200, 600)


def records(seed: int = 0, n: int = 1000, d: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def coarse(seed: int = 0, n: int = 1000, d: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (n, d)).astype(float)


def case(X, y=None, sizes=SIZES):
    n = sum(sizes)
    y = np.arange(n) % 2 if y is None else y
    dataset = from_arrays(X, y)
    return dataset, given_split(dataset, *np.split(np.arange(n), np.cumsum(sizes)[:-1]))


def planted(copies, of, share: float, change=lambda X: X) -> np.ndarray:
    """Fresh records, with the first ``share`` of the population copied from a side."""
    X = records()
    k = round(share * 600)
    X[400 : 400 + k] = change(X[of][np.arange(k) % 200])
    return X


MEMBERS, NONMEMBERS, AUDITED = slice(0, 200), slice(200, 400), slice(0, 400)

AS_SEEN = {
    "the same": lambda X: X,
    "float32": lambda X: X.astype(np.float32).astype(float),
    "six decimals": lambda X: np.round(X, 6),
    "four decimals": lambda X: np.round(X, 4),
    "rounding errors": lambda X: X * (1 + 1e-12) + 1e-13,
    "minus zero": lambda X: np.where(X == 0, -0.0, X),
}


@pytest.mark.parametrize("form", AS_SEEN)
@pytest.mark.parametrize("width", [1, 2, 3, 30])
def test_a_record_is_the_same_in_another_float_format(form: str, width: int) -> None:
    X = records(d=width)
    X[:50] = 0
    other = AS_SEEN[form](X)
    codes = same_records(np.concatenate([X, other]))
    if (form, width) != ("four decimals", 1):  # one column of 2,000 numbers is too crowded for that
        np.testing.assert_array_equal(codes[:1000], codes[1000:])
    assert 949 <= len(np.unique(codes[:1000])) <= 951  # neighbours by chance, in one column


@given(st.integers(0, 2**31), st.sampled_from(["dense", "sparse", "image", "whole", "objects"]))
def test_records_are_the_same_exactly_where_a_naive_comparison_says_so(seed: int, form: str) -> None:
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (60, 3)) * (0.37 if form != "whole" else 1)
    X[30:] = X[rng.integers(0, 30, 30)] + rng.choice([0, 1e-9], (30, 1)) * (form not in ("whole", "objects"))
    near = np.abs(X[:, None] - X[None]).max(axis=2) < 1e-6
    given_ = {
        "sparse": lambda: sparse.csr_matrix(X),
        "image": lambda: X.reshape(60, 1, 3, 1),
        "objects": lambda: np.array([[str(v) if v < 0 else v for v in row] for row in X.tolist()], object),
    }.get(form, lambda: X)()
    codes = same_records(given_)
    np.testing.assert_array_equal(codes[:, None] == codes[None], near)


def test_texts_dates_and_missing_values_are_compared_as_they_read() -> None:
    frame = pd.DataFrame(
        {
            "name": ["a ", "a", "b", "a", "b"],
            "code": ["1.50", 1.5, "1.5", 1.5, "x"],
            "day": pd.to_datetime(["2024-01-01", "2024-01-01", "2024-01-02", "2024-01-01", "2024-01-02"]),
            "size": [1.0, np.nan, 3.0, np.nan, 3.0],
        }
    )
    assert same_records(frame).tolist() == [0, 1, 2, 1, 3]
    assert same_records(pl.DataFrame({"a": ["x", "x", "y"], "b": [1, 1, 1]})).tolist() == [0, 0, 1]
    kinds = [pd.DataFrame({"c": pd.Series(["u", "v"], dtype=t), "x": [0.1, 0.2]}) for t in ("category", "object")]
    assert same_records(stack_records(kinds)).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("form", ["the same", "float32", "six decimals"])
@pytest.mark.parametrize("of", [MEMBERS, NONMEMBERS, AUDITED])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 1.0])
def test_copies_of_audited_records_leave_the_population_or_the_audit_is_refused(share, of, form) -> None:
    X = planted(records, of, share, AS_SEEN[form])
    dataset, split = case(X)
    if share == 1.0:
        with pytest.raises(SplitError, match="600 of the 600 records of the population are copies of audited records"):
            leave_out_copies(dataset, split, need=200)
        return
    clean = leave_out_copies(dataset, split, need=200)
    assert len(clean.population) == 600 - round(600 * share)
    assert clean.copies.left_out.get("population", 0) == round(600 * share)
    assert not np.isin(*(same_records(X)[side] for side in (clean.population, np.arange(400)))).any()
    assert (len(clean.members), len(clean.nonmembers)) == (200, 200)


def test_a_copy_with_another_class_is_a_copy_and_counted_apart() -> None:
    X, y = planted(records, NONMEMBERS, 0.1), np.arange(1000) % 2
    y[400:430] = 1 - y[200:230]
    y[430:460] = y[230:260]
    dataset, split = case(X, y)
    copies = leave_out_copies(dataset, split, need=200).copies
    assert copies.same["nonmembers/population"] == copies.left_out["population"] == 60
    assert copies.labelled["nonmembers/population"] == 30


def test_members_among_the_non_members_leave_both_sides() -> None:
    X = records()
    X[200:260] = X[:60] + 1e-10
    dataset, split = case(X)
    clean = leave_out_copies(dataset, split, need=200)
    assert clean.copies.left_out == {"members": 60, "nonmembers": 60, "population": 0}
    np.testing.assert_array_equal(clean.members, np.arange(60, 200))
    np.testing.assert_array_equal(clean.nonmembers, np.arange(260, 400))
    X[200:400] = X[:200]
    with pytest.raises(SplitError, match=r"200 of the 200 non-members are copies of members .* too few to audit"):
        leave_out_copies(*case(X), need=200)


def test_what_is_left_must_do_for_the_shadow_models() -> None:
    X = planted(records, AUDITED, 0.5)
    assert len(leave_out_copies(*case(X), need=300).population) == 300
    with pytest.raises(SplitError, match="300 records are left, where 301 are needed"):
        leave_out_copies(*case(X), need=301)
    small = case(records(n=450), sizes=(200, 200, 50))  # too small from the start: the design says what to do
    assert len(leave_out_copies(*small, need=200).population) == 50


@pytest.mark.parametrize("seed", range(10))
def test_records_of_few_different_values_are_kept_and_counted(seed: int) -> None:
    dataset, split = case(coarse(seed))
    same = leave_out_copies(dataset, split, need=200, seed=seed)
    assert (len(same.members), len(same.nonmembers), len(same.population)) == SIZES
    assert same.copies.alike
    assert same.copies.shared > 150
    assert same.copies.trained > 550


@pytest.mark.parametrize("of", [MEMBERS, NONMEMBERS])
@pytest.mark.parametrize("width", [8, 12])
def test_copies_among_records_of_few_different_values_are_told_from_chance(of, width) -> None:
    """Of 4,096 kinds a few coincide by themselves; a side given twice lies across the sides more often than dealing."""
    X = coarse(d=width)
    X[400:600] = X[of]
    dataset, split = case(X)
    clean = leave_out_copies(dataset, split, need=1)
    if width == 12:
        assert clean.copies.left_out["population"] >= 200
    assert clean.copies.trained == 0 or clean.copies.alike
    X[400:] = np.tile(X[of], (3, 1))
    with pytest.raises(SplitError, match="copies of audited records"):
        leave_out_copies(*case(X), need=200)


@pytest.mark.parametrize("kinds", [2, 20])
def test_a_side_that_repeats_its_records_does_not_hide_its_copies(kinds: int) -> None:
    X, repeated = records(), records(1)[:kinds]
    X[200:400] = records(1)[np.arange(200) % 20]
    X[400:1000] = repeated[np.arange(600) % kinds]
    with pytest.raises(SplitError, match="600 of the 600 records"):
        leave_out_copies(*case(X), need=200)
