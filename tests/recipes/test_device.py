"""The path of a GPU: its arithmetic on a processor, its placement on tensors without memory, and both on a real one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse

torch = pytest.importorskip("torch")

from miaudit.errors import PlanError  # noqa: E402
from miaudit.recipes import (  # noqa: E402
    Encoded,
    EstimatorRecipe,
    ModuleRecipe,
    Network,
    module_training,
    placed,
    stacked,
    training,
)
from miaudit.recipes.training import CPU, Records, Statistics, Update  # noqa: E402

SMALL = Network(hidden=(16, 12), optimizer="sgd", learning_rate=0.2, momentum=0.5, l2=1e-3, epochs=4, batch=32)
IMAGES = Network(kind="cnn", hidden=(8,), channels=(4,), kernel=3, epochs=3, batch=16, learning_rate=0.01)
RECIPES = {
    "sgd": SMALL,
    "adam": replace(SMALL, optimizer="adam", momentum=0.0, learning_rate=0.01, standardize=False),
    "relu": replace(SMALL, activation="relu", hidden=(16,)),
}


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the path of a GPU, on the processor: there is a device to name, and it is this one."""
    for module in (training, module_training):
        monkeypatch.setattr(module, "device_of", lambda name: CPU)


def world(n: int = 150, *, bits: bool = False) -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(n, 20)).astype(np.float32)
    y = (X[:, :5] + 0.3 * rng.normal(size=(n, 5))).argmax(axis=1)
    return (X > 0).astype(np.uint8) if bits else X, y


def trained(recipe: Any, X: Any, y: Any, *, models: int = 11) -> list[Any]:
    indices = [np.random.default_rng(seed).permutation(X.shape[0])[:75] for seed in range(models)]
    return recipe.fit_many(X, y, indices=indices, classes=5, seeds=range(models))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("bits", [False, True])
@pytest.mark.usefixtures("pretended")
def test_one_wide_group_trains_what_narrow_ones_do(recipe: Network, bits: bool) -> None:
    X, y = world(bits=bits)
    wide = replace(recipe, device="cuda")
    assert wide.group_width((20,), 5) == stacked.CUDA_MOST
    for one, other in zip(trained(recipe, X, y), trained(wide, X, y), strict=True):
        np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-6)


@pytest.mark.usefixtures("pretended")
def test_sparse_records_are_trained_dense_as_bytes() -> None:
    X = (np.random.default_rng(0).random((120, 300)) < 0.02).astype(np.float32)
    given = scipy.sparse.csr_array(X)
    assert Records(given).sparse
    there = Records(given, device=torch.device("meta"))
    assert not there.sparse
    assert there._rows.dtype == torch.uint8
    halves = Records(scipy.sparse.csr_array(X / 2), device=torch.device("meta"))
    assert halves._rows.dtype == torch.float32


def test_bfloat16_in_a_group_is_that_of_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = world()
    exact = trained(replace(SMALL, momentum=0.0), X, y)
    alone = trained(replace(SMALL, momentum=0.0, dtype="bfloat16"), X, y)
    monkeypatch.setattr(training, "device_of", lambda name: CPU)
    group = trained(replace(SMALL, momentum=0.0, dtype="bfloat16", device="cuda"), X, y)
    for one, two, three in zip(exact, alone, group, strict=True):
        assert np.abs(one.predict_proba(X) - three.predict_proba(X)).max() > 1e-5
        np.testing.assert_allclose(two.predict_proba(X), three.predict_proba(X), atol=0.02)


@pytest.mark.usefixtures("pretended")
def test_convolutions_and_modules_do_the_same_there() -> None:
    rng = np.random.default_rng(2)
    X, y = rng.integers(0, 255, (60, 1, 8, 8)).astype(np.uint8), np.arange(60) % 3
    module = ModuleRecipe(_module, epochs=2, batch=16)
    for recipe in (IMAGES, module):
        here, there = (each.fit(X, y, classes=3, seed=1) for each in (recipe, replace(recipe, device="cuda")))
        np.testing.assert_array_equal(here.predict_proba(X), there.predict_proba(X))


