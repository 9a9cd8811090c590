"""The sentence a reader takes away: a verdict in words, with the figures of the attacks that it names."""

from __future__ import annotations

from collections.abc import Sequence

from miaudit.errors import counted
from miaudit.result.attack import AttackResult, highest, named_beforehand
from miaudit.result.controls import BlindControl, NullControl, PatternControl
from miaudit.result.estimate import estimate, rounded
from miaudit.result.figures import BystanderFigures, Difference, Exposed, Interval
from miaudit.result.verdict import Counted, Verdict


def sentence(
    verdict: Verdict,
    attacks: Sequence[AttackResult],
    null: NullControl | None,
    blind: BlindControl,
    pattern: PatternControl | None = None,
) -> str:
    """Return a verdict in words.

    Parameters
    ----------
    verdict
        What the audit concludes.
    attacks
        All attacks of the audit, whose figures the sentence names.
    null, blind, pattern
        The controls on shuffled membership, on the raw records, and for a pattern of the classes in them.
    """
    ran = [attack for attack in attacks if attack.area is not None]
    n = _n(verdict.n)
    match verdict.kind, verdict.basis:
        case "confounded", "records":
            text = _confounded(blind, n)
            if pattern is not None and pattern.confounded:
                text = f"{text} Beside that, {carried(pattern)}"
        case "confounded", "pattern":
            assert pattern is not None
            text = f"Confounded, so that no attack's figure measures the model, with {n}: {carried(pattern)}"
        case "broken", _:
            assert null is not None
            text = (
                f"Do not use: the attack '{null.attack}' does better or worse than chance on shuffled membership "
                f"({_shuffled(null)}), so something in the set-up is broken; {n}."
            )
        case "leak", "area":
            text = f"Membership leaks. {_leak(verdict, ran, n)}{_beside(verdict.above, ran)}{_turned(verdict, ran)}"
        case "leak", _:
            text = _leak_of_some(verdict, ran, n)
        case "inverted", _:
            text = (
                f"Members are told from non-members the wrong way round.{_turned(verdict, ran)} Somebody who turns the score "
                "round learns who is a member, or the set-up is at fault: check that the sides are not swapped, and that the "
                f"members are what this target was trained on; {n}.{_beside(verdict.below, ran)}"
            )
        case "none detected", _:
            text = _none(verdict, ran, n)
        case "inconclusive", "power" | "nothing":
            people = ", counted in people" if verdict.reason and verdict.n.records is not None else ""
            text = f"Inconclusive: {verdict.reason or 'no attack could be measured'}{people}; {n}."
        case _:
            text = _hard_sides(verdict, ran, n)
    return " ".join([text, *verdict.caveats])


def _of(ran: Sequence[AttackResult], names: Sequence[str]) -> list[AttackResult]:
    return [attack for attack in ran if attack.name in names]


def _leak_of_some(verdict: Verdict, ran: Sequence[AttackResult], n: str) -> str:
    lead = named_beforehand(ran)
    of_all = f" of {len(ran)} attacks" if len(ran) > 1 else ""
    area = f"; '{lead.name}', named beforehand, has {_area(lead)}" if lead is not None else ""
    than = "that on models trained on neither side" if any(r.above_chance for r in ran) else "chance"
    chance = (
        f"no AUC{of_all} is shown to be above {than}{area}" if of_all else f"its AUC is not shown to be above {than}"
    )
    whose = "people" if verdict.n.unit == "person" else "records"
    return (
        f"Membership of some {whose} leaks: {_few(_of(ran, verdict.few), lead)}; {chance}; {n}."
        f"{_beside(verdict.few, ran)}{_turned(verdict, ran)}"
    )


def _none(verdict: Verdict, ran: Sequence[AttackResult], n: str) -> str:
    by = f"the {len(ran)} attacks that were run" if len(ran) > 1 else f"the one attack that was run, '{ran[0].name}'"
    return (
        f"No leak detected above {_auc_of(ran[0])} {_f(verdict.limit)} at 95 % with {n}, by {by}.{_by_chance(ran)}"
        f"{_hidden(ran)}"
    )


