"""The engine: train what the store lacks, in parallel processes, and lose nothing but the rows in flight.

Every worker is one spawned process with one thread of arithmetic, behind its own executor: when a worker is killed,
only the rows it was training are in doubt, and those are given to a fresh worker. Workers write rows to the store
themselves and end with the program, however it ends.
"""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.dataset import Dataset
from miaudit.data.records import take_records
from miaudit.errors import TimeLimitError
from miaudit.recipes import GroupRecipe, Model, Network, Recipe, shortened, unencoded
from miaudit.store import Rows, Store
from miaudit.targets.target import as_target

if TYPE_CHECKING:
    from miaudit.probes.probing import Probed

_CORES = os.cpu_count() or 1

SHORT_EPOCHS, SHORT_RECORDS = 5, 2000
"""A calibration is one epoch on this many records; it is left out for recipes of fewer epochs."""

TOGETHER = 4096
"""A trained model is asked about so many records at once: answers in float64, and copies of them, stay small."""

ATTEMPTS = 3
"""How often a row is given to a fresh worker after its worker died, before it counts as failed."""


@dataclass(frozen=True, eq=False)
class Job:
    """One model to train and to ask; its row will be stored under ``key``."""

    key: str
    name: str
    train: NDArray[np.int64]  # (n,) records of the training set
    asked: NDArray[np.int64]  # (r,) records the model is asked about
    seed: int
    probed: Probed | None = None  # what else the model is asked, many times a record


@dataclass(frozen=True)
class Failure:
    """A model that could not be trained."""

    name: str
    error: str
    traceback: str


@dataclass(frozen=True)
class Trained:
    """A model whose row is in the store: how long it took, and the most memory its process has held so far."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Calibrated:
    """What a model seems to take, from a short piece of its training."""

    seconds: float
    peak_bytes: int


Outcome = Trained | Failure


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
    models on; ``actual`` when all is done.
    """

    total: int
    found: int
    done: int
    failed: int
    damaged: int
    seconds: float
    estimate: Cost | None = None
    actual: Cost | None = None


def train_and_ask(jobs: Sequence[Job], dataset: Dataset, recipe: Recipe, store: Rows) -> list[Outcome]:
    """Train a group of models, ask each about its records, and store the rows.

    A group that fails as a whole is trained one by one, so that the blame falls where it belongs.

    Returns
    -------
    list
        For each job what became of it.
    """
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            models = _train(jobs, dataset, recipe)
        except Exception as error:
            if len(jobs) > 1:
                return [outcome for job in jobs for outcome in train_and_ask([job], dataset, recipe, store)]
            return [_failure(jobs[0], error)]
        each = (time.perf_counter() - began) / len(jobs)
        said = sorted({f"{w.category.__name__}: {w.message}".splitlines()[0] for w in heard})[:5]
        return [_ask(job, model, dataset, store, each, said) for job, model in zip(jobs, models, strict=True)]


def _train(jobs: Sequence[Job], dataset: Dataset, recipe: Recipe) -> Sequence[Model]:
    classes = len(dataset.classes)
    if isinstance(recipe, GroupRecipe):
        indices, seeds = [job.train for job in jobs], [job.seed for job in jobs]
        return recipe.fit_many(dataset.X, dataset.y, indices=indices, classes=classes, seeds=seeds)
    return [
        recipe.fit(take_records(dataset.X, job.train), dataset.y[job.train], classes=classes, seed=job.seed)
        for job in jobs
    ]


