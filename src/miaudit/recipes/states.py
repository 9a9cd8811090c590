"""States of sharded training: steps named by all that decides them, trained where there is no state of that name.

The name of a step holds the one before it, the records that it trains on, the recipe, the seed and the number of passes. So a
deletion leaves every state whose records stay as it was, and retrains the others: nobody has to say which.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from miaudit.data.hashes import row_hashes
from miaudit.data.records import take_records
from miaudit.errors import DataError, PlanError, counted
from miaudit.recipes.fingerprint import Fingerprint, fingerprint_of_recipe
from miaudit.recipes.randomness import seeded_generators
from miaudit.recipes.recipe import Continuing, Foreseeing, Model, Recipe, Storable, Work, passes_of
from miaudit.store import Store, content_key
from miaudit.targets import as_target

LEAST_SECONDS = 0.5
"""A state that took less to train is not written: to train it again is as quick, and folders stay small."""

Ints = NDArray[np.int64]
Digests = NDArray[np.bytes_]


@dataclass(frozen=True, eq=False)
class Step:
    """One training: a state from the one before it.

    Parameters
    ----------
    name
        Hash of all that decides the state.
    index
        (n,) positions of the records that it trains on, in the order of their digests.
    passes
        Passes over them; None: a whole training of the recipe, from its first weights.
    seed
        Of this step.
    """

    name: str
    index: Ints
    passes: int | None
    seed: int


def digests_of(X: Any, y: Ints, *, seed: int, purpose: str = "place") -> Digests:
    """Return (n,) digests of records with their classes, under a key: random places that depend on the record alone.

    Copies of a record have one digest, and so lie together. Whoever lacks one of the records finds the same places for the
    others.
    """
    key = f"{seed} {purpose}".encode()[:64]
    labels = np.ascontiguousarray(y, "<i8")
    rows = row_hashes(X)
    parts = [
        hashlib.blake2b(row.tobytes().ljust(16, b"\0") + label.tobytes(), digest_size=16, key=key).digest()
        for row, label in zip(np.asarray(rows), labels, strict=True)
    ]
    return np.frombuffer(b"".join(parts), "S16")


def places(digests: Digests, count: int, *, start: int) -> Ints:
    """Return (n,) random places from 0 to count - 1, read from 4 bytes of each digest."""
    table = np.ascontiguousarray(digests).view(np.uint8).reshape(len(digests), 16)
    words = np.ascontiguousarray(table[:, start : start + 4]).view("<u4")[:, 0]
    return (words.astype(np.int64) * count) >> 32


def in_order(index: Ints, digests: Digests) -> Ints:
    """Return positions in the order of their records' digests, which does not depend on the order they came in."""
    return index[np.argsort(digests[index], kind="stable")]


