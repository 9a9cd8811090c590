"""Whether modules that are plain fully connected networks train faster in groups than as any other module.

    OMP_NUM_THREADS=1 python bench/perceptron.py [--models 20] [--epochs 10] [--pairs 4]

Both ways take the same records, seeds and epochs, in this process, in turn; the ratio is a median over pairs. Records are
synthetic. Needs the torch extra.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from miaudit.recipes import ModuleRecipe
from miaudit.recipes.module_training import train_module

RECORDS, TRAIN = 20_000, 2_000


def shallow(inputs: int, hidden: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, classes))


def seconds_of(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rng = np.random.default_rng(0)
    seeds = range(options.models)
    for inputs, hidden, classes, batch in ((600, 128, 100, 32), (600, 128, 100, 100), (600, 1000, 100, 100)):
        X = (rng.random((RECORDS, inputs)) < 0.3).astype(np.float32)
        y = rng.integers(0, classes, RECORDS)
        indices = [rng.permutation(RECORDS)[:TRAIN] for _ in seeds]
        for optimizer, rate in (("sgd", 0.05), ("adam", 0.001)):
            build = functools.partial(shallow, inputs, hidden, classes)
            recipe = ModuleRecipe(build, optimizer=optimizer, learning_rate=rate, epochs=options.epochs, batch=batch)

            def together(recipe: ModuleRecipe = recipe, X=X, y=y, indices=indices, classes=classes) -> None:
                recipe.fit_many(X, y, indices=indices, classes=classes, seeds=seeds)

            def alone(recipe: ModuleRecipe = recipe, X=X, y=y, indices=indices, classes=classes) -> None:
                for index, seed in zip(indices, seeds, strict=True):
                    train_module(recipe, X[index], y[index], classes=classes, seed=seed)

            ways = (together, alone)
            pairs = []
            for pair in range(options.pairs):
                took = {act: seconds_of(act) for act in (ways if pair % 2 else ways[::-1])}
                pairs.append(took[alone] / took[together])
            ratio = statistics.median(pairs)
            print(
                f"{inputs}-{hidden}-{classes} {optimizer}, batch {batch}: {ratio:.2f} times as fast together",
                flush=True,
            )


if __name__ == "__main__":
    main()
