"""What each statistic reports of an attack where there is nothing to report: calibration by simulation.

Where members and non-members come from one distribution every report of a leak is false, and a statistic that claims
95 % may make one in at most 5 % of the trials. :func:`reports` says what each of ours reports in one trial,
:func:`reports_of_peers` what is commonly reported without an interval, or with one that its search invalidates, and
:func:`most_allowed` how many false reports chance explains.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import binom

from miaudit import stats
from miaudit.attacks import Scores
from miaudit.errors import PlanError
from miaudit.evidence import Bools, Ints
from miaudit.seeds import child_seed, generator

RATES = (0.1, 0.01, 0.001)
DELTA = 1e-5


def reports(scores: Scores, member: Bools, labels: Ints, *, seed: int, people: Ints | None = None) -> dict[str, bool]:
    """Say of every statistic that claims 95 % whether it reports a leak.

    Parameters
    ----------
    scores
        Of an attack. Its decisions count where it makes any.
    member
        (n,) bool: who is a member.
    labels
        (n,) classes, for the figures by group.
    seed
        Of the draws: the split of the scores, and the coin flips of the one-run audits, which are right only where the
        target knows nothing of membership.
    people
        (n,) the person of each record, nobody on both sides. Then areas are of records, their intervals as wide as people
        make them, and everything else that claims a level is of people; records' decisions have no interval.

    Returns
    -------
    dict
        True where an interval lies above chance, or a lower bound above 0.
    """
    score = scores.score
    ins, outs = score[member], score[~member]
    of: dict[str, Any] = {} if people is None else {"in_people": people[member], "out_people": people[~member]}
    groups = stats.by_group(ins, outs, labels[member], labels[~member], **of)
    verdicts = {
        "AUC": stats.auc_interval(ins, outs, **of).low > 0.5,
        "AUC by group, corrected": any(bool(g.above_chance) for g in groups),
    }
    if people is not None:
        person = stats.person_scores(ins, outs, people[member], people[~member], seed=child_seed(seed, "people"))
        units = np.concatenate(person[:2])
        of_people = np.arange(len(units)) < len(person.inside)
        verdicts["AUC of people"] = stats.auc_interval(*person[:2]).low > 0.5
        return verdicts | {f"{name}, people": leak for name, leak in _of_draws(units, of_people, seed).items()}
    verdicts |= _of_draws(score, member, seed)
    coins = generator(seed, "coins").random(len(score)) < 0.5
    verdicts |= {name: bound > 0 for name, bound in one_run_bounds(score, coins, seed=seed).items()}
    if scores.decision is None:
        return verdicts
    rates = stats.decisions(scores.decision, member)
    counts, share = (rates.tp, rates.fn, rates.fp, rates.tn), rates.members / rates.n
    verdicts |= {
        "precision of decisions": (rates.precision.low or 0.0) > share,
        "accuracy of decisions": (rates.accuracy.low or 0.0) > max(share, 1 - share),
        "PPV of decisions": any(each.low > each.prior for each in stats.ppv(*counts)),
        "epsilon of decisions": stats.epsilon_from_rates(*counts, delta=DELTA) > 0,
    }
    return verdicts


def _of_draws(score: NDArray[np.float64], member: Bools, seed: int) -> dict[str, bool]:
    """Say of the statistics that need independent scores whether they report a leak."""
    ins, outs = score[member], score[~member]
    verdicts = {f"TPR at {100 * f:g} % FPR": stats.tpr_at_fpr(ins, outs, f).low > f for f in RATES}
    zero = stats.tpr_at_zero_fp(ins, outs)
    verdicts["TPR at 0 false positives"] = zero.low > zero.fpr_high
    verdicts["any claim of a verdict, one attack"] = stats.claims(ins, outs).any
    verdicts |= {name: bound > 0 for name, bound in certified_bounds(score, member, seed=seed).items()}
    verdicts["PPV at the point of the largest bound"] = _ppv_above_prior(ins, outs)
    return verdicts


def certified_bounds(score: NDArray[np.float64], member: Bools, *, seed: int) -> dict[str, float]:
    """Bound epsilon (at ``DELTA``) and mu from below, by every strategy that chooses its threshold itself.

    Parameters
    ----------
    score, member
        (n,) scores, and who is a member.
    seed
        Of the split.

    Returns
    -------
    dict
        "epsilon, split", "mu, split", "epsilon, Bonferroni" and "mu, Bonferroni", at 95 %; a split picks the threshold
        that is best for what it bounds.
    """
    ins, outs = score[member], score[~member]
    half = child_seed(seed, "split")
    each = stats.certify(ins, outs, stats.Bonferroni(), delta=DELTA)
    return {
        "epsilon, split": stats.certify(ins, outs, stats.Split(half), delta=DELTA).epsilon,
        "mu, split": stats.certify(ins, outs, stats.Split(half, objective="mu"), delta=DELTA).mu,
        "epsilon, Bonferroni": each.epsilon,
        "mu, Bonferroni": each.mu,
    }


def one_run_bounds(score: NDArray[np.float64], coins: Bools, *, seed: int) -> dict[str, float]:
    """Bound epsilon (at ``DELTA``) and mu from below by one run, guessing a twentieth of the records on either side.

    Parameters
    ----------
    score, coins
        (m,) scores of the canaries, and whether each was put in, by fair coin flips.
    seed
        Breaks ties.

    Returns
    -------
    dict
        "epsilon, one run" and "mu, one run", at 95 %.
    """
    k = len(score) // 20
    guesses = stats.one_run_guesses(score[coins], score[~coins], k_in=k, k_out=k, seed=child_seed(seed, "ties"))
    return {
        "epsilon, one run": stats.epsilon_one_run(*guesses, delta=DELTA),
        "mu, one run": stats.mu_one_run_fdp(*guesses),
    }


def reports_of_peers(scores: Scores, member: Bools, *, seed: int) -> dict[str, bool]:
    """Say what is commonly taken for a leak, measured from its description, on the same scores.

    Parameters
    ----------
    scores, member, seed
        As for :func:`reports`.

    Returns
    -------
    dict
        True where the figure is above its value for an attack that knows nothing.
    """
    score = scores.score
    ins, outs = score[member], score[~member]
    curve = stats.roc(ins, outs)
    verdicts = {
        "AUC > 1/2, no interval": stats.auc(ins, outs) > 0.5,
        "largest TPR - FPR over all thresholds > 0": bool((curve.tpr - curve.fpr).max() > 0),
    }
    for rate in (0.01, 0.001):
        best = float(curve.tpr[curve.fpr <= rate].max())
        verdicts[f"TPR at {100 * rate:g} % FPR above it, no interval"] = best > rate
    best = int(np.argmax(curve.tpr - curve.fpr))
    counts = int(curve.tp[best]), int(curve.n_out - curve.fp[best])
    low = stats.clopper_pearson(sum(counts), curve.n_in + curve.n_out)[0]
    verdicts["accuracy at the best threshold, exact interval"] = low > max(curve.n_in, curve.n_out) / (
        curve.n_in + curve.n_out
    )
    verdicts["epsilon at the best threshold, exact bounds"] = bool((_bounds(curve) > 0).any())
    coins = generator(seed, "coins").random(len(score)) < 0.5
    verdicts["epsilon of one run, best numbers of guesses"] = _one_run_by_search(score, coins, child_seed(seed, "ties"))
    return verdicts


def most_allowed(trials: int, cells: int, *, level: float = 0.05, error: float = 0.001) -> int:
    """Return the most false reports of one statistic that chance explains.

    Parameters
    ----------
    trials
        Trials of each cell.
    cells
        How many statistics are looked at together.
    level
        Share of trials a statistic may report in.
    error
        Probability of finding fault with any of ``cells`` statistics although all keep their level (one-sided,
        Bonferroni over the cells).

    Returns
    -------
    int
        The largest count k with P[Bin(trials, level) >= k] > error / cells.
    """
    if trials < 1 or cells < 1:
        raise PlanError(f"most_allowed needs at least one trial and one cell, got {trials} and {cells}")
    return int(binom.isf(error / cells, trials, level))


def _ppv_above_prior(ins: NDArray[np.float64], outs: NDArray[np.float64]) -> bool:
    """Whether an accusation at the best of Bonferroni's points is worth more than the prior, as an audit reports it."""
    points = stats.certify(ins, outs, stats.Bonferroni(), delta=DELTA).points
    best = max(points, key=lambda point: point.epsilon)
    fp = best.fp if best.rank is None else best.rank
    counts = best.tp, best.fn, fp, best.fp + best.tn - fp
    return any(each.low > each.prior for each in stats.ppv(*counts, confidence=1 - 0.05 / len(points)))


