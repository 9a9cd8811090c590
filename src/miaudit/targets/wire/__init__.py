"""Wire formats: one pair of pure functions each, records to a body and a body to answers."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from miaudit.data.records import Records, n_records
from miaudit.errors import PlanError, TargetError, counted, not_real, reason_of, section, with_article
from miaudit.plugins import Plugin, plugin
from miaudit.targets.wire import lists, rows, template, v2
from miaudit.targets.wire.rows import Answers, MissingError

_CHOICES = (
    "model",
    "version",
    "input",
    "datatype",
    "send",
    "body",
    "answer",
    "each",
    "id",
)  # of a wire; ``output`` belongs to all


@dataclass(frozen=True)
class Format:
    """How servers of one kind are spoken to, as pure functions; a package declares one in the group ``miaudit.wire``.

    Parameters
    ----------
    encode
        From a `Wire` and n records to the body that asks about them.
    decode
        From a `Wire`, the body of an answer, n and the class names in order (or None) to answers: (n, classes) float64, or (n,)
        labels. What it raises is told as a `TargetError`.
    path
        From a `Wire` to the path below a server's bare address; None: the url is always whole.
    takes
        Which options of `Wire` it reads, beside ``output``.
    content_type
        Type of what is sent, and what is asked for in return.
    check
        From a `Wire` to what is wrong with its options: pairs of an option and a sentence.
    one_at_a_time
        From a `Wire` to whether a request holds one record.
    """

    encode: Callable[[Wire, Records], bytes]
    decode: Callable[[Wire, bytes, int, Sequence[str] | None], Answers]
    path: Callable[[Wire], str] | None = None
    takes: tuple[str, ...] = ()
    content_type: str = "application/json"
    check: Callable[[Wire], Sequence[tuple[str, str]]] = lambda wire: ()
    one_at_a_time: Callable[[Wire], bool] = lambda wire: False


@dataclass(frozen=True)
class Wire:
    """How a server is spoken to.

    Parameters
    ----------
    format
        ``v2`` (KServe, MLServer, Triton, Seldon), ``instances`` (TF Serving, KServe V1, Vertex AI), ``mlflow`` (also
        Databricks and Azure ML), ``sagemaker-csv``, ``sagemaker-json``, ``huggingface`` (endpoints of a classification
        pipeline), ``json`` (any other, by a template), or the name of a format that an installed package declares.
    model, version
        Names in the path, for ``v2`` and ``instances``.
    input, datatype
        Name and type of the tensor, for ``v2``.
    output
        Which of several outputs to read; MLServer answers labels unless asked for ``predict_proba``.
    send
        Which form of body, for ``mlflow`` and ``sagemaker-json``.
    body, answer, each, id
        For ``json``: the template of the body, the path of the answers, the template of one record of a batch, and the key of
        its number in each answer.
    encoder, decoder
        Functions in place of the format's: from records to a body (bytes, a text, or what JSON can hold), and from the bytes
        that came back and the number of records to answers.
    scale
        Numbers are answered times this.

    Raises
    ------
    PlanError
        If there is no such format, an option does not belong to it, or one is missing.
    """

    format: str
    model: str | None = None
    version: str | None = None
    input: str | None = None
    datatype: str | None = None
    output: str | None = None
    send: str | None = None
    body: str | None = None
    answer: str | None = None
    each: str | None = None
    id: str | None = None
    encoder: Callable[[Records], Any] | None = None
    decoder: Callable[[bytes, int], Any] | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        with section("format"):
            own = self._format
        problems = [
            (name, f"does not belong to format {self.format!r}, which takes {', '.join((*own.takes, 'output'))}")
            for name in _CHOICES
            if getattr(self, name) is not None and name not in own.takes
        ]
        with self._blamed("cannot check its options"):
            problems += own.check(self)
        problems += not_real(("scale", self.scale), above=0, optional=True)
        if problems:
            raise PlanError(problems)
        if self.body is not None:
            template.check(self.body, self.each)

    @property
    def _format(self) -> Format:
        return FORMATS.get(self.format) or _declared(self.format)[0]

    def _blamed(self, what: str) -> AbstractContextManager[None]:
        """Name the package, if one declares the format, in what its functions raise."""
        return nullcontext() if self.format in FORMATS else _declared(self.format)[1].blamed(what)

    @property
    def source(self) -> str | None:
        """The package that declares the format, with its version; None for those of miaudit."""
        return None if self.format in FORMATS else _declared(self.format)[1].distribution

    def filled(self, value: Callable[[str, str], str]) -> Wire:
        """Return the wire with the variables in its body filled in, by ``value(name, where)``; for sending alone."""
        if self.body is None:
            return self

        def fill(text: str) -> str:
            return json.dumps(template.with_variables(json.loads(text), value))

        return replace(self, body=fill(self.body), each=None if self.each is None else fill(self.each))

    @property
    def content_type(self) -> str:
        """Type of what is sent, and what is asked for in return."""
        return self._format.content_type

    @property
    def one_at_a_time(self) -> bool:
        """Whether a request holds one record."""
        return self._format.one_at_a_time(self)

    def encode(self, X: Records) -> bytes:
        """Return the body that asks about some records."""
        if self.encoder is not None:
            return _body(self.encoder, X)
        with self._blamed("cannot write the records"):
            return self._format.encode(self, X)

    def decode(self, content: bytes, n: int, names: Sequence[str] | None = None) -> Answers:
        """Return the answers to n records; raise a TargetError for anything else."""
        try:
            answers = (
                self._format.decode(self, content, n, names)
                if self.decoder is None
                else rows.answers_of(_listed(self.decoder(content, n)), n, output=self.output, names=names)
            )
            return self._scaled(answers)
        except MissingError as error:
            error.answers = self._scaled(error.answers)
            raise
        except TargetError:
            raise
        except Exception as error:  # whatever an answer holds, it is an answer that cannot be used
            raise TargetError(
                f"the target's answer cannot be read ({type(error).__name__}); check url and format"
                if self.decoder is None
                else f"decode failed on the target's answer: {reason_of(error)}"
            ) from error

    def is_ambiguous(self, content: bytes, n: int) -> bool:
        """Whether an answer to n records, of n classes, lists n labels beside its numbers, which may be of either."""
        try:
            return self.decoder is None and _lists_labels(rows.from_bytes(content), n)
        except TargetError:
            return False

    def _scaled(self, answers: Answers) -> Answers:
        return answers if self.scale is None or answers.dtype.kind not in "fi" else answers / self.scale

    def address(self, url: str) -> str:
        """Return where to send: the url itself, or below it if it is only a server's address."""
        parts, path = urlsplit(url), self._format.path
        if parts.path not in ("", "/") or path is None:
            return url
        with self._blamed("cannot say the path"):
            return urlunsplit(parts._replace(path=path(self)))


