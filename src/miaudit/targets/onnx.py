"""Classifiers in ONNX files, run by onnxruntime (extra ``onnx``)."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import densified, n_records, take_records
from miaudit.errors import PlanError, TargetError, counted
from miaudit.evidence.answers import Hint, hint_of_name
from miaudit.files import no_temporary
from miaudit.libraries import require
from miaudit.targets.batches import in_batches
from miaudit.targets.classes import class_columns, class_numbers
from miaudit.targets.form import cast
from miaudit.targets.onnx_graph import Graph, inside, read_graph
from miaudit.targets.torch_modules import BYTES, UNSEEN

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
_LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)", "tensor(bool)")
_LINEAR = ("Gemm", "MatMul", "Conv")


def load_onnx(path: Path, names: Sequence[str], *, coded: bool = True, output: str | int | None = None) -> OnnxModel:
    """Return the classifier in an ONNX file.

    Parameters
    ----------
    path
        The file. Weights kept in files beside it are read too; none outside its folder are.
    names
        The data's class names, in order.
    coded
        Whether a label of the model may be the number of a class that has a name.
    output
        Name of the output that holds the answer; default: told by types, shapes and names.

    Raises
    ------
    PlanError
        If onnxruntime is missing or cannot read the file, if it names weights outside its folder, or if it cannot be told
        which of its outputs are probabilities, scores or labels.
    """
    onnxruntime = require("onnxruntime", extra="onnx", what=f"the ONNX file {path}")
    graph = read_graph(path)
    inside(path.parent, graph.locations, path)
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong comes as an exception
    try:
        profiles = tempfile.mkdtemp(prefix="miaudit-onnx-")
    except OSError as error:
        raise PlanError(no_temporary(error)) from error
    options.enable_profiling, options.profile_file_prefix = True, str(Path(profiles) / "p")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        shutil.rmtree(profiles, ignore_errors=True)
        raise PlanError(f"{path} starts like an ONNX model, but onnxruntime cannot read it: {error}") from error
    weakref.finalize(session, shutil.rmtree, profiles, ignore_errors=True)
    model = OnnxModel(session, graph, tuple(names), coded=coded, profiles=profiles, output=output)
    if not model.wanted:
        outputs = ", ".join(f"{out.name} {out.type} {out.shape}" for out in session.get_outputs())
        raise PlanError(
            f"{path} has no single output of {len(names)} probabilities, scores or labels; its outputs are: {outputs}. "
            "Export it with one such output, or name one of them (output in [target] of a plan)"
        )
    return model


def _wide(shape: Sequence[Any], classes: int) -> bool:
    """Whether an output may hold one number per record and class; sizes that are not told are names or None."""
    return not shape or (len(shape) == 2 and (shape[1] == classes or not isinstance(shape[1], int)))


def _narrow(shape: Sequence[Any]) -> bool:
    """Whether an output holds one value per record."""
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


class OnnxModel:
    """A model in a session of onnxruntime: ``answer`` says what it answers, ``hint`` what it says of that.

    Its answers are, by what there is: a map from class to number (ZipMap), numbers in a column for each class, one output
    for each class (ZipMap's "columns"), labels, or one score. Columns without names are taken in class order; where
    the model also answers labels, they are compared with the largest column.
    """

    def __init__(
        self,
        session: Any,
        graph: Graph,
        names: tuple[str, ...],
        *,
        coded: bool,
        profiles: str,
        output: str | int | None = None,
    ) -> None:
        self._input = _Input(session)
        self._session = session
        self._graph = graph
        self._names = names
        self._coded = coded
        self._profiles: str | None = profiles
        self._bytes = 0
        self._label: str | None = None  # an output to compare the columns with
        self.n_features_in_ = self._input.width
        self.__name__ = "ONNX model"
        self.columns: NDArray[np.int64] | None = None  # the class of each of several outputs
        outputs = session.get_outputs()
        self.wanted = self._choice([out for out in outputs if output in (None, out.name)])
        if output is not None and output not in {out.name for out in outputs}:
            raise PlanError(
                [("output", f"there is no {output!r}; the model's outputs are {[out.name for out in outputs]}")]
            )
        types = {out.name: out.type for out in session.get_outputs()}
        texts = "tensor(string)" in (types.get(self._label or ""), *(types[name] for name in self.wanted))
        mapped = any(types[name].startswith("seq(map(") for name in self.wanted)
        self.named = texts or mapped or self.columns is not None  # whether it says which class a number is of

    def _choice(self, outputs: Sequence[Any]) -> list[str]:
        """Return the outputs that hold the answer; none if it is not clear which do."""
        maps = [out.name for out in outputs if out.type.startswith("seq(map(")]
        scores = [out.name for out in outputs if out.type in _SCORES and _wide(out.shape, len(self._names))]
        scores = [name for name in scores if "prob" in name.lower()] or scores
        labels = [out.name for out in outputs if out.type in _LABELS and _narrow(out.shape)]
        single = [out.name for out in outputs if out.type in _SCORES and _narrow(out.shape)]
        if len(maps) == 1 or (not maps and len(scores) == 1):
            self._label = labels[0] if len(labels) == 1 else None
            return maps or scores
        if maps or scores:
            return []
        if len(single) > 1:
            self.columns = self._classes_of(single)
            return single if self.columns is not None else []
        return single or (labels if len(labels) == 1 else [])

    def _classes_of(self, outputs: Sequence[str]) -> NDArray[np.int64] | None:
        """Return the class of each output, told by its name: the class's, perhaps after what all names start with."""
        same = [len(set(letters)) == 1 for letters in zip(*outputs, strict=False)]
        for start in (0, 1, (*same, False).index(False)):
            if len({name[:start] for name in outputs}) == 1:
                try:
                    return class_columns(
                        [name[start:] for name in outputs], len(self._names), self._names, coded=self._coded
                    )
                except PlanError:
                    continue
        return None

    def hint(self) -> Hint | None:
        """Return what the operation that makes the answer says of it, or else the output's name."""
        maker = self._graph.maker(self.wanted[0])
        if maker is not None and maker.operation in ("Softmax", "LogSoftmax", "Sigmoid", *_LINEAR, "Add", "Sum"):
            hint = self._of_operation(maker.operation, maker.inputs)
            if hint is not None:
                return hint
        if len(self.wanted) > 1:
            return None
        return hint_of_name(self.wanted[0], f"its output is named {self.wanted[0]!r}")

    def _of_operation(self, operation: str, inputs: Sequence[str]) -> Hint | None:
        if operation in ("Add", "Sum"):  # of a bias
            makers = [self._graph.maker(name) for name in inputs]
            operation = next((each.operation for each in makers if each and each.operation in _LINEAR), operation)
        hints = {
            "Softmax": Hint("probabilities", "its last operation is a softmax", sure=True),
            "LogSoftmax": Hint("log-probabilities", "its last operation is a log-softmax", sure=True),
            "Sigmoid": Hint(None, "its last operation is a sigmoid", sure=True),
        } | dict.fromkeys(_LINEAR, Hint("logits", "its last operation is linear", sure=True))
        return hints.get(operation)

    def limit(self, X: Any) -> int:
        """Return how many of such records to ask about at a time, by what all operations answer to one."""
        if self._profiles is not None:
            first = take_records(X, np.arange(min(1, n_records(X))))
            self._bytes = max(self._watched(first), UNSEEN * _bytes(first), 1)
        return max(1, BYTES // self._bytes)

    def _watched(self, first: Any) -> int:
        folder, self._profiles = self._profiles, None
        try:
            self._ask(first)
        except Exception:
            return 0  # asking will say what is wrong
        finally:
            profile = self._session.end_profiling()
            events = _read_profile(profile)
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        batch = self._input.batch or 1
        return sum(int(each.get("args", {}).get("output_size") or 0) for each in events) // batch

    def answer(self, X: Any) -> Any:
        """Return what the model answers: (n, columns), (n,), or columns with names."""
        return in_batches(self._ask, X, self._input.batch)

    def _ask(self, X: Any) -> Any:
        names = self.wanted if self._label is None else [*self.wanted, self._label]
        answers = self._input.run(names, X)
        first = answers[0]
        if isinstance(first, list):
            return self._from_maps(first)
        if len(self.wanted) > 1:
            values = np.column_stack([np.asarray(each).reshape(-1) for each in answers])  # (n, outputs)
            return self._in_order(values, self.columns)
        if self._label is not None and first.ndim == 2 and first.shape[1] == len(self._names):
            self._compare(first, np.asarray(answers[1]))
        return np.asarray(first)

    def _from_maps(self, answers: list[dict[Any, float]]) -> NDArray[Any]:
        """From ZipMap: a dict from label to number for each record."""
        keys = list(answers[0]) if answers else []
        try:
            columns = class_columns(keys, len(self._names), self._names, coded=self._coded)
        except PlanError as error:
            raise TargetError(str(error)) from None
        return self._in_order(np.array([[answer[label] for label in keys] for answer in answers]), columns)

    def _in_order(self, values: NDArray[Any], columns: Any) -> NDArray[Any]:
        """Return columns in class order; a class that the model does not know is improbable."""
        full = np.zeros((len(values), len(self._names)), dtype=values.dtype)  # (n, classes)
        if (values < 0).any():
            full[:] = values.min(axis=1, keepdims=True) - 100
        full[:, columns] = values
        return full

    def _compare(self, answers: NDArray[Any], labels: NDArray[Any]) -> None:
        # the label of a support vector machine need not be its likeliest class, so that single records may differ
        classes = len(self._names)
        counts = np.zeros((classes, classes), dtype=np.int64)  # (largest column, label)
        numbers = class_numbers(labels.reshape(len(answers)), classes, self._names, coded=self._coded)
        np.add.at(counts, (answers.argmax(axis=1), numbers), 1)
        most, total = counts.argmax(axis=1), counts.sum(axis=1)
        wrong = np.flatnonzero((total >= 3) & (most != np.arange(classes)) & (2 * counts.max(axis=1) > total))
        if len(wrong):
            column = int(wrong[0])
            raise TargetError(
                f"the ONNX model's columns are not in the order of the data's classes: where column {column} "
                f"({self._names[column]}) is largest, it answers the label {self._names[most[column]]}. Export it with "
                "ZipMap, which names the columns, or give the data's classes in the model's order"
            )


def _read_profile(path: str) -> list[dict[str, Any]]:
    try:
        events = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [each for each in events if isinstance(each, dict) and each.get("cat") == "Node"]


def _bytes(X: Any) -> int:
    """Return the bytes of records; a guess for frames of texts."""
    return int(getattr(X, "nbytes", 0)) or 8 * int(np.prod(X.shape))


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
            fed = {self._inputs[0].name: _fitted(densified(X), self._inputs[0])}
        elif hasattr(X, "columns"):
            lacking = sorted({each.name for each in self._inputs} - set(X.columns))
            if lacking:
                raise TargetError(f"the ONNX model takes columns the records do not have: {', '.join(lacking)}")
            fed = {each.name: _fitted(np.asarray(X[[each.name]]), each) for each in self._inputs}
        else:
            raise TargetError(
                f"the ONNX model takes {len(self._inputs)} inputs ({', '.join(each.name for each in self._inputs[:5])}), "
                "one per column: give the records as a frame (in a plan, frame = true)"
            )
        answers: list[Any] = self._session.run(outputs, fed)
        if len(answers[0]) != n_records(X):
            raise TargetError(
                f"the ONNX model was asked about {counted(n_records(X), 'record')} and answered {len(answers[0])}"
            )
        return answers


def _fitted(records: NDArray[Any], to: Any) -> NDArray[Any]:
    """Return records as the type of an input, which must have their shape."""
    shape = to.shape
    fits = len(shape) == records.ndim and all(
        not isinstance(size, int) or size == width for size, width in zip(shape[1:], records.shape[1:], strict=True)
    )
    if shape and not fits:
        raise TargetError(
            f"the ONNX model takes records of shape {tuple(shape[1:])}, these have shape {records.shape[1:]}; give the "
            "records in the form the model was trained on"
        )
    kind = _TYPES[to.type]
    if kind is np.str_:
        return records.astype(str).astype(object)
    return cast(records, kind, f"the ONNX model's input {to.name!r}")
