"""Records in the forms people hold them: arrays, scipy CSR, pandas and polars frames; taking, stacking.

Neither pandas nor polars is imported here: a frame can only be one of theirs if the caller imported them before.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from miaudit.data.mapped import is_mapped, rows_of_a_block, stack_mapped, take_mapped
from miaudit.data.on_disk import FrameOnDisk, TextsOnDisk, is_on_disk
from miaudit.data.position import position
from miaudit.data.room import require_room
from miaudit.data.stacking import check_alike, check_exact, sort_of, stack_frames
from miaudit.errors import DataError, counted, refuse_iterator

Records = Any
"""A numpy array (n, ...), a scipy CSR matrix or array, a pandas DataFrame or a polars DataFrame.

A 2-D numpy array of objects is a table: its columns may be numbers or texts. A 1-D one holds a text for each record, or a tuple
of whole numbers, as tokens are. `FrameOnDisk` and `TextsOnDisk` stand for a pandas frame and such an array of texts, where they
are large: `take_records` reads these from them.
"""

Kind = Literal["array", "sparse", "pandas", "polars"]


def kind_of(X: Records) -> Kind:
    """Return the form of the records.

    Raises
    ------
    DataError
        If they are in none of the four forms.
    """
    if isinstance(X, np.ndarray | TextsOnDisk):
        return "array"
    if isinstance(X, FrameOnDisk):
        return "pandas"
    if is_sparse(X):
        return "sparse"
    for library in ("pandas", "polars"):
        module = sys.modules.get(library)
        if module is not None and isinstance(X, module.DataFrame):
            return "pandas" if library == "pandas" else "polars"
    way = next((f": give what its {way}() returns" for way in ("to_pandas", "collect") if hasattr(X, way)), "")
    raise DataError(
        "records must be a numpy array, a scipy sparse matrix, or a pandas or polars DataFrame; got "
        f"{type(X).__name__}{way}"
    )


def is_sparse(X: Any) -> bool:
    """Return whether X is a scipy sparse matrix or array of any format."""
    return bool(sparse.issparse(X))


def densified(X: Any) -> NDArray[Any]:
    """Return records as an array, sparse ones with their zeros."""
    return X.toarray() if is_sparse(X) else np.asarray(X)


def is_texts(X: Any) -> bool:
    """Return whether a record is one text, as text pipelines take it, or one list of tokens."""
    return isinstance(X, np.ndarray | TextsOnDisk) and X.ndim == 1 and X.dtype.kind == "O"


def is_tokens(X: Any) -> bool:
    """Return whether a record is one tuple of whole numbers, of any length."""
    return is_texts(X) and len(X) > 0 and isinstance(X[0], tuple)


def as_tokens(X: NDArray[np.integer[Any]]) -> NDArray[np.object_]:
    """Return an (n, length) array of whole numbers as n tuples."""
    return _objects([tuple(row) for row in X.tolist()])


def as_records(X: Any) -> Records:
    """Return records in one of the four forms, without changing what was passed.

    Sparse matrices of any format become canonical CSR, lists become arrays (tables of objects where they hold texts), a
    list or Series of texts becomes an (n,) array of them, lists of whole numbers of different lengths an (n,) array of tuples,
    and a pandas index is reset.

    Raises
    ------
    DataError
        If that cannot be done, or there is no second axis, or a dtype is not of numbers or texts.
    """
    if is_on_disk(X):
        return X
    if is_sparse(X):
        if X.ndim != 2 or X.dtype.kind not in "biuf":
            raise DataError(f"a sparse matrix must be of numbers and have two axes; got {X.dtype}, shape {X.shape}")
        return canonical(X.tocsr())
    if isinstance(X, np.ma.MaskedArray):
        raise DataError("records are a masked array; fill the masked values in, for example with X.filled(0)")
    if isinstance(X, np.matrix):  # which keeps two axes whatever is taken of it
        X = np.asarray(X)
    if not isinstance(X, np.ndarray):
        try:
            kind = kind_of(X)
        except DataError:
            X = _array(X)
        else:
            return X.reset_index(drop=True) if kind == "pandas" else X
    if X.ndim == 1 and X.dtype.kind in "USTO":
        return _single(X)
    if X.dtype.kind not in "biufOUST":
        raise DataError(
            f"records have dtype {X.dtype}; it must be of numbers, booleans or texts: convert them first, an array of several "
            "fields by pandas.DataFrame(X)"
        )
    if X.ndim < 2:
        raise DataError(
            f"records must have shape (n, features) or more axes, got {X.shape}; one numeric feature, or the numbers of "
            "records that your own code looks up, is X[:, None], and texts are one flat list of str"
        )
    if X.dtype.kind in "UST":
        return X.astype(object)
    if X.dtype.kind == "O" and X.ndim > 2:
        raise DataError(f"records of objects must be a table (n, columns), got shape {X.shape}")
    return X


def _single(X: NDArray[Any]) -> NDArray[np.object_]:
    """Return records of one axis, each a text, or each a tuple of whole numbers.

    Raises
    ------
    DataError
        Naming the first record that is neither, or another than those before it.
    """
    records = X.astype(object)
    if len(records) and isinstance(records[0], list | tuple | np.ndarray):
        return _objects([_tokens(record, i) for i, record in enumerate(records)])
    for i, text in enumerate(records.tolist()):
        if not isinstance(text, str):
            raise DataError(
                f"records have one axis, so that each must be a text; record {i} is {text!a:.60} ({type(text).__name__}). "
                "For a table give two axes, for one column of numbers X[:, None]"
            )
    return records


def _tokens(record: Any, i: int) -> tuple[int, ...]:
    items = record.tolist() if isinstance(record, np.ndarray) else record
    if isinstance(items, list | tuple) and all(
        isinstance(item, int | np.integer) and not isinstance(item, bool) for item in items
    ):
        return tuple(map(int, items))
    raise DataError(
        f"records are lists or arrays in one axis, and record {i} is {record!a:.60}: only lists of whole numbers, as tokens "
        "are, may stand so. Make one array of records of one shape, as np.stack(list(X)) does, bring others to one shape, for "
        "example by padding, or hand over their numbers or paths, which your own training function looks up, with features= "
        "for the model-free check (docs/training-code.md)"
    )


def _objects(items: Sequence[Any]) -> NDArray[np.object_]:
    """Return an (n,) array of objects, whatever these are."""
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array


def _array(X: Any) -> NDArray[Any]:
    refuse_iterator(X, "records are")
    if isinstance(X, dict) or (isinstance(X, list | tuple) and X and isinstance(X[0], dict)):
        raise DataError("records are dictionaries of columns: make a table of them, as pandas.DataFrame(X) does")
    if hasattr(X, "columns"):
        kind_of(X)  # says what to do with tables of other libraries
    try:
        array = np.asarray(X)
        # numpy would turn the numbers of a mixed list into texts
        return np.array(X, dtype=object) if array.dtype.kind in "US" and isinstance(X, list | tuple) else array
    except (ValueError, TypeError, RuntimeError) as error:  # what torch and other libraries raise
        if isinstance(X, list | tuple) and isinstance(error, ValueError):  # of records of different shapes
            return _objects(X)
        way = "; give a tensor as X.detach().float().numpy()" if hasattr(X, "detach") else ""
        raise DataError(f"records of type {type(X).__name__} cannot be read as an array: {error}{way}") from error


def canonical(X: Any) -> Any:
    """Return a sparse matrix whose rows hold their entries in order, each once."""
    if X.has_canonical_format:
        return X
    X = X.copy()
    X.sum_duplicates()
    return X


def n_records(X: Records) -> int:
    """Return the number of records."""
    return int(X.shape[0])


def n_columns(X: Records) -> int:
    """Return the number of columns of a table; 1 where a record is one text."""
    return 1 if is_texts(X) else int(X.shape[1])


def column_names(X: Records) -> list[str] | None:
    """Return the names of a frame's columns, None for arrays and sparse matrices."""
    return [str(name) for name in X.columns] if kind_of(X) in ("pandas", "polars") else None


