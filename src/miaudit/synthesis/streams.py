"""Random numbers that belong to a climb, a step and a place, so that many climbs can draw theirs at once.

A counter-based generator: the word at a place is a hash of (key, step, place), so no climb's numbers depend on which
others run beside it, on their order, or on how often it was stopped and taken up again. The hash is the output function
of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), applied once to key and step and once more to place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def mixed(word: Words) -> Words:
    """Return the words hashed: a bijection of 64 bits in which every input bit changes about half of the output's."""
    word = (word ^ (word >> _S30)) * _FIRST
    word = (word ^ (word >> _S27)) * _SECOND
    return word ^ (word >> _S31)


def keys(seed: int, classes: NDArray[np.integer[Any]], attempts: NDArray[np.integer[Any]]) -> Words:
    """Return the (n,) keys of climbs, each named by its class and the number of the attempt at it."""
    root = mixed(np.full(len(classes), seed, dtype=np.uint64) + _GOLDEN)
    by_class = mixed(root + (classes.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return mixed(by_class + (attempts.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def bases(key: Words, step: NDArray[np.integer[Any]]) -> Words:
    """Return the (n,) words that one step of each climb draws from."""
    return mixed(key + (step.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def uniforms(base: Words, place: NDArray[np.integer[Any]] | int) -> NDArray[np.float64]:
    """Return numbers uniform on [0, 1), multiples of 2^-53, at places of steps; the two arguments broadcast."""
    word = mixed(base + (np.asarray(place, dtype=np.uint64) + np.uint64(1)) * _GOLDEN)
    return (word >> _S11).astype(np.float64) * 2.0**-53
