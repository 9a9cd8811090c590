"""A row of the grid: what attackers find behind one mitigation, and what it costs beside the model without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from miaudit import stats
from miaudit.attacks import Attack, Scores
from miaudit.auditing import Measured, conclude
from miaudit.auditing.conclusion import counted
from miaudit.evidence import Bools
from miaudit.findings.accusations import accusations_of
from miaudit.gate.comparison import compare
from miaudit.gate.ends import Errors, attack_area
from miaudit.mitigations.document import (
    Attacker,
    AttackFigures,
    CanaryFigures,
    Effect,
    Exposed,
    MitigationRow,
    Privacy,
    Side,
    Standing,
)
from miaudit.result import AttackResult, Difference, Interval, Result
from miaudit.seeds import child_seed

FPRS = (0.01, 0.001)
ERROR = 0.05
ONCE = "a grid runs no attack on bystanders"
_RECORDS = "the control on records alone does not depend on a mitigation: it stands with the audit without one"
_LABELS = "labels say nothing of how sure the model is"
_DEPENDENT = "records of one person are no independent draws"


@dataclass(frozen=True, eq=False)
class State:
    """One mitigation as it was measured: by an attacker who knows of it, and by one who does not.

    ``before`` is the label of the row that it is compared with; its own for a row without a mitigation.
    """

    label: str
    side: Side
    parts: tuple[object, ...]
    before: str
    adaptive: Measured
    naive: Measured | None = None
    canaries: Measured | None = None
    privacy: Privacy | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """A state concluded, as later ones are compared with it."""

    result: Result
    right: Bools  # (non-members,)


def concluded(measured: Measured, attacks: Sequence[Attack] | None) -> Result:
    """Return what attacks find, each run once, without controls that repeat them."""
    return conclude(
        replace(
            measured,
            attacks=None if attacks is None else tuple(attacks),
            repeats=False,
            no_bystanders=ONCE,
            records=None,
            no_records=_RECORDS,
        )
    )


def row_of(
    state: State, states: dict[str, Seen], *, attacks: Sequence[Attack] | None, limit: float, rows: int
) -> MitigationRow:
    """Return the row of a state, and keep what later rows are compared with in ``states``.

    Parameters
    ----------
    state
        What was measured.
    states
        States by label; that of ``state.before`` is there, or is this one.
    attacks
        What to run; None: all that can be.
    limit
        The AUC that no attacker is to reach.
    rows
        How many rows the grid has: bounds hold for all of them together.
    """
    measured = state.adaptive
    result = concluded(measured, attacks)
    results: list[tuple[Attacker, Result, Measured]] = [("adaptive", result, measured)]
    if state.naive is not None:
        results.append(("naive", concluded(state.naive, attacks), state.naive))
    own = measured.evidence.own
    out = ~measured.member & counted(measured).counted
    right = (own.predicted == own.audited_labels)[out]
    if state.label == state.before:
        states[state.label] = Seen(result, right)
    before = states[state.before]
    figures = [each for kind, of, by in results for each in _attacks(kind, of, by, before.result, state)]
    ran = [each for _, of, _ in results for each in of.attacks if each.area is not None]
    bound, reached = _bound(ran, ERROR / 2 / max(1, 2 * rows * len(ran) / len(results)))
    standing: Standing = "inconclusive"
    if bound is not None and bound < limit:
        standing = "below"
    elif reached is not None and reached > limit:
        standing = "above"
    target = result.target
    return MitigationRow(
        mitigation=state.label,
        side=state.side,
        parts=[{"name": part.name, **vars(part)} for part in state.parts],  # type: ignore[attr-defined]
        train_accuracy=_accuracy(result, "train"),
        test_accuracy=_accuracy(result, "test"),
        accuracy_change=_change(before.right, right, dependent=counted(measured).dependent),
        calibration_error=_calibration(measured, out, dependent=counted(measured).dependent),
        seconds=measured.shadows.seconds,
        privacy=state.privacy,
        attacks=figures,
        bound=bound,
        bound_reason=None if bound is not None else "no attack has an AUC with an interval",
        standing=standing,
        exposed=_exposed(result),
        canaries=None if state.canaries is None else _canaries(state.canaries),
        warnings=[] if target.test_accuracy is not None else [target.accuracy_reason or "the accuracy is not known"],
    )


def _attacks(
    attacker: Attacker, result: Result, measured: Measured, before: Result, state: State
) -> Iterator[AttackFigures]:
    changes = {}
    if result is not before:
        changes = {each.attack: each for each in compare(before, result).figures if each.figure == "auc"}
    for attack in result.attacks:
        common: dict[str, Any] = {
            "attack": attack.name,
            "attacker": attacker,
            "status": attack.status,
            "reason": attack.reason,
        }
        if attack.area is None:
            yield AttackFigures(**common)
            continue
        change = changes.get(attack.name)
        effect: Effect | None = None
        if change is not None and change.low is not None and change.high is not None:
            effect = "higher" if change.low > 0 else "lower" if change.high < 0 else "inconclusive"
        unit = counted(measured)
        score = result.records.columns[attack.name].astype(np.float64)
        scores = Scores(np.nan_to_num(score), missing=np.isnan(score) if np.isnan(score).any() else None)
        accusations, _ = accusations_of(attack.name, scores, measured.member, unit, seed=measured.seed)
        yield AttackFigures(
            **common,
            pooled=attack.pooled,
            auc=attack.of_unit.auc,
            auc_corrected=attack.auc_corrected,
            tpr_at_fpr=[point for point in attack.of_unit.tpr_at_fpr if point.fpr in FPRS],
            change=None
            if change is None or change.difference is None
            else Difference(value=change.difference, low=change.low, high=change.high),
            effect=effect,
            named=accusations,
        )


def _bound(attacks: Sequence[AttackResult], error: float) -> tuple[float | None, float | None]:
    """Return the highest AUC that any of the attacks may reach, and the highest that one is shown to, either way round."""
    ends = [attack_area(attack, Errors(error, error)) for attack in attacks]
    bounds = [each for each in ends if each is not None]
    if not bounds or len(bounds) < len(ends):
        return None, None
    return (
        max(max(each.high, 1 - each.low) for each in bounds),
        max(max(each.low, 1 - each.high) for each in bounds),
    )


def _accuracy(result: Result, side: str) -> Interval:
    of = result.target
    value = getattr(of, f"{side}_accuracy")
    if value is None:
        return Interval.undefined(of.accuracy_reason)
    low, high = (getattr(of, f"{side}_accuracy_{end}") for end in ("low", "high"))
    return Interval(value=value, low=low, high=high, reason=None if low is not None else _DEPENDENT)


def _change(before: Bools, after: Bools, *, dependent: bool) -> Difference:
    change = stats.accuracy_difference(before, after)
    if dependent:
        return Difference(value=change.value, low=None, high=None, reason=_DEPENDENT)
    return Difference.of(change)


def _calibration(measured: Measured, out: Bools, *, dependent: bool) -> Interval:
    own = measured.evidence.own
    if own.target.ndim == 1:
        return Interval.undefined(_LABELS)
    error = stats.calibration_error(
        own.target[out], own.audited_labels[out], seed=child_seed(measured.seed, "calibration error")
    )
    if dependent:
        return Interval(value=error.value, low=None, high=None, reason=_DEPENDENT)
    return Interval.of(error)


def _exposed(result: Result) -> Exposed | None:
    """Return the slice with the highest lower end."""
    slices = [
        (of.column, group)
        for of in result.groups
        for group in of.groups
        if group.auc.value is not None and group.auc.low is not None
    ]
    if not slices:
        return None
    column, group = max(slices, key=lambda each: each[1].auc.low or 0.0)
    return Exposed(column=column, group=group.group, members=group.members, auc=group.auc)


def _canaries(measured: Measured) -> CanaryFigures:
    from miaudit.attacks import LiRA

    result = concluded(measured, [LiRA()])
    lead = result.lead
    if lead is None or lead.auc is None:
        reason = result.headline_reason or "no attack could be run on the canaries"
        return CanaryFigures(attack="none", count=len(measured.member), auc=Interval.undefined(reason), tpr_at_fpr=[])
    points = [point for point in lead.tpr_at_fpr if point.fpr in FPRS]
    return CanaryFigures(attack=lead.name, count=len(measured.member), auc=lead.auc, tpr_at_fpr=points)
