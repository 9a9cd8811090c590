"""Mitigations beside the audit: what attacks find where less is answered, and what each mitigation costs and leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from pydantic import ValidationError

from miaudit.errors import counted
from miaudit.files import read_json
from miaudit.result import Interval
from miaudit.result.estimate import estimate

if TYPE_CHECKING:
    from miaudit.mitigations import Grid, MitigationRow

FILE = "mitigations.json"
_ATTACKS = 8
_ROWS = 40


@dataclass(frozen=True)
class Cell:
    """One AUC: as text, its interval, and how dark its cell is, from 0 at guessing to 1; None where there is none."""

    text: str
    span: str
    shade: float | None


@dataclass(frozen=True)
class Tried:
    """One mitigation as a row of the table beside the frontier."""

    name: str
    side: str
    accuracy: str
    change: str
    bound: str
    reason: str
    standing: str


@dataclass(frozen=True)
class GridView:
    """What was tried: the table of attacks by what is answered, and the frontier of accuracy and leak."""

    recommendation: str
    attacks: list[str]
    more_attacks: int
    access: list[tuple[str, list[Cell]]]
    frontier: Markup
    rows: list[Tried]
    limit: float
    more: int


def read_grid(folder: str | Path) -> Grid | str | None:
    """Return the mitigations of a folder, why they cannot be read, or None where there are none."""
    try:
        document = read_json(Path(folder) / FILE)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return f"{FILE} is there and cannot be read: {error}"
    from miaudit.mitigations import Grid  # its room is large, and most audits have none

    try:
        return Grid.model_validate(document)
    except ValidationError as error:
        return f"{FILE} is there and is no grid that this version reads ({counted(error.error_count(), 'problem')})"


def grid_of(grid: Grid | str | None) -> GridView | str | None:
    """Return the view of mitigations."""
    if grid is None or isinstance(grid, str):
        return grid
    from miaudit.report.mitigations import figure

    areas: dict[str, float] = {}
    for row in grid.rows:
        for name, area in _areas(row).items():
            areas[name] = max(areas.get(name, 0.0), area.value or 0.0)
    names = sorted(areas, key=lambda name: -areas[name])
    answered = [row for row in grid.rows if row.side in ("none", "output")]
    access = [(row.mitigation, [_cell(_areas(row).get(name)) for name in names[:_ATTACKS]]) for row in answered]
    return GridView(
        recommendation=grid.recommendation.text,
        attacks=names[:_ATTACKS],
        more_attacks=max(len(names) - _ATTACKS, 0),
        access=access[:_ROWS] if len(answered) > 1 else [],
        frontier=figure(grid.model_copy(update={"rows": grid.rows[:_ROWS]}), alone=False),
        rows=[_tried(row) for row in grid.rows[:_ROWS]],
        limit=grid.limit,
        more=max(len(grid.rows) - _ROWS, 0),
    )


def _areas(row: MitigationRow) -> dict[str, Interval]:
    """Return the AUC of every attack that knows of the mitigation and ran."""
    return {
        each.attack: each.auc
        for each in row.attacks
        if each.status == "ran" and each.attacker == "adaptive" and each.auc is not None and each.auc.value is not None
    }


def _cell(area: Interval | None) -> Cell:
    if area is None or area.value is None:
        return Cell("\u2013", "", None)
    span = "" if area.low is None or area.high is None else f"{area.low:.3f} to {area.high:.3f}"
    return Cell(f"{area.value:.3f}", span, min(max(2 * area.value - 1, 0.0), 1.0))


def _tried(row: MitigationRow) -> Tried:
    change = row.accuracy_change
    ends = "" if change.low is None or change.high is None else f" ({change.low:+z.3f} to {change.high:+z.3f})"
    accuracy = row.test_accuracy
    return Tried(
        name=row.mitigation,
        side={"none": "nothing", "output": "answers", "training": "training", "both": "both"}[row.side],
        accuracy=estimate(accuracy.value, accuracy.low, accuracy.high),
        change="-" if change.value is None else f"{change.value:+z.3f}{ends}",
        bound="\u2013" if row.bound is None else f"{row.bound:.3f}",
        reason=row.bound_reason or "",
        standing=row.standing,
    )
