"""Whether scores look like a Gaussian trade-off curve: N(0, 1) against N(mu, 1), up to a monotone change of scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from miaudit.stats.roc import Scores, sides

Floats = NDArray[np.float64]
Draw = Callable[[int], tuple[Floats, Floats]]

_SIMULATIONS = 200
_LEVEL = 0.05  # p-values at or below it refute a Gaussian curve
_POWER = 0.8  # what a check must reach against the other curve for its silence to say anything
_CELLS = 4_000_000  # simulated scores held at a time


@dataclass(frozen=True)
class Binormal:
    """What scores say of a Gaussian curve.

    ``mu`` is the shift with the same area, ``p`` the probability of a departure as large under it, ``power`` the probability
    that another curve with the same area would have been refuted. All are None, and ``reason``
    says why, where nothing can be said. ``holds`` is True where the curve was not refuted although others would have been.
    """

    mu: float | None
    p: float | None
    power: float | None
    holds: bool
    reason: str | None = None


def binormal(in_scores: ArrayLike, out_scores: ArrayLike, *, seed: int = 0) -> Binormal:
    """Test whether the ROC curve of these scores is Gaussian: TPR = Phi(Phi^-1(FPR) + mu), equal variances.

    The statistic is the largest standardised distance of the TPR from that curve over a grid of ranks of the
    non-members that is dense at both ends, with the mu that has the scores' area, sqrt(2) Phi^-1(AUC). It reads ranks
    only, so that its law under a Gaussian curve depends on mu and the two numbers alone and is simulated, mu estimated anew
    each time (parametric bootstrap). Tied scores are ordered at random: scores that take few values have straight
    pieces in their curve and are refuted.

    A check that could not have failed is no check. So the same test is tried on two other curves with the same area, a share of
    the members surely told and the others not at all, TPR = share + (1 - share) FPR, and randomised response, one answer
    that is right with the probability of the area; where it refutes fewer than 80 % of either, nothing is said.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores, higher = member, independent draws.
    seed
        Of the simulations and of the order of ties.

    Returns
    -------
    Binormal
        Shift, p-value, power.

    Raises
    ------
    DataError
        If a side is empty or not finite.
    """
    inside, outside = sides(in_scores, out_scores)
    n_in, n_out = len(inside), len(outside)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    ranks = _random_ranks(np.concatenate([inside, outside]), rng)[None]
    area = float(_areas(ranks[:, :n_in], n_out)[0])
    if min(n_in, n_out) < 2 or not 0.0 < area < 1.0:
        reason = "all members score above all non-members" if area == 1.0 else "all non-members score above all members"
        if min(n_in, n_out) < 2:
            reason = "a side has one score only"
        return Binormal(None, None, None, False, f"{reason}, so that nothing shows what the curve looks like")
    mu = _shift(area)
    sizes = (n_in, n_out)
    limit = np.sort(_simulated(lambda m: (rng.normal(mu, 1, (m, n_in)), rng.normal(size=(m, n_out))), *sizes))
    statistic = _departure(ranks[:, :n_in], ranks[:, n_in:])[0]
    p = float((1 + (limit >= statistic).sum()) / (1 + len(limit)))
    critical = limit[int(np.ceil((1 - _LEVEL) * (len(limit) + 1))) - 1]
    power = min(float((_simulated(others, *sizes) > critical).mean()) for others in _other_curves(area, *sizes, rng))
    if p <= _LEVEL:
        return Binormal(mu, p, power, False, f"the scores' curve is not that of a Gaussian shift (p = {p:.2g})")
    if power < _POWER:
        reason = f"a curve that is not Gaussian would have been noticed in {100 * power:.0f} % of such cases only"
        return Binormal(mu, p, power, False, reason)
    return Binormal(mu, p, power, True)


def _random_ranks(scores: Scores, rng: np.random.Generator) -> Floats:
    from scipy.stats import rankdata  # not at the top: it takes half a second

    mixed = rng.permutation(len(scores))
    ranks = np.empty(len(scores))
    ranks[mixed] = rankdata(scores[mixed], method="ordinal")
    return ranks


def _other_curves(area: float, n_in: int, n_out: int, rng: np.random.Generator) -> tuple[Draw, Draw]:
    """Return draws of scores with this area whose curve is not Gaussian: a share surely told, and randomised response."""

    def exposed(m: int) -> tuple[Floats, Floats]:
        certain = rng.random((m, n_in)) < 2 * area - 1
        return rng.random((m, n_in)) + certain, rng.random((m, n_out))

    def answered(m: int) -> tuple[Floats, Floats]:
        right = rng.random((m, n_in)) < area, rng.random((m, n_out)) >= area
        return rng.random((m, n_in)) + right[0], rng.random((m, n_out)) + right[1]

    return exposed, answered


def _simulated(draw: Draw, n_in: int, n_out: int) -> Floats:
    """Return (simulations,) statistics of scores that ``draw(m)`` makes, m trials at a time."""
    rows = max(1, min(_SIMULATIONS, _CELLS // (n_in + n_out)))
    sizes = [min(rows, _SIMULATIONS - start) for start in range(0, _SIMULATIONS, rows)]
    return np.concatenate([_departure(*draw(m)) for m in sizes])


def _departure(inside: Floats, outside: Floats) -> Floats:
    """Return (m,) largest standardised distances from the Gaussian curve of the same area; no ties."""
    n_in, n_out = inside.shape[1], outside.shape[1]
    inside, outside = np.sort(inside), np.sort(outside)
    k = _grid(n_out)
    cuts = outside[:, n_out - 1 - k]  # (m, ranks)
    tpr = np.stack([n_in - np.searchsorted(row, cut, "right") for row, cut in zip(inside, cuts, strict=True)]) / n_in
    below = np.stack([np.searchsorted(of, row) for row, of in zip(inside, outside, strict=True)]).sum(1)
    shift = np.array([_shift(a) for a in np.clip(below / (n_in * n_out), 1e-9, 1 - 1e-9)])[:, None]
    fpr = (k + 1) / (n_out + 1)
    at = ndtri(fpr)[None] + shift
    expected = ndtr(at)
    slope = np.exp((ndtri(fpr)[None] ** 2 - at**2) / 2)
    variance = expected * (1 - expected) / n_in + slope**2 * fpr * (1 - fpr) / n_out
    return np.asarray((np.abs(tpr - expected) / np.sqrt(variance + 1.0 / n_in**2)).max(axis=1))


def _areas(inside_ranks: Floats, n_out: int) -> Floats:
    n_in = inside_ranks.shape[1]
    return np.asarray((inside_ranks.sum(1) - n_in * (n_in + 1) / 2) / (n_in * n_out))


def _grid(n_out: int) -> NDArray[np.int64]:
    """Ranks from either end: 0, then steps of about a half."""
    steps = np.unique(np.geomspace(1, max(n_out / 2, 1), 12).astype(np.int64)) - 1
    return np.unique(np.concatenate([steps, n_out - 1 - steps]))


def _shift(area: float) -> float:
    return float(np.sqrt(2) * ndtri(area))
