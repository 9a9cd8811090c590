"""Distance to the decision boundary from labels alone: HopSkipJump for many records in lockstep."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.evidence import Bools, Floats, Ints
from miaudit.seeds import generator

Ask = Callable[[Floats], Ints]  # (k, d) points -> (k,) labels

_HALVINGS = 10  # of a stretch that holds the boundary: it is then known to 1/1024 of the distance
_SHRINKS = 6  # of a step along the boundary before it is given up
_STARTS = 10  # random points tried where no record has another label
_VALUES = 1 << 23  # numbers in one batch of questions; bounds memory


class Boundary(NamedTuple):
    """Distances (n,) to the nearest change of label found, and questions (n,) asked about each record."""

    distance: NDArray[np.float64]  # (n,)
    asked: Ints  # (n,)


def boundary_distance(
    ask: Ask, X: Floats, labels: Ints, *, low: ArrayLike, high: ArrayLike, queries: int, seed: int = 0
) -> Boundary:
    """Return how far the nearest point with another label is from each record, by Euclid's distance, from above.

    HopSkipJump (Chen, Jordan and Wainwright 2020, algorithm 2, L2): from a point with another label, walk to the
    boundary by halving, estimate its normal there from the labels of random points around it (equation 9, baseline of
    equation 16), step along the normal, and walk back; the nearest boundary point is kept. All records take each step
    together, so that one round of questions is one batch. Deviations: the walk starts at the nearest of the other records
    that is answered with another label than the record's class, which costs no question; halving ends at 1/1024 of the
    distance in any dimension, and the radius of the random points follows from that as in the paper; the number of random
    points starts at an eighth of the budget, at most 100; the walk ends with the budget.

    Parameters
    ----------
    ask
        Answers (k, d) points with (k,) labels.
    X, labels
        (n, d) records and their (n,) true classes.
    low, high
        Box that holds all questions: numbers, or (d,).
    queries
        Questions about each record, at most.
    seed
        Of the random points.

    Returns
    -------
    Boundary
        Distance 0 where the record itself is answered wrongly. Where no other label was met the distance is the box's
        diagonal, the largest there can be.
    """
    n, d = X.shape
    walk = _Walk(ask, X, labels, np.broadcast_to(low, d), np.broadcast_to(high, d), np.zeros(n, dtype=np.int64))
    rng = generator(seed, "boundary")
    answers = walk.ask_each(np.arange(n), X)
    distance = np.zeros(n)
    right = np.flatnonzero(answers == labels)
    other, crossed = _starts(walk, right, answers, min(_STARTS, queries - 1), rng)
    distance[right[~crossed]] = np.linalg.norm(walk.high - walk.low)
    rows, far = right[crossed], other[crossed]  # records that walk, and a point with another label for each
    halvings = min(_HALVINGS, max(0, queries - int(walk.asked.max(initial=0))))
    far = walk.to_boundary(rows, far, halvings)
    best = np.linalg.norm(far - X[rows], axis=1)
    points = float(np.clip(queries / 8, 10, 100))
    for step in range(1, queries):
        budget = queries - int(walk.asked.max(initial=0))
        around = min(int(points * np.sqrt(step)), budget - _SHRINKS - _HALVINGS)
        if around < 10 or not len(rows):
            break
        now = np.linalg.norm(far - X[rows], axis=1)
        normal = walk.normal(rows, far, now * np.sqrt(d) / 2**_HALVINGS, around, rng)
        far = walk.to_boundary(rows, walk.leap(rows, far, normal, now / np.sqrt(step)), _HALVINGS)
        best = np.minimum(best, np.linalg.norm(far - X[rows], axis=1))
    distance[rows] = best
    return Boundary(distance, walk.asked)


class _Walk(NamedTuple):
    """Records, their labels, the box, and how often each was asked about."""

    ask: Ask
    X: Floats  # (n, d)
    labels: Ints  # (n,)
    low: Floats  # (d,)
    high: Floats  # (d,)
    asked: Ints  # (n,), counted up

    def ask_each(self, rows: Ints, points: Floats) -> Ints:
        """Return the (k,) labels of (k, d) points that are about ``rows``."""
        size = max(1, _VALUES // max(self.X.shape[1], 1))
        parts = [self.ask(points[start : start + size]) for start in range(0, len(points), size)]
        np.add.at(self.asked, rows, 1)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def differs(self, rows: Ints, points: Floats) -> Bools:
        """Whether (k, d) points have another label than the records ``rows``."""
        return np.asarray(self.ask_each(rows, points) != self.labels[rows])

    def to_boundary(self, rows: Ints, far: Floats, halvings: int) -> Floats:
        """Return points between the records and ``far``, of another label still, next to the change of label."""
        near_share, far_share = np.zeros(len(rows)), np.ones(len(rows))  # of the way from the record to far
        for _ in range(halvings):
            middle = (near_share + far_share) / 2
            other = self.differs(rows, self.X[rows] + middle[:, None] * (far - self.X[rows]))
            far_share, near_share = np.where(other, middle, far_share), np.where(other, near_share, middle)
        return np.asarray(self.X[rows] + far_share[:, None] * (far - self.X[rows]))

    def normal(self, rows: Ints, at: Floats, radius: Floats, points: int, rng: np.random.Generator) -> Floats:
        """Estimate the unit normals (k, d) of the boundary at ``at``, towards the other label."""
        d = self.X.shape[1]
        normals = np.empty_like(at)
        size = max(1, _VALUES // (points * d))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            directions = rng.normal(size=(len(rows[part]), points, d))  # (k, points, d)
            directions /= np.linalg.norm(directions, axis=2, keepdims=True)
            centre = at[part][:, None]
            cloud = np.clip(centre + radius[part][:, None, None] * directions, self.low, self.high)
            offsets = (cloud - centre) / np.maximum(radius[part], 1e-300)[:, None, None]  # as far as the box let them
            about = np.repeat(rows[part], points)
            other = self.differs(about, cloud.reshape(-1, d)).reshape(-1, points)
            sign = np.where(other, 1.0, -1.0)
            mean = sign.mean(axis=1, keepdims=True)
            weight = np.where(np.abs(mean) == 1, sign, sign - mean)  # the baseline, unless all agree
            normals[part] = np.einsum("kp,kpd->kd", weight, offsets)
        return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300))

    def leap(self, rows: Ints, at: Floats, normal: Floats, length: Floats) -> Floats:
        """Step along the normals, half as far as long as the label is the record's; stay where none is another."""
        reached, still = at.copy(), np.arange(len(rows))
        length = length.copy()
        for _ in range(_SHRINKS):
            if not len(still):
                break
            points = np.clip(at[still] + length[still, None] * normal[still], self.low, self.high)
            other = self.differs(rows[still], points)
            reached[still[other]] = points[other]
            still = still[~other]
            length[still] /= 2
        return reached


def _starts(walk: _Walk, rows: Ints, answers: Ints, tries: int, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """Return a point of another label for each of ``rows``, and whether one was found: a record, or a random point."""
    X, labels = walk.X, walk.labels
    start, crossed = X[rows].copy(), np.zeros(len(rows), dtype=bool)
    squares = (X**2).sum(axis=1)
    size = max(1, _VALUES // max(len(X), 1))
    for begin in range(0, len(rows), size):
        part = rows[begin : begin + size]
        gap = squares[None, :] - 2 * X[part] @ X.T  # (k, n), less the record's own square
        gap[answers[None, :] == labels[part, None]] = np.inf
        nearest = gap.argmin(axis=1)
        here = np.isfinite(gap[np.arange(len(part)), nearest])
        crossed[begin : begin + size] = here
        start[begin : begin + size][here] = X[nearest[here]]
    for _ in range(tries):
        missing = np.flatnonzero(~crossed)
        if not len(missing):
            break
        points = rng.uniform(walk.low, walk.high, size=(len(missing), X.shape[1]))
        other = walk.differs(rows[missing], points)
        start[missing[other]] = points[other]
        crossed[missing[other]] = True
    return start, crossed
