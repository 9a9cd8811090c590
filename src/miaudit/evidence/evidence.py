"""Evidence: the arrays every attack reads, and nothing else.

The records axis holds the audited records first and, where shadows were trained on other records (the 2017 paper's
design), the pool after them. Two designs of the shadows meet here:

* *overlapping*: every shadow answers every audited record; ``asked`` is None and row j of a shadow is record j;
* *disjoint*: a shadow answers only the records it drew; ``asked[m, j]`` says which record row j of shadow m is about.

Seven things may stand beside them, for the attacks that can use them: answers on a *population* of records that are
not audited, answers on *variants* of the audited records, the records' own *features*, what came of *probes*, many
questions about each record of which only the labels were heeded, the *trace* of the target's loss over the stages of its
training, the shadows' *own* rows, where those that were trained on no audited record answered records that some of them
were trained on, and answers of *bystanders*, models trained on none of the audited records, which take the target's place in a
control.

Answers of many shadows on many records in many classes take gigabytes. They may be given as `Answers`, had from where
they lie one model at a time; what an attack needs of them is mostly one number per row, and `Evidence.signal` keeps that.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError
from miaudit.evidence.answers import OFFERS
from miaudit.evidence.checks import (
    check_answers,
    check_beside,
    check_block,
    check_own,
    check_people,
    check_probes,
    check_signals,
    check_trace,
)
from miaudit.evidence.questions import Question
from miaudit.evidence.rows import Answers, Bools, Floats, Ints, Population, Probes, Variants, some_models
from miaudit.evidence.signal import Measure, Signal
from miaudit.evidence.signal_rows import signal_population, signal_rows

Computed = TypeVar("Computed")


@dataclass(frozen=True, eq=False)
class _Part:
    """Which shadows of the whole are left, and which model stands in the target's place: a shadow, or from m on a bystander."""

    whole: Evidence
    index: Ints | slice
    stand_in: int | None


