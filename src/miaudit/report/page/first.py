"""The first layer: what everyone should know, on one screen."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from miaudit.errors import counted
from miaudit.report import deletion, marks
from miaudit.report.gravity import Gravity, at_most, gravity, leak_of
from miaudit.report.plain import meaning, next_steps, what_shows, who_is_named
from miaudit.result import Accusations, AttackResult, Interval, Result, VerdictKind
from miaudit.result.estimate import high_end, low_end, rounded

_ACCUSED = 0.1  # share of the non-members that the picture accuses, whatever the figures are
_UNANSWERED = {
    "confounded": "Members and non-members differ by themselves, so that who is accused says nothing of the model.",
    "broken": "A control failed, so that no figure of this run may be used.",
    "inconclusive": "The figures do not tell whether there is a leak, and a picture would pretend that they do.",
    "inverted": "The attack ranks members below non-members; until that is explained, there is nobody to accuse.",
}


@dataclass(frozen=True)
class Picture:
    """A hundred members and a hundred non-members, those who would be accused marked; or why there is no such picture."""

    members: Markup | None = None
    nonmembers: Markup | None = None
    accused_members: str = ""
    accused_nonmembers: str = ""
    caption: str = ""
    missing: str = ""
    ends: bool = False


@dataclass(frozen=True)
class First:
    """The first layer.

    ``tone`` is the class of the style sheet, ``headline`` a short sentence, ``figures`` what it rests on with interval and n,
    ``means`` what that is in words, ``named`` whom an attacker could name, ``needs`` what it takes, under ``needs_title``, and
    ``steps`` what to do.
    """

    tone: str
    headline: str
    figures: str
    means: list[str]
    named: str | None
    picture: Picture
    needs_title: str
    needs: list[tuple[str, str]]
    steps: list[str]


def first_of(result: Result) -> First:
    """Return the first layer of a result's page."""
    tone, headline = _headline(result)
    return First(
        tone=tone,
        headline=headline,
        figures=_figures(result),
        means=_means(result),
        named=_named(result),
        picture=_picture(result),
        needs_title="What the attacker was assumed to have" if tone == "void" else "What an attacker needs",
        needs=_needs(result),
        steps=next_steps(result.model_copy(update={"verdict_kind": kind_of(result)})),
    )


def kind_of(result: Result) -> VerdictKind | None:
    """Return the kind of the verdict; of an older result, which does not name it, whether a control failed."""
    if result.verdict_kind is not None:
        return result.verdict_kind
    if result.controls.blind.confounded:
        return "confounded"
    null = result.controls.null
    return "broken" if null is not None and null.at_chance is False else None


def _headline(result: Result) -> tuple[str, str]:
    finding, kind = result.finding, kind_of(result)
    if result.deletion is not None:
        return deletion.headline(result.deletion)
    people = finding is not None and finding.n.unit == "person"
    match kind:
        case "leak":
            grave = gravity(result)
            if grave is not None:
                return grave.least, _leak(grave)
            if finding is not None and finding.basis == "few":
                return (
                    "few",
                    f"Membership of a few {'people' if people else 'records'} leaks. For the others none is shown.",
                )
            return "considerable", "Membership leaks."
        case "none detected":
            limit = None if finding is None else finding.limit
            if limit is None:
                return "none", "No leak detected."
            size = at_most(limit)
            return (
                "none",
                f"No leak detected above AUC {rounded(limit)}: one below it would be {_up_to(size)} on average.",
            )
        case "confounded":
            return "void", "No answer: the two sides differ by themselves."
        case "broken":
            return "void", "Do not use this audit: one of its controls failed."
        case "inverted":
            return "void", "Members look less like members than others do: a leak turned round, or a fault."
        case "inconclusive":
            return "void", "No answer yet: these records do not tell."
    return "plain", "The verdict"


def _leak(grave: Gravity) -> str:
    if grave.least == grave.most:
        return f"A {grave.least} membership leak."
    return f"A membership leak, at least {grave.least} and at most {grave.most}."


def _up_to(word: str) -> str:
    return word if word == "small" else f"at most {word}"


