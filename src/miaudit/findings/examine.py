"""From attacks and evidence to everything a result says about the leak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit import stats
from miaudit.attacks import Scores
from miaudit.evidence import Bools, Evidence
from miaudit.findings.accusations import accusations_of
from miaudit.findings.answers import answer_columns
from miaudit.findings.bystander import bystander_control
from miaudit.findings.caution import caution_of
from miaudit.findings.claims import power
from miaudit.findings.controls import judged
from miaudit.findings.factors import factors_of
from miaudit.findings.figures import Run
from miaudit.findings.groups import group_figures
from miaudit.findings.headline import headline_of
from miaudit.findings.stability import Halves, agreement, coverages, ranks_finely
from miaudit.findings.trials import Perform, Task, Trials
from miaudit.findings.verdict import verdict_of
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
    trials: Trials,
    labels: NDArray[np.int64] | None,
    *,
    blind: BlindControl,
    pattern: PatternControl | None = None,
    ids: ArrayLike | None = None,
    slices: Mapping[str, NDArray[Any]] | None = None,
    skipped: Sequence[AttackResult] = (),
    caveats: Sequence[str] = (),
    repeats: bool = True,
    perform: Perform | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Findings:
    """Run all attacks, each beside its controls, and draw the conclusions.

    Parameters
    ----------
    trials
        What to run, and with which options.
    labels
        (n,) class of each audited record; None: there are no classes.
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
    caveats
        What else a reader of the figures must know, as sentences: they end the verdict.
    repeats
        Whether attacks that learn are run again, on shuffled memberships and on halves of the shadow models: without it
        there is neither control nor stability.
    perform
        Runs them; default: one after another, here.
    tell
        Called with how many of how many runs of an attack are done: on the target, on shuffled memberships, on halves.
    """
    member, unit, classes = trials.member, trials.unit, trials.classes
    perform, step = perform or trials.perform, _Steps(len(trials.tasks(repeats=repeats)), tell)
    runs: list[Run] = perform([Task("target", place) for place in range(len(trials.each))], step)
    results = [*judged([run.result for run in runs], blind, pattern), *skipped]
    ran = {run.result.name: run.scores for run in runs if run.scores is not None}
    again = [
        place for place, run in enumerate(runs) if repeats and run.scores is not None and trials.each[place].learns
    ]
    nulls = _in_order(perform([Task("shuffled", place) for place in again], step))
    null = nulls[0] if nulls else None
    lead, reason, top = headline_of(results)
    columns = {} if labels is None else {"class": np.array(classes)[labels]}
    groupings = columns | {name: np.asarray(of) for name, of in (slices or {}).items()}
    half_scores: dict[str, Halves] | None = None
    if repeats and lead is not None:
        halves = perform([Task("halves", place) for place in again], step)
        half_scores = {trials.each[place].name: half for place, half in zip(again, halves, strict=True)}
    of_lead = _of_lead(lead, ran, half_scores, trials, groupings)
    bystander = bystander_control(results, lead)
    controls = Controls(
        null=null, nulls=nulls[1:], baseline="threshold", blind=blind, pattern=pattern, bystander=bystander
    )
    finding = _finding(results, controls, trials, caveats)
    caution = {"caution": caution_of(results, blind, finding.kind, pattern)}
    evidence = [trial.evidence for trial in trials.each]
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
        factors=factors_of(evidence[0], member, classes, unit, of_lead.of_classes) if evidence else None,
        records=_records(ids, {**columns, "member": member.copy(), **of_lead.risk}, evidence, runs),
    )


def _records(
    ids: ArrayLike | None, columns: Mapping[str, NDArray[Any]], evidence: Sequence[Evidence], runs: Sequence[Run]
) -> Records:
    """Return the table of records: what is known of each, what was answered, and what every attack said of it."""
    names = np.arange(len(columns["member"])) if ids is None else np.array(ids)
    of_runs = {name: column for run in runs for name, column in run.columns(len(names)).items()}
    return Records({"id": names, **columns, **answer_columns(evidence), **of_runs})


class _Steps:
    """Counts runs of attacks and tells of each."""

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        self._done, self._total, self._tell = 0, total, tell

    def __call__(self) -> None:
        self._done += 1
        self._tell(self._done, self._total)


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
    ran: Mapping[str, Scores],
    half_scores: Mapping[str, Halves] | None,
    trials: Trials,
    slices: dict[str, NDArray[Any]],
) -> _OfLead:
    """Return what follows; without halves of the shadow models, nothing on stability."""
    if lead is None:
        return _OfLead()
    scores, member, unit = ran[lead], trials.member, trials.unit
    groups = group_figures(lead, scores.score, member, slices, unit=unit)
    stability, risk = (None, {}) if half_scores is None else _stability(lead, ran, half_scores, member)
    accusations, accused = accusations_of(lead, scores, member, unit, seed=trials.seed)
    return _OfLead(groups, stability, accusations, {**risk, "accused": accused})


def _finding(results: Sequence[AttackResult], controls: Controls, trials: Trials, caveats: Sequence[str]) -> Verdict:
    """Return the verdict of the results beside their controls."""
    unit = trials.unit
    size = unit.size(trials.member)
    smallest = _smallest(results, size, max(1, len(trials.each)))
    null, blind, pattern, bystander = controls.null, controls.blind, controls.pattern, controls.bystander
    return verdict_of(
        results, null, blind, *size, bystander, power=smallest, unit=unit, caveats=caveats, pattern=pattern
    )


def _smallest(results: Sequence[AttackResult], sizes: tuple[int, int], attacks: int) -> Power | None:
    """Return the smallest leak that so many units on either side would show; None where a side is empty."""
    beside = min((each.bystander.models for each in results if each.bystander is not None and each.checked), default=0)
    return power(*sizes, attacks=attacks, bystanders=beside) if all(sizes) else None


def _stability(
    lead: str, ran: Mapping[str, Scores], half_scores: Mapping[str, Halves], member: Bools
) -> tuple[Stability, dict[str, NDArray[Any]]]:
    scores = {name: each.score for name, each in ran.items()}
    fine = [name for name in scores if ranks_finely(scores[name])]
    stability = Stability(
        attack=lead,
        shadows=[half.summary(name) for name, half in half_scores.items()],
        attacks=fine,
        pairs=agreement(scores),
        coverage=coverages([scores[name] for name in fine], member) if len(fine) > 1 else [],
        left_out=[name for name in scores if name not in fine],
    )
    risk: dict[str, NDArray[Any]] = {"risk_rank": stats.places(scores[lead])}
    ranks = half_scores[lead].ranks() if lead in half_scores else None
    if ranks is not None:
        risk.update(zip(("risk_low", "risk_high", "risk_top"), ranks, strict=True))
    return stability, risk


def _in_order(nulls: Sequence[NullControl | None]) -> list[NullControl]:
    """Return controls on shuffled memberships: broken ones first, then the 2017 attack's."""
    return sorted(
        (null for null in nulls if null is not None),
        key=lambda null: (null.at_chance is not False, null.attack.split()[0] != "shokri"),
    )
