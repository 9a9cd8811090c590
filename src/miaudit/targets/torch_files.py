"""Torch models from files: weights for a module of the user's own, and whole programs with consent (extra ``torch``)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import densified
from miaudit.errors import PlanError, missing_code, with_article
from miaudit.evidence.answers import Hint
from miaudit.libraries import require, require_installed
from miaudit.targets.batches import in_batches
from miaudit.targets.form import array_of, cast, check_rounding
from miaudit.targets.torch_modules import BYTES, guards_told, hint_of_operation

EXTRA = "_extra_state"
"""How the names of state end that modules write and read by themselves, of whatever type and shape."""


def weights_of_safetensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file; nothing in it can run.

    Raises
    ------
    PlanError
        If torch is missing or the file is damaged.
    """
    require_installed("torch", extra="torch", what=f"the torch file {path}")
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:
        raise PlanError(f"{path} cannot be read as safetensors: {error}") from error


def weights_of_checkpoint(path: Path, where: str | None = None) -> dict[str, Any]:
    """Return the tensors of a ``torch.save`` file, or of what lies in it, read by torch's weights-only reader; it runs nothing.

    Raises
    ------
    PlanError
        If torch is missing or too old for that reader to be relied on, or the file holds more than named tensors.
    """
    torch = require("torch", extra="torch", what=f"the torch file {path}")
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        raise PlanError(
            f"{path} is a torch file, and torch {torch.__version__} can be made to run code by one even when it reads "
            "weights only; install torch 2.6 or newer, or save the weights as safetensors"
        )
    with _quiet():
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise PlanError(
                f"{path} holds more than tensors, or is damaged, and reading the rest may run whatever code its author "
                f"put there ({_first_line(error)}). Save module.state_dict() alone, or, if you trust the file, consent "
                "with --allow-pickle (in Python, allow_pickle=True)"
            ) from error
    return named_tensors(content, path, where)


def torch_object(path: Path) -> Any:
    """Return what a ``torch.save`` file holds. This runs code of the file.

    Raises
    ------
    PlanError
        If torch is missing or the file cannot be read.
    """
    return _read(path, "a torch file", lambda torch: torch.load(path, map_location="cpu", weights_only=False))


def torchscript(path: Path) -> Any:
    """Return the module of a TorchScript file. It is a program, which runs when it is asked.

    Raises
    ------
    PlanError
        If torch is missing or the file cannot be read.
    """
    return _read(path, "TorchScript", lambda torch: torch.jit.load(str(path), map_location="cpu"))


def exported_program(path: Path) -> ExportedModel:
    """Return the program of a ``torch.export`` file (.pt2). Reading it may run code of the file.

    Raises
    ------
    PlanError
        If torch is missing or the file cannot be read.
    """
    return ExportedModel(_read(path, "an exported program", lambda torch: torch.export.load(path)))


def _read(path: Path, what: str, read: Callable[[Any], Any]) -> Any:
    torch = require("torch", extra="torch", what=f"the torch file {path}")
    with _quiet():
        try:
            return read(torch)
        except Exception as error:
            raise PlanError(f"{path} cannot be read as {what}: {_first_line(error)}{missing_code(error)}") from error


