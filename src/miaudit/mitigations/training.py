"""Mitigations of the training: frozen values that make a recipe of a recipe.

Some set a parameter that the recipe has, and give the recipe as it would be with it; others wrap it. What a recipe can do is
found by its methods (`miaudit.recipes`), never by its class; behind an encoder the recipe within is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from miaudit.errors import PlanError, not_real, not_whole, refuse, section
from miaudit.mitigations.defended import (
    Averaged,
    Descended,
    Distilled,
    Smoothed,
    Split,
    Stopped,
    takes_shares,
    transparent,
)
from miaudit.mitigations.objectives import Mixup as MixupObjective
from miaudit.mitigations.objectives import Relax
from miaudit.recipes import Descending, Modular, Recipe, Soft, Turnable
from miaudit.recipes.ability import Ability


@runtime_checkable
class TrainingMitigation(Protocol, metaclass=Ability):
    """What changes how a model is trained; a frozen value with a name, and its options as fields."""

    name: ClassVar[str]

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe with the mitigation; PlanError where the recipe cannot have it."""
        ...


@dataclass(frozen=True)
class Knob:
    """Set a parameter that the recipe has, such as ``max_depth`` or ``min_samples_leaf`` of a forest.

    Parameters
    ----------
    parameter, value
        Its name, of an estimator (also the last of a pipeline) or of a network, and what to set it to; a list stands for a
        tuple, as of the sizes of layers.
    """

    parameter: str
    value: bool | int | float | str | tuple[Any, ...] | None

    name: ClassVar[str] = "knob"

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _frozen(self.value, self.parameter))

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe with the parameter set."""
        with section("mitigations.knobs"):
            return transparent(recipe, lambda inner: _turnable(self, inner).turned(**{self.parameter: self.value}))


@dataclass(frozen=True)
class L2:
    """Penalise large weights: ``strength * sum(theta**2)`` of a network (Shokri et al. 2017, section VIII).

    Of an estimator its own parameter of a penalty is set to the strength: ``alpha``, ``l2_regularization`` or ``reg_lambda``,
    which differ in what they multiply. Of a logistic regression set ``C`` by `Knob`.
    """

    strength: float = 1e-3

    name: ClassVar[str] = "l2"

    def __post_init__(self) -> None:
        refuse(not_real(("strength", self.strength), least=0))

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe with the penalty."""
        return transparent(recipe, lambda inner: _turned(self, inner, "l2", self.strength))


@dataclass(frozen=True)
class Dropout:
    """Set a share of each hidden layer to zero while training (Srivastava et al. 2014)."""

    share: float = 0.5

    name: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        refuse(not_real(("share", self.share), above=0, below=1))

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe with dropout."""
        return transparent(recipe, lambda inner: _turned(self, inner, "dropout", self.share))


@dataclass(frozen=True)
class EarlyStopping:
    """Train for as many passes as serve held-out records best.

    An estimator that can stop by itself does (``early_stopping``). Of others a share of the training records is held out, the
    passes with the smallest log loss on it are chosen among the recipe's own number, halved again and again, and the model is
    trained for so many on all records.

    Parameters
    ----------
    holdout
        Share of the training records.
    """

    holdout: float = 0.1

    name: ClassVar[str] = "early-stopping"

    def __post_init__(self) -> None:
        refuse(not_real(("holdout", self.holdout), above=0, below=1))

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe that stops early."""

        def inner(within: Recipe) -> Recipe:
            knobs = _turnable(self, within).knobs
            if "early_stopping" in knobs:
                own = knobs["early_stopping"]
                share = own.removesuffix("early_stopping") + "validation_fraction"
                return _turnable(self, within).turned(**{own: True, share: self.holdout})
            if "epochs" not in knobs:
                raise _cannot(self, within, "it has no number of passes to choose")
            return Stopped(within, self.holdout)

        return transparent(recipe, inner)


@dataclass(frozen=True)
class LabelSmoothing:
    """Train on ``(1 - share)`` of the class and ``share / classes`` of every class (Szegedy et al. 2016).

    It can raise the leak (Kaya and Dumitras 2021): measured here, never taken for granted.
    """

    share: float = 0.1

    name: ClassVar[str] = "label-smoothing"

    def __post_init__(self) -> None:
        refuse(not_real(("share", self.share), above=0, below=1))

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe on smoothed labels."""
        return transparent(recipe, lambda inner: Smoothed(_soft(self, inner), self.share))


@dataclass(frozen=True)
class Mixup:
    """Train on mixtures of two records and of their classes, by a share drawn from Beta(alpha, alpha) (Zhang et al. 2018)."""

    alpha: float = 0.2

    name: ClassVar[str] = "mixup"

    def __post_init__(self) -> None:
        refuse(not_real(("alpha", self.alpha), least=1e-3))

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe on mixtures."""
        return transparent(recipe, lambda inner: Descended(_descending(self, inner), MixupObjective(self.alpha)))


@dataclass(frozen=True)
class RelaxLoss:
    """Descend only down to a loss, and from there flatten the posteriors of the other classes (Chen, Yu and Fritz 2022).

    Parameters
    ----------
    level
        The mean loss that training is held at.
    """

    level: float = 0.5

    name: ClassVar[str] = "relaxloss"

    def __post_init__(self) -> None:
        refuse(not_real(("level", self.level), least=0))

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe with the relaxed loss."""
        return transparent(recipe, lambda inner: Descended(_descending(self, inner), Relax(self.level)))


@dataclass(frozen=True)
class Distillation:
    """Train on what a first model of the same records answers at a temperature (Hinton et al. 2015).

    A recipe that takes no shares of the classes is trained on the first model's labels.
    """

    t: float = 4.0

    name: ClassVar[str] = "distillation"

    def __post_init__(self) -> None:
        refuse(not_real(("t", self.t), least=1e-3))

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe that distils."""
        return transparent(recipe, lambda inner: Distilled(inner, self.t))


