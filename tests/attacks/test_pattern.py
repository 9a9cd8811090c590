"""The check for a pattern of the classes: it finds what one side carries, and nothing where the sides are alike."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits

from miaudit.attacks import label_pattern
from miaudit.attacks.pattern import _learned
from miaudit.data.protect import Autoregressive, ClassNoise, OnePixel, Separable
from miaudit.errors import DataError

N = 200  # a side
MEMBER = np.arange(2 * N) < N


def records(n: int = 2 * N, *, seed: int = 0, classes: int = 3):
    """Smooth images with a little of their class in them."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    coarse = (
        0.5 + 0.06 * np.random.default_rng(9).normal(size=(classes, 1, 4, 4))[y] + 0.12 * rng.normal(size=(n, 1, 4, 4))
    )
    fine = np.kron(coarse, np.ones((2, 2))) + 0.01 * rng.normal(size=(n, 1, 8, 8))
    return np.clip(fine, 0, 1).astype(np.float32), y


def carried(X, y, generator, side=MEMBER, *, seed=1):
    """Records of which those of a side carry a protection."""
    pattern = generator.fit(X, y, seed=seed)
    return np.where(side[:, None, None, None], pattern.apply(X, y, seed=2), X)


@pytest.mark.parametrize("generator", [ClassNoise(), Separable(patch=1), OnePixel()], ids=lambda g: type(g).__name__)
def test_a_pattern_of_one_side_is_found_and_its_side_is_named(generator):
    X, y = records()
    of_members, of_others = (label_pattern(carried(X, y, generator, s), y, MEMBER, seed=1) for s in (MEMBER, ~MEMBER))
    for pattern, side in ((of_members, "members"), (of_others, "nonmembers")):
        assert pattern.low > 0
        assert pattern.side in (side, "both")  # what is added may also hide what was there
        assert pattern.side == side or not isinstance(generator, ClassNoise)
    assert of_members.members > of_members.nonmembers + 0.2
    assert of_others.by_nonmembers[1] > of_others.by_nonmembers[0] + 0.2


def test_a_pattern_that_both_sides_carry_is_none_that_tells_them_apart():
    X, y = records()
    both = carried(X, y, ClassNoise(), MEMBER | True)
    pattern = label_pattern(both, y, MEMBER, seed=1)
    assert pattern.low < 0 < pattern.high  # also where all answers are right
    assert pattern.side is None
    assert min(pattern.members, pattern.nonmembers) > 0.9


def test_different_patterns_on_both_sides_are_said_to_be_on_both():
    X, y = records()
    X = carried(X, y, ClassNoise(), MEMBER)
    X = carried(X, y, ClassNoise(), ~MEMBER, seed=8)
    pattern = label_pattern(X, y, MEMBER, seed=1)
    assert pattern.low > 0
    assert pattern.side == "both"


def test_a_filter_s_pattern_is_seen_by_how_neighbours_hang_together():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    X = np.clip(0.5 + 0.02 * rng.normal(size=(600, 1, 16, 16)), 0, 1)
    member = np.arange(600) < 300
    X = carried(X, y, Autoregressive(norm=2.0), member)
    assert label_pattern(X, y, member, seed=1).low > 0
    flat = X.reshape(600, -1)
    assert label_pattern(flat, y, member, shape=(1, 16, 16), seed=1).low > 0
    assert label_pattern(flat, y, member, seed=1).low <= 0  # as a table it is not seen


@pytest.mark.parametrize("size", [100, 300])
def test_sides_of_ordinary_data_raise_hardly_an_alarm(size):
    """At 99.9 % none in 60 draws, and no more than chance allows at 95 %."""
    X, y = load_digits(return_X_y=True)
    alarms = ordinary = 0
    for seed in range(60):
        index = np.random.default_rng(seed).permutation(len(y))[: 2 * size]
        pattern = label_pattern(X[index], y[index], np.arange(2 * size) < size, seed=seed, confidence=0.95)
        ordinary += pattern.low > 0
        alarms += pattern.excess > 1.75 * (pattern.excess - pattern.low)  # Student's quantiles: 3.4 / 1.97
    assert alarms == 0
    assert ordinary <= 5  # binomial, 60 draws at 2.5 %: more in one of a hundred


def test_what_makes_one_side_easier_for_every_learner_is_no_pattern():
    X, y = records(2000)
    member, rng = np.arange(2000) < 1000, np.random.default_rng(1)
    wrong = np.where(~member & (rng.random(2000) < 0.4), rng.integers(0, 3, 2000), y)
    pattern = label_pattern(X, wrong, member, seed=1)
    assert pattern.members > pattern.nonmembers + 0.1
    assert pattern.low <= 0


def test_classes_of_other_shares_and_repeated_records_are_no_pattern():
    X, y = records(900)
    member = np.random.default_rng(2).random(900) < np.array([0.2, 0.5, 0.8])[y]
    pattern = label_pattern(X, y, member, seed=1)
    assert pattern.low <= 0
    again = np.concatenate([np.flatnonzero(member), np.flatnonzero(member), np.flatnonzero(~member)])
    assert label_pattern(X[again], y[again], member[again], seed=1).low <= 0


def test_records_of_one_person_are_not_learned_from_to_judge_that_person():
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(80), 6)
    y = rng.integers(0, 2, 80)[people]
    X = rng.normal(size=(80, 30))[people] + 0.1 * rng.normal(size=(480, 30))
    member = people < 40
    assert label_pattern(X, y, member, seed=1).low > 0  # a person is a pattern of his class
    assert label_pattern(X, y, member, people=people, seed=1).low <= 0


def test_sparse_records_are_those_of_their_dense_form():
    X, y = records()
    X = carried(X, y, ClassNoise()).reshape(2 * N, -1)
    dense = label_pattern(X, y, MEMBER, seed=1)
    assert label_pattern(sparse.csr_matrix(X), y, MEMBER, seed=1).excess == pytest.approx(dense.excess, abs=0.02)
    assert label_pattern(X, y, MEMBER, seed=1) == dense


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_the_learner_is_ridge_regression(shape):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=shape).astype(np.float32), rng.integers(0, 3, shape[0])
    z = rng.normal(size=(200, shape[1])).astype(np.float32)
    a, b = x - x.mean(axis=0), np.eye(3)[y] - np.eye(3)[y].mean(axis=0)
    ridge = 0.1 * (a**2).sum() / min(shape)
    weights = np.linalg.solve(a.T @ a + ridge * np.eye(shape[1]), a.T @ b)
    naive = ((z - x.mean(axis=0)) @ weights + np.eye(3)[y].mean(axis=0)).argmax(axis=1)
    assert (_learned(x, y, 3)(z) == naive).mean() > 0.99


def test_too_few_records_and_one_class_give_no_figure():
    X, y = records()
    few = label_pattern(X[:60], y[:60], np.arange(60) < 30, seed=1)
    assert few.excess is None
    assert "too few" in few.reason
    assert label_pattern(X, np.zeros(2 * N, int), MEMBER, seed=1).excess is None
    apart = label_pattern(X, np.where(MEMBER, y, y + 3), MEMBER, seed=1)
    assert apart.excess is None
    with pytest.raises(DataError, match="finite"):
        label_pattern(np.full((2 * N, 3), np.nan), y, MEMBER, seed=1)
