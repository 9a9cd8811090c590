"""What an attack is, and what it returns."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import DataError, MiauditError, counted
from miaudit.evidence import Bools, Evidence, Floats, Ints
from miaudit.evidence.questions import Question
from miaudit.signals import label_vectors


@dataclass(frozen=True)
class ClassModel:
    """Which attack model judged the records of one class, and how many shadow rows of that class there were."""

    label: int
    model: Literal["own", "pooled", "none"]
    in_rows: int
    out_rows: int


@dataclass(frozen=True, eq=False)
class Scores:
    """What an attack says about each audited record.

    ``score`` is higher for likelier members. ``decision`` is the attack's own in/out call, or None where it only ranks;
    no attack may use the audited records' membership to make it. ``notes`` are sentences for the report. ``per_class``
    has one entry per class, or none where the attack takes no heed of classes. ``missing`` marks records the evidence
    says too little about; they carry the median score of the others, so that no figure leans on them, and a note
    counts them. None means that none is missing.
    """

    score: NDArray[np.float64]  # (n,)
    decision: Bools | None = None  # (n,)
    notes: tuple[str, ...] = ()
    per_class: tuple[ClassModel, ...] = ()
    missing: Bools | None = None  # (n,)


class Attack(ABC):
    """A configured attack; concrete ones are frozen dataclasses.

    ``needs`` names what the evidence must hold. Of answers: ``"classes"`` (class probabilities or labels),
    ``"probabilities"`` (of the classes), ``"signal"`` (one number that says more than a label: of class probabilities, or of
    evidence that is signals) and ``"likelihood"`` (the probability of the right answer, or its logarithm). Beside them:
    ``"shadows"`` (rows of shadow models), ``"inside"`` (some of them trained on the record asked about), ``"overlapping"``
    (shadows that answered the audited records themselves), ``"population"``, ``"features"``, ``"trace"`` and ``"probes"``
    (of the same names in the evidence). ``when`` says what to use it for, by the words that tell a configuration from the
    default, as in ``lira offline``, and under ``""`` for all others.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    when: ClassVar[Mapping[str, str]] = {}
    needs: ClassVar[frozenset[str]]
    learns: ClassVar[bool] = False

    @property
    def demands(self) -> frozenset[str]:
        """``needs``, and what the options ask for beside."""
        return self.needs

    @property
    def least_shadows(self) -> int:
        """Fewest shadow models the attack can be run with."""
        return 1 if "shadows" in self.needs else 0

    @property
    def compares_outside(self) -> bool:
        """Whether it compares with shadow models' answers to records outside the audit, which these are then asked about."""
        return False

    @property
    def questions(self) -> tuple[Question, ...]:
        """What each record is asked beside itself, at most one question of a kind; the evidence's probes hold the answers."""
        return ()

    @abstractmethod
    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Attack the target.

        Parameters
        ----------
        evidence
            Outputs of the target and the shadows; never changed.
        seed
            Seed of whatever is drawn; equal seeds give equal scores.

        Returns
        -------
        Scores
            One score per audited record, and a decision where the attack makes one.

        Raises
        ------
        DataError
            If the evidence lacks what the attack needs.
        """

    def score(self, evidence: Evidence) -> NDArray[np.float64]:
        """Return (n,) float64 scores of the audited records, higher = member, under seed 0."""
        return self.run(evidence).score

    def scores_of(self, evidence: Evidence, others: Sequence[Evidence], *, seed: int = 0) -> list[NDArray[np.float64]]:
        """Return the scores of other models in the target's place, for the control by bystanders.

        Each is attacked by a run of its own. An attack that learns what does not depend on the target overrides it, and learns
        once, from ``evidence``.

        Parameters
        ----------
        evidence
            What the attack reads about the target.
        others
            The same about each of the other models.
        seed
            As of :meth:`run`.
        """
        return [self.run(other, seed=seed).score for other in others]

    @property
    def options(self) -> dict[str, Any]:
        """The attack's options as plain values, for the record of an audit."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {k: v if v is None or isinstance(v, str | bool | int | float) else repr(v) for k, v in values.items()}


def errors_of(attack: Attack) -> tuple[type[BaseException], ...]:
    """Return the errors by which an attack says that it cannot be run; any other is a defect, unless the attack is not ours."""
    return (MiauditError,) if type(attack).__module__.startswith("miaudit.") else (Exception, SystemExit)


def checked(attack: Attack, scores: Scores, n: int) -> Scores:
    """Return the scores of n records, or raise a DataError if they are not (n,) finite float64 numbers."""
    score = scores.score
    if not isinstance(score, np.ndarray) or score.shape != (n,) or score.dtype != np.float64:
        form = f"{getattr(score, 'dtype', type(score).__name__)} {np.shape(score)}"
        raise DataError(f"{attack.name} must give ({n},) float64 scores; got {form}")
    if not np.isfinite(score).all():
        raise DataError(f"{attack.name} gives scores that are not finite")
    return scores


