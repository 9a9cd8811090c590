"""The torch network as a recipe: fully connected or convolutional, as the 2017 paper trains them (extra ``torch``).

What the paper leaves unstated is chosen here and stays a field of the recipe. Its schedule is Torch7's,
``learning_rate / (1 + updates * learning_rate_decay)``; its batch size and kind of descent are not given. Its numbers
are those of Torch's own CIFAR demonstration, plain SGD on one record at a time, so that is what the presets stand for,
made quicker by the linear scaling rule: batches of B records, learning rate and decay times B, which follows the
same path in the mean.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from miaudit.errors import DataError, PlanError, not_real, not_whole
from miaudit.evidence.answers import softmax
from miaudit.libraries import require_torch
from miaudit.recipes.precision import ON_GPU, exact_products
from miaudit.recipes.recipe import turned
from miaudit.recipes.weights import layers_of_file, statistics_of_file, write_layers
from miaudit.recipes.width import cuda_floats, cuda_portion, cuda_width, group_width, groups_of, is_large, is_zen_5
from miaudit.threads import is_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from miaudit.recipes.objective import Objective
    from miaudit.recipes.opened import Opened
    from miaudit.recipes.training import Statistics

_CHUNK = 2048  # records answered together: bounds memory
_ONLY_CNN = ("channels", "kernel", "padding")


@dataclass(frozen=True)
class Network:
    """A torch classifier trained on cross-entropy.

    First weights and biases are uniform on +-1/sqrt(fan in), the rule of Torch7 and torch alike. Small networks of kind
    "mlp" train in groups (``fit_many``), large ones and those of kind "cnn" one at a time; a model's numbers come from
    its own seed. Wide records (n, d) of which less than 4 % are not zero, scipy sparse or not, train and answer through a
    sparse first layer: the same numbers but for rounding, in a fraction of the time, and never made dense.

    Parameters
    ----------
    kind
        "mlp": fully connected; images are flattened. "cnn": for each entry of ``channels`` a convolution, the
        activation and a 2 x 2 max-pool; then the fully connected layers. Takes images ``(c, h, w)`` or ``(h, w)``.
    hidden
        Widths of the hidden fully connected layers.
    activation
        After every layer but the last.
    dropout
        Share of each hidden fully connected layer set to zero while training, in [0, 1).
    optimizer
        "sgd", or "adam" with its usual constants (0.9, 0.999, 1e-8).
    learning_rate, learning_rate_decay
        The rate of update number t = 0, 1, ... is ``learning_rate / (1 + t * learning_rate_decay)``.
    momentum
        Of SGD, without dampening: ``velocity = momentum * velocity + gradient``.
    l2
        The lambda of a penalty ``lambda * sum(theta**2)`` over weights and biases, as the paper writes it. It adds
        ``2 * lambda * theta`` to the gradient (under Adam too, before its moments), so the ``weight_decay`` of
        ``torch.optim`` that does the same is twice this number.
    epochs, batch
        Passes over the records, and records in an update (the last update of a pass takes what is left over).
    standardize
        Subtract the training records' mean and divide by their standard deviation, per feature, or per channel of
        images. Turn it off for 0/1 features. Images of bytes are divided by 255 either way. Sparse records stay sparse:
        the mean is taken off in the first layer's sums.
    channels, kernel, padding
        Filters of each convolution, the side of all kernels, and zeros added on each side. Only for "cnn".
    dtype
        "bfloat16" takes convolutions and products in that type while training: faster on processors that have it, and
        another model. Parameters and updates are float32 either way, and a trained network answers in float32.
    device
        "cuda" trains and answers on an NVIDIA GPU, fully connected networks up to 256 at once, without TF32. A plan sets it by
        `engine.device`. A GPU rounds in its own way, and counts the dropout of groups by a hash: its rows have other names.

    Raises
    ------
    PlanError
        Listing every field that cannot be.
    """

    kind: Literal["mlp", "cnn"] = "mlp"
    hidden: tuple[int, ...] = (128,)
    activation: Literal["tanh", "relu", "sigmoid"] = "tanh"
    dropout: float = 0.0
    optimizer: Literal["sgd", "adam"] = "adam"
    learning_rate: float = 0.001
    learning_rate_decay: float = 0.0
    momentum: float = 0.0
    l2: float = 0.0
    epochs: int = 100
    batch: int = 100
    standardize: bool = True
    channels: tuple[int, ...] = (32, 64)
    kernel: int = 5
    padding: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        problems: list[tuple[str, str]] = []

        def need(field: str, holds: bool, allowed: str) -> None:
            if not holds:
                problems.append((field, f"got {getattr(self, field)!r}; allowed: {allowed}"))

        for field in ("hidden", "channels"):  # plans hold lists
            value = getattr(self, field)
            value = tuple(value) if isinstance(value, list | tuple) else (value,)
            object.__setattr__(self, field, value)
            need(field, not not_whole(*((field, width) for width in value)), "whole numbers from 1, such as [128]")
        need("kind", self.kind in ("mlp", "cnn"), '"mlp" or "cnn"')
        need("activation", self.activation in ("tanh", "relu", "sigmoid"), '"tanh", "relu" or "sigmoid"')
        need("optimizer", self.optimizer in ("sgd", "adam"), '"sgd" or "adam"')
        need("dtype", self.dtype in ("float32", "bfloat16"), '"float32" or "bfloat16"')
        need("device", is_device(self.device), '"cpu", "cuda" or "cuda:1"')
        problems += not_real(("dropout", self.dropout), ("momentum", self.momentum), least=0, below=1)
        problems += not_real(("learning_rate", self.learning_rate), above=0)
        problems += not_real(("learning_rate_decay", self.learning_rate_decay), ("l2", self.l2), least=0)
        problems += not_whole(("epochs", self.epochs), ("batch", self.batch), ("kernel", self.kernel))
        problems += not_whole(("padding", self.padding), least=0)
        if self.optimizer == "adam" and self.momentum:
            problems.append(("momentum", f'got {self.momentum!r} with optimizer "adam"; remove it, or use "sgd"'))
        if self.kind == "cnn" and not self.channels:
            problems.append(("channels", 'empty; a network without convolutions is kind = "mlp"'))
        if problems:
            raise PlanError(problems)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Network:
        """Return a network of the paper by name (a key of ``PRESETS``), with fields changed.

        Raises
        ------
        PlanError
            For an unknown name or field.
        """
        if name not in PRESETS:
            raise PlanError([("preset", f"no network is called {name!r}; there are {', '.join(sorted(PRESETS))}")])
        unknown = sorted(set(changes) - set(cls.__dataclass_fields__))
        if unknown:
            raise PlanError(
                [(field, f"not a field; there are {', '.join(cls.__dataclass_fields__)}") for field in unknown]
            )
        return replace(PRESETS[name], **changes)

    @property
    def name(self) -> str:
        """Kind, layers and activation, such as "mlp 128 tanh"."""
        convolutions = [f"{width}c{self.kernel}" for width in self.channels] if self.kind == "cnn" else []
        return " ".join([self.kind, "-".join([*convolutions, *map(str, self.hidden)]) or "linear", self.activation])

    def describe(self) -> dict[str, Any]:
        """Return every parameter that can change a trained model, as JSON values."""
        fields = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        if self.kind != "cnn":
            fields = {key: value for key, value in fields.items() if key not in _ONLY_CNN}
        if self.device == "cpu":
            del fields["device"]
        else:
            fields |= ON_GPU
        return {"recipe": "network", "version": 2, "torch": require_torch(), **fields}

    def weight_shapes(self, shape: tuple[int, ...], classes: int) -> list[tuple[int, ...]]:
        """Return shapes of the weights from the input on: ``(out, in, kernel, kernel)``, then ``(out, in)``.

        Raises
        ------
        PlanError
            If records of this shape do not fit the network.
        """
        shape = _full(shape)
        shapes: list[tuple[int, ...]] = []
        width = math.prod(shape)
        if self.kind == "cnn":
            if len(shape) != 3:
                raise PlanError(
                    f"a network of kind 'cnn' takes images (channels, height, width); got records of shape {shape}. "
                    "Reshape the records, or use kind = 'mlp'."
                )
            depth, *sides = shape
            for filters in self.channels:
                shapes.append((filters, depth, self.kernel, self.kernel))
                depth, sides = filters, [(side + 2 * self.padding - self.kernel + 1) // 2 for side in sides]
                if min(sides) < 1:
                    raise PlanError(
                        f"images of {shape[1]} x {shape[2]} are too small for {len(self.channels)} convolutions with "
                        f"kernel {self.kernel}, padding {self.padding} and pooling. Use a smaller kernel, or padding."
                    )
            width = depth * math.prod(sides)
        for out in (*self.hidden, classes):
            shapes.append((out, width))
            width = out
        return shapes

    def rate(self, update: int) -> float:
        """Return the learning rate of an update; the first has number 0."""
        return self.learning_rate / (1 + update * self.learning_rate_decay)

    def group_width(self, shape: tuple[int, ...], classes: int) -> int:
        """Return how many models on records of this shape are best trained in one call of ``fit_many``."""
        require_torch()
        parameters = self._parameters(shape, classes)
        if self.kind == "cnn":
            return 1
        if self.device != "cpu":
            from miaudit.recipes.stacked import cuda_free

            floats = cuda_floats(math.prod(shape), sum(self.hidden), classes, dropout=bool(self.dropout))
            return cuda_width(parameters, floats, self.batch, free=cuda_free(self.device))
        alone = self.dtype == "bfloat16" or (is_large(parameters, self.batch) and is_zen_5())
        return 1 if alone else group_width(parameters)

    def portion(self, shape: tuple[int, ...], classes: int, *, records: int) -> int | None:
        """Return how many models on so many records are a group on a GPU, by their work; None on a processor."""
        if self.device == "cpu":
            return None
        return cuda_portion(self._parameters(shape, classes), records, self.epochs)

    def placed(self, device: str, dtype: str | None) -> Network:
        """Return the recipe on a device, and in a type of numbers unless None."""
        return replace(self, device=device, dtype=dtype or self.dtype)  # type: ignore[arg-type]

    @property
    def reproducible(self) -> bool:
        """Whether a seed is known to make the same model again: on a processor, where tests of ours hold it to that."""
        return self.device == "cpu"

    def shortened(self) -> tuple[Network, int]:
        """Return the recipe with one epoch, and its number of epochs."""
        return replace(self, epochs=1), self.epochs

    def loaded(self, path: Path, *, classes: int, shape: tuple[int, ...], allow_pickle: bool = False) -> NetworkModel:
        """Return the network with the weights in a file; see `load_weights`."""
        return load_weights(self, path, classes=classes, shape=shape)

    @property
    def passes(self) -> int:
        """Its epochs."""
        return self.epochs

    def further(
        self, model: Any, X: Any, y: NDArray[np.int64], *, classes: int, seed: int, passes: int
    ) -> NetworkModel:
        """Train a network further, standardised as before; the optimiser and the decay of its rate start anew."""
        require_torch()
        from miaudit.recipes.training import Statistics

        step, start = replace(self, epochs=passes), dict[str, Any]()
        if model is not None:
            scale = None if model.mean is None else Statistics(model.mean, model.scale)
            start = {"first": [[each.copy() for each in model.tensors]], "standardized": [scale]}
        index = [np.arange(X.shape[0])]
        return replace(step.fit_many(X, y, indices=index, classes=classes, seeds=[seed], **start)[0], recipe=self)

    def arrays_of(self, model: NetworkModel) -> dict[str, NDArray[Any]]:
        """Return a network's weights, biases and standardisation."""
        arrays: dict[str, NDArray[Any]] = {f"tensor {number}": each for number, each in enumerate(model.tensors)}
        if model.mean is not None and model.scale is not None:
            arrays |= {"mean": model.mean, "scale": model.scale}
        return arrays

    def of_arrays(self, arrays: Mapping[str, NDArray[Any]], *, classes: int, shape: tuple[int, ...]) -> NetworkModel:
        """Return the network of these arrays."""
        tensors = tuple(arrays[f"tensor {number}"] for number in range(len(arrays) - 2 * ("mean" in arrays)))
        return NetworkModel(self, classes, _full(shape), tensors, mean=arrays.get("mean"), scale=arrays.get("scale"))

    @property
    def knobs(self) -> Mapping[str, str]:
        """Its parameters by the words of the lab."""
        return {"l2": "l2", "dropout": "dropout", "epochs": "epochs"}

    def turned(self, **parameters: Any) -> Network:
        """Return the recipe with fields changed; PlanError for one that it lacks."""
        return turned(self, parameters)

    def module(self, shape: tuple[int, ...], classes: int, *, seed: int) -> Any:
        """Return the network as a torch module with first weights of this seed; see `miaudit.recipes.as_module`."""
        from miaudit.recipes.as_module import as_module

        return as_module(self, shape, classes, seed=seed)

    def of_module(self, module: Any, shape: tuple[int, ...], classes: int, statistics: Any) -> NetworkModel:
        """Return the trained network of what `module` returned."""
        from miaudit.recipes.as_module import tensors_of

        mean, scale = (None, None) if statistics is None else statistics
        return NetworkModel(self, classes, _full(shape), tensors_of(module), mean=mean, scale=scale)

    imports: ClassVar[tuple[str, ...]] = ("torch", "miaudit.recipes.stacked", "miaudit.recipes.single")
    """What its training imports, for workers that are to have it loaded."""

    @property
    def allocates_once(self) -> bool:
        """Whether a training needs no memory after its first step."""
        return self.kind == "mlp"

    def _parameters(self, shape: tuple[int, ...], classes: int) -> int:
        return sum(math.prod(weight) + weight[0] for weight in self.weight_shapes(shape, classes))

    def _single(self, shape: tuple[int, ...], classes: int) -> bool:
        """Whether fully connected networks on dense records are best trained one at a time."""
        from miaudit.recipes.single import single_pays

        if self.device != "cpu":
            return False
        return self.dtype == "bfloat16" or single_pays(self._parameters(shape, classes), self.batch)

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> NetworkModel:
        """Train one network; ``fit_many`` with a single model, so the same model comes out of both."""
        return self.fit_many(X, y, indices=[np.arange(X.shape[0])], classes=classes, seeds=[seed])[0]

    def fit_soft(self, X: Any, targets: NDArray[np.floating[Any]], *, classes: int, seed: int) -> NetworkModel:
        """Train one network on shares of the classes (n, classes)."""
        from miaudit.recipes.objective import CrossEntropy

        return self.fit_by(X, targets, classes=classes, seed=seed, objective=CrossEntropy())

    def fit_by(
        self, X: Any, targets: NDArray[np.floating[Any]], *, classes: int, seed: int, objective: Objective
    ) -> NetworkModel:
        """Train one network on shares of the classes (n, classes) by an objective, through autograd."""
        require_torch()
        import torch

        from miaudit.recipes.sequential import train_sequential
        from miaudit.recipes.training import Generators, Records, device_of, first_weights

        index, shape = np.arange(X.shape[0]), _full(X.shape[1:])
        records = Records(X, channels_last=self.kind == "cnn", device=device_of(self.device))
        statistics = records.statistics(index) if self.standardize else None
        first = first_weights(self.weight_shapes(shape, classes), Generators.of(seed).weights)
        tensors = train_sequential(
            *(self, records, torch.from_numpy(np.asarray(targets, np.float32))),
            members=[index],
            statistics=[statistics],
            shape=shape,
            classes=classes,
            seeds=[seed],
            first=[first],
            objective=objective,
        )[0]
        mean, scale = (None, None) if statistics is None else statistics
        return NetworkModel(self, classes, shape, tuple(tensors), mean=mean, scale=scale)

    def fit_many(
        self,
        X: Any,
        y: NDArray[np.int64],
        *,
        indices: Sequence[NDArray[np.int64]],
        classes: int,
        seeds: Sequence[int],
        first: Sequence[Sequence[NDArray[np.float32]]] | None = None,
        standardized: Sequence[Statistics | None] | None = None,
    ) -> list[NetworkModel]:
        """Train one network for each entry of ``indices``.

        A model depends on its records and its seed, not on its neighbours: within 1e-6 whatever is trained beside it,
        bit for bit in groups of one width on one machine. Safe to call from several threads.

        Parameters
        ----------
        X
            ``(n, d)``, ``(n, h, w)`` or ``(n, c, h, w)``, any numeric type, or scipy sparse ``(n, d)``.
        y
            Integers from 0 to classes - 1, (n,).
        indices
            For each model the positions of its training records in X.
        classes
            Width of the output.
        seeds
            For each model a whole number from 0.
        first
            For each model the weights and biases it starts from, as in ``NetworkModel.tensors``; None draws them.
        standardized
            For each model the mean and scale that it standardises by; None takes those of its training records.

        Returns
        -------
        list of NetworkModel
            In the order of ``indices``.

        Raises
        ------
        PlanError
            If torch is missing, or records do not fit the network.
        DataError
            If labels do not fit, or a model is given no records.
        """
        require_torch()
        import torch

        from miaudit.recipes.training import Generators, Records, checked_labels, device_of, first_weights

        members = _members(indices, seeds)
        shape = _full(X.shape[1:])
        shapes = self.weight_shapes(shape, classes)
        labels = checked_labels(y, classes)
        records = Records(X, channels_last=self.kind == "cnn", device=device_of(self.device))
        scales = standardized or [records.statistics(index) if self.standardize else None for index in members]
        train, width = self._trainer(shape, classes, sparse=records.sparse)
        tensors: list[list[NDArray[np.float32]]] = [[] for _ in members]
        for group in groups_of([len(index) for index in members], width):
            models = train(
                *(self, records, labels),
                members=[members[model] for model in group],
                statistics=[scales[model] for model in group],
                classes=classes,
                seeds=[seeds[model] for model in group],
                first=[
                    first_weights(shapes, Generators.of(seeds[model]).weights)
                    if first is None
                    else [torch.from_numpy(array) for array in first[model]]
                    for model in group
                ],
            )
            for model, arrays in zip(group, models, strict=True):
                tensors[model] = arrays
        return [
            NetworkModel(
                *(self, classes, shape, tuple(arrays)),
                mean=None if scale is None else scale.mean,
                scale=None if scale is None else scale.scale,
            )
            for arrays, scale in zip(tensors, scales, strict=True)
        ]

    def _trainer(
        self, shape: tuple[int, ...], classes: int, *, sparse: bool
    ) -> tuple[Callable[..., list[list[NDArray[np.float32]]]], int]:
        """Return what trains a group of such networks, and how many are a group."""
        from miaudit.recipes import sequential, single, stacked

        if self.kind == "cnn":
            return functools.partial(sequential.train_sequential, shape=shape), self.group_width(shape, classes)
        if sparse or self._single(shape, classes):
            return single.train_single, 1
        return stacked.train_stacked, self.group_width(shape, classes)


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A trained network: arrays only, so it can be sent to another process.

    Parameters
    ----------
    recipe
        What it was trained with.
    classes, shape
        Width of the output; shape of one record, ``(d,)`` or ``(c, h, w)``.
    tensors
        Weights and biases, alternating, float32, in torch's shapes.
    mean, scale
        Standardisation per feature or channel (of bytes / 255 for images of bytes); None without.
    """

    recipe: Network
    classes: int
    shape: tuple[int, ...]
    tensors: tuple[NDArray[np.float32], ...]
    mean: NDArray[np.float64] | None = None
    scale: NDArray[np.float64] | None = None

    def opened(self) -> Opened:
        """Return a copy whose weights can be changed further."""
        require_torch()
        from miaudit.recipes.opened import opened_network

        return opened_network(self)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities (n, classes), the softmax taken in float64 of float32 logits.

        Raises
        ------
        DataError
            If the records have another shape than those trained on.
        PlanError
            If training diverged, so that there is no answer.
        """
        require_torch()
        import torch

        from miaudit.recipes.sequential import batch_of, logits, upper_layers
        from miaudit.recipes.sparse import SparseRows
        from miaudit.recipes.training import Records, Statistics, device_of

        if _full(X.shape[1:]) != self.shape:
            raise DataError(
                f"records of shape {tuple(X.shape[1:])} were given to a network trained on {self.shape}; "
                "give it the features it was trained on"
            )
        statistics = None if self.mean is None or self.scale is None else Statistics(self.mean, self.scale)
        answers = np.empty((X.shape[0], self.classes))  # (n, classes)
        with torch.inference_mode(), exact_products(self.recipe.device):
            device = device_of(self.recipe.device)
            tensors = [torch.from_numpy(array.copy()).to(device) for array in self.tensors]
            for start in range(0, len(answers), _CHUNK):
                part = X[start : start + _CHUNK]
                records = Records(part, channels_last=self.recipe.kind == "cnn", device=device)
                if records.sparse:
                    lower = SparseRows.standardised(records.csr, statistics).times(
                        tensors[0].T.contiguous(), 0, part.shape[0]
                    )
                    layers = list(zip(tensors[2::2], tensors[3::2], strict=True))
                    answers[start : start + _CHUNK] = upper_layers(self.recipe, lower.add_(tensors[1]), layers).numpy()
                    continue
                every = torch.arange(part.shape[0], device=device)
                rows = batch_of(records, every, records.affine(statistics))
                answers[start : start + _CHUNK] = logits(self.recipe, tensors, rows, self.shape).cpu().numpy()
        if not np.isfinite(answers).all():
            raise PlanError(
                f"the network ({self.recipe.name}) answers with values that are not finite: its training diverged at "
                f"learning_rate {self.recipe.learning_rate}. Lower it, or set standardize = true."
            )
        return softmax(answers)


