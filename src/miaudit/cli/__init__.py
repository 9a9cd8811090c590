"""The command line: parse, call, print, exit code. Heavy imports stand inside functions."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from miaudit import __version__
from miaudit.cli.canaries import canaries
from miaudit.cli.ending import Commands
from miaudit.cli.evidence import annex, card, clean, verify
from miaudit.cli.gate import diff, gate, show
from miaudit.cli.mitigate import mitigate
from miaudit.cli.options import (
    attack_option,
    console,
    data_option,
    dry_run_option,
    echo,
    echo_json,
    engine_options,
    form_options,
    gate_option,
    jobs_option,
    local_engine_options,
    out_option,
    permissions_options,
    proposal_options,
    quick_options,
)
from miaudit.cli.rendering import render, show_forecast, show_seal
from miaudit.cli.reproduce import reproduce
from miaudit.cli.unlearn import unlearn
from miaudit.errors import counted

if TYPE_CHECKING:
    from miaudit.gate import Policy
    from miaudit.plan import Plan
    from miaudit.plan.permissions import Permissions
    from miaudit.result import Result

_EXIT_CODES = """
Exit codes: 0 done, 2 usage, plan or data error, 4 failure of the target or of the shadow models, or the time limit came
first, 70 a defect of miaudit, 130 interrupted, 143 terminated. Only gate and --gate end with 1, the gate failed, and 3,
it does not tell.
"""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_CODES)
@click.version_option(__version__, prog_name="miaudit")
def main() -> None:
    """Audit what a machine-learning model gives away about the records it was trained on."""


@main.command()
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))
@out_option
@engine_options
@form_options
@data_option
@click.option(
    "--retrain",
    type=click.IntRange(0),
    default=0,
    help="Train so many models found in --out again and compare; one that differs is an error.",
)
@gate_option
@dry_run_option
@permissions_options
@click.pass_context
def run(
    ctx: click.Context,
    plan: Path,
    retrain: int,
    policy: str | None,
    out: Path | None,
    engine: dict[str, Any],
    form: str | None,
    data: Path | None,
    dry_run: bool,
    permissions: Permissions,
) -> None:
    """Carry out the audit that PLAN describes, or finish one that was cut short.

    Everything lands in the --out folder (default: miaudit-out/NAME-OF-PLAN). Shadow models already trained there are
    used again, if data, recipe and seeds are the same; so nobody else should be able to write to it.
    """
    from miaudit.plan import Plan

    if dry_run and (retrain or policy is not None):
        raise click.UsageError("--dry-run makes no result, which --retrain and --gate are about: leave them out")
    limits = None if policy is None else _policy(policy)  # before anything is trained
    audited = Plan.load(plan)
    folder = out or Path("miaudit-out") / plan.stem
    if dry_run:
        _forecast(audited, folder, form, data=data, **engine, **vars(permissions))
        return
    result = _carry_out(audited, folder, form, retrain=retrain, data=data, **engine, **vars(permissions))
    _gate(ctx, limits, result, folder, form)


@main.command("audit")
@proposal_options
@engine_options
@form_options
@dry_run_option
@permissions_options
def audit_command(
    proposed: dict[str, Any],
    out: Path | None,
    engine: dict[str, Any],
    form: str | None,
    dry_run: bool,
    permissions: Permissions,
) -> None:
    """Audit the model in the file MODEL, trained on the records of TRAIN and not on those of TEST.

    MODEL is a scikit-learn model or pipeline saved by skops, joblib or pickle; the records are CSV, Parquet or .npz files.
    What a plan would say is guessed from them, shown, and written to plan.toml in the --out folder (default:
    miaudit-out/NAME-OF-MODEL), so that the next audit is miaudit run on that plan.
    """
    from miaudit.plan import Plan

    path, text = _proposed(proposed, out, permissions)
    echo(text, err=True)
    (_forecast if dry_run else _carry_out)(Plan.load(path), path.parent, form, **engine, **vars(permissions))


@main.command()
@proposal_options
@permissions_options
def init(proposed: dict[str, Any], out: Path | None, permissions: Permissions) -> None:
    """Write the plan that miaudit audit would carry out, and run nothing but what reading MODEL runs."""
    path, text = _proposed(proposed, out, permissions)
    echo(text)
    echo(f"plan: {path}", err=True)


@main.command()
@quick_options
@form_options
@gate_option
@permissions_options
@click.pass_context
def quick(
    ctx: click.Context,
    proposed: dict[str, Any],
    out: Path | None,
    form: str | None,
    policy: str | None,
    permissions: Permissions,
) -> None:
    """Look at the model in the file MODEL as audit does, in seconds: without shadow models, by the attacks that need none.

    Without --population, 30 % of TEST (--holdout) serve as the records that attacks compare with, and are not audited. What it
    finds is a leak if the two files are alike; what it does not find, a full audit may. Everything lands in the --out folder
    (default: miaudit-out/NAME-OF-MODEL-quick).
    """
    from miaudit.auditing.proposal import QUICK, QUICK_HOLDOUT, short_name
    from miaudit.plan import Plan
    from miaudit.report.tail import surely_out

    if proposed["population"] is None:
        proposed["holdout"] = proposed["holdout"] or QUICK_HOLDOUT
    limits = None if policy is None else _policy(policy)
    folder = out or Path("miaudit-out") / f"{short_name(proposed['model'])}-quick"
    path, _ = _proposed(proposed | {"shadows": 0, "attacks": QUICK}, folder, permissions)
    result = _carry_out(Plan.load(path), folder, form, jobs=0, **vars(permissions))
    for line in (*surely_out(result), result.not_tested[0]):
        echo(line, err=form == "json")
    _gate(ctx, limits, result, folder, form)


def _policy(name: str) -> Policy:
    from miaudit.gate import Policy

    return Policy.load(name)


def _gate(ctx: click.Context, policy: Policy | None, result: Result, folder: Path, form: str | None) -> None:
    """Show a policy's decision, and end with its exit code, where there is a policy."""
    if policy is not None:
        decision = policy.check(result)
        show(decision, "text", folder, err=form == "json")
        ctx.exit(decision.exit_code)


