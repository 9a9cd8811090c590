"""Stacked training beside a naive loop of autograd and torch.optim, and its promises about grouping and threads."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from miaudit.recipes import single  # noqa: E402
from miaudit.recipes.network import Network, NetworkModel  # noqa: E402
from miaudit.recipes.training import Generators, first_weights  # noqa: E402
from miaudit.recipes.width import (  # noqa: E402
    from_zen_5,
    group_width,
    groups_of,
    is_large,
)

N, D, CLASSES = 150, 20, 5
SGD = Network(
    hidden=(16, 12),
    optimizer="sgd",
    learning_rate=0.2,
    learning_rate_decay=1e-2,
    momentum=0.8,
    l2=1e-3,
    epochs=3,
    batch=32,
    standardize=False,
)
ADAM = replace(SGD, optimizer="adam", momentum=0.0, learning_rate=0.01)


@pytest.fixture(scope="module")
def world() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(N, D)).astype(np.float32)
    return X, (X[:, :CLASSES] + 0.3 * rng.normal(size=(N, CLASSES))).argmax(axis=1)


def oracle(recipe: Network, X: Any, y: Any, *, seed: int) -> list[Any]:
    """The same network as anyone would write it, with the model's own streams of random numbers."""
    streams = Generators.of(seed)
    tensors = first_weights(recipe.weight_shapes(X.shape[1:], CLASSES), streams.weights)
    linears = [torch.nn.Linear(*weight.shape[::-1]) for weight in tensors[::2]]
    with torch.no_grad():
        for linear, weight, bias in zip(linears, tensors[::2], tensors[1::2], strict=True):
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
    net = torch.nn.ModuleList(linears)
    activate = {"tanh": torch.nn.Tanh(), "relu": torch.nn.ReLU(), "sigmoid": torch.nn.Sigmoid()}[recipe.activation]
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            net.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=2 * recipe.l2
        )
    else:
        optimizer = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate, weight_decay=2 * recipe.l2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t * recipe.learning_rate_decay))
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    for _ in range(recipe.epochs):
        for part in torch.randperm(len(X), generator=streams.order).split(recipe.batch):
            value = X[part]
            for linear in linears[:-1]:
                value = activate(linear(value))
                if recipe.dropout:
                    keep = 1 - recipe.dropout
                    value = value * torch.empty_like(value).bernoulli_(keep, generator=streams.dropout) / keep
            loss = torch.nn.functional.cross_entropy(linears[-1](value), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return [p.detach().numpy() for linear in linears for p in (linear.weight, linear.bias)]


def furthest(left: Any, right: Any) -> float:
    """Largest difference of any weight."""
    assert len(left) == len(right)
    return max(float(np.abs(a - b).max()) for a, b in zip(left, right, strict=True))


def same(left: NetworkModel, right: NetworkModel) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left.tensors, right.tensors, strict=True))


CASES = pytest.mark.parametrize(
    ("recipe", "tolerance"),
    [
        pytest.param(SGD, 2e-6, id="sgd-momentum-decay-l2"),
        pytest.param(replace(SGD, momentum=0.0, l2=0.0, learning_rate_decay=0.0), 2e-6, id="sgd-plain"),
        pytest.param(ADAM, 2e-5, id="adam-decay-l2"),
        pytest.param(replace(SGD, dropout=0.4), 2e-6, id="dropout"),
        pytest.param(replace(SGD, activation="relu", dropout=0.2), 2e-6, id="relu"),
        pytest.param(replace(ADAM, activation="sigmoid"), 2e-5, id="sigmoid"),
        pytest.param(replace(SGD, hidden=()), 2e-6, id="no-hidden-layer"),
        pytest.param(replace(SGD, batch=1000), 2e-6, id="one-batch"),
    ],
)


@CASES
def test_stacked_training_equals_autograd_and_torch_optim(world: Any, recipe: Network, tolerance: float) -> None:
    X, y = world
    seeds = [3, 4, 5]
    indices = [np.random.default_rng(seed).permutation(N)[:70] for seed in seeds]
    models = recipe.fit_many(X, y, indices=indices, classes=CLASSES, seeds=seeds)
    for model, index, seed in zip(models, indices, seeds, strict=True):
        expected = oracle(recipe, X[index], y[index], seed=seed)
        start = first_weights(recipe.weight_shapes((D,), CLASSES), Generators.of(seed).weights)
        assert furthest(expected, [tensor.numpy() for tensor in start]) > 0.05  # it did train
        assert furthest(model.tensors, expected) < tolerance


@CASES
@pytest.mark.parametrize("onednn", [True, False])
def test_training_one_at_a_time_equals_autograd_and_torch_optim(
    world: Any, monkeypatch: pytest.MonkeyPatch, recipe: Network, tolerance: float, onednn: bool
) -> None:
    X, y = world
    monkeypatch.setattr(single, "single_pays", lambda *size: True)
    if not onednn:
        monkeypatch.setattr(single, "_has_onednn", lambda: False)
    [model] = recipe.fit_many(X, y, indices=[np.arange(40, 110)], classes=CLASSES, seeds=[6])
    assert furthest(model.tensors, oracle(recipe, X[40:110], y[40:110], seed=6)) < tolerance


