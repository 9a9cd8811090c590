"""What undoes protections: less colour, less detail, or no part along the directions that tell classes apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.data.protect.images import LEVELS, Floats, checked, restored, same_shape
from miaudit.data.protect.surrogate import softmax
from miaudit.errors import not_real, not_whole, refuse
from miaudit.seeds import generator

_LUMA = np.array([0.299, 0.587, 0.114])
_BLOCK = 8
# the table of brightness of the JPEG standard, annex K of ITU-T T.81
_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


@dataclass(frozen=True)
class _Fixed:
    """A change of records that learns nothing from them."""

    def fit(self, X: Any, y: ArrayLike, *, seed: int = 0) -> Self:
        """Return itself: there is nothing to learn."""
        return self


@dataclass(frozen=True)
class Grey(_Fixed):
    """Brightness in the place of colour, in all channels (Liu et al., "Image shortcut squeezing", ICML 2023)."""

    def apply(self, X: Any, y: ArrayLike, *, seed: int = 0) -> NDArray[Any]:
        """Return grey records."""
        x = checked(X, y, spatial=True)[0]
        weights = _LUMA if x.shape[1] == 3 else np.ones(1)
        return restored(np.repeat(np.tensordot(x, weights, (1, 0))[:, None], x.shape[1], axis=1), X)


@dataclass(frozen=True)
class Blur(_Fixed):
    """Convolution with a normal bell of the standard deviation ``pixels``."""

    pixels: float = 1.0

    def __post_init__(self) -> None:
        refuse(not_real(("pixels", self.pixels), above=0))

    def apply(self, X: Any, y: ArrayLike, *, seed: int = 0) -> NDArray[Any]:
        """Return blurred records."""
        from scipy.ndimage import gaussian_filter

        x = checked(X, y, spatial=True)[0]
        return restored(gaussian_filter(x, (0, 0, self.pixels, self.pixels), mode="nearest"), X)


@dataclass(frozen=True)
class Compression(_Fixed):
    """What JPEG takes away: cosine transforms of 8 x 8 squares, rounded to multiples of a table (ITU-T T.81).

    The standard's table of brightness is used for every channel, with the usual scale by quality (1 to 100), and colours
    are neither transformed nor made coarser: only the loss of detail is that of JPEG, not the file.
    """

    quality: int = 10

    def __post_init__(self) -> None:
        refuse(not_whole(("quality", self.quality), most=100))

    def apply(self, X: Any, y: ArrayLike, *, seed: int = 0) -> NDArray[Any]:
        """Return compressed records."""
        from scipy.fft import dctn, idctn

        x = checked(X, y, spatial=True)[0]
        height, width = x.shape[2:]
        wide = np.pad(x, [(0, 0), (0, 0), (0, -height % _BLOCK), (0, -width % _BLOCK)], mode="edge")
        n, c, down, across = wide.shape
        blocks = wide.reshape(n, c, down // _BLOCK, _BLOCK, across // _BLOCK, _BLOCK).swapaxes(3, 4)
        scale = 5000 / self.quality if self.quality < 50 else 200 - 2 * self.quality
        table = np.clip((_TABLE * scale + 50) // 100, 1, LEVELS)
        numbers = np.rint(dctn(LEVELS * blocks - 128, axes=(4, 5), norm="ortho") / table)
        back = (idctn(numbers * table, axes=(4, 5), norm="ortho") + 128) / LEVELS
        return restored(back.swapaxes(3, 4).reshape(wide.shape)[..., :height, :width], X)


@dataclass(frozen=True)
class Projection:
    """Orthogonal projection (Sandoval-Segura et al., "What can we learn from unlearnable datasets?", 2023, arXiv 2305.19254).

    A linear softmax learns the classes from the records, by descent; the directions of its weights, made orthogonal, are taken
    out of all records. Ours takes them out of whatever is asked of the model later, too, as part of the model.

    A softmax does not change where all its answers move alike, so that the weights of C classes, which start at 0, span
    C - 1 directions at most. Ours are left singular vectors, without those whose singular value is rounding: at most
    max(d, C) times the precision of the largest. The paper has one direction a class, by a QR decomposition.

    Parameters
    ----------
    epochs, rate, batch
        Of the descent.
    """

    epochs: int = 20
    rate: float = 0.1
    batch: int = 128

    def __post_init__(self) -> None:
        refuse(not_whole(("epochs", self.epochs), ("batch", self.batch)), not_real(("rate", self.rate), above=0))

    def fit(self, X: Any, y: ArrayLike, *, seed: int) -> Directions:
        """Learn the directions from records, most of which carry the pattern."""
        x, labels = checked(X, y)
        flat, classes = x.reshape(len(x), -1), int(labels.max()) + 1
        rng, weights = generator(seed, "projection"), np.zeros((flat.shape[1], classes))
        bias = np.zeros(classes)
        for _ in range(self.epochs):
            for index in np.array_split(rng.permutation(len(flat)), -(-len(flat) // self.batch)):
                slope = softmax(flat[index] @ weights + bias) - np.eye(classes)[labels[index]]
                weights -= self.rate * flat[index].T @ slope / len(index)
                bias -= self.rate * slope.mean(axis=0)
        vectors, values, _ = np.linalg.svd(weights, full_matrices=False)
        rounding = max(weights.shape) * np.finfo(np.float64).eps * values[0]
        return Directions(vectors[:, values > rounding], x.shape[1:])


@dataclass(frozen=True, eq=False)
class Directions:
    """Orthonormal directions that are taken out of records."""

    basis: Floats  # (d, k)
    shape: tuple[int, ...]

    def apply(self, X: Any, y: ArrayLike, *, seed: int = 0) -> NDArray[Any]:
        """Return records without their parts along the directions, as float32: these may leave the range of values."""
        x = checked(X, y)[0]
        same_shape(x, self.shape)
        flat = x.reshape(len(x), -1)
        return np.asarray((flat - (flat @ self.basis) @ self.basis.T).reshape(np.shape(X)), np.float32)
