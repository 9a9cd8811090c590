"""Plant, train and audit in one go: the model and its references are rows of a store, trained as an audit's shadows are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.case import case_of_plan
from miaudit.auditing.workers import Workers, workers_of
from miaudit.canaries.bound import AUDIT, CanaryAudit, bound_epsilon, check_coins, write_audit
from miaudit.canaries.folder import SEALED, load_planted, save_planted, seal_of
from miaudit.canaries.ordinary import check_ordinary
from miaudit.canaries.planting import Canaries, Planted, plant
from miaudit.data import from_arrays
from miaudit.data.dataset import Dataset
from miaudit.data.records import stack_records
from miaudit.errors import PlanError, PoolError, StoreError
from miaudit.permissions import Permissions
from miaudit.plan import EnginePlan, Plan
from miaudit.recipes import Recipe, as_recipe
from miaudit.seeds import child_seed
from miaudit.shadows.engine import Progress, run_jobs
from miaudit.shadows.pool import RowKeys
from miaudit.shadows.training import Job
from miaudit.store import Store
from miaudit.targets.target import Outputs

Tell = Callable[[str, Progress | None], None]


def run(
    subject: Any,
    options: Canaries | None = None,
    *,
    out: str | PathLike[str],
    records: Dataset | tuple[Any, Any] | None = None,
    sources: Dataset | tuple[Any, Any] | None = None,
    references: int = 0,
    seed: int | None = None,
    jobs: int | None = None,
    address: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    time_limit: float | None = None,
    tell: Tell | None = None,
    **reading: Any,
) -> CanaryAudit:
    """Plant canaries, train a model by a recipe on the data with them, and bound its epsilon.

    Parameters
    ----------
    subject
        A `Plan`, or a dict or the path of a TOML file that holds one: canaries are planted among its members and made of its
        non-members. Or a recipe: what `miaudit.audit` takes as ``recipe``; then give ``records``.
    options
        What canaries; mislabelled ones, 1000, unless given.
    out
        Folder for what is planted, the rows of the models, and ``audit.json``. A run that was cut short goes on there.
    records, sources
        With a recipe: what to train on, and records of the same kind to make canaries of, as data sets or pairs ``(X, y)``.
        Without sources canaries are made of some of the records, as in :func:`plant`.
    references
        Further models, trained on the ordinary records alone, that tell a canary's difficulty.
    seed
        Of all draws; drawn unless given. A run that goes on has the seed that it began with.
    jobs, address, device, dtype, time_limit, tell
        As of `miaudit.audit`.
    reading
        With a plan: what `miaudit.audit` takes for reading it: ``data``, and consent (``allow_code``, ``allow_pickle``,
        ``env``, ``trusted``).

    Raises
    ------
    StoreError
        If the folder holds an audit, or other canaries than these.
    PoolError
        If a model could not be trained.
    TimeLimitError
        If the time limit came first; what was trained is kept, and the same call goes on with it.
    """
    called: dict[str, Any] = {
        "jobs": jobs,
        "address": address,
        "device": device,
        "time_limit": time_limit,
        "start": time.monotonic(),
    }
    if references < 0:
        raise PlanError(f"references must be a number of models from 0, got {references}")
    if time_limit is not None and not time_limit > 0:
        raise PlanError(f"time_limit must be a number of seconds above 0, got {time_limit}")
    say = tell or (lambda text, progress: None)
    say("loading", None)
    subject, engine, plain, made_of = _subject(subject, records, sources, reading)
    workers, recipe = workers_of(engine, **called).take(subject, dtype)
    planted, seal = _planted(plain, options or Canaries(), made_of, seed, Path(out))
    check_coins(planted)
    trained = _train(planted, recipe, references, Path(out), workers, say)
    check = check_ordinary(planted, trained.training.labels)
    audit = bound_epsilon(
        planted, trained.training, trained.canaries, trained.references, check=check, queries=trained.queries
    )
    write_audit(Path(out), audit, fingerprint=f"{recipe.name}, trained here", seal=seal)
    return audit


def sides_of_plan(
    plan: Plan, *, data: str | PathLike[str] | None = None, **permissions: Any
) -> tuple[Recipe, Dataset, Dataset]:
    """Return a plan's recipe, the records to train on (its members), and those to make canaries of (its non-members)."""
    case = case_of_plan(plan, data_folder=data, permissions=Permissions(**permissions))
    if case.dataset.values is not None:
        raise PlanError([("recipe.task", "is a regression; canaries are planted in data of classes")])
    return case.recipe, case.dataset.take(case.split.members), case.dataset.take(case.split.nonmembers)


