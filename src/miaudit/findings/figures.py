"""Figures of one attack: what its scores say, with intervals, of the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from miaudit import stats
from miaudit.attacks import Attack, Scores
from miaudit.attacks.attack import checked, errors_of
from miaudit.errors import DataError, MiauditError, reason_of
from miaudit.evidence import Bools, Evidence
from miaudit.findings.basis import basis_of
from miaudit.findings.claims import CONFIDENCE, FPRS, power
from miaudit.findings.distribution import distribution_of
from miaudit.findings.unit import DEPENDENT, Sides, Unit, unit_of
from miaudit.plan import FiguresPlan
from miaudit.result import (
    AttackResult,
    ClassMetrics,
    CredibleInterval,
    Epsilon,
    Interval,
    OperatingPoint,
    PersonFigures,
    PointMetrics,
    PpvAtPrior,
    Roc,
    RocBand,
    TnrAtFnr,
    TprAtFpr,
    TprAtZeroFp,
)
from miaudit.seeds import child_seed, generator

ROC_POINTS = 200
BAND_POINTS = 24
NO_GAUSSIAN = (
    "it assumes a Gaussian trade-off curve, which is known of some mechanisms and not of the records of one training; a "
    "canary audit gives it where the canaries' scores do not speak against such a curve"
)

_PER_PERSON = f"{DEPENDENT}: see the figures per person"
_Metrics = TypeVar("_Metrics", bound=PointMetrics)


FIGURES = FiguresPlan()  # type: ignore[call-arg]


@dataclass(frozen=True, eq=False)
class Run:
    """One attack's result, and its scores where it ran."""

    result: AttackResult
    scores: Scores | None

    def columns(self, n: int) -> dict[str, NDArray[Any]]:
        """Return (n,) scores and decisions for the table of records; NaN and None where they are missing."""
        score, decision = np.full(n, np.nan), np.full(n, None, object)
        if (scores := self.scores) is not None:
            mask = np.ones(n, bool) if scores.missing is None else ~scores.missing
            score[mask] = scores.score[mask]
            if scores.decision is not None:
                decision[mask] = scores.decision[mask]
        return {self.result.name: score, f"{self.result.name}_in": decision}


def run_attack(
    attack: Attack,
    evidence: Evidence,
    member: Bools,
    classes: tuple[str, ...],
    *,
    seed: int,
    attacks: int = 1,
    name: str | None = None,
    notes: Sequence[str] = (),
    strongest: bool = False,
    operating: FiguresPlan = FIGURES,
    unit: Unit | None = None,
) -> Run:
    """Run an attack and measure it against the truth; a failure is a result too.

    Parameters
    ----------
    attack
        Any attack of `miaudit.attacks`.
    evidence, member
        What it reads, and (n,) who is a member among the audited records.
    classes
        Names of the classes; none where the evidence says nothing of classes.
    seed
        Root of the attack's own draws, and of the draw that makes the sides equally large.
    attacks
        How many attacks the audit runs: what counts as above chance is corrected for it.
    name
        What to call it in the result; default: the attack's own name.
    notes
        What to know beforehand of its figures on such evidence.
    strongest
        Whether it is the strongest documented attack for what there is.
    operating
        Where the threshold of PPV and epsilon comes from.
    unit
        What is counted; default: records.
    """
    unit = unit or unit_of(member)
    common: dict[str, Any] = {
        "name": name or attack.name,
        "title": attack.title,
        "paper": attack.paper,
        "options": attack.options,
        "strongest": strongest,
        "confidence": CONFIDENCE,
        "unit": unit.name,
    }
    scores = _scores(attack, evidence, seed)
    if isinstance(scores, _NoScores):
        return Run(AttackResult(**common, status=scores.status, reason=scores.reason), None)
    records, draws = unit.records(scores.score, member), unit.independent(scores.score, member, seed=seed)
    claims = stats.claims(*(draws or records), attacks=attacks, confidence=CONFIDENCE)
    leaks = claims.above_chance or claims.above_chance_at_low_fpr
    return Run(
        AttackResult.of(
            claims,
            **common,
            status="ran",
            **_of_decisions(scores, evidence, member, classes, unit, seed),
            **_rates(records, reason=_PER_PERSON if unit.dependent else None),
            person=_per_person(unit.persons(scores.score, member, seed=seed)),
            roc=_roc(records, dependent=unit.dependent),
            scores=distribution_of(records),
            power=None if leaks else power(*unit.size(member), attacks=attacks),
            missing=0 if scores.missing is None else int(scores.missing.sum()),
            basis=basis_of(draws or records, independent=draws is not None),
            notes=[*notes, *scores.notes],
            **_of_draws(draws, operating, seed),
        ),
        scores,
    )


