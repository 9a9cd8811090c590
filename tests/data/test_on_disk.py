"""Tables with texts that lie on disk: every reading of them is that of the whole in memory."""

from __future__ import annotations

import datetime
import gc
import pickle
import string
import tempfile
from decimal import Decimal
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

import miaudit
from miaudit.auditing.proposal import proposal
from miaudit.data import from_arrays, mapped, schema, tables
from miaudit.data import parquet as of_parquet
from miaudit.data.copies import copies_across
from miaudit.data.hashes import content_hash, row_hashes
from miaudit.data.load import load, load_parts
from miaudit.data.on_disk import FrameOnDisk, TextsOnDisk
from miaudit.data.records import form_of, in_memory, select_records, take_records
from miaudit.errors import DataError
from miaudit.plan.permissions import Permissions
from miaudit.recipes import as_recipe

TEXTS = st.text(st.sampled_from(string.ascii_letters + "é 1.0-"), max_size=8)
CELLS = {
    "text": (pa.string(), TEXTS),
    "large text": (pa.large_string(), TEXTS),
    "whole": (pa.int64(), st.integers(-(2**40), 2**40)),
    "byte": (pa.uint8(), st.integers(0, 255)),
    "number": (pa.float64(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
    "float32": (pa.float32(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
    "flag": (pa.bool_(), st.booleans()),
    "time": (pa.timestamp("us"), st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1))),
    "zone": (
        pa.timestamp("ms", "Europe/Zurich"),
        st.datetimes(datetime.datetime(1980, 1, 1), datetime.datetime(2037, 1, 1)),
    ),
    "day": (pa.date32(), st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1))),
    "decimal": (pa.decimal128(12, 2), st.integers(-(10**9), 10**9).map(lambda cents: Decimal(cents) / 100)),
    "category": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from("abcd")),
    "category of polars": (pa.dictionary(pa.uint32(), pa.large_string()), st.sampled_from("abcd")),
    "small category": (pa.dictionary(pa.uint8(), pa.string()), st.sampled_from("abcd")),
}


@st.composite
def files(draw, most=2):
    """Return tables of equal columns, a label among them, with missing values in some."""
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    gaps = [draw(st.booleans()) for _ in kinds]
    made = []
    for _ in range(draw(st.integers(1, most))):
        n = draw(st.integers(4, 24))
        columns = {
            f"{kind} {i}": pa.array(
                draw(st.lists(st.one_of(st.none(), cell) if gap else cell, min_size=n, max_size=n)),
                of.value_type if pa.types.is_dictionary(of) else of,
            ).cast(of)
            for i, (kind, gap) in enumerate(zip(kinds, gaps, strict=True))
            for of, cell in [CELLS[kind]]
        }
        made.append(pa.table({**columns, "y": pa.array([i % 2 for i in range(n)])}))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def written(folder, made, **options):
    paths = [folder / f"{i}.parquet" for i in range(len(made))]
    for path, table in zip(paths, made, strict=True):
        pq.write_table(table, path, row_group_size=7, **options)
    return paths


