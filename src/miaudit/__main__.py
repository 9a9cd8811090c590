"""The program: ``miaudit``, or ``python -m miaudit``. From its first line on Ctrl-C ends it, whatever it is doing.

Python raises KeyboardInterrupt wherever the program is, and some places lose it: what is raised in a finalizer, in a callback
of a weak reference, or in Python that compiled code calls, is printed and dropped, and some libraries make another error of
it. So an interruption that is gone before the command has ended is sent again. A command that has ended keeps its exit code.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

_EXIT_CODE = 130

_SECONDS = 0.05
"""How long after an interruption is lost it is sent again: whatever lost it has ended by then, or loses it once more."""


class Interruption(KeyboardInterrupt):
    """A Ctrl-C on its way up through the program; a copy, or what another process is sent of it, is a KeyboardInterrupt.

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
    """The program's handler of SIGINT: it raises while a command runs, and ends the program before and after that.

    It handles what the program alone is sent: a copy that training code makes of the process by ``os.fork`` is interrupted as
    any Python is.
    """

    def __init__(self) -> None:
        self.pressed = self.running = self.over = self.finished = False
        self._code: int | None = None
        self._pid, self._usual = os.getpid(), sys.unraisablehook

    def install(self) -> bool:
        """Handle SIGINT, and return whether that is so.

        It is left alone where the program was started to ignore it, as a shell does for what runs in its background, where
        somebody else handles it, and outside the main thread, where Python lets nobody handle it.
        """
        if threading.current_thread() is not threading.main_thread():
            return False
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return False
        signal.signal(signal.SIGINT, self._handle)
        sys.unraisablehook = self._unraisable
        return True

    def put_back(self) -> None:
        """Leave SIGINT, and what is raised in finalizers, to those who handled them before."""
        if signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)
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
            signal.default_int_handler(number, frame)
        if self._code is not None:
            os._exit(self._code)
        if self.over:
            return
        self.pressed = True
        if self.running:
            raise Interruption(self._lost)
        with suppress(OSError):
            os.write(2, b"miaudit: interrupted\n")
        os._exit(_EXIT_CODE)

    def _unraisable(self, lost: Any) -> None:
        if not isinstance(lost.exc_value, Interruption):
            self._usual(lost)

    def _lost(self) -> None:
        if self.running:
            threading.Thread(target=self._send, daemon=True).start()

    def _send(self) -> None:
        time.sleep(_SECONDS)
        if self.running and hasattr(signal, "pthread_kill"):  # it also wakes a main thread that waits
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        elif self.running:
            import _thread

            _thread.interrupt_main()


def main() -> None:
    """Run the command that the arguments of this process name, in a program of somebody else: a SystemExit has its exit code.

    The handler of SIGINT and `sys.unraisablehook` are as before in the end.
    """
    interrupts = Interrupts()
    try:
        _run(interrupts)
    finally:
        interrupts.put_back()


def program() -> None:
    """Run the command that the arguments of this process name, and end the process with its exit code."""
    interrupts = Interrupts()
    if interrupts.install():
        # Python's end makes SIGINT deadly again shortly before the process is gone, unless it is ignored.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    try:
        _run(interrupts)
    except SystemExit as end:
        interrupts.exit_with(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


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
        if interrupts.pressed and not interrupts.finished and getattr(error, "code", None) != _EXIT_CODE:
            interrupted()
        raise


def _is_the_program(frame: FrameType | None) -> bool:
    """Whether nothing of anybody else called a frame: Python was started to run it."""
    while frame is not None and (frame := frame.f_back) is not None:
        if frame.f_globals.get("__name__") != "runpy":
            return False
    return True


if __name__ == "__main__":
    (program if _is_the_program(sys._getframe()) else main)()
