"""Modules that are a plain fully connected network: recognised, trained in groups, and the same models as alone."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from miaudit.data import from_arrays  # noqa: E402
from miaudit.data.records import take_records  # noqa: E402
from miaudit.errors import PlanError  # noqa: E402
from miaudit.recipes import ModuleRecipe, module_training  # noqa: E402
from miaudit.recipes.module_training import built, train_module  # noqa: E402
from miaudit.recipes.perceptron import as_perceptron  # noqa: E402
from miaudit.shadows.design import draw_disjoint  # noqa: E402
from miaudit.shadows.engine import in_groups  # noqa: E402
from miaudit.shadows.pool import ShadowPool  # noqa: E402
from miaudit.store import Store  # noqa: E402

CLASSES = 3


def net(*, act: Any = nn.Tanh, dropout: float = 0.3, head: tuple[Any, ...] = (), inputs: int = 12) -> nn.Module:
    def hidden(fan_in: int, width: int) -> list[nn.Module]:
        return [nn.Linear(fan_in, width), act(), *([nn.Dropout(dropout)] if dropout else [])]

    return nn.Sequential(*hidden(inputs, 9), nn.Sequential(*hidden(9, 7)), nn.Linear(7, CLASSES), *head)


def named() -> nn.Module:
    return nn.Sequential(OrderedDict(flat=nn.Flatten(), body=net(), end=nn.LogSoftmax(dim=1)))


def lone() -> nn.Module:
    return nn.Linear(12, CLASSES)


def first_rule() -> nn.Module:
    """First weights by a rule of its own, and one activation for all layers."""
    act = nn.ReLU(inplace=True)
    module = nn.Sequential(nn.Linear(12, 9), act, nn.Linear(9, 9), act, nn.Dropout(0.0), nn.Linear(9, CLASSES))
    for part in (module[0], module[2]):
        nn.init.kaiming_normal_(part.weight)
        nn.init.zeros_(part.bias)
    return module


SGD = ModuleRecipe(net, learning_rate=0.1, momentum=0.5, weight_decay=1e-3, epochs=4, batch=16)
ADAM = replace(SGD, optimizer="adam", learning_rate=0.005, momentum=0.0)
CASES = {
    "tanh-dropout": SGD,
    "adam": ADAM,
    "relu-standardize": replace(SGD, build=functools.partial(net, act=nn.ReLU, dropout=0.0), standardize=True),
    "sigmoid-adam": replace(ADAM, build=functools.partial(net, act=nn.Sigmoid)),
    "named-log-softmax": replace(SGD, build=named),
    "first-weights": replace(SGD, build=first_rule),
    "one-layer": replace(SGD, build=lone),
    "one-batch": replace(SGD, batch=1000),
}


def world(n: int = 120, d: int = 12) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, d)).astype(np.float32)
    return X, X[:, :CLASSES].argmax(axis=1)


def check_equal(
    recipe: ModuleRecipe, X: Any, y: Any, monkeypatch: pytest.MonkeyPatch, *, sizes: tuple[int, ...]
) -> None:
    """Models made in groups beside models of autograd alone, from the same seeds; none may take the other's way."""
    indices = [np.random.default_rng(seed).permutation(len(y))[:size] for seed, size in enumerate(sizes)]
    seeds = range(10, 10 + len(sizes))
    expected = [
        train_module(recipe, take_records(X, index), y[index], classes=CLASSES, seed=seed)
        for index, seed in zip(indices, seeds, strict=True)
    ]
    monkeypatch.delattr(module_training, "train_module")
    models = recipe.fit_many(X, y, indices=indices, classes=CLASSES, seeds=seeds)
    for model, other, seed in zip(models, expected, seeds, strict=True):
        np.testing.assert_allclose(model.predict_proba(X), other.predict_proba(X), rtol=0, atol=1e-6)
        assert not model.module.training
        before = built(recipe.build, seed=seed).state_dict().values()
        moved = [np.abs((a - b).numpy()).max() for a, b in zip(before, model.module.state_dict().values(), strict=True)]
        assert min(moved) > 1e-3  # it did train
    assert np.abs(models[0].predict_proba(X) - models[1].predict_proba(X)).max() > 1e-3


