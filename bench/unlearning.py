"""Experiments of docs/unlearning.md: what deletion audits find of known deletions, and whether it is as expected.

    python bench/unlearning.py X1 X3 ...        # runs experiments; each writes bench/results/unlearning/NAME.json
    python bench/unlearning.py X1 --runs 40     # X1 with so many small worlds of retraining in the place of 200
    python bench/unlearning.py                  # all of them
    python bench/unlearning.py --tables         # puts the tables into docs/unlearning.md

Expectations are stated in the code, before any figure; a table says of each whether it was met.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.data import load_named
from miaudit.recipes import Encoded, EstimatorRecipe, Network
from miaudit.result import Interval, Result
from miaudit.threads import usable_cores
from miaudit.unlearning import audit

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "bench" / "results" / "unlearning"
PAGE = ROOT / "docs" / "unlearning.md"
SEED = 1
Table = dict[str, Any]


def drawn(name: str, sizes: dict[str, int], seed: int = SEED, **options: str) -> dict[str, tuple[Any, Any]]:
    """Return the sides of a named data set, drawn at random."""
    dataset = load_named(name, None, options=options)
    X, y = dataset.X, dataset.y
    if name == "mnist":
        X = np.asarray(X).reshape(len(y), -1).astype(np.float32) / 255
    order = np.random.default_rng(seed).permutation(len(y))
    parts, start = {}, 0
    for side, size in sizes.items():
        index = order[start : start + size]
        parts[side], start = (X[index], y[index]), start + size
    return parts


def row(result: Result, name: str) -> Table:
    """Return what a table says of one audit."""
    deletion = result.deletion
    assert deletion is not None
    questions = {key: getattr(deletion, key) for key in ("before", "after", "pair", "others_before", "others_after")}
    figures: Table = {"name": name, "kind": deletion.kind, "n": [deletion.deleted, deletion.never]}
    for key, question in questions.items():
        if question is not None:
            figures[key] = {"auc": area(question.auc), "population": area(question.population), "kind": question.kind}
            figures[key]["attack"] = question.attack
            if question.power is not None:
                figures[key]["detectable"] = question.power.auc
    figures["exposure"] = None if deletion.exposure is None else area(deletion.exposure)
    figures["still_in"] = None if deletion.still_in is None else area(deletion.still_in)
    figures["likeness"] = None if deletion.likeness is None else deletion.likeness.model_dump(mode="json")
    figures["cost"] = deletion.cost.model_dump(mode="json")
    figures["seconds"] = {key: of for key, of in result.provenance.seconds.items() if key.startswith("one ")}
    figures["receipt"] = None if deletion.receipt is None else deletion.receipt.model_dump()
    figures["verdict"] = result.verdict
    return figures


def area(of: Interval) -> list[float | None]:
    """Return a figure with its interval."""
    return [None if each is None else round(each, 4) for each in (of.value, of.low, of.high)]


def met(text: str, holds: bool | None) -> Table:
    """Return an expectation and whether it was met; None: the figures do not tell."""
    return {"expected": text, "met": holds}


def less(one: list[Any], other: list[Any]) -> bool:
    """Return whether a figure with its interval is below another by more than the intervals."""
    return bool(one[2] < other[1])


def above(one: list[Any], other: list[Any]) -> bool | None:
    """Return whether a figure lies above another; None where their intervals overlap, so that they do not tell."""
    return True if less(other, one) else False if less(one, other) else None


def every(claims: list[bool | None]) -> bool | None:
    """Return whether all claims hold; None where none fails and some are not told."""
    return False if False in claims else None if None in claims else True


def tree_world(seed: int) -> dict[str, tuple[Any, Any]]:
    """Return a small world: one feature of four decides the class, and three records of ten have a random one."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(520, 4))
    y = (X[:, 0] > 0).astype(int)
    noisy = rng.random(len(y)) < 0.3
    y[noisy] = rng.integers(0, 2, noisy.sum())
    parts = zip(np.split(X, (120, 320)), np.split(y, (120, 320)), strict=True)
    return dict(zip(("members", "nonmembers", "population"), parts, strict=True))


