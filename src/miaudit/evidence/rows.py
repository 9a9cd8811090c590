"""What evidence is made of: answers, held or read one model at a time, and what may stand beside those to audited records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import DataError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ROWS, _NUMBERS = 1 << 15, 1 << 22  # of a block, at most: 32 MB in float64


def blocks(n: int, width: int) -> Iterator[slice]:
    """Yield slices of n rows of so many numbers each: as many rows as may be held in float64 at a time, and one at least.

    Answers of a whole pool of shadow models may be gigabytes, and a row of them 10,000 classes.
    """
    rows = max(1, min(_ROWS, _NUMBERS // max(1, width)))
    return (slice(start, start + rows) for start in range(0, n, rows))


@dataclass(frozen=True, eq=False)
class Answers:
    """(m, r, c) answers that are had one model at a time, each time anew; ``numpy.asarray`` holds them all at once.

    Parameters
    ----------
    read
        One function per model, which returns its (r, c) answers, all of them finite.
    rows, classes
        r and c.
    """

    read: tuple[Callable[[], Floats], ...]
    rows: int
    classes: int

    ndim = 3
    dtype = np.dtype(np.float32)  # in which they are held

    @property
    def shape(self) -> tuple[int, int, int]:
        """(m, r, c)."""
        return len(self.read), self.rows, self.classes

    def __len__(self) -> int:
        return len(self.read)

    def __iter__(self) -> Iterator[Floats]:
        return (read() for read in self.read)

    def __getitem__(self, model: int) -> Floats:
        return self.read[model]()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for place, rows in zip(whole, self, strict=True):
            place[:] = rows
        return whole


def some_models(models: Floats | Answers, index: Ints) -> Answers:
    """Return some of the models; nothing is copied."""
    every = range(len(models))
    rows = models.read if isinstance(models, Answers) else [partial(models.__getitem__, int(i)) for i in every]
    return Answers(tuple(rows[i] for i in index), models.shape[1], models.shape[2])


@dataclass(frozen=True, eq=False)
class Population:
    """Answers on records that are not audited and that no model here was trained on.

    Parameters
    ----------
    target
        (p, c) probabilities of the target.
    labels
        (p,) true classes.
    shadows
        (m, p, c) probabilities of the shadows, in the order of the evidence's, or `Answers`; None if they were not asked.
    features
        (p, ...) numbers the records consist of, as in the evidence; None if not at hand.
    """

    target: Floats  # (p, c)
    labels: Ints  # (p,)
    shadows: Floats | Answers | None = None  # (m, p, c)
    features: NDArray[Any] | None = None  # (p, ...)


@dataclass(frozen=True, eq=False)
class Variants:
    """Answers on q variants of every audited record, such as its mirror image or a noisy copy.

    Parameters
    ----------
    target
        (q, n, c) probabilities of the target.
    shadows
        (q, m, n, c) probabilities of the shadows on the same variants.
    """

    target: Floats  # (q, n, c)
    shadows: Floats  # (q, m, n, c)


@dataclass(frozen=True, eq=False)
class Probes:
    """What came of many questions about each record, of which only the labels were heeded.

    Parameters
    ----------
    votes
        (n, q) bool: was the target's label of variant q of the audited record right.
    distances
        (n,) distance from the audited record to the target's nearest change of label; 0 where it is answered wrongly.
    shadow_votes, shadow_distances
        (m, r, q) and (m, r): the same of the shadows, about the records of the evidence's rows.
    queries
        Questions put to the target in all.
    """

    votes: Bools | None = None  # (n, q)
    distances: Floats | None = None  # (n,)
    shadow_votes: Bools | None = None  # (m, r, q)
    shadow_distances: Floats | None = None  # (m, r)
    queries: int = 0

    def beside(self, other: Probes) -> Probes:
        """Return what came of these questions and of others of another kind; where both are of one kind, that of the others."""
        names = ("votes", "distances", "shadow_votes", "shadow_distances")
        both = {name: getattr(other if getattr(other, name) is not None else self, name) for name in names}
        return Probes(**both, queries=self.queries + other.queries)

    def of_shadows(self, index: Ints) -> Probes:
        """Return what came of the target's questions, and of those to some of the shadows."""
        votes, distances = self.shadow_votes, self.shadow_distances
        return replace(
            self,
            shadow_votes=None if votes is None else votes[index],
            shadow_distances=None if distances is None else distances[index],
        )

    @property
    def answers(self) -> NDArray[Any]:
        """The target's votes, or distances where there are no votes."""
        values = self.distances if self.votes is None else self.votes
        if values is None:
            raise DataError("these probes hold neither votes nor distances of the target")
        return values
