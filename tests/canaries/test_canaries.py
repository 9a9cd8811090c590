from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import binom
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from miaudit.canaries import (
    Canaries,
    Planted,
    audit_canaries,
    audit_folder,
    load_planted,
    plant,
    run,
    save_planted,
)
from miaudit.canaries.ordinary import ordinary_records
from miaudit.canaries.planting import coins
from miaudit.data import Dataset, from_arrays, row_hashes
from miaudit.errors import DataError, PlanError, PoolError, StoreError


def digits() -> Dataset:
    X, y = load_digits(return_X_y=True)
    return from_arrays(X.astype(np.float32), y)


def small(n: int = 400, classes: int = 4, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    return from_arrays(rng.normal(size=(n, 6)) + y[:, None], y)


def of_bits(planted: Planted, epsilon: float, rng: np.random.Generator):
    """Answers that say of each canary whether it was trained on, as randomised response with this epsilon does."""
    inside, y = planted.inside, planted.canaries.y
    told = rng.random(len(inside)) < np.where(inside, 1, np.exp(-epsilon)) / (1 + np.exp(-epsilon))

    def answer(X: np.ndarray) -> np.ndarray:
        said = np.full((len(X), 2), 0.5)
        if len(X) == len(told):
            said[np.arange(len(y)), y] = np.where(told, 0.9, 0.6)
            said[np.arange(len(y)), 1 - y] = np.where(told, 0.1, 0.4)
        return said

    return answer


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
def test_randomised_response_is_bounded_from_below(epsilon: float) -> None:
    """In at most 5 % of the trainings is the bound above the truth, and it comes near it."""
    data, trials = from_arrays(np.arange(600.0)[:, None], np.arange(600) % 2), 60
    options = Canaries(500, "duplicated", copies=1, guesses_in=100, guesses_out=100, delta=0.0)
    bounds = []
    for trial in range(trials):
        planted = plant(data, options, seed=trial)
        bounds.append(audit_canaries(planted, of_bits(planted, epsilon, np.random.default_rng(trial))).epsilon)
    wrong = int((np.array(bounds) > epsilon).sum())
    assert wrong <= binom.ppf(0.999, trials, 0.05), wrong
    assert np.median(bounds) > 0.7 * epsilon or epsilon == 0


def test_a_gaussian_epsilon_is_given_only_where_the_scores_could_have_refuted_it_and_did_not() -> None:
    data = from_arrays(np.arange(1200.0)[:, None], np.arange(1200) % 2)
    planted = plant(data, Canaries(1000, "duplicated", copies=1), seed=3)
    noise = np.random.default_rng(3).normal(size=1000)

    def audited(shift: np.ndarray):
        def answer(X: np.ndarray) -> np.ndarray:
            said, y = np.full((len(X), 2), 0.5), planted.canaries.y
            if len(X) == 1000:
                said[np.arange(1000), y] = 1 / (1 + np.exp(-(noise + planted.inside * shift)))
                said[np.arange(1000), 1 - y] = 1 - said[np.arange(1000), y]
            return said

        return audit_canaries(planted, answer)

    shifted = audited(np.full(1000, 1.5))
    assert 0 < shifted.epsilon_gaussian < shifted.epsilon_gaussian_ceiling
    assert shifted.epsilon_gaussian_reason is None
    assert shifted.gaussian_check.power >= 0.8
    assert "if the trade-off curve is Gaussian, as of DP-SGD" in shifted.summary()
    assert "the scores do not speak against it (p = " in shifted.summary()
    few = audited(9.0 * (np.arange(1000) % 5 == 0))
    assert (few.epsilon_gaussian, few.epsilon_gaussian_ceiling) == (None, None)
    assert few.gaussian_check.p <= 0.05
    assert few.epsilon > 0


def test_a_model_that_memorises_comes_near_the_ceiling() -> None:
    planted = plant(digits(), Canaries(600), seed=1)
    model = KNeighborsClassifier(1).fit(planted.training.X, planted.training.y)
    found = audit_canaries(planted, model)
    assert found.correct >= found.guesses - 4  # a few held-out ones got their neighbour's class
    assert found.epsilon > 0.6 * found.epsilon_ceiling
    assert found.epsilon_gaussian is None  # one answer a canary, right nearly always: no Gaussian curve
    assert "no bound for a Gaussian trade-off curve: the scores' curve is not" in found.summary()
    assert found.auc.low > 0.9
    assert found.canary_accuracy["included"] == 1.0
    assert "epsilon is at least" in found.summary()


@pytest.mark.parametrize("kind", ["mislabelled", "out-of-distribution", "duplicated"])
def test_a_model_that_never_saw_them_is_cleared(kind: str) -> None:
    data = small()
    bounds = []
    for seed in range(20):
        planted = plant(data, Canaries(100, kind), seed=seed)
        model = DecisionTreeClassifier(max_depth=2, random_state=0).fit(data.X[:50], data.y[:50])
        bounds.append(audit_canaries(planted, model, accept_weak=True).epsilon)
    assert sum(bound > 0 for bound in bounds) <= 4  # 5 % of 20, within the binomial 99.9 %


def test_coins_are_fair_and_independent() -> None:
    data = small()
    inside = np.array([plant(data, Canaries(100), seed=seed).inside for seed in range(400)])
    assert abs(inside.mean() - 0.5) < 4 * 0.5 / inside.size**0.5
    assert inside.sum(axis=1).std() == pytest.approx(5.0, rel=0.15)  # binomial, not an exact half
    assert np.abs(inside.mean(axis=0) - 0.5).max() < 0.12
    np.testing.assert_array_equal(plant(data, Canaries(100), seed=3).inside, inside[3])
    assert len({plant(data, Canaries(100)).seed for _ in range(3)}) == 3


@pytest.mark.parametrize("kind", ["mislabelled", "out-of-distribution", "duplicated"])
def test_the_training_data_hold_the_included_canaries_and_no_other(kind: str) -> None:
    data = small()
    options = Canaries(100, kind)
    planted = plant(data, options, seed=5)
    found = row_hashes(planted.training.X)
    times = [int((found == row).sum()) for row in row_hashes(planted.canaries.X)]
    assert times == [options.times if coin else 0 for coin in planted.inside]
    assert len(planted.training) == 300 + options.times * planted.inside.sum()
    originals = dict(zip(row_hashes(data.X), data.y, strict=True))
    known = [originals.get(row) for row in row_hashes(planted.canaries.X)]
    if kind == "out-of-distribution":
        assert set(known) == {None}
    elif kind == "mislabelled":
        assert all(label is not None and label != own for label, own in zip(known, planted.canaries.y, strict=True))
    else:
        assert known == planted.canaries.y.tolist()


def test_sources_of_their_own_leave_the_records_whole() -> None:
    records, sources = small(seed=1), small(seed=2)
    planted = plant(records, Canaries(400), sources=sources, seed=0)
    assert planted.ordinary == 400
    assert set(row_hashes(records.X)) <= set(row_hashes(planted.training.X))


def forms() -> dict[str, Dataset]:
    rng = np.random.default_rng(0)
    y = np.arange(200) % 3
    frame = pd.DataFrame({"age": rng.integers(20, 80, 200), "town": rng.choice(["Ulm", "Bonn, am Rhein"], 200)})
    return {
        "array": from_arrays(rng.normal(size=(200, 3)), y),
        "names": from_arrays(rng.normal(size=(200, 3)), np.array(["a", "b", "c c"])[y]),
        "image": from_arrays(rng.integers(0, 256, (200, 4, 4)).astype(np.uint8), y),
        "sparse": from_arrays(sparse.random(200, 5, 0.3, format="csr", random_state=0), y),
        "frame": from_arrays(frame, y),
        "objects": from_arrays(frame.to_numpy(dtype=object), y),
    }


@pytest.mark.parametrize("kind", ["mislabelled", "out-of-distribution"])
@pytest.mark.parametrize("form", forms())
def test_what_is_planted_is_read_again(tmp_path: Path, form: str, kind: str) -> None:
    planted = plant(forms()[form], Canaries(50, kind), seed=2)
    seal = save_planted(planted, tmp_path)
    again, stated = load_planted(tmp_path, seal=seal)
    assert stated == seal
    assert again.training.classes == planted.training.classes
    np.testing.assert_array_equal(again.inside, planted.inside)
    for side in ("training", "canaries"):
        before, after = getattr(planted, side), getattr(again, side)
        np.testing.assert_array_equal(after.y, before.y)
        assert after.schema.encode(after.X).shape == before.schema.encode(before.X).shape
        dense = [np.asarray(Z.toarray() if hasattr(Z, "toarray") else Z) for Z in (after.X, before.X)]
        if form != "objects":  # a table of objects comes back as the numbers of its categories
            np.testing.assert_array_equal(*dense)


def planted_in(folder: Path) -> Planted:
    planted = plant(small(), Canaries(60), seed=4)
    save_planted(planted, folder)
    return planted


def test_altered_lists_are_refused(tmp_path: Path) -> None:
    planted_in(tmp_path)
    sealed = tmp_path / "sealed.json"
    text = sealed.read_text()
    document = json.loads(text)

    def refused(match: str, **changes: object) -> None:
        sealed.write_text(json.dumps(document | changes))
        with pytest.raises(StoreError, match=match):
            load_planted(tmp_path)
        sealed.write_text(text)

    flipped = document["coins"].translate(str.maketrans("01", "10"))
    refused("not what was planted", coins=flipped)
    refused("not what was planted", options=document["options"] | {"guesses_in": 30})
    refused("version", version=2)
    with pytest.raises(StoreError, match="not what was planted"):
        load_planted(tmp_path, seal="0" * 64)
    load_planted(tmp_path, seal=document["seal"])
    file = tmp_path / "canaries.npz"
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(StoreError, match=r"canaries\.npz"):
        load_planted(tmp_path)
    file.unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        load_planted(tmp_path)
    sealed.write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        load_planted(tmp_path)
    sealed.unlink()
    with pytest.raises(StoreError, match="no planted canaries"):
        load_planted(tmp_path)


def test_one_model_for_the_coins_of_a_folder(tmp_path: Path) -> None:
    planted = planted_in(tmp_path)
    first, second = (
        DecisionTreeClassifier(max_depth=depth, random_state=0).fit(planted.training.X, planted.training.y)
        for depth in (3, 9)
    )
    found = audit_folder(tmp_path, first, fingerprint="first")
    assert audit_folder(tmp_path, first, fingerprint="first") == found
    assert json.loads((tmp_path / "audit.json").read_text())["epsilon"] == found.epsilon
    with pytest.raises(StoreError, match="another model"):
        audit_folder(tmp_path, second, fingerprint="second")
    with pytest.raises(StoreError, match="already"):
        save_planted(planted, tmp_path)


def strangers(planted: Planted) -> dict[str, object]:
    """Models that were plainly not trained on what was planted."""
    X, y = planted.training.X, planted.training.y
    rng = np.random.default_rng(0)
    tree = DecisionTreeClassifier(random_state=0)
    few = np.isin(y, (0, 1))
    poor = np.where(rng.random(len(y)) < 0.2, y, rng.integers(0, 10, len(y)))
    return {
        "other columns": clone(tree).fit(X[:, ::-1], y),
        "other classes": clone(tree).fit(X, (y + 1) % 10),
        "shuffled labels": clone(tree).fit(X, rng.permutation(y)),
        "two of ten classes": clone(tree).fit(X[few], y[few]),
        "0.28 right": DecisionTreeClassifier(random_state=0).fit(X, poor),
        "one answer": DummyClassifier().fit(X, y),
        "labels alone": lambda Z: np.zeros(len(Z), np.int64),
    }


def test_a_model_that_plainly_is_another_one_costs_nothing(tmp_path: Path) -> None:
    planted = plant(digits(), Canaries(60), seed=1)
    for name, stranger in strangers(planted).items():
        refused_as_another(planted, stranger, tmp_path / name)


def refused_as_another(planted: Planted, stranger: object, folder: Path) -> None:
    """See that a model is refused before any coin is spent, and the right one audited afterwards."""
    save_planted(planted, folder)
    before = sorted(folder.iterdir())
    with pytest.raises(DataError, match="does not seem to be trained on the planted data") as refusal:
        audit_folder(folder, stranger, fingerprint="stranger")
    assert "--accept-weak" in str(refusal.value)
    assert sorted(folder.iterdir()) == before
    right = KNeighborsClassifier(1).fit(planted.training.X, planted.training.y)
    found = audit_folder(folder, right, fingerprint="right")
    assert found.warnings == []
    assert found.ordinary.accuracy == 1.0
    with pytest.raises(StoreError, match="another model"):
        audit_folder(folder, stranger, fingerprint="stranger", accept_weak=True)


def test_a_weak_model_is_audited_where_it_is_said_to_be_the_one(tmp_path: Path) -> None:
    planted = plant(digits(), Canaries(60), seed=1)
    save_planted(planted, tmp_path)
    found = audit_folder(tmp_path, strangers(planted)["other columns"], fingerprint="weak", accept_weak=True)
    assert "at least" in found.warnings[0]
    assert "warning: " in found.summary()


def test_the_check_reads_no_coin() -> None:
    """Whatever the coins, the same ordinary records are looked at, and none of them equals a canary."""
    data = digits()
    for kind in ("mislabelled", "out-of-distribution", "duplicated"):
        planted = plant(data, Canaries(200, kind), seed=3)
        ordinary = planted.training.take(ordinary_records(planted))
        assert not np.isin(row_hashes(ordinary.X), row_hashes(planted.canaries.X)).any()
        assert len(ordinary) == planted.ordinary
        np.testing.assert_array_equal(ordinary_records(planted), planted.of_records)


def honest() -> dict[str, tuple[Dataset, object]]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"town": rng.choice(["Ulm", "Bonn"], 400), "age": rng.integers(20, 80, 400)})
    rare = (rng.random(400) < 0.05).astype(int)
    return {
        "nothing to learn": (from_arrays(rng.normal(size=(400, 5)), rng.integers(0, 4, 400)), LogisticRegression()),
        "a rare class": (from_arrays(rng.normal(size=(400, 5)) + 0.3 * rare[:, None], rare), LogisticRegression()),
        "a shallow tree": (digits(), DecisionTreeClassifier(max_depth=5, random_state=0)),
        "categories": (from_arrays(frame, rng.integers(0, 2, 400)), None),
        "hardly anybody": (small(14, 2), KNeighborsClassifier(1)),
    }


