"""The grid: mitigations by attacks, adaptive and naive, as many cases over one store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from miaudit.attacks import RMIA, Attack, AttackR, Shokri, attack_name
from miaudit.attacks.choice import chosen_attacks
from miaudit.auditing import Case, Engine, Measured, case_of_plan, gather
from miaudit.auditing.asking import Tell, opened, quiet
from miaudit.auditing.conclusion import NO_REPEATS, conclude
from miaudit.auditing.provenance import Clock, system, versions
from miaudit.auditing.workers import Workers, taken
from miaudit.documents import plain
from miaudit.errors import PlanError, PoolError, StoreError, not_path, not_real, refuse
from miaudit.files import temporary_folder
from miaudit.mitigations.canaries import canary_case
from miaudit.mitigations.choice import chosen, usual
from miaudit.mitigations.document import Grid, MitigationRow
from miaudit.mitigations.figures import ONCE, Seen, State, row_of
from miaudit.mitigations.output import Composed, OutputMitigation
from miaudit.mitigations.private import privacy_of
from miaudit.mitigations.recommendation import recommended
from miaudit.mitigations.rows import held, label, mitigated
from miaudit.mitigations.training import TrainingMitigation
from miaudit.plan import PLANS, Plan, plan_of
from miaudit.plan.permissions import Permissions
from miaudit.result import Result
from miaudit.shadows.engine import Progress
from miaudit.shadows.guard import no_exits
from miaudit.store import Store

LIMIT = 0.6
"""The AUC that no attacker is to reach, where nothing else is asked for."""

ATTACKS: tuple[Attack, ...] = (Shokri(), RMIA(), AttackR())
"""What a grid runs unless told otherwise, beside the loss threshold and the gap: a few that find different things, quickly."""

NONE = "none"


@dataclass(frozen=True)
class Setting:
    """One row to measure: mitigations of the training, the innermost first, and of the answers, in their order."""

    training: tuple[TrainingMitigation, ...] = ()
    output: tuple[OutputMitigation, ...] = ()

    @classmethod
    def of(cls, thing: Any) -> Setting:
        """Return the setting of a mitigation, or of several together.

        Raises
        ------
        PlanError
            If something is neither.
        """
        parts = tuple(thing) if isinstance(thing, list | tuple) else (thing,)
        for part in parts:
            if not isinstance(part, OutputMitigation | TrainingMitigation):
                raise PlanError(
                    f"a mitigation has apply(outputs) or of(recipe), see miaudit.mitigations; got {type(part).__name__}"
                )
        output = tuple(part for part in parts if isinstance(part, OutputMitigation))
        return cls(tuple(part for part in parts if not isinstance(part, OutputMitigation)), output)

    @property
    def parts(self) -> tuple[Any, ...]:
        """All of its mitigations."""
        return (*self.training, *self.output)

    @property
    def label(self) -> str:
        """What to call the row."""
        return ", ".join(map(label, self.parts)) or NONE

    def seen(self, measured: Measured, *, naive: bool = False) -> Measured:
        """Return what is seen behind the mitigations of the answers."""
        return mitigated(measured, Composed(self.output), naive=naive) if self.output else measured


@no_exits()
def grid(
    subject: Case | Plan | Mapping[str, Any] | str | PathLike[str],
    mitigations: Sequence[Any] | None = None,
    /,
    *,
    limit: float | None = None,
    attacks: Sequence[Any] | None = None,
    naive: bool = True,
    canaries: int | None = None,
    out: str | PathLike[str] | None = None,
    data: str | PathLike[str] | None = None,
    tell: Tell | None = None,
    **options: Any,
) -> Grid:
    """Measure mitigations: what each hides, from whom, and what it costs.

    Parameters
    ----------
    subject
        A plan, as `miaudit.audit` takes it, or a `Case`. Its section ``[mitigations]`` says what to try, and holds ``limit``,
        ``attacks`` and ``canaries``, too.
    mitigations
        Mitigations, or tuples of some to be tried together; default: those of the plan, or what is usual for its recipe.
    limit
        The AUC that no attacker is to reach [0.6].
    attacks
        Names, tables or attacks; default: those of the plan, or `ATTACKS`. The loss threshold and the gap run beside any.
    naive
        Whether to measure, beside the attacker who knows of the mitigation, one who does not.
    canaries
        How many canaries every training is judged by, too: records with wrong labels, half of them trained on; 0: none. They
        take shadow models of their own.
    out
        Folder of the rows and of ``mitigations.json``; default: nothing is kept.
    data, tell
        As of `miaudit.audit`.
    options
        How the work is done and what a plan may do, as of `miaudit.audit`.

    Raises
    ------
    PlanError
        If a mitigation does not fit the recipe, before anything is trained, or the audit is of a regression.
    MiauditError
        As of `miaudit.audit`.
    """
    refuse(not_path(("out", out)))
    clock, tell = Clock(), tell or quiet
    (engine, permissions), rest = taken(options, Engine, Permissions)
    if rest:
        raise PlanError(f"grid takes no {', '.join(rest)}; a plan says what to audit")
    table: Mapping[str, Any] = {}
    if isinstance(subject, PLANS):
        plan = plan_of(subject)
        table = plan.mitigations or {}
        subject = case_of_plan(plan, data_folder=data, permissions=permissions, engine=engine)
    case = subject
    if not isinstance(case, Case):
        raise PlanError(f"a grid is made of a plan or of a Case, got {type(case).__name__}")
    if case.dataset.values is not None:
        raise PlanError("mitigations are measured of classifiers, and this plan audits a regression")
    choice = chosen(table)
    limit = _limit(choice.limit if limit is None else limit)
    canaries = choice.canaries if canaries is None else canaries
    workers, recipe = engine.start(case.engine, case.recipe, began=clock.monotonic)
    case = replace(case, recipe=recipe)
    things = (choice.mitigations or usual(recipe)) if mitigations is None else mitigations
    settings = list({setting.label: setting for setting in map(Setting.of, things)}.values())
    for setting in settings:
        trained_by(case, setting)  # refuses what does not fit
    if attacks is not None:
        case = replace(case, attacks=chosen_attacks(list(attacks)))
    run = case.attacks or ATTACKS
    lab = _Lab(case, settings, workers, clock, tell, limit=limit, naive=naive, canaries=canaries, attacks=run)
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("miaudit-")) if out is None else Path(out)
        stack.enter_context(opened(case, folder if out else None, workers.deadline, tell, ours=True))
        document = lab.measured(Store(folder), durable=out is not None)
        if out is not None:
            document.save(folder)
    return document


@no_exits()
def suggest(
    folder: str | PathLike[str],
    mitigations: Sequence[OutputMitigation] | None = None,
    /,
    *,
    limit: float | None = None,
    attacks: Sequence[Any] | None = None,
    naive: bool = True,
    data: str | PathLike[str] | None = None,
    tell: Tell | None = None,
    **options: Any,
) -> Grid:
    """Try output mitigations on a finished audit: its plan and its rows are read, and nothing is trained.

    Parameters
    ----------
    folder
        The ``out`` folder of an audit that was made of a plan; the records that the plan names must still be there. A target
        that is a server or a file answers as in a run that goes on: what lies in the folder is not asked again.
    mitigations
        What to try; default: every output mitigation in its usual strengths.
    limit, attacks, naive, data, tell, options
        As of `grid`.

    Raises
    ------
    StoreError
        If the audit is not finished, was made of Python objects, or a row of it is gone: then `grid` on its plan trains it
        again.
    """
    clock, tell = Clock(), tell or quiet
    (engine, permissions), rest = taken(options, Engine, Permissions)
    if rest:
        raise PlanError(f"suggest takes no {', '.join(rest)}")
    result = Result.load(Path(folder))
    document = result.provenance.plan
    if "data" not in document or "recipe" not in document:
        raise StoreError(
            f"the audit in {folder} was made of Python objects or of stored answers, and no plan says how to read it again: "
            "give miaudit.mitigations.grid a Case, or audit by a plan"
        )
    if result.shadows.trained and not (Path(folder) / "rows").is_dir():
        raise StoreError(
            f"the rows of the audit are gone from {folder}, as miaudit clean removes them, and nothing is trained: "
            "run the audit again, or miaudit mitigate on its plan"
        )
    case = case_of_plan(Plan.of_document(document), data_folder=data, permissions=permissions, engine=engine)
    workers, recipe = engine.start(case.engine, case.recipe, began=clock.monotonic)
    case = replace(case, recipe=recipe)
    things = usual(None) if mitigations is None else mitigations
    settings = list({setting.label: setting for setting in map(Setting.of, things)}.values())
    if any(setting.training for setting in settings):
        raise PlanError(
            "suggest trains nothing, so that it tries output mitigations alone: miaudit mitigate PLAN tries others"
        )
    run = ATTACKS if attacks is None else chosen_attacks(list(attacks))
    lab = _Lab(case, settings, workers, clock, tell, limit=_limit(limit), naive=naive, attacks=run, whole=result)
    with opened(case, Path(folder), workers.deadline, tell, ours=True):
        table = lab.measured(Store(Path(folder)), durable=True)
    table.save(Path(folder))
    return table


def trained_by(case: Case, setting: Setting) -> Case:
    """Return the case with the recipe behind a setting's mitigations of the training; the target is trained by it."""
    if not setting.training:
        return case
    recipe = case.recipe
    for mitigation in setting.training:
        recipe = mitigation.of(recipe)
    return replace(case, recipe=recipe, target=None, trained=None)


