"""Modules of any kind: built and trained from a seed, and asked. Needs torch."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from miaudit.data.records import take_records
from miaudit.errors import DataError, PlanError, counted, reason_of, with_article
from miaudit.evidence.answers import decide
from miaudit.recipes.descent import Descent, Patience, logarithm, loss_of
from miaudit.recipes.module import ModuleModel, ModuleRecipe
from miaudit.recipes.perceptron import Perceptron, as_perceptron, linear_layers
from miaudit.recipes.precision import exact_products
from miaudit.recipes.sequential import autocast, batch_of
from miaudit.recipes.training import Generators, Records, Statistics, checked_labels, device_of
from miaudit.seeds import child_seed
from miaudit.targets.torch_modules import answer_of, evaluating, watched, with_output

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from miaudit.recipes.objective import Objective

_CHUNK = 512  # records answered together: bounds memory
_SHOWN = 32  # records by whose answers a module is told that ends in no layer of torch's own

_global_generator = threading.RLock()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators, which ``nn.init`` and ``nn.Dropout`` draw from; they are put back afterwards.

    One thread at a time has them; threads that draw from them without asking here would change a model, and be changed.
    """
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    with _global_generator, torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield


def built(build: Callable[[], Any], *, seed: int, output: str | int | None = None) -> torch.nn.Module:
    """Return what ``build()`` makes with first weights of this seed; it answers one of its outputs alone, if one is named.

    Raises
    ------
    PlanError
        If it fails, or returns something else than a module with float32 parameters.
    """
    with _seeded(child_seed(seed, "weights")):
        try:
            module = build()
        except Exception as error:
            raise PlanError(f"the function that builds the module failed: {reason_of(error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise PlanError(
            f"the function that builds the module returned {with_article(type(module).__name__)}; return an nn.Module"
        )
    if lazy := [name for name, each in module.named_parameters() if torch.nn.parameter.is_lazy(each)]:
        raise PlanError(
            f"a module must have its parameters when it is built, and {lazy[0]} waits for the first records; give its layer "
            "all sizes (nn.Linear in place of nn.LazyLinear)"
        )
    kinds = {parameter.dtype for parameter in module.parameters()}
    if kinds != {torch.float32}:
        names = ", ".join(sorted(map(str, kinds))) or "no parameters"
        raise PlanError(f"a module must have parameters, all of torch.float32; got {names}")
    return module if output is None else with_output(module, output)


def train_modules(
    recipe: ModuleRecipe, X: Any, y: Any, *, indices: Sequence[Any], classes: int, seeds: Sequence[int]
) -> list[ModuleModel]:
    """Train a module for each entry of ``indices``; parameters and errors are those of `ModuleRecipe.fit_many`."""
    if len(indices) != len(seeds):
        raise PlanError(f"got {len(indices)} sets of records and {len(seeds)} seeds; give one seed for each model")
    plain = as_perceptron(recipe, built(recipe.build, seed=0, output=recipe.output))
    if plain is not None and not plain.takes(tuple(X.shape[1:]), classes):
        plain = None
    models: dict[int, ModuleModel] = {}
    together: dict[int, torch.nn.Module] = {}
    for model, (index, seed) in enumerate(zip(indices, seeds, strict=True)):
        if plain is not None and not _one_left_over(len(index), recipe.batch):
            module = built(recipe.build, seed=seed, output=recipe.output)
            if as_perceptron(recipe, module) == plain:
                together[model] = module
                continue
        models[model] = train_module(recipe, take_records(X, index), y[index], classes=classes, seed=seed)
    if plain is not None and together:
        each_weights = _train_together(
            plain,
            recipe,
            X,
            y,
            indices=[indices[model] for model in together],
            seeds=[seeds[model] for model in together],
            modules=list(together.values()),
        )
        models |= zip(together, each_weights, strict=True)
    return [models[model] for model in range(len(seeds))]


def _one_left_over(records: int, batch: int) -> bool:
    """Whether a pass ends on a single record, which joins the update before it here, but not in a `Network`."""
    return (records % batch or batch) == 1 < records


def _train_together(
    plain: Perceptron,
    recipe: ModuleRecipe,
    X: Any,
    y: Any,
    *,
    indices: Sequence[Any],
    seeds: Sequence[int],
    modules: Sequence[torch.nn.Module],
) -> list[ModuleModel]:
    leaves = [[leaf for part in linear_layers(module) for leaf in (part.weight, part.bias)] for module in modules]
    networks = plain.network.fit_many(
        X,
        y,
        indices=indices,
        classes=plain.classes,
        seeds=seeds,
        first=[[leaf.detach().cpu().numpy() for leaf in each] for each in leaves],
    )
    models = []
    for module, each, network in zip(modules, leaves, networks, strict=True):
        for leaf, array in zip(each, network.tensors, strict=True):
            leaf.data.copy_(torch.from_numpy(array))
        statistics = None
        if network.mean is not None and network.scale is not None:
            statistics = Statistics(network.mean, network.scale)
        module.to(device_of(recipe.device)).eval()
        models.append(ModuleModel(recipe, module, plain.classes, tuple(X.shape[1:]), statistics))
    return models


