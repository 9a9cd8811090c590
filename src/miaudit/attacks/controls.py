"""Controls: what an audit must show beside an attack for its figures to mean anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from miaudit.errors import DataError, counted
from miaudit.evidence import Bools, Evidence, Ints
from miaudit.seeds import generator
from miaudit.stats import (
    Spread,
    auc,
    auc_score_interval,
    auc_spread,
    cut_by_person,
    numbered,
    on_both_sides,
    person_scores,
)

_REPEATS, _HALVINGS = 2, 5
_LEAST = 20  # records a side below which nothing can be learned
_DEALS = 399  # of memberships, to see how far the areas of classes that mean nothing go


@dataclass(frozen=True)
class Blind:
    """How well members are told from non-members by their records alone; None, with a reason, for too few records."""

    value: float | None
    low: float | None
    high: float | None
    method: str
    reason: str | None = None


def shuffle_membership(
    evidence: Evidence, member: ArrayLike, seed: int, *, people: ArrayLike | None = None
) -> tuple[Evidence, Bools]:
    """Give the evidence memberships that mean nothing.

    Parameters
    ----------
    evidence
        Outputs and memberships of the shadows.
    member
        (n,) bool: is the audited record a member of the target's training set.
    seed
        Seed of the shuffles.
    people
        (n,) the person of each audited record; default: what the evidence says.

    Returns
    -------
    (Evidence, ndarray)
        The same outputs, with ``inside`` shuffled among the rows of each shadow, and a shuffled ``member``. Every
        count is kept. Where people are known, they are dealt whole, and counts are kept up to one person's
        records. An attack run on these must come out at chance.
    """
    rng = generator(seed, "shuffle")
    of = evidence.audited_people if people is None else numbered(people)
    inside, own = _shuffled(evidence, of, rng), evidence.own
    if own is not None:
        own = own.with_inside(_shuffled(own, of, rng))
    return evidence.with_inside(inside, own=own), _dealt(np.asarray(member, bool), of, rng)


def _shuffled(evidence: Evidence, audited: Ints | None, rng: np.random.Generator) -> Bools:
    """(m, r) memberships of the shadow rows, shuffled within each shadow."""
    people = evidence.shadow_people
    if people is None and audited is not None and evidence.asked is None:
        people = np.broadcast_to(audited, evidence.inside.shape)
    if people is None:
        return rng.permuted(evidence.inside, axis=1)
    rows = [_dealt(inside, of, rng) for inside, of in zip(evidence.inside, people, strict=True)]
    return np.stack(rows) if rows else evidence.inside


def _dealt(inside: Bools, people: Ints | None, rng: np.random.Generator) -> Bools:
    """(r,) memberships dealt anew, to whole people unless one of them is on both sides."""
    if people is None or on_both_sides(people, inside):
        return rng.permutation(inside)
    return cut_by_person(people, int(inside.sum()), rng)


def blind_auc(
    features: Any,
    labels: ArrayLike | None,
    member: ArrayLike,
    *,
    people: ArrayLike | None = None,
    unit: Literal["record", "person"] = "record",
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
        (n,) true classes; None: there are none.
    member
        (n,) bool.
    people
        (n,) the person of each record; None: each record stands for itself.
    unit
        Whether people are ranked, or records.
    seed
        Seed of every draw; equal seeds give equal figures.
    confidence
        Level of the interval.
    max_per_side
        Draw at most this many members and as many non-members, whole people.
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
    x, y, truth = checked_features(features, labels, member)
    of = None if people is None else numbered(people)
    rng = generator(seed, "blind")
    sample = np.concatenate([_drawn(np.flatnonzero(truth == side), of, max_per_side, rng) for side in (True, False)])
    x, truth, of = x[sample], truth[sample], None if of is None else numbered(of[sample])
    y = None if y is None else y[sample]
    n_in, n_out = int(truth.sum()), int((~truth).sum())
    units = (n_in, n_out) if of is None else tuple(len(np.unique(of[truth == side])) for side in (True, False))
    wide, plain = x.shape[1] > max_features, plain if plain <= max_features // 4 else 0
    whom = f"{counted(n_in, 'member')} and {counted(n_out, 'non-member')}"
    if of is not None:
        whom = f"{counted(n_in, 'record')} of {counted(units[0], 'member')} and {n_out:,} of {counted(units[1], 'non-member')}"
    features = counted(x.shape[1], "feature")
    columns = f"{counted(max_features, 'column')} out of {features}" if wide else features
    columns = f"{columns}{'' if y is None else ' and the class'}"
    repeated = f"two-fold cross-validation repeated {_REPEATS} times"
    method = f"gradient-boosted trees on {whom}, {repeated}, {columns}"
    if min(units) < _LEAST:
        few = (
            f"{counted(units[0], 'member')} and {counted(units[1], 'non-member')} are too few to learn from; at "
            f"least {_LEAST} of each are needed"
        )
        return Blind(None, None, None, method, few)
    folds = []
    with threadpool_limits(1):
        directions = _directions(x, max_features // 2, rng) if wide else None  # (n, k), blind to membership
        for _ in range(_REPEATS):
            first = _half(truth, of, rng)
            for learn in (first, ~first):
                ranked = _ranked(x, y, truth, directions, learn, max_features, plain, int(rng.integers(2**31)))
                folds.append(_area(ranked, truth[~learn], None if of is None else of[~learn], unit))
    sizes = (n_in // 2, n_out // 2) if unit == "record" else (units[0] // 2, units[1] // 2)
    areas, spreads = zip(*folds, strict=True)
    spread = None if of is None or unit == "person" else _together(spreads)
    value, low, high = auc_score_interval(float(np.mean(areas)), *sizes, confidence=confidence, spread=spread)
    return Blind(value, low, high, method)


def class_auc(
    labels: ArrayLike,
    member: ArrayLike,
    *,
    people: ArrayLike | None = None,
    unit: Literal["record", "person"] = "record",
    seed: int,
    confidence: float = 0.95,
    max_per_side: int = 2000,
) -> Blind:
    """Tell members from non-members by the classes of their records alone.

    A record scores the logarithm of how much more frequent its class is among members than among non-members of the other
    half of the records; the figure is the mean of the areas of both halves, for five halvings. Halves learn of each other, so
    that no formula holds for the mean. Its interval is as wide as what 399 deals of the memberships give, each learned anew: it
    lies above 1/2 in at most half of 1 - ``confidence`` of audits whose classes do not depend on membership.

    Parameters
    ----------
    labels
        (n,) true classes, integers.
    member, people, unit, seed, confidence, max_per_side
        As of `blind_auc`.

    Returns
    -------
    Blind
        Area, interval and a sentence on the method.

    Raises
    ------
    DataError
        If the sizes do not fit.
    """
    y, truth = checked_features(np.empty((len(np.asarray(labels)), 0)), labels, member)[1:]
    assert y is not None
    rng = generator(seed, "classes")
    of = None if people is None else numbered(people)
    sample = np.concatenate([_drawn(np.flatnonzero(truth == side), of, max_per_side, rng) for side in (True, False)])
    y, truth, of = (
        np.unique(y[sample], return_inverse=True)[1],
        truth[sample],
        None if of is None else numbered(of[sample]),
    )
    units = [int((truth == side).sum() if of is None else len(np.unique(of[truth == side]))) for side in (True, False)]
    whom = "" if of is None else f" of {counted(units[0], 'person', 'people')} and {units[1]:,}"
    method = (
        f"frequencies of the classes of {counted(int(truth.sum()), 'member')} and {counted(int((~truth).sum()), 'non-member')}"
        f"{whom}, two-fold cross-validation repeated {_HALVINGS} times, interval by {_DEALS} deals of the memberships"
    )
    if min(units) < _LEAST:
        whom = "people" if unit == "person" else "records"
        few = f"{units[0]:,} and {units[1]:,} {whom} are too few to learn from; at least {_LEAST} of each are needed"
        return Blind(None, None, None, method, few)
    value = _class_area(y, truth, of, unit, rng)
    chance = np.sort([_class_area(y, _dealt(truth, of, rng), of, unit, rng) for _ in range(_DEALS)])
    beyond = int((1 - confidence) / 2 * (_DEALS + 1))  # deals at least as far out, the audit's own among them
    least, most = chance[beyond - 1], chance[-beyond]
    return Blind(value, max(0.0, value - max(0.0, most - 0.5)), min(1.0, value + max(0.0, 0.5 - least)), method)


def _class_area(y: Ints, truth: Bools, people: Ints | None, unit: str, rng: np.random.Generator) -> float:
    """Return the mean area of classes by their frequencies on the sides of the other half, over halvings."""
    areas, classes = list[float](), int(y.max()) + 1
    for _ in range(_HALVINGS):
        first = _half(truth, people, rng)
        for learn in (first, ~first):
            inside, outside = (np.bincount(y[learn & side], minlength=classes) + 0.5 for side in (truth, ~truth))
            score = np.log(inside / outside)[y]
            ins, outs = (
                score[of] if unit == "record" or people is None else _means(score[of], people[of])
                for of in (~learn & truth, ~learn & ~truth)
            )
            areas.append(auc(ins, outs))
    return float(np.mean(areas))


def _means(score: NDArray[np.float64], people: Ints) -> NDArray[np.float64]:
    """Return the mean score of each person."""
    counts = np.bincount(people)
    return np.bincount(people, score)[counts > 0] / counts[counts > 0]


def _together(folds: Sequence[Spread]) -> Spread:
    """Return the spread of a mean over folds: no narrower than that of one of them."""
    return Spread(
        float(np.mean([fold.inflation for fold in folds])),
        min(fold.freedom for fold in folds),
        min(fold.units for fold in folds),
    )


def _drawn(side: Ints, people: Ints | None, most: int, rng: np.random.Generator) -> Ints:
    """At most ``most`` records of a side; whole people where they are known, the last of them beyond ``most``."""
    if people is None:
        return rng.choice(side, min(len(side), most), replace=False)
    return side if len(side) <= most else side[cut_by_person(people[side], most, rng)]


def _half(truth: Bools, people: Ints | None, rng: np.random.Generator) -> Bools:
    """(n,) bool: one half of each side, by records or by people; of all people where somebody is on both sides."""
    first = np.zeros(len(truth), bool)
    together = people is not None and on_both_sides(people, truth) > 0
    for side in (np.ones(len(truth), bool),) if together else (truth, ~truth):
        of_side = np.flatnonzero(side)
        if people is None:
            first[rng.permutation(of_side)[: len(of_side) // 2]] = True
        else:
            number = numbered(people[of_side])
            order = rng.permutation(int(number.max()) + 1)
            first[of_side[np.isin(number, order[: len(order) // 2])]] = True
    return first


def _area(
    ranked: NDArray[Any], truth: Bools, people: Ints | None, unit: Literal["record", "person"]
) -> tuple[float, Spread]:
    """Area on the records not learned from, and what people do to its interval."""
    ins, outs = ranked[truth], ranked[~truth]
    if people is None:
        return auc(ins, outs), Spread(1.0, np.inf, min(len(ins), len(outs)))
    if unit == "person":
        ins, outs, _ = person_scores(ins, outs, people[truth], people[~truth])
        return auc(ins, outs), Spread(1.0, np.inf, min(len(ins), len(outs)))
    return auc(ins, outs), auc_spread(ins, outs, in_people=people[truth], out_people=people[~truth])


def _ranked(
    x: Any,
    y: Ints | None,
    truth: Bools,
    directions: NDArray[Any] | None,
    learn: Bools,
    max_features: int,
    plain: int,
    seed: int,
) -> NDArray[np.float64]:
    """Scores of the records not learned from."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    columns = x
    if directions is not None:
        contrast = _contrast(x[learn], truth[learn])
        contrast[:plain] = np.inf
        columns = x[:, np.sort(np.argsort(-contrast, kind="stable")[: max_features - directions.shape[1]])]
    dense = columns.toarray() if is_sparse(columns) else columns
    parts = [] if y is None else [y[:, None].astype(np.float32)]
    parts += [np.asarray(dense, np.float32)]
    inputs = np.hstack(parts if directions is None else [*parts, directions])
    classes = 0 if y is None else len(np.unique(y))
    few_classes = 0 < classes <= 255  # the most that trees take as categories
    model = HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=15,
        max_bins=64 if not few_classes or classes <= 64 else 255,
        l2_regularization=1.0,
        categorical_features=[0] if few_classes else None,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(inputs[learn], truth[learn])
    return np.asarray(model.decision_function(inputs[~learn]), np.float64)


