"""An audit whose members carry a pattern of their classes says so: in its verdict, its renderings, and to a gate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.data import features
from miaudit.data.protect import ClassNoise
from miaudit.findings import pattern_control
from miaudit.gate import Policy
from miaudit.report.page import render
from miaudit.report.screen import printed
from miaudit.result import Result

N = 200  # a side
MEMBER = np.arange(2 * N) < N
GAP = "the gap between training and test is not evidence of memorisation"


def audit(*, pattern: bool):
    """Stored answers of a model that reads nothing but the noise, or nothing at all, and memorised nobody."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 2 * N)
    X = np.clip(0.5 + 0.01 * rng.normal(size=(2 * N, 1, 8, 8)), 0, 1)
    sure = np.where(MEMBER & pattern, 0.9, 0.34) + 0.02 * rng.normal(size=2 * N)
    rest = (1 - sure)[:, None] * np.array([0.5, 0.5])
    target = np.empty((2 * N, 3))
    for k in range(3):
        target[y == k, k] = sure[y == k]
        target[np.ix_(y == k, [j for j in range(3) if j != k])] = rest[y == k]
    if pattern:
        X = np.where(MEMBER[:, None, None, None], ClassNoise(epsilon=0.02).fit(X, y, seed=1).apply(X, y), X)
    arrays = {"target": target, "labels": y, "member": MEMBER, "features": X.astype(np.float32)}
    return score(stored_outputs(arrays), seed=1)


@pytest.fixture(scope="module")
def carried():
    return audit(pattern=True)


def test_the_verdict_is_confounded_and_says_what_follows(carried):
    control = carried.controls.pattern
    assert control.confounded
    assert control.side in ("members", "both")
    assert carried.verdict_kind == "confounded"
    assert GAP in carried.verdict
    assert "the records do not say" in carried.verdict
    assert not any(attack.beats_controls for attack in carried.attacks if attack.status == "ran")
    assert Result.model_validate_json(carried.model_dump_json()).controls == carried.controls


def test_every_rendering_says_so(carried):
    assert GAP in render(carried)
    assert "A pattern of the classes in the records" in render(carried)
    assert "CARRIED BY ONE SIDE" in printed(carried)
    assert "excess" in printed(carried, full=True)


def test_a_gate_passes_it_by_no_policy(carried):
    decision = Policy.load("release").check(carried)
    assert decision.outcome == "inconclusive"


def test_the_pattern_alone_confounds_where_the_check_on_the_records_sees_nothing(carried):
    blind = carried.controls.blind.model_copy(update={"confounded": False})
    kind = carried.finding.model_copy(update={"basis": "pattern", "figure": None})
    controls = carried.controls.model_copy(update={"blind": blind})
    result = carried.model_copy(update={"controls": controls, "finding": kind})
    assert "carry the same pattern" in printed(result)
    checks = Policy.load("release").check(result).checks
    assert any("pattern" in check.sentence for check in checks if check.about == "records")


def test_an_ordinary_audit_is_as_before_and_an_older_result_can_be_read():
    result = audit(pattern=False)
    assert result.controls.pattern.confounded is False
    assert "pattern" not in result.verdict
    assert "none seen" in printed(result, full=True)
    document = json.loads(result.model_dump_json())
    del document["controls"]["pattern"]
    older = Result.model_validate(document)
    assert older.controls.pattern is None
    assert "pattern of the classes" not in printed(older, full=True)
    assert "A pattern of the classes" not in render(older)


def test_what_it_cannot_know_it_says():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(2 * N, 5)), rng.integers(0, 2, 2 * N)
    assert "not about classes" in pattern_control(X, None, MEMBER, seed=1).reason
    few = pattern_control(X[150:250], y[150:250], MEMBER[150:250], seed=1)
    assert few.confounded is None
    assert "below about" in few.reason


def test_images_keep_their_shape_beside_the_numbers_that_tables_do_not_have():
    images = np.zeros((5, 3, 8, 8), np.uint8)
    assert features(images).shape == (3, 8, 8)
    assert features(images).numbers.shape == (5, 192)
    assert features(images.reshape(5, -1)).shape is None
    assert features(np.where(images == 0, np.nan, 1.0)).shape is None  # with columns that say where gaps are
