"""Figures that are computed for the page: counts of scores, answers, factors, the band, and the share that can be named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miaudit import stats
from miaudit.errors import PlanError
from miaudit.evidence import Evidence
from miaudit.findings.answers import answer_columns
from miaudit.findings.distribution import BINS, distribution_of
from miaudit.findings.factors import factors_of
from miaudit.findings.unit import Sides, unit_of
from miaudit.result import GroupFigures, Grouping, Interval

scores = st.lists(st.floats(-1e6, 1e6) | st.integers(0, 2).map(float), min_size=1, max_size=80).map(np.array)


@given(scores, scores)
def test_every_score_is_counted_once_in_rising_bins(inside, outside):
    counts = distribution_of(Sides(inside, outside))
    assert (sum(counts.members), sum(counts.nonmembers)) == (len(inside), len(outside))
    assert len(counts.members) in (1, BINS)
    edges = np.array(counts.edges)
    for i, count in list(enumerate(counts.members))[1:-1]:
        assert count == ((inside >= edges[i]) & (inside < edges[i + 1])).sum()


def evidence(seed: int, models: int = 6, n: int = 40, classes: int = 4, **options) -> Evidence:
    rng = np.random.default_rng(seed)
    shadows = rng.dirichlet(np.ones(classes), (models, n))
    inside = rng.random((models, n)) < 0.5
    return Evidence(rng.dirichlet(np.ones(classes), n), shadows, inside, rng.integers(0, classes, n), **options)


def test_answers_are_those_of_the_target_and_means_of_models_with_and_without_the_record():
    e = evidence(0)
    columns = answer_columns([e])
    y = e.audited_labels
    for i in range(e.n):
        assert columns["answer"][i] == e.target[i, y[i]]
        for name, side in (("answer_without", ~e.inside[:, i]), ("answer_with", e.inside[:, i])):
            own = [e.models[m][i, y[i]] for m in np.flatnonzero(side)]
            assert columns[name][i] == pytest.approx(np.mean(own)) if own else np.isnan(columns[name][i])
    assert answer_columns([]) == {}


def test_of_labels_the_answer_is_whether_it_is_right():
    rng = np.random.default_rng(1)
    labels, target = rng.integers(0, 3, 30), rng.integers(0, 3, 30)
    e = Evidence(target, np.eye(3)[rng.integers(0, 3, (4, 30))], np.zeros((4, 30), bool), labels)
    columns = answer_columns([e])
    assert columns["answer"].tolist() == (target == labels).tolist()
    assert columns["answer_without"] == pytest.approx((e.models.argmax(axis=2) == labels).mean(axis=0))
    assert "answer_with" not in columns


def test_factors_are_the_means_of_both_sides_and_of_classes():
    e = evidence(2, n=400)
    member = np.arange(400) < 200
    names = ("a", "b", "c", "d")
    groups = [
        GroupFigures(group=g, members=1, nonmembers=1, auc=Interval(value=v, low=0.1, high=0.9), above_chance=False)
        for g, v in zip(names, (0.5, 0.6, 0.7, 0.8), strict=True)
    ]
    found = factors_of(
        e, member, names, unit_of(member), Grouping(column="class", attack="x", confidence=0.9, groups=groups)
    )
    by_name = {each.factor: each for each in found.sides}
    own = e.target[np.arange(400), e.audited_labels]
    mean = by_name["confidence"].members
    assert mean.value == pytest.approx(own[:200].mean())
    assert mean.low < mean.value < mean.high
    entropy = -(e.target * np.log(e.target)).sum(axis=1) / np.log(4)
    assert by_name["entropy"].nonmembers.value == pytest.approx(entropy[200:].mean())
    right = e.predicted == e.audited_labels
    row = next(each for each in found.classes if each.class_ == "c")
    of = e.audited_labels == 2
    assert row.gap == pytest.approx(right[of & member].mean() - right[of & ~member].mean())
    assert (row.auc, row.share) == (0.7, pytest.approx((of & member).sum() / 200))
    assert all(each.value is None and "fewer than 8 classes" in each.reason for each in found.associations)


def test_right_answers_have_an_exact_interval_that_is_never_a_point():
    labels = np.zeros(40, int)
    e = Evidence(np.tile([0.9, 0.1], (40, 1)), np.empty((0, 40, 2)), np.empty((0, 40), bool), labels)
    member = np.arange(40) < 20
    right = next(x for x in factors_of(e, member, ("a", "b"), unit_of(member), None).sides if x.factor == "right")
    assert (right.members.value, right.members.high) == (1.0, 1.0)
    assert right.members.low == pytest.approx(0.025 ** (1 / 20))


def test_the_share_that_can_be_named_lies_in_its_interval_as_often_as_it_says():
    shift = 2.0
    grid = np.linspace(-6, 8, 20_001)
    from scipy.stats import norm

    tpr, fpr = norm.sf(grid - shift), norm.sf(grid)
    true = tpr[tpr >= 9 * fpr].max()
    held, informative = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        counts = stats.rank_counts(rng.normal(shift, 1, 2000), rng.normal(size=2000))
        share = stats.nameable(counts, 2000, 0.9)
        held += share.low <= true <= share.high
        informative += share.low > 0.1
    assert held >= 57
    assert informative >= 57


def test_in_noise_hardly_anybody_can_be_named():
    highs = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        share = stats.nameable(stats.rank_counts(rng.normal(size=5000), rng.normal(size=5000)), 5000, 0.9)
        assert share.low <= 0.01
        highs.append(share.high)
    assert np.median(highs) < 0.05


def test_a_precision_that_is_none_is_refused():
    counts = stats.rank_counts([1.0], [0.0])
    with pytest.raises(PlanError, match="precision must lie between"):
        stats.nameable(counts, 1, 90)
