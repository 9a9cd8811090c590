"""What is said of a deletion whose sides differ by themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from miaudit.result import Counted, Interval, Relearning, Verdict
from miaudit.unlearning import wording

N = Counted(members=50, nonmembers=50)
AFTER = SimpleNamespace(n=N)


@pytest.mark.parametrize(
    ("basis", "figure", "why"),
    [
        ("records", Interval(value=0.8, low=0.7, high=0.9), "0.800"),
        ("pattern", None, "records of one side carry a pattern of their classes"),
    ],
)
def test_a_confounded_deletion_says_by_what(basis, figure, why):
    finding = Verdict(kind="confounded", basis=basis, figure=figure, n=N)
    deletion = SimpleNamespace(kind="confounded", before=None, after=AFTER, earlier_model="")
    sentence = wording.verdict(deletion, finding)
    assert sentence.startswith("Confounded: deleted records and ones never trained on differ by themselves")
    assert why in sentence


@pytest.mark.parametrize(("never_saw_it", "p"), [(True, 1 / 21), (True, 0.5), (False, 1 / 21)])
def test_a_model_that_never_saw_a_class_by_its_receipt_learns_it_faster_by_chance_alone(never_saw_it, p):
    of = Relearning(models=20, updates=7, before=0, retrained=14, fewest=9, most=128, p_value=p)
    sentence = wording.relearning(of, never_saw_it=never_saw_it)
    assert ("so that this is chance" in sentence) == (never_saw_it and p <= 0.05)
