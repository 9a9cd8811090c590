"""Output mitigations in front of an endpoint: middleware for ASGI and WSGI applications, in the wire formats of `targets`.

The application answers as it did; what leaves the server is mitigated. An answer that cannot be read as probabilities is not
let through: the client gets status 502 and no number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import MiauditError, PlanError, TargetError
from miaudit.evidence.answers import Decision, Type, checked_type, decide, read
from miaudit.mitigations.output import OutputMitigation
from miaudit.targets import Outputs
from miaudit.targets.wire import FORMATS
from miaudit.targets.wire.rows import excerpt

_FRACTION = re.compile(r"[.,]\d|\d\s*%|\de-\d", re.IGNORECASE)
_WHOLE = re.compile(r"\d+\.0+")  # a class that was kept as a float
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_REFUSED = b'{"error": "the answer could not be mitigated, and is not given out"}'
_OF_V2 = {"id", "model_name", "model_version", "outputs", "parameters"}
_DROPPED = (b"content-length", b"content-encoding", b"transfer-encoding", b"etag", b"content-md5", b"digest")


@dataclass(frozen=True)
class Rewriting:
    """How answers are found in a body and written back.

    Parameters
    ----------
    mitigation
        What changes them.
    format
        ``v2``, ``instances``, ``mlflow``, ``sagemaker-csv``, ``sagemaker-json`` or ``json``.
    outputs
        What the application answers: "probabilities", "logits", "percent", "score" and so on; default: told from each
        body's numbers, which logits of few records may not show.
    output
        Of ``v2``: the tensor with the answers, and of TF Serving's columnar form its key; default: the only one.
    answer
        Of ``json``: the path of the answers in the body, such as ``data.*.probs``; default: the whole body.
    names
        Names of the classes, which labels are then given out by; default: their numbers.
    paths
        Requests to which paths are answered by the model; default: every POST.

    Raises
    ------
    PlanError
        If there is no such format, or an option does not belong to it.
    """

    mitigation: OutputMitigation
    format: str = "instances"
    outputs: Type | None = None
    output: str | None = None
    answer: str | None = None
    names: Sequence[str] | None = None
    paths: Sequence[str] | None = None

    def __post_init__(self) -> None:
        checked_type(self.outputs)
        if self.format not in FORMATS:
            raise PlanError([("format", f"must be one of {', '.join(FORMATS)}; got {self.format!r}")])
        if self.answer is not None and self.format != "json":
            raise PlanError([("answer", f"belongs to format json, and this is {self.format!r}")])
        if not isinstance(self.mitigation, OutputMitigation):
            raise PlanError([("mitigation", f"must have apply(outputs), got {type(self.mitigation).__name__}")])

    def concerns(self, method: str, path: str) -> bool:
        """Whether the model answers such a request."""
        return method == "POST" and (self.paths is None or path in self.paths)

    def body(self, content: bytes) -> bytes:
        """Return a body with its answers mitigated.

        Raises
        ------
        MiauditError
            If they cannot be read.
        """
        if self.format == "sagemaker-csv":
            rows = [[float(value) for value in line.split(",")] for line in content.decode().splitlines() if line]
            return "".join(",".join(_text(value) for value in _listed(row)) + "\n" for row in self.rows(rows)).encode()
        document = json.loads(content)
        if self.format == "v2":
            return _json(self._tensors(document))
        return _json(self._lists(document))

    def rows(self, answers: Any) -> list[Any]:
        """Return mitigated answers, one list of numbers or one label for each of n answers.

        Raises
        ------
        TargetError
            If they are no list of one number per class for each record, or labels of no known class.
        """
        if not isinstance(answers, list):
            raise TargetError("the answers are no list of one number per class for each record")
        alone = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in answers]
        if alone and all(isinstance(each, str) for each in alone):
            self._check_labels(alone)
            return list(answers)  # in which there is nothing to hide
        try:
            values = np.array(answers)
        except ValueError:
            raise TargetError("the answers differ in their form; one list of one number per class each") from None
        if values.ndim == 1 and values.dtype.kind in "iub" and self.outputs is None:
            return list(answers)  # numbers of classes
        form = values.dtype.kind in "fiu" and values.ndim in (1, 2) and 0 not in values.shape[1:]
        if not form or not np.isfinite(values).all():
            raise TargetError("the answers are no list of one number per class for each record")
        values = values.astype(np.float64)
        classes = 2 if values.ndim == 1 else values.shape[1]
        decision = Decision(self.outputs, "declared") if self.outputs else decide(values, classes=classes)
        probabilities, _ = read(values, decision)
        output = self.mitigation.apply(Outputs(probabilities, decision.kind, classes))
        return self._written(output, score=values.ndim == 1)

    def _check_labels(self, texts: Sequence[str]) -> None:
        """Refuse texts that may hold probabilities: those that are no names, or have fractions where no names are known."""
        for text in texts:
            if (self.names is not None and text in self.names) or text.isdecimal():
                continue
            if self.names is not None:
                raise TargetError(f"the answer holds {excerpt(text, 40)}, which is no name of a class")
            if _FRACTION.search(text) and not _WHOLE.fullmatch(text):
                raise TargetError(
                    f"the answer holds {excerpt(text, 40)}, with a number as a text; let it answer numbers, or give the names "
                    "of the classes if it is one"
                )

    def _written(self, answers: Outputs, *, score: bool) -> list[Any]:
        if answers.kind == "labels":
            labels: list[Any] = answers.values.tolist()
            return labels if self.names is None else [self.names[label] for label in labels]
        values: NDArray[Any] = answers.values
        return list((values[:, 1] if score else values).tolist())

    def _tensors(self, document: Any) -> Any:
        outputs = document["outputs"]
        tensors = [item for item in outputs if self.output in (None, item["name"])]
        if len(tensors) != 1 or len(outputs) != 1:  # a second tensor may tell what the first one hides
            raise TargetError(f"one output is mitigated, and the answer has {[item['name'] for item in outputs]}")
        item = tensors[0]
        if unread := set(document) - _OF_V2:
            raise TargetError(f"the answer has keys {sorted(unread)[:6]}, which may hold the answers, too")
        for holder in (document, item):  # what else is in parameters may tell what the tensor hides
            content_type = (holder.pop("parameters", None) or {}).get("content_type")
            if isinstance(content_type, str) and not _FRACTION.search(content_type):
                holder["parameters"] = {"content_type": content_type}
        shape = [int(size) for size in item["shape"]]
        rows = self.rows(np.array(item["data"]).reshape(shape).tolist())
        flat = [value for row in rows for value in _listed(row)]
        texts = any(isinstance(value, str) for value in flat)
        whole = all(isinstance(value, int) for value in flat)
        kind = "BYTES" if texts else "INT64" if whole else item["datatype"]
        wide = bool(rows) and isinstance(rows[0], list)
        item |= {"shape": [len(rows), len(rows[0])] if wide else [len(rows)], "datatype": kind, "data": flat}
        return document

    def _lists(self, document: Any) -> Any:
        if self.format == "json":
            steps = [step for step in (self.answer or "").split(".") if step]
        elif isinstance(document, dict):
            key = next((key for key in ("predictions", "outputs") if key in document), None)
            if key is None or set(document) - {key, "model_spec", "model_version", "deployedModelId"}:
                raise TargetError(f"the answer has keys {sorted(document)[:6]}; one alone must hold the answers")
            steps = [key, self.output] if isinstance(document[key], dict) and self.output is not None else [key]
        else:
            steps = []
        root = [document]
        places = list(_places(root, 0, steps))
        if "*" in steps:  # each answer at a place of its own
            for (holder, key), row in zip(places, self.rows([holder[key] for holder, key in places]), strict=True):
                holder[key] = row
            return root[0]
        ((holder, key),) = places
        answers = holder[key]
        one = self.format == "json" and not isinstance(answers[0], list) and self.outputs != "score"
        rows = self.rows([answers] if one else answers)
        holder[key] = rows[0] if one else rows
        return root[0]


class ASGI:
    """An ASGI application whose answers are mitigated.

    Parameters
    ----------
    app
        The application of the endpoint.
    mitigation, options
        As of `Rewriting`.

    Examples
    --------
    >>> app = ASGI(app, TopK(3), format="v2")  # doctest: +SKIP
    """

    def __init__(self, app: Any, mitigation: OutputMitigation, /, **options: Any) -> None:
        self._app, self._rewriting = app, Rewriting(mitigation, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not self._rewriting.concerns(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        start: MutableMapping[str, Any] = {}
        parts: list[bytes] = []

        async def collect(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    status, headers, body = _answer(
                        self._rewriting, start["status"], list(start.get("headers", [])), b"".join(parts)
                    )
                    await send({"type": "http.response.start", "status": status, "headers": headers})
                    await send({"type": "http.response.body", "body": body})

        plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
        await self._app({**scope, "headers": plain}, receive, collect)


class WSGI:
    """A WSGI application whose answers are mitigated; parameters are those of `ASGI`."""

    def __init__(self, app: Any, mitigation: OutputMitigation, /, **options: Any) -> None:
        self._app, self._rewriting = app, Rewriting(mitigation, **options)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        if not self._rewriting.concerns(environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")):
            answers: Iterable[bytes] = self._app(environ, start_response)
            return answers
        began: list[Any] = []
        parts: list[bytes] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            began[:] = [status, headers]
            return parts.append

        iterable = self._app({key: value for key, value in environ.items() if key != "HTTP_ACCEPT_ENCODING"}, start)
        try:
            content = b"".join([*iterable])
        finally:
            if hasattr(iterable, "close"):
                iterable.close()
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in began[1]]
        number = int(began[0].split()[0])
        status, headers, body = _answer(self._rewriting, number, raw, b"".join(parts) + content)
        line = began[0] if status == number else f"{status} Bad Gateway"
        start_response(line, [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
        return [body]


def _answer(rewriting: Rewriting, status: int, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
    """Return the answer as it is given out; errors of the application pass as they are, and nothing unread does."""
    if not 200 <= status < 300:
        return status, headers, body
    encoded = any(name.lower() == b"content-encoding" and value.lower() != b"identity" for name, value in headers)
    try:
        if encoded:
            raise TargetError("the answer is compressed")
        mitigated = rewriting.body(body)
    except (MiauditError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return 502, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_REFUSED))], _REFUSED
    others = [(name, value) for name, value in headers if name.lower() not in _DROPPED]
    return status, [*others, (b"content-length", b"%d" % len(mitigated))], mitigated


def _places(holder: Any, key: Any, steps: Sequence[str]) -> Iterator[tuple[Any, Any]]:
    """Yield what holds each answer, and under which key; the steps start from ``holder[key]``."""
    if not steps:
        yield holder, key
        return
    inner, (step, *rest) = holder[key], steps
    if step == "*":
        for place in range(len(inner)):
            yield from _places(inner, place, rest)
    else:
        yield from _places(inner, int(step) if isinstance(inner, list) else step, rest)


def _listed(row: Any) -> list[Any]:
    return row if isinstance(row, list) else [row]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _json(document: Any) -> bytes:
    return json.dumps(document, allow_nan=False).encode()
