"""Modules of any kind as recipes: beside a plain loop of torch, their seeds, their names in the store."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from miaudit.errors import DataError, PlanError, TargetError  # noqa: E402
from miaudit.evidence.answers import softmax  # noqa: E402
from miaudit.recipes import GroupRecipe, ModuleRecipe, as_recipe, estimator_from_function  # noqa: E402
from miaudit.recipes.training import Generators  # noqa: E402
from miaudit.seeds import child_seed  # noqa: E402
from miaudit.targets import as_target  # noqa: E402
from miaudit.targets.files import load_model  # noqa: E402

CLASSES = 3


class Residual(nn.Module):
    """A convolution added to its input, with a learned weight."""

    def __init__(self, width: int, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.inner = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Any) -> Any:
        return x + self.gain * self.weight * self.inner(x)


def convolutional(width: int = 6, gain: float = 1.0) -> nn.Module:
    head = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * width, CLASSES))
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), Residual(width, gain), nn.MaxPool2d(2), *head)


class Stateful(nn.Module):
    """A module whose state is more than arrays: a scale of its own kind, and options that are no tensor."""

    def __init__(self, scale: torch.Tensor, power: int = 1) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
        self.register_buffer("scale", scale)
        self._power = power

    def get_extra_state(self) -> Any:
        return {"power": self._power}

    def set_extra_state(self, state: Any) -> None:
        self._power = state["power"]

    def forward(self, x: Any) -> Any:
        return self.inner(x) * self.scale.to_dense().float().sum() ** self._power


SCALES = {
    "bfloat16": torch.ones((), dtype=torch.bfloat16),
    "float8": torch.ones(1, dtype=torch.float8_e4m3fn),
    "sparse": torch.tensor([[0.0, 1.0]]).to_sparse(),
}


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.Tanh(), nn.Dropout(0.3), nn.Linear(10, CLASSES))


def fails() -> nn.Module:
    raise ValueError("no such thing")


RECIPE = ModuleRecipe(convolutional, learning_rate=0.05, momentum=0.9, weight_decay=1e-3, epochs=3, batch=16)


@pytest.fixture(scope="module")
def images() -> tuple[Any, Any]:
    """Bright in one of three rows of a 3 x 8 x 8 image; 97 of them, so that one is left over by 6 batches of 16."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, CLASSES, 97)
    X = rng.integers(0, 120, (97, 3, 8, 8))
    X[np.arange(97), :, 2 * y + 1, :] += 100
    return X.astype(np.uint8), y


def weights(model: Any) -> list[Any]:
    return [tensor.detach().numpy() for tensor in model.module.state_dict().values()]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="sgd"),
        pytest.param({"optimizer": "adam", "learning_rate": 0.003, "momentum": 0.0}, id="adam"),
        pytest.param({"optimizer": "adamw", "learning_rate": 0.003, "momentum": 0.0, "weight_decay": 0.1}, id="adamw"),
        pytest.param({"schedule": "cosine"}, id="cosine"),
        pytest.param({"schedule": "steps", "milestones": (1, 2), "gamma": 0.3}, id="steps"),
    ],
)
def test_training_equals_a_plain_loop_of_torch(images: Any, change: Any) -> None:
    X, y = images
    recipe = replace(RECIPE, **change)
    model = recipe.fit(X, y, classes=CLASSES, seed=4)

    inputs, labels = torch.from_numpy(X).float() / 255, torch.from_numpy(y)
    order = Generators.of(4).order
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(4, "weights"))
        net = convolutional()
        torch.manual_seed(child_seed(4, "dropout"))
        made = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}.get(recipe.optimizer)
        settings: Any = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
        optimizer = (
            made(net.parameters(), **settings) if made else torch.optim.SGD(net.parameters(), momentum=0.9, **settings)
        )
        schedules: Any = {
            "constant": lambda: torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
            "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 18),
            "steps": lambda: torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 12], 0.3),
        }
        schedule = schedules[recipe.schedule]()
        net.train()
        for _ in range(3):
            chosen = torch.randperm(97, generator=order)
            for part in (*chosen[:80].split(16), chosen[80:]):  # the last record joins the batch before it
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(inputs[part]), labels[part]).backward()
                optimizer.step()
                schedule.step()
    for ours, theirs in zip(weights(model), net.state_dict().values(), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
    net.eval()
    with torch.no_grad():
        expected = torch.softmax(net(inputs), 1).numpy()
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-4)


