from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from miaudit import signals
from miaudit.attacks import RMIA, shuffle_membership
from miaudit.attacks.moments import signal_rows
from miaudit.attacks.rmia import beaten, by_record, reference, tune_a
from miaudit.errors import DataError, PlanError
from miaudit.evidence import Evidence, Population
from miaudit.signals import Loss, Upright
from miaudit.stats import auc, auc_interval
from miaudit.testing import worlds

WORLD = worlds.gaussian(1.0, shadows=8, overlapping=True)


def naive_counts(log_ratio: Any, population: Any, gamma: float) -> Any:
    """The full matrix of x against z, which the fast way never makes."""
    return (population[None, :] < log_ratio[:, None] - np.log(gamma)).sum(axis=1)


@settings(max_examples=100, deadline=None)
@given(
    x=st.lists(st.integers(-8, 8), min_size=1, max_size=30),
    z=st.lists(st.integers(-8, 8), min_size=1, max_size=30),
    gamma=st.sampled_from([1.0, 2.0, 0.5, np.e]),
)
def test_counts_are_those_of_the_matrix_ties_included(x: list[int], z: list[int], gamma: float) -> None:
    step = np.log(gamma) or 1.0  # so that r(x) = gamma r(z) happens
    log_x, log_z = np.array(x) * step, np.array(z) * step
    np.testing.assert_array_equal(beaten(log_x, log_z, gamma), naive_counts(log_x, log_z, gamma))


def test_an_equal_ratio_is_not_beaten() -> None:
    assert beaten(np.zeros(3), np.array([-1.0, 0.0, 0.0, 1.0]), 1.0).tolist() == [1, 1, 1]


