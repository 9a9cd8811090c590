"""Who can be named a member, so that few of those named are none: conformal p-values and a false-discovery rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError, PlanError, counted
from miaudit.stats.roc import sides

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FALSE_DISCOVERY_RATE = 0.1
"""Share of the named who may be non-members, where nothing else is asked for."""


@dataclass(frozen=True, eq=False)
class Accusations:
    """Whom an attacker can name, so that in expectation at most a share ``q`` of the named are non-members.

    Half of the non-members, ``apart_out``, are the attacker's own: known not to be members. All others are judged. ``named``
    are True among them. ``of_members`` of the named are members, ``false`` are not. ``reason`` says why there is no list: with
    so few non-members apart, not even all members above all of them would make one.
    """

    q: float
    named_in: Bools  # (n_in,)
    named_out: Bools  # (n_out,) False for those apart
    apart_out: Bools  # (n_out,)
    reason: str | None = None

    @property
    def of_members(self) -> int:
        """Members named."""
        return int(self.named_in.sum())

    @property
    def false(self) -> int:
        """Non-members named."""
        return int(self.named_out.sum())

    @property
    def named(self) -> int:
        """All who are named."""
        return self.of_members + self.false

    @property
    def members(self) -> int:
        """Members, who all could have been named."""
        return len(self.named_in)

    @property
    def nonmembers(self) -> int:
        """Non-members who could have been named."""
        return len(self.named_out) - self.set_apart

    @property
    def set_apart(self) -> int:
        """Non-members who are the attacker's own."""
        return int(self.apart_out.sum())


def conformal_p_values(scores: ArrayLike, apart: ArrayLike) -> Floats:
    """Return for each score how surprising it would be in a non-member.

    (1 + number of ``apart`` that score at least as high) / (1 + their number) (Vovk, Gammerman and Shafer 2005; Bates,
    Candès, Lei, Romano and Sesia 2023, "Testing for outliers with conformal p-values", equation 3). For a non-member that is
    exchangeable with those apart, it is at most t with a probability of at most t. Ties count against the accusation.

    Parameters
    ----------
    scores
        (n,) scores of records to be judged, higher = member.
    apart
        (k,) scores of records known to be non-members, which nobody judges.

    Raises
    ------
    DataError
        If either is empty or holds NaN or infinity.
    """
    judged, others = sides(scores, apart)
    below = np.searchsorted(np.sort(others), judged, side="left")
    return np.asarray((1 + len(others) - below) / (1 + len(others)), np.float64)


def benjamini_hochberg(p_values: ArrayLike, q: float = FALSE_DISCOVERY_RATE) -> Bools:
    """Choose which hypotheses to reject, so that at most a share ``q`` of the rejected hold in expectation.

    The procedure of Benjamini and Hochberg (1995): with the p-values in rising order, all up to the last that is at most
    q i / m. It holds under positive dependence on a subset (PRDS; Benjamini and Yekutieli 2001), which conformal
    p-values that share their records apart have (Bates et al. 2023, theorem 2); with ties, too, as it stops a supermartingale,
    the false accusations over one more than the records apart above the threshold (Mary and Roquain 2022).

    Parameters
    ----------
    p_values
        (m,) in [0, 1].
    q
        The false-discovery rate, in (0, 1).

    Returns
    -------
    ndarray
        (m,) bool. Equal p-values are rejected together.

    Raises
    ------
    DataError
        If a p-value is none.
    PlanError
        If q is out of range.
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError(f"p_values must be (m,) numbers in [0, 1], got shape {p.shape}")
    _checked_rate(q)
    rising = np.sort(p)
    # a hair of room, as q i / m and a p-value of the same value are rounded differently
    passing = np.flatnonzero(rising <= q * np.arange(1, len(p) + 1) / max(len(p), 1) * (1 + 1e-12))
    if not len(passing):
        return np.zeros(len(p), bool)
    return np.asarray(p <= rising[passing[-1]])


def accuse(
    in_scores: ArrayLike, out_scores: ArrayLike, q: float = FALSE_DISCOVERY_RATE, *, seed: int = 0
) -> Accusations:
    """Name as many as can be named with at most a share ``q`` of non-members among them, in expectation.

    A random half of the non-members, rounded down, is set apart; members and the other half are judged together by
    :func:`conformal_p_values` and :func:`benjamini_hochberg`. As the half is drawn at random, judged non-members are
    exchangeable with those apart, and the expectation, over draws of the half, is at most q times the share of
    non-members among those judged. It is a statement on lists made so where as large a share of those judged are members; where
    members are rarer, fewer can be named.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of independent members and non-members, higher = member, by an attack that was chosen
        without them.
    q
        The false-discovery rate, in (0, 1).
    seed
        Of the draw of the half.

    Raises
    ------
    DataError
        If a side is empty or holds NaN or infinity.
    PlanError
        If q is out of range.
    """
    inside, outside = sides(in_scores, out_scores)
    _checked_rate(q)
    n_in, n_out = len(inside), len(outside)
    apart = np.zeros(n_out, bool)
    apart[np.random.default_rng(np.random.SeedSequence(seed)).permutation(n_out)[: n_out // 2]] = True
    agreement = int(apart.sum())
    named_in, named_out, reason = np.zeros(n_in, bool), np.zeros(n_out, bool), None
    if not agreement or n_in + n_out - agreement > q * n_in * (agreement + 1) * (1 + 1e-12):
        reason = (
            f"{counted(agreement, 'non-member set apart is', 'non-members set apart are')} too few: not even "
            f"{'the' if n_in == 1 else 'all'} {counted(n_in, 'member')} above all of them would be a list of which "
            f"at most {100 * q:g} % are wrong"
        )
    else:
        discoveries = benjamini_hochberg(
            conformal_p_values(np.concatenate([inside, outside[~apart]]), outside[apart]), q
        )
        named_in, named_out[~apart] = discoveries[:n_in], discoveries[n_in:]
    return Accusations(q, named_in, named_out, apart, reason)


def _checked_rate(q: float) -> None:
    if not 0.0 < q < 1.0:
        raise PlanError(f"q must lie between 0 and 1, both excluded, got {q}; write 10 % as 0.1")
