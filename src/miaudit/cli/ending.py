"""How commands end: with an error's own exit code and message, a defect told as one, and no word to a closed pipe."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from miaudit import __version__
from miaudit.cli.options import echo
from miaudit.errors import MiauditError, place_of
from miaudit.visible import visible

_DEFECT = 70


class Commands(click.Group):
    """Commands that end with an error's own exit code and its message; anything else is our defect."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and end the program where it fails; what the context holds of interruptions is told of the end."""
        try:
            return self._carried_out(ctx)
        finally:
            _tell_end(ctx, finished=False)

    def _carried_out(self, ctx: click.Context) -> Any:
        try:
            with visible_warnings():
                result = super().invoke(ctx)
                _tell_end(ctx, finished=True)
                return result
        except click.exceptions.Exit:
            _tell_end(ctx, finished=True)
            raise
        except MiauditError as error:
            if ctx.obj is not None and ctx.obj.pressed:  # it may be what a library made of the interruption
                _tell_end(ctx, finished=False)
                interrupted(ctx.obj.pressed)
            echo(f"miaudit: {error}", err=True)
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _tell_end(ctx, finished=False)
            interrupted(_pressed(ctx))
        except BrokenPipeError:  # whoever read our output has seen enough
            _no_more_output()
            sys.exit(0)
        except MemoryError:
            echo(
                "miaudit: out of memory; finished rows are kept: train fewer models at a time (--jobs), or audit fewer "
                "records",
                err=True,
            )
            sys.exit(2)
        except SystemExit as error:  # none of ours: code of a plan's file, or of a target
            click.echo(
                f"miaudit: code that the command ran called sys.exit({error.code!r}){place_of(error)}; there is no result",
                err=True,
            )
            sys.exit(2)
        except Exception as error:
            if isinstance(error, click.ClickException):
                raise
            if _is_interruption(error) or (ctx.obj is not None and ctx.obj.pressed):
                interrupted(_pressed(ctx))
            if _is_scarcity(error):
                echo(
                    f"miaudit: the system allows this program no more ({error}): free some space, raise its limits of open "
                    "files (ulimit -n) and of processes and threads (ulimit -u), or end other programs; finished rows are kept",
                    err=True,
                )
                sys.exit(2)
            if isinstance(error, FileNotFoundError) and not _is_somewhere():
                echo("miaudit: the working directory was removed: run again from a folder that is there", err=True)
                sys.exit(2)
            _defect(error)
            sys.exit(_DEFECT)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program, and end it though models left threads running."""
        try:
            return super().main(*args, **options)
        finally:
            if (interrupts := options.get("obj")) is not None:
                interrupts.end(finished=False)
            _leave_threads(sys.exception())


def _tell_end(ctx: click.Context, *, finished: bool) -> None:
    if ctx.obj is not None:
        ctx.obj.end(finished=finished)


def _pressed(ctx: click.Context) -> int:
    """Return the number of the signal that interrupted a command."""
    return (ctx.obj.pressed if ctx.obj is not None else 0) or signal.SIGINT


def interrupted(number: int) -> NoReturn:
    """End the program as what a signal of this number interrupted, and may be run again."""
    how = "interrupted" if number == signal.SIGINT else f"terminated by {signal.Signals(number).name}"
    with suppress(OSError):  # of a terminal that is closed
        echo(f"miaudit: {how}; finished rows are kept, run the same command again to go on", err=True)
    sys.exit(128 + number)


def _is_scarcity(error: Exception) -> bool:
    """Whether the system refused a file, a process, a thread, memory or space on a disk, which is no defect of the program."""
    if isinstance(error, OSError):
        return error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, RuntimeError) and str(error) == "can't start new thread"


def _is_somewhere() -> bool:
    """Whether the working directory is there, from which paths are resolved."""
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def _is_interruption(error: BaseException | None) -> bool:
    """Whether somebody pressed Ctrl-C where a library makes another error of it, as some do while they are imported."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _leave_threads(error: BaseException | None) -> None:
    """End though a model left a thread running, for which Python would wait."""
    guard = sys.modules.get("miaudit.shadows.guard")
    if guard is not None and any(thread.is_alive() for thread in guard.left_threads):
        click.echo("miaudit: ended, although threads that models left are still running", err=True)
        sys.stdout.flush()
        code = getattr(error, "code", 0 if error is None else 1)
        guard.really_exit(code if isinstance(code, int) else 0)


@contextmanager
def visible_warnings() -> Iterator[None]:
    """Have the warnings of libraries, which may quote data, printed without commands."""
    formatwarning = warnings.formatwarning
    warnings.formatwarning = lambda *args, **options: visible(formatwarning(*args, **options), lines=True)
    try:
        yield
    finally:
        warnings.formatwarning = formatwarning


def _defect(error: Exception) -> None:
    import traceback

    echo("".join(traceback.format_exception(error)).rstrip("\n"), err=True)
    echo(
        f"miaudit: this is a defect of miaudit {__version__}: {type(error).__name__}, with the traceback above. Please report "
        "it, with traceback and plan, to the issue tracker of the project (SECURITY.md says how to report what must not be "
        "public); finished rows are kept",
        err=True,
    )


def _no_more_output() -> None:
    """Keep Python from writing to a closed pipe once more at its end."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
