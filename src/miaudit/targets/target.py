"""Target: what can be asked of the model under audit, with every answer checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import n_records, take_records
from miaudit.errors import DataError, PlanError, TargetError

Kind = Literal["probabilities", "logits", "topk", "labels"]

BATCH = 20_000
"""Records per question to an in-process model; bounds the memory of one answer."""

SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from summing to one."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """A model's answers to n records."""

    values: NDArray[np.floating[Any]]  # (n, classes)
    kind: Kind = "probabilities"


class Target:
    """A model behind a function, its answers checked and its queries counted.

    Parameters
    ----------
    ask
        Answers records with (n, columns) probabilities.
    classes
        Number of classes of the data.
    columns
        The class of each column of the answer; None if column j is class j.
    width
        Number of features the model says it was trained on, if it says so.
    description
        What to call it in a report.
    """

    def __init__(
        self,
        ask: Callable[[Any], Any],
        *,
        classes: int,
        columns: NDArray[np.int64] | None = None,
        width: int | None = None,
        description: str = "model",
    ) -> None:
        self._ask = ask
        self._columns = columns
        self.classes = classes
        self.width = width
        self.description = description
        self.queries = 0

    def query(self, X: Any) -> Outputs:
        """Return the target's (n, classes) probabilities on n records.

        Raises
        ------
        DataError
            If the records have another width than the target was trained on.
        TargetError
            If the target fails, or its answer has the wrong shape, is not finite, is negative, or does not sum to one.
        """
        shape = getattr(X, "shape", None)
        if self.width is not None and shape is not None and len(shape) == 2 and shape[1] != self.width:
            raise DataError(
                f"the target was trained on {self.width} features, the records have {shape[1]}; give the records in "
                "the form the model was trained on"
            )
        n = n_records(X)
        parts = []
        for start in range(0, n, BATCH):
            part = X if n <= BATCH else take_records(X, np.arange(start, min(start + BATCH, n)))
            parts.append(self._answer(part, start))
        return Outputs(np.concatenate(parts) if parts else np.empty((0, self.classes)))

    def _answer(self, X: Any, start: int) -> NDArray[np.floating[Any]]:
        n = n_records(X)
        self.queries += n
        try:
            answer = np.asarray(self._ask(X))  # (n, columns)
        except Exception as error:
            raise TargetError(
                f"the target failed on records {start} to {start + n - 1}: {type(error).__name__}: {error}; check that "
                "the records have the form the model was trained on"
            ) from error
        width = self.classes if self._columns is None else len(self._columns)
        if answer.ndim == 2 and answer.shape[0] != n:
            raise TargetError(
                f"the target was asked about {n} records and answered {answer.shape[0]}; it must answer all"
            )
        if answer.shape != (n, width):
            raise TargetError(
                f"the target answered {n} records with shape {answer.shape}; expected ({n}, {width}): one probability "
                "per class. A model that only answers labels cannot be audited through probabilities"
            )
        if answer.dtype.kind not in "fiu":
            raise TargetError(f"the target answered values of type {answer.dtype}; expected numbers")
        return self._checked(answer, start)

    def _checked(self, answer: NDArray[Any], start: int) -> NDArray[np.floating[Any]]:
        if not np.isfinite(answer).all():
            row = int(np.flatnonzero(~np.isfinite(answer).all(axis=1))[0])
            raise TargetError(f"the target's answer to record {start + row} is {answer[row][:5]}: not finite")
        sums = answer.sum(axis=1, dtype=np.float64)  # (n,)
        wrong = (np.abs(sums - 1) > SUM_TOLERANCE) | (answer.min(axis=1) < -SUM_TOLERANCE)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise TargetError(
                f"the target's answers are not probabilities: {int(wrong.sum())} of {len(answer)} rows do not sum to "
                f"one (within {SUM_TOLERANCE}) or are negative; record {start + row} gets {np.round(answer[row][:5], 4)}, "
                f"summing to {sums[row]:.4f}. If these are logits, put a softmax after the model"
            )
        if self._columns is None:
            return answer
        full = np.zeros((len(answer), self.classes), dtype=answer.dtype)  # (n, classes)
        full[:, self._columns] = answer
        return full