def naive(evidence: Evidence, mode: str, a: float, temperature: float) -> tuple[Any, Any]:
    """Log r of the audited records and of the population, by loops over probabilities."""

    def soft(p: Any, y: int) -> float:
        q = p ** (1 / temperature)
        return float(q[y] / q.sum())

    def log_ratio(p: Any, shadows: Any, y: int, inside: Any) -> float:
        said = np.array([soft(s, y) for s in shadows])
        if mode == "online":
            groups = [said[inside], said[~inside]]
            mean = np.mean([g.mean() for g in groups if len(g)])
        else:
            mean = ((1 + a) * said[~inside].mean() + 1 - a) / 2
        return float(np.log(soft(p, y)) - np.log(mean))

    x = [
        log_ratio(evidence.target[i], evidence.shadows[:, i], evidence.labels[i], evidence.inside[:, i])
        for i in range(evidence.n)
    ]
    others, nobody = evidence.population, np.zeros(len(evidence.shadows), bool)
    z = [log_ratio(others.target[i], others.shadows[:, i], others.labels[i], nobody) for i in range(len(others.labels))]
    return np.array(x), np.array(z)


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.0])
def test_agrees_with_loops(mode: str, temperature: float) -> None:
    world = worlds.gaussian(1.0, n=60, shadows=6, classes=3, overlapping=True, seed=2)
    inside = world.evidence.inside.copy()
    inside[0], inside[1] = True, False  # every record has both sides
    evidence = world.evidence.with_inside(inside)
    x, z = naive(evidence, mode, 0.4, temperature)
    options = {"mode": mode, "a": 0.4, "temperature": temperature}
    np.testing.assert_allclose(RMIA(**options).score(evidence), x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(RMIA("informia", **options).score(evidence), x - z.mean(), rtol=1e-5, atol=1e-6)
    counted = RMIA("rmia", **options).score(evidence) * (len(z) + 1)
    apart = np.abs(x[:, None] - np.log(2.0) - z[None, :]).min(axis=1) > 1e-4  # else rounding may turn the count
    assert apart.sum() > 50
    np.testing.assert_array_equal(np.floor(counted)[apart], naive_counts(x, z, 2.0)[apart])


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("gamma", [1.0, 2.0, 50.0])
def test_the_three_forms_rank_alike(mode: str, gamma: float) -> None:
    ranks = [
        rankdata(np.round(RMIA(form, mode, gamma=gamma, a=0.5).score(WORLD.evidence), 12))
        for form in ("base", "rmia", "informia")
    ]
    np.testing.assert_allclose(ranks[1], ranks[0], atol=0.5)
    np.testing.assert_allclose(ranks[2], ranks[0], atol=0.5)


def test_finds_the_known_area() -> None:
    """All records have one law, so calibration by the references adds nothing and takes nothing: Phi(d / sqrt 2)."""
    world = worlds.gaussian(1.0, n=3000, classes=2, shadows=100, overlapping=True)
    for mode in ("online", "offline"):
        score = RMIA(mode=mode).score(world.evidence)
        _, low, high = auc_interval(score[world.member], score[~world.member], confidence=0.999)
        assert low - 0.01 <= norm.cdf(1 / np.sqrt(2)) <= high + 0.01


def difficult(seed: int, *, m: int, n: int = 2000, d: float = 1.5) -> tuple[Evidence, Any]:
    """Records differ in difficulty by far more than membership adds."""
    rng = np.random.default_rng(seed)
    hard, member = rng.normal(0, 3, n), rng.random(n) < 0.5
    inside = rng.random((m, n)) < 0.5

    def answer(own: Any) -> Any:
        p = 1 / (1 + np.exp(-(hard + rng.standard_normal(own.shape) + d * own)))
        return np.stack([p, 1 - p], axis=-1)

    return Evidence(answer(member), answer(inside), inside, np.zeros(n, int)), member


def test_one_reference_model_already_helps_and_nothing_is_missing() -> None:
    evidence, member = difficult(0, m=1)
    scores = RMIA(mode="offline").run(evidence)
    loss = -signals.loss(evidence.target, evidence.labels)
    assert scores.missing is None
    assert any("had from the offline line" in note for note in scores.notes)
    assert any("published default" in note for note in scores.notes)
    assert auc(scores.score[member], scores.score[~member]) > auc(loss[member], loss[~member]) + 0.03


def test_a_is_tuned_without_the_target() -> None:
    evidence, _ = difficult(1, m=6)
    turned = evidence.replace(target=evidence.target[::-1])
    note = RMIA().run(evidence).notes[0]
    assert RMIA().run(turned).notes[0] == note
    assert "tuned on 4 shadow models" in note
    a, used = tune_a(np.log(evidence.shadows[..., 0]), evidence.inside)  # probabilities as they are: temperature 1
    assert used == 4
    assert f"(a = {a:.1f}, tuned on 4" in RMIA(temperature=1.0).run(evidence).notes[0]


def test_tuning_finds_the_better_end() -> None:
    """On the evidence of many shadows, the tuned a is within noise of the best on the target itself."""
    evidence, member = difficult(2, m=12, n=4000)
    area = {a: auc(s[member], s[~member]) for a in (0.0, 0.3, 0.6, 1.0) for s in [RMIA(a=a).score(evidence)]}
    tuned = RMIA().score(evidence)
    assert auc(tuned[member], tuned[~member]) > max(area.values()) - 0.02
    assert max(area.values()) > min(area.values()) + 0.02  # it matters


def apart(seed: int, *, m: int, n: int = 1500) -> tuple[Evidence, Any]:
    """Shadows trained on no audited record; each answered half of the pool's records and was trained on half of those."""
    both, member = difficult(seed, m=m, n=2 * n)
    audited, pool = np.arange(n), np.arange(n, 2 * n)
    rng = np.random.default_rng(seed)
    asked = np.stack([rng.permutation(pool)[: n // 2] for _ in range(m)])
    rows = np.arange(m)[:, None]
    own = both.replace(
        target=both.target[:n], shadows=both.shadows[rows, asked], inside=both.inside[rows, asked], asked=asked
    )
    p = both.shadows[:, audited, 0]
    without = np.where(both.inside[:, audited], 1 / (1 + np.exp(-(np.log(p / (1 - p)) - 1.5))), p)  # d taken off again
    direct = Evidence(
        both.target[:n], np.stack([without, 1 - without], axis=-1), np.zeros((m, n), bool), both.labels[:n], own=own
    )
    return direct, member[:n]


def test_a_is_tuned_on_the_shadows_own_records_where_none_saw_an_audited_one() -> None:
    evidence, member = apart(3, m=8)
    note = RMIA().run(evidence).notes[0]
    assert "tuned on 4 shadow models" in note
    assert RMIA().run(evidence.replace(target=evidence.target[::-1])).notes[0] == note
    tuned = RMIA().score(evidence)
    area = {a: auc(s[member], s[~member]) for a in (0.0, 0.3, 0.6, 1.0) for s in [RMIA(a=a).score(evidence)]}
    assert auc(tuned[member], tuned[~member]) > max(area.values()) - 0.02
    assert "published default" in RMIA().run(evidence.of_shadows([0])).notes[0]


def test_records_of_their_own_are_put_side_by_side() -> None:
    own = apart(4, m=5, n=40)[0].own
    assert own is not None
    said, inside, answered = by_record(signal_rows(own, Upright(Loss()))[1], own)
    numbers = np.unique(own.asked)
    for i in range(5):
        for j, number in enumerate(numbers):
            at = np.flatnonzero(own.asked[i] == number)
            assert answered[i, j] == bool(len(at))
            assert inside[i, j] == bool(len(at) and own.inside[i, at[0]])
            if len(at):
                assert said[i, j] == np.float32(np.log(float(own.shadows[i, at[0], own.labels[number]])))
    best, used = tune_a(said, inside, answered)
    means = []
    for a in np.arange(11) / 10:
        areas = []
        for i in range(4):
            scores: tuple[list[float], list[float]] = ([], [])
            for j in np.flatnonzero(answered[i]):
                others = [k for k in range(5) if k != i and answered[k, j] and not inside[k, j]]
                if others:
                    out = np.exp(said[others, j].astype(float)).mean()
                    scores[int(inside[i, j])].append(float(said[i, j]) - np.log(((1 + a) * out + 1 - a) / 2))
            areas.append(auc(np.array(scores[1]), np.array(scores[0])))
        means.append(np.mean(areas))
    assert used == 4
    assert means[round(10 * best)] == pytest.approx(max(means), abs=1e-12)


def test_own_rows_go_with_their_shadows() -> None:
    evidence, member = apart(5, m=4, n=40)
    assert evidence.own is not None
    half = evidence.of_shadows([3, 1]).own
    assert half is not None
    np.testing.assert_array_equal(half.asked, evidence.own.asked[[3, 1]])
    shuffled, _ = shuffle_membership(evidence, member, 0)
    assert shuffled.own is not None
    assert not np.array_equal(shuffled.own.inside, evidence.own.inside)
    np.testing.assert_array_equal(shuffled.own.inside.sum(axis=1), evidence.own.inside.sum(axis=1))
    with pytest.raises(DataError, match="rows of the same 4 shadows"):
        evidence.replace(own=half)


def test_no_stand_in_no_tuning() -> None:
    assert tune_a(np.zeros((1, 4)), np.zeros((1, 4), bool)) == (0.3, 0)
    assert tune_a(np.zeros((3, 4)), np.zeros((3, 4), bool)) == (0.3, 0)
    same = tune_a(np.zeros((3, 4)), np.array([[0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 1, 1]], bool))
    assert same == (0.3, 3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), mode=st.sampled_from(["online", "offline"]))
def test_a_surer_target_scores_no_lower(seed: int, mode: str) -> None:
    world = worlds.exchangeable(seed, n=20, classes=2, shadows=6, overlapping=True)
    evidence = world.evidence
    y = evidence.audited_labels
    surer = evidence.target.copy()
    surer[np.arange(len(y)), y] = (1 + surer[np.arange(len(y)), y]) / 2
    surer[np.arange(len(y)), 1 - y] /= 2
    options = {"mode": mode, "a": 0.3}
    first, second = RMIA(**options).run(evidence), RMIA(**options).run(evidence.replace(target=surer))
    shown = np.ones(evidence.n, bool) if first.missing is None else ~first.missing
    assert (second.score >= first.score)[shown].all()


def test_reference_is_exact_where_all_agree() -> None:
    t = np.log(np.array([0.3, 1e-30, 1.0]))
    within, without = reference(t, np.tile(t, (5, 1)), np.array([[1, 0, 1]] * 2 + [[0, 1, 1]] * 3, bool))
    np.testing.assert_array_equal(within.mean, np.exp(t))
    np.testing.assert_array_equal(without.mean, np.exp(t) * [1, 1, 0])


def test_missing_and_refusals() -> None:
    evidence = WORLD.evidence
    inside = evidence.inside.copy()
    inside[:, :5] = True
    online = RMIA(mode="online").run(evidence.with_inside(inside))
    assert online.missing is not None
    assert online.missing[:5].all()
    assert RMIA(a=0.0).run(evidence.with_inside(inside)).missing[:5].all()  # the line is flat: nothing to go by
    with pytest.raises(DataError, match='form "base" ranks alike'):
        RMIA("rmia").run(evidence.replace(population=None))
    only_target = Population(evidence.population.target, evidence.population.labels)
    with pytest.raises(DataError, match="answered by the target and the shadows"):
        RMIA("informia").run(evidence.replace(population=only_target))
    with pytest.raises(DataError, match="at least 2 shadow models, the evidence has 1"):
        RMIA(mode="online").run(difficult(0, m=1, n=10)[0])
    with pytest.raises(PlanError, match="4 problems"):
        RMIA("ratio", "on", gamma=0, a=2.0)
