"""Options that several commands take, and how commands print."""

from __future__ import annotations

import functools
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from miaudit.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

    from miaudit.plan.permissions import Permissions


out_option = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for what the command writes."
)
data_option = click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of the named data sets; default: MIAUDIT_DATA."
)
gate_option = click.option(
    "--gate", "policy", help="Judge the result by this policy, too, as `miaudit gate` does, and end with its exit code."
)
jobs_option = click.option(
    "--jobs", type=click.IntRange(0), help="Processes that train and run attacks; default: one per core; 0: this one."
)
dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Say what the audit will cost and the smallest leak it would show, and stop: one model is trained, nobody asked.",
)
address_option = click.option(
    "--address", help="Train on a Dask cluster: the address of its scheduler, as tcp://10.0.0.1:8786."
)
_ENGINE = (
    jobs_option,
    click.option(
        "--device",
        help="Where networks train: cpu (default), cuda or cuda:1 (an NVIDIA GPU), or auto, the GPU if there is one.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16"]),
        help="Type of a network's products while it trains; makes other models. Default: the recipe's.",
    ),
    click.option(
        "--time-limit", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds; keep all (exit 4)."
    ),
)
ENGINE = ("jobs", "device", "dtype", "address", "time_limit")
"""The options of `miaudit.auditing.Engine`."""
_PERMISSIONS = (
    click.option(
        "--allow-code", is_flag=True, help="Consent to run the code that the plan names: functions, unlisted packages."
    ),
    click.option(
        "--allow-pickle",
        is_flag=True,
        help="Consent to read a model file that can run its author's code, as pickles do.",
    ),
    click.option(
        "--env", multiple=True, metavar="NAME", help="An environment variable that the plan may send to its server."
    ),
    click.option(
        "--trusted", multiple=True, metavar="TYPE", help="skops: a type outside its own list that may be loaded."
    ),
)


_FORMS = (
    click.option(
        "--full", "form", flag_value="full", help="Print every attack and figure, not the first screen alone."
    ),
    click.option("--json", "form", flag_value="json", help="Print result.json to stdout instead of a summary."),
    click.option("-q", "--quiet", "form", flag_value="quiet", help="Print the verdict alone, and tell of no progress."),
)


def form_options(command: Any) -> Any:
    """Add what commands that print a result take: ``form``, which is "full", "json", "quiet" or None for the first screen."""
    for option in reversed(_FORMS):
        command = option(command)
    return command


def engine_options(command: Any) -> Any:
    """Add what every command that trains takes: how the work is done, handed on as ``engine``, a dict."""
    return address_option(local_engine_options(command))


def local_engine_options(command: Any) -> Any:
    """Add the same for a command that trains on this machine alone."""

    @functools.wraps(command)
    def working(**options: Any) -> Any:
        return command(engine={name: options.pop(name) for name in ENGINE if name in options}, **options)

    for option in reversed(_ENGINE):
        working = option(working)
    return working


def permissions_options(command: Any) -> Any:
    """Add what every command that reads a plan takes: consent, handed on as ``permissions``."""

    @functools.wraps(command)
    def permitted(
        *, allow_code: bool, allow_pickle: bool, env: tuple[str, ...], trusted: tuple[str, ...], **options: Any
    ) -> Any:
        from miaudit.plan.permissions import Permissions
        from miaudit.targets.registry import downloads

        with downloads():
            return command(permissions=Permissions(allow_code, allow_pickle, env, trusted), **options)

    for option in reversed(_PERMISSIONS):
        permitted = option(permitted)
    return permitted


attack_option = click.option(
    "--attack", "attacks", multiple=True, help="Run this one, and others so named; default: all that can be run."
)

_PROPOSAL = (
    *(click.argument(name, type=click.Path(dir_okay=False, path_type=Path)) for name in ("model", "train", "test")),
    click.option(
        "--population",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File of further records, on neither side; without it TRAIN and TEST serve, or a part of TEST (--holdout).",
    ),
    click.option(
        "--holdout",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Share of TEST to set apart as the population, and not to audit.",
    ),
    click.option(
        "--label", help="Column with the class, or the number to predict; default: the one that model and files tell."
    ),
    click.option("--shadows", type=click.IntRange(1), help="Number of shadow models; default: 20."),
    attack_option,
)


def proposal_options(command: Any) -> Any:
    """Add what every command that proposes a plan takes: a model and its files, handed on as ``proposed``, and ``out``."""
    return _proposing(command, ("model", "train", "test", "population", "holdout", "label", "shadows", "attacks"))


def quick_options(command: Any) -> Any:
    """Add the same without what is for shadow models alone."""
    return _proposing(command, ("model", "train", "test", "population", "holdout", "label"))


def _proposing(command: Any, names: tuple[str, ...]) -> Any:

    @functools.wraps(command)
    def proposing(**options: Any) -> Any:
        return command(proposed={name: options.pop(name) for name in names}, **options)

    for option in reversed((*_PROPOSAL[: len(names)], out_option)):
        proposing = option(proposing)
    return proposing


def consents(permissions: Permissions) -> str:
    """Return the options that give the same consent on another command line."""
    flags = [f" --{name.replace('_', '-')}" for name in ("allow_code", "allow_pickle") if getattr(permissions, name)]
    names = [f" --{name} {shlex.quote(each)}" for name in ("env", "trusted") for each in getattr(permissions, name)]
    return "".join(flags + names)


def echo(text: str, *, err: bool = False) -> None:
    """Print lines of ours, which may quote data and servers."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    text = visible(text, lines=True).encode(encoding, "backslashreplace").decode(encoding)
    click.echo(text, err=err)


def echo_json(text: str) -> None:
    """Print a JSON document."""
    click.echo(text.replace("\x7f", "\\u007f"), nl=False)  # JSON escapes all else


_LEAST_WIDTH = 20


def console(*, stderr: bool = False) -> Console:
    """Return a console of rich."""
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            """Leave to the command what rich would end the program for."""
            raise BrokenPipeError

    piped = Piped(stderr=stderr)
    if piped.width < _LEAST_WIDTH:  # of no terminal, as COLUMNS=0 says: nothing would be printed, or a letter a line
        piped.width = _LEAST_WIDTH if piped.width > 1 else 80
    return piped
