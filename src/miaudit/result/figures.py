"""Figures of one attack, as a result holds them: each an undefined null with its reason, or a number and its interval."""

from __future__ import annotations

import functools
from itertools import pairwise, product
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from miaudit.documents import ROUNDING, Count, Document, Fraction, NonNegative, Signed

Twice = Annotated[float, Field(ge=-2 - ROUNDING, le=2 + ROUNDING)]


class Bounded(Document):
    """Figures with intervals: where there is a figure, its low end is no larger than it, and its high end no smaller."""

    @classmethod
    def of(cls, *sources: object, **more: Any) -> Self:
        """Return the document of objects' attributes; a `Rate` fills all fields of its name, such as ``recall_low``."""
        fields = cls.model_fields
        for source, name in product(sources, fields):
            rate: Any = getattr(source, name, None)
            if f"{name}_low" in fields and hasattr(rate, "value"):
                parts = {f"{name}_{part}": getattr(rate, part) for part in ("low", "high", "reason")}
                more = {key: value for key, value in parts.items() if key in fields} | {name: rate.value} | more
        return super().of(*sources, **more)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for names in _rising(type(self)):
            figures = [(name, value) for name in names if (value := getattr(self, name)) is not None]
            for (lower, less), (upper, more) in pairwise(figures):
                if less > more + ROUNDING:
                    raise ValueError(f"{lower} is {less}, above {upper}, {more}: no figure lies outside its interval")
        return self


@functools.cache
def _rising(kind: type[Bounded]) -> list[list[str]]:
    """Return the names of a document's figures with their ends: low end, figure and high end, of those that are fields."""
    fields = kind.model_fields
    stems = {name.removesuffix("low").removesuffix("high") for name in fields}
    names = [[f"{stem}low", stem.rstrip("_") or "value", f"{stem}high"] for stem in sorted(stems)]
    fields_of = [[name for name in each if name in fields] for each in names]
    return [each for each in fields_of if len(each) > 1]


class Interval(Bounded):
    """An AUC with its interval at the result's confidence; null where it is undefined, with the reason."""

    value: Fraction | None
    low: Fraction | None
    high: Fraction | None
    reason: str | None = None

    @classmethod
    def undefined(cls, reason: str | None) -> Self:
        """Return no figure, and why."""
        return cls(value=None, low=None, high=None, reason=reason)


class Difference(Interval):
    """An AUC less another one, with its interval; null where it is undefined, with the reason."""

    value: Signed | None
    low: Signed | None
    high: Signed | None


class Excess(Interval):
    """A difference of accuracies less another one, with its interval; null where it is undefined, with the reason."""

    value: Twice | None
    low: Twice | None
    high: Twice | None


class CredibleInterval(Bounded):
    """A posterior median with its Bayesian interval."""

    value: NonNegative
    low: NonNegative
    high: NonNegative
    reason: str | None = None


class CorrectedInterval(Interval):
    """A figure with its interval at a level that holds for all attacks of the audit together."""

    confidence: Fraction


class PointMetrics(Bounded):
    """Precision, recall and accuracy of in/out decisions on n records, members and non-members together.

    ``precision_low`` and ``precision_high`` are the exact (Clopper-Pearson) interval; likewise for the others. They are
    null, with ``interval_reason``, where people have several records each.
    """

    n: Count
    members: Count
    precision: Fraction | None
    precision_reason: str | None = None
    precision_low: Fraction | None = None
    precision_high: Fraction | None = None
    recall: Fraction | None
    recall_reason: str | None = None
    recall_low: Fraction | None = None
    recall_high: Fraction | None = None
    accuracy: Fraction | None
    accuracy_low: Fraction | None = None
    accuracy_high: Fraction | None = None
    interval_reason: str | None = None


class ClassMetrics(PointMetrics):
    """Point metrics on the records of one class."""

    class_: str = Field(alias="class", serialization_alias="class")
    attack_model: Literal["own", "pooled", "none"] = "none"
    attack_rows: Count | None = None
    train_accuracy: Fraction | None = None
    test_accuracy: Fraction | None = None

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class TprAtFpr(Bounded):
    """Share of members found when at most ``fpr`` of the non-members are accused."""

    fpr: Fraction
    tpr: Fraction | None
    low: Fraction | None
    high: Fraction | None
    resolvable: bool
    reason: str | None = None


