"""Every benchmark behind a figure of README and docs: list them, or take their figures again.

    python bench/all.py                             # what there is, and when its figures were taken
    python bench/all.py --run                       # runs all whose needs are met, one after the other
    python bench/all.py --run scoring peers         # runs these, whatever they need
    python bench/all.py --fresh --run gate-audits   # takes again also what lies there, which comes back after a failure

Figures were *taken* when the commit was made that last changed their file, the oldest of a folder; *since* counts the commits
to src/ after it. A run whose figures are the same to the last digit leaves the file, and so its day, as it was. Minutes are of
two cores with nothing beside them, roughly. A benchmark that fails does not stop the others.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = "bench/results/"


@dataclass(frozen=True)
class Bench:
    """A benchmark: how long it takes, which page shows its figures, where they lie, and its commands as the docs quote them."""

    name: str
    minutes: float
    page: str  # from the root
    results: str | None  # file or folder in bench/results; None where figures are printed alone
    commands: str  # separated by " && ": what comes after a failure is not run
    needs: str | None = None  # a key of NEEDS
    kept: str | None = None  # file or folder, from the root, whose content is not taken again


DATA, ROOT_USER, GPU, REGISTRY = "MIAUDIT_DATA", "root", "an NVIDIA GPU", "a package registry"
NEEDS: dict[str, Callable[[], bool]] = {
    DATA: lambda: bool(os.environ.get("MIAUDIT_DATA")),
    ROOT_USER: lambda: os.geteuid() == 0,
    GPU: lambda: shutil.which("nvidia-smi") is not None,
    REGISTRY: lambda: False,  # other tools are installed from it only where the benchmark is named
}
INPUTS, FEW, MANY = "python bench/attack_inputs.py", "--worlds out/attack-inputs/few", "--worlds out/attack-inputs/many"
PAPER = "--scale paper --out miaudit-paper"
BENCHES = (
    # How fast: ratios are of things run in turn within one command.
    Bench("shadows", 15, "docs/engine.md", "shadows.json", "python bench/shadows.py --markdown --out bench/results/shadows.json"
          " && python bench/growth_plot.py bench/results/shadows.json docs/growth.svg"),
    Bench("whole_audit", 8, "docs/engine.md", "whole_audit.json",
          "python bench/shadows.py whole_audit --out bench/results/whole_audit.json"),
    Bench("peers", 15, "docs/engine.md", "peers.json", "python bench/peers.py --out bench/results/peers.json", REGISTRY),
    Bench("estimators", 8, "docs/engine.md", "estimators.json",
          "python bench/estimators.py --jobs 2 --models 20 --rounds 1 --memory --out bench/results/estimators.json"),
    Bench("compiled", 1, "docs/engine.md", "compiled.json", "python bench/compiled.py --out bench/results/compiled.json"),
    Bench("bf16-audit", 1, "docs/engine.md", "bf16_audit.json", "python bench/bf16_audit.py --task location30 --models 24"
          " --epochs 60 --out bench/results/bf16_audit.json", DATA),
    Bench("gpu", 5, "docs/engine.md", "gpu.json", "python bench/gpu.py --out bench/results/gpu.json", GPU),
    Bench("compiled-gpu", 1, "docs/engine.md", "compiled_gpu.json",
          "python bench/compiled.py --device cuda --out bench/results/compiled_gpu.json", GPU),
    Bench("gpu-on-cpu", 1, "docs/engine.md", None, "python bench/gpu.py --device cpu --models 1 --epochs 1 --jobs 1"),
    Bench("scoring", 1, "README.md", "scoring.json", "python bench/scoring.py --out bench/results/scoring.json"),
    Bench("records-growth", 8, "docs/engine.md", "records_growth.json",
          "python bench/records_growth.py --out bench/results/records_growth.json --plot docs/records_growth.svg"),
    Bench("many-classes", 6, "docs/engine.md", "many_classes.json",
          "python bench/many_classes.py --out bench/results/many_classes.json"),
    Bench("records-memory", 60, "docs/engine.md", "records_memory.json",
          "python bench/records_memory.py --out bench/results/records_memory.json"),
    Bench("forecast", 6, "docs/engine.md", "forecast.json", "python bench/forecast.py --out bench/results/forecast.json", DATA),
    Bench("endpoint", 5, "docs/endpoints.md", "endpoint.json", "python bench/endpoint.py --out bench/results/endpoint.json"),
    Bench("store", 5, "docs/cluster.md", "store.json", "python bench/store.py --out bench/results/store.json"),
    Bench("cluster", 8, "docs/cluster.md", "cluster.json",
          "python bench/cluster.py --workers 1 2 4 8 --models 64 --seconds 2 --out bench/results/cluster.json", ROOT_USER),
    Bench("synthesis", 1, "docs/synthesis.md", "synthesis.json",
          "python bench/synthesis.py --out bench/results/synthesis.json"),
    # What is claimed where nothing leaks, and bounds where the leak is known.
    Bench("null-calibration", 30, "docs/calibration.md", "null_calibration.json",
          "python bench/null_calibration.py --trials 60 --docs"),
    Bench("null-copies", 4, "docs/calibration.md", None, "python bench/null_copies.py --trials 6"),
    Bench("people", 1, "docs/calibration.md", None, "python bench/people.py"),
    Bench("known-leaks", 1, "docs/calibration.md", "known_leaks.json", "python bench/known_leaks.py"),
    Bench("exposed", 4, "docs/statistics.md", "exposed.json", "python bench/exposed.py"),
    Bench("gate", 3, "docs/gate.md", "gate.json", "python bench/gate.py"),
    Bench("gate-audits", 10, "docs/gate.md", "gate_audits.json", "python bench/gate_audits.py --audits 200"
          " && python bench/gate_audits.py --shadows 20 --audits 10", kept="bench/results/gate_audits.json"),
    # What attacks find, and what lowers it.
    Bench("attacks-table", 10, "docs/attacks.md", "attacks_table.json", "python bench/attacks_table.py --docs", DATA),
    Bench("ratio", 15, "docs/attacks.md", "ratio.json", "python bench/ratio.py", DATA),
    Bench("members", 4, "docs/attacks.md", "members.json", "python bench/members.py", DATA),
    Bench("label-only", 5, "docs/label-only.md", None, "python bench/label_only.py location30"
          " && python bench/label_only.py mnist --queries 300", DATA),
    Bench("attack-inputs", 120, "docs/decisions/0020-the-scale-of-the-2017-attacks-inputs.md", "attack_inputs.json",
          f"{INPUTS} train {FEW} && {INPUTS} compare {FEW} && {INPUTS} compare --shadows 1 2 {FEW}"
          f" && {INPUTS} compare --null {FEW} && {INPUTS} train --seeds 11 --shadow-models 48 {MANY}"
          f" && {INPUTS} compare --shadows 8 12 16 24 48 {MANY}", DATA, "out/attack-inputs"),
    Bench("dp", 13, "docs/mitigations.md", "dp.json", "python bench/dp.py --models 16 --out bench/results/dp.json", DATA,
          "bench/results/dp.json"),
    Bench("protected", 8, "docs/protected-data.md", "protected", "python bench/protected.py"
          " && python bench/protected.py null 400 && python bench/protected.py --tables", DATA, "bench/results/protected"),
    Bench("synthesis-tables", 30, "docs/synthesis.md", "synthesis_tables.json",
          "python bench/synthesis_tables.py location30 --shadows 5 --seeds 0 --epochs 100"
          " && python bench/synthesis_tables.py purchase-like --shadows 8 --seeds 0 --epochs 100", DATA,
          "bench/results/synthesis_tables.json"),
    Bench("sisa", 2, "docs/unlearning.md", "sisa.json", "python bench/sisa.py && python bench/sisa.py --tables"),
    Bench("unlearning", 12, "docs/unlearning.md", "unlearning", "python bench/unlearning.py"
          " && python bench/unlearning_shards.py && python bench/unlearning.py --tables", DATA),
    Bench("paper", 420, "docs/paper.md", "paper",
          f"miaudit reproduce {PAPER} && miaudit reproduce table-3 --seeds 3 {PAPER} && miaudit reproduce table-2 figure-8"
          f" --row adult --row mnist --row location --row purchase --seeds 3 {PAPER}"
          " && python bench/paper_page.py miaudit-paper/outcomes", DATA, "miaudit-paper"),
)  # fmt: skip


def ages() -> dict[str, tuple[int, str]]:
    """Return of every file in bench/results how many commits to src/ came after its last, and that one's day."""
    command = ["git", "log", "--format=%x00%cs", "--name-only", "--", "src", RESULTS]
    log = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    commits, of_files = 0, {}
    for commit in log.split("\0")[1:]:
        day, *files = commit.split("\n")
        for file in files:
            of_files.setdefault(file, (commits, day))
        commits += any(file.startswith("src/") for file in files)
    return of_files


