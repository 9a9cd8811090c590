"""The views of all sections put into the templates."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from miaudit.report import charts, marks
from miaudit.report.deletion import questions
from miaudit.report.page import cells
from miaudit.report.page.engineer import drawn_curves, engineer_of, floor_of
from miaudit.report.page.exposed import exposed_of
from miaudit.report.page.first import first_of
from miaudit.report.page.grid import grid_of
from miaudit.report.page.parts import FACTOR_ROWS, FACTORS, classes_of, distributions, factors_of, slices_of
from miaudit.report.plain import accuracies, bystanders, pattern_figures, what_shows, who_is_named
from miaudit.result import AttackResult, Result
from miaudit.result.estimate import estimate, high_end, low_end, rounded
from miaudit.visible import visible

if TYPE_CHECKING:
    from miaudit.mitigations import Grid

FOLD_GROUPS = 12  # more groups of one column are folded
FOLD_CLASSES = 30  # a longer per-class table is folded under its chart
_OPEN_WARNINGS = 320  # characters up to which warnings are not folded

_IDS = re.compile(r' (?:id|aria-labelledby)="[^"]*"')  # of texts, quotes are escaped

PARTS = (
    *("deletion", "threat", "asked", "records", "target", "shadows", "attacks", "scores", "roc", "low-fpr", "worth"),
    *("classes", "groups", "exposed", "factors", "mitigations", "stability"),
    *("controls", "not-tested", "reading", "provenance"),
)
"""Sections of the third layer, in order; each has a template of its name."""


def render(result: Result, mitigations: Grid | str | None = None) -> str:
    """Return the report of a result as one HTML page, without external resources, readable without scripts.

    Parameters
    ----------
    result
        The audit's result.
    mitigations
        What `read_grid` returns: the mitigations tried beside it, or why they cannot be read.
    """
    label = labels(result.attacks)
    script = Markup((files("miaudit.report") / "templates" / "script.js").read_text(encoding="utf-8"))
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            r=result,
            first=first_of(result),
            engineer=engineer_of(result, label),
            exposed=exposed_of(result),
            warnings_open=sum(map(len, result.warnings)) <= _OPEN_WARNINGS,
            script=script,
            script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
            grid=grid_of(mitigations),
            parts=[name for name in PARTS if _applies(name, result) and (name != "mitigations" or mitigations)],
            label=label,
            **_everything(result, label),
        )
    )
    return visible(page, lines=True)


def notebook(result: Result) -> str:
    """Return the first layer of the page and a table of all attacks, as HTML for a notebook, without scripts and ids."""
    environment = _environment()
    view = {"r": result, "first": first_of(result), "warnings_open": True}
    layer = _IDS.sub("", environment.get_template("first.html.j2").render(view))
    rows = [(attack, _figures(attack)) for attack in result.attacks]
    page = environment.get_template("notebook.html.j2").render(first_layer=Markup(layer), rows=rows)
    return visible(page, lines=True)


def _figures(attack: AttackResult) -> list[str]:
    """Return precision, recall, accuracy and AUC of an attack that ran, with their intervals; else nothing."""
    if attack.status != "ran" or attack.auc is None:
        return []
    p = attack.pooled
    estimates: list[tuple[float | None, ...]] = [(None,)] * 3  # an attack that only ranks
    if p is not None:
        estimates = [
            (p.precision, p.precision_low, p.precision_high),
            (p.recall, p.recall_low, p.recall_high),
            (p.accuracy, p.accuracy_low, p.accuracy_high),
        ]
    estimates.append((attack.auc.value, attack.auc.low, attack.auc.high))
    return [estimate(*each).replace("-", "\u2013") for each in estimates]


def labels(attacks: list[AttackResult]) -> Callable[[AttackResult], str]:
    """Return what to call an attack: its title, and its name too where another attack has the same title."""
    titles = [attack.title for attack in attacks]
    return lambda attack: attack.title if titles.count(attack.title) == 1 else f"{attack.title} ({attack.name})"


def _applies(part: str, result: Result) -> bool:
    match part:
        case "deletion":
            return result.deletion is not None
        case "worth":
            return bool(_worth(result))
        case "groups":
            return bool(result.groups)
        case "stability":
            return result.stability is not None
    return True


def _everything(result: Result, label: Callable[[AttackResult], str]) -> dict[str, Any]:
    """Return what the third layer shows."""
    ran = [attack for attack in result.attacks if attack.status == "ran"]
    curves = [(label(attack), attack.roc) for attack in drawn_curves(result) if attack.roc is not None]
    return {
        "accuracies": accuracies(result.target),
        "bystanders": bystanders(result),
        "pattern_figures": pattern_figures,
        "ran": ran,
        "not_run": [attack for attack in result.attacks if attack.status != "ran"],
        "lead": result.lead,
        "what_shows": what_shows,
        "who_is_named": who_is_named,
        "by_person": result.split.unit == "person",
        "of_people": [attack for attack in ran if attack.person is not None],
        "curves": [name for name, _ in curves],
        "undrawn": sum(attack.roc is not None and bool(attack.roc.fpr) for attack in ran) - len(curves),
        "roc_log": charts.roc_chart(curves, log=True, floor=floor_of(result)) if curves else None,
        "roc_linear": charts.roc_chart(curves, log=False) if curves else None,
        "fprs": sorted({point.fpr for attack in ran for point in attack.tpr_at_fpr}, reverse=True),
        "fnrs": sorted({point.fnr for attack in ran for point in attack.tnr_at_fnr}, reverse=True),
        "by_class": classes_of(ran),
        "slices": slices_of(result),
        "distributions": distributions(ran, label),
        "deletion_questions": [] if result.deletion is None else questions(result.deletion),
        "factors": factors_of(result.factors),
        "factor_rows": FACTOR_ROWS,
        "factor_names": FACTORS,
        "zero_fp": any(attack.tpr_at_zero_fp is not None for attack in ran),
        "quiet": [attack for attack in ran if attack.power is not None],
        "worth": _worth(result),
        "fold_groups": FOLD_GROUPS,
        "fold_classes": FOLD_CLASSES,
        "confidence": f"{100 * (ran[0].confidence if ran else 0.95):g} %",
    }


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("miaudit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        figure=cells.figure, facts=cells.facts, note=cells.note, span=cells.span, why=cells.why, number=cells.number
    )
    environment.globals.update(strip=cells.strip, swatch=marks.swatch)
    environment.globals.update(low_end=low_end, high_end=high_end, rounded=rounded)
    environment.filters.update(count=lambda n: f"{n:,}", words=cells.words, percent=cells.percent, block=cells.block)
    return environment


def _worth(result: Result) -> list[AttackResult]:
    return [a for a in result.attacks if a.status == "ran" and a.operating_point is not None and a.epsilon is not None]
