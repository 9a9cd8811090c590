"""Model files of every format, cut off, hostile, and under wrong names."""

from __future__ import annotations

import bz2
import gzip
import pickle
import warnings
import zipfile
from pathlib import Path

import cloudpickle
import joblib
import networks
import numpy as np
import pytest
import skops.io
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import miaudit
from miaudit.cli import main
from miaudit.errors import PlanError
from miaudit.plan import Plan
from miaudit.targets import as_target, load_model
from miaudit.targets.files import file_format

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 3


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        (b"c__main__\nhalf\n.", r"half was defined in the script or notebook .* PYTHONPATH; or call miaudit\.audit"),
        (b"cmy_features\nhalf\n.", "needs the module my_features: .* put its folder into PYTHONPATH"),
        (b"\x8c\x08__main__\x8c\x04half\x93.", "half was defined in the script or notebook that saved the model"),
        (b"csklearn.tree\nGoneTree\n.", "sklearn.tree has no GoneTree here: install its package as it was"),
    ],
)
def test_models_that_need_code_which_is_not_here_say_what_to_do(tmp_path, line, advice):
    (tmp_path / "m.joblib").write_bytes(b"\x80\x04" + line)
    with pytest.raises(PlanError, match=advice):
        load_model(tmp_path / "m.joblib", names=["a", "b"], allow_pickle=True)


