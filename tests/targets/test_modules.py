"""Torch modules as targets: what the last layer says, whole numbers, memory; and files that name files."""

from __future__ import annotations

import copy
import hashlib
import os
import resource

import numpy as np
import pytest

from miaudit.auditing import case_of_plan
from miaudit.auditing.case import order_taken
from miaudit.errors import PlanError, TargetError
from miaudit.evidence.answers import hint_of_name
from miaudit.plan import Plan
from miaudit.recipes import ModuleRecipe
from miaudit.targets import as_target, load_model
from miaudit.targets.files import model_hashes
from miaudit.targets.form import cast
from miaudit.targets.onnx_graph import read_graph
from miaudit.targets.torch_modules import BYTES, TorchQuestion

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
nn = torch.nn

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)


def linear(scale=1.0):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        net[2].weight.mul_(scale)
        net[2].bias.fill_(0.3)
    return net


class Ends(nn.Module):
    """A network whose last step is written out, not a layer."""

    def __init__(self, net, end):
        super().__init__()
        self.net, self.end = net, end

    def forward(self, x):
        return self.end(self.net(x))


NET = linear()
SMALL = linear(0.1)  # its logits lie in 0 to 1
with torch.no_grad():
    LOGITS, TINY = NET(torch.as_tensor(X)), SMALL(torch.as_tensor(X))
P, Q = torch.softmax(LOGITS, 1).numpy(), torch.softmax(TINY, 1).numpy()

MODULES = {
    "linear": (SMALL, "logits", Q),
    "no layer says": (Ends(SMALL, lambda z: z.abs() + 0.1), None, None),
    "softmax": (nn.Sequential(NET, nn.Softmax(1)), "probabilities", P),
    "softmax, written out": (Ends(NET, lambda z: z.softmax(1)), "probabilities", P),
    "log-softmax": (nn.Sequential(NET, nn.LogSoftmax(1)), "log-probabilities", P),
    "rounded": (Ends(NET, lambda z: torch.round(z.softmax(1), decimals=2)), "probabilities", P.round(2)),
    "bfloat16": (Ends(copy.deepcopy(NET).bfloat16(), lambda z: z.softmax(1)), "probabilities", P),
    "float16 at the end": (Ends(NET, lambda z: z.softmax(1).half()), "probabilities", P),
    "percent": (Ends(NET, lambda z: 100 * z.softmax(1)), "percent", P),
    "frozen": (copy.deepcopy(SMALL).requires_grad_(False), "logits", Q),
    "scripted": (None, "logits", Q),
    "sigmoids": (nn.Sequential(NET, nn.Sigmoid()), None, None),
}


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("name", MODULES)
def test_the_last_layer_says_what_a_module_answers(name):
    module, type_, expected = MODULES[name]
    module = torch.jit.script(copy.deepcopy(SMALL)) if module is None else module
    target = as_target(module, classes=3)
    if type_ is None:
        with pytest.raises(TargetError, match="not clear|not probabilities"):
            target.query(X)
        return
    answer = target.query(X)
    assert target.outputs == type_
    np.testing.assert_allclose(answer.probabilities, expected, atol=0.02 if name == "bfloat16" else 1e-3)
    assert target.query(X[:1]).kind == answer.kind


def test_every_part_of_a_module_keeps_its_own_mode_and_the_generator_its_state():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).train()
    net[1].eval()
    before, state = [part.training for part in net.modules()], torch.get_rng_state()
    as_target(net, classes=3).query(X)
    assert [part.training for part in net.modules()] == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.float64])
def test_whole_numbers_stay_whole_where_the_module_looks_them_up(kind):
    tokens = np.random.default_rng(1).integers(0, 60, (20, 5))
    net = nn.Sequential(nn.EmbeddingBag(60, 8), nn.Linear(8, 3))
    with torch.no_grad():
        expected = torch.softmax(net(torch.as_tensor(tokens)).double(), 1).numpy()
    np.testing.assert_allclose(as_target(net, classes=3).query(tokens.astype(kind)).probabilities, expected, atol=1e-7)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(net[0].weight.detach())
            self.last = net[1]

        def forward(self, x):
            return self.last(self.table[x].mean(1))

    if kind is not np.float64:
        np.testing.assert_allclose(
            as_target(Own(), classes=3).query(tokens.astype(kind)).probabilities, expected, atol=1e-6
        )


