from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miaudit import signals
from miaudit.errors import DataError, PlanError
from miaudit.evidence import rows

ALL = ["phi", "loss", "confidence", "entropy", "modified_entropy", "hinge"]
P = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.25, 0.5, 0.25]])
Y = np.array([0, 0, 0, 1])


def naive(name: str, p: list[float], y: int) -> float:
    """The formulas, record by record, as far as they are defined."""
    from math import log

    rest = [q for k, q in enumerate(p) if k != y]
    return {
        "confidence": lambda: p[y],
        "loss": lambda: -log(p[y]),
        "phi": lambda: log(p[y]) - log(sum(rest)),
        "hinge": lambda: log(p[y]) - log(max(rest)),
        "entropy": lambda: -sum(q * log(q) for q in p),
        "modified_entropy": lambda: -(1 - p[y]) * log(p[y]) - sum(q * log(1 - q) for q in rest),
    }[name]()


@pytest.mark.parametrize("name", ALL)
@given(logits=st.lists(st.lists(st.floats(-8, 8), min_size=4, max_size=4), min_size=1, max_size=5), y=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_follows_the_formula(name: str, logits: list[list[float]], y: int) -> None:
    exp = np.exp(np.array(logits))
    p = exp / exp.sum(axis=1, keepdims=True)
    got = getattr(signals, name)(p, np.full(len(p), y))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, [naive(name, row.tolist(), y) for row in p], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ALL)
def test_finite_where_probabilities_are_0_or_1(name: str, dtype: type) -> None:
    assert np.isfinite(getattr(signals, name)(P.astype(dtype), Y)).all()


def test_limits_at_certainty() -> None:
    sure, wrong = 1, 2
    assert signals.loss(P, Y)[sure] == 0.0
    assert signals.loss(P, Y)[wrong] == pytest.approx(-np.log(signals.FLOOR))
    assert signals.phi(P, Y)[sure] == -signals.phi(P, Y)[wrong] == pytest.approx(69.0776, abs=1e-3)
    assert signals.entropy(P, Y)[sure] == 0.0
    assert signals.modified_entropy(P, Y)[sure] == 0.0
    assert signals.modified_entropy(P, Y)[wrong] > 100


def test_phi_orders_outputs_that_the_loss_cannot_tell_apart() -> None:
    p = np.array([[1.0, 1e-18, 0.0], [1.0, 1e-20, 0.0]])  # p_y rounds to 1 in both
    assert signals.loss(p, [0, 0])[0] == signals.loss(p, [0, 0])[1]
    assert signals.phi(p, [0, 0])[1] > signals.phi(p, [0, 0])[0]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(4), 50)
    y = generator.integers(0, 4, 50)
    whole = {name: getattr(signals, name)(p, y) for name in ALL}
    monkeypatch.setattr(rows, "_ROWS", 7)
    for name in ALL:
        np.testing.assert_array_equal(getattr(signals, name)(p, y), whole[name])


@pytest.mark.parametrize(
    ("p", "y", "says"),
    [
        ([0.5, 0.5], [0], "shape"),
        ([[1.0]], [0], "both columns"),
        ([[0.5, 0.5]], [2], "0..1"),
        ([[0.5, 0.5]], [-1], "0..1"),
        ([[0.5, 0.5]], [0.0], "integer"),
        ([[0.5, 0.5]], [0, 1], "1 integer"),
        ([[0.5, float("nan")]], [0], "probabilities"),
        ([[3.0, -2.0]], [0], "logits"),
    ],
)
def test_refuses_what_is_no_output(p: list, y: list, says: str) -> None:
    for name in ALL:
        with pytest.raises(DataError, match=says):
            getattr(signals, name)(p, np.array(y))


def test_no_records() -> None:
    assert signals.phi(np.empty((0, 3)), np.empty(0, int)).shape == (0,)


def test_a_zero_is_taken_for_half_of_the_smallest_answer_above_it():
    forest = np.array([[1.0, 0.0], [0.95, 0.05], [0.0, 1.0]])  # of 20 trees
    floor = signals.resolution([forest, forest[:1]])
    assert floor == 0.025
    y = np.zeros(3, int)
    np.testing.assert_allclose(signals.phi(forest, y, floor=floor), np.log([1 / 0.025, 0.95 / 0.05, 0.025]))
    np.testing.assert_allclose(signals.hinge(forest, y, floor=floor), signals.phi(forest, y, floor=floor))
    assert signals.resolution([np.array([[1.0, 1e-40]])]) == signals.FLOOR
    assert signals.resolution([]) == 0.5


@pytest.mark.parametrize("name", ALL)
def test_a_value_computes_what_its_function_does_and_is_a_key(name: str) -> None:
    value = signals.SIGNALS[name]  # type: ignore[index]
    function = getattr(signals, name)(P, Y)
    np.testing.assert_array_equal(value(P, Y), function)
    low = name in ("loss", "entropy", "modified_entropy")
    np.testing.assert_array_equal(signals.Upright(value)(P, Y), -function if low else function)
    np.testing.assert_array_equal(signals.Rounded(value)(P, Y), function.astype(np.float32))
    assert len({value, type(value)(), signals.Upright(value), signals.Upright(type(value)())}) == 2  # type: ignore[call-arg]
    one_hot = np.eye(3, dtype=np.float32)[P.argmax(1)]
    for answers in (P, P.argmax(1)):
        np.testing.assert_array_equal(signals.OfLabels(value, 3)(answers, Y), value(one_hot, Y))


def test_values_of_other_parameters_are_other_keys() -> None:
    assert len({signals.Loss(), signals.Loss(2.0), signals.Phi(), signals.Phi(1e-3), signals.Hinge()}) == 5
    np.testing.assert_array_equal(signals.Loss(2.0)(P, Y), signals.loss(P, Y, temperature=2.0))
    np.testing.assert_array_equal(signals.Phi(1e-3)(P, Y), signals.phi(P, Y, floor=1e-3))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(DataError, match="temperature must be"):
        signals.loss(np.array([[0.5, 0.5]]), np.array([0]), temperature=temperature)


@pytest.mark.parametrize("options", [{"form": "cubic"}, {"scale": 0.0}, {"scale": float("nan")}])
def test_a_residual_of_no_form_or_scale_is_refused(options):
    with pytest.raises(PlanError, match="form|scale"):
        signals.Residual(**options)
