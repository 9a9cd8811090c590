"""The audit: from a plan, or a trained model and three sets of records, to a Result.

The only room that knows all the others: data -> target -> shadows -> evidence -> attacks -> statistics -> result.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.answers import Decision, Type, capability_of, count_decimals, decide, shown_decimals
from miaudit.attacks import RMIA, Attack, LabelOnly, Planned, attack_name, plan_attacks, with_floors
from miaudit.case import Case, case_of_model, case_of_plan
from miaudit.data import Copies, Dataset, features, same_records
from miaudit.data.records import is_sparse, take_records
from miaudit.documents import plain, whole
from miaudit.errors import PlanError, PoolError
from miaudit.evidence import Capability, Evidence, Population, Probes
from miaudit.files import write_atomically
from miaudit.findings import Operating, Trial, UnitName, blind_control, examine, skipped, unit_of
from miaudit.permissions import Permissions
from miaudit.plan import EnginePlan, Plan
from miaudit.probes import Probed
from miaudit.provenance import system, versions
from miaudit.recipes import device_name
from miaudit.recipes.randomness import seeded_generators
from miaudit.result import Result, ShadowsResult, SplitResult, TargetResult
from miaudit.scope import mismatches, not_tested, oddities, threat_model, unscored
from miaudit.seeds import child_seed
from miaudit.shadow_data import on_synthetic
from miaudit.shadows.design import Design, Draws, draw_disjoint, draw_outside, draw_overlapping, overlapping_sizes
from miaudit.shadows.engine import Progress
from miaudit.shadows.guard import no_exits
from miaudit.shadows.pool import Retrained, RowKeys, ShadowEvidence, ShadowPool, form_of, training_oddities
from miaudit.shadows.training import Job, Trained, one_thread, peak_memory, stored_alone
from miaudit.store import Store
from miaudit.targets import Endpoint, Target
from miaudit.targets.seen import answered_classes, reduce_alike
from miaudit.workers import Workers, workers_of

_MOST_CATEGORIES = 1000  # with a column each

Tell = Callable[[str, Progress | None], None]
"""Called with what is being done, and how far the shadow models are."""


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
    out: str | Path | None = None,
    title: str = "Membership inference audit",
    data: str | Path | None = None,
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
    if isinstance(subject, Plan | Mapping | str | Path):
        if any(given is not None for given in (*sides, recipe, groups, unit)):
            model = isinstance(subject, str | Path) and Path(subject).suffix not in ("", ".toml")
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
            outputs=outputs,
            columns=columns,
            groups=groups,
            unit=unit,
        )
    workers, recipe = workers.take(case.recipe, dtype)
    case = replace(case, recipe=recipe)
    with ExitStack() as stack:
        if isinstance(case.target, Endpoint) and case.target is not subject:
            stack.callback(case.target.close)
        if out is not None:
            return _carry_out(case, Path(out), workers, say, began, keep=True, retrain=retrain)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="miaudit-"))
        return _carry_out(case, Path(folder), workers, say, began, keep=False)


def _is_positive(value: Any) -> bool:
    return not isinstance(value, bool | str) and hasattr(value, "__float__") and float(value) > 0


def _plan(subject: Mapping[str, Any] | str | Path) -> Plan:
    return Plan.of(subject) if isinstance(subject, Mapping) else Plan.load(subject)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What the target answered: about the audited records, and about others."""

    outputs: NDArray[Any]  # (n, classes) probabilities, or (n,) labels
    outside: NDArray[Any] | None  # (p, classes)
    description: str
    queries: int
    probes: dict[str, Probes]  # by the question of the attacks that read them
    type: Type = "probabilities"
    reason: str | None = None
    capability: Capability = "probabilities"
    decimals: int | None = None
    contact: dict[str, Any] | None = None
    remarks: tuple[str, ...] = ()


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
    if isinstance(case.target, Endpoint):
        case.target.tell, case.target.deadline = lambda text: say(text, None), workers.deadline
        if keep:
            case.target.keep_in(folder / "target")
    if case.shadow_data != "real":
        clock = time.perf_counter()
        case = on_synthetic(case, folder, deadline=workers.deadline, say=say)
        seconds["synthesis"] = time.perf_counter() - clock
    draws, outside = _draws(case)
    if keep:
        _save_draws(case, draws, outside, store)
    clock = time.perf_counter()
    probed = _probed(case, draws)
    pool = ShadowPool(
        *(case.dataset, case.recipe, draws, store, child_seed(case.seed, "shadows")),
        probed=None if probed is None else probed.only("votes"),  # the walks of all shadows would take too long
        twice=True,
        kept=keep,
    )
    # a target of ours is a row like any other
    own = [] if case.target is not None else [_target_job(case, outside, probed)]
    early = [job for job in own if _stored_early(case, job, store)]
    if case.target is not None:
        say("asking the target", None)
        _meet(case.target, case, outside, probed, say)
        asked = _ask(case.target, case, outside, probed)
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
        asked = _of_row(answers, row.facts, n, case, spent, probes)
    retrained: Retrained | None = None
    if retrain:
        say("training stored models again", None)
        crew: dict[str, Any] = {"workers": workers.count, "cluster": workers.cluster, "deadline": workers.deadline}
        retrained = pool.retrain(retrain, seed=case.seed, **crew)
    seconds["shadows"] = time.perf_counter() - clock
    clock = time.perf_counter()
    say("attacking", None)
    with one_thread():
        result = _conclude(case, asked, draws, outside, pool, shadows, seen[0])
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


