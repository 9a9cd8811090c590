"""Trees in files of their libraries, checkpoints that hold more than weights, outputs by name, and what is told of others."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from miaudit.errors import PlanError
from miaudit.targets import as_target, load_model

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 4)).astype(np.float32)
TWO, THREE = (X[:, 0] > 0).astype(int), np.digitize(X[:, 0], [-0.5, 0.5])


def answers(path, classes, records=X, **options):
    target = as_target(load_model(path, **options), classes=classes)
    return target.query(records).values, target.decision


@pytest.mark.parametrize("ending", ["json", "ubj"])
@pytest.mark.parametrize(("labels", "classes"), [(TWO, 2), (THREE, 3)])
def test_xgboost_answers_from_its_own_file(tmp_path, ending, labels, classes):
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(X, labels)
    model.save_model(tmp_path / f"m.{ending}")
    (tmp_path / f"m.{ending}").rename(tmp_path / "model")  # told by its content
    values, decision = answers(tmp_path / "model", classes)
    np.testing.assert_allclose(values, model.predict_proba(X), atol=1e-6)
    assert "its objective is" in decision.reason


@pytest.mark.parametrize(("labels", "classes"), [(TWO, 2), (THREE, 3)])
def test_lightgbm_answers_from_its_own_file(tmp_path, labels, classes):
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(X, labels)
    model.booster_.save_model(tmp_path / "m.txt")
    values, decision = answers(tmp_path / "m.txt", classes)
    np.testing.assert_allclose(values, model.predict_proba(X), atol=1e-9)
    assert decision.type == "probabilities"


def test_a_lightgbm_file_with_ends_of_windows_is_read_and_one_that_is_cut_off_is_refused(tmp_path):
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(X, X[:, 0] > 0)
    model.booster_.save_model(tmp_path / "model.txt")
    content = (tmp_path / "model.txt").read_bytes()
    (tmp_path / "windows.txt").write_bytes(content.replace(b"\n", b"\r\n"))
    expected = model.predict_proba(X)[:, 1]
    np.testing.assert_allclose(answers(tmp_path / "windows.txt", 2)[0][:, 1], expected, atol=1e-9)
    (tmp_path / "cut.txt").write_bytes(content[: len(content) // 2])
    with pytest.raises(PlanError, match="cannot be read as a LightGBM model: it is cut off"):
        load_model(tmp_path / "cut.txt")


def test_trees_on_named_columns_take_frames_and_arrays(tmp_path):
    pd, xgboost = pytest.importorskip("pandas"), pytest.importorskip("xgboost")
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(frame, TWO)
    model.save_model(tmp_path / "m.json")
    for records in (frame, X):
        np.testing.assert_allclose(answers(tmp_path / "m.json", 2, records)[0], model.predict_proba(frame), atol=1e-6)


def test_what_is_no_classifier_or_damaged_is_refused(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    xgboost.XGBRegressor(n_estimators=2, n_jobs=1).fit(X, X[:, 0]).save_model(tmp_path / "r.json")
    with pytest.raises(PlanError, match="objective reg:squarederror, and an audit of a file is of classifiers"):
        load_model(tmp_path / "r.json")
    (tmp_path / "cut.json").write_bytes((tmp_path / "r.json").read_bytes()[:200])
    with pytest.raises(PlanError, match="cannot be read as an XGBoost model"):
        load_model(tmp_path / "cut.json")
    (tmp_path / "cut.txt").write_text("tree\nversion=v4\n")
    with pytest.raises(PlanError, match="cannot be read as a LightGBM model"):
        load_model(tmp_path / "cut.txt")


@pytest.fixture
def net():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return lambda: torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))


def test_weights_in_a_checkpoint_are_named_and_prefixes_left_out(tmp_path, net):
    import torch

    module = net()
    weights = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    expected = module(torch.tensor(X)).detach().numpy()
    torch.save({"epoch": 3, "state_dict": weights, "optimizer_states": [{"lr": 0.1}]}, tmp_path / "m.ckpt")
    np.testing.assert_allclose(
        answers(tmp_path / "m.ckpt", 3, module=net, weights="state_dict")[0], expected, atol=1e-6
    )
    with pytest.raises(PlanError, match='or say weights = "state_dict"'):
        load_model(tmp_path / "m.ckpt", module=net)
    with pytest.raises(PlanError, match="weights: .* has nothing at 'ema'"):
        load_model(tmp_path / "m.ckpt", module=net, weights="ema")
    more = {"state_dict": {**weights, "loss.weight": torch.ones(3)}}
    torch.save(more, tmp_path / "more.ckpt")
    values = answers(tmp_path / "more.ckpt", 3, module=net, weights="state_dict.model")[0]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    with pytest.raises(PlanError, match="unknown to the module"):
        load_model(tmp_path / "more.ckpt", module=net, weights="state_dict")
    twice = {f"_orig_mod.module.{name}": tensor for name, tensor in module.state_dict().items()}
    torch.save(twice, tmp_path / "wrapped.pt")
    np.testing.assert_allclose(answers(tmp_path / "wrapped.pt", 3, module=net)[0], expected, atol=1e-6)


def test_an_onnx_output_is_chosen_by_name(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Softmax", ["x"], ["first"]), helper.make_node("Softmax", ["minus"], ["second"])]
    nodes.insert(0, helper.make_node("Neg", ["x"], ["minus"]))
    ends = [helper.make_tensor_value_info(name, number, [None, 4]) for name in ("x", "first", "second")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    names = list("abcd")
    with pytest.raises(PlanError, match="name one of them"):
        load_model(tmp_path / "m.onnx", names=names)
    values = answers(tmp_path / "m.onnx", 4, names=names, output="second")[0]
    np.testing.assert_allclose(values, np.exp(-X) / np.exp(-X).sum(1, keepdims=True), atol=1e-6)
    with pytest.raises(PlanError, match="there is no 'third'; the model's outputs are"):
        load_model(tmp_path / "m.onnx", names=names, output="third")


def test_of_files_that_are_not_read_it_is_said_how_to_audit_them(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, "{}")
    (tmp_path / "old.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for name in ("m.keras", "old.h5"):
        with pytest.raises(PlanError, match=r"may hold code.*export the model to ONNX.*\[target\] function"):
            load_model(tmp_path / name)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text("{}")
    (tmp_path / "hf" / "model.safetensors").write_bytes(b"")
    with pytest.raises(PlanError, match="a folder of Hugging Face: give its weights as the file"):
        load_model(tmp_path / "hf")
