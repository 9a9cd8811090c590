"""Workers map what they are sent from one file, and what they do to it is theirs alone."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from miaudit.data import from_arrays
from miaudit.files import _others_can_read
from miaudit.shadows.sharing import LEAST, Shared

RNG = np.random.default_rng(0)
BIG = RNG.random((1000, 200))  # 1.6 MB


@pytest.fixture(params=[pytest.param(True, id="nameless"), pytest.param(False, id="named")])
def folder(request, tmp_path, monkeypatch):
    """Return the folder for temporary files; of a named one, no other process says that it can open a nameless one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if not request.param:
        monkeypatch.setenv("PATH", str(tmp_path))
    _others_can_read.cache_clear()
    yield tmp_path
    _others_can_read.cache_clear()


def open_files():
    """Return which files this process has open."""
    return {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


@contextmanager
def files_no_larger_than(size):
    """Have the system refuse to let files grow beyond so many bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "X",
    [
        pytest.param(BIG, id="array"),
        pytest.param(np.asfortranarray(BIG.astype(np.float32)[:, :]).repeat(2, axis=0), id="in another order"),
        pytest.param(pd.DataFrame(BIG).assign(word="a", kind=pd.Categorical(["x", "y"] * 500)), id="frame"),
    ],
)
def test_large_arrays_lie_in_one_file_that_goes_in_the_end(X, folder):
    dataset = from_arrays(X, np.arange(len(X)) % 2)
    shared = Shared((dataset, "recipe"))
    parcel = shared.parcel
    assert parcel is shared.parcel
    assert sum(size for _, size in parcel.places) >= 1.6e6
    assert len(parcel.content) < LEAST
    assert Path(parcel.path).stat().st_mode & 0o077 == 0
    (one, _), (other, name) = (pickle.loads(pickle.dumps(parcel)).open() for _ in range(2))
    named = parcel.path.startswith(str(folder))
    assert named == (os.environ["PATH"] == str(folder))
    assert [str(path) for path in folder.iterdir()] == named * [parcel.path]
    shared.close()
    assert not list(folder.iterdir())
    assert (one.hash, other.hash, name) == (dataset.hash, dataset.hash, "recipe")


def test_what_one_worker_writes_no_other_sees():
    parcel = Shared(BIG)
    one, other = (parcel.parcel.open() for _ in range(2))
    one[:] = 0
    np.testing.assert_array_equal(other, BIG)
    np.testing.assert_array_equal(parcel.parcel.open(), BIG)


def test_small_things_are_sent_whole(folder):
    shared = Shared(BIG[:10])
    assert shared.parcel.path is None
    np.testing.assert_array_equal(shared.parcel.open(), BIG[:10])
    shared.close()


def test_a_full_disk_gets_back_what_was_written_and_the_arrays_are_sent_whole(folder):
    shared = Shared(BIG)
    with files_no_larger_than(100_000):
        parcel = shared.parcel
    assert parcel.path is None
    assert not list(folder.iterdir())
    assert not any(str(folder) in path for path in open_files())
    np.testing.assert_array_equal(parcel.open(), BIG)
    shared.close()


KILLED = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np
from breaking import Slow
from miaudit.data import from_arrays
from miaudit.recipes import as_recipe
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.pool import ShadowPool
from miaudit.store import Store
X, y = np.random.default_rng(0).random((1000, 200)), np.arange(1000) % 2
draws = draw_disjoint(np.arange(100, 1000), shadows=40, train=60, test=60, seed=0)
ShadowPool(from_arrays(X, y), as_recipe(Slow()), draws, Store(sys.argv[1]), 0).run(workers=2, minimum=40)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_no_records_in_the_temporary_folder(tmp_path):
    temporary, out = tmp_path / "temporary", tmp_path / "out"
    temporary.mkdir()
    code = KILLED.format(folder=str(Path(__file__).parent))
    program = subprocess.Popen([sys.executable, "-c", code, str(out)], env=os.environ | {"TMPDIR": str(temporary)})
    deadline = time.monotonic() + 120
    while len(list(out.glob("rows/*.safetensors"))) < 3:
        assert program.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    mapped = [link for link in Path(f"/proc/{program.pid}/fd").iterdir() if str(temporary) in str(link.readlink())]
    assert [path.stat().st_size >= BIG.nbytes for path in mapped] == [True]  # the records lie there, with no name
    assert not [path.name for path in temporary.iterdir() if path.is_file()]
    program.kill()
    program.wait()
    assert not [path.name for path in temporary.rglob("*") if path.is_file()]
