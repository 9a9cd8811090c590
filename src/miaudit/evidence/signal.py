"""What a signal is: a value that says which number is to be computed of each of a model's answers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Signal(Hashable, Protocol):
    """A frozen value, equal to others that compute the same; `miaudit.signals` has those of the field."""

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> NDArray[Any]:
        """Return (r,) numbers, one per record, of (r, classes) answers and their (r,) true classes."""
