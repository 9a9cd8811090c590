"""Controls: what an audit must show beside an attack for its figures to mean anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from miaudit.errors import DataError
from miaudit.evidence import Bools, Evidence, Ints
from miaudit.seeds import generator
from miaudit.stats import auc, auc_score_interval

_REPEATS = 2
_LEAST = 20  # records a side below which nothing can be learned


@dataclass(frozen=True)
class Blind:
    """How well members are told from non-members by their records alone; None, with a reason, for too few records."""

    value: float | None
    low: float | None
    high: float | None
    method: str
    reason: str | None = None


def shuffle_membership(evidence: Evidence, member: ArrayLike, seed: int) -> tuple[Evidence, Bools]:
    """Give the evidence memberships that mean nothing.

    Parameters
    ----------
    evidence
        Outputs and memberships of the shadows.
    member
        (n,) bool: is the audited record a member of the target's training set.
    seed
        Seed of the shuffles.

    Returns
    -------
    (Evidence, ndarray)
        The same outputs, with ``inside`` shuffled among the rows of each shadow, and a shuffled ``member``. Every
        count is kept. An attack run on these must come out at chance.
    """
    rng = generator(seed, "shuffle")
    inside = rng.permuted(evidence.inside, axis=1)
    own = evidence.own
    if own is not None:
        own = own.with_inside(rng.permuted(own.inside, axis=1))
    return evidence.with_inside(inside, own=own), rng.permutation(np.asarray(member, bool))


def blind_auc(
    features: Any,
    labels: ArrayLike,
    member: ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    max_per_side: int = 2000,
    max_features: int = 256,
    plain: int = 0,
) -> Blind:
    """Tell members from non-members without any model: from the records and their classes alone.

    Gradient-boosted trees learn on one half of the records and rank the other, and the reverse, for two random
    halvings; the figure is the mean of the four areas. Scores of different models are never pooled, which would bend
    the area below 1/2. The four are dependent in unknown measure, so the interval is as wide as that of one half alone:
    a mean varies no more than its widest part. With more than ``max_features`` columns the trees see, in equal parts,
    the columns that differ most between the sides of the learning half, and the leading principal directions of all
    records.

    Parameters
    ----------
    features
        (n, ...) array or (n, d) scipy sparse matrix of numbers, as they are given to models.
    labels
        (n,) true classes.
    member
        (n,) bool.
    seed
        Seed of every draw; equal seeds give equal figures.
    confidence
        Level of the interval.
    max_per_side
        Draw at most this many members and as many non-members.
    max_features
        Most columns the trees are given.
    plain
        The first so many columns are given whatever they look like, where these are at most a quarter of ``max_features``.

    Returns
    -------
    Blind
        Area, interval and a sentence on the method. An interval above 1/2 means the split itself can be guessed, and
        an attack's figures cannot be laid to the model.

    Raises
    ------
    DataError
        If the sizes do not fit or the features are no finite numbers.
    """
    x, y, truth = _checked(features, labels, member)
    sides = [np.flatnonzero(truth == side) for side in (True, False)]
    n_in, n_out = (min(len(side), max_per_side) for side in sides)
    wide, plain = x.shape[1] > max_features, plain if plain <= max_features // 4 else 0
    method = (
        f"gradient-boosted trees on {n_in} members and {n_out} non-members, two-fold cross-validation repeated "
        f"{_REPEATS} times, "
        + (f"{max_features} columns out of {x.shape[1]} features" if wide else f"{x.shape[1]} features")
        + " and the class"
    )
    if min(n_in, n_out) < _LEAST:
        few = f"{n_in} members and {n_out} non-members are too few to learn from; at least {_LEAST} of each are needed"
        return Blind(None, None, None, method, few)
    rng = generator(seed, "blind")
    chosen = np.concatenate([rng.choice(s, n, replace=False) for s, n in zip(sides, (n_in, n_out), strict=True)])
    x, y, truth = x[chosen], y[chosen], truth[chosen]
    areas = []
    with threadpool_limits(1):
        directions = _directions(x, max_features // 2, rng) if wide else None  # (n, k), blind to membership
        for _ in range(_REPEATS):
            first = np.zeros(len(truth), bool)
            for side in (True, False):
                of_side = np.flatnonzero(truth == side)
                first[rng.permutation(of_side)[: len(of_side) // 2]] = True
            areas += [
                _fold(x, y, truth, directions, learn, max_features, plain, int(rng.integers(2**31)))
                for learn in (first, ~first)
            ]
    value, low, high = auc_score_interval(float(np.mean(areas)), n_in // 2, n_out // 2, confidence=confidence)
    return Blind(value, low, high, method)


def _fold(
    x: Any,
    y: Ints,
    truth: Bools,
    directions: NDArray[Any] | None,
    learn: Bools,
    max_features: int,
    plain: int,
    seed: int,
) -> float:
    """Area on the records not learned from."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    columns = x
    if directions is not None:
        contrast = _contrast(x[learn], truth[learn])
        contrast[:plain] = np.inf
        columns = x[:, np.sort(np.argsort(-contrast, kind="stable")[: max_features - directions.shape[1]])]
    dense = columns.toarray() if _is_sparse(columns) else columns
    parts = [y[:, None].astype(np.float32), np.asarray(dense, np.float32)]
    inputs = np.hstack(parts if directions is None else [*parts, directions])
    few_classes = len(np.unique(y)) <= 255  # the most that trees take as categories
    model = HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=15,
        max_bins=64 if not few_classes or len(np.unique(y)) <= 64 else 255,
        l2_regularization=1.0,
        categorical_features=[0] if few_classes else None,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(inputs[learn], truth[learn])
    ranked = model.decision_function(inputs[~learn])
    return auc(ranked[truth[~learn]], ranked[~truth[~learn]])


