"""Parameters that scikit-learn checks only when it fits: checked before any record is read and any model trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from miaudit.errors import PlanError, reason_of

_COMBINED = frozenset({"LinearSVC", "LogisticRegression", "MLPClassifier", "Perceptron", "SGDClassifier"})
"""Whose parameters contradict each other (solver and penalty) or are looked into late (layers), and name no column."""

_TRIALS = ((60, 2), (90, 3))  # records and classes of the trial fits
_SHORT = {"max_iter": 1, "n_jobs": 1, "verbose": 0}


def refuse_parameters(estimator: Any) -> None:
    """Refuse an estimator of scikit-learn, alone or in a pipeline, that no record could be fitted with.

    Each of its estimators is fitted on nothing, which scikit-learn answers by what is wrong with a single parameter before
    it looks at the records. Linear models and networks are then fitted, for one iteration, on two sets of made-up
    records: what they say of both in the same words is about their parameters together, not about records. Others may
    name columns or classes that these lack. Estimators of other libraries are left alone: nothing is known of what they
    do when they are fitted, but that XGBoost and LightGBM cannot stop early without records to validate on, which clones
    are not given.

    Raises
    ------
    PlanError
        With scikit-learn's words, or where it takes records as dictionaries.
    """
    refuse_dictionaries(estimator)
    for each in _estimators(estimator):
        problem = _of_one(each) or _together(each)
        if problem:
            raise PlanError(f"{type(each).__name__} cannot be trained: {problem}")
    for each in _estimators(estimator, ("xgboost.", "lightgbm.")):
        _refuse_early_stopping(each)


def refuse_dictionaries(estimator: Any) -> None:
    """Refuse a pipeline that takes each record as a dictionary, as one that begins with a `DictVectorizer`: records are rows.

    Raises
    ------
    PlanError
        With the step to put in front, which needs no training.
    """
    first = estimator
    while isinstance(steps := getattr(first, "steps", None), list) and steps:
        first = steps[0][1]
    hashes = type(first).__name__ == "FeatureHasher" and getattr(first, "input_type", None) == "dict"
    if not type(first).__module__.startswith("sklearn.feature_extraction.") or not (
        hashes or type(first).__name__ == "DictVectorizer"
    ):
        return
    raise PlanError(
        f"the model begins with {type(first).__name__}, which takes each record as a dictionary, and models are handed "
        'the rows of a table: with records(X) of your own that returns X.to_dict("records"), audit Pipeline([("records", '
        "FunctionTransformer(records)), *model.steps]), whose steps stay as they were trained, and give tables as "
        "pandas.DataFrame"
    )


def refuse_untold(estimator: Any) -> None:
    """Refuse an estimator that does not say what its parameters are, or whose parts do not: no model like it can be made.

    Raises
    ------
    PlanError
        With what it raised.
    """
    try:
        estimator.get_params(deep=True)
    except Exception as error:
        raise PlanError(
            f"{type(estimator).__name__} does not say how to train another like it: its get_params fails "
            f"({reason_of(error)}). Let __init__ name each parameter and keep it as it is, under its own name "
            "(self.depth = depth), or give a function train(X, y, seed) -> model as the recipe"
        ) from error


def by_class_numbers(estimator: Any, names: Sequence[str]) -> Any:
    """Return an estimator that is trained on class numbers, its weights of classes given by the names that a plan has for them.

    Keys that are no texts, as of a default in code, are class numbers as they are.

    Raises
    ------
    PlanError
        If a weight is given to what is no class.
    """
    numbers: dict[Any, int] = {name: number for number, name in enumerate(names)}
    changes = {}
    for key, value in estimator.get_params(deep=True).items():
        if key.rsplit("__", 1)[-1] == "class_weight" and isinstance(value, Mapping):
            strange = [name for name in value if name not in (numbers if isinstance(name, str) else numbers.values())]
            if strange:
                raise PlanError(f"{key} names {strange[0]!r}, which is no class; the classes are {list(names)[:10]}")
            changes[key] = {numbers.get(name, name): weight for name, weight in value.items()}
    return estimator.set_params(**changes) if changes else estimator


def frozen_parts(estimator: Any) -> tuple[list[str], list[str]]:
    """Return the names of predictors, and of other parts of an estimator, that its clones keep as they were fitted.

    Of scikit-learn's own that is `FrozenEstimator`.
    """
    predictors: list[str] = []
    others: list[str] = []
    if not hasattr(estimator, "get_params"):
        return predictors, others
    from sklearn.base import BaseEstimator, is_classifier, is_regressor

    for each in (estimator, *estimator.get_params(deep=True).values()):
        way = getattr(type(each), "__sklearn_clone__", BaseEstimator.__sklearn_clone__)
        if way is not BaseEstimator.__sklearn_clone__ and each.__sklearn_clone__() is each:
            within = type(getattr(each, "estimator", each)).__name__
            (predictors if is_classifier(each) or is_regressor(each) else others).append(within)
    return predictors, others


def _refuse_early_stopping(booster: Any) -> None:
    options = booster.get_params(deep=False)
    rounds_of = ("early_stopping_rounds", "early_stopping_round", "n_iter_no_change", "early_stopping")
    counts = {each: options.get(each) for each in rounds_of}
    callbacks = options.get("callbacks")
    for each in callbacks if isinstance(callbacks, list | tuple) else ():
        if any(base.__name__ == "EarlyStopping" for base in type(each).__mro__):
            counts["callbacks=[EarlyStopping(...)], rounds"] = getattr(each, "rounds", 1)
    name = next((key for key, count in counts.items() if isinstance(count, int | np.integer) and count > 0), None)
    if name is None:
        return
    kind = type(booster).__name__
    try:
        best = booster.best_iteration + 1 if kind.startswith("XGB") else booster.best_iteration_
    except Exception:  # not fitted
        best = None
    option = name.partition("=")[0]
    rounds = "as many rounds as the target kept" if not best else f"{best} rounds, which the target kept"
    raise PlanError(
        f"{kind} stops early ({name} = {counts[name]}), for which it needs validation records, and models are trained here "
        f"without any: give as the recipe one that trains {rounds} (n_estimators) and has {option} = None, or a function "
        "train(X, y, seed) -> model that sets some of its records apart"
    )


def _estimators(estimator: Any, modules: tuple[str, ...] = ("sklearn.",)) -> Iterator[Any]:
    """Yield an estimator and those inside it, unfitted, where they are of these modules: by default scikit-learn's own."""
    inside = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ()
    for each in (estimator, *inside):
        own = type(each).__module__.startswith(modules) and not isinstance(each, type)
        if own and hasattr(each, "fit") and hasattr(each, "get_params"):
            yield each


def _of_one(estimator: Any) -> str | None:
    """Return what is wrong with a single parameter."""
    if hasattr(estimator, "steps"):  # a pipeline, whose steps come by themselves
        return None
    return _words(estimator, None, None, kind="InvalidParameterError")


def _together(estimator: Any) -> str | None:
    """Return what a linear model or a network says of its parameters whatever the records."""
    parameters = estimator.get_params(deep=False)
    if type(estimator).__name__ not in _COMBINED or isinstance(parameters.get("class_weight"), dict):
        return None
    short = {name: value for name, value in _SHORT.items() if name in parameters}
    rng, words = np.random.default_rng(0), set()
    for n, classes in _TRIALS:
        X, y = rng.integers(0, 3, (n, 4)).astype(np.float64), np.arange(n) % classes
        words.add(_words(estimator, X, y, kind="ValueError", **short))
    return words.pop() if len(words) == 1 else None


def _words(estimator: Any, X: Any, y: Any, *, kind: str, **changes: Any) -> str | None:
    from sklearn.base import clone

    try:
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")
            clone(estimator).set_params(**changes).fit(X, y)
    except Exception as error:
        return " ".join(str(error).split()) if type(error).__name__ == kind else None
    return None
