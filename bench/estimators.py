"""What a run costs over the fits themselves: shadow models of estimators, trained by the engine and by a plain loop.

    python bench/estimators.py --jobs 2 --models 20 --rounds 1 --memory --out bench/results/estimators.json

Models of each estimator, as its library makes it, are fitted on 5,000 records of 100 numbers each and answer 10,000: by a
process for each job that does nothing else, and by `miaudit`'s pool on as many processes; the same draws, one thread of
arithmetic each, in turns. For the plain loop, seconds of the fits, and of fits and answers, once libraries are loaded and the
records are there; for the pool, those of the whole: starting the processes, fits, answers, checks, and rows on disk.
Processor seconds are of all processes.
What starting takes is told apart by a run of two models: the rest grows with the models. With ``--memory``, what the workers
hold of 80 MB of records: the most of their proportional set sizes (PSS) together, with an array and with a frame.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before any library loads

import numpy as np

from miaudit.data import from_arrays
from miaudit.recipes import as_recipe
from miaudit.shadows.design import Draws, draw_disjoint
from miaudit.shadows.pool import ShadowPool
from miaudit.store import Store

RECORDS, FEATURES, CLASSES, TRAIN = 20_000, 100, 10, 5_000
TREES = int(os.environ.get("TREES", "100"))  # what all four libraries grow unless they are told otherwise


def estimator(name: str) -> Any:
    """Return an estimator as its library makes it, with TREES rounds; libraries that are not installed raise ImportError."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    if name == "forest":
        return RandomForestClassifier(TREES, n_jobs=1)
    if name == "boosting":
        return HistGradientBoostingClassifier(max_iter=TREES)
    if name == "logistic":
        return LogisticRegression()
    if name == "xgboost":
        from xgboost import XGBClassifier

        return XGBClassifier(n_estimators=TREES, n_jobs=1)
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=TREES, n_jobs=1, verbose=-1)


NAMES = ("forest", "boosting", "logistic", "xgboost", "lightgbm")


def data(n: int = RECORDS, width: int = FEATURES) -> tuple[np.ndarray, np.ndarray]:
    """Return records of bits and fractions, and classes that some of them tell."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, width)).astype(np.float32)
    X[:, : width // 2] = X[:, : width // 2] > 0.5
    y = (X[:, :20] @ rng.normal(size=(20, CLASSES)) + rng.gumbel(size=(n, CLASSES))).argmax(axis=1)
    return X, y


def draws_of(models: int) -> Draws:
    """Return who is trained on what, and asked about: 5,000 records each, and about 5,000 others beside them."""
    return draw_disjoint(np.arange(RECORDS), shadows=models, train=TRAIN, test=TRAIN, seed=0)


def loop(name: str, models: int, jobs: int, number: int, barrier: Any, results: Any) -> None:
    """Fit every ``jobs``-th model and ask it, and put seconds of the fits and of the answers, wall and processor."""
    from sklearn.base import clone

    warnings.simplefilter("ignore")
    (X, y), draws, original = data(), draws_of(models), estimator(name)
    clone(original).fit(X[:500], y[:500]).predict_proba(X[:10])  # what is loaded at first use
    barrier.wait()
    fits, answers = np.zeros(2), np.zeros(2)
    for i in range(number, models, jobs):
        clock = np.array([time.perf_counter(), time.process_time()])
        rows, asked = draws.train[i], draws.asked[i]
        model = clone(original).set_params(random_state=i).fit(X[rows], y[rows])
        middle = np.array([time.perf_counter(), time.process_time()])
        model.predict_proba(X[asked])
        fits += middle - clock
        answers += np.array([time.perf_counter(), time.process_time()]) - middle
    results.put([fits.tolist(), answers.tolist()])


def plain(name: str, models: int, jobs: int) -> dict[str, float]:
    """Return what a loop in each of some processes takes."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(jobs), context.Queue()
    work = [context.Process(target=loop, args=(name, models, jobs, i, barrier, results)) for i in range(jobs)]
    for process in work:
        process.start()
    seconds = np.array([results.get() for _ in work])  # (jobs, fits and answers, wall and processor)
    for process in work:
        process.join()
    return {
        "fits_wall": float(seconds[:, 0, 0].max()),
        "fits_cpu": float(seconds[:, 0, 1].sum()),
        "all_wall": float(seconds[:, :, 0].sum(axis=1).max()),
        "all_cpu": float(seconds[:, :, 1].sum()),
    }


