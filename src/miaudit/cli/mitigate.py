"""`miaudit mitigate`: mitigations x strengths x attacks of a plan, or output mitigations of a finished audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from miaudit.cli.options import console, data_option, echo, echo_json, engine_options, out_option, permissions_options

if TYPE_CHECKING:
    from miaudit.plan.permissions import Permissions


@click.command()
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option(
    "--suggest",
    "finished",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of a finished audit: try output mitigations on its rows, and train nothing.",
)
@out_option
@click.option("--limit", type=float, help="AUC that no attacker is to reach; default: the plan's, or 0.6.")
@click.option(
    "--attack", "attacks", multiple=True, help="Run this one, and others so named; default: the plan's, or a few."
)
@click.option("--canaries", type=click.IntRange(0), help="Judge every training by so many canaries, too.")
@click.option("--adaptive-only", is_flag=True, help="Leave out attackers who do not know of the mitigation.")
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print mitigations.json to stdout instead of a table.")
@data_option
@permissions_options
def mitigate(
    plan: Path | None,
    finished: Path | None,
    out: Path | None,
    limit: float | None,
    attacks: tuple[str, ...],
    canaries: int | None,
    adaptive_only: bool,
    engine: dict[str, Any],
    as_json: bool,
    data: Path | None,
    permissions: Permissions,
) -> None:
    """Measure what lowers the leak of PLAN's model, and what that costs.

    The plan's table [mitigations] says what to try (docs/mitigations.md); without one, what is usual for its recipe. Writes
    mitigations.json, mitigations.md and mitigations.svg to the --out folder (default: miaudit-out/NAME-OF-PLAN).
    """
    from miaudit.auditing.progress import telling
    from miaudit.files import write_files
    from miaudit.mitigations import grid, suggest
    from miaudit.report.mitigations import figure, markdown, text

    if (plan is None) == (finished is None):
        raise click.UsageError("give a PLAN, or --suggest with the folder of a finished audit")
    if finished is not None and (out is not None or canaries):
        raise click.UsageError(
            "--suggest writes to the folder of the audit and trains no canaries: leave --out and --canaries out"
        )
    options: dict[str, Any] = {
        "limit": limit,
        "naive": not adaptive_only,
        "attacks": list(attacks) or None,
        "data": data,
    }
    with telling(console(stderr=True)) as tell:
        if finished is not None:
            folder = finished
            table = suggest(finished, tell=tell, **options, **engine, **vars(permissions))
        else:
            assert plan is not None
            folder = out or Path("miaudit-out") / plan.stem
            table = grid(plan, out=folder, canaries=canaries, tell=tell, **options, **engine, **vars(permissions))
    svg = str(figure(table)).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    write_files(folder, {"mitigations.md": markdown(table).encode(), "mitigations.svg": svg.encode()})
    if as_json:
        echo_json(table.to_json())
    else:
        echo(text(table).rstrip("\n"))
    echo(f"table: {folder / 'mitigations.md'}", err=as_json)
