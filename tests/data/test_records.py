from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from miaudit.data.arrays import from_sides
from miaudit.data.hashes import content_hash, row_hashes
from miaudit.data.records import as_records, check_finite, kind_of, n_records, stack_records, take_records
from miaudit.errors import DataError

FORMS = ("array", "images", "sparse", "objects", "pandas", "polars")


def make(form, rows=6):
    """Six records of a form; record 4 equals record 1."""
    numbers = np.array([[0, 1.5, 0], [1, 0, 0], [0, 0, 0], [2, 0, 7], [1, 0, 0], [3, 1, 1]])[:rows]
    texts = ["a", "b", "c", "a", "b", "ä"][:rows]
    if form == "array":
        return numbers
    if form == "images":
        return np.repeat(numbers[:, :, None], 2, axis=2)
    if form == "sparse":
        return sparse.csr_array(numbers)
    if form == "objects":
        return np.array([[*row, text] for row, text in zip(numbers.tolist(), texts, strict=True)], dtype=object)
    library = pytest.importorskip(form)
    return library.DataFrame({"x": numbers[:, 0], "y": numbers[:, 1].astype(np.int32), "z": numbers[:, 2], "t": texts})


def partition(keys):
    """For each entry the number of the first that equals it."""
    return [next(i for i, other in enumerate(keys) if other == key) for key in keys]


def rows_of(X):
    if sparse.issparse(X):
        X = X.toarray()
    if hasattr(X, "to_numpy"):
        X = np.array(X.to_numpy(), dtype=object)
    return [row.tolist() for row in X]


@pytest.mark.parametrize("form", FORMS)
class TestEveryForm:
    def test_take_gives_the_same_form_and_the_rows_asked_for(self, form):
        X = make(form)
        taken = take_records(X, [5, 0, 0])
        assert type(taken) is type(X)
        assert rows_of(taken) == [rows_of(X)[i] for i in (5, 0, 0)]

    def test_stack_is_the_inverse_of_taking_apart(self, form):
        X = make(form)
        again = stack_records([take_records(X, [0, 1]), take_records(X, [2]), take_records(X, [3, 4, 5])])
        assert type(again) is type(X)
        assert n_records(again) == 6
        assert content_hash(again) == content_hash(X)

    def test_equal_rows_and_only_those_have_equal_hashes(self, form):
        hashes = row_hashes(make(form))
        assert hashes.shape == (6,)
        assert partition(hashes.tolist()) == partition(rows_of(make(form))) == [0, 1, 2, 3, 1, 5]

    def test_row_hashes_compare_between_calls(self, form):
        X = make(form)
        assert (row_hashes(take_records(X, [3, 1])) == row_hashes(X)[[3, 1]]).all()

    def test_content_hash_sees_a_change_of_order_and_of_length(self, form):
        X = make(form)
        hashes = {content_hash(X), content_hash(take_records(X, [1, 0, 2, 3, 4, 5])), content_hash(make(form, 5))}
        assert len(hashes) == 3

    def test_finite_records_pass(self, form):
        check_finite(make(form))


def test_pandas_index_is_reset_and_does_not_count():
    pandas = pytest.importorskip("pandas")
    frame = make("pandas")
    moved = frame.set_index(pandas.Index(range(10, 16)))
    assert content_hash(moved) == content_hash(frame)
    assert take_records(moved, [2, 1]).index.tolist() == [0, 1]
    assert as_records(moved).index.tolist() == list(range(6))


