"""The audit: from a plan, or a trained model and three sets of records, to a Result.

The only room that knows all the others: data -> target -> shadows -> evidence -> attacks -> statistics -> result.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit import __version__
from miaudit.attacks import Gap, Threshold
from miaudit.case import Case, case_of_model, case_of_plan
from miaudit.data.records import take_records
from miaudit.errors import PlanError, PoolError
from miaudit.evidence import Evidence
from miaudit.files import write_atomically
from miaudit.findings import Operating, Trial, blind_control, examine
from miaudit.plan import EnginePlan, Plan
from miaudit.result import Result, ShadowsResult, SplitResult, TargetResult
from miaudit.seeds import child_seed
from miaudit.shadows.design import Draws, draw_disjoint
from miaudit.shadows.engine import Job, Progress, one_thread, peak_memory
from miaudit.shadows.pool import RowKeys, ShadowPool
from miaudit.store import Store
from miaudit.targets import Target
from miaudit.targets.target import Kind

Tell = Callable[[str, Progress | None], None]
"""Called with what is being done, and how far the shadow models are."""


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
    seed: int = 0,
    jobs: int | None = None,
    address: str | None = None,
    time_limit: float | None = None,
    out: str | Path | None = None,
    title: str = "Membership inference audit",
    data: str | Path | None = None,
    allow_pickle: bool = False,
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
    seed
        Root of all random draws.
    jobs
        Processes that train; default: one per core; 0 trains in this process.
    address
        Of a Dask scheduler, whose workers train instead.
    time_limit
        Seconds after which the audit stops with an error, keeping in ``out`` what was trained.
    out
        Folder for ``result.json``, ``records.csv`` and the rows of the shadow models, which are found again by the
        next audit there. Default: nothing is kept.
    data
        With a plan: the folder of the named data sets; default: the environment's MIAUDIT_DATA.
    allow_pickle
        With a plan: consent to read a pickled model file.
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
    if time_limit is not None and not time_limit > 0:
        raise PlanError(f"time_limit must be a number of seconds above 0, got {time_limit}")
    deadline = None if time_limit is None else time.monotonic() + time_limit
    say = tell or (lambda text, progress: None)
    sides = (members, nonmembers, population)
    say("loading", None)
    if isinstance(subject, Plan | Mapping | str | Path):
        if any(side is not None for side in sides) or recipe is not None:
            raise PlanError(
                "a plan says itself where its records come from: leave out members, nonmembers, population, recipe"
            )
        plan = subject if isinstance(subject, Plan) else _plan(subject)
        engine = _engine(plan.engine, jobs, address, deadline)
        case = case_of_plan(plan, data_folder=data, allow_pickle=allow_pickle)
    else:
        missing = [
            name for name, side in zip(("members", "nonmembers", "population"), sides, strict=True) if side is None
        ]
        if missing:
            raise PlanError(f"to audit a model, give {', '.join(missing)} too: pairs (X, y) of records and classes")
        engine = _engine(EnginePlan(), jobs, address, deadline)  # type: ignore[call-arg]
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
        )
    if out is not None:
        return _carry_out(case, Path(out), engine, say, began, keep=True)
    with tempfile.TemporaryDirectory(prefix="miaudit-") as folder:
        return _carry_out(case, Path(folder), engine, say, began, keep=False)


def _plan(subject: Mapping[str, Any] | str | Path) -> Plan:
    return Plan.of(subject) if isinstance(subject, Mapping) else Plan.load(subject)


def _engine(plan: EnginePlan, jobs: int | None, address: str | None, deadline: float | None) -> _Engine:
    """Return how the work is done: what the call asks for, or else the plan."""
    if jobs is not None and address is not None:
        raise PlanError(f"jobs={jobs} trains on this machine and address={address!r} on a cluster: give one of them")
    if address is None and jobs is None and plan.kind == "dask":
        address = plan.address
        if address is None:
            raise PlanError([("engine.address", "missing: the address of the Dask scheduler, here or by --address")])
    if address is None:
        return _Engine(_workers(jobs if jobs is not None else plan.jobs), deadline)
    from miaudit.shadows.dask import cluster_size

    return _Engine(cluster_size(address), deadline, address)


def _workers(jobs: int | None) -> int:
    if jobs is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs < 0:
        raise PlanError(f"jobs must be 0 (train in this process) or more, got {jobs}")
    return jobs


@dataclass(frozen=True)
class _Engine:
    """How the work is done."""

    workers: int
    deadline: float | None  # by time.monotonic
    cluster: str | None = None  # address of a Dask scheduler


@dataclass(frozen=True)
class _Asked:
    """The target's answers to the audited records."""

    outputs: NDArray[np.floating[Any]]  # (n, classes)
    queries: int
    description: str
    kind: Kind = "probabilities"


