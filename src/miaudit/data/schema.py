"""The columns of a data set: names, kinds and domains, and the numeric encoding that follows from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from miaudit.data.mapped import HELD, rows_of_a_block
from miaudit.data.position import position
from miaudit.data.records import (
    Records,
    as_records,
    check_finite,
    column_blocks,
    column_names,
    column_values,
    is_sparse,
    is_texts,
    is_tokens,
    kind_of,
    missing_values,
    n_records,
)
from miaudit.data.room import require_room
from miaudit.errors import DataError, counted, literal, nearest

ColumnKind = Literal["numeric", "binary", "categorical", "time", "text"]

_DENSE_ONE_HOT = 1000  # one-hot columns up to which the encoded table stays dense: any estimator takes it then


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name
        What the data calls it.
    kind
        ``numeric``, ``binary`` (0 or 1 only), ``categorical``, ``time`` (dates, times and spans of a frame), or ``text``: texts
        of which so many are different (128 MiB of them) that they are no categories, and are not named.
    categories
        Names of the categories of a categorical column, in order; None otherwise.
    low, high
        Smallest and largest value of a numeric or binary column, of times in days; None for a categorical one.
    values
        How each category stands in the records: itself in a frame, a number in a matrix (0, 1, ... unless given).
    missing
        Whether values are missing (NaN or None): no category, and no part of the range.
    """

    name: str
    kind: ColumnKind
    categories: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None
    values: tuple[Any, ...] | None = None
    missing: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(ColumnKind):
            raise DataError(f"column {self.name!r}: kind {self.kind!r} is not one of {', '.join(get_args(ColumnKind))}")
        if self.kind != "categorical":
            return
        if not self.categories:
            raise DataError(f"column {self.name!r} is categorical and has no categories; name at least one")
        if self.values is None:
            object.__setattr__(self, "values", tuple(float(code) for code in range(len(self.categories))))


