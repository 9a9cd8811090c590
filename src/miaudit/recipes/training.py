"""What every network trained here shares: records to gather from, seeds, first weights, the update. Needs torch.

Nothing in this module reads or writes the global state of torch (generators, thread counts, default types), so several
threads may train at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse
import torch

from miaudit.errors import DataError, PlanError
from miaudit.libraries import adam
from miaudit.seeds import child_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

DENSE_BYTES = 256 * 2**20
"""Sparse records of no low density whose float32 form is no larger than this are made dense once; larger ones batch by
batch."""

SPARSE_DENSITY = 0.04
"""Records (n, d) with a smaller share of non-zeros than this are kept sparse, however they were given, ..."""

SPARSE_COLUMNS = 256
"""... if they have this many features; a smaller first layer is no work, dense or not."""

_BLOCK = 4096  # records looked at together when statistics are taken: bounds memory, not numbers
_COMPACT = (np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.float32))


class Statistics(NamedTuple):
    """Mean and scale of the training records, per feature, or per channel of images."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]


CPU = torch.device("cpu")


def device_of(name: str) -> torch.device:
    """Return the device a recipe names, "cpu", "cuda" or "cuda:1".

    Raises
    ------
    PlanError
        If it is not there.
    """
    if name != "cpu" and not torch.cuda.is_available():
        raise PlanError(
            'device = "cuda" needs an NVIDIA GPU that this torch can use, and there is none here; set device = "cpu", or '
            "install a torch built for CUDA"
        )
    device = torch.device(name)
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise PlanError(f"device = {name!r}: this machine has {torch.cuda.device_count()} GPUs, counted from 0")
    return device


