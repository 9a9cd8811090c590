"""Options without an effect are refused, or said to have none, before anything is trained; so are keywords nobody takes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB

import miaudit
from miaudit.auditing import case_of_plan
from miaudit.auditing.scoring import score
from miaudit.auditing.shadow_data import synthesize
from miaudit.auditing.stored import stored_outputs
from miaudit.errors import PlanError

X, Y = load_digits(return_X_y=True)
SIDES = {name: (X[i : i + 60], Y[i : i + 60]) for name, i in (("members", 0), ("nonmembers", 60), ("population", 120))}
MODEL = GaussianNB(var_smoothing=1e-2).fit(*SIDES["members"])
PLAN = {
    "data": {"name": "digits"},
    "split": {"members": 60, "nonmembers": 60, "population": 400},
    "recipe": {"estimator": "sklearn.naive_bayes.GaussianNB"},
    "shadows": {"count": 2},
}


def with_section(name, **keys):
    return PLAN | {name: {**PLAN.get(name, {}), **keys}}


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (with_section("shadows", bystanders=3), r"shadows\.bystanders: belongs to the overlapping design"),
        (
            with_section("split", outside=500),
            r"split\.outside: asks about 500 records of the population, which has 400",
        ),
        (with_section("split", holdout=0.3), r"split\.holdout: sets non-members apart where there is no population"),
    ],
)
def test_a_plan_says_nothing_without_effect(plan, sentence):
    with pytest.raises(PlanError, match=sentence):
        case_of_plan(plan)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bystanders": 3, "design": "disjoint"}, r"^bystanders: belongs"),
        ({"outside": 100}, r"^outside: asks about 100"),
        ({"holdout": 0.3}, r"^holdout: sets"),
        ({"attacks": []}, r"^attacks: is empty"),
        ({"time_limit": np.array([1.0, 2.0])}, r"^time_limit must be a number of seconds"),
        ({"seed": 2**200}, r"^seed: is a whole number of more than \d+ bits"),
    ],
)
def test_neither_does_a_call(options, sentence):
    with pytest.raises(PlanError, match=sentence):
        miaudit.audit(MODEL, **SIDES, **options)


@pytest.mark.parametrize("options", [{"job": 3}, {"bogus": None}, {"job": None}])
@pytest.mark.parametrize("subject", [PLAN, MODEL], ids=["plan", "model"])
def test_a_keyword_that_nobody_takes_is_told_with_the_nearest(subject, options):
    hint = "did you mean 'jobs'" if "job" in options else "it takes"
    with pytest.raises(TypeError, match=f"takes no {next(iter(options))!r}; {hint}"):
        miaudit.audit(subject, **options)


def test_a_section_for_synthetic_records_is_said_to_have_no_effect_on_real_ones():
    notes = case_of_plan(with_section("synthesis", rate=0.2)).notes
    assert sum("[synthesis] has no effect" in note for note in notes) == 1
    assert not any("[synthesis]" in note for note in case_of_plan(PLAN).notes)


def test_synthesis_trains_one_model_here(tmp_path):
    with pytest.raises(PlanError, match="leave out jobs"):
        synthesize(PLAN, tmp_path, method="noisy", jobs=2)


def test_scores_take_the_values_of_python_and_seeds_of_a_plan():
    member = np.arange(40) < 20
    arrays = {"signal_target": np.linspace(-1, 0, 40), "member": member, "log_likelihood": True}
    stored = stored_outputs(arrays)
    assert stored.capability == "log-likelihood"
    with pytest.raises(PlanError, match=r"seed: is a whole number of more than"):
        score(stored, seed=2**200)
    with pytest.raises(PlanError, match="attacks: is empty"):
        score(stored, attacks=[])
