"""The command line: parse, call, print, exit code. Heavy imports stand inside functions."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from miaudit import __version__
from miaudit.errors import MiauditError
from miaudit.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

    from miaudit.permissions import Permissions
    from miaudit.plan import Plan
    from miaudit.result import Result

_EXIT_CODES = """
Exit codes: 0 done, 2 usage, plan or data error, 4 failure of the target or of the shadow models, or the time limit came
first, 70 a defect of miaudit, 130 interrupted. 1 and 3 are left to gates: failed, inconclusive.
"""
_DEFECT = 70


class _Commands(click.Group):
    """Commands that end with an error's own exit code and its message; anything else is our defect."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _visible_warnings():
                return super().invoke(ctx)
        except MiauditError as error:
            _echo(f"miaudit: {error}", err=True)
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _echo("miaudit: interrupted; finished rows are kept, run the same command again to go on", err=True)
            sys.exit(130)
        except BrokenPipeError:  # whoever read our output has seen enough
            _no_more_output()
            sys.exit(0)
        except MemoryError:
            _echo(
                "miaudit: out of memory; finished rows are kept: train fewer models at a time (--jobs), or audit fewer "
                "records",
                err=True,
            )
            sys.exit(2)
        except SystemExit as error:  # none of ours: code of a plan's file, or of a target
            click.echo(
                f"miaudit: code that the command ran called sys.exit({error.code!r}); there is no result", err=True
            )
            sys.exit(2)
        except Exception as error:
            if isinstance(error, click.ClickException | click.exceptions.Exit):
                raise
            _defect(error)
            sys.exit(_DEFECT)

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        finally:
            _leave_threads(sys.exception())


def _leave_threads(error: BaseException | None) -> None:
    """End though a model left a thread running, for which Python would wait."""
    guard = sys.modules.get("miaudit.shadows.guard")
    if guard is not None and any(thread.is_alive() for thread in guard.left_threads):
        click.echo("miaudit: ended, although threads that models left are still running", err=True)
        sys.stdout.flush()
        code = getattr(error, "code", 0 if error is None else 1)
        guard.really_exit(code if isinstance(code, int) else 0)


@contextmanager
def _visible_warnings() -> Iterator[None]:
    """Have the warnings of libraries, which may quote data, printed without commands."""
    formatwarning = warnings.formatwarning
    warnings.formatwarning = lambda *args, **options: visible(formatwarning(*args, **options), lines=True)
    try:
        yield
    finally:
        warnings.formatwarning = formatwarning


def _defect(error: Exception) -> None:
    import traceback

    _echo("".join(traceback.format_exception(error)).rstrip("\n"), err=True)
    _echo(
        f"miaudit: this is a defect of miaudit {__version__}: {type(error).__name__}, with the traceback above. Please report "
        "it, with traceback and plan, to the issue tracker of the project (SECURITY.md says how to report what must not be "
        "public); finished rows are kept",
        err=True,
    )


