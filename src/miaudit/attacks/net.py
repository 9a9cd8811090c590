"""Many small networks trained as one: the attack models of all classes in a single stacked step.

Each network has one hidden layer of ReLU units and one logit; its sigmoid is the probability of "in", the same function
as a softmax over in/out. The classes of a group are trained together by matrix products over arrays of shape
``(models, batch, features)``, differentiated by hand, in float32. A network's result depends on its own rows and seed
only: not on the other networks, nor on grouping, order or threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.evidence.rows import blocks
from miaudit.threads import in_threads, most_threads

Array = NDArray[np.float32]
Rows = tuple[NDArray[Any], NDArray[np.bool_]]  # (n, d) inputs, (n,) is "in"

_GROUP = 10  # models trained together: fewer, and threads wait for the interpreter; more, and caches are too small
SHARE = 0.3  # of the largest spread: inputs that vary less are not scaled up beyond it (decision 20)
_SPREAD = 1e-4  # where the largest is below this, inputs are left as they are
_COLUMNS, _NUMBERS = 32, 1 << 23  # made float64 at a time: at least, and about
_LARGE, _LONGER = 20_000, 8  # rows above which a network's batches are longer, and how many times
_MOST_SEEN = (
    1_000_000  # rows that a network sees, counted with repetition: a large one learns no more from further epochs
)


@dataclass(frozen=True)
class Training:
    """How a network is trained: Adam, learning rate falling linearly to zero.

    Every row is seen ``epochs`` times, in batches cut from a stream of fresh permutations, so that all batches are
    full; there are at least ``min_steps`` of them, for the sake of small classes. A network of more than 20,000 rows takes
    batches eight times as long, and sees a million rows with repetition, or each of its rows once where it has more.
    """

    hidden: int = 64
    epochs: int = 30
    batch: int = 128
    learning_rate: float = 0.005
    l2: float = 1e-3
    min_steps: int = 150

    def batch_of(self, n: int) -> int:
        """Return the rows of a batch for a network with n rows."""
        return self.batch * (_LONGER if n > _LARGE else 1)

    def steps(self, n: int) -> int:
        """Return the number of steps for a network with n rows."""
        rows = self.epochs * n
        if n > _LARGE:
            rows = min(rows, max(n, _MOST_SEEN))
        return max(self.min_steps, -(-rows // self.batch_of(n)))


@dataclass(frozen=True, eq=False)
class Net:
    """One trained network: scaled inputs, then ``relu(x w1 + b1) w2 + b2``."""

    mean: Array  # (d,)
    scale: Array  # (d,)
    first: Array  # (d + 1, hidden), the last row is the bias
    second: Array  # (hidden + 1,), the last entry is the bias

    def probability(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return (n,) probabilities of "in" for (n, d) inputs.

        Computed in float64 and rounded to float32: equal inputs then tie, whichever row of a matrix product they were.
        """
        out = np.empty(len(x))
        for block in blocks(*x.shape):
            inputs = (x[block].astype(np.float64) - self.mean) * self.scale
            hidden = np.maximum(inputs @ self.first[:-1].astype(np.float64) + self.first[-1], 0.0)
            logit = hidden @ self.second[:-1].astype(np.float64) + self.second[-1]
            out[block] = 1.0 / (1.0 + np.exp(-np.clip(logit, -500.0, 500.0)))
        return out.astype(np.float32).astype(np.float64)


