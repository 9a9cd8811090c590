"""The control on shuffled membership: two shuffles must fail before an audit calls itself broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from miaudit.attacks import LiRA, Shokri
from miaudit.attacks import shuffle_membership as shuffle
from miaudit.findings import controls, null_control
from miaudit.findings.verdict import verdict_of
from miaudit.result import BlindControl, Interval, sentence
from miaudit.testing import worlds

UNCHECKED = BlindControl(method="none", auc=Interval(value=None, low=None, high=None), confounded=None, reason="none")


@dataclass
class Peeking:
    """An attack that has seen the answer key of the shuffles numbered in ``sees``, and guesses at the others."""

    sees: tuple[int, ...]
    turned: bool = False
    name: str = "peeking"
    keys: list[Any] = field(default_factory=list)

    def run(self, evidence: Any, *, seed: int) -> Any:
        key = self.keys[-1].astype(float)
        score = np.random.default_rng(seed).normal(size=len(key))
        if len(self.keys) in self.sees:
            score += 2 * (1 - key if self.turned else key)
        return SimpleNamespace(score=score, decision=None)


def watched(
    monkeypatch: pytest.MonkeyPatch, attack: Peeking, *, attacks: float = 8, n: int = 200, seed: int = 0
) -> Any:
    def shuffled(evidence: Any, member: Any, seed: int, *, people: Any = None) -> Any:
        attack.keys.append(np.random.default_rng(seed).permutation(member))
        return evidence, attack.keys[-1]

    monkeypatch.setattr(controls, "shuffle_membership", shuffled)
    return null_control(attack, None, np.arange(n) % 2 == 0, seed=seed, attacks=attacks)  # type: ignore[arg-type]


@pytest.mark.parametrize("turned", [False, True])
def test_an_attack_that_fails_every_shuffle_is_broken(monkeypatch: pytest.MonkeyPatch, turned: bool) -> None:
    attack = Peeking((1, 2), turned)
    null = watched(monkeypatch, attack)
    assert (null.at_chance, null.shuffles) == (False, 2)
    assert null.first_auc.value != null.auc.value
    assert (null.auc.high < 0.5) if turned else (null.auc.low > 0.5)
    assert not np.array_equal(*attack.keys)
    verdict = verdict_of([], null, UNCHECKED, 100, 100)
    assert verdict.kind == "broken"
    again = f"AUC {null.first_auc.value:.3f}, and {null.auc.value:.3f} when shuffled once more"
    assert again in sentence(verdict, [], null, UNCHECKED)


def test_one_shuffle_off_chance_is_tried_again_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    null = watched(monkeypatch, Peeking((1,)))
    assert (null.at_chance, null.shuffles) == (True, 2)
    assert null.first_auc.low > 0.5
    assert null.auc.low <= 0.5 <= null.auc.high
    usual = watched(monkeypatch, Peeking(()))
    assert (usual.at_chance, usual.shuffles, usual.first_auc) == (True, 1, None)


def test_both_shuffles_fail_by_chance_as_often_as_the_square_of_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    trials, level = 1500, 0.2
    nulls = [
        watched(monkeypatch, Peeking(()), attacks=0.001 / level, n=120, seed=seed)  # an interval at 80 % each
        for seed in range(trials)
    ]
    once = sum(null.shuffles == 2 for null in nulls)
    both = sum(not null.at_chance for null in nulls)
    assert binom.ppf(0.0005, trials, 0.8 * level) <= once <= binom.ppf(0.9995, trials, 1.2 * level)
    assert binom.ppf(0.0005, trials, (0.8 * level) ** 2) <= both <= binom.ppf(0.9995, trials, (1.2 * level) ** 2)


@pytest.mark.parametrize("attack", [Shokri(epochs=1), LiRA("offline")], ids=["shokri", "lira"])
def test_the_second_shuffle_is_another_one(attack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world, truths = worlds.gaussian(1.0, n=100, shadows=8, seed=1, overlapping=True), []

    def noted(evidence: Any, member: Any, seed: int, *, people: Any = None) -> Any:
        shuffled, truth = shuffle(evidence, member, seed, people=people)
        truths.append((shuffled.inside, truth))
        return shuffled, truth

    monkeypatch.setattr(controls, "shuffle_membership", noted)
    null_control(attack, world.evidence, world.member, seed=0, attacks=0.0010001)  # type: ignore[arg-type]
    (first, one), (second, two) = truths
    assert not np.array_equal(one, two)
    assert not np.array_equal(first, second)
    assert one.sum() == two.sum() == world.member.sum()


def test_of_so_few_that_nothing_would_stand_out_the_control_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    few = watched(monkeypatch, Peeking(()), n=10)
    assert few.at_chance is None
    assert "so few records that an attack which is always right would not stand out" in few.reason
    enough = watched(monkeypatch, Peeking(()), n=60)
    assert (enough.at_chance, enough.reason) == (True, None)
