"""Domain: which values a record's features may take, and how a record of numbers becomes one the target takes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from miaudit.data import Column, Dataset, Schema
from miaudit.data.records import column_values, kind_of, n_records, take_records
from miaudit.errors import DataError, counted

Values = NDArray[Any]
"""(n, width) records as numbers: 0 or 1, a category's number from 0, or the value; uint8 where all columns are binary."""


@dataclass(frozen=True, eq=False)
class Domain:
    """The possible values of each feature: what an attacker knows of the input format.

    A binary feature is 0 or 1, a categorical one has its categories, a numeric one lies in [low, high], in whole numbers
    where the data hold no others. Images have one feature per pixel.

    Parameters
    ----------
    schema
        The columns.
    whole
        (width,) whether a numeric feature takes whole numbers only.
    like
        A few records in the form that the target takes.
    """

    schema: Schema
    whole: NDArray[np.bool_]  # (width,)
    like: Any = field(repr=False)

    @classmethod
    def of(cls, dataset: Dataset) -> Domain:
        """Return the domain of a data set's features: kinds and ranges from its schema, and which are whole."""
        schema, X = dataset.schema, dataset.X
        schema.require_complete("making records up")
        if schema.shape is not None:
            whole = np.full(schema.width, bool(X.dtype.kind in "biu" or (np.floor(X) == X).all()))
        elif schema.sparse:
            broken = X.indices[X.data != np.floor(X.data)]
            whole = np.bincount(broken, minlength=schema.width) == 0
        else:
            whole = np.array([_is_whole(X, i, column) for i, column in enumerate(schema.columns)], dtype=bool)
        return cls(schema, whole, take_records(X, np.arange(min(1, n_records(X)))))

    @property
    def width(self) -> int:
        """Number of features of one record."""
        return self.schema.width

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """One column per feature; the pixels of an image are alike."""
        return self.schema.columns * self.width if self.schema.shape is not None else self.schema.columns

    @cached_property
    def binary(self) -> NDArray[np.bool_]:
        """Whether each feature is 0 or 1; (width,)."""
        return np.array([column.kind == "binary" for column in self.columns])

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of `Values`."""
        return np.dtype(np.uint8 if self.binary.all() else np.float64)

    @cached_property
    def _low(self) -> NDArray[np.float64]:
        return np.array([column.low or 0.0 for column in self.columns])  # categories count from 0

    @cached_property
    def _high(self) -> NDArray[np.float64]:
        return np.array([_highest(column) for column in self.columns])

    @cached_property
    def _stepped(self) -> NDArray[np.bool_]:
        """Features of finitely many values: binary, categories, whole numbers."""
        return np.array([column.kind != "numeric" for column in self.columns]) | self.whole

    def uniform(self, feature: NDArray[np.integer[Any]], u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values uniform over the possible ones of each feature, from numbers uniform on [0, 1)."""
        low, high = self._low[feature], self._high[feature]
        stepped = low + np.floor(u * (high - low + 1))
        draws = np.where(self._stepped[feature], stepped, low + u * (high - low))
        return np.asarray(np.minimum(draws, high))

    def changed(
        self, feature: NDArray[np.integer[Any]], u: NDArray[np.float64], old: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Return a proposal's values as the paper's Algorithm 1 changes them: binary flipped, others drawn anew."""
        return np.where(self.binary[feature], 1.0 - old, self.uniform(feature, u))

    def other(
        self, feature: NDArray[np.integer[Any]], u: NDArray[np.float64], old: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Return values uniform over all possible ones but the old; the old one where there is no other."""
        low, high, stepped = self._low[feature], self._high[feature], self._stepped[feature]
        steps = np.floor(u * (high - low))  # one value fewer to choose from
        skipped = np.minimum(low + steps + (low + steps >= old), high)
        return np.where(stepped, np.where(high > low, skipped, old), self.uniform(feature, u))

    def values(self, X: Any) -> Values:
        """Return records as numbers.

        Raises
        ------
        DataError
            If they are not of the schema.
        """
        self.schema.check(X)
        if self.schema.shape is not None:
            return np.asarray(X.reshape(n_records(X), -1)).astype(self.dtype)
        if kind_of(X) == "sparse":
            return np.asarray(X.toarray()).astype(self.dtype)
        if isinstance(X, np.ndarray) and X.dtype.kind != "O" and not self._coded:
            return X.astype(self.dtype)
        out = np.empty((n_records(X), self.width), dtype=self.dtype)  # (n, width)
        for i, column in enumerate(self.columns):
            cells = column_values(X, i)
            if column.kind == "categorical":
                number = {value: code for code, value in enumerate(column.values or ())}
                cells = np.array([number[value] for value in cells.tolist()], dtype=np.float64)
            out[:, i] = cells
        return out

    def records(self, values: Values) -> Any:
        """Return numbers as records in the form that the target takes.

        Raises
        ------
        DataError
            If their width is not the domain's.
        """
        if values.ndim != 2 or values.shape[1] != self.width:
            raise DataError(
                f"records of {counted(self.width, 'feature')} are expected, got values of shape {values.shape}"
            )
        like = self.like
        if self.schema.shape is not None:
            return values.reshape(len(values), *self.schema.shape).astype(like.dtype)
        form = kind_of(like)
        if form == "sparse":
            return type(like)(sparse.csr_array(values.astype(like.dtype)))
        if form == "array" and like.dtype.kind != "O":
            if not self._coded:
                return values.astype(like.dtype, copy=False)
            return np.stack([self._cells(values[:, i], i) for i in range(self.width)], axis=1).astype(like.dtype)
        if form == "array":
            table = np.empty(values.shape, dtype=object)
            for i in range(self.width):
                table[:, i] = self._cells(values[:, i], i)
            return table
        frames = sys.modules[form]  # pandas or polars: the caller's records are of it
        names = [column.name for column in self.columns]
        cells = {name: self._cells(values[:, i], i) for i, name in enumerate(names)}
        if form == "pandas":
            return frames.DataFrame(cells).astype(dict(zip(names, like.dtypes, strict=True)))
        return frames.DataFrame({name: cells[name].tolist() for name in names}).cast(dict(like.schema))

    @cached_property
    def _coded(self) -> bool:
        """Whether some category does not stand in the records as its own number."""
        return any(
            column.values is not None and column.values != tuple(float(code) for code in range(len(column.values)))
            for column in self.columns
        )

    def _cells(self, numbers: NDArray[Any], i: int) -> NDArray[Any]:
        column = self.columns[i]
        if column.kind != "categorical":
            return numbers
        choices = np.empty(len(column.values or ()), dtype=object)
        choices[:] = list(column.values or ())
        cells: NDArray[Any] = choices[numbers.astype(np.int64)]
        return cells

    def names(self) -> list[str]:
        """Return a name for each feature."""
        if self.schema.shape is not None:
            return [f"x{i}" for i in range(self.width)]
        return [column.name for column in self.columns]


def _is_whole(X: Any, i: int, column: Column) -> bool:
    if column.kind == "categorical":
        return True
    cells = column_values(X, i).astype(np.float64)
    return bool((cells == np.floor(cells)).all())


def _highest(column: Column) -> float:
    if column.kind == "categorical":
        return float(len(column.categories or ("",)) - 1)
    return 1.0 if column.high is None else column.high
