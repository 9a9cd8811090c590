"""Protected data: budgets, patterns of classes, and kernels that agree with networks."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise, product

import numpy as np
import pytest
from scipy.special import erf

from miaudit.data.protect import (
    Autoregressive,
    Blur,
    ClassNoise,
    Compression,
    Convolution,
    ErrorMinimising,
    Grey,
    OnePixel,
    Projection,
    Separable,
    Tangent,
    TangentKernel,
    protect,
)
from miaudit.data.protect.classwise import _contrast
from miaudit.data.protect.filters import residual
from miaudit.data.protect.surrogate import Surrogate
from miaudit.data.protect.tangent import Blocks
from miaudit.errors import DataError, PlanError

EPSILON = 8 / 255
BOUNDED = [ClassNoise(), ErrorMinimising(turns=5, hidden=16), Tangent(steps=2, block=32, validation=20)]
GENERATORS = [*BOUNDED, Separable(patch=4), OnePixel(), Convolution(), Autoregressive()]
COUNTERMEASURES = [Grey(), Blur(), Compression(), Projection()]


def images(n: int = 60, *, channels: int = 3, side: int = 10, tint: float = 0.05):
    """Smooth images whose brightness depends a little on the class."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    coarse = rng.random((n, channels, side // 2, side // 2))
    X = np.kron(coarse, np.ones((2, 2))) * 0.8 + tint * y[:, None, None, None]
    return (255 * X).astype(np.uint8), y


