"""The one sentence a reader takes away, and its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from miaudit.findings.unit import Unit
from miaudit.result import (
    AttackResult,
    BlindControl,
    BystanderControl,
    BystanderFigures,
    Difference,
    Exposed,
    Interval,
    NullControl,
    Power,
    VerdictKind,
    beyond_bystanders,
    highest,
    named_beforehand,
)
from miaudit.result.estimate import estimate, rounded


class Verdict(NamedTuple):
    """What the audit concludes: its kind, for programs, and the sentence, for people."""

    kind: VerdictKind
    sentence: str


def verdict_of(
    results: Sequence[AttackResult],
    null: NullControl | None,
    blind: BlindControl,
    members: int,
    nonmembers: int,
    bystander: BystanderControl | None = None,
    *,
    power: Power | None = None,
    unit: Unit | None = None,
    caveats: Sequence[str] = (),
) -> Verdict:
    """Return the verdict: confounded, broken, inconclusive, a leak, one upside down, or none found and up to where.

    What is claimed of each attack stands in its result (`miaudit.stats.claims`), at levels that hold for all attacks
    together. Where an attack was run on bystanders, too, it rests on what the attack finds on the target beyond what it
    finds on them: else the sides may differ in how hard they are. The attack that was named before any figure was known
    leads, with its interval at 95 %; others, which are named for their figures, have theirs at the corrected level.

    Parameters
    ----------
    results
        All attacks.
    null
        The control on shuffled membership that came out worst.
    blind
        The control on the raw records.
    members, nonmembers
        What is counted on each side.
    bystander
        The control by models that were trained on neither side.
    power
        The smallest leak so many would have shown.
    unit
        What is counted; default: records.
    caveats
        What else a reader of an attack's figures must know, as sentences.
    """
    n = _n(members, nonmembers, unit)
    if blind.confounded:
        return Verdict("confounded", _confounded(blind, n))
    if null is not None and not null.at_chance:
        return Verdict(
            "broken",
            f"Do not use: the attack '{null.attack}' does better or worse than chance on shuffled membership "
            f"({_shuffled(null)}), so something in the set-up is broken; {n}.",
        )
    ran = [r for r in results if r.area is not None]
    if not ran:
        return Verdict("inconclusive", f"Inconclusive: no attack could be measured; {n}.")
    kind, sentence = _measured(ran, power, n)
    if kind in ("leak", "inverted"):
        if bystander is not None and bystander.auc is None:
            open_ = f"Whether the sides differ in how hard they are could not be checked: {bystander.reason}."
            caveats = [*caveats, open_]
        if blind.confounded is None:
            caveats = [*caveats, f"Whether the sides differ by themselves could not be checked: {blind.reason}."]
    return Verdict(kind, " ".join([sentence, *caveats]))


def _measured(ran: Sequence[AttackResult], power: Power | None, n: str) -> tuple[VerdictKind, str]:
    """Return what attacks say that were measured under controls that hold."""
    above, few, below = beyond_bystanders(ran)
    of_all = f" of {len(ran)} attacks" if len(ran) > 1 else ""
    turned = f" {_turned(below, of_all)}" if below else ""
    if above:
        return "leak", f"Membership leaks. {_leak(ran, above, few, n)}{_beside(above, ran)}{turned}"
    if few:
        lead = named_beforehand(ran)
        area = f"; '{lead.name}', named beforehand, has {_area(lead)}" if lead is not None else ""
        than = "that on models trained on neither side" if any(r.above_chance for r in ran) else "chance"
        chance = f"no AUC{of_all} is above {than}{area}" if of_all else f"its AUC is not above {than}"
        return "leak", f"Membership of some records leaks: {_few(few, lead)}; {chance}; {n}.{_beside(few, ran)}{turned}"
    if below:
        return "inverted", (
            f"Members are told from non-members the wrong way round. {_turned(below, of_all)} Somebody who turns the score "
            "round learns who is a member, or the set-up is at fault: check that the sides are not swapped, and that the "
            f"members are what this target was trained on; {n}.{_beside(below, ran)}"
        )
    if unexplained := [r for r in ran if r.above_chance or r.above_chance_at_low_fpr or r.below_chance]:
        return _hard_sides(unexplained, n)
    if power is not None and power.auc is None:
        return "inconclusive", f"Inconclusive: {power.reason}; {n}."
    highest_end = max(0.5, *(a.high or 0.0 for r in ran if (a := r.of_unit.auc) is not None))
    by = f"the {len(ran)} attacks that were run" if len(ran) > 1 else f"the one attack that was run, '{ran[0].name}'"
    return "none detected", (
        f"No leak detected above {_auc_of(ran[0])} {_f(highest_end)} at 95 % with {n}, by {by}.{_low_by_chance(ran)}"
        f"{_hidden(ran)}"
    )


def _leak(ran: Sequence[AttackResult], above: Sequence[AttackResult], few: Sequence[AttackResult], n: str) -> str:
    """Return the leak by the attack that leads, then by the one of the highest AUC at the corrected level."""
    lead, top = named_beforehand(ran), highest(ran)
    loudest = top if top in above else highest(above)
    assert lead is not None
    assert loudest is not None
    than = "what they find on models trained on neither side" if any(r.checked for r in above) else "chance"
    which = f"the highest of {len(ran)} attacks" if loudest is top else f"the highest of {len(above)} above {than}"
    exposed = f"; {_few(few, lead)}" if few else ""
    if lead not in above:
        own = "no more than models trained on neither side explain" if lead.checked else "not above chance"
        return (
            f"The attack '{lead.name}', named beforehand, has {_area(lead)}, {own} once corrected; "
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


def _beside(claimed: Sequence[AttackResult], ran: Sequence[AttackResult]) -> str:
    """Say what the attack that is spoken of finds on bystanders; nothing where it was not run on any."""
    lead = named_beforehand(ran)
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


def _hard_sides(unexplained: Sequence[AttackResult], n: str) -> tuple[VerdictKind, str]:
    """Return the verdict where attacks find what bystanders show as well, or may show."""
    checked = [r for r in unexplained if r.checked]
    shifted = [r for r in checked if _on_bystanders(r)]
    loudest = max(shifted or checked, key=lambda r: abs(_auc(r) - 0.5), default=None)
    if loudest is None:  # other attacks tell the sides apart on bystanders, and these could not be run on any
        names = ", ".join(f"'{r.name}'" for r in unexplained)
        return "confounded", (
            f"Confounded by how hard the sides are: other attacks tell members from non-members on models trained on neither "
            f"side, and {names} could not be run on such models; {n}."
        )
    figures = loudest.bystander
    assert figures is not None
    if shifted:
        below = loudest.below_chance
        verb = "ranks members below non-members" if below else "tells members from non-members"
        return "confounded", (
            f"Confounded by how hard the sides are: the same attack on {_models(figures)} {verb} with "
            f"{_auc_of(loudest)} {_with(figures.auc)}. On the target '{loudest.name}' has "
            f"{_area(loudest)}{_explained(loudest)}; {n}.{_unlike(unexplained)}"
        )
    if unlike := _unlike(unexplained):
        return "inconclusive", f"Inconclusive: members and non-members differ in how hard they are; {n}.{unlike}"
    return "inconclusive", (
        f"Inconclusive: '{loudest.name}' has {_area(loudest)} on the target, and {_with(figures.auc)} on {_models(figures)}. "
        f"The difference, {_with(figures.less)}, may be chance once corrected; {n}."
    )


def _explained(result: AttackResult) -> str:
    figures = result.bystander
    more = figures is not None and (figures.below if result.below_chance else figures.above)
    return "" if more else ", no more than that explains"


def _unlike(unexplained: Sequence[AttackResult]) -> str:
    """Say which attacks find more on a target that is not like bystanders, where the sides differ; nothing where none does."""
    names = [r.name for r in unexplained if (b := r.bystander) and not b.alike and (b.above or b.few or b.below)]
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


def _on_bystanders(result: AttackResult) -> bool:
    """Whether the attack finds on bystanders, by its own interval, what it claims of the target."""
    auc = None if result.bystander is None else result.bystander.auc
    if auc is None or auc.low is None or auc.high is None:
        return False
    return auc.high < 0.5 if result.below_chance else auc.low > 0.5


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
        f"{figures.models} models trained on neither side" if figures.models > 1 else "a model trained on neither side"
    )


def _with(interval: Interval | Difference) -> str:
    return f"{_f(interval.value)} (95 % interval {_f(interval.low)} to {_f(interval.high)})"


def _few(few: Sequence[AttackResult], lead: AttackResult | None) -> str:
    """Return what the test for a few exposed members says, by the attack that leads, or else by the most surprising."""
    tests = [(r is not lead, r.exposed.p_value, r.name, r.exposed) for r in few if r.exposed is not None]
    _, _, name, test = min(tests, key=lambda each: each[:2])
    return f"'{name}' ranks {counted(test)}"


def counted(test: Exposed) -> str:
    """Return the count of a test for a few exposed members in words."""
    whom = f"all {test.n_out}" if not test.rank else f"all but {test.rank} of {test.n_out}"
    return f"{test.above} of {test.n_in} members above {whom} non-members, where chance explains at most {test.most}"


def _shuffled(null: NullControl) -> str:
    if null.first_auc is None:
        return f"AUC {_f(null.auc.value)}"
    return f"AUC {_f(null.first_auc.value)}, and {_f(null.auc.value)} when shuffled once more"


def _confounded(blind: BlindControl, n: str) -> str:
    figures = f"AUC {_f(blind.auc.value)}, 95 % interval {_f(blind.auc.low)} to {_f(blind.auc.high)}"
    if blind.auc.value is not None and blind.auc.value < 0.5:
        return (
            f"Confounded: the raw records alone rank members below non-members ({figures}), as where the sides are matched "
            f"or share near copies; they are no independent draws, and no attack's figure measures the model; {n}."
        )
    return (
        f"Confounded: the raw records alone tell members from non-members ({figures}), so no attack's figure measures "
        f"the model; {n}."
    )


def _turned(below: Sequence[AttackResult], of_all: str) -> str:
    lowest = min(below, key=_auc)
    return f"{_many(len(below), of_all)} members below non-members, '{lowest.name}' lowest with {_corrected(lowest)}."


def _many(count: int, of_all: str) -> str:
    return f"{count}{of_all} {'ranks' if count == 1 else 'rank'}" if of_all else "The attack ranks"


def _low_by_chance(ran: Sequence[AttackResult]) -> str:
    """Say which plain intervals lie below 1/2 although the corrected ones do not."""
    low = [r for r in ran if (a := r.of_unit.auc) is not None and a.high is not None and a.high < 0.5]
    if not low:
        return ""
    lowest = min(low, key=_auc)
    which = f"of {len(low)} of them" if len(ran) > 1 else "of it"
    noun, verb = ("intervals", "lie") if len(low) > 1 else ("interval", "lies")
    return (
        f" The plain 95 % {noun} {which} {verb} below 0.5 ('{lowest.name}', {_area(lowest)}), no further "
        "than chance allows once corrected."
    )


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


def _n(members: int, nonmembers: int, unit: Unit | None) -> str:
    if unit is None or unit.people is None:
        return f"n = {members} members and {nonmembers} non-members"
    records = int(unit.counted.sum())
    if unit.name == "record":
        return f"n = {records} records, of {members} people among members and {nonmembers} among non-members"
    return f"n = {members} people who are members and {nonmembers} who are not, with {records} records"


def _f(value: float | None) -> str:
    return "undefined" if value is None else rounded(value)