def test_it_learns_in_bfloat16_too(images: Any) -> None:
    X, y = images
    for dtype in ("float32", "bfloat16"):
        model = replace(RECIPE, epochs=12, dtype=dtype, standardize=True).fit(X, y, classes=CLASSES, seed=1)
        answers = model.predict_proba(X)
        assert (answers.argmax(axis=1) == y).mean() > 0.95
        np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-12)


def test_the_seed_and_nothing_else_decides(images: Any) -> None:
    X, y = images
    recipe = ModuleRecipe(perceptron, epochs=2)
    torch.rand(3)  # the global generator stands elsewhere
    first, again, other = (recipe.fit(X, y, classes=CLASSES, seed=seed).predict_proba(X) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    with ThreadPoolExecutor(2) as pool:  # one at a time, each with its own draws
        models = list(pool.map(lambda seed: recipe.fit(X, y, classes=CLASSES, seed=seed), (7, 8)))
    assert np.array_equal(models[0].predict_proba(X), first)
    assert np.array_equal(models[1].predict_proba(X), other)


def test_training_leaves_the_global_generator_alone(images: Any) -> None:
    X, y = images
    before = torch.get_rng_state()
    RECIPE.describe()
    replace(RECIPE, epochs=1).fit(X, y, classes=CLASSES, seed=1).predict_proba(X)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(PlanError):
        ModuleRecipe(fails).fit(X, y, classes=CLASSES, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", SCALES)
def test_a_module_may_keep_what_numpy_has_no_type_for_and_what_is_no_tensor(
    images: Any, tmp_path: Path, kind: str
) -> None:
    recipe = ModuleRecipe(functools.partial(Stateful, SCALES[kind]), epochs=3, validation=0.2, patience=2)
    model = recipe.fit(*images, classes=CLASSES, seed=1)
    others = [
        functools.partial(Stateful, 3 * SCALES[kind].to_dense().float()),
        functools.partial(Stateful, SCALES[kind], 2),
    ]
    texts = [json.dumps(each.describe()) for each in (recipe, *(replace(recipe, build=build) for build in others))]
    assert len(set(texts)) == len(texts)
    assert recipe.arrays_of(model) is None
    torch.save(model.module.state_dict(), tmp_path / "weights.pt")
    again = load_model(tmp_path / "weights.pt", module=recipe.build)
    answers = as_target(again, classes=CLASSES).answer((images[0] / 255).astype(np.float32)).probabilities
    np.testing.assert_allclose(answers, model.predict_proba(images[0]), rtol=1e-5)


def test_descriptions_tell_modules_apart_and_equal_ones_are_equal() -> None:
    recipes = [
        RECIPE,
        replace(RECIPE, build=perceptron),
        replace(RECIPE, build=functools.partial(convolutional, 7)),
        replace(RECIPE, build=functools.partial(convolutional, gain=0.5)),  # no weight tells of it
        replace(RECIPE, epochs=4),
        replace(RECIPE, dtype="bfloat16"),
        replace(RECIPE, schedule="steps", milestones=[1]),
    ]
    texts = [json.dumps(recipe.describe(), sort_keys=True) for recipe in recipes]
    assert len(set(texts)) == len(texts)
    assert replace(RECIPE).describe() == RECIPE.describe()
    assert RECIPE.name == "module convolutional"
    assert isinstance(RECIPE, GroupRecipe)
    assert RECIPE.group_width((3, 8, 8), CLASSES) == 1
    assert as_recipe(RECIPE) is RECIPE


NET = """
    from torch import nn
    from miaudit.recipes import ModuleRecipe
    def activation(x):
        return x.{activation}()
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 2)
        def forward(self, x):
            return activation(self.linear(x))
    def build():
        return ModuleRecipe(Net, epochs=1)
"""


def test_a_plan_names_a_function_in_a_file_and_its_whole_file_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = []
    for activation in ("tanh", "relu"):
        folder = tmp_path / activation
        folder.mkdir()
        (folder / "net_for_tests.py").write_text(textwrap.dedent(NET.format(activation=activation)))
        monkeypatch.setattr("sys.path", [str(folder), *sys.path])
        monkeypatch.delitem(sys.modules, "net_for_tests", raising=False)
        recipe = as_recipe(estimator_from_function(f"{folder}/net_for_tests.py:build"))
        assert recipe.fit(np.eye(4), np.arange(4) % 2, classes=2, seed=0).predict_proba(np.eye(4)).shape == (4, 2)
        described.append(recipe.describe())
    assert described[0] != described[1]


def test_what_cannot_be_trained_is_explained(images: Any) -> None:
    X, y = images
    with pytest.raises(PlanError) as caught:
        ModuleRecipe(perceptron(), optimizer="adam", momentum=0.9, epochs=0, milestones=(3,))  # type: ignore[arg-type]
    assert {path for path, _ in caught.value.problems} == {"build", "momentum", "epochs", "milestones"}
    for build, said in (
        (fails, "ValueError: no such thing"),
        (dict, "returned a dict"),
        (nn.Flatten, "no parameters"),
        (lambda: nn.Linear(2, 2).double(), "float64"),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), r"1\.weight waits for the first records"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), r"\(97, 3\)"),
    ):
        with pytest.raises(PlanError, match=said):
            ModuleRecipe(build, batch=100).fit(X, y, classes=CLASSES, seed=1)
    with pytest.raises(DataError, match="0 to 1"):
        RECIPE.fit(X, y, classes=2, seed=1)
    model = ModuleRecipe(perceptron, epochs=1).fit(X, y, classes=CLASSES, seed=1)
    with pytest.raises(DataError, match=r"\(3, 8, 7\)"):
        model.predict_proba(X[..., :7])
    wild = ModuleRecipe(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), learning_rate=1e38, epochs=3)
    wild = wild.fit(X.astype(float) * 1e9, y, classes=CLASSES, seed=1)
    with pytest.raises(PlanError, match="diverged"):
        wild.predict_proba(X.astype(float))


