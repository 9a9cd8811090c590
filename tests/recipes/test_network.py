"""The network recipe: what it learns, what it accepts and refuses, its files."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

torch = pytest.importorskip("torch")

from miaudit.errors import DataError, PlanError  # noqa: E402
from miaudit.recipes import training  # noqa: E402
from miaudit.recipes.network import PRESETS, Network, load_weights, save_weights  # noqa: E402
from miaudit.recipes.training import Generators, first_weights  # noqa: E402

SMALL = Network(hidden=(16,), optimizer="sgd", learning_rate=0.1, epochs=4, batch=16, standardize=False)
CNN = replace(SMALL, kind="cnn", channels=(4, 6), kernel=3, padding=1, standardize=True)


@pytest.fixture(scope="module")
def binary() -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, 240)
    X = rng.random((240, 30)) < np.where(np.arange(30) % 4 == y[:, None], 0.8, 0.2)
    return X.astype(np.uint8), y


@pytest.fixture(scope="module")
def images() -> tuple[Any, Any]:
    """Bright in one of three rows of a 3 x 8 x 8 image."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 120)
    X = rng.integers(0, 120, (120, 3, 8, 8))
    X[np.arange(120), :, 2 * y + 1, :] += 100
    return X.astype(np.uint8), y


def accuracy(model: Any, X: Any, y: Any) -> float:
    return float((model.predict_proba(X).argmax(axis=1) == y).mean())


def test_it_learns_and_answers_with_probabilities(binary: Any) -> None:
    X, y = binary
    model = replace(SMALL, epochs=30).fit(X, y, classes=4, seed=1)
    answers = model.predict_proba(X)
    assert accuracy(model, X, y) > 0.95
    assert answers.shape == (240, 4)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-12)
    extra = replace(SMALL, epochs=30).fit(X, y, classes=6, seed=1).predict_proba(X)  # classes nobody has
    assert extra.shape == (240, 6)
    assert extra[:, 4:].max() < 0.1


@pytest.mark.parametrize("recipe", [SMALL, CNN], ids=["mlp", "cnn"])
def test_the_seed_and_nothing_else_decides(images: Any, recipe: Network) -> None:
    X, y = images
    first, again, other = (recipe.fit(X, y, classes=3, seed=seed).predict_proba(X) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("kind", [np.uint8, np.int8, bool, np.int64, np.float32, np.float64])
def test_types_of_records_make_no_difference(binary: Any, kind: Any) -> None:
    X, y = binary
    expected = SMALL.fit(X.astype(np.float32), y, classes=4, seed=1)
    given = X.astype(kind)
    given.flags.writeable = False
    model = SMALL.fit(given, y, classes=4, seed=1)
    assert np.array_equal(model.predict_proba(given), expected.predict_proba(X.astype(np.float32)))


@pytest.mark.parametrize("limit", [training.DENSE_BYTES, 0], ids=["dense-once", "dense-by-batch"])
@pytest.mark.parametrize("standardize", [False, True])
def test_sparse_records_train_as_dense_ones(
    binary: Any, monkeypatch: pytest.MonkeyPatch, limit: int, standardize: bool
) -> None:
    X, y = binary
    recipe = replace(SMALL, standardize=standardize)
    expected = recipe.fit(X.astype(np.float32), y, classes=4, seed=1).predict_proba(X.astype(np.float32))
    monkeypatch.setattr(training, "DENSE_BYTES", limit)
    sparse = scipy.sparse.csr_array(X.astype(np.float64))
    answers = recipe.fit(sparse, y, classes=4, seed=1).predict_proba(sparse)
    np.testing.assert_allclose(answers, expected, atol=1e-9)


def test_standardising_uses_the_training_records_only(binary: Any) -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(200, 6)) * [1, 10, 1e-3, 5, 1, 0] + [0, 100, 1, -3, 0, 42]  # the last is constant
    y = (X[:, 0] > 0).astype(np.int64)
    index = np.arange(50, 130)
    Z = (X - X[index].mean(axis=0)) / np.where(X[index].std(axis=0) > 0, X[index].std(axis=0), 1)
    [model] = replace(SMALL, standardize=True).fit_many(X, y, indices=[index], classes=2, seeds=[4])
    expected = SMALL.fit(Z[index], y[index], classes=2, seed=4)
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(Z), atol=1e-4)
    np.testing.assert_allclose(model.mean, X[index].mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("recipe", [replace(SMALL, standardize=True), CNN], ids=["mlp", "cnn"])
def test_images_of_bytes_are_scaled_and_standardised_by_channel(images: Any, recipe: Network) -> None:
    X, y = images
    unit = X.astype(np.float64) / 255
    mean, std = unit.mean(axis=(0, 2, 3)), unit.std(axis=(0, 2, 3))
    model = recipe.fit(X, y, classes=3, seed=1)
    np.testing.assert_allclose(model.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(model.scale, std, rtol=1e-12)
    by_hand = (unit - mean[:, None, None]) / std[:, None, None]
    expected = replace(recipe, standardize=False).fit(by_hand, y, classes=3, seed=1).predict_proba(by_hand)
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-4)
    raw = replace(recipe, standardize=False)  # bytes are divided by 255 all the same
    left = raw.fit(X, y, classes=3, seed=1).predict_proba(X)
    right = raw.fit(unit, y, classes=3, seed=1).predict_proba(unit)
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_grey_images_may_lack_the_channel(images: Any) -> None:
    X, y = images
    flat, full = X[:, 0], X[:, :1]
    for recipe in (SMALL, CNN):
        model = recipe.fit(flat, y, classes=3, seed=1)
        assert np.array_equal(model.predict_proba(flat), recipe.fit(full, y, classes=3, seed=1).predict_proba(full))
        assert model.shape == (1, 8, 8)


@pytest.mark.parametrize(
    "change",
    [{"momentum": 0.9, "l2": 1e-3, "learning_rate_decay": 1e-2}, {"optimizer": "adam", "learning_rate": 0.005}],
    ids=["sgd", "adam"],
)
def test_a_convolutional_network_equals_a_plain_module(images: Any, change: Any) -> None:
    X, y = images
    X = X.astype(np.float32) / 255
    recipe = replace(CNN, standardize=False, epochs=2, **change)
    model = recipe.fit(X, y, classes=3, seed=9)

    streams = Generators.of(9)
    net = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Conv2d(4, 6, 3, padding=1), torch.nn.Tanh(), torch.nn.MaxPool2d(2), torch.nn.Flatten()),
        *(torch.nn.Linear(24, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)),
    )
    with torch.no_grad():
        tensors = first_weights(recipe.weight_shapes((3, 8, 8), 3), streams.weights)
        for parameter, tensor in zip(net.parameters(), tensors, strict=True):
            parameter.copy_(tensor)
    if recipe.optimizer == "adam":
        optimizer = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate)
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=recipe.learning_rate, momentum=0.9, weight_decay=2e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t * recipe.learning_rate_decay))
    for _ in range(recipe.epochs):
        for part in torch.randperm(120, generator=streams.order).split(recipe.batch):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(torch.from_numpy(X)[part]), torch.from_numpy(y)[part]).backward()
            optimizer.step()
            schedule.step()
    for ours, theirs in zip(model.tensors, net.parameters(), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=2e-5)


