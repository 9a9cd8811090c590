"""From what was measured to the Result: attacks, controls, statistics and verdict, the same whatever way it came in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from miaudit.attacks import PATTERN_CONFIDENCE, Attack, Planned, attack_name, plan_attacks, with_floors
from miaudit.auditing.asking import Tell, quiet
from miaudit.auditing.beside import beside
from miaudit.auditing.measured import Measured
from miaudit.auditing.regression import mean_errors
from miaudit.auditing.row_order import unrelated_target
from miaudit.auditing.scope import (
    mismatches,
    not_tested,
    other_order,
    shared_ids,
    sorted_answers,
    threat_model,
    unlike_errors,
    unscored,
)
from miaudit.data import Copies
from miaudit.evidence import Bools, Evidence, Ints
from miaudit.findings import (
    Findings,
    Perform,
    Trial,
    Trials,
    Unit,
    accuracies,
    blind_control,
    class_control,
    examine,
    pattern_control,
    skipped,
    unit_of,
)
from miaudit.result import (
    BlindControl,
    Excess,
    Failure,
    Interval,
    PatternControl,
    Records,
    Result,
    ShadowsResult,
    SplitResult,
    TargetResult,
)
from miaudit.shadows.engine import Progress
from miaudit.threads import one_thread

_REGRESSION = "it is a regression, which has errors in their place"
NO_REPEATS = (
    "Attacks were not run again on shuffled memberships and on halves of the shadow models: a fault in the set-up would not "
    "have shown, and how far ranks depend on the shadow models is not known."
)
_NO_CLASSES = "the answers are one number a record, which says nothing of classes"


def conclude(measured: Measured, tell: Tell = quiet) -> Result:
    """Run attacks and controls on what was measured, and write the result; ``tell`` hears how far that is."""
    evidence, began = measured.evidence.own, time.perf_counter()

    def step(done: int, total: int) -> None:
        tell("attacking", Progress(total, 0, done, 0, 0, time.perf_counter() - began, of="attacks"))

    with measured.origin.clock.stage("attacks"), one_thread():
        unit = counted(measured)
        planned = {attack_name(each.attack): each for each in _planned(measured)}
        correct = evidence.predicted == evidence.audited_labels if measured.of_classes else None
        trials = _trials(measured, planned, unit)
        with beside(trials, repeats=measured.repeats, processes=measured.processes) as perform:
            blind, pattern = _blind(measured, unit), _pattern(measured, unit)
            findings = _findings(measured, planned, trials, blind, pattern, perform, step)
        if measured.unanswered is not None:
            findings = _answered(findings, measured.unanswered)
    ran = [planned[each.name].attack for each in findings.attacks if each.status == "ran"]
    return Result.of(
        findings,
        title=measured.title,
        warnings=_warnings(measured, findings, blind, correct, unit),
        threat_model=threat_model(measured, unit),
        not_tested=not_tested(measured, ran),
        data=measured.data,
        target=_target(measured, correct, unit),
        split=_split(measured, unit),
        shadows=_shadows(measured),
        synthesis=measured.synthesis,
        provenance=measured.origin.document(),
    )


def counted(measured: Measured) -> Unit:
    """Return what is counted of what was measured: people or records, copies left out."""
    unit = unit_of(
        measured.member,
        people=measured.evidence.own.audited_people,
        contents=measured.contents,
        name=measured.unit,
    )
    return replace(unit, counted=unit.counted & _countable(measured))


def _countable(measured: Measured) -> Bools:
    """(n,) Return which records have an answer and no copy on another side."""
    countable = np.ones(len(measured.member), bool) if measured.countable is None else measured.countable
    return countable if measured.unanswered is None else countable & ~measured.unanswered


def _answered(findings: Findings, unanswered: Bools) -> Findings:
    """Return the findings without scores of the records for which no answer came."""
    columns = {}
    for name, column in findings.records.columns.items():
        if name not in ("id", "class", "member"):
            column = column.copy() if column.dtype.kind in "fO" else column.astype(object)
            column[unanswered] = np.nan if column.dtype.kind == "f" else None
        columns[name] = column
    return replace(findings, records=Records(columns))


def _planned(measured: Measured) -> list[Planned]:
    """Return the attacks asked for, or all; the floors stand beside any. And which of them can be run."""
    own, direct = measured.evidence
    attacks = with_floors(measured.attacks)
    questions = [question for each in measured.attacks or () for question in each.questions]
    return plan_attacks(
        measured.target.capability,
        shadows=len(own.models),
        design=measured.design,
        answered=direct is not None,
        population=own.population is not None,
        trace=own.trace is not None,
        features=own.features is not None and (own.population is None or own.population.features is not None),
        deletion=measured.deletion,
        probes={question.kind for question in questions if str(question) in (direct or own).answers},
        attacks=list({attack_name(each): each for each in attacks}.values()),
    )


def _blind(measured: Measured, unit: Unit) -> BlindControl:
    records, reason = measured.records, measured.no_records
    if records is None:
        nothing = BlindControl(method="none", auc=Interval.undefined(reason), confounded=None, reason=reason)
        labels = _labels(measured) if measured.stored else None
        if labels is None:
            return nothing
        return class_control(labels, measured.member, seed=measured.seed, unit=unit) or nothing
    blind = blind_control(
        records.numbers,
        _labels(measured),
        measured.member,
        seed=measured.seed,
        plain=records.plain,
        unread=records.unread,
        unit=unit,
    )
    return blind if records.source is None else blind.model_copy(update={"features": records.source})


def _pattern(measured: Measured, unit: Unit) -> PatternControl:
    records, reason = measured.records, measured.no_records
    if records is None:
        excess = Excess.undefined(reason)
        return PatternControl(
            method="none", excess=excess, confidence=PATTERN_CONFIDENCE, confounded=None, reason=reason
        )
    return pattern_control(
        *(records.numbers, _labels(measured), measured.member), seed=measured.seed, shape=records.shape, unit=unit
    )


def _labels(measured: Measured) -> Ints | None:
    return measured.evidence.own.audited_labels if measured.of_classes else None


def _trials(measured: Measured, planned: dict[str, Planned], unit: Unit) -> Trials:
    return Trials(
        [
            Trial(each.attack, _read_by(each.attack, measured), name, each.caveats, each.strongest)
            for name, each in planned.items()
            if each.runs
        ],
        *(measured.member, unit, measured.classes),
        seed=measured.seed,
        operating=measured.operating,
        no_bystanders=measured.no_bystanders,
    )


def _findings(
    measured: Measured,
    planned: dict[str, Planned],
    trials: Trials,
    blind: BlindControl,
    pattern: PatternControl,
    perform: Perform,
    step: Callable[[int, int], None],
) -> Findings:
    return examine(
        trials,
        _labels(measured),
        blind=blind,
        pattern=pattern,
        ids=measured.ids,
        slices=measured.slices,
        skipped=[
            skipped(each.attack, name=name, reason=each.reason) for name, each in planned.items() if not each.runs
        ],
        caveats=(measured.split.copies or Copies()).caveats(),
        repeats=measured.repeats,
        perform=perform,
        tell=step,
    )


def _read_by(attack: Attack, measured: Measured) -> Evidence:
    """Return the evidence that an attack reads, with what came of the questions that it names."""
    needs = attack.needs | ({"probes"} if attack.questions else set())
    return measured.evidence.of(needs).of_questions(attack.questions)


def _warnings(
    measured: Measured, findings: Findings, blind: BlindControl, correct: Bools | None, unit: Unit
) -> list[str]:
    member, shadows = measured.member, measured.shadows
    countable = _countable(measured)
    sizes = int((countable & member).sum()), int((countable & ~member).sum()), measured.split.population
    unlike = list[str]()
    order = [] if measured.deletion else other_order(measured) or unrelated_target(measured)
    here = measured.target.source == "trained here"
    if measured.deletion or order:
        pass  # a procedure may do as badly as it likes on what it deletes; of answers in another order nothing else is told
    elif correct is not None:
        right = accuracies(correct, member, unit)
        train, test = (each.value or 0.0 for each in right)
        unlike = mismatches((train, test), shadows.accuracies, n=unit.size(member), trained_here=here)
    elif measured.errors is not None:
        unlike = unlike_errors(
            mean_errors(measured.errors, member, unit),
            shadows.errors,
            train=measured.split.shadow_train,
            trained_here=here,
        )
    return [
        *([] if measured.split.copies is None else measured.split.copies.sentences(*sizes, label=measured.known)),
        *measured.warnings,
        *unit.warnings,
        *shared_ids(measured, unit),
        *order,
        *sorted_answers(measured),
        *(
            []
            if measured.records is not None or blind.confounded
            else [f"The model-free control did not run: {blind.reason}."]
        ),
        *measured.target_warnings,
        *unlike,
        *unscored(findings.attacks),
        *measured.shadow_warnings,
        *([] if measured.repeats else [NO_REPEATS]),
    ]


def _target(measured: Measured, correct: Bools | None, unit: Unit) -> TargetResult:
    accuracy: object = None if correct is None else accuracies(correct, measured.member, unit)
    classes = len(measured.classes) if measured.of_classes else None
    figures: dict[str, Any] = {}
    if not measured.of_classes:
        reason = _NO_CLASSES if measured.errors is None else _REGRESSION
        figures = {"train_accuracy": None, "test_accuracy": None, "accuracy_reason": reason}
    if measured.errors is not None:
        figures |= _errors(each.value for each in mean_errors(measured.errors, measured.member, unit))
    return TargetResult.of(measured.target, accuracy, classes=classes, **figures)


def _split(measured: Measured, unit: Unit) -> SplitResult:
    member, population = measured.member, measured.evidence.own.population
    return SplitResult.of(
        measured.split,
        members=int(member.sum()),
        nonmembers=int((~member).sum()),
        shadows=len(measured.evidence.own.models),
        evaluated_per_side=min(int((unit.counted & side).sum()) for side in (member, ~member)),
        unit=unit.name,
        people=unit.people_a_side(member),
        copies_left_out=int((~unit.counted).sum()),
        outside=measured.outside,
        outside_apart=population is not None and population.shadows is not None,
    )


def _errors(errors: Iterable[float]) -> dict[str, float]:
    return dict(zip(("train_error", "test_error"), errors, strict=True))


def _shadows(measured: Measured) -> ShadowsResult:
    shadows = measured.shadows
    return ShadowsResult.of(
        shadows,
        trained=len(measured.evidence.own.models),
        failed=len(shadows.failures),
        failures=[Failure.of(each, shadow=each.name) for each in shadows.failures],
        **({} if shadows.errors is None else _errors(float(np.mean(each)) for each in shadows.errors)),
        design="overlapping" if measured.design == "overlapping" else "disjoint",
    )
