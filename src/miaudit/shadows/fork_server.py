"""A process that has the libraries of a training loaded, and forks the workers: each begins with its first step.

A spawned process imports torch, or scikit-learn, for about a second before it trains. The server does so once, while the
program still reads the plan's records, and workers share its memory. Where there is no such server (outside Linux), or where
the program has started Python's fork server for itself, workers import what they need, as they always can.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import BaseContext
from typing import Any

from miaudit.shadows import preloading
from miaudit.threads import variables

FORKS = sys.platform == "linux"
"""Whether workers are forks of the server. Elsewhere system libraries may not outlive a fork."""

_ROOTS = frozenset({"lightgbm", "miaudit", "numpy", "pandas", "scipy", "sklearn", "torch", "xgboost"})
"""Libraries that start no thread when they are imported; a fork has none of the threads of the process it came from."""

_ALWAYS = ("miaudit.shadows.processes",)

_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_lock = threading.Lock()  # the environment is changed while the server starts


def context() -> BaseContext:
    """Return how workers are started: by the server, if it is there and a process that it forks ends well."""
    if load_early():
        forks = multiprocessing.get_context("forkserver")
        with suppress(EOFError, OSError):  # a library that was imported ended the server
            trial = forks.Process(target=int)
            trial.start()
            trial.join()
            if trial.exitcode == 0:
                return forks
    return multiprocessing.get_context("spawn")


def load_early(modules: Iterable[str] = ()) -> bool:
    """Let the server begin to import modules, unless it is there; return at once, whether there is one.

    The first call of a program decides what the server has loaded. Modules that may start threads are left to the workers.

    Parameters
    ----------
    modules
        Names. What cannot be imported is told where it is needed.
    """
    if not FORKS:
        return False
    names = [*_ALWAYS, *(name for name in modules if name.partition(".")[0] in _ROOTS)]
    surroundings = dict.fromkeys(_POOLS, "1")  # no pool of threads may begin in the server
    surroundings["PYTHONSAFEPATH"] = "1"  # nothing is imported from the current folder
    surroundings[preloading.NAMES] = " ".join(names)
    try:
        surroundings[preloading.FOLDER] = util.get_temp_dir()
        with _lock, variables(surroundings):
            forkserver.set_forkserver_preload([preloading.__name__])
            resource_tracker.ensure_running()  # the server starts it, and it lets interrupts through
            with preloading.interrupts_held():
                forkserver.ensure_running()
    except OSError:  # no socket can be had, as where the path of the folder for temporary files is too long
        return False
    return True


def modules_of(recipe: Any) -> set[str]:
    """Return the modules that define what a recipe or an estimator consists of, and those that it says its training imports."""
    names = {getattr(recipe, "__module__", None) or type(recipe).__module__, *getattr(recipe, "imports", ())}
    parts = list[Any]()
    with suppress(Exception):  # of a class of the user's own, which training will meet, and tell
        if dataclasses.is_dataclass(recipe):
            parts = [getattr(recipe, each.name) for each in dataclasses.fields(recipe)]
        elif hasattr(recipe, "get_params") and not isinstance(recipe, type):
            parts = list(recipe.get_params().values())
    for part in parts:
        if callable(part) or hasattr(part, "get_params") or dataclasses.is_dataclass(part):
            names |= modules_of(part)
    foreign = any(name.partition(".")[0] not in _ROOTS for name in names)
    return names | ({"torch"} & sys.modules.keys() if foreign else set())


def knows(thing: Any) -> bool:
    """Whether all that an attack or an estimator consists of is defined in libraries that the server may load."""
    return all(name.partition(".")[0] in _ROOTS for name in modules_of(thing))
