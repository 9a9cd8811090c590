"""Counted masks of dropout: the published generator, independence, and training with them beside a plain loop."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch")

from miaudit.recipes import Network, training  # noqa: E402
from miaudit.recipes.masks import CountedMasks, Words, philox, round_keys  # noqa: E402
from miaudit.recipes.training import CPU, Generators, first_weights  # noqa: E402
from miaudit.seeds import child_seed  # noqa: E402

WORD = 0xFFFFFFFF
RECIPE = Network(
    hidden=(16, 12), optimizer="sgd", learning_rate=0.2, momentum=0.5, epochs=3, batch=32, dropout=0.3, device="cuda"
)


def plain_philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Philox4x32-10 with Python's whole numbers, which have no width to run over."""
    for step in range(10):
        keys = [(word + step * weyl) & WORD for word, weyl in zip(key, (0x9E3779B9, 0xBB67AE85), strict=True)]
        one, other = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = (other >> 32 ^ counter[1] ^ keys[0], other & WORD, one >> 32 ^ counter[3] ^ keys[1], one & WORD)
    return counter


def hashed(counters: Any, keys: Any) -> Any:
    """Return what `philox` makes of (n, 4) counters and (n, 2) keys, (n, 4)."""
    columns = [torch.tensor(np.asarray(each, np.int64).T.copy()) for each in (counters, keys)]
    return torch.stack(philox(Words(*columns[0]), round_keys(tuple(columns[1])))).T.numpy()


def drawn(seeds: Any, update: int, *, widths: Any = (64,), batch: int = 64, keep: float = 0.5) -> list[Any]:
    """Return the masks of an update, for each layer (models, batch, width), 0 or 1 / keep."""
    masks = [torch.full((len(seeds), batch * width), np.nan) for width in widths]
    CountedMasks(seeds, masks, keep, update=torch.full((1, 1), update)).draw()
    return [each.view(len(seeds), batch, -1).numpy() for each in masks]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_is_the_published_one(counter: str, key: str, expected: str) -> None:
    """Known answers that its authors ship with Random123 (kat_vectors, philox4x32 of ten rounds)."""
    words = [[int(word, 16) for word in text.split()] for text in (counter, key, expected)]
    assert hashed([words[0]], [words[1]]).tolist() == [words[2]]
    assert plain_philox(tuple(words[0]), tuple(words[1])) == tuple(words[2])


def test_philox_of_many_counters_is_that_of_each() -> None:
    numbers = np.random.default_rng(0).integers(0, 2**32, (300, 6))
    expected = [plain_philox(tuple(map(int, each[:4])), tuple(map(int, each[4:]))) for each in numbers]
    assert hashed(numbers[:, :4], numbers[:, 4:]).tolist() == [list(each) for each in expected]


def test_words_of_neighbouring_counters_are_uniform() -> None:
    """Of 2^16 counters in a row: all bits are even, and so are the 256 values of each byte."""
    counters = np.zeros((2**16, 4), np.int64)
    counters[:, 0] = np.arange(2**16)
    words = np.ascontiguousarray(hashed(counters, np.full((2**16, 2), child_seed(3, "dropout", "low"))), "<u4")
    bits = np.unpackbits(words.view(np.uint8)).reshape(2**16, 128)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / 2**8  # five standard errors
    for byte in words.view(np.uint8).reshape(2**16, 16).T:
        assert stats.chisquare(np.bincount(byte, minlength=256)).pvalue > 1e-5


def test_a_mask_is_what_the_documentation_says() -> None:
    seeds, update, keep = (5, 9), 2**33 + 7, 0.7
    masks = drawn(seeds, update, widths=(6, 4), batch=10, keep=keep)
    for (layer, mask), (model, seed) in itertools.product(enumerate(masks), enumerate(seeds)):
        key = child_seed(seed, "dropout", "low"), child_seed(seed, "dropout", "high")
        expected = [
            np.float32(
                plain_philox((place // 4, layer, update & WORD, update >> 32), key)[place % 4] < round(keep * 2**32)
            )
            for place in range(mask[model].size)
        ]
        np.testing.assert_array_equal(mask[model].ravel(), np.array(expected) / np.float32(keep))


@pytest.mark.parametrize("keep", [0.5, 0.9, 1 - 1e-4])
def test_the_share_that_stays_is_the_one_asked_for(keep: float) -> None:
    mask = np.concatenate([drawn(range(4), update, batch=256, keep=keep)[0] for update in range(8)])
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1) / np.float32(keep)}
    assert stats.binomtest(int((mask > 0).sum()), mask.size, keep).pvalue > 1e-5


