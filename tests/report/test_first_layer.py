"""The first layer says how grave a leak is by the ends of intervals, and draws nothing that the verdict does not carry."""

from __future__ import annotations

import pytest

from miaudit.report import render
from miaudit.report.gravity import at_most, gravity
from miaudit.report.page.engineer import engineer_of
from miaudit.report.page.first import first_of
from miaudit.result import (
    Accusations,
    BystanderFigures,
    CorrectedInterval,
    Counted,
    Difference,
    Exposed,
    Interval,
    Result,
    Verdict,
)

N = Counted(members=1200, nonmembers=1200)


def with_verdict(result: Result, kind: str, basis: str = "area", *, attack: dict | None = None, **fields) -> Result:
    """Return the result with another verdict, and with other figures of the attack that leads."""
    document = result.model_dump(by_alias=True)
    document["attacks"][0] |= attack or {}
    accusations = fields.pop("accusations", None)
    finding = Verdict(kind=kind, basis=basis, n=N, attack="shokri" if kind == "leak" else None, **fields)
    return Result.model_validate(
        document | {"verdict_kind": kind, "finding": finding, "headline": "shokri", "accusations": accusations}
    )


def area(low: float, high: float) -> Interval:
    return Interval(value=(low + high) / 2, low=low, high=high)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.52, 0.58, "A small membership leak."),
        (0.52, 0.7, "A membership leak, at least small and at most considerable."),
        (0.52, 0.8, "A membership leak, at least small and at most grave."),
        (0.6, 0.7, "A considerable membership leak."),
        (0.75, 0.9, "A grave membership leak."),
    ],
)
def test_the_words_are_of_the_ends_of_the_interval(result, low, high, text):
    leak = with_verdict(result, "leak", attack={"auc": area(low, high)}, figure=area(low, high))
    assert first_of(leak).headline == text
    assert (
        f"AUC of 'shokri' {(low + high) / 2:.3f} (95 % interval {low:.3f} to {high:.3f}); n = 1,200"
        in first_of(leak).figures
    )


def leak_by(result, interval, **more):
    attack = {"auc": interval, **more.pop("attack", {})}
    return with_verdict(result, "leak", attack=attack, figure=interval, **{"above": ["shokri"], **more})


def named(result, **fields):
    return leak_by(result, area(0.52, 0.58), accusations=Accusations(attack="shokri", q=0.1, unit="record", **fields))


def test_who_can_be_named_makes_a_leak_grave_whatever_the_average(result):
    counts = {"named": 260, "of_members": 240, "false": 20, "members": 1200, "nonmembers": 600}
    few = named(result, **counts, share=0.2, share_low=0.12, share_high=0.3)
    assert gravity(few).least == "grave"
    text = first_of(few).named
    assert text.startswith(
        "An attacker who wants 9 of 10 accusations right can name 240 of 1,200 members, and names 20 of 600"
    )
    assert "12 to 30 % could be named (95 % interval)" in text
    assert gravity(named(result, **counts, share=0.2, share_low=0.0, share_high=0.3)).least == "small"
    cautioned = named(result, **counts, share=0.2, share_low=0.12, share_high=0.3, caution="the sides differ")
    assert gravity(cautioned).least == "small"
    assert "Caution: the sides differ." in first_of(cautioned).named


def test_what_the_sides_show_by_themselves_is_taken_off_and_no_picture_is_drawn(result):
    figures = BystanderFigures(
        models=5, auc=area(0.65, 0.7), less=Difference(value=0.1, low=0.05, high=0.15), above=True, tells_sides=True
    )
    leak = leak_by(result, area(0.76, 0.8), attack={"bystander": figures})
    first = first_of(leak)
    assert first.headline == "A membership leak, at least small and at most considerable."
    assert first.picture.members is None
    assert "differ in how hard they are" in first.picture.missing
    assert any("10 of 100 pairs more than guessing" in sentence for sentence in first.means)


