"""A case whose audited records are canaries: worst cases, by which a mitigation is judged beside the average record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from miaudit.auditing import Case
from miaudit.data import Copies
from miaudit.errors import SplitError
from miaudit.seeds import generator


def canary_case(case: Case, count: int) -> Case:
    """Return the case in which non-members with wrong labels are audited, half of them trained on beside all members.

    The protocol is that of Aerni, Zhang and Tramer (2024, section 4): all other training records are fixed and in every shadow
    model's training set, so that a model differs from the next by its canaries alone. Who is in the target's and in each shadow
    model's training set is drawn apart.

    Parameters
    ----------
    case
        What to audit, with at least two classes.
    count
        How many canaries; an even number, at most as many as there are non-members.

    Raises
    ------
    SplitError
        If there are too few non-members.
    """
    nonmembers, classes = case.split.nonmembers, len(case.dataset.classes)
    if len(nonmembers) < 20:
        raise SplitError(
            f"canaries are made of non-members with wrong labels, 20 at least, and the audit has {len(nonmembers)}; leave "
            "canaries out, or audit more records"
        )
    if count < 20 or count % 2 or count > len(nonmembers):
        raise SplitError(
            f"canaries are made of non-members with wrong labels: an even number from 20 to {len(nonmembers)}; got {count}"
        )
    rng = generator(case.seed, "grid canaries")
    canaries = rng.permutation(nonmembers)[:count]
    y = case.dataset.y.copy()
    y[canaries] = (y[canaries] + rng.integers(1, classes, count)) % classes
    fixed = case.split.training
    split = replace(
        case.split,
        members=np.sort(canaries[: count // 2]),
        nonmembers=np.sort(canaries[count // 2 :]),
        population=fixed,
        population_from="members",
        group_name=None,
        duplicates={},
        copies=Copies(),
    )
    half = count // 2
    shadows = {"design": "overlapping", "train": len(fixed) + half, "test": half, "data": "real", "bystanders": 0}
    return replace(
        case,
        dataset=replace(case.dataset, y=y, groups=None, _hashes={}),
        split=split,
        shadows=case.shadows.model_copy(update=shadows),
        sides=case.sides.model_copy(update={"outside": 0}),
        target=None,
        trained=None,
        attacks=None,
        unit=None,
        slices={},
    )
