"""How often each built-in policy passes, fails or does not tell, where nothing leaks and where something does, by simulation.

    python bench/gate.py [--trials N] [--out FILE]

Scores of members and non-members are normal, of 4 or 11 attacks that correlate by 0 or 0.8, and so are those of eight
bystanders, which share half of the variance of each record with the target. A leak shifts members' scores on the target. All
else is what an audit does: attacks, controls, figures, verdict, policy.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtr, ndtri

from miaudit.attacks.attack import Attack, Scores
from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.evidence import Evidence
from miaudit.findings import Trial, examine
from miaudit.gate import Policy, built_in
from miaudit.result import BlindControl, Interval, Result
from miaudit.seeds import generator
from miaudit.testing import worlds

RESULTS = Path(__file__).parent / "results" / "gate.json"
SIZES = (50, 400, 1200)
PANELS = ((4, 0.0), (4, 0.8), (11, 0.0), (11, 0.8))
LEAKS = (0.5, 0.55, 0.6)  # true AUC of every attack
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


def answers(rng: np.random.Generator, n: int, attacks: int, correlation: float, area: float) -> Any:
    """Return (1 + bystanders, n, attacks) scores, the target's first, whose members are shifted."""
    records = rng.normal(
        size=(n, attacks + 1)
    )  # what all models share of each record, by attack, and common to attacks
    models = rng.normal(size=(1 + BYSTANDERS, n, attacks + 1))
    every = SHARED**0.5 * records + (1 - SHARED) ** 0.5 * models
    scores = correlation**0.5 * every[:, :, :1] + (1 - correlation) ** 0.5 * every[:, :, 1:]
    scores[0, : n // 2] += 2**0.5 * ndtri(area)
    return ndtr(scores)  # answers lie in [0, 1]


def audit(result: Result, seed: int, n: int, attacks: int, correlation: float, area: float) -> Result:
    """Return the result of one simulated audit of n members and n non-members."""
    rng = generator(seed, "gate", str((n, attacks, correlation, area)))
    scores = answers(rng, 2 * n, attacks, correlation, area)
    labels = np.arange(2 * n) % CLASSES
    nobody = np.empty((0, 2 * n), bool)
    empty = np.empty((0, 2 * n, attacks))
    evidence = Evidence(scores[0], empty, nobody, labels, bystanders=scores[1:])
    findings = examine(
        [Trial(Column(k), evidence, f"column {k}", strongest=k == 0) for k in range(attacks)],
        np.arange(2 * n) < n,
        labels,
        tuple(map(str, range(CLASSES))),
        seed=seed,
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
    for area in LEAKS:
        for attacks, correlation in PANELS if area == 0.5 else PANELS[2:]:
            for n in SIZES:
                counts: dict[str, Counter[str]] = {name: Counter() for name in policies}
                needed: dict[str, list[int]] = {name: [] for name in policies}
                trials = asked.trials if area == 0.5 else asked.trials // 2
                for seed in range(trials):
                    audited = audit(result, seed, n, attacks, correlation, area)
                    for name, policy in policies.items():
                        relevant = policy.model_copy(
                            update={"evidence": policy.evidence.model_copy(update={"attacks": 1})}
                        )
                        decision = relevant.check(audited)
                        counts[name][decision.outcome] += 1
                        needed[name] += [decision.needed] if decision.needed else []
                for name, count in counts.items():
                    row = {"auc": area, "attacks": attacks, "correlation": correlation, "n": n, "policy": name}
                    row |= {"trials": trials, **{key: count[key] for key in ("pass", "fail", "inconclusive")}}
                    rows.append(row | {"needed": int(np.median(needed[name])) if needed[name] else None})
                    print(rows[-1], flush=True)
    asked.out.write_text(json.dumps({"seed": 0, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
