"""Fully connected networks one at a time, with the derivative written by hand. Needs torch.

Two kinds of work are better done so than in a group (``stacked``): records so sparse that the first layer only touches
what is not zero, and networks that are not small, on processors where oneDNN multiplies faster than MKL, which is
under torch's batched products: MKL serves AMD's with 8 numbers at a time, oneDNN with the 16 that Zen 5 has.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from miaudit.recipes.sparse import SparseRows
from miaudit.recipes.training import Generators, Records, Statistics, Update, activate_
from miaudit.recipes.width import is_large, is_zen_5

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from miaudit.recipes.network import Network


def single_pays(parameters: int, batch: int) -> bool:
    """Whether dense networks of this size are trained faster one at a time than in groups, on this processor and torch."""
    return is_large(parameters, batch) and onednn_leads()


def onednn_leads() -> bool:
    """Whether oneDNN's float32 products are the faster ones here: AMD from Zen 5 on, 2.0 times MKL's.

    On Zen 4, whose 512-bit instructions take two cycles, both multiply as fast. A rule and not a measurement, because a
    network trained twice on one machine must come out the same.
    """
    return is_zen_5() and torch.backends.cpu.get_cpu_capability() == "AVX512" and _has_onednn()


@functools.cache
def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@functools.cache
def _multiplies(dtype: torch.dtype) -> bool:
    """Whether oneDNN takes products of this type on this processor: bfloat16 needs AVX-512, float32 nothing."""
    if not _has_onednn():
        return False
    try:
        torch.ops.mkldnn._linear_pointwise(*torch.ones(2, 8, 8, dtype=dtype), None, "none", [], "")
    except RuntimeError:
        return False
    return True


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, activation: str = "none") -> torch.Tensor:
    """``activation(x @ weight.T + bias)``: every product of a network, forward and back, is of this form.

    Parameters
    ----------
    x, weight
        ``(m, k)`` and ``(n, k)``, of one type, float32 or bfloat16; transposed views are read as they lie.
    bias
        ``(n,)`` or None.
    activation
        "tanh", "relu", "sigmoid" or "none".
    """
    if _multiplies(x.dtype):  # what torch's own compiler calls for a linear layer
        value: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")
        return value
    return activate_(functional.linear(x, weight, bias), activation)


def _derived(back: torch.Tensor, active: torch.Tensor, activation: str) -> torch.Tensor:
    """``back`` times the activation's derivative, in terms of its value ``active``."""
    if activation == "tanh":
        return torch.ops.aten.tanh_backward(back, active)
    if activation == "sigmoid":
        return torch.ops.aten.sigmoid_backward(back, active)
    return torch.ops.aten.threshold_backward(back, active, 0)


