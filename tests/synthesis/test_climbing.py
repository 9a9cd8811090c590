from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miaudit.data import from_arrays
from miaudit.errors import PlanError, TargetError
from miaudit.synthesis import Climbing, Climbs, Domain
from miaudit.synthesis.climbing import distinct
from miaudit.synthesis.streams import bases, keys, uniforms

SMALL = Climbing(k_max=8, k_min=2, rej_max=3, conf_min=0.3, iter_max=60, give_up=5, width=7)


def bits(width=24, n=50):
    rng = np.random.default_rng(0)
    return from_arrays(rng.integers(0, 2, (n, width)).astype(np.uint8), np.arange(n) % 3)


def mixed(n=60):
    """Binary, categorical (3), whole (17..90) and real columns."""
    rng = np.random.default_rng(1)
    X = np.column_stack(
        [
            rng.integers(0, 2, (n, 4)),
            np.arange(n) % 3,
            np.r_[17, 90, rng.integers(17, 91, n - 2)],
            np.r_[-2.5, 1.5, rng.uniform(-2.5, 1.5, n - 2)],
        ]
    ).astype(float)
    stated = {"x4": "categorical", "x5": "numeric", "x6": "numeric"}
    return from_arrays(X, np.arange(n) % 3, stated=stated)


def exact_target(width, classes=3, seed=0):
    """Return a target of a record's weighted sum in whole numbers: the same bits for one record and for a batch."""
    weights = np.random.default_rng(seed).integers(-3, 4, (width, classes))

    def ask(X):
        scores = (np.floor(np.asarray(X, dtype=float)) @ weights + 1.0) ** 2 + 1.0
        return scores / scores.sum(axis=1, keepdims=True)

    return ask


def one_by_one(ask):
    return lambda x: ask(np.array([x], dtype=float))[0].tolist()


FEATURES = {
    "bits": [("binary",)] * 24,
    "mixed": [("binary",)] * 4 + [("whole", 0, 2), ("whole", 17, 90), ("real", -2.5, 1.5)],
}


@pytest.mark.parametrize("width", [1, 7, 4096])
@pytest.mark.parametrize("form", ["bits", "mixed"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accept": ">"},
        {"halve": "at"},
        {"select": "best"},
        {"give_up": 2, "iter_max": 5},
        {"give_up_first": 1},
        {"give_up": 9, "give_up_first": 2, "iter_max": 9},
    ],
)
def test_the_lockstep_makes_the_records_of_one_climb_at_a_time_bit_for_bit(form, width, changes):
    dataset = bits() if form == "bits" else mixed()
    options, ask = replace(SMALL, width=width, **changes), exact_target(dataset.schema.width)
    wanted, seed = np.array([9, 4, 0]), 11
    climbs = Climbs(Domain.of(dataset), wanted, options, seed=seed)
    assert climbs.run(ask)
    expected = oracle.synthesize(one_by_one(ask), wanted, FEATURES[form], options, seed)
    records = climbs.records()
    for klass, (made, spent, failures) in enumerate(expected):
        of = records["klass"] == klass
        assert records["attempt"][of].tolist() == [attempt for attempt, *_ in made]
        assert records["values"][of].tolist() == [record for _, record, *_ in made]
        assert records["confidence"][of].tolist() == [confidence for *_, confidence, _ in made]
        assert records["queries"][of].tolist() == [queries for *_, queries in made]
        assert (climbs.made[klass], climbs.failed[klass]) == (len(made), failures)
        assert climbs.failed_queries[klass] == spent
    assert climbs.queries == sum(sum(q for *_, q in made) + spent for made, spent, _ in expected)


