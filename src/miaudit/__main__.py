"""The program: ``miaudit``, or ``python -m miaudit``. From its first line on Ctrl-C ends it, whatever it is doing.

Python raises KeyboardInterrupt wherever the program is, and some places lose it: what is raised in a finalizer, in a callback
of a weak reference, or in Python that compiled code calls, is printed and dropped, and some libraries make another error of
it. So an interruption that is gone before the program has ended is sent again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_EXIT_CODE = 130

_SECONDS = 0.05
"""How long after an interruption is lost it is sent again: whatever lost it has ended by then, or loses it once more."""


class Interruption(KeyboardInterrupt):
    """A Ctrl-C on its way up through the program.

    Parameters
    ----------
    lost
        What is called when nothing holds it any more.
    """

    def __init__(self, lost: Callable[[], None]) -> None:
        super().__init__()
        self._lost = lost

    def __del__(self) -> None:
        self._lost()


class Interrupts:
    """The program's handler of SIGINT: it raises while a command runs, and ends the program before and after that."""

    def __init__(self) -> None:
        self.pressed = self.running = False

    def install(self) -> None:
        """Handle SIGINT, unless the program was started to ignore it, as a shell does for what runs in its background."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            usual = sys.unraisablehook
            sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, Interruption) else usual(lost)

    def _handle(self, number: int, frame: Any) -> None:
        first, self.pressed = not self.pressed, True
        if self.running:
            raise Interruption(self._lost)
        if first:
            with suppress(OSError):
                os.write(2, b"miaudit: interrupted\n")
        os._exit(_EXIT_CODE)

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
    """Run the command that the arguments of this process name, and exit with its code."""
    interrupts = Interrupts()
    interrupts.install()
    from miaudit.cli import main as commands
    from miaudit.cli.ending import interrupted

    try:
        try:
            interrupts.running = True
            commands()
        finally:
            interrupts.running = False
    except BaseException as error:
        interrupts.running = False
        if interrupts.pressed and getattr(error, "code", None) != _EXIT_CODE:
            interrupted()
        raise


if __name__ == "__main__":
    main()
