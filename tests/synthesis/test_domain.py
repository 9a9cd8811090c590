from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from miaudit.data import Column, Schema, from_arrays
from miaudit.data.hashes import content_hash
from miaudit.errors import DataError
from miaudit.synthesis import Domain


def frame():
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(
        {
            "sex": pd.Categorical(["f", "m", "f", "f"]),
            "job": ["baker", "judge", "judge", "nurse"],
            "age": [20, 70, 31, 44],
            "rate": [0.5, 2.25, 1.0, -3.5],
            "union": [0, 1, 1, 0],
        }
    )


def forms():
    X = np.array([[0, 1, 5, -0.5], [1, 0, 9, 2.0], [1, 1, 7, 0.25], [0, 0, 5, 1.5]])
    yield "numbers", X
    yield "float32", X.astype(np.float32)
    yield "bits", (X[:, :2]).astype(np.uint8)
    yield "sparse", sparse.csr_matrix(X)
    yield "images", (np.arange(4 * 3 * 3) * 7 % 256).reshape(4, 3, 3).astype(np.uint8)
    yield "objects", np.array([["a", 1.5], ["b", 2.0], ["a", 2.5], ["c", 9.0]], dtype=object)
    yield "frame", frame()


@pytest.mark.parametrize(("form", "X"), list(forms()), ids=lambda value: value if isinstance(value, str) else "")
def test_records_come_back_from_numbers_in_the_form_they_had(form, X):
    dataset = from_arrays(X, np.array([0, 1, 0, 1]))
    domain = Domain.of(dataset)
    values = domain.values(dataset.X)
    assert values.shape == (4, domain.width)
    again = domain.records(values)
    assert type(again) is type(dataset.X)
    assert content_hash(again) == content_hash(dataset.X)


def test_a_polars_frame_comes_back():
    pl = pytest.importorskip("polars")
    X = pl.DataFrame({"job": ["a", "b", "a", "c"], "age": [20, 70, 31, 44], "rate": [0.5, 2.25, 1.0, -3.5]})
    dataset = from_arrays(X, np.array([0, 1, 0, 1]))
    domain = Domain.of(dataset)
    assert domain.records(domain.values(X)).equals(X)


def test_categories_may_stand_in_a_matrix_as_any_numbers():
    schema = Schema((Column("a", "categorical", ("ten", "twenty"), values=(10.0, 20.0)), Column("b", "binary")))
    X = np.array([[10.0, 0], [20, 1], [10, 1]])
    domain = Domain.of(from_arrays(X, np.array([0, 1, 0]), schema=schema))
    np.testing.assert_array_equal(domain.values(X), [[0, 0], [1, 1], [0, 1]])
    np.testing.assert_array_equal(domain.records(domain.values(X)), X)


def table_domain():
    X = np.column_stack([[0, 1, 1], [0, 1, 2], [17, 90, 30], [-2.5, 1.5, 0.3], [4, 4, 4]]).astype(float)
    stated = {"x1": "categorical", "x2": "numeric", "x3": "numeric", "x4": "numeric"}
    return Domain.of(from_arrays(X, np.array([0, 1, 0]), stated=stated))


@settings(max_examples=60, deadline=None)
@given(feature=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_drawn_values_are_possible_ones_and_other_values_are_others(feature, seed):
    domain, n = table_domain(), 200
    rng = np.random.default_rng(seed)
    low, high, stepped = [(0, 1, True), (0, 2, True), (17, 90, True), (-2.5, 1.5, False), (4, 4, True)][feature]
    features, u = np.full(n, feature), np.r_[0.0, 1 - 2**-53, rng.random(n - 2)]
    old = domain.uniform(features, rng.random(n))
    for drawn in (old, domain.uniform(features, u), domain.changed(features, u, old), domain.other(features, u, old)):
        assert ((drawn >= low) & (drawn <= high)).all()
        assert not stepped or (drawn == np.floor(drawn)).all()
    if high > low:
        assert (domain.other(features, u, old) != old).all()
    if feature == 0:
        np.testing.assert_array_equal(domain.changed(features, u, old), 1 - old)


def test_draws_are_uniform_over_all_values_and_over_the_others():
    domain, n = table_domain(), 30_000
    feature, u = np.full(n, 1), np.random.default_rng(0).random(n)
    assert np.abs(np.bincount(domain.uniform(feature, u).astype(int)) / n - 1 / 3).max() < 0.015
    others = np.bincount(domain.other(feature, u, np.ones(n)).astype(int), minlength=3) / n
    assert others[1] == 0
    assert abs(others[0] - 0.5) < 0.015


def test_records_of_another_width_are_refused():
    with pytest.raises(DataError, match=r"5 features are expected.*\(2, 3\)"):
        table_domain().records(np.zeros((2, 3)))
