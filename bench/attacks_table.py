"""What every attack finds on a real task, by the number of shadow models.

    MIAUDIT_DATA=... python bench/attacks_table.py [--out FILE] [--docs] [--store FOLDER] [--again]

CIFAR-10 halved to 16 x 16 pixels, and a network of one hidden layer that learns its 10,000 training images nearly by
heart and gets about 45 % of new ones right: it leaks because it overfits, on clean labels and with nothing planted. 20,000
images are audited; each of 68 models is trained on a random 10,000 of them, drawn for each model on its own (no record is
in exactly half of the models, which would bias the attacks). Four of the models are targets, the others shadows, of which
the first 1, 2, 4, 16 or 64 are used. 14,975 more images are the population; up to 16 shadows that saw no audited image
("apart") are trained on 10,000 of them each. 10,000 non-members leave ten false positives at a rate of 0.1 %.

Figures are means over the four targets, and so are the ends of their 95 % intervals: an interval is that of one audit of
this size. ``--docs`` puts the table into docs/attacks.md. Models are kept in ``--store`` and not trained twice.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from miaudit.attacks import (
    RMIA,
    Attack,
    AttackP,
    AttackR,
    Calibration,
    Gap,
    LiRA,
    Quantile,
    Salem,
    Shokri,
    Threshold,
)
from miaudit.data import Dataset, from_arrays
from miaudit.evidence import Evidence, Population
from miaudit.recipes import Network
from miaudit.seeds import child_seed, generator
from miaudit.shadows.design import Draws
from miaudit.shadows.pool import ShadowPool
from miaudit.stats import auc, auc_interval, tpr_at_fpr
from miaudit.store import Store
from miaudit.threads import one_thread

DOCS = Path(__file__).parents[1] / "docs" / "attacks.md"
RESULTS = Path(__file__).parent / "results" / "attacks_table.json"
BUDGETS = (1, 2, 4, 16, 64)
TARGETS, APART, AUDITED, TRAIN = 4, 16, 20_000, 10_000
FPRS = (0.01, 0.001)

WITHOUT_SHADOWS: dict[str, Attack] = {
    "gap": Gap(),
    "Attack-P (loss)": AttackP(),
    "quantile regression": Quantile(),
}
ON_SHADOW_ROWS: dict[str, Attack] = {
    "threshold on the loss": Threshold(),
    "modified entropy, per class": Threshold("modified_entropy", per_class=True),
    "Salem, one shadow": Salem(),
    "Shokri, per class": Shokri(),
}
CALIBRATED: dict[str, Attack] = {
    "Attack-R": AttackR(),
    "calibration offline, loss (Watson)": Calibration(),
    "calibration offline, phi": Calibration(signal="phi"),
    "calibration online, loss (Sablayrolles)": Calibration("online"),
    "RMIA offline": RMIA(),
    "RMIA online": RMIA(mode="online"),
    **{f"LiRA offline, {v}": LiRA("offline", v) for v in ("per-example", "pooled", "nig")},
    **{f"LiRA online, {v}": LiRA("online", v) for v in ("per-example", "pooled", "nig")},
}
APART_TOO = ("Attack-R", "calibration offline, phi", "RMIA offline", "LiRA offline, nig")


def images() -> Dataset:
    """CIFAR-10, 2 x 2 pixels averaged into one."""
    data = Dataset.load("cifar10")
    small = np.asarray(data.X).reshape(len(data), 3, 16, 2, 16, 2).mean(axis=(3, 5))
    return from_arrays(np.rint(small).astype(np.uint8).reshape(len(data), -1), data.y)


def network(*, epochs: int = 30) -> Network:
    return Network(hidden=(128,), activation="relu", learning_rate=0.001, batch=100, epochs=epochs)


def train(dataset: Dataset, store: Store, *, shadows: int, seed: int, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """(models, records, classes) answers about audited, then population records; (models, records) memberships.

    Models are the shadows, the targets, and the shadows apart.
    """
    order = generator(seed, "records").permutation(len(dataset))
    models = shadows + TARGETS + APART
    inside = np.zeros((models, len(dataset)), bool)
    for i, row in enumerate(inside):
        drawn = generator(seed, "draw", i)
        apart = i >= shadows + TARGETS
        row[
            AUDITED + drawn.permutation(len(dataset) - AUDITED)[:TRAIN] if apart else drawn.permutation(AUDITED)[:TRAIN]
        ] = True
    train_at, rest_at = (np.stack([np.flatnonzero(row == side) for row in inside]) for side in (True, False))
    pool = ShadowPool(dataset, network(), Draws(order[train_at], order[rest_at]), store, seed)
    trained = pool.run(workers=workers, minimum=models)
    answers = pool.outputs(trained)  # in the order of train_at, then of rest_at
    back = np.argsort(np.concatenate([train_at, rest_at], axis=1), axis=1)
    return np.take_along_axis(answers, back[:, :, None], axis=1), inside


def evidence_of(
    dataset: Dataset, answers: np.ndarray, inside: np.ndarray, target: int, shadows: range, seed: int
) -> Evidence:
    order = generator(seed, "records").permutation(len(dataset))
    labels, features = dataset.y[order], np.asarray(dataset.X)[order].astype(np.float32) / 255
    of, audited = slice(shadows.start, shadows.stop), answers[target, :AUDITED]
    own = None
    if not inside[of, :AUDITED].any():  # shadows apart: the population's records are their own
        rest = np.arange(AUDITED, len(dataset))[None].repeat(len(shadows), axis=0)
        own = Evidence(audited, answers[of, AUDITED:], inside[of, AUDITED:], labels, asked=rest)
    return Evidence(
        audited,
        answers[of, :AUDITED],
        inside[of, :AUDITED],
        labels[:AUDITED],
        own=own,
        population=Population(answers[target, AUDITED:], labels[AUDITED:], features=features[AUDITED:]),
        features=features[:AUDITED],
    )


def planned(budgets: list[int]) -> Iterator[tuple[str, Attack, int, range]]:
    """Yield name, attack, number of shadows, and which models they are."""
    for name, attack in WITHOUT_SHADOWS.items():
        yield name, attack, 0, range(1)
    for name, attack in (ON_SHADOW_ROWS | CALIBRATED).items():
        for k in budgets:
            if k >= attack.least_shadows and not (isinstance(attack, Salem) and k > 1):
                yield name, attack, k, range(k)
    first = max(budgets) + TARGETS
    for name in APART_TOO:
        attack = CALIBRATED[name]
        for k in budgets:
            if attack.least_shadows <= k <= APART:
                yield f"{name}, shadows apart", attack, k, range(first, first + k)


def figures(scores: list[np.ndarray], members: list[np.ndarray]) -> dict[str, Any]:
    """Means over the targets of each figure and of the ends of its interval."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for score, member in zip(scores, members, strict=True):
        ins, outs = score[member], score[~member]
        found.setdefault("auc", []).append(tuple(auc_interval(ins, outs)))
        for fpr in FPRS:
            at = tpr_at_fpr(ins, outs, fpr)
            found.setdefault(f"tpr_at_{fpr:g}", []).append((at.tpr, at.low, at.high))
    return {
        name: {
            **dict(zip(("value", "low", "high"), np.mean(each, axis=0).tolist(), strict=True)),
            "of_each_target": [value for value, _, _ in each],
        }
        for name, each in found.items()
    }