def save_weights(model: NetworkModel, path: str | Path) -> None:
    """Write a trained network as safetensors: ``layers.0.weight``, ``layers.0.bias``, ..., and its standardisation."""
    write_layers(path, model.tensors, mean=model.mean, scale=model.scale, recipe=model.recipe.describe())


def load_weights(recipe: Network, path: str | Path, *, classes: int, shape: tuple[int, ...]) -> NetworkModel:
    """Read a network that ``save_weights`` wrote, or the ``state_dict`` of a plain torch ``nn.Sequential``.

    Layers are taken in the order of the numbers in their names, so ``0.weight, 0.bias, 2.weight, 2.bias`` is a network
    of two layers. Means and scales may stand beside them as ``standardize.mean`` and ``standardize.scale``.

    Parameters
    ----------
    recipe
        The network's layers and activation; how it was trained plays no part here.
    path
        A ``.safetensors`` file.
    classes, shape
        Width of the output, and shape of one record.

    Raises
    ------
    PlanError
        If the file cannot be read or does not hold this network; all layers that differ are listed.
    """
    weights, arrays = layers_of_file(
        recipe.name, path, recipe.weight_shapes(shape, classes), classes=classes, shape=shape
    )
    mean, scale = statistics_of_file(arrays, path, _full(shape), standardize=recipe.standardize)
    return NetworkModel(recipe=recipe, classes=classes, shape=_full(shape), tensors=weights, mean=mean, scale=scale)


