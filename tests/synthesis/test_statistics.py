"""Records from marginals, and noisy records."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, ks_2samp
from test_climbing import FEATURES, mixed

from miaudit.data import from_arrays
from miaudit.errors import DataError, PlanError
from miaudit.synthesis import Domain, Marginals, from_marginals, from_noise, noisy
from miaudit.targets import as_target


def census(n=4000, seed=0):
    """Two classes with other marginals: a bit, three categories, a whole number, a real one."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(int)
    X = np.column_stack(
        [
            rng.random(n) < np.where(y, 0.8, 0.1),
            (rng.random(n)[:, None] > np.where(y[:, None], [0.1, 0.3], [0.6, 0.9])).sum(axis=1),
            rng.poisson(np.where(y, 9, 3)),
            rng.normal(np.where(y, 4.0, -1.0)),
        ]
    )
    return from_arrays(X, y, names=["bit", "job", "visits", "score"], stated={"job": "categorical"})


def within(k, n, p, error=1e-6):
    low, high = binom.interval(1 - error, n, p)
    return low <= k <= high


@pytest.mark.parametrize("by_class", [True, False])
def test_marginals_are_recovered(by_class):
    data = census()
    domain = Domain.of(data)
    n = 20_000
    if by_class:
        made = from_marginals(Marginals.of(data, domain, by_class=True), n, seed=1)
        assert within((made.y == 1).sum(), n, (data.y == 1).mean())
        groups = [(made.values[made.y == c], data.X[data.y == c]) for c in (0, 1)]
    else:
        target = as_target(lambda X: np.column_stack([1 - X[:, 0], X[:, 0]]), classes=2)
        made = from_marginals(Marginals.of(data, domain, by_class=False), n, seed=1, target=target)
        np.testing.assert_array_equal(made.y, made.values[:, 0])
        assert target.queries == made.figures.queries.total == n
        groups = [(made.values, data.X)]
    for drawn, real in groups:
        assert within(drawn[:, 0].sum(), len(drawn), real[:, 0].mean())
        for category in range(3):
            assert within((drawn[:, 1] == category).sum(), len(drawn), (real[:, 1] == category).mean())
        assert ks_2samp(drawn[:, 2], real[:, 2]).statistic < 0.03  # a table of percentiles
        assert ks_2samp(drawn[:, 3], real[:, 3]).statistic < 0.03
        assert (drawn[:, 2] == np.floor(drawn[:, 2])).all()
        assert abs(np.corrcoef(drawn[:, 0], drawn[:, 3])[0, 1]) < 0.05  # features are drawn apart


def test_a_table_of_marginals_is_read_as_it_was_written(tmp_path):
    data = census()
    domain = Domain.of(data)
    for by_class in (True, False):
        table = Marginals.of(data, domain, by_class=by_class)
        (tmp_path / "table.json").write_text(table.to_json())
        again = Marginals.load(tmp_path / "table.json", domain, data.classes, by_class=by_class)
        np.testing.assert_array_equal(
            again.draw(500, np.random.default_rng(3))[0], table.draw(500, np.random.default_rng(3))[0]
        )


def test_a_table_written_by_hand(tmp_path):
    data = census()
    table = {
        "shares": {"0": 1.0},
        "marginals": {"0": {"bit": 0.25, "job": {"0.0": 0.5, "2.0": 0.5}, "visits": [0, 2, 4], "score": [-1, 1]}},
    }
    (tmp_path / "table.json").write_text(json.dumps(table))
    values, y = Marginals.load(tmp_path / "table.json", Domain.of(data), data.classes, by_class=True).draw(
        8000, np.random.default_rng(0)
    )
    assert (y == 0).all()
    assert within(values[:, 0].sum(), 8000, 0.25)
    assert within((values[:, 1] == 2).sum(), 8000, 0.5)
    assert not (values[:, 1] == 1).any()
    assert set(values[:, 2]) == {0, 2, 4}
    assert abs(values[:, 3].mean()) < 0.04


