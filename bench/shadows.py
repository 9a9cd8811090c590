"""How fast shadow models are trained here, against what the machine could do and what people do.

    python bench/shadows.py [NAME ...] [--out FILE] [--markdown] [--quick]

Ratios are of things run in turn, medians of three rounds; seconds of the attack models are a median of three, and the whole
audit is run once for its seconds and once for its memory. Data are synthetic, of the shapes of the
literature; they measure speed and nothing else. Needs the torch extra. ``--quick`` checks in two minutes that everything
runs; its figures mean nothing. ``--markdown`` prints the table of the documentation.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from miaudit.attacks import Shokri
from miaudit.data import Dataset, from_arrays
from miaudit.evidence import Evidence
from miaudit.recipes import ModuleRecipe, Network, Recipe
from miaudit.shadows.design import draw_disjoint
from miaudit.shadows.engine import run_jobs
from miaudit.shadows.pool import ShadowPool
from miaudit.store import Store
from miaudit.threads import one_thread

CORES = len(os.sched_getaffinity(0))
QUICK = False


def size(whole: int, quick: int) -> int:
    return quick if QUICK else whole


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
    for _ in range(size(rounds, 1)):
        for name, act in acts.items():
            times[name].append(seconds_of(act))
    return {name: statistics.median(each) for name, each in times.items()}


def ours(dataset: Dataset, recipe: Recipe, *, models: int, train: int, test: int = 100, workers: int = CORES) -> None:
    """Train shadow models as a run does: processes, start-up, predictions and rows on disk included."""
    with tempfile.TemporaryDirectory() as folder:
        draws = draw_disjoint(np.arange(len(dataset)), shadows=models, train=train, test=test, seed=0)
        pool = ShadowPool(dataset, recipe, draws, Store(folder), 0)
        failures = run_jobs(pool.plan, dataset, recipe, pool.store, workers=workers).failures
        assert not failures, failures[0].traceback


def plain_loop(
    X: np.ndarray, y: np.ndarray, sizes: list[int], *, models: int, epochs: int, batch: int, rate: float = 0.1
) -> None:
    """Train one model after the other as tutorials do: Subset, DataLoader, nn.Module, loss.item(), torch's threads."""
    X = X.astype(np.float32)
    for seed in range(models):
        torch.manual_seed(seed)
        layers: list[torch.nn.Module] = []
        for i in range(len(sizes) - 1):
            layers += [torch.nn.Linear(sizes[i], sizes[i + 1])] + [torch.nn.Tanh()] * (i < len(sizes) - 2)
        _loop(torch.nn.Sequential(*layers), X, y, epochs=epochs, batch=batch, rate=rate)


def _loop(net: torch.nn.Module, X: np.ndarray, y: np.ndarray, *, epochs: int, batch: int, rate: float) -> None:
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
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


GEMM, PRODUCTS = 2048, 40


def gemm() -> Callable[[], None]:
    """Return what multiplies float32 matrices of 2048 x 2048 on all cores: the roofline, run in turn with the rest."""
    a, b, product = torch.randn(3, GEMM, GEMM)

    def act() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(CORES)
        for _ in range(PRODUCTS):
            torch.mm(a, b, out=product)
        torch.set_num_threads(before)

    act()
    return act


def roofline(seconds: float) -> float:
    """Return floating-point operations a second of `gemm`."""
    return PRODUCTS * 2 * GEMM**3 / seconds


def flops(sizes: list[int], n: int) -> float:
    """Return the floating-point operations of one epoch over n records; the first layer has no input gradient."""
    products = [sizes[i] * sizes[i + 1] for i in range(len(sizes) - 1)]
    return 2.0 * n * (3 * sum(products) - products[0])


def small_net() -> dict[str, object]:
    """600-128-100, 64 models x 10,000 records, batch 256, SGD, against the plain loop and scikit-learn."""
    from sklearn.neural_network import MLPClassifier

    data, epochs, n, models = purchase_like(20_000), size(20, 2), 10_000, size(64, 8)
    recipe = Network(hidden=(128,), optimizer="sgd", learning_rate=0.1, batch=256, epochs=epochs, standardize=False)
    X, y = np.asarray(data.X)[:n], data.y[:n]
    theirs = MLPClassifier(
        (128,), activation="tanh", solver="sgd", momentum=0.0, learning_rate_init=0.1, batch_size=256, alpha=0.0,
        max_iter=epochs, n_iter_no_change=99,
    )  # fmt: skip

    def scikit_learn() -> None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.fit(X.astype(np.float32), y)

    took = in_turn(
        {
            "ours": lambda: ours(data, recipe, models=models, train=n),
            "bfloat16": lambda: ours(data, replace(recipe, dtype="bfloat16"), models=models, train=n),
            "plain": lambda: plain_loop(X, y, [600, 128, 100], models=size(4, 1), epochs=epochs, batch=256),
            "sklearn": scikit_learn,
            "gemm": gemm(),
        }
    )
    each = {name: took[name] / models / epochs for name in ("ours", "bfloat16")}
    each |= {"plain": took["plain"] / size(4, 1) / epochs, "sklearn": took["sklearn"] / epochs}
    roof = roofline(took["gemm"])
    return {
        "ms_per_model_epoch": {name: round(1000 * s, 1) for name, s in each.items()},
        "times_the_plain_loop": round(each["plain"] / each["ours"], 2),
        "times_the_plain_loop_in_bfloat16": round(each["plain"] / each["bfloat16"], 2),
        "times_scikit_learn": round(each["sklearn"] / each["ours"], 2),
        "share_of_gemm_roofline": round(flops([600, 128, 100], n) / each["ours"] / roof, 3),
        "gemm_gflops": round(roof / 1e9),
    }


