"""A mitigated audit is the audit of a mitigated target, and trains and asks nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from miaudit.auditing import Measured, conclude
from miaudit.errors import DataError
from miaudit.evidence import Evidence, Probes
from miaudit.mitigations import LabelOnly, Noise, Rounding, Temperature, TopK, held, mitigated
from miaudit.result import Result
from miaudit.shadows.pool import ShadowEvidence
from miaudit.targets.seen import reduce_alike


def brief(measured: Measured) -> Result:
    return conclude(replace(measured, repeats=False, no_bystanders="not asked", records=None, no_records="not asked"))


def figures(result: Result) -> dict[str, Any]:
    return {each.name: (each.status, each.auc, each.pooled, each.tpr_at_fpr) for each in result.attacks}


def test_a_grid_row_says_what_it_did_without(forest):
    result = brief(forest)
    assert result.controls.null is None
    assert result.stability is None
    assert any("not run again on shuffled memberships" in each for each in result.warnings)
    whole = conclude(forest)
    assert figures(whole) == figures(result)
    assert whole.controls.null is not None


@pytest.mark.parametrize(
    ("mitigation", "top", "decimals"), [(TopK(2), 2, None), (Rounding(2), None, 2)], ids=["top-k", "rounding"]
)
def test_it_is_the_audit_of_a_target_that_answers_so(forest, mitigation, top, decimals):
    """The product reduces the shadows to what a target is seen to answer; a mitigation of stored rows comes to the same."""
    own, direct = forest.evidence

    def reduced(evidence: Evidence) -> Evidence:
        rows = np.array(evidence.models)
        target, outside = evidence.target[None].copy(), evidence.population
        reduce_alike(rows, top=top, decimals=decimals)
        reduce_alike(target, top=top, decimals=decimals)
        ours, theirs = outside.target[None].copy(), None if outside.shadows is None else np.array(outside.shadows)
        reduce_alike(ours, top=top, decimals=decimals)
        if theirs is not None:
            reduce_alike(theirs, top=top, decimals=decimals)
        return evidence.replace(
            target=target[0],
            shadows=rows,
            bystanders=None,
            population=replace(outside, target=ours[0], shadows=theirs),
            own=None if evidence.own is None else reduced(evidence.own),
        )

    capability = "topk" if top else "rounded"
    facts = replace(forest.target, capability=capability, decimals=decimals or forest.target.decimals)
    expected = replace(forest, evidence=ShadowEvidence(reduced(own), reduced(direct)), target=facts)
    assert figures(brief(mitigated(forest, mitigation))) == figures(brief(expected))


def test_label_only_leaves_what_labels_tell(forest):
    result = brief(mitigated(forest, LabelOnly()))
    plain = brief(forest)
    assert result.target.outputs == "labels"
    assert result.target.test_accuracy == plain.target.test_accuracy
    assert result.attack("gap").auc == plain.attack("gap").auc
    assert result.attack("shokri").status == "ran"
    assert result.attack("rmia").status == "skipped"
    assert result.attack("shokri").auc.value < plain.attack("shokri").auc.value


def test_a_naive_attacker_knows_nothing_of_it(forest):
    soft = mitigated(forest, Temperature(20.0), naive=True)
    assert (np.asarray(soft.evidence.own.models) == np.asarray(forest.evidence.own.models)).all()
    assert (soft.evidence.own.target == mitigated(forest, Temperature(20.0)).evidence.own.target).all()
    adaptive, naive = (brief(mitigated(forest, Temperature(20.0), naive=naive)) for naive in (False, True))
    assert naive.attack("shokri").pooled.accuracy < adaptive.attack("shokri").pooled.accuracy
    vectors = mitigated(forest, LabelOnly(), naive=True)
    assert vectors.evidence.own.target.ndim == 2
    assert brief(vectors).attack("shokri").status == "ran"


def test_what_labels_told_stays_where_labels_stay(forest):
    votes = Probes(votes=np.ones((forest.evidence.own.n, 3), bool))
    probed = replace(forest, evidence=forest.evidence.with_answers({"votes": votes}))
    assert mitigated(probed, Noise(1.0)).evidence.direct.answers
    assert not mitigated(probed, Rounding(1)).evidence.direct.answers


def test_rows_are_changed_when_they_are_read_where_they_do_not_fit_in_memory(forest, monkeypatch):
    monkeypatch.setattr("miaudit.mitigations.rows.HELD", 0)
    lazy = held(forest)
    rows = mitigated(lazy, Rounding(1)).evidence.own.models
    assert (np.asarray(rows) == np.asarray(mitigated(forest, Rounding(1)).evidence.own.models)).all()


def test_signals_are_refused(forest):
    own = forest.evidence.own
    signals = Evidence.of_signals(np.zeros(own.n), np.zeros((6, own.n)), np.zeros((6, own.n), bool))
    with pytest.raises(DataError, match="one number a record"):
        mitigated(replace(forest, evidence=ShadowEvidence(signals, None)), TopK(1))
