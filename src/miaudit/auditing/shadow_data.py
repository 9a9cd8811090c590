"""Shadow data without data: from a case whose population is to be synthetic to one that has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.case import Case, TrainedTarget, shadow_sizes
from miaudit.data import Copies, Dataset, leave_out_copies
from miaudit.data.records import stack_records, take_records
from miaudit.errors import MiauditError, PlanError, PoolError, TimeLimitError
from miaudit.files import read_npz, write_atomically
from miaudit.plan import SynthesisPlan
from miaudit.seeds import child_seed
from miaudit.shadows.engine import Progress
from miaudit.shadows.pool import form_of, recipe_name
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
from miaudit.targets.files import file_sha256
from miaudit.threads import one_thread

Tell = Callable[[str, Progress | None], None]

STATE = "synthesis-state.npz"
"""Climbs that were stopped, in the folder of the audit; gone when they are finished."""

SECONDS_BETWEEN_STATES = 30.0

PAPER_QUERIES = 156
"""For each record, in Shokri et al. 2017, section VI-D."""


def synthesize(
    case: Case,
    folder: Path,
    *,
    method: Method | None = None,
    deadline: float | None = None,
    say: Tell = lambda text, progress: None,
) -> Synthesis:
    """Make the records that a case asks for, or find them in the folder; they stay there.

    Parameters
    ----------
    case
        Its ``shadow_data`` and ``synthesis_options`` say what to make.
    folder
        Gets ``synthesis.npz`` and ``synthesis.json``, and the state of climbs that are not finished.
    method
        In place of the one that ``case.shadow_data`` names.
    deadline
        By `time.monotonic`.
    say
        Told how far it is.

    Raises
    ------
    PlanError
        If options do not fit, or the method needs what there is not.
    TargetError, BudgetError
        If the target fails or its budget is spent; what was made is kept in the folder, and the next call goes on there.
    TimeLimitError
        If the deadline came first; all is kept likewise.
    """
    chosen = method or case.shadow_data.removeprefix("synthetic:")
    if chosen not in get_args(Method):
        raise PlanError(
            'shadows.data is "real", so there is nothing to make: set it to "synthetic:model-based", '
            '"synthetic:marginals" or "synthetic:noisy", or name a method'
        )
    options = case.synthesis_options
    domain, classes = Domain.of(case.dataset), case.dataset.classes
    key = _key(case, chosen, domain)
    found = Synthesis.load(folder, domain, classes)
    if found is not None and found.figures.get("key") == key and _whole(found, options):
        return found
    seed = child_seed(case.seed, "synthesis")
    n = _count(case, options, chosen)
    if chosen == "noisy":
        source = _population(case, "noisy copies are made of real records")
        made = from_noise(source, domain, n, rate=options.rate, noise=options.noise, seed=seed)
    elif chosen == "marginals":
        by_class = options.labels == "class-conditional"
        if options.marginals is not None:
            table = Marginals.load(options.marginals, domain, classes, by_class=by_class)
        else:
            source = _population(case, "there is no table in synthesis.marginals, so it is taken from real records")
            table = Marginals.of(source, domain, by_class=by_class)
        say("drawing records from marginals", None)
        made = from_marginals(table, n, seed=seed, target=None if by_class else target_of(case))
    else:
        wanted = np.full(len(classes), n // len(classes)) + (np.arange(len(classes)) < n % len(classes))
        return _climb(case, folder, domain, wanted, key=key, seed=seed, deadline=deadline, say=say)
    return _kept(made, folder, key)


def on_synthetic(
    case: Case, folder: Path, *, deadline: float | None = None, say: Tell = lambda text, progress: None
) -> Case:
    """Return the case with synthetic records as its population; members and non-members stay the real ones.

    Raises
    ------
    PoolError
        If no record could be made.
    MiauditError
        As `synthesize` does.
    """
    made = synthesize(case, folder, deadline=deadline, say=say)
    n, new = len(case.dataset), len(made.y)
    if not new:
        raise PoolError(
            "no record could be made in any class, so there is nothing to train shadow models on; lower "
            "synthesis.conf_min, raise synthesis.iter_max or max_queries, or use another kind of shadow data"
        )
    dataset = _joined(case.dataset, made.dataset())
    duplicates = {pair: count for pair, count in case.split.duplicates.items() if "population" not in pair}
    split = replace(case.split, population=np.arange(n, n + new), duplicates=duplicates)
    copies = case.split.copies or Copies()
    if made.figures["method"] == "model-based":  # no record of the population had a part in it
        of_audited = {"members/nonmembers": copies.same.get("members/nonmembers", 0)}
        split = replace(split, copies=replace(copies, same=of_audited, left_out={**copies.left_out, "population": 0}))
    elif made.figures["method"] == "noisy":  # noise may leave a record as it was, or make it another
        split = leave_out_copies(dataset, split, need=2, seed=child_seed(case.seed, "copies"))
        split = replace(split, copies=_both(copies, split.copies or Copies()))
    asked = case.plan["shadows"]
    sizes = (asked["train"], asked["test"], case.design)
    train, test, warnings = shadow_sizes(split, *sizes)
    before = shadow_sizes(case.split, *sizes)[2]
    return replace(
        case,
        dataset=dataset,
        split=split,
        train=train,
        test=test,
        slices={name: np.concatenate([of, np.full(new, "synthetic")]) for name, of in case.slices.items()},
        outside=case.outside or 0,  # synthetic records are no sample to compare with, unless somebody wants it
        synthesis=made.figures,
        warnings=[*(text for text in case.warnings if text not in before), *warnings, *_warnings(made)],
    )


def _both(real: Copies, made: Copies) -> Copies:
    """Return what was found among the real records, and then among those made of them."""
    lost = {side: real.left_out.get(side, 0) + count for side, count in made.left_out.items()} or real.left_out
    pairs = {*real.same, *made.same}

    def added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
        return {pair: one.get(pair, 0) + (other.get(pair, 0) if "population" in pair else 0) for pair in pairs}

    return Copies(added(real.same, made.same), added(real.labelled, made.labelled), lost, real.alike or made.alike)


def _climb(
    case: Case,
    folder: Path,
    domain: Domain,
    wanted: NDArray[np.int64],
    *,
    key: str,
    seed: int,
    deadline: float | None,
    say: Tell,
) -> Synthesis:
    options, classes = case.synthesis_options, case.dataset.classes
    climbs = Climbs(domain, wanted, _climbing(options), seed=seed, state=_state(folder, key))
    target = target_of(case, say)
    say(f"making {wanted.sum():,} records from the target's answers: {_foreseen(climbs, target, options)}", None)
    began, saved = time.perf_counter(), [time.monotonic()]

    def keep() -> None:
        write_atomically(folder / STATE, npz_bytes({**climbs.state(), "of": np.array(key)}))
        saved[0] = time.monotonic()

    def told() -> None:
        done = int(climbs.made.sum())
        progress = Progress(int(wanted.sum()), 0, done, 0, 0, time.perf_counter() - began)
        say("making records from the target's answers", progress)
        if time.monotonic() - saved[0] > SECONDS_BETWEEN_STATES:
            keep()

    answers = asking(target, domain)

    def in_time(records: Any) -> Any:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeLimitError("the time limit came before all records were made")
        return answers(records)

    try:
        finished = climbs.run(in_time, max_queries=options.max_queries, tell=told)
    except BaseException as error:
        keep()
        made = _kept(from_climbs(climbs, classes), folder, key, stopped=f"{type(error).__name__}: {error}")
        if isinstance(error, MiauditError):
            all_in_all = ""
            if len(made.y):
                whole = climbs.queries * int(wanted.sum()) / len(made.y)
                all_in_all = f" (at this rate all would take about {whole:,.0f})"
            error.args = (
                f"{error}. {len(made.y)} of {wanted.sum()} records were made with {climbs.queries} queries{all_in_all} and "
                f"are kept in {folder}; the same command goes on from there",
            )
        raise
    stopped = None
    if finished:
        (folder / STATE).unlink(missing_ok=True)
    else:
        keep()
        stopped = f"synthesis.max_queries = {options.max_queries} were spent"
    say("records made", None)
    return _kept(from_climbs(climbs, classes), folder, key, stopped=stopped, max_queries=options.max_queries)


def _foreseen(climbs: Climbs, target: Target, options: SynthesisPlan) -> str:
    """Say what climbing will cost: as much as in the paper, and at most."""
    most = min(climbs.most_queries, options.max_queries or climbs.most_queries)
    usual = min(PAPER_QUERIES * int(climbs.wanted.sum()), most)
    told = f"about {usual:,} queries if they take as many as in the paper, {most:,} at most"
    facts = target.facts()
    if (price := facts.get("price_per_1000")) is not None:
        told += f", cost {usual * price / 1000:,.2f} and {most * price / 1000:,.2f}"
    if (budget := facts.get("budget")) is not None:
        told += f"; the budget has {max(0, budget - facts['spent_over_all_runs']):,} left"
    return told


def _climbing(options: SynthesisPlan) -> Climbing:
    try:
        return Climbing(**{name: getattr(options, name) for name in Climbing.__dataclass_fields__})
    except PlanError as error:
        raise PlanError([(f"synthesis.{name}", text) for name, text in error.problems]) from error


def _kept(made: Synthesis, folder: Path, key: str, **figures: Any) -> Synthesis:
    made = replace(made, figures={**made.figures, "key": key, **figures})
    made.save(folder)
    return made


def _state(folder: Path, key: str) -> dict[str, NDArray[Any]] | None:
    try:
        state = read_npz(folder / STATE)
        return state if str(state["of"]) == key else None
    except (OSError, ValueError, KeyError):
        return None


def _whole(found: Synthesis, options: SynthesisPlan) -> bool:
    """Whether nothing is left to do: finished, or stopped by the same number of queries."""
    figures = found.figures
    return figures["stopped"] is None or ("max_queries" in figures and figures["max_queries"] == options.max_queries)


def _key(case: Case, method: str, domain: Domain) -> str:
    """Name what decides the records: changed input never finds stale ones."""
    options = case.synthesis_options.model_dump(exclude={"width", "max_queries"})
    table = None
    if options["marginals"] is not None:
        path = Path(options["marginals"])
        table = file_sha256(path) if path.is_file() else None
    return content_key(
        {
            "synthesis": 2,
            "method": method,
            "options": {**options, "marginals": table},
            "seed": case.seed,
            "records": _count(case, case.synthesis_options, method),
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
    return (
        len(case.split.population)
        if method == "noisy"
        else 3 * (case.plan["shadows"]["train"] or len(case.split.members))
    )


def _population(case: Case, why: str) -> Dataset:
    if not len(case.split.population):
        raise PlanError(f"the population is empty, and {why}; give data.population, or another method")
    return case.dataset.take(case.split.population)


def target_of(case: Case, say: Tell = lambda text, progress: None) -> Target:
    """Return the model under audit; one that a recipe is to train is trained here, as its row will be."""
    if case.target is not None:
        return case.target
    if not case.trained:
        say("training the target", None)
        members, began = case.split.members, time.perf_counter()
        X, y = take_records(case.dataset.X, members), case.dataset.y[members]
        with one_thread():
            model = trained_alone(
                case.recipe, X, y, classes=len(case.dataset.classes), seed=child_seed(case.seed, "target")
            )
        case.trained.append(TrainedTarget(model, time.perf_counter() - began, form_of(case.dataset.X)))
    model = case.trained[0].model
    return as_target(model, classes=len(case.dataset.classes), description=case.recipe.name)


def _joined(real: Dataset, made: Dataset) -> Dataset:
    new = len(made)
    ids = groups = None
    if real.ids is not None:
        ids = np.concatenate([real.ids.astype(object), np.array([f"synthetic {i}" for i in range(new)], dtype=object)])
    if real.groups is not None:  # every synthetic record is a group of its own
        names = np.array([f"synthetic {i}" for i in range(new)], dtype=object)
        groups = np.concatenate([real.groups.astype(str).astype(object), names])
    return replace(
        real,
        X=stack_records([real.X, made.X]),
        y=np.concatenate([real.y, made.y]),
        ids=ids,
        groups=groups,
        _hashes={},
    )


def _warnings(made: Synthesis) -> list[str]:
    figures, found = made.figures, []
    if figures["stopped"] is not None:
        found.append(
            f"Synthesis was stopped ({figures['stopped']}): {figures['records']} of {figures['wanted']} records were made."
        )
    for classes, what in (
        (figures["classes_failed"], "no record"),
        (figures.get("classes_short", []), "too few records"),
    ):
        if classes:
            named = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
            found.append(
                f"Synthesis made {what} for {len(classes)} of {len(made.classes)} classes ({named}): the attack knows little "
                "about them, and their leak may be understated."
            )
    return found
