from __future__ import annotations

import numpy as np
import pytest

from miaudit.attacks import net
from miaudit.attacks.net import Training, fit


def make(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d)).astype(np.float32)
    x[:, 0] = 3.0  # constant: no spread to divide by
    return x, x[:, 1] * x[:, 2] + 0.3 * generator.normal(size=n) > 0


@pytest.mark.parametrize("d", [1, 2, 33, 65, 95, 130])
def test_spreads_are_the_same_a_few_columns_at_a_time(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(d).dirichlet(np.full(max(d, 2), 0.1), 700)[:, :d].astype(np.float32)
    monkeypatch.setattr(net, "_NUMBERS", 1)
    np.testing.assert_array_equal(net._spread(x), x.std(axis=0, dtype=np.float64))


def seeds(n: int) -> list[np.random.Generator]:
    return [np.random.default_rng([5, i]) for i in range(n)]


def parameters(trained: net.Net) -> np.ndarray:
    return np.concatenate([trained.first.ravel(), trained.second])


def naive(x: np.ndarray, inside: np.ndarray, generator: np.random.Generator, training: Training) -> np.ndarray:
    """One network alone, in float64, with the gradient taken by differences of the loss."""
    d, hidden = x.shape[1], training.hidden
    spread = x.std(axis=0, dtype=float)
    z = (x - x.mean(axis=0, dtype=float)) / np.where(spread > 1e-4, spread, 1.0)
    first = np.vstack([generator.normal(0, np.sqrt(2 / d), (d, hidden)), np.zeros(hidden)])
    w = np.concatenate([first.ravel(), generator.normal(0, np.sqrt(1 / hidden), hidden), [0.0]])
    weights = np.ones(len(w))
    weights[d * hidden : (d + 1) * hidden] = weights[-1] = 0

    def objective(w: np.ndarray, rows: np.ndarray) -> float:
        first, second = w[: (d + 1) * hidden].reshape(d + 1, hidden), w[(d + 1) * hidden : -1]
        logit = np.maximum(z[rows] @ first[:-1] + first[-1], 0) @ second + w[-1]
        sign = np.where(inside[rows], 1.0, -1.0)
        return float(np.logaddexp(0, -sign * logit).mean() + training.l2 / 2 * (weights * w**2).sum())

    held = np.empty(0, int)
    m, v, total = np.zeros_like(w), np.zeros_like(w), training.steps(len(x))
    for now in range(total):
        while len(held) < training.batch:
            held = np.append(held, generator.permutation(len(x)))
        rows, held = held[: training.batch], held[training.batch :]
        g = np.array([(objective(w + e, rows) - objective(w - e, rows)) / 2e-6 for e in 1e-6 * np.eye(len(w))])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        fair = np.sqrt(1 - 0.999 ** (now + 1)) / (1 - 0.9 ** (now + 1))
        w = w - training.learning_rate * (1 - now / total) * fair * m / (np.sqrt(v) + 1e-8)
    return w


def test_agrees_with_one_network_at_a_time_and_differences_for_gradients() -> None:
    training = Training(hidden=4, epochs=3, batch=16, learning_rate=0.02, l2=0.01, min_steps=5)
    data = [make(n, 3, n) for n in (40, 90, 8)]  # 8 rows: fewer than a batch
    trained = fit(lambda i: data[i], [40, 90, 8], seeds(3), training)
    for i, (x, inside) in enumerate(data):
        np.testing.assert_allclose(parameters(trained[i]), naive(x, inside, seeds(3)[i], training), atol=2e-4)


@pytest.mark.parametrize("width", [1, 3, 16])
def test_a_network_is_the_same_bit_for_bit_in_any_company(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    sizes = [300, 17, 120, 300, 64]
    data = [make(n, 9, i) for i, n in enumerate(sizes)]
    training = Training(epochs=4, batch=32, min_steps=20)
    monkeypatch.setattr(net, "_GROUP", width)
    together = fit(lambda i: data[i], sizes, seeds(5), training)
    for i in range(5):
        (alone,) = fit(lambda _, i=i: data[i], [sizes[i]], [seeds(5)[i]], training)
        np.testing.assert_array_equal(parameters(together[i]), parameters(alone))


def test_learns_what_no_straight_line_tells() -> None:
    x, inside = make(2000, 5, 0)
    (trained,) = fit(lambda _: (x, inside), [2000], seeds(1), Training())
    new, truth = make(2000, 5, 1)
    assert ((trained.probability(new) > 0.5) == truth).mean() > 0.75  # a straight line gets half of them


def test_equal_inputs_tie() -> None:
    x, inside = make(500, 7, 0)
    (trained,) = fit(lambda _: (x, inside), [500], seeds(1), Training(epochs=2, min_steps=10))
    assert len(np.unique(trained.probability(np.repeat(x[:1], 333, axis=0)))) == 1


def test_extreme_inputs_stay_finite() -> None:
    x, inside = make(200, 4, 0)
    x[0] = 1e6
    (trained,) = fit(lambda _: (x, inside), [200], seeds(1), Training(epochs=2, min_steps=50))
    assert np.isfinite(trained.probability(np.float32(1e9) * x)).all()


def test_small_classes_get_enough_steps() -> None:
    assert Training(epochs=10, batch=100, min_steps=7).steps(1000) == 100
    assert Training(epochs=10, batch=100, min_steps=7).steps(9) == 7


def test_large_networks_see_a_bounded_number_of_rows_and_depend_on_no_other() -> None:
    training = Training(hidden=4, epochs=30, batch=64)
    assert training.steps(20_000) == 30 * 20_000 // 64
    assert training.steps(40_000) == training.steps(400_000) == -(-1_000_000 // 512)
    assert training.steps(2_000_000) == -(-2_000_000 // 512)  # every row once
    data = {n: make(n, 3, n) for n in (20_001, 300, 20_500)}
    sizes = list(data)
    short = Training(hidden=4, epochs=1, batch=64)
    together = fit(lambda i: data[sizes[i]], sizes, seeds(3), short)
    for i, n in enumerate(sizes):
        alone = fit(lambda _, n=n: data[n], [n], [seeds(3)[i]], short)[0]
        np.testing.assert_array_equal(parameters(alone), parameters(together[i]))
