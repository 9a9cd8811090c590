"""Answers that are read one model at a time give what arrays give, and each signal of them is computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from miaudit.attacks import RMIA, Attack, AttackR, Calibration, LiRA, Salem, Shokri, Threshold, shuffle_membership
from miaudit.attacks.attack import shadow_rows
from miaudit.attacks.shokri import _parts
from miaudit.evidence import Answers, Evidence
from miaudit.testing import worlds

WORLD = worlds.bystander(n=300, shadows=6, overlapping=True)


class NeverWhole(Answers):
    """Answers that may not be held all at once."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise AssertionError("all answers at once")


def read_anew(array: np.ndarray, reads: list[int]) -> Answers:
    def read(model: int) -> np.ndarray:
        reads.append(model)
        return array[model].copy()

    return NeverWhole(tuple(partial(read, i) for i in range(len(array))), *array.shape[1:])


@pytest.mark.parametrize(
    "attack",
    [
        LiRA(),
        LiRA("offline", signal="hinge"),
        RMIA(),
        Calibration("online"),
        AttackR(),
        Threshold("modified_entropy", per_class=True),
        Salem(epochs=1),
        Shokri(epochs=1),
    ],
    ids=lambda attack: attack.name,
)
def test_attacks_score_alike_whether_answers_are_held_or_read(attack: Attack) -> None:
    held = WORLD.evidence.replace(population=None, probes=None)
    read = held.replace(shadows=read_anew(held.shadows, []))
    null, _ = shuffle_membership(read, WORLD.member, 1)
    held_null = held.replace(inside=null.inside)
    half = np.array([4, 0, 3, 1])
    held_half = held.replace(shadows=held.shadows[half], inside=held.inside[half])
    np.testing.assert_array_equal(attack.score(read), attack.score(held))
    np.testing.assert_array_equal(attack.score(null), attack.score(held_null))
    np.testing.assert_array_equal(attack.score(read.of_shadows(half)), attack.score(held_half))


@pytest.mark.parametrize("labels_only", [False, True])
def test_the_2017_attack_learns_in_parts_what_it_learns_at_once(
    labels_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = WORLD.evidence.replace(shadows=read_anew(WORLD.evidence.shadows, []))
    if labels_only:
        evidence = evidence.replace(target=evidence.predicted, population=None)
    at_once = Shokri(epochs=1, min_rows=20).score(evidence)
    for block in (1, 20_000):  # class by class, and a few classes at a time
        monkeypatch.setattr("miaudit.attacks.shokri._BLOCK_BYTES", block)
        np.testing.assert_array_equal(Shokri(epochs=1, min_rows=20).score(evidence), at_once)


def test_classes_fill_parts_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miaudit.attacks.shokri._BLOCK_BYTES", 100)
    sizes = np.array([60, 40, 500, 10, 90, 1, 0])
    assert _parts(np.arange(7), sizes) == [[0, 1], [2], [3, 4], [5, 6]]
    assert _parts(np.array([], np.int64), sizes) == []


def test_rows_come_in_the_order_asked_for_and_as_labels_where_the_target_answers_labels() -> None:
    held = WORLD.evidence
    read = held.replace(shadows=read_anew(held.shadows, []))
    wanted = np.random.default_rng(0).permutation(held.inside.size)[:200]
    rows = held.shadows.reshape(-1, held.classes)[wanted]
    np.testing.assert_array_equal(shadow_rows(read, wanted), rows.astype(np.float32))
    np.testing.assert_array_equal(shadow_rows(held, wanted), rows)
    one_hot = shadow_rows(held.replace(target=held.predicted, population=None), wanted)
    np.testing.assert_array_equal(one_hot.argmax(1), rows.argmax(1))
    assert set(np.unique(one_hot)) == {0.0, 1.0}


def test_a_signal_is_computed_once_for_the_attack_its_null_and_its_halves() -> None:
    reads: list[int] = []
    evidence = WORLD.evidence.replace(shadows=read_anew(WORLD.evidence.shadows, reads))
    assert not reads
    Calibration().score(evidence)
    assert sorted(reads) == list(range(6))
    Calibration().score(shuffle_membership(evidence, WORLD.member, 0)[0])
    AttackR().score(evidence.of_shadows([5, 2, 0]).with_inside(evidence.inside[[0, 1, 2]]))
    Calibration("online", "phi").score(evidence)
    assert len(reads) == 6


def test_rows_of_some_shadows_are_those_of_the_whole_in_their_order() -> None:
    @dataclass(frozen=True)
    class First:
        def __call__(self, answers: np.ndarray, labels: np.ndarray, /) -> np.ndarray:
            return answers[:, 0] + labels

    evidence: Evidence = WORLD.evidence
    target, rows = evidence.of_shadows([3, 1, 5]).of_shadows([2, 0]).signal(First())
    np.testing.assert_array_equal(target, evidence.target[:, 0] + evidence.audited_labels)
    np.testing.assert_array_equal(rows, evidence.shadows[[5, 3], :, 0] + evidence.audited_labels)
