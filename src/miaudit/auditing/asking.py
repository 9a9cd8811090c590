"""Asks the target: first contact, the audited records and others in one random order, and the first contact again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit import signals
from miaudit.auditing.case import Case, order_taken
from miaudit.auditing.measured import Source, TargetFacts
from miaudit.data.records import form_of, take_records
from miaudit.errors import PlanError
from miaudit.evidence import Probes
from miaudit.evidence.answers import Decision, decide
from miaudit.probes import Probed
from miaudit.recipes.randomness import seeded_generators
from miaudit.seeds import child_seed
from miaudit.shadows.design import Draws
from miaudit.shadows.engine import Progress
from miaudit.shadows.pool import RowKeys
from miaudit.shadows.training import CHOICE, Job, Trained, stored_alone
from miaudit.store import Store
from miaudit.targets import Outputs, Target
from miaudit.targets.contact import Contact
from miaudit.threads import one_thread

Tell = Callable[[str, Progress | None], None]
"""Called with what is being done, and how far the shadow models are."""


def quiet(text: str, progress: Progress | None) -> None:
    """Tell nobody."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What the target answered: about the audited records, and about others."""

    outputs: NDArray[Any]  # (n, classes) probabilities, or (n,) labels
    outside: NDArray[Any] | None  # (p, classes)
    probes: dict[str, Probes]  # by the question of the attacks that read them
    facts: TargetFacts
    remarks: tuple[str, ...] = ()
    trace: NDArray[Any] | None = None  # (n, stages), where an attack asked for reads it
    choice: str | None = None  # what the training of a target that was trained here chose among learners or settings


@contextmanager
def opened(case: Case, folder: Path | None, deadline: float | None, tell: Tell, *, ours: bool) -> Iterator[None]:
    """Open the target of a case, if there is one: answers are kept in the folder. Whoever made it (``ours``) closes it."""
    target = case.target
    try:
        if target is not None:
            target.order = child_seed(case.seed, "questions")
            target.open(None if folder is None else folder / "target", deadline, lambda text: tell(text, None))
        yield
    finally:
        if target is not None and ours:
            target.close()


def probed_by(case: Case, draws: Draws) -> Probed | None:
    """Return what models are asked many times a record, where an attack asked for wants it."""
    for each in case.attacks or ():
        kinds = [getattr(question, "kind", None) for question in each.questions]
        if len({*kinds} & {"votes", "boundary"}) < len(kinds):
            raise PlanError(
                [("attacks", f"{each.name} may name one question of Votes and one of Walk; it names {each.questions}")]
            )
    questions = tuple(question for each in case.attacks or () for question in each.questions)
    if not questions:
        return None
    probed = Probed(draws.audited, questions, child_seed(case.seed, "probes"))
    probed.check(case.dataset)
    return probed


def target_job(case: Case, outside: NDArray[np.int64], probed: Probed | None) -> Job:
    """Return the training of a target that does not exist yet."""
    records = np.concatenate([case.split.members, case.split.nonmembers, outside])
    seed = child_seed(case.seed, "target")
    key = RowKeys(case.dataset, case.recipe).key(case.split.training, records, seed, probed)
    return Job(key, "target", case.split.training, records, seed, probed)


def stored_early(case: Case, job: Job, store: Store) -> bool:
    """Store the row of a target that synthesis trained, so that it is not trained again; whether that was done."""
    target = case.trained
    if target is None or target.form != form_of(case.dataset.X) or store.get(job.key) is not None:
        return False
    return isinstance(stored_alone(job, target.model, target.seconds, case.dataset, case.recipe, store), Trained)


