"""The learned ratio: what separates members from others, learned with shadow models in the target's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from miaudit import signals
from miaudit.attacks.attack import Attack, Scores, require
from miaudit.attacks.decisions import stand_ins
from miaudit.attacks.lira import likelihood_ratio
from miaudit.attacks.moments import Side, resolved_rows, sides, signal_rows
from miaudit.attacks.rmia import by_record, offline_mean
from miaudit.errors import DataError, counted, not_whole, refuse
from miaudit.evidence import Bools, Evidence
from miaudit.seeds import child_seed, generator
from miaudit.signals import Floored, Loss, Upright

Array = NDArray[np.float64]

_TEMPERATURE = 2.0  # as of RMIA
_LINES = (0.3, 0.6, 0.9)  # slopes of RMIA's offline line, of which the learner picks
_MOST_ROWS = 50_000  # learned from: more change the two learners by less than their seed does
_PRIOR = 4.0  # a record's own spread counts as much as the pooled one from so many references on


@dataclass(frozen=True)
class Ratio(Attack):
    """Learn the likelihood ratio instead of assuming its form.

    Up to ``stand_ins`` shadow models take the target's place in turn, and the other shadows are their references. Each
    gives a row for every record it answered: the signal phi, its mean and shrunken spread among the references trained
    without the record and, where there are any, with it; and the ratios that LiRA (nig) and RMIA make of these. What is learned
    from these rows, whose memberships are the attacker's own draws, scores the target's answers, with all shadows as
    references. The score is the mean of two log-odds: of a logistic regression, which is safe on few records, and of small
    gradient-boosted trees. Of more than 50,000 rows, 50,000 drawn by the seed are learned from.

    Overlapping shadows stand in on the audited records, and the score decides at even odds. Shadows trained on no
    audited record stand in on their own records, where others answered them without having been trained on them; as for
    LiRA and RMIA, they give no decision.

    New here is the combination: leave-one-out moments of stand-ins as what a ratio is learned from, with no model trained
    for it. Learned ratios and calibrated scores as such are not new (RAPID, He et al. 2024; LDC-MIA, Shi et al. 2024); see
    decision 13.

    Parameters
    ----------
    stand_ins
        Most shadows that take the target's place.
    trees
        Boosting rounds.
    """

    stand_ins: int = 8
    trees: int = 100

    name: ClassVar[str] = "ratio"
    title: ClassVar[str] = "Learned ratio, with shadows in the target's place"
    paper: ClassVar[str] = "this project; after Carlini et al. 2022 and Zarifzadeh et al. 2024"
    when: ClassVar[Mapping[str, str]] = {"": "4 to 16 shadow models of either design"}
    needs: ClassVar[frozenset[str]] = frozenset({"signal", "shadows", "inside", "overlapping"})
    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        refuse(not_whole(("ratio.stand_ins", self.stand_ins), ("ratio.trees", self.trees)))

    @property
    def least_shadows(self) -> int:
        """One stands in, and a spread needs a few references."""
        return 4

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Learn on stand-ins and score the target; the seed is that of the trees."""
        model = self._learned(require(self, evidence), seed)
        score = model.log_odds([evidence])[0]
        notes = (
            f"learned on {counted(model.models, 'shadow model')} in the target's place, {counted(model.rows, 'row')}",
        )
        return Scores(score, score > 0 if model.overlapping else None, notes)

    def scores_of(self, evidence: Evidence, others: Sequence[Evidence], *, seed: int = 0) -> list[Array]:
        """Score each other model by what is learned once; see :meth:`Attack.scores_of`."""
        return self._learned(require(self, evidence), seed).log_odds(others)

    def _learned(self, evidence: Evidence, seed: int) -> Learned:
        """Return what is learned of stand-ins, once, for target and bystanders."""
        return evidence.once((self, seed), lambda: self._learn(evidence, seed))

    def _learn(self, evidence: Evidence, seed: int) -> Learned:
        """Learn from the rows of stand-ins; of very many, from some drawn by the seed."""
        unit = _unit(evidence)
        _, shadows = _logs(evidence, unit)
        everyone = np.ones(evidence.inside.shape, bool)
        overlapping = bool(stand_ins(evidence, most=1))
        if overlapping:
            models = stand_ins(evidence, most=self.stand_ins)
            rows = [_of_stand_in(j, shadows, evidence.inside, everyone, both=True) for j in models]
        else:
            rows = self._on_their_own(evidence.own, unit)
        x = np.concatenate([features for features, _ in rows]) if rows else np.empty((0, 0))
        y = np.concatenate([member for _, member in rows]) if rows else np.empty(0, bool)
        if min(int(y.sum()), int((~y).sum())) < 20:
            raise DataError(
                "ratio needs rows of shadow models in the target's place: at least 20 of records they were trained on and 20 "
                f"of others, each answered by another shadow, too; got {int(y.sum())} and {int((~y).sum())}"
            )
        if len(y) > _MOST_ROWS:
            some = np.sort(generator(seed, "ratio rows").choice(len(y), _MOST_ROWS, replace=False))
            x, y = x[some], y[some]
        return Learned.of(
            x,
            y,
            models=len(rows),
            overlapping=overlapping,
            unit=unit,
            trees=self.trees,
            seed=child_seed(seed, "ratio"),
        )

    def _on_their_own(self, own: Evidence | None, unit: float) -> list[tuple[Array, Bools]]:
        """Return features and memberships of shadows on records of their own that others answered."""
        if own is None:
            return []
        _, rows = _logs(own, unit)
        phi, inside, answered = by_record(rows.phi, own)
        soft = None if rows.soft is None else by_record(rows.soft, own)[0]
        return [
            _of_stand_in(j, Logs(phi, soft), inside, answered, both=False) for j in range(min(self.stand_ins, len(phi)))
        ]


