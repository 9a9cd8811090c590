"""Whole audits in worlds with known answers, and everything a user can get wrong."""

from __future__ import annotations

import csv
import inspect
import json
import re

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import binom
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit import auditing
from miaudit.auditing.scope import mismatches
from miaudit.errors import DataError, MiauditError, PlanError, TargetError, TimeLimitError
from miaudit.result import Result

X, Y = load_digits(return_X_y=True)
ORDER = np.random.default_rng(5).permutation(len(X))
MEMBERS, NONMEMBERS, POPULATION = ORDER[:300], ORDER[300:600], ORDER[600:]


def side(index, records=X):
    return records[index], Y[index]


def sides(records=X):
    return {
        "members": side(MEMBERS, records),
        "nonmembers": side(NONMEMBERS, records),
        "population": side(POPULATION, records),
    }


FEW = {"attacks": ["shokri", "threshold"], "shadows": 4, "jobs": 0}


def quick(model, **options):
    """Audit by two attacks, where it does not matter by which."""
    return miaudit.audit(model, **{**sides(), **FEW, **options})


def outside_provenance(result: Result) -> dict:
    document = json.loads(result.to_json())
    del document["provenance"]
    return document


def test_a_constant_target_gives_nothing_away():
    def constant(records):
        return np.full((len(records), 10), 0.1)

    result = quick(constant, recipe=RandomForestClassifier(10))
    shokri = result.attack("shokri")
    assert shokri.auc.value == pytest.approx(0.5, abs=0.06)  # it can only go by the class
    threshold = result.attack("threshold")
    assert (threshold.auc.value, threshold.pooled.accuracy) == (0.5, 0.5)
    assert not threshold.beats_controls
    assert result.verdict.startswith("No leak detected above AUC")


def test_a_memoriser_is_seen_through():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, len(X))  # nothing to learn but the records themselves

    def pair(index):
        return X[index], labels[index]

    model = KNeighborsClassifier(1).fit(*pair(MEMBERS))
    result = miaudit.audit(
        model, members=pair(MEMBERS), nonmembers=pair(NONMEMBERS), population=pair(POPULATION), **FEW
    )
    assert result.attack("shokri").pooled.accuracy > 0.93
    assert result.attack("shokri").auc.value > 0.93
    assert result.attack("shokri").beats_controls
    assert result.controls.null.at_chance
    assert result.controls.blind.confounded is False
    assert result.verdict.startswith("Membership leaks.")


@pytest.mark.slow
def test_a_target_that_saw_neither_side_comes_out_at_chance():
    """Exchangeable members and non-members: over 12 audits the mean AUC is 0.5, and few intervals exclude it."""
    trained_on = POPULATION[:300]
    model = RandomForestClassifier(10, random_state=0).fit(X[trained_on], Y[trained_on])
    values, excluded = [], 0
    for seed in range(12):
        order = np.random.default_rng(seed).permutation(np.concatenate([MEMBERS, NONMEMBERS]))
        result = quick(
            model,
            members=side(order[:300]),
            nonmembers=side(order[300:]),
            population=side(POPULATION[300:]),
            shadows=2,
            attacks=[{"name": "shokri", "variant": "pooled"}],
            seed=seed,
        )
        auc = result.attack("shokri pooled").auc
        values.append(auc.value)
        excluded += not auc.low <= 0.5 <= auc.high
    assert abs(np.mean(values) - 0.5) < 4 * 0.0236 / np.sqrt(12)  # sd of an AUC of 300 against 300 at chance
    assert excluded <= 3  # P(more of 12 at 5 %) is 0.2 %


def test_members_told_apart_by_the_records_alone_confound_the_audit():
    shifted = X.copy()
    shifted[MEMBERS, 0] += 3.0
    model = RandomForestClassifier(10, random_state=0).fit(shifted[MEMBERS], Y[MEMBERS])
    result = quick(model, **sides(shifted))
    assert result.controls.blind.confounded
    assert result.verdict.startswith("Confounded")


@pytest.fixture(scope="module")
def forest():
    return RandomForestClassifier(20, random_state=3).fit(X[MEMBERS], Y[MEMBERS])


