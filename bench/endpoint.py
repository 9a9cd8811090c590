"""What the client adds to an audit over HTTP: to the time that the server's rate allows, and what asking costs the training.

    python bench/endpoint.py --out bench/results/endpoint.json

Three tables. *Rate*: a server (a process of its own, on loopback) answers no more than so many records a second; at 1, 8 and 32
connections, seconds of `Endpoint.query` beside queries / rate, where the client is told the rate, and where it is not and the
server makes it wait. *Loop*: beside a plain loop of httpx2, in turns, against a server without a limit whose model takes 20 ms
a request; the loop encodes, posts and decodes, and does nothing else. Ours also keeps every answer on disk before it goes on.
First contact is made before the clock starts. *Overlap*: an audit behind that rate with shadow models in processes: seconds of
the stage that asks and trains, beside those of asking alone and of training alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from sklearn.ensemble import RandomForestClassifier

import miaudit
from miaudit.targets import connect

FEATURES, CLASSES, BATCH = 446, 30, 10


def serve(delay: float, rate: float | None, port: Any) -> None:
    """Answer ``{"instances": ...}`` with a softmax of a linear map, after so many seconds, and so many records a second."""
    W = np.random.default_rng(0).normal(size=(FEATURES, CLASSES))
    lock, turn = threading.Lock(), [0.0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["content-length"])))["instances"]
            scores = np.exp(np.array(rows) @ W / 10)
            content = json.dumps({"predictions": (scores / scores.sum(axis=1, keepdims=True)).tolist()}).encode()
            if rate is not None:
                with lock:
                    length, now = len(rows) / rate, time.monotonic()
                    at = turn[0] = max(turn[0], now - length) + length  # this answer's turn ends then
                time.sleep(max(0.0, at - time.monotonic()))
            time.sleep(delay)
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.put(server.server_address[1])
    server.serve_forever()


@contextmanager
def serving(delay: float = 0.0, rate: float | None = None) -> Iterator[str]:
    """Serve in a process of its own, and yield the address."""
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    server = context.Process(target=serve, args=(delay, rate, ports), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{ports.get(timeout=60)}/v1/models/m:predict"
    finally:
        server.terminate()


def plain(url: str, X: np.ndarray, concurrency: int) -> float:
    """Return the seconds of a loop that encodes, posts and decodes."""
    with httpx2.Client(limits=httpx2.Limits(max_connections=concurrency)) as client:

        def ask(start: int) -> np.ndarray:
            body = json.dumps({"instances": X[start : start + BATCH].tolist()}, separators=(",", ":"))
            response = client.post(url, content=body, headers={"content-type": "application/json"})
            response.raise_for_status()
            return np.array(response.json()["predictions"])

        ask(0)
        began = time.perf_counter()
        with ThreadPoolExecutor(concurrency) as pool:
            answers = list(pool.map(ask, range(0, len(X), BATCH)))
        assert np.concatenate(answers).shape == (len(X), CLASSES)
        return time.perf_counter() - began


def ours(url: str, X: np.ndarray, concurrency: int, rate: float | None = None) -> float:
    """Return the seconds of an endpoint's query that keeps its answers on disk."""
    options: dict[str, Any] = {"format": "instances", "classes": CLASSES, "batch": BATCH, "budget": 10**6}
    with tempfile.TemporaryDirectory() as folder:
        target = connect(url, **options, concurrency=concurrency, rate=rate, folder=folder)
        target.make_contact(1 - X[:5])
        began = time.perf_counter()
        assert target.query(X).values.shape == (len(X), CLASSES)
        seconds = time.perf_counter() - began
        target.close()
    return seconds


def at_a_rate(X: np.ndarray, rate: float, rounds: int) -> list[dict[str, Any]]:
    """Return what the client adds to queries / rate."""
    lines = []
    with serving(rate=rate) as url:
        for concurrency in (1, 8, 32):
            for told in (True, False):
                seconds = [ours(url, X, concurrency, rate if told else None) for _ in range(rounds)]
                least = len(X) / rate
                lines.append(
                    {
                        "concurrency": concurrency,
                        "client_is_told_the_rate": told,
                        "queries_over_rate": least,
                        "seconds": [round(each, 3) for each in seconds],
                        "overhead": round(statistics.median(seconds) / least - 1, 4),
                    }
                )
                print(json.dumps(lines[-1]), flush=True)
    return lines


def beside_a_loop(X: np.ndarray, delay: float, rounds: int) -> dict[str, Any]:
    """Return what the client adds to a plain loop, 8 connections each."""
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    with serving(delay=delay) as url:
        for turn in range(rounds):
            for name, run in sorted({"plain": plain, "ours": ours}.items(), reverse=bool(turn % 2)):
                times[name].append(run(url, X, 8))
    median = {name: statistics.median(each) for name, each in times.items()}
    result = {
        "server_seconds_per_request": delay,
        "seconds": {name: [round(each, 3) for each in of] for name, of in times.items()},
        "overhead": round(median["ours"] / median["plain"] - 1, 4),
    }
    print(json.dumps(result), flush=True)
    return result


def overlap(X: np.ndarray, rate: float, jobs: int) -> dict[str, Any]:
    """Return the seconds of the stage that asks and trains: both, asking alone, and training alone."""
    third = len(X) // 3
    y = np.arange(len(X)) % CLASSES
    sides = {
        name: (X[start : start + third], y[start : start + third])
        for name, start in (("members", 0), ("nonmembers", third), ("population", 2 * third))
    }
    seconds: dict[str, float] = {}
    with serving(rate=rate) as url, tempfile.TemporaryDirectory() as name:
        for what, shadows, out in (("asking alone", 0, "asked"), ("both", 8, "both"), ("training alone", 8, "both")):
            if what == "training alone":  # the answers are kept, the rows are made again
                for row in (Path(name) / out / "rows").iterdir():
                    row.unlink()
            target = connect(url, format="instances", batch=BATCH, concurrency=8, rate=rate)
            result = miaudit.audit(
                target,
                recipe=RandomForestClassifier(1000, n_jobs=1),
                shadows=shadows,
                attacks=["threshold"] if shadows else ["attack-p"],
                out=Path(name) / out,
                jobs=jobs,
                page=False,
                **sides,
            )
            target.close()
            seconds[what] = result.provenance.seconds["shadows"]
            print(what, seconds[what], flush=True)
    saved = seconds["asking alone"] + seconds["training alone"] - seconds["both"]
    return {"processes": jobs, "shadow_models": 8, "seconds": seconds, "saved": round(saved, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="records a second that the server allows")
    parser.add_argument(
        "--delay", type=float, default=0.02, help="seconds that the unlimited server's model takes per request"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    X = np.random.default_rng(1).integers(0, 2, size=(6 * options.records, FEATURES))
    of_loop, X = X, X[: options.records]
    result = {
        "records": options.records,
        "records_beside_a_loop": len(of_loop),
        "features": FEATURES,
        "classes": CLASSES,
        "batch": BATCH,
        "rate": options.rate,
        "allowed_at_a_rate": 0.05,  # of queries / rate
        "at_a_rate": at_a_rate(X, options.rate, options.rounds),
        "beside_a_loop": beside_a_loop(of_loop, options.delay, 5),
        "overlap": overlap(X, options.rate / 4, options.jobs),
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
    }
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
