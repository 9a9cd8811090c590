"""Of what type answers are: the same numbers read alike whichever way they come, or refused with the way to say it."""

from __future__ import annotations

import functools
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import log_softmax, softmax
from sklearn.ensemble import RandomForestClassifier

from miaudit import audit, signals
from miaudit.auditing.scoring import score
from miaudit.auditing.stored import stored_outputs
from miaudit.errors import DataError, PlanError, TargetError
from miaudit.evidence import answers, rows
from miaudit.evidence.answers import DECLARED, Decision, Hint, Type, count_decimals, decide, read
from miaudit.plan import OutputsName
from miaudit.targets import as_target
from miaudit.targets.classes import class_columns

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(60, 3)) * 3
P = softmax(LOGITS, axis=1)
X = np.arange(60.0)[:, None]
Y = np.arange(60) % 3


def bfloat16(values):
    """The nearest number with 8 bits, as float32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def top(values, k):
    return np.where(values >= np.sort(values, axis=1)[:, -k, None], values, 0)


# numbers, the type they are of, their capability, decimals, and the probabilities they are read as
CLEAR = {
    "float64": (P, "probabilities", "probabilities", None, P),
    "float32": (P.astype(np.float32), "probabilities", "probabilities", None, P),
    "float16": (P.astype(np.float16), "probabilities", "probabilities", None, P),
    "bfloat16": (bfloat16(P), "probabilities", "probabilities", None, P),
    "bfloat16 as doubles": (bfloat16(P).astype(float), "probabilities", "probabilities", None, P),
    "two decimals": (P.round(2), "probabilities", "rounded", 2, P),
    "two decimals in float32": (P.astype(np.float32).round(2), "probabilities", "rounded", 2, P),
    "two decimals in float32, as doubles": (
        P.astype(np.float32).round(2).astype(float),
        "probabilities",
        "rounded",
        2,
        P,
    ),
    "two decimals in float16": (P.round(2).astype(np.float16), "probabilities", "rounded", 2, P),
    "one decimal": (P.round(1), "probabilities", "rounded", 1, P),
    "a little below 0": (P - 1e-9, "probabilities", "probabilities", None, P),
    "top 2": (top(P, 2), "topk", "topk", None, top(P, 2)),
    "top 1, two decimals": (top(P, 1).round(2), "topk", "topk", 2, top(P, 1)),
    "percent": (100 * P, "percent", "probabilities", None, P),
    "percent, one decimal": ((100 * P).round(1), "percent", "rounded", 3, P),
    "percent, none": ((100 * P).round(0), "percent", "rounded", 2, P),
    "percent, whole numbers": ((100 * P).round(0).astype(int), "percent", "rounded", 2, P),
    "logits": (LOGITS, "logits", "logits", None, P),
    "log-probabilities": (log_softmax(LOGITS, axis=1), "log-probabilities", "probabilities", None, P),
    "log-probabilities in float16": (
        log_softmax(LOGITS, axis=1).astype(np.float16),
        "log-probabilities",
        "probabilities",
        None,
        P,
    ),
    "log-probabilities of one class alone": (
        np.where(P == P.max(axis=1, keepdims=True), 0.0, -np.inf),
        *("log-probabilities", "probabilities", None),
        P == P.max(axis=1, keepdims=True),
    ),
}


@pytest.mark.parametrize("name", CLEAR)
def test_clear_numbers_are_of_one_type_whichever_way_they_come(name):
    values, type_, capability, decimals, expected = CLEAR[name]

    class Predicts:
        def predict(self, X):
            return values

    for model in (lambda X: values, lambda X: values.tolist(), Predicts(), lambda X: pd.DataFrame(values)):
        target = as_target(model, classes=3)
        outputs = target.answer(X)
        assert (target.outputs, outputs.type, outputs.capability) == (type_, type_, capability)
        assert target.decimals == outputs.decimals == decimals or target.kind != "probabilities"
        np.testing.assert_allclose(outputs.probabilities, expected, atol=0.06 if decimals is not None else 6e-3)
        assert outputs.kind == "logits" or (0 <= outputs.values.min() and outputs.values.max() <= 1)
    if np.isfinite(values).all():
        stored = stored_outputs({"target": values, "labels": Y, "member": np.arange(60) < 30})
        assert (stored.type, stored.capability) == (type_, capability)


UNCLEAR = {
    "small logits": RANDOM.uniform(0.1, 0.6, (60, 3)),
    "independent sigmoids": 1 / (1 + np.exp(-LOGITS)),
    "votes": RANDOM.multinomial(30, [0.2, 0.3, 0.5], 60),
    "positive scores": np.abs(LOGITS) + 1.5,
    "bytes": (255 * P).round(),
    "indicators of several classes": (P > 0.1).astype(int),
    "sums to one, below zero": P + np.array([0.2, -0.4, 0.2]),
    "top 2 in percent": top(100 * P, 2),
    "what no largest can be": np.where(np.arange(3) == 0, 0.2, 0.0) * np.ones((60, 1)),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_unclear_numbers_are_refused_with_the_way_to_say_what_they_are(name):
    with pytest.raises(TargetError, match='is not clear.*outputs = "'):
        as_target(lambda X: UNCLEAR[name], classes=3).query(X)
    with pytest.raises(DataError, match='is not clear.*kind="'):
        stored_outputs({"target": UNCLEAR[name], "labels": Y, "member": np.arange(60) < 30})


def test_a_margin_and_its_opposite_are_no_logits():
    margin = RANDOM.normal(size=(60, 1))
    with pytest.raises(TargetError, match="margin written twice"):
        as_target(lambda X: np.hstack([-margin, margin]), classes=2).query(X)
    logits = as_target(lambda X: np.hstack([-margin, margin]), classes=2, outputs="logits").query(X)
    np.testing.assert_allclose(logits.probabilities[:, 1], 1 / (1 + np.exp(-2 * margin[:, 0])))


@pytest.mark.parametrize("shape", [(60,), (60, 1)])
def test_one_number_per_record_is_a_score_when_that_is_said(shape):
    second = P[:, 1].reshape(shape)
    with pytest.raises(TargetError, match='positive = "..."'):
        as_target(lambda X: second, classes=2, names=("ham", "spam")).query(X)
    for declared, own in (
        ("score", second),
        ("percent", 100 * second),
        ("log-probabilities", np.log(second)),
        ("logits", np.log(second / (1 - second))),
    ):
        target = as_target(lambda X, own=own: own, classes=2, outputs=declared)
        np.testing.assert_allclose(target.query(X).probabilities, np.column_stack([1 - P[:, 1], P[:, 1]]))
        assert target.outputs == declared
    with pytest.raises(TargetError, match="lies between 0 and 1"):
        as_target(lambda X: LOGITS[:, 0], classes=2, outputs="score").query(X)
    with pytest.raises(TargetError, match="3 classes"):
        as_target(lambda X: P[:, 1], classes=3, outputs="score").query(X)


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("logits", P),
        ("logits", 100 * P),
        ("probabilities", LOGITS),
        ("probabilities", 100 * P),
        ("percent", P),
        ("percent", LOGITS),
        ("log-probabilities", LOGITS),
        ("score", P),
        ("topk", LOGITS),
    ],
)
def test_a_declaration_that_the_numbers_contradict_is_refused(declared, values):
    with pytest.raises(TargetError, match=f"declared .*{declared.split('-')[0]}"):
        as_target(lambda X: values, classes=3, outputs=declared).query(X)


def test_a_declaration_decides_where_numbers_leave_a_choice():
    small = UNCLEAR["small logits"]
    np.testing.assert_allclose(
        as_target(lambda X: small, classes=3, outputs="logits").query(X).probabilities, softmax(small, axis=1)
    )
    cut = as_target(lambda X: UNCLEAR["top 2 in percent"], classes=3, outputs="percent")
    np.testing.assert_allclose(cut.query(X).values, top(P, 2))
    labels = as_target(lambda X: P, classes=3, outputs="labels")
    np.testing.assert_array_equal(labels.query(X).values, P.argmax(axis=1))
    assert labels.query(X).capability == "labels"
    with pytest.raises(PlanError, match="outputs: must be one of probabilities, logits"):
        as_target(lambda X: P, classes=3, outputs="softmax")
    with pytest.raises(PlanError, match="declared 'logits' before"):
        as_target(as_target(lambda X: small, classes=3, outputs="logits"), classes=3, outputs="percent")


def test_the_type_is_decided_by_the_whole_first_contact_and_not_batch_by_batch():
    order = np.argsort(np.abs(LOGITS - 0.5).max(axis=1))  # rows that look like probabilities come first
    target = as_target(lambda X: LOGITS[order][X[:, 0].astype(int)], classes=3)
    target.batch_size = 1
    np.testing.assert_allclose(target.query(X).probabilities, P[order])
    later = as_target(lambda X: P if len(X) > 1 else LOGITS[:1], classes=3)
    later.query(X)
    with pytest.raises(TargetError, match="taken for probabilities .*every row sums to one"):
        later.query(X[:1])


def test_first_answers_so_sure_that_they_sum_to_one_may_still_be_the_top_ones():
    sure = np.eye(3)[Y]
    target = as_target(lambda X: sure[: len(X)] if len(X) < 60 else top(P, 1), classes=3)
    assert target.query(X[:5]).kind == "probabilities"
    assert target.query(X).kind == "topk"


@pytest.mark.parametrize(
    ("hint", "values", "type_"),
    [
        (Hint("logits", "its last layer is linear", sure=True), UNCLEAR["small logits"], "logits"),
        (Hint("logits", "its last layer is linear", sure=True), P, None),
        (Hint("probabilities", "its last layer is a softmax", sure=True), P, "probabilities"),
        (Hint("probabilities", "its last layer is a softmax", sure=True), top(P, 2), "topk"),
        (Hint("probabilities", "its output is named 'prob'"), LOGITS, None),
        (Hint("probabilities", "its output is named 'prob'"), 100 * P, None),
        (Hint("logits", "its output is named 'logits'"), np.abs(LOGITS) + 1, "logits"),
        (Hint("logits", "its output is named 'logits'"), 100 * P, None),
        (Hint("log-probabilities", "its last layer is a log-softmax"), LOGITS, None),
        (Hint(None, "its last layer is a sigmoid", sure=True), 1 / (1 + np.exp(-LOGITS)), None),
        (Hint(None, "its last layer is a sigmoid", sure=True), P, "probabilities"),
    ],
)
def test_what_the_model_says_decides_with_the_numbers_or_the_answer_is_refused(hint, values, type_):
    decided = functools.partial(decide, values, classes=3, hint=hint)
    if type_ is None:
        with pytest.raises(DataError, match="its (last|output)"):
            decided()
    else:
        assert decided().type == type_


@given(
    st.integers(0, 10_000), st.integers(2, 40), st.sampled_from([None, 1, 2, 3, 4]), st.sampled_from(["f2", "f4", "f8"])
)
def test_probabilities_of_any_precision_and_rounding_are_probabilities(seed, classes, decimals, dtype):
    values = np.random.default_rng(seed).dirichlet(np.ones(classes), 40)
    values = (values if decimals is None else values.round(decimals)).astype(dtype)
    decision = decide(values, classes=classes)
    assert decision.kind in ("probabilities", "topk")  # rounded ones of many classes may leave some out in every row
    plain, _ = read(values, decision)
    assert 0 <= plain.min()
    assert plain.max() <= 1


@pytest.mark.parametrize("off", [1e-12, 1e-9, 1e-6, 5e-4])
def test_signals_take_what_rounding_left_outside_and_refuse_more(off):
    values = np.array([[1 + off, -off], [-off, 1 + off], [0.5, 0.5]])
    for name in ("confidence", "loss", "phi", "hinge", "entropy", "modified_entropy"):
        exact = getattr(signals, name)(np.clip(values, 0, 1), [0, 1, 1])
        np.testing.assert_array_equal(getattr(signals, name)(values, [0, 1, 1]), exact)
    for wrong in (values + 0.01, np.array([[np.nan, 1.0]] * 3)):
        with pytest.raises(DataError, match=r"must lie in \[0, 1\]"):
            signals.loss(wrong, [0, 1, 1])


def test_decimals_are_those_of_float32_whatever_holds_them():
    for decimals in range(1, 7):
        rounded = P.round(decimals)
        assert count_decimals(rounded) == count_decimals(rounded.astype(np.float32)) == decimals
    assert count_decimals(P) == count_decimals(P.astype(np.float32)) == answers.MORE_DECIMALS
    assert count_decimals(P.astype(np.float16)) == answers.MORE_DECIMALS


@given(
    st.integers(0, 10_000),
    st.sampled_from([1, 2, 3, 6, 9]),
    st.sampled_from(["f2", "f4", "f8", "bfloat16"]),
    st.sampled_from([0.0, 1.0, 70_001.0, 0.123456789, 0.5, 0.25, np.nan]),
    st.booleans(),
    st.integers(-1, 7),
)
def test_parts_change_nothing(seed, decimals, dtype, odd, transposed, least):
    rng = np.random.default_rng(seed)
    values = rng.random((rng.integers(1, 40), rng.integers(1, 12))).round(decimals)
    values = bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)
    values = np.where(
        rng.random(values.shape) < rng.random(), values, values.dtype.type(np.float16(rng.integers(0, 2)))
    )
    values = values.astype(np.float64 if odd > 65_504 else values.dtype)
    values[-1, -1] = odd
    values = values.T if transposed else values

    def of(first, block):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(answers, "_FIRST", first)
            patch.setattr(rows, "_NUMBERS", block)
            return count_decimals(values, least), answers.roundoff(values)

    assert of(8, 24) == of(1, 1) == of(values.size, values.size)


def test_a_plan_names_the_types_that_there_are():
    assert get_args(OutputsName) == DECLARED
    assert set(get_args(Type)) - set(DECLARED) == {"value"}  # which the task of a plan says
    assert Decision("percent", "").kind == "probabilities"


NAMES = ("ant", "bee", "cat")


@pytest.mark.parametrize("order", [["ant", "bee", "cat"], ["cat", "ant", "bee"]])
def test_a_frame_is_read_by_its_columns_names(order):
    frame = pd.DataFrame(P, columns=list(NAMES))[order]
    target = as_target(lambda X: frame, classes=3, names=NAMES)
    np.testing.assert_allclose(target.query(X).values, P)
    with pytest.raises(TargetError, match="columns are not the data's classes"):
        as_target(lambda X: frame.set_axis(["p0", "p1", "p2"], axis=1), classes=3, names=NAMES).query(X)
    records = pd.DataFrame({"x": X[:, 0]})
    with pytest.raises(TargetError, match="index has another order"):
        as_target(lambda X: frame.iloc[::-1], classes=3, names=NAMES).query(records)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0.0, 1.0, 2.0], np.array([0, 1, 2], np.int8), ["0", "1.0", "2"]])
def test_class_numbers_are_told_in_any_type(labels):
    class Model:
        classes_ = labels

        def predict_proba(self, X):
            return P

    np.testing.assert_allclose(as_target(Model(), classes=3).query(X).values, P)


def test_names_that_are_one_number_in_two_writings_are_two_classes():
    assert class_columns(np.array(["1", "1.0", "a"], dtype=object), 3, ("1.0", "1", "a")).tolist() == [1, 0, 2]
    assert class_columns(np.array([1.0, 2.0]), 2, ("1", "2")).tolist() == [0, 1]


def test_class_numbers_of_classes_that_the_alphabet_numbered_are_refused_unless_their_order_is_said():
    class Model:
        classes_ = np.array([0, 1, 2])

        def predict_proba(self, X):
            return P

        def predict(self, X):
            return P.argmax(axis=1)

    with pytest.raises(PlanError, match="by the alphabet.*columns"):
        as_target(Model(), classes=3, names=NAMES, coded=False)
    with pytest.raises(TargetError, match="by the alphabet.*columns"):
        as_target(Model().predict, classes=3, names=NAMES, coded=False).query(X)
    order = ["cat", "ant", "bee"]
    target = as_target(Model(), classes=3, names=NAMES, coded=False, columns=order)
    np.testing.assert_allclose(target.query(X).values, P[:, [1, 2, 0]])
    labels = as_target(Model().predict, classes=3, names=NAMES, coded=False, columns=order)
    np.testing.assert_array_equal(labels.query(X).values, P[:, [1, 2, 0]].argmax(axis=1))
    with pytest.raises(PlanError, match="all 3 classes"):
        as_target(Model(), classes=3, names=NAMES, columns=["cat", "ant"])


def test_several_outputs_and_several_lists_of_classes_are_refused():
    class Several:
        classes_ = [np.array([0, 1]), np.array([0, 1, 2])]  # noqa: RUF012

        def predict_proba(self, X):
            return [P[:, :2], P]

    with pytest.raises(PlanError, match="several outputs"):
        as_target(Several(), classes=3)
    with pytest.raises(TargetError, match="2 arrays"):
        as_target(Several().predict_proba, classes=3).query(X)


def test_shadows_are_read_by_their_own_numbers_and_never_against_what_is_declared():
    arrays = {"labels": Y, "member": np.arange(60) < 30, "inside": np.zeros((2, 60), bool)}
    powers = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    for target, shadows, held in ((P, LOGITS, powers), (LOGITS, P, P), (100 * P, P, P)):
        stored = arrays | {"target": target, "shadows": np.stack([shadows, shadows])}
        np.testing.assert_allclose(stored_outputs(stored).own.shadows[0], held, atol=1e-6)
    stored = arrays | {"target": P, "shadows": np.stack([LOGITS, LOGITS]), "kind": np.array("probabilities")}
    with pytest.raises(DataError, match="shadows.*declared probabilities"):
        stored_outputs(stored)
    same = stored_outputs(arrays | {"target": 100 * P, "shadows": np.stack([100 * P, 100 * P])})
    np.testing.assert_allclose(same.own.shadows[0], same.own.target)


def test_one_forest_is_read_alike_given_as_object_function_or_stored_answers_and_trained_here(tmp_path):
    records = np.random.default_rng(2).normal(size=(400, 3))
    labels = (records[:, 0] + np.random.default_rng(3).normal(size=400) > 0).astype(int)
    np.savez(tmp_path / "d.npz", X=records, y=labels)
    sides = {"members": (0, 60), "nonmembers": (60, 120), "population": (120, 400)}
    for name, (start, stop) in sides.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(map(str, range(start, stop))))
    plan = {
        "data": {"path": str(tmp_path / "d.npz"), "label": "y"},
        "split": {name: str(tmp_path / f"{name}.txt") for name in sides},
        "recipe": {
            "estimator": "sklearn.ensemble.RandomForestClassifier",
            "params": {"n_estimators": 10, "bootstrap": False, "random_state": 0},
        },
        "shadows": {"count": 2},
        "attacks": ["threshold"],
    }
    here = audit(plan, jobs=0).target
    forest = RandomForestClassifier(10, bootstrap=False, random_state=0).fit(records[:60], labels[:60])
    given = {name: (records[start:stop], labels[start:stop]) for name, (start, stop) in sides.items()}
    same = {"recipe": forest, "shadows": 2, "jobs": 0, "attacks": ["threshold"]}
    targets = [audit(model, **given, **same).target for model in (forest, forest.predict_proba)]
    stored = {"target": forest.predict_proba(records[:120]), "labels": labels[:120], "member": np.arange(120) < 60}
    targets.append(score(stored_outputs(stored)).target)
    for target in targets:
        assert (target.outputs, target.capability) == (here.outputs, here.capability) == ("probabilities", "rounded")
        assert target.decimals == here.decimals == 1
        assert "every row sums to one" in target.outputs_reason


UNREADABLE = {
    "sparse": (lambda P: sparse.csr_matrix(P), "a sparse csr_matrix.*toarray"),
    "masked": (lambda P: np.ma.masked_less(P, P.max(axis=1).min()), "values are masked"),
    "by class": (lambda P: dict(enumerate(P.T)), "answered a dict"),
    "a generator": (lambda P: (row for row in P), "answered a generator"),
    "a frame in another order": (lambda P: pd.DataFrame(P).iloc[::-1], "index has another order"),
    "labels in another order": (lambda P: pd.Series(P.argmax(axis=1)).iloc[::-1], "index has another order"),
    "logarithms to base 2": (np.log2, "powers of 2 .*natural logarithms"),
    "logarithms to base 10": (lambda P: np.log10(P).astype(np.float32), "powers of 10 .*natural logarithms"),
}


@pytest.mark.parametrize("form", UNREADABLE)
def test_answers_that_would_be_read_as_other_numbers_are_refused(form):
    change, words = UNREADABLE[form]
    target = as_target(lambda X: change(P[X[:, 0].astype(int)]), classes=3)
    with pytest.raises(TargetError, match=words):
        target.query(X)


@pytest.mark.parametrize("index", [range(5, 65), [f"r{i}" for i in range(60)], [0] * 60])
def test_a_frame_whose_index_numbers_something_else_is_read_by_position(index):
    target = as_target(lambda X: pd.DataFrame(P, index=index), classes=3)
    np.testing.assert_allclose(target.query(X).probabilities, P)
