"""The paper's Figs. 8 and 9 with stand-ins: how the 2017 attack does when its shadow data are synthetic.

    python bench/synthesis_tables.py location30 --shadows 5 --seeds 0 --epochs 100
    python bench/synthesis_tables.py purchase-like --shadows 8 --seeds 0 --epochs 100

Location-30 needs MIAUDIT_DATA. "purchase-like" is a made-up task of Purchase-100's shape (600 binary features, 100 classes of
unequal size); Purchase-100 itself is not used. The target and all shadow models are the paper's network of 128 tanh units
(preset "purchase"), where the paper had Google's service. Writes bench/results/synthesis_tables.json, one entry for each
task, setting and seed, and puts the tables into docs/synthesis.md. Entries that are there already, of the same arguments,
are not run again. Needs the torch extra.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from miaudit import audit

RESULTS = Path(__file__).with_name("results") / "synthesis_tables.json"
PAGE = Path(__file__).parent.parent / "docs" / "synthesis.md"

REAL = {"shadows": {"data": "real"}}


def noisy(rate: float, noise: str) -> dict[str, Any]:
    return {"shadows": {"data": "synthetic:noisy"}, "synthesis": {"rate": rate, "noise": noise}}


MARGINALS = {"shadows": {"data": "synthetic:marginals"}}
MODEL = {"shadows": {"data": "synthetic:model-based"}}

# task -> setting -> (changes to the plan, the paper's precision and recall, the paper's queries per record)
SETTINGS: dict[str, dict[str, tuple[dict[str, Any], tuple[float, float] | None, float | None]]] = {
    "location30": {
        "real": (REAL, (0.678, 0.98), None),
        "noise 10 %, flipped": (noisy(0.1, "flip"), (0.666, 0.99), None),
        "noise 10 %, replaced": (noisy(0.1, "replace"), (0.666, 0.99), None),
        "noise 20 %, flipped": (noisy(0.2, "flip"), (0.613, 1.00), None),
        "noise 20 %, replaced": (noisy(0.2, "replace"), (0.613, 1.00), None),
        "marginals": (MARGINALS, None, None),
        "model-based": (MODEL, None, None),
    },
    "purchase-like": {
        "real": (REAL, (0.935, 0.994), None),
        "marginals": (MARGINALS, (0.795, 0.991), None),
        "model-based": (MODEL, (0.896, 0.526), 156.0),
    },
}
HEADINGS = {
    "location30": "Fig. 8: Location-30; the paper's figures are of a Google target",
    "purchase-like": "Fig. 9: a made-up task of Purchase-100's shape; the paper's figures: Purchase-100, a Google target",
}
NOTES = {
    "purchase-like": "Bits of this task are independent within a class, so that drawing them from the marginals of a class is "
    "drawing from the task itself: that the row of marginals comes as near to real data as it does is by construction, and "
    "says nothing of real purchases."
}


def purchase_like(n: int, *, noise: float = 0.83, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return n records of 600 bits at density 0.23 in 100 classes, whose shares run from about 0.002 to 0.025.

    A class has a bit pattern of its own; each bit of a record is its class's, or with chance ``noise`` drawn anew. On 10,000
    records the network reaches a test accuracy of 0.74 at noise 0.82 (25 epochs) and of 0.44 at 0.86 (classes of equal
    size, 30 epochs); the paper's Google target had 0.66.
    """
    rng = np.random.default_rng(seed)
    shares = rng.gamma(4.0, size=100)
    y = rng.choice(100, n, p=shares / shares.sum())
    planted = rng.random((100, 600)) < 0.23
    drawn = rng.random((n, 600)) < noise
    return np.where(drawn, rng.random((n, 600)) < 0.23, planted[y]).astype(np.uint8), y


