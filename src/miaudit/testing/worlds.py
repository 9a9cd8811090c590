"""Worlds with known answers: evidence made without any model, where what an attack must find is known.

In every world each class has as many members as non-members, among the audited records and in every shadow, so the
class alone tells nothing; but in those of known privacy, ``randomised_response`` and ``dp_sgd``, every record is a
member by a fair coin flip of its own, as a one-run audit asks, and in ``bystander`` classes are drawn freely.
``overlapping`` chooses between shadows that answered the audited records, each inside by a coin flip (LiRA), and shadows
with records of their own (Shokri et al. 2017). Every world has a population of as many records as are audited, members
of nothing, and features: three numbers a record that tell nothing but its class (the records themselves in
``bystander``). In ``people`` classes are drawn freely too, and the evidence says whose the records are. Every world has
probes too, as if the label of a record held out against change the longer the surer the model is: of eight variants
those are answered rightly that ask for less than the probability of the true class, and the boundary is as far as that
class is ahead of the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import PlanError
from miaudit.evidence import Bools, Evidence, Floats, Ints, Population, Probes

Answer = Callable[[Ints, Bools, np.random.Generator], NDArray[np.float64]]  # labels, inside -> (n, classes)


class World(NamedTuple):
    """Evidence, and who truly is a member."""

    evidence: Evidence
    member: Bools  # (n,)


def constant(*, n: int = 400, classes: int = 5, shadows: int = 6, seed: int = 0, overlapping: bool = False) -> World:
    """Every model says the same about everybody: every attack has an area of exactly 1/2."""
    probabilities = np.arange(1, classes + 1) / (classes * (classes + 1) / 2)

    def answer(labels: Ints, inside: Bools, generator: np.random.Generator) -> NDArray[np.float64]:
        return np.tile(probabilities, (len(labels), 1))

    return _world(answer, n, classes, shadows, seed, overlapping)


def memoriser(*, n: int = 400, classes: int = 5, shadows: int = 6, seed: int = 0, overlapping: bool = False) -> World:
    """Models that look up their training set, as the nearest neighbour does: areas near 1.

    A member's class is certain; a non-member gets its neighbour's class, right half of the time, at lower confidence.
    """

    def answer(labels: Ints, inside: Bools, generator: np.random.Generator) -> NDArray[np.float64]:
        other = (labels + generator.integers(1, classes, len(labels))) % classes
        votes = np.where(inside | (generator.random(len(labels)) < 0.5), labels, other)
        top = np.where(inside, 0.999, generator.uniform(0.5, 0.95, len(labels)))
        return _one_class(votes, top, classes)

    return _world(answer, n, classes, shadows, seed, overlapping)


def exchangeable(
    seed: int = 0,
    *,
    n: int = 400,
    classes: int = 5,
    shadows: int = 6,
    overlapping: bool = False,
    members: float = 0.5,
    decimals: int | None = None,
) -> World:
    """Members and non-members get answers from one distribution: every attack is at chance, up to noise.

    ``members`` is their share of the audited records, and of the rows of shadows that have records of their own.
    Answers are rounded to ``decimals``, so that scores tie.
    """

    def answer(labels: Ints, inside: Bools, generator: np.random.Generator) -> NDArray[np.float64]:
        logits = generator.normal(0.0, 1.5, (len(labels), classes))
        logits[np.arange(len(labels)), labels] += 2.0
        answers = _softmax(logits)
        return answers if decimals is None else np.asarray(answers.round(decimals))

    return _world(answer, n, classes, shadows, seed, overlapping, members=members)


def gaussian(
    d: float, *, n: int = 400, classes: int = 5, shadows: int = 6, seed: int = 0, overlapping: bool = False
) -> World:
    """Logit-scaled confidence is N(0, 1) for non-members and N(d, 1) for members: the best area is Phi(d / sqrt 2).

    The other classes share the rest equally, so nothing else tells; loss, confidence and phi all rank best.
    """

    def answer(labels: Ints, inside: Bools, generator: np.random.Generator) -> NDArray[np.float64]:
        signal = generator.normal(0.0, 1.0, len(labels)) + d * inside
        return _one_class(labels, 1.0 / (1.0 + np.exp(-signal)), classes)

    return _world(answer, n, classes, shadows, seed, overlapping)


def randomised_response(
    epsilon: float, *, n: int = 400, classes: int = 2, shadows: int = 6, seed: int = 0, overlapping: bool = False
) -> World:
    """Each model tells of each record whether it was trained on it, and lies with probability 1 / (1 + e^epsilon).

    (epsilon, 0)-DP for every record, and no attack can do better than believe it (Warner 1965; Kairouz, Oh and Viswanath
    2015): the ROC curve runs from (0, 0) straight to (q, p), p = e^epsilon / (1 + e^epsilon), q = 1 - p, and on to (1, 1),
    so the best area is p. What is told is dressed as the confidence in the true class, above 1/2 for "in" and below for
    "out", by a draw that knows nothing more. Records are independent: each counts as a training of its own.
    """

    def answer(labels: Ints, inside: Bools, generator: np.random.Generator) -> NDArray[np.float64]:
        honest = generator.random(len(labels)) < 1.0 / (1.0 + np.exp(-epsilon))
        top = generator.uniform(0.0, 0.5, len(labels)) + 0.5 * (inside == honest)
        return _one_class(labels, top, classes)

    return _world(answer, n, classes, shadows, seed, overlapping, coins=True)


def dp_sgd(
    mu: float, *, n: int = 400, steps: int = 20, shadows: int = 6, seed: int = 0, overlapping: bool = False
) -> World:
    """Logistic regression, truly trained by DP-SGD that is mu-GDP, with n canaries that show all of mu.

    200 ordinary records of five numbers and the canaries among the members are trained on by ``steps`` full-batch
    steps: per-record gradients clipped to norm 1, summed, N(0, noise^2) added to every coordinate, noise = sqrt(steps) / mu.
    No subsampling, so the accounting is exact: one step has sensitivity 1 under adding or removing a record and is
    1/noise-GDP, and steps compose to sqrt(steps) / noise = mu (Dong, Roth and Su 2022, theorem 2.7 and corollary 3.3). Its
    (epsilon, delta) are those of :func:`miaudit.stats.epsilon_from_mu`.

    A canary has a feature of its own, 1000 large, so that its gradient always has norm 1 and lies along that weight: the
    canary's logit under the last model is N(m, s^2) without it and N(m + mu s, s^2) with it. The best area is
    Phi(mu / sqrt 2), and black-box access to the last model loses nothing.
    """
    if not mu > 0 or steps < 1:
        raise PlanError(f"dp_sgd needs mu above 0 and at least one step, got {mu} and {steps}")
    noise, ordinary, scale = np.sqrt(steps) / mu, 200, 1000.0
    rate = 1.0 / (scale * (steps + 6 * noise * np.sqrt(steps)))  # a canary's logit stays below about 1

    def answer(labels: Ints, inside: Bools, generator: np.random.Generator) -> NDArray[np.float64]:
        x = np.hstack([generator.normal(size=(ordinary, 5)), np.ones((ordinary, 1))])
        y = generator.random(ordinary) < 1.0 / (1.0 + np.exp(-2 * x[:, 0]))
        sign = 2.0 * labels - 1.0  # of the canaries
        common, own = np.zeros(x.shape[1]), np.zeros(len(labels))  # weights; canary j alone uses own[j]
        for _ in range(steps):
            gradients = (1.0 / (1.0 + np.exp(-x @ common)) - y)[:, None] * x  # (ordinary, 6)
            gradients /= np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), 1.0)
            towards = -sign * scale / (1.0 + np.exp(sign * scale * own))  # gradient of each canary's loss along own
            clipped = towards / np.maximum(np.abs(towards), 1.0)
            common -= rate * (gradients.sum(axis=0) + generator.normal(0.0, noise, len(common)))
            own -= rate * (inside * clipped + generator.normal(0.0, noise, len(own)))
        return _one_class(np.ones(len(labels), np.int64), 1.0 / (1.0 + np.exp(-scale * own)), 2)

    return _world(answer, n, 2, shadows, seed, overlapping, coins=True)


def bystander(
    seed: int = 0,
    *,
    n: int = 400,
    classes: int = 5,
    shadows: int = 6,
    overlapping: bool = False,
    redrawn: float = 0.0,
    leaking: bool = False,
) -> World:
    """Members and non-members of one distribution, and a real model trained on neither: every attack is at chance.

    Records are eight normal numbers around the centre of their class. The target, ten extremely randomised trees that
    memorise, is trained on n/2 records of its own; so is each shadow of records of its own, or on its half of the audited
    ones where they overlap. The shadows leak, the target does not: what an attack learns from them must not carry
    over. Trees answer in tenths, so scores tie. Needs scikit-learn.

    A share ``redrawn`` of the non-members gets another class by lot. They are then harder than members for every model, so
    that attacks tell the sides apart although nothing leaks; the evidence's bystanders, which are the shadows where these do
    not overlap and else eight further models, show as much. A ``leaking`` target is trained on the members.
    """
    half, generator = _half(n, classes), np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    source = _Source(classes, generator, generator.normal(0.0, 1.0, (classes, 8)))
    y = source.labels(2 * half)
    x, member = source.records(y), generator.permutation(np.repeat([True, False], half))
    if redrawn:
        lot = ~member & (generator.random(2 * half) < redrawn)
        y = np.where(lot, generator.integers(0, classes, 2 * half), y)
    away, far = source.labels(half), source.labels(2 * half)
    away_x = source.records(away)
    target = source.model(x[member], y[member]) if leaking else source.model(away_x, away)
    population_x = source.records(far)
    numbers, all_labels = None, y
    if overlapping:
        inside = generator.random((shadows, 2 * half)) < 0.5
        models = [source.model(x[row], y[row]) for row in inside]
        rows = [each(x) for each in models]
    else:
        inside = np.tile(np.arange(2 * half) < half, (shadows, 1))
        numbers = 2 * half + np.arange(shadows * 2 * half).reshape(shadows, -1)
        own_y = [source.labels(2 * half) for _ in range(shadows)]
        own_x = [source.records(each) for each in own_y]
        models = [source.model(xs[:half], ys[:half]) for xs, ys in zip(own_x, own_y, strict=True)]
        rows = [each(xs) for each, xs in zip(models, own_x, strict=True)]
        all_labels = np.concatenate([y, *own_y])
    population = Population(
        target(population_x), far, shadows=np.stack([each(population_x) for each in models]), features=population_x
    )
    answers, of_shadows = target(x), np.stack(rows)
    if overlapping:
        models = [source.model(source.records(each), each) for each in [source.labels(half) for _ in range(8)]]
    evidence = Evidence(
        *(answers, of_shadows, inside, all_labels),
        asked=numbers,
        population=population,
        features=x,
        probes=_probes(answers, of_shadows, y, all_labels if numbers is None else all_labels[numbers]),
        trace=_trace(answers, y),
        bystanders=np.stack([each(x) for each in models]),
    )
    return World(evidence, member)


@dataclass(frozen=True)
class _Source:
    """Records of eight normal numbers around the centre of their class, and models of them."""

    classes: int
    generator: np.random.Generator
    centres: NDArray[np.float64]  # (classes, 8)

    def labels(self, size: int) -> Ints:
        """Return (size,) classes."""
        return np.asarray(self.generator.integers(0, self.classes, size), np.int64)

    def records(self, labels: Ints) -> NDArray[np.float64]:
        """Return (n, 8) records of these classes."""
        return np.asarray(self.centres[labels] + self.generator.normal(0.0, 1.0, (len(labels), 8)))

    def model(self, x: NDArray[np.float64], y: Ints) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Return the answers of ten trees that memorise these records."""
        from sklearn.ensemble import ExtraTreesClassifier

        trees = ExtraTreesClassifier(10, random_state=int(self.generator.integers(2**31))).fit(x, y)

        def answers(points: NDArray[np.float64]) -> NDArray[np.float64]:
            rows = np.zeros((len(points), self.classes))
            rows[:, trees.classes_] = trees.predict_proba(points)
            return rows

        return answers


