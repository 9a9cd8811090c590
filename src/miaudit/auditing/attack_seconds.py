"""What attacks, their controls and the report will take, by a formula: at no cost, for the line that a run prints.

The seconds of each attack, for so many audited records, were measured on one machine of two cores; how fast this one is,
a piece of work of some hundredths of a second tells. A forecast (`miaudit.auditing.cost`) tries the attacks on guesses, which
takes longer and comes nearer.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from miaudit.attacks import Attack, Shokri, attack_name
from miaudit.attacks.net import Training
from miaudit.attacks.planner import plan_attacks, with_floors
from miaudit.attacks.shokri import pooled_rows
from miaudit.auditing.beside import is_own, processes_of, threads_of_task
from miaudit.auditing.case import Case
from miaudit.auditing.regression import capability_of
from miaudit.evidence import Capability
from miaudit.threads import most_threads


class Seconds(NamedTuple):
    """Seconds of an attack on the target, on bystanders, on shuffled memberships and on halves of the shadow models.

    ``fixed`` at any size, ``records`` for each 1,000 audited records up to ``most`` thousand (more are learned from a part),
    and ``population`` for each 1,000 of the population up to 20 thousand.
    """

    fixed: float
    records: float
    most: float = 1000.0
    population: float = 0.0

    def of(self, records: float, population: float) -> float:
        """Return the seconds for so many thousand audited records and others."""
        return self.fixed + self.records * min(records, self.most) + self.population * min(population, 20.0)


_BESIDE = Seconds(0.6, 0.5)
"""Libraries, controls on the records alone, groups, tables and the page."""

_OTHER = Seconds(0.02, 0.05)

_SECONDS = {
    "quantile": Seconds(1.0, 0.0, population=0.3),
    "ratio": Seconds(0.4, 0.2, 50),
    "salem": Seconds(0.05, 0.1),
}
"""By the first word of an attack's name."""

_RUNS = 3
"""Of an attack that learns: on the target, on shuffled memberships, and on halves of the shadow models."""

_REFERENCE = 0.01
"""Seconds that `_work` took where these were measured."""


def seconds_of_attacks(case: Case, processes: int = 1) -> float:
    """Return about what attacks, controls and report will take on a case, where the machine is not busy.

    Processes share the seconds of attacks evenly, as far as no run takes longer: how much they lose to each other is not known.

    Parameters
    ----------
    case
        What will be audited.
    processes
        How many may run attacks.
    """
    split, rows = case.split, case.shadows.count * sum(case.sizes[:2])
    sizes = (len(split.members) + len(split.nonmembers)) / 1000, len(split.population) / 1000
    names = [attack.name.split()[0] for attack in _attacks(case)]
    seconds = [_SECONDS.get(name, _OTHER).of(*sizes) for name in names if name != "shokri"]
    networks = names.count("shokri") * _of_networks(rows, case.dataset.width)
    if (count := planned_processes(case, processes)) > 1:
        longest = max([*seconds, networks / threads_of_task()]) / _RUNS
        spent = max(longest, (sum(seconds) + networks) / count)
    else:
        spent = sum(seconds) + networks / most_threads()
    return _slowness() * (spent + _BESIDE.of(*sizes))


def planned_processes(case: Case, processes: int) -> int:
    """Return in how many of the processes that may run attacks on a case they will, as `beside` decides it."""
    attacks, audited = _attacks(case), len(case.split.members) + len(case.split.nonmembers)
    own = sum(case.sizes[:2])
    rows = max((audited if attack.needs & {"overlapping", "probes"} else own for attack in attacks), default=0)
    tasks = sum(_RUNS if attack.least_shadows else 1 for attack in attacks if is_own(attack))
    return processes_of(case.shadows.count * rows * case.dataset.width, tasks, processes)


def _of_networks(rows: int, classes: int) -> float:
    """Return the seconds of one core that the 2017 attack takes for so many answers of shadow models to records of theirs.

    Its networks learn from all of them, from shuffled memberships, and from either half of the shadow models.
    """
    seconds = sum(times * _of_training(part, classes) for times, part in ((2, rows), (2, rows // 2)))
    return 2 * (0.3 + seconds)


def _of_training(rows: int, classes: int) -> float:
    """Return the seconds of one of these trainings: by the rows that networks see, with repetition, and their numbers."""
    shokri = Shokri()
    training, networks, n, width = Training(), classes, rows // max(classes, 1), classes
    if n < 2 * shokri.min_rows:  # one for all classes, told the class
        networks, n, width = 1, min(rows, pooled_rows(classes)), 2 * classes
    seen = networks * training.steps(n) * training.batch_of(n)
    return seen / 1e6 * (0.33 + 0.0033 * width)


def _attacks(case: Case) -> list[Attack]:
    """Return the attacks that will run, if the target answers probabilities where nothing says that it does not."""
    capability: Capability = "probabilities" if case.dataset.values is None else capability_of(case.residual)
    if case.target is not None and case.target.kind == "labels":
        capability = "labels"
    attacks = {attack_name(each): each for each in with_floors(case.attacks) if not each.questions}
    planned = plan_attacks(
        capability,
        shadows=case.shadows.count,
        design=case.shadows.design,
        answered=True,
        population=len(case.split.population) > 0,
        features=not case.dataset.schema.sparse,
        attacks=list(attacks.values()),
    )
    return [each.attack for each in planned if each.runs]


def _slowness() -> float:
    """Return the seconds of this machine, as busy as it is, for each that was measured."""
    _work()  # the first time loads what it needs
    began = time.perf_counter()
    _work()
    return (time.perf_counter() - began) / _REFERENCE


def _work() -> float:
    numbers = np.random.default_rng(0).normal(size=400_000)
    return float(np.sort(np.exp(numbers)).sum())
