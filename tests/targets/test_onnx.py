"""ONNX classifiers of several makers, run by the real runtime."""

from __future__ import annotations

import gc
import hashlib
import warnings

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.special import softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from miaudit.errors import DataError, PlanError, TargetError
from miaudit.targets import as_target, load_model
from miaudit.targets.files import model_hashes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from skl2onnx import to_onnx

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 3
NAMES = ("blue", "green", "red")
W = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)


def linear(path, *, nodes=None, inputs=None, outputs=None, weights=None):
    """Write a model of x W, or of the nodes given."""
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [weights or numpy_helper.from_array(W, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def asked(path, records=X, names=NAMES):
    return as_target(load_model(path, names=names), classes=len(names), names=names).query(records)


def sklearn_file(model, path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = to_onnx(model, X[:1], options={id(model): options} if options else None)
    path.write_bytes(converted.SerializeToString())
    return path


@pytest.mark.parametrize("options", [{}, {"zipmap": False}])
@pytest.mark.parametrize("labels", ["codes", "names"])
@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), RandomForestClassifier(5, random_state=0), MLPClassifier((4,), max_iter=20)]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_sklearn_model_answers_as_it_does_in_process(estimator, labels, options, tmp_path):
    model = estimator.fit(X, Y if labels == "codes" else np.array(NAMES)[Y])
    path = sklearn_file(model, tmp_path / "m.skops", **options)
    np.testing.assert_allclose(asked(path).values, model.predict_proba(X), atol=1e-5)


def test_a_map_gives_a_class_the_model_never_saw_probability_zero(tmp_path):
    model = LogisticRegression().fit(X[Y != 1], np.array(NAMES)[Y[Y != 1]])
    values = asked(sklearn_file(model, tmp_path / "m")).values
    np.testing.assert_allclose(values[:, [0, 2]], model.predict_proba(X), atol=1e-5)
    assert (values[:, 1] == 0).all()


def test_columns_in_another_order_are_told_by_the_labels(tmp_path):
    model = LogisticRegression().fit(X, np.array(NAMES)[Y])
    path = sklearn_file(model, tmp_path / "m", zipmap=False)
    with pytest.raises(TargetError, match="columns are not in the order of the data's classes"):
        asked(path, names=("red", "green", "blue"))


def test_classes_the_data_does_not_have_are_told(tmp_path):
    model = LogisticRegression().fit(X, np.array(["x", "y", "z"])[Y])
    with pytest.raises(TargetError, match=r"classes the data does not have: \['x', 'y', 'z'\]"):
        asked(sklearn_file(model, tmp_path / "m"))


def test_logits_are_put_through_a_softmax_and_probabilities_are_not(tmp_path):
    np.testing.assert_allclose(asked(linear(tmp_path / "logits")).probabilities, softmax(X @ W, axis=1), atol=1e-6)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["y"])]
    np.testing.assert_allclose(
        asked(linear(tmp_path / "p", nodes=nodes)).probabilities, softmax(X @ W, axis=1), atol=1e-6
    )


def test_a_model_for_one_batch_size_answers_any_number_of_records(tmp_path):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [7, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [7, 3])]
    path = linear(tmp_path / "m", inputs=inputs, outputs=outputs)
    for n in (1, 7, 60):
        np.testing.assert_allclose(asked(path, X[:n]).probabilities, softmax(X[:n] @ W, axis=1), atol=1e-6)


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.UINT8])
def test_records_are_given_in_the_type_the_model_takes(kind, tmp_path):
    whole = np.arange(8).reshape(2, 4)
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    path = linear(tmp_path / "m", nodes=nodes, inputs=[helper.make_tensor_value_info("x", kind, ["n", 4])])
    np.testing.assert_allclose(asked(path, whole).probabilities, softmax(whole @ W, axis=1), atol=1e-3)
    if kind in (TensorProto.INT64, TensorProto.UINT8):
        with pytest.raises(TargetError, match="cut the records' fractions off"):
            asked(path, whole + 0.5)


def test_columns_of_a_frame_go_to_inputs_of_their_names(tmp_path):
    names = ["b", "a", "d", "c"]
    nodes = [helper.make_node("Concat", names, ["x"], axis=1), helper.make_node("MatMul", ["x", "w"], ["y"])]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in names]
    path = linear(tmp_path / "m", nodes=nodes, inputs=inputs)
    frame = pd.DataFrame(X, columns=names)[sorted(names)]
    np.testing.assert_allclose(asked(path, frame).probabilities, softmax(X @ W, axis=1), atol=1e-6)
    with pytest.raises(TargetError, match="columns the records do not have: a, d"):
        asked(path, frame[["b", "c"]])
    with pytest.raises(TargetError, match="give the records as a frame"):
        asked(path, X)


def test_a_model_of_labels_alone_is_asked_for_labels(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, ["n"])]
    answer = asked(linear(tmp_path / "m", nodes=nodes, outputs=outputs))
    assert answer.kind == "labels"
    np.testing.assert_array_equal(answer.values, (X @ W).argmax(axis=1))


def test_records_of_another_width_or_shape_are_told(tmp_path):
    with pytest.raises(DataError, match="trained on 4 features, the records have 5"):
        asked(linear(tmp_path / "m"), np.zeros((2, 5), np.float32))
    with pytest.raises(TargetError, match=r"takes records of shape \(4,\), these have shape \(2, 2\)"):
        asked(linear(tmp_path / "m"), np.zeros((3, 2, 2), np.float32))


def test_outputs_that_cannot_be_told_apart_are_listed(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Neg", ["y"], ["z"])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "yz"]
    with pytest.raises(PlanError, match=r"no single output of 3 .*: y tensor\(float\) \['n', 3\], z"):
        load_model(linear(tmp_path / "m", nodes=nodes, outputs=outputs), names=NAMES)
    with pytest.raises(PlanError, match="no single output of 5 probabilities"):
        load_model(linear(tmp_path / "n"), names=tuple("abcde"))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_file_cut_off_is_told(share, tmp_path):
    content = linear(tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(share * len(content))])
    with pytest.raises(PlanError, match="cut off|onnxruntime cannot read it"):
        load_model(tmp_path / "cut", names=NAMES)


def test_the_hashes_of_a_model_cover_the_weights_beside_it(tmp_path):
    beside = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 3], data_location="EXTERNAL")
    name = "weights-" + "x" * 150  # a length of two bytes in protobuf
    beside.external_data.add(key="location", value=name)
    path = linear(tmp_path / "m.onnx", weights=beside)
    (tmp_path / name).write_bytes(W.tobytes())
    np.testing.assert_allclose(asked(path).probabilities, softmax(X @ W, axis=1), atol=1e-6)
    assert model_hashes(path) == {
        "m.onnx": hashlib.sha256(path.read_bytes()).hexdigest(),
        name: hashlib.sha256(W.tobytes()).hexdigest(),
    }
    assert list(model_hashes(linear(tmp_path / "alone"))) == ["alone"]


def test_weights_outside_the_models_folder_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(W.tobytes())
    (tmp_path / "folder").mkdir()
    for place in ("../secret", str(tmp_path / "secret")):
        outside = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 3], data_location="EXTERNAL")
        outside.external_data.add(key="location", value=place)
        path = linear(tmp_path / "folder" / "m", weights=outside)
        with pytest.raises(PlanError, match="onnxruntime cannot read it"):
            load_model(path, names=NAMES)


def test_a_model_that_is_refused_leaves_no_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with pytest.raises(PlanError, match="there is no 'other'"):
        load_model(linear(tmp_path / "m"), names=NAMES, output="other")
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())
