"""Charts as inline SVG: pure functions of numbers, coloured by the page's style sheet, readable without colour.

Every chart carries a title and a description, so a screen reader says what a sighted reader sees. Curves differ by dash
as well as by colour (classes ``c0`` to ``c5``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from markupsafe import Markup

from miaudit.errors import counted
from miaudit.report.marks import STYLES, Frame, Point, line
from miaudit.result import Roc, ScoreCounts


def roc_chart(
    curves: Sequence[tuple[str, Roc]], *, log: bool, floor: float = 1e-3, key: str = "roc", height: int = 384
) -> Markup:
    """Draw ROC curves with the chance line, on linear or on log-log axes.

    Parameters
    ----------
    curves
        Name and curve of each attack; the i-th takes style ``c{i % 6}``. The band of the first is drawn, where it has one.
    log
        True for log-log axes, which show the low false positive rates.
    floor
        Smallest rate on the logarithmic axes, a power of ten; rates below it are drawn at the edge.
    key
        Prefix of the ids inside, unique in the page.
    height
        Of the chart; its width is 420.

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
        "A curve above the diagonal tells members from non-members better than guessing."
    )
    low = floor if log else 0.0
    ticks = [10.0**k for k in range(round(math.log10(floor)), 1)] if log else [0.0, 0.25, 0.5, 0.75, 1.0]

    def place(rate: float) -> float:
        return 1 - math.log10(max(rate, floor)) / math.log10(floor) if log else rate

    def pixel(point: Point) -> Point:
        return frame.pixel((place(point[0]), place(point[1])))

    frame = Frame(height=height)
    marks = [(place(t), f"{t:g}") for t in ticks]
    parts = [*frame.grid(marks, marks), line("chance", pixel((low, low)), pixel((1.0, 1.0)))]
    if curves and (band := curves[0][1].band) is not None:
        rates = [(max(fpr, low), at) for at, fpr in enumerate(band.fpr) if fpr >= low]
        edge = [pixel((fpr, band.high[at])) for fpr, at in rates]
        edge += [pixel((fpr, band.low[at])) for fpr, at in reversed(rates)]
        shape = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge)
        parts.append(Markup('<polygon class="band c0" points="{}"/>').format(shape))
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
    desc = counted(len(values), "figure")
    if ordered:
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        desc += f" from {ordered[0]:.3f} to {ordered[-1]:.3f}, median {middle:.3f}"
    frame = Frame(height=236)
    across = [(t, f"{t:g}") for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts = list(frame.grid(across, [(c / top, str(c)) for c in range(0, top + 1, step)]))
    parts.extend(frame.bar(i / bins, (i + 1) / bins, count / top) for i, count in enumerate(counts) if count)
    parts.append(line("chance", frame.pixel((0.5, 0)), frame.pixel((0.5, 1))))
    parts.extend(frame.axis_titles(axis, "Number of classes"))
    return frame.svg(key, title, desc, parts)


def distribution(counts: ScoreCounts, *, title: str, key: str) -> Markup:
    """Draw how an attack's scores are distributed: non-members as bars, members as a line above them.

    Parameters
    ----------
    counts
        Of both sides, bin by bin.
    title
        Of the chart.
    key
        Prefix of the ids inside, unique in the page.
    """
    sides = [counts.nonmembers, counts.members]
    shares = [[count / max(sum(side), 1) for count in side] for side in sides]
    bins, top = len(counts.members), max((max(side) for side in shares), default=1.0) or 1.0
    frame = Frame(height=190, bottom=44, left=46, right=24)
    first, last = counts.edges[0], counts.edges[-1]
    across = [(at, f"{first + at * (last - first):z.3g}") for at in (0.0, 0.5, 1.0)]
    parts = list(frame.grid(across, [(0.0, "0"), (1.0, f"{100 * top:.0f} %")]))
    parts += [
        frame.bar(i / bins, (i + 1) / bins, share / top, "bar others") for i, share in enumerate(shares[0]) if share
    ]
    corners = [frame.pixel((0, 0))]
    for i, share in enumerate(shares[1]):
        corners += [frame.pixel((i / bins, share / top)), frame.pixel(((i + 1) / bins, share / top))]
    corners.append(frame.pixel((1, 0)))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    parts.append(Markup('<polyline class="curve c0" points="{}"/>').format(path))
    parts.extend(frame.axis_titles("Score, higher for members", "Share of a side"))
    middles = [_median(side, counts.edges) for side in reversed(sides)]
    desc = (
        f"Scores from {first:z.3g} to {last:z.3g}; half of the members lie above about {middles[0]:z.3g}, half of the "
    )
    return frame.svg(key, title, f"{desc}non-members above about {middles[1]:z.3g}.", parts)


def _median(counts: Sequence[int], edges: Sequence[float]) -> float:
    """Return the middle of the bin that holds the median."""
    half, total = sum(counts) / 2, 0
    for count, (low, high) in zip(counts, pairwise(edges), strict=True):
        total += count
        if total >= half:
            return (low + high) / 2
    return edges[-1]


def _from_floor(points: Sequence[Point], floor: float) -> Iterator[Point]:
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


def _spaced(points: Iterator[Point], apart: float = 0.7) -> list[Point]:
    """Drop points nearer than ``apart`` pixels to the last one kept; both ends stay."""
    line: list[Point] = []
    last: Point | None = None
    for point in points:
        last = point
        if not line or math.dist(point, line[-1]) >= apart:
            line.append(point)
    if last is not None and line[-1] != last:
        line.append(last)
    return line
