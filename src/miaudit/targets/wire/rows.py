"""Records as JSON values, and JSON values as answers: what the formats have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import Records, column_names, column_values, densified, is_texts, kind_of, n_records
from miaudit.errors import DataError, TargetError, counted

Answers = NDArray[Any]
"""(n, columns) float64, or (n,) labels: integers, or texts as objects."""

_PROBABILITIES = (
    "probabilities",
    "probability",
    "scores",
    "score",
    "predict_proba",
    "confidences",
    "confidence",
    "probs",
    "proba",
)
_LEAST = 0.05  # by which a rounded score of the likeliest class may be too small
LABELS = (
    "all_classes",
    "classes",
    "labels",
    "displayNames",
    "class_names",
    "class_labels",
    "target_names",
    "columns",
    "names",
)
_NUMBERS = ("index", "idx", "id", "row", "row_id", "record", "record_id", "instance", "position", "request_index")
_LABEL = (
    "label",
    "class",
    "class_name",
    "className",
    "displayName",
    "name",
    "category",
    "prediction",
    "predicted_label",
)


class MissingError(TargetError):
    """Some records of a request got no answer, or an error in its place; ``answers`` are those to the records at ``rows``."""

    def __init__(self, message: str, answers: Answers, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.answers, self.rows = answers, rows


def is_table(X: Records) -> bool:
    """Whether the records are columns of their own kinds (a frame, or an array of objects), not one block of numbers."""
    return kind_of(X) in ("pandas", "polars") or (kind_of(X) == "array" and X.dtype.kind == "O" and not is_texts(X))


def columns_of(X: Records) -> list[str]:
    """Return the names of the columns of flat records; columns without a name are called by their number."""
    return column_names(X) or (["text"] if is_texts(X) else [str(i) for i in range(X.shape[1])])


def dense(X: Records) -> NDArray[Any]:
    """Return records that are one block of numbers as an array."""
    array = densified(X)
    if array.dtype.kind not in "biufU" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        raise DataError(f"records of type {array.dtype} have no form in JSON; convert them to numbers, float64 at most")
    return array


def distinct(columns: list[str]) -> list[str]:
    """Return columns' names, which are sent with each value; refuse two of one name, of which one would be lost."""
    twice = sorted({name for name in columns if columns.count(name) > 1}) if len(set(columns)) < len(columns) else []
    if twice:
        raise DataError(f"the records have several columns named {twice[:5]}; give each a name of its own")
    return columns


def rows_of(X: Records) -> list[Any]:
    """Return n lists of JSON values, nested as the records are.

    Raises
    ------
    DataError
        If a value has no form in JSON, as a date has not.
    """
    if not is_table(X):
        block: list[Any] = (X if is_texts(X) else dense(X)).tolist()
        return block
    columns = [plain_column(X, i) for i in range(X.shape[1])]
    return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(n_records(X))]


def objects_of(X: Records) -> list[dict[str, Any]]:
    """Return n objects of JSON values by the names of their columns; one that is a text has it under ``text``.

    Raises
    ------
    DataError
        If two columns have one name, records are no table, or as for `rows_of`.
    """
    if is_texts(X):
        return [{"text": text} for text in X.tolist()]
    if len(X.shape) != 2:
        raise DataError(f"records of shape {tuple(X.shape[1:])} have no columns to name in objects; send them as lists")
    columns = distinct(columns_of(X))
    return [dict(zip(columns, row, strict=True)) for row in rows_of(X)]


def plain_column(X: Records, i: int) -> list[Any]:
    """Return one column as JSON values."""
    column = column_values(X, i)
    if column.dtype.kind in "mM":  # in nanoseconds they would be whole numbers
        column = column.astype(f"{column.dtype.kind}8[us]")
    values: list[Any] = [v.item() if isinstance(v, np.generic) else v for v in column.tolist()]
    for value in values:
        if not isinstance(value, str | int | float | bool):
            raise DataError(
                f"column {columns_of(X)[i]!r} holds {value!r} ({type(value).__name__}), which JSON has no form for; "
                "turn it into numbers or texts first"
            )
    return values


