"""A result that may be handed on: figures of many records, and nothing about single ones."""

from __future__ import annotations

from typing import Any, TypeVar

from miaudit.errors import counted
from miaudit.result import AttackResult, Deletion, Failure, Grouping, OperatingPoint, Question, Records, Result

T = TypeVar("T")
LEAST = 10
"""Records on either side below which a class or a slice is left out."""
_REMOVED = "removed before it was shared"


def shared(result: Result, *, least: int = LEAST) -> Result:
    """Return a result without records, small slices, and texts that may quote data or name places of whoever ran it.

    Removed are the table of records, classes and slices of fewer than ``least`` members or non-members (and one more where only
    one is so small, as its size would be what is missing of the total), counts of scores and the factors of classes, messages
    of models that failed, the plan, recipe and address, and the digits of thresholds, which are scores of single records,
    beyond the second.
    """
    groups = [_grouping(each, least) for each in result.groups]
    count = sum(len(each.groups) for each in result.groups) - sum(len(each.groups) for each in groups)
    small = (
        f" and {counted(count, 'class or slice', 'classes and slices')} with fewer than {least} a side" if count else ""
    )
    note = f"Made to be shared: without records{small}."
    failures = [Failure(shadow=each.shadow, error=_REMOVED, traceback=None) for each in result.shadows.failures]
    target = {"description": "a model behind an address"} if result.target.source == "given url" else {}
    return result.model_copy(
        update={
            "warnings": [*result.warnings, note],
            "target": result.target.model_copy(update=target),
            "shadows": result.shadows.model_copy(update={"failures": failures}),
            "factors": None if result.factors is None else result.factors.model_copy(update={"classes": []}),
            "groups": [each for each in groups if each.groups],
            "attacks": [_attack(each, least) for each in result.attacks],
            "deletion": None if result.deletion is None else _deletion(result.deletion, least),
            "provenance": result.provenance.model_copy(update={"plan": {}, "target": {}, "recipe": None}),
            "records": Records(),
        }
    )


def _grouping(grouping: Grouping, least: int) -> Grouping:
    sizes = [min(each.members, each.nonmembers) for each in grouping.groups]
    return grouping.model_copy(update={"groups": _large(grouping.groups, sizes, least)})


def _deletion(deletion: Deletion, least: int) -> Deletion:
    """Return a deletion audit whose every question is stripped as the attacks of the result are."""
    questions = {name: each for name, each in deletion if isinstance(each, Question)}
    return deletion.model_copy(
        update={
            name: each.model_copy(update={"attacks": [_attack(attack, least) for attack in each.attacks]})
            for name, each in questions.items()
        }
    )


def _attack(attack: AttackResult, least: int) -> AttackResult:
    sizes = [min(each.members, each.n - each.members) for each in attack.per_class]
    update: dict[str, Any] = {"per_class": _large(attack.per_class, sizes, least), "scores": None}
    if attack.operating_point is not None:
        update["operating_point"] = _coarse(attack.operating_point)
    if attack.epsilon is not None:
        point = attack.epsilon.operating_point
        coarse = None if point is None else _coarse(point)
        update["epsilon"] = attack.epsilon.model_copy(update={"operating_point": coarse})
    return attack.model_copy(update=update)


def _large(parts: list[T], sizes: list[int], least: int) -> list[T]:
    small = {i for i, size in enumerate(sizes) if size < least}
    if len(small) == 1:  # whose size is the total less that of the others
        small |= set(sorted(range(len(sizes)), key=sizes.__getitem__)[:2])
    return [part for i, part in enumerate(parts) if i not in small]


def _coarse(point: OperatingPoint) -> OperatingPoint:
    return point.model_copy(update={"threshold": float(f"{point.threshold:.1e}")})
