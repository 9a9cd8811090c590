"""What an audit's verdict sees and claims by chance, by simulation and through `miaudit score`.

    python bench/exposed.py [--trials N] [--tables NAME ...] [--out FILE]

Six tables. *Null*: in how many audits of exchangeable sides any attack makes any claim (at most 5 % may). *Power*: in how
many audits of eleven attacks a few members above every non-member are claimed, by the precedence test, by it beside
bystanders whose scores have nothing in common, and by the intervals of the TPR that verdicts read before; only one attack
sees them. *Shift*: in how many audits of eleven attacks a few exposed members are claimed of a target that is one more draw of
what its bystanders are, where the sides differ (at most 5 % may). *Models*: the same, and claims about AUCs, for logistic
models where a fifth of one side's labels are wrong; bystanders are trained on 300 of 900 records each, so they share some.
*Headline*: of eleven equal attacks with a true AUC of 0.6, how far the AUC that leads exceeds the truth, and how often the
low end of its interval lies above it; the same for the highest. *Score*: kinds of the verdicts of audits of stored outputs in
which a few members are fully exposed.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

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
STORED = (  # a side, share exposed, bystanders
    *((200, 0.0, 0), (200, 0.05, 0), (400, 0.0, 0), (400, 0.05, 0), (2000, 0.01, 0)),
    *((200, 0.0, 8), (200, 0.05, 8), (400, 0.05, 8)),
)
BYSTANDERS = (8, 20)
TABLES = ("power", "shift", "models", "headline", "null", "score")
ATTACKS = 11
AREA = 0.6


class Shift(NamedTuple):
    """How members differ from non-members under all models, in standard deviations of a score."""

    shift: float = 0.0
    scale: float = 1.0
    outliers: float = 0.0  # share of the members that lie 6 higher
    wrong: float = 0.0  # share of the non-members that lie 3 lower, as where their labels are wrong
    moving: float = 0.0  # standard deviation of the shift over models
    common: float = 0.3  # share of the variance that is each record's own under every model
    shared: float = 0.0  # share of the rest that bystanders have in common: they were trained on the same records


SHIFTS = (
    *(Shift(shift, common=common) for shift in (0.1, 0.2, 0.4, 1.0) for common in (0.0, 0.3, 0.95)),
    *(Shift(outliers=share) for share in (0.02, 0.05)),
    *(Shift(wrong=share) for share in (0.05, 0.1, 0.2, 0.4)),
    *(Shift(scale=scale) for scale in (1.1, 1.5)),
    *(Shift(shift, shared=0.33) for shift in (0.1, 0.2, 0.4)),
    *(Shift(shift, moving=0.1) for shift in (0.0, 0.2)),
)
SHIFTED = tuple(itertools.product((50, 200, 1000), SHIFTS))  # records a side


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
        few = bool(stats.claims(ins, outs, attacks=ATTACKS).above_chance_at_low_fpr)
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


def few(ins: NDArray[np.float64], outs: NDArray[np.float64], others: Callable[[], NDArray[np.float64]]) -> bool:
    """Whether one of eleven attacks claims a few exposed members beside others' (M, n) scores, members first."""
    test, level = stats.precedence(ins, outs), stats.levels(ATTACKS).few
    if test.p_value > level:
        return False
    rows, n = others(), len(ins)
    value = stats.more_above(ins, outs, rows[:, :n], rows[:, n:], test.rank)
    return value <= level * stats.ranks_of(len(outs))[test.rank]


def shifted(cell: tuple[int, Shift], trials: int) -> dict[str, Any]:
    n, of = cell
    rng, false = generator(0, "shift", str(n), *map(str, of)), Counter(dict.fromkeys(BYSTANDERS, 0))
    for _ in range(trials):
        hard, higher = of.common**0.5 * rng.normal(size=2 * n), np.zeros(2 * n)
        higher[:n] = of.shift + 6.0 * (rng.random(n) < of.outliers)
        higher[n:] = -3.0 * (rng.random(n) < of.wrong)

        def rows(models: int, hard: NDArray[np.float64] = hard, higher: NDArray[np.float64] = higher) -> Any:
            own = (1 - of.shared) ** 0.5 * rng.normal(size=(models, 2 * n)) + of.shared**0.5 * rng.normal(size=2 * n)
            every = hard + (1 - of.common) ** 0.5 * own
            every[:, :n] *= of.scale
            every[:, :n] += of.moving * rng.normal(size=(models, 1))
            return every + higher

        claimed: set[int] = set()
        for _ in range(ATTACKS):
            target = rows(1)[0]
            others = functools.cache(lambda rows=rows: rows(max(BYSTANDERS)))
            claimed |= {m for m in BYSTANDERS if few(target[:n], target[n:], lambda m=m, others=others: others()[:m])}
        false.update(claimed)
    return {"a_side": n, **of._asdict(), "trials": trials, **{f"beside {m}": false[m] for m in BYSTANDERS}}