def column_values(X: Records, i: int) -> NDArray[Any]:
    """Return column ``i`` of a frame or a 2-D array as an (n,) array, of objects where it is not of one number type.

    Where values are missing, they are NaN in numbers and None in objects, whatever the library calls them.
    """
    if is_texts(X):
        return np.asarray(X)
    if isinstance(X, FrameOnDisk):
        return column_values(X.column(i), 0)
    kind = kind_of(X)
    if kind == "pandas":
        column = X.iloc[:, i]
        if getattr(column.dtype, "tz", None) is not None:  # else an array of objects
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        values = column.to_numpy()
        if values.dtype.kind == "O" and getattr(column.dtype, "kind", "O") in "biuf":  # numbers of pandas with NA
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    elif kind == "polars":
        values = X.to_series(i).to_numpy()
    else:
        values = X[:, i]
    values = np.asarray(values)
    if values.dtype.kind == "O" and (absent := missing_values(values)).any():
        values = values.copy()
        values[absent] = None
    return values


def column_blocks(X: Records, i: int) -> Iterator[NDArray[Any]]:
    """Yield `column_values` of column ``i``, of all records: whole, or of texts on disk some thousand at a time."""
    texts = texts_on_disk(X, i)
    return iter([column_values(X, i)]) if texts is None else texts.blocks()


