"""A recipe whose models are trained, and then answer, behind HTTP: the service that also trains."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import n_records, take_records
from miaudit.errors import PlanError, TargetError, not_real, not_whole
from miaudit.targets.client import Client, Free
from miaudit.targets.connection import Connection, check_url, shown
from miaudit.targets.credentials import ENV, body_problems, of_no_address, variable
from miaudit.targets.jobs import at, refuse_variables, with_job
from miaudit.targets.wire import Wire
from miaudit.targets.wire.rows import from_bytes, rows_of, to_bytes
from miaudit.targets.wire.template import filled, with_variables

_BODY: dict[str, Any] = {
    "name": "$name",
    "records": "$records",
    "labels": "$labels",
    "classes": "$classes",
    "seed": "$seed",
    "params": "$params",
}
_HOW_ONLY = ("headers", "timeout", "retries", "patience", "poll", "wait", "batch", "ca", "certificate", "key", "proxy")


@dataclass(frozen=True)
class ServiceRecipe:
    """Have a service train each model: submit the records, wait until it is trained, ask the endpoint it is served at.

    Three calls: ``POST train`` starts a training and answers with its job; ``GET status`` is asked until the state is one of
    ``done``; then records are posted to ``predict``, or to the address found at ``endpoint`` in the last answer.

    Nothing is trained twice: a model that is done is a row of the store, whose name holds this description; and a
    training is submitted under a name made of records, labels, seed and description, by which a service can know one it
    has seen. Submitting is repeated after a lost answer or a 5xx status only if the body holds that name; else the
    model counts as failed, for the service may have begun it. Deterministic only if the service is, given the seed.

    Parameters
    ----------
    train
        Address that starts a training.
    params
        Parameters of the training, as the service names them.
    body
        JSON posted to ``train``, as a text; "$name", "$records", "$labels", "$classes", "$seed" and "$params" in it stand for
        those values. Default: an object of these six.
    job
        Path, with dots, to the job in the answer of ``train``.
    status
        Address of a job's state, with "{job}" for the job; None: it is trained when ``train`` answers.
    state
        Path to the state in the answer of ``status``.
    done, failed
        States that mean so; any other means wait.
    endpoint
        Path to the trained model's address in the last answer; it must be of the same server as ``train``, or relative.
    predict
        Address of the trained model, with "{job}"; goes before ``endpoint``.
    wire
        Options of `miaudit.targets.wire.Wire`: how the trained model is asked.
    poll, wait
        Seconds between two looks at the state, and in all before the model counts as failed.
    batch
        Records in one question.
    headers, timeout, retries, patience, proxy, ca, certificate, key
        As in `miaudit.targets.connection.Connection`; a credential is written ``env:VARIABLE``.

    Raises
    ------
    PlanError
        Listing every field that cannot be.
    """

    train: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: str | None = None
    job: str = "job"
    status: str | None = None
    state: str = "state"
    done: tuple[str, ...] = ("done", "succeeded", "completed", "ready")
    failed: tuple[str, ...] = ("failed", "error", "cancelled")
    endpoint: str = "endpoint"
    predict: str | None = None
    wire: Mapping[str, Any] = field(default_factory=lambda: {"format": "instances"})
    poll: float = 1.0
    wait: float = 3600.0
    batch: int = 1000
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0
    retries: int = 5
    patience: float = 300.0
    proxy: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        problems: list[tuple[str, str]] = []
        for name in ("train", "status", "predict"):
            if getattr(self, name) is not None:
                problems += _problems(name, lambda name=name: check_url(getattr(self, name)))
        for name in ("status", "predict"):
            if getattr(self, name) is not None and "{job}" not in getattr(self, name):
                problems.append(
                    (name, f"must hold {{job}} where the job goes; got {of_no_address(getattr(self, name))!r}")
                )
        problems += not_real(("poll", self.poll), ("wait", self.wait), above=0)
        problems += not_whole(("batch", self.batch))
        if self.body is not None:
            try:
                json.loads(self.body)
            except ValueError as error:
                problems.append(("body", f"is not JSON: {error}"))
            for need in ("$records", "$labels"):
                if f'"{need}"' not in self.body:
                    problems.append(("body", f'must hold "{need}", where they go'))
        problems += _problems("wire", lambda: Wire(**self.wire))
        if not problems:
            for name, text in (("body", self.body), ("wire.body", self.wire.get("body"))):
                problems += [] if text is None else body_problems(json.loads(text), name)
            problems += body_problems(dict(self.params), "params")
        problems += _problems("", self._connection)
        if problems:
            raise PlanError(problems)

    @property
    def remote(self) -> bool:
        """That a training is somebody else's work, which is not to be asked for twice."""
        return True

    @property
    def name(self) -> str:
        """The service's address."""
        return f"trained by {shown(self.train)}"

    def describe(self) -> dict[str, Any]:
        """Return what decides a model: the service's addresses, the parameters and the bodies; no header is in it."""
        facts = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _HOW_ONLY}
        return {
            "recipe": "service",
            "version": 1,
            **{key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()},
        }

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> ServiceModel:
        """Have one model trained on records X and classes y.

        Raises
        ------
        TargetError
            If the service does not take the training, says that it failed, is not done in time, or gives no endpoint.
        """
        body = self._body(X, y, classes, seed)
        at_once = self.status is None and self.predict is None
        where = self._post(self.train, body, self.endpoint if at_once else self.job)
        job = quote(where, safe="")
        if self.status is not None:
            where = self._awaited(with_job(self.status, job), where)
        if self.predict is not None:
            url = with_job(self.predict, job)
        else:
            url = urljoin(self.status or self.train, where)
            refuse_variables(url, self.status or self.train)
            if urlsplit(url)[:2] != urlsplit(self.train)[:2]:
                where = self._redacted(shown(url))
                raise TargetError(
                    f"the service at {shown(self.train)} says that its model is at {where}, another server, to which "
                    "records and credentials are not sent unasked; if that is right, give recipe.service.predict"
                )
        wire = Wire(**self.wire)
        client = Client(wire.address(url), content_type=wire.content_type, connection=self._connection())
        return ServiceModel(client, wire.filled(client.value), classes, 1 if wire.one_at_a_time else self.batch)

    def _connection(self, *, repeated: bool = True) -> Connection:
        return Connection(
            headers=self.headers,
            timeout=self.timeout,
            retries=self.retries if repeated else 0,
            patience=self.patience,
            proxy=self.proxy,
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
        )

    def _body(self, X: Any, y: NDArray[np.int64], classes: int, seed: int) -> bytes:
        values = {
            "$records": rows_of(X),
            "$labels": y.tolist(),
            "$classes": classes,
            "$seed": seed,
            "$params": dict(self.params),
        }
        content = to_bytes([self.describe(), *values.values()])
        values["$name"] = f"miaudit-{hashlib.sha256(content).hexdigest()[:32]}"
        template = _BODY if self.body is None else json.loads(self.body)
        values["$params"] = with_variables(values["$params"], variable)
        return to_bytes(filled(with_variables(template, variable), lambda text: values.get(text, text)))

    def _redacted(self, text: str) -> str:
        """Return a text without the credentials that are sent."""
        client = self._client(self.train, self._connection())
        try:
            return client.redacted(text)
        finally:
            client.close()

    def _client(self, url: str, connection: Connection) -> Client:
        """Return a client that knows all credentials, also those of the body."""
        client = Client(url, content_type="application/json", connection=connection)
        for name in dict.fromkeys(ENV.findall(f"{self.body} {json.dumps(dict(self.params), default=str)}")):
            client.value(name, "body")
        return client

    def _post(self, url: str, body: bytes, path: str) -> str:
        """Return what stands at a path in the answer to a body."""
        by_name = self.body is None or '"$name"' in self.body
        connection = self._connection(repeated=by_name)
        client = self._client(url, connection)
        try:
            return client.read(client.post(body, Free()), lambda content: at(from_bytes(content), path, url))
        finally:
            client.close()

    def _awaited(self, url: str, job: str) -> str:
        """Return where the model of a job is, when the job is done; nothing if ``predict`` says it."""
        client = self._client(url, self._connection())
        deadline = time.monotonic() + self.wait

        def look(content: bytes) -> tuple[str, str]:
            answer = from_bytes(content)
            state = at(answer, self.state, url)
            if state in self.failed:
                raise TargetError(f"the service says that training job {job} is {state}: {json.dumps(answer)[:300]}")
            reached = state in self.done and self.predict is None
            return state, at(answer, self.endpoint, url) if reached else ""

        try:
            while True:
                state, endpoint = client.read(client.get(Free()), look)
                if state in self.done:
                    return endpoint
                if time.monotonic() + self.poll > deadline:
                    name, state = client.redacted(job), client.redacted(state)
                    raise TargetError(
                        f"training job {name} is still {state!r} after wait = {self.wait:g} s; give it longer, or say in "
                        f"recipe.service.done which state means trained (now: {', '.join(self.done)})"
                    )
                time.sleep(self.poll)
        finally:
            client.close()


