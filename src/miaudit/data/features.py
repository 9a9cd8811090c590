"""Features: records as numbers of bounded width, looking inside texts, dates and categories.

What `Schema.encode` makes of a text or a time stamp is one column per different value, which says nothing of a value that was
never seen and grows with the records. Here a text is its words, pairs of words and short runs of characters, hashed into
a fixed number of columns (Weinberger et al. 2009), and its length, its numbers, its place in order and how often it occurs; a
date is its parts and its place in time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import chain, pairwise
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from miaudit.data.records import (
    Records,
    as_records,
    check_finite,
    column_names,
    column_values,
    is_sparse,
    kind_of,
    n_columns,
    n_records,
)
from miaudit.data.schema import Schema
from miaudit.errors import DataError, counted, reason_of

Floats = NDArray[np.float32]

BUCKETS = 1 << 14
_WORD, _NUMBER = re.compile(r"\w+"), re.compile(r"\d+(?:\.\d+)?")
_RUN = 3  # characters of a run
_RUNS_OF = 500  # first characters of a text that are cut into runs
_WORDS = 4_000  # first words that are read
_NUMBERS = 6  # numbers of a text with a column of their own
_LARGEST = 1e30
_FORMATS = tuple(
    f"{day}{hour}"
    for day in (
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d.%m.%Y",
        "%Y/%m/%d",
        "%d-%m-%Y",
        "%d %b %Y",
        "%d %B %Y",
        "%b %d, %Y",
        "%d-%b-%Y",
    )
    for hour in ("", " %H:%M", " %H:%M:%S")
)
_DATES = 0.9  # share of a column's texts that must read as dates


@dataclass(frozen=True, eq=False)
class Features:
    """Records as numbers, and what could not be read.

    Parameters
    ----------
    numbers
        (n, d) float32 array, or CSR where there are hashed columns.
    plain
        How many of the first columns are no hashed ones.
    unread
        Columns that hold what is neither number nor text nor date, with what they hold.
    source
        The function of the user's that made them; None where the records themselves were read.
    shape
        Of a record of several axes, such as an image, of whose numbers these are all; None: it has none, or gaps.
    """

    numbers: Any  # (n, d)
    plain: int
    unread: tuple[str, ...] = ()
    source: str | None = None
    shape: tuple[int, ...] | None = None


def features_by(function: Callable[[Records], Any], X: Records) -> Features:
    """Return what a function makes of records: an array, a sparse matrix or a frame, of a row of numbers for each.

    Raises
    ------
    DataError
        If it fails, or returns anything else.
    """
    name, n = getattr(function, "__name__", type(function).__name__), n_records(X)
    try:
        numbers = as_records(function(X))
    except Exception as error:
        raise DataError(
            f"the function {name!r}, which is to make features of the records, failed on {n:,} of them: {reason_of(error)}"
        ) from error
    of_numbers = kind_of(numbers) not in ("array", "sparse") or numbers.dtype.kind in "biuf"
    if not of_numbers or n_records(numbers) != n:
        what = "texts or objects" if not of_numbers else counted(n_records(numbers), "row")
        raise DataError(
            f"the function {name!r}, which is to make features of the records, returned {what} for "
            f"{counted(n, 'record')}; return an array (n, d) of numbers, one row for each record"
        )
    check_finite(numbers, f"the features by {name!r}", missing=True)
    return replace(features(numbers), source=str(name))


def features(X: Records, schema: Schema | None = None, *, buckets: int = BUCKETS) -> Features:
    """Return records as numbers; the width does not depend on how many different texts there are.

    Parameters
    ----------
    X
        Records of any form.
    schema
        Says which numbers are categories.
    buckets
        Most columns that words, runs of characters and categories are hashed into; empty ones are left out.
    """
    if is_sparse(X):
        return Features(X.tocsr().astype(np.float32), 0)
    n, kind = n_records(X), kind_of(X)
    coded = (
        {i for i, column in enumerate(schema.columns) if column.kind == "categorical"} if schema is not None else set()
    )
    if kind == "array" and X.dtype.kind != "O" and not coded:
        numbers = _with_gaps(X.reshape(n, -1))
        return Features(numbers, 0, shape=X.shape[1:] if X.ndim > 2 and numbers.shape[1] == X[0].size else None)
    names = column_names(X) or [str(i) for i in range(n_columns(X))]
    columns: list[Floats] = []
    hashed: dict[int, list[Any]] = {}
    unread: list[str] = []
    for i, name in enumerate(names):
        values = column_values(X, i)
        if values.dtype.kind in "biuf" and i not in coded:
            columns += _numbers(values)
            continue
        cells, other = _cells(values)
        if other:
            unread.append(f"{name!r} (holds {', '.join(sorted(other)[:3])})")
        columns += _of_cells(cells)
        hashed[i] = cells
    plain = np.column_stack(columns) if columns else np.empty((n, 0), np.float32)
    plain /= np.where((spread := plain.std(axis=0)) > 0, spread, 1)
    if not hashed:
        return Features(plain, plain.shape[1], tuple(unread))
    rows = (list(chain.from_iterable(_tokens(i, cells[row]) for i, cells in hashed.items())) for row in range(n))
    return Features(
        sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(plain), _hashed(rows, buckets)])),
        plain.shape[1],
        tuple(unread),
    )


def _hashed(rows: Iterator[list[str]], buckets: int) -> Any:
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(buckets, input_type="string", alternate_sign=False, dtype=np.float32)
    hashed = hasher.transform(rows).tocsr()
    hashed.data = np.log1p(hashed.data)
    return hashed[:, np.unique(hashed.indices)]


def _tokens(i: int, cell: Any) -> list[str]:
    """Return what is hashed of a cell of column i; of a text itself, its ends, words, pairs of words, runs."""
    if cell is None or isinstance(cell, datetime):
        return []
    if isinstance(cell, float):
        return [f"{i}={cell:.7g}"]
    text, runs = cell, cell[:_RUNS_OF]
    words = [word.lower() for word, _ in zip(_WORD.findall(text), range(_WORDS), strict=False)]
    return [
        f"{i}={text}",
        *(f"{i}^{text[:k]}" for k in range(1, 5)),
        *(f"{i}${text[-k:]}" for k in range(1, 4)),
        *(f"{i} {word}" for word in words),
        *(f"{i} {one} {two}" for one, two in pairwise(words)),
        *(f"{i}~{runs[k : k + _RUN]}" for k in range(len(runs) - _RUN + 1)),
    ]


def _cells(values: NDArray[Any]) -> tuple[list[Any], set[str]]:
    """Return numbers, texts, dates or None, and the types of what is none of these."""
    if values.dtype.kind == "M":
        items = values.astype("datetime64[us]").tolist()
    elif values.dtype.kind == "m":
        items = values.astype("timedelta64[us]").tolist()
    else:
        items = values.tolist()
    other: set[str] = set()
    return [_cell(item, other) for item in items], other


def _cell(value: Any, other: set[str]) -> Any:
    match value:
        case str():  # halves of surrogate pairs have no form in UTF-8, which is what is hashed
            return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
        case None | datetime():
            return value
        case bool() | int() | float() | Decimal() | Fraction() | np.generic():
            try:
                number = float(value)
            except (TypeError, ValueError, OverflowError):
                return str(value)
            return None if number != number else number
        case date():
            return datetime.combine(value, time())
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.decode("latin-1")
        case time() | UUID() | Enum():
            return str(value)
        case list() | tuple() | set() | frozenset() | dict():
            text = str(sorted(value, key=str) if isinstance(value, set | frozenset) else value)
            if " at 0x" not in text:
                return text
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime()
    other.add(type(value).__name__)
    return None


def _of_cells(cells: list[Any]) -> Iterator[Floats]:
    """Yield the columns of numbers that cells give."""
    yield from _numbers(
        np.array([cell if isinstance(cell, float) else np.nan for cell in cells], np.float64), keep=False
    )
    days = [_stamp(cell) for cell in cells]
    texts = [cell if isinstance(cell, str) else None for cell in cells]
    if any(text is not None for text in texts):
        days = _dates(texts) or days
        yield from _of_texts(texts)
    if any(day is not None for day in days):
        yield from _of_dates(days)


def _of_texts(texts: Sequence[str | None]) -> Iterator[Floats]:
    often = Counter(texts)
    place = {text: i for i, text in enumerate(sorted(text for text in often if text is not None))}
    numbers = [[] if text is None else [float(number) for number in _NUMBER.findall(text)[:_NUMBERS]] for text in texts]
    yield _column(0 if text is None else often[text] for text in texts)
    yield _column(-1 if text is None else place[text] for text in texts)
    yield _column(-1 if text is None else len(text) for text in texts)
    yield _column(-1 if text is None else text.count(" ") for text in texts)
    for k in range(max(map(len, numbers), default=0)):
        yield _column(row[k] if k < len(row) else -1 for row in numbers)


def _dates(texts: Sequence[str | None]) -> list[datetime | None] | None:
    """Return the dates that texts are; None where most are none."""
    words = [text.strip() for text in texts if text is not None]
    sample = words[:: max(1, len(words) // 50)]
    for form in (None, *_FORMATS):
        if sum(_date(text, form) is not None for text in sample) >= _DATES * len(sample):
            dates = [None if text is None else _date(text.strip(), form) for text in texts]
            if sum(day is not None for day in dates) >= _DATES * len(words):
                return dates
    return None


def _date(text: str, form: str | None) -> datetime | None:
    try:
        date = datetime.fromisoformat(text) if form is None else datetime.strptime(text, form)
    except ValueError:
        return None
    return date.replace(tzinfo=None)


def _stamp(cell: Any) -> datetime | None:
    return cell.replace(tzinfo=None) if isinstance(cell, datetime) else None


def _of_dates(days: Sequence[datetime | None]) -> Iterator[Floats]:
    start = datetime(1970, 1, 1)
    yield _column(-1 if day is None else (day - start).total_seconds() / 86_400 for day in days)
    for part in ("year", "month", "day", "hour", "minute", "second"):
        yield _column(-1 if day is None else getattr(day, part) for day in days)
    yield _column(-1 if day is None else day.weekday() for day in days)


def _numbers(values: NDArray[Any], *, keep: bool = True) -> list[Floats]:
    """Return a column of numbers, and one that says which are missing; none where all are, unless it is to be kept."""
    finite = np.isfinite(values) if values.dtype.kind == "f" else np.ones(len(values), bool)
    if not (finite.any() or keep):
        return []
    columns = [_finite(np.where(np.isnan(values), 0, values) if values.dtype.kind == "f" else values)]
    return columns if finite.all() else [*columns, finite.astype(np.float32)]


def _with_gaps(table: NDArray[Any]) -> Floats:
    """Return columns of numbers, and one for each that has gaps, which says where."""
    numbers = _finite(table)
    if table.dtype.kind != "f" or not (gaps := np.isnan(table)).any():
        return numbers
    return np.hstack([numbers, gaps[:, gaps.any(axis=0)].astype(np.float32)])


def _column(values: Any) -> Floats:
    return _finite(np.fromiter(values, np.float64))


def _finite(values: NDArray[Any]) -> Floats:
    """Return finite float32 numbers, moved to the middle of their column, as large ones would lose their differences."""
    if values.dtype.itemsize <= 2:  # whole numbers, and float16, which does not hold the largest number
        values = values.astype(np.float32)
    elif values.dtype.kind != "f":
        values = values.astype(np.float64)
    if values.dtype.itemsize > 4:
        valid = np.isfinite(values)
        middle = np.where(valid, values, 0.0).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
        values = values - middle
    finite = np.nan_to_num(values, posinf=_LARGEST, neginf=-_LARGEST).clip(-_LARGEST, _LARGEST)
    return np.asarray(finite, np.float32)
