"""Plant, train and audit in one go: the model and its references are rows of a store, trained as an audit's shadows are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing import Engine, case_of_plan
from miaudit.auditing.asking import Tell, quiet
from miaudit.auditing.from_plan import refuse_reading
from miaudit.auditing.workers import Workers, taken
from miaudit.canaries.bound import AUDIT, CanaryAudit, bound_epsilon, write_audit
from miaudit.canaries.folder import SEALED, load_planted, save_planted, seal_of
from miaudit.canaries.ordinary import check_ordinary
from miaudit.canaries.planting import Canaries, Planted, plant
from miaudit.data import from_arrays
from miaudit.data.dataset import Dataset
from miaudit.data.records import stack_records
from miaudit.documents import plain
from miaudit.errors import PlanError, PoolError, StoreError
from miaudit.plan import PLANS, EnginePlan, UnlearningPlan, plan_of, section_of
from miaudit.plan.permissions import Permissions
from miaudit.recipes import Recipe, as_recipe
from miaudit.seeds import child_seed
from miaudit.shadows.engine import run_jobs
from miaudit.shadows.pool import RowKeys
from miaudit.shadows.training import AFTER, Job
from miaudit.store import Store
from miaudit.targets.target import Outputs
from miaudit.unlearning.case import unlearned


def run(
    subject: Any,
    options: Canaries | None = None,
    *,
    out: str | PathLike[str],
    records: Dataset | tuple[Any, Any] | None = None,
    sources: Dataset | tuple[Any, Any] | None = None,
    references: int = 0,
    procedure: Any = None,
    seed: int | None = None,
    tell: Tell | None = None,
    data: str | PathLike[str] | None = None,
    **work: Any,
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
    procedure
        With ``options.delete``: how the included canaries are deleted again, as of `miaudit.unlearning.audit`; default: what
        the plan's section ``[unlearning]`` says, or else retraining.
    seed
        Of all draws; drawn unless given. A run that goes on has the seed that it began with.
    data, tell
        As of `miaudit.audit`.
    work
        How the work is done, as of `miaudit.auditing.Engine`; and with a plan consent, as of
        `miaudit.plan.permissions.Permissions`.

    Raises
    ------
    StoreError
        If the folder holds an audit, or other canaries than these.
    PoolError
        If a model could not be trained.
    TimeLimitError
        If the time limit came first; what was trained is kept, and the same call goes on with it.
    """
    began, tell = time.monotonic(), tell or quiet
    (engine, permissions), unknown = taken(work, Engine, Permissions)
    if unknown:
        raise TypeError(f"canaries.run takes no {', '.join(unknown)}")
    if references < 0:
        raise PlanError(f"references must be a number of models from 0, got {references}")
    tell("loading", None)
    if isinstance(subject, PLANS):
        if records is not None or sources is not None:
            raise PlanError("a plan says itself where its records come from: leave out records and sources")
        sides = sides_of_plan(subject, data_folder=data, permissions=permissions, engine=engine)
    else:
        refuse_reading(data, permissions)
        sides = _sides(subject, records, sources)
    options = options or Canaries()
    if procedure is not None and not options.delete:
        raise PlanError([("procedure", "says how canaries are deleted again: ask for that by Canaries(delete=True)")])
    workers, recipe = engine.start(sides.engine, sides.recipe, began=began)
    if options.delete:
        recipe = unlearned(recipe, sides.unlearning, procedure)
    plain({"recipe": [recipe.name, recipe.describe()]}, "the canary audit")
    planted, seal = _planted(sides.records, options, sides.sources, seed, Path(out))
    answers = _train(planted, recipe, references, Path(out), workers, tell)
    check = check_ordinary(planted, answers.training.labels)
    audit = bound_epsilon(
        planted, answers.training, answers.canaries, answers.references, check=check, queries=answers.queries
    )
    write_audit(Path(out), audit, fingerprint=f"{recipe.name}, trained here", seal=seal)
    return audit


