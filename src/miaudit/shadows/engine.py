"""The engine: train what the store lacks, here, in processes or on a cluster, and lose nothing but the rows in flight."""

from __future__ import annotations

import itertools
import pickle
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from miaudit.data.dataset import Dataset
from miaudit.errors import PoolError, TimeLimitError, counted
from miaudit.recipes import GroupRecipe, Portioned, Recipe, refuse_few, staged
from miaudit.shadows.processes import SECONDS_BETWEEN_LOOKS, Watch, is_late, long_training, train_in_processes
from miaudit.shadows.training import (
    Apart,
    Calibrated,
    Failure,
    Job,
    News,
    Trained,
    Waiting,
    calibrated,
    is_repeated,
    train_and_ask,
)
from miaudit.store import Store
from miaudit.threads import one_thread


@dataclass(frozen=True)
class Cost:
    """What a run is expected to cost, or has cost.

    ``seconds`` is for all ``models`` that were missing, ``peak_bytes`` for all workers together, ``disk_bytes`` for all
    rows.
    """

    models: int
    seconds: float
    peak_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    ``done`` counts rows trained now, ``found`` those that were in the store already, ``damaged`` those that were there but
    could not be read and are trained again. ``estimate`` is there from the calibration on, or else from the first trained
    models on; ``actual`` when all is done. ``processes`` train, 0 if the program does itself. ``apart`` counts models of
    groups that failed as a whole, for the reason ``why_apart``; ``waiting`` is a model that has been training for long.
    ``attacks`` are the seconds that attacks are expected to take, all of them, from the estimate on.
    ``of`` says what is counted: models that are trained, attacks, or records that are made.
    """

    total: int
    found: int
    done: int
    failed: int
    damaged: int
    seconds: float
    estimate: Cost | None = None
    actual: Cost | None = None
    processes: int = 0
    apart: int = 0
    why_apart: str | None = None
    waiting: Waiting | None = None
    of: Literal["models", "attacks", "records"] = "models"
    attacks: float | None = None


def in_groups(jobs: Sequence[Job], dataset: Dataset, recipe: Recipe, workers: int) -> list[list[Job]]:
    """Divide jobs into groups that are trained together: of equal training size, as wide as the recipe wants.

    Groups of one training size are as many as a whole number of rounds of all workers, and as even as can be, so that no
    worker is left with nothing to do; the largest come first. A recipe that trains one model at a time gets groups of one;
    one whose groups could take long gets groups of no more models than its `portion`, as rows are stored group by group.
    """
    if not isinstance(recipe, GroupRecipe):
        return [[job] for job in jobs]
    shape, workers = dataset.X.shape[1:], max(workers, 1)
    width = recipe.group_width(shape, dataset.width)
    by_size: dict[int, list[Job]] = {}
    for job in jobs:
        by_size.setdefault(len(job.train), []).append(job)
    groups: list[list[Job]] = []
    for records, same in sorted(by_size.items(), reverse=True):
        portion = recipe.portion(shape, dataset.width, records=records) if isinstance(recipe, Portioned) else None
        most = max(width if portion is None else min(width, portion), 1)
        count = min(len(same), workers * -(-len(same) // (workers * most)))
        narrow, wider = divmod(len(same), count)
        starts = [i * narrow + min(i, wider) for i in range(count + 1)]
        groups += [same[start:end] for start, end in itertools.pairwise(starts)]
    return groups


class Ending(NamedTuple):
    """How a run ended.

    Attributes
    ----------
    failures
        Models that could not be trained, in the order of the jobs.
    stored
        Facts of the rows that the store had whole when the run began, by key.
    """

    failures: list[Failure]
    stored: dict[str, dict[str, Any]]


GO_ON = ". Run the same command again to go on"
"""What to do where the time limit came first, and the store stays."""


def run_jobs(
    jobs: Sequence[Job],
    dataset: Dataset,
    recipe: Recipe,
    store: Store,
    *,
    workers: int,
    cluster: str | None = None,
    deadline: float | None = None,
    tell: Callable[[Progress], None] | None = None,
    hopeless: Callable[[Sequence[Failure]], bool] | None = None,
) -> Ending:
    """Train what the store lacks; return what could not be trained, and what the store had.

    Parameters
    ----------
    jobs
        What should be in the store afterwards.
    workers
        Processes, each with one thread of arithmetic. 0 trains in this process; so does a recipe that only this
        program can import (one defined in a script or a notebook), because no other process could read it.
    cluster
        Address of a Dask scheduler whose workers train instead; ``workers`` is then how many are expected.
    deadline
        When to stop, by `time.monotonic`: rows in flight are given up then.
    tell
        Called after every group of rows, and about once a second while other processes train and none is ready: what it
        raises ends the training.
    hopeless
        Whether so many failures make all others useless, which ends the training.

    Raises
    ------
    PlanError
        If the recipe has more shards than there are records, or classes, to train a model on.
    StoreError
        If a row cannot be written; rows already written stay.
    PoolError
        If the cluster is lost, or none of its workers can train these models; rows already written stay.
    TimeLimitError
        If the deadline passed before all were trained; rows already written stay.
    """
    if jobs:
        refuse_few(recipe, min(len(job.train) for job in jobs), dataset.width)
    if cluster is None:  # whose workers may not see the folder
        recipe = staged(recipe, store.states)
    run = _Run(jobs, dataset, store, tell)
    missing = run.missing
    run.processes = workers if cluster is not None else 0
    run.tell()
    if not missing:
        return Ending([], run.stored)
    here = not _elsewhere(len(missing), recipe, workers, cluster)
    groups = in_groups(missing, dataset, recipe, 1 if here else workers)
    outcomes: Generator[News, None, None]
    if cluster is not None:
        from miaudit.shadows.dask import train_on_cluster

        outcomes = train_on_cluster(missing, dataset, recipe, store, cluster, deadline)
    else:
        outcomes = (_train_here if here else train_in_processes)(groups, dataset, recipe, store, workers, deadline)
    run.width, run.at_once = len(groups[0]), 1 if here else min(max(workers, 1), len(groups))
    run.processes = 0 if here else run.at_once
    with closing(outcomes):  # so that workers end also where whoever is told ends the run
        for outcome in outcomes:
            run.heed(outcome)
            run.tell()
            if run.failures and hopeless is not None and hopeless(run.failures):
                break
        else:
            if run.ready < len(missing):
                raise TimeLimitError(
                    f"the time limit ended the run with {len(jobs) - len(missing) + run.done:,} of "
                    f"{counted(len(jobs), 'model')} in the store; "
                    f"{len(missing) - run.ready} are missing{GO_ON}"
                )
    order = {job.name: i for i, job in enumerate(jobs)}
    return Ending(sorted(run.failures, key=lambda failure: order[failure.name]), run.stored)


def trains_elsewhere(
    jobs: Sequence[Job], recipe: Recipe, store: Store, *, workers: int, cluster: str | None = None
) -> bool:
    """Whether `run_jobs` has other processes, here or on a cluster, train what the store lacks of these jobs."""
    keys = store.keys()
    return _elsewhere(sum(job.key not in keys for job in jobs), recipe, workers, cluster)


def _elsewhere(missing: int, recipe: Recipe, workers: int, cluster: str | None) -> bool:
    return cluster is not None or (workers >= 1 and missing > 1 and _other_processes_can_read(recipe))


class _Run:
    """What became so far of the models of a run, and what it takes."""

    def __init__(
        self, jobs: Sequence[Job], dataset: Dataset, store: Store, tell: Callable[[Progress], None] | None
    ) -> None:
        self._began, damaged = time.perf_counter(), len(store.damaged)
        self.stored = store.facts(job.key for job in jobs)
        self.missing = [job for job in jobs if job.key not in self.stored]
        self._damaged = len(store.damaged) - damaged
        self._jobs, self._store, self._tell = jobs, store, tell
        self._bytes = sum(4 * len(job.asked) * dataset.width for job in jobs)
        self.done = 0
        self.failures, self._apart = list[Failure](), list[Apart]()
        self.processes, self.at_once, self.width = 0, 1, 1  # models at once, and those of a group
        self._waiting: Waiting | None = None
        self._estimate: Cost | None = None
        self._actual: Cost | None = None
        self._peak = 0

    @property
    def ready(self) -> int:
        """How many of the missing models are trained or failed."""
        return self.done + len(self.failures)

    def heed(self, outcome: News) -> None:
        """Count what became of a group, and note what went wrong."""
        for failure in (each for each in outcome if isinstance(each, Failure)):
            self._store.note("row failed", name=failure.name, error=failure.error, traceback=failure.traceback)
            self.failures.append(failure)
        for group in (each for each in outcome if isinstance(each, Apart)):
            self._store.note("group failed and was trained one by one", models=group.models, error=group.error)
            self._apart.append(group)
        self._waiting = next((each for each in outcome if isinstance(each, Waiting)), None)
        models = [each for each in outcome if isinstance(each, Trained)]
        self.done += len(models)
        self._peak = max([self._peak, *(each.peak_bytes for each in models)])
        if self._estimate is None and (samples := [each for each in outcome if isinstance(each, Trained | Calibrated)]):
            others = (self.at_once - 1) * self.width  # which the other workers have finished about now
            rest = len(self.missing) - (self.ready + others if self.done else 0)
            seconds = self._seconds + samples[0].seconds * max(rest, 0) / self.at_once
            self._estimate = Cost(len(self.missing), seconds, samples[0].peak_bytes * self.at_once, self._bytes)
        if self.ready == len(self.missing):
            size = self._store.size(job.key for job in self._jobs)
            self._actual = Cost(self.done, self._seconds, self._peak * self.at_once, size)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def tell(self) -> None:
        """Tell how far the run is."""
        if self._tell is not None:
            counts = (
                len(self._jobs),
                len(self._jobs) - len(self.missing),
                self.done,
                len(self.failures),
                self._damaged,
            )
            costs = (self._seconds, self._estimate, self._actual, self.processes)
            why = self._apart[0].error if self._apart else None
            models = sum(each.models for each in self._apart)
            self._tell(Progress(*counts, *costs, models, why, self._waiting))


def cost_of(
    jobs: Sequence[Job],
    dataset: Dataset,
    recipe: Recipe,
    store: Store,
    *,
    workers: int,
    cluster: str | None = None,
    deadline: float | None = None,
) -> Cost | None:
    """Return what training these jobs will take, by the first of them; None where another machine trains.

    Parameters
    ----------
    jobs
        What is missing, one at least. The first is trained, or a group with it, and its row kept; of a recipe that can be
        shortened an epoch is.
    dataset, recipe, store, workers, cluster, deadline
        As of `run_jobs`.

    Raises
    ------
    PoolError
        If it cannot be trained.
    TimeLimitError
        If the deadline passed first.
    """
    if cluster is not None or getattr(recipe, "remote", False):
        return None
    recipe = staged(recipe, store.states)
    here = workers < 1 or not _other_processes_can_read(recipe)
    groups = in_groups(jobs, dataset, recipe, 1 if here else workers)
    at_once = 1 if here else min(max(workers, 1), len(groups))
    crew, began = _train_here if here else train_in_processes, time.perf_counter()
    with closing(crew([groups[0]] * 2, dataset, recipe, store, 1, deadline)) as outcomes:  # of two groups one is tried
        for outcome in outcomes:
            if failure := next((each for each in outcome if isinstance(each, Failure)), None):
                raise PoolError(f"the {failure.name} could not be trained: {failure.error}")
            first = next((each for each in outcome if isinstance(each, Trained | Calibrated)), None)
            if first is not None:
                break
        else:
            raise TimeLimitError("the time limit came before the first model was trained; nothing can be foreseen")
    tried = len(groups[0]) * first.seconds if isinstance(first, Trained) else 0.0
    repeated = tried > 0 and len(groups[0]) == 1 and is_repeated(groups[0][0], recipe, first.seconds)
    start = max(time.perf_counter() - began - tried * (1 + repeated), 0.0)
    rows = sum(4 * len(job.asked) * dataset.width for job in jobs)
    return Cost(len(jobs), start + first.seconds * len(jobs) / at_once, first.peak_bytes * at_once, rows)


def _train_here(
    groups: Sequence[list[Job]],
    dataset: Dataset,
    recipe: Recipe,
    store: Store,
    workers: int,
    deadline: float | None,
) -> Generator[News, None, None]:
    """Train in this process; a thread beside it does the telling, so that a model that hangs is told of."""
    watch = Watch()
    with one_thread():
        if len(groups) > 1:
            yield calibrated(groups[0], dataset, recipe)
        for group in groups:
            if is_late(deadline):
                return
            began = time.monotonic()
            with _told_of(group, watch):
                outcomes = train_and_ask(group, dataset, recipe, store)
            watch.took.append(time.monotonic() - began)
            yield outcomes


@contextmanager
def _told_of(group: Sequence[Job], watch: Watch) -> Iterator[None]:
    """Say on stderr that a model has been training for long, for as long as the block lasts."""
    over = threading.Event()
    began = time.monotonic()

    def tell() -> None:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            late = watch.late(group[0].name, time.monotonic() - began)
            if late is not None and sys.stderr is not None:
                sys.stderr.write(f"miaudit: {long_training(late)}\n")

    thread = threading.Thread(target=tell, daemon=True, name="miaudit watches a model")
    thread.start()
    try:
        yield
    finally:
        over.set()


def _other_processes_can_read(recipe: Recipe) -> bool:
    try:
        return b"__main__" not in pickle.dumps(recipe)
    except Exception:
        return False
