from __future__ import annotations

import numpy as np
import pytest

from miaudit.attacks import Gap, LabelOnly
from miaudit.errors import DataError, PlanError
from miaudit.evidence import Evidence, Probes
from miaudit.evidence.questions import Votes, Walk
from miaudit.stats import auc, auc_interval
from miaudit.testing import worlds

BOTH = [LabelOnly(), LabelOnly("boundary")]


@pytest.mark.parametrize("attack", BOTH, ids=lambda a: a.kind)
def test_with_shadows_on_the_audited_records(attack: LabelOnly) -> None:
    told = worlds.memoriser(shadows=16, overlapping=True)
    scores = attack.run(told.evidence)
    assert auc(scores.score[told.member], scores.score[~told.member]) > 0.9
    assert (scores.decision == told.member).mean() > 0.85
    silent = worlds.constant(shadows=16, overlapping=True)
    score = attack.score(silent.evidence)
    assert auc(score[silent.member], score[~silent.member]) == 0.5
    for seed in range(5):
        fair = worlds.exchangeable(seed, shadows=8, overlapping=True)
        score = attack.score(fair.evidence)
        _, low, high = auc_interval(score[fair.member], score[~fair.member], confidence=0.9999)
        assert low <= 0.5 <= high


def test_equal_answers_are_equal_scores_and_accuse_nobody() -> None:
    """Three of ten variants are answered rightly by all models: sums of 0.3 differ by their number."""
    inside = np.random.default_rng(0).random((12, 300)) < 0.5
    votes = np.broadcast_to(np.arange(10) < 3, (12, 300, 10))
    flat = np.full((12, 300, 2), 0.5)
    probes = Probes(votes=votes[0], shadow_votes=votes)
    scores = LabelOnly().run(Evidence(flat[0], flat, inside, np.zeros(300, int), probes=probes))
    assert len(np.unique(scores.score)) == 1
    assert not scores.decision.any()


def by_hand(evidence: Evidence, record: int) -> float:
    """A record's calibrated score, one shadow at a time."""
    outs = [
        evidence.probes.shadow_votes[m, record].mean()
        for m in range(len(evidence.shadows))
        if not evidence.inside[m, record]
    ]
    return evidence.probes.votes[record].mean() - sum(outs) / len(outs)


def test_calibration_by_hand() -> None:
    evidence, _ = worlds.gaussian(1.0, shadows=12, overlapping=True)
    np.testing.assert_allclose(LabelOnly().score(evidence), [by_hand(evidence, i) for i in range(400)], atol=1e-12)


def test_calibration_helps_where_records_differ_in_difficulty() -> None:
    rng = np.random.default_rng(0)
    n, m, q = 2000, 16, 20
    member, inside = rng.random(n) < 0.5, rng.random((m, n)) < 0.5
    ease = rng.normal(0, 2, n)

    def votes(is_in: np.ndarray) -> np.ndarray:
        right = 1 / (1 + np.exp(-(ease + 1.0 * is_in)))
        return rng.random((*is_in.shape, q)) < right[..., None]

    flat = np.full((m, n, 2), 0.5)
    evidence = Evidence(
        flat[0], flat, inside, np.zeros(n, int), probes=Probes(votes=votes(member), shadow_votes=votes(inside))
    )
    plain = LabelOnly(calibrate=False).score(evidence)
    calibrated = LabelOnly().score(evidence)
    assert auc(calibrated[member], calibrated[~member]) > auc(plain[member], plain[~member]) + 0.1


def test_without_shadows_it_ranks_only() -> None:
    evidence, member = worlds.memoriser()
    probes = Probes(votes=evidence.probes.votes, queries=3200)
    scores = LabelOnly().run(evidence.replace(probes=probes))
    assert scores.decision is None
    assert "ranks" in scores.notes[1]
    assert scores.notes[0].startswith("3,200 queries")
    gap = Gap().score(evidence)
    assert auc(scores.score[member], scores.score[~member]) > auc(gap[member], gap[~member]) + 0.1


