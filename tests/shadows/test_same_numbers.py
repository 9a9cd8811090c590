"""A model's row is the same whatever is trained beside it, by whom, and in how many goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from breaking import points

from miaudit.data import from_arrays
from miaudit.recipes import Network
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.engine import in_groups
from miaudit.shadows.pool import ShadowPool
from miaudit.store import Store

pytest.importorskip("torch")
pytest.importorskip("distributed")

from cluster import Cluster, Host

DATA = from_arrays(*points())
RECIPE = Network(hidden=(16,), epochs=6, batch=20, dropout=0.2)
MODELS = 8


def pool(folder: Path, models: int = MODELS) -> ShadowPool:
    draws = draw_disjoint(np.arange(100, 300), shadows=models, train=60, test=60, seed=0)
    return ShadowPool(DATA, RECIPE, draws, Store(folder), 0)


def rows(folder: Path, *runs: tuple[int, dict[str, Any]]) -> np.ndarray:
    """Return the outputs after runs that each ask for so many models, one after the other on one folder."""
    for models, options in runs:
        made = pool(folder, models)
        made.run(minimum=models, **options)
    return made.outputs(range(models))


def widths(made: ShadowPool, workers: int) -> list[int]:
    return [len(group) for group in in_groups(made.plan, DATA, RECIPE, workers)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return rows(tmp_path_factory.mktemp("reference"), (MODELS, {"workers": 0}))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Any:
    host = Host()
    cluster = Cluster(host, tmp_path_factory.mktemp("dask"))
    yield cluster.address
    cluster.close()
    host.close()


def test_bit_for_bit_at_one_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Groups of four, here, on two processes and on a cluster, in one go and in two."""
    monkeypatch.setattr(Network, "group_width", lambda self, shape, classes: 4)
    assert widths(pool(tmp_path / "here"), 1) == widths(pool(tmp_path / "here"), 2) == [4, 4]
    here = rows(tmp_path / "here", (MODELS, {"workers": 0}))
    again = rows(tmp_path / "again", (4, {"workers": 0}), (MODELS, {"workers": 0}))
    there = rows(tmp_path / "there", (MODELS, {"workers": 2}))
    far = rows(tmp_path / "far", (MODELS, {"workers": 2, "cluster": address}))
    for other in (again, there, far):
        np.testing.assert_array_equal(here, other)


@pytest.mark.parametrize(("models", "workers"), [(1, 0), (3, 0), pytest.param(5, 2, marks=pytest.mark.slow)])
def test_near_enough_at_any_number_of_models_and_processes(
    tmp_path: Path, reference: np.ndarray, models: int, workers: int
) -> None:
    found = rows(tmp_path, (models, {"workers": workers}))
    np.testing.assert_allclose(found, reference[:models], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_near_enough_after_a_resume_by_other_engines(tmp_path: Path, reference: np.ndarray, address: str) -> None:
    steps = [
        (2, {"workers": 0}),
        (5, {"workers": 2}),
        (7, {"workers": 2, "cluster": address}),
        (MODELS, {"workers": 0}),
    ]
    np.testing.assert_allclose(rows(tmp_path, *steps), reference, rtol=0, atol=1e-6)


def test_models_differ_from_one_another_by_far_more(reference: np.ndarray) -> None:
    assert min(np.abs(reference[0] - other).max() for other in reference[1:]) > 1e-2
