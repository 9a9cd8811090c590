"""Protection by noise that lowers the loss of a model trained on it, so that nothing else is left to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from miaudit.data.protect.classwise import Addition
from miaudit.data.protect.images import Floats, Ints, checked, out_of_budget
from miaudit.data.protect.surrogate import Surrogate
from miaudit.errors import DataError, not_real, not_whole, refuse
from miaudit.seeds import generator

_BATCH = 128


@dataclass(frozen=True)
class ErrorMinimising:
    """Class-wise error-minimising noise (EM; Huang et al., ICLR 2021, arXiv 2101.04898).

    The problem is ``min over theta, noise of the mean of L(f_theta(x + noise of y), y)``, with each number of the noise in
    [-epsilon, epsilon]. By turns, a network descends for ``steps`` batches on noisy records, and every record's noise
    takes one step of ``step`` against the sign of its loss's gradient; the noise of a class is the mean of its records'. It
    ends where the network errs on at most ``error`` of the noisy records, of which ``share`` are looked at.

    The published network is a ResNet-18. Ours is one hidden layer, so that the noise is weaker against convolutional networks.

    Parameters
    ----------
    epsilon
        Largest change of a number, of a range of 1.
    step
        Change of the noise in one turn.
    steps
        Batches between two changes.
    error, share
        When to end.
    turns
        Most turns, whatever the error is then.
    hidden
        Units of the network.
    """

    epsilon: float = 8 / 255
    step: float = 0.8 / 255
    steps: int = 10
    error: float = 0.1
    share: float = 0.2
    turns: int = 200
    hidden: int = 128

    def __post_init__(self) -> None:
        refuse(
            out_of_budget(self.epsilon),
            not_whole(("steps", self.steps), ("turns", self.turns), ("hidden", self.hidden)),
            not_real(("step", self.step), above=0),
            not_real(("error", self.error), above=0, below=1),
            not_real(("share", self.share), above=0, most=1),
        )

    def fit(self, X: Any, y: ArrayLike, *, seed: int) -> Addition:
        """Make the noise of each class from records that have it."""
        x, labels = checked(X, y)
        shape, flat = x.shape[1:], x.reshape(len(x), -1)
        classes, rng = int(labels.max()) + 1, generator(seed, "error-minimising")
        counts = np.bincount(labels, minlength=classes)
        if not counts.all():
            raise DataError(
                f"no record has the class {int(counts.argmin())}, of {classes}, so that it can have no noise"
            )
        net = Surrogate(flat.shape[1], self.hidden, classes, rng)
        noise = rng.uniform(-self.epsilon, self.epsilon, (classes, flat.shape[1]))
        sample = rng.permutation(len(flat))[: max(1, int(self.share * len(flat)))]
        for _ in range(self.turns):
            for _ in range(self.steps):
                batch = rng.integers(len(flat), size=min(_BATCH, len(flat)))
                net.step(_added(flat, noise, labels, batch), labels[batch])
            noise = self._lowered(net, flat, noise, labels, counts)
            if net.error(_added(flat, noise, labels, sample), labels[sample]) <= self.error:
                break
        return Addition(noise.reshape(classes, *shape), self.epsilon)

    def _lowered(self, net: Surrogate, flat: Floats, noise: Floats, labels: Ints, counts: Ints) -> Floats:
        """Return the noise after one step down the loss of every record, averaged over each class."""
        slope = net.by_inputs(_added(flat, noise, labels, np.arange(len(flat))), labels)
        patterns = np.clip(noise[labels] - self.step * np.sign(slope), -self.epsilon, self.epsilon)
        return np.asarray(np.eye(len(noise))[labels].T @ patterns / counts[:, None])


def _added(flat: Floats, noise: Floats, labels: Ints, index: Ints) -> Floats:
    return np.clip(flat[index] + noise[labels[index]], 0, 1)
