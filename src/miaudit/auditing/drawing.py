"""Who is trained on what, and which records outside the audit the target is asked about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.case import Case
from miaudit.data import Copies, Dataset, same_records
from miaudit.data.records import select_records
from miaudit.files import write_atomically
from miaudit.seeds import child_seed
from miaudit.shadows.design import (
    Draws,
    draw_bystanders,
    draw_disjoint,
    draw_outside,
    draw_overlapping,
    overlapping_sizes,
)
from miaudit.store import Store


def draws_of(case: Case) -> tuple[Draws, NDArray[np.int64]]:
    """Return the shadows' draws, and the records outside the audit that the target is asked about."""
    audited = np.concatenate([case.split.members, case.split.nonmembers])
    population = case.split.population
    groups = case.dataset.groups if case.split.group_name is not None else None
    overlapping = case.shadows.design == "overlapping" and case.shadows.count > 0
    if overlapping and groups is None and not (case.split.copies or Copies()).alike:
        groups = _twins(case.dataset, audited)
    train, test, _ = case.sizes
    sizes: dict[str, Any] = {"train": train, "test": test, "groups": groups}
    need = overlapping_sizes(audited, **sizes)[1] if overlapping else train + test
    most = case.sides.outside
    if most is None and not case.shadows.count:
        most = len(population)  # which nothing else needs
    elif most is None:  # records that were made are no sample of what the target did not see
        most = len(case.split.members) if case.shadows.data == "real" else 0
    seed = child_seed(case.seed, "outside")
    fewer = any(each.compares_outside for each in case.attacks or ())  # shadows must answer them
    outside, apart = draw_outside(population, most=most, need=need, seed=seed, fewer=fewer, groups=groups)
    rest = population[~np.isin(population, outside)] if apart else population
    sizes |= {"shadows": case.shadows.count, "seed": child_seed(case.seed, "draws")}
    draws = draw_overlapping(audited, rest, **sizes) if overlapping else draw_disjoint(rest, **sizes)
    return replace(draws, audited=audited, aside=outside if apart else outside[:0]), outside


def bystanders_of(case: Case) -> tuple[NDArray[np.int64] | None, str | None]:
    """Return (b, k) records that bystanders are trained on where shadows are none themselves, or why there are none."""
    if case.shadows.count == 0:
        return None, "there are no shadow models"
    if case.shadows.bystanders == 0:
        return None, "shadows.bystanders is 0"
    if case.shadows.design == "disjoint":
        return None, None
    population, train = case.split.population, case.sizes.train
    least = (train + 1) // 2
    if len(population) < max(least, 2):
        supply = f"the population has {len(population):,}" if len(population) else "no population was given"
        return None, (
            f"a bystander is trained on {train:,} records of the population like a shadow model, or at least on {least:,}, "
            f"and {supply}"
        )
    groups = case.dataset.groups if case.split.group_name is not None else None
    seed = child_seed(case.seed, "bystanders")
    return draw_bystanders(population, count=case.shadows.bystanders, train=train, seed=seed, groups=groups), None


def _twins(dataset: Dataset, audited: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return (n,) numbers of the records, the same for audited ones that a model sees as the same; None without any.

    A shadow trained on one of them was trained on the other, so they must be on one side of it.
    """
    codes = same_records(select_records(dataset.X, audited))
    if len(np.unique(codes)) == len(codes):
        return None
    numbers = np.arange(len(dataset), dtype=np.int64) + len(codes)
    numbers[audited] = codes
    return numbers


def save_draws(
    case: Case,
    draws: Draws,
    outside: NDArray[np.int64],
    store: Store,
    bystanders: NDArray[np.int64] | None = None,
) -> None:
    """Keep who was drawn for what beside the rows."""
    from safetensors.numpy import save

    arrays = {
        "members": case.split.members,
        "nonmembers": case.split.nonmembers,
        "population": case.split.population,
        "outside": outside,
        "shadow_train": draws.train,
        "shadow_test": draws.test,
    }
    if bystanders is not None:
        arrays["bystander_train"] = bystanders
    content = save({name: np.ascontiguousarray(array, dtype=np.int64) for name, array in arrays.items()})
    write_atomically(store.folder / "draws.safetensors", content)
