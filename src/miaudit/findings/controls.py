"""The controls beside every attack, and whether it beats them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks import PATTERN_CONFIDENCE, Attack, Pattern, blind_auc, class_auc, label_pattern, shuffle_membership
from miaudit.attacks.attack import errors_of
from miaudit.errors import MiauditError
from miaudit.evidence import Bools, Evidence
from miaudit.findings.claims import CONFIDENCE
from miaudit.findings.figures import balanced
from miaudit.findings.unit import Unit, unit_of
from miaudit.result import (
    AttackResult,
    BlindControl,
    Excess,
    Interval,
    NullControl,
    PatternControl,
    beyond_bystanders,
)
from miaudit.seeds import child_seed

_SHUFFLES = (("null",), ("null", "again"))
_WEAK = 0.7  # a blind check that sees only larger areas proves nothing
_WIDE = 0.3  # nor a check for a pattern that sees only larger differences of accuracies


def null_control(
    attack: Attack,
    evidence: Evidence,
    member: Bools,
    *,
    seed: int,
    name: str | None = None,
    attacks: int = 1,
    unit: Unit | None = None,
) -> NullControl | None:
    """Run the attack with every membership shuffled, the shadows' and the audited records'.

    It must come out at chance; where people are known they are dealt whole, and counted. The interval has 99.9 %,
    corrected for the number of attacks. Where it excludes 1/2, memberships are shuffled once more by another seed, and the
    attack is not at chance only if the second interval excludes 1/2 too: a single shuffle flags one audit in a
    thousand by chance, two in a row about one in a million, and an attack that is really broken fails every shuffle.
    None where the attack cannot be run on shuffled memberships.
    """
    unit = unit or unit_of(member)
    intervals: list[Interval] = []
    for shuffle in _SHUFFLES:
        shuffled, truth = shuffle_membership(evidence, member, child_seed(seed, *shuffle), people=unit.people)
        try:
            scores = attack.run(shuffled, seed=child_seed(seed, *shuffle, "attack"))
        except errors_of(attack):
            return None
        auc = unit.judged(scores.score, truth, seed=seed).interval(1 - 0.001 / attacks)
        intervals.append(Interval.of(auc))
        at_chance = bool(auc.low <= 0.5 <= auc.high)
        if at_chance:
            break
    right = unit.judged(truth.astype(np.float64), truth, seed=seed).interval(1 - 0.001 / attacks)
    tells = right.low > 0.5  # else an attack that is always right would not stand out either
    even = balanced(truth, seed=seed)
    whom = "people" if unit.name == "person" else "records"
    return NullControl(
        attack=name or attack.name,
        auc=intervals[-1],
        accuracy=None if scores.decision is None else float((scores.decision == truth)[even].mean()),
        at_chance=at_chance if tells else None,
        reason=None if tells else f"so few {whom} that an attack which is always right would not stand out",
        shuffles=len(intervals),
        first_auc=intervals[0] if len(intervals) > 1 else None,
    )


def blind_control(
    features: Any,
    labels: NDArray[np.int64] | None,
    member: Bools,
    *,
    seed: int,
    plain: int = 0,
    unread: Sequence[str] = (),
    unit: Unit | None = None,
) -> BlindControl:
    """Try to tell members from non-members by the records alone, as numbers; or people by all records together.

    An interval that excludes 1/2 means *confounded*, on either side of it: above, the sides differ by themselves; below,
    they are matched record by record or share near copies, so that they are no independent draws. An interval around 1/2 is a
    pass only if the check could have failed: not where a column could not be read, nor where so few records show
    nothing below an AUC of ``_WEAK``.

    Parameters
    ----------
    features, labels, plain
        As of `miaudit.attacks.blind_auc`.
    unread
        What of the records is not in the features.
    unit
        What is counted; default: records.
    """
    unit = unit or unit_of(member)
    countable = np.flatnonzero(unit.counted)
    try:
        blind = blind_auc(
            features if unit.counted.all() else features[countable],
            None if labels is None else labels[countable],
            member[countable],
            people=None if unit.people is None else unit.people[countable],
            unit=unit.name,
            seed=child_seed(seed, "blind"),
            confidence=CONFIDENCE,
            plain=plain,
        )
    except MiauditError as error:
        return BlindControl(
            method="none",
            auc=Interval.undefined(str(error)),
            confounded=None,
            reason=str(error),
        )
    if blind.value is None or blind.low is None or blind.high is None:
        confounded, reason = None, blind.reason
    else:
        confounded, reason = not blind.low <= 0.5 <= blind.high, None
        what = "people" if unit.name == "person" else "records"
        detectable = 0.5 + (blind.high - blind.low) / 2  # the least that would have stood out
        if not confounded and detectable > _WEAK:
            reason = f"so few {what} show no difference of the sides below an AUC of about {min(detectable, 1.0):.2f}"
        elif not confounded and unread:
            reason = f"it cannot read {', '.join(unread[:5])}{', ...' if len(unread) > 5 else ''}"
    return BlindControl(
        method=blind.method,
        auc=Interval.of(blind),
        reason=reason,
        confounded=None if reason else confounded,
    )


def class_control(labels: NDArray[np.int64], member: Bools, *, seed: int, unit: Unit) -> BlindControl | None:
    """Return the control on the classes alone, where they tell members from non-members; None where they do not.

    That they do not is no pass: nothing is known of the records. An area below 1/2 comes of sides that were drawn with the
    same number of each class, and is no fault.
    """
    blind = class_auc(
        labels[unit.counted],
        member[unit.counted],
        people=None if unit.people is None else unit.people[unit.counted],
        unit=unit.name,
        seed=child_seed(seed, "classes"),
        confidence=CONFIDENCE,
    )
    if blind.low is None or blind.low <= 0.5:
        return None
    return BlindControl(method=blind.method, auc=Interval.of(blind), confounded=True, classes=True)


def pattern_control(
    features: Any,
    labels: NDArray[np.int64] | None,
    member: Bools,
    *,
    seed: int,
    shape: tuple[int, ...] | None = None,
    unit: Unit | None = None,
) -> PatternControl:
    """Look for a pattern that depends on the class and that records of one side only carry.

    An interval of 99.9 % above 0 means *confounded*: what tells the classes of one side does not tell those of the other, so
    that a model answers them differently whoever it was trained on. That there is no pattern is an answer only where an
    excess of ``_WIDE`` would have stood out.

    Parameters
    ----------
    features, shape
        As of `miaudit.attacks.label_pattern`.
    labels
        (n,) classes; None: there are none.
    unit
        What is counted; default: records.
    """
    unit = unit or unit_of(member)
    index = np.flatnonzero(unit.counted)
    reason: str | None = "the answers are not about classes"
    figures = Pattern("none")
    if labels is not None:
        try:
            figures = label_pattern(
                features if unit.counted.all() else features[index],
                labels[index],
                member[index],
                shape=shape,
                people=None if unit.people is None else unit.people[index],
                seed=child_seed(seed, "pattern"),
            )
            reason = figures.reason
        except MiauditError as error:
            reason = str(error)
    confounded: bool | None = None
    if figures.excess is not None and figures.low is not None and figures.high is not None:
        confounded, half = figures.low > 0, (figures.high - figures.low) / 2
        if not confounded and half > _WIDE:
            confounded, reason = None, f"so few records show no difference of accuracies below about {half:.2f}"
    excess = Excess(value=figures.excess, low=figures.low, high=figures.high, reason=reason)
    return PatternControl.of(
        figures, excess=excess, confidence=PATTERN_CONFIDENCE, confounded=confounded, reason=reason
    )


def judged(
    results: Sequence[AttackResult], blind: BlindControl, pattern: PatternControl | None = None
) -> list[AttackResult]:
    """Say of each attack whether it beats its controls: chance, the model-free check, bystanders, and the loss threshold.

    An attack beats them if it is above chance, its AUC's interval lies above the model-free AUC where that one is
    confounded, no pattern of the classes in the records explains it, it finds more on the target than on bystanders where it
    was run on any, and it finds no less than the loss threshold by AUC. No attack is exempt.
    """
    baseline = next((a.value for r in results if r.name == "threshold" and (a := r.of_unit.auc) is not None), None)
    beyond = {each.name for each in beyond_bystanders([r for r in results if r.area is not None]).above}
    judged_results: list[AttackResult] = []
    for result in results:
        auc = result.of_unit.auc
        if auc is None or auc.low is None or auc.value is None:
            judged_results.append(result)
            continue
        notes, beats = list(result.notes), bool(result.above_chance)
        if not beats:
            notes.append("Its AUC is not above chance, at a level corrected for the number of attacks.")
            if result.above_chance_at_low_fpr:
                notes.append("At a low false positive rate it does find more members than chance: a few stand out.")
        elif blind.confounded and blind.auc.value is not None and auc.low <= blind.auc.value:
            beats = False
            notes.append(f"Its AUC is not above {blind.auc.value:.3f}, what the {blind.read} alone reach.")
        if beats and pattern is not None and pattern.confounded:
            beats = False
            notes.append(
                "Records of one side carry a pattern of their classes, which models answer whoever is a member."
            )
        if beats and result.name not in beyond:
            beats = False
            notes.append(
                "It is not shown to find more than on models trained on neither side, at a level corrected for all attacks."
            )
        # where scores are upside down, "finds less" would say nothing of whoever turns them round
        if baseline is not None and max(auc.value, 0.5) < baseline and not result.below_chance:
            beats = False
            notes.append(
                f"By AUC it finds less than the loss threshold, which needs no shadow models ({auc.value:.3f} against "
                f"{baseline:.3f}): by that figure it adds nothing here."
            )
        judged_results.append(result.model_copy(update={"beats_controls": beats, "notes": notes}))
    return judged_results