def _leak(verdict: Verdict, ran: Sequence[AttackResult], n: str) -> str:
    """Return the leak by the attack that leads, then by the one of the highest AUC at the corrected level."""
    above, few = _of(ran, verdict.above), _of(ran, verdict.few)
    lead, top = named_beforehand(ran), highest(ran)
    loudest = next(r for r in above if r.name == verdict.highest)
    assert lead is not None
    than = "what they find on models trained on neither side" if any(r.checked for r in above) else "chance"
    which = f"the highest of {len(ran)} attacks" if loudest is top else f"the highest of {len(above)} above {than}"
    if loudest is not top and len(above) == 1:
        which = f"the only one of {len(ran)} attacks shown to be above {than.replace('they find', 'it finds')}"
    exposed = f"; {_few(few, lead)}" if few else ""
    if lead not in above:
        own = "what it finds on models trained on neither side" if lead.checked else "chance"
        return (
            f"The attack '{lead.name}', named beforehand, has {_area(lead)}, not shown to be above {own} once corrected; "
            f"'{loudest.name}' {'tells members from non-members with' if loudest.above_chance else 'has'} "
            f"{_corrected(loudest)}, {which}{exposed}; {n}."
        )
    several = len(ran) > 1
    tells = "tells members from non-members with" if lead.above_chance else "has"
    more = "" if lead.above_chance else ", more than on models trained on neither side"
    first = (
        f"The attack '{lead.name}'{', named beforehand,' if several else ''} {tells} {_area(lead)}{more}{_decisions(lead)}"
        f"{exposed}; {n}"
    )
    if loudest is lead:
        return f"{first}; the highest AUC of {len(ran)} attacks." if several else f"{first}."
    return f"{first}. '{loudest.name}' has {_corrected(loudest)}, {which}."


def _beside(names: Sequence[str], ran: Sequence[AttackResult]) -> str:
    """Say what the attack that is spoken of finds on bystanders; nothing where it was not run on any."""
    claimed, lead = _of(ran, names), named_beforehand(ran)
    spoken = lead if lead in claimed else highest(claimed)
    if spoken is None:
        return ""
    if not spoken.checked:
        others = any(r.checked for r in ran)  # where none was, a caveat says so
        return f" '{spoken.name}' could not be run on models trained on neither side." if others else ""
    figures = spoken.bystander
    assert figures is not None
    value, low, high = figures.less.value or 0.0, figures.less.low or 0.0, figures.less.high or 0.0
    gap = (
        f", {_f(value)} ({_f(low)} to {_f(high)}) less"
        if value >= 0
        else f", {_f(-value)} ({_f(-high)} to {_f(-low)}) more"
    )
    harder = "; members are harder than non-members, which hides part of a leak" if _harder(spoken) else ""
    return f" On {_models(figures)} '{spoken.name}' has {_auc_of(spoken)} {_with(figures.auc)}{gap}{harder}."


def _hard_sides(verdict: Verdict, ran: Sequence[AttackResult], n: str) -> str:
    """Return the verdict where attacks find what bystanders show as well, or may show."""
    unexplained = _of(ran, verdict.unexplained)
    if verdict.basis == "unchecked":
        names = ", ".join(f"'{r.name}'" for r in unexplained)
        return (
            "Confounded by how hard the sides are: other attacks tell members from non-members on models trained on neither "
            f"side, and {names} could not be run on such models; {n}."
        )
    loudest = next(r for r in unexplained if r.name == verdict.attack)
    figures = loudest.bystander
    assert figures is not None
    if verdict.basis == "sides":
        below = loudest.below_chance
        verb = "ranks members below non-members" if below else "tells members from non-members"
        return (
            f"Confounded by how hard the sides are: the same attack on {_models(figures)} {verb} with "
            f"{_auc_of(loudest)} {_with(figures.auc)}. On the target '{loudest.name}' has "
            f"{_area(loudest)}{_explained(loudest)}; {n}.{_unlike(unexplained)}"
        )
    if verdict.basis == "unlike":
        return f"Inconclusive: members and non-members differ in how hard they are; {n}.{_unlike(unexplained)}"
    return (
        f"Inconclusive: '{loudest.name}' has {_area(loudest)} on the target, and {_with(figures.auc)} on {_models(figures)}. "
        f"The difference, {_with(figures.less)}, may be chance once corrected; {n}."
    )


