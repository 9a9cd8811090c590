"""Weights of a network in a safetensors file, read in the order of its layers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from miaudit.errors import PlanError, reason_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_layers(
    path: str | Path,
    tensors: Sequence[NDArray[Any]],
    *,
    mean: NDArray[Any] | None,
    scale: NDArray[Any] | None,
    recipe: Mapping[str, Any],
) -> None:
    """Write weights and biases in the order of layers, the standardisation, and what the recipe says of itself."""
    from safetensors.numpy import save_file

    arrays: dict[str, NDArray[Any]] = {}
    for layer, (weight, bias) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
        arrays[f"layers.{layer}.weight"] = np.ascontiguousarray(weight)
        arrays[f"layers.{layer}.bias"] = np.ascontiguousarray(bias)
    if mean is not None and scale is not None:
        arrays["standardize.mean"], arrays["standardize.scale"] = mean, scale
    save_file(arrays, Path(path), metadata={"miaudit": json.dumps(recipe, sort_keys=True)})


def layers_of_file(
    recipe: str, path: str | Path, shapes: Sequence[tuple[int, ...]], *, classes: int, shape: tuple[int, ...]
) -> tuple[tuple[NDArray[np.float32], ...], dict[str, NDArray[Any]]]:
    """Return weights and biases of all layers, float32, and all arrays of the file.

    Parameters
    ----------
    recipe
        What to call the network in an error.
    path
        A ``.safetensors`` file.
    shapes
        Shape of each layer's weight; its bias has the first size.
    classes, shape
        Width of the output, and shape of one record.

    Raises
    ------
    PlanError
        If the file cannot be read or holds other layers; all that differ are listed.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(Path(path))
    except (OSError, SafetensorError) as error:
        raise PlanError(f"cannot read weights from {path}: {reason_of(error)}. Give a .safetensors file") from error
    weights = {name: array.astype(np.float32) for name, array in arrays.items() if not name.startswith("standardize.")}
    ordered = sorted(
        weights, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
    )
    names = [name for name in ordered if name.endswith("weight")] + [n for n in ordered if not n.endswith("weight")]
    layers = len(names) // 2
    names = [name for pair in zip(names[:layers], names[layers:], strict=False) for name in pair]
    sizes = [size for weight in shapes for size in (weight, weight[:1])]
    if len(weights) != len(sizes):
        raise PlanError(
            f"{path} holds {len(weights)} arrays ({', '.join(ordered)}) where {recipe} with {classes} classes has "
            f"{len(sizes)}, a weight and a bias for each layer. Name the recipe the file was trained with."
        )
    pairs = list(zip(names, sizes, strict=True))
    problems = [
        (f"{path}: {name}", f"shape {weights[name].shape}, but {recipe} on records {shape} has {size}")
        for name, size in pairs
        if weights[name].shape != size
    ]
    if problems:
        raise PlanError(problems)
    return tuple(weights[name] for name in names), arrays


def statistics_of_file(
    arrays: Mapping[str, NDArray[Any]], path: str | Path, shape: tuple[int, ...], *, standardize: bool
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Return means and scales of the records, where a file has them; PlanError where they are needed or do not fit."""
    mean, scale = arrays.get("standardize.mean"), arrays.get("standardize.scale")
    if mean is None or scale is None:
        if standardize:
            raise PlanError(
                f"{path} holds no standardize.mean and standardize.scale, but the recipe standardises. Save both "
                "beside the weights, or set standardize = false if the network was trained on raw records."
            )
        return None, None
    if not mean.shape == scale.shape == shape[:1]:
        raise PlanError(
            f"{path}: standardize.mean {mean.shape} and standardize.scale {scale.shape} must both be {shape[:1]}, "
            "one value for each feature, or each channel of images"
        )
    return mean.astype(np.float64), scale.astype(np.float64)
