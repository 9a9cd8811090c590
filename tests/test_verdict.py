"""The verdict says what its evidence carries: one limit, no empty number, and a leak that is upside down."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from miaudit import stats
from miaudit.attacks import Attack, Calibration, Gap, Salem, Shokri, Threshold, attack_name
from miaudit.attacks.attack import Scores
from miaudit.findings import Trial, Trials, examine, unit_of
from miaudit.findings.controls import judged
from miaudit.findings.headline import headline_of
from miaudit.result import BlindControl, Interval
from miaudit.testing import worlds
from miaudit.testing.worlds import World

NOTHING = Interval(value=None, low=None, high=None)
PASSED = BlindControl(method="trees", auc=Interval(value=0.5, low=0.45, high=0.55), confounded=False)
IMPOSSIBLE = BlindControl(method="none", auc=NOTHING, confounded=None, reason="there are no features")


FLOORS = (Threshold(), Gap())


def found(world, attacks=FLOORS, *, blind=PASSED, **options):
    trials = [Trial(attack, world.evidence, attack_name(attack)) for attack in attacks]
    classes = tuple(map(str, range(world.evidence.classes)))
    of = Trials(trials, world.member, unit_of(world.member), classes)
    return examine(of, world.evidence.audited_labels, blind=blind, **options)


def of_scores(scores, member, *, strongest=None, unit=None, **options):
    """What examine concludes of attacks that give these scores."""
    world = worlds.exchangeable(0, n=len(member), shadows=1)
    world = World(world.evidence, np.asarray(member))
    attacks = [_scoring(f"attack {i}", np.asarray(score, float)) for i, score in enumerate(scores)]
    trials = [Trial(attack, world.evidence, attack.name, strongest=i == strongest) for i, attack in enumerate(attacks)]
    options = {"blind": PASSED, **options}
    of = Trials(trials, world.member, unit or unit_of(world.member), tuple("abcde"))
    return examine(of, world.evidence.audited_labels, **options)


def _scoring(title, score):
    class Given(Threshold):
        name = title

        def run(self, evidence, *, seed=0):
            return Scores(score)

    return Given()


def shifted(d, n=400, seed=0):
    rng = np.random.default_rng(seed)
    member = np.arange(n) < n // 2
    return rng.normal(size=n) + d * member, member


def blurred():
    """The target of a memoriser with members and non-members exchanged."""
    world = worlds.memoriser(n=400, shadows=2)
    return World(world.evidence, ~world.member)


def test_a_leak_upside_down_is_never_called_none():
    result = found(blurred())
    assert result.verdict_kind == "inverted"
    text = result.verdict
    assert text.startswith("Members are told from non-members the wrong way round. 2 of 2 attacks rank members below")
    assert "turns the score round learns who is a member" in text
    assert "sides are not swapped" in text
    assert "No leak" not in text
    assert all(attack.below_chance and not attack.above_chance for attack in result.attacks)


def test_one_inverted_attack_among_many_is_said_beside_a_leak_and_beside_none():
    up, member = shifted(1.0)
    down = -shifted(1.0, seed=1)[0]
    noise = [shifted(0.0, seed=seed)[0] for seed in range(10, 13)]
    leak = of_scores([up, down, *noise], member)
    assert leak.verdict_kind == "leak"
    assert "1 of 5 attacks ranks members below non-members, 'attack 1' lowest with AUC 0." in leak.verdict
    assert (leak.finding.attack, leak.finding.below) == ("attack 0", ["attack 1"])
    alone = of_scores([down, *noise], member)
    assert alone.verdict_kind == "inverted"
    assert "1 of 4 attacks ranks" in alone.verdict


@pytest.mark.parametrize("attacks", [1, 11])
def test_noise_is_called_none_or_a_leak_or_inverted_in_at_most_one_audit_of_twenty(attacks):
    trials, member = 200, np.arange(100) < 50
    kinds = []
    for seed in range(trials):
        scores = np.random.default_rng(seed).normal(size=(attacks, 100))
        kinds.append(_kind(scores, member, attacks))
    assert sum(kind is not None for kind in kinds) <= binom.ppf(0.999, trials, 0.05)


def _kind(scores, member, attacks):
    """Whether `run_attack` claims anything, by the rule it calls, without the slow rest."""
    return any(stats.claims(score[member], score[~member], attacks=attacks).any for score in scores) or None


def test_the_attack_named_beforehand_leads_and_the_highest_is_said_at_the_corrected_level():
    first, member = shifted(0.8)
    louder = shifted(1.4, seed=1)[0]
    noise = [shifted(0.0, seed=seed)[0] for seed in range(10, 13)]
    result = of_scores([first, louder, *noise], member, strongest=0)
    lead, top = result.attacks[:2]
    assert (result.headline, result.highest) == (lead.name, top.name)
    text = result.verdict
    assert text.startswith(
        f"Membership leaks. The attack 'attack 0', named beforehand, tells members from non-members with AUC "
        f"{lead.auc.value:.3f} (95 % interval {lead.auc.low:.3f} to {lead.auc.high:.3f})"
    )
    corrected = stats.auc_interval(louder[member], louder[~member], confidence=1 - 0.05 / 5)
    assert (
        f"'attack 1' has AUC {corrected.value:.3f} (99 % interval, corrected for all attacks, {corrected.low:.3f} to "
        f"{corrected.high:.3f}), the highest of 5 attacks." in text
    )
    assert result.stability.attack == result.groups[0].attack == "attack 0"
    assert result.groups[0].confidence == pytest.approx(1 - 0.05 / len(result.groups[0].groups))


def test_what_leads_does_not_depend_on_the_scores():
    member = shifted(0.0)[1]
    for seed in range(3):
        scores = [shifted(d, seed=seed)[0] for d in (0.0, 1.0, 2.0)]
        assert of_scores(scores, member, strongest=1).headline == "attack 1"
        unmarked = of_scores(scores, member)
        assert unmarked.headline == "attack 0"
        assert unmarked.headline_reason.startswith("the first attack in order")
    marked = of_scores(scores, member, strongest=1).attacks
    failed = marked[1].model_copy(update={"status": "failed", "auc": None})
    assert headline_of([marked[0], failed, marked[2]]).attack == "attack 0"
    assert headline_of([failed]).attack is None


def test_a_leak_that_only_another_attack_sees_says_what_the_one_named_beforehand_saw():
    quiet, member = shifted(0.0)
    loud = shifted(1.0, seed=1)[0]
    text = of_scores([quiet, loud], member, strongest=0).verdict
    assert text.startswith("Membership leaks. The attack 'attack 0', named beforehand, has AUC 0.")
    assert "not shown to be above chance once corrected; 'attack 1' tells members from non-members with AUC 0." in text
    assert "97.5 % interval, corrected for all attacks" in text
    assert "the highest of 2 attacks" in text


def test_an_interval_below_one_half_that_chance_explains_is_said():
    for seed in range(50):
        score, member = shifted(-0.22, seed=seed)
        ends = [stats.auc_interval(score[member], score[~member], confidence=each).high for each in (0.95, 0.99)]
        if ends[0] < 0.5 < ends[1]:
            break
    result = of_scores([score], member)
    low = result.attacks[0]
    assert low.auc.high < 0.5
    assert not low.below_chance
    assert result.verdict_kind == "none detected"
    assert "The plain 95 % interval of it lies below 0.5 ('attack 0', AUC 0.4" in result.verdict
    assert "No leak detected above AUC 0.500 at 95 %" in result.verdict  # never a limit below chance


def test_an_interval_above_one_half_that_chance_explains_is_said():
    for seed in range(50):
        score, member = shifted(0.25, seed=seed)
        ends = [stats.auc_interval(score[member], score[~member], confidence=each).low for each in (0.95, 0.999)]
        if ends[0] > 0.5 > ends[1]:
            break
    noise = [shifted(0.0, seed=seed)[0] for seed in range(40)]
    result = of_scores([score, *noise], member)
    assert result.verdict_kind == "none detected"
    count = sum(attack.auc.low > 0.5 for attack in result.attacks)
    assert f"of {count} of them lie{'s' if count == 1 else ''} above 0.5 ('attack 0', AUC 0.5" in result.verdict
    assert "no further than chance allows once corrected" in result.verdict


def test_no_leak_has_one_limit():
    result = of_scores([shifted(0.0, seed=seed)[0] for seed in range(3)], shifted(0.0)[1])
    highest = max(attack.auc.high for attack in result.attacks)
    assert (result.verdict_kind, result.finding.limit) == ("none detected", highest)
    assert result.verdict == (
        f"No leak detected above AUC {highest:.3f} at 95 % with n = 200 members and 200 non-members, by the 3 attacks that "
        "were run."
    )
    assert result.attacks[0].power.auc is not None  # what could have been seen stands there


def test_too_few_records_are_inconclusive():
    score, member = shifted(0.0, n=10)
    findings = of_scores([score], member)
    assert (findings.verdict_kind, findings.finding.basis) == ("inconclusive", "power")
    assert findings.verdict.startswith("Inconclusive: with 5 members and 5 non-members not even an AUC of 1")


@pytest.mark.parametrize("seed", range(6))
def test_ties_give_no_empty_numbers(seed):
    """Labels alone: an FPR of 1 or 10 % is out of reach, and nothing is said of it."""
    rng = np.random.default_rng(seed)
    member = np.arange(600) < 300
    right = member | (rng.random(600) < (0.85, 0.5, 0.99, 0.7, 0.95, 0.2)[seed])
    result = of_scores([right], member)
    assert result.verdict_kind == "leak" or seed in (2, 4)
    assert "0.0 %" not in result.verdict
    assert "100.0 %" not in result.verdict
    for point in result.attacks[0].tpr_at_fpr:
        if point.resolvable:
            assert np.mean(right[~member]) >= point.fpr / 2
            assert np.mean(right[~member]) <= point.fpr


def test_a_rate_between_ties_names_the_nearest_that_can_be_had():
    outs, ins = np.repeat([0.0, 1.0], [850, 150]), np.ones(1000)
    point = stats.tpr_at_fpr(ins, outs, 0.1)
    assert not point.resolvable
    assert point.reason == (
        "tied scores allow no rate between 0 and 0.15, so none of 0.1; the nearest is 0.15, and this is the TPR at 0"
    )
    assert stats.tpr_at_fpr(ins, outs, 0.2).resolvable
    spread = np.random.default_rng(0).normal(size=1000)
    assert all(stats.tpr_at_fpr(spread, spread, rate).resolvable for rate in (0.01, 0.1, 1.0))


def test_a_leak_without_the_check_on_records_says_so():
    score, member = shifted(2.0)
    text = of_scores([score], member, blind=IMPOSSIBLE).verdict
    assert text.endswith("Whether the sides differ by themselves could not be checked: there are no features.")
    assert "by themselves could not be checked" not in of_scores([score], member).verdict


def test_caveats_end_the_verdict():
    score, member = shifted(0.0)
    text = of_scores([score], member, caveats=("7 of them are copies.",)).verdict
    assert text.endswith(" 7 of them are copies.")


def test_a_few_exposed_members_are_said_in_numbers_that_mean_something():
    score, member = shifted(0.0, n=2000)
    score[np.flatnonzero(member)[:60]] = 9
    text = of_scores([score], member).verdict
    assert (
        "'attack 0' ranks 61 of 1,000 members above all 1,000 non-members, where chance explains at most 6; its AUC"
        in text
    )


def test_people_are_counted_as_people_in_the_sentence():
    score, member = shifted(0.0, n=800)
    people = np.repeat(np.arange(400), 2)
    score[np.flatnonzero(member)[:60]] = 9
    text = of_scores([score], member, unit=unit_of(member, people=people)).verdict
    assert text.startswith("Membership of some people leaks: 'attack 0' ranks 3")
    assert "of 200 people who are members above all 200 who are not, where chance explains at most" in text
    few = np.repeat(np.arange(5), 4), np.arange(20) < 8
    short = of_scores([np.arange(20.0)[::-1]], few[1], unit=unit_of(few[1], people=few[0])).verdict
    assert ", counted in people; n = 2 people who are members and 3 who are not" in short


@pytest.mark.parametrize("attack", [Shokri(epochs=1), Salem(epochs=1), Calibration(), Gap()], ids=lambda a: a.name)
def test_no_attack_is_exempt_from_its_controls(attack):
    world = worlds.memoriser(n=200, shadows=3)
    results = found(world, (Threshold(), attack)).attacks
    high, low = Interval(value=0.9, low=0.85, high=0.95), Interval(value=0.7, low=0.65, high=0.75)
    results = [
        result.model_copy(update={"auc": area, "above_chance": True, "notes": []})
        for result, area in zip(results, (high, low), strict=True)
    ]
    floor, other = judged(results, PASSED)
    assert floor.beats_controls
    assert other.beats_controls is False
    assert "By AUC it finds less than the loss threshold" in other.notes[-1]
    upside_down = results[1].model_copy(update={"below_chance": True, "above_chance": False})
    low = Interval(value=0.2, low=0.15, high=0.25)
    below = results[0].model_copy(update={"auc": low, "above_chance": False})
    for pair in ([results[0], upside_down], [below, results[1].model_copy(update={"auc": low})]):
        assert not any("finds less" in note for note in judged(pair, PASSED)[1].notes)


def test_attacks_are_attacks():
    assert isinstance(_scoring("x", np.zeros(2)), Attack)
