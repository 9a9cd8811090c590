"""Quantile regression: the target's confidence in a record against that in such records it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from threadpoolctl import threadpool_limits

from miaudit import signals
from miaudit.attacks.attack import Attack, Scores, require
from miaudit.errors import DataError, misfits, not_real, not_whole, refuse
from miaudit.evidence import Evidence, Ints, Population
from miaudit.seeds import child_seed, generator

Head = Literal["gaussian", "quantile"]
Array = NDArray[np.float64]

_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
_TAIL = 10  # population records beyond the outermost quantile that is fitted
_MOST_COLUMNS = 64
_MOST_ROWS = 20_000  # of the population that the trees learn from
_FOLDS = 2  # of the population, for scores of records that were not learned from
_BLOCK = 2048  # records made float64 at a time


@dataclass(frozen=True)
class Quantile(Attack):
    """Bertran et al. (2023): quantiles of the hinge score given the record and its class, learned on non-members.

    No shadow models: gradient-boosted trees learn from the population's records what scores the target gives to records
    it was not trained on. *Gaussian head*: five quantiles (10 % to 90 %), put in rising order where they cross
    (Chernozhukov et al. 2010), and a normal laid through them; the score is (s - mu) / sigma. The paper's own head
    learns mu and sigma by likelihood with a network; ours needs none. *Quantile head*: the quantile at 1 - alpha
    itself; the score is s less it. Records of more than 64 numbers are reduced to their leading principal components. Of a
    population of more than 20,000 records, 20,000 drawn by the seed are used.

    Either way a record is called a member above the conformal cut at alpha: the (1 - alpha)(p + 1)-th of the p population
    records' scores, each by trees that did not learn from it (cross-conformal prediction, Vovk 2015), where the paper cuts
    at the predicted quantile, which accuses more than alpha where the prediction is off.

    Parameters
    ----------
    head
        ``"gaussian"`` or ``"quantile"``.
    alpha
        False-positive rate of the decision.
    trees
        Boosting rounds per quantile.
    """

    head: Head = "gaussian"
    alpha: float = 0.01
    trees: int = 60

    name: ClassVar[str] = "quantile"
    title: ClassVar[str] = "Quantile regression: confidence against similar non-members"
    paper: ClassVar[str] = "Bertran et al. 2023"
    when: ClassVar[Mapping[str, str]] = {"": "no shadow models, and records with telling features"}
    needs: ClassVar[frozenset[str]] = frozenset({"signal", "population", "features"})
    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        refuse(
            misfits(("quantile.head", self.head, Head)),
            not_real(("quantile.alpha", self.alpha), above=0, below=0.5),
            not_whole(("quantile.trees", self.trees)),
        )

    @property
    def _least(self) -> int:
        """Population records that the head needs."""
        return int(np.ceil(_TAIL / (self.alpha if self.head == "quantile" else _LEVELS[0])))

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Learn on the population and judge the audited records; the seed draws the components of wide records."""
        require(self, evidence)
        population, inputs, answers = self._learned_from(evidence, seed)
        p = len(answers)
        if p < self._least:
            raise DataError(
                f"quantile with the {self.head} head needs a population of at least {self._least:,} records, {_TAIL} "
                f"beyond its outermost quantile; got {p:,}"
            )
        signal = _signal(evidence, population)
        with threadpool_limits(1):
            mean, spread = self._usual(evidence, inputs, answers, seed)
            score = (signal - mean) / spread
            held_out = np.empty(p)
            for fold in np.array_split(generator(seed, "folds").permutation(p), _FOLDS):
                rest = np.setdiff1d(np.arange(p), fold)
                mean, spread = self._expected(inputs[0][rest], answers[rest], inputs[0][fold], evidence.classes, seed)
                held_out[fold] = (answers[fold] - mean) / spread
        rank = int(np.ceil((1 - self.alpha) * (p + 1)))  # of the conformal cut among the population's scores
        if rank > p:
            least = int(np.ceil(1 / self.alpha)) - 1
            few = (
                f"a cut at a false-positive rate of {self.alpha:g} needs {least:,} population records, there are {p:,}"
            )
            return Scores(score, None, (f"it ranks and does not decide: {few}",))
        return Scores(score, score > np.sort(held_out)[rank - 1])

    def scores_of(self, evidence: Evidence, others: Sequence[Evidence], *, seed: int = 0) -> list[Array]:
        """Judge all others' answers by what is learned from the target's on the population; see :meth:`Attack.scores_of`."""
        population, inputs, answers = self._learned_from(evidence, seed)
        with threadpool_limits(1):
            mean, spread = self._usual(evidence, inputs, answers, seed)
        return [np.asarray((_signal(other, population) - mean) / spread, np.float64) for other in others]

    def _learned_from(self, evidence: Evidence, seed: int) -> tuple[Population, list[Array], Array]:
        """Return the population, its records and the audited ones as numbers, and (p,) what the target says of the former."""
        population = require(self, evidence).population
        assert population is not None
        assert evidence.features is not None
        assert population.features is not None
        some = np.arange(len(population.labels))
        most = max(_MOST_ROWS, self._least)
        if len(some) > most:
            some = np.sort(generator(seed, "quantile rows").choice(len(some), most, replace=False))
        x = _columns(population.features[some], evidence.features, seed)
        if evidence.measure is not None:
            return population, x, evidence.measure(population.target[some], population.labels[some])
        labels = (population.labels[some], evidence.audited_labels)
        floor = signals.resolution([population.target, evidence.target])
        answers = signals.hinge(population.target[some], population.labels[some], floor=floor)
        return population, [_with_class(c, y) for c, y in zip(x, labels, strict=True)], answers

    def _usual(self, evidence: Evidence, inputs: list[Array], answers: Array, seed: int) -> tuple[Array, Array | float]:
        """Return what is usual for the audited records, and its spread; learned once, for target and bystanders."""
        computation = partial(self._expected, inputs[0], answers, inputs[1], evidence.classes, seed)
        return evidence.once((self, seed), computation)

    def _expected(
        self, x: Array, answers: Array, audited: Array, classes: int, seed: int
    ) -> tuple[Array, Array | float]:
        """Learn from records x and what the target says of them, ``answers``, what is usual for others, and its spread."""
        categorical = (
            [0] if 1 < classes <= 255 else None
        )  # the most that trees take as categories; 1: there is no class
        levels = (1 - self.alpha,) if self.head == "quantile" else _LEVELS
        fitted = np.sort([self._quantile(level, x, answers, audited, categorical, seed) for level in levels], axis=0)
        if self.head == "quantile":
            return np.asarray(fitted[0], np.float64), 1.0
        z = ndtri(np.array(levels))  # symmetric about 0, so mean and slope are those of a least-squares line
        mu, sigma = fitted.mean(axis=0), z @ fitted / (z @ z)
        least_sigma = max(1e-3 * float(answers.std()), signals.FLOOR)
        return np.asarray(mu, np.float64), np.maximum(sigma, least_sigma)

    def _quantile(
        self, level: float, x: Array, y: Array, audited: Array, categorical: list[int] | None, seed: int
    ) -> Array:
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(
            loss="quantile",
            quantile=level,
            max_iter=self.trees,
            max_leaf_nodes=15,
            min_samples_leaf=20,
            categorical_features=categorical,
            early_stopping=False,
            random_state=child_seed(seed, "quantile"),
        )
        return np.asarray(model.fit(x, y).predict(audited), np.float64)


