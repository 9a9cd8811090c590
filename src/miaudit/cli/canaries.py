"""`miaudit canaries`: plant, audit, or run all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from miaudit.cli.options import console, data_option, echo, echo_json, engine_options, permissions_options
from miaudit.errors import counted

if TYPE_CHECKING:
    from miaudit.canaries import Planted
    from miaudit.plan.permissions import Permissions


@click.group()
def canaries() -> None:
    """Bound epsilon from one training, by canaries included by coin flips: plant, train, audit; or run all three."""


def _planting(command: Any) -> Any:
    """Add the options that fix an audit before any score is seen."""
    for option in reversed(
        [
            click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="New folder."),
            click.option("--count", type=int, default=1000, show_default=True, help="Number of canaries."),
            click.option(
                "--kind",
                default="mislabelled",
                show_default=True,
                help="mislabelled, out-of-distribution or duplicated.",
            ),
            click.option("--copies", type=int, help="Of an included canary; default: 10 of duplicated ones, else 1."),
            click.option("--guesses-in", type=int, help="Highest scores called in; default: a tenth of the canaries."),
            click.option("--guesses-out", type=int, help="Lowest scores called out; default: a tenth of the canaries."),
            click.option("--signal", default="phi", show_default=True, help="Score of a canary: phi or loss."),
            click.option("--delta", type=float, default=1e-5, show_default=True, help="Of the bound."),
            click.option("--confidence", type=float, default=0.95, show_default=True, help="Of the bound."),
            click.option("--delete", is_flag=True, help="The included canaries are deleted again after the training."),
            click.option("--seed", type=click.IntRange(0), help="Of all draws; default: drawn."),
            data_option,
        ]
    ):
        command = option(command)
    return command


@canaries.command()
@click.argument("source", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--label", help="Column or array with the class, where SOURCE is a file of records.")
@click.option("--frame", is_flag=True, help="The model takes a pandas frame, where SOURCE is a table.")
@_planting
@permissions_options
def plant(
    source: Path,
    label: str | None,
    frame: bool,
    out: Path,
    seed: int | None,
    data: Path | None,
    permissions: Permissions,
    **options: Any,
) -> None:
    """Write training data with canaries in it, made of SOURCE: a plan (.toml), or a file of records."""
    from miaudit.canaries import Canaries, save_planted
    from miaudit.canaries import plant as planted
    from miaudit.canaries.bound import ceiling

    what = Canaries(**options)
    if source.suffix == ".toml":
        from miaudit.canaries.running import sides_of_plan

        sides = sides_of_plan(source, data_folder=data, permissions=permissions)
        records = planted(sides.records, what, sources=sides.sources, seed=seed)
    else:
        from miaudit.data import load

        records = planted(load(source, label=label, frame=frame), what, seed=seed)
    seal = save_planted(records, out)
    for note in records.training.notes:
        echo(f"warning: {note}", err=True)
    echo(
        f"{out}: train once, on {'the' if len(records.training) == 1 else 'all'} "
        f"{counted(len(records.training), 'record')} of the training file; "
        f"{counted(what.count, 'canary', 'canaries')}, guesses "
        f"fixed at {what.k_in:,} in and {what.k_out:,} out (all right would show an epsilon of {ceiling(what):.3f})"
        f"{_form(out, records)}{_then(out, records)}\nseal: {seal}"
    )


def _form(folder: Path, planted: Planted) -> str:
    """Return how the audit will hand records of a table to the model, where its file looks like a frame and is none."""
    from miaudit.data.records import column_names

    if (folder / "training.npz").exists() or column_names(planted.training.X) is not None:
        return ""
    return (
        "; the audit asks the model about a matrix, a category as its number in the sorted list of the column's: plant a frame "
        "(--frame, or data.frame = true in a plan) for a model that takes frames"
    )


def _then(folder: Path, planted: Planted) -> str:
    """Return what is to be done after the training, where the canaries are to be deleted again."""
    if not planted.options.delete:
        return ""
    return (
        f"; then delete the {counted(len(planted.of_canaries), 'record')} of {folder / 'delete.txt'}, "
        "and audit the model after that"
    )


@canaries.command("audit")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--model", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The trained model's file."
)
@click.option("--module", help="FILE.py:FUNCTION that returns the torch module of a file of bare weights.")
@click.option(
    "--outputs",
    type=click.Choice(["probabilities", "logits", "log-probabilities", "percent", "score", "topk", "labels"]),
    help="What the model answers, where that is not clear from the file and its numbers.",
)
@click.option("--seal", help="As it was printed at planting: proves that nothing was changed since.")
@click.option("--allow-pickle", is_flag=True, help="Consent to read a pickled model file.")
@click.option("--trusted", multiple=True, help="skops: a type outside its own list that may be loaded.")
@click.option("--delete", is_flag=True, help="--model is the one after the canaries in delete.txt were deleted again.")
@click.option(
    "--accept-weak", is_flag=True, help="Audit a model, too, that knows little of the ordinary training records."
)
@click.option("--json", "as_json", is_flag=True, help="Print audit.json instead of a summary.")
def audit_canaries(
    folder: Path,
    model: Path,
    module: str | None,
    outputs: Any,
    seal: str | None,
    allow_pickle: bool,
    trusted: tuple[str, ...],
    delete: bool,
    accept_weak: bool,
    as_json: bool,
) -> None:
    """Bound the epsilon of the training that gave --model, on the canaries planted in FOLDER.

    The coins of a folder serve one model. One that plainly was not trained on its training file is refused before any
    canary is scored, and costs nothing.
    """
    from miaudit.canaries import audit_folder, load_planted
    from miaudit.canaries.folder import refuse_other_deletion
    from miaudit.recipes import function_of_file
    from miaudit.targets import as_target, load_model
    from miaudit.targets.files import model_hashes

    planted, _ = load_planted(folder, seal=seal)
    refuse_other_deletion(planted, delete)
    under_audit = load_model(
        model,
        names=planted.training.classes,
        module=None if module is None else function_of_file(module),
        allow_pickle=allow_pickle,
        trusted=trusted,
    )
    fingerprint = " ".join(model_hashes(model).values())
    names = planted.training.classes
    target = as_target(under_audit, classes=len(names), names=names, outputs=outputs)
    bound = audit_folder(folder, target, fingerprint=fingerprint, seal=seal, accept_weak=accept_weak)
    echo_json(bound.to_json()) if as_json else echo(bound.summary())


@canaries.command("run")
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--references", type=click.IntRange(0), default=0, help="Further models that tell a canary's difficulty.")
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print audit.json instead of a summary.")
@_planting
@permissions_options
def run_canaries(
    plan: Path,
    references: int,
    engine: dict[str, Any],
    permissions: Permissions,
    as_json: bool,
    out: Path,
    seed: int | None,
    data: Path | None,
    **options: Any,
) -> None:
    """Plant canaries among PLAN's members, train by its recipe, and bound epsilon.

    What was trained is kept in --out; the same command goes on with a run that was cut short.
    """
    from miaudit.auditing.progress import telling
    from miaudit.canaries import Canaries, run

    what = Canaries(**options)
    with telling(console(stderr=True)) as tell:
        bound = run(
            plan,
            what,
            out=out,
            references=references,
            seed=seed,
            tell=tell,
            data=data,
            **engine,
            **vars(permissions),
        )
    echo_json(bound.to_json()) if as_json else echo(bound.summary())
