"""LiRA: the target's answer under models trained on the record against that under models that were not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, stdtr

from miaudit import signals
from miaudit.attacks.attack import Scores, with_missing
from miaudit.attacks.decisions import Ranking
from miaudit.attacks.moments import Side, resolved_rows, sides
from miaudit.errors import DataError, PlanError, misfits
from miaudit.evidence import Bools, Evidence

Mode = Literal["online", "offline", "proxy"]
Variance = Literal["nig", "per-example", "pooled"]
LiraSignal = Literal["phi", "hinge"]
Array = NDArray[np.float64]

_PRIOR_WEIGHT = 1e-3  # k0: the pooled mean counts as a thousandth of a shadow
_PRIOR_SHAPE = 2.0  # a0: the pooled variance counts as four shadows
_LEAST_SPREAD = 1e-3  # of the pooled standard deviation
_LEAST_OF_CLASS = 10  # rows, below which all classes stand for one


@dataclass(frozen=True)
class LiRA(Ranking):
    """The likelihood-ratio attack of Carlini et al. (2022).

    *Online* (algorithm 1): log-density of the target's signal under the shadows trained on the record less that under
    those not. *Offline* (equation 4): how far above the shadows not trained on it, one-sided; the two-sided density of
    the released code takes unusually *low* confidence for a sign of membership too and loses most of the attack. The
    tail is kept on a scale that does not saturate: a z-score, or minus the logarithm of the upper tail. *Proxy* (PMIA, Du et
    al. 2026): where no shadow was trained on the record, the shadows' own training records of its class stand for the side
    that was, all of one class in one density; the other side is the record's own. A class of which the shadows have fewer
    than ten training rows is judged by the rows of all classes.

    Variance per record and side:

    * ``"nig"``, the default: a normal-inverse-gamma prior at the pooled mean and variance, predictive Student t, as
      proposed by Brännvall (2026, "BaVarIA"); our own hyper-parameters, k0 = 0.001 and a0 = 2. It goes from pooled to
      per-example as shadows are added, so nothing needs switching.
    * ``"per-example"``: a normal with the record's own mean and standard deviation, as in the paper.
    * ``"pooled"``: the record's own mean, one standard deviation per side: the root of the mean variance within
      records. (The released code takes the spread of raw scores over all records instead.)

    Deviations: means, not medians; variances with n - 1; a spread below a thousandth of the pooled one is taken as
    that, so that step-function models do not give infinite ratios; a record to which every model gave one answer has
    ratio 0; a probability of 0 is taken for half of the smallest above 0 that any model gave, as normals do not fit what
    jumps to minus infinity. Where the evidence holds variants of the records (augmented queries), the scores of the queries are
    averaged, a spherical normal as in section VI-C.

    Parameters
    ----------
    mode
        ``"online"``, ``"offline"`` or ``"proxy"``.
    variance
        ``"nig"``, ``"per-example"`` or ``"pooled"``.
    signal
        ``"phi"`` as in the paper, or ``"hinge"``.
    """

    mode: Mode = "online"
    variance: Variance = "nig"
    signal: LiraSignal = "phi"

    name: ClassVar[str] = "lira"
    title: ClassVar[str] = "LiRA: likelihood ratio of models with and without the record"
    paper: ClassVar[str] = "Carlini et al. 2022; Brännvall 2026; Du et al. 2026"
    when: ClassVar[Mapping[str, str]] = {
        "": "low false positive rates, from 5 shadow models on",
        "offline": "low false positive rates, with no shadow model trained on audited records",
        "per-example": "comparison with the literature, from 64 shadow models on",
        "proxy": "a model that fits its records closely, with no shadow model trained on audited records",
    }
    needs: ClassVar[frozenset[str]] = frozenset({"signal", "shadows", "overlapping"})

    def __post_init__(self) -> None:
        kinds = {"mode": Mode, "variance": Variance, "signal": LiraSignal}
        if problems := misfits(*((f"lira.{field}", getattr(self, field), kind) for field, kind in kinds.items())):
            raise PlanError(problems)

    @property
    def demands(self) -> frozenset[str]:
        """Class probabilities for a signal other than phi, in whose place evidence of signals has its own."""
        return self.needs | ({"probabilities"} if self.signal != "phi" else set())

    @property
    def least_shadows(self) -> int:
        """Two for each side that is modelled: fewer say nothing of a spread."""
        return 4 if self.mode == "online" else 2

    def ranked(self, evidence: Evidence) -> Scores:
        """Score by the likelihood ratio."""
        q = len(evidence.queries)
        total, missing = np.zeros(evidence.n), np.zeros(evidence.n, bool)
        for k in range(q):
            target, shadows = resolved_rows(evidence, self.signal, query=k)
            score, missing = likelihood_ratio(
                target,
                shadows,
                evidence.inside,
                mode="offline" if self.mode == "offline" else "online",
                variance=self.variance,
                proxy=self._proxy(evidence, target) if self.mode == "proxy" else None,
            )
            total += score
        notes = (f"averaged over {q} queries per record",) if q > 1 else ()
        least = 2 if self.variance == "per-example" else 1
        models, none = ("no shadow model", "none") if least == 1 else (f"fewer than {least} shadow models",) * 2
        why = f"{models} with them, or {none} without them" if self.mode == "online" else f"{models} without them"
        return with_missing(total / q, missing, why, notes)

    def _proxy(self, evidence: Evidence, target: Array) -> Side:
        """Return moments of the shadows' training records: those of their own, or audited ones."""
        own = evidence if evidence.own is None else evidence.own
        rows = resolved_rows(own, self.signal)[1]
        return class_proxy(rows, own.inside, own.shadow_labels, target, evidence.audited_labels)