def test_a_convolutional_network_learns_and_drops_out(images: Any) -> None:
    X, y = images
    recipe = replace(CNN, epochs=12, dropout=0.3)
    assert accuracy(recipe.fit(X, y, classes=3, seed=1), X, y) > 0.95
    many = recipe.fit_many(X, y, indices=[np.arange(60), np.arange(50, 120)], classes=3, seeds=[1, 2])
    alone = recipe.fit(X[50:], y[50:], classes=3, seed=2)
    assert np.array_equal(many[1].predict_proba(X), alone.predict_proba(X))


@pytest.mark.parametrize("recipe", [replace(SMALL, standardize=True), SMALL, CNN], ids=["mlp", "raw", "cnn"])
def test_weights_come_back_from_a_file(images: Any, tmp_path: Path, recipe: Network) -> None:
    X, y = images
    model = recipe.fit(X, y, classes=3, seed=1)
    save_weights(model, tmp_path / "net.safetensors")
    back = load_weights(recipe, tmp_path / "net.safetensors", classes=3, shape=X.shape[1:])
    assert np.array_equal(back.predict_proba(X), model.predict_proba(X))


def test_the_state_of_a_plain_torch_module_loads(binary: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    X, _ = binary
    sizes = [30, *range(10, 21), 4]  # enough layers that "10" sorts before "2" as text
    layers: list[Any] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    recipe = replace(SMALL, hidden=tuple(sizes[1:-1]), activation="relu")
    model = load_weights(recipe, tmp_path / "net.safetensors", classes=4, shape=(30,))
    expected = torch.softmax(net(torch.from_numpy(X.astype(np.float32))), dim=1).detach().numpy()
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-6)
    with pytest.raises(PlanError, match="standardize = false"):
        load_weights(replace(recipe, standardize=True), tmp_path / "net.safetensors", classes=4, shape=(30,))


def test_files_that_do_not_fit_are_refused(binary: Any, tmp_path: Path) -> None:
    X, y = binary
    path = tmp_path / "net.safetensors"
    save_weights(SMALL.fit(X, y, classes=4, seed=1), path)
    with pytest.raises(PlanError, match="2 problems") as caught:
        load_weights(SMALL, path, classes=5, shape=(30,))
    assert "layers.1.weight" in str(caught.value)
    with pytest.raises(PlanError, match="4 arrays"):
        load_weights(replace(SMALL, hidden=(16, 16)), path, classes=4, shape=(30,))
    with pytest.raises(PlanError, match="cannot read weights"):
        load_weights(SMALL, tmp_path / "absent.safetensors", classes=4, shape=(30,))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PlanError, match="cannot read weights"):
        load_weights(SMALL, path, classes=4, shape=(30,))


