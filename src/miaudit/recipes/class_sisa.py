"""Class-SISA: shards of whole classes, learned class by class with replay, behind a gate (arXiv 2604.27804)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import PlanError, counted, is_number, not_bool, not_whole
from miaudit.recipes.recipe import Learner, Model, Work, passes_of
from miaudit.recipes.sisa import Ints, Sharded, shares_of
from miaudit.recipes.states import (
    Course,
    Digests,
    Step,
    Steps,
    digests_of,
    in_order,
    probabilities,
    refuse_unfit,
)
from miaudit.seeds import child_seed, generator


@dataclass(frozen=True)
class ClassSISA(Sharded):
    """Train a specialist on each of several shards of whole classes, class by class, and ask the one that a gate chooses.

    A shard learns one class a step: its records, and a replay of as many of each class before it. A deletion trains a shard
    anew from the first class that lost a record. So the removal of a class costs a part of one shard, and the gate, which is
    trained on all records.

    The October 2025 code of the work (2604.27804) differs from this. Some of its differences make a removal inexact:

    * its gate stays as it was at a removal; here ``gate = "kept"``, and "retrained" by default;
    * it standardises all records by means that all classes had a part in; here each specialist learns its own;
    * it ends a step by the loss on common validation records of the classes seen so far; here passes are fixed, or the recipe
      stops early by records of the step alone;
    * it trains anew at half the learning rate and less label smoothing; here as at first;
    * it replays by unseeded draws from a buffer scored by gradients; here by a keyed hash of each record, so that a buffer
      holds no record that was deleted;
    * it deals classes out by their sizes; here by a seeded draw over the classes of the task, which no record can move.

    Others do not, and change the models:

    * its specialists answer for every class; here only for those of which they hold records. The outputs of the others are
      there while they train, so that a state does not depend on the classes that come after it;
    * it cuts the records of a shard, in the order of their classes, into five slices of equal size; here each class is one;
    * replay fills three in ten of each batch; here each earlier class has as many records as the new one, up to ``replay``;
    * it divides the specialist's logits by a temperature of 1.1; here by none.

    Parameters
    ----------
    recipe
        How specialists and gate are trained. Encoders belong within it.
    shards
        How many; classes are dealt out evenly.
    gate
        "retrained": anew at every deletion; "kept": as it was, so that it still holds what was deleted; "none": the
        specialist asked is the one with the largest probability for a class of its own.
    slices
        One step for each class, which needs a recipe of passes; or False: all classes of a shard at once, without replay.
    replay
        Largest share of earlier classes in a step; each has as many records as the new one where that allows it.
    buffer
        Most records of an earlier class in a step.

    Raises
    ------
    PlanError
        If an option cannot be, or the recipe does not fit.
    """

    shards: int = 2
    gate: Literal["retrained", "kept", "none"] = "retrained"
    slices: bool = True
    replay: float = 0.8
    buffer: int = 1000

    title: ClassVar[str] = "Class-SISA: the shard of the class trained anew"
    paper: ClassVar[str] = "arXiv 2604.27804"
    kind: ClassVar[str] = "class-sisa"

    def __post_init__(self) -> None:
        problems = [*not_whole(("shards", self.shards), ("buffer", self.buffer)), *not_bool(("slices", self.slices))]
        if self.gate not in ("retrained", "kept", "none"):
            problems.append(("gate", f'must be "retrained", "kept" or "none", got {self.gate!r}'))
        if not is_number(self.replay) or not 0 <= self.replay < 1:
            problems.append(("replay", f"must be a share from 0 and below 1, got {self.replay!r}"))
        if problems:
            raise PlanError(problems)
        refuse_unfit(self.recipe, sliced=self.slices, option="slices")

    @property
    def name(self) -> str:
        """The shards, the gate and the recipe."""
        return f"class-SISA, {counted(self.shards, 'shard')}, gate {self.gate}, {self.recipe.name}"

    @property
    def labels_only(self) -> bool:
        """Whether its models answer labels alone."""
        return False

    @property
    def exact(self) -> bool:
        """Whether a deletion gives what training on the rest gives: not with a gate that saw what was deleted."""
        return self.gate != "kept"

    def shard_of(self, classes: int, seed: int) -> tuple[Ints, Ints]:
        """Return (classes,) the shard of each class, and its place in the order that its shard learns it in."""
        return shards_of_classes(classes, self.shards, seed)

    def refuse_few(self, records: int, classes: int) -> None:
        """Refuse to be trained on fewer classes than there are shards.

        Raises
        ------
        PlanError
            With the numbers of both.
        """
        if self.shards > classes:
            raise PlanError(
                f"class-sisa deals the classes out to {counted(self.shards, 'shard')}, and there are {classes:,}: choose at "
                f"most {classes:,} shards"
            )

    def steps(self, X: Any, y: Ints, *, classes: int, seed: int) -> Steps:
        """Return all steps of a model on these records, by shard, and that of the gate; nothing is trained."""
        course, digests = self.course(X, classes), digests_of(X, y, seed=seed)
        shard, place = self.shard_of(classes, seed)
        draws = digests_of(X, y, seed=seed, purpose="replay")
        chains = {}
        for number in range(self.shards):
            own = [c for c in np.argsort(place, kind="stable").tolist() if shard[c] == number and (y == c).any()]
            if own:
                chains[number] = self._chain(course, y, own, digests, draws, child_seed(seed, "shard", number))
        gate = None
        if self.gate != "none" and len(chains) > 1:
            everyone = in_order(np.arange(len(y)), digests)
            gate_seed = child_seed(seed, "gate")
            gate = course.step(
                None, everyone, digests, seed=gate_seed, passes=None, labels=shard[y], classes=self.shards
            )
        return Steps(chains, course, gate)

    def _chain(
        self, course: Course, y: Ints, own: list[int], digests: Digests, draws: Digests, seed: int
    ) -> list[Step]:
        """Return the steps of a shard that learns its own classes in this order."""
        if not self.slices:
            everyone = in_order(np.flatnonzero(np.isin(y, own)), digests)
            return [course.step(None, everyone, digests, seed=seed, passes=None)]
        chain = list[Step]()
        passes = passes_of(self.recipe)
        for place, label in enumerate(own):
            new = np.flatnonzero(y == label)
            old = [self.replayed(y, each, len(new), place, draws) for each in own[:place]]
            index = in_order(np.concatenate([new, *old]), digests)
            step_seed = child_seed(seed, "class", label)
            chain.append(course.step(chain[-1] if chain else None, index, digests, seed=step_seed, passes=passes))
        return chain

    def replayed(self, y: Ints, label: int, new: int, earlier: int, draws: Digests) -> Ints:
        """Return the records of an earlier class that are replayed beside so many new ones, of one of ``earlier`` classes."""
        share = min(self.replay, earlier / (earlier + 1))
        count = min(round(share / (1 - share) * new / earlier), self.buffer)
        records = np.flatnonzero(y == label)
        return records[np.argsort(draws[records], kind="stable")][:count]

    def _model(self, X: Any, y: Ints, *, classes: int, seed: int, before: Any) -> ClassSISAModel:
        steps = self.steps(X, y, classes=classes, seed=seed)
        there: Mapping[str, Model] = {} if before is None else before.states
        shard, _ = self.shard_of(classes, seed)
        states = dict[str, Model]()
        for number, chain in steps.chains.items():
            states.update(steps.course.states(chain, X, y, there=there, what=f"shard {number}"))
        gate, names = None, set(there)
        if before is not None and self.gate == "kept":
            gate = before.gate
            names |= set() if steps.gate is None else {steps.gate.name}
        elif steps.gate is not None:
            own = steps.course.states([steps.gate], X, shard[y], there=there, classes=self.shards, what="the gate")
            states |= dict(own)
            gate = states[steps.gate.name]
        specialists = tuple(
            Specialist(number, states[chain[-1].name], np.intersect1d(np.flatnonzero(shard == number), y))
            for number, chain in steps.chains.items()
        )
        return ClassSISAModel(specialists, gate, classes, self.shards, states, seed, steps.work(names))


def shards_of_classes(classes: int, shards: int, seed: int) -> tuple[Ints, Ints]:
    """Return (classes,) the shard of each class, and its place in the order that its shard learns it in."""
    rank = np.argsort(generator(seed, "classes").permutation(classes))
    return rank % shards, rank // shards


@dataclass(frozen=True, eq=False)
class Specialist:
    """The model of a shard, and the numbers of the classes that it holds."""

    shard: int
    model: Model
    classes: Ints


@dataclass(frozen=True, eq=False)
class ClassSISAModel:
    """Trained specialists behind a gate (None: the surest answers), with all states by name, the seed and the work."""

    specialists: tuple[Specialist, ...]
    gate: Model | None
    classes: int
    shards: int
    states: Mapping[str, Model]
    seed: int
    work: Work

    @property
    def parts(self) -> tuple[Any, ...]:
        """The specialists and the gate."""
        return (*self.specialists, self.gate)

    def learners_for(self, X: Any, y: Ints) -> list[Learner]:
        """Return the specialists with the records of their classes, and the gate with all, by their shards."""
        shard = shards_of_classes(self.classes, self.shards, self.seed)[0][y]
        specialists = shares_of({each.shard: each.model for each in self.specialists}, shard, X, y)
        return specialists if self.gate is None else [*specialists, Learner(self.gate, X, shard)]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return (n, classes) answers of the specialist that is asked, 0 for the classes of the others."""
        own = [probabilities(each.model, X, self.classes)[:, each.classes] for each in self.specialists]
        if self.gate is None:
            chosen = np.stack([each.max(axis=1) for each in own]).argmax(axis=0)
        else:
            present = [each.shard for each in self.specialists]
            chosen = probabilities(self.gate, X, self.shards)[:, present].argmax(axis=1)
        answers = np.zeros((len(chosen), self.classes))
        for place, (each, shares) in enumerate(zip(self.specialists, own, strict=True)):
            rows, total = chosen == place, shares.sum(axis=1, keepdims=True)
            even = np.full_like(shares, 1 / shares.shape[1])
            answers[np.ix_(rows, each.classes)] = np.where(total > 0, shares / np.maximum(total, 1e-300), even)[rows]
        return answers
