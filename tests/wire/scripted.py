"""A prediction server whose behaviour a test scripts, with counters of its own."""

from __future__ import annotations

import csv
import io
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np


@dataclass
class Script:
    """What the server does. Every record it reads is counted in ``seen``, every one it answers in ``answered``."""

    model: Callable[[np.ndarray], Any]  # (n, features) -> (n, classes) or (n,)
    decimals: int | None = None
    top: int | None = None
    names: list[str] | None = None  # of classes, answered with the scores
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # answered first, one per request
    drops: int = 0  # requests whose connection is cut without a response
    drop_after: bool = False  # they were answered, but the answer was lost
    delay: float = 0.0
    body: bytes | None = None  # answered in place of the answer
    whole: Callable[[list[Any]], Any] | None = None  # from records to the JSON that is answered
    error: bytes | None = None  # body of answers with another status than 200
    headers: dict[str, str] = field(default_factory=dict)  # of the last request
    path: str = ""  # of the last request
    sent: bytes = b""  # body of the last request
    seen: Counter[tuple[float, ...]] = field(default_factory=Counter)
    answered: Counter[tuple[float, ...]] = field(default_factory=Counter)
    requests: int = 0
    at_once: int = 0
    most_at_once: int = 0
    connections: int = 0
    times: list[float] = field(default_factory=list)  # of requests, by time.monotonic
    lock: Any = field(default_factory=threading.Lock)


_BUSY = b"<html><body>Busy, or not for you</body></html>"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    script: Script

    def setup(self) -> None:
        super().setup()
        with self.script.lock:
            self.script.connections += 1

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        script = self.script
        content = self.rfile.read(int(self.headers["content-length"]))
        records = read(self.path, self.headers["content-type"], content)
        rows = [tuple(float(v) for v in np.ravel(record)) for record in records]
        with script.lock:
            script.requests += 1
            script.times.append(time.monotonic())
            script.at_once += 1
            script.most_at_once = max(script.most_at_once, script.at_once)
            script.headers, script.path, script.sent = dict(self.headers.items()), self.path, content
            script.seen.update(rows)
            status, headers = script.statuses.pop(0) if script.statuses else (200, {})
            drop = status == 200 and script.drops > 0
            script.drops -= drop
            if status == 200 and (not drop or script.drop_after):
                script.answered.update(rows)
        try:
            time.sleep(script.delay)
            if drop:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if status != 200:
                self.reply(status, script.error or _BUSY, "text/html", headers)
            elif script.body is not None:
                self.reply(200, script.body, "text/html", headers)
            elif script.whole is not None:
                self.reply(200, json.dumps(script.whole(records)).encode(), "application/json", headers)
            else:
                self.reply(200, *write(self.path, self.headers["content-type"], self.answer(records)), headers)
        finally:
            with script.lock:
                script.at_once -= 1

    def answer(self, records: list[Any]) -> list[Any]:
        script = self.script
        with script.lock:
            values = np.asarray(script.model(np.asarray(records)))
        if values.ndim == 1:
            return values.tolist() if script.names is None else [script.names[i] for i in values]
        if script.decimals is not None:
            values = values.round(script.decimals)
        if script.top is None and script.names is None:
            return values.tolist()
        rows = []
        for row in values:
            kept = np.argsort(-row)[: script.top]
            if script.names is None:
                rows.append([float(v) if i in kept else 0.0 for i, v in enumerate(row)])
            else:
                rows.append({"classes": [script.names[i] for i in kept], "scores": row[kept].tolist()})
        return rows

    def reply(self, status: int, content: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def read(path: str, kind: str, content: bytes) -> list[Any]:
    """Return the records in a body, by the formats' own documents."""
    if kind == "text/csv":
        return [[float(v) for v in line] for line in csv.reader(io.StringIO(content.decode()))]
    body = json.loads(content)
    if path.startswith("/v2/"):
        [tensor] = body["inputs"]
        return np.reshape(tensor["data"], tensor["shape"]).tolist()
    if isinstance(body, list):
        return body
    for key in ("instances", "inputs", "rows"):
        if key in body:
            return [item["features"] if isinstance(item, dict) else item for item in body[key]]
    if "record" in body:
        return [body["record"]]
    split = body.get("dataframe_split") or body["input_data"]
    return split["data"]


def write(path: str, kind: str, answers: list[Any]) -> tuple[bytes, str]:
    """Return a body and its type, by the formats' own documents."""
    if kind == "text/csv":
        return "\n".join(",".join(map(str, np.atleast_1d(row).tolist())) for row in answers).encode(), "text/csv"
    if path.startswith("/v2/"):
        flat, shape = np.ravel(answers).tolist(), list(np.shape(answers))
        name = "BYTES" if isinstance(flat[0], str) else "FP64" if isinstance(flat[0], float) else "INT64"
        shape = [*shape, 1] if len(shape) == 1 else shape
        tensor = {"name": "probabilities", "shape": shape, "datatype": name, "data": flat}
        return json.dumps({"model_name": "m", "outputs": [tensor]}).encode(), "application/json"
    if path.startswith("/own"):
        return json.dumps({"result": {"items": [{"p": row} for row in answers]}}).encode(), "application/json"
    return json.dumps({"predictions": answers}).encode(), "application/json"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the client went away, as some tests want it to


@contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the address of a server on loopback that follows the script."""
    server = Server(("127.0.0.1", 0), type("Scripted", (Handler,), {"script": script}))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