class Below:
    """Watches the processes below this one, children or not: processor seconds of each, and the most of their PSS together."""

    def __init__(self, *, memory: bool = False) -> None:
        self._memory = memory
        self.cpu: dict[int, float] = {}
        self.pss = 0  # MiB of all of them at one time
        self.own = 0.0  # processor seconds of watching
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Below:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            pss = 0
            for process in below(os.getpid()):
                try:
                    times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
                    text = Path(f"/proc/{process}/smaps_rollup").read_text() if self._memory else ""
                except OSError:
                    continue
                self.cpu[process] = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
                pss += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
            self.pss = max(self.pss, pss // 1024)
            self.own = time.thread_time()


def below(process: int) -> list[int]:
    """Return the processes below a process."""
    children: list[int] = []
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    except OSError:
        pass
    return children + [pid for child in children for pid in below(child)]


def pool(name: str, models: int, jobs: int) -> dict[str, float]:
    """Return what the engine takes for the same models; to be run in a process of its own."""
    (X, y), draws = data(), draws_of(models)
    with tempfile.TemporaryDirectory() as folder, Below() as watch:
        shadows = ShadowPool(from_arrays(X, y), as_recipe(estimator(name)), draws, Store(folder), 0)
        wall, cpu, own = time.perf_counter(), time.process_time(), watch.own
        shadows.run(workers=jobs, minimum=models)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu - (watch.own - own)
    return {"wall": wall, "cpu": cpu + sum(watch.cpu.values())}


def in_own_process(*arguments: object) -> dict[str, float]:
    """Return what this file prints when it is run with these arguments."""
    command = [sys.executable, __file__, *map(str, arguments)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return json.loads(text.splitlines()[-1])


def compare(name: str, models: int, jobs: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of both ways, and their ratios."""
    loops, pools, starts = [], [], []
    for turn in range(rounds):
        for way in (0, 1) if turn % 2 else (1, 0):
            if way:
                pools.append(in_own_process("--pool", name, models, jobs))
                starts.append(in_own_process("--pool", name, 2, jobs))
            else:
                loops.append(plain(name, models, jobs))

    def middle(of: list[dict[str, float]], key: str) -> float:
        return statistics.median(each[key] for each in of)

    line: dict[str, Any] = {"estimator": name, "models": models, "loop": loops, "pool": pools, "pool_of_2": starts}
    for clock in ("wall", "cpu"):
        own, few = middle(pools, clock), middle(starts, clock)
        fits, whole = middle(loops, f"fits_{clock}"), middle(loops, f"all_{clock}")
        at_once = 1 if clock == "cpu" else jobs
        grows = (own - few) / (models / at_once - 2 / at_once)
        line[clock] = {
            "over_fits": round(own / fits - 1, 3),
            "over_fits_and_answers": round(own / whole - 1, 3),
            "a_further_model_over_its_fit_and_answers": round(grows * models / at_once / whole - 1, 3),
        }
    return line


def memory(kind: str, jobs: int) -> dict[str, Any]:
    """Return the most PSS of four workers and their server that trains trees on 200,000 records of 100 numbers (80 MB)."""
    from sklearn.tree import DecisionTreeClassifier

    X: Any
    X, y = data(200_000)
    if kind == "frame":
        import pandas as pd

        X = pd.DataFrame(X, columns=[f"c{i}" for i in range(FEATURES)])
    size = 80_000_000
    draws = draw_disjoint(np.arange(200_000), shadows=4 * jobs, train=TRAIN, test=TRAIN, seed=0)
    with tempfile.TemporaryDirectory() as folder, Below(memory=True) as watch:
        recipe = as_recipe(DecisionTreeClassifier(max_depth=8))
        shadows = ShadowPool(from_arrays(X, y), recipe, draws, Store(folder), 0)
        shadows.run(workers=jobs, minimum=1)
    return {"records": kind, "mb_of_records": size / 1e6, "workers": jobs, "peak_pss_mib": watch.pss}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--trees", type=int, default=TREES, help="trees of a forest, rounds of boosting")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument(
        "--pool",
        nargs=3,
        metavar=("NAME", "MODELS", "JOBS"),
        help="print the seconds of one run of miaudit alone, as JSON",
    )
    parser.add_argument("--pss", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ["TREES"] = str(options.trees)  # read by the processes that this one starts
    if options.pool:
        print(json.dumps(pool(options.pool[0], int(options.pool[1]), int(options.pool[2]))))
        return
    if options.pss:
        print(json.dumps(memory(options.pss[0], int(options.pss[1]))))
        return
    result: dict[str, Any] = {
        "models": options.models,
        "trained_on": TRAIN,
        "trees": options.trees,
        "processes": options.jobs,
        "rounds": options.rounds,
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "estimators": [],
    }
    for name in options.names:
        result["estimators"].append(compare(name, options.models, options.jobs, options.rounds))
        print(name, json.dumps({clock: result["estimators"][-1][clock] for clock in ("wall", "cpu")}), flush=True)
    if options.memory:
        result["memory"] = [in_own_process("--pss", kind, 4) for kind in ("array", "frame")]
        print(json.dumps(result["memory"]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
