"""Audits without a population: further records come from the two sides themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.case import apart
from miaudit.data import Copies, Dataset, Split, same_records
from miaudit.data.records import select_records
from miaudit.errors import PlanError, SplitError, counted
from miaudit.plan import ShadowPlan, SplitPlan
from miaudit.plan.ways import WITHOUT_POPULATION
from miaudit.seeds import child_seed, generator
from miaudit.shadows.design import largest_group, whole_groups

_LEAST_OUTSIDE = 100
"""Non-members left over of which the target is asked; fewer tell attacks that compare with them too little."""


class Divided(NamedTuple):
    """The sides of an audit with the sections of the plan that fit them, and what a reader must know of them."""

    split: Split
    shadows: ShadowPlan
    sides: SplitPlan
    notes: tuple[str, ...] = ()


def divided(dataset: Dataset, split: Split, shadows: ShadowPlan, sides: SplitPlan, *, seed: int) -> Divided:
    """Return the sides without copies across them, and with a population where real records are needed and none are given.

    Without one, as many of each side are audited as the smaller has, in the overlapping design, and what is left of the
    larger side is the population. Members that are left are in the training set of every shadow model as in the target's, so
    that audited members and non-members are treated alike. With ``sides.holdout`` that share of the non-members is.

    Raises
    ------
    PlanError
        If the design needs a population, or a share is to be set apart beside one.
    SplitError
        If too few records are left.
    """
    if len(split.population) or shadows.data != "real":
        if sides.holdout is not None:
            raise PlanError([("holdout", "sets non-members apart where there is no population; leave one of them out")])
        return Divided(apart(dataset, split, shadows, seed=seed), shadows, sides)
    if sides.holdout is not None:
        split, note = _held_out(dataset, split, sides.holdout, seed)
        return Divided(apart(dataset, split, shadows, seed=seed), shadows, sides, (note,))
    if not shadows.count:  # nothing is trained, so no record is needed for it
        return Divided(apart(dataset, split, shadows, seed=seed), shadows, sides)
    if "design" in shadows.model_fields_set and shadows.design == "disjoint":
        raise PlanError(
            f'design = "disjoint" trains shadow models on a population, and there is none. {WITHOUT_POPULATION}'
        )
    return _of_both_sides(dataset, split, shadows.model_copy(update={"design": "overlapping"}), sides, seed)


def idle_options(split: Split, shadows: ShadowPlan, sides: SplitPlan) -> list[tuple[str, str]]:
    """Return options of ``[shadows]`` and ``[split]`` that were given and have no effect, with what to do."""
    problems = []
    if shadows.design == "disjoint" and "bystanders" in shadows.model_fields_set and shadows.bystanders:
        text = "belongs to the overlapping design: disjoint shadow models are bystanders themselves; leave it out"
        problems.append(("shadows.bystanders", text))
    if sides.outside and sides.outside > len(split.population) and shadows.data == "real":
        text = f"asks about {sides.outside:,} records of the population, which has {len(split.population):,}; lower it"
        problems.append(("split.outside", text))
    return problems


def _held_out(dataset: Dataset, split: Split, share: float, seed: int) -> tuple[Split, str]:
    nonmembers = split.nonmembers
    people = _people(dataset, split, nonmembers)
    apart = whole_groups(
        len(nonmembers), people, round(share * len(nonmembers)), generator(child_seed(seed, "holdout"))
    )
    population, audited = nonmembers[apart], nonmembers[~apart]
    if not len(population) or not len(audited):
        raise SplitError(
            f"holdout = {share:g} sets {len(population):,} of {len(nonmembers):,} non-members apart and leaves "
            f"{len(audited):,} to audit; give a share that leaves some of both"
        )
    m = len(split.members)
    note = (
        f"No population was given: {len(population):,} of {len(nonmembers):,} non-members were set apart as population and "
        f"are not audited. {_cost((m, len(audited)), (m, len(nonmembers)))}"
    )
    return replace(split, nonmembers=audited, population=population, population_from="nonmembers"), note


def _of_both_sides(dataset: Dataset, split: Split, shadows: ShadowPlan, sides: SplitPlan, seed: int) -> Divided:
    whole = apart(dataset, split, shadows, seed=seed)
    m, n = len(whole.members), len(whole.nonmembers)
    larger: Literal["members", "nonmembers"] = "members" if m > n else "nonmembers"
    fill = 2 * (_largest(dataset, whole, np.concatenate([whole.members, whole.nonmembers])) - 1)
    split, spare = _sampled(dataset, whole, shadows, larger, seed, fill=fill, reserve=fill)
    half = (len(split.members) + len(split.nonmembers)) // 2
    most = half + len(split.population) - spare
    train = min(m, most) if shadows.train is None else shadows.train
    test = len(split.members) + len(split.nonmembers) - half if shadows.test is None else shadows.test
    notes = (_taken(split, (m, n)), *(_fewer(train, m) if shadows.train is None else ()))
    if split.population_from == "members" and sides.outside:
        text = (
            "asks the target about records it was not trained on, and without a population those that are left are members: "
            "leave it out, or give a population"
        )
        raise PlanError([("outside", text)])
    if larger == "members" or len(split.population) < _LEAST_OUTSIDE:
        sides = sides.model_copy(update={"outside": 0})
    return Divided(split, shadows.model_copy(update={"train": train, "test": test}), sides, notes)


def _sampled(
    dataset: Dataset,
    whole: Split,
    shadows: ShadowPlan,
    larger: Literal["members", "nonmembers"],
    seed: int,
    *,
    fill: int,
    reserve: int,
) -> tuple[Split, int]:
    """Return the sides, of one size as far as ``reserve`` records can be left over as population, and how many sets spare.

    Whole groups leave up to ``fill`` places of a model's two sets empty, and what is left of a group of the population that
    fills the first set serves neither.
    """
    side = whole.members if larger == "members" else whole.nonmembers
    most = min(len(whole.members), len(whole.nonmembers), len(side) - reserve)
    together = _together(dataset, whole, side) if fill else _people(dataset, whole, side)
    sample = whole_groups(len(side), together, most, generator(child_seed(seed, "audited")))
    if not sample.any():
        raise SplitError(
            f"no population was given, and of {len(side):,} {larger} none can be audited beside {reserve:,} records "
            f"that fill up the sets of shadow models, for {fill // 2 + 1:,} records belong together. Give a population"
        )
    rest = side[~sample]
    audited = {"members": whole.members, "nonmembers": whole.nonmembers, larger: side[sample]}
    split = replace(
        whole,
        members=audited["members"],
        nonmembers=audited["nonmembers"],
        population=rest,
        population_from=larger if len(rest) else None,
    )
    if len(rest):
        split = apart(dataset, split, shadows, seed=seed)
        split = replace(split, copies=_both(whole.copies or Copies(), split.copies or Copies()))
    spare = fill + _largest(dataset, split, split.population) - 1 if fill else 0
    lacking = spare - len(split.population)  # copies of audited records are not in it
    if lacking <= 0:
        return split, spare
    return _sampled(dataset, whole, shadows, larger, seed, fill=fill, reserve=reserve + lacking)


def _people(dataset: Dataset, split: Split, side: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the person of each of these records, None where records are parted one by one."""
    return None if split.group_name is None or dataset.people is None else dataset.people[side]


