"""The page on training code is true: its functions train shadow models, its command and its round trip work.

Those that need Lightning, CatBoost, Keras or transformers run in an environment of their own, `.venv-trainers`
(`make test-trainers`).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from miaudit.auditing import audit
from miaudit.auditing.export import draws
from miaudit.auditing.scoring import score

PAGE = (Path(__file__).parents[2] / "docs" / "training-code.md").read_text(encoding="utf-8")


def block(section: str, kind: str) -> str:
    """Return the first block of a kind in a section of the page."""
    part = PAGE[PAGE.index(f"## {section}\n") :]
    return re.search(rf"^```{kind}\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)[1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    for name, part in (("members", order[:200]), ("nonmembers", order[200:400])):
        np.savez(tmp_path / f"{name}.npz", X=X[part].astype(np.float32), y=y[part])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("net", "train", "lightning_train", "catboost_train", "keras_train", "trainer_train"):
        sys.modules.pop(name, None)


def function_plan(name: str, predict: bool = False) -> str:
    more = f'predict = "{name}.py:predict"\n' if predict else ""
    return (
        'attacks = ["rmia"]\n[data]\nname = "digits"\n[split]\nmembers = 300\n[recipe]\n'
        f'train = "{name}.py:train"\n{more}[shadows]\ncount = 1\n'
    )


def check_function(
    folder: Path, section: str, name: str, *, least: tuple[float, float] = (0.9, 0.75), **options: bool
) -> None:
    (folder / f"{name}.py").write_text(block(section, "python"))
    (folder / "plan.toml").write_text(function_plan(name, **options))
    result = audit(folder / "plan.toml", allow_code=True, jobs=0, out=folder / "out")
    assert result.shadows.train_accuracy > least[0]
    assert result.shadows.test_accuracy > least[1]
    assert [warning for warning in result.warnings if "reproducible" in warning or "cannot be read" in warning] == []
    again = audit(folder / "plan.toml", allow_code=True, jobs=0, out=folder / "out")
    assert again.provenance.shadow_cost.trained_now == 0


def test_the_function_of_the_page_trains(folder):
    check_function(folder, "A function", "train")


def test_the_module_of_the_page_trains(folder):
    (folder / "net.py").write_text(block("A torch module", "python"))
    (folder / "plan.toml").write_text(
        function_plan("net").replace('train = "net.py:train"', 'function = "net.py:recipe"')
    )
    assert audit(folder / "plan.toml", allow_code=True, jobs=0).shadows.train_accuracy > 0.8


@pytest.mark.trainers
def test_lightning_trains(folder):
    pytest.importorskip("lightning")
    check_function(folder, "Lightning", "lightning_train")


@pytest.mark.trainers
def test_catboost_trains_by_a_function_and_as_an_estimator(folder):
    catboost = pytest.importorskip("catboost")
    check_function(folder, "CatBoost", "catboost_train", predict=True)
    X, y = load_digits(return_X_y=True)
    sides = {"members": (X[:300], y[:300]), "nonmembers": (X[300:600], y[300:600])}
    options = {"iterations": 20, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    model = catboost.CatBoostClassifier(**options).fit(*sides["members"])
    result = audit(model, **sides, shadows=2, jobs=0, attacks=["rmia"])
    assert result.shadows.train_accuracy > 0.9


@pytest.mark.trainers
def test_keras_trains(folder, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("keras")
    check_function(folder, "Keras", "keras_train", predict=True)


@pytest.mark.trainers
def test_the_trainer_of_hugging_face_trains(folder):
    pytest.importorskip("transformers")
    check_function(folder, "The Trainer of Hugging Face", "trainer_train", predict=True, least=(0.8, 0.5))


@pytest.mark.trainers
def test_the_command_of_the_page_trains_and_answers(folder):
    (folder / "train.py").write_text(block("A command", "python"))
    plan = block("A command", "toml") + "[shadows]\ncount = 1\n"
    (folder / "plan.toml").write_text('attacks = ["rmia"]\n' + plan)
    result = audit(folder / "plan.toml", allow_code=True, jobs=0)
    assert result.shadows.train_accuracy > 0.95


def test_the_round_trip_of_the_page(folder):
    from sklearn.tree import DecisionTreeClassifier

    plan = {"data": {"members": "members.npz", "nonmembers": "nonmembers.npz"}, "shadows": {"count": 3}}
    draws({**plan, "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"}}, "draws.npz")
    sides = [np.load(f"{name}.npz") for name in ("members", "nonmembers")]
    X, y = (np.concatenate([side[key] for side in sides]) for key in ("X", "y"))

    def train(X, y, seed):
        return DecisionTreeClassifier(random_state=seed).fit(X, y)

    names = {"np": np, "train": train, "X": X, "y": y, "target": train(X[:200], y[:200], 0)}
    exec(block("Trained elsewhere", "python"), names)
    assert score("outputs.npz", attacks=["rmia"]).shadows.trained == 3
