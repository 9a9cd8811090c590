"""Audits through objects that wrap an endpoint: what it counts, keeps and ends by is not lost on the way."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scripted import Script, serving
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from test_audit_by_url import figures

import miaudit
from miaudit.errors import BudgetError, TargetError, TimeLimitError
from miaudit.targets import Endpoint, Outputs, Target, connect, keep

X, Y = load_digits(return_X_y=True)
ORDER = np.random.default_rng(8).permutation(len(X))
PARTS = {"members": ORDER[:80], "nonmembers": ORDER[80:160], "population": ORDER[160:700]}
SIDES = {name: (X[rows], Y[rows]) for name, rows in PARTS.items()}
MODEL = GaussianNB(var_smoothing=0.1).fit(*SIDES["members"])
QUICK = {"recipe": DecisionTreeClassifier(), "shadows": 1, "jobs": 0, "attacks": ["threshold"], **SIDES}
HOOKS = ("for_classes", "declare", "open", "make_contact", "expect", "confirm", "facts", "close")


class Delegating:
    def __init__(self, inner: Target, change=lambda outputs: outputs):
        self.inner, self.change = inner, change

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def answer(self, records) -> Outputs:
        return self.change(self.inner.answer(records))


class Explicit:
    source, named = "given url", True

    def __init__(self, inner: Target, change=lambda outputs: outputs, hooks=HOOKS):
        self.inner, self.change = inner, change
        for hook in hooks:
            setattr(self, hook, getattr(inner, hook))

    @property
    def resumed(self):
        return self.inner.resumed

    def answer(self, records) -> Outputs:
        return self.change(self.inner.answer(records))


class Derived(Endpoint):
    change = staticmethod(lambda outputs: outputs)

    def answer(self, records) -> Outputs:
        return self.change(super().answer(records))


def derived(endpoint, change=None):
    endpoint.__class__ = Derived
    endpoint.change = change or endpoint.change
    return endpoint


WRAPPERS = {"by __getattr__": Delegating, "one by one": Explicit, "derived": derived}


def endpoint(url, **options):
    return connect(url, format="v2", model="m", **options)


def facts(result):
    return {key: value for key, value in result.provenance.target.items() if key not in ("url", "requests")}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_endpoint_is_audited_as_the_endpoint_itself(name, tmp_path):
    script, told = Script(MODEL.predict_proba), []
    with serving(script) as url:
        bare = miaudit.audit(endpoint(url), **QUICK)
        first = endpoint(url)
        wrapped = miaudit.audit(WRAPPERS[name](first), out=tmp_path, tell=lambda text, _: told.append(text), **QUICK)
        first.close()
        sent = sum(script.answered.values())
        second = endpoint(url)
        again = miaudit.audit(WRAPPERS[name](second), out=tmp_path, **QUICK)
        second.close()
        assert sum(script.answered.values()) - sent == 5  # the records of first contact, to see that it is the same
    assert figures(wrapped) == figures(bare)
    assert wrapped.target == bare.target.model_copy(update={"description": wrapped.target.description})
    assert wrapped.target.source == "given url"
    assert facts(wrapped) == facts(bare)
    assert facts(bare)["records_sent"] == sent / 2 == 256
    assert any("queries to send (0 of 240 answered before)" in text for text in told)
    assert again.attacks == wrapped.attacks
    assert again.target.queries == wrapped.target.queries + 5


@pytest.mark.parametrize(
    "name", ["one by one", *(pytest.param(name, marks=pytest.mark.slow) for name in WRAPPERS if name != "one by one")]
)
def test_budget_and_time_limit_hold_through_a_wrapper(name, tmp_path):
    script = Script(MODEL.predict_proba, delay=0.05)
    with serving(script) as url:
        small = endpoint(url, budget=100)
        with pytest.raises(BudgetError, match="budget of at least 261"):
            miaudit.audit(WRAPPERS[name](small), **QUICK)
        assert sum(script.answered.values()) == 100
        small.close()
        began = time.monotonic()
        with pytest.raises(TimeLimitError):
            miaudit.audit(WRAPPERS[name](endpoint(url, batch=1, concurrency=1)), time_limit=2, **QUICK)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_a_wrapper_makes_of_the_answers_is_what_is_audited(name):
    changes = {
        "rounded": lambda outputs: replace(outputs, values=outputs.values.round(1)),
        "labels": lambda outputs: Outputs(outputs.labels, "labels", outputs.classes),
    }
    for capability, change in changes.items():
        with serving(Script(MODEL.predict_proba)) as url:
            result = miaudit.audit(WRAPPERS[name](endpoint(url), change), **QUICK)
        given = {"rounded": lambda X: MODEL.predict_proba(X).round(1), "labels": MODEL.predict}[capability]
        here = miaudit.audit(given, **QUICK)
        assert result.target.capability == here.target.capability == capability
        assert [each.auc for each in result.attacks] == [each.auc for each in here.attacks]


def test_a_wrapper_that_passes_on_little_is_not_taken_for_a_steady_target():
    rng = np.random.default_rng(0)

    def noisy(records):
        values = MODEL.predict_proba(records) + rng.uniform(0, 0.05, size=(len(records), 10))
        return values / values.sum(axis=1, keepdims=True)

    for wrap in (
        lambda target: Explicit(target, hooks=("open", "facts")),
        lambda target: lambda X: target.answer(X).probabilities,
    ):
        with serving(Script(noisy)) as url:
            result = miaudit.audit(wrap(endpoint(url, classes=10)), **QUICK)
        assert result.target.contact.deterministic is False  # although the endpoint keeps what it answered


@pytest.mark.slow
def test_the_clients_whose_answers_are_kept_have_counts_and_an_end(tmp_path):
    slow = keep(lambda X: time.sleep(0.2) or MODEL.predict_proba(X), name="m", folder=tmp_path, batch=20)
    with pytest.raises(TimeLimitError, match="every answer is kept"):
        miaudit.audit(slow, time_limit=1, **QUICK)
    done = len(slow.ledger)
    result = miaudit.audit(slow, **QUICK)
    assert (
        result.provenance.target["records_sent"] >= 240 - done
    )  # of this audit alone: what was kept is not asked again
    assert done > 0


def test_outputs_that_do_not_fit_are_refused():
    odd = {
        "shape": Outputs(np.ones((80, 3)), "probabilities"),
        "no class numbers": Outputs(np.full(240, 11), "labels"),
        "sum": Outputs(np.ones((240, 10)), "probabilities"),
    }
    for match, outputs in odd.items():

        class Model:
            def answer(self, records, given=outputs):
                return replace(given, values=given.values[: len(records)])

        with pytest.raises(TargetError, match=match):
            miaudit.audit(Model(), **QUICK)
    with pytest.raises(TypeError, match="answer"):
        type("Old", (Target,), {"query": lambda self, X: None})