@dataclass(frozen=True, init=False, eq=False)
class Evidence:
    """Outputs of the target and of the shadow models, and who was trained on what.

    Parameters
    ----------
    target
        (n, c) probabilities of the target on the n audited records, or (n,) predicted labels.
    shadows
        (m, r, c) probabilities of the m shadow models on r records each, or `Answers`.
    inside
        (m, r) bool: was the record of this row in this shadow's training set.
    labels
        (n_records,) true classes of all records, audited records first; at least n of them.
    asked
        (m, r) record numbers the rows are about; None when row j is record j (then r = n).
    population
        Answers on records that are not audited.
    variants
        Answers on variants of the audited records, where ``asked`` is None.
    features
        (n, ...) numbers the audited records consist of.
    probes
        Answers to many questions about each record, as an attack reads them.
    answers
        The same by the text of each question, of whose answers :meth:`of_questions` takes those that an attack names.
    own
        The same shadows' answers to records of their own; only beside shadows that answered the audited records.
    people
        (n_records,) number of the person each record belongs to, or (n,) of the audited ones alone; None: every record stands
        for itself.
    trace
        (n, stages) loss of the target on each audited record's class after each stage of its training, the last one final.
    bystanders
        (b, n, c) answers to the audited records of models that were trained on none of them, or `Answers`; None where the
        shadows themselves are such models, or there are none.
    measure
        What the one number of each answer is, where answers are signals (c = 1; see :meth:`of_signals`); None: they are about
        classes.

    Raises
    ------
    DataError
        If shapes, ranges or types do not fit one another.
    """

    target: Floats  # (n, c)
    models: Floats | Answers  # (m, r, c)
    inside: Bools  # (m, r)
    labels: Ints  # (n_records,)
    asked: Ints | None  # (m, r)
    population: Population | None
    variants: Variants | None
    features: NDArray[Any] | None  # (n, ...)
    probes: Probes | None
    answers: Mapping[str, Probes]
    own: Evidence | None
    people: Ints | None  # (n_records,) or (n,)
    trace: Floats | None  # (n, stages)
    bystanders: Floats | Answers | None  # (b, n, c)
    measure: Measure | None
    _signals: dict[tuple[Signal, int], tuple[NDArray[Any], NDArray[Any]]] = field(init=False, repr=False)
    _kept: dict[Hashable, Any] = field(init=False, repr=False)
    _part_of: _Part | None = field(init=False, repr=False)

    def __init__(
        self,
        target: ArrayLike,
        shadows: ArrayLike | Answers,
        inside: ArrayLike,
        labels: ArrayLike,
        *,
        asked: ArrayLike | None = None,
        population: Population | None = None,
        variants: Variants | None = None,
        features: ArrayLike | None = None,
        probes: Probes | None = None,
        answers: Mapping[str, Probes] | None = None,
        own: Evidence | None = None,
        people: ArrayLike | None = None,
        trace: ArrayLike | None = None,
        bystanders: ArrayLike | Answers | None = None,
        measure: Measure | None = None,
        _part_of: _Part | None = None,
    ) -> None:
        target_, inside_, labels_ = np.asarray(target), np.asarray(inside), np.asarray(labels)
        shadows_, bystanders_ = _array(shadows), _array(bystanders)
        asked_, features_, people_, trace_ = (_array(each) for each in (asked, features, people, trace))
        check_answers(target_, shadows_, inside_, labels_, asked_)
        check_beside(target_, shadows_, asked_, population, variants, features_)
        check_people(people_, len(labels_), len(target_))
        check_trace(trace_, len(target_))
        check_own(None if own is None else len(own.models), len(shadows_), asked_)
        vars(self).update(  # of a frozen value that is being made
            target=target_,
            models=shadows_,
            inside=inside_.astype(bool, copy=False),
            labels=_whole(labels_),
            asked=_whole(asked_),
            population=population,
            variants=variants,
            features=features_,
            probes=probes,
            answers=dict(answers or {}),
            own=own,
            people=_whole(people_),
            trace=trace_,
            bystanders=bystanders_,
            measure=measure,
            _signals={},
            _kept={},
            _part_of=_part_of,
        )
        self._check_further()

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process gets: all but what was computed, whose keys may be this process's alone."""
        return vars(self) | {"_signals": {}, "_kept": {}}

    def _check_further(self) -> None:
        """Refuse probes, bystanders and signals that do not fit the answers."""
        for each in (*([] if self.probes is None else [self.probes]), *self.answers.values()):
            check_probes(each, len(self.target), self.inside.shape)
        if self.bystanders is not None:
            shape = len(self.bystanders), len(self.target), self.models.shape[2]
            check_block("bystanders", self.bystanders, shape)
        if self.measure is not None:
            check_signals(self.target, self.models, self.measure)

    @classmethod
    def of_signals(
        cls,
        target: ArrayLike,
        shadows: ArrayLike,
        inside: ArrayLike,
        *,
        name: str = "signal",
        log_likelihood: bool = False,
        asked: ArrayLike | None = None,
        population_target: ArrayLike | None = None,
        population_shadows: ArrayLike | None = None,
        features: ArrayLike | None = None,
        population_features: ArrayLike | None = None,
        people: ArrayLike | None = None,
        bystanders: ArrayLike | None = None,
    ) -> Evidence:
        """Return evidence of one number per answer, for attacks that need no class probabilities.

        Such numbers are losses of a regression with their sign turned, log-likelihoods of texts, or distances to a synthetic
        table: whatever is *higher for members*.

        Parameters
        ----------
        target
            (n,) signals of the target on the n audited records; or (n, q) of q queries about each, the first of which is the
            record itself. LiRA averages over the queries, the other attacks read the first.
        shadows
            (m, n) signals of the m shadow models on the same records, or (m, n, q); with ``asked``, (m, r) on others, too.
        inside
            (m, n) or (m, r) bool: was the record of this row in this shadow's training set.
        name
            What the signal is, in words, for the report.
        log_likelihood
            Whether it is a log-probability, or a log-density relative to its maximum, at most 0. RMIA, which averages
            probabilities, runs only then; its ``temperature`` plays no part.
        asked
            (m, r) record numbers the rows are about, from n on for others than the audited; None: row j is record j.
        population_target, population_shadows
            (p,) and (m, p) signals on records that are not audited and that no model here was trained on.
        features, population_features
            (n, ...) and (p, ...) numbers these records consist of.
        people
            (n,) number of the person each record belongs to, or as many as ``asked`` has records.
        bystanders
            (b, n) signals of models that were trained on none of the audited records; with one query only.

        Raises
        ------
        DataError
            If shapes, ranges or types do not fit one another.
        """
        rows = signal_rows(target, shadows, asked, bystanders)
        asked_ = None if asked is None else np.asarray(asked)
        records = max(len(rows.target), 0 if asked_ is None or not asked_.size else int(asked_.max()) + 1)
        return cls(
            rows.target[..., :1],
            rows.shadows[..., :1],
            inside,
            np.zeros(records, np.int64),  # nothing is known of classes
            asked=asked_,
            population=signal_population(population_target, population_shadows, population_features),
            variants=rows.variants,
            features=features,
            people=people,
            bystanders=rows.bystanders,
            measure=Measure(name, log_likelihood),
        )

    @property
    def offers(self) -> frozenset[str]:
        """What attacks find in the answers, by the words of `miaudit.attacks.Attack.needs`."""
        if self.measure is not None:
            return OFFERS["log-likelihood" if self.measure.log_likelihood else "signal"]
        return OFFERS["labels" if self.target.ndim == 1 else "probabilities"]

    @property
    def shadows(self) -> Floats:
        """(m, r, c) probabilities of the shadows, in memory; see `models` and `signal` for what takes less of it."""
        return np.asarray(self.models)

    @property
    def n(self) -> int:
        """Number of audited records."""
        return len(self.target)

    @property
    def classes(self) -> int:
        """Number of classes; 1 where the answers are signals."""
        return int(self.models.shape[2])

    @property
    def audited_labels(self) -> Ints:
        """(n,) true classes of the audited records."""
        return self.labels[: self.n]

    @property
    def predicted(self) -> Ints:
        """(n,) classes the target predicts for the audited records; signals say nothing of classes (DataError)."""
        if self.measure is not None:
            raise DataError("the evidence is one number a record, which says nothing of classes")
        predicted = self.target if self.target.ndim == 1 else self.target.argmax(axis=1)
        return predicted.astype(np.int64, copy=False)

    @property
    def audited_people(self) -> Ints | None:
        """(n,) person of each audited record, where people are known."""
        return None if self.people is None else self.people[: self.n]

    @property
    def shadow_people(self) -> Ints | None:
        """(m, r) person of the record of each shadow row, where people are known for all of them."""
        if self.asked is None:
            people = self.audited_people
            return None if people is None else np.broadcast_to(people, self.inside.shape)
        if self.people is None or (self.asked.size and int(self.asked.max()) >= len(self.people)):
            return None
        return self.people[self.asked]

    @property
    def shadow_labels(self) -> Ints:
        """(m, r) true class of the record of each shadow row."""
        if self.asked is None:
            return np.broadcast_to(self.audited_labels, self.inside.shape)
        return self.labels[self.asked]

    def signal(self, signal: Signal, *, query: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return (n,) and (m, r) numbers, one per row of the target and of every shadow; they must not be changed.

        What was computed once of a signal is kept, and found again by evidence that was made of this one by `with_inside`,
        `of_shadows` or `stand_in`.

        Parameters
        ----------
        signal
            What to compute: a value of `miaudit.signals`, or any hashable object that takes (r, c) answers and their (r,)
            true classes, and returns (r,) numbers.
        query
            0 for the records themselves, 1 and more for their variants.
        """
        part = self._part_of
        if part is not None:
            target, rows = part.whole.signal(signal, query=query)
            if part.stand_in is not None:
                own = part.stand_in < len(rows)  # else it is a bystander, whose numbers are not kept
                target = rows[part.stand_in] if own else signal(self.target, self.audited_labels)
            return target, rows[part.index]
        if (signal, query) not in self._signals:
            answers, models = self.queries[query]
            numbers = [signal(rows, y) for rows, y in zip(models, self.shadow_labels, strict=True)]
            rows = np.stack(numbers) if numbers else np.empty(self.inside.shape)
            self._signals[signal, query] = signal(answers, self.audited_labels), rows
        return self._signals[signal, query]

    def once(self, key: Hashable, compute: Callable[[], Computed]) -> Computed:
        """Return what was computed under a key, and compute it the first time; it must not be changed.

        For what an attack learns from this evidence and needs again for the control by bystanders; evidence that is made of
        this one does not find it.
        """
        if key not in self._kept:
            self._kept[key] = compute()
        value: Computed = self._kept[key]
        return value

    def with_inside(self, inside: ArrayLike, *, own: Evidence | None = None) -> Evidence:
        """Return the same evidence under other (m, r) memberships of the shadow rows, and with other rows of their own."""
        return self._part(slice(None), inside=inside, own=self.own if own is None else own)

    def replace(self, **changes: Any) -> Evidence:
        """Return the same evidence with some of the arguments it was made of changed."""
        arguments = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return Evidence(**{"shadows": arguments.pop("models"), **arguments} | changes)

    def of_questions(self, questions: Sequence[Question]) -> Evidence:
        """Return the same evidence with what came of some questions as its probes; itself where there are none.

        Raises
        ------
        DataError
            If one of them was not asked.
        """
        if not questions:
            return self
        if lacking := [str(question) for question in questions if str(question) not in self.answers]:
            raise DataError(f"these questions were not asked: {'; '.join(lacking)}")
        probes = Probes()
        for question in questions:
            probes = probes.beside(self.answers[str(question)])
        return self.replace(probes=probes)

    def _part(self, index: Ints | slice, *, stand_in: int | None = None, **changes: Any) -> Evidence:
        """Return evidence of shadows of this one, which finds again what was computed of their rows."""
        return self.replace(**changes, _part_of=_Part(self, index, stand_in))

    def stand_in(self, model: int, among: ArrayLike | None = None) -> Evidence:
        """Return evidence in which a shadow that answered the audited records stands in the target's place.

        ``inside[model]`` says who is a member. Attacks that learn, or set a threshold, do it on stand-ins: their
        memberships are the attacker's own draws.

        Parameters
        ----------
        model
            Number of the shadow.
        among
            Numbers of the shadows that are its references; default: all others.
        """
        if self.asked is not None:
            raise DataError(
                "a shadow can stand in for the target where it answered the audited records (asked is None)"
            )
        everyone = np.arange(len(self.models)) if among is None else np.asarray(among, np.int64)
        index = everyone[everyone != model]
        rest = self.of_shadows(index)
        population, variants, probes = rest.population, rest.variants, rest.probes
        if population is not None:
            answers = None if self.population is None or self.population.shadows is None else self.population.shadows
            population = None if answers is None else replace(population, target=answers[model])
        if variants is not None and self.variants is not None:
            variants = replace(variants, target=self.variants.shadows[:, model])
        if probes is not None:
            assert self.probes is not None
            votes = self.probes.shadow_votes
            probes = None if votes is None else replace(probes, votes=votes[model], distances=None)
        own = self.models[model]
        own = own.argmax(axis=1) if self.target.ndim == 1 else own
        return rest.replace(
            target=own,
            population=population,
            variants=variants,
            probes=probes,
            answers={},
            trace=None,
            _part_of=_Part(self, index, model),
        )

    def of_bystander(self, bystander: int) -> Evidence:
        """Return evidence in which a bystander stands in the target's place; all shadows are its references.

        It has neither probes nor variants, about which bystanders are not asked, and keeps the target's answers on the
        population.
        """
        if self.bystanders is None:
            raise DataError("the evidence holds no answers of bystanders")
        answers = self.bystanders[bystander]
        answers = answers.argmax(axis=1) if self.target.ndim == 1 else answers
        return self._part(
            slice(None),
            stand_in=len(self.models) + bystander,
            target=answers,
            probes=None,
            answers={},
            variants=None,
            trace=None,
            bystanders=None,
        )

    def of_shadows(self, chosen: ArrayLike) -> Evidence:
        """Return the same evidence with the shadows of these numbers only, in their order."""
        index = np.asarray(chosen, np.int64)
        population, variants, probes = self.population, self.variants, self.probes
        if population is not None and population.shadows is not None:
            population = replace(population, shadows=some_models(population.shadows, index))
        if variants is not None:
            variants = replace(variants, shadows=variants.shadows[:, index])
        return self._part(
            index,
            shadows=some_models(self.models, index),
            inside=self.inside[index],
            asked=None if self.asked is None else self.asked[index],
            population=population,
            variants=variants,
            probes=None if probes is None else probes.of_shadows(index),
            answers={question: each.of_shadows(index) for question, each in self.answers.items()},
            own=None if self.own is None else self.own.of_shadows(index),
        )

    @property
    def queries(self) -> list[tuple[Floats, Floats | Answers]]:
        """(target, models) of every query: the records themselves first, then each of their variants."""
        further = () if self.variants is None else zip(self.variants.target, self.variants.shadows, strict=True)
        return [(self.target, self.models), *further]


def _array(values: Any) -> Any:
    """Return an array, or what is none and stays as it is: stored answers, and None."""
    return values if values is None or isinstance(values, Answers) else np.asarray(values)


def _whole(values: Any) -> Any:
    return None if values is None else values.astype(np.int64, copy=False)
