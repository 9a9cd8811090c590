"""Recipes from scikit-learn estimators and pipelines."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import take_records
from miaudit.errors import PlanError, nearest
from miaudit.recipes.fingerprint import Fingerprint, fingerprint
from miaudit.recipes.origin import package_version
from miaudit.recipes.packing import packed_object, unpacked_object
from miaudit.seeds import child_seed
from miaudit.targets.target import class_columns

VERSION = 2
_LEAST_SHARE = 1e-3
_KNOBS = {
    "l2": ("alpha", "l2_regularization", "reg_lambda"),
    "epochs": ("max_iter", "n_estimators"),
    "early_stopping": ("early_stopping",),
}


@dataclass(frozen=True)
class EstimatorRecipe:
    """Train clones of a scikit-learn classifier (or Pipeline) with ``predict_proba``, or ``predict`` alone, as LinearSVC.

    Parameters
    ----------
    estimator
        Never fitted and never changed: each model is a clone whose ``random_state`` parameters (also nested ones) are
        set from the model's seed, and whose ``n_jobs`` are 1.
    classes
        Labels the estimator is trained with, in class order; None to train with the integers 0..c-1.

    Raises
    ------
    PlanError
        If the estimator lacks ``fit`` or ``get_params``, or has neither ``predict_proba`` nor ``predict``.
    """

    estimator: Any
    classes: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        for method in ("fit", "get_params"):
            if not hasattr(self.estimator, method):
                raise PlanError(
                    "a recipe needs a scikit-learn estimator with fit, get_params and predict_proba; "
                    f"{type(self.estimator).__name__} has no {method}"
                )
        if not hasattr(self.estimator, "predict_proba") and not hasattr(self.estimator, "predict"):
            raise PlanError(
                f"{type(self.estimator).__name__} has neither predict_proba nor predict, so its models cannot be asked; choose "
                "another estimator"
            )

    @property
    def labels_only(self) -> bool:
        """Whether its models answer labels and no probabilities."""
        return not hasattr(self.estimator, "predict_proba")

    @property
    def name(self) -> str:
        """Class names of the estimator and its steps."""
        steps = getattr(self.estimator, "steps", None)
        if steps:
            return " -> ".join(type(step).__name__ for _, step in steps)
        return type(self.estimator).__name__

    def describe(self) -> dict[str, Any]:
        """Return the estimator's class and all parameters, and the versions of the libraries behind them."""
        return {
            "recipe": "estimator",
            "version": VERSION,
            "estimator": describe_parameter(self.estimator),
            "classes": None if self.classes is None else [str(name) for name in self.classes],
            "libraries": libraries_of(self.estimator),
        }

    def fingerprint(self) -> Fingerprint:
        """Return what decides the estimator: its parameters, and the code that it and they can reach."""
        return fingerprint(self.estimator, cloned=True)

    def arrays_of(self, model: Any) -> dict[str, NDArray[Any]] | None:
        """Return a fitted clone as bytes; None without skops, or where it is no estimator of scikit-learn's own."""
        content = None if getattr(model, "coded", False) else packed_object(model.estimator)
        return None if content is None else {"estimator": content}

    def of_arrays(self, arrays: Mapping[str, NDArray[Any]], *, classes: int, shape: tuple[int, ...]) -> Any:
        """Return the model of a fitted clone."""
        return self._model(unpacked_object(arrays["estimator"]), classes)

    @property
    def knobs(self) -> Mapping[str, str]:
        """Parameters of the estimator, or of a pipeline's last step, by the words of the lab, as far as it has any."""
        parameters, last = self.estimator.get_params(), self._last
        own = {name.removeprefix(last) for name in parameters if name.startswith(last)}
        words = {word: next((name for name in names if name in own), None) for word, names in _KNOBS.items()}
        if "learning_rate" not in own:
            words["epochs"] = None  # trees of a forest, or steps of a solver, are no passes
        return {word: f"{last}{name}" for word, name in words.items() if name is not None}

    def turned(self, **parameters: Any) -> EstimatorRecipe:
        """Return the recipe with parameters changed; those of a pipeline's last step may be named without it.

        Raises
        ------
        PlanError
            With every name that is no parameter, and the nearest that is.
        """
        from sklearn.base import clone

        names, last = self.estimator.get_params(), self._last
        values = {name if name in names else f"{last}{name}": value for name, value in parameters.items()}
        if unknown := sorted(set(values) - set(names)):
            hints = {name: nearest(name, names) or "see its documentation" for name in unknown}
            raise PlanError([(name, f"{self.name} has no such parameter; {hint}") for name, hint in hints.items()])
        return replace(self, estimator=clone(self.estimator).set_params(**values))

    @property
    def _last(self) -> str:
        steps = getattr(self.estimator, "steps", None)
        return f"{steps[-1][0]}__" if steps else ""

    @property
    def weighs(self) -> bool:
        """Whether it takes weights of records, by which it can be trained on shares of the classes."""
        from sklearn.utils.validation import has_fit_parameter

        return not getattr(self.estimator, "steps", None) and bool(has_fit_parameter(self.estimator, "sample_weight"))

    def fit_soft(self, X: Any, targets: NDArray[np.floating[Any]], *, classes: int, seed: int) -> Any:
        """Train a clone on shares of the classes (n, classes): each record once for each class, weighed by its share.

        Shares below 1e-3 are left out. An estimator that takes no weights is trained on the likeliest class.
        """
        if not self.weighs:
            return self.fit(X, targets.argmax(axis=1), classes=classes, seed=seed)
        from sklearn.base import clone

        record, label = np.nonzero(targets > _LEAST_SHARE)
        model = single_threaded(seeded(clone(self.estimator), seed))
        labels, codes = np.unique(label, return_inverse=True)
        model.fit(take_records(X, record), codes, sample_weight=targets[record, label])
        return EstimatorModel(model, classes, tuple(labels.tolist()), coded=True)

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Any:
        """Train a clone on records X and classes y; returns a model with one column per class, seen or not, or of labels."""
        from sklearn.base import clone

        model = single_threaded(seeded(clone(self.estimator), seed))
        if _needs_codes(model):
            classes_seen, codes = np.unique(y, return_inverse=True)
            model.fit(X, codes)
            return EstimatorModel(model, classes, tuple(classes_seen.tolist()), coded=True)
        labels = y if self.classes is None else _as_frames_hold(np.asarray(self.classes))[y]
        model.fit(X, labels)
        return self._model(model, classes)

    def _model(self, fitted: Any, classes: int) -> Any:
        if self.labels_only:
            return LabelModel(fitted, class_columns(fitted.classes_, classes, self.classes))
        return EstimatorModel(fitted, classes, self.classes)


