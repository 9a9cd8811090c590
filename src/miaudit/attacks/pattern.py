"""The check for a pattern that depends on the class and that records of one side only carry, without any model.

Protected training data ("unlearnable examples") hold such a pattern: models learn it in place of the classes, answer all that
carries it right and all else wrong. The gap between training and test is then large, whoever was trained on. Nearly all such
patterns are separable by a linear learner (Yu et al., KDD 2022); those of a filter leave their mark on how neighbouring pixels
hang together (Sandoval-Segura et al., NeurIPS 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit
from threadpoolctl import threadpool_limits

from miaudit.attacks.controls import checked_features, is_sparse
from miaudit.errors import counted
from miaudit.evidence import Bools, Ints
from miaudit.seeds import generator
from miaudit.stats import numbered

Floats = NDArray[np.float32]
Side = Literal["members", "nonmembers", "both"]

PATTERN_CONFIDENCE = 0.999
_PER_SIDE = 2000
_WIDE = 1024  # columns from which on half as many records are read
_COLUMNS = 3072
_LEAST = 40  # records a side below which nothing can be learned
_RIDGE = 0.1  # of the mean variance along the leading directions
_CLIP = 10.0  # standard deviations: one value further out would outweigh all others
_CROP = 32  # side of the middle of an image that is looked at for how neighbours hang together
_LAGS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))


@dataclass(frozen=True)
class Pattern:
    """How much better a linear learner does on records of the side it learned from; None, with a reason, for too few.

    ``members`` and ``nonmembers`` are the shares of their records, none of them learned from, whose class a learner of
    members tells right; ``by_nonmembers`` those of a learner of non-members. ``excess`` is by how much the difference of
    the first two exceeds that of the others, with its interval: what makes one side easier for both learners is not in it.
    ``side`` says whose records carry the pattern: those whose own learner gains at least twice as much as the other's, or
    both.
    """

    method: str
    members: float | None = None
    nonmembers: float | None = None
    by_nonmembers: tuple[float, float] | None = None
    excess: float | None = None
    low: float | None = None
    high: float | None = None
    side: Side | None = None
    reason: str | None = None


def label_pattern(
    features: Any,
    labels: ArrayLike,
    member: ArrayLike,
    *,
    shape: tuple[int, ...] | None = None,
    people: ArrayLike | None = None,
    seed: int,
    confidence: float = PATTERN_CONFIDENCE,
) -> Pattern:
    """Tell whether what gives the class away in members is the same as in non-members, from the records alone.

    Of both sides as many records of every class are drawn, and each side is halved. A linear learner (ridge regression on
    the classes) of one half answers the other half of its side, and the whole other side; each half of each side learns
    once. A record scores 1 where its own side's learner is right, less the share of the other side's two that are. With
    ``a(s, r)`` the share of the records of side r that a learner of side s tells right, the mean of members' scores and
    that of non-members' sum to

        excess = a(members, members) - a(members, nonmembers) - (a(nonmembers, members) - a(nonmembers, nonmembers))

    Where both sides are draws from one population, that is 0 but for chance, whatever the learners learned. The interval is
    Student's, with the records of a person as one, and as wide as that of half the records. A pattern that no linear learner
    sees, or that both sides carry, is not found.

    Parameters
    ----------
    features
        (n, ...) array or (n, d) scipy sparse matrix of finite numbers.
    labels, member
        (n,) classes, and who is a member.
    shape
        Of a record that is an image, where ``features`` do not show it: then the learner also sees how neighbouring pixels
        hang together.
    people
        (n,) the person of each record; None: each stands for itself.
    seed
        Seed of every draw.
    confidence
        Level of the interval. It is high, because the patterns that matter are large.

    Raises
    ------
    DataError
        If the sizes do not fit or the features are no finite numbers.
    """
    rng = generator(seed, "pattern")
    checked_features(features, labels, member)
    y, truth = np.asarray(labels), np.asarray(member, bool)
    width = features.shape[1] if is_sparse(features) else int(np.prod(np.shape(features)[1:]))
    shape = shape or (None if is_sparse(features) else np.shape(features)[1:])
    sample = _drawn(y, truth, _PER_SIDE if width <= _WIDE else _PER_SIDE // 2, rng)
    sample = sample[_first_of_copies(features[sample], y[sample], truth[sample])]
    n = [int((truth[sample] == side).sum()) for side in (True, False)]
    method = (
        f"ridge regression on {counted(n[0], 'member')} and {counted(n[1], 'non-member')}, halves of each, as "
        "many of every class"
    )
    if min(n) < _LEAST or len(np.unique(y[sample])) < 2:
        few = (
            f"{counted(n[0], 'member')} and {counted(n[1], 'non-member')} of classes that both have are too few to "
            f"learn from; at least {_LEAST} of "
            "each, of two classes, are needed"
        )
        return Pattern(method, reason=few)
    x, inside = features[sample], truth[sample]
    _, classes = np.unique(y[sample], return_inverse=True)
    of = np.arange(len(sample)) if people is None else numbered(np.asarray(people)[sample])
    with threadpool_limits(1):
        inputs = _inputs(x, shape, rng)
        own, other = _answers(inputs, classes, inside, _halves(classes, inside, of, rng))
    method += f", {counted(inputs.shape[1], 'column')}"
    return _judged(method, own, other, inside, of, confidence)


def _judged(method: str, own: Any, other: Any, inside: Bools, people: Ints, confidence: float) -> Pattern:
    """Return the figures of answers: was the learner of a record's own side right, and which share of the other side's."""
    score = own - other
    means = {side: float(score[inside == side].mean()) for side in (True, False)}
    rest = np.where(inside, (score - means[True]) / inside.sum(), (score - means[False]) / (~inside).sum())
    sums = np.bincount(people, rest)
    units = min(len(np.unique(people[inside == side])) for side in (True, False))
    variance = max(float((sums**2).sum()), inside.sum() ** -2.0 + (~inside).sum() ** -2.0)  # as of one record a side
    # learners share records with what others are judged on, in unknown measure: as wide as an interval of half the records
    half = float(stdtrit(max(1, units // 2 - 1), (1 + confidence) / 2) * math.sqrt(2 * variance))
    excess = means[True] + means[False]
    shares = {
        (side, whose): float(each[inside == side].mean())
        for side in (True, False)
        for whose, each in ((1, own), (0, other))
    }
    gain = shares[True, 1] - shares[False, 0], shares[False, 1] - shares[True, 0]
    side: Side = "members" if gain[0] >= 2 * gain[1] else "nonmembers" if gain[1] >= 2 * gain[0] else "both"
    return Pattern(
        method,
        members=shares[True, 1],
        nonmembers=shares[False, 0],
        by_nonmembers=(shares[True, 0], shares[False, 1]),
        excess=excess,
        low=max(-2.0, excess - half),
        high=min(2.0, excess + half),
        side=side if excess - half > 0 else None,
    )


def _drawn(y: NDArray[Any], truth: Bools, most: int, rng: np.random.Generator) -> Ints:
    """Return positions of as many members as non-members of every class, in all at most ``most`` a side."""
    sides = [{k: np.flatnonzero((y == k) & (truth == side)) for k in np.unique(y)} for side in (True, False)]
    counts = {k: min(len(side[k]) for side in sides) for k in sides[0]}
    share = min(1.0, most / max(1, sum(counts.values())))
    return np.concatenate([rng.permutation(side[k])[: round(share * counts[k])] for side in sides for k in counts])


def _first_of_copies(x: Any, y: NDArray[Any], truth: Bools) -> Ints:
    """Return the positions of records that are no copies of an earlier one on their side: a copy would be known, not told."""
    first: dict[tuple[bytes, Any, bool], int] = {}
    for i, row in enumerate(_contents(x)):
        first.setdefault((row, y[i].item(), bool(truth[i])), i)
    return np.fromiter(first.values(), np.int64)


def _contents(x: Any) -> Iterator[bytes]:
    """Yield the bytes that records consist of."""
    if is_sparse(x):
        table = x.tocsr()
        for start, stop in pairwise(table.indptr):
            yield table.indices[start:stop].tobytes() + table.data[start:stop].tobytes()
    else:
        yield from (row.tobytes() for row in np.ascontiguousarray(x))


def _halves(classes: Ints, inside: Bools, people: Ints, rng: np.random.Generator) -> Bools:
    """(n,) bool: one half of each side, of every class as far as it goes; whole people where one has several records."""
    first = np.zeros(len(classes), bool)
    if len(np.unique(people)) < len(people):
        return np.asarray(rng.permutation(np.arange(people.max() + 1) % 2 == 0)[people])
    for side in (True, False):
        index = rng.permutation(np.flatnonzero(inside == side))
        first[index[np.argsort(classes[index], kind="stable")][::2]] = True
    return first


def _answers(x: Floats, classes: Ints, inside: Bools, first: Bools) -> tuple[Floats, Floats]:
    """Return for each record whether its own side's learner is right, and the share of the other side's two that are."""
    own, other = np.zeros(len(x), np.float32), np.zeros(len(x), np.float32)
    for side in (True, False):
        for half in (True, False):
            learn = (inside == side) & (first == half)
            right = _learned(x[learn], classes[learn], int(classes.max()) + 1)(x) == classes
            ask = (inside == side) & (first != half)
            own[ask] = right[ask]
            other[inside != side] += right[inside != side] / 2
    return own, other


def _learned(x: Floats, classes: Ints, count: int) -> Callable[[Floats], Ints]:
    """Return what ridge regression on the classes answers; in the records' own space where these are fewer than columns."""
    target = np.eye(count, dtype=np.float32)[classes]
    middle, level = x.mean(axis=0), target.mean(axis=0)
    a, b = x - middle, target - level
    n, d = a.shape
    square = a @ a.T if n < d else a.T @ a
    square[np.diag_indices(len(square))] += max(_RIDGE * float(np.trace(square)) / min(n, d), 1e-6)
    weights = a.T @ np.linalg.solve(square, b) if n < d else np.linalg.solve(square, a.T @ b)
    return lambda z: ((z - middle) @ weights + level).argmax(axis=1)


