"""`miaudit unlearn`: whether deleted records can still be seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from miaudit.cli.options import (
    console,
    data_option,
    dry_run_option,
    engine_options,
    form_options,
    gate_option,
    out_option,
    permissions_options,
)

if TYPE_CHECKING:
    from miaudit.plan.permissions import Permissions


@click.command()
@click.argument("plan", type=click.Path(dir_okay=False, path_type=Path))
@out_option
@engine_options
@form_options
@data_option
@gate_option
@dry_run_option
@permissions_options
@click.pass_context
def unlearn(
    ctx: click.Context,
    plan: Path,
    policy: str | None,
    out: Path | None,
    engine: dict[str, Any],
    form: str | None,
    data: Path | None,
    dry_run: bool,
    permissions: Permissions,
) -> None:
    """Audit the deletion that PLAN describes in its section [unlearning], or finish an audit that was cut short.

    Models are trained and made to forget as the plan says; what is found of the deleted records afterwards, and by whoever kept
    the earlier model, lands in the --out folder (default: miaudit-out/NAME-OF-PLAN).
    """
    from miaudit.auditing.progress import telling
    from miaudit.cli.gate import show
    from miaudit.cli.rendering import render, show_forecast, show_seal
    from miaudit.plan import Plan
    from miaudit.unlearning import audit, forecast

    if dry_run and policy is not None:
        raise click.UsageError("--dry-run makes no result, which --gate is about: leave it out")
    limits = None
    if policy is not None:
        from miaudit.gate import Policy

        limits = Policy.load(policy)
    described, folder = Plan.load(plan), out or Path("miaudit-out") / plan.stem
    if dry_run:
        with telling(console(stderr=True)) as tell:
            costs = forecast(described, out=folder, data=data, tell=tell, **engine, **vars(permissions))
        show_forecast(costs, form)
        return
    with telling(console(stderr=True)) as tell:
        result = audit(described, out=folder, data=data, page=False, tell=tell, **engine, **vars(permissions))
    render(result, folder, form)
    show_seal(folder)
    if limits is not None:
        decision = limits.check(result)
        show(decision, "text", folder, err=form == "json")
        ctx.exit(decision.exit_code)
