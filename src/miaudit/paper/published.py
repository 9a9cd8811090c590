"""What the paper prints: numbers with where they come from, rows, and the tables and figures they stand in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Tag = Literal["stated", "drawn", "derived"]
Kind = Literal["table", "mitigations", "distribution", "boxes", "scatter", "histograms"]


class Published(NamedTuple):
    """A number of the paper, and where it stands.

    ``stated``: in its text, a table or a caption; ``drawn``: read off a figure, to about 0.003; ``derived`` by arithmetic.
    """

    value: float
    tag: Tag


def stated(**figures: float) -> dict[str, Published]:
    """Return numbers that the paper prints, by the names of our figures."""
    return {name: Published(value, "stated") for name, value in figures.items()}


def drawn(**figures: float) -> dict[str, Published]:
    """Return numbers that were read off the paper's drawings."""
    return {name: Published(value, "drawn") for name, value in figures.items()}


@dataclass(frozen=True)
class Row:
    """One row of a table, or one curve of a figure.

    Parameters
    ----------
    label
        As the paper calls it.
    setting
        Name of what is measured in its place; None where there are no data at hand.
    published
        The paper's numbers, by the names of our figures.
    unlike
        How it differs from the paper's by what it is, so that no level is compared: "other data"; empty: as far as known it is
        the same task.
    wanted
        What a reader would have to get to measure it, where there are no data at hand.
    """

    label: str
    setting: str | None
    published: Mapping[str, Published] = field(default_factory=dict)
    unlike: str = ""
    wanted: str = ""


@dataclass(frozen=True)
class Experiment:
    """A table or a figure of the paper.

    Parameters
    ----------
    name, title
        Such as ``table-1``; what it shows.
    rows
        In the paper's order.
    figures
        Names of the figures that are laid beside the paper's, in the order of columns.
    kind
        What its drawing is.
    order
        Name of the figure whose order over the rows is compared by rank; empty: none.
    choices
        Where the paper is silent or contradicts itself, and what was chosen.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    figures: tuple[str, ...]
    kind: Kind
    order: str = ""
    choices: tuple[str, ...] = ()
