"""The loss trace: how far a record's loss moved while the target was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from miaudit.attacks.attack import Attack, Scores, require
from miaudit.errors import DataError, PlanError, misfits
from miaudit.evidence import Evidence

Measure = Literal["iqr", "fall"]

_LEAST = 4  # stages, below which there are no quartiles


@dataclass(frozen=True)
class LossTrace(Attack):
    """The loss-trace interquartile range (LT-IQR) of Pollock, Shilov, Dodd and de Montjoye (2025).

    The score of a record is the interquartile range of its loss over the stages of the target's training: of a record that
    is learned early the loss is low at nearly all stages, of one that is memorised it falls far and late. Boosted trees keep
    all their stages in the trained model, so that nothing need be saved while they are trained; whoever audits needs the model
    itself.

    Deviations: the paper ranks the training records of networks by how vulnerable they are to LiRA; here members are ranked
    against others. The loss of other records moves, too: it rises where the model grows surer of a wrong class. So the range
    counts as below zero where the last loss is above the first.

    Parameters
    ----------
    measure
        ``"iqr"``, the range; or ``"fall"`` (ours): the first loss less the last, the loss calibrated by what the model said of
        the record when it had hardly learned anything.
    """

    measure: Measure = "iqr"

    name: ClassVar[str] = "loss-trace"
    title: ClassVar[str] = "Loss trace: how far the loss fell while the target was trained"
    paper: ClassVar[str] = "Pollock et al. 2025"
    when: ClassVar[Mapping[str, str]] = {"": "boosted trees at hand, and no shadow models"}
    needs: ClassVar[frozenset[str]] = frozenset({"trace"})

    def __post_init__(self) -> None:
        if problems := misfits(("loss-trace.measure", self.measure, Measure)):
            raise PlanError(problems)

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Score by the trace; nothing is drawn, the seed plays no part. It ranks and does not decide."""
        require(self, evidence)
        assert evidence.trace is not None
        trace = evidence.trace.astype(np.float64)
        if trace.shape[1] < _LEAST:
            raise DataError(f"loss-trace needs the losses of at least {_LEAST} stages, got {trace.shape[1]}")
        fall = trace[:, 0] - trace[:, -1]
        notes = (
            f"it reads the target's loss after {trace.shape[1]} stages of its training: its attacker holds the model itself",
        )
        if self.measure == "fall":
            return Scores(fall, None, notes)
        low, high = np.quantile(trace, [0.25, 0.75], axis=1)
        return Scores((high - low) * np.where(fall < 0, -1.0, 1.0), None, notes)
