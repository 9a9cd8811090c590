"""The terminal summary fits a screen and breaks no figure."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from miaudit.report import summary
from miaudit.result import CorrectedInterval, Exposed, Interval, Power, Result


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
    assert "* too few non-members, or tied scores" in flat


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
    assert len(text.splitlines()) <= 33
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


def kind(result, kind, **changes):
    return " ".join(printed(result.model_copy(update={"verdict_kind": kind, **changes})).split())


def test_what_it_means_and_what_to_do_next_follow_the_verdict(result):
    best = result.attacks[0]  # the first in order leads where none is marked
    leak = kind(result, "leak")
    assert f"'{best.name}' tells {100 * best.auc.value:.0f} right (guessing: 50)" in leak
    assert "wrongly accusing 1 % of the non-members, it finds" in leak
    assert "less overfitting (the gap is 0.33)" in leak
    assert "Means" not in kind(result, "confounded")
    assert "at random from one population" in kind(result, "confounded")
    assert "the sides with each other" in kind(result, "inverted")
    assert "use no figure of this run" in kind(result, "broken")
    assert "audit more records of each side" in kind(result, "inconclusive")
    power = Power(power=0.8, confidence=0.95, auc=0.53)
    quiet = [attack.model_copy(update={"power": power}) for attack in result.attacks]
    said = kind(result, "none detected", attacks=quiet)
    assert "shows in 80 of 100 such audits from an AUC of 0.530 on; one of a few members may not" in said
    power = power.model_copy(update={"exposed": 0.0159})
    quiet = [attack.model_copy(update={"power": power}) for attack in result.attacks]
    said = kind(result, "none detected", attacks=quiet)
    assert (
        "puts a few members above all non-members and leaves the others as they are, from 1.6 % of the members" in said
    )
    assert "smaller leaks may be there: more" in kind(result, "none detected")


def test_what_it_means_is_said_of_the_attack_that_leads_or_of_the_highest_at_its_corrected_low_end(result):
    first, second, *others = result.attacks
    corrected = CorrectedInterval(value=0.9, low=0.8, high=0.95, confidence=0.99)
    loud = second.model_copy(
        update={"auc": Interval(value=0.9, low=0.85, high=0.93), "auc_corrected": corrected, "above_chance": True}
    )
    changes = {"headline": first.name, "highest": second.name}
    both = kind(result, "leak", attacks=[first.model_copy(update={"above_chance": True}), loud, *others], **changes)
    assert f"'{first.name}' tells" in both
    only = kind(result, "leak", attacks=[first, loud, *others], **changes)
    assert (
        f"'{second.name}' tells 90 right (guessing: 50), and 80 at least, corrected for the number of attacks" in only
    )
    test = Exposed(above=12, rank=0, n_in=200, n_out=200, p_value=0.0001, level=0.001, most=9)
    few = first.model_copy(update={"above_chance_at_low_fpr": True, "exposed": test})
    said = kind(result, "leak", attacks=[few, second, *others], **changes)
    assert f"whom '{first.name}' scores above all 200 non-members finds 12 of the 200 members" in said


def test_uneven_sides_are_counted_as_they_are(result):
    split = result.split.model_copy(update={"members": 1000, "nonmembers": 500, "evaluated_per_side": 500})
    text = kind(result, "leak", split=split)
    assert "1,000 members and 500 non-members; decisions are judged on 500 of each" in text


def test_a_check_that_was_not_possible_is_no_pass(result):
    document = result.model_dump(by_alias=True)
    document["controls"]["blind"].update(confounded=None, reason="it cannot read 'photo'")
    text = " ".join(printed(Result.model_validate(document)).split())
    assert "check not possible: it cannot read 'photo'" in text
    assert "not confounded" not in text
