"""Whether a result holds what a pass must rest on: a verdict that stands, attacks that ran, controls that were possible."""

from __future__ import annotations

from collections.abc import Iterator

from miaudit.errors import counted, nearest
from miaudit.gate.decision import Check, Outcome
from miaudit.gate.limits import Control, EvidenceNeeded
from miaudit.result import SCHEMA_VERSION, Result, beyond_bystanders

_SOUND = ("leak", "none detected")
CONTROLS: dict[Control, str] = {
    "shuffled": "the control on shuffled membership",
    "records": "the control on the raw records",
    "bystanders": "the control by models trained on neither side",
}


def controls_hold(result: Result) -> bool:
    """Whether no control speaks against the figures: only then may one of them fail a policy."""
    nulls = [result.controls.null, *result.controls.nulls]
    broken = any(null is not None and null.at_chance is False for null in nulls)
    return (
        not broken
        and not result.controls.blind.confounded
        and result.verdict_kind not in ("confounded", "broken", None)
    )


def required(result: Result, needed: EvidenceNeeded, *, leak: bool) -> list[Check]:
    """Judge what must be there beside the figures.

    Parameters
    ----------
    result, needed
        The result, and what the policy asks of it.
    leak
        Whether a verdict of a leak fails.
    """
    checks = [_verdict(result, leak=leak), *_turned(result), *_attacks(result, needed)]
    return checks + [_control(result, control) for control in needed.controls]


def _check(limit: str, holds: bool, sentence: str, about: str | None = None) -> Check:
    return Check(limit=limit, about=about, outcome="pass" if holds else "inconclusive", sentence=sentence)


def _verdict(result: Result, *, leak: bool) -> Check:
    kind = result.verdict_kind
    outcome: Outcome = "pass" if kind in _SOUND else "inconclusive"
    if result.schema_version != SCHEMA_VERSION:
        outcome = "inconclusive"
        sentence = f"the result has schema version {result.schema_version}, and {SCHEMA_VERSION} is what is judged: audit again"
    elif kind is None:
        sentence = "the result is of an older miaudit, which gave no kind of verdict: audit again"
    else:
        sentence = result.verdict
        if kind == "leak" and leak and controls_hold(result):
            outcome = "fail"
    return Check(limit="verdict", outcome=outcome, sentence=sentence)


def _turned(result: Result) -> Iterator[Check]:
    """Refuse a pass where an attack ranks members below non-members, whose limits would be on the other side."""
    ran = [attack for attack in result.attacks if attack.status == "ran" and attack.area is not None]
    for attack in beyond_bystanders(ran).below:
        sentence = f"'{attack.name}' ranks members below non-members: whoever turns its score round may tell them"
        yield _check("direction", False, sentence, attack.name)


def _attacks(result: Result, need: EvidenceNeeded) -> Iterator[Check]:
    ran = [attack for attack in result.attacks if attack.status == "ran" and attack.area is not None]
    enough = len(ran) >= need.attacks
    run = counted(len(ran), "attack was", "attacks were")
    yield _check("attacks", enough, f"{run} run; the policy asks for {need.attacks}")
    for attack in result.attacks:
        if attack.status == "failed" or (attack.status == "ran" and attack.area is None):
            yield _check("attacks", False, f"'{attack.name}' gave no figures: {attack.reason or 'none'}", attack.name)
    if need.strongest:
        best = next((attack for attack in ran if attack.strongest), None)
        which = (
            f"'{best.name}' was run, the strongest documented attack for such answers and shadow models"
            if best is not None
            else "the strongest documented attack for such answers and shadow models was not run"
        )
        yield _check("strongest", best is not None, which)
    for name in need.required:
        holds = any(attack.name == name or attack.name.startswith(f"{name} ") for attack in ran)
        others = [a for a in result.attacks if a.name == name and a.reason]
        why = f": {others[0].reason}" if others and not holds else ""
        if not holds and not any(a.name == name or a.name.startswith(f"{name} ") for a in result.attacks):
            hint = nearest(name, [a.name for a in result.attacks])
            why = f": the audit knows no attack of that name{f'; {hint}' if hint else ''}"
        yield _check("required", holds, f"'{name}' was {'run' if holds else 'not run'}{why}", name)


def _control(result: Result, control: Control) -> Check:
    holds, sentence = {"shuffled": _shuffled, "records": _records, "bystanders": _bystanders}[control](result)
    return _check("control", holds, f"{CONTROLS[control]}: {sentence}", control)


def _shuffled(result: Result) -> tuple[bool, str]:
    null = result.controls.null
    if null is None:
        nothing = result.shadows.trained == 0
        return nothing, "no attack learns from shadow models" if nothing else "it could not be run"
    nulls = (null, *result.controls.nulls)
    if failed := [each.attack for each in nulls if each.at_chance is False]:
        return False, f"not at chance for {', '.join(failed)}"
    few = [each.reason for each in nulls if each.at_chance is None]
    return not few, f"not possible: {few[0]}" if few else "at chance"


def _records(result: Result) -> tuple[bool, str]:
    blind = result.controls.blind
    if blind.confounded is None:
        return False, f"not possible: {blind.reason}"
    pattern = result.controls.pattern
    if not blind.confounded and pattern is not None and pattern.confounded:
        return False, "records of one side carry a pattern of their classes that the others lack"
    differ = "the sides differ by their classes" if blind.classes else "the sides differ by themselves"
    return not blind.confounded, differ if blind.confounded else "the sides do not differ"


def _bystanders(result: Result) -> tuple[bool, str]:
    control = result.controls.bystander
    if control is None:
        return False, "the result is of an older miaudit, which had none"
    if control.auc is None:
        return False, f"not possible: {control.reason}"
    if control.tell_sides:
        names = ", ".join(f"'{name}'" for name in control.tell_sides)
        return (
            False,
            f"{names} tell the sides apart on them, so that members and non-members differ in how hard they are",
        )
    lead = result.lead
    if lead is None or not lead.checked:
        return False, "the attack that leads could not be run on them"
    return True, "no attack tells the sides apart on them"
