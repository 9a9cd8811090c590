"""Worlds with known answers: evidence made without any model, where what an attack must find is known.

In every world each class has as many members as non-members, among the audited records and in every shadow, so the
class alone tells nothing. ``overlapping`` chooses between shadows that answered the audited records, each inside by
a coin flip (LiRA), and shadows with records of their own (Shokri et al. 2017). Every world has a population of as many
records as are audited, members of nothing, and features: three numbers a record that tell nothing but its class. It has
probes too, as if the label of a record held out against change the longer the surer the model is: of eight variants those
are answered rightly that ask for less than the probability of the true class, and the boundary is as far as that class is
ahead of the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit.evidence import Bools, Evidence, Floats, Ints, Population, Probes

Answer = Callable[[Ints, Bools, np.random.Generator], NDArray[np.float64]]  # labels, inside -> (n, classes)


class World(NamedTuple):
    """Evidence, and who truly is a member."""

    evidence: Evidence
    member: Bools  # (n,)


def constant(*, n: int = 400, classes: int = 5, shadows: int = 6, seed: int = 0, overlapping: bool = False) -> World:
    """Every model says the same about everybody: every attack has an area of exactly 1/2."""
    said = np.arange(1, classes + 1) / (classes * (classes + 1) / 2)

    def answer(labels: Ints, inside: Bools, generator: np.random.Generator) -> NDArray[np.float64]:
        return np.tile(said, (len(labels), 1))

    return _world(answer, n, classes, shadows, seed, overlapping)


def memoriser(*, n: int = 400, classes: int = 5, shadows: int = 6, seed: int = 0, overlapping: bool = False) -> World:
    """Models that look up their training set, as the nearest neighbour does: areas near 1.

    A member's class is certain; a non-member gets its neighbour's class, right half of the time, at lower confidence.
    """

    def answer(labels: Ints, inside: Bools, generator: np.random.Generator) -> NDArray[np.float64]:
        other = (labels + generator.integers(1, classes, len(labels))) % classes
        said = np.where(inside | (generator.random(len(labels)) < 0.5), labels, other)
        top = np.where(inside, 0.999, generator.uniform(0.5, 0.95, len(labels)))
        return _one_class(said, top, classes)

    return _world(answer, n, classes, shadows, seed, overlapping)


def exchangeable(
    seed: int = 0, *, n: int = 400, classes: int = 5, shadows: int = 6, overlapping: bool = False
) -> World:
    """Members and non-members get answers from one distribution: every attack is at chance, up to noise."""

    def answer(labels: Ints, inside: Bools, generator: np.random.Generator) -> NDArray[np.float64]:
        logits = generator.normal(0.0, 1.5, (len(labels), classes))
        logits[np.arange(len(labels)), labels] += 2.0
        exp = np.exp(logits)
        return np.asarray(exp / exp.sum(axis=1, keepdims=True))

    return _world(answer, n, classes, shadows, seed, overlapping)


def gaussian(
    d: float, *, n: int = 400, classes: int = 5, shadows: int = 6, seed: int = 0, overlapping: bool = False
) -> World:
    """Logit-scaled confidence is N(0, 1) for non-members and N(d, 1) for members: the best area is Phi(d / sqrt 2).

    The other classes share the rest equally, so nothing else tells; loss, confidence and phi all rank best.
    """

    def answer(labels: Ints, inside: Bools, generator: np.random.Generator) -> NDArray[np.float64]:
        signal = generator.normal(0.0, 1.0, len(labels)) + d * inside
        return _one_class(labels, 1.0 / (1.0 + np.exp(-signal)), classes)

    return _world(answer, n, classes, shadows, seed, overlapping)


def _one_class(said: Ints, top: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """(n, classes): ``top`` at the class said, the rest shared equally."""
    out = np.repeat((1.0 - top)[:, None] / (classes - 1), classes, axis=1)
    out[np.arange(len(said)), said] = top
    return out


def _world(answer: Answer, n: int, classes: int, shadows: int, seed: int, overlapping: bool) -> World:
    half = classes * max(1, round(n / (2 * classes)))  # records a side, so that classes come out even
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    order = generator.permutation(2 * half)
    labels = np.tile(np.arange(classes), 2 * half // classes)[order]
    member = np.repeat([True, False], half)[order]
    target = answer(labels, member, generator)
    if overlapping:
        asked, all_labels = None, labels
        inside = generator.random((shadows, 2 * half)) < 0.5
    else:
        asked = len(labels) + np.arange(shadows * 2 * half).reshape(shadows, -1)
        all_labels = np.tile(labels, shadows + 1)
        inside = np.tile(member, (shadows, 1))
    rows = np.stack([answer(labels, row, generator) for row in inside])
    nowhere = np.zeros(2 * half, bool)
    population = Population(
        answer(labels, nowhere, generator),
        labels,
        shadows=np.stack([answer(labels, nowhere, generator) for _ in range(shadows)]),
        features=_features(labels, generator),
    )
    features = _features(labels, generator)
    probes = _probes(target, rows, labels, all_labels if asked is None else all_labels[asked])
    evidence = Evidence(
        target, rows, inside, all_labels, asked=asked, population=population, features=features, probes=probes
    )
    return World(evidence, member)


def _features(labels: Ints, generator: np.random.Generator) -> NDArray[np.float64]:
    return np.asarray(generator.normal(labels[:, None] * [1.0, 0.0, 0.0], 1.0))


_VARIANTS = np.linspace(0.1, 0.98, 8)  # probability of the true class each variant asks for


def _probes(target: Floats, rows: Floats, labels: Ints, row_labels: Ints) -> Probes:
    row_labels = np.broadcast_to(row_labels, rows.shape[:2])
    return Probes(
        votes=_true(target, labels)[..., None] > _VARIANTS,
        distances=_ahead(target, labels),
        shadow_votes=_true(rows, row_labels)[..., None] > _VARIANTS,
        shadow_distances=_ahead(rows, row_labels),
        queries=len(labels) * len(_VARIANTS),
    )


def _true(answers: Floats, labels: Ints) -> Floats:
    return np.asarray(np.take_along_axis(answers, labels[..., None], axis=-1)[..., 0])


def _ahead(answers: Floats, labels: Ints) -> Floats:
    others = answers.copy()
    np.put_along_axis(others, labels[..., None], -np.inf, axis=-1)
    return np.asarray(np.maximum(_true(answers, labels) - others.max(axis=-1), 0.0))
