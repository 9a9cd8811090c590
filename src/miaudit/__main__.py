"""The program: ``miaudit``, or ``python -m miaudit``. From its first line on Ctrl-C ends it, whatever it is doing.

So do SIGTERM, which schedulers, containers and ``timeout`` send, and SIGHUP, of a terminal that is closed: temporary files,
which may hold records, are removed.

Python raises KeyboardInterrupt wherever the program is, and some places lose it: what is raised in a finalizer, in a callback
of a weak reference, or in Python that compiled code calls, is printed and dropped, and some libraries make another error of
it. So an interruption that is gone before the command has ended is sent again. A command that has ended keeps its exit code.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

_USUAL: dict[signal.Signals, Any] = {
    getattr(signal, name): usual
    for name, usual in {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
    }.items()
    if hasattr(signal, name)
}
"""The signals that end the program, and who handles each before it does."""

_SECONDS = 0.05
"""How long after an interruption is lost it is sent again: whatever lost it has ended by then, or loses it once more."""


class Interruption(KeyboardInterrupt):
    """A Ctrl-C, or another signal that ends the program, on its way up through it.

    A copy, or what another process is sent of it, is a KeyboardInterrupt.

    Parameters
    ----------
    lost
        What is called when nothing holds it any more.
    """

    _lost: Callable[[], Any] | None = None

    def __init__(self, lost: Callable[[], Any]) -> None:
        super().__init__()
        self._lost = lost

    def __del__(self) -> None:
        if self._lost is not None:
            self._lost()

    def __reduce__(self) -> tuple[Any, ...]:
        return KeyboardInterrupt, ()


class Interrupts:
    """The program's handler of signals that end it: it raises while a command runs, and ends the program before and after.

    It handles what the program alone is sent: a copy that training code makes of the process by ``os.fork`` is interrupted and
    terminated as any Python is.

    Attributes
    ----------
    pressed
        The number of the last signal that came; 0 while there was none.
    """

    def __init__(self) -> None:
        self.pressed: int = 0
        self.running = self.over = self.finished = False
        self._code: int | None = None
        self._pid, self._usual = os.getpid(), sys.unraisablehook

    def install(self) -> bool:
        """Handle the signals, and return whether that is so of SIGINT.

        One is left alone where the program was started to ignore it, as a shell does for what runs in its background and nohup
        for a terminal that is closed, where somebody else handles it, and outside the main thread, where Python lets nobody
        handle any.
        """
        if threading.current_thread() is not threading.main_thread():
            return False
        free = [number for number, usual in _USUAL.items() if signal.getsignal(number) == usual]
        for number in free:
            signal.signal(number, self._handle)
        if free:
            sys.unraisablehook = self._unraisable
        return signal.SIGINT in free

    def put_back(self) -> None:
        """Leave the signals, and what is raised in finalizers, to those who handled them before."""
        for number, usual in _USUAL.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, usual)
        if sys.unraisablehook == self._unraisable:
            sys.unraisablehook = self._usual

    def end(self, *, finished: bool) -> None:
        """Raise no more: the command has ended, and all that is left is its exit code.

        Parameters
        ----------
        finished
            Whether it did all that it was to do.
        """
        self.running, self.over, self.finished = False, True, finished or self.finished

    def exit_with(self, code: int) -> None:
        """Have SIGINT end the program at once, and with this exit code: the command has ended, and its output is written."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        self._code = code

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            if number == signal.SIGINT:
                signal.default_int_handler(number, frame)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self._code is not None:
            os._exit(self._code)
        if self.over:
            return
        self.pressed = number
        if self.running:
            raise Interruption(self._lost)
        with suppress(OSError):
            os.write(2, b"miaudit: interrupted\n" if number == signal.SIGINT else b"miaudit: terminated\n")
        os._exit(128 + number)

    def _unraisable(self, lost: Any) -> None:
        if not isinstance(lost.exc_value, Interruption):
            self._usual(lost)

    def _lost(self) -> None:
        if self.running:
            threading.Thread(target=self._send, daemon=True).start()

    def _send(self) -> None:
        time.sleep(_SECONDS)
        if self.running and hasattr(signal, "pthread_kill"):  # it also wakes a main thread that waits
            signal.pthread_kill(threading.main_thread().ident or 0, self.pressed)
        elif self.running:
            import _thread

            _thread.interrupt_main(signal.Signals(self.pressed))


def main() -> None:
    """Run the command that the arguments of this process name, in a program of somebody else: a SystemExit has its exit code.

    The handlers of signals and `sys.unraisablehook` are as before in the end.
    """
    interrupts = Interrupts()
    try:
        _run(interrupts)
    finally:
        interrupts.put_back()


def program() -> None:
    """Run the command that the arguments of this process name, and end the process with its exit code."""
    _open_streams()
    interrupts = Interrupts()
    if interrupts.install():
        # Python's end makes SIGINT deadly again shortly before the process is gone, unless it is ignored.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    try:
        _run(interrupts)
    except SystemExit as end:
        interrupts.exit_with(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


class _Waiting(io.FileIO):
    """A file that waits for its reader where it is set not to block: what does not fit in at once would be lost."""

    def write(self, data: Any) -> int:
        """Write some of the data, and return how much."""
        while (written := super().write(data)) is None:
            select.select((), (self,), ())
        return written


def _open_streams() -> None:
    """Open what the program was started without, as by ``>&-``: a file opened later would be taken for it.

    Of those that do not block, as pipes of some programs, output is written whole.
    """
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
                setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        with suppress(OSError, ValueError, AttributeError):
            if not os.get_blocking(stream.fileno()):
                buffer = io.BufferedWriter(_Waiting(stream.fileno(), "w", closefd=False))
                options = {"errors": stream.errors, "line_buffering": stream.line_buffering}
                setattr(sys, name, io.TextIOWrapper(buffer, stream.encoding, **options))


def _run(interrupts: Interrupts) -> None:
    from miaudit.cli import main as commands
    from miaudit.cli.ending import interrupted

    try:
        try:
            interrupts.running = True
            interrupts.install()
            commands(obj=interrupts)
        finally:
            interrupts.end(finished=False)
    except BaseException as error:
        interrupts.end(finished=False)
        if interrupts.pressed and not interrupts.finished and getattr(error, "code", None) != 128 + interrupts.pressed:
            interrupted(interrupts.pressed)
        raise


def _is_the_program(frame: FrameType | None) -> bool:
    """Whether nothing of anybody else called a frame: Python was started to run it."""
    while frame is not None and (frame := frame.f_back) is not None:
        if frame.f_globals.get("__name__") != "runpy":
            return False
    return True


if __name__ == "__main__":
    (program if _is_the_program(sys._getframe()) else main)()