def test_places_layers_updates_and_models_are_independent() -> None:
    """Correlations of masks that differ in one thing alone, 65,536 places each, are within five standard errors of none."""
    base = np.stack(
        [drawn([8, 9], update, widths=(64, 64), batch=1024) for update in (0, 1)]
    )  # (updates, layers, models, ...)
    signs = np.sign(base - 1)  # -1 or 1
    one = signs[0, 0, 0]
    pairs = {
        "model": (one, signs[0, 0, 1]),
        "layer": (one, signs[0, 1, 0]),
        "update": (one, signs[1, 0, 0]),
        "place": (one[:, :-1], one[:, 1:]),
        "word": (one[:, :-4], one[:, 4:]),
        "record": (one[:-1], one[1:]),
    }
    for name, (left, right) in pairs.items():
        assert abs((left * right).mean()) < 5 / left.size**0.5, name
    across = one[:, :-2] * one[:, 1:-1] * one[:, 2:]  # three in a row
    assert abs(across.mean()) < 5 / across.size**0.5


def test_a_mask_depends_on_no_other_model_layer_or_record() -> None:
    [first, second] = drawn([3, 4, 5], 6, widths=(20, 12), batch=30)
    np.testing.assert_array_equal(first[1:2], drawn([4], 6, widths=(20,), batch=30)[0])
    np.testing.assert_array_equal(second[:, :10], drawn([3, 4, 5], 6, widths=(8, 12), batch=10)[1])
    assert not np.array_equal(first[0], first[1])


def world() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(150, 20)).astype(np.float32)
    return X, (X[:, :5] + 0.3 * rng.normal(size=(150, 5))).argmax(axis=1)


def oracle(recipe: Network, X: Any, y: Any, *, seed: int) -> list[Any]:
    """Train one network by autograd in a plain loop, with the masks of each update asked for by its number."""
    streams = Generators.of(seed)
    leaves = [each.requires_grad_() for each in first_weights(recipe.weight_shapes(X.shape[1:], 5), streams.weights)]
    optimizer = torch.optim.SGD(leaves, lr=recipe.learning_rate, momentum=recipe.momentum)
    parts = [
        p for _ in range(recipe.epochs) for p in torch.randperm(len(X), generator=streams.order).split(recipe.batch)
    ]
    for update, part in enumerate(parts):
        masks = drawn([seed], update, widths=recipe.hidden, batch=len(part), keep=1 - recipe.dropout)
        value = torch.from_numpy(X)[part]
        for layer, mask in enumerate(masks):
            value = torch.nn.functional.linear(value, *leaves[2 * layer : 2 * layer + 2]).tanh() * torch.from_numpy(
                mask[0]
            )
        loss = torch.nn.functional.cross_entropy(
            torch.nn.functional.linear(value, *leaves[-2:]), torch.from_numpy(y)[part]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [leaf.detach().numpy() for leaf in leaves]


def furthest(left: Any, right: Any) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(left, right, strict=True))


def test_groups_on_a_gpu_train_with_counted_masks_whoever_is_in_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path on the processor: each model as a plain loop trains it, in a group of five, of two, and alone."""
    monkeypatch.setattr(training, "device_of", lambda name: CPU)
    X, y = world()
    recipe, seeds = replace(RECIPE, standardize=False), [3, 4, 5, 6, 7]
    indices = [np.random.default_rng(seed).permutation(150)[:70] for seed in seeds]

    def trained(models: slice) -> list[Any]:
        return recipe.fit_many(X, y, indices=indices[models], classes=5, seeds=seeds[models])

    together, few, alone = trained(slice(None)), trained(slice(2)), trained(slice(1))
    for model, index, seed in zip(together, indices, seeds, strict=True):
        assert furthest(model.tensors, oracle(recipe, X[index], y[index], seed=seed)) < 2e-6
    for one, other in [*zip(together, few, strict=False), *zip(few, alone, strict=False)]:
        assert furthest(one.tensors, other.tensors) <= 1e-6
    drawn_masks = replace(recipe, device="cpu").fit_many(X, y, indices=indices, classes=5, seeds=seeds)
    assert furthest(together[0].tensors, drawn_masks[0].tensors) > 0.01  # whose masks come from its generator


@pytest.mark.gpu
def test_a_gpu_counts_the_masks_of_the_processor() -> None:
    seeds, there = range(5), torch.device("cuda")
    masks = [torch.zeros(5, 4096, device=there) for _ in range(2)]
    CountedMasks(seeds, masks, 0.7, update=torch.full((1, 1), 2**32 + 3, device=there)).draw()
    for mask, expected in zip(masks, drawn(seeds, 2**32 + 3, widths=(64, 64), keep=0.7), strict=True):
        np.testing.assert_array_equal(mask.view(5, 64, 64).cpu().numpy(), expected)