def _ask(job: Job, model: Model, dataset: Dataset, store: Rows, seconds: float, said: Sequence[str]) -> Outcome:
    outputs = np.empty((len(job.asked), len(dataset.classes)), np.float32)  # (r, classes)
    correct = np.empty(len(job.asked), bool)
    try:
        target = as_target(model, classes=len(dataset.classes))
        batch = min(target.batch_size, TOGETHER)
        for start in range(0, len(job.asked), batch):
            part = slice(start, start + batch)
            answer = target.query(take_records(dataset.X, job.asked[part]))
            outputs[part], correct[part] = answer.probabilities, answer.labels == dataset.y[job.asked[part]]
        probes = {} if job.probed is None else job.probed.ask(target, dataset)
    except Exception as error:
        return _failure(job, error)
    trained_on = np.isin(job.asked, job.train)
    decision = target.decision
    facts = {
        "name": job.name,
        "train_accuracy": _mean(correct[trained_on]),
        "test_accuracy": _mean(correct[~trained_on]),
        "seconds": round(seconds, 4),
        "warnings": list(said),
        "answers": None if decision is None else asdict(decision),
    }
    arrays: dict[str, NDArray[Any]] = {"outputs": outputs}
    for question, found in probes.items():
        arrays[question] = found.answers
        facts[f"queries of {question}"] = found.queries
    store.put(job.key, arrays, facts)
    return Trained(seconds, peak_memory())


