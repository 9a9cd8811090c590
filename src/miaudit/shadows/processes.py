"""The crew of processes on this machine: one with one thread of arithmetic for each core.

Each comes from a server that has the libraries loaded (`miaudit.shadows.fork_server`), and is behind an executor of its own:
when one is killed, only the rows it was training are in doubt, and those are given to a fresh one. Workers end with the
program, however it ends, and take with them what their models left running; only where a training never lets go of Python's
lock do they outlive a program that is killed.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import numpy as np

from miaudit.data.dataset import Dataset
from miaudit.errors import PlanError
from miaudit.files import (
    has_temporary_folders,
    own_temporary_folders,
    remove_temporary_folders,
    remove_temporary_folders_of,
)
from miaudit.libraries import keep_freed_memory
from miaudit.recipes import Recipe, fingerprint_of_recipe, innermost
from miaudit.shadows import fork_server
from miaudit.shadows.guard import ENDINGS, keep_descriptors, open_descriptors, really_exit
from miaudit.shadows.preloading import ignore_interrupts, interrupts_held
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

SECONDS_FOR_EXIT_CODE = 1.0

SECONDS_FOR_GROUP = 3.0
"""How long to wait for the processes of a worker that are killed, and for what removes what they shared in memory."""


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
    crew = _Crew(dataset, recipe, store)
    idle, running = list[ProcessPoolExecutor](), _Running()
    finished = False
    try:
        with _failures_of_executors() as failures:
            idle.extend(crew.hire() for _ in range(min(workers, len(groups))))
            if len(groups) > len(idle):  # with a group for each worker, the first models come as soon as an estimate
                future = crew.submit(_calibrate, groups[0], idle[-1])
                running[future] = ([], idle.pop())
            finished = yield from _news_of(crew, deque(groups), idle, running, failures, deadline)
    finally:
        crew.dismiss([*idle, *(worker for _, worker in running.values())], finished=finished)


def _news_of(
    crew: _Crew,
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
            with _starting():
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


@contextmanager
def _failures_of_executors() -> Iterator[list[BaseException]]:
    """Yield a list that gets what ends a thread of an executor of processes, as where it can start no further thread.

    Nobody else is told, and the executor's work would be waited for forever.
    """
    failures = list[BaseException]()
    before = threading.excepthook

    def note(end: Any) -> None:
        if type(end.thread).__module__ == ProcessPoolExecutor.__module__:
            failures.append(end.exc_value)
        else:
            before(end)

    threading.excepthook = note
    try:
        yield failures
    finally:
        if threading.excepthook is note:
            threading.excepthook = before


@contextmanager
def _starting() -> Iterator[None]:
    """Turn what keeps this program from starting processes into an error that says what to do."""
    try:
        yield
    except BrokenProcessPool:  # it was started, and died
        raise
    except (AssertionError, EOFError, OSError, RuntimeError) as error:
        raise PlanError(
            f"processes that train cannot be started here ({error or type(error).__name__}). They need semaphores (on Linux in "
            "/dev/shm), open files (ulimit -n), and processes and threads (ulimit -u), and a daemonic process, such as one of "
            "multiprocessing.Pool or Celery, may start none. Allow what is missing, or train in this process (--jobs 0, in "
            "Python jobs=0)"
        ) from error


class _Crew:
    """Workers of a training, each an executor of one process that gets records and recipe when it starts."""

    @_starting()
    def __init__(self, dataset: Dataset, recipe: Recipe, store: Store) -> None:
        self.attempts = Counter[str]()  # how often the row of each key was given to a worker
        self._records, self._store = Shared((dataset, recipe, fingerprint_of_recipe(recipe).sources)), store
        fork_server.load_early(fork_server.modules_of(recipe))
        with _main_module_hidden():
            self._context = fork_server.context()
        # Workers end when our end of the lifeline closes, also when we are killed.
        self._lifeline, self._ours = self._context.Pipe(duplex=False)
        self._doors: dict[ProcessPoolExecutor, tuple[Connection, Connection]] = {}  # of those that wait for records
        self._processes: dict[ProcessPoolExecutor, Any] = {}
        self._owners: dict[ProcessPoolExecutor, str] = {}  # what the names of their temporary folders hold

    @_starting()
    def hire(self) -> ProcessPoolExecutor:
        """Return a new worker; its process starts with its first task, in this program's working directory."""
        try:
            Path.cwd()
        except FileNotFoundError:
            raise PlanError(
                "the working directory was removed, and processes that train begin in it: run again from a folder that is "
                "there, or train in this process (--jobs 0, in Python jobs=0)"
            ) from None
        door, inlet = self._context.Pipe(duplex=False)
        owner = uuid4().hex
        setup = (self._lifeline, door, str(self._store.folder), owner)
        worker = ProcessPoolExecutor(1, mp_context=self._context, initializer=_start_worker, initargs=setup)
        self._doors[worker], self._owners[worker] = (door, inlet), owner
        return worker

    @_starting()
    def submit(
        self, act: Callable[[list[Job]], _Found], group: list[Job], worker: ProcessPoolExecutor
    ) -> Future[_Found]:
        """Have a worker act on a group."""
        with _main_module_hidden(), interrupts_held():
            before = set(multiprocessing.active_children()) if worker in self._doors else set()
            try:
                future = worker.submit(act, group)  # the first one starts the process
            except BrokenProcessPool as error:  # it died while it had nothing to do
                future = Future()
                future.set_exception(error)
            if worker in self._doors:
                self._processes[worker] = next(iter(set(multiprocessing.active_children()) - before), None)
        if worker in self._doors:
            door, inlet = self._doors.pop(worker)
            door.close()  # the worker's now; if it dies, sending ends with an error
            threading.Thread(target=_send, args=(inlet, self._records, surroundings()), daemon=True).start()
        return future

    def bury(self, worker: ProcessPoolExecutor, group: list[Job]) -> tuple[list[News], list[list[Job]]]:
        """Return what became of the group of a worker that died, and which models to train again, each alone.

        So no model can take others down with it.
        """
        worker.shutdown(wait=False)
        process = self._processes.pop(worker, None)
        code, how = death(process)
        self._clear(worker, process)
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

    def dismiss(self, workers: Sequence[ProcessPoolExecutor], *, finished: bool) -> None:
        """End the workers at once: in the middle of a row, or without a second spent on unloading libraries."""
        self._records.close()
        self._ours.close()
        for worker in workers:
            worker.shutdown(wait=finished, cancel_futures=True)
        self._lifeline.close()
        end = time.monotonic() + SECONDS_FOR_GROUP
        for worker in workers:
            process = self._processes.get(worker)
            if process is not None:
                process.join(max(0.0, end - time.monotonic()))
                self._clear(worker, process)  # it cannot end itself where its code holds Python's lock, or killed it

    def _clear(self, worker: ProcessPoolExecutor, process: Any) -> None:
        """Remove what a worker left: processes of its group, and temporary folders."""
        if process is not None and hasattr(os, "killpg"):
            end_group(process.pid)
        remove_temporary_folders_of(self._owners.pop(worker))


