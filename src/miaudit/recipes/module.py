"""Any torch module as a recipe: a function that builds it, and how to train it (extra ``torch``)."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from miaudit.errors import DataError, PlanError, not_real, not_whole
from miaudit.evidence.answers import softmax
from miaudit.libraries import require_torch
from miaudit.recipes.estimator import describe_parameter
from miaudit.recipes.fingerprint import Fingerprint, fingerprint, joined
from miaudit.recipes.foreign import bytes_of, is_foreign
from miaudit.recipes.precision import ON_GPU
from miaudit.recipes.recipe import turned
from miaudit.threads import is_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from miaudit.recipes.objective import Objective
    from miaudit.recipes.opened import Opened
    from miaudit.recipes.perceptron import Perceptron


_ADDED = {
    *("device", "loss", "label_smoothing", "class_weights", "nesterov", "decay", "warmup", "clip", "augment"),
    *("validation", "patience", "output"),
}
"""Options that rows made without them do not name."""

_ENDS = {"Softmax": "softmax", "Softmax2d": "softmax", "LogSoftmax": "log-softmax"}


@dataclass(frozen=True)
class ModuleRecipe:
    """Train what ``build()`` returns, a ``torch.nn.Module``, on cross-entropy or a loss of your own.

    A module that is nothing but a small fully connected network trains in groups as `Network` does (``fit_many``), from
    its own first weights to the same answers but for rounding: linear layers with tanh, ReLU or
    sigmoid between them, perhaps dropout after each, in ``nn.Sequential``, with "sgd" or "adam" at a constant rate in float32.
    Nothing need be set for it; what differs in anything trains one model after the other.

    A model's first weights, order of records and dropout follow from its seed. Modules draw the first and the last
    from torch's global generator, so this is set while a model is made or trains alone, and put back afterwards; that is
    done behind a lock, and other threads should draw nothing from that generator meanwhile.

    Parameters
    ----------
    build
        Called without arguments; returns a new, untrained module that takes a float32 batch ``(m, *shape of a record)``
        and answers with logits ``(m, classes)``, or with probabilities, if it ends in a softmax: then the cross-entropy
        is taken of their logarithm, and `describe` says so. Of two classes one number a record will do, that of class 1. Whole
        numbers stay whole for a module with an embedding. An answer with ``logits``, as of transformers, is read there; of a
        tuple or dict the one tensor of that shape. Give a function of a module or file (``functools.partial`` of one will do):
        worker processes import it by its name. One of a script or notebook cell trains in this process.
    optimizer
        "sgd", "adam" or "adamw", the last two with the usual constants (0.9, 0.999, 1e-8); or a function that is called with
        parameter groups and ``lr`` and returns an optimiser of torch, such as ``torch.optim.RMSprop`` or a
        ``functools.partial`` of one.
    learning_rate
        Of the first update; with ``warmup`` of the first one after it.
    schedule
        "constant"; "cosine": falls along half a cosine to 0 after the last update; "steps": times ``gamma`` after each
        of the epochs in ``milestones``.
    milestones, gamma
        Of the schedule "steps".
    momentum
        Of "sgd", without dampening.
    weight_decay
        As ``torch.optim`` has it, on every parameter that ``decay`` names.
    epochs, batch
        Passes over the records, and records in an update. The last update of a pass takes what is left over; a single
        record left over joins the update before it, because batch normalisation cannot work on one.
    standardize
        Subtract the training records' mean and divide by their standard deviation, per feature, or per channel of
        images. Images of bytes are divided by 255 either way.
    dtype
        "bfloat16" trains under autocast: convolutions and products in bfloat16, parameters and loss in float32. Answers
        are computed in float32 either way.
    device
        "cuda" trains and answers on an NVIDIA GPU, "cuda:1" on the second; a plan sets it by `engine.device`. First weights
        are drawn on the processor either way, dropout on the device; rows made on a GPU have other names.
    loss
        ``loss(answers, labels)`` returns the mean loss of a batch; a class, such as ``torch.nn.MultiMarginLoss``, is called for
        one. Default: cross-entropy.
    label_smoothing
        Of the cross-entropy, from 0 and below 1.
    class_weights
        Of the cross-entropy: a number for each class; or "balanced", by the inverse of how often a class is in the training
        set.
    nesterov
        Whether "sgd" looks ahead by its momentum.
    decay
        Which parameters ``weight_decay`` shrinks: "all"; "weights", those with two axes or more, so no biases and no scales of
        normalisations; or a function of the parameter's name and itself that says whether.
    warmup
        Epochs, or a part of one, in which the rate rises along a line from near 0.
    clip
        Largest norm of the gradient of an update; None: any.
    augment
        ``augment(records)`` returns a batch in another form, such as flipped images, while training; it may draw from torch's
        global generator, which is seeded.
    validation, patience
        Early stopping: this share of the training records is drawn and set apart, and training ends after so many epochs
        without a lower loss on it; the weights of the best epoch stay. The records set apart were handed over for training,
        and count as members. 0: none.
    output
        Which answer of a module with several to train and to read: its name in a dict or in an answer of transformers, or its
        place in a tuple. Default: ``logits``, or the one tensor of a tuple or dict that has the shape.

    Raises
    ------
    PlanError
        Listing every field that cannot be.
    """

    build: Callable[[], Any]
    optimizer: Literal["sgd", "adam", "adamw"] | Callable[..., Any] = "sgd"
    learning_rate: float = 0.1
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    epochs: int = 10
    batch: int = 128
    standardize: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    loss: Callable[[Any, Any], Any] | None = None
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    nesterov: bool = False
    decay: Literal["all", "weights"] | Callable[[str, Any], bool] = "all"
    warmup: float = 0.0
    clip: float | None = None
    augment: Callable[[Any], Any] | None = None
    validation: float = 0.0
    patience: int = 5
    output: str | int | None = None

    def __post_init__(self) -> None:
        problems: list[tuple[str, str]] = []

        def need(field: str, holds: bool, allowed: str) -> None:
            if not holds:
                problems.append((field, f"got {getattr(self, field)!r}; allowed: {allowed}"))

        epochs: Any = self.milestones
        object.__setattr__(self, "milestones", tuple(epochs) if isinstance(epochs, list | tuple) else (epochs,))
        instance = hasattr(self.build, "forward") and not isinstance(self.build, type)
        need("build", callable(self.build) and not instance, "a function that builds the module")
        usable = self.optimizer in ("sgd", "adam", "adamw") or callable(self.optimizer)
        need("optimizer", usable, '"sgd", "adam" or "adamw", or a function of parameters and lr')
        need("schedule", self.schedule in ("constant", "cosine", "steps"), '"constant", "cosine" or "steps"')
        need("dtype", self.dtype in ("float32", "bfloat16"), '"float32" or "bfloat16"')
        need("device", is_device(self.device), '"cpu", "cuda" or "cuda:1"')
        problems += self._numbers_out_of_range()
        need("milestones", bool(self.milestones) == (self.schedule == "steps"), 'epochs, with schedule "steps" only')
        unreal: list[tuple[str, str]] = []
        if isinstance(self.class_weights, list | tuple | np.ndarray):
            unreal = not_real(*(("class_weights", weight) for weight in self.class_weights), least=0)
            object.__setattr__(self, "class_weights", () if unreal else tuple(map(float, self.class_weights)))
            problems += unreal
        weights = self.class_weights
        positive = unreal or (isinstance(weights, tuple) and max(weights, default=0.0) > 0)
        need(
            "class_weights",
            weights in (None, "balanced") or bool(positive),
            '"balanced", or a number from 0 for each class',
        )
        need("loss", self.loss is None or callable(self.loss), "a function of answers and labels")
        need("decay", self.decay in ("all", "weights") or callable(self.decay), '"all", "weights" or a function')
        need("augment", self.augment is None or callable(self.augment), "a function of a batch of records")
        number = isinstance(self.output, int) and not isinstance(self.output, bool)
        need("output", self.output is None or isinstance(self.output, str) or number, "a name, or a place in a tuple")
        need(
            "nesterov", not self.nesterov or bool(self.momentum and self.optimizer == "sgd"), 'with "sgd" and momentum'
        )
        if self.loss is not None and (self.label_smoothing or weights is not None):
            problems.append(("loss", "has label_smoothing and class_weights of its own; leave them out"))
        if self.optimizer != "sgd" and self.momentum:
            problems.append(("momentum", f'got {self.momentum!r} with optimizer {self.optimizer!r}; use "sgd"'))
        if problems:
            raise PlanError(problems)

    imports: ClassVar[tuple[str, ...]] = ("torch", "miaudit.recipes.module_training", "miaudit.recipes.stacked")
    """What its training imports, for workers that are to have it loaded."""

    def _numbers_out_of_range(self) -> list[tuple[str, str]]:
        uncounted = not_whole(("epochs", self.epochs))
        shares = ("momentum", "label_smoothing", "validation")
        return [
            *uncounted,
            *not_whole(("batch", self.batch), ("patience", self.patience)),
            *not_whole(*(("milestones", epoch) for epoch in self.milestones), least=0),
            *not_real(("learning_rate", self.learning_rate), ("gamma", self.gamma), above=0),
            *not_real(*((share, getattr(self, share)) for share in shares), least=0, below=1),
            *not_real(("weight_decay", self.weight_decay), least=0),
            *not_real(("warmup", self.warmup), least=0, below=math.inf if uncounted else self.epochs),
            *not_real(("clip", self.clip), above=0, optional=True),
        ]

    @property
    def name(self) -> str:
        """Name of the function that builds the module."""
        return f"module {_function(self.build).__qualname__}"

    def rate(self, update: int, updates_of_an_epoch: int) -> float:
        """Return the learning rate of an update; the first has number 0."""
        warm, all_ = round(self.warmup * updates_of_an_epoch), self.epochs * updates_of_an_epoch
        if update < warm:
            return self.learning_rate * (update + 1) / warm
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * (update - warm) / (all_ - warm))) / 2
        epoch = update // updates_of_an_epoch
        return self.learning_rate * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)

    def describe(self) -> dict[str, Any]:
        """Return every parameter that can change a trained model, and what the module is, as JSON values.

        A module is told from others by the function that builds it and the classes of its parts, each with all the code
        that they reach, by the plain attributes of each part, and by the weights it starts from with seed 0.
        """
        settings = {
            key: describe_parameter(value) if callable(value) else list(value) if isinstance(value, tuple) else value
            for key, value in vars(self).items()
            if key != "build" and (key not in _ADDED or value != getattr(type(self), key))
        }
        if "device" in settings:
            settings |= ON_GPU
        return {
            "recipe": "module",
            "version": 3,
            "torch": require_torch("a module recipe"),
            "build": describe_parameter(self.build),
            "module": _describe_module(self.build),
            **settings,
        }

    def fingerprint(self) -> Fingerprint:
        """Return what decides the function that builds the module, and the classes of its parts."""
        from miaudit.recipes.module_training import built

        kinds = {type(part) for part in built(self.build, seed=0).modules()}
        own = sorted((kind for kind in kinds if not kind.__module__.startswith("torch.")), key=lambda kind: repr(kind))
        functions = [each for each in (self.loss, self.augment, self.optimizer, self.decay) if callable(each)]
        return joined(fingerprint(self.build), *map(fingerprint, own), *map(fingerprint, functions))

    @property
    def plain(self) -> bool:
        """Whether it trains as a `Network` can."""
        return all(getattr(self, key) == getattr(type(self), key) for key in _ADDED - {"device"})

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> ModuleModel:
        """Train one module.

        Parameters
        ----------
        X
            Records ``(n, ...)`` of any numeric type, or scipy sparse ``(n, d)``.
        y
            Integers from 0 to classes - 1, (n,).
        classes
            Width of the output.
        seed
            A whole number from 0.

        Raises
        ------
        PlanError
            If torch is missing, or the function or its module fails or answers in another shape.
        DataError
            If labels do not fit.
        """
        return self.fit_many(X, y, indices=[np.arange(X.shape[0])], classes=classes, seeds=[seed])[0]

    def placed(self, device: str, dtype: str | None) -> ModuleRecipe:
        """Return the recipe on a device, and in a type of numbers unless None."""
        return replace(self, device=device, dtype=dtype or self.dtype)  # type: ignore[arg-type]

    def shortened(self) -> tuple[ModuleRecipe, int]:
        """Return the recipe with one epoch, and its number of epochs."""
        return replace(self, epochs=1, warmup=0.0), self.epochs

    @property
    def passes(self) -> int:
        """Its epochs."""
        return self.epochs

    def further(self, model: Any, X: Any, y: NDArray[np.int64], *, classes: int, seed: int, passes: int) -> ModuleModel:
        """Train a module further, standardised as before; the optimiser and the schedule start anew, without warm-up."""
        require_torch("a module recipe")
        from miaudit.recipes.module_training import train_module

        warmup = self.warmup if model is None and self.warmup < passes else 0.0
        step = replace(self, epochs=passes, warmup=warmup)
        return replace(train_module(step, X, y, classes=classes, seed=seed, start=model), recipe=self)

    def arrays_of(self, model: ModuleModel) -> dict[str, NDArray[Any]] | None:
        """Return a module's parameters and buffers, and its standardisation; None where its state is more than arrays."""
        arrays = {}
        for name, value in model.module.state_dict().items():
            try:
                arrays[f"module {name}"] = value.detach().cpu().numpy()
            except (AttributeError, TypeError):  # no tensor, or sparse, or of a type that NumPy lacks
                return None
        if model.statistics is not None:
            arrays |= {"mean": model.statistics.mean, "scale": model.statistics.scale}
        return arrays

    def of_arrays(self, arrays: Mapping[str, NDArray[Any]], *, classes: int, shape: tuple[int, ...]) -> ModuleModel:
        """Return the module of these arrays."""
        require_torch("a module recipe")
        import torch

        from miaudit.recipes.module_training import built
        from miaudit.recipes.training import Statistics, device_of

        module = built(self.build, seed=0, output=self.output)
        own = {name.removeprefix("module "): each for name, each in arrays.items() if name.startswith("module ")}
        module.load_state_dict({name: torch.from_numpy(np.array(each)) for name, each in own.items()})
        statistics = Statistics(arrays["mean"], arrays["scale"]) if "mean" in arrays else None
        return ModuleModel(self, module.to(device_of(self.device)).eval(), classes, shape, statistics)

    @property
    def knobs(self) -> Mapping[str, str]:
        """Its parameters by the words of the lab; ``weight_decay`` is no ``l2``, being twice as much of it."""
        return {"epochs": "epochs"}

    def turned(self, **parameters: Any) -> ModuleRecipe:
        """Return the recipe with fields changed; PlanError for one that it lacks."""
        return turned(self, parameters)

    def fit_soft(self, X: Any, targets: NDArray[np.floating[Any]], *, classes: int, seed: int) -> ModuleModel:
        """Train one module on shares of the classes (n, classes)."""
        from miaudit.recipes.objective import CrossEntropy

        return self.fit_by(X, targets, classes=classes, seed=seed, objective=CrossEntropy())

    def fit_by(
        self, X: Any, targets: NDArray[np.floating[Any]], *, classes: int, seed: int, objective: Objective
    ) -> ModuleModel:
        """Train one module on shares of the classes (n, classes) by an objective."""
        require_torch("a module recipe")
        from miaudit.recipes.module_training import train_module

        return train_module(self, X, targets, classes=classes, seed=seed, objective=objective)

    def module(self, shape: tuple[int, ...], classes: int, *, seed: int) -> Any:
        """Return an untrained module with first weights of this seed."""
        require_torch("a module recipe")
        from miaudit.recipes.module_training import built

        return built(self.build, seed=seed, output=self.output)

    def of_module(self, module: Any, shape: tuple[int, ...], classes: int, statistics: Any) -> ModuleModel:
        """Return the model of a trained module."""
        return ModuleModel(self, module.eval(), classes, shape, statistics)

    def loaded(self, path: Path, *, classes: int, shape: tuple[int, ...], allow_pickle: bool) -> ModuleModel:
        """Return the module with the weights in a file.

        Raises
        ------
        PlanError
            If the file does not fit the module, or the recipe standardizes by means that are not in it.
        """
        from miaudit.targets.files import load_model

        if self.standardize:
            raise PlanError(
                f"{path} holds weights alone, and the recipe standardizes records by means that are not among them: give "
                "target.module, a module that standardizes within"
            )
        return ModuleModel(
            self, load_model(path, module=self.build, output=self.output, allow_pickle=allow_pickle), classes, shape
        )

    def group_width(self, shape: tuple[int, ...], classes: int) -> int:
        """Return how many models are best trained in one call of ``fit_many``: 1 for all but small perceptrons."""
        plain = self._perceptron()
        return 1 if plain is None else plain.network.group_width((plain.inputs,), plain.classes)

    def portion(self, shape: tuple[int, ...], classes: int, *, records: int) -> int | None:
        """Return how many of small perceptrons on so many records are a group on a GPU; None for all others."""
        plain = self._perceptron()
        return None if plain is None else plain.network.portion((plain.inputs,), plain.classes, records=records)

    def _perceptron(self) -> Perceptron | None:
        """Return what its modules are as a `Network`; None where they are anything else."""
        require_torch("a module recipe")
        from miaudit.recipes.module_training import built
        from miaudit.recipes.perceptron import as_perceptron

        return as_perceptron(self, built(self.build, seed=0))

    def fit_many(
        self, X: Any, y: NDArray[np.int64], *, indices: Sequence[NDArray[np.int64]], classes: int, seeds: Sequence[int]
    ) -> list[ModuleModel]:
        """Train one module for each entry of ``indices``, the positions of its training records in X.

        Together if the module is a plain fully connected network, otherwise one after the other; each comes out as it would
        alone. Parameters and errors are those of ``fit``, with a seed for each model.
        """
        require_torch("a module recipe")
        from miaudit.recipes.module_training import train_modules

        return train_modules(self, X, y, indices=indices, classes=classes, seeds=seeds)