def elsewhere(store: Store, *, seed: int, workers: int) -> Iterator[tuple[str, Evidence]]:
    """One shadow model each on other tasks: evidence to learn Salem's attack from."""
    for name, records in (("mnist", 10_000), ("location30", 2_500)):
        data = Dataset.load(name)
        flat = from_arrays(np.asarray(data.X).reshape(len(data), -1), data.y)
        chosen = generator(seed, name).permutation(len(flat))[: 2 * records]
        draws = Draws(chosen[None, :records], chosen[None, records:])
        pool = ShadowPool(flat, network(epochs=60), draws, store, child_seed(seed, name))
        rows = pool.outputs(pool.run(workers=workers, minimum=1))
        inside = np.repeat([True, False], [records, len(chosen) - records])[None]
        yield name, Evidence(rows[0], rows, inside, flat.y[chosen])


def markdown(found: dict[str, Any]) -> str:
    """One table per figure, attack x shadows."""
    table, budgets = found["table"], sorted({row["shadows"] for row in found["table"]})
    t = found["task"]
    lines = [
        f"CIFAR-10 at 16 x 16, {found['recipe']}; {TRAIN:,} members, {AUDITED - TRAIN:,} non-members; accuracy "
        f"{t['train_accuracy']:.3f} on members, {t['test_accuracy']:.3f} on others; mean of {TARGETS} targets with the mean "
        f"95 % interval of one, seed {found['seed']}.",
    ]
    for figure, title in (("auc", "AUC"), *((f"tpr_at_{f:g}", f"TPR at {100 * f:g} % FPR, in %") for f in FPRS)):
        lines += ["", f"**{title}**, by number of shadow models", ""]
        lines += ["| attack | " + " | ".join(map(str, budgets)) + " |", "|---|" + "---|" * len(budgets)]
        best = {k: max(row[figure]["value"] for row in table if row["shadows"] == k) for k in budgets}
        for name in dict.fromkeys(row["attack"] for row in table):
            cells = {row["shadows"]: row[figure] for row in table if row["attack"] == name}
            shown = [_cell(cells[k], figure, best[k]) if k in cells else "" for k in budgets]
            lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _cell(figure: dict[str, Any], kind: str, best: float) -> str:
    scale, digits = (1, 3) if kind == "auc" else (100, 2)
    value, low, high = (f"{scale * figure[key]:.{digits}f}" for key in ("value", "low", "high"))
    if figure["value"] == best:
        value = f"**{value}**"
    return f"{value} [{low}, {high}]"


