"""The first screen: the verdict, the attacks that matter to it, its controls, what it means and what to do."""

from __future__ import annotations

import io
import textwrap

from rich.console import Console

from miaudit.errors import counted
from miaudit.report.plain import as_pattern
from miaudit.report.text import as_figure, encodable, end, item, rate_at, say
from miaudit.report.text import full as every_figure
from miaudit.result import AttackResult, Deletion, Result

_ROWS = 5
_FPRS = (0.1, 0.01)
_WARNINGS = 2
_NAME = 18  # columns of a terminal that the longest word of our attacks' names takes, and two beside


def summary(result: Result, console: Console) -> None:
    """Print a screenful: verdict, up to five attacks with the one that leads first, controls, meaning, next step.

    Parameters
    ----------
    result
        The audit's result.
    console
        Where to print; its width, colour and encoding are honoured.
    """
    say(console, result.title, style="bold")
    say(console, result.verdict)
    say(console, "")
    if result.deletion is not None:
        _print_deletion(result.deletion, console)
    rows = _chosen(result)
    if rows:
        _print_attacks(rows, result, console)
        say(console, "")
    for attack in result.attacks:
        if attack.status == "failed":
            item(console, "Failed", f"'{attack.name}': {attack.reason or 'no reason given'}", style="yellow")
    end(result, console, _controls(result), warnings=_WARNINGS)


def _print_deletion(deletion: Deletion, console: Console) -> None:
    item(console, "Deletion", f"{deletion.title} ({deletion.paper})")
    for sentence in deletion.sentences:
        item(console, "", sentence)
    say(console, "")


def printed(result: Result, *, full: bool = False, width: int = 80) -> str:
    """Return the first screen as text, or with ``full`` all figures, in lines of at most ``width``."""
    out = io.StringIO()
    (every_figure if full else summary)(result, Console(file=out, width=width, no_color=True, force_jupyter=False))
    return out.getvalue().rstrip("\n")


def _chosen(result: Result) -> list[tuple[AttackResult, str]]:
    """Return the attacks of the first screen and what each stands for: the leading one, the best others, the baseline."""
    ran = [attack for attack in result.attacks if attack.status == "ran"]
    by_area = sorted(ran, key=lambda attack: -(attack.area or 0.0))
    lead = result.lead
    baseline = next((attack for attack in ran if attack.name == result.controls.baseline), None)
    first = [] if lead is None else [lead]
    order = [*first, *(each for each in by_area if each is not lead and each is not baseline)]
    last = [] if baseline is None or baseline is lead else [baseline]
    rows = [*order[: _ROWS - len(last)], *last]
    highest = by_area[0] if by_area else None

    def role(attack: AttackResult) -> str:
        names = (("leads", lead), ("baseline", baseline), ("highest", highest))
        return next((name for name, of in names if attack is of), "")

    return [(attack, role(attack)) for attack in rows]


def _print_attacks(rows: list[tuple[AttackResult, str]], result: Result, console: Console) -> None:
    """Print a table, whose long names go on in the next line, or where it finds no room one line per figure."""
    headers = ["AUC (95 %)", *(f"TPR at FPR {100 * fpr:g} %" for fpr in _FPRS)]
    names = [attack.name + (f" ({role})" if role else "") for attack, role in rows]
    figures = [
        [as_figure(attack.of_unit.auc), *(rate_at(attack.of_unit.tpr_at_fpr, fpr) for fpr in _FPRS)]
        for attack, _ in rows
    ]
    table = [["attack", *headers]]
    for name, cells in zip(names, figures, strict=True):
        table.append([encodable(name, console), *(cell.inline(short=True, digits=3) for cell in cells)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    room = min(widths[0], console.width - sum(widths[1:]) - len(headers))
    if room >= min(widths[0], _NAME):
        for style, (name, *texts) in zip(("bold", *[""] * len(rows)), table, strict=True):
            columns = (text.rjust(width) for text, width in zip(texts, widths[1:], strict=True))
            first, *more = textwrap.wrap(name, room, subsequent_indent="  ", break_on_hyphens=False)
            say(console, " ".join([first.ljust(room), *columns]), style=style)
            for line in more:
                say(console, line, style=style)
    else:
        for name, cells in zip(names, figures, strict=True):
            say(console, name, style="bold")
            for header, cell in zip(headers, cells, strict=True):
                say(console, f"  {header} {cell.inline()}")
    by_name = {attack.name for attack, _ in rows}
    others = [attack.name for attack in result.attacks if attack.status == "ran" and attack.name not in by_name]
    notes = ["figures are per person"] if result.split.unit == "person" else []
    if any(cell.mark == "*" for cells in figures for cell in cells):
        notes.append("* too few non-members, or tied scores, to resolve this rate")
    if others:
        notes.append(f"{len(others)} more attack{'s' if len(others) > 1 else ''} ran")
    if notes:
        say(console, "; ".join(notes), style="dim")


def _controls(result: Result) -> str:
    """Return how the controls came out, in a line; the full summary has their intervals."""
    null, blind, bystander = result.controls.null, result.controls.blind, result.controls.bystander
    if null is None:
        shuffled = "not run"
    else:
        broken = [each.attack for each in (null, *result.controls.nulls) if each.at_chance is False]
        outcome = "check not possible" if null.at_chance is None else "at chance"
        shuffled = (
            f"NOT AT CHANCE ({', '.join(broken)})" if broken else f"{outcome} (AUC {as_figure(null.auc).alone()})"
        )
    confounded = {True: "CONFOUNDED", False: "not confounded", None: "check not possible"}[blind.confounded]
    area = "" if blind.auc is None or blind.auc.value is None else f" (AUC {as_figure(blind.auc).alone()})"
    if bystander is None:
        neither = "not asked"
    elif bystander.auc is None or bystander.attack is None:
        neither = "check not possible"
    else:
        figures = result.attack(bystander.attack).bystander
        neither = "not asked" if figures is None else f"AUC {as_figure(figures.auc).alone()}"
        if bystander.tell_sides:
            neither += f", {counted(len(bystander.tell_sides), 'attack TELLS', 'attacks TELL')} THE SIDES APART there"
    pattern = result.controls.pattern
    if pattern is not None and pattern.confounded:
        area += f"; pattern of the classes {as_pattern(pattern)}"
    alone = f"{blind.subject} alone {confounded}{area}"
    return f"shuffled membership {shuffled}; {alone}; models trained on neither side: {neither}"