def wide_module() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(600, 128), torch.nn.Tanh(), torch.nn.Linear(128, 100))


def narrow_module() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))


def module_net() -> dict[str, object]:
    """Modules of the user's own, 600-128-100 and 64-32-10, in groups and one at a time, in this process on one core."""
    epochs, n, models = size(4, 1), 10_000, size(16, 8)
    digits = np.random.default_rng(0)
    narrow = from_arrays(digits.random((20_000, 64)).astype(np.float32), np.arange(20_000) % 10)
    acts: dict[str, Callable[[], object]] = {}
    for name, data, module in (
        ("600-128-100", purchase_like(20_000), wide_module),
        ("64-32-10", narrow, narrow_module),
    ):
        recipe = ModuleRecipe(module, learning_rate=0.1, batch=256, epochs=epochs)
        alone = replace(recipe, schedule="steps", milestones=(1,), gamma=1.0)  # the same rates, but not recognised
        for way, made in (("in groups", recipe), ("one at a time", alone)):
            acts[f"{name} {way}"] = lambda data=data, made=made: ours(data, made, models=models, train=n, workers=0)
    took = in_turn(acts)
    return {
        "ms_per_model_epoch": {name: round(1000 * s / models / epochs, 1) for name, s in took.items()},
        "times_one_at_a_time": {
            name: round(took[f"{name} one at a time"] / took[f"{name} in groups"], 2)
            for name in ("600-128-100", "64-32-10")
        },
    }


def large_net() -> dict[str, object]:
    """600-1024-512-256-128-100, 4 models x 10,000 records, batch 256, SGD: share of the GEMM roofline."""
    data, epochs, n = purchase_like(20_000), size(12, 1), 10_000
    hidden = (1024, 512, 256, 128)
    recipe = Network(hidden=hidden, optimizer="sgd", learning_rate=0.1, batch=256, epochs=epochs, standardize=False)
    took = in_turn({"ours": lambda: ours(data, recipe, models=4, train=n), "gemm": gemm()})
    roof = roofline(took["gemm"])
    return {
        "ms_per_model_epoch": round(1000 * took["ours"] / 4 / epochs, 1),
        "share_of_gemm_roofline": round(flops([600, *hidden, 100], n) * 4 * epochs / took["ours"] / roof, 3),
        "gemm_gflops": round(roof / 1e9),
    }


def texas_like(n: int) -> Any:
    """Return n records of 6,170 bits, 59 of them set in the mean, as a CSR matrix."""
    rng = np.random.default_rng(0)
    rows = [rng.choice(6170, k, replace=False) for k in rng.poisson(59, n)]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32)
    columns = np.concatenate(rows).astype(np.int32)
    return scipy.sparse.csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(n, 6170))


def sparse() -> dict[str, object]:
    """6,170-128-100 on sparse bits, batch 100, SGD, against the plain loop on the same records made dense."""
    n, epochs, models = 10_000, size(4, 1), size(8, 2)
    X, y = texas_like(20_000), np.random.default_rng(1).integers(0, 100, 20_000)
    data = from_arrays(X, y)
    recipe = Network(optimizer="sgd", learning_rate=0.1, batch=100, epochs=epochs, standardize=False)
    dense = X[:n].toarray()
    took = in_turn(
        {
            "ours": lambda: ours(data, recipe, models=models, train=n),
            "plain": lambda: plain_loop(dense, y[:n], [6170, 128, 100], models=1, epochs=1, batch=100),
        }
    )
    each = {"ours": took["ours"] / models / epochs, "plain": took["plain"]}
    return {
        "ms_per_model_epoch": {name: round(1000 * s, 1) for name, s in each.items()},
        "times_the_plain_loop": round(each["plain"] / each["ours"], 2),
        "megabytes_of_67330_records": round(
            sum(a.nbytes for a in (X.data, X.indices, X.indptr)) / 20_000 * 67_330 / 1e6, 1
        ),
    }


