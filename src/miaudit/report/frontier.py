"""The frontier of a grid of mitigations: what is left of the leak against what is left of the accuracy, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from miaudit.report.marks import Frame, Point, line
from miaudit.result import Interval


def frontier(points: Sequence[tuple[str, float, Interval]], *, limit: float, key: str, alone: bool = True) -> Markup:
    """Draw what is left of a leak against what is left of the accuracy, a mark with its interval for each mitigation.

    Parameters
    ----------
    points
        Name, test accuracy, and the AUC of the strongest attack with its interval.
    limit
        The AUC that none is to reach, drawn as a line.
    key
        Prefix of the ids inside, unique in the page.
    alone
        Whether it is a file of its own, which brings its colours, or a part of the page, whose style sheet has them.

    Returns
    -------
    Markup
        One ``<svg>`` element, which numbers each mark; the numbers are explained under it.
    """
    desc = "; ".join(f"{name}: accuracy {accuracy:.3f}, AUC {auc.value or 0.0:.3f}" for name, accuracy, auc in points)
    step = 17
    frame = Frame(height=384 + step * len(points), width=560, bottom=46 + step * len(points))
    accuracies = [accuracy for _, accuracy, _ in points] or [0.0, 1.0]
    low, high = math.floor(20 * min(accuracies)) / 20, math.ceil(20 * max(accuracies)) / 20
    width = max(high - low, 0.05)
    floor = 0.45 if any((auc.low or 0.5) < 0.5 for _, _, auc in points) else 0.5

    def place(accuracy: float, area: float) -> Point:
        return frame.pixel(((accuracy - low) / width, (min(max(area, floor), 1.0) - floor) / (1 - floor)))

    across = [(i / 4, f"{low + width * i / 4:.3g}") for i in range(5)]
    up = [((tick - floor) / (1 - floor), f"{tick:g}") for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)]
    parts = [*frame.grid(across, up), line("chance", place(low, limit), place(low + width, limit))]
    mark = Markup(
        '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="4"/><text class="tick" x="{:.1f}" y="{:.1f}">{}</text>'
    )
    bottom = frame.pixel((0, 0))[1] + 52
    for i, (name, accuracy, auc) in enumerate(points):
        if auc.value is None:
            continue
        x, y = place(accuracy, auc.value)
        if auc.low is not None and auc.high is not None:
            parts.append(line("range", place(accuracy, auc.low), place(accuracy, auc.high)))
        parts.append(mark.format(x, y, x + 7, y - 5, i + 1))
        parts.append(
            Markup('<text class="tick" x="{}" y="{:.1f}">{}  {}</text>').format(54, bottom + step * i, i + 1, name)
        )
    x, y = place(0.5 * (2 * low + width), floor)
    label = Markup('<text class="axis" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>')
    parts.append(label.format(x, y + 36, "Test accuracy"))
    turned = Markup('<text class="axis" transform="translate(14 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>')
    parts.append(turned.format(frame.pixel((0, 0.5))[1], "AUC of the strongest attack"))
    return frame.svg(key, "Leak against accuracy", desc, [*([_STYLE] if alone else []), *parts])


_STYLE = Markup(
    "<style>text{font:12px sans-serif;fill:#222}.grid{stroke:#ddd}.chance{stroke:#666;stroke-dasharray:5 4}"
    ".range{stroke:#0b5a8a;stroke-width:2}.dot{fill:#0b5a8a}@media (prefers-color-scheme:dark){text{fill:#ddd}"
    ".grid{stroke:#444}.chance{stroke:#aaa}.range{stroke:#7cc4f0}.dot{fill:#7cc4f0}}</style>"
)
