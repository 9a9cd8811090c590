"""``miaudit reproduce``: tables and figures of the paper of 2017, ours beside its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from miaudit.cli.options import console, data_option, echo, echo_json, local_engine_options

if TYPE_CHECKING:
    from miaudit.paper import Reproduction


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option(
    "--scale", type=click.Choice(["quick", "paper"]), default="quick", show_default=True, help="How much is trained."
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many seeds: 0, 1, ...")
@click.option("--shadows", type=click.IntRange(1), help="So many shadow models in place of the scale's.")
@click.option("--purchases", type=click.IntRange(40_000), help="So many simulated purchases in place of the scale's.")
@click.option(
    "--no-repeats", is_flag=True, help="Leave out the attack's control on shuffled memberships, and its stability."
)
@click.option("--row", "rows", multiple=True, metavar="SETTING", help="Only settings whose names begin so; see --list.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("miaudit-paper"),
    show_default=True,
    help="Folder for outcomes, tables, figures and the models' rows; what is there is not run again.",
)
@data_option
@click.option(
    "--list", "only_list", is_flag=True, help="List tables and figures, their rows, data and costs; run nothing."
)
@local_engine_options
@click.option("--json", "as_json", is_flag=True, help="Print the comparisons as JSON to stdout instead of tables.")
def reproduce(
    names: tuple[str, ...],
    scale: Any,
    seeds: int,
    shadows: int | None,
    purchases: int | None,
    no_repeats: bool,
    rows: tuple[str, ...],
    out: Path,
    data: Path | None,
    only_list: bool,
    engine: dict[str, Any],
    as_json: bool,
) -> None:
    """Measure the tables and figures of the paper of 2017 and lay them beside its own.

    NAME is such as table-3 or figure-11; all without any. Accuracies come first: a target whose test accuracy is off by more
    than 0.05 is another task, and no level of the attack is compared. Purchases are simulated where MIAUDIT_DATA holds
    none, and called so. The quick scale (at most 2,000 records and 4 shadow models) shows how a row goes; figures to
    read are those of --scale paper.
    """
    from miaudit.paper.experiments import experiments

    selection = experiments(names)
    if only_list:
        _list(names, data, as_json)
        return
    from miaudit.auditing.progress import telling
    from miaudit.auditing.workers import Engine
    from miaudit.paper.comparison import text
    from miaudit.paper.reproducing import reproduce as reproduced

    options: dict[str, Any] = {"scale": scale, "seeds": seeds, "shadows": shadows, "purchases": purchases, "rows": rows}
    options |= {"repeats": not no_repeats}
    with telling(console(stderr=True)) as tell:
        reproduction = reproduced(
            [each.name for each in selection], out, engine=Engine(**engine), data=data, tell=tell, **options
        )
    if as_json:
        _print_json([comparison.model_dump(mode="json") for comparison in reproduction.comparisons])
    else:
        for comparison in reproduction.comparisons:
            echo(text(comparison))
    _draw(reproduction, out)
    echo(f"outcomes, tables and figures: {out}", err=True)


def _draw(reproduction: Reproduction, out: Path) -> None:
    """Draw what was measured; without matplotlib say so."""
    from miaudit.errors import PlanError
    from miaudit.paper.drawing import draw
    from miaudit.paper.experiments import EXPERIMENTS

    try:
        for comparison in reproduction.comparisons:
            draw(EXPERIMENTS[comparison.name], comparison, reproduction.outcomes, out)
    except PlanError as error:
        echo(f"No figure was drawn: {error}.", err=True)


def _list(names: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    from miaudit.paper.experiments import experiments
    from miaudit.paper.records import missing
    from miaudit.paper.settings import SETTINGS

    selection = experiments(names)
    settings = {row.setting for each in selection for row in each.rows if row.setting is not None}
    gaps = {name: missing(SETTINGS[name], data) for name in sorted(settings)}
    entries: list[dict[str, Any]] = [
        {
            "name": each.name,
            "title": each.title,
            "rows": [
                {
                    "label": row.label,
                    "setting": row.setting,
                    "minutes": None if row.setting is None else SETTINGS[row.setting].minutes,
                    "missing": row.wanted if row.setting is None else gaps[row.setting],
                }
                for row in each.rows
            ],
            "choices": list(each.choices),
        }
        for each in selection
    ]
    if as_json:
        _print_json(entries)
        return
    for entry in entries:
        echo(f"{entry['name']:<17} {entry['title']}")
        for row in entry["rows"]:
            if row["missing"]:
                echo(f"  {row['label']}: no data at hand; to get: {row['missing']}")
            else:
                echo(
                    f"  {row['label']}: {row['setting']}, about {row['minutes']:g} min of a core a seed at the paper's scale"
                )


def _print_json(content: Any) -> None:
    import json

    echo_json(json.dumps(content, indent=2, allow_nan=False) + "\n")
