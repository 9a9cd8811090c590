"""How often a leak is reported where there is none: every attack x every statistic that claims 95 %.

    python bench/null_calibration.py [--trials N] [--out FILE] [--markdown] [--docs]

Worlds in which members and non-members come from one distribution: answers drawn from a law that knows nothing of
membership (``worlds.exchangeable``), and a forest that really was trained, on neither side, attacked with shadows that
really do memorise (``worlds.bystander``). Each with 20, 500 and 2,000 records a side; with shadows that answered the audited
records (eight, half of them trained on each) and shadows with records of their own (four). The first law with ten
non-members a member (1,000 records in all), and with answers of one decimal, so that scores tie. And worlds of people with many
records (``worlds.people``), of unequal numbers of them, and of exact copies on their own side, in which people are counted,
with shadows that have records of their own; attacks there are those that train no network. And a target that is replaced, or
drifts, while it is asked about both sides in a random order (``testing.changing``), with 500 records a side. And audits of
stored answers in which a fifth of the non-members have other labels, 400 a side, so that they are harder for every model. And
whole audits of a forest trained on neither side, whose population holds a share of the audited (``null_copies``), 150 a side.

A world is an entry of ``WORLDS``: how to make one, in which sizes and designs. One that is no evidence but a whole audit
brings a ``trial`` of its own, which returns (attack, statistic) -> was a leak reported.

A cell is (world, records, design, attack, statistic); it holds the share of trials in which a leak is reported, and it
fails if that count would come up in a statistic of level 5 % with a probability below 0.1 % / cells: one-sided, exact
binomial, so that all cells together give a false alarm once in a thousand runs of this benchmark. That allows much in one
cell, so each statistic is also judged over all its cells: the mean over trials of the share of attacks reported on, whose
trials are independent, may exceed 5 % by as many standard errors as one statistic would once in a thousand runs. Attacks
that read no shadow, or learn from any shadow rows, take part where shadows have records of their own; two of the others
train on the rows of two overlapping shadows. Beside them, on the same scores, is what is commonly reported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from null_copies import N, verdict
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from miaudit import stats
from miaudit.attacks import (
    RMIA,
    Attack,
    Calibration,
    LiRA,
    LossTrace,
    Quantile,
    Shokri,
    Threshold,
    blind_auc,
    plan_attacks,
)
from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.data.copies import same_records
from miaudit.errors import MiauditError
from miaudit.findings import unit_of
from miaudit.findings.unit import Sides
from miaudit.seeds import child_seed
from miaudit.testing import worlds
from miaudit.testing.calibration import most_allowed, reports, reports_of_peers
from miaudit.testing.changing import changing
from miaudit.testing.worlds import World

RESULTS = Path(__file__).parent / "results" / "null_calibration.json"
DOCS = Path(__file__).parents[1] / "docs" / "calibration.md"
SIZES = (20, 500, 2000)  # records a side
DESIGNS = ("overlapping", "disjoint")
SHADOWS = {"overlapping": 8, "disjoint": 4}
PEERS = "peers: "
SHADOW_ROWS = 400  # of a shadow with records of its own: attack models are to be trained in no time
LEARNING = ("shokri", "salem")


class Nothing(NamedTuple):
    """A world where nothing leaks: how to make one of n records (or people), in which sizes a side and designs.

    ``copies``: whose records are copies of one another, and nobody says so. ``trial`` replaces :func:`attacked`.
    """

    make: Callable[..., World]
    sizes: tuple[int, ...] = SIZES
    designs: tuple[str, ...] = DESIGNS
    copies: bool = False
    trial: Callable[[Task], dict[tuple[str, str], bool]] | None = None


def of_people(n: int, records: int, correlation: float, **options: Any) -> Nothing:
    make = partial(worlds.people, records=records, correlation=correlation)
    return Nothing(partial(make, counts=options.pop("counts", "equal")), (n,), ("disjoint",), **options)


def of_copies(share: float) -> Nothing:
    """Whole audits whose population holds this share of the audited records of both sides."""

    def audited(task: Task) -> dict[tuple[str, str], bool]:
        seed = child_seed(task.seed, "copies", task.trial)
        kind = verdict("both", share, task.design, seed, leaks=False)
        return {("all attacks", "verdict of an audit"): kind in ("leak", "inverted")}

    return Nothing(worlds.exchangeable, (N,), trial=audited)


def of_label_noise(task: Task) -> dict[tuple[str, str], bool]:
    """Audit stored answers where a fifth of the non-members' labels are redrawn: they are harder, and nothing leaks."""
    seed = child_seed(task.seed, "labels", task.n, task.design, task.trial)
    overlapping = task.design == "overlapping"
    world = worlds.bystander(seed, n=2 * task.n, shadows=8, overlapping=overlapping, redrawn=0.2)
    e, bystanders = world.evidence, world.evidence.bystanders
    assert bystanders is not None
    arrays: dict[str, Any] = {"target": e.target, "member": world.member, "labels": e.labels}
    if e.asked is None:
        arrays |= {"shadows": e.shadows, "inside": e.inside, "bystanders": bystanders}
    else:  # shadows with records of their own answered the audited ones, too
        nobody, everyone = np.zeros(bystanders.shape[:2], bool), np.tile(np.arange(e.n), (len(bystanders), 1))
        rows = {"shadows": (bystanders, e.shadows), "inside": (nobody, e.inside), "asked": (everyone, e.asked)}
        arrays |= {name: np.concatenate(each, axis=1) for name, each in rows.items()}
    kind = score(stored_outputs(arrays), attacks=HEEDED).verdict_kind
    return {("all attacks", "verdict of an audit"): kind in ("leak", "inverted")}