def train_module(
    recipe: ModuleRecipe,
    X: Any,
    y: Any,
    *,
    classes: int,
    seed: int,
    objective: Objective | None = None,
    start: ModuleModel | None = None,
) -> ModuleModel:
    """Train one module as the recipe says; parameters and errors are those of `ModuleRecipe.fit`.

    With an objective ``y`` are (n, classes) shares of the classes. ``start`` is a model to train further: its weights and its
    standardisation.
    """
    shape = tuple(X.shape[1:])
    device = device_of(recipe.device)
    records = Records(X, channels_last=len(shape) == 3, device=device)
    labels = checked_labels(y, classes) if objective is None else torch.from_numpy(np.asarray(y, np.float32))
    labels = labels.to(device)
    statistics = records.statistics(np.arange(X.shape[0])) if recipe.standardize else None
    module = built(recipe.build, seed=seed, output=recipe.output) if start is None else copy.deepcopy(start.module)
    statistics, module = statistics if start is None else start.statistics, module.to(device)
    affine = records.affine(statistics)
    order = Generators.of(seed).order
    descent = Descent(recipe, module)
    loss_function = loss_of(recipe, labels, classes) if objective is None else None
    whole = _looks_up(module, X) and not recipe.standardize
    first = batch_of(records, torch.arange(min(_SHOWN, len(labels)), device=device), affine)
    with exact_products(recipe.device):
        shares = ends_in_probabilities(module, _shaped(first, shape, whole), classes)
    apart, rest = _parted(recipe, len(labels), seed)

    def loss_on(part: torch.Tensor, epoch: int) -> torch.Tensor:
        rows, targets = batch_of(records, part, affine), labels[part]
        if objective is not None and module.training:
            rows, targets = objective.batch(rows, targets, order)
        inputs = _shaped(rows, shape, whole)
        inputs = recipe.augment(inputs) if recipe.augment is not None and module.training else inputs
        answers = _as_columns(answer_of(module(inputs), len(part), classes), classes, shares)
        if answers.shape != (len(part), classes):
            raise PlanError(
                f"{recipe.name} answers {counted(len(part), 'record')} with {tuple(answers.shape)} values; expected "
                f"logits of shape ({len(part)}, {classes}), one for each class"
            )
        if loss_function is not None:
            return loss_function(answers, targets, shares)
        assert objective is not None
        return objective.loss((logarithm(answers) if shares else answers).float(), targets, epoch)

    with _seeded(child_seed(seed, "dropout")), exact_products(recipe.device):
        _descend(recipe, descent, module, loss_on, rest, apart, order)
    return ModuleModel(recipe, module, classes, shape, statistics)


def _descend(
    recipe: ModuleRecipe,
    descent: Descent,
    module: torch.nn.Module,
    loss_on: Callable[[torch.Tensor, int], torch.Tensor],
    rest: torch.Tensor,
    apart: torch.Tensor,
    order: torch.Generator,
) -> None:
    """Train a module on the rest of the records for all passes, or until those apart say that it is enough."""
    device, patience = device_of(recipe.device), Patience(module, recipe.patience)
    module.train()
    number = 0
    for epoch in range(recipe.epochs):
        parts = _batches(rest, order, recipe.batch, device)
        for part in parts:
            descent.zero()
            with torch.enable_grad(), autocast(recipe.dtype, device):
                loss = loss_on(part, epoch)
            loss.backward()
            with torch.no_grad():
                descent.step(recipe.rate(number, len(parts)))
            number += 1
        if len(apart):
            with evaluating(module), torch.no_grad():
                losses = [float(loss_on(part, epoch)) * len(part) for part in apart.to(device).split(_CHUNK)]
            if patience.over(sum(losses) / len(apart)):
                break
    patience.restore()
    module.eval()


