"""Whatever code of a recipe does to the process is put back, or ends that one model with a reason."""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import click
import numpy as np
import pytest
from breaking import points
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from rich.console import Console
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.auditing.progress import telling
from miaudit.data import from_arrays
from miaudit.errors import PlanError, PoolError, StoreError
from miaudit.recipes import as_recipe
from miaudit.shadows import crew, processes, training
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.guard import ModelError, _identity, contained, no_exits, really_exit, stdout_to_stderr
from miaudit.shadows.pool import ShadowPool
from miaudit.shadows.training import TWICE
from miaudit.store import Store

DATA = from_arrays(*points())


def pool(folder: Path, recipe, *, shadows: int = 3, **options) -> ShadowPool:
    draws = draw_disjoint(np.arange(100, 300), shadows=shadows, train=60, test=60, seed=0)
    return ShadowPool(DATA, as_recipe(recipe), draws, Store(folder), 0, **options)


def leave():
    sys.exit(0)


def leave_at_once():
    os._exit(7)


def interrupt():
    raise KeyboardInterrupt


class Stop(BaseException):
    """No error, but it ends programs."""


def stop():
    raise Stop


def fork():
    os.fork()


def leave_thread():
    threading.Thread(target=time.sleep, args=(2.5,), name="left").start()


ENDED = {
    "sys.exit": (leave, r"sys\.exit\(0\)"),
    "os._exit": (leave_at_once, r"os\._exit\(7\)"),
    "KeyboardInterrupt": (interrupt, "raised KeyboardInterrupt"),
    "another end": (stop, "raised Stop"),
    "a copy by fork": (fork, "copy went on"),
    "a thread": (leave_thread, r"left a thread running \(left\)"),
}


@pytest.mark.parametrize("what", ENDED)
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_what_ends_programs_ends_one_model(what):
    act, reason = ENDED[what]
    with pytest.raises(ModelError, match=reason) as caught, contained():
        act()
    if act not in (fork, leave_thread):
        assert f" in {__file__}, line {act.__code__.co_firstlineno + 1}" in str(caught.value)
    assert os._exit.__module__ in ("posix", "nt")


@pytest.fixture
def opened_since():
    """Close, when it is called, what was opened since the test began; stdout is put back in the end."""

    def numbers() -> set[int]:
        return {number for number in range(1024) if _identity(number) is not None}

    def close() -> None:
        for number in numbers() - before:
            with suppress(OSError):
                os.close(number)

    stdout = os.dup(1)
    before = numbers()
    yield close
    os.dup2(stdout, 1)
    os.close(stdout)


def test_a_model_in_the_program_that_closes_its_descriptors_fails(opened_since):
    with pytest.raises(ModelError, match="its code closed descriptors that it had not opened"), contained():
        opened_since()


def test_no_file_opened_later_is_taken_for_stdout_or_closed(opened_since, tmp_path):
    files = []

    def reopen() -> None:
        opened_since()
        files.extend((tmp_path / str(i)).open("w") for i in range(9))  # under the numbers that are free now

    with pytest.raises(ModelError, match="closed descriptors"), contained():
        reopen()
    os.write(1, b"for nobody's file")
    for file in files:
        file.close()  # still open
        assert Path(file.name).read_text() == ""


def test_a_command_whose_stdout_was_closed_does_not_end_well(opened_since):
    with pytest.raises(PoolError, match="nothing can be printed.* train in processes"), telling(Console(stderr=True)):
        opened_since()


def test_a_process_of_its_own_may_end_and_errors_stay_errors():
    with contained():
        pid = os.fork()
        if not pid:
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    with pytest.raises(ValueError, match="as it was"), contained():
        raise ValueError("as it was")


def test_folder_environment_and_mode_mask_are_put_back(tmp_path):
    folder, environment = Path.cwd(), dict(os.environ)
    with contained() as notes:
        os.chdir(tmp_path)
        os.environ.clear()
        os.environ["NEW"] = "1"
        before = os.umask(0o777)
        np.seterr(all="raise")
    assert (Path.cwd(), dict(os.environ)) == (folder, environment)
    assert os.umask(before) == before
    assert np.geterr()["divide"] != "raise"
    assert len(notes) == 3


