"""Difficulty calibration: how much better the target does on a record than models that never saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from miaudit.attacks.attack import Attack, Scores, require, with_missing
from miaudit.attacks.moments import ResolvedSignal, resolved_rows, sides, signal_rows
from miaudit.errors import PlanError, misfits
from miaudit.evidence import Evidence
from miaudit.signals import SIGNALS, SignalName, Upright

Mode = Literal["offline", "online"]


@dataclass(frozen=True)
class Calibration(Attack):
    """The target's signal less what is usual for the record.

    *Offline*, Watson et al. (2022, section 4): s(x) - mean of s over the shadows not trained on x. *Online*,
    Sablayrolles et al. (2019, "MALT"): s(x) - tau(x), with tau midway between the means of the shadows trained on x and
    of those not. Both papers take s = -loss; phi does better at low false-positive rates (Carlini et al. 2022,
    table II). Our deviation: an answered probability of 0 counts as the answers' resolution (`signals.resolution`); the
    differences of a forest's losses would else be those of 1e-30. Evidence that is signals has its own in the place of the
    loss.

    Parameters
    ----------
    mode
        ``"offline"`` or ``"online"``.
    signal
        Which function of :mod:`miaudit.signals`; its sign is turned where members are low.
    """

    mode: Mode = "offline"
    signal: SignalName = "loss"

    name: ClassVar[str] = "calibration"
    title: ClassVar[str] = "Calibration: loss against that of shadow models"
    paper: ClassVar[str] = "Watson et al. 2022; Sablayrolles et al. 2019"
    when: ClassVar[Mapping[str, str]] = {"": "records that differ in difficulty; one shadow model does"}
    needs: ClassVar[frozenset[str]] = frozenset({"signal", "shadows", "overlapping"})

    def __post_init__(self) -> None:
        if problems := misfits(("calibration.mode", self.mode, Mode), ("calibration.signal", self.signal, SignalName)):
            raise PlanError(problems)

    @property
    def demands(self) -> frozenset[str]:
        """Class probabilities for a signal other than the loss, in whose place evidence of signals has its own."""
        return self.needs | ({"probabilities"} if self.signal != "loss" else set())

    @property
    def least_shadows(self) -> int:
        """One, or two with both sides."""
        return 2 if self.mode == "online" else 1

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Score by the calibrated signal; nothing is drawn, the seed plays no part."""
        require(self, evidence)
        if self.signal in get_args(ResolvedSignal):
            target, shadows = resolved_rows(evidence, self.signal)  # type: ignore[arg-type]
        else:
            target, shadows = signal_rows(evidence, Upright(SIGNALS[self.signal]))
        inside, outside = sides(target, shadows, evidence.inside)
        if self.mode == "offline":
            score, missing, why = -outside.mean, outside.n == 0, "every shadow model was trained on them"
        else:
            score, missing = -(inside.mean + outside.mean) / 2, (inside.n == 0) | (outside.n == 0)
            why = "no shadow model with them, or none without them"
        # signals may be of any scale, and the differences of equal ones are 0
        unit = float(np.exp2(np.frexp(np.abs(score).max())[1]))  # a power of two, which divides without an error
        return with_missing(score, missing, why, unit=unit)
