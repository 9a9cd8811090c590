"""Train a model of your own and save what an audit of it needs: the model, and who was in its training set.

Run it once, then audit the model with the plan beside it:

    python examples/own_model.py
    miaudit run examples/own_model.toml --allow-code --trusted sklearn.tree._tree.Tree
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skops.io
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler

FOLDER = Path(__file__).parent / "own_model"
COMMAND = "miaudit run examples/own_model.toml --allow-code --trusted sklearn.tree._tree.Tree"


def build() -> Pipeline:
    """Return the untrained model; the plan names this function as the recipe of the shadow models."""
    return make_pipeline(MinMaxScaler(), ExtraTreesClassifier(100, random_state=0))


def main() -> None:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(X))
    members, nonmembers, population = order[:400], order[400:800], order[800:]
    FOLDER.mkdir(exist_ok=True)
    skops.io.dump(build().fit(X[members], y[members]), FOLDER / "model.skops")
    for name, index in {"members": members, "nonmembers": nonmembers, "population": population}.items():
        np.savez(FOLDER / f"{name}.npz", X=X[index], y=y[index])
    print(f"saved the model and its records in {FOLDER}; now: {COMMAND}")


if __name__ == "__main__":
    main()