def set_limit(name, value, *, hard=False):
    limits = resource.getrlimit(number := getattr(resource, name))
    resource.setrlimit(number, (value, value if hard else limits[1]))


@pytest.mark.parametrize("name", ["RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NOFILE"])
def test_limits_of_a_recipe_end_with_it_and_what_fails_for_them_is_its_own(tmp_path, name):
    before = resource.getrlimit(getattr(resource, name))
    value = 64 if name == "RLIMIT_NOFILE" else 1 << 40 if name in ("RLIMIT_AS", "RLIMIT_DATA") else 10_000
    rows = pool(tmp_path, Does(partial(set_limit, name, value))).run(workers=0, minimum=3)
    assert len(rows) == 3
    assert resource.getrlimit(getattr(resource, name)) == before
    with pytest.raises(MemoryError), contained():
        fill_limited_memory()
    assert np.ones(1 << 20).all()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_limit_lowered_for_good_is_the_models_failure():
    if (copy := os.fork()) == 0:  # which keeps the limit
        reason = ""
        try:
            with contained():
                lower_for_good("RLIMIT_FSIZE", 100)
        except ModelError as error:
            reason = str(error)
        finally:
            really_exit(0 if "lowered a hard limit" in reason else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 0


@pytest.mark.slow
def test_a_recipe_that_lowers_a_hard_limit_for_good_fails_and_its_worker_is_replaced(tmp_path):
    shadows = pool(tmp_path, Does(partial(lower_for_good, "RLIMIT_FSIZE", 100)), shadows=2)
    with pytest.raises(PoolError, match="lowered a hard limit of its process"):
        shadows.run(workers=1, minimum=1)
    assert len(shadows.failures) == 2
    assert all("recipe.command" in failure.error for failure in shadows.failures)


def fill_limited_memory():
    set_limit("RLIMIT_AS", 1 << 20)
    np.ones(1 << 27)


def lower_for_good(name, value):
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 0)  # who may not raise it again
    set_limit(name, value, hard=True)


def test_what_python_and_c_print_goes_to_stderr(capfd):
    with stdout_to_stderr():
        sys.stdout.write("from Python\n")
        os.write(1, b"from the system\n")
        ctypes.CDLL(None).puts(b"from C")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    sys.stdout.write("the product\n")
    out, err = capfd.readouterr()
    assert out == "the product\n"
    for source in ("Python", "the system", "C", "a child"):
        assert f"from {source}" in err


class Does(ClassifierMixin, BaseEstimator):
    """A tree that does something while it is trained, or asked."""

    def __init__(self, act=None, asked=None, random_state=0):
        self.act, self.asked, self.random_state = act, asked, random_state

    def fit(self, X, y):
        self.tree_ = DecisionTreeClassifier(random_state=0).fit(X, y)
        self.classes_ = self.tree_.classes_
        self.drawn_ = None if self.act is None else self.act()
        return self

    def predict_proba(self, X):
        answers = self.tree_.predict_proba(X)
        noise = self.drawn_ if self.asked is None else self.asked()
        if noise is not None:  # no two draws give the same answers
            first, second = np.eye(answers.shape[1])[:2]
            answers = 0.9 * answers + 0.1 * (noise * first + (1 - noise) * second)
        return answers


@pytest.mark.parametrize("asked", [False, True])
def test_a_model_that_ends_programs_fails_with_its_reason_and_the_others_are_trained(tmp_path, asked):
    recipe = Does(asked=leave) if asked else Does(leave)
    shadows = pool(tmp_path, recipe, kept=False)
    with pytest.raises(PoolError, match=r"sys\.exit\(0\)") as caught:
        shadows.run(workers=0, minimum=1)
    line = leave.__code__.co_firstlineno + 1
    assert [failure.error for failure in shadows.failures] == [
        f"its code called sys.exit(0) in {__file__}, line {line}"
    ] * 3
    assert "/guard.py" not in str(caught.value)


