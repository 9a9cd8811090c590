"""Deletion audits of stored answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from miaudit.cli import main
from miaudit.errors import DataError
from miaudit.gate import Policy
from miaudit.unlearning import score


def answers(*, trace: float, leak: float = 2.0, n: int = 120, m: int = 24, kept: bool = False) -> dict[str, Any]:
    """Return answers of models whose logit for the truth is raised by ``leak`` before and ``trace`` after a deletion."""
    rng = np.random.default_rng(1)
    level = rng.normal(size=n)
    member = np.arange(n) < n // 2
    state = rng.integers(0, 3 if kept else 2, (m, n))
    labels = np.zeros(n, np.int64)

    def probabilities(shift: Any) -> Any:
        phi = level + shift + rng.normal(size=np.shape(shift))
        own = 1 / (1 + np.exp(-phi))
        return np.stack([own, 1 - own], axis=-1)

    return {
        "target": probabilities(trace * member),
        "target_before": probabilities(leak * member),
        "shadows": probabilities(trace * (state == 1) + leak * (state == 2)),
        "shadows_before": probabilities(leak * (state > 0)),
        "labels": labels,
        "member": member,
        "state": np.array(["never", "deleted", "kept"])[state],
        "retrained": probabilities(np.zeros((19, n))),
    }


@pytest.mark.parametrize(
    ("trace", "leak", "kind"),
    [
        (2.0, 2.0, "traces remain"),
        (0.0, 2.0, "no trace found"),
        (-2.0, 2.0, "over-forgotten"),
        (0.0, 0.0, "nothing to see here"),
    ],
)
@pytest.mark.parametrize("kept", [False, True])
def test_stored_answers_come_to_the_verdict_they_were_made_for(
    trace: float, leak: float, kind: str, kept: bool
) -> None:
    deletion = score(answers(trace=trace, leak=leak, kept=kept)).deletion
    assert deletion is not None
    assert deletion.kind == kind
    assert deletion.likeness is not None
    assert deletion.likeness.p_value is not None
    assert (deletion.likeness.p_value <= 0.05) == (trace != 0)


def test_without_the_earlier_answers_two_questions_stay_open() -> None:
    arrays = answers(trace=0.0)
    del arrays["target_before"], arrays["shadows_before"]
    deletion = score(arrays).deletion
    assert deletion is not None
    assert (deletion.before, deletion.pair) == (None, None)
    assert {*deletion.unasked} == {"others", "before", "pair"}


def test_the_command_tells_a_file_of_a_deletion_by_its_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "answers.npz", **answers(trace=2.0))
    run = CliRunner().invoke(main, ["score", str(tmp_path / "answers.npz"), "--out", str(tmp_path / "out"), "--json"])
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["deletion"]["kind"] == "traces remain"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"state": None}, "needs the array 'state'"),
        ({"state": np.zeros((3, 3), np.int64)}, "state must be"),
        ({"state": np.full((24, 120), "gone")}, "must be never, deleted or kept"),
        ({"target_before": np.full((120, 3), 1 / 3)}, "not of one task"),
        ({"shadows_before": None}, "go together"),
        ({"retrained": np.zeros((19, 120, 3))}, "retrained must be"),
        ({"inside": np.zeros((24, 120), bool)}, "has no place"),
        ({"state": np.full((24, 120), "kept")}, "two others are needed"),
    ],
)
def test_files_that_do_not_fit_are_refused(change: dict[str, Any], text: str) -> None:
    arrays = {key: value for key, value in {**answers(trace=0.0), **change}.items() if value is not None}
    with pytest.raises(DataError, match=text):
        score(arrays)


POLICY = """
name = "deletions"
leak = true
[evidence]
attacks = 1
strongest = false
controls = []
[auc]
margin = 0.9
"""


@pytest.mark.parametrize(
    ("trace", "leak", "pair", "outcome"),
    [
        (2.0, 2.0, "", "fail"),
        (0.0, 0.0, "", "inconclusive"),
        (0.0, 2.0, "", "pass"),
        (0.0, 2.0, "[pair]\nmargin = 0.6\n", "fail"),
    ],
)
def test_a_gate_judges_what_is_left_and_what_both_models_give_away(
    trace: float, leak: float, pair: str, outcome: str
) -> None:
    policy = Policy.of_text(POLICY + pair, "policy")
    assert policy.check(score(answers(trace=trace, leak=leak))).outcome == outcome


def test_a_deletion_audit_is_printed_and_shown_as_one() -> None:
    from miaudit.report.page import render

    result = score(answers(trace=2.0))
    for text in (result.summary(), result.summary(full=True)):
        words = " ".join(text.split())
        assert "Traces remain" in words
        assert "Afterwards: told from never-used ones" in words
        assert "Next delete by retraining" in words
        assert "finds" not in words.split("Controls")[0]
    page = render(result)
    assert "Deletion audit by miaudit" in page
    assert "Traces of the deleted records remain." in page
    assert "The questions of the deletion audit" in page
    assert "membership leak" not in page.lower()