@dataclass(frozen=True)
class Schema:
    """The columns of a data set, in order.

    Parameters
    ----------
    columns
        One per column of a table. Records with more axes (images) have a single one that stands for all their values.
    shape
        Shape of one record where it has several axes, as (28, 28) or (3, 32, 32); None for tables.
    sparse
        Whether the table is held as CSR.
    texts
        Whether a record is one text, as text pipelines take it, or one tuple of tokens; the one column is called ``text``, or
        ``tokens``.
    """

    columns: tuple[Column, ...]
    shape: tuple[int, ...] | None = None
    sparse: bool = False
    texts: bool = False

    @classmethod
    def infer(
        cls, X: Records, *, names: Sequence[str] | None = None, stated: Mapping[str, str] | None = None
    ) -> Schema:
        """Return the schema of records.

        Columns of numbers are numeric, or binary where they hold only 0 and 1; columns of texts and pandas categories
        are categorical; dates and times are times. Values may be missing in tables, not in images, sparse matrices and
        records that are one text each.

        Parameters
        ----------
        X
            Records in any of the forms of :data:`~miaudit.data.records.Records`.
        names
            Names of an array's columns; ``x0``, ``x1``, ... unless given. A frame brings its own.
        stated
            The kind of some columns, by name, where it should not be inferred.

        Raises
        ------
        DataError
            If values are infinite, or missing where they may not be, or a stated kind does not fit, or a column is of neither
            numbers nor texts.
        """
        X = as_records(X)
        check_finite(X, missing=not is_sparse(X) and len(X.shape) == 2)
        if is_texts(X):
            if stated or names:
                raise DataError(
                    "records are one text each and have no columns: state neither names nor kinds of columns"
                )
            name = "tokens" if is_tokens(X) else "text"
            return cls((infer_column(name, column_blocks(X, 0), "categorical"),), texts=True)
        if isinstance(X, np.ndarray) and X.ndim > 2:
            if stated:
                raise DataError(f"kinds were stated for columns {list(stated)}, but records of {X.shape[1:]} have none")
            return cls((_pixels(X),), shape=tuple(int(size) for size in X.shape[1:]))
        all_names = column_names(X) or list(names or (f"x{i}" for i in range(X.shape[1])))
        if len(all_names) != X.shape[1]:
            raise DataError(
                f"{counted(len(all_names), 'name was', 'names were')} given for {counted(X.shape[1], 'column')}; "
                "give one per column"
            )
        if (
            repeated := sorted({name for name in all_names if all_names.count(name) > 1})
            if len(set(all_names)) < len(all_names)
            else []
        ):
            raise DataError(f"column names appear more than once: {repeated[:5]}; give every column its own name")
        stated = dict(stated or {})
        for name in stated:
            if name not in all_names:
                raise DataError(unknown_column(name, all_names))
        if kind_of(X) == "sparse":
            if stated:
                raise DataError(f"kinds cannot be stated for a sparse matrix (columns {list(stated)}); make it dense")
            return cls(tuple(_sparse_columns(X, all_names)), sparse=True)
        if kind_of(X) == "array" and X.dtype.kind != "O":
            columns = list(_matrix_columns(X, all_names))
            for name in stated:
                i = all_names.index(name)
                columns[i] = infer_column(name, X[:, i], cast(ColumnKind, stated[name]))
            return cls(tuple(columns))
        declared = [getattr(dtype, "categories", None) for dtype in X.dtypes] if kind_of(X) == "pandas" else None
        return cls(
            tuple(
                infer_column(
                    name,
                    column_blocks(X, i),
                    cast("ColumnKind | None", stated.get(name)),
                    declared=None if declared is None else declared[i],
                )
                for i, name in enumerate(all_names)
            )
        )

    @property
    def width(self) -> int:
        """Number of values of one record."""
        return len(self.columns) if self.shape is None else int(np.prod(self.shape))

    @property
    def encoded_width(self) -> int:
        """Number of columns of :meth:`encode`: a categorical column takes one per category."""
        if self.shape is not None:
            return self.width
        return sum(
            len(column.categories) if column.categories is not None else 1 + column.missing for column in self.columns
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the columns in which values are missing."""
        return tuple(column.name for column in self.columns if column.missing)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of everything the schema says."""
        beside = (("texts",) if self.texts else ()) + self.missing  # nothing where there is nothing to say
        content = (self.shape, self.sparse, self.columns, *([beside] if beside else []))
        return hashlib.sha256(repr(content).encode("utf-8", "surrogatepass")).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return a short summary: widths, and the number of columns of each kind or the shape of an image."""
        if self.shape is not None:
            column = self.columns[0]
            return {"width": self.width, "shape": list(self.shape), "low": column.low, "high": column.high}
        counts = {kind: sum(column.kind == kind for column in self.columns) for kind in get_args(ColumnKind)}
        for kind in ("time", "text"):
            if not counts[kind]:
                del counts[kind]
        widths = {"width": self.width, **counts, "encoded_width": self.encoded_width, "sparse": self.sparse}
        return widths | ({"missing": list(self.missing)} if self.missing else {})

    def require_complete(self, what: str) -> None:
        """Refuse records in which values are missing, or that are texts, for what needs columns with a value each.

        Parameters
        ----------
        what
            What needs them, as the beginning of a sentence.

        Raises
        ------
        DataError
            Naming the columns.
        """
        if self.texts:
            raise DataError(f"{what} changes the columns of records, and these are one text each; leave it out")
        for kind, hold in (("time", "times"), ("text", "free texts")):
            if names := [column.name for column in self.columns if column.kind == kind]:
                raise DataError(
                    f"{what} changes columns of numbers and categories, and {names[:5]} hold {hold}; drop them"
                )
        if self.missing:
            raise DataError(
                f"{what} needs a value in every column, and some are missing in {list(self.missing[:5])}; fill them in, or "
                "leave these columns out"
            )

    def check(self, X: Records) -> None:
        """Refuse records that do not fit.

        Raises
        ------
        DataError
            If the width or shape is wrong, columns are missing or too many, or a category is unknown.
        """
        self._check_columns(X)
        for i, column in self._categorical():
            values = column_values(X, i)
            unknown = np.flatnonzero((_codes(values, column) < 0) & ~(column.missing & missing_values(values)))
            if len(unknown):
                allowed = ", ".join((column.categories or ())[:8]) + (
                    ", ..." if len(column.categories or ()) > 8 else ""
                )
                raise DataError(
                    f"column {column.name!r}: {counted(len(unknown), 'record holds', 'records hold')} a category the schema "
                    f"does not know, first {position(int(unknown[0]))} with {literal(values[unknown[0]])}; known are "
                    f"{allowed}. Correct them, or infer the schema from all records"
                )

    def encode(self, X: Records) -> Any:
        """Return the records as numbers: (n, encoded_width) float32, CSR where the schema is sparse.

        A category becomes one column that is 1 (all zero for an unknown or a missing one); numbers stay as they are, neither
        centred nor scaled; where some are missing, those become the smallest one, and a further column is 1. Images are
        flattened.

        Raises
        ------
        DataError
            If the columns do not fit, or hold so many different texts that they are no categories.
        """
        self._check_columns(X)
        if free := [column.name for column in self.columns if column.kind == "text"]:
            raise DataError(
                f"columns {free[:5]} hold more than {HELD >> 20} MiB of different texts, which are no categories; drop them, "
                "or leave the encoding of columns out (in a plan, encode = false) and let the model make numbers of them"
            )
        if self.shape is not None:
            return X.reshape(n_records(X), -1).astype(np.float32)
        if kind_of(X) == "sparse":
            return X.tocsr().astype(np.float32)
        if isinstance(X, np.ndarray) and not self.missing and not any(True for _ in self._categorical()):
            return X.astype(np.float32)
        require_room(4 * n_records(X) * self.encoded_width, f"{n_records(X):,} records, one-hot", copies=1)
        out = np.zeros((n_records(X), self.encoded_width), dtype=np.float32)  # (n, encoded_width)
        start = 0
        for i, column in enumerate(self.columns):
            values = column_values(X, i)
            if column.categories is None:
                numbers = _days(values) if column.kind == "time" else values.astype(np.float64)
                if column.missing:
                    absent = np.isnan(numbers)
                    numbers = np.where(absent, column.low or 0.0, numbers)
                    out[:, start + 1] = absent
                out[:, start] = numbers
                start += 1 + column.missing
                continue
            codes = _codes(values, column)
            rows = np.flatnonzero(codes >= 0)
            out[rows, start + codes[rows]] = 1
            start += len(column.categories)
        return out

    def _categorical(self) -> Iterable[tuple[int, Column]]:
        return ((i, column) for i, column in enumerate(self.columns) if column.kind == "categorical")

    def _check_columns(self, X: Records) -> None:
        names = column_names(X)
        if self.shape is not None:
            if tuple(X.shape[1:]) != self.shape or names is not None:
                raise DataError(f"records have shape {tuple(X.shape[1:])}, the schema says {self.shape}")
            return
        if self.texts or is_texts(X):
            if not (self.texts and is_texts(X)):
                raise DataError("records are one text each on one side only; give all of them in one form")
            return
        expected = [column.name for column in self.columns]
        if names is not None and names != expected:
            missing = [name for name in expected if name not in set(names)]
            extra = [name for name in names if name not in set(expected)]
            if not missing and not extra:
                raise DataError(f"columns stand in another order than the schema's: {names[:5]}, not {expected[:5]}")
            raise DataError(
                f"columns do not fit the schema: missing {missing[:5] or 'none'}, unknown {extra[:5] or 'none'}"
            )
        if len(X.shape) != 2 or X.shape[1] != len(expected):
            wide = f"{counted(X.shape[1], 'column')}" if len(X.shape) == 2 else f"shape {tuple(X.shape[1:])}"
            raise DataError(
                f"records have {wide}, the schema says {counted(len(expected), 'column')}; pass the same columns"
            )


def encoder(schema: Schema) -> Any:
    """Return an unfitted scikit-learn transformer that makes such records ready for an estimator, or None.

    One-hot for categorical columns (an unknown category is all zero), zero mean and unit variance for numeric ones,
    binary ones as they are; missing numbers stay missing. Sparse numbers are scaled by their largest magnitude, which
    keeps zeros. Images are flattened and divided by their largest possible value. None where all columns are binary.

    Raises
    ------
    DataError
        If a record is one text, or a column holds times: what makes numbers of them is a part of the model.
    """
    if schema.texts:
        raise DataError(
            "records are one text each; the encoder before the recipe makes no numbers of texts: leave it out (in a plan, "
            "encode = false), and let the recipe begin with a vectorizer"
        )
    if schema.shape is None and all(column.kind == "binary" for column in schema.columns):
        return None
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, OneHotEncoder, StandardScaler

    if schema.shape is not None:
        pixel = schema.columns[0]
        largest = max(abs(pixel.low or 0.0), abs(pixel.high or 0.0))
        return FunctionTransformer(flat, kw_args={"scale": largest if largest > 1 else 1.0})
    if times := [column.name for column in schema.columns if column.kind == "time"]:
        raise DataError(
            f"columns {times[:5]} hold times, and the encoder before the recipe makes no numbers of them: drop them, or "
            "leave it out (in a plan, encode = false) and let the recipe begin with steps that do"
        )
    kinds = {
        kind: [i for i, column in enumerate(schema.columns) if column.kind == kind] for kind in get_args(ColumnKind)
    }
    if free := [column.name for column in schema.columns if column.kind == "text"]:
        raise DataError(
            f"columns {free[:5]} hold more than {HELD >> 20} MiB of different texts, and the encoder before the recipe makes "
            "no numbers of them: drop them, or leave it out (in a plan, encode = false) and let the recipe begin with a "
            "vectorizer"
        )
    if schema.sparse:
        return MaxAbsScaler()
    steps: list[tuple[str, Any, list[int]]] = []
    if kinds["categorical"]:
        values = [_category_array(schema.columns[i].values or ()) for i in kinds["categorical"]]
        dense = sum(map(len, values)) <= _DENSE_ONE_HOT
        one_hot = OneHotEncoder(categories=values, handle_unknown="ignore", sparse_output=not dense, dtype=np.float32)
        steps.append(("categorical", one_hot, kinds["categorical"]))
    if kinds["numeric"]:
        steps.append(("numeric", StandardScaler(), kinds["numeric"]))
    if kinds["binary"]:
        steps.append(("binary", "passthrough", kinds["binary"]))
    return ColumnTransformer(steps)


def flat(X: NDArray[Any], scale: float = 1.0) -> NDArray[np.float32]:
    """Return images as (n, values) float32, divided by ``scale``."""
    return np.asarray(X, dtype=np.float32).reshape(len(X), -1) / np.float32(scale)


def unknown_column(name: str, names: Sequence[str]) -> str:
    """Return the sentence for a column name that is not there, with the nearest one that is."""
    near = nearest(name, names)
    hint = f"; {near}" if near else "."
    alone = names[0] if len(names) == 1 else ""
    for mark, what in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if mark in alone or alone.startswith("sep="):
            return (
                f"there is no column {name!r}. The header is {alone!r}: columns seem to be parted by {what}; write "
                "the file with a line of column names first and commas between cells"
            )
    return (
        f"there is no column {name!r}{hint} The columns are {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
    )


def infer_column(
    name: str,
    values: NDArray[Any] | Iterator[NDArray[Any]],
    kind: ColumnKind | None = None,
    *,
    declared: Iterable[Any] | None = None,
) -> Column:
    """Return the column of (n,) values; ``kind`` states what it is, ``declared`` adds categories to those found.

    Values are an array, or blocks of one that holds texts.
    """
    if kind is not None and kind not in get_args(ColumnKind):
        raise DataError(f"column {name!r}: kind {kind!r} is not one of {', '.join(get_args(ColumnKind))}")
    blocks = iter([values]) if isinstance(values, np.ndarray) else values
    leading = [next(blocks)]
    while not (of_texts := _holds_texts(leading[-1])) and (following := next(blocks, None)) is not None:
        leading.append(following)
    if of_texts and kind in (None, "categorical", "text"):
        return _of_categories(name, chain(leading, blocks), declared)
    values = leading[0] if len(leading) == 1 else np.concatenate([*leading, *blocks])
    numbers = _as_numbers(values, convert=kind in ("numeric", "binary"))
    absent = missing_values(values)
    missing = bool(absent.any())
    if values.dtype.kind in "mM" and kind in (None, "time"):
        days = _days(values[~absent]) if not absent.all() else np.zeros(1)
        return Column(name, "time", low=float(days.min()), high=float(days.max()), missing=missing)
    if kind == "time":
        raise DataError(f"column {name!r} is stated to be of times but has dtype {values.dtype}; convert it")
    if kind in ("categorical", "text") or (kind is None and (declared is not None or numbers is None)):
        if values.dtype.kind not in "biufO":
            raise DataError(f"column {name!r} has dtype {values.dtype}, neither numbers nor texts; convert or drop it")
        return _of_categories(name, iter([values]), declared)
    if numbers is None:
        raise DataError(f"column {name!r} is stated to be {kind} but holds texts; state it categorical, or correct it")
    numbers = numbers[~absent]
    if not len(numbers):
        return Column(name, "numeric", low=0.0, high=0.0, missing=True)
    binary = bool(np.isin(numbers, (0, 1)).all())
    if kind == "binary" and not binary:
        raise DataError(f"column {name!r} is stated to be binary but holds other numbers than 0 and 1")
    if binary and kind != "numeric":
        return Column(name, "binary", low=0.0, high=1.0, missing=missing)
    return Column(name, "numeric", low=float(numbers.min()), high=float(numbers.max()), missing=missing)


def _of_categories(name: str, blocks: Iterator[NDArray[Any]], declared: Iterable[Any] | None) -> Column:
    """Return the column of values that are categories, or of free text where their different texts take too much room."""
    there: set[Any] = set() if declared is None else set(np.asarray(declared).tolist())
    missing, size = False, 0
    for values in blocks:
        absent = missing_values(values)
        missing = missing or bool(absent.any())
        if size > HELD:
            continue
        try:
            new = set(values[~absent].tolist()) - there
        except TypeError:
            odd = next(value for value in values[~absent].tolist() if not _is_hashable(value))
            raise DataError(
                f"column {name!r} holds values of type {type(odd).__name__}, such as {odd!a:.60}; numbers and texts are "
                "read: convert or drop it"
            ) from None
        size += sum(len(value) for value in new if isinstance(value, str | tuple))
        there |= new
    if size > HELD:
        return Column(name, "text", missing=missing)
    categories = _ordered(there) or [""]
    return Column(
        name, "categorical", tuple(str(value) for value in categories), values=tuple(categories), missing=missing
    )


def _days(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return times as days since 1970, and spans as days; NaN where they are missing."""
    start = np.datetime64(0, "D") if values.dtype.kind == "M" else np.timedelta64(0, "D")
    days: NDArray[np.float64] = (values - start) / np.timedelta64(1, "D")
    return days


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _holds_texts(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "O" and any(isinstance(value, str) for value in values.tolist())


def _as_numbers(values: NDArray[Any], *, convert: bool) -> NDArray[Any] | None:
    if values.dtype.kind in "biuf":
        return values
    if values.dtype.kind != "O" or (not convert and _holds_texts(values)):
        return None
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        return None


def _ordered(values: Iterable[Any]) -> list[Any]:
    values = list(values)
    try:
        return sorted(values)
    except TypeError:  # numbers and texts in one column
        return sorted(values, key=lambda value: (type(value).__name__, str(value)))


def _pixels(X: NDArray[Any]) -> Column:
    if X.dtype == np.uint8:  # the domain of a byte image, whatever is in it
        return Column("values", "numeric", low=0.0, high=255.0)
    return Column("values", "numeric", low=float(X.min()), high=float(X.max()))


def _matrix_columns(X: NDArray[Any], names: Sequence[str]) -> Iterable[Column]:
    """Return the columns of a matrix, of which a block of rows is looked at at a time."""
    step, width = rows_of_a_block(X), X.shape[1]
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    binary, missing = np.ones(width, bool), np.zeros(width, bool)
    for start in range(0, len(X), step):
        part = X[start : start + step]
        absent = np.isnan(part) if part.dtype.kind == "f" else np.zeros((1, width), bool)
        low = np.fmin(low, np.fmin.reduce(part, axis=0).astype(np.float64))
        high = np.fmax(high, np.fmax.reduce(part, axis=0).astype(np.float64))
        binary &= ((part == 0) | (part == 1) | absent).all(axis=0)
        missing |= absent.any(axis=0)
    empty = low > high  # nothing is there
    low[empty] = high[empty] = 0.0
    return _number_columns(names, binary & ~empty, low, high, missing)


def _sparse_columns(X: Any, names: Sequence[str]) -> Iterable[Column]:
    width = X.shape[1]
    other = np.bincount(X.indices[(X.data != 0) & (X.data != 1)], minlength=width)
    low = np.asarray(X.min(axis=0).toarray(), dtype=np.float64).reshape(width)
    high = np.asarray(X.max(axis=0).toarray(), dtype=np.float64).reshape(width)
    return _number_columns(names, other == 0, low, high, np.zeros(width, bool))


def _number_columns(
    names: Sequence[str],
    binary: NDArray[np.bool_],
    low: NDArray[Any],
    high: NDArray[Any],
    missing: NDArray[np.bool_],
) -> Iterable[Column]:
    for name, is_binary, least, most, gaps in zip(
        names, *(each.tolist() for each in (binary, low, high, missing)), strict=True
    ):
        least, most = (0.0, 1.0) if is_binary else (least, most)
        yield Column(name, "binary" if is_binary else "numeric", low=least, high=most, missing=gaps)


def _codes(values: NDArray[Any], column: Column) -> NDArray[np.int64]:
    """Return (n,) numbers of the categories, -1 for one that is not known."""
    levels = column.values or ()
    if values.dtype.kind in "biuf" and not any(isinstance(value, str) for value in levels):
        numbers, cells = np.asarray(levels, dtype=np.float64), values.astype(np.float64)
        cells = np.where(np.isnan(cells), np.inf, cells)  # no number, and so no category
        place = np.searchsorted(numbers, cells).clip(max=len(numbers) - 1)
        return np.where(numbers[place] == cells, place, -1).astype(np.int64)
    number = {value: i for i, value in enumerate(levels)}
    return np.fromiter((number.get(value, -1) for value in values.tolist()), dtype=np.int64, count=len(values))


def _category_array(values: tuple[Any, ...]) -> NDArray[Any]:
    numeric = all(isinstance(value, bool | int | float) for value in values)
    return np.asarray(values) if numeric else np.array(values, dtype=object)
