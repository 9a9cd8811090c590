"""What label-only attacks find on real data: gap, votes and boundary distance, with and without shadows.

    MIAUDIT_DATA=... python bench/label_only.py [location30 | mnist] [--shadows 8] [--queries 500] [--seed 0]

Prints one line an attack: AUC with its 95 % interval, TPR at 1 % FPR, queries a record.
"""

from __future__ import annotations

import argparse
import time

from miaudit import audit

PLANS = {
    "location30": {
        "data": {"name": "location30"},
        "split": {"members": 1000, "nonmembers": 1000},
        "recipe": {"network": {"hidden": [128], "epochs": 40}},
    },
    "mnist": {
        "data": {"name": "mnist"},
        "split": {"members": 1000, "nonmembers": 1000, "population": 8000},
        "recipe": {"network": {"hidden": [128], "epochs": 60}},
    },
}


def main() -> None:
    """Run one audit and print its rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=PLANS)
    parser.add_argument("--shadows", type=int, default=8)
    parser.add_argument("--queries", type=int, default=500, help="of the boundary walk, a record")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    attacks = [{"name": "label-only"}, {"name": "label-only", "calibrate": False}]
    if options.name == "mnist":  # bits have no boundary to walk on
        attacks.append({"name": "label-only", "kind": "boundary", "queries": options.queries})
    plan = PLANS[options.name] | {
        "seed": options.seed,
        "attacks": attacks,
        "shadows": {"count": options.shadows, "design": "overlapping"},
    }
    began = time.perf_counter()
    result = audit(plan, jobs=1)
    print(
        f"{options.name}: n = {result.split.members} + {result.split.nonmembers}, seed {options.seed}, "
        f"{result.shadows.trained} shadows, accuracy {result.target.train_accuracy:.3f} on members, "
        f"{result.target.test_accuracy:.3f} on others, {time.perf_counter() - began:.0f} s"
    )
    for attack in result.attacks:
        if attack.status != "ran" or attack.auc is None:
            print(f"{attack.name:<32} {attack.status}: {attack.reason}")
            continue
        point = next(each for each in attack.tpr_at_fpr if each.fpr == 0.01)
        audited = result.split.members + result.split.nonmembers
        spent = " ".join(note.split(" queries")[0] for note in attack.notes if "were spent" in note) or str(audited)
        print(
            f"{attack.name:<32} AUC {attack.auc.value:.3f} [{attack.auc.low:.3f}, {attack.auc.high:.3f}]  "
            f"TPR at 1 % FPR {point.tpr:.3f} [{point.low:.3f}, {point.high:.3f}]  queries {spent}"
        )


if __name__ == "__main__":
    main()
