"""Train the same shadow models with other tools, each in an environment of its own, and with miaudit, in one run.

    python bench/peers.py --out bench/results/peers.json

The work: 600-128-100 tanh networks, 10,000 training records each, SGD, a prediction for 20,000 records, on all cores.
Compared: ART (adversarial-robustness-toolbox from the registry), whose `ShadowModels` fixes batch 128 and 10 epochs; and
the loop that ML Privacy Meter ships, written anew from its description: a DataLoader with 4 worker processes for
training and one for testing, batch 256, SGD, the 10,000 test records evaluated after every epoch. The second needs
torch alone. ART trains 4 models and the loop 2, ours are 32, all 10 epochs; the start of our processes is in our time, as are
loader workers in the loop's. Milliseconds are per model and epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

PEERS = {
    "art": ["adversarial-robustness-toolbox==1.20.1", "packaging", "torch==2.13.0", "scikit-learn", "numpy"],
    "shipped_loop": ["torch==2.13.0", "numpy"],
}
ROUNDS = 3


def data(n: int):
    """Return n records of 600 bits and 100 classes, float32."""
    import numpy as np

    rng = np.random.default_rng(0)
    X = (rng.random((n, 600)) < 0.23).astype(np.float32)
    return X, rng.integers(0, 100, n)


def network():
    """Return the network everybody trains."""
    import torch

    return torch.nn.Sequential(torch.nn.Linear(600, 128), torch.nn.Tanh(), torch.nn.Linear(128, 100))


def art(models: int = 4) -> float:
    """Return seconds per model and epoch of ART's ShadowModels."""
    import torch
    from art.attacks.inference.membership_inference import ShadowModels
    from art.estimators.classification import PyTorchClassifier

    X, y = data(20_000)
    net = network()
    template = PyTorchClassifier(
        net, torch.nn.CrossEntropyLoss(), (600,), 100, optimizer=torch.optim.SGD(net.parameters(), lr=0.1)
    )
    shadows = ShadowModels(template, num_shadow_models=models)
    import numpy as np

    began = time.perf_counter()
    shadows.generate_shadow_dataset(X, np.eye(100, dtype=np.float32)[y], member_ratio=0.5)
    return (time.perf_counter() - began) / models / 10


def shipped_loop(models: int = 2, epochs: int = 10) -> float:
    """Return seconds per model and epoch of the loop as ML Privacy Meter ships it."""
    import torch
    from torch.utils.data import DataLoader, Subset, TensorDataset

    X, y = data(20_000)
    every = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    began = time.perf_counter()
    for seed in range(models):
        order = torch.randperm(20_000, generator=torch.Generator().manual_seed(seed)).tolist()
        train = DataLoader(Subset(every, order[:10_000]), 256, shuffle=True, num_workers=4, persistent_workers=True)
        test = DataLoader(Subset(every, order[10_000:]), 256, num_workers=4, persistent_workers=True)
        net = network()
        optimizer, loss_of = torch.optim.SGD(net.parameters(), lr=0.1), torch.nn.CrossEntropyLoss()
        for _ in range(epochs):
            net.train()
            total, right = 0.0, 0
            for records, labels in train:
                optimizer.zero_grad(set_to_none=True)
                answer = net(records)
                loss = loss_of(answer, labels)
                loss.backward()
                optimizer.step()
                total += loss.item()
                right += int((answer.argmax(1) == labels).sum())
            net.eval()
            with torch.no_grad():
                for records, labels in test:
                    total += loss_of(net(records), labels).item()
        with torch.no_grad():
            for records, _ in DataLoader(every, 256, num_workers=4):
                net(records).softmax(1)
    return (time.perf_counter() - began) / models / epochs


def ours(models: int, epochs: int, batch: int) -> float:
    """Return seconds per model and epoch of miaudit's engine: processes, predictions, rows on disk."""
    from shadows import ours as train
    from shadows import purchase_like

    from miaudit.recipes import Network

    recipe = Network(optimizer="sgd", learning_rate=0.1, batch=batch, epochs=epochs, standardize=False)
    dataset = purchase_like(20_000)
    began = time.perf_counter()
    train(dataset, recipe, models=models, train=10_000, test=10_000)
    return (time.perf_counter() - began) / models / epochs


def environment(name: str, folder: Path) -> Path:
    """Make an environment with a peer and return its Python."""
    venv.create(folder / name, with_pip=True)
    python = folder / name / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[name]], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description="Time other tools on the same shadow models.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="one round, few models: does everything run?")
    parser.add_argument("--one", help="run one peer here and print its seconds (used by the program itself)")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps({"art": art, "shipped_loop": shipped_loop}[arguments.one]()))
        return
    sys.path.insert(0, str(Path(__file__).parent))
    from shadows import processor

    with tempfile.TemporaryDirectory() as folder:
        pythons = {name: environment(name, Path(folder)) for name in PEERS}
        times: dict[str, list[float]] = {"art": [], "ours_b128": [], "shipped_loop": [], "ours_b256": []}
        rounds, models = (1, 2) if arguments.quick else (ROUNDS, 32)
        for _ in range(rounds):
            for name, python in pythons.items():
                done = subprocess.run([python, __file__, "--one", name], capture_output=True, text=True, check=True)
                times[name].append(float(done.stdout.split()[-1]))
            times["ours_b128"].append(ours(models, 10, 128))
            times["ours_b256"].append(ours(models, 10, 256))
    middle = {name: statistics.median(each) for name, each in times.items()}
    found = {
        "machine": {"processor": processor(), "cores": len(os.sched_getaffinity(0))},
        "environments": PEERS,
        "ms_per_round": {name: [round(1000 * s, 1) for s in each] for name, each in times.items()},
        "ms_per_model_epoch": {name: round(1000 * s, 1) for name, s in middle.items()},
        "times_art": round(middle["art"] / middle["ours_b128"], 2),
        "times_shipped_loop": round(middle["shipped_loop"] / middle["ours_b256"], 2),
    }
    print(json.dumps(found))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