def _module() -> Any:
    layers = (torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Dropout(0.2))
    return torch.nn.Sequential(*layers, torch.nn.Linear(4 * 36, 3))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_stays_on_its_device(recipe: Network, dtype: str) -> None:
    """On torch's device without memory: shapes and types must fit, and nothing may be made on the processor."""
    X, _ = world()
    recipe, there = replace(recipe, device="cuda", dtype=dtype), torch.device("meta")
    with torch.inference_mode():
        records = Records(X, device=there)
        group = stacked.Group((20, *recipe.hidden, 5), 3, device=there, dtype=getattr(torch, dtype))
        group.fill(0, [torch.zeros(s) for w in recipe.weight_shapes((20,), 5) for s in (w, w[:1])])
        moved = records.affine(Statistics(np.zeros(20), np.ones(20))) if recipe.standardize else None
        affine = None if moved is None else (moved[0].expand(3, 1, 20), moved[1].expand(3, 1, 20))
        step = stacked._Step(group, 32, recipe, records, affine, [])
        step(*torch.zeros(2, 3, 32, dtype=torch.int64, device=there))
        update = Update([group.theta.view(-1)], optimizer=recipe.optimizer, momentum=recipe.momentum)
        update.step([group.gradient.view(-1)], 0.1)
    tensors = [each for thing in (group, step, update) for each in vars(thing).values()]
    tensors = [each for one in tensors for each in (one if isinstance(one, list) else [one])]
    assert {each.device for each in tensors if isinstance(each, torch.Tensor)} == {there}


def test_the_width_of_a_group_follows_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked.torch.cuda, "is_available", lambda: True)
    widths = []
    for free in (2**26, 2**30, 2**36):
        monkeypatch.setattr(stacked.torch.cuda, "mem_get_info", lambda free=free: (free, 2**37))
        widths.append(stacked.cuda_width(89_828, 600 + 4 * 228, 256))
    assert widths == [6, 96, 1024]
    assert stacked.cuda_width(10**10, 1, 1) == 1


def test_a_gpus_rows_have_other_names_and_a_processors_keep_theirs() -> None:
    for recipe in (SMALL, IMAGES, ModuleRecipe(_module)):
        assert "device" not in recipe.describe()
        assert replace(recipe, device="cuda").describe() == {**recipe.describe(), "device": "cuda"}


def test_what_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    tree = EstimatorRecipe(DecisionTreeClassifier())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for recipe in (SMALL, Encoded(SMALL, StandardScaler())):
        with pytest.raises(PlanError, match="needs an NVIDIA GPU"):
            placed(recipe, device="cuda")
        assert placed(recipe, device="auto") is recipe
    with pytest.raises(PlanError, match="needs an NVIDIA GPU"):
        trained(replace(SMALL, device="cuda"), *world())
    with pytest.raises(PlanError, match="device: .*DecisionTreeClassifier .*processor"):
        placed(tree, device="cuda")
    with pytest.raises(PlanError, match="dtype: .*DecisionTreeClassifier"):
        placed(tree, dtype="bfloat16")
    with pytest.raises(PlanError, match="float32 or bfloat16"):
        placed(SMALL, dtype="float16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert placed(SMALL, device="auto") == replace(SMALL, device="cuda")
    assert placed(Encoded(SMALL, None), dtype="bfloat16") == Encoded(replace(SMALL, dtype="bfloat16"), None)
    assert placed(tree, device="auto") is tree


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_gpu_trains_the_models_of_the_processor(recipe: Network) -> None:
    X, y = world()
    here, there = trained(recipe, X, y), trained(replace(recipe, device="cuda"), X, y)
    again = trained(replace(recipe, device="cuda"), X, y)
    for one, two, three in zip(here, there, again, strict=True):
        np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), atol=1e-3)
        np.testing.assert_array_equal(two.predict_proba(X), three.predict_proba(X))


@pytest.mark.gpu
def test_a_gpu_trains_in_bfloat16_drops_out_and_convolves() -> None:
    X, y = world(600)
    for change in ({"dtype": "bfloat16"}, {"dropout": 0.2}):
        model = replace(SMALL, device="cuda", epochs=30, **change).fit(X, y, classes=5, seed=1)
        assert (model.predict_proba(X).argmax(1) == y).mean() > 0.85
    rng = np.random.default_rng(2)
    images, labels = rng.integers(0, 255, (60, 1, 8, 8)).astype(np.uint8), np.arange(60) % 3
    for recipe in (IMAGES, ModuleRecipe(_module, epochs=2, batch=16), replace(IMAGES, dtype="bfloat16")):
        answers = replace(recipe, device="cuda").fit(images, labels, classes=3, seed=1).predict_proba(images)
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)