class _NoScores(NamedTuple):
    """Why an attack gave none."""

    status: Literal["skipped", "failed"]
    reason: str


def _scores(attack: Attack, evidence: Evidence, seed: int) -> Scores | _NoScores:
    try:
        scores = attack.run(evidence, seed=child_seed(seed, "attack", attack.name))
    except DataError as error:  # by which an attack says that there is too little for it
        return _NoScores("skipped", str(error))
    except errors_of(attack) as error:
        return _NoScores("failed", _why(error))
    try:
        return checked(attack, scores, evidence.n)
    except errors_of(attack) as error:
        return _NoScores("failed", _why(error))


def _why(error: BaseException) -> str:
    return str(error) if isinstance(error, MiauditError) else reason_of(error)


def _of_decisions(
    scores: Scores, evidence: Evidence, member: Bools, classes: tuple[str, ...], unit: Unit, seed: int
) -> dict[str, Any]:
    """Return how often the attack's own decisions are right, over all and in each class, on sides of one size."""
    if scores.decision is None:
        return {"pooled": None, "per_class": []}
    countable = np.flatnonzero(unit.counted)
    even = countable[balanced(member[countable], seed=seed)]
    return {
        "pooled": _points(PointMetrics, scores.decision, member, even, unit),
        "per_class": _per_class(scores, evidence, member, even, classes, unit) if classes else [],
    }


def _per_person(persons: Sides | None) -> PersonFigures | None:
    if persons is None:
        return None
    members = len(persons.inside)
    return PersonFigures(**_rates(persons), n=members + len(persons.outside), members=members)


def _roc(records: Sides, *, dependent: bool) -> Roc:
    """Return the curve; without a band where records depend on one another."""
    curve = stats.roc(records.inside, records.outside)
    points = _thinned(curve.fpr, curve.tpr)
    band = None if dependent else _band(records)
    return Roc(fpr=curve.fpr[points].tolist(), tpr=curve.tpr[points].tolist(), band=band)


def _of_draws(draws: Sides | None, operating: FiguresPlan, seed: int) -> dict[str, Any]:
    """Return the figures that need independent draws, or why there are none."""
    if draws is None:
        return {"figures_reason": f"No PPV and no epsilon: {DEPENDENT}. Count people for them."}
    ins, outs = draws.inside, draws.outside
    zero = TprAtZeroFp.of(stats.tpr_at_zero_fp(ins, outs, confidence=CONFIDENCE))
    return {"tpr_at_zero_fp": zero, **_at_operating_point(ins, outs, operating, seed)}


def _rates(of: Sides, *, reason: str | None = None) -> dict[str, Any]:
    """Return area, TPRs and TNRs; without bounds on the rates where there is a reason why none holds."""
    bounds: dict[str, Any] = {"low": None, "high": None, "resolvable": False, "reason": reason} if reason else {}
    ins, outs = of.inside, of.outside
    return {
        "auc": Interval.of(of.interval(CONFIDENCE)),
        "tpr_at_fpr": [TprAtFpr.of(stats.tpr_at_fpr(ins, outs, fpr, confidence=CONFIDENCE), **bounds) for fpr in FPRS],
        "tnr_at_fnr": [TnrAtFnr.of(stats.tnr_at_fnr(ins, outs, fnr, confidence=CONFIDENCE), **bounds) for fnr in FPRS],
    }


def _band(of: Sides) -> RocBand:
    """Return intervals of the TPR from the smallest rate that the non-members show, to 1, evenly on a logarithmic scale."""
    rates = np.geomspace(1 / len(of.outside), 1.0, BAND_POINTS).clip(0.0, 1.0)
    ends = [stats.tpr_at_fpr(of.inside, of.outside, float(fpr), confidence=CONFIDENCE) for fpr in rates]
    return RocBand(fpr=rates.tolist(), low=[each.low for each in ends], high=[each.high for each in ends])


def skipped(attack: Attack, *, name: str, reason: str) -> AttackResult:
    """Return the entry of an attack that cannot be run, with the reason."""
    return AttackResult(
        name=name,
        title=attack.title,
        paper=attack.paper,
        status="skipped",
        reason=reason,
        options=attack.options,
        confidence=CONFIDENCE,
    )