def both_ways(paths, **options):
    """Return a data set read in memory, and one read on disk in small blocks; or the errors in their place."""
    results = []
    for held, block in ((1 << 27, 1 << 24), (0, 64)):
        with pytest.MonkeyPatch.context() as patch:
            for module in (of_parquet, tables, mapped):
                patch.setattr(module, "HELD", held)
                patch.setattr(module, "BLOCK", block)
            patch.setattr(tables, "HELD", max(held, 400))  # a column's different texts are fewer
            try:
                results.append(load_parts(paths, **options)[0])
            except DataError as error:
                results.append(str(error))
    return results


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(made=files(), order=st.randoms(use_true_random=False))
def test_a_frame_on_disk_is_the_frame_of_the_whole(folder, made, order):
    there, here = both_ways(written(folder, made), label="y", frame=True)
    if isinstance(there, str):
        assert here == there
        return
    assert (here.schema, here.notes, here.hash, here.classes) == (there.schema, there.notes, there.hash, there.classes)
    if not isinstance(here.X, FrameOnDisk):  # pandas gives the files' columns different types
        pd.testing.assert_frame_equal(here.X, there.X)
        return
    rows = np.array(order.choices(range(len(there)), k=9))
    for index in (np.arange(len(there)), rows, rows[:0]):
        pd.testing.assert_frame_equal(take_records(here.X, index), take_records(there.X, index))
    assert form_of(here.X) == form_of(there.X)
    assert here.X.shape == there.X.shape
    assert (row_hashes(here.X) == row_hashes(there.X)).all()
    part, of_whole = select_records(here.X, rows), take_records(there.X, rows)
    assert isinstance(part, FrameOnDisk)
    assert content_hash(part) == content_hash(of_whole)
    pd.testing.assert_frame_equal(in_memory(part), of_whole)
    sides = np.arange(len(there)) % 3
    for one, other in zip(copies_across(here.X, sides), copies_across(there.X, sides), strict=True):
        assert (one == other).all()
    again = pickle.loads(pickle.dumps(here))
    pd.testing.assert_frame_equal(take_records(again.X, rows), of_whole)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(made=files())
def test_a_matrix_of_a_table_on_disk_is_that_of_the_whole(folder, made):
    there, here = both_ways(written(folder, made), label="y")
    if isinstance(there, str):
        assert here == there
        return
    np.testing.assert_array_equal(here.X, there.X)
    assert (here.schema, here.notes, here.hash) == (there.schema, there.notes, there.hash)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.one_of(st.none(), TEXTS), min_size=4, max_size=30))
def test_texts_on_disk_are_those_of_the_whole(folder, texts):
    n = len(texts)
    table = pa.table(
        {"text": pa.array(texts, pa.string()), "y": [i % 2 for i in range(n)], "who": [f"p{i % 3}" for i in range(n)]}
    )
    there, here = both_ways(
        written(folder, [table, table]), label="y", text="text", group="who", ids="text", slices=["who"]
    )
    if isinstance(there, str):
        assert here == there
        return
    assert isinstance(here.X, TextsOnDisk)
    assert here.X.tolist() == there.X.tolist()
    assert (here.schema, here.notes, here.hash) == (there.schema, there.notes, there.hash)
    assert (here.groups == there.groups).all()
    assert (here.slices["who"] == there.slices["who"]).all()
    rows = np.arange(n)[::-2]
    assert take_records(here.X, rows).tolist() == take_records(there.X, rows).tolist()
    assert (row_hashes(here.X) == row_hashes(there.X)).all()
    assert select_records(here.X, rows).tolist() == take_records(there.X, rows).tolist()
    assert here.X[n - 1] == there.X[n - 1]
    assert pickle.loads(pickle.dumps(here)).X.tolist() == there.X.tolist()


def test_types_of_pandas_own_are_kept(folder):
    frame = pd.DataFrame(
        {
            "whole": pd.array([1, None, 3, 4, 5, 6, 7, 8], dtype="Int64"),
            "flag": pd.array([True, None] * 4, dtype="boolean"),
            "size": pd.Categorical(list("abcaabca"), categories=["c", "b", "a", "z"], ordered=True),
            "code": [7, 8] * 4,
            "name": ["x", None] * 4,
            "y": [0, 1] * 4,
        },
        index=pd.Index(range(10, 18), name="row"),
    )
    frame.to_parquet(folder / "own.parquet", row_group_size=3)
    there, here = both_ways([folder / "own.parquet"], label="y", frame=True, texts=["code", "name"])
    assert isinstance(here.X, FrameOnDisk)
    pd.testing.assert_frame_equal(in_memory(here.X), there.X)
    assert (here.schema, here.hash, here.notes) == (there.schema, there.hash, there.notes)
    assert (row_hashes(here.X) == row_hashes(there.X)).all()


