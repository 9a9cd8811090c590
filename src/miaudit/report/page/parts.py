"""Views of the third layer that choose what is shown of documents that may be too large for a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from miaudit.errors import counted
from miaudit.report import charts, marks
from miaudit.report.page.engineer import Row, Rows
from miaudit.result import AttackResult, ClassMetrics, Factors, GroupFigures, Grouping, Result
from miaudit.result.estimate import estimate
from miaudit.result.factors import Association

CLASS_ROWS = 600
"""Rows of all tables of classes together: with more the page would be too large to be sent."""
SLICE_ROWS = 300
FACTOR_ROWS = 100
_CHART_CLASSES = 10  # fewer classes than this are read faster from the table

FACTORS = {
    "confidence": "probability of the true class",
    "entropy": "entropy of the answer",
    "right": "right answers",
    "share": "share of the members",
    "gap": "gap of the accuracies",
}


@dataclass(frozen=True)
class Classes:
    """The figures of one attack by class: as many as the page holds, how many more there are, and their chart."""

    attack: AttackResult
    rows: list[ClassMetrics]
    more: int
    undefined: int
    chart: Markup | None


@dataclass(frozen=True)
class Slices:
    """The leak by one column, the largest leak that is shown first."""

    grouping: Grouping
    groups: list[GroupFigures]
    above: int
    more: int


@dataclass(frozen=True)
class FactorViews:
    """What the leak goes with: dots for both sides and for the classes, and a table of classes."""

    sides: Rows
    associations: Rows | None
    document: Factors
    more: int


def classes_of(ran: Sequence[AttackResult]) -> list[Classes]:
    """Return the figures by class, of the attack of the highest accuracy first."""
    views, room = [], CLASS_ROWS
    for i, attack in enumerate(sorted((a for a in ran if a.per_class), key=_accuracy, reverse=True)):
        classes = attack.per_class[:room]
        room -= len(classes)
        values = [row.precision for row in attack.per_class if row.precision is not None]
        chart = None
        if len(attack.per_class) >= _CHART_CLASSES:
            title = f"Precision per class, {attack.title}"
            axis = "Precision (dashed: guessing)"
            chart = charts.histogram(values, title=title, axis=axis, key=f"classes-{i + 1}")
        more = len(attack.per_class) - len(classes)
        views.append(Classes(attack, classes, more, len(attack.per_class) - len(values), chart))
    return views


def slices_of(result: Result) -> list[Slices]:
    """Return the leak by column, in every one the slices of the largest shown leak first."""

    def order(each: GroupFigures) -> tuple[bool, float, float]:
        return each.auc.value is None, -(each.auc.low or 0.0), -(each.auc.value or 0.0)

    views = []
    for grouping in result.groups:
        groups = sorted(grouping.groups, key=order)
        above = sum(bool(each.above_chance) for each in groups)
        views.append(Slices(grouping, groups[:SLICE_ROWS], above, max(len(groups) - SLICE_ROWS, 0)))
    return views


def distributions(ran: Sequence[AttackResult], label: Callable[[AttackResult], str]) -> list[tuple[str, Markup]]:
    """Return the name and the chart of the scores of every attack that has them."""
    return [
        (label(attack), charts.distribution(attack.scores, title=f"Scores of {attack.name}", key=f"scores-{i + 1}"))
        for i, attack in enumerate(ran)
        if attack.scores is not None
    ]


def factors_of(factors: Factors | None) -> FactorViews | None:
    """Return what the leak goes with; None where the result does not say."""
    if factors is None:
        return None
    scale = marks.Scale(0.0, 1.0, 0.25)
    rows = []
    for each in factors.sides:
        for side, mean in (("members", each.members), ("non-members", each.nonmembers)):
            text = estimate(mean.value, mean.low, mean.high)
            name = FACTORS[each.factor]
            dot = marks.dot(mean.value, mean.low, mean.high, scale=scale, label=f"{name}, {side}: {text}")
            rows.append(Row(name, side, dot, text, "" if side == "members" else "control"))
    ranks = marks.Scale(-1.0, 1.0, 0.5)
    ties = [
        Row(
            FACTORS[each.factor],
            counted(each.classes, "class", "classes"),
            marks.dot(
                *(each.value, each.low, each.high),
                scale=ranks,
                label=f"{FACTORS[each.factor]}: rank correlation {_signed(each)}",
                references=[(0.0, "half")],
            ),
            _signed(each),
        )
        for each in factors.associations
        if each.value is not None
    ]
    more = max(len(factors.classes) - FACTOR_ROWS, 0)
    return FactorViews(Rows(rows, marks.axis(scale)), Rows(ties, marks.axis(ranks)) if ties else None, factors, more)


def _signed(each: Association) -> str:
    return "-" if each.value is None else f"{each.value:z.2f} ({each.low or 0.0:z.2f} to {each.high or 0.0:z.2f})"


def _accuracy(attack: AttackResult) -> float:
    return (attack.pooled.accuracy if attack.pooled else None) or 0.0
