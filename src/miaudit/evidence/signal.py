"""What a signal is: a value that says which number is to be computed of each of a model's answers."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Signal(Hashable, Protocol):
    """A frozen value, equal to others that compute the same; `miaudit.signals` has those of the field."""

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> NDArray[Any]:
        """Return (r,) numbers, one per record, of (r, classes) answers and their (r,) true classes."""


@dataclass(frozen=True)
class Measure:
    """The signal of evidence that consists of one number per row, higher for members (`Evidence.of_signals`).

    Parameters
    ----------
    name
        What the number is, in words.
    log_likelihood
        Whether it is the logarithm of a probability, or of a density relative to its maximum: at most 0, so that its
        exponential can be averaged over models, as RMIA does.
    """

    name: str = "signal"
    log_likelihood: bool = False

    def __call__(self, answers: NDArray[Any], labels: NDArray[np.int64], /) -> NDArray[np.float64]:
        """Return the (r,) numbers of (r, 1) answers."""
        return np.asarray(answers[:, 0], np.float64)
