"""Boosted trees in the own files of XGBoost (JSON, UBJSON) and LightGBM (text), which hold no code (extra ``boosting``)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import densified, kind_of
from miaudit.errors import PlanError
from miaudit.evidence.answers import Hint
from miaudit.libraries import require

_SECOND = ("binary:logistic", "binary")
_EACH = ("multi:softprob", "multiclass", "multiclassova")
_LABEL = ("multi:softmax",)


def xgboost_file(path: Path) -> BoostedFile:
    """Return the classifier in a file that ``save_model`` of XGBoost wrote.

    Raises
    ------
    PlanError
        If xgboost is missing, cannot read the file, or the model is no classifier that answers probabilities or labels.
    """
    xgboost = require("xgboost", extra="boosting", what=f"the XGBoost file {path}")
    try:
        booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(path.read_bytes()))
        objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    except Exception as error:
        raise PlanError(f"{path} cannot be read as an XGBoost model: {_first_line(error)}") from error
    booster.set_param({"nthread": 1})

    def ask(X: Any) -> NDArray[Any]:
        if kind_of(X) == "pandas":
            matrix = xgboost.DMatrix(X, enable_categorical=True, nthread=1)
            return np.asarray(booster.predict(matrix))
        return np.asarray(booster.predict(xgboost.DMatrix(densified(X), nthread=1), validate_features=False))

    return BoostedFile(ask, objective, int(booster.num_features()), path, "XGBoost")


def lightgbm_file(path: Path) -> BoostedFile:
    """Return the classifier in a file that ``save_model`` of a LightGBM booster wrote.

    Raises
    ------
    PlanError
        As of `xgboost_file`.
    """
    lightgbm = require("lightgbm", extra="boosting", what=f"the LightGBM file {path}")
    try:
        text = path.read_text(encoding="utf-8")
        if "\nend of trees\n" not in text:  # LightGBM ends the process where a tree is cut in two
            raise PlanError(
                f"{path} cannot be read as a LightGBM model: it is cut off, for it has no line 'end of trees'; copy it again"
            )
        booster = lightgbm.Booster(model_str=text)
    except PlanError:
        raise
    except Exception as error:
        raise PlanError(f"{path} cannot be read as a LightGBM model: {_first_line(error)}") from error
    objective = re.search(r"^objective=(\S+)", text, re.MULTILINE)

    def ask(X: Any) -> NDArray[Any]:
        records = X if kind_of(X) == "pandas" else densified(X)
        return np.asarray(booster.predict(records, num_threads=1))

    name = "none" if objective is None else objective[1]
    return BoostedFile(ask, name, int(booster.num_feature()), path, "LightGBM")


class BoostedFile:
    """Boosted trees from a file: what they answer is told by their objective."""

    def __init__(self, ask: Any, objective: str, width: int, path: Path, library: str) -> None:
        if objective not in (*_SECOND, *_EACH, *_LABEL):
            raise PlanError(
                f"{path} holds a model of {library} with the objective {objective}, and an audit of a file is of classifiers: "
                f"{', '.join((*_SECOND, *_EACH, *_LABEL))}. Give others as a function from records to answers"
            )
        self._ask, self._objective = ask, objective
        self.n_features_in_ = width
        self.__name__ = f"{library} model"
        labels = objective in _LABEL
        self.hint = Hint("labels" if labels else "probabilities", f"its objective is {objective}", sure=True)

    def answer(self, X: Any) -> NDArray[Any]:
        """Return (n, classes) probabilities, or (n,) class numbers where the objective answers these."""
        answers: NDArray[Any] = self._ask(X)
        if self._objective in _LABEL:
            return answers.astype(np.int64)
        return np.column_stack([1.0 - answers, answers]) if answers.ndim == 1 else answers


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