class Records:
    """Records laid out as rows of one tensor, or of one CSR matrix, from which batches are gathered as float32.

    Parameters
    ----------
    X
        ``(n, d)``, ``(n, h, w)`` or ``(n, c, h, w)``, or a scipy sparse matrix ``(n, d)``. Bytes stay bytes in memory.
    channels_last
        Lay images out as ``(h, w, c)``, which convolutions on processors prefer.
    device
        Where batches are gathered. On a GPU sparse records are made dense, as bytes where their values are bytes.

    Attributes
    ----------
    sparse
        Whether so few values are not zero that a first layer should work on ``csr``: below ``SPARSE_DENSITY``, for
        dense records as for sparse ones.
    csr
        The records as a CSR array of float32, where they are kept so; else None.
    """

    def __init__(self, X: Any, *, channels_last: bool = False, device: torch.device = CPU) -> None:
        self.unit = 1.0
        self.channel: NDArray[np.intp] | None = None
        on_cpu = device.type == "cpu"
        self.sparse = on_cpu and _few_values(X)
        self.csr: Any = None
        if self.sparse or scipy.sparse.issparse(X):
            self.columns = int(X.shape[1])
            if self.sparse or (on_cpu and 4 * X.shape[0] * X.shape[1] > DENSE_BYTES):
                self.csr = _csr(X)
                if not self.csr.has_canonical_format:  # an entry given in parts
                    self.csr = self.csr.copy()
                    self.csr.sum_duplicates()
                return
            X = X.astype(np.float32 if on_cpu or not _all_bytes(X.data) else np.uint8).toarray()
        X = np.asarray(X)
        if X.ndim == 1:
            raise DataError(
                "records are texts or lists of any length, and a network takes arrays of numbers of one length: pad tokens to "
                "one length, or train with a function of your own, which is handed the records as they are "
                "(docs/training-code.md)"
            )
        if X.ndim > 2:
            X = X[:, None] if X.ndim == 3 else X  # (n, c, h, w)
            if X.dtype == np.uint8:
                self.unit = 1 / 255
            place = np.broadcast_to(np.arange(X.shape[1])[:, None, None], X.shape[1:])
            if channels_last:
                X, place = X.transpose(0, 2, 3, 1), place.transpose(1, 2, 0)
            self.channel = place.ravel()
        rows = X.reshape(len(X), -1)  # (n, d)
        rows = rows.view(np.uint8) if rows.dtype == bool else rows
        rows = np.ascontiguousarray(rows, dtype=rows.dtype if rows.dtype in _COMPACT else np.float32)
        self.columns = rows.shape[1]
        # torch warns of memory it may not write to, such as a read-only map of a file
        self._rows = torch.from_numpy(rows if rows.flags.writeable else rows.copy())
        self._there = self._rows.to(device)

    def gather(self, index: torch.Tensor, out: torch.Tensor) -> None:
        """Write the raw records at ``index`` into ``out``, float32 or, where it holds them, bfloat16.

        (m,) into (m, d), or of many models at once, (models, m) into (models, m, d).
        """
        if self.csr is not None:
            out.copy_(torch.from_numpy(self.csr[index.numpy()].toarray()))
        elif self._there.dtype == out.dtype and index.dim() == 1:
            torch.index_select(self._there, 0, index, out=out)
        else:
            out.copy_(self._there.index_select(0, index.reshape(-1)).view(out.shape))

    def statistics(self, index: NDArray[np.int64]) -> Statistics:
        """Mean and scale (standard deviation; 1 for a constant) over the records at ``index``, in float64."""
        if self.csr is not None:
            return _sparse_statistics(self.csr[index])
        sums = self._sums if self.device.type == "cpu" else self._sums_there
        mean = self._per_channel(sums(index, None) / len(index))
        squares = sums(index, mean if self.channel is None else mean[self.channel])
        return _statistics(mean, self._per_channel(squares / len(index)))

    @property
    def device(self) -> torch.device:
        """Where batches are gathered."""
        return CPU if self.csr is not None else self._there.device

    def affine(self, statistics: Statistics | None) -> tuple[torch.Tensor, torch.Tensor] | None:
        """``(shift, factor)``, each (d,) float32, with standardised = (raw - shift) * factor; None for no change."""
        if statistics is None:
            if self.unit == 1.0:
                return None
            mean, scale = np.zeros(self.columns), np.ones(self.columns)
        else:
            mean, scale = statistics
            if self.channel is not None:
                mean, scale = mean[self.channel], scale[self.channel]
        return (
            torch.from_numpy((mean / self.unit).astype(np.float32)).to(self.device),
            torch.from_numpy((self.unit / scale).astype(np.float32)).to(self.device),
        )

    def _sums(self, index: NDArray[np.int64], centre: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return (d,) sums over the records at ``index``, or those of their squared distances from ``centre``."""
        total = np.zeros(self.columns)
        for block in self._blocks(index):
            total += (block if centre is None else np.square(block - centre)).sum(axis=0)
        return total

    def _sums_there(self, index: NDArray[np.int64], centre: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return what `_sums` does, summed where batches are gathered, as a GPU would wait for a processor's sums."""
        total = torch.zeros(self.columns, dtype=torch.float64, device=self.device)
        shift = None if centre is None else torch.from_numpy(centre).to(self.device)
        for part in torch.from_numpy(index).to(self.device).split(_BLOCK):
            block = self._there.index_select(0, part).double().mul_(self.unit)
            total += (block if shift is None else block.sub_(shift).square_()).sum(0)
        sums: NDArray[np.float64] = total.cpu().numpy()
        return sums

    def _blocks(self, index: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
        for start in range(0, len(index), _BLOCK):
            part = index[start : start + _BLOCK]
            yield self._rows.numpy()[part].astype(np.float64) * self.unit

    def _per_channel(self, column_means: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.channel is None:
            return column_means
        return np.bincount(self.channel, weights=column_means) / np.bincount(self.channel)


def _csr(X: Any) -> Any:
    """Return records (n, d) as a CSR array of float32; dense ones a block at a time, nine times as fast as by scipy."""
    sparse: bool = scipy.sparse.issparse(X)
    if sparse:
        return scipy.sparse.csr_array(X).astype(np.float32, copy=False)
    counts, columns, values = [], [], []
    for start in range(0, len(X), _BLOCK):
        block = X[start : start + _BLOCK]
        places = np.flatnonzero(block != 0)
        row, column = np.divmod(places, X.shape[1])
        counts.append(np.bincount(row, minlength=len(block)))
        columns.append(column.astype(np.int32))
        values.append(block[row, column].astype(np.float32))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return scipy.sparse.csr_array((np.concatenate(values), np.concatenate(columns), starts), shape=X.shape)


def _statistics(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> Statistics:
    scale = np.sqrt(variance)
    return Statistics(mean, np.where(scale > 1e-6 * np.abs(mean), scale, 1.0))


def _sparse_statistics(rows: Any) -> Statistics:
    n, width = rows.shape
    mean = np.bincount(rows.indices, weights=rows.data, minlength=width) / n
    squares = np.bincount(rows.indices, weights=np.square(rows.data - mean[rows.indices]), minlength=width)
    zeros = n - np.bincount(rows.indices, minlength=width)
    return _statistics(mean, (squares + zeros * np.square(mean)) / n)


def _few_values(X: Any) -> bool:
    """Whether records are wide, and of a lower density than ``SPARSE_DENSITY``; the first rows are asked first."""
    if len(X.shape) != 2 or not X.shape[0] or X.shape[1] < SPARSE_COLUMNS:
        return False
    sparse: bool = scipy.sparse.issparse(X)
    if sparse:
        return bool(X.nnz < SPARSE_DENSITY * X.shape[0] * X.shape[1])
    some = X[:_BLOCK]
    if np.count_nonzero(some) >= 2 * SPARSE_DENSITY * some.size:
        return False
    return bool(np.count_nonzero(X) < SPARSE_DENSITY * X.size)


def _all_bytes(values: NDArray[Any]) -> bool:
    return bool(((values >= 0) & (values <= 255) & (values == np.floor(values))).all())


class Generators(NamedTuple):
    """The three random streams of one model; they depend on its seed, and dropout's on the device it is drawn on.

    Groups of networks on a GPU count their dropout (`miaudit.recipes.masks`) and draw it from none of these.
    """

    weights: torch.Generator
    order: torch.Generator
    dropout: torch.Generator

    @classmethod
    def of(cls, seed: int, device: torch.device = CPU) -> Generators:
        """Streams of the model with this (non-negative) seed."""
        places = {"dropout": device}
        return cls(
            *(torch.Generator(places.get(stream, CPU)).manual_seed(child_seed(seed, stream)) for stream in cls._fields)
        )


def first_weights(shapes: Sequence[tuple[int, ...]], generator: torch.Generator) -> list[torch.Tensor]:
    """Weights and biases, alternating, uniform on +-1/sqrt(fan in): the rule of Torch7 and of ``torch.nn`` alike.

    Parameters
    ----------
    shapes
        Of the weights: ``(out, in)`` or ``(out, in, kernel, kernel)``; a bias ``(out,)`` follows each.
    """
    tensors = []
    for shape in shapes:
        bound = float(np.prod(shape[1:])) ** -0.5
        sizes = (shape, shape[:1])
        tensors += [torch.empty(size).uniform_(-bound, bound, generator=generator) for size in sizes]
    return tensors


class Update:
    """SGD, Adam or AdamW on vectors of parameters, however many layers or models lie in each.

    Long vectors mean few passes over memory. ``torch.optim`` does the same arithmetic (the tests compare), but building
    one of its optimisers imports the compiler of torch, more than a second in every process.

    Parameters
    ----------
    thetas
        float32 parameters, which ``step`` changes in place.
    optimizer
        "sgd", "adam" or "adamw", the last two with the usual constants (0.9, 0.999, 1e-8).
    momentum, nesterov
        Of SGD, without dampening.
    weight_decay
        As torch has it: this times theta is added to the gradient; under "adamw" theta shrinks by rate times this.
    """

    def __init__(
        self,
        thetas: Sequence[torch.Tensor],
        *,
        optimizer: str,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self._thetas, self._nesterov = list(thetas), nesterov
        self._optimizer, self._momentum, self._weight_decay = optimizer, momentum, weight_decay
        if optimizer != "sgd":
            self._adam = adam(thetas, weight_decay=weight_decay, decoupled=optimizer == "adamw")
        elif momentum:
            self._velocities = [torch.zeros_like(theta) for theta in thetas]

    def step(self, gradients: Sequence[torch.Tensor], rate: float) -> None:
        """One update by this learning rate; may overwrite ``gradients``, one for each of ``thetas``."""
        if self._optimizer != "sgd":
            self._adam(self._thetas, gradients, rate)
            return
        if self._weight_decay:
            for theta, gradient in zip(self._thetas, gradients, strict=True):
                gradient.add_(theta, alpha=self._weight_decay)
        if self._momentum:
            pairs = list(zip(self._velocities, gradients, strict=True))
            ahead = [velocity.mul_(self._momentum).add_(gradient) for velocity, gradient in pairs]
            if self._nesterov:
                ahead = [gradient.add_(velocity, alpha=self._momentum) for velocity, gradient in pairs]
            gradients = ahead
        for theta, gradient in zip(self._thetas, gradients, strict=True):
            theta.add_(gradient, alpha=-rate)


def activate_(value: torch.Tensor, activation: str) -> torch.Tensor:
    """Apply an activation while training, in place: "tanh", "relu", "sigmoid", or "none"."""
    if activation == "tanh" and (value.dtype != torch.float32 or value.device.type != "cpu"):
        return value.tanh_()
    if activation == "tanh":  # 2 sigmoid(2x) - 1: within 2e-7 of torch.tanh, in a fifth of its time
        return value.mul_(2).sigmoid_().mul_(2).sub_(1)
    if activation == "relu":
        return value.relu_()
    return value.sigmoid_() if activation == "sigmoid" else value


def flat_layout(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where blocks of these sizes start in one vector, and its length, each a multiple of 32 floats.

    Aligned blocks see the same vector instructions wherever they lie, so a model's numbers do not hang on its place.
    """
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // 32) * 32
    return offsets, end


def checked_labels(y: Any, classes: int) -> torch.Tensor:
    """Labels as int64, (n,).

    Raises
    ------
    DataError
        If a label is not an integer from 0 to classes - 1.
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"labels of a network must be one integer per record; got {labels.dtype} of shape {labels.shape}. "
            "Encode the classes as 0, 1, 2, ..."
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"labels run from {labels.min()} to {labels.max()}, but {classes} classes allow 0 to {classes - 1}. "
            "Encode the classes as 0, 1, 2, ... or state the right number of classes."
        )
    return torch.from_numpy(labels.astype(np.int64))


def captured(act: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return ``act``, on a GPU as one CUDA graph: its many small kernels are then launched by a single call.

    It must read and write the same tensors every time, draw from no generator, and may be run more often than asked for.
    """
    if device.type != "cuda":
        return act
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(3):  # libraries make their workspaces at first use, which a graph may not hold
            act()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        act()
    replay: Callable[[], None] = graph.replay
    return replay