class Head(nn.Module):
    """A head of its own on a part that all calls share."""

    part = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8))

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.head = Head.part, nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.shared(x))


def test_modules_that_share_what_is_trained_are_refused() -> None:
    whole = perceptron()
    with pytest.raises(PlanError, match=r"of an earlier call again.*copy\.deepcopy"):
        ModuleRecipe(lambda: whole).describe()
    with pytest.raises(PlanError, match=r"'shared\.1\.weight' of an earlier call"):
        ModuleRecipe(Head).describe()
    Head.part.requires_grad_(False)
    with pytest.raises(PlanError, match=r"'shared\.2' of an earlier call"):  # its running statistics would go on
        ModuleRecipe(Head).describe()
    Head.part = Head.part[:2]
    ModuleRecipe(Head).describe()  # frozen, as a pretrained part is
    ModuleRecipe(lambda: copy.deepcopy(whole)).describe()


def test_importing_the_recipe_does_not_import_torch() -> None:
    code = "import sys, miaudit.recipes.module; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def smooth(answers: Any, labels: Any) -> Any:
    return nn.functional.cross_entropy(answers, labels, label_smoothing=0.1)


def wide(name: str, leaf: Any) -> bool:
    return name.endswith("weight") and leaf.dim() > 1


def flipped(records: Any) -> Any:
    return records.flip(-1) if torch.rand(()) < 0.5 else records


class Pair(nn.Module):
    """Answers a tuple of the logits and what lies before them, or with ``named`` a dict."""

    def __init__(self, named: bool = False) -> None:
        super().__init__()
        self.named = named
        self.body, self.head = nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), nn.Linear(10, CLASSES)

    def forward(self, x: Any) -> Any:
        features = self.body(x)
        logits = self.head(features)
        return {"features": features, "logits": logits} if self.named else (logits, features)


