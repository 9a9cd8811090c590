"""Which records each shadow model is trained on and asked about, decided before anything is trained.

*Disjoint*, Shokri et al. 2017, section V: every shadow draws a training set and a test set of the same size from the
population, which shares no record with the target's. Sets of one shadow are disjoint; different shadows may overlap.

*Overlapping*, as the online forms of LiRA and RMIA want it: every shadow is trained on a random half of the audited
records, topped up from the population, and tested on the other half and further records of the population.

Either way every shadow also answers all audited records, and a draw belongs to its shadow's number and the seed, not to
how many shadows there are, so that adding shadows keeps those already trained.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.data.room import require_room
from miaudit.errors import SplitError, counted
from miaudit.seeds import generator

Design = Literal["disjoint", "overlapping"]
Ints = NDArray[np.int64]

_LEAST_APART = 100  # records set apart that are worth more than the same number drawn from all


def _none() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Draws:
    """Record numbers of every shadow's training and test set, and of what all shadows are asked about besides.

    Parameters
    ----------
    train, test
        (m, n_train) and (m, n_test) record numbers.
    audited
        (n,) the audited records, which every shadow answers.
    aside
        (p,) records of the population that no shadow is trained on and every shadow answers.
    design
        ``"disjoint"``: no audited record is in any ``train`` or ``test``; ``"overlapping"``: in every shadow each audited
        record is in one of the two.
    own
        Whether shadows answer records of their own beside.
    """

    train: Ints  # (m, n_train)
    test: Ints  # (m, n_test)
    audited: Ints = field(default_factory=_none)  # (n,)
    aside: Ints = field(default_factory=_none)  # (p,)
    design: Design = "disjoint"
    own: bool = True

    @cached_property
    def asked(self) -> Ints:
        """(m, r) record numbers of the shadows' rows: audited, then their own that are not audited, then aside."""
        if not self.own:
            every = np.concatenate([self.audited, self.aside])
            return np.broadcast_to(every, (len(self.train), len(every)))
        own = np.concatenate([self.train, self.test], axis=1)
        if self.design == "overlapping":
            own = own[~np.isin(own, self.audited)].reshape(len(own), -1)
        audited, aside = (np.broadcast_to(each, (len(own), len(each))) for each in (self.audited, self.aside))
        return np.concatenate([audited, own, aside], axis=1)

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """(m, r) was the record of this row in the shadow's training set."""
        rows = [np.isin(records, train) for records, train in zip(self.asked, self.train, strict=True)]
        return np.array(rows, bool).reshape(self.asked.shape)

    @property
    def sha256(self) -> str:
        """Hash of all draws, in order."""
        digest = hashlib.sha256()
        for numbers in (self.train, self.test, self.audited, self.aside):
            digest.update(np.ascontiguousarray(numbers, dtype="<i8").tobytes())
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
    DataError
        If memory does not hold the draws.
    """
    if len(population) < train + test:
        raise SplitError(
            f"a shadow needs {train:,} training and {test:,} test records, {train + test:,} in all; the population has "
            f"{len(population):,}: at most {len(population) // 2:,} of each fit. Lower shadows.train and shadows.test, or "
            "members and nonmembers"
        )
    require_room(8 * shadows * len(population), f"draws of {shadows:,} shadow models")
    trains, tests = [], []
    for shadow in range(shadows):
        rng = generator(seed, "draw", shadow)
        if groups is None:
            sample = rng.permutation(population)[: train + test]
            trains.append(sample[:train])
            tests.append(sample[train:])
        else:
            one, two = _by_group(population, groups[population], train, test, rng)
            trains.append(one)
            tests.append(two)
    sizes = zip((trains, tests), (train, test), strict=True)  # also of no shadow models
    of_training, of_test = (np.array(sets, np.int64).reshape(shadows, size) for sets, size in sizes)
    return Draws(of_training, of_test)


def draw_overlapping(
    audited: Ints,
    population: Ints,
    *,
    shadows: int,
    train: int,
    test: int,
    seed: int,
    groups: NDArray[Any] | None = None,
) -> Draws:
    """Draw each shadow's training set: a random half of the audited records, and as many of the population as are missing.

    The test set is the other half, topped up likewise. The half has a fixed size and is drawn for each shadow anew, so
    how often a record is inside tells nothing of its membership in the target; where every record is inside *exactly*
    half of the models, target included, the counts alone give members away (the AUC of an attack on nothing is 0.43 with
    8 models).

    Parameters
    ----------
    audited, population
        (n,) and (p,) record numbers, none in both.
    shadows
        How many.
    train
        Size of a training set; where it is below half of the audited records, all of it is audited.
    test
        Size of a test set; it grows as far as the audited records left outside need it.
    groups
        (n_records,) group of every record of the data set; then a group lands on one side of a shadow only. Groups are
        taken in random order while they fit, so a few records fewer than half may be inside; the population fills up.

    Raises
    ------
    SplitError
        If the population is too small to fill the sets, or no group fits into a training set.
    DataError
        If memory does not hold the draws.
    """
    n = len(audited)
    most = min(n // 2, train)
    test, need = overlapping_sizes(audited, train=train, test=test, groups=groups)
    if len(population) < need:
        raise SplitError(
            f"a shadow's {train:,} training and {test:,} test records hold the {n:,} audited ones and {need:,} of the "
            f"population, which has {len(population):,}. Lower shadows.train and shadows.test"
        )
    require_room(8 * shadows * (train + test), f"draws of {shadows:,} shadow models")
    trains, tests = [], []
    for shadow in range(shadows):
        rng = generator(seed, "draw", shadow)
        inside = whole_groups(n, None if groups is None else groups[audited], most, rng)  # (n,)
        k = int(inside.sum())
        if not k:
            raise SplitError(
                f"no whole group of audited records fits into half of them, or into shadows.train = {train}: the overlapping "
                'design cannot be drawn. Use shadows.design = "disjoint", or split.by_group = false'
            )
        further = (train - k, test - (n - k))
        if groups is None:
            sample = rng.permutation(population)[:need]
            one, two = sample[: further[0]], sample[further[0] :]
        else:
            one, two = _by_group(population, groups[population], *further, rng)
        trains.append(rng.permutation(np.concatenate([audited[inside], one])))
        tests.append(np.concatenate([audited[~inside], two]))
    return Draws(np.stack(trains).astype(np.int64), np.stack(tests).astype(np.int64), audited, design="overlapping")


def overlapping_sizes(audited: Ints, *, train: int, test: int, groups: NDArray[Any] | None = None) -> tuple[int, int]:
    """Return the size of a shadow's test set and how many records of the population its two sets take."""
    n, largest = len(audited), 1 if groups is None else largest_group(groups[audited])
    # whole groups may leave up to largest - 1 places of the half empty, and all audited records left out are tested
    test = max(test, n - min(n // 2, train) + largest - 1)
    return test, train + test - n


def draw_bystanders(population: Ints, *, count: int, train: int, seed: int, groups: NDArray[Any] | None = None) -> Ints:
    """Draw what each bystander is trained on: records of the population alone, as many as a shadow where there are enough.

    Parameters
    ----------
    population
        (p,) record numbers, none of them audited.
    count, train
        How many bystanders, and the size of a shadow's training set.
    groups
        (n_records,) group of every record of the data set; then whole groups are drawn, the last one cut.

    Returns
    -------
    ndarray
        (count, k) record numbers, k at most ``train``.
    """
    size = min(train, len(population))
    rows = np.empty((count, size), np.int64)
    for row, bystander in zip(rows, range(count), strict=True):
        rng = generator(seed, "bystander", bystander)
        if groups is None:
            row[:] = rng.permutation(population)[:size]
        else:
            row[:] = _by_group(population, groups[population], size, 0, rng)[0]
    return rows


def draw_outside(
    population: Ints, *, most: int, need: int, seed: int, fewer: bool = False, groups: NDArray[Any] | None = None
) -> tuple[Ints, bool]:
    """Choose records of the population for the target to answer beside the audited ones.

    They are set apart from what shadows are trained on if that leaves the ``need`` records of a shadow's two sets and all
    that are wanted can be had so; with ``fewer``, if at least 100 can, then there may be fewer than ``most``. Otherwise they
    are drawn from the whole population, and are records the target did not see and some shadow may have.

    Returns
    -------
    (ndarray, bool)
        (p,) record numbers, and whether they are set apart.
    """
    most = min(most, len(population))
    spare = len(population) - need - (0 if groups is None else largest_group(groups[population]) - 1)
    apart = most > 0 and spare >= (min(most, _LEAST_APART) if fewer else most)
    of_groups, size = (None, most) if groups is None or not apart else (groups[population], most)
    sample = whole_groups(len(population), of_groups, min(size, spare) if apart else size, generator(seed))
    return population[sample], apart and bool(sample.any())


def largest_group(groups: NDArray[Any]) -> int:
    """Return how many records the largest group has; 1 where there are none."""
    return int(np.bincount(group_numbers(groups)).max(initial=1))


def whole_groups(n: int, groups: NDArray[Any] | None, most: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose ``most`` of n records at random; with groups, whole ones in random order while they fit."""
    sample = np.zeros(n, dtype=bool)
    if groups is None:
        sample[rng.permutation(n)[:most]] = True
        return sample
    number = group_numbers(groups)
    sizes = np.bincount(number)
    whole, room = np.zeros(len(sizes), dtype=bool), most
    for group in rng.permutation(len(sizes)):
        if sizes[group] <= room:
            whole[group] = True
            room -= sizes[group]
    return np.asarray(whole[number])


def group_numbers(groups: NDArray[Any]) -> Ints:
    """Return (n,) the number of each record's group, in the order of their names."""
    try:
        return np.asarray(np.unique(groups, return_inverse=True)[1])
    except TypeError:  # people by number, beside records of which nothing says whose they are: those have names
        order = sorted(set(groups.tolist()), key=lambda name: (isinstance(name, str), name))
        number = {name: i for i, name in enumerate(order)}
        return np.array([number[name] for name in groups.tolist()], dtype=np.int64)


def _by_group(
    population: Ints, groups: NDArray[Any], train: int, test: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    # Whole groups are dealt in random order: to the training set until it is full, then to the test set. The group
    # that fills a set may be cut, and its remaining records are then used by neither side.
    number = group_numbers(groups)  # (p,)
    rank = rng.permutation(number.max(initial=-1) + 1)[number]
    order = np.lexsort((rng.random(len(population)), rank))
    ranks = rank[order]
    first_test = int(np.searchsorted(ranks, ranks[train - 1], side="right")) if train else 0
    if len(population) - first_test < test:
        if len(np.unique(rank)) == 1:
            raise SplitError(
                f"all {len(population):,} records of the population are of one group, and shadow models are trained and tested "
                "on whole groups: give records of more groups, or set split.by_group = false"
            )
        raise SplitError(
            f"with whole groups on one side, {counted(train, 'training record')} leave {len(population) - first_test:,} for a "
            f"test set of {test:,}; lower shadows.train and shadows.test"
        )
    return population[order[:train]], population[order[first_test : first_test + test]]
