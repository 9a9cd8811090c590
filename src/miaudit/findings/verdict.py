"""The one sentence a reader takes away."""

from __future__ import annotations

from collections.abc import Sequence

from miaudit.findings.unit import Unit
from miaudit.result import AttackResult, BlindControl, NullControl, Power, TprAtFpr


def verdict_of(
    results: Sequence[AttackResult],
    null: NullControl | None,
    blind: BlindControl,
    members: int,
    nonmembers: int,
    *,
    power: Power | None = None,
    unit: Unit | None = None,
) -> str:
    """Return the verdict: confounded, broken, inconclusive, a leak, or none found and what would have been.

    A leak is claimed where an attack's AUC, or its TPR at a low FPR, is above chance at levels that hold for all attacks
    together: exchangeable members and non-members give one in at most one audit of twenty.

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
    """
    n = _n(members, nonmembers, unit)
    if blind.confounded:
        return _confounded(blind, n)
    if null is not None and not null.at_chance:
        return (
            f"Do not use: the attack '{null.attack}' does better or worse than chance on shuffled membership "
            f"(AUC {_f(null.auc.value)}), so something in the set-up is broken; {n}."
        )
    ran = [r for r in results if (a := r.of_unit.auc) is not None and a.value is not None and a.low is not None]
    if not ran:
        return f"Inconclusive: no attack could be measured; {n}."
    found = [r for r in ran if r.above_chance]
    low = _most_at_low_fpr([r for r in ran if r.above_chance_at_low_fpr])
    if found:
        best = max(found, key=_auc)
        area = best.of_unit.auc
        assert area is not None
        sentence = (
            f"Membership leaks. The attack '{best.name}' tells members from non-members with {_auc_of(best)} {_f(area.value)} "
            f"(95 % interval {_f(area.low)} to {_f(area.high)}){_decisions(best)}"
        )
        point = low or _most_at_low_fpr([best])
        return f"{sentence}{'; ' + _at_low_fpr(*point) if point else ''}; {n}{_of(ran)}."
    if low:
        return (
            f"Membership of some records leaks: {_at_low_fpr(*low)}; no AUC of {len(ran)} attacks is above chance; {n}."
        )
    highest = max(a.high or 0.0 for r in ran if (a := r.of_unit.auc) is not None)
    return (
        f"No leak detected above {_auc_of(ran[0])} {_f(highest)} at 95 % with {n}, by the {len(ran)} attacks that were run."
        f"{_smallest(power, 'records' if unit is None or unit.people is None else 'people')}"
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


def _decisions(best: AttackResult) -> str:
    p = best.pooled
    if p is None or p.accuracy is None:
        return ""
    of = " on single records" if best.unit == "person" else ""
    return (
        f": {_f(p.accuracy)} of its in/out decisions{of} are right, precision {_f(p.precision)}, recall {_f(p.recall)}"
    )


def _most_at_low_fpr(results: Sequence[AttackResult]) -> tuple[AttackResult, TprAtFpr] | None:
    """Return the attack that finds most at the smallest rate so many non-members resolve."""
    points = [(r, p) for r in results for p in r.of_unit.tpr_at_fpr if p.resolvable and p.tpr is not None]
    return min(points, key=lambda each: (each[1].fpr, -(each[1].tpr or 0.0)), default=None)


def _at_low_fpr(result: AttackResult, point: TprAtFpr) -> str:
    return (
        f"at a false positive rate of {100 * point.fpr:g} % '{result.name}' finds {100 * (point.tpr or 0):.1f} % of the "
        f"members (95 % interval {100 * (point.low or 0):.1f} to {100 * (point.high or 0):.1f} %)"
    )


def _smallest(power: Power | None, what: str) -> str:
    if power is None:
        return ""
    if power.auc is None:
        return f" So few {what} show no leak at all: {power.reason}."
    rates = [each for each in power.tpr if each.value is not None]
    at = f", or a TPR of {100 * (rates[-1].value or 0):.1f} % at an FPR of {100 * rates[-1].fpr:g} %" if rates else ""
    return (
        f" The smallest leak that so many {what} show in {100 * power.power:g} of 100 audits is an AUC of {_f(power.auc)}"
        f"{at}."
    )


def _of(ran: Sequence[AttackResult]) -> str:
    return f"; the highest AUC of {len(ran)} attacks" if len(ran) > 1 else ""


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


def _f(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
