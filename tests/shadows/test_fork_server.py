"""The server that workers are forks of: what it loads, and that its workers live in the program's surroundings."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from miaudit.recipes import Network, TrainingRecipe
from miaudit.shadows import fork_server
from miaudit.shadows.preloading import import_all

FORKED = pytest.mark.skipif(not fork_server.FORKS, reason="workers are spawned here, and /proc may be missing")


def train(X, y, seed):  # a function of the user's own
    return RandomForestClassifier(2, random_state=seed).fit(X, y)


def test_the_server_loads_what_a_recipe_consists_of_and_nothing_of_the_users_own() -> None:
    assert "torch" in fork_server.modules_of(Network) & fork_server.modules_of(Network())
    forest = make_pipeline(StandardScaler(), RandomForestClassifier())
    names = fork_server.modules_of(forest)
    assert {"sklearn.ensemble._forest", "sklearn.preprocessing._data"} <= names
    assert "torch" not in names
    assert train.__module__ in fork_server.modules_of(TrainingRecipe(train))


KILLED = """
import os, signal
from miaudit.shadows import fork_server
if __name__ == "__main__":
    fork_server.context()
    assert os.listdir(os.environ["TMPDIR"])
    os.kill(os.getpid(), signal.SIGKILL)
"""


@FORKED
def test_a_program_that_is_killed_leaves_no_folder_of_the_servers_socket(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    with tempfile.TemporaryDirectory() as folder:  # of a short name, as paths of sockets have 107 characters at most
        environment = os.environ | {"TMPDIR": folder}
        assert subprocess.run([sys.executable, tmp_path / "killed.py"], env=environment, check=False).returncode == -9
        deadline = time.monotonic() + 60
        while any(Path(folder).iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.05)


PROGRAM = """
import os, sys
from pathlib import Path
import model_of_the_users_own
from miaudit.recipes import Network
from miaudit.shadows import fork_server
from miaudit.shadows.preloading import import_all
fork_server.load_early(fork_server.modules_of(Network) | {"lightgbm"})
os.environ["LATE"] = "yes"
del os.environ["EARLY"]
os.umask(0o027)
import test_engine
test_engine.pool(Path(sys.argv[1]), model_of_the_users_own.Model()).run(workers=2, minimum=4)
"""

MODEL = """
import gc, json, os, sys
from sklearn.naive_bayes import GaussianNB

class Model(GaussianNB):
    def fit(self, X, y):
        names = [name for name in ("EARLY", "LATE", "OMP_NUM_THREADS", "PYTHONSAFEPATH") if name in os.environ]
        mask = os.umask(0); os.umask(mask)
        parent = os.getppid()
        threads = len(os.listdir(f"/proc/{parent}/task"))
        line = json.dumps([names, mask, "torch" in sys.modules, parent, threads, gc.isenabled() and gc.get_freeze_count()])
        with open(os.environ["LEDGER"], "a") as ledger:
            ledger.write(line + chr(10))
        return super().fit(X, y)
"""


def ledger_of(tmp_path: Path, **environment: str) -> list[tuple[list[str], int, bool, int, int, int]]:
    """Train four models by a program of its own, in a folder with a module of a library's name; return what each saw."""
    (tmp_path / "model_of_the_users_own.py").write_text(MODEL)
    (tmp_path / "program.py").write_text(PROGRAM)
    here = tmp_path / "here"
    here.mkdir()
    (here / "scipy.py").write_text("from pathlib import Path; Path('imported').touch()")
    paths = [
        environment.pop("FIRST", str(tmp_path)),
        str(tmp_path),
        str(Path(__file__).parent),
        *filter(None, sys.path),
    ]
    own = {"PYTHONPATH": os.pathsep.join(paths), "EARLY": "1", "LEDGER": str(tmp_path / "ledger")}
    surroundings = {**os.environ, **own, **environment}
    surroundings.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "store")]
    process = subprocess.run(command, env=surroundings, cwd=here, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert not (here / "imported").exists()  # nothing comes from the current folder
    return [tuple(json.loads(line)) for line in (tmp_path / "ledger").read_text().splitlines()]


@FORKED
def test_workers_have_the_libraries_and_the_surroundings_of_the_program_as_they_are_now(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "lightgbm.py").write_text("raise OSError('libomp.so: cannot open shared object file')")
    rows = ledger_of(tmp_path, FIRST=str(broken))
    assert len(rows) == 4
    for names, mask, torch, _, threads, frozen in rows:
        assert names in (["LATE"], ["LATE", "OMP_NUM_THREADS"])  # the latter while one thread of arithmetic is held
        assert (mask, torch, threads) == (0o027, True, 1)
        assert frozen > 1000  # what the server has is looked through for garbage by no worker; what they make is
    assert len({parent for *_, parent, _, _ in rows}) == 1  # the server's


@FORKED
@pytest.mark.slow
@pytest.mark.parametrize("fault", ["name of the socket is too long", "library ends the process"])
def test_workers_are_spawned_where_no_server_can_be_had(tmp_path: Path, fault: str) -> None:
    folder = tmp_path / ("long" * 20) / ("longer" * 20)
    folder.mkdir(parents=True)
    (folder / "lightgbm.py").write_text("import os; os._exit(1)")
    environment = {"TMPDIR": str(folder)} if "socket" in fault else {"FIRST": str(folder)}
    rows = ledger_of(tmp_path, **environment)
    assert len(rows) == 4
    for names, mask, torch, _, _, _ in rows:
        assert names in (["LATE"], ["LATE", "OMP_NUM_THREADS"])
        assert (mask, torch) == (0o027, False)


@pytest.mark.parametrize("collects", [True, False])
def test_imports_leave_collections_and_interruptions_as_they_were(tmp_path, monkeypatch, collects):
    (tmp_path / "ends_what_imports_it.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    handler = signal.getsignal(signal.SIGINT)
    try:
        (gc.enable if collects else gc.disable)()
        import_all("module_that_is_not_there")
        assert (gc.isenabled(), signal.getsignal(signal.SIGINT)) == (collects, handler)
        with pytest.raises(KeyboardInterrupt):
            import_all("ends_what_imports_it")
        assert (gc.isenabled(), signal.getsignal(signal.SIGINT)) == (collects, handler)
    finally:
        gc.unfreeze()
        gc.enable()