def names_classes(decode: Callable[..., Answers], content: bytes, answers: Answers, names: Sequence[str]) -> bool:
    """Return whether an answer says which class each of its numbers is of: read for the names in reverse, it moves its columns.

    ``decode`` reads the content for ``names``, which gave the answers, (n, classes).
    """
    if answers.ndim != 2 or answers.shape[1] != len(names):
        return False
    reverse = decode(content, names=names[::-1])
    return reverse.shape == answers.shape and not np.array_equal(reverse, answers)


def _lists_labels(value: Any, n: int) -> bool:
    """Return whether a list of n labels stands beside the answers, or beside what holds them; not within an answer."""
    if isinstance(value, list):
        return len(value) != n and any(_lists_labels(each, n) for each in value)
    if not isinstance(value, dict):
        return False
    listed = [value[key] for key in rows.LABELS if isinstance(value.get(key), list) and len(value[key]) == n]
    return any(all(isinstance(label, str | int) for label in labels) for labels in listed) or any(
        _lists_labels(each, n) for each in value.values()
    )


def _body(encoder: Callable[[Records], Any], X: Records) -> bytes:
    """Return what a user's function makes of records, as bytes."""
    try:
        body = encoder(X)
    except Exception as error:
        raise TargetError(f"encode failed on {counted(n_records(X), 'record')}: {reason_of(error)}") from error
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, bytes | bytearray | memoryview) else rows.to_bytes(body)


