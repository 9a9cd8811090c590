"""Middleware in front of real servers on loopback: what an auditor reads by URL is what the mitigation gives out."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx2
import numpy as np
import pytest
import uvicorn

from miaudit.errors import MiauditError, PlanError, TargetError
from miaudit.mitigations import LabelOnly, Noise, Rounding, Temperature, TopK
from miaudit.mitigations.serve import ASGI, WSGI, Rewriting
from miaudit.targets import Outputs, connect

rng = np.random.default_rng(4)
X = rng.normal(size=(12, 4))
W = rng.normal(size=(4, 5))


def probabilities(records: Any) -> Any:
    logits = np.exp(np.asarray(records, float) @ W)
    return logits / logits.sum(axis=1, keepdims=True)


def answer(path: str, content: bytes) -> tuple[str, bytes]:
    """Answer as servers of each format do, and honestly."""
    if path == "/csv/invocations":
        rows = probabilities([[float(value) for value in line.split(",")] for line in content.decode().splitlines()])
        return "text/csv", "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist()).encode()
    request = json.loads(content)
    if path.startswith("/v2"):
        (tensor,) = request["inputs"]
        rows = probabilities(np.reshape(tensor["data"], tensor["shape"]))
        out = {"name": "probs", "datatype": "FP64", "shape": list(rows.shape), "data": rows.ravel().tolist()}
        return "application/json", json.dumps({"model_name": "m", "outputs": [out]}).encode()
    if path == "/own":
        rows = probabilities(request["rows"])
        return "application/json", json.dumps({"data": [{"probs": row, "id": 1} for row in rows.tolist()]}).encode()
    rows = probabilities(request.get("instances", request.get("inputs")) if isinstance(request, dict) else request)
    return "application/json", json.dumps({"predictions": rows.tolist()}).encode()


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    content, more = b"", True
    while more:
        message = await receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
    assert scope["method"] == "GET" or not any(name == b"accept-encoding" for name, _ in scope["headers"])
    kind, body = ("text/plain", b"fine") if scope["method"] == "GET" else answer(scope["path"], content)
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    half = len(body) // 2
    await send({"type": "http.response.body", "body": body[:half], "more_body": True})
    await send({"type": "http.response.body", "body": body[half:]})


def wsgi_app(environ: Any, start_response: Any) -> Any:
    content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    kind, body = answer(environ["PATH_INFO"], content)
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


@contextmanager
def asgi_server(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def wsgi_server(app: Any) -> Iterator[str]:
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


FORMS = {
    "v2": ({"model": "m"}, {}, ""),
    "instances": ({"model": "m"}, {}, ""),
    "mlflow": ({}, {}, ""),
    "sagemaker-json": ({}, {}, ""),
    "sagemaker-csv": ({}, {}, "/csv/invocations"),
    "json": ({"body": '{"rows": "$records"}', "answer": "data.*.probs"}, {"answer": "data.*.probs"}, "/own"),
}


def seen(url: str, name: str) -> Outputs:
    options, _, path = FORMS[name]
    target = connect(url + path, format=name, **options).for_classes(5, tuple("abcde"))
    target.make_contact(X)
    outputs = target.answer(X)
    target.close()
    return outputs


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(
    "mitigation", [TopK(2), Rounding(1), LabelOnly(), Temperature(3.0), Noise(0.5)], ids=lambda m: m.name
)
def test_what_is_read_by_url_is_what_the_mitigation_gives_out(name, mitigation):
    with asgi_server(ASGI(asgi_app, mitigation, format=name, **FORMS[name][1])) as url:
        outputs = seen(url, name)
    expected = mitigation.apply(Outputs(probabilities(X)))
    assert outputs.values == pytest.approx(expected.values, abs=1e-6)
    assert (outputs.kind == "labels") == (mitigation == LabelOnly())


@pytest.mark.parametrize("name", FORMS)
def test_wsgi_applications_are_served_too(name):
    with wsgi_server(WSGI(wsgi_app, TopK(1), format=name, **FORMS[name][1])) as url:
        outputs = seen(url, name)
    assert outputs.values == pytest.approx(TopK(1).apply(Outputs(probabilities(X))).values, abs=1e-6)


def test_wsgi_applications_are_changed_at_the_paths_named():
    with wsgi_server(WSGI(wsgi_app, TopK(1), format="v2", paths=["/other"])) as url:
        assert seen(url, "v2").values == pytest.approx(probabilities(X))


def test_what_cannot_be_read_is_not_let_through():
    async def odd(scope: Any, receive: Any, send: Any) -> None:
        body = json.dumps({"predictions": [[0.9, 0.1]], "embedding": [1, 2, 3]}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    with asgi_server(ASGI(odd, TopK(1))) as url:
        reply = httpx2.post(url, json={"instances": [[1, 2, 3, 4]]})
    assert reply.status_code == 502
    assert "0.9" not in reply.text


def test_a_request_that_no_model_answers_passes():
    with asgi_server(ASGI(asgi_app, TopK(1))) as url:
        assert httpx2.get(url, headers={"accept-encoding": ""}).text == "fine"


@pytest.mark.parametrize("mitigation", [TopK(1), LabelOnly(), Rounding(1)], ids=lambda m: m.name)
@pytest.mark.parametrize(
    "answers",
    [
        [["0.7", "0.3"]],
        ["0.7"],
        ["93 %"],
        ["0,7"],
        ["[0.7, 0.3]"],
        ["cat: 7e-1"],
        [[]],
        [["cat", 0.93]],
        [[0.93, "cat"]],
        ["cat", 0.93],
        [["cat", "dog"]],
        {"cat": 0.7, "dog": 0.3},
        [[0.7, 0.3], None],
        [[0.7, 0.3], [0.5]],
    ],
    ids=str,
)
def test_texts_carry_no_probabilities_past_a_mitigation(answers, mitigation):
    with pytest.raises(TargetError):
        Rewriting(mitigation).body(json.dumps({"predictions": answers}).encode())


def test_labels_pass_and_texts_that_are_none_do_not():
    for answers in (["cat", "3"], ["2.0", "cat, small", "infant"], [["cat"], ["dog"]], [2, 0]):
        body = json.dumps({"predictions": answers}).encode()
        assert json.loads(Rewriting(TopK(1)).body(body)) == {"predictions": answers}
    with pytest.raises(TargetError, match="no name of a class"):
        Rewriting(TopK(1), names=["cat", "dog"]).body(b'{"predictions": ["cat", "93/100"]}')


def test_bodies():
    scores = Rewriting(Rounding(1), outputs="score")
    assert json.loads(scores.body(b'{"predictions": [0.26, 0.94]}')) == {"predictions": [0.3, 0.9]}
    named = Rewriting(LabelOnly(), names=["cat", "dog"])
    assert json.loads(named.body(b'{"predictions": [[0.2, 0.8], [0.6, 0.4]]}')) == {"predictions": ["dog", "cat"]}
    logits = Rewriting(TopK(1), outputs="logits")
    (row,) = json.loads(logits.body(b'{"predictions": [[0.0, 2.0]]}'))["predictions"]
    assert row == pytest.approx([0, 1 / (1 + np.exp(-2))])
    one = Rewriting(TopK(1), format="json", answer="result.probs")
    assert json.loads(one.body(b'{"result": {"probs": [0.3, 0.7]}}')) == {"result": {"probs": [0.0, 0.7]}}
    assert json.loads(Rewriting(TopK(1)).body(b'{"predictions": ["cat"]}')) == {"predictions": ["cat"]}
    for bad in (
        b'{"predictions": [[{"a": 1}]]}',
        b'{"predictions": [[NaN, 1]]}',
        b'{"predictions": [[0.5, 0.9]]}',
        b"[0.3]",
    ):
        with pytest.raises((MiauditError, ValueError)):
            Rewriting(TopK(1)).body(bad)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Rewriting(TopK(1), format="xml"),
        lambda: Rewriting(TopK(1), answer="a.b"),
        lambda: Rewriting("top-k"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(PlanError):
        wrong()


def test_parameters_of_a_tensor_tell_nothing_past_a_mitigation():
    tensor = {"name": "p", "shape": [1, 2], "datatype": "FP64", "data": [0.2, 0.8]}
    told = {"content_type": "np", "raw": [0.2, 0.8], "confidence": "0.8"}
    document = {"model_name": "m", "parameters": told, "outputs": [tensor | {"parameters": told}]}
    rewriting = Rewriting(LabelOnly(), format="v2")
    left = json.loads(rewriting.body(json.dumps(document).encode()))
    assert left["parameters"] == left["outputs"][0]["parameters"] == {"content_type": "np"}
    assert "parameters" not in json.loads(rewriting.body(json.dumps({"outputs": [tensor]}).encode()))
    with pytest.raises(TargetError, match="'raw'"):
        rewriting.body(json.dumps(document | {"raw": [0.2, 0.8]}).encode())
