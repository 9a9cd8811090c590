"""The engine on a Dask cluster: workers come, go and die while it runs, and every model is trained once.

The program gives every worker one group of models at a time, so that a worker that dies casts doubt on that group
only. Records and recipe travel to a worker once and are kept there. Rows are written by the worker where it sees the
folder of the store, and sent back as bytes where not. Nothing is left on the cluster afterwards, and no pickle on disk.
"""

from __future__ import annotations

import sys
import sysconfig
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from miaudit.data.dataset import Dataset
from miaudit.data.mapped import is_mapped
from miaudit.data.records import Records, in_memory
from miaudit.data.room import require_room
from miaudit.errors import DataError, MiauditError, PlanError, PoolError, StoreError, counted, noun
from miaudit.files import write_atomically
from miaudit.libraries import require
from miaudit.recipes import Recipe, device_name, placed
from miaudit.recipes.origin import package_version
from miaudit.shadows.engine import in_groups
from miaudit.shadows.pool import recipe_name
from miaudit.shadows.processes import ATTEMPTS, Watch
from miaudit.shadows.training import Apart, Failure, Job, News, Outcome, Trained, train_and_ask
from miaudit.store import Store, content_key, packed
from miaudit.threads import one_thread

CONNECT_SECONDS = 10.0
"""How long to try to reach a scheduler."""

VISIBLE_SECONDS = 60.0
"""How long a row written by a worker may take to be seen here: by NFS it was at once in one trial with one client, and other
clients, mount options and network file systems may keep listings for a while."""

_SILENCE = 0.5  # seconds without news after which deadline and connection are looked at again


def cluster_size(address: str) -> int:
    """Return how many workers a cluster has now.

    Raises
    ------
    PlanError
        If distributed is not installed.
    PoolError
        If there is no scheduler at the address.
    """
    with _connected(address) as client:
        return len(client.nthreads())


def train_on_cluster(
    jobs: Sequence[Job], dataset: Dataset, recipe: Recipe, store: Store, address: str, deadline: float | None
) -> Generator[News, None, None]:
    """Train models on the workers of a cluster, whoever is there at the time; yield what became of each group.

    Raises
    ------
    PlanError
        If the recipe cannot be sent to another process.
    DataError
        If records lie in a file and do not fit into memory, from which they are sent.
    PoolError
        If the scheduler is lost, or no worker can take part; rows already written stay.
    StoreError
        If a row cannot be written; rows already written stay.
    """
    parcel = _Parcel.of(dataset, recipe)
    with _connected(address) as client, _probe(store) as probe:
        run = _Run(client, address, parcel, recipe, store, probe, deadline)
        try:
            yield from run.outcomes(jobs)
        except Exception as error:
            if isinstance(error, MiauditError) or client.status == "running":
                raise
            raise _lost(address, store) from error
        finally:
            if client.status == "running":
                with suppress(Exception):
                    client.run(_forget, parcel.key, on_error="ignore")


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    distributed = require("distributed", extra="dask", what="a cluster")
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise PoolError(
            f"no Dask scheduler answers at {address!r} ({error}); give the address it prints when it starts, such as "
            "tcp://10.0.0.1:8786, and check that this machine may connect to it"
        ) from error
    try:
        yield client
    finally:
        with suppress(Exception):  # a scheduler that is gone cannot be told
            client.close(CONNECT_SECONDS)


def _lost(address: str, store: Store) -> PoolError:
    return PoolError(
        f"the connection to the Dask scheduler at {address} was lost; every finished row is kept in {store.folder}: run "
        "the same command again, with this cluster, another one or none, to go on"
    )


@contextmanager
def _probe(store: Store) -> Iterator[tuple[str, str]]:
    """Lay a file into the store's folder; a worker that finds it there shares the folder."""
    folder, token = store.folder.resolve(), uuid4().hex
    path = folder / "rows" / f"{token}.tmp"  # swept up later, if this program is killed
    write_atomically(path, token.encode())
    try:
        yield str(folder), token
    finally:
        path.unlink(missing_ok=True)


@dataclass(eq=False)
class _Parcel:
    """What every worker needs, once: records, recipe, and the versions its rows are named by."""

    key: str
    dataset: Dataset
    pickled: bytes  # the recipe; never on disk
    versions: dict[str, str]

    @classmethod
    def of(cls, dataset: Dataset, recipe: Recipe) -> _Parcel:
        import cloudpickle

        try:
            with _by_value(_loose_modules()):
                pickled = cloudpickle.dumps(recipe)
        except Exception as error:
            raise PlanError(
                f"the recipe {recipe.name!r} cannot be sent to the workers of a cluster ({type(error).__name__}: {error}); "
                "keep open files, locks and loaded models out of it, or train without a cluster"
            ) from error
        lean = replace(dataset, X=_carried(dataset.X), ids=None, groups=None, _hashes={})  # workers need neither
        identity = recipe_name(recipe)
        key = content_key({"data": dataset.hash, **identity.parts})
        return cls(key, lean, pickled, _versions(_packages(identity.parts["recipe"]) | set(identity.parts["packages"])))


