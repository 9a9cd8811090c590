"""Split: who is a member, who is not, and whom the shadow models may use; disjoint by record and by group."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.data.copies import Copies
from miaudit.data.dataset import Dataset
from miaudit.data.hashes import row_hashes
from miaudit.data.npz import read_npy
from miaudit.data.room import require_room
from miaudit.errors import SplitError, counted, literal

Ints = NDArray[np.int64]
Duplicates = Literal["report", "drop"]
SIDES = ("members", "nonmembers", "population")

_STREAM = 0x5B117  # keeps this draw apart from others under the same seed


@dataclass(frozen=True, eq=False)
class Split:
    """Record numbers of the three sides; no record, and where ``group_name`` is set no group, is on two of them.

    Parameters
    ----------
    members
        (n_members,) records the target is trained on.
    nonmembers
        (n_nonmembers,) records it is not trained on, for the audit to tell from members.
    population
        (n_population,) records the shadow models may use.
    group_name
        What kept records together, or None.
    duplicates
        For each pair of sides ``"a/b"``: how many records of b have the same features as some record of a, whatever
        their labels. Under ``"dropped"``, where copies were dropped: how many records were left out.
    copies
        What `~miaudit.data.copies.leave_out_copies` found; None before it compared the sides.
    population_from
        The side that the population was taken from where none was given; members of it are known to have been trained on.
    """

    members: Ints  # (n_members,)
    nonmembers: Ints  # (n_nonmembers,)
    population: Ints  # (n_population,)
    group_name: str | None = None
    duplicates: Mapping[str, int] = field(default_factory=dict)
    copies: Copies | None = None
    population_from: Literal["members", "nonmembers"] | None = None

    @property
    def training(self) -> Ints:
        """Records that the target is trained on: the members, with those that are the population."""
        return self._with_population("members")

    @property
    def untrained(self) -> Ints:
        """The non-members, with those that are the population."""
        return self._with_population("nonmembers")

    def _with_population(self, side: str) -> Ints:
        records: Ints = getattr(self, side)
        return np.concatenate([records, self.population]) if self.population_from == side else records

    @property
    def sha256(self) -> str:
        """Hash (hex) of the three sets of record numbers, in order."""
        digest = hashlib.sha256()
        for name in SIDES:
            index = np.ascontiguousarray(getattr(self, name), dtype="<i8")
            digest.update(f"{name}:{len(index)}|".encode())
            digest.update(index.tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return the sizes, what records were grouped by, the duplicates found, and the hash."""
        return {
            **{name: len(getattr(self, name)) for name in SIDES},
            "grouped_by": self.group_name,
            "duplicates": dict(self.duplicates),
            "sha256": self.sha256,
        }


def draw_split(
    dataset: Dataset,
    *,
    members: int,
    nonmembers: int | None = None,
    population: int | None = None,
    seed: int,
    by_group: bool | None = None,
    duplicates: Duplicates = "report",
) -> Split:
    """Draw the three sides at random, without regard to class.

    The draw uses the raw output of PCG64, which numpy keeps the same on all machines and versions. By group, groups are
    taken in random order; of one that does not fit a side any more, the records left over are not used at all, so that
    sizes are exact and no group is on two sides.

    Parameters
    ----------
    dataset
        What to draw from.
    members, nonmembers, population
        Sizes; as many non-members as members unless given, and all the rest as population.
    seed
        Same seed, data size and groups: same split.
    by_group
        Keep the records of a group on one side; wherever the data has groups, unless said otherwise.
    duplicates
        ``"report"`` counts identical records across sides; ``"drop"`` first keeps only the first of each set of them.

    Raises
    ------
    SplitError
        If sizes do not fit (the message says what would), or there are no groups to go by.
    """
    nonmembers = members if nonmembers is None else nonmembers
    for name, size in zip(SIDES, (members, nonmembers, population), strict=True):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1):
            raise SplitError(f"{name} = {size!r}: every side needs at least one record; give a whole number from 1")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SplitError(f"seed = {literal(seed)} must be a whole number from 0")
    groups = _groups(dataset, by_group)
    hashes = row_hashes(dataset.X)
    usable = np.arange(len(dataset), dtype=np.int64)
    if _mode(duplicates) == "drop":
        usable = np.sort(np.unique(hashes, return_index=True)[1]).astype(np.int64)
    _check_sizes(len(dataset), len(usable), members, nonmembers, population)

    bits = np.random.PCG64(np.random.SeedSequence([int(seed), _STREAM]))
    order = usable[_permutation(bits, len(usable))]
    if groups is not None:
        rank = _permutation(bits, int(groups.max()) + 1)  # over groups, so that large ones come no earlier
        order = order[np.argsort(rank[groups[order]], kind="stable")]

    sides: list[Ints] = []
    for name, size in zip(SIDES, (members, nonmembers, population), strict=True):
        side = order if size is None else order[:size]
        if not len(side) or (size is not None and len(side) < size):
            short = (size or 1) - len(order)
            remainder = len(usable) - sum(map(len, sides)) - len(order)
            raise SplitError(
                f"{name}: {counted(len(order), 'record is', 'records are')} left for it, it needs "
                f"{size or 'at least 1'}; whole groups "
                f"({dataset.group_name or 'group'}) leave {counted(remainder, 'record')} unused. Lower sizes by {short}"
            )
        sides.append(side)
        order = order[len(side) :]
        if groups is not None:
            order = order[groups[order] != groups[side[-1]]]
    counts = _duplicates(hashes, sides)
    if duplicates == "drop":
        counts["dropped"] = len(dataset) - len(usable)
    return Split(sides[0], sides[1], sides[2], None if groups is None else dataset.group_name or "group", counts)


