"""What torch's compiler and its vectorised gradients do for the training of small networks, against ours.

    python bench/compiled.py --out bench/results/compiled.json

600-128-100, tanh, plain SGD, batch 256, float32, one thread: an epoch of 10,000 made-up records, medians of five. Compiling
is in none of the times, and is said apart. ``torch.compile`` needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from miaudit.recipes import Network
from miaudit.recipes.sequential import batch_of, logits
from miaudit.recipes.training import Generators, Records, first_weights
from miaudit.threads import one_thread

RECORDS, BATCH, RATE, MODELS, ROUNDS = 10_000, 256, 0.1, 4, 5
IMAGES, SHAPE, IMAGE_BATCH = 1024, (3, 32, 32), 128
Act = tuple[Callable[[], None], int]  # what trains so many models for an epoch


def module() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(600, 128), torch.nn.Tanh(), torch.nn.Linear(128, 100))


def plain(X: torch.Tensor, y: torch.Tensor, *, compiled: bool) -> Callable[[], None]:
    """Return an epoch by autograd and SGD, on tensors that lie in memory; forward and loss perhaps compiled."""
    net = module()
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)

    def loss(records: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(net(records), labels)

    act = torch.compile(loss) if compiled else loss

    def epoch() -> None:
        order = torch.randperm(len(X))
        for start in range(0, len(X) - BATCH + 1, BATCH):
            index = order[start : start + BATCH]
            optimizer.zero_grad()
            act(X[index], y[index]).backward()
            optimizer.step()

    return epoch


def vectorised(X: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """Return an epoch of several networks by vmap over grad."""
    nets = [module() for _ in range(MODELS)]
    parameters, buffers = stack_module_state(nets)
    base = module().to("meta")

    def loss(own: dict[str, torch.Tensor], records: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(functional_call(base, (own, buffers), (records,)), labels)

    gradients = vmap(grad(loss))

    def epoch() -> None:
        orders = torch.stack([torch.randperm(len(X)) for _ in range(MODELS)])
        for start in range(0, len(X) - BATCH + 1, BATCH):
            index = orders[:, start : start + BATCH]
            with torch.no_grad():
                for name, each in gradients(parameters, X[index], y[index]).items():
                    parameters[name] -= RATE * each

    return epoch


def ours(X: np.ndarray, y: np.ndarray, models: int) -> Callable[[], None]:
    recipe = Network(hidden=(128,), optimizer="sgd", learning_rate=RATE, batch=BATCH, epochs=1, standardize=False)
    index = [np.arange(len(X))] * models
    return lambda: (recipe.fit_many(X, y, indices=index, classes=100, seeds=range(models)), None)[1]


def convolutional(device: str) -> tuple[dict[str, Act], Callable[[], float]]:
    """Return an epoch of several convolutional networks both ways, and how far the parameters are apart after it."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (IMAGES, *SHAPE)).astype(np.uint8), rng.integers(0, 100, IMAGES)
    options = {"optimizer": "sgd", "learning_rate": 0.01, "batch": IMAGE_BATCH, "epochs": 1, "standardize": False}
    recipe = Network(kind="cnn", device=device, **options)
    index, seeds = np.arange(IMAGES), range(MODELS)
    result: dict[str, list[Any]] = {}

    def loss(own: tuple[torch.Tensor, ...], rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits(recipe, own, rows, SHAPE), labels)

    def one_after_another() -> None:
        models = recipe.fit_many(X, y, indices=[index] * MODELS, classes=100, seeds=seeds)
        result["ours"] = [model.tensors for model in models]

    def together() -> None:
        records, labels = Records(X, channels_last=True, device=torch.device(device)), torch.from_numpy(y).to(device)
        streams = [Generators.of(seed) for seed in seeds]
        first = [first_weights(recipe.weight_shapes(SHAPE, 100), stream.weights) for stream in streams]
        own = tuple(torch.stack(each).to(device) for each in zip(*first, strict=True))
        orders = torch.stack([torch.randperm(IMAGES, generator=stream.order) for stream in streams]).to(device)
        gradients = vmap(grad(loss))
        for part in orders.split(IMAGE_BATCH, dim=1):
            rows = batch_of(records, part.reshape(-1), records.affine(None)).view(MODELS, part.shape[1], -1)
            for each, step in zip(own, gradients(own, rows, labels[part]), strict=True):
                each.sub_(step, alpha=recipe.learning_rate)
        result["vmap"] = [tuple(each[k].cpu().numpy() for each in own) for k in range(MODELS)]

    def difference() -> float:
        pairs = [
            (a, b) for ours, theirs in zip(*result.values(), strict=True) for a, b in zip(ours, theirs, strict=True)
        ]
        return max(float(np.abs(a - b).max()) for a, b in pairs)

    name = f"{MODELS} convolutional"
    acts = {f"ours, {name}": (one_after_another, MODELS), f"vmap of grad, {name}": (together, MODELS)}
    return acts, difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()  # nothing compiled earlier is taken
    with one_thread():
        epochs, difference = convolutional(arguments.device)
        if arguments.device == "cpu":
            epochs = fully_connected() | epochs
        first, times = dict[str, float](), {name: list[float]() for name in epochs}
        for name, (epoch, _) in epochs.items():
            began = time.perf_counter()
            epoch()
            first[name] = time.perf_counter() - began
        for _ in range(ROUNDS):
            for name, (epoch, models) in epochs.items():
                began = time.perf_counter()
                epoch()
                times[name].append((time.perf_counter() - began) / models)
    figures: dict[str, Any] = {
        name: {"ms_per_model_epoch": round(1000 * statistics.median(each), 1), "first_seconds": round(first[name], 1)}
        for name, each in times.items()
    }
    figures["convolutional parameters apart"] = difference()
    print(json.dumps(figures, indent=1))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps({"torch": torch.__version__, **figures}, indent=1) + "\n")


def fully_connected() -> dict[str, Act]:
    """Return the epochs of 600-128-100."""
    rng = np.random.default_rng(0)
    records, labels = rng.integers(0, 2, (RECORDS, 600)).astype(np.uint8), rng.integers(0, 100, RECORDS)
    X, y = torch.from_numpy(records.astype(np.float32)), torch.from_numpy(labels)
    return {
        "ours, one": (ours(records, labels, 1), 1),
        f"ours, {MODELS}": (ours(records, labels, MODELS), MODELS),
        "autograd": (plain(X, y, compiled=False), 1),
        "torch.compile": (plain(X, y, compiled=True), 1),
        f"vmap of grad, {MODELS}": (vectorised(X, y), MODELS),
    }


if __name__ == "__main__":
    main()
