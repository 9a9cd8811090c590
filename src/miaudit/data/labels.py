"""Class labels as people write them, turned into numbers from 0 and names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import DataError

Labels = Literal["codes", "names"]


def class_labels(
    y: Any, *, classes: Sequence[Any] | None = None, labels: Labels = "codes"
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return (n,) class numbers from 0 and the class names; see :func:`from_arrays`.

    Raises
    ------
    DataError
        If labels are missing, of one class only, out of range, with gaps, or not among ``classes``.
    """
    if labels not in ("codes", "names"):
        raise DataError(f"labels = {labels!r} is not known; it is 'codes' or 'names'")
    if y is None:
        raise DataError("labels are missing; give one class per record")
    values = vector(y, "y")
    assert values is not None
    if len(values) == 0:
        raise DataError("there are no labels; give one class per record")
    texts = values.dtype.kind == "O" and all(isinstance(value, str) for value in values.tolist())
    if not texts:
        values = _integers(values)
    found: list[Any] = sorted(set(values.tolist()))
    if classes is not None:
        names = [str(name) for name in classes]
        if len(set(names)) < len(names):
            raise DataError(f"class names appear more than once in {names[:10]}")
        codes = _among(values, found, names)
    elif texts or labels == "names":
        found = sorted(found, key=natural) if texts else found
        names = [str(value) for value in found]
        number = {value: i for i, value in enumerate(found)}
        codes = np.fromiter((number[value] for value in values.tolist()), dtype=np.int64, count=len(values))
    else:
        count = found[-1] + 1
        if found[0] < 0 or len(found) < count:
            present = set(found)
            below = [value for value in found if value < 0]
            missing = [] if below else _first_missing(present)
            wrong = f"{below[:5]} are out of range" if below else f"{', '.join(map(str, missing))} missing"
            raise DataError(
                f"labels must be the integers 0..C-1 without gaps; they run from {found[0]} to {found[-1]} with "
                f"{len(found)} different values: {wrong}. State labels = 'names' to take the values as class names, or "
                "give the class names in order with classes"
            )
        codes, names = values.astype(np.int64), [str(value) for value in found]
    if len(found) < 2:
        raise DataError(f"all {len(values)} records have one class, {found[0]!r}; a classifier needs two or more")
    return codes, tuple(names)


def _among(values: NDArray[Any], found: list[Any], names: list[str]) -> NDArray[np.int64]:
    number = {name: i for i, name in enumerate(names)}
    if values.dtype.kind in "iu":  # a class called 1.0 is the label 1
        number |= {
            str(int(float(name))): i for i, name in enumerate(names) if is_number(name) and float(name).is_integer()
        }
    unknown = [value for value in found if str(value) not in number]
    if not unknown:
        return np.fromiter((number[str(value)] for value in values.tolist()), dtype=np.int64, count=len(values))
    numbered = not any(map(is_number, names))  # names that are numbers must be meant as names, whatever is found
    if numbered and values.dtype.kind in "iu" and found[0] >= 0 and found[-1] < len(names):
        return values.astype(np.int64)
    raise DataError(
        f"labels {unknown[:5]} are not among the {len(names)} classes {names[:10]}{' ...' if len(names) > 10 else ''}; "
        "add them to classes, in order, or correct them"
    )


def _integers(values: NDArray[Any]) -> NDArray[Any]:
    """Return labels that are not texts as integers."""
    if values.dtype.kind == "O":
        try:
            values = np.asarray([float("nan") if value is None else float(value) for value in values.tolist()])
        except (TypeError, ValueError):
            raise DataError(
                "labels mix texts with other values, or have missing ones; make all of them texts or all integers"
            ) from None
    if values.dtype.kind == "b":
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        if bad := int((~np.isfinite(values)).sum()):
            raise DataError(f"{bad} labels are missing, NaN or infinite; leave those records out")
        fraction = values[values != np.floor(values)]
        if len(fraction):
            raise DataError(f"labels must be classes, not measurements: found {fraction[0]!s}; use integers or texts")
        return values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise DataError(f"labels have dtype {values.dtype}; they must be integers or texts")
    return values


def _first_missing(present: set[int]) -> list[int]:
    missing: list[int] = []
    value = 0
    while len(missing) < 5 and value < max(present):
        if value not in present:
            missing.append(value)
        value += 1
    return missing


def vector(values: Any, what: str) -> NDArray[Any] | None:
    """Return (n,) values as an array, of objects where they are texts; None for None.

    Raises
    ------
    DataError
        If they have more than one axis.
    """
    if values is None:
        return None
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} cannot be read as an array: {error}") from error
    if isinstance(values, list | tuple) and array.dtype.kind in "US":
        array = np.array(values, dtype=object)  # a mixed list must not become texts
    if array.ndim != 1:
        raise DataError(f"{what} must have shape (n,), one value per record; got {array.shape}")
    return array.astype(object) if array.dtype.kind in "USOT" else array


def natural(text: str) -> tuple[int, float, str]:
    """Sort key: numbers by value, then texts."""
    return (0, float(text), text) if is_number(text) else (1, 0.0, text)


def is_number(text: str) -> bool:
    """Return whether the text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
