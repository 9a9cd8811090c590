"""Models of two classes that answer one number a record, rows of zeros, and shadow models that answer labels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

import miaudit
from miaudit.errors import MiauditError, PlanError, TargetError
from miaudit.recipes import Encoded, EstimatorRecipe
from miaudit.targets import as_target

P = np.array([0.0, 0.25, 0.5, 1.0])  # of the positive class
X = np.zeros((4, 2))
FORMS = {"n": lambda X: P, "n, 1": lambda X: P[:, None], "list": lambda X: P.tolist()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("names", "positive", "column"),
    [
        ((0, 1), None, 1),
        (None, None, 1),
        (("0", "1"), None, 1),
        (("False", "True"), None, 1),
        ((1, 0), None, 0),
        ((-1, 1), None, 1),
        (("ham", "spam"), "spam", 1),
        (("ham", "spam"), "ham", 0),
        ((0, 1), 0, 0),
    ],
)
def test_one_number_a_record_is_of_a_class_that_is_known(form, names, positive, column):
    target = as_target(FORMS[form], classes=2, names=names, positive=positive)
    answer = target.answer(X)
    assert (answer.type, answer.kind) == ("score", "probabilities")
    np.testing.assert_allclose(answer.values[:, column], P)
    np.testing.assert_allclose(answer.values.sum(axis=1), 1)


def test_the_second_class_of_the_model_is_the_positive_one():
    class Named:
        classes_ = ("spam", "ham")

        def predict_proba(self, X):
            return P

    answer = as_target(Named(), classes=2, names=("ham", "spam")).answer(X)
    np.testing.assert_allclose(answer.values[:, 0], P)
    flipped = as_target(lambda X: P, classes=2, names=("ham", "spam"), columns=("spam", "ham")).answer(X)
    np.testing.assert_allclose(flipped.values[:, 0], P)


@pytest.mark.parametrize(
    ("answers", "options", "text"),
    [
        (P, {"names": ("ham", "spam")}, 'positive = "..."'),
        (4.4 * P - 1, {}, r"between -1 and 3\.4, which is no probability of class '1'"),
        (100 * P + 0.5, {}, "percentage"),
        (np.array([0.5, np.nan, 0, 1]), {}, "not finite"),
        (P, {"positive": "eggs", "names": ("ham", "spam")}, "must be one of the classes"),
    ],
)
def test_what_is_not_known_is_asked(answers, options, text):
    with pytest.raises((TargetError, PlanError), match=text):
        as_target(lambda X: answers, classes=2, **options).answer(X)


def test_positive_is_of_two_classes():
    with pytest.raises(PlanError, match="of 3 classes there is none"):
        as_target(lambda X: P, classes=3, positive="1")
    with pytest.raises(PlanError, match="positive"):
        miaudit.Plan.of(
            {
                "data": {"name": "digits"},
                "split": {"members": 9},
                "recipe": {"estimator": "a.B"},
                "target": {"positive": "1"},
            }
        )


@pytest.mark.parametrize("declared", ["percent", "logits", "log-probabilities"])
def test_declared_numbers_are_of_the_positive_class_too(declared):
    values = {"percent": 100 * P, "logits": np.array([-9.0, -1, 0, 9]), "log-probabilities": np.log(P + 1e-9)}[declared]
    two = [
        as_target(lambda X: values, classes=2, names=("ham", "spam"), positive=name, outputs=declared).answer(X).values
        for name in ("ham", "spam")
    ]
    np.testing.assert_allclose(two[0], two[1][:, ::-1])


def test_labels_stay_labels():
    for answers in (np.array([0, 1, 1, 0]), np.array([0.0, 1, 1, 0])):
        assert as_target(lambda X, answers=answers: answers, classes=2).answer(X).kind == "labels"
    assert (
        as_target(lambda X: np.array(["ham", "spam"] * 2), classes=2, names=("ham", "spam")).answer(X).kind == "labels"
    )


def test_torch_modules_of_one_output():
    torch = pytest.importorskip("torch")
    linear = torch.nn.Linear(2, 1)
    answer = as_target(linear, classes=2).answer(X)
    assert (answer.type, answer.values.shape) == ("logits", (4, 2))
    with torch.no_grad():
        linear.weight[:], linear.bias[:] = 0, 99.0  # so sure that all answers are whole
    answer = as_target(torch.nn.Sequential(linear, torch.nn.Sigmoid()), classes=2).answer(X)
    assert (answer.type, answer.values.tolist()) == ("score", [[0, 1]] * 4)


def test_rows_of_zeros_are_equal_probabilities_and_told():
    answers = np.array([[0.2, 0.3, 0.5], [0, 0, 0], [0, 1, 0], [0.1, 0.1, 0.8]])
    target = as_target(lambda X: answers, classes=3)
    assert target.answer(X).values[1].tolist() == pytest.approx([1 / 3] * 3)
    assert "answered 1 record with zeros" in target.remarks[0]
    assert as_target(lambda X: answers[[0, 2, 2, 3]], classes=3).answer(X) is not None
    rounded = np.round([[0.4, 0.3, 0.3], [0.9, 0.1, 0.0]] * 2)  # to whole numbers, which leaves zeros
    assert as_target(lambda X: rounded, classes=3).answer(X).values.tolist() == rounded.tolist()


def sides(y):
    rows = np.random.default_rng(0).normal(size=(240, 12)) + np.arange(240)[:, None] % 2 * 0.3
    return {
        "members": (rows[:60], y[:60]),
        "nonmembers": (rows[60:120], y[60:120]),
        "population": (rows[120:], y[120:]),
    }


@pytest.mark.parametrize("names", [(0, 1), ("ham", "spam")])
def test_models_that_answer_labels_alone_are_shadow_models(names):
    given = sides(np.array(names)[np.arange(240) % 2])
    result = miaudit.audit(LinearSVC().fit(*given["members"]), **given, shadows=2, jobs=0)
    assert result.target.capability == "labels"
    assert result.shadows.train_accuracy > 0.7
    assert {"gap"} <= {attack.name for attack in result.attacks if attack.status == "ran"}
    model = LogisticRegression().fit(*given["members"])
    with pytest.raises(MiauditError, match="answer labels alone"):
        miaudit.audit(model, **given, recipe=LinearSVC(), shadows=2, jobs=0)


def test_what_a_function_answers_is_compared_with_its_shadow_models_once_it_is_known():
    given = sides(np.arange(240) % 2)
    quick = {"shadows": 2, "jobs": 0, "attacks": "threshold"}
    model, labels = LogisticRegression().fit(*given["members"]), LinearSVC().fit(*given["members"])
    result = miaudit.audit(lambda X: labels.predict(X), **given, recipe=LinearSVC(), **quick)
    assert result.target.capability == "labels"
    with pytest.raises(MiauditError, match="the target answers probabilities, and models of LinearSVC answer labels"):
        miaudit.audit(lambda X: model.predict_proba(X), **given, recipe=LinearSVC(), **quick)

    def train(X, y, seed):
        return LogisticRegression().fit(X, y).predict

    (told,) = (text for text in miaudit.audit(model, **given, recipe=train, **quick).warnings if "labels alone" in text)
    assert told.startswith("The target answers probabilities, and 2 of 2 shadow models labels alone")
    assert not any("labels alone" in text for text in miaudit.audit(model, **given, **quick).warnings)


def test_an_encoder_passes_labels_on():
    from sklearn.preprocessing import StandardScaler

    recipe = Encoded(EstimatorRecipe(LinearSVC()), StandardScaler())
    rows, y = sides(np.arange(240) % 2)["members"]
    assert not hasattr(recipe.fit(rows, y, classes=3, seed=0), "predict_proba")
    assert {*recipe.fit(rows, y, classes=3, seed=0).predict(rows)} == {0, 1}