def texts_on_disk(X: Records, i: int) -> TextsOnDisk | None:
    """Return the texts of one column where they are read from disk; else None."""
    return X if isinstance(X, TextsOnDisk) else X.texts(i) if isinstance(X, FrameOnDisk) else None


def missing_values(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (n,): which values of a column are NaN, None, or what a library calls missing."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    if values.dtype.kind in "mM":
        return np.asarray(np.isnat(values))
    if values.dtype.kind != "O":
        return np.zeros(len(values), dtype=bool)
    return np.fromiter((type(each) is not str and _is_missing(each) for each in values.tolist()), bool, len(values))


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return False
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, Decimal) and value.is_nan())
    )


def take_records(X: Records, index: NDArray[np.int64] | Sequence[int]) -> Records:
    """Return the records at ``index``, in that order, in the form that models are handed (a pandas index is reset)."""
    rows = np.asarray(index, dtype=np.int64)
    if isinstance(X, FrameOnDisk):
        return X.take(rows)
    if kind_of(X) == "pandas":
        return X.iloc[rows].reset_index(drop=True)
    return take_mapped(X, rows) if is_mapped(X) else X[rows]


def select_records(X: Records, index: NDArray[np.int64] | Sequence[int]) -> Records:
    """Return what `take_records` does, but what is on disk stays there: for what reads all, and hands nothing to a model."""
    rows = np.asarray(index, dtype=np.int64)
    return X.select(rows) if is_on_disk(X) else take_records(X, rows)


def stack_records(parts: Sequence[Records], *, names: Sequence[str] | None = None) -> Records:
    """Return the records of all parts, one after the other, in their common form.

    Columns of frames are matched by their names, and have the order of the first part. Categories of pandas columns are
    joined, those of earlier parts first.

    Parameters
    ----------
    names
        What to call the parts in messages.

    Raises
    ------
    DataError
        If there is nothing to stack, or forms, widths or column names differ, or one part has numbers where another has
        texts, or numbers would change.
    """
    if not parts:
        raise DataError("there are no records to stack")
    names = names or [f"part {number}" for number in range(1, len(parts) + 1)]
    kinds = [kind_of(X) for X in parts]
    if len(set(kinds)) > 1:
        forms = ", ".join(f"{name} {kind}" for name, kind in zip(names, kinds, strict=True))
        raise DataError(f"records of different forms cannot be stacked ({forms}); convert them to one form")
    first, kind = parts[0], kinds[0]
    columns = column_names(first)
    for name, X in zip(names[1:], parts[1:], strict=True):
        if differing := sorted(set(column_names(X) or ()) ^ set(columns or ())):
            what = f"only in one of them: {differing[:5]}"
            raise DataError(f"{name} has other columns than {names[0]}; {what}. Give all parts the same columns")
        if X.shape[1:] != first.shape[1:]:
            raise DataError(f"{name} has records of shape {X.shape[1:]}, {names[0]} has {first.shape[1:]}")
    if len(parts) == 1:
        return first
    if any(map(is_on_disk, parts)):
        parts = [in_memory(X) for X in parts]
    parts = [in_order(X, columns) for X in parts]
    if kind == "sparse":
        return sparse.vstack(list(parts), format="csr")
    if kind == "polars":
        try:
            return sys.modules["polars"].concat(list(parts))
        except Exception as error:
            raise DataError(f"the parts' columns have different types: {error}; cast them to one type") from error
    if kind == "pandas":
        return stack_frames(parts, names)
    if all(map(is_mapped, parts)) and len({X.dtype for X in parts}) == 1:
        return stack_mapped(parts)
    if is_texts(first) and len({is_tokens(X) for X in parts}) > 1:
        which = ", ".join(
            f"{name}: {'tokens' if is_tokens(X) else 'texts'}" for name, X in zip(names, parts, strict=True)
        )
        raise DataError(f"records are lists of whole numbers on one side and texts on another ({which}); give one form")
    if parts[0].ndim == 2 and any(X.dtype.kind == "O" for X in parts):
        for i in range(parts[0].shape[1]):
            values = [X[:, i] for X in parts]
            check_alike([sort_of(each) for each in values], names, f"column {i}", values)
    stacked = np.concatenate(parts)
    check_exact(parts, stacked.dtype, names, "records")
    return stacked


