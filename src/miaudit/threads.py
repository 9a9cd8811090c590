"""Cores, and threads of arithmetic."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
    before = torch.get_num_threads() if torch else usable_cores()
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
                os.environ.pop(name, None)  # code of a recipe may have removed it
            else:
                os.environ[name] = value
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(before)