def _inputs(x: Any, shape: tuple[int, ...] | None, rng: np.random.Generator) -> Floats:
    """Return columns of one spread; of images also how neighbours hang together, with half the weight of all pixels."""
    if is_sparse(x):
        often = np.asarray((x != 0).sum(axis=0)).ravel()
        return _even(x[:, np.sort(np.argsort(-often, kind="stable")[:_COLUMNS])].toarray())
    flat = x.reshape(len(x), -1)
    some = np.arange(flat.shape[1]) if flat.shape[1] <= _COLUMNS else np.sort(rng.permutation(flat.shape[1])[:_COLUMNS])
    columns = _even(flat[:, some])
    images = _images(flat, shape)
    if images is None:
        return columns
    near = _even(_neighbours(images))
    return np.hstack([columns, near * np.float32(math.sqrt(columns.shape[1] / 2 / max(1, near.shape[1])))])


def _even(x: NDArray[Any]) -> Floats:
    """Return columns with mean 0 and variance 1, cut at ten deviations; without those that are constant."""
    values = x.astype(np.float64)
    spread = values.std(axis=0)
    varying = spread > 1e-9 * (1e-30 + np.abs(values).max(axis=0, initial=0))
    values = (values[:, varying] - values[:, varying].mean(axis=0)) / spread[varying]
    return np.asarray(np.clip(values, -_CLIP, _CLIP), np.float32)