class Boom:
    """A pickle of this writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "boom"))


@pytest.fixture
def net():
    torch.manual_seed(0)  # as every test does that draws from torch's generator
    return networks.net()


@pytest.fixture
def expected(net):
    with torch.no_grad():
        return softmax(net(torch.tensor(X)).double().numpy(), axis=1)


def save_script(module, path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".torch.jit")
        torch.jit.script(module).save(str(path))


def save_program(module, path, batch=None):
    rows = torch.zeros(batch or 2, 4)
    free = None if batch else ({0: torch.export.Dim("n")},)
    torch.compiler.reset()  # older ones count what a process exported before, up to a limit
    torch.export.save(torch.export.export(module, (rows,), dynamic_shapes=free), path)


def old_torch(module, path):
    torch.save(module, path, _use_new_zipfile_serialization=False)


SAVERS = {
    "skops": lambda module, path: skops.io.dump(LogisticRegression().fit(X, Y), path),
    "safetensors": lambda module, path: save_file(module.state_dict(), path),
    "torch": lambda module, path: torch.save(module, path),
    "torch, old form": old_torch,
    "torch, weights": lambda module, path: torch.save(module.state_dict(), path),
    "TorchScript": save_script,
    "torch.export": save_program,
    "pickle": lambda module, path: path.write_bytes(pickle.dumps(LogisticRegression().fit(X, Y))),
    "pickle, protocol 0": lambda module, path: path.write_bytes(pickle.dumps([1, "a"], protocol=0)),
    "pickle, protocol 1": lambda module, path: path.write_bytes(pickle.dumps([1, "a"], protocol=1)),
    "pickle, cloud": lambda module, path: path.write_bytes(cloudpickle.dumps(lambda rows: rows)),
    "pickle, joblib": lambda module, path: joblib.dump(LogisticRegression().fit(X, Y), path),
    "pickle, joblib zlib": lambda module, path: joblib.dump([1], path, compress=3),
    "pickle, gzip": lambda module, path: path.write_bytes(gzip.compress(pickle.dumps([1]))),
    "pickle, bz2": lambda module, path: path.write_bytes(bz2.compress(pickle.dumps([1]))),
}
PICKLES = ("data.pkl", "model.pt", "serialized_state_dict.pt")  # in files of torch, of any version
NEEDS_CONSENT = [name for name in SAVERS if name not in ("skops", "safetensors")]


@pytest.mark.parametrize("kind", SAVERS)
def test_a_format_is_told_by_content(kind, net, tmp_path):
    path = tmp_path / "model.onnx"  # whatever the name says
    SAVERS[kind](net, path)
    assert file_format(path) == kind.partition(",")[0]


@pytest.mark.parametrize("name", ["model.skops", "model.onnx"])
@pytest.mark.parametrize("kind", NEEDS_CONSENT)
def test_files_that_run_code_need_consent_under_any_name(kind, name, net, tmp_path):
    SAVERS[kind](net, tmp_path / name)
    with pytest.raises(PlanError, match=r"if you trust the file, consent with --allow-pickle") as caught:
        load_model(tmp_path / name, names=("a", "b", "c"))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    "form", ["bare", "gzip", "before a zip", "in a torch file", "in a pt2 file", "in a skops file"]
)
def test_a_hostile_pickle_is_not_executed(form, protocol, net, tmp_path):
    path, written = tmp_path / "model.skops", tmp_path / "written"
    bomb = pickle.dumps(Boom(written), protocol=protocol)
    if form in ("bare", "gzip"):
        path.write_bytes(bomb if form == "bare" else gzip.compress(bomb))
    elif form == "before a zip":
        skops.io.dump(LogisticRegression().fit(X, Y), path)
        path.write_bytes(bomb + path.read_bytes())
    else:
        SAVERS[{"in a torch file": "torch, weights", "in a pt2 file": "torch.export"}.get(form, "skops")](net, path)
        replace_member(path, PICKLES if form != "in a skops file" else ("schema.json",), bomb)
    with pytest.raises(PlanError):
        load_model(path, names=("a", "b", "c"))
    if form == "in a torch file":
        with pytest.raises(PlanError, match="holds more than tensors"):
            load_model(path, module=networks.net)
    assert not written.exists()
    pickle.loads(bomb)  # the bomb is real
    assert written.exists()


def replace_member(path, ends, content):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    replaced = {name: content if name.endswith(ends) else held for name, held in members.items()}
    assert replaced != members
    with zipfile.ZipFile(path, "w") as archive:
        for name, held in replaced.items():
            archive.writestr(name, held)


def test_torchscript_can_write_files_and_is_not_asked_without_consent(tmp_path):
    save_script(networks.Writer(str(tmp_path / "written")), tmp_path / "model.pt")
    with pytest.raises(PlanError, match="a program, which when asked can do what torch can"):
        load_model(tmp_path / "model.pt")
    assert not (tmp_path / "written").exists()
    with torch.no_grad():
        load_model(tmp_path / "model.pt", allow_pickle=True)(torch.tensor(X))
    assert (tmp_path / "written").exists()


@pytest.mark.parametrize("kind", ["torch", "torch, old form", "TorchScript", "torch.export"])
def test_torch_files_answer_with_consent(kind, net, expected, tmp_path):
    SAVERS[kind](net, tmp_path / "model")
    model = load_model(tmp_path / "model", allow_pickle=True)
    np.testing.assert_allclose(as_target(model, classes=3).query(X).probabilities, expected, atol=1e-6)


def test_a_program_exported_for_one_batch_size_answers_any_number_of_records(net, expected, tmp_path):
    save_program(net, tmp_path / "model.pt2", batch=7)
    model = load_model(tmp_path / "model.pt2", allow_pickle=True)
    for n in (1, 7, 60):
        np.testing.assert_allclose(as_target(model, classes=3).query(X[:n]).probabilities, expected[:n], atol=1e-6)


@pytest.mark.parametrize("kind", ["safetensors", "torch, weights"])
def test_weights_are_put_into_the_users_module_without_consent(kind, net, expected, tmp_path):
    SAVERS[kind](net, tmp_path / "weights")
    model = load_model(tmp_path / "weights", module=networks.net)
    np.testing.assert_allclose(as_target(model, classes=3).query(X).probabilities, expected, atol=1e-6)


def test_weights_with_consent_still_need_their_module(net, expected, tmp_path):
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(PlanError, match=r"holds bare weights: say which network .*by module = "):
        load_model(tmp_path / "weights.pt", allow_pickle=True)
    model = load_model(tmp_path / "weights.pt", module=networks.net, allow_pickle=True)
    np.testing.assert_allclose(as_target(model, classes=3).query(X).probabilities, expected, atol=1e-6)


def test_weights_that_do_not_fit_are_listed(net, tmp_path):
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(PlanError) as caught:
        load_model(tmp_path / "w.safetensors", module=networks.wider)
    said = str(caught.value)
    assert "2 missing in the file: 3.bias, 3.weight" in said
    assert "3 of another shape: 0.weight ((8, 4), the module has (9, 4))" in said
    with pytest.raises(PlanError, match="must be a torch.nn.Module, got an int"):
        load_model(tmp_path / "w.safetensors", module=networks.no_module)
    torch.save({"model": net.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(PlanError, match=r"holds the keys \['model', 'epoch'\], not one tensor per name"):
        load_model(tmp_path / "checkpoint.pt", module=networks.net)


class ExtraState(networks.nn.Linear):
    """A layer that writes what it has beside its weights, whose form changes as it is used."""

    scale: object = torch.ones(2)

    def get_extra_state(self):
        return self.scale

    def set_extra_state(self, state):
        self.scale = state


@pytest.mark.parametrize("state", [torch.ones(3), {"scale": 2.0}])
def test_extra_state_of_a_module_has_any_form(state, tmp_path):
    module = ExtraState(4, 2)
    module.set_extra_state(state)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    assert str(load_model(tmp_path / "w.pt", module=lambda: ExtraState(4, 2)).scale) == str(state)
    save_file({"weight": module.weight.detach(), "bias": module.bias.detach()}, tmp_path / "w.safetensors")
    assert load_model(tmp_path / "w.safetensors", module=lambda: ExtraState(4, 2)).weight.equal(module.weight)


def test_tied_weights_need_be_there_once(tmp_path):
    def tied():
        module = networks.nn.Sequential(networks.nn.Linear(4, 4, bias=False), networks.nn.Linear(4, 4, bias=False))
        module[1].weight = module[0].weight
        return module

    module = tied()
    save_file({"0.weight": module[0].weight.detach()}, tmp_path / "w.safetensors")
    again = load_model(tmp_path / "w.safetensors", module=tied)
    assert torch.equal(again[1].weight, module[0].weight)


@pytest.mark.parametrize(
    "kind", ["skops", "safetensors", "torch", "torch, weights", "TorchScript", "torch.export", "pickle"]
)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_off_is_told(kind, share, net, tmp_path):
    SAVERS[kind](net, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(share * len(content))])
    for module in (None, networks.net):
        with pytest.raises(PlanError):
            load_model(tmp_path / "cut", names=("a", "b", "c"), module=module, allow_pickle=True)


def test_what_is_no_model_file_is_told(tmp_path):
    np.savez(tmp_path / "arrays", a=X)
    for name, content, said in (
        ("text", b"hello", r"no model file .* 5 bytes and starts with b'hello'"),
        ("empty", b"", "cut off: it is empty"),
        ("a.ubj", b"{L\x00\x00\x00\x00\x00\x00\x00\x10", "cannot be read as an XGBoost model"),
        ("a.json", b'{"learner":{}}', "cannot be read as an XGBoost model"),
        ("a.txt", b"tree\nversion=v4\n", "cannot be read as a LightGBM model"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("arrays.npz", None, "not a model this reads"),
        ("missing", None, "cannot be read: No such file"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(PlanError, match=said):
            load_model(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(PlanError, match="is a folder; a model is a file"):
        load_model(tmp_path / "folder")


def test_skops_types_outside_its_list_are_shown_and_need_trust(tmp_path):
    tree = DecisionTreeClassifier(max_depth=2).fit(X, Y)
    skops.io.dump(tree, tmp_path / "tree.skops")
    with pytest.raises(PlanError, match=r"sklearn\.tree\._tree\.Tree.*--trusted TYPE"):
        load_model(tmp_path / "tree.skops")
    model = load_model(tmp_path / "tree.skops", trusted=("sklearn.tree._tree.Tree",))
    np.testing.assert_array_equal(model.predict(X), tree.predict(X))


def test_a_module_beside_a_whole_model_is_refused(tmp_path):
    skops.io.dump(LogisticRegression().fit(X, Y), tmp_path / "m")
    with pytest.raises(PlanError, match=r"target\.module belongs to bare weights"):
        load_model(tmp_path / "m", module=networks.net)


@pytest.fixture
def folder(tmp_path, net):
    """A plan whose target is the weights of the user's own network."""
    rng = np.random.default_rng(1)
    records, classes = rng.normal(size=(240, 4)).astype(np.float32), rng.integers(0, 3, 240)
    np.savez(tmp_path / "all.npz", X=records, y=classes)
    np.savetxt(tmp_path / "in.txt", np.arange(40), fmt="%d")
    np.savetxt(tmp_path / "out.txt", np.arange(40, 80), fmt="%d")
    (tmp_path / "own_network.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))\n"
    )
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "plan.toml").write_text(
        """
        data = { path = "all.npz", label = "y" }
        split = { members = "in.txt", nonmembers = "out.txt" }
        target = { file = "w.safetensors", module = "own_network.py:make" }
        recipe = { estimator = "sklearn.linear_model.LogisticRegression" }
        shadows = { count = 2 }
        """
    )
    return tmp_path