def test_networks_one_at_a_time_standardise_and_draw_as_stacked_ones(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = world
    recipe = replace(SGD, dropout=0.3, standardize=True)
    indices = [np.arange(90), np.arange(40, 130)]
    stacked = recipe.fit_many(X * 3 + 1, y, indices=indices, classes=CLASSES, seeds=[1, 2])
    monkeypatch.setattr(single, "single_pays", lambda *size: True)
    alone = recipe.fit_many(X * 3 + 1, y, indices=indices, classes=CLASSES, seeds=[1, 2])
    for one, other in zip(stacked, alone, strict=True):
        assert furthest(one.tensors, other.tensors) < 2e-6


def test_bfloat16_comes_near_float32_and_is_not_the_same(world: Any) -> None:
    X, y = world
    recipe = replace(SGD, momentum=0.0, epochs=20)
    exact, rounded, again = (
        replace(recipe, dtype=dtype).fit(X, y, classes=CLASSES, seed=1) for dtype in ("float32", "bfloat16", "bfloat16")
    )
    assert 1e-5 < furthest(exact.tensors, rounded.tensors) < 0.1
    assert same(rounded, again)
    assert (exact.predict_proba(X).argmax(1) == rounded.predict_proba(X).argmax(1)).mean() > 0.95


@pytest.mark.parametrize("recipe", [replace(SGD, dropout=0.3, standardize=True), ADAM], ids=["sgd", "adam"])
def test_a_model_does_not_depend_on_the_models_beside_it(world: Any, recipe: Network) -> None:
    X, y = world
    seeds = list(range(11))  # a full group of 8 and a rest of 3
    indices = [np.random.default_rng(seed).permutation(N)[:50] for seed in seeds]
    together = recipe.fit_many(X, y, indices=indices, classes=CLASSES, seeds=seeds)
    alone = [recipe.fit(X[i], y[i], classes=CLASSES, seed=seed) for i, seed in zip(indices, seeds, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert furthest(one.tensors, other.tensors) <= 1e-6
        np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-6)
    assert furthest(together[0].tensors, together[1].tensors) > 0.01


def test_models_are_equal_bit_for_bit_at_one_group_width(world: Any) -> None:
    X, y = world
    seeds = list(range(8))
    indices = [np.random.default_rng(seed).permutation(N)[:50] for seed in seeds]
    recipe = replace(ADAM, dropout=0.3)
    assert recipe.group_width((D,), CLASSES) == 8
    first = recipe.fit_many(X, y, indices=indices, classes=CLASSES, seeds=seeds)
    again = recipe.fit_many(X, y, indices=indices, classes=CLASSES, seeds=seeds)
    backwards = recipe.fit_many(X, y, indices=indices[::-1], classes=CLASSES, seeds=seeds[::-1])[::-1]
    assert all(same(*pair) for pair in zip(first, again, strict=True))
    assert all(same(*pair) for pair in zip(first, backwards, strict=True))


def test_threads_train_the_same_models_as_one_after_another(world: Any) -> None:
    X, y = world
    indices = [np.arange(start, start + 60) for start in range(8)]

    def job(base: int) -> list[NetworkModel]:
        recipe = replace(ADAM, dropout=0.2, epochs=5)
        return recipe.fit_many(X, y, indices=indices, classes=CLASSES, seeds=range(base, base + 8))

    serial = [job(0), job(100)]
    with ThreadPoolExecutor(2) as pool:
        parallel = list(pool.map(job, (0, 100)))
    for one, other in zip(serial, parallel, strict=True):
        assert all(same(*pair) for pair in zip(one, other, strict=True))


def test_training_leaves_global_state_alone(world: Any) -> None:
    X, y = world
    before = torch.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled(), np.random.get_state()[1].copy()  # noqa: NPY002
    replace(SGD, dropout=0.5, epochs=1).fit(X, y, classes=CLASSES, seed=1).predict_proba(X)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == before[1:3]
    assert np.array_equal(np.random.get_state()[1], before[3])  # noqa: NPY002


def test_unequal_training_sets_are_trained_apart_and_come_back_in_order(world: Any) -> None:
    X, y = world
    sizes = [40, 60, 40, 33, 60]
    indices = [np.arange(size) for size in sizes]
    models = SGD.fit_many(X, y, indices=indices, classes=CLASSES, seeds=range(5))
    for seed, (model, index) in enumerate(zip(models, indices, strict=True)):
        assert furthest(model.tensors, oracle(SGD, X[index], y[index], seed=seed)) < 2e-6
    assert groups_of(sizes, 8) == [[0, 2], [1, 4], [3]]
    assert groups_of([7] * 5, 2) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\n", True),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n", False),  # Zen 4
        ("vendor_id\t: GenuineIntel\ncpu family\t: 26\n", False),
        ("AMD64 Family 26 Model 68 Stepping 0, AuthenticAMD", True),  # Windows
        ("AMD64 Family 23 Model 1 Stepping 2, AuthenticAMD", False),
        ("arm", False),
    ],
)
def test_only_processors_from_zen_5_on_are_given_to_onednn(about: str, expected: bool) -> None:
    assert from_zen_5(about) is expected


def test_group_width_follows_the_size_of_a_model() -> None:
    assert group_width(600 * 128 + 128 + 128 * 100 + 100) == 4
    assert group_width(1_320_000) == 1
    assert group_width(100) == 8
    assert not is_large(100 * 64 + 64 + 130, 100)
    widths = [group_width(size) for size in range(1_000, 1_000_000, 1_000)]
    assert all(1 <= low <= high <= 8 for high, low in itertools.pairwise(widths))
