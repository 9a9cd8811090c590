from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from miaudit.attacks import LiRA
from miaudit.attacks.lira import likelihood_ratio
from miaudit.errors import DataError, PlanError
from miaudit.evidence import Evidence, Variants
from miaudit.stats import auc, auc_interval, tpr_at_fpr
from miaudit.testing import worlds

VARIANCES = ["nig", "per-example", "pooled"]
MODES = ["online", "offline"]


def signals_of(seed: int, *, m: int, n: int, d: float = 0.0) -> tuple[Any, Any, Any, Any]:
    """Target (n,), shadows (m, n), inside (m, n), member (n,): N(mu_x, s_x), members d standard deviations higher."""
    rng = np.random.default_rng(seed)
    inside, member = rng.random((m, n)) < 0.5, rng.random(n) < 0.5
    mu, s = rng.normal(0, 3, n), rng.uniform(0.5, 2, n)
    shadows = mu + s * (rng.standard_normal((m, n)) + d * inside)
    return mu + s * (rng.standard_normal(n) + d * member), shadows, inside, member


def naive(target: Any, shadows: Any, inside: Any, mode: str, variance: str) -> Any:
    """Record by record, with scipy's own distributions. NaN where a side is too small."""

    def pooled(side: Any) -> float:
        parts = [shadows[side[:, i], i] for i in range(len(target))]
        squares = sum(((p - p.mean()) ** 2).sum() for p in parts if len(p))
        return float(np.sqrt(squares / sum(max(len(p) - 1, 0) for p in parts)))

    def law(side: Any, i: int) -> Any:
        own = shadows[side[:, i], i]
        if variance == "per-example":
            return norm(own.mean(), own.std(ddof=1))
        if variance == "pooled":
            return norm(own.mean(), pooled(side))
        k0, a0 = 1e-3, 2.0
        m0 = np.mean([shadows[side[:, j], j].mean() for j in range(len(target)) if side[:, j].any()])
        kn, an = k0 + len(own), a0 + len(own) / 2
        mn = (k0 * m0 + own.sum()) / kn
        bn = (a0 - 1) * pooled(side) ** 2 + ((own - own.mean()) ** 2).sum() / 2
        bn += k0 * len(own) * (own.mean() - m0) ** 2 / (2 * kn)
        return t(2 * an, mn, np.sqrt(bn * (kn + 1) / (an * kn)))

    least, out = 2 if variance == "per-example" else 1, np.full(len(target), np.nan)
    for i in range(len(target)):
        if (~inside)[:, i].sum() < least or (mode == "online" and inside[:, i].sum() < least):
            continue
        without = law(~inside, i)
        if mode == "online":
            out[i] = law(inside, i).logpdf(target[i]) - without.logpdf(target[i])
        elif variance == "nig":
            out[i] = -without.logsf(target[i])
        else:
            out[i] = (target[i] - without.mean()) / without.std()
    return out


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_agrees_with_a_loop_over_records(mode: str, variance: str) -> None:
    target, shadows, inside, _ = signals_of(3, m=6, n=60, d=1.0)
    inside[:, 0], inside[:, 1] = True, False
    inside[:, 2] = np.arange(6) == 0
    score, missing = likelihood_ratio(target, shadows, inside, mode=mode, variance=variance)
    expected = naive(target, shadows, inside, mode, variance)
    np.testing.assert_array_equal(missing, np.isnan(expected))
    np.testing.assert_allclose(score[~missing], expected[~missing], rtol=1e-9, atol=1e-10)
    assert missing[0]
    assert missing[1] == (mode == "online")
    assert (score[missing] == 0).all()


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    target, shadows, inside, _ = signals_of(0, m=5, n=1000)
    whole = likelihood_ratio(target, shadows, inside)[0]
    monkeypatch.setattr("miaudit.attacks.moments._BLOCK", 1)
    np.testing.assert_allclose(likelihood_ratio(target, shadows, inside)[0], whole, rtol=1e-12)


@pytest.mark.parametrize("models", [8, 16, 32])
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("mode", MODES)
def test_coin_flips_are_at_chance_where_nothing_leaks(models: int, variance: str, mode: str) -> None:
    """One of the models is the target, the others its shadows; scores know nothing of membership."""
    rng = np.random.default_rng(models)
    keep = rng.random((models, 20_000)) < 0.5
    signal = rng.standard_normal(keep.shape)
    score, missing = likelihood_ratio(signal[0], signal[1:], keep[1:], mode=mode, variance=variance)
    member = keep[0] & ~missing, ~keep[0] & ~missing
    _, low, high = auc_interval(score[member[0]], score[member[1]], confidence=0.9999)
    assert low <= 0.5 <= high
    assert high - low < 0.08


