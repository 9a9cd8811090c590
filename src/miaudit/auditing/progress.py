"""How a run tells what it is doing: a bar on a terminal, plain lines elsewhere. Everything goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from miaudit.auditing.asking import quiet as nobody
from miaudit.errors import PoolError, counted
from miaudit.result.forecast import clock
from miaudit.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

    from miaudit.shadows.engine import Cost, Progress

Tell = Callable[[str, "Progress | None"], None]

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def telling(console: Console, *, quiet: bool = False) -> Iterator[Tell]:
    """Yield a function that shows progress on the console until the block ends; nothing where that is to be ``quiet``.

    Meanwhile what models print goes to stderr, too: stdout is for the product.

    Raises
    ------
    PoolError
        If code of a model closed the way back to stdout.
    """
    from miaudit.shadows.guard import ModelError, stdout_to_stderr

    try:
        with stdout_to_stderr():
            if quiet:
                yield nobody
            elif console.is_terminal:
                yield from _bar(console)
            else:
                yield _lines(console)
    except ModelError as error:
        raise PoolError(
            f"nothing can be printed: a model was trained in the program, and {error}. What was made is in the output folder "
            "(miaudit report); train in processes, with --jobs 1 or more"
        ) from error


@contextmanager
def in_python(progress: bool | None) -> Iterator[Tell | None]:
    """Yield what tells a caller in Python how far work is, or None where nobody is told.

    Parameters
    ----------
    progress
        Whether to tell; default: on a terminal, by a bar, and in a notebook, by lines. All goes to stderr.
    """
    notebook = "ipykernel" in sys.modules
    if progress is False or (progress is None and not notebook and not (sys.stderr and sys.stderr.isatty())):
        yield None
        return
    from rich.console import Console

    console = Console(stderr=True, force_jupyter=False)
    if console.is_terminal and not notebook:
        yield from _bar(console)
    else:
        yield _lines(console)


def _lines(console: Console) -> Tell:
    line: dict[str, Any] = {"text": "", "at": 0.0, "done": -1, "estimated": False}

    def tell(text: str, progress: Progress | None) -> None:
        now = time.monotonic()
        _tell_waiting(console, progress)
        if text != line["text"]:
            line.update(text=text, at=0.0, done=-1)
            if progress is None or progress.total == 1:
                _line(console, f"{text} ...")
        if progress is None or progress.total == 1:
            return
        if progress.estimate is not None and not line["estimated"]:
            line["estimated"] = True
            _line(console, f"{text}: {_foreseen(progress.estimate, progress.attacks)}")
        ready = progress.found + progress.done + progress.failed
        last = ready == progress.total
        if ready != line["done"] and (last or now - line["at"] >= SECONDS_BETWEEN_LINES):
            line.update(at=now, done=ready)
            _line(console, f"{text}: {ready:,} of {progress.total:,}{_details(progress)}")

    return tell


def _line(console: Console, text: str) -> None:
    console.print(visible(text), highlight=False, markup=False, soft_wrap=True)


def _tell_waiting(console: Console, progress: Progress | None) -> None:
    if progress is not None and progress.waiting is not None:
        from miaudit.shadows.processes import long_training

        _line(console, long_training(progress.waiting))


def _details(progress: Progress) -> str:
    """Return what is known beside the count; no time left by the first of many attacks, which may take most of it."""
    parts = []
    if progress.found:
        parts.append(f"{progress.found} from the store")
    if progress.damaged:
        parts.append(f"{progress.damaged} damaged, trained again")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    rest = progress.total - progress.found - progress.done - progress.failed
    early = progress.of == "attacks" and progress.attacks is None and 10 * progress.done < progress.total
    if rest and progress.done and not early:
        rate = (progress.done + progress.failed) / progress.seconds
        parts += [f"{rate:.2g}/s", f"{clock(_left(progress, rest / rate))} left"]
        if progress.of == "models" and progress.attacks is not None:
            parts.append(f"{clock(rest / rate + progress.attacks)} with the attacks")
    elif not rest and progress.done:
        parts.append(_truth(progress))
    return f" ({', '.join(parts)})" if parts else ""


def _left(progress: Progress, seconds: float) -> float:
    """Return the seconds left: at the rate so far; of attacks, which differ much, by what was expected of all."""
    if progress.of != "attacks" or progress.attacks is None:
        return seconds
    return (1 - progress.done / progress.total) * max(progress.attacks, progress.seconds)


def _foreseen(estimate: Cost, attacks: float | None) -> str:
    if attacks is None:
        return f"about {clock(estimate.seconds)} for {counted(estimate.models, 'model')}, before the attacks, {_room(estimate)}"
    together = f"{clock(estimate.seconds + attacks)} in all"
    return (
        f"about {clock(estimate.seconds)} for {counted(estimate.models, 'model')} and {clock(attacks)} for the "
        f"attacks, {together}; {_room(estimate)}"
    )


def _room(cost: Cost) -> str:
    return f"{cost.peak_bytes / 2**20:,.0f} MiB of memory, {cost.disk_bytes / 2**20:,.0f} MiB on disk"


def _truth(progress: Progress) -> str:
    """Return what the models took, beside what was expected."""
    if progress.actual is None:
        return clock(progress.seconds)
    took = f"{clock(progress.actual.seconds)}, {_room(progress.actual)}"
    if progress.estimate is None:
        return took
    return f"{took}; expected {clock(progress.estimate.seconds)}, {_room(progress.estimate)}"


def _bar(console: Console) -> Iterator[Tell]:
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Display

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[details]}", markup=False),
    )
    with Display(*columns, console=console, transient=True) as display:
        task = display.add_task("loading", total=None, details="")

        state = {"estimated": False}

        def tell(text: str, progress: Progress | None) -> None:
            _tell_waiting(display.console, progress)
            if progress is not None and progress.estimate is not None and progress.total > 1 and not state["estimated"]:
                state["estimated"] = True
                _line(display.console, f"{text}: {_foreseen(progress.estimate, progress.attacks)}")
            if progress is None:
                display.update(task, description=visible(text), total=None, completed=0, details="")
                return
            ready = progress.found + progress.done + progress.failed
            details = f"{ready:,} of {progress.total:,}{_details(progress)}"
            display.update(task, description=visible(text), total=progress.total, completed=ready, details=details)
            if progress.actual is not None and progress.total > 1:
                _line(display.console, f"{text}: {details}")

        yield tell
