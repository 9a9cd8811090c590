"""Attacks that need no attack model: a threshold on one signal, and the gap between train and test accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks.attack import (
    LABELS_ONLY,
    Attack,
    ClassModel,
    Scores,
    require,
    shadow_sides,
)
from miaudit.errors import PlanError, misfits
from miaudit.evidence import Bools, Evidence, Signal
from miaudit.signals import SIGNALS, OfLabels, SignalName, Upright
from miaudit.stats import roc


@dataclass(frozen=True)
class Threshold(Attack):
    """Call a record a member when one signal of the target passes a threshold.

    Yeom et al. (2018) with the loss; Song and Mittal (2021) with the others and ``per_class``. The threshold has the
    best balanced accuracy on the shadows' own rows; the target's members are never used (Yeom et al. take the mean
    training loss, which an attacker does not know). Without shadow rows of both sides a single threshold is not known:
    the signal still ranks, and nothing is decided.

    Evidence that is signals has its own in the place of the loss.

    Parameters
    ----------
    signal
        Which function of :mod:`miaudit.signals`; its sign is turned where members are low.
    per_class
        One threshold per true class. The score is then the distance from the record's own threshold, so that classes
        can be compared. A class whose shadow rows are all of one side takes the common threshold.
    """

    signal: SignalName = "loss"
    per_class: bool = False

    name: ClassVar[str] = "threshold"
    title: ClassVar[str] = "Threshold on a signal of the model, such as the loss"
    paper: ClassVar[str] = "Yeom et al. 2018; Song and Mittal 2021"
    when: ClassVar[Mapping[str, str]] = {
        "": "the baseline of every audit",
        "modified_entropy per-class": "classes that differ in difficulty",
    }
    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def demands(self) -> frozenset[str]:
        """Answers about classes for a signal other than the loss, in whose place evidence of signals has its own."""
        return self.needs | ({"classes"} if self.per_class or self.signal != "loss" else set())

    @property
    def least_shadows(self) -> int:
        """None where a common threshold would do: the ranking needs none. One for thresholds by class."""
        return 1 if self.per_class else 0

    def __post_init__(self) -> None:
        if problems := misfits(("signal", self.signal, SignalName)):
            raise PlanError(problems)

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Score by the signal and decide by the shadows' threshold; nothing is drawn, the seed plays no part."""
        require(self, evidence)
        notes = (LABELS_ONLY,) if evidence.target.ndim == 1 else ()
        score = evidence.signal(self._signal(evidence))[0].copy()
        if not self.per_class and (evidence.inside.all() or not evidence.inside.any()):
            unset = "no shadow rows of both sides to set a threshold by: it ranks and does not decide"
            return Scores(score, None, (*notes, unset))
        cuts, models = self._thresholds(evidence)
        cut = cuts[evidence.audited_labels] if self.per_class else cuts[0]
        # a class where no threshold beats chance has its cut above every shadow row; a finite one keeps scores finite
        return Scores(score - cut if self.per_class else score, score >= cut, notes, models)

    def scores_of(self, evidence: Evidence, others: Sequence[Evidence], *, seed: int = 0) -> list[NDArray[np.float64]]:
        """Judge all others' answers by the same thresholds; see :meth:`Attack.scores_of`."""
        require(self, evidence)
        signal = self._signal(evidence)
        cut = self._thresholds(evidence)[0][evidence.audited_labels] if self.per_class else 0.0
        return [other.signal(signal)[0] - cut for other in others]

    def _signal(self, evidence: Evidence) -> Signal:
        signal: Signal = evidence.measure or Upright(SIGNALS[self.signal])
        return OfLabels(signal, evidence.classes) if evidence.target.ndim == 1 else signal

    def _thresholds(self, evidence: Evidence) -> tuple[NDArray[np.float64], tuple[ClassModel, ...]]:
        """Return the threshold of each class, once for target and bystanders; without ``per_class`` the common one alone."""
        return evidence.once(self, lambda: self._cuts(evidence))

    def _cuts(self, evidence: Evidence) -> tuple[NDArray[np.float64], tuple[ClassModel, ...]]:
        shadow_score = evidence.signal(self._signal(evidence))[1].reshape(-1)
        inside, row_labels = shadow_sides(evidence), evidence.shadow_labels.reshape(-1)
        common = best_threshold(shadow_score, inside)
        if not self.per_class:
            return np.array([common]), ()
        cuts, models = np.full(evidence.classes, common), []
        for label in range(evidence.classes):
            of_class = row_labels == label
            n_in, n_out = int((inside & of_class).sum()), int((~inside & of_class).sum())
            if own := n_in > 0 and n_out > 0:
                cuts[label] = best_threshold(shadow_score[of_class], inside[of_class])
            models.append(ClassModel(label, "own" if own else "pooled", n_in, n_out))
        return cuts, tuple(models)


@dataclass(frozen=True)
class Gap(Attack):
    """Call a record a member when the target predicts its class rightly.

    The baseline of Yeom et al. (2018): balanced accuracy 1/2 + (train accuracy - test accuracy) / 2. Every other attack
    should beat it.
    """

    name: ClassVar[str] = "gap"
    title: ClassVar[str] = "Gap: a right prediction means member"
    paper: ClassVar[str] = "Yeom et al. 2018"
    when: ClassVar[Mapping[str, str]] = {"": "the floor that every attack must beat; labels suffice"}
    needs: ClassVar[frozenset[str]] = frozenset({"classes"})

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Score 1 where the prediction is right, else 0; nothing is drawn, the seed plays no part."""
        require(self, evidence)
        right = evidence.predicted == evidence.audited_labels
        return Scores(right.astype(np.float64), right)


def best_threshold(score: NDArray[np.float64], inside: Bools) -> float:
    """Return the cut with the best balanced accuracy of ``score >= cut``, midway between two scores seen.

    Where no cut beats chance it lies above every score: nobody is accused. Of equally good cuts the strictest is taken.
    """
    curve = roc(score[inside], score[~inside])
    best = int(np.argmax(curve.tpr - curve.fpr))
    if best == 0:
        return float(np.nextafter(curve.thresholds[1], np.inf))
    here = float(curve.thresholds[best])
    below = float(curve.thresholds[best + 1]) if best + 1 < len(curve.thresholds) else here
    middle = (here + below) / 2
    return middle if middle > below else here