@dataclass(eq=False)
class _Lab:
    """What a grid works with. ``whole`` is the finished audit whose rows are read, None where rows may be trained."""

    case: Case
    settings: Sequence[Setting]
    workers: Workers
    clock: Clock
    tell: Tell
    limit: float
    naive: bool
    attacks: Sequence[Attack]
    canaries: int = 0
    whole: Result | None = None

    def measured(self, store: Store, *, durable: bool) -> Grid:
        """Return the grid, over one store."""
        rows: list[MitigationRow] = []
        states: dict[str, Seen] = {}
        plan, whole = list(self._plan()), self.whole
        for state in self._states(plan, store, durable):
            self.tell(f"attacking: {state.label}", None)
            if whole is None:  # with the control on the records alone
                bare = replace(state.adaptive, attacks=tuple(self.attacks), repeats=False, no_bystanders=ONCE)
                whole = conclude(bare)
            rows.append(row_of(state, states, attacks=self.attacks, limit=self.limit, rows=len(plan)))
        assert whole is not None
        return self._document(rows, whole)

    def _plan(self) -> Iterator[tuple[Setting, str]]:
        """Yield settings with the label of the row that each is compared with, one training after the other.

        Where a target is given, trainings are compared with the recipe without a mitigation, trained anew.
        """
        anew = NONE if self.case.target is None else "none, trained anew"
        yield Setting(), NONE
        yield from ((setting, NONE) for setting in self.settings if not setting.training)
        trainings = [setting for setting in self.settings if setting.training]
        if trainings and anew != NONE:
            yield Setting(), anew
        for training in dict.fromkeys(setting.training for setting in trainings):
            yield from ((setting, anew) for setting in trainings if setting.training == training)

    def _states(self, plan: Sequence[tuple[Setting, str]], store: Store, durable: bool) -> Iterator[State]:
        """Gather one training after the other, and yield every setting as it was measured."""
        base: dict[str, Measured] = {}
        current: tuple[Any, Measured, Measured | None] | None = None
        for setting, before in plan:
            key = (setting.training, before)
            if current is None or current[0] != key:
                case = trained_by(self.case, setting)
                case = replace(case, target=None) if before != NONE else case
                try:
                    measured = held(self._gather(case, store, durable))
                    canaries = (
                        held(self._gather(canary_case(case, self.canaries), store, durable)) if self.canaries else None
                    )
                except PoolError as error:
                    raise PoolError(f"with {', '.join(map(label, setting.training)) or before}: {error}") from error
                current = (key, measured, canaries)
                base.setdefault(before, measured)
            measured, canaries = current[1:]
            naive: Measured | None = None
            if self.naive and setting.parts:
                unaware = _unaware(base[before], measured) if setting.training else measured
                naive = setting.seen(unaware, naive=True)
            yield State(
                label=setting.label if setting.parts else before,
                side=_side(setting),
                parts=setting.parts,
                before=before,
                adaptive=setting.seen(measured),
                naive=naive,
                canaries=None if canaries is None else setting.seen(canaries),
                privacy=privacy_of(setting.training, self.case),
            )

    def _gather(self, case: Case, store: Store, durable: bool) -> Measured:
        def heed(text: str, progress: Progress | None) -> None:
            """End with the first row that is trained where a finished audit is only read; models that fail again are none."""
            if self.whole is not None and progress is not None and progress.done:
                raise StoreError(
                    f"rows of the audit are gone from {store.folder} or are of another version, as one that was trained anew "
                    "shows: run the audit again, or miaudit mitigate on its plan"
                )
            self.tell(text, progress)

        return gather(case, store, self.workers, clock=self.clock, tell=heed, kept=durable)

    def _document(self, rows: list[MitigationRow], whole: Result) -> Grid:
        case, clock = self.case, self.clock
        return Grid(
            title=case.title,
            limit=self.limit,
            attacks=[attack_name(each) for each in self.attacks],
            members=whole.split.members,
            nonmembers=whole.split.nonmembers,
            shadows=whole.shadows.trained,
            rows=rows,
            recommendation=recommended(rows, self.limit, whole, canaries=bool(self.canaries)),
            warnings=[each for each in whole.warnings if each != NO_REPEATS],
            provenance={
                "started": clock.started,
                "seconds": round(time.perf_counter() - clock.began, 2),
                "versions": versions((case.recipe,)),
                "platform": system(),
                "plan": plain(case.document, "plan"),
                "verdict": whole.verdict_kind,
            },
        )


def _unaware(base: Measured, measured: Measured) -> Measured:
    """Return what an attacker measures who trains shadow models without the mitigation: the target's answers, their rows."""
    swapped = {}

    def of(ours: Any, theirs: Any) -> Any:
        if id(ours) not in swapped:
            population = ours.population
            if population is not None and theirs.population is not None:
                population = replace(population, target=theirs.population.target)
            own = None if ours.own is None else of(ours.own, theirs.own)
            swapped[id(ours)] = ours.replace(
                target=theirs.target, population=population, own=own, probes=None, answers=theirs.answers, trace=None
            )
        return swapped[id(ours)]

    (own, direct), (their_own, their_direct) = base.evidence, measured.evidence
    evidence = base.evidence._replace(
        own=of(own, their_own), direct=None if direct is None else of(direct, their_direct)
    )
    return replace(measured, evidence=evidence, shadows=base.shadows)


def _side(setting: Setting) -> Any:
    if setting.training:
        return "both" if setting.output else "training"
    return "output" if setting.output else "none"


def _limit(limit: float | None) -> float:
    value = LIMIT if limit is None else limit
    refuse([(path, f"{text}; it is an AUC") for path, text in not_real(("limit", value), above=0.5, below=1)])
    return float(value)
