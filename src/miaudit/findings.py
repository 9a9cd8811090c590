"""From scores to findings: figures of each attack, the controls beside them, and one sentence for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit import stats
from miaudit.attacks import Scores, blind_auc, shuffle_membership
from miaudit.attacks.attack import Attack
from miaudit.errors import MiauditError
from miaudit.evidence import Bools, Evidence
from miaudit.result import (
    AttackResult,
    BlindControl,
    ClassMetrics,
    Interval,
    NullControl,
    PointMetrics,
    Roc,
    TprAtFpr,
)
from miaudit.seeds import child_seed, generator

CONFIDENCE = 0.95
FPRS = (0.1, 0.01, 0.001)
ROC_POINTS = 200


@dataclass(frozen=True, eq=False)
class Run:
    """One attack's result, and its scores where it ran."""

    result: AttackResult
    scores: Scores | None

    def record(self, i: int) -> dict[str, Any]:
        """Return score and decision of audited record i, for the per-record table."""
        name = self.result.name
        if self.scores is None:
            return {name: None, f"{name}_in": None}
        decision = self.scores.decision
        return {name: float(self.scores.score[i]), f"{name}_in": None if decision is None else int(decision[i])}


def run_attack(
    attack: Attack, evidence: Evidence, member: Bools, classes: tuple[str, ...], *, seed: int, attacks: int = 1
) -> Run:
    """Run an attack and measure it against the truth; a failure is a result too.

    Parameters
    ----------
    attack
        Any attack of `miaudit.attacks`.
    evidence, member
        What it reads, and (n,) who is a member among the audited records.
    classes
        Names of the classes.
    seed
        Root of the attack's own draws, and of the draw that makes the sides equally large.
    attacks
        How many attacks the audit runs: what counts as above chance is corrected for it.
    """
    common: dict[str, Any] = {
        "name": attack.name,
        "title": attack.title,
        "paper": attack.paper,
        "options": attack.options,
        "confidence": CONFIDENCE,
    }
    try:
        scores = attack.run(evidence, seed=child_seed(seed, "attack", attack.name))
    except MiauditError as error:
        return Run(AttackResult(**common, status="failed", reason=str(error)), None)
    ins, outs = scores.score[member], scores.score[~member]
    even = balanced(member, seed=seed)
    curve = stats.roc(ins, outs)
    points = _thinned(curve.fpr, curve.tpr)
    decision = scores.decision
    corrected = stats.auc_interval(ins, outs, confidence=1 - (1 - CONFIDENCE) / attacks)
    return Run(
        AttackResult(
            **common,
            status="ran",
            pooled=None if decision is None else PointMetrics(**_metrics(decision[even], member[even])),
            per_class=[] if decision is None else _per_class(scores, evidence, member, even, classes),
            auc=_interval(stats.auc_interval(ins, outs, confidence=CONFIDENCE)),
            tpr_at_fpr=[_tpr(stats.tpr_at_fpr(ins, outs, fpr, confidence=CONFIDENCE)) for fpr in FPRS],
            roc=Roc(fpr=curve.fpr[points].tolist(), tpr=curve.tpr[points].tolist()),
            above_chance=corrected.low > 0.5,
            notes=list(scores.notes),
        ),
        scores,
    )


def balanced(member: Bools, *, seed: int) -> NDArray[np.int64]:
    """Return record numbers with as many members as non-members: all of the smaller side, a draw from the larger."""
    sides = [np.flatnonzero(member), np.flatnonzero(~member)]
    size = min(len(side) for side in sides)
    rng = generator(seed, "balance")
    return np.sort(np.concatenate([side if len(side) == size else rng.permutation(side)[:size] for side in sides]))


def null_control(attack: Attack, evidence: Evidence, member: Bools, *, seed: int) -> NullControl | None:
    """Run the attack with every membership shuffled, the shadows' and the audited records'.

    It must come out at chance. The interval has 99.9 %, so that one run in a thousand is flagged by chance alone.
    """
    shuffled, truth = shuffle_membership(evidence, member, child_seed(seed, "null"))
    try:
        scores = attack.run(shuffled, seed=child_seed(seed, "null attack"))
    except MiauditError:
        return None
    auc = stats.auc_interval(scores.score[truth], scores.score[~truth], confidence=0.999)
    even = balanced(truth, seed=seed)
    accuracy = None if scores.decision is None else float((scores.decision == truth)[even].mean())
    return NullControl(
        attack=attack.name, auc=_interval(auc), accuracy=accuracy, at_chance=bool(auc.low <= 0.5 <= auc.high)
    )


def blind_control(features: Any, labels: NDArray[np.int64], member: Bools, *, seed: int) -> BlindControl:
    """Try to tell members from non-members by the encoded records alone."""
    try:
        blind = blind_auc(features, labels, member, seed=child_seed(seed, "blind"), confidence=CONFIDENCE)
    except MiauditError as error:
        return BlindControl(
            method="none",
            auc=Interval(value=None, low=None, high=None, reason=str(error)),
            confounded=None,
            reason=str(error),
        )
    return BlindControl(
        method=blind.method,
        auc=Interval(value=blind.value, low=blind.low, high=blind.high, reason=blind.reason),
        reason=blind.reason,
        confounded=None if blind.low is None else blind.low > 0.5,
    )


