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

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miaudit.errors import DataError
from miaudit.evidence.signal import Signal

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answers:
    """(m, r, c) answers that are had one model at a time, each time anew; ``numpy.asarray`` holds them all at once.

    Parameters
    ----------
    read
        One function per model, which returns its (r, c) answers, all of them finite.
    rows, classes
        r and c.
    """

    read: tuple[Callable[[], Floats], ...]
    rows: int
    classes: int

    ndim = 3
    dtype = np.dtype(np.float32)  # in which they are held

    @property
    def shape(self) -> tuple[int, int, int]:
        """(m, r, c)."""
        return len(self.read), self.rows, self.classes

    def __len__(self) -> int:
        return len(self.read)

    def __iter__(self) -> Iterator[Floats]:
        return (read() for read in self.read)

    def __getitem__(self, model: int) -> Floats:
        return self.read[model]()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for place, rows in zip(whole, self, strict=True):
            place[:] = rows
        return whole


def _some(models: Floats | Answers, index: Ints) -> Answers:
    """Return some of the models; nothing is copied."""
    read = (
        models.read
        if isinstance(models, Answers)
        else [partial(models.__getitem__, int(i)) for i in range(len(models))]
    )
    return Answers(tuple(read[i] for i in index), models.shape[1], models.shape[2])


@dataclass(frozen=True, eq=False)
class Population:
    """Answers on records that are not audited and that no model here was trained on.

    Parameters
    ----------
    target
        (p, c) probabilities of the target.
    labels
        (p,) true classes.
    shadows
        (m, p, c) probabilities of the shadows, in the order of the evidence's, or `Answers`; None if they were not asked.
    features
        (p, ...) numbers the records consist of, as in the evidence; None if not at hand.
    """

    target: Floats  # (p, c)
    labels: Ints  # (p,)
    shadows: Floats | Answers | None = None  # (m, p, c)
    features: NDArray[Any] | None = None  # (p, ...)


@dataclass(frozen=True, eq=False)
class Variants:
    """Answers on q variants of every audited record, such as its mirror image or a noisy copy.

    Parameters
    ----------
    target
        (q, n, c) probabilities of the target.
    shadows
        (q, m, n, c) probabilities of the shadows on the same variants.
    """

    target: Floats  # (q, n, c)
    shadows: Floats  # (q, m, n, c)