@pytest.fixture(scope="module")
def whole(forest, tmp_path_factory):
    """An audit by all attacks, its folder, and what the model was before it."""
    before = forest.predict_proba(X), repr(forest.get_params())
    folder = tmp_path_factory.mktemp("whole")
    return quick(forest, attacks=None, out=folder), folder, before


@pytest.mark.slow
def test_the_result_depends_on_nothing_but_its_inputs(forest, whole, tmp_path):
    one, two = whole[0], quick(forest, attacks=None, out=tmp_path, jobs=2)
    assert outside_provenance(one) == outside_provenance(two)
    assert one.attack("shokri").auc.value != quick(forest, seed=1).attack("shokri").auc.value
    assert outside_provenance(Result.load(tmp_path)) == outside_provenance(two)


def test_the_model_is_never_touched(forest, whole):
    answers, parameters = whole[2]
    np.testing.assert_array_equal(forest.predict_proba(X), answers)
    assert repr(forest.get_params()) == parameters


def test_figures_can_be_checked_by_hand_from_the_records(forest, whole):
    result, folder, _ = whole
    with (folder / "records.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 600
    member = np.array([row["member"] == "1" for row in rows])
    called = np.array([row["shokri_in"] == "1" for row in rows])
    score = np.array([float(row["shokri"]) for row in rows])
    pooled = result.attack("shokri").pooled
    assert pooled.precision == (called & member).sum() / called.sum()
    assert pooled.recall == (called & member).sum() / member.sum()
    assert pooled.accuracy == (called == member).mean()
    ins, outs = score[member][:, None], score[~member][None]
    assert result.attack("shokri").auc.value == pytest.approx(((ins > outs) + 0.5 * (ins == outs)).mean())
    assert result.target.train_accuracy == forest.score(*side(MEMBERS))
    assert result.target.test_accuracy == forest.score(*side(NONMEMBERS))
    classes = result.attack("shokri").per_class
    assert sum(row.n for row in classes) == pooled.n == 600
    assert result.target.queries == 600 + 300 + 16  # as many outside the audit as members


def test_sides_of_unequal_size_are_evaluated_in_equal_numbers(forest):
    result = quick(forest, nonmembers=side(NONMEMBERS[:120]))
    assert result.split.evaluated_per_side == 120
    assert (result.attack("shokri").pooled.n, result.attack("shokri").pooled.members) == (240, 120)
    assert len(result.records) == 420


def test_frames_and_sparse_matrices_reach_the_model_as_they_are():
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    words = np.array(["low", "mid", "high"])[(X[:, 20:24] // 6).astype(int)]
    frame = pandas.DataFrame(words, columns=list("abcd"))
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), DecisionTreeClassifier(random_state=0))

    def frames(make):
        return {name: (make(frame.iloc[index]), Y[index]) for name, index in INDEX.items()}

    model.fit(frame.iloc[MEMBERS], Y[MEMBERS])
    result = miaudit.audit(model, **frames(lambda part: part), **FEW)
    assert result.attack("shokri").status == "ran"
    right = result.records.columns["gap"][result.records.columns["member"]]
    assert right.mean() == model.score(frame.iloc[MEMBERS], Y[MEMBERS])
    model.fit(polars.from_pandas(frame.iloc[MEMBERS]), Y[MEMBERS])
    assert miaudit.audit(model, **frames(polars.from_pandas), **FEW).attack("shokri").status == "ran"
    bits = sparse.csr_matrix((X > 8).astype(float))
    tree = DecisionTreeClassifier(random_state=0).fit(bits[MEMBERS], Y[MEMBERS])
    result = miaudit.audit(tree, **{n: (bits[i], Y[i]) for n, i in INDEX.items()}, **FEW)
    assert result.attack("shokri").status == "ran"


INDEX = {"members": MEMBERS, "nonmembers": NONMEMBERS, "population": POPULATION}


def test_classes_keep_the_users_own_names():
    names = np.array([f"digit {i}" for i in range(10)])

    def pair(index):
        return X[index], names[Y[index]]

    model = DecisionTreeClassifier(random_state=0).fit(*pair(MEMBERS))
    result = miaudit.audit(
        model, members=pair(MEMBERS), nonmembers=pair(NONMEMBERS), population=pair(POPULATION), **FEW
    )
    assert {row.class_ for row in result.attack("shokri").per_class} == set(names)
    assert result.target.train_accuracy == 1.0


def test_a_torch_network_is_audited_with_a_network_recipe():
    pytest.importorskip("torch")
    from miaudit.recipes.network import Network

    recipe = Network(kind="mlp", hidden=(32,), epochs=12, batch=32, learning_rate=0.1)
    model = recipe.fit(X[MEMBERS], Y[MEMBERS], classes=10, seed=0)
    result = quick(model, recipe=recipe)
    assert result.shadows.trained == 4
    assert result.target.train_accuracy > 0.95


@pytest.mark.parametrize(("n", "models", "spread"), [(20, 2, 0.0), (60, 2, 0.05), (200, 2, 0.05), (200, 8, 0.05)])
def test_accuracies_of_models_that_were_trained_alike_are_unlike_by_chance_only(n, models, spread):
    rng, trials = np.random.default_rng(n + models), 300
    alike = unlike = 0
    for _ in range(trials):
        shares = np.clip(rng.normal(0.6, spread, size=1 + models), 0, 1)
        right = rng.binomial(n, shares, size=(2, 1 + models)) / n
        alike += bool(mismatches(tuple(right[:, 0]), tuple(right[:, 1:]), n=(n, n), trained_here=True))
        unlike += bool(mismatches((0.98, 0.98), tuple(right[:, 1:]), n=(n, n)))
    assert alike <= binom.isf(1e-3, trials, 2 * 0.05 / 3)
    assert unlike > (0.9 if models > 2 else 0.1) * trials


def test_another_recipe_than_the_targets_is_reported(forest):
    result = quick(forest, recipe=DecisionTreeClassifier(max_depth=3))
    assert any("do not seem to be trained alike" in warning for warning in result.warnings)


def test_swapped_sides_are_reported(forest):
    result = quick(forest, members=side(NONMEMBERS), nonmembers=side(MEMBERS))
    assert any("does better on the non-members" in warning for warning in result.warnings)


def test_a_population_too_small_for_equal_shadows_is_used_and_reported(forest):
    result = quick(forest, population=side(POPULATION[:400]))
    assert result.split.shadow_train == 200
    assert any("too few for shadows" in warning for warning in result.warnings)


def test_identical_records_on_two_sides_are_found_and_reported(forest):
    both = np.concatenate([MEMBERS[:3], NONMEMBERS[3:]])
    result = quick(forest, nonmembers=side(both))
    assert result.split.duplicates["members/nonmembers"] == 3
    assert any("3 non-members are copies of members (3 with the same class, too)" in text for text in result.warnings)
    assert (result.split.members, result.split.nonmembers) == (len(MEMBERS) - 3, len(NONMEMBERS) - 3)


def test_the_notebook_view_is_compact(whole):
    html = whole[0]._repr_html_()
    assert "Membership" in html
    assert len(html) < 40_000


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"members": None}, PlanError, "give members too"),
        ({"members": X}, PlanError, r"members must be a pair \(X, y\)"),
        ({"members": (X[:5], Y[:4])}, DataError, "members: 5 records but 4 classes"),
        ({"nonmembers": (X[:0], Y[:0])}, DataError, "nonmembers is empty"),
        ({"nonmembers": (X[:5, :60], Y[:5])}, DataError, "60"),
        ({"members": (np.where(X[:9] == X[0, 5], np.inf, X[:9]), Y[:9])}, DataError, "infinit"),
        ({"members": (X[:9], Y[:9] + 90)}, DataError, "9"),
        ({"shadows": -1}, PlanError, "shadows: must be a whole number from 0"),
        ({"jobs": -1}, PlanError, "jobs: must be a whole number from 0"),
        ({"population": side(POPULATION[:1])}, DataError, "population has 1"),
        ({"attack": {"hidden": 3}}, PlanError, r"attack: .* now: attacks=\[{'name': 'shokri', 'hidden': 3}\]"),
        (
            {"attacks": [{"name": "shokri", "hiden": 3}]},
            PlanError,
            r"attacks.0.hiden: unknown key; did you mean 'hidden'\?",
        ),
        (
            {"attacks": [{"name": "shokri", "hidden": "3"}]},
            PlanError,
            r"attacks.0.hidden: must be a whole number; got '3'",
        ),
        (
            {"attacks": [{"name": "shokri", "hidden": 0}]},
            PlanError,
            r"attacks.0.hidden: must be a whole number from 1, got 0",
        ),
        ({"recipe": 3}, PlanError, "does not say how"),
    ],
)
def test_what_does_not_fit_is_explained(forest, changes, error, said):
    with pytest.raises(error, match=said) as caught:
        quick(forest, **changes)
    assert caught.value.exit_code == 2


