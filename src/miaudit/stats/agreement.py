"""Whether two scorings of the same records agree: in all ranks, and in who comes first."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError, PlanError


@dataclass(frozen=True)
class Coverage:
    """Records among the first ``size`` of every scoring, and of any; (n,) bool each."""

    size: int
    in_every: NDArray[np.bool_]
    in_any: NDArray[np.bool_]


def spearman(first: ArrayLike, second: ArrayLike) -> float | None:
    """Rank correlation of two scorings of the same records, ties at their mean rank (Spearman 1904).

    Parameters
    ----------
    first, second
        (n,) finite scores of the same n records, n >= 2.

    Returns
    -------
    float or None
        In [-1, 1]; None where a scoring gives all records one score and so ranks nobody.

    Raises
    ------
    DataError
        If lengths differ, there are fewer than two records, or a score is not finite.
    """
    return rank_correlations(np.stack(_pair(first, second)))[0]


def rank_correlations(scores: ArrayLike) -> list[float | None]:
    """Return Spearman's correlation of every two of (k, n) scorings, in the order of ``itertools.combinations``.

    Each scoring is ranked once; see :func:`spearman`.
    """
    ranks = [None if row.min() == row.max() else _ranks(row) for row in _scores(np.asarray(scores, np.float64))]
    centred = [None if row is None else row - row.mean() for row in ranks]
    return [
        None if x is None or y is None else float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))
        for x, y in combinations(centred, 2)
    ]


def places(scores: ArrayLike) -> NDArray[np.int64]:
    """Return the (n,) place of each record by falling score: 1 for the highest; equal scores share the best place.

    Raises
    ------
    DataError
        If there are no scores or one is not finite.
    """
    values = _scores(np.atleast_2d(np.asarray(scores, np.float64)))[0]
    return np.asarray(_ranks(-values, method="min"), np.int64)


def coverage(scores: ArrayLike, share: float) -> Coverage:
    """Find who is among the first by several scorings at once.

    Parameters
    ----------
    scores
        (k, n) scores of n records by k scorings, higher first. Where ties stand across the border, all of them are
        counted in: leave out scorings that take few values.
    share
        Of the records, in (0, 1); at least one record is taken.

    Returns
    -------
    Coverage
        The *stable* set (in every scoring) and the *covered* set (in any).

    Raises
    ------
    DataError
        If there are no scores or one is not finite.
    PlanError
        If the share is out of range.
    """
    if not 0.0 < share < 1.0:
        raise PlanError(f"share must lie between 0 and 1, both excluded, got {share}; write 1 % as 0.01")
    table = _scores(np.asarray(scores, np.float64))
    size = max(1, round(share * table.shape[1]))
    border = -np.partition(-table, size - 1, axis=1)[:, size - 1]  # (k,) the lowest score still among the first
    first = table >= border[:, None]
    return Coverage(size, np.all(first, axis=0), np.any(first, axis=0))


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise DataError(
            f"two scorings of the same records are needed, at least two; got shapes {a.shape} and {b.shape}"
        )
    return a, b


def _scores(table: NDArray[np.float64]) -> NDArray[np.float64]:
    if table.ndim != 2 or not table.size:
        raise DataError(f"scores must have shape (scorings, records), at least one of each; got {table.shape}")
    if not np.isfinite(table).all():
        raise DataError("scores hold NaN or infinite values; every score must be finite")
    return table


def _ranks(values: NDArray[np.float64], *, method: Literal["average", "min"] = "average") -> NDArray[Any]:
    from scipy.stats import rankdata  # not at the top: it takes half a second, and workers that train do without

    return np.asarray(rankdata(values, method=method))
