"""The audit: from a plan, or a trained model and three sets of records, to a Result.

The only room that knows all the others: data -> target -> shadows -> evidence -> attacks -> statistics -> result.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.answers import Type
from miaudit.attacks import Attack, Planned, attack_name, plan_attacks, with_floors
from miaudit.auditing.asking import Asked, Tell, ask, meet, of_row, probed_by, stored_early, target_job
from miaudit.auditing.drawing import bystanders_of, draws_of, save_draws
from miaudit.case import Case, case_of_model, case_of_plan
from miaudit.data import Copies, Dataset, features
from miaudit.data.records import densified, take_records
from miaudit.documents import plain, whole
from miaudit.errors import PlanError, PoolError
from miaudit.evidence import Evidence, Population, Probes
from miaudit.findings import Operating, Trial, UnitName, accuracies, blind_control, examine, skipped, unit_of
from miaudit.permissions import Permissions
from miaudit.plan import EnginePlan, Plan
from miaudit.provenance import system, versions
from miaudit.recipes import device_name
from miaudit.result import Result, ShadowsResult, SplitResult, TargetResult
from miaudit.scope import mismatches, not_tested, oddities, threat_model, unscored
from miaudit.seeds import child_seed
from miaudit.shadow_data import on_synthetic
from miaudit.shadows.design import Design, Draws
from miaudit.shadows.engine import Progress
from miaudit.shadows.guard import no_exits
from miaudit.shadows.pool import Retrained, ShadowEvidence, ShadowPool, training_oddities
from miaudit.shadows.training import one_thread, peak_memory
from miaudit.store import Store
from miaudit.targets.seen import answered_classes, reduce_alike
from miaudit.workers import Workers, workers_of

_MOST_CATEGORIES = 1000  # with a column each


@no_exits()
def audit(
    subject: Any,
    /,
    *,
    members: tuple[Any, Any] | None = None,
    nonmembers: tuple[Any, Any] | None = None,
    population: tuple[Any, Any] | None = None,
    recipe: Any = None,
    shadows: int = 20,
    attack: Mapping[str, Any] | None = None,
    attacks: str | Sequence[str | Mapping[str, Any] | Attack] | None = None,
    design: Design = "disjoint",
    outside: int | None = None,
    bystanders: int = 8,
    outputs: Type | None = None,
    columns: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    unit: UnitName | None = None,
    seed: int = 0,
    jobs: int | None = None,
    address: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    time_limit: float | None = None,
    out: str | PathLike[str] | None = None,
    title: str = "Membership inference audit",
    data: str | PathLike[str] | None = None,
    allow_code: bool = False,
    allow_pickle: bool = False,
    env: Iterable[str] = (),
    trusted: Iterable[str] = (),
    retrain: int = 0,
    tell: Tell | None = None,
) -> Result:
    """Audit what a model gives away about its training records.

    Parameters
    ----------
    subject
        A trained model (an object with ``predict_proba``, a torch module, or a function from records to
        probabilities), or a `Plan`, or a dict or the path of a TOML file that holds one.
    members, nonmembers, population
        With a model: pairs ``(X, y)`` of records it was trained on, of records of the same kind it was not trained
        on, and of further records for the shadow models. X may be an array, a scipy sparse matrix, or a pandas or
        polars frame: the form the model takes.
    recipe
        How to train shadow models; default: clones of the model, if it is a scikit-learn estimator.
    shadows
        Number of shadow models.
    attack
        Options of `miaudit.attacks.Shokri`.
    attacks
        Which attacks to run: names as `miaudit attacks` lists them, tables such as ``{"name": "lira", "variance":
        "pooled"}``, or attacks. Default: all that can be run. The loss threshold and the gap attack run beside any.
    design
        ``"disjoint"``: shadow models are trained on the population alone; ``"overlapping"``: each on a random half of
        the audited records, too, so that the online attacks can be run.
    outside
        How many records of the population the target is asked about beside the audited ones, for attacks that compare
        with them. Default: as many as members; 0: none. Each is a query.
    bystanders
        With a model, in the overlapping design: how many further models are trained on records of the population alone, to see
        whether members and non-members differ in how hard they are. Disjoint shadow models are such models themselves. 0: no
        such control. A plan says it in ``shadows.bystanders``.
    outputs
        With a model: what it answers, where that is not clear from the model and its numbers: "probabilities", "logits",
        "log-probabilities", "percent", "score" (one number a record, the probability of the second of two classes),
        "topk" or "labels".
    columns
        With a model: class names in the order of its columns and class numbers, where they have no names; then labels in y
        are these names, or their numbers from 0. Default: the order of the classes in y.
    groups
        With a model, where people have many records: three arrays that name the person of each record of members, nonmembers
        and population; the last may be None.
    unit
        With a model: ``"person"`` or ``"record"``, what is counted and bounded; default: people where ``groups`` names them. A
        plan says it in ``data.unit``.
    seed
        Root of all random draws.
    jobs
        Processes that train; default: one per core; 0 trains in this process.
    address
        Of a Dask scheduler, whose workers train instead.
    device
        Where networks train: "cpu", "cuda" (an NVIDIA GPU) or "auto" (the GPU, if there is one); default: the plan's, or
        "cpu". Models trained on a GPU have rows of their own.
    dtype
        "float32" or "bfloat16", the type of a network's products while it trains; default: the recipe's. It makes other
        models, and is part of the recipe.
    time_limit
        Seconds after which the audit stops with an error, keeping in ``out`` what was trained.
    out
        Folder for ``result.json``, ``records.csv`` and the rows of the shadow models, which are found again by the
        next audit there. Default: nothing is kept.
    data
        With a plan: the folder of the named data sets; default: the environment's MIAUDIT_DATA.
    allow_code
        With a plan: consent to run the code it names (functions of files, estimators of packages that are not listed).
    allow_pickle
        With a plan: consent to read a model file that can run code of its author, such as a pickle.
    env
        With a plan: names of the environment variables that it may send to the server it names.
    trusted
        With a plan: types outside skops' own list that its model file may hold.
    retrain
        How many models whose rows were found in ``out`` to train again, drawn by the seed, and to compare: whoever can
        write to that folder could have put other rows there. A row that does not come out again is an error.
    tell
        Called while the audit goes on.

    Returns
    -------
    Result
        Shown compactly in a notebook; ``result.records`` is the per-record table.

    Raises
    ------
    MiauditError
        See `miaudit.errors`; the message says what to do.

    Examples
    --------
    >>> result = miaudit.audit(model, members=(X1, y1), nonmembers=(X2, y2), population=(X3, y3))  # doctest: +SKIP
    """
    began = time.perf_counter()
    jobs = None if jobs is None else whole(jobs, "jobs", least=0)
    if time_limit is not None and not _is_positive(time_limit):
        raise PlanError(f"time_limit must be a number of seconds above 0, got {time_limit!r}")
    if retrain < 0 or (retrain and out is None):
        raise PlanError(
            f"retrain={retrain} compares rows that lie in a folder: give a number from 0, and out= that folder"
        )
    if device not in (None, "cpu", "cuda", "auto"):
        raise PlanError([("device", f"got {device!r}; allowed: cpu, cuda or auto")])
    called: dict[str, Any] = {"jobs": jobs, "address": address, "device": device, "time_limit": time_limit}
    called["start"] = time.monotonic()
    say = tell or (lambda text, progress: None)
    sides = (members, nonmembers, population)
    say("loading", None)
    plan = None
    if isinstance(subject, Plan | Mapping | str | PathLike):
        if any(given is not None for given in (*sides, recipe, groups, unit)):
            model = isinstance(subject, str | PathLike) and Path(subject).suffix not in ("", ".toml")
            raise PlanError(
                f"{subject} is the path of a plan here, and a model is an object: load it first, or name it in a plan as "
                "target.file"
                if model
                else "a plan says itself where its records come from: leave out members, nonmembers, population, "
                "recipe, groups and unit"
            )
        if outputs is not None or columns is not None:
            raise PlanError("a plan says itself what its target answers: give target.outputs and target.columns in it")
        plan = subject if isinstance(subject, Plan) else _plan(subject)
        permissions = Permissions(allow_code, allow_pickle, env, trusted)
        permissions.check(plan)
        workers = workers_of(plan.engine, **called)
        case = case_of_plan(plan, data_folder=data, permissions=permissions)
    else:
        missing = [
            name for name, side in zip(("members", "nonmembers", "population"), sides, strict=True) if side is None
        ]
        if missing:
            advice = (
                "; the population is further records of the same kind for the shadow models: keep half of the "
                "non-members for it, or make records (docs/synthesis.md)"
                if "population" in missing
                else ""
            )
            raise PlanError(
                f"to audit a model, give {', '.join(missing)} too: pairs (X, y) of records and classes{advice}"
            )
        workers = workers_of(EnginePlan(), **called)  # type: ignore[call-arg]
        case = case_of_model(
            subject,
            members,  # type: ignore[arg-type]
            nonmembers,  # type: ignore[arg-type]
            population,  # type: ignore[arg-type]
            recipe=recipe,
            shadows=shadows,
            seed=seed,
            title=title,
            attack=attack or {},
            attacks=attacks,
            design=design,
            outside=outside,
            bystanders=whole(bystanders, "bystanders", least=0),
            outputs=outputs,
            columns=columns,
            groups=groups,
            unit=unit,
        )
    workers, recipe = workers.take(case.recipe, dtype)
    case = replace(case, recipe=recipe)
    with ExitStack() as stack:
        if case.target is not None and plan is not None:  # who gave an object closes it
            stack.callback(case.target.close)
        if out is not None:
            return _carry_out(case, Path(out), workers, say, began, keep=True, retrain=retrain)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="miaudit-"))
        return _carry_out(case, Path(folder), workers, say, began, keep=False)


def _is_positive(value: Any) -> bool:
    return not isinstance(value, bool | str) and hasattr(value, "__float__") and float(value) > 0


def _plan(subject: Mapping[str, Any] | str | PathLike[str]) -> Plan:
    return Plan.of(subject) if isinstance(subject, Mapping) else Plan.load(subject)


def _carry_out(
    case: Case, folder: Path, workers: Workers, say: Tell, began: float, *, keep: bool, retrain: int = 0
) -> Result:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    _check_documents(case)
    store = Store(folder)
    store.sweep()
    seconds: dict[str, float] = {"load": time.perf_counter() - began}
    if case.target is not None:
        case.target.order = child_seed(case.seed, "questions")
        case.target.open(folder / "target" if keep else None, workers.deadline, lambda text: say(text, None))
    if case.shadow_data != "real":
        clock = time.perf_counter()
        case = on_synthetic(case, folder, deadline=workers.deadline, say=say)
        seconds["synthesis"] = time.perf_counter() - clock
    draws, outside = draws_of(case)
    apart, no_bystanders = bystanders_of(case)
    if keep:
        save_draws(case, draws, outside, store, apart)
    clock = time.perf_counter()
    probed = probed_by(case, draws)
    pool = ShadowPool(
        *(case.dataset, case.recipe, draws, store, child_seed(case.seed, "shadows")),
        probed=None if probed is None else probed.only("votes"),  # the walks of all shadows would take too long
        twice=True,
        kept=keep,
        apart=apart,
    )
    # a target of ours is a row like any other
    own = [] if case.target is not None else [target_job(case, outside, probed)]
    early = [job for job in own if stored_early(case, job, store)]
    if case.target is not None:
        say("asking the target", None)
        meet(case.target, case, outside, probed, say)
        asked = ask(case.target, case, outside, probed)
    what = "training the target and shadow models" if own else "training shadow models"
    seen: list[Progress] = []

    def told(progress: Progress) -> None:
        progress = replace(progress, found=progress.found - len(early), done=progress.done + len(early))
        seen[:] = [progress]
        say(what, progress)

    shadows = pool.run(
        workers=workers.count,
        minimum=case.minimum,
        also=own,
        cluster=workers.cluster,
        deadline=workers.deadline,
        tell=told,
        early=early,
    )
    if own:
        row = store.get(own[0].key)
        if row is None:
            raise PoolError(f"the target's row is gone from {folder}; run the audit again")
        answers, n = row.arrays["outputs"], len(draws.audited)
        probes = {} if probed is None else probed.read(row.arrays, row.facts)
        spent = len(answers) + sum(each.queries for each in probes.values())
        asked = of_row(answers, row.facts, n, case, spent, probes)
    retrained: Retrained | None = None
    if retrain:
        say("training stored models again", None)
        crew: dict[str, Any] = {"workers": workers.count, "cluster": workers.cluster, "deadline": workers.deadline}
        retrained = pool.retrain(retrain, seed=case.seed, **crew)
    seconds["shadows"] = time.perf_counter() - clock
    clock = time.perf_counter()
    say("attacking", None)
    with one_thread():
        result = _conclude(case, asked, draws, outside, pool, shadows, seen[0], no_bystanders)
    seconds["attacks"] = time.perf_counter() - clock
    seconds["total"] = time.perf_counter() - began
    result = result.model_copy(
        update={
            "provenance": _provenance(
                case, draws, started, seconds, seen[0], retrained, [job.name for job in pool.stored]
            )
        }
    ).attach_records(result.records)
    if keep:
        result.save(folder)
    return result


def _check_documents(case: Case) -> None:
    """Refuse what the result could not be saved with, before anything is trained."""
    plain(
        {
            "title": case.title,
            "plan": case.plan,
            "recipe": [case.recipe.name, case.recipe.describe()],
            "target": None if case.target is None else case.target.description,
            "data": case.dataset.describe(),
            "warnings": case.warnings,
        },
        "the audit",
    )


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


def _conclude(
    case: Case,
    asked: Asked,
    draws: Draws,
    outside: NDArray[np.int64],
    pool: ShadowPool,
    shadows: dict[int, dict[str, Any]],
    progress: Progress,
    no_bystanders: str | None,
) -> Result:
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
    found = examine(
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
    ran = [planned[each.name].attack for each in found.attacks if each.status == "ran"]
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
        *unscored(found.attacks),
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
        verdict=found.verdict.sentence,
        verdict_kind=found.verdict.kind,
        **found.headline.fields(),
        warnings=warnings,
        threat_model=threat_model(
            *(case, asked.capability, 0 if asked.outside is None else len(outside)),
            unit=unit.name,
            traced=asked.trace is not None,
        ),
        not_tested=not_tested(ran, asked.capability),
        data=dataset.describe(),
        target=TargetResult(
            description=asked.description,
            source=case.source,
            **accuracies(correct, member, unit),  # type: ignore[arg-type]
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
        attacks=found.attacks,
        controls=found.controls,
        groups=found.groups,
        stability=found.stability,
        accusations=found.accusations,
        provenance={},
    ).attach_records(found.records)


def _provenance(
    case: Case,
    draws: Draws,
    started: str,
    seconds: dict[str, float],
    shadows: Progress,
    retrained: Retrained | None,
    stored: list[str],
) -> dict[str, Any]:
    source = {} if case.target is None else case.target.facts()
    return {
        "started": started,
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "versions": versions(),
        "platform": {**system(), "cores": os.cpu_count()},
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