def test_every_problem_of_a_recipe_is_listed_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        Network(
            hidden=(0,),
            activation="swish",  # type: ignore[arg-type]
            optimizer="adam",
            momentum=0.9,
            learning_rate=-1,
            dropout=1.0,
            epochs=True,
            batch=2.5,  # type: ignore[arg-type]
            l2=float("nan"),
        )
    named = {path for path, _ in caught.value.problems}
    assert named == {"hidden", "activation", "momentum", "learning_rate", "dropout", "epochs", "batch", "l2"}
    with pytest.raises(PlanError, match="purchase"):
        Network.preset("purchases")
    with pytest.raises(PlanError, match="rate"):
        Network.preset("purchase", rate=1)


def test_records_and_labels_that_do_not_fit_are_refused(binary: Any, images: Any) -> None:
    X, y = binary
    with pytest.raises(DataError, match="0 to 2"):
        SMALL.fit(X, y, classes=3, seed=1)
    with pytest.raises(DataError, match="float64"):
        SMALL.fit(X, y.astype(float), classes=4, seed=1)
    with pytest.raises(PlanError, match="takes images"):
        CNN.fit(X, y, classes=4, seed=1)
    with pytest.raises(PlanError, match="too small"):
        replace(CNN, kernel=7, padding=0).fit(*images, classes=3, seed=1)
    with pytest.raises(DataError, match="at least one"):
        SMALL.fit_many(X, y, indices=[np.arange(3), np.array([], dtype=int)], classes=4, seeds=[1, 2])
    with pytest.raises(PlanError, match="one seed"):
        SMALL.fit_many(X, y, indices=[np.arange(3)], classes=4, seeds=[1, 2])
    model = replace(SMALL, epochs=1).fit(X, y, classes=4, seed=1)
    with pytest.raises(DataError, match=r"\(29,\)"):
        model.predict_proba(X[:, :29])


def test_a_diverged_network_says_so_and_spares_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(40, 4)), rng.normal(size=(40, 4)) * 1e25])
    y = rng.integers(0, 2, 80)
    recipe = replace(SMALL, activation="relu", learning_rate=10.0)
    calm, wild = recipe.fit_many(X, y, indices=[np.arange(40), np.arange(40, 80)], classes=2, seeds=[1, 2])
    assert np.isfinite(calm.predict_proba(X[:40])).all()
    with pytest.raises(PlanError, match="diverged"):
        wild.predict_proba(X[:40])


def test_describe_is_json_and_tells_recipes_apart() -> None:
    seen = set()
    other = {
        "kind": "cnn",
        "hidden": (9,),
        "activation": "relu",
        "optimizer": "sgd",
        "channels": (5,),
        "standardize": False,
        "kernel": 7,
        "padding": 2,
        "dropout": 0.5,
        "dtype": "bfloat16",
        "device": "cuda",
    }
    base = Network(kind="cnn", optimizer="sgd")
    for field in fields(Network):
        value = other.get(field.name, 0.5 if isinstance(getattr(base, field.name), float) else 3)
        changed = Network() if field.name == "kind" else replace(base, **{field.name: value})
        if changed != base:
            seen.add(json.dumps(changed.describe(), sort_keys=True))
    assert len(seen) == len(fields(Network)) - 1  # all but "optimizer", which is the base's
    assert json.loads(json.dumps(base.describe()))["channels"] == [32, 64]
    assert "channels" not in Network().describe()
    assert Network(hidden=[4, 3]) == Network(hidden=(4, 3))  # type: ignore[arg-type]
    assert Network().name == "mlp 128 tanh"


def test_presets_are_the_nets_of_the_paper() -> None:
    purchase = Network.preset("purchase", epochs=3)
    assert purchase == replace(PRESETS["purchase"], epochs=3)
    assert (purchase.hidden, purchase.activation) == ((128,), "tanh")
    for preset in PRESETS.values():  # the published rate and decay, for one record an update
        assert preset.learning_rate / preset.batch == pytest.approx(0.001)
        assert preset.learning_rate_decay / preset.batch == pytest.approx(1e-7)
    shapes = PRESETS["cifar"].weight_shapes((3, 32, 32), 10)
    assert shapes == [(32, 3, 5, 5), (64, 32, 5, 5), (128, 1600), (10, 128)]


def test_without_torch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, binary: Any) -> None:
    X, y = binary
    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (lambda: SMALL.fit(X, y, classes=4, seed=1), SMALL.describe):
        with pytest.raises(PlanError, match=r"pip install 'miaudit\[torch\]'"):
            call()


def test_importing_the_recipe_does_not_import_torch() -> None:
    code = "import sys, miaudit.recipes.network; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
