"""What `--dry-run`, and the run itself, say an audit will take, beside what it took, in seconds of the processor by stage.

    MIAUDIT_DATA=... python bench/forecast.py --out bench/results/forecast.json
    MIAUDIT_DATA=... python bench/forecast.py own_model hospital

Both run in one process (``--jobs 0``) on one core, whose clock is replaced by its processor time, so that a busy machine
changes nothing. Plans are those of examples/, all that have records without any; the server of `endpoint` is started and
ended here.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("own_model", "endpoint", "location30", "hospital_days", "hospital", "cifar10")
CONSENT = {"own_model": ["--allow-code", "--trusted", "sklearn.tree._tree.Tree"]}
MAIN = (
    "import os, time; os.sched_setaffinity(0, {0}); time.perf_counter = time.process_time; "
    "from miaudit.cli import main; main()"
)


def run(name: str, out: Path, *options: str) -> tuple[str, str]:
    """Return what a run of an example prints as JSON, and what it says meanwhile."""
    command = [
        sys.executable,
        "-c",
        MAIN,
        "run",
        str(EXAMPLES / f"{name}.toml"),
        "--jobs",
        "0",
        "--json",
        "--out",
        str(out),
    ]
    done = subprocess.run([*command, *CONSENT.get(name, []), *options], check=True, capture_output=True, text=True)
    return done.stdout, done.stderr


def estimate_of(talk: str) -> dict[str, int]:
    """Return the seconds that a run says its models and its attacks will take."""
    times = re.search(r"about ([\d:]+) for \d+ models and ([\d:]+) for the attacks, ([\d:]+) in all", talk)
    assert times is not None, talk[-2000:]
    seconds = []
    for time in times.groups():
        parts = [int(part) for part in time.split(":")]
        seconds.append(sum(part * 60**i for i, part in enumerate(reversed(parts))))
    return dict(zip(("shadows", "attacks", "total"), seconds, strict=True))


@contextmanager
def prepared(name: str) -> Iterator[None]:
    """Make what an example needs: the file of its model, or a server while it runs."""
    if name == "own_model":
        subprocess.run([sys.executable, str(EXAMPLES / "own_model.py")], check=True, stdout=subprocess.DEVNULL)
    if name != "endpoint":
        yield
        return
    command = [sys.executable, str(EXAMPLES / "endpoint.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            if not server.stdout.readline():
                raise SystemExit(
                    f"{' '.join(command)} ended: see above; end a server of this example that runs already"
                )
            yield
        finally:
            server.terminate()


def compare(name: str) -> dict[str, Any]:
    """Return the seconds of a forecast, of the audit, which share no folder, and of the estimate that the audit prints."""
    with prepared(name), tempfile.TemporaryDirectory() as folder:
        foreseen = json.loads(run(name, Path(folder) / "dry", "--dry-run")[0])["seconds"]
        document, talk = run(name, Path(folder) / "audit")
        spent, estimate = json.loads(document)["provenance"]["seconds"], estimate_of(talk)
    total = sum(foreseen.values())
    return {
        "example": name,
        "forecast": {**foreseen, "total": round(total, 1)},
        "audit": spent,
        "ratio": round(total / spent["total"], 2),
        "estimate": estimate,
        "estimate_ratio": round(estimate["total"] / (spent["shadows"] + spent["attacks"]), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"among {', '.join(NAMES)}; default: all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    content = {
        "command": " ".join(["python", *sys.argv]),
        "results": [compare(name) for name in options.names or NAMES],
    }
    print(json.dumps(content, indent=1))
    if options.out:
        options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
