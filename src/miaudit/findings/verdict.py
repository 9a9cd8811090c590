"""The one sentence a reader takes away, and its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from miaudit.findings.unit import Unit
from miaudit.result import AttackResult, BlindControl, NullControl, Power, TprAtFpr, VerdictKind


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

    A leak is claimed where an attack's AUC, or its TPR at a low FPR, is above chance at levels that hold for all attacks
    together; that an attack ranks members below non-members, at a level of its own. Exchangeable members and non-members
    give any of these in at most one audit of twenty.

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
            f"(AUC {_f(null.auc.value)}), so something in the set-up is broken; {n}.",
        )
    ran = [r for r in results if (a := r.of_unit.auc) is not None and a.value is not None and a.low is not None]
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
        best = max(above, key=_auc)
        point = _at_low_fpr(few or [best])
        highest = f"; the highest AUC{of_all}" if of_all else ""
        return "leak", (
            f"Membership leaks. The attack '{best.name}' tells members from non-members with {_area(best)}"
            f"{_decisions(best)}{'; ' + point if point else ''}; {n}{highest}.{turned}"
        )
    if few:
        point = _at_low_fpr(few) or _above_all(few)
        chance = f"no AUC{of_all} is above chance" if of_all else "its AUC is not above chance"
        return "leak", f"Membership of some records leaks: {point}; {chance}; {n}.{turned}"
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
    return f"{_many(len(below), of_all)} members below non-members, '{lowest.name}' lowest with {_area(lowest)}."


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
    p = best.pooled
    if p is None or p.accuracy is None or p.precision is None or p.recall is None:
        return ""
    of = " on single records" if best.unit == "person" else ""
    return (
        f": {_f(p.accuracy)} of its in/out decisions{of} are right, precision {_f(p.precision)}, recall {_f(p.recall)}"
    )


def _at_low_fpr(results: Sequence[AttackResult]) -> str | None:
    """Return what is found at the smallest rate where some attack finds more than that rate, by its own interval."""
    points = [(r, p) for r in results for p in r.of_unit.tpr_at_fpr if _tells(p)]
    if not points:
        return None
    result, point = min(points, key=lambda each: (each[1].fpr, -(each[1].tpr or 0.0)))
    return (
        f"at a false positive rate of {100 * point.fpr:g} % '{result.name}' finds {_percent(point.tpr)} % of the "
        f"members (95 % interval {_percent(point.low)} to {_percent(point.high)} %)"
    )


def _tells(point: TprAtFpr) -> bool:
    return point.resolvable and point.tpr is not None and point.low is not None and point.low > point.fpr


def _above_all(results: Sequence[AttackResult]) -> str:
    """Return what is found above every non-member, where no rate is resolved."""
    best = max(results, key=lambda r: r.tpr_at_zero_fp.tp if r.tpr_at_zero_fp else 0)
    zero = best.tpr_at_zero_fp
    if zero is None or not zero.tp:
        return f"'{best.name}' finds more of them at a low false positive rate than chance does"
    return f"'{best.name}' ranks {zero.tp} of {zero.n_in} members above all {zero.n_out} non-members"


def _area(result: AttackResult) -> str:
    area = result.of_unit.auc
    assert area is not None
    return f"{_auc_of(result)} {_f(area.value)} (95 % interval {_f(area.low)} to {_f(area.high)})"


def _auc(result: AttackResult) -> float:
    auc = result.of_unit.auc
    return (auc.value if auc is not None else None) or 0.0


def _auc_of(result: AttackResult) -> str:
    return "AUC per person" if result.unit == "person" else "AUC"


def _n(members: int, nonmembers: int, unit: Unit | None) -> str:
    if unit is None or unit.people is None:
        return f"n = {members} members and {nonmembers} non-members"
    records = int(unit.counted.sum())
    if unit.name == "record":
        return f"n = {records} records, of {members} people among members and {nonmembers} among non-members"
    return f"n = {members} people who are members and {nonmembers} who are not, with {records} records"


def _percent(share: float | None) -> str:
    """Return a share in percent, with as many digits as it takes not to be 0."""
    value = 100 * (share or 0.0)
    return f"{value:.1f}" if value >= 0.05 or not value else f"{value:.1g}"


def _f(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