class TnrAtFnr(Bounded):
    """Share of non-members cleared when at most ``fnr`` of the members are missed."""

    fnr: Fraction
    tnr: Fraction | None
    low: Fraction | None
    high: Fraction | None
    resolvable: bool
    reason: str | None = None


class RocBand(Document):
    """The interval of the TPR at each of some rates, every one at the result's confidence by itself (pointwise)."""

    fpr: list[Fraction]
    low: list[Fraction]
    high: list[Fraction]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if not len(self.fpr) == len(self.low) == len(self.high):
            raise ValueError(
                f"a band has as many low and high as fpr; got {len(self.low)}, {len(self.high)} and {len(self.fpr)}"
            )
        return self


class ScoreCounts(Document):
    """Records by score on both sides: bin i holds the scores from ``edges[i]`` up to ``edges[i + 1]``.

    The first and the last bin also hold the scores beyond the outermost edges.
    """

    edges: list[float]
    members: list[Count]
    nonmembers: list[Count]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        bins = len(self.edges) - 1
        if bins < 1 or not len(self.members) == len(self.nonmembers) == bins:
            raise ValueError(f"{len(self.edges)} edges have one bin fewer, with a count of each side in every one")
        return self


class Roc(Document):
    """Points of the ROC curve, tied scores moving together; thinned for drawing, end points kept.

    ``band`` is null in older results, and where no exact bound holds.
    """

    fpr: list[Fraction]
    tpr: list[Fraction]
    band: RocBand | None = None

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len(self.fpr) != len(self.tpr):
            raise ValueError(f"a curve has as many fpr as tpr; got {len(self.fpr)} and {len(self.tpr)}")
        return self


class TprAtZeroFp(Bounded):
    """Share of members scoring above every non-member at hand: at 0 false positives seen, not at a rate of 0.

    ``low`` and ``high`` are its interval, ``fpr_high`` bounds the true false-positive rate at that threshold.
    """

    tp: Count
    n_in: Count
    n_out: Count
    tpr: Fraction
    low: Fraction
    high: Fraction
    fpr_high: Fraction


class Exposed(Document):
    """The exact test for a few fully exposed members, at the rank of the non-members where it is most surprising.

    ``above`` of ``n_in`` members score above all but ``rank`` of ``n_out`` non-members. Where nothing leaks, some rank is
    as surprising with probability ``p_value`` at most (corrected for the ranks). It is compared with ``level``, which is
    corrected for attacks; ``most`` is how many members above this rank are no surprise at that level.
    """

    above: Count
    rank: Count
    n_in: Count
    n_out: Count
    p_value: Fraction
    level: Fraction
    most: Count


class BystanderFigures(Document):
    """What an attack finds on ``models`` bystanders, models that were trained on none of the audited records.

    ``auc`` is the mean of their areas and ``less`` the target's area less that, each with its interval; null, with
    ``reason``, where there are none, and ``auc`` without an interval where they are fewer than three. ``above`` and ``below``:
    the difference lies above or below 0 at a level corrected for the number of attacks. ``few``: among as many of the highest
    records as reach down to the most surprising rank of the non-members are more members than on any bystander, and more than
    chance explains, likewise corrected; null where scores are no independent draws.
    ``tells_sides``: the attack tells the sides apart on bystanders, so that they differ in how hard they are. ``alike``: the
    target answers non-members as bystanders do; null where they are too few to say. ``deviation`` is the standard deviation of
    ``less``, and ``freedom`` the degrees of freedom of its Student's t; null in older results.
    """

    models: Count
    auc: Interval
    less: Difference
    above: bool | None = None
    below: bool | None = None
    few: bool | None = None
    tells_sides: bool | None = None
    alike: bool | None = None
    deviation: NonNegative | None = None
    freedom: NonNegative | None = None
    reason: str | None = None


class PersonFigures(Document):
    """What an attack finds of people, each scored by all records together; ``members`` of the ``n`` people are members."""

    auc: Interval
    tpr_at_fpr: list[TprAtFpr]
    tnr_at_fnr: list[TnrAtFnr] = []
    n: Count
    members: Count