SMALL = ModuleRecipe(convolutional, learning_rate=0.05, epochs=3, batch=16)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"loss": smooth}, {"label_smoothing": 0.1}, id="loss"),
        pytest.param({"optimizer": torch.optim.SGD}, {}, id="optimizer"),
        pytest.param(
            {"optimizer": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True)},
            {"momentum": 0.9, "nesterov": True},
            id="nesterov",
        ),
        pytest.param({"weight_decay": 0.1, "decay": "weights"}, {"weight_decay": 0.1, "decay": wide}, id="decay"),
        pytest.param(
            {"weight_decay": 0.1, "decay": "weights", "optimizer": torch.optim.SGD},
            {"weight_decay": 0.1, "decay": "weights"},
            id="groups",
        ),
        pytest.param({"class_weights": (2.0, 2.0, 2.0)}, {}, id="class weights"),
        pytest.param({"clip": 1e9}, {}, id="clip"),
    ],
)
def test_two_ways_to_say_it_train_the_same_module(images: Any, one: Any, other: Any) -> None:
    two = [replace(SMALL, **each).fit(*images, classes=CLASSES, seed=4) for each in (one, other)]
    for mine, theirs in zip(*map(weights, two), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"clip": 0.01},
        {"warmup": 1.5},
        {"augment": flipped},
        {"label_smoothing": 0.3},
        {"class_weights": "balanced"},
        {"weight_decay": 0.1, "decay": "weights"},
        {"validation": 0.2},
        {"loss": nn.MultiMarginLoss},
    ],
)
def test_every_option_makes_another_model_of_another_name_and_the_same_twice(images: Any, change: Any) -> None:
    recipe = replace(SMALL, **change)
    one, two, plain = (each.fit(*images, classes=CLASSES, seed=4) for each in (recipe, recipe, SMALL))
    assert all((mine == theirs).all() for mine, theirs in zip(weights(one), weights(two), strict=True))
    assert any((mine != theirs).any() for mine, theirs in zip(weights(one), weights(plain), strict=True))
    assert json.dumps(recipe.describe()) != json.dumps(SMALL.describe())


def test_the_rate_rises_and_falls() -> None:
    recipe = replace(SMALL, schedule="cosine", warmup=1, epochs=3)
    rates = [recipe.rate(update, 4) for update in range(12)]
    assert rates[:4] == pytest.approx([0.0125, 0.025, 0.0375, 0.05])
    assert rates[4] == pytest.approx(0.05)
    assert np.diff(rates[4:]).max() < 0
    assert rates[11] < 0.05 * 0.05


def test_early_stopping_keeps_the_best_epoch(images: Any) -> None:
    recipe = replace(SMALL, epochs=60, validation=0.3, patience=2, learning_rate=0.3)
    stopped = recipe.fit(*images, classes=CLASSES, seed=1)
    longer = replace(recipe, patience=60).fit(*images, classes=CLASSES, seed=1)
    worst = [float(np.mean(each.predict_proba(images[0]).argmax(1) == images[1])) for each in (stopped, longer)]
    assert min(worst) > 0.4
    with pytest.raises(PlanError, match="sets 0 of 97 records apart"):
        replace(SMALL, validation=0.001).fit(*images, classes=CLASSES, seed=1)


def test_answers_in_tuples_and_dicts_are_read(images: Any) -> None:
    plain = SMALL.fit(*images, classes=CLASSES, seed=3)
    for build in (Pair, functools.partial(Pair, True)):
        model = replace(SMALL, build=build).fit(*images, classes=CLASSES, seed=3)
        assert model.predict_proba(images[0]).shape == plain.predict_proba(images[0]).shape
        if build is Pair:
            with pytest.raises(TargetError, match="name it logits"):
                as_target(model.module, classes=CLASSES).answer(images[0])
        else:
            assert as_target(model.module, classes=CLASSES).answer(images[0]).kind == "logits"


class Heads(nn.Module):
    """Answers by two heads of one shape, in a form of one's choice; with ``form`` None by the second alone."""

    def __init__(self, form: Any = None) -> None:
        super().__init__()
        self.form, self.flat = form, nn.Flatten()
        self.aside, self.head = nn.Linear(192, CLASSES), nn.Linear(192, CLASSES)

    def forward(self, x: Any) -> Any:
        own = self.head(self.flat(x))
        return own if self.form is None else self.form(self.aside(self.flat(x)), own)


class Named(NamedTuple):
    aside: Any
    own: Any


@dataclasses.dataclass
class Answer:  # with attributes, as those of transformers
    aside: Any
    own: Any


FORMS = {
    "own": (Named, Answer, lambda aside, own: {"aside": aside, "own": own}),
    1: (Named, lambda aside, own: (aside, own), lambda aside, own: [aside, own]),
}