class ServiceModel:
    """A model behind the endpoint that its training gave."""

    def __init__(self, client: Client, wire: Wire, classes: int, batch: int) -> None:
        self._client = client
        self._wire = wire
        self._names = [str(i) for i in range(classes)]
        self._batch = batch

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return (n, classes) probabilities, in the order of the classes as they were sent.

        Raises
        ------
        TargetError
            If no answer could be had, or it is not what the wire format says.
        """
        n, size = n_records(X), self._batch
        parts = [self._asked(take_records(X, np.arange(i, min(i + size, n)))) for i in range(0, n, size)]
        return np.concatenate(parts) if parts else np.empty((0, len(self._names)))

    def _asked(self, X: Any) -> NDArray[np.float64]:
        """Return the answers of one request, or of two where the size of one would say in which order its classes are."""
        content, n = self._client.post(self._wire.encode(X), Free()), n_records(X)
        if n == len(self._names) > 1 and self._wire.is_ambiguous(content, n):
            return np.concatenate(
                [self._asked(take_records(X, rows)) for rows in (np.arange(n - 1), np.array([n - 1]))]
            )
        answers: NDArray[np.float64] = self._client.read(content, partial(self._wire.decode, n=n, names=self._names))
        return answers


def _problems(path: str, check: Any) -> list[tuple[str, str]]:
    """Return what a check raises, each with its path below ``path``."""
    try:
        check()
    except PlanError as error:
        return error.within(path)
    except TypeError as error:
        return [(path, str(error).replace("Wire.__init__() ", ""))]
    return []
