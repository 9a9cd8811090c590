"""Protections by one pattern a class: random noise, linearly separable perturbations, one pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.data.protect.images import (
    CIFAR,
    Floats,
    checked,
    of_class,
    out_of_budget,
    restored,
    same_shape,
    scaled,
    with_channels,
    with_noise,
)
from miaudit.errors import DataError, not_real, not_whole, refuse
from miaudit.seeds import generator

_BLOCK = 1 << 20  # numbers that are computed at a time


@dataclass(frozen=True, eq=False)
class Addition:
    """One pattern a class that is added to its records; ``epsilon`` bounds each number's change, None: the pattern does."""

    patterns: Floats  # (classes, ...)
    epsilon: float | None = None

    def apply(self, X: Any, y: ArrayLike, *, seed: int = 0) -> NDArray[Any]:
        """Return protected records; nothing is drawn."""
        x, labels = checked(X, y)
        same_shape(x, self.patterns.shape[1:])
        return restored(x + of_class(self.patterns, labels), X, around=x, epsilon=self.epsilon)


@dataclass(frozen=True)
class ClassNoise:
    """One random pattern of +epsilon and -epsilon a class: the plain baseline of all class-wise protections.

    Parameters
    ----------
    epsilon
        Largest change of a number, of a range of 1.
    """

    epsilon: float = 8 / 255

    def __post_init__(self) -> None:
        refuse(out_of_budget(self.epsilon))

    def fit(self, X: Any, y: ArrayLike, *, seed: int) -> Addition:
        """Draw the patterns of all classes up to the highest in ``y``."""
        x, labels = checked(X, y)
        signs = [generator(seed, "class noise", k).choice((-1.0, 1.0), x.shape[1:]) for k in range(labels.max() + 1)]
        return Addition(self.epsilon * np.stack(signs), self.epsilon)


@dataclass(frozen=True)
class Separable:
    """Linearly separable perturbations (LSP; Yu et al., KDD 2022, arXiv 2111.00898).

    Each class has a corner of a hypercube of side 2 ``separation`` in as many dimensions as the image has patches, and
    each record a standard normal point around it. Every coordinate fills one patch of one channel, and the whole is
    scaled to a norm. As in the published code there is one cluster a class and no wrong label. Its clusters are also
    skewed by a random linear map each, ours are round.

    Parameters
    ----------
    patch
        Side of a patch; a side of the image that it does not divide ends with a smaller one.
    separation
        Half the side of the hypercube, beside a spread of 1.
    norm
        L2 norm of the noise of an image of 3 x 32 x 32 numbers, 6/255 of each on average; that of d numbers has
        sqrt(d / 3072) of it, the same change a number.
    """

    patch: int = 8
    separation: float = 10.0
    norm: float = math.sqrt(CIFAR) * 6 / 255

    def __post_init__(self) -> None:
        refuse(
            not_whole(("patch", self.patch)),
            not_real(("separation", self.separation), ("norm", self.norm), above=0),
        )

    def fit(self, X: Any, y: ArrayLike, *, seed: int) -> Clusters:
        """Draw the corner of each class up to the highest in ``y``."""
        x, labels = checked(X, y, spatial=True)
        shape = (x.shape[1], *(-(-side // self.patch) for side in x.shape[2:]))
        classes = int(labels.max()) + 1
        rng = generator(seed, "separable")
        d = math.prod(shape)
        if 2 ** min(d, 62) < classes:
            raise DataError(
                f"{d} patches have too few corners for {classes} classes: take a patch smaller than {self.patch}"
            )
        corners: list[tuple[float, ...]] = []
        while len(corners) < classes:
            corner = tuple(rng.choice((-1.0, 1.0), d))
            if corner not in corners:
                corners.append(corner)
        centres = self.separation * np.array(corners).reshape(classes, *shape)
        return Clusters(centres, np.asarray(X).shape[1:], self.patch, self.norm * math.sqrt(x[0].size / CIFAR))


@dataclass(frozen=True, eq=False)
class Clusters:
    """A normal cluster of patch values a class."""

    centres: Floats  # (classes, c, patches down, patches across)
    shape: tuple[int, ...]
    patch: int
    norm: float

    def noise(self, y: ArrayLike, *, seed: int) -> Floats:
        """Return (n, c, h, w) the noise of records of these classes."""
        centres = of_class(self.centres, np.asarray(y))
        values = centres + generator(seed, "clusters").normal(size=centres.shape)
        height, width = self.shape[-2:]
        noise = np.kron(values, np.ones((self.patch, self.patch)))[..., :height, :width].astype(np.float64)
        return scaled(noise, self.norm)

    def apply(self, X: Any, y: ArrayLike, *, seed: int) -> NDArray[Any]:
        """Return protected records; each one's place in its cluster is drawn."""
        return with_noise(X, y, self.shape, partial(self.noise, seed=seed))


@dataclass(frozen=True)
class OnePixel:
    """One-pixel shortcuts (OPS; Wu et al., ICLR 2023, arXiv 2205.12141).

    In all records of a class the same pixel has the same colour, of which each channel is 0 or 1: the pixel and colour that
    maximise mean / (standard deviation) over the class of ``abs(colour - pixel)``, averaged over channels. A pixel is used
    for one class only, classes in the order of their numbers.
    """

    def fit(self, X: Any, y: ArrayLike, *, seed: int = 0) -> Pixels:
        """Choose the pixels by the records at hand; nothing is drawn."""
        x, labels = checked(X, y, spatial=True)
        colours = np.array(list(product((0.0, 1.0), repeat=x.shape[1])))  # (2 ** c, c)
        free = np.ones(x.shape[2] * x.shape[3], bool)
        classes = int(labels.max()) + 1
        if classes > len(free):
            raise DataError(f"images of {len(free)} pixels have none left for each of {classes} classes")
        places, hues = [], []
        for k in range(classes):
            of = x[labels == k].reshape(-1, x.shape[1], len(free))
            if not len(of):
                raise DataError(f"no record has the class {k}, of {classes}, so that no pixel can be chosen for it")
            ratio = _contrast(of, colours)
            colour, place = np.unravel_index(int(np.where(free, ratio, -np.inf).argmax()), ratio.shape)
            free[place] = False
            places.append(int(place))
            hues.append(colours[colour])
        return Pixels(np.array(places), np.array(hues), np.asarray(X).shape[1:])


def _contrast(records: Floats, colours: Floats) -> Floats:
    """Return (colours, pixels) how far records (n, c, pixels) are from colours, over how much that varies among them.

    As many pixels are taken at a time as keep what is computed for all records and colours within `_BLOCK` numbers.
    """
    pixels = records.shape[2]
    width = max(1, _BLOCK // (records[..., 0].size * len(colours)))
    parts = []
    for start in range(0, pixels, width):
        some = records[:, None, :, start : start + width]
        distance = np.abs(colours[None, :, :, None] - some).mean(axis=2)  # (n, colours, width)
        parts.append(distance.mean(axis=0) / (distance.std(axis=0) + 1e-6))
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixel and the colour of each class."""

    places: NDArray[np.int64]  # (classes,) in the order of rows
    colours: Floats  # (classes, c)
    shape: tuple[int, ...]

    def apply(self, X: Any, y: ArrayLike, *, seed: int = 0) -> NDArray[Any]:
        """Return protected records; nothing is drawn."""
        x, labels = checked(X, y)
        same_shape(x, self.shape)
        images = with_channels(x.copy())
        flat = images.reshape(len(images), images.shape[1], -1)
        colours = of_class(self.colours, labels)
        flat[np.arange(len(flat)), :, self.places[labels]] = colours
        return restored(flat, X)
