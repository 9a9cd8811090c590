"""The same evidence gives the same result, whether a model is audited or its stored answers are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from miaudit import auditing
from miaudit.auditing import Case, case_of_model
from miaudit.auditing.asking import quiet
from miaudit.auditing.drawing import bystanders_of, draws_of
from miaudit.auditing.scoring import score
from miaudit.auditing.shadow_data import trained_target
from miaudit.result import Result
from miaudit.seeds import child_seed
from miaudit.shadows.pool import ShadowPool
from miaudit.store import Store
from miaudit.targets import Outputs, Target, as_target

N, M = 60, 4
Answer = Callable[[np.ndarray], np.ndarray]


def largest(probabilities: np.ndarray, top: int) -> np.ndarray:
    kept = np.zeros_like(probabilities)
    classes = np.argsort(probabilities, axis=1)[:, -top:]
    np.put_along_axis(kept, classes, np.take_along_axis(probabilities, classes, axis=1), axis=1)
    return kept


REDUCED: dict[str, tuple[str | None, Answer]] = {
    "probabilities": (None, lambda p: p),
    "float32": (None, lambda p: p.astype(np.float32)),
    "rounded": (None, lambda p: np.round(p, 2)),
    "six decimals": (None, lambda p: np.round(p, 6)),
    "top class": (None, lambda p: largest(p, 1)),
    "top two, rounded": (None, lambda p: np.round(largest(p, 2), 3)),
    "labels": (None, lambda p: p.argmax(axis=1)),
    "logits": (None, lambda p: 3 * np.log(p + 1e-3) + 5),
    "percent": (None, lambda p: 100 * p),
    "log-probabilities": (None, lambda p: np.log(np.maximum(p, 1e-12) / np.maximum(p, 1e-12).sum(1, keepdims=True))),
}
"""What a target may answer of its probabilities, and what a file must say of it where its numbers do not."""

DESIGNS = {
    "disjoint": {"design": "disjoint"},
    "overlapping": {"design": "overlapping"},
    "nothing outside": {"design": "disjoint", "outside": 0},
    "not apart": {"design": "disjoint", "outside": 110},
    "people": {
        "design": "disjoint",
        "groups": [np.arange(60) // 3, 100 + np.arange(60) // 3, 200 + np.arange(160) // 3],
    },
    "people's records": {
        "design": "overlapping",
        "unit": "record",
        "groups": [np.arange(60) // 3, 100 + np.arange(60) // 3, None],
    },
    "attacks": {"design": "overlapping", "attacks": ["rmia", "lira offline"]},
}
RECIPES = {
    "forest": RandomForestClassifier(8, random_state=0),
    "linear": LogisticRegression(C=1e6, max_iter=2000),
}


def sides(classes: int = 3) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, classes, n)
        return (rng.normal(size=(n, 5)) + y[:, None]).astype(np.float32), y

    return {"members": draw(N), "nonmembers": draw(N), "population": draw(160)}


def stored(path: Path, case: Case, folder: Path, kind: str | None) -> Path:
    """Write what target and shadows answered in an audit, in the layout of docs/outputs.md."""
    data, (draws, outside) = case.dataset, draws_of(case)
    store, (apart, _) = Store(folder), bystanders_of(case)
    pool = ShadowPool(data, case.recipe, draws, store, child_seed(case.seed, "shadows"), apart=apart)
    rows, p = pool.outputs(range(M)), len(draws.aside)
    about = slice(0, rows.shape[1] - p)
    asked, audited = draws.asked[:, about], draws.audited
    order = np.concatenate([audited, np.setdiff1d(asked, audited)])
    position = np.zeros(len(data), int)
    position[order] = np.arange(len(order))
    arrays: dict[str, Any] = {
        "target": case.target._ask(data.X[audited]),
        "labels": data.y[order],
        "member": np.isin(audited, case.split.members),
        "shadows": rows[:, about],
        "inside": draws.inside[:, about],
        "asked": position[asked],
        "features": data.schema.encode(data.X[audited]),
        "ids": audited,
        "classes": list(data.classes),
        **{f"slice_{name}": values[audited] for name, values in case.slices.items()},
    }
    if len(outside) and arrays["target"].ndim == 2:
        arrays["population_target"] = case.target._ask(data.X[outside])
        arrays["population_labels"] = data.y[outside]
        arrays["population_features"] = data.schema.encode(data.X[outside])
        if p:
            arrays["population_shadows"] = rows[:, -p:]
    if apart is not None:
        arrays["bystanders"] = np.stack([store.part(job.key, "outputs", 0, 2 * N) for job in pool.bystander_plan])
    if data.groups is not None:
        arrays["group"] = np.asarray(data.groups[order]).astype(str)
    if kind is not None:
        arrays["kind"] = kind
    np.savez(path, **arrays)
    return path


def both(folder: Path, answer: str, design: str, recipe: str, seed: int = 5) -> tuple[Result, Result]:
    """Return the result of an audit, and that of its stored answers."""
    parts, (kind, reduce), options = sides(), REDUCED[answer], DESIGNS[design]
    if answer == "labels":  # those of other records serve no attack, and are not stored
        options = options | {"outside": 0}
    model = RECIPES[recipe].fit(*parts["members"])

    def target(X: np.ndarray) -> np.ndarray:
        return reduce(model.predict_proba(X))

    shared: dict[str, Any] = {"recipe": RECIPES[recipe], "shadows": M, "seed": seed, **options}
    audited = auditing.audit(target, **parts, **shared, jobs=0, out=folder / "audit")
    case = case_of_model(target, *parts.values(), **shared)
    file = stored(folder / "outputs.npz", case, folder / "audit", kind)
    return audited, score(file, seed=seed, attacks=options.get("attacks"), unit=options.get("unit"))


def compared(result: Result) -> dict[str, Any]:
    """Return everything of a result that its evidence decides."""
    document = result.model_dump(mode="json", exclude={"provenance", "title", "data", "threat_model", "not_tested"})
    target, split, shadows = document.pop("target"), document.pop("split"), document.pop("shadows")
    document["target"] = {
        key: target[key] for key in ("train_accuracy", "test_accuracy", "classes", "outputs", "capability", "decimals")
    }
    document["split"] = {
        key: split[key]
        for key in (
            "members",
            "nonmembers",
            "shadows",
            "evaluated_per_side",
            "outside",
            "outside_apart",
            "unit",
            "people",
        )
    }
    # said of a population given without people; a file does not tell of what else shadow models were trained on
    document["warnings"] = [each for each in document["warnings"] if not each.startswith("Nothing says whose")]
    document["shadows"] = {key: shadows[key] for key in ("asked", "trained", "failed", "design")}
    return document


MEMBERS = [
    pytest.param(answer, design, recipe, marks=() if number in (3,) else pytest.mark.slow)
    for number, (answer, design, recipe) in enumerate(
        (answer, design, recipe)
        for recipe in RECIPES
        for design in DESIGNS
        for answer in REDUCED
        if design in ("disjoint", "overlapping") or (recipe == "forest" and answer in ("rounded", "top class"))
    )
]


@pytest.mark.parametrize(("answer", "design", "recipe"), MEMBERS)
def test_an_audit_and_the_score_of_its_stored_answers_agree_in_every_figure(
    tmp_path: Path, answer: str, design: str, recipe: str
) -> None:
    audited, scored = both(tmp_path, answer, design, recipe)
    one, other = compared(audited), compared(scored)
    for accuracy in ("train_accuracy", "test_accuracy"):
        assert getattr(scored.shadows, accuracy) == pytest.approx(getattr(audited.shadows, accuracy), abs=1e-12)
    for key in one:
        assert other[key] == one[key], key
    assert len(audited.records) == len(scored.records) == 2 * N
    for mine, theirs in zip(scored.records, audited.records, strict=True):
        assert {**mine, "id": int(mine["id"])} == {**theirs, "id": int(theirs["id"])}


class Wrapper:
    """Answers as another target does, and is none itself."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def answer(self, X: Any) -> Outputs:
        return self.target.answer(X)


def test_a_target_trained_here_given_wrapped_or_stored_has_one_result(tmp_path: Path) -> None:
    forest, parts = RECIPES["forest"], sides()
    given = case_of_model(forest.fit(*parts["members"]), *parts.values(), recipe=forest, shadows=M, seed=5)
    here = replace(given, target=None)
    target = trained_target(here, quiet)[0]
    cases = {
        "given": replace(given, target=target),
        "trained here": here,
        "wrapped": replace(given, target=as_target(Wrapper(trained_target(here, quiet)[0]), classes=3)),
    }
    results = {name: auditing.audit(case, jobs=0, out=tmp_path / name) for name, case in cases.items()}
    file = stored(tmp_path / "outputs.npz", cases["given"], tmp_path / "given", None)
    one = compared(results["given"])
    for name, result in (results | {"stored": score(file, seed=5)}).items():
        other = compared(result)
        for key in one:
            assert other[key] == one[key], (name, key)
    assert results["trained here"].target.source == "trained here"
    assert results["wrapped"].records == results["trained here"].records
