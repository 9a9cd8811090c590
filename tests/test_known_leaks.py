"""Worlds whose leak is known: attacks reach it, bounds stay below it and come near."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import kstest, norm

from miaudit import signals
from miaudit.attacks import RMIA, AttackP, AttackR, Calibration, Gap, LiRA, Quantile, Salem, Shokri, Threshold
from miaudit.errors import PlanError
from miaudit.stats import auc, auc_interval, epsilon_from_mu, tpr_at_fpr, tpr_ceiling_dp, tpr_ceiling_gdp
from miaudit.testing import worlds
from miaudit.testing.calibration import certified_bounds, most_allowed, one_run_bounds

D = 1.0
BEST = norm.cdf(D / np.sqrt(2))
OVERLAPPING = worlds.gaussian(D, n=4000, shadows=64, overlapping=True)
DISJOINT = worlds.gaussian(D, n=4000, shadows=4)
REACH = [
    *(LiRA(mode, variance) for mode in ("online", "offline") for variance in ("nig", "per-example", "pooled")),
    *(RMIA(form, mode) for form in ("base", "rmia", "informia") for mode in ("online", "offline")),
    *(Calibration(mode, "phi") for mode in ("online", "offline")),
    AttackR(),
]


def area(attack, world: worlds.World) -> float:
    score = attack.score(world.evidence)
    return auc(score[world.member], score[~world.member])


@pytest.mark.parametrize("attack", REACH, ids=lambda a: "-".join([a.name, *map(str, a.options.values())]))
def test_attacks_with_64_shadows_reach_a_gaussian_shift(attack) -> None:
    """Phi(d / sqrt 2) = .760, less up to .02 for what 32 models a side leave unknown, and .025 for 4000 records."""
    assert BEST - 0.045 < area(attack, OVERLAPPING) < BEST + 0.025


@pytest.mark.parametrize("signal", ["loss", "confidence", "phi", "hinge"])
def test_thresholds_reach_a_gaussian_shift(signal: str) -> None:
    assert area(Threshold(signal), DISJOINT) == pytest.approx(BEST, abs=0.025)


@pytest.mark.parametrize(
    ("attack", "short"),
    [(AttackP(), 0), (Quantile(trees=8), 0.02), (Shokri(), 0.02), (Shokri("pooled"), 0.02), (Salem(), 0.1)],
)
def test_learned_attacks_reach_a_gaussian_shift(attack, short: float) -> None:
    """Salem's sees the three largest probabilities: those of the true class only where it is among them."""
    assert BEST - short - 0.025 < area(attack, DISJOINT) < BEST + 0.025


def test_the_gap_is_that_of_the_accuracies() -> None:
    """The true class leads if phi > -log 4: the area is half of one plus the gap."""
    expected = 0.5 + (norm.sf(-np.log(4) - D) - norm.sf(-np.log(4))) / 2
    assert area(Gap(), DISJOINT) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
@pytest.mark.parametrize("overlapping", [False, True])
def test_randomised_response_is_what_it_claims(epsilon: float, overlapping: bool) -> None:
    world = worlds.randomised_response(epsilon, n=20_000, shadows=1, overlapping=overlapping)
    told = world.evidence.target[np.arange(20_000), world.evidence.audited_labels] > 0.5
    assert told[world.member].mean() == pytest.approx(expit(epsilon), abs=0.015)
    assert told[~world.member].mean() == pytest.approx(expit(-epsilon), abs=0.015)
    score = signals.phi(world.evidence.target, world.evidence.audited_labels)
    _, low, high = auc_interval(score[world.member], score[~world.member], confidence=0.9999)
    assert low <= expit(epsilon) <= high
    for fpr in (0.01, 0.1):
        at = tpr_at_fpr(score[world.member], score[~world.member], fpr, confidence=0.9999)
        assert at.low <= tpr_ceiling_dp(fpr, epsilon, 0.0) <= at.high  # the curve is the ceiling itself


@pytest.mark.parametrize(("mu", "steps"), [(0.5, 3), (1.0, 20), (3.0, 50)])
def test_dp_sgd_is_as_private_as_its_accountant_says_and_no_more(mu: float, steps: int) -> None:
    """The canaries' logits under the last model are N(0, s^2) without and N(mu s, s^2) with the canary, to the letter."""
    world = worlds.dp_sgd(mu, n=20_000, steps=steps, shadows=1)
    score = signals.phi(world.evidence.target, world.evidence.audited_labels)
    ins, outs = score[world.member], score[~world.member]
    spread = outs.std()
    assert kstest(outs / spread, norm.cdf).pvalue > 1e-4
    assert kstest(ins / spread, norm(mu).cdf).pvalue > 1e-4
    _, low, high = auc_interval(ins, outs, confidence=0.9999)
    assert low <= norm.cdf(mu / np.sqrt(2)) <= high
    at = tpr_at_fpr(ins, outs, 0.01, confidence=0.9999)
    assert at.low <= tpr_ceiling_gdp(0.01, mu) <= at.high


def test_attacks_find_all_that_dp_sgd_gives_away() -> None:
    world = worlds.dp_sgd(1.5, n=4000, shadows=32, overlapping=True)
    for attack in (LiRA(), LiRA("offline"), RMIA(), Threshold("phi")):
        assert area(attack, world) == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.035)


TRIALS = 200
KNOWN = {
    **{f"randomised response {e}": (worlds.randomised_response, e, e, 2 * norm.ppf(expit(e))) for e in (0.5, 1.0, 3.0)},
    **{f"DP-SGD {m}": (worlds.dp_sgd, m, epsilon_from_mu(m, 1e-5), m) for m in (0.5, 1.0, 2.0)},
}
# share of the truth that the median bound reaches at least, with 4000 canaries
NEAR = {
    "randomised response 0.5": {"epsilon, split": 0.6, "epsilon, one run": 0.5},
    "randomised response 1.0": {"epsilon, split": 0.75, "epsilon, one run": 0.7},
    "randomised response 3.0": {"epsilon, split": 0.85, "epsilon, one run": 0.8},
    "DP-SGD 0.5": {"mu, split": 0.6, "mu, one run": 0.5},
    "DP-SGD 1.0": {"mu, split": 0.75, "mu, one run": 0.5},
    "DP-SGD 2.0": {"mu, split": 0.8, "mu, one run": 0.5},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_bounds_stay_below_the_truth_and_come_near(name: str) -> None:
    """Exceeded in at most 5 % of the trials: no more of 200 than chance explains once in 1000 for 36 bounds together."""
    make, argument, epsilon, mu = KNOWN[name]
    found: dict[str, list[float]] = {}
    for seed in range(TRIALS):
        world = make(argument, n=4000, shadows=1, seed=seed)
        score = signals.phi(world.evidence.target, world.evidence.audited_labels)
        bounds = certified_bounds(score, world.member, seed=seed) | one_run_bounds(score, world.member, seed=seed)
        for which, bound in bounds.items():
            found.setdefault(which, []).append(bound / (epsilon if which.startswith("epsilon") else mu))
    for which, ratios in found.items():
        assert sum(ratio > 1 for ratio in ratios) <= most_allowed(TRIALS, 6 * len(KNOWN)), which
    for which, share in NEAR[name].items():
        assert np.median(found[which]) >= share, (which, np.median(found[which]))


def test_dp_sgd_refuses_what_is_no_mechanism() -> None:
    for mu, steps in ((0.0, 5), (-1.0, 5), (float("nan"), 5), (1.0, 0)):
        with pytest.raises(PlanError, match="mu above 0 and at least one step"):
            worlds.dp_sgd(mu, steps=steps)
