"""What scoring stored outputs takes where there are many classes: processor seconds by stage, and the most memory.

    python bench/many_classes.py --out bench/results/many_classes.json

Answers of a target and of shadow models are simulated: softmax of normal numbers, higher for the true class, and by one more
where the record was in the training set, half of all for each model. They are stored in float16, and scored by a process
of its own, which runs every attack and control, and writes the audit: what `miaudit score` does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from records_growth import audit

WORLDS = ((4_000, 2_000, 8), (50_000, 1_000, 6))  # records, classes, shadow models


def write_outputs(path: Path, records: int, classes: int, shadows: int, seed: int) -> None:
    """Write simulated answers in the layout of docs/outputs.md."""
    rng = np.random.default_rng(seed)
    labels, hard = rng.permutation(np.arange(records) % classes), rng.normal(size=records)
    inside = rng.permuted(np.tile(np.arange(records) < records // 2, (1 + shadows, 1)), axis=1)

    def answers(known: np.ndarray) -> np.ndarray:
        logits = rng.normal(size=(records, classes)).astype(np.float32)
        logits[np.arange(records), labels] += 3 + hard + known + 0.5 * rng.normal(size=records)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float16)

    models = np.empty((1 + shadows, records, classes), np.float16)
    for model, known in zip(models, inside, strict=True):
        model[:] = answers(known)
    np.savez(path, target=models[0], labels=labels, member=inside[0], shadows=models[1:], inside=inside[1:])


def measure(records: int, classes: int, shadows: int, seed: int) -> dict[str, Any]:
    """Return what scoring took of one world, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outputs.npz"
        write_outputs(path, records, classes, shadows, seed)
        command = [sys.executable, __file__, "--audit", str(path)]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"records": records, "classes": classes, "shadows": shadows, **json.loads(text.splitlines()[-1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--audit", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.audit is not None:
        print(json.dumps(audit(options.audit, options.audit.parent / "audit")))
        return
    measured = [measure(*world, options.seed) for world in WORLDS]
    for each in measured:
        cpu = {stage: round(seconds["cpu"], 1) for stage, seconds in each["seconds"].items()}
        print(
            f"{each['records']:,} records, {each['classes']:,} classes, {each['shadows']} shadow models: {cpu} processor"
        )
        print(f"  seconds, {each['peak_mib'] / 1024:.1f} GiB; arrays of the file {each['arrays_mib'] / 1024:.1f} GiB")
    machine = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    if options.out is not None:
        options.out.write_text(
            json.dumps({"seed": options.seed, "machine": machine, "measured": measured}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
