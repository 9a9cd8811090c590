from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from miaudit.errors import DataError, PlanError
from miaudit.stats import (
    Bonferroni,
    Explicit,
    Split,
    Strategy,
    certify,
    clopper_pearson,
    epsilon_from_mu,
    epsilon_from_rates,
    mu_from_rates,
    roc,
    tpr_at_fpr,
    tpr_at_zero_fp,
)

STRATEGIES = [Explicit(1.0), Split(), Split(seed=3, share=0.3, objective="mu"), Bonferroni(), Bonferroni((0.0,))]
SCORES = st.lists(st.integers(-4, 4).map(float) | st.floats(-5, 5), min_size=2, max_size=40)


def at_most(wrong: int, trials: int, level: float = 0.05) -> bool:
    """Not more often than the level, as far as so many trials can tell (one in a thousand fails by chance)."""
    return binomtest(wrong, trials, level, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_bounds_from_gaussian_scores_hold(strategy: Strategy, mu: float) -> None:
    rng, trials = np.random.default_rng(11), 200
    found = [certify(rng.normal(mu, 1, 300), rng.normal(size=300), strategy, delta=1e-3) for _ in range(trials)]
    truth = epsilon_from_mu(mu, 1e-3)
    assert at_most(sum(one.mu > mu for one in found), trials)
    assert at_most(sum(one.epsilon > truth for one in found), trials)
    if mu and strategy != Bonferroni((0.0,)):
        assert np.median([one.mu for one in found]) >= 0.4 * mu


@pytest.mark.parametrize("strategy", [Split(), Bonferroni()], ids=repr)
def test_bounds_from_randomised_response_hold_and_come_close(strategy: Strategy) -> None:
    """Every score takes one of two values: all ties. Truth 1, at least 0.6 of it found with 1000 a side."""
    rng, trials, q = np.random.default_rng(7), 200, exp(1) / (1 + exp(1))
    found = []
    for _ in range(trials):
        answers = (rng.random(1000) < q).astype(float), (rng.random(1000) < 1 - q).astype(float)
        found.append(certify(*answers, strategy, delta=0.0).epsilon)
    assert at_most(sum(one > 1 for one in found), trials)
    if isinstance(strategy, Split):
        assert np.median(found) >= 0.6


def test_a_silent_search_finds_a_leak_in_noise() -> None:
    """The best of all thresholds, on the scores that certify, errs more often than its level of one half."""
    rng, trials, searched, split = np.random.default_rng(3), 60, 0, 0
    for _ in range(trials):
        ins, outs = rng.normal(size=60), rng.normal(size=60)
        curve = roc(ins, outs)
        searched += any(
            epsilon_from_rates(int(tp), 60 - int(tp), int(fp), 60 - int(fp), 0.0, 0.5) > 0
            for tp, fp in zip(curve.tp, curve.fp, strict=True)
        )
        split += certify(ins, outs, Split(), delta=0.0, confidence=0.5).epsilon > 0
    assert searched / trials > 0.6
    assert at_most(split, trials, 0.5)


@given(ins=SCORES, outs=SCORES, threshold=st.floats(-5, 5))
def test_an_explicit_threshold_is_one_operating_point(ins: list[float], outs: list[float], threshold: float) -> None:
    (point,) = certify(ins, outs, Explicit(threshold), delta=0.01).points
    counts = (
        *(sum(x >= threshold for x in ins), sum(x < threshold for x in ins)),
        *(sum(x >= threshold for x in outs), sum(x < threshold for x in outs)),
    )
    assert (point.tp, point.fn, point.fp, point.tn) == counts
    assert point.epsilon == epsilon_from_rates(*counts, 0.01)
    assert point.mu == mu_from_rates(*counts)


@given(ins=SCORES, outs=SCORES, seed=st.integers(0, 9))
def test_a_split_certifies_on_the_rest_only(ins: list[float], outs: list[float], seed: int) -> None:
    found = certify(ins, outs, Split(seed=seed), delta=0.0)
    (point,) = found.points
    assert point.tp + point.fn == len(ins) - min(max(round(len(ins) / 2), 1), len(ins) - 1)
    assert 1 <= point.fp + point.tn < len(outs)
    assert found == certify(ins, outs, Split(seed=seed), delta=0.0)
    assert found.epsilon == epsilon_from_rates(point.tp, point.fn, point.fp, point.tn, 0.0)


def test_a_split_picks_the_best_point_of_its_part() -> None:
    """Where the sides are 0 and 1, only the threshold 1 is any good."""
    (point,) = certify(np.ones(40), np.zeros(40), Split(), delta=0.0).points
    assert (point.threshold, point.tp, point.fn, point.fp, point.tn) == (1.0, 20, 0, 0, 20)
    assert certify(np.ones(40), np.ones(40), Split(), delta=0.0).epsilon == 0.0


def test_bonferroni_pays_for_each_rank_once() -> None:
    rng = np.random.default_rng(0)
    ins, outs = rng.normal(1, 1, 50), rng.normal(size=50)
    found = certify(ins, outs, Bonferroni((0.0, 0.001, 0.01, 0.1)), delta=0.0)
    assert [point.fp for point in found.points] == [0, 5]
    assert [point.fpr_high for point in found.points] == [clopper_pearson(k, 50, 0.975)[1] for k in (0, 5)]
    assert found.epsilon == max(point.epsilon for point in found.points)
    assert [point.tp for point in found.points] == [int((ins > np.sort(outs)[-k - 1]).sum()) for k in (0, 5)]


def test_bonferroni_keeps_the_rank_where_scores_tie() -> None:
    (point,) = certify([3.0, 2.0], [2.0, 2.0, 1.0, 0.0], Bonferroni((0.25,)), delta=0.0).points
    assert (point.tp, point.fp) == (1, 0)  # above 2, where the second largest non-member is
    assert point.fpr_high == clopper_pearson(1, 4)[1]


def test_only_independent_trainings_make_a_bound() -> None:
    scores = np.arange(50) + 100.0, np.arange(50)
    one_model = certify(*scores, Explicit(75.0), delta=1e-5)
    many = certify(*scores, Explicit(75.0), delta=1e-5, independent_trainings=True)
    assert one_model.figure == "empirical epsilon-equivalent"
    assert many.figure == "lower bound on epsilon"
    assert one_model.epsilon == many.epsilon
    assert many.epsilon_gaussian == epsilon_from_mu(many.mu, 1e-5)
    assert certify(*scores, Explicit(75.0), delta=0.0).epsilon_gaussian is None


@given(ins=SCORES, outs=SCORES)
def test_tpr_at_zero_false_positives(ins: list[float], outs: list[float]) -> None:
    found = tpr_at_zero_fp(ins, outs)
    assert found.tp == sum(x > max(outs) for x in ins)
    assert found.tpr == tpr_at_fpr(ins, outs, 0.0).tpr == found.tp / len(ins)
    assert (found.low, found.high) == clopper_pearson(found.tp, len(ins))
    assert (1 - found.fpr_high) ** len(outs) == pytest.approx(0.025)


def test_the_fpr_behind_zero_false_positives_is_bounded() -> None:
    """The threshold is the largest of 30 uniform non-members, so the true FPR there is one less it."""
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(500):
        outs = rng.random(30)
        wrong += tpr_at_zero_fp([0.5], outs).fpr_high < 1 - outs.max()
    assert at_most(wrong, 500, 0.025)
    assert wrong > 2  # and no looser than it says
    assert log(0.025) / 30 == pytest.approx(log(1 - tpr_at_zero_fp([0.5], outs).fpr_high))


def test_refuses_bad_input() -> None:
    with pytest.raises(PlanError, match="threshold: must be a finite number, got nan"):
        Explicit(float("nan"))
    with pytest.raises(PlanError, match="share: must be a finite number above 0 and below 1, got 1.0"):
        Split(share=1.0)
    with pytest.raises(PlanError, match="objective must be 'epsilon', 'mu' or 'ppv', got 'auc'"):
        Split(objective="auc")  # type: ignore[arg-type]
    for fprs in ((), (1.0,), (float("nan"),)):
        with pytest.raises(PlanError, match="fprs: must be a finite number from 0 and below 1|fprs is empty"):
            Bonferroni(fprs)
    with pytest.raises(DataError, match="cannot be split"):
        certify([1.0], [0.0, 1.0], Split(), delta=0.0)
    for strategy in STRATEGIES:
        with pytest.raises(DataError, match="NaN"):
            certify([1.0, float("nan")], [0.0, 1.0], strategy, delta=0.0)
        with pytest.raises(PlanError, match="delta"):
            certify([1.0, 2.0], [0.0, 1.0], strategy, delta=2.0)
        with pytest.raises(PlanError, match="confidence"):
            certify([1.0, 2.0], [0.0, 1.0], strategy, delta=0.0, confidence=95)


def test_the_threshold_for_ppv_has_the_largest_bound_on_the_ratio_of_rates_in_the_half_that_picks() -> None:
    rng = np.random.default_rng(3)
    ins, outs = rng.normal(1.0, 1.0, 60), rng.normal(size=80)
    strategy = Split(seed=5, objective="ppv")
    draws = np.random.default_rng(np.random.SeedSequence(5))
    picking = draws.permutation(ins)[:30], draws.permutation(outs)[:40]

    def ratio(cut: float) -> float:
        tp, fp = int((picking[0] >= cut).sum()), int((picking[1] >= cut).sum())
        return clopper_pearson(tp, 30)[0] / clopper_pearson(fp, 40)[1]

    (point,) = certify(ins, outs, strategy, delta=1e-5).points
    assert ratio(point.threshold) == pytest.approx(max(map(ratio, np.concatenate(picking))))
