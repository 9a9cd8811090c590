"""The one sentence a reader takes away, and its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from miaudit.findings.unit import Unit
from miaudit.result import (
    AttackResult,
    BlindControl,
    Exposed,
    NullControl,
    Power,
    VerdictKind,
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
    *,
    power: Power | None = None,
    unit: Unit | None = None,
    caveats: Sequence[str] = (),
) -> Verdict:
    """Return the verdict: confounded, broken, inconclusive, a leak, one upside down, or none found and up to where.

    What is claimed of each attack stands in its result (`miaudit.findings.claimed`), at levels that hold for all attacks
    together. The attack that was named before any figure was known leads, with its interval at 95 %; others, which
    are named for their figures, have theirs at the corrected level.

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
    if kind in ("leak", "inverted") and blind.confounded is None:
        caveats = [*caveats, f"Whether the sides differ by themselves could not be checked: {blind.reason}."]
    return Verdict(kind, " ".join([sentence, *caveats]))


def _measured(ran: Sequence[AttackResult], power: Power | None, n: str) -> tuple[VerdictKind, str]:
    """Return what attacks say that were measured under controls that hold."""
    above, below = [r for r in ran if r.above_chance], [r for r in ran if r.below_chance]
    few = [r for r in ran if r.above_chance_at_low_fpr]
    of_all = f" of {len(ran)} attacks" if len(ran) > 1 else ""
    turned = f" {_turned(below, of_all)}" if below else ""
    if above:
        return "leak", f"Membership leaks. {_leak(ran, above, few, n)}{turned}"
    if few:
        lead = named_beforehand(ran)
        area = f"; '{lead.name}', named beforehand, has {_area(lead)}" if lead is not None else ""
        chance = f"no AUC{of_all} is above chance{area}" if of_all else "its AUC is not above chance"
        return "leak", f"Membership of some records leaks: {_few(few, lead)}; {chance}; {n}.{turned}"
    if below:
        return "inverted", (
            f"Members are told from non-members the wrong way round. {_turned(below, of_all)} Somebody who turns the score "
            "round learns who is a member, or the set-up is at fault: check that the sides are not swapped, and that the "
            f"members are what this target was trained on; {n}."
        )
    if power is not None and power.auc is None:
        return "inconclusive", f"Inconclusive: {power.reason}; {n}."
    highest_end = max(0.5, *(a.high or 0.0 for r in ran if (a := r.of_unit.auc) is not None))
    by = f"the {len(ran)} attacks that were run" if len(ran) > 1 else f"the one attack that was run, '{ran[0].name}'"
    return "none detected", (
        f"No leak detected above {_auc_of(ran[0])} {_f(highest_end)} at 95 % with {n}, by {by}.{_low_by_chance(ran)}"
    )


def _leak(ran: Sequence[AttackResult], above: Sequence[AttackResult], few: Sequence[AttackResult], n: str) -> str:
    """Return the leak by the attack that leads, then by the one of the highest AUC at the corrected level."""
    lead, top = named_beforehand(ran), highest(ran)
    loudest = top if top in above else highest(above)
    assert lead is not None
    assert loudest is not None
    which = f"the highest of {len(ran)} attacks" if loudest is top else f"the highest of {len(above)} above chance"
    exposed = f"; {_few(few, lead)}" if few else ""
    if lead not in above:
        return (
            f"The attack '{lead.name}', named beforehand, has {_area(lead)}, not above chance once corrected; "
            f"'{loudest.name}' tells members from non-members with {_corrected(loudest)}, {which}{exposed}; {n}."
        )
    several = len(ran) > 1
    first = (
        f"The attack '{lead.name}'{', named beforehand,' if several else ''} tells members from non-members with "
        f"{_area(lead)}{_decisions(lead)}{exposed}; {n}"
    )
    if loudest is lead:
        return f"{first}; the highest AUC of {len(ran)} attacks." if several else f"{first}."
    return f"{first}. '{loudest.name}' has {_corrected(loudest)}, {which}."


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
