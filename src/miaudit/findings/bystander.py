"""The control by bystanders: the same attack on models that were trained on none of the audited records.

A bystander knows neither side. Where an attack tells members from non-members by a bystander's answers, the sides differ in
how hard they are, and what it finds on the target is a leak only as far as it finds more there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from miaudit import signals, stats
from miaudit.attacks import Attack, Scores
from miaudit.attacks.attack import errors_of
from miaudit.evidence import Bools, Evidence
from miaudit.findings.claims import CONFIDENCE
from miaudit.findings.unit import Sides, Unit
from miaudit.result import AttackResult, BystanderControl, BystanderFigures, Difference, Interval

MOST = 20
"""Bystanders that take the target's place: more hardly steady the mean of their areas."""

LEAST_ALIKE = 4
"""Bystanders from which on their spread says whether the target is like them."""
LEAST_SPREAD = 3
"""Bystanders from which on the mean of their areas has an interval."""
_FLOOR = 1e-3  # of a probability: what is rarer is no sign of another training

NONE = "no model that was trained on none of the audited records answered them"
_ONCE = "models trained on neither side answered each record once, and attacks read several variants of it"


class _InTurn(Sequence[Evidence]):
    """Evidence of each bystander, made when it is looked at, so that the answers of one are held at a time."""

    def __init__(self, evidence_of: Callable[[int], Evidence], bystanders: range) -> None:
        self._evidence_of, self._bystanders = evidence_of, bystanders

    def __len__(self) -> int:
        return len(self._bystanders)

    @overload
    def __getitem__(self, index: int) -> Evidence: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Evidence]: ...
    def __getitem__(self, index: int | slice) -> Evidence | Sequence[Evidence]:
        if isinstance(index, slice):
            return _InTurn(self._evidence_of, self._bystanders[index])
        return self._evidence_of(self._bystanders[index])


def bystanders_of(evidence: Evidence, *, most: int = MOST) -> Sequence[Evidence]:
    """Return evidence in which bystanders take the target's place, one after the other; none where there is no bystander.

    They are those of the evidence, or shadows that answered the audited records and were trained on none of them. A shadow
    leaves the references while it stands in, so that the attack has one fewer.
    """
    if evidence.bystanders is not None:
        several = evidence.variants is not None  # the attack would average over answers that bystanders did not give
        return [] if several else _InTurn(evidence.of_bystander, range(min(most, len(evidence.bystanders))))
    if evidence.asked is None and len(evidence.models) and not evidence.inside.any():
        return _InTurn(evidence.stand_in, range(min(most, len(evidence.models))))
    return []


def bystander_figures(
    attack: Attack,
    evidence: Evidence,
    scores: Scores,
    member: Bools,
    unit: Unit,
    *,
    seed: int,
    attack_seed: int,
    attacks: int,
    reason: str | None = None,
) -> BystanderFigures:
    """Run an attack on bystanders, and compare what it finds on the target.

    Parameters
    ----------
    attack, evidence, scores
        What was run on the target, what it read, and what came of it.
    member
        (n,) who is a member.
    unit
        What is counted.
    seed, attack_seed
        As where the target's scores were counted, and of the attack's run on the target.
    attacks
        How many attacks the audit runs: claims are corrected for it.
    reason
        Why there is no bystander, where that is known.
    """
    others = [] if reason else bystanders_of(evidence)
    if not others:
        return _none(reason or (NONE if evidence.bystanders is None else _ONCE))
    unasked = _unasked(attack, others[0])
    if unasked:
        return _none(f"models trained on neither side were not asked for {' and '.join(unasked)}")
    try:
        rows = attack.scores_of(evidence, others, seed=attack_seed)
    except errors_of(attack) as error:
        return _none(f"the attack could not be run on models trained on neither side: {error}")
    own = unit.judged(scores.score, member, seed=seed)
    like = evidence.once(("alike", member.tobytes()), lambda: alike(evidence, others, member))  # for all attacks
    return compared(own, [unit.judged(row, member, seed=seed) for row in rows], attacks=attacks, alike=like)


def _unasked(attack: Attack, other: Evidence) -> list[str]:
    """Return the questions of an attack that were put to the target alone."""
    probes = other.probes
    answers = {} if probes is None else {"votes": probes.votes, "boundary": probes.distances}
    return [str(question) for question in attack.questions if answers.get(question.kind) is None]


