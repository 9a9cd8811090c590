"""From a DeletionCase to what is measured: models trained, made to forget, and asked before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit.auditing.alongside import asking, can_overlap
from miaudit.auditing.asking import Asked, Tell, ask, meet, of_row
from miaudit.auditing.gathering import origin_of, split_facts
from miaudit.auditing.measured import Measured, ShadowFacts
from miaudit.auditing.provenance import Clock, Origin
from miaudit.auditing.scope import oddities
from miaudit.auditing.workers import Workers
from miaudit.documents import plain
from miaudit.errors import DataError, PoolError, counted
from miaudit.evidence import Evidence
from miaudit.recipes import is_staged
from miaudit.result import Accuracies, DeletionCost, DeletionWork, Receipt, Relearning
from miaudit.seeds import child_seed
from miaudit.shadows.engine import Progress
from miaudit.shadows.pool import RowKeys, ShadowEvidence, ShadowPool, training_oddities
from miaudit.shadows.training import AFTER, RELEARNING, WORK, Job
from miaudit.store import Store
from miaudit.targets import Target
from miaudit.targets.seen import answered_classes, reduce_alike
from miaudit.threads import one_thread
from miaudit.unlearning.case import ATTACKS, DeletionCase
from miaudit.unlearning.drawing import DeletionDraws, draws_of
from miaudit.unlearning.measured import DeletionMeasured, Retrained
from miaudit.unlearning.pairs import pair_evidence
from miaudit.unlearning.receipts import receipt_jobs, receipt_of

Ints = NDArray[np.int64]
Alike = Callable[[NDArray[np.float32]], None] | None

MANY = 19
"""Retrained models from which on the rank of one among them can show 5 %."""


def gather(
    of: DeletionCase, store: Store, workers: Workers, *, clock: Clock, tell: Tell, kept: bool = True
) -> DeletionMeasured:
    """Train or ask the target before and after, train the shadow models and make them forget, and return what was seen.

    Parameters are those of `miaudit.auditing.gather`; targets that there are, are open.
    """
    plain({"plan": of.document, "procedure": of.procedure.options}, "the audit")
    store.sweep()
    drawn = draws_of(of)
    pool = pool_of(of, drawn, store, kept=kept)
    with clock.stage("shadows"):
        seen = _train(of, pool, workers, tell)
    with one_thread():
        return _Reading(of, pool, drawn, seen, clock).measured()


def pool_of(of: DeletionCase, drawn: DeletionDraws, store: Store, *, kept: bool) -> ShadowPool:
    """Return the shadow models of a deletion audit; ``kept`` says whether the store outlives it."""
    case = of.case
    return ShadowPool(
        *(case.dataset, of.recipe, drawn.draws, store, child_seed(case.seed, "shadows")),
        kept=kept,
        apart=drawn.bystanders,
        forget=drawn.forget,
        apart_forget=drawn.bystanders_forget,
    )


class Beside(NamedTuple):
    """What is trained beside the shadow models: the target, where it is trained here, retrained models, and receipts."""

    target: list[Job]
    oracles: list[Job]
    receipts: list[tuple[Job, Job]]

    @property
    def jobs(self) -> list[Job]:
        """All of them."""
        return [*self.target, *self.oracles, *(again for _, again in self.receipts)]


def beside(of: DeletionCase, pool: ShadowPool) -> Beside:
    """Return what is trained beside the shadow models."""
    case, audited = of.case, of.audited
    keys = RowKeys(case.dataset, of.recipe)
    target: list[Job] = []
    again = None if of.removed is None or not of.oracles else of.forget
    if case.target is None:
        seed = child_seed(case.seed, "target")
        key = keys.key(of.training, audited, seed, forget=of.forget, relearn=again)
        target.append(Job(key, "target", of.training, audited, seed, forget=of.forget, relearn=again))
    oracles = []
    for number in range(of.oracles):
        seed = child_seed(case.seed, "oracle", number)
        key = keys.key(of.rest, audited, seed, relearn=again)
        oracles.append(Job(key, f"retrained model {number}", of.rest, audited, seed, relearn=again))
    return Beside(target, oracles, receipt_jobs(of, keys, [*target, *pool.plan]))


@dataclass(frozen=True, eq=False)
class _Seen:
    """The target's answers before (None: not at hand) and after, facts of its row, of the shadows, and of the oracles."""

    before: Asked | None
    after: Asked
    target: dict[str, Any]
    shadows: dict[int, dict[str, Any]]
    oracles: list[Job]
    receipt: Receipt | None
    progress: Progress


