"""Class labels as people write them, turned into numbers from 0 and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.data.cells import exceeds_floats, is_missing, is_number, is_whole, merged, natural
from miaudit.data.naming import check_names
from miaudit.data.position import position
from miaudit.data.records import infinite_values, missing_values
from miaudit.errors import DataError, counted, noun, refuse_iterator, refuse_masked, with_article

Labels = Literal["codes", "names", "values"]
"""What labels are: class numbers, class names, or measurements that a regression predicts."""


def class_labels(
    y: Any, *, classes: Sequence[Any] | None = None, labels: Labels = "codes", numbered: bool = True
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return (n,) class numbers from 0 and the class names; see :func:`from_arrays`.

    ``numbered`` says whether whole numbers may stand for names in the order of ``classes``: where that order was stated for
    it, not where it is that of a model.

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
    _check_complete(values)
    texts = values.dtype.kind == "O" and all(isinstance(value, str) for value in values.tolist())
    names = None if classes is None else [str(name) for name in classes]
    if texts:
        _check_texts(values.tolist(), names, labels)
    else:
        values = _integers(values)
    present: list[Any] = sorted(set(values.tolist()))
    if names is not None:
        if len(set(names)) < len(names):
            raise DataError(f"class names appear more than once in {names[:10]}")
        codes = _among(values, present, names, numbered)
    elif texts or labels == "names":
        present = sorted(present, key=natural) if texts else present
        names = [str(value) for value in present]
        number = {value: i for i, value in enumerate(present)}
        codes = np.fromiter((number[value] for value in values.tolist()), dtype=np.int64, count=len(values))
    else:
        codes, names = _numbers_from_zero(values, present), [str(value) for value in present]
    if len(present) < 2:
        raise DataError(
            f"{'the 1 record has' if len(values) == 1 else f'all {len(values):,} records have'} one class, "
            f"{present[0]!r}; a classifier needs two or more"
        )
    check_names(names, "class names")
    return codes, tuple(names)


def measurements(y: Any) -> NDArray[np.float64]:
    """Return (n,) labels that a regression predicts.

    Raises
    ------
    DataError
        If they are no finite numbers, or all the same.
    """
    values = vector(y, "y")
    if values is None or not len(values):
        raise DataError("labels are missing; give one number per record")
    _check_complete(values)
    if values.dtype.kind in "mM":  # dates and durations: numbers of their unit, as NumPy and scikit-learn read them
        values = values.astype(np.int64)
    try:
        numbers = np.array([float(value) for value in values.tolist()], np.float64)
    except (TypeError, ValueError):
        odd = [i for i, value in enumerate(values.tolist()) if not _is_float(value)]
        raise DataError(
            f"a regression predicts numbers, and the label {values[odd[0]]!r:.40} in {position(odd[0])} is none; "
            f"{_way(len(odd), len(values))}"
        ) from None
    if (numbers == numbers[0]).all():
        raise DataError(
            f"{'the 1 record has' if len(numbers) == 1 else f'all {len(numbers):,} records have'} the label "
            f"{numbers[0]:g}; there is nothing to predict"
        )
    return numbers


def _check_complete(values: NDArray[Any]) -> None:
    """Refuse labels that are missing or infinite."""
    bad = np.flatnonzero(missing_values(values) | infinite_values(values))
    if len(bad):
        raise DataError(
            f"{counted(len(bad), 'label is', 'labels are')} missing, NaN or infinite, first in {position(int(bad[0]))}; "
            f"{_way(len(bad), len(values))}"
        )


def _way(wrong: int, count: int) -> str:
    """Return what to do about ``wrong`` of ``count`` labels: where all are, no record would be left."""
    if wrong == count:
        way = "give the labels that the model was trained on"
        return f"without {noun(wrong, 'that record', 'those records')} none would be left: {way}"
    return f"leave {noun(wrong, 'that record', 'those records')} out"


def _is_float(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def file_labels(cells: Any, *, labels: Labels) -> Any:
    """Return the labels of a column of a file as :func:`class_labels` takes them: numbers where all cells are numbers.

    Raises
    ------
    DataError
        If labels are missing, or some are numbers and others texts.
    """
    if isinstance(cells, np.ndarray) or labels == "names":
        return cells
    if labels == "values":
        if others := [i for i, text in enumerate(cells) if is_missing(text) or not is_number(text)]:
            raise DataError(
                f"a regression predicts numbers, and the label {cells[others[0]]!r:.40} in {position(others[0])} is "
                f"none; {_way(len(others), len(cells))}"
            )
        return np.array([float(text) for text in cells])
    distinct = set(cells)
    if not any(map(is_number, distinct)) or any(map(exceeds_floats, distinct)):
        return cells  # texts, and numbers so large that they are names
    for odd, what in ((is_missing, "is missing"), (lambda text: not is_number(text), "is no number")):
        if wrong := {text for text in distinct if odd(text)}:
            count = sum(text in wrong for text in cells)
            first = next(i for i, text in enumerate(cells) if text in wrong)
            raise DataError(
                f"{count:,} of {counted(len(cells), 'label')}: the first, "
                f"{cells[first]!r} in {position(first)}, {what}, and "
                f"other labels are numbers; {_way(count, len(cells))}, or state labels = 'names' if every text is a class"
            )
    if both := merged(sorted(filter(is_whole, distinct))):
        raise DataError(
            f"labels {both[0]!r} and {both[1]!r} are one number; state labels = 'names' if they are two classes"
        )
    return np.array([int(text) if is_whole(text) else float(text) for text in cells], dtype=None)


def _check_texts(texts: list[str], names: list[str] | None, labels: Labels) -> None:
    """Refuse texts that stand for a missing label, unless they are stated to be names."""
    stated = set(names or ())
    wrong = {
        text
        for text in set(texts)
        if text not in stated and (not text.strip() if labels == "names" else is_missing(text))
    }
    if wrong:
        first = next(i for i, text in enumerate(texts) if text in wrong)
        count = sum(text in wrong for text in texts)
        way = "" if not texts[first].strip() else ", or state labels = 'names' or the classes if it is the name of one"
        raise DataError(
            f"{counted(count, 'label is', 'labels are')} missing, "
            f"first {texts[first]!r} in {position(first)}; {_way(count, len(texts))}{way}"
        )


def _numbers_from_zero(values: NDArray[Any], present: list[Any]) -> NDArray[np.int64]:
    count = present[-1] + 1
    if present[0] < 0 or len(present) < count:
        below = [value for value in present if value < 0]
        missing = [] if below else _first_missing(set(present))
        wrong = f"{below[:5]} are out of range" if below else f"{', '.join(map(str, missing))} missing"
        raise DataError(
            f"labels must be the integers 0..C-1 without gaps; they run from {present[0]} to {present[-1]} with "
            f"{len(present):,} different values: {wrong}. State labels = 'names' (in a plan) to take the values as "
            "class names, or give the class names in order with classes (in Python)"
        )
    return values.astype(np.int64)


def _among(values: NDArray[Any], present: list[Any], names: list[str], numbered: bool) -> NDArray[np.int64]:
    number = {name: i for i, name in enumerate(names)}
    if values.dtype.kind in "iu":  # a class called 1.0 is the label 1
        number |= {
            str(int(float(name))): i for i, name in enumerate(names) if is_number(name) and float(name).is_integer()
        }
    unknown = [value for value in present if str(value) not in number]
    if not unknown:
        return np.fromiter((number[str(value)] for value in values.tolist()), dtype=np.int64, count=len(values))
    # names that are numbers must be meant as names, whatever is there
    countable = values.dtype.kind in "iu" and present[0] >= 0 and present[-1] < len(names)
    if countable and not any(map(is_number, names)):
        if numbered or set(names) <= {"False", "True"}:
            return values.astype(np.int64)
        raise DataError(
            f"labels are the numbers {', '.join(map(str, present[:5]))} and the model's classes are called {names[:5]}: which "
            "number is which class is not known. Give the labels by the model's own names, or the names in the order of the "
            "numbers with columns"
        )
    some, whose = len(unknown) < len(present), "the"
    way = f"correct them{', leave those records out' * some}, or state all classes where the classes were stated"
    if not numbered:
        whose, way = (
            "the model's",
            f"correct them{' or leave those records out' * some}, as the model was not trained on them",
        )
    raise DataError(
        f"labels {unknown[:5]} are not among {whose} {counted(len(names), 'class', 'classes')} {names[:10]}"
        f"{' ...' if len(names) > 10 else ''}; {way}"
    )


def _integers(values: NDArray[Any]) -> NDArray[Any]:
    """Return labels that are not texts as integers."""
    if values.dtype.kind == "O":
        try:
            if any(isinstance(value, str) for value in values.tolist()):
                raise TypeError
            values = np.asarray([float(value) for value in values.tolist()])
        except (TypeError, ValueError):
            kinds = sorted({type(value).__name__ for value in values.tolist()})
            what = "mix texts with other values" if "str" in kinds else f"are of {', '.join(kinds)}"
            raise DataError(f"labels {what}; make all of them texts or all integers") from None
    if values.dtype.kind == "b":
        return values.astype(np.int64)
    if values.dtype.kind == "f":
        fraction = values[values != np.floor(values)]
        if len(fraction):
            raise DataError(
                f"labels must be classes, not measurements: found {fraction[0]!s}; use integers or texts, or, where the model "
                'predicts numbers, say task = "regression" ([recipe] of a plan, or the keyword task)'
            )
        if (np.abs(values) > 2.0**53).any():
            raise DataError(f"labels run up to {np.abs(values).max():g}; use integers from 0, or texts")
        return values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise DataError(f"labels have dtype {values.dtype}; they must be integers or texts")
    if values.dtype.kind == "u" and values.size and int(values.max()) > 2**53:
        raise DataError(f"labels run up to {values.max()}; use integers from 0, or texts")
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
    refuse_iterator(values, f"{what} is")
    refuse_masked(values, f"{what} is")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # what torch and other libraries raise
        raise DataError(f"{what} cannot be read as an array: {error}") from error
    if array.dtype.kind == "S":
        raise DataError(f"{what} is of bytes; write texts, as np.char.decode(values) does")
    if isinstance(values, list | tuple) and array.dtype.kind in "US":
        array = np.array(values, dtype=object)  # a mixed list must not become texts
    if array.ndim != 1:
        ways = {0: lambda: f", {with_article(type(values).__name__)}", 2: lambda: f": {_one_of(array)}"}
        way = ways.get(array.ndim, str)()
        raise DataError(f"{what} must have shape (n,), one value per record; got {array.shape}{way}")
    return array.astype(object) if array.dtype.kind in "USOT" else array


def _one_of(columns: NDArray[Any]) -> str:
    """Return how one value per record is had of (n, d) values."""
    if columns.shape[1] == 1:
        return "np.ravel(values) of a column"
    if (np.isin(columns, (0, 1)).all(axis=1) & ((columns == 1).sum(axis=1) == 1)).all():
        return "np.argmax(values, axis=1) of one-hot rows"
    return "values[:, 0], as several values per record are audited one at a time, with the answers to each"
