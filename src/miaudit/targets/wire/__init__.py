"""Wire formats: one pair of pure functions each, records to a body and a body to answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args
from urllib.parse import urlsplit, urlunsplit

from miaudit.data.records import Records
from miaudit.errors import PlanError, TargetError
from miaudit.targets.wire import lists, template, v2
from miaudit.targets.wire.rows import Answers

FormatName = Literal["v2", "instances", "mlflow", "sagemaker-csv", "sagemaker-json", "json"]

_OPTIONS: dict[str, tuple[str, ...]] = {
    "v2": ("model", "version", "input", "datatype"),
    "instances": ("model", "version"),
    "mlflow": ("send",),
    "sagemaker-csv": (),
    "sagemaker-json": ("send",),
    "json": ("body", "answer"),
}


@dataclass(frozen=True)
class Wire:
    """How a server is spoken to.

    Parameters
    ----------
    format
        ``v2`` (KServe, MLServer, Triton, Seldon), ``instances`` (TF Serving, KServe V1, Vertex AI), ``mlflow`` (also
        Databricks and Azure ML), ``sagemaker-csv``, ``sagemaker-json``, or ``json`` (any other, by a template).
    model, version
        Names in the path, for ``v2`` and ``instances``.
    input, datatype
        Name and type of the tensor, for ``v2``.
    output
        Which of several outputs to read; MLServer answers labels unless asked for ``predict_proba``.
    send
        Which form of body, for ``mlflow`` and ``sagemaker-json``.
    body, answer
        For ``json``: the template of the body and the path of the answer.

    Raises
    ------
    PlanError
        If an option does not belong to the format, or one is missing.
    """

    format: FormatName
    model: str | None = None
    version: str | None = None
    input: str | None = None
    datatype: str | None = None
    output: str | None = None
    send: str | None = None
    body: str | None = None
    answer: str | None = None

    def __post_init__(self) -> None:
        if self.format not in get_args(FormatName):
            raise PlanError([("format", f"must be one of {', '.join(get_args(FormatName))}; got {self.format!r}")])
        own = _OPTIONS[self.format]
        problems = [
            (name, f"does not belong to format {self.format!r}, which takes {', '.join((*own, 'output'))}")
            for name in ("model", "version", "input", "datatype", "send", "body", "answer")
            if getattr(self, name) is not None and name not in own
        ]
        if self.format == "json" and self.body is None:
            problems.append(("body", 'missing: the JSON to send, with "$records" where the records go'))
        allowed = {"mlflow": lists.MLFLOW_FORMS, "sagemaker-json": lists.SAGEMAKER_FORMS}.get(self.format, ())
        if self.send is not None and allowed and self.send not in allowed:
            problems.append(("send", f"must be one of {', '.join(allowed)}; got {self.send!r}"))
        if self.datatype is not None and self.datatype not in v2.DATATYPES:
            problems.append(("datatype", f"must be one of {', '.join(v2.DATATYPES)}; got {self.datatype!r}"))
        if problems:
            raise PlanError(problems)
        if self.body is not None:
            template.check(self.body)

    def filled(self, value: Callable[[str, str], str]) -> Wire:
        """Return the wire with the variables in its body filled in, by ``value(name, where)``; for sending alone."""
        if self.body is None:
            return self
        return replace(self, body=json.dumps(template.with_variables(json.loads(self.body), value)))

    @property
    def content_type(self) -> str:
        """Type of what is sent, and what is asked for in return."""
        return "text/csv" if self.format == "sagemaker-csv" else "application/json"

    @property
    def one_at_a_time(self) -> bool:
        """Whether a request holds one record."""
        return self.body is not None and template.takes_one(self.body)

    def encode(self, X: Records) -> bytes:
        """Return the body that asks about some records."""
        body: bytes = _ENCODE[self.format](self, X)
        return body

    def decode(self, content: bytes, n: int, names: Sequence[str] | None = None) -> Answers:
        """Return the answers to n records; raise a TargetError for anything else."""
        decode: Any = {
            "v2": v2.decode,
            "sagemaker-csv": lists.decode_sagemaker,
            "sagemaker-json": lists.decode_sagemaker,
        }
        read = decode.get(self.format, lists.decode_list)
        if self.format == "json":
            read = partial(template.decode, answer=self.answer or "")
        try:
            answers: Answers = read(content, n, output=self.output, names=names)
        except TargetError:
            raise
        except Exception as error:  # whatever an answer holds, it is an answer that cannot be used
            raise TargetError(
                f"the target's answer cannot be read ({type(error).__name__}); check url and format"
            ) from error
        return answers

    def address(self, url: str) -> str:
        """Return where to send: the url itself, or below it if it is only a server's address."""
        parts = urlsplit(url)
        if parts.path not in ("", "/") or self.format == "json":
            return url
        if self.format == "v2":
            path = v2.path(self.model, self.version)
        elif self.format == "instances":
            if self.model is None:
                raise PlanError("format instances needs the model's name where the url has no path: set model")
            path = f"/v1/models/{self.model}{f'/versions/{self.version}' if self.version else ''}:predict"
        else:
            path = "/invocations"
        return urlunsplit(parts._replace(path=path))


_ENCODE: dict[str, Any] = {
    "v2": lambda w, X: v2.encode(X, input=w.input or "input-0", output=w.output, datatype=w.datatype),
    "instances": lambda w, X: lists.encode_instances(X),
    "mlflow": lambda w, X: lists.encode_mlflow(X, send=w.send),
    "sagemaker-csv": lambda w, X: lists.encode_sagemaker_csv(X),
    "sagemaker-json": lambda w, X: lists.encode_sagemaker_json(X, send=w.send),
    "json": lambda w, X: template.encode(X, body=w.body),
}

__all__ = ["Answers", "FormatName", "Wire"]
