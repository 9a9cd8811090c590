"""Who is trained on what, and made to forget what, in a deletion audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import SplitError, counted
from miaudit.seeds import child_seed, generator
from miaudit.shadows.design import Draws, draw_bystanders, whole_groups
from miaudit.unlearning.case import DeletionCase

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DeletionDraws:
    """Draws of the shadows, what each of them forgets, and the same of bystanders; ``warnings`` say what was lacking."""

    draws: Draws
    forget: list[Ints]
    bystanders: Ints | None  # (b, k)
    bystanders_forget: list[Ints]
    no_bystanders: str | None
    warnings: tuple[str, ...]


def draws_of(of: DeletionCase) -> DeletionDraws:
    """Draw for every shadow a random half of the deleted and never trained records, and of those that stay and theirs.

    The training set is topped up from the population to the size of the target's; after the training the shadow forgets all
    that it holds of the first half. So each of those records is deleted in about half of the shadows and was never trained on
    in the others, and each that stays is kept in half of them.

    Raises
    ------
    SplitError
        If there are too few records for a shadow.
    """
    case, audited = of.case, of.audited
    groups = case.dataset.groups if case.split.group_name is not None else None
    sides = [audited[np.concatenate(each)] for each in (of.pair, of.others)]
    population, wanted, warnings = _topped_up(of, sum(len(side) // 2 for side in sides))
    if wanted < 2 or not min(len(side) for side in sides[:1]):
        raise SplitError(
            f"a shadow model would be trained on {counted(wanted, 'record')}; give more members, or a population"
        )
    trains, forgets = [], []
    for shadow in range(case.shadows.count):
        rng = generator(child_seed(case.seed, "draws"), "draw", shadow)
        inside = [_half(side, groups, rng) for side in sides]
        count = sum(map(len, inside))
        if count > wanted:
            raise SplitError(
                f"half of the audited records are {count:,}, more than the {wanted:,} that a shadow model is trained on: raise "
                "shadows.train, or lower unlearning.kept"
            )
        further = rng.permutation(population)[: wanted - count]
        train = np.concatenate([*inside, further])
        trains.append(rng.permutation(train))
        forgets.append(np.sort(inside[0]))
    draws = Draws(
        np.stack(_of_one_size(trains, forgets)).astype(np.int64),
        np.empty((len(trains), 0), np.int64),
        audited,
        design="overlapping",
        own=False,
    )
    apart, theirs, reason = _bystanders(of, population, groups, draws.train.shape[1])
    return DeletionDraws(draws, forgets, apart, theirs, reason, tuple(warnings))


def _topped_up(of: DeletionCase, half: int) -> tuple[Ints, int, list[str]]:
    """Return the records that top up training sets, how many each set has, and warnings where there are few.

    Parameters
    ----------
    half
        The audited records that a shadow model is trained on.
    """
    case, population, warnings = of.case, of.case.split.population, list[str]()
    wanted = case.shadows.train or len(of.training)
    if half + len(population) < wanted:
        more = of.rest[~np.isin(of.rest, np.concatenate([of.audited, population]))]
        if of.removed is not None:
            more = more[case.dataset.y[more] != of.removed]
        population = np.concatenate([population, more])
        if len(more):
            warnings.append(
                f"The population is too small for shadow models of {wanted:,} records: {len(more):,} records that the target "
                "was trained on and kept serve, too, which only somebody who knows them could do."
            )
    if half + len(population) < wanted:
        warnings.append(
            f"There are too few records for shadow models of {wanted:,} training records like the target's: they are trained "
            f"on {half + len(population):,}, and may overfit more than the target."
        )
        wanted = half + len(population)
    return population, wanted, warnings


def _of_one_size(trains: Sequence[Ints], forgets: Sequence[Ints]) -> list[Ints]:
    """Return training sets as large as the smallest, where whole groups leave places empty; none loses what it forgets."""
    least = min(map(len, trains))
    if all(len(train) == least for train in trains):
        return list(trains)
    return [
        np.concatenate([forget, train[~np.isin(train, forget)][: least - len(forget)]])
        for train, forget in zip(trains, forgets, strict=True)
    ]


def _half(records: Ints, groups: NDArray[np.int64] | None, rng: np.random.Generator) -> Ints:
    sample = whole_groups(len(records), None if groups is None else groups[records], len(records) // 2, rng)
    return records[sample]


def _bystanders(
    of: DeletionCase, population: Ints, groups: NDArray[np.int64] | None, train: int
) -> tuple[Ints | None, list[Ints], str | None]:
    """Return what bystanders are trained on and forget: as many other records as the target."""
    case, gone = of.case, of.deleted
    if case.shadows.bystanders == 0:
        return None, [], "shadows.bystanders is 0"
    if of.removed is not None:
        return None, [], "a class was removed, and no model can remove it without having seen records of it"
    least = max((train + 1) // 2, gone + 2)
    if len(population) < least:
        return (
            None,
            [],
            (
                f"a bystander is trained on {train:,} records of the population like a shadow model, or at least on "
                f"{least:,}, and the population has {len(population):,}"
            ),
        )
    seed = child_seed(case.seed, "bystanders")
    rows = draw_bystanders(population, count=case.shadows.bystanders, train=train, seed=seed, groups=groups)
    return rows, [np.sort(row[: max(1, min(gone, len(row) // 2))]) for row in rows], None
