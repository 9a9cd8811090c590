"""How fast a network learns a removed class again, beside networks that never saw it. Needs torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from miaudit.recipes import Model
from miaudit.recipes.precision import exact_products
from miaudit.unlearning.descent import Descent

RATE, BATCH, LOSS, MOST = 0.01, 32, 0.1, 500
"""SGD with momentum 0.9 on the class's records until their mean loss is below LOSS, as in the code of Kurmanji et al. 2023."""


def relearning_steps(model: Model, X: Any, y: NDArray[np.int64], *, seed: int) -> int:
    """Return the updates on these records after which a copy of the model has a mean loss below 0.1 on them; 500 at most.

    Raises
    ------
    PlanError
        If the model has no weights that descend.
    """
    of = Descent(model, X, y, np.zeros(len(y), bool), seed)
    optimizer, steps, epoch = of.sgd(RATE), 0, 0
    with exact_products(of.opened.device):
        while steps < MOST:
            for part in of.batches(of.rest, BATCH, "relearning", epoch):
                with torch.no_grad():
                    if float(of.loss(of.rest)) < LOSS:
                        return steps
                with torch.enable_grad():
                    of.step(optimizer, of.loss(part))
                steps += 1
            epoch += 1
    return MOST