@dataclass(frozen=True)
class EstimatorModel:
    """A fitted estimator whose columns are put in class order; a class it never saw has probability 0.

    ``names`` are the labels it was trained with; or, where it was trained on the codes 0, 1, ... of the classes it saw
    (``coded``), the numbers of those classes. ``learner`` is the name of the estimator where it won over others.
    """

    estimator: Any
    classes: int
    names: tuple[Any, ...] | None = None
    coded: bool = False
    learner: str | None = None

    @property
    def choice(self) -> str | None:
        """The learner that won, or the parameters that a search of scikit-learn (``best_params_``) settled on."""
        steps = getattr(self.estimator, "steps", None)
        best = getattr(steps[-1][1] if steps else self.estimator, "best_params_", None)
        if self.learner is not None or not isinstance(best, dict) or not best:
            return self.learner
        return ", ".join(f"{name} = {value}" for name, value in sorted(best.items()))[:200]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return (n, classes) probabilities."""
        answers = np.asarray(self.estimator.predict_proba(X))  # (n, classes seen)
        if self.coded:
            columns = np.asarray(self.names, dtype=np.int64)
        else:
            columns = class_columns(self.estimator.classes_, self.classes, self.names)
        if len(columns) == self.classes and (columns == np.arange(self.classes)).all():
            return answers
        full = np.zeros((len(answers), self.classes))  # (n, classes)
        full[:, columns] = answers
        return full


@dataclass(frozen=True)
class LabelModel:
    """A fitted estimator that answers labels alone, as class numbers; ``numbers`` are those of its ``classes_``."""

    estimator: Any
    numbers: NDArray[np.int64]

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return (n,) class numbers."""
        place = dict(zip(self.estimator.classes_.tolist(), self.numbers, strict=True))
        return np.array([place[label] for label in np.asarray(self.estimator.predict(X)).tolist()], dtype=np.int64)