def _at_operating_point(
    ins: NDArray[np.float64], outs: NDArray[np.float64], operating: FiguresPlan, seed: int
) -> dict[str, Any]:
    """PPV and epsilon, each at the point with the best bound on it, none chosen on the counts that bound it."""
    options: dict[str, Any] = {"delta": operating.delta, "confidence": CONFIDENCE}
    try:
        for_ppv = stats.certify(ins, outs, _strategy(operating, seed, "ppv"), **options)
        for_epsilon = stats.certify(ins, outs, _strategy(operating, seed, "epsilon"), **options)
    except MiauditError as error:
        return {"figures_reason": f"No PPV and no epsilon: {error}."}
    tried = len(for_ppv.points)
    level = 1 - (1 - CONFIDENCE) / tried  # of each point, so that the best of them holds
    accusing = max(for_ppv.points, key=lambda each: each.tpr_low / each.fpr_high)
    telling = max(for_epsilon.points, key=lambda each: each.epsilon)
    n_in, n_out = telling.tp + telling.fn, telling.fp + telling.tn
    credible = stats.epsilon_credible(
        *_counts(telling), operating.delta, level, draws=20_000, seed=child_seed(seed, "credible")
    )
    return {
        "operating_point": OperatingPoint.of(accusing, strategy=operating.threshold, tried=tried),
        "ppv": [
            PpvAtPrior.of(each)
            for each in stats.ppv(
                accusing.tp, accusing.fn, accusing.fp, accusing.tn, rank=accusing.rank, confidence=level
            )
        ],
        "epsilon": Epsilon(
            name="empirical epsilon-equivalent",
            value=telling.epsilon,
            delta=operating.delta,
            ceiling=stats.epsilon_ceiling(n_in, n_out, operating.delta, level),
            gaussian_reason=NO_GAUSSIAN,
            credible=CredibleInterval.of(credible),
            operating_point=OperatingPoint.of(telling, strategy=operating.threshold, tried=tried),
        ),
    }


def _strategy(operating: FiguresPlan, seed: int, objective: Literal["epsilon", "ppv"]) -> stats.Strategy:
    """Return the option value of `miaudit.stats.certify`."""
    if operating.threshold == "bonferroni":
        return stats.Bonferroni()
    return stats.Split(seed=child_seed(seed, "threshold"), objective=objective)


def _counts(point: stats.OperatingPoint) -> tuple[int, int, int, int]:
    """Return tp, fn, fp, tn; a rank allows its false positives, although fewer are seen where scores are tied."""
    fp = point.fp if point.rank is None else point.rank
    return point.tp, point.fn, fp, point.fp + point.tn - fp


def balanced(member: Bools, *, seed: int) -> NDArray[np.int64]:
    """Return record numbers with as many members as non-members: all of the smaller side, a draw from the larger."""
    sides = [np.flatnonzero(member), np.flatnonzero(~member)]
    size = min(len(side) for side in sides)
    rng = generator(seed, "balance")
    return np.sort(np.concatenate([side if len(side) == size else rng.permutation(side)[:size] for side in sides]))


def _points(
    kind: type[_Metrics], decision: Bools, member: Bools, records: NDArray[np.int64], unit: Unit, **more: Any
) -> _Metrics:
    """Return point metrics of these records, without intervals where they are no independent draws."""
    confidence, reason = (None, DEPENDENT) if unit.dependent else (CONFIDENCE, None)
    decisions = stats.decisions(decision[records], member[records], confidence=confidence)
    return kind.of(decisions, interval_reason=reason, **more)


def _per_class(
    scores: Scores,
    evidence: Evidence,
    member: Bools,
    even: NDArray[np.int64],
    classes: tuple[str, ...],
    unit: Unit,
) -> list[ClassMetrics]:
    assert scores.decision is not None
    labels = evidence.audited_labels
    correct = evidence.predicted == labels
    models = {entry.label: entry for entry in scores.per_class}
    rows = []
    for label, name in enumerate(classes):
        of_class = even[labels[even] == label]
        if not len(of_class):
            continue
        everyone = (labels == label) & unit.counted
        entry = models.get(label)
        rows.append(
            _points(
                *(ClassMetrics, scores.decision, member, of_class, unit),
                class_=name,
                attack_model="none" if entry is None else entry.model,
                attack_rows=None if entry is None else entry.in_rows + entry.out_rows,
                train_accuracy=_mean(correct[everyone & member]),
                test_accuracy=_mean(correct[everyone & ~member]),
            )
        )
    return rows


def _mean(values: Bools) -> float | None:
    return float(values.mean()) if len(values) else None


def _thinned(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return indices of at most 2 * ROC_POINTS points that draw the same curve, linear and logarithmic."""
    last = len(fpr) - 1
    if last < 2 * ROC_POINTS:
        return np.arange(last + 1)
    even = np.linspace(0, last, ROC_POINTS)
    dense_at_left = np.geomspace(1, last, ROC_POINTS)
    return np.unique(np.concatenate([[0], even, dense_at_left]).round().astype(np.int64))