@pytest.mark.parametrize(("variance", "expected"), [("per-example", 0.44), ("pooled", 0.47), ("nig", 0.47)])
def test_exactly_half_and_one_left_out_is_biased(variance: str, expected: float) -> None:
    """With every record in exactly 4 of 8 models the other seven betray the eighth: why masks are coin flips here."""
    rng = np.random.default_rng(1)
    keep = rng.random((8, 40_000)).argsort(axis=0) < 4
    signal = rng.standard_normal(keep.shape)
    score, missing = likelihood_ratio(signal[0], signal[1:], keep[1:], variance=variance)
    assert not missing.any()
    value, _, high = auc_interval(score[keep[0]], score[~keep[0]], confidence=0.9999)
    assert high < 0.5
    assert value == pytest.approx(expected, abs=0.015)


def test_offline_is_one_sided() -> None:
    """Members one standard deviation up: .760 with one side; taking |z| instead, .636 (and it was in use for years)."""
    rng = np.random.default_rng(0)
    n, m = 20_000, 100
    member = np.arange(n) < n // 2
    target, shadows = rng.standard_normal(n) + member, rng.standard_normal((m, n), dtype=np.float32)
    nobody = np.zeros((m, n), bool)
    for variance in VARIANCES:
        score, _ = likelihood_ratio(target, shadows, nobody, mode="offline", variance=variance)
        assert auc(score[member], score[~member]) == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.012)
        if variance == "per-example":
            assert tpr_at_fpr(score[member], score[~member], 0.001).tpr == pytest.approx(0.0198, abs=0.008)
            assert auc(np.abs(score[member]), np.abs(score[~member])) == pytest.approx(0.636, abs=0.012)


@pytest.mark.parametrize("variance", VARIANCES)
def test_offline_never_saturates(variance: str) -> None:
    """Far out on both sides scores still differ, from 1e-3 to 1e5 standard deviations and for any number of shadows."""
    reach = np.geomspace(1e-3, 1e5, 200)
    target = np.concatenate([-reach[::-1], reach])
    for m in (2, 8, 300):
        shadows = np.repeat(np.linspace(-1, 1, m)[:, None], len(target), axis=1)
        nobody = np.zeros(shadows.shape, bool)
        score, _ = likelihood_ratio(target, shadows, nobody, mode="offline", variance=variance)
        assert np.isfinite(score).all()
        up = score[np.abs(target) < 60] if variance == "nig" else score  # -log(1 - tail) underflows to 0 far below
        assert (np.diff(score) >= 0).all()
        assert (np.diff(up) > 0).all()
        assert (np.diff(score[200:]) > 0).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), m=st.integers(2, 12), up=st.floats(1e-3, 20), variance=st.sampled_from(VARIANCES))
def test_a_surer_target_scores_no_lower_offline(seed: int, m: int, up: float, variance: str) -> None:
    target, shadows, _, _ = signals_of(seed, m=m, n=8)
    nobody = np.zeros(shadows.shape, bool)
    before = likelihood_ratio(target, shadows, nobody, mode="offline", variance=variance)[0]
    after = likelihood_ratio(target + up, shadows, nobody, mode="offline", variance=variance)[0]
    assert (after >= before).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), shift=st.floats(-30, 30), scale=st.floats(0.1, 10), mode=st.sampled_from(MODES))
