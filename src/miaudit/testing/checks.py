"""Checks that an attack keeps its promises, for authors of attacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks import Attack, Scores
from miaudit.evidence import Probes
from miaudit.stats import auc, auc_interval
from miaudit.testing import worlds
from miaudit.testing.contracts import require
from miaudit.testing.worlds import World


def check_attack(attack: Attack) -> None:
    """Run an attack over the worlds with known answers.

    Parameters
    ----------
    attack
        A configured attack. It is given overlapping shadows if it needs them, else shadows with records of their own.

    Raises
    ------
    AssertionError
        If a score is missing, not float64 or not finite; if equal seeds differ; if the evidence is changed; if the
        order of the audited records matters; if members of a memorising model score low; or if a leak is found where
        there is none.
    """
    overlapping = "overlapping" in attack.needs
    world = worlds.memoriser(overlapping=overlapping)
    before = [array.copy() for array in (world.evidence.target, world.evidence.shadows, world.evidence.inside)]
    scores = _run(attack, world)
    after = [world.evidence.target, world.evidence.shadows, world.evidence.inside]
    require(
        all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)), f"{attack.name} changed the evidence"
    )
    again = _run(attack, world)
    require(np.array_equal(scores.score, again.score), f"{attack.name} gives other scores under the same seed")
    require(np.array_equal(attack.score(world.evidence), scores.score), f"{attack.name}.score is not the score of .run")
    _same_in_any_order(attack, world, scores)
    area = auc(scores.score[world.member], scores.score[~world.member])
    require(
        area > 0.7,
        f"{attack.name} has area {area:.3f} on a model that memorises; members must score higher (0.7 asked)",
    )

    # so many coin flips that every record has shadows with it and without it
    silent = worlds.constant(shadows=24 if overlapping else 6, overlapping=overlapping)
    score = _run(attack, silent).score
    area, low, high = auc_interval(score[silent.member], score[~silent.member], confidence=0.9999)
    reads_records = "features" in attack.needs  # then equal answers need not give equal scores
    require(
        low <= 0.5 <= high if reads_records else abs(area - 0.5) < 1e-9,
        f"{attack.name} has area {area} where every answer is the same; 0.5 is right",
    )

    for seed in range(3):
        fair = worlds.exchangeable(seed, overlapping=overlapping)
        score = _run(attack, fair).score
        value, low, high = auc_interval(score[fair.member], score[~fair.member], confidence=0.9999)
        require(
            low <= 0.5 <= high,
            f"{attack.name} has area {value:.3f} [{low:.3f}, {high:.3f}] where members and non-members are alike",
        )


def _run(attack: Attack, world: World) -> Scores:
    scores = attack.run(world.evidence, seed=0)
    n, score, decision = world.evidence.n, scores.score, scores.decision
    require(
        isinstance(score, np.ndarray) and score.shape == (n,) and score.dtype == np.float64,
        f"{attack.name} must give ({n},) float64 scores, got {np.shape(score)} {getattr(score, 'dtype', type(score))}",
    )
    require(bool(np.isfinite(score).all()), f"{attack.name} gives NaN or infinite scores")
    missing = scores.missing
    require(
        missing is None or (missing.shape == (n,) and missing.dtype == np.bool_ and bool(missing.any())),
        f"{attack.name} must mark missing records by ({n},) bool, or give None where there is none",
    )
    require(
        decision is None or (decision.shape == (n,) and decision.dtype == np.bool_),
        f"{attack.name} must decide by ({n},) bool or not at all",
    )
    return scores


def _same_in_any_order(attack: Attack, world: World, scores: Scores) -> None:
    evidence = world.evidence
    order = np.random.default_rng(np.random.SeedSequence(1)).permutation(evidence.n)
    changes: dict[str, Any] = {
        "target": evidence.target[order],
        "labels": np.concatenate([evidence.audited_labels[order], evidence.labels[evidence.n :]]),
    }
    if evidence.features is not None:
        changes["features"] = evidence.features[order]
    if evidence.trace is not None:
        changes["trace"] = evidence.trace[order]
    if evidence.probes is not None:
        changes["probes"] = _in_order(evidence.probes, order, shadows=evidence.asked is None)
    if evidence.asked is None:
        changes |= {"shadows": evidence.shadows[:, order], "inside": evidence.inside[:, order]}
    tolerance = 0.05 if evidence.asked is None else 1e-6  # training on shadow rows may follow their order
    turned = evidence.replace(**changes)
    again = attack.run(turned, seed=0).score
    require(
        bool(np.allclose(again, scores.score[order], rtol=0, atol=tolerance)),
        f"{attack.name} scores a record by its place among the audited ones",
    )


def _in_order(probes: Probes, order: NDArray[np.int64], *, shadows: bool) -> Probes:
    changes = {name: array[order] for name in ("votes", "distances") if (array := getattr(probes, name)) is not None}
    for name in ("shadow_votes", "shadow_distances") if shadows else ():
        if (array := getattr(probes, name)) is not None:
            changes[name] = array[:, order]
    return replace(probes, **changes)
