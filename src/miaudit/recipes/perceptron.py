"""Modules that are a plain fully connected network, told from all others, so that they train as one. Needs torch.

In groups they take half the time: 600-128-100 with tanh, 2,000 records, batch 32, on one thread, trains 2.2 times as fast
under SGD and 2.0 times under Adam as one at a time (20 models x 10 epochs, medians of four pairs on a busy machine), and
3.8 times under SGD on two threads. The gain falls with batch and width: 1.5 at batch 100, 1.3 for 600-1000-100 (8 models x 4
epochs, three pairs, ``python bench/perceptron.py``).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from miaudit.libraries import hooked
from miaudit.recipes.network import Network

if TYPE_CHECKING:
    from miaudit.recipes.module import ModuleRecipe

_ACTIVATIONS: dict[type[nn.Module], str] = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.Sigmoid: "sigmoid"}
_LETTERS = dict.fromkeys(_ACTIVATIONS, "a") | {nn.Linear: "L", nn.Dropout: "d", nn.Flatten: "f", nn.LogSoftmax: "s"}
_PLAIN = re.compile("f?((La)*|(Lad)*)Ls?")


@dataclass(frozen=True)
class Perceptron:
    """What a module is, and how it is trained, as a `Network`: the two train the same model from the same weights."""

    network: Network
    inputs: int
    classes: int
    flattens: bool

    def takes(self, shape: tuple[int, ...], classes: int) -> bool:
        """Whether records of this shape and so many classes fit; if not, the module itself will say so."""
        flat = self.flattens or len(shape) == 1
        return flat and math.prod(shape) == self.inputs and classes == self.classes


def as_perceptron(recipe: ModuleRecipe, module: nn.Module) -> Perceptron | None:
    """Return what a module is as a network, or None if it, or its training, is anything else or hides anything.

    Recognised are ``nn.Linear`` with an activation between each two (one of tanh, ReLU, sigmoid throughout), after each
    of which the same ``nn.Dropout`` may stand; ``nn.Flatten`` may come first, and ``nn.LogSoftmax`` last, which cross-
    entropy does not feel. All of it in ``nn.Sequential``, nested or not, by exact class and without hooks.
    """
    if not recipe.plain or recipe.optimizer not in ("sgd", "adam"):
        return None
    if recipe.schedule != "constant" or recipe.dtype != "float32":
        return None
    if any(hooked(part) for part in module.modules()):
        return None
    layers = [layer for layer in _layers(module) if not (type(layer) is nn.Dropout and layer.p == 0)]
    if not _PLAIN.fullmatch("".join(_LETTERS.get(type(layer), "?") for layer in layers)):
        return None
    linears, first, last = linear_layers(module), layers[0], layers[-1]
    if type(first) is nn.Flatten and (first.start_dim, first.end_dim) != (1, -1):
        return None
    if type(last) is nn.LogSoftmax and last.dim not in (1, -1):
        return None
    activations = {_ACTIVATIONS[type(layer)] for layer in layers if type(layer) in _ACTIVATIONS}
    dropouts = {layer.p for layer in layers if isinstance(layer, nn.Dropout)}
    parameters = [parameter for parameter in module.parameters() if type(parameter) is nn.Parameter]
    its_own = len(parameters) == 2 * len(linears)  # nothing shared, no bias left out, no other parameters
    if not its_own or len(activations) > 1 or len(dropouts) > 1 or 1.0 in dropouts:
        return None
    if any(not parameter.requires_grad or hooked(parameter) for parameter in parameters):
        return None
    if any(one.out_features != other.in_features for one, other in itertools.pairwise(linears)):
        return None
    network = Network(
        hidden=tuple(linear.out_features for linear in linears[:-1]),
        activation=next(iter(activations), "tanh"),  # type: ignore[arg-type]
        dropout=next(iter(dropouts), 0.0),
        optimizer=recipe.optimizer,
        learning_rate=recipe.learning_rate,
        momentum=recipe.momentum,
        l2=recipe.weight_decay / 2,
        epochs=recipe.epochs,
        batch=recipe.batch,
        standardize=recipe.standardize,
        device=recipe.device,
    )
    return Perceptron(network, linears[0].in_features, linears[-1].out_features, type(first) is nn.Flatten)


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    """Linear layers in the order in which they are called."""
    return [layer for layer in _layers(module) if isinstance(layer, nn.Linear)]


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        for part in module:
            yield from _layers(part)
    else:
        yield module