def models(noisy: str, trials: int) -> dict[str, Any]:
    """Logistic models that saw neither side: claims of a target's loss and of its loss less the bystanders' mean."""
    rng, n, claims = generator(0, "models", noisy), 300, Counter({"above": 0, "below": 0, "few": 0})
    member = np.arange(2 * n) < n
    unit = unit_of(member)
    for _ in range(trials):
        x = rng.normal(size=(2 * n + 900 + n, 8))
        y = (x[:, 0] + 0.5 * x[:, 1] > 0).astype(float)
        labels = np.where((member == (noisy == "members")) & (rng.random(2 * n) < 0.2), 1 - y[: 2 * n], y[: 2 * n])
        drawn = [2 * n + 900 + np.arange(n), *(2 * n + rng.permutation(900)[:n] for _ in range(BYSTANDERS[0]))]
        logits = np.stack([x[: 2 * n] @ weights(x[index], y[index]) for index in drawn]) * (2 * labels - 1)
        apart = 1 - np.eye(len(logits))
        apart[:, 0] = 0  # the means of the other bystanders
        for scores in (logits, logits - apart @ logits / apart.sum(axis=1, keepdims=True)):
            own, *others = (unit.judged(row, member, seed=0) for row in scores)
            found, alone = compared(own, others, attacks=ATTACKS), stats.claims(*own[:2], attacks=ATTACKS)
            claims["above"] += found.above
            claims["below"] += found.below and alone.below_chance
            claims["few"] += bool(found.few and alone.above_chance_at_low_fpr)
    return {"noisy": noisy, "trials": trials, "attacks": 2, **claims}


def weights(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of a logistic regression with an L2 penalty of 1, by Newton's method."""
    w = np.zeros(x.shape[1])
    for _ in range(8):
        p = 1 / (1 + np.exp(-x @ w))
        w += np.linalg.solve((x.T * (p * (1 - p))) @ x + np.eye(len(w)), x.T @ (y - p) - w)
    return w


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
        corrected = stats.claims(every[best, :n], every[best, n:], attacks=ATTACKS).auc_corrected
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


def stored(cell: tuple[int, float, int], trials: int) -> dict[str, Any]:
    """Audit files of answers: eight shadows and some bystanders that know nothing, a target that exposes a share of members."""
    n, share, bystanders = cell
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
            if bystanders:
                arrays["bystanders"] = answers(generator(trial, "bystanders"), bystanders, e.audited_labels, e.classes)
            np.savez(path, target=target, **arrays)
            result = score(path, attacks=("lira", "rmia", "attack-r", "calibration"))
        kinds[str(result.verdict_kind)] += 1
    return {"a_side": n, "exposed": share, "bystanders": bystanders, "trials": trials, "kinds": dict(kinds)}


def answers(rng: np.random.Generator, models: int, labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """(models, n, classes) probabilities as of `worlds.exchangeable`."""
    logits = rng.normal(0.0, 1.5, (models, len(labels), classes))
    logits[:, np.arange(len(labels)), labels] += 2.0
    return np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)


def measured(trials: int, workers: int, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    work: dict[str, tuple[Callable[..., dict[str, Any]], Iterable[Any], int]] = {
        "power": (power, LEAKS, trials),
        "shift": (shifted, SHIFTED, 5 * trials),
        "models": (models, ("members", "nonmembers"), 10 * trials),
        "headline": (headline, ((400, correlation) for correlation in (0.0, 0.5)), 10 * trials),
        "null": (null, itertools.product(SIDES, VALUES, PANELS), trials),
        "score": (stored, STORED, max(1, trials // 8)),
    }
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        rows = {name: [pool.submit(work[name][0], cell, work[name][2]) for cell in work[name][1]] for name in names}
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
    most = most_allowed(rows["shift"][0]["trials"], len(rows["shift"]))
    yield f"\nShift: at most {most} claims are allowed in a cell; the worst:"
    yield from map(str, sorted(rows["shift"], key=worst_of)[-3:])
    yield from map(str, rows["models"])
    yield ""
    yield from map(str, rows["headline"])
    yield ""
    yield from map(str, rows["score"])


def worst_of(row: dict[str, Any]) -> int:
    """Return the false claims of a row beside as many bystanders as give most."""
    return max(int(row[f"beside {m}"]) for m in BYSTANDERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="the others stay as FILE has them")
    given = parser.parse_args()
    before = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    rows = before | measured(given.trials, given.workers, given.tables)
    given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print("\n".join(tables(rows)))
    false = {"null": [row["false"] for row in rows["null"]], "shift": list(map(worst_of, rows["shift"]))}
    if any(max(of) > most_allowed(rows[name][0]["trials"], len(of)) for name, of in false.items()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