def test_units_of_the_signal_do_not_matter(seed: int, shift: float, scale: float, mode: str) -> None:
    target, shadows, inside, _ = signals_of(seed, m=8, n=20)
    for variance in VARIANCES:
        plain, missing = likelihood_ratio(target, shadows, inside, mode=mode, variance=variance)
        moved, _ = likelihood_ratio(
            scale * target + shift, scale * shadows + shift, inside, mode=mode, variance=variance
        )
        np.testing.assert_allclose(moved[~missing], plain[~missing], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_the_prior_needs_no_switch(k: int) -> None:
    """Heteroscedastic records, k shadows a side: the prior's area is that of the better of the other two or above."""
    rng = np.random.default_rng(k)
    n = 30_000
    inside = np.repeat([[True], [False]], [k, k], axis=0) & np.ones((2 * k, n), bool)
    member = np.arange(n) < n // 2
    mu, s, d = rng.normal(0, 2, n), np.exp(rng.normal(0, 0.5, n)), rng.exponential(1.0, n)
    shadows = mu + s * rng.standard_normal((2 * k, n)) + d * inside
    target = mu + s * rng.standard_normal(n) + d * member
    area = {}
    for variance in VARIANCES:
        score, _ = likelihood_ratio(target, shadows, inside, variance=variance)
        area[variance] = auc(score[member], score[~member])
    assert area["nig"] > max(area["per-example"], area["pooled"]) - 0.002
    assert area["nig"] > area["per-example"] + (0.01 if k == 2 else -1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_finds_the_known_area(mode: str, variance: str) -> None:
    """N(0, 1) against N(d, 1) with many shadows: Phi(d / sqrt 2)."""
    world = worlds.gaussian(1.0, n=3000, shadows=100, classes=2, overlapping=True)
    score = LiRA(mode, variance).run(world.evidence).score
    _, low, high = auc_interval(score[world.member], score[~world.member], confidence=0.999)
    assert low - 0.01 <= norm.cdf(1 / np.sqrt(2)) <= high + 0.01


def test_queries_are_averaged_and_help() -> None:
    many = [worlds.gaussian(1.0, n=2000, shadows=16, classes=2, seed=seed, overlapping=True) for seed in (0, 0, 0)]
    first = many[0]
    rng = np.random.default_rng(5)

    def answer(inside: Any) -> Any:
        p = 1 / (1 + np.exp(-(rng.standard_normal(inside.shape) + inside)))
        y = first.evidence.audited_labels
        return np.stack([np.where(y == 0, p, 1 - p), np.where(y == 0, 1 - p, p)], axis=-1)

    q = 3
    variants = Variants(
        np.stack([answer(first.member) for _ in range(q)]), np.stack([answer(first.evidence.inside) for _ in range(q)])
    )
    evidence = first.evidence.replace(variants=variants)
    scores = LiRA().run(evidence)
    assert "averaged over 4 queries per record" in scores.notes
    one = LiRA().run(first.evidence).score
    ways = [one] + [
        LiRA().run(first.evidence.replace(target=variants.target[i], shadows=variants.shadows[i])).score
        for i in range(q)
    ]
    shown = np.ones(evidence.n, bool) if scores.missing is None else ~scores.missing
    np.testing.assert_allclose(scores.score[shown], np.mean(ways, axis=0)[shown], rtol=1e-9, atol=1e-9)
    member = first.member
    assert auc(scores.score[member], scores.score[~member]) > auc(one[member], one[~member]) + 0.05


def test_missing_records_are_counted_and_carry_the_median() -> None:
    world = worlds.gaussian(1.0, shadows=8, overlapping=True)
    inside = world.evidence.inside.copy()
    inside[:, :7], inside[:, 7:10] = True, False
    evidence = world.evidence.with_inside(inside)
    online, offline = LiRA().run(evidence), LiRA("offline").run(evidence)
    assert online.missing is not None
    assert offline.missing is not None
    assert online.missing[:10].all()
    assert offline.missing[:7].all()
    assert not offline.missing[7:10].any()
    for scores in (online, offline):
        assert (scores.score[scores.missing] == np.median(scores.score[~scores.missing])).all()
        assert any(note.startswith(f"{scores.missing.sum()} of 400 audited records") for note in scores.notes)
    with pytest.raises(DataError, match="scored: no shadow model with them, or none without them"):
        LiRA().run(evidence.with_inside(np.ones_like(inside)))
    with pytest.raises(DataError, match="none of 400 audited records can be scored: no shadow model without them"):
        LiRA("offline").run(evidence.with_inside(np.ones_like(inside)))


def test_too_few_shadows_are_counted() -> None:
    few = worlds.gaussian(1.0, shadows=3, overlapping=True).evidence
    with pytest.raises(DataError, match=r"at least 4 shadow models, the evidence has 3"):
        LiRA().run(few)
    LiRA("offline").run(few)
    target = np.zeros(3)
    with pytest.raises(DataError, match="no spread"):
        likelihood_ratio(target, np.ones((2, 3)), [[1, 0, 1], [0, 1, 0]])


def test_refuses_what_it_cannot_use() -> None:
    with pytest.raises(DataError, match="overlapping design"):
        LiRA().run(worlds.gaussian(1.0).evidence)
    evidence = worlds.gaussian(1.0, overlapping=True).evidence
    with pytest.raises(DataError, match="labels only"):
        LiRA().run(Evidence(evidence.target.argmax(1), evidence.shadows, evidence.inside, evidence.labels))
    for options in ({"mode": "both"}, {"variance": "fixed"}, {"signal": "loss"}):
        with pytest.raises(PlanError, match="must be one of"):
            LiRA(**options)


def test_step_functions_give_finite_ratios() -> None:
    """A tree says 1.0 about every training record: no spread on either side."""
    inside = np.array([[True, True, False], [True, False, False], [False, False, True], [False, True, True]])
    shadows = np.where(inside, 60.0, 0.0)
    for variance in VARIANCES:
        score, missing = likelihood_ratio(np.array([60.0, 0.0, 60.0]), shadows, inside, variance=variance)
        assert np.isfinite(score).all()
        assert not missing.any()
        assert score[0] > 0 > score[1]
