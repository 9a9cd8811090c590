"""An audit of stored outputs: no model at hand, no shadow to train; see docs/outputs.md."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from miaudit.attacks import Attack, Shokri, attack_name, plan_attacks, with_floors
from miaudit.attacks.choice import chosen_attacks
from miaudit.attacks.planner import Design
from miaudit.auditing.provenance import system, versions
from miaudit.auditing.scope import ANSWERED, mismatches, unscored
from miaudit.auditing.stored import StoredOutputs, read_outputs
from miaudit.data import Copies, apart_by_value, check_audited
from miaudit.evidence import Bools, Evidence, Population
from miaudit.findings import (
    OPERATING,
    Operating,
    Trial,
    Unit,
    UnitName,
    accuracies,
    blind_control,
    examine,
    question,
    skipped,
    unit_of,
)
from miaudit.result import AttackResult, BlindControl, Interval, Result, ShadowsResult, SplitResult, TargetResult
from miaudit.seeds import child_seed


def score(
    outputs: str | Path | StoredOutputs,
    *,
    seed: int = 0,
    title: str | None = None,
    operating: Operating = OPERATING,
    unit: UnitName | None = None,
    attacks: Sequence[str | Mapping[str, Any] | Attack] | None = None,
    out: str | Path | None = None,
) -> Result:
    """Audit a model from what it and its shadow models answered.

    Parameters
    ----------
    outputs
        An ``.npz`` in the layout of docs/outputs.md, or what `miaudit.auditing.stored.stored_outputs` made of such arrays.
    seed
        Root of the draws of attacks and controls.
    title
        Heading of the report; default: the file's name.
    operating
        Where the threshold of PPV and epsilon comes from.
    unit
        ``"person"`` or ``"record"``, what is counted and bounded; default: people where the array ``group`` names them.
    attacks
        As of `miaudit.audit`.
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
    keep, copies = _copies(stored, seed)
    if copies is not None and copies.left_out.get("population"):
        stored = _with_population(stored, keep[len(stored.member) :])
    member, evidence = stored.member, stored.own
    trials, left_out = _trials(stored, None if attacks is None else chosen_attacks(attacks, Shokri()))
    counted = unit_of(member, people=evidence.audited_people, contents=stored.contents, name=unit)
    counted = replace(counted, counted=counted.counted & keep[: len(member)])
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
        caveats=[] if copies is None else copies.caveats(),
    )
    inside, outside = int(member.sum()), int((~member).sum())
    correct = evidence.predicted == evidence.audited_labels
    right = float(correct[member].mean()), float(correct[~member].mean())
    unchecked = [] if evidence.features is not None else [f"The model-free control did not run: {blind.reason}."]
    result = Result(
        title=title or f"Membership inference audit of {stored.name}",
        verdict=found.verdict.sentence,
        verdict_kind=found.verdict.kind,
        **found.headline.fields(),
        warnings=[
            *_of_copies(copies, stored, counted),
            *stored.warnings,
            *counted.warnings,
            *unchecked,
            *mismatches(*right, *stored.shadow_accuracy),
            *unscored(found.attacks),
        ],
        threat_model=_threat_model(stored, copies, counted),
        not_tested=_NOT_TESTED,
        data={"name": stored.name, "records": len(member), "sha256": stored.sha256 or None},
        target=TargetResult.of(
            accuracies(correct, member, counted),
            description=f"answers stored in {stored.name}",
            source="stored outputs",
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
            duplicates={} if copies is None else dict(copies.same),
            outside=0 if evidence.population is None else len(evidence.population.labels),
            outside_apart=evidence.population is not None and evidence.population.shadows is not None,
            draws_sha256=None,
        ),
        shadows=_shadows(stored),
        attacks=found.attacks,
        controls=found.controls,
        groups=found.groups,
        stability=found.stability,
        accusations=found.accusations,
        provenance={
            "started": started,
            "seconds": {"total": round(time.perf_counter() - began, 2)},
            "versions": versions(),
            "platform": system(),
            "seeds": {"root": seed},
            "hashes": {"outputs": stored.sha256 or None},
            "plan": {"call": "miaudit score", "threshold": operating.threshold, "delta": operating.delta, "unit": unit},
        },
        records=found.records,
    )
    if out is not None:
        result.save(out)
    return result


