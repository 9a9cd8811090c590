"""Saved scikit-learn models, whose clones are the shadow models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miaudit.auditing.from_model import model_classes
from miaudit.data import Dataset
from miaudit.errors import PlanError, with_article
from miaudit.plan.permissions import Permissions
from miaudit.recipes import Recipe, Task, as_recipe, is_regressor
from miaudit.targets import load_model
from miaudit.targets.classes import trained_classes
from miaudit.targets.files import file_format


def saved_estimator(path: Path, permissions: Permissions) -> Any:
    """Return the scikit-learn estimator or pipeline in a skops, joblib or pickle file.

    Raises
    ------
    PlanError
        If the file is of another format, or must not be read, or holds anything else.
    """
    advice = "name the recipe in a plan (docs/plans.md), and run it with miaudit run"
    kind = file_format(path)
    if kind not in ("skops", "pickle"):
        raise PlanError(f"{path} is {with_article(kind)} file, which does not say how the model was trained: {advice}")
    model = load_model(path, allow_pickle=permissions.allow_pickle, trusted=tuple(permissions.trusted))
    if not hasattr(model, "get_params") or not hasattr(model, "fit"):
        parts = (
            [key for key, part in model.items() if hasattr(part, "get_params")] if isinstance(model, Mapping) else []
        )
        if parts:
            raise PlanError(
                f"{path} holds {with_article(type(model).__name__)} with estimators as its entries {parts[:5]}, and "
                "no estimator: save the trained model alone"
            )
        raise PlanError(
            f"{path} holds {with_article(type(model).__name__)}, which is no scikit-learn estimator or pipeline and "
            f"does not say how it was trained: {advice}"
        )
    if not is_regressor(model):
        trained_classes(model, f"in {path}")  # which refuses one that is not fitted
    if not hasattr(model, "predict_proba") and not hasattr(model, "predict"):
        raise PlanError(
            f"{path} holds {with_article(type(model).__name__)} that has neither predict_proba nor predict, so it cannot be "
            "asked; save a model that predicts, such as the whole pipeline, or a search with refit=True"
        )
    return model


def recipe_of_clones(model: Any, dataset: Dataset, *, task: Task) -> Recipe:
    """Return the recipe that trains clones of a model, on its own classes where they are those of the data."""
    classes = None if task == "regression" else model_classes(model)
    by_name = {str(each): each for each in classes or ()}
    if set(by_name) != set(dataset.classes):
        return as_recipe(model, task=task)
    return as_recipe(model, classes=tuple(by_name[name] for name in dataset.classes), task=task)
