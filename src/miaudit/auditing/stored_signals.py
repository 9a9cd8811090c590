"""Stored signals: one number per answer, higher for members, as evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.layout import OF_SIGNALS, SIGNALS
from miaudit.data.naming import check_names
from miaudit.errors import DataError, counted
from miaudit.evidence import Bools, Evidence, Ints

__all__ = ["OF_SIGNALS", "signal_evidence"]


def signal_evidence(
    arrays: dict[str, NDArray[Any]],
    n: int,
    *,
    inside: Bools | None,
    records: Ints | None,
    people: Ints | None,
    features: NDArray[Any] | None,
    population_features: NDArray[Any] | None,
) -> Evidence:
    """Return evidence of the signals of n audited records.

    Raises
    ------
    DataError
        If the arrays do not fit one another; the message has their names in the file.
    """
    target, shadows = arrays[OF_SIGNALS], arrays.get("signal_shadows")
    if target.ndim not in (1, 2) or len(target) != n:
        raise DataError(
            f"signal_target must be {SIGNALS['signal_target']}, for the {counted(n, 'record')} of member; its shape "
            f"is {target.shape}"
        )
    rows = "(m, r)" if records is not None else "(m, n)" if target.ndim == 1 else "(m, n, q)"
    if shadows is None:
        shadows, inside = np.empty((0, *target.shape)), np.empty((0, n), bool)
    if shadows.ndim != target.ndim + 1 or (records is None and shadows.shape[1:] != target.shape):
        raise DataError(
            f"signal_shadows must be {rows} signals beside a signal_target of shape {target.shape}; its shape is "
            f"{shadows.shape}"
        )
    population = {key: arrays[key] for key in ("population_target", "population_shadows") if key in arrays}
    return Evidence.of_signals(
        target,
        shadows,
        np.zeros(shadows.shape[:2], bool) if inside is None else inside,
        name=_name(arrays),
        log_likelihood=_declared(arrays),
        asked=records,
        features=features,
        population_features=population_features,
        people=people,
        bystanders=arrays.get("bystanders"),
        **population,
    )


def _name(arrays: dict[str, NDArray[Any]]) -> str:
    """Return what the file calls the signal."""
    if "signal_name" not in arrays:
        return "signal"
    if arrays["signal_name"].size != 1 or arrays["signal_name"].dtype.kind not in "SU":
        raise DataError(f"signal_name must be one text; got {arrays['signal_name'].tolist()!r:.100}")
    word = arrays["signal_name"].ravel()[0]
    try:
        text = word.decode() if isinstance(word, bytes) else str(word)
    except UnicodeDecodeError as error:
        raise DataError(f"signal_name must be text in UTF-8: {error}") from None
    check_names([text], "signal_name")
    return text


def _declared(arrays: dict[str, NDArray[Any]]) -> bool:
    """Return whether the file says that the signal is a log-likelihood."""
    values = arrays.get("log_likelihood", np.array(False))
    if values.size != 1 or values.dtype.kind not in "biuf" or values.ravel()[0] not in (0, 1):
        raise DataError(f"log_likelihood must be true or false, one value; got {values.tolist()!r:.100}")
    return bool(values.ravel()[0])
