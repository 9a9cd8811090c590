"""What the ledger, the checks and the cache add to asking over HTTP: `Endpoint.query` beside a plain loop of httpx2.

Both ask the same server (a process of its own, on loopback) about the same records in the same batches over the same
number of connections, in turns; the plain loop encodes, posts, and decodes, and does nothing else. Ours also keeps every
answer on disk before it goes on. First contact is made before the clock starts.

    python bench/endpoint.py [--delay SECONDS] [--out bench/results/endpoint.json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from miaudit.targets import connect

RECORDS, FEATURES, CLASSES, BATCH, CONCURRENCY = 4000, 446, 30, 10, 8


def serve(delay: float, port: Any) -> None:
    """Answer ``{"instances": ...}`` with a softmax of a linear map, after so many seconds of the model's own."""
    W = np.random.default_rng(0).normal(size=(FEATURES, CLASSES))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["content-length"])))["instances"]
            scores = np.exp(np.array(rows) @ W / 10)
            time.sleep(delay)
            content = json.dumps({"predictions": (scores / scores.sum(axis=1, keepdims=True)).tolist()}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.put(server.server_address[1])
    server.serve_forever()


def plain(url: str, X: np.ndarray) -> float:
    """Return the seconds of a loop that encodes, posts and decodes."""
    with httpx2.Client(limits=httpx2.Limits(max_connections=CONCURRENCY)) as client:

        def ask(start: int) -> np.ndarray:
            body = json.dumps({"instances": X[start : start + BATCH].tolist()}, separators=(",", ":"))
            response = client.post(url, content=body, headers={"content-type": "application/json"})
            response.raise_for_status()
            return np.array(response.json()["predictions"])

        ask(0)
        began = time.perf_counter()
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            answers = list(pool.map(ask, range(0, len(X), BATCH)))
        assert np.concatenate(answers).shape == (len(X), CLASSES)
        return time.perf_counter() - began


def ours(url: str, X: np.ndarray) -> float:
    """Return the seconds of an endpoint's query that keeps its answers on disk."""
    with tempfile.TemporaryDirectory() as folder:
        target = connect(
            url, format="instances", classes=CLASSES, batch=BATCH, concurrency=CONCURRENCY, budget=10**6, folder=folder
        )
        target.make_contact(1 - X[:5])
        began = time.perf_counter()
        assert target.query(X).values.shape == (len(X), CLASSES)
        seconds = time.perf_counter() - began
        target.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds that the server's model takes per request")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    X = np.random.default_rng(1).integers(0, 2, size=(options.records, FEATURES))
    ports = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(options.delay, ports), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ports.get(timeout=60)}/v1/models/m:predict"
    times = {"plain": [], "ours": []}
    for turn in range(options.rounds):
        for name, run in sorted({"plain": plain, "ours": ours}.items(), reverse=bool(turn % 2)):
            times[name].append(run(url, X))
    server.terminate()
    median = {name: statistics.median(each) for name, each in times.items()}
    result = {
        "records": options.records,
        "features": FEATURES,
        "classes": CLASSES,
        "batch": BATCH,
        "concurrency": CONCURRENCY,
        "server_seconds_per_request": options.delay,
        "seconds": {name: [round(each, 3) for each in of] for name, of in times.items()},
        "median_seconds": {name: round(each, 3) for name, each in median.items()},
        "overhead": round(median["ours"] / median["plain"] - 1, 4),
        "allowed": 0.15,
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
    }
    print(json.dumps(result, indent=2))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
