"""The second layer: what an engineer needs to decide, on one screen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from miaudit.errors import counted
from miaudit.report import charts, marks
from miaudit.report.page.exposed import Exposed, exposed_of
from miaudit.report.page.first import kind_of
from miaudit.result import AttackResult, Interval, Result
from miaudit.result.estimate import estimate

_ATTACKS = 12  # rows of the chart of attacks; more stand in the third layer
_SLICES = 6
_RECORDS = 6
_GUESSING = (0.5, "half")


_CAUTIONS = {
    "confounded": "The sides differ by themselves: no figure below measures what this model gives away.",
    "broken": "A control failed: no figure below may be used.",
    "inconclusive": "The audit does not tell: read the intervals below, not the points.",
    "inverted": "Attacks rank members below non-members: until that is explained, no figure below is one of a leak.",
}


@dataclass(frozen=True)
class Row:
    """One row of a chart of dots: its name, what it is beside that, the dot, and the figure as text."""

    name: str
    role: str
    dot: Markup
    text: str
    style: str = ""
    title: str = ""


@dataclass(frozen=True)
class Rows:
    """A chart of dots with their intervals."""

    rows: list[Row]
    axis: Markup
    more: int = 0


@dataclass(frozen=True)
class Engineer:
    """The second layer; a part that the result has no figures for is None or empty."""

    attacks: Rows
    roc: Markup | None
    curves: list[str]
    gap: Rows | None
    slices: Rows | None
    above: int
    above_of: int
    exposed: Exposed | None
    banded: str | None
    caution: str | None


def engineer_of(result: Result, label: Callable[[AttackResult], str]) -> Engineer:
    """Return the second layer of a result's page.

    Parameters
    ----------
    result
        The audit's result.
    label
        What to call an attack.
    """
    attacks = drawn_curves(result)
    curves = [(attack.name, attack.roc) for attack in attacks if attack.roc is not None]
    first = attacks[0] if attacks and attacks[0].roc is not None and attacks[0].roc.band is not None else None
    slices = [each for grouping in result.groups for each in grouping.groups if each.auc.value is not None]
    return Engineer(
        attacks=attack_rows(result, label),
        roc=charts.roc_chart(curves, log=True, floor=floor_of(result), key="roc-first", height=330) if curves else None,
        curves=[name for name, _ in curves],
        gap=_gap(result),
        slices=slice_rows(result, _SLICES),
        above=sum(bool(each.above_chance) for each in slices),
        above_of=len(slices),
        exposed=exposed_of(result, most=_RECORDS),
        banded=None if first is None else first.name,
        caution=_CAUTIONS.get(kind_of(result) or ""),
    )


def attack_rows(result: Result, label: Callable[[AttackResult], str]) -> Rows:
    """Return the leak by attack, highest first with the one that leads on top, and the controls below."""
    ran = [attack for attack in result.attacks if attack.status == "ran" and attack.area is not None]
    lead, baseline = result.lead, next((a for a in ran if a.name == result.controls.baseline), None)
    order = sorted(ran, key=lambda attack: (attack is not lead, -(attack.area or 0.0)))
    attacks = order[:_ATTACKS]
    if baseline is not None and baseline not in attacks:
        attacks[-1] = baseline
    controls = _controls(result)
    areas = [attack.of_unit.auc for attack in attacks] + [area for _, _, area in controls]
    scale = marks.Scale.of_areas([end for area in areas if area is not None and (end := _low(area)) is not None])
    base = [] if baseline is None or baseline.area is None else [(baseline.area, "base")]
    rows = [
        _row(
            *(a.name, _role(a, result, lead, baseline), a.of_unit.auc, scale, [_GUESSING, *base]),
            style="lead" if a is lead else "",
            title=label(a),
        )
        for a in attacks
    ]
    rows += [_row(name, role, area, scale, [_GUESSING, *base], style="control") for name, role, area in controls]
    return Rows(rows, marks.axis(scale), len(order) - len(attacks))


def slice_rows(result: Result, most: int) -> Rows | None:
    """Return the slices of the records, those first whose leak is shown to be the largest; None where there are none.

    Parameters
    ----------
    result
        The audit's result.
    most
        How many to show.
    """
    slices = [
        (f"{grouping.column} {each.group}", each)
        for grouping in result.groups
        for each in grouping.groups
        if each.auc.value is not None
    ]
    if not slices:
        return None
    order = sorted(slices, key=lambda of: (-(of[1].auc.low or 0.0), -(of[1].auc.value or 0.0)))[:most]
    least = min((end for _, each in order if (end := _low(each.auc)) is not None), default=0.5)
    scale = marks.Scale(0.4, 1.0, 0.2) if least >= 0.4 else marks.Scale(0.0, 1.0, 0.5)
    whole = None if result.lead is None else result.lead.area
    references = [_GUESSING, *([] if whole is None else [(whole, "base")])]
    rows = [
        _row(
            *(name, "", each.auc, scale, references),
            style="above" if each.above_chance else "",
            title=f"{name}: {counted(each.members, 'member')}, {counted(each.nonmembers, 'non-member')}",
        )
        for name, each in order
    ]
    return Rows(rows, marks.axis(scale), len(slices) - len(order))


def drawn_curves(result: Result) -> list[AttackResult]:
    """Return the attacks whose curves can be told apart in one chart: the one that leads, the highest AUCs, the baseline."""
    lead = result.lead
    always = {result.controls.baseline, lead.name if lead else None}
    curves = [a for a in result.attacks if a.status == "ran" and a.roc is not None and a.roc.fpr]
    first = sorted(curves, key=lambda attack: (attack.name not in always, -_area(attack)))[: marks.STYLES]
    return sorted(
        first, key=lambda attack: (attack is not lead, attack.name == result.controls.baseline, -_area(attack))
    )


def floor_of(result: Result) -> float:
    """Return the power of ten at or below the smallest rate that the records can show, 1e-6 to 1e-2."""
    return 10.0 ** -min(6, max(2, math.ceil(math.log10(max(1, result.split.evaluated_per_side)))))


def _controls(result: Result) -> list[tuple[str, str, Interval]]:
    null, blind, bystander = result.controls.null, result.controls.blind, result.controls.bystander
    controls = [] if null is None else [("shuffled membership", "control", null.auc)]
    controls.append((f"{blind.subject} alone", "control", blind.auc))
    if bystander is not None and bystander.attack is not None:
        figures = result.attack(bystander.attack).bystander
        if figures is not None:
            controls.append(("other models", "control", figures.auc))
    return controls


def _role(attack: AttackResult, result: Result, lead: AttackResult | None, baseline: AttackResult | None) -> str:
    roles = [("leads", attack is lead), ("baseline", attack is baseline), ("highest", attack.name == result.highest)]
    return ", ".join(name for name, holds in roles if holds)


def _row(
    name: str,
    role: str,
    area: Interval | None,
    scale: marks.Scale,
    references: Sequence[tuple[float, str]],
    *,
    style: str = "",
    title: str = "",
) -> Row:
    value, low, high = (None, None, None) if area is None else (area.value, area.low, area.high)
    text = estimate(value, low, high)
    dot = marks.dot(value, low, high, scale=scale, label=f"{name}: AUC {text}", references=references)
    return Row(name, role, dot, text, style, title)


def _gap(result: Result) -> Rows | None:
    """Return the accuracies of target and shadow models on both sides; None where there are none."""
    target, shadows = result.target, result.shadows
    if target.gap is None:
        return None
    figures: list[tuple[str, str, dict[str, Any]]] = [
        ("target, members", "", _known(target, "train")),
        ("target, others", "", _known(target, "test")),
    ]
    if shadows.trained and shadows.train_accuracy is not None and shadows.test_accuracy is not None:
        figures.append(("shadows, members", "", {"value": shadows.train_accuracy, "low": None, "high": None}))
        figures.append(("shadows, others", "", {"value": shadows.test_accuracy, "low": None, "high": None}))
    scale = marks.Scale(0.0, 1.0, 0.5)
    rows = []
    for name, role, figure in figures:
        text = estimate(figure["value"], figure["low"], figure["high"])
        label = f"{name}: accuracy {text}"
        style = "" if name.startswith("target") else "control"
        rows.append(Row(name, role, marks.dot(**figure, scale=scale, label=label), text, style))
    return Rows(rows, marks.axis(scale))


def _known(target: Any, side: str) -> dict[str, Any]:
    return {
        "value": getattr(target, f"{side}_accuracy"),
        "low": getattr(target, f"{side}_accuracy_low"),
        "high": getattr(target, f"{side}_accuracy_high"),
    }


def _low(area: Interval) -> float | None:
    return area.value if area.low is None else area.low


def _area(attack: AttackResult) -> float:
    return -1.0 if attack.area is None else attack.area
