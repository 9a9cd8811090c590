"""Missing values: kept as they are for models that take them, and a fact of the schema."""

from __future__ import annotations

import numpy as np
import pytest

from miaudit.data import encoder, from_arrays, load, row_hashes, slices_of
from miaudit.errors import DataError

Y = [0, 1, 0, 1]


def tables():
    rows = [(1.0, "x", True), (None, None, None), (3.0, "y", False), (4.0, "x", True)]
    yield np.array(rows, dtype=object)
    for library in ("pandas", "polars"):
        module = pytest.importorskip(library)
        a, b, c = (list(column) for column in zip(*rows, strict=True))
        yield module.DataFrame({"a": a, "b": b, "c": c})
    import pandas

    yield pandas.DataFrame(
        {
            "a": pandas.array([1, None, 3, 4], dtype="Int64"),
            "b": pandas.array(["x", None, "y", "x"], dtype="string"),
            "c": pandas.array([True, None, False, True], dtype="boolean"),
        }
    )
    yield pandas.DataFrame(
        {"a": [1, np.nan, 3, 4], "b": pandas.Categorical(["x", None, "y", "x"]), "c": [1, np.nan, 0, 1]}
    )


def test_missing_values_of_every_library_are_one_schema_and_one_encoding():
    expected = [[1, 0, 1, 0, 1, 0], [1, 1, 0, 0, 0, 1], [3, 0, 0, 1, 0, 0], [4, 0, 1, 0, 1, 0]]
    for table in tables():
        data = from_arrays(table, Y)
        assert [column.kind for column in data.schema.columns] == ["numeric", "categorical", "binary"], table
        assert len(data.schema.missing) == 3
        assert (data.schema.columns[0].low, data.schema.columns[0].high) == (1, 4)
        assert data.schema.encode(data.X).tolist() == expected
        data.schema.check(data.X)
        if encoder(data.schema) is not None and hasattr(data.X, "iloc") and data.X["c"].dtype == float:
            one_hot = encoder(data.schema).fit_transform(data.X)
            assert one_hot[1, :2].tolist() == [0, 0], "a missing category is none of them"
            assert np.isnan(one_hot[1, 2:]).all(), "a missing number stays missing"


def test_a_matrix_with_gaps_keeps_them():
    X = np.array([[0.0, 2], [np.nan, 3], [1, np.nan], [1, np.nan]])
    data = from_arrays(X, Y)
    assert data.schema.missing == ("x0", "x1")
    assert data.X is X
    hashes = row_hashes(X)
    assert hashes[2] == hashes[3], "gaps are equal"
    other = X.copy()
    other[1, 0] = -np.nan
    assert (row_hashes(other) == hashes).all(), "whatever their bits"
    assert data.schema.fingerprint != from_arrays(np.nan_to_num(X), Y).schema.fingerprint
    assert data.schema.encode(X).tolist() == [[0, 0, 2, 0], [0, 1, 3, 0], [1, 0, 2, 1], [1, 0, 2, 1]]
    assert slices_of(data, ["x0"])["x0"].tolist() == ["0", "missing", "1", "1"]
    empty = from_arrays(np.c_[X[:, 0], np.full(4, np.nan)], Y)
    assert empty.schema.encode(empty.X)[:, 2:].tolist() == [[0, 1]] * 4


@pytest.mark.parametrize(
    "X", [np.array([[1.0], [np.nan], [3.0], [4.0]]), ["a b", "c", "d", "e"]], ids=["gaps", "texts"]
)
def test_what_changes_columns_refuses_gaps_and_texts(X):
    from miaudit.evidence.questions import Votes
    from miaudit.probes import Probed
    from miaudit.synthesis.domain import Domain

    data = from_arrays(X, Y)
    with pytest.raises(DataError, match="needs a value in every column|one text each"):
        Domain.of(data)
    with pytest.raises(DataError, match="needs a value in every column|one text each"):
        Probed(np.arange(4), (Votes(),), 0).check(data)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_words_that_pandas_reads_as_missing_are_told_of_and_stay_in_parquet(tmp_path, ending):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"at": ["NA", "DE", "FR", "NA"] * 5, "n": [1.0, 2, 3, 4] * 5, "y": ["a", "b"] * 10})
    frame.loc[frame.index % 7 == 1, "n"] = np.nan
    path = tmp_path / f"x.{ending}"
    frame.to_csv(path, index=False, na_rep="NA") if ending == "csv" else frame.to_parquet(path)
    dataset = load(path, label="y", frame=True)
    told = [note for note in dataset.notes if "'at': pandas reads 10 cells 'NA' as missing" in note]
    assert (len(told), len(dataset.notes)) == ((1, 1) if ending == "csv" else (0, 0))
    assert dataset.X["at"].isna().sum() == (10 if ending == "csv" else 0)
    categories = load(path, label="y").schema.columns[0].categories
    assert categories == ("DE", "FR", "NA")
