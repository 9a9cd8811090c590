"""Whether more members than chance allows lie above the highest non-members: the test for a few fully exposed members."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, betaln, gammaincinv, gammaln, ndtri

from miaudit.errors import PlanError, counted
from miaudit.stats.paired import more_above_p
from miaudit.stats.power import Detectable, checked_sizes
from miaudit.stats.rates import checked_confidence
from miaudit.stats.roc import sides
from miaudit.stats.root import root

RANK_SHARES = (0.0, 0.001, 0.01, 0.1)
"""Ranks of the test as shares of the non-members: above all of them, and above all but 0.1, 1 and 10 %."""
FIRST = 0.5
"""Share of the test's error that the rank above all non-members takes; the other ranks share the rest equally."""


class Precedence(NamedTuple):
    """The most surprising rank of a precedence test."""

    p_value: float  # corrected for the number of ranks
    rank: int  # non-members that may lie above the threshold
    above: int  # members above it
    n_in: int
    n_out: int
    level: float  # what the p-value is compared with
    most: int  # members above the rank that are no surprise at that level


def ranks_of(n_out: int) -> dict[int, float]:
    """Return the different ranks that are tested among so many non-members, each with its share of the test's error."""
    first, *others = sorted({min(int(share * n_out), n_out - 1) for share in RANK_SHARES})
    if not others:
        return {first: 1.0}
    return {first: FIRST, **dict.fromkeys(others, (1 - FIRST) / len(others))}


def precedence(in_scores: ArrayLike, out_scores: ArrayLike, *, level: float = 0.05) -> Precedence:
    """Test whether members lie above the highest non-members more often than exchangeable scores would.

    Where members and non-members are exchangeable and scores continuous, the members above the (k + 1)-th highest of n_out
    non-members are BetaBinomial(n_in, k + 1, n_out - k), whatever the law of the scores (Nelson 1963, "Tables for a
    precedence life test"; Balakrishnan and Ng 2006). Members must lie strictly above it, so ties make the test conservative.
    The p-values of the ranks of `RANK_SHARES` are corrected by a weighted Bonferroni rule (Rosenthal and Rubin 1983):
    each is divided by its rank's share of the error, as `ranks_of` deals it.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of independent members and non-members, higher = member.
    level
        Of the test, with whatever correction the audit makes for attacks.

    Returns
    -------
    Precedence
        The smallest corrected p-value, at most 1, and where it was reached.

    Raises
    ------
    DataError
        If a side is empty or holds NaN.
    """
    ins, outs = sides(in_scores, out_scores)
    n_in, n_out = len(ins), len(outs)
    highest = np.sort(outs)[::-1]
    tests = []
    for rank, share in ranks_of(n_out).items():
        above = int(np.count_nonzero(ins > highest[rank]))
        tests.append((min(float(_tails(n_in, n_out, rank)[above]) / share, 1.0), rank, above, level * share))
    p_value, rank, above, alpha = min(tests, key=lambda each: each[0])
    least = critical_count(n_in, n_out, rank, alpha=alpha)
    return Precedence(p_value, rank, above, n_in, n_out, level, n_in if least is None else least - 1)


def critical_count(n_in: int, n_out: int, rank: int, *, alpha: float) -> int | None:
    """Return the fewest members above a rank that have a probability of at most ``alpha`` by chance; None if no number has."""
    checked_confidence(1 - alpha)
    if not 0 <= rank < n_out:
        raise PlanError(f"rank must lie in 0..{n_out - 1}, the non-members, got {rank}")
    surprising = np.flatnonzero(_tails(n_in, n_out, rank) <= alpha)
    return int(surprising[0]) if len(surprising) else None


def detectable_exposed(
    n_in: int, n_out: int, fpr: float, *, confidence: float = 0.95, power: float = 0.8, others: int = 0
) -> Detectable:
    """Smallest TPR at this FPR that the precedence test reports with this power, where a few members are fully exposed.

    The leak is a share of the members above every non-member, the others scored as non-members are. The rank is the one
    whose share of the non-members is ``fpr``, rounded down; its true FPR follows a Beta law, and the members above it a
    binomial one given that.

    Parameters
    ----------
    n_in, n_out
        Members and non-members, at least one each.
    fpr
        The false-positive rate, a fraction in (0, 1).
    confidence
        One minus the level of the test for this rank, with whatever correction the audit makes for attacks.
    power
        Probability of a report, in [0.5, 1).
    others
        Other models than which more members must lie above the rank, too (:func:`~miaudit.stats.more_above`).

    Returns
    -------
    Detectable
        A TPR above ``fpr``, or None where not even all members above the rank are a surprise.
    """
    n_in, n_out, confidence, power = checked_sizes(n_in, n_out, confidence, power)
    if not 0.0 < fpr < 1.0:
        raise PlanError(f"fpr must lie between 0 and 1, both excluded, got {fpr}; write 0.1 % as 0.001")
    rank = min(int(fpr * n_out), n_out - 1)
    share = _least_share(n_in, n_out, rank, 1 - confidence, power, others)
    if share is None:
        reason = (
            f"{counted(n_in, 'member')} above {n_out - rank:,} of {n_out:,} non-members may be chance at a level "
            f"of {1 - confidence:.2g}"
        )
        return Detectable(None, n_in, n_out, confidence, power, reason)
    return Detectable(share + (1 - share) * fpr, n_in, n_out, confidence, power)


