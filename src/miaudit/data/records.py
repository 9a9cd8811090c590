"""Records in the forms people hold them: arrays, scipy CSR, pandas and polars frames; taking, stacking, hashing.

Neither pandas nor polars is imported here: a frame can only be one of theirs if the caller imported them before.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from miaudit.errors import DataError

Records = Any
"""A numpy array (n, ...), a scipy CSR matrix or array, a pandas DataFrame or a polars DataFrame.

A 2-D numpy array of objects is a table: its columns may be numbers or texts.
"""

Kind = Literal["array", "sparse", "pandas", "polars"]

_CHUNK = 1 << 12  # records hashed at a time, so that a strided array is never copied whole


def kind_of(X: Records) -> Kind:
    """Return the form of the records.

    Raises
    ------
    DataError
        If they are in none of the four forms.
    """
    if isinstance(X, np.ndarray):
        return "array"
    if is_sparse(X):
        return "sparse"
    for library in ("pandas", "polars"):
        module = sys.modules.get(library)
        if module is not None and isinstance(X, module.DataFrame):
            return "pandas" if library == "pandas" else "polars"
    raise DataError(
        f"records must be a numpy array, a scipy sparse matrix, or a pandas or polars DataFrame; got {type(X).__name__}"
    )


def is_sparse(X: Any) -> bool:
    """Return whether X is a scipy sparse matrix or array of any format."""
    return bool(sparse.issparse(X))


def as_records(X: Any) -> Records:
    """Return records in one of the four forms, without changing what was passed.

    Sparse matrices of any format become canonical CSR, lists become arrays (tables of objects where they hold texts),
    and a pandas index is reset.

    Raises
    ------
    DataError
        If that cannot be done, or there is no second axis, or a dtype is not of numbers or texts.
    """
    if is_sparse(X):
        if X.ndim != 2 or X.dtype.kind not in "biuf":
            raise DataError(f"a sparse matrix must be of numbers and have two axes; got {X.dtype}, shape {X.shape}")
        return _canonical(X.tocsr())
    if not isinstance(X, np.ndarray):
        try:
            kind = kind_of(X)
        except DataError:
            X = _array(X)
        else:
            return X.reset_index(drop=True) if kind == "pandas" else X
    if isinstance(X, np.ma.MaskedArray):
        raise DataError("records are a masked array; fill the masked values in, for example with X.filled(0)")
    if X.ndim < 2:
        raise DataError(f"records must have shape (n, features) or more axes, got {X.shape}; one feature is X[:, None]")
    if X.dtype.kind in "US":
        return X.astype(object)
    if X.dtype.kind not in "biufO":
        raise DataError(f"records have dtype {X.dtype}; it must be of numbers, booleans or texts: convert them first")
    if X.dtype.kind == "O" and X.ndim > 2:
        raise DataError(f"records of objects must be a table (n, columns), got shape {X.shape}")
    return X


def _array(X: Any) -> NDArray[Any]:
    try:
        array = np.asarray(X)
        # numpy would turn the numbers of a mixed list into texts
        return np.array(X, dtype=object) if array.dtype.kind in "US" and isinstance(X, list | tuple) else array
    except ValueError as error:
        raise DataError(f"records of type {type(X).__name__} cannot be read as an array: {error}") from error


def _canonical(X: Any) -> Any:
    if X.has_canonical_format:
        return X
    X = X.copy()
    X.sum_duplicates()
    return X


def n_records(X: Records) -> int:
    """Return the number of records."""
    return int(X.shape[0])


def column_names(X: Records) -> list[str] | None:
    """Return the names of a frame's columns, None for arrays and sparse matrices."""
    return [str(name) for name in X.columns] if kind_of(X) in ("pandas", "polars") else None


def column_values(X: Records, i: int) -> NDArray[Any]:
    """Return column ``i`` of a frame or a 2-D array as an (n,) array, of objects where it is not of one number type."""
    kind = kind_of(X)
    if kind == "pandas":
        values = X.iloc[:, i].to_numpy()
    elif kind == "polars":
        values = X.to_series(i).to_numpy()
    else:
        values = X[:, i]
    return np.asarray(values)