@pytest.mark.parametrize("name", honest())
def test_honest_models_are_audited_as_they_are(name: str) -> None:
    data, model = honest()[name]
    planted = plant(data, Canaries(10 if len(data) < 20 else 60), seed=4)
    if model is None:
        model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    found = audit_canaries(planted, model.fit(planted.training.X, planted.training.y))
    assert found.canaries == len(planted.canaries)
    assert (found.ordinary.accuracy is None) == (name == "hardly anybody")
    assert bool(found.warnings) == (name == "hardly anybody" or found.ordinary.accuracy <= found.ordinary.chance)


def test_labels_alone_and_references() -> None:
    planted = plant(digits(), Canaries(400), seed=1)
    model = KNeighborsClassifier(1).fit(planted.training.X, planted.training.y)
    by_label = audit_canaries(planted, lambda X: model.predict(X))
    assert by_label.signal == "label"
    assert by_label.epsilon > 1.0
    reference = DecisionTreeClassifier(random_state=0).fit(*load_digits(return_X_y=True))
    found = audit_canaries(planted, model, references=[reference])
    assert found.references == 1
    assert found.epsilon > 1.0


def test_a_target_that_cannot_be_trained_ends_the_run_before_its_references(tmp_path: Path) -> None:
    calls = []

    def train(X: np.ndarray, y: np.ndarray, seed: int) -> None:
        calls.append(seed)
        raise ValueError("does not converge")

    with pytest.raises(PoolError, match="the target could not be trained: ValueError: does not converge"):
        run(train, Canaries(40), records=small(), references=3, out=tmp_path, jobs=0)
    assert len(calls) == 1