def _no_more_output() -> None:
    """Keep Python from writing to a closed pipe once more at its end."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_CODES)
@click.version_option(__version__, prog_name="miaudit")
def main() -> None:
    """Audit what a machine-learning model gives away about the records it was trained on."""


_out = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the result and the rows."
)
_jobs = click.option("--jobs", type=click.IntRange(0), help="Processes that train; default: one per core; 0: this one.")
_device = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda", "auto"]),
    help="Where networks train: the processor (default), an NVIDIA GPU, or the GPU if there is one.",
)
_dtype = click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    help="Type of a network's products while it trains; makes other models. Default: the recipe's.",
)
_address = click.option(
    "--address", help="Train on a Dask cluster: the address of its scheduler, as tcp://10.0.0.1:8786."
)
_time_limit = click.option(
    "--time-limit", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds; keep all (exit 4)."
)
_PERMISSIONS = (
    click.option(
        "--allow-code", is_flag=True, help="Consent to run the code that PLAN names: functions, unlisted packages."
    ),
    click.option(
        "--allow-pickle",
        is_flag=True,
        help="Consent to read a model file that can run its author's code, as pickles do.",
    ),
    click.option(
        "--env", multiple=True, metavar="NAME", help="An environment variable that PLAN may send to its server."
    ),
    click.option(
        "--trusted", multiple=True, metavar="TYPE", help="skops: a type outside its own list that may be loaded."
    ),
)


def _permissions(command: Any) -> Any:
    """Add what every command that reads a plan takes: consent, handed on as ``permissions``."""

    @functools.wraps(command)
    def permitted(
        *, allow_code: bool, allow_pickle: bool, env: tuple[str, ...], trusted: tuple[str, ...], **options: Any
    ) -> Any:
        from miaudit.permissions import Permissions

        return command(permissions=Permissions(allow_code, allow_pickle, env, trusted), **options)

    for option in reversed(_PERMISSIONS):
        permitted = option(permitted)
    return permitted


_json = click.option("--json", "as_json", is_flag=True, help="Print result.json to stdout instead of a summary.")


@main.command()
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))
@_out
@_jobs
@_device
@_dtype
@_json
@_address
@_time_limit
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the named data sets; default: MIAUDIT_DATA.")
@click.option(
    "--retrain",
    type=click.IntRange(0),
    default=0,
    help="Train so many models found in --out again and compare; one that differs is an error.",
)
@_permissions
def run(
    plan: Path,
    retrain: int,
    out: Path | None,
    jobs: int | None,
    device: str | None,
    dtype: str | None,
    as_json: bool,
    address: str | None,
    time_limit: float | None,
    data: Path | None,
    permissions: Permissions,
) -> None:
    """Carry out the audit that PLAN describes, or finish one that was cut short.

    Everything lands in the --out folder (default: miaudit-out/NAME-OF-PLAN). Shadow models already trained there are
    used again, if data, recipe and seeds are the same; so nobody else should be able to write to it.
    """
    from miaudit.plan import Plan

    audited = Plan.load(plan)
    folder = out or Path("miaudit-out") / plan.stem
    options = {"jobs": jobs, "address": address, "device": device, "dtype": dtype, "time_limit": time_limit}
    options["retrain"] = retrain
    _carry_out(audited, folder, as_json, **options, data=data, **vars(permissions))


@main.command()
@_out
@_jobs
@_json
def demo(out: Path | None, jobs: int | None, as_json: bool) -> None:
    """Audit a random forest trained on 400 handwritten digits that ship with scikit-learn."""
    from miaudit.plan import Plan

    plan = Plan.load(Path(__file__).parent / "demo.toml")
    _carry_out(plan, out or Path("miaudit-demo"), as_json, jobs=jobs)


def _carry_out(plan: Plan, out: Path, as_json: bool, **options: Any) -> None:
    from miaudit.auditing import audit
    from miaudit.progress import telling

    with telling(_console(stderr=True)) as tell:
        result = audit(plan, out=out, tell=tell, **options)
    _render(result, out, as_json)


def _render(result: Result, folder: Path, as_json: bool) -> None:
    """Print the result and write its page: each also where the other fails, for the result is kept."""
    from miaudit.report import write

    page: Path | None = None
    failures: list[Exception] = []
    with _noting(failures):
        page = write(result, folder)
    with _noting(failures):
        _show(result, page, as_json)
    if failures:
        _echo(
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


def _show(result: Result, page: Path | None, as_json: bool) -> None:
    if as_json:
        _echo_json(result.to_json())
    else:
        from miaudit.report import summary

        summary(result, _console())
    if page is not None:
        _echo(f"report: {page}", err=as_json)


@main.command()
@click.argument("outputs", type=click.Path(dir_okay=False, path_type=Path))
@_out
@_json
@click.option("--title", help="Heading of the report; default: the name of the file.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Root of all random draws.")
@click.option(
    "--threshold",
    type=click.Choice(["split", "bonferroni"]),
    default="split",
    show_default=True,
    help="Where the threshold of PPV and epsilon comes from.",
)
@click.option(
    "--delta", type=click.FloatRange(0, 1, max_open=True), default=1e-5, show_default=True, help="Of epsilon."
)
@click.option(
    "--attack", "attacks", multiple=True, help="Run this one, and others so named; default: all that can be run."
)
@click.option(
    "--unit",
    type=click.Choice(["person", "record"]),
    help="What is counted; default: people, where the array group names them.",
)
def score(
    outputs: Path,
    out: Path | None,
    as_json: bool,
    title: str | None,
    seed: int,
    threshold: Any,
    delta: float,
    attacks: tuple[str, ...],
    unit: Any,
) -> None:
    """Audit a model from stored answers alone.

    OUTPUTS is an .npz file with the target's answers (target), the true classes (labels) and who is a member (member),
    and whatever else of docs/outputs.md there is: shadow models' answers make the attacks strong.
    """
    from miaudit.findings import Operating
    from miaudit.scoring import score as scored

    folder, operating = out or Path("miaudit-out") / outputs.stem, Operating(threshold, delta)
    chosen = attacks or None
    result = scored(outputs, seed=seed, title=title, operating=operating, unit=unit, attacks=chosen, out=folder)
    _render(result, folder, as_json)


@main.command()
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))
@_out
@click.option(
    "--method",
    type=click.Choice(["model-based", "marginals", "noisy"]),
    help="How; default: what shadows.data of the plan says.",
)
@_jobs
@_device
@_dtype
@_time_limit
@click.option("--json", "as_json", is_flag=True, help="Print synthesis.json to stdout instead of a summary.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the named data sets; default: MIAUDIT_DATA.")
@_permissions
def synthesize(
    plan: Path,
    out: Path | None,
    method: str | None,
    jobs: int | None,
    device: str | None,
    dtype: str | None,
    time_limit: float | None,
    as_json: bool,
    data: Path | None,
    permissions: Permissions,
) -> None:
    """Make the shadow data of PLAN without data: from the target's answers, from statistics, or noisy real records.

    Writes synthesis.npz, which plans can read, and synthesis.json to the --out folder (default: miaudit-out/NAME-OF-PLAN).
    What a budget, a time limit or an error cut short is kept there, and the same command goes on with it.
    """
    import json
    import time
    from dataclasses import replace

    from miaudit.case import case_of_plan
    from miaudit.plan import Plan
    from miaudit.progress import telling
    from miaudit.shadow_data import synthesize
    from miaudit.workers import workers_of

    folder, started = out or Path("miaudit-out") / plan.stem, time.monotonic()
    with telling(_console(stderr=True)) as tell:
        tell("loading", None)
        asked = Plan.load(plan)
        here = asked.engine.model_copy(update={"kind": "local", "address": None})  # one model, asked in this process
        workers = workers_of(here, start=started, jobs=jobs, device=device, time_limit=time_limit)
        case = case_of_plan(asked, data_folder=data, permissions=permissions)
        workers, recipe = workers.take(case.recipe, dtype)
        case = replace(case, recipe=recipe)
        made = synthesize(case, folder, method=method, deadline=workers.deadline, say=tell)  # type: ignore[arg-type]
    if as_json:
        _echo_json(json.dumps(made.figures, indent=2, allow_nan=False) + "\n")
    else:
        for line in made.summary():
            _echo(line)
    _echo(f"records: {folder / 'synthesis.npz'}", err=as_json)


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_json
def report(folder: Path, as_json: bool) -> None:
    """Render the report again from FOLDER/result.json."""
    from miaudit.result import Result

    result = Result.load(folder)
    _render(result, folder, as_json)


@main.command()
@click.option("--plan", "of_plan", is_flag=True, help="The schema of plans instead.")
def schema(of_plan: bool) -> None:
    """Print the JSON schema of result.json."""
    from miaudit.plan import Plan
    from miaudit.result import Result

    _echo_json(Plan.schema_text() if of_plan else Result.schema_text())


@main.command()
@click.option("--shadows", type=click.IntRange(0), help="Say which would run with so many shadow models [20].")
@click.option(
    "--outputs",
    type=click.Choice(["logits", "probabilities", "rounded", "topk", "labels"]),
    help="Say which would run on a target that answers so [probabilities].",
)
@click.option(
    "--design", type=click.Choice(["disjoint", "overlapping"]), help="Say which would run with such shadows [disjoint]."
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def attacks(shadows: int | None, outputs: Any, design: Any, as_json: bool) -> None:
    """List the attacks: what each needs, its paper, and when to use it.

    With --shadows, --outputs or --design also which of them a run would carry out, and which is the strongest
    documented one for that.
    """
    import json

    from miaudit.attacks import plan_attacks
    from miaudit.listing import attack_rows, print_attacks

    planned = None
    if (shadows, outputs, design) != (None, None, None):
        planned = plan_attacks(
            outputs or "probabilities",
            shadows=20 if shadows is None else shadows,
            design=design or "disjoint",
            answered=True,  # as in every run
            population=outputs != "labels",
            features=outputs != "labels",
        )
    if as_json:
        _echo_json(json.dumps(attack_rows(planned), indent=2) + "\n")
    else:
        print_attacks(_console(), planned)


@main.command()
def data() -> None:
    """List the named data sets: what they are, where they come from, and the files they need."""
    from miaudit.data.named import NAMED

    for name, info in NAMED.items():
        files = ", ".join(info.files) or "none needed"
        _echo(f"{name:<12} {info.description}\n{'':<12} source: {info.source}\n{'':<12} files: {files}")


@main.group()
def canaries() -> None:
    """Bound epsilon from one training, by canaries included by coin flips: plant, train, audit; or run all three."""


def _planting(command: Any) -> Any:
    """Add the options that fix an audit before any score is seen."""
    for option in reversed(
        [
            click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="New folder."),
            click.option("--count", type=int, default=1000, show_default=True, help="Number of canaries."),
            click.option(
                "--kind", default="mislabelled", show_default=True, help="Or out-of-distribution, duplicated."
            ),
            click.option("--copies", type=int, help="Of an included canary; default: 10 of duplicated ones, else 1."),
            click.option("--guesses-in", type=int, help="Highest scores called in; default: a tenth of the canaries."),
            click.option("--guesses-out", type=int, help="Lowest scores called out; default: a tenth of the canaries."),
            click.option("--signal", default="phi", show_default=True, help="Or loss."),
            click.option("--delta", type=float, default=1e-5, show_default=True, help="Of the bound."),
            click.option("--confidence", type=float, default=0.95, show_default=True, help="Of the bound."),
            click.option("--seed", type=click.IntRange(0), help="Of all draws; default: drawn."),
            click.option("--data", type=click.Path(path_type=Path), help="Folder of the named data sets."),
        ]
    ):
        command = option(command)
    return command


@canaries.command()
@click.argument("source", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--label", help="Column or array with the class, where SOURCE is a file of records.")
@click.option("--frame", is_flag=True, help="The model takes a pandas frame, where SOURCE is a table.")
@_planting
@_permissions
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

    what = Canaries(**options)
    if source.suffix == ".toml":
        from miaudit.canaries.running import sides_of_plan
        from miaudit.plan import Plan

        _, records, sources = sides_of_plan(Plan.load(source), data=data, **vars(permissions))
        made = planted(records, what, sources=sources, seed=seed)
    else:
        from miaudit.data import load

        made = planted(load(source, label=label, frame=frame), what, seed=seed)
    seal = save_planted(made, out)
    _echo(
        f"{out}: train once, on all {len(made.training)} records of the training file; {what.count} canaries, guesses fixed "
        f"at {what.k_in} in and {what.k_out} out\nseal: {seal}"
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
    accept_weak: bool,
    as_json: bool,
) -> None:
    """Bound the epsilon of the training that gave --model, on the canaries planted in FOLDER.

    The coins of a folder serve one model. One that plainly was not trained on its training file is refused before any
    canary is scored, and costs nothing.
    """
    from miaudit.canaries import audit_folder, load_planted
    from miaudit.recipes import function_of_file
    from miaudit.targets import as_target, load_model
    from miaudit.targets.files import model_hashes

    planted, _ = load_planted(folder, seal=seal)
    trained = load_model(
        model,
        names=planted.training.classes,
        module=None if module is None else function_of_file(module),
        allow_pickle=allow_pickle,
        trusted=trusted,
    )
    fingerprint = " ".join(model_hashes(model).values())
    names = planted.training.classes
    target = as_target(trained, classes=len(names), names=names, outputs=outputs)
    found = audit_folder(folder, target, fingerprint=fingerprint, seal=seal, accept_weak=accept_weak)
    _echo_json(found.to_json()) if as_json else _echo(found.summary())


@canaries.command("run")
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--references", type=click.IntRange(0), default=0, help="Further models that tell a canary's difficulty.")
@_jobs
@_device
@_dtype
@_address
@_time_limit
@click.option("--json", "as_json", is_flag=True, help="Print audit.json instead of a summary.")
@_planting
@_permissions
def run_canaries(
    plan: Path,
    references: int,
    jobs: int | None,
    device: str | None,
    dtype: str | None,
    address: str | None,
    time_limit: float | None,
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
    from miaudit.canaries import Canaries, run
    from miaudit.progress import telling

    what = Canaries(**options)
    with telling(_console(stderr=True)) as tell:
        found = run(
            plan,
            what,
            out=out,
            references=references,
            seed=seed,
            jobs=jobs,
            address=address,
            device=device,
            dtype=dtype,
            time_limit=time_limit,
            tell=tell,
            data=data,
            **vars(permissions),
        )
    _echo_json(found.to_json()) if as_json else _echo(found.summary())


def _echo(text: str, *, err: bool = False) -> None:
    """Print lines of ours, which may quote data and servers."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    text = visible(text, lines=True).encode(encoding, "backslashreplace").decode(encoding)
    click.echo(text, err=err)


def _echo_json(text: str) -> None:
    click.echo(text.replace("\x7f", "\\u007f"), nl=False)  # JSON escapes all else


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)