def read_arguments():
    argparse.ArgumentParser().parse_args(["--unknown"])


def leave_as_in_a_terminal():
    exit(2)  # site's own, which code of others calls


def run_a_command():
    click.Command("train").main(["--unknown"])


@pytest.mark.parametrize("act", [read_arguments, leave_as_in_a_terminal, run_a_command])
def test_an_exit_within_a_library_is_told_with_the_line_that_called_the_library(act):
    with pytest.raises(ModelError) as caught, contained():
        act()
    line = act.__code__.co_firstlineno + 1
    assert str(caught.value) == f"its code called sys.exit(2) in {__file__}, line {line}"


def test_an_error_without_words_and_an_endless_one_are_failures(tmp_path):
    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    def mute():
        raise MuteError

    def endless():
        raise ValueError("A" * 10**6)

    for name, act in (("mute", mute), ("endless", endless)):
        shadows = pool(tmp_path / name, Does(act))
        with pytest.raises(PoolError):
            shadows.run(workers=0, minimum=1)
        assert all(len(failure.error) < 3000 for failure in shadows.failures)


RNG = np.random.default_rng(0)


def torch_rand():
    torch = pytest.importorskip("torch")
    return float(torch.rand(()))


CHANCE = {
    "numpy's generator": lambda: np.random.rand(),  # noqa: NPY002
    "Python's generator": random.random,
    "torch's generator": torch_rand,
    "a generator of one's own": lambda: RNG.random(),
}


@pytest.mark.parametrize("when", ["trained", "asked"])
@pytest.mark.parametrize("what", CHANCE)
def test_chance_belongs_to_the_seed_whatever_it_is_drawn_from(tmp_path, what, when):
    act = CHANCE[what]
    rows, before = [], np.random.get_state()[1].tolist()  # noqa: NPY002
    for name, shadows in (("a", 3), ("b", 3), ("c", 2)):
        each = pool(tmp_path / name, Does(act) if when == "trained" else Does(asked=act), shadows=shadows, twice=True)
        facts = each.run(workers=0, minimum=1)
        assert facts[0].get(TWICE, 0) == 0  # not there where loading torch took long
        rows.append(each.outputs(facts))
        RNG.random()
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0][:2], rows[2])
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_chance_from_elsewhere_is_told(monkeypatch):
    monkeypatch.setattr(training, "TWICE_SECONDS", 1000.0)
    X, y = points(400)
    sides = {"members": (X[:60], y[:60]), "nonmembers": (X[60:120], y[60:120]), "population": (X[120:], y[120:])}
    fresh = Does(lambda: np.random.default_rng().random())
    options = {"shadows": 2, "jobs": 0, "attacks": ["attack-p"]}
    told = [text for text in miaudit.audit(fresh.fit(X, y), **sides, **options).warnings if "not reproducible" in text]
    assert len(told) == 1
    quiet = miaudit.audit(Does().fit(X, y), **sides, **options)
    assert not [text for text in quiet.warnings if "not reproducible" in text]
    assert quiet.provenance.jobs == 0


def test_a_hanging_model_is_told_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(processes, "PATIENCE", 0.2)
    monkeypatch.setattr("miaudit.shadows.engine.SECONDS_BETWEEN_LOOKS", 0.05)
    pool(tmp_path, Does(lambda: time.sleep(0.5)), shadows=1).run(workers=0, minimum=1)
    assert "shadow 0 has been training for" in capsys.readouterr().err


def test_rows_that_are_removed_while_models_train_are_missed(tmp_path):
    import shutil

    shadows = pool(tmp_path, Does(lambda: shutil.rmtree(tmp_path / "rows", ignore_errors=True)))
    with pytest.raises(PoolError, match="2 rows are gone"):
        shadows.run(workers=0, minimum=2)
    assert "folder of the rows was gone" in (tmp_path / "journal.jsonl").read_text()