def test_refusals() -> None:
    with pytest.raises(PlanError, match="7 problems"):
        Canaries(5, "odd", copies=0, guesses_in=9, signal="x", delta=1, confidence=1)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match=r"^count: must be a whole number from 10, got 1; 1000 canaries can show .* 4$"):
        Canaries(1)
    with pytest.raises(PlanError, match="guesses"):
        Canaries(100, guesses_in=0, guesses_out=0)
    data = small()
    with pytest.raises(DataError, match="plant fewer"):
        plant(data, Canaries(400))
    with pytest.raises(DataError, match="plant fewer"):
        plant(data, Canaries(401), sources=data)
    with pytest.raises(DataError, match="one kind"):
        plant(data, Canaries(100), sources=small(classes=5))
    planted = plant(data, Canaries(100), seed=0)
    alike = next(seed for seed in range(10_000) if len(set(coins(10, seed).tolist())) == 1)
    with pytest.raises(DataError, match="all 10 coins fell on one side; plant again with another seed"):
        plant(data, Canaries(10), seed=alike)  # before anybody trains
    with pytest.raises(DataError, match="one side"):
        audit_canaries(replace(planted, inside=np.ones(100, bool)), DecisionTreeClassifier())


def test_the_worked_example_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "canaries.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/canaries.md", "exec"), {})
    assert "of 120 guesses are right" in capsys.readouterr().out


def test_a_frame_of_codes_truths_and_gaps_is_read_again(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "zip": np.array(["00501", "0501", "7"])[np.arange(120) % 3],
            "flag": np.arange(120) % 2 == 0,
            "gap": np.where(np.arange(120) % 5, np.arange(120) / 7, np.nan),
            "word": pd.Series(np.where(np.arange(120) % 4, "a", None)).astype("str").where(np.arange(120) % 4 > 0),
        }
    )
    planted = plant(from_arrays(frame, np.arange(120) % 2), Canaries(40), seed=2)
    save_planted(planted, tmp_path)
    again, _ = load_planted(tmp_path)
    pd.testing.assert_frame_equal(again.training.X, planted.training.X)
    odd = frame.assign(word="None")
    with pytest.raises(DataError, match="the text 'None', which is read from a table as a missing value"):
        save_planted(plant(from_arrays(odd, np.arange(120) % 2), Canaries(40), seed=2), tmp_path / "odd")
