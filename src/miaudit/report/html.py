"""The page: one self-contained HTML file, a rendering of the result and of nothing else.

No request leaves the page (a content security policy forbids it), there is no script, and the same result gives the
same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from miaudit.files import write_files
from miaudit.report import charts
from miaudit.report.plain import accuracies, bystanders, meaning, next_step, what_shows, who_is_named
from miaudit.result import AttackResult, Result
from miaudit.result.estimate import high_end, low_end, rounded
from miaudit.visible import visible

FOLD_GROUPS = 12  # more groups of one column are folded
FOLD_CLASSES = 30  # a longer per-class table is folded under its chart
_CHART_CLASSES = 10  # fewer classes than this are read faster from the table
_LONGEST_BLOCK = 20_000  # characters of a plan or a traceback shown in the page; result.json has all of it


def render(result: Result) -> str:
    """Return the report of a result as one HTML page, without external resources and without scripts."""
    ran = [attack for attack in result.attacks if attack.status == "ran"]
    label = _labels(result.attacks)
    curves = [(label(attack), attack.roc) for attack in _drawn(ran, result) if attack.roc is not None]
    floor = _floor(result.split.evaluated_per_side)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            r=result,
            accuracies=accuracies(result.target),
            means=meaning(result),
            bystanders=bystanders(result),
            next_step=next_step(result),
            ran=ran,
            not_run=[attack for attack in result.attacks if attack.status != "ran"],
            lead=result.lead,
            highest=next((a for a in ran if a.name == result.highest), None),
            what_shows=what_shows,
            who_is_named=who_is_named,
            by_person=result.split.unit == "person",
            of_people=[attack for attack in ran if attack.person is not None],
            label=label,
            curves=[name for name, _ in curves],
            undrawn=sum(attack.roc is not None and bool(attack.roc.fpr) for attack in ran) - len(curves),
            broken=any(
                null is not None and not null.at_chance for null in (result.controls.null, *result.controls.nulls)
            ),
            roc_log=charts.roc_chart(curves, log=True, floor=floor) if curves else None,
            roc_linear=charts.roc_chart(curves, log=False) if curves else None,
            fprs=sorted({point.fpr for attack in ran for point in attack.tpr_at_fpr}, reverse=True),
            fnrs=sorted({point.fnr for attack in ran for point in attack.tnr_at_fnr}, reverse=True),
            by_class=sorted((attack for attack in ran if attack.per_class), key=_accuracy, reverse=True),
            zero_fp=any(attack.tpr_at_zero_fp is not None for attack in ran),
            quiet=[attack for attack in ran if attack.power is not None],
            worth=[attack for attack in ran if attack.operating_point is not None and attack.epsilon is not None],
            fold_groups=FOLD_GROUPS,
            fold=FOLD_CLASSES,
            class_chart=_class_chart,
            confidence=f"{100 * (ran[0].confidence if ran else 0.95):g} %",
        )
    )
    return visible(page, lines=True)


def _labels(attacks: list[AttackResult]) -> Callable[[AttackResult], str]:
    """Return what to call an attack: its title, and its name too where another attack has the same title."""
    titles = [attack.title for attack in attacks]
    return lambda attack: attack.title if titles.count(attack.title) == 1 else f"{attack.title} ({attack.name})"


def _drawn(ran: list[AttackResult], result: Result) -> list[AttackResult]:
    """Return the attacks whose curves can be told apart in one chart: baseline, lead and the highest AUCs, in order."""
    always = {result.controls.baseline, result.lead.name if result.lead else None}
    curves = [attack for attack in ran if attack.roc is not None and attack.roc.fpr]
    first = sorted(curves, key=lambda attack: (attack.name not in always, -_auc(attack)))[: charts.STYLES]
    return [attack for attack in curves if attack in first]


def write(result: Result, folder: str | Path) -> Path:
    """Write the page to ``folder/report.html``, whole or not at all, and return its path.

    Raises
    ------
    StoreError
        If the folder cannot be written or the disk is full; an earlier page is then unchanged.
    """
    write_files(Path(folder), {"report.html": render(result).encode()})
    return Path(folder) / "report.html"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("miaudit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(figure=_figure, facts=_facts, strip=charts.strip, swatch=charts.swatch, note=_note)
    environment.globals.update(low_end=low_end, high_end=high_end, rounded=rounded)
    environment.filters.update(count=lambda n: f"{n:,}", words=_words, percent=_percent, block=_block)
    return environment


def _figure(
    notes: list[str],
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    reason: str | None = None,
    *,
    digits: int = 3,
    remark: str | None = None,
) -> Markup:
    """Format a figure over its interval; an undefined one is an en dash, its reason a footnote added to ``notes``.

    A ``remark`` is a footnote on a figure that is defined.
    """
    if value is None:
        reason = reason or "Undefined; the result gives no reason."
        return Markup(
            '<span class="undefined" title="{}"><span aria-hidden="true">&ndash;</span>'
            '<span class="hidden">undefined</span></span><sup>{}</sup>'
        ).format(reason, _note(notes, reason))
    bare = low is None or high is None
    text = Markup('<span class="value">{}</span>').format(rounded(value, digits) if bare else f"{value:.{digits}f}")
    if remark:
        text += Markup("<sup>{}</sup>").format(_note(notes, remark))
    if low is not None and high is not None:
        text += Markup('<span class="interval">{}&ndash;{}</span>').format(low_end(low, digits), high_end(high, digits))
    return text


def _note(notes: list[str], text: str) -> int:
    """Return the number of the footnote ``text``, adding it to ``notes`` if it is new."""
    if text not in notes:
        notes.append(text)
    return notes.index(text) + 1


def _class_chart(attack: AttackResult, key: str) -> Markup | None:
    if len(attack.per_class) < _CHART_CLASSES:
        return None
    values = [row.precision for row in attack.per_class if row.precision is not None]
    title = f"Precision per class, {attack.title}"
    return charts.histogram(values, title=title, axis="Precision (dashed: guessing)", key=key)


def _facts(mapping: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Flatten a free-form mapping into (label, text, is_block) rows: scalars inline, deep values as blocks of JSON."""
    rows: list[tuple[str, str, bool]] = []
    for key, value in mapping.items():
        if isinstance(value, Mapping) and len(value) <= 40 and not any(_deep(v) for v in value.values()):
            rows.extend((f"{_words(key)}: {inner}", _scalar(v), False) for inner, v in value.items())
        elif _deep(value):
            rows.append((_words(key), _block(value), True))
        else:
            rows.append((_words(key), _scalar(value), False))
    return rows


def _deep(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, list | tuple) and (len(value) > 12 or any(isinstance(v, Mapping | list) for v in value))


def _scalar(value: Any) -> str:
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) < 10**9:  # larger ones are seeds or hashes: digits as they are
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_scalar(v) for v in value)
    return str(value)


def _block(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    if len(text) <= _LONGEST_BLOCK:
        return text
    return text[:_LONGEST_BLOCK] + f"\n... {len(text) - _LONGEST_BLOCK:,} more characters in result.json"


def _words(key: object) -> str:
    text = str(key).replace("_", " ")
    return text[:1].upper() + text[1:]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _auc(attack: AttackResult) -> float:
    auc = attack.of_unit.auc
    value = auc.value if auc else None
    return -1.0 if value is None else value


def _accuracy(attack: AttackResult) -> float:
    return (attack.pooled.accuracy if attack.pooled else None) or 0.0


def _floor(per_side: int) -> float:
    """Return the power of ten at or below the smallest rate that ``per_side`` records can show, 1e-6 to 1e-2."""
    return 10.0 ** -min(6, max(2, math.ceil(math.log10(max(1, per_side)))))
