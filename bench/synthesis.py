"""How fast records are made from a target's answers, many climbs in lockstep against one at a time.

    python bench/synthesis.py --out bench/results/synthesis.json
    python bench/synthesis.py --records 1000 --naive 20

The task has the shape of the paper's Purchase-100 (600 binary features, 100 classes, 10,000 training records, a network of
128 tanh units) and synthetic content; it measures speed and queries, nothing else. The plain form climbs one record after
the other, as Algorithm 1 is written, with the same random draws; it is measured on the first few records of every class
and scaled to the number wanted by its time per query. Needs the torch extra.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
from shadows import purchase_like  # beside this file

from miaudit.recipes import Network
from miaudit.synthesis import Climbing, Climbs, Domain, asking
from miaudit.synthesis.streams import bases, keys, uniforms
from miaudit.targets import Target, as_target


class Timed:
    """Passes questions on, and counts them and their seconds."""

    def __init__(self, ask):
        self.ask, self.seconds, self.queries = ask, 0.0, 0

    def __call__(self, values):
        began = time.perf_counter()
        answer = self.ask(values)
        self.seconds += time.perf_counter() - began
        self.queries += len(values)
        return answer


def plain_climb(ask, klass: int, width: int, options: Climbing, key: np.ndarray) -> tuple[np.ndarray | None, int]:
    """Climb once; return the record, None where the climb failed, and the queries spent."""

    def draw(step: int, place: np.ndarray) -> np.ndarray:
        return uniforms(bases(key, np.array([step])), place)

    x = np.floor(draw(0, np.arange(width)) * 2).astype(np.uint8)
    best_x, best, rejected, k = x, 0.0, 0, min(options.k_max, width)
    for step in range(1, options.iter_max + 1):
        y = ask(x[None])[0]
        if y[klass] >= best:
            if y[klass] > options.conf_min and y.argmax() == klass and draw(step, np.array([0]))[0] < y[klass]:
                return x, step
            best_x, best, rejected = x, y[klass], 0
        else:
            rejected += 1
            if rejected > options.rej_max:
                k, rejected = max(options.k_min, -(-k // 2)), 0
        chosen: set[int] = set()
        last = np.arange(width - k, width)
        drawn = np.floor(draw(step, 1 + np.arange(k)) * (last + 1)).astype(np.int64)
        for t, final in zip(drawn.tolist(), last.tolist(), strict=True):
            chosen.add(final if t in chosen else t)
        x = best_x.copy()
        x[list(chosen)] ^= 1
    return None, options.iter_max


def plain(ask, wanted: np.ndarray, width: int, options: Climbing, seed: int) -> tuple[list[np.ndarray], int, float]:
    """Make the wanted records of every class one climb after the other; return them, the queries and the seconds."""
    began, made, queries = time.perf_counter(), [], 0
    for klass, count in enumerate(wanted.tolist()):
        got = failed = attempt = 0
        while got < count and failed < (options.give_up if got else min(options.give_up, options.give_up_first)):
            record, spent = plain_climb(ask, klass, width, options, keys(seed, np.array([klass]), np.array([attempt])))
            queries, attempt = queries + spent, attempt + 1
            if record is None:
                failed += 1
            else:
                got += 1
                made.append(record)
    return made, queries, time.perf_counter() - began


def trained_target(epochs: int) -> tuple[Target, Domain]:
    data = purchase_like(20_000)
    recipe = Network.preset("purchase", epochs=epochs)
    model = recipe.fit(data.X[:10_000], data.y[:10_000], classes=100, seed=0)
    right = [
        (model.predict_proba(data.X[part]).argmax(1) == data.y[part]).mean() for part in np.split(np.arange(20_000), 2)
    ]
    print(f"target: {recipe.name}, train accuracy {right[0]:.3f}, test {right[1]:.3f}")
    return as_target(model, classes=100), Domain.of(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=30_000)
    parser.add_argument("--naive", type=int, default=200, help="records of the plain form")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    target, domain = trained_target(given.epochs)
    options, seed = Climbing(), 0
    wanted = np.full(100, given.records // 100)

    ask = Timed(asking(target, domain))
    began = time.perf_counter()
    climbs = Climbs(domain, wanted, options, seed=seed)
    climbs.run(ask)
    seconds = time.perf_counter() - began
    made = int(climbs.made.sum())

    few = np.minimum(wanted, max(1, given.naive // 100))
    one = Timed(asking(target, domain))
    _, plain_queries, plain_seconds = plain(one, few, domain.width, options, seed)
    same = Climbs(domain, few, options, seed=seed)
    same.run(ask.ask)
    figures = {
        "records": made,
        "queries": climbs.queries,
        "queries_per_record": climbs.queries / made,
        "failed_climbs": int(climbs.failed.sum()),
        "seconds": seconds,
        "share_of_time_in_the_target": ask.seconds / seconds,
        "plain_records": int(same.made.sum()),
        "plain_queries": plain_queries,
        "lockstep_queries_for_the_same_records": same.queries,
        "plain_seconds": plain_seconds,
        "plain_share_of_time_in_the_target": one.seconds / plain_seconds,
        "plain_seconds_scaled": plain_seconds / plain_queries * climbs.queries,
        "times_faster": plain_seconds / plain_queries * climbs.queries / seconds,
        "mean_confidence": float(climbs.records()["confidence"].mean()),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "load_before": os.getloadavg()[0],
    }
    text = json.dumps(figures, indent=2)
    print(text)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
