"""The share of one kind in a mixture of two, from how often each is called something."""

from __future__ import annotations

from math import hypot

from miaudit.errors import DataError
from miaudit.stats.auc import Interval
from miaudit.stats.rates import clopper_pearson
from miaudit.stats.root import root

Counts = tuple[int, int]
"""How many were called so, of how many."""


def mixture_share(mixed: Counts, first: Counts, second: Counts, *, confidence: float = 0.95) -> Interval:
    """Return the share s of the second kind in a mixture, whose rate is d = (1 - s) f + s t, with its interval.

    The interval is that of Fieller (1954): all s for which 0 lies between the ends of d - (1 - s) f - s t. These are had from
    the exact ends of the three rates by the method of variance estimates recovery (Zou and Donner 2008). So a rate of 0 or 1
    has a width, as few records tell little of it.

    Parameters
    ----------
    mixed, first, second
        Counts and totals of three independent samples: of the mixture, and of the first and of the second kind alone.
    confidence
        Level of the interval.

    Returns
    -------
    Interval
        All three within [-1, 1]; a share below 0 says that the mixture lies on the other side of the first kind.

    Raises
    ------
    DataError
        If the second kind is called so no more often than the first.
    """
    samples = mixed, first, second
    d, f, t = rates = [count / total for count, total in samples]
    ends = [clopper_pearson(count, total, confidence) for count, total in samples]
    if t <= f:
        raise DataError(f"the second kind must be called so more often than the first, got {t:g} and {f:g}")
    value = min(max((d - f) / (t - f), -1.0), 1.0)

    def end(share: float, sign: int) -> float:
        weights = [1.0, share - 1, -share]
        sides = [int((sign > 0) == (weight > 0)) for weight in weights]
        off = [w * (of[side] - rate) for w, of, side, rate in zip(weights, ends, sides, rates, strict=True)]
        return sum(w * rate for w, rate in zip(weights, rates, strict=True)) + sign * hypot(*off)

    low, high = -1.0, 1.0  # where the share lies beyond, only the end next to it is left
    if end(-1.0, -1) > 0:
        low = root(lambda share: end(share, -1), -1.0, value) if end(value, -1) < 0 else value
    if end(1.0, 1) < 0:
        high = root(lambda share: end(share, 1), value, 1.0) if end(value, 1) > 0 else value
    return Interval(value, low, high)
