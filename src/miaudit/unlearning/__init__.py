"""Deletion audits: was this record trained on and then deleted, as seen afterwards, and by who kept the earlier model.

DeletionCase -> gather -> DeletionMeasured -> conclude -> Result, each question of it an ordinary audit.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from miaudit.auditing import Engine, case_of_model, case_of_plan
from miaudit.auditing.asking import Tell, opened, quiet
from miaudit.auditing.case import Case
from miaudit.auditing.from_model import keywords_of_keys, model_classes
from miaudit.auditing.from_plan import refuse_reading
from miaudit.auditing.keywords import in_keywords
from miaudit.auditing.progress import in_python
from miaudit.auditing.provenance import Clock
from miaudit.auditing.workers import Workers, taken
from miaudit.documents import plain
from miaudit.errors import PlanError, counted, not_path, refuse, section
from miaudit.files import temporary_folder
from miaudit.plan import PLANS, UnlearningPlan, plan_of, section_of
from miaudit.plan.permissions import Permissions
from miaudit.result import Result
from miaudit.result.forecast import Forecast
from miaudit.result.seal import seal
from miaudit.shadows.guard import no_exits
from miaudit.store import Store
from miaudit.targets import Target, as_target
from miaudit.unlearning.case import DeletionCase, deletion_case
from miaudit.unlearning.conclusion import conclude
from miaudit.unlearning.cost import foresee
from miaudit.unlearning.gathering import gather
from miaudit.unlearning.measured import DeletionMeasured
from miaudit.unlearning.procedures import PROCEDURES, Procedure, chosen_procedure
from miaudit.unlearning.receipts import receipt
from miaudit.unlearning.rehearsal import rehearse
from miaudit.unlearning.stored import score

__all__ = [
    "PROCEDURES",
    "DeletionCase",
    "DeletionMeasured",
    "Procedure",
    "audit",
    "chosen_procedure",
    "conclude",
    "deletion_case",
    "forecast",
    "gather",
    "receipt",
    "score",
]

_OPTIONS = {*UnlearningPlan.model_fields} - {"forget", "procedure", "function", "before"}


@no_exits()
def audit(
    subject: Any,
    /,
    *,
    forget: ArrayLike | None = None,
    procedure: Any = None,
    before: Any = None,
    members: tuple[Any, Any] | None = None,
    nonmembers: tuple[Any, Any] | None = None,
    population: tuple[Any, Any] | None = None,
    out: str | PathLike[str] | None = None,
    data: str | PathLike[str] | None = None,
    page: bool = True,
    tell: Tell | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Result:
    """Audit whether records that a model was trained on can still be seen in it after they were deleted.

    Parameters
    ----------
    subject
        A `Plan` with a section ``[unlearning]``, or a dict or the path of a TOML file that holds one. Or the model after
        the deletion, as `miaudit.audit` takes one. Or a recipe or an unfitted estimator with ``trained_here=True``: it is
        trained on the members, and made to forget, here.
    forget
        With a model: positions among the members of the deleted records, or (n_members,) bools.
    procedure
        With a model: how records are deleted, for the shadow models as for the target: a name of `PROCEDURES`, a table of a
        name and options, a procedure, or a function ``forget(model, X, y, forget, seed) -> model``. Default: retraining.
    before
        With a model: the model before the deletion; without it nothing is said of whoever kept it.
    members, nonmembers, population
        With a model: pairs ``(X, y)`` of all records that it was trained on, the deleted ones among them; of records that it
        never saw; and of further ones for the shadow models.
    out
        Folder for ``result.json``, ``records.csv``, ``report.html`` and the rows of the models; a run that was cut short goes
        on there.
    data, page, tell, progress
        As of `miaudit.audit`.
    options
        ``kept``, ``oracles``, ``receipts`` and ``remove`` of a plan's section ``[unlearning]``; how the work is done, as of
        `miaudit.auditing.Engine`; consent, as of `miaudit.plan.permissions.Permissions`; and with a model all further
        keywords of `miaudit.audit`, such as ``recipe``, ``shadows``, ``seed`` and ``attacks``.

    Returns
    -------
    Result
        Of the model afterwards; ``result.deletion`` holds all questions.

    Raises
    ------
    MiauditError
        If the deleted records are none, all, or not among those trained on; if the procedure does not fit the models; as of
        `miaudit.audit`.
    """
    refuse(not_path(("out", out)))
    clock = Clock()
    inputs = {"forget": forget, "procedure": procedure, "before": before, "members": members, "nonmembers": nonmembers}
    durable, ours = out is not None, isinstance(subject, PLANS)
    with _in_its_words(subject), ExitStack() as stack:
        tell = tell or stack.enter_context(in_python(progress)) or quiet
        of, workers = _begun(subject, {**inputs, "population": population}, options, clock=clock, tell=tell, data=data)
        folder = stack.enter_context(temporary_folder("miaudit-")) if out is None else Path(out)
        places = ((of.before, "before"), (of.case.target, "after"))
        for target, name in places:
            where = folder / name if durable and target is not None else None
            stack.enter_context(opened(replace(of.case, target=target), where, workers.deadline, tell, ours=ours))
        clock.seconds["load"] = time.perf_counter() - clock.began
        measured = gather(of, Store(folder), workers, clock=clock, tell=tell, kept=durable)
        tell("attacking", None)
        result = conclude(measured, tell)
        if durable:
            result.save(folder)
    if durable:
        seal(folder)  # when the targets have closed their files
        if page:
            result.report(folder)
    return result


@no_exits()
def forecast(
    subject: Any,
    /,
    *,
    forget: ArrayLike | None = None,
    procedure: Any = None,
    before: Any = None,
    members: tuple[Any, Any] | None = None,
    nonmembers: tuple[Any, Any] | None = None,
    population: tuple[Any, Any] | None = None,
    out: str | PathLike[str] | None = None,
    data: str | PathLike[str] | None = None,
    tell: Tell | None = None,
    **options: Any,
) -> Forecast:
    """Say what a deletion audit will cost, and the smallest trace that it would show, before it is run.

    Two models are trained, and from one of them records are deleted; with ``out`` their rows are kept there, and the audit
    goes on from them. The attacks are tried on guesses in place of answers. No model at hand is asked.

    Parameters
    ----------
    subject, forget, procedure, before, members, nonmembers, population, out, data, tell, options
        As of `audit`.

    Returns
    -------
    Forecast
        As of `miaudit.forecast`.

    Raises
    ------
    MiauditError
        As of `audit`.
    """
    refuse(not_path(("out", out)))
    clock, tell = Clock(), tell or quiet
    inputs = {"forget": forget, "procedure": procedure, "before": before, "members": members, "nonmembers": nonmembers}
    with _in_its_words(subject), ExitStack() as stack:
        of, workers = _begun(subject, {**inputs, "population": population}, options, clock=clock, tell=tell, data=data)
        folder = stack.enter_context(temporary_folder("miaudit-")) if out is None else Path(out)
        clock.seconds["load"] = time.perf_counter() - clock.began
        return foresee(of, Store(folder), workers, clock=clock, tell=tell, ours=isinstance(subject, PLANS))


def _in_its_words(subject: Any) -> AbstractContextManager[None]:
    """Return what names keywords in errors of a call with a model, where they name keys of a plan."""
    if isinstance(subject, PLANS):
        return nullcontext()
    return in_keywords({**keywords_of_keys(), **{f"unlearning.{key}": key for key in UnlearningPlan.model_fields}})


def _begun(
    subject: Any,
    inputs: dict[str, Any],
    options: dict[str, Any],
    *,
    clock: Clock,
    tell: Tell,
    data: str | PathLike[str] | None,
) -> tuple[DeletionCase, Workers]:
    """Return the case of a call, whose procedure was tried on a few records, and what trains."""
    (engine, permissions), further = taken(options, Engine, Permissions)
    own = {key: further.pop(key) for key in _OPTIONS & {*further}}
    tell("loading", None)
    if isinstance(subject, PLANS):
        if idle := [name for name, value in {**inputs, **own, **further}.items() if value is not None]:
            raise PlanError(f"a plan says itself what was deleted, and how: leave out {', '.join(idle)}")
        of = case_of_deletion_plan(subject, data_folder=data, permissions=permissions, engine=engine)
    else:
        refuse_reading(data, permissions)
        sides = (inputs["members"], inputs["nonmembers"], inputs["population"])
        deletion = {name: inputs[name] for name in ("forget", "procedure")}
        of = _case_of_model(subject, inputs["before"], sides, **deletion, own=own, inputs=further)
    workers, recipe = engine.start(of.case.engine, of.case.recipe, began=clock.monotonic)
    of = replace(of, case=replace(of.case, recipe=recipe))
    rehearse(of)
    return of, workers


def case_of_deletion_plan(
    subject: Any,
    *,
    data_folder: str | PathLike[str] | None = None,
    permissions: Permissions | None = None,
    engine: Engine | None = None,
) -> DeletionCase:
    """Return the deletion audit that a plan describes; parameters and errors are those of `miaudit.auditing.case_of_plan`."""
    plan = plan_of(subject)
    options = plan.unlearning
    if not options.asked:
        raise PlanError(
            [("unlearning", "says no deletion: give unlearning.forget, how many members were deleted or a file of their record "
              "numbers, or unlearning.remove, a class; or audit memberships with miaudit run")]
        )  # fmt: skip
    if "design" in plan.shadows.model_fields_set and plan.shadows.design == "disjoint":
        raise PlanError(
            [("shadows.design", "is disjoint, and shadow models of a deletion audit are trained on half of the audited "
              "records: leave it out")]
        )  # fmt: skip
    if options.before is not None and plan.target.file is None:
        raise PlanError(
            [("unlearning.before", "is the model before the deletion; name the one afterwards in target.file")]
        )
    if plan.target.url is not None or plan.target.plugin is not None:
        raise PlanError([("target", "a deletion audit takes target.file, or trains the target itself")])
    permissions = permissions or Permissions()
    permissions.check(plan)
    shadows = plan.shadows.model_copy(update={"design": "overlapping"})
    alike = plan.model_copy(update={"shadows": shadows, "unlearning": section_of(UnlearningPlan, {})})
    case = case_of_plan(alike, data_folder=data_folder, permissions=permissions, engine=engine)
    before = None
    if options.before is not None:
        earlier = plan.target.model_copy(update={"file": options.before})
        before = case_of_plan(
            alike.model_copy(update={"target": earlier}), data_folder=data_folder, permissions=permissions
        ).target
    return deletion_case(case, options, before=before)


def _case_of_model(
    subject: Any,
    before: Any,
    sides: tuple[Any, Any, Any],
    *,
    forget: ArrayLike | None,
    procedure: Any,
    own: dict[str, Any],
    inputs: dict[str, Any],
) -> DeletionCase:
    here = inputs.pop("trained_here", False)
    if here:
        if before is not None:
            raise PlanError([("before", "is trained here, too: leave it out with trained_here=True")])
        inputs = {"recipe": subject, **inputs}
    design = inputs.pop("design", "overlapping")
    if design != "overlapping":
        raise PlanError([("design", f"must be left out of a deletion audit; got {design!r}")])
    if "columns" not in inputs and not here and (classes := _classes_of_both(subject, before)) is not None:
        inputs["columns"] = classes
    case: Case = case_of_model(_nothing if here else subject, *sides, design="overlapping", **inputs)
    if here:
        case = replace(case, target=None)
    options = section_of(UnlearningPlan, plain(own, "options"))
    earlier: Target | None = None
    if before is not None:
        names = case.dataset.classes
        with section("before"):
            earlier = as_target(before, classes=len(names), names=names, coded=not case.dataset.alphabetical)
    numbers = None if forget is None else _numbers(forget, len(sides[0][1]))
    return deletion_case(
        case, options, forget=numbers, procedure="retrain" if procedure is None else procedure, before=earlier
    )


def _classes_of_both(after: Any, before: Any) -> list[Any] | None:
    """Return the classes of the model before, where the model afterwards knows only some, as after the removal of one."""
    ours, theirs = (model_classes(model) if hasattr(model, "classes_") else None for model in (after, before))
    if ours is None or theirs is None or not set(map(str, ours)) < set(map(str, theirs)):
        return None
    return list(theirs)


def _numbers(forget: ArrayLike, members: int) -> Any:
    """Return the deleted records' numbers in the data set, in which the members come first."""
    numbers = np.asarray(forget)
    if numbers.dtype == bool:
        if numbers.shape != (members,):
            raise PlanError(
                [
                    (
                        "forget",
                        f"as bools must have one for each of the {counted(members, 'member')}; got shape {numbers.shape}",
                    )
                ]
            )
        return np.flatnonzero(numbers)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise PlanError(
            [
                (
                    "forget",
                    f"must be (k,) whole numbers, positions among the members; got {numbers.dtype} {numbers.shape}",
                )
            ]
        )
    outside = numbers[(numbers < 0) | (numbers >= members)]
    if len(outside):
        raise PlanError(
            [("forget", f"{len(outside):,} of {len(numbers):,} positions are not among the {counted(members, 'member')}, "
              f"such as {outside[0]}: what was never trained on cannot be deleted")]
        )  # fmt: skip
    if len(np.unique(numbers)) < len(numbers):
        raise PlanError([("forget", "names records twice; list each once")])
    return numbers.astype(np.int64)


def _nothing(X: Any) -> Any:
    raise PlanError("the target is trained here and was asked before it was")
