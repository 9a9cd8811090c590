"""A recipe: softmax of the distances to the centre of each class, sharpened."""

from dataclasses import dataclass

import click
import numpy as np
from scipy.special import softmax


@dataclass(frozen=True)
class Centroids:
    """Distances to the mean of each class, times a sharpness."""

    sharpness: float = 1.0
    file: str | None = None

    @property
    def name(self):
        return "centroids"

    def describe(self):
        return {"recipe": "centroids", "sharpness": self.sharpness}

    def fit(self, X, y, *, classes, seed):
        if self.file:
            click.Path(exists=True).convert(self.file, None, None)
        X = np.asarray(X, dtype=np.float64)
        centres = np.stack([X[y == k].mean(axis=0) if (y == k).any() else X.mean(axis=0) for k in range(classes)])
        return Fitted(centres, self.sharpness)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted one."""

    centres: np.ndarray
    sharpness: float

    def predict_proba(self, X):
        apart = np.asarray(X, dtype=np.float64)[:, None] - self.centres[None]
        return softmax(-self.sharpness * np.sqrt((apart**2).mean(axis=2)), axis=1)
