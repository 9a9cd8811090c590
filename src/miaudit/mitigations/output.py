"""Mitigations of what a model answers: frozen values that change its outputs and not the model.

They act on answers of any model, so that a grid of them over a finished audit trains nothing. The target's answers and the
shadow models' are changed alike, as an attacker does who knows the mitigation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from miaudit.errors import DataError, PlanError, not_real, not_whole, refuse
from miaudit.evidence.answers import Kind, softmax
from miaudit.recipes.ability import Ability
from miaudit.targets import Outputs
from miaudit.targets.seen import largest

Probabilities = NDArray[np.floating]


@runtime_checkable
class OutputMitigation(Protocol, metaclass=Ability):
    """What changes a model's answers; a frozen value with a name, and its options as fields."""

    name: ClassVar[str]

    @property
    def keeps_labels(self) -> bool:
        """Whether no answer's label changes, so that what was learned by asking for labels stays true."""
        ...

    def apply(self, outputs: Outputs, /) -> Outputs:
        """Return the answers to n records as they are given out."""
        ...


@dataclass(frozen=True)
class TopK:
    """Give out the k largest probabilities of each answer, and 0 for all other classes (Shokri et al. 2017, section VIII).

    What is left is not made to sum to one. Of classes that tie for the last place, the first in order is given out.

    Parameters
    ----------
    k
        How many classes.
    """

    k: int = 3

    name: ClassVar[str] = "top-k"
    keeps_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        refuse(not_whole(("k", self.k)))

    def apply(self, outputs: Outputs, /) -> Outputs:
        """Return the k largest probabilities; labels, and answers of no more than k classes, as they are."""
        values = _probabilities(outputs)
        if values is None or self.k >= values.shape[1]:
            return outputs
        return _changed(outputs, np.where(largest(values, self.k), values, 0), kind="topk")


@dataclass(frozen=True)
class LabelOnly:
    """Give out the most likely class alone."""

    name: ClassVar[str] = "label-only"
    keeps_labels: ClassVar[bool] = True

    def apply(self, outputs: Outputs, /) -> Outputs:
        """Return the labels."""
        values = _probabilities(outputs)
        return outputs if values is None else Outputs(outputs.labels, "labels", classes=values.shape[1])


@dataclass(frozen=True)
class Rounding:
    """Round probabilities to some decimals (Shokri et al. 2017, section VIII).

    Rounded classes may tie, and whoever reads the answer then takes the first: labels can change.

    Parameters
    ----------
    decimals
        How many, from 0.
    """

    decimals: int = 2

    name: ClassVar[str] = "rounding"
    keeps_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        refuse(not_whole(("decimals", self.decimals), least=0))

    def apply(self, outputs: Outputs, /) -> Outputs:
        """Return the rounded probabilities; labels as they are."""
        values = _probabilities(outputs)
        return outputs if values is None else _changed(outputs, np.round(values, self.decimals))


@dataclass(frozen=True)
class Temperature:
    """Divide the logits by a temperature before the softmax (Shokri et al. 2017, section VIII).

    Of answers that are probabilities, their logarithms are divided, which is the same; a probability of 0 stays 0. Of the top k
    alone, what is left out is taken to lie evenly on the other classes, and stays left out.

    Parameters
    ----------
    t
        Above 1 the answers come nearer to each other, below 1 they part.
    """

    t: float = 5.0

    name: ClassVar[str] = "temperature"
    keeps_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        refuse(not_real(("t", self.t), above=0))

    def apply(self, outputs: Outputs, /) -> Outputs:
        """Return the answers at the temperature, logits as logits; labels as they are."""
        if outputs.kind == "logits":
            return replace(outputs, values=outputs.values / self.t)
        values = _probabilities(outputs)
        if values is None:
            return outputs
        values, cut = values.astype(np.float64), np.zeros(values.shape, bool)
        if outputs.kind == "topk":
            cut = values == 0
            rest = np.clip(1 - values.sum(axis=1, keepdims=True), 0, None)
            values = np.where(cut, rest / np.maximum(cut.sum(axis=1, keepdims=True), 1), values)
        with np.errstate(divide="ignore"):
            logits = np.log(values) / self.t
        answers = np.zeros_like(logits)
        informative = np.isfinite(logits).any(axis=1)  # an answer of nothing but 0 says nothing at any temperature
        answers[informative] = softmax(logits[informative])
        return _changed(outputs, np.where(cut, 0, answers))