def to_bytes(value: Any) -> bytes:
    """Return compact JSON; numbers keep all their digits.

    Raises
    ------
    DataError
        If a value has no form in JSON.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise DataError(f"the records have no form in JSON: {error}; convert them to finite numbers or texts") from None


def from_bytes(content: bytes) -> Any:
    """Return what JSON says.

    Raises
    ------
    TargetError
        If it is no JSON.
    """
    try:
        return json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        page = content.lstrip()[:1] == b"<"
        raise TargetError(
            f"the target answered {'an HTML page' if page else 'no JSON'}: {excerpt(content)}; check url and format"
            f"{'' if page or not content.strip() else ', or read it by functions of your own (encode and decode)'}"
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; one that names a key twice can be read in two ways."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise TargetError(
            f"the target's answer names {excerpt(twice, 40)} twice in one object; it must say each thing once"
        )
    return value


def excerpt(content: bytes | str, length: int = 120) -> str:
    """Return the start of a text on one line, quoted."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    text = " ".join(text.split())
    return repr(text[:length] + ("..." if len(text) > length else ""))


def is_error(answer: Mapping[str, Any]) -> str | None:
    """Return under which key an answer without the expected part tells an error; None where it tells none."""
    return next((key for key in ("error", "message", "detail", "error_code") if answer.get(key)), None)


def said_error(answer: Any) -> str:
    """Return what an answer without the expected part says of itself."""
    if isinstance(answer, Mapping):
        if (key := is_error(answer)) is not None:
            return f"it says {key}: {excerpt(str(answer[key]))}"
        return f"it holds {', '.join(excerpt(str(key), 40) for key in list(answer)[:6]) or 'nothing'}"
    text = isinstance(answer, str) and answer.lstrip()[:1] in ("[", "{")
    advice = ", a text with JSON in it: let the target answer JSON itself, or read it by functions of your own (decode)"
    return f"it is {excerpt(str(answer))}{advice if text else ''}"


def refuse_told(answer: Any, items: Any) -> None:
    """Raise a TargetError where an answer holds no items and tells an error beside them."""
    if items in ([], {}) and isinstance(answer, Mapping) and is_error(answer):
        raise TargetError(f"the target answered nothing; {said_error(answer)}")


def class_lists(answer: Mapping[str, Any], key: str, n: int) -> list[list[Any]] | None:
    """Return the list of classes that an answer holds beside its list of n items, once for each item; None without one."""
    for name in LABELS:
        labels = answer.get(name)
        if name == key or not isinstance(labels, list) or not labels:
            continue
        if all(isinstance(label, list) for label in labels):
            if len(labels) == n:
                return labels
        elif all(isinstance(label, str | int) for label in labels):
            return [labels] * n
    return None


def _with_classes(
    items: Sequence[Any], lists: Sequence[list[Any]], output: str | None, names: Sequence[str] | None
) -> list[Any] | None:
    """Return items as objects of scores and their classes; None where the lists do not say which classes scores are of."""
    objects = []
    for item, labels in zip(items, lists, strict=True):
        if _is_failure(item):
            objects.append(item)
            continue
        scores = item
        if isinstance(item, Mapping):
            keys = _PROBABILITIES if output is None else (output,)
            scores = next((item[key] for key in keys if isinstance(item.get(key), list)), None)
            if any(isinstance(item.get(key), list) for key in LABELS):
                return None
        if not isinstance(scores, list) or len(scores) != len(labels) or not all(map(_is_number, scores)):
            return None
        objects.append({"scores": scores, "classes": labels})
    if names is None or len(names) < 2 or not _are_classes(lists, names) or _are_answers(objects, lists, names):
        return None
    return objects


def _are_classes(lists: Sequence[list[Any]], names: Sequence[str]) -> bool:
    try:
        for labels in {tuple(map(str, labels)) for labels in lists}:
            _by_name([(label, 0.0) for label in labels], names)
    except TargetError:
        return False
    return True


def _are_answers(objects: Sequence[Any], lists: Sequence[list[Any]], names: Sequence[str]) -> bool:
    """Whether one list of as many labels as records holds the likeliest class of each record, not what columns are."""
    labels = lists[0]
    if not len(labels) == len(objects) == len(names) or any(each is not labels for each in lists):
        return False
    pairs = [(label, item["scores"]) for label, item in zip(labels, objects, strict=True) if not _is_failure(item)]
    best = [(label, scores.index(max(scores))) for label, scores in pairs]
    return all(str(label) in (str(names[i]), str(i)) for label, i in best)