def test_a_linear_target_is_climbed_in_every_class():
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(60, 4))

    def ask(X):
        logits = X @ weights * 0.5
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    data = bits(60)
    climbs = Climbs(Domain.of(data), np.full(4, 25), Climbing(k_max=32, conf_min=0.8), seed=0)
    assert climbs.run(ask)
    assert climbs.made.tolist() == [25] * 4
    assert climbs.failed.tolist() == [0] * 4
    records = climbs.records()
    answers = ask(records["values"].astype(float))
    assert (answers.argmax(axis=1) == records["klass"]).all()
    assert (answers[np.arange(100), records["klass"]] > 0.8).all()
    assert len(np.unique(records["values"], axis=0)) == 100  # different climbs end at different records


def test_a_constant_target_fails_in_every_class_and_costs_what_was_foreseen():
    climbs = Climbs(Domain.of(bits()), np.full(3, 10), replace(SMALL, conf_min=0.5), seed=0)
    assert climbs.run(lambda X: np.full((len(X), 3), 1 / 3))
    assert climbs.made.tolist() == [0, 0, 0]
    assert climbs.failed.tolist() == [5, 5, 5]
    assert climbs.queries == 3 * 5 * 60


class Watching:
    """A target that notes what it is asked; one climb at a time, so that the questions are a climb's own."""

    def __init__(self, ask):
        self.ask, self.asked, self.answered = ask, [], []

    def __call__(self, X):
        answer = self.ask(X)
        self.asked.append(X[0].copy())
        self.answered.append(answer[0])
        return answer


@pytest.mark.parametrize("width", [1, 4096])
def test_a_class_without_a_record_is_given_up_early_and_one_with_records_is_not(width):
    data = bits()

    def ask(X):  # nothing is sure to be of class 0; an eighth of all records is of class 1
        sure = np.asarray(X[:, :3].sum(axis=1) == 3)
        p = np.where(sure, 0.999, 0.5)
        return np.stack([1 - p, p], axis=1)

    options = Climbing(k_max=8, conf_min=0.6, iter_max=4, width=width)
    climbs = Climbs(Domain.of(data), np.array([60, 60]), options, seed=1)
    assert climbs.run(ask)
    assert (climbs.made[0], climbs.failed[0], climbs.failed_queries[0]) == (0, 10, 40)
    assert climbs.made[1] > 10
    assert climbs.failed[1] > 10


def test_k_falls_by_halves_to_k_min_when_everything_is_turned_down():
    def falling(X):  # each answer less sure than the one before
        falling.p *= 0.99
        return np.array([[falling.p, 1 - falling.p]])

    falling.p = 0.15
    target = Watching(falling)
    data = from_arrays(np.random.default_rng(0).integers(0, 2, (20, 300)).astype(np.uint8), np.arange(20) % 2)
    climbs = Climbs(Domain.of(data), np.array([1, 0]), Climbing(give_up=1, iter_max=80, width=1), seed=5)
    climbs.run(target)
    first = target.asked[0]  # the first proposal is accepted, all others are not: each is made from it
    changes = [int((x != first).sum()) for x in target.asked[1:]]
    assert changes == [128] * 11 + [64] * 11 + [32] * 11 + [16] * 11 + [8] * 11 + [4] * (79 - 55)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), k_max=st.integers(1, 30), form=st.sampled_from(["bits", "mixed"]))
def test_proposals_stay_in_the_domain_change_at_most_k_and_confidence_never_falls(seed, k_max, form):
    data = bits() if form == "bits" else mixed()
    options = Climbing(k_max=k_max, k_min=1, rej_max=1, conf_min=0.99, iter_max=25, give_up=1, width=1)
    target = Watching(exact_target(data.schema.width, seed=seed % 7))
    Climbs(Domain.of(data), np.array([0, 1, 0]), options, seed=seed).run(target)
    best, best_x = 0.0, target.asked[0]
    for x, answer in zip(target.asked, target.answered, strict=True):
        assert (x != best_x).sum() <= min(k_max, data.schema.width)
        if answer[1] >= best:
            best, best_x = answer[1], x
        for value, feature in zip(x, FEATURES[form], strict=True):
            kind, low, high = feature if len(feature) == 3 else ("whole", 0, 1)
            assert low <= value <= high
            assert kind == "real" or value == int(value)


