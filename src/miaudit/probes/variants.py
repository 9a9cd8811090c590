"""Variants of records: noise on numbers, flips of bits, other categories, images shifted and mirrored."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from miaudit.data.records import Records, column_values, kind_of, n_records
from miaudit.data.schema import Column, Schema

_DENSE = 1 << 24  # values of a sparse matrix held dense at a time
_SHIFT = 1 / 8  # of an image's side, at level 1


def variant(X: Records, schema: Schema, *, level: float, rng: np.random.Generator, mirror: bool = False) -> Records:
    """Return records near those of X, in the same form.

    Parameters
    ----------
    X
        Records that fit the schema.
    schema
        Says of every column whether it is noised, flipped or drawn again.
    level
        In [0, 1]. A numeric column gets normal noise of ``level`` standard deviations of that column in X, and stays
        within the schema's range; whole numbers stay whole. A bit is flipped with probability ``level / 2``; a category
        is drawn again from those seen in X with probability ``level``. At 1 nothing is left of bits and categories.
        An image is shifted along either axis by up to ``level / 8`` of its side, the edge repeated, and gets the noise too.
    rng
        What is drawn from; the same state gives the same variant.
    mirror
        Whether images are mirrored left to right by a fair coin; not for digits or letters.
    """
    if schema.shape is not None:
        return _image(X, schema, level, rng, mirror)
    kind = kind_of(X)
    if kind == "sparse":
        rows = max(1, _DENSE // max(X.shape[1], 1))
        blocks = [X[start : start + rows].toarray() for start in range(0, X.shape[0], rows)]
        spread = _sparse_spread(X)
        return sparse.vstack(
            [sparse.csr_matrix(_numbers(block, schema.columns, spread, level, rng)) for block in blocks], format="csr"
        )
    if kind == "array" and X.dtype.kind != "O" and all(column.kind != "categorical" for column in schema.columns):
        return _numbers(X, schema.columns, X.std(axis=0, dtype=np.float64), level, rng)
    columns = []
    for i, column in enumerate(schema.columns):
        values = column_values(X, i)
        if column.kind in ("categorical", "text"):
            again = rng.random(len(values)) < level
            draws = values[rng.integers(0, len(values), len(values))]
            columns.append(np.where(again, draws, values).astype(values.dtype))
        else:
            numbers = values.astype(np.float64)[:, None]
            varied = _numbers(numbers, (column,), numbers.std(axis=0), level, rng)[:, 0]
            columns.append(varied.round() if _whole(values) else varied)
    return _like(X, columns)


def _numbers(
    X: NDArray[Any], columns: tuple[Column, ...], spread: NDArray[np.float64], level: float, rng: np.random.Generator
) -> NDArray[Any]:
    """Vary an (n, columns) matrix of numeric and binary columns."""
    binary = np.array([column.kind == "binary" for column in columns])
    if binary.all():
        return np.where(rng.random(X.shape) < level / 2, 1 - X, X).astype(X.dtype)
    low, high = (np.array([getattr(column, end) for column in columns], dtype=np.float64) for end in ("low", "high"))
    noisy = (X + rng.normal(size=X.shape) * (level * spread)).clip(np.minimum(low, X), np.maximum(high, X))
    if X.dtype.kind in "biu":
        noisy = noisy.round()
    if binary.any():
        noisy = np.where(binary, np.where(rng.random(X.shape) < level / 2, 1 - X, X), noisy)
    return noisy.astype(X.dtype)


def _image(X: NDArray[Any], schema: Schema, level: float, rng: np.random.Generator, mirror: bool) -> NDArray[Any]:
    n, (down, across) = len(X), _sides(X.shape)
    out = X
    for axis in (down, across):
        side = X.shape[axis]
        most = round(level * _SHIFT * side)
        steps = rng.integers(-most, most + 1, n)  # (n,)
        place = (np.arange(side) - steps[:, None]).clip(0, side - 1)  # (n, side)
        shape = [n if a == 0 else side if a == axis else 1 for a in range(X.ndim)]
        out = np.take_along_axis(out, place.reshape(shape), axis=axis)
    if mirror:
        coins = (rng.random(n) < 0.5).reshape([n] + [1] * (X.ndim - 1))
        out = np.where(coins, np.flip(out, axis=across), out)
    pixel = schema.columns[0]
    assert pixel.low is not None
    assert pixel.high is not None
    noisy = (out + rng.normal(size=X.shape) * (level * float(X.std(dtype=np.float64)))).clip(pixel.low, pixel.high)
    return (noisy.round() if X.dtype.kind in "biu" else noisy).astype(X.dtype)


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the axes of height and width of (n, ...) images; a last axis of at most four after a longer one is colour."""
    last = len(shape) - 1
    if last >= 3 and shape[last] <= 4 < shape[last - 2]:
        return last - 2, last - 1
    return last - 1, last


def _sparse_spread(X: Any) -> NDArray[np.float64]:
    mean = np.asarray(X.mean(axis=0), dtype=np.float64).ravel()
    square = np.asarray(X.astype(np.float64).power(2).mean(axis=0)).ravel()
    return np.asarray(np.sqrt((square - mean**2).clip(min=0)))


def _whole(values: NDArray[Any]) -> bool:
    if values.dtype.kind == "O":
        return all(isinstance(value, int | np.integer) for value in values.tolist())
    return values.dtype.kind in "biu"


def _like(X: Records, columns: list[NDArray[Any]]) -> Records:
    """Return the columns in the form of X, every column of the type it had."""
    kind = kind_of(X)
    if kind == "pandas":
        series = {name: sys.modules["pandas"].Series(values) for name, values in zip(X.columns, columns, strict=True)}
        return sys.modules["pandas"].DataFrame(series).astype(dict(X.dtypes))
    if kind == "polars":
        polars = sys.modules["polars"]
        return polars.DataFrame(
            [
                polars.Series(name, values.tolist(), strict=False).cast(X.schema[name])
                for name, values in zip(X.columns, columns, strict=True)
            ]
        )
    out = np.empty((n_records(X), len(columns)), dtype=X.dtype)
    for i, values in enumerate(columns):
        out[:, i] = values
    return out