def _parted(recipe: ModuleRecipe, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the records set apart for early stopping, and the others."""
    if not recipe.validation:
        return torch.arange(0), torch.arange(n)
    count = round(recipe.validation * n)
    if not 0 < count < n - 1:
        raise PlanError(
            [("validation", f"sets {count:,} of {counted(n, 'record')} apart; give a share that leaves some of both")]
        )
    order = torch.randperm(n, generator=torch.Generator().manual_seed(child_seed(seed, "validation")))
    return order[:count].sort().values, order[count:].sort().values


def _batches(rest: torch.Tensor, order: torch.Generator, batch: int, device: torch.device) -> list[torch.Tensor]:
    """Return the records of each update of an epoch; a single one that is left over joins the update before it."""
    parts = list(rest[torch.randperm(len(rest), generator=order)].to(device).split(batch))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def logits_of(
    module: Any, X: Any, *, statistics: Statistics | None, classes: int, device: str = "cpu"
) -> NDArray[np.float64]:
    """Return what a module in eval mode on a device answers, before the softmax, (n, classes)."""
    place, shape = device_of(device), tuple(X.shape[1:])
    answers = np.empty((X.shape[0], classes))  # (n, classes)
    whole = _looks_up(module, X) and statistics is None
    with torch.inference_mode(), exact_products(device):
        for start in range(0, len(answers), _CHUNK):
            part = X[start : start + _CHUNK]
            records = Records(part, channels_last=len(shape) == 3, device=place)
            rows = batch_of(records, torch.arange(part.shape[0], device=place), records.affine(statistics))
            if start == 0:
                with torch.inference_mode(mode=False):
                    shares = ends_in_probabilities(module, _shaped(rows[:_SHOWN].clone(), shape, whole), classes)
            own = _as_columns(answer_of(module(_shaped(rows, shape, whole)), part.shape[0], classes), classes, shares)
            answers[start : start + _CHUNK] = (logarithm(own) if shares else own).cpu().numpy()
    return answers


class Answering(torch.nn.Module):  # type: ignore[misc]
    """A trained module that takes rows as `batch_of` makes them and answers logits, or log-probabilities in their place."""

    def __init__(self, module: torch.nn.Module, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.module, self.shape, self.classes = module, shape, classes
        self.whole = any("Embedding" in type(part).__name__ for part in module.modules())
        self.shares: bool | None = None

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (m, classes) logits of (m, d) rows."""
        shaped = _shaped(rows, self.shape, self.whole)
        if self.shares is None:
            self.shares = ends_in_probabilities(self.module, shaped[:_SHOWN].detach().clone(), self.classes)
        own: torch.Tensor = answer_of(self.module(shaped), len(rows), self.classes)
        return logarithm(own) if self.shares else own


def ends_in_probabilities(module: Any, rows: torch.Tensor, classes: int) -> bool:
    """Return whether a module answers probabilities, told by its last layer, or else by its answers to some records.

    Cross-entropy is taken of logits: a module that ends in a softmax would be put through a second one.

    Raises
    ------
    PlanError
        If it ends in a sigmoid, so that its answers are neither.
    """
    with evaluating(module), torch.random.fork_rng(devices=[]), torch.no_grad():
        own = answer_of(module(rows), len(rows), classes).float().cpu().numpy()
    try:
        hint = watched(module, lambda: answer_of(module(rows[:1]), 1, classes))[1]
    except Exception:  # one record alone may not do
        hint = None
    if classes == 2 and own.shape[1:] in ((), (1,)):  # one number a record
        return hint.type is None if hint is not None else bool(own.min() >= 0 and own.max() <= 1)
    if hint is not None and hint.type is None:
        raise PlanError(
            f"the module of the recipe cannot be trained on cross-entropy of several classes: {hint.source}. Leave that layer "
            "out, so that the module answers logits"
        )
    if hint is not None:
        return hint.type == "probabilities"
    try:
        return decide(own, classes=own.shape[-1]).kind == "probabilities"
    except (DataError, ValueError, IndexError):
        return False  # of another shape, which training tells


def _as_columns(answers: torch.Tensor, classes: int, shares: bool) -> torch.Tensor:
    """Return one number a record about two classes as two: the share or the log-odds of the second, and its complement."""
    if classes != 2 or answers.dim() > 2 or answers.shape[1:] not in ((), (1,)):
        return answers
    second = answers.reshape(-1)
    return torch.stack([1 - second if shares else torch.zeros_like(second), second], dim=1)


def _looks_up(module: torch.nn.Module, X: Any) -> bool:
    """Whether a module looks records up in a table, so that it takes them as whole numbers, as they are."""
    tables = any("Embedding" in type(part).__name__ for part in module.modules())
    return (
        tables
        and getattr(X, "dtype", np.dtype(float)).kind in "iu"
        and len(X.shape) < 4
        and int(X.max(initial=0)) < 2**24
    )


def _shaped(rows: torch.Tensor, shape: tuple[int, ...], whole: bool) -> torch.Tensor:
    """Rows (m, d) as a batch of records; images lie in them as (h, w, c), and become (m, c, h, w) channels_last."""
    if whole:
        return rows.long().view(-1, *shape)
    if len(shape) == 3:
        channels, height, width = shape
        return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)
    return rows.view(-1, *shape)