@dataclass(frozen=True)
class SplitDistillation:
    """SELENA (Tang et al. 2022): train on answers of models that did not see the record.

    ``models`` are trained, each record is left out by exactly ``without`` of them, drawn at random, and what those answer on
    average is what the last model is trained on.
    """

    models: int = 10
    without: int = 4

    name: ClassVar[str] = "split-distillation"

    def __post_init__(self) -> None:
        refuse(not_whole(("models", self.models), least=2))
        refuse(not_whole(("without", self.without), most=self.models - 1))

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe that splits and distils."""
        return transparent(recipe, lambda inner: Split(inner, self.models, self.without))


@dataclass(frozen=True)
class Bagging:
    """Answer the mean of several models, each of a random share of the records (Breiman 1996, without replacement)."""

    models: int = 10
    share: float = 0.5

    name: ClassVar[str] = "bagging"

    def __post_init__(self) -> None:
        refuse(not_whole(("models", self.models), least=2), not_real(("share", self.share), above=0, below=1))

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe of many models."""
        return transparent(recipe, lambda inner: Averaged(inner, self.models, self.share))


@dataclass(frozen=True)
class DPSGD:
    """Clip every record's gradient and add noise to their sum (Abadi et al. 2016), by Opacus (extra ``dp``).

    Batches are drawn by Poisson sampling, and descent is plain SGD at a constant rate. Epsilon is that of Opacus's accountant
    for Renyi differential privacy, and holds for the descent: means, scales and categories that an encoder or ``standardize``
    learns of the records are outside of it, and the row says so.

    Parameters
    ----------
    noise
        Standard deviation of the noise, in units of ``clip``.
    clip
        Longest gradient of one record.
    delta
        Of epsilon; default: 1e-5, or 1 / (10 n) where that is less.
    epochs, batch, learning_rate
        Default: the recipe's own; of an Adam recipe name a rate.
    """

    noise: float = 1.0
    clip: float = 1.0
    delta: float | None = None
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None

    name: ClassVar[str] = "dp-sgd"

    def __post_init__(self) -> None:
        refuse(
            not_real(("noise", self.noise), ("clip", self.clip), least=1e-9),
            not_whole(("epochs", self.epochs), ("batch", self.batch), optional=True),
            not_real(("delta", self.delta), above=0, below=1, optional=True),
            not_real(("learning_rate", self.learning_rate), least=1e-12, optional=True),
        )

    def of(self, recipe: Recipe, /) -> Recipe:
        """Return the recipe with private descent."""
        from miaudit.mitigations.private import Private

        def inner(within: Recipe) -> Recipe:
            if not isinstance(within, Modular):
                raise _cannot(self, within, "it is no torch network")
            return Private(within, self)

        return transparent(recipe, inner)


MITIGATIONS: tuple[type[Any], ...] = (
    *(Knob, L2, Dropout, EarlyStopping, LabelSmoothing, Mixup, RelaxLoss),
    *(Distillation, SplitDistillation, Bagging, DPSGD),
)
"""Mitigations of the training."""


def _frozen(value: Any, parameter: str) -> Any:
    """Return a value of a knob that can be told from others."""
    if isinstance(value, list | tuple):
        return tuple(_frozen(each, parameter) for each in value)
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise PlanError(
        [
            (
                f"mitigations.knobs.{parameter}",
                f"must be a number, a text, a truth value or a list of these; got {value!r:.60}",
            )
        ]
    )


def _turnable(mitigation: Any, recipe: Recipe) -> Turnable:
    if not isinstance(recipe, Turnable):
        raise _cannot(mitigation, recipe, "it has no parameters to set")
    return recipe


def _turned(mitigation: Any, recipe: Recipe, word: str, value: float) -> Recipe:
    knobs = _turnable(mitigation, recipe).knobs
    if word not in knobs:
        raise _cannot(mitigation, recipe, f"it has no parameter that is {word}")
    return _turnable(mitigation, recipe).turned(**{knobs[word]: value})


def _soft(mitigation: Any, recipe: Recipe) -> Soft:
    if not isinstance(recipe, Soft) or not takes_shares(recipe):
        raise _cannot(mitigation, recipe, "it takes one class a record, and no shares")
    return recipe


def _descending(mitigation: Any, recipe: Recipe) -> Descending:
    if not isinstance(recipe, Descending) or getattr(recipe, "loss", None) is not None:
        raise _cannot(mitigation, recipe, "it does not descend on a loss that can be changed")
    return recipe


def _cannot(mitigation: Any, recipe: Recipe, why: str) -> PlanError:
    return PlanError(
        [(f"mitigations.{mitigation.name}", f"{recipe.name} cannot have it: {why}; leave it out (docs/mitigations.md)")]
    )


def private_part(training: Sequence[Any]) -> DPSGD | None:
    """Return the private descent among mitigations of a training, if there is one."""
    return next((part for part in training if isinstance(part, DPSGD)), None)


USUAL_TRAINING: tuple[Any, ...] = (
    *(L2(1e-4), L2(1e-3), L2(1e-2), Dropout(0.5), EarlyStopping(), LabelSmoothing(), Mixup(), RelaxLoss(0.5)),
    *(Distillation(), SplitDistillation(), Bagging()),
)
"""Those that are tried unasked, as far as a recipe can have them."""