@dataclass(frozen=True, eq=False)
class Learned:
    """Two learners of so many rows of stand-ins, ``models`` of them, and how their inputs are scaled."""

    mean: Array
    spread: Array
    linear: Any
    boosted: Any
    rows: int
    models: int
    overlapping: bool
    unit: float

    @classmethod
    def of(cls, x: Array, y: Bools, *, models: int, overlapping: bool, unit: float, trees: int, seed: int) -> Learned:
        """Learn from (rows, features) and memberships; a lacking number counts as the mean of all rows.

        ``unit`` is what signals were divided by.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression

        mean, spread = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
        boosted = HistGradientBoostingClassifier(
            max_iter=trees,
            learning_rate=0.06,
            max_leaf_nodes=8,
            min_samples_leaf=min(80, max(5, len(y) // 20)),
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed,
        )
        inputs = _scaled(x, mean, spread)
        with threadpool_limits(1):
            linear = LogisticRegression(C=0.1, max_iter=1000).fit(inputs, y)
            return cls(mean, spread, linear, boosted.fit(inputs, y), len(y), models, overlapping, unit)

    def log_odds(self, targets: Sequence[Evidence]) -> list[Array]:
        """Return the (n,) mean of both learners' log-odds for the records of each target."""
        with threadpool_limits(1):
            return [self._log_odds(each) for each in targets]

    def _log_odds(self, evidence: Evidence) -> Array:
        target, shadows = _logs(evidence, self.unit)
        everyone = np.ones(evidence.inside.shape, bool)
        features = _features(target, shadows, evidence.inside, everyone, both=self.overlapping)
        inputs = _scaled(features, self.mean, self.spread)
        score = (self.linear.decision_function(inputs) + self.boosted.decision_function(inputs)) / 2
        return np.asarray(score, np.float64)


class Logs(NamedTuple):
    """Two signals, (n,) of one model or (m, n) of many: phi, and the softened log-probability of the class.

    Of evidence that is signals: its own twice, or once and None where it is no log-likelihood.
    """

    phi: NDArray[np.floating]
    soft: NDArray[np.floating] | None

    def of(self, index: Any) -> Logs:
        """Return the same of some models or records."""
        return Logs(self.phi[index], None if self.soft is None else self.soft[index])


