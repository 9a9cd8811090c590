"""The command line: parse, call, print, exit code. Heavy imports stand inside functions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from miaudit import __version__
from miaudit.errors import MiauditError

if TYPE_CHECKING:
    from rich.console import Console

    from miaudit.plan import Plan
    from miaudit.result import Result

_EXIT_CODES = """
Exit codes: 0 done, 2 usage, plan or data error, 3 ended by the time limit, 4 failure of the target or of the shadow
models.
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_CODES)
@click.version_option(__version__, prog_name="miaudit")
def main() -> None:
    """Audit what a machine-learning model gives away about the records it was trained on."""


_out = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the result and the rows."
)
_jobs = click.option("--jobs", type=click.IntRange(0), help="Processes that train; default: one per core; 0: this one.")
_json = click.option("--json", "as_json", is_flag=True, help="Print result.json to stdout instead of a summary.")


@main.command()
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))
@_out
@_jobs
@_json
@click.option("--address", help="Train on a Dask cluster: the address of its scheduler, as tcp://10.0.0.1:8786.")
@click.option(
    "--time-limit", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds; keep all (exit 3)."
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the named data sets; default: MIAUDIT_DATA.")
@click.option(
    "--allow-pickle", is_flag=True, help="Consent to read a pickled model file, which runs its author's code."
)
def run(
    plan: Path,
    out: Path | None,
    jobs: int | None,
    as_json: bool,
    address: str | None,
    time_limit: float | None,
    data: Path | None,
    allow_pickle: bool,
) -> None:
    """Carry out the audit that PLAN describes, or finish one that was cut short.

    Everything lands in the --out folder (default: miaudit-out/NAME-OF-PLAN). Shadow models already trained there are
    used again, if data, recipe and seeds are the same.
    """
    from miaudit.plan import Plan

    with _errors():
        audited = Plan.load(plan)
        folder = out or Path("miaudit-out") / plan.stem
        options = {"jobs": jobs, "address": address, "time_limit": time_limit}
        _carry_out(audited, folder, as_json, **options, data=data, allow_pickle=allow_pickle)


@main.command()
@_out
@_jobs
@_json
def demo(out: Path | None, jobs: int | None, as_json: bool) -> None:
    """Audit a random forest trained on 400 handwritten digits that ship with scikit-learn."""
    from miaudit.plan import Plan

    with _errors():
        plan = Plan.load(Path(__file__).parent / "demo.toml")
        _carry_out(plan, out or Path("miaudit-demo"), as_json, jobs=jobs)


def _carry_out(plan: Plan, out: Path, as_json: bool, **options: Any) -> None:
    from miaudit.auditing import audit
    from miaudit.progress import telling
    from miaudit.report import write

    with telling(_console(stderr=True)) as tell:
        result = audit(plan, out=out, tell=tell, **options)
    page = write(result, out)
    _show(result, page, as_json)


def _show(result: Result, page: Path, as_json: bool) -> None:
    if as_json:
        click.echo(result.to_json(), nl=False)
        click.echo(f"report: {page}", err=True)
        return
    from miaudit.report import summary

    summary(result, _console())
    click.echo(f"report: {page}")


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_json
def report(folder: Path, as_json: bool) -> None:
    """Render the report again from FOLDER/result.json."""
    from miaudit.report import write
    from miaudit.result import Result

    with _errors():
        result = Result.load(folder)
        _show(result, write(result, folder), as_json)


@main.command()
@click.option("--plan", "of_plan", is_flag=True, help="The schema of plans instead.")
def schema(of_plan: bool) -> None:
    """Print the JSON schema of result.json."""
    from miaudit.plan import Plan
    from miaudit.result import Result

    click.echo(Plan.schema_text() if of_plan else Result.schema_text(), nl=False)


@main.command()
def attacks() -> None:
    """List the attacks: what each needs, its paper, and when to use it."""
    from miaudit.attacks import ATTACKS

    for name, attack in ATTACKS.items():
        click.echo(f"{name:<12} {attack.title}\n{'':<12} needs {attack.needs}; {attack.paper}")


@main.command()
def data() -> None:
    """List the named data sets: what they are, where they come from, and the files they need."""
    from miaudit.data.named import NAMED

    for name, info in NAMED.items():
        files = ", ".join(info.files) or "none needed"
        click.echo(f"{name:<12} {info.description}\n{'':<12} source: {info.source}\n{'':<12} files: {files}")


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


@contextmanager
def _errors() -> Iterator[None]:
    """End with an error's own exit code and its message; anything else is our defect and keeps its traceback."""
    try:
        yield
    except MiauditError as error:
        click.echo(f"miaudit: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("miaudit: interrupted; finished rows are kept, run the same command again to go on", err=True)
        sys.exit(130)