def as_target(
    model: Any, *, classes: int, names: tuple[Any, ...] | None = None, description: str | None = None
) -> Target:
    """Return a Target around a trained model.

    Parameters
    ----------
    model
        An object with ``predict_proba``, a torch module (its output is put through a softmax unless it already sums to
        one), or a function from records to probabilities.
    classes
        Number of classes of the data.
    names
        Class names in order, matched with the model's ``classes_`` where it has one.

    Raises
    ------
    PlanError
        If the object is none of these, is not fitted, or knows classes the data does not have.
    """
    if isinstance(model, Target):
        return model
    if isinstance(model, type):
        raise PlanError(f"the target is the class {model.__name__}, not a trained model; create and train it first")
    name = description or _name(model)
    if hasattr(model, "predict_proba"):
        seen = _classes_seen(model)
        columns = None if seen is None else class_columns(seen, classes, names)
        width = getattr(model, "n_features_in_", None)
        return Target(
            model.predict_proba,
            classes=classes,
            columns=columns,
            width=width if isinstance(width, int) else None,
            description=name,
        )
    if _is_torch_module(model):
        return Target(_softmaxed(model), classes=classes, description=name)
    if hasattr(model, "predict"):
        raise PlanError(
            f"{name} answers labels only (predict, no predict_proba); this audit reads probabilities. Wrap it in "
            "sklearn.calibration.CalibratedClassifierCV, or give a function that returns probabilities"
        )
    if callable(model):
        return Target(model, classes=classes, description=name)
    raise PlanError(
        f"the target is a {type(model).__name__}; expected an object with predict_proba, a torch module, or a function "
        "from records to probabilities"
    )


def class_columns(seen: Any, classes: int, names: tuple[Any, ...] | None) -> NDArray[np.int64]:
    """Return the class number of each of a model's columns.

    ``seen`` is the model's ``classes_``; its labels may be class names or class numbers.

    Raises
    ------
    PlanError
        If a label of the model is not a class of the data.
    """
    seen = [str(label) for label in np.asarray(seen).tolist()]
    by_name = {str(label): i for i, label in enumerate(names or range(classes))}
    by_number = {str(i): i for i in range(classes)}
    for number in (by_name, by_number):
        if all(label in number for label in seen):
            return np.array([number[label] for label in seen], dtype=np.int64)
    unknown = [label for label in seen if label not in by_name]
    raise PlanError(
        f"the model knows classes the data does not have: {unknown[:5]}; the data's {classes} classes are "
        f"{list(by_name)[:10]}{'...' if classes > 10 else ''}"
    )


def _classes_seen(model: Any) -> Any:
    try:
        return model.classes_
    except AttributeError:
        pass
    if hasattr(model, "get_params"):  # scikit-learn's own, so classes_ appears with fit
        raise PlanError(f"the target {_name(model)} is not fitted: train it before the audit, or give a plan that does")
    return None


def _name(model: Any) -> str:
    steps = getattr(model, "steps", None)
    if isinstance(steps, list) and steps:
        return " -> ".join(type(step).__name__ for _, step in steps)
    return getattr(model, "__name__", None) or type(model).__name__


def _is_torch_module(model: Any) -> bool:
    return any(base.__module__.startswith("torch.nn") for base in type(model).__mro__)


def _softmaxed(module: Any) -> Callable[[Any], NDArray[np.float64]]:
    def ask(X: Any) -> NDArray[np.float64]:
        import torch

        was_training = module.training
        module.eval()
        try:
            with torch.no_grad():
                first = next(module.parameters(), torch.zeros(1))
                dense = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
                inputs = torch.as_tensor(dense, device=first.device)
                answer = module(inputs.to(first.dtype)).double().cpu()
                sums_to_one = bool((answer >= 0).all() and ((answer.sum(dim=1) - 1).abs() < SUM_TOLERANCE).all())
                values: NDArray[np.float64] = (answer if sums_to_one else torch.softmax(answer, dim=1)).numpy()
                return values
        finally:
            module.train(was_training)

    return ask
