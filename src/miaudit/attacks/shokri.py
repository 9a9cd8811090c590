"""The attack of 2017: learn from shadow models what members look like, one attack model per class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from miaudit.attacks.attack import (
    LABELS_ONLY,
    Attack,
    ClassModel,
    Scores,
    require,
    shadow_rows,
    shadow_sides,
)
from miaudit.attacks.net import SHARE, Net, Rows, Training, fit
from miaudit.errors import PlanError, misfits, not_real, not_whole
from miaudit.evidence import Bools, Evidence, Ints
from miaudit.evidence.rows import blocks
from miaudit.seeds import generator
from miaudit.signals import label_vectors

Variant = Literal["per-class", "pooled"]
Features = Literal["probabilities", "log-probabilities", "sorted"]
Judge = Callable[[NDArray[Any]], NDArray[np.float64]]  # (n, d) inputs -> (n,) probability of "in"

_POOLED_ROWS = 100_000
_MANY_ROWS = 1_500  # a class: with so many, inputs are scaled without a trial (decision 20)
_TRIAL_CLASSES = 10
_BLOCK_BYTES = 512 * 2**20  # of shadows' answers held at once; more classes than fit are learned in parts
_PARTS, _PART_BYTES = 4, 64 * 2**20  # a quarter of the answers is enough, or so many bytes of them


@dataclass(frozen=True)
class Shokri(Attack):
    """Shokri, Stronati, Song and Shmatikov (2017), section V: shadow training.

    The rows of all shadows, (true class, output vector, in or out), are parted by true class; one binary classifier per
    class learns in from out; the classifier of a record's true class judges what the target said about it. The score is
    the probability of "in", and the decision is the likelier side.

    Where the paper is silent (optimiser, epochs, batch, initialisation): Adam with a rate falling linearly to zero,
    inputs divided by their own spread in the class, but by no less than a share of the largest (0.3, or 1 where classes
    have few shadow rows on average and a trial on a quarter of their records is in favour of it); the vector in class order, no
    weighting of the two sides inside a class.

    Parameters
    ----------
    variant
        ``"per-class"`` as in the paper, or ``"pooled"``: one model for all, given the vector and the one-hot class.
    estimator
        Any scikit-learn classifier in place of the built-in network; cloned and seeded, never changed.
    features
        ``"probabilities"`` as in the paper; ``"log-probabilities"``; or ``"sorted"``, probabilities in falling order.
    hidden, epochs, batch, learning_rate, l2
        The built-in network and its training; 64 ReLU units are the paper's.
    min_rows
        A class with fewer shadow rows than this on either side is judged by the pooled model; ``Scores.per_class`` and
        a note say so.
    """

    variant: Variant = "per-class"
    estimator: Any = None
    features: Features = "probabilities"
    hidden: int = 64
    epochs: int = 30
    batch: int = 128
    learning_rate: float = 0.005
    l2: float = 1e-3
    min_rows: int = 50

    name: ClassVar[str] = "shokri"
    title: ClassVar[str] = "Shadow training: a learned attack model for each class (2017)"
    paper: ClassVar[str] = "Shokri et al. 2017"
    when: ClassVar[Mapping[str, str]] = {
        "": "the attack of 2017, for comparison with the literature; also by labels alone"
    }
    needs: ClassVar[frozenset[str]] = frozenset({"classes", "shadows"})
    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        problems = misfits(("shokri.variant", self.variant, Variant), ("shokri.features", self.features, Features))
        counts = ("hidden", "epochs", "batch", "min_rows")
        problems += not_whole(*((f"shokri.{field}", getattr(self, field)) for field in counts))
        problems += not_real(("shokri.learning_rate", self.learning_rate), above=0)
        problems += not_real(("shokri.l2", self.l2), least=0)
        if self.estimator is not None and not (
            hasattr(self.estimator, "fit")
            and (hasattr(self.estimator, "predict_proba") or hasattr(self.estimator, "decision_function"))
        ):
            problems.append(
                (
                    "shokri.estimator",
                    f"must be a scikit-learn classifier with predict_proba or decision_function, got {self.estimator!r}",
                )
            )
        if problems:
            raise PlanError(problems)

    def run(self, evidence: Evidence, *, seed: int = 0) -> Scores:
        """Train the attack models on the shadows' rows and judge the target's answers; see :class:`Attack`."""
        judges = self._attack_models(evidence, seed)
        score = judges.score(self._answers(evidence), evidence.audited_labels)
        notes = () if evidence.target.ndim == 2 else (LABELS_ONLY,)
        n_rows = sum(each.in_rows + each.out_rows for each in judges.models)
        return Scores(score, score > 0.5, notes + self._notes(judges.models, n_rows), judges.models)

    def scores_of(self, evidence: Evidence, others: Sequence[Evidence], *, seed: int = 0) -> list[NDArray[np.float64]]:
        """Judge all others' answers by the same attack models; see :meth:`Attack.scores_of`."""
        judges = self._attack_models(evidence, seed)
        return [judges.score(self._answers(other), other.audited_labels) for other in others]

    def _answers(self, evidence: Evidence) -> NDArray[Any]:
        """Return the (n, c) answers to judge; labels as vectors."""
        target = evidence.target
        return target if target.ndim == 2 else label_vectors(target, evidence.classes)

    def _attack_models(self, evidence: Evidence, seed: int) -> _AttackModels:
        """Return the attack models, trained once, for target and bystanders."""
        return require(self, evidence).once((id(self), seed), lambda: self._fit(evidence, seed))  # which keeps it alive

    def _fit(self, evidence: Evidence, seed: int) -> _AttackModels:
        inside, labels = shadow_sides(evidence), evidence.shadow_labels.reshape(-1)
        classes = evidence.classes
        n_in = np.bincount(labels[inside], minlength=classes)  # (classes,)
        n_out = np.bincount(labels[~inside], minlength=classes)
        own = np.flatnonzero((np.minimum(n_in, n_out) >= self.min_rows) & (self.variant == "per-class"))
        by_class = np.argsort(labels, kind="stable")
        ends = np.cumsum(n_in + n_out)
        index = [by_class[end - n : end] for n, end in zip(n_in + n_out, ends, strict=True)]
        row_bytes = evidence.classes * evidence.models.dtype.itemsize
        share = self._share(evidence, index, inside, own, seed)
        judges: dict[int, Judge] = {}
        for part in _parts(own, (n_in + n_out) * row_bytes):
            judges |= zip(
                part, self._judges(evidence, [index[label] for label in part], inside, part, seed, share), strict=True
            )
        rest = np.isin(evidence.audited_labels, own, invert=True).any()
        models = tuple(
            ClassModel(label, "own" if label in judges else "pooled", int(n_in[label]), int(n_out[label]))
            for label in range(classes)
        )
        return _AttackModels(self, judges, self._pooled(evidence, labels, inside, seed) if rest else None, models)

    def _judges(
        self, evidence: Evidence, index: list[Ints], inside: Bools, labels: list[int], seed: int, share: float
    ) -> list[Judge]:
        """Train one model for each class of ``labels``, on the shadow rows at its ``index``."""
        sizes = [len(each) for each in index]
        rows = np.split(shadow_rows(evidence, np.concatenate(index)), np.cumsum(sizes)[:-1])
        return self._train(
            lambda i: (self._encode(rows[i]), inside[index[i]]),
            sizes,
            [generator(seed, "class", label) for label in labels],
            share,
        )

    def _share(self, evidence: Evidence, index: Sequence[Ints], inside: Bools, classes: Ints, seed: int) -> float:
        """Return the share of the largest spread by which inputs of these classes' models are at least divided.

        Probabilities that hardly vary, divided by their own spread, are as large as the others, and networks of few rows
        learn their noise. Whether they do depends on the task too, so that a trial decides. Rows of several models about
        one record, or person, are worth less than as many about different ones: the geometric mean of rows and records
        (people) counts, on average over the classes. People are held out whole.
        """
        people = None if evidence.shadow_people is None else evidence.people
        units = [_units(evidence, people, index[label]) for label in classes]
        n_rows, n_units = sum(map(len, units)), sum(len(np.unique(each)) for each in units)
        if self.estimator is not None or (n_rows * n_units) ** 0.5 >= _MANY_ROWS * len(classes):
            return SHARE
        rng = generator(seed, "share")
        labels = rng.permutation(classes)[:_TRIAL_CLASSES]
        learning, rest = dict[int, Ints](), dict[int, Ints]()
        for label in labels.tolist():
            of_rows = _units(evidence, people, index[label])
            of_class = rng.permutation(np.unique(of_rows))
            learns = np.isin(of_rows, of_class[len(of_class) // 4 :])
            learning[label], rest[label] = index[label][learns], index[label][~learns]
        row_bytes = evidence.classes * evidence.models.dtype.itemsize
        parts = _parts(labels, np.array([len(each) * row_bytes for each in index]))

        def loss(share: float) -> float:
            total = 0.0
            for part in parts:
                judges = self._judges(evidence, [learning[label] for label in part], inside, part, seed, share)
                ends = np.cumsum([len(rest[label]) for label in part])
                positions = np.concatenate([rest[label] for label in part])
                answers = np.split(shadow_rows(evidence, positions), ends[:-1])
                p = np.concatenate([judge(self._encode(each)) for judge, each in zip(judges, answers, strict=True)])
                p = np.clip(p, 1e-6, 1 - 1e-6)
                total -= float(np.log(np.where(inside[positions], p, 1 - p)).sum())
            return total

        return 1.0 if loss(1.0) < loss(SHARE) else SHARE

    def _pooled(self, evidence: Evidence, labels: Ints, inside: Bools, seed: int) -> Judge:
        """Train one model for all classes, on at most so many rows as `pooled_rows` allows, drawn by the seed."""
        sample, most = np.arange(len(labels)), pooled_rows(evidence.classes)
        if len(labels) > most:
            sample = np.sort(generator(seed, "pooled rows").choice(len(labels), most, replace=False))
        rows = shadow_rows(evidence, sample)
        return self._train(
            lambda _: (self._encode(rows, labels[sample]), inside[sample]),
            [len(sample)],
            [generator(seed, "pooled")],
        )[0]

    def _train(
        self,
        load: Callable[[int], Rows],
        sizes: list[int],
        generators: list[np.random.Generator],
        share: float = SHARE,
    ) -> list[Judge]:
        if self.estimator is not None:
            return [_fit_estimator(self.estimator, *load(i), rng=generators[i]) for i in range(len(sizes))]
        training = Training(
            hidden=self.hidden,
            epochs=self.epochs,
            batch=self.batch,
            learning_rate=self.learning_rate,
            l2=self.l2,
        )
        nets: list[Net] = fit(load, sizes, generators, training, share=share)
        return [net.probability for net in nets]

    def _encode(self, outputs: NDArray[Any], labels: Ints | None = None) -> NDArray[np.float32]:
        """(n, d) inputs of an attack model; with ``labels``, the one-hot class behind them."""
        x = outputs.astype(np.float32, copy=False)
        if self.features == "log-probabilities":
            x = np.log(np.maximum(x, np.float32(1e-30)))
        elif self.features == "sorted":
            x = -np.sort(-x, axis=1)
        if labels is None:
            return x
        n, classes = x.shape
        both = np.zeros((n, 2 * classes), np.float32)
        both[:, :classes] = x
        both[np.arange(n), classes + labels] = 1
        return both

    def _notes(self, models: tuple[ClassModel, ...], n_rows: int) -> tuple[str, ...]:
        notes = []
        pooled = [m.label for m in models if m.model == "pooled"]
        if self.variant == "per-class" and pooled:
            labels = ", ".join(map(str, pooled[:10])) + (f" and {len(pooled) - 10:,} more" if len(pooled) > 10 else "")
            notes.append(
                f"{len(pooled):,} of {len(models):,} classes have fewer than {self.min_rows:,} shadow rows of either side "
                f"and were judged by the pooled attack model: {labels}"
            )
        most = pooled_rows(len(models))
        if pooled and n_rows > most:
            notes.append(f"the pooled attack model learned from {most:,} rows drawn from {n_rows:,}")
        shares = [m.in_rows / (m.in_rows + m.out_rows) for m in models if m.model == "own"]
        if shares and (min(shares) < 0.4 or max(shares) > 0.6):
            notes.append(
                f"inside a class the share of in rows runs from {min(shares):.2f} to {max(shares):.2f}; its attack "
                "model leans to the commoner side, as nothing is weighted"
            )
        return tuple(notes)


@dataclass(frozen=True, eq=False)
class _AttackModels:
    """Attack models: of each class that has its own, and the pooled one where a record needs it."""

    attack: Shokri
    judges: Mapping[int, Judge]
    pooled: Judge | None
    models: tuple[ClassModel, ...]

    def score(self, answers: NDArray[Any], labels: Ints) -> NDArray[np.float64]:
        """Return the (n,) probabilities of "in" for (n, c) answers about records of these classes."""
        score, rest = np.empty(len(labels)), np.ones(len(labels), bool)
        for label, judge in self.judges.items():
            if (here := labels == label).any():
                score[here] = judge(self.attack._encode(answers[here]))
                rest &= ~here
        if self.pooled is not None:
            index = np.flatnonzero(rest)
            for block in blocks(len(index), 2 * answers.shape[1]):
                part = index[block]
                score[part] = self.pooled(self.attack._encode(answers[part], labels[part]))
        return score


def _units(evidence: Evidence, people: Ints | None, positions: Ints) -> Ints:
    """Return (k,) numbers of the people that the shadow rows at ``positions`` are about, or of the records without people."""
    rows = positions % evidence.inside.shape[1] if evidence.asked is None else evidence.asked.reshape(-1)[positions]
    return rows if people is None else people[rows]


def pooled_rows(classes: int) -> int:
    """Return how many rows the pooled model learns from at most: fewer where an answer and its class take much memory."""
    return min(_POOLED_ROWS, max(1, _BLOCK_BYTES // (4 * 2 * classes)))


def _parts(labels: Ints, sizes: Ints) -> list[list[int]]:
    """Divide classes, in their order, into parts that may be held at once, or of a single class."""
    most = min(_BLOCK_BYTES, max(_PART_BYTES, int(sizes[labels].sum()) // _PARTS))
    parts: list[list[int]] = []
    size = 0
    for label in labels.tolist():
        if not parts or size + int(sizes[label]) > most:
            parts.append([])
            size = 0
        parts[-1].append(label)
        size += int(sizes[label])
    return parts


def _fit_estimator(estimator: Any, x: NDArray[Any], inside: Bools, *, rng: np.random.Generator) -> Judge:
    from sklearn.base import clone

    model = clone(estimator)
    states = [name for name in model.get_params() if name.rsplit("__", 1)[-1] == "random_state"]
    model.set_params(**dict(zip(states, rng.integers(2**31, size=len(states)).tolist(), strict=True)))
    model.fit(x, inside.astype(np.int64))

    def judge(inputs: NDArray[Any]) -> NDArray[np.float64]:
        if hasattr(model, "predict_proba"):
            return np.asarray(model.predict_proba(inputs)[:, 1], np.float64)
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(model.decision_function(inputs), -500, 500))), np.float64)

    return judge
