"""From scores to figures: calibrated where nothing leaks, right where the leak is known, the same as naive forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, norm, spearmanr

from miaudit import stats
from miaudit.attacks import (
    AttackP,
    AttackR,
    Calibration,
    Gap,
    LiRA,
    Quantile,
    Ratio,
    Shokri,
    Threshold,
    attack_name,
)
from miaudit.findings import CONFIDENCE, Trial, Trials, blind_control, examine, power, run_attack, unit_of
from miaudit.findings.figures import _at_operating_point
from miaudit.findings.groups import group_figures
from miaudit.findings.stability import halves
from miaudit.plan import FiguresPlan, section_of
from miaudit.result import BlindControl, Interval
from miaudit.testing import worlds

ATTACKS = (Threshold(), Gap(), AttackP(), AttackR(), Calibration(), LiRA("offline"), LiRA())
UNCHECKED = BlindControl(method="none", auc=Interval(value=None, low=None, high=None), confounded=None, reason="none")


def found(world, attacks=ATTACKS, *, blind=UNCHECKED, **options):
    evidence = world.evidence
    trials = [Trial(attack, evidence, attack_name(attack)) for attack in attacks]
    classes = tuple(map(str, range(evidence.classes)))
    of = Trials(trials, world.member, unit_of(world.member), classes)
    return examine(of, evidence.audited_labels, blind=blind, **options)


@pytest.mark.slow
def test_seven_attacks_on_nothing_report_a_leak_in_at_most_one_audit_of_twenty():
    trials = 50
    every = [found(worlds.exchangeable(seed, n=120, shadows=4, overlapping=True)) for seed in range(trials)]
    most = binom.ppf(0.999, trials, 0.05)
    assert sum(each.verdict_kind == "leak" for each in every) <= most
    assert sum(any(g.above_chance for g in each.groups[0].groups) for each in every) <= most
    for place in range(len(ATTACKS)):
        results = [each.attacks[place] for each in every]
        assert sum(result.epsilon.value > 0 for result in results) <= most
        assert sum(result.ppv[2].low > 0.5 for result in results) <= most
    assert sum(not null.at_chance for each in every for null in [each.controls.null, *each.controls.nulls]) <= 2


@pytest.mark.parametrize("threshold", ["bonferroni", "split"])
def test_ppv_and_epsilon_on_noise_claim_nothing_and_on_a_known_leak_never_too_much(threshold):
    trials, d, noise, above = 40, 1.5, 0, 0
    operating = section_of(FiguresPlan, {"threshold": threshold})
    for seed in range(trials):
        quiet = run_attack(
            Threshold(), *worlds.exchangeable(seed, n=150, shadows=1), tuple("abcde"), seed=seed, operating=operating
        ).result
        noise += quiet.epsilon.value > 0
        world = worlds.gaussian(d, n=600, shadows=1, seed=seed)
        loud = run_attack(Threshold(), *world, tuple("abcde"), seed=seed, operating=operating).result
        # the scores' trade-off curve is that of a shift by d
        above += loud.epsilon.value > stats.epsilon_from_mu(d, loud.epsilon.delta)
        assert loud.epsilon.value < loud.epsilon.ceiling
        assert (loud.epsilon.gaussian, loud.epsilon.mu) == (None, None)  # whatever the scores look like
        assert "not of the records of one training" in loud.epsilon.gaussian_reason
        assert loud.epsilon.name == "empirical epsilon-equivalent"
        assert loud.epsilon.credible.low <= loud.epsilon.credible.value <= loud.epsilon.credible.high
    assert noise <= binom.ppf(0.999, trials, 0.05)
    assert above <= binom.ppf(0.999, trials, 0.05)


def test_ppv_covers_the_truth_at_every_prior():
    d, missed, trials = 1.0, 0, 60
    for seed in range(trials):
        world = worlds.gaussian(d, n=400, shadows=1, seed=seed)
        result = run_attack(Threshold(), *world, tuple("abcde"), seed=seed).result
        # the threshold is one on minus the loss: the logit of the probability it stands for is the world's signal
        cut = -np.log(np.expm1(-result.operating_point.threshold))
        tpr, fpr = norm.sf(cut - d), norm.sf(cut)
        for each in result.ppv:
            truth = each.prior * tpr / (each.prior * tpr + (1 - each.prior) * fpr)
            missed += not each.low <= truth <= each.high
    assert missed <= binom.ppf(0.999, 3 * trials, 0.05)


def test_the_operating_point_is_a_rank_or_counted_on_the_half_that_did_not_choose_it():
    world = worlds.gaussian(1.0, n=400, shadows=1)
    point = run_attack(
        Threshold(), *world, tuple("abcde"), seed=0, operating=FiguresPlan(threshold="split")
    ).result.operating_point
    assert (point.strategy, point.tried) == ("split", 1)
    assert point.tp + point.fn == point.fp + point.tn == 100
    assert (point.tpr, point.fpr) == (point.tp / 100, point.fp / 100)
    assert point.fpr < 0.2  # few are accused, as the worth of an accusation is asked for
    many = run_attack(Threshold(), *world, tuple("abcde"), seed=0).result
    assert (many.operating_point.strategy, many.operating_point.tried) == ("bonferroni", 5)  # 0 and 0.001 are one rank
    assert many.operating_point.tp + many.operating_point.fn == 200


def test_the_same_scores_have_the_same_ppv_and_epsilon_whatever_the_seed():
    rng = np.random.default_rng(5)
    ins, outs = rng.normal(size=300), rng.normal(size=300)
    ins[:15] += 9
    figures = [_at_operating_point(ins, outs, FiguresPlan(), seed) for seed in range(60)]
    for each in figures[1:]:
        assert each["ppv"] == figures[0]["ppv"]
        assert each["epsilon"].value == figures[0]["epsilon"].value
    rare = figures[0]["ppv"][0]
    assert rare.low < rare.value < rare.high == 1.0  # nobody was accused wrongly, and still no PPV of 1
    by_split = [_at_operating_point(ins, outs, FiguresPlan(threshold="split"), seed) for seed in range(60)]
    assert np.ptp([each["epsilon"].value for each in by_split]) > 0.3
    assert figures[0]["epsilon"].value > np.median([each["epsilon"].value for each in by_split])
    assert figures[0]["ppv"][0].low > np.median([each["ppv"][0].low for each in by_split])


def test_the_epsilon_of_one_training_is_called_no_bound():
    world = worlds.gaussian(1.0, n=200, shadows=1)
    result = run_attack(Threshold(), *world, tuple("abcde"), seed=0).result
    assert result.epsilon.name == "empirical epsilon-equivalent"


def test_figures_are_those_of_the_scores():
    world = worlds.gaussian(1.0, n=400, overlapping=True)
    run = run_attack(AttackR(), *world, tuple("abcde"), seed=0, attacks=4)
    ins, outs = run.scores.score[world.member], run.scores.score[~world.member]
    result = run.result
    assert result.tpr_at_zero_fp.tp == sum(score > max(outs) for score in ins)
    assert result.tpr_at_zero_fp.tpr == result.tpr_at_zero_fp.tp / 200
    assert result.above_chance == (stats.auc_interval(ins, outs, confidence=1 - 0.05 / 4).low > 0.5)
    test = stats.precedence(ins, outs)
    assert result.above_chance_at_low_fpr == (test.p_value <= 0.02 / 4)
    exposed = result.exposed
    assert (exposed.above, exposed.rank, exposed.p_value) == (test.above, test.rank, test.p_value)
    assert exposed.above == sum(score > sorted(outs)[-1 - exposed.rank] for score in ins)
    assert result.above_chance_at_low_fpr == (exposed.above > exposed.most)
    corrected = stats.auc_interval(ins, outs, confidence=1 - 0.05 / 4)
    assert (result.auc_corrected.low, result.auc_corrected.high) == (corrected.low, corrected.high)
    assert result.auc_corrected.confidence == pytest.approx(1 - 0.05 / 4)
    assert result.power is None


def test_what_found_nothing_says_what_it_could_have_found():
    quiet = found(worlds.exchangeable(1, n=400, shadows=4, overlapping=True))
    expected = power(200, 200, attacks=len(ATTACKS))
    level = 1 - (1 - CONFIDENCE) / len(ATTACKS)
    assert all(result.power == expected for result in quiet.attacks)
    assert expected.auc == pytest.approx(stats.detectable_auc(200, 200, confidence=level).value)
    first = 1 - 0.02 / len(ATTACKS) / 2  # half of the error of the test for a few
    assert expected.tpr[2].value == pytest.approx(stats.detectable_exposed(200, 200, 0.001, confidence=first).value)
    assert expected.exposed == pytest.approx(expected.tpr[2].value, abs=0.001)
    assert "by the 7 attacks that were run" in quiet.verdict
    few = power(2, 2)
    assert few.tpr[0].value is None
    assert few.tpr[0].reason


def test_a_few_exposed_records_are_a_leak_though_the_area_is_not_above_chance():
    rng = np.random.default_rng(0)
    world = worlds.exchangeable(3, n=2000, shadows=1)
    target = world.evidence.target.copy()
    exposed = rng.permutation(np.flatnonzero(world.member))[:25]
    target[exposed] = 1e-9
    target[exposed, world.evidence.audited_labels[exposed]] = 1 - 4e-9
    few = worlds.World(world.evidence.replace(target=target), world.member)
    assert stats.auc_interval(*_sides(few), confidence=0.95).low < 0.5
    verdict = found(few, (Threshold(), Gap())).verdict
    assert verdict.startswith(
        "Membership of some records leaks: 'threshold' ranks 25 of 1,000 members above all 1,000 non-members, where chance "
        "explains at most 7; no AUC of 2 attacks is shown to be above chance; 'threshold', named beforehand, has AUC 0.5"
    )


def _sides(world):
    score = Threshold().score(world.evidence)
    return score[world.member], score[~world.member]


def test_the_verdict_names_the_strongest_attack_and_what_it_finds_at_a_low_rate():
    verdict = found(worlds.memoriser(n=1000, overlapping=True)).verdict
    assert verdict.startswith("Membership leaks. The attack '")
    assert "'threshold' ranks" in verdict
    assert "the highest AUC of 7 attacks" in verdict


@pytest.mark.parametrize("paired", [False, True])
def test_the_blind_check_comes_first_in_the_verdict_on_either_side_of_one_half(paired):
    """A planted shift puts members above; near copies on both sides put each member below its own non-member."""
    world, rng = worlds.memoriser(n=400, shadows=2), np.random.default_rng(0)
    member, labels = world.member, np.zeros(400, int)
    x = rng.normal(size=(400, 3)) + 1.0 * member[:, None]
    if paired:
        x = np.empty((400, 3))
        x[member] = x[~member] = rng.normal(size=(200, 3)) * 10
    blind = blind_control(x, labels, member, seed=0)
    assert blind.confounded
    assert (blind.auc.value < 0.5) == paired
    assert found(world, (Threshold(), Gap()), blind=blind).verdict.startswith("Confounded: the raw records alone ")


def test_an_attack_named_beforehand_finds_no_group_in_noise():
    rng, trials, alarms = np.random.default_rng(4), 100, 0
    member, slices = np.arange(400) % 2 == 0, {"class": np.arange(400) % 5, "sex": np.arange(400) // 2 % 2}
    for _ in range(trials):
        groupings = group_figures("first", rng.normal(size=400), member, slices)
        alarms += any(group.above_chance for grouping in groupings for group in grouping.groups)
    assert alarms <= binom.ppf(0.999, trials, 0.05)
    assert groupings[0].confidence == pytest.approx(1 - 0.05 / (2 * 5))
    assert groupings[1].confidence == pytest.approx(1 - 0.05 / (2 * 2))


def test_a_group_that_leaks_is_named_and_one_with_one_side_is_null():
    world = worlds.exchangeable(2, n=800, shadows=1)
    target = world.evidence.target.copy()
    old = np.arange(800) % 2 == 0
    told = old & world.member
    target[told] = 1e-6
    target[told, world.evidence.audited_labels[told]] = 1 - 4e-6
    ages = np.where(old, "80 to 99", "9 to 79").astype(object)
    ages[np.flatnonzero(world.member)[:3]] = "unknown"
    changed = worlds.World(world.evidence.replace(target=target), world.member)
    grouping = found(changed, (Threshold(),), slices={"age": ages.astype(str)}).groups[1]
    assert [(group.group, group.above_chance) for group in grouping.groups] == [
        ("9 to 79", False),
        ("80 to 99", True),
        ("unknown", None),
    ]
    assert grouping.groups[2].auc.reason == "there are no non-members here"


def test_ranks_agree_where_shadows_say_the_same_and_not_where_they_are_noise():
    world = worlds.gaussian(1.0, n=300, shadows=9, overlapping=True)
    same = np.broadcast_to(world.evidence.shadows[:1], world.evidence.shadows.shape)
    never = np.zeros_like(world.evidence.inside)
    alike = halves(Calibration(), world.evidence.replace(shadows=same, inside=never), seed=0)
    assert alike.summary("calibration").spearman == pytest.approx(1.0)
    noisy = halves(Calibration(), world.evidence, seed=0)
    summary = noisy.summary("calibration")
    assert noisy.scores.shape == (10, 300)
    pairs = [spearmanr(noisy.scores[i], noisy.scores[i + 1]).statistic for i in range(0, 10, 2)]
    assert summary.spearman == pytest.approx(np.mean(pairs))
    assert (summary.low, summary.high) == pytest.approx((min(pairs), max(pairs)))
    best, worst, top = noisy.ranks()
    for record in range(0, 300, 37):
        places = [1 + int((row > row[record]).sum()) for row in noisy.scores]
        assert (best[record], worst[record]) == (min(places), max(places))
        assert top[record] == pytest.approx(np.mean([place <= 30 for place in places]))


def test_more_shadows_make_ranks_steadier_and_learning_attacks_are_halved_once():
    few, many = (
        halves(LiRA("offline"), worlds.gaussian(0.5, n=300, shadows=m, overlapping=True).evidence, seed=0)
        for m in (4, 40)
    )
    assert many.summary("lira").spearman > few.summary("lira").spearman + 0.1
    learned = halves(Shokri(epochs=1), worlds.gaussian(1.0, n=200, shadows=4).evidence, seed=0)
    assert learned.scores.shape == (2, 200)


def test_too_few_shadows_for_two_halves_are_null_with_a_reason():
    world = worlds.gaussian(1.0, n=200, shadows=3, overlapping=True)
    assert "3 shadow models have no two halves of at least 2" in halves(LiRA("offline"), world.evidence, seed=0).reason
    result = found(world, (LiRA("offline"), Gap()))
    summary = result.stability.shadows[0]
    assert summary.spearman is summary.low is summary.high is None
    assert summary.reason
    assert "risk_low" not in result.records[0]
    assert result.stability.left_out == ["gap"]
    assert result.stability.coverage == []


def test_the_table_of_records_holds_the_risk_by_the_strongest_attack():
    result = found(worlds.memoriser(n=400, overlapping=True), slices={"half": np.repeat(["a", "b"], 200)})
    name = result.stability.attack
    scores = [record[name] for record in result.records]
    for record in result.records[::29]:
        assert record["risk_rank"] == 1 + sum(score > record[name] for score in scores)
        if "risk_low" in record:
            assert record["risk_low"] <= record["risk_high"]
    assert [grouping.column for grouping in result.groups] == ["class", "half"]
    top = result.stability.coverage[1]
    assert (top.share, top.records) == (0.1, 40)
    assert top.in_every <= 40 <= top.in_any
    assert top.members_in_any <= top.in_any


@pytest.mark.parametrize(("attack", "needs"), [(Quantile(), "at least"), (Ratio(), "at least 20")])
def test_an_attack_for_which_there_is_too_little_is_skipped_and_the_reason_said(attack, needs):
    world = worlds.memoriser(n=8, shadows=4, overlapping=isinstance(attack, Ratio))
    run = run_attack(attack, world.evidence, world.member, ("0", "1", "2", "3", "4"), seed=0)
    assert (run.result.status, run.scores) == ("skipped", None)
    assert needs in run.result.reason


def test_scores_that_are_none_are_a_failure():
    class Odd(Threshold):
        def run(self, evidence, *, seed=0):
            scores = super().run(evidence, seed=seed)
            return replace(scores, score=np.full(evidence.n, np.nan))

    world = worlds.memoriser(n=30)
    run = run_attack(Odd(), world.evidence, world.member, ("0", "1", "2", "3", "4"), seed=0)
    assert (run.result.status, run.result.reason) == ("failed", "threshold gives scores that are not finite")
