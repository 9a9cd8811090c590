"""The one sentence a reader takes away."""

from __future__ import annotations

from collections.abc import Sequence

from miaudit.result import AttackResult, BlindControl, NullControl, Power, TprAtFpr


def verdict_of(
    results: Sequence[AttackResult],
    null: NullControl | None,
    blind: BlindControl,
    members: int,
    nonmembers: int,
    *,
    power: Power | None = None,
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
        Audited records of each side.
    power
        The smallest leak so many records would have shown.
    """
    n = f"n = {members} members and {nonmembers} non-members"
    if blind.confounded:
        return _confounded(blind, n)
    if null is not None and not null.at_chance:
        return (
            f"Do not use: the attack '{null.attack}' does better or worse than chance on shuffled membership "
            f"(AUC {_f(null.auc.value)}), so something in the set-up is broken; {n}."
        )
    ran = [r for r in results if r.auc is not None and r.auc.value is not None and r.auc.low is not None]
    if not ran:
        return f"Inconclusive: no attack could be measured; {n}."
    found = [r for r in ran if r.above_chance]
    low = _most_at_low_fpr([r for r in ran if r.above_chance_at_low_fpr])
    if found:
        best = max(found, key=_auc)
        sentence = (
            f"Membership leaks. The attack '{best.name}' tells members from non-members with AUC {_f(best.auc.value)} "  # type: ignore[union-attr]
            f"(95 % interval {_f(best.auc.low)} to {_f(best.auc.high)}){_decisions(best)}"  # type: ignore[union-attr]
        )
        point = low or _most_at_low_fpr([best])
        return f"{sentence}{'; ' + _at_low_fpr(*point) if point else ''}; {n}{_of(ran)}."
    if low:
        return (
            f"Membership of some records leaks: {_at_low_fpr(*low)}; no AUC of {len(ran)} attacks is above chance; {n}."
        )
    highest = max(r.auc.high or 0.0 for r in ran if r.auc is not None)
    return (
        f"No leak detected above AUC {_f(highest)} at 95 % with {n}, by the {len(ran)} attacks that were run."
        f"{_smallest(power)}"
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
    return f": {_f(p.accuracy)} of its in/out decisions are right, precision {_f(p.precision)}, recall {_f(p.recall)}"


def _most_at_low_fpr(results: Sequence[AttackResult]) -> tuple[AttackResult, TprAtFpr] | None:
    """Return the attack that finds most at the smallest rate so many non-members resolve."""
    points = [(r, p) for r in results for p in r.tpr_at_fpr if p.resolvable and p.tpr is not None]
    return min(points, key=lambda each: (each[1].fpr, -(each[1].tpr or 0.0)), default=None)


def _at_low_fpr(result: AttackResult, point: TprAtFpr) -> str:
    return (
        f"at a false positive rate of {100 * point.fpr:g} % '{result.name}' finds {100 * (point.tpr or 0):.1f} % of the "
        f"members (95 % interval {100 * (point.low or 0):.1f} to {100 * (point.high or 0):.1f} %)"
    )


def _smallest(power: Power | None) -> str:
    if power is None:
        return ""
    if power.auc is None:
        return f" So few records show no leak at all: {power.reason}."
    rates = [each for each in power.tpr if each.value is not None]
    at = f", or a TPR of {100 * (rates[-1].value or 0):.1f} % at an FPR of {100 * rates[-1].fpr:g} %" if rates else ""
    return (
        f" The smallest leak that so many records show in {100 * power.power:g} of 100 audits is an AUC of {_f(power.auc)}"
        f"{at}."
    )


def _of(ran: Sequence[AttackResult]) -> str:
    return f"; the highest AUC of {len(ran)} attacks" if len(ran) > 1 else ""


def _auc(result: AttackResult) -> float:
    return (result.auc.value if result.auc is not None else None) or 0.0


def _f(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
