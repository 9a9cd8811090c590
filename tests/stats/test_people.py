"""People with many records: the interval of the area, one score a person, and what keeps a person together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from miaudit import stats
from miaudit.errors import DataError


def side(rng: np.random.Generator, people: int, records: int, rho: float, kind: str = "equal"):
    """Scores that share a person's part, and whose they are."""
    counts = np.full(people, records) if kind == "equal" else rng.geometric(1 / records, people)
    of = np.repeat(np.arange(people), counts)
    return np.sqrt(rho) * rng.normal(size=people)[of] + np.sqrt(1 - rho) * rng.normal(size=len(of)), of


def deleted(ins, outs, in_people, out_people) -> float:
    """Variance of the area by leaving one person out at a time, from the definition: each pair counted anew."""
    win = (ins[:, None] > outs) + 0.5 * (ins[:, None] == outs)
    total = 0.0
    for axis, people in ((0, in_people), (1, out_people)):
        names = np.unique(people)
        # placements of this side alone move: the other side's records stay
        means = np.array([win.mean(axis=1 - axis)[people != name].mean() for name in names])
        total += (len(names) - 1) / len(names) * ((means - win.mean()) ** 2).sum()
    return total


@pytest.mark.parametrize("kind", ["equal", "geometric"])
def test_the_spread_is_the_variance_of_leaving_one_person_out(kind):
    rng = np.random.default_rng(1)
    (ins, a), (outs, b) = (side(rng, people, 6, 0.4, kind) for people in (9, 7))
    ins, outs = ins.round(1), outs.round(1)  # ties
    spread = stats.auc_spread(ins, outs, in_people=a, out_people=b + 100)
    naive = deleted(ins, outs, a, b)
    area, n_in, n_out = stats.auc(ins, outs), len(ins), len(outs)
    half = ((n_in + n_out) / 2 - 1) * ((1 - area) / (2 - area) + area / (1 + area))
    assert spread.inflation == pytest.approx(naive / (area * (1 - area) * (1 + half) / (n_in * n_out)))
    assert spread.units == 7
    assert 1 < spread.freedom <= 14


def test_people_of_one_record_each_change_nothing():
    rng = np.random.default_rng(0)
    ins, outs = rng.normal(0.3, 1, 30), rng.normal(size=40)
    plain = stats.auc_interval(ins, outs)
    assert stats.auc_interval(ins, outs, in_people=np.arange(30), out_people=np.arange(30, 70)) == plain
    person = stats.person_scores(ins, outs, np.arange(30), np.arange(40) + 99)
    assert stats.auc_interval(person.inside, person.outside) == plain
    assert person.records == 70


CELLS = [  # people a side, records each, correlation, law of the number of records
    (100, 5, 0.3, "equal"),
    (50, 20, 0.1, "equal"),
    pytest.param((50, 20, 0.3, "equal"), marks=pytest.mark.slow),
    (20, 50, 0.1, "equal"),
    (40, 10, 0.3, "geometric"),
    (60, 4, 1.0, "equal"),
]


@pytest.mark.parametrize("cell", CELLS)
def test_intervals_keep_their_level_for_records_and_for_people(cell):
    """Two-sided errors of 300 trials; records alone would err in 18 to 58 % of them."""
    rng, trials, of_records, of_people, naive = np.random.default_rng(5), 300, 0, 0, 0
    for _ in range(trials):
        (ins, a), (outs, b) = side(rng, *cell), side(rng, *cell)
        area = stats.auc_interval(ins, outs, in_people=a, out_people=b + 1000)
        people = stats.auc_interval(*stats.person_scores(ins, outs, a, b + 1000)[:2])
        bare = stats.auc_interval(ins, outs)
        of_records += not area.low <= 0.5 <= area.high
        of_people += not people.low <= 0.5 <= people.high
        naive += not bare.low <= 0.5 <= bare.high
    most = binom.ppf(0.9995, trials, 0.05)
    assert of_records <= most
    assert of_people <= most
    assert naive > 1.5 * most


@pytest.mark.parametrize(
    "shape", [lambda u: np.exp(2 * u), lambda u: -np.exp(2 * u), lambda u: (u > -1.2).astype(float)]
)
@pytest.mark.parametrize("counts", [(20, 2), (1, 20)])
def test_the_number_of_records_is_no_sign_of_membership(shape, counts):
    """Members with many records against non-members with few, and the reverse, scores of any shape: no leak is there."""
    rng, trials, above, low = np.random.default_rng(2), 100, 0, 0
    for _ in range(trials):
        (ins, a), (outs, b) = (side(rng, 150, k, 0.2, "geometric") for k in counts)
        person = stats.person_scores(shape(ins), shape(outs), a, b + 1000)
        above += stats.auc_interval(*person[:2]).low > 0.5
        low += any(stats.tpr_at_fpr(*person[:2], fpr).low > fpr for fpr in (0.1, 0.01))
    assert above <= binom.ppf(0.999, trials, 0.025)
    assert low <= binom.ppf(0.999, trials, 0.025)


def test_twenty_weak_records_make_a_strong_person():
    """An area of 0.55 a record is Phi(sqrt(20) Phi^-1(0.55)) = 0.713 at 20 independent records."""
    rng = np.random.default_rng(0)
    d = np.sqrt(2) * 0.12566
    (ins, a), (outs, b) = (side(rng, 4000, 20, 0.0) for _ in range(2))
    person = stats.person_scores(ins + d, outs, a, b + 10_000)
    assert stats.auc(ins + d, outs) == pytest.approx(0.55, abs=0.004)
    assert stats.auc(*person[:2]) == pytest.approx(0.713, abs=0.015)