def test_content_hash_ignores_memory_layout_and_byte_order():
    X = np.arange(60, dtype=np.float64).reshape(12, 5)
    layouts = [X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X[::-1].copy()[::-1], X.astype(">f8")]
    assert {content_hash(layout) for layout in layouts} == {content_hash(X)}
    assert (row_hashes(X.astype(">f8")) == row_hashes(X)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_content_hash_sees_dtype(dtype):
    X = np.arange(6.0).reshape(2, 3)
    assert content_hash(X) != content_hash(X.astype(dtype))


def test_content_hash_sees_shape_and_column_names():
    X = np.arange(6.0).reshape(2, 3)
    assert content_hash(X) != content_hash(X.reshape(3, 2))
    pandas = pytest.importorskip("pandas")
    assert content_hash(pandas.DataFrame(X, columns=list("abc"))) != content_hash(
        pandas.DataFrame(X, columns=list("abd"))
    )


def test_texts_cannot_run_into_each_other():
    pairs = [np.array([["ab", "c"]], dtype=object), np.array([["a", "bc"]], dtype=object)]
    assert content_hash(pairs[0]) != content_hash(pairs[1])
    assert len(set(row_hashes(np.concatenate(pairs)).tolist())) == 2


def test_a_number_and_its_text_differ():
    X = np.array([[1], ["1"], [1.0], [True]], dtype=object)
    assert len(set(row_hashes(X).tolist())) == 4


def test_sparse_hash_is_that_of_the_canonical_matrix():
    plain = sparse.csr_array(np.array([[0, 1.0, 2.0], [3.0, 0, 0]]))
    messy = sparse.csr_array(
        (np.array([2.0, 0.5, 0.5, 3.0, 0.0]), np.array([2, 1, 1, 0, 2]), np.array([0, 3, 5])), shape=(2, 3)
    )
    before = messy.data.copy()
    assert content_hash(messy) == content_hash(plain)
    assert (row_hashes(messy) == row_hashes(plain)).all()
    assert (messy.data == before).all(), "the caller's matrix was changed"


@settings(deadline=None, max_examples=60)
@given(arrays(np.float64, (9, 2), elements=st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-52, 5e-324, -3.0])))
def test_row_hashes_agree_with_comparing_all_pairs(X):
    assert partition(row_hashes(X).tolist()) == partition([row.tolist() for row in X])
    assert partition(row_hashes(sparse.csr_array(X)).tolist()) == partition([row.tolist() for row in X])


def test_content_hash_is_pinned():
    """A stored row is keyed by it: a change of the hash must be seen, and wanted."""
    X = np.arange(4, dtype=np.int16).reshape(2, 2)
    assert content_hash(X) == hashlib.sha256(b"array|(2, 2)|<i2|" + X.astype("<i2").tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("X", "where"),
    [
        (np.array([[1.0, 2], [np.inf, np.nan]]), "record 1 (counted from 0), column 0"),
        (np.array([[1.0, 2], [3.0, np.nan], [np.nan, 4.0]]), "record 1 (counted from 0), column 1"),
        (np.array([[[1.0, 2.0]], [[np.nan, np.nan]]]), "record 1 (counted from 0), position (0, 0)"),
        (sparse.csr_array(np.array([[0, 0], [0, np.nan], [np.inf, 0]])), "record 1 (counted from 0), column 1"),
        (np.array([["a", 1], ["b", None], [float("nan"), 2]], dtype=object), "record 1 (counted from 0), column 1"),
    ],
)
def test_what_is_not_finite_is_named_with_its_place(X, where):
    with pytest.raises(DataError) as caught:
        check_finite(X, "features")
    assert str(caught.value).startswith("features: 2 values that are NaN, infinite or missing, first in " + where)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_missing_values_of_frames_are_named_by_column(library):
    frame = pytest.importorskip(library).DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"], "c": [None, 1, 2]})
    with pytest.raises(DataError, match=r"2 values .* record 0 \(counted from 0\), column 'c'"):
        check_finite(frame)


def test_other_objects_are_refused():
    with pytest.raises(
        DataError, match="must be a numpy array, a scipy sparse matrix, or a pandas or polars DataFrame; got list"
    ):
        kind_of([[1]])