@dataclass(frozen=True, eq=False)
class Probes:
    """What came of many questions about each record, of which only the labels were heeded.

    Parameters
    ----------
    votes
        (n, q) bool: was the target's label of variant q of the audited record right.
    distances
        (n,) distance from the audited record to the target's nearest change of label; 0 where it is answered wrongly.
    shadow_votes, shadow_distances
        (m, r, q) and (m, r): the same of the shadows, about the records of the evidence's rows.
    queries
        Questions put to the target in all.
    """

    votes: Bools | None = None  # (n, q)
    distances: Floats | None = None  # (n,)
    shadow_votes: Bools | None = None  # (m, r, q)
    shadow_distances: Floats | None = None  # (m, r)
    queries: int = 0

    @property
    def answers(self) -> NDArray[Any]:
        """The target's votes, or distances where there are no votes."""
        found = self.distances if self.votes is None else self.votes
        if found is None:
            raise DataError("these probes hold neither votes nor distances of the target")
        return found


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
        Answers to many questions about each record.
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
    own: Evidence | None
    people: Ints | None  # (n_records,) or (n,)
    trace: Floats | None  # (n, stages)
    bystanders: Floats | Answers | None  # (b, n, c)
    _signals: dict[tuple[Signal, int], tuple[NDArray[Any], NDArray[Any]]] = field(init=False, repr=False)
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
        own: Evidence | None = None,
        people: ArrayLike | None = None,
        trace: ArrayLike | None = None,
        bystanders: ArrayLike | Answers | None = None,
        _part_of: _Part | None = None,
    ) -> None:
        target_, shadows_ = np.asarray(target), shadows if isinstance(shadows, Answers) else np.asarray(shadows)
        inside_, labels_ = np.asarray(inside), np.asarray(labels)
        asked_ = None if asked is None else np.asarray(asked)
        features_ = None if features is None else np.asarray(features)
        _check(target_, shadows_, inside_, labels_, asked_)
        _check_beside(target_, shadows_, asked_, population, variants, features_)
        if probes is not None:
            _check_probes(probes, len(target_), inside_.shape)
        people_ = None if people is None else np.asarray(people)
        if people_ is not None and (
            people_.dtype.kind not in "iu" or people_.shape not in ((len(labels_),), (len(target_),))
        ):
            raise DataError(
                f"people must be one whole number per record, {len(labels_)} or the {len(target_)} audited ones; got "
                f"dtype {people_.dtype} and shape {people_.shape}"
            )
        trace_ = None if trace is None else np.asarray(trace)
        if trace_ is not None:
            _check_trace(trace_, len(target_))
        if own is not None and (asked_ is not None or len(own.models) != len(shadows_)):
            raise DataError(
                f"own must be rows of the same {len(shadows_)} shadows, beside their answers to the audited records; it has "
                f"{len(own.models)} shadows"
            )
        bystanders_ = bystanders if bystanders is None or isinstance(bystanders, Answers) else np.asarray(bystanders)
        if bystanders_ is not None:
            _check_block("bystanders", bystanders_, (len(bystanders_), len(target_), shadows_.shape[2]))
        object.__setattr__(self, "target", target_)
        object.__setattr__(self, "models", shadows_)
        object.__setattr__(self, "inside", inside_.astype(bool, copy=False))
        object.__setattr__(self, "labels", labels_.astype(np.int64, copy=False))
        object.__setattr__(self, "asked", None if asked_ is None else asked_.astype(np.int64, copy=False))
        object.__setattr__(self, "population", population)
        object.__setattr__(self, "variants", variants)
        object.__setattr__(self, "features", features_)
        object.__setattr__(self, "probes", probes)
        object.__setattr__(self, "own", own)
        object.__setattr__(self, "people", None if people_ is None else people_.astype(np.int64, copy=False))
        object.__setattr__(self, "trace", trace_)
        object.__setattr__(self, "bystanders", bystanders_)
        object.__setattr__(self, "_signals", {})
        object.__setattr__(self, "_part_of", _part_of)

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
        """Number of classes."""
        return int(self.models.shape[2])

    @property
    def audited_labels(self) -> Ints:
        """(n,) true classes of the audited records."""
        return self.labels[: self.n]

    @property
    def predicted(self) -> Ints:
        """(n,) classes the target predicts for the audited records."""
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

    def with_inside(self, inside: ArrayLike, *, own: Evidence | None = None) -> Evidence:
        """Return the same evidence under other (m, r) memberships of the shadow rows, and with other rows of their own."""
        return self._part(slice(None), inside=inside, own=self.own if own is None else own)

    def replace(self, **changes: Any) -> Evidence:
        """Return the same evidence with some of the arguments it was made of changed."""
        arguments = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return Evidence(**{"shadows": arguments.pop("models"), **arguments} | changes)

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
            variants=None,
            trace=None,
            bystanders=None,
        )

    def of_shadows(self, chosen: ArrayLike) -> Evidence:
        """Return the same evidence with the shadows of these numbers only, in their order."""
        index = np.asarray(chosen, np.int64)
        population, variants, probes = self.population, self.variants, self.probes
        if probes is not None:
            votes, distances = probes.shadow_votes, probes.shadow_distances
            probes = replace(
                probes,
                shadow_votes=None if votes is None else votes[index],
                shadow_distances=None if distances is None else distances[index],
            )
        if population is not None and population.shadows is not None:
            population = replace(population, shadows=_some(population.shadows, index))
        if variants is not None:
            variants = replace(variants, shadows=variants.shadows[:, index])
        return self._part(
            index,
            shadows=_some(self.models, index),
            inside=self.inside[index],
            asked=None if self.asked is None else self.asked[index],
            population=population,
            variants=variants,
            probes=probes,
            own=None if self.own is None else self.own.of_shadows(index),
        )

    @property
    def queries(self) -> list[tuple[Floats, Floats | Answers]]:
        """(target, models) of every query: the records themselves first, then each of their variants."""
        further = () if self.variants is None else zip(self.variants.target, self.variants.shadows, strict=True)
        return [(self.target, self.models), *further]


