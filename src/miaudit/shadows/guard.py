"""Code of a recipe runs here: whatever it does to the process is put back, or ends that one model with a reason."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from miaudit.errors import Exit, PlanError, place_of, reason_of
from miaudit.libraries import flush_c_streams, pool_threads

CLOSED, LIMITED = 93, 94
"""Exit codes of a worker whose recipe closed the descriptors it talks through, or lowered a limit for good."""

FORK_SECONDS, THREAD_SECONDS = 0.3, 1.0
"""How long to wait for a copy made by ``os.fork`` to come back, and for a thread that training left."""

really_exit = os._exit
_CLOSED = "its code closed descriptors that it had not opened"
_LIMITED = (
    "its code lowered a hard limit of its process (of memory, processor time, files or processes), which cannot be put back: "
    "lower the soft limit alone, or train by a command (recipe.command)"
)

ENDINGS = {CLOSED: f"{_CLOSED}, which ended the worker", LIMITED: _LIMITED}
"""What code of a recipe did to its worker, by the exit code that tells of it."""

_LIMITS = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC")
"""Limits of a process that the program would run into after the code that set them."""

_forks = 0
_vital: dict[int, tuple[int, int]] = {}


left_threads: list[threading.Thread] = []
"""Threads that models left running in this process; Python would wait for them at its end."""


class ModelError(Exception):
    """What a recipe did that no model may do."""


_fork = threading.local()


def _before_fork() -> None:
    global _forks
    _forks += 1
    if callable(signal.getsignal(signal.SIGTERM)):
        # Python drops signals that reach a copy before it is set up, and a pool would wait for it forever.
        _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _after_fork() -> None:
    mask = vars(_fork).pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_copy() -> None:
    if _vital and signal.getsignal(signal.SIGTERM) is _terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the exit code is the worker's alone to tell
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_copy)


def keep_descriptors() -> None:
    """Remember the descriptors that are open now: a worker cannot go on without them.

    When they are closed, the program takes the worker for dead and terminates it: its exit code then tells why.
    """
    _vital.update(open_descriptors())
    signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, frame: Any) -> None:
    if not _vital.items() <= open_descriptors().items():
        really_exit(CLOSED)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def contained() -> Iterator[list[str]]:
    """Run code of a recipe; yield a list that gets what was put back at the end.

    Raises
    ------
    ModelError
        If the code ended the program, interrupted it, closed its descriptors, lowered its limits for good, came back twice or
        left a thread.
    """
    pid, forks, leave = os.getpid(), _forks, os._exit
    threads = set(threading.enumerate()) if threading.current_thread() is threading.main_thread() else None
    folder, environment = _folder(), dict(os.environ)
    mask = os.umask(0o022)
    os.umask(mask)
    copy, original = os.pipe() if hasattr(os, "fork") else (-1, -1)
    pipe = {end: _identity(end) for end in (copy, original)}
    notes: list[str] = []
    problem: ModelError | None = None
    try:
        with stdout_to_stderr(), _signals() as pressed, np.errstate(), _own_limits(notes):
            os._exit = _refused_exit(pid)
            try:
                yield notes
            except Exception:
                raise
            except BaseException as error:
                if os.getpid() == pid and pressed:
                    raise
                raise ModelError(_reason(error)) from error
    finally:
        os._exit = leave
        if os.getpid() != pid:
            with suppress(OSError):
                os.write(original, b"x")
            really_exit(0)
        notes += _put_back(folder, environment, mask)
        problem = _left_behind(copy, forks != _forks, threads)
        for end, identity in pipe.items():
            if identity is None or _identity(end) != identity:  # its number may be another file's now
                problem = problem or (ModelError(_CLOSED) if identity else None)
            else:
                os.close(end)
    if problem is not None:
        raise problem


@contextmanager
def no_exits() -> Iterator[None]:
    """Let no code of a target, or other that an audit runs, end the program.

    Raises
    ------
    PlanError
        Where code tried to.
    """
    leave = os._exit
    os._exit = _refused_exit(os.getpid())
    try:
        with _noted() as pressed:
            yield
    except SystemExit as error:
        if pressed:  # who runs the audit ends its program so, when it is told to
            raise
        raise PlanError(
            f"code that the audit ran called an exit: {_reason(error)}. It is that of the target, or of a file that is "
            "imported, not of a shadow model; take the call out, nothing was concluded"
        ) from error
    finally:
        os._exit = leave


@contextmanager
def _own_limits(notes: list[str]) -> Iterator[None]:
    """Put limits of this process back when the block ends: what the program does next must not fail for those of a recipe."""
    try:
        import resource
    except ImportError:  # not on Windows
        yield
        return
    numbers = [getattr(resource, name) for name in _LIMITS if hasattr(resource, name)]
    before = {number: resource.getrlimit(number) for number in numbers}
    try:
        yield
    finally:
        after = {number: resource.getrlimit(number) for number in numbers}
        for number, (soft, hard) in before.items():
            most = after[number][1]
            for limits in ((soft, hard), (soft, most), (most, most)) if after[number] != (soft, hard) else ():
                with suppress(ValueError, OSError):
                    resource.setrlimit(number, limits)
                    break
        if any(resource.getrlimit(number)[0] != soft for number, (soft, _) in before.items()):
            if _vital:  # a fresh worker has limits of its own
                really_exit(LIMITED)
            raise ModelError(_LIMITED)
        if after != before:
            notes.append("it changed limits of its process, which were put back")


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return reason_of(error)
    return f"its code raised {type(error).__name__}{place_of(error)}, which is no error but ends programs"


def _refused_exit(pid: int) -> Any:
    def refuse(status: int) -> NoReturn:
        if os.getpid() != pid:  # a process of its own, which may end
            really_exit(status)
        raise Exit(status)

    return refuse


def _put_back(folder: str | None, environment: dict[str, str], mask: int) -> list[str]:
    notes = []
    if dict(os.environ) != environment:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        notes.append("it changed environment variables; they were put back")
    if folder is not None and _folder() != folder:
        with suppress(OSError):
            os.chdir(folder)
            notes.append("it changed the working directory, which was put back")
    if os.umask(mask) != mask:
        notes.append("it changed the file mode mask, which was put back")
    return notes


def _left_behind(copy: int, forked: bool, threads: set[threading.Thread] | None) -> ModelError | None:
    if _vital and not _vital.items() <= open_descriptors().items():
        really_exit(CLOSED)  # there is nothing left to say it through
    if forked and copy >= 0 and _has_come(copy):
        return ModelError("its code called os.fork(), and the copy went on as if it were the program; it was ended")
    if threads is None:  # others may start threads beside this one
        return None
    pools = pool_threads()
    remains = [each for each in set(threading.enumerate()) - threads if not each.daemon and each not in pools]
    for each in remains:
        each.join(THREAD_SECONDS)
        if each.is_alive():
            left_threads.append(each)
            return ModelError(f"its code left a thread running ({each.name}); end it, or make it a daemon")
    return None


def _has_come(copy: int) -> bool:
    with suppress(OSError):
        return bool(select.select([copy], [], [], FORK_SECONDS)[0])
    return False


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:
        return None


def open_descriptors() -> dict[int, tuple[int, int]]:
    """Return which file each open descriptor of this process is of; empty where /proc does not tell."""
    try:
        numbers = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    except OSError:
        return {}
    identities = {number: _identity(number) for number in numbers}
    return {number: identity for number, identity in identities.items() if identity is not None}


def _identity(descriptor: int) -> tuple[int, int] | None:
    """Return which file a descriptor is of; None where it is open no more."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Put signal handlers back at the end; yield a list as of `_noted`."""
    with _noted("SIGALRM") as pressed:
        try:
            yield pressed
        finally:
            if hasattr(signal, "alarm") and threading.current_thread() is threading.main_thread():
                signal.alarm(0)


