"""Shadow data without data: the records that a case asks for, made or found in the folder of the audit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.asking import Tell, opened, quiet
from miaudit.auditing.case import Case, TrainedTarget
from miaudit.auditing.from_plan import case_of_plan, refuse_reading
from miaudit.auditing.workers import Engine, taken
from miaudit.data import Dataset
from miaudit.data.records import form_of, take_records
from miaudit.errors import MiauditError, PlanError, TimeLimitError, counted, misfits, noun
from miaudit.files import read_npz, sha256_of, write_atomically
from miaudit.plan import PLANS, SynthesisPlan
from miaudit.plan.permissions import Permissions
from miaudit.seeds import child_seed
from miaudit.shadows.engine import Progress
from miaudit.shadows.pool import recipe_name
from miaudit.shadows.training import trained_alone
from miaudit.store import content_key
from miaudit.synthesis import (
    Climbing,
    Climbs,
    Domain,
    Marginals,
    Synthesis,
    asking,
    from_climbs,
    from_marginals,
    from_noise,
)
from miaudit.synthesis.synthesis import Method, npz_bytes
from miaudit.targets import Target, as_target
from miaudit.threads import one_thread

STATE = "synthesis-state.npz"
"""Climbs that were stopped, in the folder of the audit; gone when they are finished."""

SECONDS_BETWEEN_STATES = 30.0

PAPER_QUERIES = 156
"""For each record, in Shokri et al. 2017, section VI-D."""


def synthesize(
    subject: Any,
    folder: str | PathLike[str],
    *,
    method: Method | None = None,
    data: str | PathLike[str] | None = None,
    tell: Tell = quiet,
    **work: Any,
) -> Synthesis:
    """Make the records that a plan or a case asks for, or find them in the folder; they stay there.

    Parameters
    ----------
    subject
        A `Case`, a `Plan`, or a dict or the path of a TOML file that holds one; its ``[shadows]`` and ``[synthesis]`` say what
        to make.
    folder
        Gets ``synthesis.npz`` and ``synthesis.json``, and the state of climbs that are not finished.
    method
        In place of the one that ``shadows.data`` names.
    data, tell
        As of `miaudit.audit`.
    work
        How a target that the recipe is to train is trained here, as of `miaudit.auditing.Engine`; and with a plan consent, as
        of `miaudit.plan.permissions.Permissions`.

    Raises
    ------
    PlanError
        If options do not fit, or the method needs what there is not.
    TargetError, BudgetError
        If the target fails or its budget is spent; what was made is kept in the folder, and the next call goes on there.
    TimeLimitError
        If the time limit came first; all is kept likewise.
    """
    began = time.monotonic()
    (engine, permissions), unknown = taken(work, Engine, Permissions)
    idle = [*unknown, *(name for name in ("jobs", "address") if getattr(engine, name))]
    if idle:
        raise PlanError(f"synthesize trains one model, in this process; leave out {', '.join(idle)}")
    tell("loading", None)
    ours = isinstance(subject, PLANS)
    if not ours:
        refuse_reading(data, permissions)
    case = case_of_plan(subject, data_folder=data, permissions=permissions) if ours else subject
    here = case.engine.model_copy(update={"kind": "local", "address": None})
    workers, recipe = engine.start(here, case.recipe, began=began)
    folder, deadline = Path(folder), workers.deadline
    with opened(case, folder, deadline, tell, ours=ours):
        return make(replace(case, recipe=recipe), folder, method=method, deadline=deadline, tell=tell)[0]


def make(
    case: Case, folder: Path, *, method: Method | None = None, deadline: float | None = None, tell: Tell = quiet
) -> tuple[Synthesis, TrainedTarget | None]:
    """Make the records, until a deadline by `time.monotonic`; return the target, too, if it had to be trained for them."""
    way = method or case.shadows.data.removeprefix("synthetic:")
    if method is not None and (problems := misfits(("method", method, Method))):
        raise PlanError(problems)
    if way not in get_args(Method):
        raise PlanError(
            'shadows.data is "real", so there is nothing to make: set it to "synthetic:model-based", '
            '"synthetic:marginals" or "synthetic:noisy", or name a method'
        )
    options = case.synthesis
    domain, classes = Domain.of(case.dataset), case.dataset.classes
    key = _key(case, way, domain)
    earlier = Synthesis.load(folder, domain, classes)
    if earlier is not None and earlier.figures.key == key and _whole(earlier, options):
        return earlier, None
    seed = child_seed(case.seed, "synthesis")
    n = _count(case, options, way)
    model: TrainedTarget | None = None
    if way == "noisy":
        source = _population(case, "noisy copies are made of real records")
        records = from_noise(source, domain, n, rate=options.rate, noise=options.noise, seed=seed)
    elif way == "marginals":
        by_class = options.labels == "class-conditional"
        if options.marginals is not None:
            table = Marginals.load(options.marginals, domain, classes, by_class=by_class)
        else:
            source = _population(case, "there is no table in synthesis.marginals, so it is taken from real records")
            table = Marginals.of(source, domain, by_class=by_class)
        tell("drawing records from marginals", None)
        target, model = (None, None) if by_class else trained_target(case, tell)
        records = from_marginals(table, n, seed=seed, target=target)
    else:
        counts = np.full(len(classes), n // len(classes)) + (np.arange(len(classes)) < n % len(classes))
        return _climb(case, folder, domain, counts, key=key, seed=seed, deadline=deadline, tell=tell)
    return _kept(records, folder, key), model


def _climb(
    case: Case,
    folder: Path,
    domain: Domain,
    counts: NDArray[np.int64],
    *,
    key: str,
    seed: int,
    deadline: float | None,
    tell: Tell,
) -> tuple[Synthesis, TrainedTarget | None]:
    options, classes = case.synthesis, case.dataset.classes
    climbs = Climbs(domain, counts, _climbing(options), seed=seed, state=_state(folder, key))
    target, model = trained_target(case, tell)
    tell(
        f"making {counted(int(counts.sum()), 'record')} from the target's answers: {_foreseen(climbs, target, options)}",
        None,
    )
    began, saved = time.perf_counter(), [time.monotonic()]

    def keep() -> None:
        write_atomically(folder / STATE, npz_bytes({**climbs.state(), "of": np.array(key)}))
        saved[0] = time.monotonic()

    def look() -> None:
        records = int(climbs.made.sum())
        progress = Progress(int(counts.sum()), 0, records, 0, 0, time.perf_counter() - began, of="records")
        tell("making records from the target's answers", progress)
        if time.monotonic() - saved[0] > SECONDS_BETWEEN_STATES:
            keep()

    answers = _in_time(asking(target, domain), deadline)
    try:
        finished = climbs.run(answers, max_queries=options.max_queries, tell=look)
    except BaseException as error:
        keep()
        records = _kept(from_climbs(climbs, classes), folder, key, stopped=f"{type(error).__name__}: {error}")
        if isinstance(error, MiauditError):
            error.args = (
                f"{error}. {_so_far(climbs, len(records.y))} are kept in {folder}; the same command goes on from there",
            )
        raise
    stopped = None
    if finished:
        (folder / STATE).unlink(missing_ok=True)
    else:
        keep()
        stopped = f"synthesis.max_queries = {options.max_queries} were spent"
    tell("records made", None)
    return _kept(from_climbs(climbs, classes), folder, key, stopped=stopped, max_queries=options.max_queries), model


def _in_time(answers: Callable[[Any], Any], deadline: float | None) -> Callable[[Any], Any]:
    def answer(records: Any) -> Any:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeLimitError("the time limit came before all records were made")
        return answers(records)

    return answer


def _so_far(climbs: Climbs, records: int) -> str:
    total = int(climbs.wanted.sum())
    rate = f" (at this rate all would take about {climbs.queries * total / records:,.0f})" if records else ""
    return (
        f"{records:,} of {counted(total, 'record')} {noun(records, 'was', 'were')} made with "
        f"{counted(climbs.queries, 'query', 'queries')}{rate} and"
    )


def _foreseen(climbs: Climbs, target: Target, options: SynthesisPlan) -> str:
    """Say what climbing will cost: as much as in the paper, and at most."""
    most = min(climbs.most_queries, options.max_queries or climbs.most_queries)
    usual = min(PAPER_QUERIES * int(climbs.wanted.sum()), most)
    sentence = f"about {usual:,} queries if they take as many as in the paper, {most:,} at most"
    facts = target.facts()
    if (price := facts.get("price_per_1000")) is not None:
        sentence += f", cost {usual * price / 1000:,.2f} and {most * price / 1000:,.2f}"
    if (budget := facts.get("budget")) is not None:
        sentence += f"; the budget has {max(0, budget - facts['spent_over_all_runs']):,} left"
    return sentence


def _climbing(options: SynthesisPlan) -> Climbing:
    try:
        return Climbing(**{name: getattr(options, name) for name in Climbing.__dataclass_fields__})
    except PlanError as error:
        raise PlanError([(f"synthesis.{name}", text) for name, text in error.problems]) from error


def _kept(records: Synthesis, folder: Path, key: str, **figures: Any) -> Synthesis:
    records = replace(records, figures=records.figures.model_copy(update={"key": key, **figures}))
    records.save(folder)
    return records


def _state(folder: Path, key: str) -> dict[str, NDArray[Any]] | None:
    try:
        state = read_npz(folder / STATE)
        return state if str(state["of"]) == key else None
    except (OSError, ValueError, KeyError):
        return None


def _whole(earlier: Synthesis, options: SynthesisPlan) -> bool:
    """Whether nothing is left to do: finished, or stopped by the same number of queries."""
    figures = earlier.figures
    same = "max_queries" in figures.model_fields_set and figures.max_queries == options.max_queries
    return figures.stopped is None or same


def _key(case: Case, method: str, domain: Domain) -> str:
    """Name what decides the records: changed input never finds stale ones."""
    options = case.synthesis.model_dump(exclude={"width", "max_queries"})
    table = None
    if options["marginals"] is not None:
        path = Path(options["marginals"])
        table = sha256_of(path) if path.is_file() else None
    return content_key(
        {
            "synthesis": 2,
            "method": method,
            "options": {**options, "marginals": table},
            "seed": case.seed,
            "records": _count(case, case.synthesis, method),
            "data": case.dataset.hash,
            "split": case.split.sha256,
            "whole": domain.whole.tolist(),
            **recipe_name(case.recipe).parts,
            "target": [case.source, case.target.description if case.target else None, case.hashes],
        }
    )


def _count(case: Case, options: SynthesisPlan, method: str) -> int:
    if options.records is not None:
        return options.records
    return len(case.split.population) if method == "noisy" else 3 * (case.shadows.train or len(case.split.members))


def _population(case: Case, why: str) -> Dataset:
    if not len(case.split.population) or case.split.population_from is not None:
        raise PlanError(f"the population is empty, and {why}; give data.population, or another method")
    return case.dataset.take(case.split.population)


def trained_target(case: Case, tell: Tell) -> tuple[Target, TrainedTarget | None]:
    """Return the model under audit; one that the recipe is to train is trained here, as its row will be, and returned, too."""
    if case.target is not None:
        return case.target, None
    tell("training the target", None)
    members, began = case.split.training, time.perf_counter()
    X, y = take_records(case.dataset.X, members), case.dataset.y[members]
    classes = len(case.dataset.classes)
    with one_thread():
        model = trained_alone(case.recipe, X, y, classes=classes, seed=child_seed(case.seed, "target"))
    target = TrainedTarget(model, time.perf_counter() - began, form_of(case.dataset.X))
    return as_target(model, classes=classes, description=case.recipe.name), target
