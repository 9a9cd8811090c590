"""Workers map what they are sent from one file, and what they do to it is theirs alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from miaudit.data import from_arrays
from miaudit.shadows import sharing
from miaudit.shadows.sharing import LEAST, Shared

RNG = np.random.default_rng(0)
BIG = RNG.random((1000, 200))  # 1.6 MB


@pytest.mark.parametrize(
    "X",
    [
        pytest.param(BIG, id="array"),
        pytest.param(np.asfortranarray(BIG.astype(np.float32)[:, :]).repeat(2, axis=0), id="in another order"),
        pytest.param(pd.DataFrame(BIG).assign(word="a", kind=pd.Categorical(["x", "y"] * 500)), id="frame"),
    ],
)
def test_large_arrays_lie_in_one_file_that_goes_in_the_end(X):
    dataset = from_arrays(X, np.arange(len(X)) % 2)
    shared = Shared((dataset, "recipe"))
    parcel = shared.parcel
    assert parcel is shared.parcel
    assert sum(size for _, size in parcel.places) >= 1.6e6
    assert len(parcel.content) < LEAST
    assert Path(parcel.path).stat().st_mode & 0o077 == 0
    (one, _), (other, name) = (pickle.loads(pickle.dumps(parcel)).open() for _ in range(2))
    shared.close()
    assert not Path(parcel.path).exists()
    assert (one.hash, other.hash, name) == (dataset.hash, dataset.hash, "recipe")


def test_what_one_worker_writes_no_other_sees():
    parcel = Shared(BIG)
    one, other = (parcel.parcel.open() for _ in range(2))
    one[:] = 0
    np.testing.assert_array_equal(other, BIG)
    np.testing.assert_array_equal(parcel.parcel.open(), BIG)


@pytest.mark.parametrize("full", [False, True])
def test_small_things_and_those_for_which_there_is_no_room_are_sent_whole(full, monkeypatch):
    def no_room(**options):
        raise OSError("no space left")

    if full:
        monkeypatch.setattr(sharing.tempfile, "mkstemp", no_room)
    shared = Shared(BIG if full else BIG[:10])
    assert shared.parcel.path is None
    np.testing.assert_array_equal(shared.parcel.open(), BIG if full else BIG[:10])
    shared.close()
