"""Figures over classes: percentiles and distribution functions of what an attack reaches in each, as the paper of 2017 plots.

An attack that calls no record of a class a member has no precision there. What such a class counts for is stated each time:
``"zero"``, as the paper's plots seem to have it, or ``"left out"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import DataError, PlanError

Undefined = Literal["zero", "left out"]


class Distribution(NamedTuple):
    """An empirical distribution function: ``share`` of the classes have ``value`` or less; ``undefined`` had no figure."""

    value: NDArray[np.float64]  # (k,) rising, each once
    share: NDArray[np.float64]  # (k,)
    undefined: int


def percentiles(
    figures: Sequence[float | None], shares: Sequence[float], *, undefined: Undefined
) -> list[float] | None:
    """Return for each share the smallest figure that at least this share of the classes does not exceed.

    So the median of an even number of classes is the lower of the two middle ones, as in the captions of Shokri et al. 2017.

    Parameters
    ----------
    figures
        One of each class; None where it is undefined.
    shares
        From 0 to 1; 0 gives the least figure.
    undefined
        What a class without a figure counts for.

    Returns
    -------
    list of float, or None
        None where no class has a figure.

    Raises
    ------
    PlanError, DataError
        If a share lies outside 0 to 1, the policy is not known, or a figure is not finite.
    """
    outside = [share for share in shares if not 0 <= share <= 1]
    if outside:
        raise PlanError(f"shares must lie from 0 to 1, got {outside}")
    values, _ = _values(figures, undefined)
    if not len(values):
        return None
    answers: list[float] = np.quantile(values, list(shares), method="inverted_cdf").tolist()
    return answers


def distribution(figures: Sequence[float | None], *, undefined: Undefined) -> Distribution:
    """Return the empirical distribution function of one figure of each class.

    Parameters
    ----------
    figures, undefined
        As of `percentiles`.
    """
    values, missing = _values(figures, undefined)
    value, counts = np.unique(values, return_counts=True)
    return Distribution(value, np.cumsum(counts) / max(len(values), 1), missing)


def _values(figures: Sequence[float | None], undefined: Undefined) -> tuple[NDArray[np.float64], int]:
    if undefined not in get_args(Undefined):
        raise PlanError(f"undefined must be one of {', '.join(get_args(Undefined))}; got {undefined!r}")
    values = [figure for figure in figures if figure is not None]
    missing = len(figures) - len(values)
    array = np.array(values + [0.0] * (missing if undefined == "zero" else 0), np.float64)
    if not np.isfinite(array).all():
        raise DataError("a figure of a class is not finite; give None where it is undefined")
    return array, missing
