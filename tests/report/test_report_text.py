"""The terminal summary fits a screen and breaks no figure."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from miaudit.cli.listing import print_attacks
from miaudit.report import full
from miaudit.result import CorrectedInterval, Exposed, Interval, Power, Result


def printed(result, width=80, **options):
    out = io.StringIO()
    full(result, Console(file=out, width=width, **options))
    return out.getvalue()


def short(low, high, digits=3):
    return "-".join(f"{end:.{digits}f}".removeprefix("0") for end in (low, high))


def figures(result):
    """Every estimate of the table with its interval, as it stands below the figure and beside it."""
    for attack in result.attacks:
        p, area, tprs = attack.pooled, attack.auc, attack.tpr_at_fpr
        yield f"{p.precision:.3f}", p.precision_low, p.precision_high, 3
        yield f"{p.recall:.3f}", p.recall_low, p.recall_high, 3
        yield f"{p.accuracy:.3f}", p.accuracy_low, p.accuracy_high, 3
        yield f"{area.value:.3f}", area.low, area.high, 3
        yield f"{tprs[1].tpr:.4f}", tprs[1].low, tprs[1].high, 4
        yield f"{tprs[2].tpr:.4f}*", tprs[2].low, tprs[2].high, 4


@pytest.mark.parametrize("width", [40, 78, 80, 120, 140, 200])
def test_no_figure_is_broken_stands_bare_or_makes_a_line_too_long(result, width):
    text = printed(result, width)
    assert all(len(line) <= width for line in text.splitlines())
    for value, low, high, digits in figures(result):
        assert value in text
        if width < 78:
            assert f"{value} ({low:.{digits}f}-{high:.{digits}f})" in " ".join(text.split())
        elif width >= 136:
            assert f"{value} ({short(low, high, digits)})" in " ".join(text.split())
        else:
            assert short(low, high, digits if high < 0.1 else 3) in text


def test_what_rounds_to_one_or_to_nought_is_shown_with_its_bound(result):
    document = result.model_dump(by_alias=True)
    first = document["attacks"][0]
    first["pooled"].update(precision=1.0, precision_low=0.93, precision_high=1.0)
    first["auc"] = {"value": 0.99999, "low": 0.99996, "high": 1.0}
    first["tpr_at_fpr"][2].update(tpr=0.0, low=0.0, high=0.00004)
    document["target"].update(train_accuracy=1.0, train_accuracy_low=0.991, train_accuracy_high=1.0)
    first["ppv"] = [{"prior": 0.01, "value": 1.0, "low": 0.43, "high": 1.0}]
    changed = Result.model_validate(document)
    for width in (60, 80, 140):
        flat = " ".join(printed(changed, width).split())
        assert "1.000 (at least 0.430) at 1 %" in flat
        assert "train accuracy 1.000 (0.991-1.000), test" in flat
        assert ".999-1.000" in flat  # a low end is not rounded up to certainty
        assert ".930-1.000" in flat
        assert ".0000-.0001" in flat.replace("0.0", ".0")
    assert "tells 99.999 right (99 to 100; guessing: 50)" in flat
    notebook = changed._repr_html_()
    assert "1.000 (0.930\u20131.000)" in notebook
    assert "1.000 (0.999\u20131.000)" in notebook


def test_where_no_interval_holds_the_reason_is_said(result):
    document = result.model_dump(by_alias=True)
    for attack in document["attacks"]:
        for name in ("precision", "recall", "accuracy"):
            attack["pooled"].update({f"{name}_low": None, f"{name}_high": None, "interval_reason": "people repeat"})
    for width in (60, 80, 140):
        text = printed(Result.model_validate(document), width)
        assert "no interval: people repeat" in text


def test_the_summary_fits_a_screen_and_says_what_matters(result):
    text = printed(result)
    flat = " ".join(text.split())
    assert len(text.splitlines()) <= 34
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
    assert short(attack.auc.low, attack.auc.high) in text
    assert "failed: it broke" in text
    assert "5 more in the report" in text
    assert "NOT AT CHANCE" in text
    assert "CONFOUNDED" in text
    assert len(text.splitlines()) <= 36
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
    full(result.model_copy(update={"title": "Café \u2013 \U0001f3e5"}), Console(file=file, width=80))
    file.flush()
    print_attacks(Console(file=file, width=80))
    print_attacks(Console(file=file, width=200))
    file.flush()
    assert raw.getvalue().startswith(rb"Caf\xe9 \u2013 \U0001f3e5")
    assert raw.getvalue().count(rb"\xe4") >= 2  # of the name of an author


def kind(result, kind, **changes):
    return " ".join(printed(result.model_copy(update={"verdict_kind": kind, **changes})).split())


def test_what_it_means_and_what_to_do_next_follow_the_verdict(result):
    best = result.attacks[0]  # the first in order leads where none is marked
    leak = kind(result, "leak")
    assert f"'{best.name}' tells {100 * best.auc.value:.0f} right ({100 * best.auc.low:.0f} to " in leak
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
    said = kind(result, "leak", attacks=[few.model_copy(update={"unit": "person"}), second, *others], **changes)
    assert "scores above all 200 people who are not finds 12 of the 200 people who are members" in said


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