def _proposed(files: dict[str, Any], out: Path | None, permissions: Permissions) -> tuple[Path, str]:
    """Write the plan that a model and its files propose, and return its path and its text."""
    from miaudit.auditing.proposal import is_as_proposed, plan_text, proposal, short_name
    from miaudit.cli.options import consents
    from miaudit.errors import PlanError
    from miaudit.files import write_atomically

    model = files.pop("model")
    folder = out or Path("miaudit-out") / short_name(model)
    path = folder / "plan.toml"
    content = proposal(model, files.pop("train"), files.pop("test"), permissions=permissions, **files)
    text = plan_text(
        content, folder, f"miaudit run {shlex.quote(str(path))} --out {shlex.quote(str(folder))}{consents(permissions)}"
    )
    present = path.read_text(encoding="utf-8") if path.exists() else text
    finished = (folder / "result.json").exists()
    if present != text and (finished or not is_as_proposed(present)):
        why = "its result lies beside it" if finished else "it was changed by hand"
        raise PlanError(
            f"{path} holds another plan than the one proposed, and {why}: name another folder with --out for this audit, "
            f"or go on with that plan by miaudit run {shlex.quote(str(path))} --out {shlex.quote(str(folder))}"
        )
    write_atomically(path, text.encode())
    return path, text


@main.command()
@out_option
@jobs_option
@form_options
def demo(out: Path | None, jobs: int | None, form: str | None) -> None:
    """Audit a random forest trained on 400 handwritten digits that ship with scikit-learn."""
    from miaudit.plan import Plan

    plan = Plan.load(Path(__file__).parents[1] / "demo.toml")
    _carry_out(plan, out or Path("miaudit-demo"), form, jobs=jobs)


def _carry_out(plan: Plan, out: Path, form: str | None, **options: Any) -> Result:
    from miaudit.auditing import audit
    from miaudit.auditing.progress import telling

    with telling(console(stderr=True), quiet=form == "quiet") as tell:
        result = audit(plan, out=out, tell=tell, page=False, **options)
    render(result, out, form)
    if form != "quiet":
        show_seal(out)
    return result