@dataclass(frozen=True, eq=False)
class ModuleModel:
    """A trained module and the standardisation of its records (an array of means, one of scales), or None."""

    recipe: ModuleRecipe
    module: Any
    classes: int
    shape: tuple[int, ...]
    statistics: Any = None

    def opened(self) -> Opened:
        """Return a copy whose weights can be changed further."""
        require_torch()
        from miaudit.recipes.opened import opened_module

        return opened_module(self)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities (n, classes), the softmax taken in float64 of float32 logits, in eval mode.

        Raises
        ------
        DataError
            If the records have another shape than those trained on.
        PlanError
            If training diverged, so that there is no answer.
        """
        from miaudit.recipes.module_training import logits_of

        if tuple(X.shape[1:]) != self.shape:
            raise DataError(
                f"records of shape {tuple(X.shape[1:])} were given to a module trained on {self.shape}; "
                "give it the features it was trained on"
            )
        answers = logits_of(self.module, X, statistics=self.statistics, classes=self.classes, device=self.recipe.device)
        if not np.isfinite(answers).all():
            raise PlanError(
                f"the module of {self.recipe.name} answers with values that are not finite: its training diverged at "
                f"learning_rate {self.recipe.learning_rate}. Lower it, or set standardize = true."
            )
        return softmax(answers)


def _function(build: Callable[[], Any]) -> Any:
    return _function(build.func) if isinstance(build, functools.partial) else build


def _refuse_shared(first: Any, second: Any) -> None:
    """Refuse modules of two calls that train the same parameters, or keep the same running statistics."""
    trained = {id(each) for each in first.parameters() if each.requires_grad}
    running = {id(each) for each in first.modules() if getattr(each, "track_running_stats", False)}
    shared = [name for name, each in second.named_parameters() if id(each) in trained]
    shared += [name for name, each in second.named_modules() if id(each) in running]
    if shared:
        raise PlanError(
            f"the function that builds the module returns {shared[0]!r} of an earlier call again, so that every model would "
            "be trained further from where the one before it ended, and a target that shares it would change; build new "
            "layers in every call, or return copy.deepcopy of a model that is to be trained further"
        )


def _describe_module(build: Callable[[], Any]) -> dict[str, Any]:
    from miaudit.recipes.module_training import built

    module = built(build, seed=0)
    _refuse_shared(module, built(build, seed=0))
    parts, digest = [], hashlib.sha256()
    for name, part in module.named_modules():
        plain = {
            key: describe_parameter(value)
            for key, value in sorted(vars(part).items())
            if not key.startswith("_") and isinstance(value, bool | int | float | str | tuple | list)
        }
        parts.append([name, describe_parameter(type(part)), plain])
    for name, value in module.state_dict().items():
        if is_foreign(value):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(bytes_of(value))
        else:  # state of its own, which is no tensor
            digest.update(json.dumps([name, describe_parameter(value)]).encode())
    kinds = {type(part) for part in module.modules() if not type(part).__module__.startswith("torch.")}
    codes = sorted(fingerprint(kind).sha256 for kind in kinds)
    last = _ENDS.get(type(list(module.modules())[-1]).__name__)
    note = {} if last is None else {"ends in": f"a {last}: the cross-entropy is of the logarithm of its answers"}
    return {"parts": parts, "weights": digest.hexdigest(), "code": codes, **note}
