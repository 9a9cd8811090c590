"""A small world for deletion audits: a tree that remembers its records, whose classes are partly noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from miaudit.result import Result
from miaudit.unlearning import audit

RECIPE = DecisionTreeClassifier()


def sides(seed: int = 0, members: int = 120, others: int = 400, features: int = 4) -> dict[str, Any]:
    """Return members, non-members and a population of one distribution; three records of ten have a random class."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(members + others, features))
    y = (X[:, 0] > 0).astype(int)
    noisy = rng.random(len(y)) < 0.3
    y[noisy] = rng.integers(0, 2, noisy.sum())
    ends = (members, members + others // 2)
    names = ("members", "nonmembers", "population")
    parts = zip(np.split(X, ends), np.split(y, ends), strict=True)
    return dict(zip(names, parts, strict=True))


def small(procedure: Any = "retrain", *, seed: int = 0, count: int = 50, **options: Any) -> Result:
    """Audit the deletion of some members of the small world from a tree that is trained here."""
    given = {"shadows": 8, "oracles": 0, "jobs": 0, "bystanders": 4} | options
    return audit(
        RECIPE, trained_here=True, forget=np.arange(count), procedure=procedure, seed=seed, **sides(seed), **given
    )
