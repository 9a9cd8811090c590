"""What output mitigations do to answers, and to what was measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from miaudit.errors import DataError, PlanError
from miaudit.mitigations import Composed, LabelOnly, Noise, OutputMitigation, Rounding, Temperature, TopK, label
from miaudit.signals import label_vectors
from miaudit.targets import Outputs

EVERY = [TopK(1), TopK(3), LabelOnly(), Rounding(1), Rounding(3), Temperature(5.0), Noise(0.5), Noise(2.0)]

answers = arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(2, 9)), elements=st.floats(-8, 8)).map(
    lambda logits: np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
)


@given(answers, st.sampled_from(EVERY))
@settings(max_examples=80, deadline=None)
def test_a_mitigation_keeps_labels_where_it_says_so_and_answers_probabilities(values, mitigation):
    values = values.astype(np.float32)
    seen = mitigation.apply(Outputs(values))
    assert isinstance(mitigation, OutputMitigation)
    shown = seen.probabilities
    assert shown.shape == values.shape
    assert shown.min() >= 0
    assert shown.max() <= 1 + 1e-6
    if mitigation.keeps_labels:
        top = values.max(axis=1, keepdims=True)
        clear = (values >= top - 1e-6).sum(axis=1) == 1  # a tie in single precision has no label to keep
        assert (seen.labels == values.argmax(axis=1))[clear].all()
    assert (mitigation.apply(Outputs(values)).values == seen.values).all()  # asking again tells no more


@given(answers, st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_top_k_is_what_sorting_says(values, k):
    seen = TopK(k).apply(Outputs(values)).values
    for row, shown in zip(values, seen, strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
        assert set(np.flatnonzero(shown)) == set(order)
        assert (shown[order] == row[order]).all()


@given(answers, st.floats(0.05, 2.0))
@settings(max_examples=40, deadline=None)
def test_noise_stays_within_its_budget(values, budget):
    seen = Noise(budget).apply(Outputs(values)).values
    assert (np.abs(seen - values).sum(axis=1) <= budget + 1e-9).all()
    assert np.allclose(seen.sum(axis=1), 1)


def test_the_key_decides_the_noise():
    values = np.random.default_rng(1).dirichlet(np.ones(5), 100)
    assert (Noise().apply(Outputs(values)).values != Noise(key=1).apply(Outputs(values)).values).any(axis=1).all()


def test_noise_of_the_whole_budget_hides_all_but_the_label():
    """Sure and unsure answers of one label get draws of one law: their means agree within four standard errors."""
    sure, unsure = np.tile([0.99, 0.004, 0.006], (4000, 1)), np.tile([0.4, 0.3, 0.3], (4000, 1))
    rng = np.random.default_rng(0)
    for rows in (sure, unsure):
        rows += rng.uniform(0, 1e-4, rows.shape)
        rows /= rows.sum(axis=1, keepdims=True)
    one, other = (Noise(2.0).apply(Outputs(rows)).values[:, 0] for rows in (sure, unsure))
    assert abs(one.mean() - other.mean()) < 4 * np.hypot(one.std(), other.std()) / np.sqrt(4000)
    assert one.mean() == pytest.approx((1 + 1 / 2 + 1 / 3) / 3, abs=0.01)  # the largest of three uniform shares


@given(answers, st.floats(0.2, 50))
@settings(max_examples=30, deadline=None)
def test_a_temperature_of_probabilities_is_that_of_their_logits(values, t):
    logits = np.log(values) + 3.0
    of_logits = Temperature(t).apply(Outputs(logits, "logits"))
    assert of_logits.kind == "logits"
    assert np.allclose(of_logits.probabilities, Temperature(t).apply(Outputs(values)).values)


def test_what_was_left_out_stays_left_out():
    row = Outputs(np.array([[0.5, 0.3, 0.15, 0.05], [0.0, 0.0, 0.0, 0.0]]))
    seen = Composed((TopK(2), Temperature(2.0))).apply(row)
    assert seen.kind == "topk"
    assert (seen.values[:, 2:] == 0).all()
    assert (seen.values[1] == 0).all()
    roots = np.sqrt([0.5, 0.3, 0.1, 0.1])  # what was left out lies evenly on the others
    assert seen.values[0, :2] == pytest.approx(roots[:2] / roots.sum())


def test_labels_have_nothing_left_to_hide():
    labels = LabelOnly().apply(Outputs(np.array([[0.2, 0.8], [0.9, 0.1]])))
    assert labels.kind == "labels"
    assert labels.values.tolist() == [1, 0]
    assert (labels.probabilities == label_vectors(labels.values, 2)).all()
    for mitigation in EVERY:
        assert mitigation.apply(labels) is labels


def test_regressions_are_refused():
    with pytest.raises(DataError, match="regression"):
        Rounding(1).apply(Outputs(np.ones((3, 1)), "value"))


@pytest.mark.parametrize(
    "wrong",
    [lambda: TopK(0), lambda: Rounding(-1), lambda: Temperature(0), lambda: Noise(2.5), lambda: Composed(())],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(PlanError):
        wrong()


def test_a_label_names_the_options():
    assert label(Composed((TopK(1), Temperature(5)))) == "top-k k=1, temperature t=5"
    assert label(LabelOnly()) == "label-only"


@pytest.mark.parametrize("t", [0.5, 2.0, 20.0])
def test_a_temperature_keeps_the_order_of_answers_that_leave_classes_out(t):
    answers = np.array([[0.7, 0.0, 0.0], [0.5, 0.0, 0.3], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.6, 0.0, 0.0]])
    shown = Temperature(t).apply(Outputs(answers, "topk"))
    full = np.array([[0.7, 0.15, 0.15], [0.5, 0.2, 0.3], [1.0, 0.0, 0.0], [1 / 3] * 3, [0.6, 0.2, 0.2]]) ** (1 / t)
    expected = np.where(answers == 0, 0, full / full.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(shown.values, expected, atol=1e-12)
    assert shown.kind == "topk"
    assert shown.values[2, 0] > shown.values[0, 0] > shown.values[4, 0]
