"""Workers: processes of this machine that act on things they were sent once.

Each comes from a server that has the libraries loaded (`miaudit.shadows.fork_server`), and is behind an executor of its own:
when one is killed, only what it was doing is in doubt. Workers end with the program, however it ends, and take with them what
the code they run left running; only where that code never lets go of Python's lock do they outlive a program that is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

from miaudit.errors import PlanError
from miaudit.files import (
    has_temporary_folders,
    own_temporary_folders,
    remove_temporary_folders,
    remove_temporary_folders_of,
)
from miaudit.shadows import fork_server
from miaudit.shadows.guard import ENDINGS, keep_descriptors, open_descriptors, really_exit
from miaudit.shadows.preloading import ignore_interrupts, interrupts_held
from miaudit.shadows.sharing import Shared

Item = TypeVar("Item")
Value = TypeVar("Value")

SECONDS_FOR_EXIT_CODE = 1.0

SECONDS_FOR_GROUP = 3.0
"""How long to wait for the processes of a worker that are killed, and for what removes what they shared in memory."""


@contextmanager
def failures_of_executors() -> Iterator[list[BaseException]]:
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
def starting() -> Iterator[None]:
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


class Crew:
    """Workers, each an executor of one process that gets ``thing`` when it starts.

    Parameters
    ----------
    thing
        What all of them act on.
    prepare
        Called in each worker before its first task, with a function that returns the thing.
    modules
        Names of what tasks import, so that the server may load it.
    """

    @starting()
    def __init__(self, thing: Shared, prepare: Callable[[Callable[[], Any]], None], modules: Iterable[str]) -> None:
        self._thing, self._prepare = thing, prepare
        fork_server.load_early(modules)
        with _main_module_hidden():
            self._context = fork_server.context()
        # Workers end when our end of the lifeline closes, also when we are killed.
        self._lifeline, self._ours = self._context.Pipe(duplex=False)
        self._doors: dict[ProcessPoolExecutor, tuple[Connection, Connection]] = {}  # of those that wait for the thing
        self._processes: dict[ProcessPoolExecutor, Any] = {}
        self._owners: dict[ProcessPoolExecutor, str] = {}  # what the names of their temporary folders hold

    @starting()
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
        setup = (self._lifeline, door, self._prepare, owner)
        worker = ProcessPoolExecutor(1, mp_context=self._context, initializer=_start_worker, initargs=setup)
        self._doors[worker], self._owners[worker] = (door, inlet), owner
        return worker

    @starting()
    def submit(self, act: Callable[[Item], Value], item: Item, worker: ProcessPoolExecutor) -> Future[Value]:
        """Have a worker act on an item, such as a group of models."""
        with _main_module_hidden(), interrupts_held():
            before = set(multiprocessing.active_children()) if worker in self._doors else set()
            try:
                future = worker.submit(act, item)  # the first one starts the process
            except BrokenProcessPool as error:  # it died while it had nothing to do
                future = Future()
                future.set_exception(error)
            if worker in self._doors:
                self._processes[worker] = next(iter(set(multiprocessing.active_children()) - before), None)
        if worker in self._doors:
            door, inlet = self._doors.pop(worker)
            door.close()  # the worker's now; if it dies, sending ends with an error
            threading.Thread(target=_send, args=(inlet, self._thing, surroundings()), daemon=True).start()
        return future

    def lose(self, worker: ProcessPoolExecutor) -> tuple[int | None, str]:
        """Give up a worker that died; return its exit code, and how to say how it ended, as of `death`."""
        worker.shutdown(wait=False)
        process = self._processes.pop(worker, None)
        end = death(process)
        self._clear(worker, process)
        return end

    def dismiss(self, workers: Sequence[ProcessPoolExecutor], *, finished: bool) -> None:
        """End the workers at once: in the middle of a task, or without a second spent on unloading libraries."""
        self._thing.close()
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


_hiding = threading.Lock()  # one audit at a time starts a process, so that it is told whose it is


def surroundings() -> tuple[dict[str, str], int]:
    """Return the environment and the file mode mask of this process, which a fork of the server has of an earlier time."""
    mask = os.umask(0o022)
    os.umask(mask)
    return dict(os.environ), mask


def _send(inlet: Connection, thing: Shared, around: tuple[dict[str, str], int]) -> None:
    # Not as arguments of the process: starting one writes them to a pipe that this program holds both ends of, and
    # would wait forever for a worker that was killed before it could read.
    with suppress(OSError), inlet:
        inlet.send((thing.parcel, around))


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


def _start_worker(
    lifeline: Connection, door: Connection, prepare: Callable[[Callable[[], Any]], None], owner: str
) -> None:

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
    prepare(parcel.open)
    keep_descriptors()


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
