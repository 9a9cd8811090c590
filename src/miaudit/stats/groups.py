"""Leakage by group, with intervals that hold for all groups at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError, counted
from miaudit.stats.auc import Interval, Spread, auc, auc_score_interval, auc_spread
from miaudit.stats.rates import checked_confidence
from miaudit.stats.roc import TprAtFpr, sides, tpr_at_fpr


@dataclass(frozen=True)
class GroupLeak:
    """What an attack finds in one group.

    ``confidence`` is the level of this group's intervals, corrected for the number of groups. The figures are None, with a
    reason, where the group has no members or no non-members. ``above_chance``: the AUC's interval lies above 1/2. ``spread`` is
    what gives that interval at another level.
    """

    group: str
    members: int
    nonmembers: int
    auc: Interval | None
    tpr: TprAtFpr | None
    above_chance: bool | None
    confidence: float
    reason: str | None = None
    spread: Spread | None = None


def by_group(
    in_scores: ArrayLike,
    out_scores: ArrayLike,
    in_groups: ArrayLike,
    out_groups: ArrayLike,
    *,
    in_people: ArrayLike | None = None,
    out_people: ArrayLike | None = None,
    fpr: float | None = None,
    confidence: float = 0.95,
) -> tuple[GroupLeak, ...]:
    """Measure an attack in every group of records: classes, or any the user names.

    With G groups that have both sides, each interval is at 1 - (1 - confidence) / G (Bonferroni), so that the AUCs' intervals
    hold for all groups together at ``confidence``, and so do, for themselves, those of the TPRs: looking for the
    worst group finds none in noise more often than that.

    Parameters
    ----------
    in_scores, out_scores
        (n_in,) and (n_out,) scores of members and of non-members, higher = member.
    in_groups, out_groups
        The group of each of these records: numbers or text, none missing.
    in_people, out_people
        The person of each of these records, as in :func:`~miaudit.stats.auc_interval`; not together with ``fpr``, whose exact
        bounds need independent records.
    fpr
        Also find the TPR at this rate, with a threshold of each group's own; None for no TPR.
    confidence
        Level at which the intervals of all groups hold together.

    Returns
    -------
    tuple of GroupLeak
        One for each group, in sorted order.

    Raises
    ------
    DataError
        If a side is empty or not finite, or groups are missing or of another length than the scores.
    PlanError
        If the rate or the confidence is out of range.
    """
    inside, outside = sides(in_scores, out_scores)
    of_in = _groups("in_groups", in_groups, len(inside))
    of_out = _groups("out_groups", out_groups, len(outside))
    if (of_in.dtype.kind == "U") != (of_out.dtype.kind == "U"):
        raise DataError(f"groups must be of one kind on both sides, got {of_in.dtype} and {of_out.dtype}")
    people = [None if each is None else np.asarray(each) for each in (in_people, out_people)]
    if fpr is not None and any(each is not None for each in people):
        raise DataError("a TPR of records that belong to people has no exact bounds; leave out fpr, or people")
    names = np.union1d(of_in, of_out)
    both = len(np.intersect1d(of_in, of_out))
    each = 1.0 - (1.0 - checked_confidence(confidence)) / max(both, 1)
    leaks = []
    for name in names:
        ins, outs = inside[of_in == name], outside[of_out == name]
        if not len(ins) or not len(outs):
            reason = "there are no members here" if not len(ins) else "there are no non-members here"
            leaks.append(GroupLeak(str(name), len(ins), len(outs), None, None, None, each, reason))
            continue
        of = [None if p is None else p[g == name] for p, g in zip(people, (of_in, of_out), strict=True)]
        spread = auc_spread(ins, outs, in_people=of[0], out_people=of[1])
        area = auc_score_interval(auc(ins, outs), len(ins), len(outs), confidence=each, spread=spread)
        rate = None if fpr is None else tpr_at_fpr(ins, outs, fpr, confidence=each)
        leaks.append(GroupLeak(str(name), len(ins), len(outs), area, rate, area.low > 0.5, each, spread=spread))
    return tuple(leaks)


def _groups(name: str, groups: ArrayLike, n: int) -> NDArray[np.generic]:
    values: NDArray[np.generic] = np.asarray(groups)
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.ravel()):
        values = values.astype(str)
    if values.shape != (n,) or values.dtype.kind not in "iubU":
        raise DataError(
            f"{name} must be one whole number or text per score, got shape {values.shape} and dtype {values.dtype} "
            f"for {counted(n, 'score')}; give missing groups a name"
        )
    return values
