"""Ctrl-C ends the program with 130 and one line, whenever it comes and whatever loses it; in Python nothing is changed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cli import PLAN

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
    "another error that does not tell of it": """
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        except KeyboardInterrupt:
            pass
        raise RuntimeError("a library is not ready")
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


def customized(folder: Path, code: str) -> str:
    """Have Python run code before a program; return the PYTHONPATH for it."""
    (folder / "sitecustomize.py").write_text(code)
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


@pytest.mark.parametrize("name", LOSSES)
def test_an_interruption_that_is_lost_while_a_module_is_imported_ends_the_program(tmp_path: Path, name: str) -> None:
    loss = (LOSSES[name] + "    time.sleep(9)").replace(
        "\n", "\n    "
    )  # what comes next takes longer than sending it again
    path = customized(tmp_path, FINDER.format(name="miaudit.data.named", loss=loss))
    ended(started("data", PYTHONPATH=path))


TERMINATED = """
            from miaudit.files import temporary_folder
            with temporary_folder("miaudit-test-"):
                os.kill(os.getpid(), signal.{name})
                time.sleep(9)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_program_that_is_terminated_removes_its_temporary_files_and_says_what_is_kept(
    tmp_path: Path, name: str
) -> None:
    path = customized(tmp_path, FINDER.format(name="miaudit.data.named", loss=TERMINATED.format(name=name)))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # nohup has it ignored, and so would the program
    try:
        program = started("data", PYTHONPATH=path, TMPDIR=str(temporary))
    finally:
        signal.signal(number, before)
    _, said = program.communicate(timeout=60)
    assert (program.returncode, list(temporary.iterdir())) == (128 + number, []), said
    assert said == f"miaudit: terminated by {name}; finished rows are kept, run the same command again to go on\n"


@pytest.mark.parametrize(("arguments", "code"), [("data >&-", 0), ("run nowhere.toml <&- >&- 2>&-", 2)])
def test_a_program_that_is_started_without_streams_ends_as_with_them(arguments: str, code: int) -> None:
    shell = f"{shlex.quote(sys.executable)} -m miaudit {arguments}"
    assert subprocess.run(["sh", "-c", shell], capture_output=True, timeout=60, check=False).returncode == code


END = """
import atexit, os, signal, sys, time

def profile(frame, event, _):
    if (event, frame.f_code.co_name) == ("return", "{function}") and frame.f_code.co_filename.endswith("{file}"):
        sys.setprofile(None)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        except BaseException:
            pass

if {at_exit}:
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
else:
    sys.setprofile(profile)
"""


@pytest.mark.parametrize(
    ("function", "file"),
    [
        pytest.param("data", "cli/__init__.py", id="lost at once"),
        pytest.param("_carried_out", "cli/ending.py", id="after the output"),
        pytest.param("main", "cli/ending.py", id="after the command"),
        pytest.param("program", "miaudit/__main__.py", id="after the program"),
        pytest.param("_shutdown", "threading.py", id="after threads"),
        pytest.param("", "", id="at the very end"),
    ],
)
def test_a_command_whose_output_is_complete_keeps_its_exit_code(tmp_path: Path, function: str, file: str) -> None:
    path = customized(tmp_path, END.format(function=function, file=file, at_exit=not function))
    for arguments, code in ((["data"], 0), (["data", "--wrong"], 2)):
        if code and function in ("data", "_carried_out"):  # they are not reached
            continue
        program = started(*arguments, PYTHONPATH=path)
        output, said = program.communicate(timeout=60)
        assert (program.returncode, "interrupted" in said) == (code, False), said
        assert ("diabetes130" in output, "No such option" in said) == (code == 0, code == 2)


def test_a_second_interruption_ends_it_with_130_also_at_the_very_end(tmp_path: Path) -> None:
    loss = "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"
    code = FINDER.format(name="miaudit.data.named", loss=loss) + END.format(function="", file="", at_exit=True)
    ended(started("data", PYTHONPATH=customized(tmp_path, code)))


HOST = """
import os, runpy, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
before = signal.getsignal(signal.SIGINT), sys.unraisablehook
errors = []

def run(how):
    try:
        if how == "main":
            from miaudit.__main__ import main
            main()
        else:
            runpy.run_module("miaudit", run_name="__main__", alter_sys=how == "altered")
    except BaseException as error:
        errors.append(error)

for arguments, code in ((["data"], 0), (["data", "--wrong"], 2)):
    sys.argv = ["miaudit", *arguments]
    for how in ("main", "module", "altered"):
        for thread in (False, True):
            if thread:
                other = threading.Thread(target=run, args=(how,))
                other.start()
                other.join()
            else:
                run(how)
            (error,) = errors
            assert (type(error), error.code) == (SystemExit, code), (error, how, thread)
            assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before
            errors.clear()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(9)
except KeyboardInterrupt:
    os._exit(42)
"""


def test_a_program_that_runs_a_command_gets_its_exit_code_and_its_own_handler_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOST], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 42, done.stderr


@pytest.mark.slow
def test_a_process_that_training_code_forks_is_interrupted_as_any_python_is(tmp_path: Path) -> None:
    loss = """
            from concurrent.futures import ProcessPoolExecutor
            from multiprocessing import get_context
            with ProcessPoolExecutor(1, get_context("fork")) as executor:
                future = executor.submit(time.sleep, 9)
                while not future.running():
                    time.sleep(0.01)
                time.sleep(0.3)
                os.killpg(0, signal.SIGINT)
                try:
                    future.exception()
                finally:
                    future.exception()
                    time.sleep(0.2)
    """
    path = customized(tmp_path, FINDER.format(name="miaudit.data.named", loss=loss))
    program = started("data", PYTHONPATH=path)
    _, said = program.communicate(timeout=60)
    assert program.returncode == 130, said
    assert "Exception ignored" not in said
    assert "AttributeError" not in said


def test_python_that_imports_the_commands_keeps_its_own_handler() -> None:
    code = (
        "import signal, sys\n"
        "before = signal.getsignal(signal.SIGINT), sys.unraisablehook\n"
        "import miaudit.__main__, miaudit.cli\n"
        "assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before\n"
    )
    for shell in ("", "trap '' INT; "):
        subprocess.run(["sh", "-c", f'{shell}exec "$0" -c "$1"', sys.executable, code], check=True, timeout=60)


def test_a_program_that_was_started_to_ignore_interrupts_ignores_them(tmp_path: Path) -> None:
    loss = LOSSES["code that ignores every error"].replace("\n", "\n    ")
    (tmp_path / "sitecustomize.py").write_text(FINDER.format(name="miaudit.data.named", loss=loss))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    shell = ["sh", "-c", f"trap '' INT; exec {sys.executable} -m miaudit data"]
    subprocess.run(shell, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=60, stdout=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["program", "group"])
def test_interrupted_at_any_moment_of_its_beginning_it_ends_with_130(tmp_path: Path, whom: str) -> None:
    plan = PLAN.replace("n_estimators = 8", "n_estimators = 100").replace("count = 4", "count = 40")
    (tmp_path / "plan.toml").write_text(plan.replace("jobs = 0", "jobs = 2"))
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
