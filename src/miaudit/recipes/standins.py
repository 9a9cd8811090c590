"""Local stand-ins for the two services of Shokri et al. 2017, which closed years ago and never told how they trained.

They are *stand-ins*: our choices, opaque to whoever audits them as the services were, and called stand-ins wherever they
appear. Nothing measured on them is a measurement of Google's or Amazon's service.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import densified
from miaudit.errors import PlanError, not_real, not_whole, refuse
from miaudit.evidence.answers import softmax
from miaudit.recipes.estimator import EstimatorModel
from miaudit.recipes.recipe import Recipe
from miaudit.seeds import child_seed

_BATCH = 10
_RATE = 2.0
_PARTS = 3
FOREST = "random forest"


@dataclass(frozen=True)
class AmazonLike:
    """Stand-in for Amazon ML: multinomial logistic regression with the service's two knobs.

    The paper gives the knobs: passes over the data and the amount of L2, with defaults (10, 1e-6) and (100, 1e-4). That
    the learner was multinomial logistic regression by stochastic gradient descent, and that numeric inputs were binned by
    quantiles, is from the service's manual. The rest is ours: updates of 10 records, in an order drawn anew for each
    pass; a constant rate of 2 over the mean squared length of a record; weights start at zero; L2 adds
    ``l2 / 2 * |weights|^2`` to the mean loss. The 2 was picked from 0.5, 2 and 8 because 10 passes over 1,200 records of
    Location-30 then fit them about as well (0.93) as the service fitted the paper's purchases (0.941, Table I).

    Parameters
    ----------
    passes
        Over the training records.
    l2
        Penalty on the weights; the intercepts bear none.
    bins
        Quantile bins of a feature with more than two values; one of two values stays as it is.

    Raises
    ------
    PlanError
        If a knob is out of range.
    """

    passes: int = 10
    l2: float = 1e-6
    bins: int = 10

    def __post_init__(self) -> None:
        refuse(
            not_whole(("passes", self.passes)),
            not_real(("l2", self.l2), least=0, below=1),
            not_whole(("bins", self.bins), least=2),
        )

    @property
    def name(self) -> str:
        """That it is a stand-in, and its knobs."""
        return f"Amazon-like stand-in ({self.passes} passes, L2 {self.l2:g})"

    def describe(self) -> dict[str, Any]:
        """Return the knobs and the version of the arithmetic."""
        return {"recipe": "amazon-like stand-in", "version": 1, "numpy": version("numpy"), **asdict(self)}

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> SoftmaxModel:
        """Train one model on records X (n, d) and classes y."""
        edges = _edges(_dense(X), self.bins)
        records = _binned(_dense(X), edges)  # (n, columns)
        rng = np.random.default_rng(seed)
        weights, intercepts = np.zeros((records.shape[1], classes)), np.zeros(classes)
        rate = _RATE / max(float((records**2).sum(axis=1).mean()), 1.0)
        hot = np.eye(classes)[y]  # (n, classes)
        for _ in range(self.passes):
            order = rng.permutation(len(records))
            for start in range(0, len(order), _BATCH):
                some = order[start : start + _BATCH]
                wrong = (softmax(records[some] @ weights + intercepts) - hot[some]) / len(some)
                weights *= 1 - rate * self.l2
                weights -= rate * (records[some].T @ wrong)
                intercepts -= rate * wrong.sum(axis=0)
        return SoftmaxModel(edges, weights, intercepts)


@dataclass(frozen=True, eq=False)
class SoftmaxModel:
    """A trained `AmazonLike`: bin edges of each feature (None: as it is), weights and intercepts."""

    edges: list[NDArray[np.float64] | None]
    weights: NDArray[np.float64]  # (columns, classes)
    intercepts: NDArray[np.float64]  # (classes,)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return (n, classes) probabilities."""
        answers: NDArray[np.float64] = softmax(_binned(_dense(X), self.edges) @ self.weights + self.intercepts)
        return answers


