"""Columns of several parts under one another: the same values as before, or a refusal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.cells import is_number
from miaudit.errors import DataError

_NUMBERS = frozenset({"integer", "floating", "mixed-integer-float", "decimal"})


def sort_of(values: NDArray[Any]) -> str:
    """Return whether a column holds numbers, booleans, texts, nothing, or anything else."""
    if values.dtype.kind in "iuf":
        return "nothing" if values.dtype.kind == "f" and np.isnan(values).all() else "numbers"
    if values.dtype.kind in "bmM":
        return "booleans" if values.dtype.kind == "b" else "times"
    sorts = set(map(_sort, values.tolist())) - {"nothing"}
    return "nothing" if not sorts else sorts.pop() if len(sorts) == 1 else "mixed"


def _sort(value: Any) -> str:
    if isinstance(value, str):
        return "texts"
    if isinstance(value, bool | np.bool_):
        return "booleans"
    if isinstance(value, int | float | np.number):
        return "nothing" if value != value else "numbers"
    return "nothing" if value is None or type(value).__name__ in ("NAType", "NaTType") else "other"


def check_alike(sorts: Sequence[str], names: Sequence[str], what: str, values: Sequence[NDArray[Any]] = ()) -> None:
    """Refuse a column that holds numbers in one part and texts or booleans in another.

    Of the ``values`` of the parts, where they are given, the first text is named that is no number.

    Raises
    ------
    DataError
        Naming the parts.
    """
    columns = [
        (name, sort) for name, sort in zip(names, sorts, strict=True) if sort in ("numbers", "booleans", "texts")
    ]
    for name, sort in columns[1:]:
        if sort != columns[0][1]:
            texts = (value for part in values for value in part.tolist() if isinstance(value, str))
            first = next((text for text in texts if not is_number(text)), None)
            seen = "" if first is None else f" (the first that is no number: {first!r})"
            raise DataError(
                f"{what} holds {columns[0][1]} in {columns[0][0]} and {sort} in {name}{seen}: a model would take 1 and '1', or "
                "1 and True, for different values; give it one type on all sides (of files: state it in texts, or correct them)"
            )


def check_exact(parts: Sequence[NDArray[Any]], dtype: np.dtype[Any], names: Sequence[str], what: str) -> None:
    """Refuse to turn whole numbers into floats that cannot tell them apart.

    Raises
    ------
    DataError
        Naming the part.
    """
    if dtype.kind != "f":
        return
    for name, part in zip(names, parts, strict=True):
        if part.dtype.kind in "iu" and part.size and max(abs(int(part.min())), abs(int(part.max()))) > 2**53:
            raise DataError(
                f"{what}: {name} holds whole numbers beyond 2**53 and another part fractions or gaps, so that they would be "
                "rounded; give all parts one type"
            )


def stack_frames(parts: Sequence[Any], names: Sequence[str]) -> Any:
    """Return pandas frames under one another.

    Raises
    ------
    DataError
        If a column has numbers in one part and texts in another, or ordered categories in different orders.
    """
    pandas = sys.modules["pandas"]
    frames = [part.reset_index(drop=True) for part in parts]
    for i, column in enumerate(frames[0].columns):
        series = [frame.iloc[:, i] for frame in frames]
        if all(each.dtype == series[0].dtype for each in series) and series[0].dtype != object:
            continue
        categorical = [isinstance(each.dtype, pandas.CategoricalDtype) for each in series]
        label = f"column {str(column)!r}"
        if all(categorical):
            frames = _joined_categories(pandas, frames, i, names, label)
            continue
        values = [
            np.asarray(each.cat.categories) if is_category else each.to_numpy()
            for each, is_category in zip(series, categorical, strict=True)
        ]
        check_alike([sort_of(each) for each in values], names, label, values)
        stacked = pandas.concat(series, ignore_index=True).dtype
        kind = getattr(stacked, "kind", "O")
        if kind == "f":
            whole = [each.dropna().to_numpy() for each in series]
            check_exact(whole, np.dtype(float), names, label)
    return pandas.concat(frames, ignore_index=True)


def _joined_categories(pandas: Any, frames: list[Any], i: int, names: Sequence[str], label: str) -> list[Any]:
    series = [frame.iloc[:, i] for frame in frames]
    check_alike([sort_of(np.asarray(each.cat.categories, dtype=object)) for each in series], names, label)
    if any(each.cat.ordered for each in series):
        raise DataError(
            f"{label} has ordered categories that differ between {', '.join(names)}: their common order is not known; give "
            "all sides the same categories in the same order"
        )
    categories = list(dict.fromkeys(category for each in series for category in each.cat.categories))
    joined = []
    for frame, each in zip(frames, series, strict=True):
        copy = frame.copy(deep=False)
        copy.isetitem(i, each.cat.set_categories(categories))
        joined.append(copy)
    return joined