def answers_of(
    items: Any,
    n: int,
    *,
    output: str | None = None,
    names: Sequence[str] | None = None,
    lists: Sequence[list[Any]] | None = None,
) -> Answers:
    """Return the answers in a list of one item per record.

    Parameters
    ----------
    items
        Numbers or texts (labels), lists of numbers, lists of objects with a class and its score, or objects: with the key
        ``output``, with a list of classes and one of scores, with one class and its score, with one list of numbers under
        a usual name, or with one number per class name.
    n
        Number of records asked about.
    output
        Key of the answer in every item, where items are objects.
    names
        Class names in order, needed where answers name their classes; those not named get 0.
    lists
        The classes of each item's numbers, where the answer lists them beside the items (`class_lists`).

    Raises
    ------
    TargetError
        If there are not n items, or they are none of these, of different lengths, or not finite. A `MissingError` if some
        items are null or an object of an error alone.
    """
    if not isinstance(items, list):
        raise TargetError(f"the target's answer is no list with one item per record; {said_error(items)}")
    if len(items) != n:
        raise TargetError(
            f"the target was asked about {counted(n, 'record')} and answered {len(items)}; it must answer all"
            + ("; where it takes fewer at a time, lower batch" if 0 < len(items) < n else "")
        )
    refuse_moved(items)
    if items and lists is not None and (named := _with_classes(items, lists, output, names)) is not None:
        items, output = named, None
    rows = [i for i, item in enumerate(items) if not _is_failure(item)]
    if len(rows) < n:
        failure = next(item for item in items if _is_failure(item))
        answers = answers_of([items[i] for i in rows], len(rows), output=output, names=names)
        raise MissingError(f"the target's answer holds {excerpt(json.dumps(failure))} for a record", answers, rows)
    if items and all(isinstance(item, Mapping) for item in items):
        items = [_of_object(item, output, names) for item in items]
    items = [_of_pairs(item, names) if _is_pairs(item) else item for item in items]
    values = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in items]
    if all(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)
    if all(isinstance(value, bool) for value in values) and {"true", "false"} <= {str(n).lower() for n in names or ()}:
        by_text = {str(name).lower(): str(name) for name in names or ()}
        return np.array([by_text[str(value).lower()] for value in values], dtype=object)
    if all(isinstance(value, int | float) for value in values):
        whole = all(isinstance(value, int) and abs(value) < 2**53 for value in values)
        return np.array(values, dtype=np.int64) if whole else finite(numbers(values))
    if all(isinstance(value, list) for value in values):
        return matrix(values)
    kinds = sorted({type(value).__name__ for value in values})
    raise TargetError(
        f"the target's answers are of kinds {', '.join(kinds)}, such as {excerpt(str(values[0]))}; expected one label, or "
        "one list of numbers, per record"
    )


def _is_failure(item: Any) -> bool:
    """Whether an item stands for no answer: null, or an object that tells an error and no more than a number beside it."""
    return item is None or (
        isinstance(item, Mapping)
        and bool(item.get("error"))
        and not {*item} - {"error", "message", "detail", "code", *_NUMBERS}
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
    values = numbers(rows)
    if values.ndim != 2:
        raise TargetError(f"the target's answers have shape {values.shape}; expected one list of numbers per record")
    return finite(values)


def numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Return numbers, or lists of them, as floats.

    Raises
    ------
    TargetError
        If one is no number: a text, a truth value, nothing; or lists differ in length.
    """
    flat: list[Any] = list(values)
    while flat and all(isinstance(value, list) for value in flat):
        flat = [inner for value in flat for inner in value]
    kinds = {kind for kind in set(map(type, flat)) if kind is bool or not issubclass(kind, int | float)}
    if kinds:
        odd = next(value for value in flat if type(value) in kinds)
        text = "null" if odd is None else str(odd)
        advice = (
            "; let the target answer numbers, or read its texts by functions of your own (encode and decode)"
            if isinstance(odd, str)
            else ""
        )
        raise TargetError(f"the target's answer holds {excerpt(text)} where a number is expected{advice}")
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        raise TargetError("the target's answer holds a whole number beyond the range of a float") from None
    except (TypeError, ValueError):
        raise TargetError(
            f"the target's answer holds lists of different lengths, such as {excerpt(str(values[0]))}"
        ) from None


def finite(values: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers, refusing NaN and infinite ones."""
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)]
        raise TargetError(
            f"the target's answer holds {bad[0]} ({counted(len(bad), 'value is', 'values are')} not finite); expected numbers"
        )
    return values


