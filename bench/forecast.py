"""What `--dry-run` says an audit will take, beside what the audit took, in seconds of the processor by stage.

    MIAUDIT_DATA=... python bench/forecast.py own_model hospital_days hospital --out bench/results/forecast.json

Both run in one process (``--jobs 0``) whose clock is replaced by its processor time, so that a busy machine changes nothing.
Plans are those of examples/; `endpoint` needs its server (``python examples/endpoint.py``) in another terminal.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parent.parent / "examples"
CONSENT = {"own_model": ["--allow-code", "--trusted", "sklearn.tree._tree.Tree"]}
MAIN = "import time; time.perf_counter = time.process_time; from miaudit.cli import main; main()"


def run(name: str, out: Path, *options: str) -> str:
    """Return what a run of an example prints to stdout as JSON."""
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
    return subprocess.run(
        [*command, *CONSENT.get(name, []), *options], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def compare(name: str) -> dict[str, Any]:
    """Return the seconds of a forecast and of the audit, which share no folder."""
    if name == "own_model":
        subprocess.run([sys.executable, str(EXAMPLES / "own_model.py")], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        foreseen = json.loads(run(name, Path(folder) / "dry", "--dry-run"))["seconds"]
        spent = json.loads(run(name, Path(folder) / "audit"))["provenance"]["seconds"]
    total = sum(foreseen.values())
    return {
        "example": name,
        "forecast": {**foreseen, "total": round(total, 1)},
        "audit": spent,
        "ratio": round(total / spent["total"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    content = {"command": " ".join(["python", *sys.argv]), "results": [compare(name) for name in options.names]}
    print(json.dumps(content, indent=1))
    if options.out:
        options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