def _train(of: DeletionCase, pool: ShadowPool, workers: Workers, tell: Tell) -> _Seen:
    case, audited = of.case, of.audited
    others = beside(of, pool)
    own = others.target
    nobody = audited[:0]
    models = [target for target in (of.before, case.target) if target is not None]
    for target in models:
        tell("asking the target before" if target is of.before else "asking the target", None)
        with _of_one_task(of, target):
            meet(target, case, nobody, None, tell)
    jobs = [*others.jobs, *pool.plan, *pool.bystander_plan]
    overlap = can_overlap(models, jobs, of.recipe, pool.store, workers)

    def ask_all() -> list[Asked | None]:
        answers: list[Asked | None] = []
        for target in (of.before, case.target):
            if target is None:
                answers.append(None)
                continue
            with _of_one_task(of, target):
                answers.append(ask(target, replace(case, target=target), nobody, None, overlap=overlap))
        return answers

    what = "training and deleting: target and shadow models" if own else "training and deleting: shadow models"
    last: list[Progress] = []

    with asking(ask_all, models, tell, overlap=overlap) as asked:

        def note(progress: Progress) -> None:
            asked.check()
            last[:] = [progress]
            tell(what, progress)

        shadows = pool.run(**workers.options, minimum=case.minimum, also=others.jobs, tell=note)
        before, after = asked.result()
    facts: dict[str, Any] = {}
    if own:
        row = pool.store.get(own[0].key)
        if row is None:
            raise PoolError(f"the target's row is gone from {pool.store.folder}; run the audit again")
        n, facts = len(audited), row.facts
        before, after = (of_row(row.arrays[array], facts, n, case, n, {}) for array in ("outputs", AFTER))
    assert after is not None
    return _Seen(
        before,
        after,
        facts,
        shadows,
        others.oracles,
        receipt_of(others.receipts, pool.store, of_target=bool(others.target)),
        last[0],
    )


@contextmanager
def _of_one_task(of: DeletionCase, target: Target | None) -> Iterator[None]:
    """Say of what is wrong with the model before the deletion that it is that one's."""
    try:
        yield
    except DataError as error:
        if target is not of.before:
            raise
        raise DataError(
            f"the model before the deletion: {error}. It must be of the same task as the one after"
        ) from error


