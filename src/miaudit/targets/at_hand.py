"""A model at hand as a target: what it is asked with, and what is known of its answers before the first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import PlanError, counted, with_article
from miaudit.evidence.answers import Hint, Type
from miaudit.targets.classes import class_columns, classes_of, positive_class, trained_classes
from miaudit.targets.form import reads_by_name, width_of
from miaudit.targets.stages import stages_of
from miaudit.targets.target import Target
from miaudit.targets.torch_modules import TorchQuestion, is_torch_module

_OF_FUNCTIONS = ". A function that may fail now and then is asked through miaudit.targets.keep, which loses no answer"


def as_target(
    model: Any,
    *,
    classes: int,
    names: tuple[Any, ...] | None = None,
    description: str | None = None,
    outputs: Type | None = None,
    columns: Sequence[Any] | None = None,
    coded: bool = True,
    positive: Any = None,
) -> Target:
    """Return a Target around a trained model.

    Parameters
    ----------
    model
        An object with ``predict_proba`` or with ``predict``, a torch module, a model that `load_model` returned, a
        function from records to answers, or an object with ``answer``, from records to answers or `Outputs`, and any of the
        hooks that `miaudit.targets.outputs` lists. What the answers are is decided at the first query.
    classes
        Number of classes of the data.
    names
        Class names in order, matched with the model's ``classes_``, its labels, or the columns of a frame it answers.
    description
        What to call it in a report.
    outputs
        What it answers, in place of what would be decided: probabilities, logits, log-probabilities, percent, score (one
        number a record, the probability of the second of two classes), topk or labels.
    columns
        Class names in the model's order, for columns without names and for class numbers; default: the data's order.
    coded
        Whether a model's label may be the number of a class that has a name.
    positive
        Of two classes the name of the one that a single number a record is of.

    Raises
    ------
    PlanError
        If the object is none of these, is not fitted, or knows classes the data does not have.
    """
    of_class = None if positive is None else positive_class(positive, classes, names)
    if isinstance(model, Target):
        target = model.for_classes(classes, names)
        target.declare(outputs)
        target._positive = target._positive if of_class is None else of_class
        return target
    if isinstance(model, type):
        raise PlanError(f"the target is the class {model.__name__}, not a trained model; create and train it first")
    ask, hint, limit = _question(model)
    wrapped: Any = model if callable(getattr(model, "answer", None)) else None
    if callable(getattr(wrapped, "for_classes", None)):
        wrapped.for_classes(classes, names)
    if callable(getattr(wrapped, "declare", None)):
        wrapped.declare(outputs)
        outputs = None
    order = None if columns is None else _order(columns, classes, names)
    names, coded = (names, coded) if columns is None else (tuple(columns), True)
    own_classes = trained_classes(model, _name(model))
    own = order if own_classes is None else class_columns(own_classes, classes, names, coded=coded)
    target = Target(
        ask,
        classes=classes,
        columns=own if own_classes is None or order is None else order[own],
        names=names,
        width=width_of(model),
        description=description or _name(model),
        kind=outputs,
        hint=hint,
        coded=coded,
        order=order,
        limit=limit,
        positive=of_class,
        wrapped=wrapped,
    )
    target.by_name = reads_by_name(model)
    target.named = target.named or of_class is not None
    target.stages = None if wrapped is not None else stages_of(model)  # a wrapper changes the last one alone
    target.advice = _OF_FUNCTIONS if inspect.isroutine(model) else ""
    return target


def _order(columns: Sequence[Any], classes: int, names: tuple[Any, ...] | None) -> NDArray[np.int64]:
    """Return the class of the data that each column is."""
    order = class_columns(columns, classes, names, coded=False)
    if len(order) != classes:
        raise PlanError(
            [("columns", f"got {counted(len(order), 'name')}; all {classes} classes of the data are needed")]
        )
    return order


def _question(model: Any) -> tuple[Callable[[Any], Any], Any, Callable[[Any], int] | None]:
    """Return how to ask a model, what is known of its answers, and how many records it takes at a time."""
    if callable(getattr(model, "answer", None)):
        return model.answer, getattr(model, "hint", None), getattr(model, "limit", None)
    if hasattr(model, "predict_proba"):
        return model.predict_proba, Hint("probabilities", "its method is predict_proba"), None
    if is_torch_module(model):
        question = TorchQuestion(model)
        return question, question.hint, question.limit
    if hasattr(model, "predict"):
        alone = Hint("labels", "its only method is predict") if classes_of(model) is not None else None
        return getattr(model, "inplace_predict", model.predict), alone, None  # of xgboost's, the one that takes records
    if callable(model):
        return model, None, None
    raise PlanError(
        f"the target is {with_article(type(model).__name__)}; expected an object with predict_proba or predict, a "
        "torch module, or a function from records to probabilities or labels"
    )


def _name(model: Any) -> str:
    steps = getattr(model, "steps", None)
    if isinstance(steps, list) and steps:
        return " -> ".join(type(step).__name__ for _, step in steps)
    return getattr(model, "__name__", None) or type(model).__name__
