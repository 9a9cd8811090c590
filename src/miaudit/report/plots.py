"""Charts of a result for a notebook, as matplotlib figures (extra ``plots``)."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from miaudit.errors import PlanError, counted
from miaudit.libraries import require
from miaudit.report.page.exposed import exposed_of
from miaudit.result import AttackResult, GroupFigures, Result
from miaudit.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = 6
_MEMBERS, _OTHERS = "#1d5fa3", "#cdc9c0"


def roc(result: Result, attacks: list[str] | None = None) -> Figure:
    """Draw ROC curves on logarithmic axes, with the band of the first where the result has one.

    Parameters
    ----------
    result
        The audit's result.
    attacks
        Names of the attacks; default: the one that leads, the baseline and those of the highest AUC, six at most.

    Raises
    ------
    PlanError
        If an attack of that name has no curve, or no attack has one.
    """
    curves = _with("roc", result, attacks)[: CURVES if attacks is None else None]
    figure, axes = _axes()
    floor = 10.0 ** -np.ceil(np.log10(max(result.split.evaluated_per_side, 10)))
    axes.plot([floor, 1], [floor, 1], color="grey", linestyle=":", label="guessing")
    for i, attack in enumerate(curves):
        assert attack.roc is not None
        if not i and (band := attack.roc.band) is not None:
            axes.fill_between(band.fpr, np.maximum(band.low, floor), band.high, alpha=0.15, color="C0", linewidth=0)
        axes.plot(np.maximum(attack.roc.fpr, floor), np.maximum(attack.roc.tpr, floor), label=_text(attack.name))
    axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1))
    axes.set(xlabel="False positive rate", ylabel="True positive rate", title=_text(result.title))
    axes.legend(fontsize="small")
    return figure


def scores(result: Result, attack: str | None = None) -> Figure:
    """Draw how an attack's scores are distributed on both sides.

    Parameters
    ----------
    result
        The audit's result.
    attack
        Name of the attack; default: the one that leads.

    Raises
    ------
    PlanError
        If the result has no counts of its scores.
    """
    (of,) = _with("scores", result, None if attack is None else [attack])[:1]
    assert of.scores is not None
    figure, axes = _axes()
    edges = np.array(of.scores.edges)
    for counts, name, style in (
        (of.scores.nonmembers, "non-members", {"fill": True, "color": _OTHERS}),
        (of.scores.members, "members", {"color": _MEMBERS, "linewidth": 2}),
    ):
        axes.stairs(np.array(counts) / max(sum(counts), 1), edges, label=name, **style)
    axes.set(xlabel="Score, higher for members", ylabel="Share of a side", title=_text(of.name))
    axes.legend()
    return figure


def records(result: Result, most: int = 30) -> Figure:
    """Draw the members that are ranked first, each with the span of places that halves of the shadow models give it.

    Parameters
    ----------
    result
        The audit's result, with its table of records.
    most
        How many.

    Raises
    ------
    PlanError
        If the result has no table of ranked records.
    """
    exposed = exposed_of(result, most=most)
    if exposed is None or not exposed.records:
        raise PlanError("this result has no table of ranked records: load it from its folder, which has records.csv")
    rows = exposed.records
    figure, axes = _spans([(row.id, row.rank, row.low, row.high) for row in rows])
    axes.set(
        xlabel=f"Place among {counted(exposed.n, 'record')}", title=f"Most exposed members, by {_text(exposed.attack)}"
    )
    return figure


def slices(result: Result, column: str | None = None, most: int = 30) -> Figure:
    """Draw the leak in slices of the records with their intervals, the largest that is shown first.

    Parameters
    ----------
    result
        The audit's result.
    column
        Which column; default: the first.
    most
        How many slices.

    Raises
    ------
    PlanError
        If the result has no such slices.
    """
    columns = [grouping.column for grouping in result.groups]
    grouping = next((each for each in result.groups if column in (None, each.column)), None)
    if grouping is None:
        if not columns:
            raise PlanError(
                "this result has no figures of classes or slices: slices (data.slices of a plan) name columns"
            )
        raise PlanError(f"this result has no slices by {column!r}; it has {', '.join(columns)}")
    groups = [each for each in grouping.groups if each.auc.value is not None]

    def order(each: GroupFigures) -> tuple[float, float]:
        return -(each.auc.low or 0.0), -(each.auc.value or 0.0)

    rows = sorted(groups, key=order)[:most]
    figure, axes = _spans([(row.group, row.auc.value, row.auc.low, row.auc.high) for row in rows], guess=0.5)
    level = f"{100 * grouping.confidence:.4g} %"
    axes.set(xlabel=f"AUC with {level} intervals", title=f"Leak by {_text(grouping.column)}, {_text(grouping.attack)}")
    return figure


def _with(part: str, result: Result, names: list[str] | None) -> list[AttackResult]:
    """Return attacks that have this part: those named, or all, with the one that leads first, then the baseline."""
    candidates = [attack for attack in result.attacks if getattr(attack, part) is not None]
    if names is not None:
        by_name = {attack.name: attack for attack in candidates}
        if missing := [name for name in names if name not in by_name]:
            raise PlanError(f"{missing[0]!r} has no {part} in this result; these have: {', '.join(by_name) or 'none'}")
        return [by_name[name] for name in names]
    if not candidates:
        raise PlanError(f"no attack of this result has {part}: an older version made it, or it was shared without them")
    lead, base = result.lead, result.controls.baseline
    return sorted(candidates, key=lambda attack: (attack is not lead, attack.name != base, -(attack.area or 0.0)))


def _spans(
    rows: Sequence[tuple[str, float | None, float | None, float | None]], *, guess: float | None = None
) -> tuple[Any, Any]:
    """Return a figure and its axes, with a line for each name, value, and the ends of its span; guessing is dotted."""
    figure, axes = _axes(height=0.22 * len(rows) + 1.2)
    names, values, lows, highs = zip(*rows, strict=True) if rows else ((), (), (), ())
    places = np.arange(len(rows))
    if guess is not None:
        axes.axvline(guess, color="grey", linestyle=":")
    for place, low, high in zip(places, lows, highs, strict=True):
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=_MEMBERS, linewidth=2, solid_capstyle="round")
    axes.plot(values, places, "o", color=_MEMBERS)
    axes.set_yticks(places, list(map(_text, names)), fontsize="small")
    axes.invert_yaxis()
    return figure, axes


def _axes(height: float = 4.5) -> tuple[Any, Any]:
    """Return a figure that no window shows and that nobody has to close, and its axes."""
    base = require("matplotlib.figure", extra="plots", what="drawing a result").Figure

    class Shown(base):  # type: ignore[misc, valid-type]
        """A figure that a notebook shows, whether pyplot was imported or not."""

        def _repr_png_(self) -> bytes:
            picture = BytesIO()
            self.savefig(picture, format="png", dpi=110)
            return picture.getvalue()

    figure = Shown(figsize=(6.4, height), layout="constrained")
    return figure, figure.add_subplot()


def _text(text: str) -> str:
    """Return a name as it is read, without the signs of matplotlib's formulas, of a length that fits."""
    short = visible(text)
    return (short if len(short) <= 60 else f"{short[:59]}…").replace("$", r"\$")
