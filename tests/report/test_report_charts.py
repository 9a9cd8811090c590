"""Charts put the numbers where they belong."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miaudit.report import charts
from miaudit.result import Interval, Roc


def box(svg):
    """Return left, right, bottom, top of the drawing area, read off its grid."""
    lines = re.findall(r'<line class="grid" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', svg)
    x = [float(v) for line in lines for v in (line[0], line[2])]
    y = [float(v) for line in lines for v in (line[1], line[3])]
    return min(x), max(x), max(y), min(y)


def points(svg, i=0):
    """Return the i-th curve in units of the drawing area, (n, 2)."""
    left, right, bottom, top = box(svg)
    curve = re.findall(r'<polyline class="curve c\d" points="([^"]*)"', svg)[i]
    pixels = np.array([[float(v) for v in pair.split(",")] for pair in curve.split()])
    return (pixels - (left, bottom)) / (right - left, top - bottom)


ROC = Roc(fpr=[0.0, 0.0, 0.2, 1.0], tpr=[0.0, 0.3, 0.8, 1.0])


def test_linear_axes_show_the_points_themselves():
    assert points(charts.roc_chart([("a", ROC)], log=False)) == pytest.approx(np.array([ROC.fpr, ROC.tpr]).T, abs=1e-3)


def test_logarithmic_axes_bend_what_is_straight_between_the_points():
    drawn = points(charts.roc_chart([("a", ROC)], log=True, floor=1e-3))
    fpr = 10 ** (3 * (drawn[:, 0] - 1))
    expected = 1 + np.log10(np.interp(fpr, ROC.fpr[1:], ROC.tpr[1:])) / 3
    assert drawn[:, 1] == pytest.approx(expected, abs=4e-3)
    assert drawn[0, 0] == pytest.approx(0, abs=1e-3)
    assert len(drawn) > 20


def test_chance_is_the_diagonal_on_both_axes():
    chance = Roc(fpr=[0.0, 1.0], tpr=[0.0, 1.0])
    for log in (False, True):
        drawn = points(charts.roc_chart([("a", chance)], log=log))
        assert drawn[:, 0] == pytest.approx(drawn[:, 1], abs=2e-3)
        assert drawn[-1] == pytest.approx([1, 1], abs=1e-3)


rates = st.lists(st.floats(0, 1), max_size=60).map(lambda inner: [0.0, *sorted(inner), 1.0])


@given(rates, rates, st.booleans())
def test_any_curve_stays_inside_and_never_falls(fpr, tpr, log):
    n = min(len(fpr), len(tpr)) - 1
    drawn = points(charts.roc_chart([("a", Roc(fpr=[*fpr[:n], 1.0], tpr=[*tpr[:n], 1.0]))], log=log))
    assert drawn.min() >= -1e-3
    assert drawn.max() <= 1 + 1e-3
    assert (np.diff(drawn, axis=0) >= -1e-3).all()


@given(st.lists(st.integers(0, 1000).map(lambda k: k / 1000), min_size=1, max_size=100))
def test_bars_count_the_figures(values):
    svg = charts.histogram(values, title="t", axis="a", key="k")
    left, right, bottom, top = box(svg)
    highest = max(int(v) for v in re.findall(r'text-anchor="end">(\d+)</text>', svg))
    counts = np.zeros(20, dtype=int)
    for x, height in re.findall(r'<rect class="bar" x="([\d.]+)" y="[\d.]+" width="[\d.]+" height="([\d.]+)"', svg):
        counts[math.floor((float(x) - left) / (right - left) * 20)] += round(float(height) / (bottom - top) * highest)
    exact = [min(round(v * 1000) // 50, 19) for v in values]  # in integers, where 0.15 * 20 is 3
    assert counts.tolist() == np.bincount(exact, minlength=20).tolist()


def test_a_strip_places_the_interval_and_an_undefined_one_is_empty():
    svg = charts.strip(Interval(value=0.75, low=0.5, high=1.0), name="a <b>")
    assert '<line class="range" x1="65.0" y1="11" x2="125.0"' in svg
    assert 'cx="95.0"' in svg
    assert "a &lt;b&gt;: AUC 0.750, from 0.500 to 1.000" in svg
    assert charts.strip(Interval(value=None, low=None, high=None, reason="x"), name="a") == ""