@pytest.mark.parametrize(
    ("records", "to", "allowed"),
    [
        (np.array([[0.1, 2.0]]), np.float32, True),
        (np.array([[2**24 + 1]]), np.float32, False),
        (np.array([[2**24 + 1.0]]), np.float32, False),
        (np.array([[1e300]]), np.float32, False),
        (np.array([[0.123456]]), np.float16, True),
        (np.array([[2049]]), np.float16, False),
        (np.array([[70000.5]]), np.float16, False),
        (np.array([[1e-9], [2e-9]]), np.float16, False),
        (np.array([[1e-9], [1.0]]), np.float16, True),
        (np.array([[0.5]]), np.int64, False),
        (np.array([[300]]), np.uint8, False),
        (np.array([[-1]]), np.uint8, False),
        (np.array([[2.0]]), np.int64, True),
        (np.array([["a"]], dtype=object), np.float32, False),
        (np.array([[True, False]]), np.float32, True),
    ],
)
def test_a_cast_that_would_make_other_records_is_refused(records, to, allowed):
    if allowed:
        np.testing.assert_allclose(
            cast(records, to, "the model").astype(float), records.astype(float), rtol=1e-3, atol=1e-8
        )
    else:
        with pytest.raises(TargetError, match="the model takes"):
            cast(records, to, "the model")


def test_how_many_records_are_asked_about_at_a_time_is_bound_by_bytes():
    net = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3)
    )
    images = np.zeros((5, 3, 32, 32), np.float32)
    limit = TorchQuestion(net).limit(images)
    assert BYTES // (3 * 64 * 32 * 32 * 4) <= limit <= BYTES // (2 * 64 * 32 * 32 * 4)
    assert TorchQuestion(NET).limit(X) > 20_000
    sizes = []
    net[0].register_forward_hook(lambda layer, args, answer: sizes.append(len(answer)))
    target = as_target(net, classes=3)
    target.query(np.zeros((2 * limit + 1, 3, 32, 32), np.float32))
    assert sizes == [1, limit, limit, 1]


@pytest.mark.slow
def test_a_convolutional_network_is_asked_within_its_memory():
    net = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3)
    )
    images = np.zeros((6000, 3, 32, 32), np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    as_target(net, classes=3).query(images)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700 << 10  # KiB


def test_a_recipe_whose_module_ends_in_a_softmax_trains_as_the_one_without():
    y = (np.arange(40) % 3).astype(np.int64)
    options = {"epochs": 3, "optimizer": "adam", "learning_rate": 0.01, "batch": 8}
    logits = ModuleRecipe(lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3)), **options)
    ends = {
        "layer": lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3), nn.Softmax(1)),
        "written": lambda: Ends(nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3)), lambda z: z.softmax(1)),
        "log-softmax": lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3), nn.LogSoftmax(1)),
    }
    expected = logits.fit(X, y, classes=3, seed=1).predict_proba(X)
    for build in ends.values():
        model = ModuleRecipe(build, **options).fit(X, y, classes=3, seed=1)
        np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-4)
    sigmoid = ModuleRecipe(lambda: nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), **options)
    with pytest.raises(PlanError, match="its last layer is a sigmoid"):
        sigmoid.fit(X, y, classes=3, seed=1)


def test_names_say_what_they_say():
    known = {"probabilities": "probabilities", "output_probability": "probabilities", "logits": "logits", "y": None}
    known |= {"log_probs": "log-probabilities", "score": None, "class_percent": "percent", "softmax_2": "probabilities"}
    for name, type_ in known.items():
        hint = hint_of_name(name, "")
        assert (None if hint is None else hint.type) == type_