def _figures(result: Result) -> str:
    """Return the figure that the verdict rests on, its interval and n, in one line."""
    finding = result.finding
    if finding is None:
        return ""
    n = finding.n
    if result.deletion is not None:
        unit = "people" if n.unit == "person" else "records"
        return f"n = {n.members:,} deleted and {n.nonmembers:,} never trained {unit}"
    people = ", people" if n.unit == "person" else ""
    of = f"n = {counted(n.members, 'member')} and {counted(n.nonmembers, 'non-member')}{people}"
    if finding.kind == "none detected" or finding.figure is None or finding.figure.value is None:
        return of
    area = finding.figure
    assert area.value is not None
    span = ""
    if finding.kind != "broken" and area.low is not None and area.high is not None:
        span = f" ({100 * level_of(result, area):.3g} % interval {low_end(area.low)} to {high_end(area.high)})"
    whose = {"records": f"of the {result.controls.blind.read} alone", "shuffle": "on shuffled memberships"}.get(
        finding.basis
    )
    if whose is None and finding.kind in ("confounded", "inconclusive"):
        whose = f"of '{finding.attack}' on models trained on neither side"
    return f"AUC {whose or f'of {finding.attack!r}'} {rounded(area.value)}{span}; {of}"


def level_of(result: Result, figure: Interval) -> float:
    """Return the level of the interval of the verdict's figure: corrected where the attack was chosen for it."""
    finding = result.finding
    attack = None if finding is None or finding.attack is None else result.attack(finding.attack)
    corrected = None if attack is None else attack.auc_corrected
    if attack is not None and corrected is not None and corrected.confidence > attack.confidence:
        own = attack.of_unit.auc
        plain = own is not None and (own.low, own.high) == (figure.low, figure.high)
        if not plain and (corrected.low, corrected.high) == (figure.low, figure.high):
            return corrected.confidence
    return 0.95 if attack is None else attack.confidence


def _means(result: Result) -> list[str]:
    """Return what the figures mean for the people in the data, as sentences."""
    if result.deletion is not None:
        return [*result.deletion.sentences[:2], result.deletion.earlier_model]
    text = None if kind_of(result) in _UNANSWERED else meaning(result)
    sentences = [] if text is None else [f"{text[:1].upper()}{text[1:]}."]
    finding = result.finding
    if finding is not None and finding.kind == "leak" and finding.attack is not None:
        figures = result.attack(finding.attack).bystander
        if figures is not None and figures.tells_sides and (area := leak_of(result)) is not None:
            assert area.value is not None
            sentences.append(
                "Part of this is no leak, as the sides differ in how hard they are for any model: beyond that it is "
                f"{100 * (area.value - 0.5):z.0f} of 100 pairs more than guessing."
            )
    if result.verdict_kind == "none detected":
        quiet = next((a for a in result.attacks if a.power is not None and a.power.auc is not None), None)
        if quiet is not None and quiet.power is not None:
            shows = what_shows(quiet.power, people=quiet.unit == "person")
            sentences.append(f"A leak{shows.removeprefix('One')}.")
    return sentences


def _named(result: Result) -> str | None:
    """Return whom an attacker could name who wants few accusations wrong; None where that says nothing of the model."""
    list_ = result.accusations
    if result.deletion is not None or list_ is None or result.verdict_kind not in ("leak", "none detected"):
        return None
    text = _list(list_)
    return text if list_.caution is None else f"{text} Caution: {list_.caution}."


def _list(list_: Accusations) -> str:
    if not list_.named or list_.members is None or list_.of_members is None:
        text = who_is_named(list_)
        return f"{text[:1].upper()}{text[1:]}."
    who = "people who are members" if list_.unit == "person" else "members"
    others = "who are not" if list_.unit == "person" else "non-members"
    right = (
        f"{10 * (1 - list_.q):g} of 10"
        if abs(10 * list_.q - round(10 * list_.q)) < 1e-9
        else f"{100 * (1 - list_.q):g} %"
    )
    return (
        f"An attacker who wants {right} accusations right can name {list_.of_members:,} of {list_.members:,} {who}, and names "
        f"{list_.false or 0:,} of {list_.nonmembers or 0:,} {others} with them{_of_all(list_)}."
    )


def _of_all(list_: Accusations) -> str:
    """Return the interval of the share that could be named, where the result has one."""
    if list_.share_low is None or list_.share_high is None:
        return ""
    low, high = (f"{100 * end:.3g}" for end in (list_.share_low, list_.share_high))
    return f"; of all such members, {low} to {high} % could be named (95 % interval)"


