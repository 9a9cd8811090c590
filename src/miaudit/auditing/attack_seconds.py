"""What attacks, their controls and the report will take, by a formula: at no cost, for the line that a run prints.

The seconds of each attack, for so many audited records, were measured on one machine of two cores; how fast this one is,
a piece of work of some hundredths of a second tells. A forecast (`miaudit.auditing.cost`) tries the attacks on guesses, which
takes longer and comes nearer.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from miaudit.attacks.planner import plan_attacks, with_floors
from miaudit.auditing.case import Case
from miaudit.evidence import Capability
from miaudit.threads import most_threads


class Seconds(NamedTuple):
    """Seconds of an attack on the target, on bystanders, on shuffled memberships and on halves of the shadow models.

    With two threads; what `miaudit.threads.in_threads` divides (``divided``) takes as much less or more as there are others.
    ``fixed`` at any size, ``records`` for each 1,000 audited records up to ``most`` thousand (more are learned from a part),
    ``population`` for each 1,000 of the population up to 20 thousand, ``rows`` for each 1,000 answers of shadow models to
    records of theirs up to a million, and ``numbers`` for each million numbers in these.
    """

    fixed: float
    records: float
    most: float = 1000.0
    population: float = 0.0
    rows: float = 0.0
    numbers: float = 0.0
    divided: bool = False

    def of(self, records: float, population: float, rows: float, classes: int) -> float:
        """Return the seconds for so many thousand audited records, others and answers of shadow models, and so many classes."""
        rows = min(rows, 1000.0)
        by_size = self.records * min(records, self.most) + self.population * min(population, 20.0) + self.rows * rows
        seconds = self.fixed + by_size + self.numbers * rows * classes / 1000
        return seconds * 2 / most_threads() if self.divided else seconds


_BESIDE = Seconds(0.6, 0.5)
"""Libraries, controls on the records alone, groups, tables and the page."""

_OTHER = Seconds(0.02, 0.05)

_SECONDS = {
    "quantile": Seconds(1.0, 0.0, population=0.3),
    "ratio": Seconds(0.4, 0.2, 50),
    "shokri": Seconds(0.3, 0.0, rows=0.03, numbers=0.3, divided=True),
    "salem": Seconds(0.05, 0.1),
}
"""By the first word of an attack's name."""

_REFERENCE = 0.01
"""Seconds that `_work` took where these were measured."""


def seconds_of_attacks(case: Case) -> float:
    """Return about what attacks, controls and report will take on a case, where the machine is not busy."""
    split, rows = case.split, case.shadows.count * sum(case.sizes[:2])
    sizes = (len(split.members) + len(split.nonmembers)) / 1000, len(split.population) / 1000, rows / 1000
    attacks = (_SECONDS.get(name.split()[0], _OTHER) for name in _names(case))
    return _slowness() * sum(each.of(*sizes, case.dataset.width) for each in (_BESIDE, *attacks))


def _names(case: Case) -> list[str]:
    """Return the attacks that will run, if the target answers probabilities where nothing says that it does not."""
    capability: Capability = "signal" if case.dataset.values is not None else "probabilities"
    if case.target is not None and case.target.kind == "labels":
        capability = "labels"
    attacks = [attack for attack in with_floors(case.attacks) if not attack.questions]
    planned = plan_attacks(
        capability,
        shadows=case.shadows.count,
        design=case.shadows.design,
        answered=True,
        population=len(case.split.population) > 0,
        features=not case.dataset.schema.sparse,
        attacks=attacks,
    )
    return [each.name for each in planned if each.runs]


def _slowness() -> float:
    """Return the seconds of this machine, as busy as it is, for each that was measured."""
    _work()  # the first time loads what it needs
    began = time.perf_counter()
    _work()
    return (time.perf_counter() - began) / _REFERENCE


def _work() -> float:
    numbers = np.random.default_rng(0).normal(size=400_000)
    return float(np.sort(np.exp(numbers)).sum())