def _draws(case: Case) -> tuple[Draws, NDArray[np.int64]]:
    """Return the shadows' draws, and the records outside the audit that the target is asked about."""
    audited = np.concatenate([case.split.members, case.split.nonmembers])
    population = case.split.population
    groups = case.dataset.groups if case.split.group_name is not None else None
    overlapping = case.design == "overlapping"
    if overlapping and groups is None and not (case.split.copies or Copies()).alike:
        groups = _twins(case.dataset, audited)
    sizes: dict[str, Any] = {"train": case.train, "test": case.test, "groups": groups}
    need = overlapping_sizes(audited, **sizes)[1] if overlapping else case.train + case.test
    most = case.outside
    if most is None:  # records that were made are no sample of what the target did not see
        most = len(case.split.members) if case.shadow_data == "real" else 0
    seed = child_seed(case.seed, "outside")
    fewer = any(
        isinstance(each, RMIA) and each.form != "base" for each in case.attacks or ()
    )  # shadows must answer them
    outside, apart = draw_outside(population, most=most, need=need, seed=seed, fewer=fewer, groups=groups)
    rest = population[~np.isin(population, outside)] if apart else population
    sizes |= {"shadows": case.shadows, "seed": child_seed(case.seed, "draws")}
    draws = draw_overlapping(audited, rest, **sizes) if overlapping else draw_disjoint(rest, **sizes)
    return replace(draws, audited=audited, aside=outside if apart else outside[:0]), outside


