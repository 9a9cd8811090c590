"""What a result means and what to do next, in plain words: renderings of its figures, which add no judgement to them."""

from __future__ import annotations

import math

from miaudit.errors import counted
from miaudit.report import deletion
from miaudit.result import (
    Accusations,
    AttackResult,
    Difference,
    Interval,
    PatternControl,
    Power,
    Result,
    TargetResult,
    beyond_bystanders,
)
from miaudit.result.estimate import estimate, high_end, low_end, rounded

_OVERFITTED = 0.05  # gap of the accuracies from which overfitting is named


def accuracies(target: TargetResult) -> tuple[str, str]:
    """Return a target's accuracies on members and on non-members, each with its interval."""
    t = target
    train = estimate(t.train_accuracy, t.train_accuracy_low, t.train_accuracy_high)
    return train, estimate(t.test_accuracy, t.test_accuracy_low, t.test_accuracy_high)


def rate_of(attack: AttackResult, fpr: float) -> str:
    """Return the TPR of an attack at a rate with its interval, marked where so few records do not resolve it."""
    for each in attack.of_unit.tpr_at_fpr:
        if abs(each.fpr - fpr) < 1e-12:
            return estimate(each.tpr, each.low, each.high) + ("" if each.resolvable else " (not resolved)")
    return "-"


def meaning(result: Result) -> str | None:
    """Return what the headline attack's figures mean for the people in the data; None where they mean nothing.

    Where the verdict does not claim a leak of it, those of the highest of which it does, with its corrected low end; where it
    claims no AUC, those of the few members who stand out.
    """
    lead = result.lead
    if result.deletion is not None or lead is None or result.verdict_kind not in (None, "leak"):
        return None
    above, few, _ = beyond_bystanders([attack for attack in result.attacks if attack.area is not None])
    if lead in above or not (above or few):
        return f"{_pairs(lead)}{_rate(lead)}"
    if not above:
        return _few(
            lead if lead in few else min(few, key=lambda attack: attack.exposed.p_value if attack.exposed else 1.0)
        )
    top = max(above, key=lambda attack: attack.area or 0.0)
    corrected = top.auc_corrected
    if corrected is None or corrected.low is None:
        return _pairs(top)
    least = math.floor(1000 * corrected.low) / 10  # never above the bound
    return f"{_pairs(top, plain=False)}, and {least:g} at least, corrected for the number of attacks"


def _pairs(attack: AttackResult, *, plain: bool = True) -> str:
    of = " (people, all records of each together)" if attack.of_unit is attack.person else ""
    area = attack.of_unit.auc
    right, span = _of_100(rounded(attack.area or 0.0, 2)), ""
    if plain and area is not None and area.low is not None and area.high is not None:
        span = f"{_of_100(low_end(area.low, 2))} to {_of_100(high_end(area.high, 2))}; "
    pairs = f"of 100 pairs of a member and a non-member{of}"
    return f"{pairs} '{attack.name}' tells {right} right ({span}guessing: 50{_by_the_sides(attack)})"


def _by_the_sides(attack: AttackResult) -> str:
    """Return what the attack tells right without any leak, where the sides differ in how hard they are."""
    figures = attack.bystander
    if figures is None or not figures.tells_sides or figures.auc.value is None:
        return ""
    return f"; on models trained on neither side: {_of_100(rounded(figures.auc.value, 2))}"


def _of_100(share: str) -> str:
    return f"{100 * float(share):.12g}"


def _rate(attack: AttackResult) -> str:
    points = [
        p
        for p in attack.of_unit.tpr_at_fpr
        if p.resolvable and p.tpr is not None and p.low is not None and p.low > p.fpr
    ]
    if not points:
        return ""
    point = min(points, key=lambda p: p.fpr)
    return (
        f"; wrongly accusing {100 * point.fpr:g} % of the non-members, it finds {100 * (point.tpr or 0.0):.1f} % of the "
        f"members ({100 * (point.low or 0.0):.1f} to {100 * (point.high or 1.0):.1f} %; guessing: {100 * point.fpr:g} %)"
    )


