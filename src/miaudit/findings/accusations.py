"""Whom the attack that leads could name, so that few of those named are non-members."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit import stats
from miaudit.attacks import Scores
from miaudit.evidence import Bools
from miaudit.findings.claims import CONFIDENCE
from miaudit.findings.unit import DEPENDENT, Unit
from miaudit.result import Accusations
from miaudit.seeds import child_seed


def accusations_of(
    name: str, scores: Scores, member: Bools, unit: Unit, *, seed: int, q: float = stats.FALSE_DISCOVERY_RATE
) -> tuple[Accusations, NDArray[Any]]:
    """Return the list of the attack's accusations, and (n,) whether each record is on it; None where it was not judged.

    Records that the attack could not score are not judged, nor those that do not count. People are judged as one where they are
    counted. There is no list of records of people with several, as they are no independent draws.
    """
    if scores.missing is not None:
        unit = replace(unit, counted=unit.counted & ~scores.missing)
    accused = np.full(len(member), None, object)
    sides = [member & unit.counted, ~member & unit.counted]
    draws = unit.independent(scores.score, member, seed=seed) if all(side.any() for side in sides) else None
    if draws is None:
        reason = DEPENDENT if unit.dependent else "the attack could not score any record of one side"
        return _none(name, q, unit, reason), accused
    accusations = stats.accuse(draws.inside, draws.outside, q, seed=child_seed(seed, "set apart"))
    if accusations.reason is not None:
        return _none(name, q, unit, accusations.reason), accused
    judged = np.ones(len(draws.inside), bool), ~accusations.apart_out
    for side, called, p_values in zip(sides, (accusations.named_in, accusations.named_out), judged, strict=True):
        of = (
            np.arange(len(called))
            if unit.name == "record" or unit.people is None
            else stats.numbered(unit.people[side])
        )
        accused[np.flatnonzero(side)[p_values[of]]] = called[of][p_values[of]]
    counts = stats.rank_counts(draws.inside, draws.outside)
    share = stats.nameable(counts, len(draws.inside), 1 - q, confidence=CONFIDENCE)
    ends = {"share": share.value, "share_low": share.low, "share_high": share.high}
    return Accusations.of(accusations, attack=name, unit=unit.name, **ends), accused


def _none(name: str, q: float, unit: Unit, reason: str) -> Accusations:
    return Accusations(attack=name, q=q, unit=unit.name, named=None, of_members=None, false=None, reason=reason)