def test_an_exit_of_the_target_is_an_error_of_the_audit():
    X, y = points(400)
    sides = {"members": (X[:60], y[:60]), "nonmembers": (X[60:120], y[60:120]), "population": (X[120:], y[120:])}
    with pytest.raises(PlanError, match=r"sys\.exit\(0\)"):
        miaudit.audit(Does(asked=leave).fit(X, y), **sides, shadows=2, jobs=0)


def test_a_handler_of_the_programs_own_ends_the_program_and_no_model():
    @no_exits()
    @contained()
    def terminated():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(9)

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    own = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as end:
            terminated()
        assert (end.value.code, signal.getsignal(signal.SIGTERM)) == (7, own)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_processes_of_joblib_may_idle_when_a_model_is_trained():
    with contained():
        assert Parallel(2)(delayed(abs)(i) for i in (-1, -2)) == [1, 2]
    get_reusable_executor().shutdown(kill_workers=True)


SHARING = """
import time
import numpy as np
from joblib import Parallel, delayed
Parallel(2)(delayed(np.sum)(np.ones(200_000)) for _ in range(2))
print("shared", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory has no names here")
def test_what_joblib_shared_in_memory_goes_with_the_processes_of_a_group():
    program = subprocess.Popen([sys.executable, "-c", SHARING], stdout=subprocess.PIPE, process_group=0)
    program.stdout.readline()
    assert list(Path("/dev/shm").glob(f"*[-_]{program.pid}[-_]*"))
    crew.end_group(program.pid)
    program.communicate()
    assert not list(Path("/dev/shm").glob(f"*[-_]{program.pid}[-_]*"))


def test_rows_trained_again_are_compared_and_poisoned_ones_found(tmp_path):
    shadows = pool(tmp_path, DecisionTreeClassifier(max_depth=2), shadows=4)
    crew = {"workers": 0, "cluster": None, "deadline": None}
    shadows.run(workers=0, minimum=4)
    assert shadows.retrain(9, seed=0, **crew).models == []  # nothing was in the store
    shadows.run(workers=0, minimum=4)
    again = shadows.retrain(3, seed=0, **crew)
    assert (len(again.models), again.identical, again.largest_difference) == (3, 3, 0.0)
    job = shadows.plan[2]
    row = shadows.store.get(job.key)
    poisoned = {**row.arrays, "outputs": np.roll(row.arrays["outputs"], 1, axis=1)}
    shadows.store.put(job.key, poisoned, row.facts)  # with a checksum that holds
    shadows.run(workers=0, minimum=4)
    with pytest.raises(StoreError, match="shadow 2 differs by up to"):
        shadows.retrain(4, seed=0, **crew)


def test_an_error_names_no_journal_that_is_deleted():
    X, y = points(400)
    sides = {"members": (X[:60], y[:60]), "nonmembers": (X[60:120], y[60:120]), "population": (X[120:], y[120:])}
    with pytest.raises(PoolError, match="Give out= a folder") as error:
        miaudit.audit(Does().fit(X, y), **sides, recipe=Does(lambda: 1 / 0), shadows=2, jobs=0)
    assert "journal" not in str(error.value)
    assert re.search(rf"It was raised in {re.escape(__file__)}, line \d+\. Give out=", str(error.value))


COPY = """
import multiprocessing, os, signal, threading
from miaudit.shadows import guard
guard.keep_descriptors()
def copy_ends():
    inlet, outlet = os.pipe()
    pid = os.fork()
    if pid == 0:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        os.write(outlet, str([signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, signal.SIGTERM in blocked]).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    print(os.read(inlet, 100).decode())
copy_ends()
with multiprocessing.get_context("fork").Pool(2) as copies:
    print(copies.map(abs, [-1, 2]))  # its end terminates them, and waits
thread = threading.Thread(target=copy_ends)
thread.start()
thread.join()
print(signal.getsignal(signal.SIGTERM) is guard._terminated, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="copies are made by os.fork")
def test_copies_that_training_code_makes_end_when_they_are_terminated():
    done = subprocess.run([sys.executable, "-c", COPY], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["[True, False]", "[1, 2]", "[True, False]", "True set()"]
