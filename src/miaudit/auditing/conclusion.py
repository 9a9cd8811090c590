"""From what target and shadow models answered to the Result of an audit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks import Attack, Planned, attack_name, plan_attacks, with_floors
from miaudit.auditing.asking import Asked
from miaudit.auditing.case import Case
from miaudit.auditing.provenance import system, versions
from miaudit.auditing.scope import mismatches, not_tested, oddities, threat_model, unscored
from miaudit.data import Copies, Dataset, features
from miaudit.data.records import densified, take_records
from miaudit.documents import plain
from miaudit.evidence import Evidence, Population, Probes
from miaudit.findings import Operating, Trial, accuracies, blind_control, examine, skipped, unit_of
from miaudit.recipes import device_name
from miaudit.result import Result, ShadowsResult, SplitResult, TargetResult
from miaudit.seeds import child_seed
from miaudit.shadows.design import Draws
from miaudit.shadows.engine import Progress
from miaudit.shadows.pool import Retrained, ShadowEvidence, ShadowPool, training_oddities
from miaudit.shadows.training import peak_memory
from miaudit.targets.seen import answered_classes, reduce_alike
from miaudit.threads import usable_cores

_MOST_CATEGORIES = 1000  # with a column each


def _evidence(
    case: Case,
    asked: Asked,
    draws: Draws,
    outside: NDArray[np.int64],
    pool: ShadowPool,
    shadows: Iterable[int],
) -> ShadowEvidence:
    dataset, n = case.dataset, len(draws.audited)
    numbers = _numbers(dataset, np.concatenate([draws.audited, outside if asked.outside is not None else outside[:0]]))
    population = None
    if asked.outside is not None:
        population = Population(asked.outside, dataset.y[outside], features=None if numbers is None else numbers[n:])
    top = answered_classes(asked.outputs) if asked.capability == "topk" else None
    return pool.evidence(
        shadows,
        asked.outputs,
        draws.audited,
        outside=population,
        features=None if numbers is None else numbers[:n],
        people=dataset.people,
        alike=partial(reduce_alike, top=top, decimals=asked.decimals),
    )


def _numbers(dataset: Dataset, index: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Return records as numbers for attacks that learn from them; None for sparse ones.

    Texts have a column for each that there is, so where there are many they are hashed into a fixed number.
    """
    X, schema = take_records(dataset.X, index), dataset.schema
    if schema.sparse:
        return None
    if sum(len(column.categories or ()) for column in schema.columns) <= _MOST_CATEGORIES:
        return np.asarray(schema.encode(X))
    return densified(features(X, schema, buckets=_MOST_CATEGORIES // 4).numbers)


def _planned(case: Case, asked: Asked, evidence: ShadowEvidence) -> list[Planned]:
    """Return the attacks asked for, or all; the floors stand beside any. And which of them can be run."""
    wanted = with_floors(case.attacks, case.attack)
    population = evidence.own.population is not None
    return plan_attacks(
        asked.capability,
        shadows=len(evidence.own.models),
        design=case.design,
        population=population,
        trace=asked.trace is not None,
        features=population and evidence.own.features is not None,
        probes={question.kind for each in case.attacks or () for question in each.questions},
        answered=True,
        attacks=list({_name(each, case): each for each in wanted}.values()),
    )


def _name(attack: Attack, case: Case) -> str:
    return "shokri" if attack == case.attack else attack_name(attack)  # its options have a section of their own


def _read_by(
    attack: Attack, evidence: ShadowEvidence, asked: Asked, pool: ShadowPool, shadows: Iterable[int]
) -> Evidence:
    """Return the evidence that an attack reads, with what came of its probes, or the trace, where it asks for any."""
    if "trace" in attack.needs:
        return evidence.own.replace(trace=asked.trace)
    if not attack.questions:
        return evidence.of(attack.needs)
    probes = Probes()
    for question in attack.questions:
        answers = asked.probes[str(question)]
        queries = probes.queries + answers.queries
        if question.kind == "boundary":
            probes = replace(probes, distances=answers.distances, queries=queries)
            continue
        votes = None if evidence.direct is None else pool.probes(shadows, str(question))
        probes = replace(probes, votes=answers.votes, shadow_votes=votes, queries=queries)
    return (evidence.direct or evidence.own).replace(probes=probes)


def conclude(
    case: Case,
    asked: Asked,
    draws: Draws,
    outside: NDArray[np.int64],
    pool: ShadowPool,
    shadows: dict[int, dict[str, Any]],
    progress: Progress,
    no_bystanders: str | None,
) -> Result:
    """Run attacks and controls on the answers of the target and of the shadow models, and write the result.

    Parameters
    ----------
    case, draws
        What is audited, and who is trained on what.
    asked, outside
        What the target answered, and the records beside the audited ones that it was asked about.
    pool, shadows
        The shadow models' answers, and the facts of each by number.
    progress
        What the training of the shadow models came to.
    no_bystanders
        Why there are no bystanders, where that is known before.
    """
    dataset, split, audited = case.dataset, case.split, draws.audited
    copies = split.copies or Copies()
    member = np.arange(len(audited)) < len(split.members)  # (n,)
    labels = dataset.y[audited]
    evidence = _evidence(case, asked, draws, outside, pool, shadows)
    if pool.apart is not None and not pool.bystanders:
        no_bystanders = f"none of {len(pool.apart)} bystanders could be trained"
    correct = evidence.own.predicted == labels
    train_accuracy, test_accuracy = float(correct[member].mean()), float(correct[~member].mean())
    unit = unit_of(
        member,
        people=None if dataset.people is None else dataset.people[audited],
        contents=dataset.take(audited).contents,
        name=case.unit,
    )
    planned = {_name(each.attack, case): each for each in _planned(case, asked, evidence)}
    seen = features(take_records(dataset.X, audited), dataset.schema)
    blind = blind_control(seen.numbers, labels, member, seed=case.seed, plain=seen.plain, unread=seen.unread, unit=unit)
    findings = examine(
        [
            Trial(
                each.attack, _read_by(each.attack, evidence, asked, pool, shadows), name, each.caveats, each.strongest
            )
            for name, each in planned.items()
            if each.runs
        ],
        member,
        labels,
        dataset.classes,
        seed=case.seed,
        blind=blind,
        ids=audited if dataset.ids is None else dataset.ids[audited],
        slices={name: of[audited] for name, of in case.slices.items()},
        skipped=[
            skipped(each.attack, name=name, reason=each.reason) for name, each in planned.items() if not each.runs
        ],
        operating=Operating(case.threshold, case.delta),
        unit=unit,
        caveats=copies.caveats(),
        no_bystanders=no_bystanders,
    )
    ran = [planned[each.name].attack for each in findings.attacks if each.status == "ran"]
    shadow_train = float(np.mean([facts["train_accuracy"] for facts in shadows.values()]))
    shadow_test = float(np.mean([facts["test_accuracy"] for facts in shadows.values()]))
    warnings = [
        *copies.sentences(len(split.members), len(split.nonmembers), len(split.population)),
        *case.warnings,
        *unit.warnings,
        *oddities(asked.contact),
        *asked.remarks,
        *mismatches(
            train_accuracy, test_accuracy, shadow_train, shadow_test, trained_here=case.source == "trained here"
        ),
        *unscored(findings.attacks),
    ]
    warnings += training_oddities(pool.unknown, shadows, progress)
    if pool.apart is not None and pool.apart.shape[1] < draws.train.shape[1]:
        warnings.append(
            f"Bystanders were trained on {pool.apart.shape[1]} records, all that the population has, shadow models on "
            f"{draws.train.shape[1]}: they may show less than they would of sides that differ in how hard they are."
        )
    if pool.failures:
        warnings.append(
            f"{len(pool.failures)} of {case.shadows} shadow models could not be trained; see shadows.failures."
        )
    return Result(
        title=case.title,
        verdict=findings.verdict.sentence,
        verdict_kind=findings.verdict.kind,
        **findings.headline.fields(),
        warnings=warnings,
        threat_model=threat_model(
            *(case, asked.capability, 0 if asked.outside is None else len(outside)),
            unit=unit.name,
            traced=asked.trace is not None,
        ),
        not_tested=not_tested(ran, asked.capability),
        data=dataset.describe(),
        target=TargetResult.of(
            accuracies(correct, member, unit),
            description=asked.description,
            source=case.source,
            classes=len(dataset.classes),
            outputs=asked.type,
            outputs_reason=asked.reason,
            capability=asked.capability,
            decimals=asked.decimals,
            queries=asked.queries + (case.synthesis or {"queries": {"total": 0}})["queries"]["total"],
            contact=asked.contact,
        ),
        split=SplitResult(
            members=len(split.members),
            nonmembers=len(split.nonmembers),
            population=len(split.population),
            shadows=len(shadows),
            shadow_train=draws.train.shape[1],
            shadow_test=draws.test.shape[1],
            evaluated_per_side=min(int((unit.counted & side).sum()) for side in (member, ~member)),
            grouped_by=split.group_name,
            unit=unit.name,
            people=unit.people_a_side(member),
            copies_left_out=int((~unit.counted).sum()),
            duplicates=dict(split.duplicates),
            outside=0 if asked.outside is None else len(outside),
            outside_apart=asked.outside is not None and len(draws.aside) > 0,
            draws_sha256=draws.sha256,
        ),
        shadows=ShadowsResult(
            recipe=case.recipe.name,
            asked=case.shadows,
            trained=len(shadows),
            failed=len(pool.failures),
            failures=[
                {"shadow": failure.name, "error": failure.error, "traceback": failure.traceback}
                for failure in pool.failures
            ],
            train_accuracy=shadow_train,
            test_accuracy=shadow_test,
            design=case.design,
            data=case.shadow_data,
        ),
        synthesis=case.synthesis,
        attacks=findings.attacks,
        controls=findings.controls,
        groups=findings.groups,
        stability=findings.stability,
        accusations=findings.accusations,
        provenance={},
        records=findings.records,
    )


def provenance_of(
    case: Case,
    draws: Draws,
    started: str,
    seconds: dict[str, float],
    shadows: Progress,
    retrained: Retrained | None,
    stored: list[str],
) -> dict[str, Any]:
    """Return when, where, from what and at which cost the result was made."""
    source = {} if case.target is None else case.target.facts()
    return {
        "started": started,
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "versions": versions(),
        "platform": {**system(), "cores": usable_cores()},
        "jobs": shadows.processes,
        "device": device_name(case.recipe),
        "shadow_cost": {
            "trained_now": shadows.done,
            "from_store": shadows.found,
            "found": stored,
            "estimated": None if shadows.estimate is None else asdict(shadows.estimate),
            "actual": None if shadows.actual is None else asdict(shadows.actual),
            "actual_seconds": round(shadows.seconds, 2),
            "peak_bytes_of_this_process": peak_memory(),
        },
        "retrained": None if retrained is None else asdict(retrained),
        "seeds": {"root": case.seed, "target": child_seed(case.seed, "target")},
        "hashes": {"data": case.dataset.hash, "split": case.split.sha256, "draws": draws.sha256, **case.hashes},
        "recipe": plain(case.recipe.describe(), "recipe"),
        "plan": case.plan,
        **({"target": source} if source else {}),
    }