def cnn() -> dict[str, object]:
    """32-64-128 convolutions on 32 x 32 colour, batch 128: bfloat16 channels_last against a plain float32 loop."""
    n, models = size(4_000, 500), 2
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (2 * n, 3, 32, 32)).astype(np.uint8), rng.integers(0, 10, 2 * n)
    y[:10] = np.arange(10)
    data = from_arrays(X, y)
    recipe = Network(
        kind="cnn", channels=(32, 64, 128), kernel=3, padding=1, hidden=(128,), activation="relu", optimizer="sgd",
        learning_rate=0.05, batch=128, epochs=size(6, 1),
    )  # fmt: skip

    def plain() -> None:
        layers: list[torch.nn.Module] = []
        for inward, outward in ((3, 32), (32, 64), (64, 128)):
            layers += [torch.nn.Conv2d(inward, outward, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        layers += [torch.nn.Flatten(), torch.nn.Linear(2048, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)]
        _loop(
            torch.nn.Sequential(*layers), X[:n].astype(np.float32) / 255, y[:n], epochs=size(2, 1), batch=128, rate=0.05
        )

    took = in_turn(
        {
            "ours": lambda: ours(data, recipe, models=models, train=n),
            "bfloat16": lambda: ours(data, replace(recipe, dtype="bfloat16"), models=models, train=n),
            "plain": plain,
        }
    )
    seen = {"plain": size(2, 1) * n, "ours": recipe.epochs * models * n, "bfloat16": recipe.epochs * models * n}
    images = {name: round(seen[name] / seconds) for name, seconds in took.items()}
    return {
        "images_per_second": images,
        "times_bfloat16_against_ours_in_float32": round(images["bfloat16"] / images["ours"], 2),
        "times_bfloat16_against_the_plain_loop": round(images["bfloat16"] / images["plain"], 2),
    }


def attack_models() -> dict[str, object]:
    """100 per-class attack models on 400,000 rows of 100 probabilities."""
    rng = np.random.default_rng(0)
    shadows = rng.dirichlet(np.full(100, 0.1), size=(size(20, 4), 20_000)).astype(np.float32)
    labels = rng.integers(0, 100, 20_000)
    inside = np.zeros((len(shadows), 20_000), dtype=bool)
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
epochs = {epochs}
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
        epochs = size(100, 5)
        plan.write_text(AUDIT.format(folder=folder, epochs=epochs))
        roof = roofline(seconds_of(gemm()))
        began = time.perf_counter()
        _audit(plan, Path(folder) / "timed").wait()
        seconds = time.perf_counter() - began
        document = json.loads((Path(folder) / "timed" / "result.json").read_text())
        # Once more for its memory: reading what a process holds keeps it from its work.
        process = _audit(plan, Path(folder) / "weighed")
        peak, program = 0, 0
        while process.poll() is None:
            sizes = _tree_bytes(process.pid)
            peak, program = max(peak, sum(sizes)), max(program, sizes[0])
            time.sleep(0.1)
        return {
            "seconds": round(seconds, 1),
            "times_training_at_the_roofline": round(seconds / (21 * epochs * flops([600, 128, 100], 10_000) / roof), 2),
            "gemm_gflops": round(roof / 1e9),
            "peak_mib_of_all_processes": peak // 2**20,
            "peak_mib_of_the_program": program // 2**20,
            "stages": document["provenance"]["seconds"],
            "shokri_precision": document["attacks"][0]["pooled"]["precision"],
        }


def _audit(plan: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "miaudit", "run", str(plan), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _tree_bytes(root: int) -> list[int]:
    """Bytes in memory of a process and of each of its children; a page they share is divided among them (PSS)."""
    children: dict[int, int] = {root: 0}
    for stat in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            pid = int(stat.parent.name)
            if pid == root or int(fields[1]) in children:
                rollup = (stat.parent / "smaps_rollup").read_text()
                children[pid] = (
                    next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
                )
        except (OSError, StopIteration):
            continue
    return list(children.values())


def neighbour() -> dict[str, object]:
    """The small net with and without one busy process beside it."""
    data = purchase_like(20_000)
    recipe = Network(optimizer="sgd", learning_rate=0.1, batch=256, epochs=5, standardize=False)

    def quiet() -> None:
        ours(data, recipe, models=size(16, 4), train=10_000)

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
    rounds = size(3, 1)
    models = {k: statistics.median(seconds_of(lambda k=k: ours(data, recipe, models=k, train=10_000)) for _ in range(rounds))
              for k in (8, 16, 32, 64, 128)[: size(5, 3)]}  # fmt: skip
    data = purchase_like(90_000)
    records = {n: statistics.median(seconds_of(lambda n=n: ours(data, recipe, models=8, train=n)) for _ in range(rounds))
               for n in (2_500, 5_000, 10_000, 20_000, 40_000, 80_000)[: size(6, 3)]}  # fmt: skip
    return {"models": _line(models), "records": _line(records)}


def _line(seconds: dict[int, float]) -> dict[str, object]:
    x, s = np.array(list(seconds)), np.array(list(seconds.values()))
    slope, start = np.polyfit(x, s, 1, w=1 / s)
    off = np.abs(s / (start + slope * x) - 1).max()
    return {"seconds": {str(k): round(v, 2) for k, v in seconds.items()}, "start": round(float(start), 2),
            "per_unit": float(slope), "worst_deviation_from_a_line": round(float(off), 3)}  # fmt: skip


BENCHES = {
    act.__name__: act
    for act in (small_net, module_net, sparse, large_net, cnn, attack_models, whole_audit, neighbour, growth)
}
ROWS = [  # what, figure (bench and its keys), unit, at least or at most
    ("600-128-100, 64 models, float32, against a plain DataLoader loop", "small_net.times_the_plain_loop", "x", ">= 4"),
    ("the same, share of the float32 GEMM roofline", "small_net.share_of_gemm_roofline", "", ">= 0.58"),
    ("the same in bfloat16, against the plain loop", "small_net.times_the_plain_loop_in_bfloat16", "x", ">= 7"),
    ("against scikit-learn's MLPClassifier", "small_net.times_scikit_learn", "x", ">= 3"),
    ("the same as a module, against the module one at a time", "module_net.times_one_at_a_time.600-128-100", "x", ""),
    ("64-32-10 as a module, against the module one at a time", "module_net.times_one_at_a_time.64-32-10", "x", ""),
    ("6,170 sparse bits, against the dense loop", "sparse.times_the_plain_loop", "x", ">= 4"),
    ("the same, records of Texas in memory", "sparse.megabytes_of_67330_records", "MB", "< 50"),
    ("600-1024-512-256-128-100, share of the GEMM roofline", "large_net.share_of_gemm_roofline", "", ">= 0.70"),
    ("small CNN, bfloat16 against a plain float32 loop", "cnn.times_bfloat16_against_the_plain_loop", "x", ">= 2.5"),
    ("the same against our own float32", "cnn.times_bfloat16_against_ours_in_float32", "x", ""),
    ("100 attack models on 400,000 rows", "attack_models.seconds", "s", "< 15"),
    ("whole purchase-shaped audit", "whole_audit.seconds", "s", "< 90"),
    ("the same, against its training at the GEMM roofline", "whole_audit.times_training_at_the_roofline", "x", "<= 1.35"),
    ("the same, memory of all processes", "whole_audit.peak_mib_of_all_processes", "MiB", "< 1024"),
    ("one busy neighbour, times slower", "neighbour.times_slower", "x", "<= 2"),
    ("8 to 128 models, worst deviation from a line", "growth.models.worst_deviation_from_a_line", "", "<= 0.15"),
    ("2,500 to 80,000 records, worst deviation", "growth.records.worst_deviation_from_a_line", "", "<= 0.15"),
]  # fmt: skip


def markdown(found: dict[str, Any]) -> str:
    """Return the table of what was measured, beside what was asked for."""
    machine = found["machine"]
    lines = [f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}:", ""]
    lines += ["| what | measured | asked for |", "| --- | --- | --- |"]
    for what, path, unit, asked in ROWS:
        value: Any = found
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            lines.append(f"| {what} | {value} {unit}".rstrip() + f" | {asked or '-'} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"among {', '.join(BENCHES)}; default: all")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON, too, beside those already there")
    parser.add_argument("--markdown", action="store_true", help="print the table at the end")
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything run?")
    arguments = parser.parse_args()
    globals()["QUICK"] = arguments.quick
    machine = {"processor": processor(), "cores": CORES, "python": platform.python_version(),
               "torch": torch.__version__, "numpy": np.__version__}  # fmt: skip
    found: dict[str, Any] = {"machine": machine}
    if arguments.out is not None and arguments.quick:
        parser.error("--quick gives no figures to keep; leave out --out")
    if arguments.out is not None and arguments.out.exists():
        found = json.loads(arguments.out.read_text())
        if found["machine"] != machine:
            parser.error(f"{arguments.out} holds figures of {found['machine']}; give another file")
    for name in arguments.names or BENCHES:
        what = (BENCHES[name].__doc__ or "").splitlines()[0]
        found[name] = {"what": what, "taken": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), **BENCHES[name]()}
        print(json.dumps({name: found[name]}), flush=True)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.markdown:
        print(markdown(found))


def processor() -> str:
    """Return name and family of the processor: machines of several generations may share a name."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    name = facts.get("model name", platform.processor())
    return f"{name}, family {facts['cpu family']}" if "cpu family" in facts else name


if __name__ == "__main__":
    main()
