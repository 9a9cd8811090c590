"""What a store outlives: kills at any moment, damage of any kind, a full disk. Each row is right, or trained again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from miaudit import files
from miaudit.errors import StoreError
from miaudit.store import Store

KEY = "k" * 64
OUTPUTS = np.random.default_rng(0).random((60, 5)).astype(np.float32)
FACTS = {"name": "shadow 0", "train_accuracy": 0.5, "warnings": ["a", "b"]}


def check_damaged(folder: Path, rng: np.random.Generator, rows: int) -> int:
    """Damage a row so often, each time in another way; return how often it was trained again."""
    store = Store(folder)
    path = store.path(KEY)
    store.put(KEY, {"outputs": OUTPUTS, "votes": np.arange(60)}, FACTS)
    whole, again = path.read_bytes(), 0
    for _ in range(rows):
        content = bytearray(whole)
        kind = rng.integers(5)
        places = rng.integers(len(content), size=int(rng.integers(1, 9)))
        if kind == 0:
            content = content[: places[0]]
        elif kind == 1:
            for place in places:
                content[place] ^= int(rng.integers(1, 256))
        elif kind == 2:  # the header, which says how long everything is
            content[int(rng.integers(min(400, len(content))))] = int(rng.integers(256))
        elif kind == 3:
            content[places[0] : places[0]] = rng.bytes(int(rng.integers(1, 40)))
        else:
            start, end = sorted(rng.integers(len(content), size=2))
            content[start:end] = bytes(end - start)
        path.write_bytes(bytes(content))
        row = store.get(KEY)
        if row is None:
            again += 1
            assert not path.exists()
        else:
            np.testing.assert_array_equal(row.arrays["outputs"], OUTPUTS)
            np.testing.assert_array_equal(row.arrays["votes"], np.arange(60))
            assert row.facts == FACTS
    return again


def test_damaged_rows_are_the_same_value_or_not_there(tmp_path):
    assert check_damaged(tmp_path, np.random.default_rng(1), 150) > 100


@pytest.mark.slow
def test_thousands_of_damaged_rows_are_the_same_value_or_not_there(tmp_path):
    assert check_damaged(tmp_path, np.random.default_rng(2), 5000) > 4000


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_write_that_fails_leaves_the_earlier_row_and_no_other_file(tmp_path, monkeypatch, error):
    store = Store(tmp_path)
    store.put(KEY, {"outputs": OUTPUTS}, FACTS)

    def full(descriptor):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StoreError):
        store.put(KEY, {"outputs": 2 * OUTPUTS}, FACTS)
    with pytest.raises(StoreError):
        store.put("n" * 64, {"outputs": OUTPUTS}, FACTS)
    monkeypatch.undo()
    np.testing.assert_array_equal(store.get(KEY).arrays["outputs"], OUTPUTS)
    assert [path.name for path in (tmp_path / "rows").iterdir()] == [store.path(KEY).name]


PROGRAM = """
import sys, numpy as np
sys.path.insert(0, {folder!r})
from breaking import Slow, points
from miaudit.data import from_arrays
from miaudit.recipes import as_recipe
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.pool import ShadowPool
from miaudit.store import Store
draws = draw_disjoint(np.arange(100, 300), shadows=8, train=60, test=60, seed=0)
pool = ShadowPool(from_arrays(*points()), as_recipe(Slow()), draws, Store(sys.argv[1]), 0)
print("began", flush=True)
np.save(sys.argv[1] + "/all.npy", pool.outputs(pool.run(workers=int(sys.argv[2]), minimum=8)))
"""


def started(folder: Path, workers: int) -> subprocess.Popen:
    code = PROGRAM.format(folder=str(Path(__file__).parent))
    program = subprocess.Popen([sys.executable, "-c", code, str(folder), str(workers)], stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"began\n"
    return program


def check_kills(folder: Path, workers: int, kills: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = started(folder / "whole", workers)
    whole.wait(300)
    for kill in range(kills):
        program = started(folder / "killed", workers)
        time.sleep(float(rng.uniform(0, 4)))
        program.send_signal(signal.SIGKILL)
        program.wait(60)
        program.stdout.close()
        if (folder / "killed" / "all.npy").exists():  # it was faster; begin anew
            (folder / "killed").rename(folder / f"done {kill}")
    last = started(folder / "killed", workers)
    last.wait(300)
    for each in (whole, last):
        each.stdout.close()
        assert each.returncode == 0
    np.testing.assert_array_equal(np.load(folder / "whole" / "all.npy"), np.load(folder / "killed" / "all.npy"))


@pytest.mark.slow
def test_a_run_that_is_killed_ends_in_the_same_rows(tmp_path):
    check_kills(tmp_path, 0, 1, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_killed_at_twenty_random_moments_ends_in_the_same_rows(tmp_path, workers):
    check_kills(tmp_path, workers, 20, seed=workers)
