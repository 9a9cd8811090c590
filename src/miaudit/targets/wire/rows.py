"""Records as JSON values, and JSON values as answers: what the formats have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import Records, column_names, column_values, is_sparse, kind_of, n_records
from miaudit.errors import DataError, TargetError

Answers = NDArray[Any]
"""(n, columns) float64, or (n,) labels: integers, or texts as objects."""

_PROBABILITIES = ("probabilities", "probability", "scores", "score", "predict_proba", "confidences")
_LABELS = ("classes", "labels", "displayNames", "class_names")


def is_table(X: Records) -> bool:
    """Whether the records are columns of their own kinds (a frame, or an array of objects), not one block of numbers."""
    return kind_of(X) in ("pandas", "polars") or (kind_of(X) == "array" and X.dtype.kind == "O")


def columns_of(X: Records) -> list[str]:
    """Return the names of the columns of flat records; columns without a name are called by their number."""
    return column_names(X) or [str(i) for i in range(X.shape[1])]


def dense(X: Records) -> NDArray[Any]:
    """Return records that are one block of numbers as an array."""
    array: NDArray[Any] = X.toarray() if is_sparse(X) else X
    return array


def rows_of(X: Records) -> list[Any]:
    """Return n lists of JSON values, nested as the records are.

    Raises
    ------
    DataError
        If a value has no form in JSON, as a date has not.
    """
    if not is_table(X):
        block: list[Any] = dense(X).tolist()
        return block
    columns = [plain_column(X, i) for i in range(X.shape[1])]
    return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(n_records(X))]


def plain_column(X: Records, i: int) -> list[Any]:
    """Return one column as JSON values."""
    values: list[Any] = column_values(X, i).tolist()
    for value in values:
        if not isinstance(value, str | int | float | bool):
            raise DataError(
                f"column {columns_of(X)[i]!r} holds {value!r} ({type(value).__name__}), which JSON has no form for; "
                "turn it into numbers or texts first"
            )
    return values


def to_bytes(value: Any) -> bytes:
    """Return compact JSON; numbers keep all their digits."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def from_bytes(content: bytes) -> Any:
    """Return what JSON says.

    Raises
    ------
    TargetError
        If it is no JSON.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        what = "an HTML page" if content.lstrip()[:1] == b"<" else "no JSON"
        raise TargetError(f"the target answered {what}: {excerpt(content)}; check url and format") from None


def excerpt(content: bytes | str, length: int = 120) -> str:
    """Return the start of a text on one line, quoted."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    text = " ".join(text.split())
    return repr(text[:length] + ("..." if len(text) > length else ""))


def said_error(answer: Any) -> str:
    """Return what an answer without the expected part says of itself."""
    if isinstance(answer, Mapping):
        for key in ("error", "message", "detail", "error_code"):
            if answer.get(key):
                return f"it says {key}: {excerpt(str(answer[key]))}"
        return f"it holds {', '.join(map(repr, list(answer)[:6])) or 'nothing'}"
    return f"it is {excerpt(json.dumps(answer))}"


def answers_of(items: Any, n: int, *, output: str | None = None, names: Sequence[str] | None = None) -> Answers:
    """Return the answers in a list of one item per record.

    Parameters
    ----------
    items
        Numbers or texts (labels), lists of numbers, or objects: with the key ``output``, with a list of classes and one
        of scores, with one list of numbers under a usual name, or with one number per class name.
    n
        Number of records asked about.
    output
        Key of the answer in every item, where items are objects.
    names
        Class names in order, needed where answers name their classes; those not named get 0.

    Raises
    ------
    TargetError
        If there are not n items, or they are none of these, of different lengths, or not finite.
    """
    if not isinstance(items, list):
        raise TargetError(f"the target's answer is no list with one item per record; {said_error(items)}")
    if len(items) != n:
        raise TargetError(f"the target was asked about {n} records and answered {len(items)}; it must answer all")
    if items and all(isinstance(item, Mapping) for item in items):
        items = [_of_object(item, output, names) for item in items]
    values = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in items]
    if all(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)
    if all(isinstance(value, int | float) for value in values):
        whole = all(isinstance(value, int) and abs(value) < 2**53 for value in values)
        return np.array(values, dtype=np.int64) if whole else finite(_floats(values))
    if all(isinstance(value, list) for value in values):
        return matrix(values)
    kinds = sorted({type(value).__name__ for value in values})
    raise TargetError(
        f"the target's answers are of kinds {', '.join(kinds)}, such as {excerpt(str(values[0]))}; expected one label, or "
        "one list of numbers, per record"
    )


def matrix(rows: Sequence[Sequence[Any]]) -> NDArray[np.float64]:
    """Return (n, columns) finite numbers.

    Raises
    ------
    TargetError
        If rows differ in length, or hold anything but finite numbers.
    """
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise TargetError(
            f"the target's answers have different lengths, {sorted(widths)[:5]}; one number per class each"
        )
    values = _floats(rows)
    if values.ndim != 2:
        raise TargetError(f"the target's answers have shape {values.shape}; expected one list of numbers per record")
    return finite(values)


def _floats(values: Sequence[Any]) -> NDArray[np.float64]:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
        odd = next((v for v in flat if not isinstance(v, int | float) or abs(v) > 1e300), values[0])
        raise TargetError(f"the target's answer holds {excerpt(str(odd))} where a number is expected") from None


def finite(values: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers, refusing NaN and infinite ones."""
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)]
        raise TargetError(f"the target's answer holds {bad[0]} ({len(bad)} values are not finite); expected numbers")
    return values


def _of_object(item: Mapping[str, Any], output: str | None, names: Sequence[str] | None) -> Any:
    if output is not None:
        if output not in item:
            raise TargetError(
                f"the target's answers have no {output!r}: {said_error(item)}; set output to one of these"
            )
        return item[output]
    labels = next((item[key] for key in _LABELS if isinstance(item.get(key), list)), None)
    scores = next((item[key] for key in _PROBABILITIES if isinstance(item.get(key), list)), None)
    if scores is not None:
        return scores if labels is None else _by_name(dict(zip(map(str, labels), scores, strict=False)), names)
    if item and all(isinstance(value, int | float) for value in item.values()):
        return _by_name({str(key): value for key, value in item.items()}, names)
    raise TargetError(f"the target answers objects: {said_error(item)}; set output to the key with the probabilities")


def _by_name(scores: Mapping[str, Any], names: Sequence[str] | None) -> list[Any]:
    if names is None:
        raise TargetError(f"the target names its classes ({list(scores)[:5]}); give the classes' names in order")
    number = {str(name): i for i, name in enumerate(names)}
    if not all(name in number for name in scores):
        number = {str(i): i for i in range(len(names))}
    unknown = [name for name in scores if name not in number]
    if unknown:
        raise TargetError(
            f"the target answers classes the data does not have: {unknown[:5]}; the data's are {names[:10]}"
        )
    row: list[Any] = [0.0] * len(names)
    for name, score in scores.items():
        row[number[name]] = score
    return row
