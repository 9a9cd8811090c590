"""The four marks of all charts: line, bar, dot with its interval, and cell. Inline SVG, coloured by the page's style sheet.

Lines and bars stand in a `Frame` of fixed proportions. A dot with its interval is one row of a table: its coordinates are
percentages, so that it is as wide as its column, and the text beside it stays text. Cells are a grid of people.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

STYLES = 6  # curve styles the style sheet knows, c0 to c5
Point = tuple[float, float]
_INSET = 3.0  # percent of a row that are kept free at both ends, for half a dot


@dataclass(frozen=True)
class Scale:
    """Where a figure lies in a row, in percent from its left, and the ticks of the axis."""

    low: float
    high: float
    step: float = 0.1

    @classmethod
    def of_areas(cls, values: Sequence[float]) -> Scale:
        """Return the scale of areas under ROC curves: from 0.4, or lower where one is, to 1."""
        least = min(values, default=0.5)
        return cls(0.4 if least >= 0.4 else math.floor(least * 5 + 1e-9) / 5, 1.0, 0.1 if least >= 0.4 else 0.2)

    def at(self, value: float) -> float:
        """Return the place of a value in percent; what lies beyond an end is drawn at it."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return _INSET + (100 - 2 * _INSET) * share

    @property
    def ticks(self) -> list[float]:
        """Values at which the axis has a label."""
        count = round((self.high - self.low) / self.step)
        return [round(self.low + k * self.step, 9) for k in range(count + 1)]


def axis(scale: Scale) -> Markup:
    """Draw the labels of a column of dots; every second one, from the right, is left out where the column is narrow."""
    label = Markup('<text class="tick{}" x="{:.2f}%" y="11" text-anchor="middle">{:g}</text>')
    last = len(scale.ticks) - 1
    minor = [" minor" if (last - k) % 2 else "" for k in range(last + 1)]
    body = Markup("").join(
        label.format(kind, scale.at(tick), tick) for kind, tick in zip(minor, scale.ticks, strict=True)
    )
    return Markup('<svg class="dots axis" aria-hidden="true">{}</svg>').format(body)


def dot(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    scale: Scale,
    label: str,
    style: str = "",
    references: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Draw one figure with its interval, as one row of a table.

    Parameters
    ----------
    value, low, high
        The figure and the ends of its interval; nothing is drawn for one that is undefined.
    scale
        Of the column.
    label
        What a screen reader says.
    style
        Further classes of the style sheet.
    references
        Values that a figure is compared with, and the class of the line at each.
    """
    line = Markup('<line class="{}" x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="{}"/>')
    parts = [line.format(kind, scale.at(at), scale.at(at), "0", "100%") for at, kind in references]
    if value is not None:
        if low is not None and high is not None:
            parts.append(line.format("range", scale.at(low), scale.at(high), "50%", "50%"))
        parts.append(Markup('<circle class="dot" cx="{:.2f}%" cy="50%" r="4.5"/>').format(scale.at(value)))
    return Markup('<svg class="dots {}" role="img" aria-label="{}">{}</svg>').format(
        style, label, Markup("").join(parts)
    )


def people(states: Sequence[str], *, label: str, per_row: int = 10) -> Markup:
    """Draw one cell for each of some people.

    Parameters
    ----------
    states
        The class of each cell, row by row from the top left.
    label
        What a screen reader says.
    per_row
        Cells in a row.
    """
    body = []
    for state in dict.fromkeys(states):
        path = "".join(
            _PERSON.format(10 * (i % per_row), 11 * (i // per_row)) for i, each in enumerate(states) if each == state
        )
        body.append(Markup('<path class="{}" d="{}"/>').format(state, path))
    width, height = 10 * per_row, 11 * math.ceil(len(states) / per_row)
    return Markup('<svg class="people" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, label, Markup("").join(body)
    )


_PERSON = "M{0} {1}m3.2 2.7a1.8 1.8 0 1 0 3.6 0a1.8 1.8 0 1 0-3.6 0zm-1.7 7.3v-1.6a3.5 3.5 0 0 1 7 0v1.6z"


def swatch(i: int) -> Markup:
    """Draw the legend's sample of curve style i."""
    return Markup(
        '<svg class="swatch" viewBox="0 0 34 8" aria-hidden="true">'
        '<line class="curve c{}" x1="0" y1="4" x2="34" y2="4"/></svg>'
    ).format(i % STYLES)


@dataclass(frozen=True)
class Frame:
    """The area a chart of lines or bars is drawn in, its sides 0 to 1."""

    height: int
    width: int = 420
    left: int = 54
    right: int = 14
    top: int = 12
    bottom: int = 46

    def pixel(self, point: Point) -> Point:
        """Return where a point is drawn."""
        x, y = point
        return (
            self.left + x * (self.width - self.left - self.right),
            self.height - self.bottom - y * (self.height - self.top - self.bottom),
        )

    def grid(self, across: Sequence[tuple[float, str]], up: Sequence[tuple[float, str]]) -> Iterator[Markup]:
        """Draw the lines of the grid and their labels."""
        label = Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        for at, text in across:
            x, y = self.pixel((at, 0))
            yield line("grid", (x, y), self.pixel((at, 1)))
            yield label.format(x, y + 18, "middle", text)
        for at, text in up:
            x, y = self.pixel((0, at))
            yield line("grid", (x, y), self.pixel((1, at)))
            yield label.format(x - 7, y + 4, "end", text)

    def axis_titles(self, across: str, up: str) -> Iterator[Markup]:
        """Draw the titles of the axes."""
        label = Markup(
            '<text class="axis" transform="translate({:.1f} {:.1f}) rotate({})" text-anchor="middle">{}</text>'
        )
        middle, centre = self.pixel((0.5, 0.5))
        yield label.format(middle, self.height - 6, 0, across)
        yield label.format(14, centre, -90, up)

    def bar(self, left: float, right: float, share: float, style: str = "bar") -> Markup:
        """Draw a bar from the axis up."""
        (x0, base), (x1, top) = self.pixel((left, 0)), self.pixel((right, share))
        shape = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
        return shape.format(style, x0 + 1, top, max(x1 - x0 - 2, 0.5), base - top)

    def svg(self, key: str, title: str, desc: str, parts: Sequence[Markup]) -> Markup:
        """Return the chart with its title and description, whose ids begin with ``key``."""
        return Markup(
            '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{k}-t {k}-d">'
            '<title id="{k}-t">{title}</title><desc id="{k}-d">{desc}</desc>{body}</svg>'
        ).format(w=self.width, h=self.height, k=key, title=title, desc=desc, body=Markup("").join(parts))


def line(style: str, start: Point, end: Point) -> Markup:
    """Draw a straight line."""
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(style, *start, *end)
