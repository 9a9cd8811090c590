"""Child seeds that belong to what a thing is, not to when it runs."""

from __future__ import annotations

import zlib

import numpy as np


def _sequence(seed: int, *path: str | int) -> np.random.SeedSequence:
    words = [zlib.crc32(step.encode()) if isinstance(step, str) else step for step in path]
    return np.random.SeedSequence(seed, spawn_key=tuple(words))


def child_seed(seed: int, *path: str | int) -> int:
    """Return a 31-bit seed for the thing named by ``path``, such as ``("shadow", 7)``."""
    return int(_sequence(seed, *path).generate_state(1, np.uint32)[0] >> 1)


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """Return a PCG64 generator for the thing named by ``path``."""
    return np.random.Generator(np.random.PCG64(_sequence(seed, *path)))
