"""Cores, and threads of arithmetic."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")

_CGROUPS = Path("/sys/fs/cgroup")

_most = ContextVar("_most", default=8)  # of one audit: others in threads of the program are not concerned


def usable_cores() -> int:
    """Return how many cores this process may use: by its affinity, and by the quota of its container, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def _quota() -> float | None:
    """Return the cores that control groups allow, those of the process and all above; None where they set no limit."""
    quotas: list[float] = []
    own = ""
    with suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line[3:] for line in lines if line.startswith("0::")), "").strip("/")
    place = _CGROUPS / own
    for folder in (place, *place.parents):
        with suppress(OSError, ValueError):
            most, period = (folder / "cpu.max").read_text().split()
            quotas += [] if most == "max" else [int(most) / int(period)]
        if folder == _CGROUPS:
            break
    with suppress(OSError, ValueError):  # of the first version
        most, period = ((_CGROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        quotas += [int(most) / int(period)] if int(most) > 0 else []
    return min(quotas, default=None)


def is_device(name: object, *, auto: bool = False) -> bool:
    """Whether a text names a device: "cpu", "cuda" or "cuda:1", or "auto" where that is allowed."""
    return isinstance(name, str) and re.fullmatch("cpu|cuda(:[0-9]+)?" + ("|auto" if auto else ""), name) is not None


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, also for libraries that are loaded inside, and put them back at the end."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)  # code of a recipe may have removed it
            else:
                os.environ[name] = value


def in_threads(act: Callable[[Item], Value], items: Iterable[Item]) -> list[Value]:
    """Return what ``act`` makes of each item, in their order, by as many threads as `most_threads` allows.

    BLAS has one thread in each, so that what comes of an item does not depend on how many threads there are. ``act`` draws from
    nothing that items share, finds context variables as they are here, and fits nothing of scikit-learn's, which changes the
    process's filters of warnings while it fits: two threads would leave them empty. Where it fails for an item, or is
    interrupted, items that no thread has begun are left, and the error is raised when those that are begun have ended.
    """
    from threadpoolctl import threadpool_limits

    if most_threads() == 1:  # here, so that an interrupt waits for none
        with threadpool_limits(1, user_api="blas"):
            return [copy_context().run(act, item) for item in items]
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(most_threads()) as pool:
        tasks = [pool.submit(copy_context().run, act, item) for item in items]
        try:
            complete = wait(tasks, return_when=FIRST_EXCEPTION).done
            return [task.result() for task in tasks if task in complete]
        finally:
            for task in tasks:
                task.cancel()


def most_threads() -> int:
    """Return how many threads `in_threads` starts at most: one for each core, and 8."""
    return min(usable_cores(), _most.get())


@contextmanager
def threads_at_most(count: int) -> Iterator[None]:
    """Let `in_threads` start so many threads only: other processes of ours use the other cores."""
    token = _most.set(count)
    try:
        yield
    finally:
        _most.reset(token)


@contextmanager
def one_thread(*, ends_with_us: bool = False) -> Iterator[None]:
    """Hold BLAS, OpenMP and torch to one thread: the same bits everywhere, and no threads that fight.

    Scikit-learn's OpenMP is loaded for it, so that it is held now and free afterwards; not so in a process that
    ``ends_with_us``, where it may stay at one thread, and loading it would take 100 MiB that few recipes need.
    """
    if not ends_with_us:
        import sklearn  # noqa: F401
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else usable_cores()
    if torch:
        torch.set_num_threads(1)
    try:
        with variables({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}), threadpool_limits(1):
            yield
    finally:
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(before)
