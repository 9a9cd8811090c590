"""Serve a model on loopback and save who was in its training set, to try an audit by URL.

In one terminal, and then in another:

    python examples/endpoint.py
    miaudit run examples/endpoint.toml
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier

FOLDER = Path(__file__).parent / "endpoint"


def trained() -> ExtraTreesClassifier:
    """Return a model of the bundled digits, having saved members, nonmembers and population."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(X))
    parts = {"members": order[:400], "nonmembers": order[400:800], "population": order[800:]}
    FOLDER.mkdir(exist_ok=True)
    for name, index in parts.items():
        np.savez(FOLDER / f"{name}.npz", X=X[index], y=y[index])
    return ExtraTreesClassifier(100, random_state=0).fit(X[parts["members"]], y[parts["members"]])


class Handler(BaseHTTPRequestHandler):
    """Answers ``{"instances": [...]}`` with ``{"predictions": [...]}``."""

    protocol_version = "HTTP/1.1"
    model: ExtraTreesClassifier

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = {"predictions": self.model.predict_proba(np.array(body["instances"])).tolist()}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


def main(port: int = 8808) -> None:
    Handler.model = trained()
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"serving on http://127.0.0.1:{port}; end with Ctrl-C", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