@settings(max_examples=50, deadline=None)
@given(width=st.integers(1, 40), part=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_chosen_features_are_different_ones(width, part, seed):
    k = max(1, round(part * width))
    scratch = np.zeros((20, width), dtype=bool)
    base = bases(keys(seed, np.zeros(20, int), np.arange(20)), np.ones(20, int))
    feature = distinct(base, k, width, scratch)
    assert all(len(set(column)) == k for column in feature.T.tolist())
    assert feature.min() >= 0
    assert feature.max() < width
    assert not scratch.any()


def test_every_feature_is_chosen_equally_often():
    n, k, width = 20_000, 5, 12
    base = bases(keys(1, np.zeros(n, int), np.arange(n)), np.ones(n, int))
    counts = np.bincount(distinct(base, k, width, np.zeros((n, width), dtype=bool)).ravel(), minlength=width)
    expected = n * k / width
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_the_streams_are_uniform_and_differ_between_climbs_steps_and_places():
    klass, attempt = np.divmod(np.arange(400), 20)
    base = bases(keys(0, klass, attempt)[:, None], np.arange(10))[..., None]
    u = uniforms(base, np.arange(30))
    assert len(np.unique(u)) == u.size
    assert abs(u.mean() - 0.5) < 5 / np.sqrt(12 * u.size)
    counts = np.histogram(u, 100, (0, 1))[0]
    assert ((counts - u.size / 100) ** 2 / (u.size / 100)).sum() < 170  # chi-square of 99 degrees: 1e-5
    for axis in range(3):
        a, b = np.take(u, range(u.shape[axis] - 1), axis), np.take(u, range(1, u.shape[axis]), axis)
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_a_budget_is_spent_to_the_last_query_and_the_rest_made_later_is_the_same():
    data, wanted = mixed(), np.array([6, 6, 6])
    ask = exact_target(data.schema.width)
    whole = Climbs(Domain.of(data), wanted, SMALL, seed=2)
    whole.run(ask)
    state, spent = None, 0
    while True:
        part = Climbs(Domain.of(data), wanted, SMALL, seed=2, state=state)
        assert part.queries == spent
        done = part.run(ask, max_queries=spent + 23)
        spent, state = part.queries, part.state()
        if done:
            break
        assert part.queries % 23 == 0
    assert spent == whole.queries
    for name, array in whole.records().items():
        np.testing.assert_array_equal(part.records()[name], array)


def test_a_target_that_fails_in_the_middle_loses_nothing():
    data, wanted = bits(), np.array([6, 6, 6])
    ask, calls = exact_target(24), []

    def failing(X):
        calls.append(len(X))
        if len(calls) in (4, 9):
            raise TargetError("the budget is spent")
        return ask(X)

    whole = Climbs(Domain.of(data), wanted, SMALL, seed=2)
    whole.run(ask)
    part = Climbs(Domain.of(data), wanted, SMALL, seed=2)
    for _ in range(2):
        with pytest.raises(TargetError):
            part.run(failing)
        part = Climbs(Domain.of(data), wanted, SMALL, seed=2, state=part.state())
    part.run(failing)
    assert part.queries == whole.queries
    np.testing.assert_array_equal(part.records()["values"], whole.records()["values"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k_max": 0, "conf_min": 1.0}, "k_max: must be .*, got 0\n.*conf_min: must be .*, got 1.0"),
        ({"k_min": 200}, "more than k_max = 128"),
        ({"accept": "="}, "allowed: '>=' or '>'"),
        ({"iter_max": 2.5}, "whole number from 1"),
    ],
)
def test_options_that_cannot_be_are_listed(options, said):
    with pytest.raises(PlanError, match=said):
        Climbing(**options)
