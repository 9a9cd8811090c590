"""From attacks and evidence to everything a result says about the leak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit import stats
from miaudit.attacks import Attack
from miaudit.evidence import Bools, Evidence
from miaudit.findings.accusations import accusations_of
from miaudit.findings.answers import answer_columns
from miaudit.findings.bystander import bystander_control, bystander_figures
from miaudit.findings.caution import caution_of
from miaudit.findings.claims import power
from miaudit.findings.controls import judged, null_control
from miaudit.findings.factors import factors_of
from miaudit.findings.figures import FIGURES, Run, run_attack
from miaudit.findings.groups import group_figures
from miaudit.findings.headline import headline_of
from miaudit.findings.stability import Halves, agreement, coverages, halves, ranks_finely
from miaudit.findings.unit import Unit, unit_of
from miaudit.findings.verdict import verdict_of
from miaudit.plan import FiguresPlan
from miaudit.result import (
    Accusations,
    AttackResult,
    BlindControl,
    Controls,
    Factors,
    Grouping,
    NullControl,
    PatternControl,
    Power,
    Records,
    Stability,
    Verdict,
    VerdictKind,
    sentence,
)
from miaudit.seeds import child_seed


@dataclass(frozen=True, eq=False)
class Trial:
    """An attack to run, the evidence it reads, and what to say of it beforehand."""

    attack: Attack
    evidence: Evidence
    name: str
    notes: tuple[str, ...] = ()
    strongest: bool = False


@dataclass(frozen=True, eq=False)
class Findings:
    """What an audit found: the parts of a result that depend on the evidence alone, by their names in it."""

    finding: Verdict
    verdict: str
    headline: str | None
    headline_reason: str | None
    highest: str | None
    attacks: list[AttackResult]
    controls: Controls
    groups: list[Grouping]
    stability: Stability | None
    accusations: Accusations | None
    factors: Factors | None
    records: Records

    @property
    def verdict_kind(self) -> VerdictKind:
        """Kind of the verdict."""
        return self.finding.kind


def examine(
    trials: Sequence[Trial],
    member: Bools,
    labels: NDArray[np.int64] | None,
    classes: tuple[str, ...],
    *,
    seed: int,
    blind: BlindControl,
    pattern: PatternControl | None = None,
    ids: ArrayLike | None = None,
    slices: Mapping[str, NDArray[Any]] | None = None,
    skipped: Sequence[AttackResult] = (),
    operating: FiguresPlan = FIGURES,
    unit: Unit | None = None,
    caveats: Sequence[str] = (),
    no_bystanders: str | None = None,
    repeats: bool = True,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Findings:
    """Run all attacks, each beside its controls, and draw the conclusions.

    Parameters
    ----------
    trials
        What to run, in the order of the result.
    member, labels
        (n,) who is a member of the target's training set, and the class of each audited record; None: there are no classes.
    classes
        Names of the classes; none where there are none.
    seed
        Root of every draw.
    blind
        The control on the raw records.
    pattern
        The control for a pattern of the classes in them; None: none was looked for.
    ids
        (n,) what to call the records; default: their numbers.
    slices
        (n,) groups in which to measure the leak, by the name of the column; the classes always are one.
    skipped
        Attacks that cannot be run, with their reasons.
    operating
        Where the threshold of PPV and epsilon comes from.
    unit
        What is counted; default: records.
    caveats
        What else a reader of the figures must know, as sentences: they end the verdict.
    no_bystanders
        Why no attack is to be run on bystanders; default: each is where the evidence has any.
    repeats
        Whether attacks that learn are run again, on shuffled memberships and on halves of the shadow models: without it
        there is neither control nor stability.
    tell
        Called with how many of how many runs of an attack are done: on the target, on shuffled memberships, on halves.
    """
    unit = unit or unit_of(member)
    step = _Steps(len(trials) + (2 * sum(trial.attack.least_shadows > 0 for trial in trials) if repeats else 0), tell)
    options: dict[str, Any] = {"seed": seed, "attacks": max(1, len(trials)), "operating": operating, "unit": unit}
    runs = _runs(trials, member, classes, no_bystanders, step, **options)
    results = [*judged([run.result for run in runs], blind, pattern), *skipped]
    ran = {run.result.name: (trial, run) for trial, run in zip(trials, runs, strict=True) if run.scores is not None}
    nulls = _nulls([trial for trial, _ in ran.values()], member, seed, unit, step) if repeats else []
    null = nulls[0] if nulls else None
    lead, reason, top = headline_of(results)
    columns = {} if labels is None else {"class": np.array(classes)[labels]}
    groupings = columns | {name: np.asarray(of) for name, of in (slices or {}).items()}
    of_lead = _of_lead(lead, ran, member, groupings, unit, seed, step if repeats else None)
    bystander = bystander_control(results, lead)
    controls = Controls(
        null=null, nulls=nulls[1:], baseline="threshold", blind=blind, pattern=pattern, bystander=bystander
    )
    finding = _finding(results, controls, unit.size(member), options["attacks"], unit, caveats)
    caution = {"caution": caution_of(results, blind, finding.kind, pattern)}
    return Findings(
        finding=finding,
        verdict=sentence(finding, results, null, blind, pattern),
        headline=lead,
        headline_reason=reason,
        highest=top,
        attacks=[each.model_copy(update=caution) if each.epsilon is not None else each for each in results],
        controls=controls,
        groups=[each.model_copy(update=caution) for each in of_lead.groups],
        stability=of_lead.stability,
        accusations=None if of_lead.accusations is None else of_lead.accusations.model_copy(update=caution),
        factors=factors_of(trials[0].evidence, member, classes, unit, of_lead.of_classes) if trials else None,
        records=_records(ids, {**columns, "member": member.copy(), **of_lead.risk}, trials, runs),
    )


def _records(
    ids: ArrayLike | None, columns: Mapping[str, NDArray[Any]], trials: Sequence[Trial], runs: Sequence[Run]
) -> Records:
    """Return the table of records: what is known of each, what was answered, and what every attack said of it."""
    names = np.arange(len(columns["member"])) if ids is None else np.array(ids)
    of_runs = {name: column for run in runs for name, column in run.columns(len(names)).items()}
    return Records({"id": names, **columns, **answer_columns([trial.evidence for trial in trials]), **of_runs})


class _Steps:
    """Counts runs of attacks and tells of each."""

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        self._done, self._total, self._tell = 0, total, tell

    def __call__(self) -> None:
        self._done += 1
        self._tell(self._done, self._total)


def _runs(
    trials: Sequence[Trial], member: Bools, classes: tuple[str, ...], reason: str | None, step: _Steps, **options: Any
) -> list[Run]:
    """Run every attack on the target, and on bystanders unless there is a ``reason`` not to; options of `run_attack`."""
    runs = []
    for trial in trials:
        own: dict[str, Any] = {"name": trial.name, "notes": trial.notes, "strongest": trial.strongest}
        run = run_attack(trial.attack, trial.evidence, member, classes, **own, **options)
        runs.append(
            _beside_bystanders(run, trial, member, options["unit"], options["seed"], options["attacks"], reason)
        )
        step()
    return runs


def _beside_bystanders(
    run: Run, trial: Trial, member: Bools, unit: Unit, seed: int, attacks: int, reason: str | None
) -> Run:
    """Return the run with what the attack finds on bystanders."""
    if run.scores is None:
        return run
    figures = bystander_figures(
        *(trial.attack, trial.evidence, run.scores, member, unit),
        seed=seed,
        attack_seed=child_seed(seed, "attack", trial.attack.name),
        attacks=attacks,
        reason=reason,
    )
    update: dict[str, Any] = {"bystander": figures}
    if run.result.power is not None:
        update["power"] = power(*unit.size(member), attacks=attacks, bystanders=figures.models)
    return Run(run.result.model_copy(update=update), run.scores)


@dataclass(frozen=True, eq=False)
class _OfLead:
    """What follows from the scores of the attack in the headline: in groups, for each record, and how stable it is."""

    groups: list[Grouping] = field(default_factory=list)
    stability: Stability | None = None
    accusations: Accusations | None = None
    risk: dict[str, NDArray[Any]] = field(default_factory=dict)  # columns of the records

    @property
    def of_classes(self) -> Grouping | None:
        """The groups that are the classes."""
        return next((each for each in self.groups if each.column == "class"), None)


def _of_lead(
    lead: str | None,
    ran: dict[str, tuple[Trial, Run]],
    member: Bools,
    slices: dict[str, NDArray[Any]],
    unit: Unit,
    seed: int,
    step: Callable[[], None] | None,
) -> _OfLead:
    """Return what follows; without ``step``, which tells of attacks that are run again, nothing on their stability."""
    if lead is None:
        return _OfLead()
    scores = ran[lead][1].scores
    assert scores is not None
    groups = group_figures(lead, scores.score, member, slices, unit=unit)
    stability, risk = (None, {}) if step is None else _stability(lead, ran, member, seed, step)
    accusations, accused = accusations_of(lead, scores, member, unit, seed=seed)
    return _OfLead(groups, stability, accusations, {**risk, "accused": accused})


def _finding(
    results: Sequence[AttackResult],
    controls: Controls,
    size: tuple[int, int],
    attacks: int,
    unit: Unit,
    caveats: Sequence[str],
) -> Verdict:
    """Return the verdict of the results beside their controls."""
    smallest = _smallest(results, size, attacks)
    null, blind, pattern, bystander = controls.null, controls.blind, controls.pattern, controls.bystander
    return verdict_of(
        results, null, blind, *size, bystander, power=smallest, unit=unit, caveats=caveats, pattern=pattern
    )


def _smallest(results: Sequence[AttackResult], sizes: tuple[int, int], attacks: int) -> Power | None:
    """Return the smallest leak that so many units on either side would show; None where a side is empty."""
    beside = min((each.bystander.models for each in results if each.bystander is not None and each.checked), default=0)
    return power(*sizes, attacks=attacks, bystanders=beside) if all(sizes) else None


def _stability(
    lead: str, ran: dict[str, tuple[Trial, Run]], member: Bools, seed: int, step: Callable[[], None]
) -> tuple[Stability, dict[str, NDArray[Any]]]:
    scores = {name: run.scores.score for name, (_, run) in ran.items()}  # type: ignore[union-attr]
    again: dict[str, Halves] = {}
    for name, (trial, _) in ran.items():
        if trial.attack.least_shadows:
            again[name] = halves(trial.attack, trial.evidence, seed=seed)
            step()
    fine = [name for name in scores if ranks_finely(scores[name])]
    stability = Stability(
        attack=lead,
        shadows=[half.summary(name) for name, half in again.items()],
        attacks=fine,
        pairs=agreement(scores),
        coverage=coverages([scores[name] for name in fine], member) if len(fine) > 1 else [],
        left_out=[name for name in scores if name not in fine],
    )
    risk: dict[str, NDArray[Any]] = {"risk_rank": stats.places(scores[lead])}
    ranks = again[lead].ranks() if lead in again else None
    if ranks is not None:
        risk.update(zip(("risk_low", "risk_high", "risk_top"), ranks, strict=True))
    return stability, risk


def _nulls(
    trials: Sequence[Trial], member: Bools, seed: int, unit: Unit, step: Callable[[], None]
) -> list[NullControl]:
    """Run what learns from memberships of shadow rows on shuffled ones: broken ones first, then the 2017 attack's."""
    learning = [trial for trial in trials if trial.attack.least_shadows]
    nulls = []
    for trial in learning:
        options: dict[str, Any] = {"name": trial.name, "attacks": len(learning), "unit": unit}
        nulls.append(null_control(trial.attack, trial.evidence, member, seed=seed, **options))
        step()
    return sorted(
        (null for null in nulls if null is not None),
        key=lambda null: (null.at_chance is not False, null.attack.split()[0] != "shokri"),
    )
