"""Gates over whole audits: they seldom fail and mostly pass where nothing leaks, and tell where they cannot tell."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.ensemble import RandomForestClassifier

import miaudit
from miaudit.gate import Policy, built_in

BENCH = runpy.run_path(str(Path(__file__).parents[2] / "bench" / "gate_audits.py"))
audit_of, outcomes_of = BENCH["audit_of"], BENCH["outcomes_of"]
CHANCE = 0.001  # that a gate as good as it should be is called worse: the tolerance on each count


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize(("audits", "shadows"), [(200, 4), (10, 20)])
def test_a_model_that_gives_nothing_away_passes_and_seldom_fails(audits, shadows):
    outcomes = [outcomes_of(audit_of(seed, shadows=shadows)) for seed in range(audits)]
    for name in built_in():
        counts = Counter(each[name] for each in outcomes)
        assert counts["fail"] <= binom.ppf(1 - CHANCE, audits, 0.05), (name, counts)
        assert counts["pass"] >= binom.ppf(CHANCE, audits, 0.8), (name, counts)


@pytest.mark.slow
def test_fifty_records_a_side_do_not_tell():
    assert set(outcomes_of(audit_of(0, n=50)).values()) <= {"inconclusive"}


@pytest.mark.slow
def test_a_forest_that_learned_its_records_by_heart_fails():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 6))
    y = (X[:, 0] + rng.normal(size=2000) > 0).astype(int)
    model = RandomForestClassifier(30, random_state=0).fit(X[:400], y[:400])
    sides = {"members": (X[:400], y[:400]), "nonmembers": (X[400:800], y[400:800]), "population": (X[800:], y[800:])}
    result = miaudit.audit(model, **sides, shadows=4, jobs=0)
    assert {Policy.load(name).check(result).exit_code for name in built_in()} == {1}
