"""Charts as inline SVG: pure functions of numbers, coloured by the page's style sheet, readable without colour.

Every chart carries a title and a description, so a screen reader says what a sighted reader sees. Curves differ by dash
as well as by colour (classes ``c0`` to ``c5``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from miaudit.result import Interval, Roc

STYLES = 6  # curve styles the style sheet knows, c0 to c5
_Point = tuple[float, float]


def roc_chart(curves: Sequence[tuple[str, Roc]], *, log: bool, floor: float = 1e-3, key: str = "roc") -> Markup:
    """Draw ROC curves with the chance line, on linear or on log-log axes.

    Parameters
    ----------
    curves
        Name and curve of each attack; the i-th takes style ``c{i % 6}``.
    log
        True for log-log axes, which show the low false positive rates.
    floor
        Smallest rate on the logarithmic axes, a power of ten; rates below it are drawn at the edge.
    key
        Prefix of the ids inside, unique in the page.

    Returns
    -------
    Markup
        One ``<svg>`` element.
    """
    scale = "logarithmic" if log else "linear"
    title = f"ROC curves, {scale} axes"
    names = ", ".join(name for name, _ in curves) or "no attack"
    desc = (
        f"True positive rate against false positive rate for {names}; the dashed diagonal is chance. "
        f"A curve above the diagonal tells members from non-members better than guessing."
    )
    low = floor if log else 0.0
    ticks = [10.0**k for k in range(round(math.log10(floor)), 1)] if log else [0.0, 0.25, 0.5, 0.75, 1.0]

    def place(rate: float) -> float:
        return 1 - math.log10(max(rate, floor)) / math.log10(floor) if log else rate

    def pixel(point: _Point) -> _Point:
        return frame.pixel((place(point[0]), place(point[1])))

    frame = _Frame(height=384)
    marks = [(place(t), f"{t:g}") for t in ticks]
    parts = [*frame.grid(marks, marks), _line("chance", pixel((low, low)), pixel((1.0, 1.0)))]
    for i, (_, roc) in enumerate(curves):
        points = list(zip(roc.fpr, roc.tpr, strict=True))
        pixels = _spaced(pixel(p) for p in (_from_floor(points, floor) if log else points))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
        parts.append(Markup('<polyline class="curve c{}" points="{}"/>').format(i % STYLES, path))
    parts.extend(frame.axis_titles("False positive rate", "True positive rate"))
    return frame.svg(key + ("-log" if log else "-lin"), title, desc, parts)


def histogram(values: Sequence[float], *, title: str, axis: str, key: str, bins: int = 20) -> Markup:
    """Draw how figures between 0 and 1 are distributed, with the line of guessing at one half.

    Parameters
    ----------
    values
        The figures, each in [0, 1]; the last bin holds 1.
    title, axis
        Title of the chart and of its horizontal axis.
    key
        Prefix of the ids inside, unique in the page.
    bins
        Number of bins of equal width.
    """
    counts = [0] * bins
    for value in values:
        counts[min(int(value * bins + 1e-9), bins - 1)] += 1  # 1e-9: 0.15 * 20 is 2.9999... in floating point
    step = max(1, math.ceil(max(counts, default=1) / 4))
    top = step * max(1, math.ceil(max(counts, default=1) / step))
    ordered = sorted(values)
    desc = f"{len(values)} figures"
    if ordered:
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        desc += f" from {ordered[0]:.3f} to {ordered[-1]:.3f}, median {middle:.3f}"
    frame = _Frame(height=236)
    across = [(t, f"{t:g}") for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts = list(frame.grid(across, [(c / top, str(c)) for c in range(0, top + 1, step)]))
    bar = Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    for i, count in enumerate(counts):
        if count:
            (left, base), (right, up) = frame.pixel((i / bins, 0)), frame.pixel(((i + 1) / bins, count / top))
            parts.append(bar.format(left + 1, up, right - left - 2, base - up))
    parts.append(_line("chance", frame.pixel((0.5, 0)), frame.pixel((0.5, 1))))
    parts.extend(frame.axis_titles(axis, "Number of classes"))
    return frame.svg(key, title, desc, parts)


def strip(interval: Interval, *, name: str) -> Markup:
    """Draw one AUC with its interval on a line from 0 to 1, a tick at one half; empty if the AUC is undefined."""
    if interval.value is None:
        return Markup("")
    low = interval.value if interval.low is None else interval.low
    high = interval.value if interval.high is None else interval.high

    def at(v: float) -> str:
        return f"{5 + 120 * v:.1f}"

    return Markup(
        '<svg class="strip" viewBox="0 0 130 22" role="img" aria-label="{label}">'
        '<line class="rail" x1="5" y1="11" x2="125" y2="11"/><line class="half" x1="65" y1="3" x2="65" y2="19"/>'
        '<line class="range" x1="{low}" y1="11" x2="{high}" y2="11"/>'
        '<circle class="dot" cx="{mid}" cy="11" r="4"/></svg>'
    ).format(
        label=f"{name}: AUC {interval.value:.3f}, from {low:.3f} to {high:.3f}; guessing is 0.5",
        low=at(low),
        high=at(high),
        mid=at(interval.value),
    )


def swatch(i: int) -> Markup:
    """Draw the legend's sample of curve style i."""
    return Markup(
        '<svg class="swatch" viewBox="0 0 34 8" aria-hidden="true">'
        '<line class="curve c{}" x1="0" y1="4" x2="34" y2="4"/></svg>'
    ).format(i % STYLES)


