"""Ctrl-C ends the program with 130 and one line, whenever it comes and whatever loses it; in Python nothing is changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process is sent SIGINT")

LOSSES = {
    "a finalizer": """
        class Finalized:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
        Finalized()
    """,
    "a callback of a weak reference": """
        class Referent: pass
        referent = Referent()
        reference = weakref.ref(referent, lambda _: os.kill(os.getpid(), signal.SIGINT))
        del referent
    """,
    "code that ignores every error": """
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        except BaseException:
            pass
    """,
    "an error that is handled": """
        try:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
            except KeyboardInterrupt:
                raise ImportError("a library is missing")
        except ImportError:
            pass
    """,
    "an error of the library's own that ends the program": """
        class Panic(BaseException): pass
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        except KeyboardInterrupt:
            raise Panic from None
    """,
}

FINDER = """
import os, signal, sys, time, weakref

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{name}":
            sys.meta_path.remove(self)
            {loss}

sys.meta_path.insert(0, Finder())
"""


def ended(program: subprocess.Popen[str]) -> str:
    """Return what an interrupted program said, where it ended as one."""
    _, said = program.communicate(timeout=120)
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert program.returncode == 130, said
    assert said.count("miaudit: interrupted") == 1, said
    return said


def started(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "miaudit", *arguments]
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # pytest may run where it is ignored
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("name", LOSSES)
def test_an_interruption_that_is_lost_while_a_module_is_imported_ends_the_program(tmp_path: Path, name: str) -> None:
    loss = LOSSES[name].replace("\n", "\n    ")
    (tmp_path / "sitecustomize.py").write_text(FINDER.format(name="miaudit.data.named", loss=loss))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended(started("data", PYTHONPATH=path))


def test_python_that_imports_the_commands_keeps_its_own_handler() -> None:
    code = (
        "import signal, sys, miaudit.__main__, miaudit.cli\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "assert sys.unraisablehook is sys.__unraisablehook__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_program_that_was_started_to_ignore_interrupts_ignores_them(tmp_path: Path) -> None:
    loss = LOSSES["code that ignores every error"].replace("\n", "\n    ")
    (tmp_path / "sitecustomize.py").write_text(FINDER.format(name="miaudit.data.named", loss=loss))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    shell = ["sh", "-c", f"trap '' INT; exec {sys.executable} -m miaudit data"]
    subprocess.run(shell, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=60, stdout=subprocess.DEVNULL)


PLAN = """
seed = 3
[data]
name = "digits"
[split]
members = 200
nonmembers = 200
[recipe]
estimator = "sklearn.ensemble.RandomForestClassifier"
params = { n_estimators = 100 }
[shadows]
count = 40
[engine]
jobs = 2
"""


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["program", "group"])
def test_interrupted_at_any_moment_of_its_beginning_it_ends_with_130(tmp_path: Path, whom: str) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    # Until Python runs our first line it ends by the signal itself: the moments are counted from the first import after it.
    (tmp_path / "sitecustomize.py").write_text(
        FINDER.format(name="miaudit.cli", loss="os.write(1, b'up' + bytes([10]))")
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    for step in range(61):
        out = str(tmp_path / f"out{step}")
        program = started("run", str(tmp_path / "plan.toml"), "--out", out, PYTHONPATH=path)
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        time.sleep(0.025 * step)
        (os.kill if whom == "program" else os.killpg)(program.pid, signal.SIGINT)
        ended(program)