def _signal(evidence: Evidence, population: Population) -> Array:
    """(n,) hinge of the audited records, zeros taken for the resolution of all answers at hand; or the evidence's signal."""
    if evidence.measure is not None:
        return evidence.measure(evidence.target, evidence.audited_labels)
    floor = signals.resolution([population.target, evidence.target])
    return signals.hinge(evidence.target, evidence.audited_labels, floor=floor)


def _columns(population: NDArray[Any], audited: NDArray[Any], seed: int) -> list[Array]:
    """Both as (., d) float64, d at most 64; components are learned on the population alone."""
    flat = [np.asarray(a).reshape(len(a), -1) for a in (population, audited)]
    if flat[0].shape[1] <= _MOST_COLUMNS:
        return [a.astype(np.float64) for a in flat]
    from sklearn.decomposition import PCA

    k = min(_MOST_COLUMNS, len(flat[0]) - 1)
    pca = PCA(k, svd_solver="randomized", random_state=child_seed(seed, "components")).fit(flat[0].astype(np.float64))
    starts = [range(0, len(a), _BLOCK) for a in flat]
    return [
        np.concatenate([pca.transform(a[start : start + _BLOCK].astype(np.float64)) for start in of_a])
        for a, of_a in zip(flat, starts, strict=True)
    ]


def _with_class(x: Array, labels: Ints) -> Array:
    return np.hstack([labels[:, None].astype(np.float64), x])
