"""Drawings of what was measured beside the paper's figures, by matplotlib (extra ``plots``), as PNG and SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from miaudit.errors import PlanError
from miaudit.files import write_atomically
from miaudit.findings import Figure
from miaudit.paper.comparison import NAMES, Comparison
from miaudit.paper.experiments import FIGURE_12
from miaudit.paper.outcomes import SHARES, Outcome
from miaudit.paper.published import Experiment, Row

_OURS, _PAPER = "#1f6f8b", "#d1495b"
MISSING = (
    "matplotlib, which draws them, is not installed: pip install 'miaudit[plots]'; tables and JSON were written without"
)


def draw(
    experiment: Experiment, comparison: Comparison, outcomes: Mapping[str, Sequence[Outcome]], folder: Path
) -> list[Path]:
    """Draw a table or a figure and return the paths of the PNG and the SVG; none where nothing was measured.

    Raises
    ------
    PlanError
        If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise PlanError(MISSING) from error
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    measured = [row for row in experiment.rows if row.setting is not None and outcomes.get(row.setting)]
    if not measured:
        return []
    with mpl.rc_context(
        {"svg.hashsalt": experiment.name, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Sheet(figsize=(8.0, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        _DRAWN[experiment.kind](figure, measured, comparison, outcomes)
        figure.suptitle(_caption(experiment, comparison), fontsize=9)
        paths = [folder / f"{experiment.name}.{ending}" for ending in ("png", "svg")]
        for path in paths:
            write_atomically(path, _rendered(figure, path.suffix[1:]))
    return paths


def _rendered(figure: Any, ending: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=ending, dpi=120, metadata={"Date": None} if ending == "svg" else {})
    return buffer.getvalue()


def _caption(experiment: Experiment, comparison: Comparison) -> str:
    simulated = ", simulated purchases" if any(line.simulated for line in comparison.lines) else ""
    return f"{experiment.title}\nours{simulated}: blue; the paper's: red"


def _points(axes: Any, rows: Sequence[Row], comparison: Comparison, figure: str) -> None:
    """Draw our figure and the paper's of each row, one below the other."""
    lines = [line for line in comparison.lines if line.label in {row.label for row in rows}]
    for place, line in enumerate(lines):
        cell = next(cell for cell in line.cells if cell.figure == figure)
        if cell.ours is not None:
            axes.plot(cell.ours, place, "o", color=_OURS)
            if cell.low is not None and cell.high is not None:
                axes.plot([cell.low, cell.high], [place, place], color=_OURS)
        if cell.paper is not None:
            axes.plot(cell.paper, place, "D", color=_PAPER, markerfacecolor="none")
    axes.set_yticks(
        range(len(lines)), [f"{line.label}{' *' if line.state == 'another task' else ''}" for line in lines]
    )
    axes.invert_yaxis()
    axes.set_xlabel(f"{NAMES.get(figure, figure)}   (* another task)")


def _table(figure: Any, rows: Sequence[Row], comparison: Comparison, outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    figure_name = comparison.order.figure if comparison.order is not None else "precision"
    left, right = figure.subplots(1, 2, sharey=True)
    _points(left, rows, comparison, "test_accuracy")
    _points(right, rows, comparison, figure_name)
    left.invert_yaxis()  # shared, so the second turned it back


def _distribution(
    figure: Any, rows: Sequence[Row], comparison: Comparison, outcomes: Mapping[str, Sequence[Outcome]]
) -> None:
    panels: tuple[Figure, ...] = ("precision", "recall")
    for axes, name in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        for place, row in enumerate(rows):
            colour = f"C{place}"
            outcome = outcomes[row.setting or ""][0]
            value, share, _ = outcome.table.distribution(name)
            axes.step([0, *value], [0, *share], where="post", color=colour, label=row.label)
            marks = [
                (of.value, SHARES[key])
                for key in SHARES
                if (of := row.published.get(f"class_{name}_{key}")) is not None
            ]
            if marks:
                axes.plot(*zip(*marks, strict=True), "D", color=colour, markerfacecolor="none")
        axes.set_xlabel(f"{name} of a class (lines: ours, seed 0; diamonds: the paper's)")
        axes.set_xlim(0, 1.01)
    axes.legend(frameon=False, fontsize=7)
    figure.axes[0].set_ylabel("share of classes")


def _boxes(figure: Any, rows: Sequence[Row], comparison: Comparison, outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    axes = figure.subplots()
    values = [[c.precision or 0.0 for outcome in outcomes[row.setting or ""] for c in outcome.classes] for row in rows]
    axes.boxplot(
        values, positions=range(len(rows)), widths=0.3, boxprops={"color": _OURS}, medianprops={"color": _OURS}
    )
    for place, row in enumerate(rows):
        marks = [row.published[key].value for key in row.published if key.startswith("class_precision")]
        axes.plot([place + 0.25] * len(marks), marks, "D", color=_PAPER, markerfacecolor="none")
    axes.set_xticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylabel("precision of a class (the paper's: quartiles)")


def _scatter(
    figure: Any, rows: Sequence[Row], comparison: Comparison, outcomes: Mapping[str, Sequence[Outcome]]
) -> None:
    pairs: tuple[tuple[Figure, Figure], ...] = (("share", "precision"), ("gap", "precision"), ("share", "gap"))
    for axes, (across, up) in zip(figure.subplots(1, 3), pairs, strict=True):
        for place, row in enumerate(rows):
            table = outcomes[row.setting or ""][0].table
            points = [
                (a, b)
                for a, b in zip(table.figures(across), table.figures(up), strict=True)
                if a is not None and b is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), ".", color=f"C{place}", label=row.label, alpha=0.7)
        axes.set_xlabel(f"{across} of a class (ours, seed 0)")
        axes.set_ylabel(up)
    figure.axes[0].legend(frameon=False, fontsize=7)


def _histograms(
    figure: Any, rows: Sequence[Row], comparison: Comparison, outcomes: Mapping[str, Sequence[Outcome]]
) -> None:
    grid = figure.subplots(2, len(rows), squeeze=False, sharey=True)
    centres = [0.05 + 0.1 * i for i in range(10)]
    for column, row in enumerate(rows):
        outcome = outcomes[row.setting or ""][0]
        for line, (name, pair) in enumerate((("uncertainty", outcome.uncertainty), ("true_class", outcome.true_class))):
            axes = grid[line][column]
            for shift, side, fill in ((-0.02, "members", _OURS), (0.02, "nonmembers", "none")):
                bins = None if pair is None else getattr(pair, side)
                if bins is not None:
                    at = [centre + shift for centre in centres]
                    axes.bar(at, bins, 0.035, color=fill, edgecolor=_OURS, label=f"{side}, ours")
            for paper, shape in zip(FIGURE_12.get(row.label, {}).get(name, ()), ("D", "o"), strict=False):
                axes.plot(centres, paper, shape, color=_PAPER, markerfacecolor="none", markersize=3)
            axes.set_xlabel("uncertainty" if name == "uncertainty" else "probability of the true class")
            axes.set_title(row.label, fontsize=8)
    grid[0][0].legend(frameon=False, fontsize=7)


_DRAWN: dict[str, Callable[..., None]] = {
    "table": _table,
    "mitigations": _table,
    "distribution": _distribution,
    "boxes": _boxes,
    "scatter": _scatter,
    "histograms": _histograms,
}
