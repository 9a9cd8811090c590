"""A target that is replaced or drifts while it is asked, or between two runs, is found, and never reads as a leak."""

from __future__ import annotations

import numpy as np
import pytest
from scripted import Script, serving

import miaudit
from miaudit.errors import BudgetError, TargetError
from miaudit.targets import as_target, connect, keep
from miaudit.targets.contact import allowed, findings

RNG = np.random.default_rng(4)
X, Y = RNG.normal(size=(900, 6)), RNG.integers(0, 4, 900)
SIDES = {"members": (X[:200], Y[:200]), "nonmembers": (X[200:400], Y[200:400]), "population": (X[400:], Y[400:])}
W = RNG.normal(size=(6, 4))


def answers(records, sharpness):
    """Return the answers of a model that saw neither side: surer of itself the larger the sharpness."""
    powers = np.exp(sharpness * (np.asarray(records)[:, :, None] * W).sum(axis=1))
    return powers / powers.sum(axis=1, keepdims=True)


class Changing:
    """A model that is another one from its record number ``at`` on."""

    def __init__(self, at, first=0.2, then=2.0):
        self.at, self.first, self.then, self.asked, self.seen = at, first, then, 0, []

    def __call__(self, records):
        sharpness = np.where(self.asked + np.arange(len(records)) < self.at, self.first, self.then)
        self.asked += len(records)
        self.seen.extend(np.asarray(records)[:, 0].tolist())
        return np.concatenate([answers(record[None], s) for record, s in zip(records, sharpness, strict=True)])


def audit(target, **options):
    from sklearn.linear_model import LogisticRegression

    few = {"shadows": 2, "jobs": 0, "outside": 0, "attacks": ["threshold"]}
    return miaudit.audit(target, **SIDES, recipe=LogisticRegression(), **few, **options)


@pytest.mark.parametrize("at", [60, 215, 400])
def test_a_target_that_is_replaced_in_mid_run_ends_the_audit(at, tmp_path):
    with serving(Script(Changing(at))) as url:
        target = connect(url, format="instances", model="m", batch=10)
        with pytest.raises(
            TargetError, match="not the model that it was, or .*: asked again at the end .*, its answers to 5 of them"
        ):
            audit(target, out=tmp_path)
        target.close()
        script = connect(url, format="instances", model="m", batch=10)
        with pytest.raises(TargetError, match=r"answers in .* are not those of one model.*Remove that folder"):
            audit(script, out=tmp_path)
        script.close()
    assert not (tmp_path / "result.json").exists()


def test_a_server_that_mixes_up_records_is_not_told_to_be_another_model_for_certain():
    asked = iter([False] * 3 + [True] * 10**6)  # from the records after first contact on

    def model(records):
        right = answers(records, 0.2)
        return np.concatenate([right[:-2], right[:-3:-1]]) if next(asked) else right

    with pytest.raises(TargetError, match="or loses or mixes up records: .* its answers to 2 of them differ by up to"):
        audit(model)


@pytest.mark.parametrize("form", ["function", "object"])
def test_a_given_model_that_changes_in_mid_run_ends_the_audit(form):
    class Model:
        predict_proba = Changing(300)

    subject = Changing(300) if form == "function" else Model()
    with pytest.raises(TargetError, match="not the model that it was"):
        audit(subject)


def test_a_target_that_drifts_ends_the_audit():
    drift = iter(np.linspace(1.0, 1.2, 10_000))

    def model(records):
        return np.concatenate([answers(record[None], next(drift)) for record in records])

    with pytest.raises(TargetError, match="not the model that it was"):
        audit(model)


def test_both_sides_are_asked_about_in_one_random_order():
    model = Changing(10**9)
    audit(model)
    side = np.isin(model.seen[11:-5], SIDES["members"][0][:, 0])  # without first contact and its repetition
    ranks = np.flatnonzero(side)
    assert len(ranks) == 200
    assert abs(ranks.mean() - 199.5) < 4 * 115 / np.sqrt(200)
    again = Changing(10**9)
    audit(again)
    assert again.seen == model.seen
    other = Changing(10**9)
    audit(other, seed=1)
    assert other.seen != model.seen


def test_a_target_replaced_between_two_runs_is_found_before_more_is_asked(tmp_path):
    script = Script(lambda records: answers(records, 0.2))
    options = {"format": "instances", "model": "m", "batch": 10}
    with serving(script) as url:
        first = connect(url, budget=300, **options)
        with pytest.raises(BudgetError):
            audit(first, out=tmp_path)
        first.close()
        kept = script.model
        script.model = lambda records: answers(records, 2.0)
        asked = sum(script.seen.values())
        second = connect(url, budget=1000, **options)
        with pytest.raises(TargetError, match="asked again before other records"):
            audit(second, out=tmp_path)
        second.close()
        assert sum(script.seen.values()) == asked + 3 * 5
        script.model = kept
    assert asked == 300


@pytest.mark.parametrize("stop", [300, None], ids=["interrupted", "finished"])
def test_a_run_that_goes_on_with_the_same_model_says_so(stop, tmp_path):
    script = Script(lambda records: answers(records, 0.2))
    with serving(script) as url:
        for budget in (stop, 2000):
            target = connect(url, budget=budget, format="instances", model="m", batch=10)
            try:
                result = audit(target, out=tmp_path)
            except BudgetError:
                assert budget == 300
            target.close()
    contact = result.target.contact
    assert contact.unchanged is True
    assert contact.later == 2
    assert contact.later_difference == 0
    assert result.target.queries == sum(script.answered.values()) == 400 + 11 + 10