def take_records(X: Records, index: NDArray[np.int64] | Sequence[int]) -> Records:
    """Return the records at ``index``, in that order, in the same form (a pandas index is reset)."""
    rows = np.asarray(index, dtype=np.int64)
    if kind_of(X) == "pandas":
        return X.iloc[rows].reset_index(drop=True)
    return X[rows]


def stack_records(parts: Sequence[Records]) -> Records:
    """Return the records of all parts, one after the other, in their common form.

    Raises
    ------
    DataError
        If there is nothing to stack, or forms, widths or column names differ.
    """
    if not parts:
        raise DataError("there are no records to stack")
    kinds = sorted({kind_of(X) for X in parts})
    if len(kinds) > 1:
        raise DataError(f"records of different forms cannot be stacked: {', '.join(kinds)}; convert them to one form")
    first, kind = parts[0], kinds[0]
    names = column_names(first)
    for number, X in enumerate(parts[1:], start=2):
        if column_names(X) != names:
            differing = sorted(set(column_names(X) or ()) ^ set(names or ()))
            what = f"only in one of them: {differing[:5]}" if differing else "the order differs"
            raise DataError(f"part {number} has other columns than the first; {what}. Give all parts the same columns")
        if X.shape[1:] != first.shape[1:]:
            raise DataError(f"part {number} has records of shape {X.shape[1:]}, the first has {first.shape[1:]}")
    if kind == "sparse":
        return sparse.vstack(list(parts), format="csr")
    if kind == "pandas":
        return sys.modules["pandas"].concat(list(parts), ignore_index=True)
    if kind == "polars":
        try:
            return sys.modules["polars"].concat(list(parts))
        except Exception as error:
            raise DataError(f"the parts' columns have different types: {error}; cast them to one type") from error
    return np.concatenate(parts)


def content_hash(X: Records) -> str:
    """Return the sha256 (hex) of the records.

    It depends on values, dtypes, shape and column names; not on memory layout, byte order, a pandas index, or how a
    sparse matrix orders its entries and whether it stores zeros.
    """
    kind = kind_of(X)
    digest = hashlib.sha256(f"{kind}|{tuple(X.shape)}|".encode())
    if kind == "sparse":
        X = _without_zeros(X)
        for array, dtype in ((X.indptr, "<i8"), (X.indices, "<i8"), (X.data, _little(X.data.dtype))):
            digest.update(f"{np.dtype(dtype).str}|".encode())
            digest.update(np.ascontiguousarray(array, dtype=dtype).data)
    elif kind == "array" and X.dtype.kind != "O":
        _feed(digest, X)
    else:
        names = column_names(X) or [""] * X.shape[1]
        for i, name in enumerate(names):
            digest.update(f"{len(name)}:{name}|".encode())
            values = column_values(X, i)
            if values.dtype.kind in "biufmM":
                _feed(digest, values)
            else:
                codes, texts = _coded(values)
                digest.update(b"".join(f"{len(text)}:".encode() + text for text in texts))
                _feed(digest, codes)
    return digest.hexdigest()


def row_hashes(X: Records) -> NDArray[np.bytes_]:
    """Return a 16-byte digest per record, (n,) of dtype S16: equal if and only if the records are equal.

    Numbers are compared by value: 0.0 and -0.0 are the same, and so are a stored and an implied zero of sparse records.
    Digests of separate calls compare when form and dtypes agree.
    """
    kind, n = kind_of(X), n_records(X)
    if kind == "sparse":
        X = _without_zeros(X)
        indices, data = np.asarray(X.indices, dtype="<i8"), np.ascontiguousarray(X.data)
        bounds = X.indptr.tolist()
        digests = [
            _digest(indices[start:stop].tobytes() + data[start:stop].tobytes()) for start, stop in pairwise(bounds)
        ]
        return np.frombuffer(b"".join(digests), dtype="S16")
    if kind == "array" and X.dtype.kind != "O":
        blocks = [_plain(X).reshape(n, -1)]
    else:
        blocks = [_block(column_values(X, i)) for i in range(X.shape[1])]
    rows = [np.ascontiguousarray(block).view(np.uint8).reshape(n, -1) for block in blocks]
    table = np.ascontiguousarray(rows[0] if len(rows) == 1 else np.hstack(rows))  # (n, bytes)
    width, content = table.shape[1], table.reshape(-1).data
    digests = [_digest(content[start : start + width]) for start in range(0, n * width, width)] if width else []
    return np.frombuffer(b"".join(digests), dtype="S16")


