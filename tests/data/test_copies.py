"""Records that a model sees as the same are found in every form, and never on two sides of an audit."""

from __future__ import annotations

import datetime

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


NEARLY = {
    "three decimals": lambda X: np.round(X, 3),
    "two decimals": lambda X: np.round(X, 2),
    "half floats": lambda X: X.astype(np.float16).astype(float),
    "cut to two decimals": lambda X: np.trunc(X * 100) / 100,
    "noise": lambda X: X + np.random.default_rng(5).normal(0, 3e-3, X.shape),
    "an offset": lambda X: X + 1e-3,
}


@pytest.mark.parametrize("form", NEARLY)
@pytest.mark.parametrize("width", [3, 6, 30])
@pytest.mark.parametrize("of", [MEMBERS, NONMEMBERS])
def test_near_copies_of_audited_records_leave_the_population(form, width, of):
    """The others of the population are not rounded, so that no side has a number of decimals of its own."""
    X = records(d=width)
    X[400:500] = NEARLY[form](X[of][:100])
    dataset, split = case(X)
    clean = leave_out_copies(dataset, split, need=200)
    assert set(range(400, 500)).isdisjoint(clean.population.tolist())
    assert 480 <= len(clean.population) <= 500
    assert (len(clean.members), len(clean.nonmembers)) == (200, 200)
    assert 50 <= clean.copies.near <= 120  # some are as near as another float format
    assert "up to rounding or noise" in clean.copies.sentences(200, 200, 500)[0]


def test_near_copies_of_repeated_records_are_seen():
    X = records()
    X[200:400] = np.repeat(X[200:250], 4, axis=0)
    X[400:600] = np.round(X[200:400], 2)
    assert len(leave_out_copies(*case(X), need=200).population) == 400


@pytest.mark.parametrize("form", ["frame", "texts", "sparse"])
def test_near_copies_are_seen_in_every_form(form):
    X = records(d=6)
    X[400:500] = np.round(X[:100], 2)
    forms = {
        "frame": lambda: pd.DataFrame(X).assign(sex=np.tile(["f", "m"], 500)),
        "texts": lambda: X.astype(str).astype(object),
        "sparse": lambda: sparse.csr_matrix(X),
    }
    assert leave_out_copies(*case(forms[form]()), need=200).copies.near >= 100


def test_members_rounded_among_the_non_members_are_refused():
    X = records()
    X[200:400] = np.round(X[:200], 2)
    with pytest.raises(SplitError, match="200 of the 200 non-members are copies of members"):
        leave_out_copies(*case(X), need=200)


@pytest.mark.parametrize("decimals", [0, 1, 2, 8])
@pytest.mark.parametrize("width", [1, 2, 3, 6])
def test_honest_sides_have_no_near_copies_whatever_their_decimals(decimals, width):
    for seed in range(3):
        X = np.round(records(seed, d=width), decimals)
        X[:200] = np.round(X[:200], 1)  # one side was saved with fewer decimals
        clusters = records(seed + 50, 20, width)[np.arange(1000) % 20] + 0.01 * records(seed + 90, d=width)
        for table in (X, clusters):
            assert leave_out_copies(*case(table), need=1).copies.near == 0


WHOLE = (records(3) * 1e9).astype(np.int64) // 8 + 2**60
EXACT = {
    "int64": WHOLE,
    "uint64": WHOLE.astype(np.uint64) + np.uint64(2**63),
    "frame": pd.DataFrame(WHOLE),
    "objects": WHOLE.astype(object),
    "texts": WHOLE.astype(str).astype(object),
    "whole floats": np.rint(records(3) * 1e9) + 2.0**40,
    "mixed objects": np.column_stack([["x", *(WHOLE[1:, 0] - 2**60 + 2**40).astype(float).tolist()]] * 2).astype(
        object
    ),
    "close floats": 1 + 1e-9 * records(3),
    "sparse": sparse.csr_matrix(1 + 1e-9 * records(3)),
    "sparse whole": sparse.csr_matrix(np.rint(records(3) * 1e9) + 2.0**40),
}


@pytest.mark.parametrize("form", EXACT)
def test_different_numbers_are_different_records_where_all_have_one_type(form):
    sides = np.repeat([0, 1, 2], SIZES)
    assert len(np.unique(same_records(EXACT[form], sides))) == 1000
    assert not any(leave_out_copies(*case(EXACT[form]), need=200).copies.same.values())


@pytest.mark.parametrize("scale", [1e3, 1e9])
def test_a_side_of_float32_is_compared_as_float32(scale):
    X = np.rint(records() * scale) + (2**26 if scale == 1e9 else 0.25)
    X[400:] = np.concatenate([X[:50], X[450:]]).astype(np.float32)
    clean = leave_out_copies(*case(X), need=200)
    assert clean.copies.left_out["population"] == 50


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


