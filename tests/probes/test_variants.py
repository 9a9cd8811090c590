from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from miaudit.data.schema import Schema
from miaudit.probes import variant


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_numbers_get_noise_in_their_own_unit_and_stay_in_range() -> None:
    X = rng(1).normal(size=(5000, 2)) * [1, 1000]
    schema = Schema.infer(X)
    near = variant(X, schema, level=0.1, rng=rng())
    np.testing.assert_allclose((near - X).std(axis=0), [0.1, 100], rtol=0.05)
    assert (near.min(axis=0) >= X.min(axis=0)).all()
    assert (near.max(axis=0) <= X.max(axis=0)).all()


def test_bits_flip_at_half_the_level() -> None:
    X = (rng(1).random((2000, 30)) < 0.2).astype(np.uint8)
    near = variant(X, Schema.infer(X), level=0.1, rng=rng())
    assert near.dtype == np.uint8
    assert (near != X).mean() == pytest.approx(0.05, abs=0.004)
    gone = variant(X, Schema.infer(X), level=1.0, rng=rng())
    assert gone[X == 1].mean() == pytest.approx(0.5, abs=0.02)


def test_sparse_is_as_dense() -> None:
    X = (rng(1).random((50, 30)) < 0.2).astype(np.float32)
    X[:, 0] *= rng(2).random(50).astype(np.float32) * 7
    held = sparse.csr_matrix(X)
    near = variant(held, Schema.infer(held), level=0.3, rng=rng())
    assert near.format == "csr"
    np.testing.assert_allclose(near.toarray(), variant(X, Schema.infer(X), level=0.3, rng=rng()), rtol=1e-5)


@pytest.mark.parametrize("form", ["pandas", "polars", "objects"])
def test_tables_keep_their_form(form: str) -> None:
    n = 3000
    columns = {
        "age": rng(1).integers(20, 80, n),
        "pay": rng(2).normal(size=n).astype(np.float32),
        "town": rng(3).choice(["Bonn", "Ulm", "Trier"], n, p=[0.6, 0.3, 0.1]),
        "flag": rng(4).integers(0, 2, n),
    }
    frame = pd.DataFrame(columns).astype({"town": "category"})
    X = {"pandas": frame, "polars": pl.DataFrame(columns), "objects": frame.to_numpy(dtype=object)}[form]
    schema = Schema.infer(X)
    near = variant(X, schema, level=0.2, rng=rng())
    schema.check(near)
    if form == "pandas":
        assert (near.dtypes == X.dtypes).all()
    if form == "polars":
        assert near.schema == X.schema
    before, after = (pd.DataFrame(np.asarray(Z, dtype=object), columns=list(columns)) for Z in (X, near))
    # a category drawn again is the old one with the chance that two records agree
    assert (before.town != after.town).mean() == pytest.approx(0.2 * (1 - 0.46), abs=0.03)
    assert (before.flag != after.flag).mean() == pytest.approx(0.1, abs=0.02)
    assert set(map(float.is_integer, after.age.astype(float))) == {True}
    assert (after.age - before.age).astype(float).std() == pytest.approx(0.2 * frame.age.std(), rel=0.1)


@pytest.mark.parametrize("shape", [(16, 16), (3, 16, 16), (16, 16, 3)])
def test_images_are_shifted_and_mirrored(shape: tuple[int, ...]) -> None:
    X = rng(1).integers(0, 256, (40, *shape)).astype(np.uint8)
    schema = Schema.infer(X)
    near = variant(X, schema, level=1 / 8, rng=rng())  # up to a quarter of a pixel: no shift, noise only
    assert near.dtype == np.uint8
    assert np.abs(near.astype(int) - X).mean() == pytest.approx(255 / 12**0.5 / 8 * 0.8, rel=0.1)
    point = np.zeros((1, *shape), np.float32)
    down, across = (0, 1) if shape[-1] == 3 else (-2, -1)
    place = [0] * len(shape)
    place[down], place[across] = 8, 4
    point[0][tuple(place)] = 1.0
    many = np.repeat(point, 400, axis=0)
    moved = variant(many, Schema.infer(many), level=1.0, rng=rng(3), mirror=True)
    at = np.array([np.unravel_index(image.argmax(), shape) for image in moved])
    assert set(at[:, down]) == {6, 7, 8, 9, 10}  # an eighth of 16 either way
    assert set(at[:, across]) == {2, 3, 4, 5, 6, 9, 10, 11, 12, 13}  # 15 - 4 when mirrored


def test_level_zero_and_seeds() -> None:
    X = rng(1).normal(size=(50, 3))
    schema = Schema.infer(X)
    np.testing.assert_array_equal(variant(X, schema, level=0.0, rng=rng()), X)
    a, b, c = (variant(X, schema, level=0.5, rng=rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
