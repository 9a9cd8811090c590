"""Public data sets of membership-inference research, read from a folder the user has them in.

Nothing is downloaded. Each entry of :data:`NAMED` says where the data come from and how the files must lie.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from miaudit.data.arrays import from_arrays
from miaudit.data.dataset import Dataset
from miaudit.data.load import Path_, from_table, load
from miaudit.data.tables import Table, read_table
from miaudit.errors import DataError, counted, nearest

FOLDER_VARIABLE = "MIAUDIT_DATA"

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class NamedInfo:
    """What is known of a named data set.

    Parameters
    ----------
    name, description, source
        What to ask for, what it is in one line, and where the public has it.
    files
        Paths below the folder.
    layout
        What the files hold.
    options
        Names of options and their allowed values, the default first.
    table
        Whether it is a table, which can also be had as a pandas frame.
    """

    name: str
    description: str
    source: str
    files: tuple[str, ...]
    layout: str
    read: Callable[[Path, dict[str, str], bool], Dataset] = field(repr=False)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    table: bool = False


def load_named(
    name: str, folder: Path_ | None = None, *, options: Mapping[str, str] | None = None, frame: bool = False
) -> Dataset:
    """Read a named data set.

    Parameters
    ----------
    name
        One of :data:`NAMED`.
    folder
        Where the files lie; the environment variable ``MIAUDIT_DATA`` unless given.
    options
        See ``NAMED[name].options``; the first value of each is the default.
    frame
        Hand out a pandas frame with the original values (tables only).

    Raises
    ------
    DataError
        If the name or an option is not known, or files are missing or not as described.
    """
    if name not in NAMED:
        hint = nearest(name, NAMED)
        raise DataError(f"there is no data set {name!r}{hint and f'; {hint}'} (known: {', '.join(NAMED)})")
    info = NAMED[name]
    values = {option: allowed[0] for option, allowed in info.options.items()}
    for option, value in (options or {}).items():
        if option not in values:
            raise DataError(f"data set {name!r} has no option {option!r}; it has {', '.join(values) or 'none'}")
        if value not in info.options[option]:
            raise DataError(f"data set {name!r}: {option} = {value!r} is not one of {', '.join(info.options[option])}")
        values[option] = value
    if frame and not info.table:
        raise DataError(f"data set {name!r} is not a table of mixed columns; leave frame out")
    return info.read(_folder(info, folder) if info.files else Path(), values, frame)


def _folder(info: NamedInfo, folder: Path_ | None) -> Path:
    place = folder if folder is not None else os.environ.get(FOLDER_VARIABLE)
    if not place:
        raise DataError(
            f"data set {info.name!r}: no folder to look in; set {FOLDER_VARIABLE} or name one. {_wanted(info)}"
        )
    if not Path(place).is_dir():
        raise DataError(f"data set {info.name!r}: there is no folder {place}. {_wanted(info)}")
    return Path(place)


def _wanted(info: NamedInfo) -> str:
    return f"Expected there: {', '.join(info.files)} ({info.layout}). Public source: {info.source}"


PURCHASE_FILES = ("dataset_purchase", "purchase100/dataset_purchase")
"""Where the file of purchases may lie in the folder of named data sets."""


def _file(name: str, folder: Path, *places: str) -> Path:
    """Return the first of the places that is there."""
    for place in places:
        if (folder / place).is_file():
            return folder / place
    raise DataError(f"data set {name!r}: there is no {' or '.join(places)} in {folder}. {_wanted(NAMED[name])}")


def _digits(folder: Path, options: dict[str, str], frame: bool) -> Dataset:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return from_arrays(X, y, name="digits")


def _location30(folder: Path, options: dict[str, str], frame: bool) -> Dataset:
    return load(_file("location30", folder, "location30.npz"), name="location30")


def _adult(folder: Path, options: dict[str, str], frame: bool) -> Dataset:
    path = _file("adult", folder, "adult.csv.gz", "adult.csv")
    table = read_table(path)
    keep = None
    if options["part"] != "all":
        keep = [i for i, of in enumerate(table.columns.get("split", ())) if of == options["part"]]
    of_label: dict[str, Any] = {
        "label": options["label"],
        "labels": "codes" if options["label"] == "income" else "values",
    }
    return from_table(table, **of_label, drop=("split",), keep=keep, name="adult", **_frame(path, table, frame))


def _diabetes130(folder: Path, options: dict[str, str], frame: bool) -> Dataset:
    """Read the hospital task; why which columns are left out stands in ``NAMED``."""
    path = _file("diabetes130", folder, "diabetes130.csv.gz", "diabetes130.csv")
    table = read_table(path)
    codes, patients = table.columns["diag_1"], table.columns["patient_nbr"]
    counts = Counter(code for code in codes if code != "?")
    common = {code for code, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:100]}
    keep = [i for i, code in enumerate(codes) if code in common]
    if options["stays"] == "first":
        first: dict[str, int] = {}
        for i in keep:
            first.setdefault(patients[i], i)
        keep = list(first.values())
    of_label: dict[str, Any] = {"label": "diag_1", "labels": "names", "classes": sorted(common, key=_code)}
    if options["label"] != "diag_1":  # which is a code with 100 values, known only in the end, as the further ones
        of_label = {"label": options["label"], "labels": "values"}
    return from_table(
        table,
        **of_label,
        ids="encounter_id",
        group="patient_nbr",
        drop=("diag_2", "diag_3", "readmitted", *({"diag_1"} - {of_label["label"]})),
        categorical=("admission_type_id", "discharge_disposition_id", "admission_source_id"),
        keep=keep,
        name="diabetes130",
        **_frame(path, table, frame),
    )


def _code(code: str) -> tuple[bool, float, str]:
    return (True, 0.0, code) if code[:1] in "EV" else (False, float(code), code)


def _frame(path: Path, table: Table, frame: bool) -> dict[str, Any]:
    """Return what makes frames of a file for `from_table`."""
    return {"files": (path,), "sizes": (len(table),)} if frame else {}


def _mnist(folder: Path, options: dict[str, str], frame: bool) -> Dataset:
    path = _file("mnist", folder, "mnist.npz")
    parts = ("train", "test") if options["part"] == "all" else (options["part"],)
    images = [(load(path, records=f"x_{part}", label=f"y_{part}")) for part in parts]
    return _images(images, tuple(str(digit) for digit in range(10)), "mnist")


def _cifar10(folder: Path, options: dict[str, str], frame: bool) -> Dataset:
    parts = ("train_a", "test") if options["part"] == "all" else (options["part"],)
    files = [_file("cifar10", folder, f"cifar10_{part}.npz") for part in parts]
    return _images([load(path, records="x", label="y") for path in files], _CIFAR10, "cifar10")


def _images(parts: list[Dataset], classes: tuple[str, ...], name: str) -> Dataset:
    X = np.concatenate([part.X for part in parts])
    return from_arrays(X, np.concatenate([part.y for part in parts]), classes=classes, name=name)


def _purchase100(folder: Path, options: dict[str, str], frame: bool) -> Dataset:
    path = _file("purchase100", folder, *PURCHASE_FILES)
    labels, bits = [], []
    width: int | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            label, _, features = line.rstrip(b"\r\n").partition(b",")
            row = _bits(features, width, path, number)
            width = len(row)
            labels.append(_label(label, path, number))
            bits.append(row)
    if not bits:
        raise DataError(f"{path} is empty. {_wanted(NAMED['purchase100'])}")
    y = np.array(labels, dtype=np.int64)
    return from_arrays(np.stack(bits), y, classes=[str(label) for label in range(1, 101)], name="purchase100")


def _texas100(folder: Path, options: dict[str, str], frame: bool) -> Dataset:
    path = _file("texas100", folder, "texas/100/feats", "texas100/feats", "feats")
    labels_path = _file("texas100", path.parent, "labels")
    ones, ends, width = [], [0], None
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            row = _bits(line.rstrip(b"\r\n"), width, path, number)
            width = len(row)
            ones.append(np.flatnonzero(row).astype(np.int32))
            ends.append(ends[-1] + len(ones[-1]))
    if width is None:
        raise DataError(f"{path} is empty. {_wanted(NAMED['texas100'])}")
    indices = np.concatenate(ones)
    X = sparse.csr_array((np.ones(len(indices), dtype=np.float32), indices, ends), shape=(len(ones), width))
    y = [
        _label(label, labels_path, number)
        for number, label in enumerate(labels_path.read_bytes().splitlines(), start=1)
        if label.strip()
    ]
    if len(y) != len(ones):
        raise DataError(
            f"{path} has {counted(len(ones), 'record')} and {labels_path} has {counted(len(y), 'label')}; they must be as many"
        )
    return from_arrays(X, np.array(y), classes=[str(label) for label in range(1, 101)], name="texas100")


def _bits(features: bytes, width: int | None, path: Path, number: int) -> NDArray[np.uint8]:
    """Return the 0/1 features of a line ``0,1,0,...``."""
    content = np.frombuffer(features, dtype=np.uint8)
    row = content[::2] - ord("0")
    if len(content) % 2 == 0 or (row > 1).any() or (content[1::2] != ord(",")).any():
        raise DataError(f"{path}, line {number}: features must be 0 or 1 with commas between, got {features[:40]!r}")
    if width is not None and len(row) != width:
        raise DataError(f"{path}, line {number}: {counted(len(row), 'feature')}, the lines before have {width}")
    return row


def _label(text: bytes, path: Path, number: int) -> int:
    """Return a label, 1..100."""
    if not text.strip().isdigit() or not 1 <= int(text) <= 100:
        raise DataError(f"{path}, line {number}: label {text[:20]!r} must be a whole number from 1 to 100")
    return int(text)


NAMED: dict[str, NamedInfo] = {
    info.name: info
    for info in (
        NamedInfo(
            "digits",
            "1,797 grey images of handwritten digits, 8 x 8, 10 classes; ships with scikit-learn, needs no file",
            "https://doi.org/10.24432/C50P49 (UCI Optical Recognition of Handwritten Digits, test part)",
            (),
            "none",
            _digits,
        ),
        NamedInfo(
            "location30",
            "5,010 Foursquare users in Bangkok, 446 binary check-in features, 30 geosocial types",
            "dataset_location.tgz of https://github.com/privacytrustlab/datasets (file bangkok)",
            ("location30.npz",),
            "X_packed: features packed with np.packbits, n_features: 446, y: class 0..29",
            _location30,
        ),
        NamedInfo(
            "adult",
            "48,842 US census records, 14 mixed features, income above 50K or not; 57 records repeat another's features",
            "https://doi.org/10.24432/C5XW20 (UCI Adult: adult.data and adult.test)",
            ("adult.csv.gz",),
            "both UCI files joined under a header, '?' where missing, label income, column split: train or test",
            _adult,
            {"part": ("all", "train", "test"), "label": ("income", "hours_per_week")},
            table=True,
        ),
        NamedInfo(
            "diabetes130",
            # Secondary diagnoses nearly name the main one and have 750 codes each; readmission is known only after the
            # stay. Left out, the largest column is medical_specialty with 73 categories, all kept: one-hot 260 wide.
            "hospital stays of diabetics: the main diagnosis (100 commonest ICD-9 codes) from 44 mixed features, "
            "no secondary diagnoses, no readmission; by patient, of whom the first stay in the file unless stays = all",
            "https://doi.org/10.24432/C5230J (UCI Diabetes 130-US Hospitals: diabetic_data.csv)",
            ("diabetes130.csv.gz",),
            "diabetic_data.csv as published, '?' where missing",
            _diabetes130,
            {"stays": ("first", "all"), "label": ("diag_1", "time_in_hospital")},
            table=True,
        ),
        NamedInfo(
            "mnist",
            "70,000 grey images of handwritten digits, 28 x 28, 10 classes",
            "the four idx files of LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist",
            ("mnist.npz",),
            "x_train uint8 (60000, 28, 28), y_train, x_test (10000, 28, 28), y_test",
            _mnist,
            {"part": ("all", "train", "test")},
        ),
        NamedInfo(
            "cifar10",
            "colour images, 3 x 32 x 32, 10 classes: 25,000 of the training set and the test set",
            "https://www.cs.toronto.edu/~kriz/cifar.html",
            ("cifar10_train_a.npz", "cifar10_test.npz"),
            "in each, x uint8 (n, 3, 32, 32) channel first and y 0..9",
            _cifar10,
            {"part": ("all", "train_a", "test")},
        ),
        NamedInfo(
            "purchase100",
            "197,324 shoppers, 600 binary features (bought or not), 100 purchase styles",
            "dataset_purchase.tgz of https://github.com/privacytrustlab/datasets",
            ("dataset_purchase",),
            "one line per record: label 1..100, then the features 0 or 1, commas between",
            _purchase100,
        ),
        NamedInfo(
            "texas100",
            "67,330 hospital stays in Texas, 6,169 binary features, 100 main procedures; held as CSR",
            "dataset_texas.tgz of https://github.com/privacytrustlab/datasets",
            ("texas/100/feats", "texas/100/labels"),
            "feats: one line per record, 0 or 1 with commas between; labels: 1..100, one per line",
            _texas100,
        ),
    )
}
"""The named data sets, by name."""

__all__ = ["FOLDER_VARIABLE", "NAMED", "NamedInfo", "load_named"]
