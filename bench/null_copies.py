"""How often a leak is reported where there is none, and seen where there is one, when the population holds audited records.

    python bench/null_copies.py [--trials N]

A forest really trained on neither side (or, for what must be seen, on the members) is audited end to end, 150 records a side
and 600 further ones, four shadow models. Beside the further records the population holds a share of the members, of the
non-members or of both, as float32. Prints a line for each cell; all cells together may report a leak where there is none in
5 % of the trials, by the exact binomial limit at 0.1 %.
"""

from __future__ import annotations

import argparse
import itertools
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from scipy.stats import binom
from sklearn.ensemble import ExtraTreesClassifier

import miaudit
from miaudit.seeds import generator

N, FURTHER = 150, 600
SIDES = {"members": slice(0, N), "non-members": slice(N, 2 * N), "both": slice(0, 2 * N)}
CELLS = list(itertools.product(SIDES, (0.0, 0.01, 0.1, 1.0), ("disjoint", "overlapping")))


def verdict(of: str, share: float, design: str, seed: int, leaks: bool) -> str:
    """Return the kind of one audit's verdict."""
    rng = generator(seed, "copies")
    y = rng.integers(0, 3, 3 * N + FURTHER)
    X = rng.normal(size=(len(y), 6)) + y[:, None] / 2
    audited, away, further = np.arange(2 * N), np.arange(2 * N, 3 * N), np.arange(3 * N, len(y))
    copies = audited[SIDES[of]][: round(share * len(audited[SIDES[of]]))]
    seen = audited[:N] if leaks else away
    population = np.concatenate([X[copies].astype(np.float32), X[further]]), y[np.concatenate([copies, further])]
    result = miaudit.audit(
        ExtraTreesClassifier(10, random_state=seed).fit(X[seen], y[seen]),
        members=(X[:N], y[:N]),
        nonmembers=(X[N : 2 * N], y[N : 2 * N]),
        population=population,
        shadows=4,
        jobs=0,
        seed=seed,
        design=design,
        attacks=("calibration", "rmia", "shokri"),
    )
    return str(result.verdict_kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    wrong = 0
    print("| copies of | share | design | called a leak where none is | seen where one is |\n|---|---|---|---|---|")
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        for of, share, design in CELLS:
            runs = [
                [pool.submit(verdict, of, share, design, seed, leaks) for seed in range(given.trials)]
                for leaks in (False, True)
            ]
            quiet, loud = ([run.result() for run in each] for each in runs)
            wrong += sum(kind in ("leak", "inverted") for kind in quiet)
            counts = (f"{sum(kind == 'leak' for kind in each)} of {given.trials}" for each in (quiet, loud))
            print(f"| {of} | {share:.0%} | {design} | {' | '.join(counts)} |", flush=True)
    most = int(binom.ppf(0.999, len(CELLS) * given.trials, 0.05))
    print(f"\n{wrong} false verdicts in {len(CELLS) * given.trials} audits; at most {most} are allowed.")
    if wrong > most:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