class ExportedModel:
    """An exported program of one input: a batch of records, of any size or of the size it was exported with."""

    def __init__(self, program: Any) -> None:
        inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
        if len(inputs) != 1:
            raise PlanError(f"the exported program takes {len(inputs)} inputs; expected one, a batch of records")
        batch = inputs[0].meta["val"].shape[0]
        self._batch = batch if isinstance(batch, int) else None
        self._dtype = str(inputs[0].meta["val"].dtype).removeprefix("torch.")
        self._hint = _of_program(program)
        self._bytes = _bytes_of(program)
        self._module = program.module()
        self.__name__ = "torch.export program"

    def hint(self) -> Hint | None:
        """Return what the program's last operation says of its answers."""
        return self._hint

    def limit(self, X: Any) -> int:
        """Return how many records to ask about at a time, by what all operations answer to one."""
        return max(1, BYTES // self._bytes)

    def answer(self, X: Any) -> NDArray[Any]:
        """Return what the program answers, (n, columns) or (n,)."""
        return in_batches(self._ask, X, self._batch)

    def _ask(self, X: Any) -> NDArray[Any]:
        import torch

        dense = densified(X)
        if self._dtype == "bfloat16":
            inputs = torch.as_tensor(dense).to(torch.bfloat16)
            check_rounding(dense, inputs.double().numpy(), "the exported program", "bfloat16")
        else:
            inputs = torch.as_tensor(cast(dense, self._dtype, "the exported program"))
        with torch.no_grad(), guards_told():
            return array_of(self._module(inputs))


def _of_program(program: Any) -> Hint | None:
    """Return what the operation says that makes an exported program's answer."""
    node = next(each for each in reversed(list(program.graph.nodes)) if each.op == "output")
    while node is not None:
        calls = [each for each in node.all_input_nodes if each.op == "call_function"]
        if node.op == "output" and len(calls) != 1:
            return None
        if node.op != "output":
            name = str(node.target).removeprefix("aten.").lstrip("_")
            if not name.startswith(("view", "reshape", "squeeze", "unsqueeze", "clone", "_to_copy", "to.", "alias")):
                return hint_of_operation(name)
        node = calls[0] if calls else None
    return None


def _bytes_of(program: Any) -> int:
    """Return how much all operations of a program answer to one record."""
    total = 0
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "call_function" and hasattr(value, "shape"):
            sizes = [size if isinstance(size, int) else 1 for size in value.shape]
            total += int(np.prod(sizes, dtype=np.float64)) * value.element_size()
    batch = next((node.meta["val"].shape[0] for node in program.graph.nodes if node.op == "call_function"), 1)
    return max(1, total // (batch if isinstance(batch, int) and batch > 0 else 1))


def with_weights(build: Callable[[], Any], weights: Mapping[str, Any], path: Path) -> Any:
    """Return the module that ``build()`` makes, with these weights in it.

    Raises
    ------
    PlanError
        If it makes no module, or names or shapes differ: all that differ are counted, some named.
    """
    import torch

    module = build()
    if not isinstance(module, torch.nn.Module):
        raise PlanError(
            f"the module for the weights of {path} must be a torch.nn.Module, got {with_article(type(module).__name__)}"
        )
    own = module.state_dict()
    weights = _without_prefix(weights, own)
    tensors = {name: value for name, value in own.items() if not name.endswith(EXTRA)}
    dense = {name: tensor for name, tensor in tensors.items() if tensor.layout == torch.strided and tensor.numel()}
    here = {tensor.data_ptr() for name, tensor in dense.items() if name in weights}
    tied = {name for name, tensor in dense.items() if name not in weights and tensor.data_ptr() in here}
    problems = {
        "missing in the file": sorted(tensors.keys() - weights.keys() - tied),
        "unknown to the module": sorted(weights.keys() - own.keys()),
        "of another shape": [
            f"{name} ({tuple(weights[name].shape)}, the module has {tuple(tensor.shape)})"
            for name, tensor in tensors.items()
            if name in weights and weights[name].shape != tensor.shape
        ],
    }
    sentences = [
        f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for what, names in problems.items()
        if names
    ]
    if sentences:
        raise PlanError(f"the weights of {path} do not fit the module {type(module).__name__}: {'; '.join(sentences)}")
    module.load_state_dict(dict(weights), strict=False)  # what lacks is tied, or extra state
    return module.eval()


def _without_prefix(weights: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return weights whose names fit the module's, where all begin with one thing more, such as ``model.``."""
    names = dict(weights)
    while names and not own.keys() & names.keys():
        start = next(iter(names)).partition(".")[0] + "."
        if not all(name.startswith(start) and len(name) > len(start) for name in names):
            return dict(weights)
        names = {name.removeprefix(start): tensor for name, tensor in names.items()}
    return names


def _part(content: Any, where: str, path: Path) -> Any:
    """Return what lies at a path with dots in a checkpoint; its end may be what the names of weights begin with."""
    steps = where.split(".")
    while steps and isinstance(content, Mapping) and steps[0] in content and isinstance(content[steps[0]], Mapping):
        content = content[steps.pop(0)]
    if not steps:
        return content
    start = ".".join(steps) + "."
    part = {}
    if isinstance(content, Mapping):
        part = {name.removeprefix(start): of for name, of in content.items() if str(name).startswith(start)}
    if not part:
        options = (
            f"it holds {list(content)[:5]}"
            if isinstance(content, Mapping)
            else f"it is {with_article(type(content).__name__)}"
        )
        raise PlanError([("weights", f"{path} has nothing at {where!r}; {options}")])
    return part


def named_tensors(content: Any, path: Path, where: str | None = None) -> dict[str, Any]:
    """Return what a file held, or what lies at ``where`` in it, if that is one tensor per name; extra state may stand beside.

    Raises
    ------
    PlanError
        If it is anything else.
    """
    import torch

    if where is not None:
        content = _part(content, where, path)
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) or str(name).endswith(EXTRA) for name, value in content.items()
    ):
        contents = (
            f"the keys {list(content)[:5]}" if isinstance(content, Mapping) else with_article(type(content).__name__)
        )
        parts = (
            [key for key, of in content.items() if isinstance(of, Mapping) and of]
            if isinstance(content, Mapping)
            else []
        )
        likely = next(
            (key for key in parts if all(isinstance(value, torch.Tensor) for value in content[key].values())), None
        )
        advice = "" if likely is None else f', or say weights = "{likely}", where the weights lie'
        raise PlanError(f"{path} holds {contents}, not one tensor per name; save module.state_dict() alone{advice}")
    return dict(content)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on deprecation and its tracebacks on stderr; errors come as errors."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
