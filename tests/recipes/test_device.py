"""The path of a GPU: its arithmetic on a processor, its placement on tensors without memory, and both on a real one."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from miaudit.errors import PlanError  # noqa: E402
from miaudit.recipes import (  # noqa: E402
    Encoded,
    EstimatorRecipe,
    ModuleRecipe,
    Network,
    Portioned,
    module_training,
    placed,
    stacked,
    training,
    width,
)
from miaudit.recipes.training import CPU, Records, Statistics, Update  # noqa: E402

SMALL = Network(hidden=(16, 12), optimizer="sgd", learning_rate=0.2, momentum=0.5, l2=1e-3, epochs=4, batch=32)
IMAGES = Network(kind="cnn", hidden=(8,), channels=(4,), kernel=3, epochs=3, batch=16, learning_rate=0.01)
RECIPES = {
    "sgd": SMALL,
    "adam": replace(SMALL, optimizer="adam", momentum=0.0, learning_rate=0.01, standardize=False),
    "relu": replace(SMALL, activation="relu", hidden=(16,)),
}
DROPPING = replace(SMALL, dropout=0.3)


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
    assert wide.group_width((20,), 5) == width.CUDA_MOST
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


def test_statistics_summed_where_batches_are_gathered_are_those_of_the_processor() -> None:
    rng = np.random.default_rng(3)
    index = rng.permutation(9000)[:5000].astype(np.int64)  # more than a block
    kinds = {
        "numbers": 1e3 + rng.normal(size=(9000, 7)),
        "bits": rng.integers(0, 2, (9000, 7)).astype(np.uint8),
        "images": rng.integers(0, 255, (9000, 3, 4, 4)).astype(np.uint8),
    }
    for X in kinds.values():
        records = Records(X, channels_last=X.ndim > 2)
        mean = records._sums(index, None) / len(index)
        np.testing.assert_allclose(records._sums_there(index, None) / len(index), mean, rtol=1e-12)
        np.testing.assert_allclose(records._sums_there(index, mean), records._sums(index, mean), rtol=1e-10)


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


@pytest.mark.parametrize("recipe", [*RECIPES.values(), DROPPING], ids=[*RECIPES, "dropout"])
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
        step = stacked._Step(group, 32, recipe, records, affine, seeds=range(3), generators=[])
        step(*torch.zeros(2, 3, 32, dtype=torch.int64, device=there), 0)
        update = Update([group.theta.view(-1)], optimizer=recipe.optimizer, momentum=recipe.momentum)
        update.step([group.gradient.view(-1)], 0.1)
    tensors = [each for thing in (group, step, step.dropout, update) for each in tensors_of(list(vars(thing).values()))]
    assert {each.device for each in tensors} == {there}


def tensors_of(thing: Any) -> list[Any]:
    """Return all tensors in nested lists and tuples."""
    if isinstance(thing, list | tuple):
        return [each for part in thing for each in tensors_of(part)]
    return [thing] if isinstance(thing, torch.Tensor) else []


def test_the_width_of_a_group_follows_the_memory_that_is_free() -> None:
    widths = [width.cuda_width(89_828, 600 + 4 * 228, 256, free=free) for free in (2**26, 2**30, 2**36)]
    assert widths == [6, 96, 256]
    assert width.cuda_width(10**10, 1, 1, free=2**30) == 1


class Allocated(TorchDispatchMode):
    """Counts the bytes of tensors that code makes, and the most of them at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.most, self._sizes = 0, dict[int, int]()

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = call(*args, **(kwargs or {}))
        for tensor in tensors_of(result):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._sizes:
                self._sizes[storage.data_ptr()] = storage.nbytes()
                weakref.finalize(storage, self._sizes.pop, storage.data_ptr())
        self.most = max(self.most, sum(self._sizes.values()))
        return result


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("features", "hidden", "classes"), [(4, (96, 64), 2), (300, (8,), 3), (4, (8,), 200)])
def test_a_step_of_a_group_takes_no_more_memory_than_its_width_is_chosen_by(
    dropout: float, dtype: Any, features: int, hidden: tuple[int, ...], classes: int
) -> None:
    recipe = Network(hidden=hidden, batch=512, dropout=dropout, activation="relu", device="cuda")
    records, affine = Records(np.ones((9, features), np.float32)), (torch.zeros(3, 1, features),) * 2
    index = torch.zeros(3, recipe.batch, dtype=torch.int64)
    random = {"seeds": range(3), "generators": [torch.Generator()] * 3}
    with torch.inference_mode(), Allocated() as allocated:
        group = stacked.Group((features, *hidden, classes), 3, dtype=dtype)
        update = Update([group.theta.view(-1)], optimizer="adam")
        step = stacked._Step(group, recipe.batch, recipe, records, affine, **random)  # type: ignore[arg-type]
        step(index, index, 0)
        update.step([group.gradient.view(-1)], 0.1)
    floats = width.cuda_floats(features, sum(hidden), classes, dropout=dropout > 0)
    estimate = 4 * (6 * group.theta.shape[1] + recipe.batch * floats)
    assert (0.4 if dtype == torch.bfloat16 else 0.6) < allocated.most / 3 / estimate < 1.02


