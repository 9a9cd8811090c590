"""How commands end: with the error's code, 70 for a defect of ours, and a result that is kept whatever its renderings do."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
import select
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

import miaudit.auditing.scoring
import miaudit.report
from miaudit.__main__ import Interruption
from miaudit.cli import main
from miaudit.errors import (
    BudgetError,
    DataError,
    MiauditError,
    PlanError,
    PoolError,
    StoreError,
    TargetError,
    TimeLimitError,
)


@pytest.fixture
def outputs(tmp_path):
    rng = np.random.default_rng(0)
    answers = rng.dirichlet(np.ones(2), 40)
    np.savez(tmp_path / "o.npz", target=answers, labels=np.arange(40) % 2, member=np.arange(40) < 20)
    return ["score", str(tmp_path / "o.npz"), "--out", str(tmp_path / "out")]


def fails_with(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MiauditError("x"), 2),
        (PlanError("x"), 2),
        (DataError("x"), 2),
        (StoreError("x"), 2),
        (TargetError("x"), 4),
        (BudgetError("x"), 4),
        (PoolError("x"), 4),
        (TimeLimitError("x"), 4),
        (MemoryError(), 2),
        (KeyboardInterrupt(), 130),
        (ImportError("of a library that was interrupted while it was imported"), 130),
        (BrokenPipeError(), 0),
        (OSError(errno.EMFILE, "Too many open files"), 2),
        (OSError(errno.ENOSPC, "No space left on device"), 2),  # where stdout is a file, too
        (RuntimeError("can't start new thread"), 2),
        (ZeroDivisionError("\x1b[31mx"), 70),
        (RecursionError("x"), 70),
    ],
)
def test_every_error_has_its_exit_code(outputs, monkeypatch, error, code):
    monkeypatch.setattr("miaudit.cli.ending._no_more_output", lambda: None)
    if isinstance(error, ImportError):
        error.__cause__ = KeyboardInterrupt()
    monkeypatch.setattr(miaudit.auditing.scoring, "score", fails_with(error))
    ended = CliRunner().invoke(main, outputs)
    assert ended.exit_code == code
    assert ("Traceback" in ended.stderr) == ("this is a defect of miaudit" in ended.stderr) == (code == 70)
    assert "\x1b" not in ended.stderr


def test_a_copy_of_an_interruption_is_a_plain_one() -> None:
    losses: list[int] = []
    error = Interruption(lambda: losses.append(1))
    for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(same) is KeyboardInterrupt
    Interruption.__new__(Interruption)  # as libraries make errors that they fill later
    assert not losses
    del error, same
    assert losses == [1]


def test_a_reader_who_has_seen_enough_of_a_summary_is_no_failure(outputs):
    command = f"{shlex.join([sys.executable, '-m', 'miaudit', *outputs])} | head -c 1"
    shell = ["bash", "-c", f"set -o pipefail; {command}"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, len(done.stdout)) == (0, 1)
    assert "sys.exit" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes block")
def test_output_is_written_whole_where_stdout_does_not_block():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    program = subprocess.Popen([sys.executable, "-m", "miaudit", "schema"], stdout=writer)
    while select.select((), (writer,), (), 0)[1]:  # until the pipe is full, nobody reads
        time.sleep(0.01)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert json.loads(file.read())["type"] == "object"
    assert program.wait() == 0


def test_usage_ends_with_2():
    assert CliRunner().invoke(main, ["no-such-command"]).exit_code == 2
    assert CliRunner().invoke(main, ["run"]).exit_code == 2
    assert CliRunner().invoke(main, ["canaries", "run"]).exit_code == 2


@pytest.mark.parametrize("json_too", [True, False])
@pytest.mark.parametrize(("error", "code"), [(RuntimeError("no"), 70), (StoreError("the disk is full"), 2)])
def test_a_result_whose_page_fails_is_kept_and_printed(outputs, tmp_path, monkeypatch, error, code, json_too):
    monkeypatch.setattr(miaudit.report, "write", fails_with(error))
    ended = CliRunner().invoke(main, [*outputs, *(["--json"] if json_too else [])])
    assert ended.exit_code == code
    kept = (tmp_path / "out" / "result.json").read_text()
    assert "holds the result, but not all of it could be rendered" in ended.stderr
    assert "report.html" not in ended.output
    if json_too:
        assert json.loads(ended.stdout) == json.loads(kept)
    else:
        assert "Controls" in ended.stdout


def test_a_result_whose_summary_fails_still_has_its_page(outputs, tmp_path, monkeypatch):
    monkeypatch.setattr(miaudit.report, "summary", fails_with(RuntimeError("no")))
    assert CliRunner().invoke(main, outputs).exit_code == 70
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("jobs", [pytest.param("0", marks=pytest.mark.slow), "2"])
def test_a_working_directory_that_was_removed_is_named_where_it_is_needed(tmp_path, jobs):
    plan = (
        'data.name = "digits"\nsplit = { members = 40, nonmembers = 40 }\nattacks = ["threshold"]\n'
        'recipe.estimator = "sklearn.naive_bayes.GaussianNB"\nshadows.count = 1\n'
    )
    (tmp_path / "plan.toml").write_text(plan)
    (tmp_path / "gone").mkdir()
    words = [sys.executable, "-m", "miaudit", "run", str(tmp_path / "plan.toml"), "--jobs", jobs, "--out"]
    shell = f'rmdir "$PWD" && exec {shlex.join([*words, str(tmp_path / "out")])}'
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path / "gone", capture_output=True, text=True, timeout=120)
    assert done.returncode == (0 if jobs == "0" else 2), done.stderr
    assert ("the working directory was removed" in done.stderr) == (jobs != "0")
    assert "Traceback" not in done.stderr


def test_a_path_from_a_working_directory_that_was_removed_is_no_defect(tmp_path):
    (tmp_path / "gone").mkdir()
    shell = f'rmdir "$PWD" && exec {shlex.join([sys.executable, "-m", "miaudit", "run", "../plan.toml", "--out", "../out"])}'
    (tmp_path / "plan.toml").write_text('data.name = "digits"\nrecipe.estimator = "sklearn.naive_bayes.GaussianNB"\n')
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path / "gone", capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "the working directory was removed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("columns", ["0", "1", "5"])
def test_a_width_of_no_terminal_loses_no_word(outputs, columns):
    words = CliRunner().invoke(main, outputs).stdout.split()
    narrow = CliRunner().invoke(main, outputs, env={"COLUMNS": columns})
    assert narrow.exit_code == 0
    assert {"Membership", "detected"} & {*narrow.stdout.split()}
    if columns == "0":
        assert narrow.stdout.split() == words