def _bounds(curve: stats.Roc) -> NDArray[np.float64]:
    """(points,) lower bound on epsilon at every threshold, each as if it had been the only one."""
    tp, fp = curve.tp[1:].astype(np.float64), curve.fp[1:].astype(np.float64)
    low, high = np.zeros(len(tp)), np.ones(len(fp))
    some, rest = tp > 0, fp < curve.n_out
    low[some] = betaincinv(tp[some], curve.n_in - tp[some] + 1, 0.025)
    high[rest] = betaincinv(fp[rest] + 1, curve.n_out - fp[rest], 0.975)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(low - DELTA, 0.0)) - np.log(high))


def _one_run_by_search(score: NDArray[np.float64], coins: Bools, seed: int) -> bool:
    """Whether a one-run bound lies above 0 for any numbers of guesses on a grid with a step of sqrt(m), uncorrected."""
    m = len(score)
    ties = np.random.default_rng(np.random.SeedSequence(seed)).permutation(m)
    rising = coins[np.lexsort((ties, score))]
    k = np.arange(0, m // 2 + 1, round(m**0.5))
    right_out = np.append(0, np.cumsum(~rising))[k]  # (k,) right among the k lowest, called "out"
    right_in = np.append(0, np.cumsum(rising[::-1]))[k]
    guesses, right = k[:, None] + k, right_in[:, None] + right_out
    # the bound at delta = 0 lies above 0 where so many right guesses are unlikely for a fair coin
    guesses, right = guesses[guesses > 0], right[guesses > 0]
    return bool(np.any(binom.sf(right - 1, guesses, 0.5) < 0.05))
