"""Procedures that change a network's weights: what each takes a step on. Needs torch."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from miaudit.recipes import Model, opened
from miaudit.recipes.opened import Opened
from miaudit.recipes.precision import exact_products
from miaudit.seeds import generator

P = ParamSpec("P")
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Descent:
    """A trained network, its training records as inputs, and which of them it is to forget.

    Parameters
    ----------
    model, X, y, forget
        The model, its (n, ...) training records, their classes, and (n,) which are to be forgotten.
    seed
        Of the order of batches, and of labels that are drawn.
    """

    def __init__(self, model: Model, X: Any, y: NDArray[np.int64], forget: NDArray[np.bool_], seed: int) -> None:
        self.opened: Opened = opened(model)
        self.module = self.opened.module
        self.rows = self.opened.rows(X)
        device = self.rows.device
        self.y = torch.from_numpy(np.ascontiguousarray(y)).to(device)
        self.forget, self.rest = (torch.from_numpy(np.flatnonzero(side)).to(device) for side in (forget, ~forget))
        self.seed = seed
        self.weights = [each for each in self.module.parameters() if each.is_floating_point()]
        for each in self.weights:
            each.requires_grad_()

    def batches(self, index: torch.Tensor, size: int, *path: str | int) -> Iterator[torch.Tensor]:
        """Yield a pass over some records in a random order of its own."""
        order = generator(self.seed, *path).permutation(len(index))
        yield from index[torch.from_numpy(order).to(index.device)].split(size)

    def loss(self, index: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return the mean cross-entropy on records, with their own classes or others in their place."""
        return functional.cross_entropy(self.module(self.rows[index]), self.y[index] if labels is None else labels)

    def sgd(self, rate: float, momentum: float = 0.9) -> torch.optim.Optimizer:
        """Return what takes steps on the weights."""
        return torch.optim.SGD(self.weights, lr=rate, momentum=momentum)

    def step(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor, masks: Sequence[torch.Tensor] = ()) -> None:
        """Take a step down a loss, on the weights that the masks let pass."""
        optimizer.zero_grad()
        loss.backward()
        for weight, mask in zip(self.weights, masks, strict=False):
            if weight.grad is not None:
                weight.grad.mul_(mask)
        optimizer.step()

    def closed(self) -> Model:
        """Return the model with the weights as they are now."""
        return self.opened.closed()


def _exactly(procedure: Callable[Concatenate[Descent, P], Model]) -> Callable[Concatenate[Descent, P], Model]:
    """Return a procedure whose products are of float32 wherever they are taken."""

    @functools.wraps(procedure)
    def act(of: Descent, /, *args: P.args, **options: P.kwargs) -> Model:
        with exact_products(of.opened.device):
            return procedure(of, *args, **options)

    return act


@_exactly
def fine_tuned(of: Descent, *, epochs: int, rate: float, batch: int) -> Model:
    """Descend on the records that stay."""
    optimizer = of.sgd(rate)
    with torch.enable_grad():
        for epoch in range(epochs):
            for part in of.batches(of.rest, batch, "rest", epoch):
                of.step(optimizer, of.loss(part))
    return of.closed()


@_exactly
def ascended(of: Descent, *, epochs: int, rate: float, batch: int, share: float) -> Model:
    """Descend on ``share`` of the loss on what stays less the rest of it on what goes, batch beside batch."""
    optimizer = of.sgd(rate)
    with torch.enable_grad():
        for epoch in range(epochs):
            going = itertools.cycle(list(of.batches(of.forget, batch, "forget", epoch)))
            for part in of.batches(of.rest, batch, "rest", epoch):
                of.step(optimizer, share * of.loss(part) - (1 - share) * of.loss(next(going)))
    return of.closed()


@_exactly
def scrubbed(
    of: Descent,
    *,
    epochs: int,
    away: int,
    rate: float,
    batch: int,
    distance: float,
    truth: float,
    temperature: float,
) -> Model:
    """Move away from the first model on what goes for ``away`` passes, and stay near it on what stays in all."""
    with torch.no_grad():
        teacher = functional.log_softmax(of.module(of.rows) / temperature, dim=1)

    def divergence(part: torch.Tensor) -> torch.Tensor:
        own = functional.log_softmax(of.module(of.rows[part]) / temperature, dim=1)
        return functional.kl_div(own, teacher[part], reduction="batchmean", log_target=True) * temperature**2

    optimizer = torch.optim.Adam(of.weights, lr=rate)
    with torch.enable_grad():
        for epoch in range(epochs):
            if epoch < away:
                for part in of.batches(of.forget, batch, "forget", epoch):
                    of.step(optimizer, -divergence(part))
            for part in of.batches(of.rest, batch, "rest", epoch):
                of.step(optimizer, truth * of.loss(part) + distance * divergence(part))
    return of.closed()


@_exactly
def relabelled(of: Descent, *, epochs: int, rate: float, batch: int, classes: int, salient: float = 1.0) -> Model:
    """Descend on what stays, and on what goes with wrong classes drawn evenly, on the ``salient`` share of the weights."""
    shift = generator(of.seed, "wrong classes").integers(1, classes, len(of.y))
    labels = of.y.clone()
    wrong = (of.y + torch.from_numpy(shift).to(of.y.device)) % classes
    labels[of.forget] = wrong[of.forget]
    masks = _salient(of, batch, salient) if salient < 1 else ()
    optimizer = of.sgd(rate)
    everyone = torch.cat([of.rest, of.forget])
    with torch.enable_grad():
        for epoch in range(epochs):
            for part in of.batches(everyone, batch, "all", epoch):
                of.step(optimizer, of.loss(part, labels[part]), masks)
    return of.closed()


def _salient(of: Descent, batch: int, share: float) -> list[torch.Tensor]:
    """Return 1 for the share of the weights whose gradients of the loss on what goes are largest, 0 for the others."""
    sums = [torch.zeros_like(weight) for weight in of.weights]
    for part in of.forget.split(batch):
        for total, gradient in zip(sums, _gradients(of, part), strict=True):
            total += gradient * len(part)
    sizes = torch.cat([each.abs().flatten() for each in sums])
    least = sizes.kthvalue(max(1, round((1 - share) * len(sizes)))).values if share < 1 else sizes.min() - 1
    return [(each.abs() > least).to(each.dtype) for each in sums]


@_exactly
def dampened(of: Descent, *, alpha: float, dampening: float, batch: int) -> Model:
    """Shrink the weights that matter more for what goes than for all, by squared gradients of batch means."""
    importance = []
    for index in (of.forget, torch.arange(len(of.y), device=of.y.device)):
        squares = [torch.zeros_like(weight) for weight in of.weights]
        parts = index.split(batch)
        for part in parts:
            for total, gradient in zip(squares, _gradients(of, part), strict=True):
                total += gradient.square() / len(parts)
        importance.append(squares)
    with torch.no_grad():
        for weight, going, everyone in zip(of.weights, *importance, strict=True):
            factor = (dampening * everyone / going.clamp_min(1e-30)).clamp_max(1.0)
            weight.mul_(torch.where(going > alpha * everyone, factor, torch.ones_like(factor)))
    return of.closed()


def _gradients(of: Descent, part: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.enable_grad():
        return tuple(torch.autograd.grad(of.loss(part), of.weights))