@dataclass(frozen=True, eq=False)
class Course:
    """How the steps of one model are named and trained.

    Parameters
    ----------
    recipe
        What trains each step.
    classes, shape
        Width of the output, and shape of a record.
    form
        Kind of the records, types and names of their columns: what decides how a model reads them.
    folder
        Where states lie; None: they are kept with the model alone.
    """

    recipe: Recipe
    classes: int
    shape: tuple[int, ...]
    form: str
    folder: str | None = None

    @cached_property
    def _decided(self) -> Fingerprint:
        return fingerprint_of_recipe(self.recipe)

    @cached_property
    def _common(self) -> str:
        parts = {"recipe": self.recipe.describe(), "code": self._decided.sha256, "packages": self._decided.packages}
        if self._decided.unknown:  # no other model may take its states
            parts["unknown"] = uuid4().hex
        return content_key({"state": 2, **parts, "shape": list(self.shape), "form": self.form})

    def step(
        self,
        before: Step | None,
        index: Ints,
        digests: Digests,
        *,
        seed: int,
        passes: int | None,
        labels: Ints | None = None,
        classes: int | None = None,
    ) -> Step:
        """Return a step on records that come in the order of their digests; ``labels`` stand in the place of their classes."""
        parts = {
            "common": self._common,
            "before": None if before is None else before.name,
            "records": hashlib.sha256(np.ascontiguousarray(digests[index]).tobytes()).hexdigest(),
            "labels": None if labels is None else hashlib.sha256(labels[index].astype("<i8").tobytes()).hexdigest(),
            "classes": self.classes if classes is None else classes,
            "passes": passes,
            "seed": seed,
        }
        return Step(content_key(parts), index, passes, seed)

    def work(self, step: Step) -> int:
        """Return the record-epochs of a step."""
        whole = passes_of(self.recipe)
        return len(step.index) * (step.passes or whole or 1)

    def states(
        self,
        chain: Sequence[Step],
        X: Any,
        y: Ints,
        *,
        there: Mapping[str, Model],
        classes: int | None = None,
        what: str = "shard",
    ) -> Iterator[tuple[str, Model]]:
        """Yield the name and the state of each step, in their order; those that are ``there`` are not trained.

        Raises
        ------
        PlanError
            If a step cannot be trained on its records.
        """
        width = self.classes if classes is None else classes
        model: Model | None = None
        for step in chain:
            state = there.get(step.name) or self._stored(step, width)
            if state is None:
                began = time.perf_counter()
                state = self._trained(model, step, X, y, width, what)
                if time.perf_counter() - began >= LEAST_SECONDS:
                    self._keep(step, state)
            model = state
            yield step.name, state

    @property
    def _place(self) -> Path | None:
        """The folder, where states can be told from those of other recipes."""
        return None if self.folder is None or self._decided.unknown else Path(self.folder)

    def _keep(self, step: Step, state: Model) -> None:
        arrays = self.recipe.arrays_of(state) if isinstance(self.recipe, Storable) else None
        if arrays is not None and self._place is not None:
            Store(self._place).put(step.name, arrays, {"record_epochs": self.work(step)})

    def _stored(self, step: Step, classes: int) -> Model | None:
        if self._place is None or not self._place.is_dir() or not isinstance(self.recipe, Storable):
            return None
        row = Store(self._place).get(step.name)
        return None if row is None else self.recipe.of_arrays(row.arrays, classes=classes, shape=self.shape)

    def _trained(self, model: Model | None, step: Step, X: Any, y: Ints, classes: int, what: str) -> Model:
        records, labels = take_records(X, step.index), y[step.index]
        try:
            with seeded_generators(step.seed, self._decided.generators):
                if step.passes is None:
                    return self.recipe.fit(records, labels, classes=classes, seed=step.seed)
                assert isinstance(self.recipe, Continuing)
                return self.recipe.further(model, records, labels, classes=classes, seed=step.seed, passes=step.passes)
        except (ValueError, DataError, PlanError) as error:
            count = len(np.unique(labels))
            raise PlanError(
                f"{what} of {counted(len(labels), 'record')} and {counted(count, 'class', 'classes')} could not "
                f"be trained: {error}. Give fewer shards, or "
                "more training records"
            ) from error


def probabilities(model: Any, X: Any, classes: int) -> NDArray[np.float64]:
    """Return (n, classes) answers of a trained model of any recipe."""
    answers = model.predict_proba(X) if hasattr(model, "predict_proba") else None
    if answers is None or np.shape(answers)[1:] != (classes,):
        answers = as_target(model, classes=classes).answer(X).probabilities
    return np.asarray(answers, np.float64)


def refuse_unfit(recipe: Recipe, *, sliced: bool, option: str) -> None:
    """Refuse a recipe whose models cannot be trained in shards, or in slices.

    Raises
    ------
    PlanError
        With what to do.
    """
    if isinstance(recipe, Foreseeing):
        problem = (
            f"{recipe.name} trains and answers in one step, so that no shard of it can be kept: give recipe.train, a function, "
            "in its place"
        )
        raise PlanError([("recipe", problem)])
    if sliced and passes_of(recipe) is None:
        problem = (
            f"needs models that are trained further from a state, and {recipe.name} trains only from the start: set it to what "
            "trains each shard at once, or take recipe.network or a ModuleRecipe"
        )
        raise PlanError([(option, problem)])


@dataclass(frozen=True, eq=False)
class Steps:
    """All steps of one model, by chain, and what they take."""

    chains: Mapping[Any, Sequence[Step]]
    course: Course
    gate: Step | None = field(default=None)

    @property
    def each(self) -> list[Step]:
        """Every step once."""
        return [
            *(step for chain in self.chains.values() for step in chain),
            *([] if self.gate is None else [self.gate]),
        ]

    def work(self, there: Mapping[str, Any] | set[str]) -> Work:
        """Return the record-epochs of the steps that are not there, and of all."""
        steps = self.each
        return Work(
            sum(self.course.work(step) for step in steps if step.name not in there),
            sum(self.course.work(step) for step in steps),
        )
