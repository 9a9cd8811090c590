"""Imports what the server of workers is to have loaded; `miaudit.shadows.fork_server` has it imported there.

A library that cannot be imported must not end the server: the worker that needs it says so. Nor must Ctrl-C, which is the
program's to handle: it is held back from a process that the program starts, until that ignores it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

NAMES = "MIAUDIT_PRELOADED"
"""The environment variable that holds the names of the modules, with spaces between."""

FOLDER = "MIAUDIT_FOLDER_OF_SOCKETS"
"""That of the program's temporary folder in which the server's socket lies, which a program that is killed cannot remove."""


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold SIGINT back from this thread, and from processes that it starts."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> Any:
    """Ignore SIGINT, also one that was held back since this process began; return what handled it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return before


def import_all(names: str) -> None:
    """Import modules, and leave out what cannot be.

    Nobody looks for garbage meanwhile, and workers do not look for it in what is here: they would write to pages that they
    share.
    """
    before = ignore_interrupts()
    collects = gc.isenabled()
    gc.disable()
    try:
        for name in names.split():
            with suppress(Exception, SystemExit):
                importlib.import_module(name)
        gc.freeze()
    finally:
        if collects:
            gc.enable()
        signal.signal(signal.SIGINT, before)


def remove_in_the_end(folder: str) -> None:
    """Remove a folder when this process ends, not when a fork of it does."""

    def remove(process: int) -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove, os.getpid())


if FOLDER in os.environ:
    remove_in_the_end(os.environ.pop(FOLDER))
if NAMES in os.environ:
    import_all(os.environ.pop(NAMES))
