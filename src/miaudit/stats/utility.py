"""What a change of a model costs its users: accuracy on the same records before and after, and how honest probabilities are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from miaudit.errors import DataError
from miaudit.stats.auc import Interval
from miaudit.stats.rates import checked_confidence

BINS = 15


def accuracy_difference(before: ArrayLike, after: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Return the share of right answers after a change less that before it, on the same records.

    The interval is that of Bonett and Price (2012, "Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data"): only records whose answer became right or wrong tell anything, and one of each is added.

    Parameters
    ----------
    before, after
        (n,) bool: was the answer to the record right.
    confidence
        Level of the interval.

    Raises
    ------
    DataError
        If they are not two bool arrays of one length, and not empty.
    """
    old, new = np.asarray(before), np.asarray(after)
    if old.dtype != bool or new.dtype != bool or old.shape != new.shape or old.ndim != 1 or not len(old):
        raise DataError(
            f"before and after must be two bool arrays of one length; got {old.dtype} {old.shape} and {new.dtype} {new.shape}"
        )
    n, better, worse = len(old), int((new & ~old).sum()), int((old & ~new).sum())
    rose, fell = (better + 1) / (n + 2), (worse + 1) / (n + 2)
    half = _quantile(confidence) * np.sqrt((rose + fell - (rose - fell) ** 2) / (n + 2))
    value, centre = (better - worse) / n, rose - fell
    return Interval(value, max(-1.0, min(value, centre - half)), min(1.0, max(value, centre + half)))


def calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = BINS, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the expected calibration error of the likeliest class (Guo et al. 2017, equation 3).

    That is the mean distance, over bins of equal width, between how sure the answers are and how many are right. Noise adds to
    it where bins hold few records, so that it is not 0 of honest answers either. The figure differs from the truth by no more
    than the noise of all bins together, in absolute values; the interval is the figure more or less the quantile of that noise
    (1,000 normal draws of each bin's sum), so that it holds and is wider than need be. One right answer and one wrong are added
    to each bin for its noise, as a bin without a wrong one has some, too (Agresti and Coull 1998).

    Parameters
    ----------
    probabilities, labels
        (n, classes) answers, and the (n,) true classes.
    bins
        Number of bins of [0, 1].
    confidence
        Level of the interval.
    seed
        Of the draws.

    Raises
    ------
    DataError
        If there are no records, or not one label each.
    """
    answers, truth = np.asarray(probabilities, np.float64), np.asarray(labels)
    if answers.ndim != 2 or truth.shape != answers.shape[:1] or not len(truth):
        raise DataError(f"one label for each answer is needed; got answers {answers.shape} and labels {truth.shape}")
    sure, right = answers.max(axis=1), answers.argmax(axis=1) == truth
    bin_of = np.minimum((sure * bins).astype(np.int64), bins - 1)
    sums, counts, squares, correct = (
        np.bincount(bin_of, weights=weights, minlength=bins)
        for weights in (right - sure, None, (right - sure) ** 2, right)
    )
    value = float(np.abs(sums).sum() / len(truth))
    share = (correct + 1) / (counts + 2)
    spread = np.sqrt(np.maximum(squares - sums**2 / np.maximum(counts, 1), counts * share * (1 - share)))
    noise = np.abs(np.random.default_rng(seed).normal(size=(1000, bins)) * spread).sum(axis=1) / len(truth)
    half = float(np.quantile(noise, checked_confidence(confidence)))
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def _quantile(confidence: float) -> float:
    return float(ndtri((1 + checked_confidence(confidence)) / 2))
