"""How an attack's scores are distributed on both sides, in counts."""

from __future__ import annotations

import numpy as np

from miaudit.findings.unit import Sides
from miaudit.result import ScoreCounts

BINS = 30
_TAIL = 0.005  # share of the scores on either end that share the first and the last bin with the scores before them


def distribution_of(of: Sides) -> ScoreCounts:
    """Count scores in bins of equal width, from the lowest half percent to the highest; those beyond are in the end bins."""
    every = np.concatenate([of.inside, of.outside])
    low, high = np.quantile(every, [_TAIL, 1 - _TAIL])
    if not high > low:
        low, high = float(every.min()), float(every.max())
    edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low, high])
    if not (np.diff(edges) > 0).all():  # one score, or scores so near that no number lies between them
        edges = np.array([low, high])

    def counts(scores: np.ndarray) -> list[int]:
        bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)
        return [int(count) for count in np.bincount(bins, minlength=len(edges) - 1)]

    return ScoreCounts(edges=edges.tolist(), members=counts(of.inside), nonmembers=counts(of.outside))