def alike(evidence: Evidence, others: Sequence[Evidence], member: Bools) -> bool | None:
    """Return whether the target answers non-members as bystanders do, as it must where it was trained like them.

    No model was trained on non-members, so that the mean and the standard deviation of its logits on them (of its right
    answers, where it answers labels; of its signals, where the evidence is of signals) are one more draw of what bystanders
    have: Student's t, at 99 % for the two together.
    None where bystanders are fewer than ``LEAST_ALIKE``.
    """
    if len(others) < LEAST_ALIKE or member.all():
        return None
    moments = np.array([_moments(each, ~member) for models in ([evidence], others) for each in models])  # (1 + M, 2)
    theirs, count = moments[1:], len(others)
    half = float(stdtrit(count - 1, 1 - 0.01 / 4)) * theirs.std(axis=0, ddof=1) * (1 + 1 / count) ** 0.5
    return bool(np.all(np.abs(moments[0] - theirs.mean(axis=0)) <= half + 1e-9))


def _moments(evidence: Evidence, of: Bools) -> tuple[float, float]:
    """Return mean and standard deviation of what the target's answers to some records say of it."""
    answers, labels = evidence.target[of], evidence.audited_labels[of]
    if evidence.measure is not None:
        rows = evidence.measure(answers, labels)
    elif answers.ndim == 1:
        rows = np.asarray(answers == labels, np.float64)
    else:
        rows = signals.phi(answers, labels, floor=_FLOOR)
    return float(rows.mean()), float(rows.std())


def compared(own: Sides, others: Sequence[Sides], *, attacks: int, alike: bool | None = None) -> BystanderFigures:
    """Return what an attack finds on the target beyond what it finds on bystanders, by the same records or people."""
    levels = stats.levels(attacks, confidence=CONFIDENCE)
    ins, outs = np.stack([each.inside for each in others]), np.stack([each.outside for each in others])
    excess = stats.auc_excess(*own[:2], ins, outs, in_people=own.in_people, out_people=own.out_people)
    return BystanderFigures(
        models=len(others),
        auc=_mean(excess),
        less=Difference.of(excess.interval(CONFIDENCE)),
        above=excess.interval(1 - 2 * levels.above).low > 0,
        below=excess.interval(1 - 2 * levels.below).high < 0,
        few=None if own.in_people is not None else _more_exposed(own, ins, outs, levels.few),
        tells_sides=excess.tells_sides(1 - 2 * levels.above),
        alike=alike,
        deviation=excess.deviation if math.isfinite(excess.deviation) else None,
        freedom=excess.freedom,
    )


def _more_exposed(own: Sides, ins: NDArray[np.float64], outs: NDArray[np.float64], level: float) -> bool:
    """Whether more members lie above the most surprising rank than bystanders have among as many of the highest records."""
    test = stats.precedence(*own[:2], level=level)
    return stats.more_above(*own[:2], ins, outs, test.rank) <= level * stats.ranks_of(test.n_out)[test.rank]


def bystander_control(results: Sequence[AttackResult], lead: str | None) -> BystanderControl:
    """Return what bystanders say of the sides, by the attack that leads, or else by the first that could be run on them."""
    ran = [r for r in results if r.bystander is not None]
    checked = [r for r in ran if r.checked]
    result = next((r for r in checked if r.name == lead), checked[0] if checked else None)
    if result is None:
        reasons = [r.bystander.reason for r in ran if r.bystander is not None and r.bystander.reason]
        return BystanderControl(auc=None, reason=reasons[0] if reasons else "no attack could be measured")
    figures = result.bystander
    assert figures is not None
    unchecked = [r.name for r in ran if not r.checked]
    return BystanderControl.of(
        figures.auc,
        auc=figures.auc.value,
        attack=result.name,
        models=figures.models,
        tell_sides=[r.name for r in checked if r.bystander is not None and r.bystander.tells_sides],
        unchecked=unchecked,
    )


def _none(reason: str) -> BystanderFigures:
    nothing = Interval.undefined(reason), Difference.undefined(reason)
    return BystanderFigures(models=0, auc=nothing[0], less=nothing[1], reason=reason)


def _mean(excess: stats.Excess) -> Interval:
    """Return the mean area on bystanders, with its interval where they are enough to say how much they differ."""
    if excess.models < LEAST_SPREAD:
        reason = f"fewer than {LEAST_SPREAD} models do not say how much such models differ, so that no interval holds"
        return Interval(value=excess.mean, low=None, high=None, reason=reason)
    return Interval.of(excess.mean_interval(CONFIDENCE))