@dataclass(frozen=True)
class Noise:
    """Move each answer towards a random one with the same label, by no more than a budget.

    As MemGuard (Jia et al. 2019) it never changes the label, bounds the distortion ``|p' - p|_1`` of each answer, and gives
    equal answers equal noise, so that asking again averages nothing out. It differs from it in the direction: MemGuard turns
    the answer against one attack model of the defender's, this goes to an answer drawn uniformly from all with that label, as
    the outputs of HAMP (Chen and Pattabiraman 2024) do, which leans on no attack.

    Parameters
    ----------
    budget
        Most that an answer changes, the sum of all its changes, above 0 and at most 2.
    key
        Of the draws; whoever answers keeps it secret.
    """

    budget: float = 0.5
    key: int = 0

    name: ClassVar[str] = "noise"
    keeps_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        refuse(
            not_real(("budget", self.budget), above=0, most=2),  # two answers are never further apart
            not_whole(("key", self.key), least=0),
        )

    def apply(self, outputs: Outputs, /) -> Outputs:
        """Return the answers with noise; labels as they are."""
        values = _probabilities(outputs)
        if values is None:
            return outputs
        values = np.asarray(values, np.float64)
        noise = _dirichlet(np.asarray(values, np.float32), self.key)
        top, rows = values.argmax(axis=1), np.arange(len(values))
        place = noise.argmax(axis=1)
        noise[rows, place], noise[rows, top] = noise[rows, top].copy(), noise[rows, place].copy()
        way = noise - values
        distance = np.abs(way).sum(axis=1)
        step = np.minimum(1.0, self.budget / np.maximum(distance, 1e-12))
        return _changed(outputs, values + step[:, None] * way, kind="probabilities")


@dataclass(frozen=True)
class Composed:
    """Several output mitigations, one after the other."""

    parts: tuple[OutputMitigation, ...]

    name: ClassVar[str] = "composed"

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts:
            raise PlanError([("parts", "empty; give one mitigation or more")])

    @property
    def keeps_labels(self) -> bool:
        """Whether every part keeps them."""
        return all(part.keeps_labels for part in self.parts)

    def apply(self, outputs: Outputs, /) -> Outputs:
        """Return what the last part makes of the answers."""
        for part in self.parts:
            outputs = part.apply(outputs)
        return outputs


OUTPUT: tuple[type[OutputMitigation], ...] = (TopK, LabelOnly, Rounding, Temperature, Noise)
"""Mitigations of the answers."""


def _probabilities(outputs: Outputs) -> Probabilities | None:
    """Return (n, classes) probabilities, or None of labels, in which there is nothing to hide.

    Raises
    ------
    DataError
        If the answers are not about classes.
    """
    if outputs.kind == "value":
        raise DataError(
            "an output mitigation changes what is answered of classes, and these are answers of a regression"
        )
    return None if outputs.kind == "labels" else outputs.probabilities


def _changed(outputs: Outputs, values: Probabilities, kind: Kind | None = None) -> Outputs:
    kind = kind or ("topk" if outputs.kind == "topk" else "probabilities")
    dtype = outputs.values.dtype if outputs.values.dtype.kind == "f" else np.float64
    return Outputs(values.astype(dtype, copy=False), kind)


def _dirichlet(values: NDArray[np.float32], key: int) -> NDArray[np.float64]:
    """Return (n, c) draws, uniform on all probability vectors, each decided by the key and the row's own numbers."""
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    state = np.full(len(values), key, np.uint64)
    with np.errstate(over="ignore"):
        for column in bits.T:
            state = _mixed(state ^ column)
        steps = np.arange(1, values.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        draws = _mixed(state[:, None] + steps)  # (n, c)
    uniform = ((draws >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    weights = -np.log(uniform)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the output function of SplitMix64 (Steele, Lea and Flood 2014) of 64-bit states."""
    state = (state + np.uint64(0x9E3779B97F4A7C15)) & np.uint64(0xFFFFFFFFFFFFFFFF)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


USUAL_OUTPUT: tuple[OutputMitigation, ...] = (
    *(TopK(3), TopK(1), LabelOnly()),
    *(Rounding(3), Rounding(2), Rounding(1)),
    *(Temperature(2.0), Temperature(5.0), Temperature(20.0)),
    *(Noise(0.25), Noise(0.5), Noise(1.0)),
)
"""Twelve output mitigations: those of Shokri et al. 2017, Table III, and more of their strengths, and noise."""