def _contrast(x: Any, truth: Bools) -> NDArray[np.float64]:
    """(d,) squared difference of the sides' means over the variance of each column; 0 for a constant one."""
    inside, outside = _mean(x[truth]), _mean(x[~truth])
    square = x.multiply(x) if _is_sparse(x) else np.square(x, dtype=np.float64)
    variance = _mean(square) - _mean(x) ** 2
    # a column whose spread is rounding error only counts as constant
    scale = np.where(variance > 1e-10 * (1e-30 + _mean(square)), variance, np.inf)
    return np.asarray((inside - outside) ** 2 / scale)


def _mean(x: Any) -> NDArray[np.float64]:
    return np.asarray(x.mean(axis=0, dtype=np.float64)).ravel()


def _directions(x: Any, k: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n, k) records along their leading principal directions, by a randomised decomposition (Halko et al. 2011)."""
    mean = _mean(x)

    def forward(v: NDArray[Any]) -> NDArray[Any]:  # centred x @ v
        return np.asarray(x @ v - mean @ v)

    def back(u: NDArray[Any]) -> NDArray[Any]:  # centred x.T @ u
        return np.asarray(x.T @ u - np.outer(mean, u.sum(axis=0)))

    k = min(k, *x.shape)
    basis = forward(rng.normal(size=(x.shape[1], k)))
    for _ in range(2):
        basis = forward(back(np.linalg.qr(basis)[0]))
    q = np.linalg.qr(basis)[0]  # (n, k)
    u, s, _ = np.linalg.svd(back(q).T, full_matrices=False)
    return np.asarray(q @ (u * s), np.float32)


def _checked(features: Any, labels: ArrayLike, member: ArrayLike) -> tuple[Any, Ints, Bools]:
    if _is_sparse(features):
        x = features.tocsr()
        values = x.data
    else:
        values = np.asarray(features)
        x = values.reshape(len(values), -1) if values.ndim else values
    y, truth = np.asarray(labels), np.asarray(member)
    n = x.shape[0] if x.ndim else 0
    if x.ndim != 2 or y.shape != (n,) or truth.shape != (n,) or truth.dtype != bool:
        raise DataError(
            f"features, labels and member must have one row per record; got {x.shape}, {y.shape} and a member array "
            f"of {truth.dtype} {truth.shape}"
        )
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise DataError(f"features must be finite numbers, got dtype {values.dtype}; encode categories and gaps first")
    return x, y.astype(np.int64), truth


def _is_sparse(x: Any) -> bool:
    """Whether x is a scipy sparse matrix; a plain bool, for its class lacks the methods in the stubs."""
    return bool(sparse.issparse(x))
