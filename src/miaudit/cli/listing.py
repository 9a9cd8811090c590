"""The list of attacks that people read: what each needs, its paper, when to use it, and which would run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from miaudit.attacks import NAMED, USUAL, Attack, Planned, attack_name
from miaudit.attacks.choice import further_attacks
from miaudit.report.text import encodable

_TABLE_WIDTH = 120  # narrower consoles get a list
_NEEDS = {
    "probabilities": "probabilities",
    "signal": "probabilities or a signal",
    "likelihood": "probabilities or a log-likelihood",
    "population": "answers on records outside the audit",
    "features": "the records' features",
    "probes": "many questions about each record",
    "trace": "losses after every stage of the target's training",
}


def attack_rows(planned: Sequence[Planned] | None = None) -> list[dict[str, Any]]:
    """Return every attack in its usual configurations as plain values, and those that run only where they are named.

    The last are those that installed packages declare, which have the ``package``.

    Parameters
    ----------
    planned
        What would run of the usual ones; else ``runs``, ``reason`` and ``strongest`` are None.
    """
    usual: Sequence[Planned | None] = planned or [None] * len(USUAL)
    plans = [*usual, *(None if planned is None else _not_named(each) for each in NAMED)]
    rows = [_row(attack, plan, None) for attack, plan in zip((*USUAL, *NAMED), plans, strict=True)]
    further, _ = further_attacks()
    return rows + [_row(each, None if planned is None else _not_named(each), package) for package, each in further]


def _row(attack: Attack, plan: Planned | None, package: str | None) -> dict[str, Any]:
    name = attack_name(attack)
    return {
        "name": name,
        "title": attack.title,
        "needs": sorted(attack.needs),
        "least_shadows": attack.least_shadows,
        "needs_text": needs_text(attack),
        "use": attack.when.get(name.removeprefix(attack.name).strip(), attack.when.get("", "")),
        "paper": attack.paper,
        "package": package,
        "options": attack.options,
        "runs": None if plan is None else plan.runs,
        "reason": None if plan is None else plan.reason,
        "strongest": None if plan is None else plan.strongest,
    }


def _not_named(attack: Attack) -> Planned:
    return Planned(attack, False, "it runs only where it is named: add it to attacks, in the plan or the call")


def needs_text(attack: Attack) -> str:
    """Return what an attack needs, in words."""
    words = [text for need, text in _NEEDS.items() if need in attack.needs]
    if attack.least_shadows:
        least = attack.least_shadows
        models = "a shadow model" if least == 1 else f"{least} shadow models"
        online = getattr(attack, "mode", "") == "online"
        words.append(f"{models} of the overlapping design" if online else models)
    return ", ".join(words) or "labels"


def print_attacks(console: Console, planned: Sequence[Planned] | None = None) -> None:
    """Print the attacks: a table where the console is wide enough, else a list."""
    rows = attack_rows(planned)
    if console.width >= _TABLE_WIDTH:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for heading in ("attack", "needs", "use it for", "paper", *(("runs",) if planned is not None else ())):
            table.add_column(heading, overflow="fold")
        for row in rows:
            cells = [row["name"], row["needs_text"], row["use"], row["paper"]]
            if planned is not None:
                cells.append(_runs(row))
            style = "bold" if row["strongest"] else "dim" if row["runs"] is False else ""
            table.add_row(*(Text(encodable(cell, console)) for cell in cells), style=style)
        console.print(table)
        return
    for row in rows:
        console.print(Text(encodable(row["name"], console), style="bold"))
        lines = [row["title"], f"needs {row['needs_text']}", f"for {row['use']}", row["paper"]]
        for line in [*lines, *([_runs(row)] if planned is not None else [])]:
            console.print(Text(f"    {encodable(line, console)}"), soft_wrap=True)


def _runs(row: dict[str, Any]) -> str:
    if not row["runs"]:
        return f"no: {row['reason']}"
    return "yes, the strongest documented for this" if row["strongest"] else "yes"
