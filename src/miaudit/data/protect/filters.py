"""Protections by one filter a class: convolution with it (CUDA), or noise that it generates (AR)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.data.protect.images import (
    CIFAR,
    Floats,
    Ints,
    checked,
    norms,
    of_class,
    restored,
    same_shape,
    scaled,
    with_channels,
    with_noise,
)
from miaudit.errors import DataError, not_real, refuse
from miaudit.seeds import generator

_SIDE = 3
_CROP = 4  # rows and columns of a generated image that still show how it began
_TRIALS = 3
_STEADY = 50.0  # most that a trial of noise may grow to, as a norm
_APART = {3: 10.0, 1: 2.0}  # least that another class's noise leaves behind a filter, by channels
_BATCH, _BATCHES = 300, 40


@dataclass(frozen=True)
class Convolution:
    """Convolution with one blurring filter a class (CUDA; Sadasivan et al., CVPR 2023, arXiv 2303.04278).

    A filter is 3 x 3 with entries uniform on [0, ``blur``] but for one, drawn at random, which is 1, and the same for all
    channels. Each convolved image is divided by its maximum. No norm bounds the change.

    Parameters
    ----------
    blur
        Largest of the other entries, in (0, 1].
    """

    blur: float = 0.3

    def __post_init__(self) -> None:
        refuse(not_real(("blur", self.blur), above=0, most=1))

    def fit(self, X: Any, y: ArrayLike, *, seed: int) -> Filters:
        """Draw the filter of each class up to the highest in ``y``."""
        labels = checked(X, y, spatial=True)[1]
        filters = []
        for k in range(int(labels.max()) + 1):
            rng = generator(seed, "convolution", k)
            filter_ = rng.uniform(0, self.blur, _SIDE * _SIDE)
            filter_[rng.integers(filter_.size)] = 1
            filters.append(filter_.reshape(_SIDE, _SIDE))
        return Filters(np.stack(filters), np.asarray(X).shape[1:])


@dataclass(frozen=True, eq=False)
class Filters:
    """The filter that the records of each class are convolved with."""

    filters: Floats  # (classes, 3, 3)
    shape: tuple[int, ...]

    def apply(self, X: Any, y: ArrayLike, *, seed: int = 0) -> NDArray[Any]:
        """Return protected records; nothing is drawn."""
        x, labels = checked(X, y)
        same_shape(x, self.shape)
        filters, images = of_class(self.filters, labels), with_channels(x)
        convolved = correlate(images, filters)
        highest = convolved.max(axis=(1, 2, 3), keepdims=True)
        return restored(convolved / np.where(highest > 0, highest, 1), X)


def correlate(images: Floats, filters: Floats) -> Floats:
    """Return (n, c, h, w) the sums of neighbours weighted with each image's filter (n, 3, 3), with zeros around it."""
    height, width = images.shape[-2:]
    wide = np.pad(images, [(0, 0), (0, 0), (1, 1), (1, 1)])
    total = np.zeros_like(images)
    for i, j in np.ndindex(_SIDE, _SIDE):
        total += filters[:, None, i, j, None, None] * wide[..., i : i + height, j : j + width]
    return total