def seeded(estimator: Any, seed: int) -> Any:
    """Set every ``random_state`` parameter of an estimator, nested ones too, from the seed; returns the estimator."""
    states = {
        name: child_seed(seed, name)
        for name in sorted(estimator.get_params(deep=True))
        if name == "random_state" or name.endswith("__random_state")
    }
    return estimator.set_params(**states) if states else estimator


def single_threaded(estimator: Any) -> Any:
    """Set every ``n_jobs`` of an estimator to 1, as the engine has a process for each core; returns the estimator.

    None is left to scikit-learn's own estimators, for which it means 1; for others it may mean every core.
    """
    parameters = {"": estimator, **estimator.get_params(deep=True)}
    names = []
    for name, value in parameters.items():
        owner, _, last = name.rpartition("__")
        if last == "n_jobs" and not (value is None and type(parameters[owner]).__module__.startswith("sklearn.")):
            names.append(name)
    return estimator.set_params(**dict.fromkeys(names, 1)) if names else estimator


def _as_frames_hold(names: NDArray[Any]) -> NDArray[Any]:
    """Return names as objects, as columns of data frames are: some estimators, such as self-training, take no other texts."""
    return names.astype(object) if names.dtype.kind == "U" else names


def _needs_codes(estimator: Any) -> bool:
    """Whether it refuses labels other than 0, 1, ... without a gap, as XGBoost does: a shadow may lack a class."""
    steps = getattr(estimator, "steps", None)
    return type(steps[-1][1] if steps else estimator).__module__.startswith("xgboost.")


def describe_parameter(value: Any) -> Any:
    """Return JSON-able content that is equal only for equal parameters, and stable between processes.

    Plain values and estimators stay readable; what else there is, code above all, is a name and a digest.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return describe_parameter(value.item())
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return "replaced by the model's seed"
    if type(value) in (list, tuple):
        return [describe_parameter(item) for item in value]
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {key: describe_parameter(item) for key, item in value.items()}
    if hasattr(value, "get_params") and not isinstance(value, type):
        parameters = value.get_params(deep=False)
        return {
            "class": f"{type(value).__module__}.{type(value).__qualname__}",
            "code": None if type(value).__module__.startswith("sklearn.") else fingerprint(type(value)).sha256,
            **{name: describe_parameter(parameters[name]) for name in sorted(parameters) if name != "random_state"},
        }
    name = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    return [f"{name.__module__}.{name.__qualname__}", fingerprint(value, cloned=True).sha256]


def libraries_of(estimator: Any) -> dict[str, str]:
    """Return versions of the packages of an estimator and its steps; another version may train another model."""
    modules = {type(estimator).__module__.split(".")[0]}
    for value in estimator.get_params(deep=True).values():
        if hasattr(value, "get_params"):
            modules.add(type(value).__module__.split(".")[0])
    packages = {"numpy", "scipy", "scikit-learn"} | (modules - {"sklearn", "__main__", "builtins"})
    versions = {package: package_version(package) for package in sorted(packages)}
    return {package: version for package, version in versions.items() if version is not None}
