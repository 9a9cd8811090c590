"""Which class of the data a model's label, or the column of its answer, is: told by name, or refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import PlanError, TargetError

_TRUTHS = {"False": "0", "True": "1"}


def classes_of(model: Any) -> list[Any] | None:
    """Return a model's ``classes_`` as a list; None if it has none.

    Raises
    ------
    PlanError
        If it is no list of labels, as that of a model with several outputs.
    """
    try:
        classes = model.classes_
    except AttributeError:
        return None
    try:
        labels = np.asarray(classes)
    except ValueError:
        labels = np.empty((0, 0))
    if labels.ndim == 2 and len(labels) == 1:
        labels = labels[0]
    if labels.ndim != 1 or not len(labels):
        raise PlanError(
            f"the model's classes_ is {str(classes)[:80]}, not one list of labels: a model with several outputs is audited one "
            "output at a time; give a function that returns the answers of one"
        )
    plain: list[Any] = labels.tolist()
    return plain


def class_columns(
    own_names: Any, classes: int, names: Sequence[Any] | None, *, coded: bool = True
) -> NDArray[np.int64]:
    """Return the class number of each of a model's columns.

    Parameters
    ----------
    own_names
        The model's ``classes_``: class names, or class numbers.
    classes
        Number of classes of the data.
    names
        Class names in order; None if they are the numbers.
    coded
        Whether a number may stand for the class of this number though the class has a name.

    Raises
    ------
    PlanError
        If a label of the model is not a class of the data, or stands there twice, or is the number of a named class and
        ``coded`` is false.
    """
    labels = np.asarray(own_names).tolist()
    numbers = _numbers(labels, classes, names, coded)
    if numbers is None:
        own = [str(name) for name in (names or range(classes))]
        unknown = [label for label in map(_text, labels) if label not in own]
        raise PlanError(
            f"the model knows classes the data does not have: {unknown[:5]}; the data's {classes} classes are "
            f"{own[:10]}{'...' if classes > 10 else ''}{_advice(unknown, classes, own)}"
        )
    if len(set(numbers)) < len(numbers):
        raise PlanError(f"the model names a class twice: {[str(label) for label in labels][:10]}")
    return np.array(numbers, dtype=np.int64)


def positive_class(positive: Any, classes: int, names: Sequence[Any] | None) -> int:
    """Return the number of the class that a single number a record is of.

    Raises
    ------
    PlanError
        If there are not two classes, or it is none of them.
    """
    if classes != 2:
        raise PlanError(
            [("positive", f"names the class that one number a record is of; of {classes} classes there is none")]
        )
    number = _numbers([positive], classes, names, names is None)
    if number is None:
        own = [str(name) for name in (names or range(classes))]
        raise PlanError([("positive", f"must be one of the classes {own}; got {positive!r}")])
    return number[0]


def larger_of_two(names: Sequence[Any] | None) -> int | None:
    """Return which of two classes is the larger number, or the true one; None where their names are neither."""
    if names is None:
        return 1
    texts = [_truth(name) for name in names]
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return None if numbers[0] == numbers[1] else int(numbers[1] > numbers[0])


_OTHERS = {
    "regressor": "a regressor",
    "clusterer": "a clusterer",
    "outlier_detector": "a detector",
    "density_estimator": "a density estimator",
}


def trained_classes(model: Any, name: str) -> list[Any] | None:
    """Return the classes that a model was trained on, where it says so.

    Raises
    ------
    PlanError
        If it is not fitted, or no classifier.
    """
    own = classes_of(model)
    if own is not None or not hasattr(model, "get_params"):
        return own
    if not hasattr(model, "__sklearn_tags__"):  # like scikit-learn's, which before 1.7 takes it for unfitted
        return None
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError):
        raise PlanError(
            f"the target {name} is not fitted: train it before the audit, or give a plan that does"
        ) from None
    except AttributeError:  # its tags are those of a class that has none
        return None
    if (what := no_classifier(model)) is not None:
        raise PlanError(f"the target {name} is {what}, and an audit is of classifiers")
    return None


def no_classifier(model: Any) -> str | None:
    """Return what an estimator is, by scikit-learn's tags, that is no classifier; None for one, and where tags do not say."""
    from sklearn.utils import get_tags

    try:
        kind = get_tags(model).estimator_type
    except Exception:  # of other libraries: tags of others may be missing, or fail
        return None
    return _OTHERS.get(kind or "")