def check_finite(X: Records, what: str = "records") -> None:
    """Refuse NaN, infinite and missing values.

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
        raise _not_finite(what, len(bad), row, f"column {X.indices[bad[0]]}")
    if kind == "array" and X.dtype.kind != "O":
        if X.dtype.kind != "f" or (finite := np.isfinite(X)).all():
            return
        first = np.unravel_index(int(np.argmin(finite)), X.shape)
        column = f"column {first[1]}" if X.ndim == 2 else f"position {tuple(int(i) for i in first[1:])}"
        raise _not_finite(what, int(finite.size - finite.sum()), int(first[0]), column)
    names, found = column_names(X), []
    for i in range(X.shape[1]):
        bad = np.flatnonzero(_unusable(column_values(X, i)))
        if len(bad):
            found.append((int(bad[0]), i, len(bad)))
    if found:
        row, i, _ = min(found)
        column = f"column {names[i]!r}" if names else f"column {i}"
        raise _not_finite(what, sum(count for *_, count in found), row, column)


def _not_finite(what: str, count: int, row: int, column: str) -> DataError:
    values = "1 value that is" if count == 1 else f"{count} values that are"
    return DataError(
        f"{what}: {values} NaN, infinite or missing, first in record {row} (counted from 0), {column}; every value "
        "must be there and finite: fill them in, or leave these records or columns out"
    )


def _unusable(values: NDArray[Any]) -> NDArray[np.bool_]:
    bad: NDArray[np.bool_]
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values)
        return bad
    if values.dtype.kind in "mM":
        bad = np.isnat(values)
        return bad
    if values.dtype.kind != "O":
        return np.zeros(len(values), dtype=bool)
    return np.fromiter(
        (
            not isinstance(value, str)
            and (
                value is None
                or type(value).__name__ in ("NAType", "NaTType")
                or (isinstance(value, float) and not math.isfinite(value))
            )
            for value in values.tolist()
        ),
        dtype=bool,
        count=len(values),
    )


def _without_zeros(X: Any) -> Any:
    X = _canonical(X.tocsr())
    if len(X.data) and not X.data.all():
        X = X.copy()
        X.eliminate_zeros()
    return X


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


def _feed(digest: Any, array: NDArray[Any]) -> None:
    dtype = _little(array.dtype)
    digest.update(f"{dtype.str}|".encode())
    for start in range(0, len(array), _CHUNK):
        digest.update(np.ascontiguousarray(array[start : start + _CHUNK], dtype=dtype).tobytes())


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers whose bytes are equal where the numbers are."""
    values = values + 0.0 if values.dtype.kind == "f" else values  # -0.0 + 0.0 is 0.0
    return values.astype(_little(values.dtype), copy=False)


def _block(values: NDArray[Any]) -> NDArray[Any]:
    """Return one column as an (n,) array of fixed width whose bytes are equal where the values are."""
    if values.dtype.kind in "biufmM":
        return _plain(values)
    codes, texts = _coded(values)
    table = b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in texts)
    return np.frombuffer(table, dtype="V16")[codes]


def _coded(values: NDArray[Any]) -> tuple[NDArray[np.int64], list[bytes]]:
    """Return the number of each value in the order of first appearance, and the distinct values with their types."""
    items = values.tolist()
    if set(map(type, items)) <= {str}:
        prefix = "str:"
    else:
        prefix, items = "", [f"{type(value).__name__}:{value}" for value in items]
    number: dict[str, int] = {}
    codes = np.fromiter((number.setdefault(item, len(number)) for item in items), dtype=np.int64, count=len(items))
    return codes, [(prefix + text).encode("utf-8", "surrogatepass") for text in number]
