"""Any JSON service: a template of the body, and the path of the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from miaudit.data.records import Records, is_texts, n_records
from miaudit.errors import DataError, PlanError, TargetError
from miaudit.targets.credentials import ENV
from miaudit.targets.wire.rows import (
    Answers,
    answers_of,
    class_lists,
    columns_of,
    excerpt,
    from_bytes,
    is_error,
    objects_of,
    refuse_moved,
    refuse_told,
    refuse_unnamed,
    rows_of,
    said_error,
    to_bytes,
)

_ALL, _ONE = ("$records", "$objects"), ("$record", "$object")
_FIELD = "$record."  # and the name of a column


def encode(X: Records, *, body: str, each: str | None = None) -> bytes:
    """Return the body with its places filled.

    Parameters
    ----------
    X
        Records; only one where the template has ``"$record"``, ``"$object"`` or ``"$record.NAME"``.
    body
        JSON text. The strings ``"$records"`` and ``"$record"`` in it stand for the list of all records and for the one
        record, each a list of values; ``"$objects"`` and ``"$object"`` for the same with records as objects that name their
        columns; ``"$record.NAME"`` for one column's value; ``"$columns"`` for the names of the columns; ``"$each"`` for the
        list of all records in the form of ``each``.
    each
        JSON text of one record, with places for one; ``"$id"`` in it stands for the record's number in the request.

    Raises
    ------
    PlanError
        If a template is no JSON or has no place for records.
    DataError
        If there is no such column.
    """
    template, one = check(body, each), None if each is None else json.loads(each)
    n = n_records(X)
    if takes_one(body) and n != 1:
        raise PlanError(f"the template takes one record at a time, not {n}")
    columns = columns_of(X) if len(X.shape) == 2 or is_texts(X) else []
    rows, texts = rows_of(X), [*_strings(template), *_strings(one)]
    by_object = {"$objects", "$object"} & {*texts}
    objects = objects_of(X) if by_object else []
    fields = {text: text.removeprefix(_FIELD) for text in texts if text.startswith(_FIELD)}
    if unknown := sorted(set(fields.values()) - {*columns}):
        raise DataError(f"the records have no column {unknown[0]!r}; they have {columns[:10]}")
    cells = objects_of(X) if fields else []

    def of_one(i: int) -> dict[str, Any]:
        values: dict[str, Any] = {"$record": rows[i], "$id": i}
        values |= {"$object": objects[i]} if objects else {}
        return values | {text: cells[i][name] for text, name in fields.items()}

    values: dict[str, Any] = {"$records": rows, "$objects": objects, "$columns": columns}
    if one is not None:
        values["$each"] = [filled(one, _lookup(of_one(i))) for i in range(n)]
    elif n == 1:
        values |= of_one(0)
    return to_bytes(filled(template, _lookup(values)))


def check(body: str, each: str | None = None) -> Any:
    """Return the template of the body as JSON values, or raise a PlanError that says what is wrong with it or with ``each``."""
    template = _read(body, "body", '{"rows": "$records"}')
    if each is not None:
        one = _read(each, "each", '{"id": "$id", "features": "$record"}')
        if not _places(one, (*_ONE, _FIELD)):
            raise PlanError([("each", 'must have a place for the record: "$record", "$object" or "$record.NAME"')])
        if _places(template, (*_ALL, *_ONE, _FIELD)) or "$each" not in _strings(template):
            raise PlanError([("body", 'must have "$each" as its place for the records, whose form each gives')])
        return template
    places = _places(template, (*_ALL, *_ONE))
    fields = _places(template, (_FIELD,))
    if len(places) + bool(fields) != 1:
        raise PlanError(
            'body must have one place for the records: "$records" or "$objects" (all of a batch, as lists of values or as '
            'objects by column), "$record" or "$object" (one), or "$record.NAME" for each column of one; it has '
            f"{len(places) + bool(fields)}"
        )
    return template


def _read(text: str, name: str, example: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{name} must be JSON text, such as {example!r}; it is not: {error}") from None


def _lookup(values: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return what a text of a template stands for: a value, or itself."""
    return lambda text: values.get(text, text)


def _places(template: Any, places: Sequence[str]) -> set[str]:
    """Return which of some places a template has; the fields of a record are one."""
    return {
        place
        for text in _strings(template)
        for place in places
        if text == place or (place == _FIELD and text.startswith(_FIELD))
    }


def _strings(template: Any) -> list[str]:
    """Return all strings that stand as values in a template."""
    if isinstance(template, Mapping):
        return [text for value in template.values() for text in _strings(value)]
    if isinstance(template, list):
        return [text for value in template for text in _strings(value)]
    return [template] if isinstance(template, str) else []


