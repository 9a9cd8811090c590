"""Shadow models know every probability; their answers are reduced to what the target shows, so that like meets like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reduce_alike(answers: NDArray[np.float32], *, top: int | None = None, decimals: int | None = None) -> None:
    """Reduce answers in place to what a target shows that answers a few classes only, or rounds.

    Parameters
    ----------
    answers
        (m, r, classes) probabilities; they are changed.
    top
        Keep so many largest probabilities of each row, and put 0 at the others (Shokri et al. 2017, section VIII).
    decimals
        Round to so many decimals.
    """
    for rows in answers:  # one model at a time bounds what partition copies
        if top is not None:
            rows[~largest(rows, top)] = 0
        if decimals is not None:
            np.round(rows, decimals, out=rows)


def largest(answers: NDArray[np.floating], k: int) -> NDArray[np.bool_]:
    """Return (n, classes) which are the k largest of each of (n, classes) answers; of those that tie, the first."""
    if k >= answers.shape[1]:
        return np.ones(answers.shape, bool)
    keep: NDArray[np.bool_] = answers >= np.partition(answers, -k, axis=1)[:, -k, None]
    tied = np.flatnonzero(keep.sum(axis=1) > k)
    order = np.argsort(-answers[tied], axis=1, kind="stable")[:, :k]
    keep[tied] = False
    keep[tied[:, None], order] = True
    return keep


def answered_classes(answers: NDArray[np.floating]) -> int:
    """Return how many classes the fullest of (n, classes) rows names."""
    return int((answers > 0).sum(axis=1).max(initial=0))
