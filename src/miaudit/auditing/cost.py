"""What an audit will cost and can show, before it is run: one model trained, attacks tried on guesses, nothing asked.

The attacks are tried on the real records and on answers of models that guess, for a few small numbers of records, and the
seconds extrapolated: what they take hardly depends on what models answer. It follows the number of records in a line, which
flattens where attacks learn from a part of the rows (`curve_through`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.asking import Tell, probed_by, target_job
from miaudit.auditing.attack_seconds import planned_processes, seconds_of_attacks
from miaudit.auditing.case import Case
from miaudit.auditing.conclusion import conclude
from miaudit.auditing.drawing import bystanders_of, draws_of
from miaudit.auditing.gathering import gather, pool_of
from miaudit.auditing.provenance import Clock
from miaudit.auditing.synthetic import on_synthetic
from miaudit.auditing.workers import Workers
from miaudit.data.records import n_records, take_records
from miaudit.errors import MiauditError, PlanError, counted
from miaudit.evidence.answers import softmax
from miaudit.files import temporary_folder
from miaudit.findings import unit_of
from miaudit.findings.claims import power
from miaudit.probes import Probed
from miaudit.recipes import Recipe, is_staged
from miaudit.result import Result
from miaudit.result.forecast import Forecast, Queries
from miaudit.result.forecast import clock as shown_time
from miaudit.seeds import child_seed, generator
from miaudit.shadows.engine import Cost, Progress, cost_of
from miaudit.shadows.training import WORK, Job, peak_memory
from miaudit.store import Store
from miaudit.targets.kept import record_keys
from miaudit.targets.ledger import Estimate, Ledger

_PILOTS = (100, 600)
"""Records a side of two trials of the attacks."""

_FURTHER = 2400
"""Records a side of a third, where there are more than twice as many."""

_LONG = 120.0
"""Seconds of training from which a run tries the attacks to say what it will take in all; below, a formula says it."""

_TRIALS = (100, 300)
"""Records a side of the trials within a run."""

_ROUNDING = 1e-9
"""Of a product that would be whole."""

_BUSY = 1.5
"""Seconds for each of the processor from which a forecast says that others use it."""


def foresee(case: Case, store: Store, workers: Workers, *, clock: Clock, tell: Tell, ours: bool) -> Forecast:
    """Return what `gather` and `conclude` will take of this case, and the smallest leak they would show.

    One model is trained (of a network only an epoch), and its row is kept. The target is not asked.

    Parameters
    ----------
    case, store, workers, clock, tell
        As of `gather`.
    ours
        Whether the target was made for this case, so that it may take note of what will be asked.

    Raises
    ------
    PlanError
        If the shadow models' records are to be made from the target's answers.
    PoolError
        If the first model cannot be trained.
    """
    case = _with_population(case, store)
    draws, outside = draws_of(case)
    probed = probed_by(case, draws)
    pool = pool_of(case, draws, store, probed, bystanders_of(case)[0], durable=True)
    own = [] if case.target is not None else [target_job(case, outside, probed)]
    jobs = [*own, *pool.plan, *pool.bystander_plan]
    keys = store.keys()
    missing = [job for job in jobs if job.key not in keys]
    tell("training one model", None)
    cost = cost_of(missing, case.dataset, case.recipe, store, **workers.options) if missing else Cost(0, 0.0, 0, 0)
    tell("trying the attacks on guesses", None)
    pilots = _pilots(case)
    last = pilots[-1]
    n = min(len(case.split.members), len(case.split.nonmembers))
    seconds = {"load": clock.seconds["load"]}
    notes = list(_notes(case))
    if cost is None:
        notes.append("What training takes is not known: it is another machine's, and none of it was tried.")
    else:
        seconds["shadows"] = cost.seconds
    queries = None if case.target is None else queries_of(case, outside, probed, ours=ours)
    if queries is not None and queries.seconds is not None:
        seconds["target"] = queries.seconds
    disk = line_through([(each.records, float(each.written)) for each in pilots], n)
    disk += sum(4 * len(job.asked) * case.dataset.width for job in jobs)
    states = of_states(store, jobs, recipe=case.recipe)
    if states is None:
        notes.append(STATES_UNKNOWN)
    slow = slowness([(each.seconds, each.work) for each in pilots])
    seconds["attacks"] = _of_pilots(pilots, n, planned_processes(case, workers.here)) * slow
    notes += of_others(slow, sum(seconds.values()))
    ran = [attack for attack in last.result.attacks if attack.status == "ran"]
    count = len(ran) + len([attack for attack in case.attacks or () if attack.questions])
    sizes = _sizes(case)
    return Forecast(
        title=case.title,
        unit=last.result.split.unit,
        members=sizes[0],
        nonmembers=sizes[1],
        models=len(missing),
        stored=len(jobs) - len(missing),
        queries=queries,
        seconds={stage: round(spent, 1) for stage, spent in seconds.items()},
        peak_bytes=None if cost is None else cost.peak_bytes + peak_memory(),
        disk_bytes=round(disk) + (states or 0),
        attacks=count,
        power=_power(case, last.result, count),
        notes=notes,
    )


def of_states(store: Store, jobs: Sequence[Job], *, recipe: Recipe) -> int | None:
    """Return the bytes that states of these trainings will take, by those of the models that are stored; None without any.

    A deletion writes as large a part of the states again as of the record-epochs; who trains afresh writes none.
    """
    if not is_staged(recipe):
        return 0
    rows = store.facts(job.key for job in jobs)
    works = [facts[WORK] for facts in rows.values() if WORK in facts]
    share = float(np.mean([spent / max(whole, 1) for spent, whole in works])) if works else 0.0
    weights = {job.key: 0.0 if job.afresh else 1.0 + share * (job.forget is not None) for job in jobs}
    stored = sum(weights[key] for key in rows)
    if not stored:
        return None
    written = sum(file.stat().st_size for file in store.states.rglob("*") if file.is_file())
    return round(written * sum(weights.values()) / stored)


STATES_UNKNOWN = "States of its parts are kept in states/ beside: how large they are, the first trained model tells."


def _with_population(case: Case, store: Store) -> Case:
    """Return the case with the records its shadow models are trained on, where making them asks nobody."""
    asks = case.shadows.data == "synthetic:model-based" or (
        case.shadows.data == "synthetic:marginals" and case.synthesis.labels == "target"
    )
    if asks:
        raise PlanError(
            "shadow models are trained on records made from the target's answers, and what that takes only making them "
            "tells: make them first (miaudit synthesize), and give them as data.population"
        )
    return case if case.shadows.data == "real" else on_synthetic(case, store.folder)


def _notes(case: Case) -> list[str]:
    target = case.target
    if target is None:
        return []
    where = "a server" if target.source == "given url" else "a model"
    return [f"The target was not asked: what {where} takes to answer is not in the time."]


def queries_of(case: Case, outside: NDArray[np.int64], probed: Probed | None, *, ours: bool) -> Queries:
    """Return what the target will be asked: the records, those of first contact twice and again, and variants."""
    target, X = case.target, case.dataset.X
    assert target is not None
    records = np.concatenate([case.split.members, case.split.nonmembers])
    if target.kind != "labels":
        records = np.concatenate([records, outside])
    parts = [take_records(X, records), *([] if probed is None else probed.variants(case.dataset))]
    further, limits = 0 if probed is None else probed.steps, getattr(target, "limits", None)
    contact = 3 * target.probes + 1  # twice at first contact, one alone, and again at the end
    estimate: Estimate | None = target.expect(iter(parts), further=further) if ours else None
    if estimate is None and limits is not None:
        estimate = Ledger(None, limits).estimate([key for part in parts for key in record_keys(part)], further=further)
    if estimate is None:
        return Queries(to_send=sum(map(n_records, parts)) + contact, further=further)
    price, rate = (getattr(limits, name, None) for name in ("price", "rate"))
    to_send = estimate.to_ask + contact
    return Queries(
        to_send=to_send,
        further=further,
        cached=estimate.cached,
        cost=None if price is None else (to_send + further) * price / 1000,
        seconds=None if rate is None else to_send / rate,
        affordable=estimate.affordable,
    )


@dataclass(frozen=True)
class Pilot:
    """What came of the attacks on so many records, a side or deleted: seconds, those of the processor, and the bytes written.

    ``shared`` is the part of ``work`` in which attacks and controls ran, which processes share.
    """

    records: int
    seconds: float
    work: float
    shared: float
    written: int
    result: Result


def with_attacks(case: Case, tell: Tell, processes: int) -> Tell:
    """Return what tells how far a run is, and from the estimate of the training on what the attacks will take, too.

    A formula says it. Where training takes long, they are tried on guesses, in this program and while workers train: a few
    seconds. ``processes`` may run attacks in the end.
    """
    seconds: list[float] = []

    def with_seconds(text: str, progress: Progress | None) -> None:
        if progress is not None and (progress.estimate is not None or progress.of == "attacks"):
            if not seconds:
                long = progress.estimate is not None and progress.estimate.seconds >= _LONG
                seconds.append((_tried_seconds if long else seconds_of_attacks)(case, processes))
            progress = replace(progress, attacks=seconds[0])
        tell(text, progress)

    return with_seconds


def _tried_seconds(case: Case, processes: int) -> float:
    """Return what attacks, controls and report will take, by trials; by the formula where the records are yet to be made."""
    if case.shadows.data != "real":
        return seconds_of_attacks(case, processes)
    try:
        pilots = _pilots(case, _TRIALS)
    except MiauditError:
        return seconds_of_attacks(case, processes)
    n = min(len(case.split.members), len(case.split.nonmembers))
    slow = slowness([(each.seconds, each.work) for each in pilots])
    return _of_pilots(pilots, n, planned_processes(case, processes)) * slow


def _of_pilots(pilots: Sequence[Pilot], n: int, processes: int) -> float:
    """Return the seconds on n records a side, of which so many processes share those of attacks and controls evenly."""
    shared = min(1.0, pilots[-1].shared / pilots[-1].work)
    return curve_through([(each.records, each.work) for each in pilots], n) * (1 - shared + shared / processes)


def _pilots(case: Case, records: Sequence[int] = ()) -> list[Pilot]:
    """Try the attacks on guesses about some of the records; the first time is thrown away, for libraries are loaded in it."""
    n = min(len(case.split.members), len(case.split.nonmembers))
    records = records or (*_PILOTS, *([_FURTHER] if n > 2 * _FURTHER else []))
    sizes = sorted({min(n, size) for size in records})
    return [_pilot(case, size / n, size) for size in (sizes[0], *sizes)][1:]


def _pilot(case: Case, share: float, size: int) -> Pilot:
    rng = generator(child_seed(case.seed, "pilot"), "records")
    sides: dict[str, Any] = {
        name: np.sort(rng.permutation(side)[: max(1, math.ceil(share * len(side) - _ROUNDING))]) if len(side) else side
        for name, side in ((name, getattr(case.split, name)) for name in ("members", "nonmembers", "population"))
    }
    sizes = {name: of for name in ("train", "test") if (of := getattr(case.shadows, name))}
    shadows = {
        name: max(2, math.floor(share * of + _ROUNDING)) for name, of in sizes.items()
    }  # no more than the sides hold
    outside = {"outside": round(share * case.sides.outside)} if case.sides.outside else {}
    small = replace(
        case,
        split=replace(case.split, **sides),
        shadows=case.shadows.model_copy(update={**shadows, "data": "real", "minimum": None}),
        sides=case.sides.model_copy(update=outside),
        recipe=Guesses(
            labels=case.target is not None and case.target.kind == "labels", values=case.dataset.values is not None
        ),
        target=None,
        trained=None,
        attacks=None if case.attacks is None else tuple(each for each in case.attacks if not each.questions),
    )
    return pilot_of(size, f"{counted(size, 'record')} a side", partial(gather, small, kept=False), conclude)


def pilot_of(records: int, what: str, gather: Callable[..., Any], conclude: Callable[[Any], Result]) -> Pilot:
    """Carry an audit of guesses out in this process, from its training to the page, and return what came of it.

    Parameters
    ----------
    records, what
        How many it is of, as a number and in words.
    gather, conclude
        As of an audit, given its case.

    Raises
    ------
    PlanError
        If the audit is refused.
    """
    with temporary_folder("miaudit-") as folder:
        clock, began, busy = Clock(), time.perf_counter(), time.process_time()
        try:
            measured = gather(Store(folder), Workers(0, None, None), clock=clock, tell=lambda *_: None)
            gathered = time.process_time()
            result = conclude(measured)
            shared = time.process_time() - gathered
            result.save(folder)
            result.report(folder)
        except MiauditError as error:
            raise PlanError(f"what the attacks take cannot be tried on {what}: {error}") from error
        whole, work = time.perf_counter() - began, time.process_time() - busy
        disk = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    seconds = whole - clock.seconds["shadows"]
    return Pilot(records, seconds, work * seconds / whole, shared, disk, result)


def slowness(trials: Sequence[tuple[float, float]]) -> float:
    """Return the seconds for each second of the processor, of trials of both: above one where others use it, too."""
    work = sum(busy for _, busy in trials)
    return max(1.0, sum(seconds for seconds, _ in trials) / work) if work else 1.0


def of_others(slow: float, seconds: float) -> list[str]:
    """Return what to say of so many seconds for each of the processor: nothing, where hardly anybody else uses it."""
    if slow < _BUSY:
        return []
    return [
        f"Other programs use the processor: the attacks that were tried took {slow:.1f} times their processor time. Alone on "
        f"the machine, all would take about {shown_time(seconds / slow)}."
    ]


def curve_through(points: list[tuple[int, float]], n: int) -> float:
    """Return seconds at n beyond the last two points: the geometric mean of the line through them and of their power law.

    The line is too high where attacks learn from a part of the rows, and the power law too low where some seconds are spent
    on any number of records.
    """
    line = line_through(points, n)
    if len(points) < 2 or n <= points[-1][0]:
        return line
    (x, y), (before, lower) = points[-1], points[-2]
    if x == before or not 0 < lower < y:
        return line
    power = y * (n / x) ** (math.log(y / lower) / math.log(x / before))
    return math.sqrt(line * power)


def line_through(points: list[tuple[int, float]], n: int) -> float:
    """Return the value at n of the line through the last two points; that of the last one where it does not rise."""
    (x, y), (before, lower) = points[-1], points[-2] if len(points) > 1 else points[-1]
    slope = 0.0 if x == before else max(0.0, (y - lower) / (x - before))
    return y + slope * (n - x)


def _sizes(case: Case) -> tuple[int, int]:
    audited = np.concatenate([case.split.members, case.split.nonmembers])
    people, member = case.dataset.people, np.arange(len(audited)) < len(case.split.members)
    return unit_of(member, people=None if people is None else people[audited], name=case.unit).size(member)


def _power(case: Case, result: Result, attacks: int) -> Any:
    beside = [a.bystander.models for a in result.attacks if a.status == "ran" and a.bystander is not None and a.checked]
    sizes = _sizes(case)
    return power(*sizes, attacks=max(1, attacks), bystanders=min(beside, default=0)) if min(sizes) else None


@dataclass(frozen=True)
class Guesses:
    """A recipe of models that know nothing: they answer by their seed."""

    labels: bool = False
    values: bool = False
    name: str = "guesses"

    def describe(self) -> dict[str, Any]:
        """Return the name."""
        return {"recipe": self.name}

    def fit(self, X: Any, y: NDArray[Any], *, classes: int, seed: int) -> Any:
        """Return a model that guesses."""
        spread = (float(np.mean(y)), float(np.std(y))) if self.values else (0.0, 1.0)
        return (_Labels if self.labels or self.values else _Guess)(
            np.random.default_rng(seed), classes, *spread, self.values
        )


@dataclass(frozen=True)
class _Labels:
    rng: np.random.Generator
    classes: int
    mean: float
    sd: float
    values: bool

    def predict(self, X: Any) -> NDArray[Any]:
        n = n_records(X)
        return self.rng.normal(self.mean, self.sd, n) if self.values else self.rng.integers(self.classes, size=n)


class _Guess(_Labels):
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        return softmax(self.rng.normal(0.0, 2.0, (n_records(X), self.classes)))
