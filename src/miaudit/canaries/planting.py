"""Make canaries of a user's records, flip a coin for each, and put together the training data."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.data.cells import is_missing
from miaudit.data.dataset import Dataset
from miaudit.data.records import Records, column_names, column_values, kind_of, stack_records
from miaudit.errors import DataError, counted, misfits, not_real, not_whole, refuse
from miaudit.seeds import generator

Kind = Literal["mislabelled", "out-of-distribution", "duplicated"]
Signal = Literal["phi", "loss"]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Canaries:
    """What canaries to plant, and all that must be fixed before a score is seen.

    Parameters
    ----------
    count
        Number of canaries; about half of them will be trained on.
    kind
        ``"mislabelled"``: a record with another class than its own, drawn evenly. ``"out-of-distribution"``: a record whose
        every value comes from another record, with a class drawn evenly. ``"duplicated"``: an ordinary record.
    copies
        How often an included canary stands in the training data; None: 10 for duplicated ones, else 1. The bound is then
        on what these copies give away together.
    guesses_in, guesses_out
        For how many of the highest and lowest scores the audit will guess; None: a tenth of the canaries each.
    signal
        Score of a canary: ``"phi"`` (logit-scaled confidence) or ``"loss"`` (its negative). Of a model that answers labels
        alone: whether the canary's class is answered.
    delta, confidence
        Of the bound.
    delete
        Whether the included canaries are deleted again after the training, all of them, so that the bound is on what the
        deletion leaves of them.
    """

    count: int = 1000
    kind: Kind = "mislabelled"
    copies: int | None = None
    guesses_in: int | None = None
    guesses_out: int | None = None
    signal: Signal = "phi"
    delta: float = 1e-5
    confidence: float = 0.95
    delete: bool = False

    def __post_init__(self) -> None:
        problems = misfits(("kind", self.kind, Kind), ("signal", self.signal, Signal))
        fewest = "; 1000 canaries can show an epsilon up to 4"
        problems += [(path, text + fewest) for path, text in not_whole(("count", self.count), least=10)]
        problems += not_whole(("copies", self.copies), optional=True)
        guesses = ("guesses_in", self.guesses_in), ("guesses_out", self.guesses_out)
        uncounted = not_whole(*guesses, least=0, optional=True)
        problems += uncounted
        both = (self.guesses_in, self.guesses_out)
        countable = both != (None, None) and not uncounted and not not_whole(("count", self.count))
        if countable and not 1 <= self.k_in + self.k_out <= self.count:
            problems.append(
                ("guesses", f"must be at least 1 and at most the {self.count} canaries in all; "
                 f"got {self.k_in} + {self.k_out}")
            )  # fmt: skip
        problems += not_real(("delta", self.delta), least=0, below=1)
        problems += not_real(("confidence", self.confidence), above=0, below=1)
        refuse(problems)

    @property
    def times(self) -> int:
        """How often an included canary stands in the training data."""
        return self.copies if self.copies is not None else 10 if self.kind == "duplicated" else 1

    @property
    def k_in(self) -> int:
        """Number of guesses "in"."""
        return self.count // 10 if self.guesses_in is None else self.guesses_in

    @property
    def k_out(self) -> int:
        """Number of guesses "out"."""
        return self.count // 10 if self.guesses_out is None else self.guesses_out


@dataclass(frozen=True, eq=False)
class Planted:
    """Training data with canaries in it, all canaries, and the coin of each.

    ``training`` is to be trained on, all of it, once. ``canaries`` are all m of them, ``inside`` (m,) says which were
    included. ``ordinary`` counts the records of ``training`` that are no canaries.
    """

    options: Canaries
    training: Dataset
    canaries: Dataset
    inside: Bools  # (m,)
    ordinary: int
    seed: int

    @property
    def of_records(self) -> NDArray[np.int64]:
        """Positions in ``training`` of the records it was planted among; they do not depend on the coins."""
        return np.flatnonzero(_order(len(self.training), self.seed) < self.ordinary)

    @property
    def of_canaries(self) -> NDArray[np.int64]:
        """Positions in ``training`` of the included canaries, with their copies: what a deletion takes out again."""
        return np.setdiff1d(np.arange(len(self.training)), self.of_records)


def plant(
    records: Dataset, options: Canaries | None = None, *, sources: Dataset | None = None, seed: int | None = None
) -> Planted:
    """Make canaries, include each by a fair coin of its own, and shuffle them into the training data.

    Parameters
    ----------
    records
        What is to be trained on.
    options
        What canaries; mislabelled ones, 1000, unless given.
    sources
        Records of the same kind to make canaries of. Without them canaries are made of some of ``records``, which are then
        trained on as canaries or not at all.
    seed
        Of all draws; drawn from the system's entropy unless given. Use every seed for one training only: the coins of a
        second one would be the same.

    Raises
    ------
    DataError
        If there are fewer records than canaries, the sources are of another kind, or all coins fall on one side.
    """
    options = options or Canaries()
    seed = secrets.randbits(31) if seed is None else seed
    records = records.in_memory()  # all of it is written into the folder
    pool = records if sources is None else sources.in_memory()
    if pool.classes != records.classes or pool.schema.shape != records.schema.shape:
        raise DataError(
            "the sources of canaries have other classes or columns than the records; give records of one kind"
        )
    if records.schema.texts or any(column.kind in ("time", "text") for column in records.schema.columns):
        raise DataError(
            "canaries are kept in tables of numbers and categories, and these records hold texts alone or times; "
            "leave such columns out"
        )
    if len(pool) < options.count or (sources is None and len(pool) == options.count):
        raise DataError(
            f"{counted(options.count, 'canary', 'canaries')} cannot be made of {counted(len(pool), 'record')}"
            f"{', which are trained on too' if sources is None else ''}; plant fewer, or give more records"
        )
    positions = generator(seed, "canary sources").permutation(len(pool))[: options.count]
    canaries = _made(pool.take(positions), options.kind, generator(seed, "canaries"))
    inside = coins(options.count, seed)
    check_coins(inside)
    rest = records if sources is not None else records.take(np.setdiff1d(np.arange(len(records)), positions))
    planted = np.repeat(np.flatnonzero(inside), options.times)
    order = _order(len(rest) + len(planted), seed)
    together = replace(
        rest,
        X=stack_records([rest.X, canaries.take(planted).X]),
        y=np.concatenate([rest.y, canaries.y[planted]]),
        ids=None,
        groups=None,
        group_name=None,
        _hashes={},
    )
    return Planted(options, together.take(order), canaries, inside, len(rest), seed)


def _order(count: int, seed: int) -> NDArray[np.int64]:
    return generator(seed, "order").permutation(count)


def coins(count: int, seed: int) -> Bools:
    """Return (count,) independent fair coins."""
    return np.asarray(generator(seed, "coins").random(count) < 0.5)


def check_coins(inside: Bools) -> None:
    """Refuse coins that tell nothing.

    Raises
    ------
    DataError
        If all of them fell on one side.
    """
    if inside.all() or not inside.any():
        raise DataError(f"all {len(inside)} coins fell on one side; plant again with another seed")


def _made(sources: Dataset, kind: Kind, rng: np.random.Generator) -> Dataset:
    n, classes = len(sources), len(sources.classes)
    plain = replace(sources, ids=None, groups=None, group_name=None, _hashes={})
    if kind == "duplicated":
        return plain
    if kind == "mislabelled":
        return replace(plain, y=(plain.y + rng.integers(1, classes, n)) % classes, _hashes={})
    return replace(plain, X=_columns_shuffled(plain.X, rng), y=rng.integers(0, classes, n), _hashes={})


def _columns_shuffled(X: Records, rng: np.random.Generator) -> Records:
    """Return records whose every value comes from a record drawn for that column alone."""
    kind, n = kind_of(X), X.shape[0]
    if kind == "array":
        flat: NDArray[Any] = X.reshape(n, -1)
        return rng.permuted(flat, axis=0).reshape(X.shape)
    if kind == "sparse":
        return type(X)(rng.permuted(X.toarray(), axis=0))
    orders = [rng.permutation(n) for _ in range(X.shape[1])]
    if kind == "pandas":
        series = [X.iloc[order, i].reset_index(drop=True) for i, order in enumerate(orders)]
        return sys.modules["pandas"].concat(series, axis=1)
    return X.select(
        [X.to_series(i)[order].alias(name) for i, (order, name) in enumerate(zip(orders, X.columns, strict=True))]
    )


def as_table(dataset: Dataset, label: str) -> tuple[list[str], list[list[Any]]]:
    """Return the header and the columns of a data set as plain values, the class by name in the last."""
    columns: list[list[Any]] = []
    for i, column in enumerate(dataset.schema.columns):
        values = column_values(dataset.X, i)
        if column.categories is not None and column_names(dataset.X) is None and values.dtype.kind != "O":
            columns.append(["" if code != code else column.categories[int(code)] for code in values])
            continue
        cells = values.tolist()
        if odd := {cell for cell in set(cells) if isinstance(cell, str) and is_missing(cell)}:
            raise DataError(
                f"column {column.name!r} holds the text {min(odd)!r}, which is read from a table as a missing value; replace it"
            )
        columns.append(["" if cell is None or cell != cell else cell for cell in cells])
    columns.append([dataset.classes[code] for code in dataset.y])
    return [*(column.name for column in dataset.schema.columns), label], columns
