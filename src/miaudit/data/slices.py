"""Slices: the groups of records in which a user wants the leak measured, such as sexes or ranges of age.

A slice is not a group: a *group* is one person's records, kept on one side; a *slice* is many people's.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.data.dataset import Dataset
from miaudit.data.naming import check_names
from miaudit.data.records import column_values, is_sparse, missing_values
from miaudit.data.schema import unknown_column
from miaudit.errors import DataError

_RANGES = 4  # parts a column of many numbers is cut into
MISSING = "missing"
"""What the group of records without a value is called."""

_MOST = 50  # groups of one column; more leave too few records in each


def slices_of(dataset: Dataset, names: Sequence[str]) -> dict[str, NDArray[np.str_]]:
    """Return (n,) names of each record's group, for each of these columns.

    A column of more than ten different numbers is cut at its quartiles, and the ranges are its groups.

    Parameters
    ----------
    dataset
        The records; a column left out of the features counts too where the file was read with it.
    names
        Columns of the records, or arrays of the file.

    Raises
    ------
    DataError
        If a column is not there, or has more than fifty groups.
    """
    return {name: grouped(name, _values(dataset, name)) for name in names}


def _values(dataset: Dataset, name: str) -> NDArray[np.generic]:
    if name in dataset.slices:
        return np.asarray(dataset.slices[name])
    columns = [column.name for column in dataset.schema.columns] if dataset.schema.shape is None else []
    if name not in columns:
        raise DataError(f"slices: {unknown_column(name, [*dataset.slices, *columns])}")
    column, i = dataset.schema.columns[columns.index(name)], columns.index(name)
    values = dataset.X[:, [i]].toarray()[:, 0] if is_sparse(dataset.X) else column_values(dataset.X, i)
    if column.categories is None:
        return np.asarray(values)
    category = dict(zip(column.values or (), column.categories, strict=True))
    return np.array([str(category.get(value, value)) for value in values.tolist()])


def grouped(name: str, values: ArrayLike) -> NDArray[np.str_]:
    """Return (n,) group names of a column's values: as text, or as ranges where they are many numbers, or ``missing``.

    Raises
    ------
    DataError
        If there are more than fifty groups.
    """
    array = np.asarray(values)
    absent = missing_values(array)
    if absent.any():
        names = np.full(len(array), MISSING, dtype=object)
        if not absent.all():
            names[~absent] = grouped(name, array[~absent])
        return names.astype(str)
    if array.dtype.kind == "O" and all(
        isinstance(each, Real) and not isinstance(each, bool) for each in array.tolist()
    ):
        array = np.array(array.tolist())  # numbers, between which some were missing
    distinct = np.unique(array.astype(str)) if array.dtype.kind == "O" else np.unique(array)
    if array.dtype.kind in "iuf" and len(distinct) > 10:
        inner = np.unique(np.quantile(array, np.arange(1, _RANGES) / _RANGES, method="lower"))
        part = np.searchsorted(inner, array, side="left")  # (n,) up to and with the first cut, up to the second, ...
        ends = [(array[part == k].min(), array[part == k].max()) for k in range(len(inner) + 1) if (part == k).any()]
        texts = {k: f"{low:g} to {high:g}" for k, (low, high) in zip(np.unique(part), ends, strict=True)}
        return np.array([texts[k] for k in part])
    if len(distinct) > _MOST:
        raise DataError(
            f"slices: {name!r} has {len(distinct):,} different values, more than {_MOST} groups: that is an id or free "
            "text; name a column that many records share"
        )
    check_names(distinct.tolist(), f"slices: {name!r}")
    if array.dtype.kind == "f":
        return np.array([f"{value:g}" for value in array])
    return array.astype(str)