def test_all_that_is_wrong_with_a_table_is_listed_with_its_path(tmp_path):
    data = census()
    table = {
        "shares": {"0": 0.5, "1": 0.2},
        "marginals": {
            "0": {"bit": 1.5, "job": {"0.0": 0.5, "boss": 0.5}, "visits": [4, 2], "score": [-99, 1], "extra": 1},
            "2": {},
        },
    }
    (tmp_path / "table.json").write_text(json.dumps(table))
    with pytest.raises(PlanError) as caught:
        Marginals.load(tmp_path / "table.json", Domain.of(data), data.classes, by_class=True)
    said = str(caught.value)
    for part in (
        "shares: the shares sum to 0.7",
        "marginals.2: no such class",
        "marginals.0.bit: got 1.5",
        "marginals.0.job: no category is called 'boss'",
        "marginals.0.visits: got [4, 2]",
        "marginals.0.score: quantiles run from -99",
        "marginals.0.extra: no such column",
        "marginals.1: missing",
    ):
        assert part in said
    (tmp_path / "table.json").write_text("[]")
    with pytest.raises(DataError, match='no object "marginals"'):
        Marginals.load(tmp_path / "table.json", Domain.of(data), data.classes, by_class=True)
    with pytest.raises(DataError, match="cannot be read"):
        Marginals.load(tmp_path / "none.json", Domain.of(data), data.classes, by_class=True)


def test_marginals_of_all_need_a_target_to_tell_classes():
    data = census(100)
    with pytest.raises(PlanError, match="tell no record's class"):
        from_marginals(Marginals.of(data, Domain.of(data), by_class=False), 10, seed=0)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.55, 1.0])
def test_a_share_of_the_bits_is_flipped_or_replaced(rate):
    rng = np.random.default_rng(5)
    data = from_arrays(rng.integers(0, 2, (3000, 446)).astype(np.uint8), np.arange(3000) % 3)
    domain = Domain.of(data)
    flipped = from_noise(data, domain, 3000, rate=rate, noise="flip", seed=0)
    changes = (flipped.values != data.X).sum(axis=1)
    assert set(changes) <= {np.floor(rate * 446), np.ceil(rate * 446)}  # the share of each record, not on average alone
    assert within(changes.sum() - 3000 * np.floor(rate * 446), 3000, rate * 446 % 1)
    np.testing.assert_array_equal(flipped.y, data.y)
    assert flipped.figures.features_changed == pytest.approx((flipped.values != data.X).mean())
    replaced = from_noise(data, domain, 3000, rate=rate, noise="replace", seed=0)
    assert within((replaced.values != data.X).sum(), 3000 * 446, rate / 2)
    by_feature = (flipped.values != data.X).sum(axis=0)
    assert np.abs(by_feature - 3000 * rate).max() <= 5.5 * np.sqrt(3000 * rate * (1 - rate))


def test_the_rate_holds_on_average_for_few_features_too():
    data = mixed(6000)
    domain = Domain.of(data)
    values = domain.values(data.X)
    changed = noisy(values, domain, rate=0.1, noise="flip", rng=np.random.default_rng(0)) != values
    assert set(changed.sum(axis=1)) == {0, 1}  # 0.7 of 7 features
    assert within(changed.sum(), 6000, 0.7)


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0, 1), noise=st.sampled_from(["flip", "replace"]), seed=st.integers(0, 2**31))
def test_noisy_features_stay_in_their_domain(rate, noise, seed):
    data = mixed()
    made = from_noise(data, Domain.of(data), 100, rate=rate, noise=noise, seed=seed)
    assert len(made.values) == 100  # copies in turn
    for column, feature in zip(made.values.T, FEATURES["mixed"], strict=True):
        kind, low, high = feature if len(feature) == 3 else ("whole", 0, 1)
        assert low <= column.min()
        assert column.max() <= high
        assert kind == "real" or (column == np.floor(column)).all()


@pytest.mark.parametrize(
    ("rate", "noise", "said"), [(1.2, "flip", "rate: must be .*, got 1.2"), (0.1, "salt", "noise: got 'salt'")]
)
def test_noise_that_cannot_be_is_named(rate, noise, said):
    data = mixed()
    with pytest.raises(PlanError, match=said):
        from_noise(data, Domain.of(data), 10, rate=rate, noise=noise, seed=0)
