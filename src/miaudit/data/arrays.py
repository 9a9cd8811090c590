"""Data sets from objects in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.data.dataset import Dataset
from miaudit.data.labels import Labels, class_labels, measurements, vector
from miaudit.data.naming import as_names, check_names, check_people, near_names, notes_of_order
from miaudit.data.position import in_parts
from miaudit.data.records import (
    as_records,
    as_tokens,
    column_names,
    is_tokens,
    kind_of,
    missing_values,
    n_records,
    stack_records,
)
from miaudit.data.room import within_memory
from miaudit.data.schema import ColumnKind, Schema
from miaudit.data.stacking import check_alike, sort_of
from miaudit.errors import DataError, PlanError, counted, refuse_masked, with_article


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
    numbered: bool = True,
) -> Dataset:
    """Return a data set from records and labels in memory.

    Parameters
    ----------
    X
        A numpy array or nested list (n, ...), any scipy sparse matrix (it becomes CSR), a pandas or a polars frame, or n
        texts.
    y
        (n,) labels: integers 0..C-1 without gaps, or texts, which are class names and are sorted.
    classes
        Class names in order; then labels must be among them, and a class may have no record. Where no name is a number,
        labels may also be the classes' numbers from 0 (unless ``numbered`` is false: the order is not known to be theirs).
    groups, group_name
        (n,) group of each record (a person with many records), and what to call it.
    ids
        (n,) record ids for people to find a record again.
    labels
        ``"names"`` takes integer labels as class names too, gaps and all; ``"values"`` takes numbers, which a regression
        predicts.
    names, stated
        Names of an array's columns, and the kind of some columns; see :meth:`Schema.infer`.
    schema
        The schema, instead of inferring it.

    Raises
    ------
    DataError
        If something is empty or infinite, of the wrong length, labels do not fit or are missing, or stand in another order
        than the records by their index.
    """
    for what, beside in (("y", y), ("ids", ids), ("groups", groups)):
        check_order(X, beside, what)
    X = as_records(X)
    n = n_records(X)
    if n == 0 or 0 in X.shape:
        raise DataError(f"there is nothing in the records: their shape is {tuple(X.shape)}; give at least two records")
    codes, class_names, values = _truth(y, classes=classes, labels=labels, numbered=numbered)
    sides = {"y": codes, "ids": vector(ids, "ids"), "groups": vector(groups, "groups")}
    for what, array in sides.items():
        if array is not None and len(array) != n:
            raise DataError(
                f"X has {counted(n, 'record')} and {what} has {counted(len(array), 'value')}; give one for each record"
            )
    sides |= {what: as_names(array, what) for what, array in sides.items() if what != "y" and array is not None}
    if sides["groups"] is not None:
        check_people(sides["groups"].tolist(), group_name or "group")
    check_names([*(column_names(X) or names or ()), *([] if group_name is None else [group_name])], "column names")
    with within_memory("the data"):
        if schema is None:
            schema = Schema.infer(X, names=names, stated=stated)
        else:
            schema.check(X)
    notes = near_names(class_names, "Class names") if values is None else []
    if sides["groups"] is not None:
        notes += near_names(dict.fromkeys(sides["groups"].tolist()), "Groups")
    return Dataset(
        X=X,
        y=codes,
        schema=schema,
        classes=class_names,
        ids=sides["ids"],
        groups=sides["groups"],
        group_name=None if groups is None else group_name or "group",
        name=shown(name),
        notes=tuple(notes),
        values=values,
        alphabetical=values is None and classes is None and class_names != tuple(map(str, range(len(class_names)))),
    )


def _truth(
    y: Any, *, classes: Sequence[Any] | None, labels: Labels, numbered: bool
) -> tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.float64] | None]:
    """Return class numbers and names, and the numbers that a regression predicts, whose classes are the different ones."""
    if labels != "values":
        return *class_labels(y, classes=classes, labels=labels, numbered=numbered), None
    if classes is not None:
        raise DataError("a regression has no classes; leave classes out")
    values = measurements(y)
    different, codes = np.unique(values, return_inverse=True)
    return codes, tuple(map(repr, different.tolist())), values


def from_sides(
    sides: Mapping[str, tuple[Any, Any]],
    *,
    classes: Sequence[Any] | None = None,
    numbered: bool = False,
    labels: Labels = "codes",
) -> tuple[Dataset, tuple[NDArray[np.int64], ...]]:
    """Return one data set of the records and labels of several sides, and the record numbers of each.

    Parameters
    ----------
    sides
        ``(X, y)`` by the name of the side.
    classes, numbered, labels
        See :func:`from_arrays`.

    Raises
    ------
    PlanError
        If a side is no pair.
    DataError
        If a side is empty, its labels are not as many as its records or stand in another order, or sides differ in form.
    """
    records, of_sides = [], []
    for name, side in sides.items():
        if not isinstance(side, tuple | list) or len(side) != 2:
            raise PlanError(
                f"{name} must be a pair (X, y) of records and their classes, got {with_article(type(side).__name__)}"
                f"{_way_of_pairs(type(side))}"
            )
        X, y = side
        check_order(X, y, f"{name}: y")
        records.append(as_records(X))
        values = vector(y, f"{name}: y")
        if values is None:
            raise DataError(f"{name}: labels are missing; give one class per record")
        if n_records(records[-1]) != len(values):
            raise DataError(
                f"{name}: {counted(n_records(records[-1]), 'record')} but "
                f"{counted(len(values), 'class', 'classes')}; give one class per record"
            )
        if len(values) == 0:
            raise DataError(f"{name} is empty; every side needs records")
        of_sides.append(values)
    if any(map(is_tokens, records)):  # lists that all have one length on one side became a table there
        records = [
            as_tokens(X) if kind_of(X) == "array" and X.ndim == 2 and X.dtype.kind in "iu" else X for X in records
        ]
    names = list(sides)
    if labels != "values":
        check_alike([_kind_of_labels(values) for values in of_sides], names, "y")
    with within_memory("the records of all sides"), in_parts(names, map(len, of_sides)):
        X = stack_records(records, names=names)
        y = _one_after_the_other(of_sides)
        dataset = from_arrays(X, y, classes=classes, numbered=numbered, labels=labels)
    notes = notes_of_order([column_names(X) for X in records], names)
    dataset = replace(dataset, notes=(*dataset.notes, *notes))
    ends = np.cumsum([len(values) for values in of_sides])
    return dataset, tuple(np.split(np.arange(ends[-1]), ends[:-1]))


def _way_of_pairs(kind: type) -> str:
    """Return what to do with a data set of another library that yields records and classes; empty for all else."""
    if any(base.__module__.startswith(("torch.utils.data", "datasets.")) for base in kind.__mro__):
        return ": give arrays of what it holds, or hand it over by reference (docs/training-code.md)"
    return ""


def groups_of_sides(sides: Mapping[str, tuple[Any, Any]], groups: Sequence[Any]) -> NDArray[Any]:
    """Return (n,) names of the people of all sides, one side after the other.

    Parameters
    ----------
    sides
        ``(X, y)`` of members, nonmembers and population.
    groups
        The names of the people of each; None for a population in which every record is a person of its own.

    Raises
    ------
    PlanError
        If there is not one entry for each side.
    DataError
        If a side has not one name per record, or names in another order than the records.
    """
    if isinstance(groups, tuple | list) and len(groups) == 3 and len(sides) == 2 and groups[2] is None:
        groups = groups[:2]  # no population, and so nobody in it
    if not isinstance(groups, tuple | list) or len(groups) != len(sides):
        raise PlanError(
            "groups must be an array for each side that names the person of each record: of members, of nonmembers and, where "
            f"there is one, of population (which may be None); got {type(groups).__name__} of "
            f"{len(groups) if hasattr(groups, '__len__') else 'no'} entries"
        )
    names: list[Any] = []
    nobody: list[str] = []
    for (side, (X, y)), of in zip(sides.items(), groups, strict=True):
        size = len(y)
        check_order(X, of, f"groups: {side}")
        if of is None and side == "population":
            nobody = [f"record {i} of the population" for i in range(size)]
            continue
        refuse_masked(of, f"groups: {side} is")
        values = np.asarray(of)
        if values.shape != (size,):
            raise DataError(
                f"groups: {side} has {counted(size, 'record')} and names of shape {values.shape}; name one person a record"
            )
        names += values.tolist()
    with in_parts(sides, (len(y) for _, y in sides.values())):
        check_people(names, "group")
        return np.array([*_of_one_kind(names), *nobody, None], dtype=object)[
            :-1
        ]  # of objects: numbers stay what they are


def _of_one_kind(names: list[Any]) -> list[Any]:
    """Return names of people as they are where all are numbers, and else as texts, unless two would become one.

    A whole number has the text of an integer, so that 5 and 5.0 stay one.

    Raises
    ------
    DataError
        Naming the first two, or a value that no text tells from others.
    """
    values = np.array([*names, None], dtype=object)[:-1]
    if all(isinstance(name, Real) for name in names) or missing_values(values).any():
        return names  # what is missing is refused with its record
    whole = [int(name) if isinstance(name, float) and name.is_integer() else name for name in names]
    texts: list[Any] = as_names(np.array([*whole, None], dtype=object)[:-1], "groups").tolist()
    kept = {name for name in names if isinstance(name, str)}
    for name, text in zip(names, texts, strict=True):
        if not isinstance(name, str) and text in kept:
            raise DataError(
                f"groups: {text}, {with_article(type(name).__name__)}, and the text {text!r} both stand for people, one or "
                "two: write the ids of one person alike, all as texts or all as numbers"
            )
    return texts


def values_of_sides(
    sides: Mapping[str, tuple[Any, Any]], entries: Sequence[Any], what: str, *, numbered: bool = False
) -> NDArray[Any]:
    """Return (n,) values of all sides' records, one side after the other; of a side without any None, or its places.

    Raises
    ------
    PlanError
        If there is no entry for members or non-members.
    DataError
        If a side has not one value per record, or values in another order than the records.
    """
    if not isinstance(entries, tuple | list) or not 2 <= len(entries) <= 3:
        raise PlanError(
            f"{what} must be an array for each side: of members, of nonmembers and, where there is one, of population; got "
            f"{type(entries).__name__} of {len(entries) if hasattr(entries, '__len__') else 'no'} entries"
        )
    values: list[Any] = []
    for (side, (X, y)), of in zip(sides.items(), [*entries, None][: len(sides)], strict=True):
        size = len(y)
        check_order(X, of, f"{what}: {side}")
        refuse_masked(of, f"{what}: {side} is")
        absent = [f"{side} {i}" if numbered else None for i in range(size)]
        array = np.array(absent, dtype=object) if of is None else np.asarray(of)
        if array.shape != (size,):
            raise DataError(
                f"{what}: {side} has {counted(size, 'record')} and values of shape {array.shape}; give one a record"
            )
        values += array.tolist()
    return np.asarray(values) if not numbered and None not in values else np.array([*values, None], dtype=object)[:-1]


def index_of_sides(sides: Mapping[str, tuple[Any, Any]]) -> NDArray[Any] | None:
    """Return (n,) what pandas calls the rows, where all sides are frames or Series and no two rows are called alike."""
    indices: list[Any] = [getattr(X, "index", None) for X, _ in sides.values()]
    if not all(map(_is_index, indices)):
        return None
    names = [name for index in indices for name in index.tolist()]
    return np.array([*names, None], dtype=object)[:-1] if len({*map(str, names)}) == len(names) else None


def _kind_of_labels(values: NDArray[Any]) -> str:
    kind = sort_of(values)
    return "numbers" if kind == "booleans" else kind  # False and True are 0 and 1 as labels


def _one_after_the_other(labels: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if len({values.dtype.kind == "O" for values in labels}) > 1:
        return np.concatenate([values.astype(object) for values in labels])
    return np.concatenate(labels)


def check_order(X: Any, beside: Any, what: str) -> None:
    """Refuse values whose pandas index holds the labels of the records' index in another order.

    Where the two hold different labels, nothing but the place can pair them, and it does.

    Raises
    ------
    DataError
        With the first record that differs.
    """
    index: Any = getattr(X, "index", None)
    other: Any = getattr(beside, "index", None)
    if not (_is_index(index) and _is_index(other)):
        return
    if len(index) != len(other) or index.equals(other):
        return
    if index.value_counts().to_dict() != other.value_counts().to_dict():
        return
    first = next(i for i, (one, two) in enumerate(zip(index, other, strict=True)) if one != two)
    raise DataError(
        f"{what} has the index of the records in another order: record {first} is {index[first]!r} and its value belongs "
        f"to {other[first]!r}. Pass it in the records' order, as with y.loc[X.index], or as y.to_numpy() if the order is right "
        "and the index is not"
    )


def _is_index(index: Any) -> bool:
    """Return whether that is an index of pandas; lists have a method called so."""
    return hasattr(index, "equals") and hasattr(index, "value_counts")


def shown(name: str) -> str:
    """Return a name of ours, such as a file's, in characters that UTF-8 has."""
    return name.encode("utf-8", "backslashreplace").decode()
