"""An audit of stored outputs: no model at hand, no shadow to train; see docs/outputs.md."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from miaudit.attacks import plan_attacks
from miaudit.attacks.planner import Design
from miaudit.evidence import Bools, Evidence
from miaudit.findings import OPERATING, Operating, Trial, Unit, UnitName, blind_control, examine, skipped, unit_of
from miaudit.outputs import StoredOutputs, read_outputs
from miaudit.provenance import system, versions
from miaudit.result import AttackResult, BlindControl, Interval, Result, ShadowsResult, SplitResult, TargetResult


def score(
    outputs: str | Path | StoredOutputs,
    *,
    seed: int = 0,
    title: str | None = None,
    operating: Operating = OPERATING,
    unit: UnitName | None = None,
    out: str | Path | None = None,
) -> Result:
    """Audit a model from what it and its shadow models answered.

    Parameters
    ----------
    outputs
        An ``.npz`` in the layout of docs/outputs.md, or what `miaudit.outputs.stored_outputs` made of such arrays.
    seed
        Root of the draws of attacks and controls.
    title
        Heading of the report; default: the file's name.
    operating
        Where the threshold of PPV and epsilon comes from.
    unit
        ``"person"`` or ``"record"``, what is counted and bounded; default: people where the array ``group`` names them.
    out
        Folder to write ``result.json`` and ``records.csv`` to; none: nothing is written.

    Returns
    -------
    Result
        As of `miaudit.audit`; null where stored outputs do not tell.

    Raises
    ------
    DataError
        If the file cannot be used; the message says why.
    StoreError
        If the folder cannot be written.
    """
    began, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    stored = outputs if isinstance(outputs, StoredOutputs) else read_outputs(outputs)
    member, evidence = stored.member, stored.own
    trials, left_out = _trials(stored)
    counted = unit_of(member, people=evidence.audited_people, contents=stored.contents, name=unit)
    blind = _blind(evidence, member, seed, counted)
    found = examine(
        trials,
        member,
        evidence.audited_labels,
        stored.classes,
        seed=seed,
        blind=blind,
        ids=stored.ids,
        slices=stored.slices,
        skipped=left_out,
        operating=operating,
        unit=counted,
    )
    inside, outside = int(member.sum()), int((~member).sum())
    correct = evidence.predicted == evidence.audited_labels
    result = Result(
        title=title or f"Membership inference audit of {stored.name}",
        verdict=found.verdict.sentence,
        verdict_kind=found.verdict.kind,
        warnings=[*stored.warnings, *counted.warnings, *_warnings(found.attacks, blind)],
        threat_model=_threat_model(stored),
        not_tested=_NOT_TESTED,
        data={"name": stored.name, "records": len(member), "sha256": stored.sha256 or None},
        target=TargetResult(
            description=f"answers stored in {stored.name}",
            source="stored outputs",
            train_accuracy=float(correct[member].mean()),
            test_accuracy=float(correct[~member].mean()),
            classes=len(stored.classes),
            outputs=stored.type,
            outputs_reason=stored.reason,
            capability=stored.capability,
            decimals=stored.decimals,
            queries=None,
        ),
        split=SplitResult(
            members=inside,
            nonmembers=outside,
            population=0 if evidence.population is None else len(evidence.population.labels),
            shadows=len(evidence.models),
            shadow_train=None,
            shadow_test=None,
            evaluated_per_side=min(int((counted.counted & side).sum()) for side in (member, ~member)),
            grouped_by=None if counted.people is None else "group",
            unit=counted.name,
            people=counted.people_a_side(member),
            copies_left_out=int((~counted.counted).sum()),
            draws_sha256=None,
        ),
        shadows=_shadows(evidence),
        attacks=found.attacks,
        controls=found.controls,
        groups=found.groups,
        stability=found.stability,
        provenance={
            "started": started,
            "seconds": {"total": round(time.perf_counter() - began, 2)},
            "versions": versions(),
            "platform": system(),
            "seeds": {"root": seed},
            "hashes": {"outputs": stored.sha256 or None},
            "plan": {"call": "miaudit score", "threshold": operating.threshold, "delta": operating.delta, "unit": unit},
        },
    ).attach_records(found.records)
    if out is not None:
        result.save(out)
    return result


def _trials(stored: StoredOutputs) -> tuple[list[Trial], list[AttackResult]]:
    """Return the attacks that can be run, and entries for the others."""
    own, population = stored.own, stored.own.population
    planned = plan_attacks(
        stored.capability,
        shadows=len(own.models),
        design=_design(stored),
        answered=stored.direct is not None,
        population=population is not None,
        features=own.features is not None and population is not None and population.features is not None,
    )
    trials = [
        Trial(each.attack, stored.of(each.attack.needs), each.name, each.caveats, each.strongest)
        for each in planned
        if each.runs
    ]
    return trials, [skipped(each.attack, name=each.name, reason=each.reason) for each in planned if not each.runs]


def _design(stored: StoredOutputs) -> Design:
    if stored.direct is not None and stored.direct.inside.any():
        return "overlapping"
    # shadows that answered the audited records alone, and were trained on none, teach nothing of members
    return "offline" if stored.direct is not None and stored.own is stored.direct else "disjoint"


def _blind(evidence: Evidence, member: Bools, seed: int, unit: Unit) -> BlindControl:
    if evidence.features is None:
        reason = "the file holds no features, so whether the sides differ by themselves could not be checked"
        return BlindControl(
            method="none",
            auc=Interval(value=None, low=None, high=None, reason=reason),
            confounded=None,
            reason=reason,
        )
    return blind_control(evidence.features, evidence.audited_labels, member, seed=seed, unit=unit)


def _warnings(attacks: Sequence[AttackResult], blind: BlindControl) -> list[str]:
    found = [] if blind.confounded is not None else [f"The model-free control did not run: {blind.reason}."]
    if missing := [f"{attack.missing} by {attack.name}" for attack in attacks if attack.missing]:
        found.append(f"Records that could not be scored: {', '.join(missing)}; the attacks' notes say why.")
    return found


def _shadows(evidence: Evidence) -> ShadowsResult:
    m = len(evidence.models)
    correct = evidence.shadows.argmax(axis=2) == evidence.shadow_labels if m else np.empty((0, 0), bool)  # (m, r)
    inside = evidence.inside
    return ShadowsResult(
        recipe="unknown: only the answers are at hand",
        asked=m,
        trained=m,
        failed=0,
        train_accuracy=float(correct[inside].mean()) if m and inside.any() else None,
        test_accuracy=float(correct[~inside].mean()) if m and not inside.all() else None,
    )


def _threat_model(stored: StoredOutputs) -> list[str]:
    m = len(stored.own.models)
    what = {
        "probabilities": "a probability for every class",
        "logits": "a logit for every class",
        "topk": "probabilities of the highest-ranked classes",
        "labels": "the predicted class alone",
    }[stored.kind]
    return [
        "Question: was this record, whose true class is known, among the records the target was trained on?",
        f"Access: stored answers, {what}. The model was not asked again: what the file says of answers, shadows and "
        "memberships is taken on trust.",
        f"Knowledge of the training: {m} shadow models' answers, as stored." if m else "No shadow models.",
        "Membership is equally likely before the attack: members and non-members are evaluated in equal numbers.",
    ]


_NOT_TESTED = [
    "Whether the stored answers, and who is said to be a member, are true.",
    "Attacks marked as skipped, for lack of what their reasons name.",
    "Attackers who ask the model themselves, see weights or gradients, or may change the training data.",
    "Other leaks: attribute inference, reconstruction, property inference, and what all members of the population share.",
    "Other training runs: the figures are of this one target; their intervals cover the choice of records, not the seed.",
]
