"""Receipts: whether a model after a deletion is the one that training on what stays gives, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.data.records import n_records, take_records
from miaudit.errors import PlanError, counted
from miaudit.recipes import Forgetting, Recipe, content_of, staged
from miaudit.recipes.randomness import seeded_generators
from miaudit.result import Receipt
from miaudit.shadows.pool import RowKeys
from miaudit.shadows.training import AFTER, CONTENT, Job
from miaudit.store import Store
from miaudit.targets import as_target
from miaudit.threads import one_thread
from miaudit.unlearning.case import DeletionCase

RECEIPTS = 4
"""Deletions that are checked unless told, where a recipe deletes by itself."""


def receipt(
    recipe: Recipe, X: Any, y: ArrayLike, *, forget: ArrayLike, classes: int, seed: int = 0, asked: Any = None
) -> Receipt:
    """Delete records from a model, train on what stays by the same seed, and compare the two models.

    Where a receipt holds, the model afterwards is one that never had the records. It says nothing of other deletions, of
    copies elsewhere, and of what was learned outside of the recipe.

    Parameters
    ----------
    recipe
        A recipe that deletes by itself (`miaudit.recipes.Forgetting`), such as `miaudit.recipes.SISA`.
    X, y
        n training records, and their (n,) classes from 0.
    forget
        (n,) which are deleted.
    classes
        Number of classes.
    seed
        Of the training.
    asked
        What the models are asked about; default: X, the deleted records among them.

    Returns
    -------
    Receipt
        Of one pair of models.

    Raises
    ------
    PlanError
        If the recipe does not delete, or all records or none are to be deleted.

    Examples
    --------
    >>> receipt(SISA(recipe), X, y, forget=gone, classes=10).holds  # doctest: +SKIP
    True
    """
    labels, gone = np.asarray(y, np.int64), np.asarray(forget)
    recipe = staged(recipe, None)  # what one training wrote, the other would read
    if not isinstance(recipe, Forgetting):
        raise PlanError(
            [("recipe", f"{recipe.name} does not say how its models forget records; try miaudit.recipes.SISA")]
        )
    if gone.dtype != bool or gone.shape != (n_records(X),) or not gone.any() or gone.all():
        raise PlanError(
            [("forget", f"must be bools, one for each of the {counted(n_records(X), 'record')}, some true and not all; got "
              f"{gone.dtype} {gone.shape}, {np.count_nonzero(gone):,} true")]
        )  # fmt: skip
    rest, asked = np.flatnonzero(~gone), X if asked is None else asked
    with one_thread():
        with seeded_generators(seed):
            before = recipe.fit(X, labels, classes=classes, seed=seed)
        with seeded_generators(seed):
            after = recipe.forget(before, X, labels, forget=gone, classes=classes, seed=seed)
        with seeded_generators(seed):
            again = recipe.fit(take_records(X, rest), labels[rest], classes=classes, seed=seed)
        sides = [
            _Side(as_target(model, classes=classes).answer(asked).probabilities, content_of(model))
            for model in (after, again)
        ]
    return _compared([(sides[0], sides[1])], of_target=True)


class _Side(NamedTuple):
    """What a model answers, and the digest of all that it is, where that can be seen."""

    answers: NDArray[Any]
    content: str | None


def _compared(pairs: Sequence[tuple[_Side, _Side]], *, of_target: bool) -> Receipt:
    differences = [
        float(np.abs(one.answers.astype(np.float64) - other.answers.astype(np.float64)).max(initial=0.0))
        for one, other in pairs
    ]
    alike = [
        difference == 0 and (None in (one.content, other.content) or one.content == other.content)
        for difference, (one, other) in zip(differences, pairs, strict=True)
    ]
    return Receipt(
        models=len(pairs),
        identical=sum(alike),
        difference=max(differences, default=0.0),
        weights=all(one.content is not None and other.content is not None for one, other in pairs),
        of_target=of_target,
    )


def receipt_jobs(of: DeletionCase, keys: RowKeys, jobs: Sequence[Job]) -> list[tuple[Job, Job]]:
    """Return some of these jobs, which delete, each with the training on what stays that it is compared with."""
    count = of.receipts
    if count is None:
        count = RECEIPTS if of.procedure.by_the_same_seed else 0
    pairs = []
    for job in jobs[:count]:
        assert job.forget is not None
        rest = job.train[~np.isin(job.train, job.forget)]
        key = keys.key(rest, job.asked, job.seed, afresh=True)
        name = f"receipt of {job.name}"
        again = replace(job, key=key, name=name, train=rest, forget=None, relearn=None, afresh=True)
        pairs.append((job, again))
    return pairs


def receipt_of(pairs: Sequence[tuple[Job, Job]], store: Store, *, of_target: bool) -> Receipt | None:
    """Return the receipt of stored rows, the first of the audited model or not; None without any."""
    rows = [(store.get(job.key), store.get(again.key)) for job, again in pairs]
    sides = [
        (_Side(one.arrays[AFTER], one.facts.get(CONTENT)), _Side(other.arrays["outputs"], other.facts.get(CONTENT)))
        for one, other in rows
        if one is not None and other is not None
    ]
    return _compared(sides, of_target=of_target) if sides else None