def _carry_out(case: Case, folder: Path, engine: _Engine, say: Tell, began: float, *, keep: bool) -> Result:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    store = Store(folder)
    store.sweep()
    seconds: dict[str, float] = {"load": time.perf_counter() - began}
    draws = _draws(case)
    if keep:
        _save_draws(case, draws, store)
    clock = time.perf_counter()
    audited = _audited(case)
    pool = ShadowPool(case.dataset, case.recipe, draws, store, child_seed(case.seed, "shadows"))
    own = [] if case.target is not None else [_target_job(case)]  # a target of ours is a row like any other
    if case.target is not None:
        say("asking the target", None)
        asked = _ask(case.target, case)
    what = "training the target and shadow models" if own else "training shadow models"
    seen: list[Progress] = []

    def told(progress: Progress) -> None:
        seen[:] = [progress]
        say(what, progress)

    shadows = pool.run(
        workers=engine.workers,
        minimum=case.minimum,
        also=own,
        cluster=engine.cluster,
        deadline=engine.deadline,
        tell=told,
    )
    if own:
        row = store.get(own[0].key)
        if row is None:
            raise PoolError(f"the target's row is gone from {folder}; run the audit again")
        asked = _Asked(row.arrays["outputs"], len(audited), case.recipe.name)
    seconds["shadows"] = time.perf_counter() - clock
    clock = time.perf_counter()
    say("attacking", None)
    evidence = pool.evidence(shadows, asked.outputs, audited)
    with one_thread():
        result = _conclude(case, evidence, asked, draws, pool, shadows)
    seconds["attacks"] = time.perf_counter() - clock
    seconds["total"] = time.perf_counter() - began
    result = result.model_copy(
        update={"provenance": _provenance(case, draws, started, seconds, engine.workers, seen[0])}
    ).attach_records(result.records)
    if keep:
        result.save(folder)
    return result


def _audited(case: Case) -> NDArray[np.int64]:
    return np.concatenate([case.split.members, case.split.nonmembers])


def _draws(case: Case) -> Draws:
    return draw_disjoint(
        case.split.population,
        shadows=case.shadows,
        train=case.train,
        test=case.test,
        seed=child_seed(case.seed, "draws"),
        groups=case.dataset.groups if case.split.group_name is not None else None,
    )


def _save_draws(case: Case, draws: Draws, store: Store) -> None:
    from safetensors.numpy import save

    arrays = {
        "members": case.split.members,
        "nonmembers": case.split.nonmembers,
        "population": case.split.population,
        "shadow_train": draws.train,
        "shadow_test": draws.test,
    }
    content = save({name: np.ascontiguousarray(array, dtype=np.int64) for name, array in arrays.items()})
    write_atomically(store.folder / "draws.safetensors", content)


def _target_job(case: Case) -> Job:
    audited, seed = _audited(case), child_seed(case.seed, "target")
    key = RowKeys(case.dataset, case.recipe).key(case.split.members, audited, seed)
    return Job(key, "target", case.split.members, audited, seed)


def _ask(target: Target, case: Case) -> _Asked:
    before = target.queries
    with one_thread():
        answer = target.query(take_records(case.dataset.X, _audited(case)))
    outputs = answer.probabilities.astype(np.float32)
    return _Asked(outputs, target.queries - before, target.description, answer.kind)


