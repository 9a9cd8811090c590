"""An attack on targets that answer labels alone, from many questions about each record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks.attack import Attack, Scores, require, with_missing
from miaudit.attacks.threshold import best_threshold
from miaudit.errors import DataError, PlanError, counted, misfits, section
from miaudit.evidence import Bools, Evidence
from miaudit.evidence.questions import Question, Votes, Walk

Kind = Literal["votes", "boundary"]
Number = NDArray[np.float64]


@dataclass(frozen=True)
class LabelOnly(Attack):
    """Call a record a member when its right label holds out against change of the record.

    Choquette-Choo, Tramer, Carlini and Papernot (2021). With ``"votes"`` the score is the share of right labels over
    variants of the record; with ``"boundary"`` it is the distance to the nearest change of label (HopSkipJump), 0 where the
    record itself is answered wrongly. The questions (`miaudit.evidence.questions`) are asked beforehand, by
    :func:`miaudit.probes.probe`; the attack reads their answers from the evidence's ``probes``.

    Where the shadows answered the same questions about the audited records, each record's score is lessened by the mean of
    the shadows that were not trained on it (as Watson et al. 2022 calibrate the loss), and the threshold has the best balanced
    accuracy on the shadows' own rows, each calibrated by the other shadows. Where the shadows answered about records of
    their own, only the threshold is theirs. Without shadows it ranks and does not decide. The paper trains a small net on
    the vector of right and wrong answers; the mean differs from it in that no answer counts more than another.

    Parameters
    ----------
    kind
        ``"votes"`` or ``"boundary"``.
    queries
        Questions about each record, at most; votes ask exactly so many. Boundaries want hundreds.
    noise
        Of votes: level of the strongest variant in (0, 1], see :func:`miaudit.probes.variant`. The first question is the
        record itself; the others' levels rise geometrically from 1/32 of this one, so that records of any robustness are told
        apart without tuning (the paper tunes one level on a shadow model).
    mirror
        Of votes: whether variants of images are mirrored by a coin; not for digits.
    calibrate
        Whether to lessen the score by what the shadows say of the record.
    """

    kind: Kind = "votes"
    queries: int = 32
    noise: float = 0.5
    mirror: bool = False
    calibrate: bool = True

    name: ClassVar[str] = "label-only"
    title: ClassVar[str] = "Label-only: how robust the right label is"
    paper: ClassVar[str] = "Choquette-Choo et al. 2021; Chen et al. 2020"
    when: ClassVar[Mapping[str, str]] = {"": "the target answers labels only and may be asked often"}
    needs: ClassVar[frozenset[str]] = frozenset({"classes", "probes"})

    def __post_init__(self) -> None:
        problems = misfits(("kind", self.kind, Kind))
        with section("", problems):
            Votes(self.queries, self.noise, self.mirror)  # the limits of both kinds
        if problems:
            raise PlanError(problems)

    @property
    def questions(self) -> tuple[Question, ...]:
        """The one question whose answers it reads."""
        return (Walk(self.queries) if self.kind == "boundary" else Votes(self.queries, self.noise, self.mirror),)

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Score by the answers to the probes; nothing is drawn here, the seed plays no part."""
        require(self, evidence)
        value, rows = self._values(evidence)  # (n,), (m, r)
        assert evidence.probes is not None
        spent = evidence.probes.queries
        queries = counted(spent, "query was", "queries were")
        note = (f"{queries} spent on the target, {self.queries:,} a record at most",)
        inside = evidence.inside
        if rows is None or not rows.size:
            return Scores(value, None, (*note, "no shadow answered the probes: it ranks and does not decide"))
        if evidence.asked is not None or not self.calibrate:
            return Scores(value, _above(value, rows, inside), note)
        outs = (~inside).sum(axis=0)  # (n,)
        total = np.where(inside, 0.0, rows).sum(axis=0)
        score = value - total / np.maximum(outs, 1)
        others = outs - ~inside  # (m, n), of each shadow the others that were not trained on the record
        # rounded as the scores are
        own = (rows - (total - np.where(inside, 0.0, rows)) / np.maximum(others, 1)).round(12)
        scores = with_missing(score, outs == 0, "every shadow model was trained on them", note)
        usable = others > 0
        return dataclasses.replace(scores, decision=_above(scores.score, own[usable], inside[usable]))

    def _values(self, evidence: Evidence) -> tuple[Number, Number | None]:
        probes = evidence.probes
        assert probes is not None
        if self.kind == "votes":
            if probes.votes is None:
                raise DataError("label-only by votes needs the answers on variants of the records (probes.votes)")
            rows = None if probes.shadow_votes is None else probes.shadow_votes.mean(axis=2)
            return probes.votes.mean(axis=1), rows
        if probes.distances is None:
            raise DataError("label-only by boundary needs distances to the decision boundary (probes.distances)")
        rows = None if probes.shadow_distances is None else probes.shadow_distances.astype(np.float64)
        return probes.distances.astype(np.float64), rows


def _above(score: Number, rows: Number, inside: Bools) -> Bools | None:
    """Decide by the shadows' best threshold; None where their rows are of one side only."""
    rows, inside = rows.reshape(-1), inside.reshape(-1)
    if inside.all() or not inside.any():
        return None
    return np.asarray(score >= best_threshold(rows, inside))