@contextmanager
def _noted(*others: str) -> Iterator[list[int]]:
    """Yield a list that gets the numbers of signals that end programs, where the program has handlers of its own for them.

    In the end they are put back, and those of the signals that ``others`` name.
    """
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = {
        number: handler
        for name in ("SIGINT", "SIGTERM", "SIGHUP", *others)
        if (number := getattr(signal, name, None)) is not None and (handler := signal.getsignal(number)) is not None
    }

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        handler = before[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)

    for number, handler in before.items():
        if callable(handler) and number.name not in others and not _vital:
            signal.signal(number, note)
    try:
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what Python and C code write to stdout to stderr, until the block ends: stdout is for the product alone.

    Raises
    ------
    ModelError
        If the way back to stdout was closed.
    """
    before, saved = sys.stdout, -1
    with suppress(OSError, ValueError, AttributeError):
        before.flush()
    with suppress(OSError):
        saved = os.dup(1)
        os.dup2(2, 1)
    identity = _identity(saved)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        _flush()
        sys.stdout = before
        closed = _identity(saved) != identity  # its number may be another file's now
        if identity is not None and not closed:
            with suppress(OSError):
                os.dup2(saved, 1)
                os.close(saved)
    if closed:
        raise ModelError(f"{_CLOSED}, stdout among them")


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    flush_c_streams()
