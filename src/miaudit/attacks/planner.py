"""Which attacks can be run, and which is the strongest documented, from what there is to attack with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from miaudit.attacks.attack import Attack, lacking_answers
from miaudit.attacks.calibration import Calibration
from miaudit.attacks.label_only import LabelOnly
from miaudit.attacks.lira import LiRA
from miaudit.attacks.loss_trace import LossTrace
from miaudit.attacks.population import AttackP, AttackR
from miaudit.attacks.quantile import Quantile
from miaudit.attacks.ratio import Ratio
from miaudit.attacks.rmia import RMIA
from miaudit.attacks.salem import Salem
from miaudit.attacks.shokri import Shokri
from miaudit.attacks.threshold import Gap, Threshold
from miaudit.errors import PlanError, counted, misfits
from miaudit.evidence import OFFERS, Capability

Design = Literal["overlapping", "offline", "disjoint"]

_FEW, _RATIO = 4, 16  # shadows from which on the learned ratio can be run, and up to which it finds most
USUAL: tuple[Attack, ...] = (
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
    Ratio(),
)
"""Every attack in its usual configurations, from floors to the strongest kinds."""
NAMED: tuple[Attack, ...] = (AttackP(per_class=True), LiRA("proxy"), LossTrace(), LossTrace("fall"))
"""Attacks that run only where they are named, beside the usual ones: each more makes every verdict's level stricter."""
_LACKS = {
    "shadows": "there are no shadow models",
    "inside": "no shadow was trained on a record it was asked about",
    "overlapping": "the shadows did not answer the audited records",
    "online": 'no shadow model was trained on an audited record; design = "overlapping" trains them so ([shadows] of a plan, '
    "or the keyword design)",
    "population": "there are no answers on records outside the audit",
    "features": "the records' features are not at hand",
    "trace": "there is no trace of the target's loss: it takes a model at hand that answers by stages, such as boosted trees",
    "probes": "it asks many questions about each record, so it runs only where it is named: add it to attacks, in the plan or "
    "the call of an audit that asks the model itself",
}
_ALL_THERE = "all it needs is there"
_CAVEATS = {
    "topk": "a true class outside the top k counts as improbable, whatever its probability",
    "rounded": "answers of few decimals tie: low false-positive rates may be out of reach",
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
        return attack_name(self.attack)

    @property
    def caveats(self) -> tuple[str, ...]:
        """What to know of its figures on such evidence, where it runs."""
        return (self.reason,) if self.runs and self.reason != _ALL_THERE else ()


def attack_name(attack: Attack) -> str:
    """Return an attack's name and those of its options that are not the default, as ``lira offline``."""
    default, words = type(attack)().options, [attack.name]
    for key, value in attack.options.items():
        if value != default[key]:
            word = key.replace("_", "-")
            words.append(value if isinstance(value, str) else word if value is True else f"{word}={value}")
    return " ".join(words)


def with_floors(attacks: Sequence[Attack] | None) -> list[Attack]:
    """Return the attacks that were asked for, or all, in the order of a result.

    The loss threshold and the gap attack stand beside any.
    """
    floors = [Threshold(), Gap()]
    if attacks is not None:
        return [*attacks, *floors]
    return [Shokri(), *floors, *(each for each in USUAL if not isinstance(each, Shokri))]


def plan_attacks(
    capability: Capability,
    *,
    shadows: int,
    design: Design = "disjoint",
    population: bool = False,
    features: bool = False,
    probes: Collection[str] = (),
    trace: bool = False,
    answered: bool = False,
    deletion: bool = False,
    attacks: Sequence[Attack] = USUAL,
) -> list[Planned]:
    """List attacks with whether they can be run on such evidence.

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
        Which kinds of questions (`miaudit.evidence.questions`) are asked about each record: ``"votes"``, ``"boundary"``.
    trace
        Whether the target's losses after each of its stages are at hand.
    answered
        Whether shadows of the disjoint design answered the audited records beside their own, as they do in every run of
        `miaudit.audit`; those of the other designs always did.
    deletion
        Whether members were trained on and then deleted, where LiRA is what is documented (Hayes et al. 2024).
    attacks
        What to choose from; default: every attack in its usual configurations, without those of `NAMED`.

    Returns
    -------
    list of Planned
        In the order given, by default from floors to the strongest kinds, of which exactly one is ``strongest``. From 4
        to 16 shadows that is the learned ratio, for more of the overlapping design LiRA with the normal-inverse-gamma
        prior, else offline RMIA (docs/attacks.md); Shokri's or Salem's where none answered the audited records; quantile
        regression, Attack-P or the loss without shadows. For signals LiRA, online or offline by the design, or
        calibration by a single shadow; for log-likelihoods
        offline RMIA in place of the latter two; for labels the
        distance to the boundary, votes where that is out of reach, and the gap where records may
        be asked about once only.

    Raises
    ------
    PlanError
        If the capability, the design or the number is none of these.
    """
    problems = misfits(("capability", capability, Capability), ("design", design, Design))
    if shadows < 0:
        problems.append(("shadows", f"must be at least 0, got {shadows}"))
    if problems:
        raise PlanError(problems)
    there: dict[str, bool] = {
        "shadows": shadows > 0,
        "inside": shadows > 0 and design != "offline",
        "overlapping": design != "disjoint" or answered,
        "online": design == "overlapping",
        "population": population,
        "features": features,
        "trace": trace,
        "probes": bool(probes),
    }
    offers = OFFERS[capability]
    best = _strongest(offers, there, shadows, design, probes)
    if deletion and not _why_not(LiRA(), offers, there, shadows):
        best = LiRA()
    planned = []
    for attack in attacks:
        there["probes"] = bool(probes) and all(each.kind in probes for each in attack.questions)
        reason = _why_not(attack, offers, there, shadows)
        runs = not reason
        if runs:
            reason = _CAVEATS.get(capability, "") if attack.name not in ("gap", "label-only", "loss-trace") else ""
        planned.append(Planned(attack, runs, reason or _ALL_THERE, attack == best))
    return planned


def _why_not(attack: Attack, offers: frozenset[str], there: dict[str, bool], shadows: int) -> str:
    needs: set[Any] = set(attack.demands)
    if attack.least_shadows:
        needs |= {"shadows"} if "overlapping" in needs else {"shadows", "inside"}
    if getattr(attack, "mode", "") == "online" and there["overlapping"]:
        needs.add("online")
    if getattr(attack, "mode", "") == "proxy":
        needs.add("inside")
    if getattr(attack, "form", "base") != "base":
        needs.add("population")
    unread = lacking_answers(attack.demands, offers)
    if unread and "signal" in offers:
        return unread  # whatever else there is
    lacking = [unread] if unread else []
    lacking += [why for need, why in _LACKS.items() if need in needs and not there[need]]
    if not there["shadows"]:
        lacking = [why for why in lacking if why not in (_LACKS["inside"], _LACKS["overlapping"], _LACKS["online"])]
    elif shadows < attack.least_shadows:
        there_are = "there is 1" if shadows == 1 else f"there are {shadows}"
        lacking.append(f"it needs at least {counted(attack.least_shadows, 'shadow model')}, {there_are}")
    return "; ".join(lacking)


def _strongest(
    offers: frozenset[str], there: dict[str, bool], shadows: int, design: Design, probes: Collection[str]
) -> Attack:
    if "signal" not in offers:
        return (
            LabelOnly("boundary", queries=500) if "boundary" in probes else LabelOnly() if "votes" in probes else Gap()
        )
    if not shadows:
        if there["population"]:
            return Quantile() if there["features"] else AttackP()
        return Threshold()
    if "probabilities" not in offers:
        if not there["overlapping"]:
            return Threshold()
        if design == "overlapping" and shadows >= LiRA().least_shadows:
            return LiRA()
        if "likelihood" in offers:
            return RMIA()
        return LiRA("offline") if shadows >= LiRA("offline").least_shadows else Calibration()
    if not there["overlapping"]:
        return Salem() if shadows == 1 else Shokri()
    if there["inside"] and _FEW <= shadows <= _RATIO:
        return Ratio()
    return LiRA() if design == "overlapping" and shadows > _RATIO else RMIA()
