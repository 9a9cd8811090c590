"""No figure reads as certain by rounding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miaudit.result.estimate import estimate, high_end, low_end, rounded


@given(st.floats(0, 1), st.integers(1, 5))
def test_what_is_neither_one_nor_nought_reads_as_neither(value: float, digits: int) -> None:
    assert (float(rounded(value, digits)) == 1) == (value == 1)
    assert (float(rounded(value, digits)) == 0) == (value == 0)
    assert (float(low_end(value, digits)) == 1) == (value == 1)
    assert (float(high_end(value, digits)) == 0) == (value == 0)
    assert abs(float(rounded(value, digits)) - value) <= 0.5000001 * 10**-digits
    assert abs(float(low_end(value, digits)) - value) <= 1.0000001 * 10**-digits


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        ((None,), "-"),
        ((0.5,), "0.500"),
        ((0.9997,), "0.9997"),
        ((1.0, 0.93), "1.000 (at least 0.930)"),
        ((1.0, 0.9999), "1.000 (at least 0.999)"),
        ((1.0, 0.93, 1.0), "1.000 (0.930-1.000)"),
        ((0.0, 0.0, 0.00001), "0.000 (0.000-0.001)"),
        ((-0.0001, -0.0004, 0.2), "0.000 (0.000-0.200)"),
        ((-0.0001,), "0.000"),
    ],
)
def test_a_figure_stands_with_its_bound(figure, text) -> None:
    assert estimate(*figure) == text
