"""Where a function of one number is zero."""

from __future__ import annotations

from collections.abc import Callable


def root(function: Callable[[float], float], low: float, high: float, *, xtol: float = 2e-12) -> float:
    """Return where a continuous function, of different signs at both ends, is zero between them: Brent's method.

    Parameters
    ----------
    xtol
        How far the answer may be from the zero.
    """
    from scipy.optimize import brentq  # not at the top: it takes as long as all of these statistics, and few need it

    return float(brentq(function, low, high, xtol=xtol))