def test_where_the_budget_leaves_no_queries_to_look_again_the_result_says_so(tmp_path):
    with serving(Script(lambda records: answers(records, 0.2))) as url:
        target = connect(url, budget=411, format="instances", model="m")
        result = audit(target, out=tmp_path)
        target.close()
    assert result.target.contact.unchanged is None
    assert any("one and the same model all the time is not known: the budget" in text for text in result.warnings)


def test_a_randomised_target_is_the_same_within_its_noise():
    noise = np.random.default_rng(1)

    def noisy(records):
        values = answers(records, 1.0) * noise.uniform(0.9, 1.1, (len(records), 4))
        return values / values.sum(axis=1, keepdims=True)

    result = audit(noisy)
    assert result.target.contact.unchanged is True
    assert not result.target.contact.deterministic
    assert any("randomised" in text for text in result.warnings)


def test_a_target_that_answers_now_as_one_model_and_now_as_another_is_called_randomised():
    turn = iter([0.2] * 4 + [0.3, 0.2] * 10)  # first contact, the audited records, and the end

    def two(records):
        return answers(records, next(turn))

    result = audit(two)
    assert not result.target.contact.deterministic
    assert any("randomised" in text for text in result.warnings)


@pytest.mark.parametrize("why", ["company", "replaced"])
def test_an_answer_that_differs_alone_is_not_explained(why):
    turns = iter([0.2, 0.2, 0.3] + [0.25] * 40)  # replaced between the questions of first contact

    def target(records):
        return answers(records, next(turns) if why == "replaced" else 0.3 if len(records) == 1 else 0.2)

    result = audit(target)
    text = next(text for text in result.warnings if "asked alone" in text)
    assert "depends on the other records of a request, or the target changes or is random" in text
    assert result.target.contact.unchanged is (None if why == "replaced" else True)
    assert any("is not known" in text for text in result.warnings) is (why == "replaced")


def test_labels_that_differ_are_another_model():
    target = as_target(lambda records: (np.asarray(records)[:, 0] > 0).astype(int), classes=2)
    target.make_contact(X)
    target._ask = lambda records: (np.asarray(records)[:, 0] <= 0).astype(int)
    with pytest.raises(TargetError, match="differ for 100 % of them"):
        target.confirm()


def test_how_far_answers_may_differ():
    first = np.array([[0.2, 0.8], [0.6, 0.4]])
    exact = findings(first, first, first[:1], answers="probabilities", decimals=None)
    assert allowed(exact, first) == pytest.approx(1e-5)
    noisy = findings(first, first + np.array([0.01, -0.01]), first[:1], answers="probabilities", decimals=None)
    assert allowed(noisy, first) == pytest.approx(0.03)
    assert allowed(exact, 1000 * first) == pytest.approx(8e-3)


def test_kept_answers_of_a_function_are_asked_for_anew(tmp_path):
    def kept(model, budget=None):
        return keep(model, name="m", folder=tmp_path / "answers", budget=budget)

    steady = kept(lambda records: answers(records, 0.2))
    contact = audit(steady).target.contact
    assert (contact.unchanged, contact.later) == (True, 1)
    assert steady.ledger.spent == 400 + 11 + 5
    steady.ledger.close()
    other = kept(lambda records: answers(records, 2.0))
    with pytest.raises(TargetError, match=r"asked again before other records.*another name"):
        audit(other)
    other.ledger.close()
    again = kept(lambda records: answers(records, 0.2))
    assert audit(again).target.contact.unchanged is True
    again.ledger.close()


def test_a_function_whose_answers_are_kept_may_not_change_in_mid_run(tmp_path):
    function = keep(Changing(200), name="m", batch=20)
    with pytest.raises(TargetError, match="asked again at the end"):
        audit(function)
    spent = keep(lambda records: answers(records, 0.2), name="m", budget=411)
    result = audit(spent)
    assert result.target.contact.unchanged is None
    assert any("not known: the budget" in text for text in result.warnings)


@pytest.mark.parametrize("form", ["at random", "by size", "last first"])
def test_a_target_that_answers_in_an_order_of_its_own_is_refused(form):
    """Its answers are right, each to another record."""
    rng = np.random.default_rng(3)

    def moved(records):
        values = answers(records, 1.0)
        orders = {
            "at random": rng.permutation(len(values)),
            "by size": np.argsort(values[:, 0]),
            "last first": slice(None, None, -1),
        }
        return values[orders[form]]

    with pytest.raises(TargetError, match="does not answer in the order of the records"):
        as_target(moved, classes=4).make_contact(X)
    whole = as_target(lambda records: np.tile(answers(records, 1.0)[:1], (len(records), 1)), classes=4)
    assert not whole.make_contact(X).batch_consistent  # it answers its first record for all
    constant = as_target(lambda records: np.full((len(records), 4), 0.25), classes=4)
    assert constant.make_contact(X).deterministic


@pytest.mark.parametrize("turns", [True, False])
def test_an_order_of_its_own_is_found_where_some_answers_are_alike(turns):
    """As those of trees are; one with many digits is known again."""
    kinds, calls = np.array([[1 / 3, 2 / 3], [1, 0], [1, 0], [1, 0], [0, 1]]), iter(range(9))

    def moved(records):
        values = kinds[: len(records)]
        return values[::-1] if not turns or next(calls) % 2 else values

    with pytest.raises(TargetError, match="does not answer in the order of the records"):
        as_target(moved, classes=2).make_contact(X[:5])


def test_a_randomised_target_of_few_different_answers_is_not_said_to_move_them():
    rng = np.random.default_rng(0)

    def rounded(records):
        share = rng.permutation(11)[: len(records)] / 10
        return np.column_stack([share, 1 - share])

    contacts = [as_target(rounded, classes=2).make_contact(X) for _ in range(50)]
    assert not any(contact.deterministic for contact in contacts)
