"""Images that generators read and change: checked, as numbers in [0, 1], and back in the form they had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError, counted, not_real

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEVELS = 255  # above 0, of an image of bytes
CIFAR = 3 * 32 * 32  # numbers of the images for which papers state an L2 budget


def checked(X: Any, y: ArrayLike, *, spatial: bool = False) -> tuple[Floats, Ints]:
    """Return records as float64 in [0, 1], and their classes.

    Parameters
    ----------
    X
        (n, ...) bytes, or numbers in [0, 1].
    y
        (n,) classes, whole numbers from 0.
    spatial
        Whether these must be images, (n, h, w) or (n, c, h, w); they come back with four axes.

    Raises
    ------
    DataError
        If they are not so.
    """
    values, labels = np.asarray(X), np.asarray(y)
    if values.ndim < 2 or not values.size:
        raise DataError(f"records must be an array (n, ...) that is not empty, got the shape {values.shape}")
    if labels.shape != (len(values),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise DataError(
            f"y must hold one class for each of {counted(len(values), 'record')}, a whole number from 0; got "
            f"{labels.dtype} {labels.shape}"
        )
    if values.dtype == np.uint8:
        x = values / LEVELS
    elif values.dtype.kind == "f":
        x = values.astype(np.float64)
        low, high = float(x.min()), float(x.max())
        if not (low >= 0 and high <= 1):  # also where one is not a number
            raise DataError(
                f"records of numbers must lie in [0, 1], got {low:.4g} to {high:.4g}: scale them, or give bytes"
            )
    else:
        raise DataError(f"records must be bytes (uint8) or numbers in [0, 1], got {values.dtype}")
    if spatial:
        x = with_channels(x)
    return x, labels.astype(np.int64)


def with_channels(x: NDArray[Any]) -> NDArray[Any]:
    """Return images with an axis of channels.

    Raises
    ------
    DataError
        If these are no images.
    """
    if x.ndim == 3:
        return x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise DataError(
            f"images must be (n, h, w), or (n, c, h, w) with one channel or three, got the shape {x.shape}: put channels first"
        )
    return x


def restored(x: Floats, X: Any, *, around: Floats | None = None, epsilon: float | None = None) -> NDArray[Any]:
    """Return numbers in the form that X has; within [0, 1], and within ``epsilon`` of ``around`` after rounding too.

    Bytes are the nearest ones, and where the nearest would leave the budget the next one towards the clean record.
    """
    like = np.asarray(X)
    x = np.clip(x, 0, 1).reshape(like.shape)
    low, high = (0.0, 1.0) if around is None or epsilon is None else _budget(around.reshape(like.shape), epsilon)
    if like.dtype != np.uint8:
        return np.clip(x, low, high).astype(like.dtype)
    bounds = np.ceil(LEVELS * np.asarray(low) - 1e-6), np.floor(LEVELS * np.asarray(high) + 1e-6)
    return np.clip(np.rint(LEVELS * x), *bounds).astype(np.uint8)


def _budget(around: Floats, epsilon: float) -> tuple[Any, Any]:
    return np.maximum(around - epsilon, 0), np.minimum(around + epsilon, 1)


def out_of_budget(epsilon: float) -> list[tuple[str, str]]:
    """Return path and sentence of a budget that is no part of the range of values."""
    problems = not_real(("epsilon", epsilon), above=0, most=1)
    return [(path, f"{text}; values lie in [0, 1], and 8 of 255 levels are 8 / 255") for path, text in problems]


def of_class(patterns: Floats, y: Ints) -> Floats:
    """Return the pattern of each record's class.

    Raises
    ------
    DataError
        Where a class has none.
    """
    if y.max() >= len(patterns):
        raise DataError(f"the pattern was made for {len(patterns)} classes, and a record has the class {y.max()}")
    return patterns[y]


def with_noise(X: Any, y: ArrayLike, shape: tuple[int, ...], noise: Callable[[Ints], Floats]) -> NDArray[Any]:
    """Return images of a shape with the noise (n, c, h, w) of their classes, in the form that X has."""
    x, labels = checked(X, y)
    same_shape(x, shape)
    return restored(with_channels(x) + noise(labels), X)


def scaled(noise: Floats, norm: float) -> Floats:
    """Return noise (n, c, h, w) of which that of each image has this L2 norm."""
    return np.asarray(noise * (norm / norms(noise)))


def norms(x: Floats) -> Floats:
    """Return (n, 1, 1, 1) the L2 norms of images."""
    return np.asarray(np.sqrt((x**2).sum(axis=(1, 2, 3), keepdims=True)))


def same_shape(x: Floats, shape: tuple[int, ...]) -> None:
    """Refuse records of another shape than a pattern was made for.

    Raises
    ------
    DataError
        Naming both.
    """
    if x.shape[1:] != shape:
        raise DataError(f"the pattern was made for records of the shape {shape}, and these have {x.shape[1:]}")