def plan_of(task: str, given: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    if task == "location30":
        data, members = {"name": "location30"}, given.members or 1200
    else:
        members = given.members or 10_000
        X, y = purchase_like(5 * members, seed=seed)
        np.savez(folder / "purchase_like.npz", X=X, y=y)
        data = {"path": str(folder / "purchase_like.npz")}
    return {
        "title": f"{task}, shadow data without data",
        "seed": seed,
        "data": data,
        "split": {"members": members, "nonmembers": members, "outside": 0},
        "recipe": {"network": {"preset": "purchase", "epochs": given.epochs}},
        "attacks": ["shokri"],
        "synthesis": {},
    }


def run(task: str, setting: str, given: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    changes = SETTINGS[task][setting][0]
    plan = plan_of(task, given, seed, folder)
    plan["shadows"] = {"count": given.shadows} | changes["shadows"]
    plan["synthesis"] = changes.get("synthesis", {})
    result = audit(plan, out=folder)
    attack = result.attack("shokri")
    pooled, made = attack.pooled, result.synthesis
    assert pooled is not None
    assert attack.auc is not None
    return {
        **{name: getattr(pooled, name) for name in ("precision", "precision_low", "precision_high")},
        **{name: getattr(pooled, name) for name in ("recall", "recall_low", "recall_high", "n")},
        "auc": attack.auc.value,
        "train_accuracy": result.target.train_accuracy,
        "test_accuracy": result.target.test_accuracy,
        "shadow_train": result.split.shadow_train,
        "shadow_test_accuracy": result.shadows.test_accuracy,
        "records": made and made.records,
        "queries_per_record": made and made.queries.per_record,
        "queries_per_record_with_failed": made and made.queries.per_record_with_failed,
        "mean_confidence": made and made.mean_confidence,
        "classes_failed": len(made.classes_failed) if made else 0,
        "classes_below_0.1_precision": sum(
            each.precision is None or each.precision < 0.1 for each in attack.per_class if each.members
        ),
    }


def tables(entries: list[dict[str, Any]]) -> str:
    parts = []
    for task, settings in SETTINGS.items():
        mine = [entry for entry in entries if entry["task"] == task]
        if not mine:
            continue
        parts += [f"### {HEADINGS[task]}", "", *([NOTES[task], ""] if task in NOTES else [])]
        head = (
            "shadow data",
            "precision",
            "recall",
            "AUC",
            "paper: precision",
            "recall",
            "queries per record",
            "paper",
        )
        parts += [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
        for setting, (_, paper, cost) in settings.items():
            of = [entry for entry in mine if entry["setting"] == setting]
            if not of:
                continue
            spent = [entry["queries_per_record"] for entry in of]
            with_failed = [entry["queries_per_record_with_failed"] or 0.0 for entry in of]
            queries = "-"
            if setting == "model-based":
                queries = f"{statistics.mean(spent):.0f} ({statistics.mean(with_failed):.0f} with failed climbs)"
            cells = (
                setting,
                figure(of, "precision"),
                figure(of, "recall"),
                f"{statistics.mean(entry['auc'] for entry in of):.3f}",
                "-" if paper is None else f"{paper[0]:.3f}",
                "-" if paper is None else f"{paper[1]:.2f}",
                queries,
                "-" if cost is None else f"{cost:.0f}",
            )
            parts.append(f"| {' | '.join(cells)} |")
        one = mine[0]
        parts += [
            "",
            f"{one['n'] // 2:,} members and as many non-members, {one['shadows']} shadow models, {one['epochs']} epochs, "
            f"seeds {', '.join(map(str, sorted({entry['seed'] for entry in mine})))}; the target's accuracy is "
            f"{one['train_accuracy']:.3f} in training and {one['test_accuracy']:.3f} in test.",
            "",
        ]
    return "\n".join(parts)


def figure(of: list[dict[str, Any]], name: str) -> str:
    """Return the mean over seeds, with the exact interval of one seed or the range of several."""
    values = [entry[name] for entry in of]
    if len(of) == 1:
        return f"{values[0]:.3f} ({of[0][f'{name}_low']:.3f} to {of[0][f'{name}_high']:.3f})"
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", choices=[*SETTINGS, []], default=[])
    parser.add_argument("--shadows", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--members", type=int, help="default: 1,200 for location30, 10,000 for purchase-like")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    entries = json.loads(given.out.read_text()) if given.out.exists() else []
    common = {"shadows": given.shadows, "epochs": given.epochs, "members": given.members}
    for task in given.tasks or list(SETTINGS):
        for seed in given.seeds:
            with tempfile.TemporaryDirectory() as folder:  # the settings of a seed share the target's row
                for setting in SETTINGS[task]:
                    name = {"task": task, "setting": setting, "seed": seed, **common}
                    if any(name.items() <= entry.items() for entry in entries):
                        continue
                    print(f"{task}, {setting}, seed {seed} ...", flush=True)
                    found = run(task, setting, given, seed, Path(folder))
                    same = {key: name[key] for key in ("task", "setting", "seed")}
                    entries = [entry for entry in entries if not same.items() <= entry.items()]
                    entries.append({**name, **found})
                    given.out.parent.mkdir(parents=True, exist_ok=True)
                    given.out.write_text(json.dumps(entries, indent=1) + "\n")
    text = tables(entries)
    print(text)
    if given.out == RESULTS:
        marked = re.compile(r"(<!-- synthesis tables -->\n).*?(<!-- end -->)", re.DOTALL)
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(marked.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    main()