def _unit(evidence: Evidence) -> float:
    """Return how far the shadows' signals lie from their median, in the median, in which they are then measured.

    1 where they are logarithms.
    """
    if "likelihood" in evidence.offers:
        return 1.0
    rows = np.asarray(resolved_rows(evidence, "phi")[1], np.float64)
    distances = np.abs(rows - np.median(rows))
    return float(np.median(distances[distances > 0])) if distances.any() else 1.0


def _logs(evidence: Evidence, unit: float) -> tuple[Logs, Logs]:
    phi = resolved_rows(evidence, "phi")
    if "likelihood" not in evidence.offers:
        return Logs(phi[0] / unit, None), Logs(phi[1] / unit, None)
    log = Upright(Loss(_TEMPERATURE)) if evidence.measure is None else Floored(evidence.measure)
    soft = signal_rows(evidence, log)
    return tuple(Logs(*pair) for pair in zip(phi, soft, strict=True))  # type: ignore[return-value]


def _of_stand_in(model: int, shadows: Logs, inside: Bools, answered: Bools, *, both: bool) -> tuple[Array, Bools]:
    """Features and memberships of one shadow's records, the other shadows being its references."""
    rest = np.delete(np.arange(len(inside)), model)
    here = answered[model] & (answered[rest] & (both | ~inside[rest])).any(axis=0)
    some = np.ix_(rest, np.flatnonzero(here))
    features = _features(shadows.of((model, here)), shadows.of(some), inside[some], answered[some], both=both)
    return features, inside[model, here]


def _features(target: Logs, shadows: Logs, inside: Bools, answered: Bools, *, both: bool) -> Array:
    """(n, 9) numbers a record: what models without it answer; and, with ``both``, 5 more of models with it.

    NaN where there is no reference of a side. Without log-likelihoods they are 5, and 4 more.
    """
    phi = target.phi.astype(np.float64)
    soft = None if target.soft is None else target.soft.astype(np.float64)
    mean, spread = _moments(_side(phi, shadows.phi, answered & ~inside))
    columns = [phi, phi + mean, -mean, spread, -mean / spread]
    if soft is not None and shadows.soft is not None:
        mean_soft = _mean_of_exp(shadows.soft, answered & ~inside)
        columns += [soft, *(soft - np.log(np.maximum(offline_mean(mean_soft, a), signals.FLOOR)) for a in _LINES)]
    if both:
        mean, spread = _moments(_side(phi, shadows.phi, answered & inside))
        ratio, missing = likelihood_ratio(phi, shadows.phi, inside)
        columns += [phi + mean, -mean, spread, np.where(missing, np.nan, ratio)]
        if soft is not None and shadows.soft is not None:
            with_it = _mean_of_exp(shadows.soft, answered & inside)
            columns.append(soft - np.log(np.maximum((mean_soft + with_it) / 2, signals.FLOOR)))
    return np.stack(columns, axis=1).round(6)  # so that equal answers stay equal, whatever the order of summation


def _side(phi: Array, shadows: NDArray[np.floating], of: Bools) -> Side:
    """Moments of the marked shadows' signals, taken from the target's."""
    return sides(phi, np.where(of, shadows, phi), of)[0]


def _moments(side: Side) -> tuple[Array, Array]:
    """(n,) means, NaN where there is no shadow; and spreads, shrunk to the pooled one."""
    freedom = np.maximum(side.n - 1, 0)
    pooled = side.squares.sum() / max(float(freedom.sum()), 1.0)
    spread = np.sqrt((side.squares + _PRIOR * pooled) / (freedom + _PRIOR))
    return np.where(side.n > 0, side.mean, np.nan), np.maximum(spread, 1e-6)


def _mean_of_exp(logs: NDArray[np.floating], of: Bools) -> Array:
    """(n,) mean probability of the marked shadows; NaN where there is none."""
    total = np.where(of, np.exp(logs, dtype=np.float64), 0.0).sum(axis=0)
    n = of.sum(axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _scaled(x: Array, mean: Array, spread: Array) -> Array:
    return np.asarray(np.nan_to_num((x - mean) / np.maximum(spread, 1e-9)))