def likelihood_ratio(
    target: ArrayLike,
    shadows: ArrayLike,
    inside: ArrayLike,
    *,
    mode: Literal["online", "offline"] = "online",
    variance: Variance = "nig",
    proxy: Side | None = None,
) -> tuple[Array, Bools]:
    """LiRA from signals.

    Parameters
    ----------
    target
        (n,) signal of the target, higher for members and near normal, such as phi.
    shadows
        (m, n) signals of the shadows, float32 or float64; computed on in float64, a few MB at a time.
    inside
        (m, n) bool: was the record in the shadow's training set.
    mode, variance
        As for :class:`LiRA`.
    proxy
        What stands for shadows trained on the record, as of :func:`class_proxy`; None: the shadows that were.

    Returns
    -------
    (ndarray, ndarray)
        (n,) float64 scores, and (n,) bool: too few shadows on a side the mode needs. Scores of such records are 0.

    Raises
    ------
    DataError
        If no record has two shadows on one side: then no spread is known.
    """
    t = np.asarray(target, np.float64)
    within, without = sides(t, shadows, inside)
    if proxy is not None:
        within = proxy
    least = 2 if variance == "per-example" else 1
    missing = without.n < least
    if mode == "online":
        missing |= within.n < least
    if missing.all():
        return np.zeros(len(t)), missing
    if mode == "online":
        score = _log_ratio(within, without, t, variance)
    else:
        score = _upper_tail(without, t, variance, _spread(without, without))
        score[without.says_nothing] = np.log(2.0) if variance == "nig" else 0.0  # the middle of the scale
    score[missing] = 0.0
    return score, missing


def class_proxy(rows: ArrayLike, inside: ArrayLike, labels: ArrayLike, target: ArrayLike, classes: ArrayLike) -> Side:
    """Return what stands for models trained on the record: what shadows answer to their own training records, by class.

    Parameters
    ----------
    rows, inside, labels
        (m, r) signals of the shadows, whether the record of the row was in the training set, and its class.
    target, classes
        (n,) signal of the target, and class of each audited record.

    Returns
    -------
    Side
        Moments of the training rows of the record's class, taken from the target's answer (PMIA's class proxy, Du et al. 2026,
        "Cascading and proxy membership inference attacks"; means, not medians); of all, where a class has fewer than ten.

    Raises
    ------
    DataError
        If no row is of a training record.
    """
    of_members = np.asarray(inside, bool)
    values, label = np.asarray(rows, np.float64)[of_members], np.asarray(labels)[of_members]
    t, classes_of = np.asarray(target, np.float64), np.asarray(classes)
    if not len(values):
        raise DataError(
            "no shadow model was trained on a record it answered, so nothing stands for models with the record"
        )
    n, mean, squares = (np.empty(len(t)) for _ in range(3))
    for each in np.unique(classes_of):
        own = values[label == each]
        own = values if len(own) < _LEAST_OF_CLASS else own
        of = classes_of == each
        n[of], mean[of], squares[of] = len(own), own.mean() - t[of], ((own - own.mean()) ** 2).sum()
    return Side(n, mean, squares)


