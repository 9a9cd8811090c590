"""A small service that trains classifiers and serves them: python training_service.py; prints its port.

POST /train starts a training and answers with its job at once; a name seen before gives the job it has. GET /jobs/ID tells
the state. POST /models/ID takes instances. GET /count tells how many trainings were begun, by name, and POST
/forget begins anew. Switches in the params of a
training: ``refuse`` (answer 503 so often first), ``drop`` (begin, then drop the connection, so often), ``fail``, ``endless``,
``echo`` (say the credential), ``elsewhere`` (an endpoint on another server),
``further`` (what the endpoint ends with, backwards), ``job`` (another job's name), ``unnamed`` (forget names).
"""

from __future__ import annotations

import json
import sys
import threading
import warnings
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

lock = threading.Lock()
jobs: dict[str, dict[str, Any]] = {}
by_name: dict[str, str] = {}
begun: Counter[str] = Counter()
seen: Counter[tuple[str, str]] = Counter()
tokens: set[str] = set()


def train(job: dict[str, Any], asked: dict[str, Any]) -> None:
    params = asked.get("params", {})
    if params.get("endless"):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if params.get("fail"):
            job["why"], job["state"] = "no quota left", "failed"
            return
        model = LogisticRegression(C=params.get("C", 1.0), max_iter=200).fit(asked["records"], asked["labels"])
    job["model"], job["classes"], job["state"] = model, asked["classes"], "done"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        tokens.add(self.headers.get("authorization", ""))
        if self.path == "/count":
            self.answer({"begun": dict(begun), "tokens": sorted(tokens)})
            return
        job = jobs.get(self.path.removeprefix("/jobs/"))
        if job is None:
            self.answer({"error": "no such job"}, 404)
            return
        told = {key: job[key] for key in ("state", "why") if key in job}
        self.answer({"status": told, "endpoint": job["endpoint"]})

    def do_POST(self) -> None:
        tokens.add(self.headers.get("authorization", ""))
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/train":
            self.begin(asked)
            return
        if self.path == "/forget":
            for held in (jobs, by_name, begun, seen, tokens):
                held.clear()
            self.answer({})
            return
        job = jobs[self.path.removeprefix("/models/")]
        answers = np.zeros((len(asked["instances"]), job["classes"]))
        answers[:, job["model"].classes_] = job["model"].predict_proba(asked["instances"])
        self.answer({"predictions": answers.tolist()})

    def begin(self, asked: dict[str, Any]) -> None:
        params, name = asked.get("params", {}), asked.get("name", "")
        if params.get("echo"):
            self.answer({"error": f"unknown: {self.headers['authorization']}"})
            return
        with lock:
            seen["refuse", name] += 1
            if seen["refuse", name] <= params.get("refuse", 0):
                self.answer({"error": "busy"}, 503)
                return
            number = by_name.get(name) if name and not params.get("unnamed") else None
            if number is None:
                number = str(len(jobs))
                server = "http://127.0.0.2:9" if params.get("elsewhere") else ""
                jobs[number] = {
                    "state": "running",
                    "endpoint": f"{server}/models/{number}{params.get('further', '')[::-1]}",
                }
                by_name[name] = number
                begun[name] += 1
                threading.Thread(target=train, args=(jobs[number], asked), daemon=True).start()
            seen["drop", name] += 1
            dropped = seen["drop", name] <= params.get("drop", 0)
        if dropped:
            self.close_connection = True
            self.connection.close()
            return
        self.answer({"job": params.get("job", number)})


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