def judged(results: list[AttackResult], blind: BlindControl) -> list[AttackResult]:
    """Say of each attack whether it beats its controls: chance, the model-free check, and the loss threshold.

    An attack beats them if it is above chance, its AUC's interval lies above the model-free AUC where that one is
    confounded, and, for attacks that train on shadows, it finds more than the loss threshold by AUC.
    """
    baseline = next((r.auc.value for r in results if r.name == "threshold" and r.auc is not None), None)
    judged_results: list[AttackResult] = []
    for result in results:
        if result.auc is None or result.auc.low is None or result.auc.value is None:
            judged_results.append(result)
            continue
        notes, beats = list(result.notes), bool(result.above_chance)
        if not beats:
            notes.append("Its AUC is not above chance, at a level corrected for the number of attacks.")
        elif blind.confounded and blind.auc.value is not None and result.auc.low <= blind.auc.value:
            beats = False
            notes.append(f"Its AUC is not above {blind.auc.value:.3f}, what the raw records alone reach.")
        if result.name == "shokri" and baseline is not None and result.auc.value < baseline:
            beats = False
            notes.append(
                f"By AUC it finds less than the loss threshold ({result.auc.value:.3f} against {baseline:.3f}): the "
                "shadow models add nothing here, and the threshold's figures are the ones to heed."
            )
        judged_results.append(result.model_copy(update={"beats_controls": beats, "notes": notes}))
    return judged_results


def verdict_of(
    results: list[AttackResult], null: NullControl | None, blind: BlindControl, members: int, nonmembers: int
) -> str:
    """Return the one sentence a reader takes away."""
    n = f"n = {members} members and {nonmembers} non-members"
    if null is not None and not null.at_chance:
        return (
            "Do not use: the attack does better or worse than chance on shuffled membership "
            f"(AUC {_f(null.auc.value)}), so something in the set-up is broken; {n}."
        )
    if blind.confounded:
        return (
            f"Confounded: the raw records alone tell members from non-members (AUC {_f(blind.auc.value)}, 95 % interval "
            f"{_f(blind.auc.low)} to {_f(blind.auc.high)}), so no attack's figure measures the model; {n}."
        )
    ran = [r for r in results if r.auc is not None and r.auc.value is not None and r.auc.low is not None]
    if not ran:
        return f"Inconclusive: no attack could be measured; {n}."
    found = [r for r in ran if r.above_chance]
    if found:
        best = max(found, key=lambda r: r.auc.value or 0.0)  # type: ignore[union-attr]
        assert best.auc is not None
        at = ""
        if best.pooled is not None and best.pooled.accuracy is not None:
            p = best.pooled
            at = f": {_f(p.accuracy)} of its in/out decisions are right, precision {_f(p.precision)}, recall {_f(p.recall)}"
        return (
            f"Membership leaks. The attack '{best.name}' tells members from non-members with AUC {_f(best.auc.value)} "
            f"(95 % interval {_f(best.auc.low)} to {_f(best.auc.high)}){at}; {n}."
        )
    highest = max(r.auc.high or 0.0 for r in ran if r.auc is not None)
    return f"No leak detected above AUC {_f(highest)} at 95 % with {n}, by the attacks that were run."


def _f(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _metrics(decision: Bools, member: Bools) -> dict[str, Any]:
    found = stats.decisions(decision, member, confidence=CONFIDENCE)
    metrics: dict[str, Any] = {"n": found.n, "members": found.members}
    for name in ("precision", "recall", "accuracy"):
        rate = getattr(found, name)
        metrics.update({name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high})
        if name != "accuracy":
            metrics[f"{name}_reason"] = rate.reason
    return metrics


def _per_class(
    scores: Scores, evidence: Evidence, member: Bools, even: NDArray[np.int64], classes: tuple[str, ...]
) -> list[ClassMetrics]:
    assert scores.decision is not None
    labels = evidence.audited_labels
    correct = evidence.target.argmax(axis=1) == labels
    models = {entry.label: entry for entry in scores.per_class}
    rows = []
    for label, name in enumerate(classes):
        of_class = even[labels[even] == label]
        if not len(of_class):
            continue
        everyone = labels == label
        entry = models.get(label)
        figures: dict[str, Any] = {
            "class": name,
            **_metrics(scores.decision[of_class], member[of_class]),
            "attack_model": "none" if entry is None else entry.model,
            "attack_rows": None if entry is None else entry.in_rows + entry.out_rows,
            "train_accuracy": _mean(correct[everyone & member]),
            "test_accuracy": _mean(correct[everyone & ~member]),
        }
        rows.append(ClassMetrics(**figures))
    return rows


def _mean(values: Bools) -> float | None:
    return float(values.mean()) if len(values) else None


def _interval(interval: stats.Interval) -> Interval:
    return Interval(value=interval.value, low=interval.low, high=interval.high)


def _tpr(point: stats.TprAtFpr) -> TprAtFpr:
    return TprAtFpr(
        fpr=point.fpr,
        tpr=point.tpr,
        low=point.low,
        high=point.high,
        resolvable=point.resolvable,
        reason=point.reason,
    )


def _thinned(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return indices of at most 2 * ROC_POINTS points that draw the same curve, linear and logarithmic."""
    last = len(fpr) - 1
    if last < 2 * ROC_POINTS:
        return np.arange(last + 1)
    even = np.linspace(0, last, ROC_POINTS)
    dense_at_left = np.geomspace(1, last, ROC_POINTS)
    return np.unique(np.concatenate([[0], even, dense_at_left]).round().astype(np.int64))
