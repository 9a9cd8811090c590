"""The gate as an assertion: a model that passes, one that leaks, and too few records to tell."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from miaudit.errors import PlanError
from miaudit.gate import Policy
from miaudit.testing import assert_no_leak

QUICK = {"shadows": 3, "attacks": ["rmia"]}


def sides(*sizes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [((X := rng.normal(size=(n, 4))), (X[:, 0] + rng.normal(size=n) > 0).astype(int)) for n in sizes]


def test_a_model_that_gives_nobody_away_passes():
    members, nonmembers, population = sides(450, 450, 450)
    model = LogisticRegression().fit(*members)
    decision = assert_no_leak(model, members=members, nonmembers=nonmembers, population=population, **QUICK)
    assert (decision.outcome, decision.policy) == ("pass", "leak-only")


def test_one_that_learned_its_records_by_heart_raises_with_the_decision():
    members, nonmembers = sides(150, 300)
    model = DecisionTreeClassifier(random_state=0).fit(*members)
    with pytest.raises(AssertionError, match=r"^Gate       fail: policy 'aisvs-11.2.5'(.|\n)*AUC of 'rmia' is 0"):
        assert_no_leak(model, members=members, nonmembers=nonmembers, policy="aisvs-11.2.5", **QUICK)


def test_too_few_records_raise_and_say_how_many_would_do():
    members, nonmembers = sides(30, 60)
    model = LogisticRegression().fit(*members)
    with pytest.raises(
        AssertionError, match=r"Gate       inconclusive(.|\n)*about \d+ members and as many non-members"
    ):
        assert_no_leak(model, members=members, nonmembers=nonmembers, policy=Policy.load("leak-only"), **QUICK)
    with pytest.raises(PlanError, match="no policy"):
        assert_no_leak(model, members=members, nonmembers=nonmembers, policy="none")
