"""Questions: frozen values that say what each record is asked beside itself, and of whose answers only the labels are heeded.

An attack names the questions that it reads (`miaudit.attacks.Attack.questions`); an audit asks them of the target, and of the
shadow models those that do not depend on earlier answers. `miaudit.probes` knows how each is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import not_real, not_whole, refuse

_OCTAVES = 5  # the weakest noise is 2 ** -5 of the strongest


@dataclass(frozen=True)
class Votes:
    """Is the label right on variants of the record? Answered with `Probes.votes`.

    Parameters
    ----------
    queries
        Variants of each record; the first is the record itself.
    noise
        Level of the strongest variant in (0, 1], see :func:`miaudit.probes.variant`; the others' rise geometrically to it.
    mirror
        Whether variants of images are mirrored by a coin; not for digits.

    Raises
    ------
    PlanError
        If a number is out of range.
    """

    queries: int = 32
    noise: float = 0.5
    mirror: bool = False

    kind: ClassVar[Literal["votes"]] = "votes"

    def __post_init__(self) -> None:
        refuse(not_whole(("queries", self.queries), least=2), not_real(("noise", self.noise), above=0, most=1))

    def __str__(self) -> str:  # rows of answers are kept under it
        return f"votes queries={self.queries} noise={self.noise!r} mirror={self.mirror}"

    def levels(self) -> NDArray[np.float64]:
        """Return the (queries,) levels of the variants, 0 for the record itself."""
        steps = np.linspace(-_OCTAVES, 0, self.queries - 1) if self.queries > 2 else np.zeros(1)
        return np.concatenate([[0.0], self.noise * 2.0**steps])


@dataclass(frozen=True)
class Walk:
    """How far is the nearest change of label? Answered with `Probes.distances`, after a walk on the decision boundary.

    Each answer decides what is asked next, so that shadow models are not asked.

    Parameters
    ----------
    queries
        Questions about each record, at most.

    Raises
    ------
    PlanError
        If they are fewer than 2.
    """

    queries: int = 500

    kind: ClassVar[Literal["boundary"]] = "boundary"

    def __post_init__(self) -> None:
        refuse(not_whole(("queries", self.queries), least=2))

    def __str__(self) -> str:
        return f"boundary queries={self.queries}"


Question = Votes | Walk