def _listed(answers: Any) -> Any:
    """Return what a user's function read as lists, where it is an array."""
    return answers.tolist() if hasattr(answers, "tolist") else answers


@functools.lru_cache
def _declared(name: str) -> tuple[Format, Plugin]:
    declared = plugin("wire", name, choices=tuple(FORMATS))
    form = declared.load()
    if not isinstance(form, Format):
        raise declared.problem(f"is {with_article(type(form).__name__)}, and must be a miaudit.targets.wire.Format")
    return form, declared


def _instances_path(wire: Wire) -> str:
    if wire.model is None:
        raise PlanError("format instances needs the model's name where the url has no path: set model")
    return f"/v1/models/{wire.model}{f'/versions/{wire.version}' if wire.version else ''}:predict"


def _one_of(name: str, allowed: Sequence[str]) -> Callable[[Wire], list[tuple[str, str]]]:
    """Return the check that an option, where it is given, is one of some."""

    def check(wire: Wire) -> list[tuple[str, str]]:
        value = getattr(wire, name)
        return (
            [] if value is None or value in allowed else [(name, f"must be one of {', '.join(allowed)}; got {value!r}")]
        )

    return check


def _body_given(wire: Wire) -> list[tuple[str, str]]:
    return (
        []
        if wire.body is not None or wire.encoder is not None
        else [("body", 'missing: the JSON to send, with "$records" where the records go')]
    )


def _task_inputs(X: Records) -> bytes:
    """Return records as a Hugging Face endpoint takes them, with the scores of all classes asked for."""
    return rows.to_bytes({"inputs": rows.rows_of(X), "parameters": {"top_k": None}})


FORMATS: dict[str, Format] = {
    "v2": Format(
        lambda w, X: v2.encode(X, input=w.input or "input-0", output=w.output, datatype=w.datatype),
        lambda w, content, n, names: v2.decode(content, n, output=w.output, names=names),
        path=lambda w: v2.path(w.model, w.version),
        takes=("model", "version", "input", "datatype"),
        check=_one_of("datatype", tuple(v2.DATATYPES)),
    ),
    "instances": Format(
        lambda w, X: lists.encode_instances(X),
        lambda w, content, n, names: lists.decode_list(content, n, output=w.output, names=names),
        path=_instances_path,
        takes=("model", "version"),
    ),
    "mlflow": Format(
        lambda w, X: lists.encode_mlflow(X, send=w.send),
        lambda w, content, n, names: lists.decode_list(content, n, output=w.output, names=names),
        path=lambda w: "/invocations",
        takes=("send",),
        check=_one_of("send", lists.MLFLOW_FORMS),
    ),
    "sagemaker-csv": Format(
        lambda w, X: lists.encode_sagemaker_csv(X),
        lambda w, content, n, names: lists.decode_sagemaker(content, n, output=w.output, names=names),
        path=lambda w: "/invocations",
        content_type="text/csv",
    ),
    "sagemaker-json": Format(
        lambda w, X: lists.encode_sagemaker_json(X, send=w.send),
        lambda w, content, n, names: lists.decode_sagemaker(content, n, output=w.output, names=names),
        path=lambda w: "/invocations",
        takes=("send",),
        check=_one_of("send", lists.SAGEMAKER_FORMS),
    ),
    "huggingface": Format(
        lambda w, X: _task_inputs(X),
        lambda w, content, n, names: template.decode(content, n, output=w.output, names=names),
        path=lambda w: "/",
    ),
    "json": Format(
        lambda w, X: template.encode(X, body=w.body or "", each=w.each),
        lambda w, content, n, names: template.decode(
            content, n, answer=w.answer or "", id=w.id, output=w.output, names=names
        ),
        takes=("body", "answer", "each", "id"),
        check=_body_given,
        one_at_a_time=lambda w: w.body is not None and template.takes_one(w.body),
    ),
}
"""The formats of miaudit, by name."""

__all__ = ["FORMATS", "Answers", "Format", "Wire"]
