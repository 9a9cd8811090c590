"""A deletion on a few records before hours are spent: what a procedure cannot do, it says then."""

from __future__ import annotations

from typing import Any

import numpy as np

from miaudit.data.records import take_records
from miaudit.errors import MiauditError, PlanError, counted, reason_of
from miaudit.recipes import shortened
from miaudit.seeds import child_seed
from miaudit.shadows.guard import contained
from miaudit.targets import as_target
from miaudit.unlearning.case import DeletionCase
from miaudit.unlearning.unlearned import Unlearned

_A_CLASS, _MOST = 8, 400


def rehearse(of: DeletionCase) -> None:
    """Train a model on a few records, make it forget some, and ask it.

    Where a model cannot be trained on so few, nothing is concluded.

    Raises
    ------
    PlanError
        If the procedure fails, or returns what answers other classes.
    """
    case, dataset = of.case, of.case.dataset
    y = dataset.y[of.training]
    order = np.concatenate([np.flatnonzero(y == label)[:_A_CLASS] for label in np.unique(y)])[:_MOST]
    index = of.training[np.sort(order)]
    labels = dataset.y[index]
    part = shortened(case.recipe)
    recipe = case.recipe if part is None else part[0]
    seed = child_seed(case.seed, "rehearsal")
    forget = np.zeros(len(index), bool)
    if of.removed is not None:
        forget[:] = labels == of.removed
    else:
        forget[:: max(2, len(index) // max(1, len(index) // 4))] = True
    classes = dataset.width
    try:
        with contained():
            model = recipe.fit(take_records(dataset.X, index), labels, classes=classes, seed=seed)
    except Exception:
        return  # the models themselves will say what is wrong
    unlearned = Unlearned(recipe, of.procedure)
    what = f"the procedure {of.procedure.name!r} failed on {counted(len(index), 'record')} before anything was trained"
    try:
        with contained():
            after = unlearned.forget(
                model, take_records(dataset.X, index), labels, forget=forget, classes=classes, seed=seed
            )
    except MiauditError as error:
        raise PlanError([("unlearning.procedure", f"{what}: {error}")]) from error
    except Exception as error:
        raise PlanError([("unlearning.procedure", f"{what}: {reason_of(error)}")]) from error
    _check_answers(after, take_records(dataset.X, index[:4]), len(dataset.classes), of.procedure.name)


def _check_answers(model: Any, X: Any, classes: int, name: str) -> None:
    try:
        answers = as_target(model, classes=classes).answer(X).probabilities
    except MiauditError as error:
        raise PlanError(
            [
                (
                    "unlearning.procedure",
                    f"{name!r} returned what does not answer the {classes} classes of the data: {error}",
                )
            ]
        ) from error
    if answers.shape[1] != classes:
        raise PlanError(
            [
                (
                    "unlearning.procedure",
                    f"{name!r} returned a model of {counted(answers.shape[1], 'class', 'classes')}; the data have {classes}",
                )
            ]
        )