def _carried(X: Records) -> Records:
    """Return records that another machine can read: those in a file of this one are taken into memory."""
    try:
        if is_mapped(X):
            require_room(X.nbytes, f"{len(X):,} records, which lie in a file")
            return np.array(X)
        return in_memory(X)
    except DataError as error:
        raise DataError(
            f"{error}. Workers of a cluster may not see a file of this machine and are sent its records; or train without a "
            "cluster, where they are read from the file"
        ) from error


def _packages(description: Any) -> set[str]:
    """Return the packages whose versions a recipe's description holds."""
    if not isinstance(description, Mapping):
        return set()
    names = set(description.get("libraries", ())) | ({"torch"} & set(description))
    return names.union(*map(_packages, description.values()))


def _versions(packages: set[str]) -> dict[str, str]:
    versions = {"python": ".".join(map(str, sys.version_info[:2]))}
    for package in sorted(packages | {"miaudit"}):
        versions[package] = package_version(package) or "missing"
    return versions


def _loose_modules() -> list[Any]:
    """Return imported files that no package installed: the user's own, which no worker has."""
    standard = Path(sysconfig.get_path("stdlib"))
    loose = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if "." in name or name == "__main__" or not file or not file.endswith(".py") or hasattr(module, "__path__"):
            continue
        path = Path(file)
        if not path.is_relative_to(standard) and not {"site-packages", "dist-packages"} & set(path.parts):
            loose.append(module)
    return loose


@contextmanager
def _by_value(modules: Sequence[Any]) -> Iterator[None]:
    import cloudpickle

    registered = set(cloudpickle.list_registry_pickle_by_value())
    modules = [module for module in modules if module.__name__ not in registered]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


@dataclass(frozen=True)
class _Came:
    worker: str


@dataclass(frozen=True)
class _Left:
    worker: str
    expected: bool  # it was retired, rather than killed


@dataclass(frozen=True)
class _Finished:
    task: str
    answer: Any = None
    error: BaseException | None = None


