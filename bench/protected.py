"""What an audit finds of models that were trained on protected data, for docs/protected-data.md.

    python bench/protected.py                   # runs all cells that are not there yet; resumes where it was stopped
    python bench/protected.py usual             # those of one training: usual, grey, blur, projection, adversarial
    python bench/protected.py null [DRAWS]      # how often the check for a pattern speaks where there is none
    python bench/protected.py --tables          # puts the tables into the page

Each cell is a protection, a training and a seed: a target on 1,000 protected images, 4 shadow models on protected images of
others, and three comparisons of the same answers. Expectations are stated in `expectations`, before any figure.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom
from scipy.stats import t as student

import miaudit
from miaudit import Evidence, stats
from miaudit.attacks import RMIA, Threshold, blind_auc, label_pattern
from miaudit.data import features, load_named
from miaudit.data.protect import (
    Autoregressive,
    Blur,
    ClassNoise,
    Compression,
    Convolution,
    ErrorMinimising,
    Generator,
    Grey,
    OnePixel,
    Projection,
    Separable,
    Tangent,
)
from miaudit.recipes import Network

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "bench" / "results" / "protected"
PAGE = ROOT / "docs" / "protected-data.md"
SEEDS, SIDE, POPULATION, SHADOWS = (1, 2, 3), 1000, 2000, 4
NET = Network(hidden=(64,), activation="relu", epochs=30, batch=50)
PROTECTIONS: dict[str, Generator | None] = {
    "none": None,
    "class noise": ClassNoise(),
    "LSP": Separable(patch=4),  # a quarter of the side, as 8 of 32
    "OPS": OnePixel(),
    "CUDA": Convolution(),
    "AR": Autoregressive(),
    "EM": ErrorMinimising(),
    "NTGA": Tangent(),
    "NTGA, mixed": Tangent(),  # members and non-members share blocks
}
COUNTERED = ("none", "LSP", "OPS", "EM", "NTGA")
COUNTERMEASURES: dict[str, tuple[Generator, ...]] = {
    "usual": (),
    "grey": (Grey(),),
    "blur": (Blur(), Compression()),
    "projection": (Projection(),),
    "adversarial": (),
}
CELLS = [
    *((protection, "usual") for protection in PROTECTIONS),
    *((protection, training) for training in ("grey", "blur", "projection") for protection in COUNTERED),
    ("EM", "adversarial"),
]
Table = dict[str, Any]
Images = NDArray[Any]
Parts = dict[str, tuple[Images, NDArray[np.int64]]]
PAIRS = {  # whose records are asked as members, and whose as non-members
    "naive": ("members", "clean nonmembers"),
    "fair": ("members", "nonmembers"),
    "originals": ("clean members", "clean nonmembers"),
}


def images(seed: int) -> Parts:
    """Return disjoint draws of CIFAR-10 in colour, 16 x 16: means of 2 x 2 pixels."""
    dataset = load_named("cifar10", None)
    sizes = {"members": SIDE, "nonmembers": SIDE, "population": POPULATION, "publisher": SIDE}
    order, start, parts = np.random.default_rng(seed).permutation(len(dataset.y)), 0, {}
    for name, size in sizes.items():
        index = order[start : start + size]
        small = np.asarray(dataset.X)[index].reshape(size, 3, 16, 2, 16, 2).mean(axis=(3, 5))
        parts[name], start = (small.round().astype(np.uint8), np.asarray(dataset.y)[index]), start + size
    return parts


def protected(protection: str, seed: int, parts: Parts) -> dict[str, Images]:
    """Return the images of all sides, clean and protected by what was made from images of the publisher's own."""
    generator = PROTECTIONS[protection]
    sides: dict[str, Images] = {}
    pattern = None if generator is None else generator.fit(*parts["publisher"], seed=seed)
    for k, name in enumerate(("members", "nonmembers", "population")):
        X, y = parts[name]
        sides[f"clean {name}"] = X
        sides[name] = X if pattern is None else pattern.apply(X, y, seed=100 * seed + k)
    if pattern is not None and protection.endswith("mixed"):
        (first, labels), (second, others) = parts["members"], parts["nonmembers"]
        both = pattern.apply(np.concatenate([first, second]), np.concatenate([labels, others]), seed=100 * seed + 9)
        sides["members"], sides["nonmembers"] = both[:SIDE], both[SIDE:]
    return sides


