"""Slices: the columns by which the leak is measured, whether they are features or not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from miaudit.data import from_arrays, load, slices_of
from miaudit.data.slices import grouped
from miaudit.errors import DataError


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    rows = [f"{'fm'[i % 2]},{20 + i},{i % 3},{i % 2}" for i in range(40)]
    path.write_text("\n".join(["sex,age,ward,ill", *rows]) + "\n")
    return path


def test_a_column_of_a_table_is_a_slice_whether_it_is_a_feature_or_not(people):
    for drop in ((), ("sex",)):
        dataset = load(people, label="ill", drop=drop, slices=("sex", "ward", "age"))
        assert dataset.X.shape == (40, 3 - len(drop))
        found = slices_of(dataset, ["sex", "ward", "age"])
        assert found["sex"].tolist() == ["f", "m"] * 20
        assert found["ward"].tolist() == [str(i % 3) for i in range(40)]
        assert [len(found["age"][found["age"] == name]) for name in dict.fromkeys(found["age"])] == [10] * 4
        assert found["age"][0] == "20 to 29"
        part = dataset.take([3, 0])
        assert slices_of(part, ["sex"])["sex"].tolist() == ["m", "f"]


def test_numbers_among_which_some_are_missing_are_ranges():
    ages = np.array([*range(20, 80), None], dtype=object)  # as of a side that has none
    assert grouped("age", ages).tolist() == [*grouped("age", np.arange(20, 80)), "missing"]


def test_an_array_or_a_column_of_an_npz_is_a_slice(tmp_path):
    path = tmp_path / "records.npz"
    X = np.array([[0.0, 1.0], [1.0, 0.5], [0.0, 2.0]])
    np.savez(path, X=X, y=[0, 1, 1], city=["Ulm", "Aix", "Ulm"], feature_names=["flag", "size"])
    dataset = load(path, slices=("city", "flag"))
    assert slices_of(dataset, ["city"])["city"].tolist() == ["Ulm", "Aix", "Ulm"]
    assert slices_of(dataset, ["flag"])["flag"].tolist() == ["0", "1", "0"]


def test_frames_and_sparse_matrices_have_slices():
    frame = pd.DataFrame({"sex": ["f", "m", "f"], "size": [1.5, 2.0, 1.5]})
    found = slices_of(from_arrays(frame, [0, 1, 0]), ["sex", "size"])
    assert found["sex"].tolist() == ["f", "m", "f"]
    assert found["size"].tolist() == ["1.5", "2", "1.5"]
    bits = from_arrays(sparse.csr_matrix(np.eye(3)), [0, 1, 0])
    assert slices_of(bits, ["x1"])["x1"].tolist() == ["0", "1", "0"]


def test_many_equal_numbers_make_fewer_ranges_and_every_number_is_in_its_own():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(500) < 0.6, 0, rng.integers(1, 100, 500))
    for value, name in zip(values, grouped("x", values), strict=True):
        low, high = map(float, name.split(" to "))
        assert low <= value <= high
    assert len(set(grouped("x", values))) == 3  # up to the first two cuts, which are both 0, to the third, and the rest


def test_an_unknown_column_and_an_id_are_refused(people):
    with pytest.raises(DataError, match="no column 'sx'; did you mean 'sex'"):
        load(people, label="ill", slices=("sx",))
    dataset = load(people, label="ill")
    with pytest.raises(DataError, match="slices: there is no column 'town'"):
        slices_of(dataset, ["town"])
    with pytest.raises(DataError, match="'id' has 80 different values"):
        grouped("id", [f"p{i}" for i in range(80)])