def with_variables(template: Any, value: Callable[[str, str], str]) -> Any:
    """Return a template, as JSON values, whose ``env:NAME`` are filled in, by ``value(name, where)``.

    Raises
    ------
    PlanError
        If a variable is not set, or its value would be taken for a place of records.
    """

    def of_text(place: str) -> str:
        text = ENV.sub(lambda match: value(match[1], "body"), place)
        if text != place and text.startswith("$"):
            raise PlanError(f"body: the value of {place} begins with $, as the places of records do")
        return text

    return filled(template, of_text)


def filled(template: Any, of_text: Callable[[str], Any]) -> Any:
    """Return a template, as JSON values, with what a function makes of each text in its place; keys stay."""
    if isinstance(template, dict):
        return {key: filled(item, of_text) for key, item in template.items()}
    if isinstance(template, list):
        return [filled(item, of_text) for item in template]
    return of_text(template) if isinstance(template, str) else template


def takes_one(body: str) -> bool:
    """Whether the template takes one record at a time."""
    return bool(_places(json.loads(body), (*_ONE, _FIELD)))


def decode(
    content: bytes,
    n: int,
    *,
    answer: str = "",
    id: str | None = None,
    output: str | None = None,
    names: Sequence[str] | None = None,
) -> Answers:
    """Return the answers to n records.

    Parameters
    ----------
    content
        JSON.
    n
        Number of records.
    answer
        Path of the answers: keys and positions, with dots between; ``*`` goes through a list. ``data.*.probs`` reads
        ``{"data": [{"probs": [...]}, ...]}``. Empty: the whole answer.
    id
        Key of the record's number in the request, in the objects of the first list on that path, by which answers are put in
        order.
    output, names
        As for `answers_of`.

    Raises
    ------
    TargetError
        If there is nothing at that path, or it does not hold one answer per record.
    """
    whole, steps = from_bytes(content), [step for step in answer.split(".") if step]
    value = _at(whole, steps, answer, id=id, n=n)
    refuse_told(whole, value)
    if n == 1 and not (isinstance(value, list) and len(value) == 1):
        value = [value]  # the one answer itself
    elif isinstance(value, Mapping) and is_error(value) is None:
        raise TargetError(
            f"the target's answer is no list with one item per record; {said_error(value)}: set answer to the path of that list"
        )
    lists = _class_lists(whole, steps, n)
    if id is not None and lists is not None and any(labels is not lists[0] for labels in lists):
        lists = None  # in another order than the answers are now
    return answers_of(value, n, output=output, names=names, lists=lists)


def _class_lists(value: Any, steps: Sequence[str], n: int) -> list[list[Any]] | None:
    """Return the classes listed beside the list of answers, or of one that holds it, once for each answer."""
    lists = None
    for step in steps:
        if isinstance(value, Mapping) and step in value:
            lists = class_lists(value, step, n) or lists
            value = value[step]
        elif isinstance(value, list) and step != "*":
            value = value[int(step)]
        else:
            break
    return lists


def _at(value: Any, steps: Sequence[str], whole: str, *, id: str | None = None, n: int = 0) -> Any:
    for i, step in enumerate(steps):
        if step == "*" and isinstance(value, list):
            if id is None:
                refuse_moved(value)
            else:
                value = _in_order(value, id, n)
            return [_at(item, steps[i + 1 :], whole) for item in value]
        if isinstance(value, dict) and step in value:
            if i == len(steps) - 1:
                refuse_unnamed(value, step, n)
            value = value[step]
        elif isinstance(value, list) and step.lstrip("-").isdigit() and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        else:
            advice = "" if isinstance(value, dict) and is_error(value) else "; set answer"
            raise TargetError(
                f"the target's answer has nothing at {whole!r}: in the place of {step!r} {said_error(value)}{advice}"
            )
    return value if id is None else _in_order(value, id, n)


def _in_order(items: Any, id: str, n: int) -> list[Any]:
    """Return answers in the order of the records, by the number in each."""
    if not isinstance(items, list) or not all(isinstance(item, Mapping) and id in item for item in items):
        raise TargetError(
            f"the target's answers are no list of objects with {id!r} each: {excerpt(str(items))}; set answer and id"
        )
    numbers = [str(item[id]) for item in items]
    if sorted(numbers) != sorted(map(str, range(n))):
        raise TargetError(
            f"the target was asked about records 0 to {n - 1}, and answers {id!r} {excerpt(str(numbers[:8]))}; one answer each"
        )
    by_number = dict(zip(numbers, items, strict=True))
    return [{key: value for key, value in by_number[str(i)].items() if key != id} for i in range(n)]