def into_docs(table: str, path: Path = DOCS) -> None:
    text = path.read_text(encoding="utf-8")
    begin, end = "<!-- table: bench/attacks_table.py -->", "<!-- end of table -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise SystemExit(f"{path} has no lines {begin!r} and {end!r} to put the table between")
    path.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go, as JSON")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/attacks.md")
    parser.add_argument(
        "--store", type=Path, help="folder that keeps the trained models' answers; default: none is kept"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument(
        "--again", action="store_true", help="run nothing: show, or put into the docs, what --out holds"
    )
    given = parser.parse_args()
    if given.again:
        found = json.loads(given.out.read_text(encoding="utf-8"))
    elif given.store is None:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Store(folder), given)
    else:
        found = measure(Store(given.store), given)
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    table = markdown(found)
    print(table)
    if given.docs:
        into_docs(table)


def measure(store: Store, given: argparse.Namespace) -> dict[str, Any]:
    seed, budgets = given.seed, sorted(given.budgets)
    dataset = images()
    began = time.perf_counter()
    answers, inside = train(dataset, store, shadows=max(budgets), seed=seed, workers=given.workers)
    trained = time.perf_counter() - began
    targets = range(max(budgets), max(budgets) + TARGETS)
    members = [inside[t, :AUDITED] for t in targets]
    labels = dataset.y[generator(seed, "records").permutation(len(dataset))][:AUDITED]
    right = answers[list(targets), :AUDITED].argmax(axis=2) == labels
    table: list[dict[str, Any]] = []

    def row(name: str, shadows: int, scores: list[np.ndarray], notes: list[str]) -> None:
        table.append({"attack": name, "shadows": shadows, **figures(scores, members), "notes": notes})
        print(
            f"{time.perf_counter() - began:6.0f} s  {name}, {shadows} shadows: {table[-1]['auc']['value']:.3f}",
            flush=True,
        )

    with one_thread():
        for name, attack, k, of in planned(budgets):
            runs = [
                attack.run(evidence_of(dataset, answers, inside, t, of, seed), seed=child_seed(seed, name, t))
                for t in targets
            ]
            row(name, k, [run.score for run in runs], list(runs[0].notes))
    for name, other in elsewhere(store, seed=seed, workers=given.workers):
        model = Salem().fit(other, seed=child_seed(seed, "salem", name))
        row(f"Salem, one shadow on {name}", 1, [model.score(answers[t, :AUDITED]) for t in targets], [])
        own = model.score(other.target)
        table[-1]["auc_on_its_own_rows"] = auc(own[other.inside[0]], own[~other.inside[0]])
    return {
        "machine": f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "seed": seed,
        "recipe": f"{network().name}, {network().epochs} epochs of Adam at {network().learning_rate}",
        "seconds": {"training, 0 where kept": round(trained, 1), "all": round(time.perf_counter() - began, 1)},
        "task": {
            "train_accuracy": float(np.mean([r[m].mean() for r, m in zip(right, members, strict=True)])),
            "test_accuracy": float(np.mean([r[~m].mean() for r, m in zip(right, members, strict=True)])),
        },
        "table": table,
    }


if __name__ == "__main__":
    main()
