from __future__ import annotations

import os

import numpy as np
import pytest

from miaudit.data import NAMED, Dataset, draw_split, load_named
from miaudit.errors import DataError


def purchase(folder, lines):
    (folder / "dataset_purchase").write_text("\n".join(lines) + "\n")
    return folder


def texas(folder, feats, labels, place="texas/100"):
    (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / place / "feats").write_text("\n".join(feats) + "\n")
    (folder / place / "labels").write_text("\n".join(labels) + "\n")
    return folder


def test_purchase_in_its_published_form(tmp_path):
    X = np.random.default_rng(0).integers(0, 2, (20, 600), dtype=np.uint8)
    labels = [1, 100, *range(2, 20)]
    data = load_named(
        "purchase100", purchase(tmp_path, [",".join(map(str, [y, *x])) for y, x in zip(labels, X, strict=True)])
    )
    assert data.X.dtype == np.uint8
    assert (data.X == X).all()
    assert data.y.tolist() == [label - 1 for label in labels]
    assert data.classes == tuple(str(label) for label in range(1, 101))
    assert data.name == "purchase100"


@pytest.mark.parametrize("place", ["texas/100", "texas100", "."])
def test_texas_in_its_published_form(tmp_path, place):
    X = np.random.default_rng(0).integers(0, 2, (10, 6169))
    X[3] = 0
    labels = list(range(91, 101))
    feats = [",".join(map(str, row)) for row in X]
    data = load_named("texas100", texas(tmp_path, feats, list(map(str, labels)), place))
    assert data.X.format == "csr"
    assert data.X.dtype == np.float32
    assert (data.X.toarray() == X).all()
    assert data.y.tolist() == [label - 1 for label in labels]
    assert data.schema.sparse


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1,0,1", "2,0,2"], "line 2: features must be 0 or 1"),
        (["1,0,1", "2,0"], "line 2: 1 feature, the lines before have 2"),
        (["1,0,1", "101,0,1"], "line 2: label b'101' must be a whole number from 1 to 100"),
        (["1,0,1", "0,0,1"], "line 2: label b'0'"),
        (["1,0,1", "a,0,1"], "line 2: label b'a'"),
        (["1,0,1", "2,0;1"], "with commas between"),
        (["1,0,1", "2"], "line 2: features must be"),
        (["7,0,1", "7,1,1"], "all 2 records have one class"),
    ],
)
def test_purchase_files_that_are_not_as_published(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        load_named("purchase100", purchase(tmp_path, lines))


def test_texas_files_that_do_not_fit(tmp_path):
    with pytest.raises(DataError, match=r"has 2 records and .*labels has 3 labels"):
        load_named("texas100", texas(tmp_path, ["0,1", "1,1"], ["1", "2", "3"]))
    (tmp_path / "texas/100/labels").unlink()
    with pytest.raises(DataError, match=r"there is no labels in .*texas/100"):
        load_named("texas100", tmp_path)


@pytest.mark.parametrize("name", [name for name, info in NAMED.items() if info.files])
def test_a_missing_file_is_told_with_source_and_layout(tmp_path, name):
    info = NAMED[name]
    with pytest.raises(DataError) as caught:
        load_named(name, tmp_path)
    message = str(caught.value)
    for part in (f"data set {name!r}", str(tmp_path), info.source, info.layout, *info.files):
        assert part in message


def test_the_folder_comes_from_the_argument_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("MIAUDIT_DATA", raising=False)
    with pytest.raises(DataError, match="no folder to look in; set MIAUDIT_DATA"):
        load_named("adult")
    with pytest.raises(DataError, match="there is no folder"):
        load_named("adult", tmp_path / "nowhere")
    monkeypatch.setenv("MIAUDIT_DATA", str(purchase(tmp_path, ["1,0,1", "2,1,1"])))
    assert len(Dataset.load("purchase100")) == 2


def test_names_and_options_that_are_not_known(tmp_path):
    with pytest.raises(DataError, match="no data set 'adlut'; did you mean 'adult'"):
        load_named("adlut", tmp_path)
    with pytest.raises(DataError, match="'adult' has no option 'stays'; it has part"):
        load_named("adult", tmp_path, options={"stays": "all"})
    with pytest.raises(DataError, match="stays = 'last' is not one of first, all"):
        load_named("diabetes130", tmp_path, options={"stays": "last"})
    with pytest.raises(DataError, match="not a table"):
        load_named("mnist", tmp_path, frame=True)


def test_adult_and_hospital_from_small_files(tmp_path):
    (tmp_path / "adult.csv").write_text(
        "age,job,income,split\n20,a,<=50K,train\n30,?,>50K,train\n40,a,<=50K,test\n50,b,>50K,test\n"
    )
    data = load_named("adult", tmp_path, options={"part": "test"})
    assert [column.name for column in data.schema.columns] == ["age", "job"]
    assert data.classes == ("<=50K", ">50K")
    assert data.X.tolist() == [[40, 0], [50, 1]]
    header = (
        "encounter_id,patient_nbr,admission_type_id,discharge_disposition_id,admission_source_id,diag_1,diag_2,diag_3,"
        "readmitted,days\n"
    )
    stays = [
        "1,10,1,1,1,V58,1,1,NO,3",
        "2,11,2,1,1,250.8,1,1,NO,4",
        "3,10,1,1,1,?,1,1,NO,5",
        "4,10,3,1,1,250.8,1,1,NO,6",
        "5,12,3,1,1,38,1,1,NO,7",
    ]
    (tmp_path / "diabetes130.csv").write_text(header + "\n".join(stays) + "\n")
    first = load_named("diabetes130", tmp_path)
    assert first.ids.tolist() == [1, 2, 5]
    assert first.classes == ("38", "250.8", "V58")
    assert first.y.tolist() == [2, 1, 0]
    assert first.group_name == "patient_nbr"
    assert [(c.name, c.kind) for c in first.schema.columns] == [
        ("admission_type_id", "categorical"),
        ("discharge_disposition_id", "categorical"),
        ("admission_source_id", "categorical"),
        ("days", "numeric"),
    ]
    assert load_named("diabetes130", tmp_path, options={"stays": "all"}).ids.tolist() == [1, 2, 4, 5]


@pytest.mark.data
class TestRealFiles:
    @pytest.fixture(autouse=True)
    def _folder(self):
        assert os.environ.get("MIAUDIT_DATA"), "set MIAUDIT_DATA to the folder with the real data sets"

    def test_location30(self):
        data = load_named("location30")
        assert data.X.shape == (5010, 446)
        assert data.X.dtype == np.uint8
        assert data.X.sum(axis=1).min() == 21
        assert (np.bincount(data.y).min(), np.bincount(data.y).max(), len(data.classes)) == (97, 308, 30)
        split = draw_split(data, members=1200, seed=0)
        assert [len(split.members), len(split.nonmembers), len(split.population)] == [1200, 1200, 2610]
        assert set(split.duplicates.values()) == {0}

    def test_adult(self):
        data = load_named("adult")
        assert data.X.shape == (48842, 14)
        assert np.bincount(data.y).tolist() == [37155, 11687]
        assert data.schema.encoded_width == 108
        assert (
            draw_split(data, members=10000, seed=0, duplicates="drop").duplicates["dropped"] == 57
        )  # 52 with equal labels
        assert len(load_named("adult", options={"part": "test"})) == 16281

    @pytest.mark.slow
    def test_diabetes130(self):
        every = load_named("diabetes130", options={"stays": "all"})
        assert every.X.shape == (86234, 44)
        assert (np.bincount(every.y).min(), np.bincount(every.y).max(), len(every.classes)) == (161, 6862, 100)
        assert len(np.unique(every.groups)) == 62005
        split = draw_split(every, members=10000, seed=0)
        assert not set(every.groups[split.members]) & set(every.groups[split.population])

    def test_frames_agree_with_matrices(self):
        pytest.importorskip("pandas")
        matrix, frame = load_named("adult"), load_named("adult", frame=True)
        assert frame.X["native_country"].iloc[0] == "United-States"
        assert sorted(frame.schema.encode(frame.X).sum(axis=0)) == sorted(matrix.schema.encode(matrix.X).sum(axis=0))

    def test_mnist(self):
        data = load_named("mnist", options={"part": "test"})
        assert data.X.shape == (10000, 28, 28)
        assert np.bincount(data.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

    def test_cifar10(self):
        data = load_named("cifar10", options={"part": "test"})
        assert data.X.shape == (9975, 3, 32, 32)
        assert (data.classes[0], data.classes[9]) == ("airplane", "truck")
        assert np.bincount(data.y).tolist() == [1000] * 7 + [999, 976, 1000]
