from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import binom

from miaudit.attacks import Shokri, Threshold, blind_auc, shuffle_membership
from miaudit.errors import DataError
from miaudit.stats import auc_interval
from miaudit.testing import worlds


@pytest.mark.parametrize("overlapping", [False, True])
def test_shuffle_keeps_every_count_and_all_outputs(overlapping: bool) -> None:
    world = worlds.memoriser(overlapping=overlapping)
    evidence, member = shuffle_membership(world.evidence, world.member, 3)
    assert evidence.target is world.evidence.target
    assert evidence.shadows is world.evidence.shadows
    np.testing.assert_array_equal(evidence.inside.sum(axis=1), world.evidence.inside.sum(axis=1))
    assert member.sum() == world.member.sum()
    assert not np.array_equal(evidence.inside, world.evidence.inside)
    assert not np.array_equal(evidence.inside[0], evidence.inside[1])
    again = shuffle_membership(world.evidence, world.member, 3)
    np.testing.assert_array_equal(again[0].inside, evidence.inside)
    np.testing.assert_array_equal(again[1], member)


@pytest.mark.parametrize("attack", [Shokri(epochs=1), Threshold()])
def test_the_null_control_is_at_chance_on_the_leakiest_model(attack) -> None:
    found, trials = 0, 30
    for seed in range(trials):
        world = worlds.memoriser(n=100, classes=2, shadows=2, seed=seed)
        evidence, member = shuffle_membership(world.evidence, world.member, seed)
        score = attack.run(evidence, seed=seed).score
        _, low, high = auc_interval(score[member], score[~member])
        found += not low <= 0.5 <= high
    assert found <= binom.ppf(0.999, trials, 0.05)


def split(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(2 * n, d)), generator.integers(0, 4, 2 * n), np.arange(2 * n) % 2 == 0


@pytest.mark.parametrize(
    ("n", "d", "columns", "trials"), [pytest.param(60, 4, 256, 60, marks=pytest.mark.slow), (60, 80, 16, 30)]
)
def test_blind_check_is_at_chance_on_a_fair_split(n: int, d: int, columns: int, trials: int) -> None:
    got = [blind_auc(*split(n, d, seed), seed=seed, max_features=columns) for seed in range(trials)]
    assert sum(not b.low <= 0.5 <= b.high for b in got) <= binom.ppf(0.999, trials, 0.05)
    values = [b.value for b in got]
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / np.sqrt(trials)  # no bend below 1/2


@pytest.mark.parametrize("kind", ["dense", "sparse", "image"])
def test_blind_check_finds_one_telling_column_among_many(kind: str) -> None:
    x, y, member = split(300, 600, 0)
    x[np.abs(x) < 1] = 0
    x[:, 123] += 3 * member
    records = {"dense": x, "sparse": sparse.csr_matrix(x), "image": x.reshape(-1, 3, 10, 20)}[kind]
    got = blind_auc(records, y, member, seed=0, max_features=32)
    assert got.low is not None
    assert got.low > 0.8
    assert "32 columns out of 600" in got.method


def test_blind_check_finds_a_shift_spread_over_all_columns() -> None:
    x, y, member = split(400, 500, 0)
    x += 0.1 * member[:, None] + 2 * np.random.default_rng(1).normal(size=(800, 1)) * np.sign(np.arange(500) - 250)
    got = blind_auc(x, y, member, seed=0, max_features=64)
    assert got.low is not None
    assert got.low > 0.5


def test_blind_check_finds_classes_that_tell() -> None:
    x, _, member = split(200, 3, 0)
    got = blind_auc(x, np.where(member, 2, np.random.default_rng(0).integers(0, 3, 400)), member, seed=0)
    assert got.low is not None
    assert got.low > 0.6


def test_blind_check_is_the_same_for_the_same_seed_dense_or_sparse() -> None:
    x, y, member = split(100, 40, 0)
    x[x < 0] = 0
    first = blind_auc(x, y, member, seed=7, max_per_side=50, max_features=10)
    assert first == blind_auc(x, y, member, seed=7, max_per_side=50, max_features=10)
    assert first.value == pytest.approx(
        blind_auc(sparse.csr_matrix(x), y, member, seed=7, max_per_side=50, max_features=10).value, abs=1e-6
    )
    assert "50 members and 50 non-members" in first.method


def test_blind_check_takes_many_classes_and_uneven_sides() -> None:
    x, _, _ = split(200, 3, 0)
    got = blind_auc(x, np.arange(400), np.arange(400) < 60, seed=0)
    assert got.low is not None
    assert got.high is not None
    assert 0 <= got.low <= got.high <= 1


def test_too_few_records_give_a_reason_and_no_figure() -> None:
    x, y, member = split(19, 3, 0)
    got = blind_auc(x, y, member, seed=0)
    assert (got.value, got.low, got.high) == (None, None, None)
    assert "19 members" in str(got.reason)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, y, m: (np.where(x > 2, np.nan, x), y, m), "finite numbers"),
        (lambda x, y, m: (x.astype(str), y, m), "finite numbers"),
        (lambda x, y, m: (x[:-1], y, m), "one row per record"),
        (lambda x, y, m: (x, y, m.astype(int)), "one row per record"),
    ],
)
def test_refuses_other_features(change, says: str) -> None:
    with pytest.raises(DataError, match=says):
        blind_auc(*change(*split(50, 3, 0)), seed=0)
