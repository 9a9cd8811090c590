"""Fully connected networks trained a group at a time: every step is a few batched matrix products. Needs torch.

A small network spends most of a step outside its matrix products. Here the models of a group stand side by side in one
tensor, all buffers are allocated once, and the derivative is written by hand, so that a step costs the same few
calls for a group as for one model. Arithmetic is the same as training them one after another, in float32.

On a GPU a group is as wide as its memory and the work of its models allow, and a step is one CUDA graph, dropout in it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch

from miaudit.recipes.masks import CountedMasks, DrawnMasks, Masks
from miaudit.recipes.precision import exact_products
from miaudit.recipes.training import (
    CPU,
    Generators,
    Records,
    Statistics,
    Update,
    activate_,
    captured,
    flat_layout,
)
from miaudit.recipes.width import CUDA_BYTES, usable_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from miaudit.recipes.network import Network


def cuda_free(device: str) -> int:
    """Return the bytes of a GPU that models can take; `CUDA_BYTES` where there is none to ask."""
    if not torch.cuda.is_available():
        return CUDA_BYTES
    reserved, allocated = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    return usable_bytes(torch.cuda.mem_get_info(device)[0], reserved=reserved, allocated=allocated)


class Group:
    """Parameters of ``models`` networks of the same layers, their gradients, and views of both layer by layer.

    Products are taken with ``weights`` and ``biases``, which are views of ``theta``, or of a copy of it in ``dtype``.

    Parameters
    ----------
    sizes
        Widths from the input to the classes, for example ``(600, 128, 100)``.
    models
        How many networks.
    device, dtype
        Where, and the type of products: float32 or bfloat16.
    """

    def __init__(
        self, sizes: Sequence[int], models: int, *, device: torch.device = CPU, dtype: torch.dtype = torch.float32
    ) -> None:
        self.sizes, self.models, self.device, self.dtype = tuple(sizes), models, device, dtype
        layers = list(itertools.pairwise(sizes))
        offsets, length = flat_layout([size for fan_in, fan_out in layers for size in (fan_in * fan_out, fan_out)])
        self.theta, self.gradient = torch.zeros(2, models, length, device=device)  # (models, parameters of one, padded)
        self.rounded: torch.Tensor | None = None
        if dtype != torch.float32:
            self.rounded = torch.zeros(2, models, length, device=device, dtype=dtype)  # both in the type of products

        def views(flat: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
            weights, biases = [], []
            for layer, (fan_in, fan_out) in enumerate(layers):
                start, middle = offsets[2 * layer], offsets[2 * layer + 1]
                weights.append(flat[:, start : start + fan_in * fan_out].unflatten(1, (fan_in, fan_out)))
                biases.append(flat[:, middle : middle + fan_out].unsqueeze(1))
            return weights, biases  # (models, in, out) and (models, 1, out)

        theta, gradient = (self.theta, self.gradient) if self.rounded is None else self.rounded
        self.weights, self.biases = views(theta)
        self.weight_gradients, self.bias_gradients = views(gradient)
        self._weights, self._biases = views(self.theta)

    def round(self) -> None:
        """Copy ``theta`` into the type of products; to be called after it changed."""
        if self.rounded is not None:
            self.rounded[0].copy_(self.theta)

    def widen(self) -> None:
        """Copy the gradient from the type of products."""
        if self.rounded is not None:
            self.gradient.copy_(self.rounded[1])

    def fill(self, model: int, tensors: Sequence[torch.Tensor]) -> None:
        """Set one model's parameters; weights come as ``(out, in)``, a bias after each."""
        for layer in range(len(self._weights)):
            self._weights[layer][model].copy_(tensors[2 * layer].T)
            self._biases[layer][model, 0].copy_(tensors[2 * layer + 1])

    def take(self, model: int) -> list[NDArray[np.float32]]:
        """One model's parameters as ``fill`` takes them."""
        pairs = zip(self._weights, self._biases, strict=True)
        both = [each for w, b in pairs for each in (w[model].T.contiguous(), b[model, 0].clone())]
        return [each.cpu().numpy() for each in both]


_Affine = tuple[torch.Tensor, torch.Tensor] | None


