"""TF32 is off while networks train and answer on a GPU, and then torch's switches are as they were. All on a processor."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.overrides import TorchFunctionMode  # noqa: E402

from miaudit.recipes import ModuleRecipe, Network, module_training, training  # noqa: E402
from miaudit.recipes.precision import exact_products  # noqa: E402
from miaudit.recipes.training import CPU  # noqa: E402
from miaudit.unlearning.descent import Descent, fine_tuned  # noqa: E402
from miaudit.unlearning.relearning import relearning_steps  # noqa: E402

backends = torch.backends
if not hasattr(backends.cudnn, "conv"):
    pytest.skip("this torch has the older switches alone", allow_module_level=True)

SWITCHES: dict[str, Callable[[], Any]] = {
    "cudnn.conv": lambda: backends.cudnn.conv.fp32_precision,
    "cudnn.rnn": lambda: backends.cudnn.rnn.fp32_precision,
    "cuda.matmul": lambda: backends.cuda.matmul.fp32_precision,
    "mkldnn.matmul": lambda: backends.mkldnn.matmul.fp32_precision,
    "mkldnn.conv": lambda: backends.mkldnn.conv.fp32_precision,
    "all": lambda: backends.fp32_precision,
    "cudnn, older": lambda: backends.cudnn.allow_tf32,
    "cuda.matmul, older": lambda: backends.cuda.matmul.allow_tf32,
    "products, older": torch.get_float32_matmul_precision,
}


def switches() -> dict[str, Any]:
    """Return all that torch says of the precision of float32; "refused" where its two kinds of switches disagree."""
    values = {}
    for name, switch in SWITCHES.items():
        try:
            values[name] = switch()
        except RuntimeError:
            values[name] = "refused"
    return values


def exact(values: dict[str, Any]) -> bool:
    return [values[name] for name in ("cudnn.conv", "cudnn.rnn", "cuda.matmul")] == ["ieee"] * 3


def newer(**values: str) -> Callable[[], None]:
    def act() -> None:
        for name, value in values.items():
            switch = {"conv": backends.cudnn.conv, "matmul": backends.cuda.matmul, "every": backends}[name]
            switch.fp32_precision = value

    return act


STATES: dict[str, Callable[[], None]] = {
    "as torch begins": lambda: None,
    "convolutions off": lambda: setattr(backends.cudnn, "allow_tf32", False),
    "products on": lambda: setattr(backends.cuda.matmul, "allow_tf32", True),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "newer, consistent": newer(matmul="ieee"),
    "newer, of which the older know nothing": newer(conv="ieee", matmul="tf32"),
    "newer, of all": newer(every="tf32"),
}


@pytest.fixture(autouse=True)
def _as_torch_begins() -> Iterator[None]:
    before = switches()
    yield
    backends.fp32_precision = "none"
    backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    backends.cuda.matmul.fp32_precision = backends.mkldnn.matmul.fp32_precision = "none"
    assert switches() == before


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_products_are_exact_inside_and_all_switches_are_put_back(state: Callable[[], None]) -> None:
    state()
    before = switches()
    with exact_products("cuda:1"):
        inside = switches()
    assert exact(inside)
    older = [name for name in SWITCHES if "older" in name]
    assert all(inside[name] in (False, "highest", "refused") for name in older)
    assert all(inside[name] != "refused" for name in older if "refused" not in [before[each] for each in older])
    assert switches() == before


def test_the_last_of_several_blocks_puts_back_and_an_error_does_too() -> None:
    before, first, second = switches(), ExitStack(), ExitStack()
    first.enter_context(exact_products("cuda"))
    second.enter_context(exact_products("cuda"))
    first.close()
    assert exact(switches())
    second.close()
    assert switches() == before
    with pytest.raises(ZeroDivisionError), exact_products("cuda"):
        raise ZeroDivisionError
    assert switches() == before


def test_nothing_is_switched_on_a_processor() -> None:
    before = switches()
    for device in ("cpu", CPU):
        with exact_products(device):
            assert switches() == before


class Products(TorchFunctionMode):  # type: ignore[misc]
    """Notes at every product and convolution whether TF32 is off."""

    def __init__(self) -> None:
        self.exact: dict[str, set[bool]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.bmm, torch.baddbmm, torch.conv2d, torch.nn.functional.linear):
            self.exact.setdefault(func.__name__, set()).add(exact(switches()))
        return func(*args, **(kwargs or {}))


def _module() -> Any:
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 3))


@pytest.mark.parametrize(
    ("recipe", "products"),
    [
        (Network(hidden=(8,), epochs=2), {"bmm", "baddbmm", "linear"}),
        (Network(kind="cnn", hidden=(8,), channels=(4,), kernel=3, epochs=2), {"conv2d", "linear"}),
        (ModuleRecipe(_module, epochs=2), {"conv2d", "linear"}),
    ],
    ids=["group", "convolutions", "module"],
)
def test_whatever_multiplies_on_the_path_of_a_gpu_does_so_in_float32(
    monkeypatch: pytest.MonkeyPatch, recipe: Any, products: set[str]
) -> None:
    """Training, answers and deletions on the path of a GPU, on the processor, where the switches change nothing."""
    for module in (training, module_training, importlib.import_module("miaudit.recipes.opened")):
        monkeypatch.setattr(module, "device_of", lambda name: CPU)
    X, y = np.random.default_rng(0).normal(size=(40, 6, 6)).astype(np.float32), np.arange(40) % 3
    X = X[:, None] if isinstance(recipe, ModuleRecipe) else X
    before, seen = switches(), {}
    for device in ("cuda", "cpu"):
        with Products() as mode:
            model = replace(recipe, device=device).fit(X, y, classes=3, seed=1)
            model.predict_proba(X)
            fine_tuned(Descent(model, X, y, y == 1, seed=1), epochs=1, rate=0.01, batch=20)
            relearning_steps(model, X, y, seed=1)
        seen[device] = mode.exact
    assert seen["cuda"] == {name: {True} for name in products}
    assert {False} == set().union(*seen["cpu"].values())
    assert switches() == before
