"""Neural tangent generalisation attacks: noise that makes an infinitely wide network generalise badly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.data.protect.images import Floats, Ints, checked, out_of_budget, restored, same_shape
from miaudit.data.protect.kernel import TangentKernel
from miaudit.data.protect.surrogate import softmax
from miaudit.errors import DataError, not_real, not_whole, refuse
from miaudit.seeds import generator


@dataclass(frozen=True)
class Tangent:
    """Neural tangent generalisation attack by blocks (NTGA; Yuan and Wu, ICML 2021), with a fully connected surrogate.

    A network of infinite width that was trained for the time t on b records X_m answers validation records X_v with

        f_t(X_v) = K_vm K_mm^-1 (I - exp(-K_mm t / (b classes))) Y_m

    where K is its neural tangent kernel, and the loss it descends on, at a rate of 1, is the squared error over
    2 b classes: the unit of time of the library Neural Tangents, and so of the published code. Each block of records moves,
    within ``epsilon``, up the cross-entropy of f_t on the validation records, by steps of the gradient's sign. The gradient
    is exact; that of the function of K_mm is by the divided differences of its eigenvalues (Daleckii and Krein).

    Ours takes ``steps`` steps, each of 2.5 ``epsilon / steps`` (one: of ``epsilon``), and every one starts where the last
    ended. The published code takes a single step of the full size, whatever it is asked for: that is ``steps=1``.

    The noise of a record depends on the record, and on those of its block. For further records the surrogate stays the
    same: its validation records are those of `fit`.

    Parameters
    ----------
    epsilon
        Largest change of a number, of a range of 1.
    steps
        Steps of the gradient's sign.
    time
        How long the network is trained; the published choice for CIFAR-10 and such a surrogate is 4096.
    block
        Records that move together.
    validation
        Most records by which the loss is measured, drawn from those of `fit`. The published ones are 10,000 of their own.
    kernel
        Of the network.
    ridge
        Added to the diagonal of K_mm, times its mean.
    """

    epsilon: float = 8 / 255
    steps: int = 5
    time: float = 4096.0
    block: int = 512
    validation: int = 512
    kernel: TangentKernel = field(default_factory=TangentKernel)
    ridge: float = 1e-4

    def __post_init__(self) -> None:
        refuse(
            out_of_budget(self.epsilon),
            not_whole(("steps", self.steps), ("validation", self.validation)),
            not_whole(("block", self.block), least=2),
            not_real(("time", self.time), ("ridge", self.ridge), above=0),
        )

    def fit(self, X: Any, y: ArrayLike, *, seed: int) -> Blocks:
        """Choose the validation records; they should not be among those that are protected."""
        x, labels = checked(X, y)
        index = generator(seed, "tangent").permutation(len(x))[: self.validation]
        return Blocks(self, x[index].reshape(len(index), -1), labels[index], int(labels.max()) + 1, x.shape[1:])


@dataclass(frozen=True, eq=False)
class Blocks:
    """The surrogate, with its validation records."""

    attack: Tangent
    x: Floats  # (v, d)
    y: Ints  # (v,)
    classes: int
    shape: tuple[int, ...]

    def apply(self, X: Any, y: ArrayLike, *, seed: int) -> NDArray[Any]:
        """Return protected records; which ones share a block is drawn."""
        x, labels = checked(X, y)
        same_shape(x, self.shape)
        if labels.max() >= self.classes:
            raise DataError(f"the surrogate has {self.classes} classes, and a record has the class {labels.max()}")
        clean = x.reshape(len(x), -1)
        noisy = clean.copy()
        order = generator(seed, "blocks").permutation(len(x))
        count = -(-len(x) // self.attack.block)
        for index in np.array_split(order, count):  # blocks of about equal size
            noisy[index] = self._moved(clean[index], labels[index])
        return restored(noisy.reshape(x.shape), X, around=x, epsilon=self.attack.epsilon)

    def _moved(self, clean: Floats, y: Ints) -> Floats:
        """Return a block after all steps."""
        epsilon, steps = self.attack.epsilon, self.attack.steps
        size = epsilon if steps == 1 else 2.5 * epsilon / steps
        x, targets = clean, np.eye(self.classes)[y]
        for _ in range(steps):
            x = x + size * np.sign(self.loss_by(x, targets)[1])
            x = np.clip(np.clip(x, clean - epsilon, clean + epsilon), 0, 1)
        return x

    def loss_by(self, x: Floats, targets: Floats) -> tuple[float, Floats]:
        """Return the loss on the validation records after training on a block, and its gradient by the block.

        Parameters
        ----------
        x, targets
            (b, d) records of the block, and (b, classes) what is to be answered for them.
        """
        kernel, ridge = self.attack.kernel, self.attack.ridge
        within, across = kernel(x, x), kernel(self.x, x)  # (b, b), (v, b)
        diagonal = ridge * float(np.trace(within)) / len(x)
        values, vectors = np.linalg.eigh(within + diagonal * np.eye(len(x)))
        time = self.attack.time / targets.size
        gain = -np.expm1(-time * values) / values  # of K^-1 (I - exp(-K t))
        inner = vectors.T @ targets
        weights = vectors @ (gain[:, None] * inner)  # (b, classes)
        answers = across @ weights
        p = softmax(answers)
        v = np.arange(len(self.y))
        loss = float(-np.log(np.maximum(p[v, self.y], 1e-300)).mean())
        p[v, self.y] -= 1
        p /= len(v)
        by_weights = vectors.T @ (across.T @ p)  # (b, classes)
        middle = _divided(values, gain, time) * (by_weights @ inner.T)
        by_within = vectors @ middle @ vectors.T
        by_within[np.diag_indices(len(x))] += ridge * np.trace(by_within) / len(x)
        by_across = weights @ p.T  # (b, v)
        slope = kernel.by_first(x, x, by_within, same=True) + kernel.by_first(x, self.x, by_across)
        return loss, slope


def _divided(values: Floats, gain: Floats, time: float) -> Floats:
    """Return (b, b) divided differences of the gain; its derivative between eigenvalues that are as good as equal."""
    apart, middle = values[:, None] - values, 0.5 * (values[:, None] + values)
    near = np.abs(apart) < 1e-6 * middle
    slope = (time * np.exp(-time * middle) + np.expm1(-time * middle) / middle) / middle
    return np.where(near, slope, (gain[:, None] - gain) / np.where(near, 1, apart))
