"""Runs of attacks in worker processes and here, where shadow models gave so many answers that it pays.

What comes of a run does not depend on where it takes place. A run that fails in a worker, and all that were given to one that
died, take place here; so do those of attacks from elsewhere, which may be unlike in another process.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from typing import Any

from miaudit.errors import PlanError
from miaudit.evidence.rows import Answers
from miaudit.findings import Perform, Task, Trials
from miaudit.shadows.crew import Crew, failures_of_executors
from miaudit.shadows.sharing import Shared
from miaudit.threads import most_threads, one_core, one_thread

_LEAST = 4_000_000  # numbers that shadow models answered: with fewer, attacks take about as long as processes to start
_SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def beside(trials: Trials, *, repeats: bool, processes: int) -> Iterator[Perform]:
    """Yield what performs the tasks of attacks: in so many processes, of which this one is one, or here alone.

    The others have begun by then.
    """
    own = [task for task in trials.tasks(repeats=repeats) if _is_own(trials, task)]
    runs: _Runs | None = None
    if processes > 1 and len(own) > 1 and _answered(trials) >= _LEAST:
        # a daemonic process may start none; attacks may hold what cannot be sent
        with suppress(PlanError, pickle.PicklingError, AttributeError, TypeError):
            runs = _Runs(trials, own, min(processes, most_threads(), len(own)))
    if runs is None:
        yield trials.perform
        return
    with one_core(), closing(runs):
        yield runs.perform


def _is_own(trials: Trials, task: Task) -> bool:
    return type(trials.each[task.place].attack).__module__.partition(".")[0] == "miaudit"


def _answered(trials: Trials) -> int:
    """Return how many numbers shadow models answered that lie in a store, where workers read them, too; else 0."""
    models = [trial.evidence.models for trial in trials.each]
    if not all(isinstance(each, Answers) for each in models):
        return 0
    return max((len(each) * each.shape[1] * each.shape[2] for each in models), default=0)


class _Runs:
    """Tasks that workers and this process take, the next when one is done."""

    def __init__(self, trials: Trials, tasks: Sequence[Task], processes: int) -> None:
        self._trials = trials
        self._waiting = deque(
            sorted(tasks, key=lambda task: not trials.each[task.place].attack.learns)
        )  # longest first
        self._futures = {task: Future[Any]() for task in tasks}
        self._untold = set(self._futures.values())
        thing = Shared(trials)
        thing.parcel.content  # noqa: B018  (what cannot be sent is told here)
        self._crew = Crew(thing, _prepare, ())
        self._workers = [self._crew.hire() for _ in range(processes - 1)]
        self._alive = set(self._workers)
        for worker in self._workers:
            self._give(worker)

    def _give(self, worker: ProcessPoolExecutor) -> None:
        with suppress(IndexError, RuntimeError):  # none is left, or the workers are dismissed
            task = self._waiting.popleft()
            self._crew.submit(_perform, task, worker).add_done_callback(lambda end: self._take(worker, task, end))

    def _take(self, worker: ProcessPoolExecutor, task: Task, end: Future[Any]) -> None:
        error = CancelledError() if end.cancelled() else end.exception()
        if isinstance(error, BrokenProcessPool):
            self._alive.discard(worker)
        else:
            self._give(worker)
        if error is None:
            self._futures[task].set_result(end.result())
        else:
            self._futures[task].set_exception(error)

    def perform(self, tasks: Iterable[Task], step: Callable[[], None]) -> list[Any]:
        """Return what comes of tasks, in their order; ``step`` is also called for others that are done meanwhile."""
        tasks, results = list(tasks), dict[Task, Any]()
        for task in tasks:
            if task not in self._futures:
                results[task] = self._trials.of(task)
                step()
        with failures_of_executors() as failures:
            while pending := [task for task in tasks if task not in results]:
                busy = self._do_next()
                complete = wait(self._untold, 0 if busy else _SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED).done
                lost = not busy and not complete and bool(failures or not self._alive)
                for _ in complete:
                    step()
                self._untold -= complete
                results |= {task: self._result(task) for task in pending if lost or self._futures[task].done()}
        return [results[task] for task in tasks]

    def _do_next(self) -> bool:
        """Do the next task here, unless none is waiting; return whether there was one."""
        try:
            task = self._waiting.popleft()
        except IndexError:
            return False
        self._futures[task].set_result(self._trials.of(task))
        return True

    def _result(self, task: Task) -> Any:
        """Return what came of a task, or what comes of it here where a worker failed in it, or will not do it."""
        future = self._futures[task]
        return self._trials.of(task) if not future.done() or future.exception() else future.result()

    def close(self) -> None:
        """End the workers."""
        self._waiting.clear()
        self._crew.dismiss(self._workers, finished=False)


_read: Callable[[], Trials] | None = None
_trials: Trials | None = None


def _prepare(read: Callable[[], Trials]) -> None:
    global _read
    _read = read


def _perform(task: Task) -> Any:
    global _trials
    if _trials is None:
        assert _read is not None
        _trials = _read()
    with one_core(), one_thread(ends_with_us=True):
        return _trials.of(task)
