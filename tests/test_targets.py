from __future__ import annotations

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from miaudit.errors import DataError, PlanError, TargetError
from miaudit.targets import Target, as_target, load_model

X = np.random.default_rng(0).normal(size=(60, 4))
Y = np.arange(60) % 3
OF_A = ColumnTransformer([("a", "passthrough", ["a"])])


def test_a_fitted_estimator_answers_in_class_order():
    names = np.array(["red", "blue", "green"])
    model = LogisticRegression().fit(X, names[Y])  # its columns are blue, green, red
    target = as_target(model, classes=3, names=tuple(names))
    np.testing.assert_allclose(target.query(X).values, model.predict_proba(X)[:, [2, 0, 1]])
    assert target.queries == 60
    assert target.description == "LogisticRegression"


def test_a_class_the_model_never_saw_has_probability_zero():
    model = LogisticRegression().fit(X[Y < 2], Y[Y < 2])
    values = as_target(model, classes=3).query(X).values
    assert (values[:, 2] == 0).all()
    np.testing.assert_allclose(values.sum(axis=1), 1)


def test_a_model_of_other_classes_is_refused():
    model = LogisticRegression().fit(X, np.array(["a", "b", "c"])[Y])
    with pytest.raises(PlanError, match=r"knows classes the data does not have: \['c'\]"):
        as_target(model, classes=3, names=("a", "b", "d"))


def test_other_widths_are_told_before_the_model_is_asked():
    target = as_target(RandomForestClassifier(3).fit(X, Y), classes=3)
    with pytest.raises(DataError, match="trained on 4 features, the records have 5"):
        target.query(np.zeros((2, 5)))
    assert target.queries == 0


