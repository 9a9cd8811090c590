"""A `Network` as a torch module, for whoever trains modules in a way of their own. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from miaudit.recipes.training import Generators, first_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from miaudit.recipes.network import Network

_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def as_module(recipe: Network, shape: tuple[int, ...], classes: int, *, seed: int) -> nn.Sequential:
    """Return the untrained network, with the first weights that its own training would start from.

    Parameters
    ----------
    recipe
        Of either kind.
    shape
        Of one record; it takes batches (m, *shape) of float32, images as (m, c, h, w).
    classes
        Width of the output.
    seed
        Of the first weights.
    """
    shapes = recipe.weight_shapes(shape, classes)
    tensors = first_weights(shapes, Generators.of(seed).weights)
    layers: list[nn.Module] = [] if recipe.kind == "cnn" else [nn.Flatten()]
    if recipe.kind == "cnn" and len(shape) == 2:
        layers.append(nn.Unflatten(1, (1, shape[0])))  # grey images without a channel
    for number, of in enumerate(shapes):
        last = number == len(shapes) - 1
        if len(of) == 4:
            layers += [nn.Conv2d(of[1], of[0], of[2], padding=recipe.padding), nn.MaxPool2d(2)]
            layers.append(_ACTIVATIONS[recipe.activation]())
            if len(shapes[number + 1]) == 2:
                layers.append(nn.Flatten())
            continue
        layers.append(nn.Linear(of[1], of[0]))
        if not last:
            layers.append(_ACTIVATIONS[recipe.activation]())
            if recipe.dropout:
                layers.append(nn.Dropout(recipe.dropout))
    module = nn.Sequential(*layers)
    for parameter, tensor in zip(module.parameters(), tensors, strict=True):
        parameter.data.copy_(tensor)
    return module


def tensors_of(module: nn.Module) -> tuple[NDArray[np.float32], ...]:
    """Return weights and biases, alternating, of a trained one."""
    return tuple(parameter.detach().cpu().contiguous().numpy().copy() for parameter in module.parameters())
