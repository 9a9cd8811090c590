"""Recipes from what people give: an estimator, import paths in a plan, or a function in a file."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import PlanError, reason_of, with_article
from miaudit.libraries import require_torch
from miaudit.plugins import plugin
from miaudit.recipes.command import CommandRecipe
from miaudit.recipes.estimator import EstimatorRecipe
from miaudit.recipes.function import TrainingRecipe
from miaudit.recipes.listed import made_estimator
from miaudit.recipes.parameters import refuse_parameters, refuse_untold
from miaudit.recipes.recipe import Model, Placeable, Recipe, Shortenable, Staged, Wrapping
from miaudit.recipes.regressor import RegressorRecipe
from miaudit.targets.classes import no_classifier
from miaudit.threads import is_device

Task = Literal["classification", "regression"]
"""What models answer: a class, or a real number."""


def as_recipe(thing: Any, *, classes: tuple[Any, ...] | None = None, task: Task = "classification") -> Recipe:
    """Return a recipe: the thing itself if it is one, or a recipe that trains clones of an estimator, or calls a function.

    Of a regression the models must have ``predict``, which answers (n,) numbers.

    Raises
    ------
    PlanError
        If it is neither, a class, an estimator whose parameters cannot be trained with, or a recipe that has a part of its
        training done by one that it wraps.
    """
    if isinstance(thing, type):
        name = thing.__name__
        raise PlanError(
            f"the recipe is the class {name}, not one of its objects; create it, as {name}(...), or give ModuleRecipe({name}) "
            "where it is a module of torch"
        )
    if isinstance(thing, Recipe):
        own = {*dir(type(thing)), *getattr(thing, "__dict__", {})}
        lent = [
            name for name in ("fit_many", "placed", "shortened", "around") if name not in own and hasattr(thing, name)
        ]
        if lent:
            raise PlanError(
                f"the recipe {type(thing).__name__} takes {', '.join(lent)} from a recipe that it wraps, by which models "
                "would be trained without it: let it define them, or not hand them on in __getattr__; with inner and around "
                "(see miaudit.recipes.Wrapping) it is placed and shortened as the recipe within"
            )
        return thing
    if hasattr(thing, "get_params"):
        refuse_untold(thing)
        if task != "regression" and (what := no_classifier(thing)) is not None:
            hint = ', or say task = "regression" where the labels are numbers to predict' if "regress" in what else ""
            raise PlanError(
                f"the recipe {type(thing).__name__} is {what}, and the labels are classes: name a classifier{hint}"
            )
        recipe: Recipe = RegressorRecipe(thing) if task == "regression" else EstimatorRecipe(thing, classes)
        refuse_parameters(thing)
        return recipe
    if inspect.isroutine(thing) or isinstance(thing, functools.partial):
        return TrainingRecipe(thing)
    raise PlanError(_no_recipe(with_article(type(thing).__name__)))


def recipe_of_target(
    model: Any, *, needed: bool = True, classes: tuple[Any, ...] | None = None, task: Task = "classification"
) -> Recipe:
    """Return the recipe that a trained model itself is, as `as_recipe`; a function that answers is none.

    Unless one is ``needed``, a model that does not say how it was trained has `NoRecipe`.

    Raises
    ------
    PlanError
        If the model does not say how it was trained.
    """
    try:
        if inspect.isroutine(model) or isinstance(model, functools.partial):
            raise PlanError(_no_recipe("a function that answers"))
        return as_recipe(model, classes=classes, task=task)
    except PlanError:
        if needed:
            raise
        return NoRecipe()


@dataclass(frozen=True)
class NoRecipe:
    """In place of a recipe where no model is to be trained."""

    name: str = "none"

    def describe(self) -> dict[str, Any]:
        """Return that there is none."""
        return {"recipe": self.name}

    def fit(self, X: Any, y: NDArray[np.int64], *, classes: int, seed: int) -> Model:
        """Refuse to train."""
        raise PlanError(_no_recipe("no recipe"))


def _no_recipe(what: str) -> str:
    return (
        f"shadow models must be trained as the target was, and {what} does not say how: give recipe= a "
        "scikit-learn estimator, your own training function train(X, y, seed) -> model, or miaudit.recipes.Network(...) or "
        "ModuleRecipe(...) for a torch network"
    )


def device_name(recipe: Recipe) -> str:
    """Return where a recipe trains, "cpu", "cuda" or "cuda:1": what its attribute ``device`` says, if it has one."""
    device = getattr(innermost(recipe), "device", "cpu")
    return device if is_device(device) else "cpu"


def refuse_few(recipe: Recipe, records: int, classes: int) -> None:
    """Refuse a recipe that deals records or classes out to more shards than they are, itself or within another.

    Raises
    ------
    PlanError
        With the numbers of both.
    """
    if (refuse := getattr(recipe, "refuse_few", None)) is not None:
        refuse(records, classes)
    elif isinstance(recipe, Wrapping):
        refuse_few(recipe.inner, records, classes)


def innermost(recipe: Recipe) -> Recipe:
    """Return the recipe behind encoders and the like, or the recipe itself where there are none."""
    return innermost(recipe.inner) if isinstance(recipe, Wrapping) else recipe


def labels_only(recipe: Recipe) -> bool:
    """Whether a recipe is known to make models that answer labels and no probabilities."""
    return bool(getattr(innermost(recipe), "labels_only", False))


def shortened(recipe: Recipe) -> tuple[Recipe, int] | None:
    """Return a recipe that does a part of the training, and how many times as long the whole takes; None if none does."""
    if isinstance(recipe, Wrapping):
        part = shortened(recipe.inner)
        return None if part is None else (recipe.around(part[0]), part[1])
    return recipe.shortened() if isinstance(recipe, Shortenable) else None


def staged(recipe: Recipe, folder: Path | None) -> Recipe:
    """Return the recipe with the states of its trainings in a folder, if it has states; None: in none."""
    if isinstance(recipe, Staged):
        return recipe.staged(None if folder is None else str(folder))
    if isinstance(recipe, Wrapping):
        inner = staged(recipe.inner, folder)
        return recipe if inner is recipe.inner else recipe.around(inner)
    return recipe


def is_staged(recipe: Recipe) -> bool:
    """Whether trainings of a recipe pass through states."""
    return isinstance(recipe, Staged) or (isinstance(recipe, Wrapping) and is_staged(recipe.inner))


def placed(recipe: Recipe, *, device: str = "cpu", dtype: str | None = None, here: bool = True) -> Recipe:
    """Return the recipe on a device and in a type of numbers.

    Parameters
    ----------
    device
        "cpu" leaves the recipe as it is; "cuda" puts it on an NVIDIA GPU, "cuda:1" on the second; "auto" does so where it can.
    dtype
        "float32" or "bfloat16" for a network's products; None leaves the recipe's own.
    here
        Whether it is this machine that trains, so that the device must be there.

    Raises
    ------
    PlanError
        If there is no such device or type, or the recipe is none of a network.
    """
    if isinstance(recipe, Wrapping):
        inner = placed(recipe.inner, device=device, dtype=dtype, here=here)
        return recipe if inner is recipe.inner else recipe.around(inner)
    if not isinstance(recipe, Placeable):
        if device.startswith("cuda") and device_name(recipe) == "cpu":
            raise PlanError(
                [("device", f"{recipe.name} is no torch network and trains on the processor; leave it out")]
            )
        if dtype is not None:
            raise PlanError([("dtype", f"{recipe.name} is no torch network and has a type of its own; leave it out")])
        return recipe
    if dtype not in (None, "float32", "bfloat16"):
        raise PlanError([("dtype", f"got {dtype!r}; allowed: float32 or bfloat16")])
    if isinstance(innermost(recipe), TrainingRecipe | CommandRecipe):  # which know how to get there
        return recipe if device in ("cpu", "auto") and dtype is None else recipe.placed(device, dtype)
    where = recipe.device
    if device != "cpu":
        require_torch()
        import torch

        if device == "auto" and torch.cuda.is_available():
            where = "cuda"
        elif device.startswith("cuda"):
            from miaudit.recipes.training import device_of

            where = str(device_of(device)) if here else device
    return recipe if where == recipe.device and dtype is None else recipe.placed(where, dtype)


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
    estimators = [made_estimator(*each, allow_code=allow_code) for each in (*steps, (path, params))]
    for each in estimators:
        refuse_parameters(each)
    if len(estimators) == 1:
        return estimators[0]
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*estimators)


def recipe_of_plugin(name: str, params: dict[str, Any], *, task: Task = "classification") -> Recipe:
    """Return the recipe that an installed package declares under a name.

    Raises
    ------
    PlanError
        If there is none, it cannot be made with these parameters, or is neither a recipe nor an estimator.
    """
    declared = plugin("recipes", name)
    thing = declared.make(params)
    if not isinstance(thing, Recipe) and not hasattr(thing, "get_params"):
        raise declared.problem(
            f"returns {with_article(type(thing).__name__)}, which is neither a recipe nor an estimator"
        )
    return as_recipe(thing, task=task)


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
    except (Exception, SystemExit) as error:
        raise PlanError(f"{path} failed: {reason_of(error)}") from error


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
        path_of = Path(module.__file__ or "").resolve()
    except (Exception, SystemExit) as error:
        raise PlanError(f"{source} cannot be imported: {reason_of(error)}") from error
    if path_of != source.resolve():
        raise PlanError(f"the name {source.stem} of {source} is taken by {path_of}; give the file another name")
    function = getattr(module, name, None)
    if not callable(function):
        raise PlanError(f"{source} has no function {name!r}")
    found_function: Callable[..., Any] = function
    return found_function
