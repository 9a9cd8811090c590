"""DP-SGD against heuristic defences on worst-case canaries, as Aerni, Zhang and Tramer (2024, section 4) compare them.

Canaries are records with wrong labels; all other training records are fixed. Every model in turn is the target, the others
are the attacker's references, trained with the same defence (an adaptive attacker), and online LiRA ranks the canaries.
Intervals of 95 % resample models and canaries (Owen 2007, the pigeonhole bootstrap), which is on the wide side.

    MIAUDIT_DATA=... python bench/dp.py --out bench/results/dp.json [--models 8] [--only none l2 ...]

One part trains 8 models with a defence, and one more on clean labels for its test accuracy. What is in the file stays there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from miaudit import stats
from miaudit.attacks import LiRA
from miaudit.auditing import Engine, case_of_plan, gather
from miaudit.auditing.asking import quiet
from miaudit.auditing.provenance import Clock, system, versions
from miaudit.data.records import take_records
from miaudit.mitigations import DPSGD, L2, Dropout, EarlyStopping, LabelSmoothing, RelaxLoss, SplitDistillation, held
from miaudit.mitigations.canaries import canary_case
from miaudit.mitigations.lab import Setting, trained_by
from miaudit.mitigations.private import privacy_of
from miaudit.store import Store
from miaudit.threads import one_thread

CANARIES, SEED = 200, 2017
PLAN: dict[str, Any] = {
    "seed": SEED,
    "data": {"name": "location30"},
    "split": {"members": 1200, "nonmembers": 1200},
    "recipe": {"network": {"preset": "purchase", "epochs": 50}},
}
DEFENCES: dict[str, Any] = {
    "none": (),
    "l2": L2(1e-3),
    "dropout": Dropout(0.5),
    "early-stopping": EarlyStopping(),
    "label-smoothing": LabelSmoothing(0.1),
    "relaxloss": RelaxLoss(1.0),
    "split-distillation": SplitDistillation(models=6, without=2),
    "dp-sgd-high": DPSGD(noise=0.3, clip=1.0, learning_rate=2.0, batch=200, epochs=40),
    "dp-sgd-medium": DPSGD(noise=0.5, clip=1.0, learning_rate=1.0, batch=100, epochs=25),
}
"""DP-SGD's settings were chosen among five by test accuracy on another draw of records, before any attack was run."""


def part(name: str, models: int) -> dict[str, Any]:
    """Train the models of one defence, attack each, and return the figures."""
    began, setting = time.perf_counter(), Setting.of(DEFENCES[name])
    case = case_of_plan({**PLAN, "shadows": {"count": models}})
    defended = trained_by(case, setting)
    workers, _ = Engine(jobs=0).start(case.engine, defended.recipe)
    with tempfile.TemporaryDirectory() as folder:
        measured = held(
            gather(canary_case(defended, CANARIES), Store(folder), workers, clock=Clock(), tell=quiet)
        ).evidence.direct
        seconds = time.perf_counter() - began
    scores = np.stack([LiRA().score(measured.stand_in(i)) for i in range(models)])  # (models, canaries)
    inside = measured.inside
    X, y, split = case.dataset.X, case.dataset.y, case.split
    with one_thread():
        model = defended.recipe.fit(take_records(X, split.members), y[split.members], classes=30, seed=SEED)
        right = model.predict_proba(take_records(X, split.nonmembers)).argmax(axis=1) == y[split.nonmembers]
        trained = model.predict_proba(take_records(X, split.members)).argmax(axis=1) == y[split.members]
    accuracy = stats.rate(int(right.sum()), len(right))
    privacy = privacy_of(setting.training, case)
    return {
        "defence": setting.label,
        "test_accuracy": [accuracy.value, accuracy.low, accuracy.high],
        "train_accuracy": float(trained.mean()),
        **{key: spread(scores, inside, of) for key, of in FIGURES.items()},
        "epsilon": None if privacy is None else privacy.epsilon,
        "delta": None if privacy is None else privacy.delta,
        "seconds": round(seconds, 1),
    }


def tpr(fpr: float) -> Any:
    """Return a function of both sides' scores."""
    return lambda ins, outs: stats.tpr_at_fpr(ins, outs, fpr).tpr


FIGURES = {"auc": stats.auc, "tpr_at_1_percent": tpr(0.01), "tpr_at_01_percent": tpr(0.001)}


def spread(scores: Any, inside: Any, of: Any, draws: int = 200) -> list[float]:
    """Return a figure of all models' scores together, with its interval."""
    rng = np.random.default_rng(SEED)
    models, canaries = scores.shape
    values = []
    for _ in range(draws):
        rows, columns = rng.integers(models, size=models), rng.integers(canaries, size=canaries)
        of_these, ins = scores[np.ix_(rows, columns)], inside[np.ix_(rows, columns)]
        values.append(of(of_these[ins], of_these[~ins]))
    low, high = np.quantile(values, [0.025, 0.975])
    return [float(of(scores[inside], scores[~inside])), float(low), float(high)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=[*DEFENCES], default=[*DEFENCES])
    parser.add_argument("--models", type=int, default=8)
    options = parser.parse_args()
    document: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"rows": {}}
    document |= {
        "plan": PLAN,
        "models": options.models,
        "canaries": CANARIES,
        "versions": versions(),
        "platform": system(),
    }
    for name in options.only:
        document["rows"][name] = part(name, options.models)
        options.out.write_text(json.dumps(document, indent=2) + "\n")
        print(name, json.dumps(document["rows"][name]), flush=True)


if __name__ == "__main__":
    main()