@dataclass(eq=False)
class _Run:
    """One run: which groups wait, who is there, and who works on what."""

    client: Any
    address: str
    parcel: _Parcel
    recipe: Recipe
    store: Store
    probe: tuple[str, str]
    deadline: float | None
    news: SimpleQueue[_Came | _Left | _Finished] = field(default_factory=SimpleQueue)
    waiting: deque[list[Job]] = field(default_factory=deque)
    deaths: Counter[str] = field(default_factory=Counter)  # of workers, by the model they were training
    workers: dict[str, str | None] = field(default_factory=dict)  # address: the task it works on
    tasks: dict[str, tuple[str, list[Job], Any]] = field(default_factory=dict)  # worker, group, future
    supplied: set[str] = field(default_factory=set)  # workers that have the parcel
    refused: dict[str, str] = field(default_factory=dict)  # workers that cannot take part, and why
    written: set[str] = field(default_factory=set)  # rows that workers wrote
    sent: Any = None  # the parcel on the cluster
    most: int = 0  # workers the waiting jobs were grouped for
    since: dict[str, float] = field(default_factory=dict)  # when each task was given out
    watch: Watch = field(default_factory=Watch)

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[News]:
        """Yield what became of each group, until all are done or the deadline passes."""
        self.client.subscribe_topic("all", self._hear)
        for address in self.client.nthreads():
            self.news.put(_Came(address))
        self.waiting = deque([list(jobs)])
        warned = False
        while self.waiting or self.tasks:
            if self.deadline is not None and time.monotonic() >= self.deadline:
                return
            messages = self._latest()
            for message in messages:
                yield from self._take(message)
            if self.client.status != "running":
                raise _lost(self.address, self.store)
            self._assign()
            yield from self._late()
            if not messages:  # as of processes: whoever reads the news can end the training
                yield []
            if not self.workers and not warned:
                self.store.note("waiting for workers", address=self.address)
            warned = not self.workers
        self._see_rows()

    def _late(self) -> Iterator[News]:
        for task, (_, group, _) in self.tasks.items():
            late = self.watch.late(group[0].name, time.monotonic() - self.since[task])
            if late is not None:
                yield [late]

    def _hear(self, event: tuple[float, Any]) -> None:
        """Take note of the scheduler's own news; called in Dask's thread."""
        _, what = event
        action = what.get("action") if isinstance(what, dict) else None
        if action == "add-worker":
            self.news.put(_Came(what["worker"]))
        elif action == "remove-worker":
            self.news.put(_Left(what["worker"], bool(what["expected"])))

    def _latest(self) -> list[_Came | _Left | _Finished]:
        messages = []
        with suppress(Empty):
            messages.append(self.news.get(timeout=_SILENCE))
            while True:
                messages.append(self.news.get_nowait())
        return messages

    def _take(self, message: _Came | _Left | _Finished) -> Iterator[News]:
        if isinstance(message, _Came):
            self.workers.setdefault(message.worker, None)
        elif isinstance(message, _Left):
            task = self.workers.pop(message.worker, None)
            self.supplied.discard(message.worker)
            self.refused.pop(message.worker, None)
            if task is not None:
                _, group, future = self.tasks.pop(task)
                future.cancel()
                if message.expected:
                    self.waiting.appendleft(group)
                else:
                    yield from self._died(group)
        elif message.task in self.tasks:
            yield from self._end(message)

    def _end(self, message: _Finished) -> Iterator[News]:
        from distributed import KilledWorker

        worker, group, _ = self.tasks.pop(message.task)
        self.workers[worker] = None
        answer, error = message.answer, message.error
        if isinstance(error, KilledWorker):
            yield from self._died(group)
        elif isinstance(error, CancelledError):  # the last worker that had the parcel is gone
            self.sent = None
            self.waiting.appendleft(group)
        elif isinstance(error, MiauditError):
            raise error
        elif error is not None:
            self._refuse(worker, f"{type(error).__name__}: {error}", group)
        elif isinstance(answer, _Unsupplied):
            self.supplied.discard(worker)
            self.waiting.appendleft(group)
        elif isinstance(answer, _Refused):
            self._refuse(worker, answer.why, group)
        else:
            self.supplied.add(worker)
            self.watch.took.append(time.monotonic() - self.since[message.task])
            for key, content in answer.rows.items():
                self.store.put_packed(key, content)
            each_model = [each for each in answer.outcomes if not isinstance(each, Apart)]
            keys = {job.key for job, each in zip(group, each_model, strict=True) if isinstance(each, Trained)}
            self.written |= keys - set(answer.rows)
            yield answer.outcomes

    def _died(self, group: list[Job]) -> Iterator[News]:
        keys = self.store.keys()
        for job in group:  # from now on alone, so that one model cannot take others down
            self.deaths[job.key] += 1
            self.store.note("worker died", name=job.name, attempt=self.deaths[job.key])
            if job.key in keys:
                yield [Trained(0.0, 0)]
            elif self.deaths[job.key] < ATTEMPTS:
                self.waiting.append([job])
            else:
                yield [Failure(job.name, f"its worker died {ATTEMPTS} times, as when memory runs out", "")]

    def _refuse(self, worker: str, why: str, group: list[Job]) -> None:
        self.waiting.appendleft(group)
        self.refused[worker] = why
        self.store.note("worker cannot take part", worker=worker, why=why)
        if not self.workers.keys() - self.refused.keys():
            raise PoolError(
                f"none of the cluster's workers can train these models ({len(self.refused)} tried). The worker at {worker} "
                f"says: {why}. Give workers the same environment as this program; what was trained is kept"
            )

    def _assign(self) -> None:
        free = [address for address, task in self.workers.items() if task is None and address not in self.refused]
        if not free or not self.waiting:
            return
        if (usable := len(self.workers) - len(self.refused)) > self.most:
            self._group(usable)
        for address in free:
            if not self.waiting:
                return
            if address not in self.supplied and not self._send():
                return
            self._submit(address, self.waiting.popleft())

    def _group(self, workers: int) -> None:
        """Divide what waits into groups so that each of so many workers gets one."""
        self.most = workers
        jobs = [job for group in self.waiting for job in group]
        fresh = in_groups([job for job in jobs if not self.deaths[job.key]], self.parcel.dataset, self.recipe, workers)
        self.waiting = deque([*fresh, *([job] for job in jobs if self.deaths[job.key])])

    def _send(self) -> bool:
        """Put the parcel on one worker, from which the others fetch it; whether it is there."""
        if self.sent is None or self.sent.status != "finished":
            name = f"miaudit-{self.parcel.key[:16]}-{uuid4().hex[:8]}"
            try:
                self.sent = self.client.scatter({name: self.parcel})[name]
            except OSError:  # the worker left in the middle of it, or the scheduler did
                self.sent = None
                return False
        return True

    def _submit(self, address: str, group: list[Job]) -> None:
        import dask

        task = f"miaudit-{group[0].name.replace(' ', '-')}-{uuid4().hex}"
        reference = None if address in self.supplied else self.sent
        lean = [_lean(job, len(self.parcel.dataset)) for job in group]
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            future = self.client.submit(
                _work, lean, self.parcel.key, reference, *self.probe, key=task, workers=[address], pure=False
            )
        self.workers[address] = task
        self.tasks[task] = (address, group, future)
        self.since[task] = time.monotonic()
        self.client.loop.add_callback(self._collect, task, future)

    async def _collect(self, task: str, future: Any) -> None:
        """Wait for a task and fetch its answer; runs in Dask's loop, which fetches many at once."""
        try:
            message = _Finished(task, answer=await future)
        except BaseException as error:
            message = _Finished(task, error=error)
        self.news.put(message)

    def _see_rows(self) -> None:
        """Wait until what workers wrote into the shared folder is seen here, too."""
        until = time.monotonic() + VISIBLE_SECONDS
        while self.written:
            self.written -= self.store.keys()
            if self.written and time.monotonic() > until:
                raise StoreError(
                    f"workers wrote {counted(len(self.written), 'row')} into {self.store.folder} that "
                    f"{noun(len(self.written), 'is', 'are')} not seen here after "
                    f"{VISIBLE_SECONDS:.0f} seconds; check that the folder is the same on all machines, and run again"
                )
            if self.written:
                time.sleep(1)