@dataclass(frozen=True)
class Autoregressive:
    """Autoregressive perturbations (AR; Sandoval-Segura et al., NeurIPS 2022, arXiv 2206.03693).

    Each class has, for every channel, eight weights that sum to 1: in the order of rows, a number of the noise is the sum of
    the eight others of the 3 x 3 square of which it is the last, weighted so. What begins as normal noise is filled in this
    way, the first four rows and columns are cut off, and the rest is scaled to a norm. The noise of each record is its own;
    it is the weights that a class shares, so that no single direction tells it.

    Weights are drawn until three trials of noise of 32 x 32 have norms of at most 50, and leave at least 10 behind the
    filter of every other class, which leaves nothing of its own. Images of one channel have less room; there it is 2,
    our choice.

    Parameters
    ----------
    norm
        L2 norm of the noise of an image of 3 x 32 x 32 numbers; that of d numbers has sqrt(d / 3072) of it.
    """

    norm: float = 1.0

    def __post_init__(self) -> None:
        refuse(not_real(("norm", self.norm), above=0))

    def fit(self, X: Any, y: ArrayLike, *, seed: int) -> Processes:
        """Draw the weights of each class up to the highest in ``y``."""
        x, labels = checked(X, y, spatial=True)
        rng, channels, classes = generator(seed, "autoregressive"), x.shape[1], int(labels.max()) + 1
        weights: list[Floats] = []
        trials: list[Floats] = []
        for _ in range(_BATCHES):
            for draw, noise in _steady(channels, rng):
                pairs = chain(((noise, of) for of in weights), ((each, draw) for each in trials))
                if len(weights) < classes and all(residual(*pair).min() >= _APART[channels] for pair in pairs):
                    weights.append(draw)
                    trials.append(noise)
            if len(weights) == classes:
                break
        else:
            raise DataError(
                f"Autoregressive: no weights for class {len(weights)} of {classes} that are far enough from the others': give "
                "another seed, or fewer classes"
            )
        return Processes(np.stack(weights), np.asarray(X).shape[1:], self.norm * math.sqrt(x[0].size / CIFAR))


def _steady(channels: int, rng: np.random.Generator) -> Iterator[tuple[Floats, Floats]]:
    """Yield weights (c, 9), and trials (3, c, 32, 32) of their noise, whose norms stay within bounds.

    Channels are drawn and tried by themselves, and combined then: most draws are too large in one channel alone.
    """
    draw = rng.normal(size=(_BATCH * channels, 1, 9))
    draw[..., -1] = 0
    draw /= draw.sum(axis=2, keepdims=True)
    noise = generated(np.repeat(draw, _TRIALS, axis=0), (1, 32, 32), rng).reshape(-1, _TRIALS, 32, 32)
    steady = np.flatnonzero(np.abs(noise).max(axis=(1, 2, 3)) <= _STEADY)  # not where it is no number
    for index in steady[: len(steady) // channels * channels].reshape(-1, channels):
        weights, trials = draw[index, 0], noise[index].swapaxes(0, 1)
        if norms(trials).max() <= _STEADY:
            yield weights, trials


@dataclass(frozen=True, eq=False)
class Processes:
    """The weights of each class."""

    weights: Floats  # (classes, c, 9)
    shape: tuple[int, ...]
    norm: float

    def noise(self, y: Ints, *, seed: int) -> Floats:
        """Return (n, c, h, w) the noise of records of these classes."""
        weights = of_class(self.weights, y)
        shape = (weights.shape[1], *self.shape[-2:])
        noise = generated(weights, shape, generator(seed, "processes"))
        return scaled(noise, self.norm)

    def apply(self, X: Any, y: ArrayLike, *, seed: int) -> NDArray[Any]:
        """Return protected records; how each one's noise begins is drawn."""
        return with_noise(X, y, self.shape, partial(self.noise, seed=seed))


def generated(weights: Floats, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return (n, c, h, w) noise that weights (n, c, 9) generate of a normal start; without its first rows and columns."""
    height, width = shape[-2] + _CROP, shape[-1] + _CROP
    noise = rng.normal(size=(len(weights), shape[0], height, width))
    squares = weights.reshape(*weights.shape[:2], _SIDE, _SIDE)
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(_SIDE - 1, height):
            for j in range(_SIDE - 1, width):
                square = noise[..., i - 2 : i + 1, j - 2 : j + 1]
                noise[..., i, j] = (squares * square).sum(axis=(2, 3))  # its own weight is 0
    return np.asarray(noise[..., _CROP:, _CROP:])


def residual(noise: Floats, weights: Floats) -> Floats:
    """Return (n,) the norm of what noise is more than weights (c, 9) would generate; 0 for their own."""
    height, width = noise.shape[-2] - 2, noise.shape[-1] - 2
    rest = noise[..., 2:, 2:].copy()
    for place, weight in enumerate(weights.T[:-1]):  # (c,)
        i, j = divmod(place, _SIDE)
        rest -= weight[:, None, None] * noise[..., i : i + height, j : j + width]
    return norms(rest).ravel()