HEEDED = ["threshold", "gap", "calibration", "attack-r", "rmia", {"name": "lira", "mode": "offline"}]
WORLDS = {
    "exchangeable": Nothing(worlds.exchangeable),
    "bystander": Nothing(worlds.bystander),
    "ten non-members a member": Nothing(partial(worlds.exchangeable, members=1 / 11), (500,)),
    "answers of one decimal": Nothing(partial(worlds.exchangeable, decimals=1), (500,)),
    "labels of non-members redrawn": Nothing(worlds.bystander, (400,), trial=of_label_noise),
    "replaced": Nothing(changing, (500,)),
    "drifting": Nothing(partial(changing, drift=True), (500,)),
    "people 100 x 5, 0.3": of_people(100, 5, 0.3),
    "people 50 x 20, 0.1": of_people(50, 20, 0.1),
    "people 50 x 20, 0.3": of_people(50, 20, 0.3),
    "people 20 x 50, 0.1": of_people(20, 50, 0.1),
    "people 40 x 10, 0.3": of_people(40, 10, 0.3),
    "people 60 x 8 on average, 0.3": of_people(60, 8, 0.3, counts="geometric"),
    "copies 100 x 4": of_people(100, 4, 1.0, copies=True),
    **{f"population with {share:.0%} of the audited": of_copies(share) for share in (0.0, 0.01, 0.1, 1.0)},
}


class Task(NamedTuple):
    """One trial: a world of its own, attacked in every way."""

    world: str
    n: int
    design: str
    trial: int
    seed: int


def attacks(design: str, *, people: bool = False) -> dict[str, Attack]:
    """Every attack that the planner runs there, in every mode, form and variance; with people none that trains networks."""
    planned = plan_attacks(
        "probabilities", shadows=SHADOWS[design], design=design, population=True, probes=("votes", "boundary")
    )
    found = [each.attack for each in planned if each.runs]
    if people:
        found = [each for each in found if not each.learns]
    elif design == "disjoint":
        found += [LossTrace(), LossTrace("fall")]
        found += [Threshold(s) for s in ("confidence", "phi", "hinge", "entropy", "modified_entropy")]
        found += [Shokri("pooled"), Quantile(trees=20), Quantile("quantile", alpha=0.05, trees=20)]
    else:
        found = [each for each in found if "overlapping" in each.needs or each.name in LEARNING]
        found += [LiRA(m, v) for m in ("online", "offline", "proxy") for v in ("nig", "per-example", "pooled")]
        found += [LiRA(m, signal="hinge") for m in ("online", "offline", "proxy")]
        found += [RMIA(f, m) for f in ("base", "rmia", "informia") for m in ("online", "offline")]
        found += [Calibration(m, "phi") for m in ("online", "offline")]
    return {_called(each): each for each in dict.fromkeys(found)}


def _called(attack: Attack) -> str:
    default = type(attack)().options
    return " ".join([attack.name, *(str(v) for k, v in attack.options.items() if v != default[k])])