def small_worlds(procedure: str, runs: int) -> Table:
    """Return how often each verdict comes out in small worlds, and how often the pair gives the deletion away."""
    kinds, pairs = Counter[str](), 0
    options = {"shadows": 8, "oracles": 0, "jobs": 0, "bystanders": 4, "kept": 0}
    for seed in range(1000, 1000 + runs):
        deletion = audit(
            *(DecisionTreeClassifier(),),
            trained_here=True,
            forget=np.arange(50),
            procedure=procedure,
            seed=seed,
            **tree_world(seed),
            **options,
        ).deletion
        assert deletion is not None
        assert deletion.pair is not None
        kinds[deletion.kind] += 1
        pairs += deletion.pair.kind == "leak"
    return {"name": procedure, "runs": runs, "kinds": dict(kinds), "pair": pairs}


def x1(runs: int = 200) -> Table:
    """Null and positive control: retrainings of small worlds, and a fifth as often nothing."""
    return judged_x1([small_worlds("retrain", runs), small_worlds("none", max(1, runs // 5))])


def judged_x1(rows: list[Table]) -> Table:
    """Return the table of these rows."""
    (null, positive), n = rows, rows[0]["runs"]
    alarms = sum(null["kinds"].get(kind, 0) for kind in ("traces remain", "over-forgotten"))
    found = positive["kinds"].get("traces remain", 0)
    most = int(binom.ppf(0.99, n, 0.05))
    return {
        "title": "A decision tree that remembers its 120 records; 50 deleted, 50 never trained on, 8 shadow models",
        "rows": rows,
        "expectations": [
            met(f"retraining: traces in at most 5 % of runs (by chance at most {most} of {n} at 99 %)", alarms <= most),
            met(
                "retraining: the pair gives the deletion away clearly more often", null["pair"] > max(2 * most, n // 2)
            ),
            met("nothing: traces in at least 90 %", found >= 0.9 * positive["runs"]),
        ],
    }


LADDER: list[tuple[str, Any]] = [
    ("nothing", "none"),
    ("fine-tune 1", {"name": "fine-tune", "epochs": 1}),
    ("fine-tune 10", {"name": "fine-tune", "epochs": 10}),
    ("NegGrad+ 0.9", {"name": "neggrad+", "share": 0.9}),
    ("random labels", "random-labels"),
    ("SSD", "ssd"),
    ("retrain", "retrain"),
]
SIZES = {"members": 400, "nonmembers": 220, "population": 500}
MLP = Network(hidden=(32,), activation="relu", epochs=30, learning_rate=0.003, batch=50)


def ladder(procedures: list[tuple[str, Any]], forget: Any, sides: dict[str, Any], **options: Any) -> list[Table]:
    """Audit the same deletion by each procedure, over one store."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, procedure in procedures:
            result = audit(
                MLP,
                trained_here=True,
                forget=forget,
                procedure=procedure,
                seed=SEED,
                out=folder,
                **sides,
                **{"shadows": 12, "oracles": 19, "jobs": 0, "bystanders": 4} | options,
            )
            rows.append(row(result, name))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def x3() -> Table:
    """The ladder of procedures on random records (with X2, nothing, and X11, the others)."""
    rows = ladder(LADDER, np.arange(100), drawn("location30", SIZES))
    by = {each["name"]: each for each in rows}
    after = {name: each["after"]["auc"] for name, each in by.items()}
    order = ("nothing", "fine-tune 1", "fine-tune 10")
    falls = every([above(after[a], after[b]) for a, b in pairwise(order)])
    gaps = [each["after"]["auc"][0] - each["after"]["population"][0] for each in rows if each["name"] != "retrain"]
    exposed = [name for name in by if (by[name]["exposure"] or [None])[0] is not None and by[name]["exposure"][1] > 0]
    return {
        "title": "Location-30, a network of 32 units, 400 records, 100 deleted; 12 shadow models, 19 retrained",
        "rows": rows,
        "expectations": [
            met("nothing: afterwards as before (X2)", after["nothing"] == by["nothing"]["before"]["auc"]),
            met("SSD does nothing on random records: within 0.02", abs(after["SSD"][0] - after["nothing"][0]) < 0.02),
            met("the AUC afterwards falls with the epochs of fine-tuning (0, 1, 10)", falls),
            met("10 epochs of fine-tuning still leave more than retraining", less(after["retrain"], after["fine-tune 10"])),
            met("retraining: no trace found", by["retrain"]["kind"] == "no trace found"),
            met("per record the attack finds at least as much as the loss threshold", min(gaps) >= -0.01),
            met("X11: NegGrad+ exposes records that stayed more than before; retraining does not",
                "NegGrad+ 0.9" in exposed and "retrain" not in exposed),
        ],
    }  # fmt: skip


HARD = [each for each in LADDER if each[0] in ("nothing", "fine-tune 10", "NegGrad+ 0.9", "random labels", "retrain")]


def x4() -> Table:
    """The same on the records that a first audit finds most exposed."""
    sides = drawn("location30", SIZES)
    X, y = sides["members"]
    target = MLP.fit(X, y, classes=30, seed=SEED)
    first = miaudit.audit(
        target,
        **sides,
        recipe=MLP,
        shadows=12,
        seed=SEED,
        jobs=0,
        design="overlapping",
        attacks=["lira"],
        bystanders=0,
        outside=0,
    )
    table = first.records.columns
    order = np.argsort(-np.asarray(table["lira"]))
    hard = [int(i) for i in order if table["member"][i]][:100]
    rows = ladder(HARD, np.asarray(hard), sides)
    easy = json.loads((FOLDER / "X3.json").read_text())["rows"] if (FOLDER / "X3.json").exists() else []
    random = {each["name"]: each["after"]["auc"] for each in easy}
    worse = [
        each["name"] for each in rows if each["name"] in random and less(random[each["name"]], each["after"]["auc"])
    ]
    names = [each["name"] for each in rows]
    approximate = [name for name in names if name not in ("nothing", "retrain")]
    return {
        "title": "X3 with the 100 records deleted that a first LiRA finds most exposed",
        "rows": rows,
        "expectations": [
            met("all approximate procedures leave more than on random records", all(name in worse for name in approximate)),
            met("retraining: no trace found", rows[names.index("retrain")]["kind"] == "no trace found"),
        ],
    }  # fmt: skip


def x5() -> Table:
    """Versions: exact retraining of models that hardly leak; batches of 30, 100 and 300 deletions."""
    sides = drawn("adult", {"members": 1000, "nonmembers": 900, "population": 3000})
    encoder = load_named("adult", None)
    from miaudit.data import encoder as encoder_of

    recipes = {
        "logistic regression": LogisticRegression(max_iter=500),
        "random forest": RandomForestClassifier(n_estimators=20, min_samples_leaf=5),
    }
    rows = []
    for name, estimator in recipes.items():
        transformer = encoder_of(encoder.schema)
        recipe = EstimatorRecipe(estimator) if transformer is None else Encoded(EstimatorRecipe(estimator), transformer)
        for count in (30, 100, 300):
            result = audit(
                recipe,
                trained_here=True,
                forget=np.arange(count),
                procedure="retrain",
                seed=SEED,
                shadows=32,
                oracles=0,
                jobs=0,
                bystanders=6,
                kept=0,
                **sides,
            )
            rows.append(row(result, f"{name}, {count} deleted"))
            print(rows[-1]["name"], rows[-1]["kind"], rows[-1]["pair"]["auc"], file=sys.stderr, flush=True)
    big = [each for each in rows if each["n"][0] >= 100]
    return {
        "title": "Adult, 1,000 records; exact retraining",
        "rows": rows,
        "expectations": [
            met("afterwards nothing is found", all(each["after"]["kind"] != "leak" for each in rows)),
            met("both models together give away more than the model before, at 100 and 300 deletions",
                every([above(each["pair"]["auc"], each["before"]["auc"]) for each in big])),
            met("that falls with the size of the batch (100 to 300)",
                every([above(rows[i + 1]["pair"]["auc"], rows[i + 2]["pair"]["auc"]) for i in (0, 3)])),
        ],
    }  # fmt: skip


def x8() -> Table:
    """A class removed."""
    sides = drawn("mnist", {"members": 1000, "nonmembers": 1200, "population": 1500})
    procedures: list[tuple[str, Any]] = [
        ("nothing", "none"),
        ("mask", "mask"),
        ("fine-tune 5", {"name": "fine-tune", "epochs": 5}),
        ("random labels", "random-labels"),
        ("SSD", "ssd"),
        ("retrain", "retrain"),
        (KEPT, {"name": "class-sisa", "gate": "kept"}),
        (SOUND, "class-sisa"),
    ]
    rows = ladder(procedures, None, sides, remove="3", shadows=16, oracles=20, bystanders=0)
    by = {each["name"]: each for each in rows}
    p = {name: each["likeness"]["p_value"] for name, each in by.items()}
    right = {name: each["cost"]["after"]["never"] for name, each in by.items()}
    return {
        "title": "MNIST, a network of 32 units, 1,000 records, the class 3 removed; 16 shadow models, 20 retrained; class-SISA "
        "of 2 shards, 5 classes each",
        "rows": rows,
        "expectations": [
            met("masking, retraining and class-SISA never answer the class",
                all(right[name] == 0 for name in ("mask", "retrain", KEPT, SOUND))),
            met("masking differs from models that never saw the class (p at most 0.05)", p["mask"] <= 0.05),
            met("so do fine-tuning and random labels", p["fine-tune 5"] <= 0.05 and p["random labels"] <= 0.05),
            met("retraining does not", p["retrain"] > 0.05),
            *of_class_shards(by),
        ],
    }  # fmt: skip


KEPT, SOUND = "class-SISA, gate kept", "class-SISA, gate retrained"


def of_class_shards(by: dict[str, Table]) -> list[Table]:
    """Return what is expected of a class removed from shards of classes, and of how fast it is learned again."""
    p = {name: each["likeness"]["p_value"] for name, each in by.items()}
    receipts = {name: by[name]["receipt"]["identical"] for name in (KEPT, SOUND)}
    again = {name: each["cost"]["relearning"] for name, each in by.items()}
    faster = {name: None if of["p_value"] is None else of["p_value"] <= 0.05 for name, of in again.items()}
    hidden = [again[name]["updates"] == again[name]["before"] for name in ("nothing", "mask")]
    return [
        met("class-SISA with a gate that is kept differs, too (p at most 0.05)", p[KEPT] <= 0.05),
        met("with its gate retrained it does not", p[SOUND] > 0.05),
        met("receipts hold with the gate retrained, and not with the gate kept", receipts == {KEPT: 0, SOUND: 4}),
        met("where nothing was done, and behind a mask, the class takes as many updates as before, and is learned again faster "
            "than by retrained models (p at most 0.05)", all(hidden) and every([faster["nothing"], faster["mask"]])),
        met("so it is where the gate was kept", faster[KEPT]),
        met("retraining, and class-SISA with its gate retrained, learn it no faster",
            every([faster[name] is not None and not faster[name] for name in ("retrain", SOUND)])),
    ]  # fmt: skip


def x9() -> Table:
    """All stays of patients deleted from a model that hardly leaks."""
    dataset = load_named("diabetes130", None, options={"stays": "all"})
    from miaudit.data import encoder as encoder_of

    groups = dataset.groups
    assert groups is not None
    rng = np.random.default_rng(SEED)
    patients = rng.permutation(np.unique(groups))
    parts, names, start = {}, {}, 0
    for side, count in {"members": 1200, "nonmembers": 900, "population": 2000}.items():
        index = np.flatnonzero(np.isin(groups, patients[start : start + count]))
        parts[side], names[side], start = (dataset.X[index], dataset.y[index]), groups[index], start + count
    of_members = names["members"]
    gone = np.isin(of_members, rng.permutation(np.unique(of_members))[:300])
    transformer = encoder_of(dataset.schema)
    recipe = EstimatorRecipe(DecisionTreeClassifier(min_samples_leaf=20))
    result = audit(
        recipe if transformer is None else Encoded(recipe, transformer),
        trained_here=True,
        forget=gone,
        procedure="retrain",
        groups=[names[side] for side in ("members", "nonmembers", "population")],
        seed=SEED,
        shadows=24,
        oracles=0,
        jobs=0,
        bystanders=6,
        kept=0,
        **parts,
    )
    only = row(result, "retrain, by patient")
    return {
        "title": "Hospital stays (diabetes130) of 1,200 patients, 300 deleted with all stays; a tree with 20 stays a leaf",
        "rows": [only],
        "expectations": [
            met("nothing to see here: there was no leak before", only["kind"] == "nothing to see here"),
            met("both models together give patients away", only["pair"]["kind"] == "leak"),
        ],
    }


def x10() -> Table:
    """Canaries with wrong labels among images, deleted again: the bound of one training on what is left."""
    from miaudit.canaries import Canaries
    from miaudit.canaries import run as run_canaries

    procedures: list[tuple[str, Any, int]] = [  # the last: how often, each with coins of its own
        ("nothing", "none", 5),
        ("fine-tune 10", {"name": "fine-tune", "epochs": 10}, 5),
        ("NegGrad+", "neggrad+", 5),
        ("SISA, 5 shards", {"name": "sisa", "shards": 5}, 20),
        ("retrain", "retrain", 20),
    ]
    recipe = Network(hidden=(64,), epochs=60, batch=32)
    rows = []
    for name, procedure, runs in procedures:
        bounds, areas, began = [], [], time.process_time()
        for seed in range(SEED, SEED + runs):
            parts = drawn("mnist", {"members": 1000, "sources": 500}, seed)
            with tempfile.TemporaryDirectory() as folder:
                audit_of = run_canaries(
                    recipe,
                    Canaries(count=500, delete=True),
                    out=Path(folder) / "canaries",
                    records=parts["members"],
                    sources=parts["sources"],
                    procedure=procedure,
                    seed=seed,
                    jobs=0,
                )
            bounds.append(audit_of.epsilon)
            areas.append(audit_of.auc.value)
        rows.append(
            {
                "name": name,
                "runs": runs,
                "epsilon": [float(np.mean(bounds)), min(bounds), max(bounds)],
                "zero": sum(bound == 0 for bound in bounds),
                "auc": [float(np.mean(areas)), min(areas), max(areas)],
                "cpu_seconds": round(time.process_time() - began, 1),
            }
        )
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    bound = {each["name"]: each["epsilon"] for each in rows}
    exact = [each for each in rows if each["name"] in ("retrain", "SISA, 5 shards")]
    return {
        "title": "MNIST, a network of 64 units, 1,000 records, 500 wrongly labelled canaries, deleted again; one training each",
        "rows": rows,
        "expectations": [
            met("nothing leaves more than fine-tuning", above(bound["nothing"], bound["fine-tune 10"])),
            met("fine-tuning leaves more than NegGrad+", above(bound["fine-tune 10"], bound["NegGrad+"])),
            met("retraining and SISA give a bound of 0 in at least 95 % of runs",
                all(each["zero"] >= 0.95 * each["runs"] for each in exact)),
        ],
    }  # fmt: skip


EXPERIMENTS: dict[str, Callable[[], Table]] = {"X1": x1, "X3": x3, "X4": x4, "X5": x5, "X8": x8, "X9": x9, "X10": x10}


def run(name: str, runs: int | None = None) -> None:
    """Run an experiment and write its file."""
    began, cpu = time.perf_counter(), time.process_time()
    found = EXPERIMENTS[name]() if runs is None else x1(runs)
    write(name, found, began, cpu, "" if runs is None else f" --runs {runs}")


def write(name: str, found: Table, began: float, cpu: float, options: str = "") -> None:
    """Write the file of an experiment that has just been run."""
    document = {
        "experiment": name,
        "seed": SEED,
        "cores": usable_cores(),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "command": f"python bench/unlearning.py {name}{options}",
        "miaudit": miaudit.__version__,
        **found,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def cell(figure: list[Any] | None) -> str:
    """Return a figure with its interval."""
    if figure is None or figure[0] is None:
        return "-"
    return f"{figure[0]:.3f}" + ("" if figure[1] is None else f" ({figure[1]:.3f}-{figure[2]:.3f})")


def table(document: Table) -> str:
    """Return an experiment as Markdown."""
    lines = [
        f"**{document['experiment']}.** {document['title']}; seed {document['seed']}, {document['cores']} cores, "
        f"{document['cpu_seconds']:.0f} CPU seconds. `{document['command']}`"
        + (f"; cut short: {document['cut_short']}" if "cut_short" in document else ""),
        "",
    ]
    first = document["rows"][0]
    if "zero" in first:
        heads = (
            "procedure",
            "runs",
            "epsilon, 95 % lower bound (least-largest)",
            "0",
            "AUC of the canaries (least-largest)",
        )
        lines += [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        for each in document["rows"]:
            cells = [each["runs"], cell(each["epsilon"]), f"{each['zero']} times", cell(each["auc"])]
            lines.append(f"| {each['name']} | {' | '.join(map(str, cells))} |")
    elif "kinds" in first:
        lines += ["| procedure | runs | verdicts | the pair gives it away |", "| --- | --- | --- | --- |"]
        for each in document["rows"]:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(each["kinds"].items()))
            lines.append(f"| {each['name']} | {each['runs']} | {kinds} | {each['pair']} |")
    else:
        like = any(each["likeness"] for each in document["rows"])
        heads = [
            "procedure",
            "verdict",
            "before",
            "afterwards",
            "loss threshold",
            "by both",
            "accuracy: deleted, never, kept",
        ]
        heads += ["exposure of others", "like retrained: p"] if like else []
        further = [_further(each) for each in document["rows"]]
        beside = list(dict.fromkeys(head for cells in further for head, text in cells.items() if text != "-"))
        heads += beside
        lines += [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        for each in document["rows"]:
            rates = each["cost"]["after"]
            cells = [
                each["name"],
                each["kind"],
                cell(each["before"]["auc"]),
                cell(each["after"]["auc"]),
                cell(each["after"]["population"]),
                cell(each["pair"]["auc"]),
                ", ".join("-" if rates[key] is None else f"{rates[key]:.2f}" for key in ("deleted", "never", "kept")),
            ]
            if like:
                change = each["exposure"]
                signed = (
                    "-"
                    if change is None or change[0] is None
                    else f"{change[0]:+.3f} ({change[1]:+.3f} to {change[2]:+.3f})"
                )
                cells += [signed, f"{each['likeness']['p_value']:.2f}" if each["likeness"] else "-"]
            cells += [_further(each).get(head, "-") for head in beside]
            lines.append(f"| {' | '.join(cells)} |")
    words = {True: "yes", False: "**no**", None: "not told"}
    lines += ["", "| expected beforehand | met |", "| --- | --- |"]
    lines += [f"| {each['expected']} | {words[each['met']]} |" for each in document["expectations"]]
    return "\n".join(lines)


def _further(row: Table) -> dict[str, str]:
    """Return what experiments of sharded training, and of classes, say beside, by heading."""
    cells = {}
    if (receipt := row.get("receipt")) is not None:
        cells["receipts that hold"] = f"{receipt['identical']} of {receipt['models']}"
    if (work := row["cost"].get("work")) is not None:
        formula = "-" if work["expected"] is None else format(work["expected"], ".2f")
        cells["work: share, formula"] = f"{work['share']:.2f}, {formula}"
    if (again := row["cost"].get("relearning")) is not None:
        one = "-" if again["updates"] is None else f"{again['updates']}"
        cells["learned again: updates, retrained"] = (
            "-" if again["retrained"] is None else f"{one}, {again['retrained']:g} ({again['fewest']}-{again['most']})"
        )
    return cells


def tables() -> None:
    """Put the tables of all files into the page."""
    documents = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("X*.json"), key=lambda p: int(p.stem[1:]))]
    text = "\n\n".join(map(table, documents))
    page = PAGE.read_text(encoding="utf-8")
    marked = re.compile(r"(<!-- experiments -->\n).*?(<!-- end -->)", re.DOTALL)
    PAGE.write_text(marked.sub(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--tables"]:
        tables()
    elif sys.argv[1:3] == ["X1", "--runs"]:
        run("X1", int(sys.argv[3]))
    else:
        for each in sys.argv[1:] or EXPERIMENTS:
            run(each)