def _picture(result: Result) -> Picture:
    kind, finding = kind_of(result), result.finding
    if result.deletion is not None:
        return Picture(missing="A deletion audit asks what is left of the deleted records, and accuses nobody.")
    if kind in _UNANSWERED:
        return Picture(missing=_UNANSWERED[kind])
    if finding is not None and finding.kind == "leak" and finding.basis == "few" and finding.attack is not None:
        return _of_few(result.attack(finding.attack))
    attack = result.lead if finding is None or finding.attack is None else result.attack(finding.attack)
    if attack is None:
        return Picture(missing="No attack gave the figures for a picture.")
    if attack.caution is not None or (attack.bystander is not None and attack.bystander.tells_sides):
        return Picture(
            missing="Members and non-members differ in how hard they are for any model, so a picture of who is accused would "
            "show more than this model gives away."
        )
    point = next((p for p in attack.of_unit.tpr_at_fpr if p.fpr == _ACCUSED), None)
    if point is None or point.tpr is None or point.low is None or point.high is None or not point.resolvable:
        why = "" if point is None or point.reason is None else f": {point.reason}"
        return Picture(missing=f"Who would be accused at a rate of 10 % cannot be said{why}.")
    low, high, rate = (100 * end for end in (point.low, point.high, point.tpr))
    kind_ = "people" if attack.unit == "person" else "records"
    return Picture(
        members=_hundred(round(low), round(high), f"{rate:.0f} of 100 members are accused, {low:.0f} to {high:.0f}"),
        nonmembers=_hundred(10, 10, "10 of 100 non-members are accused"),
        accused_members=f"{rate:.0f} of 100 ({low:.0f} to {high:.0f})",
        accused_nonmembers="10 of 100",
        caption=f"Whom '{attack.name}' would accuse at a threshold at which 10 of 100 non-members ({kind_}) are accused. "
        "Guessing would accuse 10 of 100 on both sides.",
        ends=round(high) > round(low),
    )


def _of_few(attack: AttackResult) -> Picture:
    test = attack.exposed
    if test is None or not test.n_in or not test.n_out:
        return Picture(missing="The result does not say how many stand out.")
    members, others = round(100 * test.above / test.n_in), round(100 * test.rank / test.n_out)
    return Picture(
        members=_hundred(members, members, f"{test.above:,} of {counted(test.n_in, 'member')}"),
        nonmembers=_hundred(others, others, f"{test.rank:,} of {counted(test.n_out, 'non-member')}"),
        accused_members=f"{test.above:,} of {test.n_in:,}",
        accused_nonmembers=f"{test.rank:,} of {test.n_out:,}",
        caption=f"Whom '{attack.name}' would accuse above the rank at which most stand out, drawn as shares of 100. Chance "
        f"explains at most {test.most:,} of them.",
    )


def _hundred(sure: int, perhaps: int, label: str) -> Markup:
    return marks.people(["accused"] * sure + ["perhaps"] * (perhaps - sure) + ["left"] * (100 - perhaps), label=label)


def _needs(result: Result) -> list[tuple[str, str]]:
    """Return what an attacker needs to get there: a name and a text each."""
    needs = []
    for line in result.threat_model:
        name, colon, text = line.partition(": ")
        if colon and name in ("Access", "Knowledge of the training", "Knowledge of the data"):
            needs.append((name.removeprefix("Knowledge of the ").capitalize(), _sentence(text)))
    shadows, cost = result.shadows, result.provenance.shadow_cost
    if shadows.trained:
        many = f"{shadows.trained:,} shadow model{'s' if shadows.trained > 1 else ''}"
        spent = "" if cost is None or not cost.trained_now else f", trained here in {_time(cost.actual_seconds)}"
        needs.append(("Effort", f"{many}{spent}.{_without(result)}"))
    elif result.attacks:
        needs.append(("Effort", "No shadow models."))
    return needs


def _sentence(text: str) -> str:
    """Return the first sentence of a text, with a capital letter."""
    first = text.partition(". ")[0].rstrip(".")
    return f"{first[:1].upper()}{first[1:]}."


def _without(result: Result) -> str:
    """Return what the loss threshold finds, which needs no shadow models."""
    base = next((a for a in result.attacks if a.name == result.controls.baseline and a.status == "ran"), None)
    if result.verdict_kind != "leak" or base is None or base.area is None or base.name == result.headline:
        return ""
    area = base.of_unit.auc
    assert area is not None
    span = "" if area.low is None or area.high is None else f" ({low_end(area.low)} to {high_end(area.high)})"
    return f" Without any, '{base.name}' ranks them with AUC {rounded(base.area)}{span}."


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
