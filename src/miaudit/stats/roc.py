"""The ROC curve, and the true-positive rate at a low false-positive rate with an interval that holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError, PlanError
from miaudit.stats.rates import checked_confidence, clopper_pearson

Scores = NDArray[np.float64]

_ATTAINED = 0.5  # share of a rate that a threshold must reach for its TPR to be that of the rate


@dataclass(frozen=True, eq=False)
class Roc:
    """Points of the ROC curve from (0, 0) to (1, 1), one per distinct score, falling thresholds.

    At point i the records with score >= ``thresholds[i]`` are called members: ``fp[i]`` of the ``n_out`` non-members
    and ``tp[i]`` of the ``n_in`` members. ``thresholds[0]`` is +inf: nobody. Tied scores move together, so no point depends
    on how a sort broke a tie.
    """

    thresholds: Scores  # (points,)
    fpr: Scores  # (points,)
    tpr: Scores  # (points,)
    fp: NDArray[np.int64]  # (points,)
    tp: NDArray[np.int64]  # (points,)

    @property
    def n_in(self) -> int:
        """Number of members."""
        return int(self.tp[-1])

    @property
    def n_out(self) -> int:
        """Number of non-members."""
        return int(self.fp[-1])


@dataclass(frozen=True)
class TprAtFpr:
    """Share of members found while at most a share ``fpr`` of the non-members is accused.

    ``tpr`` is the largest over all thresholds whose empirical FPR is at most ``fpr``, without interpolation; ``tp``,
    ``fp`` and ``threshold`` are of that point. ``low`` and ``high`` bound the share at *true* rate ``fpr`` (see
    :func:`tpr_at_fpr`). ``resolvable`` is False, with a ``reason``, when so few non-members cannot tell this rate, or
    tied scores leave no threshold near it.
    """

    fpr: float
    tpr: float
    low: float
    high: float
    resolvable: bool
    reason: str | None
    threshold: float
    tp: int
    fp: int


@dataclass(frozen=True)
class TnrAtFnr:
    """Share of non-members cleared while at most a share ``fnr`` of the members is missed.

    ``tnr`` is the largest over all thresholds whose empirical FNR is at most ``fnr``; records that score at most ``threshold``
    are cleared: ``tn`` of the non-members, and ``fn`` of the members. The bounds are those of :class:`TprAtFpr`, the roles
    of the sides exchanged.
    """

    fnr: float
    tnr: float
    low: float
    high: float
    resolvable: bool
    reason: str | None
    threshold: float
    tn: int
    fn: int


def sides(in_scores: ArrayLike, out_scores: ArrayLike) -> tuple[Scores, Scores]:
    """Return both arrays as (n,) float64, or raise DataError naming what is wrong with them."""
    checked = []
    for side, values in (("in_scores (members)", in_scores), ("out_scores (non-members)", out_scores)):
        scores = np.asarray(values)
        if scores.ndim != 1 or scores.dtype.kind not in "fiub":
            raise DataError(f"{side} must be one number per record, got shape {scores.shape} and dtype {scores.dtype}")
        if not scores.size:
            raise DataError(f"{side} is empty; a comparison needs at least one record on each side")
        scores = scores.astype(np.float64)
        if bad := int((~np.isfinite(scores)).sum()):
            raise DataError(f"{side} holds {bad} NaN or infinite values of {len(scores)}; every score must be finite")
        checked.append(scores)
    return checked[0], checked[1]


def roc(in_scores: ArrayLike, out_scores: ArrayLike) -> Roc:
    """Trace the ROC curve of two arrays of scores, higher = member.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members.

    Returns
    -------
    Roc
        One point per distinct score, and (0, 0). Takes O(n log n).

    Raises
    ------
    DataError
        If a side is empty or holds NaN or infinity.
    """
    inside, outside = sides(in_scores, out_scores)
    scores = np.concatenate([inside, outside])
    order = np.argsort(-scores)  # ties in any order: only the last of each run is read
    falling = scores[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))  # last of each run of ties
    tp = np.append(0, np.cumsum(order < len(inside))[last]).astype(np.int64)
    fp = np.append(0, last + 1) - tp
    return Roc(np.append(np.inf, falling[last]), fp / len(outside), tp / len(inside), fp, tp)


class Cut(NamedTuple):
    """A threshold by its rank among the non-members, and the one-sided level that it leaves to the count above it."""

    rank: int
    left: float


@lru_cache(maxsize=512)
def cuts(n_out: int, fpr: float, confidence: float) -> tuple[Cut, Cut]:
    """Return the thresholds between which the one of the true rate ``fpr`` lies.

    The first leaves as many non-members above it as it can while P[its true FPR > fpr] = q is at most half of e, the
    error of one end; -1 where none does. Given that it is not, the members above it are binomial with at most the
    TPR at ``fpr``, so that a bound at the level (e - q) / (1 - q) errs with e in all. The second, alike, is the
    strictest one whose true FPR exceeds ``fpr``; above ``n_out`` where none does.
    """
    from scipy.stats import binom  # not at the top: it takes half a second, and workers that train do without

    half = (1.0 - checked_confidence(confidence)) / 2
    strict = n_out if fpr == 1.0 else int(binom.ppf(half / 2, n_out, fpr)) - 1
    loose = 1 if fpr == 0.0 else int(binom.isf(half / 2, n_out, fpr)) + 1
    above = 0.0 if fpr == 1.0 else float(binom.cdf(strict, n_out, fpr))
    below = 0.0 if fpr == 0.0 else float(binom.sf(loose - 1, n_out, fpr))
    first, second = ((half - q) / (1 - q) for q in (above, below))
    return Cut(strict, first), Cut(loose, second)


def tpr_at_fpr(in_scores: ArrayLike, out_scores: ArrayLike, fpr: float, *, confidence: float = 0.95) -> TprAtFpr:
    """Find how many members are found while at most a share ``fpr`` of the non-members is accused.

    The interval is for the true curve at true rate ``fpr``. It is exact and free of assumptions on the scores: not only
    the share of members found is uncertain, but also where the threshold of that rate lies, which an interval
    of the TPR alone would ignore, and so find leaks in noise. The low end takes the loosest threshold whose true FPR
    is at most ``fpr``, the high end the strictest one whose true FPR exceeds it, each known from order statistics of
    the non-members (at most half of an end's error), and bounds the TPR there (Clopper-Pearson, at what the threshold
    leaves of it: see :func:`cuts`). No interval that counts at such a threshold can be tighter for every curve: a curve
    that jumps to 1 just beyond ``fpr`` uses up all of the error.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members.
    fpr
        The false-positive rate, a fraction in [0, 1].
    confidence
        Level of the interval.

    Returns
    -------
    TprAtFpr
        ``resolvable`` says whether at least ten non-members may be accused at this rate (fpr * n_out >= 10), and some
        threshold accuses at least half as many: with tied scores there may be none.

    Raises
    ------
    DataError
        If a side is empty or holds NaN or infinity.
    PlanError
        If the rate or the confidence is out of range.
    """
    return _at_rate(in_scores, out_scores, fpr, confidence, _ACCUSING)


def tnr_at_fnr(in_scores: ArrayLike, out_scores: ArrayLike, fnr: float, *, confidence: float = 0.95) -> TnrAtFnr:
    """Find how many non-members are cleared while at most a share ``fnr`` of the members is missed.

    It is :func:`tpr_at_fpr` with the roles of the sides exchanged: what it says of the low end of the scores is exact for the
    same reasons, and needs ten members where that one needs ten non-members.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members, higher = member.
    fnr
        The false-negative rate, a fraction in [0, 1].
    confidence
        Level of the interval.

    Raises
    ------
    DataError
        If a side is empty or holds NaN or infinity.
    PlanError
        If the rate or the confidence is out of range.
    """
    inside, outside = sides(in_scores, out_scores)
    point = _at_rate(-outside, -inside, fnr, confidence, _CLEARING)
    return TnrAtFnr(
        fnr=point.fpr,
        tnr=point.tpr,
        low=point.low,
        high=point.high,
        resolvable=point.resolvable,
        reason=point.reason,
        threshold=-point.threshold,
        tn=point.tp,
        fn=point.fp,
    )


class _Words(NamedTuple):
    """What the rate is of, what counts against it, and what is measured at it."""

    rate: str
    side: str
    errors: str
    measured: str


_ACCUSING = _Words("fpr", "non-members", "false positives", "TPR")
_CLEARING = _Words("fnr", "members", "false negatives", "TNR")


def _at_rate(in_scores: ArrayLike, out_scores: ArrayLike, fpr: float, confidence: float, words: _Words) -> TprAtFpr:
    if not 0.0 <= fpr <= 1.0:
        raise PlanError(f"{words.rate} must be a fraction in [0, 1], got {fpr}; write 0.1 % as 0.001")
    curve = roc(in_scores, out_scores)
    n_in, n_out = curve.n_in, curve.n_out
    at = int(np.searchsorted(curve.fpr, fpr, side="right")) - 1
    strict, loose = cuts(n_out, fpr, confidence)
    low, high = 0.0, 1.0
    if strict.rank >= 0:
        count = int(curve.tp[np.searchsorted(curve.fp, strict.rank, side="right") - 1])
        low = clopper_pearson(count, n_in, 1.0 - 2 * strict.left)[0]
    if loose.rank <= n_out:
        count = int(curve.tp[np.searchsorted(curve.fp, loose.rank, side="left")])
        high = clopper_pearson(count, n_in, 1.0 - 2 * loose.left)[1]
    allowed = fpr * n_out
    resolvable = allowed >= 10 - 1e-9
    reason = None
    side = words.side.removesuffix("s") if n_out == 1 else words.side
    if allowed < 1 - 1e-9:
        reason = f"{n_out} {side} cannot show a rate of {fpr:g}; this is the {words.measured} at 0 {words.errors}"
    elif not resolvable:
        errors = words.errors.removesuffix("s") if f"{allowed:g}" == "1" else words.errors
        verb = "allows" if n_out == 1 else "allow"
        reason = (
            f"{n_out} {side} {verb} {allowed:g} {errors} at a rate of {fpr:g}; at least 10 {words.errors} are needed"
        )
    elif curve.fp[at] < allowed * _ATTAINED and fpr < 1.0:
        resolvable = False
        below, above = float(curve.fpr[at]), float(curve.fpr[at + 1])
        nearest = min((below, above), key=lambda rate: abs(rate - fpr))
        reason = (
            f"tied scores allow no rate between {below:.3g} and {above:.3g}, so none of {fpr:g}; the nearest is {nearest:.3g}, "
            f"and this is the {words.measured} at {below:.3g}"
        )
    return TprAtFpr(
        fpr=float(fpr),
        tpr=float(curve.tpr[at]),
        low=low,
        high=high,
        resolvable=resolvable,
        reason=reason,
        threshold=float(curve.thresholds[at]),
        tp=int(curve.tp[at]),
        fp=int(curve.fp[at]),
    )