def written(path, location=None, metadata=None, at="graph"):
    """An ONNX model whose weights are in it, or in a file of this name."""
    weights = onnx.numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    if location is not None:
        weights = onnx.TensorProto(name="w", data_type=1, dims=[4, 3], data_location="EXTERNAL")
        weights.external_data.add(key="location", value=location)
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    initial = [weights]
    if at == "attribute":
        nodes.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=weights))
        initial = []
    inputs = [onnx.helper.make_tensor_value_info("x", 1, ["n", 4])]
    outputs = [onnx.helper.make_tensor_value_info("y", 1, ["n", 3])]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, initial)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("at", ["graph", "attribute"])
@pytest.mark.parametrize(
    "place", ["../secret", "/etc/passwd", "sub/../../secret", "link", "folder/link", "", "a\tb", "sub"]
)
def test_no_file_outside_the_models_folder_is_read_or_hashed(place, at, tmp_path):
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(np.ones((4, 3), np.float32).tobytes())
    (home / "link").symlink_to(tmp_path / "secret")
    (home / "folder").symlink_to(tmp_path)
    (tmp_path / "link").write_bytes(b"x" * 48)
    path = written(home / "m.onnx", place, at=at)
    for read in (lambda: load_model(path, names=("a", "b", "c")), lambda: model_hashes(path)):
        with pytest.raises(PlanError, match="says that weights are in"):
            read()


def cached(home, links, *, under=""):
    """Write a cache of the Hugging Face hub, in which every file of a snapshot is a link to a blob."""
    blobs, snapshot = home / "models--a--b" / "blobs", home / "models--a--b" / "snapshots" / ("1" * 40) / under
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name, (blob, content) in links.items():
        (blobs / blob).write_bytes(content)
        (snapshot / name).symlink_to(os.path.relpath(blobs / blob, snapshot))
    return snapshot


@pytest.mark.parametrize("under", ["", "onnx"])
def test_the_links_of_a_hugging_face_cache_are_followed(under, tmp_path):
    model = written(tmp_path / "m.onnx", "w.bin").read_bytes()
    weights = np.ones((4, 3), np.float32).tobytes()
    snapshot = cached(tmp_path, {"m.onnx": ("a" * 64, model), "w.bin": ("b" * 64, weights)}, under=under)
    hashes = model_hashes(snapshot / "m.onnx")
    assert hashes == {"m.onnx": hashlib.sha256(model).hexdigest(), "w.bin": hashlib.sha256(weights).hexdigest()}
    answers = as_target(load_model(snapshot / "m.onnx", names=("a", "b", "c")), classes=3).query(X)
    np.testing.assert_allclose(answers.probabilities, 1 / 3, atol=1e-6)


@pytest.mark.parametrize(
    "way",
    ["another repository", "no hash", "blobs elsewhere", "below blobs", "no snapshot", "by dots", "the link of a blob"],
)
def test_a_cache_opens_no_other_files(way, tmp_path):
    weights, blob = np.ones((4, 3), np.float32).tobytes(), "b" * 64
    home = cached(tmp_path, {})
    blobs, place = home.parents[1] / "blobs", "w.bin"
    (tmp_path / blob).write_bytes(weights)
    match way:
        case "another repository":
            other = tmp_path / "models--a--c" / "blobs"
            other.mkdir(parents=True)
            (other / blob).write_bytes(weights)
            (home / "w.bin").symlink_to(other / blob)
        case "no hash":
            (blobs / "token").write_bytes(weights)
            (home / "w.bin").symlink_to(blobs / "token")
        case "blobs elsewhere":
            blobs.rmdir()
            blobs.symlink_to(tmp_path)
            (home / "w.bin").symlink_to(blobs / blob)
        case "below blobs":
            (blobs / "sub").mkdir()
            (blobs / "sub" / blob).write_bytes(weights)
            (home / "w.bin").symlink_to(blobs / "sub" / blob)
        case "no snapshot":
            home = home.parents[1] / "other"
            home.mkdir()
            (blobs / blob).write_bytes(weights)
            (home / "w.bin").symlink_to(blobs / blob)
        case "by dots":
            (blobs / blob).write_bytes(weights)
            place = f"../../blobs/{blob}"
        case "the link of a blob":
            (blobs / blob).symlink_to(tmp_path / blob)
            (home / "w.bin").symlink_to(blobs / blob)
    path = written(home / "m.onnx", place)
    for read in (lambda: load_model(path, names=("a", "b", "c")), lambda: model_hashes(path)):
        with pytest.raises(PlanError, match="is outside the model's folder"):
            read()