def _lean(job: Job, records: int) -> Job:
    """Return a job whose record numbers take as few bytes as they may."""
    small = np.min_scalar_type(records)
    return replace(job, train=job.train.astype(small), asked=job.asked.astype(small))


# ---- what runs on workers


@dataclass(frozen=True)
class _Unsupplied:
    """The worker does not have the parcel (any more)."""


@dataclass(frozen=True)
class _Refused:
    """The worker cannot train these models."""

    why: str


@dataclass(frozen=True)
class _Answer:
    """What became of each model, and the rows the worker could not write to the store itself."""

    outcomes: list[Outcome | Apart]
    rows: dict[str, bytes]


_kept: OrderedDict[str, tuple[Dataset, Recipe]] = OrderedDict()


def _work(
    group: Sequence[Job], key: str, parcel: _Parcel | None, folder: str, token: str
) -> _Answer | _Refused | _Unsupplied:
    """Train a group; the parcel comes with the first one, and is kept."""
    if key not in _kept:
        if parcel is None:
            return _Unsupplied()
        recipe = _opened(parcel)
        if isinstance(recipe, _Refused):
            return recipe
        while len(_kept) > 1:  # of audits that were killed; those that ended cleared up
            _kept.popitem(last=False)
        _kept[key] = (parcel.dataset, recipe)
    dataset, recipe = _kept[key]
    rows = _Rows(Store(folder) if _shares(folder, token) else None, {})
    jobs = [replace(job, train=_numbers(job.train), asked=_numbers(job.asked)) for job in group]
    with one_thread():
        return _Answer(train_and_ask(jobs, dataset, recipe, rows), rows.packed)


def _numbers(small: NDArray[Any]) -> NDArray[np.int64]:
    return small.astype(np.int64)


def _opened(parcel: _Parcel) -> Recipe | _Refused:
    import cloudpickle

    versions = _versions(set(parcel.versions) - {"python"})
    other = [f"{name} {versions[name]} (the program has {parcel.versions[name]})" for name in versions
             if versions[name] != parcel.versions[name]]  # fmt: skip
    if other:  # rows are named by the program's versions, so they must be made with them
        return _Refused(f"other versions: {', '.join(other)}")
    try:
        recipe: Recipe = cloudpickle.loads(parcel.pickled)
    except Exception as error:
        return _Refused(
            f"the recipe cannot be read there ({type(error).__name__}: {error}); install what it imports, or send a file "
            "with Dask's client.upload_file"
        )
    if device_name(recipe) != "cpu":
        try:
            placed(recipe, device=device_name(recipe))
        except MiauditError as error:
            return _Refused(str(error))
    return recipe


def _shares(folder: str, token: str) -> bool:
    try:
        return (Path(folder) / "rows" / f"{token}.tmp").read_text() == token
    except OSError:
        return False


@dataclass(frozen=True)
class _Rows:
    """Rows written to the store, where it is shared and can be written; otherwise kept to be sent back."""

    store: Store | None
    packed: dict[str, bytes]

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        if self.store is not None:
            try:
                self.store.put(key, arrays, facts)
                return
            except StoreError:  # not ours to write, or full: the program will tell
                pass
        self.packed[key] = packed(key, arrays, facts)


def _forget(key: str) -> None:
    _kept.pop(key, None)
