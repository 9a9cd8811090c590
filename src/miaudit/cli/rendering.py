"""A result printed and written as a page: what every command ends with that makes one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from miaudit.cli.options import console, echo, echo_json

if TYPE_CHECKING:
    from miaudit.result import Result
    from miaudit.result.forecast import Forecast


def render(result: Result, folder: Path, form: str | None) -> None:
    """Print the result and write its page: each also where the other fails, for the result is kept."""
    from miaudit.report import write

    page: Path | None = None
    failures: list[Exception] = []
    with _noting(failures):
        page = write(result, folder)
    with _noting(failures):
        _show(result, page, form)
    if failures:
        echo(
            f"miaudit: {folder / 'result.json'} holds the result, but not all of it could be rendered; later: miaudit report "
            f"{folder}",
            err=True,
        )
        raise failures[0]


@contextmanager
def _noting(failures: list[Exception]) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        failures.append(error)


def _show(result: Result, page: Path | None, form: str | None) -> None:
    if form == "json":
        echo_json(result.to_json())
    elif form == "quiet":
        echo(result.verdict)
    else:
        from miaudit.report import full, summary

        (full if form == "full" else summary)(result, console())
    if page is not None:
        more = "" if form else "; every figure here: --full"
        echo(f"report: {page}{more}", err=form in ("json", "quiet"))


def show_forecast(costs: Forecast, form: str | None) -> None:
    """Print what an audit will cost, and the smallest leak it would show."""
    from miaudit.report.text import item, say

    if form == "json":
        echo_json(costs.model_dump_json(indent=2) + "\n")
        return
    say(console(), costs.title, style="bold")
    for word, sentence in costs.lines():
        item(console(), word, sentence)


def show_seal(folder: Path) -> None:
    """Print the seal of a folder to stderr."""
    from miaudit.result.seal import Seal

    echo(
        f"seal: {Seal.load(folder).value} (keep it elsewhere: miaudit verify {shlex.quote(str(folder))} --seal ...)",
        err=True,
    )
