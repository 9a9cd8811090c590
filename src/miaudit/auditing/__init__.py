"""The audit: from a plan, or a trained model and three sets of records, to a Result.

The only room that knows all the others: data -> target -> shadows -> evidence -> attacks -> statistics -> result.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from miaudit.attacks import Attack
from miaudit.auditing.asking import Tell
from miaudit.auditing.case import Case, case_of_model, case_of_plan
from miaudit.auditing.conclusion import conclude
from miaudit.auditing.gathering import gather
from miaudit.auditing.provenance import Clock
from miaudit.auditing.workers import Workers, workers_of
from miaudit.documents import whole
from miaudit.errors import PlanError
from miaudit.evidence.answers import Type
from miaudit.findings import UnitName
from miaudit.permissions import Permissions
from miaudit.plan import EnginePlan, Plan
from miaudit.recipes import Task
from miaudit.result import Result
from miaudit.shadows.design import Design
from miaudit.shadows.guard import no_exits
from miaudit.signals import ResidualForm
from miaudit.store import Store


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
    task: Task | None = None,
    residual: ResidualForm = "absolute",
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
    task
        With a model: ``"classification"`` or ``"regression"``; default: regression where scikit-learn says that the model or
        the recipe is a regressor. Then y are the numbers to predict, and the model answers them by ``predict``.
    residual
        Of a regression: what attacks read off its errors, see `miaudit.signals.Residual`.
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
    clock = Clock()
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
            task=task,
            residual=residual,
        )
    workers, recipe = workers.take(case.recipe, dtype)
    case = replace(case, recipe=recipe)
    with ExitStack() as stack:
        if case.target is not None and plan is not None:  # who gave an object closes it
            stack.callback(case.target.close)
        if out is not None:
            return _carry_out(case, Path(out), workers, say, clock, keep=True, retrain=retrain)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="miaudit-"))
        return _carry_out(case, Path(folder), workers, say, clock, keep=False)


def _is_positive(value: Any) -> bool:
    return not isinstance(value, bool | str) and hasattr(value, "__float__") and float(value) > 0


def _plan(subject: Mapping[str, Any] | str | PathLike[str]) -> Plan:
    return Plan.of(subject) if isinstance(subject, Mapping) else Plan.load(subject)


def _carry_out(
    case: Case, folder: Path, workers: Workers, say: Tell, clock: Clock, *, keep: bool, retrain: int = 0
) -> Result:
    clock.seconds["load"] = time.perf_counter() - clock.began
    measured = gather(case, Store(folder), workers, clock=clock, tell=say, kept=keep, retrain=retrain)
    say("attacking", None)
    result = conclude(measured)
    if keep:
        result.save(folder)
    return result
