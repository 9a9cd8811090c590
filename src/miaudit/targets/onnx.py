"""Classifiers in ONNX files, run by onnxruntime (extra ``onnx``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import n_records
from miaudit.errors import PlanError, TargetError
from miaudit.targets.batches import in_batches, probabilities_of
from miaudit.targets.target import class_columns, class_numbers

_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.str_,
}
_SCORES = ("tensor(float)", "tensor(double)", "tensor(float16)")
_LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)")


def load_onnx(path: Path, names: Sequence[str]) -> OnnxClassifier | OnnxLabels:
    """Return the classifier in an ONNX file.

    Parameters
    ----------
    path
        The file. Weights kept in files beside it are read too; onnxruntime refuses any outside its folder.
    names
        The data's class names, in order.

    Raises
    ------
    PlanError
        If onnxruntime is missing or cannot read the file, or no output of the model looks like probabilities, scores
        or labels.
    """
    try:
        import onnxruntime
    except ImportError:
        raise PlanError(f"{path} is an ONNX file; to run it: pip install 'miaudit[onnx]'") from None
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong comes as an exception
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise PlanError(f"{path} starts like an ONNX model, but onnxruntime cannot read it: {error}") from error
    outputs = session.get_outputs()
    maps = [out.name for out in outputs if out.type.startswith("seq(map(")]
    scores = [out.name for out in outputs if out.type in _SCORES and _wide(out.shape, len(names))]
    scores = [name for name in scores if "prob" in name.lower()] or scores
    labels = [out.name for out in outputs if out.type in _LABELS and len(out.shape) <= 1]
    if len(maps) == 1 or (not maps and len(scores) == 1):
        return OnnxClassifier(session, tuple(names), (maps or scores)[0], labels[0] if len(labels) == 1 else None)
    if not maps and not scores and len(labels) == 1:
        return OnnxLabels(session, labels[0])
    found = ", ".join(f"{out.name} {out.type} {out.shape}" for out in outputs)
    raise PlanError(
        f"{path} has no single output of {len(names)} probabilities, scores or labels; its outputs are: {found}. Export "
        "it with one such output"
    )


def _wide(shape: Sequence[Any], classes: int) -> bool:
    """Whether an output may hold one number per record and class; sizes that are not told are names or None."""
    return not shape or (len(shape) == 2 and (shape[1] == classes or not isinstance(shape[1], int)))


class OnnxClassifier:
    """A model with an output of probabilities, or of logits, which are put through a softmax.

    Columns are taken to be in class order. A sklearn-onnx model also answers labels, and they are compared with the
    largest column; a map (ZipMap) names the class of every number itself.
    """

    def __init__(self, session: Any, names: tuple[str, ...], scores: str, labels: str | None) -> None:
        self._input = _Input(session)
        self._names = names
        self._scores = scores
        self._labels = labels
        self.n_features_in_ = self._input.width
        self.__name__ = "ONNX model"

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return (n, classes) probabilities."""
        return in_batches(self._ask, X, self._input.batch)

    def _ask(self, X: Any) -> NDArray[np.float64]:
        wanted = [self._scores] if self._labels is None else [self._scores, self._labels]
        scores, *labels = self._input.run(wanted, X)
        if isinstance(scores, list):
            return self._from_maps(scores)
        answers = probabilities_of(scores)
        if labels and answers.ndim == 2 and answers.shape[1] == len(self._names):
            self._compare(answers, np.asarray(labels[0]))
        return answers

    def _from_maps(self, answers: list[dict[Any, float]]) -> NDArray[np.float64]:
        """From ZipMap: a dict from label to probability for each record."""
        full = np.zeros((len(answers), len(self._names)))  # (n, classes)
        if answers:
            seen = list(answers[0])
            columns = class_columns(seen, len(self._names), self._names)
            full[:, columns] = probabilities_of(np.array([[answer[label] for label in seen] for answer in answers]))
        return full

    def _compare(self, answers: NDArray[np.float64], labels: NDArray[Any]) -> None:
        # the label of a support vector machine need not be its likeliest class, so that single records may differ
        classes = len(self._names)
        counts = np.zeros((classes, classes), dtype=np.int64)  # (largest column, label)
        np.add.at(counts, (answers.argmax(axis=1), class_numbers(labels, classes, self._names)), 1)
        most, total = counts.argmax(axis=1), counts.sum(axis=1)
        wrong = np.flatnonzero((total >= 3) & (most != np.arange(classes)) & (2 * counts.max(axis=1) > total))
        if len(wrong):
            column = int(wrong[0])
            raise TargetError(
                f"the ONNX model's columns are not in the order of the data's classes: where column {column} "
                f"({self._names[column]}) is largest, it answers the label {self._names[most[column]]}. Export it with "
                "ZipMap, which names the columns, or give the data's classes in the model's order"
            )


