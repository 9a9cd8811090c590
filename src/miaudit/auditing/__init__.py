"""The audit: Case -> gather -> Measured -> conclude -> Result, whatever the case was made from.

The only room that knows all the others: data -> target -> shadows -> evidence -> attacks -> statistics -> result.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from miaudit.attacks.choice import chosen_attacks
from miaudit.auditing.asking import Tell, opened, quiet
from miaudit.auditing.case import Case
from miaudit.auditing.conclusion import conclude
from miaudit.auditing.cost import foresee, with_attacks
from miaudit.auditing.from_model import case_of_model, keywords_of_keys, refuse_keywords, signature
from miaudit.auditing.from_plan import case_of_plan, refuse_reading
from miaudit.auditing.gathering import gather
from miaudit.auditing.keywords import in_keywords
from miaudit.auditing.measured import Measured
from miaudit.auditing.progress import in_python
from miaudit.auditing.proposal import proposal
from miaudit.auditing.provenance import Clock
from miaudit.auditing.saved import saved_estimator
from miaudit.auditing.workers import Engine, Workers, taken
from miaudit.documents import whole
from miaudit.errors import PlanError, not_path, refuse, with_article
from miaudit.files import temporary_folder
from miaudit.plan import PLANS, EnginePlan, Plan, section_of
from miaudit.plan.permissions import Permissions
from miaudit.plan.sections import is_address
from miaudit.result import Result
from miaudit.result.forecast import Forecast
from miaudit.result.seal import seal
from miaudit.shadows.guard import no_exits
from miaudit.store import Store
from miaudit.targets.registry import downloads, model_file

__all__ = ["Case", "Engine", "Measured", "audit", "case_of_model", "case_of_plan", "conclude", "forecast", "gather"]


Side = tuple[Any, Any] | str | PathLike[str]
"""Records and their classes: a pair, or with the file of a model the path of a file."""


@no_exits()
def audit(
    subject: Any,
    /,
    *,
    members: Side | None = None,
    nonmembers: Side | None = None,
    population: Side | None = None,
    label: str | None = None,
    out: str | PathLike[str] | None = None,
    retrain: int = 0,
    data: str | PathLike[str] | None = None,
    tell: Tell | None = None,
    progress: bool | None = None,
    page: bool = True,
    **options: Any,
) -> Result:
    """Audit what a model gives away about its training records.

    Parameters
    ----------
    subject
        A trained model (an object with ``predict_proba``, a torch module, or a function from records to
        probabilities), or a `Plan`, or a dict or the path of a TOML file that holds one, or a `Case`; or the path of a saved
        scikit-learn model, with the paths of its files of records.
    members, nonmembers, population
        With a model: pairs ``(X, y)`` of records it was trained on, of records of the same kind it was not trained
        on, and of further records for the shadow models. Without a population the two sides serve: as many of each are
        audited as the smaller has, and what is left of the larger is the population (docs/plans.md). X may be an array, a
        scipy sparse matrix, or a pandas or polars frame: the form the model takes. Columns that a model was not fitted on are
        left out of frames, and may still be ``slices``.
    label
        With paths of files: the column with the class, or the number to predict; default: the one that model and files
        tell. Further keywords are then ``holdout``, ``shadows``, ``seed`` and ``title``; a plan takes all others.
    recipe
        How to train shadow models; default: clones of the model, if it is a scikit-learn estimator.
        None is needed for ``shadows=0``.
    shadows
        Number of shadow models.
    attacks
        Which attacks to run: names as `miaudit attacks` lists them, tables such as ``{"name": "lira", "variance":
        "pooled"}``, or attacks. Default: all that can be run. The loss threshold and the gap attack run beside any.
    design
        ``"disjoint"``: shadow models are trained on the population alone; ``"overlapping"``: each on a random half of
        the audited records, too, so that the online attacks can be run. Default: disjoint; overlapping without a population.
    outside
        How many records of the population the target is asked about beside the audited ones, for attacks that compare
        with them. Default: as many as members; 0: none. Each is a query.
    holdout
        Without a population: the share of the non-members that is set apart as one, where the audited records are not to serve.
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
    positive
        With a model that answers one number a record about two classes: the class it is of. Default: of the classes 0 and 1, or
        of ``classes_``, the second.
    groups
        With a model, where people have many records: arrays that name the person of each record of members, nonmembers and
        population; the last may be None.
    unit
        With a model: ``"person"`` or ``"record"``, what is counted and bounded; default: people where ``groups`` names them. A
        plan says it in ``data.unit``.
    features
        With a model: a function from records to (n, d) numbers. The model-free check and attacks that learn from records read
        these in place of the records, which say little by themselves where they are paths of images, or numbers that your own
        code looks up. A plan says it in ``data.features``.
    task
        With a model: ``"classification"`` or ``"regression"``; default: regression where scikit-learn says that the model or
        the recipe is a regressor. Then y are the numbers to predict, and the model answers them by ``predict``.
    residual
        Of a regression: what attacks read off its errors, see `miaudit.signals.Residual`.
    seed, title
        Root of all random draws; heading of the result.
    out
        Folder for ``result.json``, ``records.csv``, ``seal.json``, the page ``report.html`` and the rows of the shadow models,
        which are found again by the next audit there. Default: nothing is kept.
    data
        With a plan: the folder of the named data sets; default: the environment's MIAUDIT_DATA.
    retrain
        How many models whose rows were found in ``out`` to train again, drawn by the seed, and to compare: whoever can
        write to that folder could have put other rows there. A row that does not come out again is an error.
    tell
        Called while the audit goes on, in place of what ``progress`` says.
    progress
        Whether to show on stderr how far it is; default: on a terminal and in a notebook.
    page
        Whether ``out`` gets the page, too.
    ids
        With a model: what to call the records in ``result.records``, an array for each side; default: the index of frames.
    slices
        With a model: in which groups of records to measure the leak: names of their columns, or a dict of names to arrays,
        one for each side, such as ``{"site": (of_members, of_nonmembers, of_population)}``.
    jobs, address, device, dtype, time_limit
        How the work is done, as of `Engine`.
    allow_code, allow_pickle, env, trusted
        With a plan: consent, as of `miaudit.plan.permissions.Permissions`.
    train, test, minimum, threshold, delta
        With a model: as in the sections ``[shadows]`` and ``[figures]`` of a plan.

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
    if whole(retrain, "retrain", least=0) and out is None:
        raise PlanError(f"retrain={retrain} compares rows that lie in a folder: give out= that folder")
    sides = {"members": members, "nonmembers": nonmembers, "population": population, "label": label}
    keep = out is not None
    with ExitStack() as stack:
        tell = tell or stack.enter_context(in_python(progress)) or quiet
        work = stack.enter_context(_begun(subject, sides, options, out=out, data=data, tell=tell))
        case, store, workers, clock = work
        tell = tell if tell is quiet else with_attacks(case, tell, workers.here)
        measured = gather(case, store, workers, clock=clock, tell=tell, kept=keep, retrain=retrain)
        tell("attacking", None)
        result = conclude(measured, tell)
        if keep:
            result.save(store.folder)
    if keep:
        seal(store.folder)  # when the target has closed its files
        if page:
            result.report(store.folder)
    return result


