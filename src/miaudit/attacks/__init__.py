"""Attacks: configured values that turn evidence into one score per audited record, higher = member."""

from __future__ import annotations

from miaudit.attacks.attack import Attack, ClassModel, Scores
from miaudit.attacks.calibration import Calibration
from miaudit.attacks.controls import Blind, blind_auc, class_auc, shuffle_membership
from miaudit.attacks.label_only import LabelOnly
from miaudit.attacks.lira import LiRA
from miaudit.attacks.loss_trace import LossTrace
from miaudit.attacks.pattern import PATTERN_CONFIDENCE, Pattern, label_pattern
from miaudit.attacks.planner import NAMED, USUAL, Planned, attack_name, plan_attacks, with_floors
from miaudit.attacks.population import AttackP, AttackR
from miaudit.attacks.quantile import Quantile
from miaudit.attacks.ratio import Ratio
from miaudit.attacks.rmia import RMIA
from miaudit.attacks.salem import Salem
from miaudit.attacks.shokri import Shokri
from miaudit.attacks.threshold import Gap, Threshold

__all__ = [
    "ATTACKS",
    "NAMED",
    "PATTERN_CONFIDENCE",
    "RMIA",
    "USUAL",
    "Attack",
    "AttackP",
    "AttackR",
    "Blind",
    "Calibration",
    "ClassModel",
    "Gap",
    "LabelOnly",
    "LiRA",
    "LossTrace",
    "Pattern",
    "Planned",
    "Quantile",
    "Ratio",
    "Salem",
    "Scores",
    "Shokri",
    "Threshold",
    "attack_name",
    "blind_auc",
    "class_auc",
    "label_pattern",
    "plan_attacks",
    "shuffle_membership",
    "with_floors",
]

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        AttackP,
        AttackR,
        Calibration,
        Gap,
        LabelOnly,
        LiRA,
        LossTrace,
        Quantile,
        Ratio,
        RMIA,
        Salem,
        Shokri,
        Threshold,
    )
}
"""Every attack under its name, sorted."""
