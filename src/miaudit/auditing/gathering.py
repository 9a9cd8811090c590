"""From a Case to what is Measured: the target asked, shadow models trained, and their answers put together as evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.alongside import asking, can_overlap
from miaudit.auditing.asking import Asked, Tell, ask, meet, of_row, probed_by, stored_early, target_job
from miaudit.auditing.case import Case, unknown_classes
from miaudit.auditing.drawing import bystanders_of, draws_of, save_draws
from miaudit.auditing.evidence import evidence_of, with_shadows, without_outside
from miaudit.auditing.measured import Measured, ShadowFacts, SplitFacts
from miaudit.auditing.provenance import Clock, Origin
from miaudit.auditing.regression import (
    capability_of,
    features_with_truth,
    other_unit,
)
from miaudit.auditing.scope import oddities, unlike_answers, unlike_choices
from miaudit.auditing.synthetic import on_synthetic
from miaudit.auditing.workers import Workers
from miaudit.data.records import take_records
from miaudit.documents import plain
from miaudit.errors import PlanError, PoolError, counted
from miaudit.evidence import Bools
from miaudit.findings import unit_of
from miaudit.probes import Probed
from miaudit.recipes import device_name, innermost, labels_only
from miaudit.seeds import child_seed
from miaudit.shadows.design import Draws
from miaudit.shadows.engine import Progress
from miaudit.shadows.pool import Retrained, ShadowPool, training_oddities
from miaudit.shadows.training import CHOICE
from miaudit.store import Store
from miaudit.threads import one_thread


@dataclass(frozen=True, eq=False)
class _Answers:
    """What came of one training: the target's answers, and the facts of each shadow model by number."""

    asked: Asked
    shadows: dict[int, dict[str, Any]]
    progress: Progress
    retrained: Retrained | None
    lacking: Bools | None = None  # (n + p,) audited records and others for which no answer came


def gather(
    case: Case, store: Store, workers: Workers, *, clock: Clock, tell: Tell, kept: bool = True, retrain: int = 0
) -> Measured:
    """Ask or train the target, train what the store lacks of the shadow models, and return what was seen.

    Parameters
    ----------
    case
        What to audit; a target that there is, is open (`miaudit.auditing.asking.opened`).
    store
        Where rows lie, and answers of the target.
    workers
        What trains, and until when.
    clock
        Gets the seconds of each stage.
    tell
        Told how far it is.
    kept
        Whether the store outlives the audit.
    retrain
        How many models whose rows were found to train again and to compare.
    """
    _check_documents(case)
    _check_unit(case)
    store.sweep()
    if case.shadows.data != "real":
        with clock.stage("synthesis"):
            case = on_synthetic(case, store.folder, deadline=workers.deadline, tell=tell)
    draws, outside = draws_of(case)
    apart, no_bystanders = bystanders_of(case)
    if kept:
        save_draws(case, draws, outside, store, apart)
    probed = probed_by(case, draws)
    pool = pool_of(case, draws, store, probed, apart, durable=kept)
    with clock.stage("shadows"):
        models = _train(case, pool, outside, probed, workers, tell, retrain)
    if pool.apart is not None and not pool.bystanders:
        no_bystanders = f"none of {counted(len(pool.apart), 'bystander')} could be trained"
    with one_thread():
        return replace(_measured(case, pool, outside, models, clock, no_bystanders), processes=workers.here)


def pool_of(
    case: Case,
    draws: Draws,
    store: Store,
    probed: Probed | None,
    apart: NDArray[np.int64] | None,
    *,
    durable: bool,
) -> ShadowPool:
    """Return the shadow models of a case, and the bystanders trained on ``apart``, as rows of a store."""
    return ShadowPool(
        *(case.dataset, case.recipe, draws, store, child_seed(case.seed, "shadows")),
        probed=None if probed is None else probed.only("votes"),  # the walks of all shadows would take too long
        twice=True,
        kept=durable,
        apart=apart,
    )


def _check_documents(case: Case) -> None:
    """Refuse what the result could not be saved with, before anything is trained."""
    plain(
        {
            "title": case.title,
            "plan": case.document,
            "recipe": [case.recipe.name, case.recipe.describe()],
            "target": None if case.target is None else case.target.description,
            "data": case.dataset.describe(),
            "warnings": list(case.warnings),
        },
        "the audit",
    )


def _check_unit(case: Case) -> None:
    """Refuse a unit that cannot be counted before anything is asked or trained."""
    members, nonmembers, people = case.split.members, case.split.nonmembers, case.dataset.people
    audited = np.concatenate([members, nonmembers])
    unit_of(np.arange(len(audited)) < len(members), people=None if people is None else people[audited], name=case.unit)