def people(
    seed: int = 0,
    *,
    n: int = 100,
    records: int = 10,
    correlation: float = 0.3,
    counts: Literal["equal", "geometric"] = "equal",
    shift: float = 0.0,
    classes: int = 5,
    shadows: int = 6,
    overlapping: bool = False,
) -> World:
    """People with many records, half of the n people members: every attack is at chance unless ``shift`` says otherwise.

    Each model has a bent of its own for each person, so that what it answers about two records of one person correlates by
    ``correlation`` in a way no other model tells of; at 1 all records of a person are copies of one. People's features
    correlate by (1 + correlation) / 2, and two records have one class as often. ``shift`` is added to the logit of the
    true class of members' records. With ``counts = "geometric"`` people have ``records`` records on average, on both
    sides by the same law. The evidence names the people.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))
    half = max(1, n // 2)
    people = _People(2 * half, records, counts, correlation, shift, classes, generator)
    answer = people.answer
    of, labels = people.crowd()
    member = of < half
    nowhere = np.zeros(1, bool)
    target = answer(of, labels, member)
    if overlapping:
        inside = (generator.random((shadows, 2 * half)) < 0.5)[:, of]
        numbers, all_people, all_labels = None, of, labels
        rows = np.stack([answer(of, labels, each) for each in inside])
    else:
        far, theirs = people.crowd()  # one crowd of other people, whom every shadow divides anew
        inside = np.stack([generator.permutation(2 * half) < half for _ in range(shadows)])[:, far]
        numbers = np.tile(len(labels) + np.arange(len(far)), (shadows, 1))
        all_people, all_labels = np.concatenate([of, 2 * half + far]), np.concatenate([labels, theirs])
        rows = np.stack([answer(far, theirs, each) for each in inside])
    outside, their_labels = people.crowd()
    population = Population(
        answer(outside, their_labels, nowhere),
        their_labels,
        shadows=np.stack([answer(outside, their_labels, nowhere) for _ in range(shadows)]),
        features=people.features(outside, their_labels),
    )
    probes = _probes(target, rows, labels, all_labels if numbers is None else all_labels[numbers])
    evidence = Evidence(
        *(target, rows, inside, all_labels),
        asked=numbers,
        population=population,
        features=people.features(of, labels),
        probes=probes,
        people=all_people,
    )
    return World(evidence, member)


@dataclass(frozen=True)
class _People:
    """Crowds of people with many records, and models with a bent of their own for each person."""

    count: int
    records: int
    counts: Literal["equal", "geometric"]
    correlation: float
    shift: float
    classes: int
    generator: np.random.Generator

    def crowd(self) -> tuple[Ints, Ints]:
        """Return (r,) people and classes of the records of so many people."""
        generator, people = self.generator, self.count
        equal = self.counts == "equal"
        size = np.full(people, self.records) if equal else generator.geometric(1 / self.records, people)
        of = np.repeat(np.arange(people), size)
        own, of_person = generator.integers(0, self.classes, len(of)), generator.integers(0, self.classes, people)[of]
        return of, np.where(generator.random(len(of)) < (1 + self.correlation) / 2, of_person, own).astype(np.int64)

    def answer(self, of: Ints, labels: Ints, inside: Bools) -> NDArray[np.float64]:
        """Return what a new model answers about records of people, some of them in its training set."""
        logits = 1.5 * self._mixed(of, self.classes, self.correlation)
        logits[np.arange(len(labels)), labels] += 2.0 + self.shift * inside
        return _softmax(logits)

    def features(self, of: Ints, labels: Ints) -> NDArray[np.float64]:
        """Return three numbers a record that tell of its person and its class."""
        return self._mixed(of, 3, (1 + self.correlation) / 2) + labels[:, None] * [1.0, 0.0, 0.0]

    def _mixed(self, of: Ints, columns: int, rho: float) -> NDArray[np.float64]:
        common = self.generator.normal(size=(int(of.max()) + 1, columns))[of]
        return np.asarray(np.sqrt(rho) * common + np.sqrt(1 - rho) * self.generator.normal(size=(len(of), columns)))


def signal(
    d: float,
    *,
    n: int = 400,
    shadows: int = 16,
    seed: int = 0,
    overlapping: bool = True,
    spread: float = 1.0,
    log_likelihood: bool = False,
) -> World:
    """Evidence of signals: each is the record's own level, N(0, spread^2), and N(0, 1) of the model, and d more for members.

    The best area, which knows each record's level, is Phi(d / sqrt 2); a threshold on the target's signal has
    Phi(d / sqrt(2 (1 + spread^2))), and the difference from the mean of k models without the record Phi(d / sqrt(2 (1 + 1/k))).
    Where the shadows do not overlap, none was trained on an audited record: they are bystanders. Else eight more are, and each
    shadow was trained on a record by a coin flip. A ``log_likelihood`` is -log(1 + exp(-signal)), which ranks one model's
    answers alike. There are no classes, and the features are three numbers that tell nothing.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(5,)))
    member = generator.permutation(np.arange(n) < n // 2)
    inside = generator.random((shadows, n)) < 0.5 if overlapping else np.zeros((shadows, n), bool)
    levels = generator.normal(0.0, spread, (2, n))  # of the audited records, and of the population

    def answers(of: NDArray[np.float64], members: Bools) -> NDArray[np.float64]:
        numbers = of + d * members + generator.normal(0.0, 1.0, members.shape)
        return -np.logaddexp(0.0, -numbers) if log_likelihood else numbers

    nobody = np.zeros((max(shadows, 8), n), bool)
    evidence = Evidence.of_signals(
        answers(levels[0], member),
        answers(levels[0], inside),
        inside,
        name="noisy level of the record",
        log_likelihood=log_likelihood,
        population_target=answers(levels[1], nobody[0]),
        population_shadows=answers(levels[1], nobody[:shadows]),
        features=generator.normal(size=(n, 3)),
        population_features=generator.normal(size=(n, 3)),
        bystanders=answers(levels[0], nobody[:8]) if overlapping else None,
    )
    return World(evidence, member)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exp = np.exp(logits)  # not shifted: worlds keep the bits they have
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def _one_class(votes: Ints, top: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """(n, classes): ``top`` at the class said, the rest shared equally."""
    out = np.repeat((1.0 - top)[:, None] / (classes - 1), classes, axis=1)
    out[np.arange(len(votes)), votes] = top
    return out


def _world(
    answer: Answer,
    n: int,
    classes: int,
    shadows: int,
    seed: int,
    overlapping: bool,
    *,
    coins: bool = False,
    members: float = 0.5,
) -> World:
    half = _half(n, classes)
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    order = generator.permutation(2 * half)
    labels = np.tile(np.arange(classes), 2 * half // classes)[order]
    member = generator.random(2 * half) < 0.5 if coins else order < round(members * 2 * half)
    target = answer(labels, member, generator)
    if overlapping:
        records, all_labels = None, labels
        inside = generator.random((shadows, 2 * half)) < 0.5
    else:
        records = len(labels) + np.arange(shadows * 2 * half).reshape(shadows, -1)
        all_labels = np.tile(labels, shadows + 1)
        inside = generator.random((shadows, 2 * half)) < 0.5 if coins else np.tile(member, (shadows, 1))
    rows = np.stack([answer(labels, row, generator) for row in inside])
    nowhere = np.zeros(2 * half, bool)
    population = Population(
        answer(labels, nowhere, generator),
        labels,
        shadows=np.stack([answer(labels, nowhere, generator) for _ in range(shadows)]),
        features=_features(labels, generator),
    )
    features = _features(labels, generator)
    probes = _probes(target, rows, labels, all_labels if records is None else all_labels[records])
    evidence = Evidence(
        target,
        rows,
        inside,
        all_labels,
        asked=records,
        population=population,
        features=features,
        probes=probes,
        trace=_trace(target, labels),
    )
    return World(evidence, member)


def _half(n: int, classes: int) -> int:
    """Return how many records are on a side, so that classes come out even."""
    return classes * max(1, round(n / (2 * classes)))


def _features(labels: Ints, generator: np.random.Generator) -> NDArray[np.float64]:
    return np.asarray(generator.normal(labels[:, None] * [1.0, 0.0, 0.0], 1.0))


_VARIANTS = np.linspace(0.1, 0.98, 8)  # probability of the true class each variant asks for


def _trace(target: Floats, labels: Ints) -> NDArray[np.float64]:
    """(n, 8) losses of a model that goes from equal probabilities to what the target answers."""
    classes = target.shape[1]
    own = _true(target, labels)
    return np.asarray(-np.log(np.linspace(1 / classes, own, 8, axis=1) + 1e-12).clip(max=0.0))


def _probes(target: Floats, rows: Floats, labels: Ints, row_labels: Ints) -> Probes:
    row_labels = np.broadcast_to(row_labels, rows.shape[:2])
    return Probes(
        votes=_true(target, labels)[..., None] > _VARIANTS,
        distances=_ahead(target, labels),
        shadow_votes=_true(rows, row_labels)[..., None] > _VARIANTS,
        shadow_distances=_ahead(rows, row_labels),
        queries=len(labels) * len(_VARIANTS),
    )


def _true(answers: Floats, labels: Ints) -> Floats:
    return np.asarray(np.take_along_axis(answers, labels[..., None], axis=-1)[..., 0])


def _ahead(answers: Floats, labels: Ints) -> Floats:
    others = answers.copy()
    np.put_along_axis(others, labels[..., None], -np.inf, axis=-1)
    return np.asarray(np.maximum(_true(answers, labels) - others.max(axis=-1), 0.0))