def cell(training: str, seed: int, parts: Parts, sides: dict[str, Images]) -> Table:
    """Train target and shadow models on protected images, and attack the target in three ways."""
    asked = sides
    for countermeasure in COUNTERMEASURES[training]:
        change = countermeasure.fit(*(asked["members"], parts["members"][1]), seed=seed)
        asked = {name: change.apply(X, parts[name.split()[-1]][1], seed=seed) for name, X in asked.items()}
    models = trained(asked, parts, seed, adversarial=training == "adversarial")
    answers = {name: np.stack([model(X) for model in models]) for name, X in asked.items() if "population" not in name}
    accuracy = {name: right(each[0], parts[name.split()[-1]][1]) for name, each in answers.items()}
    both = np.concatenate([parts["members"][1], parts["nonmembers"][1]])
    audits = {}
    for name, pair in PAIRS.items():
        of_pair = np.concatenate([answers[side] for side in pair], axis=1)
        audits[name] = audited(
            *(of_pair, both, np.concatenate([asked[side] for side in pair]), seed),
            alone=training == "usual" and name != "originals",
        )
    shown = {"train": "members", "same": "nonmembers", "clean": "clean nonmembers"}
    return {"accuracy": {key: accuracy[name] for key, name in shown.items()}, **audits}


def right(answers: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Return the share of records that are classified right."""
    return round(float((answers.argmax(axis=1) == labels).mean()), 4)


def trained(asked: dict[str, Images], parts: Parts, seed: int, *, adversarial: bool) -> list[Any]:
    """Return the target, and shadow models on random halves of the population, as functions of images."""
    X = np.concatenate([asked["members"], asked["population"]])
    y = np.concatenate([parts["members"][1], parts["population"][1]])
    rng = np.random.default_rng(1000 + seed)
    index = [np.arange(SIDE), *(SIDE + rng.permutation(POPULATION)[:SIDE] for _ in range(SHADOWS))]
    seeds = [1000 * seed + k for k in range(len(index))]
    if adversarial:
        return [adversary(X[each], y[each], k) for each, k in zip(index, seeds, strict=True)]
    return [model.predict_proba for model in NET.fit_many(X, y, indices=index, classes=10, seeds=seeds)]


def adversary(X: Images, y: NDArray[np.int64], seed: int, *, epsilon: float = 8 / 255) -> Callable[[Images], Images]:
    """Return a network like the others, trained on the worst of one gradient step from a random start in the ball."""
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(X[0].size, *NET.hidden), torch.nn.ReLU(), torch.nn.Linear(*NET.hidden, 10)
    )
    x, labels = torch.from_numpy(X / 255).float(), torch.from_numpy(y)
    middle, spread = x.mean(dim=(0, 2, 3), keepdim=True), x.std(dim=(0, 2, 3), keepdim=True)
    descent = torch.optim.Adam(net.parameters(), lr=0.001)
    for _ in range(NET.epochs):
        for index in torch.randperm(len(x)).split(NET.batch):
            noise = (2 * torch.rand_like(x[index]) - 1).mul_(epsilon).requires_grad_()
            loss = functional.cross_entropy(net((x[index] + noise - middle) / spread), labels[index])
            slope = torch.autograd.grad(loss, noise)[0]
            worst = (noise + 1.25 * epsilon * slope.sign()).clamp(-epsilon, epsilon).detach()
            descent.zero_grad()
            functional.cross_entropy(net((x[index] + worst - middle) / spread), labels[index]).backward()
            descent.step()

    def answer(Z: Images) -> Images:
        with torch.no_grad():
            return np.asarray(torch.softmax(net((torch.from_numpy(Z / 255).float() - middle) / spread), dim=1))

    return answer


def audited(answers: NDArray[Any], labels: NDArray[np.int64], X: Images, seed: int, *, alone: bool) -> Table:
    """Return what attacks find in answers, those of the target first, and what the records alone give away."""
    member, features_ = np.arange(len(labels)) < SIDE, X.astype(np.float32)
    evidence = Evidence(answers[0], answers[1:], np.zeros(answers[1:].shape[:2], bool), labels)
    pattern = label_pattern(features_, labels, member, seed=seed)
    blind = blind_auc(features_, labels, member, seed=seed) if alone else None
    return {
        "rmia": figures(RMIA().score(evidence), member),
        "threshold": figures(Threshold().score(evidence), member),
        "blind": None if blind is None else area(blind),
        "pattern": [rounded(each) for each in (pattern.excess, pattern.low, pattern.high)],
        "probe": [rounded(each) for each in (pattern.members, pattern.nonmembers)],
    }


def figures(scores: NDArray[np.float64], member: NDArray[np.bool_]) -> Table:
    """Return an attack's AUC, and its TPR at an FPR of 1 %, with their intervals."""
    sides = scores[member], scores[~member]
    return {"auc": area(stats.auc_interval(*sides)), "tpr": area(stats.tpr_at_fpr(*sides, 0.01), "tpr")}


def area(of: Any, value: str = "value") -> list[float | None]:
    """Return a figure with its interval."""
    return [rounded(getattr(of, each)) for each in (value, "low", "high")]


def rounded(value: float | None) -> float | None:
    """Return a figure as it is written."""
    return None if value is None else round(value, 4)


def run(cells: list[tuple[str, str]]) -> None:
    """Run the cells that are not there yet, all of a seed before the next; images are protected once for all trainings."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        parts: Parts = {}
        for protection in PROTECTIONS:
            sides: dict[str, Images] = {}
            for training in (each for of, each in cells if of == protection):
                path = FOLDER / f"{protection.replace(',', '').replace(' ', '-')}_{training}.json"
                document: Table = {"protection": protection, "training": training, "runs": {}}
                document |= json.loads(path.read_text()) if path.exists() else {}
                if str(seed) in document["runs"]:
                    continue
                began = time.process_time()
                parts = parts or images(seed)
                generating = time.process_time()
                sides = sides or protected(protection, seed, parts)
                generated = time.process_time() - generating
                figures = cell(training, seed, parts, sides)
                figures["generation_cpu_seconds"] = round(generated, 1)
                figures["cpu_seconds"] = round(time.process_time() - began, 1)
                document["runs"][str(seed)] = figures
                document |= {"command": "python bench/protected.py", "miaudit": miaudit.__version__}
                path.write_text(json.dumps(document, indent=1) + "\n")
                print(protection, training, seed, figures["accuracy"], figures["cpu_seconds"], flush=True)


def null(draws: int) -> None:
    """Draw both sides of ordinary data at random, and count how often the check speaks of a pattern."""
    rows = []
    for name, each, sizes in (
        ("digits", None, (100, 400)),
        ("cifar10, 16 x 16", "cifar10", (200, 1000)),
        ("mnist", "mnist", (1000,)),
        ("location30", "location30", (500, 2000)),
        ("adult", "adult", (200, 2000)),
    ):
        dataset = load_named(each or name, None)
        X = np.asarray(dataset.X) if isinstance(dataset.X, np.ndarray) else dataset.X
        y = np.asarray(dataset.y)
        rng = np.random.default_rng(7)
        some = rng.permutation(len(y))[:12_000]
        if each == "cifar10":
            X = X[some].reshape(len(some), 3, 16, 2, 16, 2).mean(axis=(3, 5)).astype(np.float32)
        else:
            X = features(dataset.take(some).X, dataset.schema).numbers
            X = X.reshape(len(some), 28, 28) if each == "mnist" else X
        y = y[some]
        for size in sizes:
            began, high, ordinary, widths = time.process_time(), 0, 0, []
            for k in range(draws):
                index = np.random.default_rng(k).permutation(len(y))[: 2 * size]
                pattern = label_pattern(X[index], y[index], np.arange(2 * size) < size, seed=k)
                assert pattern.excess is not None
                assert pattern.low is not None
                half = pattern.excess - pattern.low
                high += pattern.low > 0
                quantiles = [float(student.ppf(level, size)) for level in (0.975, 0.9995)]
                ordinary += pattern.excess > half * quantiles[0] / quantiles[1]
                widths.append(half)
            rows.append({
                "data": name, "a side": size, "draws": draws, "alarms": int(high), "above 95 % interval": int(ordinary),
                "half width": round(float(np.mean(widths)), 4),
                "cpu seconds a check": round((time.process_time() - began) / draws, 3),
            })  # fmt: skip
            print(rows[-1], flush=True)
    n = draws * len(rows)
    FOLDER.mkdir(parents=True, exist_ok=True)
    document = {
        "command": f"python bench/protected.py null {draws}",
        "miaudit": miaudit.__version__,
        "most alarms by chance": int(binom.ppf(0.99, n, 0.0005)),
        "most above 95 % interval by chance": [int(binom.ppf(p, draws, 0.025)) for p in (0.005, 0.995)],
        "rows": rows,
    }
    (FOLDER / "null.json").write_text(json.dumps(document, indent=1) + "\n")


def documents() -> dict[tuple[str, str], Table]:
    """Return the runs of all cells that are there, by protection and training."""
    found = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*_*.json"))]
    return {(each["protection"], each["training"]): each["runs"] for each in found}


def values(runs: Table, *path: str | int) -> list[float]:
    """Return a figure of every seed."""
    figures = []
    for seed in sorted(runs):
        figure = runs[seed]
        for step in path:
            figure = figure[step]
        figures.append(float(figure))
    return figures


def mean(runs: Table, *path: str | int) -> float:
    """Return the mean of a figure over seeds."""
    return float(np.mean(values(runs, *path)))


def shown(runs: Table, *path: str | int) -> str:
    """Return the mean of a figure over seeds, with Student's 95 % interval of it."""
    each = values(runs, *path)
    middle = float(np.mean(each))
    if len(each) < 2:
        return f"{middle:.3f}"
    half = float(student.ppf(0.975, len(each) - 1) * np.std(each, ddof=1) / len(each) ** 0.5)
    return f"{middle:.3f} ± {half:.3f}"


def speaks(runs: Table, comparison: str) -> str:
    """Return in how many seeds the check for a pattern speaks."""
    lows = values(runs, comparison, "pattern", 1)
    return f"{sum(low > 0 for low in lows)} of {len(lows)}"


CLASSWISE = ("class noise", "LSP", "OPS", "CUDA", "EM")
BEFOREHAND = [
    each for each in PROTECTIONS if each != "NTGA, mixed"
]  # which was added when the figures of NTGA were known


def expectations(cells: dict[tuple[str, str], Table]) -> list[tuple[str, bool]]:
    """Return what was expected before any figure was seen, and whether the means over seeds meet it."""
    usual = {protection: cells[protection, "usual"] for protection in BEFOREHAND}

    def auc(protection: str, comparison: str, attack: str = "rmia") -> float:
        return mean(usual[protection], comparison, attack, "auc", 0)

    def falls(comparison: str, attack: str, *order: tuple[str, ...]) -> bool:
        areas = [[auc(protection, comparison, attack) for protection in each] for each in order]
        return all(min(first) > max(second) for first, second in pairwise(areas))

    order = (("LSP", "AR", "OPS", "CUDA"), ("EM",), ("NTGA",), ("class noise",), ("none",))
    fair = {protection: auc(protection, "fair") for protection in BEFOREHAND}
    clean = {key: mean(runs, "accuracy", "clean") for key, runs in cells.items()}
    back = {key: mean(runs, "fair", "rmia", "auc", 0) for key, runs in cells.items()}
    undone = [(p, t) for p, t in cells if t in ("grey", "blur", "projection") and p != "none"]
    together = [(clean[p, t] > clean[p, "usual"]) and (back[p, t] > back[p, "usual"]) for p, t in undone]
    flags = {name: [values(usual[p], name, "pattern", 1) for p in BEFOREHAND] for name in PAIRS}
    probe = {protection: mean(usual[protection], "naive", "probe", 0) for protection in BEFOREHAND}
    return [
        ("naive, loss threshold: LSP, AR, OPS, CUDA above EM above NTGA above class noise above none",
         falls("naive", "threshold", *order)),
        ("naive, RMIA: the same order", falls("naive", "rmia", *order)),
        ("naive: AUC near 1 (0.95 or more) for every class-wise protection, by the loss threshold",
         min(auc(p, "naive", "threshold") for p in CLASSWISE) >= 0.95),
        ("naive: a check on the raw records alone does as well as RMIA, for every class-wise protection",
         all(mean(usual[p], "naive", "blind", 0) >= auc(p, "naive") for p in CLASSWISE)),
        ("fair: none at least NTGA above EM above LSP", fair["none"] >= fair["NTGA"] > fair["EM"] > fair["LSP"]),
        ("fair: every class-wise protection below none", max(fair[p] for p in CLASSWISE) < fair["none"]),
        ("fair: about 0.5 (0.45 to 0.55) for every class-wise protection",
         all(0.45 <= fair[p] <= 0.55 for p in CLASSWISE)),
        ("originals: 0.5 or slightly above (at most 0.55) for every protection",
         max(auc(p, "originals") for p in BEFOREHAND if p != "none") <= 0.55),
        ("a linear learner tells the classes of members with about 1 (0.9 or more) for every protection but AR",
         min(share for p, share in probe.items() if p not in ("none", "AR")) >= 0.9 > probe["AR"]),
        ("the check for a pattern speaks in the naive comparison of every protection, in every seed",
         all(low > 0 for p, lows in zip(BEFOREHAND, flags["naive"], strict=True) if p != "none" for low in lows)),
        ("it is silent in all fair comparisons, on originals, and without a protection",
         not any(low > 0 for lows in (*flags["fair"], *flags["originals"], flags["naive"][0]) for low in lows)),
        (f"each countermeasure brings clean accuracy and leak back together, in all {len(undone)} cells", all(together)),
        ("grey brings clean accuracy back for EM", clean["EM", "grey"] > clean["EM", "usual"]),
        ("projection brings clean accuracy back for OPS", clean["OPS", "projection"] > clean["OPS", "usual"]),
        ("adversarial training brings clean accuracy back for EM", clean["EM", "adversarial"] > clean["EM", "usual"]),
    ]  # fmt: skip


def tables() -> None:
    """Put the tables into the page."""
    cells = documents()
    usual = {protection: cells[protection, "usual"] for protection in PROTECTIONS}
    seconds = sum(sum(values(runs, "cpu_seconds")) for runs in cells.values())
    runs = sum(len(each) for each in cells.values())
    text = [
        f"{runs} cells ({len(cells)} of protection and training, seeds {', '.join(map(str, SEEDS))}), "
        f"{seconds / 60:.1f} CPU minutes in all, one core; `python bench/protected.py`. Figures are means over seeds, with "
        "Student's 95 % interval of the mean.",
        "**Accuracy** of the target, by who is asked:",
        table(["protection", "members", "non-members with the pattern", "clean non-members"],
              [[p, *(shown(usual[p], "accuracy", key) for key in ("train", "same", "clean"))] for p in usual]),
        "**AUC of RMIA** (offline, 4 shadow models trained on records with the pattern), and of the loss threshold:",
        table(["protection", "naive", "fair", "originals", "naive, loss", "fair, loss"],
              [[p, *(shown(usual[p], name, "rmia", "auc", 0) for name in PAIRS),
                *(shown(usual[p], name, "threshold", "auc", 0) for name in ("naive", "fair"))] for p in usual]),
        "**TPR of RMIA at an FPR of 1 %:**",
        table(["protection", *PAIRS], [[p, *(shown(usual[p], name, "rmia", "tpr", 0) for name in PAIRS)] for p in usual]),
        "**Without any model.** The check on the raw records (AUC), what a linear learner of other members tells of the "
        "classes of members and of clean non-members, the excess, and in how many seeds the check for a pattern speaks:",
        table(["protection", "records alone, naive", "records alone, fair", "members", "clean non-members", "excess",
               "speaks: naive", "fair", "originals"],
              [[p, shown(usual[p], "naive", "blind", 0), shown(usual[p], "fair", "blind", 0),
                *(shown(usual[p], "naive", "probe", k) for k in (0, 1)), shown(usual[p], "naive", "pattern", 0),
                *(speaks(usual[p], name) for name in PAIRS)] for p in usual]),
        "**Countermeasures**, which change whatever the model is trained on and asked:",
        table(["protection", "training", "clean accuracy", "naive", "fair", "originals", "speaks: naive"],
              [[p, t, shown(each, "accuracy", "clean"), *(shown(each, name, "rmia", "auc", 0) for name in PAIRS),
                speaks(each, "naive")]
               for (p, t), each in sorted(cells.items(), key=lambda item: list(CELLS).index(item[0])) if p in COUNTERED]),
        "| expected beforehand | met |\n| --- | --- |\n"
        + "\n".join(f"| {expected} | {'yes' if met else 'no'} |" for expected, met in expectations(cells)),
    ]  # fmt: skip
    path = FOLDER / "null.json"
    null_text = null_table(json.loads(path.read_text())) if path.exists() else ""
    page = PAGE.read_text()
    for name, content in (("figures", "\n\n".join(text)), ("null", null_text)):
        start, stop = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        before, rest = page.split(start)
        page = f"{before}{start}\n{content}\n\n{stop}{rest.split(stop)[1]}"
    PAGE.write_text(page)


def null_table(document: Table) -> str:
    """Return how often the check speaks on ordinary data."""
    rows = [[row["data"], *(str(row[key]) for key in ("a side", "draws", "alarms", "above 95 % interval")),
             f"{row['half width']:.3f}", f"{row['cpu seconds a check']:.3f}"] for row in document["rows"]]  # fmt: skip
    names = ["data", "a side", "draws", "speaks", "would at 95 %", "half width", "CPU seconds"]
    low, high = document["most above 95 % interval by chance"]
    return (
        f"`{document['command']}`. Of {document['rows'][0]['draws']} draws {low} to {high} are above a 95 % interval by chance "
        f"(99 %), and of all draws together at most {document['most alarms by chance']} above one of 99.9 %.\n\n"
        + table(names, rows)
    )


def table(names: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), *rows))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--tables"]:
        tables()
    elif arguments[:1] == ["null"]:
        null(int(arguments[1]) if len(arguments) > 1 else 400)
    else:
        run([each for each in CELLS if not arguments or each[1] in arguments])