class Accusations(Bounded):
    """Whom an attacker can name so that, in expectation, at most a share ``q`` of those named are non-members.

    ``attack`` is the one that leads the result. Of the non-members, ``set_apart`` were drawn at random to be the attacker's
    own, known not to be members; ``members`` and ``nonmembers`` are those judged beside them, and ``named`` of these are on the
    list, ``of_members`` rightly and ``false`` wrongly. Counts are of ``unit``; null, with the reason, where there can be no
    such list. Where fewer of those judged are members, fewer can be named. ``share`` is that of all members of whom these are a
    sample, which can be named where as many others are tried, so that a share ``q`` of those named are others
    (`miaudit.stats.nameable`); ``share_low`` and ``share_high`` are its interval, null in older results. ``caution`` says why
    names are right without a leak, where the sides differ by themselves.
    """

    attack: str
    q: Fraction
    unit: Literal["person", "record"]
    named: Count | None
    of_members: Count | None
    false: Count | None
    members: Count | None = None
    nonmembers: Count | None = None
    set_apart: Count | None = None
    share: Fraction | None = None
    share_low: Fraction | None = None
    share_high: Fraction | None = None
    reason: str | None = None
    caution: str | None = None


class OperatingPoint(Bounded):
    """One threshold and the counts at it, which it was not chosen on: what PPV or epsilon of an attack are read from.

    ``strategy`` is ``"split"``: chosen on half of the records, counted on the others; ``"bonferroni"``: the best of
    ``tried`` ranks of the non-members, all bounds corrected for their number; or ``"explicit"``: named beforehand.
    """

    strategy: Literal["split", "bonferroni", "explicit"]
    tried: Count
    threshold: float
    tp: Count
    fn: Count
    fp: Count
    tn: Count
    tpr: Fraction
    tpr_low: Fraction
    fpr: Fraction
    fpr_high: Fraction


class PpvAtPrior(Bounded):
    """Probability that an accused record is a member where a share ``prior`` of the records are members."""

    prior: Fraction
    value: Fraction | None
    low: Fraction
    high: Fraction
    reason: str | None = None


class Epsilon(Document):
    """How large an epsilon would have to be to allow an attack this good.

    ``name`` says what it is: an "empirical epsilon-equivalent". All records share one training, so it is no bound on the
    mechanism's epsilon, whoever decided who was put in; a canary audit gives one. ``value`` is the one-sided bound at the
    attack's operating point, ``ceiling`` the most that as many records could have shown, and ``credible`` the Bayesian
    interval around the posterior median, at a level corrected for the thresholds tried. ``mu`` and ``gaussian``, the shift
    of Gaussian DP and its epsilon, are null with ``gaussian_reason`` (older results hold figures): they say something
    only where the trade-off curve is Gaussian, which scores of one training's records do not show. The threshold is
    epsilon's own, not that of the PPV.
    """

    name: Literal["empirical epsilon-equivalent"]
    value: NonNegative
    delta: Fraction
    ceiling: NonNegative
    mu: NonNegative | None = None
    gaussian: NonNegative | None = None
    gaussian_reason: str | None = None
    credible: CredibleInterval
    operating_point: OperatingPoint | None = None


class DetectableTpr(Document):
    """Smallest TPR at this rate that would have been reported, by the members above that rank alone; null with a reason."""

    fpr: Fraction
    value: Fraction | None
    reason: str | None = None


class Power(Document):
    """The smallest leak that so many records show with probability ``power``, at the verdict's corrected levels.

    There are two kinds. ``auc`` is of a leak that raises all members' scores alike. ``exposed`` and ``tpr`` are of one that
    puts a few members above the non-members and scores the others as non-members are: ``exposed`` is the smallest share of
    the members, above every non-member, and ``tpr`` the smallest TPR of members above all but a share ``fpr`` of them.
    ``confidence`` is the level of the AUC's interval. ``bystanders`` is the number of models trained on neither side that the
    attack must exceed, too; what they and the target have in common of the records shows smaller leaks of the AUC.
    """

    power: Fraction
    confidence: Fraction
    auc: Fraction | None
    reason: str | None = None
    bystanders: Count = 0
    exposed: Fraction | None = None
    tpr: list[DetectableTpr] = []