def people(seed: int = 0, n: int = 1000) -> pd.DataFrame:
    """Records of mixed columns, some with few values, with a number of their own and a time stamp."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "number": np.arange(n) + 1000 * seed,
            "seen": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 10**7, n), unit="s"),
            "age": rng.integers(18, 90, n).astype(float),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], n),
            "sex": rng.choice(["f", "m"], n),
            **{f"x{i}": np.round(rng.normal(size=n), 2) for i in range(4)},
            **{f"k{i}": rng.integers(0, 4, n) for i in range(6)},
        }
    )


def with_copies(table: pd.DataFrame, of: slice, changed: dict) -> pd.DataFrame:
    """The table with 150 records of the population copied from a side, but for some columns."""
    copies = table.iloc[of].iloc[:150].assign(**changed)
    return pd.concat([table.iloc[:400], copies, table.iloc[550:]], ignore_index=True)


CHANGES = {
    "another number": {"number": range(9000, 9150)},
    "another time": {"seen": pd.Timestamp("2030-05-05")},
    "noise in one column": {"x0": lambda t: t.x0 + np.random.default_rng(5).normal(size=len(t))},
    "another unit": {"age": lambda t: t.age * 12},
    "other words": {"city": lambda t: t.city.str.upper()},
    "number, time and noise": {
        "number": range(9000, 9150),
        "seen": pd.Timestamp("2030-05-05"),
        "x0": lambda t: t.x0 + np.random.default_rng(5).normal(size=len(t)),
    },
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("of", [MEMBERS, NONMEMBERS])
def test_copies_with_a_few_columns_changed_leave_the_population(change, of):
    dataset, split = case(with_copies(people(), of, CHANGES[change]))
    clean = leave_out_copies(dataset, split, need=200)
    assert set(range(400, 550)).isdisjoint(clean.population.tolist())
    assert 445 <= len(clean.population) <= 450
    assert (len(clean.members), len(clean.nonmembers)) == (200, 200)
    assert "but for at most 3 columns" in clean.copies.sentences(200, 200, 450)[0]


@pytest.mark.parametrize("form", ["array", "float32", "sparse", "polars", "texts"])
def test_copies_with_one_column_changed_are_seen_in_every_form(form):
    X = records(d=6)
    X[:, 5] = np.random.default_rng(1).integers(0, 3, 1000)
    X[400:500] = X[:100]
    X[400:500, 2] = np.random.default_rng(2).normal(size=100)
    forms = {
        "array": lambda: X,
        "float32": lambda: X.astype(np.float32),
        "sparse": lambda: sparse.csr_matrix(X),
        "polars": lambda: pl.DataFrame(X, schema=list("abcdef")),
        "texts": lambda: X.astype(str).astype(object),
    }
    clean = leave_out_copies(*case(forms[form]()), need=200)
    assert set(range(400, 500)).isdisjoint(clean.population.tolist())
    assert len(clean.population) >= 495


def test_a_side_given_twice_with_other_numbers_is_refused():
    table = people()
    twice = pd.concat([table.iloc[:400], table.iloc[200:400], table.iloc[200:400]], ignore_index=True)
    with pytest.raises(SplitError, match="400 of the 400 records of the population are copies"):
        leave_out_copies(*case(twice.assign(number=range(800)), sizes=(200, 200, 400)), need=200)


@pytest.mark.parametrize("kind", ["few values", "binary", "another year a side", "two records a person"])
def test_honest_records_of_few_values_are_no_copies_but_for_a_few_columns(kind):
    """However often records agree by chance: they do so within the sides as well."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X = rng.integers(0, 3, (1000, 8)).astype(float)
        if kind == "binary":
            X = (rng.random((1000, 40)) < 0.05).astype(float)
        elif kind == "another year a side":
            X[:, 0] = np.repeat([2020, 2021, 2022], SIZES)
        elif kind == "two records a person":
            X[:, 3:] = np.repeat(rng.normal(size=(500, 5)), 2, axis=0)[rng.permutation(1000)]
        assert leave_out_copies(*case(X), need=1).copies.near == 0


def test_equal_values_that_say_different_things_are_different_records():
    """Python holds these for equal, and a model that reads texts does not."""
    noon = datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC)
    same_time = noon.astimezone(datetime.timezone(datetime.timedelta(hours=2)))
    assert noon == same_time
    values = [noon, same_time, noon, (1,), (1.0,), [1], True, 1, "1", "a", "a "]
    column = np.empty((len(values), 1), object)
    column[:, 0] = values
    assert same_records(column).tolist() == [0, 1, 0, 2, 3, 4, 5, 5, 5, 6, 6]
