"""A small network in plain arrays, for generators that need a model's gradients by its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from miaudit.data.protect.images import Floats, Ints


@dataclass(eq=False)
class Surrogate:
    """One hidden layer of rectified units, trained by gradient descent with momentum on cross-entropy.

    Parameters
    ----------
    inputs, hidden, classes
        Widths of the layers.
    rng
        What weights are drawn by.
    rate, momentum
        Of the descent.
    """

    inputs: int
    hidden: int
    classes: int
    rng: np.random.Generator
    rate: float = 0.02
    momentum: float = 0.9
    weights: list[Floats] = field(init=False)
    velocity: list[Floats] = field(init=False)

    def __post_init__(self) -> None:
        shapes: tuple[tuple[int, ...], ...] = (
            (self.inputs, self.hidden),
            (self.hidden,),
            (self.hidden, self.classes),
            (self.classes,),
        )
        fans = (self.inputs, self.inputs, self.hidden, self.hidden)
        self.weights = [
            self.rng.normal(0, np.sqrt(2 / fan), shape) if len(shape) > 1 else np.zeros(shape)
            for shape, fan in zip(shapes, fans, strict=True)
        ]
        self.velocity = [np.zeros_like(each) for each in self.weights]

    def step(self, x: Floats, y: Ints) -> None:
        """Descend once on a batch."""
        second, hidden = self.weights[2], self._hidden(x)
        slope = self._slope(hidden, y) / len(x)  # (n, classes)
        back = (slope @ second.T) * (hidden > 0)
        gradients = ((x - 0.5).T @ back, back.sum(axis=0), hidden.T @ slope, slope.sum(axis=0))
        for weight, velocity, gradient in zip(self.weights, self.velocity, gradients, strict=True):
            velocity *= self.momentum
            velocity -= self.rate * gradient
            weight += velocity

    def by_inputs(self, x: Floats, y: Ints) -> Floats:
        """Return (n, d) the gradient of each record's loss by its numbers."""
        first, _, second, _ = self.weights
        hidden = self._hidden(x)
        return np.asarray(((self._slope(hidden, y) @ second.T) * (hidden > 0)) @ first.T)

    def error(self, x: Floats, y: Ints) -> float:
        """Return the share of records that are classified wrong."""
        return float((self._answers(self._hidden(x)).argmax(axis=1) != y).mean())

    def _hidden(self, x: Floats) -> Floats:
        return np.maximum((x - 0.5) @ self.weights[0] + self.weights[1], 0)

    def _answers(self, hidden: Floats) -> Floats:
        return np.asarray(hidden @ self.weights[2] + self.weights[3])

    def _slope(self, hidden: Floats, y: Ints) -> Floats:
        """Return (n, classes) the gradient of each record's loss by the answers."""
        return softmax(self._answers(hidden)) - np.eye(self.classes)[y]


def softmax(answers: Floats) -> NDArray[np.float64]:
    """Return (n, c) probabilities of logits."""
    powers = np.exp(answers - answers.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
