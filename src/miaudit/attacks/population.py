"""Attacks that count: how much of a population, or how many models, the target's loss on a record beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks.attack import Attack, Scores, require, with_missing
from miaudit.attacks.moments import resolved_rows, sides
from miaudit.evidence import Evidence, Ints
from miaudit.signals import Loss, Upright

Array = NDArray[np.float64]
_LEAST_OF_CLASS = 20  # records of a class, below which it has no thresholds of its own


def share(count: Array | Ints, total: Array | int, statistic: Array) -> Array:
    """Turn a count into a score without ties: (count + rising function of the statistic) / (total + 1), in (0, 1).

    Counts take few values, and the strongest members all reach the largest; among equal counts the continuous
    ``statistic`` decides. Off the plain share by less than 1 / (total + 1). The function, (1 + x / (1 + |x|)) / 2, is flat
    nowhere within reach of a logarithm of probabilities, where a sigmoid is 1.0 from 37 on and would tie the records at
    the top.
    """
    return np.asarray((count + (1 + statistic / (1 + np.abs(statistic))) / 2) / (total + 1.0), np.float64)


def _in_units(statistic: Array) -> Array:
    """Return a signal in units of its median size, where `share` would be flat at its own: signals may be of any scale.

    Those of about the size of logarithms stay as they are, so that logarithms of probabilities score as the probabilities.
    """
    size = np.abs(statistic)
    unit = float(np.median(size[size > 0])) if size.any() else 1.0
    return statistic if 1e-3 < unit < 1e3 else statistic / unit


@dataclass(frozen=True)
class AttackP(Attack):
    """Attack P of Ye et al. (2022, section 4.3): the share of a population on which the target has at least this loss.

    One minus the score is a p-value where population and non-members are alike: calling a member where the score is
    at least 1 - f has a false-positive rate of about f. Needs no shadow models. Our deviations: equal losses count half
    (whole in the paper), and equal counts are parted by the loss itself, so the ranking is that of the loss.

    Parameters
    ----------
    per_class
        Count among the records of the same class, so that each class has thresholds of its own (Song and Mittal 2021 set them
        on shadow models); all records where the population has fewer than 20 of the class.
    """

    per_class: bool = False

    name: ClassVar[str] = "attack-p"
    title: ClassVar[str] = "Attack-P: loss against that of other records"
    paper: ClassVar[str] = "Ye et al. 2022"
    when: ClassVar[Mapping[str, str]] = {
        "": "no shadow models, and a false positive rate to aim at",
        "per-class": "no shadow models, and classes that differ in difficulty",
    }
    needs: ClassVar[frozenset[str]] = frozenset({"signal", "population"})

    @property
    def demands(self) -> frozenset[str]:
        """Answers about classes, where each has thresholds of its own."""
        return self.needs | ({"classes"} if self.per_class else set())

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Score by the share of the population; nothing is drawn, the seed plays no part."""
        require(self, evidence)
        return Scores(self._share(evidence, evidence))

    def scores_of(self, evidence: Evidence, others: Sequence[Evidence], *, seed: int = 0) -> list[Array]:
        """Count all others' losses among the target's on the population; see :meth:`Attack.scores_of`."""
        require(self, evidence)
        return [self._share(evidence, other) for other in others]

    def _share(self, evidence: Evidence, judged: Evidence) -> Array:
        assert evidence.population is not None
        signal = evidence.measure or Upright(Loss())
        loss = -signal(judged.target, judged.audited_labels)
        others, labels = -signal(evidence.population.target, evidence.population.labels), evidence.population.labels
        below = _below(others, loss)  # (n,) the share of the population with less loss
        for label in np.unique(labels) if self.per_class else ():
            if (of_class := labels == label).sum() >= _LEAST_OF_CLASS:
                audited = judged.audited_labels == label
                below[audited] = _below(others[of_class], loss[audited])
        # by its logarithm, which tells losses near 0 apart where the count has used up the digits
        finer = -np.log(np.maximum(loss, 1e-300)) if evidence.measure is None else _in_units(-loss)
        return share(len(others) * (1 - below), len(others), finer)


def _below(others: Array, loss: Array) -> Array:
    """(n,) The share of others that lies below each loss, equal ones half."""
    others = np.sort(others)
    sides = (np.searchsorted(others, loss, side=side) for side in ("left", "right"))
    return np.asarray(sum(sides) / (2 * len(others)), np.float64)


@dataclass(frozen=True)
class AttackR(Attack):
    """Attack R of Ye et al. (2022, section 4.4): the share of models not trained on the record with at least its loss.

    The count alone takes R + 1 values for R models, so that no false-positive rate below 1 / R can be aimed at. Our
    deviations: among equal counts the mean loss of those models less the target's decides (the paper interpolates), equal
    losses count half (whole in the paper), and an answered probability of 0 counts as the answers' resolution
    (`signals.resolution`), which those means need.
    """

    name: ClassVar[str] = "attack-r"
    title: ClassVar[str] = "Attack-R: loss against models without the record"
    paper: ClassVar[str] = "Ye et al. 2022"
    when: ClassVar[Mapping[str, str]] = {"": "a p-value for every record"}
    needs: ClassVar[frozenset[str]] = frozenset({"signal", "shadows", "overlapping"})

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Score by the share of the models; nothing is drawn, the seed plays no part."""
        require(self, evidence)
        target, shadows = resolved_rows(evidence, "loss")  # negated losses
        _, outside = sides(target, shadows, evidence.inside)
        count = np.zeros(evidence.n)
        for row, inside in zip(shadows, evidence.inside, strict=True):
            count += np.where(inside, 0.0, (row < target) + 0.5 * (row == target))
        finer = -outside.mean if evidence.measure is None else _in_units(-outside.mean)
        score = share(count, outside.n, finer)
        return with_missing(score, outside.n == 0, "every shadow model was trained on them")