def drawn(task: Task) -> World:
    world = WORLDS[task.world].make(
        seed=child_seed(task.seed, task.world, task.n, task.design, task.trial),
        n=2 * task.n,
        shadows=SHADOWS[task.design],
        overlapping=task.design == "overlapping",
    )
    e = world.evidence
    if WORLDS[task.world].copies:
        world = World(e.replace(people=None), world.member)
    if e.asked is None or e.people is not None:
        return world
    rows = np.linspace(0, e.inside.shape[1] - 1, min(SHADOW_ROWS, e.inside.shape[1])).astype(int)
    told = e.probes
    assert told is not None
    probes = replace(told, shadow_votes=told.shadow_votes[:, rows], shadow_distances=told.shadow_distances[:, rows])
    fewer = e.replace(shadows=e.shadows[:, rows], inside=e.inside[:, rows], asked=e.asked[:, rows], probes=probes)
    return World(fewer, world.member)


def trial(task: Task) -> dict[tuple[str, str], bool]:
    """Return (attack, statistic) -> was a leak reported; those of peers begin with ``PEERS``."""
    with threadpool_limits(1):
        return (WORLDS[task.world].trial or attacked)(task)


def attacked(task: Task) -> dict[tuple[str, str], bool]:
    """Attack a world in every way."""
    found: dict[tuple[str, str], bool] = {}
    world = drawn(task)
    e, labels, member = world.evidence, world.evidence.audited_labels, world.member
    seed = child_seed(task.seed, "statistics", task.trial)
    grouped = e.people is not None or WORLDS[task.world].copies
    listed = attacks(task.design, people=grouped)
    contents = same_records(e.features) * e.classes + labels if WORLDS[task.world].copies else None
    unit = unit_of(member, people=e.audited_people, contents=contents)
    keep = unit.counted
    people = None if unit.people is None else unit.people[keep]
    few = e
    if e.asked is not None:
        few = e.replace(shadows=e.shadows[:2], inside=e.inside[:2], asked=e.asked[:2], population=None, probes=None)
    leak_of_any = False
    for name, attack in listed.items():
        try:
            scores = attack.run(few if attack.name in LEARNING else e, seed=child_seed(seed, name))
        except MiauditError:  # too few records for it: an audit says so and reports no figure
            continue
        counted = replace(
            scores, score=scores.score[keep], decision=None if scores.decision is None else scores.decision[keep]
        )
        for statistic, leak in reports(counted, member[keep], labels[keep], seed=seed, people=people).items():
            found[name, statistic] = leak
        for statistic, leak in reports_of_peers(scores, member, seed=seed).items():
            found[name, PEERS + statistic] = leak
        leak_of_any |= leaks(unit.judged(scores.score, member, seed=seed), attacks=len(listed))
        if grouped:
            bare = stats.auc_interval(scores.score[member], scores.score[~member])
            found[name, f"{PEERS}AUC, records counted as independent"] = bare.low > 0.5
    found["all attacks", "verdict of an audit"] = leak_of_any
    if task.design == "disjoint":
        of = {"people": people, "unit": unit.name}
        blind = blind_auc(e.features[keep], labels[keep], member[keep], seed=seed, **of)
        found["no attack", "blind check, either side"] = blind.low is None or not blind.low <= 0.5 <= blind.high
        if grouped:
            bare = blind_auc(e.features, labels, member, seed=seed)
            found["no attack", f"{PEERS}blind check, records counted as independent"] = not bare.low <= 0.5 <= bare.high
    return found


def leaks(sides: Sides, *, attacks: int) -> bool:
    """Say whether an audit of so many attacks claims anything of this one, a leak or one upside down."""
    return stats.claims(*sides, attacks=attacks).any


