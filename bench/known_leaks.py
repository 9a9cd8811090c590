"""How near the bounds on epsilon and mu come to the truth where it is known, and how often they exceed it.

    python bench/known_leaks.py [--trials N] [--out FILE]

Two mechanisms whose privacy is exact: randomised response, and logistic regression trained by full-batch DP-SGD (its
accounting needs no subsampling: T steps of noise s are sqrt(T) / s - GDP). Each canary is a member by its own coin flip;
members and non-members are then as independent as trainings of their own, so that the bounds from rates hold too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.special import expit, ndtri

from miaudit import signals
from miaudit.stats import epsilon_from_mu
from miaudit.testing import worlds
from miaudit.testing.calibration import DELTA, certified_bounds, most_allowed, one_run_bounds

RESULTS = Path(__file__).parent / "results" / "known_leaks.json"
# name -> how to make it, and its true epsilon (at DELTA) and mu
MECHANISMS = {
    **{
        f"randomised response, epsilon {e:g}": (worlds.randomised_response, e, e, 2 * float(ndtri(expit(e))))
        for e in (0.5, 1.0, 2.0, 4.0)
    },
    **{f"DP-SGD, mu {m:g}": (worlds.dp_sgd, m, epsilon_from_mu(m, DELTA), m) for m in (0.5, 1.0, 2.0, 4.0)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--canaries", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = []
    for name, (make, argument, epsilon, mu) in MECHANISMS.items():
        found: dict[str, list[float]] = {}
        for seed in range(given.trials):
            world = make(argument, n=given.canaries, shadows=1, seed=seed)
            score = signals.phi(world.evidence.target, world.evidence.audited_labels)
            for bounds in (certified_bounds, one_run_bounds):
                for which, bound in bounds(score, world.member, seed=seed).items():
                    found.setdefault(which, []).append(bound)
        for which, each in found.items():
            truth = epsilon if which.startswith("epsilon") else mu
            exceeded = int((np.array(each) > truth).sum())
            rows.append(
                {
                    "mechanism": name,
                    "bound": which,
                    "truth": truth,
                    "median": float(np.median(each)),
                    "exceeded": exceeded,
                }
            )
    allowed = most_allowed(given.trials, len(rows))
    given.out.write_text(
        json.dumps({"trials": given.trials, "canaries": given.canaries, "allowed": allowed, "rows": rows}, indent=1)
        + "\n",
        encoding="utf-8",
    )
    kinds = list(dict.fromkeys(row["bound"] for row in rows))
    print("| mechanism | true epsilon | true mu | " + " | ".join(kinds) + " | exceeded, most |")
    print("|---|---|---|" + "---|" * len(kinds) + "---|")
    for name, (_, _, epsilon, mu) in MECHANISMS.items():
        of_it = [row for row in rows if row["mechanism"] == name]
        cells = [f"{row['median'] / row['truth']:.2f}" for row in of_it]
        most = max(row["exceeded"] for row in of_it) / given.trials
        print(f"| {name} | {epsilon:.2f} | {mu:.2f} | " + " | ".join(cells) + f" | {100 * most:.1f} % |")
    print(
        f"\nMedian bound over truth, {given.canaries} canaries, {given.trials} trials, delta = {DELTA:g}; a bound at 95 % "
        f"may exceed the truth in at most 5 %, {100 * allowed / given.trials:.1f} % with chance (0.1 % over {len(rows)})."
    )
    if any(row["exceeded"] > allowed for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
