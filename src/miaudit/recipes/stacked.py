"""Fully connected networks trained a group at a time: every step is a few batched matrix products. Needs torch.

A small network spends most of a step outside its matrix products. Here the models of a group stand side by side in one
tensor, all buffers are allocated once, and the derivative is written by hand, so that a step costs the same few
calls for a group as for one model. Arithmetic is the same as training them one after another, in float32.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch

from miaudit.recipes.training import Generators, Records, Statistics, Update, activate_, first_weights, flat_layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from miaudit.recipes.network import Network

GROUP_BYTES = 1_500_000
"""Parameters of a group are kept under this, about three quarters of a core's level-2 cache, where that was fastest."""

GROUP_MOST = 8
"""More models than this in one group gained nothing on a processor, and groups are what workers share out."""


def group_width(parameters: int) -> int:
    """Return how many models of this size to train together: 4 for 600-128-100, 1 beyond 375,000 parameters."""
    return int(np.clip(GROUP_BYTES // (4 * parameters), 1, GROUP_MOST))


class Group:
    """Parameters of ``models`` networks of the same layers, their gradients, and views of both layer by layer.

    Parameters
    ----------
    sizes
        Widths from the input to the classes, for example ``(600, 128, 100)``.
    models
        How many networks.
    """

    def __init__(self, sizes: Sequence[int], models: int) -> None:
        self.sizes, self.models = tuple(sizes), models
        layers = list(itertools.pairwise(sizes))
        offsets, length = flat_layout([size for fan_in, fan_out in layers for size in (fan_in * fan_out, fan_out)])
        self.theta = torch.zeros(models, length)  # (models, parameters of one, padded)
        self.gradient = torch.zeros(models, length)

        def views(flat: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
            weights, biases = [], []
            for layer, (fan_in, fan_out) in enumerate(layers):
                start, middle = offsets[2 * layer], offsets[2 * layer + 1]
                weights.append(flat[:, start : start + fan_in * fan_out].unflatten(1, (fan_in, fan_out)))
                biases.append(flat[:, middle : middle + fan_out].unsqueeze(1))
            return weights, biases  # (models, in, out) and (models, 1, out)

        self.weights, self.biases = views(self.theta)
        self.weight_gradients, self.bias_gradients = views(self.gradient)

    def fill(self, model: int, tensors: Sequence[torch.Tensor]) -> None:
        """Set one model's parameters; weights come as ``(out, in)``, a bias after each."""
        for layer in range(len(self.weights)):
            self.weights[layer][model].copy_(tensors[2 * layer].T)
            self.biases[layer][model, 0].copy_(tensors[2 * layer + 1])

    def take(self, model: int) -> list[NDArray[np.float32]]:
        """One model's parameters as ``fill`` takes them."""
        pairs = zip(self.weights, self.biases, strict=True)
        return [array for w, b in pairs for array in (w[model].T.contiguous().numpy(), b[model, 0].clone().numpy())]


class _Block:
    """One buffer of a group: ``view`` (models, batch, width) for products, ``flat`` (models, padded) for the rest.

    Each model's part starts and ends on a whole number of vector registers. Were it not so, its first and last elements
    would see other instructions, and round in another way, depending on its place in the group.
    """

    def __init__(self, models: int, batch: int, width: int) -> None:
        size = batch * width
        self.flat = torch.zeros(models, -(-size // 32) * 32)
        self.view = self.flat[:, :size].unflatten(1, (batch, width))


class _Step:
    """Buffers for batches of one size, and the passes forward and back through them."""

    def __init__(self, group: Group, batch: int, recipe: Network, dropout: Sequence[torch.Generator]) -> None:
        def blocks(widths: Sequence[int]) -> list[_Block]:
            return [_Block(group.models, batch, width) for width in widths]

        *hidden, classes = group.sizes[1:]
        self.group, self.batch, self.activation = group, batch, recipe.activation
        [x, logits, delta] = blocks([group.sizes[0], classes, classes])
        self.x, self.logits, self.delta = x.view, logits.view, delta.view
        self.active = blocks(hidden)  # after the activation
        self.back = blocks(hidden)  # derivatives of the loss there
        self.minus_one = torch.full((group.models, batch, 1), -1.0)
        self.keep, self.dropout = 1 - recipe.dropout, dropout
        self.masks = blocks(hidden if recipe.dropout else [])  # 0 or 1 / keep
        self.thinned = blocks(hidden) if recipe.dropout else self.active  # what the next layer sees

    def gradient(self, labels: torch.Tensor) -> None:
        """Gradient of the mean cross-entropy of each model on ``self.x`` with ``labels`` (models, batch, 1)."""
        group, inputs = self.group, [self.x, *(block.view for block in self.thinned)]
        for layer, active in enumerate(self.active):
            torch.baddbmm(group.biases[layer], inputs[layer], group.weights[layer], out=active.view)
            activate_(active.flat, self.activation)
            if self.masks:
                mask = self.masks[layer]
                for model, generator in enumerate(self.dropout):
                    mask.view[model].bernoulli_(self.keep, generator=generator)
                torch.mul(active.flat, mask.flat.div_(self.keep), out=self.thinned[layer].flat)
        torch.baddbmm(group.biases[-1], inputs[-1], group.weights[-1], out=self.logits)

        delta = torch.softmax(self.logits, -1, out=self.delta)
        delta.scatter_add_(2, labels, self.minus_one).div_(self.batch)  # (p - one hot) / batch
        for layer in range(len(group.weights) - 1, -1, -1):
            torch.bmm(inputs[layer].transpose(1, 2), delta, out=group.weight_gradients[layer])
            torch.sum(delta, 1, keepdim=True, out=group.bias_gradients[layer])
            if layer:
                back = self.back[layer - 1]
                torch.bmm(delta, group.weights[layer].transpose(1, 2), out=back.view)
                if self.masks:
                    back.flat.mul_(self.masks[layer - 1].flat)
                self._derive(back.flat, self.active[layer - 1].flat)
                delta = back.view

    def _derive(self, back: torch.Tensor, active: torch.Tensor) -> None:
        """Multiply ``back`` by the activation's derivative, written in terms of its value."""
        if self.activation == "relu":
            back.mul_(active > 0)
            return
        if self.activation == "sigmoid":
            back.mul_(active)  # a (1 - a)
        else:
            active.square_()  # 1 - a^2; the value is needed no more, the layer above has its gradient
        back.addcmul_(back, active, value=-1)


def train_stacked(
    recipe: Network,
    records: Records,
    labels: torch.Tensor,
    *,
    members: Sequence[NDArray[np.int64]],
    statistics: Sequence[Statistics | None],
    classes: int,
    seeds: Sequence[int],
) -> list[list[NDArray[np.float32]]]:
    """Train one network for each entry of ``members``, all in one group.

    A model's first weights, order of records and dropout come from its own seed, and no sum runs across models: what
    a model becomes does not depend on the models beside it (differences are in the last bits of float32, if any).

    Parameters
    ----------
    recipe
        ``kind="mlp"``.
    records, labels
        All records and their labels, int64 (n,).
    members
        Indices of each model's training records; all of one length.
    statistics
        Standardisation of each model.
    classes
        Width of the output.
    seeds
        One for each model.

    Returns
    -------
    list of list of ndarray
        For each model its weights ``(out, in)`` and biases ``(out,)``, alternating, float32.
    """
    with torch.inference_mode():
        models, n = len(members), len(members[0])
        group = Group((records.columns, *recipe.hidden, classes), models)
        streams = [Generators.of(seed) for seed in seeds]
        shapes = list(zip(group.sizes[1:], group.sizes[:-1], strict=True))
        for model, stream in enumerate(streams):
            group.fill(model, first_weights(shapes, stream.weights))
        update = Update(
            [group.theta.view(-1)], optimizer=recipe.optimizer, momentum=recipe.momentum, weight_decay=2 * recipe.l2
        )
        gradients, updates = [group.gradient.view(-1)], 0

        affine = [records.affine(each) for each in statistics]
        moved = [each for each in affine if each is not None]
        shift = torch.stack([each[0] for each in moved]).unsqueeze(1) if moved else None  # (models, 1, features)
        factor = torch.stack([each[1] for each in moved]).unsqueeze(1) if moved else None

        index = torch.from_numpy(np.stack(members).astype(np.int64))  # (models, n)
        batch = min(recipe.batch, n)
        dropout = [stream.dropout for stream in streams]
        steps = {size: _Step(group, size, recipe, dropout) for size in {batch, n % batch or batch}}
        order = torch.empty_like(index)
        for _ in range(recipe.epochs):
            for model, stream in enumerate(streams):
                order[model] = index[model][torch.randperm(n, generator=stream.order)]
            answers = labels[order].unsqueeze(2)  # (models, n, 1)
            for start in range(0, n, batch):
                step = steps[min(batch, n - start)]
                here = slice(start, start + step.batch)
                for model in range(models):
                    records.gather(order[model, here], step.x[model])
                if shift is not None:
                    step.x.sub_(shift).mul_(factor)
                step.gradient(answers[:, here])
                update.step(gradients, recipe.rate(updates))
                updates += 1
        return [group.take(model) for model in range(models)]
