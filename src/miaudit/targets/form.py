"""The forms in which models hand over answers: arrays, frames, tensors. And what a cast does to records."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterator, Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.cells import is_dressed
from miaudit.data.records import missing_values
from miaudit.errors import PlanError, TargetError, counted, noun, reason_of, with_article
from miaudit.targets.classes import class_columns


def array_of(answer: Any) -> NDArray[Any]:
    """Return an answer as an array.

    Raises
    ------
    TargetError
        If it is several arrays, as of a model with several outputs, or lists of different lengths; or has no value for
        some records, or no place for each.
    """
    if hasattr(answer, "toarray"):
        raise TargetError(
            f"the target answered a sparse {type(answer).__name__}; let it answer a dense array, as answers.toarray() returns"
        )
    if answer is None or isinstance(answer, Mapping | Set | Iterator | Awaitable):
        if inspect.iscoroutine(answer):
            answer.close()  # else Python warns of what nobody awaits
        wait = (
            ": give a function that waits, as lambda X: asyncio.run(f(X)) does" if isinstance(answer, Awaitable) else ""
        )
        raise TargetError(
            f"the target answered {'None' if answer is None else with_article(type(answer).__name__)}; expected an array or a "
            f"list with one row per record, in the order of the records{wait}"
        )
    if isinstance(answer, np.ma.MaskedArray) and np.ma.getmaskarray(answer).any():
        raise TargetError(
            "the target answered a masked array in which "
            f"{counted(int(np.ma.getmaskarray(answer).sum()), 'value is', 'values are')} masked; every "
            "answer must be a number: fill them (answers.filled(0)), if that is what the model means"
        )
    if hasattr(answer, "detach"):  # a tensor of torch, whose bfloat16 numpy does not know
        answer = answer.detach().cpu()
        answer = answer.float() if "bfloat16" in str(answer.dtype) else answer
    if isinstance(answer, list | tuple) and answer and all(getattr(each, "ndim", 0) == 2 for each in answer):
        raise TargetError(
            f"the target answered {counted(len(answer), 'array')}, as a model with several outputs does; "
            "give a function that returns the answers of one"
        )
    try:
        array = np.asarray(answer)
    except ValueError as error:
        raise TargetError(f"the target's answer cannot be read as an array: {error}") from None
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def width_of(model: Any) -> int | None:
    """Return how many features a model says it was trained on, if it says so."""
    width = getattr(model, "n_features_in_", None)
    return int(width) if isinstance(width, int | np.integer) and width > 0 else None  # CatBoost's from a file says 0


def reads_by_name(model: Any) -> bool:
    """Whether a model finds the columns of a frame by name alone, so that a frame may lack those that it does not read.

    scikit-learn's ColumnTransformer refuses a frame that lacks a column which it reads, and takes one that lacks another.
    Where one names its columns by position, models trained on the narrower frame would read others. So would any other part
    that meets the frame as it is, as a function may, for all that is known.
    """
    return getattr(model, "feature_names_in_", None) is not None and _by_name(model)


def _by_name(part: Any) -> bool:
    """Whether what a part of scikit-learn, or of imbalanced-learn, hands its frame to first reads columns by name alone."""
    if type(part).__module__.partition(".")[0] not in ("sklearn", "imblearn"):
        return False
    if transformers := getattr(part, "transformers", None):  # of a ColumnTransformer
        columns = [name for step in transformers for name in np.atleast_1d(np.asarray(step[-1], object))]
        return all(isinstance(name, str) for name in columns)
    if steps := getattr(part, "steps", None):
        return _by_name(steps[0][1])
    if several := getattr(part, "transformer_list", None) or getattr(part, "estimators", None):  # of a union, of a vote
        return all(_by_name(each[1]) for each in several)
    wrapped = [getattr(part, name, None) for name in ("estimator", "regressor")]  # as by a search over options
    return any(map(_by_name, wrapped))


def texts_in_a_table(X: Any, answers: int | None = None) -> str:
    """Return what to do where a text pipeline seems to have been given a table; empty where it was not.

    scikit-learn's vectorizers take a sequence of texts. Given a frame they read its column names, one answer each, and
    given a table of objects they fail on its rows.

    Parameters
    ----------
    X
        The records.
    answers
        How many answers came, where any did.
    """
    columns = getattr(X, "columns", None)
    if columns is not None and answers == len(columns):
        name = columns[0]
        return (
            ". As many answers as columns are what a text pipeline gives that is handed a frame: it reads the names of the "
            f"columns as texts. Give the column of texts itself, as X[{name!r}], or put scikit-learn's ColumnTransformer "
            "before it and train again"
        )
    if answers is None and isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "O" and X.shape[1] == 1:
        return ". If it reads texts, give them as one flat list or column, as X[:, 0], not as a table of one column"
    return ""


def odd_cells(X: Any) -> str:
    """Return what to say of a table on which a model failed, and of which a column lacks values, or writes numbers oddly.

    A pipeline may well read such cells, so that they are no error before.
    """
    if hasattr(X, "columns"):
        columns = {repr(name): np.asarray(X[name]).ravel() for name in X.columns}
    elif isinstance(X, np.ndarray) and X.ndim == 2:
        columns = {str(i): column for i, column in enumerate(X.T)}
    else:
        return ""
    for name, column in columns.items():
        if absent := int(missing_values(column).sum()):
            return (
                f". {counted(absent, 'value')} of column {name} {noun(absent, 'is', 'are')} missing: if the model was trained "
                "on records that lack none, fill them in, or leave those records out"
            )
        texts = column.tolist() if column.dtype.kind in "OUT" else ()
        if text := next((each for each in texts if isinstance(each, str) and is_dressed(each)), None):
            return (
                f". Column {name} holds texts such as {text!r}: if the model was trained on numbers, write them as 1234.5, "
                "without signs and separators of thousands"
            )
    return ""


def columns_of_frame(
    answer: Any, X: Any, classes: int, names: tuple[Any, ...] | None, *, coded: bool
) -> NDArray[np.int64] | None:
    """Return the class of each column of a frame, by the columns' names; None if the answer has no names for them.

    Raises
    ------
    TargetError
        If names are not the data's classes, or the rows are in another order than the records.
    """
    _check_order(answer, X)
    columns = getattr(answer, "column_names", getattr(answer, "columns", None))  # of pyarrow's tables, and of frames
    if columns is None or len(columns) < 2 or type(columns).__name__ == "RangeIndex":
        return None
    try:
        return class_columns(list(columns), classes, names, coded=coded)
    except PlanError as error:
        raise TargetError(
            f"the target answered a frame whose columns are not the data's classes: {error}. Name the columns by the "
            "classes, or answer an array in class order"
        ) from None


def _check_order(answer: Any, X: Any) -> None:
    own, own_index = getattr(answer, "index", None), getattr(X, "index", None)
    if own is None or callable(own) or callable(own_index) or not own.is_unique:
        return
    if own_index is None:  # records without an index are numbered
        numbers = np.arange(len(own))
        reordered = own.dtype.kind in "iu" and not (own == numbers).all() and bool((np.sort(own) == numbers).all())
    else:
        reordered = (
            len(own) == len(own_index)
            and not own.equals(own_index)
            and own.sort_values().equals(own_index.sort_values())
        )
    if reordered:
        raise TargetError(
            "the target answered a frame whose index has another order than the records'; keep their order"
        )


def cast(records: NDArray[Any], dtype: Any, what: str) -> NDArray[Any]:
    """Return records in the type a model takes, if that changes no more of them than its rounding.

    Parameters
    ----------
    records
        Numbers.
    dtype
        A numpy type.
    what
        Who takes it, for the message.

    Raises
    ------
    TargetError
        If a fraction would be cut off, a whole number become another, or a number overflow or vanish.
    """
    dtype = np.dtype(dtype)
    if records.dtype == dtype:
        return np.ascontiguousarray(records)
    if records.dtype.kind not in "biuf":
        try:
            records = records.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TargetError(
                f"{what} takes numbers ({dtype}), and the records hold something else: {reason_of(error)}. Give records as "
                "arrays of numbers of one length, tokens padded, or a function that makes them so and asks the model"
            ) from None
    with np.errstate(all="ignore"):
        result: NDArray[Any] = np.ascontiguousarray(records, dtype=dtype)
    if dtype.kind in "biu":
        if not (result == records).all():
            raise TargetError(
                f"{what} takes {dtype} and would cut the records' fractions off, or change numbers too large for it; give "
                f"numbers that {dtype} holds"
            )
        return result
    check_rounding(records, result.astype(np.float64), what, str(dtype))
    return result


def check_rounding(records: NDArray[Any], result: NDArray[np.float64], what: str, dtype: str) -> None:
    """Refuse a cast that makes a whole number another one, or lets a number overflow or a column vanish.

    Raises
    ------
    TargetError
        Naming one such number.
    """
    whole = records == np.round(records) if records.dtype.kind == "f" else np.ones(records.shape, bool)
    with np.errstate(all="ignore"):
        differs = whole & (result != records) & np.isfinite(records)
        overflow = np.isfinite(records) & (~np.isfinite(result) | ((result == 0) & (records != 0)))
        tiny = overflow & np.isfinite(result)
        if tiny.any():  # what is next to nothing in its column may vanish
            scale = np.abs(np.where(np.isfinite(records), records, 0)).max(axis=0, keepdims=True)
            overflow &= ~(tiny & (np.abs(records) < 1e-6 * scale))
    wrong = differs | overflow
    if wrong.any():
        first = tuple(int(i[0]) for i in np.nonzero(wrong))
        raise TargetError(
            f"{what} takes {dtype}, which would change the records: {records[first]!s} in record {first[0]} becomes "
            f"{result[first]:.10g}. Give the records in the form and range the model was trained on"
        )
