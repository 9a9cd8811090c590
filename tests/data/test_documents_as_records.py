"""Records that are texts: lists, Series, columns and files, handed to pipelines as they take them."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import miaudit
from miaudit.auditing.proposal import proposal
from miaudit.data import load
from miaudit.errors import DataError, PlanError
from miaudit.plan.permissions import Permissions


def texts(n: int, seed: int) -> tuple[pd.Series, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return pd.Series([" ".join(f"w{i}" for i in rng.integers(0, 60, 12) + 30 * k) for k in y], name="note"), y


SIDES = {name: texts(120, i) for i, name in enumerate(("members", "nonmembers", "population"))}
PIPE = make_pipeline(TfidfVectorizer(), LogisticRegression(C=100)).fit(*SIDES["members"])
FORMS = {
    "series": lambda t: t,
    "list": list,
    "array": lambda t: t.to_numpy(object),
    "column": lambda t: t.to_numpy(object)[:, None],
    "frame": lambda t: t.to_frame(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_pipeline_of_texts_takes_them_in_every_form(form):
    given = {name: (FORMS[form](t), y) for name, (t, y) in SIDES.items()}
    result = miaudit.audit(PIPE, **given, shadows=2, attacks=["rmia"], jobs=0)
    assert result.target.train_accuracy == PIPE.score(*SIDES["members"])


@pytest.fixture
def files(tmp_path):
    for name, (t, y) in SIDES.items():
        pd.DataFrame({"id": range(len(y)), "note": t, "label": y}).to_csv(tmp_path / f"{name}.csv", index=False)
    joblib.dump(PIPE, tmp_path / "m.joblib")
    return tmp_path


def test_two_files_and_a_model_of_texts_are_an_audit(files):
    content = proposal(
        *(files / name for name in ("m.joblib", "members.csv", "nonmembers.csv")),
        permissions=Permissions(allow_pickle=True),
    )
    assert (content["data"]["text"], content["data"]["label"]) == ("note", "label")
    result = miaudit.audit({**content, "attacks": ["rmia"], "shadows": {"count": 2}}, allow_pickle=True, jobs=0)
    assert result.target.train_accuracy == PIPE.score(*SIDES["members"])


def test_a_column_of_texts_is_the_record(files):
    dataset = load(files / "members.csv", label="label", text="note")
    assert dataset.X.shape == (120,)
    assert dataset.X.tolist() == SIDES["members"][0].tolist()
    with pytest.raises(DataError, match="names the record"):
        load(files / "members.csv", label="label", text="label")
    with pytest.raises(DataError, match="'nothing'"):
        load(files / "members.csv", label="label", text="nothing")
    with pytest.raises(PlanError, match="leave out frame"):
        miaudit.Plan.of(
            {
                "data": {"path": "a.csv", "text": "note", "frame": True},
                "split": {"members": 9},
                "recipe": {"estimator": "a.B"},
            }
        )


def test_missing_texts_are_empty_and_told(tmp_path):
    (tmp_path / "a.csv").write_text("t,label\none,0\n,1\ntwo,1\n")
    dataset = load(tmp_path / "a.csv", label="label", text="t")
    assert dataset.X.tolist() == ["one", "", "two"]
    assert "1 of 3 texts is missing" in dataset.notes[0]
