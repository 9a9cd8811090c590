"""What an audit's verdict sees and claims by chance, by simulation and through `miaudit score`.

    python bench/exposed.py [--trials N] [--out FILE]

Four tables. *Null*: in how many audits of exchangeable sides any attack makes any claim (at most 5 % may). *Power*: in how
many audits of eleven attacks a few members above every non-member are claimed, by the precedence test, by it beside
bystanders whose scores have nothing in common, and by the intervals of the TPR that verdicts read before; only one attack
sees them. *Headline*: of eleven equal attacks with a true AUC of 0.6, how far the AUC that leads exceeds the truth, and how
often the low end of its interval lies above it; the same for the highest.
*Score*: kinds of the verdicts of audits of stored outputs in which a few members are fully exposed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from miaudit import stats
from miaudit.auditing.scoring import score
from miaudit.findings import unit_of
from miaudit.findings.bystander import compared
from miaudit.seeds import generator
from miaudit.testing import worlds
from miaudit.testing.calibration import RATES, most_allowed

RESULTS = Path(__file__).parent / "results" / "exposed.json"
SIDES = ((20, 20), (50, 50), (200, 200), (1000, 1000), (2000, 200), (200, 2000), (200, 20), (20, 200))
VALUES = (None, 10, 3)  # different scores there are; None: no ties
PANELS = ((1, 0.0), (5, 0.0), (11, 0.0), (5, 0.9), (11, 0.9))  # attacks, and the correlation of their scores
LEAKS = ((200, 0.02), (200, 0.05), (400, 0.05), (1000, 0.01), (1000, 0.02), (2000, 0.01))  # a side, share exposed
STORED = ((200, 0.0), (200, 0.05), (400, 0.0), (400, 0.05), (2000, 0.01))
BYSTANDERS = (8, 20)
ATTACKS = 11
AREA = 0.6


def scores(rng: np.random.Generator, n: int, attacks: int, correlation: float) -> NDArray[np.float64]:
    """(attacks, n) normal scores."""
    common = rng.normal(size=n)
    return correlation**0.5 * common + (1 - correlation) ** 0.5 * rng.normal(size=(attacks, n))


def null(cell: tuple[tuple[int, int], int | None, tuple[int, float]], trials: int) -> dict[str, Any]:
    (n_in, n_out), values, (attacks, correlation) = cell
    rng, false = generator(0, "null", *map(str, cell)), 0
    for _ in range(trials):
        every = scores(rng, n_in + n_out, attacks, correlation)
        if values is not None:
            every = np.floor(values * np.argsort(np.argsort(every)) / every.shape[1])
        false += any(stats.claims(each[:n_in], each[n_in:], attacks=attacks).any for each in every)
    return {
        "members": n_in,
        "nonmembers": n_out,
        "values": values,
        "attacks": attacks,
        "correlation": correlation,
        "trials": trials,
        "false": false,
    }


def power(cell: tuple[int, float], trials: int) -> dict[str, Any]:
    n, share = cell
    rng = generator(0, "power", *map(str, cell))
    level = 1 - 0.8 * 0.05 / ATTACKS / len(RATES)  # of the intervals that verdicts read before
    now = before = 0
    beside, member = Counter(dict.fromkeys(BYSTANDERS, 0)), np.arange(2 * n) < n
    unit, alone = unit_of(member), generator(0, "bystanders", *map(str, cell))
    for _ in range(trials):
        ins, outs = rng.normal(size=n), rng.normal(size=n)
        ins[: round(share * n)] += 100
        few = bool(stats.claims(ins, outs, attacks=ATTACKS).few)
        now += few
        own, *others = (
            unit.judged(each, member, seed=0)
            for each in (np.append(ins, outs), *alone.normal(size=(max(BYSTANDERS), 2 * n)))
        )
        beside.update(m for m in BYSTANDERS if few and compared(own, others[:m], attacks=ATTACKS).few)
        before += any(stats.tpr_at_fpr(ins, outs, f, confidence=level).low > f for f in RATES)
    return {
        "a_side": n,
        "exposed": share,
        "trials": trials,
        "precedence": now,
        "intervals": before,
        **{f"beside {m}": beside[m] for m in BYSTANDERS},
    }


def headline(cell: tuple[int, float], trials: int) -> dict[str, Any]:
    n, correlation = cell
    rng, shift = generator(0, "headline", *map(str, cell)), 2**0.5 * float(ndtri(AREA))
    lead, top, wrong = [], [], Counter({"lead": 0, "highest, plain": 0, "highest, corrected": 0})
    for _ in range(trials):
        every = scores(rng, 2 * n, ATTACKS, correlation)
        every[:, :n] += shift
        plain = [stats.auc_interval(each[:n], each[n:]) for each in every]
        best = max(range(ATTACKS), key=lambda i: plain[i].value)
        lead.append(plain[0].value)
        top.append(plain[best].value)
        corrected = stats.claims(every[best, :n], every[best, n:], attacks=ATTACKS).area
        wrong["lead"] += plain[0].low > AREA
        wrong["highest, plain"] += plain[best].low > AREA
        wrong["highest, corrected"] += corrected.low > AREA
    return {
        "a_side": n,
        "correlation": correlation,
        "trials": trials,
        "lead_excess": float(np.mean(lead)) - AREA,
        "highest_excess": float(np.mean(top)) - AREA,
        "low_end_above_truth": dict(wrong),
    }


def stored(cell: tuple[int, float], trials: int) -> dict[str, Any]:
    """Audit files of answers: eight shadows that know nothing, and a target that exposes a share of the members."""
    n, share = cell
    kinds: Counter[str] = Counter()
    for trial in range(trials):
        world = worlds.exchangeable(trial, n=2 * n, shadows=8, overlapping=True)
        e, target = world.evidence, world.evidence.target.copy()
        exposed = np.flatnonzero(world.member)[: round(share * n)]
        target[exposed] = 1e-7
        target[exposed, e.audited_labels[exposed]] = 1 - 1e-7 * (e.classes - 1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "outputs.npz"
            arrays = {"labels": e.audited_labels, "member": world.member, "shadows": e.shadows, "inside": e.inside}
            np.savez(path, target=target, **arrays)
            result = score(path, attacks=("lira", "rmia", "attack-r", "calibration"))
        kinds[str(result.verdict_kind)] += 1
    return {"a_side": n, "exposed": share, "trials": trials, "kinds": dict(kinds)}


def measured(trials: int, workers: int) -> dict[str, list[dict[str, Any]]]:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        rows = {
            "power": [pool.submit(power, cell, trials) for cell in LEAKS],
            "headline": [pool.submit(headline, (400, correlation), 10 * trials) for correlation in (0.0, 0.5)],
            "null": [pool.submit(null, cell, trials) for cell in itertools.product(SIDES, VALUES, PANELS)],
            "score": [pool.submit(stored, cell, max(1, trials // 16)) for cell in STORED],
        }
        done: dict[str, list[dict[str, Any]]] = {}
        for name, of in rows.items():
            done[name] = [row.result() for row in of]
            print(name, *done[name][:12], sep="\n", flush=True)
        return done


def tables(rows: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    most = most_allowed(rows["null"][0]["trials"], len(rows["null"]))
    worst = max(rows["null"], key=lambda row: row["false"])
    false, trials = (sum(row[key] for row in rows["null"]) for key in ("false", "trials"))
    low, high = (100 * end for end in stats.clopper_pearson(false, trials))
    yield f"Null: a false claim in {100 * false / trials:.2f} % ({low:.2f} to {high:.2f}) of {trials} audits."
    yield f"At most {most} are allowed in a cell; the worst: {worst}"
    yield "\n| records a side | exposed | claimed | beside 8 bystanders | beside 20 | by intervals of the TPR, as before |"
    yield "|---" * 6 + "|"
    for row in rows["power"]:
        shares = " | ".join(
            f"{100 * row[key] / row['trials']:.0f} %" for key in ("precedence", "beside 8", "beside 20", "intervals")
        )
        yield f"| {row['a_side']} | {row['exposed']:.0%} | {shares} |"
    yield ""
    yield from map(str, rows["headline"])
    yield ""
    yield from map(str, rows["score"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = measured(given.trials, given.workers)
    given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print("\n".join(tables(rows)))
    most = most_allowed(given.trials, len(rows["null"]))
    if any(row["false"] > most for row in rows["null"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