def age(bench: Bench, of_files: dict[str, tuple[int, str]]) -> tuple[str, str]:
    """Return the day of the oldest figures of a benchmark, and the commits to src/ since; or why there are none."""
    if bench.results is None:
        return "only printed", "-"
    path = ROOT / RESULTS / bench.results
    files = [each.relative_to(ROOT).as_posix() for each in (path, *path.rglob("*")) if each.is_file()]
    if not files or any(file not in of_files for file in files):
        return "uncommitted" if files else "never", "-"
    commits, day = max(of_files[file] for file in files)
    return day, str(commits)


def table() -> str:
    """Return what there is, a line for each benchmark."""
    of_files = ages()
    rows = [("name", "minutes", "needs", "taken", "since", "results", "page")]
    for each in BENCHES:
        results = "-" if each.results is None else RESULTS + each.results
        rows.append((each.name, str(each.minutes), each.needs or "-", *age(each, of_files), results, each.page))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


class BenchError(Exception):
    """A benchmark could not be run, or a command of it failed."""


@contextmanager
def moved_aside(path: Path) -> Iterator[None]:
    """Move a file or folder aside, and remove it once a block has ended; after an error it is there again as it was."""
    aside = path.with_name(f"{path.name}.before")
    if aside.exists():
        raise BenchError(f"{aside} is there from a run that was killed: move it back to {path.name}, or remove it")
    path.rename(aside)
    try:
        yield
    except BaseException:
        remove(path)
        aside.rename(path)
        raise
    remove(aside)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def run(benches: Sequence[Bench], *, fresh: bool = False) -> list[str]:
    """Run benchmarks one after the other, and return the commands that failed.

    With ``fresh`` what would not be taken again is moved aside meanwhile, and comes back after a failure.
    """
    failures = []
    for each in benches:
        path = None if each.kept is None else ROOT / each.kept
        there = path is not None and path.exists()
        if there and not fresh:
            print(f"{each.name} does not take again what is in {each.kept}; with --fresh it does")
        try:
            with moved_aside(path) if path is not None and there and fresh else nullcontext():
                run_one(each)
        except BenchError as error:
            failures.append(str(error))
    return failures


