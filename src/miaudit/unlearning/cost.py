"""What a deletion audit will cost and can show, before it is run: one model trained and made to forget, nobody asked."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from miaudit.auditing.asking import Tell
from miaudit.auditing.cost import (
    STATES_UNKNOWN,
    Guesses,
    Pilot,
    curve_through,
    line_through,
    of_others,
    of_states,
    pilot_of,
    queries_of,
    slowness,
)
from miaudit.auditing.provenance import Clock
from miaudit.auditing.workers import Workers
from miaudit.errors import PoolError, counted
from miaudit.findings import unit_of
from miaudit.findings.claims import power
from miaudit.result.forecast import Forecast, Queries
from miaudit.seeds import child_seed, generator
from miaudit.shadows.engine import Cost, cost_of, run_jobs
from miaudit.shadows.training import Job, peak_memory
from miaudit.store import Store
from miaudit.unlearning.case import ATTACKS, DeletionCase
from miaudit.unlearning.conclusion import conclude
from miaudit.unlearning.drawing import draws_of
from miaudit.unlearning.gathering import beside, gather, pool_of
from miaudit.unlearning.procedures import Nothing

_PILOTS = (50, 200)
"""Deleted records of the two trials of the attacks."""


def foresee(of: DeletionCase, store: Store, workers: Workers, *, clock: Clock, tell: Tell, ours: bool) -> Forecast:
    """Return what a deletion audit will take, and the smallest trace that it would show.

    One model is trained and made to forget, and its row is kept; a second shows what training takes. The models before and
    after, where they are at hand, are not asked.

    Parameters
    ----------
    of, store, workers, clock, tell
        As of `miaudit.unlearning.gather`.
    ours
        Whether the targets were made for this case.

    Raises
    ------
    PoolError
        If the first model cannot be trained, or not be made to forget.
    """
    case = of.case
    pool = pool_of(of, draws_of(of), store, kept=True)
    jobs = [*beside(of, pool).jobs, *pool.plan, *pool.bystander_plan]
    keys = store.keys()
    missing = [job for job in jobs if job.key not in keys]
    stored = len(jobs) - len(missing)
    tell("training one model and deleting from it", None)
    cost = _training(of, missing, store, workers)
    tell("trying the attacks on guesses", None)
    trials = sorted({min(of.deleted, size) for size in _PILOTS})
    pilots = [_pilot(of, size) for size in (trials[0], *trials)][1:]  # the first loads libraries
    seconds, notes = {"load": clock.seconds["load"]}, list[str]()
    if cost is None:
        notes.append("What training takes is not known: it is another machine's, and none of it was tried.")
    else:
        seconds["shadows"] = cost.seconds
    queries = _queries(of, ours=ours)
    if queries is not None:
        notes.append("The model was not asked: what it takes to answer is not in the time.")
    counts = [(each.records, each.work) for each in pilots]
    slow = slowness([(each.seconds, each.work) for each in pilots])
    seconds["attacks"] = curve_through(counts, of.deleted) * slow
    notes += of_others(slow, sum(seconds.values()))
    rows = sum(4 * len(job.asked) * case.dataset.width * (1 + (job.forget is not None)) for job in jobs)
    disk = line_through([(each.records, float(each.written)) for each in pilots], of.deleted)
    states = of_states(store, jobs, recipe=of.recipe)
    if states is None:
        notes.append(STATES_UNKNOWN)
    sizes = _sizes(of)
    attacks = len([attack for attack in pilots[-1].result.attacks if attack.status == "ran"])
    return Forecast(
        title=case.title,
        unit=pilots[-1].result.split.unit,
        members=sizes[0],
        nonmembers=sizes[1],
        models=len(missing),
        stored=stored,
        queries=queries,
        seconds={stage: round(spent, 1) for stage, spent in seconds.items()},
        peak_bytes=None if cost is None else cost.peak_bytes + peak_memory(),
        disk_bytes=rows + (states or 0) + round(disk),
        attacks=attacks,
        power=power(*sizes, attacks=max(1, attacks), bystanders=len(pool.bystander_plan)) if min(sizes) else None,
        notes=notes,
        deletion=True,
    )


def _training(of: DeletionCase, missing: list[Job], store: Store, workers: Workers) -> Cost | None:
    """Return what training and deleting will take, by one of each; None where another machine does it."""
    if not missing:
        return Cost(0, 0.0, 0, 0)
    if workers.cluster is not None:
        return None
    dataset, recipe = of.case.dataset, of.recipe
    one = next((job for job in missing if job.forget is not None), None)
    deletion = 0.0
    if one is not None:
        failures = run_jobs([one], dataset, recipe, store, workers=0, deadline=workers.deadline).failures
        row = store.get(one.key)
        if failures or row is None:
            raise PoolError(
                f"the {one.name} could not be trained: {failures[0].error if failures else 'its row is gone'}"
            )
        deletion = float(row.facts["deletion_seconds"])
    rest = [job for job in missing if job is not one]
    if not rest:
        return Cost(1, 0.0, 0, 0)
    cost = cost_of(rest, dataset, recipe, store, **workers.options)
    if cost is None:
        return None
    at_once = max(1, min(workers.count, len(rest)))
    deletions = sum(job.forget is not None for job in rest)
    return replace(cost, seconds=cost.seconds + deletion * deletions / at_once)


def _queries(of: DeletionCase, *, ours: bool) -> Queries | None:
    """Return what the models at hand, before and after, will be asked."""
    nobody = of.audited[:0]
    targets = [target for target in (of.before, of.case.target) if target is not None]
    each = [queries_of(replace(of.case, target=target), nobody, None, ours=ours) for target in targets]
    if not each:
        return None
    return Queries(to_send=sum(one.to_send for one in each), cached=sum(one.cached for one in each))


def _sizes(of: DeletionCase) -> tuple[int, int]:
    pair = of.audited[np.concatenate(of.pair)]
    people, member = of.case.dataset.people, np.arange(len(pair)) < of.deleted
    return unit_of(member, people=None if people is None else people[pair], name=of.case.unit).size(member)


def _pilot(of: DeletionCase, size: int) -> Pilot:
    """Carry the audit out on guesses about some of the records; a class that is removed is not, here."""
    small = _smaller(of, min(1.0, size / of.deleted))
    return pilot_of(small.deleted, counted(size, "deleted record"), partial(gather, small, kept=False), conclude)


def _smaller(of: DeletionCase, share: float) -> DeletionCase:
    case = of.case
    rng = generator(child_seed(case.seed, "pilot"), "records")
    deleted, never = (min(count, max(2, round(share * count))) for count in (of.deleted, of.never))
    stay, others = (round(share * len(side)) for side in of.others)
    members, nonmembers, population = case.split.members, case.split.nonmembers, case.split.population
    split = replace(
        case.split,
        members=np.concatenate([members[:deleted], members[of.deleted :][:stay]]),
        nonmembers=np.concatenate([nonmembers[:never], nonmembers[of.never :][:others]]),
        population=rng.permutation(population)[: max(4, round(share * len(population)))],
    )
    rest = of.rest[~np.isin(of.rest, members)]
    further = rng.permutation(rest)[: round(share * len(rest))]
    train = case.shadows.train
    shadows = case.shadows.model_copy(
        update={"minimum": None, "train": None if train is None else max(2, round(share * train))}
    )
    guesses = Guesses(labels=case.target is not None and case.target.kind == "labels")
    return replace(
        of,
        case=replace(case, split=split, recipe=guesses, target=None, shadows=shadows, attacks=case.attacks or ATTACKS),
        training=np.concatenate([split.members, further]),
        procedure=Nothing(),
        deleted=deleted,
        never=never,
        before=None,
        removed=None,
        receipts=0,
    )
