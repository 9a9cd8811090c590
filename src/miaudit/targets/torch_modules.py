"""A torch module as a target: what its last layer says of its answers, which records it takes, how many at a time."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import densified, n_records, take_records
from miaudit.errors import TargetError, reason_of, with_article
from miaudit.evidence.answers import Hint, are_whole
from miaudit.targets.form import array_of, cast, check_rounding

BYTES = 256 << 20
"""What the layers of a module may answer together at one question; bounds its memory."""

UNSEEN = 64
"""Times its own size that a record is taken to need in a network whose layers cannot be watched."""

_SOFTMAX = Hint("probabilities", "its last layer is a softmax", sure=True)
_LOG_SOFTMAX = Hint("log-probabilities", "its last layer is a log-softmax", sure=True)
_SIGMOID = Hint(None, "its last layer is a sigmoid", sure=True)
_LINEAR = Hint("logits", "its last layer is linear", sure=True)
_NAMED = Hint("logits", "its answer is named logits")

_LAYERS = {
    "Softmax": _SOFTMAX,
    "Softmax2d": _SOFTMAX,
    "LogSoftmax": _LOG_SOFTMAX,
    "Sigmoid": _SIGMOID,
    "Linear": _LINEAR,
    "LazyLinear": _LINEAR,
    "Bilinear": _LINEAR,
}
OPERATIONS = {
    "LogSoftmax": _LOG_SOFTMAX,
    "Softmax": _SOFTMAX,
    "Sigmoid": _SIGMOID,
    "Addmm": _LINEAR,
    "Mm": _LINEAR,
    "Linear": _LINEAR,
    "Baddbmm": _LINEAR,
    "Bmm": _LINEAR,
    "Convolution": _LINEAR,
}
"""By the name of an operation, as torch's derivatives and exported programs have it."""

_VIEWS = (
    *("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Transpose", "T", "Permute", "Clone", "ToCopy"),
    *("Alias", "Slice", "Select", "Expand", "Round", "AsStrided"),
)


def hint_of_operation(name: str) -> Hint | None:
    """Return what the last operation of a network says of its answers."""
    plain = name.lower().replace("_", "")
    return next((hint for start, hint in OPERATIONS.items() if plain.startswith(start.lower())), None)


_OF_BATCH = re.compile(r"Guard failed: .*\bsize\(\)\[0\]|^Expected input at .*shape\[0\]")
"""What torch says of the size of a batch: newer versions, and older ones."""


def is_torch_module(model: Any) -> bool:
    """Whether an object is a torch module; torch is not imported."""
    return any(base.__module__.startswith("torch.nn") for base in type(model).__mro__)


class TorchQuestion:
    """Asks a torch module, in eval mode and without derivatives; its mode and torch's generator are put back.

    Whole numbers are given as they are where the module looks them up in a table (an embedding), or takes no others;
    everything else in the type of its parameters.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._whole: bool | None = None  # whether it takes records as whole numbers, once that is known
        self._bytes: int | None = None  # what all layers answer to one record
        self._hint: Hint | None = None

    def __call__(self, X: Any) -> NDArray[Any]:
        """Return what the module answers to some records."""
        import torch

        with evaluating(self._module), torch.no_grad(), guards_told():
            return array_of(self._tensor(self._forward(densified(X)), n_records(X)))

    def hint(self) -> Hint | None:
        """Return what its last layer says of its answers, once it was asked."""
        return self._hint

    def limit(self, X: Any) -> int:
        """Return how many of such records to ask about at a time."""
        if self._bytes is None:
            self._watch(densified(take_records(X, np.arange(min(1, n_records(X))))))
        return max(1, BYTES // max(1, self._bytes or 1))

    def _forward(self, dense: NDArray[Any], *, watched: bool = False) -> Any:
        """Return the module's answer to records as whole numbers or in its own type, whichever it takes."""
        ways = [self._whole] if self._whole is not None else self._ways(dense)
        error: Exception | None = None
        for whole in ways:
            inputs = self._inputs(dense, bool(whole))
            if watched and inputs.is_floating_point():
                inputs.requires_grad_()
            try:
                answer = self._module(inputs)
            except (RuntimeError, IndexError, TypeError) as problem:
                error = error or problem
                continue
            self._whole = whole
            return answer
        assert error is not None
        raise error

    def _ways(self, dense: NDArray[Any]) -> list[bool]:
        table = any("Embedding" in type(part).__name__ for part in self._module.modules())
        if dense.dtype.kind in "iub" or (table and are_whole(dense)):
            return [True, False] if table else [False, True]
        return [False]

    def _inputs(self, dense: NDArray[Any], whole: bool) -> Any:
        import torch

        first = next((part for part in self._module.parameters()), torch.zeros(1))
        real = next((part for part in self._module.parameters() if part.is_floating_point()), torch.zeros(1))
        if whole:
            return torch.tensor(cast(dense, np.int64, "the torch module"), device=first.device)
        if real.dtype == torch.bfloat16:
            tensor = torch.tensor(dense)
            inputs = tensor.to(torch.bfloat16)
            check_rounding(dense, inputs.double().numpy(), "the torch module", "bfloat16")
        else:
            inputs = torch.tensor(cast(dense, str(real.dtype).removeprefix("torch."), "the torch module"))
        return inputs.to(first.device)

    def _tensor(self, answer: Any, records: int) -> Any:
        if hasattr(answer, "logits") or (isinstance(answer, dict) and "logits" in answer):  # as transformers answer
            self._hint = self._hint or _NAMED
        return answer_of(answer, records)

    def _watch(self, dense: NDArray[Any]) -> None:
        """Ask about one record, and note what its layers answer, and which is the last."""
        try:
            size, hint = watched(self._module, lambda: self._tensor(self._forward(dense, watched=True), len(dense)))
        except Exception:
            size, hint = 0, None  # asking will say what is wrong
        self._hint = hint or self._hint
        self._bytes = max(size or UNSEEN * dense.nbytes, dense.nbytes)