def measure(
    *, trials: int, seed: int, workers: int, minutes: float, chosen: Collection[str] = tuple(WORLDS)
) -> dict[str, Any]:
    tasks = [
        Task(name, n, design, i, seed)
        for i in range(trials)
        for name, world in WORLDS.items()
        if name in chosen
        for n in world.sizes
        for design in world.designs
    ]
    tried: Counter[tuple[str, ...]] = Counter()
    reported: Counter[tuple[str, ...]] = Counter()
    shares: dict[str, list[float]] = {}  # statistic -> share of the attacks reported on, of each trial
    began = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, (task, found) in enumerate(zip(tasks, pool.map(trial, tasks, chunksize=4), strict=True), 1):
            of_trial: dict[str, list[bool]] = {}
            for (attack, statistic), leak in found.items():
                cell = (task.world, str(task.n), task.design, attack, statistic)
                tried[cell] += 1
                reported[cell] += bool(leak)
                of_trial.setdefault(statistic, []).append(bool(leak))
            for statistic, leaks in of_trial.items():
                shares.setdefault(statistic, []).append(float(np.mean(leaks)))
            spent = time.perf_counter() - began
            if done % 40 == 0:
                print(f"{spent:6.0f} s  {done} of {len(tasks)} trials", flush=True)
            if spent > 60 * minutes:
                pool.shutdown(cancel_futures=True)
                break
    ours = {cell for cell in tried if not cell[-1].startswith(PEERS)}
    cells = [
        {
            **dict(zip(("world", "records_a_side", "design", "attack", "statistic"), cell, strict=True)),
            "trials": tried[cell],
            "reported": reported[cell],
            "most_allowed": most_allowed(tried[cell], len(ours)) if cell in ours else None,
        }
        for cell in tried
    ]
    claimed = {cell[-1] for cell in ours}
    z = float(norm.isf(0.001 / len(claimed)))
    statistics = [
        {
            "statistic": name,
            "cells": sum(cell[-1] == name for cell in tried),
            "trials": len(each),
            "mean": float(np.mean(each)),
            "largest": max(reported[cell] / tried[cell] for cell in tried if cell[-1] == name),
            # at least the error of a share of 5 %, were the attacks of a trial one and the same
            "allowed": 0.05 + z * max(float(np.std(each)), 0.05**0.5 * 0.95**0.5) / len(each) ** 0.5
            if name in claimed
            else None,
        }
        for name, each in shares.items()
    ]
    failed = [c for c in cells if c["most_allowed"] is not None and c["reported"] > c["most_allowed"]]
    failed += [s for s in statistics if s["allowed"] is not None and s["mean"] > s["allowed"]]
    return {
        "machine": f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "seconds": round(time.perf_counter() - began, 1),
        "seed": seed,
        "trials": min(tried.values()),
        "allowed_in_a_cell": max(most_allowed(tried[cell], len(ours)) / tried[cell] for cell in ours),
        "worlds": list(chosen),
        "statistics": statistics,
        "failed": failed,
        "reported": by_attack(cells),
    }


def by_attack(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per world, size, design and attack: counts of the statistics that reported anything."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for cell in cells:
        where = {key: cell[key] for key in ("world", "records_a_side", "design", "attack", "trials")}
        row = rows.setdefault(tuple(map(str, where.values())), {**where, "counts": {}})
        if cell["reported"]:
            row["counts"][cell["statistic"]] = cell["reported"]
    return list(rows.values())


def markdown(found: dict[str, Any]) -> str:
    lines = []
    for title, peers in (("statistic of miaudit", False), ("common practice, on the same scores", True)):
        allowed = " allowed mean |" if not peers else ""
        lines += [
            f"| {title} | cells | mean share | largest share |{allowed}",
            "|---|---|---|---|" + "---|" * (not peers),
        ]
        for row in found["statistics"]:
            if row["statistic"].startswith(PEERS) == peers:
                shown = [f"{100 * row[key]:.1f} %" for key in ("mean", "largest", "allowed") if row[key] is not None]
                cells = [row["statistic"].removeprefix(PEERS), str(row["cells"]), *shown]
                lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    command = f"python bench/null_calibration.py --trials {found['trials']} --docs"
    lines.append(
        f"Share of trials that report a leak where there is none. Mean over {len(found['worlds'])} worlds, their sizes, "
        f"designs and attacks; largest of any cell, where {100 * found['allowed_in_a_cell']:.1f} % is "
        f"allowed; {found['trials']} trials a cell, seed {found['seed']}; `{command}`."
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=120.0, help="stop then, with the trials done so far")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worlds", nargs="*", choices=list(WORLDS), default=list(WORLDS), help="default: all")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go, as JSON")
    parser.add_argument("--markdown", action="store_true", help="run nothing: print the table of the run in --out")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/calibration.md, too")
    given = parser.parse_args()
    if given.markdown:
        found = json.loads(given.out.read_text(encoding="utf-8"))
    else:
        found = measure(
            trials=given.trials, seed=given.seed, workers=given.workers, minutes=given.minutes, chosen=given.worlds
        )
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found))
    if given.docs:
        into_docs(markdown(found))
    for cell in found["failed"]:
        print(f"too many: {cell}")
    if found["failed"]:
        raise SystemExit(1)


def into_docs(table: str) -> None:
    text = DOCS.read_text(encoding="utf-8")
    begin, end = "<!-- table: bench/null_calibration.py -->", "<!-- end of table -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    DOCS.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
