"""Any training function as a recipe: ``train(X, y, seed) -> model``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import PlanError
from miaudit.files import sha256_of
from miaudit.recipes.fingerprint import Fingerprint, fingerprint
from miaudit.recipes.recipe import on_device

_OFFERED = ("classes", "device")  # given to a function that has a parameter of this name


@dataclass(frozen=True)
class TrainingRecipe:
    """Train by calling a function.

    numpy's, Python's and torch's global generators are seeded from the model's seed around every call, and put back. A function
    of a file or module trains in worker processes; one of a script or notebook cell trains in this process.

    Parameters
    ----------
    train
        ``train(X, y, seed)``: records in the form they were given in (a frame, an array, texts as an array of objects), (n,)
        class numbers from 0 (of a regression: numbers to predict), and a whole number. It returns the trained model: what
        `miaudit.audit` takes as a target, such as an object with ``predict_proba``, a torch module, or a function from
        records to answers; or a pair ``(model, predict)``. If it has parameters ``classes`` or ``device``, it is given the
        number of classes, and this recipe's ``device``.
    predict
        ``predict(model, X)`` returns what the model answers: probabilities, logits, scores or labels, as for a target.
    files
        Further files that decide the model, such as first weights or a configuration; another content trains anew.
    device
        "cuda", or "cuda:1", where the function trains on an NVIDIA GPU: then one process trains, not one per core.

    Raises
    ------
    PlanError
        If a function cannot be called so, or a file is not there.
    """

    train: Callable[..., Any]
    predict: Callable[[Any, Any], Any] | None = None
    files: tuple[str | PathLike[str], ...] = ()
    device: str = "cpu"

    def __post_init__(self) -> None:
        files = (self.files,) if isinstance(self.files, str | PathLike) else self.files
        object.__setattr__(self, "files", tuple(fspath(file) for file in files))
        problems = [("files", f"there is no file {file}") for file in self.files if not Path(file).is_file()]
        if not takes(self.train, None, None, 0):
            problems.append(("train", f"{_shown(self.train)}; it is called as train(X, y, seed)"))
        if self.predict is not None and not takes(self.predict, None, None):
            problems.append(("predict", f"{_shown(self.predict)}; it is called as predict(model, X)"))
        if problems:
            raise PlanError(problems)

    @property
    def name(self) -> str:
        """Name of the function."""
        return f"function {_name(self.train)}"

    def describe(self) -> dict[str, Any]:
        """Return the functions' names, and the hashes of the files; their code is in `fingerprint`."""
        return {
            "recipe": "training function",
            "version": 1,
            "train": _name(self.train),
            "predict": None if self.predict is None else _name(self.predict),
            "files": {Path(file).name: sha256_of(Path(file)) for file in self.files},
            **({} if self.device == "cpu" else {"device": "cuda"}),
        }

    def fingerprint(self) -> Fingerprint:
        """Return what decides the functions: all code that they reach, and the versions of the packages it uses."""
        return fingerprint((self.train, self.predict))

    def placed(self, device: str, dtype: str | None) -> TrainingRecipe:
        """Return the recipe on a device.

        Raises
        ------
        PlanError
            If a type of numbers is asked for: that is the function's own.
        """
        return on_device(self, device, dtype)

    def fit(self, X: Any, y: NDArray[Any], *, classes: int, seed: int) -> Any:
        """Return the model that the function trains, or a function from records to its answers.

        Raises
        ------
        PlanError
            If it returns nothing, or beside the model a function that does not take it and records.
        """
        offered = {"classes": classes, "device": self.device}
        model, predict = self.train(X, y, seed, **{key: offered[key] for key in _wanted(self.train)}), self.predict
        if isinstance(model, tuple) and len(model) == 2 and callable(model[1]):
            model, predict = model
            if getattr(predict, "__self__", None) is model or not takes(predict, model, X):
                raise PlanError(
                    f"{self.name} returned a pair (model, predict), and {_shown(predict)}: it is called as predict(model, X). "
                    "A function of the records alone is returned by itself"
                )
        if model is None:
            raise PlanError(f"{self.name} returned nothing; let it return the trained model")
        return model if predict is None else Answering(model, predict, classes)


@dataclass(frozen=True, eq=False)
class Answering:
    """A trained model with the function that asks it.

    Of a model whose ``classes_`` say that it saw fewer classes, answers without columns for the others get them.
    """

    model: Any
    ask: Callable[[Any, Any], Any]  # of any name but predict, which a target would call
    classes: int

    def __call__(self, X: Any) -> Any:
        """Return the model's answers to records."""
        answers, codes = self.ask(self.model, X), getattr(self.model, "classes_", None)
        if codes is None or len(codes) == self.classes or np.shape(answers)[1:] != (len(codes),):
            return answers
        numbers = np.asarray(answers)
        least = 0.0 if numbers.min(initial=0.0) >= 0 else numbers.min() - 100.0  # of logits, an improbable class
        full = np.full((len(numbers), self.classes), least)  # (n, classes)
        full[:, np.asarray(codes, dtype=np.int64)] = numbers
        return full


def takes(function: Any, *arguments: Any) -> bool:
    """Whether a thing can be called with these arguments, as far as its signature tells."""
    if not callable(function) or isinstance(function, type):
        return False
    try:
        offered = dict.fromkeys(_wanted(function)) if len(arguments) == 3 else {}
        inspect.signature(function).bind(*arguments, **offered)
    except TypeError:
        return False
    except ValueError:  # no signature to be had
        return True
    return True


def _wanted(function: Callable[..., Any]) -> list[str]:
    """Return which of the further values a function has a parameter for, beside the first three."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        return []
    keywords = [each.name for each in parameters if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)]
    first = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)][:3]
    return [name for name in _OFFERED if name in keywords and name not in first]


def _name(function: Any) -> str:
    inner = getattr(function, "func", function)  # of a partial
    return str(getattr(inner, "__qualname__", type(inner).__name__))


def _shown(function: Any) -> str:
    if not callable(function) or isinstance(function, type):
        return f"got {type(function).__name__} {function!r:.60}, which is no function"
    return f"{_name(function)}{inspect.signature(function)} does not take that"