def test_a_key_of_the_metadata_is_no_file_of_weights(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    path = written(tmp_path / "m.onnx", metadata={"location": "secret"})
    assert list(model_hashes(path)) == ["m.onnx"]
    assert read_graph(path).locations == ()
    inside = written(tmp_path / "n.onnx", "w.bin")
    (tmp_path / "w.bin").write_bytes(np.ones((4, 3), np.float32).tobytes())
    assert sorted(model_hashes(inside)) == ["n.onnx", "w.bin"]
    np.testing.assert_allclose(
        as_target(load_model(inside, names=("a", "b", "c")), classes=3).query(X).probabilities, 1 / 3, atol=1e-6
    )


def test_a_recipe_gives_whole_numbers_to_a_module_that_looks_them_up():
    tokens, y = np.random.default_rng(1).integers(0, 60, (40, 5)), (np.arange(40) % 3).astype(np.int64)
    recipe = ModuleRecipe(
        lambda: nn.Sequential(nn.EmbeddingBag(60, 8), nn.Linear(8, 3)), epochs=60, optimizer="adam", batch=8
    )
    model = recipe.fit(tokens, y, classes=3, seed=1)
    assert (model.predict_proba(tokens).argmax(axis=1) == y).mean() > 0.9
    answer = as_target(model.module, classes=3).query(tokens)
    np.testing.assert_allclose(answer.probabilities, model.predict_proba(tokens), atol=1e-6)


@pytest.mark.parametrize("said", [True, False])
def test_a_plan_with_text_classes_says_that_a_file_without_names_was_read_in_their_order(said, tmp_path):
    y = np.array(["yes", "no", "maybe"])[np.arange(40) % 3]
    for i, name in enumerate("mnp"):
        np.savez(tmp_path / f"{name}.npz", X=X + i, y=y)
    path = written(tmp_path / "model.onnx")
    target = {"file": str(path)} | ({"columns": ["yes", "no", "maybe"]} if said else {})
    plan = Plan.of(
        {
            "data": {side: str(tmp_path / f"{side[0]}.npz") for side in ("members", "nonmembers", "population")}
            | {"label": "y"},
            "split": {"duplicates": "report"},
            "target": target,
            "recipe": {"estimator": "sklearn.linear_model.LogisticRegression"},
            "shadows": {"count": 1, "train": 2, "test": 2},
        }
    )
    case = case_of_plan(plan)
    case.target.query(X)
    warnings = order_taken(case.target, case.dataset)
    assert any("order of the sorted labels, maybe, no, yes" in text for text in warnings) is not said


@pytest.mark.parametrize("form", ["one size", "at most 4", "one size, in a file"])
def test_a_module_exported_for_batches_of_other_sizes_says_how_to_export_it(form, tmp_path):
    torch.compiler.reset()
    sizes = ({0: torch.export.Dim("n", max=4)},) if form == "at most 4" else None
    program = torch.export.export(linear(), (torch.zeros(4, 4),), dynamic_shapes=sizes)
    if form == "one size, in a file":
        torch.export.save(program, tmp_path / "m.pt2")
        model = load_model(tmp_path / "m.pt2", allow_pickle=True)
        assert as_target(model, classes=3).answer(X).values.shape == (40, 3)
        return
    with pytest.raises(TargetError, match=r"exported for batches of another size \(.*\), .*dynamic_shapes=\(\{0: "):
        as_target(program.module(), classes=3).answer(X)