def test_a_person_s_score_does_not_depend_on_the_scale_or_the_order_of_records():
    rng = np.random.default_rng(3)
    (ins, a), (outs, b) = side(rng, 12, 5, 0.2), side(rng, 15, 5, 0.2)
    plain = stats.person_scores(ins, outs, a, b + 50)
    scaled = stats.person_scores(np.exp(ins), np.exp(outs), a, b + 50)
    np.testing.assert_array_equal(plain.inside, scaled.inside)
    mixed = rng.permutation(len(ins))
    other = stats.person_scores(ins[mixed], outs, a[mixed], b + 50)
    np.testing.assert_allclose(np.sort(other.inside), np.sort(plain.inside))


def test_one_score_for_everybody_ranks_nobody():
    person = stats.person_scores(np.ones(6), np.ones(6), np.repeat([0, 1, 2], 2), np.repeat([3, 4, 5], 2))
    assert stats.auc(*person[:2]) == 0.5


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
)
def test_equal_counts_are_no_more_than_people_have_and_of_one_law(ins, outs):
    one, two = stats.equal_counts(ins, outs)
    assert (one <= ins).all()
    assert (two <= outs).all()
    assert min(*one, *two) >= 1
    if len(ins) == len(outs):
        assert sorted(one) == sorted(two)
    if sorted(ins) == sorted(outs):
        assert one.tolist() == ins


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=40), st.integers(0, 40), st.integers(0, 5))
def test_a_cut_takes_people_whole_and_no_more_than_one_too_many(people, size, seed):
    chosen = stats.cut_by_person(people, size, np.random.default_rng(seed))
    of = np.array(people)
    for name in set(people):
        assert len(set(chosen[of == name].tolist())) == 1
    largest = max(people.count(name) for name in people)
    assert min(size, len(people)) <= chosen.sum() < max(size, 1) + largest


@pytest.mark.parametrize("names", [[3, 1, 3, 2], ["c", "a", "c", "b"], [3.5, None, 3.5, "b"], [(1,), 2, (1,), "2"]])
def test_names_are_numbered_as_they_appear(names):
    array = np.empty(4, object)
    array[:] = names
    assert stats.numbered(array).tolist() == [0, 1, 0, 2]
    assert stats.numbered(np.array([7, -1, 7, 0])).tolist() == [0, 1, 0, 2]


def test_copies_on_their_own_side_are_found_and_values_that_lie_on_both_are_not():
    member = np.array([1, 1, 1, 0, 0, 0, 1, 0], bool)
    contents = np.array([5, 5, 6, 7, 7, 7, 8, 8])
    assert stats.copies(contents, None, member).tolist() == [0, 1, 0, 0, 1, 1, 0, 0]
    # two members with the same two records; a third has one of them alone
    member, people = np.ones(6, bool), np.array([0, 0, 1, 1, 2, 3])
    member[5] = False
    assert stats.copies([1, 2, 2, 1, 1, 9], people, member).tolist() == [0, 0, 1, 1, 0, 0]


def test_somebody_on_both_sides_is_no_unit_and_moves_both_sides():
    rng = np.random.default_rng(0)
    part = rng.normal(size=30)
    of = np.repeat(np.arange(30), 4)
    scores = part[of] + 0.1 * rng.normal(size=120)
    inside = np.tile([True, True, False, False], 30)
    with pytest.raises(DataError, match="30 people have records on both sides"):
        stats.person_scores(scores[inside], scores[~inside], of[inside], of[~inside])
    shared = stats.auc_interval(scores[inside], scores[~inside], in_people=of[inside], out_people=of[~inside])
    apart = stats.auc_interval(scores[inside], scores[~inside], in_people=of[inside], out_people=of[~inside] + 99)
    assert shared.high - shared.low < apart.high - apart.low  # what a person adds to one side is added to the other
    assert stats.on_both_sides(of, inside) == 30


def test_one_person_a_side_says_nothing():
    ins, outs = np.arange(10.0), np.arange(10.0) - 5
    area = stats.auc_interval(ins, outs, in_people=np.zeros(10, int), out_people=np.arange(10) + 1)
    assert (area.low, area.high) == (0.0, 1.0)
    separate = stats.auc_interval(ins + 100, outs, in_people=np.zeros(10, int), out_people=np.arange(10) + 1)
    assert separate.low == pytest.approx(0.025)


@pytest.mark.parametrize(
    ("people", "message"),
    [((np.zeros(3), None), "one side only"), ((np.zeros(2), np.zeros(4)), "one person per score")],
)
def test_people_who_do_not_fit_are_refused(people, message):
    with pytest.raises(DataError, match=message):
        stats.auc_interval(np.arange(3.0), np.arange(4.0), in_people=people[0], out_people=people[1])


def test_slices_count_people_and_refuse_rates_of_dependent_records():
    rng, trials, above = np.random.default_rng(0), 100, 0
    for _ in range(trials):
        (ins, a), (outs, b) = side(rng, 30, 10, 0.3), side(rng, 30, 10, 0.3)
        leaks = stats.by_group(ins, outs, a % 2, b % 2, in_people=a, out_people=b + 100)
        above += any(leak.above_chance for leak in leaks)
    assert above <= binom.ppf(0.999, trials, 0.05)
    with pytest.raises(DataError, match="no exact bounds"):
        stats.by_group(ins, outs, a % 2, b % 2, in_people=a, out_people=b + 100, fpr=0.1)
