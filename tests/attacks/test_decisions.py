"""Cuts learned with shadows in the target's place."""

from __future__ import annotations

import numpy as np
import pytest

from miaudit.attacks import RMIA, Attack, LiRA, shuffle_membership
from miaudit.attacks.decisions import stand_ins
from miaudit.errors import DataError
from miaudit.testing import worlds

ATTACKS = [LiRA(), LiRA("offline"), RMIA(), RMIA(mode="online")]


def balanced_accuracy(decision: np.ndarray, member: np.ndarray) -> float:
    return float((decision[member].mean() + 1 - decision[~member].mean()) / 2)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: f"{each.name}-{each.mode}")
def test_the_cut_is_as_good_as_the_best(attack: Attack) -> None:
    for seed in range(3):
        world = worlds.gaussian(2.0, n=2000, shadows=8, overlapping=True, seed=seed)
        scores = attack.run(world.evidence)
        assert scores.decision is not None
        best = max(balanced_accuracy(scores.score >= cut, world.member) for cut in np.unique(scores.score)[::5])
        assert balanced_accuracy(scores.decision, world.member) > best - 0.02


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: f"{each.name}-{each.mode}")
def test_the_target_has_no_say_in_the_cut(attack: Attack) -> None:
    """The cut is a number: reversing the target's answers changes scores, and the cut stays."""
    world = worlds.gaussian(1.0, n=400, shadows=8, overlapping=True)
    scores = attack.run(world.evidence)
    lowest_in = scores.score[scores.decision].min()
    highest_out = scores.score[~scores.decision].max()
    assert lowest_in > highest_out
    again = attack.run(world.evidence.replace(target=world.evidence.target[::-1].copy()))
    assert again.score[again.decision].min() > highest_out
    assert again.score[~again.decision].max() < lowest_in


def test_stand_ins_are_evidence_like_any_other() -> None:
    world = worlds.exchangeable(n=200, shadows=6, overlapping=True).evidence
    part = world.stand_in(2)
    rest = [0, 1, 3, 4, 5]
    plain = world.replace(
        target=world.shadows[2], shadows=world.shadows[rest], inside=world.inside[rest], population=None, probes=None
    )
    for attack in (LiRA(), RMIA(a=0.3)):
        np.testing.assert_array_equal(attack.score(part), attack.score(plain))
    null, _ = shuffle_membership(world, np.arange(200) % 2 == 0, 1)
    np.testing.assert_array_equal(null.stand_in(0).inside, null.inside[1:])


def test_no_cut_where_none_can_be_learned() -> None:
    few = worlds.exchangeable(n=200, shadows=4, overlapping=True).evidence
    scores = LiRA().run(few)
    assert scores.decision is None
    assert "a cut needs 5 shadow models" in scores.notes[-1]
    apart = few.replace(inside=np.zeros_like(few.inside))
    scores = RMIA().run(apart)
    assert scores.decision is None
    assert "no shadow was trained on audited records" in scores.notes[-1]
    assert stand_ins(apart) == []
    own = worlds.exchangeable(n=200, shadows=4).evidence
    assert stand_ins(own) == []
    with pytest.raises(DataError, match="asked is None"):
        own.stand_in(0)
