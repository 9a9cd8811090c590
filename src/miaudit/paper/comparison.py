"""Ours beside the paper's: accuracies first, then levels where the task is the same, and orders in any case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from miaudit import stats
from miaudit.documents import Count, Document
from miaudit.errors import counted
from miaudit.paper.outcomes import Outcome, mean
from miaudit.paper.published import Experiment, Row
from miaudit.paper.settings import SETTINGS

APART = 0.05
"""A target whose test accuracy lies farther from the paper's is another task, and no level of the attack is compared."""

State = Literal["compared", "another task", "not run", "no data at hand"]
ACCURACIES = ("train_accuracy", "test_accuracy")


class Cell(Document):
    """One figure of ours, the mean over seeds with the range, beside the paper's.

    ``difference`` is ours less the paper's; null where there is no level to compare, or one of the two is missing.
    """

    figure: str
    ours: float | None
    low: float | None
    high: float | None
    paper: float | None
    tag: str | None
    difference: float | None


class Line(Document):
    """One row: what was measured, at which size, and why levels are compared or are not.

    ``low`` and ``high`` of a cell are the interval of one seed, or the range of several.
    """

    label: str
    setting: str | None
    state: State
    reason: str
    scale: str | None
    seeds: list[Count]
    members: Count | None
    shadows: Count | None
    shadows_of_paper: Count | None
    simulated: bool
    cells: list[Cell]


class Order(Document):
    """Spearman's correlation of our figure with the paper's over rows that have both; ``other_tasks`` of them are others."""

    figure: str
    value: float | None
    rows: Count
    other_tasks: Count


class Comparison(Document):
    """A table or figure of the paper, ours beside its own."""

    name: str
    title: str
    figures: list[str]
    lines: list[Line]
    order: Order | None
    choices: list[str]


def compare(
    experiment: Experiment, outcomes: Mapping[str, Sequence[Outcome]], left_out: Mapping[str, str] | None = None
) -> Comparison:
    """Lay what was measured beside the paper's figures.

    Parameters
    ----------
    experiment
        The table or figure.
    outcomes
        By the name of the setting, those of all seeds at one scale.
    left_out
        Why a setting could not be run, by its name: data that are not at hand.
    """
    lines = [
        _line(row, experiment.figures, outcomes.get(row.setting or "", ()), (left_out or {}).get(row.setting or ""))
        for row in experiment.rows
    ]
    return Comparison(
        name=experiment.name,
        title=experiment.title,
        figures=list(experiment.figures),
        lines=lines,
        order=_order(experiment.order, lines) if experiment.order else None,
        choices=list(experiment.choices),
    )


def _line(row: Row, figures: Sequence[str], outcomes: Sequence[Outcome], missing: str | None) -> Line:
    first = outcomes[0] if outcomes else None
    state, reason = _state(row, outcomes) if missing is None else ("no data at hand", missing)
    return Line(
        label=row.label,
        setting=row.setting,
        state=state,
        reason=reason,
        scale=None if first is None else first.scale,
        seeds=[outcome.seed for outcome in outcomes],
        members=None if first is None else first.members,
        shadows=None if first is None else first.shadows,
        shadows_of_paper=None if first is None else first.shadows_of_paper,
        simulated=any(outcome.simulated for outcome in outcomes),
        cells=[_cell(row, figure, outcomes, state) for figure in figures],
    )


def _state(row: Row, outcomes: Sequence[Outcome]) -> tuple[State, str]:
    if row.setting is None:
        return "no data at hand", f"to get: {row.wanted}"
    if not outcomes:
        return "not run", f"about {SETTINGS[row.setting].minutes:g} minutes of a core for each seed"
    if row.unlike:
        return "another task", row.unlike
    ours, theirs = mean(outcomes, "test_accuracy"), row.published.get("test_accuracy")
    if theirs is None or ours is None:
        return "compared", "the paper prints no test accuracy, so that the tasks may differ"
    if abs(ours - theirs.value) > APART:
        return "another task", f"test accuracy {ours:.3f}, the paper's is {theirs.value:.3f}"
    return "compared", ""


def _cell(row: Row, figure: str, outcomes: Sequence[Outcome], state: State) -> Cell:
    ours, theirs = mean(outcomes, figure), row.published.get(figure)
    values = [value for outcome in outcomes if (value := outcome.figures.get(figure)) is not None]
    low, high = (None, None) if ours is None else (min(values), max(values))
    if len(outcomes) == 1:
        low, high = outcomes[0].intervals.get(figure, (None, None))
    level = state == "compared" or figure in ACCURACIES
    difference = ours - theirs.value if level and ours is not None and theirs is not None else None
    return Cell(
        figure=figure,
        ours=ours,
        low=low,
        high=high,
        paper=None if theirs is None else theirs.value,
        tag=None if theirs is None else theirs.tag,
        difference=difference,
    )


