"""Trained models from files. The format is told by the content, not by the name, and no file runs without consent."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from miaudit.errors import PlanError, missing_code, reason_of, with_article
from miaudit.files import sha256_of, start_of
from miaudit.libraries import require
from miaudit.targets.onnx_graph import inside, read_graph
from miaudit.targets.torch_modules import with_output

Format = Literal[
    "skops", "onnx", "safetensors", "xgboost", "lightgbm", "torch", "TorchScript", "torch.export", "pickle"
]

_TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(1, 6))
_COMPRESSED_STARTS = (
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x04\x22\x4d\x18",
)
_ONNX_TAGS = b"\x12\x1a\x22\x28\x32\x3a\x42"
"""What may follow the version at the start of an ONNX model: its next field, by protobuf's tag."""

_RUNS_CODE = {
    "pickle": "is a pickle (or joblib, or cloudpickle) file, and reading one runs whatever code its author put there. "
    "Save the model with skops instead (skops.io.dump)",
    "torch": "is a torch.save file, which is a pickle inside, and reading one runs whatever code its author put there. "
    "Give the module its weights belong to as target.module, so that only tensors are read, or save them as safetensors",
    "TorchScript": "is a TorchScript file: a program, which when asked can do what torch can, such as writing files. "
    "Export the model to ONNX instead, or save its weights as safetensors",
    "torch.export": "is a torch.export file, and torch reads parts of it as a pickle, which runs whatever code its author "
    "put there. Export the model to ONNX instead, or save its weights as safetensors",
}
_BOOSTED: tuple[tuple[bytes, Format], ...] = (
    (b'{"learner"', "xgboost"),
    (b'{"version"', "xgboost"),
    (b"{L\x00\x00\x00\x00\x00\x00", "xgboost"),  # UBJSON
    (b"tree\n", "lightgbm"),
    (b"tree\r\n", "lightgbm"),
)
_KERAS = (
    "which may hold code, and is not read: export the model to ONNX (model.export('model.onnx', format='onnx')) and give that "
    "file, or give a function from records to its answers ([target] function of a plan, or in Python the function itself)"
)


SKOPS_SAFE = (0, 15)
"""First version of skops without a published way to run code or leave its memory; pyproject.toml has the same floor."""


def model_hashes(path: str | Path) -> dict[str, str]:
    """Return the sha256 (hex) of a model's file, under its name, and of each file of weights that an ONNX model names.

    Raises
    ------
    PlanError
        If a file cannot be read, or an ONNX model names weights outside its own folder.
    """
    path = Path(path)
    beside = read_graph(path).locations if file_format(path) == "onnx" else ()
    files = zip(beside, inside(path.parent, beside, path), strict=True)
    return {path.name: sha256_of(path), **{name: sha256_of(file) for name, file in sorted(files)}}


def load_model(
    path: str | Path,
    *,
    names: Sequence[str] = (),
    coded: bool = True,
    output: str | int | None = None,
    module: Callable[[], Any] | None = None,
    weights: str | None = None,
    allow_pickle: bool = False,
    trusted: tuple[str, ...] = (),
) -> Any:
    """Return the model in a file, for `as_target`.

    Parameters
    ----------
    path
        A file of any `Format`.
    names
        The data's class names in order, by which the columns of an ONNX model are told.
    coded
        Whether a label of an ONNX model may be the number of a class that has a name.
    output
        Name of the output that holds the answer, of an ONNX model or a torch module (or its number, where a module answers a
        tuple); default: told by types, shapes and names.
    weights
        Where the weights lie in a checkpoint that holds more, as ``"state_dict"`` in Lightning's; after it, with a dot, what
        the names of the weights begin with (``"state_dict.model"``). What all names begin with is left out by itself.
    module
        Builds the ``torch.nn.Module`` that bare weights (safetensors, or a state dict by ``torch.save``) belong to.
    allow_pickle
        Consent to files that can run code of their author: pickle, joblib, ``torch.save``, TorchScript,
        ``torch.export``. A state dict with ``module`` needs none, because torch then reads tensors only.
    trusted
        For skops: types outside its own list that may be loaded.

    Raises
    ------
    PlanError
        If the file is missing, of an unknown format, needs consent or a module, or cannot be read.
    """
    path = Path(path)
    kind = file_format(path)
    weights_only = kind == "torch" and module is not None and not allow_pickle
    if kind in _RUNS_CODE and not allow_pickle and not weights_only:
        raise PlanError(
            f"{path} {_RUNS_CODE[kind]}, or, if you trust the file, consent with --allow-pickle (in Python, allow_pickle=True)"
        )
    if module is not None and kind not in ("safetensors", "torch"):
        raise PlanError(
            f"{path} is {with_article(kind)} file, a whole model; target.module belongs to bare weights, leave it out"
        )
    if output is not None and kind not in ("onnx", "torch", "safetensors", "TorchScript"):
        problem = (
            f"names an output of an ONNX model or a torch module, and {path} is {with_article(kind)} file: leave it out"
        )
        raise PlanError([("output", problem)])
    if weights is not None and module is None:
        raise PlanError([("weights", "says where weights lie in a checkpoint: give module, to which they belong")])
    if kind == "skops":
        return _load_skops(path, trusted)
    if kind == "onnx":
        from miaudit.targets.onnx import load_onnx

        return load_onnx(path, names, coded=coded, output=output)
    if kind in ("xgboost", "lightgbm"):
        from miaudit.targets import boosted

        return boosted.xgboost_file(path) if kind == "xgboost" else boosted.lightgbm_file(path)
    if kind == "pickle":
        return _load_pickle(path)
    model = _load_torch(path, kind, module, weights_only, weights)
    return model if output is None else with_output(model, output)