def _together(dataset: Dataset, split: Split, records: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return numbers of these records, equal for the records of a person, or for copies; None where each is parted alone."""
    people = _people(dataset, split, records)
    if people is not None or (split.copies or Copies()).alike or not len(records):
        return people
    return same_records(select_records(dataset.X, records))


def _largest(dataset: Dataset, split: Split, records: NDArray[np.int64]) -> int:
    """Return how many of these records must be on one side of a shadow model together, at most."""
    together = _together(dataset, split, records)
    return 1 if together is None or not len(together) else largest_group(together)


def _both(first: Copies, second: Copies) -> Copies:
    """Return what the comparisons before and after the population was taken found."""
    across = first if first.left_out.get("nonmembers") else second
    pair = "members/nonmembers"
    sides: set[str] = {*first.left_out, *second.left_out}
    return replace(
        second,
        same={**second.same, pair: across.same.get(pair, 0)},
        labelled={**second.labelled, pair: across.labelled.get(pair, 0)},
        left_out={side: first.left_out.get(side, 0) + second.left_out.get(side, 0) for side in sides},
        alike=first.alike or second.alike,
        near=first.near + second.near,
    )


def _taken(split: Split, sizes: tuple[int, int]) -> str:
    audited, rest = (len(split.members), len(split.nonmembers)), len(split.population)
    if split.population_from is None:
        return (
            f"No population was given: each shadow model is trained on a random half of the {sum(audited):,} audited records "
            "alone. There are no records outside the audit, so attacks that compare with some are skipped."
        )
    of = " and ".join(
        f"{n:,} of {all_:,} {side}" for n, all_, side in zip(audited, sizes, ("members", "non-members"), strict=True)
    )
    role = (
        "in every shadow model's training set, as in the target's"
        if split.population_from == "members"
        else "population"
    )
    name = "members" if split.population_from == "members" else "non-members"
    return (
        f"No population was given: {of} are audited, and {rest:,} other {name} serve as further records "
        f"({role}). {_cost(audited, sizes)}"
    )


def _cost(audited: tuple[int, int], whole: tuple[int, int]) -> str:
    """Say what fewer audited records cost, by the standard error of an AUC of 0.5 (Mann and Whitney 1947)."""
    with_, without = (np.sqrt((a + b + 1) / (12 * a * b)) for a, b in (audited, whole))
    return (
        f"What this costs in power: the standard error of an AUC at chance is {with_:.4f}, with all of both sides audited it "
        f"would be {without:.4f}."
    )


def _fewer(train: int, target: int) -> list[str]:
    if train == target:
        return []
    return [
        f"Shadow models are trained on {counted(train, 'record')}, the target on {target:,}: "
        "without a population there are no more. "
        "Models of fewer records may overfit more than the target."
    ]