def _train(
    case: Case,
    pool: ShadowPool,
    outside: NDArray[np.int64],
    probed: Probed | None,
    workers: Workers,
    tell: Tell,
    retrain: int,
) -> _Answers:
    """Ask the target, or train it as a row like any other, and train the shadow models."""
    own = [] if case.target is not None else [target_job(case, outside, probed)]
    early = [job for job in own if stored_early(case, job, pool.store)]
    what = "training the target and shadow models" if own else "training shadow models"
    last: list[Progress] = []

    def note(progress: Progress) -> None:
        progress = replace(progress, found=progress.found - len(early), done=progress.done + len(early))
        last[:] = [progress]
        if progress.total:
            tell(what, progress)

    options: dict[str, Any] = {**workers.options, "minimum": case.minimum, "also": own, "early": early}
    lacking: Bools | None = None
    if case.target is None:
        shadows = pool.run(**options, tell=note)
        answers = _of_target(case, pool, own[0].key, probed)
    else:
        target, jobs = case.target, [*pool.plan, *pool.bystander_plan]
        tell("asking the target", None)
        meet(target, case, outside, probed, tell)
        _check_kinds(target.foreseen, case)
        overlap = can_overlap([target], jobs, case.recipe, pool.store, workers)
        with asking(partial(_asked, case, outside, probed, overlap), [target], tell, overlap=overlap) as asked:

            def heed(progress: Progress) -> None:
                asked.check()
                note(progress)

            shadows = pool.run(**options, tell=heed)
            answers, lacking = asked.result()
        _check_kinds(answers.facts.outputs, case)
    retrained: Retrained | None = None
    if retrain:
        tell("training stored models again", None)
        retrained = pool.retrain(retrain, seed=case.seed, **workers.options)
    return _Answers(answers, shadows, last[0], retrained, lacking if lacking is not None and lacking.any() else None)


def _check_kinds(outputs: str | None, case: Case) -> None:
    """Refuse a recipe whose models say less than the target, where it is known yet what that answers."""
    if outputs not in (None, "labels") and labels_only(case.recipe):
        raise PlanError(
            f"the target answers {outputs}, and models of {case.recipe.name} answer labels alone, by which "
            "shadow models cannot be compared with it: give a recipe whose models have predict_proba"
        )


def _asked(case: Case, outside: NDArray[np.int64], probed: Probed | None, overlap: bool) -> tuple[Asked, Bools]:
    """Return what the target answered, and (n + p,) for which records no answer came."""
    assert case.target is not None
    target, split = case.target, case.split
    answers = ask(target, case, outside, probed, overlap=overlap)
    records = np.concatenate([split.members, split.nonmembers, outside])
    lacking = target.lacking(take_records(case.dataset.X, records))
    target.rest()  # training may take hours, and others may ask meanwhile
    return answers, lacking


def _of_target(case: Case, pool: ShadowPool, key: str, probed: Probed | None) -> Asked:
    """Return what a target that was trained here answered."""
    row = pool.store.get(key)
    if row is None:
        raise PoolError(f"the target's row is gone from {pool.store.folder}; run the audit again")
    answers = row.arrays["outputs"]
    probes = {} if probed is None else probed.read(row.arrays, row.facts)
    queries = len(answers) + sum(each.queries for each in probes.values())
    return of_row(answers, row.facts, len(pool.draws.audited), case, queries, probes)


def _measured(
    case: Case,
    pool: ShadowPool,
    outside: NDArray[np.int64],
    models: _Answers,
    clock: Clock,
    no_bystanders: str | None,
) -> Measured:
    dataset, answers, audited = case.dataset, models.asked, pool.draws.audited
    member = np.arange(len(audited)) < len(case.split.members)
    synthesis = 0 if case.synthetic is None else case.synthetic.queries.total
    target = replace(answers.facts, queries=(answers.facts.queries or 0) + synthesis)
    records, errors, unit = dataset.numbers(audited), None, list[str]()
    if dataset.values is not None:
        truth = dataset.values[audited]
        records = features_with_truth(records, truth)
        predictions = answers.outputs[:, 0].astype(np.float64)
        errors = np.abs(predictions - truth)
        if target.source != "trained here":
            unit = other_unit(predictions[member], truth[member])
        target = replace(target, capability=capability_of(case.residual))
    evidence, lacking = evidence_of(case, answers, pool, outside, models.shadows), models.lacking
    if lacking is not None:
        evidence = without_outside(evidence, ~lacking[len(audited) :])
    return Measured(
        title=case.title,
        seed=case.seed,
        evidence=evidence.with_answers(with_shadows(answers.probes, pool, models.shadows)),
        member=member,
        classes=() if dataset.values is not None else dataset.classes,
        data=dataset.describe(),
        target=target,
        split=split_facts(case, pool.draws),
        shadows=_shadows(case, pool, models),
        origin=_origin(case, pool, models, clock),
        attacks=case.attacks,
        operating=case.figures,
        unit=case.unit,
        unanswered=None if lacking is None else lacking[: len(audited)],
        contents=dataset.take(audited).contents,
        errors=errors,
        records=records,
        ids=audited if dataset.ids is None else dataset.ids[audited],
        slices={name: of[audited] for name, of in case.slices.items()},
        no_bystanders=no_bystanders,
        synthesis=case.synthetic,
        warnings=case.warnings,
        target_warnings=(
            *oddities(answers.facts.contact),
            *answers.remarks,
            *unknown_classes(case.target, dataset, case.split),
            *unit,
            *_without_answers(lacking, member),
        ),
        shadow_warnings=tuple(_shadow_warnings(case, pool, models)),
    )


