"""Evidence of signals: what needs no class probabilities runs on it, finds what is known, and claims nothing of classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm, rankdata

from miaudit.attacks import (
    RMIA,
    USUAL,
    Attack,
    AttackP,
    AttackR,
    Calibration,
    Gap,
    LiRA,
    Quantile,
    Ratio,
    Salem,
    Shokri,
    Threshold,
    plan_attacks,
)
from miaudit.attacks.moments import resolved_rows, signal_rows
from miaudit.errors import DataError
from miaudit.evidence import Evidence
from miaudit.findings import Trial, Trials, examine, unit_of
from miaudit.result import BlindControl, Interval
from miaudit.signals import Loss, Upright
from miaudit.stats import auc, auc_interval
from miaudit.testing import worlds

UNCHECKED = BlindControl(
    method="none",
    auc=Interval(value=None, low=None, high=None, reason="no features"),
    confounded=None,
    reason="no features",
)


def area(attack: Attack, world: worlds.World) -> tuple[float, float, float]:
    score = attack.score(world.evidence)
    return tuple(auc_interval(score[world.member], score[~world.member], confidence=0.999))  # type: ignore[return-value]


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_areas_are_those_of_the_closed_form(spread: float) -> None:
    d, k = 1.5, 6
    offline = worlds.signal(d, n=8000, shadows=k, overlapping=False, spread=spread)
    best, alone = norm.cdf(d / np.sqrt(2 * (1 + 1 / k))), norm.cdf(d / np.sqrt(2 * (1 + spread**2)))
    for attack in (Calibration(), LiRA("offline", variance="pooled")):
        _, low, high = area(attack, offline)
        assert low <= best <= high
    for attack in (Threshold(), AttackP()):
        _, low, high = area(attack, offline)
        assert low <= alone <= high
    online = worlds.signal(d, n=8000, shadows=64, spread=spread)
    for attack in (LiRA(variance="pooled"), LiRA()):
        value, low, high = area(attack, online)
        assert low <= norm.cdf(d / np.sqrt(2)) <= high + 0.005, value


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**40])
@pytest.mark.parametrize("overlapping", [True, False])
def test_signals_of_any_scale_give_the_same_areas(scale: float, overlapping: bool) -> None:
    world = worlds.signal(1.5, n=200, shadows=6, overlapping=overlapping)
    target, shadows = (rows[..., 0] for rows in (world.evidence.target, world.evidence.shadows))
    population, asked = world.evidence.population, world.evidence.asked

    def areas(unit: float) -> dict[str, float]:
        outside = {} if population is None else {"population_target": population.target[:, 0] * unit}
        evidence = Evidence.of_signals(target * unit, shadows * unit, world.evidence.inside, asked=asked, **outside)
        design: Any = "overlapping" if overlapping else "offline"
        plan = plan_attacks("signal", shadows=6, design=design, population=bool(outside))
        scores = {each.name: each.attack.score(evidence) for each in plan if each.runs}
        return {name: auc(score[world.member], score[~world.member]) for name, score in scores.items()}

    assert areas(scale) == pytest.approx(areas(1.0), abs=1e-3)


def test_a_learned_ratio_reads_signals_among_which_some_are_huge() -> None:
    world = worlds.signal(1.5, n=200, shadows=6, spread=1.0)
    target, shadows = (np.exp(6 * rows[..., 0]) for rows in (world.evidence.target, world.evidence.shadows))
    score = Ratio().score(Evidence.of_signals(target, shadows, world.evidence.inside))
    assert auc(score[world.member], score[~world.member]) > auc(target[world.member], target[~world.member])


def test_signals_of_probabilities_give_what_the_probabilities_give() -> None:
    world = worlds.gaussian(1.0, n=300, shadows=10, overlapping=True, seed=3)
    evidence = world.evidence
    population = evidence.population
    assert population is not None

    def of(signal: Any, **options: Any) -> Evidence:
        return Evidence.of_signals(*signal, evidence.inside, bystanders=None, **options)

    phi, loss = of(resolved_rows(evidence, "phi")), of(resolved_rows(evidence, "loss"))
    for attack in (LiRA(), LiRA("offline"), LiRA(variance="per-example"), LiRA(variance="pooled")):
        np.testing.assert_array_equal(attack.score(phi), attack.score(evidence))
        np.testing.assert_array_equal(attack.run(phi).decision, attack.run(evidence).decision)
    for attack in (Calibration(), Calibration("online"), AttackR()):
        np.testing.assert_array_equal(attack.score(loss), attack.score(evidence))
    raw = Upright(Loss())
    target, shadows = evidence.signal(raw)
    numbers = of((target, shadows), population_target=raw(population.target, population.labels))
    np.testing.assert_array_equal(Threshold().score(numbers), Threshold().score(evidence))
    np.testing.assert_array_equal(rankdata(AttackP().score(numbers)), rankdata(AttackP().score(evidence)))
    soft = Upright(Loss(2.0))
    likelihood = of(signal_rows(evidence, soft), log_likelihood=True)
    for attack in (RMIA(), RMIA(mode="online")):
        np.testing.assert_array_equal(attack.score(likelihood), attack.score(evidence))


def test_queries_are_averaged_by_lira_and_the_first_is_the_record() -> None:
    world = worlds.signal(1.0, n=200, shadows=12)
    evidence = world.evidence
    rng = np.random.default_rng(0)
    target = np.stack([evidence.target[:, 0], rng.normal(size=200)], axis=1)
    shadows = np.stack([evidence.shadows[..., 0], rng.normal(size=(12, 200))], axis=2)
    several = Evidence.of_signals(target, shadows, evidence.inside)
    second = Evidence.of_signals(target[:, 1], shadows[..., 1], evidence.inside)
    mean = (LiRA().score(evidence) + LiRA().score(second)) / 2
    missing = LiRA().run(evidence).missing
    known = np.ones(200, bool) if missing is None else ~missing
    np.testing.assert_allclose(LiRA().score(several)[known], mean[known])
    for attack in (Calibration(), AttackR(), Threshold()):
        np.testing.assert_array_equal(attack.score(several), attack.score(evidence))


@pytest.mark.parametrize("attack", [Gap(), Shokri(), Salem(), RMIA(), Threshold("phi"), LiRA(signal="hinge")], ids=str)
def test_what_needs_classes_or_probabilities_is_skipped_with_a_reason_and_refuses(attack: Attack) -> None:
    with pytest.raises(DataError, match=f"{attack.name} cannot read these answers: (the evidence is one|it averages)"):
        attack.run(worlds.signal(1.0, n=60).evidence)
    planned = plan_attacks("signal", shadows=16, design="overlapping", attacks=[attack])[0]
    assert not planned.runs
    assert "classes" in planned.reason or "log-likelihood" in planned.reason


@pytest.mark.parametrize("design", ["overlapping", "offline", "disjoint"])
@pytest.mark.parametrize("capability", ["signal", "log-likelihood"])
@pytest.mark.parametrize("shadows", [0, 1, 2, 8, 64])
def test_what_is_planned_runs_and_one_is_the_strongest(design: Any, capability: Any, shadows: int) -> None:
    if design == "disjoint" and shadows == 0:
        return
    world = worlds.signal(
        1.0, n=220, shadows=shadows, overlapping=design == "overlapping", log_likelihood=capability != "signal"
    )
    evidence = world.evidence
    planned = plan_attacks(capability, shadows=shadows, design=design, population=True, features=True)
    assert sum(each.strongest for each in planned) == 1
    assert all(each.runs for each in planned if each.strongest)
    assert not any(each.runs and each.name in ("gap", "shokri", "salem") for each in planned)
    assert any(each.runs and each.name.startswith("rmia") for each in planned) == (
        capability == "log-likelihood" and shadows > 0 and design != "disjoint"
    )
    if design == "disjoint" or shadows > 8:
        return
    for each in planned:
        if each.runs and each.name not in ("quantile", "ratio"):
            assert np.isfinite(each.attack.score(evidence)).all()


@pytest.mark.parametrize("overlapping", [True, False])
def test_an_examination_of_signals_says_nothing_of_classes_and_finds_the_leak(overlapping: bool) -> None:
    world = worlds.signal(4.0, n=300, shadows=12, overlapping=overlapping, log_likelihood=True)
    ran = [
        each
        for each in plan_attacks(
            "log-likelihood",
            shadows=12,
            design="overlapping" if overlapping else "offline",
            population=True,
            features=True,
            attacks=[each for each in USUAL if not isinstance(each, Ratio | Quantile)],
        )
        if each.runs
    ]
    trials = [Trial(each.attack, world.evidence, each.name, strongest=each.strongest) for each in ran]
    of = Trials(trials, world.member, unit_of(world.member))
    findings = examine(of, None, blind=UNCHECKED, slices={"half": np.arange(300) % 2})
    assert findings.verdict_kind == "leak"
    assert [grouping.column for grouping in findings.groups] == ["half"]
    assert findings.controls.null is not None
    assert findings.controls.null.at_chance
    assert findings.controls.bystander is not None
    assert findings.controls.bystander.auc is not None
    assert findings.accusations is not None
    assert findings.accusations.named
    assert list(findings.records[0])[:3] == ["id", "member", "risk_rank"]
    for attack in findings.attacks:
        assert attack.status == "ran"
        assert attack.per_class == []
        json.dumps(attack.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize("trials", [40, pytest.param(400, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_nothing_is_found_in_signals_that_do_not_leak(trials: int) -> None:
    attacks = (
        [Threshold(), Calibration(), LiRA()] if trials == 40 else [Threshold(), AttackR(), LiRA("offline"), LiRA()]
    )
    leaks = 0
    for seed in range(trials):
        world = worlds.signal(0.0, n=120, shadows=6, seed=seed)
        of = [Trial(each, world.evidence, str(each)) for each in attacks]
        of_world = Trials(of, world.member, unit_of(world.member), seed=seed)
        leaks += examine(of_world, None, blind=UNCHECKED).verdict_kind == "leak"
    assert leaks <= binom.isf(0.01, trials, 0.05)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 6), m=st.integers(0, 4), q=st.integers(1, 3), seed=st.integers(0, 99))
def test_any_fitting_shapes_are_taken_and_others_refused(n: int, m: int, q: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, shadows, inside = rng.normal(size=(n, q)), rng.normal(size=(m, n, q)), rng.random((m, n)) < 0.5
    evidence = Evidence.of_signals(target, shadows, inside)
    assert (evidence.n, len(evidence.models), len(evidence.queries), evidence.classes) == (n, m, q, 1)
    for k in range(q):
        of_target, rows = evidence.signal(evidence.measure, query=k)  # type: ignore[arg-type]
        np.testing.assert_array_equal(of_target, target[:, k])
        np.testing.assert_array_equal(rows.reshape(m, n), shadows[..., k])
    for wrong in (
        (target[:, 0], shadows, inside),
        (target, shadows[..., 0], inside),
        (target, shadows[..., : q - 1], inside),
        (target, np.zeros((m, n + 1, q)), inside),
        (target, shadows, np.zeros((m + 1, n), bool)),
        (np.full((n, q), np.nan), shadows, inside),
        (target.astype(str), shadows, inside),
        (target[..., None], shadows[..., None], inside),
    ):
        with pytest.raises(DataError):
            Evidence.of_signals(*wrong)


def test_what_stands_beside_signals_must_fit() -> None:
    target, shadows, inside = np.zeros(4), np.zeros((2, 4)), np.zeros((2, 4), bool)
    for beside, message in (
        ({"population_shadows": np.zeros((2, 3))}, "needs population_target"),
        ({"population_features": np.zeros((3, 1))}, "needs population_target"),
        ({"population_target": np.zeros((3, 1))}, r"must be \(p,\) signals"),
        ({"population_target": np.zeros(3), "population_shadows": np.zeros((2, 4))}, "must have shape"),
        ({"bystanders": np.zeros(4)}, r"bystanders must be \(b, n\)"),
        ({"bystanders": np.zeros((1, 5))}, "bystanders must have shape"),
        ({"people": np.zeros(3, int)}, "people must be"),
        ({"log_likelihood": True, "population_target": np.zeros(3)}, None),
    ):
        if message is None:
            Evidence.of_signals(target, shadows, inside, **beside)  # type: ignore[arg-type]
            continue
        with pytest.raises(DataError, match=message):
            Evidence.of_signals(target, shadows, inside, **beside)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at most 0"):
        Evidence.of_signals(target + 0.5, shadows, inside, log_likelihood=True)
    with pytest.raises(DataError, match="one query about each record, there are 2"):
        Evidence.of_signals(np.zeros((4, 2)), np.zeros((2, 4, 2)), inside, bystanders=np.zeros((1, 4)))
    with pytest.raises(DataError, match="nothing of classes"):
        _ = Evidence.of_signals(target, shadows, inside).predicted


def test_shadows_with_records_of_their_own_set_the_threshold() -> None:
    rng = np.random.default_rng(2)
    inside = rng.random((5, 80)) < 0.5
    evidence = Evidence.of_signals(
        rng.normal(size=40),
        rng.normal(size=(5, 80)) + 3 * inside,
        inside,
        asked=40 + rng.permuted(np.tile(np.arange(80), (5, 1)), axis=1),
    )
    scores = Threshold().run(evidence)
    assert scores.decision is not None
    assert auc(evidence.shadows[..., 0][inside], evidence.shadows[..., 0][~inside]) > 0.9
