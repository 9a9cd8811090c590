"""Attacks to run: on the target and on bystanders, on shuffled memberships, and on halves of the shadow models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple

from miaudit.attacks import Attack
from miaudit.evidence import Bools, Evidence
from miaudit.findings.bystander import bystander_figures
from miaudit.findings.claims import power
from miaudit.findings.controls import null_control
from miaudit.findings.figures import FIGURES, Run, run_attack
from miaudit.findings.stability import Halves, halves
from miaudit.findings.unit import Unit
from miaudit.plan import FiguresPlan
from miaudit.result import NullControl
from miaudit.seeds import child_seed


@dataclass(frozen=True, eq=False)
class Trial:
    """An attack to run, the evidence it reads, and what to say of it beforehand."""

    attack: Attack
    evidence: Evidence
    name: str
    notes: tuple[str, ...] = ()
    strongest: bool = False

    @property
    def learns(self) -> bool:
        """Whether the attack learns from shadow models, so that it is run again."""
        return self.attack.least_shadows > 0


class Task(NamedTuple):
    """One run of the attack of the trial at ``place``: on the target, on shuffled memberships, or on halves."""

    of: Literal["target", "shuffled", "halves"]
    place: int


Perform = Callable[[Iterable[Task], Callable[[], None]], list[Any]]
"""Returns what comes of tasks, in their order, and calls a function after each."""


@dataclass(frozen=True, eq=False)
class Trials:
    """All attacks of an audit, and what their runs have in common. No run depends on another.

    Parameters
    ----------
    each
        What to run, in the order of the result.
    member
        (n,) who is a member of the target's training set.
    unit
        What is counted.
    classes
        Names of the classes; none where there are none.
    seed
        Root of every draw.
    operating
        Where the threshold of PPV and epsilon comes from.
    no_bystanders
        Why no attack is to be run on bystanders; default: each is where the evidence has any.
    """

    each: Sequence[Trial]
    member: Bools
    unit: Unit
    classes: tuple[str, ...] = ()
    _: KW_ONLY
    seed: int = 0
    operating: FiguresPlan = FIGURES
    no_bystanders: str | None = None

    def tasks(self, *, repeats: bool) -> list[Task]:
        """Return all tasks; without ``repeats``, none for attacks that are run again."""
        again = [place for place, trial in enumerate(self.each) if repeats and trial.learns]
        return [
            *(Task("target", place) for place in range(len(self.each))),
            *(Task("shuffled", place) for place in again),
            *(Task("halves", place) for place in again),
        ]

    def perform(self, tasks: Iterable[Task], step: Callable[[], None]) -> list[Any]:
        """Return what comes of tasks, one after another; see `Perform`."""
        results = []
        for task in tasks:
            results.append(self.of(task))
            step()
        return results

    def of(self, task: Task) -> Run | NullControl | Halves | None:
        """Return what comes of one task."""
        trial = self.each[task.place]
        if task.of == "target":
            return self._run(trial)
        if task.of == "halves":
            return halves(trial.attack, trial.evidence, seed=self.seed)
        learning = sum(each.learns for each in self.each)
        options: dict[str, Any] = {"seed": self.seed, "name": trial.name, "attacks": learning, "unit": self.unit}
        return null_control(trial.attack, trial.evidence, self.member, **options)

    def _run(self, trial: Trial) -> Run:
        """Run an attack on the target, and on bystanders unless there is a reason not to."""
        attacks = max(1, len(self.each))
        run = run_attack(
            *(trial.attack, trial.evidence, self.member, self.classes),
            seed=self.seed,
            attacks=attacks,
            name=trial.name,
            notes=trial.notes,
            strongest=trial.strongest,
            operating=self.operating,
            unit=self.unit,
        )
        if run.scores is None:
            return run
        figures = bystander_figures(
            *(trial.attack, trial.evidence, run.scores, self.member, self.unit),
            seed=self.seed,
            attack_seed=child_seed(self.seed, "attack", trial.attack.name),
            attacks=attacks,
            reason=self.no_bystanders,
        )
        update: dict[str, Any] = {"bystander": figures}
        if run.result.power is not None:
            update["power"] = power(*self.unit.size(self.member), attacks=attacks, bystanders=figures.models)
        return Run(run.result.model_copy(update=update), run.scores)