def _without_answers(lacking: Bools | None, member: Bools) -> list[str]:
    if lacking is None:
        return []
    audited, others = lacking[: len(member)], int(lacking[len(member) :].sum())
    beside = f", and {others} outside the audit" if others else ""
    members = counted(int((audited & member).sum()), "member")
    nonmembers = counted(int((audited & ~member).sum()), "non-member")
    return [
        f"The target gave no answer to {members} and {nonmembers}{beside}: they are left out of all figures. If it "
        "refuses members more often than others, that itself "
        "tells them apart, and no figure shows it."
    ]


def split_facts(case: Case, draws: Draws) -> SplitFacts:
    """Return sizes and checks of the sides of a case."""
    return SplitFacts(
        population=len(case.split.population),
        copies=case.split.copies,
        duplicates=case.split.duplicates,
        grouped_by=case.split.group_name,
        shadow_train=draws.train.shape[1],
        shadow_test=draws.test.shape[1],
        draws_sha256=draws.sha256,
        population_from=case.split.population_from,
    )


def _shadows(case: Case, pool: ShadowPool, models: _Answers) -> ShadowFacts:
    figure = "accuracy" if case.dataset.values is None else "error"
    figures = [tuple(each[f"{side}_{figure}"] for each in models.shadows.values()) for side in ("train", "test")]
    of_each = (figures[0], figures[1])
    return ShadowFacts(
        recipe=case.recipe.name,
        asked=case.shadows.count,
        accuracies=of_each if figure == "accuracy" else ((), ()),
        errors=of_each if figure == "error" and all(of_each) else None,
        failures=tuple(pool.failures),
        data=case.shadows.data,
        seconds=float(np.mean([each["seconds"] for each in models.shadows.values()])) if models.shadows else None,
    )


def _shadow_warnings(case: Case, pool: ShadowPool, models: _Answers) -> list[str]:
    warnings, size = training_oddities(pool.unknown, models.shadows, models.progress), pool.draws.train.shape[1]
    warnings += unlike_choices(models.asked.choice, [facts.get(CHOICE) for facts in models.shadows.values()])
    warnings += unlike_answers(models.asked.facts.outputs, [facts.get("answers") for facts in models.shadows.values()])
    if pool.apart is not None and pool.apart.shape[1] < size:
        warnings.append(
            f"Bystanders were trained on {counted(pool.apart.shape[1], 'record')}, all that the population has, "
            f"shadow models on {size}: they may show less than they would of sides that differ in how hard they are."
        )
    if case.target is None and labels_only(case.recipe):
        warnings.append(
            f"Models of {case.recipe.name} have no predict_proba and answer labels alone: attacks that read probabilities were "
            "left out. An estimator with predict_proba, such as SVC(probability=True), shows more."
        )
    if pool.failures:
        warnings.append(
            f"{len(pool.failures):,} of {counted(case.shadows.count, 'shadow model')} could not be trained; see "
            "shadows.failures."
        )
    return warnings


def _origin(case: Case, pool: ShadowPool, models: _Answers, clock: Clock) -> Origin:
    source = {} if case.target is None else case.target.facts()
    further = {"target": source} if source else {}
    return origin_of(case, pool, models.progress, clock, retrained=models.retrained, plan=case.document, **further)


def origin_of(case: Case, pool: ShadowPool, progress: Progress, clock: Clock, **further: Any) -> Origin:
    """Return where the figures of a case come from, with ``further`` parts by their names in the provenance."""
    parts = {
        "device": device_name(case.recipe),
        "seeds": {"root": case.seed, "target": child_seed(case.seed, "target")},
        "hashes": {"data": case.dataset.hash, "split": case.split.sha256, "draws": pool.draws.sha256, **case.hashes},
        "recipe": plain(case.recipe.describe(), "recipe"),
    }
    things = (innermost(case.recipe), *(case.attacks or ()))
    return Origin(clock, parts | further, progress, tuple(job.name for job in pool.stored), things)