@pytest.mark.parametrize("recipe", CASES.values(), ids=CASES)
def test_groups_train_the_models_of_one_at_a_time(recipe: ModuleRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recipe.group_width((12,), CLASSES) == 8
    check_equal(recipe, *world(), monkeypatch, sizes=(75, 75, 60, 75))


@pytest.mark.parametrize("standardize", [False, True])
def test_images_are_flattened_alike(standardize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of two channels, which lie otherwise in memory for modules."""
    rng = np.random.default_rng(4)
    X, y = rng.integers(0, 256, (80, 2, 3, 2)).astype(np.uint8), np.arange(80) % CLASSES
    check_equal(replace(SGD, build=named, standardize=standardize), X, y, monkeypatch, sizes=(50, 50))


def test_sparse_records_take_the_sparse_first_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X = scipy.sparse.csr_array(rng.random((90, 300)) * (rng.random((90, 300)) < 0.03))
    recipe = replace(SGD, build=functools.partial(net, inputs=300), learning_rate=0.3)
    check_equal(recipe, X, np.arange(90) % CLASSES, monkeypatch, sizes=(50, 50))


def test_the_engine_puts_them_in_groups(tmp_path: Path) -> None:
    X, y = world(240)
    data = from_arrays(X, y)
    draws = draw_disjoint(np.arange(240), shadows=4, train=50, test=50, seed=0)
    pool = ShadowPool(data, SGD, draws, Store(tmp_path), 0)
    assert [len(group) for group in in_groups(pool.plan, data, SGD, 1)] == [4]
    pool.run(minimum=4, workers=0)
    for job, row in zip(pool.plan, pool.outputs(range(4)), strict=True):
        alone = train_module(SGD, X[job.train], y[job.train], classes=CLASSES, seed=job.seed)
        np.testing.assert_allclose(row, alone.predict_proba(X[job.asked]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("size", "batch"), [(65, 16), (5, 1)])
def test_a_single_record_left_over_joins_the_update_before_it(size: int, batch: int) -> None:
    X, y = world()
    recipe = replace(SGD, batch=batch)
    models = recipe.fit_many(X, y, indices=[np.arange(size), np.arange(64)], classes=CLASSES, seeds=[1, 2])
    alone = train_module(recipe, X[:size], y[:size], classes=CLASSES, seed=1)
    np.testing.assert_array_equal(models[0].predict_proba(X), alone.predict_proba(X))
    with pytest.raises(PlanError, match="1 sets of records and 2 seeds"):
        recipe.fit_many(X, y, indices=[np.arange(9)], classes=CLASSES, seeds=[1, 2])


class Linear(nn.Linear):
    """The same name, and nothing else; but nobody can know."""


def hooked(register: str) -> nn.Module:
    module = net()
    getattr(module[0], register)(lambda *given: None)
    return module


def changed(act: Callable[[Any], Any]) -> nn.Module:
    module = net()
    act(module)
    return module


def shared_layer() -> nn.Module:
    middle = nn.Linear(9, 9)
    return nn.Sequential(nn.Linear(12, 9), nn.Tanh(), middle, nn.Tanh(), middle, nn.Tanh(), nn.Linear(9, CLASSES))


def tied(module: Any) -> None:
    module[3][0] = nn.Linear(9, 9)
    module[0] = nn.Linear(9, 9)
    module[0].weight = module[3][0].weight


class Forward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Any) -> Any:
        return self.net(x)


OTHERS: dict[str, Callable[[], Any]] = {
    "subclass": lambda: nn.Sequential(Linear(12, CLASSES)),
    "custom-forward": Forward,
    "batch-norm": lambda: nn.Sequential(nn.Linear(12, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Linear(9, CLASSES)),
    "other-activation": functools.partial(net, act=nn.GELU),
    "two-activations": lambda: nn.Sequential(
        nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, CLASSES)
    ),
    "no-activation": lambda: nn.Sequential(nn.Linear(12, 9), nn.Linear(9, CLASSES)),
    "activation-last": functools.partial(net, head=(nn.Tanh(),)),
    "softmax": functools.partial(net, head=(nn.Softmax(dim=1),)),
    "log-softmax-over-records": functools.partial(net, head=(nn.LogSoftmax(dim=0),)),
    "no-bias": lambda: nn.Sequential(nn.Linear(12, CLASSES, bias=False)),
    "dropout-of-the-input": lambda: nn.Sequential(nn.Dropout(0.1), nn.Linear(12, CLASSES)),
    "dropout-before-activation": lambda: nn.Sequential(
        nn.Linear(12, 9), nn.Dropout(0.1), nn.Tanh(), nn.Linear(9, CLASSES)
    ),
    "dropout-after-one": lambda: nn.Sequential(
        nn.Linear(12, 9), nn.Tanh(), nn.Dropout(0.1), nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, CLASSES)
    ),
    "everything-dropped": functools.partial(net, dropout=1.0),
    "two-dropouts": functools.partial(changed, lambda module: setattr(module[2], "p", 0.5)),
    "flatten-in-part": lambda: nn.Sequential(nn.Flatten(1, 2), nn.Linear(12, CLASSES)),
    "shared-layer": shared_layer,
    "tied-weights": functools.partial(changed, tied),
    "frozen": functools.partial(changed, lambda module: module[0].weight.requires_grad_(False)),
    "own-parameter": functools.partial(
        changed, lambda module: module.register_parameter("extra", nn.Parameter(torch.ones(2)))
    ),
    "forward-of-its-own": functools.partial(changed, lambda module: setattr(module[1], "forward", torch.sin)),
    "parametrized": functools.partial(
        changed, lambda module: nn.utils.parametrizations.weight_norm(module[0])
    ),
    "hook-of-a-weight": functools.partial(changed, lambda module: module[0].weight.register_hook(lambda g: g * 2)),
    "forward-hook": functools.partial(hooked, "register_forward_hook"),
    "forward-pre-hook": functools.partial(hooked, "register_forward_pre_hook"),
    "backward-hook": functools.partial(hooked, "register_full_backward_hook"),
}  # fmt: skip


@pytest.mark.parametrize("build", OTHERS.values(), ids=OTHERS)
def test_what_differs_in_anything_is_left_alone(build: Callable[[], Any]) -> None:
    assert as_perceptron(SGD, net()) is not None
    assert as_perceptron(SGD, build()) is None


def test_how_it_is_trained_counts_too() -> None:
    for change in ({"schedule": "cosine"}, {"dtype": "bfloat16"}, {"optimizer": "adamw", "momentum": 0.0}):
        assert replace(SGD, **change).group_width((12,), CLASSES) == 1  # type: ignore[arg-type]


def test_records_and_classes_that_do_not_fit_are_told_of_by_the_module() -> None:
    X, y = world()
    with pytest.raises(PlanError, match=r"expected logits of shape \(16, 4\)"):
        SGD.fit(X, y, classes=4, seed=1)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        SGD.fit(X[:, :11], y, classes=CLASSES, seed=1)


def tossed() -> nn.Module:
    """One of two modules, by chance, as no seed but its own should make it."""
    return net(act=nn.Tanh if torch.rand(()) < 0.5 else nn.ReLU)


def test_modules_that_differ_by_seed_do_not_hang_on_their_neighbours() -> None:
    X, y = world()
    recipe = replace(SGD, build=tossed)
    everyone = np.arange(64)
    models = recipe.fit_many(X, y, indices=[everyone] * 6, classes=CLASSES, seeds=range(6))
    assert len({type(model.module[1]) for model in models}) == 2
    for seed, model in enumerate(models):
        alone = recipe.fit(X[everyone], y[everyone], classes=CLASSES, seed=seed)
        np.testing.assert_allclose(model.predict_proba(X), alone.predict_proba(X), rtol=0, atol=1e-6)