def refuse_moved(items: Sequence[Any]) -> None:
    """Refuse answers that number their records in another order than that of the request.

    Raises
    ------
    TargetError
        Naming the key of the numbers.
    """
    if len(items) < 2 or not all(isinstance(item, Mapping) for item in items):
        return
    for key in _NUMBERS:
        numbers = [item.get(key) for item in items]
        places = [
            int(v) for v in numbers if isinstance(v, int) or (isinstance(v, str) and v.isdecimal() and len(v) < 19)
        ]
        if len(places) == len(items) and len(set(places)) == len(items) and places != sorted(places):
            raise TargetError(
                f"the target's answers have {key!r} {places[:5]}, another order than that of the records they are to; let it "
                "answer in the order of the request, or ask about one record at a time (batch = 1)"
            )


def _of_object(item: Mapping[str, Any], output: str | None, names: Sequence[str] | None) -> Any:
    if output is not None:
        if output not in item:
            raise TargetError(
                f"the target's answers have no {output!r}: {said_error(item)}; set output to one of these"
            )
        refuse_unnamed(item, output)
        return _by_class(item[output], names) if _is_by_class(item[output]) else item[output]
    scores = next((item[key] for key in _PROBABILITIES if isinstance(item.get(key), list)), None)
    labels = next((item[key] for key in LABELS if isinstance(item.get(key), list)), None)
    if scores is not None:
        return scores if labels is None else _of_lists(labels, scores, names)
    by_class = next((item[key] for key in _PROBABILITIES if _is_by_class(item.get(key))), None)
    if by_class is not None:
        return _by_class(by_class, names)
    label = next((item[key] for key in _LABEL if isinstance(item.get(key), str)), None)
    score = next((item[key] for key in _PROBABILITIES if _is_number(item.get(key))), None)
    if label is not None and score is not None:
        if names is not None and len(names) * score < 1 - _LEAST:
            raise TargetError(
                f"the target answers class {excerpt(label, 40)} with score {score:g}, less than the likeliest of {len(names)} "
                "classes has: if it is the score of another class, set output or answer to a list of one number per class"
            )
        return _by_name([(label, score)], names)
    _refuse_one_score(item, names)
    if _is_by_class(item):
        return _by_class(item, names)
    texts = [
        value
        for key, value in item.items()
        if isinstance(value, str) and str(key) in {str(name) for name in names or ()}
    ]
    if texts:
        raise TargetError(
            f"the target answers the text {excerpt(texts[0], 40)} for a class, where a number is expected"
        )
    raise TargetError(f"the target answers objects: {said_error(item)}; set output to the key with the probabilities")


def _refuse_one_score(item: Mapping[str, Any], names: Sequence[str] | None) -> None:
    """Refuse a score beside the number of a class, as linear learners answer: it does not say of which class it is."""
    score = next((key for key in _PROBABILITIES if _is_number(item.get(key))), None)
    label = next((key for key in _LABEL if isinstance(item.get(key), int)), None)
    if score is None or label is None or {str(name) for name in names or ()} >= set(item):
        return
    second = (
        f'if it is a probability, set output = "{score}", and positive of the target to the class it is of; '
        if names is None or len(names) == 2
        else ""
    )
    raise TargetError(
        f"the target answers one score under {score!r} ({item[score]:g}) beside the class under {label!r} ({item[label]}), and "
        f'not which class the score is of: {second}to audit the labels alone, set output = "{label}"; or let it answer one '
        "number per class"
    )


