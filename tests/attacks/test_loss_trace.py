from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from miaudit.attacks import LossTrace, Threshold, plan_attacks
from miaudit.errors import DataError, PlanError
from miaudit.evidence import Evidence
from miaudit.stats import auc, auc_interval


def traced(trace: Any) -> Evidence:
    n = len(trace)
    return Evidence(
        np.full((n, 2), 0.5), np.empty((0, n, 2)), np.empty((0, n), bool), np.zeros(n, int), trace=np.asarray(trace)
    )


def test_the_range_is_that_of_the_middle_half_of_the_stages() -> None:
    falling, rising, still = [8.0, 6.0, 4.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0], [1.0] * 5
    evidence = traced([falling, rising, still])
    assert LossTrace().score(evidence).tolist() == [4.0, -2.0, 0.0]
    assert LossTrace("fall").score(evidence).tolist() == [8.0, -4.0, 0.0]
    scores = LossTrace().run(evidence)
    assert scores.decision is None
    assert "5 stages" in scores.notes[0]


def test_says_what_it_lacks() -> None:
    with pytest.raises(DataError, match="needs a trace"):
        LossTrace().run(traced([[1.0], [2.0]]).replace(trace=None))
    with pytest.raises(DataError, match="at least 4 stages, got 3"):
        LossTrace().run(traced([[1.0, 2.0, 3.0]]))
    with pytest.raises(PlanError, match=r"loss-trace\.measure: must be one of iqr, fall; got 'slope'"):
        LossTrace("slope")  # type: ignore[arg-type]
    planned = plan_attacks("probabilities", shadows=4, attacks=[LossTrace()])[0]
    assert not planned.runs
    assert "there is no trace of the target's loss" in planned.reason


@pytest.mark.parametrize(
    "trace", [np.zeros(3), np.zeros((2, 4)), np.zeros((3, 0)), np.full((3, 4), -1.0), np.full((3, 4), np.nan)]
)
def test_evidence_refuses_what_is_no_trace(trace: Any) -> None:
    with pytest.raises(DataError, match="trace must"):
        traced(np.zeros((3, 4))).replace(trace=trace)


def boosted(*, members: bool, seed: int) -> tuple[Evidence, Any]:
    """Boosted trees on random classes, trained on half of the records; or on other records altogether."""
    from sklearn.ensemble import GradientBoostingClassifier

    rng = np.random.default_rng(seed)
    X, y, member = rng.normal(size=(300, 5)), rng.integers(0, 2, 300), np.arange(300) < 150
    other = rng.normal(size=(150, 5)), rng.integers(0, 2, 150)
    model = GradientBoostingClassifier(n_estimators=40, max_depth=2, random_state=0)
    model.fit(*((X[member], y[member]) if members else other))
    answers = np.stack(list(model.staged_predict_proba(X)), axis=1)
    trace = -np.log(answers[np.arange(300), :, y])
    nobody = np.empty((0, 300), bool)
    return Evidence(answers[:, -1], np.empty((0, 300, 2)), nobody, y, trace=trace), member


@pytest.mark.parametrize("measure", ["iqr", "fall"])
def test_finds_what_boosted_trees_memorise(measure: Any) -> None:
    evidence, member = boosted(members=True, seed=0)
    score, loss = LossTrace(measure).score(evidence), Threshold().score(evidence)
    assert auc_interval(score[member], score[~member]).low > 0.6
    assert auc(score[member], score[~member]) > auc(loss[member], loss[~member]) - 0.05


@pytest.mark.parametrize("measure", ["iqr", "fall"])
def test_is_at_chance_on_trees_that_saw_neither_side(measure: Any) -> None:
    lows = 0
    for seed in range(30):
        evidence, member = boosted(members=False, seed=seed)
        score = LossTrace(measure).score(evidence)
        lows += auc_interval(score[member], score[~member]).low > 0.5
    assert lows <= 4  # of 30 at 2.5 %: exceeded once in 1,000
