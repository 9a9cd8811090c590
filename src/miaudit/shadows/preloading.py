"""Imports what the server of workers is to have loaded; `miaudit.shadows.fork_server` has it imported there.

A library that cannot be imported must not end the server: the worker that needs it says so. Nor must Ctrl-C, which is the
program's to handle.
"""

from __future__ import annotations

import importlib
import os
import signal
from contextlib import suppress

NAMES = "MIAUDIT_PRELOADED"
"""The environment variable that holds the names of the modules, with spaces between."""


def import_all(names: str) -> None:
    """Import modules, and leave out what cannot be."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in names.split():
        with suppress(Exception, SystemExit):
            importlib.import_module(name)
    signal.signal(signal.SIGINT, before)


if NAMES in os.environ:
    import_all(os.environ.pop(NAMES))
