"""Target: what can be asked of the model under audit, with every answer checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import n_records, take_records
from miaudit.errors import DataError, PlanError, TargetError
from miaudit.evidence import Capability

Kind = Literal["probabilities", "logits", "topk", "labels"]

BATCH = 20_000
"""Records per question to an in-process model; bounds the memory of one answer."""

SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from summing to one, beyond what its rounding explains."""

ROUNDED = 4
"""Answers with at most so many decimals are called rounded: many of them tie."""

_MOST_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Outputs:
    """A model's answers to n records.

    ``values`` are (n, classes) numbers, or for labels (n,) class numbers. Of the top k, the classes that were not
    answered are 0 and rows need not sum to one.
    """

    values: NDArray[Any]  # (n, classes), or (n,) int64 for labels
    kind: Kind = "probabilities"
    classes: int | None = None  # for labels, of which values cannot tell

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) predicted classes; the first of those that tie."""
        if self.kind == "labels":
            return self.values
        answer: NDArray[np.int64] = self.values.argmax(axis=1)
        return answer

    @property
    def probabilities(self) -> NDArray[np.floating[Any]]:
        """(n, classes): logits through a softmax, labels as ones and zeros, all else as answered."""
        if self.kind == "labels":
            one_hot = np.zeros((len(self.values), self.classes or 0), dtype=np.float32)
            one_hot[np.arange(len(self.values)), self.values] = 1
            return one_hot
        if self.kind == "logits":
            powers = np.exp(self.values - self.values.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        return self.values


class Target:
    """A model behind a function, its answers checked and its queries counted.

    Parameters
    ----------
    ask
        Answers records with (n, columns) numbers, or with (n,) labels.
    classes
        Number of classes of the data.
    columns
        The class of each column of the answer; None if column j is class j.
    names
        Class names in order, to tell labels by; labels may also be class numbers.
    width
        Number of features the model says it was trained on, if it says so.
    description
        What to call it in a report.
    kind
        What it answers; None: told by its first answer, which is then never taken for logits.

    Attributes
    ----------
    queries
        Records it was asked about.
    kind
        What it answers; None before the first answer, unless given.
    decimals
        Most decimals seen in its probabilities; None if there are more than six, or none seen yet.
    """

    def __init__(
        self,
        ask: Callable[[Any], Any],
        *,
        classes: int,
        columns: NDArray[np.int64] | None = None,
        names: tuple[Any, ...] | None = None,
        width: int | None = None,
        description: str = "model",
        kind: Kind | None = None,
    ) -> None:
        self._ask = ask
        self._columns = columns
        self._names = names
        self._decimals = -1  # most seen; _MOST_DECIMALS + 1 stands for more
        self.classes = classes
        self.width = width
        self.description = description
        self.kind = kind
        self.queries = 0
        self.batch_size = BATCH
        self._declared = kind is not None

    @property
    def decimals(self) -> int | None:
        """Most decimals seen in its probabilities; None if there are more than six, or none seen yet."""
        return self._decimals if 0 <= self._decimals <= _MOST_DECIMALS else None

    @property
    def capability(self) -> Capability:
        """What can be attacked with; of a target not asked yet and not declared, probabilities."""
        if self.kind in (None, "probabilities"):
            return "rounded" if self.decimals is not None and self.decimals <= ROUNDED else "probabilities"
        return self.kind

    def for_classes(self, classes: int, names: tuple[Any, ...] | None = None) -> Target:
        """Return this target for data of such classes.

        Raises
        ------
        PlanError
            If it was made for another number of them.
        """
        if classes != self.classes:
            raise PlanError(f"the target was made for {self.classes} classes, the data has {classes}")
        return self

    def _saw_decimals(self, decimals: int | None) -> None:
        """Take note of decimals seen before; None is more than six."""
        self._decimals = max(self._decimals, _MOST_DECIMALS + 1 if decimals is None else decimals)

    def query(self, X: Any) -> Outputs:
        """Return the target's answers to n records.

        Returns
        -------
        Outputs
            (n, classes) probabilities, logits, or probabilities of the top k; or (n,) labels: as it answers.

        Raises
        ------
        DataError
            If the records have another width than the target was trained on.
        TargetError
            If the target fails, or its answer has the wrong shape, is not finite, or is not what it first answered
            (probabilities are not negative and sum to one; labels are classes of the data).
        """
        shape = getattr(X, "shape", None)
        if self.width is not None and shape is not None and len(shape) == 2 and shape[1] != self.width:
            raise DataError(
                f"the target was trained on {self.width} features, the records have {shape[1]}; give the records in "
                "the form the model was trained on"
            )
        n = n_records(X)
        parts = []
        for start in range(0, n, self.batch_size):
            part = X if n <= self.batch_size else take_records(X, np.arange(start, min(start + self.batch_size, n)))
            parts.append(self._answer(part, start))
        if parts:
            values = np.concatenate(parts)
        else:
            values = np.empty(0, dtype=np.int64) if self.kind == "labels" else np.empty((0, self.classes))
        return Outputs(values, self.kind or "probabilities", self.classes)

    def _answer(self, X: Any, start: int) -> NDArray[Any]:
        n = n_records(X)
        self.queries += n
        try:
            answer = np.asarray(self._ask(X))  # (n, columns), or (n,) labels
        except TargetError:
            raise
        except Exception as error:
            raise TargetError(
                f"the target failed on records {start} to {start + n - 1}: {type(error).__name__}: {error}; check that "
                "the records have the form the model was trained on"
            ) from error
        if answer.ndim in (1, 2) and answer.shape[0] != n:
            raise TargetError(
                f"the target was asked about {n} records and answered {answer.shape[0]}; it must answer all"
            )
        if answer.ndim == 1 and self.kind in (None, "labels"):
            self.kind = "labels"
            return class_numbers(answer, self.classes, self._names, start)
        width = self.classes if self._columns is None else len(self._columns)
        if answer.shape != (n, width):
            raise TargetError(
                f"the target answered {n} records with shape {answer.shape}; expected "
                + (
                    f"({n},): one label per record"
                    if self.kind == "labels"
                    else f"({n}, {width}): one number per class"
                )
            )
        if answer.dtype.kind not in "fiu":
            raise TargetError(f"the target answered values of type {answer.dtype}; expected numbers")
        return self._checked(answer, start)

    def _checked(self, answer: NDArray[Any], start: int) -> NDArray[Any]:
        if not np.isfinite(answer).all():
            row = int(np.flatnonzero(~np.isfinite(answer).all(axis=1))[0])
            raise TargetError(f"the target's answer to record {start + row} is {answer[row][:5]}: not finite")
        if self.kind != "logits":
            self._decimals = count_decimals(answer, self._decimals)
            much, little = _too_much(answer, self.decimals), _too_little(answer, self.decimals)  # (n,)
            if self.kind is None or (self.kind == "probabilities" and not self._declared):
                cut = little.any() and not much.any() and _is_topk(answer)
                self.kind = "topk" if cut else "probabilities"
            wrong = much if self.kind == "topk" else much | little
            if wrong.any():
                raise _refused(answer, wrong, start, self.kind)
        if self._columns is None:
            return answer
        full = np.zeros((len(answer), self.classes), dtype=answer.dtype)  # (n, classes)
        if self.kind == "logits":
            full[:] = answer.min(axis=1, keepdims=True) - 100  # a class the model does not know is improbable
        full[:, self._columns] = answer
        return full


def count_decimals(values: NDArray[Any], least: int = 0) -> int:
    """Return the most decimals of any value, at least ``least``; 7 stands for more than six."""
    values = values[values != np.round(values)]
    tolerance = 1e-7 if values.dtype == np.float32 else 1e-9
    for decimals in range(max(least, 0), _MOST_DECIMALS + 1):
        if (np.abs(values - np.round(values, decimals)) < tolerance).all():
            return decimals
    return _MOST_DECIMALS + 1


def _too_much(answer: NDArray[Any], decimals: int | None) -> NDArray[np.bool_]:
    """(n,) Whether numbers are negative, or sum to more than one whichever way they were rounded."""
    half = 0.0 if decimals is None or decimals > ROUNDED else 0.5 * 10.0**-decimals
    least = np.maximum(answer - half, 0).sum(axis=1, dtype=np.float64)
    much: NDArray[np.bool_] = (least > 1 + SUM_TOLERANCE) | (answer.min(axis=1) < -SUM_TOLERANCE)
    return much


def _too_little(answer: NDArray[Any], decimals: int | None) -> NDArray[np.bool_]:
    """(n,) Whether numbers sum to less than one, whichever way they were rounded or cut off."""
    unit = 0.0 if decimals is None or decimals > ROUNDED else 10.0**-decimals
    little: NDArray[np.bool_] = answer.sum(axis=1, dtype=np.float64) + unit * answer.shape[1] < 1 - SUM_TOLERANCE
    return little


def _is_topk(answer: NDArray[Any]) -> bool:
    """Whether every row has some classes answered and others left out."""
    answered = (answer > 0).sum(axis=1)  # (n,)
    return bool(answered.min() > 0 and answered.max() < answer.shape[1])


def _refused(answer: NDArray[Any], wrong: NDArray[np.bool_], start: int, kind: Kind) -> TargetError:
    row = int(np.flatnonzero(wrong)[0])
    rule = "sum to more than one" if kind == "topk" else f"do not sum to one (within {SUM_TOLERANCE})"
    return TargetError(
        f"the target's answers are not probabilities: {int(wrong.sum())} of {len(answer)} rows {rule} or are negative; "
        f"record {start + row} gets {np.round(answer[row][:5], 4)}, summing to "
        f"{answer[row].sum(dtype=np.float64):.4f}. If these are logits, put a softmax after the model"
    )


def class_numbers(
    labels: NDArray[Any], classes: int, names: tuple[Any, ...] | None, start: int = 0
) -> NDArray[np.int64]:
    """Return (n,) class numbers of a target's labels, which may be class names or class numbers.

    Raises
    ------
    TargetError
        If a label is not a class of the data.
    """
    values, inverse = np.unique(labels.astype(object) if labels.dtype.kind == "O" else labels, return_inverse=True)
    texts = [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values.tolist()]
    by_name = {str(name): i for i, name in enumerate(names or range(classes))}
    by_number = {str(i): i for i in range(classes)}
    for number in (by_name, by_number):
        if all(text in number for text in texts):
            return np.array([number[text] for text in texts], dtype=np.int64)[inverse.reshape(-1)]
    unknown = [text for text in texts if text not in by_name]
    row = int(np.flatnonzero(inverse.reshape(-1) == texts.index(unknown[0]))[0]) if unknown else 0
    raise TargetError(
        f"the target answered one value per record, and {unknown[:5]} are not classes of the data (first for record "
        f"{start + row}); its {classes} classes are {list(by_name)[:10]}{'...' if classes > 10 else ''}. A probability of "
        "one class only is not enough: answer one number per class"
    )


def as_target(
    model: Any, *, classes: int, names: tuple[Any, ...] | None = None, description: str | None = None
) -> Target:
    """Return a Target around a trained model.

    Parameters
    ----------
    model
        An object with ``predict_proba``, or with ``predict`` alone (labels), a torch module (its output is put through
        a softmax unless it already sums to one), or a function from records to probabilities or labels.
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
        return model.for_classes(classes, names)
    if isinstance(model, type):
        raise PlanError(f"the target is the class {model.__name__}, not a trained model; create and train it first")
    name = description or _name(model)
    if hasattr(model, "predict_proba"):
        seen = _classes_seen(model)
        columns = None if seen is None else class_columns(seen, classes, names)
        return Target(
            model.predict_proba,
            classes=classes,
            columns=columns,
            width=_width(model),
            description=name,
            kind="probabilities",
        )
    if _is_torch_module(model):
        return Target(_softmaxed(model), classes=classes, description=name, kind="probabilities")
    if hasattr(model, "predict"):
        seen = _classes_seen(model)
        if seen is not None:
            class_columns(seen, classes, names)  # tells classes the data does not have
        return Target(model.predict, classes=classes, names=names, width=_width(model), description=name, kind="labels")
    if callable(model):
        return Target(model, classes=classes, names=names, description=name)
    raise PlanError(
        f"the target is a {type(model).__name__}; expected an object with predict_proba or predict, a torch module, or "
        "a function from records to probabilities or labels"
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


def _width(model: Any) -> int | None:
    width = getattr(model, "n_features_in_", None)
    return width if isinstance(width, int) else None


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
