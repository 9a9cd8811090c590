from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from miaudit.errors import DataError, PlanError
from miaudit.stats import auc_interval, by_group, tpr_at_fpr


def test_each_group_is_measured_on_its_own() -> None:
    rng = np.random.default_rng(0)
    ins, outs, of_in, of_out = rng.normal(1, 1, 60), rng.normal(size=90), np.arange(60) % 3, np.arange(90) % 3
    found = by_group(ins, outs, of_in, of_out, fpr=0.1)
    assert [one.group for one in found] == ["0", "1", "2"]
    for k, one in enumerate(found):
        assert (one.members, one.nonmembers) == (20, 30)
        assert one.confidence == pytest.approx(1 - 0.05 / 3)
        assert one.auc == auc_interval(ins[of_in == k], outs[of_out == k], confidence=one.confidence)
        assert one.tpr == tpr_at_fpr(ins[of_in == k], outs[of_out == k], 0.1, confidence=one.confidence)
        assert one.above_chance == (one.auc.low > 0.5)
    assert all(one.tpr is None for one in by_group(ins, outs, of_in, of_out))


def test_a_group_with_one_side_is_null_with_a_reason_and_costs_nothing() -> None:
    found = by_group([1.0, 2.0, 3.0], [1.0, 2.0], ["a", "a", "b"], ["a", "c"])
    assert [(one.group, one.reason) for one in found] == [
        ("a", None),
        ("b", "there are no non-members here"),
        ("c", "there are no members here"),
    ]
    assert found[1].auc is found[1].above_chance is None
    assert {one.confidence for one in found} == {1 - (1 - 0.95)}
    alone = by_group([1.0], [2.0], ["a"], ["b"])
    assert [one.auc for one in alone] == [None, None]


def test_the_worst_of_twenty_groups_is_noise_at_most_as_often_as_the_level_says() -> None:
    """Uncorrected, one of twenty would lie above chance in four of ten trials."""
    rng, trials, alarms, uncorrected = np.random.default_rng(8), 120, 0, 0
    groups = np.arange(400) % 20
    for _ in range(trials):
        ins, outs = rng.normal(size=400), rng.normal(size=400)
        alarms += any(one.above_chance for one in by_group(ins, outs, groups, groups))
        uncorrected += any(auc_interval(ins[groups == k], outs[groups == k]).low > 0.5 for k in range(20))
    assert binomtest(alarms, trials, 0.05, alternative="greater").pvalue > 0.001
    assert uncorrected / trials > 0.2


def test_a_leaking_group_is_found_among_quiet_ones() -> None:
    rng, groups = np.random.default_rng(2), np.array(["young", "old"])[np.arange(400) % 2]
    ins = rng.normal(size=400) + 1.0 * (groups == "old")
    found = {one.group: one for one in by_group(ins, rng.normal(size=400), groups.astype(object), groups)}
    assert found["old"].above_chance
    assert not found["young"].above_chance


@pytest.mark.parametrize(
    ("of_in", "of_out", "says"),
    [
        ([1], [1, 2], "in_groups must be one whole number or text per score, got shape"),
        ([1, 2], [[1, 2]], "out_groups must be one"),
        ([1.0, float("nan")], [1, 2], "float64 for 2 scores; give missing groups a name"),
        ([1, 2], np.array(["a", None], dtype=object), "object"),
        ([1, 2], ["1", "2"], "one kind on both sides"),
    ],
)
def test_refuses_groups_that_are_none(of_in: object, of_out: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        by_group([1.0, 2.0], [0.0, 1.0], of_in, of_out)


def test_refuses_bad_scores_and_settings() -> None:
    with pytest.raises(DataError, match="NaN"):
        by_group([float("nan")], [0.0], [1], [1])
    with pytest.raises(PlanError, match="confidence"):
        by_group([1.0], [0.0], [1], [1], confidence=95)
    with pytest.raises(PlanError, match="fpr"):
        by_group([1.0], [0.0], [1], [1], fpr=2.0)