def _forecast(plan: Plan, out: Path, form: str | None, **options: Any) -> None:
    from miaudit.auditing import forecast
    from miaudit.auditing.progress import telling

    with telling(console(stderr=True), quiet=form == "quiet") as tell:
        costs = forecast(plan, out=out, tell=tell, **options)
    show_forecast(costs, form)


@main.command()
@click.argument("outputs", type=click.Path(dir_okay=False, path_type=Path))
@out_option
@form_options
@click.option("--title", help="Heading of the report; default: the name of the file.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Root of all random draws.")
@click.option(
    "--threshold",
    type=click.Choice(["bonferroni", "split"]),
    default="bonferroni",
    show_default=True,
    help="Where the threshold of PPV and epsilon comes from.",
)
@click.option(
    "--delta", type=click.FloatRange(0, 1, max_open=True), default=1e-5, show_default=True, help="Of epsilon."
)
@attack_option
@click.option(
    "--unit",
    type=click.Choice(["person", "record"]),
    help="What is counted; default: people, where the array group names them.",
)
def score(
    outputs: Path,
    out: Path | None,
    form: str | None,
    title: str | None,
    seed: int,
    threshold: Any,
    delta: float,
    attacks: tuple[str, ...],
    unit: Any,
) -> None:
    """Audit a model from stored answers alone.

    OUTPUTS is an .npz file with the target's answers (target), the true classes (labels) and who is a member (member),
    and whatever else of docs/outputs.md there is: shadow models' answers make the attacks strong. With what each shadow model
    knows of each record (state) it is a deletion audit.
    """
    from miaudit.auditing.progress import telling
    from miaudit.auditing.scoring import score as scored
    from miaudit.plan import FiguresPlan, section_of
    from miaudit.unlearning.stored import is_deletion
    from miaudit.unlearning.stored import score as scored_deletion

    folder = out or Path("miaudit-out") / outputs.stem
    operating = section_of(FiguresPlan, {"threshold": threshold, "delta": delta})
    names = attacks or None
    how = scored_deletion if outputs.is_file() and is_deletion(outputs) else scored
    options: dict[str, Any] = {"seed": seed, "title": title, "operating": operating, "unit": unit, "attacks": names}
    with telling(console(stderr=True), quiet=form == "quiet") as tell:
        result = how(outputs, **options, out=folder, tell=tell)
    render(result, folder, form)
    show_seal(folder)


@main.command()
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default: NAME-OF-PLAN-draws.npz."
)
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print names and shapes of the arrays as JSON.")
def draws(plan: Path, out: Path | None, data: Path | None, as_json: bool) -> None:
    """Write who is trained on what in the audit of PLAN, for shadow models that are trained elsewhere.

    The .npz file lists each shadow model's training records, the records it answers and its seed. With the answers beside
    them, miaudit score audits (docs/training-code.md). Nothing is trained or run.
    """
    import json

    from miaudit.auditing.export import draws as exported

    path = out or Path(f"{plan.stem}-draws.npz")
    arrays = exported(plan, path, data=data)
    if as_json:
        echo_json(json.dumps({name: list(array.shape) for name, array in arrays.items()}, indent=2) + "\n")
    else:
        shadows, train = arrays["draw_train"].shape
        echo(
            f"{counted(shadows, 'shadow model')} of {train:,} training records each, "
            f"{counted(arrays['draw_asked'].shape[1], 'answer')} each"
        )
    echo(f"draws: {path}", err=as_json)


