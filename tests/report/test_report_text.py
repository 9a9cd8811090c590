"""The terminal summary fits a screen and breaks no figure."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from miaudit.report import summary
from miaudit.result import Result


def printed(result, width=80, **options):
    out = io.StringIO()
    summary(result, Console(file=out, width=width, **options))
    return out.getvalue()


def figures(result):
    for attack in result.attacks:
        yield from (f"{v:.3f}" for v in (attack.pooled.precision, attack.pooled.recall, attack.pooled.accuracy))
        yield f"{attack.auc.value:.3f} ({attack.auc.low:.3f}-{attack.auc.high:.3f})"
        yield f"{attack.tpr_at_fpr[1].tpr:.4f}"
        yield f"{attack.tpr_at_fpr[2].tpr:.4f}*"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_figure_is_broken_and_no_line_is_too_long(result, width):
    text = printed(result, width)
    assert all(figure in text for figure in figures(result))
    assert all(len(line) <= width for line in text.splitlines())


def test_the_summary_fits_a_screen_and_says_what_matters(result):
    text = printed(result)
    flat = " ".join(text.split())
    assert len(text.splitlines()) <= 30
    assert result.verdict in flat
    assert all(warning in flat for warning in result.warnings)
    assert "train accuracy 1.000, test 0.673, gap 0.327" in flat
    assert "shuffled membership AUC 0.504 (0.481-0.527), at chance" in flat
    assert "AUC 0.493 (0.470-0.516), not confounded" in flat
    assert "* too few non-members" in flat


def test_long_names_many_warnings_and_attacks_that_did_not_run(result):
    document = result.model_dump(by_alias=True)
    document["attacks"][0]["name"] = "an_attack_with_a_name_that_is_far_too_long"
    document["attacks"][1].update(status="failed", reason="it broke")
    document["warnings"] = [f"warning {k}" for k in range(9)]
    document["controls"]["null"]["at_chance"] = False
    document["controls"]["blind"]["confounded"] = True
    changed = Result.model_validate(document)
    text = printed(changed)
    attack = changed.attacks[0]
    assert f"{attack.auc.value:.3f} ({attack.auc.low:.3f}-{attack.auc.high:.3f})" in text
    assert "failed: it broke" in text
    assert "5 more in the report" in text
    assert "NOT AT CHANCE" in text
    assert "CONFOUNDED" in text
    assert len(text.splitlines()) <= 30
    assert all(len(line) <= 80 for line in text.splitlines())


def test_undefined_figures_are_dashes(result):
    document = result.model_dump(by_alias=True)
    document["attacks"] = [{"name": "rank", "title": "Ranking", "paper": "", "status": "ran"}]
    document["controls"]["null"] = None
    row = next(line for line in printed(Result.model_validate(document)).splitlines() if line.startswith("rank"))
    assert row.split() == ["rank", *"------"]


def test_no_color_and_pipes_get_no_colour(result, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert "\x1b" not in printed(result)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[33m" not in printed(result, force_terminal=True)
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[33m" in printed(result, force_terminal=True, color_system="standard")


def test_markup_in_the_document_is_printed_as_it_stands(result):
    hostile = result.model_copy(update={"title": "[red]x[/red] :smile: [link=file:///x]y[/link]"})
    assert hostile.title in printed(hostile)


def test_an_ascii_pipe_gets_a_summary(result):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    summary(result.model_copy(update={"title": "Café \u2013 \U0001f3e5"}), Console(file=file, width=80))
    file.flush()
    assert raw.getvalue().startswith(b"Caf? ? ?\n")