def _check(target: Any, shadows: Any, inside: Any, labels: Any, asked: Any) -> None:
    if shadows.ndim != 3:
        raise DataError(f"shadows must have shape (models, records, classes), got {shadows.shape}")
    if target.ndim not in (1, 2) or (target.ndim == 2 and target.shape[1] != shadows.shape[2]):
        raise DataError(f"target must have shape (n, {shadows.shape[2]}) like the shadows, got {target.shape}")
    if inside.shape != shadows.shape[:2]:
        raise DataError(f"inside must have shape {shadows.shape[:2]} (models, records), got {inside.shape}")
    if inside.dtype != bool and not np.isin(inside, (0, 1)).all():
        raise DataError(f"inside must be true or false (0 or 1) everywhere, got dtype {inside.dtype}")
    if labels.ndim != 1 or len(labels) < len(target):
        raise DataError(f"labels must be one class per record, at least {len(target)}, got shape {labels.shape}")
    if len(labels) and (labels.min() < 0 or labels.max() >= shadows.shape[2]):
        raise DataError(
            f"labels must lie in 0..{shadows.shape[2] - 1}, one per output column; got {labels.min()}..{labels.max()}"
        )
    if asked is None:
        if shadows.shape[1] != len(target):
            raise DataError(
                f"without `asked`, shadows must answer the {len(target)} audited records; they answer {shadows.shape[1]}"
            )
    elif asked.shape != inside.shape or (asked.size and (asked.min() < 0 or asked.max() >= len(labels))):
        raise DataError(f"asked must have shape {inside.shape} with record numbers below {len(labels)}")
    for name, array in (("target", [target]), ("shadows", () if isinstance(shadows, Answers) else shadows)):
        if not all(np.isfinite(rows).all() for rows in array):  # one model at a time: the test takes memory, too
            raise DataError(f"{name} holds NaN or infinite outputs; every output must be a finite number")


def _check_beside(
    target: Any, shadows: Any, asked: Any, population: Population | None, variants: Variants | None, features: Any
) -> None:
    models, n, classes = len(shadows), len(target), shadows.shape[2]
    if population is not None:
        p = len(population.labels)
        _check_block("population.target", population.target, (p, classes))
        if population.shadows is not None:
            _check_block("population.shadows", population.shadows, (models, p, classes))
        if p and (population.labels.min() < 0 or population.labels.max() >= classes):
            raise DataError(f"population.labels must lie in 0..{classes - 1}, one per output column")
        if population.features is not None and (
            features is None or population.features.shape != (p, *features.shape[1:])
        ):
            raise DataError(
                f"population.features must be {p} rows like the evidence's features, "
                f"{None if features is None else features.shape}; got {population.features.shape}"
            )
    if variants is not None:
        if asked is not None:
            raise DataError("variants need shadows that answered the audited records themselves; `asked` must be None")
        q = len(variants.target)
        _check_block("variants.target", variants.target, (q, n, classes))
        _check_block("variants.shadows", variants.shadows, (q, models, n, classes))
    if features is not None and (features.ndim < 2 or len(features) != n):
        raise DataError(f"features must have one row of numbers for each of {n} records, got shape {features.shape}")


def _check_trace(trace: Any, n: int) -> None:
    if trace.ndim != 2 or len(trace) != n or not trace.shape[1]:
        raise DataError(f"trace must be (n, stages) losses of the {n} audited records, got shape {trace.shape}")
    if trace.dtype.kind not in "fiu" or not np.isfinite(trace).all() or (trace < 0).any():
        raise DataError("trace must hold losses: finite numbers from 0, -log of the probability of the record's class")


def _check_probes(probes: Probes, n: int, rows: tuple[int, ...]) -> None:
    shapes: dict[str, tuple[int, ...]] = {"distances": (n,), "shadow_distances": rows}
    if probes.votes is not None:
        q = probes.votes.shape[-1]
        if q == 0:
            raise DataError("probes.votes holds no vote; ask at least once about each record")
        shapes |= {"votes": (n, q), "shadow_votes": (*rows, q)}
    elif probes.shadow_votes is not None:
        raise DataError("probes.shadow_votes are of no use without the target's votes; give both")
    for name, shape in shapes.items():
        if (array := getattr(probes, name)) is not None:
            _check_block(f"probes.{name}", array, shape)


def _check_block(name: str, array: Any, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise DataError(f"{name} must have shape {shape}, got {array.shape}")
    if not isinstance(array, Answers) and not np.isfinite(array).all():
        raise DataError(f"{name} holds NaN or infinite outputs; every output must be a finite number")
