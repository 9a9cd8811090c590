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

import numpy as np
import torch
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from miaudit.recipes import Network
from miaudit.threads import one_thread

RECORDS, BATCH, RATE, MODELS, ROUNDS = 10_000, 256, 0.1, 4, 5


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()  # nothing compiled earlier is taken
    rng = np.random.default_rng(0)
    records, labels = rng.integers(0, 2, (RECORDS, 600)).astype(np.uint8), rng.integers(0, 100, RECORDS)
    X, y = torch.from_numpy(records.astype(np.float32)), torch.from_numpy(labels)
    with one_thread():
        epochs = {
            "ours, one": (ours(records, labels, 1), 1),
            f"ours, {MODELS}": (ours(records, labels, MODELS), MODELS),
            "autograd": (plain(X, y, compiled=False), 1),
            "torch.compile": (plain(X, y, compiled=True), 1),
            f"vmap of grad, {MODELS}": (vectorised(X, y), MODELS),
        }
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
    figures = {
        name: {"ms_per_model_epoch": round(1000 * statistics.median(each), 1), "first_seconds": round(first[name], 1)}
        for name, each in times.items()
    }
    print(json.dumps(figures, indent=1))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps({"torch": torch.__version__, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