@main.command("synthesize")
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))
@out_option
@click.option(
    "--method",
    type=click.Choice(["model-based", "marginals", "noisy"]),
    help="How; default: what shadows.data of the plan says.",
)
@local_engine_options
@click.option("--json", "as_json", is_flag=True, help="Print synthesis.json to stdout instead of a summary.")
@data_option
@permissions_options
def synthesize_command(
    plan: Path,
    out: Path | None,
    method: Any,
    engine: dict[str, Any],
    as_json: bool,
    data: Path | None,
    permissions: Permissions,
) -> None:
    """Make the shadow data of PLAN without data: from the target's answers, from statistics, or noisy real records.

    Writes synthesis.npz, which plans can read, and synthesis.json to the --out folder (default: miaudit-out/NAME-OF-PLAN).
    What a budget, a time limit or an error cut short is kept there, and the same command goes on with it.
    """
    from miaudit.auditing.progress import telling
    from miaudit.auditing.shadow_data import synthesize

    folder = out or Path("miaudit-out") / plan.stem
    with telling(console(stderr=True)) as tell:
        records = synthesize(plan, folder, method=method, data=data, tell=tell, **engine, **vars(permissions))
    if as_json:
        echo_json(records.to_json())
    else:
        for line in records.summary():
            echo(line)
    echo(f"records: {folder / 'synthesis.npz'}", err=as_json)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands and options: eval "$(miaudit completion bash)", or in its start-up file."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    complete = kind(main, {}, "miaudit", "_MIAUDIT_COMPLETE")
    click.echo(complete.source_template % complete.source_vars())


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@form_options
@click.option("--share", is_flag=True, help="Write FOLDER/share instead: no record, no small slice, no path of yours.")
@click.option(
    "--mlflow",
    "experiment",
    metavar="EXPERIMENT",
    help="Also log figures, verdict and the shared form as a run of MLflow.",
)
@click.option("--mlflow-run", "run", metavar="ID", help="Log them to this run of MLflow, as that of the training.")
def report(folder: Path, form: str | None, share: bool, experiment: str | None, run: str | None) -> None:
    """Render the report again from FOLDER/result.json."""
    from miaudit.result import Result

    if experiment is not None and run is not None:
        raise click.UsageError("--mlflow makes a run, and --mlflow-run names one: give one of them")
    result = Result.load(folder)
    if experiment is not None or run is not None:
        from miaudit.report.tracking import log_audit

        run = log_audit(result, run=run) if experiment is None else log_audit(result, experiment=experiment)
        echo(f"MLflow: run {run}", err=True)
    if share:
        from miaudit.report.share import shared

        result, folder = shared(result), folder / "share"
        result.save(folder)
    render(result, folder, form)


@main.command()
@click.option("--plan", "of_plan", is_flag=True, help="The schema of plans instead.")
def schema(of_plan: bool) -> None:
    """Print the JSON schema of result.json."""
    from miaudit.plan import Plan
    from miaudit.result import Result

    echo_json(Plan.schema_text() if of_plan else Result.schema_text())


@main.command()
@click.option(
    "--shadows", type=click.IntRange(0), help="Say which would run with so many shadow models; beside the next two: 20."
)
@click.option(
    "--outputs",
    type=click.Choice(["logits", "probabilities", "rounded", "topk", "labels"]),
    help="Say which would run on a target that answers so; beside --shadows or --design: probabilities.",
)
@click.option(
    "--design",
    type=click.Choice(["disjoint", "overlapping"]),
    help="Say which would run with such shadows; beside the other two: disjoint.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def attacks(shadows: int | None, outputs: Any, design: Any, as_json: bool) -> None:
    """List the attacks: what each needs, its paper, and when to use it.

    With --shadows, --outputs or --design also which of them a run would carry out, and which is the strongest
    documented one for that.
    """
    import json

    from miaudit.attacks import plan_attacks
    from miaudit.attacks.choice import further_attacks
    from miaudit.cli.listing import attack_rows, print_attacks

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
        echo_json(json.dumps(attack_rows(planned), indent=2) + "\n")
    else:
        print_attacks(console(), planned)
    for problem in further_attacks()[1]:
        echo(problem, err=True)


@main.command()
def data() -> None:
    """List the named data sets: what they are, where they come from, and the files they need."""
    from miaudit.data.named import NAMED

    for name, info in NAMED.items():
        files = ", ".join(info.files) or "none needed"
        echo(f"{name:<12} {info.description}\n{'':<12} source: {info.source}\n{'':<12} files: {files}")


main.add_command(canaries)
main.add_command(unlearn)
main.add_command(gate)
main.add_command(diff)
main.add_command(verify)
main.add_command(annex)
main.add_command(card)
main.add_command(clean)
main.add_command(reproduce)
main.add_command(mitigate)
