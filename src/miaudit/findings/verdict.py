"""What an audit concludes, from what its attacks claim and what its controls show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from miaudit.findings.unit import Unit
from miaudit.result import (
    AttackResult,
    BlindControl,
    BystanderControl,
    Counted,
    Interval,
    NullControl,
    PatternControl,
    Power,
    Verdict,
    beyond_bystanders,
    highest,
    named_beforehand,
)


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
    pattern: PatternControl | None = None,
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
    pattern
        The control for a pattern of the classes that records of one side only carry.
    """
    records = None if unit is None or unit.people is None else int(unit.counted.sum())
    n = Counted(members=members, nonmembers=nonmembers, unit="record" if unit is None else unit.name, records=records)
    if blind.confounded:
        return Verdict(kind="confounded", basis="records", figure=blind.auc, n=n)
    if pattern is not None and pattern.confounded:
        return Verdict(kind="confounded", basis="pattern", n=n)
    if null is not None and null.at_chance is False:
        return Verdict(kind="broken", basis="shuffle", attack=null.attack, figure=null.auc, n=n)
    ran = [r for r in results if r.area is not None]
    if not ran:
        return Verdict(kind="inconclusive", basis="nothing", n=n)
    fields = _measured(ran, power)
    if fields["kind"] in ("leak", "inverted"):
        if bystander is not None and bystander.auc is None:
            open_ = f"Whether the sides differ in how hard they are could not be checked: {bystander.reason}."
            caveats = [*caveats, open_]
        if blind.confounded is None:
            caveats = [*caveats, f"Whether the sides differ by themselves could not be checked: {blind.reason}."]
    return Verdict(n=n, caveats=list(caveats), **fields)


def _measured(ran: Sequence[AttackResult], power: Power | None) -> dict[str, Any]:
    """Return what attacks say that were measured under controls that hold."""
    above, few, below = beyond_bystanders(ran)
    claims = {"above": _names(above), "few": _names(few), "below": _names(below)}
    lead, top = named_beforehand(ran), highest(ran)
    if above:
        loudest = top if top in above else highest(above)
        assert loudest is not None
        own = lead is not None and lead in above
        spoken = lead if lead is not None and own else loudest
        figure = spoken.of_unit.auc if own else _corrected(spoken)
        return {
            "kind": "leak",
            "basis": "area",
            "attack": spoken.name,
            "highest": loudest.name,
            **claims,
            "figure": None if figure is None else Interval.of(figure),
        }
    if few:
        tests = [(r is not lead, r.exposed.p_value, r.name) for r in few if r.exposed is not None]
        return {"kind": "leak", "basis": "few", "attack": min(tests)[2], **claims}
    if below:
        lowest = min(below, key=lambda r: r.area or 0.0)
        figure = Interval.of(_corrected(lowest))
        return {"kind": "inverted", "basis": "area", "attack": lowest.name, "figure": figure, **claims}
    if unexplained := [r for r in ran if r.above_chance or r.above_chance_at_low_fpr or r.below_chance]:
        return {**_hard_sides(unexplained), "unexplained": _names(unexplained)}
    if power is not None and power.auc is None:
        return {"kind": "inconclusive", "basis": "power", "reason": power.reason}
    limit = max(0.5, *(a.high or 0.0 for r in ran if (a := r.of_unit.auc) is not None))
    return {"kind": "none detected", "basis": "area", "limit": limit}


def _hard_sides(unexplained: Sequence[AttackResult]) -> dict[str, Any]:
    """Return the verdict where attacks find what bystanders show as well, or may show."""
    checked = [r for r in unexplained if r.checked]
    shifted = [r for r in checked if _on_bystanders(r)]
    loudest = max(shifted or checked, key=lambda r: abs((r.area or 0.0) - 0.5), default=None)
    if loudest is None:  # other attacks tell the sides apart on bystanders, and these could not be run on any
        return {"kind": "confounded", "basis": "unchecked"}
    assert loudest.bystander is not None
    rest = {"attack": loudest.name, "figure": loudest.bystander.auc}
    if shifted:
        return {"kind": "confounded", "basis": "sides", **rest}
    unlike = [r for r in unexplained if r.unlike_bystanders]
    return {"kind": "inconclusive", "basis": "unlike" if unlike else "chance", **rest}


def _on_bystanders(result: AttackResult) -> bool:
    """Whether the attack finds on bystanders, by its own interval, what it claims of the target."""
    auc = None if result.bystander is None else result.bystander.auc
    if auc is None or auc.low is None or auc.high is None:
        return False
    return auc.high < 0.5 if result.below_chance else auc.low > 0.5


def _corrected(result: AttackResult) -> Interval | None:
    """Return an AUC that was chosen among others, with the interval that holds for all."""
    area = result.auc_corrected
    return result.of_unit.auc if area is None or area.confidence <= result.confidence else area


def _names(results: Sequence[AttackResult]) -> list[str]:
    return [result.name for result in results]
