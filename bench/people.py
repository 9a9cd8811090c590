"""How often a 95 % interval misses 1/2 where nothing leaks and people have many records: python bench/people.py [--trials N]

Bare normal scores of people on two sides, all from one law; two records of one person correlate. Three intervals of the area:
records taken as independent, records with the interval widened by person, and people with one score each. Prints the table
of docs/calibration.md: percent of trials in which the interval excludes 1/2, and in which it lies above it.
"""

from __future__ import annotations

import argparse

import numpy as np

from miaudit import stats

CELLS = (  # people a side, records each, correlation, law of the number of records
    (100, 5, 0.3, "equal"),
    (50, 20, 0.1, "equal"),
    (50, 20, 0.3, "equal"),
    (20, 50, 0.1, "equal"),
    (40, 10, 0.3, "equal"),
    (100, 4, 1.0, "equal"),
    (60, 8, 0.3, "geometric"),
    (40, 10, 0.3, "log-normal"),
    (20, 20, 0.1, "log-normal"),
    (10, 10, 0.5, "log-normal"),
    (10, 10, 0.5, "equal"),
    (400, 3, 0.3, "geometric"),
)


def side(rng: np.random.Generator, people: int, records: int, rho: float, law: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of one side's records, and whose they are."""
    if law == "equal":
        counts = np.full(people, records)
    elif law == "geometric":
        counts = rng.geometric(1 / records, people)
    else:
        counts = np.maximum(1, np.rint(np.exp(rng.normal(np.log(records) - 0.5, 1, people)))).astype(int)
    of = np.repeat(np.arange(people), counts)
    return np.sqrt(rho) * rng.normal(size=people)[of] + np.sqrt(1 - rho) * rng.normal(size=len(of)), of


def misses(cell: tuple[int, int, float, str], trials: int, seed: int) -> np.ndarray:
    """(3 intervals, 2) share of trials in which the interval excludes 1/2, and lies above it."""
    rng, counts = np.random.default_rng(seed), np.zeros((3, 2))
    for trial in range(trials):
        (ins, a), (outs, b) = side(rng, *cell), side(rng, *cell)
        b = b + 10**6  # other people
        person = stats.person_scores(ins, outs, a, b, seed=trial)
        intervals = (
            stats.auc_interval(ins, outs),
            stats.auc_interval(ins, outs, in_people=a, out_people=b),
            stats.auc_interval(person.inside, person.outside),
        )
        counts += [(not area.low <= 0.5 <= area.high, area.low > 0.5) for area in intervals]
    return counts / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    print("| people a side x records, correlation | records taken as independent | records, by person | people |")
    print("|---|---|---|---|")
    for cell in CELLS:
        people, records, rho, law = cell
        what = f"{people} x {records}{'' if law == 'equal' else f' on average ({law})'}, {rho:g}"
        shares = [f"{100 * both:.1f} ({100 * above:.1f})" for both, above in misses(cell, given.trials, given.seed)]
        print("| " + " | ".join([what, *shares]) + " |", flush=True)


if __name__ == "__main__":
    main()
