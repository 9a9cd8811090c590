"""Charts put the numbers where they belong."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miaudit.report import charts, marks
from miaudit.report.page import cells
from miaudit.result import Interval, Roc, RocBand


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


def test_a_dot_places_its_interval_and_an_undefined_one_is_only_its_lines():
    scale = marks.Scale(0.0, 1.0)
    svg = marks.dot(0.75, 0.5, 1.0, scale=scale, label="a <b>", references=[(0.5, "half")])
    assert '<line class="range" x1="50.00%" x2="97.00%"' in svg
    assert 'cx="73.50%"' in svg
    assert '<line class="half" x1="50.00%" x2="50.00%"' in svg
    assert "a &lt;b&gt;" in svg
    assert "circle" not in marks.dot(None, None, None, scale=scale, label="a")
    assert cells.strip(Interval(value=None, low=None, high=None, reason="x"), name="a") == ""


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_row_keeps_the_order_of_figures_and_stays_inside(one, other):
    scale = marks.Scale.of_areas([one])
    low, high = scale.at(min(one, other)), scale.at(max(one, other))
    assert 3 <= low <= high <= 97
    assert scale.ticks[0] <= max(0.4, one)
    assert scale.ticks[-1] == 1


def test_every_person_is_one_cell():
    svg = marks.people(["accused"] * 30 + ["perhaps"] * 5 + ["left"] * 65, label="30 of 100")
    cells_of = {kind: path.count("M") for kind, path in re.findall(r'<path class="(\w+)" d="([^"]*)"', svg)}
    assert cells_of == {"accused": 30, "perhaps": 5, "left": 65}


def test_the_band_of_the_first_curve_is_drawn_between_its_ends():
    band = RocBand(fpr=[0.001, 0.01, 1.0], low=[0.0, 0.1, 1.0], high=[0.5, 0.6, 1.0])
    svg = charts.roc_chart([("a", Roc(fpr=ROC.fpr, tpr=ROC.tpr, band=band)), ("b", ROC)], log=True)
    left, right, bottom, top = box(svg)
    (shape,) = re.findall(r'<polygon class="band c0" points="([^"]*)"', svg)
    drawn = np.array([[float(v) for v in pair.split(",")] for pair in shape.split()])
    across, up = ((drawn - (left, bottom)) / (right - left, top - bottom)).T
    assert across == pytest.approx([0, 1 / 3, 1, 1, 1 / 3, 0], abs=1e-3)
    assert up == pytest.approx([1 + math.log10(h) / 3 for h in (0.5, 0.6, 1, 1, 0.1, 0.001)], abs=1e-3)
