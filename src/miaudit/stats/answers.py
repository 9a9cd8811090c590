"""How sure a model is of members and of others, as section VI-D of Shokri et al. (2017) measures it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError


class Histograms(NamedTuple):
    """Shares of members and of non-members in bins of equal width from 0 to 1; None of a side without records."""

    members: list[float] | None
    nonmembers: list[float] | None


def uncertainty(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Return the (n,) normalised entropy of (n, c) answers: ``-sum(p log p) / log c``, from 0 to 1.

    Shokri et al. 2017, section VI-D. Answers that do not sum to one, as those of a few classes, are taken as they are.

    Raises
    ------
    DataError
        If answers are not (n, c) numbers from 0 to 1 of at least two classes.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or p.shape[1] < 2 or not ((p >= -1e-6) & (p <= 1 + 1e-6)).all():
        raise DataError(f"answers must be (n, c) probabilities of c >= 2 classes, got shape {p.shape}")
    p = np.clip(p, 0.0, 1.0)
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0)
    return np.asarray(np.clip(-terms.sum(axis=1) / np.log(p.shape[1]), 0.0, 1.0))


def histograms(values: ArrayLike, member: NDArray[np.bool_], *, bins: int = 10) -> Histograms:
    """Return how (n,) values from 0 to 1 are spread among members and among others.

    A value at an edge falls into the bin above it, 1 into the last.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or x.shape != member.shape or not ((x >= 0) & (x <= 1)).all():
        raise DataError(
            f"values must be (n,) numbers from 0 to 1 beside (n,) memberships, got {x.shape}, {member.shape}"
        )
    return Histograms(*(_shares(x[side], bins) for side in (member, ~member)))


def true_class(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return the (n,) probability that each answer puts on the true class."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    confidence: NDArray[Any] = np.clip(p[np.arange(len(p)), y], 0.0, 1.0)
    return confidence


def _shares(values: NDArray[np.float64], bins: int) -> list[float] | None:
    if not len(values):
        return None
    counts, _ = np.histogram(values, bins=bins, range=(0.0, 1.0))
    shares: list[float] = (counts / len(values)).tolist()
    return shares
