"""Which attacks can be run, and which is the strongest documented, from what there is to attack with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

from miaudit.attacks.attack import Attack
from miaudit.attacks.calibration import Calibration
from miaudit.attacks.label_only import LabelOnly
from miaudit.attacks.lira import LiRA
from miaudit.attacks.population import AttackP, AttackR
from miaudit.attacks.quantile import Quantile
from miaudit.attacks.rmia import RMIA
from miaudit.attacks.salem import Salem
from miaudit.attacks.shokri import Shokri
from miaudit.attacks.threshold import Gap, Threshold
from miaudit.errors import PlanError
from miaudit.evidence import Capability

Design = Literal["overlapping", "offline", "disjoint"]

_FEW, _MANY = 4, 64
_CANDIDATES: tuple[Attack, ...] = (
    Gap(),
    LabelOnly(),
    LabelOnly("boundary", queries=500),
    Threshold(),
    Threshold("modified_entropy", per_class=True),
    AttackP(),
    Quantile(),
    Salem(),
    Shokri(),
    Calibration(),
    Calibration("online"),
    AttackR(),
    RMIA(),
    RMIA(mode="online"),
    LiRA("offline"),
    LiRA(),
    LiRA(variance="per-example"),
)
_LACKS = {
    "probabilities": "the target answers labels only",
    "shadows": "there are no shadow models",
    "inside": "no shadow was trained on a record it was asked about",
    "overlapping": "the shadows did not answer the audited records",
    "population": "there are no answers on records outside the audit",
    "features": "the records' features are not at hand",
    "probes": "the target was not asked about variants of the records",
}
_CAVEATS = {
    "topk": "a true class outside the top k counts as improbable, whatever its probability",
    "rounded": "rounded answers tie: low false-positive rates may be out of reach",
}


@dataclass(frozen=True)
class Planned:
    """An attack, whether it can be run, and why; ``strongest`` marks the best documented one for the budget."""

    attack: Attack
    runs: bool
    reason: str
    strongest: bool = False

    @property
    def name(self) -> str:
        """The attack's name and those of its options that are not the default."""
        default = type(self.attack)().options
        changed = [str(value) for key, value in self.attack.options.items() if value != default[key]]
        return " ".join([self.attack.name, *changed])


def plan_attacks(
    capability: Capability,
    *,
    shadows: int,
    design: Design = "disjoint",
    population: bool = False,
    features: bool = False,
    probes: Collection[str] = (),
) -> list[Planned]:
    """List every attack with whether it can be run on such evidence.

    Parameters
    ----------
    capability
        What the target answers.
    shadows
        Number of shadow models.
    design
        ``"overlapping"``: the shadows answered the audited records and were trained on about half of them;
        ``"offline"``: they answered them and were trained on none; ``"disjoint"``: they answered records of their own.
    population
        Whether target (and shadows) answered records outside the audit.
    features
        Whether the records' own numbers are at hand.
    probes
        Which kinds of :class:`LabelOnly` the target can be probed for: ``"votes"``, ``"boundary"``.

    Returns
    -------
    list of Planned
        From floors to the strongest kinds; exactly one is ``strongest``. Up to 4 shadows that is offline RMIA, up to
        63 LiRA with the normal-inverse-gamma prior, from 64 LiRA with per-example variance (Carlini et al. 2022,
        figure 9; Zarifzadeh et al. 2024); offline RMIA where no shadow may be trained on audited records; Shokri's or
        Salem's on disjoint data; quantile regression or the loss without shadows; for labels the distance to the boundary,
        votes where that is out of reach, and the gap where records may be asked about once only.

    Raises
    ------
    PlanError
        If the capability, the design or the number is none of these.
    """
    problems = [
        (field, f"must be one of {', '.join(get_args(kind))}; got {value!r}")
        for field, value, kind in (("capability", capability, Capability), ("design", design, Design))
        if value not in get_args(kind)
    ]
    if shadows < 0:
        problems.append(("shadows", f"must be at least 0, got {shadows}"))
    if problems:
        raise PlanError(problems)
    there: dict[str, bool] = {
        "probabilities": capability != "labels",
        "shadows": shadows > 0,
        "inside": shadows > 0 and design != "offline",
        "overlapping": design != "disjoint",
        "population": population,
        "features": features,
        "probes": bool(probes),
    }
    best = _strongest(there, shadows, design, probes)
    planned = []
    for attack in _CANDIDATES:
        if isinstance(attack, LabelOnly):
            there["probes"] = attack.kind in probes
        reason = _why_not(attack, there, shadows)
        runs = not reason
        if runs:
            reason = _CAVEATS.get(capability, "") if attack.name not in ("gap", "label-only") else ""
        planned.append(Planned(attack, runs, reason or "all it needs is there", attack == best))
    return planned


def _why_not(attack: Attack, there: dict[str, bool], shadows: int) -> str:
    needs: set[Any] = set(attack.needs)
    if "shadows" in needs and (getattr(attack, "mode", "") == "online" or "overlapping" not in needs):
        needs.add("inside")
    lacking = [why for need, why in _LACKS.items() if need in needs and not there[need]]
    if not there["shadows"]:
        lacking = [why for why in lacking if why not in (_LACKS["inside"], _LACKS["overlapping"])]
    elif shadows < attack.least_shadows:
        lacking.append(f"it needs at least {attack.least_shadows} shadow models, there are {shadows}")
    return "; ".join(lacking)


def _strongest(there: dict[str, bool], shadows: int, design: Design, probes: Collection[str]) -> Attack:
    if not there["probabilities"]:
        return (
            LabelOnly("boundary", queries=500) if "boundary" in probes else LabelOnly() if "votes" in probes else Gap()
        )
    if not shadows:
        if there["population"]:
            return Quantile() if there["features"] else AttackP()
        return Gap()
    if design == "disjoint":
        return Salem() if shadows == 1 else Shokri()
    if design == "offline" or shadows <= _FEW:
        return RMIA()
    return LiRA() if shadows < _MANY else LiRA(variance="per-example")