def class_numbers(
    labels: NDArray[Any], classes: int, names: Sequence[Any] | None, start: int = 0, *, coded: bool = True
) -> NDArray[np.int64]:
    """Return (n,) class numbers of a target's labels, which may be class names or class numbers.

    Raises
    ------
    TargetError
        If a label is not a class of the data, or is the number of a named class and ``coded`` is false.
    """
    try:
        values, inverse = np.unique(labels.astype(object) if labels.dtype.kind == "O" else labels, return_inverse=True)
    except TypeError:  # objects without an order, such as tables or mixed types
        kinds = sorted({type(label).__name__ for label in labels.tolist()})
        raise TargetError(
            f"the target answered one {' or '.join(kinds)} per record, such as {labels[0]!a:.60}; answer one number per class, "
            "or one label"
        ) from None
    numbers = _numbers(values.tolist(), classes, names, coded)
    if numbers is not None:
        return np.array(numbers, dtype=np.int64)[inverse.reshape(-1)]
    texts, own = [_text(value) for value in values.tolist()], [str(name) for name in (names or range(classes))]
    unknown = [text for text in texts if text not in own]
    row = int(np.flatnonzero(inverse.reshape(-1) == texts.index(unknown[0]))[0]) if unknown else 0
    raise TargetError(
        f"the target answered one value per record, and {unknown[:5]} are not classes of the data (first for record "
        f"{start + row}); its {classes} classes are {own[:10]}{'...' if classes > 10 else ''}. A probability of "
        f"one class only is not enough: answer one number per class{_advice(unknown, classes, own)}"
    )


def _numbers(labels: list[Any], classes: int, names: Sequence[Any] | None, coded: bool) -> list[int] | None:
    """Return the class numbers of labels, by their names, or all by numbers where that is allowed; else None."""
    for text_of in (str, _text, _truth):  # "1" and "1.0" may be two classes
        by_name = {text_of(name): i for i, name in enumerate(names or range(classes))}
        texts = [text_of(label) for label in labels]
        if len(by_name) == classes and all(text in by_name for text in texts):
            return [by_name[text] for text in texts]
    by_number = {str(i): i for i in range(classes)}
    texts = [_truth(label) for label in labels]
    if coded and all(text in by_number for text in texts):
        return [by_number[text] for text in texts]
    return None


def _text(label: Any) -> str:
    """Return a label as text; 1, 1.0 and "1.0" are one label."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    text = str(label)
    return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", text) else text


def _truth(label: Any) -> str:
    """Return a label as text, in which false and true are 0 and 1."""
    text = _text(label)
    return _TRUTHS.get(text, text)


def _advice(unknown: Sequence[str], classes: int, own: Sequence[str]) -> str:
    """Return what to do where a model's labels are no classes of the data."""
    numbers = {*map(str, range(classes)), *_TRUTHS}
    if unknown and all(text in numbers for text in unknown):
        return (
            ". These may be the numbers of classes, but the data numbers its classes by the alphabet, and the model may not: "
            "say the class names in the model's order (columns of [target] in a plan, columns= in Python)"
        )
    plain = {" ".join(name.split()).casefold(): name for name in own}
    for text in unknown:
        if (alike := plain.get(" ".join(text.split()).casefold())) is not None:
            return f". {text!r} and {alike!r} differ in blanks or capitals alone: write the data's labels as the model does"
    return ". Write the data's labels as the model was trained on them" if len(unknown) == classes else ""
