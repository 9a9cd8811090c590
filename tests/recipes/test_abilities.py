"""Recipes of others are placed, shortened and wrapped by what they can do."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from inspect import get_annotations
from types import SimpleNamespace

import numpy as np
import pytest

from miaudit.data import load_named
from miaudit.errors import PlanError
from miaudit.mitigations.output import OutputMitigation
from miaudit.mitigations.training import TrainingMitigation
from miaudit.recipes import Encoded, ModuleRecipe, Network, as_recipe, device_name, innermost, placed, shortened
from miaudit.recipes import recipe as abilities
from miaudit.recipes.ability import Ability
from miaudit.shadows.training import Job, calibrated, is_repeated

TRAINED = []  # rounds and records
PROTOCOLS = [
    *(each for each in vars(abilities).values() if isinstance(each, Ability)),
    OutputMitigation,
    TrainingMitigation,
]


class Constant:
    def predict_proba(self, X):
        return np.full((len(X), 3), 1 / 3)


@dataclass(frozen=True)
class Theirs:
    """A recipe of somebody else's."""

    rounds: int = 40
    device: str = "cpu"
    dtype: str = "float32"
    name = "theirs"

    def describe(self):
        return {"rounds": self.rounds}

    def fit(self, X, y, *, classes, seed):
        TRAINED.append((self.rounds, len(y)))
        return Constant()

    def placed(self, device, dtype):
        return replace(self, device=device, dtype=dtype or self.dtype)

    def shortened(self):
        return replace(self, rounds=1), self.rounds


@dataclass(frozen=True)
class Defended:
    """A defence around any recipe."""

    inner: object
    name = "defended"

    def describe(self):
        return {"defended": self.inner.describe()}

    def fit(self, X, y, *, classes, seed):
        return self.inner.fit(X, y, classes=classes, seed=seed)

    def around(self, recipe):
        return Defended(recipe)


class Lending:
    """A defence that hands on all else, ``fit_many`` of the recipe within too, which knows of no defence."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def fit(self, X, y, *, classes, seed):
        return self.inner.fit(X, y, classes=classes, seed=seed)


@pytest.mark.parametrize("wrap", [lambda recipe: recipe, Defended, lambda r: Encoded(Defended(r), None)])
@pytest.mark.parametrize("recipe", [Theirs(), Network(epochs=7), ModuleRecipe(dict, epochs=7)])
def test_a_recipe_is_placed_and_shortened_by_what_it_can_do(recipe, wrap):
    on_gpu = placed(wrap(recipe), device="cuda", here=False)
    assert on_gpu == wrap(replace(recipe, device="cuda"))
    assert device_name(on_gpu) == "cuda"
    assert innermost(on_gpu) == replace(recipe, device="cuda")
    assert placed(wrap(recipe), dtype="bfloat16") == wrap(replace(recipe, dtype="bfloat16"))
    part, times = shortened(wrap(recipe))
    assert (device_name(part), type(part), times) == ("cpu", type(wrap(recipe)), 40 if recipe == Theirs() else 7)
    assert shortened(part)[1] == 1


def test_the_cost_of_a_recipe_is_told_from_a_part_of_its_training():
    TRAINED.clear()
    job = Job("", "shadow 0", np.arange(50), np.arange(0), 1)
    (found,) = calibrated([job], load_named("digits"), Defended(Theirs()))
    assert TRAINED == [(1, 50), *[(1, 12), (1, 50)] * 3]
    assert found.seconds >= 0


@dataclass(frozen=True)
class Slow(Theirs):
    """Takes a twentieth of a second for each model, and a fifth of a millisecond for each record of a round."""

    rounds: int = 100

    def fit(self, X, y, *, classes, seed):
        time.sleep(0.05 + 0.0002 * len(y) * self.rounds)
        return Constant()


def test_what_a_model_takes_once_is_not_counted_for_each_epoch():
    job = Job("", "shadow 0", np.arange(200), np.arange(0), 1)
    (cost,) = calibrated([job], load_named("digits"), Slow())
    assert 2.0 < cost.seconds < 6.0  # 4.05; one epoch a hundred times would be 9


def members(protocol):
    names = {name for each in protocol.__mro__ for name in {*vars(each), *get_annotations(each)}}
    return sorted(name for name in names if not name.startswith("_"))


class Answering:
    """What answers to names by ``__getattr__`` alone, as a wrapper does."""

    def __init__(self, **answers):
        self.answers = answers

    def __getattr__(self, name):
        try:
            return self.__dict__["answers"][name]
        except KeyError:
            raise AttributeError(name) from None


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: each.__name__)
def test_an_ability_is_found_in_attributes_of_any_origin(protocol):
    every = dict.fromkeys(members(protocol), print)
    assert isinstance(Answering(**every), protocol)
    assert isinstance(SimpleNamespace(**every), protocol)
    # A class derived from a protocol is none: its objects alone are of it.
    assert not isinstance(type("Refined", (protocol,), {})(), type("Other", (protocol,), {}))
    for name in every:
        assert not isinstance(Answering(**{each: print for each in every if each != name}), protocol)
        if callable(getattr(protocol, name, None)):
            assert not isinstance(Answering(**{**every, name: None}), protocol)


def test_what_a_recipe_cannot_do_is_said():
    plain = Defended(type("Plain", (), {part: vars(Theirs)[part] for part in ("name", "describe", "fit")})())
    assert shortened(plain) is None
    assert device_name(plain) == "cpu"
    with pytest.raises(PlanError, match="no torch network"):
        placed(plain, device="cuda")
    assert as_recipe(Defended(Network())) == Defended(Network())
    with pytest.raises(PlanError, match="takes fit_many, placed, shortened from a recipe that it wraps"):
        as_recipe(Lending(Network()))


class Wrapper:
    """Code of somebody else's around a network, which hands on all that it does not do itself."""

    def __init__(self, recipe):
        self.recipe = recipe

    def __getattr__(self, name):
        return getattr(self.recipe, name)


class Inheriting(Network):
    def fit(self, X, y, *, classes, seed):
        return Constant()


def test_that_a_network_of_ours_is_reproducible_says_nothing_of_code_around_it():
    job = Job("a", "model 0", np.arange(9), np.arange(9), 0, twice=True)
    assert not is_repeated(job, Network(), 0.1)
    assert is_repeated(job, Wrapper(Network()), 0.1)
    assert is_repeated(job, Inheriting(), 0.1)
    assert is_repeated(job, Theirs(), 0.1)
    assert not is_repeated(job, Theirs(), 60.0)
    assert not is_repeated(replace(job, twice=False), Theirs(), 0.1)
    assert not is_repeated(job, Wrapper(SimpleNamespace(remote=True)), 0.1)