def test_memory_that_torch_keeps_for_tensors_to_come_is_free() -> None:
    """What the driver calls free sinks as torch's cache grows, and what models can take does not."""
    assert width.usable_bytes(70, reserved=0, allocated=0) == 70
    assert width.usable_bytes(40, reserved=30, allocated=30) == 40  # all of it in tensors
    assert width.usable_bytes(40, reserved=30, allocated=10) == 60
    assert width.usable_bytes(40, reserved=30, allocated=0) == 70  # a group is over, and its memory is in the cache


def test_a_group_is_bounded_by_the_work_of_its_models() -> None:
    """600-128-100, 10,000 records: a group is full at 200 epochs, and of fewer models the longer each trains."""
    recipe = Network(hidden=(128,), device="cuda")
    portions = [replace(recipe, epochs=e).portion((600,), 100, records=10_000) for e in (1, 200, 1000, 10_000, 10**9)]
    assert portions == [256, 256, 66, 6, 1]
    assert replace(recipe, epochs=1000).portion((600,), 100, records=5_000) == 133
    assert replace(recipe, device="cpu").portion((600,), 100, records=10_000) is None
    module = ModuleRecipe(_perceptron, epochs=40_000, device="cuda")
    for each in (module, Encoded(module, None)):
        assert isinstance(each, Portioned)
        assert each.portion((20,), 5, records=100_000) == 6e13 // ((20 + 1) * 8 + (8 + 1) * 5) // 100_000 // 40_000
    assert ModuleRecipe(_module, device="cuda").portion((1, 8, 8), 3, records=60) is None


def _perceptron() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(20, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))


def test_a_gpus_rows_have_other_names_and_a_processors_keep_theirs() -> None:
    for recipe in (SMALL, IMAGES, ModuleRecipe(_module)):
        assert "device" not in recipe.describe()
        for name in ("cuda", "cuda:1"):
            assert replace(recipe, device=name).describe() == {**recipe.describe(), "device": "cuda", "tf32": False}


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
def test_a_gpu_drops_out_what_the_same_masks_do_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = world()
    recipe = replace(DROPPING, device="cuda")
    there, again = trained(recipe, X, y), trained(recipe, X, y)
    monkeypatch.setattr(training, "device_of", lambda name: CPU)
    for one, two, three in zip(trained(recipe, X, y), there, again, strict=True):
        np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), atol=1e-3)
        np.testing.assert_array_equal(two.predict_proba(X), three.predict_proba(X))


@pytest.mark.gpu
def test_convolutions_of_a_gpu_are_of_float32_and_not_tf32() -> None:
    """The same weights answer alike on both, nearer than factors with the 10 bits of a TF32 fraction allow."""
    rng = np.random.default_rng(2)
    images, labels = rng.integers(0, 255, (60, 3, 16, 16)).astype(np.uint8), np.arange(60) % 3
    model = replace(IMAGES, channels=(32,), kernel=5, epochs=20).fit(images, labels, classes=3, seed=1)
    there = replace(model, recipe=replace(model.recipe, device="cuda"))
    np.testing.assert_allclose(there.predict_proba(images), model.predict_proba(images), atol=1e-5)
    assert torch.backends.cudnn.allow_tf32  # as torch begins


@pytest.mark.gpu
def test_memory_of_tensors_that_are_gone_is_free_on_a_gpu() -> None:
    before = stacked.cuda_free("cuda")
    held = torch.zeros(2**28, device="cuda")  # 1 GiB
    assert before - stacked.cuda_free("cuda") >= 2**30
    del held
    assert before - stacked.cuda_free("cuda") < 2**28  # the context of CUDA may have come meanwhile


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
