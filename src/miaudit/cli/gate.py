"""`miaudit gate`, a policy over a result and its exit code, and `miaudit diff`, two results side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from miaudit.cli.options import echo, echo_json

if TYPE_CHECKING:
    from miaudit.gate import Decision

FORMATS = ("text", "json", "junit", "sarif", "markdown")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--policy", required=True, help="A built-in policy (aisvs-11.2.5, release, leak-only), or the path of a .toml file."
)
@click.option(
    "--canaries", type=click.Path(file_okay=False, path_type=Path), help="Folder of a canary audit of the same model."
)
@click.option(
    "--baseline",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of an earlier audit: no attack may find more.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="What to print.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_context
def gate(
    ctx: click.Context,
    folder: Path,
    policy: str,
    canaries: Path | None,
    baseline: Path | None,
    form: str,
    as_json: bool,
) -> None:
    """Judge the result in FOLDER by a policy: exit 0 where it passes, 1 where it fails, 3 where the audit does not tell.

    A failure is a lower end of an interval beyond a limit, a pass an upper end of every interval below its margin.
    """
    from miaudit.gate import CanaryFigures, Policy
    from miaudit.result import Result

    limits = Policy.load(policy)
    figures = None if canaries is None else CanaryFigures.load(canaries)
    earlier = None if baseline is None else Result.load(baseline)
    decision = limits.check(Result.load(folder), baseline=earlier, canaries=figures)
    show(decision, "json" if as_json else form, folder)
    ctx.exit(decision.exit_code)


@click.command()
@click.argument("before", type=click.Path(file_okay=False, path_type=Path))
@click.argument("after", type=click.Path(file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Say what changed from the audit in BEFORE to that in AFTER, and which figures moved by more than chance explains.

    Where both audited the same records, the AUCs are compared record by record.
    """
    from miaudit.gate import compare
    from miaudit.report.diff import text
    from miaudit.result import Result

    comparison = compare(Result.load(before), Result.load(after))
    if as_json:
        echo_json(comparison.model_dump_json(indent=2) + "\n")
    else:
        echo(text(comparison).rstrip("\n"))


def show(decision: Decision, form: str, folder: Path, *, err: bool = False) -> None:
    """Print a decision in one of the formats."""
    if form == "json":
        echo_json(decision.model_dump_json(indent=2) + "\n")
    elif form == "sarif":
        from miaudit.report.machines import sarif

        where = folder / "result.json"
        echo_json(sarif(decision, path="result.json" if where.is_absolute() else where.as_posix()))
    elif form == "junit":
        from miaudit.report.machines import junit

        echo(junit(decision).rstrip("\n"))
    else:
        from miaudit.report.decision import markdown, text

        echo((markdown if form == "markdown" else text)(decision).rstrip("\n"), err=err)