def _twins(dataset: Dataset, audited: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return (n,) numbers of the records, the same for audited ones that a model sees as the same; None without any.

    A shadow trained on one of them was trained on the other, so they must be on one side of it.
    """
    codes = same_records(take_records(dataset.X, audited))
    if len(np.unique(codes)) == len(codes):
        return None
    numbers = np.arange(len(dataset), dtype=np.int64) + len(codes)
    numbers[audited] = codes
    return numbers


def _save_draws(case: Case, draws: Draws, outside: NDArray[np.int64], store: Store) -> None:
    from safetensors.numpy import save

    arrays = {
        "members": case.split.members,
        "nonmembers": case.split.nonmembers,
        "population": case.split.population,
        "outside": outside,
        "shadow_train": draws.train,
        "shadow_test": draws.test,
    }
    content = save({name: np.ascontiguousarray(array, dtype=np.int64) for name, array in arrays.items()})
    write_atomically(store.folder / "draws.safetensors", content)


def _probed(case: Case, draws: Draws) -> Probed | None:
    """Return what models are asked many times a record, where an attack asked for wants it."""
    attacks = tuple(each for each in case.attacks or () if isinstance(each, LabelOnly))
    if not attacks:
        return None
    probed = Probed(draws.audited, attacks, child_seed(case.seed, "probes"))
    probed.check(case.dataset)
    return probed


def _target_job(case: Case, outside: NDArray[np.int64], probed: Probed | None) -> Job:
    asked = np.concatenate([case.split.members, case.split.nonmembers, outside])
    seed = child_seed(case.seed, "target")
    key = RowKeys(case.dataset, case.recipe).key(case.split.members, asked, seed, probed)
    return Job(key, "target", case.split.members, asked, seed, probed)


def _stored_early(case: Case, job: Job, store: Store) -> bool:
    """Store the row of a target that synthesis trained, so that it is not trained again; whether that was done."""
    trained = next(iter(case.trained), None)
    if trained is None or trained.form != form_of(case.dataset.X) or store.get(job.key) is not None:
        return False
    return isinstance(stored_alone(job, trained.model, trained.seconds, case.dataset, case.recipe, store), Trained)


def _meet(target: Target, case: Case, outside: NDArray[np.int64], probed: Probed | None, say: Tell) -> None:
    """Make first contact, with records that are not audited, and say what asking will take."""
    X, split = case.dataset.X, case.split
    others = split.population[~np.isin(split.population, outside)]
    probes = (others if len(others) >= target.probes else split.population)[: target.probes]
    before = len(target.contact)
    if not before:
        known = [probes, split.members, split.nonmembers, outside]  # of a run that goes on, what was answered before
        target.make_contact(take_records(X, np.concatenate(known)))
    if isinstance(target, Endpoint):
        asked = [split.members, split.nonmembers, *([] if target.kind == "labels" else [outside])]
        parts = itertools.chain(
            [take_records(X, np.concatenate(asked))], () if probed is None else probed.variants(case.dataset)
        )
        estimate = target.expect(parts, further=0 if probed is None else probed.steps)
        say(f"asking the target: {estimate}", None)
    if before or target.resumed:
        target.confirm(resumed=True)


def _of_row(
    answers: NDArray[Any], facts: Mapping[str, Any], n: int, case: Case, spent: int, probes: dict[str, Probes]
) -> _Asked:
    """Return what a target that was trained here answered, read as if it had been given."""
    known = facts.get("answers")
    decision = decide(answers, classes=len(case.dataset.classes)) if known is None else Decision(**known)
    decimals = shown_decimals(count_decimals(answers)) if decision.kind == "probabilities" else None
    labels = decision.kind == "labels"
    return _Asked(
        answers[:n].argmax(axis=1) if labels else answers[:n],
        answers[n:] if len(answers) > n and not labels else None,
        case.recipe.name,
        spent,
        probes,
        decision.type,
        decision.reason,
        capability_of(decision.kind, decimals),
        decimals,
    )


def _ask(target: Target, case: Case, outside: NDArray[np.int64], probed: Probed | None) -> _Asked:
    before, X, n = target.queries, case.dataset.X, len(case.split.members) + len(case.split.nonmembers)
    audited = [case.split.members, case.split.nonmembers]
    with one_thread(), seeded_generators(child_seed(case.seed, "asking the target")):
        together = target.kind not in (
            None,
            "labels",
        )  # of one that was never asked, the audited records tell what it answers
        asked = [*audited, outside] if together else audited
        answer = target.query(take_records(X, np.concatenate(asked)))
        outputs: NDArray[Any]
        further: NDArray[Any] | None = None
        if answer.kind == "labels":
            outputs = answer.labels[:n]  # labels of other records serve no attack
        else:
            values = answer.probabilities.astype(np.float32)
            outputs, further = values[:n], values[n:]
            if not together:
                further = target.query(take_records(X, outside)).probabilities.astype(np.float32)
            further = further if len(outside) else None
        probes = {} if probed is None else probed.ask(target, case.dataset)
        queries = target.queries - before
        target.confirm()
    return _Asked(
        outputs,
        further,
        target.description,
        queries + target.contact["queries"],
        probes,
        target.outputs or answer.kind,
        None if target.decision is None else target.decision.reason,
        target.capability,
        target.decimals,
        dict(target.contact),
        tuple(target.remarks),
    )


def _evidence(
    case: Case,
    asked: _Asked,
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
    hashed = features(X, schema, buckets=_MOST_CATEGORIES // 4).numbers
    return np.asarray(hashed.toarray() if is_sparse(hashed) else hashed)


def _planned(case: Case, asked: _Asked, evidence: ShadowEvidence) -> list[Planned]:
    """Return the attacks asked for, or all; the floors stand beside any. And which of them can be run."""
    wanted = with_floors(case.attacks, case.attack)
    population = evidence.own.population is not None
    return plan_attacks(
        asked.capability,
        shadows=len(evidence.own.models),
        design=case.design,
        population=population,
        features=population and evidence.own.features is not None,
        probes={each.kind for each in case.attacks or () if isinstance(each, LabelOnly)},
        answered=True,
        attacks=list({_name(each, case): each for each in wanted}.values()),
    )


def _name(attack: Attack, case: Case) -> str:
    return "shokri" if attack == case.attack else attack_name(attack)  # its options have a section of their own


def _read_by(
    attack: Attack, evidence: ShadowEvidence, asked: _Asked, pool: ShadowPool, shadows: Iterable[int]
) -> Evidence:
    """Return the evidence that an attack reads, with what came of its probes where it asks for any."""
    if not isinstance(attack, LabelOnly):
        return evidence.of(attack.needs)
    probes = asked.probes[attack.question]
    if evidence.direct is None:
        return evidence.own.replace(probes=probes)
    if attack.kind == "votes":
        probes = replace(probes, shadow_votes=pool.probes(shadows, attack.question))
    return evidence.direct.replace(probes=probes)


def _conclude(
    case: Case,
    asked: _Asked,
    draws: Draws,
    outside: NDArray[np.int64],
    pool: ShadowPool,
    shadows: dict[int, dict[str, Any]],
    progress: Progress,
) -> Result:
    dataset, split, audited = case.dataset, case.split, draws.audited
    copies = split.copies or Copies()
    member = np.arange(len(audited)) < len(split.members)  # (n,)
    labels = dataset.y[audited]
    evidence = _evidence(case, asked, draws, outside, pool, shadows)
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
    if pool.failures:
        warnings.append(
            f"{len(pool.failures)} of {case.shadows} shadow models could not be trained; see shadows.failures."
        )
    return Result(
        title=case.title,
        verdict=found.verdict.sentence,
        verdict_kind=found.verdict.kind,
        warnings=warnings,
        threat_model=threat_model(case, asked.capability, 0 if asked.outside is None else len(outside), unit=unit.name),
        not_tested=not_tested(ran, asked.capability),
        data=dataset.describe(),
        target=TargetResult(
            description=asked.description,
            source=case.source,
            train_accuracy=train_accuracy,
            test_accuracy=test_accuracy,
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
        **({"target": case.target.facts()} if isinstance(case.target, Endpoint) else {}),
    }
