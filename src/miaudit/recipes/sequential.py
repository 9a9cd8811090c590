"""Networks one at a time through autograd: the path of convolutions, and of modules of any kind. Needs torch."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from miaudit.recipes.precision import exact_products
from miaudit.recipes.training import Generators, Records, Statistics, Update, flat_layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from miaudit.recipes.network import Network
    from miaudit.recipes.objective import Objective

_ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


def logits(
    recipe: Network,
    tensors: Sequence[torch.Tensor],
    rows: torch.Tensor,
    shape: tuple[int, ...],
    *,
    dropout: torch.Generator | None = None,
) -> torch.Tensor:
    """Return what the network answers, before the softmax.

    Parameters
    ----------
    recipe
        Says activation, dropout and, for ``kind="cnn"``, padding.
    tensors
        Weights and biases, alternating.
    rows
        Standardised records ``(m, d)``; images lie in them as ``(h, w, c)`` for ``kind="cnn"``.
    shape
        ``(c, h, w)`` of an image, or ``(d,)``.
    dropout
        Stream of the masks while training; None leaves dropout out.

    Returns
    -------
    Tensor
        ``(m, classes)``.
    """
    activate = _ACTIVATIONS[recipe.activation]
    layers = list(zip(tensors[::2], tensors[1::2], strict=True))
    value = rows
    if recipe.kind == "cnn":
        channels, height, width = shape
        value = rows.view(-1, height, width, channels).permute(0, 3, 1, 2)  # channels_last in memory
        for weight, bias in layers[: len(recipe.channels)]:
            # Activations rise, so pooling may come first: the same numbers, and a quarter of them to activate.
            value = activate(functional.max_pool2d(functional.conv2d(value, weight, bias, padding=recipe.padding), 2))
        value = value.flatten(1)
        layers = layers[len(recipe.channels) :]
    return upper_layers(recipe, functional.linear(value, *layers[0]), layers[1:], dropout=dropout)


def upper_layers(
    recipe: Network,
    value: torch.Tensor,
    layers: Sequence[tuple[torch.Tensor, torch.Tensor]],
    *,
    dropout: torch.Generator | None = None,
) -> torch.Tensor:
    """Return what fully connected layers make of ``value`` (m, width), the sums of the layer below them."""
    activate = _ACTIVATIONS[recipe.activation]
    for weight, bias in layers:
        value = activate(value)
        if dropout is not None and recipe.dropout:
            keep = 1 - recipe.dropout
            value = value * torch.empty_like(value).bernoulli_(keep, generator=dropout).div_(keep)
        value = functional.linear(value, weight, bias)
    return value


def train_sequential(
    recipe: Network,
    records: Records,
    labels: torch.Tensor,
    *,
    members: Sequence[NDArray[np.int64]],
    statistics: Sequence[Statistics | None],
    shape: tuple[int, ...],
    classes: int,
    seeds: Sequence[int],
    first: Sequence[Sequence[torch.Tensor]],
    objective: Objective | None = None,
) -> list[list[NDArray[np.float32]]]:
    """Train networks one after another; parameters and return value are those of ``stacked.train_stacked``.

    ``labels`` are (n, classes) shares of the classes where an ``objective`` is given.

    With ``recipe.dtype == "bfloat16"`` convolutions and products run in bfloat16; parameters, loss and updates stay
    float32.
    """
    with exact_products(recipe.device):
        return [
            _train_one(recipe, records, labels, index, each, shape, seed, tensors, objective)
            for index, each, seed, tensors in zip(members, statistics, seeds, first, strict=True)
        ]


def _train_one(
    recipe: Network,
    records: Records,
    labels: torch.Tensor,
    members: NDArray[np.int64],
    statistics: Statistics | None,
    shape: tuple[int, ...],
    seed: int,
    first: Sequence[torch.Tensor],
    objective: Objective | None = None,
) -> list[NDArray[np.float32]]:
    device = records.device
    stream = Generators.of(seed, device)
    leaves = [tensor.detach().clone().to(device) for tensor in first]
    labels = labels.to(device)
    theta, gradient = flattened(leaves)
    update = Update([theta], optimizer=recipe.optimizer, momentum=recipe.momentum, weight_decay=2 * recipe.l2)
    parts = itertools.chain.from_iterable(
        torch.from_numpy(members)[torch.randperm(len(members), generator=stream.order)].to(device).split(recipe.batch)
        for _ in range(recipe.epochs)
    )
    affine, updates = records.affine(statistics), -(-len(members) // recipe.batch)
    for number, part in enumerate(parts):
        gradient.zero_()
        rows, targets = batch_of(records, part, affine), labels[part]
        if objective is not None:
            rows, targets = objective.batch(rows, targets, stream.order)
        with torch.enable_grad(), autocast(recipe.dtype, device):
            answers = logits(recipe, leaves, rows, shape, dropout=stream.dropout)
            if objective is None:
                loss = functional.cross_entropy(answers, targets)
            else:
                loss = objective.loss(answers.float(), targets, number // updates)
        loss.backward()
        with torch.no_grad():
            update.step([gradient], recipe.rate(number))
    return [leaf.detach().cpu().clone(memory_format=torch.contiguous_format).numpy() for leaf in leaves]


def autocast(dtype: str, device: torch.device) -> torch.autocast:
    """Context in which convolutions and products run in bfloat16, if that is the type."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")


def batch_of(records: Records, index: torch.Tensor, affine: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
    """Return the records at ``index`` (m,), standardised by what ``Records.affine`` returned: (m, d) float32."""
    rows = torch.empty(len(index), records.columns, device=records.device)
    records.gather(index, rows)
    return rows if affine is None else rows.sub_(affine[0]).mul_(affine[1])


def flattened(leaves: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Move parameters, and gradients for them, into one vector each, so that an update is a few passes over memory.

    The tensors stay the same objects; kernels of convolutions lie as channels_last. Returns the two vectors.
    """
    offsets, length = flat_layout([leaf.numel() for leaf in leaves])
    theta, gradient = torch.zeros(2, length, device=leaves[0].device)
    for start, leaf in zip(offsets, leaves, strict=True):
        place = _view(theta, start, leaf.shape)
        place.copy_(leaf.detach())
        leaf.data = place
        leaf.requires_grad_()
        leaf.grad = _view(gradient, start, leaf.shape)  # autograd adds to it in place
    return theta, gradient


def _view(flat: torch.Tensor, start: int, shape: torch.Size) -> torch.Tensor:
    """One tensor inside the vector, kernels as channels_last."""
    block = flat[start : start + shape.numel()]
    if len(shape) == 4:
        return block.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
    return block.view(shape)
