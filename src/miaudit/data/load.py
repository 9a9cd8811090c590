"""Data sets from files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.arrays import from_arrays
from miaudit.data.cells import has_leading_zeros, is_missing, is_number
from miaudit.data.columns import Columns
from miaudit.data.dataset import Dataset
from miaudit.data.frames import frame_on_disk, read_frame, reading_of
from miaudit.data.labels import file_labels, vector
from miaudit.data.naming import check_names, notes_of_order
from miaudit.data.npz import open_npz, read_npy
from miaudit.data.on_disk import TextsOnDisk
from miaudit.data.parquet import Unread, are_large
from miaudit.data.position import in_parts
from miaudit.data.records import as_records, n_records, select_records, stack_records
from miaudit.data.room import require_room, within_memory
from miaudit.data.schema import Schema, unknown_column
from miaudit.data.stacking import check_alike, sort_of
from miaudit.data.tables import (
    Table,
    as_numbers,
    by_file,
    check_unnamed,
    index_notes,
    join_tables,
    matrix,
    parse_column,
    people_notes,
    read_table,
    side_values,
    suffix_of,
)
from miaudit.errors import DataError, counted, noun

Path_ = str | os.PathLike[str]


def load(path: Path_, **options: Any) -> Dataset:
    """Read a data set from an ``.npz``, ``.csv``, ``.csv.gz`` or ``.parquet`` file.

    A table becomes a float64 matrix in which a categorical column holds the numbers of its categories; the schema names
    them. Texts stay as written: an empty cell, ``?`` and ``None`` are categories like any other. A column is numeric if
    all its cells are numbers, written plainly, or missing. What was read otherwise than it may look like is in the data
    set's ``notes``; docs/plans.md has the rules.

    Parameters
    ----------
    path
        The file. An ``.npz`` holds the arrays ``records`` and ``label`` (``X`` and ``y`` unless named), or
        ``<records>_packed`` and ``n_features`` for packed bits; ``classes`` and ``feature_names`` are read where present.
    label, ids, group
        Columns of a table (arrays of an ``.npz``) with the class, the record's id, and the group.
    order
        Columns that are the features, in the order that models are handed them; default: all that are nothing else, in the
        order of the file.
    drop
        Columns to leave out. Beside ``order``, which leaves out all that it does not name, every column must be in one of them.
    categorical, numeric
        Features whose kind is stated rather than inferred.
    labels, classes
        See :func:`from_arrays`.
    frame
        Hand out the pandas frame that ``read_csv`` or ``read_parquet`` makes of the file with default settings, instead of
        a matrix. Of columns stated to be categorical, those with leading zeros are read as texts.
    text
        Column whose text is the record: the records are then an (n,) array of texts, as models of texts take them.
    texts
        With ``frame``: columns to read as texts, as written (pandas' ``dtype=str``).
    name
        What to call the data; the file's name unless given.
    slices
        Columns (or arrays) to keep beside the records, for :func:`~miaudit.data.slices.slices_of`.

    Raises
    ------
    DataError
        If the file cannot be read, names do not fit it, or its content is not usable.
    """
    return load_parts([path], **options)[0]


load.__signature__ = Signature(  # type: ignore[attr-defined]
    [
        Parameter("path", Parameter.POSITIONAL_OR_KEYWORD, annotation=Path_),
        *(each.replace(kind=Parameter.KEYWORD_ONLY) for each in signature(Columns).parameters.values()),
    ],
    return_annotation=Dataset,
)


def load_parts(paths: Sequence[Path_], **options: Any) -> tuple[Dataset, tuple[NDArray[np.int64], ...]]:
    """Read several files of one kind as one data set; options are those of :func:`load`.

    Returns
    -------
    dataset
        The records of all files, one after the other, under one schema and one set of classes.
    parts
        The record numbers of each file, as :func:`~miaudit.data.split.given_split` takes them.
    """
    files, columns = [Path(path) for path in paths], Columns(**options)
    suffixes = sorted({suffix_of(path) for path in files})
    if len(suffixes) != 1:
        raise DataError(f"files of one kind are needed, got {', '.join(suffixes) or 'none'}; convert them to one kind")
    columns = columns if columns.name else replace(columns, name=_stem(files[0]))
    try:
        dataset, sizes = _read(files, suffixes[0], columns)
    except DataError as error:
        if any(str(error).startswith(str(path)) for path in files):
            raise
        raise DataError(f"{', '.join(str(path) for path in files)}: {error}") from error
    except RecursionError as error:
        raise DataError(f"{files[0]} is nested too deeply to be read") from error
    ends = np.cumsum(sizes)
    return dataset, tuple(
        np.arange(end - size, end, dtype=np.int64) for size, end in zip(sizes, ends.tolist(), strict=True)
    )


def _read(files: Sequence[Path], suffix: str, columns: Columns) -> tuple[Dataset, list[int]]:
    """Return the records of files with one suffix, and how many are of each file."""
    if columns.texts and not columns.frame:
        raise DataError(
            f"texts = {list(columns.texts)} says how pandas reads columns; state frame = true, or categorical instead"
        )
    if suffix not in (".npy", ".npz"):
        on_disk = suffix == ".parquet" and are_large(files)  # all of them, so that they are one table
        tables = [read_table(path, on_disk=on_disk, frame=columns.frame) for path in files]
        sizes = [len(table) for table in tables]
        with in_parts(files, sizes):
            dataset = _of_table(join_tables(tables, files), columns, files if columns.frame else (), sizes)
        notes = notes_of_order([list(table.columns) for table in tables], [str(path) for path in files])
        return replace(dataset, notes=(*dataset.notes, *notes)), sizes
    if suffix == ".npy":
        if columns.frame or columns.text is not None:
            raise DataError(f"{files[0]}: an .npy holds an array, not a table; leave frame and text out")
        parts = [_read_npy(path, columns) for path in files]
    else:
        if columns.text is not None:
            raise DataError(f"{files[0]}: text names a column of a table; in an .npz X may be an array of texts")
        if columns.frame:
            raise DataError(f"{files[0]}: an .npz holds arrays, not a table; leave frame out")
        parts = [_read_npz(path, columns) for path in files]
    sizes = [n_records(part["X"]) for part in parts]
    with in_parts(files, sizes):
        return _from_arrays(parts, files, columns), sizes


def from_table(
    table: Table,
    *,
    keep: Sequence[int] | None = None,
    files: Sequence[Path] = (),
    sizes: Sequence[int] = (),
    **options: Any,
) -> Dataset:
    """Return a data set from the columns of a table; options and errors are those of :func:`load`.

    ``files``, of which the table was read with so many records each (``sizes``), are read again by pandas, and the records
    are frames; without files they are a matrix. ``keep`` names the records to take, all unless given.
    """
    return _of_table(table, Columns(**options), files, sizes, keep)


def _of_table(
    table: Table, columns: Columns, files: Sequence[Path], sizes: Sequence[int], keep: Sequence[int] | None = None
) -> Dataset:
    features = _features(table, columns)
    notes = index_notes(table, [*features, *(set(columns.drop) & set(table.index))])
    if columns.group is None:
        left_out = {name: by_file(table.columns[name], sizes) for name in columns.drop}
        notes += people_notes(left_out, "name it as data.group")
    schema: Schema | None = None
    X, reading = None, None
    if files:
        codes = {name for name in columns.categorical if name in features and _are_codes(table.columns[name])}
        texts = codes | {*columns.texts}
        X = _frames(table, files, sizes, features, texts, notes)
        reading = reading_of(files[0], texts)
        notes += _frame_notes(table, features, {*columns.numeric, *texts})
        if any(not path.name.lower().endswith(".parquet") for path in files):
            notes += _notes_of_words(table, features)
    if keep is not None:
        table, X = table.take(keep), X if X is None else select_records(X, keep)
    if columns.text is not None:
        X = _documents(table.columns[columns.text], columns.text, notes)
    elif not files:
        X, schema = matrix(
            {
                name: parse_column(
                    *(name, table.columns[name]),
                    categorical=name in columns.categorical,
                    numeric=name in columns.numeric,
                    notes=notes,
                )
                for name in features
            }
        )
    dataset = from_arrays(
        X,
        file_labels(_read_whole(table.columns[columns.label or ""]), labels=columns.labels),
        classes=columns.classes,
        labels=columns.labels,
        ids=None if columns.ids is None else side_values(table.columns[columns.ids]),
        groups=None if columns.group is None else side_values(table.columns[columns.group]),
        group_name=columns.group,
        name=columns.name or "data",
        stated=columns.stated(features) if files else None,
        schema=schema,
    )
    slices = {name: _slice(table.columns[name]) for name in columns.slices}
    check_names((text for values in slices.values() for text in set(values.tolist())), "slices")
    return replace(dataset, slices=slices, notes=(*dataset.notes, *notes), reading=reading)


def _features(table: Table, columns: Columns) -> list[str]:
    """Return the columns that are the records.

    Raises
    ------
    DataError
        If columns that are named are not there or contradict one another, or none is left.
    """
    names = list(table.columns)
    if columns.label is None:
        raise DataError(f"name the label column (label = ...); the columns are {', '.join(names[:20])}")
    for column in columns.named:
        if column not in table.columns:
            raise DataError(unknown_column(column, names))
    columns.check()
    index = set(table.index) - {*columns.order, *columns.categorical, *columns.numeric, *columns.texts}
    left_out = {columns.label, columns.ids, columns.group, *columns.drop, *index}
    if both := sorted(each for each in left_out & {*columns.order} if each is not None):
        raise DataError(f"columns {both} are named in order, and as label, ids, group or dropped; choose one")
    features = list(columns.order) or [name for name in names if name not in left_out]
    if columns.text is not None:
        features = [columns.text]
    if not features:
        raise DataError("no column is left for the features: all are label, ids, group, dropped or a row index")
    columns.check_features(features, [name for name in names if name not in left_out])
    check_unnamed(table, columns.named, features)
    return features


def _documents(cells: Any, name: str, notes: list[str]) -> NDArray[np.object_] | TextsOnDisk:
    """Return the (n,) texts of a column, as written; missing ones are empty."""
    cells = _readable(cells)
    if isinstance(cells, TextsOnDisk):
        texts: NDArray[np.object_] | TextsOnDisk = cells.filled()
        missing = sum(int((block == "").sum()) for block in cells.filled().blocks())
    else:
        written = ["" if cell is None else str(cell) for cell in cells]
        texts = np.array(["" if not text.strip() else text for text in written], dtype=object)
        missing = int((texts == "").sum())
    if missing:
        notes.append(
            f"Column {name!r}: {missing:,} of {counted(len(texts), 'text')} {noun(missing, 'is', 'are')} missing; "
            "models got an empty text."
        )
    return texts


def _are_codes(cells: Any) -> bool:
    """Whether a column's cells would lose zeros in front if they were numbers."""
    return isinstance(cells, list) and any(map(has_leading_zeros, set(cells)))


def _frames(
    table: Table,
    files: Sequence[Path],
    sizes: Sequence[int],
    features: Sequence[str],
    texts: Collection[str],
    notes: list[str],
) -> Any:
    if table.batches:
        on_disk = frame_on_disk(table.batches, files, features, texts)
        if on_disk is not None:
            return on_disk
    columns = [table.columns[name] for name in features]
    size = sum(map(_bytes_of, columns))
    require_room(size, f"a frame of {counted(len(table), 'record')} and {counted(len(features), 'column')}")
    with within_memory("the frame"):
        frames = [
            read_frame(path, texts=texts, records=n)[list(features)] for path, n in zip(files, sizes, strict=True)
        ]
        stacked = stack_records(frames, names=[str(path) for path in files])
    for name in features:
        types = [str(frame[name].dtype) for frame in frames]
        if len(set(types)) > 1:
            types_of = ", ".join(f"{kind} in {path.name}" for kind, path in zip(types, files, strict=True))
            notes.append(
                f"Column {name!r}: pandas reads {types_of}; models were handed {stacked[name].dtype}, with the same values."
            )
    return stacked


def _bytes_of(cells: Any) -> int:
    if isinstance(cells, Unread):
        return 0
    if isinstance(cells, np.ndarray) and cells.dtype.kind != "O":
        return cells.nbytes
    blocks = cells.blocks() if isinstance(cells, TextsOnDisk) else [cells]
    return sum(8 + len(text) for block in blocks for text in block if text is not None)


def _frame_notes(table: Table, features: Collection[str], stated: Collection[str]) -> list[str]:
    """Return what to say of codes that pandas reads as numbers."""
    notes = []
    for name in features:
        cells = table.columns[name]
        if name not in stated and _are_codes(cells) and all(text == "" or is_number(text) for text in set(cells)):
            first = min(filter(has_leading_zeros, set(cells)))
            notes.append(
                f"Column {name!r}: pandas reads cells such as {first!r} as numbers, without the zeros in front, as it would "
                f"have for the model; if the model was given texts, state texts = [{name!r}]."
            )
    return notes


def _notes_of_words(table: Table, features: Collection[str]) -> list[str]:
    """Return what to say of words among texts of a CSV file that pandas reads as missing, though they may be values."""
    notes = []
    for name in features:
        cells = table.columns[name]
        if not isinstance(cells, list | TextsOnDisk):
            continue
        counts = Counter(cells) if isinstance(cells, list) else sum(map(Counter, cells.blocks()), Counter[Any]())
        words = sorted(text for text in counts if isinstance(text, str) and text.strip() and is_missing(text))
        if words and not all(text is None or is_missing(text) or is_number(text) for text in counts):
            number = sum(counts[word] for word in words)
            notes.append(
                f"Column {name!r}: pandas reads {counted(number, 'cell')} {', '.join(map(repr, words))} as missing, as it "
                "would have for the model; if the model was given the text, write the records as Parquet, where it stays."
            )
    return notes


def _readable(cells: Any) -> Any:
    if isinstance(cells, Unread):
        raise DataError(cells.reason)
    return cells


def _read_whole(cells: Any) -> Any:
    cells = _readable(cells)
    return np.asarray(cells) if isinstance(cells, TextsOnDisk) else cells


def _slice(cells: Any) -> NDArray[Any]:
    """Return a column to part the records by: numbers where all are written as such, else texts as written."""
    cells = _read_whole(cells)
    numbers = None if isinstance(cells, list) and _are_codes(cells) else as_numbers(cells)
    if numbers is not None:
        return numbers
    return np.array([str(value) for value in cells], dtype=object)


def _read_npz(path: Path, columns: Columns) -> dict[str, Any]:
    records, slices = columns.records, columns.slices
    packed = f"{records}_packed"
    with open_npz(path) as file:
        has = file.headers
        names = columns.beside | {"y": columns.label or "y"}
        source = packed if packed in has else records
        for array in (source, *names.values()):
            if array is not None and array not in has:
                raise DataError(
                    f"{path} has no array {array!r}; it has {', '.join(has)}. Name the right one, or save it by that name"
                )
        arrays = [array for array in (source, *names.values(), *slices) if array in has]
        n = {array: has[array].shape[:1] for array in arrays}  # an array without axes has no length
        if len(set(n.values())) > 1:
            lengths = ", ".join(f"{array} {length[0] if length else 'none'}" for array, length in n.items())
            raise DataError(f"{path}: arrays must have one value for each record; their lengths differ: {lengths}")
        file.require_room(arrays)
        part: dict[str, Any] = {key: file[array] for key, array in names.items() if array is not None}
        part["unread"] = [array for array in has if array not in arrays and has[array].shape == n[source]]
        # a slice that is no array may be a column of the records: slices_of looks there
        part["slices"] = {array: vector(file[array], array) for array in slices if array in has}
        for array in ("classes", "feature_names"):
            if array in has and len(has[array].shape) == 1:
                file.require_room([array])
                part[array] = file[array].tolist()
        if source == records:
            return part | {"X": file[records]}
        if "n_features" not in has:
            raise DataError(f"{path} has {packed!r} without 'n_features', so its width is not known")
        width, (rows, *bytes_) = int(file["n_features"]), has[packed].shape
        if has[packed].dtype != np.uint8 or len(bytes_) != 1 or not 0 < width <= 8 * bytes_[0]:
            raise DataError(
                f"{path}: {packed!r} of shape {has[packed].shape} and type {has[packed].dtype} does not hold "
                f"n_features = {width} bits a record; pack them with np.packbits(X, axis=1)"
            )
        require_room(rows * width, f"{path}: {rows:,} records of {width:,} bits, unpacked")
        return part | {"X": np.unpackbits(file[packed], axis=1, count=width)}


def _read_npy(path: Path, columns: Columns) -> dict[str, Any]:
    """Return records that are mapped into memory, and what lies in ``.npy`` files beside them."""
    if columns.label is None or not columns.label.endswith(".npy"):
        raise DataError(
            f'{path} holds records alone: name the .npy file in its folder that holds their classes, as label = "y.npy"'
        )
    beside = {**columns.beside, **{name: name for name in columns.slices}}
    try:
        X = read_npy(path, mapped=True)
        arrays = {key: read_npy(path.parent / name) for key, name in beside.items() if name is not None}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: it, or an .npy file beside it, cannot be read: {error}") from error
    if odd := [key for key, array in arrays.items() if array.shape[:1] != X.shape[:1]]:
        raise DataError(
            f"{path} holds an array of shape {X.shape}, and {odd[0]} one of shape {arrays[odd[0]].shape}; give one value for "
            "each record"
        )
    return {
        **{key: arrays[key] for key in ("y", "ids", "groups") if key in arrays},
        "X": X,
        "slices": {name: vector(arrays[name], name) for name in columns.slices},
    }


def _from_arrays(parts: Sequence[dict[str, Any]], files: Sequence[Path], columns: Columns) -> Dataset:
    sides = [str(path) for path in files]
    parts, notes = _matched(parts, sides)
    parts, of_classes = _of_one_order(parts, sides)
    stated, notes = _names_of(parts, sides), notes + of_classes
    X = stack_records([as_records(part["X"]) for part in parts], names=sides)
    check_alike([sort_of(np.asarray(part["y"])) for part in parts], sides, "labels")
    arrays = {
        key: np.concatenate([part[key] for part in parts]) if key in parts[0] else None
        for key in ("y", "ids", "groups")
    }
    if any(set(part["slices"]) != set(parts[0]["slices"]) for part in parts):
        raise DataError(f"slices: {sides} do not hold the same arrays; write them into all files")
    slices = {array: np.concatenate([part["slices"][array] for part in parts]) for array in parts[0]["slices"]}
    names: list[str] | None = stated.get("feature_names")
    if references := (*columns.order, *columns.drop, *columns.categorical, *columns.numeric):
        columns.check()
        if X.ndim != 2:
            raise DataError(f"columns are named, but records have shape {X.shape[1:]} and no columns")
        names = names or [f"x{i}" for i in range(X.shape[1])]
        for column in references:
            if column not in names:
                raise DataError(unknown_column(column, names))
        if both := sorted({*columns.order} & {*columns.drop}):
            raise DataError(f"columns {both} are named in order, and dropped; choose one")
        keep = [i for i, column in enumerate(names) if column not in set(columns.drop)]
        keep = [names.index(column) for column in columns.order] or keep
        columns.check_features([names[i] for i in keep], names)
        X, names = X[:, keep], [names[i] for i in keep]
    dataset = from_arrays(
        X,
        arrays["y"],
        classes=columns.classes if columns.classes is not None else stated.get("classes"),
        groups=arrays["groups"],
        group_name=columns.group,
        ids=arrays["ids"],
        name=columns.name or "data",
        labels=columns.labels,
        names=names,
        stated=columns.stated({*columns.categorical, *columns.numeric}),
    )
    if unread := sorted({array for part in parts for array in part.get("unread", ())}):
        notes = [
            *notes,
            f"Not read, for nothing names them: {', '.join(unread)}, one value a record. Where one says whose the records are, "
            "name it as data.group, and people are counted.",
        ]
    return replace(dataset, slices=slices, notes=(*dataset.notes, *notes))


def _matched(parts: Sequence[dict[str, Any]], sides: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the parts with their columns in the order of the first that names them, and remarks on those that had another.

    Raises
    ------
    DataError
        If a part names a column twice, or not as many as it has.
    """
    named = {side: part["feature_names"] for part, side in zip(parts, sides, strict=True) if "feature_names" in part}
    for part, side in zip(parts, sides, strict=True):
        names = named.get(side, [])
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(f"{side}: feature_names has {twice[:5]} more than once; give every column its own name")
        if names and np.ndim(part["X"]) == 2 and len(names) != np.shape(part["X"])[1]:
            raise DataError(
                f"{side}: feature_names has {counted(len(names), 'name')}, "
                f"and the records have {counted(np.shape(part['X'])[1], 'column')}; give every column its name"
            )
    first: list[Any] = next(iter(named.values()), [])
    matched = []
    for part in parts:
        names = part.get("feature_names", first)
        if names != first and sorted(names) == sorted(first) and np.ndim(part["X"]) == 2:
            part = part | {"X": part["X"][:, [names.index(name) for name in first]], "feature_names": first}
        matched.append(part)
    moved = [side for side, names in named.items() if sorted(names) == sorted(first)]
    return matched, notes_of_order([named[side] for side in moved], moved)


def _of_one_order(parts: Sequence[dict[str, Any]], sides: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the parts with class numbers in the order of the first that names its classes, and remarks on the others.

    Labels are numbers of classes where no class is called by a number; others are names, whatever the order.
    """
    named = {
        side: list(map(str, part["classes"])) for part, side in zip(parts, sides, strict=True) if "classes" in part
    }
    first: list[str] = next(iter(named.values()), [])
    moved = {side: names for side, names in named.items() if sorted(names) == sorted(first) and names != first}
    matched = []
    for part, side in zip(parts, sides, strict=True):
        if side in moved:
            y, names = np.asarray(part["y"]), moved[side]
            part = part | {"classes": next(each["classes"] for each in parts if "classes" in each)}
            numbers = y.dtype.kind in "biuf" and bool(((y >= 0) & (y < len(names)) & (y % 1 == 0)).all())
            if numbers and not any(map(is_number, first)):
                part["y"] = np.array([first.index(name) for name in names])[y.astype(np.int64)]
        matched.append(part)
    remarks = notes_of_order([first, *moved.values()], [next(iter(named), ""), *moved], "classes")
    return matched, remarks


def _names_of(parts: Sequence[dict[str, Any]], sides: Sequence[str]) -> dict[str, list[Any]]:
    """Return the names that files hold of classes and features; DataError where one has others than a file before it."""
    names: dict[str, list[Any]] = {}
    for key, what in (("classes", "class names"), ("feature_names", "names of features")):
        for part, side in zip(parts, sides, strict=True):
            if key in part and names.setdefault(key, part[key]) != part[key]:
                raise DataError(
                    f"{side} has other {what} than a file before it, or another order; write the same into all files"
                )
    return names


def _stem(path: Path) -> str:
    return path.name[: -len(suffix_of(path))] or path.name