def _conclude(
    case: Case,
    evidence: Evidence,
    asked: _Asked,
    draws: Draws,
    pool: ShadowPool,
    shadows: dict[int, dict[str, Any]],
) -> Result:
    dataset, split = case.dataset, case.split
    audited = _audited(case)
    member = np.arange(len(audited)) < len(split.members)  # (n,)
    labels = dataset.y[audited]
    correct = evidence.target.argmax(axis=1) == labels
    train_accuracy, test_accuracy = float(correct[member].mean()), float(correct[~member].mean())
    blind = blind_control(dataset.schema.encode(take_records(dataset.X, audited)), labels, member, seed=case.seed)
    found = examine(
        [Trial(attack, evidence, attack.name) for attack in (case.attack, Threshold(), Gap())],
        member,
        labels,
        dataset.classes,
        seed=case.seed,
        blind=blind,
        ids=audited if dataset.ids is None else dataset.ids[audited],
        slices={name: of[audited] for name, of in case.slices.items()},
        operating=Operating(case.threshold, case.delta),
    )
    shadow_train = float(np.mean([facts["train_accuracy"] for facts in shadows.values()]))
    shadow_test = float(np.mean([facts["test_accuracy"] for facts in shadows.values()]))
    warnings = [*case.warnings, *_mismatches(case, train_accuracy, test_accuracy, shadow_train, shadow_test)]
    if pool.failures:
        warnings.append(
            f"{len(pool.failures)} of {case.shadows} shadow models could not be trained; see shadows.failures."
        )
    return Result(
        title=case.title,
        verdict=found.verdict,
        warnings=warnings,
        threat_model=_threat_model(case),
        not_tested=_NOT_TESTED,
        data={"name": dataset.name, "records": len(dataset), **dataset.schema.describe()},
        target=TargetResult(
            description=asked.description,
            source=case.source,
            train_accuracy=train_accuracy,
            test_accuracy=test_accuracy,
            classes=len(dataset.classes),
            outputs=asked.kind,
            queries=asked.queries,
        ),
        split=SplitResult(
            members=len(split.members),
            nonmembers=len(split.nonmembers),
            population=len(split.population),
            shadows=len(shadows),
            shadow_train=case.train,
            shadow_test=case.test,
            evaluated_per_side=min(len(split.members), len(split.nonmembers)),
            grouped_by=split.group_name,
            duplicates=dict(split.duplicates),
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
        ),
        attacks=found.attacks,
        controls=found.controls,
        groups=found.groups,
        stability=found.stability,
        provenance={},
    ).attach_records(found.records)


def _mismatches(case: Case, train: float, test: float, shadow_train: float, shadow_test: float) -> list[str]:
    """Return what can be seen of a target and shadows that were not trained alike, and of records on two sides."""
    found = []
    for what, ours, theirs in (("training", train, shadow_train), ("test", test, shadow_test)):
        if abs(ours - theirs) > 0.1:
            found.append(
                f"The target's {what} accuracy is {ours:.3f}, the shadow models' is {theirs:.3f}: they do not seem to be "
                "trained alike (recipe, size or records differ), which weakens the attack and may understate the leak."
            )
    if case.target is not None and train + 0.02 < test:
        found.append(
            f"The target does better on the non-members ({test:.3f}) than on the members ({train:.3f}): check that the "
            "members are the records it was trained on."
        )
    for pair, count in case.split.duplicates.items():
        if count and pair != "dropped":
            found.append(
                f"{count} records are identical across {pair}; a copy on the other side blurs what membership means. "
                'split.duplicates = "drop" keeps one of each.'
            )
    return found


def _threat_model(case: Case) -> list[str]:
    knows = (
        "the same training recipe as the target's" if case.target is None else "a recipe believed to be the target's"
    )
    return [
        "Question: was this record, whose true class is known, among the records the target was trained on?",
        "Access: the target's prediction interface only; one query per record, answered with a probability per class.",
        f"Knowledge of the training: {knows}.",
        f"Knowledge of the data: {len(case.split.population):,} records of the same population, disjoint from the "
        "target's members and non-members.",
        "Membership is equally likely before the attack: members and non-members are evaluated in equal numbers.",
    ]


_NOT_TESTED = [
    "Attacks that compare a record with models trained with and without it (LiRA, RMIA), which find more at low "
    "false-positive rates.",
    "Attackers who see only labels, a few classes or rounded probabilities, and those who see weights or gradients.",
    "Attackers who may change the training data, and records made to be worst cases (canaries).",
    "Other leaks: attribute inference, reconstruction, property inference, and what all members of the population share.",
    "Other training runs: the figures are of this one target; their intervals cover the choice of records, not the seed.",
]


def _provenance(
    case: Case, draws: Draws, started: str, seconds: dict[str, float], workers: int, shadows: Progress
) -> dict[str, Any]:
    packages = ("numpy", "scipy", "scikit-learn", "pydantic", "safetensors", "torch")
    versions = {"miaudit": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "started": started,
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "versions": versions,
        "platform": {"system": platform.platform(), "machine": platform.machine(), "cores": os.cpu_count()},
        "jobs": workers,
        "shadow_cost": {
            "trained_now": shadows.done,
            "from_store": shadows.found,
            "estimated": None if shadows.estimate is None else asdict(shadows.estimate),
            "actual_seconds": round(shadows.seconds, 2),
            "peak_bytes_of_this_process": peak_memory(),
        },
        "seeds": {"root": case.seed, "target": child_seed(case.seed, "target")},
        "hashes": {"data": case.dataset.hash, "split": case.split.sha256, "draws": draws.sha256, **case.hashes},
        "recipe": case.recipe.describe(),
        "plan": case.plan,
    }
