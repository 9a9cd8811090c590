"""Signals in the form of answers: one column, and what is asked beside the record itself as its variants."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError
from miaudit.evidence.rows import Floats, Population, Variants


class SignalRows(NamedTuple):
    """Signals with an axis of queries, as what evidence is made of."""

    target: Floats  # (n, q)
    shadows: Floats  # (m, r, q)
    variants: Variants | None
    bystanders: Floats | None  # (b, n, 1)


def signal_rows(
    target: ArrayLike, shadows: ArrayLike, asked: ArrayLike | None, bystanders: ArrayLike | None
) -> SignalRows:
    """Return signals of target, shadows and bystanders as rows of answers; parameters as of `Evidence.of_signals`.

    Raises
    ------
    DataError
        If they are no numbers of shapes that fit.
    """
    of_target, of_shadows = _numbers("target", target), _numbers("shadows", shadows)
    if of_target.ndim not in (1, 2) or of_shadows.ndim != of_target.ndim + 1:
        raise DataError(
            "signals must be (n,) of the target and (m, n) of the shadows, or (n, q) and (m, n, q) of q queries; got "
            f"{of_target.shape} and {of_shadows.shape}"
        )
    if of_target.ndim == 1:
        of_target, of_shadows = of_target[:, None], of_shadows[..., None]
    q = of_target.shape[1]
    if not q or of_shadows.shape[2] != q:
        raise DataError(
            f"target and shadows must hold the same queries, one at least; got {q} and {of_shadows.shape[2]}"
        )
    if q > 1 and (asked is not None or bystanders is not None):
        what = "asked" if asked is not None else "bystanders"
        raise DataError(f"{what} goes with one query about each record, there are {q}; give (n,) and (m, n) signals")
    variants = None
    if q > 1:
        variants = Variants(np.moveaxis(of_target[..., None], 1, 0)[1:], np.moveaxis(of_shadows[..., None], 2, 0)[1:])
    of_bystanders = None
    if bystanders is not None:
        of_bystanders = _numbers("bystanders", bystanders)
        if of_bystanders.ndim != 2:
            raise DataError(f"bystanders must be (b, n) signals, got shape {of_bystanders.shape}")
        of_bystanders = of_bystanders[..., None]
    return SignalRows(of_target, of_shadows, variants, of_bystanders)


def signal_population(
    target: ArrayLike | None, shadows: ArrayLike | None, features: ArrayLike | None
) -> Population | None:
    """Return signals on records that are not audited, (p,) and (m, p), as a population; None without any.

    Raises
    ------
    DataError
        If shadows or features are given without the target's signals, or are of another form.
    """
    if target is None:
        if shadows is not None or features is not None:
            what = "population_shadows" if shadows is not None else "population_features"
            raise DataError(f"{what} needs population_target beside it: the target's signals on the same records")
        return None
    of_target = _numbers("population_target", target)
    of_shadows = None if shadows is None else _numbers("population_shadows", shadows)
    if of_target.ndim != 1 or (of_shadows is not None and of_shadows.ndim != 2):
        raise DataError(
            "population_target must be (p,) signals and population_shadows (m, p); got shapes "
            f"{of_target.shape} and {None if of_shadows is None else of_shadows.shape}"
        )
    return Population(
        of_target[:, None],
        np.zeros(len(of_target), np.int64),
        shadows=None if of_shadows is None else of_shadows[..., None],
        features=None if features is None else np.asarray(features),
    )


def _numbers(name: str, values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{name} must be signals, numbers that are higher for members; got dtype {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)
