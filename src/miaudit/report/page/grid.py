"""Mitigations beside the audit: what attacks find where less is answered, and what each mitigation costs and leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from miaudit.files import read_json
from miaudit.report import marks
from miaudit.result.estimate import estimate

FILE = "mitigations.json"
_ATTACKS = 8
_ROWS = 40


@dataclass(frozen=True)
class Cell:
    """One AUC: as text, and how dark its cell is, 0 at guessing to 1."""

    text: str
    shade: float | None
    title: str = ""


@dataclass(frozen=True)
class Grid:
    """What was tried: the table of attacks by what is answered, and the frontier of accuracy and leak."""

    recommendation: str
    attacks: list[str]
    more_attacks: int
    access: list[tuple[str, list[Cell]]]
    frontier: Markup | None
    rows: list[dict[str, Any]]
    limit: float
    more: int


def read_grid(folder: str | Path) -> Mapping[str, Any] | str | None:
    """Return the document of mitigations in a folder, why it cannot be read, or None where there is none."""
    try:
        document = read_json(Path(folder) / FILE)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return f"{FILE} is there and cannot be read: {error}"
    return document if isinstance(document, Mapping) else f"{FILE} is there and holds no mitigations"


def grid_of(document: Mapping[str, Any] | str | None) -> Grid | str | None:
    """Return the view of a document of mitigations; a text where it is not one that this page knows how to read."""
    if document is None or isinstance(document, str):
        return document
    try:
        return _grid(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"{FILE} is there and is not of a form that this version reads ({type(error).__name__}: {error})"


def _grid(document: Mapping[str, Any]) -> Grid:
    rows = document["rows"]
    areas: dict[str, float] = {}
    for row in rows:
        for name, area in _areas(row).items():
            areas[name] = max(areas.get(name, 0.0), area["value"])
    names = sorted(areas, key=lambda name: -areas[name])
    answered = [row for row in rows if row["side"] in ("none", "output")]
    access = [(str(row["mitigation"]), [_cell(_areas(row).get(name)) for name in names[:_ATTACKS]]) for row in answered]
    limit = float(document["limit"])
    return Grid(
        recommendation=str(document["recommendation"]["text"]),
        attacks=names[:_ATTACKS],
        more_attacks=max(len(names) - _ATTACKS, 0),
        access=access[:_ROWS] if len(answered) > 1 else [],
        frontier=_frontier(rows[:_ROWS], limit),
        rows=[_row(k, row) for k, row in enumerate(rows[:_ROWS])],
        limit=limit,
        more=max(len(rows) - _ROWS, 0),
    )


def _areas(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the AUC of every attack that knows of the mitigation and ran."""
    return {
        str(each["attack"]): each["auc"]
        for each in row["attacks"]
        if each["status"] == "ran"
        and each["attacker"] == "adaptive"
        and each["auc"]
        and each["auc"]["value"] is not None
    }


def _cell(area: Mapping[str, Any] | None) -> Cell:
    if area is None:
        return Cell("\u2013", None, "this attack could not be run on such answers")
    value = float(area["value"])
    span = "" if area["low"] is None else f"{area['low']:.3f} to {area['high']:.3f}"
    return Cell(f"{value:.3f}", min(max(2 * value - 1, 0.0), 1.0), span)


def _row(k: int, row: Mapping[str, Any]) -> dict[str, Any]:
    accuracy, change = row["test_accuracy"], row["accuracy_change"]
    return {
        "number": k + 1,
        "name": str(row["mitigation"]),
        "side": str(row["side"]),
        "accuracy": estimate(accuracy["value"], accuracy["low"], accuracy["high"]),
        "change": "-"
        if change["value"] is None
        else f"{change['value']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})",
        "bound": None if row["bound"] is None else float(row["bound"]),
        "reason": str(row.get("bound_reason") or ""),
        "standing": str(row["standing"]),
    }


def _frontier(rows: list[Mapping[str, Any]], limit: float) -> Markup | None:
    """Draw test accuracy against the highest AUC that any attacker may reach; numbers are those of the table."""
    points = [
        (k + 1, float(row["test_accuracy"]["value"]), row["test_accuracy"], float(row["bound"]))
        for k, row in enumerate(rows)
        if row["test_accuracy"]["value"] is not None and row["bound"] is not None
    ]
    if not points:
        return None
    ends = [end for _, value, of, _ in points for end in (value, of["low"], of["high"]) if end is not None]
    low, high = max(min(ends) - 0.02, 0.0), min(max(ends) + 0.02, 1.0)
    frame = marks.Frame(height=300)

    def across(value: float) -> float:
        return (value - low) / (high - low)

    def up(area: float) -> float:
        return (min(max(area, 0.5), 1.0) - 0.5) / 0.5

    steps = [low + (high - low) * k / 4 for k in range(5)]
    parts = list(
        frame.grid([(across(v), f"{v:.2f}") for v in steps], [(up(a), f"{a:g}") for a in (0.5, 0.6, 0.7, 0.8, 0.9, 1)])
    )
    parts.append(marks.line("base", frame.pixel((0, up(limit))), frame.pixel((1, up(limit)))))
    for number, value, of, bound in points:
        x, y = frame.pixel((across(value), up(bound)))
        if of["low"] is not None and of["high"] is not None:
            left, right = (frame.pixel((across(end), up(bound))) for end in (of["low"], of["high"]))
            parts.append(marks.line("range thin", left, right))
        parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(x, y))
        parts.append(Markup('<text class="tick" x="{:.1f}" y="{:.1f}">{}</text>').format(x + 6, y - 6, number))
    parts.extend(frame.axis_titles("Test accuracy", "AUC an attacker may reach"))
    desc = (
        f"{len(points)} mitigations by test accuracy and the highest AUC that any attacker may reach; limit {limit:g}."
    )
    return frame.svg("frontier", "Accuracy against the leak that is left", desc, parts)