@pytest.mark.parametrize("codes", [pa.int8(), pa.uint8(), pa.uint32(), pa.uint64()])
def test_categories_are_read_whatever_the_type_of_their_codes(folder, codes):
    values = [None, *(f"c{i}" for i in range(128)), "c3", None]  # 128 of them leave an int8 no code for another
    column = pa.DictionaryArray.from_arrays(
        pa.array([None, *range(128), 3, None], codes), pa.array([f"c{i}" for i in range(128)])
    )
    table = pa.table({"c": column, "y": [i % 2 for i in range(len(values))]})
    there, here = both_ways(written(folder, [table]), label="y", frame=True)
    assert isinstance(here.X, FrameOnDisk)
    pd.testing.assert_frame_equal(in_memory(here.X), there.X)
    for read in both_ways(written(folder, [table]), label="y", text="c"):
        assert np.asarray(read.X).tolist() == ["" if value is None else value for value in values]


def test_records_on_disk_are_counted_as_those_of_an_array(folder):
    values = np.array([f"t{i}" for i in range(20)], dtype=object)
    table = pa.table({"t": values.tolist(), "y": [0, 1] * 10})
    _, texts = both_ways(written(folder, [table]), label="y", text="t")
    _, frame = both_ways(written(folder, [table]), label="y", frame=True)
    for whole in (texts.X, texts.X.select(np.arange(20))):
        for rows in (np.array([-1, 0, -20, 19]), np.array([3, 250], np.uint8)[:1], [], np.arange(20) % 3 == 0):
            assert whole[rows].tolist() == values[rows].tolist()
        for rows in (np.array([0, 20]), np.array([-21]), np.ones(19, bool)):
            with pytest.raises(IndexError):
                whole[rows]
    assert take_records(frame.X, np.array([-1, 2]))["t"].tolist() == ["t19", "t2"]
    assert select_records(texts.X, np.array([-1, 2])).tolist() == ["t19", "t2"]
    with pytest.raises(IndexError, match="record 20 is asked for, of 20"):
        take_records(frame.X, np.array([1, 20]))


def test_categories_of_several_files_are_joined(folder):
    made = [pa.table({"c": pa.array(list(values)).dictionary_encode(), "y": [0, 1]}) for values in ("ab", "cb")]
    there, here = both_ways(written(folder, made), label="y", frame=True)
    assert isinstance(here.X, FrameOnDisk)
    pd.testing.assert_frame_equal(in_memory(here.X), there.X)
    assert here.hash == there.hash


def test_columns_that_a_file_gives_another_type_are_read_whole(folder):
    made = [pa.table({"t": ["a", "b"], "x": values, "y": [0, 1]}) for values in ([1, 2], [0.5, 1.5])]
    there, here = both_ways(written(folder, made), label="y", frame=True)
    pd.testing.assert_frame_equal(here.X, there.X)
    assert here.notes == there.notes


def test_many_different_texts_are_no_categories_and_say_so(folder, monkeypatch):
    monkeypatch.setattr(schema, "HELD", 20)
    table = pa.table({"t": [f"text {i}" for i in range(9)], "c": list("abcabcabc"), "y": [i % 2 for i in range(9)]})
    for read in both_ways(written(folder, [table]), label="y", frame=True):
        assert [column.kind for column in read.schema.columns] == ["text", "categorical"]
        assert read.schema.describe()["text"] == 1
        read.schema.check(in_memory(read.X))
        with pytest.raises(DataError, match=r"\['t'\] hold more than .* different texts, which are no categories"):
            read.schema.encode(in_memory(read.X))
        with pytest.raises(DataError, match="begin with a vectorizer"):
            schema.encoder(read.schema)


def test_free_text_is_refused_as_a_category_before_all_of_it_is_read(folder, monkeypatch):
    table = pa.table({"t": [f"text {i}" for i in range(9)], "y": [i % 2 for i in range(9)]})
    assert "9 different texts" not in str(both_ways(written(folder, [table]), label="y")[1])
    monkeypatch.setattr(tables, "HELD", 20)
    monkeypatch.setattr(of_parquet, "HELD", 20)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(DataError, match=r"column 't' has more than \d+ different texts .* id or free text"):
        load(folder / "0.parquet", label="y")
    assert not list(folder.glob("miaudit-records-*"))