def death(process: Any) -> tuple[int | None, str]:
    """Return the exit code of a worker that died, None where it cannot be had, and how to say it."""
    code, end = None, time.monotonic() + SECONDS_FOR_EXIT_CODE
    if process is not None:
        with suppress(Exception):
            process.join(5)
            # The executor's own thread may have collected the code just before us: until it has noted it, there is none.
            while (code := process.exitcode) is None and time.monotonic() < end:
                time.sleep(0.01)
    if code is None:
        return code, "how is not known"
    if code in ENDINGS:
        return code, ENDINGS[code]
    if code == -signal.SIGKILL:
        return code, "as when memory runs out"
    if code < 0:
        return code, f"killed by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"by signal {-code}"
    return code, f"with exit code {code}"


_worker: tuple[Dataset, Recipe, Store] | None = None

_changes: list[str] = []
"""Modules of the recipe whose source this worker found changed."""

_hiding = threading.Lock()  # one audit at a time starts a process, so that it is told whose it is


def surroundings() -> tuple[dict[str, str], int]:
    """Return the environment and the file mode mask of this process, which a fork of the server has of an earlier time."""
    mask = os.umask(0o022)
    os.umask(mask)
    return dict(os.environ), mask


def _send(inlet: Connection, records: Shared, around: tuple[dict[str, str], int]) -> None:
    # Not as arguments of the process: starting one writes them to a pipe that this program holds both ends of, and
    # would wait forever for a worker that was killed before it could read.
    with suppress(OSError), inlet:
        inlet.send((records.parcel, around))