def name(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize("generator", GENERATORS, ids=name)
def test_records_keep_their_form_and_equal_seeds_give_equal_records(generator):
    X, y = images(channels=1 if isinstance(generator, Autoregressive) else 3)  # fewer channels, fewer draws
    before = X.copy()
    first, again, other = (protect(generator, X, y, seed=seed) for seed in (1, 1, 2))
    assert (X == before).all()
    assert first.dtype == np.uint8
    assert first.shape == X.shape
    assert (first == again).all()
    assert isinstance(generator, OnePixel) or (first != other).any()
    assert (first != X).reshape(len(X), -1).any(axis=1).all()
    numbers = protect(generator, X.astype(np.float32) / 255, y, seed=1)
    assert numbers.dtype == np.float32
    assert 0 <= numbers.min() <= numbers.max() <= 1


@pytest.mark.parametrize("generator", BOUNDED, ids=name)
@pytest.mark.parametrize("form", [np.uint8, np.float64], ids=["bytes", "numbers"])
def test_no_number_leaves_its_budget(generator, form):
    X, y = images()
    X = X if form == np.uint8 else X / 255
    change = np.abs(protect(generator, X, y, seed=3).astype(float) - X) / (255 if form == np.uint8 else 1)
    assert change.max() <= EPSILON + 1e-9
    assert change.max() > 0.9 * EPSILON


def test_a_budget_that_is_no_whole_level_is_rounded_towards_the_record():
    X, y = images()
    change = np.abs(protect(ClassNoise(epsilon=2.7 / 255), X, y, seed=1).astype(int) - X)
    assert change.max() == 2


@pytest.mark.parametrize("generator", [ClassNoise(), ErrorMinimising(turns=5, hidden=16), OnePixel()], ids=name)
def test_records_of_a_class_have_the_same_pattern(generator):
    X, y = images()
    pattern = generator.fit(X, y, seed=1)
    grey = np.full_like(X, 128)
    changed = pattern.apply(grey, y, seed=1)
    other = pattern.apply(np.full_like(X[:9], 128), np.arange(9) % 3, seed=2)
    for k in range(3):
        assert (changed[y == k] == changed[y == k][0]).all()
        assert (other[k] == changed[y == k][0]).all()
    assert len({row.tobytes() for row in changed}) == 3


@pytest.mark.parametrize("generator", [Separable(patch=4), Autoregressive(norm=0.5)], ids=name)
def test_noise_has_its_norm_in_proportion_to_the_numbers(generator):
    X, y = images(30, side=16)
    noise = generator.fit(X, y, seed=1).noise(y, seed=2)
    assert np.allclose(np.linalg.norm(noise.reshape(30, -1), axis=1), generator.norm * 0.5)  # of 768 for 3072 numbers


def test_separable_noise_fills_patches_and_is_told_by_its_nearest_centre():
    X, y = images(60)
    clusters = Separable(patch=4).fit(X, y, seed=1)
    noise = clusters.noise(y, seed=2)
    assert noise.shape == X.shape
    assert (noise[:, :, :4, :4] == noise[:, :, :1, :1]).all()
    assert (noise[:, :, 8:, 8:] == noise[:, :, 8:9, 8:9]).all()  # what is left at the edge is a patch, too
    means = np.stack([noise[y == k].mean(axis=0) for k in range(3)])
    nearest = ((noise[:, None] - means) ** 2).sum(axis=(2, 3, 4)).argmin(axis=1)
    assert (nearest == y).all()
    assert len({row.tobytes() for row in noise}) == 60  # a cluster, no single point


def test_autoregressive_noise_obeys_the_weights_of_its_class_and_no_others():
    X, y = images(30, channels=1, side=16)
    processes = Autoregressive().fit(X, y, seed=1)
    noise = processes.noise(y, seed=2)
    for k in range(3):
        own = noise[y == k]
        assert residual(own, processes.weights[k]).max() < 1e-9
        assert min(residual(own, processes.weights[j]).min() for j in range(3) if j != k) > 1e-2
    assert np.allclose(processes.weights.sum(axis=2), 1)


def test_one_pixel_maximises_what_it_is_chosen_by():
    X, y = images(30, channels=1, side=4)
    pixels = OnePixel().fit(X, y)
    x = X[y == 0, 0].reshape(10, -1) / 255
    naive = {
        (place, colour): np.abs(colour - x[:, place]).mean() / (np.abs(colour - x[:, place]).std() + 1e-6)
        for place in range(16)
        for colour in (0.0, 1.0)
    }
    assert max(naive, key=naive.get) == (pixels.places[0], pixels.colours[0][0])
    assert len(set(pixels.places)) == 3
    changed = pixels.apply(X, y)
    assert ((changed != X).reshape(30, -1).sum(axis=1) <= 1).all()


def test_convolution_sums_the_neighbours_and_ends_at_the_maximum():
    X, y = images(6, side=6)
    filters = Convolution().fit(X, y, seed=1)
    assert ((filters.filters == 1).sum(axis=(1, 2)) == 1).all()
    changed = filters.apply(X / 255, y)
    wide, naive = np.pad(X[4] / 255, [(0, 0), (1, 1), (1, 1)]), np.zeros((3, 6, 6))
    for c, i, j in np.ndindex(naive.shape):
        naive[c, i, j] = (filters.filters[y[4]] * wide[c, i : i + 3, j : j + 3]).sum()
    assert np.allclose(changed[4], naive / naive.max())


@pytest.mark.slow
def test_a_network_learns_error_minimising_noise_and_nothing_else():
    """Where records say nothing of their class, the noise alone tells it, also that of records never learned from."""
    X, y = images(300, tint=0)
    noise = ErrorMinimising(epsilon=0.1, step=0.01, hidden=32).fit(X[:200], y[:200], seed=1)
    changed = noise.apply(X, y).reshape(300, -1) / 255
    net = Surrogate(300, 32, 3, np.random.default_rng(0))
    for _ in range(200):
        net.step(changed[:200], y[:200])
    assert net.error(changed[200:], y[200:]) < 0.1
    assert net.error(X[200:].reshape(100, -1) / 255, y[200:]) > 0.4


def test_the_surrogate_s_gradient_is_that_of_its_loss():
    rng = np.random.default_rng(1)
    net, x, y = Surrogate(5, 7, 3, rng), rng.random((4, 5)), np.array([0, 1, 2, 0])

    def loss(x):
        hidden = np.maximum((x - 0.5) @ net.weights[0], 0)
        answers = hidden @ net.weights[2]
        return (np.log(np.exp(answers).sum(axis=1)) - answers[np.arange(4), y]).sum()

    assert np.allclose(net.by_inputs(x, y), numerical(loss, x), atol=1e-6)


def numerical(function, x, step=1e-6):
    """Central differences of a function of an array."""
    slope = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        slope[place] = (function(up) - function(down)) / (2 * step)
    return slope


def test_the_kernel_is_that_of_wide_networks():
    """The mean over 30 networks of width 300 of the products of their gradients by all parameters."""
    kernel, rng = TangentKernel(layers=3), np.random.default_rng(0)
    x, z = rng.random((3, 6)), rng.random((4, 6))
    products = []
    for _ in range(30):
        sizes = [6, 300, 300, 1]
        weights = [rng.normal(size=(a, b)) for a, b in pairwise(sizes)]
        biases = [rng.normal(size=b) for b in sizes[1:]]
        products.append(gradients(x, weights, biases, kernel) @ gradients(z, weights, biases, kernel).T)
    assert np.abs(np.mean(products, axis=0) / kernel(x, z) - 1).max() < 0.05


def gradients(x, weights, biases, kernel):
    """(n, parameters) of a network with error-function units, by hand."""
    inputs, sums = [x], []
    for weight, bias in zip(weights, biases, strict=True):
        sums.append(np.sqrt(kernel.weight / len(weight)) * inputs[-1] @ weight + np.sqrt(kernel.bias) * bias)
        inputs.append(erf(sums[-1]))
    back, parts = np.ones((len(x), 1)), []
    for i in reversed(range(len(weights))):
        scale = np.sqrt(kernel.weight / len(weights[i]))
        parts += [(scale * inputs[i][:, :, None] * back[:, None]).reshape(len(x), -1), np.sqrt(kernel.bias) * back]
        if i:
            back = scale * back @ weights[i].T * 2 / np.sqrt(np.pi) * np.exp(-(sums[i - 1] ** 2))
    return np.hstack(parts)


def test_the_kernel_s_gradient_is_that_of_differences():
    rng = np.random.default_rng(2)
    kernel, x, z = TangentKernel(layers=4), rng.random((4, 5)), rng.random((3, 5))
    slope, square = rng.normal(size=(4, 3)), rng.normal(size=(4, 4))
    assert np.allclose(kernel.by_first(x, z, slope), numerical(lambda a: (slope * kernel(a, z)).sum(), x), atol=1e-6)
    both = kernel.by_first(x, x, square, same=True)
    assert np.allclose(both, numerical(lambda a: (square * kernel(a, a)).sum(), x), atol=1e-6)


@pytest.mark.parametrize("time", [5.0, 500.0])
def test_the_tangent_loss_is_that_of_the_trained_kernel_and_so_is_its_gradient(time):
    rng = np.random.default_rng(3)
    attack = Tangent(time=time, ridge=1e-3, kernel=TangentKernel(layers=2))
    blocks = Blocks(attack, rng.random((5, 6)), np.array([0, 1, 2, 0, 1]), 3, (6,))
    x, targets = rng.random((4, 6)), np.eye(3)[[0, 1, 2, 1]]
    loss, slope = blocks.loss_by(x, targets)
    within = attack.kernel(x, x)
    within += 1e-3 * np.trace(within) / 4 * np.eye(4)
    weights, steps = np.zeros((4, 3)), 20_000  # gradient descent on the squared error, in small steps
    for _ in range(steps):
        weights += time / 12 / steps * (targets - within @ weights)
    answers = attack.kernel(blocks.x, x) @ weights
    naive = (np.log(np.exp(answers).sum(axis=1)) - answers[np.arange(5), blocks.y]).mean()
    assert loss == pytest.approx(naive, rel=2e-3)
    assert np.allclose(slope, numerical(lambda a: blocks.loss_by(a, targets)[0], x), atol=1e-6)


def test_tangent_noise_raises_the_loss_on_clean_records():
    X, y = images(60)
    attack = Tangent(block=40, validation=20)
    blocks = attack.fit(X[:20], y[:20], seed=1)
    changed = blocks.apply(X[20:], y[20:], seed=2)
    targets = np.eye(3)[y[20:]]
    before, after = (blocks.loss_by(each.reshape(40, -1) / 255, targets)[0] for each in (X[20:], changed))
    assert after > before


def test_countermeasures_keep_the_form_and_grey_is_grey():
    X, y = images()
    for countermeasure in COUNTERMEASURES[:3]:
        changed = countermeasure.fit(X, y, seed=1).apply(X, y, seed=1)
        assert changed.dtype == np.uint8
        assert changed.shape == X.shape
    grey = Grey().apply(X, y)
    assert (grey[:, 0] == grey[:, 2]).all()
    assert (Grey().apply(grey, y) == grey).all()
    flat = np.full((2, 3, 16, 16), 77, np.uint8)
    assert (Blur().apply(flat, [0, 1]) == 77).all()
    assert np.abs(Compression(quality=90).apply(flat, [0, 1]).astype(int) - 77).max() <= 2
    loss = [np.abs(Compression(quality=q).apply(X, y).astype(int) - X).mean() for q in (10, 50, 95)]
    assert loss[0] > loss[1] > loss[2]


def test_projection_leaves_nothing_along_the_directions_and_all_else_as_it_was():
    X, y = images(60)
    directions = Projection().fit(X, y, seed=1)
    changed = directions.apply(X, y).reshape(60, -1)
    assert np.abs(changed @ directions.basis).max() < 1e-4
    assert np.allclose(directions.basis.T @ directions.basis, np.eye(2), atol=1e-9)  # one fewer than classes
    rest = np.eye(300) - directions.basis @ directions.basis.T
    assert np.allclose(changed, X.reshape(60, -1) / 255 @ rest, atol=1e-4)


@pytest.mark.parametrize("shape", [(7, 1, 1, 1), (1, 3, 5, 5), (90, 1, 9, 4), (600, 3, 16, 16), (50_000, 3, 1, 2)])
def test_pixels_are_chosen_in_blocks_by_the_same_numbers_as_at_once(shape):
    records = np.random.default_rng(1).random(shape).reshape(*shape[:2], -1)
    colours = np.array(list(product((0.0, 1.0), repeat=shape[1])))
    distance = np.abs(colours[None, :, :, None] - records[:, None]).mean(axis=2)
    at_once = distance.mean(axis=0) / (distance.std(axis=0) + 1e-6)
    assert (_contrast(records, colours) == at_once).all()


def test_choosing_pixels_takes_little_more_memory_than_the_images():
    X = np.random.default_rng(1).integers(0, 256, (2000, 3, 16, 16), np.uint8)
    tracemalloc.start()
    OnePixel().fit(X, np.zeros(2000, int))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    numbers = 8 * X.size  # as float64, once for all records and once for those of the class
    assert peak < 2 * numbers + 4 * 8 * 2**20


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_projection_takes_no_direction_that_is_rounding(classes):
    X, _ = images(60)
    y = np.arange(60) % classes
    assert Projection(epochs=5).fit(X, y, seed=1).basis.shape == (300, classes - 1)
    order = np.random.default_rng(3).permutation(300)  # rounding differs, directions do not
    mixed = Projection(epochs=5).fit(X.reshape(60, -1)[:, order], y, seed=1).basis
    plain = Projection(epochs=5).fit(X, y, seed=1).basis[order]
    assert np.allclose(mixed @ mixed.T, plain @ plain.T, atol=1e-9)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda X, y: protect(ClassNoise(), X.astype(int), y, seed=1), "bytes"),
        (lambda X, y: protect(ClassNoise(), X.astype(float), y, seed=1), r"\[0, 1\]"),
        (lambda X, y: protect(ClassNoise(), np.where(X > 200, np.nan, 0.5), y, seed=1), r"\[0, 1\]"),
        (lambda X, y: protect(ClassNoise(), X, y[:-1], seed=1), "one class for each"),
        (lambda X, y: protect(ClassNoise(), X, y - 1, seed=1), "from 0"),
        (lambda X, y: protect(Separable(), X.reshape(60, -1), y, seed=1), "images"),
        (lambda X, y: protect(Separable(), X.transpose(0, 2, 3, 1), y, seed=1), "channels first"),
        (lambda X, y: protect(Separable(patch=20), X[:, :1], y, seed=1), "corners"),
        (lambda X, y: protect(OnePixel(), X, np.where(y == 1, 0, y), seed=1), "class 1"),
        (lambda X, y: ClassNoise().fit(X, y, seed=1).apply(X, y + 1), "3 classes"),
        (lambda X, y: ClassNoise().fit(X, y, seed=1).apply(X[:, :1], y), "shape"),
        (lambda X, y: ClassNoise(epsilon=8), "epsilon"),
        (lambda X, y: Tangent(time=0), "time"),
        (lambda X, y: ErrorMinimising(share=2), "share"),
        (lambda X, y: Convolution(blur=0), "blur"),
        (lambda X, y: Compression(quality=0), "quality"),
    ],
)
def test_what_cannot_be_protected_is_refused(act, says):
    X, y = images()
    with pytest.raises((DataError, PlanError), match=says):
        act(X, y)
