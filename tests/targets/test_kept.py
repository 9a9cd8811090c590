"""Functions as targets: no answer is lost to a failure, and a budget holds."""

from __future__ import annotations

import numpy as np
import pytest

from miaudit.errors import BudgetError, PlanError, TargetError
from miaudit.targets import as_target, keep

X = np.random.default_rng(0).normal(size=(300, 4))
P = np.random.default_rng(1).dirichlet(np.ones(3), 300)
ROW = {row.tobytes(): i for i, row in enumerate(X)}


class Client:
    """Answers by record, and fails once, in the middle."""

    def __init__(self, fails_at=None, answers=P):
        self.asked, self.fails_at, self.answers = [], fails_at, answers

    def __call__(self, records):
        index = [ROW[row.tobytes()] for row in records]
        self.asked += index
        if self.fails_at is not None and len(self.asked) > self.fails_at:
            self.fails_at = None
            raise ConnectionError("one hiccup")
        return self.answers[index]


@pytest.mark.parametrize(
    "answers", [P, P.argmax(axis=1), np.array(list("abc"))[P.argmax(axis=1)]], ids=["p", "codes", "names"]
)
@pytest.mark.parametrize("kept", [True, False])
def test_a_failure_in_the_middle_loses_no_answer(answers, kept, tmp_path):
    client = Client(fails_at=170, answers=answers)
    folder = tmp_path / "answers" if kept else None
    function = keep(client, name="client 1", folder=folder, batch=20)
    names = tuple("abc") if answers.dtype.kind == "U" else None
    with pytest.raises(TargetError, match="ConnectionError: one hiccup"):
        as_target(function, classes=3, names=names).query(X)
    if kept:
        function.ledger.close()
        function = keep(client, name="client 1", folder=folder, batch=20)
    outputs = as_target(function, classes=3, names=names).query(X)
    np.testing.assert_allclose(outputs.probabilities.argmax(axis=1), P.argmax(axis=1))
    counts = np.bincount(client.asked, minlength=300)
    assert counts.sum() == 320  # the batch that failed is asked about twice
    assert counts.max() == 2
    function.ledger.close()
    other = keep(client, name="client 2", folder=folder)
    other(X[:5])
    assert len(client.asked) == 325  # answers of another name are another model's
    other.ledger.close()


def test_a_budget_holds_over_runs_and_names_what_is_kept(tmp_path):
    client = Client()
    for budget, asked in ((130, 130), (130, 130), (300, 300)):
        function = keep(client, name="c", folder=tmp_path, batch=50, budget=budget)
        if budget < 300:
            with pytest.raises(BudgetError, match="budget of 130 queries is spent"):
                function(X)
        else:
            np.testing.assert_allclose(function(np.concatenate([X, X])), np.concatenate([P, P]))
        assert len(client.asked) == asked
        function.ledger.close()


def test_a_plain_function_that_fails_is_told_how_answers_are_kept():
    with pytest.raises(TargetError, match="miaudit.targets.keep"):
        as_target(lambda X: 1 / 0, classes=3).query(X)
    with pytest.raises(TargetError, match="asked about 100 records and answered"):
        keep(lambda X: P[:3], name="c")(X)
    for wrong in ({"name": ""}, {"name": "c", "batch": 0}, {"name": "c", "budget": 0}):
        with pytest.raises(PlanError):
            keep(Client(), **wrong)
    with pytest.raises(PlanError, match="function from records"):
        keep(P, name="c")
