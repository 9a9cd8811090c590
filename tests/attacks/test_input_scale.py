"""What inputs of the 2017 attack are divided by: a trial decides where classes have few shadow rows (decision 20)."""

from __future__ import annotations

import numpy as np
import pytest

from miaudit.attacks import Shokri, shokri
from miaudit.evidence import Evidence
from miaudit.stats import auc

CLASSES, SHADOWS, RECORDS = 12, 2, 1_200


def world(*, told: float, told_by: float, noise: float) -> tuple[Evidence, np.ndarray]:
    """Answers of which entry 0 tells members, by ``told_by`` of its spread ``told``; the others vary by ``noise``."""
    rng = np.random.default_rng(0)
    inside = rng.random((SHADOWS + 1, RECORDS)) < 0.5
    answers = noise * rng.normal(size=(SHADOWS + 1, RECORDS, CLASSES))
    answers[:, :, 0] = told * (rng.normal(size=inside.shape) + told_by * inside)
    labels = rng.integers(CLASSES, size=RECORDS)
    return Evidence(answers[0], answers[1:], inside[1:], labels), inside[0]


def area_with_and_without_trial(
    evidence: Evidence, member: np.ndarray, patch: pytest.MonkeyPatch
) -> tuple[float, float]:
    areas = []
    for many in (shokri._MANY_ROWS, 0):
        patch.setattr(shokri, "_MANY_ROWS", many)
        score = Shokri().run(evidence, seed=1).score
        areas.append(auc(score[member], score[~member]))
    return areas[0], areas[1]


def test_inputs_that_are_noise_stay_small_where_rows_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence, member = world(told=0.3, told_by=1.0, noise=0.02)
    tried, untried = area_with_and_without_trial(evidence, member, monkeypatch)
    assert tried > untried + 0.01


def test_a_small_input_that_tells_members_is_scaled_up_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence, member = world(told=0.02, told_by=3.0, noise=0.3)
    tried, untried = area_with_and_without_trial(evidence, member, monkeypatch)
    assert tried == untried > 0.6


def test_a_class_of_one_record_holds_nothing_out() -> None:
    rng = np.random.default_rng(2)
    inside = np.arange(120)[:, None] % 2 == np.arange(4) % 2
    answers = np.clip(0.5 + 0.3 * inside[:, :, None] + 0.05 * rng.normal(size=(120, 4, 2)), 0, 1)
    evidence = Evidence(answers[0], answers[1:], inside[1:], np.array([0, 1, 1, 1]))
    assert np.isfinite(Shokri(min_rows=5).run(evidence, seed=0).score).all()


def test_a_person_is_learned_from_or_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence, _ = world(told=0.3, told_by=1.0, noise=0.02)
    people = np.arange(RECORDS) // 4
    evidence = evidence.replace(people=people, labels=np.zeros(RECORDS, np.int64))
    learning, testing, read = set[int](), set[int](), shokri.shadow_rows

    def judges(attack: Shokri, evidence: Evidence, index: list[np.ndarray], *rest: object) -> list[shokri.Judge]:
        learning.update(people[np.concatenate(index) % RECORDS].tolist())
        return [lambda x: np.full(len(x), 0.5)]

    def rows(evidence: Evidence, positions: np.ndarray) -> np.ndarray:
        testing.update(people[positions % RECORDS].tolist())
        return read(evidence, positions)

    monkeypatch.setattr(Shokri, "_judges", judges)
    monkeypatch.setattr(shokri, "shadow_rows", rows)
    Shokri()._share(evidence, [np.arange(SHADOWS * RECORDS)], evidence.inside.reshape(-1), np.array([0]), 1)
    assert (len(learning), len(testing)) == (225, 75)
    assert not learning & testing
