"""Recipes from what people give: an estimator, import paths in a plan, or a function in a file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from miaudit.errors import PlanError
from miaudit.recipes.encoded import Encoded
from miaudit.recipes.estimator import EstimatorRecipe
from miaudit.recipes.listed import made_estimator
from miaudit.recipes.module import ModuleRecipe
from miaudit.recipes.network import Network, require_torch
from miaudit.recipes.parameters import refuse_parameters
from miaudit.recipes.recipe import Recipe


def as_recipe(thing: Any, *, classes: tuple[Any, ...] | None = None) -> Recipe:
    """Return a recipe: the thing itself if it is one, or a recipe that trains clones of an estimator.

    Raises
    ------
    PlanError
        If it is neither, or an estimator whose parameters cannot be trained with.
    """
    if isinstance(thing, Recipe):
        return thing
    if hasattr(thing, "get_params") and not isinstance(thing, type):
        recipe = EstimatorRecipe(thing, classes)
        refuse_parameters(thing)
        return recipe
    raise PlanError(
        f"shadow models must be trained as the target was, and a {type(thing).__name__} does not say how: give recipe= a "
        "scikit-learn estimator, or miaudit.recipes.Network(...) or ModuleRecipe(...) for a torch network"
    )


def device_name(recipe: Recipe) -> str:
    """Return where a recipe trains, "cpu" or "cuda"."""
    inner = unencoded(recipe)
    return inner.device if isinstance(inner, Network | ModuleRecipe) else "cpu"


def unencoded(recipe: Recipe) -> Recipe:
    """Return the recipe behind an encoder, or the recipe itself where there is none."""
    return recipe.recipe if isinstance(recipe, Encoded) else recipe


def shortened(recipe: Recipe) -> tuple[Recipe, int] | None:
    """Return the recipe with one epoch, and its number of epochs; None if it has none."""
    if isinstance(recipe, Encoded):
        inner = shortened(recipe.recipe)
        return None if inner is None else (replace(recipe, recipe=inner[0]), inner[1])
    return (replace(recipe, epochs=1), recipe.epochs) if isinstance(recipe, Network | ModuleRecipe) else None


def placed(recipe: Recipe, *, device: str = "cpu", dtype: str | None = None, here: bool = True) -> Recipe:
    """Return the recipe on a device and in a type of numbers.

    Parameters
    ----------
    device
        "cpu" leaves the recipe as it is; "cuda" puts a network on an NVIDIA GPU; "auto" does so where it can.
    dtype
        "float32" or "bfloat16" for a network's products; None leaves the recipe's own.
    here
        Whether it is this machine that trains, so that the device must be there.

    Raises
    ------
    PlanError
        If there is no such device or type, or the recipe is none of a network.
    """
    if isinstance(recipe, Encoded):
        inner = placed(recipe.recipe, device=device, dtype=dtype, here=here)
        return recipe if inner is recipe.recipe else replace(recipe, recipe=inner)
    if not isinstance(recipe, Network | ModuleRecipe):
        if device == "cuda":
            raise PlanError(
                [("device", f"{recipe.name} is no torch network and trains on the processor; leave it out")]
            )
        if dtype is not None:
            raise PlanError([("dtype", f"{recipe.name} is no torch network and has a type of its own; leave it out")])
        return recipe
    if dtype not in (None, "float32", "bfloat16"):
        raise PlanError([("dtype", f"got {dtype!r}; allowed: float32 or bfloat16")])
    changes: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    if device != "cpu":
        require_torch()
        import torch

        if device == "auto" and torch.cuda.is_available():
            changes["device"] = "cuda"
        elif device == "cuda":
            from miaudit.recipes.training import device_of

            changes["device"] = device_of(device).type if here else device
    return replace(recipe, **changes) if changes else recipe


def named_estimator(
    path: str, params: dict[str, Any], steps: Sequence[tuple[str, dict[str, Any]]] = (), *, allow_code: bool = False
) -> Any:
    """Return an estimator made from its import path, behind transformers made from theirs.

    Parameters
    ----------
    path, params
        Import path of its class, and what that is called with.
    steps
        The same of each transformer, in order.
    allow_code
        Consent to packages and parameters outside the list, see `miaudit.recipes.listed`.

    Raises
    ------
    PlanError
        If a path is no class of estimators or needs consent, or a class refuses a parameter.
    """
    made = [made_estimator(*each, allow_code=allow_code) for each in (*steps, (path, params))]
    for each in made:
        refuse_parameters(each)
    if len(made) == 1:
        return made[0]
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*made)


def estimator_from_function(path: str) -> Any:
    """Return what ``file.py:name`` returns when called: an estimator, a pipeline or a recipe.

    Raises
    ------
    PlanError
        If there is no such file or function, or it fails.
    """
    function = function_of_file(path)
    try:
        return function()
    except Exception as error:
        raise PlanError(f"{path} failed: {type(error).__name__}: {error}") from error


def function_of_file(path: str) -> Callable[..., Any]:
    """Return the function ``file.py:name``.

    The file's folder is put on the import path, so that worker processes find the file too.

    Raises
    ------
    PlanError
        If there is no such file or function.
    """
    file, _, name = path.rpartition(":")
    source = Path(file)
    if not file or not source.is_file():
        raise PlanError(f"{path!r}: no function of a file that is there; write file.py:function")
    if str(source.parent) not in sys.path:
        sys.path.insert(0, str(source.parent))
    try:
        module = importlib.import_module(source.stem)
        found = Path(module.__file__ or "").resolve()
    except Exception as error:
        raise PlanError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error
    if found != source.resolve():
        raise PlanError(f"the name {source.stem} of {source} is taken by {found}; give the file another name")
    function = getattr(module, name, None)
    if not callable(function):
        raise PlanError(f"{source} has no function {name!r}")
    found_function: Callable[..., Any] = function
    return found_function
