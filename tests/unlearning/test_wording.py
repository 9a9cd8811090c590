"""What is said of a deletion whose sides differ by themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from miaudit.result import Counted, Interval, Verdict
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
