"""Protected data: records changed so that models learn little from them, and what undoes it.

Every generator is a frozen value with ``fit(X, y, seed=...)``, which makes the pattern of each class, or the surrogate, and
returns a value with ``apply(X, y, seed=...)``: members, non-members and shadow data can all carry the same pattern. `protect`
does both. Records are bytes, or numbers in [0, 1]; images (n, h, w), or (n, c, h, w).
"""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import ArrayLike, NDArray

from miaudit.data.protect.classwise import ClassNoise, OnePixel, Separable
from miaudit.data.protect.countermeasures import Blur, Compression, Grey, Projection
from miaudit.data.protect.filters import Autoregressive, Convolution
from miaudit.data.protect.kernel import TangentKernel
from miaudit.data.protect.minimising import ErrorMinimising
from miaudit.data.protect.tangent import Tangent
from miaudit.seeds import child_seed

__all__ = [
    "Autoregressive",
    "Blur",
    "Change",
    "ClassNoise",
    "Compression",
    "Convolution",
    "ErrorMinimising",
    "Generator",
    "Grey",
    "OnePixel",
    "Projection",
    "Separable",
    "Tangent",
    "TangentKernel",
    "protect",
]


class Change(Protocol):
    """Changes records."""

    def apply(self, X: Any, y: ArrayLike, *, seed: int) -> NDArray[Any]:
        """Return changed records, of the same form."""
        ...


class Generator(Protocol):
    """Learns or draws how records are changed."""

    def fit(self, X: Any, y: ArrayLike, *, seed: int) -> Change:
        """Return what changes records of these classes."""
        ...


def protect(generator: Generator, X: Any, y: ArrayLike, *, seed: int) -> NDArray[Any]:
    """Return records with the protection that a generator makes of them.

    Parameters
    ----------
    generator
        Such as `Separable`.
    X, y
        (n, ...) records, bytes or numbers in [0, 1], and (n,) their classes, whole numbers from 0.
    seed
        Root of every draw: equal seeds give equal records.

    Raises
    ------
    DataError
        If records or classes are not so.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.full((4, 8, 8), 128, np.uint8)
    >>> np.abs(protect(ClassNoise(), X, [0, 0, 1, 1], seed=1).astype(int) - X).max()
    8
    """
    return generator.fit(X, y, seed=child_seed(seed, "pattern")).apply(X, y, seed=child_seed(seed, "records"))
