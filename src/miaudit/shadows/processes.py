"""Training in processes of this machine: one with one thread of arithmetic for each core.

When a worker (`miaudit.shadows.crew`) is killed, only the rows it was training are in doubt. Those are given to a fresh one.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import numpy as np

from miaudit.data.dataset import Dataset
from miaudit.errors import PlanError
from miaudit.libraries import keep_freed_memory
from miaudit.recipes import Recipe, fingerprint_of_recipe, innermost
from miaudit.shadows import fork_server
from miaudit.shadows.crew import Crew, failures_of_executors, starting
from miaudit.shadows.guard import ENDINGS
from miaudit.shadows.sharing import Shared
from miaudit.shadows.training import (
    Failure,
    Job,
    News,
    Trained,
    Waiting,
    calibrated,
    latest_fingerprint,
    train_and_ask,
)
from miaudit.store import Store
from miaudit.threads import one_thread

PATIENCE = 60.0
"""Seconds of training after which a model is told of, and ten times what the others took; then at each doubling."""

ATTEMPTS = 3
"""How often a row is given to a fresh worker after its worker died, before it counts as failed."""


SECONDS_BETWEEN_LOOKS = 1.0

_Found = News  # what a task of a worker returns


class _Running(dict[Future[_Found], tuple[list[Job], ProcessPoolExecutor]]):
    """The groups that are being trained, and the worker of each."""


class Watch:
    """When a model that is still in training is to be told of."""

    def __init__(self) -> None:
        self.took: list[float] = []  # seconds of what is trained
        self.next: dict[str, float] = {}

    def late(self, name: str, seconds: float) -> Waiting | None:
        """Return that a model has been training for so long, where that is to be told now."""
        usual = 10 * float(np.median(self.took)) if self.took else 0.0
        if seconds < self.next.setdefault(name, max(PATIENCE, usual)):
            return None
        self.next[name] = 2 * seconds
        return Waiting(name, seconds)


def long_training(waiting: Waiting) -> str:
    """Return the sentence about a model that has been training for long."""
    minutes = waiting.seconds / 60
    duration = f"{minutes:.0f} minutes" if minutes >= 2 else f"{waiting.seconds:.0f} seconds"
    return (
        f"{waiting.name} has been training for {duration}; --time-limit ends a run that hangs, and keeps finished rows"
    )


def is_late(deadline: float | None) -> bool:
    """Whether a deadline has passed."""
    return deadline is not None and time.monotonic() >= deadline


def train_in_processes(
    groups: Sequence[list[Job]],
    dataset: Dataset,
    recipe: Recipe,
    store: Store,
    workers: int,
    deadline: float | None,
) -> Generator[News, None, None]:
    """Train in so many processes; yield what became of each group, and of a model that has been training for long.

    Where nothing has happened for a second, nothing is yielded as news: whoever reads it can end the training then.
    """
    crew = Trainers(dataset, recipe, store)
    idle, running = list[ProcessPoolExecutor](), _Running()
    finished = False
    try:
        with failures_of_executors() as failures:
            idle.extend(crew.hire() for _ in range(min(workers, len(groups))))
            if len(groups) > len(idle):  # with a group for each worker, the first models come as soon as an estimate
                future = crew.submit(_calibrate, groups[0], idle[-1])
                running[future] = ([], idle.pop())
            finished = yield from _news_of(crew, deque(groups), idle, running, failures, deadline)
    finally:
        crew.dismiss([*idle, *(worker for _, worker in running.values())], finished=finished)


def _news_of(
    crew: Trainers,
    waiting: deque[list[Job]],
    idle: list[ProcessPoolExecutor],
    running: _Running,
    failures: Sequence[BaseException],
    deadline: float | None,
) -> Generator[News, None, bool]:
    """Give groups to idle workers and yield what becomes of them; return whether that is all, and not for the deadline."""
    since: dict[Future[_Found], float] = {}
    watch = Watch()
    while waiting or running:
        if is_late(deadline):
            return False
        while waiting and idle:
            group = waiting.popleft()
            crew.attempts.update(job.key for job in group)
            future = crew.submit(_work, group, idle[-1])
            running[future], since[future] = (group, idle.pop()), time.monotonic()
        look = min(SECONDS_BETWEEN_LOOKS, math.inf if deadline is None else max(0.0, deadline - time.monotonic()))
        complete = wait(running, look, return_when=FIRST_COMPLETED).done
        for future in since.keys() & (running.keys() - complete):
            if (late := watch.late(running[future][0][0].name, time.monotonic() - since[future])) is not None:
                yield [late]
        if not complete:
            with starting():
                if failures:
                    raise failures[0]
            yield []
        for future in complete:
            group, worker = running.pop(future)
            watch.took.append(time.monotonic() - since.pop(future, time.monotonic()))
            error = future.exception()
            if error is None:
                idle.append(worker)
                yield future.result()
            elif isinstance(error, BrokenProcessPool):
                idle.append(crew.hire())
                news, again = crew.bury(worker, group)
                waiting.extend(again)
                yield from news
            else:
                raise error
    return True


class Trainers(Crew):
    """Workers of a training, which have its records and its recipe."""

    def __init__(self, dataset: Dataset, recipe: Recipe, store: Store) -> None:
        thing = dataset, recipe, fingerprint_of_recipe(recipe).sources
        super().__init__(Shared(thing), partial(_prepare, str(store.folder)), fork_server.modules_of(recipe))
        self.attempts, self._store = Counter[str](), store  # how often the row of each key was given to a worker

    def bury(self, worker: ProcessPoolExecutor, group: list[Job]) -> tuple[list[News], list[list[Job]]]:
        """Return what became of the group of a worker that died, and which models to train again, each alone.

        So no model can take others down with it.
        """
        code, how = self.lose(worker)
        news, again, keys = list[News](), list[list[Job]](), self._store.keys()
        for job in group:
            attempt = self.attempts[job.key]
            self._store.note("worker died", name=job.name, attempt=attempt, how=how)
            if job.key in keys:
                news.append([Trained(0.0, 0)])
            elif code in ENDINGS and len(group) == 1:
                news.append([Failure(job.name, how, "")])
            elif attempt < ATTEMPTS:
                again.append([job])
            else:
                news.append([Failure(job.name, f"its worker died {ATTEMPTS} times, {how}", "")])
        return news, again


_worker: tuple[Dataset, Recipe, Store] | None = None

_changes: list[str] = []
"""Modules of the recipe whose source this worker found changed."""


def _prepare(folder: str, read: Callable[[], Any]) -> None:
    global _worker
    dataset, recipe, sources = read()
    now = latest_fingerprint(recipe).sources if sources else {}
    _changes.extend(sorted(name for name in sources.keys() & now.keys() if sources[name] != now[name]))
    if not getattr(innermost(recipe), "allocates_once", False):
        keep_freed_memory()
    _worker = (dataset, recipe, Store(folder))


def _work(group: list[Job]) -> _Found:
    assert _worker is not None
    if _changes:
        raise PlanError(
            f"the code of the recipe was changed after the run began ({', '.join(_changes)}), and its rows are named by the "
            "code it began with: put that back, or run the same command again, which trains with the new code"
        )
    with one_thread(ends_with_us=True):
        return train_and_ask(group, *_worker)


def _calibrate(group: list[Job]) -> _Found:
    assert _worker is not None
    with one_thread(ends_with_us=True):
        return calibrated(group, *_worker[:2])