def test_a_function_that_answers_is_no_way_to_train(forest):
    for model in (forest.predict_proba, lambda X: X[:, :2]):
        with pytest.raises(PlanError, match="a function that answers does not say how: give recipe="):
            quick(model)


def test_the_signature_shows_every_option_and_the_page_explains_it():
    names = set(inspect.signature(miaudit.audit).parameters)
    assert {"subject", "shadows", "design", "jobs", "time_limit", "allow_code", "out", "minimum"} <= names
    explained = set(re.findall(r"^((?:\w+, )*\w+)$", inspect.getdoc(miaudit.audit), re.MULTILINE))
    assert names == {name for line in explained for name in line.split(", ")} & names


@pytest.mark.parametrize("form", ["plan", "case"])
def test_what_a_plan_or_a_case_says_is_said_nowhere_else(forest, form):
    plan = {
        "data": {"name": "digits"},
        "split": {"members": 50},
        "recipe": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
    }
    subject = plan if form == "plan" else auditing.case_of_model(forest, *sides().values())
    with pytest.raises(PlanError, match=f"a {form} says itself what to audit .*: leave out shadows, members"):
        miaudit.audit(subject, shadows=3, members=side(MEMBERS))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"data": "folder", "allow_code": True}, "^data, allow_code: belong to a plan"),
        ({"residual": "log"}, 'residual: belongs to task="regression"'),
        ({"retrain": 1.5, "out": "never"}, "retrain: must be a whole number"),
        ({"unit": "people"}, "must be one of person, record"),
        ({"unit": "person"}, "nothing says whose the records are"),
    ],
)
def test_what_cannot_be_heeded_is_refused_before_the_model_is_asked(forest, options, problem):
    def never(X):
        raise AssertionError

    with pytest.raises(PlanError, match=problem):
        quick(never, recipe=forest, **options)