def run_one(bench: Bench) -> None:
    """Run the commands of a benchmark up to the first that fails.

    Raises
    ------
    BenchError
        If one does.
    """
    for command in bench.commands.split(" && "):
        program, *arguments = shlex.split(command)
        start = [sys.executable] if program == "python" else [sys.executable, "-m", program]
        print(f"\n== {bench.name}: {command}", flush=True)
        began = time.monotonic()
        status = subprocess.run([*start, *arguments], cwd=ROOT, check=False).returncode
        print(f"== exit status {status} after {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
        if status != 0:
            raise BenchError(f"{bench.name}: {command} (exit status {status})")


def selection(names: Sequence[str]) -> list[Bench]:
    """Return the benchmarks named; without names those whose needs are met, and print which are left out."""
    if names:
        return [each for each in BENCHES if each.name in names]
    unmet = [each for each in BENCHES if each.needs is not None and not NEEDS[each.needs]()]
    for each in unmet:
        print(f"left out: {each.name}, which needs {each.needs}")
    return [each for each in BENCHES if each not in unmet]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [each.name for each in BENCHES]
    parser.add_argument(
        "--run", nargs="*", choices=names, metavar="NAME", help="run these; without any, all that can run"
    )
    parser.add_argument("--fresh", action="store_true", help="with --run: take again also what lies there")
    options = parser.parse_args()
    if options.run is None:
        if options.fresh:
            parser.error("--fresh says what --run is to take again; give --run, too")
        print(table())
        return
    benches = selection(options.run)
    failures = run(benches, fresh=options.fresh)
    print(f"\n{len(benches) - len(failures)} of {len(benches)} benchmarks ended well", *failures, sep="\nfailed: ")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
