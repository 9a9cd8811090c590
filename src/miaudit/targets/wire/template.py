"""Any JSON service: a template of the body, and the path of the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from miaudit.data.records import Records, n_records
from miaudit.errors import PlanError, TargetError
from miaudit.targets.credentials import ENV
from miaudit.targets.wire.rows import (
    Answers,
    answers_of,
    columns_of,
    excerpt,
    from_bytes,
    objects_of,
    refuse_moved,
    refuse_unnamed,
    rows_of,
    to_bytes,
)

_ALL, _ONE = ("$records", "$objects"), ("$record", "$object")
_PLACES = (*_ALL, *_ONE, "$columns")


def encode(X: Records, *, body: str) -> bytes:
    """Return the body with its places filled.

    Parameters
    ----------
    X
        Records; only one where the template has ``"$record"`` or ``"$object"``.
    body
        JSON text. The strings ``"$records"`` and ``"$record"`` in it stand for the list of all records and for the one
        record, each a list of values; ``"$objects"`` and ``"$object"`` for the same with records as objects that name their
        columns; ``"$columns"`` for the names of the columns.

    Raises
    ------
    PlanError
        If the template is no JSON or has no place for records.
    """
    template = check(body)
    if takes_one(body) and n_records(X) != 1:
        raise PlanError(f"the template takes one record at a time, not {n_records(X)}")
    named = _holds(template, "$objects") or _holds(template, "$object")
    rows = objects_of(X) if named else rows_of(X)
    values = dict.fromkeys(_ALL, rows) | dict.fromkeys(_ONE, rows[0] if rows else None)
    values["$columns"] = columns_of(X) if len(X.shape) == 2 else []
    return to_bytes(filled(template, lambda text: values.get(text, text)))


def check(body: str) -> Any:
    """Return the template as JSON values, or raise a PlanError that says what is wrong with it."""
    try:
        template = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PlanError(f'body must be JSON text, such as \'{{"rows": "$records"}}\'; it is not: {error}') from None
    places = [place for place in (*_ALL, *_ONE) if _holds(template, place)]
    if len(places) != 1:
        raise PlanError(
            'body must have one place for the records: "$records" or "$objects" (all of a batch, as lists of values or as '
            f'objects by column), "$record" or "$object" (one); it has {len(places)}'
        )
    return template


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
    template = json.loads(body)
    return any(_holds(template, place) for place in _ONE)


def decode(
    content: bytes, n: int, *, answer: str = "", output: str | None = None, names: Sequence[str] | None = None
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
    output, names
        As for `answers_of`.

    Raises
    ------
    TargetError
        If there is nothing at that path, or it does not hold one answer per record.
    """
    value = _at(from_bytes(content), [step for step in answer.split(".") if step], answer)
    if n == 1 and not (isinstance(value, list) and len(value) == 1):
        value = [value]  # the one answer itself
    return answers_of(value, n, output=output, names=names)


def _at(value: Any, steps: Sequence[str], whole: str) -> Any:
    for i, step in enumerate(steps):
        if step == "*" and isinstance(value, list):
            refuse_moved(value)
            return [_at(item, steps[i + 1 :], whole) for item in value]
        if isinstance(value, dict) and step in value:
            if i == len(steps) - 1:
                refuse_unnamed(value, step)
            value = value[step]
        elif isinstance(value, list) and step.lstrip("-").isdigit() and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        else:
            there = f"keys {list(value)[:6]}" if isinstance(value, dict) else excerpt(str(value))
            raise TargetError(f"the target's answer has nothing at {whole!r}: at {step!r} there is {there}; set answer")
    return value


def _holds(template: Any, place: str) -> bool:
    if isinstance(template, dict):
        return any(_holds(value, place) for value in template.values())
    if isinstance(template, list):
        return any(_holds(value, place) for value in template)
    return bool(template == place)