def _end() -> NoReturn:
    """End this worker with what its models left running, and remove what they left, which may hold records.

    A copy of it does so, in a group of its own: a command that goes on would write into its folder once more, and what Python's
    trackers remove is not free before this process is gone.
    """
    if hasattr(os, "killpg") and os.getpgrp() == (group := os.getpid()):
        if has_temporary_folders() or _members(group) != [group]:
            warnings.simplefilter("ignore")  # of a copy of a process with threads: it runs none of their code
            try:
                copy = os.fork()
            except OSError:  # no more processes, or no memory for one
                remove_temporary_folders()
            else:
                with suppress(OSError):  # both do it, so that it is done when either kills the group
                    os.setpgid(copy, 0)
                if copy == 0:
                    os.closerange(3, max(open_descriptors(), default=2) + 1)  # trackers wait until all of us have
                    end_group(group)
                    remove_temporary_folders()
                    really_exit(0)
                with suppress(OSError):
                    os.waitpid(copy, 0)  # it kills us
        os.killpg(0, signal.SIGKILL)
    remove_temporary_folders()
    really_exit(1)


def end_group(group: int) -> None:
    """Kill the processes of a group, and wait until they are gone, or do nothing any more.

    Trackers of Python's and joblib's come last: when the others are gone they remove what these shared in memory, and end.
    """
    end = time.monotonic() + SECONDS_FOR_GROUP
    with suppress(OSError):
        while time.monotonic() < end:
            members = _members(group)
            if members is None:
                os.killpg(group, signal.SIGKILL)  # an error when they are gone
            elif not members:
                return
            for process in members or ():
                if not _is_tracker(process):
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
            time.sleep(0.01)
        os.killpg(group, signal.SIGKILL)


def _members(group: int) -> list[int] | None:
    """Return the processes of a group that run; None where no /proc tells."""
    try:
        names = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
    except OSError:
        return None
    members = list[int]()
    for name in names:
        with suppress(OSError):  # of one that has ended
            state, _, of = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(of) == group and state not in "ZX":
                members.append(int(name))
    return members if names else None


def _is_tracker(process: int) -> bool:
    with suppress(OSError):
        return b"resource_tracker" in Path(f"/proc/{process}/cmdline").read_bytes()
    return False


def _start_worker(lifeline: Connection, door: Connection, folder: str, owner: str) -> None:
    global _worker

    def end_with_parent() -> None:
        with suppress(EOFError, OSError):
            lifeline.recv()
        _end()

    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    own_temporary_folders(owner)
    with suppress(OSError):
        os.dup2(2, 1)  # stdout is for the product alone
    sys.stdout = sys.stderr
    ignore_interrupts()  # Ctrl-C is the program's to handle; closing the lifeline ends us
    threading.Thread(target=end_with_parent, daemon=True).start()
    with door:
        parcel, (environment, mask) = door.recv()
    os.environ.clear()
    os.environ.update(environment)
    silence = "ignore:resource_tracker:UserWarning"  # of what trackers remove for us, see `end_group`
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (environment.get("PYTHONWARNINGS"), silence)))
    os.umask(mask)
    dataset, recipe, sources = parcel.open()
    now = latest_fingerprint(recipe).sources if sources else {}
    _changes.extend(sorted(name for name in sources.keys() & now.keys() if sources[name] != now[name]))
    if not getattr(innermost(recipe), "allocates_once", False):
        keep_freed_memory()
    _worker = (dataset, recipe, Store(folder))
    keep_descriptors()


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


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    # A spawned process runs the main script again to find what is defined there. Nothing we send is defined there, and
    # running it again would make every script without `if __name__ == "__main__":` start its audit once more.
    with _hiding:
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        main.__spec__ = None
        if file is not None:
            del main.__file__
        try:
            yield
        finally:
            main.__spec__ = spec
            if file is not None:
                main.__file__ = file
