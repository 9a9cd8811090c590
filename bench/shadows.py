"""How fast shadow models are trained here, against what the machine could do and what people do.

    python bench/shadows.py [NAME ...] [--out FILE]

Every figure is a ratio of things run in turn, the median of the rounds. Data are synthetic, of the shapes of the
literature; they measure speed and nothing else. Needs the torch extra.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from miaudit.attacks import Shokri
from miaudit.data import Dataset, from_arrays
from miaudit.evidence import Evidence
from miaudit.recipes import Network, Recipe
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.engine import one_thread, run_jobs
from miaudit.shadows.pool import ShadowPool
from miaudit.store import Store

CORES = len(os.sched_getaffinity(0))


def purchase_like(n: int, *, seed: int = 0) -> Dataset:
    """Return n records of 600 bits at density 0.23 in 100 classes; 86 % of the bits are noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 100, n)
    planted = rng.random((100, 600)) < 0.23
    noise = rng.random((n, 600)) < 0.86
    X = np.where(noise, rng.random((n, 600)) < 0.23, planted[y]).astype(np.uint8)
    y[:100] = np.arange(100)
    return from_arrays(X, y)


def seconds_of(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def in_turn(acts: dict[str, Callable[[], object]], *, rounds: int = 3) -> dict[str, float]:
    """Return the median seconds of each act, run one after the other, round by round."""
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            times[name].append(seconds_of(act))
    return {name: statistics.median(each) for name, each in times.items()}


def ours(dataset: Dataset, recipe: Recipe, *, models: int, train: int, test: int = 100, workers: int = CORES) -> None:
    """Train shadow models as a run does: processes, start-up, predictions and rows on disk included."""
    with tempfile.TemporaryDirectory() as folder:
        draws = draw_disjoint(np.arange(len(dataset)), shadows=models, train=train, test=test, seed=0)
        pool = ShadowPool(dataset, recipe, draws, Store(folder), 0)
        failures = run_jobs(pool.plan, dataset, recipe, pool.store, workers=workers)
        assert not failures, failures[0].traceback


def plain_loop(
    X: np.ndarray, y: np.ndarray, sizes: list[int], *, models: int, epochs: int, batch: int, rate: float = 0.1
) -> None:
    """Train one model after the other as tutorials do: Subset, DataLoader, nn.Module, loss.item(), torch's threads."""
    data = torch.utils.data.TensorDataset(torch.from_numpy(X.astype(np.float32)), torch.from_numpy(y))
    for seed in range(models):
        torch.manual_seed(seed)
        layers: list[torch.nn.Module] = []
        for i in range(len(sizes) - 1):
            layers += [torch.nn.Linear(sizes[i], sizes[i + 1])] + [torch.nn.Tanh()] * (i < len(sizes) - 2)
        net = torch.nn.Sequential(*layers)
        optimizer = torch.optim.SGD(net.parameters(), lr=rate)
        loader = torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True)
        total = 0.0
        for _ in range(epochs):
            for records, labels in loader:
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(net(records), labels)
                loss.backward()
                optimizer.step()
                total += loss.item()


