"""Results of stored outputs that gates judge."""

from __future__ import annotations

from functools import cache

import numpy as np

from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.result import BlindControl, Interval, Result
from miaudit.testing import worlds

CHECKED = BlindControl(method="forest", auc=Interval(value=0.5, low=0.48, high=0.52), confounded=False)


def arrays_of(world: worlds.World) -> dict[str, np.ndarray]:
    """Return stored outputs with six shadow models that answered all audited records and were trained on none."""
    evidence, population, n = world.evidence, world.evidence.population, len(world.member)
    arrays = {"target": evidence.target, "labels": evidence.audited_labels, "member": world.member}
    arrays |= {"shadows": population.shadows, "inside": np.zeros((len(population.shadows), n), bool)}
    return arrays | {"population_target": population.target, "population_labels": population.labels}


@cache
def scored(kind: str, n: int, seed: int = 1) -> Result:
    """Return the result of a world of n records, without features: the control on the raw records was not possible."""
    if kind == "noise":
        world = worlds.exchangeable(seed, n=n, overlapping=True)
    else:
        world = worlds.gaussian({"leak": 1.5, "grave": 3.0}[kind], n=n, seed=seed, overlapping=True)
    return score(stored_outputs(arrays_of(world)))


def checked(result: Result) -> Result:
    """Return the result as if the raw records had been looked at, too, and told nothing."""
    controls = result.controls.model_copy(update={"blind": CHECKED})
    return result.model_copy(update={"controls": controls})