def _images(flat: NDArray[Any], shape: tuple[int, ...] | None) -> Floats | None:
    """Return (n, c, h, w) the records as images; None where they are none."""
    if shape is None or math.prod(shape) != flat.shape[1]:
        return None
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3:
        return None
    images = flat.reshape(len(flat), *shape)
    if shape[0] > 4:
        if shape[2] > 4:
            return None
        images = np.moveaxis(images, 3, 1)
    height, width = images.shape[2:]
    if min(height, width) < 6:
        return None
    top, left = max(0, (height - _CROP) // 2), max(0, (width - _CROP) // 2)
    return images[:, :, top : top + _CROP, left : left + _CROP].astype(np.float32)


def _neighbours(images: Floats) -> Floats:
    """Return (n, 14 c) power and correlations of the differences of neighbouring pixels, along rows and along columns."""
    columns = []
    for rough in (np.diff(images, axis=3)[:, :, :-1], np.diff(images, axis=2)[..., :-1]):
        height, width = rough.shape[2:]
        power = (rough**2).mean(axis=(2, 3))
        floor = 1e-6 * power.mean() + 1e-30
        columns.append(np.log(power + floor))
        for down, right in _LAGS:
            first = rough[:, :, : height - down, max(0, -right) : width - max(0, right)]
            second = rough[:, :, down:, max(0, right) : width - max(0, -right)]
            columns.append((first * second).mean(axis=(2, 3)) / (power + floor))
    return np.concatenate(columns, axis=1)
