"""No statistic reports a leak where there is none more often than it says, whatever the attack."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from miaudit import stats
from miaudit.attacks import LiRA, Scores, Threshold, plan_attacks
from miaudit.errors import PlanError
from miaudit.testing import worlds
from miaudit.testing.calibration import most_allowed, reports, reports_of_peers
from miaudit.testing.changing import changing

TRIALS = 200
LEARNS = ("shokri", "salem", "quantile")  # at least seconds for 200 trials; bench/null_calibration.py has them all


def planned(design: str):
    return [
        each.attack
        for each in plan_attacks(
            "probabilities", shadows=8, design=design, population=True, probes=("votes", "boundary")
        )
        if each.runs and each.attack.name not in LEARNS
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("design", ["overlapping", "disjoint"])
@pytest.mark.parametrize("make", [worlds.exchangeable, worlds.bystander])
def test_every_attack_and_statistic_keeps_its_level(make, design: str) -> None:
    """200 trials of 500 records a side; any failure of this test is chance with probability 0.1 %, one-sided.

    Each cell by the exact binomial, corrected for the cells; each statistic by its mean over trials of the share of
    attacks it reports on, corrected for the statistics.
    """
    attacks = planned(design)
    cells: dict[tuple[str, str], int] = {}
    shares: dict[str, list[float]] = {}
    for seed in range(TRIALS):
        world = make(seed, n=1000, shadows=8, overlapping=design == "overlapping")
        leaks: dict[str, list[bool]] = {}
        for i, attack in enumerate(attacks):
            scores = attack.run(world.evidence, seed=seed)
            for statistic, leak in reports(scores, world.member, world.evidence.audited_labels, seed=seed).items():
                cells[f"{i} {attack.name}", statistic] = cells.get((f"{i} {attack.name}", statistic), 0) + leak
                leaks.setdefault(statistic, []).append(leak)
        for statistic, of_trial in leaks.items():
            shares.setdefault(statistic, []).append(float(np.mean(of_trial)))
    assert len(attacks) > 4
    assert len(shares) > 15
    most = most_allowed(TRIALS, len(cells))
    assert {cell: count for cell, count in cells.items() if count > most} == {}
    z = norm.isf(0.001 / len(shares))
    for statistic, each in shares.items():
        assert np.mean(each) <= 0.05 + z * max(np.std(each), 0.05) / TRIALS**0.5, statistic


def test_the_measure_sees_a_leak_and_common_practice_sees_one_in_noise() -> None:
    told, fair = worlds.gaussian(1.0, n=2000, seed=1), worlds.exchangeable(1, n=2000, overlapping=True)
    found = reports(Threshold().run(told.evidence), told.member, told.evidence.audited_labels, seed=0)
    by_coins = {name for name in found if "one run" in name}  # whose coins are flipped anew: there is no leak
    assert {name for name, leak in found.items() if not leak} - by_coins <= {"TPR at 0.1 % FPR"}
    scores = LiRA("offline").run(fair.evidence)
    assert not any(reports(scores, fair.member, fair.evidence.audited_labels, seed=0).values())
    peers = reports_of_peers(scores, fair.member, seed=0)
    assert peers["largest TPR - FPR over all thresholds > 0"]


def test_an_interval_too_narrow_is_caught() -> None:
    """An AUC interval at 80 % reports in 10 % of trials one-sided: 1000 trials tell it from 5 %."""
    rng = np.random.default_rng(0)
    found = sum(
        stats.auc_interval(rng.normal(size=200), rng.normal(size=200), confidence=0.8).low > 0.5 for _ in range(1000)
    )
    assert found > most_allowed(1000, 1)


def test_decisions_are_counted_only_where_there_are_any() -> None:
    world = worlds.exchangeable(0)
    labels, score = world.evidence.audited_labels, np.arange(400.0)
    with_decisions = reports(Scores(score, score > 200), world.member, labels, seed=0)
    without = reports(Scores(score), world.member, labels, seed=0)
    assert with_decisions.keys() - without.keys() == {
        "precision of decisions",
        "accuracy of decisions",
        "PPV of decisions",
        "epsilon of decisions",
    }


def test_most_allowed_is_a_binomial_quantile() -> None:
    assert most_allowed(200, 1, error=0.5) == 10
    assert most_allowed(200, 1000) > most_allowed(200, 1) > 10
    with pytest.raises(PlanError, match="at least one trial"):
        most_allowed(0, 1)


@pytest.mark.parametrize("drift", [False, True], ids=["replaced", "drifting"])
def test_a_target_that_changes_while_it_is_asked_tells_no_sides(drift: bool) -> None:
    def found(shuffled: bool, trials: int) -> int:
        leaks = 0
        for seed in range(trials):
            world = changing(seed, n=1000, shadows=2, drift=drift, shuffled=shuffled)
            scores = Threshold("entropy").run(world.evidence, seed=seed).score
            leaks += stats.auc_interval(scores[world.member], scores[~world.member]).low > 0.5
        return leaks

    assert found(False, 20) >= 18  # members first: the change is the side
    assert found(True, 100) <= most_allowed(100, 1)


@pytest.mark.slow
@pytest.mark.parametrize("drift", [False, True], ids=["replaced", "drifting"])
@pytest.mark.parametrize("design", ["overlapping", "disjoint"])
def test_a_target_that_changes_while_it_is_asked_keeps_every_level(design: str, drift: bool) -> None:
    attacks, cells = planned(design), dict[tuple[str, str], int]()
    for seed in range(TRIALS):
        world = changing(seed, n=1000, shadows=8, overlapping=design == "overlapping", drift=drift)
        for attack in attacks:
            scores = attack.run(world.evidence, seed=seed)
            for statistic, leak in reports(scores, world.member, world.evidence.audited_labels, seed=seed).items():
                cells[repr(attack), statistic] = cells.get((repr(attack), statistic), 0) + leak
    most = most_allowed(TRIALS, len(cells))
    assert {cell: count for cell, count in cells.items() if count > most} == {}
