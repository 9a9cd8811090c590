"""What one attack of an audit found, and which attack leads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from miaudit.documents import Count, Document, Fraction
from miaudit.result.basis import Basis
from miaudit.result.figures import (
    BystanderFigures,
    ClassMetrics,
    CorrectedInterval,
    Epsilon,
    Exposed,
    Interval,
    OperatingPoint,
    PersonFigures,
    PointMetrics,
    Power,
    PpvAtPrior,
    Roc,
    ScoreCounts,
    TnrAtFnr,
    TprAtFpr,
    TprAtZeroFp,
)


class AttackResult(Document):
    """What one attack found.

    ``unit`` is what was counted. With ``"person"`` the figures of people in ``person`` are what the verdict reads, and
    ``above_chance``, ``tpr_at_zero_fp``, ``operating_point``, ``ppv``, ``epsilon`` and ``power`` are of people; ``pooled``,
    ``auc`` and ``tpr_at_fpr`` stand beside them and are of records. ``person`` is null where nothing says whose the
    records are, or somebody has records on both sides.

    ``above_chance``: its AUC's interval lies above 0.5 at a level corrected for the number of attacks run (Bonferroni), so
    that all of them together call chance a leak in at most one of twenty audits. ``beats_controls``: it also lies above
    what the raw records alone reach and what it finds on bystanders, and is no less by AUC than that of the loss threshold,
    whatever the attack.
    ``below_chance``: its AUC's interval lies below 0.5, likewise corrected: a leak to whoever turns the score round, or a
    fault.
    ``above_chance_at_low_fpr``: more members than chance allows lie above the highest non-members, by the test in
    ``exposed``; null where scores are no independent draws. All three claims of all attacks together find something in
    noise in at most one audit of twenty. ``auc_corrected`` is the AUC that the verdict reads with its interval at
    the level of ``above_chance``. ``power`` stands beside attacks that found nothing.
    ``bystander`` says what the attack finds on models that were trained on neither side. Where it says so, the verdict claims
    a leak by what the attack finds on the target beyond that.
    ``caution`` says why ``ppv`` and ``epsilon`` are no leak by themselves, where the sides differ without any: nothing is taken
    off them. Null where no control shows that, and in older results.
    ``missing`` counts records the attack could not score; they carry the median of the others.
    ``strongest`` marks the attack that the literature holds to be the strongest for what this audit had: what the target
    answers, how many shadow models there are, and what they were trained on. ``name`` is the attack's, with those of
    its options that are not the default: unique in a result. ``basis`` is what intervals at other levels are computed from,
    of the scores that the verdict reads; null in older results. ``scores`` counts records by score, for drawing.
    """

    name: str
    title: str
    paper: str
    status: Literal["ran", "skipped", "failed"]
    reason: str | None = None
    pooled: PointMetrics | None = None
    per_class: list[ClassMetrics] = []
    auc: Interval | None = None
    tpr_at_fpr: list[TprAtFpr] = []
    tnr_at_fnr: list[TnrAtFnr] = []
    unit: Literal["person", "record"] = "record"
    person: PersonFigures | None = None
    roc: Roc | None = None
    scores: ScoreCounts | None = None
    above_chance: bool | None = None
    below_chance: bool | None = None
    beats_controls: bool | None = None
    notes: list[str] = []
    options: dict[str, Any] = {}
    confidence: Fraction = 0.95
    strongest: bool = False
    above_chance_at_low_fpr: bool | None = None
    auc_corrected: CorrectedInterval | None = None
    exposed: Exposed | None = None
    bystander: BystanderFigures | None = None
    tpr_at_zero_fp: TprAtZeroFp | None = None
    operating_point: OperatingPoint | None = None
    ppv: list[PpvAtPrior] = []
    epsilon: Epsilon | None = None
    power: Power | None = None
    missing: Count = 0
    basis: Basis | None = None
    figures_reason: str | None = None
    caution: str | None = None

    @property
    def of_unit(self) -> AttackResult | PersonFigures:
        """Where ``auc`` and ``tpr_at_fpr`` of what was counted stand: in ``person``, or here."""
        return self.person if self.unit == "person" and self.person is not None else self

    @property
    def checked(self) -> bool:
        """Whether the attack was run on bystanders, too."""
        return self.bystander is not None and self.bystander.less.value is not None

    @property
    def unlike_bystanders(self) -> bool:
        """Whether it finds more on the target than on bystanders, and the target is not known to answer as they do."""
        figures = self.bystander
        return figures is not None and not figures.alike and bool(figures.above or figures.few or figures.below)

    @property
    def area(self) -> float | None:
        """The AUC of what was counted; None where there is none."""
        area = self.of_unit.auc
        return None if area is None else area.value


def named_beforehand(attacks: Sequence[AttackResult]) -> AttackResult | None:
    """Return the attack that leads: chosen before any figure was known, so that its plain interval holds.

    That is the one marked ``strongest``; where it has no AUC, the first in order that has one.
    """
    measured = [attack for attack in attacks if attack.area is not None]
    return next((attack for attack in measured if attack.strongest), measured[0] if measured else None)


def highest(attacks: Sequence[AttackResult]) -> AttackResult | None:
    """Return the attack of the highest AUC, which was chosen by its figure: only a corrected interval holds for it."""
    measured = [attack for attack in attacks if attack.area is not None]
    return max(measured, key=lambda attack: attack.area or 0.0, default=None)
