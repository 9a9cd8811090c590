"""Data sets from files and from objects in memory."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.data.dataset import Dataset
from miaudit.data.labels import Labels, class_labels, vector
from miaudit.data.records import as_records, check_finite, n_records, stack_records
from miaudit.data.schema import ColumnKind, Schema, unknown_column
from miaudit.data.tables import (
    Table,
    as_numbers,
    join_tables,
    matrix,
    parse_column,
    read_table,
    side_values,
    suffix_of,
    to_frame,
)
from miaudit.errors import DataError

Path_ = str | os.PathLike[str]


def from_arrays(
    X: Any,
    y: Any,
    *,
    classes: Sequence[Any] | None = None,
    groups: ArrayLike | None = None,
    group_name: str | None = None,
    ids: ArrayLike | None = None,
    name: str = "data",
    labels: Labels = "codes",
    names: Sequence[str] | None = None,
    stated: Mapping[str, ColumnKind] | None = None,
    schema: Schema | None = None,
) -> Dataset:
    """Return a data set from records and labels in memory.

    Parameters
    ----------
    X
        A numpy array or nested list (n, ...), any scipy sparse matrix (it becomes CSR), a pandas or a polars frame.
    y
        (n,) labels: integers 0..C-1 without gaps, or texts, which are class names and are sorted.
    classes
        Class names in order; then labels must be among them, and a class may have no record. Where no name is a number,
        labels may also be the classes' numbers from 0.
    groups, group_name
        (n,) group of each record (a person with many records), and what to call it.
    ids
        (n,) record ids for people to find a record again.
    labels
        ``"names"`` takes integer labels as class names too, gaps and all.
    names, stated
        Names of an array's columns, and the kind of some columns; see :meth:`Schema.infer`.
    schema
        The schema, instead of inferring it.

    Raises
    ------
    DataError
        If something is empty, missing, NaN or infinite, of the wrong length, or labels do not fit.
    """
    X = as_records(X)
    n = n_records(X)
    if n == 0 or 0 in X.shape:
        raise DataError(f"there is nothing in the records: their shape is {tuple(X.shape)}; give at least two records")
    codes, class_names = class_labels(y, classes=classes, labels=labels)
    sides = {"y": codes, "ids": vector(ids, "ids"), "groups": vector(groups, "groups")}
    for what, array in sides.items():
        if array is not None and len(array) != n:
            raise DataError(f"X has {n} records and {what} has {len(array)} values; give one for each record")
    if sides["groups"] is not None:
        check_finite(sides["groups"][:, None], "groups")
    if schema is None:
        schema = Schema.infer(X, names=names, stated=stated)
    else:
        schema.check(X)
    return Dataset(
        X=X,
        y=codes,
        schema=schema,
        classes=class_names,
        ids=sides["ids"],
        groups=sides["groups"],
        group_name=None if groups is None else group_name or "group",
        name=name,
        alphabetical=classes is None and class_names != tuple(map(str, range(len(class_names)))),
    )


def load(
    path: Path_,
    *,
    label: str | None = None,
    ids: str | None = None,
    group: str | None = None,
    drop: Collection[str] = (),
    categorical: Collection[str] = (),
    numeric: Collection[str] = (),
    labels: Labels = "codes",
    classes: Sequence[Any] | None = None,
    frame: bool = False,
    name: str | None = None,
    records: str = "X",
    slices: Collection[str] = (),
) -> Dataset:
    """Read a data set from an ``.npz``, ``.csv``, ``.csv.gz`` or ``.parquet`` file.

    A table becomes a float64 matrix in which a categorical column holds the numbers of its categories; the schema names
    them. Texts stay as written: an empty cell, ``?`` and ``None`` are categories like any other. A column is numeric if
    all its cells are numbers.

    Parameters
    ----------
    path
        The file. An ``.npz`` holds the arrays ``records`` and ``label`` (``X`` and ``y`` unless named), or
        ``<records>_packed`` and ``n_features`` for packed bits; ``classes`` and ``feature_names`` are read where present.
    label, ids, group
        Columns of a table (arrays of an ``.npz``) with the class, the record's id, and the group.
    drop
        Columns to leave out.
    categorical, numeric
        Columns whose kind is stated rather than inferred.
    labels, classes
        See :func:`from_arrays`.
    frame
        Hand out a pandas frame with the original values instead of a matrix.
    name
        What to call the data; the file's name unless given.
    slices
        Columns (or arrays) to keep beside the records, for :func:`~miaudit.data.slices.slices_of`.

    Raises
    ------
    DataError
        If the file cannot be read, names do not fit it, or its content is not usable.
    """
    dataset, _ = load_parts(
        [path],
        label=label,
        ids=ids,
        group=group,
        drop=drop,
        categorical=categorical,
        numeric=numeric,
        labels=labels,
        classes=classes,
        frame=frame,
        name=name,
        records=records,
        slices=slices,
    )
    return dataset


def load_parts(
    paths: Sequence[Path_],
    *,
    label: str | None = None,
    ids: str | None = None,
    group: str | None = None,
    drop: Collection[str] = (),
    categorical: Collection[str] = (),
    numeric: Collection[str] = (),
    labels: Labels = "codes",
    classes: Sequence[Any] | None = None,
    frame: bool = False,
    name: str | None = None,
    records: str = "X",
    slices: Collection[str] = (),
) -> tuple[Dataset, tuple[NDArray[np.int64], ...]]:
    """Read several files of one kind as one data set; see :func:`load`.

    Returns
    -------
    dataset
        The records of all files, one after the other, under one schema and one set of classes.
    parts
        The record numbers of each file, as :func:`~miaudit.data.split.given_split` takes them.
    """
    files = [Path(path) for path in paths]
    suffixes = sorted({suffix_of(path) for path in files})
    if len(suffixes) != 1:
        raise DataError(f"files of one kind are needed, got {', '.join(suffixes) or 'none'}; convert them to one kind")
    title = name or _stem(files[0])
    try:
        if suffixes[0] == ".npz":
            if frame:
                raise DataError(f"{files[0]}: an .npz holds arrays, not a table; leave frame out")
            read = [_read_npz(path, records, label or "y", ids, group, slices) for path in files]
            dataset = _from_npz(read, drop, categorical, numeric, labels, classes, group, title)
            sizes = [n_records(part["X"]) for part in read]
        else:
            tables = [read_table(path) for path in files]
            dataset = from_table(
                join_tables(tables, files),
                label=label,
                ids=ids,
                group=group,
                drop=drop,
                categorical=categorical,
                numeric=numeric,
                labels=labels,
                classes=classes,
                frame=frame,
                name=title,
                slices=slices,
            )
            sizes = [len(next(iter(table.values()))) for table in tables]
    except DataError as error:
        if any(str(error).startswith(str(path)) for path in files):
            raise
        raise DataError(f"{', '.join(str(path) for path in files)}: {error}") from error
    ends = np.cumsum(sizes)
    return dataset, tuple(
        np.arange(end - size, end, dtype=np.int64) for size, end in zip(sizes, ends.tolist(), strict=True)
    )


def from_table(
    table: Table,
    *,
    label: str | None,
    ids: str | None = None,
    group: str | None = None,
    drop: Collection[str] = (),
    categorical: Collection[str] = (),
    numeric: Collection[str] = (),
    labels: Labels = "codes",
    classes: Sequence[Any] | None = None,
    frame: bool = False,
    name: str = "data",
    slices: Collection[str] = (),
) -> Dataset:
    """Return a data set from columns; parameters and errors are those of :func:`load`."""
    names = list(table)
    if label is None:
        raise DataError(f"name the label column (label = ...); the columns are {', '.join(names[:20])}")
    for column in (label, ids, group, *drop, *categorical, *numeric, *slices):
        if column is not None and column not in table:
            raise DataError(unknown_column(column, names))
    if both := sorted(set(categorical) & set(numeric)):
        raise DataError(f"columns {both} are stated to be both categorical and numeric; choose one")
    left_out = {label, ids, group, *drop}
    features = [column for column in names if column not in left_out]
    if not features:
        raise DataError("no column is left for the features: all are label, ids, group or dropped")
    parsed = {
        column: parse_column(column, table[column], categorical=column in categorical, numeric=column in numeric)
        for column in features
    }
    schema: Schema | None = None
    if frame:
        numbers = {column: as_numbers(table[column]) for column in set(categorical) & set(features)}
        X = to_frame(parsed | {column: found for column, found in numbers.items() if found is not None})
    else:
        X, schema = matrix(parsed)
    y = as_numbers(table[label]) if labels == "codes" else None
    dataset = from_arrays(
        X,
        table[label] if y is None else y,
        classes=classes,
        labels=labels,
        ids=None if ids is None else side_values(table[ids]),
        groups=None if group is None else side_values(table[group]),
        group_name=group,
        name=name,
        stated=_stated(categorical, numeric) if frame else None,
        schema=schema,
    )
    return replace(dataset, slices={column: _slice(table[column]) for column in slices})


def _slice(cells: Any) -> NDArray[Any]:
    numbers = as_numbers(cells)
    return np.array(list(cells), dtype=object) if numbers is None else numbers


def _read_npz(
    path: Path, records: str, label: str, ids: str | None, group: str | None, slices: Collection[str]
) -> dict[str, Any]:
    packed = f"{records}_packed"
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # np.load leaves a broken file open
            has = list(file.files)
            wanted = {"y": label, "ids": ids, "groups": group}
            for array in (records if packed not in has else packed, *wanted.values()):
                if array is not None and array not in has:
                    raise DataError(f"{path} has no array {array!r}; it has {', '.join(has)}. Name the right one")
            part = {key: file[array] for key, array in wanted.items() if array is not None}
            # a slice that is no array may be a column of the records: slices_of looks there
            part["slices"] = {array: vector(file[array], array) for array in slices if array in has}
            for array in ("classes", "feature_names"):
                if array in has and file[array].ndim == 1:
                    part[array] = file[array].tolist()
            if packed in has:
                if "n_features" not in has:
                    raise DataError(f"{path} has {packed!r} without 'n_features', so its width is not known")
                part["X"] = np.unpackbits(file[packed], axis=1, count=int(file["n_features"]))
            else:
                part["X"] = file[records]
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise DataError(
            f"{path} cannot be read as .npz without pickled objects: {error}; save plain arrays with np.savez"
        ) from error
    return part


def _from_npz(
    parts: Sequence[dict[str, Any]],
    drop: Collection[str],
    categorical: Collection[str],
    numeric: Collection[str],
    labels: Labels,
    classes: Sequence[Any] | None,
    group: str | None,
    name: str,
) -> Dataset:
    X = stack_records([as_records(part["X"]) for part in parts])
    arrays = {
        key: np.concatenate([part[key] for part in parts]) if key in parts[0] else None
        for key in ("y", "ids", "groups")
    }
    slices = {array: np.concatenate([part["slices"][array] for part in parts]) for array in parts[0]["slices"]}
    names: list[str] | None = parts[0].get("feature_names")
    if drop or categorical or numeric:
        if X.ndim != 2:
            raise DataError(f"columns are named, but records have shape {X.shape[1:]} and no columns")
        names = names or [f"x{i}" for i in range(X.shape[1])]
        for column in (*drop, *categorical, *numeric):
            if column not in names:
                raise DataError(unknown_column(column, names))
        keep = [i for i, column in enumerate(names) if column not in set(drop)]
        X, names = X[:, keep], [names[i] for i in keep]
    dataset = from_arrays(
        X,
        arrays["y"],
        classes=classes if classes is not None else parts[0].get("classes"),
        groups=arrays["groups"],
        group_name=group,
        ids=arrays["ids"],
        name=name,
        labels=labels,
        names=names,
        stated=_stated(categorical, numeric),
    )
    return replace(dataset, slices=slices)


def _stem(path: Path) -> str:
    return path.name[: -len(suffix_of(path))] or path.name


def _stated(categorical: Collection[str], numeric: Collection[str]) -> dict[str, ColumnKind]:
    stated: dict[str, ColumnKind] = dict.fromkeys(categorical, "categorical")
    return stated | dict.fromkeys(numeric, "numeric")