def gemm_roofline(threads: int) -> float:
    """Return the GFLOP/s of a 2048^3 float32 product with so many threads, the best of five."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = min(seconds_of(lambda: torch.mm(a, b)) for _ in range(5))
    torch.set_num_threads(before)
    return 2 * 2048**3 / best / 1e9


def flops(sizes: list[int], n: int) -> float:
    """Return the floating-point operations of one epoch over n records; the first layer has no input gradient."""
    products = [sizes[i] * sizes[i + 1] for i in range(len(sizes) - 1)]
    return 2.0 * n * (3 * sum(products) - products[0])


def small_net() -> dict[str, object]:
    """600-128-100, 64 models x 10,000 records, batch 256, SGD, against the plain loop and scikit-learn."""
    from sklearn.neural_network import MLPClassifier

    data, epochs, n = purchase_like(20_000), 10, 10_000
    recipe = Network(hidden=(128,), optimizer="sgd", learning_rate=0.1, batch=256, epochs=epochs, standardize=False)
    X, y = np.asarray(data.X)[:n], data.y[:n]
    theirs = MLPClassifier(
        (128,), activation="tanh", solver="sgd", momentum=0.0, learning_rate_init=0.1, batch_size=256, alpha=0.0,
        max_iter=5, n_iter_no_change=99,
    )  # fmt: skip

    def scikit_learn() -> None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.fit(X.astype(np.float32), y)

    took = in_turn(
        {
            "ours": lambda: ours(data, recipe, models=64, train=n),
            "plain": lambda: plain_loop(X, y, [600, 128, 100], models=4, epochs=5, batch=256),
            "sklearn": scikit_learn,
        }
    )
    each = {"ours": took["ours"] / 64 / epochs, "plain": took["plain"] / 20, "sklearn": took["sklearn"] / 5}
    roof = gemm_roofline(CORES)
    return {
        "ms_per_model_epoch": {name: round(1000 * s, 1) for name, s in each.items()},
        "times_the_plain_loop": round(each["plain"] / each["ours"], 2),
        "times_scikit_learn": round(each["sklearn"] / each["ours"], 2),
        "share_of_gemm_roofline": round(flops([600, 128, 100], n) / each["ours"] / 1e9 / roof, 3),
        "gemm_gflops": round(roof),
    }


def large_net() -> dict[str, object]:
    """600-1024-512-256-128-100, 4 models x 10,000 records, batch 256, SGD: share of the GEMM roofline."""
    data, epochs, n = purchase_like(20_000), 6, 10_000
    hidden = (1024, 512, 256, 128)
    recipe = Network(hidden=hidden, optimizer="sgd", learning_rate=0.1, batch=256, epochs=epochs, standardize=False)
    took = in_turn({"ours": lambda: ours(data, recipe, models=4, train=n)}, rounds=3)["ours"]
    roof = gemm_roofline(CORES)
    return {
        "ms_per_model_epoch": round(1000 * took / 4 / epochs, 1),
        "share_of_gemm_roofline": round(flops([600, *hidden, 100], n) * 4 * epochs / took / 1e9 / roof, 3),
        "gemm_gflops": round(roof),
    }


def attack_models() -> dict[str, object]:
    """100 per-class attack models on 400,000 rows of 100 probabilities."""
    rng = np.random.default_rng(0)
    shadows = rng.dirichlet(np.full(100, 0.1), size=(20, 20_000)).astype(np.float32)
    labels = rng.integers(0, 100, 20_000)
    inside = np.zeros((20, 20_000), dtype=bool)
    inside[:, :10_000] = True
    evidence = Evidence(shadows[0], shadows, inside, labels)

    def act() -> None:
        with one_thread():
            Shokri().run(evidence)

    return {"seconds": round(in_turn({"ours": act})["ours"], 1)}


AUDIT = """
[data]
path = "{folder}/records.npz"
[split]
members = 10000
[recipe.network]
hidden = [128]
optimizer = "sgd"
learning_rate = 0.1
batch = 100
epochs = 100
standardize = false
[shadows]
count = 20
"""


def whole_audit() -> dict[str, object]:
    """A purchase-shaped audit: 20 shadows x 10,000 records x 100 epochs, attack models, controls, report."""
    with tempfile.TemporaryDirectory() as folder:
        data = purchase_like(60_000)
        np.savez(Path(folder) / "records.npz", X=data.X, y=data.y)
        plan = Path(folder) / "plan.toml"
        plan.write_text(AUDIT.format(folder=folder))
        command = [sys.executable, "-m", "miaudit", "run", str(plan), "--out", f"{folder}/out"]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _tree_rss(process.pid))
            time.sleep(0.05)
        document = json.loads((Path(folder) / "out" / "result.json").read_text())
        return {
            "seconds": round(time.perf_counter() - began, 1),
            "peak_mib_of_all_processes": peak // 2**20,
            "stages": document["provenance"]["seconds"],
            "shokri_precision": document["attacks"][0]["pooled"]["precision"],
        }


def _tree_rss(root: int) -> int:
    """Bytes in memory of a process and its children; pages they share count once each."""
    children = {root}
    total = 0
    for stat in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) in children or int(stat.parent.name) in children:
            children.add(int(stat.parent.name))
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


def neighbour() -> dict[str, object]:
    """The small net with and without one busy process beside it."""
    data = purchase_like(20_000)
    recipe = Network(optimizer="sgd", learning_rate=0.1, batch=256, epochs=5, standardize=False)

    def quiet() -> None:
        ours(data, recipe, models=16, train=10_000)

    def busy() -> None:
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            quiet()
        finally:
            other.kill()
            other.wait()

    took = in_turn({"quiet": quiet, "busy": busy})
    return {"times_slower": round(took["busy"] / took["quiet"], 2)}


def growth() -> dict[str, object]:
    """Seconds from 8 to 128 models, and from 2,500 to 80,000 records a model, with the deviation from linear."""
    recipe = Network(optimizer="sgd", learning_rate=0.1, batch=256, epochs=2, standardize=False)
    data = purchase_like(20_000)
    models = {k: statistics.median(seconds_of(lambda k=k: ours(data, recipe, models=k, train=10_000)) for _ in range(3))
              for k in (8, 16, 32, 64, 128)}  # fmt: skip
    data = purchase_like(90_000)
    records = {n: statistics.median(seconds_of(lambda n=n: ours(data, recipe, models=8, train=n)) for _ in range(3))
               for n in (2_500, 5_000, 10_000, 20_000, 40_000, 80_000)}  # fmt: skip
    return {"models": _line(models), "records": _line(records)}


def _line(seconds: dict[int, float]) -> dict[str, object]:
    x, s = np.array(list(seconds)), np.array(list(seconds.values()))
    slope, start = np.polyfit(x, s, 1, w=1 / s)
    off = np.abs(s / (start + slope * x) - 1).max()
    return {"seconds": {str(k): round(v, 2) for k, v in seconds.items()}, "start": round(float(start), 2),
            "per_unit": float(slope), "worst_deviation_from_a_line": round(float(off), 3)}  # fmt: skip


BENCHES = {act.__name__: act for act in (small_net, large_net, attack_models, whole_audit, neighbour, growth)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"among {', '.join(BENCHES)}; default: all")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON, too")
    arguments = parser.parse_args()
    found = {"machine": {"processor": _processor(), "cores": CORES, "python": platform.python_version(),
                         "torch": torch.__version__, "numpy": np.__version__}}  # fmt: skip
    for name in arguments.names or BENCHES:
        found[name] = {"what": (BENCHES[name].__doc__ or "").splitlines()[0], **BENCHES[name]()}
        print(json.dumps({name: found[name]}), flush=True)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
