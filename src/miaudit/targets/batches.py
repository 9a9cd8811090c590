"""What models read from files have in common: batches of a fixed size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.records import n_records, take_records


def in_batches(ask: Callable[[Any], NDArray[Any]], X: Any, batch: int | None) -> NDArray[Any]:
    """Return a model's answers to n records when it takes ``batch`` at a time; None: as many as there are.

    The last batch is filled up with its last record, whose further answers are dropped.
    """
    n = n_records(X)
    if batch is None:
        return ask(X)
    parts = []
    for start in range(0, n, batch):
        index = np.minimum(np.arange(start, start + batch), n - 1)
        parts.append(ask(take_records(X, index))[: n - start])
    return np.concatenate(parts)
