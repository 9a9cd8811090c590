"""How many cores there are, and which texts name devices."""

from __future__ import annotations

import pytest

from miaudit import threads
from miaudit.recipes import ModuleRecipe, Network, TrainingRecipe, device_name
from miaudit.threads import is_device, usable_cores


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 6), ("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("x", 6)]
)
def test_a_container_counts_by_its_quota(tmp_path, monkeypatch, limit, cores):
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert usable_cores() == cores


def test_a_container_of_the_first_version_counts_by_its_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, value in (("quota", 300000), ("period", 100000)):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(f"{value}\n")
    assert usable_cores() == 3


def test_devices():
    assert [name for name in ("cpu", "cuda", "cuda:1", "auto", "gpu", "cuda:", "cuda:1x", None) if is_device(name)] == [
        *("cpu", "cuda", "cuda:1")
    ]
    assert is_device("auto", auto=True)


def train(X, y, seed):
    return None


class Theirs:
    name, device = "theirs", "cuda:1"


def test_recipes_say_that_they_take_the_gpu_and_rows_forget_which():
    assert device_name(Theirs()) == "cuda:1"  # type: ignore[arg-type]
    recipes = [TrainingRecipe(train), Network(hidden=(3,))]
    for recipe in recipes:
        one, other = recipe.placed("cuda:0", None), recipe.placed("cuda:1", None)
        assert (device_name(one), device_name(other)) == ("cuda:0", "cuda:1")
        assert one.describe() == other.describe() != recipe.describe()
    assert ModuleRecipe(train, device="cuda:1").device == "cuda:1"
