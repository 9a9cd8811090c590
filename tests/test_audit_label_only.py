from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

from miaudit import audit
from miaudit.attacks import Attack, Scores
from miaudit.errors import DataError, PlanError
from miaudit.evidence.questions import Votes, Walk
from miaudit.result import Result

X, Y = make_classification(1200, 10, n_informative=6, n_classes=3, flip_y=0.1, random_state=0)
SIDES = {"members": (X[:200], Y[:200]), "nonmembers": (X[200:400], Y[200:400]), "population": (X[400:], Y[400:])}
FOREST = RandomForestClassifier(20, random_state=0).fit(X[:200], Y[:200])
ASKS = [{"name": "label-only", "queries": 12}, {"name": "label-only", "kind": "boundary", "queries": 60}]


def run(model=FOREST, attacks=ASKS, **options) -> Result:
    return audit(model, **SIDES, shadows=6, jobs=0, attacks=attacks, recipe=RandomForestClassifier(20), **options)


def by_name(result: Result) -> dict:
    return {each.name: each for each in result.attacks}


def test_probes_are_asked_and_paid_for(tmp_path):
    asked = []

    def labels(records):
        asked.append(len(records))
        return FOREST.predict(records)

    result = run(labels, out=tmp_path)
    found = by_name(result)
    votes, walk = found["label-only queries=12"], found["label-only boundary queries=60"]
    assert votes.status == walk.status == "ran"
    assert result.target.queries == sum(asked)
    assert 400 * (1 + 12) < result.target.queries <= 400 * (1 + 12 + 60)
    assert any("4,800 queries were spent" in note for note in votes.notes)
    assert votes.auc.value > found["gap"].auc.value + 0.02  # calibrated by shadows that answered the same variants
    assert walk.auc.value > 0.55
    assert any("60 further queries a record" in line for line in result.threat_model)
    again = run(labels, out=tmp_path)  # the rows are there, and so are the shadows' answers
    assert again.shadows.trained == 6
    assert by_name(again)["label-only queries=12"].auc == votes.auc


def test_a_target_trained_here_is_probed_as_its_shadows_are(tmp_path):
    np.savez(tmp_path / "d.npz", X=X, y=Y)
    plan = {
        "data": {"path": str(tmp_path / "d.npz")},
        "split": {"members": 200, "nonmembers": 200},
        "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
        "shadows": {"count": 4, "design": "overlapping"},
        "attacks": ASKS,
    }
    results = [audit(plan, jobs=jobs) for jobs in (0, 1)]
    one, two = ([(a.name, a.auc, a.notes) for a in result.attacks] for result in results)
    assert one == two
    found = by_name(results[0])["label-only queries=12"]
    assert found.pooled is not None  # shadows on both sides: a threshold of theirs decides
    assert found.auc.value > 0.6


def test_without_being_named_nothing_is_probed():
    result = run(attacks=None)
    found = [each for each in result.attacks if each.name.startswith("label-only")]
    assert found
    assert {each.status for each in found} == {"skipped"}
    assert all("runs only where it is named" in each.reason for each in found)


@dataclass(frozen=True)
class Theirs(Attack):
    """An attack of somebody else's, which reads two questions."""

    name, title, paper, needs = "theirs", "Theirs", "", frozenset({"probes"})
    questions = (Votes(queries=4), Walk(queries=30))

    def run(self, evidence, *, seed=0):
        assert evidence.probes.shadow_votes.shape[1:] == (400, 4)  # of six shadows, or five where one stands in
        assert evidence.probes.queries > 400 * 4
        return Scores(evidence.probes.votes.mean(axis=1) + evidence.probes.distances)


def test_an_attack_of_somebody_else_is_asked_what_it_names():
    result = run(attacks=[Theirs()])
    found = by_name(result)["theirs"]
    assert found.status == "ran"
    assert found.auc.value > 0.55
    assert 400 * 4 < result.target.queries - run(attacks=["gap"]).target.queries <= 400 * (4 + 30)
    assert any("34 further queries a record" in line for line in result.threat_model)
    two = type("Two", (Theirs,), {"questions": (Votes(queries=4), Votes(queries=5))})
    with pytest.raises(PlanError, match="one question of Votes and one of Walk"):
        run(attacks=[two()])


def test_no_distance_between_categories():
    bits = {name: ((x > 0).astype(float), y) for name, (x, y) in SIDES.items()}
    with pytest.raises(DataError, match='kind = "votes"'):
        audit(FOREST, **bits, shadows=2, jobs=0, attacks=ASKS)


def test_the_attacks_of_the_page_run():
    page = (Path(__file__).parents[1] / "docs" / "label-only.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml fragment\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    result = run(attacks=tomllib.loads(text)["attacks"])
    assert {each.status for each in result.attacks if each.name.startswith("label-only")} == {"ran"}