def test_a_time_limit_without_a_folder_says_that_nothing_was_kept(forest, tmp_path):
    with pytest.raises(TimeLimitError, match=r"are missing\. Nothing was kept: give out="):
        quick(forest, time_limit=1e-6)
    with pytest.raises(TimeLimitError, match="Run the same command again"):
        quick(forest, time_limit=1e-6, out=tmp_path / "out")


def test_an_option_that_nobody_takes_is_refused_with_the_nearest(forest):
    with pytest.raises(TypeError, match="takes no 'shadow'; did you mean 'shadows'"):
        quick(forest, shadow=3)


def test_options_of_a_plans_sections_reach_an_audit_of_a_model(forest):
    result = quick(forest, train=50, test=20, threshold="split", minimum=2)
    assert (result.split.shadow_train, result.split.shadow_test) == (50, 20)
    assert result.provenance.plan["minimum"] == 2


def test_one_class_only_is_explained():
    model = DecisionTreeClassifier().fit(X[MEMBERS], np.zeros(300, int))
    with pytest.raises(DataError, match="one class"):
        quick(model, **{name: (X[index], np.zeros(len(index), int)) for name, index in INDEX.items()})


def test_a_target_that_answers_no_probabilities_ends_with_exit_code_4():
    with pytest.raises(TargetError, match="do not sum to one") as caught:
        quick(lambda records: np.ones((len(records), 10)), recipe=DecisionTreeClassifier())
    assert caught.value.exit_code == 4
    assert isinstance(caught.value, MiauditError)