def _explained(result: AttackResult) -> str:
    figures = result.bystander
    more = figures is not None and (figures.below if result.below_chance else figures.above)
    return "" if more else ", not shown to lie beyond that"


def _unlike(unexplained: Sequence[AttackResult]) -> str:
    """Say which attacks find more on a target that is not like bystanders, where the sides differ; nothing where none does."""
    names = [r.name for r in unexplained if r.unlike_bystanders]
    if not names:
        return ""
    few = any(r.bystander is not None and r.bystander.alike is None for r in unexplained if r.name in names)
    why = (
        "these models are too few to say whether the target answers non-members as they do"
        if few
        else ("the target does not answer non-members as these models do, as where it was trained otherwise")
    )
    listed = ", ".join(f"'{name}'" for name in names)
    verb = "finds" if len(names) == 1 else "find"
    return f" {listed} {verb} more on the target than on models trained on neither side, but {why}, so that no leak follows."


def _hidden(ran: Sequence[AttackResult]) -> str:
    """Say where members are so much harder than non-members that a leak may hide behind it."""
    harder = [r for r in ran if _harder(r)]
    if not harder:
        return ""
    worst = min(harder, key=lambda r: (r.bystander and r.bystander.auc.value) or 0.0)
    figures = worst.bystander
    assert figures is not None
    return (
        f" Members are harder than non-members for any model, which may hide a leak: on {_models(figures)} '{worst.name}' has "
        f"{_auc_of(worst)} {_with(figures.auc)}, and {_with(figures.less)} more on the target."
    )


def _harder(result: AttackResult) -> bool:
    figures = result.bystander
    return bool(figures and figures.tells_sides and figures.auc.value is not None and figures.auc.value < 0.5)


def _models(figures: BystanderFigures) -> str:
    return (
        f"{figures.models:,} models trained on neither side"
        if figures.models > 1
        else "a model trained on neither side"
    )


def _with(interval: Interval | Difference) -> str:
    if interval.low is None and interval.value is not None:
        return f"{_f(interval.value)} (too few models for an interval)"
    return f"{_f(interval.value)} (95 % interval {_f(interval.low)} to {_f(interval.high)})"


def _few(few: Sequence[AttackResult], lead: AttackResult | None) -> str:
    """Return what the test for a few exposed members says, by the attack that leads, or else by the most surprising."""
    tests = [(r is not lead, r.exposed.p_value, r.name, r.exposed) for r in few if r.exposed is not None]
    _, _, name, test = min(tests, key=lambda each: each[:2])
    return f"'{name}' ranks {_counted(test, people=few[0].unit == 'person')}"


def _counted(test: Exposed, *, people: bool) -> str:
    """Return the count of a test for a few exposed members, or people, in words."""
    whom = f"all {test.n_out:,}" if not test.rank else f"all but {test.rank:,} of {test.n_out:,}"
    members, others = ("people who are members", "who are not") if people else ("members", "non-members")
    return (
        f"{test.above:,} of {test.n_in:,} {members} above {whom} {others}, where chance explains at most {test.most:,}"
    )


def _shuffled(null: NullControl) -> str:
    if null.first_auc is None:
        return f"AUC {_f(null.auc.value)}"
    return f"AUC {_f(null.first_auc.value)}, and {_f(null.auc.value)} when shuffled once more"


def _confounded(blind: BlindControl, n: str) -> str:
    figures = f"AUC {_f(blind.auc.value)}, 95 % interval {_f(blind.auc.low)} to {_f(blind.auc.high)}"
    if blind.auc.value is not None and blind.auc.value < 0.5:
        return (
            f"Confounded: the {blind.read} alone rank members below non-members ({figures}), as where the sides are matched "
            f"or share near copies; they are no independent draws, and no attack's figure measures the model; {n}."
        )
    return (
        f"Confounded: the {blind.read} alone tell members from non-members ({figures}), so no attack's figure measures "
        f"the model; {n}."
    )