def _members(indices: Sequence[NDArray[np.int64]], seeds: Sequence[int]) -> list[NDArray[np.int64]]:
    """Return the training records of each model."""
    if len(indices) != len(seeds):
        raise PlanError(f"got {len(indices)} sets of records and {len(seeds)} seeds; give one seed for each model")
    members = [np.asarray(index, dtype=np.int64) for index in indices]
    if any(not len(index) for index in members):
        raise DataError("a model was given no training records; give each model at least one")
    return members


def _full(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of a record, grey images (h, w) as (1, h, w)."""
    return (1, *shape) if len(shape) == 2 else tuple(shape)


def _torch7(batch: int, **fields: Any) -> Network:
    """Plain SGD at 0.001 with decay 1e-7 for one record an update, scaled to ``batch`` records an update."""
    return Network(
        optimizer="sgd", learning_rate=0.001 * batch, learning_rate_decay=1e-7 * batch, batch=batch, **fields
    )


PRESETS: Mapping[str, Network] = {
    "purchase": _torch7(100, hidden=(128,), epochs=200, standardize=False),
    "purchase-256": _torch7(100, hidden=(256,), epochs=200, standardize=False),
    "texas-1000": _torch7(100, hidden=(1000,), epochs=200, standardize=False),
    "cifar": _torch7(32, kind="cnn", hidden=(128,), epochs=100),
}
"""Networks of the 2017 paper (section VI): the purchase net, the two nets of its Table III, and the CIFAR net.

"cifar" on 15,000 records of CIFAR-10 reached train 1.00 and test 0.62 in 40 of its 100 epochs (the paper: test 0.6).
"purchase" on 1,200 records of Location-30 at 50 epochs has the training loss of one record an update, 0.378 for both.
"""
