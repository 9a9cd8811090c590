"""`miaudit verify`, `annex` and `clean`: whether a folder holds what was measured, what assessors look for, and what goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from miaudit.cli.options import data_option, echo, echo_json, permissions_options
from miaudit.errors import counted

if TYPE_CHECKING:
    from miaudit.plan.permissions import Permissions


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--seal", metavar="HEX", help="The seal that the run printed: it also finds a forgery that agrees with itself."
)
@click.option(
    "--outputs", type=click.Path(dir_okay=False, path_type=Path), help="The file, where miaudit score audited one."
)
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print what was compared as JSON.")
@permissions_options
@click.pass_context
def verify(
    ctx: click.Context,
    folder: Path,
    seal: str | None,
    outputs: Path | None,
    data: Path | None,
    as_json: bool,
    permissions: Permissions,
) -> None:
    """See whether the audit in FOLDER is as it was made; exit 2 where it is not.

    Compares the hashes in seal.json, counts figures again from records.csv, and runs all attacks again on the stored answers,
    where the plan's records are at hand. Nothing is written, trained or sent.
    """
    from dataclasses import asdict

    from miaudit.auditing.verification import verify as verified
    from miaudit.result import Result

    if Result.load(folder).deletion is not None:
        from miaudit.unlearning.verification import verify as verified  # of the same form
    verification = verified(folder, seal=seal, outputs=outputs, data=data, permissions=permissions)
    if as_json:
        echo_json(json.dumps(asdict(verification), indent=2) + "\n")
    else:
        echo(f"Verify     {'not as it was made' if verification.problems else 'no change found'}: {folder}")
        for name, texts in (
            ("differs", verification.problems),
            ("compared", verification.compared),
            ("note", verification.remarks),
        ):
            for text in texts:
                echo(f"{name:<10} {text}")
        echo(f"{'seal':<10} {verification.seal or 'none'}")
    ctx.exit(2 if verification.problems else 0)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Remove without asking.")
def clean(folder: Path, yes: bool) -> None:
    """Remove from the audit in FOLDER what holds records' ids, memberships or answers; result.json and the seal stay.

    The page is written again without single records. Without the rows the audit cannot be run again from the store, nor
    verified but for the hash of its result.
    """
    from miaudit.report import write
    from miaudit.result import Result
    from miaudit.result.cleaning import clean as cleaned
    from miaudit.result.cleaning import personal_files

    result = Result.load(folder)
    files = personal_files(folder)
    for name in files:
        echo(f"remove     {name}", err=True)
    if not yes and files:
        question = f"Remove {counted(len(files), 'file or folder', 'files and folders')} from {folder}?"
        try:
            agreed = click.confirm(question, err=True)
        except click.Abort as abort:
            if not isinstance(abort.__context__, EOFError):  # Ctrl-C
                raise
            agreed = False
        if not agreed:
            echo("\nmiaudit: nothing was removed; --yes removes without a question", err=True)
            click.get_current_context().exit(2)
    cleaned(folder)
    page = write(result.model_copy(update={"records": type(result.records)()}), folder)
    echo(f"removed {counted(len(files), 'file or folder', 'files and folders')}; {page} shows no single record")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", help="Of the model in the index; default: its description.")
def card(folder: Path, name: str | None) -> None:
    """Print a section of a model card: Markdown with model-index, of figures of many records."""
    from miaudit.report.card import model_card
    from miaudit.report.share import shared
    from miaudit.result import Result

    echo(model_card(shared(Result.load(folder)), name=name).rstrip("\n"))


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--for", "name", required=True, type=click.Choice(["edpb-28-2024", "aisvs-11.2.5", "tre"]), help="The document."
)
@click.option("--policy", help="Whose decision stands in it; default: the document's own, of tre none.")
@click.option(
    "--declared",
    "declared",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A .toml file with a table [declared], in the place of that of the plan.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the groups of fields as JSON, too.")
def annex(folder: Path, name: str, policy: str | None, declared: Path | None, as_json: bool) -> None:
    """Write the evidence file of the audit in FOLDER for a regulator or a standard: annex-NAME.md and annex-NAME.html.

    It holds figures, and what the plan's table [declared] says of who, why and whom. It names no record.
    """
    from dataclasses import asdict

    from miaudit.errors import StoreError
    from miaudit.files import write_files
    from miaudit.gate import Policy
    from miaudit.plan.declared import DeclaredPlan
    from miaudit.report.annex import annex as of
    from miaudit.report.annex import html, markdown
    from miaudit.result import Result
    from miaudit.result.seal import Seal

    declarations = None if declared is None else DeclaredPlan.load(declared).model_dump()
    limits = None if policy is None else Policy.load(policy)
    result = Result.load(folder)
    try:
        seal = Seal.load(folder).value
    except StoreError:
        seal = None
    evidence = of(result, name, declared=declarations, policy=limits, seal=seal)
    files = {f"annex-{name}.md": markdown(evidence).encode(), f"annex-{name}.html": html(evidence).encode()}
    write_files(folder, files)
    if as_json:
        echo_json(json.dumps(asdict(evidence), indent=2) + "\n")
    for each in files:
        echo(f"annex: {folder / each}", err=as_json)