def test_a_plan_audits_the_weights_of_a_module(folder, net):
    result = miaudit.audit(folder / "plan.toml", jobs=0, allow_code=True)
    with np.load(folder / "all.npz") as arrays, torch.no_grad():
        hit = net(torch.tensor(arrays["X"])).argmax(dim=1).numpy() == arrays["y"]
    assert result.target.train_accuracy == pytest.approx(hit[:40].mean())
    assert result.target.source == "given file"


def test_a_module_needs_a_file():
    with pytest.raises(PlanError, match="module belongs to file"):
        Plan.of(
            {
                "data": {"name": "digits"},
                "split": {"members": 9},
                "recipe": {"network": {}},
                "target": {"module": "a.py:b"},
            }
        )


def test_weights_without_a_module_go_into_the_recipes_own(folder, net):
    (folder / "own_recipe.py").write_text(
        "from torch import nn\n\nfrom miaudit.recipes import ModuleRecipe\n\n\n"
        "def make():\n    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))\n\n\n"
        "def recipe():\n    return ModuleRecipe(make, epochs=1)\n\n\n"
        "def standardizing():\n    return ModuleRecipe(make, epochs=1, standardize=True)\n"
    )
    plan = {
        "data": {"path": str(folder / "all.npz"), "label": "y"},
        "split": {"members": str(folder / "in.txt"), "nonmembers": str(folder / "out.txt")},
        "target": {"file": str(folder / "w.safetensors")},
        "recipe": {"function": f"{folder / 'own_recipe.py'}:recipe"},
        "shadows": {"count": 2},
    }
    result = miaudit.audit(plan, jobs=0, allow_code=True)
    with np.load(folder / "all.npz") as arrays, torch.no_grad():
        hit = net(torch.tensor(arrays["X"])).argmax(dim=1).numpy() == arrays["y"]
    assert result.target.train_accuracy == pytest.approx(hit[:40].mean())
    own = {"function": f"{folder / 'own_recipe.py'}:standardizing"}
    with pytest.raises(PlanError, match=r"standardizes records by means that are not among them: give target\.module"):
        miaudit.audit({**plan, "recipe": own}, jobs=0, allow_code=True)


def test_the_command_line_refuses_a_hostile_file_with_exit_code_2(folder):
    (folder / "w.safetensors").write_bytes(pickle.dumps(Boom(folder / "written")))
    command = ["run", str(folder / "plan.toml"), "--jobs", "0", "--out", str(folder / "out"), "--allow-code"]
    ended = CliRunner().invoke(main, command)
    assert ended.exit_code == 2
    assert "runs whatever code its author put there" in ended.output
    assert not (folder / "written").exists()


def test_a_skops_that_runs_code_while_it_reads_is_refused(tmp_path, monkeypatch):
    import skops.io
    from sklearn.linear_model import LogisticRegression

    path = tmp_path / "m.skops"
    skops.io.dump(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), path)
    assert load_model(path).classes_.tolist() == [0, 1]
    for version in ("0.11.0", "0.14.0", "0.9"):
        monkeypatch.setattr(skops, "__version__", version)
        with pytest.raises(PlanError, match=f"skops {version} can be made by one to run code.*skops 0.15 or newer"):
            load_model(path)
