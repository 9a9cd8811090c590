"""How often each built-in policy passes, fails or does not tell, where nothing leaks, by simulation.

    python bench/gate.py [--trials N] [--out FILE]

Scores of members and non-members are normal, of 4 or 11 attacks that correlate by 0 or 0.8, and so are those of eight
bystanders, which share half of the variance of each record with the target. All else is what an audit does: controls, figures,
verdict, policy; but the policies ask for one attack, as four are all that some of these audits have.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtr

from miaudit.attacks.attack import Attack, Scores
from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.evidence import Evidence
from miaudit.findings import Trial, Trials, examine, unit_of
from miaudit.gate import Policy, built_in
from miaudit.result import BlindControl, Interval, Result
from miaudit.seeds import generator
from miaudit.testing import worlds

RESULTS = Path(__file__).parent / "results" / "gate.json"
SIZES = (50, 400, 1200)
PANELS = ((4, 0.0), (4, 0.8), (11, 0.0), (11, 0.8))
BYSTANDERS = 8
SHARED = 0.5
CLASSES = 4
BLIND = BlindControl(method="simulated", auc=Interval(value=0.5, low=0.45, high=0.55), confounded=False)


@dataclass(frozen=True)
class Column(Attack):
    """An attack whose score is one column of what a model answers."""

    column: int
    name: ClassVar[str] = "column"
    title: ClassVar[str] = "A column of the answers"
    paper: ClassVar[str] = "none"
    needs: ClassVar[frozenset[str]] = frozenset()

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Return the column."""
        return Scores(np.asarray(evidence.target[:, self.column], np.float64))


def base() -> Result:
    """Return a result whose parts beside the findings every simulated audit has."""
    world = worlds.exchangeable(0, n=60, shadows=2)
    arrays = {"target": world.evidence.target, "labels": world.evidence.audited_labels, "member": world.member}
    return score(stored_outputs(arrays))


def answers(rng: np.random.Generator, n: int, attacks: int, correlation: float) -> Any:
    """Return (1 + bystanders, n, attacks) scores, the target's first."""
    records = rng.normal(
        size=(n, attacks + 1)
    )  # what all models share of each record, by attack, and common to attacks
    models = rng.normal(size=(1 + BYSTANDERS, n, attacks + 1))
    every = SHARED**0.5 * records + (1 - SHARED) ** 0.5 * models
    scores = correlation**0.5 * every[:, :, :1] + (1 - correlation) ** 0.5 * every[:, :, 1:]
    return ndtr(scores)  # answers lie in [0, 1]


def audit(result: Result, seed: int, n: int, attacks: int, correlation: float) -> Result:
    """Return the result of one simulated audit of n members and n non-members."""
    rng = generator(seed, "gate", str((n, attacks, correlation, 0.5)))
    scores = answers(rng, 2 * n, attacks, correlation)
    labels, member = np.arange(2 * n) % CLASSES, np.arange(2 * n) < n
    nobody = np.empty((0, 2 * n), bool)
    empty = np.empty((0, 2 * n, attacks))
    evidence = Evidence(scores[0], empty, nobody, labels, bystanders=scores[1:])
    findings = examine(
        Trials(
            [Trial(Column(k), evidence, f"column {k}", strongest=k == 0) for k in range(attacks)],
            *(member, unit_of(member), tuple(map(str, range(CLASSES)))),
            seed=seed,
        ),
        labels,
        blind=BLIND,
    )
    names = ("finding", "verdict", "verdict_kind", "headline", "headline_reason", "highest")
    names += ("attacks", "controls", "groups", "accusations")
    return result.model_copy(update={name: getattr(findings, name) for name in names})


def main() -> None:
    """Simulate, print the table, and keep it."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--trials", type=int, default=100)
    options.add_argument("--out", type=Path, default=RESULTS)
    asked = options.parse_args()
    result, policies = base(), {name: Policy.load(name) for name in built_in()}
    rows = []
    for (attacks, correlation), n in itertools.product(PANELS, SIZES):
        counts: dict[str, Counter[str]] = {name: Counter() for name in policies}
        needed: dict[str, list[int]] = {name: [] for name in policies}
        for seed in range(asked.trials):
            audited = audit(result, seed, n, attacks, correlation)
            for name, policy in policies.items():
                few = policy.model_copy(update={"evidence": policy.evidence.model_copy(update={"attacks": 1})})
                decision = few.check(audited)
                counts[name][decision.outcome] += 1
                needed[name] += [decision.needed] if decision.needed else []
        for name, count in counts.items():
            row = {"attacks": attacks, "correlation": correlation, "n": n, "policy": name, "trials": asked.trials}
            row |= {outcome: count[outcome] for outcome in ("pass", "fail", "inconclusive")}
            rows.append(row | {"needed": int(np.median(needed[name])) if needed[name] else None})
            print(rows[-1], flush=True)
    asked.out.write_text(json.dumps({"seed": 0, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
