"""Estimators that a plan may name without further consent: classes of listed packages, with parameters that are values.

An import runs a package's code, and a call runs whatever is called. So a path is looked at before its package is imported,
and the class before it is called.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from miaudit.errors import PlanError, reason_of

LISTED = {"sklearn": "sklearn", "xgboost": "xgboost.sklearn", "lightgbm": "lightgbm.sklearn"}
"""Packages, and the module in or below which their estimators are defined."""

_NOT_IMPORTED = frozenset({"externals", "tests", "conftest", "utils", "experimental", "datasets"})
"""Parts of scikit-learn that define no estimator for users; some import further packages."""

_LIGHTGBM_WORDS = (
    "verbose verbosity metric max_bin min_data_in_bin bin_construct_sample_cnt max_cat_threshold cat_l2 cat_smooth "
    "max_cat_to_onehot feature_fraction feature_fraction_bynode feature_fraction_seed bagging_fraction bagging_freq "
    "bagging_seed pos_bagging_fraction neg_bagging_fraction min_data_in_leaf min_sum_hessian_in_leaf min_gain_to_split "
    "lambda_l1 lambda_l2 linear_lambda linear_tree path_smooth extra_trees extra_seed drop_rate max_drop skip_drop "
    "uniform_drop xgboost_dart_mode drop_seed top_rate other_rate data_sample_strategy monotone_constraints "
    "max_delta_step is_unbalance scale_pos_weight sigmoid boost_from_average num_class num_iterations num_threads seed "
    "deterministic force_col_wise force_row_wise histogram_pool_size device_type early_stopping_round use_missing "
    "zero_as_missing enable_bundle feature_pre_filter tree_learner"
)
_FURTHER = {"lightgbm": frozenset(_LIGHTGBM_WORDS.split()), "xgboost": frozenset(("eta", "alpha", "lambda", "seed"))}
"""Parameters that a class passes on to its library unread, and that name no file, host or callback."""

_REACHES_OUT = {
    "memory": "names a folder of pickles, which are read",
    "pre_dispatch": "is an expression, which is evaluated",
}


def made_estimator(path: str, params: dict[str, Any], *, allow_code: bool = False) -> Any:
    """Return an instance of the class at an import path.

    Raises
    ------
    PlanError
        If there is no such class of estimators, it needs consent, or it refuses a parameter.
    """
    cls = estimator_class(path, allow_code=allow_code)
    if not allow_code:
        _check_params(path, cls, params)
    params = {key: tuple(value) if isinstance(value, list) else value for key, value in params.items()}
    if cls.__module__.startswith("sklearn."):
        _refuse_nested(path, params)
    try:
        estimator = cls(**params)
        estimator.get_params()
        getattr(estimator, "__sklearn_tags__", lambda: None)()  # asks the estimators inside
        hasattr(estimator, "predict_proba")
    except (Exception, SystemExit) as error:
        raise PlanError(f"{path} refuses its parameters {params}: {reason_of(error)}") from error
    return estimator


def _refuse_nested(path: str, params: dict[str, Any]) -> None:
    """Refuse texts, or other values, where a class takes estimators: a plan has no form for one inside another."""
    for name, value in params.items():
        one = name in ("estimator", "base_estimator", "final_estimator") and value is not None
        if one or (name in ("estimators", "steps", "transformers", "transformer_list") and not _are_words(value)):
            raise PlanError(
                f"{path}: the parameter {name} is {value!r:.80}, and takes estimators, which a plan cannot put inside another; "
                "transformers go before it in recipe.steps, and any other is made by a function of yours: "
                'recipe.function = "file.py:function", with --allow-code (in Python, allow_code=True)'
            )


def _are_words(entries: Any) -> bool:
    """Whether each entry has, in place of an estimator, one of the two words that scikit-learn takes there."""
    words = ("drop", "passthrough")
    return isinstance(entries, tuple) and all(isinstance(e, list) and len(e) > 1 and e[1] in words for e in entries)


def estimator_class(path: str, *, allow_code: bool = False) -> type:
    """Return the class of estimators at an import path, without calling it.

    Raises
    ------
    PlanError
        If the path leads to none, or to a package outside the list without ``allow_code``; that is not imported then.
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise PlanError(f"{path!r} is no import path; write it whole, as in sklearn.ensemble.RandomForestClassifier")
    package = parts[0]
    if not allow_code and not _may_be_imported(parts[:-1]):
        raise PlanError(
            f"{path} is not on the list of what a plan may import (estimators of {', '.join(LISTED)}), and an import runs "
            "code; if you trust this plan, run with --allow-code (in Python, allow_code=True)"
        )
    try:
        thing = getattr(importlib.import_module(".".join(parts[:-1])), parts[-1])
    except (ImportError, AttributeError) as error:
        raise PlanError(f"{path} cannot be imported: {error}; check its spelling, or install its package") from error
    except (Exception, SystemExit) as error:
        raise PlanError(f"{path} cannot be imported: its package fails with {reason_of(error)}") from error
    methods = ("fit", "get_params", "set_params")
    if not (isinstance(thing, type) and all(callable(getattr(thing, method, None)) for method in methods)):
        raise PlanError(
            f"{path} is no class of estimators (one with fit, get_params and set_params), so it is not called"
        )
    if not allow_code and not _is_listed(thing, LISTED[package]):
        raise PlanError(
            f"{path} is {thing.__module__}.{thing.__qualname__}, which is no estimator of {package}; if you trust this plan, "
            "run with --allow-code (in Python, allow_code=True)"
        )
    return thing


def _may_be_imported(module: list[str]) -> bool:
    if module[0] not in LISTED:
        return False
    if module[0] == "sklearn":
        return not _NOT_IMPORTED & set(module)
    return ".".join(module) in (module[0], LISTED[module[0]])  # other parts of these import clusters


def _is_listed(cls: type, module: str) -> bool:
    from sklearn.base import BaseEstimator

    return issubclass(cls, BaseEstimator) and f"{cls.__module__}.".startswith(f"{module}.")


def _check_params(path: str, cls: type, params: dict[str, Any]) -> None:
    """Refuse parameters by which an estimator would read files, evaluate text, or hand on what it does not know."""
    problems = [f"{name} {_REACHES_OUT[name]}" for name in params if name in _REACHES_OUT]
    if str(params.get("input", "content")) != "content":
        problems.append(f"input = {params['input']!r} has it open the files that records name")
    parameters = _signature(cls)
    if parameters is not None:
        further = _FURTHER.get(cls.__module__.split(".")[0], frozenset())
        problems += [f"{name} is passed on unread" for name in params if name not in parameters | further]
    if problems:
        raise PlanError(
            f"{path}: {'; '.join(problems)}; leave it out, or, if you trust this plan, run with --allow-code (in Python, "
            "allow_code=True)"
        )


def _signature(cls: type) -> set[str] | None:
    """Return the parameters a class and its bases name, if it takes others too; None if the class refuses others."""
    names, open_ended = set(), False
    for of in cls.__mro__:
        if "__init__" not in vars(of) or of is object:
            continue
        parameters = inspect.signature(of.__init__).parameters.values()  # type: ignore[misc]
        names |= {each.name for each in parameters if each.kind is not each.VAR_KEYWORD} - {"self"}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
        open_ended = True
    return names if open_ended else None