def _order(figure: str, lines: Sequence[Line]) -> Order:
    pairs = []
    others = 0
    for line in lines:
        cell = next(cell for cell in line.cells if cell.figure == figure)
        if cell.ours is not None and cell.paper is not None:
            pairs.append((cell.ours, cell.paper))
            others += line.state == "another task"
    value = stats.spearman(*zip(*pairs, strict=True)) if len(pairs) > 2 else None
    return Order(figure=figure, value=value, rows=len(pairs), other_tasks=others)


NAMES = {
    "train_accuracy": "train",
    "test_accuracy": "test",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "attack accuracy",
    "class_gap_p50": "median gap",
    "members_sure": "members sure",
    "nonmembers_sure": "non-members sure",
    "spearman_precision_gap": "rank correlation of precision and gap",
    "spearman_precision_share": "of precision and share",
    "spearman_gap_share": "of gap and share",
    **{f"class_{name}_p{k}": f"class {name}, {k} %" for name in ("precision", "recall") for k in (10, 25, 50, 75, 90)},
    "class_precision_p50": "median class precision",
    "class_recall_p50": "median class recall",
}
"""What columns are called."""


def rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return heading and cells of a comparison as texts: ``ours | paper's``; a figure read off a drawing has a tilde."""
    heading = ["", *(NAMES.get(figure, figure) for figure in comparison.figures), "n; shadows; seeds", ""]
    body = [[line.label, *map(_shown, line.cells), _size(line), _remark(line)] for line in comparison.lines]
    return heading, body


def _shown(cell: Cell) -> str:
    ours = "-" if cell.ours is None else f"{cell.ours:.3f}"
    if cell.ours is not None and cell.low is not None and cell.high is not None and cell.low != cell.high:
        ours += f" ({cell.low:.3f} to {cell.high:.3f})"
    paper = "-" if cell.paper is None else f"{'~' if cell.tag == 'drawn' else ''}{cell.paper:.3f}"
    return f"{ours} / {paper}"


def _size(line: Line) -> str:
    if line.members is None:
        return "-"
    of = "" if line.shadows == line.shadows_of_paper else f" of {line.shadows_of_paper}"
    return f"{line.members:,}; {line.shadows}{of}; {len(line.seeds)}"


def _remark(line: Line) -> str:
    simulated = "simulated" if line.simulated else ""
    state = "" if line.state == "compared" else line.state
    quick = "quick scale" if line.scale == "quick" else ""
    head = ", ".join(part for part in (simulated, quick, state) if part)
    return f"{head}: {line.reason}" if line.reason and head else head or line.reason


def markdown(comparison: Comparison) -> str:
    """Return a comparison as Markdown: ours / the paper's in each cell."""
    heading, body = rows(comparison)
    lines = [f"| {' | '.join(heading)} |", "|" + " --- |" * len(heading)]
    lines += [f"| {' | '.join(each.replace('|', '/') for each in row)} |" for row in body]
    order = comparison.order
    if order is not None:
        lines += ["", sentence(order)]
    return "\n".join(lines) + "\n"


def sentence(order: Order) -> str:
    """Return in words how far the order of rows is the paper's."""
    what = NAMES.get(order.figure, order.figure)
    if order.value is None:
        return f"Order of the rows by {what}: too few rows with both figures to compare ({order.rows})."
    beside = f", {order.other_tasks} of them other tasks" if order.other_tasks else ""
    rows = counted(order.rows, "row")
    return f"Order of the rows by {what}: Spearman {order.value:z.2f} with the paper's, over {rows}{beside}."


def text(comparison: Comparison) -> str:
    """Return a comparison for a terminal: a block for each row, accuracies first."""
    lines = [comparison.title, ""]
    for line in comparison.lines:
        size = _size(line)
        lines.append(f"{line.label}{'' if size == '-' else f' (n; shadows; seeds: {size})'}")
        remark = _remark(line)
        if remark:
            lines.append(f"  {remark}")
        for cell in line.cells:
            if cell.ours is not None or (cell.paper is not None and line.state != "no data at hand"):
                ours, paper = _shown(cell).split(" / ")
                lines.append(f"  {NAMES.get(cell.figure, cell.figure):<38} {ours:<24} paper {paper}")
    if comparison.order is not None:
        lines += ["", sentence(comparison.order)]
    lines += ["", "Choices where the paper is silent:", *(f"  - {choice}" for choice in comparison.choices)]
    return "\n".join(lines) + "\n"
