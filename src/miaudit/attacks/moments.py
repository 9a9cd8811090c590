"""What the shadows said about each audited record, with and without it: counts, means and spreads per side.

Everything is taken from the target's own answer, ``shadow - target``: digits are kept where they matter, a record to
which every model gave one answer has moments of exactly zero, and the target's answer is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit import signals
from miaudit.evidence import Bools, Evidence, Signal
from miaudit.signals import Rounded

ResolvedSignal = Literal["loss", "phi", "hinge"]
"""Signals that are logarithms of probabilities: what they say of an answered 0 depends on where it is taken to lie."""

_BLOCK = 1 << 18  # numbers held in float64 at a time: 2 MB, what a core's own cache takes

Array = NDArray[np.float64]


class Side(NamedTuple):
    """Moments of one side's answers about each record, taken from the target's answer."""

    n: Array  # (n,) shadows of this side
    mean: Array  # (n,) 0 where there is none
    squares: Array  # (n,) sum of squared deviations from the mean

    @property
    def says_nothing(self) -> Bools:
        """(n,) True where every shadow of this side gave the target's own answer."""
        return np.asarray((self.mean == 0) & (self.squares == 0))


def signal_rows(evidence: Evidence, signal: Signal, *, query: int = 0) -> tuple[Array, NDArray[np.floating]]:
    """Return (n,) and (m, n) signals of the target and of every shadow on the same records; see `Evidence.signal`.

    Both are rounded to float32, so that equal answers stay equal; the target's are then float64 again. Evidence that is signals
    gives them as they are.
    """
    target, rows = evidence.signal(Rounded(signal) if evidence.measure is None else signal, query=query)
    return target.astype(np.float64), rows


def resolved_rows(evidence: Evidence, signal: ResolvedSignal, *, query: int = 0) -> tuple[Array, NDArray[np.floating]]:
    """Return (n,) and (m, n) signals of the target and the shadows, with an answered 0 read at the answers' resolution.

    A forest of 20 trees answers 0 where the probability is below one vote. Attacks that compare logarithms between models
    read that 0 as half of the smallest probability above 0 that any model answered (`signals.resolution`), not as 1e-30,
    so that one vote does not outweigh all else. RMIA averages probabilities, not logarithms, and takes no such floor.

    Returns
    -------
    (ndarray, ndarray)
        As of `signal_rows`. The loss is negated: all are higher for members.
    """
    if evidence.measure is not None:
        return signal_rows(evidence, evidence.measure, query=query)
    queries = [evidence.signal(Parts(), query=k) for k in range(len(evidence.queries))]
    floor = signals.resolution(rows[..., 3] for pair in queries for rows in pair)

    def resolved(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        own, best_other, others = (np.asarray(rows[..., k], np.float64) for k in range(3))
        other = {"loss": np.float64(1.0), "hinge": best_other, "phi": others}[signal]
        return signals.log_ratio(own, np.asarray(other), floor=floor).astype(np.float32)

    target, rows = queries[query]
    return resolved(target).astype(np.float64), resolved(rows)


@dataclass(frozen=True)
class Parts:
    """What log-signals are made of: p_y, the best other and the sum of all others; and the smallest answer above 0."""

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> NDArray[np.float32]:
        """Return (r, 4) parts."""
        own, best_other, others = (
            part(answers, labels) for part in (signals.confidence, signals.best_other, signals.others)
        )
        least = answers.min(axis=1, where=answers > 0, initial=1.0)
        return np.stack([own, best_other, others, least], axis=-1).astype(np.float32)


def sides(
    target: ArrayLike, shadows: ArrayLike, inside: ArrayLike, *, change: Callable[[Array], Array] | None = None
) -> tuple[Side, Side]:
    """Moments of the shadows trained on each record, and of those that were not.

    Parameters
    ----------
    target
        (n,) signal of the target.
    shadows
        (m, n) signals of the shadows.
    inside
        (m, n) bool: was the record in the shadow's training set.
    change
        Applied to the differences ``shadow - target``, elementwise, before anything is summed.

    Returns
    -------
    (Side, Side)
        In and out. Memory beyond the result is a few MB, whatever n and m.
    """
    t, s, w = np.asarray(target, np.float64), np.asarray(shadows), np.asarray(inside, bool)
    m, n = s.shape
    moments = np.zeros((2, 3, n))  # side, moment, record
    width = max(64, _BLOCK // max(m, 1))
    for start in range(0, n, width):
        block = slice(start, start + width)
        differences = s[:, block] - t[block]  # (m, width)
        if change is not None:
            differences = change(differences)
        of_in = differences * w[:, block]
        differences -= of_in  # now those of the out side; zero where a shadow is of the other side
        count = np.count_nonzero(w[:, block], axis=0)
        for side, values, here in ((0, of_in, count), (1, differences, m - count)):
            mean = values.sum(axis=0) / np.maximum(here, 1)
            np.square(values, out=values)
            squares = values.sum(axis=0) - here * mean**2
            moments[side, :, block] = here, mean, np.maximum(squares, 0.0)
    return Side(*moments[0]), Side(*moments[1])
