"""A target that one program audits twice: the second audit counts, ends and keeps by itself, and asks nothing twice."""

from __future__ import annotations

import numpy as np
import pytest
from scripted import Script, serving
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import miaudit
from miaudit.errors import TargetError
from miaudit.report import render
from miaudit.targets import as_target, connect
from miaudit.targets.kept import keep

X, Y = load_digits(return_X_y=True)
ORDER = np.random.default_rng(5).permutation(len(X))
PARTS = {"members": ORDER[:60], "nonmembers": ORDER[60:120], "population": ORDER[120:240]}
SIDES = {name: (X[rows], Y[rows]) for name, rows in PARTS.items()}
MODEL = RandomForestClassifier(5, random_state=0).fit(*SIDES["members"])
OTHER = RandomForestClassifier(5, random_state=1).fit(*SIDES["nonmembers"])


def audit(target, **options):
    quick = {"recipe": RandomForestClassifier(3), "shadows": 1, "jobs": 0, "attacks": ["threshold"], "outside": 0}
    return miaudit.audit(target, **quick, **SIDES, **options)


class Wrapper:
    def __init__(self, target):
        self.target = target

    def __getattr__(self, name):
        return getattr(self.target, name)

    def answer(self, records):
        return self.target.answer(records)


@pytest.mark.parametrize("wrap", [lambda target: target, Wrapper], ids=["endpoint", "wrapper"])
def test_a_second_audit_counts_and_keeps_by_itself(wrap, tmp_path):
    script = Script(MODEL.predict_proba)
    with serving(script) as url:
        endpoint = connect(url, format="v2", model="m")
        first = audit(wrap(endpoint), time_limit=600)
        asked = sum(script.answered.values())
        second = audit(wrap(endpoint), out=tmp_path)
        assert sum(script.answered.values()) - asked == 5  # that it is the same model
        assert endpoint.deadline is None
        assert second.target.queries == first.target.queries
        assert second.provenance.target["records_sent"] == 5
        endpoint.close()
        again = connect(url, format="v2", model="m")
        third = audit(again, out=tmp_path)  # in a new program
        assert third.provenance.target["records_sent"] == 5
        page = render(third)  # tells the answers that count from what was sent
        assert f"{third.target.queries:,} answers to records, on which this result rests" in page
        assert f"this run sent 5, all runs into its folder {third.provenance.target['spent_over_all_runs']:,}" in page
        again.close()
    for later in (second, third):
        assert later.attacks[0].auc == first.attacks[0].auc


@pytest.mark.parametrize("of", [lambda ask: as_target(ask, classes=10), lambda ask: keep(ask, name="m")])
def test_the_same_holds_of_targets_at_hand(of):
    target = of(MODEL.predict_proba)
    audit(target)
    counts = [audit(target) for _ in range(2)]
    assert counts[0].target.queries == counts[1].target.queries
    sent = [(each.provenance.target or {}).get("records_sent") for each in counts]
    assert sent[0] == sent[1]


def test_another_model_at_the_second_audit_is_told():
    script = Script(MODEL.predict_proba)
    with serving(script) as url:
        endpoint = connect(url, format="v2", model="m")
        audit(endpoint)
        script.model = OTHER.predict_proba
        with pytest.raises(TargetError, match="not the model that it was"):
            audit(endpoint)
        endpoint.close()
        with pytest.raises(TargetError, match="was closed, and cannot be asked any more: connect to it again"):
            audit(endpoint)