class OnnxLabels:
    """A model whose only usable output is a label for each record."""

    def __init__(self, session: Any, labels: str) -> None:
        self._input = _Input(session)
        self._labels = labels
        self.n_features_in_ = self._input.width
        self.__name__ = "ONNX model"

    def predict(self, X: Any) -> NDArray[Any]:
        """Return (n,) labels."""
        return in_batches(lambda part: np.asarray(self._input.run([self._labels], part)[0]), X, self._input.batch)


class _Input:
    """How a session takes records: as one tensor, or a frame's columns as one tensor each."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = session.get_inputs()
        for each in self._inputs:
            if each.type not in _TYPES:
                raise PlanError(
                    f"the ONNX model's input {each.name!r} has type {each.type}; records can be given as "
                    f"{', '.join(sorted(_TYPES))}"
                )
        shape = self._inputs[0].shape
        self.batch: int | None = shape[0] if shape and isinstance(shape[0], int) else None
        one = len(self._inputs) == 1 and len(shape) == 2 and isinstance(shape[1], int)
        self.width: int | None = shape[1] if one else None

    def run(self, outputs: list[str], X: Any) -> list[Any]:
        if len(self._inputs) == 1:
            dense = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
            fed = {self._inputs[0].name: _fitted(dense, self._inputs[0])}
        elif hasattr(X, "columns"):
            lacking = sorted({each.name for each in self._inputs} - set(X.columns))
            if lacking:
                raise TargetError(f"the ONNX model takes columns the records do not have: {', '.join(lacking)}")
            fed = {each.name: _fitted(np.asarray(X[[each.name]]), each) for each in self._inputs}
        else:
            raise TargetError(
                f"the ONNX model takes {len(self._inputs)} inputs ({', '.join(each.name for each in self._inputs[:5])}), "
                "one per column: give the records as a frame (data.frame = true)"
            )
        answers: list[Any] = self._session.run(outputs, fed)
        if len(answers[0]) != n_records(X):
            raise TargetError(f"the ONNX model was asked about {n_records(X)} records and answered {len(answers[0])}")
        return answers


def _fitted(records: NDArray[Any], to: Any) -> NDArray[Any]:
    """Return records as the type of an input, which must have their shape."""
    shape = to.shape
    fits = len(shape) == records.ndim and all(
        not isinstance(size, int) or size == given for size, given in zip(shape[1:], records.shape[1:], strict=True)
    )
    if shape and not fits:
        raise TargetError(
            f"the ONNX model takes records of shape {tuple(shape[1:])}, these have shape {records.shape[1:]}; give the "
            "records in the form the model was trained on"
        )
    kind = _TYPES[to.type]
    if kind is np.str_:
        return records.astype(str).astype(object)
    cast: NDArray[Any] = np.ascontiguousarray(records, dtype=kind)
    if np.issubdtype(kind, np.integer) and not (cast == records).all():
        raise TargetError(
            f"the ONNX model takes {to.type} and would cut the records' fractions off; give whole numbers"
        )
    return cast
