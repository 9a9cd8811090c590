"""The frontier of a grid of mitigations: what is left of the leak against what is left of the accuracy, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from miaudit.report.marks import Frame, Point, line
from miaudit.result import Interval

_LINE = 17  # pixels from one name to the next
_NEAR = 13.0  # pixels within which marks share one label, as their numbers would lie over each other
_LETTER = 7.0  # pixels of a letter, at most
_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25)


def frontier(
    points: Sequence[tuple[str, float | None, Interval | None]], *, limit: float, key: str, alone: bool = True
) -> Markup:
    """Draw what is left of a leak against what is left of the accuracy, a mark with its interval for each mitigation.

    Parameters
    ----------
    points
        Name, test accuracy, and the AUC of the strongest attack with its interval; without either there is no mark, and
        the number stays free.
    limit
        The AUC that none is to reach, drawn as a line.
    key
        Prefix of the ids inside, unique in the page.
    alone
        Whether it is a file of its own, which brings its colours and the names, or a part of the page, whose style sheet has
        them and whose table names the numbers.

    Returns
    -------
    Markup
        One ``<svg>`` element, which numbers each mark; marks that lie together have their numbers in one label.
    """
    dots = [
        (number, name, accuracy, auc, auc.value)
        for number, (name, accuracy, auc) in enumerate(points, 1)
        if accuracy is not None and auc is not None and auc.value is not None
    ]
    desc = "; ".join(f"{name}: accuracy {accuracy:.3f}, AUC {area:.3f}" for _, name, accuracy, _, area in dots)
    below = _LINE * len(dots) if alone else 0
    frame = Frame(height=384 + below, width=560, right=24, bottom=46 + below)
    ticks = _ticks([accuracy for _, _, accuracy, _, _ in dots] or [0.0, 1.0])
    low, width = ticks[0], ticks[-1] - ticks[0]
    floor = 0.45 if any((auc.low or 0.5) < 0.5 for _, _, _, auc, _ in dots) else 0.5

    def place(accuracy: float, area: float) -> Point:
        return frame.pixel(((accuracy - low) / width, (min(max(area, floor), 1.0) - floor) / (1 - floor)))

    across = [((tick - low) / width, f"{tick:g}") for tick in ticks]
    up = [((tick - floor) / (1 - floor), f"{tick:g}") for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)]
    parts = [*frame.grid(across, up), line("chance", place(low, limit), place(low + width, limit))]
    marks: dict[Point, list[int]] = {}
    for number, _, accuracy, auc, area in dots:
        x, y = place(accuracy, area)
        if auc.low is not None and auc.high is not None:
            parts.append(line("range", place(accuracy, auc.low), place(accuracy, auc.high)))
        parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(x, y))
        near = next((at for at in marks if abs(at[0] - x) < _NEAR and abs(at[1] - y) < _NEAR), (x, y))
        marks.setdefault(near, []).append(number)
    parts += _labels(marks, width=frame.width)
    bottom = frame.pixel((0, 0))[1]
    for i, (number, name, *_) in enumerate(dots if alone else ()):
        name_at = Markup('<text class="tick" x="54" y="{:.1f}">{}: {}</text>')
        parts.append(name_at.format(bottom + 52 + _LINE * i, number, name))
    label = Markup('<text class="axis" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>')
    parts.append(label.format(frame.pixel((0.5, 0))[0], bottom + 36, "Test accuracy"))
    turned = Markup('<text class="axis" transform="translate(14 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>')
    parts.append(turned.format(frame.pixel((0, 0.5))[1], "AUC of the strongest attack"))
    return frame.svg(key, "Leak against accuracy", desc, [*([_STYLE] if alone else []), *parts])


def _ticks(accuracies: Sequence[float]) -> list[float]:
    """Return round numbers from below the lowest accuracy to above the highest, at most seven."""
    middle, half = (min(accuracies) + max(accuracies)) / 2, max(max(accuracies) - min(accuracies), 0.02) / 2
    step = next(each for each in _STEPS if 2 * half / each <= 5)
    first = max(math.floor((middle - half) / step + 1e-9), 0)
    last = min(math.ceil((middle + half) / step - 1e-9), round(1 / step))
    return [round(k * step, 9) for k in range(first, last + 1)]


def _labels(marks: Mapping[Point, Sequence[int]], *, width: float) -> Iterator[Markup]:
    """Draw the numbers of each place to its right, or where they find no room there to its left."""
    label = Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    for (x, y), numbers in marks.items():
        text = _ranges(numbers)
        side, anchor = (8, "start") if x + 8 + _LETTER * len(text) < width else (-8, "end")
        yield label.format(x + side, y + 4, anchor, text)


def _ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers in few words, as 1-3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


_STYLE = Markup(
    "<style>text{font:12px sans-serif;fill:#222}.grid{stroke:#ddd}.chance{stroke:#666;stroke-dasharray:5 4}"
    ".range{stroke:#0b5a8a;stroke-width:2}.dot{fill:#0b5a8a}@media (prefers-color-scheme:dark){text{fill:#ddd}"
    ".grid{stroke:#444}.chance{stroke:#aaa}.range{stroke:#7cc4f0}.dot{fill:#7cc4f0}}</style>"
)
