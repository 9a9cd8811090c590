"""Runs of attacks in worker processes and here, where shadow models gave so many answers that it pays.

What comes of a run does not depend on where it takes place. A run that fails in a worker, and all that were given to one that
died, take place here; so do those of attacks from elsewhere, which may be unlike in another process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, InvalidStateError, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from miaudit.attacks import Attack, Scores
from miaudit.errors import PlanError
from miaudit.evidence import Evidence
from miaudit.evidence.rows import Answers
from miaudit.findings import Perform, Task, Trials
from miaudit.shadows.crew import Crew, failures_of_executors
from miaudit.shadows.fork_server import knows
from miaudit.shadows.sharing import Shared
from miaudit.threads import most_threads, one_thread, threads_at_most, usable_cores

_LEAST = 4_000_000  # numbers that shadow models answered: with fewer, attacks take about as long as processes to start
_SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def beside(trials: Trials, *, repeats: bool, processes: int) -> Iterator[Perform]:
    """Yield what performs the tasks of attacks: in so many processes, of which this one is one, or here alone.

    The others have begun by then.
    """
    own = [task for task in trials.tasks(repeats=repeats) if is_own(trials.each[task.place].attack)]
    count, perform = processes_of(_answered(trials), len(own), processes), trials.perform
    with ExitStack() as ends:
        if count > 1 and (thing := _sendable(trials, own)) is not None:
            failures = ends.enter_context(failures_of_executors())
            with suppress(PlanError):  # no process can be started here, as in a daemonic one
                perform = ends.enter_context(closing(_Runs(trials, own, thing, count, failures))).perform
                ends.enter_context(threads_at_most(threads_of_task()))
        yield perform


def processes_of(answered: int, tasks: int, processes: int) -> int:
    """Return how many processes are to run so many tasks of our own attacks; 1: this one alone.

    Parameters
    ----------
    answered
        How many numbers shadow models answered.
    tasks
        How many there are.
    processes
        How many are allowed.
    """
    return max(1, min(processes, most_threads(), tasks)) if answered >= _LEAST else 1


def threads_of_task() -> int:
    """Return how many threads a task may start beside others: three of an audit's do, those of the 2017 attack."""
    return max(1, usable_cores() // 3)


def is_own(attack: Attack) -> bool:
    """Whether an attack is of this package, with what it is made of, such as the estimator of the 2017 attack."""
    return type(attack).__module__.partition(".")[0] == "miaudit" and knows(attack)


@dataclass(frozen=True)
class _Elsewhere(Attack):
    """In the place of an attack that workers do not run, which counts among those that learn as it does."""

    name = "elsewhere"
    title = paper = ""
    needs = frozenset()
    fewest: int

    @property
    def least_shadows(self) -> int:
        return self.fewest

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        raise NotImplementedError("workers are given no task of this attack")


def _answered(trials: Trials) -> int:
    """Return how many numbers shadow models answered that lie in a store, where workers read them, too; else 0."""
    models = [trial.evidence.models for trial in trials.each]
    if not all(isinstance(each, Answers) for each in models):
        return 0
    return max((len(each) * each.shape[1] * each.shape[2] for each in models), default=0)


def _sendable(trials: Trials, tasks: Iterable[Task]) -> Shared | None:
    """Return what workers are to have of trials, without attacks that they do not run; None where it cannot be sent."""
    places = {task.place for task in tasks}
    each = [
        trial if place in places else replace(trial, attack=_Elsewhere(trial.attack.least_shadows))
        for place, trial in enumerate(trials.each)
    ]
    thing = Shared(replace(trials, each=each))
    try:
        thing.parcel.content  # noqa: B018
    except Exception:  # objects that attacks hold may raise whatever they like
        thing.close()
        return None
    return thing


class _Runs:
    """Tasks that workers and this process take, the next when one is done."""

    def __init__(
        self,
        trials: Trials,
        tasks: Sequence[Task],
        thing: Shared,
        processes: int,
        failures: Sequence[BaseException],
    ) -> None:
        self._trials, self._failures = trials, failures
        longest_first = sorted(tasks, key=lambda task: not trials.each[task.place].attack.learns)
        self._waiting = deque(longest_first)
        self._futures = {task: Future[Any]() for task in tasks}
        self._untold = set(self._futures.values())
        self._crew = Crew(thing, _prepare, ())
        self._workers = list[ProcessPoolExecutor]()
        try:
            self._workers += [self._crew.hire() for _ in range(processes - 1)]
            self._alive = set(self._workers)
            for worker in self._workers:
                self._give(worker)
        except BaseException:
            self.close()
            raise

    def _give(self, worker: ProcessPoolExecutor) -> None:
        """Give a worker the next task, unless none is waiting."""
        try:
            task = self._waiting.popleft()
        except IndexError:
            return
        try:
            future = self._crew.submit(_perform, task, worker)
        except PlanError:  # its process cannot be started, or the workers are dismissed
            self._waiting.appendleft(task)
            self._alive.discard(worker)
        else:
            future.add_done_callback(lambda end: self._take(worker, task, end))

    def _take(self, worker: ProcessPoolExecutor, task: Task, end: Future[Any]) -> None:
        error = CancelledError() if end.cancelled() else end.exception()
        if isinstance(error, BrokenProcessPool):
            self._alive.discard(worker)
        else:
            self._give(worker)
        self._settle(task, None if error else end.result(), error)

    def _settle(self, task: Task, result: Any, error: BaseException | None) -> None:
        with suppress(InvalidStateError):  # done here after all, and there as well
            if error is None:
                self._futures[task].set_result(result)
            else:
                self._futures[task].set_exception(error)

    def perform(self, tasks: Iterable[Task], step: Callable[[], None]) -> list[Any]:
        """Return what comes of tasks, in their order; ``step`` is also called for others that are done meanwhile."""
        tasks, results = list(tasks), dict[Task, Any]()
        for task in tasks:
            if task not in self._futures:
                results[task] = self._trials.of(task)
                step()
        own = [task for task in tasks if task not in results]
        while pending := [task for task in own if not self._futures[task].done()]:
            if not (busy := self._do_next()):
                wait(self._untold, _SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
            if not self._tell(step) and not busy and (self._failures or not self._alive):
                self._do(pending[0])  # nobody else will
        self._tell(step)
        return [results[task] if task in results else self._result(task) for task in tasks]

    def _tell(self, step: Callable[[], None]) -> bool:
        """Call ``step`` for each task that is done since; return whether there was one."""
        complete = {future for future in self._untold if future.done()}
        self._untold -= complete
        for _ in complete:
            step()
        return bool(complete)

    def _do_next(self) -> bool:
        """Do the next task here, unless none is waiting; return whether there was one."""
        try:
            task = self._waiting.popleft()
        except IndexError:
            return False
        self._do(task)
        return True

    def _do(self, task: Task) -> None:
        try:
            self._settle(task, self._trials.of(task), None)
        except Exception as error:  # to be told only where its result is asked for
            self._settle(task, None, error)

    def _result(self, task: Task) -> Any:
        """Return what came of a task, or what comes of it here where it failed, or its worker did."""
        future = self._futures[task]
        return self._trials.of(task) if future.exception() else future.result()

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
    with threads_at_most(threads_of_task()), one_thread(ends_with_us=True):
        return _trials.of(task)