@dataclass(frozen=True)
class _Frame:
    """The area a chart is drawn in, its sides 0 to 1."""

    height: int
    width: int = 420
    left: int = 54
    right: int = 14
    top: int = 12
    bottom: int = 46

    def pixel(self, point: _Point) -> _Point:
        x, y = point
        return (
            self.left + x * (self.width - self.left - self.right),
            self.height - self.bottom - y * (self.height - self.top - self.bottom),
        )

    def grid(self, across: Sequence[tuple[float, str]], up: Sequence[tuple[float, str]]) -> Iterator[Markup]:
        label = Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        for at, text in across:
            x, y = self.pixel((at, 0))
            yield _line("grid", (x, y), self.pixel((at, 1)))
            yield label.format(x, y + 18, "middle", text)
        for at, text in up:
            x, y = self.pixel((0, at))
            yield _line("grid", (x, y), self.pixel((1, at)))
            yield label.format(x - 7, y + 4, "end", text)

    def axis_titles(self, across: str, up: str) -> Iterator[Markup]:
        label = Markup(
            '<text class="axis" transform="translate({:.1f} {:.1f}) rotate({})" text-anchor="middle">{}</text>'
        )
        middle, centre = self.pixel((0.5, 0.5))
        yield label.format(middle, self.height - 6, 0, across)
        yield label.format(14, centre, -90, up)

    def svg(self, key: str, title: str, desc: str, parts: Sequence[Markup]) -> Markup:
        return Markup(
            '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-labelledby="{k}-t {k}-d">'
            '<title id="{k}-t">{title}</title><desc id="{k}-d">{desc}</desc>{body}</svg>'
        ).format(w=self.width, h=self.height, k=key, title=title, desc=desc, body=Markup("").join(parts))


def _line(style: str, start: _Point, end: _Point) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(style, *start, *end)


def _from_floor(points: Sequence[_Point], floor: float) -> Iterator[_Point]:
    """Yield the curve from ``floor`` on, long steps divided: what is straight on linear axes is bent on these."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 < floor:
            continue
        if x0 >= floor:
            yield x0, y0
        if x1 > x0:
            start = max(x0, floor)
            pieces = max(1, math.ceil(12 * math.log10(x1 / start)))
            for k in range(0 if x0 < floor else 1, pieces):
                x = start * (x1 / start) ** (k / pieces)
                yield x, y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    yield points[-1]


def _spaced(points: Iterator[_Point], apart: float = 0.7) -> list[_Point]:
    """Drop points nearer than ``apart`` pixels to the last one kept; both ends stay."""
    line: list[_Point] = []
    last: _Point | None = None
    for point in points:
        last = point
        if not line or math.dist(point, line[-1]) >= apart:
            line.append(point)
    if last is not None and line[-1] != last:
        line.append(last)
    return line
