"""A world of nothing to tell in which the target is replaced, or drifts, while it is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.seeds import child_seed
from miaudit.targets import Target
from miaudit.testing.worlds import World, exchangeable


def changing(
    seed: int = 0,
    *,
    n: int = 400,
    classes: int = 5,
    shadows: int = 6,
    overlapping: bool = False,
    drift: bool = False,
    shuffled: bool = True,
) -> World:
    """Members and non-members of `exchangeable`, and a target that is less sure of itself the later it is asked.

    It is asked about members, non-members and the population, as an audit asks, through `miaudit.targets.Target`. Its
    logits are a third as large from some record on, or, with ``drift``, fall to that from the first to the last. Asked in a
    random order, every attack is at chance; in the given order (``shuffled=False``) most find the sides.
    """
    world = exchangeable(seed, n=n, classes=classes, shadows=shadows, overlapping=overlapping)
    evidence, member = world
    population = evidence.population
    assert population is not None
    sides = np.concatenate([np.flatnonzero(member), np.flatnonzero(~member)])
    answers = np.concatenate([evidence.target[sides], population.target])
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    at, count = generator.uniform(0.2, 0.5) * len(answers), 0

    def ask(records: NDArray[Any]) -> NDArray[np.float64]:
        nonlocal count
        place = count + np.arange(len(records))
        count += len(records)
        sure = 3 - 2 * place / len(answers) if drift else np.where(place < at, 3.0, 1.0)
        powers = answers[records[:, 0]] ** sure[:, None]
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    target = Target(ask, classes=classes, kind="probabilities")
    target.order = child_seed(seed, "questions") if shuffled else None
    values = target.answer(np.arange(len(answers))[:, None]).values
    of_audited = np.empty_like(values[: len(sides)])
    of_audited[sides] = values[: len(sides)]
    return World(
        evidence.replace(target=of_audited, population=replace(population, target=values[len(sides) :])), member
    )
