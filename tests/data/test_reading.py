"""Files are read without loss: what pandas reads is what a pipeline gets, and everything odd is refused or told."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miaudit.data import load, load_parts, slices_of
from miaudit.errors import DataError

pandas = pytest.importorskip("pandas")

ODD = [
    "True",
    "False",
    "",
    "NA",
    "None",
    "nan",
    "007",
    "7",
    "1,163",
    " 1",
    "1.0",
    "1e3",
    "2020-01-05",
    "a b",
    "\u00e9",
    "?",
]
CELLS = (
    st.sampled_from(ODD)
    | st.integers(-999, 999).map(str)
    | st.floats(allow_nan=False, allow_infinity=False, width=32).map(str)
)


def written(path, columns):
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=12))
def test_a_frame_is_what_pandas_reads(tmp_path, rows):
    a, b = zip(*rows, strict=True)
    labels = [str(i % 2) for i in range(len(rows))]
    path = written(tmp_path / "t.csv", {"a": a, "b": b, "y": labels})
    data = load(path, label="y", frame=True)
    pandas.testing.assert_frame_equal(data.X, pandas.read_csv(path)[["a", "b"]])
    assert data.reading == f"pandas {pandas.__version__} read_csv, default settings"
    assert data.describe()["reading"] == data.reading


def test_a_parquet_frame_is_what_pandas_reads(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {
            "n": pandas.array([1, None, 3, 4], dtype="Int64"),
            "b": [True, False, True, True],
            "s": ["x", None, "y", "x"],
            "c": pandas.Categorical(["u", "v", "u", "u"], categories=["w", "v", "u"]),
            "y": [0, 1, 0, 1],
        },
        index=pandas.Index([7, 3, 9, 1], name="row"),
    )
    frame.to_parquet(tmp_path / "t.parquet")
    data = load(tmp_path / "t.parquet", label="y", ids="row", frame=True)
    expected = pandas.read_parquet(tmp_path / "t.parquet").reset_index(drop=True).drop(columns="y")
    pandas.testing.assert_frame_equal(data.X, expected)
    assert data.ids.tolist() == [7, 3, 9, 1], "the index names records and is no feature"
    assert data.schema.missing == ("n", "s")


def test_texts_are_read_as_texts_and_codes_keep_their_zeros(tmp_path):
    columns = {"zip": ["00501", "0501", "501", ""], "code": ["1", "2", "3", "4"], "y": list("0101")}
    path = written(tmp_path / "t.csv", columns)
    told = load(path, label="y", frame=True)
    assert told.X["zip"].tolist()[:3] == [501, 501, 501], "as pandas reads it"
    assert "pandas reads cells such as '00501' as numbers" in told.notes[0]
    for options in ({"texts": ["zip"]}, {"categorical": ["zip"]}):
        data = load(path, label="y", frame=True, **options)
        assert data.X["zip"].tolist()[:3] == ["00501", "0501", "501"]
        assert data.X["zip"].isna().tolist() == [False, False, False, True]
        assert data.reading.endswith("default settings, zip as texts")
    assert load(path, label="y", frame=True, texts=["code"]).X["code"].tolist() == ["1", "2", "3", "4"]
    with pytest.raises(DataError, match="'00501' and '0501', which would become one number"):
        load(path, label="y")
    assert load(path, label="y", categorical=["zip"]).schema.columns[0].categories == ("00501", "0501", "501", "")
    with pytest.raises(DataError, match="state frame = true"):
        load(path, label="y", texts=["zip"])
    side = load(path, label="y", ids="zip", slices=["zip"], drop=["zip"])
    assert side.ids.tolist() == ["00501", "0501", "501", ""]
    assert len(set(slices_of(side, ["zip"])["zip"].tolist())) == 4


def test_groups_are_persons_as_written(tmp_path):
    columns = {"who": ["007", "7", "07", "+7"], "a": ["1", "2", "3", "5"], "y": list("0101")}
    assert load(written(tmp_path / "t.csv", columns), label="y", group="who").groups.tolist() == [
        "007",
        "7",
        "07",
        "+7",
    ]
    numbers = load(written(tmp_path / "n.csv", columns | {"who": list("7742")}), label="y", group="who")
    assert numbers.groups.tolist() == [7, 7, 4, 2]


def test_the_row_number_of_pandas_is_no_feature(tmp_path):
    frame = pandas.DataFrame({"a": [0.5, 1.5, 2.5], "y": [0, 1, 0]}, index=[30, 10, 20])
    frame.to_csv(tmp_path / "t.csv")
    pytest.importorskip("pyarrow")
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        for as_frame in (False, True):
            data = load(tmp_path / name, label="y", frame=as_frame)
            assert [column.name for column in data.schema.columns] == ["a"]
            assert "row index" in data.notes[0]
    kept = load(tmp_path / "t.csv", label="y", numeric=["Unnamed: 0"])
    assert [column.name for column in kept.schema.columns] == ["Unnamed: 0", "a"], "where it is stated to be one, it is"
    assert load(tmp_path / "t.csv", label="y", ids="Unnamed: 0").ids.tolist() == [30, 10, 20]
    frame.set_axis(["p", "q", "r"]).to_csv(tmp_path / "named.csv")
    with pytest.raises(DataError, match=r"column 0 .* has no name .* drop = \['Unnamed: 0'\]"):
        load(tmp_path / "named.csv", label="y")
    (tmp_path / "comma.csv").write_text("a,y,\n1,0,\n2,1,\n")
    with pytest.raises(DataError, match="column 2 .* a comma too many"):
        load(tmp_path / "comma.csv", label="y")
    (tmp_path / "implicit.csv").write_text("a,y\n9,1,0\n8,2,1\n")
    with pytest.raises(DataError, match="has 3 cells, the header names 2"):
        load(tmp_path / "implicit.csv", label="y", frame=True)


def test_a_column_that_counts_the_records_is_told(tmp_path):
    columns = {"index": [str(i) for i in range(100, 130)], "a": ["1", "2", "4"] * 10, "y": list("01") * 15}
    notes = load(written(tmp_path / "t.csv", columns), label="y").notes
    assert notes[0].startswith("Column 'index' counts the records from 100 to 129")


@pytest.mark.parametrize("gap", ["", "NA", "nan", "?", "None", "NULL", "n/a", "<NA>", " ", "unknown"])
def test_a_missing_label_is_no_class(tmp_path, gap):
    numbers = written(tmp_path / "n.csv", {"a": list("12345"), "y": ["0", "1", gap, "0", "1"]})
    with pytest.raises(DataError, match="record 2"):
        load(numbers, label="y")
    if gap in ("?", "unknown"):
        return  # among texts, a class like any other
    texts = written(tmp_path / "t.csv", {"a": list("12345"), "y": ["no", "yes", gap, "no", "yes"]})
    with pytest.raises(DataError, match="1 label is missing, first .* in record 2"):
        load(texts, label="y")
    if gap.strip():
        assert load(texts, label="y", labels="names").classes == tuple(sorted(["no", "yes", gap]))
    else:
        with pytest.raises(DataError, match=r"labels? (is|are) missing"):
            load(texts, label="y", labels="names")


@pytest.mark.parametrize(
    "notation",
    ["{:,}", "{}%", "EUR {}", "$ {}", "{:,d}.50", "{}_000", "({:,})", "{},5"],
)
def test_numbers_in_another_notation_are_refused(tmp_path, notation):
    cells = [notation.format(1000 + 37 * i) for i in range(40)]
    path = written(tmp_path / "t.csv", {"income": cells, "y": list("01") * 20})
    with pytest.raises(DataError, match=r"'income' holds numbers in another notation .* first .* in record 0"):
        load(path, label="y")
    assert load(path, label="y", categorical=["income"]).schema.columns[0].kind == "categorical"


def test_what_is_read_otherwise_than_it_looks_is_told(tmp_path):
    columns = {
        "few": ["1", "2", "?", "3"] * 10,
        "gap": [*("" if i == 3 else str(i / 2) for i in range(40))],
        "month": [f"{1 + i % 12:02d}" for i in range(40)],
        "word": [f"w{i}" for i in range(40)],
        "y": list("01") * 20,
    }
    data = load(written(tmp_path / "t.csv", columns), label="y")
    assert [note.split(":")[0].split(" holds")[0].split(" was")[0] for note in data.notes] == [
        "Column 'few'",
        "Column 'gap'",
        "Column 'month'",
    ]
    assert np.isnan(data.X[:, 1]).sum() == 1
    assert data.schema.missing == ("gap",)
    words = {"word": [f"w{i}" for i in range(80)], "a": ["1", "2"] * 40, "y": list("01") * 40}
    notes = load(written(tmp_path / "m.csv", words), label="y").notes
    assert notes[0].startswith("Column 'word' was read as 80 categories")


@pytest.mark.parametrize("number", ["99999999999999999999", str(2**53 + 1)])
def test_numbers_that_floats_cannot_tell_apart_are_refused(tmp_path, number):
    path = written(tmp_path / "t.csv", {"id": [number, "3"], "a": ["1", "2"], "y": ["0", "1"]})
    with pytest.raises(DataError, match=r"'id' holds whole numbers beyond 2\*\*53"):
        load(path, label="y")
    assert load(path, label="y", ids="id").ids.tolist()[0] in (number, int(number))


def test_files_of_other_types_are_not_joined_and_columns_are_matched_by_their_names(tmp_path):
    one = written(tmp_path / "a.csv", {"c": ["1", "2"], "d": ["x", "y"], "y": ["0", "1"]})
    two = written(tmp_path / "b.csv", {"c": ["u", "v"], "d": ["x", "y"], "y": ["0", "1"]})
    with pytest.raises(
        DataError,
        match=r"column 'c' holds numbers in .*a\.csv and texts in .*b\.csv \(the first that is no number: 'u'\)",
    ):
        load_parts([one, two], label="y", frame=True)
    assert load_parts([one, two], label="y", frame=True, texts=["c"])[0].X["c"].tolist() == ["1", "2", "u", "v"]
    swapped = written(tmp_path / "c.csv", {"d": ["x", "y"], "c": ["1", "2"], "y": ["0", "1"]})
    for options in ({}, {"frame": True}):
        dataset, _ = load_parts([swapped, one], label="y", **options)
        straight, _ = load_parts([swapped, swapped], label="y", **options)
        assert dataset.schema == straight.schema
        assert dataset.hash == straight.hash  # both files hold the same records
        assert dataset.notes[-1].endswith(
            f"a.csv has its columns in another order than {swapped}; they were matched by their names."
        )
        assert not any("another order" in note for note in straight.notes)
    for name, classes in (("m", ["no", "yes"]), ("n", ["yes", "sure"])):
        np.savez(tmp_path / f"{name}.npz", X=np.eye(2), y=[0, 1], classes=classes)
    with pytest.raises(DataError, match=r"n\.npz has other class names than a file before it"):
        load_parts([tmp_path / "m.npz", tmp_path / "n.npz"])
    np.savez(tmp_path / "t.npz", X=np.eye(2), y=["0", "1"], classes=["no", "yes"])
    with pytest.raises(DataError, match="labels holds numbers in .* and texts in"):
        load_parts([tmp_path / "m.npz", tmp_path / "t.npz"])


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (["no", "yes", "so"], [0, 1, 2, 2]),  # numbers, from 0, of classes in the order of the file
        (["no", "yes", "so"], ["no", "yes", "so", "so"]),
        ([7, 5, 9], [7, 5, 9, 9]),  # numbers that are names
    ],
)
def test_classes_of_files_in_another_order_are_matched_by_their_names(tmp_path, classes, labels):
    order = [2, 0, 1]
    turned = [order.index(label) for label in labels] if labels[0] == 0 else labels
    sides = {"a": (classes, labels), "b": ([classes[i] for i in order], turned)}
    for name, (names, y) in sides.items():
        np.savez(tmp_path / f"{name}.npz", X=np.arange(8).reshape(4, 2), y=y, classes=names)
    a, b = tmp_path / "a.npz", tmp_path / "b.npz"
    dataset, _ = load_parts([a, b])
    straight, _ = load_parts([a, a])
    assert dataset.classes == straight.classes == tuple(map(str, classes))
    np.testing.assert_array_equal(dataset.y, straight.y)
    assert dataset.notes == (f"{b} has its classes in another order than {a}; they were matched by their names.",)


def test_features_are_taken_in_the_order_that_is_stated(tmp_path):
    path = written(tmp_path / "t.csv", {"a": ["1", "2"], "b": ["3", "4"], "c": ["x", "z"], "y": ["0", "1"]})
    for options in ({}, {"frame": True}):
        data = load(path, label="y", order=["b", "a"], **options)
        assert [column.name for column in data.schema.columns] == ["b", "a"]
        assert np.asarray(data.X).tolist() == [[3, 1], [4, 2]]
    np.savez(tmp_path / "t.npz", X=[[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]], y=[0, 1], feature_names=["a", "b", "c"])
    assert load(tmp_path / "t.npz", order=["b", "a"]).X.tolist() == [[3, 1], [4, 2]]
    for file, label in ((path, "y"), (tmp_path / "t.npz", None)):
        with pytest.raises(DataError, match=r"order names \['a'\] more than once"):
            load(file, label=label, order=["a", "a"])
        with pytest.raises(DataError, match=r"\['a'\] are named in order, and .*dropped; choose one"):
            load(file, label=label, order=["a", "b"], drop=["a"])
        with pytest.raises(DataError, match="no column 'd'"):
            load(file, label=label, order=["d"])


@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_what_is_stated_of_columns_that_are_no_features_is_refused(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        written(path, {"a": ["1", "2"], "b": ["3", "4"], "c": ["5", "6"], "y": ["0", "1"]})
    else:
        np.savez(path, X=[[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]], y=[0, 1], feature_names=["a", "b", "c"])
    label = {"label": "y"}
    for key in ("categorical", "numeric"):
        for features in ({"order": ["b", "a"]}, {"drop": ["c"]}):
            with pytest.raises(DataError, match=rf"columns \['c'\] are named in {key}, and are no features"):
                load(path, **label, **features, **{key: ["c"]})
    assert load(path, **label, order=["b", "a"], drop=["c"]).X.tolist() == [[3, 1], [4, 2]]
    with pytest.raises(DataError, match=r"columns \['c'\] are named neither in order nor in drop"):
        load(path, **label, order=["b"], drop=["a"])
    for key in ("order", "drop", "categorical", "numeric", "slices", "texts"):
        with pytest.raises(DataError, match=rf"^{key} must be a list of names, got 'ab': write \['ab'\]$"):
            load(path, **label, **{key: "ab"})
        for odd in ([[]], [{"a": 1}], [1], 5):
            with pytest.raises(DataError, match=f"^{key} must be a list of names, got {re.escape(str(odd))}$"):
                load(path, **label, **{key: odd})
    for key, what in (("ids", "a text"), ("name", "a text"), ("records", "a text"), ("frame", "true or false")):
        with pytest.raises(DataError, match=rf"^{key} must be {what}; got \['a'\]$"):
            load(path, **label, **{key: ["a"]})
    with pytest.raises(DataError, match="^classes must be a list of names, got 2$"):
        load(path, **label, classes=2)


def test_arrays_that_name_their_columns_are_matched_by_the_names_and_each_name_is_there_once(tmp_path):
    X, names = np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]), ["a", "b", "c"]
    files = [tmp_path / "members.npz", tmp_path / "nonmembers.npz"]
    np.savez(files[0], X=X, y=[0, 1], feature_names=names)
    np.savez(files[1], X=X[:, [2, 0, 1]] + 10, y=[0, 1], feature_names=["c", "a", "b"])
    for order, columns in ((), [0, 1, 2]), (["c", "a"], [2, 0]):
        data, _ = load_parts(files, order=order)
        assert data.X.tolist() == np.concatenate([X, X + 10])[:, columns].tolist()
        assert data.notes[-1] == (
            f"{files[1]} has its columns in another order than {files[0]}; they were matched by their names."
        )
    np.savez(files[1], X=X, y=[0, 1], feature_names=["a", "b", "d"])
    with pytest.raises(DataError, match="has other names of features than a file before it"):
        load_parts(files)
    for odd, message in (
        (["a", "b", "b"], r"has \['b'\] more than once"),
        (["a", "b"], "has 2 names, .* have 3 columns"),
    ):
        np.savez(files[1], X=X, y=[0, 1], feature_names=odd)
        for options in ({}, {"order": ["b"]}, {"drop": ["b"]}):
            with pytest.raises(DataError, match=rf"nonmembers\.npz: feature_names {message}"):
                load(files[1], **options)


@pytest.mark.slow
def test_mixed_columns_of_a_large_file_are_refused(tmp_path):
    cells = [str(i) for i in range(300_000)]  # pandas guesses the type of each part of a file
    cells[-1] = "word"
    path = written(tmp_path / "t.csv", {"c": cells, "y": ["0", "1"] * 150_000})
    with pytest.raises(DataError, match="reads parts of a column as numbers and parts as texts"):
        load(path, label="y", frame=True, categorical=["c"])


def test_types_that_differ_between_files_are_told(tmp_path):
    one = written(tmp_path / "a.csv", {"c": ["1", "2"], "d": ["True", "False"], "y": ["0", "1"]})
    two = written(tmp_path / "b.csv", {"c": ["1", ""], "d": ["True", ""], "y": ["0", "1"]})
    data, _ = load_parts([one, two], label="y", frame=True)
    assert (
        data.notes[0]
        == "Column 'c': pandas reads int64 in a.csv, float64 in b.csv; models were handed float64, with the same values."
    )
    assert "bool in a.csv, object in b.csv" in data.notes[1]
    assert data.X["d"].tolist()[:3] == [True, False, True]
