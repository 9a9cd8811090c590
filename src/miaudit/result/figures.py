"""Figures of one attack, as a result holds them: each an undefined null with its reason, or a number and its interval."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from miaudit.documents import Document


class Interval(Document):
    """A figure with its interval at the result's confidence; null where it is undefined, with the reason."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


class CorrectedInterval(Interval):
    """A figure with its interval at a level that holds for all attacks of the audit together."""

    confidence: float


class PointMetrics(Document):
    """Precision, recall and accuracy of in/out decisions on n records, members and non-members together.

    ``precision_low`` and ``precision_high`` are the exact (Clopper-Pearson) interval; likewise for the others. They are
    null, with ``interval_reason``, where people have several records each.
    """

    n: int
    members: int
    precision: float | None
    precision_reason: str | None = None
    precision_low: float | None = None
    precision_high: float | None = None
    recall: float | None
    recall_reason: str | None = None
    recall_low: float | None = None
    recall_high: float | None = None
    accuracy: float | None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    interval_reason: str | None = None


class ClassMetrics(PointMetrics):
    """Point metrics on the records of one class."""

    class_: str = Field(alias="class", serialization_alias="class")
    attack_model: Literal["own", "pooled", "none"] = "none"
    attack_rows: int | None = None
    train_accuracy: float | None = None
    test_accuracy: float | None = None

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class TprAtFpr(Document):
    """Share of members found when at most ``fpr`` of the non-members are accused."""

    fpr: float
    tpr: float | None
    low: float | None
    high: float | None
    resolvable: bool
    reason: str | None = None


class TnrAtFnr(Document):
    """Share of non-members cleared when at most ``fnr`` of the members are missed."""

    fnr: float
    tnr: float | None
    low: float | None
    high: float | None
    resolvable: bool
    reason: str | None = None


class Roc(Document):
    """Points of the ROC curve, tied scores moving together; thinned for drawing, end points kept."""

    fpr: list[float]
    tpr: list[float]


class TprAtZeroFp(Document):
    """Share of members scoring above every non-member at hand: at 0 false positives seen, not at a rate of 0.

    ``low`` and ``high`` are its interval, ``fpr_high`` bounds the true false-positive rate at that threshold.
    """

    tp: int
    n_in: int
    n_out: int
    tpr: float
    low: float
    high: float
    fpr_high: float


class Exposed(Document):
    """The exact test for a few fully exposed members, at the rank of the non-members where it is most surprising.

    ``above`` of ``n_in`` members score above all but ``rank`` of ``n_out`` non-members. Where nothing leaks, some rank is
    as surprising with probability ``p_value`` at most (corrected for the ranks). It is compared with ``level``, which is
    corrected for attacks; ``most`` is how many members above this rank are no surprise at that level.
    """

    above: int
    rank: int
    n_in: int
    n_out: int
    p_value: float
    level: float
    most: int


class BystanderFigures(Document):
    """What an attack finds on ``models`` bystanders, models that were trained on none of the audited records.

    ``auc`` is the mean of their areas and ``less`` the target's area less that, each with its interval; null, with
    ``reason``, where there are none. ``above`` and ``below``: the difference lies above or below 0 at a level corrected for
    the number of attacks. ``few``: more of the target's members than of any bystander's lie above the most surprising rank
    of the non-members, and more than chance explains, likewise corrected; null where scores are no independent draws.
    ``tells_sides``: the attack tells the sides apart on bystanders, so that they differ in how hard they are.
    """

    models: int
    auc: Interval
    less: Interval
    above: bool | None = None
    below: bool | None = None
    few: bool | None = None
    tells_sides: bool | None = None
    reason: str | None = None


class PersonFigures(Document):
    """What an attack finds of people, each scored by all records together; ``members`` of the ``n`` people are members."""

    auc: Interval
    tpr_at_fpr: list[TprAtFpr]
    tnr_at_fnr: list[TnrAtFnr] = []
    n: int
    members: int


class Accusations(Document):
    """Whom an attacker can name so that, in expectation, at most a share ``q`` of those named are non-members.

    ``attack`` is the one that leads the result. Of the non-members, ``set_apart`` were drawn at random to be the attacker's
    own, known not to be members; ``members`` and ``nonmembers`` are those judged beside them, and ``named`` of these are on the
    list, ``of_members`` rightly and ``false`` wrongly. Counts are of ``unit``; null, with the reason, where there can be no
    such list. Where fewer of those judged are members, fewer can be named.
    """

    attack: str
    q: float
    unit: Literal["person", "record"]
    named: int | None
    of_members: int | None
    false: int | None
    members: int | None = None
    nonmembers: int | None = None
    set_apart: int | None = None
    reason: str | None = None


class OperatingPoint(Document):
    """One threshold and the counts at it, which it was not chosen on: what PPV or epsilon of an attack are read from.

    ``strategy`` is ``"split"``: chosen on half of the records, counted on the others; ``"bonferroni"``: the best of
    ``tried`` ranks of the non-members, all bounds corrected for their number; or ``"explicit"``: named beforehand.
    """

    strategy: Literal["split", "bonferroni", "explicit"]
    tried: int
    threshold: float
    tp: int
    fn: int
    fp: int
    tn: int
    tpr: float
    tpr_low: float
    fpr: float
    fpr_high: float


class PpvAtPrior(Document):
    """Probability that an accused record is a member where a share ``prior`` of the records are members."""

    prior: float
    value: float | None
    low: float
    high: float
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
    value: float
    delta: float
    ceiling: float
    mu: float | None = None
    gaussian: float | None = None
    gaussian_reason: str | None = None
    credible: Interval
    operating_point: OperatingPoint


class DetectableTpr(Document):
    """Smallest TPR at this rate that would have been reported, by the members above that rank alone; null with a reason."""

    fpr: float
    value: float | None
    reason: str | None = None


class Power(Document):
    """The smallest leak that so many records show with probability ``power``, at the verdict's corrected levels.

    There are two kinds. ``auc`` is of a leak that raises all members' scores alike. ``exposed`` and ``tpr`` are of one that
    puts a few members above the non-members and scores the others as non-members are: ``exposed`` is the smallest share of
    the members, above every non-member, and ``tpr`` the smallest TPR of members above all but a share ``fpr`` of them.
    ``confidence`` is the level of the AUC's interval. ``bystanders`` is the number of models trained on neither side that the
    attack must exceed, too; what they and the target have in common of the records shows smaller leaks of the AUC.
    """

    power: float
    confidence: float
    auc: float | None
    reason: str | None = None
    bystanders: int = 0
    exposed: float | None = None
    tpr: list[DetectableTpr] = []
