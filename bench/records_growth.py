"""How scoring stored outputs grows with the audited records: seconds by stage, and the most memory of the process.

    python bench/records_growth.py --out bench/results/records_growth.json --plot docs/records_growth.svg

A target and four shadow models of HistGradientBoosting (10 trees a class, 10 classes) are trained on halves of n records of
20 numbers, ten of them whole; all answer all n, and n / 2 others that stand outside. Their answers go into a file of stored
outputs, records included. Then a process of its own reads the file, compares the records by value, runs every attack and
control, and writes the audit: what `miaudit score` does. Wall and processor seconds of each stage, and the process's peak
resident memory, with that of the arrays that the file holds beside. The exponent is the slope of log(seconds) on log(records).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

RECORDS = (10_000, 31_623, 100_000, 316_228, 1_000_000)
FEATURES, CLASSES, SHADOWS, TREES = 20, 10, 4, 10
STAGES = ("read", "copies", "attacks", "write")


def write_outputs(path: Path, n: int, seed: int) -> None:
    """Train the models and write what they answer, in the layout of docs/outputs.md."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    p = n // 2
    X = rng.normal(size=(n + p, FEATURES)).astype(np.float32)
    X[:, : FEATURES // 2] = np.rint(2 * X[:, : FEATURES // 2])
    y = (X @ rng.normal(size=(FEATURES, CLASSES)) + rng.gumbel(size=(n + p, CLASSES)) * 3).argmax(axis=1)
    halves = np.zeros((1 + SHADOWS, n), bool)
    for half in halves:
        half[rng.permutation(n)[: n // 2]] = True
    answers = np.empty((1 + SHADOWS, n + p, CLASSES), np.float32)
    for i, half in enumerate(halves):
        model = HistGradientBoostingClassifier(max_iter=TREES, early_stopping=False, random_state=i)
        with threadpool_limits(1):  # threads that wait for one another, where another program takes a core
            answers[i] = model.fit(X[:n][half], y[:n][half]).predict_proba(X)
    np.savez(
        path,
        target=answers[0, :n],
        labels=y[:n],
        member=halves[0],
        shadows=answers[1:, :n],
        inside=halves[1:],
        features=X[:n],
        population_target=answers[0, n:],
        population_labels=y[n:],
        population_shadows=answers[1:, n:],
        population_features=X[n:],
    )


def audit(path: Path, out: Path) -> dict[str, Any]:
    """Score a file of stored outputs, and return what each stage took; to be run in a process of its own."""
    from miaudit.auditing import scoring
    from miaudit.auditing.conclusion import conclude
    from miaudit.auditing.provenance import Clock, Origin
    from miaudit.result.seal import seal

    seconds: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        seconds[name] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    clock = Clock()
    with stage("read"):
        stored = scoring.read_outputs(path)
    with stage("copies"):
        measured = scoring.measured_of(stored, 0, Origin(clock, {}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with stage("attacks"):
        result = conclude(measured)
    with stage("write"):
        result.save(out)
        seal(out)
    with np.load(path) as file:
        arrays = sum(file[name].nbytes for name in file.files)
    return {
        "seconds": seconds,
        "ran": sum(each.status == "ran" for each in result.attacks),
        "failed": [each.name for each in result.attacks if each.status == "failed"],
        "arrays_mib": round(arrays / 2**20, 1),
        "peak_before_attacks_mib": round(before / 1024, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Return the slope of log(seconds) on log(records)."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def svg(result: dict[str, Any]) -> str:
    """Return a plot, both axes logarithmic: dots are measured, lines are straight lines of slope 1 through 100,000 records."""
    sizes = [each["records"] for each in result["measured"]]
    panels = [
        ("seconds of attacks and controls", [each["seconds"]["attacks"]["cpu"] for each in result["measured"]]),
        ("peak memory, MiB", [each["peak_mib"] for each in result["measured"]]),
    ]
    width, height, left, bottom, top = 380, 260, 60, 44, 30
    parts = []
    for at, (title, values) in zip((0, width), panels, strict=True):
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        x_low, x_high = math.log10(min(sizes)), math.log10(max(sizes))

        def place(
            x: float, y: float, at: int = at, y_low: int = low, y_high: int = high, ends: Any = (x_low, x_high)
        ) -> tuple[float, float]:
            across = (math.log10(x) - ends[0]) / (ends[1] - ends[0])
            up = (math.log10(y) - y_low) / (y_high - y_low)
            return at + left + across * (width - left - 24), height - bottom - up * (height - bottom - top)

        parts.append(f'<text x="{at + width / 2:.0f}" y="18" text-anchor="middle" font-weight="bold">{title}</text>')
        for power in range(low, high + 1):
            x, y = place(min(sizes), 10.0**power)
            end, _ = place(max(sizes), 10.0**power)
            parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{y:.1f}" stroke="#ccc"/>')
            parts.append(f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
        middle = len(sizes) // 2
        line = [(x, values[middle] * x / sizes[middle]) for x in np.geomspace(min(sizes), max(sizes), 41)]
        points = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line if 10.0**low <= y <= 10.0**high)
        parts.append(f'<polyline points="{points}" fill="none" stroke="#2563a8" stroke-width="1.5"/>')
        for n, value in zip(sizes, values, strict=True):
            x, y = place(n, value)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#b3391f"/>')
            parts.append(f'<text x="{x:.1f}" y="{height - bottom + 18}" text-anchor="middle">{n:,}</text>')
        parts.append(
            f'<text x="{at + width / 2:.0f}" y="{height - 6}" text-anchor="middle">audited records (line: in proportion)</text>'
        )
    title = escape(
        f"Processor seconds of all attacks and controls on stored outputs, exponent {result['exponent']['attacks']:.2f}, and "
        f"peak memory, by audited records; {result['machine']['processor']}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width} {height}" role="img" font-family="sans-serif" '
        f'font-size="11"><title>{title}</title><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def measure(n: int, folder: Path, seed: int) -> dict[str, Any]:
    """Return what an audit of so many records took, in a process of its own."""
    path = folder / f"outputs-{n}.npz"
    if not path.exists():
        write_outputs(path, n, seed)
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, __file__, "--one", str(path), out]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"records": n, **json.loads(text.splitlines()[-1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=list(RECORDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keeps the files of outputs for another run")
    parser.add_argument("--one", type=Path, nargs=2, metavar=("OUTPUTS", "OUT"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(audit(*options.one)))
        return
    sys.path.insert(0, str(Path(__file__).parent))
    from shadows import processor

    measured = []
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for n in options.records:
            measured.append(measure(n, folder, options.seed))
            print(json.dumps(measured[-1]), flush=True)
    stages = {name: [each["seconds"][name]["cpu"] for each in measured] for name in STAGES}
    stages["all"] = [sum(each) for each in zip(*stages.values(), strict=True)]
    result = {
        "what": f"{SHADOWS} shadow models of HistGradientBoosting, {FEATURES} numbers, {CLASSES} classes, n / 2 outside",
        "seed": options.seed,
        "machine": {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "exponent": {name: round(exponent(options.records, seconds), 3) for name, seconds in stages.items()}
        if len(measured) > 1
        else {},
        "measured": measured,
    }
    print("exponents:", result["exponent"])
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        options.plot.write_text(svg(result), encoding="utf-8")


if __name__ == "__main__":
    main()