def answer_of(answer: Any, records: int, classes: int | None = None) -> Any:
    """Return the one tensor of class answers in what a module answered: itself, its ``logits``, or that of a tuple or dict.

    Raises
    ------
    TargetError
        If there is none, or several.
    """
    import torch

    if isinstance(answer, torch.Tensor):
        return answer
    if isinstance(getattr(answer, "logits", None), torch.Tensor):
        return answer.logits
    if isinstance(answer, dict) and isinstance(answer.get("logits"), torch.Tensor):
        return answer["logits"]
    parts = (
        list(answer.values()) if isinstance(answer, dict) else list(answer) if isinstance(answer, tuple | list) else []
    )
    fitting = [
        each
        for each in parts
        if isinstance(each, torch.Tensor)
        and each.dim() == 2
        and len(each) == records
        and classes in (None, each.shape[1])
    ]
    if len(fitting) == 1:
        return fitting[0]
    what = [tuple(each.shape) if isinstance(each, torch.Tensor) else type(each).__name__ for each in parts]
    raise TargetError(
        f"the module answered {with_article(type(answer).__name__)} of {what or 'no tensors'}, of which "
        f"{len(fitting)} may be the answers "
        f"about {classes or 'the'} classes; name the one to read (output, of a ModuleRecipe and of [target] in a plan), or let "
        "it answer one tensor, or name it logits"
    )


def with_output(module: Any, output: str | int) -> Any:
    """Return a module that answers one of its outputs alone: by its name in a dict or an answer with attributes, or its place.

    A module keeps its type and the names of its parameters; one of TorchScript is put into another.
    """
    import torch

    if isinstance(module, torch.jit.ScriptModule):  # takes no hooks
        module = torch.nn.Sequential(module)
    module.register_forward_hook(functools.partial(_one_output, output))
    return module


def _one_output(output: str | int, module: Any, inputs: Any, answer: Any) -> Any:
    import torch

    parts: Mapping[Any, Any]
    if isinstance(output, int):
        parts = dict(enumerate(answer)) if isinstance(answer, tuple | list) else {}
    else:
        parts = answer if isinstance(answer, Mapping) else getattr(answer, "__dict__", {}) | _fields(answer)
    one = parts.get(output)
    if isinstance(one, torch.Tensor):
        return one
    names = ", ".join(repr(name) for name, part in parts.items() if isinstance(part, torch.Tensor)) or "none"
    raise TargetError(
        f"the module answered {with_article(type(answer).__name__)} without a tensor {output!r}; its outputs by "
        f"{'place' if isinstance(output, int) else 'name'} are {names}: choose one of them as output"
    )


def _fields(answer: Any) -> dict[str, Any]:
    return answer._asdict() if hasattr(answer, "_asdict") else {}


@contextmanager
def guards_told() -> Iterator[None]:
    """Say what to do where an exported program refuses a batch of another size than it was exported for.

    Raises
    ------
    TargetError
        If it does.
    """
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        if _OF_BATCH.search(str(error)) is None:
            raise
        raise TargetError(
            f"the module was exported for batches of another size ({reason_of(error)}), and is asked about as many records as "
            "there are: export it for any, torch.export.export(module, (X,), dynamic_shapes=({0: torch.export.Dim('n')},)), or "
            "save it for a batch of one fixed size with torch.export.save and give that file, which is asked in such batches"
        ) from error


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Put a module into eval mode, and every part of it back into its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    with suppress(NotImplementedError):  # an exported program's has no modes
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def watched(module: Any, ask: Callable[[], Any]) -> tuple[int, Hint | None]:
    """Return the bytes that a module's layers answer to a question together, and what the last of them says.

    The module is asked in eval mode, and torch's generator is put back. Bytes are 0 where no layer can be watched.
    """
    import torch

    answers: list[tuple[Any, str]] = []  # every answer is held, so that none is taken for another that lay in its place

    def note(layer: Any, _: Any, answer: Any) -> None:
        if isinstance(answer, torch.Tensor):
            answers.append((answer, type(layer).__name__))

    leaves = [part for part in module.modules() if not any(True for _ in part.children())]
    hooks = [each.register_forward_hook(note) for each in leaves if not isinstance(each, torch.jit.ScriptModule)]
    try:
        with evaluating(module), torch.random.fork_rng(devices=[]), torch.enable_grad():
            answer = ask()
    finally:
        for hook in hooks:
            hook.remove()
    last = next((layer for tensor, layer in reversed(answers) if tensor is answer), "")
    return sum(each.numel() * each.element_size() for each, _ in answers), _LAYERS.get(last) or _of_derivative(answer)


def _of_derivative(answer: Any) -> Hint | None:
    """Return what the last operation says, by the name of its derivative; views and rounding are passed over."""
    step = getattr(answer, "grad_fn", None)
    while step is not None:
        name = type(step).__name__.partition("Backward")[0]
        if name not in _VIEWS:
            return hint_of_operation(name)
        step = step.next_functions[0][0] if step.next_functions else None
    return None
