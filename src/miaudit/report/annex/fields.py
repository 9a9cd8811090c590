"""The ten groups of fields of an evidence file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miaudit.errors import counted
from miaudit.gate import Decision, Policy
from miaudit.report.annex import deletions
from miaudit.report.annex.standards import CLASSES, LITERATURE, STANDARDS, Standard
from miaudit.report.plain import accuracies, as_pattern, meaning, pattern_figures, rate_of, what_shows, who_is_named
from miaudit.result import GroupFigures, Result
from miaudit.result.estimate import estimate

Row = tuple[str, str]
NOT_DECLARED = "not declared"
_RATES = (0.1, 0.01, 0.001)
_NO_RECORDS = ("probabilities", "logits", "log-probabilities", "percent", "score", "topk", "labels", "value")
_WORST = 5


@dataclass(frozen=True)
class Group:
    """One group of fields: its number and title, what of the document it answers, rows of a name and a text, and a table."""

    number: int
    title: str
    cited: str | None
    rows: tuple[Row, ...]
    table: tuple[tuple[str, ...], ...] = ()  # the first line holds the headings


@dataclass(frozen=True)
class Annex:
    """An evidence file: for which document, of which audit, and its groups of fields."""

    name: str
    standard: Standard
    title: str
    groups: tuple[Group, ...]


def annex(
    result: Result,
    name: str,
    *,
    declared: Mapping[str, Any] | None = None,
    policy: Policy | None = None,
    seal: str | None = None,
) -> Annex:
    """Return the evidence file of an audit for one of `STANDARDS`.

    Parameters
    ----------
    result
        Of the audit.
    name
        Which document it is for.
    declared
        What people say, by the keys of a plan's section ``[declared]``; default: that section of the plan in the result.
    policy
        Whose decision stands in the file; default: the document's, as `Standard` names it.
    seal
        Of the audit's folder.
    """
    standard = STANDARDS[name]
    declaration = {**(result.provenance.plan.get("declared") or {}), **(declared or {})}
    policy = policy or (None if standard.policy is None else Policy.load(standard.policy))
    decision = None if policy is None else policy.check(result)
    parts: list[tuple[str, Sequence[Row], Sequence[tuple[str, ...]]]] = [
        (
            "Who, when and why",
            [*_declared(declaration, "who", "role", "on_behalf_of", "purpose"), *_when(result, seal)],
            (),
        ),
        ("The model", list(_model(result, declaration)), ()),
        ("The data", list(_data(result, declaration)), ()),
        (
            "Threat model",
            [("assumed", text) for text in result.threat_model] + _declared(declaration, "access"),
            _classes(result, declaration),
        ),
        ("Attacks", [("list of attacks compared with the literature until", LITERATURE)], _attacks(result)),
        ("Figures", list(_findings(result)), _figures(result)),
        ("Controls, power and equivalence", list(_controls(result, decision)), ()),
        (
            "What was not tested",
            [*(("open", text) for text in result.not_tested), *_declared(declaration, "deployers")],
            (),
        ),
        ("Decision", list(_decision(decision, policy, declaration)), _checks(decision)),
        ("How to repeat it", list(_repeat(result)), ()),
    ]
    groups = (
        Group(number, title, standard.paragraphs.get(number), tuple(rows), tuple(table))
        for number, (title, rows, table) in enumerate(parts, 1)
    )
    return Annex(name, standard, result.title, tuple(groups))


def _declared(declaration: Mapping[str, Any], *keys: str) -> list[Row]:
    return [(f"{key.replace('_', ' ')} (declared)", _text(declaration.get(key))) for key in keys]


def _text(value: Any) -> str:
    if value in (None, [], {}):
        return NOT_DECLARED
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _when(result: Result, seal: str | None) -> Iterator[Row]:
    yield "date", result.provenance.started or "unknown"
    yield "tool", f"miaudit {result.provenance.versions.get('miaudit', 'unknown')}"
    yield "seal of the audit's files", seal or "none: the files were not sealed"


def _model(result: Result, declaration: Mapping[str, Any]) -> Iterator[Row]:
    target = result.target
    yield from _declared(declaration, "model")
    yield "as audited", f"{target.description}; {target.source}; answers {target.outputs}"
    hashes = {name: value for name, value in result.provenance.hashes.items() if name.startswith("target")}
    yield "hash", "; ".join(f"{name} {value}" for name, value in hashes.items()) or "none: it was not read from a file"
    parameters, records = declaration.get("parameters"), declaration.get("training_records")
    yield "parameters (declared)", _text(parameters)
    if records or result.deletion is None:
        audited = f"{counted(result.split.members, 'audited member')}; all {NOT_DECLARED}"
        yield "training records", f"{records} (declared)" if records else audited
    if parameters and records:
        yield "training records per parameter", f"{records / parameters:.3g}"
    if result.deletion is None:
        text = "; ".join(accuracies(target)) if target.classes else target.accuracy_reason or "-"
        yield "accuracy on members, on non-members", text
    else:
        yield from deletions.accuracies(result.deletion)
    yield from _declared(declaration, "release", "variants", "measures")
    yield "audited of the variants", "this one alone"


def _data(result: Result, declaration: Mapping[str, Any]) -> Iterator[Row]:
    data, split = result.data, result.split
    of_records = result.provenance.hashes.get("data")
    digest = f"of the file {data.sha256}" if data.sha256 else f"of the records {of_records or 'unknown'}"
    yield "records", f"{data.name}: {data.records:,}; sha256 {digest}"
    if result.deletion is None:
        yield (
            "audited",
            f"{counted(split.members, 'member')} and {counted(split.nonmembers, 'non-member')}; "
            f"{counted(split.population, 'further record')}",
        )
    else:
        yield "audited", deletions.audited(result.deletion)
    yield "unit counted", split.unit + ("" if split.people is None else f"; people {split.people}")
    yield from _declared(declaration, "unit", "subjects", "drawn", "period")
    yield "copies left out", str(split.copies_left_out)


def _classes(result: Result, declaration: Mapping[str, Any]) -> list[tuple[str, ...]]:
    elsewhere = {str(key).casefold(): str(value) for key, value in (declaration.get("other_attacks") or {}).items()}
    ran = sum(attack.status == "ran" for attack in result.attacks)
    rows: list[tuple[str, ...]] = [("class of attack", "tested", "why")]
    for name in CLASSES:
        if name == "membership inference":
            of = "" if result.deletion is None else ", of records that were deleted"
            rows.append((name, "tested" if ran else "not tested", f"{counted(ran, 'attack')} ran{of}"))
        elif name in elsewhere:
            rows.append((name, "declared", elsewhere[name]))
        elif name == "regurgitation" and result.target.outputs in _NO_RECORDS:
            rows.append(
                (name, "not applicable", f"the model answers {result.target.outputs}, and no text, image or record")
            )
        else:
            rows.append((name, "not tested", "this audit has no such attack; nothing is concluded about it"))
    return rows


def _attacks(result: Result) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("attack", "paper", "options", "status")]
    for attack in result.attacks:
        options = ", ".join(f"{key} = {value}" for key, value in attack.options.items())
        status = (
            attack.status if attack.status == "ran" else f"{attack.status}: {attack.reason or 'no reason is known'}"
        )
        rows.append((attack.name, f"{attack.title}; {attack.paper}", options or "-", status))
    return rows


def _figures(result: Result) -> list[tuple[str, ...]]:
    heads = [f"TPR at FPR {100 * rate:g} %" for rate in _RATES]
    rows: list[tuple[str, ...]] = [("attack", "AUC (95 %)", *heads, "PPV at 50 %", "epsilon-equivalent")]
    for attack in result.attacks:
        if attack.status == "ran" and attack.of_unit.auc is not None:
            area = attack.of_unit.auc
            ppv = next((each for each in attack.ppv if each.prior == 0.5), None)
            rows.append(
                (
                    attack.name,
                    estimate(area.value, area.low, area.high),
                    *(rate_of(attack, rate) for rate in _RATES),
                    "-" if ppv is None else f"at least {ppv.low:.3f}",
                    "-" if attack.epsilon is None else f"at least {attack.epsilon.value:.2f}",
                )
            )
    return rows


def _findings(result: Result) -> Iterator[Row]:
    yield "verdict", result.verdict
    if result.deletion is not None:
        yield from deletions.findings(result.deletion)
    if (means := meaning(result)) is not None:
        yield "what it means", means
    if result.accusations is not None and result.deletion is None:
        yield "accusation list", f"{who_is_named(result.accusations)}."
    lead = result.lead
    if lead is not None and lead.tpr_at_zero_fp is not None:
        zero = lead.tpr_at_zero_fp
        inside, outside = deletions.sides(result.deletion)
        yield f"above all {outside}", f"{zero.tp:,} of {zero.n_in:,} {inside} by '{lead.name}'"
    for grouping in result.groups:
        worst = sorted(
            (each for each in grouping.groups if each.auc.value is not None), key=lambda each: -(each.auc.value or 0)
        )
        listing = "; ".join(f"{each.group}: {_of_slice(each, result)}" for each in worst[:_WORST])
        yield (
            f"highest AUC by {grouping.column}, of {len(grouping.groups)}, at a level for all",
            listing or "none measured",
        )
    for warning in result.warnings:
        yield "warning", warning


def _of_slice(part: GroupFigures, result: Result) -> str:
    figure = estimate(part.auc.value, part.auc.low, part.auc.high)
    inside, outside = deletions.sides(result.deletion)
    return f"{figure}, {inside}: {part.members:,}, {outside}: {part.nonmembers:,}"


def _controls(result: Result, decision: Decision | None) -> Iterator[Row]:
    null, blind, bystander = result.controls.null, result.controls.blind, result.controls.bystander
    nulls = [each for each in (null, *result.controls.nulls) if each is not None]
    off = [each.attack for each in nulls if each.at_chance is False]
    few = "" if null is None or null.at_chance is not None else f"check not possible: {null.reason}"
    on = few or ("at chance" if nulls else "not run")
    yield "shuffled membership", f"not at chance: {', '.join(off)}" if off else on
    sides = {True: "the sides differ by themselves", False: "not told apart", None: "check not possible"}[
        blind.confounded
    ]
    area = estimate(blind.auc.value, blind.auc.low, blind.auc.high)
    yield f"{blind.read} without the model", f"{sides}; AUC {area}" + (f"; {blind.reason}" if blind.reason else "")
    pattern = result.controls.pattern
    if pattern is not None:
        figure = f"; {pattern_figures(pattern)}" if pattern.excess.value is not None else ""
        yield "pattern of the classes in the records of one side", f"{as_pattern(pattern).lower()}{figure}"
    if bystander is None or bystander.auc is None:
        yield "models trained on neither side", f"check not possible: {bystander.reason if bystander else 'not asked'}"
    else:
        tell = (
            f"; these attacks tell the sides apart there: {', '.join(bystander.tell_sides)}"
            if bystander.tell_sides
            else ""
        )
        models = counted(bystander.models, "model")
        yield "models trained on neither side", f"{models}; mean AUC {bystander.auc:.3f}{tell}"
    quiet = next(
        (attack for attack in result.attacks if attack.power is not None and attack.power.auc is not None), None
    )
    if quiet is not None and quiet.power is not None:
        yield "power where nothing was found", f"{what_shows(quiet.power, people=quiet.unit == 'person')}."
    if decision is not None:
        demand = "not more than there were"
        if decision.needed is not None:
            demand = f"about {counted(decision.needed, 'member')} and as many non-members"
        elif any(check.short for check in decision.checks):
            missing = any(attack.missing for attack in result.attacks)
            demand = (
                "no number of them while so many cannot be scored: more shadow models" if missing else "over 10,000,000"
            )
        elif decision.outcome != "pass":
            demand = "not a matter of their number"
        yield "records that equivalence to the margins takes", demand


def _decision(decision: Decision | None, policy: Policy | None, declaration: Mapping[str, Any]) -> Iterator[Row]:
    if decision is None or policy is None:
        for person in ("first", "second"):
            yield f"decision of the {person} person who checks", "open: name, date, decision, reason"
    else:
        yield "policy", f"{policy.name}" + (f": {policy.purpose}" if policy.purpose else "")
        yield (
            "outcome",
            {"pass": "pass", "fail": "fail", "inconclusive": "inconclusive: the audit does not tell"}[decision.outcome],
        )
        yield from (("remark", remark) for remark in decision.remarks)
    yield from _declared(declaration, "margins_by", "earlier")


def _checks(decision: Decision | None) -> list[tuple[str, ...]]:
    if decision is None:
        return []
    return [
        ("check", "outcome", "finding"),
        *((check.name, check.outcome, check.sentence) for check in decision.checks),
    ]


def _repeat(result: Result) -> Iterator[Row]:
    provenance = result.provenance
    verb = "run" if result.deletion is None else "unlearn"
    yield (
        "command",
        f"miaudit {verb} PLAN, with the plan in provenance.plan of result.json"
        if "data" in provenance.plan
        else (f"{provenance.plan.get('call', 'unknown')}, with the options in provenance.plan of result.json"),
    )
    yield "seeds", "; ".join(f"{name} {value}" for name, value in provenance.seeds.items()) or "unknown"
    yield "hashes", "; ".join(f"{name} {value}" for name, value in provenance.hashes.items() if value) or "unknown"
    yield "versions", "; ".join(f"{name} {value}" for name, value in provenance.versions.items())
    yield (
        "machine",
        "unknown" if provenance.platform is None else f"{provenance.platform.system}; {provenance.platform.machine}",
    )
    again = "; trained again: miaudit run PLAN --out DIR --retrain N" if result.deletion is None else ""
    yield "verification", f"miaudit verify DIR --seal SEAL{again}"
