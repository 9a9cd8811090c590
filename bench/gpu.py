"""How fast small networks are trained on a GPU, all in one group, against one after another and the processor.

    python bench/gpu.py [--device cuda] [--models 1 8 64 256] [--out FILE]

600-128-100 networks on 10,000 purchase-shaped records each, batch 256, SGD. With ``--device cpu`` the same program runs
where there is no GPU, which checks that it runs. Milliseconds are per model and epoch, set-up included.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from shadows import purchase_like

from miaudit.recipes import Network


def milliseconds(recipe: Network, models: int, *, train: int) -> float:
    """Return the milliseconds of a model and epoch, the second time, when libraries are loaded."""
    data = purchase_like(2 * train)
    indices = [np.random.default_rng(seed).permutation(2 * train)[:train] for seed in range(models)]
    for _ in range(2):
        began = time.perf_counter()
        recipe.fit_many(data.X, data.y, indices=indices, classes=100, seeds=range(models))
        took = time.perf_counter() - began
    return 1000 * took / models / recipe.epochs


def main() -> None:
    parser = argparse.ArgumentParser(description="Time stacked training on a GPU.")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--models", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    base = Network(
        optimizer="sgd",
        learning_rate=0.1,
        batch=256,
        epochs=arguments.epochs,
        standardize=False,
        device=arguments.device,
    )
    kinds = {"float32": base, "bfloat16": replace(base, dtype="bfloat16"), "adam": replace(base, optimizer="adam")}
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "processor"
    found: dict[str, object] = {"device": device, "torch": torch.__version__, "ms_per_model_epoch": {}}
    for name, recipe in kinds.items():
        each = {str(k): round(milliseconds(recipe, k, train=arguments.train), 3) for k in arguments.models}
        found["ms_per_model_epoch"][name] = each  # type: ignore[index]
        print(json.dumps({name: each}), flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