@pytest.mark.parametrize(("columns", "taken"), [(["a", "b"], True), ([1, 2], False)])
def test_a_frame_may_lack_what_a_pipeline_does_not_read_by_name(columns, taken):
    """By positions, shadow models trained on the narrower frame would read other columns than the target."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"number": np.arange(len(X)), "a": X[:, 0], "b": X[:, 1]})
    steps = [("scale", StandardScaler(), columns)]
    model = make_pipeline(ColumnTransformer(steps), LogisticRegression()).fit(frame, Y)
    target = as_target(model, classes=3)
    if not taken:
        with pytest.raises(DataError, match="trained on 3 features, the records have 2"):
            target.query(frame[["a", "b"]])
        return
    np.testing.assert_array_equal(target.query(frame[["b", "a"]]).values, model.predict_proba(frame))
    with pytest.raises(TargetError, match=r"columns are missing: \{'b'\}"):
        target.query(frame[["a"]])


@pytest.mark.parametrize(
    "read",
    [
        [],
        [FunctionTransformer(lambda frame: frame.iloc[:, 1:]), OF_A],
        [FeatureUnion([("a", OF_A), ("first", FunctionTransformer(lambda frame: frame.iloc[:, [0]]))])],
    ],
    ids=["nothing", "a function first", "a function beside"],
)
def test_a_frame_may_lack_nothing_where_positions_may_be_read(read):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[:, :3], columns=["number", "a", "b"])
    target = as_target(make_pipeline(*read, RandomForestClassifier(3, random_state=0)).fit(frame, Y), classes=3)
    with pytest.raises(DataError, match="trained on 3 features, the records have 2"):
        target.query(frame[["a", "b"]])


class Alike:
    """As estimators of others, which have neither tags nor classes."""

    def get_params(self, deep=True):
        return {}

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return np.full((len(X), 3), 1 / 3)


def test_an_estimator_that_is_not_of_scikit_learn_needs_no_tags():
    np.testing.assert_array_equal(as_target(Alike(), classes=3).query(X).values, Alike().predict_proba(X))


async def unawaited(X):
    return np.full((len(X), 3), 1 / 3)


def test_a_model_may_change_what_it_is_asked_about():
    records, model = X.copy(), RandomForestClassifier(3, random_state=0).fit(X, Y)

    def answer(X):
        X -= 1
        return model.predict_proba(X + 1)

    target = as_target(answer, classes=3)
    assert target.make_contact(records).deterministic
    np.testing.assert_array_equal(target.query(records).values, model.predict_proba(X))
    np.testing.assert_array_equal(records, X)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda X: np.full((len(X), 3), 0.5), "60 of 60 rows do not sum to one"),
        (lambda X: np.tile([1.5, -0.5, 0.0], (len(X), 1)), "negative"),
        (lambda X: np.full((len(X) - 1, 3), 1 / 3), "asked about 60 records and answered 59"),
        (lambda X: np.full((len(X), 2), 0.5), r"expected \(60, 3\)"),
        (lambda X: np.full(len(X), 0.3), r"\['0.3'\] are not classes of the data.*one number per class"),
        (lambda X: np.full(len(X), 3), r"\['3'\] are not classes of the data"),
        (lambda X: np.full((len(X), 3), 0.2), "60 of 60 rows do not sum to one"),
        (lambda X: np.tile([0.5, 0.51, 0.0], (len(X), 1)) + 0.0001234, "do not sum to one"),
        (lambda X: np.full((len(X), 3), np.nan), "not finite"),
        (lambda X: np.full((len(X), 3), "a"), "expected numbers"),
        (lambda X: np.full((len(X), 3), b"0.2"), "expected numbers"),
        (lambda X: np.full((len(X), 3), 1j), "expected numbers"),
        (lambda X: 1 / 0, "ZeroDivisionError"),
        (lambda X: None, "the target answered None"),
        (unawaited, r"answered a coroutine.*as lambda X: asyncio.run"),
    ],
)
def test_an_unusable_answer_is_named(answer, said):
    with pytest.raises(TargetError, match=said) as caught:
        as_target(answer, classes=3).query(X)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "form", [lambda P: P.astype(str), lambda P: P.astype(str).tolist(), lambda P: P.astype(object)]
)
def test_texts_of_numbers_are_refused_at_first_contact_with_what_to_do(form):
    target = as_target(lambda X: form(np.tile([0.2, 0.3, 0.5], (len(X), 1)).astype(str)), classes=3)
    with pytest.raises(TargetError, match=r"such as '0.2' \(str.*expected numbers.*astype\(float\)"):
        target.make_contact(np.zeros((9, 4)))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16])
def test_first_contact_compares_answers_of_any_type_of_number(dtype):
    rows = iter([[[1, 0, 0]] * 5, [[0, 1, 0]] * 5, [[1, 0, 0]]])
    contact = as_target(lambda X: np.array(next(rows), dtype), classes=3).make_contact(np.zeros((5, 4)))
    assert contact.repeat_difference == 1.0


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_rounding_of_large_logits_is_no_other_answer_and_a_difference_beyond_it_is(scale):
    first = scale * np.random.default_rng(0).uniform(-1, 1, (5, 3))
    first[0, 0] = scale

    def contact(off, back=slice(None)):
        rows = iter([first, first[back] + off, first[:1] + off])
        return as_target(lambda X: next(rows), classes=3).make_contact(np.zeros((5, 4)))

    ulp = float(np.spacing(np.float32(scale)))
    assert contact(4 * ulp).deterministic
    assert contact(4 * ulp).batch_consistent
    assert not contact(1e-5 * scale).deterministic
    with pytest.raises(TargetError, match="another order"):
        contact(4 * ulp, slice(None, None, -1))


def test_two_of_minus_infinity_are_the_same_answer():
    logarithms = np.array([-np.inf, np.log(0.25), np.log(0.75)])
    target = as_target(lambda X: np.tile(logarithms, (len(X), 1)), classes=3)
    assert target.make_contact(np.zeros((5, 4))).deterministic
    target.confirm()
    assert target.contact.unchanged is True


PROBABILITIES = np.random.default_rng(1).dirichlet(np.ones(3), 60)


def test_a_model_that_only_predicts_answers_labels():
    names = np.array(["red", "blue", "green"])
    target = as_target(LinearSVC().fit(X, names[Y]), classes=3, names=tuple(names))
    assert target.kind == "labels"
    answer = target.query(X)
    assert answer.kind == answer.capability == "labels"
    assert answer.values.dtype == np.int64
    assert (names[answer.values] == LinearSVC().fit(X, names[Y]).predict(X)).all()
    np.testing.assert_array_equal(answer.probabilities.argmax(axis=1), answer.labels)
    assert target.query(X[:0]).values.shape == (0,)


@pytest.mark.parametrize("form", [np.int64, float, str, object])
def test_a_function_may_answer_labels_as_numbers_or_texts(form):
    target = as_target(lambda X: Y[: len(X)].astype(form), classes=3)
    answer = target.query(X)
    np.testing.assert_array_equal(answer.values, Y)
    assert (target.kind, answer.capability, answer.decimals) == ("labels", "labels", None)


@pytest.mark.parametrize("decimals", range(5))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounded_answers_are_told_and_taken(decimals, dtype):
    rounded = PROBABILITIES.round(decimals).astype(dtype)
    target = as_target(lambda X: rounded, classes=3)
    answer = target.query(X)
    np.testing.assert_array_equal(answer.values, rounded)
    assert target.decimals == decimals
    assert (target.kind, answer.capability, answer.decimals) == ("probabilities", "rounded", decimals)


def test_full_precision_is_told_from_the_whole_not_from_one_round_answer():
    answers = iter([np.array([[0.5, 0.25, 0.25]]), PROBABILITIES[:1]])
    target = as_target(lambda X: next(answers), classes=3)
    assert target.query(X[:1]).capability == "rounded"
    assert target.decimals == 2
    assert target.query(X[:1]).capability == "probabilities"
    assert target.decimals is None


def test_the_top_k_are_told_from_probabilities():
    cut = np.where(PROBABILITIES == PROBABILITIES.max(axis=1, keepdims=True), PROBABILITIES, 0)
    target = as_target(lambda X: cut, classes=3)
    answer = target.query(X)
    np.testing.assert_array_equal(answer.values, cut)
    assert (target.kind, answer.capability) == ("topk", "topk")


def test_declared_logits_are_kept_and_turned_into_probabilities_on_demand():
    logits = np.random.default_rng(2).normal(size=(60, 3)) * 5
    answer = Target(lambda X: logits, classes=3, kind="logits").query(X)
    np.testing.assert_array_equal(answer.values, logits)
    np.testing.assert_allclose(answer.probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(
        np.log(answer.probabilities[:, 0] / answer.probabilities[:, 1]), logits[:, 0] - logits[:, 1]
    )


def test_a_target_that_changes_what_it_answers_is_refused():
    answers = iter([PROBABILITIES, Y])
    target = as_target(lambda X: next(answers), classes=3)
    target.query(X)
    with pytest.raises(TargetError, match=r"expected \(60, 3\)"):
        target.query(X)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (LogisticRegression(), "is not fitted"),
        (LogisticRegression, "not a trained model"),
        (3, "expected an object with predict_proba or predict"),
    ],
)
def test_what_is_no_trained_model_is_refused(model, said):
    with pytest.raises(PlanError, match=said):
        as_target(model, classes=3)


def test_a_torch_module_is_put_through_a_softmax_once():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(4, 3)
    answer = as_target(layer, classes=3).query(X)
    assert answer.kind == "logits"
    with torch.no_grad():
        expected = torch.softmax(layer(torch.tensor(X, dtype=torch.float32)).double(), dim=1).numpy()
    np.testing.assert_allclose(answer.probabilities, expected)
    normal = as_target(torch.nn.Sequential(layer, torch.nn.Softmax(dim=1)), classes=3).query(X).values
    np.testing.assert_allclose(normal, expected, atol=1e-6)


def test_model_files_are_told_by_content(tmp_path):
    import joblib

    skops = pytest.importorskip("skops.io")
    model = LogisticRegression().fit(X, Y)
    skops.dump(model, tmp_path / "a.pkl")  # a misleading name
    np.testing.assert_array_equal(load_model(tmp_path / "a.pkl").coef_, model.coef_)
    joblib.dump(model, tmp_path / "b.skops")
    with pytest.raises(PlanError, match="runs whatever code.*--allow-pickle"):
        load_model(tmp_path / "b.skops")
    np.testing.assert_array_equal(load_model(tmp_path / "b.skops", allow_pickle=True).coef_, model.coef_)
    (tmp_path / "c").write_text("hello")
    with pytest.raises(PlanError, match="no model file"):
        load_model(tmp_path / "c")
    with pytest.raises(PlanError, match="cannot be read"):
        load_model(tmp_path / "d")
