"""A target trained here, one of a file and one behind a URL that answer alike give the same result."""

from __future__ import annotations

import json

import numpy as np
import pytest
import skops.io
from scripted import Script, serving
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

import miaudit

X, Y = load_digits(return_X_y=True)
ORDER = np.random.default_rng(8).permutation(len(X))
PARTS = {"members": ORDER[:80], "nonmembers": ORDER[80:160], "population": ORDER[160:500]}
OF_THE_SOURCE = ("source", "description", "contact", "queries")


@pytest.mark.parametrize(
    ("path", "model", "capability"),
    [
        ("sklearn.naive_bayes.GaussianNB", GaussianNB(), "probabilities"),
        ("sklearn.neighbors.KNeighborsClassifier", KNeighborsClassifier(), "rounded"),
        ("sklearn.naive_bayes.GaussianNB", RidgeClassifier(), "labels"),  # no recipe trains what answers labels
    ],
)
def test_the_same_answers_give_the_same_result(path, model, capability, tmp_path):
    for name, rows in PARTS.items():
        np.savez(tmp_path / f"{name}.npz", X=X[rows], y=Y[rows])
    model = model.fit(X[PARTS["members"]], Y[PARTS["members"]])
    skops.io.dump(model, tmp_path / "model.skops")
    common = {
        "data": {name: str(tmp_path / f"{name}.npz") for name in PARTS},
        "recipe": {"estimator": path, "encode": False},
        "shadows": {"count": 2},
        "attacks": ["shokri", "threshold"],
    }
    with serving(Script(getattr(model, "predict_proba", model.predict))) as url:
        http = {"format": "v2", "model": "m"}
        targets = [{}, {"file": str(tmp_path / "model.skops")}, {"url": url, "http": http}]
        options = {"jobs": 0, "trusted": ["sklearn.neighbors._kd_tree.KDTree"]}
        targets = targets[capability == "labels" :]
        results = [miaudit.audit(common | ({"target": target} if target else {}), **options) for target in targets]
    assert [result.target.source for result in results][-2:] == ["given file", "given url"]
    documents = []
    for result in results:
        document = json.loads(result.to_json())
        del document["provenance"], document["threat_model"], document["target"]["outputs_reason"]
        documents.append(document | {"target": {k: v for k, v in document["target"].items() if k not in OF_THE_SOURCE}})
    assert documents[0]["target"]["capability"] == capability
    for document in documents[1:]:
        assert document == documents[0]
