"""Figures and facts as the text of cells: a figure over its interval, an undefined one with its reason as a footnote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from miaudit.report import marks
from miaudit.report.page.exposed import ExposedRecord
from miaudit.result import Interval
from miaudit.result.estimate import high_end, low_end, rounded

_LONGEST_BLOCK = 20_000  # characters of a plan or a traceback shown in the page; result.json has all of it
_AREAS = marks.Scale(0.0, 1.0)


def figure(
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
        ).format(reason, note(notes, reason))
    bare = low is None or high is None
    text = Markup('<span class="value">{}</span>').format(rounded(value, digits) if bare else f"{value:z.{digits}f}")
    if remark:
        text += Markup("<sup>{}</sup>").format(note(notes, remark))
    if low is not None and high is not None:
        text += Markup('<span class="interval">{}&ndash;{}</span>').format(low_end(low, digits), high_end(high, digits))
    return text


def note(notes: list[str], text: str) -> int:
    """Return the number of the footnote ``text``, adding it to ``notes`` if it is new."""
    if text not in notes:
        notes.append(text)
    return notes.index(text) + 1


def facts(mapping: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Flatten a free-form mapping into (label, text, is_block) rows: scalars inline, deep values as blocks of JSON."""
    rows: list[tuple[str, str, bool]] = []
    for key, value in mapping.items():
        if isinstance(value, Mapping) and len(value) <= 40 and not any(_deep(v) for v in value.values()):
            rows.extend((f"{words(key)}: {inner}", _scalar(v), False) for inner, v in value.items())
        elif _deep(value):
            rows.append((words(key), block(value), True))
        else:
            rows.append((words(key), _scalar(value), False))
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
        return f"{value:z.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_scalar(v) for v in value)
    return str(value)


def block(value: Any) -> str:
    """Return a deep value as JSON, or a text as it is, of a length that a page can hold."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    if len(text) <= _LONGEST_BLOCK:
        return text
    return text[:_LONGEST_BLOCK] + f"\n... {len(text) - _LONGEST_BLOCK:,} more characters in result.json"


def words(key: object) -> str:
    """Return a name of a field as words."""
    text = str(key).replace("_", " ")
    return text[:1].upper() + text[1:]


def percent(fraction: float) -> str:
    """Return a share in percent."""
    return f"{100 * fraction:g} %"


def strip(interval: Interval, *, name: str) -> Markup:
    """Draw one AUC with its interval on a line from 0 to 1, with a line at one half; empty if it is undefined."""
    if interval.value is None:
        return Markup("")
    low = interval.value if interval.low is None else interval.low
    high = interval.value if interval.high is None else interval.high
    label = f"{name}: AUC {interval.value:.3f}, from {low:.3f} to {high:.3f}; guessing is 0.5"
    return marks.dot(interval.value, low, high, scale=_AREAS, label=label, style="strip", references=[(0.5, "half")])


def number(value: float | None, form: str, *, signal: bool = False) -> Markup:
    """Return a cell of a number, or a dash; ``signal``: it is one, or a probability."""
    shape = as_signal if signal else format
    return Markup("<td>{}</td>").format("\u2013" if value is None else shape(value, form))


def as_signal(value: float, form: str) -> str:
    """Return a number in a form, or with three digits where it would read 0 and is not, as a signal may be of any scale."""
    text = format(value, form)
    return f"{value:.3g}" if value != 0 and not text.strip("-+0.") else text


def span(record: ExposedRecord) -> str:
    """Return the span of places of a record."""
    if record.low is None or record.high is None:
        return "unknown"
    return f"{record.low:,} to {record.high:,}" if record.high > record.low else f"always {record.low:,}"


def why(record: ExposedRecord) -> str:
    """Return how the target answered a record, and how models did that were not trained on it, or else were."""
    if record.answer is None:
        return "unknown"
    answer = as_signal(record.answer, ".2f")
    if record.without is not None:
        return f"{answer}, others {as_signal(record.without, '.2f')}"
    return answer if record.with_ is None else f"{answer}, trained {as_signal(record.with_, '.2f')}"