@pytest.mark.parametrize(("output", "form"), [(name, form) for name, forms in FORMS.items() for form in forms])
def test_an_output_is_chosen_by_name_or_place(images: Any, tmp_path: Any, output: Any, form: Any) -> None:
    X, y = (images[0] / 255).astype(np.float32), images[1]
    alone = replace(SMALL, build=Heads).fit(X, y, classes=CLASSES, seed=3)
    recipe = replace(SMALL, build=lambda: Heads(form), output=output)
    model = recipe.fit(X, y, classes=CLASSES, seed=3)
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))
    assert [*model.module.state_dict()] == [*alone.module.state_dict()]
    assert recipe.describe()["output"] == output
    save_file(model.module.state_dict(), tmp_path / "weights.safetensors")
    target = load_model(tmp_path / "weights.safetensors", module=lambda: Heads(form), output=output)
    answers = as_target(target, classes=CLASSES).answer(X)
    assert answers.kind == "logits"
    np.testing.assert_allclose(softmax(answers.values), alone.predict_proba(X), atol=1e-5)
    loaded = recipe.loaded(tmp_path / "weights.safetensors", classes=CLASSES, shape=X.shape[1:], allow_pickle=False)
    np.testing.assert_array_equal(loaded.predict_proba(X), alone.predict_proba(X))
    with pytest.raises(TargetError, match="its outputs by (name|place) are"):
        replace(recipe, output=7 if output == 1 else "logits").fit(X, y, classes=CLASSES, seed=3)


def test_an_output_is_a_name_or_a_place_and_belongs_to_networks(tmp_path: Any) -> None:
    with pytest.raises(PlanError, match="a name, or a place in a tuple"):
        replace(SMALL, output=1.5)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".torch.jit")
        torch.jit.trace(Pair(), torch.zeros(1, 3, 8, 8)).save(tmp_path / "m.pt")
    scripted = load_model(tmp_path / "m.pt", output=0, allow_pickle=True)
    assert as_target(scripted, classes=CLASSES).answer(np.zeros((5, 3, 8, 8), np.float32)).values.shape == (5, CLASSES)
    (tmp_path / "m.txt").write_text("tree\nversion=v3\n")
    with pytest.raises(PlanError, match="names an output of an ONNX model or a torch module"):
        load_model(tmp_path / "m.txt", output="logits")


def tokens() -> nn.Module:
    return nn.Sequential(nn.EmbeddingBag(50, 8), nn.Linear(8, 2))


def test_tokens_stay_whole_numbers() -> None:
    X = np.random.default_rng(0).integers(0, 50, (80, 6))
    y = (X[:, 0] > 25).astype(int)
    model = ModuleRecipe(tokens, optimizer="adam", learning_rate=0.05, epochs=40).fit(X, y, classes=2, seed=0)
    assert (model.predict_proba(X).argmax(1) == y).mean() > 0.9


@pytest.mark.slow
def test_a_notebook_cell_may_define_the_module() -> None:
    code = """
    import numpy as np, miaudit
    from torch import nn
    from miaudit.recipes import ModuleRecipe
    class Net(nn.Module):
        def __init__(self):
            super().__init__(); self.layer = nn.Linear(4, 2)
        def forward(self, x): return self.layer(x)
    def train(X, y, seed): return ModuleRecipe(Net, epochs=2).fit(X, y, classes=2, seed=seed).module
    X = np.random.default_rng(0).normal(size=(300, 4)).astype("f4"); y = (X[:, 0] > 0).astype(int)
    sides = dict(members=(X[:60], y[:60]), nonmembers=(X[60:120], y[60:120]), population=(X[120:], y[120:]))
    for recipe in (ModuleRecipe(Net, epochs=2), train):
        result = miaudit.audit(Net(), **sides, recipe=recipe, shadows=2, attacks=["attack-p"], jobs=2)
        print(result.shadows.trained, [w for w in result.warnings if "read" in w or "reproducible" in w])
    """
    ran = subprocess.run([sys.executable], input=textwrap.dedent(code), capture_output=True, text=True, check=False)
    assert ran.stdout.splitlines() == ["2 []", "2 []"], ran.stderr
