"""The attack of ML-Leaks: one shadow model, one attack model for all classes, the largest probabilities only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks.attack import Attack, Scores, require
from miaudit.attacks.net import Net, Training, fit
from miaudit.errors import DataError, not_real, not_whole, refuse
from miaudit.evidence import Evidence, Floats
from miaudit.seeds import generator


@dataclass(frozen=True, eq=False)
class SalemModel:
    """A trained attack model; it judges outputs of any task, whatever the number of classes."""

    net: Net
    top: int

    def score(self, outputs: Floats) -> NDArray[np.float64]:
        """Return (n,) probabilities of "in" for (n, c) outputs; with fewer classes than were learned on, 0 follows."""
        return self.net.probability(_largest(outputs, self.top))


@dataclass(frozen=True)
class Salem(Attack):
    """Salem et al. (2019): adversary 1, and adversary 2 by :meth:`fit` on the evidence of another task.

    The rows of one shadow model, in or out, are learned by one network of 64 ReLU units from the three largest
    probabilities in falling order; classes and labels play no part. Adversary 2 learns on a shadow of another task and
    judges this one: ``Salem().fit(other).score(evidence.target)``. Optimiser and epochs, on which the paper is silent,
    are those of :class:`miaudit.attacks.Shokri`.

    Parameters
    ----------
    top
        How many probabilities; no more than there are classes are used.
    shadow
        Number of the shadow model to learn from.
    hidden, epochs, batch, learning_rate, l2
        The network and its training.
    """

    top: int = 3
    shadow: int = 0
    hidden: int = 64
    epochs: int = 30
    batch: int = 128
    learning_rate: float = 0.005
    l2: float = 1e-3

    name: ClassVar[str] = "salem"
    title: ClassVar[str] = "ML-Leaks: one shadow model, largest probabilities"
    paper: ClassVar[str] = "Salem et al. 2019"
    when: ClassVar[Mapping[str, str]] = {"": "a single shadow model"}
    needs: ClassVar[frozenset[str]] = frozenset({"probabilities", "shadows", "inside"})
    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        counts = ("top", "hidden", "epochs", "batch")
        refuse(
            not_whole(*((f"salem.{field}", getattr(self, field)) for field in counts)),
            not_whole(("salem.shadow", self.shadow), least=0),
            not_real(("salem.learning_rate", self.learning_rate), above=0),
            not_real(("salem.l2", self.l2), least=0),
        )

    @property
    def least_shadows(self) -> int:
        """As many as it takes for the chosen one to be there."""
        return self.shadow + 1

    def fit(self, evidence: Evidence, *, seed: int = 0) -> SalemModel:
        """Train the attack model on the shadow's rows.

        Raises
        ------
        DataError
            If there is no such shadow, or all its rows are of one side.
        """
        require(self, evidence)
        rows, inside = evidence.models[self.shadow], evidence.inside[self.shadow]
        if inside.all() or not inside.any():
            raise DataError(
                f"salem learns from rows of both sides; of {inside.size:,} rows of shadow {self.shadow} "
                f"{int(inside.sum()):,} are of training records"
            )
        top = min(self.top, evidence.classes)
        training = Training(
            hidden=self.hidden, epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate, l2=self.l2
        )
        inputs = _largest(rows, top)
        return SalemModel(fit(lambda _: (inputs, inside), [len(inputs)], [generator(seed, "salem")], training)[0], top)

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Train on the shadow's rows and judge the target's answers; see :class:`Attack`."""
        score = self.fit(evidence, seed=seed).score(evidence.target)
        return Scores(score, score > 0.5)

    def scores_of(self, evidence: Evidence, others: Sequence[Evidence], *, seed: int = 0) -> list[NDArray[np.float64]]:
        """Judge all others' answers by one attack model; see :meth:`Attack.scores_of`."""
        model = self.fit(evidence, seed=seed)
        return [model.score(other.target) for other in others]


def _largest(outputs: NDArray[Any], top: int) -> NDArray[np.float32]:
    """(n, top) largest outputs in falling order, 0 where there are fewer."""
    x = -np.sort(-outputs.astype(np.float32), axis=1)[:, :top]
    return np.pad(x, ((0, 0), (0, top - x.shape[1])))
