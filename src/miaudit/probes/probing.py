"""What is asked about each record, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaudit.data.dataset import Dataset
from miaudit.data.records import Records, n_records, take_records
from miaudit.data.schema import Schema
from miaudit.errors import DataError, counted, with_article
from miaudit.evidence import Bools, Floats, Ints, Probes
from miaudit.evidence.questions import Question, Votes, Walk
from miaudit.probes.hopskipjump import boundary_distance
from miaudit.probes.variants import variant
from miaudit.seeds import generator
from miaudit.targets.target import Target


@dataclass(frozen=True, eq=False)
class Probed:
    """Records of a data set about which models are asked more, under one seed for all models."""

    records: Ints  # (n,) numbers in the data set
    questions: tuple[Question, ...]
    seed: int

    def only(self, kind: str) -> Probed | None:
        """Return the questions of one kind; None if there are none."""
        questions = tuple(question for question in self.questions if question.kind == kind)
        return replace(self, questions=questions) if questions else None

    def ask(self, target: Target, dataset: Dataset) -> dict[str, Probes]:
        """Return what comes of it, by the question as a text."""
        X, labels = take_records(dataset.X, self.records), dataset.y[self.records]
        return {
            str(question): probe(target, X, labels, dataset.schema, question, seed=self.seed)
            for question in dict.fromkeys(self.questions)
        }

    def variants(self, dataset: Dataset) -> Iterator[Records]:
        """Yield the records that will be asked about for votes, a variant of all records at a time."""
        X = take_records(dataset.X, self.records)
        for question in dict.fromkeys(self.questions):
            if question.kind == "votes":
                yield from _variants(X, dataset.schema, question, self.seed)

    @property
    def steps(self) -> int:
        """Most records that walks on the decision boundary will ask about; which, their answers decide."""
        return len(self.records) * sum(each.queries for each in {*self.questions} if each.kind == "boundary")

    def read(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> dict[str, Probes]:
        """Return what :meth:`ask` gave, from a model's stored row."""
        probes = {}
        for question in self.questions:
            name, text = "votes" if question.kind == "votes" else "distances", str(question)
            probes[text] = Probes(**{name: arrays[text]}, queries=facts[f"queries of {text}"])
        return probes

    def check(self, dataset: Dataset) -> None:
        """Refuse what cannot be asked about such records, before any model is trained.

        Raises
        ------
        DataError
            If values are missing, or there is no distance between them.
        """
        dataset.schema.require_complete("a label-only attack that asks about variants of records")
        if any(question.kind == "boundary" for question in self.questions):
            check_distances(dataset.X, dataset.schema)


def probe(target: Target, X: Records, labels: Ints, schema: Schema, question: Question, *, seed: int) -> Probes:
    """Ask a target about variants of records, or along a walk on its decision boundary; only labels are heeded.

    Parameters
    ----------
    target
        Answers with labels, or with anything that has a largest entry.
    X, labels, schema
        n records, their true classes (n,), and the columns.
    question
        What to ask.
    seed
        Of the draws. Two targets probed about the same records with one seed get the same variants.

    Returns
    -------
    Probes
        ``votes`` (n, queries), or ``distances`` (n,), and the queries spent in all. Distances in tables are in standard
        deviations of the columns of X, those between images in the unit of their values.

    Raises
    ------
    DataError
        If the records do not fit: there is no distance between categories.
    TargetError
        If the target fails.
    """
    n = n_records(X)
    if len(labels) != n:
        raise DataError(
            f"{counted(n, 'record')} but {counted(len(labels), 'class', 'classes')}; give one class per record"
        )
    before = target.queries
    if question.kind == "votes":
        votes = _votes(target, X, labels, schema, question, seed)
        return Probes(votes=votes, queries=target.queries - before)
    distances = _distances(target, X, labels, schema, question, seed)
    return Probes(distances=distances, queries=target.queries - before)


def _votes(target: Target, X: Records, labels: Ints, schema: Schema, question: Votes, seed: int) -> Bools:
    votes = [target.answer(records).labels == labels for records in _variants(X, schema, question, seed)]
    return np.stack(votes, axis=1)  # (n, queries)


def _variants(X: Records, schema: Schema, question: Votes, seed: int) -> Iterator[Records]:
    for k, level in enumerate(question.levels()):
        if level == 0:
            yield X
        else:
            yield variant(X, schema, level=level, rng=generator(seed, "variant", k), mirror=question.mirror)


def check_distances(X: Records, schema: Schema) -> None:
    """Raise DataError unless records are points between which there is a distance."""
    if isinstance(X, np.ndarray) and X.dtype.kind != "O" and all(c.kind == "numeric" for c in schema.columns):
        return
    why = (
        "binary or categorical columns"
        if isinstance(X, np.ndarray)
        else f"the form of {with_article(type(X).__name__)}"
    )
    raise DataError(
        "label-only boundary: the distance to the decision boundary needs an array of numeric columns or images; these "
        f'records have {why}. Use kind = "votes"'
    )


def _distances(target: Target, X: Records, labels: Ints, schema: Schema, question: Walk, seed: int) -> Floats:
    check_distances(X, schema)
    ends = [np.array([getattr(column, end) for column in schema.columns]) for end in ("low", "high")]
    low, high = (float(end[0]) if schema.shape is not None else end for end in ends)
    dtype = X.dtype if X.dtype.kind == "f" else np.dtype(np.float32)

    def ask(points: Floats) -> Ints:
        return target.answer(points.reshape(-1, *X.shape[1:]).astype(dtype)).labels

    flat = X.reshape(len(X), -1).astype(np.float64)
    scale = np.ones(flat.shape[1]) if schema.shape is not None else flat.std(axis=0)
    scale[scale == 0] = 1.0
    walked = boundary_distance(
        lambda points: ask(points * scale),
        flat / scale,
        labels,
        low=low / scale,
        high=high / scale,
        queries=question.queries,
        seed=seed,
    )
    return walked.distance