def meet(target: Target, case: Case, outside: NDArray[np.int64], probed: Probed | None, say: Tell) -> None:
    """Make first contact, with records that are not audited, and say what asking will take."""
    X, split = case.dataset.X, case.split
    others = split.population[~np.isin(split.population, outside)]
    probes = (others if len(others) >= target.probes else split.population)[: target.probes]
    before = target.contact is not None
    if not before:
        everyone = np.concatenate([probes, split.members, split.nonmembers, outside])
        target.make_contact(take_records(X, everyone))  # of a run that goes on, what was answered before
    records = [split.members, split.nonmembers, *([] if target.kind == "labels" else [outside])]
    first = (take_records(X, np.concatenate(part)) for part in (records,))  # taken only by a target that heeds it
    parts = itertools.chain(first, () if probed is None else probed.variants(case.dataset))
    estimate = target.expect(parts, further=0 if probed is None else probed.steps)
    if estimate is not None:
        say(f"asking the target: {estimate}", None)
    if before or target.resumed:
        target.confirm(resumed=True)


def of_row(
    answers: NDArray[Any], facts: Mapping[str, Any], n: int, case: Case, queries: int, probes: dict[str, Probes]
) -> Asked:
    """Return what a target that was trained here answered, read as if it had been given."""
    kind = facts.get("answers")
    decision = decide(answers, classes=len(case.dataset.classes)) if kind is None else Decision(**kind)
    outputs = Outputs(answers, decision.kind, len(case.dataset.classes), decision.type, decision.reason)
    labels = decision.kind == "labels"
    return Asked(
        answers[:n].argmax(axis=1) if labels else answers[:n],
        answers[n:] if len(answers) > n and not labels else None,
        probes,
        _facts(outputs, case.recipe.name, "trained here", queries),
        choice=facts.get(CHOICE),
    )


def _facts(
    answer: Outputs, description: str, source: Source, queries: int, contact: Contact | None = None
) -> TargetFacts:
    return TargetFacts(
        description,
        source,
        outputs=answer.decision.type,
        outputs_reason=answer.reason,
        capability=answer.capability,
        decimals=answer.decimals,
        queries=queries,
        contact=contact,
    )


def ask(
    target: Target, case: Case, outside: NDArray[np.int64], probed: Probed | None, *, overlap: bool = False
) -> Asked:
    """Ask a target that exists about the audited records and the others, and whether it is still the same.

    With ``overlap`` other work goes on in this process: what is global, threads of arithmetic and generators, is left alone.
    """
    before, X, n = target.queries, case.dataset.X, len(case.split.members) + len(case.split.nonmembers)
    audited = [case.split.members, case.split.nonmembers]
    with ExitStack() as stack:
        if not overlap:
            stack.enter_context(one_thread())
            stack.enter_context(seeded_generators(child_seed(case.seed, "asking the target")))
        together = target.kind not in (
            None,
            "labels",
        )  # of one that was never asked, the audited records tell what it answers
        records = [*audited, outside] if together else audited
        answer = target.answer(take_records(X, np.concatenate(records)))
        outputs: NDArray[Any]
        further: NDArray[Any] | None = None
        if answer.kind == "labels":
            outputs = answer.labels[:n]  # labels of other records serve no attack
        else:
            if not together and len(outside):
                more = target.answer(take_records(X, outside))
                answer = replace(more, values=np.concatenate([answer.values, more.values]))
            values = answer.probabilities.astype(np.float32 if case.dataset.values is None else np.float64, copy=False)
            outputs, further = values[:n], values[n:] if len(outside) else None
        probes = {} if probed is None else probed.ask(target, case.dataset)
        trace = None
        if any("trace" in attack.needs for attack in case.attacks or ()):
            X, y = (take_records(each, np.concatenate(audited)) for each in (X, case.dataset.y))
            losses = [signals.loss(answers, y).astype(np.float32) for answers in target.by_stage(X)]
            trace = np.stack(losses, axis=1) if losses else None
        queries = target.queries - before
        contact = target.confirm()
    total = queries + (0 if contact is None else contact.queries)
    facts = _facts(answer, target.description, case.source, total, contact=contact)
    remarks = (*target.remarks, *order_taken(target, case.dataset))
    return Asked(outputs, further, probes, facts, remarks, trace)
