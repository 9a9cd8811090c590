"""A trained network opened for further descent: its module, how records become its inputs, and the way back. Needs torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from miaudit.recipes.recipe import Model
from miaudit.recipes.sequential import batch_of, logits
from miaudit.recipes.training import Records, Statistics, device_of

if TYPE_CHECKING:
    from miaudit.recipes.module import ModuleModel
    from miaudit.recipes.network import NetworkModel


@dataclass(frozen=True, eq=False)
class Opened:
    """A copy of a trained network, whose weights may be changed.

    ``module`` answers (n, classes) logits of rows that ``rows`` makes of records, without dropout; ``closed`` returns a model
    of the kind that was opened, with the weights as they are then. ``device`` is where, by its name in the recipe.
    """

    module: torch.nn.Module
    rows: Callable[[Any], torch.Tensor]
    closed: Callable[[], Model]
    device: str


class _Layers(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, model: NetworkModel) -> None:
        super().__init__()
        self.recipe, self.shape = model.recipe, model.shape
        self.tensors = torch.nn.ParameterList([torch.from_numpy(array.copy()) for array in model.tensors])

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return logits(self.recipe, list(self.tensors), rows, self.shape)


def opened_network(model: NetworkModel) -> Opened:
    """Return a `Network`'s model, opened."""
    module = _Layers(model).to(device_of(model.recipe.device))
    statistics = None if model.mean is None or model.scale is None else Statistics(model.mean, model.scale)
    images = model.recipe.kind == "cnn"

    def closed() -> Model:
        arrays = [each.detach().cpu().clone().numpy() for each in module.tensors]
        return replace(model, tensors=tuple(arrays))

    device = model.recipe.device
    return Opened(module, lambda X: _rows(X, statistics, device, images=images), closed, device)


def opened_module(model: ModuleModel) -> Opened:
    """Return a `ModuleRecipe`'s model, opened; one that ends in probabilities answers their logarithms."""
    from miaudit.recipes.module_training import Answering

    module = copy.deepcopy(model.module).eval()
    images = len(model.shape) == 3

    def closed() -> Model:
        return replace(model, module=copy.deepcopy(module).eval())

    return Opened(
        Answering(module, model.shape, model.classes),
        lambda X: _rows(X, model.statistics, model.recipe.device, images=images),
        closed,
        model.recipe.device,
    )


def _rows(X: Any, statistics: Statistics | None, device: str, *, images: bool) -> torch.Tensor:
    records = Records(X, channels_last=images, device=device_of(device))
    return batch_of(records, torch.arange(X.shape[0], device=records.device), records.affine(statistics))