def _spread(side: Side, other: Side) -> float:
    """Pool the variances within records; those of the other side where this one has no two shadows on a record."""
    for each in (side, other):
        freedom = float(np.maximum(each.n - 1, 0).sum())
        if freedom > 0:
            return float(np.sqrt(each.squares.sum() / freedom))
    raise DataError("no record has two shadow models on one side, so no spread is known; add shadow models")


def _normal(side: Side, variance: Variance, spread: float) -> Array:
    """(n,) standard deviations, never 0."""
    least = max(_LEAST_SPREAD * spread, signals.FLOOR)
    if variance == "pooled":
        return np.full(len(side.mean), max(spread, least))
    return np.maximum(np.sqrt(side.squares / np.maximum(side.n - 1, 1)), least)


def _student(side: Side, target: Array, spread: float) -> tuple[Array, Array, Array]:
    """Degrees of freedom, location and scale (n,) of the predictive t under the normal-inverse-gamma prior."""
    has = side.n > 0
    # the prior's mean is a raw signal, that of all records; locations are taken from the target's answer
    centre = float((side.mean + target)[has].mean() if has.any() else target.mean()) - target
    k = _PRIOR_WEIGHT + side.n
    a = _PRIOR_SHAPE + side.n / 2
    prior = (_PRIOR_SHAPE - 1) * max(spread, signals.FLOOR) ** 2
    b = prior + side.squares / 2 + _PRIOR_WEIGHT * side.n * (side.mean - centre) ** 2 / (2 * k)
    location = (_PRIOR_WEIGHT * centre + side.n * side.mean) / k
    return 2 * a, location, np.maximum(np.sqrt(b * (k + 1) / (a * k)), signals.FLOOR)


def _log_ratio(within: Side, without: Side, target: Array, variance: Variance) -> Array:
    """(n,) log-density of the target's signal under one side less that under the other; 0 where neither says anything."""
    spread = _spread(within, without), _spread(without, within)
    score = _log_density(within, target, variance, spread[0]) - _log_density(without, target, variance, spread[1])
    score[within.says_nothing & without.says_nothing] = 0.0
    return score


def _log_density(side: Side, target: Array, variance: Variance, spread: float) -> Array:
    """(n,) log-density of the target's signal under one side, without the constant both sides share."""
    if variance != "nig":
        sigma = _normal(side, variance, spread)
        return -np.log(sigma) - (side.mean / sigma) ** 2 / 2
    freedom, location, scale = _student(side, target, spread)
    constant = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - np.log(freedom) / 2
    return np.asarray(constant - np.log(scale) - (freedom + 1) / 2 * np.log1p((location / scale) ** 2 / freedom))


def _upper_tail(side: Side, target: Array, variance: Variance, spread: float) -> Array:
    """(n,) z-scores, or minus the log of the upper tail of the t."""
    if variance != "nig":
        return -side.mean / _normal(side, variance, spread)
    freedom, location, scale = _student(side, target, spread)
    t = -location / scale
    lower = stdtr(freedom, -np.abs(t))  # the smaller tail: the other is 1 - lower, and its log needs log1p
    # where the tail underflows it is density(t) * t / freedom, exact in the limit
    far = (
        (gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - np.log(freedom * np.pi) / 2)
        - (freedom + 1) / 2 * np.log1p(t**2 / freedom)
        + np.log(np.maximum(np.abs(t), 1.0) / freedom)
    )
    log_lower = np.where(lower > 1e-290, np.log(np.maximum(lower, 1e-290)), far)
    return np.where(t > 0, -log_lower, -np.log1p(-lower))