def train_single(
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
    """Train networks one after another; parameters and return value are those of ``stacked.train_stacked``.

    With ``recipe.dtype == "bfloat16"`` products are taken in bfloat16 (sums inside them, softmax, and the parameters
    that are updated stay float32), except for a sparse first layer.
    """
    with torch.inference_mode():
        return [
            _Single(recipe, records, labels, index, each, seed, tensors).train()
            for index, each, seed, tensors in zip(members, statistics, seeds, first, strict=True)
        ]


class _Single:
    """One network in training: ``weights[l]`` (out, in), but (in, out) in front of sparse records; ``biases[l]`` (out,)."""

    def __init__(
        self,
        recipe: Network,
        records: Records,
        labels: torch.Tensor,
        members: NDArray[np.int64],
        statistics: Statistics | None,
        seed: int,
        first: Sequence[torch.Tensor],
    ) -> None:
        self.recipe, self.records, self.labels = recipe, records, labels
        self.index = torch.from_numpy(np.asarray(members, dtype=np.int64))  # (n,)
        self.stream = Generators.of(seed)
        own = [tensor.clone() for tensor in first]
        self.weights, self.biases = own[::2], own[1::2]
        self.rows: SparseRows | None = None
        if records.sparse:
            self.weights[0] = self.weights[0].T.contiguous()
            self.rows = SparseRows.standardised(records.csr[members], statistics)
        self.affine = None if records.sparse else records.affine(statistics)
        self.dtype = torch.bfloat16 if recipe.dtype == "bfloat16" else torch.float32
        # Plain descent on a sparse first layer changes few rows of it, in place; everything else has to see all of it.
        self.in_place = records.sparse and recipe.optimizer == "sgd" and not recipe.momentum
        theta = [*self.weights[int(self.in_place) :], *self.biases]
        self.update = Update(theta, optimizer=recipe.optimizer, momentum=recipe.momentum, weight_decay=2 * recipe.l2)
        self.whole = torch.empty_like(self.weights[0]) if records.sparse and not self.in_place else None

    def train(self) -> list[NDArray[np.float32]]:
        n, batch, updates = len(self.index), self.recipe.batch, 0
        columns = 0 if self.rows else self.records.columns
        x = torch.empty(min(batch, n), columns, dtype=self.dtype if self.affine is None else torch.float32)
        for _ in range(self.recipe.epochs):
            order = torch.randperm(n, generator=self.stream.order)
            positions = self.index[order]
            answers = self.labels[positions].unsqueeze(1)  # (n, 1)
            rows = self.rows.reordered(order.numpy()) if self.rows else None
            for start in range(0, n, batch):
                stop = min(start + batch, n)
                part = x[: stop - start]
                if rows is None:
                    self.records.gather(positions[start:stop], part)
                    if self.affine is not None:
                        part.sub_(self.affine[0]).mul_(self.affine[1])
                self._step(part.to(self.dtype), rows, answers[start:stop], start, stop, self.recipe.rate(updates))
                updates += 1
        if self.rows:
            self.weights[0] = self.weights[0].T.contiguous()
        return [array.numpy() for pair in zip(self.weights, self.biases, strict=True) for array in pair]

    def _step(
        self, x: torch.Tensor, rows: SparseRows | None, labels: torch.Tensor, start: int, stop: int, rate: float
    ) -> None:
        """One update from ``x`` (batch, d) or from records start to stop of ``rows``."""
        recipe, last = self.recipe, len(self.weights) - 1
        weights = [weight.to(self.dtype) for weight in self.weights]
        biases = [bias.to(self.dtype) for bias in self.biases]
        inputs, active, masks = [x], list[torch.Tensor](), list[torch.Tensor]()
        for layer in range(last + 1):
            activation = "none" if layer == last else recipe.activation
            if layer == 0 and rows is not None:
                value = rows.times(self.weights[0], start, stop).add_(self.biases[0])
                value = activate_(value, activation).to(self.dtype)
            else:
                value = linear(inputs[layer], weights[layer], biases[layer], activation)
            if layer == last:
                break
            active.append(value)
            if recipe.dropout:
                keep = 1 - recipe.dropout
                mask = torch.empty(value.shape).bernoulli_(keep, generator=self.stream.dropout).div_(keep)
                masks.append(mask.to(self.dtype))
                value = value * masks[-1]
            inputs.append(value)

        delta = torch.softmax(value, 1, dtype=torch.float32)
        delta.scatter_add_(1, labels, delta.new_full((1, 1), -1.0).expand_as(labels)).div_(stop - start)
        delta = delta.to(self.dtype)  # (p - one hot) / batch
        weight_gradients, bias_gradients = list[torch.Tensor](), list[torch.Tensor]()  # from the last layer on
        for layer in range(last, -1, -1):
            bias_gradients.append(delta.sum(0, dtype=torch.float32))
            if layer == 0 and rows is not None:
                self._sparse_gradient(rows, delta.float(), start, stop, rate, weight_gradients)
                break
            weight_gradients.append(linear(delta.T, inputs[layer].T, None).float())
            if layer:
                back = linear(delta, weights[layer].T, None)
                delta = _derived(back.mul_(masks[layer - 1]) if masks else back, active[layer - 1], recipe.activation)
        self.update.step([*weight_gradients[::-1], *bias_gradients[::-1]], rate)

    def _sparse_gradient(
        self,
        rows: SparseRows,
        delta: torch.Tensor,
        start: int,
        stop: int,
        rate: float,
        gradients: list[torch.Tensor],
    ) -> None:
        """Descend on the first layer in place, or append its gradient, a whole matrix."""
        if self.whole is None:
            if self.recipe.l2:
                self.weights[0].mul_(1 - 2 * self.recipe.l2 * rate)
            rows.add_transposed(self.weights[0], delta * -rate, start, stop)
        else:
            rows.add_transposed(self.whole.zero_(), delta, start, stop)
            gradients.append(self.whole)
