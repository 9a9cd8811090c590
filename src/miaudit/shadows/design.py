"""Which records each shadow model is trained on and asked about, decided before anything is trained.

The disjoint design of Shokri et al. 2017, section V: every shadow draws a training set and a test set of the same
size from the population, which shares no record with the target's. Sets of one shadow are disjoint; different shadows
may overlap. A draw belongs to its shadow's number and the seed, not to how many shadows there are, so that adding
shadows keeps those already trained.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import SplitError
from miaudit.seeds import generator

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Draws:
    """Record numbers of every shadow's training and test set.

    Parameters
    ----------
    train, test
        (m, n_train) and (m, n_test) record numbers.
    """

    train: Ints  # (m, n_train)
    test: Ints  # (m, n_test)

    @property
    def sha256(self) -> str:
        """Hash of all draws, in order."""
        digest = hashlib.sha256(np.ascontiguousarray(self.train, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(self.test, dtype="<i8").tobytes())
        return digest.hexdigest()


def draw_disjoint(
    population: Ints, *, shadows: int, train: int, test: int, seed: int, groups: NDArray[Any] | None = None
) -> Draws:
    """Draw each shadow's training and test set from the population.

    Parameters
    ----------
    population
        (p,) record numbers the shadows may use.
    shadows, train, test
        How many shadows, and the sizes of their two sets.
    groups
        (n_records,) group of every record of the data set; then a group lands on one side of a shadow only.

    Raises
    ------
    SplitError
        If the population is too small; the message says what would fit.
    """
    if len(population) < train + test:
        raise SplitError(
            f"a shadow needs {train} training and {test} test records, {train + test} in all; the population has "
            f"{len(population)}: at most {len(population) // 2} of each fit. Lower shadows.train and shadows.test, or "
            "members and nonmembers"
        )
    trains, tests = [], []
    for shadow in range(shadows):
        rng = generator(seed, "draw", shadow)
        if groups is None:
            chosen = rng.permutation(population)[: train + test]
            trains.append(chosen[:train])
            tests.append(chosen[train:])
        else:
            one, two = _by_group(population, groups[population], train, test, rng)
            trains.append(one)
            tests.append(two)
    return Draws(np.stack(trains).astype(np.int64), np.stack(tests).astype(np.int64))


def _by_group(
    population: Ints, groups: NDArray[Any], train: int, test: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    # Whole groups are dealt in random order: to the training set until it is full, then to the test set. The group
    # that fills a set may be cut, and its remaining records are then used by neither side.
    _, number = np.unique(groups, return_inverse=True)  # (p,)
    rank = rng.permutation(number.max() + 1)[number]
    order = np.lexsort((rng.random(len(population)), rank))
    ranks = rank[order]
    first_test = int(np.searchsorted(ranks, ranks[train - 1], side="right"))
    if len(population) - first_test < test:
        raise SplitError(
            f"with whole groups on one side, {train} training records leave {len(population) - first_test} for a test "
            f"set of {test}; lower shadows.train and shadows.test"
        )
    return population[order[:train]], population[order[first_test : first_test + test]]
