from __future__ import annotations

import gzip

import numpy as np
import pytest
from scipy import sparse

from miaudit.data import Dataset, from_arrays, load, load_parts
from miaudit.errors import DataError

CSV = """person,age,job,town code,smoker,class
p1,20,cook,1,0,yes
p1,30,?,2,1,no
p2,40,None,10,0,no
p3,50.5,cook,2,1,yes
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(CSV)
    return path


def test_a_table_becomes_a_matrix_of_numbers_and_codes(table):
    data = load(table, label="class", group="person", categorical=["town code"])
    assert data.name == "people"
    assert data.X.dtype == np.float64
    assert [(c.name, c.kind) for c in data.schema.columns] == [
        ("age", "numeric"),
        ("job", "categorical"),
        ("town code", "categorical"),
        ("smoker", "binary"),
    ]
    assert data.schema.columns[1].categories == ("?", "None", "cook"), "texts stay as written"
    assert data.schema.columns[2].categories == ("1", "2", "10"), "numbers are sorted by value"
    assert data.X.tolist() == [[20, 2, 0, 0], [30, 0, 1, 1], [40, 1, 2, 0], [50.5, 2, 1, 1]]
    assert (data.classes, data.y.tolist()) == (("no", "yes"), [1, 0, 0, 1])
    assert (data.group_name, data.groups.tolist()) == ("person", ["p1", "p1", "p2", "p3"])


def test_a_frame_holds_the_original_values(table):
    pytest.importorskip("pandas")
    data = load(table, label="class", ids="person", drop=["smoker"], categorical=["town code"], frame=True)
    assert data.X.columns.tolist() == ["age", "job", "town code"]
    assert data.X["job"].tolist()[:2] == ["cook", "?"]
    assert data.X["job"].isna().tolist() == [False, False, True, False], "None is a missing value to pandas"
    assert data.X["town code"].tolist() == [1, 2, 10, 2]
    assert [c.kind for c in data.schema.columns] == ["numeric", "categorical", "categorical"]
    matrix = load(table, label="class", ids="person", drop=["smoker"], categorical=["town code"])
    columns = [0, 1, 3, 4, 5, 6]  # without the category None, which is missing in the frame
    assert (data.schema.encode(data.X) == matrix.schema.encode(matrix.X)[:, columns]).all()


def test_gzip_bom_and_blank_lines_are_read(table, tmp_path):
    path = tmp_path / "people.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8-sig") as file:
        file.write(CSV.replace("p2,", "\np2,") + "\n\n")
    assert load(path, label="class").hash == load(table, label="class").hash


def test_parquet_agrees_with_csv(table, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        "person": ["p1", "p1", "p2", "p3"],
        "age": [20, 30, 40, 50.5],
        "job": pa.array(["cook", "?", "None", "cook"]).dictionary_encode(),
        "town code": [1, 2, 10, 2],
        "smoker": [False, True, False, True],
        "class": ["yes", "no", "no", "yes"],
    }
    path = tmp_path / "people.parquet"
    pq.write_table(pa.table(columns), path)
    options = {"label": "class", "group": "person", "categorical": ["town code"]}
    assert load(path, **options).hash == load(table, **options).hash
    pq.write_table(pa.table(columns | {"age": [20, None, 40, None]}), path)
    missing = load(path, label="class")
    assert np.isnan(missing.X[:, missing.schema.missing.index("age") + 1]).tolist() == [False, True, False, True]
    assert "Column 'age': 2 of 4 values are missing" in missing.notes[0]
    pq.write_table(pa.table(columns | {"age": [[1], [2], [3], [4]]}), path)
    with pytest.raises(DataError, match="'age' has type list"):
        load(path, label="class")
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load(path, label="class")


def test_parquet_texts_that_look_like_numbers_stay_texts(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"zip": [f"{i:05d}" for i in range(40)], "y": [0, 1] * 20}), tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet", label="y").schema.columns[0].categories[:2] == ("00000", "00001")


def test_npz_plain_packed_and_renamed(tmp_path):
    X, y = np.eye(4, 11, dtype=np.uint8), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "a.npz", X=X, y=y)
    np.savez(tmp_path / "b.npz", X_packed=np.packbits(X, axis=1), n_features=11, y=y)
    np.savez(tmp_path / "c.npz", data=X, truth=y, who=np.arange(4) // 2, classes=["n", "y"])
    loaded = load(tmp_path / "a.npz")
    assert (loaded.X == X).all()
    assert load(tmp_path / "b.npz").hash == loaded.hash
    named = load(tmp_path / "c.npz", records="data", label="truth", group="who", drop=["x0"], name="C")
    assert named.classes == ("n", "y")
    assert named.name == "C"
    assert named.groups.tolist() == [0, 0, 1, 1]
    assert [column.name for column in named.schema.columns][:2] == ["x1", "x2"]
    assert Dataset.load(tmp_path / "a.npz").hash == loaded.hash


def test_several_files_are_one_data_set(tmp_path):
    (tmp_path / "a.csv").write_text("c,y\nred,0\nblue,1\n")
    (tmp_path / "b.csv").write_text("c,y\ngreen,1\n")
    data, parts = load_parts([tmp_path / "a.csv", tmp_path / "b.csv"], label="y")
    assert data.schema.columns[0].categories == ("blue", "green", "red")
    assert data.X[:, 0].tolist() == [2, 0, 1]
    assert [part.tolist() for part in parts] == [[0, 1], [2]]
    (tmp_path / "c.csv").write_text("d,y\ngreen,1\n")
    with pytest.raises(DataError, match=r"c\.csv has other columns than .*a\.csv: \['c', 'd'\]"):
        load_parts([tmp_path / "a.csv", tmp_path / "c.csv"], label="y")
    with pytest.raises(DataError, match=r"files of one kind are needed, got \.csv, \.npz"):
        load_parts([tmp_path / "a.csv", tmp_path / "c.npz"], label="y")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "people.csv: name the label column"),
        ({"label": "clas"}, "no column 'clas'; did you mean 'class'"),
        ({"label": "class", "drop": ["nope"]}, "no column 'nope'"),
        ({"label": "class", "categorical": ["age"], "numeric": ["age"]}, r"\['age'\] .* both categorical and numeric"),
        ({"label": "class", "numeric": ["job"]}, "'job' is stated to be numeric, but 3 cells are not .* first 'cook'"),
        ({"label": "class", "drop": ["person", "age", "job", "town code", "smoker"]}, "no column is left"),
        ({"label": "class", "labels": "codex"}, "labels = 'codex' is not known"),
        ({"label": "age"}, "must be classes, not measurements: found 50.5"),
        ({"label": "class", "classes": ["no", "maybe"]}, r"labels \['yes'\] are not among the 2 classes"),
    ],
)
def test_names_that_do_not_fit_a_table(table, options, message):
    with pytest.raises(DataError, match=message):
        load(table, **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,y\n", "a header and no records"),
        ("a,a,y\n1,2,0\n", r"more than once: \['a'\]"),
        ("a,y\n1,0\n2\n", r"record 1 \(counted from 0\) has 1 cell, the header names 2 columns"),
        ('a,y\n"1,0\n', "cannot be read as CSV"),
        ("a,y\n1,0\ninf,1\n", r"1 value that is infinite, first in record 1 .*column 0"),
        ("a,y\n1,0\n2,0\n", "all 2 records have one class, 0"),
        ("a,y\n1,1\n2,2\n", "run from 1 to 2 with 2 different values: 0 missing. State labels = 'names'"),
        ("a,y\n1,0\n2,5\n", "1, 2, 3, 4 missing"),
        ("a,y\n1,-1\n2,1\n", r"\[-1\] are out of range"),
        (
            "a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(30)) + "?,0\n",
            r"'a' holds numbers, but 1 cell .* first '\?'",
        ),
        ("a,y\n" + "".join(f"id{i},{i % 2}\n" for i in range(1200)), "1,200 different texts in 1,200 records"),
        ("a;y\n1;0\n2;1\n", "parted by semicolons"),
        ("a\ty\n1\t0\n2\t1\n", "parted by tabs"),
        ("a|y\n1|0\n2|1\n", "its only column is called 'a|y'.*parted by bars"),
        ("sep=;\na;y\n1;0\n", "parted by semicolons"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load(path, label="y")
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04", "zip archive or a workbook: unpack it, or export it as CSV"),
        (b"BZh9", "compressed by bzip2"),
        (b"\xfd7zXZ\x00", "compressed by xz"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
        (b"PAR1", "a Parquet file: call it .parquet"),
        (b"a,y\n" + b"x" * 200_000 + b",0\n", "save so long texts as Parquet"),
    ],
)
def test_what_is_no_csv_is_said_to_be_what_it_is(tmp_path, start, message):
    path = tmp_path / "t.csv"
    path.write_bytes(start if b"\n" in start else start + b"\x80\xff")
    with pytest.raises(DataError, match=message):
        load(path, label="y")


def test_arrays_under_another_ending_and_sparse_ones_are_refused_with_what_to_do(tmp_path):
    np.save(tmp_path / "y.npy", [0, 1])
    np.savez(tmp_path / "a.npz", X=np.eye(2), y=[0, 1])
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    np.save(tmp_path / "objects.npy", np.array([[1, "a"], [2, "b"]], dtype=object))
    np.save(tmp_path / "number.npy", 3)
    messages = {
        "a.npy": "a.npy is an .npz or another zip archive: call it .npz",
        "objects.npy": "holds Python objects.*save it with a plain type",
        "number.npy": r"an array of shape \(\), and y one of shape \(2,\)",
    }
    for name, message in messages.items():
        with pytest.raises(DataError, match=message):
            load(tmp_path / name, label="y.npy")
    for form in ("csr", "csc", "bsr", "coo", "dia"):
        sparse.save_npz(tmp_path / "sparse.npz", sparse.eye_array(2).asformat(form))
        with pytest.raises(DataError, match="holds a sparse matrix of scipy's; save it dense by np.savez"):
            load(tmp_path / "sparse.npz")


def test_labels_as_names(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,10\n2,9\n3,-1\n4,10\n")
    data = load(path, label="y", labels="names")
    assert data.classes == ("-1", "9", "10")
    assert data.y.tolist() == [2, 1, 0, 2]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        load(tmp_path / "none.csv", label="y")
    with pytest.raises(DataError, match="there is no such file"):
        load(tmp_path / "none.npz")
    with pytest.raises(DataError, match="there is no such file"):
        load(tmp_path / "none")
    (tmp_path / "data.pkl").touch()
    with pytest.raises(DataError, match=r"known endings \.npy, \.npz, \.csv, \.csv\.gz, \.parquet"):
        load(tmp_path / "data.pkl")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(DataError, match=r"no .npz file, or a damaged one: .*; save plain arrays with np\.savez"):
        load(tmp_path / "bad.npz")
    (tmp_path / "bad.csv.gz").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        load(tmp_path / "bad.csv.gz", label="y")
    (tmp_path / "bad.csv").write_bytes(b"a,y\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="in UTF-8"):
        load(tmp_path / "bad.csv", label="y")
    np.savez(tmp_path / "pickled.npz", X=np.array([[{}], [{}]], dtype=object), y=[0, 1])
    with pytest.raises(DataError, match="without pickled objects"):
        load(tmp_path / "pickled.npz")
    np.savez(tmp_path / "other.npz", A=np.eye(2), y=[0, 1])
    with pytest.raises(DataError, match="no array 'X'; it has A, y"):
        load(tmp_path / "other.npz")
    with pytest.raises(DataError, match="leave frame out"):
        load(tmp_path / "other.npz", records="A", frame=True)


X4 = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("y", "classes", "names", "codes"),
    [
        ([0, 1, 2, 1], None, ("0", "1", "2"), [0, 1, 2, 1]),
        (np.array([True, False, True, True]), None, ("0", "1"), [1, 0, 1, 1]),
        (np.array([0.0, 1.0, 1.0, 0.0]), None, ("0", "1"), [0, 1, 1, 0]),
        (["b", "a", "b", "a"], None, ("a", "b"), [1, 0, 1, 0]),
        (np.array(["b", "a", "b", "a"]), ("b", "a", "c"), ("b", "a", "c"), [0, 1, 0, 1]),
        ([0, 2, 2, 0], ("x", "y", "z"), ("x", "y", "z"), [0, 2, 2, 0]),
        ([1.0, 0.0, 0.0, 1.0], (0.0, 1.0), ("0.0", "1.0"), [1, 0, 0, 1]),
        ([True, False, True, False], (False, True), ("False", "True"), [1, 0, 1, 0]),
        ([5, 7, 5, 5], (7, 5), ("7", "5"), [1, 0, 1, 1]),
        ([1, 2, 2, 1], ("1", "2", "3"), ("1", "2", "3"), [0, 1, 1, 0]),  # by name: not classes number 1 and 2
    ],
)
def test_labels_of_every_kind(y, classes, names, codes):
    data = from_arrays(X4, y, classes=classes)
    assert data.classes == names
    assert data.y.tolist() == codes
    assert data.y.dtype == np.int64


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_and_series(library):
    module = pytest.importorskip(library)
    frame = module.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "x"]})
    data = from_arrays(frame, module.Series(["u", "v", "u"]), groups=module.Series([1, 1, 2]), ids=["i", "j", "k"])
    assert type(data.X) is module.DataFrame
    assert data.y.tolist() == [0, 1, 0]
    assert data.group_name == "group"
    taken = data.take([2, 0])
    assert (taken.ids.tolist(), taken.groups.tolist(), taken.y.tolist()) == (["k", "i"], [2, 1], [0, 0])
    assert taken.hash != data.hash


def test_sparse_of_any_format_and_the_callers_object_stays():
    X = sparse.coo_array((np.array([1.0, 2.0, 3.0]), (np.array([0, 0, 1]), np.array([1, 1, 0]))), shape=(2, 2))
    data = from_arrays(X, [0, 1])
    assert data.X.toarray().tolist() == [[0, 3], [3, 0]]
    assert X.nnz == 3


@pytest.mark.parametrize(
    ("X", "y", "options", "message"),
    [
        (X4, [0, 1, 1], {}, "X has 4 records and y has 3 values"),
        (X4, [0, 1, 1, 0], {"ids": [1]}, "X has 4 records and ids has 1 value"),
        (X4, [0, 1, 1, 0], {"groups": [1]}, "X has 4 records and groups has 1 value"),
        (
            X4,
            [0, 1, 1, 0],
            {"groups": [1, 2, None, 3]},
            "groups: 1 value that is NaN, infinite or missing, first in record 2",
        ),
        (X4, None, {}, "labels are missing"),
        (X4, [1, 1, 1, 1], {}, "labels must be the integers 0..C-1"),
        (X4, ["a"] * 4, {}, "all 4 records have one class, 'a'"),
        (X4, [0, 1, None, 1], {}, "1 label is missing, .*; leave that record out"),
        (
            X4,
            ["", " ", "", ""],
            {},
            "4 labels are missing, .*; without those records none would be left: give the labels that",
        ),
        (
            X4,
            ["2026-01-01"] * 4,
            {"labels": "values"},
            "is none; without those records none would be left",
        ),
        (
            X4,
            ["1", "2", "x", "3"],
            {"labels": "values"},
            "'x' in record 2 .counted from 0. is none; leave that record out",
        ),
        (X4, ["a", "b", "a", "b"], {"classes": "cd"}, "correct them, or state all classes"),
        (X4, ["a", "c", "a", "c"], {"classes": "cd"}, "correct them, leave those records out, or state all classes"),
        (X4, np.ma.masked_all(4), {}, "of which 4 values are masked; fill them in, as .* does$"),
        (
            X4,
            [0, 1, 2, 0],
            {"classes": "01", "numbered": False},
            "the model's 2 classes .* the model was not trained on",
        ),
        (X4, ["a", None, "b", "a"], {}, "1 label is missing, NaN or infinite, first in record 1"),
        (X4, np.array([b"a", b"b"] * 2), {}, r"y is of bytes; write texts, as np.char.decode"),
        (X4, np.array([b"a", b"b"] * 2, dtype=object), {}, "labels are of bytes; make all"),
        (X4, {0, 1}, {}, r"got \(\), a set"),
        (X4, np.ma.masked_equal([0, 1, 0, 2], 2), {}, "y is a masked array, of which 1 value is masked"),
        (X4, [0, 1, 0, 1], {"groups": np.ma.masked_equal([0, 1, 0, 2], 2)}, "groups is a masked array"),
        (X4, [0, 1, 2, 9], {"classes": "abcd"}, r"labels \[0, 1, 2, 9\] are not among the 4 classes"),
        (X4, [0, 1, 0, 1], {"classes": "123"}, r"labels \[0\] are not among the 3 classes \['1', '2', '3'\]"),
        (X4, [0, 1, 0, 1], {"classes": "aa"}, "class names appear more than once"),
        (X4, np.zeros((4, 2)), {}, r"y must have shape \(n,\)"),
        (X4, [0.5, 1, 0, 1], {}, "classes, not measurements: found 0.5"),
        (X4[:0], [], {}, "nothing in the records"),
        (X4[:, :0], [0, 1, 0, 1], {}, "nothing in the records"),
        (
            X4 + np.array([[0], [np.inf], [0], [0]]),
            [0, 1, 0, 1],
            {},
            "records: 2 values that are infinite, first in record 1 .*, column 0",
        ),
    ],
)
def test_arrays_that_cannot_be_used(X, y, options, message):
    with pytest.raises(DataError, match=message):
        from_arrays(X, y, **options)


def test_dataset_hash_depends_on_records_labels_and_names_only():
    base = from_arrays(X4, [0, 1, 0, 1])
    same = from_arrays(np.asfortranarray(X4), [0, 1, 0, 1], name="other", ids=[1, 2, 3, 4], groups=[1, 1, 2, 2])
    assert same.hash == base.hash
    others = [
        from_arrays(X4 + 1, [0, 1, 0, 1]),
        from_arrays(X4, [1, 0, 0, 1]),
        from_arrays(X4, [0, 1, 0, 1], classes=["a", "b"]),
        from_arrays(X4, [0, 1, 0, 1], stated={"x0": "categorical"}),
    ]
    assert len({data.hash for data in [base, *others]}) == 5


@pytest.mark.parametrize(
    "slip", [str.upper, lambda text: text + " ", lambda text: text + "\u00a0", lambda text: f" {text}"]
)
def test_classes_and_people_that_differ_in_blanks_or_case_alone_are_told(tmp_path, slip):
    rows = [
        f"{i},{slip('no') if i == 4 else ('no', 'yes')[i % 2]},{slip('ann') if i == 5 else 'ann'}" for i in range(20)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["x,y,who", *rows]), encoding="utf-8")
    notes = load(tmp_path / "a.csv", label="y", group="who").notes
    assert [note.partition(":")[0] for note in notes] == ["Class names", "Groups"]
    assert all("only in blanks, case or the writing of a number" in note for note in notes)


def test_people_of_one_number_written_twice_are_told_and_others_are_not(tmp_path):
    for numbers, told in ((["7", "7.0", "8"], True), (["7", "007", "8"], True), (["7", "8", "7a"], False)):
        rows = [f"{i},{i % 2},{numbers[i % 3]}" for i in range(20)]
        (tmp_path / "a.csv").write_text("\n".join(["x,y,who", *rows]))
        assert bool(load(tmp_path / "a.csv", label="y", group="who").notes) is told


def test_a_column_that_may_say_whose_the_records_are_is_told_of_where_it_is_left_out(tmp_path):
    whose = {"patient": lambda i: f"p{i // 3}", "row": lambda i: i, "site": lambda i: "ab"[i % 2]}
    rows = ["x,y," + ",".join(whose)]
    rows += [",".join(map(str, (i, i % 2, *(of(i) for of in whose.values())))) for i in range(60)]
    for name in ("a.csv", "b.csv"):  # whose numbers of rows begin anew
        (tmp_path / name).write_text("\n".join(rows))
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    dataset, _ = load_parts(files, label="y", drop=[*whose])
    (note,) = (note for note in dataset.notes if "whose the records are" in note)
    assert "with a few others: patient. Where one says" in note
    dataset, _ = load_parts(files, label="y", drop=["row", "site"], group="patient")
    assert not any("whose the records are" in note for note in dataset.notes)


def test_arrays_of_an_npz_that_nothing_names_are_told(tmp_path):
    arrays = {"X": np.arange(12.0).reshape(6, 2), "y": np.arange(6) % 2, "person": np.arange(6) // 2, "note": "six"}
    np.savez(tmp_path / "records.npz", **arrays, ids=np.arange(6))
    (note,) = load(tmp_path / "records.npz").notes
    assert note.startswith("Not read, for nothing names them: ids, person, one value a record.")
    assert load(tmp_path / "records.npz", group="person", ids="ids").notes == ()
