"""How the parameters of a module go down: groups with and without weight decay, losses, early stopping. Needs torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from miaudit.errors import PlanError, counted, reason_of
from miaudit.recipes.sequential import flattened
from miaudit.recipes.training import Update

if TYPE_CHECKING:
    from miaudit.recipes.module import ModuleRecipe

Loss = Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor]
"""Of answers, labels, and whether the answers are probabilities."""

_LEAST = 1e-30  # probability below which logarithms are cut off, as in `miaudit.signals`


def logarithm(probabilities: torch.Tensor) -> torch.Tensor:
    """Return log-probabilities, whose softmax are the probabilities again."""
    return probabilities.float().clamp_min(_LEAST).log()


class Descent:
    """The parameters of a module that are trained, and their updates.

    Raises
    ------
    PlanError
        If the recipe's own optimiser cannot be made.
    """

    def __init__(self, recipe: ModuleRecipe, module: torch.nn.Module) -> None:
        parameters = [(name, leaf) for name, leaf in module.named_parameters() if leaf.requires_grad]
        heavy = [leaf for name, leaf in parameters if _decays(recipe, name, leaf)]
        light = [leaf for name, leaf in parameters if not any(leaf is other for other in heavy)]
        groups = [(leaves, decay) for leaves, decay in ((heavy, recipe.weight_decay), (light, 0.0)) if leaves]
        pairs = [flattened(leaves) for leaves, _ in groups]
        self._gradients, self._clip = [gradient for _, gradient in pairs], recipe.clip
        self._updates: list[Update] = []
        if callable(recipe.optimizer):
            states = recipe.weight_decay > 0 or recipe.decay != "all"  # else its own default holds
            own = [{"params": leaves, **({"weight_decay": decay} if states else {})} for leaves, decay in groups]
            try:
                self._own = recipe.optimizer(own, lr=recipe.learning_rate)
            except Exception as error:
                raise PlanError(
                    f"the optimizer of the recipe failed: {reason_of(error)}; it is called with parameter groups and lr"
                ) from error
        else:
            how: dict[str, Any] = {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
            self._updates = [
                Update([theta], optimizer=recipe.optimizer, weight_decay=decay, **how)
                for (theta, _), (_, decay) in zip(pairs, groups, strict=True)
            ]

    def zero(self) -> None:
        """Set the gradients to zero."""
        for gradient in self._gradients:
            gradient.zero_()

    def step(self, rate: float) -> None:
        """One update by this learning rate."""
        if self._clip is not None:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(each) for each in self._gradients]))
            for gradient in self._gradients:
                gradient.mul_(torch.clamp(self._clip / (norm + 1e-6), max=1.0))
        if not self._updates:
            for group in self._own.param_groups:
                group["lr"] = rate
            self._own.step()
        for update, gradient in zip(self._updates, self._gradients, strict=False):
            update.step([gradient], rate)


def _decays(recipe: ModuleRecipe, name: str, leaf: torch.Tensor) -> bool:
    if callable(recipe.decay):
        return bool(recipe.decay(name, leaf))
    return recipe.decay == "all" or leaf.dim() >= 2


def loss_of(recipe: ModuleRecipe, labels: torch.Tensor, classes: int) -> Loss:
    """Return the loss that a recipe trains on; ``labels`` are those of the training set.

    Raises
    ------
    PlanError
        If there are not as many class weights as classes, or the recipe's own loss answers no single number.
    """
    if recipe.loss is not None:
        own: Any = recipe.loss() if isinstance(recipe.loss, type) else recipe.loss

        def theirs(answers: torch.Tensor, truth: torch.Tensor, shares: bool) -> torch.Tensor:
            value: torch.Tensor = own(answers, truth)
            if getattr(value, "shape", None) != ():
                raise PlanError(
                    f"the loss of the recipe returned {type(value).__name__}, not one number: the mean of a batch"
                )
            return value

        return theirs
    weights: torch.Tensor | None = None
    if recipe.class_weights == "balanced":
        counts = torch.bincount(labels, minlength=classes).float()
        weights = len(labels) / ((counts > 0).sum() * counts.clamp_min(1))
    elif recipe.class_weights is not None:
        if len(recipe.class_weights) != classes:
            raise PlanError(
                [("class_weights", f"got {counted(len(recipe.class_weights), 'number')}; there are {classes} classes")]
            )
        weights = torch.tensor(recipe.class_weights, device=labels.device)

    def cross_entropy(answers: torch.Tensor, truth: torch.Tensor, shares: bool) -> torch.Tensor:
        values = logarithm(answers) if shares else answers
        return functional.cross_entropy(values, truth, weight=weights, label_smoothing=recipe.label_smoothing)

    return cross_entropy


class Patience:
    """Early stopping: the best state of a module so far, and when to end."""

    def __init__(self, module: torch.nn.Module, patience: int) -> None:
        self._module, self._left, self._patience = module, patience, patience
        self._least = np.inf
        self._best: dict[str, Any] = {}

    def over(self, loss: float) -> bool:
        """Take note of the loss after an epoch; return whether training ends."""
        if loss < self._least:
            self._least, self._left = loss, self._patience
            self._best = copy.deepcopy(self._module.state_dict())
        else:
            self._left -= 1
        return self._left == 0

    def restore(self) -> None:
        """Put the best state back."""
        if self._best:
            self._module.load_state_dict(self._best)