def test_what_is_infinite_is_named_wherever_it_lies(folder):
    table = pa.table({"t": list("abcdefgh"), "x": [1.0] * 5 + [np.inf] + [1.0] * 2, "y": [0, 1] * 4})
    errors = both_ways(written(folder, [table]), label="y", frame=True)
    assert errors[0] == errors[1]
    assert "record 5" in errors[0]


def test_a_text_that_is_repeated_lies_on_disk_once_for_each_batch(folder, monkeypatch):
    table = pa.table({"t": ["long " * 20_000] * 500, "y": [0, 1] * 250})
    monkeypatch.setattr(of_parquet, "HELD", 0)
    pq.write_table(table, folder / "one.parquet")
    X = load(folder / "one.parquet", label="y", frame=True).X
    assert isinstance(X, FrameOnDisk)
    assert sum(batch.get_total_buffer_size() for batch in X._table.sources[0].mapped) < 2_000_000
    assert take_records(X, np.array([3]))["t"][0] == "long " * 20_000


def test_a_plan_is_proposed_for_texts_on_disk_as_for_those_in_memory(folder, monkeypatch):
    texts = [f"word{i % 5} text" for i in range(8)]
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [0, 1] * 4)
    joblib.dump(model, folder / "model.joblib")
    pq.write_table(pa.table({"text": texts, "y": [0, 1] * 4}), folder / "side.parquet")
    paths, permissions = [folder / "model.joblib", *[folder / "side.parquet"] * 2], Permissions(allow_pickle=True)
    there = proposal(*paths, permissions=permissions)
    monkeypatch.setattr(of_parquet, "HELD", 0)
    assert proposal(*paths, permissions=permissions) == there
    assert there["data"]["text"] == "text"


def test_a_temporary_file_goes_with_the_records(folder, monkeypatch):
    monkeypatch.setattr(of_parquet, "HELD", 0)
    pq.write_table(pa.table({"t": ["a", "b"], "y": [0, 1]}), folder / "one.parquet")
    X = load(folder / "one.parquet", label="y", frame=True).X
    source = X._table.sources[0]
    path = Path(source.path)
    assert path.exists()
    del X, source
    assert not path.exists()


