"""The server that workers are forks of: what it loads, and that its workers live in the program's surroundings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from miaudit.recipes import Network, TrainingRecipe
from miaudit.shadows import fork_server

pytestmark = pytest.mark.skipif(not fork_server.FORKS, reason="workers are spawned here")


def train(X, y, seed):  # a function of the user's own
    return RandomForestClassifier(2, random_state=seed).fit(X, y)


def test_the_server_loads_what_a_recipe_consists_of_and_nothing_of_the_users_own() -> None:
    assert "torch" in fork_server.modules_of(Network) & fork_server.modules_of(Network())
    forest = make_pipeline(StandardScaler(), RandomForestClassifier())
    names = fork_server.modules_of(forest)
    assert {"sklearn.ensemble._forest", "sklearn.preprocessing._data"} <= names
    assert "torch" not in names
    assert train.__module__ in fork_server.modules_of(TrainingRecipe(train))


PROGRAM = """
import json, os, sys, time
import numpy as np
from pathlib import Path
import surroundings_of_a_model
from miaudit.recipes import Network
from miaudit.shadows import fork_server
fork_server.load_early(fork_server.modules_of(Network))
os.environ["LATE"] = "yes"
del os.environ["EARLY"]
os.umask(0o027)
import test_engine
from miaudit.recipes import as_recipe
pool = test_engine.pool(Path(sys.argv[1]), surroundings_of_a_model.Model())
pool.run(workers=2, minimum=4)
"""

MODEL = """
import json, os, sys
from sklearn.naive_bayes import GaussianNB

class Model(GaussianNB):
    def fit(self, X, y):
        names = [name for name in ("EARLY", "LATE", "OMP_NUM_THREADS") if name in os.environ]
        mask = os.umask(0); os.umask(mask)
        line = json.dumps([names, mask, "torch" in sys.modules, os.getppid()])
        with open(os.environ["LEDGER"], "a") as ledger:
            ledger.write(line + chr(10))
        return super().fit(X, y)
"""


@pytest.mark.parametrize("there", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_workers_have_the_surroundings_of_the_program_as_they_are_now(tmp_path: Path, there: bool) -> None:
    """Also where there is no server, because its socket's name would be too long; then without the libraries."""
    (tmp_path / "surroundings_of_a_model.py").write_text(MODEL)
    ledger = tmp_path / "ledger"
    paths = [str(tmp_path), str(Path(__file__).parent), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "EARLY": "1", "LEDGER": str(ledger)}
    environment.pop("OMP_NUM_THREADS", None)
    if not there:
        folder = tmp_path / ("long" * 20) / ("longer" * 20)
        folder.mkdir(parents=True)
        environment["TMPDIR"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "store")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert len(lines) >= 4
    for names, mask, torch, _ in lines:
        assert names in (["LATE"], ["LATE", "OMP_NUM_THREADS"])  # the latter while one thread of arithmetic is held
        assert mask == 0o027
        assert torch is there
    assert len({parent for *_, parent in lines}) == 1  # the server's, or the program's