@dataclass(frozen=True)
class GoogleLike:
    """Stand-in for Google's Prediction API: picks its own model; there is nothing to set.

    Three learners of scikit-learn are tried by cross-validation in three parts, each with its share of every class:
    logistic regression (C = 1), a network with one hidden layer of 128 ReLU units (Adam, at most 50 passes), and a random
    forest of 200 trees. The one with the smallest mean log loss on the parts held out is trained again, on all records.
    Two models may still get different learners: each says which in its row, and an audit warns of those unlike the target.
    What the service did is unknown; that it picked among several learners is a guess. Gradient boosting is left out for
    its cost with many classes.
    """

    @property
    def name(self) -> str:
        """That it is a stand-in."""
        return "Google-like stand-in"

    def describe(self) -> dict[str, Any]:
        """Return the versions of the learners; there is nothing else to tell."""
        libraries = {name: version(name) for name in ("numpy", "scikit-learn")}
        return {"recipe": "google-like stand-in", "version": 2, "libraries": libraries}

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> EstimatorModel:
        """Pick a learner and train it on records X (n, d) and classes y."""
        order = np.random.default_rng(child_seed(seed, "held out")).permutation(len(y))
        order = order[np.argsort(y[order], kind="stable")]
        part = np.empty(len(y), np.int64)
        part[order] = np.arange(len(y)) % _PARTS  # each with its share of every class
        learner = FOREST  # of too little to try others on: it takes a single class, too
        if len(y) >= _PARTS and all(len(np.unique(y[part != number])) > 1 for number in range(_PARTS)):
            losses = {name: _held_out_loss(name, seed, X, y, part, classes) for name in _entrants(seed)}
            learner = min(losses, key=lambda name: losses[name])
        return replace(_trained(_entrants(seed)[learner], X, y, classes), learner=learner)


def _held_out_loss(name: str, seed: int, X: Any, y: NDArray[np.int64], part: NDArray[np.int64], classes: int) -> float:
    """Return the mean log loss of a learner on records of the parts that it was not trained on."""
    losses = np.empty(len(y))
    for number in range(_PARTS):
        fold, rest = part == number, part != number
        answers = _trained(_entrants(seed)[name], X[rest], y[rest], classes).predict_proba(X[fold])
        losses[fold] = -np.log(np.clip(answers[np.arange(len(answers)), y[fold]], 1e-6, 1))
    return float(losses.mean())


def _entrants(seed: int) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    state = child_seed(seed, "learner")
    return {
        "logistic regression": LogisticRegression(max_iter=300),
        "network": MLPClassifier((128,), max_iter=50, random_state=state),
        FOREST: RandomForestClassifier(200, random_state=state),
    }


def _trained(entrant: Any, X: Any, y: NDArray[np.int64], classes: int) -> EstimatorModel:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is the choice
        return EstimatorModel(entrant.fit(X, y), classes)


STANDINS: dict[str, type[Any]] = {"amazon-like": AmazonLike, "google-like": GoogleLike}
"""Stand-ins by the name they have in a plan."""


def standin(name: str, params: dict[str, Any]) -> Recipe:
    """Return a stand-in with its knobs set.

    Raises
    ------
    PlanError
        If it has no such knob, or a value is out of range.
    """
    parameters = STANDINS[name].__dataclass_fields__
    unknown = sorted(params.keys() - parameters)
    if unknown:
        knobs = ", ".join(parameters) or "none"
        raise PlanError([(key, f"the {name} stand-in has no such knob; it has {knobs}") for key in unknown])
    recipe: Recipe = STANDINS[name](**params)
    return recipe


def _dense(X: Any) -> NDArray[np.float64]:
    dense = densified(X).astype(np.float64)
    return dense.reshape(len(dense), -1)


def _edges(records: NDArray[np.float64], bins: int) -> list[NDArray[np.float64] | None]:
    """Inner edges of every feature's quantile bins, equal ones merged; None for one of at most two values."""
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    return [None if len(np.unique(column)) <= 2 else np.unique(np.quantile(column, inner)) for column in records.T]


def _binned(records: NDArray[np.float64], edges: list[NDArray[np.float64] | None]) -> NDArray[np.float64]:
    """(n, columns) One-hot of each feature's bin; features without edges as they are."""
    if all(each is None for each in edges):
        return records
    columns = []
    for values, each in zip(records.T, edges, strict=True):
        if each is None:
            columns.append(values[:, None])
        else:
            columns.append(np.eye(len(each) + 1)[np.searchsorted(each, values, side="right")])
    return np.concatenate(columns, axis=1)