class _Block:
    """One buffer of a group: ``view`` (models, batch, width) for products, ``flat`` (models, padded) for the rest.

    Each model's part starts and ends on a whole number of vector registers. Were it not so, its first and last elements
    would see other instructions, and round in another way, depending on its place in the group.
    """

    def __init__(self, group: Group, batch: int, width: int, dtype: torch.dtype) -> None:
        size = batch * width
        self.flat = torch.zeros(group.models, -(-size // 32) * 32, device=group.device, dtype=dtype)
        self.view = self.flat[:, :size].unflatten(1, (batch, width))


class _Step:
    """Buffers for batches of one size, and the passes forward and back through them."""

    def __init__(
        self,
        group: Group,
        batch: int,
        recipe: Network,
        records: Records,
        affine: _Affine,
        *,
        seeds: Sequence[int],
        generators: Sequence[torch.Generator],
    ) -> None:
        def block(width: int, dtype: torch.dtype = group.dtype) -> _Block:
            return _Block(group, batch, width, dtype)

        def blocks(widths: Sequence[int]) -> list[_Block]:
            return [block(width) for width in widths]

        *hidden, classes = group.sizes[1:]
        self.group, self.batch, self.activation = group, batch, recipe.activation
        self.records, self.affine, self.together = records, affine, recipe.device != "cpu"
        self.index = torch.zeros(group.models, batch, device=group.device, dtype=torch.int64)
        self.labels = torch.zeros(group.models, batch, 1, device=group.device, dtype=torch.int64)
        self.update = torch.zeros(1, 1, device=group.device, dtype=torch.int64)
        self.x, self.logits = block(group.sizes[0]).view, block(classes).view
        self.raw = self.x if affine is None else self._float32(self.x)  # records before they are standardised
        self.delta = block(classes).view
        self.wide = self._float32(self.delta)
        self.active = blocks(hidden)  # after the activation
        self.back = blocks(hidden)  # derivatives of the loss there
        self.minus_one = torch.full((group.models, batch, 1), -1.0, device=group.device)
        keep = 1 - recipe.dropout
        self.masks = blocks(hidden if recipe.dropout else [])  # 0 or 1 / keep
        self.thinned = blocks(hidden) if recipe.dropout else self.active  # what the next layer sees
        self.dropout: Masks = DrawnMasks(generators, [mask.view for mask in self.masks], keep)
        if self.masks and self.together:
            self.dropout = CountedMasks(seeds, [mask.flat for mask in self.masks], keep, update=self.update)
        self._run = captured(self._pass, group.device)

    def _float32(self, view: torch.Tensor) -> torch.Tensor:
        return view if view.dtype == torch.float32 else torch.zeros_like(view, dtype=torch.float32)

    def __call__(self, index: torch.Tensor, labels: torch.Tensor, update: int) -> None:
        """Gradient of the mean cross-entropy of each model on the records at ``index`` in an update, both (models, batch)."""
        self.index.copy_(index)
        self.labels.copy_(labels.unsqueeze(2))
        self.update.fill_(update)
        self._run()

    def _pass(self) -> None:
        if self.together:
            self.records.gather(self.index, self.raw)
        else:  # one after the other is as fast on a processor, and needs no copy of the whole batch
            for model in range(self.group.models):
                self.records.gather(self.index[model], self.raw[model])
        if self.affine is not None:
            self.raw.sub_(self.affine[0]).mul_(self.affine[1])
        if self.raw is not self.x:
            self.x.copy_(self.raw)
        self.group.round()
        self.dropout.draw()
        self._gradient(self.labels)
        self.group.widen()

    def _gradient(self, labels: torch.Tensor) -> None:
        group, inputs = self.group, [self.x, *(block.view for block in self.thinned)]
        for layer, active in enumerate(self.active):
            torch.baddbmm(group.biases[layer], inputs[layer], group.weights[layer], out=active.view)
            activate_(active.flat, self.activation)
            if self.masks:
                torch.mul(active.flat, self.masks[layer].flat, out=self.thinned[layer].flat)
        torch.baddbmm(group.biases[-1], inputs[-1], group.weights[-1], out=self.logits)

        delta = torch.softmax(self.logits, -1, dtype=torch.float32, out=self.wide)
        delta.scatter_add_(2, labels, self.minus_one).div_(self.batch)  # (p - one hot) / batch
        if self.wide is not self.delta:
            delta = self.delta.copy_(delta)
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
    first: Sequence[Sequence[torch.Tensor]],
) -> list[list[NDArray[np.float32]]]:
    """Train one network for each entry of ``members``, all in one group.

    A model's order of records and dropout come from its own seed (`miaudit.recipes.masks`), and no sum runs across models: what
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
    first
        Weights ``(out, in)`` and biases, alternating, that each model starts from; they are not changed.

    Returns
    -------
    list of list of ndarray
        For each model its weights ``(out, in)`` and biases ``(out,)``, alternating, float32.
    """
    with torch.inference_mode(), exact_products(recipe.device):
        models, n, device = len(members), len(members[0]), records.device
        dtype = torch.bfloat16 if recipe.dtype == "bfloat16" else torch.float32
        group = Group((records.columns, *recipe.hidden, classes), models, device=device, dtype=dtype)
        streams = [Generators.of(seed) for seed in seeds]
        for model, tensors in enumerate(first):
            group.fill(model, tensors)
        update = Update(
            [group.theta.view(-1)], optimizer=recipe.optimizer, momentum=recipe.momentum, weight_decay=2 * recipe.l2
        )
        gradients, updates = [group.gradient.view(-1)], 0

        each_affine = [records.affine(each) for each in statistics]
        pairs = [each for each in each_affine if each is not None]
        affine = None  # or shift and factor, each (models, 1, features)
        if pairs:
            shift, factor = (torch.stack(parts).unsqueeze(1) for parts in zip(*pairs, strict=True))
            affine = shift, factor

        index = torch.from_numpy(np.stack(members).astype(np.int64))  # (models, n)
        batch = min(recipe.batch, n)
        random = {"seeds": seeds, "generators": [stream.dropout for stream in streams]}
        steps = {size: _Step(group, size, recipe, records, affine, **random) for size in {batch, n % batch or batch}}
        labels, order = labels.to(device), torch.empty_like(index)
        for _ in range(recipe.epochs):
            for model, stream in enumerate(streams):
                order[model] = index[model][torch.randperm(n, generator=stream.order)]
            rows = order.to(device)
            answers = labels[rows]  # (models, n)
            for start in range(0, n, batch):
                step = steps[min(batch, n - start)]
                here = slice(start, start + step.batch)
                step(rows[:, here], answers[:, here], updates)
                update.step(gradients, recipe.rate(updates))
                updates += 1
        return [group.take(model) for model in range(models)]
