"""What was seen in a deletion audit, whatever way it came in: each question as what an ordinary audit measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.measured import Measured
from miaudit.result import DeletionCost, Receipt


@dataclass(frozen=True, eq=False)
class Retrained:
    """Answers of models that were trained without the deleted records, and of the model afterwards, on the same records.

    Of records: the (f,) deleted ones. Of a removed class: inputs of it that nobody was trained on, without its column.
    """

    target: NDArray[Any]  # (f, classes)
    models: NDArray[Any]  # (K, f, classes)
    labels: NDArray[np.int64]  # (f,)
    of_class: bool = False


@dataclass(frozen=True, eq=False)
class DeletionMeasured:
    """What was seen.

    ``after`` is the first question; the others are None where they could not be asked, for the reason in ``unasked``. In each,
    members are the deleted records, or those that stay. ``controls`` (K, n, classes) are answers of retrained models to the
    records of ``after``.
    """

    procedure: str
    title: str
    paper: str
    options: Mapping[str, Any]
    exact: bool
    removed: str | None
    after: Measured
    before: Measured | None
    pair: Measured | None
    others_before: Measured | None
    others_after: Measured | None
    retrained: Retrained | None
    controls: NDArray[Any] | None
    cost: DeletionCost
    kept: int
    unasked: Mapping[str, str] = field(default_factory=dict)
    stored: bool = False
    receipt: Receipt | None = None