def _subject(
    subject: Any, records: Any, sources: Any, reading: dict[str, Any]
) -> tuple[Recipe, EnginePlan, Dataset, Dataset | None]:
    if not isinstance(subject, Plan | Mapping | str | PathLike):
        if reading:
            raise PlanError(f"{', '.join(reading)} tell how to read a plan; leave them out with a recipe")
        if records is None:
            raise PlanError("to run canaries by a recipe, give records=(X, y) to train on")
        plain = _dataset(records)
        made_of = None if sources is None else _dataset(sources, classes=plain.classes)
        return as_recipe(subject), EnginePlan(), plain, made_of  # type: ignore[call-arg]
    if records is not None or sources is not None:
        raise PlanError("a plan says itself where its records come from: leave out records and sources")
    plan = (
        subject
        if isinstance(subject, Plan)
        else Plan.of(subject)
        if isinstance(subject, Mapping)
        else Plan.load(subject)
    )
    recipe, plain, made_of = sides_of_plan(plan, **reading)
    return recipe, plan.engine, plain, made_of


def _dataset(records: Dataset | tuple[Any, Any], classes: tuple[str, ...] | None = None) -> Dataset:
    return records if isinstance(records, Dataset) else from_arrays(*records, classes=classes)


def _planted(
    records: Dataset, options: Canaries, sources: Dataset | None, seed: int | None, folder: Path
) -> tuple[Planted, str]:
    """Plant in a folder, or go on with what was planted there by a run that was cut short."""
    if not (folder / SEALED).exists():
        planted = plant(records, options, sources=sources, seed=seed)
        return planted, save_planted(planted, folder)
    before, seal = load_planted(folder)
    if not (folder / AUDIT).exists() and before.options == options and seed in (None, before.seed):
        planted = plant(records, options, sources=sources, seed=before.seed)
        if seal_of(planted) == seal:
            return planted, seal
    what = "an audit" if (folder / AUDIT).exists() else "other canaries, or ones of other records,"
    raise StoreError(f"{folder} holds {what} already; plant the new ones into a folder of their own")


@dataclass(frozen=True, eq=False)
class _Trained:
    """What the model said of its training data and of the canaries, and the references of the canaries."""

    training: Outputs
    canaries: Outputs
    references: list[Outputs]
    queries: int


def _train(planted: Planted, recipe: Recipe, references: int, folder: Path, workers: Workers, say: Tell) -> _Trained:
    n, m = len(planted.training), len(planted.canaries)
    together = _together(planted)
    keys, store = RowKeys(together, recipe), Store(folder)
    store.sweep()
    ordinary, canaries = planted.of_records, np.arange(n, n + m)

    def job(name: str, train: NDArray[np.int64], asked: NDArray[np.int64], *path: str | int) -> Job:
        seed = child_seed(planted.seed, *path)
        return Job(keys.key(train, asked, seed), name, train, asked, seed)

    work = [
        job("target", np.arange(n), np.arange(n + m), "target"),
        *(job(f"reference {i}", ordinary, canaries, "reference", i) for i in range(references)),
    ]
    what = "training" if not references else "training the target and references"
    failures = run_jobs(
        work,
        together,
        recipe,
        store,
        workers=workers.count,
        cluster=workers.cluster,
        deadline=workers.deadline,
        tell=lambda progress: say(what, progress),
    )
    if failures:
        raise PoolError(
            f"the {failures[0].name} could not be trained: {failures[0].error}. The traceback is in "
            f"{store.folder / 'journal.jsonl'}; what else was trained is kept, and no canary was scored"
        )
    target, *others = _answers(work, store)
    return _Trained(_part(target, slice(0, n)), _part(target, slice(n, None)), others, len(target.values))


def _together(planted: Planted) -> Dataset:
    """Return the training data and, after them, all canaries."""
    training, canaries = planted.training, planted.canaries
    X, y = stack_records([training.X, canaries.X]), np.concatenate([training.y, canaries.y])
    return replace(training, X=X, y=y, ids=None, groups=None, group_name=None, slices={}, _hashes={})


def _answers(jobs: Sequence[Job], store: Store) -> list[Outputs]:
    rows = [store.get(job.key) for job in jobs]
    if gone := [job.name for job, row in zip(jobs, rows, strict=True) if row is None]:
        raise PoolError(f"the row of the {gone[0]} is gone from {store.folder}; run the same again")
    return [Outputs(row.arrays["outputs"]) for row in rows if row is not None]


def _part(answers: Outputs, part: slice) -> Outputs:
    return Outputs(answers.values[part], answers.kind, answers.classes)
