"""Sparse first layers beside the dense ones: the same numbers, and little memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse

torch = pytest.importorskip("torch")

from miaudit.recipes import training  # noqa: E402
from miaudit.recipes.network import Network, NetworkModel  # noqa: E402
from miaudit.recipes.sparse import SparseRows  # noqa: E402
from miaudit.recipes.training import Records  # noqa: E402

N, D, CLASSES = 240, 600, 6
SGD = Network(hidden=(24, 12), optimizer="sgd", learning_rate=0.5, epochs=4, batch=32, standardize=False)


@pytest.fixture(scope="module")
def world() -> tuple[Any, Any]:
    """Binary, 1 % ones; the class is where most of them are. Some records and some features are all zero."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, CLASSES, N)
    X = rng.random((N, D)) < np.where(np.arange(D) % CLASSES == y[:, None], 0.04, 0.004)
    X[:70], X[:, 500:550] = X[:70], False
    X[::9] = False
    return X.astype(np.uint8), y


def fit(recipe: Network, X: Any, y: Any) -> list[NetworkModel]:
    indices = [np.arange(150), np.random.default_rng(0).permutation(N)[:101]]
    return recipe.fit_many(X, y, indices=indices, classes=CLASSES, seeds=[5, 6])


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(SGD, id="sgd"),
        pytest.param(replace(SGD, l2=1e-3, learning_rate_decay=1e-2), id="l2-decay"),
        pytest.param(replace(SGD, momentum=0.9, learning_rate=0.05, l2=1e-3), id="momentum"),
        pytest.param(replace(SGD, optimizer="adam", learning_rate=0.003, l2=1e-4), id="adam"),
        pytest.param(replace(SGD, dropout=0.3, activation="relu", learning_rate=0.1), id="dropout-relu"),
        pytest.param(replace(SGD, hidden=(), activation="sigmoid"), id="no-hidden-layer"),
        pytest.param(replace(SGD, standardize=True, learning_rate=0.02), id="standardised"),
        pytest.param(replace(SGD, standardize=True, optimizer="adam", learning_rate=0.001), id="standardised-adam"),
    ],
)
@pytest.mark.parametrize("form", ["csr", "dense"])
def test_a_sparse_first_layer_trains_and_answers_as_a_dense_one(
    world: Any, monkeypatch: pytest.MonkeyPatch, recipe: Network, form: str
) -> None:
    X, y = world
    given = scipy.sparse.csr_array(X.astype(np.float64)) if form == "csr" else X
    assert Records(given).sparse
    found = fit(recipe, given, y)
    answers = [model.predict_proba(given) for model in found]
    monkeypatch.setattr(training, "SPARSE_DENSITY", 0)
    assert not Records(given).sparse
    for model, answer, expected in zip(found, answers, fit(recipe, X, y), strict=True):
        moved = max(np.abs(tensor).max() for tensor in expected.tensors)
        assert moved > 0.05
        for one, other in zip(model.tensors, expected.tensors, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        np.testing.assert_allclose(answer, expected.predict_proba(X), atol=1e-5)


def test_batches_of_sparse_rows_multiply_as_dense_ones() -> None:
    rng = np.random.default_rng(1)
    dense = np.where(rng.random((30, 20)) < 0.1, rng.normal(size=(30, 20)), 0)
    dense[4:8] = 0
    statistics = training.Statistics(rng.normal(size=20), rng.random(20) + 0.5)
    order = rng.permutation(30)
    weight, delta = torch.randn(20, 5), torch.randn(4, 5)
    for scale in (None, statistics):
        z = dense if scale is None else (dense - scale.mean) / scale.scale
        rows = SparseRows.standardised(scipy.sparse.csr_array(dense.astype(np.float32)), scale).reordered(order)
        z = z[order]
        for start in range(0, 28, 4):
            np.testing.assert_allclose(
                rows.times(weight, start, start + 4), z[start : start + 4] @ weight.numpy(), atol=1e-5
            )
            target = weight.clone()
            rows.add_transposed(target, delta, start, start + 4)
            np.testing.assert_allclose(target, weight.numpy() + z[start : start + 4].T @ delta.numpy(), atol=1e-5)
    nothing = SparseRows(scipy.sparse.csr_array(np.zeros((4, 20), np.float32)))
    assert not nothing.times(weight, 0, 4).any()


def test_statistics_of_sparse_records_are_those_of_dense_ones(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = world
    values = X * np.random.default_rng(0).normal(5, 1, X.shape)
    index = np.arange(20, 200)
    found = Records(scipy.sparse.csc_array(values)).statistics(index)
    monkeypatch.setattr(training, "SPARSE_DENSITY", 0)
    expected = Records(values.astype(np.float32)).statistics(index)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-10)


def test_what_counts_as_sparse() -> None:
    few = np.zeros((50, 400))
    few[:, :5] = 1
    assert Records(few).sparse
    assert Records(scipy.sparse.coo_array(few)).sparse
    assert not Records(few[:, :200]).sparse  # narrow
    many = np.zeros((50, 400))
    many[:, :40] = 1
    assert not Records(many).sparse
    assert not Records(scipy.sparse.csr_array(many)).sparse
    halves = scipy.sparse.coo_array((np.ones(4), ([0, 0, 1, 1], [3, 3, 2, 3])), shape=(2, 300))  # entries in parts
    np.testing.assert_array_equal(Records(halves).csr.toarray(), halves.toarray())
    block = np.zeros((training._BLOCK + 3, 300), dtype=bool)
    block[-2, 7] = block[5, 299] = True
    np.testing.assert_array_equal(Records(block).csr.toarray(), block)


@pytest.mark.parametrize("form", ["csr", "dense"])
def test_records_stay_sparse_in_memory(form: str) -> None:
    """2,000 records of 6,170 features are 49 MB as float32; training and asking must stay far below."""
    rng = np.random.default_rng(0)
    n, d = 2000, 6170
    places = rng.integers(0, d, (n, 60))
    X: Any = np.zeros((n, d), dtype=np.uint8)
    np.put_along_axis(X, places, 1, axis=1)
    X = scipy.sparse.csr_array(X) if form == "csr" else X
    y = rng.integers(0, 5, n)
    recipe = Network(hidden=(8,), epochs=1, standardize=True)
    recipe.fit(X[:300], y[:300], classes=5, seed=1)  # what is loaded once
    tracemalloc.start()
    try:
        recipe.fit(X, y, classes=5, seed=1).predict_proba(X)
        assert tracemalloc.get_traced_memory()[1] < (12 if form == "csr" else 30) * 2**20
    finally:
        tracemalloc.stop()