class Unreadable:
    """As tensors of torch that numpy cannot hold."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("it requires grad")


class Unread:
    """As a frame of polars that is yet to be read."""

    columns = ("a",)

    def collect(self):
        raise NotImplementedError


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_of_numpy_is_an_array():
    assert type(as_records(np.asmatrix(np.eye(2)))) is np.ndarray


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.arange(3), r"shape \(n, features\).*got \(3,\)"),
        ([[1, 0.5], [3]], r"record 0 is \[1, 0.5\].*padding"),
        (
            np.array([np.eye(2), np.eye(2), None], object)[:2],
            r"lists or arrays in one axis.*as np.stack\(list\(X\)\) does",
        ),
        ([{"a": 1}, {"a": 2}], "as pandas.DataFrame"),
        (np.zeros(3, [("a", "f8"), ("b", "i4")]), "have dtype .*pandas.DataFrame"),
        (Unreadable(), "of type Unreadable cannot be read as an array: it requires grad"),
        (Unread(), r"got Unread: give what its collect\(\) returns"),
        (np.ma.masked_array(np.ones((2, 2))), "masked array"),
        (np.ones((2, 2), dtype=complex), "dtype complex128"),
        (np.empty((2, 2, 2), dtype=object), "must be a table"),
        (sparse.coo_array(np.ones((2, 2), dtype=complex)), "sparse matrix must be of numbers"),
    ],
)
def test_records_that_cannot_be_used_are_refused(X, message):
    with pytest.raises(DataError, match=message):
        as_records(X)


def test_lists_with_texts_become_tables_that_keep_their_numbers():
    X = as_records([[1, "a"], [2, "b"]])
    assert X.dtype == object
    assert X[0, 0] == 1


@pytest.mark.parametrize("make_sparse", [sparse.coo_array, sparse.csc_array, sparse.csr_matrix, sparse.lil_matrix])
def test_any_sparse_format_becomes_csr(make_sparse):
    X = as_records(make_sparse(np.eye(3)))
    assert X.format == "csr"
    assert (X.toarray() == np.eye(3)).all()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "no records to stack"),
        (
            [np.ones((1, 2)), sparse.csr_array(np.ones((1, 2)))],
            r"different forms cannot be stacked \(part 1 array, part 2 sparse\)",
        ),
        ([np.ones((1, 2)), np.ones((1, 3))], r"part 2 has records of shape \(3,\), part 1 has \(2,\)"),
    ],
)
def test_parts_that_do_not_fit_are_not_stacked(parts, message):
    with pytest.raises(DataError, match=message):
        stack_records(parts)


def test_frames_with_other_columns_are_not_stacked():
    pandas = pytest.importorskip("pandas")
    a, b = pandas.DataFrame({"x": [1], "y": [2]}), pandas.DataFrame({"x": [1], "q": [2]})
    with pytest.raises(DataError, match=r"part 2 has other columns.*\['q', 'y'\]"):
        stack_records([a, b])
    with pytest.raises(DataError, match=r"part 2 has other columns.*\['y'\]"):
        stack_records([a, a[["x"]]])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_frames_are_matched_by_their_names(library):
    module = pytest.importorskip(library)
    a, b = module.DataFrame({"x": [1, 2], "y": [3, 4]}), module.DataFrame({"y": [5], "x": [6]})
    stacked = stack_records([a, b])
    assert list(stacked.columns) == ["x", "y"]
    assert (stacked["x"].to_numpy().tolist(), stacked["y"].to_numpy().tolist()) == ([1, 2, 6], [3, 4, 5])
    dataset, _ = from_sides({"members": (a, [0, 1]), "nonmembers": (b, [1])})
    assert dataset.notes == (
        "nonmembers has its columns in another order than members; they were matched by their names.",
    )
    assert not from_sides({"members": (a, [0, 1]), "nonmembers": (a, [1, 0])})[0].notes


def test_polars_frames_of_other_types_are_not_stacked():
    polars = pytest.importorskip("polars")
    with pytest.raises(DataError, match="different types"):
        stack_records([polars.DataFrame({"x": [1]}), polars.DataFrame({"x": ["a"]})])
