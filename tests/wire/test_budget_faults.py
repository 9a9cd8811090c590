"""A budget holds to the last record, whatever the server does: refusals, lost answers and cut connections in random order."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from scripted import Script, serving

from miaudit.errors import BudgetError
from miaudit.targets import connect

N = 400


def probabilities(X: np.ndarray) -> np.ndarray:
    shares = np.abs(np.asarray(X, float)) + 1
    return shares / shares.sum(axis=1, keepdims=True)


class Faults:
    """What becomes of each request, drawn at random, and how many records it was about."""

    def __init__(self, script: Script, rng: np.random.Generator) -> None:
        self.script, self.rng, self.records = script, rng, Counter[str]()
        self.cut = False

    def __bool__(self) -> bool:
        return True

    def pop(self, place: int) -> tuple[int, dict[str, str]]:
        fate = str(self.rng.choice(["answered", "refused", "cut", "lost"], p=[0.55, 0.25, 0.1, 0.1]))
        self.records[fate] += len(json.loads(self.script.sent)["instances"])
        self.script.drops, self.script.drop_after = int(fate in ("cut", "lost")), fate == "lost"
        return (int(self.rng.choice([429, 500, 502, 503])) if fate == "refused" else 200), {}


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 30))])
def test_random_faults_never_overspend_and_free_nothing_that_may_have_been_heard(tmp_path, monkeypatch, seed):
    monkeypatch.setattr("miaudit.targets.client._FIRST_WAIT", 0.001)
    rng = np.random.default_rng(seed)
    budget, batch, concurrency = int(rng.integers(20, 300)), int(rng.integers(1, 40)), int(rng.integers(1, 12))
    X = rng.permutation(N * 3).reshape(N, 3).astype(float)
    script = Script(probabilities)
    faults = Faults(script, rng)
    script.statuses = faults  # type: ignore[assignment]
    options = {"format": "instances", "model": "m", "classes": 3, "batch": batch, "concurrency": concurrency}
    limits = {"budget": budget, "retries": 1000, "folder": tmp_path}
    lost = 0
    with serving(script) as url:
        for _ in range(4):  # what a refusal frees after all else is on its way is left to the next run
            target = connect(url, **options, **limits)
            with pytest.raises(BudgetError):
                target.query(X)
            spent, lost = target.ledger.spent, lost + target.ledger.lost
            target.close()
            heard = faults.records["answered"] + faults.records["cut"] + faults.records["lost"]
            # what was sent into a connection that the server had just closed may not have been heard: it counts as spent
            assert heard <= spent <= budget, (budget, batch, concurrency, faults.records)
            assert heard + lost >= spent
    assert spent == budget
    assert sum(script.seen.values()) == heard + faults.records["refused"]
