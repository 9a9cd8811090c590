"""Records and labels of several sides: nothing is paired by an order that was not stated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miaudit.data import from_arrays, from_sides, stack_records
from miaudit.data.naming import LONGEST
from miaudit.errors import DataError, PlanError

X = np.arange(8.0).reshape(4, 2)
Y = np.array([0, 1, 1, 0])


def test_sides_are_one_data_set_with_its_parts():
    dataset, parts = from_sides({"members": (X, Y), "nonmembers": (X + 1, Y[::-1]), "population": (X[:2], Y[:2])})
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert dataset.y.tolist() == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1]
    assert (dataset.X[4:8] == X + 1).all()


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ((X, ["a", "b", "b", "a"]), "y holds numbers in members and texts in nonmembers"),
        ((X.astype(object).astype(str).astype(object), Y), "column 0 holds numbers in members and texts in nonmembers"),
        ((X, Y[:3]), "nonmembers: 4 records but 3 classes"),
        ((X[:0], Y[:0]), "nonmembers is empty"),
        ((X, np.c_[Y, 1 - Y]), r"nonmembers: y must have shape \(n,\).*np\.argmax\(values, axis=1\) of one-hot rows"),
        ((X, np.c_[Y, Y]), r"nonmembers: y must have shape \(n,\).*values\[:, 0\], as several values per record"),
        ((X, np.c_[Y, Y] + 0.5), r"nonmembers: y must have shape \(n,\).*values\[:, 0\], as several values per record"),
        ((X, np.c_[Y]), r"nonmembers: y must have shape \(n,\).*np\.ravel\(values\) of a column"),
        ((iter(X), Y), "records are an .*iterator, which can be read only once"),
        ((X, iter(Y)), "nonmembers: y is an .*iterator, which can be read only once"),
        ((X, None), "nonmembers: labels are missing"),
        ((X[:, :1], Y), r"nonmembers has records of shape \(1,\), members has \(2,\)"),
    ],
)
def test_sides_that_do_not_fit(side, message):
    with pytest.raises(DataError, match=message):
        from_sides({"members": (X, Y), "nonmembers": side})
    with pytest.raises(PlanError, match="nonmembers must be a pair"):
        from_sides({"members": (X, Y), "nonmembers": X})
    torch = pytest.importorskip("torch")
    pairs = torch.utils.data.TensorDataset(torch.zeros(3), torch.zeros(3))
    with pytest.raises(
        PlanError, match="got a TensorDataset: give arrays of what it holds, or hand it over by reference"
    ):
        from_sides({"members": (X, Y), "nonmembers": pairs})
    with pytest.raises(DataError, match=r"give a tensor as X\.detach"):
        from_sides({"members": (X, Y), "nonmembers": (torch.zeros(3, 2, dtype=torch.bfloat16), [0, 1, 0])})


def test_the_order_of_a_models_names_is_not_that_of_numbers():
    for names in (("a_yes", "b_no"), ("no", "yes")):
        with pytest.raises(DataError, match="which number is which class is not known"):
            from_sides({"members": (X, Y)}, classes=names)
        stated, _ = from_sides({"members": (X, Y)}, classes=names, numbered=True)
        assert stated.y.tolist() == Y.tolist()
    assert from_sides({"members": (X, Y)}, classes=(False, True))[0].y.tolist() == Y.tolist()
    assert from_sides({"members": (X, Y)}, classes=(1, 0))[0].y.tolist() == (1 - Y).tolist(), "matched by name"


@given(st.permutations(range(6)))
def test_labels_with_the_index_of_the_records_in_another_order_are_refused(order):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(6)}, index=[10, 11, 12, 13, 14, 15])
    y = pandas.Series([0, 1, 0, 1, 0, 1], index=frame.index)
    shuffled = y.iloc[order]
    for values in ({"y": shuffled}, {"y": y, "groups": shuffled}, {"y": y, "ids": shuffled}):
        if list(order) == list(range(6)):
            from_arrays(frame, **values)
        else:
            with pytest.raises(DataError, match="index of the records in another order"):
                from_arrays(frame, **values)
    assert from_arrays(frame, shuffled.to_numpy()).y.tolist() == shuffled.tolist(), "an array is paired by place"
    assert from_arrays(frame.reset_index(drop=True), shuffled).y.tolist() == shuffled.tolist(), (
        "and so are other labels"
    )
    with pytest.raises(DataError, match="members: y has the index"):
        from_sides({"members": (frame, y.iloc[::-1])})


def test_texts_that_numpy_makes_of_a_missing_label_are_no_class():
    for y in (np.array(["a", "b", np.nan, "a"]), np.array(["a", "b", None, "a"]).astype(str), ["a", "b", "", "a"]):
        with pytest.raises(DataError, match="1 label is missing"):
            from_arrays(X, y)
    assert from_arrays(X, ["a", "None", "None", "a"], classes=["a", "None"]).classes == ("a", "None")
    with pytest.raises(DataError, match="mix texts with other values"):
        from_arrays(X, np.array([0, "1", 1, 0], dtype=object))


INFINITE = X + np.array([[0], [0], [np.inf], [0]])


@pytest.mark.parametrize(
    ("side", "labels", "message"),
    [
        ((X, [0, 1, None, 0]), "codes", "1 label is missing, NaN or infinite, first in"),
        ((X, [0, 1, np.inf, 0]), "values", "1 label is missing, NaN or infinite, first in"),
        ((X, [0, 1, object, 0]), "values", "the label <class 'object'> in"),
        ((INFINITE, Y), "codes", "records: 2 values that are infinite, first in"),
    ],
)
def test_a_record_that_is_refused_is_named_by_its_number_on_its_own_side(side, labels, message):
    with pytest.raises(DataError, match=rf"{message} record 2 of nonmembers \(counted from 0\)"):
        from_sides({"members": (X, Y), "nonmembers": side, "population": (X, Y)}, labels=labels)
    with pytest.raises(DataError, match=rf"{message} record 2 \(counted from 0\)"):
        from_arrays(*side, labels=labels)


@pytest.mark.parametrize("what", ["y", "ids", "groups", "names"])
@pytest.mark.parametrize("name", ["half \ud800", "x" * (LONGEST + 1)])
def test_names_no_document_can_hold_are_refused(what, name):
    values = ["a", name, "b", "a"]
    options = {"y": values} if what == "y" else {"y": Y, what: [name, "b"] if what == "names" else values}
    with pytest.raises(DataError, match=r"surrogate pair|has 1,001 characters"):
        from_arrays(X, **options)


def test_cells_and_ids_of_odd_types_are_refused_or_texts():
    pandas = pytest.importorskip("pandas")
    for value in ([1, 2], {"a": 1}, {1}, np.arange(2)):
        with pytest.raises(DataError, match="column 't' holds values of type"):
            from_arrays(pandas.DataFrame({"a": range(4), "t": [value] * 4}), Y)
    for values in ([{"a": 1}] * 4, [object()] * 4, [None, "a", "b", "c"], [float("nan"), 1.0, 2.0, 3.0]):
        for what in ("ids", "groups"):
            with pytest.raises(DataError, match=what):
                from_arrays(X, Y, **{what: np.array(values, dtype=object)})
    when = pandas.Series(pandas.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"]))
    assert from_arrays(X, Y, ids=when).ids.tolist()[0].startswith("2020-01-01")


def test_categories_of_sides_are_joined_and_keep_their_codes():
    pandas = pytest.importorskip("pandas")

    def side(values, categories, ordered=False):
        return pandas.DataFrame({"c": pandas.Categorical(values, categories=categories, ordered=ordered)})

    first, second = side(["b", "a"], ["b", "a"]), side(["c", "a", None], ["a", "c"])
    stacked = stack_records([first, second])
    assert stacked["c"].dtype.categories.tolist() == ["b", "a", "c"]
    assert stacked["c"].tolist()[:4] == ["b", "a", "c", "a"]
    assert stacked["c"].isna().tolist()[-1]
    assert first["c"].dtype.categories.tolist() == ["b", "a"], "the caller's frame stays"
    with pytest.raises(DataError, match="ordered categories that differ"):
        stack_records([side(["a"], ["a", "b"], True), side(["a"], ["b", "a"], True)])
    with pytest.raises(DataError, match="holds numbers in part 1 and texts in part 2"):
        stack_records([side([1], [1, 2]), side(["1"], ["1", "2"])])


@pytest.mark.parametrize("other", [["1", "2"], [True, False]])
def test_columns_of_other_types_are_not_stacked(other):
    pandas = pytest.importorskip("pandas")
    frames = [pandas.DataFrame({"a": [1, 2]}), pandas.DataFrame({"a": other})]
    with pytest.raises(DataError, match="column 'a' holds numbers in part 1 and"):
        stack_records(frames)
    with pytest.raises(DataError, match="column 0 holds numbers in part 1 and"):
        stack_records([np.array([[1], [2]], dtype=object), np.array([[value] for value in other], dtype=object)])
    with pytest.raises(DataError, match="would be rounded|would be\\s+rounded"):
        stack_records([np.array([[2**60 + 1]]), np.array([[0.5]])])
    missing = stack_records([pandas.DataFrame({"a": [1, 2]}), pandas.DataFrame({"a": [None, 0.5]})])
    assert missing["a"].tolist()[:2] == [1, 2]
    assert np.isnan(missing["a"].tolist()[2])


def test_records_can_be_one_text_each():
    texts = ["one two", "two", "three", "one two"]
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for form in (
        texts,
        tuple(texts),
        np.array(texts),
        np.array(texts, dtype=object),
        pandas.Series(texts),
        polars.Series(texts),
    ):
        data = from_arrays(form, Y)
        assert data.X.tolist() == texts
        assert data.schema.texts
        assert data.schema.columns[0].categories == ("one two", "three", "two")
        assert data.take([2, 0]).X.tolist() == ["three", "one two"]
        assert data.schema.encode(data.X).sum(axis=1).tolist() == [1, 1, 1, 1]
    assert from_arrays(texts, Y).hash == from_arrays(pandas.Series(texts), Y).hash
    assert from_arrays(texts, Y).hash != from_arrays(np.array(texts, dtype=object)[:, None], Y).hash
    with pytest.raises(DataError, match="record 1 is 2"):
        from_arrays(np.array(["a", 2, "b", "c"], dtype=object), Y)
    with pytest.raises(DataError, match="record 1 is None"):
        from_arrays(pandas.Series(["a", None, "b", "c"], dtype=object), Y)