def _few(attack: AttackResult) -> str:
    test = attack.exposed
    if test is None:
        return f"a few members stand out to '{attack.name}'"
    whom = f"all {test.n_out:,}" if not test.rank else f"all but {test.rank:,} of the {test.n_out:,}"
    members, others = (
        ("people who are members", "people who are not") if attack.unit == "person" else ("members", "non-members")
    )
    return (
        f"whoever accuses only those whom '{attack.name}' scores above {whom} {others} finds {test.above:,} of the "
        f"{test.n_in:,} {members}"
    )


def bystanders(result: Result) -> str:
    """Return what models trained on neither side show, in one clause."""
    control = result.controls.bystander
    if control is None:
        return "models trained on neither side: not asked"
    if control.auc is None:
        return f"models trained on neither side: check not possible: {control.reason or 'no reason given'}"
    assert control.attack is not None
    figures = result.attack(control.attack).bystander
    assert figures is not None
    text = (
        f"'{control.attack}' on {_models(control.models)} trained on neither side: AUC {_rounded(figures.auc)}, on the target "
        f"{_rounded(figures.less)} more"
    )
    if control.tell_sides:
        text += f"; attacks that tell the sides apart on such models: {len(control.tell_sides)}"
        if not figures.alike:
            answers = "does not answer" if figures.alike is False else "is not shown to answer"
            text += f"; the target {answers} non-members as they do"
    if control.unchecked:
        text += f"; not run on them: {', '.join(control.unchecked)}"
    return text


def _models(count: int) -> str:
    return f"{count:,} models" if count > 1 else "one model"


def _rounded(interval: Interval | Difference) -> str:
    if interval.low is None and interval.value is not None:
        return f"{interval.value:z.3f} (too few models for an interval)"
    value, low, high = (
        "-" if each is None else f"{each:z.3f}" for each in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} to {high})"


def as_pattern(pattern: PatternControl) -> str:
    """Return how the control for a pattern of the classes came out, in a few words."""
    if pattern.confounded is None:
        return f"not checked ({pattern.reason or 'no reason given'})"
    return "CARRIED BY ONE SIDE" if pattern.confounded else "none seen"


def pattern_figures(pattern: PatternControl) -> str:
    """Return the figures of the control for a pattern of the classes, in one clause."""
    excess, others = pattern.excess, pattern.by_nonmembers or (None, None)
    of = [
        f"{100 * share:.0f} %" if share is not None else "-" for share in (pattern.members, pattern.nonmembers, *others)
    ]
    return (
        f"other members teach a linear learner the classes of {of[0]} of the members and {of[1]} of the non-members, other "
        f"non-members {of[2]} and {of[3]}; excess {excess.value:z.3f} ({100 * pattern.confidence:g} % interval "
        f"{excess.low:z.3f} to {excess.high:z.3f})"
    )


def next_step(result: Result) -> str:
    """Return what to do about the verdict."""
    if result.deletion is not None:
        return deletion.next_of(result.deletion)
    match result.verdict_kind:
        case "leak" | None:
            gap = result.target.gap
            less = f"less overfitting (the gap is {gap:.2f}), " if gap is not None and gap > _OVERFITTED else ""
            answers = (
                "" if result.target.outputs in ("signal", "value", "labels") else "answers without probabilities, "
            )
            return (
                f"records.csv ranks the records by risk; to lower a leak: {less}regularisation, {answers}"
                "differential privacy; then audit again"
            )
        case "inverted":
            return "compare the records given as members with those the target was trained on, and the sides with each other"
        case "confounded" if _by_pattern(result):
            return "compare members and non-members that carry the same pattern, or originals of both, and audit again"
        case "confounded" if not result.controls.blind.confounded:
            return (
                "draw members and non-members at random from one population, with labels from one source, train the shadow "
                "models like the target, and audit again"
            )
        case "confounded" if result.controls.blind.classes:
            return (
                "draw members and non-members at random from one population, or as many records of each class for both sides, "
                "and audit again"
            )
        case "confounded":
            return (
                "draw members and non-members at random from one population, or leave out the columns that tell them apart "
                "(dates, numbers, texts), and audit again"
            )
        case "broken":
            return "use no figure of this run; check who is said to be in which shadow model's training set"
        case "inconclusive":
            return "audit more records of each side"
    return _power(result)


