"""Figures over classes, and how sure a model is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miaudit import stats
from miaudit.errors import DataError, PlanError


def test_the_median_of_ten_classes_is_the_lower_of_the_two_middle_ones():
    """Fig. 4's caption: CIFAR-10 at 2,500 has 0.78, the fifth of ten."""
    drawn = [0.784, 0.772, 0.911, 0.919, 0.874, 0.829, 0.779, 0.759, 0.780, 0.850]
    assert stats.percentiles(drawn, [0, 0.5, 1], undefined="zero") == [0.759, 0.784, 0.919]
    assert stats.percentiles([0.2, 0.4], [0.5], undefined="zero") == [0.2]


def test_classes_without_a_figure_count_as_is_said():
    figures = [None, 0.5, 1.0]
    assert stats.percentiles(figures, [0.0, 0.5], undefined="zero") == [0.0, 0.5]
    assert stats.percentiles(figures, [0.0, 0.5], undefined="left out") == [0.5, 0.5]
    assert stats.percentiles([None], [0.5], undefined="left out") is None
    assert stats.distribution(figures, undefined="zero").undefined == 1
    with pytest.raises(PlanError, match="undefined must be one of zero, left out"):
        stats.percentiles(figures, [0.5], undefined="one")
    with pytest.raises(PlanError, match="from 0 to 1"):
        stats.percentiles(figures, [1.5], undefined="zero")
    with pytest.raises(DataError, match="not finite"):
        stats.percentiles([float("nan")], [0.5], undefined="zero")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=30), st.floats(0, 1))
def test_percentiles_invert_the_distribution(figures, share):
    values = stats.percentiles(figures, [share], undefined="zero")
    curve = stats.distribution(figures, undefined="zero")
    assert curve.share[-1] == pytest.approx(1)
    at = np.flatnonzero(curve.value == values[0])[0]
    assert curve.share[at] >= share - 1e-9
    assert at == 0 or curve.share[at - 1] < share + 1e-9


def test_uncertainty_is_the_normalised_entropy():
    answers = np.array([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(stats.uncertainty(answers), [0, 1, 0.5])
    with pytest.raises(DataError, match=r"got shape \(3,\)"):
        stats.uncertainty([0.1, 0.2, 0.7])


def test_histograms_hold_all_records_of_each_side():
    member = np.array([True, True, False, False, False])
    both = stats.histograms([0.0, 1.0, 0.05, 0.1, 0.95], member)
    assert both.members == [0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5]
    np.testing.assert_allclose(both.nonmembers, [1 / 3, 1 / 3, 0, 0, 0, 0, 0, 0, 0, 1 / 3])
    assert stats.histograms([0.5], np.array([True])).nonmembers is None
    assert stats.true_class([[0.2, 0.8], [0.9, 0.1]], [1, 1]).tolist() == [0.8, 0.1]