@no_exits()
def forecast(
    subject: Any,
    /,
    *,
    members: Side | None = None,
    nonmembers: Side | None = None,
    population: Side | None = None,
    label: str | None = None,
    out: str | PathLike[str] | None = None,
    data: str | PathLike[str] | None = None,
    tell: Tell | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Forecast:
    """Say what an audit will cost, and the smallest leak that it would show, before it is run.

    One model is trained, of a network only an epoch; with ``out`` its row is kept there, and the audit goes on from it. The
    attacks are tried on guesses in place of answers. The target is not asked.

    Parameters
    ----------
    subject, members, nonmembers, population, label, out, data, tell, progress, options
        As of `audit`.

    Returns
    -------
    Forecast
        Queries, money, seconds, memory, disk, and the smallest leak; printed, it is a few lines.

    Raises
    ------
    MiauditError
        As of `audit`; and where records for the shadow models are yet to be made from the target's answers.

    Examples
    --------
    >>> print(miaudit.forecast(model, members=(X1, y1), nonmembers=(X2, y2)))  # doctest: +SKIP
    """
    sides = {"members": members, "nonmembers": nonmembers, "population": population, "label": label}
    with ExitStack() as stack:
        tell = tell or stack.enter_context(in_python(progress)) or quiet
        work = stack.enter_context(_begun(subject, sides, options, out=out, data=data, tell=tell, dry=True))
        case, store, workers, clock = work
        return foresee(case, store, workers, clock=clock, tell=tell, ours=isinstance(subject, PLANS))


@contextmanager
def _begun(
    subject: Any,
    sides: dict[str, Any],
    options: dict[str, Any],
    *,
    out: str | PathLike[str] | None,
    data: str | PathLike[str] | None,
    tell: Tell,
    dry: bool = False,
) -> Iterator[tuple[Case, Store, Workers, Clock]]:
    """Yield what an audit works on: a case whose target is open, where rows lie, and what trains."""
    clock = Clock()
    refuse(not_path(("out", out)))
    refuse_keywords(options, audit.__signature__.parameters)  # type: ignore[attr-defined]
    (engine, permissions), inputs = taken(options, Engine, Permissions)
    tell("loading", None)
    inputs |= {name: value for name, value in sides.items() if value is not None}
    ours = isinstance(subject, PLANS)  # who gave an object closes it
    with ExitStack() as stack:
        stack.enter_context(downloads())
        if not ours and not isinstance(subject, Case):
            stack.enter_context(in_keywords(keywords_of_keys()))
        case = _case(subject, inputs, data_folder=data, permissions=permissions, engine=engine)
        workers, recipe = engine.start(case.engine, case.recipe, began=clock.monotonic)
        case = replace(case, recipe=recipe)
        folder = stack.enter_context(temporary_folder("miaudit-")) if out is None else Path(out)
        if not dry:
            stack.enter_context(opened(case, folder if out is not None else None, workers.deadline, tell, ours=ours))
        elif ours:  # answers that are kept there are counted, and none is asked for
            place = folder if (folder / "target").is_dir() else None
            stack.enter_context(opened(case, place, workers.deadline, tell, ours=ours))
        clock.seconds["load"] = time.perf_counter() - clock.began
        yield case, Store(folder), workers, clock


def _case(subject: Any, inputs: dict[str, Any], **reading: Any) -> Case:
    """Return the case that a call names; ``inputs`` are what only a model needs beside it, ``reading`` how a plan is read."""
    if isinstance(subject, str | PathLike) and isinstance(inputs.get("members"), str | PathLike):
        return case_of_plan(Plan.of(_proposed(subject, inputs, reading["permissions"])), **reading)
    if "label" in inputs:
        raise PlanError(
            "label names a column of files; of Python objects the classes are y, and a plan names data.label"
        )
    if _names_model(subject) and "members" in inputs:
        subject = saved_estimator(
            model_file(fspath(subject)).path, reading["permissions"]
        )  # with pairs of records at hand
    elif not isinstance(subject, PLANS):
        refuse_reading(reading["data_folder"], reading["permissions"])
    if not isinstance(subject, (Case, *PLANS)):
        sides = [inputs.pop(name, None) for name in ("members", "nonmembers", "population")]
        recipe = inputs.get("recipe")
        reading["engine"].load_early(section_of(EnginePlan, {}), subject if recipe is None else recipe)
        return case_of_model(subject, *sides, **inputs)
    inputs = {name: value for name, value in inputs.items() if value is not None}
    if {"outputs", "columns"} & {*inputs}:
        raise PlanError("a plan says itself what its target answers: give target.outputs and target.columns in it")
    if "members" in inputs and isinstance(subject, Mapping) and not {*subject} & {*Plan.model_fields}:
        raise PlanError(
            f"the target is {with_article(type(subject).__name__)}, and no trained model: give the model in it, and load "
            "weights, such as a state_dict, into their module first"
        )
    if inputs:
        read = f"{fspath(subject)!r} is read as a plan, which" if isinstance(subject, str | PathLike) else "a plan"
        what = "a case" if isinstance(subject, Case) else read
        raise PlanError(
            f"{what} says itself what to audit and where its records come from: leave out {', '.join(inputs)}"
        )
    return subject if isinstance(subject, Case) else case_of_plan(subject, **reading)


def _names_model(subject: Any) -> bool:
    """Whether a subject is the path or the address of a model, and not of a plan."""
    if not isinstance(subject, str | PathLike):
        return False
    return is_address(fspath(subject)) or Path(subject).suffix not in ("", ".toml")


def _proposed(model: str | PathLike[str], inputs: dict[str, Any], permissions: Permissions) -> dict[str, Any]:
    """Return the content of the plan for the file of a model and its files of records."""
    top = {name: inputs.pop(name) for name in ("seed", "title") if name in inputs}
    if inputs.get("attacks") is not None:
        attacks = chosen_attacks(inputs["attacks"])
        inputs["attacks"] = [{"name": each.name, **each.options} for each in attacks]
    keys = ("members", "nonmembers", "population", "label", "holdout", "shadows", "attacks")
    files = {name: inputs.pop(name) for name in keys if name in inputs}
    advice = (
        [] if isinstance(files.get("nonmembers"), str | PathLike) else ["give nonmembers as the path of a file, too"]
    )
    advice += [f"leave out {', '.join(inputs)}, which a plan can say (docs/plans.md)"] if inputs else []
    if advice:
        raise PlanError(f"{model} and members are paths of files here: {', and '.join(advice)}")
    return proposal(model, **files, permissions=permissions) | top


def _signature(function: Callable[..., Any], of: Any) -> inspect.Signature:
    """Return a function's signature with the options that others declare: how it is shown, and completed."""
    own = [each for each in inspect.signature(function).parameters.values() if each.kind != each.VAR_KEYWORD]
    others = (signature(), inspect.signature(Engine), inspect.signature(Permissions))
    further = {each.name: each.replace(kind=each.KEYWORD_ONLY) for of in others for each in of.parameters.values()}
    options = [each for name, each in further.items() if name not in {"model", *(each.name for each in own)}]
    return inspect.Signature([*own, *options], return_annotation=of)


audit.__signature__ = _signature(audit, Result)  # type: ignore[attr-defined]
forecast.__signature__ = _signature(forecast, Forecast)  # type: ignore[attr-defined]
