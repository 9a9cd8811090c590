"""How fast networks are trained on a GPU in groups of several widths, with and without dropout, and convolutional ones.

    python bench/gpu.py --out bench/results/gpu.json
    python bench/gpu.py --device cpu --models 1 --epochs 1 --jobs 1

600-128-100 networks on 10,000 purchase-shaped records each, batch 256, SGD. Convolutional networks train one at a time: at most
eight of them, on 10,000 images of 3 x 32 x 32 bytes. ``--most 1024`` tries groups wider than the library's own. With
``--device cpu`` the same program runs where there is no GPU, which checks that it runs; groups and dropout are then those of a
processor. Milliseconds are per model and epoch, set-up included. At last whole runs of the engine, answers and rows on disk and
start of the processes included, by as many processes as ``--jobs`` says: with two, one trains while the other asks.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shadows import ours, purchase_like, seconds_of

from miaudit.recipes import Network, width
from miaudit.recipes.training import Records


def records(recipe: Network, n: int) -> tuple[Any, Any]:
    """Return n records that a network of this kind takes, and their classes."""
    if recipe.kind == "mlp":
        data = purchase_like(n)
        return data.X, data.y
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 3, 32, 32)).astype(np.uint8), rng.integers(0, 100, n)


def milliseconds(recipe: Network, models: int, *, train: int) -> float:
    """Return the milliseconds of a model and epoch, the second time, when libraries are loaded."""
    X, y = records(recipe, 2 * train)
    indices = [np.random.default_rng(seed).permutation(2 * train)[:train] for seed in range(models)]
    for _ in range(2):
        began = time.perf_counter()
        recipe.fit_many(X, y, indices=indices, classes=100, seeds=range(models))
        took = time.perf_counter() - began
    return 1000 * took / models / recipe.epochs


def statistics_milliseconds(device: str, train: int) -> float:
    """Return the milliseconds in which means and scales of a model's training records are summed, the mean of five."""
    X, index = purchase_like(2 * train).X, np.random.default_rng(0).permutation(2 * train)[:train]
    there = Records(X, device=torch.device(device))
    there.statistics(index)
    return 1000 * seconds_of(lambda: [there.statistics(index) for _ in range(5)]) / 5


def main() -> None:
    parser = argparse.ArgumentParser(description="Time stacked training on a GPU.")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--models", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument(
        "--most", type=int, default=width.CUDA_MOST, help="models in one group on a GPU, where they fit"
    )
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    width.CUDA_MOST = arguments.most
    base = Network(
        optimizer="sgd",
        learning_rate=0.1,
        batch=256,
        epochs=arguments.epochs,
        standardize=False,
        device=arguments.device,
    )
    kinds = {
        "float32": base,
        "bfloat16": replace(base, dtype="bfloat16"),
        "adam": replace(base, optimizer="adam"),
        "dropout": replace(base, dropout=0.2),
        "cnn": replace(base, kind="cnn", learning_rate=0.01),
        "cnn bfloat16": replace(base, kind="cnn", learning_rate=0.01, dtype="bfloat16"),
    }
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "processor"
    found: dict[str, Any] = {"device": device, "torch": torch.__version__, "width": {}, "ms_per_model_epoch": {}}
    devices = dict.fromkeys(["cpu", arguments.device])
    found["statistics_ms"] = {each: round(statistics_milliseconds(each, arguments.train), 1) for each in devices}
    print(json.dumps({"statistics_ms": found["statistics_ms"]}), flush=True)
    for name, recipe in kinds.items():
        counts = arguments.models if recipe.kind == "mlp" else sorted({min(k, 8) for k in arguments.models})
        each = {str(k): round(milliseconds(recipe, k, train=arguments.train), 3) for k in counts}
        found["width"][name] = recipe.group_width((600,) if recipe.kind == "mlp" else (3, 32, 32), 100)
        found["ms_per_model_epoch"][name] = each
        print(json.dumps({name: each, "width": found["width"][name]}), flush=True)
    models, data = 2 * max(arguments.models), purchase_like(3 * arguments.train)
    found["run"] = {"models": models, "seconds": {}}
    ours(
        data, base, models=2, train=arguments.train, test=100, workers=1
    )  # starts the server that workers are forks of
    for jobs in arguments.jobs:
        seconds = seconds_of(
            partial(ours, data, base, models=models, train=arguments.train, test=arguments.train, workers=jobs)
        )
        found["run"]["seconds"][str(jobs)] = round(seconds, 2)
        print(json.dumps({"processes": jobs, "models": models, "seconds": round(seconds, 2)}), flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
