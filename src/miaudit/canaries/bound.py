"""From one model trained on planted canaries to a lower bound on its epsilon."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit import signals, stats
from miaudit.canaries.folder import load_planted
from miaudit.canaries.ordinary import OrdinaryCheck, check_ordinary, refuse_wrong_model
from miaudit.canaries.planting import Canaries, Planted, check_coins
from miaudit.data.dataset import Dataset
from miaudit.errors import StoreError, counted, noun
from miaudit.files import read_json, write_atomically
from miaudit.seeds import child_seed
from miaudit.targets import Outputs, as_target
from miaudit.visible import visible

AUDIT = "audit.json"
FPRS = (0.1, 0.01)


@dataclass(frozen=True)
class Area:
    """An AUC with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rate:
    """A TPR at a rate of false positives with its interval; whether so few could be told at it is ``resolvable``."""

    fpr: float
    tpr: float
    low: float
    high: float
    resolvable: bool


@dataclass(frozen=True)
class GaussianCheck:
    """What the canaries' scores say of a Gaussian trade-off curve; see `miaudit.stats.binormal`."""

    mu: float | None = None
    p: float | None = None
    power: float | None = None


@dataclass(frozen=True)
class CanaryAudit:
    """What one training gave away about its canaries.

    ``epsilon`` is a lower bound on the epsilon, at ``delta``, of the training with respect to the ``copies`` of one canary,
    wrong with probability 1 - ``confidence`` at most; ``epsilon_ceiling`` is what it would be had every guess been right.
    ``epsilon_gaussian`` and its ceiling hold for mechanisms with a Gaussian trade-off curve, such as DP-SGD with many
    steps. They are given only where the canaries' scores could have refuted such a curve and did not
    (`miaudit.stats.binormal`: ``gaussian_check``), which is no proof of it; else they are null, with
    ``epsilon_gaussian_reason``.
    Where the included canaries were deleted again (``deleted``), it is a bound on what the deletion leaves, as the coins
    decide who is trained on and deleted. A deletion that is (eps, d)-unlearning gives models within 2 eps of one another
    whatever the coins, at (1 + e^eps) d, so that ``epsilon_unlearning``, half of the bound, is one on eps.
    ``auc`` and ``tpr_at_fpr`` are of the canaries, with intervals, and are no DP bounds. ``ordinary`` is what was seen
    of the model on the ordinary records of its training data, before any canary was scored.
    """

    kind: str
    canaries: int
    included: int
    copies: int
    signal: str
    references: int
    guesses: int
    correct: int
    epsilon: float
    epsilon_ceiling: float
    epsilon_gaussian: float | None
    epsilon_gaussian_ceiling: float | None
    epsilon_gaussian_reason: str | None
    gaussian_check: GaussianCheck
    delta: float
    confidence: float
    auc: Area
    tpr_at_fpr: list[Rate]
    training_accuracy: float
    canary_accuracy: dict[str, float]
    queries: int
    seed: int
    ordinary: OrdinaryCheck
    warnings: list[str]
    deleted: bool = False
    epsilon_unlearning: float | None = None

    def to_json(self) -> str:
        """Return it as a JSON document."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def summary(self) -> str:
        """Return it in a few lines for people."""
        auc, point = self.auc, self.tpr_at_fpr[0]
        copies = "" if self.copies == 1 else f", {self.copies} copies each"
        copies += ", and deleted again" if self.deleted else ""
        lines = [
            f"{counted(self.canaries, f'{self.kind} canary', f'{self.kind} canaries')}, "
            f"{self.included:,} of them trained on by coin flip{copies}",
            f"{self.correct:,} of {counted(self.guesses, 'guess', 'guesses')} {noun(self.correct, 'is', 'are')} right",
            f"epsilon is at least {self.epsilon:.3f} at delta {self.delta:g}, {100 * self.confidence:.12g} % confidence "
            f"(all guesses right would show {self.epsilon_ceiling:.3f})",
        ]
        if self.epsilon_unlearning is not None:
            lines.append(
                "of the model after the deletion of all included canaries: a claim of (eps, d)-unlearning with eps below "
                f"{self.epsilon_unlearning:.3f} is refuted, where (1 + e^eps) d is at most {self.delta:g}"
                if self.epsilon > 0
                else "of the model after the deletion of all included canaries: no trace of them is shown"
            )
        if self.epsilon_gaussian is not None:
            lines.append(
                f"at least {self.epsilon_gaussian:.3f} if the trade-off curve is Gaussian, as of DP-SGD "
                f"(all right: {self.epsilon_gaussian_ceiling:.3f}); the scores do not speak against it "
                f"(p = {self.gaussian_check.p:.2g})"
            )
        else:
            lines.append(f"no bound for a Gaussian trade-off curve: {self.epsilon_gaussian_reason}")
        lines += [
            f"AUC on the canaries {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}], TPR at FPR {point.fpr:g} "
            f"{point.tpr:.3f} [{point.low:.3f}, {point.high:.3f}]",
            f"accuracy on the training data {self.training_accuracy:.3f}, on included canaries "
            f"{self.canary_accuracy['included']:.3f}, on the others {self.canary_accuracy['held_out']:.3f}",
            *(f"warning: {text}" for text in self.warnings),
        ]
        return "\n".join(map(visible, lines))


def audit_canaries(
    planted: Planted, model: Any, *, references: Sequence[Any] = (), accept_weak: bool = False
) -> CanaryAudit:
    """Score the canaries by a model trained on ``planted.training``, make the guesses fixed at planting, and bound epsilon.

    Steinke, Nasr and Jagielski (2023) without assumption on the mechanism, Mahloujifar, Melis and Chaudhuri (2024) for a
    Gaussian trade-off curve; see `epsilon_one_run` and `epsilon_one_run_fdp` of :mod:`miaudit.stats`. There is no argument
    for the number of guesses or the signal: chosen with the scores at hand they would void the bound.

    Parameters
    ----------
    planted
        What :func:`~miaudit.canaries.plant` made.
    model
        Trained on all of ``planted.training``: anything :func:`~miaudit.targets.as_target` takes.
    references
        Models trained on data that do not depend on the coins, as the ordinary records alone: each canary's score is
        lessened by their mean, its difficulty.
    accept_weak
        Audit a model, too, that knows so little of the ordinary training records that it seems to be another one.

    Raises
    ------
    DataError
        If all coins fell on one side, or the model plainly was not trained on this data (see `OrdinaryCheck`); then no
        canary was scored.
    TargetError
        If the model fails on the canaries.
    """
    check_coins(planted.inside)
    target = _target(model, planted)
    training = target.answer(planted.training.X)
    check = check_ordinary(planted, training.labels)
    if not accept_weak:
        refuse_wrong_model(check)
    canaries = target.answer(planted.canaries.X)
    theirs = [_target(reference, planted).answer(planted.canaries.X) for reference in references]
    return bound_epsilon(planted, training, canaries, theirs, check=check, queries=target.queries)


def ceiling(options: Canaries) -> float:
    """Return the bound on epsilon that these canaries give if every guess is right."""
    r = options.k_in + options.k_out
    return stats.epsilon_one_run(options.count, r, r, options.delta, options.confidence)


def bound_epsilon(
    planted: Planted,
    training: Outputs,
    canaries: Outputs,
    references: Sequence[Outputs] = (),
    *,
    check: OrdinaryCheck,
    queries: int,
) -> CanaryAudit:
    """Bound epsilon from a model's answers to its training data and to all canaries, and references' to the canaries."""
    options, inside = planted.options, planted.inside
    score = _score(canaries, planted)
    if references:
        score = score - np.mean([_score(answers, planted) for answers in references], axis=0)
    others = score[~inside]
    guesses = stats.one_run_guesses(
        score[inside], others, k_in=options.k_in, k_out=options.k_out, seed=child_seed(planted.seed, "ties")
    )
    m, r, v = guesses
    correct = canaries.labels == planted.canaries.y
    accuracy = training.labels == planted.training.y
    auc = stats.auc_interval(score[inside], others, confidence=options.confidence)
    points = [stats.tpr_at_fpr(score[inside], others, fpr, confidence=options.confidence) for fpr in FPRS]
    epsilon = stats.epsilon_one_run(m, r, v, options.delta, options.confidence)
    return CanaryAudit(
        kind=options.kind,
        canaries=m,
        included=int(inside.sum()),
        copies=options.times,
        signal=options.signal if canaries.kind != "labels" else "label",
        references=len(references),
        guesses=r,
        correct=v,
        epsilon=epsilon,
        epsilon_ceiling=ceiling(options),
        **_gaussian(planted, score, guesses),
        delta=options.delta,
        confidence=options.confidence,
        auc=Area(auc.value, auc.low, auc.high),
        tpr_at_fpr=[Rate(each.fpr, each.tpr, each.low, each.high, each.resolvable) for each in points],
        training_accuracy=float(accuracy.mean()),
        canary_accuracy={"included": float(correct[inside].mean()), "held_out": float(correct[~inside].mean())},
        queries=queries,
        seed=planted.seed,
        ordinary=check,
        warnings=[*check.warnings, *planted.training.notes],
        deleted=options.delete,
        epsilon_unlearning=epsilon / 2 if options.delete else None,
    )


def _gaussian(planted: Planted, score: NDArray[np.float64], guesses: tuple[int, int, int]) -> dict[str, Any]:
    """Return the bound that holds where the trade-off curve is Gaussian, or why it is not given: fields of `CanaryAudit`."""
    options, check = planted.options, GaussianCheck()
    reason: str | None = "at delta 0 a Gaussian curve has no finite epsilon"
    bounds: list[float | None] = [None, None]
    if options.delta > 0:
        sides = score[planted.inside], score[~planted.inside]
        curve = stats.binormal(*sides, seed=child_seed(planted.seed, "binormal"))
        check, reason = GaussianCheck(curve.mu, curve.p, curve.power), curve.reason
    if reason is None:
        m, r, v = guesses
        bounds[:] = [stats.epsilon_one_run_fdp(m, r, c, options.delta, options.confidence) for c in (v, r)]
    return {
        "epsilon_gaussian": bounds[0],
        "epsilon_gaussian_ceiling": bounds[1],
        "epsilon_gaussian_reason": reason,
        "gaussian_check": check,
    }


def audit_folder(
    folder: str | Path,
    model: Any,
    *,
    fingerprint: str,
    references: Sequence[Any] = (),
    seal: str | None = None,
    accept_weak: bool = False,
) -> CanaryAudit:
    """Audit a model on the canaries planted in a folder, and write ``audit.json`` there.

    Parameters
    ----------
    folder
        Written by :func:`~miaudit.canaries.save_planted`.
    model, references, accept_weak
        As in :func:`audit_canaries`.
    fingerprint
        What tells this model from others, as the hash of its file: the coins of a folder serve one model. A second one
        could have been chosen, or trained, by what the first audit said.
    seal
        As it was noted at planting.

    Raises
    ------
    StoreError
        If what was planted has been altered, or another model was audited on these coins before.
    DataError
        If the model plainly was not trained on this data; the coins are not spent then, and the right model can be audited.
    """
    folder = Path(folder)
    planted, choices = load_planted(folder, seal=seal)
    path = folder / AUDIT
    if path.exists():
        try:
            before = read_json(path)
            same = (before["model"], before["references"]) == (fingerprint, len(references))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            same = False
        if not same:
            raise StoreError(
                f"{path} is the audit of another model on these coins: the best of several audits is no bound. Plant again in "
                "a new folder and train again"
            )
    audit = audit_canaries(planted, model, references=references, accept_weak=accept_weak)
    write_audit(folder, audit, fingerprint=fingerprint, seal=choices)
    return audit


def write_audit(folder: Path, audit: CanaryAudit, *, fingerprint: str, seal: str) -> None:
    """Write ``audit.json`` beside the canaries, which are spent from then on."""
    text = json.dumps({"model": fingerprint, "seal": seal, **asdict(audit)}, indent=2) + "\n"
    write_atomically(folder / AUDIT, text.encode())


def _target(model: Any, planted: Planted) -> Any:
    classes: Dataset = planted.training
    return as_target(model, classes=len(classes.classes), names=classes.classes)


def _score(answers: Outputs, planted: Planted) -> NDArray[np.float64]:
    """Return the (m,) scores of the canaries, higher = trained on."""
    labels = planted.canaries.y
    if answers.kind == "labels":
        return np.asarray(answers.labels == labels, dtype=np.float64)
    if planted.options.signal == "loss":
        return -signals.loss(answers.probabilities, labels)
    return signals.phi(answers.probabilities, labels)
