"""Sides of a split that share no record, whatever the records' numbers.

A shadow model trained on a copy of an audited record knows that record; a non-member that is a copy of a member was
trained on. Record numbers cannot show either, so values are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from miaudit.data.copies import Copies, copies_across
from miaudit.data.dataset import Dataset
from miaudit.data.mapped import is_mapped
from miaudit.data.on_disk import is_on_disk
from miaudit.data.records import Records, select_records
from miaudit.data.split import SIDES, Split
from miaudit.errors import SplitError, counted, noun

Ints = NDArray[np.int64]

MANY = 0.3
"""Share of a side in common with another from which chance is asked before records are left out."""

_FEW_LEFT = 20  # audited records a side below which, with most of them lost, there is nothing to audit
_DEALS = 200
_NEGLIGIBLE = 0.02  # share of a side in common, beyond chance, that moves no figure


def leave_out_copies(dataset: Dataset, split: Split, *, need: int = 1, seed: int = 0) -> Split:
    """Return the split without copies across its sides, and with what was found in ``copies``.

    A record of the population that is a copy of a member or a non-member is left out of the population. Where members and
    non-members share a record, both leave the audit: leaving out one of the two would make the sides differ. Few records
    in common are always left out. Where more than ``MANY`` of a side are in common, they stay if random dealing explains them,
    as in tables of few different records; copies that were given twice lie across sides more often than that.

    Parameters
    ----------
    need
        How many records the population must keep, where copies are left out of it.
    seed
        Of the random deals that a large share is compared with.

    Raises
    ------
    SplitError
        If too few records are left on a side.
    """
    sides = [split.members, split.nonmembers, split.population]
    rows = np.concatenate(sides)
    in_a_file = is_mapped(dataset.X) or is_on_disk(dataset.X)
    order = np.argsort(rows) if in_a_file else np.arange(len(rows))  # a file is read as it lies
    X = select_records(dataset.X, rows[order])
    keep, copies = apart_by_value(X, [dataset.y[side] for side in sides], seed=seed, order=order)
    _check_left(split, copies, need)
    rest = [side[mask] for side, mask in zip(sides, keep, strict=True)]
    return replace(split, members=rest[0], nonmembers=rest[1], population=rest[2], copies=copies)


def apart_by_value(
    X: Records, labels: Sequence[Ints], *, seed: int = 0, order: Ints | None = None
) -> tuple[list[NDArray[np.bool_]], Copies]:
    """Return what `apart` does, of the records of all three sides under one another; near copies count as copies.

    Where the records coincide so often that they stay, near copies are not counted.

    Parameters
    ----------
    X
        Records of members, non-members and population, under one another.
    labels
        For each side, the classes of its records.
    seed
        Of the random deals that a large share is compared with.
    order
        (n,) the place of each record of X among those of the sides under one another; default: its own.
    """
    sizes = [len(side) for side in labels]
    ends, sides = np.cumsum(sizes)[:-1], np.repeat(np.arange(3), sizes)
    if order is None:
        order = np.arange(len(sides))
    same, joined = (np.split(_put_back(codes, order), ends) for codes in copies_across(X, sides[order]))
    keep, copies = apart(same, labels, seed=seed)
    if all(map(np.array_equal, same, joined)):
        return keep, copies
    keep_near, with_near = apart(joined, labels, seed=seed)
    near = sum(with_near.same[pair] - copies.same[pair] for pair in ("members/nonmembers", "audited/population"))
    if with_near.alike or not near:
        return keep, copies
    return keep_near, replace(with_near, near=near)


def apart(codes: Sequence[Ints], labels: Sequence[Ints], *, seed: int = 0) -> tuple[list[NDArray[np.bool_]], Copies]:
    """Return which records of members, non-members and population may stay, and what was found.

    Parameters
    ----------
    codes, labels
        For each side, (n,) numbers of its records by `same_records`, and their classes.
    seed
        Of the random deals that a large share is compared with.
    """
    labelled_codes = _with_labels(codes, labels)
    same, labelled = _on_both(codes), _on_both(labelled_codes)
    keep = [np.ones(len(side), bool) for side in codes]
    if not any(same.values()):
        return keep, Copies(same, labelled)
    rng = np.random.default_rng(seed)
    across = np.intersect1d(codes[0], codes[1])
    shared = [np.isin(codes[i], across) for i in (0, 1)]
    alike = False
    if across.size:
        if max(each.mean() for each in shared) > MANY and _dealt_at_random(codes, (0, 1), rng):
            alike = True
        else:
            keep[:2] = [~each for each in shared]
    copied = np.isin(codes[2], np.concatenate(codes[:2]))
    if copied.any():
        most = max(float(copied.mean()), *(float(np.isin(codes[i], codes[2]).mean()) for i in (0, 1)))
        if most > MANY and all(_dealt_at_random(codes, (i, 2), rng) for i in (0, 1)):
            alike = True
        else:
            keep[2] = ~copied
    left_out = {name: int((~mask).sum()) for name, mask in zip(SIDES, keep, strict=True)}
    return keep, Copies(same, labelled, left_out, alike)


def _put_back(codes: Ints, order: Ints) -> Ints:
    """Return numbers of records in the order of the sides, numbered by their first appearance there."""
    numbers = np.empty_like(codes)
    numbers[order] = codes
    _, first, number = np.unique(numbers, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[number])


def _with_labels(codes: Sequence[Ints], labels: Sequence[Ints]) -> list[Ints]:
    both = np.column_stack([np.concatenate(codes), np.concatenate(labels)])
    number = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    return np.split(number, np.cumsum([len(side) for side in codes])[:-1])


def _on_both(codes: Sequence[Ints]) -> dict[str, int]:
    """For each pair of sides, how many records of the later are on the earlier."""
    members, nonmembers, population = codes
    return {
        "members/nonmembers": int(np.isin(nonmembers, members).sum()),
        "members/population": int(np.isin(population, members).sum()),
        "nonmembers/population": int(np.isin(population, nonmembers).sum()),
        "audited/population": int(np.isin(population, np.concatenate([members, nonmembers])).sum()),
    }


def check_audited(copies: Copies, members: int, nonmembers: int) -> None:
    """Refuse an audit of hardly any records that are on one side only.

    Raises
    ------
    SplitError
        If fewer than 20 of a side are left, and more were lost.
    """
    for name, size in (("members", members), ("nonmembers", nonmembers)):
        omissions = copies.left_out.get(name, 0)
        rest = size - omissions
        if omissions and (not rest or (rest < _FEW_LEFT and omissions > rest)):
            raise SplitError(
                f"{copies.same['members/nonmembers']:,} of the {counted(nonmembers, 'non-member')} are copies of members "
                f"({copies.labelled['members/nonmembers']:,} with the same class, too): the target was trained on "
                "them, so they "
                f"are no non-members. {counted(rest, name.removesuffix('s'))} {noun(rest, 'is', 'are')} left without "
                "them, too few to audit. Give as non-members records "
                "that the target was not trained on"
            )


def _check_left(split: Split, copies: Copies, need: int) -> None:
    check_audited(copies, len(split.members), len(split.nonmembers))
    total, copied = len(split.population), copies.left_out.get("population", 0)
    rest = total - copied
    if copied and (not rest or 20 * copied > total) and rest < need:
        raise SplitError(
            f"{copied:,} of the {counted(total, 'record')} of the population are copies of audited records "
            f"({copies.same['members/population']:,} of members, {copies.same['nonmembers/population']:,} of non-members; "
            f"{copies.labelled['audited/population']:,} have the same class, too). Shadow models must not be trained "
            f"on what is audited, and {counted(rest, 'record is', 'records are')} left, where {need:,} are needed, as many as "
            "the target is trained on. Give as "
            "population records that are neither members nor non-members; where there are no others, leave the population "
            "out, and members and non-members serve (docs/plans.md)"
        )


def _dealt_at_random(codes: Sequence[Ints], pair: tuple[int, int], rng: np.random.Generator) -> bool:
    """Whether no more is on both sides, or on both and not on the third, than in random deals of all records.

    Counted in different records, and in records.
    """
    _, pooled = np.unique(np.concatenate(codes), return_inverse=True)
    ends, most = np.cumsum([len(each) for each in codes])[:-1], int(pooled.max()) + 1
    a, b = pair
    third = 3 - a - b

    def counts(dealt: Ints) -> tuple[int, ...]:
        many = [np.bincount(part, minlength=most) for part in np.split(dealt, ends)]
        both = (many[a] > 0) & (many[b] > 0)
        apart, records = both & (many[third] == 0), many[a] + many[b]
        return int(both.sum()), int(apart.sum()), int(records[both].sum()), int(records[apart].sum())

    chance = np.array([counts(rng.permutation(pooled)) for _ in range(_DEALS)])  # (deals, 4)
    observation, mean = np.array(counts(pooled)), chance.mean(axis=0)
    odd = (observation > chance.max(axis=0)) & (observation > mean + 5 * chance.std(axis=0))
    matters = (observation - mean)[2:].max() > _NEGLIGIBLE * min(len(codes[a]), len(codes[b]))
    return not (odd.any() and matters)