class Sides(NamedTuple):
    """How to train, what on, what to make canaries of, and how the work is done."""

    recipe: Recipe
    records: Dataset
    sources: Dataset | None
    engine: EnginePlan
    unlearning: UnlearningPlan


def sides_of_plan(subject: Any, **reading: Any) -> Sides:
    """Return what a plan trains on, its members, and those to make canaries of, its non-members; see `case_of_plan`."""
    plan = plan_of(subject)
    case = case_of_plan(plan, **reading)
    if case.dataset.values is not None:
        raise PlanError([("recipe.task", "is a regression; canaries are planted in data of classes")])
    members, nonmembers = (case.dataset.take(side) for side in (case.split.training, case.split.untrained))
    return Sides(case.recipe, members, nonmembers, case.engine, plan.unlearning)


def _sides(recipe: Any, records: Any, sources: Any) -> Sides:
    if records is None:
        raise PlanError("to run canaries by a recipe, give records=(X, y) to train on")
    ordinary = _dataset(records)
    made_of = None if sources is None else _dataset(sources, classes=ordinary.classes)
    return Sides(as_recipe(recipe), ordinary, made_of, section_of(EnginePlan, {}), section_of(UnlearningPlan, {}))


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
class _Answers:
    """What the model said of its training data and of the canaries, and the references of the canaries."""

    training: Outputs
    canaries: Outputs
    references: list[Outputs]
    queries: int


def _train(planted: Planted, recipe: Recipe, references: int, folder: Path, workers: Workers, tell: Tell) -> _Answers:
    n, m = len(planted.training), len(planted.canaries)
    together = _together(planted)
    keys, store = RowKeys(together, recipe), Store(folder)
    store.sweep()
    ordinary, canaries = planted.of_records, np.arange(n, n + m)

    def job(
        name: str,
        train: NDArray[np.int64],
        records: NDArray[np.int64],
        *path: str | int,
        forget: NDArray[np.int64] | None = None,
    ) -> Job:
        seed = child_seed(planted.seed, *path)
        return Job(keys.key(train, records, seed, forget=forget), name, train, records, seed, forget=forget)

    forget = planted.of_canaries if planted.options.delete else None
    work = [
        job("target", np.arange(n), np.arange(n + m), "target", forget=forget),
        *(job(f"reference {i}", ordinary, canaries, "reference", i) for i in range(references)),
    ]
    what = "training" if not references else "training the target and references"
    failures = run_jobs(
        work,
        together,
        recipe,
        store,
        **workers.options,
        tell=lambda progress: tell(what, progress),
        hopeless=bool,  # no bound is without all of them
    ).failures
    if failures:
        raise PoolError(
            f"the {failures[0].name} could not be trained: {failures[0].error}. The traceback is in "
            f"{store.folder / 'journal.jsonl'}; what else was trained is kept, and no canary was scored"
        )
    target, *others = _answers(work, store)
    return _Answers(_part(target, slice(0, n)), _part(target, slice(n, None)), others, len(target.values))


def _together(planted: Planted) -> Dataset:
    """Return the training data and, after them, all canaries."""
    training, canaries = planted.training, planted.canaries
    X, y = stack_records([training.X, canaries.X]), np.concatenate([training.y, canaries.y])
    return replace(training, X=X, y=y, ids=None, groups=None, group_name=None, slices={}, _hashes={})


def _answers(jobs: Sequence[Job], store: Store) -> list[Outputs]:
    rows = [store.get(job.key) for job in jobs]
    if gaps := [job.name for job, row in zip(jobs, rows, strict=True) if row is None]:
        raise PoolError(f"the row of the {gaps[0]} is gone from {store.folder}; run the same again")
    return [Outputs(row.arrays.get(AFTER, row.arrays["outputs"])) for row in rows if row is not None]


def _part(answers: Outputs, part: slice) -> Outputs:
    return Outputs(answers.values[part], answers.kind, answers.classes)
