"""DP-SGD: descent by Opacus on a recipe's torch module, and its epsilon by Opacus's accountant (extra ``dp``)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing import Case
from miaudit.errors import PlanError
from miaudit.mitigations.defended import Defended
from miaudit.mitigations.document import Privacy
from miaudit.recipes import Encoded, Fingerprint, Model, Wrapping, fingerprint_of_recipe
from miaudit.seeds import child_seed

if TYPE_CHECKING:
    from miaudit.mitigations.training import DPSGD


@dataclass(frozen=True)
class Private(Defended):
    """Train by DP-SGD; see `miaudit.mitigations.DPSGD`."""

    options: DPSGD | None = None

    def __post_init__(self) -> None:
        opacus_version()
        self.settings  # noqa: B018  # refuses a recipe without a rate

    @property
    def settings(self) -> tuple[int, int, float]:
        """Passes, expected records in an update, and the rate."""
        options, recipe = self.options, self.recipe
        assert options is not None
        rate = options.learning_rate
        if rate is None:
            if getattr(recipe, "optimizer", "sgd") != "sgd":
                raise PlanError(
                    [
                        (
                            "mitigations.dp-sgd.learning_rate",
                            f"missing: {recipe.name} has a rate for another descent than SGD",
                        )
                    ]
                )
            rate = recipe.learning_rate  # type: ignore[attr-defined]
        return options.epochs or recipe.epochs, options.batch or recipe.batch, rate  # type: ignore[attr-defined]

    def describe(self) -> dict[str, Any]:
        """Return how it is trained, with the version of Opacus, and the description of the recipe within."""
        return {**super().describe(), "opacus": opacus_version()}

    def fingerprint(self) -> Fingerprint:
        """Return what decides the recipe within."""
        return fingerprint_of_recipe(self.recipe)

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Model:
        """Train one model."""
        import torch

        from miaudit.recipes.training import Records

        options, recipe, shape = self.options, self.recipe, tuple(X.shape[1:])
        assert options is not None
        epochs, batch, rate = self.settings
        n, share = len(y), min(1.0, batch / len(y))
        records = Records(X)
        statistics = records.statistics(np.arange(n)) if recipe.standardize else None  # type: ignore[attr-defined]
        affine, labels = records.affine(statistics), torch.from_numpy(np.asarray(y, np.int64))
        module = recipe.module(shape, classes, seed=seed).train()  # type: ignore[attr-defined]
        draws, noise = (torch.Generator().manual_seed(child_seed(seed, of)) for of in ("poisson", "noise"))
        private, optimizer, loss = _wrapped(module, rate, options.noise, options.clip, n * share, noise)
        steps = epochs * max(1, round(1 / share))
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's of hooks that Opacus sets
            torch.default_generator.manual_seed(child_seed(seed, "dropout"))
            for _ in range(steps):
                part = (torch.rand(n, generator=draws) < share).nonzero().flatten() if share < 1 else torch.arange(n)
                optimizer.zero_grad()
                if len(part):
                    rows = torch.empty(len(part), records.columns)
                    records.gather(part, rows)
                    rows = rows if affine is None else rows.sub_(affine[0]).mul_(affine[1])
                    loss(private(rows.view(-1, *shape)), labels[part]).backward()
                else:
                    for parameter in private.parameters():
                        parameter.grad = torch.zeros_like(parameter)
                optimizer.step()
        private.remove_hooks()
        return recipe.of_module(module.eval(), shape, classes, statistics)  # type: ignore[attr-defined,no-any-return]


def _wrapped(module: Any, rate: float, noise: float, clip: float, batch: float, generator: Any) -> tuple[Any, Any, Any]:
    """Return Opacus's module, optimiser and loss, which clips without holding gradients of single records (ghost clipping).

    A module whose records are not apart is refused.
    """
    import torch
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
    from opacus.validators import ModuleValidator

    problems = ModuleValidator.validate(module, strict=False)
    if problems:
        raise PlanError(
            f"DP-SGD needs gradients of single records, which this module does not have: {problems[0]}. Use another layer, "
            "such as GroupNorm for BatchNorm"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        private = GradSampleModuleFastGradientClipping(module, max_grad_norm=clip)
        optimizer = DPOptimizerFastGradientClipping(
            torch.optim.SGD(private.parameters(), lr=rate),
            noise_multiplier=noise,
            max_grad_norm=clip,
            expected_batch_size=max(1, round(batch)),
            generator=generator,
        )
    return private, optimizer, DPLossFastGradientClipping(private, optimizer, torch.nn.CrossEntropyLoss())


def epsilon_of(options: DPSGD, recipe: Private, n: int) -> Privacy:
    """Return epsilon of a training on n records, by Opacus's accountant for Renyi differential privacy (Mironov 2017)."""
    from opacus.accountants import RDPAccountant

    epochs, batch, _ = recipe.settings
    share, delta = min(1.0, batch / n), options.delta or min(1e-5, 0.1 / n)
    accountant = RDPAccountant()
    accountant.history = [(options.noise, share, epochs * max(1, round(1 / share)))]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # that the best order is at the end of those tried: then epsilon is larger, not wrong
        epsilon = float(accountant.get_epsilon(delta))
    return Privacy(epsilon=epsilon, delta=delta, noise=options.noise)


def privacy_of(training: tuple[Any, ...], case: Case) -> Privacy | None:
    """Return the privacy of a setting's training on the case's members; None where no part of it is DP-SGD."""
    from miaudit.mitigations.training import private_part

    part = private_part(training)
    if part is None:
        return None
    recipe = case.recipe
    for mitigation in training:
        recipe = mitigation.of(recipe)
    notes, private = [], recipe
    while not isinstance(private, Private):
        if not isinstance(private, Wrapping):
            return None
        if isinstance(private, Encoded):
            notes.append("an encoder that learns of the training records")
        elif isinstance(private, Defended):
            return None  # several trainings on the same records: epsilon is not that of one
        private = private.inner
    if getattr(private.recipe, "standardize", False):
        notes.append("means and scales of the training records")
    privacy = epsilon_of(part, private, len(case.split.training))
    return privacy.model_copy(update={"note": f"outside of epsilon: {', '.join(notes)}"}) if notes else privacy


def opacus_version() -> str:
    """Return the version of Opacus; PlanError where it is not installed."""
    try:
        import opacus
    except ImportError:
        raise PlanError("DP-SGD needs Opacus: pip install 'miaudit[dp]'") from None
    return str(opacus.__version__)