def test_an_interval_of_an_attack_chosen_for_its_figure_has_its_own_level(result):
    corrected = CorrectedInterval(value=0.8, low=0.7, high=0.9, confidence=0.996)
    document = leak_by(result, area(0.78, 0.82), attack={"auc_corrected": corrected})
    finding = document.finding.model_copy(update={"attack": "shokri", "figure": Interval.of(corrected)})
    first = first_of(document.model_copy(update={"finding": finding}))
    assert "(99.6 % interval 0.700 to 0.900)" in first.figures


@pytest.mark.parametrize(
    ("kind", "basis", "text"),
    [
        ("confounded", "records", "No answer: the two sides differ by themselves."),
        ("broken", "shuffle", "Do not use this audit: one of its controls failed."),
        ("inconclusive", "power", "No answer yet: these records do not tell."),
        ("inverted", "area", "Members look less like members than others do: a leak turned round, or a fault."),
    ],
)
def test_a_verdict_without_an_answer_has_words_of_its_own_and_no_picture(result, read_page, kind, basis, text):
    given = Accusations(attack="shokri", q=0.1, unit="record", named=9, of_members=9, false=0, members=99, nonmembers=9)
    other = with_verdict(result, kind, basis, accusations=given)
    first = first_of(other)
    assert first.headline == text
    assert first.tone == "void"
    assert first.picture.members is None
    assert first.picture.missing
    assert first.named is None
    assert gravity(other) is None
    page = read_page(render(other))
    assert not [a for a in page.attrs("svg") if (a.get("class") or "").startswith("people")]
    assert not any(word in page.sections["top"].split("members look")[0] for word in ("grave", "small", "considerable"))


def test_no_leak_detected_says_how_large_one_could_be(result):
    for limit, words in ((0.55, "would be small"), (0.7, "at most considerable"), (0.9, "at most grave")):
        first = first_of(with_verdict(result, "none detected", limit=limit))
        assert first.headline.startswith(f"No leak detected above AUC {limit:.3f}")
        assert words in first.headline
        assert first.tone == "none"
    assert at_most(0.6) == "considerable"


def test_the_picture_counts_members_within_the_interval(result):
    point = {"fpr": 0.1, "tpr": 0.745, "low": 0.651, "high": 0.846, "resolvable": True, "reason": None}
    leak = leak_by(result, area(0.76, 0.8), attack={"tpr_at_fpr": [point]})
    picture = first_of(leak).picture
    assert picture.accused_members == "74 of 100 (65 to 85)"
    counts = [str(picture.members).split('class="')[k].count("M") for k in range(2, 5)]
    assert counts == [65, 20, 15]
    point["resolvable"] = False
    leak = leak_by(result, area(0.76, 0.8), attack={"tpr_at_fpr": [point]})
    picture = first_of(leak).picture
    assert picture.members is None
    assert "at a rate of 10 % cannot be said" in picture.missing


def test_a_few_who_stand_out_are_drawn_as_they_were_counted(result):
    test = Exposed(above=18, rank=0, n_in=200, n_out=200, p_value=1e-6, level=0.02, most=10)
    leak = with_verdict(result, "leak", "few", few=["shokri"], attack={"exposed": test})
    first = first_of(leak)
    assert first.headline == "Membership of a few records leaks. For the others none is shown."
    assert (first.picture.accused_members, first.picture.accused_nonmembers) == ("18 of 200", "0 of 200")
    assert "Chance explains at most 10" in first.picture.caption


def test_there_are_three_steps_for_every_verdict(result):
    for kind in ("leak", "none detected", "confounded", "broken", "inconclusive", "inverted"):
        assert len(first_of(with_verdict(result, kind, "nothing", limit=0.6)).steps) == 3
    assert len(first_of(result).steps) == 3


def test_an_older_result_whose_sides_differ_has_no_picture_either(result):
    blind = result.controls.blind.model_copy(update={"confounded": True})
    old = result.model_copy(update={"controls": result.controls.model_copy(update={"blind": blind})})
    first = first_of(old)
    assert old.verdict_kind is None
    assert first.headline == "No answer: the two sides differ by themselves."
    assert first.picture.members is None
    assert first.means == []
    assert "no figure below measures" in engineer_of(old, lambda attack: attack.name).caution
    assert first_of(result).picture.members is not None