def carried(pattern: PatternControl) -> str:
    """Return what a pattern is that depends on the class and that records of one side carry, and what follows."""
    side, shares = pattern.side, (pattern.members, pattern.nonmembers)
    if side == "nonmembers" and pattern.by_nonmembers is not None:
        shares = pattern.by_nonmembers
    whose = {
        "members": "the training records carry a label-dependent pattern that the non-members lack",
        "nonmembers": "the non-members carry a label-dependent pattern that the training records lack",
    }.get(side or "", "members and non-members carry different label-dependent patterns")
    of = "non-members" if side == "nonmembers" else "members"
    return (
        f"{whose}. Other {of} teach a linear learner the classes of {_share(shares[0])} of the members and "
        f"{_share(shares[1])} of the non-members, and a model that learned the pattern answers them as differently without "
        "memorising any record: the gap between training and test is not evidence of memorisation. Whether the model learned "
        "it, and whether it was added, as to protected data, or comes with how the sides were drawn, the records do not say."
    )


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.0f} %"


def _turned(verdict: Verdict, ran: Sequence[AttackResult]) -> str:
    below = _of(ran, verdict.below)
    if not below:
        return ""
    lowest, count = min(below, key=_auc), len(below)
    many = f"{count} of {len(ran)} attacks {'ranks' if count == 1 else 'rank'}" if len(ran) > 1 else "The attack ranks"
    return f" {many} members below non-members, '{lowest.name}' lowest with {_corrected(lowest)}."


def _by_chance(ran: Sequence[AttackResult]) -> str:
    """Say which plain intervals lie above or below 1/2 although the corrected ones do not."""
    areas = [(r, a.low, a.high) for r in ran if (a := r.of_unit.auc) is not None]
    high = [r for r, low, _ in areas if low is not None and low > 0.5]
    low = [r for r, _, high in areas if high is not None and high < 0.5]
    lead = named_beforehand(ran)
    text = ""
    for side, those in (("above", high), ("below", low)):
        if not those:
            continue
        example = lead if lead in those else max(those, key=lambda r: abs(_auc(r) - 0.5))
        which = f"of {len(those)} of them" if len(ran) > 1 else "of it"
        noun, verb = ("intervals", "lie") if len(those) > 1 else ("interval", "lies")
        text += (
            f" The plain 95 % {noun} {which} {verb} {side} 0.5 ('{example.name}', {_area(example)}), no further "
            "than chance allows once corrected."
        )
    return text


def _decisions(best: AttackResult) -> str:
    """Return what its decisions are worth; nothing where no interval holds for them, as for records of people."""
    p = best.pooled
    if p is None or p.precision is None or p.recall is None or p.precision_low is None:
        return ""
    of = " on single records" if best.unit == "person" else ""
    right = estimate(p.accuracy, p.accuracy_low, p.accuracy_high)
    precision = estimate(p.precision, p.precision_low, p.precision_high)
    recall = estimate(p.recall, p.recall_low, p.recall_high)
    return f": {right} of its in/out decisions{of} are right, precision {precision}, recall {recall}"


def _area(result: AttackResult) -> str:
    area = result.of_unit.auc
    assert area is not None
    return f"{_auc_of(result)} {_f(area.value)} (95 % interval {_f(area.low)} to {_f(area.high)})"


def _corrected(result: AttackResult) -> str:
    """Return an AUC that was chosen among others, with the interval that holds for all."""
    area = result.auc_corrected
    if area is None or area.confidence <= result.confidence:
        return _area(result)
    level = f"{100 * area.confidence:.3g} % interval, corrected for all attacks"
    return f"{_auc_of(result)} {_f(area.value)} ({level}, {_f(area.low)} to {_f(area.high)})"


def _auc(result: AttackResult) -> float:
    return result.area or 0.0


def _auc_of(result: AttackResult) -> str:
    return "AUC per person" if result.unit == "person" else "AUC"


def _n(n: Counted) -> str:
    if n.records is None:
        return f"n = {counted(n.members, 'member')} and {counted(n.nonmembers, 'non-member')}"
    if n.unit == "record":
        return (
            f"n = {counted(n.records, 'record')}, of {counted(n.members, 'person', 'people')} among members and "
            f"{n.nonmembers:,} among non-members"
        )
    return (
        f"n = {counted(n.members, 'person who is a member', 'people who are members')} and "
        f"{counted(n.nonmembers, 'who is', 'who are')} not, with {counted(n.records, 'record')}"
    )


def _f(value: float | None) -> str:
    return "undefined" if value is None else rounded(value)
