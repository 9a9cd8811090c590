"""Whole audits of a model that gives nothing away, gated: how often the gate fails and passes.

    python bench/gate_audits.py --audits 200
    python bench/gate_audits.py --shadows 20 --audits 10

Every audit draws its own records, 1,200 members and 1,200 non-members of one distribution, for a target that was trained on
neither, and trains its shadow models on further records. What is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.naive_bayes import GaussianNB

import miaudit
from miaudit.gate import Policy, built_in
from miaudit.result import Result

RESULTS = Path(__file__).parent / "results" / "gate_audits.json"


def audit_of(seed: int, *, n: int = 1200, shadows: int = 4) -> Result:
    """Return the audit of n members and n non-members, exchangeable: the target learned from others."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(5 * n, 3))
    y = (X[:, 0] + rng.normal(size=5 * n) > 0).astype(int)
    members, nonmembers, own = ((X[i * n : (i + 1) * n], y[i * n : (i + 1) * n]) for i in (0, 1, 4))
    model = GaussianNB().fit(*own)
    sides = {"members": members, "nonmembers": nonmembers, "population": (X[2 * n : 4 * n], y[2 * n : 4 * n])}
    return miaudit.audit(model, **sides, recipe=GaussianNB(), shadows=shadows, seed=seed, jobs=0)


def outcomes_of(result: Result) -> dict[str, str]:
    """Return what every built-in policy makes of it."""
    return {name: Policy.load(name).check(result).outcome for name in built_in()}


def main() -> None:
    """Run what is missing, and count."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--audits", type=int, default=200)
    options.add_argument("--shadows", type=int, default=4)
    options.add_argument("--n", type=int, default=1200)
    options.add_argument("--seconds", type=float, default=float("inf"), help="start no further audit after so many")
    options.add_argument("--out", type=Path, default=RESULTS)
    asked = options.parse_args()
    began, key = time.monotonic(), f"{asked.n} a side, {asked.shadows} shadow models"
    document = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    audits = document.setdefault(key, {})
    for seed in range(asked.audits):
        if str(seed) in audits or time.monotonic() - began > asked.seconds:
            continue
        result = audit_of(seed, n=asked.n, shadows=asked.shadows)
        audits[str(seed)] = outcomes_of(result) | {"verdict": result.verdict_kind}
        asked.out.write_text(json.dumps(document, indent=1) + "\n")
    for name in built_in():
        print(key, name, dict(Counter(each[name] for each in audits.values())))


if __name__ == "__main__":
    main()