def detectable_share(
    n_in: int, n_out: int, *, confidence: float = 0.95, power: float = 0.8, others: int = 0
) -> Detectable:
    """Smallest share of the members that, above every non-member, is reported with this power by the rank that sees it best.

    The other members are scored as non-members are.

    Parameters
    ----------
    n_in, n_out
        Members and non-members, at least one each.
    confidence
        One minus the level of the whole test, with whatever correction the audit makes for attacks.
    power
        Probability of a report, in [0.5, 1).
    others
        As of :func:`detectable_exposed`.

    Returns
    -------
    Detectable
        A share in (0, 1), or None where not even all members above all non-members are a surprise.
    """
    n_in, n_out, confidence, power = checked_sizes(n_in, n_out, confidence, power)
    shares = [_least_share(n_in, n_out, k, (1 - confidence) * of, power, others) for k, of in ranks_of(n_out).items()]
    least = min((share for share in shares if share is not None), default=None)
    reason = None
    if least is None:
        reason = (
            f"{counted(n_in, 'member')} above all {counted(n_out, 'non-member')} may be chance at a level of "
            f"{1 - confidence:.2g}"
        )
    return Detectable(least, n_in, n_out, confidence, power, reason)


@lru_cache(maxsize=64)
def _least_share(n_in: int, n_out: int, rank: int, alpha: float, power: float, others: int = 0) -> float | None:
    """Return the share of members above a rank that is seen with this power; None where none is."""
    from scipy.stats import binom  # not at the top: it takes half a second, and workers that train do without

    least = _needed(n_in, n_out, rank, alpha, others)
    if not len(least):
        return None
    middles = (np.arange(400) + 0.5) / 400
    reached = betaincinv(rank + 1, n_out - rank, middles)  # (400,) equally likely true FPRs at the rank

    def lack(share: float) -> float:
        return power - float(np.mean(binom.sf(least[:, None] - 1, n_in, share + (1 - share) * reached)))

    return root(lack, 0.0, 1.0) if lack(1.0) < 0 else None


def _needed(n_in: int, n_out: int, rank: int, alpha: float, others: int) -> NDArray[np.int64]:
    """Return equally likely numbers of members above a rank from which on they are a surprise; none where none is.

    Under other models the members among as many of the highest records are nearly binomial, and their dispersion among models
    is chi-squared over its freedom, or 1 if that is less.
    """
    least = critical_count(n_in, n_out, rank, alpha=alpha)
    if least is None or not others:
        return np.array([] if least is None else [least], np.int64)
    share, deep, counts = n_in / (n_in + n_out), (n_in + n_out) // 5, range(least, n_in + 1)
    freedom = max(others - 1, 1)
    spreads = np.maximum(1.0, 2 * gammaincinv(freedom / 2, (np.arange(3) + 0.5) / 3) / freedom) if others > 1 else [1.0]

    def place(deviate: float, spread: float) -> int:
        """Return how many of the counts are no surprise beside what the others have."""

        def surprise(count: int) -> bool:
            depth = count + rank
            theirs = others * depth * share + deviate * (others * depth * share * (1 - share)) ** 0.5
            wider = 1 + (spread - 1) * min(1.0, (depth - 1) / max(1, deep - 1))
            total = min(max(round(theirs), 0), others * depth)
            return more_above_p(count, total, rank, others, wider) <= alpha

        return bisect_left(counts, True, key=surprise)

    deviates = ndtri((np.arange(5) + 0.5) / 5)
    return np.array([least + place(float(z), float(f)) for z in deviates for f in spreads], np.int64)


@lru_cache(maxsize=64)
def _tails(n_in: int, n_out: int, rank: int) -> NDArray[np.float64]:
    """(n_in + 1,) probabilities that at least so many members lie above the rank, where nothing leaks.

    Summed from the far end, so that small ones keep their digits.
    """
    x = np.arange(n_in + 1)
    ways = gammaln(n_in + 1) - gammaln(x + 1) - gammaln(n_in - x + 1)
    law = np.exp(ways + betaln(x + rank + 1, n_in - x + n_out - rank) - betaln(rank + 1, n_out - rank))
    tails: NDArray[np.float64] = np.cumsum(law[::-1])[::-1]
    tails.setflags(write=False)
    return tails
