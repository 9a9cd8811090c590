from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import norm

from miaudit import signals
from miaudit.attacks import Attack, Scores
from miaudit.evidence import Evidence
from miaudit.stats import auc_interval
from miaudit.testing import check_attack, worlds

MAKE = {
    "constant": worlds.constant,
    "memoriser": worlds.memoriser,
    "exchangeable": worlds.exchangeable,
    "gaussian": lambda **options: worlds.gaussian(1.0, **options),
}


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("name", MAKE)
def test_the_class_tells_nothing(name: str, overlapping: bool) -> None:
    evidence, member = MAKE[name](n=200, classes=4, overlapping=overlapping)
    labels = evidence.audited_labels
    assert (evidence.asked is None) == overlapping
    assert np.bincount(labels[member]).tolist() == np.bincount(labels[~member]).tolist() == [25] * 4
    np.testing.assert_allclose(evidence.target.sum(axis=1), 1)
    np.testing.assert_allclose(evidence.shadows.sum(axis=2), 1)
    assert evidence.inside.mean() == pytest.approx(0.5, abs=0.06)
    if not overlapping:
        assert evidence.asked.min() == evidence.n  # no shadow saw an audited record
        assert len(np.unique(evidence.asked)) == evidence.asked.size


@pytest.mark.parametrize("name", MAKE)
def test_worlds_follow_their_seed(name: str) -> None:
    first, again, other = (MAKE[name](seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.evidence.shadows, again.evidence.shadows)
    np.testing.assert_array_equal(first.member, again.member)
    assert not np.array_equal(first.member, other.member)


@pytest.mark.parametrize("overlapping", [False, True])
def test_sides_may_be_unequal_and_answers_tied(overlapping: bool) -> None:
    e, member = worlds.exchangeable(3, n=440, members=1 / 11, decimals=1, overlapping=overlapping)
    assert member.sum() == 40
    assert {np.bincount(e.audited_labels[side]).std() for side in (member, ~member)} == {0.0}
    assert len(np.unique(e.target)) <= 11


def test_known_areas() -> None:
    def area(world: worlds.World) -> tuple[float, float, float]:
        score = signals.phi(world.evidence.target, world.evidence.audited_labels)
        return auc_interval(score[world.member], score[~world.member], confidence=0.999)

    value, low, high = area(worlds.gaussian(1.5, n=4000))
    assert low <= norm.cdf(1.5 / np.sqrt(2)) <= high
    assert value > 0.8
    assert area(worlds.memoriser()).value == 1.0
    _, low, high = area(worlds.exchangeable(4, n=4000))
    assert low <= 0.5 <= high


@dataclass(frozen=True)
class Broken(Attack):
    """Right, unless told to break."""

    fault: str = ""

    name: ClassVar[str] = "broken"
    title: ClassVar[str] = "An attack with one fault"
    paper: ClassVar[str] = "none"
    needs: ClassVar[frozenset[str]] = frozenset()

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        score = -signals.loss(evidence.target, evidence.audited_labels)
        match self.fault:
            case "upside down":
                score = -score
            case "one short":
                score = score[1:]
            case "float32":
                score = score.astype(np.float32)
            case "nan":
                score[0] = np.nan
            case "whole numbers for decisions":
                return Scores(score, np.ones(len(score), int))
            case "place":
                score += 1e-3 * np.arange(len(score))
            case "chance":
                score += np.random.default_rng().normal(size=len(score))
            case "mutates":
                evidence.inside[0] = ~evidence.inside[0]
            case "noise where all is equal":
                score += np.random.default_rng(seed).normal(size=len(score)) * (np.ptp(evidence.target) < 0.5)
        return Scores(score)


def test_an_honest_attack_passes() -> None:
    check_attack(Broken())


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("upside down", "members must score higher"),
        ("one short", "float64 scores"),
        ("float32", "float64 scores"),
        ("nan", "NaN"),
        ("whole numbers for decisions", "decide by"),
        ("place", "place"),
        ("chance", "same seed"),
        ("mutates", "changed the evidence"),
        ("noise where all is equal", "0.5 is right"),
    ],
)
def test_each_fault_is_named(fault: str, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_attack(Broken(fault))


def test_an_attack_that_reads_the_answer_elsewhere_is_found() -> None:
    """Knows who is a member of the fair worlds: no honest attack can."""
    known = {worlds.exchangeable(s).evidence.target.tobytes(): worlds.exchangeable(s).member for s in range(3)}

    @dataclass(frozen=True)
    class Cheat(Broken):
        def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
            honest = super().run(evidence, seed=seed)
            member = known.get(evidence.target.tobytes())
            return honest if member is None else replace(honest, score=member.astype(float))

    with pytest.raises(AssertionError, match="alike"):
        check_attack(Cheat())