def _copies(stored: StoredOutputs, seed: int) -> tuple[Bools, Copies | None]:
    """Compare the records by value, as far as the file holds them.

    Returns
    -------
    (ndarray, Copies or None)
        (n + p,) which audited records and which records outside the audit may be counted, and what was found.

    Raises
    ------
    SplitError
        If hardly a member or a non-member is left.
    """
    own, member = stored.own, stored.member
    population = own.population
    theirs = None if population is None else population.features
    if theirs is not None and own.features is not None and theirs.shape[1:] != own.features.shape[1:]:
        theirs = None  # not comparable
    p = 0 if population is None else len(population.labels)
    keep = np.ones(len(member) + p, bool)
    if own.features is None:
        return keep, None
    flat = [np.asarray(each).reshape(len(each), -1) for each in (own.features, theirs) if each is not None]
    audited = own.audited_labels
    outside = audited[:0] if population is None or theirs is None else population.labels
    masks, copies = apart_by_value(
        np.concatenate([flat[0][member], flat[0][~member], *flat[1:]]),
        [audited[member], audited[~member], outside],
        seed=child_seed(seed, "copies"),
    )
    check_audited(copies, int(member.sum()), int((~member).sum()))
    kept = keep[: len(member)]
    kept[member], kept[~member] = masks[0], masks[1]
    if theirs is not None:
        keep[len(member) :] = masks[2]
    return keep, copies


def _with_population(stored: StoredOutputs, keep: Bools) -> StoredOutputs:
    """Return the outputs with some records outside the audit left out."""
    old = stored.own.population
    assert old is not None
    new = None
    if keep.any():
        new = Population(
            old.target[keep],
            old.labels[keep],
            shadows=None if old.shadows is None else np.stack([rows[keep] for rows in old.shadows]),
            features=None if old.features is None else old.features[keep],
        )
    own = stored.own.replace(population=new)
    if stored.direct is None:
        return replace(stored, own=own)
    inner = None if stored.direct.own is None else stored.direct.own.replace(population=new)
    direct = own if stored.direct is stored.own else stored.direct.replace(population=new, own=inner)
    return replace(stored, own=own, direct=direct)


def _of_copies(copies: Copies | None, stored: StoredOutputs, unit: Unit) -> list[str]:
    if copies is None:
        return []
    inside, outside = (int((unit.counted & side).sum()) for side in (stored.member, ~stored.member))
    population = stored.own.population
    return copies.sentences(inside, outside, 0 if population is None else len(population.labels))


def _of_data(stored: StoredOutputs, copies: Copies | None) -> str:
    """Say what was compared by value: never what shadow models were trained on, which the file does not hold."""
    trained = "what the shadow models were trained on is taken on trust to hold no copy of an audited record"
    if copies is None:
        return f"Knowledge of the data: the file holds no features, so records were not compared by value; {trained}."
    compared = "members and non-members"
    if stored.own.population is not None and stored.own.population.features is not None:
        compared = "members, non-members and records outside the audit"
    return (
        f"Knowledge of the data: {compared} were compared by value, and copies left out (those with rounding, noise or a few "
        f"changed columns only as far as they stand out from chance); {trained}."
    )


def _trials(stored: StoredOutputs, attacks: Sequence[Attack] | None) -> tuple[list[Trial], list[AttackResult]]:
    """Return the attacks that can be run, and entries for the others."""
    own, population = stored.own, stored.own.population
    planned = plan_attacks(
        stored.capability,
        shadows=len(own.models),
        design=_design(stored),
        answered=stored.direct is not None,
        population=population is not None,
        trace=own.trace is not None,
        features=own.features is not None and population is not None and population.features is not None,
        attacks=list({attack_name(each): each for each in with_floors(attacks)}.values()),
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
        reason = "the file holds no features"
        return BlindControl(
            method="none",
            auc=Interval.undefined(reason),
            confounded=None,
            reason=reason,
        )
    return blind_control(evidence.features, evidence.audited_labels, member, seed=seed, unit=unit)


def _shadows(stored: StoredOutputs) -> ShadowsResult:
    m, (train_accuracy, test_accuracy) = len(stored.own.models), stored.shadow_accuracy
    return ShadowsResult(
        recipe="unknown: only the answers are at hand",
        asked=m,
        trained=m,
        failed=0,
        train_accuracy=train_accuracy,
        test_accuracy=test_accuracy,
        design="overlapping" if _design(stored) == "overlapping" else "disjoint",
    )


def _threat_model(stored: StoredOutputs, copies: Copies | None, unit: Unit) -> list[str]:
    m = len(stored.own.models)
    traced = "" if stored.own.trace is None else ", and the model's losses over its training for attacks that read them"
    return [
        question(unit.name),
        f"Access: stored answers, {ANSWERED[stored.capability]}{traced}. The model was not asked again: what the file "
        "says of answers, shadows and memberships is taken on trust.",
        f"Knowledge of the training: {m} shadow models' answers, as stored." if m else "No shadow models.",
        _of_data(stored, copies),
        "Membership is equally likely before the attack: members and non-members are evaluated in equal numbers.",
    ]


_NOT_TESTED = [
    "Whether the stored answers, and who is said to be a member, are true.",
    "Attacks marked as skipped, for lack of what their reasons name.",
    "Attackers who ask the model themselves, see weights or gradients, or may change the training data.",
    "Other leaks: attribute inference, reconstruction, property inference, and what all members of the population share.",
    "Other training runs: the figures are of this one target; their intervals cover the choice of records, not the seed.",
]
