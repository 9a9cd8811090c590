"""In/out decisions of attacks that rank: a cut learned with shadows in the target's place."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks.attack import Attack, Scores, require
from miaudit.attacks.threshold import best_threshold
from miaudit.errors import DataError
from miaudit.evidence import Evidence

STAND_INS = 4
"""Shadows put in the target's place: their cuts vary little, and each costs the attack once more."""

_NO_CUT = "it ranks and does not decide: "


def stand_ins(evidence: Evidence, *, most: int = STAND_INS) -> list[int]:
    """Return the first shadows, at most ``most``, that were trained on some of the audited records and not on others."""
    if evidence.asked is not None or len(evidence.models) < 2:
        return []
    return [j for j, inside in enumerate(evidence.inside) if inside.any() and not inside.all()][:most]


def decided(scores: Scores, rank: Callable[[Evidence], Scores], evidence: Evidence, *, least_shadows: int) -> Scores:
    """Return the scores with a decision: the cut of best balanced accuracy on shadows in the target's place.

    Parameters
    ----------
    scores
        What ``rank`` says of the target.
    rank
        The attack without its decision.
    evidence
        As the attack reads it. Shadows that were trained on no audited record give no cut: one learned on their own records
        does not carry over to the audited ones (false-positive rates of 0.03 to 7.7 % where 1 % was aimed at).
    least_shadows
        Fewest the ranking needs; one more stands in.
    """
    models = stand_ins(evidence)
    if not models:
        return _undecided(scores, "no shadow was trained on audited records, so that none shows where to cut")
    if len(evidence.models) <= least_shadows:
        return _undecided(scores, f"a cut needs {least_shadows + 1} shadow models, one of them in the target's place")
    values, members = [], []
    for j in models:
        try:
            trial = rank(evidence.stand_in(j))
        except DataError:  # of the others, no two were trained with or without any record
            continue
        usable = np.ones(evidence.n, bool) if trial.missing is None else ~trial.missing
        values.append(trial.score[usable])
        members.append(evidence.inside[j][usable])
    value, member = (np.concatenate(each) if each else np.empty(0) for each in (values, members))
    if not len(value) or member.all() or not member.any():
        return _undecided(scores, "the shadow models are too few to put one in the target's place")
    return dataclasses.replace(scores, decision=scores.score >= best_threshold(value, member.astype(bool)))


class Ranking(Attack):
    """An attack that ranks records with nothing drawn, and decides by shadows in the target's place."""

    @abstractmethod
    def ranked(self, evidence: Evidence) -> Scores:
        """Return the scores of the records, without a decision."""

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Score, and decide by shadows in the target's place; nothing is drawn, the seed plays no part."""
        require(self, evidence)
        return decided(self.ranked(evidence), self.ranked, evidence, least_shadows=self.least_shadows)

    def scores_of(self, evidence: Evidence, others: Sequence[Evidence], *, seed: int = 0) -> list[NDArray[np.float64]]:
        """Score each other model, and decide nothing; see :meth:`Attack.scores_of`."""
        return [self.ranked(require(self, other)).score for other in others]


def _undecided(scores: Scores, why: str) -> Scores:
    return dataclasses.replace(scores, notes=(*scores.notes, _NO_CUT + why))