def _by_pattern(result: Result) -> bool:
    return result.finding is not None and result.finding.basis == "pattern"


def next_steps(result: Result) -> list[str]:
    """Return the three things to do next, as sentences, the most urgent first."""
    if result.deletion is not None:
        return deletion.steps(result.deletion)
    gate = "Hold the next release to a limit that you set: miaudit gate DIR --policy release."
    first = next_step(result)
    first = f"{first[:1].upper()}{first[1:]}."
    match result.verdict_kind:
        case "leak" | None:
            gap, outputs = result.target.gap, result.target.outputs
            over = gap is not None and gap > _OVERFITTED
            train = (
                f"Train with less overfitting (the gap of the accuracies is {gap:.2f}): regularise, stop earlier, use more "
                "data; differential privacy bounds what any record can give away."
                if over
                else "Regularise the training, or train with differential privacy, which bounds what any record can give away."
            )
            less = "Look at the most exposed records below: must they be in the training data?"
            if outputs not in ("signal", "value", "labels"):
                less = "Answer with less than a probability for every class, and audit that: labels may still tell."
            return [train, less, f"Audit again. {gate}"]
        case "none detected":
            open_ = "Read what was not tested, below: another attacker may find more."
            return [f"{_more(result)} show smaller leaks than this audit.", open_, gate]
        case "confounded":
            return [first, "Until then, draw no conclusion about the model from any figure of this page.", gate]
        case "broken":
            return [first, "Repeat the audit; if the control fails again, report it as a fault of the audit.", gate]
        case "inverted":
            turned = "If the set-up is right, treat it as a leak: whoever turns the score round has it."
            return [first, turned, f"Audit again. {gate}"]
    overlapping = "" if result.shadows.design == "overlapping" else ', and design = "overlapping",'
    return [first, f"More shadow models{overlapping} make the attacks sharper.", f"Audit again. {gate}"]


def _more(result: Result) -> str:
    """Return what shows smaller leaks than this audit."""
    if result.shadows.design == "overlapping":
        return "More records and more shadow models"
    return 'More records, more shadow models and design = "overlapping"'


def _power(result: Result) -> str:
    quiet = next((a for a in result.attacks if a.power is not None and a.power.auc is not None), None)
    more = f"{_more(result).lower()} show smaller ones"
    if quiet is None or quiet.power is None:
        return f"smaller leaks may be there: {more}"
    return f"smaller leaks may be there. {what_shows(quiet.power, people=quiet.unit == 'person')}: {more}"


def who_is_named(list_: Accusations) -> str:
    """Return whom the attack that leads could name, as a sentence without its full stop."""
    unit = "people" if list_.unit == "person" else "records"
    if list_.named is None:
        of = ", counted in people" if list_.unit == "person" else ""
        return f"'{list_.attack}' gives no list of names with few wrong: {list_.reason}{of}"
    aim = f"so that at most {100 * list_.q:g} % of the named are non-members on average"
    judged = f"{counted(list_.members or 0, 'member')} and {counted(list_.nonmembers or 0, 'non-member')}"
    if not list_.named:
        return f"'{list_.attack}' can name nobody among {judged} ({unit}) {aim}"
    return (
        f"among {judged} ({unit}) '{list_.attack}' names {list_.named:,}, {aim}; here "
        f"{counted(list_.of_members or 0, 'is a member', 'are members')} and {counted(list_.false or 0, 'is', 'are')} not"
    )


def what_shows(power: Power, *, people: bool = False) -> str:
    """Return the smallest leak of each kind that such audits show, of people if they count; without its full stop."""
    per, members, others = "", "members", "non-members"
    if people:
        per, members, others = " per person", "people who are members", "people who are not"
    shows = (
        f"One that raises all members' scores alike shows in {100 * power.power:g} of 100 such audits from an AUC{per} of "
        f"{power.auc:.3f} on"
    )
    if power.exposed is None:
        return f"{shows}; one of a few {members} may not"
    return (
        f"{shows}; one that puts a few {members} above all {others} and leaves the others as they are, from "
        f"{100 * power.exposed:.2g} % of the {members} on"
    )