def in_order(X: Records, columns: Sequence[str] | None) -> Records:
    """Return a frame with its columns in this order; anything else as it is."""
    names = column_names(X)
    if names is None or columns is None or names == list(columns):
        return X
    order = [names.index(name) for name in columns]
    return X.iloc[:, order] if kind_of(X) == "pandas" else X[:, order]


def in_memory(X: Records) -> Records:
    """Return records as models are handed them, all of them.

    Raises
    ------
    DataError
        If they do not fit into memory.
    """
    if not is_on_disk(X):
        return X
    n = n_records(X)
    sample = take_records(X, np.linspace(0, n - 1, min(n, 1000)).astype(int))
    size = sum(sys.getsizeof(value) for i in range(n_columns(sample)) for value in column_values(sample, i).tolist())
    require_room(size * n // n_records(sample), f"{n:,} records, which lie on disk")
    return take_records(X, np.arange(n))


def check_finite(X: Records, what: str = "records", *, missing: bool = False) -> None:
    """Refuse infinite values, and missing ones too unless ``missing`` lets them pass.

    Raises
    ------
    DataError
        Naming the first such record and column, and how many such values there are.
    """
    kind = kind_of(X)
    if kind == "sparse":
        bad = np.flatnonzero(~np.isfinite(X.data)) if X.dtype.kind == "f" else np.empty(0, dtype=np.int64)
        if not len(bad):
            return
        row = int(np.searchsorted(X.indptr, bad[0], side="right")) - 1
        raise _not_finite(what, len(bad), row, f"column {X.indices[bad[0]]}", missing)
    if kind == "array" and X.dtype.kind != "O":
        if X.dtype.kind != "f":
            return
        step = rows_of_a_block(X)
        if all(_usable(X[start : start + step], missing).all() for start in range(0, len(X), step)):
            return
        usable = _usable(X, missing)
        first = np.unravel_index(int(np.argmin(usable)), X.shape)
        column = f"column {first[1]}" if X.ndim == 2 else f"position {tuple(int(i) for i in first[1:])}"
        raise _not_finite(what, int(usable.size - usable.sum()), int(first[0]), column, missing)
    names, places = column_names(X), []
    for i in range(n_columns(X)):
        blocks = column_blocks(X, i)
        parts = [
            infinite_values(values) if missing else infinite_values(values) | missing_values(values)
            for values in blocks
        ]
        bad = np.flatnonzero(np.concatenate(parts))
        if len(bad):
            places.append((int(bad[0]), i, len(bad)))
    if places:
        row, i, _ = min(places)
        column = f"column {names[i]!r}" if names else f"column {i}"
        raise _not_finite(what, sum(count for *_, count in places), row, column, missing)


def _usable(X: NDArray[Any], missing: bool) -> NDArray[np.bool_]:
    return np.asarray(~np.isinf(X) if missing else np.isfinite(X))


def _not_finite(what: str, count: int, row: int, column: str, missing: bool) -> DataError:
    kinds = "infinite" if missing else "NaN, infinite or missing"
    rule = "finite, or missing" if missing else "there and finite"
    values = counted(count, "value that is", "values that are")
    return DataError(
        f"{what}: {values} {kinds}, first in {position(row)}, {column}; every value must be {rule}: fill "
        "them in, or leave these records or columns out"
    )


def infinite_values(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (n,): which values of a column are infinite."""
    if values.dtype.kind == "f":
        return np.asarray(np.isinf(values))
    if values.dtype.kind != "O":
        return np.zeros(len(values), dtype=bool)
    infinite = (isinstance(value, float | Decimal) and math.isinf(value) for value in values.tolist())
    return np.fromiter(infinite, dtype=bool, count=len(values))


def form_of(X: Any) -> str:
    """Return the kind of records and the types of their values."""
    like = X.like if isinstance(X, FrameOnDisk) else np.empty(0, object) if isinstance(X, TextsOnDisk) else X
    return f"{type(like).__name__} {getattr(like, 'dtype', '')}{_column_types(like)}"


def _column_types(X: Any) -> str:
    """Return the types of a frame's columns, which decide what models make of them; nothing for arrays."""
    if not hasattr(X, "dtypes"):
        return ""
    categories = [
        list(dtype.categories) if getattr(dtype, "categories", None) is not None else "" for dtype in X.dtypes
    ]
    return "".join(f" {dtype}{of}" for dtype, of in zip(X.dtypes, categories, strict=True))
