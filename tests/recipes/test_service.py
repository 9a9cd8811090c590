"""Shadows trained by a real service in a process of its own."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from miaudit import audit
from miaudit.errors import PlanError, PoolError, TargetError
from miaudit.recipes import ServiceRecipe
from miaudit.testing import check_recipe

X = (2 * np.eye(3, 8)[np.arange(60) % 3] + np.random.default_rng(0).normal(size=(60, 8))).round(3)
Y = np.arange(60) % 3


@pytest.fixture(scope="module")
def process():
    program = Path(__file__).with_name("training_service.py")
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


@pytest.fixture
def server(process):
    urllib.request.urlopen(f"{process}/forget", data=b"{}", timeout=30).close()
    return process


def recipe(server, params=None, **options):
    ways = {"status": f"{server}/jobs/{{job}}", "state": "status.state", "poll": 0.01, "wait": 60.0} | options
    return ServiceRecipe(f"{server}/train", params=params or {}, **ways)


def count(server):
    with urllib.request.urlopen(f"{server}/count", timeout=30) as answer:
        return json.load(answer)


def test_a_model_trained_by_the_service_is_that_of_the_same_training_here(server):
    model = recipe(server, {"C": 0.3}).fit(X, Y, classes=3, seed=1)
    here = LogisticRegression(C=0.3, max_iter=200).fit(X, Y)
    np.testing.assert_allclose(model.predict_proba(X), here.predict_proba(X), atol=1e-12)
    other = recipe(server, {"C": 0.3}, batch=7, predict=f"{server}/models/{{job}}").fit(X, Y, classes=3, seed=1)
    np.testing.assert_allclose(other.predict_proba(X), here.predict_proba(X), atol=1e-12)
    assert list(count(server)["begun"].values()) == [1, 1]  # the two differ in how they are described


def test_it_keeps_a_recipes_promises(server):
    check_recipe(recipe(server))
    assert pickle.loads(pickle.dumps(recipe(server))) == recipe(server)  # workers get it so


@pytest.mark.parametrize("trouble", [{"refuse": 2}, {"drop": 1}])
def test_failures_of_the_service_are_tried_again_and_nothing_is_trained_twice(trouble, server):
    recipe(server, trouble).fit(X, Y, classes=3, seed=1)
    assert list(count(server)["begun"].values()) == [1]


def test_what_the_service_cannot_know_again_is_not_submitted_twice(server):
    body = '{"records": "$records", "labels": "$labels", "classes": "$classes", "params": {"drop": 1}}'
    with pytest.raises(TargetError, match="does not answer"):
        recipe(server, body=body).fit(X, Y, classes=3, seed=1)
    assert sum(count(server)["begun"].values()) == 1


@pytest.mark.parametrize(
    ("params", "options", "said"),
    [
        ({"fail": True}, {}, "says that training job 0 is failed: .*no quota left"),
        ({"endless": True}, {"wait": 0.05}, r"still 'running' after wait = 0.05 s; give it longer"),
        ({"elsewhere": True}, {}, "another server, to which records and credentials are not sent"),
        ({"refuse": 99}, {"retries": 1}, "answers status 503: .*busy"),
        ({}, {"job": "id"}, "answers without 'id'"),
        ({}, {"state": "state"}, "answers without 'state'"),
        ({}, {"endpoint": "url"}, "answers without 'url'"),
    ],
)
def test_what_the_service_says_is_told(params, options, said, server):
    with pytest.raises(TargetError, match=said):
        recipe(server, params, **options).fit(X, Y, classes=3, seed=1)


def test_credentials_come_from_the_environment_and_are_in_no_description(server, monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "s3cret")
    secret = recipe(server, headers={"authorization": "Bearer env:SERVICE_TOKEN"})
    secret.fit(X, Y, classes=3, seed=1).predict_proba(X)
    assert count(server)["tokens"] == ["", "Bearer s3cret"]  # "" is our own look at the count
    assert "s3cret" not in json.dumps(secret.describe()) + repr(secret)
    assert secret.describe() == recipe(server).describe()


@pytest.mark.parametrize("further", ["/env:SECRET", "?a=env:SECRET", "/e\tnv:SECRET", "/env:env:SECRET"])
def test_a_service_cannot_ask_for_a_variable_by_its_answers(server, monkeypatch, further):
    monkeypatch.setenv("SECRET", "s3cret")
    with pytest.raises(TargetError, match="asks for the environment variable .* it is not sent"):
        recipe(server, {"further": further[::-1]}).fit(X, Y, classes=3, seed=1)
    for way in ("status", "predict"):
        asking = recipe(server, {"job": "SECRET"}, **({"status": None} | {way: f"{server}/jobs/env:{{job}}"}))
        with pytest.raises(TargetError, match="asks for the environment variable SECRET .* it is not sent"):
            asking.fit(X, Y, classes=3, seed=1)


def test_no_part_of_a_credential_is_shown_where_the_service_sends_it_back(server, monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "s3cret" * 50)
    with pytest.raises(TargetError, match=r"answers without 'job': .*unknown: Bearer \*\*\*") as caught:
        recipe(server, {"echo": True}, headers={"authorization": "Bearer env:SERVICE_TOKEN"}).fit(
            X, Y, classes=3, seed=1
        )
    assert "s3c" not in str(caught.value)


def plan(server, folder, **service):
    options = {
        "train": f"{server}/train",
        "status": f"{server}/jobs/{{job}}",
        "state": "status.state",
        "poll": 0.01,
        "params": {"C": 50.0},
    }
    return {
        "data": {"path": str(folder / "all.npz"), "label": "y"},
        "split": {"members": 40},
        "recipe": {"service": options | service},
        "shadows": {"count": 4},
        "attacks": ["shokri", "threshold"],
    }


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(2)
    np.savez(tmp_path / "all.npz", X=rng.normal(size=(240, 6)), y=np.arange(240) % 3)
    return tmp_path


def test_an_audit_trains_target_and_shadows_by_the_service_and_none_twice(server, folder):
    first = audit(plan(server, folder), jobs=0, out=folder / "out")
    assert first.shadows.trained == 4
    assert first.target.description == f"trained by {server}/train"
    assert list(count(server)["begun"].values()) == [1] * 5
    again = audit(plan(server, folder), jobs=0, out=folder / "out")
    assert again.attacks == first.attacks
    assert list(count(server)["begun"].values()) == [1] * 5
    audit(plan(server, folder, params={"C": 1.0}), jobs=0, out=folder / "out")  # other parameters, other models
    assert list(count(server)["begun"].values()) == [1] * 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here = audit(
            {
                **plan(server, folder),
                "recipe": {
                    "estimator": "sklearn.linear_model.LogisticRegression",
                    "params": {"C": 50.0, "max_iter": 200},
                    "encode": False,
                },
            },
            jobs=0,
        )
    assert first.target.train_accuracy == here.target.train_accuracy
    assert first.target.test_accuracy == here.target.test_accuracy


def test_a_service_that_fails_ends_the_audit_with_its_words(server, folder):
    with pytest.raises(PoolError, match="no quota left") as caught:
        audit(plan(server, folder, params={"fail": True}), jobs=0)
    assert caught.value.exit_code == 4


def test_every_wrong_key_is_told(folder):
    wrong = plan(
        "http://127.0.0.1:1", folder, status="http://127.0.0.1:1/jobs", poll=-1.0, body="{", wire={"format": "x"}
    )
    with pytest.raises(PlanError) as caught:
        audit(wrong)
    for said in (
        "recipe.service.status: must hold {job}",
        "recipe.service.poll: must be a finite number above 0, got -1.0",
        "recipe.service.body: is not JSON",
        'recipe.service.body: must hold "$records"',
        "recipe.service.wire.format: unknown format 'x'; known are v2, instances",
    ):
        assert said in str(caught.value)
    with pytest.raises(PlanError, match=r"recipe\.service\.statsu: unknown key; did you mean 'status'"):
        audit(plan("http://127.0.0.1:1", folder, statsu="x"))
    with pytest.raises(PlanError, match=r"recipe\.service\.headers\.authorization: is named like a credential"):
        audit(plan("http://127.0.0.1:1", folder, headers={"authorization": "abc"}))
    with pytest.raises(PlanError, match=r"recipe\.service\.train: url must be an address"):
        audit(plan("ftp://a", folder))
    with pytest.raises(PlanError, match=r"recipe\.service\.train: missing"):
        audit({**plan("http://a", folder), "recipe": {"service": {}}})
