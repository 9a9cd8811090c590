"""Models that keep the stages of their training: what boosted trees answer after each round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Stages = Callable[[Any], Iterator[Any]]
"""From records to their (n, columns) probabilities after one stage after the other, the last one final."""

MOST = 50
"""Stages asked of models that answer each from the beginning, evenly spaced."""


def stages_of(model: Any) -> Stages | None:
    """Return how to ask a model for its answers stage by stage; None where it keeps no stages.

    Parameters
    ----------
    model
        Anything with ``staged_predict_proba``, as scikit-learn's boosted trees; a classifier of XGBoost or LightGBM; or a
        pipeline that ends in one of these.
    """
    steps = getattr(model, "steps", None)
    if isinstance(steps, list) and len(steps) > 1 and hasattr(model, "__getitem__"):
        last = stages_of(steps[-1][1])
        before = None if last is None else model[:-1]
        return None if last is None or before is None else lambda X: last(before.transform(X))
    if hasattr(model, "staged_predict_proba"):
        return model.staged_predict_proba  # type: ignore[no-any-return]
    if not hasattr(model, "predict_proba"):
        return None
    if hasattr(model, "get_booster"):
        best = getattr(model, "best_iteration", None)  # there where it stopped early, by an option or a callback
        rounds = model.get_booster().num_boosted_rounds() if best is None else best + 1
        return lambda X: (model.predict_proba(X, iteration_range=(0, k)) for k in _spaced(rounds))
    if hasattr(model, "booster_"):
        rounds = getattr(model, "best_iteration_", 0) or model.booster_.current_iteration()
        return lambda X: (model.predict_proba(X, num_iteration=k) for k in _spaced(rounds))
    return None


def _spaced(rounds: int) -> list[int]:
    return [int(k) for k in np.unique(np.linspace(1, max(rounds, 1), MOST).round())]