def _contrast(x: Any, truth: Bools) -> NDArray[np.float64]:
    """(d,) squared difference of the sides' means over the variance of each column; 0 for a constant one."""
    inside, outside = _mean(x[truth]), _mean(x[~truth])
    square = x.multiply(x) if is_sparse(x) else np.square(x, dtype=np.float64)
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


def checked_features(features: Any, labels: ArrayLike | None, member: ArrayLike) -> tuple[Any, Ints | None, Bools]:
    """Return records as rows of numbers, their classes and who is a member; raise a DataError where they do not fit."""
    if is_sparse(features):
        x = features.tocsr()
        values = x.data
    else:
        values = np.asarray(features)
        x = values.reshape(len(values), -1) if values.ndim else values
    y, truth = None if labels is None else np.asarray(labels), np.asarray(member)
    n = x.shape[0] if x.ndim else 0
    if x.ndim != 2 or (y is not None and y.shape != (n,)) or truth.shape != (n,) or truth.dtype != bool:
        raise DataError(
            f"features, labels and member must have one row per record; got {x.shape}, {None if y is None else y.shape} and a "
            f"member array of {truth.dtype} {truth.shape}"
        )
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise DataError(f"features must be finite numbers, got dtype {values.dtype}; encode categories and gaps first")
    return x, None if y is None else y.astype(np.int64), truth


def is_sparse(x: Any) -> bool:
    """Whether x is a scipy sparse matrix; a plain bool, for its class lacks the methods in the stubs."""
    return bool(sparse.issparse(x))
