"""Estimates as text: a figure with its interval, none that looks certain by rounding."""

from __future__ import annotations

import math


def rounded(value: float, digits: int = 3) -> str:
    """Return a share with so many digits, or with as many more as keep one below 1 from reading 1, one above 0 from 0."""
    for places in range(digits, 16):
        text = f"{value:z.{places}f}"
        if (float(text) < 1 or value >= 1) and (float(text) > 0 or value <= 0):
            return text
    return repr(value)


def low_end(value: float, digits: int = 3) -> str:
    """Return a lower bound, rounded down where rounding would make it 1."""
    step = 10**digits
    return f"{math.floor(value * step) / step if round(value, digits) >= 1 > value else value:z.{digits}f}"


def high_end(value: float, digits: int = 3) -> str:
    """Return an upper bound, rounded up where rounding would make it 0."""
    step = 10**digits
    return f"{math.ceil(value * step) / step if round(value, digits) <= 0 < value else value:z.{digits}f}"


def estimate(value: float | None, low: float | None = None, high: float | None = None, *, digits: int = 3) -> str:
    """Return a figure with its interval, or its low end alone; ``-`` where it is undefined."""
    if value is None:
        return "-"
    if low is None:
        return rounded(value, digits)
    if high is None:
        return f"{value:z.{digits}f} (at least {low_end(low, digits)})"
    return f"{value:z.{digits}f} ({low_end(low, digits)}-{high_end(high, digits)})"
