"""Audits of models behind real model servers on loopback, with the figures of the same audits in process.

The servers live in an environment of their own, `.venv-servers` (`make test-servers` makes it), as they would elsewhere.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import miaudit
from miaudit.data import load_named
from miaudit.targets import connect

pytestmark = pytest.mark.servers

BIN = Path(__file__).parents[2] / ".venv-servers" / "bin"
RECIPE = LogisticRegression(C=10, max_iter=200)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def running(command: list[str], ready: str, folder: Path, seconds: float = 180.0) -> Iterator[None]:
    """Run a server until the block ends; it is ready when the address answers."""
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}  # servers start programs of their own
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=env, start_new_session=True)
        try:
            end = time.monotonic() + seconds
            while not answers(ready):
                assert process.poll() is None, (folder / "server.log").read_text()
                assert time.monotonic() < end, (folder / "server.log").read_text()
                time.sleep(0.2)
            yield
        finally:
            with suppress(ProcessLookupError):  # it has ended already
                os.killpg(process.pid, signal.SIGTERM)  # the server and its workers, and nobody else
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.fixture(scope="module", params=["digits", pytest.param("location30", marks=pytest.mark.data)])
def sides(request):
    dataset = load_named(request.param)
    n = 300 if request.param == "digits" else 1000
    order = np.random.default_rng(7).permutation(len(dataset))
    parts = {"members": order[:n], "nonmembers": order[n : 2 * n], "population": order[2 * n : 4 * n]}
    X = np.asarray(dataset.X, dtype=np.float64)
    return {name: (X[rows], dataset.y[rows]) for name, rows in parts.items()}


def audited(target, sides):
    return miaudit.audit(target, **sides, recipe=RECIPE, shadows=3, jobs=0)


def assert_same_figures(by_url, in_process, accuracy):
    for theirs, ours in zip(by_url.attacks, in_process.attacks, strict=True):
        assert (theirs.name, theirs.status) == (ours.name, ours.status)
        if ours.status == "ran":
            assert theirs.auc.value == pytest.approx(ours.auc.value, abs=accuracy), ours.name
            assert theirs.pooled == ours.pooled or accuracy > 0, ours.name
    assert by_url.target.train_accuracy == in_process.target.train_accuracy
    assert by_url.target.test_accuracy == in_process.target.test_accuracy


@pytest.fixture(scope="module")
def fitted(sides):
    return RECIPE.fit(*sides["members"])


@pytest.fixture(scope="module")
def mlserver(fitted, tmp_path_factory):
    import joblib

    folder, port = tmp_path_factory.mktemp("mlserver"), free_port()
    joblib.dump(fitted, folder / "model.joblib")
    model = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}}
    (folder / "model-settings.json").write_text(json.dumps(model))
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps(settings | {"metrics_endpoint": None}))
    url = f"http://127.0.0.1:{port}"
    with running([str(BIN / "mlserver"), "start", "."], f"{url}/v2/models/m/ready", folder):
        yield url


def test_mlserver_asked_for_probabilities(mlserver, fitted, sides, tmp_path):
    target = connect(mlserver, format="v2", model="m", output="predict_proba", concurrency=8, folder=tmp_path)
    by_url = audited(target, sides)
    assert by_url.target.contact.deterministic
    assert target.ledger.requests > 1
    target.close()
    assert_same_figures(by_url, audited(fitted, sides), 1e-6)
    again = connect(mlserver, format="v2", model="m", output="predict_proba", folder=tmp_path)
    assert audited(again, sides).attacks == by_url.attacks
    assert again.ledger.requests == 1  # the records of first contact, to see that it is the same model
    again.close()


def test_mlserver_left_to_itself_answers_labels(mlserver, fitted, sides):
    target = connect(mlserver, format="v2", model="m")
    by_url = audited(target, sides)
    target.close()
    assert by_url.target.outputs == "labels"
    assert by_url.target.train_accuracy == fitted.score(*sides["members"])


def test_litserve_with_a_torch_network_that_answers_logits(sides, tmp_path):
    torch = pytest.importorskip("torch")
    X, y = (torch.tensor(part) for part in sides["members"])
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(X.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, int(y.max()) + 1)
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(X.float()), y).backward()
        optimiser.step()
    stored = {}
    for i, layer in enumerate(network[::2]):
        stored |= {f"weight{i}": layer.weight.detach().numpy(), f"bias{i}": layer.bias.detach().numpy()}
    np.savez(tmp_path / "network.npz", **stored)
    port = free_port()
    command = [str(BIN / "python"), str(Path(__file__).with_name("lit.py")), str(tmp_path), str(port)]
    with running(command, f"http://127.0.0.1:{port}/health", tmp_path):
        target = connect(
            f"http://127.0.0.1:{port}/predict",
            format="json",
            body='{"rows": "$records"}',
            answer="answers.*.logits",
            concurrency=8,
        )
        by_url = audited(target, sides)
        target.close()
    assert by_url.target.outputs == "logits"
    assert_same_figures(by_url, audited(network, sides), 1e-4)  # the server's batches are smaller: other last digits


def test_mlflow_saved_with_predict_proba(fitted, sides, tmp_path):
    import joblib

    joblib.dump(fitted, tmp_path / "model.joblib")
    save = (
        "import joblib, mlflow.sklearn\n"
        "mlflow.sklearn.save_model(joblib.load('model.joblib'), 'saved', pyfunc_predict_fn='predict_proba')\n"
    )
    subprocess.run([BIN / "python", "-c", save], cwd=tmp_path, check=True, timeout=300, capture_output=True)
    port = free_port()
    command = [str(BIN / "mlflow"), "models", "serve", "-m", "saved", "-p", str(port), "-h", "127.0.0.1"]
    with running([*command, "--env-manager", "local"], f"http://127.0.0.1:{port}/ping", tmp_path):
        target = connect(f"http://127.0.0.1:{port}", format="mlflow", concurrency=8)
        by_url = audited(target, sides)
        target.close()
    assert_same_figures(by_url, audited(fitted, sides), 1e-6)
