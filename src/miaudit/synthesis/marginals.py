"""Records drawn from population statistics: every feature on its own, by its marginal (Shokri et al. 2017, V-C).

A table of marginals is a JSON file that a person can write by hand::

    {"shares":    {"yes": 0.24, "no": 0.76},
     "marginals": {"yes": {"married": 0.85, "sector": {"private": 0.7, "state": 0.3}, "age": [17, 36, 43, 51, 90]},
                   "no":  {...}}}

A binary column has the share of ones; a categorical one a share for each category (those left out are 0); a numeric one
its quantiles at equal steps, from the least to the largest value. One table for all classes stands under ``"all"``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data import Column, Dataset
from miaudit.errors import DataError, PlanError, is_number
from miaudit.files import read_json
from miaudit.synthesis.domain import Domain, Values

ALL = "all"

_QUANTILES = 101  # of a numeric column: steps of 1 %
_SUM = 1e-6  # how far shares may be from summing to one


@dataclass(frozen=True, eq=False)
class Marginals:
    """Marginals of every feature, in each class or over all classes.

    Parameters
    ----------
    domain
        The features.
    classes
        Class names in order.
    shares
        (classes,) share of each class.
    tables
        For each feature (groups, ...): shares of ones (groups, 1), shares of the categories (groups, categories), or
        quantiles (groups, q). One group per class, or a single one for all.
    """

    domain: Domain
    classes: tuple[str, ...]
    shares: NDArray[np.float64]
    tables: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(cls, dataset: Dataset, domain: Domain, *, by_class: bool) -> Marginals:
        """Return the marginals of a data set's records; those of a class without records are those of all."""
        values = domain.values(dataset.X)
        counts = np.bincount(dataset.y, minlength=len(dataset.classes))
        groups = [np.flatnonzero(dataset.y == c) for c in range(len(counts))] if by_class else []
        everyone = np.arange(len(values))
        groups = [rows if len(rows) else everyone for rows in groups] or [everyone]
        tables = tuple(
            np.stack([_measured(values[rows, i], column, bool(domain.whole[i])) for rows in groups])
            for i, column in enumerate(domain.columns)
        )
        return cls(domain, dataset.classes, counts / counts.sum(), tables)

    @classmethod
    def load(cls, path: str | Path, domain: Domain, classes: tuple[str, ...], *, by_class: bool) -> Marginals:
        """Read a table of marginals.

        Raises
        ------
        DataError
            If the file cannot be read as JSON.
        PlanError
            Listing everything in it that does not fit the columns and classes.
        """
        path = Path(path)
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"the table of marginals {path} cannot be read as JSON: {error}") from error
        if not isinstance(content, dict) or not isinstance(content.get("marginals"), dict):
            raise DataError(f'{path} has no object "marginals"; see the form in docs/synthesis.md')
        problems: list[tuple[str, str]] = []
        shares = _shares(content.get("shares", {}), classes, problems)
        parts = classes if by_class else (ALL,)
        unknown = [name for name in content["marginals"] if name not in (*classes, ALL)]
        problems += [(f"marginals.{name}", f"no such class; there are {', '.join(classes[:10])}") for name in unknown]
        rows = []
        for name, share in zip(parts, shares if by_class else [1.0], strict=True):
            table = content["marginals"].get(name)
            if table is None and share == 0 and by_class:
                table = {column.name: _placeholder(column) for column in domain.columns}
            if not isinstance(table, dict):
                problems.append((f"marginals.{name}", "missing: an object with an entry for each column"))
                continue
            rows.append(_read(table, domain, f"marginals.{name}", problems))
        if problems:
            raise PlanError([(f"{path}: {where}", text) for where, text in problems])
        width = [max(len(row[i]) for row in rows) for i in range(domain.width)]
        tables = (np.stack([_resampled(row[i], width[i]) for row in rows]) for i in range(domain.width))
        return cls(domain, classes, shares, tuple(tables))

    def to_json(self) -> str:
        """Return the table as JSON text, which `load` reads."""
        names = self.classes if len(self.tables[0]) == len(self.classes) else (ALL,)
        features = list(zip(self.domain.names(), self.domain.columns, self.tables, strict=True))
        content = {
            "shares": dict(zip(self.classes, self.shares.tolist(), strict=True)),
            "marginals": {
                name: {feature: _written(table[group], column) for feature, column, table in features}
                for group, name in enumerate(names)
            },
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Values, NDArray[np.int64] | None]:
        """Return n records as numbers, and their classes, drawn by their shares; None where marginals are of all."""
        by_class = len(self.tables[0]) > 1
        y = rng.choice(len(self.classes), n, p=self.shares).astype(np.int64)
        group = y if by_class else np.zeros(n, dtype=np.int64)
        values = np.empty((n, self.domain.width), dtype=self.domain.dtype)
        for i, (column, table) in enumerate(zip(self.domain.columns, self.tables, strict=True)):
            u = rng.random(n)
            if column.kind == "binary":
                values[:, i] = u < table[group, 0]
            elif column.kind == "categorical":
                values[:, i] = (u[:, None] >= table.cumsum(axis=1)[group, :-1]).sum(axis=1)
            else:
                values[:, i] = _quantile(table, group, u, whole=bool(self.domain.whole[i]))
        return values, y if by_class else None


