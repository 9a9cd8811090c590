"""Fitted objects of scikit-learn as arrays of bytes, by skops: none of other types is written, and none is read."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TRUSTED = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)
"""Types of scikit-learn that skops has not on its own list; they hold numbers alone."""


def packed_object(thing: Any) -> NDArray[np.uint8] | None:
    """Return a fitted object as bytes; None without skops, or where it holds what skops does not read without consent."""
    if find_spec("skops") is None:
        return None
    import skops.io

    try:
        content = skops.io.dumps(thing)
        if {*skops.io.get_untrusted_types(data=content)} - {*_TRUSTED}:
            return None
    except Exception:  # what skops cannot write
        return None
    return np.frombuffer(content, np.uint8)


def unpacked_object(content: NDArray[np.uint8]) -> Any:
    """Return the object of `packed_object`."""
    import skops.io

    content_bytes = content.tobytes()
    unusual = {*skops.io.get_untrusted_types(data=content_bytes)}
    return skops.io.loads(content_bytes, trusted=sorted(unusual & {*_TRUSTED}))
