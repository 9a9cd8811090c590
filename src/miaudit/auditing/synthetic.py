"""From a case whose population is to be synthetic to one that has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from miaudit.auditing.asking import Tell, quiet
from miaudit.auditing.case import Case
from miaudit.auditing.shadow_data import make
from miaudit.data import Copies, Dataset, leave_out_copies
from miaudit.data.records import stack_records
from miaudit.errors import PoolError, counted, noun
from miaudit.seeds import child_seed
from miaudit.synthesis import Synthesis


def on_synthetic(case: Case, folder: Path, *, deadline: float | None = None, tell: Tell = quiet) -> Case:
    """Return the case with synthetic records as its population; members and non-members stay the real ones.

    Raises
    ------
    PoolError
        If no record could be made.
    MiauditError
        As `miaudit.auditing.shadow_data.synthesize` does.
    """
    records, target = make(case, folder, deadline=deadline, tell=tell)
    n, new = len(case.dataset), len(records.y)
    if not new:
        raise PoolError(
            "no record could be made in any class, so there is nothing to train shadow models on; lower "
            "synthesis.conf_min, raise synthesis.iter_max or max_queries, or use another kind of shadow data"
        )
    dataset = _joined(case.dataset, records.dataset())
    duplicates = {pair: count for pair, count in case.split.duplicates.items() if "population" not in pair}
    split = replace(case.split, population=np.arange(n, n + new), duplicates=duplicates)
    copies = case.split.copies or Copies()
    if records.figures.method == "model-based":  # no record of the population had a part in it
        of_audited = {"members/nonmembers": copies.same.get("members/nonmembers", 0)}
        split = replace(split, copies=replace(copies, same=of_audited, left_out={**copies.left_out, "population": 0}))
    elif records.figures.method == "noisy":  # noise may leave a record as it was, or make it another
        split = leave_out_copies(dataset, split, need=2, seed=child_seed(case.seed, "copies"))
        split = replace(split, copies=_both(copies, split.copies or Copies()))
    return replace(
        case,
        dataset=dataset,
        split=split,
        slices={name: np.concatenate([of, np.full(new, "synthetic")]) for name, of in case.slices.items()},
        synthetic=records.figures,
        trained=target,
        notes=(*case.notes, *_warnings(records)),
    )


def _both(real: Copies, synthetic: Copies) -> Copies:
    """Return what was found among the real records, and then among those made of them."""
    left_out = {side: real.left_out.get(side, 0) + count for side, count in synthetic.left_out.items()} or real.left_out
    pairs = {*real.same, *synthetic.same}

    def added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
        return {pair: one.get(pair, 0) + (other.get(pair, 0) if "population" in pair else 0) for pair in pairs}

    return Copies(
        added(real.same, synthetic.same),
        added(real.labelled, synthetic.labelled),
        left_out,
        real.alike or synthetic.alike,
    )


def _joined(real: Dataset, synthetic: Dataset) -> Dataset:
    new = len(synthetic)
    ids = groups = None
    if real.ids is not None:
        ids = np.concatenate([real.ids.astype(object), np.array([f"synthetic {i}" for i in range(new)], dtype=object)])
    if real.groups is not None:  # every synthetic record is a group of its own
        names = np.array([f"synthetic {i}" for i in range(new)], dtype=object)
        groups = np.concatenate([real.groups.astype(str).astype(object), names])
    return replace(
        real,
        X=stack_records([real.X, synthetic.X]),
        y=np.concatenate([real.y, synthetic.y]),
        ids=ids,
        groups=groups,
        _hashes={},
    )


def _warnings(synthesis: Synthesis) -> list[str]:
    figures, warnings = synthesis.figures, []
    if figures.stopped is not None:
        warnings.append(
            f"Synthesis was stopped ({figures.stopped}): {figures.records:,} of {counted(figures.wanted, 'record')} "
            f"{noun(figures.records, 'was', 'were')} made."
        )
    for classes, what in (
        (figures.classes_failed, "no record"),
        (figures.classes_short, "too few records"),
    ):
        if classes:
            listing = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
            warnings.append(
                f"Synthesis made {what} for {len(classes)} of "
                f"{counted(len(synthesis.classes), 'class', 'classes')} ({listing}): the attack knows "
                "little about them, and their leak may be understated."
            )
    return warnings
