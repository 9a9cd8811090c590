"""A target: a model that stands somewhere else, here in a file of centres."""

import numpy as np

from miaudit_example.recipe import Fitted


def nearest_centre(centres):
    """Return the model with these centres."""
    return Fitted(np.asarray(centres, dtype=np.float64), 1.0)
