"""Recipes of regressions: clones of a scikit-learn regressor, whose models answer one real number a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from miaudit.errors import PlanError
from miaudit.recipes.estimator import describe_parameter, libraries_of, seeded, single_threaded
from miaudit.recipes.fingerprint import Fingerprint, fingerprint


@dataclass(frozen=True)
class RegressorRecipe:
    """Train clones of a scikit-learn regressor (or a Pipeline that ends in one).

    Parameters
    ----------
    estimator
        Never fitted and never changed, see `EstimatorRecipe`.

    Raises
    ------
    PlanError
        If the estimator lacks ``fit``, ``get_params`` or ``predict``, or says that it is a classifier.
    """

    estimator: Any

    def __post_init__(self) -> None:
        name = type(self.estimator).__name__
        for method in ("fit", "get_params", "predict"):
            if not hasattr(self.estimator, method):
                raise PlanError(
                    f"a regression needs a scikit-learn regressor with fit and predict; {name} has no {method}"
                )
        if not is_regressor(self.estimator):
            raise PlanError(f'{name} is no regressor; name one, or leave task = "regression" out to audit a classifier')

    @property
    def name(self) -> str:
        """Class names of the estimator and its steps."""
        steps = getattr(self.estimator, "steps", None)
        return " -> ".join(type(step).__name__ for _, step in steps) if steps else type(self.estimator).__name__

    def describe(self) -> dict[str, Any]:
        """Return the estimator's class and all parameters, and the versions of the libraries behind them."""
        return {
            "recipe": "regressor",
            "version": 1,
            "estimator": describe_parameter(self.estimator),
            "libraries": libraries_of(self.estimator),
        }

    def fingerprint(self) -> Fingerprint:
        """Return what decides the estimator: its parameters, and the code that it and they can reach."""
        return fingerprint(self.estimator, cloned=True)

    def fit(self, X: Any, y: NDArray[Any], *, classes: int, seed: int) -> Any:
        """Train a clone on records X and labels y; ``classes`` plays no part. Its model has ``predict``."""
        from sklearn.base import clone

        return single_threaded(seeded(clone(self.estimator), seed)).fit(X, y)


def is_regressor(thing: Any) -> bool:
    """Whether scikit-learn's tags say that an estimator or pipeline predicts real numbers."""
    if not hasattr(thing, "predict") or isinstance(thing, type):
        return False
    from sklearn import base

    try:
        return bool(base.is_regressor(thing))
    except Exception:  # tags of others may fail
        return False