def refuse_unnamed(item: Mapping[str, Any], key: str, n: int = 0) -> None:
    """Refuse to take a score without the class that stands beside it: such lists are mostly sorted by size.

    Parameters
    ----------
    item
        An object of an answer.
    key
        What is taken of it.
    n
        Number of records that its lists are of; 0 where it is of one record.

    Raises
    ------
    TargetError
        If the object names the class of that number, or the classes of those numbers.
    """
    value = item[key]
    label = next((name for name in _LABEL if name != key and isinstance(item.get(name), str)), None)
    if label is not None and _is_number(value):
        raise TargetError(
            f"the path of the answers takes {key!r} alone, beside which {label!r} names its class, and such lists are "
            "sorted by size: leave the last steps out, so that it ends at the objects or their list, which are read by "
            "their classes"
        )
    if isinstance(value, list) and value and all(_is_number(v) for v in value):
        for name in LABELS:
            labels = item.get(name)
            if name != key and isinstance(labels, list) and len(labels) == len(value) > 1:
                if n == len(value):
                    raise TargetError(
                        f"the target answers one number a record under {key!r}, of the class under {name!r}: read them by "
                        f"functions of your own (encode and decode), or set answer to the path of {name!r} to audit the labels "
                        "alone"
                    )
                raise TargetError(
                    f"the path of the answers takes {key!r} alone, beside which {name!r} names the classes: leave the last "
                    "step out, so that it ends at the objects, which are read by their classes"
                )


def _is_by_class(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(map(_is_number, value.values()))


def _by_class(item: Mapping[str, Any], names: Sequence[str] | None) -> list[Any]:
    return _by_name([(str(key), value) for key, value in item.items()], names)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pairs(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(entry, Mapping) for entry in item)


def _of_pairs(entries: Sequence[Mapping[str, Any]], names: Sequence[str] | None) -> list[Any]:
    """Return scores in class order of a list of objects with a class and its score."""
    pairs = []
    for entry in entries:
        label = next((entry[key] for key in _LABEL if isinstance(entry.get(key), str | int)), None)
        score = next((entry[key] for key in _PROBABILITIES if _is_number(entry.get(key))), None)
        if label is None or score is None:
            raise TargetError(
                f"the target answers lists of objects without a label and a score each: {said_error(entry)}; read them by "
                "functions of your own (encode and decode)"
            )
        pairs.append((str(label), score))
    return _by_name(pairs, names)


def _of_lists(labels: Sequence[Any], scores: Sequence[Any], names: Sequence[str] | None) -> Any:
    """Return scores in class order of a list of classes and one of scores; or of all scores beside the one best class."""
    if len(labels) == len(scores):
        return _by_name([(str(label), score) for label, score in zip(labels, scores, strict=True)], names)
    if len(labels) == 1 and names is not None and len(scores) == len(names) and all(map(_is_number, scores)):
        best = max(scores)
        top = [i for i, score in enumerate(scores) if score == best]
        if any(str(labels[0]) in (names[i], str(i)) for i in top):
            return scores
    raise TargetError(
        f"the target answers {counted(len(labels), 'class', 'classes')} ({excerpt(str(list(labels)[:5]))}) beside "
        f"{counted(len(scores), 'score')}; expected "
        "as many, or all scores in the order of the classes beside the best class: set output to the key to read"
    )


def _by_name(pairs: Sequence[tuple[str, Any]], names: Sequence[str] | None) -> list[Any]:
    names_there = [name for name, _ in pairs]
    if names is None:
        raise TargetError(
            f"the target names its classes ({excerpt(str(names_there[:5]))}); give the classes' names in order"
        )
    if len(set(names_there)) < len(names_there):
        raise TargetError(f"the target names a class twice in one answer: {excerpt(str(sorted(names_there)[:5]))}")
    number = {str(name): i for i, name in enumerate(names)}
    if not all(name in number for name in names_there):
        number = {str(i): i for i in range(len(names))}
    if not all(name in number for name in names_there):
        number = {f"LABEL_{i}": i for i in range(len(names))}  # of transformers' models whose classes have no names
    if not all(name in number for name in names_there):
        number = {f"{name}.0": i for i, name in enumerate(names) if str(name).isdecimal()}  # of labels kept as floats
    unknown = [name for name in names_there if name not in number]
    if unknown:
        by_name = {str(name) for name in names}
        unknown = [name for name in names_there if name not in by_name]
        raise TargetError(
            f"the target answers classes the data does not have: {[name[:40] for name in unknown[:5]]}; the data's are "
            f"{list(names[:10])}"
        )
    row: list[Any] = [0.0] * len(names)
    for name, score in pairs:
        row[number[name]] = score
    return row
