"""Arrays of stored outputs that hold a value for each record, or a name for each class, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.layout import SLICE
from miaudit.data.naming import as_names, check_names
from miaudit.errors import DataError, counted
from miaudit.evidence import Bools
from miaudit.evidence.answers import are_whole
from miaudit.stats import numbered

_Arrays = dict[str, NDArray[Any]]


def class_names_of(arrays: _Arrays, width: int) -> tuple[str, ...]:
    """Return the names of the classes: those of the file, or their numbers."""
    if "classes" not in arrays:
        return tuple(str(number) for number in range(width))
    names = tuple(str(name) for name in arrays["classes"].ravel().tolist())
    if len(names) != width or len(set(names)) != width:
        raise DataError(f"classes must be {width} different names, one per class; got {len(names)}")
    check_names(names, "classes")
    return names


def column_of(arrays: _Arrays, key: str, n: int) -> NDArray[Any] | None:
    """Return a value for each record by the name of its array, as names; None where the file has none."""
    if key not in arrays:
        return None
    values = _of_records(arrays, key, n)
    return as_names(values.astype(object) if values.dtype.kind in "SU" else values, key)


def _of_records(arrays: _Arrays, key: str, n: int) -> NDArray[Any]:
    if arrays[key].shape != (n,):
        raise DataError(
            f"{key} must be one value for each of the {counted(n, 'audited record')}; its shape is {arrays[key].shape}"
        )
    return arrays[key]


def people_of(arrays: _Arrays, *lengths: int) -> NDArray[np.int64] | None:
    """Return the number of each record's person."""
    if "group" not in arrays:
        return None
    names = arrays["group"]
    if names.ndim != 1 or len(names) not in lengths:
        raise DataError(
            f"group must name the person of each of the {lengths[0]:,} audited records, or of all {lengths[1]:,} of "
            f"labels; its shape is {names.shape}"
        )
    blank = [i for i, name in enumerate(names.tolist()) if name != name or not str(name).strip()]
    if blank:
        raise DataError(
            f"group names nobody for {counted(len(blank), 'record')}, the first is record {blank[0]}; "
            "give records of unknown people names of their own"
        )
    return numbered(names)


def contents_of(features: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers that are equal for records of equal features and class."""
    from miaudit.data.copies import same_records

    return same_records(features.reshape(len(features), -1)) * (int(labels.max(initial=0)) + 1) + labels


def slice_of(arrays: _Arrays, key: str, n: int) -> NDArray[np.str_]:
    """Return which part of a slice each record is in."""
    from miaudit.data.slices import grouped

    check_names([key], "slices")
    return grouped(key[len(SLICE) :], _of_records(arrays, key, n))


def numbers_of(arrays: _Arrays, key: str) -> NDArray[Any] | None:
    """Return records as finite numbers; None where the file has none."""
    if key not in arrays:
        return None
    values = arrays[key]
    if values.dtype.kind not in "fiub" or values.ndim < 2:
        raise DataError(f"{key} must be numbers, one row per record; got dtype {values.dtype}, shape {values.shape}")
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(f"{key} must be finite numbers; {bad:,} of {values.size:,} are NaN or infinite: fill them in")
    return values


def truths_of(values: NDArray[Any], key: str) -> Bools:
    """Return values that are true or false."""
    if values.dtype == bool:
        return values
    if values.dtype.kind in "iuf" and np.isin(values, (0, 1)).all():
        return values.astype(bool)
    odd = next((value for value in values.ravel().tolist() if value not in (0, 1)), values.tolist())
    raise DataError(f"{key} must be true or false (0 or 1) everywhere; got {odd!r:.40} (dtype {values.dtype})")


def whole_of(values: NDArray[Any], key: str) -> NDArray[np.int64]:
    """Return values that are whole numbers."""
    if are_whole(values):
        return values.astype(np.int64)
    odd = next((each for each in values.ravel().tolist() if not (isinstance(each, float) and each.is_integer())), "")
    raise DataError(
        f"{key} must be whole numbers; got {odd!r:.40} (dtype {values.dtype}): give the numbers of the classes, from 0"
    )