def file_format(path: Path) -> Format:
    """Return the format of a model file, told by its content; nothing in the file is run.

    Raises
    ------
    PlanError
        If the file cannot be read, or is of no format that `load_model` knows.
    """
    if path.is_dir():
        raise PlanError(_of_folder(path))
    try:
        with path.open("rb") as file:
            start = file.read(64)
        size = path.stat().st_size
    except OSError as error:
        raise PlanError(f"the model file {path} cannot be read: {error.strerror or error}") from error
    if start.startswith(_TORCH_LEGACY):
        return "torch"
    if start.startswith(_PICKLE_STARTS + _COMPRESSED_STARTS):
        return "pickle"
    if start.startswith(b"PK"):
        return _zip_format(path)
    if 2 <= int.from_bytes(start[:8], "little") < size and start[8:9] == b"{":
        return "safetensors"
    if len(start) > 2 and start[0] == 0x08 and 0 < start[1] < 64 and start[2] in _ONNX_TAGS:
        return "onnx"
    for sign, kind in _BOOSTED:
        if start.startswith(sign):
            return kind
    if start.startswith(b"\x89HDF"):
        raise PlanError(f"{path} is an HDF5 file, as Keras writes them, {_KERAS}")
    if _is_old_pickle(path):
        return "pickle"
    raise PlanError(
        f"{path} is no model file this reads (ONNX, skops, safetensors, torch weights, XGBoost, LightGBM; pickle, joblib, "
        f"TorchScript and torch.export with consent), or is cut off: {start_of(path)}"
    )


def _zip_format(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise PlanError(f"{path} starts like a zip file but is damaged or cut off: {error}") from error
    if "schema.json" in names:
        return "skops"
    if {"config.json", "model.weights.h5"} <= {*names}:
        raise PlanError(f"{path} is a Keras file, {_KERAS}")
    ends = {name.partition("/")[2] for name in names}
    if "archive_format" in ends or "serialized_exported_program.json" in names:
        return "torch.export"
    if "constants.pkl" in ends:
        return "TorchScript"
    if "data.pkl" in ends:
        return "torch"
    raise PlanError(
        f"{path} is a zip file but not a model this reads (it holds {names[:3]}); save a scikit-learn model with "
        "skops.io.dump, a network as ONNX or safetensors"
    )


def _of_folder(path: Path) -> str:
    """Return what to say of a folder given as a model's file."""
    weights = sorted(file.name for file in path.glob("*.safetensors"))
    if weights and (path / "config.json").is_file():
        return (
            f"{path} is a folder of Hugging Face: give its weights as the file ({path / weights[0]}), and as target.module a "
            "function that makes the model of config.json, such as AutoModelForSequenceClassification.from_config(...)"
        )
    return f"{path} is a folder; a model is a file: give the one in it that holds the model"


def _is_old_pickle(path: Path) -> bool:
    """Whether a file is a pickle of protocol 0, which has no sign at its start; it is parsed and not run."""
    try:
        with path.open("rb") as file:
            return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(file))
    except Exception:
        return False


def _load_torch(
    path: Path, kind: Format, module: Callable[[], Any] | None, weights_only: bool, where: str | None
) -> Any:
    from miaudit.targets import torch_files

    if kind == "TorchScript":
        return torch_files.torchscript(path)
    if kind == "torch.export":
        return torch_files.exported_program(path)
    if kind == "torch" and not weights_only:
        content = torch_files.torch_object(path)
        if module is None and hasattr(content, "forward"):
            return content
        content = content.state_dict() if hasattr(content, "state_dict") else content
        weights = torch_files.named_tensors(content, path, where)
    elif kind == "torch":
        weights = torch_files.weights_of_checkpoint(path, where)
    else:
        weights = torch_files.named_tensors(torch_files.weights_of_safetensors(path), path, where)
    if module is None:
        raise PlanError(
            f'{path} holds bare weights: say which network they belong to, by module = "file.py:function", a function that '
            "returns the torch module, or by the network of a plan's recipe"
        )
    return torch_files.with_weights(module, weights, path)


def _load_skops(path: Path, trusted: tuple[str, ...]) -> Any:
    skops = require("skops", extra="skops", what=f"the skops file {path}")
    require("skops.io", extra="skops", what=f"the skops file {path}")
    if tuple(int(part) for part in re.findall(r"\d+", skops.__version__)[:2]) < SKOPS_SAFE:
        raise PlanError(
            f"{path} is a skops file, and skops {skops.__version__} can be made by one to run code, or to read outside "
            f"its memory; install skops {'.'.join(map(str, SKOPS_SAFE))} or newer"
        )
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted))
        if unknown:
            raise PlanError(
                f"{path} holds types outside skops' own list: {', '.join(unknown)}. If you trust them, give each by "
                "--trusted TYPE (in Python, trusted=[...])"
            )
        return skops.io.load(path, trusted=list(trusted))
    except PlanError:
        raise
    except Exception as error:
        raise PlanError(f"{path} cannot be read as a skops model: {reason_of(error)}{missing_code(error)}") from error


def _load_pickle(path: Path) -> Any:
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:
        raise PlanError(f"{path} cannot be read: {reason_of(error)}{missing_code(error)}") from error