def test_a_record_inside_every_shadow_is_missing() -> None:
    evidence, _ = worlds.memoriser(shadows=6, overlapping=True)
    inside = evidence.inside.copy()
    inside[:, 7] = True
    scores = LabelOnly().run(evidence.with_inside(inside))
    assert scores.missing[7]
    assert scores.missing.sum() == (inside.all(axis=0)).sum()
    assert "every shadow model was trained on them" in scores.notes[-1]
    assert scores.decision is not None


def test_labels_alone_are_enough() -> None:
    evidence, _ = worlds.memoriser(overlapping=True)
    labels = evidence.replace(target=evidence.target.argmax(axis=1))
    np.testing.assert_array_equal(LabelOnly().score(labels), LabelOnly().score(evidence))


def test_levels_rise_from_none() -> None:
    levels = Votes(queries=7, noise=0.8).levels()
    np.testing.assert_allclose(levels, [0, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8])
    assert Votes(queries=2).levels().tolist() == [0, 0.5]


def test_refusals() -> None:
    evidence, _ = worlds.memoriser()
    with pytest.raises(PlanError, match="3 problems"):
        LabelOnly("guess", queries=1, noise=2)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="needs probes"):
        LabelOnly().run(evidence.replace(probes=None))
    with pytest.raises(DataError, match="distances"):
        LabelOnly("boundary").run(evidence.replace(probes=Probes(votes=evidence.probes.votes)))
    with pytest.raises(DataError, match="variants"):
        LabelOnly().run(evidence.replace(probes=Probes(distances=evidence.probes.distances)))
    with pytest.raises(DataError, match=r"probes\.votes must have shape \(400, 8\), got \(399, 8\)"):
        evidence.replace(probes=Probes(votes=evidence.probes.votes[1:]))
    with pytest.raises(DataError, match="no vote"):
        evidence.replace(probes=Probes(votes=np.zeros((400, 0), bool)))
    with pytest.raises(DataError, match="without the target's votes"):
        evidence.replace(probes=Probes(shadow_votes=evidence.probes.shadow_votes))
    with pytest.raises(DataError, match="NaN"):
        evidence.replace(probes=Probes(distances=np.full(400, np.nan)))


def test_evidence_keeps_answers_by_the_question_and_an_attack_reads_its_own() -> None:
    world = worlds.gaussian(1.0, n=60, shadows=4, overlapping=True)
    probes = world.evidence.probes
    assert probes is not None
    few, many, walk = Votes(4), Votes(8), Walk(50)
    answers = {
        str(few): Probes(votes=probes.votes[:, :4], shadow_votes=probes.shadow_votes[..., :4], queries=240),
        str(many): Probes(votes=probes.votes, shadow_votes=probes.shadow_votes, queries=480),
        str(walk): Probes(distances=probes.distances, queries=3000),
    }
    evidence = world.evidence.replace(probes=None, answers=answers)
    assert evidence.of_questions(()) is evidence
    for question in (few, many):
        read = evidence.of_questions([question])
        assert read.probes is not None
        np.testing.assert_array_equal(read.probes.votes, answers[str(question)].votes)
        np.testing.assert_array_equal(
            LabelOnly(queries=question.queries).score(read),
            LabelOnly().score(world.evidence.replace(probes=answers[str(question)])),
        )
    both = evidence.of_questions([few, walk]).probes
    assert both is not None
    assert (both.queries, both.votes is not None, both.distances is not None) == (3240, True, True)
    part = evidence.of_shadows([3, 1]).of_questions([many]).probes
    assert part is not None
    np.testing.assert_array_equal(part.shadow_votes, probes.shadow_votes[[3, 1]])
    with pytest.raises(DataError, match="not asked: votes queries=5"):
        evidence.of_questions([Votes(5)])
    with pytest.raises(DataError, match=r"probes\.votes must have shape"):
        evidence.replace(answers={str(few): Probes(votes=probes.votes[1:])})
