"""The learned ratio."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from miaudit.attacks import RMIA, LiRA, Ratio, ratio, shuffle_membership
from miaudit.errors import DataError, PlanError
from miaudit.evidence import Evidence
from miaudit.stats import auc
from miaudit.testing import worlds


def area(score: np.ndarray, member: np.ndarray) -> float:
    return auc(score[member], score[~member])


def memorised(seed: int, *, n: int = 1000, m: int = 4) -> tuple[Evidence, np.ndarray]:
    """Any member's phi is 3, give or take 0.3; others' is the record's own level, give or take 1.5."""
    rng = np.random.default_rng(seed)
    level, inside = rng.normal(0, 3, n), rng.random((m + 1, n)) < 0.5
    noise = rng.standard_normal(inside.shape)
    p = 1 / (1 + np.exp(-np.where(inside, 3 + 0.3 * noise, level + 1.5 * noise)))
    answers = np.stack([p, 1 - p], axis=-1)
    return Evidence(answers[0], answers[1:], inside[1:], np.zeros(n, int)), inside[0]


def test_it_reaches_the_best_area_where_that_is_known() -> None:
    """Where phi alone tells, Phi(d / sqrt 2) is the best; what is learned beside it costs less than 0.02."""
    world = worlds.gaussian(1.5, n=2000, shadows=8, overlapping=True)
    assert area(Ratio().score(world.evidence), world.member) == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.03)


def test_it_learns_what_no_assumed_form_says() -> None:
    for seed in range(2):
        evidence, member = memorised(seed)
        best = max(area(attack.score(evidence), member) for attack in (LiRA(), RMIA(), RMIA(mode="online")))
        assert area(Ratio().score(evidence), member) > best + 0.01


def test_few_records_cost_it_little() -> None:
    """150 records a side: within 0.03 of LiRA in the mean of six draws, where LiRA's form is the true one."""
    lost = []
    for seed in range(6):
        world = worlds.gaussian(1.0, n=300, shadows=8, overlapping=True, seed=seed)
        lost.append(
            area(LiRA().score(world.evidence), world.member) - area(Ratio().score(world.evidence), world.member)
        )
    assert np.mean(lost) < 0.03


@pytest.mark.parametrize("overlapping", [True, False])
def test_at_chance_where_nothing_leaks(overlapping: bool) -> None:
    """The mean area lies within four standard errors of 1/2, under true and under shuffled memberships."""
    areas = []
    for seed in range(6):
        world = worlds.exchangeable(seed, n=200, shadows=5, overlapping=True)
        evidence = world.evidence
        if not overlapping:
            evidence = evidence.replace(
                inside=np.zeros_like(evidence.inside), own=evidence.replace(population=None, probes=None)
            )
        null, truth = shuffle_membership(evidence, world.member, seed)
        areas += [area(Ratio().score(evidence), world.member), area(Ratio().score(null), truth)]
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / np.sqrt(len(areas)))


def test_the_decision_is_right_where_the_truth_is_known() -> None:
    world = worlds.gaussian(2.0, n=2000, shadows=8, overlapping=True)
    decision = Ratio().run(world.evidence).decision
    assert (decision == world.member).mean() == pytest.approx(norm.cdf(1.0), abs=0.02)


def test_shadows_apart_learn_from_their_own_records_and_only_rank() -> None:
    evidence, _ = memorised(0)
    outside, _ = memorised(1)
    apart = evidence.replace(inside=np.zeros_like(evidence.inside))
    with pytest.raises(DataError, match="in the target's place"):
        Ratio().run(apart)
    scores = Ratio().run(apart.replace(own=outside.replace(target=evidence.target)))
    assert scores.decision is None
    assert scores.score.shape == (evidence.n,)


def test_equal_seeds_give_equal_scores_and_options_are_checked() -> None:
    evidence, _ = memorised(2, n=300)
    np.testing.assert_array_equal(Ratio().run(evidence, seed=3).score, Ratio().run(evidence, seed=3).score)
    with pytest.raises(PlanError, match="trees: must be a whole number from 1, got 0"):
        Ratio(trees=0)
    with pytest.raises(DataError, match="at least 4 shadow models"):
        Ratio().run(evidence.of_shadows([0, 1, 2]))


def test_of_very_many_rows_it_learns_from_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the rows costs it less than 0.02 of the area, and the note says how many were used."""
    world = worlds.gaussian(1.0, n=1000, shadows=6, overlapping=True)
    every = area(Ratio().score(world.evidence), world.member)
    monkeypatch.setattr(ratio, "_MOST_ROWS", 1500)
    scores = Ratio().run(world.evidence.replace())  # which finds nothing that was learned
    assert "1,500 rows" in scores.notes[0]
    assert area(scores.score, world.member) == pytest.approx(every, abs=0.02)