def fit(
    load: Callable[[int], Rows],
    sizes: Sequence[int],
    generators: Sequence[np.random.Generator],
    training: Training,
    *,
    share: float = SHARE,
) -> list[Net]:
    """Train one network per entry of ``sizes``.

    Parameters
    ----------
    load
        Gives the rows of network i: (n, d) inputs and (n,) bool. Called once each, perhaps from another thread.
    sizes
        Number of rows of each network, at least one.
    generators
        What each network draws from: its first weights, then its batches.
    training
        Size of the networks and how to train them.
    share
        No input of a network is divided by less than this share of the largest spread of its inputs.

    Returns
    -------
    list of Net
        In the order of ``sizes``.
    """
    nets: list[Net | None] = [None] * len(sizes)
    by_size = sorted(range(len(sizes)), key=lambda i: -sizes[i])  # like sizes together, longest first
    # a group for each thread, where there are few networks
    width = min(_GROUP, max(1, -(-len(sizes) // most_threads())))
    alike = [
        [i for i in by_size if (sizes[i] > _LARGE) is large] for large in (True, False)
    ]  # with batches of one length
    groups = [each[i : i + width] for each in alike for i in range(0, len(each), width)]

    def train(group: list[int]) -> None:
        group_nets = _fit_group([load(i) for i in group], [generators[i] for i in group], training, share)
        for i, net in zip(group, group_nets, strict=True):
            nets[i] = net

    in_threads(train, groups)
    return [net for net in nets if net is not None]


def _fit_group(data: list[Rows], generators: list[np.random.Generator], training: Training, share: float) -> list[Net]:
    """Train networks together; their sizes must not rise along the list, and their batches are of one length."""
    sizes = [len(x) for x, _ in data]
    models, d, hidden, batch = len(data), data[0][0].shape[1], training.hidden, training.batch_of(sizes[0])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    inputs, truth, means, scales = _standardised(data, starts, share)
    size = (d + 1) * hidden
    weights = np.zeros((models, size + hidden + 1), np.float32)  # (models, all parameters of one model)
    first = weights[:, :size].reshape(models, d + 1, hidden)
    second, bias = weights[:, size:-1], weights[:, -1]
    for k, generator in enumerate(generators):
        first[k, :-1] = generator.normal(0.0, (2.0 / d) ** 0.5, (d, hidden))
        second[k] = generator.normal(0.0, (1.0 / hidden) ** 0.5, hidden)
    decay = np.full(weights.shape[1], training.l2, np.float32)  # biases are not decayed
    decay[size - hidden : size] = decay[-1] = 0.0

    gradient, step = np.empty_like(weights), np.empty_like(weights)
    moment, square = np.zeros_like(weights), np.zeros_like(weights)
    first_gradient = gradient[:, :size].reshape(models, d + 1, hidden)
    x, h, dh = (np.empty((models, batch, width), np.float32) for width in (d + 1, hidden, hidden))
    on = np.empty(h.shape, bool)
    t, index = np.empty((models, batch), np.float32), np.empty((models, batch), np.int64)
    streams = [_batches(g, n, batch) for g, n in zip(generators, sizes, strict=True)]
    totals = np.array([training.steps(n) for n in sizes])

    for now in range(int(totals[0])):
        a = int((totals > now).sum())  # models still training: a head of the list
        for k in range(a):
            np.add(next(streams[k]), starts[k], out=index[k])
        np.take(inputs, index[:a], axis=0, out=x[:a], mode="clip")
        np.take(truth, index[:a], out=t[:a], mode="clip")

        np.matmul(x[:a], first[:a], out=h[:a])
        np.greater(h[:a], 0.0, out=on[:a])
        h[:a] *= on[:a]
        logit = np.matmul(h[:a], second[:a, :, None])[:, :, 0] + bias[:a, None]  # (a, batch)
        error = 1.0 / (1.0 + np.exp(-np.clip(logit, -60.0, 60.0)))
        error -= t[:a]
        error /= batch

        np.matmul(error[:, None, :], h[:a], out=gradient[:a, None, size:-1])
        gradient[:a, -1] = np.matmul(error[:, None, :], _ones(batch))[:, 0, 0]
        np.multiply(error[:, :, None], second[:a, None, :], out=dh[:a])
        dh[:a] *= on[:a]
        np.matmul(x[:a].transpose(0, 2, 1), dh[:a], out=first_gradient[:a])

        w, g, m, v, s = (array[:a] for array in (weights, gradient, moment, square, step))
        np.multiply(w, decay, out=s)
        g += s
        _adam((w, g, m, v, s), rate=training.learning_rate, shares=1.0 - now / totals[:a], step=now + 1)
    return [Net(means[k], scales[k], first[k].copy(), weights[k, size:].copy()) for k in range(models)]


def _standardised(
    data: list[Rows], starts: NDArray[np.int64], share: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the rows of all networks, each scaled by its own and with a last column of 1, which carries the bias.

    Beside them the truth of each row, and the means and scales of each network.
    """
    models, d = len(data), data[0][0].shape[1]
    inputs, truth = np.empty((starts[-1], d + 1), np.float32), np.empty(starts[-1], np.float32)
    inputs[:, -1] = 1.0
    means, scales = np.empty((models, d), np.float32), np.empty((models, d), np.float32)
    for k, (x, inside) in enumerate(data):
        rows = slice(starts[k], starts[k + 1])
        means[k] = x.mean(axis=0, dtype=np.float64)
        scales[k] = 1.0 / _divisors(_spread(x), share)
        np.subtract(x, means[k], out=inputs[rows, :-1], casting="same_kind")
        inputs[rows, :-1] *= scales[k]
        truth[rows] = inside
    return inputs, truth, means, scales


def _adam(arrays: Sequence[NDArray[np.float32]], *, rate: float, shares: NDArray[np.float64], step: int) -> None:
    """Change (a, parameters) weights in place by a step of Adam, at each network's share of the rate.

    ``arrays`` are weights, gradients, which are lost, both moments, which go on, and room.
    """
    w, g, m, v, s = arrays
    beta1, beta2 = 0.9, 0.999
    m *= beta1
    np.multiply(g, 1.0 - beta1, out=s)
    m += s
    v *= beta2
    np.multiply(g, g, out=g)
    g *= 1.0 - beta2
    v += g
    np.sqrt(v, out=s)
    s += 1e-8
    np.divide(m, s, out=s)
    correction = (1.0 - beta2**step) ** 0.5 / (1.0 - beta1**step)
    s *= (rate * correction * shares).astype(np.float32)[:, None]
    w -= s


def _spread(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return the (d,) standard deviations of (n, d) inputs, of some columns at a time, as float64 takes twice their bytes."""
    parts = max(1, min(x.size // _NUMBERS, x.shape[1] // _COLUMNS))
    return np.concatenate([part.std(axis=0, dtype=np.float64) for part in np.array_split(x, parts, axis=1)])


def _divisors(spread: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return what each of the (d,) inputs of a network is divided by: its spread, or a share of the largest one.

    The probability of a class that is seldom answered hardly varies; scaled to the same spread as the others it is noise,
    which a network of few rows learns.
    """
    largest = float(spread.max(initial=0.0))
    return np.maximum(spread, share * largest) if largest > _SPREAD else np.ones_like(spread)


def _ones(n: int) -> Array:
    return np.ones((n, 1), np.float32)


def _batches(generator: np.random.Generator, n: int, batch: int) -> Iterator[NDArray[np.int64]]:
    """Yield row numbers, ``batch`` at a time, from an endless stream of permutations of 0..n-1."""
    rows = generator.permutation(n)
    while True:
        while len(rows) < batch:
            rows = np.concatenate([rows, generator.permutation(n)])
        yield rows[:batch]
        rows = rows[batch:]
