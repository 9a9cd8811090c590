"""Audits whose population holds audited records: null where nothing leaks, and a leak stays visible."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.stats import binom
from sklearn.ensemble import ExtraTreesClassifier

import miaudit
from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.data import Copies, from_arrays, given_split, leave_out_copies
from miaudit.errors import SplitError

N, FRESH = 150, 600
SIDES = {"members": slice(0, N), "nonmembers": slice(N, 2 * N), "both": slice(0, 2 * N)}
ATTACKS = ("calibration", "rmia", "shokri")


def drawn(rng, n):
    y = rng.integers(0, 3, n)
    return rng.normal(size=(n, 6)) + y[:, None] / 2, y


def audit(seed=0, *, of="nonmembers", share=0.0, leaks=False, change=lambda X: X, out=None, **options):
    """A model that saw the members, or neither side; the population holds ``share`` of a side beside fresh records."""
    rng = np.random.default_rng(seed)
    X, y = drawn(rng, 2 * N)
    fresh, classes = drawn(rng, FRESH)
    seen = (X[:N], y[:N]) if leaks else drawn(rng, N)
    k = round(share * len(X[SIDES[of]]))
    population = np.concatenate([change(X[SIDES[of]][:k]), fresh]), np.concatenate([y[SIDES[of]][:k], classes])
    model = ExtraTreesClassifier(10, random_state=seed).fit(*seen)
    return miaudit.audit(
        model,
        members=(X[:N], y[:N]),
        nonmembers=(X[N:], y[N:]),
        population=population,
        shadows=4,
        jobs=0,
        seed=seed,
        attacks=ATTACKS,
        out=out,
        **options,
    )


@pytest.mark.parametrize("design", ["disjoint", "overlapping"])
def test_no_shadow_model_is_trained_on_a_copy_and_the_audit_says_so(tmp_path, design):
    result = audit(share=1.0, design=design, change=lambda X: X.astype(np.float32).astype(float), out=tmp_path)
    assert result.split.population == FRESH
    assert result.warnings[0].startswith(
        "150 records of the population are copies of audited records (0 of members, 150 "
    )
    assert "by their values once 150 copies of audited records were left out" in result.threat_model[3]
    draws = load_file(tmp_path / "draws.safetensors")
    copies = np.arange(2 * N, 3 * N)
    assert not np.isin(np.concatenate([draws["shadow_train"], draws["shadow_test"]], axis=1), copies).any()
    assert not np.isin(draws["outside"], copies).any()
    assert not result.verdict.startswith("Membership")


def test_copies_on_their_own_side_are_inside_together(tmp_path):
    """A shadow trained on one of two equal members was trained on the other, too."""
    rng = np.random.default_rng(2)
    (X, y), (Z, c), (P, d) = drawn(rng, N), drawn(rng, N), drawn(rng, FRESH)
    X[1:60:2], y[1:60:2] = X[0:60:2] + 1e-12, y[0:60:2]
    model = ExtraTreesClassifier(5, random_state=0).fit(X, y)
    sides = {"members": (X, y), "nonmembers": (Z, c), "population": (P, d)}
    miaudit.audit(model, **sides, shadows=4, jobs=0, design="overlapping", attacks=("rmia",), out=tmp_path)
    for train in load_file(tmp_path / "draws.safetensors")["shadow_train"]:
        inside = np.isin(np.arange(60), train)
        np.testing.assert_array_equal(inside[0::2], inside[1::2])
        assert 0 < inside.sum() < 60


def test_a_leak_stays_visible_where_members_are_given_as_population():
    result = audit(of="both", share=1.0, leaks=True)
    assert result.verdict.startswith("Membership leaks")
    assert result.split.population == FRESH


@pytest.mark.parametrize("of", ["members", "nonmembers"])
def test_a_side_that_another_tool_saved_is_no_population(of):
    result = audit(of=of, share=1.0, change=lambda X: np.round(X, 2))
    assert any("up to rounding or noise" in warning for warning in result.warnings)
    assert FRESH - 20 <= result.split.population <= FRESH
    assert not result.verdict.startswith("Membership")


def test_an_audit_without_copies_says_that_values_were_compared():
    result = audit()
    assert (
        "disjoint from the target's members and non-members by their values: none has the same values"
        in result.threat_model[3]
    )
    assert "Copies with rounding, noise or a few changed columns were looked for only as far" in result.threat_model[3]
    assert not any("copies" in warning for warning in result.warnings)


def test_a_second_file_given_twice_is_refused_with_what_to_do():
    rng = np.random.default_rng(0)
    (X, y), (Z, c) = drawn(rng, N), drawn(rng, N)
    model = ExtraTreesClassifier(5, random_state=0).fit(X, y)
    with pytest.raises(SplitError, match="leave the population out, and members and non-members serve"):
        miaudit.audit(model, members=(X, y), nonmembers=(Z, c), population=(Z, c), jobs=0)
    with pytest.raises(SplitError, match="the target was trained on them, so they are no non-members"):
        miaudit.audit(model, members=(X, y), nonmembers=(X + 1e-10, y), population=(Z, c), jobs=0)


@pytest.mark.parametrize("of", ["members", "nonmembers"])
def test_noisy_records_made_of_audited_ones_are_left_out(tmp_path, of):
    rng = np.random.default_rng(1)
    X, y = rng.integers(0, 2, (3 * N, 40)), rng.integers(0, 2, 3 * N)
    X[2 * N : 2 * N + 30] = X[SIDES[of]][:30]
    for name, part in zip(("members", "nonmembers", "population"), np.split(np.arange(3 * N), 3), strict=True):
        np.savez(tmp_path / f"{name}.npz", X=X[part], y=y[part])
    result = miaudit.audit(
        {
            "data": {name: str(tmp_path / f"{name}.npz") for name in ("members", "nonmembers", "population")},
            "recipe": {"estimator": "sklearn.naive_bayes.BernoulliNB"},
            "shadows": {"count": 2, "train": 20, "test": 20, "data": "synthetic:noisy"},
            "synthesis": {"records": 100, "rate": 0.0},
            "attacks": ["rmia"],
            "engine": {"jobs": 0},
        }
    )
    assert result.split.population == 100
    assert any(warning.startswith("30 records of the population are copies") for warning in result.warnings)


def test_sentences_tell_what_was_kept_from_what_was_left_out():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (900, 4))
    dataset = from_arrays(X, rng.integers(0, 2, 900))
    split = leave_out_copies(dataset, given_split(dataset, *np.split(np.arange(900), [200, 400])), need=200)
    shared, trained = split.copies.sentences(200, 200, 500)
    assert "non-members have the same values as a member, as often as chance" in shared
    assert "which may hide a leak" in trained
    assert "no attack can tell these apart" in split.copies.caveats()[0]
    assert Copies().sentences(1, 1, 1) == Copies().caveats() == []


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 1.0])
@pytest.mark.parametrize("of", ["members", "nonmembers", "both"])
@pytest.mark.parametrize("design", ["disjoint", "overlapping"])
def test_nothing_leaks_where_nothing_leaks_and_what_leaks_is_seen(of, share, design):
    trials = 20
    quiet = [audit(seed, of=of, share=share, design=design).verdict for seed in range(trials)]
    assert sum(verdict.startswith("Membership") for verdict in quiet) <= binom.ppf(0.999, trials, 0.05)
    loud = [audit(seed, of=of, share=share, design=design, leaks=True).verdict for seed in range(3)]
    assert all(verdict.startswith("Membership leaks") for verdict in loud)


def stored(*, shared=0, copied=0, features=True, seed=0):
    """Stored answers of a target that knows its members a little; some records are on two sides."""
    rng = np.random.default_rng(seed)
    X, y = drawn(rng, 2 * N + FRESH)
    X[N : N + shared] = X[:shared]
    X[2 * N : 2 * N + copied] = X[:copied]
    sure = rng.normal(size=len(y)) + 1.5 * (np.arange(len(y)) < N)
    answers = np.full((len(y), 3), 0.5 / (1 + np.exp(sure))[:, None])
    answers[np.arange(len(y)), y] = 1 - 2 * answers[:, 0]
    arrays = {"target": answers[: 2 * N], "labels": y[: 2 * N], "member": np.arange(2 * N) < N}
    arrays |= {"population_target": answers[2 * N :], "population_labels": y[2 * N :]}
    return stored_outputs(arrays | ({"features": X[: 2 * N], "population_features": X[2 * N :]} if features else {}))


def test_stored_answers_are_compared_by_value_as_far_as_they_hold_records():
    result = score(stored(shared=30, copied=100))
    assert any(text.startswith("30 non-members are copies of members") for text in result.warnings)
    assert any(text.startswith("100 records of the population are copies") for text in result.warnings)
    assert result.split.population == FRESH - 100
    assert result.split.evaluated_per_side == N - 30
    assert {attack.pooled.n for attack in result.attacks if attack.pooled} == {2 * (N - 30)}
    assert f"n = {N - 30} members and {N - 30} non-members" in result.verdict
    assert "were compared by value, and copies left out" in " ".join(result.threat_model)
    target, right = result.target, next(each for each in result.factors.sides if each.factor == "right")
    assert target.train_accuracy == right.members.value  # of the records that count, like every other figure
    assert target.test_accuracy == right.nonmembers.value
    of_gap = result.attack("gap")
    assert of_gap.pooled.accuracy == pytest.approx((1 + target.train_accuracy - target.test_accuracy) / 2)
    per_class = of_gap.per_class
    assert sum(row.members * row.train_accuracy for row in per_class) == pytest.approx((N - 30) * target.train_accuracy)


def test_stored_answers_without_records_say_that_nothing_was_compared():
    result = score(stored(shared=30, copied=100, features=False))
    assert "the file holds no features, so records were not compared by value" in " ".join(result.threat_model)
    assert result.split.population == FRESH
    assert "Whether the sides differ by themselves could not be checked" in result.verdict


def test_stored_answers_on_members_alone_are_refused():
    with pytest.raises(SplitError, match="150 of the 150 non-members are copies of members"):
        score(stored(shared=N))