@pytest.mark.parametrize("column", ["text", "number"])
def test_a_refused_temporary_file_is_no_fault_of_the_table(folder, monkeypatch, tmp_path, column):
    resource = pytest.importorskip("resource")
    values = {"text": [f"text {i}" for i in range(3000)], "number": np.arange(3000.0)}[column]
    (path,) = written(folder, [pa.table({column: values, "y": ["a", "b"] * 1500})])
    monkeypatch.setattr(of_parquet, "HELD", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"parquet: a temporary file cannot be written into .*none \(No such file"):
        load(path, label="y", frame=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(
            DataError, match=rf"parquet: a temporary file cannot be written into {tmp_path} \(.* set TMPDIR"
        ):
            load(path, label="y", frame=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_matrix_of_numbers_is_written_once(folder, monkeypatch, tmp_path):
    (path,) = written(folder, [pa.table({"x": np.arange(300.0), "t": ["a", "b"] * 150, "y": [0, 1, 2] * 100})])
    monkeypatch.setattr(of_parquet, "HELD", 0)
    files = {}
    for columns, frame in ((["x", "y"], False), (["x", "t", "y"], False), (["x", "y"], True)):
        pq.write_table(pq.read_table(path, columns=columns), tmp_path / "some.parquet")
        content = of_parquet.read_parquet(tmp_path / "some.parquet", frame=frame)
        files[(*columns, frame)] = content.batches
        assert np.asarray(content.columns["x"]).tolist() == list(range(300))
        if "t" in columns:
            assert content.columns["t"]._table.sources[0].mapped[0].schema.names == ["t"]
    assert [batches is None for batches in files.values()] == [True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("text", [None, "t"])
def test_another_machine_is_sent_the_records_and_not_their_place(folder, monkeypatch, text):
    _Parcel = pytest.importorskip("miaudit.shadows.dask")._Parcel
    pytest.importorskip("cloudpickle")
    (path,) = written(folder, [pa.table({"t": ["a", "b", None, "c"] * 2, "y": [0, 1] * 4})])
    there, here = both_ways([path], label="y", **({"text": text} if text else {"frame": True}))
    content = pickle.dumps(_Parcel.of(here, as_recipe(GaussianNB())))
    source = Path(here.X._table.sources[0].path)
    del here
    assert not source.exists()
    sent = pickle.loads(content).dataset
    assert content_hash(sent.X) == content_hash(there.X)
    np.save(folder / "X.npy", np.arange(8.0).reshape(4, 2))
    np.save(folder / "l.npy", np.array([0, 1, 0, 1]))
    content = pickle.dumps(_Parcel.of(load(folder / "X.npy", label="l.npy"), as_recipe(GaussianNB())))
    (folder / "X.npy").unlink()
    assert pickle.loads(content).dataset.X.tolist() == np.arange(8.0).reshape(4, 2).tolist()
    monkeypatch.setattr("miaudit.data.room.available_bytes", lambda: 0)
    large = np.memmap(folder / "large", np.uint8, "w+", shape=(9, 2 << 20))
    with pytest.raises(DataError, match=r"which lie in a file.*or train without a cluster"):
        _Parcel.of(from_arrays(large, np.arange(9) % 2), as_recipe(GaussianNB()))


@pytest.mark.slow
@pytest.mark.parametrize("frame", [True, False])
def test_an_audit_of_records_on_disk_gives_the_figures_of_the_whole(tmp_path, monkeypatch, frame):
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(300)], dtype=object)
    y = rng.integers(0, 2, 400)
    texts = [" ".join(words[rng.integers(0, 250, 12) + 50 * c]) for c in y]
    columns = {"text": texts, "x": rng.normal(size=400) + y, "c": list(rng.choice(["a", "b"], 400)), "y": y}
    pq.write_table(pa.table(columns if frame else {"text": texts, "y": y}), tmp_path / "t.parquet", row_group_size=64)
    (tmp_path / "own.py").write_text(
        "from sklearn.compose import make_column_transformer as columns\n"
        "from sklearn.feature_extraction.text import TfidfVectorizer\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import OrdinalEncoder\n\n\n"
        "def train(X, y, seed):\n"
        "    first = columns((TfidfVectorizer(), 'text'), (OrdinalEncoder(), ['c']), ('passthrough', ['x'])) if X.ndim == 2 "
        "else TfidfVectorizer()\n"
        "    return make_pipeline(first, LogisticRegression()).fit(X, y)\n"
    )
    plan = {
        "data": {"path": str(tmp_path / "t.parquet"), "label": "y", **({"frame": True} if frame else {"text": "text"})},
        "split": {"members": 60},
        "recipe": {"train": str(tmp_path / "own.py") + ":train"},
        "shadows": {"count": 2},
        "attacks": ["rmia"],
    }
    there = miaudit.audit(plan, jobs=0, allow_code=True)
    for module in (of_parquet, tables, mapped):
        monkeypatch.setattr(module, "HELD", 0)
    here = miaudit.audit(plan, jobs=2, allow_code=True)
    assert [a.auc for a in here.attacks] == [a.auc for a in there.attacks]
    assert here.controls == there.controls


def test_columns_on_disk_are_matched_by_their_names(folder):
    one = pa.table({"t": list("abcd"), "x": [1.0, 2.0, 3.0, 4.0], "y": [0, 1] * 2})
    there, here = both_ways(written(folder, [one, one.select(["y", "x", "t"])]), label="y", frame=True)
    assert isinstance(here.X, FrameOnDisk)
    assert list(take_records(here.X, np.arange(8))["t"]) == list("abcdabcd")
    assert (there.hash, there.notes) == (here.hash, here.notes)
