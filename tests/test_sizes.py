"""Audits of targets that are trained on more and more records."""

from __future__ import annotations

import pytest

from miaudit.auditing.sizes import sizes
from miaudit.errors import PlanError

PLAN = {
    "data": {"name": "digits"},
    "split": {"members": 50},
    "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
    "shadows": {"count": 2},
    "attacks": ["threshold"],
}


def test_a_target_of_more_records_is_right_more_often_and_leaks_less(tmp_path):
    results = sizes(PLAN, [40, 400], out=tmp_path, jobs=0)
    few, many = results.values()
    assert (few.split.members, many.split.members, many.split.nonmembers) == (40, 400, 400)
    assert few.target.gap > many.target.gap
    assert few.attack("threshold").pooled.precision > many.attack("threshold").pooled.precision
    assert (tmp_path / "members-400" / "result.json").exists()


def test_a_target_that_is_there_has_one_size(tmp_path):
    with pytest.raises(PlanError, match="cannot be drawn"):
        sizes({**PLAN, "target": {"file": "m.onnx"}}, [40], out=tmp_path)
    elsewhere = {**PLAN["split"], "members": "members.npy"}
    with pytest.raises(PlanError, match="names no target"):
        sizes({**PLAN, "split": elsewhere, "target": {"file": "m.onnx"}}, [40], out=tmp_path)
