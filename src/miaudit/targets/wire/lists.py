"""Formats that hold a list of records and answer a list: TF Serving and its kin, MLflow, SageMaker."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from miaudit.data.records import Records
from miaudit.errors import PlanError, TargetError, counted
from miaudit.targets.wire.rows import (
    Answers,
    answers_of,
    class_lists,
    columns_of,
    excerpt,
    from_bytes,
    is_error,
    is_table,
    matrix,
    objects_of,
    refuse_told,
    rows_of,
    said_error,
    to_bytes,
)

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)

MLFLOW_FORMS = ("dataframe_split", "inputs", "instances", "input_data")
SAGEMAKER_FORMS = ("rows", "instances", "features")


def encode_instances(X: Records) -> bytes:
    """Return ``{"instances": [...]}``; the rows of a table are objects with its columns' names.

    TF Serving, KServe V1 and Vertex AI take this form.
    """
    return to_bytes({"instances": objects_of(X) if is_table(X) else rows_of(X)})


def encode_mlflow(X: Records, *, send: str | None = None) -> bytes:
    """Return the body of an ``/invocations`` call of MLflow and Databricks, or of Azure ML's ``/score``.

    ``send`` is ``dataframe_split`` (the default for flat records of named columns), ``inputs`` (the default for plain
    arrays), ``instances``, or ``input_data`` (Azure ML).

    Raises
    ------
    PlanError
        If ``send`` is none of these, or asks for columns of records that have more axes.
    """
    form = send or ("dataframe_split" if is_table(X) else "inputs")
    if form not in MLFLOW_FORMS:
        raise PlanError(f"send must be one of {', '.join(MLFLOW_FORMS)} for mlflow; got {send!r}")
    if form in ("inputs", "instances"):
        return to_bytes({form: objects_of(X) if is_table(X) else rows_of(X)})
    if len(X.shape) != 2:
        raise PlanError(f'records of shape {X.shape[1:]} have no columns: set send = "inputs"')
    split: dict[str, Any] = {"columns": columns_of(X), "data": rows_of(X)}
    if form == "input_data":
        split["index"] = list(range(len(split["data"])))
    return to_bytes({form: split})


def encode_sagemaker_csv(X: Records) -> bytes:
    """Return one line per record, without a header.

    Raises
    ------
    PlanError
        If the records are not flat.
    """
    if len(X.shape) != 2:
        raise PlanError(f'records of shape {X.shape[1:]} have no form in CSV: set format = "sagemaker-json"')
    text = io.StringIO()
    rows = [[int(value) if isinstance(value, bool) else value for value in row] for row in rows_of(X)]
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def encode_sagemaker_json(X: Records, *, send: str | None = None) -> bytes:
    """Return a bare list of rows, as the containers for own code take it.

    ``send`` is ``rows`` (the default), ``instances`` (the rows under that key), or ``features`` (as the algorithms that
    come with SageMaker take it).

    Raises
    ------
    PlanError
        If ``send`` is none of these.
    """
    form = send or "rows"
    if form not in SAGEMAKER_FORMS:
        raise PlanError(f"send must be one of {', '.join(SAGEMAKER_FORMS)} for sagemaker-json; got {send!r}")
    rows = rows_of(X)
    if form == "features":
        return to_bytes({"instances": [{"features": row} for row in rows]})
    return to_bytes(rows if form == "rows" else {"instances": rows})


def decode_list(content: bytes, n: int, *, output: str | None = None, names: Sequence[str] | None = None) -> Answers:
    """Return the answers to n records in a bare list, or under ``predictions`` or ``outputs``.

    Raises
    ------
    TargetError
        If there is no such list, or it does not hold one answer per record.
    """
    answer = from_bytes(content)
    if not isinstance(answer, dict):
        return answers_of(answer, n, output=output, names=names)
    key = next((key for key in ("predictions", "outputs") if answer.get(key) is not None), None)
    if key is None:
        raise TargetError(
            f"the target's answer has no predictions: {said_error(answer)}"
            + (
                ""
                if is_error(answer)
                else "; for another form set format to json, and answer to the path of the answers"
            )
        )
    if isinstance(answer[key], dict) and output in answer[key]:  # TF Serving's columnar form
        answer, key = answer[key], str(output)
    refuse_told(answer, answer[key])
    return answers_of(answer[key], n, output=output, names=names, lists=class_lists(answer, key, n))


def decode_sagemaker(
    content: bytes, n: int, *, output: str | None = None, names: Sequence[str] | None = None
) -> Answers:
    """Return the answers to n records in CSV, one line per record, or in JSON, whichever the container answered.

    Raises
    ------
    TargetError
        If it is neither, or does not hold one answer per record.
    """
    start = content.lstrip()[:1]
    if start in (b"[", b"{", b"<"):
        return decode_list(_one_json(content, n), n, output=output, names=names)
    try:
        lines = [line for line in csv.reader(io.StringIO(content.decode())) if line]
    except (UnicodeDecodeError, csv.Error):
        raise TargetError(f"the target answered no CSV: {excerpt(content)}; check url and format") from None
    if len(lines) == 1 and n > 1 and len(lines[0]) == n:  # one number per record, on one line
        lines = [[value] for value in lines[0]]
    if len(lines) != n:
        raise TargetError(
            f"the target was asked about {counted(n, 'record')} and answered {len(lines)} lines; it must answer all"
        )
    if all(len(line) == 1 for line in lines):
        return answers_of([_number(line[0]) for line in lines], n)
    return matrix([[_number(value) for value in line] for line in lines])


def _number(text: str) -> int | float | str:
    for form, convert in ((_WHOLE, int), (_FLOAT, float)):
        if form.fullmatch(text.strip()):
            return convert(text)
    return text


def _one_json(content: bytes, n: int) -> bytes:
    """Return as one list what containers answer as values with commas or line ends between them, or as one record's."""
    try:
        value = json.loads(content)
    except ValueError:
        lines = [line.strip().rstrip(b",") for line in content.strip().splitlines()]
        joined = b"[" + b",".join(line for line in lines if line) + b"]"
        try:
            values = json.loads(joined)
        except (ValueError, RecursionError):
            return content
        inner = [value.get("predictions") if isinstance(value, dict) else None for value in values]
        return joined if None in inner else json.dumps(inner).encode()
    except RecursionError:
        return content
    one = n == 1 and isinstance(value, list) and len(value) > 1 and not any(isinstance(v, list | dict) for v in value)
    return b"[" + content + b"]" if one else content