def given_split(
    dataset: Dataset,
    members: ArrayLike,
    nonmembers: ArrayLike,
    population: ArrayLike | None = None,
    *,
    by_group: bool | None = None,
    duplicates: Duplicates = "report",
    empty_population: bool = False,
) -> Split:
    """Return the split with these record numbers, checked.

    Parameters
    ----------
    members, nonmembers, population
        Record numbers. The population is all other records unless given; by group, without those whose group is on one
        of the other sides.
    by_group
        Check that no group is on two sides; wherever the data has groups, unless said otherwise.
    duplicates
        ``"report"`` counts identical records across sides; ``"drop"`` leaves out of the later side what is identical to
        a record of an earlier one, so that no member is ever dropped.
    empty_population
        Whether there may be no population: one of synthetic records is to be made.

    Raises
    ------
    SplitError
        If numbers are out of range, repeated, or on two sides, a group is on two sides, or a side is empty.
    """
    n, groups = len(dataset), _groups(dataset, by_group)
    sides = [check_index(members, n, "members"), check_index(nonmembers, n, "nonmembers")]
    if population is None:
        free = np.ones(n, dtype=bool)
        free[np.concatenate(sides)] = False
        if groups is not None:
            free &= ~np.isin(groups, groups[np.concatenate(sides)])
        sides.append(np.flatnonzero(free).astype(np.int64))
    else:
        sides.append(check_index(population, n, "population"))
    for (a, first), (b, second) in combinations(zip(SIDES, sides, strict=True), 2):
        both = np.intersect1d(first, second)
        if len(both):
            raise SplitError(
                f"{a} and {b} share {counted(len(both), 'record')}, such as {both[:5].tolist()}; a record must be "
                "on one side only"
            )
        if groups is not None:
            shared = np.intersect1d(groups[first], groups[second])
            if len(shared):
                example = np.asarray(dataset.groups)[groups == shared[0]].tolist()[0]
                raise SplitError(
                    f"{a} and {b} share {counted(len(shared), 'group')} by {dataset.group_name or 'group'}, such as "
                    f"{example!r}; keep all records of a group on one side, or say split.by_group = false"
                )
    hashes, dropped = row_hashes(dataset.X), 0
    if _mode(duplicates) == "drop":
        for later in (1, 2):
            earlier = hashes[np.concatenate(sides[:later])]
            keep = ~np.isin(hashes[sides[later]], earlier)
            dropped += int((~keep).sum())
            sides[later] = sides[later][keep]
    for name, side in zip(SIDES, sides, strict=True):
        if not len(side) and not (empty_population and name == "population"):
            raise SplitError(f"{name} is empty; every side needs at least one record (of {n} in the data)")
    counts = _duplicates(hashes, sides)
    if duplicates == "drop":
        counts["dropped"] = dropped
    return Split(sides[0], sides[1], sides[2], None if groups is None else dataset.group_name or "group", counts)


