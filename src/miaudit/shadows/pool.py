"""ShadowPool: the shadow models of one audit, as rows of a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.dataset import Dataset
from miaudit.data.records import row_hashes
from miaudit.errors import PoolError, StoreError
from miaudit.evidence import Evidence
from miaudit.recipes.recipe import Recipe
from miaudit.seeds import child_seed
from miaudit.shadows.design import Draws
from miaudit.shadows.engine import Failure, Job, Progress, run_jobs
from miaudit.store import Store, content_key


@dataclass(frozen=True, eq=False)
class ShadowPool:
    """Shadow models to be trained on draws of a data set.

    Parameters
    ----------
    dataset, recipe, draws
        Records, how to train one model, and who is trained on what.
    store
        Where the rows lie.
    seed
        Root of the shadows' own seeds.
    """

    dataset: Dataset
    recipe: Recipe
    draws: Draws
    store: Store
    seed: int
    failures: list[Failure] = field(default_factory=list)

    @cached_property
    def plan(self) -> list[Job]:
        """One job per shadow."""
        keys = RowKeys(self.dataset, self.recipe)
        jobs = []
        for i, (train, test) in enumerate(zip(self.draws.train, self.draws.test, strict=True)):
            seed = child_seed(self.seed, "shadow", i)
            asked = np.concatenate([train, test])
            jobs.append(Job(keys.key(train, asked, seed), f"shadow {i}", train, asked, seed))
        return jobs

    def run(
        self,
        *,
        workers: int,
        minimum: int,
        also: Sequence[Job] = (),
        cluster: str | None = None,
        deadline: float | None = None,
        tell: Callable[[Progress], None] | None = None,
    ) -> dict[int, dict[str, Any]]:
        """Train what the store lacks; return what is known (accuracies, seconds) of every shadow there is, by number.

        Raises
        ------
        PoolError
            If a model of ``also`` (a target that is trained here) could not be trained, or fewer than ``minimum``
            shadows could, or the cluster was lost; what was trained stays in the store.
        TimeLimitError
            If the deadline (by `time.monotonic`) passed first; what was trained stays in the store.
        """
        jobs = self.plan
        failures = run_jobs(
            [*also, *jobs],
            self.dataset,
            self.recipe,
            self.store,
            workers=workers,
            cluster=cluster,
            deadline=deadline,
            tell=tell,
        )
        others = {job.name for job in also}
        for failure in failures:
            if failure.name in others:
                raise PoolError(
                    f"the {failure.name} could not be trained: {failure.error}. The traceback is in "
                    f"{self.store.folder / 'journal.jsonl'}; what else was trained is kept"
                )
        self.failures[:] = failures
        shadows = {i: row.facts for i, job in enumerate(jobs) if (row := self.store.get(job.key)) is not None}
        if len(shadows) < minimum:
            why = self.failures[0].error if self.failures else "rows were damaged while they were read"
            raise PoolError(
                f"{len(shadows)} of {len(jobs)} shadow models could be trained, at least {minimum} are needed; the first "
                f"failure: {why}. Tracebacks are in {self.store.folder / 'journal.jsonl'}; what was trained is kept"
            )
        return shadows

    def evidence(
        self, shadows: Iterable[int], target: NDArray[np.floating[Any]], audited: NDArray[np.int64]
    ) -> Evidence:
        """Return the evidence of trained shadows about a target that answered the audited records.

        Parameters
        ----------
        shadows
            Numbers of trained shadows, as `run` returned them.
        target
            (n, classes) outputs of the target on the audited records.
        audited
            (n,) record numbers of the audited records in the data set.
        """
        numbers = list(shadows)
        outputs = self.outputs(numbers)  # (m, r, classes)
        asked = np.concatenate([self.draws.train[numbers], self.draws.test[numbers]], axis=1)  # (m, r)
        inside = np.zeros(asked.shape, dtype=bool)  # (m, r)
        inside[:, : self.draws.train.shape[1]] = True
        pool = np.setdiff1d(asked, audited)
        order = np.concatenate([audited, pool])  # the evidence's records axis
        position = np.full(len(self.dataset), -1, dtype=np.int64)
        position[order] = np.arange(len(order))
        return Evidence(target, outputs, inside, self.dataset.y[order], asked=position[asked])

    def outputs(self, shadows: Iterable[int]) -> NDArray[np.float32]:
        """Return (m, r, classes) outputs of trained shadows; one row at a time is read, so memory holds them once.

        Raises
        ------
        StoreError
            If a row is not there, or was damaged since it was trained.
        """
        numbers, jobs = list(shadows), self.plan
        shape = (len(numbers), self.draws.train.shape[1] + self.draws.test.shape[1], len(self.dataset.classes))
        outputs = np.empty(shape, dtype=np.float32)
        for place, number in enumerate(numbers):
            row = self.store.get(jobs[number].key)
            if row is None:
                raise StoreError(f"the row of shadow {number} is gone from {self.store.folder}; run the audit again")
            outputs[place] = row.arrays["outputs"]
        return outputs


class RowKeys:
    """Names of output rows: hashes of all that decides what a model answers."""

    def __init__(self, dataset: Dataset, recipe: Recipe) -> None:
        self._digests = _record_digests(dataset)  # (n_records, 24) bytes
        self._common = {
            "row": 1,
            "recipe": recipe.describe(),
            "schema": dataset.schema.fingerprint,
            "form": f"{type(dataset.X).__name__} {getattr(dataset.X, 'dtype', '')}",
            "classes": list(dataset.classes),
        }

    def key(self, train: NDArray[np.int64], asked: NDArray[np.int64], seed: int) -> str:
        """Return the name of the row of a model trained on ``train`` with ``seed`` and asked about ``asked``."""
        parts = {**self._common, "train": self._hash(train), "asked": self._hash(asked), "seed": seed}
        return content_key(parts)

    def _hash(self, index: NDArray[np.int64]) -> str:
        return hashlib.sha256(np.ascontiguousarray(self._digests[index]).tobytes()).hexdigest()


def _record_digests(dataset: Dataset) -> NDArray[np.uint8]:
    records = np.ascontiguousarray(row_hashes(dataset.X))
    labels = np.ascontiguousarray(dataset.y, dtype="<i8")
    return np.concatenate(
        [records.view(np.uint8).reshape(len(dataset), -1), labels.view(np.uint8).reshape(len(dataset), -1)], axis=1
    )
