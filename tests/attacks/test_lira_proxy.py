from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, t

from miaudit.attacks import LiRA, plan_attacks
from miaudit.attacks.lira import class_proxy, likelihood_ratio
from miaudit.errors import DataError
from miaudit.evidence import Evidence
from miaudit.stats import auc, auc_interval

VARIANCES = ["nig", "per-example", "pooled"]


def apart(seed: int, *, n: int = 600, shadows: int = 8, leak: float = 1.0, classes: int = 3) -> tuple[Evidence, Any]:
    """Shadows that saw no audited record, and as many records of their own: half of each model's records gain ``leak``.

    A record's difficulty is its own (standard deviation 1) beside its class's, and every model adds noise of 0.5.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 2 * n)
    hard = labels - 1 + rng.standard_normal(2 * n)
    inside = np.zeros((1 + shadows, 2 * n), bool)
    inside[0, rng.permutation(n)[: n // 2]] = True
    for row in inside[1:]:
        row[n + rng.permutation(n)[: n // 2]] = True
    phi = hard + 0.5 * rng.standard_normal(inside.shape) + leak * inside
    p = 1 / (1 + np.exp(-phi))
    answers = np.repeat((1 - p)[..., None] / (classes - 1), classes, axis=2)
    np.put_along_axis(answers, labels[None, :, None], p[..., None], axis=2)
    asked = np.arange(n, 2 * n)[None].repeat(shadows, axis=0)
    own = Evidence(answers[0, :n], answers[1:, n:], inside[1:, n:], labels, asked=asked)
    return Evidence(answers[0, :n], answers[1:, :n], inside[1:, :n], labels[:n], own=own), inside[0, :n]


def naive(e: Evidence, variance: str) -> list[float]:
    """Record by record, with scipy's own distributions, signals written out."""

    def phi(answers: Any, label: Any) -> Any:
        p = np.asarray(np.take_along_axis(answers, np.asarray(label)[..., None], axis=-1)[..., 0], np.float64)
        return np.log(p / (1 - p))

    own = e.own
    assert own is not None
    target, shadows = phi(e.target, e.audited_labels), phi(e.shadows, np.broadcast_to(e.audited_labels, e.inside.shape))
    theirs, label = phi(own.shadows, own.shadow_labels)[own.inside], own.shadow_labels[own.inside]
    of_class = [theirs[label == c] for c in e.audited_labels]
    pools = [
        np.sqrt(sum(((g - g.mean()) ** 2).sum() for g in of) / sum(len(g) - 1 for g in of))
        for of in (of_class, shadows.T)
    ]
    middles = [np.mean([g.mean() for g in of]) for of in (of_class, shadows.T)]

    def law(values: Any, side: int) -> Any:
        if variance == "per-example":
            return norm(values.mean(), values.std(ddof=1))
        if variance == "pooled":
            return norm(values.mean(), pools[side])
        k, a = 1e-3 + len(values), 2.0 + len(values) / 2
        b = pools[side] ** 2 + ((values - values.mean()) ** 2).sum() / 2
        b += 1e-3 * len(values) * (values.mean() - middles[side]) ** 2 / (2 * k)
        return t(2 * a, (1e-3 * middles[side] + values.sum()) / k, np.sqrt(b * (k + 1) / (a * k)))

    return [law(of_class[i], 0).logpdf(target[i]) - law(shadows[:, i], 1).logpdf(target[i]) for i in range(len(target))]


@pytest.mark.parametrize("variance", VARIANCES)
def test_agrees_with_a_loop_over_records(variance: str) -> None:
    evidence, _ = apart(0, n=60)
    np.testing.assert_allclose(LiRA("proxy", variance).score(evidence), naive(evidence, variance), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("variance", VARIANCES)
def test_a_member_side_helps_where_records_differ_less_than_members_gain(variance: str) -> None:
    found: dict[str, list[float]] = {"proxy": [], "offline": []}
    for seed in range(3):
        evidence, member = apart(seed, n=2000, leak=3.0)
        for mode, areas in found.items():
            score = LiRA(mode, variance).score(evidence)
            areas.append(auc(score[member], score[~member]))
    assert np.mean(found["proxy"]) > 0.97
    assert np.mean(found["proxy"]) > np.mean(found["offline"]) - 0.01


@pytest.mark.parametrize("variance", VARIANCES)
def test_is_at_chance_where_the_target_saw_neither_side(variance: str) -> None:
    """The shadows memorise; the target's answers know nothing of the audited sides."""
    lows = 0
    for seed in range(60):
        evidence, member = apart(seed, n=200)
        nobody = evidence.replace(target=evidence.models[0])
        score = LiRA("proxy", variance).score(nobody)
        lows += auc_interval(score[member], score[~member]).low > 0.5
    assert lows <= 5  # of 60 at 2.5 %: exceeded once in 1,000


def test_a_class_with_few_training_rows_is_judged_by_all() -> None:
    rows, inside = np.arange(40.0).reshape(2, 20), np.ones((2, 20), bool)
    labels = np.zeros((2, 20), int)
    labels[0, :3] = 1
    side = class_proxy(rows, inside, labels, np.array([1.0, 2.0]), np.array([0, 1]))
    assert side.n.tolist() == [37, 40]
    assert side.mean[1] == rows.mean() - 2.0
    assert side.squares[1] == pytest.approx(((rows - rows.mean()) ** 2).sum())


def test_reads_training_rows_only_and_says_where_there_are_none() -> None:
    evidence, _ = apart(1, n=100)
    own = evidence.own
    assert own is not None
    others = np.asarray(own.shadows).copy()
    others[~own.inside] = 1 / 3
    changed = evidence.replace(own=own.replace(shadows=others))
    assert LiRA("proxy").score(changed).tolist() == LiRA("proxy").score(evidence).tolist()
    nothing = evidence.replace(own=own.with_inside(np.zeros_like(own.inside)))
    with pytest.raises(DataError, match="no shadow model was trained on a record it answered"):
        LiRA("proxy").run(nothing)


def test_the_proxy_takes_the_place_of_shadows_with_the_record() -> None:
    """Of overlapping shadows, too, class by class; records that no shadow left out are missing, others are not."""
    rng = np.random.default_rng(0)
    shadows, inside = rng.standard_normal((6, 50)), rng.random((6, 50)) < 0.5
    inside[:, 0] = True
    side = class_proxy(shadows, inside, np.zeros((6, 50), int), np.zeros(50), np.zeros(50, int))
    score, missing = likelihood_ratio(np.zeros(50), shadows, inside, proxy=side)
    assert np.flatnonzero(missing).tolist() == np.flatnonzero(inside.all(axis=0)).tolist()
    assert np.isfinite(score).all()


@pytest.mark.parametrize(
    ("design", "answered", "reason"),
    [
        ("disjoint", True, ""),
        ("overlapping", True, ""),
        ("disjoint", False, "the shadows did not answer the audited records"),
        ("offline", True, "no shadow was trained on a record it was asked about"),
    ],
)
def test_the_planner_knows_what_it_needs(design: Any, answered: bool, reason: str) -> None:
    planned = plan_attacks("probabilities", shadows=4, design=design, answered=answered, attacks=[LiRA("proxy")])[0]
    assert planned.runs == (not reason)
    assert not reason or planned.reason == reason
    assert planned.name == "lira proxy"
