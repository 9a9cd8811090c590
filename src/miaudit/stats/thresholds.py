"""Where the threshold comes from, as an option value, and what an attack's scores certify at it.

A threshold that was picked because it looks best on some scores certifies nothing on the same scores: searching the ROC
curve for the largest bound finds one in noise. Three ways hold: name the threshold beforehand, pick it on one half and
certify on the other, or try several and pay for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from miaudit.errors import DataError, PlanError, not_real, not_whole, refuse
from miaudit.stats.epsilon import gaussian_shift, log_ratio
from miaudit.stats.gaussian import checked_delta, epsilon_from_mu
from miaudit.stats.rates import checked_confidence, clopper_pearson
from miaudit.stats.roc import Scores, roc, sides


@dataclass(frozen=True)
class Explicit:
    """A threshold known before the scores: records with score >= ``threshold`` are called members."""

    threshold: float

    def __post_init__(self) -> None:
        refuse(not_real(("threshold", self.threshold)))


@dataclass(frozen=True)
class Split:
    """Pick the threshold on one random part of each side, certify it on the rest.

    ``share`` of the records picks; it takes the threshold with the largest bound on ``objective`` there: on epsilon, on mu, or,
    for ``"ppv"``, on TPR / FPR, which is what the PPV grows with (epsilon may also be large where nearly all are accused).
    """

    seed: int = 0
    share: float = 0.5
    objective: Literal["epsilon", "mu", "ppv"] = "epsilon"

    def __post_init__(self) -> None:
        refuse(not_whole(("seed", self.seed), least=0), not_real(("share", self.share), above=0, below=1))
        if self.objective not in ("epsilon", "mu", "ppv"):
            raise PlanError(f"objective must be 'epsilon', 'mu' or 'ppv', got {self.objective!r}")


@dataclass(frozen=True)
class Bonferroni:
    """Try one threshold for each of these empirical FPRs, all bounds holding at once: each gets an equal part of the error.

    The thresholds are ranks of the non-members' scores, so that the grid depends on their number only, not on how
    well the attack does. FPRs that fall on the same rank count once.
    """

    fprs: tuple[float, ...] = (0.0, 0.001, 0.01, 0.1, 0.5, 0.9)

    def __post_init__(self) -> None:
        if not self.fprs:
            raise PlanError("fprs is empty; give one or more")
        refuse(not_real(*(("fprs", fpr) for fpr in self.fprs), least=0, below=1))


Strategy = Explicit | Split | Bonferroni


@dataclass(frozen=True)
class OperatingPoint:
    """Counts at one threshold, the bounds on its rates, and the lower bounds on epsilon and mu that follow.

    ``rank``: where the threshold is a rank of the non-members, the false positives it allows, on which ``fpr_high`` rests;
    ``fp`` is less where scores are tied.
    """

    threshold: float
    tp: int
    fn: int
    fp: int
    tn: int
    tpr_low: float
    fpr_high: float
    epsilon: float
    mu: float
    rank: int | None = None

    @property
    def tpr(self) -> float:
        """Share of the members at or above the threshold."""
        return self.tp / (self.tp + self.fn)

    @property
    def fpr(self) -> float:
        """Share of the non-members at or above the threshold."""
        return self.fp / (self.fp + self.tn)


@dataclass(frozen=True)
class Certified:
    """What the scores certify: every point tried, whose bounds hold together at ``confidence``."""

    points: tuple[OperatingPoint, ...]
    strategy: Strategy
    delta: float
    confidence: float
    independent_trainings: bool

    @property
    def epsilon(self) -> float:
        """Largest lower bound on epsilon among the points; 0.0 if there is none."""
        return max(point.epsilon for point in self.points)

    @property
    def mu(self) -> float:
        """Largest lower bound on mu of Gaussian DP among the points; 0.0 if there is none."""
        return max(point.mu for point in self.points)

    @property
    def epsilon_gaussian(self) -> float | None:
        """``mu`` as an epsilon at ``delta``, for mechanisms with a Gaussian curve; None at delta = 0."""
        return epsilon_from_mu(self.mu, self.delta) if self.delta > 0 else None

    @property
    def figure(self) -> str:
        """What ``epsilon`` may be called."""
        return "lower bound on epsilon" if self.independent_trainings else "empirical epsilon-equivalent"


@dataclass(frozen=True)
class TprAtZeroFp:
    """Share of members scoring above every non-member at hand: the TPR at 0 false positives, not at a rate of 0.

    ``low`` and ``high`` bound the share at the threshold found, ``fpr_high`` the true FPR there.
    """

    tp: int
    n_in: int
    n_out: int
    tpr: float
    low: float
    high: float
    fpr_high: float
    confidence: float


def certify(
    in_scores: ArrayLike,
    out_scores: ArrayLike,
    strategy: Strategy,
    *,
    delta: float,
    confidence: float = 0.95,
    independent_trainings: bool = False,
) -> Certified:
    """Bound epsilon and mu from scores, with the threshold where the strategy says.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members, higher = member.
    strategy
        :class:`Explicit`, :class:`Split` or :class:`Bonferroni`.
    delta
        In [0, 1).
    confidence
        Level at which all bounds of the answer hold together.
    independent_trainings
        Whether every score comes from a training of its own, with or without the record in question. Only then is the figure
        a lower bound on the mechanism's epsilon; otherwise it is an empirical epsilon-equivalent of this attack.

    Returns
    -------
    Certified
        The points tried, and the largest bounds.

    Raises
    ------
    DataError
        If a side is empty or not finite, or too small to be split.
    PlanError
        If delta or the confidence is out of range.
    """
    inside, outside = sides(in_scores, out_scores)
    checked_confidence(confidence)
    delta = checked_delta(delta)
    match strategy:
        case Explicit():
            points: tuple[OperatingPoint, ...] = (_point(inside, outside, strategy.threshold, None, delta, confidence),)
        case Split():
            rng = np.random.default_rng(np.random.SeedSequence(strategy.seed))
            in_pick, in_rest = _parts(inside, strategy.share, rng)
            out_pick, out_rest = _parts(outside, strategy.share, rng)
            threshold = _best(in_pick, out_pick, strategy.objective, delta, confidence)
            points = (_point(in_rest, out_rest, threshold, None, delta, confidence),)
        case Bonferroni():
            n_out, falling = len(outside), np.sort(outside)[::-1]
            ranks = sorted({int(fpr * n_out + 1e-9) for fpr in strategy.fprs})
            each = 1.0 - (1.0 - confidence) / len(ranks)
            # strictly above the (k + 1)-th largest non-member; the true FPR there is Beta(k + 1, n_out - k) or less,
            # so that the exact bound for k false positives holds although the threshold came from the scores
            points = tuple(
                _point(inside, outside, float(np.nextafter(falling[k], np.inf)), k, delta, each) for k in ranks
            )
    return Certified(points, strategy, delta, confidence, independent_trainings)


def tpr_at_zero_fp(in_scores: ArrayLike, out_scores: ArrayLike, *, confidence: float = 0.95) -> TprAtZeroFp:
    """Find how many members score above every non-member, and say what FPR that may stand for.

    This is what a "TPR at an FPR of 0.001 %" is where there are too few non-members for that rate.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members, higher = member.
    confidence
        Each of the three ends errs with probability (1 - confidence) / 2 at most. All are exact: the threshold is the
        largest of n_out non-members, whatever their law, and the members are independent of it.

    Returns
    -------
    TprAtZeroFp
        Count, share, and bounds.

    Raises
    ------
    DataError
        If a side is empty or not finite.
    PlanError
        If the confidence is out of range.
    """
    inside, outside = sides(in_scores, out_scores)
    tp, n_in, n_out = int((inside > outside.max()).sum()), len(inside), len(outside)
    low, high = clopper_pearson(tp, n_in, confidence)
    fpr_high = clopper_pearson(0, n_out, confidence)[1]
    return TprAtZeroFp(tp, n_in, n_out, tp / n_in, low, high, fpr_high, confidence)


def _point(
    inside: Scores, outside: Scores, threshold: float, rank: int | None, delta: float, confidence: float
) -> OperatingPoint:
    """Judge one threshold; the bound on the FPR is that of ``rank`` false positives where the threshold is a rank."""
    tp, fp = int((inside >= threshold).sum()), int((outside >= threshold).sum())
    low = clopper_pearson(tp, len(inside), confidence)[0]
    high = clopper_pearson(fp if rank is None else rank, len(outside), confidence)[1]
    tpr_low, fpr_high = np.float64(low), np.float64(high)
    return OperatingPoint(
        threshold=threshold,
        tp=tp,
        fn=len(inside) - tp,
        fp=fp,
        tn=len(outside) - fp,
        tpr_low=low,
        fpr_high=high,
        epsilon=max(0.0, float(log_ratio(tpr_low, fpr_high, delta))),
        mu=max(0.0, float(gaussian_shift(tpr_low, fpr_high))),
        rank=rank,
    )


def _parts(scores: Scores, share: float, rng: np.random.Generator) -> tuple[Scores, Scores]:
    if len(scores) < 2:
        raise DataError("a side of one record cannot be split; give at least two on each side, or another strategy")
    cut = min(max(round(share * len(scores)), 1), len(scores) - 1)
    mixed = rng.permutation(scores)
    return mixed[:cut], mixed[cut:]


def _best(inside: Scores, outside: Scores, objective: str, delta: float, confidence: float) -> float:
    """Return the threshold with the largest bound on these scores."""
    curve, tail = roc(inside, outside), (1.0 - confidence) / 2
    tp, fp = curve.tp[1:-1], curve.fp[1:-1]  # (points,) without the thresholds that accuse nobody or everybody
    if not len(tp):
        return float(curve.thresholds[-1])
    low = np.zeros(len(tp))
    low[tp > 0] = betaincinv(tp[tp > 0], curve.n_in - tp[tp > 0] + 1, tail)
    high = np.ones(len(fp))
    high[fp < curve.n_out] = betaincinv(fp[fp < curve.n_out] + 1, curve.n_out - fp[fp < curve.n_out], 1 - tail)
    if objective == "ppv":
        bound = low / high
    else:
        bound = log_ratio(low, high, delta) if objective == "epsilon" else gaussian_shift(low, high)
    return float(curve.thresholds[1:-1][np.argmax(bound)])
