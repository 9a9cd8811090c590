"""The first screen fits on one, leads with the attack that the verdict leads with, and hides nothing that went wrong."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from miaudit.report import summary
from miaudit.report.annex import STANDARDS, annex, markdown
from miaudit.result import Result


def printed(result, width=80):
    out = io.StringIO()
    summary(result, Console(file=out, width=width))
    return out.getvalue()


def changed(result, change):
    document = result.model_dump(by_alias=True)
    change(document)
    return Result.model_validate(document)


@pytest.mark.parametrize("width", [30, 40, 76, 80, 140])
def test_no_line_is_too_long_or_ends_in_blanks(result, width):
    lines = printed(result, width).splitlines()
    assert all(len(line) <= width for line in lines)
    assert all(line == line.rstrip() for line in lines)
    flat = " ".join(" ".join(lines).split())
    for attack in result.attacks:
        low, high = (f"{end:.3f}" for end in (attack.auc.low, attack.auc.high))
        ends = f"{low[1:]}-{high[1:]}" if width >= 80 else f"{low}-{high}"
        assert f"{attack.auc.value:.3f} ({ends})" in flat


def test_a_screen_holds_verdict_attacks_controls_meaning_and_what_to_do(result):
    text = printed(result)
    flat = " ".join(text.split())
    assert len(text.splitlines()) <= 24
    assert result.verdict in flat
    assert "shuffled membership at chance (AUC 0.504); records alone not confounded (AUC 0.493)" in flat
    assert "models trained on neither side: not asked" in flat
    assert "\nNext " in text


def test_the_attack_that_leads_comes_first_and_the_baseline_last(result):
    def rename(document):
        document["headline"] = "gap"
        document["attacks"] += [document["attacks"][0] | {"name": f"other {i}"} for i in range(6)]

    rows = [line for line in printed(changed(result, rename)).splitlines() if "(." in line]
    assert len(rows) == 5
    assert rows[0].startswith("gap (leads)")
    assert rows[-1].startswith("threshold (baseline)")
    assert "4 more attacks ran" in printed(changed(result, rename))
    quick = changed(result, lambda document: rename(document) or document.update(headline="threshold"))
    rows = [line for line in printed(quick).splitlines() if "(." in line]
    assert len(rows) == 5
    assert rows[0].startswith("threshold (leads)"), "the baseline itself may lead"


def test_a_long_name_goes_on_in_the_next_line_and_the_table_stays_one(result):
    name = "threshold modified_entropy per-class"

    def rename(document):
        document["attacks"] = [each | {"name": name} if each["name"] == "gap" else each for each in document["attacks"]]
        document["headline"] = name

    lines = printed(changed(result, rename)).splitlines()
    row = next(k for k, line in enumerate(lines) if line.startswith("attack  ")) + 1
    assert lines[row].startswith("threshold ")
    assert "(." in lines[row]  # the figures stand beside the name's first line
    assert " ".join(line.strip() for line in lines[row + 1 : row + 3]) == "modified_entropy per-class (leads)"


def test_what_went_wrong_is_said(result):
    def broken(document):
        document["attacks"][0].update(status="failed", reason="it broke")
        document["controls"]["null"]["at_chance"] = False
        document["controls"]["blind"]["confounded"] = True
        document["controls"]["bystander"] = {"auc": None, "reason": "none could be trained"}
        document["warnings"] = [f"warning {k}" for k in range(5)]

    flat = " ".join(printed(changed(result, broken)).split())
    for text in ("'shokri': it broke", "NOT AT CHANCE", "CONFOUNDED", "check not possible", "3 more in the report"):
        assert text in flat


def test_a_check_that_could_not_fail_is_called_neither_passed_nor_failed(result, tmp_path):
    few = "so few records that an attack which is always right would not stand out"

    def tiny(document):
        null = document["controls"]["null"] | {"at_chance": None, "reason": few}
        document["controls"] |= {"null": null, "nulls": [null | {"attack": "lira"}]}

    open_ = changed(result, tiny)
    page = re.sub(r"<[^>]*>", " ", open_.report(tmp_path).read_text())
    texts = (printed(open_), open_.summary(full=True), page, markdown(annex(open_, next(iter(STANDARDS)))))
    for text in (" ".join(each.split()) for each in texts):
        assert "at chance" not in text.lower().replace("is below guessing", "")
        assert "check not possible" in text or f"undecided: {few}" in text


def test_an_audit_without_attacks_has_a_screen(result):
    def emptied(document):
        document["attacks"], document["headline"] = [], None
        document["controls"]["null"] = None

    assert "shuffled membership not run" in printed(changed(result, emptied))


def test_text_of_others_is_harmless(result):
    hostile = result.model_copy(update={"title": "[red]x[/red] \x1b[31m\u202e"})
    text = printed(hostile)
    assert "[red]x[/red]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_result_gives_its_screen_its_figures_and_its_page(result, tmp_path):
    assert result.summary() == printed(result).rstrip("\n")
    assert len(result.summary(full=True).splitlines()) > len(result.summary().splitlines())
    assert result.report(tmp_path).read_text(encoding="utf-8").lower().startswith("<!doctype html")
    assert result.report(tmp_path / "mine.html").read_bytes() == (tmp_path / "report.html").read_bytes()
    assert repr(result) == str(result) == f"{result.title}\n{result.verdict}"


def test_figures_of_people_are_whole_and_said_to_be_theirs(result):
    def of_people(document):
        document["split"]["unit"] = "person"
        for attack in document["attacks"]:
            attack["person"] = {"auc": attack["auc"], "tpr_at_fpr": attack["tpr_at_fpr"], "n": 100, "members": 50}

    text = printed(changed(result, of_people))
    assert "\u2026" not in text
    assert "figures are per person" in text
    for attack in result.attacks:
        assert f"({attack.auc.low:.3f}-{attack.auc.high:.3f})".replace("0.", ".") in text