def require(attack: Attack, evidence: Evidence) -> Evidence:
    """Return the evidence, or raise DataError if it lacks what the attack needs, saying what and how much there is."""
    needs, m = attack.demands, len(evidence.models)
    if lacking := lacking_answers(needs, evidence.offers):
        raise DataError(f"{attack.name} cannot read these answers: {lacking}")
    if m < attack.least_shadows:
        raise DataError(
            f"{attack.name} needs at least {counted(attack.least_shadows, 'shadow model')}, the evidence has {m}"
        )
    if "overlapping" in needs and evidence.asked is not None:
        raise DataError(
            f"{attack.name} needs shadows that answered the audited records themselves (overlapping design); these "
            "answered records of their own"
        )
    if "probes" in needs and evidence.probes is None:
        raise DataError(
            f"{attack.name} needs probes: the labels of variants of each record, or distances to a boundary"
        )
    if "trace" in needs and evidence.trace is None:
        raise DataError(f"{attack.name} needs a trace: the target's losses on the audited records after each stage")
    if "population" in needs and (evidence.population is None or not len(evidence.population.labels)):
        raise DataError(f"{attack.name} needs a population: the target's answers on records that are not audited")
    if "features" in needs and (evidence.features is None or evidence.population is None):
        raise DataError(f"{attack.name} needs the features of the audited and of the population's records")
    if "features" in needs and evidence.population is not None and evidence.population.features is None:
        raise DataError(f"{attack.name} needs the features of the population's records; those of the audited are there")
    return evidence


def lacking_answers(needs: frozenset[str], offers: frozenset[str]) -> str:
    """Return which of the needs the answers do not meet, in words; nothing where they do."""
    lacking = next(
        (need for need in ("classes", "probabilities", "signal", "likelihood") if need in needs - offers), ""
    )
    if not lacking:
        return ""
    if "signal" not in offers:
        return "the target answers labels only"
    if lacking == "likelihood":
        return "it averages probabilities, and nothing says that the signal is a log-likelihood"
    return "the evidence is one number a record, which says nothing of classes"


def with_missing(
    score: NDArray[np.float64], missing: Bools, why: str, notes: tuple[str, ...] = (), *, unit: float = 1.0
) -> Scores:
    """Return scores in which the missing records carry the median of the others, counted in a note that says ``why``.

    Scores are rounded to twelve decimals of ``unit``, what is summed for them: errors of summation would part equal answers by
    the order of the models.

    Raises
    ------
    DataError
        If every record is missing.
    """
    if missing.all():
        raise DataError(
            f"none of {len(score):,} audited records can be scored: {why}; more shadow models, or other memberships, are needed"
        )
    score = (score / unit).round(12) * unit
    if not missing.any():
        return Scores(score, None, notes)
    filled = np.where(missing, np.median(score[~missing]), score)
    note = f"{int(missing.sum()):,} of {len(score):,} audited records scored as missing, at the median of the others: {why}"
    return Scores(filled, None, (*notes, note), missing=missing)


LABELS_ONLY = "the target answers labels only; the shadows' answers were reduced to labels as well"
"""What an attack that learns from whole answers says where there are none to judge."""


def shadow_rows(evidence: Evidence, positions: Ints) -> Floats:
    """Return (k, c) answers of shadows, in the order of ``positions``; as label vectors where the target answers labels.

    ``positions`` are (k,) among the m * r rows. One shadow is read at a time, and of it no more is kept.
    """
    models, (m, r) = evidence.models, evidence.inside.shape
    model, row = np.divmod(positions, r)
    order = np.argsort(model, kind="stable")
    ends = np.searchsorted(model[order], np.arange(m + 1))
    rows = np.empty((len(positions), evidence.classes), models.dtype)
    for i in np.flatnonzero(np.diff(ends)):
        here = order[ends[i] : ends[i + 1]]
        rows[here] = models[int(i)][row[here]]
    return rows if evidence.target.ndim == 2 else label_vectors(rows, evidence.classes)


def shadow_sides(evidence: Evidence) -> Bools:
    """Return (m * r,) membership of the shadow rows, or raise DataError if they hold one side only."""
    inside = evidence.inside.reshape(-1)
    if inside.all() or not inside.any():
        raise DataError(
            f"an attack learns from shadow rows of both sides; of {inside.size:,} rows {int(inside.sum()):,} are of "
            "training records. Give every shadow records it was not trained on, and the reverse"
        )
    return inside
