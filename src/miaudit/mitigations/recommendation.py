"""Which mitigation to take: the cheapest that is shown to be enough, never by average figures alone."""

from __future__ import annotations

from collections.abc import Sequence

from miaudit.attacks import LabelOnly
from miaudit.errors import counted, noun
from miaudit.mitigations.document import MitigationRow, Recommendation
from miaudit.result import Interval, Result

_AVERAGE = "Canaries were not run: nothing here speaks of worst-case records."


def recommended(rows: Sequence[MitigationRow], limit: float, whole: Result, *, canaries: bool) -> Recommendation:
    """Return the recommendation of a grid; ``whole`` is the audit without a mitigation, ``canaries`` whether some were run."""
    if whole.finding is not None and whole.finding.kind in ("confounded", "broken"):
        return Recommendation(kind="confounded", mitigation=None, text=f"Nothing can be recommended: {whole.verdict}")
    bare = rows[0]
    if bare.standing == "below" and not _worse_somewhere(bare, limit):
        text = (
            f"No attack that was run reaches an AUC of {limit:g} without a mitigation: the upper bound is {_f(bare.bound)}. "
            f"{_beside(bare, canaries)}"
        )
        return Recommendation(kind="enough", mitigation=bare.mitigation, text=text)
    tried = [row for row in rows if row.side != "none"]
    enough = [row for row in tried if row.standing == "below" and not _worse_somewhere(row, limit)]
    if not enough:
        return _nothing(tried, limit, canaries)
    best = min(enough, key=_cost)
    equals = [row.mitigation for row in enough if row is not best and _overlap(row, best)]
    more = f" Not shown to cost more: {', '.join(equals)}." if equals else ""
    text = (
        f"{best.mitigation} is the cheapest change tried that brings the upper bound of the AUC of every attack that was run "
        f"below {limit:g}: it is {_f(best.bound)}, and {_f(bare.bound)} without. It costs {_points(best)}"
        f"{_probabilities(best)}.{more} {_probed(best)}{_beside(best, canaries)}"
    )
    return Recommendation(kind="take", mitigation=best.mitigation, text=text, equals=equals)


def _nothing(tried: Sequence[MitigationRow], limit: float, canaries: bool) -> Recommendation:
    average = [row for row in tried if row.standing == "below"]
    if average:
        lowest, names = min(average, key=_cost), ", ".join(row.mitigation for row in average)
        text = (
            f"Nothing is recommended: {names} {noun(len(average), 'brings', 'bring')} the average below {limit:g}, but "
            f"not every part of it. {_beside(lowest, canaries)}"
        )
        return Recommendation(kind="none", mitigation=None, text=text)
    bounded = [row for row in tried if row.bound is not None]
    if not bounded:
        return Recommendation(
            kind="inconclusive", mitigation=None, text="No mitigation tried has a bound; nothing can be told."
        )
    lowest = min(bounded, key=lambda row: row.bound or 1.0)
    near = f"the lowest upper bound is {_f(lowest.bound)}, of {lowest.mitigation}, which costs {_points(lowest)}"
    if any(row.standing == "inconclusive" for row in tried):
        text = (
            f"Inconclusive: no mitigation tried is shown to bring every attacker's AUC below {limit:g}; {near}. More audited "
            "records narrow the intervals."
        )
        return Recommendation(kind="inconclusive", mitigation=None, text=text)
    text = f"No mitigation tried brings every attacker's AUC below {limit:g}; {near}."
    return Recommendation(kind="none", mitigation=None, text=text)


def _worse_somewhere(row: MitigationRow, limit: float) -> bool:
    """Whether a slice, or the canaries, are shown to lie above the limit."""
    beside = [each.auc for each in (row.exposed, row.canaries) if each is not None]
    return any(auc.low is not None and auc.low > limit for auc in beside)


def _cost(row: MitigationRow) -> tuple[float, bool, float, float]:
    accuracy, error = row.test_accuracy.value, row.calibration_error.value
    return (-(accuracy or 0.0), error is None, error or 0.0, row.seconds or 0.0)


def _overlap(one: MitigationRow, other: MitigationRow) -> bool:
    """Whether the intervals of what two rows cost overlap, or are not known."""
    a, b = one.accuracy_change, other.accuracy_change
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return True
    return a.low <= b.high and b.low <= a.high


def _points(row: MitigationRow) -> str:
    change = row.accuracy_change
    if change.value is None:
        return "an unknown share of the test accuracy"
    ends = (
        ""
        if change.low is None or change.high is None
        else f" (from {-100 * change.high:+z.1f} to {-100 * change.low:+z.1f})"
    )
    return f"{-100 * change.value:z.1f} points of test accuracy{ends}"


def _probed(row: MitigationRow) -> str:
    """Say where a mitigation of the answers was not attacked by labels alone."""
    if row.side not in ("output", "both") or any(
        each.status == "ran" and each.attack.split()[0] == LabelOnly.name for each in row.attacks
    ):
        return ""
    return (
        "No attack was run that asks for labels alone, with many variants of each record; a change of the answers may leave "
        "those as they were. "
    )


def _probabilities(row: MitigationRow) -> str:
    return ", and every probability" if row.calibration_error.value is None else ""


def _beside(row: MitigationRow, canaries: bool) -> str:
    """Say what the average does not: the most exposed slice, and canaries."""
    sentences = []
    if row.exposed is not None:
        sentences.append(
            f"In the most exposed slice, {row.exposed.column} {row.exposed.group}, the leading attack has an AUC of "
            f"{_interval(row.exposed.auc)}."
        )
    if row.canaries is not None:
        sentences.append(
            f"Of {counted(row.canaries.count, 'canary', 'canaries')} {row.canaries.attack} has an AUC of "
            f"{_interval(row.canaries.auc)}."
        )
    elif not canaries:
        sentences.append(_AVERAGE)
    return " ".join(sentences)


def _interval(auc: Interval) -> str:
    if auc.value is None:
        return f"no figure ({auc.reason})"
    return f"{_f(auc.value)}" + ("" if auc.low is None else f" ({_f(auc.low)} to {_f(auc.high)})")


def _f(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