def _measured(values: NDArray[Any], column: Column, whole: bool) -> NDArray[np.float64]:
    if column.kind == "binary":
        return np.array([values.mean()])
    if column.kind == "categorical":
        counts = np.bincount(values.astype(np.int64), minlength=len(column.categories or ()))
        return np.asarray(counts / counts.sum())
    steps = np.linspace(0, 1, _QUANTILES)
    return np.asarray(np.quantile(values, steps, method="nearest" if whole else "linear"), dtype=np.float64)


def _quantile(
    table: NDArray[np.float64], group: NDArray[np.int64], u: NDArray[np.float64], *, whole: bool
) -> NDArray[np.float64]:
    place = u * (table.shape[1] - 1)
    if whole:
        return np.asarray(np.rint(table[group, np.rint(place).astype(np.int64)]))
    before = np.minimum(place.astype(np.int64), table.shape[1] - 2)
    low, high = table[group, before], table[group, before + 1]
    return np.asarray(np.minimum(low + (place - before) * (high - low), high))


def _shares(table: Any, classes: Sequence[str], problems: list[tuple[str, str]]) -> NDArray[np.float64]:
    if not table:
        return np.full(len(classes), 1 / len(classes))
    return _distribution(table, classes, "shares", "class", problems)


def _distribution(
    table: Any, names: Sequence[str], where: str, what: str, problems: list[tuple[str, str]]
) -> NDArray[np.float64]:
    """Return the shares of ``names`` in an object, 0 where left out."""
    out = np.zeros(len(names))
    if not isinstance(table, Mapping):
        problems.append((where, f"got {table!r}; expected an object with a share for each {what}"))
        return out
    unknown = [name for name in table if name not in names]
    if unknown:
        problems.append((where, f"no {what} is called {unknown[0]!r}; there are {', '.join(names[:10])}"))
        return out
    wrong = {name: share for name, share in table.items() if not is_number(share) or not 0 <= share <= 1}
    if wrong:
        name, share = next(iter(wrong.items()))
        problems.append((f"{where}.{name}", f"got {share!r}; a share is a number from 0 to 1"))
        return out
    for name, share in table.items():
        out[names.index(name)] = share
    if abs(out.sum() - 1) > _SUM:
        problems.append((where, f"the shares sum to {out.sum():.6g}; they must sum to 1"))
        return out
    return np.asarray(out / out.sum())


def _read(
    table: Mapping[str, Any], domain: Domain, where: str, problems: list[tuple[str, str]]
) -> list[NDArray[np.float64]]:
    names = domain.names()
    known_names = set(names)
    problems += [(f"{where}.{name}", "no such column in the data") for name in table if name not in known_names]
    columns = []
    for name, column in zip(names, domain.columns, strict=True):
        path, entry = f"{where}.{name}", table.get(name)
        row = np.zeros(1)
        if entry is None:
            problems.append((path, "missing: every column needs its marginal"))
        elif column.kind == "binary":
            if not is_number(entry) or not 0 <= entry <= 1:
                problems.append((path, f"got {entry!r}; a binary column has the share of ones, from 0 to 1"))
            else:
                row = np.array([float(entry)])
        elif column.kind == "categorical":
            row = _distribution(entry, column.categories or (), path, "category", problems)
        else:
            row = _quantiles(entry, column, path, problems)
        columns.append(row)
    return columns


def _quantiles(table: Any, column: Column, path: str, problems: list[tuple[str, str]]) -> NDArray[np.float64]:
    if not isinstance(table, list) or len(table) < 2 or not all(map(is_number, table)) or sorted(table) != table:
        problems.append((path, f"got {str(table)[:60]}; a numeric column has two or more quantiles in rising order"))
        return np.zeros(2)
    low, high = column.low or 0.0, column.high or 0.0
    if table[0] < low or table[-1] > high:
        problems.append((path, f"quantiles run from {table[0]} to {table[-1]}, outside the range {low} to {high}"))
    return np.array(table, dtype=np.float64)


def _resampled(row: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return quantiles at as many equal steps as the longest row of the column has; shares have one length anyhow."""
    if len(row) == width:
        return row
    return np.asarray(np.interp(np.linspace(0, 1, width), np.linspace(0, 1, len(row)), row))


def _placeholder(column: Column) -> Any:
    """Return some marginal for a class of share 0, which is never drawn."""
    if column.kind == "binary":
        return 0.0
    if column.kind == "categorical":
        return {(column.categories or ("",))[0]: 1.0}
    return [column.low, column.high]


def _written(row: NDArray[np.float64], column: Column) -> Any:
    if column.kind == "binary":
        return float(row[0])
    if column.kind == "categorical":
        return dict(zip(column.categories or (), row.tolist(), strict=True))
    return row.tolist()