def check_index(index: ArrayLike, n: int | None, what: str) -> Ints:
    """Return record numbers as (k,) int64.

    Raises
    ------
    SplitError
        If one is not a whole number, not below ``n`` (where given), or there twice.
    """
    array = np.asarray(index)
    if array.ndim != 1:
        raise SplitError(f"{what}: record numbers must have shape (k,), got {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        hint = "; np.flatnonzero turns a mask into numbers" if array.dtype.kind == "b" else ""
        raise SplitError(f"{what}: record numbers must be whole numbers, got dtype {array.dtype}{hint}")
    outside = array[(array < 0) | (array >= n)] if n is not None else array[array < 0]
    if len(outside):
        allowed = f"0..{n - 1}" if n is not None else "0 and up"
        raise SplitError(
            f"{what}: {counted(len(outside), 'record number is', 'record numbers are')} out of range, "
            f"first {outside[0]}; allowed: {allowed}"
        )
    values, counts = np.unique(array, return_counts=True)
    if (counts > 1).any():
        again = values[counts > 1]
        raise SplitError(
            f"{what}: {counted(len(again), 'record number is', 'record numbers are')} repeated, "
            f"such as {again[:5].tolist()}; list each once"
        )
    return array.astype(np.int64)


def read_index(path: str | Path, records: int | None = None) -> Ints:
    """Read record numbers (counted from 0) from a ``.npy`` file, or from ``.txt`` or ``.csv``, one per line.

    Parameters
    ----------
    records
        Number of records of the data; then numbers must lie below it.

    Raises
    ------
    SplitError
        If the file cannot be read, or as for :func:`check_index`.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            index = read_npy(path)
        elif path.suffix in (".txt", ".csv"):
            require_room(path.stat().st_size, f"{path}, as a list of numbers", copies=16)
            index = _numbers(path, path.read_text(encoding="utf-8-sig").splitlines())
        else:
            raise SplitError(f"{path}: record numbers are read from .npy, .txt or .csv")
    except FileNotFoundError:
        raise SplitError(f"{path}: there is no such file of record numbers") from None
    except (OSError, ValueError, EOFError) as error:
        raise SplitError(f"{path} cannot be read as record numbers: {error}") from error
    if not index.size:
        raise SplitError(f"{path} holds no record numbers; it needs at least one")
    return check_index(index, records, str(path))


def _numbers(path: Path, lines: Sequence[str]) -> Ints:
    numbers = []
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            numbers.append(int(text))
        except ValueError:
            raise SplitError(
                f"{path}, line {line}: {text!r} is not a whole number; one record number per line"
            ) from None
    try:
        return np.array(numbers, dtype=np.int64)
    except OverflowError:
        raise SplitError(f"{path}: the number {max(numbers, key=abs)} is too large for a record number") from None


def _mode(duplicates: str) -> str:
    if duplicates not in ("report", "drop"):
        raise SplitError(f"duplicates = {duplicates!r} is not known; it is 'report' or 'drop'")
    return duplicates


def _groups(dataset: Dataset, by_group: bool | None) -> Ints | None:
    """Return (n,) numbers of the groups, in the order the groups appear, so that they do not depend on a dtype."""
    if dataset.groups is None:
        if by_group:
            raise SplitError("by_group is set and the data has no groups; name the group column, or leave by_group out")
        return None
    if by_group is False:
        return None
    return dataset.people


def _check_sizes(n: int, usable: int, members: int, nonmembers: int, population: int | None) -> None:
    demand = members + nonmembers + (population or 1)
    if demand <= usable:
        return
    different = f"{counted(usable, 'different record')} ({n} with copies)"
    supply = counted(usable, "record") if usable == n else different
    rest = f"population = {population}" if population else "a population of at least 1"
    fit = f"at most {max((usable - (population or 1)) // 2, 0):,} members and as many nonmembers fit beside it"
    raise SplitError(
        f"members = {members}, nonmembers = {nonmembers} and {rest} need {demand:,} records, the data has {supply}; "
        f"{fit}; with three equal sides, {usable // 3} each"
    )


def _permutation(bits: np.random.PCG64, n: int) -> Ints:
    return np.argsort(bits.random_raw(n), kind="stable").astype(np.int64)


def _duplicates(hashes: NDArray[np.bytes_], sides: Sequence[Ints]) -> dict[str, int]:
    return {
        f"{a}/{b}": int(np.isin(hashes[second], hashes[first]).sum())
        for (a, first), (b, second) in combinations(zip(SIDES, sides, strict=True), 2)
    }