@dataclass(frozen=True, eq=False)
class _Reading:
    """Makes of rows and answers what each question reads."""

    of: DeletionCase
    pool: ShadowPool
    drawn: DeletionDraws
    seen: _Seen
    clock: Clock

    def measured(self) -> DeletionMeasured:
        """Return all questions."""
        of, seen = self.of, self.seen
        unasked = dict[str, str]()
        before = pair = others_before = others_after = None
        pair_index, others = of.pair, of.others
        after = self._question(pair_index, seen.after, AFTER)
        if seen.before is None:
            unasked["before"] = unasked["pair"] = "the model before the deletion is not at hand"
        else:
            before = self._question(pair_index, seen.before, "outputs")
            pair = self._pair(after, seen.before)
        if min(map(len, others)) < 2:
            unasked["others"] = (
                "there are too few records that stay, or too few never trained on to compare them with: give more non-members"
            )
        else:
            others_after = self._question(others, seen.after, AFTER)
            if seen.before is not None:
                others_before = self._question(others, seen.before, "outputs")
        retrained, controls = self._retrained()
        if retrained is None:
            unasked["likeness"] = "no model was retrained without the deleted records: unlearning.oracles is 0"
        return DeletionMeasured(
            procedure=of.procedure.name,
            title=of.procedure.title,
            paper=of.procedure.paper,
            options={
                **of.procedure.options,
                **({} if not of.document.get("function") else {"path": of.document["function"]}),
            },
            exact=of.procedure.is_exact(of.case.recipe),
            removed=None if of.removed is None else of.case.dataset.classes[of.removed],
            after=after,
            before=before,
            pair=pair,
            others_before=others_before,
            others_after=others_after,
            retrained=retrained,
            controls=controls,
            cost=self._cost(),
            kept=len(of.rest),
            unasked=unasked,
            receipt=seen.receipt,
        )

    def _alike(self, asked: Asked) -> Alike:
        top = answered_classes(asked.outputs) if asked.facts.capability == "topk" else None
        return partial(reduce_alike, top=top, decimals=asked.facts.decimals)

    def _question(self, sides: tuple[Ints, Ints], asked: Asked, array: str) -> Measured:
        """Return what is measured of two sides of the audited records, in one state of all models."""
        pool, dataset = self.pool, self.of.case.dataset
        index = np.concatenate(sides)
        audited = pool.draws.audited[index]
        jobs, alike = [pool.plan[number] for number in self.seen.shadows], self._alike(asked)
        bystanders = pool.about(pool.bystanders, index, array, alike=alike) if pool.bystanders else None
        people = dataset.people
        evidence = Evidence(
            asked.outputs[index],
            pool.about(jobs, index, array, alike=alike),
            pool.draws.inside[list(self.seen.shadows)][:, index],
            self._labels(index, array),
            people=None if people is None else people[audited],
            bystanders=bystanders,
        )
        return self._measured(evidence, sides, asked)

    def _labels(self, index: Ints, array: str) -> Ints:
        """Return true classes; of a removed class afterwards, the likeliest other one by models that never saw the record."""
        truth = self.of.case.dataset.y[self.pool.draws.audited[index]]
        removed = self.of.removed
        if removed is None or array != AFTER or not (truth == removed).any():
            return truth
        numbers = list(self.seen.shadows)
        total = np.zeros((len(index), self.of.case.dataset.width))
        for number, rows in zip(
            numbers, self.pool.about([self.pool.plan[i] for i in numbers], index, AFTER), strict=True
        ):
            never = ~self.pool.draws.inside[number][index]
            total[never] += rows[never]
        total[:, removed] = -1.0
        return np.where(truth == removed, total.argmax(axis=1), truth)

    def _measured(self, evidence: Evidence, sides: tuple[Ints, Ints], asked: Asked) -> Measured:
        case, pool = self.of.case, self.pool
        dataset = case.dataset
        audited = pool.draws.audited[np.concatenate(sides)]
        member = np.arange(len(audited)) < len(sides[0])
        return Measured(
            title=case.title,
            seed=case.seed,
            evidence=ShadowEvidence(evidence, evidence),
            member=member,
            classes=dataset.classes if evidence.measure is None else (),
            data=dataset.describe(),
            target=replace(asked.facts, queries=asked.facts.queries or 0),
            split=replace(split_facts(case, self.pool.draws), shadow_test=0),
            shadows=self._shadows(),
            origin=self._origin(),
            attacks=case.attacks or ATTACKS,
            operating=case.figures,
            unit=case.unit,
            contents=dataset.take(audited).contents,
            records=dataset.numbers(audited),
            ids=audited if dataset.ids is None else dataset.ids[audited],
            slices={name: of[audited] for name, of in case.slices.items()},
            no_bystanders=self._no_bystanders(),
            warnings=(*case.notes, *self.drawn.warnings),
            target_warnings=(*oddities(asked.facts.contact), *asked.remarks),
            shadow_warnings=tuple(self._shadow_warnings()),
            deletion=True,
        )

    def _no_bystanders(self) -> str | None:
        if self.drawn.no_bystanders is not None:
            return self.drawn.no_bystanders
        if self.pool.apart is not None and not self.pool.bystanders:
            return f"none of {counted(len(self.pool.apart), 'bystander')} could be trained"
        return None

    def _pair(self, after: Measured, before: Asked) -> Measured:
        """Return what is measured of the fall of each record's confidence."""
        index = np.concatenate(self.of.pair)
        jobs, alike = [self.pool.plan[number] for number in self.seen.shadows], self._alike(before)
        labels = self._labels(index, AFTER)
        own = after.evidence.own
        evidence = pair_evidence(
            (before.outputs[index], self.seen.after.outputs[index]),
            (self.pool.about(jobs, index, alike=alike), own.models),
            own.inside,
            labels if self.of.removed is None else self.of.case.dataset.y[self.pool.draws.audited[index]],
            bystanders=None
            if own.bystanders is None
            else (self.pool.about(self.pool.bystanders, index, alike=alike), own.bystanders),
            people=own.people,
        )
        facts = replace(after.target, capability="signal", outputs="signal")
        attacks = tuple(each for each in after.attacks or () if each.name == "lira")[:1] or (ATTACKS[0],)
        return replace(
            after,
            evidence=ShadowEvidence(evidence, evidence),
            classes=(),
            target=facts,
            attacks=attacks,
        )

    def _retrained(self) -> tuple[Retrained | None, NDArray[Any] | None]:
        """Return answers of the retrained models to what they are compared on, and to the records of the first question."""
        of, jobs = self.of, self.seen.oracles
        if not jobs:
            return None, None
        everyone = np.concatenate(of.pair)
        alike = self._alike(self.seen.after)
        controls = np.asarray(self.pool.about(jobs, everyone, alike=alike))
        target = self.seen.after.outputs[everyone]
        part = slice(0, of.deleted) if of.removed is None else slice(of.deleted, None)
        labels = of.case.dataset.y[self.pool.draws.audited[everyone]][part]
        own, models = target[part], controls[:, part]
        if of.removed is not None and own.ndim == 2:
            own, models = (_without(each, of.removed) for each in (own, models))
        return Retrained(own, models, labels, of.removed is not None), controls

    def _cost(self) -> DeletionCost:
        seen = self.seen
        rows = [row for job in seen.oracles if (row := self.pool.store.get(job.key)) is not None]
        oracles = [self._accuracies(row.arrays["outputs"]) for row in rows]
        shadows = list(seen.shadows.values())
        spent = {
            "one training": [each["seconds"] for each in shadows],
            "one deletion": [each["deletion_seconds"] for each in shadows],
            "one retraining": [row.facts["seconds"] for row in rows],
        }
        self.clock.seconds |= {what: float(np.mean(each)) for what, each in spent.items() if each}
        retrained = None
        if oracles:
            of_each = {side: [getattr(each, side) for each in oracles] for side in ("deleted", "never", "kept")}
            retrained = Accuracies(
                **{side: None if None in values else float(np.mean(values)) for side, values in of_each.items()}
            )
        return DeletionCost(
            before=None if seen.before is None else self._accuracies(seen.before.outputs),
            after=self._accuracies(seen.after.outputs),
            retrained=retrained,
            work=self._work(),
            relearning=self._relearning(),
        )

    def _relearning(self) -> Relearning | None:
        """Return how fast the target learns a removed class again, beside models that never saw it."""
        if self.of.removed is None or not self.seen.oracles:
            return None
        own, before = (self.seen.target.get(fact) for fact in (f"{RELEARNING} {AFTER}", RELEARNING))
        if not isinstance(own, int):
            return Relearning(models=0, reason=own or "the model afterwards is asked, and not trained further")
        rows = [row for job in self.seen.oracles if (row := self.pool.store.get(job.key)) is not None]
        facts = [row.facts[RELEARNING] for row in rows]
        theirs = [each for each in facts if isinstance(each, int)]
        one: dict[str, Any] = {"updates": own, "before": before if isinstance(before, int) else None}
        if not theirs:
            return Relearning(models=0, **one, reason=f"of the retrained models, {facts[0]}")
        return Relearning(
            models=len(theirs),
            **one,
            retrained=float(np.median(theirs)),
            fewest=min(theirs),
            most=max(theirs),
            p_value=(1 + sum(each <= own for each in theirs)) / (1 + len(theirs)),
        )

    def _work(self) -> DeletionWork | None:
        """Return the record-epochs of the deletions, where the recipe counts them."""
        seen, recipe = self.seen, self.of.case.recipe
        forgot = self.pool.forget or ()
        rows = [(seen.target, self.of.deleted), *((facts, len(forgot[i])) for i, facts in seen.shadows.items())]
        counted = [(facts[WORK], count) for facts, count in rows if WORK in facts]
        if not counted:
            return None
        spent, whole = np.array([work for work, _ in counted], np.float64).T
        formula = getattr(recipe, "expected", lambda _: None)
        expected = [share for _, count in counted if (share := formula(count)) is not None]
        return DeletionWork(
            models=len(counted),
            retraining=float(whole.mean()),
            deletion=float(spent.mean()),
            share=float((spent / np.maximum(whole, 1)).mean()),
            expected=float(np.mean(expected)) if expected else None,
        )

    def _accuracies(self, outputs: NDArray[Any]) -> Accuracies:
        truth = self.of.case.dataset.y[self.pool.draws.audited]
        right = (outputs if outputs.ndim == 1 else outputs.argmax(axis=1)) == truth
        others = self.of.others[0]
        return Accuracies(
            deleted=float(right[self.of.pair[0]].mean()),
            never=float(right[self.of.pair[1]].mean()),
            kept=float(right[others].mean()) if len(others) else None,
        )

    def _shadows(self) -> ShadowFacts:
        facts = list(self.seen.shadows.values())
        train, test = (
            tuple(each[key] for each in facts if each.get(key) is not None)
            for key in ("train_accuracy", "test_accuracy")
        )
        return ShadowFacts(
            self.of.recipe.name,
            self.of.case.shadows.count,
            (train, test),
            tuple(self.pool.failures),
        )

    def _shadow_warnings(self) -> Sequence[str]:
        warnings = training_oddities(self.pool.unknown, self.seen.shadows, self.seen.progress)
        if self.pool.unknown and is_staged(self.of.case.recipe):
            warnings.append(
                "For the same reason its states cannot be told from those of another version, so that every deletion trained "
                "all of them again: the work is that of a retraining, and not what a deletion from shards takes."
            )
        if self.pool.failures:
            warnings.append(
                f"{len(self.pool.failures):,} of {counted(self.of.case.shadows.count, 'shadow model')} could not be "
                "trained or made to forget; see shadows.failures."
            )
        return warnings

    def _origin(self) -> Origin:
        case = self.of.case
        call = {"call": "miaudit.unlearning.audit"} if "call" in case.document else {}
        plan = plain({**case.document, **call, "unlearning": self.of.document}, "plan")
        return origin_of(case, self.pool, self.seen.progress, self.clock, retrained=None, plan=plan)


def _without(answers: NDArray[Any], column: int) -> NDArray[Any]:
    """Return answers without a class, which sum to one again."""
    rest = np.delete(answers, column, axis=-1)
    total = rest.sum(axis=-1, keepdims=True)
    even = np.full_like(rest, 1.0 / rest.shape[-1])
    return np.asarray(np.divide(rest, total, out=even, where=total > 0))