def peak_memory() -> int:
    """Return the most bytes this process has held in memory."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _mean(correct: NDArray[np.bool_]) -> float | None:
    return float(correct.mean()) if len(correct) else None


def _failure(job: Job, error: BaseException) -> Failure:
    return Failure(job.name, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)).strip())


def calibrated(group: Sequence[Job], dataset: Dataset, recipe: Recipe) -> list[Calibrated]:
    """Train a group for one epoch on a few of its records, and tell from it what a model takes.

    Done twice, and the second time counts, so that loading libraries does not. Empty for a recipe without epochs, and where
    so few of them are asked for that the first models are soon there.
    """
    short = shortened(recipe)
    if short is None or short[1] < SHORT_EPOCHS:
        return []
    records = min(SHORT_RECORDS, len(group[0].train))
    part = [replace(job, train=job.train[:records]) for job in group]
    took = 0.0
    try:
        for _ in range(2):
            began = time.perf_counter()
            with warnings.catch_warnings(action="ignore"):
                _train(part, dataset, short[0])
            took = time.perf_counter() - began
    except Exception:
        return []  # the models themselves will say what is wrong
    return [Calibrated(took * short[1] * len(group[0].train) / records / len(group), peak_memory())]


def in_groups(jobs: Sequence[Job], dataset: Dataset, recipe: Recipe, workers: int) -> list[list[Job]]:
    """Divide jobs into groups that are trained together: of equal training size, as wide as the recipe wants.

    Groups of one training size are as many as a whole number of rounds of all workers, and as even as can be, so that no
    worker is left with nothing to do; the largest come first. A recipe that trains one model at a time gets groups of one.
    """
    if not isinstance(recipe, GroupRecipe):
        return [[job] for job in jobs]
    most, workers = max(recipe.group_width(dataset.X.shape[1:], len(dataset.classes)), 1), max(workers, 1)
    by_size: dict[int, list[Job]] = {}
    for job in jobs:
        by_size.setdefault(len(job.train), []).append(job)
    groups: list[list[Job]] = []
    for _, same in sorted(by_size.items(), reverse=True):
        count = min(len(same), workers * -(-len(same) // (workers * most)))
        narrow, wider = divmod(len(same), count)
        starts = [i * narrow + min(i, wider) for i in range(count + 1)]
        groups += [same[start:end] for start, end in itertools.pairwise(starts)]
    return groups


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
) -> list[Failure]:
    """Train what the store lacks; return what could not be trained.

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
        Called after every group of rows.

    Raises
    ------
    StoreError
        If a row cannot be written; rows already written stay.
    PoolError
        If the cluster is lost, or none of its workers can train these models; rows already written stay.
    TimeLimitError
        If the deadline passed before all were trained; rows already written stay.
    """
    began = time.perf_counter()
    damaged = len(store.damaged)
    missing = [job for job in jobs if store.get(job.key) is None]
    damaged = len(store.damaged) - damaged
    found, failures, done = len(jobs) - len(missing), list[Failure](), 0
    estimate: Cost | None = None
    actual: Cost | None = None

    def told() -> None:
        if tell is not None:
            spent = time.perf_counter() - began
            tell(Progress(len(jobs), found, done, len(failures), damaged, spent, estimate, actual))

    told()
    if not missing:
        return failures
    here = cluster is None and (workers < 1 or len(missing) == 1 or not _other_processes_can_read(recipe))
    groups = in_groups(missing, dataset, recipe, 1 if here else workers)
    outcomes: Iterator[Sequence[Outcome | Calibrated]]
    if cluster is not None:
        from miaudit.shadows.dask import train_on_cluster

        outcomes = train_on_cluster(missing, dataset, recipe, store, cluster, deadline)
    else:
        outcomes = (_train_here if here else _train_in_processes)(groups, dataset, recipe, store, workers, deadline)
    at_once = 1 if here else min(max(workers, 1), len(groups))
    rows_bytes, peak = sum(4 * len(job.asked) * len(dataset.classes) for job in jobs), 0
    for outcome in outcomes:
        for failure in (failure for failure in outcome if isinstance(failure, Failure)):
            store.note("row failed", name=failure.name, error=failure.error, traceback=failure.traceback)
            failures.append(failure)
        trained = [each for each in outcome if isinstance(each, Trained)]
        done += len(trained)
        peak = max([peak, *(each.peak_bytes for each in trained)])
        if estimate is None and (seen := [each for each in outcome if not isinstance(each, Failure)]):
            seconds = seen[0].seconds * len(missing) / at_once
            estimate = Cost(len(missing), seconds, seen[0].peak_bytes * at_once, rows_bytes)
        if done + len(failures) == len(missing):
            written = sum(store.path(job.key).stat().st_size for job in jobs if store.has(job.key))
            actual = Cost(done, time.perf_counter() - began, peak * at_once, written)
        told()
    if done + len(failures) < len(missing):
        raise TimeLimitError(
            f"the time limit ended the run with {found + done} of {len(jobs)} models in the store; "
            f"{len(missing) - done - len(failures)} are missing. Run the same command again to go on"
        )
    order = {job.name: i for i, job in enumerate(jobs)}
    return sorted(failures, key=lambda failure: order[failure.name])


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _late(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _train_here(
    groups: Sequence[list[Job]],
    dataset: Dataset,
    recipe: Recipe,
    store: Store,
    workers: int,
    deadline: float | None,
) -> Iterator[Sequence[Outcome | Calibrated]]:
    with one_thread():
        if len(groups) > 1:
            yield calibrated(groups[0], dataset, recipe)
        for group in groups:
            if _late(deadline):
                return
            yield train_and_ask(group, dataset, recipe, store)


def _train_in_processes(
    groups: Sequence[list[Job]],
    dataset: Dataset,
    recipe: Recipe,
    store: Store,
    workers: int,
    deadline: float | None,
) -> Iterator[Sequence[Outcome | Calibrated]]:
    context = multiprocessing.get_context("spawn")
    lifeline, ours = context.Pipe(duplex=False)  # workers end when our end closes, also when we are killed
    doors: dict[ProcessPoolExecutor, tuple[Connection, Connection]] = {}  # of workers that wait for their records

    def start_worker() -> ProcessPoolExecutor:
        door, inlet = context.Pipe(duplex=False)
        setup = (lifeline, door, str(store.folder))
        worker = ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker, initargs=setup)
        doors[worker] = (door, inlet)
        return worker

    def submit(act: Callable[[list[Job]], _Found], group: list[Job], worker: ProcessPoolExecutor) -> Future[_Found]:
        with _main_module_hidden():
            future = worker.submit(act, group)  # the first one starts the process
        if worker in doors:
            door, inlet = doors.pop(worker)
            door.close()  # the worker's now; if it dies, sending ends with an error
            threading.Thread(target=_send, args=(inlet, (dataset, recipe)), daemon=True).start()
        return future

    waiting = deque(groups)
    attempts = Counter[str]()
    idle = [start_worker() for _ in range(min(workers, len(groups)))]
    running: dict[Future[_Found], tuple[list[Job], ProcessPoolExecutor]] = {}
    finished = False
    if len(groups) > len(idle):  # with a group for each worker, the first models come as soon as an estimate
        worker = idle.pop()
        running[submit(_calibrate, groups[0], worker)] = ([], worker)
    try:
        while waiting or running:
            if _late(deadline):
                return
            while waiting and idle:
                group, worker = waiting.popleft(), idle.pop()
                attempts.update(job.key for job in group)
                running[submit(_work, group, worker)] = (group, worker)
            for future in wait(running, _left(deadline), return_when=FIRST_COMPLETED).done:
                group, worker = running.pop(future)
                error = future.exception()
                if error is None:
                    idle.append(worker)
                    yield future.result()
                elif isinstance(error, BrokenProcessPool):
                    worker.shutdown(wait=False)
                    idle.append(start_worker())
                    for job in group:  # from now on alone, so that one model cannot take others down
                        store.note("worker died", name=job.name, attempt=attempts[job.key])
                        if store.has(job.key):
                            yield [Trained(0.0, 0)]
                        elif attempts[job.key] < ATTEMPTS:
                            waiting.append([job])
                        else:
                            yield [Failure(job.name, f"its worker died {ATTEMPTS} times, as when memory runs out", "")]
                else:
                    raise error
        finished = True
    finally:
        ours.close()  # ends workers at once: in the middle of a row, or without a second spent on unloading libraries
        for worker in [*idle, *(worker for _, worker in running.values())]:
            worker.shutdown(wait=finished, cancel_futures=True)
        lifeline.close()


_Found = Sequence[Outcome | Calibrated]  # what a task of a worker returns

_worker: tuple[Dataset, Recipe, Store] | None = None


def _send(inlet: Connection, what: object) -> None:
    # Not as arguments of the process: starting one writes them to a pipe that this program holds both ends of, and
    # would wait forever for a worker that was killed before it could read.
    with suppress(OSError), inlet:
        inlet.send(what)


def _start_worker(lifeline: Connection, door: Connection, folder: str) -> None:
    global _worker

    def end_with_parent() -> None:
        try:
            lifeline.recv()
        except EOFError:
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the program's to handle; closing the lifeline ends us
    threading.Thread(target=end_with_parent, daemon=True).start()
    with door:
        dataset, recipe = door.recv()
    inner = unencoded(recipe)
    if not (isinstance(inner, Network) and inner.kind == "mlp"):  # fully connected networks allocate once
        _keep_freed_memory()
    _worker = (dataset, recipe, Store(folder))


def _keep_freed_memory() -> None:
    # glibc hands large blocks back to the system as soon as they are freed, and convolutions ask for them again at every
    # step; kept, small convolutional networks train up to a third faster.
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD


def _work(group: list[Job]) -> _Found:
    assert _worker is not None
    with one_thread(ends_with_us=True):
        return train_and_ask(group, *_worker)


def _calibrate(group: list[Job]) -> _Found:
    assert _worker is not None
    with one_thread(ends_with_us=True):
        return calibrated(group, *_worker[:2])


@contextmanager
def one_thread(*, ends_with_us: bool = False) -> Iterator[None]:
    """Hold BLAS, OpenMP and torch to one thread: the same bits everywhere, and no threads that fight.

    Scikit-learn's OpenMP is loaded for it, so that it is held now and free afterwards; not so in a process that
    ``ends_with_us``, where it may stay at one thread, and loading it would take 100 MiB that few recipes need.
    """
    if not ends_with_us or "sklearn" in sys.modules:
        import sklearn.ensemble  # noqa: F401
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else _CORES
    environment = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(environment, "1"))  # for what is loaded from here on
    if torch:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        for name, value in environment.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(before)


def _other_processes_can_read(recipe: Recipe) -> bool:
    try:
        return b"__main__" not in pickle.dumps(recipe)
    except Exception:
        return False


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    # A spawned process runs the main script again to find what is defined there. Nothing we send is defined there, and
    # running it again would make every script without `if __name__ == "__main__":` start its audit once more.
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
