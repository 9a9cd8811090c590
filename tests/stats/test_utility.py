"""Accuracy on the same records before and after a change, and calibration error: values and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from miaudit import stats
from miaudit.errors import DataError


def test_an_accuracy_difference_counts_what_changed():
    before, after = np.array([True] * 6 + [False] * 4), np.array([True] * 5 + [False] * 3 + [True] * 2)
    change = stats.accuracy_difference(before, after)
    assert change.value == pytest.approx(0.1)
    assert change.low < change.value < change.high


def test_its_interval_covers():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(2000):
        draws = rng.random(150)
        before, after = draws < 0.7, (draws < 0.62) | (draws > 0.95)  # 8 % become wrong, 5 % right
        change = stats.accuracy_difference(before, after)
        hits += change.low <= -0.03 <= change.high
    assert 0.94 <= hits / 2000 <= 0.985


def test_no_change_is_no_change_and_not_certain():
    same = np.array([True, False] * 20)
    change = stats.accuracy_difference(same, same)
    assert change.value == 0
    assert change.low < 0 < change.high


def naive_error(probabilities, labels, bins=15):
    total = 0.0
    for b in range(bins):
        sure = probabilities.max(axis=1)
        of = (sure >= b / bins) & ((sure < (b + 1) / bins) | (b == bins - 1))
        if of.any():
            right = (probabilities.argmax(axis=1) == labels)[of].mean()
            total += of.mean() * abs(right - sure[of].mean())
    return total


def world(rng, n, power):
    """Answers that are honest to the power 1, and too sure of themselves above it."""
    honest = rng.dirichlet([0.5] * 4, n)
    labels = (rng.random((n, 1)) < honest.cumsum(axis=1)).argmax(axis=1)
    shown = honest**power
    return shown / shown.sum(axis=1, keepdims=True), labels


def test_a_calibration_error_is_what_its_definition_says():
    shown, labels = world(np.random.default_rng(0), 500, 2.0)
    assert stats.calibration_error(shown, labels).value == pytest.approx(naive_error(shown, labels))


@pytest.mark.parametrize("power", [2.0, 4.0])
def test_the_interval_of_a_calibration_error_covers(power):
    rng = np.random.default_rng(5)
    truth = naive_error(*world(rng, 200_000, power))
    hits = 0
    for i in range(200):
        error = stats.calibration_error(*world(rng, 600, power), seed=i)
        hits += error.low <= truth <= error.high
    assert hits / 200 >= 0.94


def test_honest_answers_are_not_shown_to_be_wrong():
    rng = np.random.default_rng(6)
    lows = [stats.calibration_error(*world(rng, 600, 1.0), seed=i).low for i in range(200)]
    assert np.mean(np.array(lows) > 0) <= 0.08


def test_shapes_are_checked():
    with pytest.raises(DataError):
        stats.accuracy_difference([1, 0], [True, False])
    with pytest.raises(DataError):
        stats.calibration_error(np.ones((3, 2)), [0, 1])


@pytest.mark.parametrize(("n", "sure", "right"), [(100, 0.9999, 0.99), (20, 0.97, 0.9), (400, 0.9, 0.9)])
def test_the_interval_of_a_calibration_error_covers_where_hardly_an_answer_is_wrong(n, sure, right):
    rng, trials, answers = np.random.default_rng(n), 300, np.tile([sure, 1 - sure], (n, 1))
    missed = 0
    for _ in range(trials):
        _, low, high = stats.calibration_error(answers, (rng.random(n) > right).astype(int))
        missed += not low - 1e-12 <= abs(sure - right) <= high
    assert missed <= 0.05 * trials + 3 * (0.05 * 0.95 * trials) ** 0.5
